"""A community manager who sets the internal prices first, and peers who then choose what to use.

The game of N. Liu, X. Yu, C. Wang, J. Wang: Energy sharing management for microgrids with PV
prosumers: a Stackelberg game approach, IEEE Transactions on Industrial Informatics 13, 2017: the
manager buys surplus at p and sells to deficits at P, with feed-in f <= p <= P <= retail r, and
trades what is left with a supplier. The peers' utility is quadratic here (P. Samadi et al.,
Optimal real-time pricing algorithm based on utility maximization for smart grid, SmartGridComm
2010) instead of logarithmic: their answers are then piecewise linear in the prices, and the
manager's problem can be solved exactly. Periods do not depend on each other.

*Peers.* With generation g a peer chooses its consumption x within lo..hi to maximise

    w x - h x^2 / 2 - P max(x - g, 0) + p max(g - x, 0),      h > 0

This is strictly concave as P >= p, so the best answer is unique. With d(q) = (w - q) / h within
lo..hi, what it would use at the price q,

    x = min(max(g, d(P)), d(p))

(it buys up to d(P), or else sells down to d(p), or else uses just what it generates). So the
deficit D(P) = sum max(d(P) - g, 0) falls with P alone, the surplus S(p) = sum max(g - d(p), 0)
rises with p alone, and both are continuous and piecewise linear.

*Manager.* Its profit is

    P D(P) - p S(p) - max(r (D(P) - S(p)), f (D(P) - S(p)))

While D > S it rises with P, for (P - r) D(P) does; while S > D it falls with p, for
(f - p) S(p) does. So an optimum is among

    P = r and any p,        p = f and any P,        D(P) = S(p) = q and any q.

Each is a search on a line, on which the profit is a concave parabola between any two neighbouring
breakpoints: it is enough to look at the breakpoints and at the tops of the parabolas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fairwatt.errors import MechanismError
from fairwatt.mechanisms._pool import Array, PoolResult, finite, first, over_periods, place

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Demand", "StackelbergResult", "stackelberg"]

_TIE = 1e-12  # of a period's turnover at retail: profits closer than this are equal


@dataclass(frozen=True, eq=False)
class Demand:
    """What consumption is worth to the peers, period by period.

    The x-th kWh of a period is worth `value_per_kwh` - `slope_per_kwh2` * x token. All arrays have
    shape (peers, periods).

    Attributes
    ----------
    value_per_kwh
        w, what the first kWh would be worth, token/kWh.
    slope_per_kwh2
        h, what each kWh more is worth less, token/kWh^2, more than 0.
    least_kwh, most_kwh
        Bounds of consumption, kWh, 0 <= least <= most; equal where it is fixed.

    Raises
    ------
    MechanismError
        If a number is missing or out of range, or the shapes differ.
    """

    value_per_kwh: Array
    slope_per_kwh2: Array
    least_kwh: Array
    most_kwh: Array

    def __init__(
        self,
        value_per_kwh: ArrayLike,
        slope_per_kwh2: ArrayLike,
        least_kwh: ArrayLike,
        most_kwh: ArrayLike,
    ) -> None:
        put = object.__setattr__
        put(self, "value_per_kwh", finite("value_per_kwh", value_per_kwh))
        shape = self.value_per_kwh.shape
        if len(shape) != 2 or not self.value_per_kwh.size:
            raise MechanismError(
                "value_per_kwh", f"must have shape (peers, periods), none of them 0, not {shape}"
            )
        for field, given in (
            ("slope_per_kwh2", slope_per_kwh2),
            ("least_kwh", least_kwh),
            ("most_kwh", most_kwh),
        ):
            put(self, field, _of_shape(field, given, shape))
        for field, wrong, problem in (
            ("slope_per_kwh2", self.slope_per_kwh2 <= 0, "must be more than 0"),
            ("least_kwh", self.least_kwh < 0, "must not be negative"),
            ("most_kwh", self.most_kwh < self.least_kwh, "must not be below least_kwh"),
        ):
            if (at := first(wrong)) is not None:
                raise MechanismError(
                    place(field, at), f"{problem}, not {getattr(self, field)[at]:g}"
                )

    @classmethod
    def around(
        cls, load_kwh: ArrayLike, price_per_kwh: ArrayLike, *, elasticity: float, flexible: float
    ) -> Demand:
        """Make the demand that is `load_kwh` at a price, and changes with it by an elasticity.

        Parameters
        ----------
        load_kwh
            What the peers use at that price, kWh, shape (peers, periods), >= 0.
        price_per_kwh
            Token/kWh, more than 0, one number or shape (periods,); usually the retail tariff.
        elasticity
            Percent that consumption falls per percent that the price rises, there; more than 0.
        flexible
            Share of the load by which consumption may fall or rise, 0 to 1.

        Raises
        ------
        MechanismError
            If a number is missing or out of range.
        """
        load = finite("load_kwh", load_kwh)
        if load.ndim != 2:
            raise MechanismError("load_kwh", f"must have shape (peers, periods), not {load.shape}")
        if (at := first(load < 0)) is not None:
            raise MechanismError(place("load_kwh", at), f"must not be negative, not {load[at]:g}")
        price = over_periods("price_per_kwh", price_per_kwh, load.shape[1])
        if (at := first(price <= 0)) is not None:
            raise MechanismError(
                place("price_per_kwh", at), f"must be more than 0, not {price[at]:g}"
            )
        if not 0 < elasticity < np.inf:
            raise MechanismError(
                "elasticity", f"must be more than 0 and finite, not {elasticity:g}"
            )
        if not 0 <= flexible <= 1:
            raise MechanismError("flexible", f"must be 0 to 1, not {flexible:g}")
        # Where there is no load there is nothing to bend: any slope does.
        slope = price / (elasticity * np.where(load > 0, load, 1.0))
        return cls(price + slope * load, slope, load * (1 - flexible), load * (1 + flexible))

    def at(self, price_per_kwh: Array) -> Array:
        """What the peers use at a price for all they use, kWh, shape (peers, periods)."""
        return np.clip(
            (self.value_per_kwh - price_per_kwh) / self.slope_per_kwh2,
            self.least_kwh,
            self.most_kwh,
        )

    def answer(self, generation_kwh: Array, buy_per_kwh: Array, sell_per_kwh: Array) -> Array:
        """What the peers use if they pay and get these prices, kWh, shape (peers, periods)."""
        return np.clip(generation_kwh, self.at(buy_per_kwh), self.at(sell_per_kwh))

    def utility(self, consumption_kwh: Array) -> Array:
        """What consumption is worth, token, shape (peers, periods)."""
        x = consumption_kwh
        worth: Array = self.value_per_kwh * x - self.slope_per_kwh2 * x**2 / 2
        return worth


@dataclass(frozen=True, eq=False)
class StackelbergResult(PoolResult):
    """Prices and consumption in the equilibrium; `manager_surplus` is the manager's profit.

    Attributes
    ----------
    consumption_kwh
        What each peer uses, kWh, shape (peers, periods).
    payoffs
        What consumption is worth to each peer, less its bill, token, shape (peers,).
    """

    consumption_kwh: Array
    payoffs: Array


def stackelberg(
    generation_kwh: ArrayLike, demand: Demand, buy_per_kwh: ArrayLike, sell_per_kwh: ArrayLike
) -> StackelbergResult:
    """Find the prices a profit-seeking manager sets, and how the peers answer.

    The manager is everybody's only partner and itself trades with one supplier, so there is one
    retail and one feed-in tariff. Among prices of equal profit the manager takes the ones with
    the smallest spread, among those the lowest. `buy_per_kwh` and `sell_per_kwh` of the result are
    the prices set.

    Parameters
    ----------
    generation_kwh
        Shape (peers, periods), >= 0.
    demand
        What consumption is worth, of the same shape.
    buy_per_kwh, sell_per_kwh
        Retail and feed-in tariff of the manager's supplier, token/kWh, one number or shape
        (periods,); feed-in is never above retail.

    Raises
    ------
    MechanismError
        If a number is missing or out of range or a shape does not fit, with its place.
    """
    generation = _of_shape("generation_kwh", generation_kwh, demand.value_per_kwh.shape)
    if (at := first(generation < 0)) is not None:
        raise MechanismError(
            place("generation_kwh", at), f"must not be negative, not {generation[at]:g}"
        )
    periods = generation.shape[1]
    retail = over_periods("buy_per_kwh", buy_per_kwh, periods)
    feed_in = over_periods("sell_per_kwh", sell_per_kwh, periods)
    if (at := first(feed_in > retail)) is not None:
        raise MechanismError(
            place("sell_per_kwh", at),
            f"{feed_in[at]:g} is above the retail tariff {retail[at]:g} of period {at[0]}: "
            "buying to sell would pay; feed-in must not be above retail",
        )
    prices = np.array(
        [_Leader(generation, demand, retail, feed_in, period).prices() for period in range(periods)]
    )
    return _equilibrium(generation, demand, (retail, feed_in), prices[:, 0], prices[:, 1])


def _equilibrium(
    generation: Array, demand: Demand, tariffs: tuple[Array, Array], buy: Array, sell: Array
) -> StackelbergResult:
    """Add up what the peers' answers to the prices mean for everybody."""
    retail, feed_in = tariffs
    used = demand.answer(generation, buy, sell)
    deficit, surplus = np.maximum(used - generation, 0), np.maximum(generation - used, 0)
    bills = deficit @ buy - surplus @ sell
    missing = deficit.sum(axis=0) - surplus.sum(axis=0)
    imports, exports = np.maximum(missing, 0), np.maximum(-missing, 0)
    outside = float(imports @ retail - exports @ feed_in)
    income = deficit.sum(axis=0) @ buy - surplus.sum(axis=0) @ sell
    return StackelbergResult(
        bills=bills,
        buy_per_kwh=buy,
        sell_per_kwh=sell,
        import_kwh=imports,
        export_kwh=exports,
        outside_bill=outside,
        manager_surplus=float(income - outside),
        consumption_kwh=used,
        payoffs=demand.utility(used).sum(axis=1) - bills,
    )


