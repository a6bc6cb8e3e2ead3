"""`Ledger.requestMove` and `completeMove`: to another ledger, as the wallet signed, once (R9)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import ape
import pytest
from tests.community import C3, DAY, NANO, WITHDRAWAL_DELAY, Community, Member
from tests.contracts.conftest import Books
from tests.outcomes import event, events, reverts

from fairwatt.chain import Receipt, Role, project
from fairwatt.eip712 import Domain
from fairwatt.moves import Move, SignedMove

LATER = 2**40 - 1


@pytest.fixture
def saver(books: Books) -> Member:
    """A consumer with 100 nano-tokens."""
    member = books.community.admit(Role.CONSUMER, C3)
    books.deposit(member, 100)
    return member


@dataclass(frozen=True)
class Moving:
    """From the books to those of another ledger."""

    old: Books
    new: Books

    @property
    def domain(self) -> Domain:
        chain_id = self.old.community.chain.chain_id
        return Domain(chain_id, str(self.old.ledger.address))

    def sign(self, member: Member, **changes: Any) -> SignedMove:
        move = Move(member.peer, str(self.new.ledger.address), member.peer, LATER)
        return replace(move, **changes).signed_by(member.key, self.domain)

    def request(self, signed: SignedMove) -> Receipt:
        community = self.old.community
        request = self.old.ledger.requestMove
        return community.send(
            request, signed.move.to_message(), signed.signature, sender=community.outsider
        )

    def wait_out(self, member: Member) -> None:
        at = int(self.old.ledger.account(member.peer).withdrawalRequestedAt)
        self.old.community.wait_until(at + WITHDRAWAL_DELAY)

    def complete(self, member: Member) -> Receipt:
        community = self.old.community
        complete = self.old.ledger.completeMove
        return community.send(complete, member.peer, sender=community.outsider)


@pytest.fixture
def moving(books: Books) -> Any:
    moving = Moving(books, Books.open(books.community))
    yield moving
    moving.new.require_conservation()


def test_move__signed_by_the_wallet__is_carried_out_by_anyone(
    moving: Moving, saver: Member
) -> None:
    old, new = moving.old, moving.new
    requested = moving.request(moving.sign(saver))
    at = ape.chain.blocks.head.timestamp
    assert events(requested) == [
        event(
            old.ledger.WithdrawalRequested,
            peer=saver.peer,
            amountNano=100,
            availableFrom=at + WITHDRAWAL_DELAY,
        ),
        event(
            old.ledger.MoveRequested,
            peer=saver.peer,
            successor=new.ledger.address,
            account=saver.peer,
        ),
    ]
    assert old.ledger.moveOf(saver.peer) == (new.ledger.address, saver.peer)
    assert old.available(saver) == 0
    moving.wait_out(saver)
    moved = event(
        old.ledger.Moved,
        peer=saver.peer,
        successor=new.ledger.address,
        account=saver.peer,
        amountNano=100,
    )
    assert moved in events(moving.complete(saver))
    assert (old.balance(saver), new.balance(saver)) == (0, 100)
    assert old.ledger.moveOf(saver.peer) == ("0x" + "0" * 40, 0)


def test_move__to_account_0__goes_to_the_successors_fund(moving: Moving, saver: Member) -> None:
    moving.request(moving.sign(saver, account=0))
    moving.wait_out(saver)
    moving.complete(saver)
    assert moving.new.ledger.fundNano() == 100


def test_move__of_a_peer_that_came_to_owe__takes_what_is_left(
    moving: Moving, saver: Member
) -> None:
    old = moving.old
    moving.request(moving.sign(saver))
    old.owe((saver.peer, old.community.supplier.peer, 30))
    moving.wait_out(saver)
    moving.complete(saver)
    assert (old.balance(saver), moving.new.balance(saver)) == (0, 70)


def test_move__with_a_lock__leaves_the_lock(moving: Moving, saver: Member) -> None:
    moving.old.lock(saver, 40)
    moving.request(moving.sign(saver))
    moving.wait_out(saver)
    moving.complete(saver)
    assert (moving.old.balance(saver), moving.new.balance(saver)) == (40, 60)


def test_move__of_credit__reverts(moving: Moving, books: Books) -> None:
    poor = books.community.admit(Role.CONSUMER, C3)
    books.endow(50)
    books.credit(poor, 50)
    with reverts(books.ledger.AmountZero):
        moving.request(moving.sign(poor))


def test_complete_move__a_second_early__reverts(moving: Moving, saver: Member) -> None:
    moving.request(moving.sign(saver))
    at = int(moving.old.ledger.account(saver.peer).withdrawalRequestedAt)
    moving.old.community.wait_until(at + WITHDRAWAL_DELAY - 1)
    with reverts(
        moving.old.ledger.WithdrawalNotReady,
        peer=saver.peer,
        availableFrom=at + WITHDRAWAL_DELAY,
    ):
        moving.complete(saver)


def test_complete_move__twice__reverts(moving: Moving, saver: Member) -> None:
    moving.request(moving.sign(saver))
    moving.wait_out(saver)
    moving.complete(saver)
    with reverts(moving.old.ledger.NoMoveRequested, peer=saver.peer):
        moving.complete(saver)


def test_complete_move__of_what_a_debt_took__reverts(moving: Moving, saver: Member) -> None:
    moving.request(moving.sign(saver))
    moving.old.owe((saver.peer, moving.old.community.supplier.peer, 100))
    moving.wait_out(saver)
    with reverts(moving.old.ledger.NoWithdrawalRequested, peer=saver.peer):
        moving.complete(saver)


def test_move__after_which_the_peer_withdraws__is_off(moving: Moving, saver: Member) -> None:
    moving.request(moving.sign(saver))
    moving.wait_out(saver)
    moving.old.withdraw(saver)
    with reverts(moving.old.ledger.NoMoveRequested, peer=saver.peer):
        moving.complete(saver)


def test_move__after_which_the_peer_asks_for_a_withdrawal__is_off(
    moving: Moving, saver: Member
) -> None:
    moving.request(moving.sign(saver))
    moving.old.request(saver, 10)
    with reverts(moving.old.ledger.NoMoveRequested, peer=saver.peer):
        moving.complete(saver)


# -------------------------------------------------------------------------------------- attacks


def test_move__brought_again__reverts(moving: Moving, saver: Member) -> None:
    signed = moving.sign(saver)
    moving.request(signed)
    with reverts(
        moving.old.ledger.MoveUsed,
        peer=saver.peer,
        digest=signed.move.typed_data(moving.domain).digest(),
    ):
        moving.request(signed)


def test_move__signed_by_another_wallet__reverts(moving: Moving, saver: Member) -> None:
    thief = moving.old.community.admit(Role.CONSUMER, C3)
    with reverts(moving.old.ledger.MoveNotSigned, peer=saver.peer, wallet=saver.wallet.address):
        moving.request(moving.sign(thief, peer=saver.peer, account=thief.peer))


@pytest.mark.parametrize("change", [{"account": 1}, {"valid_until": LATER - 1}])
def test_move__altered__reverts(moving: Moving, saver: Member, change: dict[str, int]) -> None:
    signed = moving.sign(saver)
    with reverts(moving.old.ledger.MoveNotSigned, peer=saver.peer, wallet=saver.wallet.address):
        moving.request(replace(signed, move=replace(signed.move, **change)))


def test_move__signed_for_another_ledger__reverts(moving: Moving, saver: Member) -> None:
    domain = Domain(moving.domain.chain_id, str(moving.new.ledger.address))
    signed = moving.sign(saver).move.signed_by(saver.key, domain)
    with reverts(moving.old.ledger.MoveNotSigned, peer=saver.peer, wallet=saver.wallet.address):
        moving.request(signed)


def test_move__after_its_last_second__reverts(moving: Moving, saver: Member) -> None:
    until = moving.old.community.now() + DAY
    signed = moving.sign(saver, valid_until=until)
    moving.old.community.wait_until(until + 1)
    with reverts(moving.old.ledger.MoveExpired, peer=saver.peer, validUntil=until):
        moving.request(signed)


@pytest.mark.parametrize("where", ["wallet", "itself"])
def test_move__to_no_other_ledger__reverts(moving: Moving, saver: Member, where: str) -> None:
    ledger = moving.old.ledger
    successor = str(ledger.address) if where == "itself" else saver.wallet.address
    with reverts(ledger.NoSuccessor, successor=successor):
        moving.request(moving.sign(saver, successor=successor))


def test_move__to_a_contract_that_takes_nothing__keeps_the_money(
    moving: Moving, saver: Member, community: Community
) -> None:
    idle = project().IdleLedger.deploy(sender=community.admin.account)
    moving.request(moving.sign(saver, successor=str(idle.address)))
    moving.wait_out(saver)
    with reverts(moving.old.ledger.MoveNotTaken, successor=idle.address, leftWei=100 * NANO):
        moving.complete(saver)
    assert moving.old.balance(saver) == 100
