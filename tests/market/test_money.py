"""`payments`: who pays whom, to the last nano-token."""

from __future__ import annotations

from hypothesis import given, settings
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import INT32_MAX, INT32_MIN, UINT40_MAX, books

from fairwatt.market import Book, Link, clear, payments


def test_bids_pay_and_asks_receive_the_price_of_their_node() -> None:
    some = book(ask("s", 10, 5), bid("b", 20, 5))
    assert payments(some, clear(some)).orders_nano == (75, -75)


def test_tariff_goes_to_the_owner_and_the_rest_of_the_spread_to_the_fund() -> None:
    on = network("a", "b", links=(Link("a", "b", 3, 4, owner="dso"),))
    some = book(ask("s", 7, 9, "a"), bid("b", 20, 6, "b"), on=on)
    paid = payments(some, clear(some))
    assert paid.orders_nano == (28, -80)
    assert paid.tariffs_nano == (12,)
    assert paid.rents_nano == (40,)


def test_who_sells_at_a_negative_price_pays() -> None:
    some = book(ask("s", -50, 3), bid("b", -20, 9))
    assert payments(some, clear(some)).orders_nano == (-60, 60)


def test_largest_amounts_are_exact() -> None:
    on = network("a", "b", links=(Link("a", "b", 0, UINT40_MAX),), floor=INT32_MIN, cap=INT32_MAX)
    low = [ask("s", INT32_MIN, UINT40_MAX, "a"), ask("s2", INT32_MIN, 1, "a")]
    high = [bid("b", INT32_MAX, UINT40_MAX, "b"), bid("b2", INT32_MAX, 1, "b")]
    some = book(*low, *high, on=on)
    paid = payments(some, clear(some))
    assert sum(paid.rents_nano) == UINT40_MAX * (INT32_MAX - INT32_MIN)
    assert paid.total_nano() == 0


@settings(max_examples=150, deadline=None)
@given(books())
def test_everything_sums_to_zero_and_no_rent_is_negative(some: Book) -> None:
    paid = payments(some, clear(some))
    assert paid.total_nano() == 0
    assert min((*paid.tariffs_nano, *paid.rents_nano), default=0) >= 0
