"""A community as one sparse program, kept as small as its optimum allows.

    minimise    sum over assets of their cost
              + sum_g,t (retail + delta_imp) import_gt - (feed_in - delta_exp) export_gt
              + sum_l,t tariff_l flow_lt + phi sum_g,t (buy_gt + sell_gt)

    subject to  inject - draw + import - export + buy - sell = 0     every group g, every period
                sum_g at z (sell - buy) + inflow - outflow = 0       every node z, every period
                import <= draw,  export <= inject                    every group g, every period
                |draw - inject| <= h connection                      every limited peer, period
                the rules of `fairwatt.community.assets`             every asset

*Groups.* A group is a set of peers that may as well be one: same node, same supplier, same
preferences. Who of them imports is decided afterwards (`_plan`). Without a fee to pay, buying and
selling within a node is free, so `buy` and `sell` drop out and the groups of a node share one row.
With a fee, own use is worth more than trade: then only peers who never inject, or never draw, form
groups, and everybody else is a group of one.

*Nobody resells.* import_n <= draw_n and export_n <= inject_n for every peer: a supplier backs what
its customer itself draws and injects, as in the book of orders. Summed over a group that is the
same rule, for within a group energy changes hands for free. The row is left out where it cannot
bind: where nobody else would pay as much as the group's own retail tariff (or take as little as its
feed-in tariff), and where the group's draws (or injections) are fixed. Columns are bounded by the
rule's largest right side in any case, so no program is unbounded. (A storage may still carry energy
from one tariff to another, within a period too: nothing forbids it to do both at once.)

*Sun.* The generation of all photovoltaics of a group is one column per period, unless a connection
limits their peer; what is curtailed is shared in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fairwatt.community import Generator, Photovoltaic, Storage
from fairwatt.highs import Program
from fairwatt.planner.devices import NO_ROW, Devices, Part, devices, generation
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fairwatt.community import Asset, Community

    Array = NDArray[np.float64]
    Index = NDArray[np.int32]
    Mask = NDArray[np.bool_]

__all__ = ["Columns", "DayProgram", "Groups", "Placed", "day_program"]


@dataclass(frozen=True, eq=False)
class Groups:
    """Peers that are planned for together.

    Attributes
    ----------
    of_peer
        Group of each peer, shape (peers,).
    node
        Node of each group, shape (groups,).
    retail, feed_in
        What imports cost and exports earn with the preferences, token/kWh, shape
        (groups, periods); infinite and minus infinite without a supplier.
    """

    of_peer: Index
    node: Index
    retail: Array
    feed_in: Array


@dataclass(frozen=True, eq=False)
class Placed:
    """Devices of one kind and whose they are.

    Attributes
    ----------
    devices
        Their columns.
    group, connection
        Of each, shape (devices,); connection `NO_ROW`: no limit.
    assets
        Positions of the assets in the community, peer by peer.
    device
        Which device an asset is part of, shape (assets,).
    share
        What part of it, shape (assets, periods); None: all.
    first
        Position of the first column in the program.
    """

    devices: Devices
    group: Index
    connection: Index
    assets: Index
    device: Index
    share: Array | None
    first: int = 0

    def part(self, values: Array, at: int) -> Array:
        """Values of one part, shape (devices, periods), out of those of all columns."""
        count, parts, periods = self.devices.shape
        block = values[self.first : self.first + count * parts * periods]
        return block.reshape(count, parts, periods)[:, at]


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns with their entries, shapes (columns,) and (columns, entries)."""

    cost: Array
    lower: Array
    upper: Array
    rows: Index
    values: Array
    curvature: Array | None = None


