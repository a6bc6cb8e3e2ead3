"""Orders at the price: which they are, and how they share a fill that is not enough for all.

The asks of a node whose limit price is the only optimal price there form one group, its bids
another. All other orders are full or empty, whatever the solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fairwatt.market._columns import Column
    from fairwatt.market.book import Book

__all__ = ["Margin", "share"]


@dataclass(frozen=True, eq=False)
class Margin:
    """The marginal orders of a book, in groups: group 2 z are the bids of node z, 2 z + 1 its asks.

    Attributes
    ----------
    lines
        The orders, those of a group together.
    group
        Of each of them.
    total
        Energy of each group, Wh, 0 for those without orders, shape (2 * nodes,).
    """

    book: Book
    lines: Column
    group: Column
    total: Column

    @classmethod
    def of(cls, book: Book, low: Column, high: Column) -> Margin:
        """Find the orders at the price where the lowest and the highest optimal one are the same.

        Parameters
        ----------
        low, high
            Per node, shape (nodes,).
        """
        price = book.price_micro_per_kwh
        at_price = (price == low[book.node]) & (price == high[book.node])
        lines = np.flatnonzero(at_price & (book.energy_wh > 0))
        group = 2 * book.node[lines] + book.side[lines]
        together = group.argsort(kind="stable")
        lines, group = lines[together], group[together]
        return cls(book, lines, group, _sums(group, book.energy_wh[lines], 2 * low.size))

    def filled(self, fills: Column) -> Column:
        """Sum the fills of each group, Wh, shape (2 * nodes,)."""
        return _sums(self.group, fills[self.lines], self.total.size)

    def shares(self, filled: Column) -> Column:
        """Fill `lines`, given what each group gets."""
        energy_wh, ids = self.book.energy_wh, self.book.ids
        fills = np.where((filled == self.total)[self.group], energy_wh[self.lines], 0)
        partial = (filled > 0) & (filled < self.total)
        if partial.any():
            groups = np.flatnonzero(partial)
            starts = self.group.searchsorted(groups).tolist()
            ends = self.group.searchsorted(groups, "right").tolist()
            for group, start, end in zip(groups.tolist(), starts, ends, strict=True):
                part = slice(start, end)
                fills[part] = share(int(filled[group]), self.lines[part], energy_wh, ids)
        return fills


def share(filled: int, lines: Column, energy_wh: Column, ids: Sequence[str]) -> Column:
    """Share `filled` in proportion to energy, remainders in the order of the ids.

    What is owed up to each order is rounded down, and an order gets the difference.

    Parameters
    ----------
    filled
        Wh, at most the energy of all of them together.
    lines
        Which orders of the book they are, in any sequence.
    energy_wh, ids
        Of all orders of the book.

    Returns
    -------
    Column
        Fill of each of `lines`, Wh.
    """
    names = [ids[line] for line in lines.tolist()]
    by_id = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    running = np.cumsum(energy_wh[lines[by_id]])
    total = int(running[-1])
    if filled * total < 2**63:
        owed = running * filled // total
    else:
        owed = np.array([upto * filled // total for upto in running.tolist()], np.int64)
    fills: Column = np.empty_like(owed)
    fills[by_id] = np.diff(owed, prepend=0)
    return fills


def _sums(group: NDArray[np.int64], energy: Column, count: int) -> Column:
    # A float holds these sums exactly: the energies of a book sum to less than 2^52.
    return np.bincount(group, energy, count).astype(np.int64)
