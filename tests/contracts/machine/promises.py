"""The manager's bond, its receipts, and what they are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.community import NOTICE, WITHDRAWAL_DELAY
from tests.contracts.machine.base import MANAGED, Machine, Refusal, some
from tests.contracts.machine.model import EXCUSED, OPEN, PAID, Book

from fairwatt.lanes import chained
from fairwatt.orders import FlexibleOrder, Order, SignedOrder
from fairwatt.receipts import OrderReceipt, SignedReceipt

if TYPE_CHECKING:
    from fairwatt.chain import Signer

TOKEN = 10**18
PENALTY, REWARD = 10 * TOKEN, 2 * TOKEN
CHALLENGE_WINDOW = 7 * 86_400
BOND_DELAY = NOTICE + WITHDRAWAL_DELAY + CHALLENGE_WINDOW


class Promises(Machine):
    """I18."""

    @property
    def manager(self) -> Signer:
        return self.community.solver

    # --------------------------------------------------------------------------------- bonds

    @rule(tokens=st.integers(0, 25))
    def deposit_bond(self, tokens: int) -> None:
        """Anyone may add to it."""
        bonds, outsider = self.contracts.bonds, self.community.outsider
        refusal = None if tokens else ("AmountZero",)
        arguments = (self.manager.address, tokens * TOKEN)
        if self.attempt(bonds.deposit, *arguments, sender=outsider, refusal=refusal):
            self.model.bond.amount += tokens * TOKEN
            self.model.transfer(outsider.address, str(bonds.address), tokens * TOKEN)

    @rule(share=st.integers(0, 110))
    def request_bond(self, share: int) -> None:
        bond, manager, now = self.model.bond, self.manager, self.now
        wei = bond.amount * share // 100 + (share > 100)
        small = ("BondTooSmall", manager.address, wei, bond.amount)
        refusal = small if wei > bond.amount else None
        request = self.contracts.bonds.requestWithdrawal
        if self.attempt(request, wei, sender=manager, refusal=refusal):
            bond.requested, bond.available_from = wei, now + BOND_DELAY

    @rule()
    def withdraw_bond(self) -> None:
        bonds, bond, manager = self.contracts.bonds, self.model.bond, self.manager
        paid = min(bond.requested, bond.amount)
        refusal: Refusal | None = None
        if not paid:
            refusal = ("NoWithdrawalRequested", manager.address)
        elif self.now < bond.available_from:
            refusal = ("WithdrawalNotReady", manager.address, bond.available_from)
        if self.attempt(bonds.withdraw, sender=manager, refusal=refusal):
            bond.amount -= paid
            bond.requested = 0
            self.model.transfer(str(bonds.address), manager.address, paid)

    # ------------------------------------------------------------------------------- receipts

    @precondition(lambda self: any(book.orders for book in self.open_books()))
    @rule(pick=some)
    def give_receipt(self, pick: int) -> None:
        """For an order of either kind, handed in or placed, while its book is open; anywhere."""
        orders = [(book, signed) for book in self.open_books() for signed in book.orders.values()]
        self.promise(*orders[pick % len(orders)])

    def promise(self, book: Book, signed: SignedOrder) -> None:
        assert self.manager.key is not None
        receipt = OrderReceipt.of(signed.order, self.now)
        domain = self.community.chain.receipt_domain
        book.receipts.append((signed, receipt.signed_by(self.manager.key, domain)))

    @precondition(lambda self: any(book.receipts for book in self.books))
    @rule(
        pick=some,
        fault=st.sampled_from(["", "", "", "signer", "issued", "list", "scanned"]),
        scan=st.booleans(),
        who=some,
    )
    def challenge(self, pick: int, fault: str, scan: bool, who: int) -> None:
        """Show a receipt, whatever became of its order."""
        shown = [(book, *receipt) for book in self.books for receipt in book.receipts]
        book, signed, receipt = shown[pick % len(shown)]
        self.show(book, signed, receipt, fault=fault, scan=scan, who=who)

    def show(
        self,
        book: Book,
        signed: SignedOrder,
        receipt: SignedReceipt,
        *,
        fault: str = "",
        scan: bool = False,
        who: int = 0,
    ) -> bool:
        """Challenge; whether the bond paid."""
        order, model, bonds = signed.order, self.model, self.contracts.bonds
        challenger, hashes = self.stranger(who), book.hashes
        if fault == "issued":
            receipt = self._receipt(order, book.gate, self.manager)
        elif fault == "signer":
            receipt = self._receipt(order, receipt.receipt.issued_at, self.community.outsider)
        reached, rest = bytes(32), hashes[1:] if fault == "list" else hashes
        if scan and fault != "list" and order.struct_hash not in hashes[:1]:
            self.send(bonds.scan, order.struct_hash, reached, hashes[:1], sender=challenger)
            reached, rest = chained(hashes[:1]), hashes[1:]
        if fault == "scanned":
            reached = b"\1" * 32
            unknown = ("NotScanned", order.struct_hash, reached)
            scanned = (order.struct_hash, reached, rest)
            self.attempt(bonds.scan, *scanned, sender=challenger, refusal=unknown)
        refusal = (
            self._undecided(book)
            or self._unbound(book, order, fault)
            or self._listed(order, hashes, reached, rest)
            or self._impossible(book, signed)
            or self._unowed(book, order.peer)
        )
        message = receipt.to_message(signed)
        arguments = (message, reached, rest)
        if not self.attempt(bonds.challenge, *arguments, sender=challenger, refusal=refusal):
            return False
        paid = min(PENALTY, model.bond.amount)
        reward = paid * REWARD // PENALTY
        model.bond.amount -= paid
        book.claims[order.peer] = PAID
        model.transfer(str(bonds.address), challenger.address, reward)
        wallet = self.model.peers[order.peer].at(self.now - 1).wallet
        model.transfer(str(bonds.address), wallet.address, paid - reward)
        self.reached["receipt broken"] += 1
        self.reached["receipt of a flexible order broken"] += isinstance(order, FlexibleOrder)
        twice = ("NothingOwed", book.market, book.start, order.peer, PAID)
        self.attempt(bonds.challenge, *arguments, sender=challenger, refusal=twice)
        return True

    def _receipt(self, order: Any, issued_at: int, signer: Signer) -> SignedReceipt:
        assert signer.key is not None
        domain = self.community.chain.receipt_domain
        return OrderReceipt.of(order, issued_at).signed_by(signer.key, domain)

    # --------------------------------------------------------------------------- what R3 to R9 say

    def _undecided(self, book: Book) -> Refusal | None:
        session, late = (book.market, book.start), book.deadline + CHALLENGE_WINDOW
        if not book.terms.exclusive_window_seconds:
            return ("NotBinding", book.market)
        if not book.proposal and self.now <= book.deadline:
            return ("NotYetDecided", *session, book.deadline)
        return ("ChallengeTooLate", *session, late) if self.now > late else None

    def _unbound(self, book: Book, order: Any, fault: str) -> Refusal | None:
        opens = book.terms.session_end(book.start) - NOTICE
        if fault == "issued":
            return ("IssuedOutOfTime", book.gate, opens, book.gate)
        if fault == "signer":
            outsider = self.community.outsider.address
            return ("ReceiptSignerMismatch", self.manager.address, outsider)
        return None

    @staticmethod
    def _listed(
        order: Any, hashes: list[bytes], reached: bytes, rest: list[bytes]
    ) -> Refusal | None:
        if reached == b"\1" * 32:
            return ("NotScanned", order.struct_hash, reached)
        if order.struct_hash in rest:
            return ("OrderIsThere", order.struct_hash, rest.index(order.struct_hash))
        expected = chained(hashes) if hashes else bytes(32)
        actual = chained(rest, reached)
        return None if actual == expected else ("NotTheOrders", expected, actual)

    @staticmethod
    def _impossible(book: Book, signed: SignedOrder) -> Refusal | None:
        key = signed.order.peer, signed.order.nonce
        return ("OrderIsCancelled", *key) if book.is_cancelled(key) else None

    def _unowed(self, book: Book, peer: int) -> Refusal | None:
        session, claim = (book.market, book.start), book.claims[peer]
        if book.was_paused:
            return ("ClearingWasPaused", *session)
        if claim != OPEN:
            return ("NothingOwed", *session, peer, claim)
        if not self.model.bond.amount:
            return ("BondTooSmall", self.manager.address, PENALTY, 0)
        return None

    # -------------------------------------------------------------------------------- excuses

    @precondition(lambda self: any(book.orders for book in self.books))
    @rule(pick=some, out_of_turn=st.booleans())
    def excuse(self, pick: int, out_of_turn: bool) -> None:
        """The manager shows all orders of a peer that together cost more than it has, or not."""
        choice = [
            (book, peer)
            for book in self.books
            for peer in sorted({key[0] for key in book.orders})
            if book.market == MANAGED or pick % 5 == 0
        ]
        if choice:
            self.excuse_peer(*choice[pick % len(choice)], out_of_turn=out_of_turn)

    def excuse_peer(self, book: Book, peer: int, *, out_of_turn: bool = False) -> None:
        orders = [signed for key, signed in sorted(book.orders.items()) if key[0] == peer]
        if not orders:
            return
        excuse, manager = self.contracts.bonds.excuse, self.manager
        shown = [signed.to_struct() for signed in orders]
        outsider = self.community.outsider
        stranger = ("NotTheManager", outsider.address)
        self.attempt(excuse, shown, sender=outsider, refusal=stranger)
        if book.market != MANAGED:
            refused = ("NotTheManager", manager.address)
            self.attempt(excuse, shown, sender=manager, refusal=refused)
            return
        if not out_of_turn:
            self.travel(book.gate)
        refusal = self._not_its_turn(book) or self._no_excuse(
            book, peer, [signed.order for signed in orders]
        )
        if self.attempt(excuse, shown, sender=manager, refusal=refusal):
            book.claims[peer] = EXCUSED
            again = ("NothingOwed", book.market, book.start, peer, EXCUSED)
            self.attempt(excuse, shown, sender=manager, refusal=again)

    def _not_its_turn(self, book: Book) -> Refusal | None:
        until = book.terms.exclusive_deadline(book.start)
        is_turn = book.gate <= self.now <= until and not book.proposal
        return None if is_turn else ("NotTheManagersTurn", *self._session(book), book.gate, until)

    @staticmethod
    def _session(book: Book) -> tuple[int, int]:
        return book.market, book.start

    def _no_excuse(
        self, book: Book, peer: int, orders: list[Order | FlexibleOrder]
    ) -> Refusal | None:
        if book.was_paused:
            return ("ClearingWasPaused", *self._session(book))
        if book.claims[peer] != OPEN:
            return ("NothingOwed", *self._session(book), peer, book.claims[peer])
        placed = book.placed_nonce(peer)
        cost = sum(order.worst_case_nano for order in orders if order.nonce != placed)
        means = self.model.accounts.means(peer, book.gate)
        most = book.most_wh(*orders)
        limit = self.model.peers[peer].limit_wh(book.terms)
        if cost > means or most > limit:
            return None
        return ("NoExcuse", peer, (cost, means, most, limit))

    @precondition(lambda self: self.books)
    @rule(pick=some, in_turn=st.booleans())
    def witness_pause(self, pick: int, in_turn: bool) -> None:
        book = self.books[pick % len(self.books)]
        ahead = [book for book in self.books if book.market == MANAGED and self.now < book.gate]
        if in_turn and ahead:
            book = ahead[pick % len(ahead)]
            self.travel(book.gate)
        self.witness(book)

    def witness(self, book: Book) -> None:
        """Only while it is paused, and only in the manager's window."""
        refusal = self._not_its_turn(book)
        if not refusal and not self.model.paused:
            refusal = ("NotPaused",)
        witness, outsider = self.contracts.bonds.witnessPause, self.community.outsider
        if self.attempt(witness, *self._session(book), sender=outsider, refusal=refusal):
            book.was_paused = True
