"""Imbalances: what a reading, or the lack of one, comes to beside a position."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairwatt.imbalances import Imbalance, Tariff, estimate_imbalance, settle_reading

RETAIL, FEED_IN = 300, 80
TARIFF = Tariff(0, RETAIL, FEED_IN)


@pytest.mark.parametrize(
    ("metered_wh", "position_wh", "energy_wh", "payment_nano"),
    [
        (1_200, 1_000, 200, 200 * FEED_IN),  # sold too little
        (700, 1_000, -300, -300 * RETAIL),  # delivers too little
        (-1_300, -1_000, -300, -300 * RETAIL),  # takes more than it bought
        (-900, -1_000, 100, 100 * FEED_IN),  # takes less
        (-50, 1_000, -1_050, -1_050 * RETAIL),  # takes instead of delivering
        (5, 5, 0, 0),
    ],
)
def test_settle_reading__surplus_or_shortage__is_the_suppliers(
    metered_wh: int, position_wh: int, energy_wh: int, payment_nano: int
) -> None:
    expected = Imbalance(7, (energy_wh,), payment_nano)
    assert settle_reading(7, [metered_wh], [position_wh], [TARIFF]) == expected


def test_settle_reading__periods__are_settled_each_by_itself() -> None:
    tariffs = [TARIFF, replace(TARIFF, retail_micro_per_kwh=1, feed_in_micro_per_kwh=-2)] * 2
    row = settle_reading(7, [10, 10, -10, -10], [0, 0, 0, 0], tariffs)
    assert row.energy_wh == (10, 10, -10, -10)
    assert row.payment_nano == 10 * FEED_IN + 10 * -2 - 10 * RETAIL - 10 * 1


def test_settle_reading__not_one_value_per_period__is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        settle_reading(7, [1, 2], [0], [TARIFF])
    with pytest.raises(ValueError, match="zip"):
        settle_reading(7, [1], [0], [TARIFF, TARIFF])


def test_estimate__buyer_has_taken_and_seller_has_not_delivered() -> None:
    row = estimate_imbalance(7, [1_000, -500, 0], [TARIFF] * 3)
    assert row == Imbalance(7, (-1_000, 0, 0), -1_000 * RETAIL, estimated=True)


def test_estimate__negative_retail_tariff__is_no_gain() -> None:
    negative = replace(TARIFF, retail_micro_per_kwh=-10)
    assert estimate_imbalance(7, [1_000], [negative]).payment_nano == 0
    # Of several periods the sum counts.
    assert estimate_imbalance(7, [1_000, 10], [TARIFF, negative]).payment_nano == -299_900
    assert estimate_imbalance(7, [1, 1_000], [TARIFF, negative]).payment_nano == 0


_wh = st.integers(-(10**6), 10**6)
_price = st.integers(-(2**31), 2**31 - 1)


@given(
    periods=st.lists(
        st.tuples(_wh, _wh, st.builds(Tariff, st.just(0), _price, _price)), min_size=1, max_size=5
    )
)
def test_settle_reading__after_an_estimate__comes_to_the_same_in_all(
    periods: list[tuple[int, int, Tariff]],
) -> None:
    metered, position, tariffs = (list(column) for column in zip(*periods, strict=True))
    estimate = estimate_imbalance(7, position, tariffs)
    at_once = settle_reading(7, metered, position, tariffs)
    late = settle_reading(7, metered, position, tariffs, estimated_before=True)
    assert estimate.payment_nano <= 0
    assert estimate.payment_nano + late.payment_nano == at_once.payment_nano
    assert late.energy_wh == at_once.energy_wh
