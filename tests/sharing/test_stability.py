"""`objections`, `in_core`, `standings`: who has cause to leave."""

from __future__ import annotations

from typing import Any

import pytest
from tests.sharing import textbook

from fairwatt.errors import SharingError
from fairwatt.sharing import Objection, Standing, equal, in_core, objections, standings


def test_objections__equal_sharing_of_the_glove_game__pairs_leave_with_the_scarce_glove() -> None:
    glove = textbook.glove()
    found = objections(glove, equal(glove.gain, glove.players).shares)
    assert [objection.members for objection in found] == [("A", "B"), ("A", "C")]
    assert [objection.excess for objection in found] == pytest.approx([1 / 3, 1 / 3])
    assert (found[0].value, found[0].share) == pytest.approx((1, 2 / 3))


def test_objections__several__the_worst_first() -> None:
    found = objections(textbook.majority(3), [0.8, 0.2, 0.0])
    assert [objection.members for objection in found] == [("B", "C"), ("A", "C")]


def test_objections__a_single_player_pays_in__objects_too() -> None:
    some = textbook.unanimity(2, {0, 1})
    assert objections(some, [1.25, -0.25]) == (Objection(("B",), 0.0, -0.25),)


def test_objections__within_the_tolerance__nobody_leaves() -> None:
    some = textbook.unanimity(2, {0, 1})
    assert not objections(some, [1 + 1e-10, -1e-10])
    assert not objections(some, [1.25, -0.25], tolerance=0.25)


def test_in_core__shares_nobody_can_better__are_in_it() -> None:
    assert in_core(textbook.glove(), [1, 0, 0])
    assert not in_core(textbook.glove(), [0.9, 0.1, 0])


def test_in_core__empty_core__nothing_is_in_it() -> None:
    assert not in_core(textbook.majority(3), [1 / 3, 1 / 3, 1 / 3])


def test_in_core__progress__counts_the_coalitions() -> None:
    told: list[int] = []
    in_core(textbook.glove(), [1, 0, 0], progress=lambda done, _: told.append(done))
    assert told[-1] == 6  # the gain of all was known


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([1, 0], "shares: has 2 numbers for 3 players"),
        ([1, 1, 0], "shares: sum to 2 token, the gain is 1"),
        ([1, float("nan"), 0], r"shares\[1\]: is nan"),
    ],
)
def test_objections__malformed_shares__are_refused(shares: Any, message: str) -> None:
    with pytest.raises(SharingError, match=message):
        objections(textbook.glove(), shares)


def test_objections__twentyone_players__are_refused_before_any_is_valued() -> None:
    some = textbook.majority(21)
    with pytest.raises(SharingError, match="21 players are too many"):
        objections(some, [1 / 21] * 21)
    assert some.evaluations == 0


def test_standings__bills__peer_by_peer() -> None:
    found = standings(("Ada", "Ben"), [10, -2], [8, -1.5])
    assert found == (Standing("Ada", 10, 8, rational=True), Standing("Ben", -2, -1.5, False))
    assert [standing.gain for standing in found] == [2, -0.5]


def test_standings__as_much_as_alone__is_rational() -> None:
    assert standings(("Ada",), [10], [10])[0].rational
    assert standings(("Ada",), [10], [10 + 1e-10])[0].rational
    assert not standings(("Ada",), [10], [10 + 1e-8])[0].rational
    assert standings(("Ada",), [10], [10.5], tolerance=0.5)[0].rational


@pytest.mark.parametrize(
    ("alone", "pays", "message"),
    [
        ([1], [1, 2], "alone: has 1 numbers for 2 peers"),
        ([1, 2], [1], "pays: has 1 numbers for 2 peers"),
        ([1, float("inf")], [1, 2], r"alone\[1\]: is inf"),
    ],
)
def test_standings__malformed__are_refused(alone: Any, pays: Any, message: str) -> None:
    with pytest.raises(SharingError, match=message):
        standings(("Ada", "Ben"), alone, pays)
