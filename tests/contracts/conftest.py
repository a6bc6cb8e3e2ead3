"""A ledger whose market, down to its trades, is test accounts: any booking can be made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.community import DAY, NANO, WITHDRAWAL_DELAY, Community, Member

from fairwatt.chain import Receipt, Signer, project, test_signer

if TYPE_CHECKING:
    from collections.abc import Iterator


def booked(*amounts: tuple[int, int]) -> bytes:
    """(peer, amount) as the ledger takes them: a word each."""
    return b"".join(
        peer.to_bytes(4) + bytes(20) + nano.to_bytes(8, signed=nano < 0) for peer, nano in amounts
    )


@dataclass(frozen=True)
class Books:
    """The ledger by itself; it shares registry and token with the community."""

    community: Community
    ledger: Any
    order_book: Signer
    clearing: Signer
    settlement: Signer
    trades: Signer

    @classmethod
    def open(cls, community: Community, token: Any | None = None, *, connect: bool = True) -> Books:
        contracts = community.chain.contracts
        ledger = project().Ledger.deploy(
            community.admin.address,
            DAY,
            contracts.registry,
            token or contracts.token,
            WITHDRAWAL_DELAY,
            sender=community.admin.account,
        )
        books = cls(
            community,
            ledger,
            order_book=test_signer(9),
            clearing=community.solver,
            settlement=test_signer(17),
            trades=test_signer(18),
        )
        callers = (books.order_book, books.clearing, books.settlement, books.trades)
        wiring = [who.address for who in callers]
        role, manager = ledger.FUND_MANAGER_ROLE(), community.fund_manager.address
        if connect:
            community.send(ledger.connectMarket, *wiring, sender=community.admin)
        community.send(ledger.grantRole, role, manager, sender=community.admin)
        return books

    def deposit(self, member: Member, nano: int) -> Receipt:
        self._bring(member.wallet, nano)
        return self.community.send(self.ledger.deposit, member.peer, nano, sender=member.wallet)

    def endow(self, nano: int) -> Receipt:
        """Give tokens to the community fund."""
        manager = self.community.fund_manager
        self._bring(manager, nano)
        return self.community.send(self.ledger.depositToFund, nano, sender=manager)

    def _bring(self, wallet: Signer, nano: int) -> None:
        token, treasury = self.community.chain.contracts.token, self.community.treasury
        self.community.send(token.treasuryMint, wallet.address, nano * NANO, sender=treasury)
        self.community.send(token.approve, self.ledger, nano * NANO, sender=wallet)

    def request(self, member: Member, nano: int) -> Receipt:
        return self.community.send(self.ledger.requestWithdrawal, nano, sender=member.wallet)

    def withdraw(self, member: Member) -> Receipt:
        return self.community.send(self.ledger.withdraw, sender=member.wallet)

    def lock(self, member: Member, nano: int) -> Receipt:
        return self.community.send(self.ledger.lock, member.peer, nano, sender=self.order_book)

    def unlock(self, member: Member, nano: int) -> Receipt:
        return self.community.send(self.ledger.unlock, member.peer, nano, sender=self.order_book)

    def credit(self, member: Member, nano: int) -> Receipt:
        manager = self.community.fund_manager
        return self.community.send(self.ledger.setCredit, member.peer, nano, sender=manager)

    def allot(self, *allotments: tuple[int, int]) -> Receipt:
        manager = self.community.fund_manager
        return self.community.send(self.ledger.allot, list(allotments), sender=manager)

    def clear(
        self,
        *bookings: tuple[int, int],
        unlocks: tuple[tuple[int, int], ...] = (),
        incomes: tuple[tuple[int, int], ...] = (),
        gate: int = 0,
        fee: tuple[int, int] = (0, 0),
    ) -> Receipt:
        """Book (peer, amount), unlocks, incomes (account, amount) and a fee (amount, account)."""
        book = self.ledger.bookClearing
        arguments = (booked(*bookings), booked(*unlocks), list(incomes), gate, *fee)
        return self.community.send(book, *arguments, sender=self.clearing)

    def owe(self, *payments: tuple[int, int, int]) -> Receipt:
        """Book imbalances (debtor, creditor, amount)."""
        book = self.ledger.bookImbalances
        return self.community.send(book, list(payments), sender=self.settlement)

    def trade(self, payer: Member, payee: Member, nano: int) -> Receipt:
        """Book the payment for a trade."""
        book = self.ledger.bookTrade
        return self.community.send(book, payer.peer, payee.peer, nano, sender=self.trades)

    def collect(self, debtor: Member, creditor: Member, sender: Signer | None = None) -> Receipt:
        sender = sender or self.community.outsider
        collect = self.ledger.collect
        return self.community.send(collect, debtor.peer, creditor.peer, sender=sender)

    def balance(self, member: Member) -> int:
        return int(self.ledger.account(member.peer).balanceNano)

    def available(self, member: Member) -> int:
        return int(self.ledger.availableNano(member.peer))

    def require_conservation(self) -> None:
        registry, token = self.community.chain.contracts.registry, self.ledger.TOKEN()
        peers = range(1, registry.peerCount() + 1)
        total = sum(self.ledger.account(peer).balanceNano for peer in peers)
        held = project().CommunityToken.at(token).balanceOf(self.ledger)
        assert (total + self.ledger.fundNano()) * NANO == held
        assert self.ledger.heldNano() * NANO == held
        for account in map(self.ledger.account, peers):
            # Free funds are below zero by arrears alone, and never while a withdrawal is requested.
            short = max(0, -account.freeNano)
            assert short <= account.arrearsNano
            assert not (short and account.withdrawalNano)


@pytest.fixture
def books(community: Community) -> Iterator[Books]:
    """The ledger by itself; after the test its tokens must add up."""
    books = Books.open(community)
    yield books
    books.require_conservation()