@dataclass(frozen=True, eq=False)
class DayProgram:
    """The program of a community and where everything stands in it.

    Attributes
    ----------
    program
        Without the columns that are fixed at zero.
    kept
        Which of all columns are in the program, shape (all columns,).
    placed
        Devices, kind by kind.
    groups
        Who is planned for together.
    imports, exports, flows
        Positions of the first columns among all, row by row of (groups or links, periods).
    balance_row
        First row of the group balances, (groups, periods); None where the nodes' rows serve.
    connection_row
        First row of the connection limits, (limited peers, periods).
    limited
        Peers with a connection limit.
    fixed_cost
        Cost of assets whatever they do, token.
    """

    program: Program
    kept: Mask
    placed: tuple[Placed, ...]
    groups: Groups
    imports: int
    exports: int
    flows: int
    balance_row: int | None
    connection_row: int
    limited: tuple[int, ...]
    fixed_cost: float

    def spread(self, values: Array) -> Array:
        """Values of the program's columns among all columns, zero elsewhere."""
        result = np.zeros(self.kept.size)
        result[self.kept] = values
        return result


@dataclass(eq=False)
class _Rows:
    """Rows as they are added; `take` says where they stand."""

    lower: list[Array] = field(default_factory=list)
    upper: list[Array] = field(default_factory=list)
    count: int = 0

    def take(self, lower: Array, upper: Array) -> int:
        first = self.count
        self.lower.append(lower.ravel())
        self.upper.append(upper.ravel())
        self.count += lower.size
        return first


def day_program(community: Community) -> DayProgram:
    """Make the program of a community."""
    periods = community.horizon.periods
    groups = _groups(community)
    limited = tuple(at for at, peer in enumerate(community.peers) if peer.connection_kw is not None)
    placed = _place(community, groups, limited)
    sums = _Sums.of(placed, len(groups.node), len(limited), periods)

    rows = _Rows()
    nodes = len(community.network.nodes)
    fee = community.fee_per_kwh
    node_load, group_load = np.zeros((nodes, periods)), sums.fixed_draw
    if fee == 0:
        np.add.at(node_load, groups.node, group_load)
    rows.take(node_load, node_load)
    balance_row = rows.take(group_load, group_load) if fee else None
    power = np.array([community.peers[at].connection_kw for at in limited], np.float64)
    most = community.horizon.hours * power[:, None]
    connection_row = rows.take(-most - sums.connection_draw, most - sums.connection_draw)
    nobody_resells = _nobody_resells(community, groups, sums, rows)

    t = np.arange(periods, dtype=np.int32)
    balance = (
        (groups.node if balance_row is None else np.arange(len(groups.node), dtype=np.int32))[
            :, None
        ]
        * np.int32(periods)
        + t
        + np.int32(balance_row or 0)
    )
    meters = _Meters(balance, connection_row, nobody_resells)
    columns, at, placed_at = [], 0, []
    for each in placed:
        own_row = rows.take(each.devices.row_bound, each.devices.row_bound)
        block = _device_columns(each, meters, own_row)
        placed_at.append(Placed(**{**vars(each), "first": at}))
        columns.append(block)
        at += block.cost.size
    imports, exports, flows = at, at + sums.fixed_draw.size, at + 2 * sums.fixed_draw.size
    columns += _supply_columns(groups, sums, meters)
    columns.append(_flow_columns(community))
    if balance_row is not None:
        columns += _trade_columns(groups, sums, balance, fee)
    program, kept = _assemble(columns, rows)
    return DayProgram(
        program=program,
        kept=kept,
        placed=tuple(placed_at),
        groups=groups,
        imports=imports,
        exports=exports,
        flows=flows,
        balance_row=balance_row,
        connection_row=connection_row,
        limited=limited,
        fixed_cost=float(sum(each.devices.fixed_cost.sum() for each in placed)),
    )


# --- who is planned for together ------------------------------------------------------------------


