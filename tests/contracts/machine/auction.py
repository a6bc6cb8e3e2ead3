"""Orders, flexible ones too, from the open book to the clearing or the void session."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.contracts.machine.base import MANAGED, QUARTERS, Machine, Refusal, curves, markets, some
from tests.contracts.parts import in_two_parts

from fairwatt.calldata import encode_clearing
from fairwatt.chain import Role
from fairwatt.errors import ProofError
from fairwatt.market import Certificate, Clearing, Side, verify
from fairwatt.orders import FlexibleOrder, Order, SignedOrder, Step
from fairwatt.proposal import Proposal, propose

if TYPE_CHECKING:
    from tests.contracts.machine.model import Book, Key, Peer

    from fairwatt.chain import Receipt, Signer

PROOF = Path(__file__).parents[3] / "contracts" / "ClearingProof.sol"
PROOF_ERRORS = set(re.findall(r"^\s*error (\w+)\(", PROOF.read_text(), re.MULTILINE))
LARGEST_RANK = 2**16 - 1
MIDDLE = 50_000  # micro-token/kWh: bids lie at or above, asks at or below


class Auction(Machine):
    """What becomes of orders."""

    # -------------------------------------------------------------------------------- orders

    @rule(pick=some, market=markets, later=st.integers(0, 1), steps=curves, on_chain=st.booleans())
    def order(self, pick: int, market: int, later: int, steps: Any, on_chain: bool) -> None:
        self.give_order(self.peer(pick), self.next_book(market, later), steps, on_chain=on_chain)

    def give_order(
        self, peer: Peer, book: Book, steps: Any, *, on_chain: bool
    ) -> SignedOrder | None:
        """Hand it in, or place it; None if nobody takes it."""
        only = {Role.PRODUCER: Side.ASK, Role.CONSUMER: Side.BID}.get(peer.role)
        curve = []
        for period, drawn, offset, energy in steps:
            side = drawn if only is None else only
            price = MIDDLE + (offset if side is Side.BID else -offset)
            curve.append(Step(period % book.terms.periods_per_session, side, price, energy))
        order = Order(book.market, peer.number, book.start, tuple(curve), book.nonces[peer.number])
        signed = order.signed_by(peer.key(book.start), self.community.chain.order_domain)
        if on_chain:
            return signed if self._place(peer, book, signed) else None
        return self._hand_in(peer, book, signed)

    def _hand_in(self, peer: Peer, book: Book, signed: SignedOrder) -> SignedOrder | None:
        """No clearing takes an order of a peer that is not active."""
        if not peer.is_active(book.start):
            return None
        book.orders[peer.number, signed.order.nonce] = signed
        book.nonces[peer.number] += 1
        return signed

    def _place(self, peer: Peer, book: Book, signed: SignedOrder) -> bool:
        place, sender = self.contracts.order_book.place, self.community.outsider
        assert isinstance(signed.order, Order)
        arguments = (signed.order.to_message(), signed.signature)
        number, cost = peer.number, signed.order.worst_case_nano
        if self.model.paused:
            self.attempt(place, *arguments, sender=sender, refusal=("EnforcedPause",))
            self.resume()
        blocks, most = len(signed.order.curve.words) // 64, book.terms.max_placed_blocks
        available, placed = self.model.accounts.available(number), book.placed_nonce(number)
        refusal: Refusal | None = None
        if not peer.is_active(book.start):
            refusal = ("PeerNotActive", number)
        elif placed is not None:
            refusal = ("AlreadyPlaced", number, placed)
        elif blocks > most:
            refusal = ("TooManyBlocks", number, blocks, most)
        elif cost > available:
            refusal = ("InsufficientFunds", number, cost, available)
        if not self.attempt(place, *arguments, sender=sender, refusal=refusal):
            return False
        self._hand_in(peer, book, signed)
        book.placed.add((number, signed.order.nonce))
        self.model.accounts.of[number].locked += cost
        return True

    @rule(
        pick=some,
        market=st.sampled_from([QUARTERS, MANAGED]),
        power=st.sampled_from([1, 300, 2_000]),
        capacity=st.sampled_from([0, 7, 1_000, 5_000]),
        shares=st.tuples(*[st.integers(0, 4)] * 2),
        value=st.sampled_from([0, MIDDLE, 400_000]),
        wear=st.sampled_from([0, 5_000]),
    )
    def flexible_order(
        self, pick: int, market: int, power: int, capacity: int, shares: Any, value: int, wear: int
    ) -> None:
        """A storage, or a consumer's vehicle, which does not discharge."""
        able = (Role.CONSUMER, Role.PROSUMER, Role.STORAGE)
        choice = [peer for peer in self.model.peers.values() if peer.role in able]
        peer = choice[pick % len(choice)]
        self.give_flexible_order(peer, self.next_book(market), power, capacity, shares, value, wear)

    def give_flexible_order(
        self,
        peer: Peer,
        book: Book,
        power: int,
        capacity: int,
        shares: Any,
        value: int,
        wear: int,
    ) -> SignedOrder | None:
        """Hand it in; None if nobody takes it."""
        vehicle = peer.role is Role.CONSUMER
        wanted = capacity * shares[0] // 4
        order = FlexibleOrder(
            market=book.market,
            peer=peer.number,
            session_start=book.start,
            first_period=0,
            periods=book.terms.periods_per_session,
            charge_wh=power,
            discharge_wh=0 if vehicle else power,
            capacity_wh=capacity,
            start_wh=0 if vehicle else wanted * shares[1] // 4,
            wanted_wh=wanted,
            value_micro_per_kwh=value,
            wear_micro_per_kwh=wear,
            nonce=book.nonces[peer.number],
        )
        signed = order.signed_by(peer.key(book.start), self.community.chain.order_domain)
        return self._hand_in(peer, book, signed)

    @precondition(lambda self: any(book.orders for book in self.open_books()))
    @rule(pick=some)
    def cancel(self, pick: int) -> None:
        """One order, once, and nobody else's."""
        choice = [(book, key) for book in self.open_books() for key in book.orders]
        book, key = choice[pick % len(choice)]
        cancel, wallet = self.contracts.order_book.cancel, self.wallet(self.model.peers[key[0]])
        arguments, outsider = (book.market, book.start, key[1]), self.community.outsider
        refusal = ("NotThePeer", outsider.address)
        self.attempt(cancel, *arguments, sender=outsider, refusal=refusal)
        self.send(cancel, *arguments, sender=wallet)
        book.cancelled.add(key)
        self._drop(book, key)
        refusal = ("OrderIsCancelled", *key)
        self.attempt(cancel, *arguments, sender=wallet, refusal=refusal)

    @precondition(lambda self: any(book.orders for book in self.open_books()))
    @rule(pick=some, short=st.booleans())
    def cancel_all(self, pick: int, short: bool) -> None:
        choice = [(book, key[0]) for book in self.open_books() for key in book.orders]
        book, peer = choice[pick % len(choice)]
        placed, before = book.placed_nonce(peer), book.below[peer]
        below = book.nonces[peer] if placed is None or not short else placed  # all but the placed
        refusal = ("NothingToCancel", below, before) if below <= before else None
        wallet = self.wallet(self.model.peers[peer])
        cancel_all = self.contracts.order_book.cancelAll
        arguments = (book.market, book.start, below)
        if self.attempt(cancel_all, *arguments, sender=wallet, refusal=refusal):
            book.below[peer] = below
            self._drop(book, *[key for key in book.orders if key[0] == peer and key[1] < below])
            refusal = ("NothingToCancel", below, below)
            self.attempt(cancel_all, *arguments, sender=wallet, refusal=refusal)

    def _drop(self, book: Book, *keys: Key) -> None:
        for key in keys:
            if key in book.placed:
                self.model.accounts.of[key[0]].locked -= book.orders[key].order.worst_case_nano
            book.placed.discard(key)
            book.orders.pop(key)

    @precondition(lambda self: self.books)
    @rule(pick=some, who=some)
    def release(self, pick: int, who: int) -> None:
        """I14."""
        books = [book for book in self.books if book.placed and not book.proposal] or self.books
        self.release_lock(books[pick % len(books)], self.peer(who).number)

    def release_lock(self, book: Book, peer: int) -> None:
        locked = book.locked_nano(peer)
        arguments = (book.market, book.start, peer)
        is_due = locked and not book.proposal and self.now > book.deadline
        refusal = None if is_due else ("NothingToRelease", *arguments)
        release, outsider = self.contracts.order_book.release, self.community.outsider
        if self.attempt(release, *arguments, sender=outsider, refusal=refusal):
            book.released.add(peer)
            self.model.accounts.of[peer].locked -= locked

    # ------------------------------------------------------------------------------ clearing

    @precondition(lambda self: self.clearable_books())
    @rule(
        pick=some,
        data=st.data(),
        leave_out=st.booleans(),
        split=st.booleans(),
        who=some,
        losing=st.booleans(),
    )
    def clear(
        self, pick: int, data: st.DataObject, leave_out: bool, split: bool, who: int, losing: bool
    ) -> None:
        book = (choice := self.clearable_books())[pick % len(choice)]
        self.clear_session(book, data, leave_out=leave_out, split=split, who=who, losing=losing)

    def clear_session(
        self,
        book: Book,
        data: st.DataObject,
        *,
        who: int,
        leave_out: bool = True,
        split: bool = False,
        losing: bool = False,
    ) -> None:
        """I9 to I12, I14. Who is `losing` orders leaves out those with receipts."""
        if self.now < book.gate:
            refusal = self._refused_clearing(self._proposal(book))
            assert refusal == ("GateStillOpen", book.market, book.start, book.gate)
            self.travel(book.gate)
        without = {signed.order.peer for signed, _ in book.receipts} if losing else set()
        proposal = replace(self._proposal(book, without), fee_to=self.peer(who).number)
        sender = self._require_turn(book, proposal, who)
        self._refuse_tampered(proposal, data)
        if leave_out and book.placed:
            rest = self._proposal(book, without={min(book.placed)[0]}, placed_too=True)
            missing = ("PlacedOrdersMissing", len(book.placed), len(book.placed) - 1)
            assert self._refused_clearing(rest) == missing
        if split and len({one.order.peer for one in proposal.orders}) > 1:
            at = data.draw(st.sampled_from([0, *(one.order.peer for one in proposal.orders), 99]))
            first, receipt = in_two_parts(self.community, proposal, at)
            assert [event.event_name for event in first.events] == ["PartAccepted"]
            self.reached["clear in parts"] += 1
        else:
            sent = self.community.chain.clear(proposal, sender)
            assert sent is not None
            receipt = sent
        self.reached["flexible"] += proposal.expansion is not None
        for peer, _ in book.placed:
            self.model.accounts.of[peer].locked -= book.locked_nano(peer)
        book.proposal = proposal
        self._require_fair(proposal)
        self._require_balanced(book, proposal)
        self._book(book, proposal, receipt)
        cleared = ("AlreadyCleared", book.market, book.start)
        assert self._refused_clearing(proposal) == cleared

    def _require_turn(self, book: Book, proposal: Proposal, who: int) -> Signer:
        """Who sends it: only the manager in its window, and nobody while it is paused."""
        terms, sender = book.terms, self.stranger(who)
        if self.model.paused:
            assert self._refused_clearing(proposal) == ("ClearingPaused",)
            self.resume()
        if int(terms.manager, 16) == 0:
            return sender
        until = terms.exclusive_deadline(book.start)
        if self.now > until:
            return sender
        refusal = ("ManagersTurn", book.market, book.start, terms.manager, until)
        assert self._refused_clearing(proposal, sender) == refusal
        return self.community.solver

    def _refused_clearing(
        self, proposal: Proposal, sender: Signer | None = None, **changes: Any
    ) -> Refusal:
        sender = sender or self.community.solver
        message, *rest = self.community.chain.clearing_arguments(proposal, sender)
        return self.refused(self.contracts.clearing.clear, message | changes, *rest, sender=sender)

    def _proposal(
        self, book: Book, without: set[int] | None = None, *, placed_too: bool = False
    ) -> Proposal:
        """The best clearing of what there is, by what the model says of everybody."""
        left = {
            key: signed
            for key, signed in book.orders.items()
            if key[0] not in (without or ()) or (key in book.placed and not placed_too)
        }
        placed = [SignedOrder(left[key].order, b"") for key in sorted(book.placed) if key in left]
        free = [signed for key, signed in left.items() if key not in book.placed]
        peers, accounts = self.model.peers, self.model.accounts
        return propose(
            self.community.session(book.start, book.market),
            free,
            nodes={number: peer.at(book.start).node for number, peer in peers.items()},
            funds_nano={number: accounts.means(number, book.gate) for number in peers},
            placed=placed,
        )

    def _refuse_tampered(self, proposal: Proposal, data: st.DataObject) -> None:
        period = data.draw(st.integers(0, len(proposal.clearings) - 1))
        clearing, certificate = proposal.clearings[period], proposal.certificates[period]
        columns = certificate.columns() | {"flows": clearing.flows_wh}
        which = data.draw(st.sampled_from(sorted(columns)))
        numbers = columns[which].tolist()
        at = data.draw(st.integers(0, len(numbers) - 1))
        numbers[at] += data.draw(st.sampled_from([-1, 1, 1_000, 70_000, 10_000_000]))
        if which not in ("low", "high", "tail"):
            numbers[at] = max(0, numbers[at])
        if which.endswith("rank"):
            numbers[at] = min(numbers[at], LARGEST_RANK)
        clearings, certificates = list(proposal.clearings), list(proposal.certificates)
        if which == "flows":
            clearings[period] = Clearing(clearing.fills_wh, numbers, clearing.prices_micro_per_kwh)
        else:
            certificates[period] = Certificate(**certificate.columns() | {which: numbers})
        tampered = replace(proposal, clearings=tuple(clearings), certificates=tuple(certificates))
        message = encode_clearing(tampered)
        if message == encode_clearing(proposal):
            return  # it says no more than before
        chain, solver = self.community.chain, self.community.solver
        refusal = _refusal(proposal.books[period], clearings[period], certificates[period])
        if refusal is None:  # another proof of the same clearing
            arguments = chain.clearing_arguments(tampered, solver)
            chain.simulate(self.contracts.clearing.clear, *arguments, sender=solver)
            return
        name, *values = self._refused_clearing(proposal, **message)
        assert name in PROOF_ERRORS, name
        if which == "flows" and proposal.expansion is None:
            place, *more = vars(refusal).values()
            same = type(refusal).__name__  # of the same rule bears the same name
            named = 2 if same == "FlowAboveCapacity" else 1
            assert (name, *values) == (same, place, period, *more[:named])

    def _require_fair(self, proposal: Proposal) -> None:
        """I9, and of flexible orders: within their limits, and no worse than to do nothing."""
        for signed, fills in zip(proposal.orders, proposal.fills_wh, strict=True):
            order, prices = signed.order, proposal.prices_micro_per_kwh
            node = proposal.nodes[order.peer]
            if isinstance(order, Order):
                for step, fill in zip(order.steps, fills, strict=True):
                    worse = int(prices[node, step.period]) - step.price_micro_per_kwh
                    assert fill == 0 or (worse <= 0 if step.side is Side.BID else worse >= 0)
                continue
            held, gain = order.start_wh, 0
            for period, given in zip(order.window, fills, strict=True):
                assert -order.charge_wh <= given <= order.discharge_wh
                held -= given
                assert 0 <= held <= order.capacity_wh
                gain += given * int(prices[node, period])
                gain -= max(0, given) * order.wear_micro_per_kwh
            assert held <= order.wanted_wh
            assert gain + (held - order.start_wh) * order.value_micro_per_kwh >= 0

    def _require_balanced(self, book: Book, proposal: Proposal) -> None:
        """I10."""
        cleared = self.community.chain.snapshot().cleared(book.market, book.start)
        assert cleared is not None
        assert cleared.positions_wh == proposal.positions_wh
        for period, version in enumerate(proposal.session.versions):
            network = version.network
            surplus = [0] * len(network.nodes)
            for peer, energy in cleared.positions_wh.items():
                surplus[proposal.nodes[peer]] += energy[period]
            for link, flow in zip(network.links, cleared.flows_wh[period], strict=True):
                assert 0 <= flow <= link.capacity_wh
                surplus[network.node_index[link.source]] -= flow
                surplus[network.node_index[link.target]] += flow
            assert not any(surplus)

    def _book(self, book: Book, proposal: Proposal, receipt: Receipt) -> None:
        """I11. What it comes to is then compared with every account."""
        accounts, payments = self.model.accounts, proposal.payments_nano
        income: dict[int, int] = defaultdict(int)
        for event in receipt.events:
            if event.event_name == "LinkEarned":
                income[event.owner] += event.tariffNano
                income[0] += event.rentNano
        assert sum(income.values()) + sum(payments.values()) == 0
        before = accounts.given_way
        accounts.clear(payments, book.gate)
        self.reached["withdrawal after a clearing"] += accounts.given_way > before
        for owner, nano in income.items():
            if owner:
                accounts.of[owner].balance += nano
        accounts.fund += income[0]
        fee = min(book.terms.solver_fee_nano, accounts.fund - accounts.granted)
        accounts.fund -= fee
        accounts.of[proposal.fee_to].balance += fee
        self.reached["fee"] += fee > 0


def _refusal(book: Any, clearing: Clearing, certificate: Certificate) -> ProofError | None:
    try:
        verify(book, clearing, certificate)
    except ProofError as refusal:
        return refusal
    return None
