"""The designs: how each prices, pays and dispatches.

*Simple designs* (price rules of a pool, auctions) leave everybody to plan alone with its supplier
and share what is left over inside each community: the peers of one number whose nodes are the same
or connected by links without a tariff (whose capacities they do not look at). *Optimised designs*
plan for all peers together over the network. The community's fee is paid on every kWh that changes
hands inside, in every design.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt import market, mechanisms, sharing
from fairwatt.community import Generator, Load, Photovoltaic, Storage
from fairwatt.errors import StudyError
from fairwatt.market import Book, LimitOrder, Network, Side
from fairwatt.planner import book, plan
from fairwatt.study._figures import figures
from fairwatt.units import MICRO, NANO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairwatt.community import Array, Community
    from fairwatt.planner import Plan
    from fairwatt.sharing import Sharing
    from fairwatt.study._figures import Figures

__all__ = ["DESIGNS", "Design", "Priced", "Stage"]

_NOISE_WH: Final = 1e-6
_WHOLE_WH: Final = 2  # an order's import and position are rounded by less than one Wh each
_NOISE_KWH: Final = 1e-9
_SAME: Final = 1e-6
_MOST_PLAYERS: Final = 12  # of a game whose every coalition is planned for
_SHAPLEY_PAIRS: Final = 500
_ELASTICITY, _FLEXIBLE = 0.3, 0.1  # of the followers of a leader


@dataclass(frozen=True, eq=False)
class Priced:
    """What a design comes to: bills (peers,) and what is kept in token, prices in token/kWh."""

    bills: Array
    figures: Figures
    prices: Array | None = None
    kept: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Design:
    """A market design.

    Attributes
    ----------
    title, summary
        For people.
    run
        Computes it.
    refuses
        Why it cannot take a community; empty if it can.
    needs
        Attributes of the `Stage` that it shares with other designs.
    """

    title: str
    summary: str
    run: Callable[[Stage], Priced]
    refuses: Callable[[Stage], str] = lambda _: ""
    needs: tuple[str, ...] = ("apart",)


class Stage:
    """A community with the plans that several designs share, each made once."""

    def __init__(
        self, community: Community, seed: int, progress: Callable[[str], None] = lambda _: None
    ) -> None:
        self.community = community
        self.seed = seed
        self.progress = progress

    @cached_property
    def apart(self) -> Plan:
        """Everybody alone with its supplier."""
        self.progress("everybody alone")
        return plan(self.community.apart())

    @cached_property
    def joint(self) -> Plan:
        """All together."""
        self.progress("the community's plan")
        return plan(self.community)

    @cached_property
    def alone(self) -> Array:
        """Bill of every peer alone, token, shape (peers,)."""
        return self.apart.bills()

    @cached_property
    def spilt(self) -> Array:
        """Sun that nobody took and the connection would carry, kWh, shape (peers, periods)."""
        community, apart = self.community, self.apart
        spilt = np.zeros_like(apart.net_kwh)
        for schedule in apart.schedules:
            if isinstance(schedule.asset, Photovoltaic):
                sun = schedule.asset.over("energy_kwh", community.horizon.periods)
                spilt[schedule.peer] += sun - schedule.inject_kwh
        return np.minimum(np.maximum(spilt, 0.0), self.headroom)

    @cached_property
    def headroom(self) -> Array:
        """What the connection would let out beyond the plan alone, kWh, shape (peers, periods)."""
        limits = [
            np.inf if peer.connection_kw is None else peer.connection_kw
            for peer in self.community.peers
        ]
        most = self.community.horizon.hours * np.array(limits)[:, None]
        return np.maximum(most + self.apart.net_kwh, 0.0)

    @cached_property
    def left_kwh(self) -> Array:
        """Deficits (positive) and surpluses of the peers alone, shape (peers, periods)."""
        left = self.apart.net_kwh - self.spilt
        left[np.abs(left) < _NOISE_KWH] = 0.0
        return left

    @cached_property
    def feed_in_per_kwh(self) -> Array:
        """What a surplus is worth at least: sun is spilt before it pays to be taken."""
        return np.maximum(self.community.feed_in_per_kwh, 0.0)

    @cached_property
    def pools(self) -> list[list[int]]:
        """Peers with a supplier, by their community and where energy is free to go."""
        area = _free_areas(self.community.network)
        members: dict[tuple[int, int], list[int]] = defaultdict(list)
        for at, peer in enumerate(self.community.peers):
            if peer.supplier is not None:
                node = self.community.network.node_index[peer.node]
                members[peer.community, area[node]].append(at)
        return list(members.values())

    @cached_property
    def game(self) -> sharing.Game:
        """The gain of every coalition of peers, all of them valued where they are few."""
        players = [peer.name for peer in self.community.peers]
        if len(players) > _MOST_PLAYERS:
            return sharing.PoolGame(
                -self.left_kwh,  # a surplus is positive there
                self.community.retail_per_kwh[0],
                self.feed_in_per_kwh[0],
                players=players,
            )

        def gain(members: frozenset[int]) -> float:
            together = plan(self.community.of(members)).cost
            return float(self.alone[sorted(members)].sum()) - together

        game = sharing.Game(players, gain)
        numbers = np.arange(1, 2 ** len(players))
        game.values((numbers[:, None] >> np.arange(len(players))) % 2 == 1)
        return game

    @property
    def is_pool(self) -> bool:
        """Whether coalitions only share what is left over: one pool, one tariff, no plans."""
        peers = self.community.peers
        return (
            all(type(asset) in {Load, Photovoltaic} for peer in peers for asset in peer.assets)
            and not self.community.network.links
            and self.community.fee_per_kwh == 0
            and len({peer.node for peer in peers}) == 1
            and len({peer.supplier for peer in peers}) == 1
            and all(
                peer.supplier is not None
                and peer.connection_kw is None
                and peer.import_preference_per_kwh == peer.export_preference_per_kwh == 0
                for peer in peers
            )
        )


def _free_areas(network: Network) -> list[int]:
    """Number per node; nodes that links without tariff connect both ways share one."""
    area = list(range(len(network.nodes)))
    free = {
        (link.source, link.target)
        for link in network.links
        if link.tariff_micro_per_kwh == 0 and link.capacity_wh > 0
    }
    for source, target in free:
        if (target, source) in free:
            old, new = (area[network.node_index[node]] for node in (source, target))
            area = [new if each == old else each for each in area]
    return area


def _figures(
    planned: Plan,
    import_kwh: Array,
    export_kwh: Array,
    *,
    more_kwh: float = 0.0,
    more_used_kwh: float = 0.0,
) -> Figures:
    """Figures of a dispatch that generates and uses so much more than the plan."""
    running = [each for each in planned.schedules if not isinstance(each.asset, Storage)]
    return figures(
        generation_kwh=sum(float(each.inject_kwh.sum()) for each in running) + more_kwh,
        consumption_kwh=sum(float(each.draw_kwh.sum()) for each in running) + more_used_kwh,
        import_kwh=import_kwh,
        export_kwh=export_kwh,
        hours=planned.community.horizon.hours,
    )


def _unspilt(stage: Stage, export_kwh: Array, pool: list[int]) -> Array:
    """Exports without the sun that is spilt after all, as nobody pays for it; shape (periods,)."""
    worthless = (stage.community.feed_in_per_kwh[pool] <= 0).all(axis=0)
    spilt = np.where(worthless, np.minimum(export_kwh, stage.spilt[pool].sum(axis=0)), 0.0)
    kept: Array = export_kwh - spilt
    return kept


# ------------------------------------------------------------------------------ simple designs


def _alone(stage: Stage) -> Priced:
    apart = stage.apart
    return Priced(stage.alone, _figures(apart, apart.import_kwh, apart.export_kwh))


def _pooled(stage: Stage, rule: Callable[..., mechanisms.PoolResult]) -> Priced:
    """A price rule in every pool; who has no supplier stays alone."""
    community = stage.community
    bills, asset_costs = stage.alone.copy(), stage.apart.asset_costs()
    prices, imports, exports, kept, more = [], [], [], 0.0, 0.0
    for pool in stage.pools:
        left = stage.left_kwh[pool]
        result = rule(left, community.retail_per_kwh[pool], stage.feed_in_per_kwh[pool])
        deficit, surplus = np.maximum(left, 0.0), np.maximum(-left, 0.0)
        inside = np.minimum(deficit.sum(axis=0), surplus.sum(axis=0))
        fees = community.fee_per_kwh * sum(
            (side * _part(inside, side.sum(axis=0))).sum(axis=1) for side in (deficit, surplus)
        )
        bills[pool] = result.bills + asset_costs[pool] + fees
        kept += result.manager_surplus + float(np.sum(fees))
        exported = _unspilt(stage, result.export_kwh, pool)
        more += float(stage.spilt[pool].sum() - (result.export_kwh - exported).sum())
        imports.append(result.import_kwh)
        exports.append(exported)
        traded = inside > _NOISE_KWH
        prices += [result.buy_per_kwh[traded], result.sell_per_kwh[traded]]
    return Priced(
        bills,
        _figures(stage.apart, _rows(imports, stage), _rows(exports, stage), more_kwh=more),
        np.concatenate(prices) if prices else None,
        kept,
    )


def _part(inside: Array, total: Array) -> Array:
    return np.divide(inside, total, out=np.zeros_like(total), where=total > 0)


def _rows(rows: list[Array], stage: Stage) -> Array:
    return np.array(rows).reshape(len(rows), stage.community.horizon.periods)


def _led(stage: Stage) -> Priced:
    """A leader in every pool; what peers then use more or less counts with what it is worth."""
    community, apart = stage.community, stage.apart
    bills = stage.alone.copy()
    prices, imports, exports, kept = [], [], [], 0.0
    used = apart.draw_kwh.copy()
    elastic = apart.draw_kwh.copy()
    for schedule in apart.schedules:
        if isinstance(schedule.asset, Storage):
            elastic[schedule.peer] -= schedule.draw_kwh
    for pool in stage.pools:
        retail, feed_in = community.retail_per_kwh[pool[0]], stage.feed_in_per_kwh[pool[0]]
        generation = apart.inject_kwh[pool] + stage.spilt[pool]
        around = mechanisms.Demand.around(
            used[pool], retail, elasticity=_ELASTICITY, flexible=_FLEXIBLE
        )
        demand = mechanisms.Demand(
            around.value_per_kwh,
            around.slope_per_kwh2,
            used[pool] - _FLEXIBLE * elastic[pool],
            used[pool] + _FLEXIBLE * elastic[pool],
        )
        alone = demand.answer(generation, retail, feed_in)
        net = alone - generation
        bill = np.maximum(net, 0.0) @ retail - np.maximum(-net, 0.0) @ feed_in
        result = mechanisms.stackelberg(generation, demand, retail, feed_in)
        bills[pool] -= result.payoffs - (demand.utility(alone).sum(axis=1) - bill)
        kept += result.manager_surplus
        imports.append(result.import_kwh)
        exports.append(_unspilt(stage, result.export_kwh, pool))
        used[pool] = result.consumption_kwh
        traded = np.abs(result.consumption_kwh - generation).sum(axis=0) > _NOISE_KWH
        prices += [result.buy_per_kwh[traded], result.sell_per_kwh[traded]]
    return Priced(
        bills,
        _figures(
            apart,
            _rows(imports, stage),
            _rows(exports, stage),
            more_kwh=float(stage.spilt.sum()),
            more_used_kwh=float((used - apart.draw_kwh).sum()),
        ),
        np.concatenate(prices) if prices else None,
        kept,
        f"with an elasticity of {_ELASTICITY} within {100 * _FLEXIBLE:.0f} % of the load",
    )


def _no_single_tariff(stage: Stage) -> str:
    community = stage.community
    if any(len({community.peers[at].supplier for at in pool}) > 1 for pool in stage.pools):
        return "the leader needs one supplier in a community"
    if any((community.retail_per_kwh[pool[0]] <= 0).any() for pool in stage.pools):
        return "the leader needs retail tariffs above zero"
    if community.fee_per_kwh:
        return "the leader takes no fee beside its spread"
    return _forced_exports(stage)


def _forced_exports(stage: Stage) -> str:
    """Why a pool cannot take it: something must be exported although that costs."""
    forced = (stage.apart.export_kwh > _NOISE_KWH) & (stage.community.feed_in_per_kwh < 0)
    return "somebody must export at a negative feed-in tariff" if forced.any() else ""


@dataclass(frozen=True)
class _Left:
    """What a peer would still trade after planning alone: an order and what it stands for."""

    peer: int
    order: LimitOrder
    cost: float | None  # token/kWh of energy not generated yet; None: surplus or deficit


def _left_over(stage: Stage, pool: list[int], period: int) -> Iterator[_Left]:
    """Deficits bid the retail, surpluses ask the feed-in tariff, idle generators their cost."""
    community = stage.community
    floor, cap = _bounds(community)

    def order(at: int, label: str, side: Side, price: float, kwh: float) -> LimitOrder:
        name = community.peers[at].name
        micro = min(max(round(price * MICRO), floor), cap)
        # Rounded down: what is cut off stays with the supplier, at the same tariff.
        energy = int(kwh * WH_PER_KWH + _NOISE_WH)
        return LimitOrder(f"{name}/{label}", name, _POOL, side, micro, energy)

    for at in pool:
        left = float(stage.left_kwh[at, period])
        if left > 0:
            retail = float(community.retail_per_kwh[at, period])
            yield _Left(at, order(at, "deficit", Side.BID, retail, left), None)
        elif left < 0:
            feed_in = float(stage.feed_in_per_kwh[at, period])
            yield _Left(at, order(at, "surplus", Side.ASK, feed_in, -left), None)
    room = {at: float(stage.headroom[at, period] - stage.spilt[at, period]) for at in pool}
    for label, schedule in enumerate(stage.apart.schedules):
        asset, at = schedule.asset, schedule.peer
        if at in room and isinstance(asset, Generator) and asset.quadratic_cost_per_kwh2 == 0:
            periods = community.horizon.periods
            most = asset.over("power_kw", periods)[period] * community.horizon.hours
            cost = float(asset.over("cost_per_kwh", periods)[period])
            idle = min(float(most - schedule.inject_kwh[period]), room[at])
            room[at] -= idle
            yield _Left(at, order(at, f"idle-{label}", Side.ASK, cost, idle), cost)


_POOL: Final = "pool"


def _bounds(community: Community) -> tuple[int, int]:
    network = community.network
    return network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh


def _auctioned(stage: Stage, auction: Callable[[Book, list[str]], mechanisms.Auction]) -> Priced:
    """An auction of what is left over, in every pool and period; orders arrive by lot."""
    community, random = stage.community, np.random.default_rng(stage.seed)
    periods = community.horizon.periods
    traded = np.zeros_like(stage.left_kwh)
    money = np.zeros(len(community.peers))
    generated, kept = 0.0, 0.0
    prices: list[float] = []
    for pool in stage.pools:
        for period in range(periods):
            left = [each for each in _left_over(stage, pool, period) if each.order.energy_wh]
            pool_book = Book.of(
                Network((_POOL,), (), *_bounds(community)), [each.order for each in left]
            )
            result = auction(pool_book, random.permutation(pool_book.ids).tolist())
            kept += result.manager_nano / NANO
            for trade in result.trades:
                prices += [
                    trade.paid_micro_per_kwh / MICRO, trade.received_micro_per_kwh / MICRO
                ]  # fmt: skip
            fills, paid = result.fills_wh.tolist(), result.payments_nano
            for each, fill, payment in zip(left, fills, paid, strict=True):
                energy = fill / WH_PER_KWH
                fee = community.fee_per_kwh * energy
                money[each.peer] += fee - payment / NANO
                kept += fee
                if each.cost is not None:
                    money[each.peer] += each.cost * energy
                    generated += energy
                elif each.order.side is Side.BID:
                    traded[each.peer, period] += energy
                else:
                    traded[each.peer, period] -= energy
    rest = stage.left_kwh - traded
    imports, exports = np.maximum(rest, 0.0), np.maximum(-rest, 0.0)
    supplied = _with_suppliers(community, imports, exports, stage.feed_in_per_kwh)
    bills = stage.apart.asset_costs() + money + supplied
    sold = np.array([_unspilt(stage, exports[pool].sum(axis=0), pool) for pool in stage.pools])
    generated += float(stage.spilt.sum() - exports.sum() + sold.sum())
    return Priced(
        bills,
        _figures(stage.apart, imports, sold, more_kwh=generated),
        np.array(prices),
        kept,
    )


def _with_suppliers(community: Community, imports: Array, exports: Array, feed_in: Array) -> Array:
    """What exchanges with suppliers cost every peer, token, shape (peers,)."""
    supplied = np.array([peer.supplier is not None for peer in community.peers])[:, None]
    cost = np.where(supplied, community.retail_per_kwh, 0.0) * imports
    earned = np.where(supplied, feed_in, 0.0) * exports
    result: Array = (cost - earned).sum(axis=1)
    return result


# --------------------------------------------------------------------------- optimised designs


def _cleared(stage: Stage) -> Priced:
    """Orders of the joint plan, cleared and proved period by period in whole numbers."""
    community, joint = stage.community, stage.joint
    index = {peer.name: at for at, peer in enumerate(community.peers)}
    bought = np.zeros_like(joint.net_kwh)
    paid = np.zeros(len(community.peers))
    kept, prices = 0.0, []
    for period in range(community.horizon.periods):
        orders = book(joint, period, "at-plan")
        clearing = market.clear(orders)
        payments = market.payments(orders, clearing)
        sides = np.where(orders.side == Side.BID, 1, -1)
        for peer, energy, payment in zip(
            orders.peers, (sides * clearing.fills_wh).tolist(), payments.orders_nano, strict=True
        ):
            bought[index[peer], period] += energy / WH_PER_KWH
            paid[index[peer]] -= payment / NANO
        kept += (sum(payments.tariffs_nano) + sum(payments.rents_nano)) / NANO
        at = np.unique(orders.node[clearing.fills_wh > 0])
        prices.append(clearing.prices_micro_per_kwh[at] / MICRO)
    # What was planned and not traded goes to the suppliers, but for what orders in whole Wh cannot
    # say: that balances at every node.
    missing = joint.buy_kwh - joint.sell_kwh - bought
    missing[np.abs(missing) < _WHOLE_WH / WH_PER_KWH] = 0.0
    rest = joint.import_kwh - joint.export_kwh + missing
    imports, exports = np.maximum(rest, 0.0), np.maximum(-rest, 0.0)
    fees = community.fee_per_kwh * np.abs(bought).sum(axis=1)
    supplied = _with_suppliers(community, imports, exports, community.feed_in_per_kwh)
    return Priced(
        joint.asset_costs() + paid + supplied + fees,
        _figures(joint, imports, exports),
        np.concatenate(prices),
        kept + float(fees.sum()),
    )


def _shared(stage: Stage, rule: Callable[[Stage, float], Sharing]) -> Priced:
    """The joint plan, its gain shared by a rule instead of by prices."""
    joint = stage.joint
    shared = rule(stage, float(stage.alone.sum()) - joint.cost)
    bound = shared.error_bound
    note = "" if bound is None else f"sampled: within {bound.token.max():.2g} token"
    traded = joint.buy_kwh + joint.sell_kwh
    return Priced(
        shared.bills(stage.alone),
        _figures(joint, joint.import_kwh, joint.export_kwh),
        kept=float(joint.link_tariffs().sum() + stage.community.fee_per_kwh * traded.sum()),
        note=note,
    )


def _names(stage: Stage) -> list[str]:
    return [peer.name for peer in stage.community.peers]


def _equally(stage: Stage, gain: float) -> Sharing:
    return sharing.equal(gain, _names(stage))


def _by_contribution(stage: Stage, gain: float) -> Sharing:
    traded = (stage.joint.buy_kwh + stage.joint.sell_kwh).sum(axis=1)
    return sharing.by_contribution(gain, _names(stage), traded)


def _by_need(stage: Stage, gain: float) -> Sharing:
    return sharing.by_need(gain, _names(stage), [peer.need for peer in stage.community.peers])


def _by_renewable_share(stage: Stage, gain: float) -> Sharing:
    renewable = np.zeros(len(stage.community.peers))
    for schedule in stage.joint.schedules:
        if isinstance(schedule.asset, Photovoltaic):
            renewable[schedule.peer] += schedule.inject_kwh.sum()
    return sharing.by_renewable_share(gain, _names(stage), renewable)


def _shapley(stage: Stage, gain: float) -> Sharing:
    if abs(stage.game.gain - gain) > _SAME * (1 + abs(gain)):
        raise StudyError(f"its coalitions gain {stage.game.gain:g}, the joint plan {gain:g}")
    return sharing.shapley(stage.game, seed=stage.seed, pairs=_SHAPLEY_PAIRS)


def _nucleolus(stage: Stage, gain: float) -> Sharing:
    del gain  # the game knows it
    return sharing.nucleolus(stage.game)


def _too_many_plans(stage: Stage) -> str:
    if len(stage.community.peers) <= _MOST_PLAYERS or stage.is_pool:
        return ""
    return f"more than {_MOST_PLAYERS} peers who do more than share sun: 2^n plans are too many"


def _too_many_players(stage: Stage) -> str:
    if len(stage.community.peers) <= _MOST_PLAYERS:
        return ""
    return f"more than {_MOST_PLAYERS} peers: 2^n coalitions are too many"


def _no_renewables(stage: Stage) -> str:
    assets = (asset for peer in stage.community.peers for asset in peer.assets)
    return "" if any(isinstance(each, Photovoltaic) for each in assets) else "no renewables"


def _rule(
    title: str,
    summary: str,
    rule: Callable[[Stage, float], Sharing],
    refuses: Callable[[Stage], str] = lambda _: "",
    needs: tuple[str, ...] = (),
) -> Design:
    return Design(title, summary, partial(_shared, rule=rule), refuses, ("alone", "joint", *needs))


def _pool(title: str, summary: str, rule: Callable[..., mechanisms.PoolResult]) -> Design:
    return Design(
        title,
        summary,
        partial(_pooled, rule=rule),
        refuses=_forced_exports,
        needs=("alone", "spilt"),
    )


DESIGNS: Final[dict[str, Design]] = {
    "alone": Design(
        "no community", "everybody with its own supplier", _alone, needs=("alone",)
    ),
    "mid-market": _pool(
        "mid-market rate", "halfway between the tariffs", mechanisms.mid_market_rate
    ),
    "supply-demand": _pool(
        "supply-demand ratio", "cheaper the more surplus there is", mechanisms.supply_demand_ratio
    ),
    "bill-sharing": _pool(
        "bill sharing", "one bill, shared by energy", mechanisms.bill_sharing
    ),
    "stackelberg": Design(
        "Stackelberg leader", "the manager sets the prices it earns most with", _led,
        _no_single_tariff, ("alone",),
    ),
    "double-auction": Design(
        "continuous double auction", "first come, first served, at resting prices",
        partial(_auctioned, auction=mechanisms.continuous_double_auction), _forced_exports,
        ("spilt",),
    ),
    "pay-as-bid": Design(
        "pay as bid", "everybody at its own limit; the manager keeps the spread",
        partial(
            _auctioned, auction=lambda orders, by: mechanisms.pay_as_bid(orders, arrivals=by)
        ),
        refuses=_forced_exports, needs=("spilt",),
    ),
    "market": Design(
        "Fairwatt market", "planned together, cleared and proved at the plan's prices", _cleared,
        needs=("alone", "joint"),
    ),
    "share-equally": _rule("equal shares", "the gain by heads", _equally),
    "share-by-contribution": _rule(
        "by contribution", "the gain by energy traded", _by_contribution
    ),
    "share-by-need": _rule("by need", "the gain by the weights of the case", _by_need),
    "share-by-renewables": _rule(
        "by renewables", "the gain by renewable generation", _by_renewable_share, _no_renewables
    ),
    "shapley": _rule(
        "Shapley value", "the gain by what each adds", _shapley, _too_many_plans, ("game",)
    ),
    "nucleolus": _rule(
        "nucleolus", "the gain so that no coalition objects", _nucleolus, _too_many_players,
        ("game",),
    ),
}  # fmt: skip
"""All designs, in the sequence in which a study shows them."""
