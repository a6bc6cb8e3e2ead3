"""`Ledger.setCredit` and `allot`: the fund covers all credit, and pays only the rest (R4, R5)."""

from __future__ import annotations

import pytest
from tests.community import Member
from tests.contracts.conftest import Books
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role


@pytest.fixture
def peers(books: Books) -> tuple[Member, Member]:
    """Two consumers; the fund holds 100 nano-tokens."""
    books.endow(100)
    return books.community.admit(Role.CONSUMER), books.community.admit(Role.CONSUMER)


# ---------------------------------------------------------------------------------------- credit


def test_set_credit__covered_by_the_fund__can_be_spent(
    books: Books, peers: tuple[Member, Member]
) -> None:
    peer, other = peers
    receipt = books.credit(peer, 60)
    assert events(receipt) == [event(books.ledger.CreditChanged, peer=peer.peer, creditNano=60)]
    books.credit(other, 40)
    assert books.ledger.creditGrantedNano() == 100
    assert (books.balance(peer), books.available(peer), books.available(other)) == (0, 60, 40)


def test_set_credit__beyond_the_fund__reverts(books: Books, peers: tuple[Member, Member]) -> None:
    peer, other = peers
    books.credit(peer, 60)
    with reverts(books.ledger.FundTooSmall, neededNano=101, freeNano=100):
        books.credit(other, 41)


def test_set_credit__again__replaces_the_limit(books: Books, peers: tuple[Member, Member]) -> None:
    peer, _ = peers
    books.credit(peer, 100)
    books.credit(peer, 30)
    books.credit(peer, 90)
    assert books.ledger.creditGrantedNano() == books.available(peer) == 90


def test_set_credit__below_what_the_balance_uses__reverts(
    books: Books, peers: tuple[Member, Member]
) -> None:
    peer, other = peers
    books.credit(peer, 60)
    books.clear((peer.peer, -25), (other.peer, 25))
    with reverts(books.ledger.CreditInUse, peer=peer.peer, neededNano=25):
        books.credit(peer, 24)


def test_set_credit__down_to_what_is_used__succeeds(
    books: Books, peers: tuple[Member, Member]
) -> None:
    peer, other = peers
    books.credit(peer, 60)
    books.clear((peer.peer, -25), (other.peer, 25))
    books.lock(peer, 10)
    books.credit(peer, 35)
    assert books.available(peer) == 0


def test_set_credit__below_what_locks_use__reverts(
    books: Books, peers: tuple[Member, Member]
) -> None:
    peer, _ = peers
    books.credit(peer, 60)
    books.deposit(peer, 5)
    books.lock(peer, 45)
    with reverts(books.ledger.CreditInUse, peer=peer.peer, neededNano=40):
        books.credit(peer, 39)


def test_set_credit__up_while_in_use__succeeds(books: Books, peers: tuple[Member, Member]) -> None:
    peer, other = peers
    books.credit(peer, 60)
    books.clear((peer.peer, -60), (other.peer, 60))
    books.credit(peer, 70)
    assert books.available(peer) == 10


def test_set_credit__while_a_withdrawal_is_requested__counts_once_it_is_gone(
    books: Books, peers: tuple[Member, Member]
) -> None:
    peer, _ = peers
    books.deposit(peer, 100)
    books.credit(peer, 10)
    books.request(peer, 70)
    for limit in (60, 0, 40):
        books.credit(peer, limit)
        assert (books.balance(peer), books.available(peer)) == (100, 30)
    books.request(peer, 0)
    assert (books.balance(peer), books.available(peer)) == (100, 140)


@pytest.mark.parametrize("beyond", [0, 1])
def test_set_credit__of_nobody__reverts(
    books: Books, peers: tuple[Member, Member], beyond: int
) -> None:
    nobody = beyond * (peers[-1].peer + 1)
    ledger, manager = books.ledger, books.community.fund_manager
    with reverts(ledger.UnknownAccount, peer=nobody):
        books.community.send(ledger.setCredit, nobody, 1, sender=manager)


def test_set_credit__by_anyone_but_the_fund_manager__reverts(
    books: Books, peers: tuple[Member, Member]
) -> None:
    community, ledger = books.community, books.ledger
    for caller in (peers[0].wallet, community.admin, community.registrar, community.guardian):
        with reverts(
            ledger.AccessControlUnauthorizedAccount,
            account=caller.address,
            neededRole=ledger.FUND_MANAGER_ROLE(),
        ):
            community.send(ledger.setCredit, peers[0].peer, 1, sender=caller)


# ------------------------------------------------------------------------------------ allotments


def test_allot__what_no_credit_needs__adds_to_the_balances(
    books: Books, peers: tuple[Member, Member]
) -> None:
    peer, other = peers
    books.credit(peer, 30)
    receipt = books.allot((peer.peer, 50), (other.peer, 20))
    assert events(receipt) == [
        event(books.ledger.FundAllotted, peer=peer.peer, amountNano=50),
        event(books.ledger.FundAllotted, peer=other.peer, amountNano=20),
    ]
    assert (books.balance(peer), books.balance(other)) == (50, 20)
    assert books.ledger.fundNano() == 30


def test_allot__what_credit_needs__reverts(books: Books, peers: tuple[Member, Member]) -> None:
    peer, other = peers
    books.credit(peer, 30)
    with reverts(books.ledger.FundTooSmall, neededNano=21, freeNano=20):
        books.allot((peer.peer, 50), (other.peer, 21))


def test_allot__more_than_the_fund__reverts(books: Books, peers: tuple[Member, Member]) -> None:
    with reverts(books.ledger.FundTooSmall, neededNano=101, freeNano=100):
        books.allot((peers[0].peer, 101))


def test_allot__to_a_peer_below_zero__brings_it_up(
    books: Books, peers: tuple[Member, Member]
) -> None:
    peer, other = peers
    books.credit(peer, 40)
    books.clear((peer.peer, -40), (other.peer, 40))
    books.allot((peer.peer, 60))
    assert (books.balance(peer), books.available(peer)) == (20, 60)


def test_allot__nothing__changes_nothing(books: Books, peers: tuple[Member, Member]) -> None:
    assert events(books.allot()) == []
    assert books.ledger.fundNano() == 100


@pytest.mark.parametrize("beyond", [0, 1])
def test_allot__to_nobody__reverts(books: Books, peers: tuple[Member, Member], beyond: int) -> None:
    nobody = beyond * (peers[-1].peer + 1)
    with reverts(books.ledger.UnknownAccount, peer=nobody):
        books.allot((peers[0].peer, 1), (nobody, 1))


def test_allot__by_anyone_but_the_fund_manager__reverts(
    books: Books, peers: tuple[Member, Member]
) -> None:
    community, ledger = books.community, books.ledger
    for caller in (peers[0].wallet, community.admin, community.registrar, community.guardian):
        with reverts(
            ledger.AccessControlUnauthorizedAccount,
            account=caller.address,
            neededRole=ledger.FUND_MANAGER_ROLE(),
        ):
            community.send(ledger.allot, [(peers[0].peer, 1)], sender=caller)