def _groups(community: Community) -> Groups:
    index = community.network.node_index
    found: dict[tuple[object, ...], int] = {}
    of_peer: list[int] = []
    first: list[int] = []
    for at, peer in enumerate(community.peers):
        key = (
            peer.node,
            peer.supplier,
            peer.import_preference_per_kwh,
            peer.export_preference_per_kwh,
            _habit(at, peer.assets) if community.fee_per_kwh else None,
        )
        if key not in found:
            found[key] = len(first)
            first.append(at)
        of_peer.append(found[key])
    peers = [community.peers[at] for at in first]
    delta_imp = np.array([peer.import_preference_per_kwh for peer in peers])
    delta_exp = np.array([peer.export_preference_per_kwh for peer in peers])
    return Groups(
        of_peer=np.array(of_peer, np.int32),
        node=np.array([index[peer.node] for peer in peers], np.int32),
        retail=community.retail_per_kwh[first] + delta_imp[:, None],
        feed_in=community.feed_in_per_kwh[first] - delta_exp[:, None],
    )


def _habit(at: int, assets: Sequence[Asset]) -> int | str:
    """Whether a peer only draws or only injects; its own position if it can do both."""
    injects = any(isinstance(asset, Photovoltaic | Generator | Storage) for asset in assets)
    draws = any(not isinstance(asset, Photovoltaic | Generator) for asset in assets)
    if injects and draws:
        return at
    return "injects" if injects else "draws"


def _place(community: Community, groups: Groups, limited: tuple[int, ...]) -> list[Placed]:
    """Sort the assets by kind and say whose each is."""
    connection_of = np.full(len(community.peers), NO_ROW, np.int32)
    connection_of[list(limited)] = np.arange(len(limited))
    kinds: dict[type[Asset], tuple[list[int], list[int], list[Asset]]] = {}
    at = 0
    for peer, each in enumerate(community.peers):
        for asset in each.assets:
            positions, peers, assets = kinds.setdefault(type(asset), ([], [], []))
            positions.append(at)
            peers.append(peer)
            assets.append(asset)
            at += 1
    placed = []
    for kind, (positions, peers, assets) in kinds.items():
        block = devices(assets, community.horizon)
        position = np.array(positions, np.int32)
        group, connection = groups.of_peer[peers], connection_of[peers]
        if kind is Photovoltaic:
            placed += _gather(block.upper[:, 0], position, group, connection)
        else:
            own = np.arange(len(assets), dtype=np.int32)
            placed.append(Placed(block, group, connection, position, own, None))
    return placed


def _gather(energy: Array, assets: Index, group: Index, connection: Index) -> list[Placed]:
    """Photovoltaics: one device per group, and one for each whose peer has a limit."""
    alone = connection != NO_ROW
    placed = []
    if alone.any():
        own = np.arange(int(alone.sum()), dtype=np.int32)
        block = generation(energy[alone])
        placed.append(Placed(block, group[alone], connection[alone], assets[alone], own, None))
    if not alone.all():
        groups, device = np.unique(group[~alone], return_inverse=True)
        total = np.zeros((groups.size, energy.shape[1]))
        np.add.at(total, device, energy[~alone])
        shared = total[device]
        share = np.divide(energy[~alone], shared, out=np.zeros_like(shared), where=shared > 0)
        none = np.full(groups.size, NO_ROW, np.int32)
        placed.append(
            Placed(generation(total), groups, none, assets[~alone], device.astype(np.int32), share)
        )
    return placed


@dataclass(frozen=True, eq=False)
class _Sums:
    """What the devices of each group can do at most, shape (groups, periods), kWh.

    `connection_draw` are the fixed draws of the limited peers, shape (limited, periods).
    """

    fixed_draw: Array
    most_draw: Array
    most_inject: Array
    free_draw: Mask
    free_inject: Mask
    connection_draw: Array

    @classmethod
    def of(cls, placed: list[Placed], groups: int, limited: int, periods: int) -> _Sums:
        fixed, draw, inject = (np.zeros((groups, periods)) for _ in range(3))
        connection = np.zeros((limited, periods))
        for each in placed:
            block = each.devices
            np.add.at(fixed, each.group, block.fixed_draw_kwh)
            some = each.connection != NO_ROW
            np.add.at(connection, each.connection[some], block.fixed_draw_kwh[some])
            for at, part in enumerate(block.parts):
                if part is not Part.LEVEL:
                    most = draw if part is Part.DRAW else inject
                    np.add.at(most, each.group, block.upper[:, at])
        return cls(fixed, fixed + draw, inject, draw > 0, inject > 0, connection)


