"""What proves a clearing to be the one that the rules choose, without solving anything again.

Made from the clearing alone, in whole numbers; `proof.verify` says what it proves and how.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.errors import ClearingError
from fairwatt.market._columns import Column, Complaint, column
from fairwatt.market._potentials import free_links, optimal_prices, potentials, price_arcs, ranks
from fairwatt.market._ties import Margin
from fairwatt.market.network import PRICE_RANGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from fairwatt.market.book import Book
    from fairwatt.market.clearing import Clearing

__all__ = ["Certificate", "Witnesses", "certify", "witnesses"]

_UNSIGNED: Final = (0, 2**63 - 1)
_RANGES: Final = {"low": PRICE_RANGE, "high": PRICE_RANGE, "tail": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True, eq=False)
class Certificate:
    """The numbers of every node beside its price; a claim until `proof.verify` accepts it.

    Any whole numbers of the right range are taken here, from any sequence; they are kept as
    read-only int64. All have shape (nodes,).

    Attributes
    ----------
    low, high
        Lowest and highest optimal price, micro-token/kWh.
    low_rank, high_rank
        Steps to a node that holds `low` down there (`high` up there): 0 if the node itself does.
    tail
        Dual of the node in the program that decides between equal optima.
    ask_fill, ask_total, bid_fill, bid_total
        What the orders of limit price low == high trade and could trade together, Wh; 0 where
        low < high.

    Raises
    ------
    ClearingError
        If an entry is not a whole number of its range.
    """

    low: Column
    high: Column
    low_rank: Column
    high_rank: Column
    tail: Column
    ask_fill: Column
    ask_total: Column
    bid_fill: Column
    bid_total: Column

    def __init__(
        self,
        *,
        low: Iterable[int] | Column,
        high: Iterable[int] | Column,
        low_rank: Iterable[int] | Column,
        high_rank: Iterable[int] | Column,
        tail: Iterable[int] | Column,
        ask_fill: Iterable[int] | Column,
        ask_total: Iterable[int] | Column,
        bid_fill: Iterable[int] | Column,
        bid_total: Iterable[int] | Column,
    ) -> None:
        given: dict[str, Any] = {key: value for key, value in locals().items() if key != "self"}
        for field, values in given.items():
            numbers = column(values, _complaint(field), *_RANGES.get(field, _UNSIGNED))
            object.__setattr__(self, field, numbers)

    def columns(self) -> dict[str, Column]:
        """All columns by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Certificate):
            return NotImplemented
        ours, theirs = self.columns(), other.columns()
        return all(np.array_equal(ours[field], theirs[field]) for field in ours)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Witnesses:
    """Orders that hold the prices of nodes with low < high; shape (nodes,), -1 for none."""

    low: Column
    high: Column


def certify(book: Book, clearing: Clearing) -> Certificate:
    """Make the certificate of a clearing that `kernel.clear` found.

    A book has one chosen clearing and this makes one certificate of it, whoever the solver is:
    ranks count the fewest links to a node that holds its price itself, through floor and cap or
    through an order; the rule for tails is that of `_potentials.potentials`.

    Raises
    ------
    KernelError
        If the clearing is not optimal, or not the one that the tie rules choose.
    """
    network, fills, flows = book.network, clearing.fills_wh, clearing.flows_wh
    low, high = optimal_prices(book, fills, flows)
    margin = Margin.of(book, low, high)
    filled = margin.filled(fills)
    holds_low, holds_high = _supporters(book, low, high, fills)
    at_low, at_high = (
        low == network.price_floor_micro_per_kwh,
        high == network.price_cap_micro_per_kwh,
    )
    at_low[book.node[holds_low]] = True
    at_high[book.node[holds_high]] = True
    arcs = price_arcs(network, flows)
    lowers, highers = arcs.tight(low), arcs.tight(high)
    return Certificate(
        low=low,
        high=high,
        low_rank=ranks(at_low, lowers.head, lowers.tail),
        high_rank=ranks(at_high, highers.tail, highers.head),
        tail=potentials(network, free_links(network, low, high), margin, filled, flows),
        ask_fill=filled[1::2],
        ask_total=margin.total[1::2],
        bid_fill=filled[::2],
        bid_total=margin.total[::2],
    )


def witnesses(book: Book, certificate: Certificate) -> Witnesses:
    """Name an order per node with low < high whose limit price is low, and one for high.

    Of several it is the first by id. None is needed where low is the floor (high the cap).
    """
    network = book.network
    low, high = certificate.low, certificate.high
    apart = low < high
    return Witnesses(
        _first_at(book, low, apart & (low != network.price_floor_micro_per_kwh)),
        _first_at(book, high, apart & (high != network.price_cap_micro_per_kwh)),
    )


def _supporters(book: Book, low: Column, high: Column, fills: Column) -> tuple[Column, Column]:
    """Find the orders because of which low could not be lower, and high not higher."""
    price, node, is_ask = book.price_micro_per_kwh, book.node, book.side.astype(bool)
    trades, could = fills > 0, fills < book.energy_wh
    return (
        np.flatnonzero((price == low[node]) & np.where(is_ask, trades, could)),
        np.flatnonzero((price == high[node]) & np.where(is_ask, could, trades)),
    )


def _first_at(book: Book, price: Column, wanted: NDArray[np.bool_]) -> Column:
    """Find the first order by id at this price, of the nodes where one is wanted."""
    line = np.full(price.size, -1)
    at_price = book.price_micro_per_kwh == price[book.node]
    candidates = np.flatnonzero(at_price & wanted[book.node] & (book.energy_wh > 0)).tolist()
    for at in sorted(candidates, key=book.ids.__getitem__, reverse=True):
        line[book.node[at]] = at
    return line


def _complaint(field: str) -> Complaint:
    def complain(at: int | None, problem: str) -> ClearingError:
        return ClearingError(field if at is None else f"{field}[{at}]", problem)

    return complain
