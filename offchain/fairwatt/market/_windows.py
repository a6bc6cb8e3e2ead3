"""Fill the orders of a network by looking closely only at those near its prices.

By complementary slackness nearly every order is known as soon as the price at its node is known
roughly: below it asks sell and above it bids buy all they have. So each node gets a *window* of
prices. Orders inside it enter the linear program as they are. Those outside enter as four sums:
asks and bids below, which are assumed to sell all and to buy nothing, and asks and bids above, of
which the reverse is assumed; the limit price of a sum is the price just outside the window, the one
nearest to it that any of its orders can have.

So the program is a relaxation: giving up an assumption never costs it more than it costs the
market. If its optimum keeps all assumptions, that optimum is a clearing, and none is better. If
not, the windows where one broke are widened and the program is solved again.

Where the windows lie only decides how long this takes. They are found with the same program on
coarse blocks: the window is cut into slices of equal width, the orders of a slice become one block,
and the slice that holds the price, with its neighbours, is the next window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.market._crossing import quantile
from fairwatt.market._flow import Blocks, solve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.market._columns import Column
    from fairwatt.market.book import Book

__all__ = ["Window", "near_prices", "widened"]

_SLICES: Final = 16
# So many orders are solved sooner than narrowed down further: in all, and more per node.
_FEW: Final = 2_000
_FEW_AT_NODE: Final = 4 * _SLICES


@dataclass(frozen=True)
class Window:
    """What is known of the orders while prices lie within low..high at every node.

    Attributes
    ----------
    low, high
        Prices at the edges, which belong to it, shape (nodes,).
    inside
        Orders with energy and a limit price inside.
    below, above
        Energy of the orders below and above, bids in row 0, asks in row 1, shape (2, nodes).
    """

    low: Column
    high: Column
    inside: Column
    below: NDArray[np.int64]
    above: NDArray[np.int64]

    @classmethod
    def whole(cls, book: Book) -> Window:
        """Take in every order."""
        nodes = len(book.network.nodes)
        inside = np.flatnonzero(book.energy_wh)
        price = book.price_micro_per_kwh[inside]
        low, high = (int(price.min()), int(price.max())) if inside.size else (0, 0)
        nothing = np.zeros((2, nodes), np.int64)
        return cls(np.full(nodes, low), np.full(nodes, high), inside, nothing, nothing)

    def narrowed(self, book: Book, low: Column, high: Column) -> Window:
        """Cut it down to low..high, which lies within."""
        node, price = book.node[self.inside], book.price_micro_per_kwh[self.inside]
        under, over = price < low[node], price > high[node]
        return Window(
            low,
            high,
            self.inside[~(under | over)],
            self.below + _sums(book, self.inside[under]),
            self.above + _sums(book, self.inside[over]),
        )

    def blocks(self, near: Blocks) -> Blocks:
        """Add the sums of the orders outside, four blocks per node, behind `near`."""
        nodes = np.arange(self.low.size)
        is_bid = np.repeat([True, False], nodes.size)
        return Blocks(
            np.concatenate([near.node, np.tile(nodes, 4)]),
            np.concatenate([near.is_bid, np.tile(is_bid, 2)]),
            np.concatenate([near.price, np.tile(self.low - 1, 2), np.tile(self.high + 1, 2)]),
            np.concatenate([near.energy, self.below.ravel(), self.above.ravel()]),
        )

    def broken(self, filled: Column) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Say at which nodes the fills of the four sums break an assumption: below, above."""
        (bids_below, asks_below), (bids_above, asks_above) = filled.reshape(2, 2, -1)
        return (
            (bids_below > 0) | (asks_below < self.below[1]),
            (bids_above < self.above[0]) | (asks_above > 0),
        )

    def fills(self, book: Book) -> Column:
        """Fill the orders outside as assumed; those inside get 0."""
        price, is_ask = book.price_micro_per_kwh, book.side.astype(bool)
        low, high = self.low[book.node], self.high[book.node]
        fills: Column = book.energy_wh * np.where(is_ask, price < low, price > high)
        return fills


def near_prices(book: Book) -> tuple[Window, Column]:
    """Find a window with few orders in it, probably the right one, and prices within."""
    window = Window.whole(book)
    nodes = len(book.network.nodes)
    bids = book.total_energy_wh - int(book.energy_wh @ book.side)
    if bids in (0, book.total_energy_wh):
        return window, window.low
    guess = np.full(nodes, quantile(book.price_micro_per_kwh, book.energy_wh, bids))
    while window.inside.size > _FEW + _FEW_AT_NODE * nodes:
        widest = int((window.high - window.low).max()) + 1
        shift = max(0, (widest - 1).bit_length() - _SLICES.bit_length() + 1)
        sliced = window.blocks(_slices(book, window, shift))
        guess = solve(book.network, sliced, guess).prices
        # The slice the price is in, and one on either side: a price of 5.9 in a slice from 4 to 7
        # is nearer to the next one than to the last.
        first = np.clip((guess - window.low >> shift) - 1, 0, None) << shift
        low = np.minimum(window.low + first, window.high)
        high = np.clip(low + (3 << shift) - 1, None, window.high)
        if shift == 0 or (low == window.low).all() & (high == window.high).all():
            break
        window = window.narrowed(book, low, high)
    return window, guess


def widened(
    book: Book, window: Window, below: NDArray[np.bool_], above: NDArray[np.bool_]
) -> Window:
    """Open the window threefold where prices lie below or above it."""
    width = window.high - window.low + 1
    low = np.where(below, window.low - 3 * width, window.low)
    high = np.where(above, window.high + 3 * width, window.high)
    return Window.whole(book).narrowed(book, low, high)


def _slices(book: Book, window: Window, shift: int) -> Blocks:
    """Add up the orders inside by node, side and slice, at the middle price of the slice."""
    inside = window.inside
    node, side = book.node[inside], book.side[inside]
    at = book.price_micro_per_kwh[inside] - window.low[node] >> shift
    count = int(at.max()) + 1
    energy = np.bincount((node * 2 + side) * count + at, book.energy_wh[inside])
    (some,) = energy.nonzero()
    node_side, slice_ = some // count, some % count
    node = node_side >> 1
    price = np.minimum(window.low[node] + (slice_ << shift) + (1 << shift >> 1), window.high[node])
    return Blocks(node, node_side & 1 == 0, price, energy[some].astype(np.int64))


def _sums(book: Book, orders: Column) -> NDArray[np.int64]:
    """Energy of these orders, by side and node."""
    nodes = len(book.network.nodes)
    at = book.side[orders] * nodes + book.node[orders]
    return np.bincount(at, book.energy_wh[orders], 2 * nodes).astype(np.int64).reshape(2, nodes)
