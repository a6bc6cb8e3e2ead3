"""Clear a book of one node: everything follows from the price where supply meets demand.

Let S(p) be the energy of all asks of at most p, D(p) that of all bids of at least p, and D+(p)
that of all bids above p. The *crossing* is the lowest price p with S(p) >= D+(p). Just below it
supply was too little, so below p every ask sells and above p every bid buys; the energy traded is
min(S(p), D(p)), the most that any price allows, and what of it is left over for the asks and bids
of limit price p itself they share. Complementary slackness holds with p, so this is an optimum, and
the one of largest energy: the same fills that the general way finds.

S - D+ is a sum over all orders of at most p, whatever their side, less the energy of all bids. So
the crossing is a weighted quantile of the limit prices, and nothing has to be sorted to find it:
energies are added up in price bins, the bin that holds the crossing is divided again, and so on,
at most three times. The sums are below 2^52, which floats hold exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.market import _ties
from fairwatt.market.book import Book, Side
from fairwatt.market.clearing import Clearing

if TYPE_CHECKING:
    from fairwatt.market._columns import Column

__all__ = ["clear_node", "quantile"]

_BIN_BITS: Final = 12


def clear_node(book: Book) -> Clearing:
    """Clear a book whose network has one node, with its midpoint price."""
    network, price, energy = book.network, book.price_micro_per_kwh, book.energy_wh
    low, high = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    is_ask = book.side == Side.ASK
    asks = int(energy @ is_ask)
    bids = int(energy.sum()) - asks
    if not asks and not bids:
        return _of_node(np.zeros(len(book), np.int64), low, high)

    crossing = quantile(price, energy, bids)
    below, above = price < crossing, price > crossing
    fills = energy * np.where(is_ask, below, above)
    at = np.flatnonzero(price == crossing)
    marginal_asks, marginal_bids = at[is_ask[at]], at[~is_ask[at]]
    asks_below = int(fills @ is_ask)
    bids_above = int(fills.sum()) - asks_below
    asks_at, bids_at = int(energy[marginal_asks].sum()), int(energy[marginal_bids].sum())
    traded = min(asks_below + asks_at, bids_above + bids_at)
    ask_fill, bid_fill = traded - asks_below, traded - bids_above
    fills[marginal_asks] = _shares(book, marginal_asks, ask_fill, asks_at)
    fills[marginal_bids] = _shares(book, marginal_bids, bid_fill, bids_at)

    # No optimal price is below an ask that trades or a bid that could trade more, none above a
    # bid that trades or an ask that could trade more.
    if ask_fill or bid_fill < bids_at:
        low = crossing
    elif (lower := below & (energy > 0)).any():
        low = int(price[lower].max())
    if bid_fill or ask_fill < asks_at:
        high = crossing
    elif (higher := above & (energy > 0)).any():
        high = int(price[higher].min())
    return _of_node(fills, low, high)


def quantile(values: Column, weights: Column, target: int) -> int:
    """Find the smallest value up to which the weights sum to `target` or more.

    Parameters
    ----------
    values
        Less than 2^36 apart, at least one.
    weights
        Not negative; they sum to at least `target` and to less than 2^52.
    """
    while True:
        least = int(values.min())
        shift = max(0, (int(values.max()) - least).bit_length() - _BIN_BITS)
        bins = (values - least) >> shift
        running = np.cumsum(np.bincount(bins, weights))
        at = int(np.searchsorted(running, target))
        if not shift:
            return least + at
        if at:
            target -= int(running[at - 1])
        inside = bins == at
        values, weights = values[inside], weights[inside]


def _shares(book: Book, lines: Column, filled: int, energy: int) -> Column | int:
    """Fills of the orders at the crossing, which have so much energy together, Wh."""
    if filled == 0:
        return 0
    if filled == energy:
        return book.energy_wh[lines]
    return _ties.share(filled, lines, book.energy_wh, book.ids)


def _of_node(fills: Column, low: int, high: int) -> Clearing:
    return Clearing(fills, np.empty(0, np.int64), [(low + high) >> 1])
