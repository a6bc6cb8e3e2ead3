"""Choose among the optima of a book: most energy traded, then the smallest sum of link tails.

All optima agree but for the marginal orders of each node and for the links whose tariff is exactly
the price difference, at the lowest and at the highest optimal prices alike. Over these it is a
small min-cost flow: a link costs its tail, a traded Wh earns more than any way can cost.

Where these orders and links form no ring, the world outside taken for a node, nothing is left to
choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fairwatt.market._flow import Columns, Ways, run
from fairwatt.market._potentials import TRADE_TAIL, free_links, potentials
from fairwatt.market._ties import Margin
from fairwatt.market.network import MAX_TAIL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fairwatt.market._columns import Column
    from fairwatt.market.book import Book

__all__ = ["choose"]


def choose(book: Book, low: Column, high: Column, fills: Column, flows: Column) -> None:
    """Write the chosen optimum over the one given in `fills` and `flows`.

    Parameters
    ----------
    low, high
        Lowest and highest optimal price of every node, shape (nodes,).

    Raises
    ------
    KernelError
        If HiGHS finds no optimum, or none that is exact.
    """
    network = book.network
    margin, free = Margin.of(book, low, high), free_links(network, low, high)
    filled = margin.filled(fills)
    groups = np.flatnonzero(margin.total)
    source, target = network.sources[free], network.targets[free]
    outside = np.full(groups.size, low.size)
    pairs = np.concatenate([[source, target], [groups >> 1, outside]], axis=1).T
    if _has_ring(low.size + 1, pairs.tolist()):
        nodes, row = np.unique(pairs, return_inverse=True)
        row = row.reshape(pairs.shape)
        start, end = row[: free.size].T
        at, is_bid = row[free.size :, 0], groups % 2 == 0
        surplus = np.zeros(nodes.size, np.int64)
        np.add.at(surplus, at, np.where(is_bid, -filled[groups], filled[groups]))
        np.add.at(surplus, end, flows[free])
        np.subtract.at(surplus, start, flows[free])
        # Enough that no way through these nodes outweighs it; the less the better for floats.
        worth = min(TRADE_TAIL, nodes.size * MAX_TAIL)
        filled[groups], flows[free], _ = run(
            Columns(at, is_bid, np.where(is_bid, -worth, 0), margin.total[groups]),
            Ways(
                start,
                end,
                network.tails[free],
                np.minimum(network.capacities_wh[free], book.total_energy_wh),
            ),
            surplus,
        )
        potentials(network, free, margin, filled, flows)
    fills[margin.lines] = margin.shares(filled)


def _has_ring(count: int, pairs: Iterable[tuple[int, int]]) -> bool:
    """Whether some of these pairs of nodes are a ring (union-find)."""
    parent = list(range(count))
    for one, other in pairs:
        if (root := _root(parent, one)) == _root(parent, other):
            return True
        parent[root] = _root(parent, other)
    return False


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
