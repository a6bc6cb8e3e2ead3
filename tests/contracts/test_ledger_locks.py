"""`Ledger.lock` and `unlock`, and the contracts that may call (R3)."""

from __future__ import annotations

import pytest
from tests.community import DAY, WITHDRAWAL_DELAY, Member
from tests.contracts.conftest import Books
from tests.outcomes import OVERFLOW, PANIC, event, events, reverts

from fairwatt.chain import Role, project

NOBODY = "0x" + "0" * 40


@pytest.fixture
def peer(books: Books) -> Member:
    """A consumer with 100 nano-tokens."""
    member = books.community.admit(Role.CONSUMER)
    books.deposit(member, 100)
    return member


def test_lock__of_available_funds__reserves_them(books: Books, peer: Member) -> None:
    receipt = books.lock(peer, 60)
    assert events(receipt) == [event(books.ledger.Locked, peer=peer.peer, amountNano=60)]
    assert books.ledger.account(peer.peer).lockedNano == 60
    assert (books.balance(peer), books.available(peer)) == (100, 40)


def test_lock__of_credit__reserves_it(books: Books, peer: Member) -> None:
    books.endow(50)
    books.credit(peer, 50)
    books.lock(peer, 150)
    assert books.available(peer) == 0


def test_lock__of_more_than_is_available__reverts(books: Books, peer: Member) -> None:
    books.lock(peer, 60)
    with reverts(books.ledger.InsufficientFunds, peer=peer.peer, neededNano=41, availableNano=40):
        books.lock(peer, 41)


def test_lock__of_what_is_to_be_withdrawn__reverts(books: Books, peer: Member) -> None:
    books.request(peer, 60)
    with reverts(books.ledger.InsufficientFunds, peer=peer.peer, neededNano=41, availableNano=40):
        books.lock(peer, 41)


def test_lock__of_what_is_owed__reverts(books: Books, peer: Member) -> None:
    books.owe((peer.peer, books.community.supplier.peer, 130))
    books.deposit(peer, 50)
    with reverts(books.ledger.InsufficientFunds, peer=peer.peer, neededNano=21, availableNano=20):
        books.lock(peer, 21)


def test_lock__when_arrears_exceed_the_balance__sees_nothing_available(
    books: Books, peer: Member
) -> None:
    books.owe((peer.peer, books.community.supplier.peer, 130))
    assert books.available(peer) == 0
    with reverts(books.ledger.InsufficientFunds, peer=peer.peer, neededNano=1, availableNano=0):
        books.lock(peer, 1)


def test_lock__of_more_than_any_account_holds__reverts(books: Books, peer: Member) -> None:
    most = 2**256 - 1
    with reverts(
        books.ledger.InsufficientFunds, peer=peer.peer, neededNano=most, availableNano=100
    ):
        books.lock(peer, most)


def test_lock__while_a_withdrawal_is_requested__does_not_borrow(books: Books, peer: Member) -> None:
    books.endow(50)
    books.credit(peer, 50)
    books.request(peer, 60)
    with reverts(books.ledger.InsufficientFunds, peer=peer.peer, neededNano=41, availableNano=40):
        books.lock(peer, 41)
    books.request(peer, 0)
    books.lock(peer, 150)
    assert books.available(peer) == 0


def test_lock__by_anyone_but_the_order_book__reverts(books: Books, peer: Member) -> None:
    for caller in (peer.wallet, books.clearing, books.settlement, books.community.admin):
        with reverts(books.ledger.NotTheOrderBook, caller=caller.address):
            books.community.send(books.ledger.lock, peer.peer, 1, sender=caller)


def test_unlock__of_locked_funds__frees_them(books: Books, peer: Member) -> None:
    books.lock(peer, 60)
    receipt = books.unlock(peer, 25)
    assert events(receipt) == [event(books.ledger.Unlocked, peer=peer.peer, amountNano=25)]
    assert books.available(peer) == 65


def test_unlock__of_more_than_is_locked__reverts(books: Books, peer: Member) -> None:
    books.lock(peer, 60)
    with reverts(PANIC, code=OVERFLOW):
        books.unlock(peer, 61)


def test_unlock__by_anyone_but_the_order_book__reverts(books: Books, peer: Member) -> None:
    books.lock(peer, 60)
    for caller in (peer.wallet, books.clearing, books.settlement, books.community.admin):
        with reverts(books.ledger.NotTheOrderBook, caller=caller.address):
            books.community.send(books.ledger.unlock, peer.peer, 1, sender=caller)


# ----------------------------------------------------------------------------------- connecting


@pytest.fixture
def unconnected(books: Books) -> Books:
    community = books.community
    contracts = community.chain.contracts
    ledger = project().Ledger.deploy(
        community.admin.address,
        DAY,
        contracts.registry,
        contracts.token,
        WITHDRAWAL_DELAY,
        sender=community.admin.account,
    )
    callers = books.order_book, books.clearing, books.settlement, books.trades
    return Books(community, ledger, *callers)


def test_connect_market__by_the_admin__names_the_contracts(unconnected: Books) -> None:
    ledger, admin = unconnected.ledger, unconnected.community.admin
    names = {
        "orderBook": unconnected.order_book.address,
        "clearing": unconnected.clearing.address,
        "settlement": unconnected.settlement.address,
        "trades": unconnected.trades.address,
    }
    receipt = unconnected.community.send(ledger.connectMarket, *names.values(), sender=admin)
    assert events(receipt) == [event(ledger.MarketConnected, **names)]
    connected = [ledger.orderBook(), ledger.clearing(), ledger.settlement(), ledger.trades()]
    assert connected == list(names.values())


def test_connect_market__twice__reverts(books: Books) -> None:
    wiring, admin = [books.order_book.address] * 4, books.community.admin
    with reverts(books.ledger.AlreadyConnected):
        books.community.send(books.ledger.connectMarket, *wiring, sender=admin)


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_connect_market__to_nothing__reverts(unconnected: Books, missing: int) -> None:
    wiring = [unconnected.order_book.address] * 4
    wiring[missing] = NOBODY
    community, ledger = unconnected.community, unconnected.ledger
    with reverts(ledger.AddressZero):
        community.send(ledger.connectMarket, *wiring, sender=community.admin)


def test_connect_market__by_anyone_else__reverts(unconnected: Books) -> None:
    community, ledger, caller = unconnected.community, unconnected.ledger, unconnected.order_book
    with reverts(
        ledger.AccessControlUnauthorizedAccount, account=caller.address, neededRole=b"\0" * 32
    ):
        community.send(ledger.connectMarket, *[caller.address] * 4, sender=caller)


def test_lock__before_the_market_is_connected__reverts(unconnected: Books, peer: Member) -> None:
    caller = unconnected.order_book.address
    with reverts(unconnected.ledger.NotTheOrderBook, caller=caller):
        unconnected.lock(peer, 0)