class _Leader:
    """The manager's problem in one period; P and p as in the text above."""

    def __init__(
        self, generation: Array, demand: Demand, retail: Array, feed_in: Array, period: int
    ) -> None:
        self.retail, self.feed_in = float(retail[period]), float(feed_in[period])
        g, slope = generation[:, period], demand.slope_per_kwh2[:, period]
        # What a peer has left at the price q is (q - zero) / h, within low..high.
        zero = demand.value_per_kwh[:, period] - slope * g
        low, high = g - demand.most_kwh[:, period], g - demand.least_kwh[:, period]
        ends = self.feed_in, self.retail
        self.supply = _Curve.of(zero, slope, np.maximum(low, 0), np.maximum(high, 0), ends)
        self.unmet = _Curve.of(zero, slope, np.minimum(low, 0), np.minimum(high, 0), ends)

    def prices(self) -> tuple[float, float]:
        """P and p of the most profit; of equal profit the smallest spread, then the lowest."""
        buy, sell = (np.concatenate(parts) for parts in zip(*self._candidates(), strict=True))
        allowed = buy >= sell
        buy, sell = buy[allowed], sell[allowed]
        profit = self._profit(buy, sell)
        most = -self.unmet.kwh[0] + self.supply.kwh[-1]
        slack = _TIE * most * max(abs(self.retail), abs(self.feed_in))
        best = np.flatnonzero(profit >= profit.max() - slack)
        at = best[np.lexsort((buy[best], (buy - sell)[best]))[0]]
        return float(buy[at]), float(sell[at])

    def _profit(self, buy: Array, sell: Array) -> Array:
        deficit, surplus = -self.unmet.at(buy), self.supply.at(sell)
        missing = deficit - surplus
        outside = np.maximum(self.retail * missing, self.feed_in * missing)
        profit: Array = buy * deficit - sell * surplus - outside
        return profit

    def _candidates(self) -> list[tuple[Array, Array]]:
        """Pairs of P and p, an optimum among them."""
        sell = np.concatenate([self.supply.prices, self.supply.tops(self.retail)])
        buy = np.concatenate([self.unmet.prices, self.unmet.tops(self.feed_in)])
        least = max(-self.unmet.kwh[-1], self.supply.kwh[0])
        most = min(-self.unmet.kwh[0], self.supply.kwh[-1])
        knots = np.unique(np.concatenate([-self.unmet.kwh, self.supply.kwh]))
        knots = knots[(knots >= least) & (knots <= most)]
        return [
            (np.full(sell.size, self.retail), sell),
            (buy, np.full(buy.size, self.feed_in)),
            self._balanced(knots),
            self._balanced(self._tops_of_balance(knots)),
        ]

    def _balanced(self, traded: Array) -> tuple[Array, Array]:
        """The highest P at which deficits, and the lowest p at which surpluses, are `traded`."""
        return self.unmet.highest(-traded), self.supply.lowest(traded)

    def _tops_of_balance(self, knots: Array) -> Array:
        """Where margin x energy is highest between two knots, as the margin falls in a line."""
        width = np.diff(knots)
        one, other = knots[:-1] + width / 3, knots[:-1] + 2 * width / 3
        margins = []
        for traded in (one, other):
            buy, sell = self._balanced(traded)
            margins.append(buy - sell)
        fall = margins[0] - margins[1]
        top = (one + _quotient(margins[0] * (other - one), fall)) / 2
        return np.clip(top, knots[:-1], knots[1:])


