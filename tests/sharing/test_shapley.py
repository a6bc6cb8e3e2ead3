"""`shapley`: games whose value is known, the axioms, and how far a sample may be off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sharing import textbook
from tests.sharing.textbook import table, tables

from fairwatt.errors import SharingError
from fairwatt.sharing import Game, PoolGame, in_core, objections, shapley

exactly = {"rel": 1e-12, "abs": 1e-12}


def test_shapley__glove_game__outside_the_core() -> None:
    glove = textbook.glove()
    sharing = shapley(glove)
    assert sharing.shares.tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6], **exactly)
    assert (sharing.rule, sharing.gain, sharing.evaluations) == ("Shapley value", 1, 7)
    assert sharing.error_bound is None
    assert not in_core(glove, sharing.shares)
    assert [found.members for found in objections(glove, sharing.shares)] == [
        ("A", "B"),
        ("A", "C"),
    ]


def test_shapley__airport__each_piece_is_paid_by_those_who_need_it() -> None:
    shares = shapley(textbook.airport([1, 2, 3])).shares
    assert shares.tolist() == pytest.approx([1 - 1 / 3, 2 - 5 / 6, 3 - 11 / 6], **exactly)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_shapley__any_airport__is_what_littlechild_and_owen_found(costs: list[int]) -> None:
    shares = shapley(textbook.airport(costs)).shares
    assert shares.tolist() == pytest.approx(textbook.airport_shapley(costs), abs=1e-9)


def test_shapley__unanimity__equal_among_those_who_are_needed() -> None:
    shares = shapley(textbook.unanimity(5, {0, 2, 3})).shares
    assert shares.tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 0], **exactly)


def test_shapley__majority__equal() -> None:
    shares = shapley(textbook.majority(7)).shares
    assert shares.tolist() == pytest.approx([1 / 7] * 7, **exactly)


def test_shapley__fifty_fortynine_one__small_party_as_strong_as_the_large() -> None:
    shares = shapley(textbook.weighted_majority(51, [50, 49, 1])).shares
    assert shares.tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6], **exactly)


def test_shapley__security_council__exact_on_demand() -> None:
    shares = shapley(textbook.security_council(), exact_players=15).shares
    assert shares.tolist() == pytest.approx([421 / 2145] * 5 + [4 / 2145] * 10, **exactly)


def test_shapley__a_loss__is_shared() -> None:
    assert shapley(table([0, 0, 0, -2])).shares.tolist() == [-1, -1]


def test_shapley__no_gain__zero() -> None:
    assert shapley(table([0.0] * 8)).shares.tolist() == [0, 0, 0]


def test_shapley__one_player__gets_the_gain() -> None:
    assert shapley(textbook.game(1, lambda _: 3.0)).shares.tolist() == [3]


def test_shapley__gain_far_below_the_values_of_parts__sums_to_it() -> None:
    # Adding up millions loses more than the gain can have.
    some = textbook.game(
        9, lambda members: 1e-9 if len(members) == 9 else 1e6 / 3 * len(members) % 7e5
    )
    assert shapley(some).shares.sum() == pytest.approx(1e-9, abs=1e-24)


@given(tables(1, 5))
@settings(max_examples=60, deadline=None)
def test_shapley__any_game__average_over_all_orders(values: list[float]) -> None:
    some = table(values)
    orders = np.array(list(permutations_of(len(some))))
    expected = some.marginals(orders).mean(axis=0)
    assert shapley(some).shares.tolist() == pytest.approx(expected.tolist(), abs=1e-9)


def permutations_of(count: int) -> list[list[int]]:
    orders: list[list[int]] = [[]]
    for player in range(count):
        orders = [
            [*order[:at], player, *order[at:]] for order in orders for at in range(len(order) + 1)
        ]
    return orders


@given(tables(2, 5))
@settings(max_examples=60, deadline=None)
def test_shapley__any_game__efficient(values: list[float]) -> None:
    assert shapley(table(values)).shares.sum() == pytest.approx(values[-1], abs=1e-9)


@given(tables(2, 4))
@settings(max_examples=60, deadline=None)
def test_shapley__interchangeable_players__same_share(values: list[float]) -> None:
    # A and B made so: coalitions with one of them are worth what those with the other are.
    made = list(values)
    for at in range(len(values)):
        if at & 3 == 2:
            made[at] = made[at ^ 3]
    shares = shapley(table(made)).shares
    assert shares[0] == pytest.approx(shares[1], abs=1e-9)


@given(tables(2, 4))
@settings(max_examples=60, deadline=None)
def test_shapley__player_who_adds_nothing__gets_nothing(values: list[float]) -> None:
    doubled = [values[at >> 1] for at in range(2 * len(values))]  # A adds nothing
    shares = shapley(table(doubled)).shares
    assert shares[0] == pytest.approx(0, abs=1e-9)
    assert shares[1:].tolist() == pytest.approx(shapley(table(values)).shares.tolist(), abs=1e-9)


@given(tables(3, 3), tables(3, 3), st.floats(-5, 5))
@settings(max_examples=60, deadline=None)
def test_shapley__games_added__shares_added(
    first: list[float], second: list[float], factor: float
) -> None:
    both = [one + factor * other for one, other in zip(first, second, strict=True)]
    expected = shapley(table(first)).shares + factor * shapley(table(second)).shares
    assert shapley(table(both)).shares.tolist() == pytest.approx(expected.tolist(), abs=1e-9)


# Sampled


def pool(peers: int, periods: int = 24, seed: int = 5) -> PoolGame:
    random = np.random.default_rng(seed)
    roofs = random.random(peers) < 0.5
    sun = np.maximum(0, np.sin(np.linspace(-1.5, 4.6, periods)))
    net = roofs[:, None] * random.uniform(1, 2, (peers, 1)) * sun - random.gamma(
        1, 0.3, (peers, periods)
    )
    return PoolGame(net, 0.3, 0.08)


def errors(some: Game, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    exact = shapley(some, exact_players=20)
    sampled = shapley(some, exact_players=0, **options)
    assert sampled.error_bound is not None
    return np.abs(sampled.shares - exact.shares), sampled.error_bound.token


@pytest.mark.parametrize("seed", range(5))
def test_sampled__pool_of_fourteen__within_a_bound_that_says_something(seed: int) -> None:
    some = pool(14)
    error, bound = errors(some, seed=seed, pairs=1000)
    assert (error <= bound).all()
    _, most = some.marginal_range()
    assert (bound < 0.06 * most).all()


def test_sampled__security_council__within_the_bound() -> None:
    error, bound = errors(textbook.security_council(), seed=1, pairs=2000)
    assert (error <= bound).all()
    assert bound.max() < 0.04
    assert bound[5:].max() < 0.01  # those who hardly ever decide: Bernstein, not Hoeffding


@given(tables(2, 5, gains=True), st.integers(0, 1000), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_sampled__any_game_with_its_range__within_the_bound_and_efficient(
    values: list[float], seed: int, pairs: int
) -> None:
    known = table(values)
    some = Game.in_batches(known.players, known.values, marginal_range=(-12, 12))
    # With this confidence no seed of the test is ever expected to fail.
    error, bound = errors(some, seed=seed, pairs=pairs, confidence=1 - 1e-9)
    assert (error <= bound + 1e-9).all()
    assert (bound <= 24).all()
    shares = shapley(some, exact_players=0, seed=seed, pairs=pairs).shares
    assert shares.sum() == pytest.approx(values[-1], abs=1e-9)


def test_sampled__many_seeds__bound_holds_as_often_as_it_says() -> None:
    known = textbook.weighted_majority(6, [4, 3, 2, 1])
    exact = shapley(known).shares
    some = Game.in_batches(known.players, known.values)
    missed = 0
    for seed in range(200):
        sampled = shapley(some, exact_players=0, seed=seed, pairs=40, confidence=0.8)
        assert sampled.error_bound is not None
        missed += bool((np.abs(sampled.shares - exact) > sampled.error_bound.token).any())
    assert missed <= 0.2 * 200


def test_sampled__more_pairs__tighter_bound() -> None:
    some = pool(20)
    bounds = [
        shapley(some, seed=0, pairs=pairs).error_bound.token.sum()  # type: ignore[union-attr]
        for pairs in (10, 100, 1000)
    ]
    assert bounds[0] > 2 * bounds[1] > 4 * bounds[2]


def test_sampled__less_confidence__tighter_bound() -> None:
    some = pool(13)
    sure, unsure = (
        shapley(some, seed=0, pairs=100, confidence=confidence).error_bound
        for confidence in (0.99, 0.5)
    )
    assert sure is not None
    assert unsure is not None
    assert (sure.token > unsure.token).all()
    assert (sure.confidence, sure.orders) == (0.99, 200)
    assert sure.method == "empirical Bernstein, predictable plug-in"


def test_sampled__same_seed__same_shares() -> None:
    first, again, other = (shapley(pool(30), seed=seed, pairs=50).shares for seed in (7, 7, 8))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_sampled__tolerance__ends_early() -> None:
    some = pool(30)
    sampled = shapley(some, seed=0, pairs=200_000, tolerance_token=0.02 * some.gain)
    assert sampled.error_bound is not None
    assert (sampled.error_bound.token <= 0.02 * some.gain).all()
    assert sampled.error_bound.orders < 20_000


def test_sampled__players_who_always_add_the_same__bound_is_zero() -> None:
    worth = np.arange(14.0)
    some = Game.in_batches(
        textbook.players(14), lambda members: members @ worth, marginal_range=(worth, worth)
    )
    sampled = shapley(some, seed=0, pairs=3)
    assert sampled.shares.tolist() == pytest.approx(worth.tolist())
    assert sampled.error_bound is not None
    assert sampled.error_bound.token.tolist() == [0] * 14


def test_sampled__pool__same_as_the_game_of_its_values() -> None:
    fast = pool(13)
    slow = Game.in_batches(fast.players, fast.values, marginal_range=fast.marginal_range())
    quick, plain = (shapley(some, seed=3, pairs=40) for some in (fast, slow))
    assert quick.shares.tolist() == pytest.approx(plain.shares.tolist(), abs=1e-12)
    assert quick.error_bound is not None
    assert plain.error_bound is not None
    assert quick.error_bound.token.tolist() == pytest.approx(plain.error_bound.token.tolist())


def test_sampled__a_thousand_peers__sum_to_the_gain() -> None:
    some = pool(1000)
    sampled = shapley(some, seed=0, pairs=60)
    assert sampled.shares.sum() == pytest.approx(some.gain, rel=1e-12)
    assert (sampled.shares >= 0).all()


def test_sampled__progress__counts_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    shapley(
        textbook.majority(13),
        seed=0,
        pairs=3,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(26, 78), (52, 78), (78, 78)]


def test_sampled__game_is_not_monotone__bound_would_be_untrue() -> None:
    some = textbook.game(13, lambda members: 1.0 if len(members) in {5, 13} else 0.0)
    with pytest.raises(SharingError, match=r"adds -1 token .* outside its marginal range 0 to 1"):
        shapley(some, seed=0)
    given_a_range = Game(some.players, some.value, marginal_range=(-1, 1))
    assert shapley(given_a_range, seed=0, pairs=5).gain == 1


def test_sampled__no_seed__is_refused() -> None:
    with pytest.raises(SharingError, match="seed: 13 players are too many for the exact"):
        shapley(textbook.majority(13))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed: must not be negative"),
        ({"pairs": 0}, "pairs: must be at least 1"),
        ({"confidence": 1.0}, "confidence: must lie between 0 and 1"),
        ({"confidence": float("nan")}, "confidence: must lie between 0 and 1"),
        ({"tolerance_token": -1.0}, "tolerance_token: must be at least 0"),
        ({"exact_players": 21}, "exact_players: must be 0 to 20, not 21"),
    ],
)
def test_sampled__options_out_of_range__are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SharingError, match=message):
        shapley(textbook.majority(13), **{"seed": 0, **options})
