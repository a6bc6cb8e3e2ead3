"""Random markets for Hypothesis, shared by the tests of the kernel and of the contracts.

Half of the books are small and full of ties, half have the extreme values of every field.
Changed clearings keep to the types of the contract: uint40 quantities, int32 prices.
"""

from __future__ import annotations

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from fairwatt.market import Book, Clearing, LimitOrder, Link, Network, Side

UINT40_MAX = 2**40 - 1
UINT32_MAX = 2**32 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

_EDGES_WH = st.sampled_from([0, 1, 2, 2**20, 2**32 + 1, UINT40_MAX - 1, UINT40_MAX])
_WIDE_WH = st.one_of(_EDGES_WH, st.integers(0, UINT40_MAX))


@st.composite
def networks(
    draw: st.DrawFn, max_nodes: int = 4, max_links: int = 6, *, wide: bool | None = None
) -> Network:
    """Any network, with isolated nodes, parallel links, closed links and rings among them."""
    wide = draw(st.booleans()) if wide is None else wide
    price = st.integers(INT32_MIN, INT32_MAX) if wide else st.integers(-3, 5)
    edges = (INT32_MIN, INT32_MAX) if wide else (-3, 5)
    floor, cap = draw(st.one_of(st.just(edges), st.tuples(price, price).map(sorted)))
    nodes = tuple(f"n{at}" for at in range(draw(st.integers(1, max_nodes))))
    pairs = [(one, other) for one in nodes for other in nodes if one != other]
    tariff = (
        st.one_of(st.sampled_from([0, 1, INT32_MAX, UINT32_MAX]), st.integers(0, UINT32_MAX))
        if wide
        else st.integers(0, 3)
    )
    link = st.builds(
        lambda ends, *rest: Link(*ends, *rest),
        st.sampled_from(pairs or [("", "")]),
        tariff,
        _WIDE_WH if wide else st.integers(0, 6),
        st.sampled_from([None, "dso", "n0"]),
    )
    links = draw(st.lists(link, max_size=max_links)) if pairs else []
    return Network(nodes, tuple(links), floor, cap)


@st.composite
def books(
    draw: st.DrawFn,
    max_orders: int = 12,
    max_nodes: int = 4,
    max_links: int = 6,
    *,
    min_orders: int = 0,
    wide: bool | None = None,
) -> Book:
    """Any book: ties, empty sides, negative prices, orders of no energy, extreme values."""
    wide = draw(st.booleans()) if wide is None else wide
    network = draw(networks(max_nodes, max_links, wide=wide))
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    some_prices = st.sampled_from(sorted({floor, cap, (floor + cap) // 2}))
    line = st.tuples(
        st.sampled_from(network.nodes),
        st.sampled_from(Side),
        st.one_of(some_prices, st.integers(floor, cap)),
        _WIDE_WH if wide else st.integers(0, 5),
    )
    lines = draw(st.lists(line, min_size=min_orders, max_size=max_orders))
    ids = draw(st.permutations([f"o{at}" for at in range(len(lines))]))
    return Book.of(
        network,
        [
            LimitOrder(id_, f"p{int(id_[1:]) % 3}", *line)
            for id_, line in zip(ids, lines, strict=True)
        ],
    )


@st.composite
def clearings_with_changes(
    draw: st.DrawFn, book: Book, clearing: Clearing, most: int = 4
) -> Clearing:
    """`clearing` with one to `most` fills, flows or prices changed."""
    fills, flows, prices = _lists(clearing)
    places = [(numbers, at) for numbers in (fills, flows, prices) for at in range(len(numbers))]
    assume(places)
    chosen = draw(st.lists(st.integers(0, len(places) - 1), min_size=1, max_size=most, unique=True))
    limits = [*book.energy_wh.tolist(), *book.network.capacities_wh.tolist()]
    for at in chosen:
        numbers, position = places[at]
        if numbers is prices:
            low, high = INT32_MIN, INT32_MAX
            others = [book.network.price_floor_micro_per_kwh, book.network.price_cap_micro_per_kwh]
        else:
            low, high = 0, UINT40_MAX
            others = [0, limits[at], limits[at] + 1]
        old = numbers[position]
        near = [value for value in (old - 1, old + 1, *others) if low <= value <= high]
        new = draw(st.one_of(st.sampled_from(near), st.integers(low, high)))
        assume(new != old)
        numbers[position] = new
    return Clearing(fills, flows, prices)


def clearings_with_one_change(book: Book, clearing: Clearing) -> st.SearchStrategy[Clearing]:
    """`clearing` with one fill, one flow or one price changed."""
    return clearings_with_changes(book, clearing, most=1)


@st.composite
def clearings_rebalanced(draw: st.DrawFn, book: Book, clearing: Clearing) -> Clearing:
    """`clearing` with the fills of two orders of one node changed so that it stays in balance."""
    fills, flows, prices = _lists(clearing)
    moves = []  # one order, another, and the range of steps that keeps both fills in uint40
    for one in range(len(book)):
        for other in range(one):
            same = bool(book.side[one] == book.side[other])
            room = UINT40_MAX - fills[other]
            low = max(-fills[one], -room if same else -fills[other])
            high = min(UINT40_MAX - fills[one], fills[other] if same else room)
            if book.node[one] == book.node[other] and low < high:
                moves.append((one, other, -1 if same else 1, low, high))
    assume(moves)
    one, other, sign, low, high = draw(st.sampled_from(moves))
    near = [step for step in (-1, 1) if low <= step <= high]
    step = draw(st.one_of(st.sampled_from(near), st.integers(low, high).filter(bool)))
    fills[one] += step
    fills[other] += sign * step
    return Clearing(fills, flows, prices)


def shuffled(book: Book, order: list[int]) -> Book:
    """`book` with its orders in another sequence."""
    lines = list(book.orders)
    return Book.of(book.network, [lines[at] for at in order])


def fills_by_id(book: Book, clearing: Clearing) -> dict[str, int]:
    """Fill of every order by its id, Wh."""
    return dict(zip(book.ids, np.asarray(clearing.fills_wh).tolist(), strict=True))


def _lists(clearing: Clearing) -> tuple[list[int], list[int], list[int]]:
    return (
        clearing.fills_wh.tolist(),
        clearing.flows_wh.tolist(),
        clearing.prices_micro_per_kwh.tolist(),
    )
