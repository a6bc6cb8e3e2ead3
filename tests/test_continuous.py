"""Continuous trading off chain: orders in documents, and the book by price and time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from fairwatt.continuous import ContinuousBook, ContinuousOrder, Pair, SignedContinuousOrder
from fairwatt.eip712 import Domain
from fairwatt.errors import FairwattError, OrderError
from fairwatt.market import Side
from fairwatt.mechanisms import continuous_double_auction
from tests.market.shorthand import ask as line_ask
from tests.market.shorthand import bid as line_bid
from tests.market.shorthand import book as one_node

if TYPE_CHECKING:
    from collections.abc import Iterable

START = 1_900_000_800
KEY = Account.from_key(b"\5" * 32)
DOMAIN = Domain(31337, "0x" + "11" * 20)
NOW = START - 600
UNTIL = START


def order(peer: int, side: Side, price: int, energy_wh: int, **more: Any) -> SignedContinuousOrder:
    """Rests from the start, unless said otherwise; unsigned, as the book does not look."""
    fields = {"session_start": START, "first_period": 0, "periods": 1, "valid_until": UNTIL}
    made = ContinuousOrder(1, peer, side=side, price_micro_per_kwh=price, energy_wh=energy_wh,
                           **fields | more)  # fmt: skip
    return SignedContinuousOrder(made, b"")


def ask(peer: int, price: int, energy_wh: int, **more: Any) -> SignedContinuousOrder:
    return order(peer, Side.ASK, price, energy_wh, **more)


def bid(peer: int, price: int, energy_wh: int, **more: Any) -> SignedContinuousOrder:
    return order(peer, Side.BID, price, energy_wh, **more)


def matched(*orders: SignedContinuousOrder, now: int = NOW, **book: Any) -> list[Any]:
    """Resting peer, incoming peer, energy and price of what trades."""
    floor = ContinuousBook(**book)
    for signed in orders:
        floor.add(signed)
    return shown(floor.match(now))


def shown(pairs: Iterable[Pair]) -> list[Any]:
    return [
        (
            pair.resting.order.peer,
            pair.incoming.order.peer,
            pair.energy_wh,
            pair.price_micro_per_kwh,
        )
        for pair in pairs
    ]


# ---------------------------------------------------------------------------------------- documents


def test_order__signed__survives_its_document_and_names_its_signer() -> None:
    plain = bid(7, -20, 900, periods=3, rests_from=NOW, nonce=4, counterparty=2).order
    signed = plain.signed_by(KEY, DOMAIN)
    document = signed.to_document()
    assert document["order"]["side"] == "bid"
    assert SignedContinuousOrder.from_document(document) == signed
    assert signed.signer(DOMAIN) == KEY.address
    assert replace(signed, order=replace(plain, energy_wh=901)).signer(DOMAIN) != KEY.address
    assert ContinuousOrder.from_document(plain.to_message()) == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energyWh": 0}, "energyWh: must be 1 to 4294967295, not 0"),
        ({"energyWh": 1.5}, "energyWh: must be a whole number, not 1.5"),
        ({"periods": 0}, "periods: must be 1 to 65535, not 0"),
        ({"priceMicroPerKWh": 1 << 31}, "priceMicroPerKWh: must be -2147483648 to 2147483647"),
        ({"side": "sell"}, 'side: must be "bid" (0) or "ask" (1), not "sell"'),
        ({"side": True}, 'side: must be "bid" (0) or "ask" (1), not true'),
        ({"validTo": 1}, "validTo: is unknown; fields are market, peer,"),
        ({"nonce": None}, "nonce: must be a whole number, not null"),
    ],
    ids=str,
)
def test_order__bad_document__says_where(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OrderError) as refusal:
        ContinuousOrder.from_document(bid(1, 1, 1).order.to_document() | change)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("document", [[], {}, {"order": {}}, {"order": [], "signature": "0x"},
                                      {"order": {}, "signature": "0x"}])  # fmt: skip
def test_signed_order__no_order__is_refused(document: Any) -> None:
    with pytest.raises(FairwattError):
        SignedContinuousOrder.from_document(document)


# --------------------------------------------------------------------------------------------- book


def test_match__incoming_order__takes_the_best_prices_first_then_the_earliest() -> None:
    taker = bid(9, 60, 10, rests_from=UNTIL)
    asks = [ask(1, 50, 3), ask(2, 40, 3), ask(3, 50, 3), ask(4, 40, 2), ask(5, 61, 9)]
    assert matched(*asks, taker) == [(2, 9, 3, 40), (4, 9, 2, 40), (1, 9, 3, 50), (3, 9, 2, 50)]


def test_match__what_is_left_of_an_incoming_order__rests_at_its_time() -> None:
    floor = ContinuousBook()
    first = bid(9, 60, 10, rests_from=NOW + 60)
    floor.add(ask(1, 50, 4))
    floor.add(first)
    assert shown(floor.match(NOW)) == [(1, 9, 4, 50)]
    floor.add(ask(2, 30, 3, rests_from=NOW + 120))
    assert floor.match(NOW + 59) == []  # both are incoming
    assert shown(floor.match(NOW + 60)) == [(9, 2, 3, 60)]
    assert floor.left_wh(first.order) == 3
    assert floor.orders(NOW + 60) == [first]
    assert floor.orders(UNTIL + 1) == []


@pytest.mark.parametrize(
    "orders",
    [
        (ask(1, 50, 1), bid(2, 50, 1)),
        (ask(1, 50, 1, rests_from=UNTIL), bid(2, 50, 1, rests_from=UNTIL)),
        (ask(1, 51, 1), bid(2, 50, 1, rests_from=UNTIL)),
        (ask(1, 50, 1), bid(1, 50, 1, rests_from=UNTIL, nonce=1)),
        (ask(1, 50, 1, counterparty=3), bid(2, 50, 1, rests_from=UNTIL)),
        (ask(1, 50, 1), bid(2, 50, 1, rests_from=UNTIL, counterparty=3)),
        (ask(1, 50, 1, periods=2), bid(2, 50, 1, rests_from=UNTIL)),
        (ask(1, 50, 1, valid_until=NOW - 1), bid(2, 50, 1, rests_from=UNTIL)),
        (ask(1, 50, 1), bid(2, 50, 1, rests_from=UNTIL, valid_until=NOW - 1)),
    ],
    ids=("both rest", "both incoming", "no cross", "one peer", "resting names another",
         "incoming names another", "other product", "resting expired", "incoming expired"),
)  # fmt: skip
def test_match__what_the_contract_would_refuse__does_not_trade(orders: Any) -> None:
    assert matched(*orders) == []


def test_match__peers_of_two_nodes__do_not_trade() -> None:
    taker = bid(3, 60, 5, rests_from=UNTIL)
    nodes = {1: 0, 2: 1, 3: 1}
    assert matched(ask(1, 10, 5), ask(2, 50, 5), taker, nodes=nodes) == [(2, 3, 5, 50)]


def test_match__named_partner__is_found_behind_better_prices() -> None:
    taker = bid(3, 60, 5, rests_from=UNTIL, counterparty=2)
    assert matched(ask(1, 10, 5), ask(2, 50, 5), taker) == [(2, 3, 5, 50)]


def test_match__replaced_order__counts_on_under_its_nonce() -> None:
    floor = ContinuousBook()
    floor.add(ask(1, 50, 10), traded_wh=7)
    floor.add(bid(2, 50, 2, rests_from=UNTIL))
    assert shown(floor.match(NOW)) == [(1, 2, 2, 50)]
    floor.add(ask(1, 40, 10))  # the same nonce: 1 Wh is left of both
    floor.add(bid(3, 50, 9, rests_from=UNTIL))
    assert shown(floor.match(NOW)) == [(1, 3, 1, 40)]


def test_refuse__pair__lets_both_trade_with_others() -> None:
    floor = ContinuousBook()
    for signed in (ask(1, 40, 5), ask(2, 50, 5), bid(3, 60, 5, rests_from=UNTIL)):
        floor.add(signed)
    pair = floor.next_pair(NOW)
    assert pair is not None
    floor.refuse(pair)
    assert shown(floor.match(NOW)) == [(2, 3, 5, 50)]


@given(
    st.lists(st.tuples(st.sampled_from(Side), st.integers(-3, 3), st.integers(1, 5)), max_size=25)
)
def test_match__orders_one_by_one__is_the_continuous_double_auction(lines: list[Any]) -> None:
    """Every order takes as it arrives and rests before the next does: the mechanism's sequence."""
    floor, pairs = ContinuousBook(), []
    made = []
    for at, (side, price, energy) in enumerate(lines):
        make = line_ask if side is Side.ASK else line_bid
        made.append(make(str(at), price, energy))
        floor.add(order(at + 1, side, price, energy, rests_from=NOW + at + 1))
        pairs += floor.match(NOW + at)
    trades = continuous_double_auction(one_node(*made)).trades if made else ()
    assert [
        (str(pair.seller - 1), str(pair.buyer - 1), pair.energy_wh, pair.price_micro_per_kwh)
        for pair in pairs
    ] == [(trade.ask, trade.bid, trade.energy_wh, trade.paid_micro_per_kwh) for trade in trades]
    value = Counter[int]()
    for pair in pairs:
        value[pair.seller] += pair.value_nano
        value[pair.buyer] -= pair.value_nano
    assert sum(value.values()) == 0
