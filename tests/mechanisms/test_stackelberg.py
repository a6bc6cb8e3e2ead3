"""The leader's prices by hand, and that neither leader nor peer would do better otherwise."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mechanisms.communities import QUICK, SLACK, Positions, require_balanced

from fairwatt.errors import MechanismError
from fairwatt.mechanisms import Demand, alone, stackelberg

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairwatt.mechanisms import StackelbergResult

RETAIL, FEED_IN = 0.30, 0.10

Game = tuple[np.ndarray, Demand, np.ndarray, np.ndarray]


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def elastic(*values: float, slope: float = 0.1) -> Demand:
    """Peers that use (value - price) / slope kWh at a price."""
    value = column(*values)
    return Demand(value, np.full_like(value, slope), np.zeros_like(value), np.full_like(value, 99))


def fixed(*kwh: float) -> Demand:
    load = column(*kwh)
    return Demand(np.ones_like(load), np.ones_like(load), load, load)


def joined(*demands: Demand) -> Demand:
    fields = ("value_per_kwh", "slope_per_kwh2", "least_kwh", "most_kwh")
    return Demand(*(np.vstack([getattr(one, field) for one in demands]) for field in fields))


def priced(result: StackelbergResult) -> tuple[float, float]:
    return float(result.buy_per_kwh[0]), float(result.sell_per_kwh[0])


@st.composite
def games(draw: st.DrawFn) -> Game:
    """Up to six peers and three periods, some with fixed loads or without generation.

    Half of them are worth looking at: two or more peers whose loads bend within the tariffs, and
    who have about as much as they need. Hypothesis draws the seed, numpy the numbers.
    """
    lively = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(2 if lively else 1, 6)), draw(st.integers(1, 3)))
    feed_in = rng.uniform(-0.05, 0.2, shape[1:])
    retail = feed_in + rng.uniform(0.1, 0.4, shape[1:]) * (1 if lively else rng.random() < 0.8)
    slope = rng.uniform(0.02, 0.5, shape)
    if lively:
        wanted = rng.uniform(0, 3, shape)  # at some price within the tariffs
        value = rng.uniform(feed_in, retail, shape) + slope * wanted
        least, most = np.zeros(shape), np.full(shape, 9.0)
        generation = wanted * rng.choice([0.0, 0.5, 1.0, 2.0], shape)
    else:
        value = rng.uniform(0.05, 0.8, shape)
        least = rng.uniform(0, 2, shape) * (rng.random(shape) < 0.5)
        most = least + rng.uniform(0, 3, shape) * (rng.random(shape) < 0.8)
        generation = rng.uniform(0, 4, shape) * (rng.random(shape) < 0.6)
    return generation, Demand(value, slope, least, most), retail, feed_in


def payoff_alone(generation: np.ndarray, demand: Demand, retail: object, feed_in: object):
    used = demand.answer(generation, np.asarray(retail), np.asarray(feed_in))
    return demand.utility(used).sum(axis=1) - alone(used - generation, retail, feed_in).bills


# By hand


def test_stackelberg__loads_that_do_not_bend__the_manager_takes_all() -> None:
    result = stackelberg(column(4, 0), fixed(0, 3), RETAIL, FEED_IN)
    assert priced(result) == (RETAIL, FEED_IN)
    np.testing.assert_allclose(result.bills, [-0.4, 0.9])
    assert result.manager_surplus == pytest.approx(3 * 0.20)
    assert result.outside_bill == pytest.approx(-1 * FEED_IN)


def test_stackelberg__plenty_of_surplus__a_monopolist_sells_what_is_worth_little_outside() -> None:
    # Deficit 4 - 10 P; (P - 0.1)(4 - 10 P) is highest at P = 0.25.
    result = stackelberg(column(6, 0), joined(fixed(0), elastic(0.4)), RETAIL, FEED_IN)
    assert priced(result) == pytest.approx((0.25, 0.10))
    np.testing.assert_allclose(result.consumption_kwh, column(0, 1.5))
    assert result.manager_surplus == pytest.approx(0.225)
    assert (result.import_kwh[0], result.export_kwh[0]) == pytest.approx((0, 4.5))


def test_stackelberg__plenty_of_demand__a_monopsonist_buys_what_is_dear_outside() -> None:
    # Surplus 4 - 10 (0.4 - p) = 10 p; (0.3 - p) 10 p is highest at p = 0.15.
    result = stackelberg(column(4, 0), joined(elastic(0.4), fixed(10)), RETAIL, FEED_IN)
    assert priced(result) == pytest.approx((0.30, 0.15))
    assert result.manager_surplus == pytest.approx(0.225)
    assert (result.import_kwh[0], result.export_kwh[0]) == pytest.approx((8.5, 0))


def test_stackelberg__both_sides_bend__the_manager_balances_them() -> None:
    # Deficit 3.5 - 10 P, surplus 10 p - 0.5; with both q the profit is (0.3 - 0.2 q) q.
    result = stackelberg(column(1.5, 0), elastic(0.2, 0.35), RETAIL, FEED_IN)
    assert priced(result) == pytest.approx((0.275, 0.125))
    assert result.manager_surplus == pytest.approx(0.1125)
    assert (result.import_kwh[0], result.export_kwh[0]) == pytest.approx((0, 0))
    np.testing.assert_allclose(result.bills, [-0.125 * 0.75, 0.275 * 0.75])
    np.testing.assert_allclose(result.payoffs[1], 0.35 * 0.75 - 0.1 * 0.75**2 / 2 - result.bills[1])


def test_stackelberg__demand_is_fixed__the_manager_buys_just_what_it_can_sell() -> None:
    # Surplus 10 p - 0.5 is 1 at p = 0.15; without the limit p = 0.175 would be best.
    result = stackelberg(column(1.5, 0), joined(elastic(0.2), fixed(1)), RETAIL, FEED_IN)
    assert priced(result) == pytest.approx((0.30, 0.15))
    assert result.manager_surplus == pytest.approx(0.15)


def test_stackelberg__between_the_prices__a_peer_uses_just_what_it_generates() -> None:
    result = stackelberg(column(1.5, 0, 2), elastic(0.2, 0.35, 0.4), RETAIL, FEED_IN)
    assert priced(result) == pytest.approx((0.275, 0.125))
    assert result.consumption_kwh[2, 0] == 2
    assert result.bills[2] == 0


def test_stackelberg__one_tariff_both_ways__leaves_no_choice() -> None:
    result = stackelberg(column(1.5, 0), elastic(0.2, 0.35), 0.2, 0.2)
    assert priced(result) == (0.2, 0.2)
    assert result.manager_surplus == pytest.approx(0)


def test_stackelberg__nobody_sells__prices_go_to_the_best_for_the_peers() -> None:
    """All prices p are as good for the manager: the smallest spread is taken."""
    assert priced(stackelberg(column(0, 0), fixed(1, 2), RETAIL, FEED_IN)) == (RETAIL, RETAIL)


def test_stackelberg__bills__may_rise_though_everybody_is_better_off() -> None:
    given_ = column(6, 0), joined(fixed(0), elastic(0.4)), RETAIL, FEED_IN
    result = stackelberg(*given_)
    assert result.bills[1] == pytest.approx(0.375)
    used_alone = given_[1].answer(column(6, 0), np.array([RETAIL]), np.array([FEED_IN]))
    assert alone(used_alone - given_[0], RETAIL, FEED_IN).bills[1] == pytest.approx(0.30)
    assert result.payoffs[1] > payoff_alone(*given_)[1]


# In general


@settings(max_examples=200, deadline=None)
@given(game=games())
def test_stackelberg__any_other_prices__earn_the_manager_no_more(game: Game) -> None:
    """On a grid of both prices, with the peers' answers and the money computed afresh."""
    generation, demand, retail, feed_in = game
    earned = 0.0
    for period in range(retail.size):
        r, f, g = retail[period], feed_in[period], generation[:, period]
        grid = np.linspace(f, r, 61)
        buy, sell = np.meshgrid(grid, grid, indexing="ij")
        value, slope = demand.value_per_kwh[:, period], demand.slope_per_kwh2[:, period]
        least, most = demand.least_kwh[:, period], demand.most_kwh[:, period]
        low, high = (
            np.clip((value - price[..., None]) / slope, least, most) for price in (buy, sell)
        )
        net = np.clip(g, low, high) - g
        income = np.where(net > 0, buy[..., None] * net, sell[..., None] * net).sum(axis=-1)
        missing = net.sum(axis=-1)
        profit = income - np.where(missing > 0, r * missing, f * missing)
        earned += profit[sell <= buy].max()
    assert stackelberg(*game).manager_surplus >= earned - SLACK


