"""Slither on the contracts: print what it finds; exit with 1 if it finds anything.

Slither's own command line cannot compile a whole project with the settings of Ape, so this hands it
the compiler input directly. A finding that is right but harmless is answered in the source, by a
comment that says why, above ``// slither-disable-next-line <detector>``.
"""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from crytic_compile import CryticCompile
from crytic_compile.platform.solc_standard_json import SolcStandardJson
from slither import Slither
from slither.detectors import all_detectors
from slither.detectors.abstract_detector import AbstractDetector

# Detectors that do not apply to any contract here, and why.
EXCLUDED = {
    "assembly": "solhint has every block of it marked",
    "calls-loop": "the contracts only call each other",
    "costly-loop": "one write per entry is what a batch is for",
    "incorrect-equality": "roles, standings and amounts received are meant to be exactly these",
    "naming-convention": "solhint checks the names",
    "timestamp": "gates and windows are times; seconds a proposer may shift do not matter to them",
    "too-many-digits": "masks of packed words have as many digits as a word",
    "uninitialized-local": "Solidity sets locals to zero",
}


def compiler_input(root: Path, solidity: dict[str, Any]) -> dict[str, Any]:
    """Return the standard JSON input for all contracts but the mocks, with Ape's settings."""
    paths = sorted((root / "contracts").rglob("*.sol"))
    sources = [path.relative_to(root) for path in paths if not {".cache", "mocks"} & {*path.parts}]
    return {
        "language": "Solidity",
        "sources": {source.as_posix(): {"urls": [source.as_posix()]} for source in sources},
        "settings": {
            "remappings": ["@openzeppelin/contracts=node_modules/@openzeppelin/contracts"],
            "evmVersion": solidity["evm_version"],
            "viaIR": solidity["via_ir"],
            "optimizer": {"enabled": solidity["optimize"], "runs": solidity["optimization_runs"]},
        },
    }


def detectors() -> list[type[Any]]:
    """Return every detector Slither brings, without the excluded ones."""
    classes: list[type[Any]] = [
        member for _, member in inspect.getmembers(all_detectors, inspect.isclass)
    ]
    return [
        detector
        for detector in classes
        if issubclass(detector, AbstractDetector) and detector.ARGUMENT not in EXCLUDED
    ]


def main() -> int:
    """Analyse the contracts below the working directory and return the exit code."""
    root = Path.cwd()
    solidity = yaml.safe_load((root / "ape-config.yaml").read_text(encoding="utf-8"))["solidity"]
    solc = Path(os.environ["SOLCX_BINARY_PATH"], f"solc-v{solidity['version']}")
    project = CryticCompile(SolcStandardJson(compiler_input(root, solidity)), solc=str(solc))
    slither = Slither(project, filter_paths=["node_modules"], exclude_dependencies=True)
    for detector in detectors():
        slither.register_detector(detector)
    findings: list[dict[str, Any]] = [
        finding for found in slither.run_detectors() if found for finding in found
    ]
    for finding in findings:
        print(f"{finding['check']} ({finding['impact']}): {finding['description']}")
    print(f"slither: {len(slither.contracts)} contracts, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
