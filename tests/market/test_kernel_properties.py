"""`clear`: what holds for every book, against a solver that shares nothing with it."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market import reference
from tests.strategies import books, fills_by_id, shuffled

from fairwatt.market import Book, Side, check, clear

many = settings(max_examples=150, deadline=None)


@many
@given(books())
def test_gap_is_exactly_zero(book: Book) -> None:
    proof = check(book, clear(book))
    assert proof.welfare == proof.dual_bound


@many
@given(books())
def test_welfare_and_then_traded_energy_are_the_largest_possible(book: Book) -> None:
    clearing = clear(book)
    traded = int(clearing.fills_wh[book.side == Side.BID].sum())
    assert (check(book, clearing).welfare, traded) == reference.best(book)


@many
@given(books(max_orders=5, max_nodes=3, max_links=4, wide=False))
def test_prices_are_the_midpoints_of_all_optimal_prices(book: Book) -> None:
    clearing = clear(book)
    assert clearing.prices_micro_per_kwh.tolist() == reference.midpoints(book, clearing)


@many
@given(books(), st.randoms(use_true_random=False))
def test_sequence_of_the_orders_does_not_matter(book: Book, chance: random.Random) -> None:
    order = chance.sample(range(len(book)), len(book))
    other = shuffled(book, order)
    one, two = clear(book), clear(other)
    assert fills_by_id(book, one) == fills_by_id(other, two)
    assert one.prices_micro_per_kwh.tolist() == two.prices_micro_per_kwh.tolist()
    assert one.flows_wh.tolist() == two.flows_wh.tolist()


@many
@given(books())
def test_same_book_clears_the_same_twice(book: Book) -> None:
    assert clear(book) == clear(book)


@many
@given(books())
def test_nobody_trades_beyond_the_limit_price(book: Book) -> None:
    clearing = clear(book)
    price = clearing.prices_micro_per_kwh[book.node]
    trades = clearing.fills_wh > 0
    bids, asks = trades & (book.side == Side.BID), trades & (book.side == Side.ASK)
    assert (price[bids] <= book.price_micro_per_kwh[bids]).all()
    assert (price[asks] >= book.price_micro_per_kwh[asks]).all()


@many
@given(books(wide=False))
def test_equal_orders_differ_by_less_than_a_watt_hour_from_their_share(book: Book) -> None:
    clearing = clear(book)
    for at in range(len(book)):
        same = (
            (book.node == book.node[at])
            & (book.side == book.side[at])
            & (book.price_micro_per_kwh == book.price_micro_per_kwh[at])
        )
        total, filled = int(book.energy_wh[same].sum()), int(clearing.fills_wh[same].sum())
        assert abs(int(clearing.fills_wh[at]) * total - int(book.energy_wh[at]) * filled) < max(
            1, total
        )
