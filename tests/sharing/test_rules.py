"""`Sharing` and the rules that share equally or by weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairwatt.errors import SharingError
from fairwatt.sharing import Sharing, by_contribution, by_need, by_renewable_share, equal

PEERS = ("Ada", "Ben", "Cleo")
Rule = Callable[..., Sharing]
by_weights = pytest.mark.parametrize(
    ("rule", "name", "argument"),
    [
        (by_contribution, "contribution", "traded_kwh"),
        (by_need, "need", "need"),
        (by_renewable_share, "renewable share", "renewable_kwh"),
    ],
)


def test_equal__a_gain__the_same_for_all() -> None:
    sharing = equal(6.0, PEERS)
    assert sharing.shares.tolist() == [2, 2, 2]
    assert (sharing.rule, sharing.players, sharing.gain) == ("equal", PEERS, 6)
    assert (sharing.evaluations, sharing.error_bound) == (0, None)


@pytest.mark.parametrize("gain", [0.0, -3.0])
def test_equal__nothing_or_a_loss__is_shared_equally(gain: float) -> None:
    assert equal(gain, PEERS).shares.tolist() == [gain / 3] * 3


@pytest.mark.parametrize("gain", [float("nan"), float("inf"), "much"])
def test_equal__gain_is_no_number__is_refused(gain: Any) -> None:
    with pytest.raises(SharingError, match="gain: "):
        equal(gain, PEERS)


def test_equal__nobody__is_refused() -> None:
    with pytest.raises(SharingError, match="players: must be a list of at least one name"):
        equal(1.0, ())


@by_weights
def test_weights__a_gain__in_proportion(rule: Rule, name: str, argument: str) -> None:
    sharing = rule(8.0, PEERS, **{argument: [1, 0, 3]})
    assert sharing.shares.tolist() == [2, 0, 6]
    assert sharing.rule == name


@by_weights
def test_weights__huge_or_tiny__in_proportion(rule: Rule, name: str, argument: str) -> None:
    for weights in ([1e308, 0, 1e308], [1e-320, 0, 1e-320]):
        assert rule(8.0, PEERS, **{argument: weights}).shares.tolist() == [4, 0, 4]


@by_weights
def test_weights__energy_per_period__is_summed(rule: Rule, name: str, argument: str) -> None:
    shares = rule(8.0, PEERS, **{argument: [[1, 0], [0, 0], [1, 2]]}).shares
    assert shares.tolist() == [2, 0, 6]


@by_weights
def test_weights__all_zero_and_a_gain__is_refused(rule: Rule, name: str, argument: str) -> None:
    with pytest.raises(SharingError, match=f"{argument}: all weights are zero, .* gain of 8 token"):
        rule(8.0, PEERS, **{argument: [0, 0, 0]})


@by_weights
def test_weights__all_zero_and_no_gain__nobody_gets_anything(
    rule: Rule, name: str, argument: str
) -> None:
    assert rule(0.0, PEERS, **{argument: [0, 0, 0]}).shares.tolist() == [0, 0, 0]


@by_weights
def test_weights__no_gain__nobody_gets_anything(rule: Rule, name: str, argument: str) -> None:
    assert rule(0.0, PEERS, **{argument: [1, 2, 3]}).shares.tolist() == [0, 0, 0]


@by_weights
def test_weights__a_loss__is_refused(rule: Rule, name: str, argument: str) -> None:
    with pytest.raises(SharingError, match="costs 2 token more than its peers alone"):
        rule(-2.0, PEERS, **{argument: [1, 2, 3]})


@by_weights
def test_weights__a_loss_of_rounding__is_shared(rule: Rule, name: str, argument: str) -> None:
    shares = rule(-4e-9, PEERS, **{argument: [1, 0, 3]}).shares
    assert shares.tolist() == pytest.approx([-1e-9, 0, -3e-9])


@by_weights
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -2, 3], ": -2 of 'Ben' must not be negative"),
        ([1, 2, float("nan")], r"\[2\]: is nan, must be a finite number"),
        ([1, 2], r": has shape \(2,\) for 3 players"),
        (1.0, ": must have 1 or 2 axes, not 0"),
        (["a", "b", "c"], ": must be an array of numbers"),
        ([[1], [2, 3], [4]], ": must be an array of numbers"),
    ],
)
def test_weights__malformed__are_refused(
    rule: Rule, name: str, argument: str, weights: Any, message: str
) -> None:
    with pytest.raises(SharingError, match=argument + message):
        rule(8.0, PEERS, **{argument: weights})


@given(st.floats(0, 1e9), st.lists(st.floats(0, 1e9), min_size=1, max_size=40).filter(any))
@example(gain=5e-324, weights=[1.0, 2.0, 3.0])  # too small to be divided
def test_weights__any__sum_to_the_gain_and_nobody_pays(gain: float, weights: list[float]) -> None:
    shares = by_need(gain, [str(at) for at in range(len(weights))], weights).shares
    assert shares.sum() == pytest.approx(gain, rel=1e-12)
    assert (shares >= 0).all()


def test_sharing__share_of__by_name() -> None:
    assert by_need(8.0, PEERS, [1, 0, 3]).share_of("Cleo") == 6
    with pytest.raises(SharingError, match="there is no player 'Dan' in this sharing"):
        equal(6.0, PEERS).share_of("Dan")


def test_sharing__bills__costs_alone_less_shares() -> None:
    assert equal(6.0, PEERS).bills([10, 1, -5]).tolist() == [8, -1, -7]
    with pytest.raises(SharingError, match="alone: has 2 costs for 3 players"):
        equal(6.0, PEERS).bills([10, 1])


def test_sharing__shares_do_not_sum_to_the_gain__cannot_be() -> None:
    with pytest.raises(
        SharingError, match=r"my rule: the shares sum to .*2\.9.*, the gain is 3\.0"
    ):
        Sharing("my rule", PEERS, 3.0, np.array([1, 1, 0.9]))


def test_sharing__other_count__cannot_be() -> None:
    with pytest.raises(SharingError, match="my rule: 2 shares for 3 players"):
        Sharing("my rule", PEERS, 2.0, np.ones(2))


def test_sharing__shares__cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        equal(6.0, PEERS).shares[0] = 5
