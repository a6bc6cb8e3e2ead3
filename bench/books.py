"""Books to measure with, made from a seed."""

from __future__ import annotations

import numpy as np

from fairwatt.market import Book, Link, Network, Side

__all__ = ["book", "tree"]


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
    return Network(names, tuple(links), -500_000, 4_000_000)


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
