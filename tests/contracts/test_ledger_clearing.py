"""`Ledger.bookClearing` and `isSettled`: a clearing adds up to zero and everybody can pay (R6)."""

from __future__ import annotations

import ape
import pytest
from tests.community import Member
from tests.contracts.conftest import Books, booked
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
        (buyer.peer, -90),
        (seller.peer, 70),
        unlocks=((buyer.peer, 30),),
        incomes=((owner.peer, 15), (0, 5)),
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
        books.clear((buyer.peer, -100), (seller.peer, received))


def test_book_clearing__that_pays_a_link_too_much__reverts(books: Books, buyer: Member) -> None:
    with reverts(books.ledger.NotBalanced, sumNano=1):
        books.clear((buyer.peer, -100), incomes=((0, 51), (books.community.operator.peer, 50)))


def test_book_clearing__that_a_peer_cannot_pay__reverts(
    books: Books, buyer: Member, seller: Member
) -> None:
    with reverts(
        books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=101, availableNano=100
    ):
        books.clear((buyer.peer, -101), (seller.peer, 101))


def test_book_clearing__with_credit__goes_below_zero(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.endow(20)
    books.credit(buyer, 20)
    books.clear((buyer.peer, -120), (seller.peer, 120))
    assert books.balance(buyer) == -20


def test_book_clearing__beyond_the_credit__reverts(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.endow(20)
    books.credit(buyer, 20)
    with reverts(
        books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=121, availableNano=120
    ):
        books.clear((buyer.peer, -121), (seller.peer, 121))


def test_book_clearing__cannot_use_locks_of_other_sessions(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.lock(buyer, 90)
    with reverts(books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=41, availableNano=40):
        books.clear((buyer.peer, -41), (seller.peer, 41), unlocks=((buyer.peer, 30),))


def test_book_clearing__uses_what_was_locked_for_it_in_spite_of_arrears(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.lock(buyer, 100)
    books.owe((buyer.peer, seller.peer, 1000))
    books.clear((buyer.peer, -100), (seller.peer, 100), unlocks=((buyer.peer, 100),))
    assert books.balance(buyer) == 0


def test_book_clearing__cannot_use_what_is_owed(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.lock(buyer, 100)
    books.owe((buyer.peer, seller.peer, 30))
    books.unlock(buyer, 100)
    with reverts(books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=71, availableNano=70):
        books.clear((buyer.peer, -71), (seller.peer, 71))


def test_book_clearing__cannot_use_a_withdrawal_requested_before_the_gate(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.request(buyer, 60)
    gate = ape.chain.blocks.head.timestamp + 1
    with reverts(books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=41, availableNano=40):
        books.clear((buyer.peer, -41), (seller.peer, 41), gate=gate)


def test_book_clearing__uses_a_withdrawal_requested_when_the_gate_closed(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.request(buyer, 60)
    gate = ape.chain.blocks.head.timestamp
    books.clear((buyer.peer, -100), (seller.peer, 100), gate=gate)
    assert books.balance(buyer) == 0


def test_book_clearing__of_a_receiver__needs_no_means(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.owe((seller.peer, buyer.peer, 10))
    books.clear((buyer.peer, -5), (seller.peer, 5))
    assert (books.balance(seller), books.available(seller)) == (5, 0)


def test_book_clearing__that_frees_more_than_is_locked__reverts(
    books: Books, buyer: Member
) -> None:
    with reverts(PANIC, code=OVERFLOW):
        books.clear(unlocks=((buyer.peer, 1),))


def test_book_clearing__by_anyone_but_the_clearing__reverts(books: Books, buyer: Member) -> None:
    arguments = (booked((buyer.peer, 1)), b"", [], 0, 0, 0)
    for caller in (buyer.wallet, books.order_book, books.settlement, books.community.admin):
        with reverts(books.ledger.NotTheClearing, caller=caller.address):
            books.community.send(books.ledger.bookClearing, *arguments, sender=caller)


def test_book_clearing__of_locked_funds_and_others_in_spite_of_arrears__reverts(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.lock(buyer, 60)
    books.owe((buyer.peer, seller.peer, 1000))
    with reverts(books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=61, availableNano=60):
        books.clear((buyer.peer, -61), (seller.peer, 61), unlocks=((buyer.peer, 60),))


def test_book_clearing__with_locks_of_several_in_arrears__finds_those_of_each(
    books: Books, buyer: Member, seller: Member
) -> None:
    others = [books.community.admit(Role.CONSUMER) for _ in range(3)]
    for member in others:
        books.deposit(member, 50)
    placing = [buyer, *others[1:]]
    for member in placing:
        books.lock(member, 50)
        books.owe((member.peer, seller.peer, 500))
    paid = [(member.peer, -50) for member in others]
    receipt = books.clear(
        (buyer.peer, -50),
        (seller.peer, 200),
        *paid,
        unlocks=tuple((member.peer, 50) for member in placing),
    )
    assert [log.values["peer"] for log in events(receipt)] == [member.peer for member in placing]
    assert [books.balance(member) for member in (buyer, *others)] == [0, 0, 0, 0]


def test_book_clearing__beyond_a_late_withdrawal__reverts(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.request(buyer, 60)
    with reverts(
        books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=101, availableNano=100
    ):
        books.clear((buyer.peer, -101), (seller.peer, 101))


@pytest.mark.parametrize(
    ("paid", "left", "free"), [(40, 60, 0), (70, 30, 0), (100, 0, 50), (120, 0, 30), (150, 0, 0)]
)
def test_book_clearing__of_one_who_asks_for_its_funds_too_late__takes_them_before_the_credit(
    books: Books, buyer: Member, seller: Member, paid: int, left: int, free: int
) -> None:
    books.endow(50)
    books.credit(buyer, 50)
    books.request(buyer, 60)
    assert books.available(buyer) == 40
    books.clear((buyer.peer, -paid), (seller.peer, paid), gate=ape.chain.blocks.head.timestamp)
    account = books.ledger.account(buyer.peer)
    assert (account.balanceNano, account.withdrawalNano) == (100 - paid, left)
    assert account.freeNano == free


def test_book_clearing__of_one_who_asked_for_its_funds_in_time__lends_nothing(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.endow(50)
    books.credit(buyer, 50)
    books.request(buyer, 60)
    gate = ape.chain.blocks.head.timestamp + 1
    with reverts(books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=41, availableNano=40):
        books.clear((buyer.peer, -41), (seller.peer, 41), gate=gate)


def test_book_clearing__of_peers_in_one_word_and_in_others__moves_each_by_its_own(
    books: Books,
) -> None:
    members = [books.community.admit(Role.PROSUMER) for _ in range(7)]
    for at, member in enumerate(members):
        books.deposit(member, 1000 + at)
    amounts = [-7, 3, 0, -1000, 2, -4, 1006]
    books.clear(*((member.peer, by) for member, by in zip(members, amounts, strict=True)))
    expected = [1000 + at + by for at, by in enumerate(amounts)]
    assert [books.balance(member) for member in members] == expected
    assert [books.available(member) for member in members] == expected


@pytest.mark.parametrize("order", [(0, 0), (1, 0)])
def test_book_clearing__of_peers_out_of_order__reverts(
    books: Books, buyer: Member, seller: Member, order: tuple[int, int]
) -> None:
    peers = [(buyer.peer, seller.peer)[at] for at in order]
    with reverts(books.ledger.EntriesUnsorted, peer=buyer.peer):
        books.clear(*((peer, 0) for peer in peers))
    with reverts(books.ledger.EntriesUnsorted, peer=buyer.peer):
        books.clear(unlocks=tuple((peer, 0) for peer in peers))


def test_book_clearing__of_account_0__reverts(books: Books, seller: Member) -> None:
    with reverts(books.ledger.EntriesUnsorted, peer=0):
        books.clear((0, -1), (seller.peer, 1))


def test_book_clearing__of_more_than_there_is__does_not_wrap(
    books: Books, buyer: Member, seller: Member
) -> None:
    most = 2**63 - 1
    with reverts(
        books.ledger.InsufficientFunds, peer=buyer.peer, neededNano=2**63, availableNano=100
    ):
        books.clear((buyer.peer, -(2**63)), (seller.peer, most), incomes=((0, 1),))
    with reverts(books.ledger.NotBalanced, sumNano=2 * most):
        books.clear((buyer.peer, most), (seller.peer, most))


# ------------------------------------------------------------------------------------ solver's fee


def test_book_clearing__with_a_fee__pays_it_from_the_fund(
    books: Books, buyer: Member, seller: Member
) -> None:
    receipt = books.clear((buyer.peer, -9), incomes=((0, 9),), fee=(5, seller.peer))
    assert events(receipt) == [event(books.ledger.SolverPaid, account=seller.peer, amountNano=5)]
    assert (books.balance(seller), books.ledger.fundNano()) == (5, 4)


def test_book_clearing__with_a_fee_beyond_the_free_fund__pays_what_no_credit_needs(
    books: Books, buyer: Member, seller: Member
) -> None:
    books.endow(50)
    books.credit(buyer, 47)
    receipt = books.clear(fee=(5, seller.peer))
    assert events(receipt) == [event(books.ledger.SolverPaid, account=seller.peer, amountNano=3)]
    assert events(books.clear(fee=(5, seller.peer))) == []
    assert (books.balance(seller), books.ledger.fundNano()) == (3, 47)


def test_book_clearing__with_a_fee_to_nobody__pays_none(books: Books) -> None:
    books.endow(50)
    assert events(books.clear(fee=(5, 0))) == []
    assert books.ledger.fundNano() == 50


def test_book_clearing__with_a_fee_to_an_unknown_account__reverts(
    books: Books, seller: Member
) -> None:
    """What it got would be in no balance."""
    books.endow(50)
    nobody = int(books.community.chain.contracts.registry.peerCount()) + 1
    with reverts(books.ledger.UnknownAccount, peer=nobody):
        books.clear(fee=(5, nobody))


# -------------------------------------------------------------------------------------- settled


def _is_settled(books: Books, member: Member) -> bool:
    return bool(books.ledger.isSettled(member.peer))


def test_is_settled__of_a_peer_with_free_funds__is_true(books: Books, buyer: Member) -> None:
    assert _is_settled(books, buyer)


def test_is_settled__below_zero__is_false(books: Books, buyer: Member, seller: Member) -> None:
    books.endow(20)
    books.credit(buyer, 20)
    books.clear((buyer.peer, -101), (seller.peer, 101))
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
