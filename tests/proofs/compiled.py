"""Contracts compiled with the settings of Ape, from sources that may have been changed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

UNOPTIMIZED = {
    "optimizer": {
        "enabled": False,
        "details": {
            "peephole": False,
            "inliner": False,
            "jumpdestRemover": False,
            "orderLiterals": False,
            "deduplicate": False,
            "cse": False,
            "constantOptimizer": False,
            "yul": True,
            "yulDetails": {"stackAllocation": True, "optimizerSteps": "u"},
        },
    }
}
"""Settings under which every function and branch of the source stands for itself."""


def compiled(
    names: list[str],
    outputs: list[str],
    *,
    changed: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Compile sources and what they import.

    Parameters
    ----------
    names
        Sources by their paths below the root of the repository.
    outputs
        What is wanted of every contract, as the compiler calls it.
    changed
        Other texts of some sources.
    settings
        Settings of the compiler that differ from those of Ape.

    Raises
    ------
    RuntimeError
        If the compiler finds an error.
    """
    solidity = yaml.safe_load((ROOT / "ape-config.yaml").read_text(encoding="utf-8"))["solidity"]
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in names} | (changed or {})
    task = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in texts.items()},
        "settings": {
            "remappings": ["@openzeppelin/contracts=node_modules/@openzeppelin/contracts"],
            "evmVersion": solidity["evm_version"],
            "viaIR": solidity["via_ir"],
            "optimizer": {"enabled": solidity["optimize"], "runs": solidity["optimization_runs"]},
            "outputSelection": {"*": {"*": outputs, "": ["ast"]}},
            **(settings or {}),
        },
    }
    solc = Path(os.environ["SOLCX_BINARY_PATH"], f"solc-v{solidity['version']}")
    done = subprocess.run(
        [solc, "--standard-json", "--base-path", ROOT],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    wrong = [each for each in found.get("errors", ()) if each["severity"] == "error"]
    if wrong:
        raise RuntimeError(wrong[0]["formattedMessage"])
    return found
