"""`Ledger.deposit` and `depositToFund`: whole nano-tokens, received in full (R1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.community import NANO, Community, Member
from tests.contracts.conftest import Books
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, project

if TYPE_CHECKING:
    from fairwatt.chain import Receipt


@pytest.fixture
def consumer(community: Community) -> Member:
    return community.admit(Role.CONSUMER)


def _transfer(token: Any, sender: str, to: str, nano: int) -> Any:
    return event(token.Transfer, **{"from": sender, "to": to}, value=nano * NANO)


def test_deposit__by_the_peer__adds_to_its_balance(books: Books, consumer: Member) -> None:
    receipt = books.deposit(consumer, 5)
    token, wallet = books.community.chain.contracts.token, consumer.wallet.address
    assert events(receipt) == [
        _transfer(token, wallet, books.ledger.address, 5),
        event(books.ledger.Deposited, peer=consumer.peer, **{"from": wallet}, amountNano=5),
    ]
    assert books.balance(consumer) == books.available(consumer) == 5


def test_deposit__by_another_account__is_the_peers(community: Community, consumer: Member) -> None:
    contracts, friend = community.chain.contracts, community.outsider
    community.send(contracts.token.treasuryMint, friend.address, NANO, sender=community.treasury)
    community.send(contracts.token.approve, contracts.ledger, NANO, sender=friend)
    receipt = community.send(contracts.ledger.deposit, consumer.peer, 1, sender=friend)
    assert events(receipt) == [
        _transfer(contracts.token, friend.address, contracts.ledger.address, 1),
        event(
            contracts.ledger.Deposited,
            peer=consumer.peer,
            **{"from": friend.address},
            amountNano=1,
        ),
    ]
    assert community.balance(consumer) == 1


@pytest.mark.parametrize("beyond", [0, 1])
def test_deposit__for_nobody__reverts(community: Community, beyond: int) -> None:
    contracts = community.chain.contracts
    nobody = beyond * (contracts.registry.peerCount() + 1)
    with reverts(contracts.ledger.UnknownAccount, peer=nobody):
        community.send(contracts.ledger.deposit, nobody, 1, sender=community.outsider)


def test_deposit__of_nothing__reverts(community: Community, consumer: Member) -> None:
    ledger = community.chain.contracts.ledger
    with reverts(ledger.AmountZero):
        community.send(ledger.deposit, consumer.peer, 0, sender=consumer.wallet)


def test_deposit__without_approval__reverts(community: Community, consumer: Member) -> None:
    contracts = community.chain.contracts
    with reverts(
        contracts.token.ERC20InsufficientAllowance,
        spender=contracts.ledger.address,
        allowance=0,
        needed=7 * NANO,
    ):
        community.send(contracts.ledger.deposit, consumer.peer, 7, sender=consumer.wallet)


def test_deposit__without_tokens__reverts(community: Community, consumer: Member) -> None:
    contracts, wallet = community.chain.contracts, consumer.wallet
    community.send(contracts.token.approve, contracts.ledger, 7 * NANO, sender=wallet)
    with reverts(
        contracts.token.ERC20InsufficientBalance,
        sender=wallet.address,
        balance=0,
        needed=7 * NANO,
    ):
        community.send(contracts.ledger.deposit, consumer.peer, 7, sender=wallet)


@pytest.fixture
def any_token(community: Community) -> Any:
    """An ERC-20 that charges for transfers if it is told to."""
    return project().TestERC20.deploy(18, sender=community.admin.account)


@pytest.fixture
def fee_books(community: Community, any_token: Any) -> Books:
    return Books.open(community, any_token)


def _deposit_any(books: Books, token: Any, nano: int, *peer: int) -> Receipt:
    community, payer = books.community, books.community.outsider
    community.send(token.mint, payer.address, nano * NANO, sender=payer)
    community.send(token.approve, books.ledger, nano * NANO, sender=payer)
    method = books.ledger.deposit if peer else books.ledger.depositToFund
    return community.send(method, *peer, nano, sender=payer)


def test_deposit__of_a_token_with_a_transfer_fee__reverts(
    fee_books: Books, any_token: Any, consumer: Member
) -> None:
    fee_books.community.send(any_token.setFee, 10, sender=consumer.wallet)
    with reverts(
        fee_books.ledger.DepositIncomplete, expectedWei=1000 * NANO, receivedWei=990 * NANO
    ):
        _deposit_any(fee_books, any_token, 1000, consumer.peer)


MOST = 2**63 - 1  # nano-token, of all accounts together


def test_deposit__of_all_that_the_accounts_hold__is_accepted(
    fee_books: Books, any_token: Any, consumer: Member
) -> None:
    _deposit_any(fee_books, any_token, MOST - 1, consumer.peer)
    _deposit_any(fee_books, any_token, 1)
    assert (fee_books.balance(consumer), fee_books.ledger.heldNano()) == (MOST - 1, MOST)


def test_deposit__of_more_than_the_accounts_hold__reverts(
    fee_books: Books, any_token: Any, consumer: Member
) -> None:
    _deposit_any(fee_books, any_token, 5)
    with reverts(fee_books.ledger.DepositTooLarge, amountNano=MOST, roomNano=MOST - 5):
        _deposit_any(fee_books, any_token, MOST, consumer.peer)
    with reverts(fee_books.ledger.DepositTooLarge, amountNano=MOST - 4, roomNano=MOST - 5):
        _deposit_any(fee_books, any_token, MOST - 4)


def test_deposit_to_fund__by_anyone__adds_to_the_fund(books: Books) -> None:
    receipt = books.endow(9)
    token, manager = books.community.chain.contracts.token, books.community.fund_manager
    assert events(receipt) == [
        _transfer(token, manager.address, books.ledger.address, 9),
        event(books.ledger.FundReceived, **{"from": manager.address}, amountNano=9),
    ]
    assert books.ledger.fundNano() == 9


def test_deposit_to_fund__of_nothing__reverts(books: Books) -> None:
    with reverts(books.ledger.AmountZero):
        books.endow(0)


def test_deposit_to_fund__of_a_token_with_a_transfer_fee__reverts(
    fee_books: Books, any_token: Any
) -> None:
    fee_books.community.send(any_token.setFee, 10, sender=fee_books.community.outsider)
    with reverts(
        fee_books.ledger.DepositIncomplete, expectedWei=1000 * NANO, receivedWei=990 * NANO
    ):
        _deposit_any(fee_books, any_token, 1000)
