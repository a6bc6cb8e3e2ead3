"""Clear a book: HiGHS finds the quantities, whole-number arithmetic makes them exact.

    maximise   sum_k b_k x_k - sum_s a_s y_s - sum_l f_l w_l
    subject to asks + inflow - outflow - bids = 0 at every node,   0 <= x, y <= Q,  0 <= w <= K

Of the solver only the quantities are used, and only after they passed exact checks. Prices are
computed from them in integers.

*Same price, same node.* Orders of one node, side and limit price form one *level*, which is one
column of the linear program; they share its fill pro rata, remainders in the order of their ids.
Levels are sorted, so the sequence of the orders in the book never matters.

*Ties.* Among clearings of the same welfare the one with the largest traded energy is taken,
among those one with the least energy over links. Both are part of the costs of the program:

    bid (2 b + 1) m    ask 2 a m    link 2 f m + 1        m = number of nodes + 1

Two clearings differ by cycles that pass the outside world (where energy comes from and goes to)
at most once. Such a cycle changes the traded energy by at most 1 and the energy over links by
less than m per unit, so it cannot outweigh a change of welfare, which is a whole number: 2 and m
are large enough, and the optimum of the program is an optimum of the market exactly.
What remains tied (equal paths, asks at equal distance) may depend on the sequence of the links.

*Small costs.* Costs are taken relative to guessed prices at the nodes, which in balance changes
no difference of costs, and simplex starts with nearly every level on the right side.

*Exact floats.* The program is neither scaled nor presolved. Energies sum to less than 2^52, a cost
is at most 2^53 (with less than 2^18 nodes) and the matrix holds only ones, so what simplex adds up
are whole numbers that floats hold, and one Wh stands far above the tolerances of HiGHS. Scaled
down, it would vanish below them. Whatever a float still got wrong, the exact checks would refuse.

*Speed.* Books of one node need no program at all (`_crossing`); on a network only the orders near
its prices enter it one by one (`_windows`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fairwatt.errors import KernelError, ProofError
from fairwatt.market import _ties, proof
from fairwatt.market._crossing import clear_node
from fairwatt.market._flow import Blocks, solve
from fairwatt.market._windows import near_prices, widened
from fairwatt.market.book import Book, Side
from fairwatt.market.clearing import Clearing

if TYPE_CHECKING:
    from fairwatt.market._columns import Column

__all__ = ["clear"]


def clear(book: Book) -> Clearing:
    """Find the optimal clearing of a book, with midpoint prices, and prove it before it leaves.

    Raises
    ------
    KernelError
        If the solver fails or its result is not an exact optimum.
    """
    clearing = clear_node(book) if len(book.network.nodes) == 1 else clear_network(book)
    try:
        proof.check(book, clearing)
    except ProofError as error:
        raise KernelError(f"the solver's result is not an exact optimum: {error}") from error
    return clearing


def clear_network(book: Book) -> Clearing:
    """Find the optimal clearing of a book on any network, with midpoint prices."""
    window, guess = near_prices(book)
    while True:
        levels = _Levels.of(book, window.inside)
        flow = solve(book.network, window.blocks(levels.blocks), guess)
        count = levels.starts.size
        below, above = window.broken(flow.filled[count:])
        if not below.any() and not above.any():
            break
        window, guess = widened(book, window, below, above), flow.prices
    fills = window.fills(book)
    levels.share(flow.filled[:count], fills)
    return Clearing(fills, flow.flows, _midpoint_prices(book, fills, flow.flows))


@dataclass(frozen=True)
class _Levels:
    """Orders with energy, grouped by node, side and limit price, in sorted sequence.

    `lines` lists the orders level by level; level i owns lines[starts[i] : starts[i + 1]].
    """

    book: Book
    lines: Column
    starts: Column
    blocks: Blocks

    @classmethod
    def of(cls, book: Book, orders: Column) -> _Levels:
        """Group these orders."""
        keys = book.price_micro_per_kwh[orders], book.side[orders], book.node[orders]
        lines = orders[np.lexsort(keys)]
        price, side, node = (
            values[lines] for values in (book.price_micro_per_kwh, book.side, book.node)
        )
        new = np.ones(lines.size, bool)
        new[1:] = (np.diff(node) != 0) | (np.diff(side) != 0) | (np.diff(price) != 0)
        starts = np.flatnonzero(new)
        energy = np.add.reduceat(book.energy_wh[lines], starts) if starts.size else starts
        return cls(
            book,
            lines,
            starts,
            Blocks(node[starts], side[starts] == Side.BID.value, price[starts], energy),
        )

    def share(self, filled: Column, fills: Column) -> None:
        """Split the fills of the levels into fills of the orders, which are written to `fills`."""
        energy_wh, ids = self.book.energy_wh, self.book.ids
        counts = np.diff(self.starts, append=self.lines.size)
        full = self.lines[np.repeat(filled == self.blocks.energy, counts)]
        fills[full] = energy_wh[full]
        for level in np.flatnonzero((filled > 0) & (filled < self.blocks.energy)).tolist():
            start = self.starts[level]
            lines = self.lines[start : start + counts[level]]
            fills[lines] = _ties.share(int(filled[level]), lines, energy_wh, ids)


def _midpoint_prices(book: Book, fills: Column, flows: Column) -> Column:
    """Per node floor((lowest + highest) / 2) of the optimal whole-number prices.

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

    # Rows "price[head] <= price[tail] + length".
    carries, spare = flows > 0, flows < network.capacities_wh
    tariff = network.tariffs_micro_per_kwh
    tail = np.concatenate([network.sources[spare], network.targets[carries]])
    head = np.concatenate([network.targets[spare], network.sources[carries]])
    length = np.concatenate([tariff[spare], -tariff[carries]])

    highest = _tighten(high, tail, head, length)
    lowest = -_tighten(-low, head, tail, length)
    if (highest < low).any() or (lowest > high).any():
        raise KernelError("the solver's result is not an exact optimum: no prices support it")
    return (lowest + highest) >> 1


def _tighten(bound: Column, tail: Column, head: Column, length: Column) -> Column:
    """Find the largest x <= bound with x[head] <= x[tail] + length everywhere (Bellman-Ford)."""
    if not tail.size:
        return bound
    by_head = np.argsort(head, kind="stable")
    tail, head, length = tail[by_head], head[by_head], length[by_head]
    starts = np.flatnonzero(np.diff(head, prepend=-1))
    heads = head[starts]
    x = bound.copy()
    for _ in range(bound.size + 1):
        best = np.minimum.reduceat(x[tail] + length, starts)
        if (best >= x[heads]).all():
            return x
        x[heads] = np.minimum(x[heads], best)
    raise KernelError("the solver's result is not an exact optimum: a cheaper cycle exists")
