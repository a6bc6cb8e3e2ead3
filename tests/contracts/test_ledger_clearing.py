"""`Ledger.bookClearing` and `isSettled`: a clearing adds up to zero and everybody can pay (R6)."""

from __future__ import annotations

import ape
import pytest
from tests.community import Member
from tests.contracts.conftest import Books
from tests.outcomes import OVERFLOW, PANIC, event, events, reverts

from fairwatt.chain import Role


@pytest.fixture
def buyer(books: Books) -> Member:
    """A consumer with 100 nano-tokens."""
    member = books.community.admit(Role.CONSUMER)
    books.deposit(member, 100)
    return member


@pytest.fixture
def seller(books: Books) -> Member:
    return books.community.admit(Role.PRODUCER)


def test_book_clearing__that_adds_up__pays_everybody(
    books: Books, buyer: Member, seller: Member
) -> None:
    owner = books.community.operator
    books.lock(buyer, 30)
    receipt = books.clear(
        (buyer.peer, 30, -90),
        (seller.peer, 0, 70),
        incomes=((owner.peer, 15), (0, 5)),
        open_until=books.community.now() + 10,
    )
    assert events(receipt) == [event(books.ledger.Unlocked, peer=buyer.peer, amountNano=30)]
    assert [books.balance(member) for member in (buyer, seller, owner)] == [10, 70, 15]
    assert books.ledger.fundNano() == 5
    assert books.available(buyer) == 10


def test_book_clearing__of_nothing__changes_nothing(books: Books) -> None:
    assert events(books.clear()) == []


@pytest.mark.parametrize(("received", "sum_nano"), [(99, -1), (101, 1)])
def test_book_clearing__that_does_not_add_up__reverts(
    books: Books, buyer: Member, seller: Member, received: int, sum_nano: int
) -> None:
    with reverts(books.ledger.NotBalanced, sumNano=sum_nano):
        books.clear((buyer.peer, 0, -100), (seller.peer, 0, received))


def test_book_clearing__that_pays_a_link_too_much__reverts(books: Books, buyer: Member) -> None:
    with reverts(books.ledger.NotBalanced, sumNano=1):
        books.clear((buyer.peer, 0, -100), incomes=((0, 51), (books.community.operator.peer, 50)))


def test_book_clearing__that_a_peer_cannot_pay__reverts(
    books: Books, buyer: Member, seller: Member
) -> None:
    with reverts(
        books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=101, availableNano=100
    ):
        books.clear((buyer.peer, 0, -101), (seller.peer, 0, 101))


def test_book_clearing__with_credit__goes_below_zero(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.endow(20)
    books.credit(buyer, 20)
    books.clear((buyer.peer, 0, -120), (seller.peer, 0, 120))
    assert books.balance(buyer) == -20


def test_book_clearing__beyond_the_credit__reverts(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.endow(20)
    books.credit(buyer, 20)
    with reverts(
        books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=121, availableNano=120
    ):
        books.clear((buyer.peer, 0, -121), (seller.peer, 0, 121))


def test_book_clearing__cannot_use_locks_of_other_sessions(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.lock(buyer, 90)
    with reverts(books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=41, availableNano=40):
        books.clear((buyer.peer, 30, -41), (seller.peer, 0, 41))


def test_book_clearing__uses_what_was_locked_for_it_in_spite_of_arrears(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.lock(buyer, 100)
    books.owe((buyer.peer, seller.peer, 1000))
    books.clear((buyer.peer, 100, -100), (seller.peer, 0, 100))
    assert books.balance(buyer) == 0


def test_book_clearing__cannot_use_what_is_owed(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.lock(buyer, 100)
    books.owe((buyer.peer, seller.peer, 30))
    books.unlock(buyer, 100)
    with reverts(books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=71, availableNano=70):
        books.clear((buyer.peer, 0, -71), (seller.peer, 0, 71))


def test_book_clearing__cannot_use_a_withdrawal_requested_before_the_gate(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.request(buyer, 60)
    gate = ape.chain.blocks.head.timestamp + 1
    with reverts(books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=41, availableNano=40):
        books.clear((buyer.peer, 0, -41), (seller.peer, 0, 41), gate=gate)


def test_book_clearing__uses_a_withdrawal_requested_when_the_gate_closed(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.request(buyer, 60)
    gate = ape.chain.blocks.head.timestamp
    books.clear((buyer.peer, 0, -100), (seller.peer, 0, 100), gate=gate)
    assert books.balance(buyer) == 0


def test_book_clearing__of_a_receiver__needs_no_means(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.owe((seller.peer, buyer.peer, 10))
    books.clear((buyer.peer, 0, -5), (seller.peer, 0, 5))
    assert (books.balance(seller), books.available(seller)) == (5, 0)


def test_book_clearing__that_frees_more_than_is_locked__reverts(
    books: Books, buyer: Member
) -> None:
    with reverts(PANIC, code=OVERFLOW):
        books.clear((buyer.peer, 1, 0))


def test_book_clearing__by_anyone_but_the_settlement__reverts(books: Books, buyer: Member) -> None:
    arguments = ([(buyer.peer, 0, 1)], [], 0, 0)
    for caller in (buyer.wallet, books.order_book, books.community.admin):
        with reverts(books.ledger.NotTheSettlement, caller=caller.address):
            books.community.send(books.ledger.bookClearing, *arguments, sender=caller)


# -------------------------------------------------------------------------------------- settled


def _is_settled(books: Books, member: Member) -> bool:
    return bool(books.ledger.isSettled(member.peer))


def test_is_settled__of_a_peer_with_free_funds__is_true(books: Books, buyer: Member) -> None:
    assert _is_settled(books, buyer)


def test_is_settled__until_the_last_of_its_sessions_is_over__is_false(
    books: Books, buyer: Member, seller: Member
) -> None:
    until = books.community.now() + 100
    books.clear((buyer.peer, 0, -1), (seller.peer, 0, 1), open_until=until)
    books.clear((buyer.peer, 0, -1), (seller.peer, 0, 1), open_until=until - 50)
    assert books.ledger.account(buyer.peer).openUntil == until
    books.community.travel_to(until)
    assert not _is_settled(books, buyer)
    books.community.travel_to(until + 1)
    assert _is_settled(books, buyer)


def test_is_settled__below_zero__is_false(books: Books, buyer: Member, seller: Member) -> None:
    books.endow(20)
    books.credit(buyer, 20)
    books.clear((buyer.peer, 0, -101), (seller.peer, 0, 101))
    assert not _is_settled(books, buyer)
    books.deposit(buyer, 1)
    assert _is_settled(books, buyer)


def test_is_settled__with_locks__is_false(books: Books, buyer: Member) -> None:
    books.lock(buyer, 1)
    assert not _is_settled(books, buyer)
    books.unlock(buyer, 1)
    assert _is_settled(books, buyer)


def test_is_settled__with_arrears__is_false(books: Books, buyer: Member, seller: Member) -> None:
    books.owe((buyer.peer, seller.peer, 101))
    assert not _is_settled(books, buyer)
    books.deposit(buyer, 1)
    books.collect(buyer, seller)
    assert _is_settled(books, buyer)
