"""Run halmos on the checks in `symbolic/`, without Foundry.

halmos lets forge compile and reads what it leaves in `out/`. Here the compiler of the project
writes the same files, and a `forge` that does nothing stands first on the path. Its questions go to
Bitwuzla and, where that does not know after a while, to z3: either is at a loss with some that
the other answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.proofs.compiled import ROOT, UNOPTIMIZED, compiled

SYMBOLIC = Path(__file__).parent / "symbolic"

_BITWUZLA_SECONDS = 15
_SOLVER = """#!/bin/sh
answer=$(timeout {seconds} {python} -c '
import sys
from bitwuzla import Option, Options, Parser, TermManager
options = Options()
options.set(Option.PRODUCE_MODELS, True)
Parser(TermManager(), options).parse(sys.argv[1])
' "$1" 2>/dev/null)
case "$answer" in
sat* | unsat*) echo "$answer" ;;
*) exec {z3} "$1" ;;
esac
"""


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
    _write_script(root / "bin" / "forge", "#!/bin/sh\n# Everything is compiled.\n")
    z3 = Path(sys.executable).with_name("z3")
    solver = _SOLVER.format(seconds=_BITWUZLA_SECONDS, python=sys.executable, z3=z3)
    _write_script(root / "bin" / "solver", solver)


def _write_script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def run(root: Path, options: list[str]) -> int:
    """Run halmos below `root`; its exit code."""
    from halmos.__main__ import _main  # noqa: PLC0415 - an extra
    from halmos.ui import UI  # noqa: PLC0415

    # It clears a live display that it has not started, which rich 14 does not take.
    UI.clear_live = lambda self: None
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    solver = ["--solver-command", str(root / "bin" / "solver"), "--solver-threads", "1"]
    return int(_main(["--root", str(root), *solver, *options]).exitcode)