# --- rows and columns -----------------------------------------------------------------------------


def _nobody_resells(
    community: Community, groups: Groups, sums: _Sums, rows: _Rows
) -> tuple[Index, Index]:
    """Rows import <= draw and export <= inject where they can bind, shape (groups, periods)."""
    component = _components(community)[groups.node]
    margin = 2 * community.fee_per_kwh
    worth = _best_elsewhere(groups.retail, component) - margin
    price = -_best_elsewhere(-groups.feed_in, component) + margin
    supplied = np.isfinite(groups.retail)
    resale = np.full((2, *groups.retail.shape), NO_ROW, np.int32)
    for at, (binds, bound) in enumerate(
        (
            (sums.free_draw & supplied & (worth >= groups.retail), sums.fixed_draw),
            (sums.free_inject & supplied & (price <= groups.feed_in), np.zeros_like(price)),
        )
    ):
        upper = bound[binds]
        first = rows.take(np.full(upper.size, -np.inf), upper)
        resale[at][binds] = np.arange(first, first + upper.size)
    return resale[0], resale[1]


def _components(community: Community) -> Index:
    """Label nodes that links connect, whatever their direction, with the same number."""
    network = community.network
    label = np.arange(len(network.nodes), dtype=np.int32)
    while True:
        least = np.minimum(label[network.sources], label[network.targets])
        before = label.copy()
        np.minimum.at(label, network.sources, least)
        np.minimum.at(label, network.targets, least)
        label = label[label]
        if (label == before).all():
            return label


def _best_elsewhere(values: Array, component: Index) -> Array:
    """Largest value among the other groups of the component, per period; -inf if there is none."""
    best = np.full_like(values, -np.inf)
    for each in np.unique(component):
        here = np.flatnonzero(component == each)
        if here.size > 1:
            second, first = np.partition(values[here], -2, axis=0)[-2:]
            best[here] = np.where(values[here] == first, second, first)
    return best


@dataclass(frozen=True, eq=False)
class _Meters:
    """Rows in which what passes a meter counts: balance, connection, import and export rule."""

    balance: Index
    connection_row: int
    nobody_resells: tuple[Index, Index]

    def entries(
        self, part: Part, group: Index, connection: Index, periods: int
    ) -> tuple[Index, Array]:
        """Rows and values of a part's columns, shapes (devices, periods, 3)."""
        t = np.arange(periods, dtype=np.int32)
        limit = np.where(
            connection[:, None] == NO_ROW,
            NO_ROW,
            self.connection_row + connection[:, None] * periods + t,
        )
        own = self.nobody_resells[0 if part is Part.DRAW else 1][group]
        rows = np.stack([self.balance[group], limit, own], axis=-1)
        return rows.astype(np.int32, copy=False), np.array([part.value, -part.value, -1.0])


def _device_columns(placed: Placed, meters: _Meters, own_row: int) -> Columns:
    block = placed.devices
    count, parts, periods = block.shape
    rows = np.full((count, parts, periods, 5), NO_ROW, np.int32)
    values = np.zeros((count, parts, periods, 5))
    np.add(block.entry_row, own_row, out=rows[..., :2], where=block.entry_row != NO_ROW)
    values[..., :2] = block.entry_value
    for at, part in enumerate(block.parts):
        if part is not Part.LEVEL:
            rows[:, at, :, 2:], values[:, at, :, 2:] = meters.entries(
                part, placed.group, placed.connection, periods
            )
    size = count * parts * periods
    return Columns(
        block.cost.ravel(),
        block.lower.ravel(),
        block.upper.ravel(),
        rows.reshape(size, 5),
        values.reshape(size, 5),
        None if block.curvature is None else block.curvature.ravel(),
    )


