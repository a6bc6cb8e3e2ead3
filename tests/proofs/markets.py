"""Random markets, judged twice: by the contract and by its Python twin.

The honest clearing of every market has to be accepted by both and to come to the same positions and
money; changed ones have to be refused by both, for the same reason, or accepted by both.

The two look in another sequence: the contract goes link by link and cell by cell, Python rule by
rule. So a reason is the same if it is among what Python finds when it is asked for every group of
rules by itself; where a group has several rules, Python names the first.
"""

from __future__ import annotations

import inspect
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fairwatt import errors
from fairwatt.market import Link, Network, Side, proof
from fairwatt.market._ties import Margin
from fairwatt.orders import Step
from tests.contracts.test_clearing_proof import (
    Claim,
    places,
    proposal_of,
    require_same,
    verifies,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairwatt.market import Book, Certificate, Clearing
    from fairwatt.proposal import Proposal
    from tests.proofs.revm import Harness, Verdict

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

# What Python calls what the contract says.
_CALLED = {
    "PricesOutOfBounds": "PriceOutOfBounds",
    "MarginalFillAboveTotal": "MarginalFillTooLarge",
}
# Errors of one group of rules: Python names the first of them, the contract may meet another first.
_GROUPS = (
    {"LimitBetweenPrices", "MarginalTotalMismatch", "MarginalFillTooLarge"},
    {"FlowAboveCapacity", "FlowNotImplied", "FlowNotUnique"},
    {"FillNotUnique", "NodeUnbalanced"},
)


class DisagreementError(AssertionError):
    """Contract and Python judge a clearing differently."""


@dataclass
class Tally:
    """Counts of what was judged."""

    markets: int = 0
    changed: int = 0
    accepted: int = 0
    """Changed clearings that both accept: other ranks or tails prove the same."""
    errors: Counter[str] = field(default_factory=Counter)
    same_reason: int = 0
    same_group: int = 0
    shapes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Kind:
    """How the numbers of a market are drawn."""

    name: str
    price: Callable[[random.Random], int]
    tariff: Callable[[random.Random], int]
    energy: Callable[[random.Random], int]
    capacity: Callable[[random.Random], int]


_KINDS = (
    _Kind(
        "ties",
        lambda chance: chance.randint(-3, 5),
        lambda chance: chance.randint(0, 3),
        lambda chance: chance.randint(1, 5),
        lambda chance: chance.choice((0, 1, 2, 4, 6, 30)),
    ),
    _Kind(
        "everyday",
        lambda chance: chance.choice((60_000, 80_000, 120_000, 300_000)) + chance.randint(-5, 5),
        lambda chance: chance.choice((0, 10_000, 20_000, 40_000)),
        lambda chance: chance.randint(1, 40) * 25,
        lambda chance: chance.choice((200, 500, 1_000, 10_000)),
    ),
    _Kind(
        "extremes",
        lambda chance: chance.choice((INT32_MIN, -1, 0, INT32_MAX, chance.getrandbits(32) - 2**31)),
        lambda chance: chance.choice((0, 1, INT32_MAX, 2**32 - 1, chance.getrandbits(32))),
        lambda chance: chance.choice((1, 2, 2**26 - 1, chance.randint(1, 2**26 - 1))),
        lambda chance: chance.choice((0, 1, 2**20, 2**40 - 1, chance.getrandbits(40))),
    ),
)


def market(seed: int, number: int) -> tuple[Proposal, str]:
    """Random market of this number, cleared, and what shape it has."""
    chance = random.Random(f"market {seed} {number}")
    kind = chance.choice(_KINDS)
    periods = chance.choice((1, 1, 2, 3, 4, 8, 9, 12))
    nodes = tuple(f"n{at}" for at in range(chance.randint(1, 6)))
    pairs = [(one, other) for one in nodes for other in nodes if one != other]
    links = tuple(
        Link(*chance.choice(pairs), kind.tariff(chance), kind.capacity(chance), None)
        for _ in range(chance.randint(0, 2 * len(nodes)) if pairs else 0)
    )
    floor, cap = sorted((kind.price(chance), kind.price(chance)))
    if chance.random() < 0.7:
        floor, cap = {
            "ties": (-3, 5),
            "everyday": (50_000, 310_000),
            "extremes": (INT32_MIN, INT32_MAX),
        }[kind.name]
    steps: dict[int, tuple[int, list[Step]]] = {
        peer: (
            chance.randrange(len(nodes)),
            [
                Step(
                    chance.randrange(periods),
                    chance.choice((Side.ASK, Side.BID)),
                    min(cap, max(floor, kind.price(chance))),
                    kind.energy(chance),
                )
                for _ in range(chance.randint(1, 3 * periods))
            ],
        )
        for peer in range(1, chance.randint(0, 9) + 1)
    }
    on = Network(nodes, links, floor, cap)
    return proposal_of(on, periods, steps), f"{kind.name}, {len(nodes)} nodes"


def changes(seed: int, number: int, proposal: Proposal, count: int) -> Iterator[Proposal]:
    """Changed clearings of a market: one number of its proof, or two, or three."""
    chance = random.Random(f"changes {seed} {number}")
    found = places(proposal)
    tries = 4 * count
    while count and tries:
        tries -= 1
        made: Proposal | None = proposal
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            if made is not None:
                place = chance.choice(found)
                made = place.put(made, chance.choice(place.others(made)))
        if made is not None:
            count -= 1
            yield made


def reasons(proposal: Proposal) -> set[str]:
    """What each group of rules says in Python when asked by itself, in words of the contract."""
    found = set()
    for book, clearing, certificate in zip(
        proposal.books, proposal.clearings, proposal.certificates, strict=True
    ):
        found |= set(_broken(book, clearing, certificate))
    return found


def _broken(book: Book, clearing: Clearing, certificate: Certificate) -> Iterator[str]:
    given: dict[str, Any] = {
        "book": book,
        "clearing": clearing,
        "certificate": certificate,
        "margin": Margin.of(book, certificate.low, certificate.high),
    }
    for rule, names in _RULES:
        try:
            rule(*(given[name] for name in names))
        except errors.ProofError as error:
            name = type(error).__name__
            yield _CALLED.get(name, name)


# Each group of rules with the names of its arguments.
_RULES = [
    (rule, names)
    for rule, names in (
        (rule, tuple(inspect.signature(rule).parameters))
        for name, rule in vars(proof).items()
        if name.startswith("_check_")
    )
    if "certificate" in names
]


def judge(harness: Harness, seed: int, number: int, count: int, tally: Tally) -> None:
    """Clear the market of this number and ask both about it and about changes of it.

    Raises
    ------
    DisagreementError
        If the two do not say the same.
    """
    proposal, shape = market(seed, number)
    tally.markets += 1
    tally.shapes[shape] += 1
    verdict = harness.check(*Claim.of(proposal).arguments)
    if not (verdict.accepted and verifies(proposal)):
        raise DisagreementError(
            f"market {number} of seed {seed}: its honest clearing is "
            f"{verdict.error or 'accepted'} to the contract and "
            f"{'accepted' if verifies(proposal) else 'refused'} in Python"
        )
    require_same(harness.outcome(verdict), proposal)
    for at, made in enumerate(changes(seed, number, proposal, count)):
        tally.changed += 1
        said = harness.check(*Claim.of(made).arguments)
        why = set() if verifies(made) else reasons(made)
        _require_same_verdict(said, why, f"market {number} of seed {seed}, change {at}")
        if said.accepted:
            tally.accepted += 1
            require_same(harness.outcome(said), made)
            continue
        tally.errors[said.error] += 1
        tally.same_reason += said.error in why
        tally.same_group += said.error not in why


def _require_same_verdict(said: Verdict, why: set[str], where: str) -> None:
    if said.accepted and not why:
        return
    group = next((group for group in _GROUPS if said.error in group), {said.error})
    if said.accepted or not why & group:
        raise DisagreementError(
            f"{where}: the contract says {said.error or 'accepted'}, "
            f"Python {', '.join(sorted(why)) or 'accepted'}"
        )
