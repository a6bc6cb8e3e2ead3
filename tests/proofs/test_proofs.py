"""A little of what `make markets` and `make fuzz` do, so that they stay alive."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.proofs import fuzz, halmos, markets, weakened
from tests.proofs.compiled import ROOT, compiled
from tests.proofs.revm import Harness, Verdict

if TYPE_CHECKING:
    from tests.contracts.test_clearing_proof import Outcome


@pytest.fixture(scope="module")
def harness() -> Harness:
    return Harness.built()


def test_markets__contract_and_python__same_verdict(harness: Harness) -> None:
    tally = markets.Tally()
    for number in range(25):
        markets.judge(harness, 0, number, 4, tally)
    assert tally.changed == tally.accepted + tally.same_reason + tally.same_group
    assert tally.same_reason > tally.same_group
    assert len(tally.errors) > 4


def test_fuzz__accepted_clearings__are_the_best_ones(harness: Harness) -> None:
    count = fuzz.Count()
    for number in range(25):
        fuzz.fuzz_market(harness, 0, number, count, per_market=100)
    assert count.changed + count.beyond == 25 * 100
    assert count.accepted > count.accepted_of_another_market > 0
    assert len(count.errors) > 10


class Gullible:
    """A contract that accepts whatever it is sent."""

    def __init__(self, honest: Harness) -> None:
        self._honest = honest
        self.encode_frame = honest.encode_frame
        self.right = Verdict("", b"")

    def check_packed(self, *arguments: Any) -> Verdict:
        verdict = self._honest.check_packed(*arguments)
        if verdict.accepted:
            self.right = verdict
        return self.right

    def outcome(self, verdict: Verdict) -> Outcome:
        return self._honest.outcome(verdict)


def test_fuzz__contract_that_accepts_everything__is_found_out(harness: Harness) -> None:
    for number in range(10):
        with pytest.raises(fuzz.ViolationError, match=f"market {number} of seed 0"):
            fuzz.fuzz_market(Gullible(harness), 0, number, fuzz.Count())  # type: ignore[arg-type]


def test_weakened__rules__are_all_of_the_proof() -> None:
    text = (weakened.ROOT / weakened.PROOF).read_text()
    declared = set(re.findall(r"^    error (\w+)", text, re.MULTILINE))
    found = {rule.error for rule in weakened.rules()}
    # Prices out of bounds and limits between prices are found by functions that only say where.
    assert declared - found == {"PriceOutOfBounds", "LimitBetweenPrices"}
    assert {error for error in found if error.startswith("_")} == {
        "_revertOutOfBounds",
        "_revertBetween",
    }
    for rule in weakened.rules():
        removed = rule.removed(text)
        assert len(removed) - len(text) in {len("true || "), len("if (false) ")}


def test_halmos__symbolic_checks__compile_and_name_every_function_of_lanes() -> None:
    names = halmos.sources()
    made = compiled(names, ["abi"])["contracts"]
    checks = " ".join(
        entry["name"]
        for name in names
        for contract in made[name].values()
        for entry in contract["abi"]
        if entry["type"] == "function"
    )
    lanes = (ROOT / "contracts" / "Lanes.sol").read_text()
    functions = re.findall(r"function (\w+)\([^)]*\) internal", lanes)
    assert len(functions) > 10
    assert [each for each in functions if f"check_{each}" not in checks] == []
    assert all(f"check_{book}" in checks for book in ("oneNode", "twoNodes", "flexible"))
