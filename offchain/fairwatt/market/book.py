"""The book of one period: limit orders on the nodes of a network, kept as columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.errors import BookError
from fairwatt.market._columns import Column, Complaint, column, text_problem
from fairwatt.market.network import MAX_QUANTITY_WH, Network

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["MAX_TOTAL_ENERGY_WH", "Book", "LimitOrder", "Side"]

MAX_TOTAL_ENERGY_WH: Final = 2**52 - 1
"""Largest sum of the energies of a book: what a float still holds exactly in the solver."""


class Side(IntEnum):
    """What an order wants; the numbers are those of the contract."""

    BID = 0
    ASK = 1


@dataclass(frozen=True, slots=True)
class LimitOrder:
    """One price/energy pair of one peer at one node; checked when it enters a `Book`.

    Parameters
    ----------
    id
        Unique in the book.
    peer
        Whose order it is.
    node
        Name of the node it sits on.
    side
        Bid (buys) or ask (sells).
    price_micro_per_kwh
        Highest price a bid pays, lowest an ask takes; within floor and cap of the network.
    energy_wh
        Most it buys or sells, 0 to 2^40 - 1.
    """

    id: str
    peer: str
    node: str
    side: Side
    price_micro_per_kwh: int
    energy_wh: int


@dataclass(frozen=True, eq=False)
class Book:
    """Orders of one period on their network. Build it with `of` or `from_columns`.

    All columns have shape (orders,), are read-only, and stand in the sequence of the orders.

    Attributes
    ----------
    network
        Where the orders sit.
    ids, peers
        Names, one per order.
    node
        Index of the node in `network.nodes`.
    side
        `Side` as a number.
    price_micro_per_kwh, energy_wh
        As in `LimitOrder`.
    """

    network: Network
    ids: tuple[str, ...]
    peers: tuple[str, ...]
    node: Column
    side: Column
    price_micro_per_kwh: Column
    energy_wh: Column

    @classmethod
    def of(cls, network: Network, orders: Iterable[LimitOrder]) -> Book:
        """Make a book of these orders.

        Raises
        ------
        BookError
            With the path of the first wrong field, such as `orders[3].energyWh`.
        """
        lines = list(orders)
        index = network.node_index
        nodes = [line.node for line in lines]
        for at, node in enumerate(nodes):
            if text_problem(node) or node not in index:
                raise BookError(f"orders[{at}].node", f"{node!r} is not a node of the network")
        return cls.from_columns(
            network,
            ids=[line.id for line in lines],
            peers=[line.peer for line in lines],
            node=[index[node] for node in nodes],
            side=[_number(at, line.side) for at, line in enumerate(lines)],
            price_micro_per_kwh=[line.price_micro_per_kwh for line in lines],
            energy_wh=[line.energy_wh for line in lines],
        )

    @classmethod
    def from_columns(
        cls,
        network: Network,
        *,
        ids: Sequence[str],
        peers: Sequence[str],
        node: Sequence[int] | Column,
        side: Sequence[int] | Column,
        price_micro_per_kwh: Sequence[int] | Column,
        energy_wh: Sequence[int] | Column,
    ) -> Book:
        """Make a book from columns of the same length; `node` holds node indices.

        Raises
        ------
        BookError
            As `of`.
        """
        floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
        book = cls(
            network=network,
            ids=_names(ids, "id"),
            peers=_names(peers, "peer"),
            node=column(node, _complaint("node"), 0, len(network.nodes) - 1),
            side=column(side, _complaint("side"), Side.BID.value, Side.ASK.value),
            price_micro_per_kwh=column(
                price_micro_per_kwh, _complaint("priceMicroPerKWh"), floor, cap
            ),
            energy_wh=column(energy_wh, _complaint("energyWh"), 0, MAX_QUANTITY_WH),
        )
        counts = {
            len(values)
            for values in (
                *(book.ids, book.peers, book.node, book.side),
                *(book.price_micro_per_kwh, book.energy_wh),
            )
        }
        if len(counts) > 1:
            raise BookError("orders", f"columns differ in length: {sorted(counts)}")
        if len(set(book.ids)) < len(book.ids):
            raise _twice(book.ids)
        if book.total_energy_wh > MAX_TOTAL_ENERGY_WH:
            raise BookError(
                "orders",
                f"energies sum to {book.total_energy_wh} Wh, more than {MAX_TOTAL_ENERGY_WH}; "
                "split the book",
            )
        return book

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Book):
            return NotImplemented
        return (
            self.network == other.network
            and self.ids == other.ids
            and self.peers == other.peers
            and np.array_equal(self.node, other.node)
            and np.array_equal(self.side, other.side)
            and np.array_equal(self.price_micro_per_kwh, other.price_micro_per_kwh)
            and np.array_equal(self.energy_wh, other.energy_wh)
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def total_energy_wh(self) -> int:
        """Energy of all orders together."""
        return int(self.energy_wh.sum())

    @property
    def orders(self) -> Iterator[LimitOrder]:
        """The orders one by one, in sequence."""
        nodes = self.network.nodes
        for id_, peer, node, side, price, energy in zip(
            self.ids,
            self.peers,
            self.node.tolist(),
            self.side.tolist(),
            self.price_micro_per_kwh.tolist(),
            self.energy_wh.tolist(),
            strict=True,
        ):
            yield LimitOrder(id_, peer, nodes[node], Side(side), price, energy)


def _complaint(field: str) -> Complaint:
    def complain(at: int | None, problem: str) -> BookError:
        return BookError(f"orders[{'*' if at is None else at}].{field}", problem)

    return complain


def _number(at: int, side: object) -> int:
    if not isinstance(side, Side):
        raise BookError(f"orders[{at}].side", f"must be Side.BID or Side.ASK, not {side!r}")
    return side.value


def _names(values: Sequence[str], field: str) -> tuple[str, ...]:
    names = tuple(values)
    if set(map(type, names)) - {str} or not all(names) or not _encodes("".join(names)):
        for at, name in enumerate(names):
            if problem := text_problem(name):
                raise BookError(f"orders[{at}].{field}", problem)
    return names


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _twice(ids: tuple[str, ...]) -> BookError:
    first = dict[str, int]()
    for at, id_ in enumerate(ids):
        if id_ in first:
            return BookError(f"orders[{at}].id", f"{id_!r} is already the id of order {first[id_]}")
        first[id_] = at
    raise AssertionError("called without a duplicate")
