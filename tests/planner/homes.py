"""Small communities for the tests of the planner, and what a clearing of a plan's orders does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairwatt import planner
from fairwatt.community import Community, Horizon, Peer, Supplier
from fairwatt.market import Network, Side, clear
from fairwatt.planner import Plan

HOUR = 3600
CITY = Supplier("city", 0.30, 0.10)


def community_of(
    *peers: Peer, periods: int = 1, seconds: int = HOUR, links=(), suppliers=(CITY,), fee=0.0
) -> Community:
    """Peers on the nodes a and b."""
    network = Network(("a", "b"), tuple(links), -(10**6), 10**6)
    return Community("test", Horizon(0, seconds, periods), network, suppliers, peers, fee)


def peer(name: str, *assets, node="a", supplier="city", **more) -> Peer:
    return Peer(name, "prosumer", node, assets, supplier=supplier, **more)


@dataclass
class Realised:
    """What comes of clearing the orders of a plan, period by period.

    Attributes
    ----------
    cost
        Objective with what was traded, and the supplier serving what was not, token.
    position_kwh, supplied_kwh
        Sold less bought on the market, and import less export, shape (peers, periods).
    failed
        What no supplier serves at the limit of its order: peer, period, kWh.
    """

    cost: float
    position_kwh: np.ndarray
    supplied_kwh: np.ndarray
    failed: list[tuple[str, int, float]]


def realise(plan: Plan) -> Realised:
    """Clear the book of every period and let the suppliers do the rest.

    A bid that stays unfilled is imported only if it bid as much as importing costs its peer, an
    ask exported only if it asked as little as exporting earns: else the device does not run.
    """
    community = plan.community
    shape = (len(community.peers), community.horizon.periods)
    position, supplied = np.zeros(shape), np.zeros(shape)
    failed = []
    cost = float(plan.asset_costs().sum())
    for t in range(community.horizon.periods):
        book = planner.book(plan, t)
        clearing = clear(book)
        cost += float(clearing.flows_wh @ book.network.tariffs_micro_per_kwh) / 1e9
        for order, fill in zip(book.orders, clearing.fills_wh.tolist(), strict=True):
            n = community.index(order.peer)
            each = community.peers[n]
            sign = -1 if order.side is Side.BID else 1
            position[n, t] += sign * fill / 1000
            left = (order.energy_wh - fill) / 1000
            if not left:
                continue
            fee = community.fee_per_kwh
            if order.side is Side.BID:
                outside = community.retail_per_kwh[n, t] + each.import_preference_per_kwh
                serves = order.price_micro_per_kwh >= _micro(community, outside - fee)
                cost += outside * left
            else:
                outside = community.feed_in_per_kwh[n, t] - each.export_preference_per_kwh
                serves = order.price_micro_per_kwh <= _micro(community, outside + fee)
                cost -= outside * left
            supplied[n, t] -= sign * left
            if each.supplier is None or not serves:
                failed.append((each.name, t, left))
    cost += community.fee_per_kwh * float(np.abs(position).sum())
    return Realised(cost, position, supplied, failed)


def _micro(community: Community, price: float) -> float:
    network = community.network
    if np.isinf(price):
        return price
    limits = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    return float(np.clip(round(price * 1e6), *limits))
