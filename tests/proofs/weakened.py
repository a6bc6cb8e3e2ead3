"""The fuzzer held to account: with any rule of the proof taken out, it has to find that out.

Every `require` and every `revert` of `ClearingProof` is disabled, one at a time. A contract that
lacks a rule accepts something that it should not, and the fuzzer is to come upon it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.proofs.compiled import ROOT, UNOPTIMIZED, compiled
from tests.proofs.fuzz import Count, HonestError, ViolationError, fuzz_market
from tests.proofs.revm import Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

PROOF = "contracts/ClearingProof.sol"
HARNESS = "contracts/mocks/ClearingProofHarness.sol"

# What guards against nothing the harness can be asked, and why.
BEYOND = {
    "resume": "what was carried is compared with a hash before",
    **dict.fromkeys(
        ("requireNodes", "addFlexible", "_requireHeld"),
        "flexible orders, which the fuzzer has none of: tests/contracts/test_flexible_proof.py",
    ),
    "_share": "only says where: to share among orders of none divides by zero, which reverts, too",
    "_revertOutOfBounds": "only says where the prices are out of bounds",
}


_REQUIRE = r"(require\((?:[^;]*?[\s,(])?([A-Z]\w+)\((?:[^;]*?)\)\s*\);)"
_REVERT = r"((?:revert ([A-Z]\w+)|_revert\w+)\([^;{]*\);)"


@dataclass(frozen=True)
class Rule:
    """A check in the source of the proof."""

    error: str
    function: str
    line: int
    at: int

    def removed(self, text: str) -> str:
        """The source without this check."""
        if text.startswith("require(", self.at):
            at = self.at + len("require(")
            return f"{text[:at]}true || {text[at:]}"
        return f"{text[: self.at]}if (false) {text[self.at :]}"


def rules() -> Iterator[Rule]:
    """Every check of the proof that the harness can come to."""
    text = (ROOT / PROOF).read_text(encoding="utf-8")
    functions = [(m.start(), m[1]) for m in re.finditer(r"function (\w+)", text)]
    for found in re.finditer(f"{_REQUIRE}|{_REVERT}", text):
        function = [name for at, name in functions if at < found.start()][-1]
        if function not in BEYOND and not function.startswith("_revert"):
            name = found[2] or found[4] or found[0].split("(")[0]
            yield Rule(name, function, text.count("\n", 0, found.start()) + 1, found.start())


def weakened(rule: Rule) -> Harness:
    """The harness on a proof without this rule."""
    text = (ROOT / PROOF).read_text(encoding="utf-8")
    made = compiled(
        [HARNESS],
        ["abi", "evm.deployedBytecode.object"],
        changed={PROOF: rule.removed(text)},
        settings=UNOPTIMIZED,
    )
    contract = made["contracts"][HARNESS]["ClearingProofHarness"]
    return Harness(contract["abi"], bytes.fromhex(contract["evm"]["deployedBytecode"]["object"]))


def clearings_until_found(harness: Harness, seed: int, most: int) -> tuple[int, str] | None:
    """How many changed clearings it takes to find that something is wrong, and what it is.

    Raises
    ------
    HonestError
        If honest clearings fail: then what was taken out did more than to check.
    """
    count, number = Count(), 0
    while count.changed < most:
        try:
            fuzz_market(harness, seed, number, count)
        except HonestError:
            raise
        except ViolationError as violation:
            return count.changed, str(violation).splitlines()[0]
        number += 1
    return None
