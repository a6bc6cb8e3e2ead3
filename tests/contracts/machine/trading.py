"""Continuous trading, from gate closure to delivery."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import rule
from tests.contracts.machine.base import MARKETS, Machine, Refusal, markets, some

from fairwatt.chain import Role
from fairwatt.continuous import ContinuousOrder, SignedContinuousOrder
from fairwatt.market import Side

if TYPE_CHECKING:
    from tests.contracts.machine.model import Book, Key, Peer

NEVER = 2**40 - 1
FAULTS = (
    *("early", "late", "periods", "product", "sides", "prices", "resting", "incoming"),
    *("expired", "itself", "counterparty", "role", "signer", "node", "cancelled", "exceeded"),
    *("connection", "funds", "nothing"),
)


class Trading(Machine):
    """I17."""

    @rule(
        market=markets,
        pick=some,
        buyer_rests=st.booleans(),
        price=st.sampled_from([50_000, 0, 1, -20_000, 90_000]),
        energy=st.sampled_from([1, 700, 2_000]),
        fault=st.sampled_from([*("",) * len(FAULTS), *FAULTS]),
        at_first=st.booleans(),
    )
    def trade(
        self,
        market: int,
        pick: int,
        buyer_rests: bool,
        price: int,
        energy: int,
        fault: str,
        at_first: bool,
    ) -> None:
        """Bring two orders that cross, or that miss one of the rules."""
        book = self._running_book(market, fault)
        seller, buyer = self._sides(book, pick, fault)
        bidden = price - 1 if fault == "prices" else price + 500
        ask = self._order(book, seller, Side.ASK, price, energy, at_first=at_first)
        bid = self._order(book, buyer, Side.BID, bidden, energy, at_first=at_first)
        resting, incoming = (bid, ask) if buyer_rests else (ask, bid)
        resting, incoming = replace(resting, rests_from=0), replace(incoming, rests_from=NEVER)
        resting, incoming = self._with_fault(book, resting, incoming, fault)
        wh = {"nothing": 0, "exceeded": resting.energy_wh + 1}.get(fault, resting.energy_wh)
        self._bring(book, resting, incoming, wh, forged=fault == "signer")
        if not fault and energy > 1:  # there is nothing left of either
            self._bring(book, resting, incoming, wh)

    def _running_book(self, market: int, fault: str) -> Book:
        """A session between gate closure and its first period; or before, or after that."""
        terms = self.terms[market]
        start = terms.next_open_session(self.now)
        if fault == "early":
            start += terms.session_seconds
        elif fault == "late" and (begun := [book for book in self.books if book.start < self.now]):
            return begun[-1]
        else:
            before = start - terms.session_seconds
            running = self.now + 60 < before and before >= terms.first_session_start
            start = before if running else start
            self.travel(terms.gate_closure(start))
        return self.book(market, start)

    def _sides(self, book: Book, pick: int, fault: str) -> tuple[Peer, Peer]:
        """Who may sell and buy, mostly at one node."""
        peers = [peer for peer in self.model.peers.values() if peer.role is not Role.OPERATOR]
        nodes = Counter(peer.at(book.start).node for peer in peers)
        sellers = [
            peer
            for peer in peers
            if (peer.role is not Role.CONSUMER) != (fault == "role")
            and (nodes[peer.at(book.start).node] > 1 or pick % 5 == 0)
        ]
        seller = sellers[pick % len(sellers)]
        if fault == "itself":
            return seller, seller
        near = fault != "node"
        buyers = [
            peer
            for peer in peers
            if peer is not seller
            and peer.role is not Role.PRODUCER
            and (peer.at(book.start).node == seller.at(book.start).node) == near
        ] or [peer for peer in peers if peer is not seller]
        return seller, buyers[pick // 7 % len(buyers)]

    def _order(
        self, book: Book, peer: Peer, side: Side, price: int, energy: int, *, at_first: bool
    ) -> ContinuousOrder:
        last = book.terms.periods_per_session - 1
        first = 0 if at_first else last
        peer.nonce += 1
        return ContinuousOrder(
            market=book.market,
            peer=peer.number,
            session_start=book.start,
            first_period=first,
            periods=1 + last - first,
            side=side,
            price_micro_per_kwh=price,
            energy_wh=energy,
            valid_until=NEVER - 1,
            nonce=peer.nonce,
        )

    def _with_fault(
        self, book: Book, resting: ContinuousOrder, incoming: ContinuousOrder, fault: str
    ) -> tuple[ContinuousOrder, ContinuousOrder]:
        other = next(market for market in MARKETS if market != book.market)
        match fault:
            case "periods":
                return replace(resting, first_period=resting.periods), incoming
            case "product":
                return resting, replace(incoming, market=other)
            case "sides":
                return resting, replace(incoming, side=resting.side)
            case "resting":
                return replace(resting, rests_from=self.now + 1), incoming
            case "incoming":
                return resting, replace(incoming, rests_from=self.now)
            case "expired":
                return resting, replace(incoming, valid_until=self.now - 1)
            case "counterparty":
                return replace(resting, counterparty=incoming.peer + 1), incoming
            case "cancelled":
                self.cancel_continuous(resting.peer, resting.nonce)
            case "connection" | "funds":  # more than the connections of all, but for the supplier's
                price = 0 if fault == "connection" else 4_000_000
                energy = book.terms.period_seconds * (1_000 if price == 0 else 200)
                changes = {"energy_wh": energy, "price_micro_per_kwh": price}
                return replace(resting, **changes), replace(incoming, **changes)
        return resting, incoming

    def _bring(
        self,
        book: Book,
        resting: ContinuousOrder,
        incoming: ContinuousOrder,
        wh: int,
        *,
        forged: bool = False,
    ) -> None:
        if self.model.paused:
            if self._closed(book, resting) is None and wh:
                self._send_pair(resting, incoming, wh, ("TradingStopped",), forged=forged)
            self.resume()
        refusal = (
            self._refusal(book, resting, incoming, wh, forged=forged)
            or self._unfilled(book, resting, wh)
            or self._unfilled(book, incoming, wh)
            or self._unpaid(resting, incoming, wh)
        )
        if not self._send_pair(resting, incoming, wh, refusal, forged=forged):
            return
        for order in (resting, incoming):
            self.model.traded[order.peer, order.nonce] += wh
            position = book.traded.setdefault(order.peer, [0] * book.terms.periods_per_session)
            for period in range(order.first_period, order.first_period + order.periods):
                position[period] += wh if order.side is Side.ASK else -wh
        self.model.accounts.pay(*self._payment(resting, incoming, wh))

    def _send_pair(
        self,
        resting: ContinuousOrder,
        incoming: ContinuousOrder,
        wh: int,
        refusal: Refusal | None,
        *,
        forged: bool,
    ) -> Any:
        domain, outsider = self.community.chain.trade_domain, self.community.outsider
        pair = []
        for order in (resting, incoming):
            key = self.model.peers[order.peer].key(order.session_start)
            if forged and order is incoming:
                assert outsider.key is not None
                key = outsider.key
            signed: SignedContinuousOrder = order.signed_by(key, domain)
            pair.append(signed.to_message())
        trade = self.contracts.trades.trade
        return self.attempt(trade, *pair, wh, sender=outsider, refusal=refusal)

    # -------------------------------------------------------------------------------- rules

    def _closed(self, book: Book, order: ContinuousOrder) -> Refusal | None:
        """T1."""
        terms, session = book.terms, (book.market, book.start)
        end = order.first_period + order.periods
        if end > terms.periods_per_session:
            numbers = order.first_period, order.periods, terms.periods_per_session
            return ("PeriodsNotOfSession", *numbers)
        closes = book.start + order.first_period * terms.period_seconds
        if self.now < book.gate:
            return ("TradingNotOpen", *session, book.gate)
        return ("TradingClosed", *session, closes) if self.now >= closes else None

    def _refusal(
        self,
        book: Book,
        resting: ContinuousOrder,
        incoming: ContinuousOrder,
        wh: int,
        *,
        forged: bool,
    ) -> Refusal | None:
        """T1 and T2, and then T3 to T5: in the contract's sequence."""
        if wh == 0:
            return ("EnergyZero",)
        if closed := self._closed(book, resting):
            return closed
        if resting.product != incoming.product:
            return ("ProductsDiffer",)
        if resting.side is incoming.side:
            return ("SidesEqual", resting.side)
        ask, bid = (resting, incoming) if resting.side is Side.ASK else (incoming, resting)
        if bid.price_micro_per_kwh < ask.price_micro_per_kwh:
            return ("PricesDoNotCross", bid.price_micro_per_kwh, ask.price_micro_per_kwh)
        return self._untimely(resting, incoming) or self._unfit(
            book, resting, incoming, forged=forged
        )

    def _untimely(self, resting: ContinuousOrder, incoming: ContinuousOrder) -> Refusal | None:
        """T3."""
        if resting.rests_from > self.now:
            return ("OrderNotResting", resting.peer, resting.nonce, resting.rests_from)
        if incoming.rests_from <= self.now:
            return ("OrderNotIncoming", incoming.peer, incoming.nonce, incoming.rests_from)
        for order in (resting, incoming):
            if order.valid_until < self.now:
                return ("OrderExpired", order.peer, order.nonce, order.valid_until)
        return None

    def _unfit(
        self,
        book: Book,
        resting: ContinuousOrder,
        incoming: ContinuousOrder,
        *,
        forged: bool,
    ) -> Refusal | None:
        """T4, T5."""
        if resting.peer == incoming.peer:
            return ("TradeWithItself", resting.peer)
        for order, other in ((resting, incoming), (incoming, resting)):
            if order.counterparty not in (0, other.peer):
                return ("NotTheCounterparty", order.peer, order.nonce, order.counterparty)
        for order in (resting, incoming):
            peer = self.model.peers[order.peer]
            if not peer.is_active(book.start):
                return ("PeerNotActive", order.peer)
            wrong = {Role.CONSUMER: Side.ASK, Role.PRODUCER: Side.BID}.get(peer.role)
            if order.side is wrong:
                return ("SideNotAllowed", order.peer, peer.role, order.side)
            if forged and order is incoming:
                return ("WrongSigner", order.peer, order.nonce)
        nodes = [
            (order.peer, self.model.peers[order.peer].at(book.start).node)
            for order in (resting, incoming)
        ]
        return None if nodes[0][1] == nodes[1][1] else ("NodesDiffer", *nodes[0], *nodes[1])

    def _unfilled(self, book: Book, order: ContinuousOrder, wh: int) -> Refusal | None:
        """T6, T7."""
        key, model = (order.peer, order.nonce), self.model
        if key in model.revoked:
            return ("OrderIsCancelled", *key)
        left = max(0, order.energy_wh - model.traded[key])
        if wh > left:
            return ("OrderExceeded", *key, wh, left)
        limit = model.peers[order.peer].limit_wh(book.terms)
        position = book.traded.get(order.peer, [0] * book.terms.periods_per_session)
        for period in range(order.first_period, order.first_period + order.periods):
            total = abs(position[period] + (wh if order.side is Side.ASK else -wh))
            if total > limit:
                return ("EnergyAboveConnection", *key, period, total, limit)
        return None

    def _payment(
        self, resting: ContinuousOrder, incoming: ContinuousOrder, wh: int
    ) -> tuple[int, int, int]:
        """T8: who pays whom how much."""
        ask, bid = (resting, incoming) if resting.side is Side.ASK else (incoming, resting)
        nano = wh * resting.periods * resting.price_micro_per_kwh
        return (bid.peer, ask.peer, nano) if nano >= 0 else (ask.peer, bid.peer, -nano)

    def _unpaid(
        self, resting: ContinuousOrder, incoming: ContinuousOrder, wh: int
    ) -> Refusal | None:
        payer, _, nano = self._payment(resting, incoming, wh)
        available = self.model.accounts.available(payer)
        return ("InsufficientFunds", payer, nano, available) if nano > available else None

    # ------------------------------------------------------------------------------ cancelling

    @rule(pick=some, again=st.booleans())
    def cancel_any_continuous(self, pick: int, again: bool) -> None:
        """T9."""
        peer = self.peer(pick)
        self.cancel_continuous(peer.number, 1 + pick % (peer.nonce + 1))
        outsider = self.community.outsider
        stranger = ("NotThePeer", outsider.address)
        cancel = self.contracts.trades.cancel
        self.attempt(cancel, pick, sender=outsider, refusal=stranger)
        if again:
            self.cancel_continuous(peer.number, 1 + pick % (peer.nonce + 1))

    def cancel_continuous(self, number: int, nonce: int) -> None:
        key: Key = (number, nonce)
        refusal = ("OrderIsCancelled", *key) if key in self.model.revoked else None
        wallet = self.wallet(self.model.peers[number])
        cancel = self.contracts.trades.cancel
        if self.attempt(cancel, nonce, sender=wallet, refusal=refusal):
            self.model.revoked.add(key)
