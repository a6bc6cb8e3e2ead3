"""Anything that anybody may do, in any sequence: what must hold of the money always holds.

What must hold is listed in docs/invariants.md, I1 to I8 after every step, the others after a step
that is about them.

Much of this needs several steps in the right sequence, which chance seldom finds: some rules
are such sequences, made of the other rules. What the runs reached is counted, and required, at the
end. The runs are the same every time; `EXAMPLES=500 STEPS=25 pytest ...` takes so many others, and
simplifies what fails, which takes minutes.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import ape
import pytest
from eth.vm.message import Message
from eth_abi.abi import decode, encode
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.address import to_canonical_address
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.community import C2, C3, DAY, FEED_IN, HOURLY, NANO, QUARTERS, RETAIL, WITHDRAWAL_DELAY
from tests.contracts.parts import in_two_parts

from fairwatt.audit import audit
from fairwatt.calldata import encode_clearing
from fairwatt.chain import Role
from fairwatt.errors import ContractError, ProofError
from fairwatt.market import Certificate, Clearing, Side, verify
from fairwatt.orders import SignedOrder, Step
from fairwatt.readings import bring
from fairwatt.session import Proposal, Tariff, estimate_imbalance, propose, settle_reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.community import Community, Member

    from fairwatt.chain import Receipt, Signer

_EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
_STEPS = int(os.environ.get("STEPS", "25"))
_ACTIVE = 1
EVERYTHING = [
    *("deposit", "depositToFund", "requestWithdrawal", "withdraw", "setCredit", "allot"),
    *("place", "cancel", "cancelAll", "release", "clear", "clear in parts"),
    *("reconcile", "estimate", "arrears", "collect"),
]
PAGE = Path(__file__).parents[2] / "docs" / "invariants.md"
PROOF = Path(__file__).parents[2] / "contracts" / "ClearingProof.sol"
PROOF_ERRORS = set(re.findall(r"^\s*error (\w+)\(", PROOF.read_text(), re.MULTILINE))
LARGEST_RANK = 2**16 - 1
TARIFF = Tariff(0, RETAIL, FEED_IN)

amounts = st.one_of(st.sampled_from([1, 10**8]), st.integers(1, 10**9))
some = st.integers(0, 10**6)  # picks one of what there is at that step


@dataclass
class Book:
    """What was ordered for a session, and what became of it."""

    market: int
    start: int
    orders: dict[tuple[int, int], SignedOrder] = field(default_factory=dict)
    placed: set[tuple[int, int]] = field(default_factory=set)
    below: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    nonces: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    proposal: Proposal | None = None
    read: set[int] = field(default_factory=set)
    estimated: set[int] = field(default_factory=set)

    def worst_case_nano(self, peer: int) -> int:
        mine = (self.orders[key] for key in self.placed if key[0] == peer)
        return sum(signed.order.worst_case_nano for signed in mine)

    def placed_nonce(self, peer: int) -> int | None:
        return next((nonce for one, nonce in self.placed if one == peer), None)


@dataclass(frozen=True)
class Account:
    balance: int
    free: int
    locked: int
    credit: int
    arrears: int
    withdrawal: int
    requested_at: int


def view(contract: Any, name: str, *arguments: Any) -> Any:
    """Ask a contract, at a tenth of the time that Ape takes: every step asks many questions."""
    abi = next(method for method in contract.contract_type.view_methods if method.name == name)
    inputs, outputs = (
        [str(entry.canonical_type) for entry in entries] for entries in (abi.inputs, abi.outputs)
    )
    data = function_abi_to_4byte_selector(abi.model_dump()) + encode(inputs, arguments)
    state = ape.networks.provider.tester.ethereum_tester.backend.chain.get_vm().state
    nobody, address = b"\0" * 20, to_canonical_address(contract.address)
    context = state.transaction_context_class(gas_price=0, origin=nobody)
    message = Message(10**8, address, nobody, 0, data, state.get_code(address))
    computation = state.computation_class.apply_message(state, message, context)
    computation.raise_if_error()
    values = decode(outputs, bytes(computation.output))
    return values[0] if len(values) == 1 else values


def _refusal(book: Any, clearing: Clearing, certificate: Certificate) -> ProofError | None:
    try:
        verify(book, clearing, certificate)
    except ProofError as refusal:
        return refusal
    return None


class Market(RuleBasedStateMachine):
    """The rules; each step leaves the chain as the model says."""

    community: Community
    members: Sequence[Member]
    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.before = ape.chain.snapshot()
        self.contracts = self.community.chain.contracts
        self.terms = {market: self.community.terms(market) for market in (HOURLY, QUARTERS)}
        self.books: dict[tuple[int, int], Book] = {}
        self.peers = [*(member.peer for member in self.members), self.community.operator.peer]
        self.owed: set[tuple[int, int]] = set()

    def teardown(self) -> None:
        ape.chain.restore(self.before)

    # -------------------------------------------------------------------------------- tools

    def send(self, method: Any, *arguments: Any, sender: Signer) -> Receipt:
        receipt = self.community.chain.send(method, *arguments, sender=sender)
        self.reached[str(method).split("(", maxsplit=1)[0]] += 1
        return receipt

    def refused(self, method: Any, *arguments: Any, sender: Signer) -> ContractError:
        with pytest.raises(ContractError) as caught:
            self.send(method, *arguments, sender=sender)
        return caught.value

    def account(self, peer: int) -> Account:
        return Account(*view(self.contracts.ledger, "account", peer))

    def available(self, peer: int) -> int:
        return int(view(self.contracts.ledger, "availableNano", peer))

    def arrears(self, debtor: int, creditor: int) -> int:
        return int(view(self.contracts.ledger, "arrearsNano", debtor, creditor))

    def fund(self) -> int:
        return int(view(self.contracts.ledger, "fundNano"))

    def is_active(self, peer: int, time: int) -> bool:
        return bool(view(self.contracts.registry, "peerAt", peer, time)[5] == _ACTIVE)

    def member(self, pick: int) -> Member:
        return self.members[pick % len(self.members)]

    def gate(self, book: Book) -> int:
        return self.terms[book.market].gate_closure(book.start)

    def deadline(self, book: Book) -> int:
        return self.terms[book.market].clearing_deadline(book.start)

    def open_books(self) -> list[Book]:
        now = self.community.now()
        return [book for book in self.books.values() if now < self.gate(book)]

    def clearable_books(self) -> list[Book]:
        now = self.community.now()
        return [
            book
            for book in self.books.values()
            if book.proposal is None and now + 60 <= self.deadline(book) and book.orders
        ]

    # ------------------------------------------------------------------------------- tokens

    @rule(pick=some, nano=amounts)
    def deposit(self, pick: int, nano: int) -> None:
        ledger, payer = self.contracts.ledger, self.community.outsider
        if pick % 5 == 4:
            fund = self.fund()
            self.send(ledger.depositToFund, nano, sender=payer)
            assert self.fund() == fund + nano
            return
        member = self.member(pick)
        before = self.account(member.peer).balance
        self.send(ledger.deposit, member.peer, nano, sender=payer)
        assert self.account(member.peer).balance == before + nano

    @rule(pick=some, share=st.integers(0, 110))
    def request_withdrawal(self, pick: int, share: int) -> None:
        member = self.member(pick)
        account = self.account(member.peer)
        free = max(0, account.balance - account.locked - account.arrears)
        nano = free * share // 100 + (share > 100)
        request = self.contracts.ledger.requestWithdrawal
        if nano > free:
            error = self.refused(request, nano, sender=member.wallet)
            assert (error.name, *error.values.values()) == (
                ("InsufficientFunds", member.peer, nano, free)
            )
        else:
            self.send(request, nano, sender=member.wallet)
            assert self.account(member.peer).withdrawal == nano

    @precondition(lambda self: any(self.account(peer).withdrawal for peer in self.peers))
    @rule(pick=some)
    def withdraw(self, pick: int) -> None:
        """I13."""
        member = self.member(pick)
        before = self.account(member.peer)
        wallet_before = view(self.contracts.token, "balanceOf", member.wallet.address)
        withdraw = self.contracts.ledger.withdraw
        if before.withdrawal == 0:
            error = self.refused(withdraw, sender=member.wallet)
            assert error.name == "NoWithdrawalRequested"
        elif self.community.now() < before.requested_at + WITHDRAWAL_DELAY:
            error = self.refused(withdraw, sender=member.wallet)
            assert (error.name, *error.values.values()) == (
                ("WithdrawalNotReady", member.peer, before.requested_at + WITHDRAWAL_DELAY)
            )
        else:
            self.send(withdraw, sender=member.wallet)
            left = max(0, before.balance - before.locked - before.arrears)
            paid = min(before.withdrawal, left)
            after = self.account(member.peer)
            assert (after.balance, after.withdrawal) == (before.balance - paid, 0)
            wallet_after = view(self.contracts.token, "balanceOf", member.wallet.address)
            assert wallet_after == wallet_before + paid * NANO

    # ------------------------------------------------------------------------------- orders

    markets = st.sampled_from([HOURLY, QUARTERS])
    # Bids and asks overlap, so that most books trade; some steps nobody can pay.
    steps = st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from([Side.BID, Side.ASK]),
            st.sampled_from([0, 20_000, 40_000, 100_000]),
            st.sampled_from([1_000, 500, 2_000, 1, 7, 60_000]),
        ),
        min_size=1,
        max_size=3,
    )

    @rule(
        pick=some,
        market=markets,
        later=st.integers(0, 1),
        steps=steps,
        on_chain=st.booleans(),
    )
    def order(self, pick: int, market: int, later: int, steps: Any, on_chain: bool) -> None:
        member = self.member(pick)
        terms = self.terms[market]
        start = terms.next_open_session(self.community.now() + 60) + later * terms.session_seconds
        book = self.books.setdefault((market, start), Book(market, start))
        only = {0: Side.ASK, 1: Side.BID}.get(self.members.index(member))  # producer, consumer
        curve = []
        for period, drawn, offset, energy in steps:
            side = drawn if only is None else only
            price = 50_000 + (offset if side is Side.BID else -offset)
            curve.append(Step(period % terms.periods_per_session, side, price, energy))
        nonce = book.nonces[member.peer]
        signed = self.community.sign(member, *curve, market=market, session=start, nonce=nonce)
        key = (member.peer, nonce)
        if on_chain:
            self._place(book, key, signed)
        elif self.is_active(member.peer, start):
            book.orders[key] = signed
            book.nonces[member.peer] += 1

    def _place(self, book: Book, key: tuple[int, int], signed: SignedOrder) -> None:
        place = self.contracts.order_book.place
        arguments = (signed.order.to_message(), signed.signature)
        peer, cost = signed.order.peer, signed.order.worst_case_nano
        blocks = len(signed.order.curve.words) // 64
        expected: tuple[Any, ...] = ()
        if not self.is_active(peer, book.start):
            expected = ("PeerNotActive", peer)
        elif (placed := book.placed_nonce(peer)) is not None:
            expected = ("AlreadyPlaced", peer, placed)
        elif blocks > (most := self.terms[book.market].max_placed_blocks):
            expected = ("TooManyBlocks", peer, blocks, most)
        elif cost > (available := self.available(peer)):
            expected = ("InsufficientFunds", peer, cost, available)
        if expected:
            error = self.refused(place, *arguments, sender=self.community.outsider)
            assert (error.name, *error.values.values()) == expected
            return
        self.send(place, *arguments, sender=self.community.outsider)
        book.orders[key] = signed
        book.placed.add(key)
        book.nonces[peer] += 1

    @precondition(lambda self: any(book.orders for book in self.open_books()))
    @rule(pick=some)
    def cancel(self, pick: int) -> None:
        choice = [(book, key) for book in self.open_books() for key in book.orders]
        book, key = choice[pick % len(choice)]
        wallet = next(member.wallet for member in self.members if member.peer == key[0])
        cancel = self.contracts.order_book.cancel
        self.send(cancel, book.market, book.start, key[1], sender=wallet)
        book.placed.discard(key)
        del book.orders[key]

    @precondition(lambda self: any(book.orders for book in self.open_books()))
    @rule(pick=some, short=st.booleans())
    def cancel_all(self, pick: int, short: bool) -> None:
        choice = [(book, key[0]) for book in self.open_books() for key in book.orders]
        book, peer = choice[pick % len(choice)]
        wallet = next(member.wallet for member in self.members if member.peer == peer)
        cancel_all = self.contracts.order_book.cancelAll
        placed = book.placed_nonce(peer)
        below = book.nonces[peer] if placed is None or not short else placed  # all but the placed
        if below <= (before := book.below[peer]):
            error = self.refused(cancel_all, book.market, book.start, below, sender=wallet)
            assert (error.name, *error.values.values()) == ("NothingToCancel", below, before)
            return
        self.send(cancel_all, book.market, book.start, below, sender=wallet)
        book.below[peer] = below
        for key in [key for key in book.orders if key[0] == peer and key[1] < below]:
            book.placed.discard(key)
            del book.orders[key]

    # ----------------------------------------------------------------------------- sessions

    @precondition(lambda self: self.clearable_books())
    @rule(pick=some, data=st.data(), leave_out=st.booleans(), split=st.booleans())
    def clear(self, pick: int, data: st.DataObject, leave_out: bool, split: bool) -> None:
        """I9 to I12, I14."""
        choice = self.clearable_books()
        book = choice[pick % len(choice)]
        if self.community.now() < self.gate(book):
            assert self._refused_clearing(self._proposal(book)).name == "GateStillOpen"
            self.community.travel_to(self.gate(book))
        proposal = self._proposal(book)
        self._refuse_tampered(proposal, data)
        if leave_out and book.placed:
            self._refuse_without_placed(book)
        before = {peer: self.account(peer).balance for peer in self.peers}
        if split:
            at = data.draw(st.sampled_from([0, *(one.order.peer for one in proposal.orders), 99]))
            first, receipt = in_two_parts(self.community, proposal, at)
            assert [event.event_name for event in first.events] == ["PartAccepted"]
            self.reached["clear in parts"] += 1
        else:
            sent = self.community.chain.clear(proposal, self.community.solver)
            assert sent is not None
            receipt = sent
        self.reached["clear"] += 1
        book.proposal = proposal
        book.placed.clear()
        self._require_fair(proposal)
        self._require_balanced(proposal, receipt, before)
        assert self._refused_clearing(proposal).name == "AlreadyCleared"

    def _refused_clearing(self, proposal: Proposal, **changes: Any) -> ContractError:
        chain, solver = self.community.chain, self.community.solver
        message, *rest = chain.clearing_arguments(proposal, solver)
        return self.refused(self.contracts.clearing.clear, message | changes, *rest, sender=solver)

    @rule(
        market=markets,
        orders=st.lists(st.tuples(steps, st.booleans()), min_size=4, max_size=6),
        data=st.data(),
        energy=st.integers(-3_000, 3_000),
    )
    def market_day(self, market: int, orders: Any, data: st.DataObject, energy: int) -> None:
        """Everybody orders; then clearing and readings, which steps by themselves seldom reach."""
        for at, (steps, on_chain) in enumerate(orders):
            self.order(pick=at, market=market, later=0, steps=steps, on_chain=on_chain)
        latest = [book for book in self.clearable_books() if book.market == market]
        if latest:
            book = latest[-1]
            pick, split = self.clearable_books().index(book), bool(energy % 2)
            self.clear(pick=pick, data=data, leave_out=True, split=split)
            for who in range(3):
                if who == 1 and book in (readable := self.readable_books()):
                    self.estimate(pick=readable.index(book), who=who)
                if book in (readable := self.readable_books()):
                    self.read_meter(pick=readable.index(book), who=who, energy=energy)

    def _proposal(self, book: Book) -> Proposal:
        session = self.community.session(book.start, book.market)
        placed = [SignedOrder(book.orders[key].order, b"") for key in sorted(book.placed)]
        free = [signed for key, signed in book.orders.items() if key not in book.placed]
        snapshot = self.community.chain.snapshot()
        gate = self.gate(book)
        funds = {peer: snapshot.account(peer).means_nano(gate) for peer in self.peers}
        nodes = {member.peer: member.node for member in self.members}
        return propose(session, free, nodes=nodes, funds_nano=funds, placed=placed)

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
        error = self._refused_clearing(proposal, **message)
        assert error.name in PROOF_ERRORS, error
        if which == "flows":
            place, *values = vars(refusal).values()
            named = {"FlowAboveCapacity": 2, "NodeUnbalanced": 1}.get(refusal.name, 1)
            expected = (refusal.name, place, period, *values[:named])
            assert (error.name, *error.values.values()) == expected

    def _refuse_without_placed(self, book: Book) -> None:
        rest = replace(book, placed=set(sorted(book.placed)[1:]))
        rest.orders = {
            key: signed for key, signed in book.orders.items() if key != min(book.placed)
        }
        error = self._refused_clearing(self._proposal(rest))
        placed = len(book.placed)
        assert (error.name, *error.values.values()) == ("PlacedOrdersMissing", placed, placed - 1)

    @staticmethod
    def _require_fair(proposal: Proposal) -> None:
        for signed, fills in zip(proposal.orders, proposal.fills_wh, strict=True):
            for step, fill in zip(signed.order.steps, fills, strict=True):
                prices = proposal.clearings[step.period].prices_micro_per_kwh
                price = int(prices[proposal.nodes[signed.order.peer]])
                worse = price - step.price_micro_per_kwh
                assert fill == 0 or (worse <= 0 if step.side is Side.BID else worse >= 0)

    def _require_balanced(
        self, proposal: Proposal, receipt: Receipt, before: dict[int, int]
    ) -> None:
        session = proposal.session
        taken = self.community.chain.snapshot().positions_wh(session.market, session.start)
        assert taken == proposal.positions_wh
        for period, clearing in enumerate(proposal.clearings):
            network = session.versions[period].network
            surplus = [0] * len(network.nodes)
            for peer, energy in taken.items():
                surplus[proposal.nodes[peer]] += energy[period]
            for link, flow in zip(network.links, clearing.flows_wh.tolist(), strict=True):
                surplus[network.node_index[link.source]] -= flow
                surplus[network.node_index[link.target]] += flow
            assert not any(surplus)
        income: dict[int, int] = defaultdict(int)
        for event in receipt.events:
            if event.event_name == "LinkEarned":
                income[event.owner] += event.tariffNano
                income[0] += event.rentNano
        payments = proposal.payments_nano
        assert sum(income.values()) + sum(payments.values()) == 0
        for peer in self.peers:
            expected = before[peer] + payments.get(peer, 0) + income[peer]
            assert self.account(peer).balance == expected

    @precondition(lambda self: self.books)
    @rule(pick=some, who=some)
    def release(self, pick: int, who: int) -> None:
        """I14."""
        books = [book for book in self.books.values() if book.placed] or list(self.books.values())
        book, peer = books[pick % len(books)], self.member(who).peer
        release, arguments = self.contracts.order_book.release, (book.market, book.start, peer)
        mine = {key for key in book.placed if key[0] == peer}
        if (
            book.proposal
            or not book.worst_case_nano(peer)
            or (self.community.now() <= self.deadline(book))
        ):
            error = self.refused(release, *arguments, sender=self.community.outsider)
            assert (error.name, *error.values.values()) == ("NothingToRelease", *arguments)
        else:
            self.send(release, *arguments, sender=self.community.outsider)
            book.placed -= mine

    @precondition(lambda self: self.readable_books())
    @rule(pick=some, who=some, energy=st.integers(-3_000, 3_000))
    def read_meter(self, pick: int, who: int, energy: int) -> None:
        """I15."""
        choice = self.readable_books()
        book, member = choice[pick % len(choice)], self.members[who % (len(self.members) - 1)]
        terms, peer = self.terms[book.market], member.peer
        periods = terms.periods_per_session
        energies = [energy + 7 * period for period in range(periods)]
        reading = self.community.read(member, book.start, *energies, market=book.market)
        self._wait_until_settleable(book, terms.session_end(book.start))
        if not self.is_active(peer, book.start):
            return
        before = self._claims(peer)
        receipt = self.community.reconcile(book.start, [reading], market=book.market)
        if peer in book.read:
            due = 0
            assert [event.event_name for event in receipt.events] == ["ReadingsBrought"]
        else:
            due = settle_reading(
                peer,
                energies,
                self._position(book, peer),
                [TARIFF] * periods,
                estimated_before=peer in book.estimated,
            ).payment_nano
            self.reached["reconcile"] += 1
            self.reached["reconcile after estimate"] += peer in book.estimated
            book.read.add(peer)
        assert self._claims(peer) == before + due
        self.reached["arrears"] += bool(self.arrears(peer, self.community.supplier.peer))

    @precondition(lambda self: self.readable_books())
    @rule(pick=some, who=some)
    def estimate(self, pick: int, who: int) -> None:
        """I15."""
        choice = self.readable_books()
        book, member = choice[pick % len(choice)], self.members[who % (len(self.members) - 1)]
        terms, peer = self.terms[book.market], member.peer
        self._wait_until_settleable(book, terms.session_end(book.start))
        positions = self.community.chain.snapshot().positions_wh(book.market, book.start)
        brought = bring(positions, [], missing=[peer], tariffs={peer: 0})
        reconcile, solver = self.contracts.settlement.reconcile, self.community.solver
        arguments = (book.market, book.start, list(brought.leaves), brought.readings)
        awaited = terms.reading_deadline(book.start)
        if self.community.now() <= awaited and peer not in book.read | book.estimated:
            error = self.refused(reconcile, *arguments, sender=solver)
            values = (peer, book.start, awaited)
            assert (error.name, *error.values.values()) == ("ReadingStillAwaited", *values)
        self.community.travel_to(max(self.community.now(), awaited + 1))
        before = self._claims(peer)
        receipt = self.community.send(reconcile, *arguments, sender=solver)
        if peer in book.read | book.estimated:
            due = 0
            assert [event.event_name for event in receipt.events] == ["ReadingsBrought"]
        else:
            position = self._position(book, peer)
            due = estimate_imbalance(peer, position, [TARIFF] * len(position)).payment_nano
            self.reached["estimate"] += 1
            book.estimated.add(peer)
        assert self._claims(peer) == before + due

    def _wait_until_settleable(self, book: Book, time: int) -> None:
        self.community.travel_to(max(self.community.now(), time))
        if not book.proposal and self.community.now() <= self.deadline(book):
            self.community.travel_to(self.deadline(book) + 1)

    def _position(self, book: Book, peer: int) -> tuple[int, ...]:
        nothing = (0,) * self.terms[book.market].periods_per_session
        return book.proposal.positions_wh.get(peer, nothing) if book.proposal else nothing

    def readable_books(self) -> list[Book]:
        now = self.community.now()
        return [
            book
            for book in self.books.values()
            if now + 3 * DAY < self.terms[book.market].settlement_deadline(book.start)
            and (book.proposal or now > self.gate(book))
        ]

    def _claims(self, peer: int) -> int:
        """What the peer has, and has to get from its supplier."""
        other = self.community.supplier.peer
        self.owed |= {(peer, other), (other, peer)}
        return self.account(peer).balance + self.arrears(other, peer) - self.arrears(peer, other)

    @precondition(lambda self: self.owed)
    @rule(pick=some)
    def collect(self, pick: int) -> None:
        choice = sorted(self.owed)
        debtor, creditor = choice[pick % len(choice)]
        account, owed = self.account(debtor), self.arrears(debtor, creditor)
        paid = min(owed, max(0, account.balance + account.credit - account.locked))
        collect = self.contracts.ledger.collect
        if paid:
            before = self.account(creditor).balance
            self.send(collect, debtor, creditor, sender=self.community.outsider)
            assert self.arrears(debtor, creditor) == owed - paid
            assert self.account(creditor).balance == before + paid
        else:
            error = self.refused(collect, debtor, creditor, sender=self.community.outsider)
            assert (error.name, *error.values.values()) == (("NothingToCollect", debtor, creditor))

    # ---------------------------------------------------------------------------- sequences

    @initialize(
        sequence=st.permutations(range(6)),
        pick=some,
        market=markets,
        curves=st.lists(steps, min_size=4, max_size=4),
        nano=amounts,
        data=st.data(),
    )
    def begin(
        self, sequence: list[int], pick: int, market: int, curves: Any, nano: int, data: Any
    ) -> None:
        """Every run begins with all of them: later on most fail for want of funds."""
        orders = [(curve, bool(at % 2)) for at, curve in enumerate(curves)]
        sequences = [
            lambda: self.change_of_mind(pick=pick, market=market, steps=curves[0]),
            lambda: self.void_session(pick=pick, market=market, steps=curves[1]),
            lambda: self.withdrawal(pick=pick, share=1 + nano % 50),
            lambda: self.debt(who=pick, steps=curves[2], nano=nano),
            lambda: self.gift(pick=pick, nano=nano),
            lambda: self.market_day(market=market, orders=orders, data=data, energy=nano % 3_000),
        ]
        for which in sequence:
            sequences[which]()
            self.money_adds_up()

    @rule(pick=some, market=markets, steps=steps)
    def change_of_mind(self, pick: int, market: int, steps: Any) -> None:
        """Somebody places an order and cancels it, and places another and cancels all."""
        for cancel in (self.cancel, partial(self.cancel_all, short=False)):
            self.order(pick=pick, market=market, later=1, steps=steps, on_chain=True)
            if any(book.orders for book in self.open_books()):
                cancel(pick=pick)

    @rule(pick=some, market=markets, steps=steps)
    def void_session(self, pick: int, market: int, steps: Any) -> None:
        """The consumer or the prosumer places an order that nobody clears in time."""
        self.order(pick=1 + pick % 2, market=market, later=0, steps=steps, on_chain=True)
        if choice := [book for book in self.books.values() if book.placed]:
            book = choice[-1]
            self.community.travel_to(max(self.community.now(), self.deadline(book) + 1))
            peer = min(book.placed)[0]
            who = [member.peer for member in self.members].index(peer)
            self.release(pick=len(choice) - 1, who=who)

    @rule(pick=some, share=st.integers(1, 100))
    def withdrawal(self, pick: int, share: int) -> None:
        """Somebody requests, waits, and withdraws."""
        self.request_withdrawal(pick=pick, share=share)
        self.wait(hours=WITHDRAWAL_DELAY // 3600)
        self.withdraw(pick=pick)

    @rule(pick=some, nano=amounts)
    def gift(self, pick: int, nano: int) -> None:
        """Somebody gives to the fund, which gives it on: as credit, and for good."""
        self.deposit(pick=4, nano=nano)
        self.set_credit(pick=pick, share=50)
        self.allot(pick=pick, nano=nano // 4)

    @rule(who=some, steps=steps, nano=amounts)
    def debt(self, who: int, steps: Any, nano: int) -> None:
        """Somebody takes more than it can pay, and pays when it has funds again."""
        who %= len(self.members) - 1
        start = self.terms[HOURLY].next_open_session(self.community.now() + 60)
        self.order(pick=who, market=HOURLY, later=0, steps=steps, on_chain=False)
        book = self.books[HOURLY, start]
        self.community.travel_to(self.gate(book) + 1)
        self.read_meter(pick=self.readable_books().index(book), who=who, energy=-50_000)
        self.deposit(pick=who, nano=nano)
        pair = (self.members[who].peer, self.community.supplier.peer)
        if pair in self.owed:
            self.collect(pick=sorted(self.owed).index(pair))

    # --------------------------------------------------------------------- fund, peers, time

    @rule(pick=some, share=st.integers(0, 120))
    def set_credit(self, pick: int, share: int) -> None:
        peer = self.member(pick).peer
        account = self.account(peer)
        nano = self.fund() * share // 100
        granted = view(self.contracts.ledger, "creditGrantedNano") - account.credit + nano
        needed = account.locked - account.balance
        set_credit, manager = self.contracts.ledger.setCredit, self.community.fund_manager
        expected: tuple[Any, ...] = ()
        if granted > self.fund():
            expected = ("FundTooSmall", granted, self.fund())
        elif nano < account.credit and needed > nano:
            expected = ("CreditInUse", peer, needed)
        if expected:
            error = self.refused(set_credit, peer, nano, sender=manager)
            assert (error.name, *error.values.values()) == expected
        else:
            self.send(set_credit, peer, nano, sender=manager)

    @rule(pick=some, nano=amounts)
    def allot(self, pick: int, nano: int) -> None:
        peer = self.member(pick).peer
        free = self.fund() - view(self.contracts.ledger, "creditGrantedNano")
        allot, manager = self.contracts.ledger.allot, self.community.fund_manager
        if nano > free:
            error = self.refused(allot, [(peer, nano)], sender=manager)
            assert (error.name, *error.values.values()) == ("FundTooSmall", nano, free)
        else:
            self.send(allot, [(peer, nano)], sender=manager)

    @rule(pick=some)
    def suspend_or_reinstate(self, pick: int) -> None:
        peer, now = self.member(pick).peer, self.community.now()
        registry = self.contracts.registry
        soon = self.is_active(peer, now + 365 * DAY)
        method = registry.suspend if soon else registry.reinstate
        if not soon and self.is_active(peer, now):
            error = self.refused(method, peer, sender=self.community.registrar)
            assert error.name == "ChangePending"
        else:
            self.send(method, peer, sender=self.community.registrar)

    @rule(hours=st.sampled_from([1, 1, 2, 3, 50, WITHDRAWAL_DELAY // 3600]))
    def wait(self, hours: int) -> None:
        self.community.travel_to(self.community.now() + hours * 3600)

    # --------------------------------------------------------------------------- invariants

    @invariant()
    def money_adds_up(self) -> None:
        """I1 to I8."""
        accounts = {peer: self.account(peer) for peer in self.peers}
        fund, ledger = self.fund(), self.contracts.ledger
        held = view(self.contracts.token, "balanceOf", str(ledger.address))
        assert held == (sum(one.balance for one in accounts.values()) + fund) * NANO  # I1
        granted = view(ledger, "creditGrantedNano")
        assert sum(one.credit for one in accounts.values()) == granted <= fund  # I2
        for peer, one in accounts.items():
            assert one.balance >= -one.credit  # I3
            placed = sum(book.worst_case_nano(peer) for book in self.books.values())
            assert one.locked == placed  # I4
            assert one.balance + one.credit >= one.locked  # I5
            owed = sum(self.arrears(*pair) for pair in self.owed if pair[0] == peer)
            assert one.arrears == owed  # I6
            credit = 0 if one.withdrawal else one.credit
            left = one.balance + credit - one.locked - one.withdrawal - one.arrears
            assert one.free == left >= -one.arrears  # I7
            if one.withdrawal:
                assert one.balance >= one.locked + one.arrears + one.withdrawal  # I8


class Audited(Market):
    """I16, after each run: every account follows from the history of the chain."""

    def teardown(self) -> None:
        found = audit(self.community.chain).differences
        super().teardown()
        assert found == ()


def found_market(community: Community) -> None:
    """Members and funds of every run."""
    members = [
        community.admit(Role.PRODUCER, C2),
        community.admit(Role.CONSUMER, C3),
        community.admit(Role.PROSUMER, C3),
    ]
    contracts, payer = community.chain.contracts, community.outsider
    mint = contracts.token.treasuryMint
    community.send(mint, payer.address, 10**27, sender=community.treasury)
    community.send(contracts.token.approve, contracts.ledger, 10**27, sender=payer)
    for member in members:
        community.send(contracts.ledger.deposit, member.peer, 5 * 10**8, sender=payer)
    community.send(contracts.ledger.depositToFund, 10**8, sender=payer)
    Market.community, Market.members = community, [*members, community.supplier]
    Market.reached.clear()


def run(machine: type[Market], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=_EXAMPLES or examples,
            stateful_step_count=_STEPS if _EXAMPLES else 5,
            derandomize=not _EXAMPLES,
            database=None,
            phases=tuple(Phase) if _EXAMPLES else (Phase.generate,),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_markets__any_sequence_of_steps__keep_the_invariants(community: Community) -> None:
    found_market(community)
    run(Market, 6)
    assert min(Market.reached[name] for name in EVERYTHING) >= 3, Market.reached


def test_markets__any_sequence_of_steps__every_account_follows_from_history(
    community: Community,
) -> None:
    found_market(community)
    run(Audited, 2)


def test_invariants__of_the_page__are_those_that_are_checked() -> None:
    pattern = r"\bI(\d+)\b(?: to I(\d+))?"
    page = {
        int(first) for first, _ in re.findall(r"^\| I(\d+)() \|", PAGE.read_text(), re.MULTILINE)
    }
    checked: set[int] = set()
    for first, last in re.findall(pattern, Path(__file__).read_text()):
        checked |= set(range(int(first), int(last or first) + 1))
    assert checked == page == set(range(1, max(page) + 1))
