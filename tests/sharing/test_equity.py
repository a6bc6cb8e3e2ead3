"""`gini`, `jain`, `min_max`: how evenly amounts are spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairwatt.errors import SharingError
from fairwatt.sharing import gini, jain, min_max

measures = pytest.mark.parametrize("measure", [gini, jain, min_max])
Measure = Callable[..., float]
some_amounts = st.lists(st.floats(0.01, 1000), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2, 2, 2], 0),
        ([0, 0, 0, 1], 3 / 4),
        ([1, 3], 1 / 4),
        ([3, 1], 1 / 4),
        ([1, 2, 3, 4], 1 / 4),
    ],
)
def test_gini__small_lists__known_values(values: list[float], expected: float) -> None:
    assert gini(values) == pytest.approx(expected)


@given(some_amounts)
def test_gini__any_amounts__half_the_relative_mean_difference(values: list[float]) -> None:
    count = len(values)
    difference = sum(abs(one - other) for one in values for other in values) / count**2
    assert gini(values) == pytest.approx(difference / (2 * sum(values) / count), abs=1e-12)


def test_gini__losers_among_winners__may_exceed_one() -> None:
    assert gini([-1, 2]) == pytest.approx(1.5)


def test_gini__loss_over_all__is_refused() -> None:
    with pytest.raises(SharingError, match="no Gini coefficient: the amounts sum to -1"):
        gini([1, -2])


@pytest.mark.parametrize(
    ("values", "expected"), [([2, 2, 2], 1), ([0, 0, 0, 1], 1 / 4), ([1, 3], 16 / 20)]
)
def test_jain__small_lists__known_values(values: list[float], expected: float) -> None:
    assert jain(values) == pytest.approx(expected)


def test_jain__squares_beyond_floats__is_found() -> None:
    assert jain([1e300, 3e300]) == pytest.approx(0.8)
    assert jain([1e-300, 3e-300]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("values", "expected"), [([2, 2], 1), ([0, 5], 0), ([2, 8, 4], 1 / 4), ([-1, 4], -1 / 4)]
)
def test_min_max__small_lists__known_values(values: list[float], expected: float) -> None:
    assert min_max(values) == pytest.approx(expected)


def test_min_max__nobody_has_anything_positive__is_refused() -> None:
    with pytest.raises(SharingError, match="nobody has a positive amount"):
        min_max([-1, 0])


@pytest.mark.parametrize(("measure", "even"), [(gini, 0), (jain, 1), (min_max, 1)])
def test_measures__nobody_has_anything__is_even(measure: Measure, even: float) -> None:
    assert measure([0, 0, 0]) == even
    assert measure([0.1, 0.1, 0.1]) == pytest.approx(even)


@measures
@given(values=some_amounts, people=st.lists(st.integers(1, 5), min_size=12, max_size=12))
def test_measures__population__as_if_each_person_were_listed(
    measure: Measure, values: list[float], people: list[int]
) -> None:
    people = people[: len(values)]
    listed = [
        value / count for value, count in zip(values, people, strict=True) for _ in range(count)
    ]
    assert measure(values, people) == pytest.approx(measure(listed), abs=1e-9)


@measures
@given(values=some_amounts, factor=st.floats(0.01, 100))
def test_measures__other_currency__no_difference(
    measure: Measure, values: list[float], factor: float
) -> None:
    assert measure([factor * value for value in values]) == pytest.approx(measure(values), abs=1e-9)


@measures
@pytest.mark.parametrize(
    ("values", "population", "message"),
    [
        ([], None, "values: must have at least one amount"),
        ([1, float("nan")], None, r"values\[1\]: is nan"),
        ([1, 2], [1], "population: has 1 numbers for 2 peers"),
        ([1, 2], [1, 0], r"population\[1\]: must be above 0, not 0"),
    ],
)
def test_measures__malformed__are_refused(
    measure: Measure, values: Any, population: Any, message: str
) -> None:
    with pytest.raises(SharingError, match=message):
        measure(values, population)
