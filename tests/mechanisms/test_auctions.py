"""Auctions on one node: the sequence of a continuous double auction, and pay-as-bid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import books

from fairwatt import market
from fairwatt.errors import MechanismError
from fairwatt.market import Book, Side
from fairwatt.mechanisms import (
    Auction,
    Trade,
    continuous_double_auction,
    efficiency,
    pay_as_bid,
    uniform_price,
)

if TYPE_CHECKING:
    from fairwatt.mechanisms import PairPrice

ONE_NODE = books(max_nodes=1)
PRICES: tuple[PairPrice, ...] = ("own", "bid", "ask", "midpoint")


def require_sound(auction: Auction) -> None:
    """Whoever trades keeps to their order; energy and money come from somewhere."""
    on = auction.book
    fills = auction.fills_wh.tolist()
    assert all(0 <= fill <= energy for fill, energy in zip(fills, on.energy_wh, strict=True))
    bought = sum(fill for fill, side in zip(fills, on.side, strict=True) if side == Side.BID)
    assert bought == sum(fills) - bought == sum(trade.energy_wh for trade in auction.trades)
    limit = dict(zip(on.ids, on.price_micro_per_kwh.tolist(), strict=True))
    for trade in auction.trades:
        assert trade.energy_wh > 0
        assert limit[trade.ask] <= trade.received_micro_per_kwh
        assert trade.received_micro_per_kwh <= trade.paid_micro_per_kwh <= limit[trade.bid]
    assert sum(auction.payments_nano) + auction.manager_nano == 0
    assert auction.manager_nano >= 0
    worth = [limit[id_] * fill for id_, fill in zip(on.ids, fills, strict=True)]
    signs = [1 if side == Side.BID else -1 for side in on.side]
    assert auction.welfare_nano == sum(s * w for s, w in zip(signs, worth, strict=True))


def optimum_nano(on: Book) -> int:
    return market.check(on, market.clear(on)).welfare


# Continuous double auction


def test_continuous__worked_sequence__book_and_trades_after_every_step() -> None:
    on = book(
        bid("b1", 20, 10),
        ask("s1", 30, 8),
        ask("s2", 25, 4),
        bid("b2", 22, 5),
        bid("b3", 31, 9),
        ask("s3", 18, 12),
    )
    steps = continuous_double_auction(on).steps
    assert [(s.order, s.improves, s.rests_wh) for s in steps] == [
        ("b1", True, 10),
        ("s1", True, 8),
        ("s2", True, 4),
        ("b2", True, 5),
        ("b3", True, 0),
        ("s3", True, 0),
    ]
    assert [(s.best_bid_micro_per_kwh, s.best_ask_micro_per_kwh) for s in steps] == [
        (20, None),
        (20, 30),
        (20, 25),
        (22, 25),
        (22, 30),
        (20, 30),
    ]
    assert [s.spread_micro_per_kwh for s in steps] == [None, 10, 5, 3, 8, 10]
    assert [s.trades for s in steps[:4]] == [()] * 4
    assert steps[4].trades == (Trade("b3", "s2", 4, 25, 25), Trade("b3", "s1", 5, 30, 30))
    assert steps[5].trades == (Trade("b2", "s3", 5, 22, 22), Trade("b1", "s3", 7, 20, 20))


def test_continuous__worked_sequence__fills_payments_and_welfare() -> None:
    on = book(bid("b", 30, 10), ask("s1", 20, 4), ask("s2", 25, 8))
    auction = continuous_double_auction(on)
    assert auction.fills_wh.tolist() == [10, 4, 6]
    assert auction.payments_nano == (-300, 120, 180)
    assert auction.manager_nano == 0
    assert auction.welfare_nano == 300 - 80 - 150
    assert efficiency(auction) == 1.0


def test_continuous__new_ask_crosses__pays_the_price_of_the_resting_bid() -> None:
    auction = continuous_double_auction(book(bid("b", 30, 5), ask("s", 10, 5)))
    assert auction.trades == (Trade("b", "s", 5, 30, 30),)


def test_continuous__new_bid_crosses__pays_the_price_of_the_resting_ask() -> None:
    auction = continuous_double_auction(book(ask("s", 10, 5), bid("b", 30, 5)))
    assert auction.trades == (Trade("b", "s", 5, 10, 10),)


def test_continuous__same_price__the_earlier_order_trades_first() -> None:
    on = book(ask("late", 10, 5), ask("early", 10, 5), bid("b", 30, 5))
    auction = continuous_double_auction(on, ["early", "late", "b"])
    assert auction.trades == (Trade("b", "early", 5, 10, 10),)
    assert [step.improves for step in auction.steps] == [True, False, True]


def test_continuous__better_price__trades_before_the_earlier_order() -> None:
    on = book(ask("early", 11, 5), ask("better", 10, 5), bid("b", 30, 5))
    assert [t.ask for t in continuous_double_auction(on).trades] == ["better"]


def test_continuous__partly_filled_order__keeps_its_place_in_the_queue() -> None:
    on = book(ask("s1", 10, 5), ask("s2", 10, 5), bid("b1", 30, 2), bid("b2", 30, 4))
    trades = continuous_double_auction(on).trades
    assert [(t.bid, t.ask, t.energy_wh) for t in trades] == [
        ("b1", "s1", 2),
        ("b2", "s1", 3),
        ("b2", "s2", 1),
    ]


def test_continuous__limits_meet__trade() -> None:
    assert len(continuous_double_auction(book(ask("s", 10, 5), bid("b", 10, 5))).trades) == 1


def test_continuous__order_without_energy__arrives_and_changes_nothing() -> None:
    steps = continuous_double_auction(book(bid("b", 9, 5), bid("none", 10, 0))).steps
    assert steps[1].improves is False
    assert steps[1].best_bid_micro_per_kwh == 9


def test_continuous__nobody__has_no_steps() -> None:
    auction = continuous_double_auction(book())
    assert (auction.steps, auction.trades, auction.welfare_nano) == ((), (), 0)
    assert efficiency(auction) == 1.0


def test_continuous__bad_luck_with_arrivals__loses_welfare() -> None:
    on = book(ask("dear", 19, 5), ask("cheap", 1, 5), bid("rich", 20, 5), bid("poor", 2, 5))
    lucky = continuous_double_auction(on, ["cheap", "rich", "dear", "poor"])
    unlucky = continuous_double_auction(on, ["cheap", "poor", "dear", "rich"])
    assert efficiency(lucky) == 1.0
    assert unlucky.welfare_nano == 5 * (2 - 1) + 5 * (20 - 19)
    assert efficiency(unlucky) == pytest.approx(10 / 95)


@given(on=ONE_NODE, data=st.data())
def test_continuous__any_book_and_sequence__is_sound(on: Book, data: st.DataObject) -> None:
    arrivals = data.draw(st.permutations(on.ids))
    auction = continuous_double_auction(on, arrivals)
    require_sound(auction)
    assert auction.manager_nano == 0
    assert [step.order for step in auction.steps] == list(arrivals)
    assert all(s.spread_micro_per_kwh is None or s.spread_micro_per_kwh > 0 for s in auction.steps)
    assert auction.welfare_nano <= optimum_nano(on)


@given(on=ONE_NODE, data=st.data())
def test_continuous__any_book__steps_tell_the_whole_story(on: Book, data: st.DataObject) -> None:
    """Best prices recomputed from nothing but the orders that have arrived and the trades made."""
    auction = continuous_double_auction(on, data.draw(st.permutations(on.ids)))
    side = dict(zip(on.ids, on.side.tolist(), strict=True))
    price = dict(zip(on.ids, on.price_micro_per_kwh.tolist(), strict=True))
    left: dict[str, int] = {}
    energy = dict(zip(on.ids, on.energy_wh.tolist(), strict=True))
    for step in auction.steps:
        left[step.order] = energy[step.order]
        for trade in step.trades:
            left[trade.bid] -= trade.energy_wh
            left[trade.ask] -= trade.energy_wh
        bids = [price[id_] for id_, some in left.items() if some and side[id_] == Side.BID]
        asks = [price[id_] for id_, some in left.items() if some and side[id_] == Side.ASK]
        assert step.best_bid_micro_per_kwh == max(bids, default=None)
        assert step.best_ask_micro_per_kwh == min(asks, default=None)
        assert step.rests_wh == left[step.order]


def test_continuous__unknown_order__is_named() -> None:
    with pytest.raises(MechanismError, match=r"arrivals\[1\]: there is no order 'x'"):
        continuous_double_auction(book(bid("b", 9, 5)), ["b", "x"])


def test_continuous__order_arrives_twice__is_named() -> None:
    with pytest.raises(MechanismError, match=r"arrivals\[1\]: 'b' arrives twice"):
        continuous_double_auction(book(bid("b", 9, 5)), ["b", "b"])


def test_continuous__order_never_arrives__is_named() -> None:
    with pytest.raises(MechanismError, match=r"arrivals: 'k' never arrives"):
        continuous_double_auction(book(bid("b", 9, 5), bid("k", 9, 5)), ["b"])


# Pay-as-bid

PAIRS = (ask("s1", 10, 4), ask("s2", 15, 6), bid("b1", 31, 5), bid("b2", 20, 9))


def test_pay_as_bid__merit_order__best_with_best() -> None:
    trades = pay_as_bid(book(*PAIRS)).trades
    assert [(t.bid, t.ask, t.energy_wh) for t in trades] == [
        ("b1", "s1", 4),
        ("b1", "s2", 1),
        ("b2", "s2", 5),
    ]


@pytest.mark.parametrize(
    ("price", "payments", "manager"),
    [
        ("own", (40, 90, -155, -100), 125),
        ("bid", (124, 131, -155, -100), 0),
        ("ask", (40, 90, -55, -75), 0),
        ("midpoint", (80, 108, -103, -85), 0),
    ],
)
def test_pay_as_bid__price__says_who_keeps_the_spread(
    price: PairPrice, payments: tuple[int, ...], manager: int
) -> None:
    auction = pay_as_bid(book(*PAIRS), price)
    assert auction.payments_nano == payments
    assert auction.manager_nano == manager


def test_pay_as_bid__odd_midpoint_below_zero__rounds_down() -> None:
    auction = pay_as_bid(book(ask("s", -6, 4), bid("b", -1, 4)), "midpoint")
    assert auction.trades == (Trade("b", "s", 4, -4, -4),)


def test_pay_as_bid__equal_limits__the_earlier_order_trades_first() -> None:
    on = book(ask("s1", 5, 3), ask("s2", 5, 3), bid("b1", 9, 2), bid("b2", 9, 2))
    pairs = [(t.bid, t.ask) for t in pay_as_bid(on, arrivals=["b2", "s2", "b1", "s1"]).trades]
    assert pairs == [("b2", "s2"), ("b1", "s2"), ("b1", "s1")]


def test_pay_as_bid__limits_do_not_meet__no_trade() -> None:
    auction = pay_as_bid(book(ask("s", 9, 5), bid("b", 8, 5)))
    assert (auction.trades, auction.payments_nano) == ((), (0, 0))


@pytest.mark.parametrize("price", PRICES)
@given(on=ONE_NODE, data=st.data())
def test_pay_as_bid__any_book__is_sound_and_optimal(
    price: PairPrice, on: Book, data: st.DataObject
) -> None:
    auction = pay_as_bid(on, price, data.draw(st.permutations(on.ids)))
    require_sound(auction)
    assert auction.welfare_nano == optimum_nano(on)
    assert efficiency(auction) == 1.0
    if price == "own":
        assert auction.manager_nano == auction.welfare_nano
    else:
        assert auction.manager_nano == 0


def test_pay_as_bid__truth_told__a_lie_pays() -> None:
    """Who pays the own bid gains by bidding less."""
    others = (ask("s", 10, 5), bid("other", 15, 5))
    truthful = pay_as_bid(book(*others, bid("b", 30, 5)))
    shaded = pay_as_bid(book(*others, bid("b", 16, 5)))
    assert truthful.fills_wh[2] == shaded.fills_wh[2] == 5
    assert 5 * 30 + truthful.payments_nano[2] == 0
    assert 5 * 30 + shaded.payments_nano[2] == 5 * 14


def test_pay_as_bid__unknown_price__is_refused() -> None:
    with pytest.raises(MechanismError, match="price: must be one of own, bid, ask, midpoint"):
        pay_as_bid(book(*PAIRS), "average")  # type: ignore[arg-type]


# One price


@given(on=ONE_NODE)
def test_uniform_price__any_book__is_the_clearing_of_the_kernel(on: Book) -> None:
    auction, clearing = uniform_price(on), market.clear(on)
    require_sound(auction)
    assert auction.fills_wh.tolist() == clearing.fills_wh.tolist()
    assert auction.payments_nano == market.payments(on, clearing).orders_nano
    assert auction.manager_nano == 0


@pytest.mark.parametrize("auction", [continuous_double_auction, pay_as_bid, uniform_price])
def test_auction__more_than_one_node__is_refused(auction: object) -> None:
    two = book(bid("b", 9, 5), on=network("a", "b"))
    message = "book.network.nodes: there are 2, but an auction knows no network"
    with pytest.raises(MechanismError, match=re.escape(message)):
        auction(two)  # type: ignore[operator]
