"""Steps that belong together, which chance seldom finds in the right sequence."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from tests.community import DAY, WITHDRAWAL_DELAY
from tests.contracts.machine.auction import Auction
from tests.contracts.machine.base import (
    HOURLY,
    MANAGED,
    QUARTERS,
    amounts,
    curves,
    markets,
    some,
)
from tests.contracts.machine.invariants import Invariants
from tests.contracts.machine.meters import Meters
from tests.contracts.machine.offices import Offices
from tests.contracts.machine.promises import BOND_DELAY, Promises
from tests.contracts.machine.trading import FAULTS, Trading

from fairwatt.chain import Role
from fairwatt.market import Side

if TYPE_CHECKING:
    from tests.contracts.machine.model import Book, Peer


class Sequences(Auction, Meters, Trading, Promises, Offices, Invariants):
    """All rules, and sequences of them."""

    @initialize(
        sequence=st.permutations(range(13)),
        pick=some,
        market=markets,
        steps=st.lists(curves, min_size=5, max_size=5),
        nano=amounts,
        data=st.data(),
    )
    def begin(
        self, sequence: list[int], pick: int, market: int, steps: Any, nano: int, data: Any
    ) -> None:
        """Every run begins with all of them: later on most fail for want of funds."""
        orders = [(curve, bool(at % 2)) for at, curve in enumerate(steps)]
        sequences = [
            lambda: self.change_of_mind(pick=pick, market=market, steps=steps[0]),
            lambda: self.void_session(pick=pick, market=market, steps=steps[1]),
            lambda: self.withdrawal(pick=pick, share=1 + nano % 50),
            lambda: self.debt(pick=pick, nano=nano, data=data),
            lambda: self.gift(pick=pick, nano=nano),
            lambda: self.market_day(market=market, orders=orders, data=data, energy=nano % 3_000),
            lambda: self.move(pick=pick, nano=nano),
            lambda: self.trading(market=market, pick=pick, data=data),
            lambda: self.broken_promise(pick=pick, steps=steps[2], data=data),
            lambda: self.flexible_day(pick=pick, data=data, energy=nano % 3_000),
            lambda: self.guest(role=Role.PROSUMER, pick=pick, nano=nano),
            lambda: self.office_day(pick=pick, nano=nano),
            lambda: self.stopped_session(pick=pick),
        ]
        for which in sequence:
            sequences[which]()
            self.money_adds_up()
            self.tokens_are_where_they_belong()
            self.trades_cancel_out()

    @rule(pick=some, market=markets, steps=curves)
    def change_of_mind(self, pick: int, market: int, steps: Any) -> None:
        """Somebody places an order and cancels it, and places another and cancels all."""
        peer, book = self.member(pick % 4), self.next_book(market, later=1)
        for cancel in (self.cancel, partial(self.cancel_all, short=False)):
            for on_chain in (True, False):
                self.give_order(peer, book, steps, on_chain=on_chain)
            if any(book.orders for book in self.open_books()):
                cancel(pick=pick)

    @rule(pick=some, market=markets, steps=curves)
    def void_session(self, pick: int, market: int, steps: Any) -> None:
        """The consumer or the prosumer places an order that nobody clears in time."""
        peer, book = self.member(1 + pick % 2), self.next_book(market)
        self.give_order(peer, book, steps, on_chain=True)
        self.travel(book.deadline)
        self.release_lock(book, peer.number)
        self.travel(book.deadline + 1)
        self.release_lock(book, peer.number)

    def member(self, at: int) -> Peer:
        """Producer, consumer, prosumer, storage."""
        return self.model.peers[self.members[at].peer]

    @rule(pick=some, share=st.integers(0, 100))
    def withdrawal(self, pick: int, share: int) -> None:
        """Somebody requests, waits, and withdraws."""
        self.request_withdrawal(pick=pick, share=share)
        self.withdraw(pick=pick)
        self.travel(self.now + WITHDRAWAL_DELAY)
        self.withdraw(pick=pick)

    @rule(pick=some, nano=amounts)
    def move(self, pick: int, nano: int) -> None:
        """Somebody moves to the other ledger, in vain at first; or thinks better of it."""
        self.deposit(pick=pick, nano=nano, to_fund=False)
        for fault in ("signer", "late", "itself", "altered"):
            self.request_move(pick=pick, account="own", fault=fault)
        for account in ("nobody", "fund", "own"):
            self.request_move(pick=pick, account=account, fault="")
            self.money_adds_up()
            self.complete_move(pick=pick)
            if account == "fund" and pick % 2:
                self.request_withdrawal(pick=pick, share=10)
            self.travel(self.now + WITHDRAWAL_DELAY)
            self.complete_move(pick=pick)
            self.deposit(pick=pick, nano=nano, to_fund=False)

    @rule(pick=some, nano=amounts)
    def gift(self, pick: int, nano: int) -> None:
        """Somebody gives to the fund, which gives it on: as credit, and for good."""
        self.deposit(pick=pick, nano=nano, to_fund=True)
        self.deposit_for_nobody(nano=nano)
        self.set_credit(pick=pick, share=50)
        self.allot(pick=pick, nano=nano // 4 + 1)
        self.manage_the_fund_without_the_role(pick=pick, nano=nano)

    @rule(pick=some, nano=amounts, data=st.data())
    def debt(self, pick: int, nano: int, data: st.DataObject) -> None:
        """Somebody asks for all its money when the gate is closed, which saves it from nothing.

        What it bought is paid, and then what it took; later it pays the rest.
        """
        seller, peer, book = self.member(0), self.member(1 + pick % 2), self.next_book(HOURLY)
        who = self.pick_of(peer)
        self.give_order(seller, book, [(0, Side.ASK, 40_000, 2_000)], on_chain=False)
        self.give_order(peer, book, [(0, Side.BID, 40_000, 1_000)], on_chain=False)
        self.travel(book.gate)
        self.request_withdrawal(pick=who, share=100)
        if book in self.clearable_books():
            self.clear_session(book, data, who=pick)
        self.bring_reading(book, peer, -1_500 if nano % 3 == 0 else -50_000)
        self.deposit(pick=who, nano=nano, to_fund=False)
        self.request_withdrawal(pick=who, share=101)
        self.collect_from(peer.number, self.supplier.number)

    @rule(
        market=markets,
        orders=st.lists(st.tuples(curves, st.booleans()), min_size=4, max_size=6),
        data=st.data(),
        energy=st.integers(-3_000, 3_000),
    )
    def market_day(self, market: int, orders: Any, data: st.DataObject, energy: int) -> None:
        """Everybody orders; then clearing and readings, which steps by themselves seldom reach."""
        book = self.next_book(market)
        for at, (steps, on_chain) in enumerate(orders):
            self.give_order(self.peer(at), book, steps, on_chain=on_chain)
        if book in self.clearable_books():
            self.clear_session(book, data, split=bool(energy % 2), who=abs(energy))
        self._read(book, energy)

    def _read(self, book: Book, energy: int) -> None:
        """Three members' meters; the second is estimated first."""
        for at in range(3):
            if at == 1 and book in self.readable_books():
                self.bring_estimate(book, self.member(at))
            if book in self.readable_books():
                self.bring_reading(book, self.member(at), energy, forged=at == 2)

    @rule(pick=some, data=st.data(), energy=st.integers(-3_000, 3_000))
    def flexible_day(self, pick: int, data: st.DataObject, energy: int) -> None:
        """A storage and a vehicle, and a cheap and a dear period; cleared and read."""
        book = self.next_book((QUARTERS, MANAGED)[pick % 2])
        producer, consumer, prosumer, storage = map(self.member, range(4))
        last = book.terms.periods_per_session - 1
        cheap, dear = [(0, Side.ASK, 40_000, 2_000)], [(last, Side.BID, 100_000, 1_000)]
        for at, (peer, steps) in enumerate(
            ((producer, cheap), (prosumer, cheap), (consumer, dear), (storage, dear))
        ):
            self.give_order(peer, book, steps, on_chain=(pick + at) % 3 == 0)
        for peer, value in ((consumer, 400_000), (storage, 0)):
            self.give_flexible_order(peer, book, 300, 1_000, (2, 1), value, 5_000 * (pick % 2))
        if book in self.clearable_books():
            self.clear_session(book, data, split=bool(pick % 2), who=pick)
        self._read(book, energy)

    @rule(market=markets, pick=some, data=st.data())
    def trading(self, market: int, pick: int, data: st.DataObject) -> None:
        """Some trade, with and without faults; then readings are settled against it."""
        for at, fault in enumerate(("", "", *data.draw(st.permutations(FAULTS))[:6])):
            self.trade(
                market=market,
                pick=pick + at,
                buyer_rests=bool(pick % 2),
                price=(50_000, -20_000, 1)[(pick + at) % 3],
                energy=700,
                fault=fault,
                at_first=bool(at % 2),
            )
        self.cancel_any_continuous(pick=pick, again=True)
        for book in [book for book in self.readable_books() if book.traded][-1:]:
            peers = [self.model.peers[number] for number in book.traded]
            for peer in [peer for peer in peers if peer.meter][:2]:
                self.bring_reading(book, peer, 0)

    @rule(pick=some, steps=curves, data=st.data())
    def broken_promise(self, pick: int, steps: Any, data: st.DataObject) -> None:
        """The manager loses orders that it gave receipts for; one of them it could excuse."""
        self.resume()
        for tokens in (0, 25):
            self.deposit_bond(tokens=tokens)
        self.request_bond(share=101)
        self.request_bond(share=pick % 110)
        book = self.next_book(MANAGED)
        self._promise_some(book, pick, steps)
        if not book.receipts:
            return
        self.show(book, *book.receipts[0])
        self.witness(book)
        self.travel(book.gate)
        self.witness(book)
        for number in sorted({signed.order.peer for signed, _ in book.receipts}):
            self.excuse_peer(book, number)
        if pick % 3:
            self.clear_session(book, data, who=pick, losing=pick % 3 == 1)
        else:
            self.travel(book.deadline + 1)
        faults = ("signer", "issued", "list", "scanned", "")
        for at, (signed, receipt) in enumerate(book.receipts):
            for fault in faults if at == pick % 3 else ("",):
                self.show(book, signed, receipt, fault=fault, scan=bool(at % 2), who=pick + at)
        self.withdraw_bond()
        self.travel(self.now + BOND_DELAY)
        self.withdraw_bond()
        self.show(book, *book.receipts[0])

    def _promise_some(self, book: Book, pick: int, steps: Any) -> None:
        """A vehicle, a storage, a cheap bid and a dear one, and what chance draws."""
        value = 400_000 if pick % 2 else 0
        orders = [
            self.give_flexible_order(peer, book, 300, 1_000, (2, 1), value, 0)
            for peer in (self.member(1), self.member(3))
        ]
        cheap, dear = [(0, Side.BID, 0, 7)], [(0, Side.BID, 100_000, 60_000)]
        orders += [
            self.give_order(self.member(at), book, curve, on_chain=False)
            for at, curve in enumerate((cheap, dear, steps), start=1)
        ]
        for signed in filter(None, orders):
            self.promise(book, signed)

    @rule(pick=some)
    def stopped_session(self, pick: int) -> None:
        """The guardian stops clearing in the manager's window: then its receipts do not bind."""
        self.resume()
        book = self.next_book(MANAGED)
        signed = self.give_order(
            self.member(1 + pick % 2), book, [(0, Side.BID, 0, 7)], on_chain=False
        )
        if signed:
            self.promise(book, signed)
        self.travel(book.gate)
        self.pause(pick=pick)
        self.witness(book)
        if signed:
            self.excuse_peer(book, signed.order.peer)
            self.travel(book.deadline + 1)
            self.show(book, *book.receipts[-1])

    @rule(
        role=st.sampled_from([Role.CONSUMER, Role.PROSUMER, Role.STORAGE]), pick=some, nano=amounts
    )
    def guest(self, role: Role, pick: int, nano: int) -> None:
        """Somebody comes, brings money, hands on its place, is suspended and back, and leaves."""
        before = len(self.model.peers)
        self.leave(pick=pick)
        self.admit(role=role, pick=pick)
        if len(self.model.peers) == before:
            return
        who = self.pick_of(self.model.peers[max(self.model.peers)])
        self.deposit(pick=who, nano=nano, to_fund=False)
        self.hand_on_wallet(pick=who, wrong=bool(pick % 2))
        self.travel(self.now + 3 * DAY)
        for _ in range(2):
            self.suspend_or_reinstate(pick=who, wrong=True)
            self.suspend_or_reinstate(pick=who, wrong=False)
            self.travel(self.now + 3 * DAY)
        self.change(pick=pick, node=1 + pick % 2)
        self.travel(self.now + 3 * DAY)
        self.leave(pick=pick)

    def pick_of(self, peer: Peer) -> int:
        """What picks a peer."""
        return next(at for at in range(len(self.model.peers)) if self.peer(at) is peer)

    @rule(pick=some, nano=amounts)
    def office_day(self, pick: int, nano: int) -> None:
        """What no other sequence needs."""
        self.publish_tariffs(early=False, retail=150_000, pick=pick)
        self.publish_network(early=False, capacity=300, pick=pick)
        self.publish_roster(pick=pick)
        self.create(pick=pick)
        self.pause(pick=pick)
        self.resume()
        self.act_as_a_contract(pick=pick, nano=nano)
        self.token(pick=pick, nano=nano, share=nano % 120)
        self.nobody_withdraws(pick=pick)
        for contract in range(4 if self.is_thorough else 1):
            self.grant_and_revoke(pick=contract)
            self.hand_on_admin(pick=contract)
