"""Price rules of a pool: formulas by hand, budget balance, who may lose."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mechanisms.communities import QUICK, SLACK, outside_bill, positions, require_balanced

from fairwatt.errors import MechanismError
from fairwatt.mechanisms import alone, bill_sharing, mid_market_rate, supply_demand_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mechanisms.communities import Positions

    from fairwatt.mechanisms import PoolResult

RULES = (mid_market_rate, supply_demand_ratio, bill_sharing)
EVERYBODY = (alone, *RULES)
RETAIL, FEED_IN = 0.30, 0.10


def column(*net: float) -> np.ndarray:
    """One period."""
    return np.array(net)[:, None]


def priced(result: PoolResult) -> tuple[float, float]:
    return float(result.buy_per_kwh[0]), float(result.sell_per_kwh[0])


# No community


def test_alone__each_peer__pays_and_gets_its_own_tariffs() -> None:
    result = alone(column(6, 2, -4), RETAIL, FEED_IN)
    np.testing.assert_allclose(result.bills, [1.8, 0.6, -0.4])
    assert priced(result) == pytest.approx((0.30, 0.10))
    assert (result.import_kwh.tolist(), result.export_kwh.tolist()) == ([8], [4])
    assert result.outside_bill == pytest.approx(2.0)


def test_alone__own_tariffs__prices_are_what_is_paid_on_average() -> None:
    result = alone(column(1, 3, -1, -1), [[0.2], [0.4], [0.3], [0.3]], [[0], [0], [0.1], [0.2]])
    assert priced(result) == pytest.approx(((0.2 + 3 * 0.4) / 4, 0.15))


def test_alone__nobody_buys_or_sells__prices_are_the_best_tariffs() -> None:
    assert priced(alone(column(0, 0), [[0.3], [0.2]], [[0.1], [0.0]])) == (0.2, 0.1)


# Mid-market rate


def test_mid_market_rate__balanced__everybody_trades_at_the_middle() -> None:
    result = mid_market_rate(column(3, 1, -4), RETAIL, FEED_IN)
    assert priced(result) == pytest.approx((0.20, 0.20))
    np.testing.assert_allclose(result.bills, [0.6, 0.2, -0.8])
    assert result.outside_bill == 0


def test_mid_market_rate__surplus__sellers_share_the_feed_in_tariff() -> None:
    result = mid_market_rate(column(2, -3, -5), RETAIL, FEED_IN)
    assert priced(result) == pytest.approx((0.20, (2 * 0.20 + 6 * 0.10) / 8))
    np.testing.assert_allclose(result.bills, [0.4, -0.375, -0.625])
    assert (result.import_kwh[0], result.export_kwh[0]) == (0, 6)


def test_mid_market_rate__deficit__buyers_share_the_retail_tariff() -> None:
    result = mid_market_rate(column(3, 5, -2), RETAIL, FEED_IN)
    assert priced(result) == pytest.approx(((2 * 0.20 + 6 * 0.30) / 8, 0.20))
    np.testing.assert_allclose(result.bills, [0.825, 1.375, -0.4])
    assert (result.import_kwh[0], result.export_kwh[0]) == (6, 0)


def test_mid_market_rate__own_tariffs__the_rest_is_each_peers_own_suppliers() -> None:
    result = mid_market_rate(column(2, 6, -4), [[0.30], [0.40], [0.50]], [[0.0], [0.0], [0.10]])
    # Middle of 0.30 and 0.10; half of every deficit is served inside.
    np.testing.assert_allclose(
        result.bills, [0.20 + 0.30, 3 * 0.20 + 3 * 0.40, -4 * 0.20], atol=SLACK
    )
    assert result.outside_bill == pytest.approx(0.30 + 3 * 0.40)


# Supply-demand ratio


@pytest.mark.parametrize(
    ("supply", "buy", "sell"),
    [
        (0, 0.30, 0.30),
        (2, 0.4 / 6 + 0.6 * 0.30, 1 / 6),
        (4, 0.8 * 3 / 26 + 0.2 * 0.30, 3 / 26),
        (5, 0.10, 0.10),
        (20, 0.10, 0.10),
    ],
)
def test_supply_demand_ratio__five_demanded__price_falls_from_retail_to_feed_in(
    supply: float, buy: float, sell: float
) -> None:
    got = priced(supply_demand_ratio(column(5, -supply), RETAIL, FEED_IN))
    assert got == pytest.approx((buy, sell))


def test_supply_demand_ratio__half_of_demand__by_hand() -> None:
    result = supply_demand_ratio(column(4, 4, -4), RETAIL, FEED_IN)
    # 0.1 * 0.3 / (0.2 * 0.5 + 0.1) = 0.15; buyers pay the mean of 0.15 and 0.30.
    assert priced(result) == pytest.approx((0.225, 0.15))
    np.testing.assert_allclose(result.bills, [0.9, 0.9, -0.6])


def test_supply_demand_ratio__surplus_with_compensation__sellers_keep_a_part() -> None:
    result = supply_demand_ratio(column(4, -8), RETAIL, FEED_IN, compensation_per_kwh=0.06)
    assert priced(result) == pytest.approx((0.16, 0.13))
    np.testing.assert_allclose(result.bills, [0.64, -1.04])


def test_supply_demand_ratio__compensation__has_no_jump_where_supply_meets_demand() -> None:
    below, above = (
        priced(supply_demand_ratio(column(4, -s), RETAIL, FEED_IN, compensation_per_kwh=0.06))
        for s in (4 - 1e-9, 4 + 1e-9)
    )
    assert below == pytest.approx(above)
    assert below == pytest.approx((0.16, 0.16))


def test_supply_demand_ratio__energy_worth_nothing_outside__is_free_inside() -> None:
    assert priced(supply_demand_ratio(column(4, -1), 0.30, 0.0)) == pytest.approx((0.225, 0.0))


def test_supply_demand_ratio__nothing_supplied_and_worth_nothing__costs_retail() -> None:
    assert priced(supply_demand_ratio(column(4, 0), 0.30, 0.0)) == (0.30, 0.30)


def test_supply_demand_ratio__negative_feed_in__is_refused() -> None:
    with pytest.raises(MechanismError, match=r"highest of all peers is -0.1 in period 1"):
        supply_demand_ratio([[1.0, 1.0]], 0.3, [0.1, -0.1])


@pytest.mark.parametrize("compensation", [-0.01, 0.21])
def test_supply_demand_ratio__compensation_out_of_range__is_refused(compensation: float) -> None:
    with pytest.raises(MechanismError, match=r"compensation_per_kwh\[1\]: must be 0 to .* 0\.2,"):
        supply_demand_ratio([[1.0, 1.0]], 0.3, 0.1, compensation_per_kwh=[0.0, compensation])


def test_supply_demand_ratio__compensation_of_another_length__is_refused() -> None:
    with pytest.raises(MechanismError, match=r"compensation_per_kwh: has shape \(3,\), expected"):
        supply_demand_ratio([[1.0, 1.0]], 0.3, 0.1, compensation_per_kwh=[0.0, 0.0, 0.0])


# Bill sharing


def test_bill_sharing__two_periods__costs_by_imports_and_income_by_exports() -> None:
    net = [[6, 2], [2, 0], [-4, -8]]
    result = bill_sharing(net, RETAIL, FEED_IN)
    # 4 kWh are bought for 1.2 token, 6 sold for 0.6; 10 kWh of deficit, 12 of surplus.
    assert priced(result) == pytest.approx((0.12, 0.05))
    np.testing.assert_allclose(result.bills, [0.96, 0.24, -0.6])
    assert (result.import_kwh.tolist(), result.export_kwh.tolist()) == ([4, 0], [0, 6])


def test_bill_sharing__what_is_exchanged_inside__is_free_so_the_seller_loses() -> None:
    """The counterexample: not individually rational."""
    given_ = (column(4, -4), RETAIL, FEED_IN)
    np.testing.assert_allclose(bill_sharing(*given_).bills, [0.0, 0.0])
    np.testing.assert_allclose(alone(*given_).bills, [1.2, -0.4])


def test_bill_sharing__nobody_trades__costs_nothing() -> None:
    result = bill_sharing(column(0, 0), RETAIL, FEED_IN)
    assert (result.bills.tolist(), priced(result)) == ([0, 0], (0, 0))


# All rules


@pytest.mark.parametrize("rule", EVERYBODY)
@QUICK
@given(case=positions(least_feed_in=0.0))
def test_rule__any_positions__bills_pay_the_suppliers_exactly(
    rule: Callable[..., PoolResult], case: Positions
) -> None:
    result = rule(*case)
    require_balanced(result, case)
    assert result.manager_surplus == 0
    if rule is not alone:
        assert result.outside_bill == pytest.approx(outside_bill(case), abs=SLACK)
        assert (np.minimum(result.import_kwh, result.export_kwh) == 0).all()


@pytest.mark.parametrize("rule", [mid_market_rate, alone, bill_sharing])
@QUICK
@given(case=positions())
def test_rule__negative_feed_in__still_balances(
    rule: Callable[..., PoolResult], case: Positions
) -> None:
    require_balanced(rule(*case), case)


@pytest.mark.parametrize("rule", [mid_market_rate, supply_demand_ratio])
@QUICK
@given(case=positions(least_feed_in=0.0))
def test_rule__mid_market_and_supply_demand__nobody_pays_more_than_alone(
    rule: Callable[..., PoolResult], case: Positions
) -> None:
    assert (rule(*case).bills <= alone(*case).bills + SLACK).all()


@QUICK
@given(case=positions(own_tariffs=False, least_feed_in=0.0), share=st.floats(0, 1))
def test_supply_demand_ratio__any_compensation__balances_and_nobody_loses(
    case: Positions, share: float
) -> None:
    compensation = share * (case.buy_per_kwh - case.sell_per_kwh)
    result = supply_demand_ratio(*case, compensation_per_kwh=compensation)
    require_balanced(result, case)
    assert (result.bills <= alone(*case).bills + SLACK).all()


@pytest.mark.parametrize("rule", RULES)
@QUICK
@given(case=positions(least_feed_in=0.0))
def test_rule__any_positions__all_gain_together(
    rule: Callable[..., PoolResult], case: Positions
) -> None:
    """The community as a whole never pays more than its peers alone."""
    assert rule(*case).bills.sum() <= alone(*case).bills.sum() + SLACK


@pytest.mark.parametrize("rule", EVERYBODY)
@QUICK
@given(case=positions(own_tariffs=False, least_feed_in=0.0))
def test_rule__one_tariff__bills_are_positions_at_the_prices(
    rule: Callable[..., PoolResult], case: Positions
) -> None:
    result = rule(*case)
    at_prices = (
        np.maximum(case.net_kwh, 0) @ result.buy_per_kwh
        - np.maximum(-case.net_kwh, 0) @ result.sell_per_kwh
    )
    np.testing.assert_allclose(result.bills, at_prices, atol=SLACK)


@pytest.mark.parametrize("rule", [mid_market_rate, supply_demand_ratio])
@QUICK
@given(case=positions(least_feed_in=0.0))
def test_rule__prices__lie_between_feed_in_and_retail(
    rule: Callable[..., PoolResult], case: Positions
) -> None:
    result = rule(*case)
    retail = np.broadcast_to(case.buy_per_kwh, case.net_kwh.shape)
    feed_in = np.broadcast_to(case.sell_per_kwh, case.net_kwh.shape)
    for price in (result.buy_per_kwh, result.sell_per_kwh):
        assert (price <= retail.max(axis=0) + SLACK).all()
        assert (price >= feed_in.min(axis=0) - SLACK).all()


@pytest.mark.parametrize("rule", EVERYBODY)
def test_rule__missing_position__is_named(rule: Callable[..., PoolResult]) -> None:
    with pytest.raises(MechanismError, match=re.escape("net_kwh[1][2]: is missing (NaN)")):
        rule([[1, 1, 1], [1, 1, math.nan]], 0.3, 0.1)


@pytest.mark.parametrize("rule", EVERYBODY)
def test_rule__feed_in_above_retail__names_peer_and_period(
    rule: Callable[..., PoolResult],
) -> None:
    message = r"sell_per_kwh\[1\]\[0\]: peer 1 would be paid 0.4 in period 0 and pay 0.3"
    with pytest.raises(MechanismError, match=message):
        rule([[1.0], [1.0]], [[0.3], [0.3]], [[0.1], [0.4]])


@pytest.mark.parametrize("rule", [mid_market_rate, supply_demand_ratio])
def test_rule__one_suppliers_feed_in_above_anothers_retail__names_both_peers(
    rule: Callable[..., PoolResult],
) -> None:
    message = r"peer 1's supplier pays 0.35 in period 0, more than peer 0's asks \(0.3\)"
    with pytest.raises(MechanismError, match=message):
        rule([[1.0], [1.0]], [[0.3], [0.5]], [[0.1], [0.35]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 0.3, 0.1), "net_kwh: must have shape (peers, periods)"),
        (([[]], 0.3, 0.1), "net_kwh: must have shape (peers, periods), none of them 0, not (1, 0)"),
        (([["a lot"]], 0.3, 0.1), "net_kwh: must be an array of numbers"),
        (([[math.inf]], 0.3, 0.1), "net_kwh[0][0]: must be finite, not inf"),
        (([[1.0, 2.0]], [0.3], 0.1), "buy_per_kwh: has shape (1,), expected (2,) for all peers or"),
        (([[1.0, 2.0]], 0.3, [[0.1], [0.1]]), "sell_per_kwh: has shape (2, 1), expected (2,)"),
        (([[1.0, 2.0]], [0.3, math.nan], 0.1), "buy_per_kwh[1]: is missing (NaN)"),
    ],
)
def test_rule__malformed_input__says_what_was_expected(
    arguments: tuple[object, ...], message: str
) -> None:
    for rule in (*EVERYBODY, partial(supply_demand_ratio, compensation_per_kwh=0.1)):
        with pytest.raises(MechanismError, match=re.escape(message)):
            rule(*arguments)  # type: ignore[arg-type]
