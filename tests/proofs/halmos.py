"""Run halmos on the checks in `symbolic/`, without Foundry.

halmos lets forge compile and reads what it leaves in `out/`. Here the compiler of the project
writes the same files, and a `forge` that does nothing stands first on the path.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.proofs.compiled import ROOT, UNOPTIMIZED, compiled

SYMBOLIC = Path(__file__).parent / "symbolic"


def sources() -> list[str]:
    """The symbolic checks, by their paths below the root of the repository."""
    return [path.relative_to(ROOT).as_posix() for path in sorted(SYMBOLIC.glob("*.sol"))]


def prepare(root: Path, changed: dict[str, str] | None = None) -> None:
    """Write what forge would leave below `root`; `changed` as for `compiled`."""
    names = sources()
    wanted = ["abi", "metadata", "storageLayout", "evm.bytecode", "evm.deployedBytecode"]
    wanted.append("evm.methodIdentifiers")
    made = compiled(names, wanted, changed=changed, settings=UNOPTIMIZED)
    for name in names:
        for contract, each in made["contracts"][name].items():
            evm = each["evm"]
            artifact = {
                "abi": each["abi"],
                "ast": made["sources"][name]["ast"],
                "id": made["sources"][name]["id"],
                "metadata": json.loads(each["metadata"]),
                "storageLayout": each["storageLayout"],
                "methodIdentifiers": evm["methodIdentifiers"],
                "bytecode": evm["bytecode"] | {"object": "0x" + evm["bytecode"]["object"]},
                "deployedBytecode": evm["deployedBytecode"]
                | {"object": "0x" + evm["deployedBytecode"]["object"]},
            }
            out = root / "out" / Path(name).name / f"{contract}.json"
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(artifact))
    forge = root / "bin" / "forge"
    forge.parent.mkdir(exist_ok=True)
    forge.write_text("#!/bin/sh\n# Everything is compiled.\n")
    forge.chmod(0o755)


def run(root: Path, options: list[str]) -> int:
    """Run halmos below `root`; its exit code."""
    from halmos.__main__ import _main  # noqa: PLC0415 - an extra
    from halmos.ui import UI  # noqa: PLC0415

    # It clears a live display that it has not started, which rich 14 does not take.
    UI.clear_live = lambda self: None
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return int(_main(["--root", str(root), *options]).exitcode)
