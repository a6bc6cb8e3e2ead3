"""`Ledger.requestWithdrawal` and `withdraw`: after the delay nobody can stop it (R2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ape
import pytest
from tests.community import C3, NANO, NOTICE, WITHDRAWAL_DELAY, Community, Member
from tests.contracts.conftest import Books
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role
from fairwatt.chain import test_signer as signer

if TYPE_CHECKING:
    from fairwatt.chain import Receipt


@pytest.fixture
def saver(books: Books) -> Member:
    """A consumer with 100 nano-tokens."""
    member = books.community.admit(Role.CONSUMER)
    books.deposit(member, 100)
    return member


def _requested_at(books: Books, member: Member) -> int:
    return int(books.ledger.account(member.peer).withdrawalRequestedAt)


def _wait_out(books: Books, member: Member) -> None:
    books.community.wait_until(_requested_at(books, member) + WITHDRAWAL_DELAY)


def _paid(books: Books, receipt: Receipt, member: Member, nano: int) -> bool:
    """Whether the transaction paid this much to the member, and did nothing else."""
    token = books.community.chain.contracts.token
    wallet = member.wallet.address
    return events(receipt) == [
        event(books.ledger.Withdrawn, peer=member.peer, wallet=wallet, amountNano=nano),
        event(
            token.Transfer,
            **{"from": books.ledger.address, "to": wallet},
            value=nano * NANO,
        ),
    ]


# ----------------------------------------------------------------------------------- requests


def test_request_withdrawal__of_free_funds__takes_them_out_of_reach(
    books: Books, saver: Member
) -> None:
    receipt = books.request(saver, 60)
    at = ape.chain.blocks.head.timestamp
    assert events(receipt) == [
        event(
            books.ledger.WithdrawalRequested,
            peer=saver.peer,
            amountNano=60,
            availableFrom=at + WITHDRAWAL_DELAY,
        )
    ]
    assert (_requested_at(books, saver), books.balance(saver)) == (at, 100)
    assert books.available(saver) == 40


def test_request_withdrawal__of_everything__succeeds(books: Books, saver: Member) -> None:
    books.request(saver, 100)
    assert books.available(saver) == 0


def test_request_withdrawal__of_more_than_is_there__reverts(books: Books, saver: Member) -> None:
    with reverts(
        books.ledger.InsufficientFunds, peer=saver.peer, neededNano=101, availableNano=100
    ):
        books.request(saver, 101)


def test_request_withdrawal__of_locked_funds__reverts(books: Books, saver: Member) -> None:
    books.lock(saver, 30)
    with reverts(books.ledger.InsufficientFunds, peer=saver.peer, neededNano=71, availableNano=70):
        books.request(saver, 71)


def test_request_withdrawal__of_credit__reverts(books: Books, saver: Member) -> None:
    books.endow(50)
    books.credit(saver, 50)
    with reverts(
        books.ledger.InsufficientFunds, peer=saver.peer, neededNano=101, availableNano=100
    ):
        books.request(saver, 101)


def test_request_withdrawal__below_zero__reverts(books: Books, saver: Member) -> None:
    books.endow(50)
    books.credit(saver, 50)
    books.clear((saver.peer, -120), incomes=((0, 120),))
    with reverts(books.ledger.InsufficientFunds, peer=saver.peer, neededNano=1, availableNano=0):
        books.request(saver, 1)


def test_request_withdrawal__of_what_is_owed__reverts(books: Books, saver: Member) -> None:
    other = books.community.supplier
    books.lock(saver, 100)
    books.owe((saver.peer, other.peer, 30))
    books.unlock(saver, 100)
    with reverts(books.ledger.InsufficientFunds, peer=saver.peer, neededNano=71, availableNano=70):
        books.request(saver, 71)


def test_request_withdrawal__again__replaces_the_first_and_waits_anew(
    books: Books, saver: Member
) -> None:
    books.request(saver, 100)
    first = _requested_at(books, saver)
    books.community.wait_until(first + WITHDRAWAL_DELAY)
    books.request(saver, 20)
    second = _requested_at(books, saver)
    assert second == first + WITHDRAWAL_DELAY
    assert books.available(saver) == 80
    with reverts(
        books.ledger.WithdrawalNotReady,
        peer=saver.peer,
        availableFrom=second + WITHDRAWAL_DELAY,
    ):
        books.withdraw(saver)
    _wait_out(books, saver)
    assert _paid(books, books.withdraw(saver), saver, 20)


def test_request_withdrawal__of_nothing__takes_the_request_back(
    books: Books, saver: Member
) -> None:
    books.request(saver, 100)
    books.request(saver, 0)
    assert books.available(saver) == 100
    _wait_out(books, saver)
    with reverts(books.ledger.NoWithdrawalRequested, peer=saver.peer):
        books.withdraw(saver)


def test_request_withdrawal__by_an_outsider__reverts(books: Books) -> None:
    outsider = books.community.outsider
    with reverts(books.ledger.NotAnAccount, caller=outsider.address):
        books.community.send(books.ledger.requestWithdrawal, 0, sender=outsider)


# -------------------------------------------------------------------------------- withdrawals


def test_withdraw__in_the_second_the_delay_ends__pays_the_wallet(
    books: Books, saver: Member
) -> None:
    token = books.community.chain.contracts.token
    books.request(saver, 60)
    _wait_out(books, saver)
    assert _paid(books, books.withdraw(saver), saver, 60)
    assert token.balanceOf(saver.wallet.address) == 60 * NANO
    assert books.balance(saver) == books.available(saver) == 40


def test_withdraw__a_second_early__reverts(books: Books, saver: Member) -> None:
    books.request(saver, 60)
    ready = _requested_at(books, saver) + WITHDRAWAL_DELAY
    books.community.wait_until(ready - 1)
    with reverts(books.ledger.WithdrawalNotReady, peer=saver.peer, availableFrom=ready):
        books.withdraw(saver)


def test_withdraw__without_request__reverts(books: Books, saver: Member) -> None:
    with reverts(books.ledger.NoWithdrawalRequested, peer=saver.peer):
        books.withdraw(saver)


def test_withdraw__twice__reverts(books: Books, saver: Member) -> None:
    books.request(saver, 60)
    _wait_out(books, saver)
    books.withdraw(saver)
    with reverts(books.ledger.NoWithdrawalRequested, peer=saver.peer):
        books.withdraw(saver)


def test_withdraw__by_an_outsider__reverts(books: Books) -> None:
    outsider = books.community.outsider
    with reverts(books.ledger.NotAnAccount, caller=outsider.address):
        books.community.send(books.ledger.withdraw, sender=outsider)


def test_withdraw__after_an_imbalance__pays_what_is_left(books: Books, saver: Member) -> None:
    books.request(saver, 90)
    books.owe((saver.peer, books.community.supplier.peer, 35))
    _wait_out(books, saver)
    assert _paid(books, books.withdraw(saver), saver, 65)
    assert books.balance(saver) == 0


def test_withdraw__when_nothing_is_left__has_no_request(books: Books, saver: Member) -> None:
    books.request(saver, 90)
    books.owe((saver.peer, books.community.supplier.peer, 100))
    _wait_out(books, saver)
    with reverts(books.ledger.NoWithdrawalRequested, peer=saver.peer):
        books.withdraw(saver)


def test_withdraw__of_income_that_came_after_the_request__is_refused(
    books: Books, saver: Member
) -> None:
    books.request(saver, 90)
    books.owe((saver.peer, books.community.supplier.peer, 70))
    books.deposit(saver, 1_000)
    _wait_out(books, saver)
    assert _paid(books, books.withdraw(saver), saver, 30)


def test_withdraw__with_arrears__leaves_what_is_owed(books: Books, saver: Member) -> None:
    books.owe((saver.peer, books.community.supplier.peer, 130))
    books.deposit(saver, 50)
    assert books.available(saver) == 20
    books.request(saver, 20)
    _wait_out(books, saver)
    assert _paid(books, books.withdraw(saver), saver, 20)
    assert books.balance(saver) == 30


def test_withdraw__with_credit__leaves_the_credit(books: Books, saver: Member) -> None:
    books.endow(50)
    books.credit(saver, 50)
    books.request(saver, 100)
    books.owe((saver.peer, books.community.supplier.peer, 10))
    _wait_out(books, saver)
    assert _paid(books, books.withdraw(saver), saver, 90)
    assert books.available(saver) == 50


# ------------------------------------------------------------------- nobody stops a withdrawal


@pytest.fixture
def citizen(community: Community) -> Member:
    """A consumer with a balance in the market that has requested it all."""
    member = community.admit(Role.CONSUMER, C3)
    community.deposit(member, 100)
    ledger = community.chain.contracts.ledger
    community.send(ledger.requestWithdrawal, 100, sender=member.wallet)
    return member


def _requires_its_money(community: Community, member: Member) -> None:
    contracts = community.chain.contracts
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    community.send(contracts.ledger.withdraw, sender=member.wallet)
    assert contracts.token.balanceOf(member.wallet.address) == 100 * NANO


def test_withdraw__by_a_suspended_peer__pays(community: Community, citizen: Member) -> None:
    registry = community.chain.contracts.registry
    community.send(registry.suspend, citizen.peer, sender=community.registrar)
    _requires_its_money(community, citizen)


def test_withdraw__by_a_peer_that_left__pays(community: Community, citizen: Member) -> None:
    community.send(community.chain.contracts.registry.leaveCommunity, sender=citizen.wallet)
    _requires_its_money(community, citizen)


def test_withdraw__while_the_market_is_paused__pays(community: Community, citizen: Member) -> None:
    contracts = community.chain.contracts
    community.send(contracts.order_book.pause, sender=community.guardian)
    _requires_its_money(community, citizen)


def test_withdraw__until_the_new_wallet_is_in_force__is_the_old_ones(
    community: Community, citizen: Member
) -> None:
    contracts, new = community.chain.contracts, signer(community._wallets)
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    community.send(contracts.registry.offerWallet, new.address, sender=citizen.wallet)
    community.send(contracts.registry.acceptWallet, citizen.peer, sender=new)
    in_force = ape.chain.blocks.head.timestamp + NOTICE + 1
    community.wait_until(in_force - 2)
    with reverts(contracts.ledger.NotAnAccount, caller=new.address):
        community.send(contracts.ledger.withdraw, sender=new)
    community.send(contracts.ledger.withdraw, sender=citizen.wallet)
    assert contracts.token.balanceOf(citizen.wallet.address) == 100 * NANO


def test_withdraw__once_the_new_wallet_is_in_force__is_the_new_ones(
    community: Community, citizen: Member
) -> None:
    contracts, new = community.chain.contracts, signer(community._wallets)
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    community.send(contracts.registry.offerWallet, new.address, sender=citizen.wallet)
    community.send(contracts.registry.acceptWallet, citizen.peer, sender=new)
    community.wait_until(ape.chain.blocks.head.timestamp + NOTICE + 1)
    with reverts(contracts.ledger.NotAnAccount, caller=citizen.wallet.address):
        community.send(contracts.ledger.withdraw, sender=citizen.wallet)
    community.send(contracts.ledger.withdraw, sender=new)
    assert contracts.token.balanceOf(new.address) == 100 * NANO
