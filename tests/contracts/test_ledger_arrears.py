"""`Ledger.bookImbalances` and `collect`: what a debtor cannot pay is owed to that creditor (R7)."""

from __future__ import annotations

import pytest
from tests.community import Member
from tests.contracts.conftest import Books
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role


@pytest.fixture
def debtor(books: Books) -> Member:
    """A consumer with 100 nano-tokens."""
    member = books.community.admit(Role.CONSUMER)
    books.deposit(member, 100)
    return member


@pytest.fixture
def creditor(books: Books) -> Member:
    return books.community.supplier


def _arrears(books: Books, debtor: Member, creditor: Member) -> int:
    owed = int(books.ledger.arrearsNano(debtor.peer, creditor.peer))
    assert books.ledger.account(debtor.peer).arrearsNano >= owed
    return owed


def test_book_imbalances__that_can_be_paid__pays(
    books: Books, debtor: Member, creditor: Member
) -> None:
    assert events(books.owe((debtor.peer, creditor.peer, 100))) == []
    assert (books.balance(debtor), books.balance(creditor)) == (0, 100)
    assert _arrears(books, debtor, creditor) == 0


def test_book_imbalances__beyond_the_means__leaves_arrears(
    books: Books, debtor: Member, creditor: Member
) -> None:
    receipt = books.owe((debtor.peer, creditor.peer, 130))
    assert events(receipt) == [
        event(
            books.ledger.ArrearsIncurred,
            debtor=debtor.peer,
            creditor=creditor.peer,
            amountNano=30,
        )
    ]
    assert (books.balance(debtor), books.balance(creditor)) == (0, 100)
    assert _arrears(books, debtor, creditor) == 30
    assert books.ledger.account(debtor.peer).arrearsNano == 30


def test_book_imbalances__of_nothing__changes_nothing(
    books: Books, debtor: Member, creditor: Member
) -> None:
    assert events(books.owe((debtor.peer, creditor.peer, 0))) == []
    assert (books.balance(debtor), books.balance(creditor)) == (100, 0)


def test_book_imbalances__uses_credit(books: Books, debtor: Member, creditor: Member) -> None:
    books.endow(50)
    books.credit(debtor, 50)
    books.owe((debtor.peer, creditor.peer, 130))
    assert (books.balance(debtor), _arrears(books, debtor, creditor)) == (-30, 0)


def test_book_imbalances__spares_locks(books: Books, debtor: Member, creditor: Member) -> None:
    books.lock(debtor, 70)
    books.owe((debtor.peer, creditor.peer, 50))
    assert (books.balance(debtor), _arrears(books, debtor, creditor)) == (70, 20)


def test_book_imbalances__does_not_spare_a_requested_withdrawal(
    books: Books, debtor: Member, creditor: Member
) -> None:
    books.request(debtor, 100)
    books.owe((debtor.peer, creditor.peer, 50))
    assert (books.balance(debtor), _arrears(books, debtor, creditor)) == (50, 0)


def test_book_imbalances__one_after_the_other__uses_what_came_in_before(
    books: Books, debtor: Member, creditor: Member
) -> None:
    other = books.community.admit(Role.CONSUMER)
    receipt = books.owe((debtor.peer, other.peer, 80), (other.peer, creditor.peer, 90))
    assert events(receipt) == [
        event(
            books.ledger.ArrearsIncurred,
            debtor=other.peer,
            creditor=creditor.peer,
            amountNano=10,
        )
    ]
    assert (books.balance(other), books.balance(creditor)) == (0, 80)


def test_book_imbalances__to_two_creditors__keeps_their_arrears_apart(
    books: Books, debtor: Member, creditor: Member
) -> None:
    other = books.community.operator
    books.owe((debtor.peer, creditor.peer, 110), (debtor.peer, other.peer, 20))
    assert _arrears(books, debtor, creditor) == 10
    assert _arrears(books, debtor, other) == 20
    assert books.ledger.account(debtor.peer).arrearsNano == 30


@pytest.mark.parametrize(("owed", "set_off", "received"), [(20, 20, 0), (30, 30, 0), (50, 30, 20)])
def test_book_imbalances__to_a_creditor_in_arrears__sets_them_off_first(
    books: Books, debtor: Member, creditor: Member, owed: int, set_off: int, received: int
) -> None:
    """What was owed the other way round is not paid out; only the rest is."""
    books.owe((debtor.peer, creditor.peer, 130))
    receipt = books.owe((creditor.peer, debtor.peer, owed))
    names = {"debtor": debtor.peer, "creditor": creditor.peer}
    assert events(receipt) == [event(books.ledger.ArrearsPaid, **names, amountNano=set_off)]
    assert _arrears(books, debtor, creditor) == 30 - set_off
    assert books.ledger.account(debtor.peer).arrearsNano == 30 - set_off
    assert (books.balance(debtor), books.balance(creditor)) == (received, 100 - received)


def test_book_imbalances__to_one_in_arrears_with_another__sets_nothing_off(
    books: Books, debtor: Member, creditor: Member
) -> None:
    other = books.community.admit(Role.CONSUMER)
    books.deposit(other, 10)
    books.owe((debtor.peer, creditor.peer, 130))
    assert events(books.owe((other.peer, debtor.peer, 10))) == []
    assert (books.balance(debtor), _arrears(books, debtor, creditor)) == (10, 30)


def test_book_imbalances__by_anyone_but_the_settlement__reverts(
    books: Books, debtor: Member, creditor: Member
) -> None:
    payments = [(debtor.peer, creditor.peer, 1)]
    for caller in (creditor.wallet, books.order_book, books.clearing):
        with reverts(books.ledger.NotTheSettlement, caller=caller.address):
            books.community.send(books.ledger.bookImbalances, payments, sender=caller)