def _supply_columns(groups: Groups, sums: _Sums, meters: _Meters) -> list[Columns]:
    """Import and export of every group, at most what it could ever draw and inject."""
    supplied = np.isfinite(groups.retail)
    columns = []
    for sign, tariff, most, rule in (
        (1.0, groups.retail, sums.most_draw, meters.nobody_resells[0]),
        (-1.0, groups.feed_in, sums.most_inject, meters.nobody_resells[1]),
    ):
        rows = np.stack([meters.balance, rule], axis=-1).reshape(-1, 2)
        columns.append(
            Columns(
                cost=sign * np.where(supplied, tariff, 0.0).ravel(),
                lower=np.zeros(most.size),
                upper=np.where(supplied, most, 0.0).ravel(),
                rows=rows,
                values=np.broadcast_to([sign, 1.0], rows.shape),
            )
        )
    return columns


def _flow_columns(community: Community) -> Columns:
    network, periods = community.network, community.horizon.periods
    t = np.arange(periods, dtype=np.int32)
    ends = np.stack([network.sources, network.targets], axis=-1).astype(np.int32)
    rows = (ends[:, None] * np.int32(periods) + t[:, None]).reshape(-1, 2)
    return Columns(
        cost=np.repeat(network.tariffs_micro_per_kwh / MICRO, periods),
        lower=np.zeros(len(rows)),
        upper=np.repeat(network.capacities_wh / WH_PER_KWH, periods),
        rows=rows,
        values=np.broadcast_to([-1.0, 1.0], rows.shape),
    )


def _trade_columns(groups: Groups, sums: _Sums, balance: Index, fee: float) -> list[Columns]:
    """Buy and sell of every group, where they cost a fee."""
    periods = balance.shape[1]
    node = groups.node[:, None] * np.int32(periods) + np.arange(periods, dtype=np.int32)
    rows = np.stack([balance, node], axis=-1).reshape(-1, 2)
    return [
        Columns(
            cost=np.full(most.size, fee),
            lower=np.zeros(most.size),
            upper=most.ravel(),
            rows=rows,
            values=np.broadcast_to([sign, -sign], rows.shape),
        )
        for sign, most in ((1.0, sums.most_draw), (-1.0, sums.most_inject))
    ]


def _assemble(columns: list[Columns], rows: _Rows) -> tuple[Program, Mask]:
    """Leave out the columns that are fixed at zero and the entries that are not there."""
    kept, cost, lower, upper, counts, indices, values, curvature = ([] for _ in range(8))
    for block in columns:
        keep = (block.lower != 0) | (block.upper != 0)
        block_rows, block_values = block.rows[keep], block.values[keep]
        there = (block_rows != NO_ROW) & (block_values != 0)
        kept.append(keep)
        cost.append(block.cost[keep])
        lower.append(block.lower[keep])
        upper.append(block.upper[keep])
        counts.append(there.sum(axis=1, dtype=np.int32))
        indices.append(block_rows[there])
        values.append(block_values[there])
        curvature.append(np.zeros(keep.size) if block.curvature is None else block.curvature)
    keep = np.concatenate(kept)
    quadratic = np.concatenate(curvature)[keep]
    starts = np.zeros(int(keep.sum()) + 1, np.int32)
    np.cumsum(np.concatenate(counts), out=starts[1:])
    program = Program(
        cost=np.concatenate(cost),
        lower=np.concatenate(lower),
        upper=np.concatenate(upper),
        row_lower=np.concatenate(rows.lower),
        row_upper=np.concatenate(rows.upper),
        starts=starts,
        indices=np.concatenate(indices),
        values=np.concatenate(values),
        quadratic_diagonal=quadratic if quadratic.any() else None,
    )
    return program, keep
