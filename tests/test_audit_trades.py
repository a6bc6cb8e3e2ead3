"""The rules of continuous trades as the audit keeps them: one deviation at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairwatt.audit import Accounts
from fairwatt.audit._accounts import Unbacked
from fairwatt.audit._trades import Trading
from fairwatt.chain import Peer, Role, Standing
from fairwatt.continuous import ContinuousOrder, Pair, SignedContinuousOrder
from fairwatt.market import Side
from tests.sessions import CAP, START, session

NOW = START - 300
SESSION = session(4)
OFFER = ContinuousOrder(1, 5, START, 1, 2, Side.ASK, 50, 400, START)
WANTED = ContinuousOrder(1, 6, START, 1, 2, Side.BID, 60, 300, START, rests_from=START)
SELLER = Peer(5, "", 1, 2, Role.PRODUCER, Standing.ACTIVE, None, 1, 2_000, 1)
BUYER = replace(SELLER, id=6, role=Role.CONSUMER)


def traded(
    trading: Trading,
    offer: ContinuousOrder = OFFER,
    wanted: ContinuousOrder = WANTED,
    peers: tuple[Peer, Peer] = (SELLER, BUYER),
    energy_wh: int = 200,
    time: int = NOW,
) -> list[str]:
    """What is wrong where the offer rests and the other takes it."""
    pair = Pair(SignedContinuousOrder(offer, b""), SignedContinuousOrder(wanted, b""), energy_wh)
    return trading.trade(pair, SESSION, {peer.id: peer for peer in peers}, time)


def test_trade__by_the_rules__is_counted() -> None:
    trading = Trading()
    assert traded(trading) == []
    assert traded(trading, energy_wh=100) == []
    assert trading.traded_wh == {(5, 0): 300, (6, 0): 300}
    assert trading.positions_wh == {(1, START): {5: [0, 300, 300, 0], 6: [0, -300, -300, 0]}}


@pytest.mark.parametrize(
    ("change", "objections"),
    [
        ({"time": START - 901}, ["it was made outside of the time from gate closure to delivery"]),
        ({"offer": replace(OFFER, valid_until=NOW - 1)}, ["order 0 of peer 5 had expired"]),
        ({"offer": replace(OFFER, rests_from=NOW + 1)}, ["order 0 of peer 5 did not rest yet"]),
        ({"wanted": replace(WANTED, rests_from=NOW)}, ["order 0 of peer 6 rested already"]),
        ({"offer": replace(OFFER, price_micro_per_kwh=61)}, ["its orders do not cross"]),
        ({"wanted": replace(WANTED, periods=1)}, ["its orders are for different periods"]),
        (
            {"wanted": replace(WANTED, side=Side.ASK), "peers": (SELLER, replace(SELLER, id=6))},
            ["its orders are on one side"],
        ),
        ({"offer": replace(OFFER, counterparty=7)}, ["order 0 of peer 5 is for peer 7 alone"]),
        ({"energy_wh": 0}, ["it is of nothing"]),
        ({"energy_wh": 301}, ["order 0 of peer 6 trades 301 Wh of its 300 Wh"]),
        (
            {"wanted": replace(WANTED, price_micro_per_kwh=CAP + 1)},
            ["the limit of order 0 of peer 6 lies outside of -500 to 1000"],
        ),
        (
            {"peers": (SELLER, replace(BUYER, node=1))},
            ["its peers are at different nodes"],
        ),
        (
            {"peers": (SELLER, replace(BUYER, standing=Standing.SUSPENDED))},
            ["order 0 of peer 6 is of a peer that may not trade in this market"],
        ),
        (
            {"peers": (replace(SELLER, network=2), BUYER)},
            ["order 0 of peer 5 is of a peer that may not trade in this market"],
        ),
        (
            {"peers": (replace(SELLER, role=Role.CONSUMER), BUYER)},
            ["order 0 of peer 5 is on a side that its peer's role does not allow"],
        ),
        (
            {"peers": (replace(SELLER, connection_w=796), BUYER)},
            ["order 0 of peer 5 trades more than the connection's 199 Wh"],
        ),
        (
            {"offer": replace(OFFER, periods=4), "wanted": replace(WANTED, periods=4)},
            ["its periods are not of the session"],
        ),
        (
            {
                "offer": replace(OFFER, nonce=1),
                "wanted": replace(WANTED, peer=5),
                "peers": (replace(SELLER, role=Role.PROSUMER),) * 2,
            },
            ["its peer trades with itself"],
        ),
    ],
)
def test_trade__one_deviation__is_named(change: dict[str, Any], objections: list[str]) -> None:
    assert traded(Trading(), **change) == objections


def test_book_trade__above_what_is_free__is_no_booking_of_the_ledger() -> None:
    accounts = Accounts()
    accounts.deposit(5, 10)
    accounts.book_trade(5, 6, 10)
    assert accounts.balance == {5: 0, 6: 10}
    accounts.lock(6, 4)
    with pytest.raises(Unbacked, match="peer 6 pays 7 nano-token and has 6"):
        accounts.book_trade(6, 5, 7)


def test_trade__of_a_cancelled_order__is_named() -> None:
    assert traded(Trading(cancelled={(6, 0)})) == ["order 0 of peer 6 was cancelled"]
