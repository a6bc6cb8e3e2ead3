"""Short ways to write small markets."""

from __future__ import annotations

from fairwatt.market import Book, LimitOrder, Link, Network, Side


def network(
    *nodes: str, links: tuple[Link, ...] = (), floor: int = -100, cap: int = 100
) -> Network:
    return Network(nodes or ("a",), links, floor, cap)


def bid(id_: str, price: int, energy: int, node: str = "a") -> LimitOrder:
    return LimitOrder(id_, id_, node, Side.BID, price, energy)


def ask(id_: str, price: int, energy: int, node: str = "a") -> LimitOrder:
    return LimitOrder(id_, id_, node, Side.ASK, price, energy)


def book(*orders: LimitOrder, on: Network | None = None) -> Book:
    return Book.of(on or network(), orders)
