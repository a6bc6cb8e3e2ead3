"""Every error that a contract declares is named by a test, with all its values.

`tests.outcomes.reverts` holds what a contract says to the error and to every value of it; here is
asked that somebody does so. A name that several contracts declare is asked of the tests of each.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CONTRACTS = TESTS.parents[1] / "contracts"
# Whose tests try the errors of a source.
TESTS_OF = {
    "ClearingProof": "test_clearing",
    "IBonds": "test_bonds",
    "IClearing": "test_clearing",
    "ICommunityToken": "test_community_token",
    "ILedger": "test_ledger",
    "IOrderBook": "test_order_book",
    "IPeerRegistry": "test_peer_registry",
    "ISettlement": "test_settlement",
    "ITrades": "test_trades",
    "Orders": "test_order_book",
}


@dataclass(frozen=True)
class Error:
    """An error as its source declares it."""

    source: str
    name: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source}.{self.name}"


def _errors() -> list[Error]:
    return [
        Error(source.stem, name, tuple(re.findall(r"\w+ (\w+)\s*(?:,|$)", values.strip())))
        for source in sorted(CONTRACTS.rglob("*.sol"))
        if not {"mocks", ".cache"} & set(source.parts)
        for name, values in re.findall(
            r"^\s*error (\w+)\(([^)]*)\);", source.read_text(), re.MULTILINE
        )
    ]


ERRORS = _errors()
DECLARED = Counter(error.name for error in ERRORS)


@pytest.fixture(scope="module")
def words() -> dict[str, set[str]]:
    """The words of every file of tests of the contracts but this one."""
    tests = (path for path in TESTS.glob("test_*.py") if path != Path(__file__))
    return {path.stem: set(re.findall(r"\w+", path.read_text())) for path in tests}


def test_errors__of_all_contracts__are_found() -> None:
    assert len(ERRORS) > 100
    assert Error("IOrderBook", "TooManyBlocks", ("peer", "blocks", "maxPlacedBlocks")) in ERRORS
    assert {error.source for error in ERRORS if DECLARED[error.name] > 1} <= TESTS_OF.keys()


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_error__is_tried_by_a_test(error: Error, words: dict[str, set[str]]) -> None:
    proof = error.source == "ClearingProof"  # held to its Python twin, which has other values
    prefix = TESTS_OF[error.source] if proof or DECLARED[error.name] > 1 else "test_"
    sought = {error.name} if proof else {error.name, *error.values}
    assert any(sought <= used for stem, used in words.items() if stem.startswith(prefix))
