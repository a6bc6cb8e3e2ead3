"""Clear a book: HiGHS finds the quantities, whole-number arithmetic makes them exact.

    maximise   sum_k b_k x_k - sum_s a_s y_s - sum_l f_l w_l
    subject to asks + inflow - outflow - bids = 0 at every node,   0 <= x, y <= Q,  0 <= w <= K

Of the solver only the quantities are used, and only after they passed exact checks. Prices are
computed from them in integers.

*Same price, same node.* Orders of one node, side and limit price form one *level*, which is one
column of the linear program; they share its fill pro rata, remainders in the order of their ids.
Levels are sorted, so the sequence of the orders in the book never matters.

*Ties.* Among clearings of the same welfare the one with the largest traded energy is taken, among
those the one of the smallest sum of flow x link tail. The optimum says, through the lowest and the
highest optimal price of every node, what all optima have in common; what is left to choose, a few
marginal orders and links, is a program of its own (`_face`).

*Small costs.* Costs are taken relative to guessed prices at the nodes, which in balance changes
no difference of costs, and simplex starts with nearly every level on the right side.

*Exact floats.* The programs are not scaled, and presolved only where simplex fails without.
Energies sum to less than 2^52, no cost reaches 2^42 and the matrix holds only ones, so what simplex
adds up are whole numbers that floats hold, and one Wh stands far above the tolerances of HiGHS.
Scaled down, it would vanish below them. Whatever a float still got wrong, the exact checks would
refuse.

*Speed.* Books of one node need no program at all (`_crossing`); on a network only the orders near
its prices enter it one by one (`_windows`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fairwatt.errors import KernelError, ProofError
from fairwatt.market import proof
from fairwatt.market._crossing import clear_node
from fairwatt.market._face import choose
from fairwatt.market._flow import Blocks, solve
from fairwatt.market._potentials import optimal_prices
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
    levels.pour(flow.filled[:count], fills)
    low, high = optimal_prices(book, fills, flow.flows)
    choose(book, low, high, fills, flow.flows)
    return Clearing(fills, flow.flows, (low + high) >> 1)


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

    def pour(self, filled: Column, fills: Column) -> None:
        """Write the fills of the orders to `fills`, those of a level filled one after another."""
        energy = self.book.energy_wh[self.lines]
        if not energy.size:
            return
        counts = np.diff(self.starts, append=self.lines.size)
        before = np.cumsum(energy) - energy
        before -= np.repeat(before[self.starts], counts)
        fills[self.lines] = np.clip(np.repeat(filled, counts) - before, 0, energy)
