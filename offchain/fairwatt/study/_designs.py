"""The designs: how each prices, pays and dispatches.

*Simple designs* (price rules of a pool, auctions) leave everybody to plan alone with its supplier
and share what is left over inside each community, the peers of one number. *Optimised designs* plan
for all peers together over the network.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt import market, mechanisms, sharing
from fairwatt.community import Generator, Photovoltaic, Storage
from fairwatt.market import Book, LimitOrder, Network, Side
from fairwatt.planner import book, plan
from fairwatt.study._figures import figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairwatt.community import Array, Community
    from fairwatt.planner import Plan
    from fairwatt.sharing import Sharing
    from fairwatt.study._figures import Figures

__all__ = ["DESIGNS", "Design", "Priced", "Stage", "design_names"]

_NANO, _MICRO, _WH_PER_KWH = 10**9, 10**6, 1000
_NOISE_WH: Final = 1e-6
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
    def asset_costs(self) -> Array:
        """What the assets of every peer cost it alone, token, shape (peers,)."""
        return asset_costs(self.apart)

    @cached_property
    def pools(self) -> list[list[int]]:
        """Peers with a supplier, by the number of their community."""
        members: dict[int, list[int]] = defaultdict(list)
        for at, peer in enumerate(self.community.peers):
            if peer.supplier is not None:
                members[peer.community].append(at)
        return list(members.values())

    @cached_property
    def game(self) -> sharing.Game:
        """The gain of every coalition of peers."""
        players = [peer.name for peer in self.community.peers]
        if len(players) > _MOST_PLAYERS:
            return sharing.PoolGame(
                -self.apart.net_kwh,  # a surplus is positive there
                self.community.retail_per_kwh[0],
                self.community.feed_in_per_kwh[0],
                players=players,
            )

        def gain(members: frozenset[int]) -> float:
            together = plan(self.community.of(members)).cost
            return float(self.alone[sorted(members)].sum()) - together

        return sharing.Game(players, gain)

    @property
    def is_pool(self) -> bool:
        """Whether coalitions only share what is left over: one node, one tariff, no plans."""
        community = self.community
        kinds = {type(asset) for peer in community.peers for asset in peer.assets}
        steered = any(kind.couples_periods or kind is Generator for kind in kinds)
        return (
            not steered
            and not community.network.links
            and community.fee_per_kwh == 0
            and len({peer.node for peer in community.peers}) == 1
            and len({peer.supplier for peer in community.peers} - {None}) == 1
            and all(peer.supplier for peer in community.peers)
        )


def design_names() -> list[str]:
    """Keys of all designs."""
    return list(DESIGNS)


def asset_costs(planned: Plan) -> Array:
    """What the assets of every peer cost in a plan, token, shape (peers,)."""
    costs = np.zeros(len(planned.community.peers))
    for schedule in planned.schedules:
        costs[schedule.peer] += schedule.cost
    return costs


def _figures(
    planned: Plan, import_kwh: Array, export_kwh: Array, more_generation_kwh: float = 0.0
) -> Figures:
    running = [each for each in planned.schedules if not isinstance(each.asset, Storage)]
    return figures(
        generation_kwh=sum(float(each.inject_kwh.sum()) for each in running) + more_generation_kwh,
        consumption_kwh=sum(float(each.draw_kwh.sum()) for each in running),
        import_kwh=import_kwh,
        export_kwh=export_kwh,
        hours=planned.community.horizon.hours,
    )


# ------------------------------------------------------------------------------ simple designs


def _alone(stage: Stage) -> Priced:
    apart = stage.apart
    return Priced(stage.alone, _figures(apart, apart.import_kwh, apart.export_kwh))


def _pooled(stage: Stage, rule: Callable[..., mechanisms.PoolResult]) -> Priced:
    """A price rule in every pool; who has no supplier stays alone."""
    bills = stage.alone.copy()
    prices, imports, exports, kept = [], [], [], 0.0
    net = stage.apart.net_kwh
    for pool in stage.pools:
        result = rule(
            net[pool], stage.community.retail_per_kwh[pool], stage.community.feed_in_per_kwh[pool]
        )
        bills[pool] = result.bills + stage.asset_costs[pool]
        kept += result.manager_surplus
        imports.append(result.import_kwh)
        exports.append(result.export_kwh)
        traded = np.minimum(np.maximum(net[pool], 0).sum(0), np.maximum(-net[pool], 0).sum(0)) > 0
        prices += [result.buy_per_kwh[traded], result.sell_per_kwh[traded]]
    return Priced(
        bills,
        _figures(stage.apart, np.array(imports), np.array(exports)),
        np.concatenate(prices) if prices else None,
        kept,
    )


def _led(stage: Stage) -> Priced:
    """A leader in every pool; what peers then use more or less counts with what it is worth."""
    community, apart = stage.community, stage.apart
    bills = stage.alone.copy()
    prices, imports, exports, kept = [], [], [], 0.0
    for pool in stage.pools:
        retail, feed_in = community.retail_per_kwh[pool[0]], community.feed_in_per_kwh[pool[0]]
        generation, used = apart.inject_kwh[pool], apart.draw_kwh[pool]
        demand = mechanisms.Demand.around(used, retail, elasticity=_ELASTICITY, flexible=_FLEXIBLE)
        alone = demand.answer(generation, retail, feed_in)
        net = alone - generation
        bill = np.maximum(net, 0.0) @ retail - np.maximum(-net, 0.0) @ feed_in
        result = mechanisms.stackelberg(generation, demand, retail, feed_in)
        bills[pool] -= result.payoffs - (demand.utility(alone).sum(axis=1) - bill)
        kept += result.manager_surplus
        imports.append(result.import_kwh)
        exports.append(result.export_kwh)
        prices += [result.buy_per_kwh, result.sell_per_kwh]
    return Priced(
        bills,
        _figures(apart, np.array(imports), np.array(exports)),
        np.concatenate(prices) if prices else None,
        kept,
        f"with an elasticity of {_ELASTICITY} within {100 * _FLEXIBLE:.0f} % of the load",
    )


def _several_tariffs(stage: Stage) -> str:
    if any(len({stage.community.peers[at].supplier for at in pool}) > 1 for pool in stage.pools):
        return "the leader needs one supplier in a community"
    if any((stage.community.retail_per_kwh[pool[0]] <= 0).any() for pool in stage.pools):
        return "the leader needs retail tariffs above zero"
    return ""


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
        micro = min(max(round(price * _MICRO), floor), cap)
        # Rounded down: what is cut off stays with the supplier, at the same tariff.
        energy = int(kwh * _WH_PER_KWH + _NOISE_WH)
        return LimitOrder(f"{name}/{label}", name, _POOL, side, micro, energy)

    for at in pool:
        net = float(stage.apart.net_kwh[at, period])
        retail, feed_in = (
            float(tariff[at, period])
            for tariff in (community.retail_per_kwh, community.feed_in_per_kwh)
        )
        if net > 0:
            yield _Left(at, order(at, "deficit", Side.BID, retail, net), None)
        elif net < 0:
            yield _Left(at, order(at, "surplus", Side.ASK, feed_in, -net), None)
    for label, schedule in enumerate(stage.apart.schedules):
        asset, at = schedule.asset, schedule.peer
        if at in pool and isinstance(asset, Generator) and asset.quadratic_cost_per_kwh2 == 0:
            periods = community.horizon.periods
            most = asset.over("power_kw", periods)[period] * community.horizon.hours
            cost = float(asset.over("cost_per_kwh", periods)[period])
            idle = float(most - schedule.inject_kwh[period])
            yield _Left(at, order(at, f"idle-{label}", Side.ASK, cost, idle), cost)


_POOL: Final = "pool"


def _bounds(community: Community) -> tuple[int, int]:
    network = community.network
    return network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh


def _auctioned(stage: Stage, auction: Callable[[Book, list[str]], mechanisms.Auction]) -> Priced:
    """An auction of what is left over, in every pool and period; orders arrive by lot."""
    community, random = stage.community, np.random.default_rng(stage.seed)
    periods = community.horizon.periods
    traded = np.zeros_like(stage.apart.net_kwh)
    money = np.zeros(len(community.peers))
    more, kept = 0.0, 0.0
    prices: list[float] = []
    for pool in stage.pools:
        for period in range(periods):
            left = [each for each in _left_over(stage, pool, period) if each.order.energy_wh]
            pool_book = Book.of(
                Network((_POOL,), (), *_bounds(community)), [each.order for each in left]
            )
            result = auction(pool_book, random.permutation(pool_book.ids).tolist())
            kept += result.manager_nano / _NANO
            for trade in result.trades:
                prices += [
                    trade.paid_micro_per_kwh / _MICRO, trade.received_micro_per_kwh / _MICRO
                ]  # fmt: skip
            fills, paid = result.fills_wh.tolist(), result.payments_nano
            for each, fill, payment in zip(left, fills, paid, strict=True):
                energy = fill / _WH_PER_KWH
                money[each.peer] -= payment / _NANO
                if each.cost is not None:
                    money[each.peer] += each.cost * energy
                    more += energy
                elif each.order.side is Side.BID:
                    traded[each.peer, period] += energy
                else:
                    traded[each.peer, period] -= energy
    rest = stage.apart.net_kwh - traded
    imports, exports = np.maximum(rest, 0.0), np.maximum(-rest, 0.0)
    bills = stage.asset_costs + money + _with_suppliers(community, imports, exports)
    return Priced(bills, _figures(stage.apart, imports, exports, more), np.array(prices), kept)


def _with_suppliers(community: Community, imports: Array, exports: Array) -> Array:
    """What exchanges with suppliers cost every peer, token, shape (peers,)."""
    supplied = np.array([peer.supplier is not None for peer in community.peers])[:, None]
    cost = np.where(supplied, community.retail_per_kwh, 0.0) * imports
    earned = np.where(supplied, community.feed_in_per_kwh, 0.0) * exports
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
            bought[index[peer], period] += energy / _WH_PER_KWH
            paid[index[peer]] -= payment / _NANO
        kept += (sum(payments.tariffs_nano) + sum(payments.rents_nano)) / _NANO
        at = np.unique(orders.node[clearing.fills_wh > 0])
        prices.append(clearing.prices_micro_per_kwh[at] / _MICRO)
    rest = joint.net_kwh - bought
    rest[np.abs(rest) < 1 / _WH_PER_KWH] = 0.0  # orders, as meters, count whole Wh
    imports, exports = np.maximum(rest, 0.0), np.maximum(-rest, 0.0)
    bills = asset_costs(joint) + paid + _with_suppliers(community, imports, exports)
    return Priced(bills, _figures(joint, imports, exports), np.concatenate(prices), kept)


def _shared(stage: Stage, rule: Callable[[Stage, float], Sharing]) -> Priced:
    """The joint plan, its gain shared by a rule instead of by prices."""
    joint = stage.joint
    shared = rule(stage, float(stage.alone.sum()) - joint.cost)
    bound = shared.error_bound
    note = "" if bound is None else f"sampled: within {bound.token.max():.2g} token"
    return Priced(
        shared.bills(stage.alone), _figures(joint, joint.import_kwh, joint.export_kwh), note=note
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
    del gain  # the game knows it
    return sharing.shapley(stage.game, seed=stage.seed, pairs=_SHAPLEY_PAIRS)


def _nucleolus(stage: Stage, gain: float) -> Sharing:
    del gain
    return sharing.nucleolus(stage.game)


def _too_many_plans(stage: Stage) -> str:
    if len(stage.community.peers) <= _MOST_PLAYERS or stage.is_pool:
        return ""
    return f"more than {_MOST_PLAYERS} peers with assets to plan: 2^n plans are too many"


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
) -> Design:
    return Design(title, summary, partial(_shared, rule=rule), refuses, ("alone", "joint"))


def _pool(title: str, summary: str, rule: Callable[..., mechanisms.PoolResult]) -> Design:
    return Design(title, summary, partial(_pooled, rule=rule), needs=("alone", "asset_costs"))


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
        _several_tariffs, ("alone",),
    ),
    "double-auction": Design(
        "continuous double auction", "first come, first served, at resting prices",
        partial(_auctioned, auction=mechanisms.continuous_double_auction), needs=("asset_costs",),
    ),
    "pay-as-bid": Design(
        "pay as bid", "everybody at its own limit; the manager keeps the spread",
        partial(
            _auctioned, auction=lambda orders, by: mechanisms.pay_as_bid(orders, arrivals=by)
        ),
        needs=("asset_costs",),
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
    "shapley": _rule("Shapley value", "the gain by what each adds", _shapley, _too_many_plans),
    "nucleolus": _rule(
        "nucleolus", "the gain so that no coalition objects", _nucleolus, _too_many_players
    ),
}  # fmt: skip
"""All designs, in the sequence in which a study shows them."""
