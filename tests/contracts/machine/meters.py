"""Readings, and the lack of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eth_account import Account
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.contracts.machine.base import Machine, Refusal, some

from fairwatt.imbalances import estimate_imbalance, settle_reading
from fairwatt.meter import Reading, SignedReading
from fairwatt.readings import bring

if TYPE_CHECKING:
    from tests.contracts.machine.model import Book, Peer

FORGER = Account.from_key(b"\7" * 32)


class Meters(Machine):
    """I15."""

    @precondition(lambda self: self.readable_books())
    @rule(pick=some, who=some, energy=st.integers(-3_000, 3_000), forged=st.booleans())
    def read_meter(self, pick: int, who: int, energy: int, forged: bool) -> None:
        book = (choice := self.readable_books())[pick % len(choice)]
        self.bring_reading(book, self.metered(who), energy, forged=forged)

    def bring_reading(self, book: Book, peer: Peer, energy: int, *, forged: bool = False) -> None:
        energies = tuple(energy + 7 * at for at in range(book.terms.periods_per_session))
        reading = Reading(book.market, peer.number, book.start, energies)
        domain = self.community.chain.reading_domain
        assert peer.meter is not None
        signed = reading.signed_by(peer.meter, domain)
        self._refuse_early(book, peer, signed)
        unknown = self._unmetered(book, peer)
        if forged and not unknown and peer.number not in book.read:
            refusal = ("ReadingSignerMismatch", peer.number, FORGER.address)
            self._reconcile(book, peer, reading.signed_by(FORGER, domain), refusal)
        receipt = self._reconcile(book, peer, signed, unknown)
        if unknown:
            return
        due = 0
        if peer.number in book.read:
            assert [event.event_name for event in receipt.events] == ["ReadingsBrought"]
        else:
            estimated, position = peer.number in book.estimated, book.position_wh(peer.number)
            _, tariffs = self.model.tariffs_of(book)
            due = settle_reading(
                peer.number, energies, position, tariffs, estimated_before=estimated
            ).payment_nano
            self.reached["reading after estimate"] += estimated
            self.reached["reading of trades"] += peer.number in book.traded
            book.read.add(peer.number)
        self._settle(peer.number, due)

    @precondition(lambda self: self.readable_books())
    @rule(pick=some, who=some)
    def estimate(self, pick: int, who: int) -> None:
        book = (choice := self.readable_books())[pick % len(choice)]
        self.bring_estimate(book, self.metered(who))

    def bring_estimate(self, book: Book, peer: Peer) -> None:
        self._refuse_early(book, peer, None)
        awaited, number = book.terms.reading_deadline(book.start), peer.number
        unknown, settled = self._unmetered(book, peer), number in book.read | book.estimated
        if not unknown and not settled and self.now <= awaited:
            self._reconcile(book, peer, None, ("ReadingStillAwaited", number, book.start, awaited))
        self.travel(awaited + 1)
        receipt = self._reconcile(book, peer, None, unknown)
        if unknown:
            return
        due = 0
        if settled:
            assert [event.event_name for event in receipt.events] == ["ReadingsBrought"]
        else:
            _, tariffs = self.model.tariffs_of(book)
            due = estimate_imbalance(number, book.position_wh(number), tariffs).payment_nano
            self.reached["estimate"] += 1
            book.estimated.add(number)
        self._settle(number, due)

    @precondition(lambda self: self.books)
    @rule(pick=some, who=some)
    def read_meter_too_late(self, pick: int, who: int) -> None:
        """Once the time of a session is over, nothing changes any more."""
        over = [book for book in self.books if self.now > self._last(book)]
        if over:
            book, peer = over[pick % len(over)], self.metered(who)
            late = ("SettlementTooLate", book.market, book.start, self._last(book))
            self._reconcile(book, peer, None, late)

    @staticmethod
    def _last(book: Book) -> int:
        return book.terms.settlement_deadline(book.start)

    def _refuse_early(self, book: Book, peer: Peer, signed: SignedReading | None) -> None:
        """Wait until the session is over, and cleared or void."""
        end = book.terms.session_end(book.start)
        if self.now < end:
            refusal = ("SessionNotOver", book.market, book.start, end)
            self._reconcile(book, peer, signed, refusal)
            self.travel(end)
        if not book.proposal and self.now <= book.deadline:
            refusal = ("ClearingStillPossible", book.market, book.start, book.deadline)
            self._reconcile(book, peer, signed, refusal)
            self.travel(book.deadline + 1)

    def _unmetered(self, book: Book, peer: Peer) -> Refusal | None:
        """Who was admitted later has nothing to do with the session."""
        return None if peer.at(book.start).standing else ("PeerNotMetered", peer.number)

    def _reconcile(
        self, book: Book, peer: Peer, signed: SignedReading | None, refusal: Refusal | None
    ) -> Any:
        """Bring a reading, or its absence, with the positions that the model has."""
        positions = book.proposal.positions_wh if book.proposal else {}
        tariff, _ = self.model.tariffs_of(book)
        brought = bring(
            positions,
            [signed] if signed else [],
            missing=[] if signed else [peer.number],
            tariffs={peer.number: tariff},
        )
        arguments = (book.market, book.start, list(brought.leaves), brought.readings)
        reconcile, solver = self.contracts.settlement.reconcile, self.community.solver
        return self.attempt(reconcile, *arguments, sender=solver, refusal=refusal)

    def _settle(self, peer: int, due: int) -> None:
        accounts, supplier = self.model.accounts, self.supplier.number
        debtor, creditor = (supplier, peer) if due > 0 else (peer, supplier)
        before = accounts.given_way
        accounts.owe(debtor, creditor, abs(due))
        self.reached["withdrawal after a debt"] += accounts.given_way > before
        self.reached["arrears"] += bool(accounts.owed[peer, supplier])
