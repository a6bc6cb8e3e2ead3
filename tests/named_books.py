"""Small books by name, each with the one thing it is about. Both sides of the proof check them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairwatt.market import Link
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import INT32_MAX, INT32_MIN, UINT32_MAX, UINT40_MAX

if TYPE_CHECKING:
    from fairwatt.market import Book

_EXTREMES = {"floor": INT32_MIN, "cap": INT32_MAX}


def _two_nodes(tariff: int, capacity: int) -> Book:
    on = network("a", "b", links=(Link("a", "b", tariff, capacity),))
    return book(ask("s", 7, 9, "a"), bid("k", 20, 6, "b"), on=on)


NAMED_BOOKS: dict[str, Book] = {
    # One node
    "nobody": book(),
    "one bid alone": book(bid("k", 9, 5)),
    "one ask alone": book(ask("s", 9, 5)),
    "no deal": book(ask("s", 9, 5), bid("k", 8, 5)),
    "limits meet": book(ask("s", 9, 5), bid("k", 9, 5)),
    "marginal ask": book(ask("s1", 3, 4), ask("s2", 6, 4), bid("k", 10, 6)),
    "marginal bid": book(ask("s", 3, 5), bid("k1", 10, 4), bid("k2", 7, 4)),
    "nobody is marginal": book(ask("s1", 3, 4), ask("s2", 9, 4), bid("k1", 10, 4), bid("k2", 4, 4)),
    "odd midpoint below zero": book(ask("s", -6, 4), bid("k", -1, 4)),
    "ties of asks": book(ask("s1", 5, 3), ask("s2", 5, 4), ask("s3", 5, 6), bid("k", 9, 7)),
    "ties of bids": book(ask("s", 5, 7), bid("k1", 9, 3), bid("k2", 9, 4), bid("k3", 9, 6)),
    "ties of everybody": book(ask("s1", 5, 3), ask("s2", 5, 4), bid("k1", 5, 2), bid("k2", 5, 3)),
    "negative prices": book(
        ask("s1", -30, 4), ask("s2", -10, 4), bid("k1", -5, 3), bid("k2", -20, 6)
    ),
    "no energy": book(ask("s1", 3, 0), ask("s2", 4, 2), bid("k1", 10, 0), bid("k2", 9, 1)),
    "all energy is none": book(ask("s", 3, 0), bid("k", 10, 0)),
    "floor is cap": book(ask("s", 7, 3), bid("k", 7, 2), on=network(floor=7, cap=7)),
    "limits on the bounds": book(ask("s", -100, 3), bid("k", 100, 2), bid("j", -100, 9)),
    # Networks
    "isolated nodes": book(
        ask("s", 1, 5, "a"), bid("k", 9, 5, "b"), bid("j", 9, 2, "a"), on=network("a", "b", "c")
    ),
    "link with room": _two_nodes(3, 10),
    "full link": _two_nodes(3, 4),
    "link just full": _two_nodes(3, 6),
    "closed link": _two_nodes(3, 0),
    "free link": _two_nodes(0, 4),
    "link as dear as the gain": _two_nodes(13, 4),
    "link too dear": _two_nodes(14, 4),
    "parallel links": book(
        ask("s", 2, 9, "a"),
        bid("k", 30, 9, "b"),
        on=network("a", "b", links=tuple(Link("a", "b", f, 3) for f in (5, 2, 5, 28, 29))),
    ),
    "ring of free links": book(
        ask("s", 2, 4, "a"),
        bid("k", 8, 4, "c"),
        on=network(
            "a", "b", "c", links=tuple(Link(i, j, 0, 3) for i, j in ("ab", "bc", "ca", "ac", "cb"))
        ),
    ),
    "there and back": book(
        ask("s", 2, 4, "b"),
        bid("k", 8, 4, "a"),
        on=network("a", "b", links=(Link("a", "b", 0, 5), Link("b", "a", 0, 5))),
    ),
    "five peers in three communities": book(
        ask("supplier", 60, 900, "grid"),
        bid("feed-in", 20, 900, "grid"),
        ask("p1", 25, 40, "c2"),
        bid("p2", 80, 25, "c2"),
        ask("p3", 30, 35, "c3"),
        bid("p4", 75, 60, "c3"),
        bid("p5", 55, 20, "c3"),
        on=network(
            "grid",
            "c2",
            "c3",
            links=(
                Link("grid", "c2", 8, 500, "operator"),
                Link("grid", "c3", 8, 500, "operator"),
                Link("c2", "grid", 2, 500, "operator"),
                Link("c2", "c3", 10, 500, "operator"),
                Link("c3", "c2", 3, 5),
            ),
        ),
    ),
    # Extremes of every field
    "highest gain": book(
        ask("s", INT32_MIN, UINT40_MAX), bid("k", INT32_MAX, UINT40_MAX), on=network(**_EXTREMES)
    ),
    "highest loss, so no deal": book(
        ask("s", INT32_MAX, UINT40_MAX), bid("k", INT32_MIN, UINT40_MAX), on=network(**_EXTREMES)
    ),
    "highest tariff": book(
        ask("s", INT32_MIN, UINT40_MAX, "a"),
        bid("k", INT32_MAX, UINT40_MAX, "b"),
        on=network("a", "b", links=(Link("a", "b", UINT32_MAX, UINT40_MAX),), **_EXTREMES),
    ),
    "highest rent": book(
        ask("s", INT32_MIN, UINT40_MAX, "a"),
        bid("k", INT32_MAX, UINT40_MAX, "b"),
        on=network("a", "b", links=(Link("a", "b", 0, UINT40_MAX - 1),), **_EXTREMES),
    ),
    "sums beyond 72 bits": book(
        *(ask(f"s{at}", INT32_MIN + at, UINT40_MAX - at) for at in range(4)),
        *(bid(f"k{at}", INT32_MAX - at, UINT40_MAX - at) for at in range(5)),
        on=network(**_EXTREMES),
    ),
}
