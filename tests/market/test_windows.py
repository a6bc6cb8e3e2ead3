"""Networks clear by looking at the orders near their prices; nothing changes but the time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market import reference
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import books, fills_by_id, shuffled

from fairwatt.market import Book, Link, Network, Side, _windows, check, clear, kernel

many = settings(max_examples=80, deadline=None)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a few slices, also for the smallest books."""
    monkeypatch.setattr(_windows, "_FEW", 0)
    monkeypatch.setattr(_windows, "_FEW_AT_NODE", 0)
    monkeypatch.setattr(_windows, "_SLICES", 8)


def random_book(seed: int, nodes: int, orders: int, prices: int, *, links: int) -> Book:
    draw = np.random.default_rng(seed)
    names = tuple(f"n{at}" for at in range(nodes))
    ends = [draw.choice(nodes, 2, replace=False) for _ in range(links)] if nodes > 1 else []
    on = Network(
        names,
        tuple(
            Link(names[tail], names[head], int(draw.integers(0, prices)), int(draw.integers(0, 99)))
            for tail, head in ends
        ),
        -2 * prices,
        2 * prices,
    )
    return Book.from_columns(
        on,
        ids=[f"o{at}" for at in draw.permutation(orders)],
        peers=["p"] * orders,
        node=draw.integers(0, nodes, orders),
        side=draw.integers(0, 2, orders),
        price_micro_per_kwh=draw.integers(-prices, prices, orders),
        energy_wh=draw.integers(0, 30, orders),
    )


@many
@given(books(max_orders=14))
def test_clear__narrow_windows__welfare_and_then_traded_energy_are_the_largest(some: Book) -> None:
    clearing = kernel.clear_network(some)
    traded = int(clearing.fills_wh[some.side == Side.BID].sum())
    assert (check(some, clearing).welfare, traded) == reference.best(some)


@many
@given(
    st.integers(0, 2**32), st.integers(1, 8), st.integers(0, 300), st.sampled_from([3, 50, 10**6])
)
def test_clear__narrow_windows__everything_as_with_all_orders(
    seed: int, nodes: int, orders: int, prices: int
) -> None:
    some = random_book(seed, nodes, orders, prices, links=3 * nodes)
    clearing = kernel.clear_network(some)
    check(some, clearing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_windows, "_FEW", 10**9)
        other = kernel.clear_network(some)
    assert clearing == other


@many
@given(books(max_orders=14), st.randoms(use_true_random=False))
def test_clear__narrow_windows__sequence_of_the_orders_does_not_matter(
    some: Book, chance: random.Random
) -> None:
    other = shuffled(some, chance.sample(range(len(some)), len(some)))
    one, two = clear(some), clear(other)
    assert fills_by_id(some, one) == fills_by_id(other, two)
    assert one.prices_micro_per_kwh.tolist() == two.prices_micro_per_kwh.tolist()
    assert one.flows_wh.tolist() == two.flows_wh.tolist()


def test_clear__windows_in_the_wrong_place__are_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(some: Book) -> tuple[_windows.Window, np.ndarray]:  # type: ignore[type-arg]
        edge = np.full(2, 90)
        return _windows.Window.whole(some).narrowed(some, edge, edge), edge

    on = network("a", "b", links=(Link("a", "b", 3, 10),))
    orders = ask("s", 7, 9, "a"), ask("t", 95, 9, "a"), bid("b", 20, 4, "b"), bid("c", -5, 9, "a")
    some = book(*orders, on=on)
    expected = clear(some)
    monkeypatch.setattr(kernel, "near_prices", wrong)
    assert clear(some) == expected
    assert expected.prices_micro_per_kwh.tolist() == [7, 10]


def test_near_prices__many_orders__few_of_them_are_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_windows, "_FEW", 100)
    some = random_book(1, 5, 20_000, 10**6, links=15)
    window, guess = _windows.near_prices(some)
    assert window.inside.size < 500
    assert ((window.low <= guess) & (guess <= window.high)).all()
    assert window.below.sum() + window.above.sum() + some.energy_wh[window.inside].sum() == (
        some.total_energy_wh
    )
