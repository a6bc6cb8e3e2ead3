"""From a plan to orders: curves that clear to what was planned.

*Limits.* The reduced cost of a device's column says how far the price may move before the device
would do something else: planned draws are worth the price less it, planned injections cost the
price plus it. What a device has no choice about is worth the retail tariff to a draw and the
feed-in tariff to an injection (cap and floor of the market without a supplier), and nobody bids
more or asks less than that. Preferences and the fee are part of these limits. Bids are rounded up
and asks down, and what was planned is a micro-token better than the price of the plan, so that it
goes before whoever is indifferent at that price.

Such limits (`"break-even"`) say what a step is worth given the rest of the plan; period by period
the market may settle anywhere between them, and a peer that stores may then fare worse over the
day than alone. Orders `"at-plan"` are limited by the price of the plan instead: they trade at it or
not at all, and at the plan's prices the plan is everybody's own best choice, so nobody fares worse
than alone (up to a micro-token and a Wh; a preference counts as if it were paid).

*Own use first.* What a peer generates serves its own most valuable draws, as far as the plan has it
neither import nor export them. The rest stands in the curve, with what the supplier is planned to
deliver or take: that is at the tariff itself, stays unfilled, and the supplier serves it.

*Whole Wh.* Positions and flows are rounded up or down so that every node still balances to the Wh:
the balances are those of a network, so whole numbers next to the planned ones always do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from fairwatt import highs
from fairwatt.errors import PlanError
from fairwatt.market import Book, Side
from fairwatt.orders import Step
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.planner._plan import Plan

    Array = NDArray[np.float64]
    Column = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["Limits", "book", "firm_orders", "orders"]

Limits: TypeAlias = Literal["break-even", "at-plan"]
"""What limits the price of a step: what it is worth to its peer, or the price of the plan."""

_NOISE_MICRO: Final = 1e-3
"""Of prices, micro-token/kWh: 1e-9 token."""
_NOISE_WH: Final = 1e-3
"""Of energies; a tenth of it is the tolerance of HiGHS."""


def orders(plan: Plan, limits: Limits = "break-even") -> dict[str, tuple[Step, ...]]:
    """Make of every peer's plan the steps of an order that its wallet can sign.

    Parameters
    ----------
    limits
        "break-even": what a step is worth to its peer; "at-plan": the price of the plan.

    Returns
    -------
    dict
        Per peer its steps, by period, bids before asks, best limit first; none for a peer that the
        plan leaves alone. The period of a step is that of the horizon.
    """
    curves = _curves(plan, range(plan.community.horizon.periods), limits)
    steps: dict[str, list[Step]] = {peer.name: [] for peer in plan.community.peers}
    names = list(steps)
    for peer, period, is_bid, price, energy in zip(*curves.lists(), strict=True):
        side = Side.BID if is_bid else Side.ASK
        steps[names[peer]].append(Step(period, side, price, energy))
    return {name: tuple(each) for name, each in steps.items()}


def book(plan: Plan, period: int, limits: Limits = "break-even") -> Book:
    """Make the book of one period of the same steps; ids are `peer/bid-1` and so on.

    Parameters
    ----------
    limits
        As for `orders`.

    Raises
    ------
    PlanError
        If the plan has no such period.
    """
    community = plan.community
    if not 0 <= period < community.horizon.periods:
        raise PlanError(f"there is no period {period}, only 0 to {community.horizon.periods - 1}")
    curves = _curves(plan, range(period, period + 1), limits)
    names = [community.peers[at].name for at in curves.peer.tolist()]
    sides = np.where(curves.is_bid, "bid", "ask").tolist()
    index = community.network.node_index
    node = np.array([index[peer.node] for peer in community.peers], np.int64)
    return Book.from_columns(
        community.network,
        ids=[
            f"{name}/{side}-{rank}"
            for name, side, rank in zip(names, sides, (curves.rank + 1).tolist(), strict=True)
        ],
        peers=names,
        node=node[curves.peer],
        side=np.where(curves.is_bid, Side.BID.value, Side.ASK.value),
        price_micro_per_kwh=curves.price,
        energy_wh=curves.energy.astype(np.int64),
    )


def firm_orders(plan: Plan, net_kwh: Array) -> dict[str, tuple[Step, ...]]:
    """Orders for energy that comes and goes whatever the market does.

    Who has no choice loses nothing at any price better than its supplier's: it bids a micro-token
    less than its retail tariff and asks a micro-token more than its feed-in tariff, so that
    whoever sells at the one, or buys at the other, does not trade with it.

    Parameters
    ----------
    net_kwh
        Injected positive, drawn negative, shape (peers, periods).

    Returns
    -------
    dict
        Per peer its steps, by period.
    """
    network = plan.community.network
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    lowest, highest = (np.clip(price, floor, cap).astype(np.int64) for price in _outside(plan))
    energy = np.rint(net_kwh * WH_PER_KWH).astype(np.int64)
    price = np.where(energy > 0, np.minimum(lowest + 1, cap), np.maximum(highest - 1, floor))
    return {
        peer.name: tuple(
            Step(period, Side.ASK if wh > 0 else Side.BID, limit, abs(wh))
            for period, (limit, wh) in enumerate(zip(prices, energies, strict=True))
            if wh
        )
        for peer, prices, energies in zip(
            plan.community.peers, price.tolist(), energy.tolist(), strict=True
        )
    }


@dataclass(frozen=True, eq=False)
class _Curves:
    """Steps as columns, sorted by peer, period, side (bids first) and limit (best first).

    Prices in micro-token/kWh; energies in kWh until they are rounded, then in Wh.
    """

    peer: Column
    period: Column
    is_bid: Mask
    price: Column
    energy: Array | Column

    @classmethod
    def sorted(
        cls, peer: Column, period: Column, is_bid: Mask, price: Column, energy: Array
    ) -> _Curves:
        order = np.lexsort((np.where(is_bid, -price, price), ~is_bid, period, peer))
        return cls(peer[order], period[order], is_bid[order], price[order], energy[order])

    @property
    def starts(self) -> Mask:
        """Whether a step is the first of its curve: of its peer, period and side."""
        first = np.ones(self.peer.size, bool)
        first[1:] = (
            (np.diff(self.peer) != 0)
            | (np.diff(self.period) != 0)
            | (self.is_bid[1:] != self.is_bid[:-1])
        )
        return first

    @property
    def rank(self) -> Column:
        """Position of a step within its curve."""
        at = np.arange(self.peer.size)
        ranks: Column = at - np.maximum.accumulate(np.where(self.starts, at, 0))
        return ranks

    @property
    def upto(self) -> Array:
        """Energy of a curve up to and with each step."""
        total = np.cumsum(self.energy)
        before = np.where(self.starts, total - self.energy, -np.inf)
        upto: Array = total - np.maximum.accumulate(before)
        return upto

    def where(self, keep: Mask) -> _Curves:
        """Some of the steps."""
        return _Curves(
            self.peer[keep],
            self.period[keep],
            self.is_bid[keep],
            self.price[keep],
            self.energy[keep],
        )

    def merged(self) -> _Curves:
        """One step per limit."""
        if not self.peer.size:
            return self
        new = self.starts
        new[1:] |= np.diff(self.price) != 0
        return replace(self.where(new), energy=np.add.reduceat(self.energy, np.flatnonzero(new)))

    def lists(self) -> tuple[list[int], list[int], list[bool], list[int], list[int]]:
        """As Python values."""
        return (
            self.peer.tolist(),
            self.period.tolist(),
            self.is_bid.tolist(),
            self.price.tolist(),
            self.energy.tolist(),
        )


def _curves(plan: Plan, periods: range, limits: Limits) -> _Curves:
    """Make the curves of all peers in some periods."""
    positions = _whole_positions(plan, periods)
    imports = np.rint(plan.import_kwh[:, periods] * WH_PER_KWH).astype(np.int64)
    exports = np.rint(plan.export_kwh[:, periods] * WH_PER_KWH).astype(np.int64)
    bids = np.maximum(-positions, 0) + imports
    asks = np.maximum(positions, 0) + exports
    curves = _residual(plan, _limits(plan, periods, limits))
    column = curves.period - periods.start
    total = np.where(curves.is_bid, bids[curves.peer, column], asks[curves.peer, column])
    return _whole(curves, total)


# --- limits ---------------------------------------------------------------------------------------


def _limits(plan: Plan, periods: range, limits: Limits) -> _Curves:
    """Everything the assets are planned to draw and inject, with its limit."""
    steps, network = plan.steps, plan.community.network
    some = (steps.period >= periods.start) & (steps.period < periods.stop)
    peer, period, is_bid = steps.peer[some], steps.period[some], steps.is_bid[some]
    fee = plan.community.fee_per_kwh * MICRO
    price = plan.peer_price_per_kwh[peer, period] * MICRO
    worth = steps.limit_per_kwh[some] * MICRO + np.where(is_bid, -fee, fee)
    limit = worth if limits == "break-even" else price
    bid = np.maximum(np.ceil(limit - _NOISE_MICRO), np.floor(price + _NOISE_MICRO) + 1)
    ask = np.minimum(np.floor(limit + _NOISE_MICRO), np.ceil(price - _NOISE_MICRO) - 1)
    lowest, highest = _outside(plan)
    bounded = np.where(
        is_bid,
        np.minimum(bid, highest[peer, period]),
        np.maximum(ask, lowest[peer, period]),
    )
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    return _Curves.sorted(
        peer.astype(np.int64),
        period.astype(np.int64),
        is_bid,
        np.clip(bounded, floor, cap).astype(np.int64),
        steps.energy_kwh[some],
    )


def _outside(plan: Plan) -> tuple[Array, Array]:
    """Lowest ask and highest bid of every peer and period: what its supplier would do instead."""
    community, fee = plan.community, plan.community.fee_per_kwh
    delta_imp = np.array([peer.import_preference_per_kwh for peer in community.peers])
    delta_exp = np.array([peer.export_preference_per_kwh for peer in community.peers])
    lowest = community.feed_in_per_kwh - delta_exp[:, None] + fee
    highest = community.retail_per_kwh + delta_imp[:, None] - fee
    return np.rint(lowest * MICRO), np.rint(highest * MICRO)


def _residual(plan: Plan, curves: _Curves) -> _Curves:
    """Take own use off: the best bids and the best asks of a peer serve each other."""
    at = curves.peer, curves.period
    imports, exports = plan.import_kwh[at], plan.export_kwh[at]
    used = np.where(
        curves.is_bid,
        plan.draw_kwh[at] - plan.buy_kwh[at] - imports,
        plan.inject_kwh[at] - plan.sell_kwh[at] - exports,
    )
    left = np.minimum(curves.upto - used, curves.energy)
    # A peer may be better off to sell what it generates and import what it draws (or to buy and
    # export): then its ask must not be below its own bid.
    lowest, highest = _outside(plan)
    sells_own = curves.is_bid | (imports * WH_PER_KWH < _NOISE_WH)
    buys_own = ~curves.is_bid | (exports * WH_PER_KWH < _NOISE_WH)
    price = np.where(sells_own, curves.price, np.maximum(curves.price, highest[at]))
    price = np.where(buys_own, price, np.minimum(price, lowest[at]))
    some = left * WH_PER_KWH > _NOISE_WH
    return replace(curves, price=price.astype(np.int64), energy=left).where(some).merged()


# --- whole Wh -------------------------------------------------------------------------------------


def _whole(curves: _Curves, total: Column) -> _Curves:
    """Round the energies of each curve so that they sum to `total` (given at each of its steps)."""
    upto = np.minimum(np.rint(curves.upto * WH_PER_KWH).astype(np.int64), total)
    first = curves.starts
    last = np.ones(first.size, bool)
    last[:-1] = first[1:]
    upto[last] = total[last]
    before = np.concatenate([[0], upto[:-1]])[: upto.size]
    energy = upto - np.where(first, 0, before)
    return replace(curves, energy=energy).where(energy > 0)


def _whole_positions(plan: Plan, periods: range) -> Column:
    """What every peer sells less what it buys, in whole Wh that balance at every node."""
    network = plan.community.network
    here = slice(periods.start, periods.stop)
    position = _snapped((plan.sell_kwh - plan.buy_kwh)[:, here] * WH_PER_KWH)
    flows = _snapped(plan.flows_kwh[:, here] * WH_PER_KWH)
    index = network.node_index
    node = np.array([index[peer.node] for peer in plan.community.peers], np.int64)
    sums = np.zeros((len(network.nodes), len(periods)))
    np.add.at(sums, node, position)
    whole_flows = _whole_flows(plan, _snapped(sums), flows)
    target = np.zeros(sums.shape, np.int64)
    np.add.at(target, network.sources, whole_flows)
    np.subtract.at(target, network.targets, whole_flows)
    return _largest_remainders(position, node, target)


def _snapped(energy: Array) -> Array:
    """Energies as whole numbers where that is what they are but for noise."""
    whole = np.rint(energy)
    return np.where(np.abs(energy - whole) < _NOISE_WH, whole, energy)


def _whole_flows(plan: Plan, sums: Array, flows: Array) -> Column:
    """Round the flows up or down so that the sums at the nodes can be rounded up or down too.

    Such flows exist (a network with whole bounds has whole vertices), simplex finds some, and
    the cost prefers the nearer whole number.
    """
    network = plan.community.network
    if not flows.size or (flows == np.rint(flows)).all():
        return np.rint(flows).astype(np.int64)
    periods = flows.shape[1]
    t = np.arange(periods)
    ends = np.stack([network.sources, network.targets], axis=-1)
    rows = np.concatenate(
        [(ends[:, None] * periods + t[:, None]).reshape(-1, 2).ravel(), np.arange(sums.size)]
    )
    values = np.concatenate([np.tile([-1.0, 1.0], flows.size), np.ones(sums.size)])
    starts = np.concatenate([2 * np.arange(flows.size), 2 * flows.size + np.arange(sums.size + 1)])
    exact = np.concatenate([flows.ravel(), sums.ravel()])
    zero = np.zeros(sums.size)
    solution = highs.solve(
        highs.Program(
            cost=1 - 2 * (exact - np.floor(exact)),
            lower=np.floor(exact),
            upper=np.ceil(exact),
            row_lower=zero,
            row_upper=zero,
            starts=starts.astype(np.int32),
            indices=rows.astype(np.int32),
            values=values,
        ),
        method="simplex",
        presolve=False,
        scale=False,
    )
    if solution.status is not highs.Status.OPTIMAL:
        raise PlanError(
            f"{plan.community.name}: the planned flows do not balance to the Wh: HiGHS ended with "
            f"{solution.status.value!r}"
        )
    whole: Column = np.rint(solution.values[: flows.size]).astype(np.int64)
    return whole.reshape(flows.shape)


def _largest_remainders(position: Array, node: Column, target: Column) -> Column:
    """Round positions so that they sum to the target at every node, largest remainders up."""
    down = np.floor(position)
    missing = target.copy()
    np.subtract.at(missing, node, down.astype(np.int64))
    rank = np.empty(position.shape, np.int64)
    first = np.searchsorted(np.sort(node), np.arange(len(target)))
    for period, remainder in enumerate((position - down).T):
        order = np.lexsort((-remainder, node))
        rank[order, period] = np.arange(node.size) - first[node[order]]
    result: Column = down.astype(np.int64) + (rank < missing[node])
    return result