def test_book_imbalances__once_all_arrears_are_set_off__pays_as_before(
    books: Books, debtor: Member, creditor: Member
) -> None:
    books.owe((debtor.peer, creditor.peer, 130))
    books.owe((creditor.peer, debtor.peer, 30), (creditor.peer, debtor.peer, 7))
    assert _arrears(books, debtor, creditor) == 0
    assert (books.balance(debtor), books.balance(creditor)) == (7, 93)
    books.owe((debtor.peer, creditor.peer, 8))
    assert _arrears(books, debtor, creditor) == 1


@pytest.mark.parametrize(("owed", "left"), [(0, 60), (40, 60), (41, 59), (99, 1), (100, 0)])
def test_book_imbalances__beyond_what_is_free__shortens_a_requested_withdrawal(
    books: Books, debtor: Member, creditor: Member, owed: int, left: int
) -> None:
    books.request(debtor, 60)
    books.owe((debtor.peer, creditor.peer, owed))
    account = books.ledger.account(debtor.peer)
    assert (account.balanceNano, account.withdrawalNano) == (100 - owed, left)


@pytest.mark.parametrize(
    ("owed", "balance", "arrears", "free"),
    [(100, 0, 0, 50), (130, -30, 0, 20), (150, -50, 0, 0), (170, -50, 20, -20)],
)
def test_book_imbalances__beyond_a_requested_withdrawal__uses_the_credit_again(
    books: Books,
    debtor: Member,
    creditor: Member,
    owed: int,
    balance: int,
    arrears: int,
    free: int,
) -> None:
    books.endow(50)
    books.credit(debtor, 50)
    books.request(debtor, 60)
    books.owe((debtor.peer, creditor.peer, owed))
    account = books.ledger.account(debtor.peer)
    assert (account.balanceNano, account.freeNano, account.withdrawalNano) == (balance, free, 0)
    assert _arrears(books, debtor, creditor) == arrears


def test_book_imbalances__as_much_as_can_be_owed__leaves_it_as_arrears(
    books: Books, debtor: Member, creditor: Member
) -> None:
    most = 2**63 + 100
    books.owe((debtor.peer, creditor.peer, most))
    assert _arrears(books, debtor, creditor) == 2**63
    with reverts(books.ledger.DebtTooLarge, debtor=debtor.peer, amountNano=1):
        books.owe((debtor.peer, creditor.peer, 1))


def test_book_imbalances__more_than_can_be_owed__reverts(
    books: Books, debtor: Member, creditor: Member
) -> None:
    most = 2**64 - 1
    with reverts(books.ledger.DebtTooLarge, debtor=debtor.peer, amountNano=most):
        books.owe((debtor.peer, creditor.peer, most))


# ------------------------------------------------------------------------------------- collecting


def test_collect__when_all_can_be_paid__ends_the_debt(
    books: Books, debtor: Member, creditor: Member
) -> None:
    books.owe((debtor.peer, creditor.peer, 130))
    books.deposit(debtor, 50)
    receipt = books.collect(debtor, creditor)
    assert events(receipt) == [
        event(books.ledger.ArrearsPaid, debtor=debtor.peer, creditor=creditor.peer, amountNano=30)
    ]
    assert (books.balance(debtor), books.balance(creditor)) == (20, 130)
    assert books.ledger.account(debtor.peer).arrearsNano == 0
    assert books.available(debtor) == 20


def test_collect__when_a_part_can_be_paid__leaves_the_rest(
    books: Books, debtor: Member, creditor: Member
) -> None:
    books.owe((debtor.peer, creditor.peer, 130))
    books.deposit(debtor, 12)
    receipt = books.collect(debtor, creditor)
    assert events(receipt) == [
        event(books.ledger.ArrearsPaid, debtor=debtor.peer, creditor=creditor.peer, amountNano=12)
    ]
    assert _arrears(books, debtor, creditor) == 18


def test_collect__from_credit__goes_below_zero(
    books: Books, debtor: Member, creditor: Member
) -> None:
    books.owe((debtor.peer, creditor.peer, 130))
    books.endow(20)
    books.credit(debtor, 20)
    books.collect(debtor, creditor)
    assert (books.balance(debtor), _arrears(books, debtor, creditor)) == (-20, 10)


def test_collect__spares_locks(books: Books, debtor: Member, creditor: Member) -> None:
    books.lock(debtor, 100)
    books.owe((debtor.peer, creditor.peer, 30))
    with reverts(books.ledger.NothingToCollect, debtor=debtor.peer, creditor=creditor.peer):
        books.collect(debtor, creditor)


def test_collect__without_debt__reverts(books: Books, debtor: Member, creditor: Member) -> None:
    with reverts(books.ledger.NothingToCollect, debtor=debtor.peer, creditor=creditor.peer):
        books.collect(debtor, creditor)


def test_collect__without_means__reverts(books: Books, debtor: Member, creditor: Member) -> None:
    books.owe((debtor.peer, creditor.peer, 130))
    with reverts(books.ledger.NothingToCollect, debtor=debtor.peer, creditor=creditor.peer):
        books.collect(debtor, creditor)


def test_collect__for_another_creditor__reverts(
    books: Books, debtor: Member, creditor: Member
) -> None:
    books.owe((debtor.peer, creditor.peer, 130))
    books.deposit(debtor, 50)
    other = books.community.operator
    with reverts(books.ledger.NothingToCollect, debtor=debtor.peer, creditor=other.peer):
        books.collect(debtor, other)
