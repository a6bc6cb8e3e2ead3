"""Every error that a contract declares is named by a test; `tests.outcomes` holds its values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CONTRACTS = TESTS.parent / "contracts"
ERRORS = sorted(
    {
        error
        for source in CONTRACTS.rglob("*.sol")
        if not {"mocks", ".cache"} & set(source.parts)
        for error in re.findall(r"^\s*error (\w+)\(", source.read_text(), re.MULTILINE)
    }
)


@pytest.fixture(scope="module")
def named() -> set[str]:
    """Every word in the tests but this one."""
    tests = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    return {word for path in tests for word in re.findall(r"\w+", path.read_text())}


def test_errors__of_all_contracts__are_found() -> None:
    assert len(ERRORS) > 80


@pytest.mark.parametrize("error", ERRORS)
def test_error__is_tried_by_a_test(error: str, named: set[str]) -> None:
    assert error in named
