"""Books of one node clear without a solver: the same fills and prices as the general way finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import INT32_MAX, INT32_MIN, UINT40_MAX, books

from fairwatt.market import Book, Network, check, clear, kernel
from fairwatt.market._crossing import quantile

many = settings(max_examples=300, deadline=None)


def same(some: Book) -> None:
    clearing = clear(some)
    check(some, clearing)
    assert clearing == kernel.clear_network(some)


@many
@given(books(max_orders=14, max_nodes=1))
def test_clear__one_node__is_what_the_solver_finds(some: Book) -> None:
    same(some)


@many
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 5), st.integers(0, 3))
def test_clear__many_ties_and_orders_of_no_energy__is_what_the_solver_finds(
    seed: int, orders: int, prices: int, energies: int
) -> None:
    draw = np.random.default_rng(seed)
    same(
        Book.from_columns(
            network(),
            ids=[f"o{at}" for at in draw.permutation(orders)],
            peers=["p"] * orders,
            node=[0] * orders,
            side=draw.integers(0, 2, orders),
            price_micro_per_kwh=draw.integers(-prices, prices, orders),
            energy_wh=draw.integers(0, energies + 1, orders),
        )
    )


@pytest.mark.parametrize(
    "orders",
    [
        (),
        (ask("s", 10, 0), bid("b", 20, 0)),
        (ask("s", 10, 5),),
        (bid("b", 10, 5),),
        (ask("s", 10, 5), ask("t", -10, 5), bid("none", 0, 0)),
        (bid("b", 10, 5), bid("c", -10, 5), ask("none", 0, 0)),
        (ask("s", 10, 5), bid("b", 20, 5)),
        (ask("s", 10, 5), bid("b", 10, 5)),
        (ask("s", 10, 5), bid("b", 10, 3)),
        (ask("s", 10, 3), bid("b", 10, 5)),
        (ask("s", 20, 5), bid("b", 10, 5)),
        (ask("s", -50, 5), bid("b", -20, 3)),
        (ask("s", -100, 5), bid("b", 100, 5)),
        (ask("s", 7, 5), ask("t", 7, 5), bid("b", 9, 5), bid("c", 7, 4)),
    ],
)
def test_clear__one_node_case_by_case__is_what_the_solver_finds(orders: tuple[object, ...]) -> None:
    same(book(*orders))  # type: ignore[arg-type]


def test_clear__one_node_of_extremes__is_what_the_solver_finds() -> None:
    on = Network(("a",), (), INT32_MIN, INT32_MAX)
    asks = [ask(f"s{at}", INT32_MIN, UINT40_MAX) for at in range(3)]
    same(book(*asks, bid("b", INT32_MAX, UINT40_MAX), bid("c", INT32_MAX, 1), on=on))


@given(
    st.lists(st.tuples(st.integers(INT32_MIN, INT32_MAX), st.integers(0, 9)), min_size=1),
    st.data(),
)
def test_quantile__is_what_a_sorted_list_says(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    target = data.draw(st.integers(0, sum(weight for _, weight in pairs)))
    running, expected = 0, min(pairs)[0]
    for value, weight in sorted(pairs):
        running += weight
        if running >= target:
            expected = value
            break
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    assert quantile(values, weights, target) == expected