@QUICK
@given(game=games())
def test_stackelberg__any_other_consumption__is_worth_no_more_to_a_peer(game: Game) -> None:
    generation, demand, *_ = game
    result = stackelberg(*game)
    buy, sell = result.buy_per_kwh, result.sell_per_kwh
    best = np.full(generation.shape, -math.inf)
    for part in np.linspace(0, 1, 201):
        used = demand.least_kwh + part * (demand.most_kwh - demand.least_kwh)
        net = used - generation
        worth = demand.value_per_kwh * used - demand.slope_per_kwh2 * used**2 / 2
        best = np.maximum(best, worth - np.where(net > 0, buy, sell) * net)
    assert (result.payoffs >= best.sum(axis=1) - SLACK).all()


@QUICK
@given(game=games())
def test_stackelberg__any_game__balances_and_nobody_loses(game: Game) -> None:
    generation, _, retail, feed_in = game
    result = stackelberg(*game)
    net = result.consumption_kwh - generation
    require_balanced(result, Positions(net, retail, feed_in))
    assert result.manager_surplus >= -SLACK
    assert (result.payoffs >= payoff_alone(*game) - SLACK).all()
    assert (feed_in <= result.sell_per_kwh).all()
    assert (result.sell_per_kwh <= result.buy_per_kwh).all()
    assert (result.buy_per_kwh <= retail).all()


