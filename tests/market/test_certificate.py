"""`certify` and `witnesses`; and two honest solvers that share nothing come to the same bytes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market import second_solver
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import UINT40_MAX, books

from fairwatt.errors import ClearingError, KernelError
from fairwatt.market import (
    Book,
    Certificate,
    Clearing,
    LimitOrder,
    Link,
    Network,
    Side,
    certify,
    clear,
    verify,
    witnesses,
)

many = settings(max_examples=150, deadline=None)
TRADE_TAIL = 2**41


def numbers(some: Book) -> dict[str, list[int]]:
    clearing = clear(some)
    certificate = certify(some, clearing)
    verify(some, clearing, certificate)
    return {field: column.tolist() for field, column in certificate.columns().items()}


def full_of_ties(seed: int) -> Book:
    """A network where most of what could be equal is."""
    draw = random.Random(seed)
    names = tuple(f"n{at}" for at in range(draw.randint(1, 7)))
    links = [
        Link(*draw.sample(names, 2), draw.choice([0, 0, 0, 1]), draw.randint(0, 9))
        for _ in range(draw.randint(2, 5) * len(names) if len(names) > 1 else 0)
    ]
    count = draw.randint(0, 16)
    sides = draw.choices(list(Side), k=count)
    return Book.of(
        Network(names, tuple(links), -3, 5, seed.to_bytes(32, "big")),
        [
            LimitOrder(
                f"o{at:02}",
                "p",
                draw.choice(names),
                sides[at],
                draw.randint(0, 2) + (sides[at] is Side.BID) * draw.randint(0, 2),
                draw.randint(0, 6),
            )
            for at in draw.sample(range(count), count)
        ],
    )


def same_as_the_second_solver(some: Book, chance: random.Random) -> None:
    clearing = clear(some)
    certificate = certify(some, clearing)
    verify(some, clearing, certificate)
    other = second_solver.answer(some, chance)
    assert clearing == Clearing(other.fills, other.flows, other.prices)
    assert certificate == Certificate(**other.certificate)


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_two_solvers__networks_full_of_ties__agree_on_everything(first: int) -> None:
    for seed in range(first, first + 100):
        same_as_the_second_solver(full_of_ties(seed), random.Random(seed))


@many
@given(books(), st.randoms(use_true_random=False))
def test_two_solvers__any_book__agree_on_everything(some: Book, chance: random.Random) -> None:
    same_as_the_second_solver(some, chance)


def test_certify__no_order_at_the_price__range_is_between_the_orders() -> None:
    found = numbers(book(ask("s", 10, 5), bid("b", 21, 5)))
    assert (found["low"], found["high"]) == ([10], [21])
    assert (found["low_rank"], found["high_rank"], found["tail"]) == ([0], [0], [0])
    assert found["ask_total"] == found["bid_total"] == [0]


def test_certify__orders_at_the_price__are_summed_by_side() -> None:
    found = numbers(book(ask("s", 7, 5), ask("t", 7, 4), bid("b", 7, 3), bid("c", 9, 1)))
    assert found["low"] == found["high"] == [7]
    assert (found["ask_fill"], found["ask_total"]) == ([4], [9])
    assert (found["bid_fill"], found["bid_total"]) == ([3], [3])
    assert found["tail"] == [0]


def test_certify__bids_share__tail_is_what_a_trade_is_worth() -> None:
    assert numbers(book(ask("s", 5, 60), bid("x", 9, 40), bid("y", 9, 40)))["tail"] == [TRADE_TAIL]


def test_certify__price_comes_over_links__ranks_count_them() -> None:
    on = network("a", "b", "c", links=(Link("a", "b", 3, 9), Link("b", "c", 3, 9)))
    found = numbers(book(ask("s", 7, 9, "a"), bid("b", 20, 4, "c"), on=on))
    assert found["low"] == found["high"] == [7, 10, 13]
    assert found["low_rank"] == found["high_rank"] == [0, 1, 2]
    first, second = on.tails.tolist()
    assert found["tail"] == [0, first, first + second]


def test_certify__ends_of_a_full_link__have_prices_of_their_own() -> None:
    on = network("a", "b", links=(Link("a", "b", 3, 4),))
    found = numbers(book(ask("s", 7, 9, "a"), bid("b", 20, 6, "b"), on=on))
    assert (found["low"], found["low_rank"]) == ([7, 20], [0, 0])


def test_certify__empty_book__floor_and_cap_hold_every_price() -> None:
    found = numbers(book(on=network("a", "b", floor=-10, cap=25)))
    assert (found["low"], found["high"]) == ([-10, -10], [25, 25])
    assert found["low_rank"] == found["high_rank"] == [0, 0]


def test_certify__largest_energies__stay_exact() -> None:
    asks = [ask(f"s{at:04}", 1, UINT40_MAX) for at in range(2000)]
    bids = [bid(f"b{at:04}", 1, UINT40_MAX - at) for at in range(2000)]
    found = numbers(book(*asks, *bids))
    assert found["ask_total"] == [2000 * UINT40_MAX]
    assert found["ask_fill"] == found["bid_total"] == [2000 * UINT40_MAX - 1000 * 1999]


def test_certify__clearing_that_is_no_optimum__is_refused() -> None:
    some = book(ask("s", 10, 5), bid("b", 20, 5))
    with pytest.raises(KernelError, match="not an exact optimum"):
        certify(some, Clearing([3, 3], [], [15]))


def test_certify__less_traded_than_possible_at_equal_welfare__is_refused() -> None:
    some = book(ask("s", 7, 5), bid("b", 7, 5))
    with pytest.raises(KernelError, match="not the optimum that the tie rules choose"):
        certify(some, Clearing([3, 3], [], [7]))


def test_certify__way_of_the_larger_tail__is_refused() -> None:
    on = network("a", "b", links=(Link("a", "b", 0, 9, tail=1), Link("a", "b", 0, 9, tail=2)))
    some = book(ask("s", 7, 5, "a"), bid("b", 20, 4, "b"), on=on)
    assert clear(some).flows_wh.tolist() == [4, 0]
    with pytest.raises(KernelError, match="cheaper cycle"):
        certify(some, Clearing([4, 4], [0, 4], [7, 7]))


def test_witnesses__first_of_the_orders_at_the_price_by_id() -> None:
    orders = ask("t", 10, 1), bid("nil", 10, 0), ask("s", 10, 4), bid("k", 20, 5), ask("j", 20, 5)
    some = book(*orders)
    found = witnesses(some, certify(some, clear(some)))
    assert (found.low.tolist(), found.high.tolist()) == ([2], [4])


def test_witnesses__none_at_floor_and_cap_over_links_and_where_the_price_is_one() -> None:
    on = network("a", "b", "c", "d", links=(Link("a", "b", 0, 9),), floor=-10, cap=25)
    orders = (
        ask("s", 5, 5, "a"),
        bid("b", 9, 5, "b"),
        ask("f", -10, 1, "c"),
        bid("g", -10, 1, "c"),
    )
    some = book(*orders, on=on)
    certificate = certify(some, clear(some))
    assert certificate.low.tolist() == [5, 5, -10, -10]
    assert certificate.high.tolist() == [9, 9, -10, 25]
    found = witnesses(some, certificate)
    assert (found.low.tolist(), found.high.tolist()) == ([0, -1, -1, -1], [-1, 1, -1, -1])


@many
@given(books())
def test_witnesses__every_price_without_another_support_has_one(some: Book) -> None:
    certificate = certify(some, clear(some))
    found = witnesses(some, certificate)
    network = some.network
    for price, rank, bound, line in (
        (certificate.low, certificate.low_rank, network.price_floor_micro_per_kwh, found.low),
        (certificate.high, certificate.high_rank, network.price_cap_micro_per_kwh, found.high),
    ):
        needed = (certificate.low < certificate.high) & (rank == 0) & (price != bound)
        assert ((line >= 0) == needed).all()
        assert (some.price_micro_per_kwh[line[needed]] == price[needed]).all()
        assert (some.node[line[needed]] == np.flatnonzero(needed)).all()


@pytest.mark.parametrize(
    ("field", "value"), [("low", 2**31), ("high", -(2**31) - 1), ("low_rank", -1), ("ask_fill", -1)]
)
def test_certificate__number_that_no_contract_could_take__is_refused(
    field: str, value: int
) -> None:
    columns = {key: [0] for key in Certificate.__dataclass_fields__} | {field: [value]}
    with pytest.raises(ClearingError, match=rf"{field}\[0\]"):
        Certificate(**columns)
