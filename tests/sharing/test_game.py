"""`Game` and `PoolGame`: what coalitions are worth, and that nothing is computed twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairwatt.errors import SharingError
from fairwatt.sharing import Game, PoolGame, least_core

nets = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-40, 40).map(lambda n: n / 4))
)


def squares(members: frozenset[int]) -> float:
    return float(len(members) ** 2)


def test_game__asked_twice__calls_once() -> None:
    asked: list[frozenset[int]] = []

    def value(members: frozenset[int]) -> float:
        asked.append(members)
        return squares(members)

    some = Game(("a", "b", "c"), value)
    assert (some.value([0, 2]), some.gain, some.value([2, 0]), some.value([])) == (4, 9, 4, 0)
    assert asked == [{0, 2}, {0, 1, 2}]
    assert some.evaluations == 2


def test_game__same_coalition_twice_in_one_question__calls_once() -> None:
    some = Game(("a", "b"), squares)
    rows = np.array([[True, False], [True, False], [False, False], [True, True]])
    assert some.values(rows).tolist() == [1, 1, 0, 4]
    assert some.evaluations == 2


def test_game__in_batches__asks_for_so_many_at_once() -> None:
    asked: list[int] = []
    told: list[tuple[int, int]] = []

    def values(members: np.ndarray) -> np.ndarray:
        asked.append(len(members))
        return members.sum(axis=1) ** 2

    some = Game.in_batches(("a", "b", "c"), values, batch=3)
    rows = (np.arange(8)[:, None] >> np.arange(3) & 1).astype(bool)
    found = some.values(rows, progress=lambda done, total: told.append((done, total)))
    assert found.tolist() == [0, 1, 1, 4, 1, 4, 4, 9]
    assert asked == [3, 3, 1]
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_game__function_fails_half_way__what_is_known_stays_known() -> None:
    patience = 2

    def value(members: frozenset[int]) -> float:
        nonlocal patience
        patience -= 1
        if patience < 0:
            raise KeyboardInterrupt
        return squares(members)

    some = Game(("a", "b"), value)
    rows = np.array([[True, False], [False, True], [True, True]])
    with pytest.raises(KeyboardInterrupt):
        some.values(rows)
    patience = 1
    assert some.values(rows).tolist() == [1, 1, 4]


def test_game__marginals__sum_to_the_gain_in_every_order() -> None:
    some = Game(("a", "b", "c"), squares)
    added = some.marginals(np.array([[2, 0, 1], [0, 1, 2]]))
    assert added.tolist() == [[3, 5, 1], [1, 3, 5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"players": ()}, "players: must be a list of at least one name"),
        ({"players": "abc"}, "players: must be a list of at least one name"),
        ({"players": ("a", "b", "a")}, "players: 'a' is named twice"),
        ({"marginal_range": (1, 0)}, "marginal_range: the least must not be above the most"),
        ({"marginal_range": (0, np.nan)}, "marginal_range: is nan, must be a finite number"),
        ({"marginal_range": ([0] * 3, 1)}, "marginal_range: has 3 numbers, expected one, or 2"),
    ],
)
def test_game__malformed__is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SharingError, match=message):
        Game(**{"players": ("a", "b"), "value": squares, **arguments})


def test_game__value_is_no_number__coalition_is_named() -> None:
    some = Game(("Ada", "Ben", "Cleo"), lambda members: np.nan if 1 in members else 0.0)
    with pytest.raises(SharingError, match=r"gain of coalition \{Ben, Cleo\} is nan"):
        some.value([1, 2])


def test_game__batch_function_returns_too_few__is_refused() -> None:
    some = Game.in_batches(("a", "b"), lambda _: [1.0, 2.0])
    with pytest.raises(SharingError, match=r"shape \(2,\) for 1 coalitions"):
        some.value([0])


def test_game__batch_of_none__is_refused() -> None:
    with pytest.raises(SharingError, match="batch: must be at least 1"):
        Game.in_batches(("a", "b"), lambda members: members.sum(axis=1), batch=0)


def test_game__player_out_of_range__is_refused() -> None:
    with pytest.raises(SharingError, match="there is no player 2: the game has 2"):
        Game(("a", "b"), squares).value([2])


def brute_force(net: np.ndarray, spread: np.ndarray, members: list[int]) -> float:
    """What the members pay alone, less what they pay with one meter; feed-in tariff zero."""
    total = 0.0
    for period, price in enumerate(spread):
        alone = sum(price * max(0.0, -net[peer, period]) for peer in members)
        total += alone - price * max(0.0, -sum(net[peer, period] for peer in members))
    return total


@given(nets, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_pool_game__any_net_energies__values_are_bills_alone_less_bills_together(
    net: np.ndarray, seed: int
) -> None:
    spread = np.random.default_rng(seed).random(net.shape[1])
    pool = PoolGame(net, 0.1 + spread, 0.1)
    coalitions = (np.arange(2 ** len(net))[:, None] >> np.arange(len(net)) & 1).astype(bool)
    expected = [brute_force(net, spread, np.flatnonzero(row).tolist()) for row in coalitions]
    assert pool.values(coalitions).tolist() == pytest.approx(expected, abs=1e-12)


@given(nets, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_pool_game__marginals__are_those_of_the_values_and_in_range(
    net: np.ndarray, seed: int
) -> None:
    random = np.random.default_rng(seed)
    pool = PoolGame(net, 0.3, 0.1)
    plain = Game.in_batches(pool.players, pool.values)
    orders = np.array([random.permutation(len(net)) for _ in range(5)])
    added = pool.marginals(orders)
    least, most = pool.marginal_range()
    assert added == pytest.approx(plain.marginals(orders), abs=1e-12)
    assert (added >= least - 1e-12).all()
    assert (added <= most + 1e-12).all()


@given(nets)
@settings(max_examples=30, deadline=None)
def test_pool_game__any_net_energies__core_is_not_empty(net: np.ndarray) -> None:
    # A market with one price per period: nobody can do better than at that price.
    assert least_core(PoolGame(net, 0.3, 0.1)).excess <= 1e-9


def test_pool_game__one_side_only__no_gain() -> None:
    assert PoolGame([[1, 0], [2, 3], [0, 1]], 0.3, 0.1).gain == 0


def test_pool_game__tariffs_by_period__each_has_its_spread() -> None:
    pool = PoolGame([[1, 1], [-2, -2]], [0.3, 0.5], [0.1, 0.0], players=("roof", "shop"))
    assert pool.gain == pytest.approx(0.2 + 0.5)
    assert pool.players == ("roof", "shop")
    assert pool.evaluations == 1


def test_pool_game__no_names__numbers() -> None:
    assert PoolGame([[1], [2]], 1, 0).players == ("1", "2")


def test_pool_game__traded_energy__long_side_in_proportion() -> None:
    traded = PoolGame([[3, -1], [-2, -1], [-2, 1], [0, 0]], 0.3, 0.1).traded_kwh()
    assert traded.tolist() == [[3, 0.5], [1.5, 0.5], [1.5, 1], [0, 0]]


def test_pool_game__net_energies_changed_later__do_not_change_the_game() -> None:
    net = np.array([[1.0], [-1.0]])
    pool = PoolGame(net, 0.3, 0.1)
    net[:] = 0
    assert pool.gain == pytest.approx(0.2)


def test_pool_game__progress__reaches_the_end() -> None:
    told: list[tuple[int, int]] = []
    PoolGame([[1], [-1]], 1, 0).values(
        np.ones((5, 2), bool), progress=lambda done, total: told.append((done, total))
    )
    assert told == [(5, 5)]


@pytest.mark.parametrize(
    ("net", "retail", "feed_in", "message"),
    [
        ([[1, np.nan]], 1, 0, r"net_kwh\[0\]\[1\]: is nan"),
        ([1, 2], 1, 0, "net_kwh: must have 2 axes, not 1"),
        ([[1], [2, 3]], 1, 0, "net_kwh: must be an array of numbers"),
        ([[1, 2]], [1, 2, 3], 0, "retail: has 3 numbers, expected one, or 2"),
        ([[1, 2]], [1, np.inf], 0, r"retail\[1\]: is inf"),
        ([[1, 2]], 1, [0, 2], r"feed_in\[1\]: 2 is above the retail tariff 1"),
    ],
)
def test_pool_game__malformed__is_refused(
    net: Any, retail: Any, feed_in: Any, message: str
) -> None:
    with pytest.raises(SharingError, match=message):
        PoolGame(net, retail, feed_in)


def test_pool_game__names_do_not_fit__is_refused() -> None:
    with pytest.raises(SharingError, match="net_kwh: has 2 rows for 1 players"):
        PoolGame([[1], [2]], 1, 0, players=("a",))