@QUICK
@given(game=games())
def test_stackelberg__many_periods__are_as_many_games(game: Game) -> None:
    generation, demand, retail, feed_in = game
    whole = stackelberg(*game)
    fields = (demand.value_per_kwh, demand.slope_per_kwh2, demand.least_kwh, demand.most_kwh)
    single = [
        stackelberg(
            generation[:, at : at + 1],
            Demand(*(values[:, at : at + 1] for values in fields)),
            retail[at],
            feed_in[at],
        )
        for at in range(retail.size)
    ]
    assert whole.buy_per_kwh.tolist() == [float(one.buy_per_kwh[0]) for one in single]
    np.testing.assert_allclose(whole.bills, sum(one.bills for one in single), atol=SLACK)


# Demand


def test_demand_around__at_the_price__is_the_load() -> None:
    demand = Demand.around([[2.0, 0.0]], 0.3, elasticity=0.2, flexible=0.25)
    np.testing.assert_allclose(demand.at(np.array([0.3, 0.3])), [[2.0, 0.0]])
    assert demand.least_kwh.tolist() == [[1.5, 0.0]]
    assert demand.most_kwh.tolist() == [[2.5, 0.0]]


def test_demand_around__price_a_percent_higher__falls_by_the_elasticity() -> None:
    demand = Demand.around([[2.0]], 0.3, elasticity=0.2, flexible=0.25)
    np.testing.assert_allclose(demand.at(np.array([0.303])), [[2.0 * (1 - 0.002)]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Demand.around([1.0], 0.3, elasticity=1, flexible=0), "load_kwh: must have shape"),
        (
            lambda: Demand.around([[1, -1]], 0.3, elasticity=1, flexible=0),
            "load_kwh[0][1]: must not be negative, not -1",
        ),
        (
            lambda: Demand.around([[1, 1]], [0.3, 0], elasticity=1, flexible=0),
            "price_per_kwh[1]: must be more than 0, not 0",
        ),
        (
            lambda: Demand.around([[1]], 0.3, elasticity=0, flexible=0),
            "elasticity: must be more than 0 and finite, not 0",
        ),
        (
            lambda: Demand.around([[1]], 0.3, elasticity=1, flexible=1.1),
            "flexible: must be 0 to 1, not 1.1",
        ),
        (lambda: Demand([1], [1], [0], [1]), "value_per_kwh: must have shape (peers, periods)"),
        (
            lambda: Demand([[1]], [[1, 1]], [[0]], [[1]]),
            "slope_per_kwh2: has shape (1, 2), expected (1, 1)",
        ),
        (
            lambda: Demand([[1, 1]], [[1, 0]], [[0, 0]], [[1, 1]]),
            "slope_per_kwh2[0][1]: must be more than 0, not 0",
        ),
        (lambda: Demand([[1]], [[1]], [[-1]], [[1]]), "least_kwh[0][0]: must not be negative"),
        (lambda: Demand([[1]], [[1]], [[2]], [[1]]), "most_kwh[0][0]: must not be below least_kwh"),
        (lambda: Demand([[math.nan]], [[1]], [[0]], [[1]]), "value_per_kwh[0][0]: is missing"),
    ],
)
def test_demand__malformed__is_named(make: Callable[[], Demand], message: str) -> None:
    with pytest.raises(MechanismError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("generation", "retail", "feed_in", "message"),
    [
        ([[1.0]], 0.3, 0.1, "generation_kwh: has shape (1, 1), expected (2, 1)"),
        ([[1.0], [-2.0]], 0.3, 0.1, "generation_kwh[1][0]: must not be negative, not -2"),
        ([[1.0], [math.nan]], 0.3, 0.1, "generation_kwh[1][0]: is missing (NaN)"),
        ([[1.0], [1.0]], 0.3, [0.4], "sell_per_kwh[0]: 0.4 is above the retail tariff 0.3"),
        ([[1.0], [1.0]], [[0.3], [0.3]], 0.1, "buy_per_kwh: has shape (2, 1), expected (1,)"),
    ],
)
def test_stackelberg__malformed_input__is_named(
    generation: object, retail: object, feed_in: object, message: str
) -> None:
    with pytest.raises(MechanismError, match=re.escape(message)):
        stackelberg(generation, fixed(1, 2), retail, feed_in)  # type: ignore[arg-type]