@dataclass(frozen=True, eq=False)
class _Curve:
    """A continuous, piecewise linear total that never falls with the price.

    `kwh` are its values at `prices`, its breakpoints, of which the first is the feed-in and the
    last the retail tariff.
    """

    prices: Array
    kwh: Array

    @classmethod
    def of(
        cls, zero: Array, slope: Array, low: Array, high: Array, ends: tuple[float, float]
    ) -> _Curve:
        """Sum (price - zero) / slope, each within low..high, over the peers."""
        start, stop = zero + slope * low, zero + slope * high
        moves = (low < high) & (start < ends[1]) & (stop > ends[0])
        fixed = np.where(start >= ends[1], low, high)[~moves].sum()
        knots = np.concatenate([ends, start[moves], stop[moves]])
        prices = np.unique(np.clip(knots, *ends))
        ramps = zero[moves], slope[moves], low[moves], high[moves]
        kwh = np.array([_ramps(price, *ramps) for price in prices]) + fixed
        return cls(prices, np.maximum.accumulate(kwh))

    def at(self, prices: Array) -> Array:
        """Its values at any prices between the tariffs."""
        values: Array = np.interp(prices, self.prices, self.kwh)
        return values

    def tops(self, price: float) -> Array:
        """Where |price - q| x |value at q| is highest between breakpoints, q within each piece."""
        rise = np.diff(self.kwh) / np.diff(self.prices)
        left, right = self.prices[:-1], self.prices[1:]
        return np.clip((price + left - _quotient(self.kwh[:-1], rise)) / 2, left, right)

    def highest(self, level: Array) -> Array:
        """Highest price at which it is at most `level`, which it is somewhere."""
        last = np.searchsorted(self.kwh, level, side="right") - 1
        after = np.minimum(last + 1, self.kwh.size - 1)
        part = _quotient(level - self.kwh[last], self.kwh[after] - self.kwh[last])
        prices: Array = self.prices[last] + part * (self.prices[after] - self.prices[last])
        return prices

    def lowest(self, level: Array) -> Array:
        """Lowest price at which it is at least `level`, which it is somewhere."""
        here = np.searchsorted(self.kwh, level, side="left")
        before = np.maximum(here - 1, 0)
        part = _quotient(self.kwh[here] - level, self.kwh[here] - self.kwh[before])
        prices: Array = self.prices[here] - part * (self.prices[here] - self.prices[before])
        return prices


def _ramps(price: float, zero: Array, slope: Array, low: Array, high: Array) -> float:
    return float(np.clip((price - zero) / slope, low, high).sum())


def _quotient(part: Array, whole: Array) -> Array:
    """Divide; 0 where `whole` is not more than 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _of_shape(field: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
    result = finite(field, values)
    if result.shape != shape:
        raise MechanismError(field, f"has shape {result.shape}, expected {shape} as the demand")
    return result
