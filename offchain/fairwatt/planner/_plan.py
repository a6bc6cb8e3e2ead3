"""From the optimum of a program to what everybody does, trades and pays."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt import highs
from fairwatt.errors import PlanError, PlanTimeLimit
from fairwatt.planner._convex import solve
from fairwatt.planner._program import day_program
from fairwatt.planner.devices import Part
from fairwatt.planner.feasible import explain, require_feasible
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fairwatt.community import Asset, Community
    from fairwatt.highs import Method, Progress, Solution
    from fairwatt.planner._program import DayProgram, Placed
    from fairwatt.planner.devices import Array, Index

__all__ = ["Plan", "Schedule", "Timings", "plan"]

_NOISE_KWH: Final = 1e-9
"""What the solver leaves of a zero."""
_NOISE_PRICE: Final = 1e-9


@dataclass(frozen=True, eq=False)
class Schedule:
    """What one asset does.

    Attributes
    ----------
    peer
        Index of its peer.
    asset
        The asset.
    draw_kwh, inject_kwh
        At the meter, shape (periods,).
    level_kwh
        State at the end of each period, shape (periods,): energy in a storage, energy beyond the
        comfort profile of a heat pump; None for other kinds.
    cost
        What it costs its owner, token: fuel, wear, value not served.
    """

    peer: int
    asset: Asset
    draw_kwh: Array
    inject_kwh: Array
    level_kwh: Array | None
    cost: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time, seconds: to build the program, and within HiGHS."""

    build_seconds: float
    solve_seconds: float


@dataclass(frozen=True, eq=False)
class Steps:
    """What the assets are willing to pay or to take for the energy planned for them.

    All of shape (steps,). The limit is the price at the peer's node at which the asset would do
    something else, infinite where it has no choice.
    """

    peer: Index
    period: Index
    is_bid: NDArray[np.bool_]
    energy_kwh: Array
    limit_per_kwh: Array


@dataclass(frozen=True, eq=False)
class Plan:
    """An optimum for a community.

    Arrays of peers have shape (peers, periods), those of nodes and links likewise.

    Attributes
    ----------
    community
        What it is a plan for.
    objective
        What was minimised, token.
    cost
        What is really paid: the objective without the preferences against outside trade.
    schedules
        One per asset, peer by peer.
    draw_kwh, inject_kwh
        Sums over the assets of each peer.
    import_kwh, export_kwh
        With the supplier. Who of a group imports is not for the optimum to say: it is in
        proportion to net deficits, as the market shares what is scarce, and exports to surpluses.
    buy_kwh, sell_kwh
        On the community's market; never both.
    flows_kwh
        Over links.
    price_per_kwh
        Per node: what a kWh more would cost there (the dual of its balance), token/kWh. Where a
        range of prices is optimal, one of them.
    timings
        Where the time went.
    """

    community: Community
    objective: float
    cost: float
    schedules: tuple[Schedule, ...]
    draw_kwh: Array
    inject_kwh: Array
    import_kwh: Array
    export_kwh: Array
    buy_kwh: Array
    sell_kwh: Array
    flows_kwh: Array
    price_per_kwh: Array
    timings: Timings
    steps: Steps = field(repr=False)

    @property
    def net_kwh(self) -> Array:
        """Draw less injection at every meter."""
        return self.draw_kwh - self.inject_kwh

    @cached_property
    def peer_price_per_kwh(self) -> Array:
        """Price at the node of every peer."""
        index = self.community.network.node_index
        at = np.array([index[peer.node] for peer in self.community.peers], np.int64)
        return self.price_per_kwh[at]

    def asset_costs(self) -> Array:
        """What the assets of every peer cost, token, shape (peers,)."""
        costs = np.zeros(len(self.community.peers))
        for schedule in self.schedules:
            costs[schedule.peer] += schedule.cost
        return costs

    def bills(self) -> Array:
        """What every peer pays in all, token, shape (peers,).

            asset costs + retail import - feed_in export + price (buy - sell) + fee (buy + sell)

        They sum to `cost` plus `congestion_rent`: tariffs of links are part of the prices.
        """
        community = self.community
        supplied = np.isfinite(community.retail_per_kwh)
        retail = np.where(supplied, community.retail_per_kwh, 0.0)
        feed_in = np.where(supplied, community.feed_in_per_kwh, 0.0)
        paid = (
            retail * self.import_kwh
            - feed_in * self.export_kwh
            + self.peer_price_per_kwh * (self.buy_kwh - self.sell_kwh)
            + community.fee_per_kwh * (self.buy_kwh + self.sell_kwh)
        )
        total: Array = self.asset_costs() + paid.sum(axis=1)
        return total

    def link_tariffs(self) -> Array:
        """What the flows pay to the owners of links, token, shape (links,)."""
        tariff = self.community.network.tariffs_micro_per_kwh / MICRO
        paid: Array = tariff * self.flows_kwh.sum(axis=1)
        return paid

    def congestion_rent(self) -> float:
        """What full links earn above their tariffs, token; it goes to the community fund.

        sum_l,t flow (price at its end - price at its start - tariff)
        """
        network = self.community.network
        spread = self.price_per_kwh[network.targets] - self.price_per_kwh[network.sources]
        return float((spread * self.flows_kwh).sum() - self.link_tariffs().sum())


