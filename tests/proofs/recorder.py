"""A pytest plugin that notes which way every conditional jump of the contracts went.

    pytest -p tests.proofs.recorder tests/contracts

The contracts are replaced by those of the coverage build that FAIRWATT_BRANCHES names (see
`tests.proofs.branches`); what happened is left beside it, one file for each process.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from eth.vm.forks.prague.computation import PragueComputation

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD = Path(os.environ["FAIRWATT_BRANCHES"])
_JUMPI = 0x57
_LARGE = 2**20  # bytes of code: without optimizer contracts are larger than a chain takes

_seen: dict[bytes, set[tuple[int, bool]]] = defaultdict(set)


@pytest.fixture(scope="session", autouse=True)
def _coverage_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from fairwatt.chain import project  # noqa: PLC0415 - Ape warns when it is imported

    contracts = json.loads(BUILD.read_text())["contracts"]
    with pytest.MonkeyPatch.context() as patch:
        for module in (
            "eth.vm.forks.spurious_dragon.computation.EIP170_CODE_SIZE_LIMIT",
            "eth.vm.forks.shanghai.computation.MAX_INITCODE_SIZE",
        ):
            patch.setattr(module, _LARGE)
        for name, contract in contracts.items():
            known = getattr(project(), name).contract_type
            patch.setattr(known.deployment_bytecode, "bytecode", "0x" + contract["creation"])
            patch.setattr(known.runtime_bytecode, "bytecode", "0x" + contract["runtime"])
        jump = PragueComputation.opcodes[_JUMPI]
        patch.setattr(jump, "logic_fn", _noting(jump.logic_fn))
        yield


@pytest.fixture(scope="module", autouse=True)
def _noted() -> Iterator[None]:
    """Leave what was seen so far."""
    yield
    contracts = json.loads(BUILD.read_text())["contracts"]
    out = BUILD.with_suffix(f".{os.getpid()}.seen.json")
    out.write_text(json.dumps(_by_contract(contracts)))


def _noting(jump: Any) -> Any:
    def note(computation: Any) -> None:
        condition = computation._stack.values[-2]
        taken = any(condition) if isinstance(condition, bytes) else condition != 0
        _seen[computation.msg.code].add((computation.code.program_counter - 1, taken))
        jump(computation)

    return note


def _by_contract(contracts: dict[str, Any]) -> dict[str, list[tuple[int, bool]]]:
    """What was seen, by the name of the contract whose code it is."""
    found: dict[str, set[tuple[int, bool]]] = defaultdict(set)
    codes = {name: bytes.fromhex(each["runtime"]) for name, each in contracts.items()}
    for code, jumps in _seen.items():
        for name, known in codes.items():
            if _masked(code, contracts[name]["immutables"]) == known:
                found[name] |= jumps
    return {name: sorted(jumps) for name, jumps in found.items()}


def _masked(code: bytes, immutables: list[list[int]]) -> bytes:
    """The code as it was compiled, without the values of its immutables."""
    masked = bytearray(code)
    for start, length in immutables:
        masked[start : start + length] = bytes(length)
    return bytes(masked)
