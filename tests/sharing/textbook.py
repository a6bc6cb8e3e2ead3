"""Games of the literature whose solutions are known, random games, and Kohlberg's criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from fairwatt.highs import Program, Status, solve
from fairwatt.sharing import Game

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def players(count: int) -> tuple[str, ...]:
    return tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:count])


def game(count: int, value: Callable[[frozenset[int]], float]) -> Game:
    return Game(players(count), value)


def table(values: Sequence[float]) -> Game:
    """A game given by its values, coalition by coalition in the sequence of their bits."""
    count = (len(values) - 1).bit_length()
    return game(count, lambda members: values[sum(1 << player for player in members)])


def glove() -> Game:
    """A has a left glove, B and C have a right one each; a pair is worth 1."""
    return game(3, lambda members: float(0 in members and len(members) > 1))


def unanimity(count: int, needed: set[int]) -> Game:
    return game(count, lambda members: float(needed <= members))


def majority(count: int) -> Game:
    return game(count, lambda members: float(2 * len(members) > count))


def weighted_majority(quota: int, weights: Sequence[int]) -> Game:
    return game(
        len(weights), lambda members: float(sum(weights[player] for player in members) >= quota)
    )


def bankruptcy(estate: float, claims: Sequence[float]) -> Game:
    """What a coalition of creditors is left with after the others took all they claim."""

    def value(members: frozenset[int]) -> float:
        others = sum(claim for player, claim in enumerate(claims) if player not in members)
        return max(0.0, estate - others)

    return game(len(claims), value)


def talmud(estate: float, claims: Sequence[float]) -> list[float]:
    """Aumann and Maschler 1985: equal gains up to half the claims, equal losses beyond."""
    half = sum(claims) / 2
    if estate <= half:
        return _equal_up_to(estate, [claim / 2 for claim in claims])
    losses = _equal_up_to(2 * half - estate, [claim / 2 for claim in claims])
    return [claim - loss for claim, loss in zip(claims, losses, strict=True)]


def _equal_up_to(amount: float, limits: Sequence[float]) -> list[float]:
    awards = [0.0] * len(limits)
    for rank, player in enumerate(sorted(range(len(limits)), key=limits.__getitem__)):
        awards[player] = min(limits[player], amount / (len(limits) - rank))
        amount -= awards[player]
    return awards


def airport(costs: Sequence[float]) -> Game:
    """Savings of sharing a runway as long as the largest aeroplane of a coalition needs."""
    return game(
        len(costs),
        lambda members: (
            sum(costs[player] for player in members) - max(costs[player] for player in members)
        ),
    )


def airport_shapley(costs: Sequence[float]) -> list[float]:
    """Littlechild and Owen 1973: each piece of the runway is paid by those who need it."""
    charges = [0.0] * len(costs)
    ordered = sorted(range(len(costs)), key=costs.__getitem__)
    paid = before = 0.0
    for rank, player in enumerate(ordered):
        paid += (costs[player] - before) / (len(costs) - rank)
        before = costs[player]
        charges[player] = paid
    return [cost - charge for cost, charge in zip(costs, charges, strict=True)]


def airport_nucleolus(costs: Sequence[float]) -> list[float]:
    """Littlechild 1974, A simple expression for the nucleolus in a special case."""
    ordered = sorted(range(len(costs)), key=costs.__getitem__)
    charges = [0.0] * len(costs)
    paid, first, count = 0.0, 0, len(costs)
    while first < count:
        rates = [
            (costs[ordered[at]] - paid) / (at - first + (2 if at < count - 1 else 1))
            for at in range(first, count)
        ]
        rate = min(rates)
        last = first + max(at for at, other in enumerate(rates) if other <= rate + 1e-12)
        for at in range(first, last + 1):
            charges[ordered[at]] = rate
            paid += rate
        first = last + 1
    return [cost - charge for cost, charge in zip(costs, charges, strict=True)]


def security_council() -> Game:
    """Nine of fifteen votes, among them those of the five permanent members."""
    return Game.in_batches(
        players(15),
        lambda members: members[:, :5].all(axis=1) & (members.sum(axis=1) >= 9),
        batch=4096,
    )


@st.composite
def tables(
    draw: st.DrawFn, least_players: int = 2, most_players: int = 4, *, gains: bool = False
) -> list[float]:
    """Values of a random game; `gains`: as of communities, nobody gains alone, or loses."""
    count = draw(st.integers(least_players, most_players))
    low = 0 if gains else -6
    some = draw(st.lists(st.integers(low, 12), min_size=2**count, max_size=2**count))
    values = [float(value) for value in some]
    values[0] = 0.0
    if gains:
        for player in range(count):
            values[1 << player] = 0.0
    return values


def meets_kohlberg(some: Game, shares: np.ndarray, tolerance: float = 1e-7) -> bool:
    """Kohlberg 1971: at every level, the coalitions with an excess as large or larger are balanced.

    Balanced: positive weights make the indicators sum to 1 for every player. Players who get just
    what they have alone may be added with a weight that is not negative.
    """
    count = len(some)
    coalitions = (np.arange(1, 2**count - 1)[:, None] >> np.arange(count) & 1).astype(bool)
    excesses = some.values(coalitions) - coalitions @ shares
    at_least = np.eye(count, dtype=bool)[
        [shares[player] <= some.value([player]) + tolerance for player in range(count)]
    ]
    ordered = np.sort(excesses)[::-1]
    levels = [
        level for at, level in enumerate(ordered) if at == 0 or level < ordered[at - 1] - 1e-6
    ]
    return all(_balanced(coalitions[excesses >= level - tolerance], at_least) for level in levels)


def _balanced(collection: np.ndarray, extra: np.ndarray) -> bool:
    """Whether the least weight of the collection can be positive: a program of its own."""
    count = collection.shape[1]
    # weight = least + slack for the collection, slack alone for the extra ones
    matrix = np.vstack([collection.sum(axis=0, keepdims=True), collection, extra]).T.astype(float)
    rows, columns = matrix.shape
    column, row = np.nonzero(matrix.T)
    found = solve(
        Program(
            cost=np.append(-1.0, np.zeros(columns - 1)),
            lower=np.zeros(columns),
            upper=np.full(columns, np.inf),
            row_lower=np.ones(rows),
            row_upper=np.ones(rows),
            starts=np.searchsorted(column, np.arange(columns + 1)).astype(np.int32),
            indices=row.astype(np.int32),
            values=matrix.T[column, row],
        )
    )
    assert count == rows
    return found.status is Status.OPTIMAL and -found.objective > 1e-6
