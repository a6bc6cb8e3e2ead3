"""A community on a grid: whom the links connect, and what a cleared day puts on the grid.

*The supplier stands at the grid.* Elsewhere a supplier serves its customers where they are, and
what it delivers uses no link. Here all of it comes through the transformer, so the supplier is a
participant at the node `grid`, with standing orders: it sells at the retail tariff less the
tariffs of the links on the way, and buys at the feed-in tariff. A peer at a feeder then pays and
earns what it does elsewhere, unless a link is full.

*Links.* Each node is connected to the one that feeds it. Towards the peers a link bears a tariff,
for the use of the transformer or of the low-voltage grid; on the way back it is free.

*Cleared is what counts.* A day is planned (storage looks beyond a period), the plan becomes orders
at its prices, these are cleared period by period with their proof, and what every peer is cleared
to draw or feed in, in whole Wh, goes into the power flow. Peers have nobody else to deal with, so
nothing else passes their meters. What is not planned to trade is in the book as well, at what it is
worth by itself: the sun that would be spilt, the load that would not be served, the rest of the
supplier's standing orders. So a price is where it would be if somebody wanted a kWh more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.community import (
    Community,
    CurtailableLoad,
    Generator,
    Load,
    Peer,
    Photovoltaic,
)
from fairwatt.errors import GridError
from fairwatt.grid._grid import ROOT
from fairwatt.market import Book, Link, Network, Side, clear
from fairwatt.planner import book, plan
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fairwatt.community import Array
    from fairwatt.grid._flow import PowerFlow
    from fairwatt.grid._grid import Grid
    from fairwatt.planner import Plan

    Index = NDArray[np.int64]

__all__ = ["SUPPLIER", "Capacities", "Day", "Site", "Terms", "place", "settle_day"]

SUPPLIER: Final = "supplier"
POWER_FACTOR: Final = 0.93
"""Of the loads of SimBench at their rated power."""
_ALMOST_WHOLE: Final = 1e-6
_ROOM: Final = 2.0  # of the supplier, over all that the peers could draw or feed in at once


@dataclass(frozen=True, slots=True)
class Terms:
    """Prices on a grid, token/kWh.

    Attributes
    ----------
    station_tariff_per_kwh
        For what comes down through the transformer.
    feeder_tariff_per_kwh
        For what goes from the station into a feeder.
    unserved_per_kwh
        What a kWh is worth to a load that may go unserved; the price cap of the market.
    owner
        Who earns the tariffs.
    """

    station_tariff_per_kwh: float = 0.05
    feeder_tariff_per_kwh: float = 0.02
    unserved_per_kwh: float = 3.0
    owner: str = "network operator"


@dataclass(frozen=True, eq=False)
class Capacities:
    """Most that may pass the gate of each zone, shape (zones,), kW; infinite: no limit.

    Attributes
    ----------
    import_kw
        Towards the peers.
    export_kw
        Back to the grid.
    """

    import_kw: Array
    export_kw: Array

    @classmethod
    def unlimited(cls, grid: Grid) -> Capacities:
        """No limit anywhere."""
        none = np.full(len(grid.zones), np.inf)
        return cls(none, none)


@dataclass(frozen=True, eq=False)
class Site:
    """A community on a grid.

    Attributes
    ----------
    grid
        Where it is.
    community
        The peers, then the supplier; on the nodes of the grid.
    peer_bus
        Position of the bus of each peer (without the supplier), shape (peers,).
    reactive_kvar
        What each bus draws whatever is traded, shape (buses, periods).
    terms
        Prices.
    published
        Capacities that the community came with.
    """

    grid: Grid
    community: Community
    peer_bus: Index
    reactive_kvar: Array
    terms: Terms
    published: Capacities

    def limited(self, capacities: Capacities) -> Community:
        """The community with links of these capacities."""
        hours = self.community.horizon.hours
        tariffs = self.community.network.tariffs_micro_per_kwh.tolist()
        links = _links(
            self.grid, capacities, tariffs,
            most_kwh=self.most_kwh, hours=hours, owner=self.terms.owner,
        )  # fmt: skip
        network = replace(self.community.network, links=links)
        return replace(self.community, network=network)

    @cached_property
    def most_kwh(self) -> float:
        """More than can pass any link in a period."""
        return _most_kwh(self.community.peers[: len(self.peer_bus)], self.community)


@dataclass(frozen=True, eq=False)
class Day:
    """A cleared day on a grid.

    Attributes
    ----------
    site
        Whose day.
    capacities
        Of the links.
    plan
        What the orders were made of.
    draw_kwh
        What each peer was cleared to draw, shape (peers, periods); negative: to feed in.
    price_per_kwh
        Of each node, shape (zones, periods).
    """

    site: Site
    capacities: Capacities
    plan: Plan
    draw_kwh: Array
    price_per_kwh: Array

    @cached_property
    def bus_draw_kw(self) -> Array:
        """Power drawn at each bus, shape (buses, periods)."""
        result = np.zeros((len(self.site.grid.buses), self.draw_kwh.shape[1]))
        np.add.at(result, self.site.peer_bus, self.draw_kwh)
        return result / self.plan.community.horizon.hours

    @cached_property
    def gate_kw(self) -> Array:
        """Power through the gate of each zone towards the peers, shape (zones, periods)."""
        grid = self.site.grid
        own = np.zeros((len(grid.zones), self.draw_kwh.shape[1]))
        np.add.at(own, grid.bus_zone, self.bus_draw_kw)
        through: Array = grid.above @ own
        return through

    def flow(self, progress: Callable[[int], None] = lambda _: None) -> PowerFlow:
        """The power flow of what was cleared."""
        return self.site.grid.flow(self.bus_draw_kw, self.site.reactive_kvar, progress)

    @property
    def cost(self) -> float:
        """What the day costs the peers and the fund together, token.

        retail import - feed_in export + tariffs inside + wear of storage
        + value of what is not served
        """
        supplier = self.plan.schedules[-2:]
        outside = sum(each.cost for each in supplier if isinstance(each.asset, Generator))
        unsold = next(each for each in supplier if isinstance(each.asset, CurtailableLoad))
        value = unsold.asset.over("value_per_kwh", self.draw_kwh.shape[1])
        inside = self.plan.asset_costs()[:-1].sum()
        bought = float((value * unsold.draw_kwh).sum())
        return float(inside + outside - bought + self.plan.link_tariffs().sum())

    @property
    def rent(self) -> float:
        """What full links earn above their tariffs at the cleared prices; for the fund, token."""
        network = self.plan.community.network
        spread = self.price_per_kwh[network.targets] - self.price_per_kwh[network.sources]
        tariff = network.tariffs_micro_per_kwh[:, None] / MICRO
        return float(((spread - tariff) * self.plan.flows_kwh).sum())

    def bills(self) -> Array:
        """What every peer pays at the cleared prices, with its own assets, token."""
        zones = self.site.grid.bus_zone[self.site.peer_bus]
        paid = (self.price_per_kwh[zones] * self.draw_kwh).sum(axis=1)
        total: Array = paid + self.plan.asset_costs()[:-1]
        return total

    def curtailed_kwh(self) -> Array:
        """Generation that is spilt by each peer, kWh, shape (peers,)."""
        return self._left("energy_kwh", inject=True)

    def unserved_kwh(self) -> Array:
        """Load that is not served, of each peer, kWh, shape (peers,)."""
        return self._left("energy_kwh", inject=False)

    def _left(self, field: str, *, inject: bool) -> Array:
        periods = self.draw_kwh.shape[1]
        kind = Photovoltaic if inject else CurtailableLoad
        result = np.zeros(len(self.draw_kwh))
        for each in self.plan.schedules:
            if isinstance(each.asset, kind) and each.peer < result.size:
                used = each.inject_kwh if inject else each.draw_kwh
                result[each.peer] += (each.asset.over(field, periods) - used).sum()
        return np.where(result > _ALMOST_WHOLE, result, 0.0)

    def full_periods(self, zone: int) -> int:
        """In how many periods the gate of a zone carries all it may."""
        power, hours = self.gate_kw[zone], self.plan.community.horizon.hours
        unit = 1.5 / WH_PER_KWH / hours  # whole Wh may leave one or two of them
        full = (power >= self.capacities.import_kw[zone] - unit) & (power > 0)
        full |= (-power >= self.capacities.export_kw[zone] - unit) & (power < 0)
        return int(full.sum())


def place(
    grid: Grid,
    community: Community,
    terms: Terms | None = None,
    *,
    power_factor: float = POWER_FACTOR,
    reactive_kvar: Array | None = None,
) -> Site:
    """Put a community on a grid, its own network aside.

    Peers that bear the name of a bus are there; otherwise they are spread evenly over the buses
    behind the station, in their order. A community whose nodes are those of the grid keeps its
    network, and its last peer must be the supplier at the grid: so `write_site` writes it.

    Parameters
    ----------
    power_factor
        Of all loads, lagging, 0 to 1.
    reactive_kvar
        What each bus draws instead, shape (buses, periods).

    Raises
    ------
    GridError
        If peers have suppliers of different tariffs, or none has one, or one is a supplier.
    """
    terms = terms or Terms()
    if not 0 < power_factor <= 1:
        raise GridError(f"the power factor must be above 0 and at most 1, not {power_factor:g}")
    on_grid = community.network.nodes == tuple(zone.name for zone in grid.zones)
    peers = community.peers
    own = [peer.name for peer in peers if peer.role == "supplier"]
    if own and not on_grid:
        raise GridError(
            f"{community.name}: {own[0]!r} is a supplier among the peers, which has no place at "
            "a bus; leave it out and name its tariffs under suppliers"
        )
    if on_grid:
        peers = _without_supplier(community)
    buses = _buses(grid, [peer.name for peer in peers])
    if reactive_kvar is None:
        reactive_kvar = _reactive(grid, community, peers, buses, power_factor)
    if on_grid:
        unlimited = _published(grid, community)
        return Site(grid, community, buses, reactive_kvar, terms, unlimited)
    retail, feed_in = _tariffs(community)
    return site(
        grid,
        community,
        buses,
        reactive_kvar,
        terms=terms,
        retail_per_kwh=retail,
        feed_in_per_kwh=feed_in,
    )


def site(
    grid: Grid,
    community: Community,
    peer_bus: Index,
    reactive_kvar: Array,
    *,
    terms: Terms,
    retail_per_kwh: Array,
    feed_in_per_kwh: Array,
) -> Site:
    """Connect peers to the nodes of their buses, and the supplier to the grid."""
    zones = [grid.zones[zone].name for zone in grid.bus_zone[peer_bus].tolist()]
    peers = tuple(
        replace(peer, node=node, supplier=None, community=1)
        for peer, node in zip(community.peers, zones, strict=True)
    )
    most = _most_kwh(peers, community)
    on_the_way = terms.station_tariff_per_kwh + terms.feeder_tariff_per_kwh
    ask = retail_per_kwh - on_the_way
    if (ask < feed_in_per_kwh).any():
        raise GridError(
            f"the tariffs of the links, {on_the_way:g} token/kWh on the way to a peer, leave the "
            "supplier less than the feed-in tariff; choose lower ones (--station-tariff, "
            "--feeder-tariff)"
        )
    supplier = Peer(
        name=_free_name(peers),
        role="supplier",
        node=ROOT,
        assets=(
            Generator(power_kw=most / community.horizon.hours, cost_per_kwh=ask),
            CurtailableLoad(energy_kwh=most, value_per_kwh=feed_in_per_kwh),
        ),
    )
    highest = max(terms.unserved_per_kwh, float(retail_per_kwh.max()))
    unlimited = Capacities.unlimited(grid)
    hours = community.horizon.hours
    network = Network(
        nodes=tuple(zone.name for zone in grid.zones),
        links=_links(
            grid,
            unlimited,
            _link_tariffs(grid, terms),
            most_kwh=most,
            hours=hours,
            owner=terms.owner,
        ),
        price_floor_micro_per_kwh=min(0, round(float(feed_in_per_kwh.min()) * MICRO)),
        price_cap_micro_per_kwh=round(highest * MICRO),
    )
    on_grid = replace(community, network=network, suppliers=(), peers=(*peers, supplier))
    return Site(grid, on_grid, peer_bus, reactive_kvar, terms, unlimited)


def settle_day(
    site: Site,
    capacities: Capacities | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Day:
    """Plan and clear a day.

    Parameters
    ----------
    capacities
        Of the links; None: those that the community came with, if any.
    progress
        Called with the number of every period that is cleared.

    Raises
    ------
    PlanInfeasible
        If loads that must be served cannot be within the capacities.
    """
    capacities = capacities or site.published
    community = site.limited(capacities)
    planned = plan(community)
    periods, count = community.horizon.periods, len(site.peer_bus)
    draw = np.zeros((count, periods))
    price = np.empty((len(site.grid.zones), periods))
    for period in range(periods):
        orders = _orders(planned, period)
        clearing = clear(orders)
        sign = np.where(np.asarray(orders.side) == Side.BID.value, 1, -1)
        peers = np.array([community.index(name) for name in orders.peers], np.int64)
        filled = sign * np.asarray(clearing.fills_wh)
        own = peers < count
        np.add.at(draw[:, period], peers[own], filled[own] / WH_PER_KWH)
        price[:, period] = np.asarray(clearing.prices_micro_per_kwh) / MICRO
        progress(period + 1)
    return Day(site, capacities, planned, draw, price)


def _orders(planned: Plan, period: int) -> Book:
    """The book of a period: what is planned at the prices of the plan, the rest at its worth."""
    community = planned.community
    base = book(planned, period, "at-plan")
    periods, hours, index = community.horizon.periods, community.horizon.hours, base.network
    ids, peers, nodes, sides, prices, energies = (list[Any]() for _ in range(6))
    for schedule in planned.schedules:
        asset, peer = schedule.asset, community.peers[schedule.peer]
        match asset:
            case Photovoltaic():
                side, worth = Side.ASK, 0.0
                left = asset.over("energy_kwh", periods)[period] - schedule.inject_kwh[period]
            case Generator(quadratic_cost_per_kwh2=0.0):
                side, worth = Side.ASK, asset.over("cost_per_kwh", periods)[period]
                most = asset.over("power_kw", periods)[period] * hours
                left = most - schedule.inject_kwh[period]
            case CurtailableLoad():
                side, worth = Side.BID, asset.over("value_per_kwh", periods)[period]
                left = asset.over("energy_kwh", periods)[period] - schedule.draw_kwh[period]
            case _:
                continue
        energy = int(left * WH_PER_KWH + _ALMOST_WHOLE)
        if energy > 0:
            ids.append(f"{peer.name}/rest-{len(ids) + 1}")
            peers.append(peer.name)
            nodes.append(index.node_index[peer.node])
            sides.append(side.value)
            floor, cap = index.price_floor_micro_per_kwh, index.price_cap_micro_per_kwh
            prices.append(min(max(round(float(worth) * MICRO), floor), cap))
            energies.append(energy)
    return Book.from_columns(
        base.network,
        ids=[*base.ids, *ids],
        peers=[*base.peers, *peers],
        node=[*base.node.tolist(), *nodes],
        side=[*base.side.tolist(), *sides],
        price_micro_per_kwh=[*base.price_micro_per_kwh.tolist(), *prices],
        energy_wh=[*base.energy_wh.tolist(), *energies],
    )


# --- parts ----------------------------------------------------------------------------------------


def _link_tariffs(grid: Grid, terms: Terms) -> list[int]:
    """Tariffs in the order of the links, micro-token/kWh."""
    depth = (grid.above > 0).sum(axis=0) - 1
    by_depth = {1: terms.station_tariff_per_kwh, 2: terms.feeder_tariff_per_kwh}
    return [
        tariff
        for zone in depth[1:].tolist()
        for tariff in (round(by_depth.get(zone, 0.0) * MICRO), 0)
    ]


def _links(
    grid: Grid,
    capacities: Capacities,
    tariffs_micro_per_kwh: list[int],
    *,
    most_kwh: float,
    hours: float,
    owner: str,
) -> tuple[Link, ...]:
    """Both links of every zone but the first, towards the peers before the way back."""
    links = []
    tariffs = iter(tariffs_micro_per_kwh)
    for at, zone in enumerate(grid.zones):
        if zone.parent is None:
            continue
        feeding = grid.zones[zone.parent].name
        for source, target, power in (
            (feeding, zone.name, capacities.import_kw[at]),
            (zone.name, feeding, capacities.export_kw[at]),
        ):
            energy = min(power * hours, most_kwh)
            whole = int(energy * WH_PER_KWH + _ALMOST_WHOLE)
            links.append(Link(source, target, next(tariffs), whole, owner))
    return tuple(links)


def _without_supplier(community: Community) -> tuple[Peer, ...]:
    """The peers of a community that is on its grid already."""
    *peers, last = community.peers
    kinds = tuple(type(asset) for asset in last.assets)
    if last.node != ROOT or kinds != (Generator, CurtailableLoad):
        raise GridError(
            f"{community.name}: has the nodes of the grid, so its last peer must be the supplier "
            f"at {ROOT!r}, with a generator and a curtailable load"
        )
    return tuple(peers)


def _published(grid: Grid, community: Community) -> Capacities:
    """Capacities of a network with the nodes of the grid and both links of each, in their order."""
    network, hours = community.network, community.horizon.hours
    expected = [
        pair
        for zone in grid.zones
        if zone.parent is not None
        for feeding in (grid.zones[zone.parent].name,)
        for pair in ((feeding, zone.name), (zone.name, feeding))
    ]
    if [(link.source, link.target) for link in network.links] != expected:
        raise GridError(
            f"{community.name}: has the nodes of the grid, so it needs both links of each node to "
            "the one that feeds it, towards the peers first, in the order of the nodes"
        )
    power = network.capacities_wh / WH_PER_KWH / hours
    first = np.array([np.inf])
    return Capacities(np.concatenate([first, power[0::2]]), np.concatenate([first, power[1::2]]))


def _reactive(
    grid: Grid, community: Community, peers: tuple[Peer, ...], buses: Index, power_factor: float
) -> Array:
    """Reactive power of the loads at a power factor, shape (buses, periods)."""
    periods, hours = community.horizon.periods, community.horizon.hours
    reactive = np.zeros((len(grid.buses), periods))
    share = float(np.sqrt(1 / power_factor**2 - 1))
    for bus, peer in zip(buses.tolist(), peers, strict=True):
        for asset in peer.assets:
            if isinstance(asset, Load | CurtailableLoad):
                reactive[bus] += share * asset.over("energy_kwh", periods) / hours
    return reactive


def _most_kwh(peers: tuple[Peer, ...], community: Community) -> float:
    """More than all peers could draw or feed in within a period, kWh."""
    hours, periods = community.horizon.hours, community.horizon.periods
    powers = ("power_kw", "charge_kw", "discharge_kw")
    most = 0.0
    for peer in peers:
        for asset in peer.assets:
            if any(hasattr(asset, name) for name in powers):
                most += hours * sum(
                    float(np.max(getattr(asset, name))) for name in powers if hasattr(asset, name)
                )
            else:
                most += float(asset.over("energy_kwh", periods).max())
    return float(np.ceil(_ROOM * most)) or 1.0


def _tariffs(community: Community) -> tuple[Array, Array]:
    """Retail and feed-in tariff of the one supplier there is, shape (periods,)."""
    rows = [
        (tuple(community.retail_per_kwh[at]), tuple(community.feed_in_per_kwh[at]))
        for at, peer in enumerate(community.peers)
        if peer.supplier is not None
    ]
    if not rows:
        raise GridError(f"{community.name}: no peer has a supplier; on a grid they need one")
    if len(set(rows)) > 1:
        raise GridError(
            f"{community.name}: peers have suppliers of different tariffs; behind one transformer "
            "they must have the same"
        )
    return np.array(rows[0][0]), np.array(rows[0][1])


def _buses(grid: Grid, names: list[str]) -> Index:
    """Where everybody is."""
    if all(name in grid.bus_index for name in names):
        return np.array([grid.bus_index[name] for name in names], np.int64)
    behind = len(grid.buses) - 1
    apart = max(behind / len(names), 1.0)
    return 1 + (np.arange(len(names)) * apart).astype(np.int64) % behind


def _free_name(peers: tuple[Peer, ...]) -> str:
    names = {peer.name for peer in peers}
    name = SUPPLIER
    while name in names:
        name = f"the {name}"
    return name
