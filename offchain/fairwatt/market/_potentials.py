"""What an optimum says about prices and tails: whole-number bounds that pass from node to node.

Optimal quantities and numbers x of the nodes fit together if x rises along a link by at most its
cost where it could carry more, and by at least its cost where it carries something. Each such rule
is an *arc*: x[head] <= x[tail] + length. With a bound at every node there is a largest x that
keeps all arcs, and a smallest one: shortest paths, found in integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.market._columns import Column
    from fairwatt.market._ties import Margin
    from fairwatt.market.book import Book
    from fairwatt.market.network import Network

__all__ = [
    "TRADE_TAIL",
    "Arcs",
    "free_links",
    "optimal_prices",
    "potentials",
    "price_arcs",
    "ranks",
]

TRADE_TAIL: Final = 2**41
"""What a traded Wh is worth in tails: more than those of any way through 2^17 nodes."""
_UNBOUNDED: Final = 2**62  # tails sum to less than 2^45, so what starts here stays above 2^61


@dataclass(frozen=True, eq=False)
class Arcs:
    """Rules x[head] <= x[tail] + length."""

    tail: Column
    head: Column
    length: Column

    @classmethod
    def of(cls, network: Network, links: Column, cost: Column, flows: Column) -> Arcs:
        """Make the arcs of these links.

        Parameters
        ----------
        links
            Positions in the network.
        cost
            Of each of them.
        flows
            Of all links, Wh.
        """
        flow, capacity = flows[links], network.capacities_wh[links]
        source, target = network.sources[links], network.targets[links]
        carries, spare = flow > 0, flow < capacity
        return cls(
            np.concatenate([source[spare], target[carries]]),
            np.concatenate([target[spare], source[carries]]),
            np.concatenate([cost[spare], -cost[carries]]),
        )

    @property
    def reversed(self) -> Arcs:
        """The same rules for -x."""
        return Arcs(self.head, self.tail, self.length)

    def largest(self, bound: Column) -> Column:
        """Find the largest x <= bound that keeps all arcs (Bellman-Ford)."""
        if not self.tail.size:
            return bound
        by_head = np.argsort(self.head, kind="stable")
        tail, head, length = self.tail[by_head], self.head[by_head], self.length[by_head]
        starts = np.flatnonzero(np.diff(head, prepend=-1))
        heads = head[starts]
        x = bound.copy()
        for _ in range(bound.size + 1):
            best = np.minimum.reduceat(x[tail] + length, starts)
            if (best >= x[heads]).all():
                return x
            x[heads] = np.minimum(x[heads], best)
        raise KernelError("the solver's result is not an exact optimum: a cheaper cycle exists")

    def smallest(self, bound: Column) -> Column:
        """Find the smallest x >= bound that keeps all arcs."""
        return -self.reversed.largest(-bound)

    def tight(self, x: Column) -> Arcs:
        """Keep those that hold x[head] down as it is, or hold x[tail] up."""
        kept = x[self.head] == x[self.tail] + self.length
        return Arcs(self.tail[kept], self.head[kept], self.length[kept])


def optimal_prices(book: Book, fills: Column, flows: Column) -> tuple[Column, Column]:
    """Find the lowest and the highest optimal whole-number price of every node.

    Complementary slackness says which prices are optimal for optimal quantities:
    a bid pays at most b if it trades, at least b if it could trade more; an ask the reverse;
    along a link the price rises by at least f if energy flows, by at most f if more could.
    """
    network = book.network
    low = np.full(len(network.nodes), network.price_floor_micro_per_kwh, np.int64)
    high = np.full(len(network.nodes), network.price_cap_micro_per_kwh, np.int64)
    trades, could = fills > 0, fills < book.energy_wh
    is_ask = book.side.astype(bool)
    above, below = np.where(is_ask, trades, could), np.where(is_ask, could, trades)
    np.maximum.at(low, book.node[above], book.price_micro_per_kwh[above])
    np.minimum.at(high, book.node[below], book.price_micro_per_kwh[below])
    arcs = price_arcs(network, flows)
    highest, lowest = arcs.largest(high), arcs.smallest(low)
    if (highest < low).any() or (lowest > high).any():
        raise KernelError("the solver's result is not an exact optimum: no prices support it")
    return lowest, highest


def price_arcs(network: Network, flows: Column) -> Arcs:
    """Rules for the prices, of all links."""
    return Arcs.of(network, np.arange(flows.size), network.tariffs_micro_per_kwh, flows)


def free_links(network: Network, low: Column, high: Column) -> Column:
    """Find the links whose flow the prices leave open: their tariff is the price difference."""
    source, target, tariff = network.sources, network.targets, network.tariffs_micro_per_kwh
    tight = (low[target] - low[source] == tariff) & (high[target] - high[source] == tariff)
    return np.flatnonzero(tight & (network.capacities_wh > 0))


def potentials(
    network: Network, free: Column, margin: Margin, filled: Column, flows: Column
) -> Column:
    """Find the tails of the nodes that prove fills and flows to be the chosen ones.

    Among all clearings of the largest welfare the one with the most energy traded is taken, among
    those the one of the smallest sum of link tails. Both are one program over the free links and
    the marginal groups, and the tails of the nodes are its dual. Between the nodes of a free link
    they rise by at least its tail if it carries something, by at most that if it could carry more.
    A marginal group reaches the world outside: the tail of its node is at least 0 if asks trade, at
    most 0 if asks could trade more, at most `TRADE_TAIL` if bids trade, at least that if bids could
    trade more.

    *The same from every solver.* Let h be the largest such tails, infinite where nothing holds
    them. Those taken are the smallest of which none is below min(0, h).

    Raises
    ------
    KernelError
        If there are none: another clearing is to be preferred.
    """
    bid_fill, ask_fill = filled[::2], filled[1::2]
    bid_total, ask_total = margin.total[::2], margin.total[1::2]
    most = np.full(ask_fill.size, _UNBOUNDED)
    most[bid_fill > 0] = TRADE_TAIL
    most[ask_fill < ask_total] = 0
    cost = network.tails[free] if free.size else free  # hashing them takes a while
    arcs = Arcs.of(network, free, cost, flows)
    least = np.minimum(arcs.largest(most), 0)
    least[ask_fill > 0] = 0
    least[bid_fill < bid_total] = TRADE_TAIL
    tails = arcs.smallest(least)
    if (tails > most).any():
        raise KernelError("the solver's result is not the optimum that the tie rules choose")
    return tails


def ranks(supported: NDArray[np.bool_], tail: Column, head: Column) -> Column:
    """Count the steps from the nearest supported node to every node, from tail to head."""
    rank = np.where(supported, 0, -1)
    step = 0
    while True:
        reached = head[(rank[tail] == step) & (rank[head] < 0)]
        if not reached.size:
            break
        step += 1
        rank[reached] = step
    if (rank < 0).any():
        raise KernelError("the solver's result is not an exact optimum: a price has no support")
    return rank
