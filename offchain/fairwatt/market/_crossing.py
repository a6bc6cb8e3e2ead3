"""Clear a book of one node: everything follows from the price where supply meets demand.

Let S(p) be the energy of all asks of at most p, D(p) that of all bids of at least p, and D+(p)
that of all bids above p. The *crossing* is the lowest price p with S(p) >= D+(p). Just below it
supply was too little, so below p every ask sells and above p every bid buys; the energy traded is
min(S(p), D(p)), the most that any price allows, and what of it is left over for the asks and bids
of limit price p itself they share. Complementary slackness holds with p, so this is an optimum, and
the one of largest energy: the same fills that the general way finds.

S - D+ is a sum over all orders of at most p, whatever their side, less the energy of all bids. So
the crossing is a weighted quantile of the limit prices, and nothing has to be sorted to find it:
energies are added up in price bins, and the bin that holds the crossing is divided again, until
what it holds is sorted sooner. The sums are below 2^52, which floats hold exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.market import _ties
from fairwatt.market.book import Book
from fairwatt.market.clearing import Clearing

if TYPE_CHECKING:
    from fairwatt.market._columns import Column

__all__ = ["clear_node", "quantile"]

_BIN_BITS: Final = 12
_FEW: Final = 4_096  # so many values are sorted sooner than divided into bins


def clear_node(book: Book) -> Clearing:
    """Clear a book whose network has one node, with its midpoint price."""
    network, price, energy = book.network, book.price_micro_per_kwh, book.energy_wh
    low, high = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    asks = int(energy @ book.side)  # a bid is 0, an ask 1
    bids = int(energy.sum()) - asks
    if not asks and not bids:
        return _of_node(np.zeros(len(book), np.int64), low, high)

    crossing = quantile(price, energy, bids)
    is_ask = book.side.astype(bool)
    below = price < crossing
    fills = energy * (below == is_ask)  # and the bids at the crossing
    (at,) = (price == crossing).nonzero()
    marginal_asks, marginal_bids = at[is_ask[at]], at[~is_ask[at]]
    asks_at, bids_at = int(energy[marginal_asks].sum()), int(energy[marginal_bids].sum())
    asks_below = int(fills @ book.side)
    bids_above = int(fills.sum()) - asks_below - bids_at
    traded = min(asks_below + asks_at, bids_above + bids_at)
    ask_fill, bid_fill = traded - asks_below, traded - bids_above
    _share(book, fills, marginal_asks, ask_fill, asks_at)
    _share(book, fills, marginal_bids, bid_fill, bids_at)

    # No optimal price is below an ask that trades or a bid that could trade more, none above a
    # bid that trades or an ask that could trade more.
    if ask_fill or bid_fill < bids_at:
        low = crossing
    elif (lower := below & (energy > 0)).any():
        low = int(price[lower].max())
    if bid_fill or ask_fill < asks_at:
        high = crossing
    elif (higher := (price > crossing) & (energy > 0)).any():
        high = int(price[higher].min())
    return _of_node(fills, low, high)


def quantile(values: Column, weights: Column, target: int) -> int:
    """Find the smallest value up to which the weights sum to `target` or more.

    Parameters
    ----------
    values
        At least one.
    weights
        Not negative; they sum to at least `target` and to less than 2^52.
    """
    while values.size > _FEW:
        least = int(values.min())
        shift = max(0, (int(values.max()) - least).bit_length() - _BIN_BITS)
        bins = (values - least) >> shift
        running = np.bincount(bins, weights).cumsum()
        at = int(running.searchsorted(target))
        if not shift:
            return least + at
        if at:
            target -= int(running[at - 1])
        inside = bins == at
        values, weights = values[inside], weights[inside]
    ascending = values.argsort()
    return int(values[ascending[weights[ascending].cumsum().searchsorted(target)]])


def _share(book: Book, fills: Column, lines: Column, filled: int, energy: int) -> None:
    """Write the fills of the orders at the crossing, which have so much energy together, Wh."""
    if filled == energy:
        fills[lines] = book.energy_wh[lines]
    elif filled == 0 or lines.size == 1:
        fills[lines] = filled
    else:
        fills[lines] = _ties.share(filled, lines, book.energy_wh, book.ids)


def _of_node(fills: Column, low: int, high: int) -> Clearing:
    return Clearing(fills, np.empty(0, np.int64), np.array([(low + high) >> 1]))
