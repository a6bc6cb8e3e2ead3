"""Books to measure with, made from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Final

import numpy as np

from fairwatt.market import Book, Link, Network, Side
from fairwatt.orders import Step

__all__ = ["PERIODS", "Wish", "book", "community_day", "crossing", "everywhere", "ring", "tree"]

PERIODS: Final = 96
"""Quarter hours of a day."""

_DAY_NODES: Final = 5
_FLOOR, _CAP = -500_000, 4_000_000  # micro-token/kWh


@dataclass(frozen=True, slots=True)
class Wish:
    """What one peer wants: the steps of one order, before anybody is registered or signs.

    Parameters
    ----------
    peer
        Number of the peer, 1 for the first.
    node
        Index in the nodes of the network.
    steps
        In the sequence of their periods.
    """

    peer: int
    node: int
    steps: tuple[Step, ...]


def tree(nodes: int) -> Network:
    """Make a tree of nodes below a first one, with a tariff and a capacity on every way."""
    draw = np.random.default_rng(nodes)
    names = tuple(f"node {at}" for at in range(nodes))
    links = []
    for at in range(1, nodes):
        parent = names[draw.integers(0, at)]
        for ends in ((parent, names[at]), (names[at], parent)):
            tariff, capacity = draw.integers(1_000, 20_000), draw.integers(10_000, 1_000_000)
            links.append(Link(*ends, int(tariff), int(capacity)))
    return Network(names, tuple(links), _FLOOR, _CAP)


def ring(nodes: int, capacity_wh: int) -> Network:
    """Make a ring of nodes with a tariff on every way, and about this capacity per period."""
    draw = np.random.default_rng(nodes)
    names = tuple(f"node {at}" for at in range(nodes))
    links = []
    for at in range(nodes):
        following = names[(at + 1) % nodes]
        for ends in ((names[at], following), (following, names[at])):
            tariff, per_mille = draw.integers(1_000, 20_000), draw.integers(500, 1_500)
            links.append(Link(*ends, int(tariff), capacity_wh * int(per_mille) // 1_000))
    return Network(names, tuple(links), _FLOOR, _CAP)


def book(network: Network, each: int) -> Book:
    """Draw `each` bids and as many asks, evenly over the nodes."""
    draw = np.random.default_rng(2021)
    count = 2 * each
    return Book.from_columns(
        network,
        ids=[f"{at:07}" for at in range(count)],
        peers=[f"peer {at % 1_000}" for at in range(count)],
        node=draw.integers(0, len(network.nodes), count),
        side=np.repeat([Side.BID.value, Side.ASK.value], each),
        price_micro_per_kwh=draw.integers(30_000, 300_000, count),
        energy_wh=draw.integers(1, 20_000, count),
    )


def crossing(orders: int) -> list[Wish]:
    """Draw orders of one step on one node that all trade: by turns an ask, and a bid that takes it.

    Everybody has a limit price of their own, and every bid is above every ask.
    """
    draw = np.random.default_rng(orders)
    wishes: list[Wish] = []
    for _ in range(orders // 2):
        energy_wh = int(draw.integers(100, 5_000))
        ask, bid = int(draw.integers(60_000, 180_000)), int(draw.integers(200_000, 300_000))
        for side, price in ((Side.ASK, ask), (Side.BID, bid)):
            step = Step(0, side, price, energy_wh)
            wishes.append(Wish(len(wishes) + 1, 0, (step,)))
    return wishes


def community_day(peers: int) -> tuple[Network, list[Wish]]:
    """Draw a community's day: a step per peer and quarter hour, on a ring of five nodes.

    Nine in ten have a load, half of them with a roof, few on the first node and most on the last:
    they sell what it makes above the load around noon, and buy at other times. One in ten is a
    small plant that sells day and night. Every step has a limit price of its own; some ways are
    full around noon.
    """
    draw = np.random.default_rng(peers)
    at = np.arange(PERIODS)
    sun = np.maximum(0, np.sin(2 * pi * (at - PERIODS / 4) / PERIODS))
    evening = 1 + np.exp(-(((at - 76) / 8) ** 2)) + 0.5 * np.exp(-(((at - 30) / 6) ** 2))
    wishes = []
    for peer in range(1, peers + 1):
        is_plant = peer % 10 == 0
        node = int(draw.integers(_DAY_NODES))
        has_roof = draw.random() < (node + 0.5) / _DAY_NODES
        roof_w = draw.uniform(2_000, 8_000) * has_roof
        load_w = draw.uniform(200, 800)
        bid, ask = draw.integers(150_000, 300_000), draw.integers(60_000, 180_000)
        net_w = roof_w * sun * draw.uniform(0.6, 1, PERIODS)
        net_w -= load_w * evening * draw.uniform(0.5, 1.5, PERIODS)
        if is_plant:
            net_w = draw.uniform(3_000, 6_000, PERIODS)
        energy_wh = np.maximum(1, np.abs(net_w).astype(np.int64) // 4)
        price = np.where(net_w > 0, ask, bid) + draw.integers(0, 30_000, PERIODS)
        steps = tuple(
            Step(period, Side.ASK if net > 0 else Side.BID, int(limit), int(energy))
            for period, net, limit, energy in zip(at.tolist(), net_w, price, energy_wh, strict=True)
        )
        wishes.append(Wish(peer, node, steps))
    return ring(_DAY_NODES, capacity_wh=20 * peers), wishes


def everywhere(nodes: int, periods: int) -> tuple[Network, list[Wish]]:
    """Draw two peers at every node of a ring, who want something in every period."""
    draw = np.random.default_rng(nodes)
    wishes = []
    for peer in range(1, 2 * nodes + 1):
        side = (Side.BID, Side.ASK)[peer % 2]
        least, most = (150_000, 300_000) if side is Side.BID else (60_000, 180_000)
        price, energy_wh = draw.integers(least, most, periods), draw.integers(100, 2_000, periods)
        steps = tuple(
            Step(period, side, int(limit), int(energy))
            for period, (limit, energy) in enumerate(zip(price, energy_wh, strict=True))
        )
        wishes.append(Wish(peer, (peer - 1) // 2, steps))
    return ring(nodes, capacity_wh=5_000), wishes