def plan(
    community: Community,
    *,
    time_limit_s: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Plan:
    """Plan a day (or any horizon) of a community at the least cost.

    Parameters
    ----------
    time_limit_s
        Wall time after which to give up; None: no limit. Reading the plan is not stopped.
    progress
        Called now and then while HiGHS works; what it raises, Ctrl-C included, ends the plan.

    Raises
    ------
    PlanInfeasible
        If somebody cannot be served, with who and when.
    PlanTimeLimit
        If there is no optimum in time.
    PlanError
        If HiGHS fails.
    """
    start = perf_counter()
    if time_limit_s is not None and not time_limit_s > 0:
        raise PlanError(f"the time limit must be more than 0 s, not {time_limit_s:g} s")
    require_feasible(community)
    day = day_program(community)
    built = perf_counter()
    left = None if time_limit_s is None else max(time_limit_s - (built - start), 0.0)
    solution = _solve(day, left, progress)
    if solution.status is highs.Status.TIME_LIMIT:
        raise PlanTimeLimit(community.name, time_limit_s or 0.0)
    if solution.status in {highs.Status.INFEASIBLE, highs.Status.INFEASIBLE_OR_UNBOUNDED}:
        raise explain(community, day)
    if solution.status is not highs.Status.OPTIMAL:
        raise PlanError(f"{community.name}: HiGHS ended with {solution.status.value!r}")
    return _read(community, day, solution, Timings(built - start, perf_counter() - built))


def method_for(program: highs.Program) -> Method:
    """The method of HiGHS that was fastest on programs like this."""
    return "ipm" if program.columns > 80_000 else "simplex"


def _solve(
    day: DayProgram,
    time_limit_s: float | None,
    progress: Callable[[Progress], None] | None,
) -> Solution:
    """Solve by the best method, and by simplex if the other one gives up."""
    start, method = perf_counter(), method_for(day.program)
    solution = solve(day.program, method=method, time_limit_s=time_limit_s, progress=progress)
    if solution.status is not highs.Status.UNKNOWN or method == "simplex":
        return solution
    left = None if time_limit_s is None else max(time_limit_s - (perf_counter() - start), 0.0)
    return solve(day.program, method="simplex", time_limit_s=left, progress=progress)


# --- reading --------------------------------------------------------------------------------------


def _read(community: Community, day: DayProgram, solution: Solution, timings: Timings) -> Plan:
    periods = community.horizon.periods
    x, reduced = day.spread(solution.values), day.spread(solution.reduced_costs)
    x[np.abs(x) < _NOISE_KWH] = 0.0
    price = solution.row_duals[: len(community.network.nodes) * periods].reshape(-1, periods)
    groups = len(day.groups.node)
    if day.balance_row is None:
        value = price[day.groups.node]
    else:
        value = solution.row_duals[day.balance_row :][: groups * periods].reshape(groups, periods)
    schedules, steps = _schedules(community, day, x, reduced, value)
    draw, inject = (np.zeros((len(community.peers), periods)) for _ in range(2))
    for schedule in schedules:
        draw[schedule.peer] += schedule.draw_kwh
        inject[schedule.peer] += schedule.inject_kwh
    imports, exports = _attribute(day, x, draw, inject)
    market = draw - inject - imports + exports
    market[np.abs(market) < _NOISE_KWH] = 0.0
    flows = x[day.flows :][: len(community.network.links) * periods].reshape(-1, periods)
    objective = solution.objective + day.fixed_cost
    delta_imp = np.array([peer.import_preference_per_kwh for peer in community.peers])
    delta_exp = np.array([peer.export_preference_per_kwh for peer in community.peers])
    return Plan(
        community=community,
        objective=objective,
        cost=float(objective - delta_imp @ imports.sum(axis=1) - delta_exp @ exports.sum(axis=1)),
        schedules=schedules,
        draw_kwh=draw,
        inject_kwh=inject,
        import_kwh=imports,
        export_kwh=exports,
        buy_kwh=np.maximum(market, 0.0),
        sell_kwh=np.maximum(-market, 0.0),
        flows_kwh=flows,
        price_per_kwh=_within_tariffs(community, day, price, market, flows),
        timings=timings,
        steps=steps,
    )


def _within_tariffs(
    community: Community, day: DayProgram, price: Array, market: Array, flows: Array
) -> Array:
    """Prices where nobody trades, moved between the tariffs there, shape (nodes, periods).

    The rule that nobody resells gives imports a value of their own, so that the dual of a balance
    may lie beyond the tariffs. Where there is trade that is what it is worth; where there is none,
    whoever wants a kWh more takes it from its supplier. A price stays where it was if a link with
    room would otherwise seem worth using: then the prices would not be optimal.
    """
    network = community.network
    sources, targets = network.sources, network.targets
    traded = np.zeros(price.shape)
    np.add.at(traded, [network.node_index[peer.node] for peer in community.peers], np.abs(market))
    np.add.at(traded, sources, flows)
    np.add.at(traded, targets, flows)
    highest, lowest = np.full(price.shape, -np.inf), np.full(price.shape, np.inf)
    np.maximum.at(highest, day.groups.node, day.groups.retail)
    np.minimum.at(lowest, day.groups.node, day.groups.feed_in)
    idle = (traded == 0) & (lowest <= highest)
    bounded: Array = np.where(idle, np.clip(price, lowest, highest), price)
    room = flows < network.capacities_wh[:, None] / WH_PER_KWH - _NOISE_KWH
    tariff = network.tariffs_micro_per_kwh[:, None] / MICRO + _NOISE_PRICE
    while True:
        worth_using = room & (bounded[targets] - bounded[sources] > tariff)
        undone = np.zeros(price.shape, bool)
        np.logical_or.at(undone, sources, worth_using)
        np.logical_or.at(undone, targets, worth_using)
        undone &= bounded != price
        if not undone.any():
            return bounded
        bounded = np.where(undone, price, bounded)


def _schedules(
    community: Community, day: DayProgram, x: Array, reduced: Array, value: Array
) -> tuple[tuple[Schedule, ...], Steps]:
    """Schedules of all assets, and the steps behind them."""
    owners = [(at, asset) for at, peer in enumerate(community.peers) for asset in peer.assets]
    peer_of = np.array([peer for peer, _ in owners], np.int32)
    found: list[Schedule | None] = [None] * len(owners)
    nothing = np.zeros(community.horizon.periods)
    nothing.flags.writeable = False
    steps = _StepList()
    for placed in day.placed:
        block = placed.devices
        peers = peer_of[placed.assets]
        draw, inject, level = block.fixed_draw_kwh, None, None
        steps.add(peers, True, draw, np.full_like(draw, np.inf))
        cost = block.fixed_cost.copy()
        for at, part in enumerate(block.parts):
            energy = placed.part(x, at)
            if part is Part.LEVEL:
                level = energy
                continue
            spent = block.cost[:, at] * energy
            if block.curvature is not None:
                spent += block.curvature[:, at] / 2 * energy**2
            cost += spent.sum(axis=1)
            steps.add_part(placed, peers, at, (energy, placed.part(reduced, at)), value)
            if part is Part.DRAW:
                draw = draw + energy
            else:
                inject = energy if placed.share is None else energy[placed.device] * placed.share
        for at, asset in enumerate(placed.assets.tolist()):
            unit = placed.device[at]
            found[asset] = Schedule(
                peer=owners[asset][0],
                asset=owners[asset][1],
                draw_kwh=draw[unit],
                inject_kwh=nothing if inject is None else inject[at],
                level_kwh=None if level is None else level[unit],
                cost=float(cost[unit]),
            )
    return tuple(schedule for schedule in found if schedule is not None), steps.joined()


@dataclass(eq=False)
class _StepList:
    """Steps as they are found; see `Steps`."""

    columns: list[tuple[Index, Index, NDArray[np.bool_], Array, Array]] = field(
        default_factory=list
    )

    def add_part(
        self, placed: Placed, peers: Index, at: int, found: tuple[Array, Array], value: Array
    ) -> None:
        """Steps of a part: what devices must draw or inject, and what they choose to."""
        energy, reduced = found
        block = placed.devices
        is_bid = block.parts[at] is Part.DRAW
        must = block.lower[:, at]
        limit = value[placed.group] + (-reduced if is_bid else reduced)
        chosen = energy - must
        extreme = np.full_like(limit, np.inf if is_bid else -np.inf)
        for part, price in ((must, extreme), (chosen, limit)):
            if placed.share is not None:
                self.add(peers, is_bid, part[placed.device] * placed.share, price[placed.device])
            else:
                self.add(peers, is_bid, part, price)

    def add(self, peers: Index, is_bid: bool, energy: Array, limit: Array) -> None:
        """Take those with energy."""
        at, period = np.nonzero(energy > _NOISE_KWH)
        self.columns.append(
            (
                peers[at],
                period.astype(np.int32),
                np.full(at.size, is_bid),
                energy[at, period],
                limit[at, period],
            )
        )

    def joined(self) -> Steps:
        if not self.columns:
            none = np.zeros(0, np.int32)
            return Steps(none, none, none.astype(bool), np.zeros(0), np.zeros(0))
        return Steps(*(np.concatenate(column) for column in zip(*self.columns, strict=True)))


def _attribute(day: DayProgram, x: Array, draw: Array, inject: Array) -> tuple[Array, Array]:
    """Say who of each group imports and exports, shape (peers, periods)."""
    of_peer, periods = day.groups.of_peer, draw.shape[1]
    shape = (len(day.groups.node), periods)
    size = shape[0] * periods
    imports = x[day.imports :][:size].reshape(shape)
    exports = x[day.exports :][:size].reshape(shape)
    both = np.minimum(imports, exports)  # equal tariffs: of no use to anybody
    own = np.minimum(draw, inject)
    return (
        _share(imports - both, of_peer, draw - own, own),
        _share(exports - both, of_peer, inject - own, own),
    )


def _share(total: Array, of_peer: Index, first: Array, then: Array) -> Array:
    """Share totals of groups in proportion to `first`; what exceeds its sum, to `then`."""
    result, rest = np.zeros_like(first), total
    for weight in (first, then):
        weights = np.zeros_like(total)
        np.add.at(weights, of_peer, weight)
        part = np.divide(rest, weights, out=np.zeros_like(rest), where=weights > _NOISE_KWH)
        part = np.minimum(part, 1.0)
        result += part[of_peer] * weight
        rest = rest - part * weights
    return result
