"""`nucleolus` and `least_core`: games whose nucleolus is known, and what makes it the nucleolus."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sharing import textbook
from tests.sharing.textbook import meets_kohlberg, table, tables

from fairwatt.errors import SharingError
from fairwatt.sharing import Game, in_core, least_core, nucleolus
from fairwatt.sharing import _nucleolus as module

exactly = {"rel": 1e-12, "abs": 1e-12}


def test_nucleolus__glove_game__all_to_the_scarce_glove() -> None:
    sharing = nucleolus(textbook.glove())
    assert sharing.shares.tolist() == pytest.approx([1, 0, 0], **exactly)
    assert (sharing.rule, sharing.gain, sharing.evaluations) == ("nucleolus", 1, 7)
    assert sharing.error_bound is None


@pytest.mark.parametrize(
    ("estate", "awards"),
    [(100, [100 / 3] * 3), (200, [50, 75, 75]), (300, [50, 100, 150])],
)
def test_nucleolus__three_wives_of_the_talmud__as_in_the_mishnah(
    estate: float, awards: list[float]
) -> None:
    shares = nucleolus(textbook.bankruptcy(estate, [100, 200, 300])).shares
    assert shares.tolist() == pytest.approx(awards, **exactly)


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), st.floats(0.05, 0.95))
@settings(max_examples=40, deadline=None)
def test_nucleolus__any_bankruptcy__is_the_rule_of_the_talmud(
    claims: list[int], part: float
) -> None:
    estate = part * sum(claims)
    shares = nucleolus(textbook.bankruptcy(estate, claims)).shares
    assert shares.tolist() == pytest.approx(textbook.talmud(estate, claims), abs=1e-9)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=7))
@settings(max_examples=40, deadline=None)
def test_nucleolus__any_airport__is_what_littlechild_found(costs: list[int]) -> None:
    shares = nucleolus(textbook.airport(costs)).shares
    assert shares.tolist() == pytest.approx(textbook.airport_nucleolus(costs), abs=1e-9)


def test_nucleolus__unanimity__equal_among_those_who_are_needed() -> None:
    shares = nucleolus(textbook.unanimity(5, {0, 2, 3})).shares
    assert shares.tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 0], **exactly)


def test_nucleolus__majority__equal_although_the_core_is_empty() -> None:
    shares = nucleolus(textbook.majority(5)).shares
    assert shares.tolist() == pytest.approx([0.2] * 5, **exactly)


def test_nucleolus__weighted_majority__weights_that_represent_it() -> None:
    # Homogeneous: the nucleolus is the normalised minimal representation (Peleg 1968).
    shares = nucleolus(textbook.weighted_majority(5, [3, 2, 2, 1, 1])).shares
    assert shares.tolist() == pytest.approx([3 / 9, 2 / 9, 2 / 9, 1 / 9, 1 / 9], **exactly)


def test_nucleolus__excess_settled_in_several_rounds__goes_on_to_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solved: list[int] = []

    def counting(program, **options):  # type: ignore[no-untyped-def]
        solved.append(program.rows)
        return module_solve(program, **options)

    module_solve = module.solve
    monkeypatch.setattr(module, "solve", counting)
    costs = [1, 3, 8, 20, 50, 120]
    shares = nucleolus(textbook.airport(costs)).shares
    assert shares.tolist() == pytest.approx(textbook.airport_nucleolus(costs), **exactly)
    assert 3 <= len(solved) <= 5


def test_nucleolus__tight_in_one_optimum_only__is_not_settled() -> None:
    # {A,B} and {C,D} are worth 1 each: the least core is large, {A,C} etc. are tight in some of
    # its optima only. Whoever settles those gets it wrong; by symmetry all get half.
    pairs = [frozenset({0, 1}), frozenset({2, 3})]
    some = textbook.game(4, lambda members: float(sum(pair <= members for pair in pairs)))
    assert nucleolus(some).shares.tolist() == pytest.approx([0.5] * 4, **exactly)


@given(tables(gains=True))
@settings(max_examples=60, deadline=None)
def test_nucleolus__any_gains__meet_kohlbergs_criterion(values: list[float]) -> None:
    some = table(values)
    shares = nucleolus(some).shares
    assert (shares >= -1e-12).all()
    assert meets_kohlberg(some, shares)


@given(tables(5, 6, gains=True))
@settings(max_examples=15, deadline=None)
def test_nucleolus__more_players__meet_kohlbergs_criterion(values: list[float]) -> None:
    some = table(values)
    assert meets_kohlberg(some, nucleolus(some).shares)


def test_kohlbergs_criterion__other_shares__does_not_hold() -> None:
    # The criterion used above must be able to fail.
    assert not meets_kohlberg(textbook.bankruptcy(200, [100, 200, 300]), np.array([60, 70, 70]))
    assert not meets_kohlberg(textbook.airport([1, 2, 3]), np.array([0.6, 1.25, 1.15]))


@given(tables(gains=True))
@settings(max_examples=60, deadline=None)
def test_nucleolus__core_not_empty__lies_in_it(values: list[float]) -> None:
    some = table(values)
    shares = nucleolus(some).shares
    worst = least_core(some).excess
    assert in_core(some, shares, tolerance=1e-7) == (worst <= 1e-7)


@given(tables(gains=True), st.floats(0.01, 100), st.lists(st.integers(-9, 9), min_size=4))
@settings(max_examples=40, deadline=None)
def test_nucleolus__other_money_and_own_money__change_with_it(
    values: list[float], factor: float, own: list[int]
) -> None:
    def moved(at: int) -> float:
        return factor * values[at] + sum(own[player] for player in range(4) if at >> player & 1)

    other = table([moved(at) for at in range(len(values))])
    shares = nucleolus(table(values)).shares
    expected = factor * shares + own[: shares.size]
    assert nucleolus(other).shares.tolist() == pytest.approx(expected.tolist(), abs=1e-7)


@given(tables(3, 4, gains=True), st.data())
@settings(max_examples=40, deadline=None)
def test_nucleolus__players_renamed__shares_go_with_them(
    values: list[float], data: st.DataObject
) -> None:
    some = table(values)
    order = data.draw(st.permutations(range(len(some))))
    renamed = textbook.game(
        len(some), lambda members: some.value(order[player] for player in members)
    )
    expected = nucleolus(some).shares[order]
    assert nucleolus(renamed).shares.tolist() == pytest.approx(expected.tolist(), abs=1e-8)


def test_nucleolus__twelve_players__is_found() -> None:
    costs = [5, 9, 14, 20, 27, 35, 44, 54, 65, 77, 90, 104]
    sharing = nucleolus(textbook.airport(costs))
    assert sharing.shares.tolist() == pytest.approx(textbook.airport_nucleolus(costs), abs=1e-9)
    assert sharing.evaluations == 4095


def test_nucleolus__one_player__gets_the_gain() -> None:
    assert nucleolus(textbook.game(1, lambda _: 3.0)).shares.tolist() == [3]


def test_nucleolus__two_players__share_what_they_gain_by_meeting() -> None:
    assert nucleolus(table([0, 1, 2, 7])).shares.tolist() == pytest.approx([3, 4], **exactly)


def test_nucleolus__no_gain_at_all__shares_are_zero() -> None:
    assert nucleolus(table([0.0] * 8)).shares.tolist() == [0, 0, 0]


def test_nucleolus__no_gain_but_of_parts__nobody_gets_anything() -> None:
    shares = nucleolus(table([0, 0, 0, 5, 0, 0, 0, 0])).shares
    assert shares.tolist() == [0, 0, 0]


def test_nucleolus__a_loss__is_refused() -> None:
    with pytest.raises(SharingError, match="2 token more than all together"):
        nucleolus(table([0, 0, 0, -2]))


def test_nucleolus__thirteen_players__are_refused_before_any_is_valued() -> None:
    some = textbook.majority(13)
    with pytest.raises(SharingError, match="13 players are too many"):
        nucleolus(some)
    assert some.evaluations == 0


def test_nucleolus__values_in_millions_or_millionths__are_as_exact() -> None:
    for factor in (1e-9, 1e9):
        costs = [factor * cost for cost in (1, 2, 3)]
        shares = nucleolus(textbook.airport(costs)).shares / factor
        assert shares.tolist() == pytest.approx([0.5, 1.25, 1.25], **exactly)


@given(tables(3, 6, gains=True), st.sampled_from([1e-10, 1e-8, 1e-7]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_nucleolus__values_rounded_by_an_optimisation__move_it_no_further(
    values: list[float], noise: float, seed: int
) -> None:
    rounded = np.array(values)
    rounded[3:] += noise * np.random.default_rng(seed).random(rounded.size - 3)
    rounded[1 << np.arange((len(values) - 1).bit_length())] = 0
    exact, moved = nucleolus(table(values)), nucleolus(table(rounded.tolist()))
    assert moved.shares.tolist() == pytest.approx(exact.shares.tolist(), abs=100 * noise + 1e-9)


def test_nucleolus__progress__counts_the_coalitions() -> None:
    told: list[tuple[int, int]] = []
    nucleolus(textbook.glove(), progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 7) for done in range(1, 8)]


def test_least_core__majority_of_three__lets_pairs_down_by_a_third() -> None:
    core = least_core(textbook.majority(3))
    assert core.excess == pytest.approx(1 / 3)
    assert core.shares.tolist() == pytest.approx([1 / 3] * 3)


def test_least_core__room_in_the_core__negative_excess() -> None:
    assert least_core(textbook.unanimity(2, {0, 1})).excess == pytest.approx(-0.5)


def test_least_core__one_player__nobody_objects() -> None:
    core = least_core(textbook.game(1, lambda _: 3.0))
    assert (core.excess, core.shares.tolist()) == (0, [3])


def test_least_core__not_bound_by_what_players_have_alone() -> None:
    # In the least core C would pay 4.5 in to appease A and B; in the nucleolus nobody pays in.
    some = table([0, 0, 0, 12, 0, 0, 0, 3])
    assert least_core(some).excess == pytest.approx(4.5)
    shares = nucleolus(some).shares
    assert shares.tolist() == pytest.approx([1.5, 1.5, 0], **exactly)
    assert largest_excess(some, shares) == pytest.approx(9)


@given(tables(gains=True))
@settings(max_examples=40, deadline=None)
def test_least_core__any_gains__no_shares_do_better(values: list[float]) -> None:
    some = table(values)
    core = least_core(some)
    assert largest_excess(some, core.shares) == pytest.approx(core.excess, abs=1e-6)
    assert core.excess <= largest_excess(some, nucleolus(some).shares) + 1e-6


def largest_excess(some: Game, shares: np.ndarray) -> float:
    coalitions = (
        [player for player in range(len(some)) if at >> player & 1]
        for at in range(1, 2 ** len(some) - 1)
    )
    return max(some.value(members) - float(shares[members].sum()) for members in coalitions)
