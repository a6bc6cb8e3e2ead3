"""History in, balances out, and where the contracts say something else.

What a clearing or a reconciliation comes to is never taken from an event: it is worked out from
the calldata (orders, prices, flows; continuous trades; readings) and from what was published
(networks, tariffs, records of peers), with every signature and every proof checked again. What a
wallet's code accepted for a continuous trade only that code could say again. Of events are taken
what is nobody's to compute: who paid in how much, withdrew, moved, granted or allotted. Deposits,
withdrawals and moves are held against the transfers of the token.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from operator import add
from typing import TYPE_CHECKING, Any, Final

from fairwatt import market
from fairwatt.audit._accounts import Accounts
from fairwatt.audit._trades import Trading
from fairwatt.calldata import AcceptedOrder, rebuild, taken_orders
from fairwatt.chain import History
from fairwatt.continuous import ContinuousOrder, Pair, SignedContinuousOrder
from fairwatt.errors import FairwattError, SignatureError
from fairwatt.imbalances import estimate_imbalance, settle_reading
from fairwatt.lanes import position_leaves, positions_hash
from fairwatt.orders import Order
from fairwatt.readings import decode_readings
from fairwatt.units import WEI_PER_NANO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fairwatt.chain import Chain, Event, Peer, Snapshot
    from fairwatt.eip712 import Domain
    from fairwatt.imbalances import Imbalance
    from fairwatt.meter import SignedReading
    from fairwatt.proposal import Proposal
    from fairwatt.readings import ReadingRecord
    from fairwatt.session import MarketTerms, Session

__all__ = ["Audit", "Difference", "SettledReading", "audit"]

_CANCELLED: Final = 2**32 - 1
"""Stands in the contract for what was traded of an order that is cancelled."""
_FOLLOWING: Final = ("ReadingSettled", "ReadingEstimated", "ArrearsIncurred", "ArrearsPaid")
_COUNTED: Final = {
    "Deposited": "deposits",
    "Withdrawn": "withdrawals",
    "Moved": "moves",
    "SessionCleared": "clearings",
    "Traded": "trades",
    "ReadingsBrought": "reconciliations",
    "FundAllotted": "allotments",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that the chain has otherwise than it follows from the history.

    Attributes
    ----------
    where
        Whose account, or which session.
    what
        What differs, or which rule was broken.
    on_chain, recomputed
        None where there is nothing to set side by side.
    transaction
        In which it shows; empty if in the state at the end.
    """

    where: str
    what: str
    on_chain: int | str | None = None
    recomputed: int | str | None = None
    transaction: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        if self.recomputed is not None:
            text += f" is {_shown(self.on_chain)} on chain, recomputed {_shown(self.recomputed)}"
        if isinstance(self.on_chain, int) and isinstance(self.recomputed, int):
            text += f" (off by {self.on_chain - self.recomputed:+,})"
        return text + (f", in transaction {self.transaction}" if self.transaction else "")


@dataclass(frozen=True, slots=True)
class SettledReading:
    """What was settled for a peer's session, in one transaction.

    Attributes
    ----------
    signed
        None for an estimate.
    payment_nano
        What the peer received from its supplier (positive) or owed it (negative), less what an
        earlier estimate settled.
    """

    market: int
    session_start: int
    peer: int
    signed: SignedReading | None
    payment_nano: int
    transaction: str


@dataclass(frozen=True, slots=True)
class Audit:
    """The result.

    Attributes
    ----------
    accounts
        As recomputed.
    peers
        How many accounts were compared.
    counts
        What it was recomputed from.
    """

    block: int
    accounts: Accounts
    peers: int
    counts: Mapping[str, int]
    settled: tuple[SettledReading, ...]
    differences: tuple[Difference, ...]


def audit(chain: Chain, block: int | None = None) -> Audit:
    """Recompute every account of a deployment, and compare.

    Parameters
    ----------
    block
        Up to which one; the latest by default.

    Raises
    ------
    ChainError
        If the history cannot be read.
    """
    return _Replay(chain, chain.snapshot(block)).run()


@dataclass
class _Replay:
    chain: Chain
    snapshot: Snapshot
    accounts: Accounts = field(default_factory=Accounts)
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    settled: list[SettledReading] = field(default_factory=list)
    positions: dict[tuple[int, int], dict[int, tuple[int, ...]]] = field(default_factory=dict)
    trading: Trading = field(default_factory=Trading)

    def __post_init__(self) -> None:
        self.history = History(self.snapshot)
        self.booked_wei: Counter[str] = Counter()
        self.placed: dict[tuple[int, int, int], Order] = {}
        self.cancelled: set[tuple[int, int, int, int]] = set()
        self.below: dict[tuple[int, int, int], int] = {}
        self.drafts: dict[tuple[int, int, str], list[tuple[Any, ...]]] = {}
        self.earned: Counter[tuple[int, int, int]] = Counter()
        self.states: dict[tuple[int, int, int], Imbalance] = {}
        self.expected: deque[tuple[str, tuple[int, ...]]] = deque()
        self._peers: dict[tuple[int, int], Peer] = {}
        self._terms: dict[int, MarketTerms] = {}
        self._delay = int(self.snapshot.contracts.ledger.WITHDRAWAL_DELAY_SECONDS())

    # -------------------------------------------------------------------------------- the run

    def run(self) -> Audit:
        steps: dict[str, Callable[[Event], None]] = {
            "Deposited": self._deposited,
            "FundReceived": self._fund_received,
            "WithdrawalRequested": self._withdrawal_requested,
            "Withdrawn": self._withdrawn,
            "Moved": self._withdrawn,
            "CreditChanged": self._credit_changed,
            "FundAllotted": self._allotted,
            "OrderPlaced": self._order_placed,
            "OrderCancelled": self._order_cancelled,
            "OrdersCancelled": self._orders_cancelled,
            "LockReleased": self._lock_released,
            "PartAccepted": self._part_accepted,
            "LinkEarned": self._link_earned,
            "SessionCleared": self._session_cleared,
            "Traded": self._traded,
            "ContinuousOrderCancelled": self._continuous_order_cancelled,
            "ReadingsBrought": self._readings_brought,
        }
        event: Event | None = None
        for event in self.history.events:
            try:
                if event.name in _FOLLOWING:
                    self._follow(event)
                elif event.name in steps:
                    self._require_nothing_expected(event)
                    steps[event.name](event)
            except FairwattError as error:
                self._differ(_place(event), str(error), transaction=event.transaction)
            if event.name in _COUNTED:
                self.counts[_COUNTED[event.name]] += 1
        if event is not None:
            self._require_nothing_expected(event)
        self._compare_trades()
        self._compare_tokens()
        peers = self._compare_accounts()
        return Audit(
            self.snapshot.block,
            self.accounts,
            peers,
            dict(self.counts),
            tuple(self.settled),
            tuple(self.differences),
        )

    def _differ(
        self,
        where: str,
        what: str,
        on_chain: int | str | None = None,
        recomputed: int | str | None = None,
        transaction: str = "",
    ) -> None:
        self.differences.append(Difference(where, what, on_chain, recomputed, transaction))

    def _compare(
        self, where: str, what: str, on_chain: int | str, ours: int | str, transaction: str = ""
    ) -> None:
        if on_chain != ours:
            self._differ(where, what, on_chain, ours, transaction)

    # --------------------------------------------------------------------------- in, out, fund

    def _deposited(self, event: Event) -> None:
        peer, nano = int(event.values["peer"]), int(event.values["amountNano"])
        self.booked_wei[event.transaction] += nano * WEI_PER_NANO
        self.accounts.deposit(peer, nano)

    def _fund_received(self, event: Event) -> None:
        nano = int(event.values["amountNano"])
        self.booked_wei[event.transaction] += nano * WEI_PER_NANO
        self.accounts.endow(nano)

    def _withdrawal_requested(self, event: Event) -> None:
        values = event.values
        time = int(values["availableFrom"]) - self._delay
        self.accounts.request_withdrawal(int(values["peer"]), int(values["amountNano"]), time)

    def _withdrawn(self, event: Event) -> None:
        peer, nano = int(event.values["peer"]), int(event.values["amountNano"])
        self.booked_wei[event.transaction] -= nano * WEI_PER_NANO
        ours = self.accounts.withdraw(peer)
        what = "the move" if event.name == "Moved" else "the withdrawal"
        self._compare(f"peer {peer}", what, nano, ours, event.transaction)

    def _credit_changed(self, event: Event) -> None:
        self.accounts.set_credit(int(event.values["peer"]), int(event.values["creditNano"]))

    def _allotted(self, event: Event) -> None:
        self.accounts.allot(int(event.values["peer"]), int(event.values["amountNano"]))

    # ---------------------------------------------------------------------------- placed orders

    def _order_placed(self, event: Event) -> None:
        order = Order.from_message(event.values["order"])
        self.placed[order.market, order.session_start, order.peer] = order
        self.accounts.lock(order.peer, order.worst_case_nano)

    def _order_cancelled(self, event: Event) -> None:
        key, nonce = _book_of(event), int(event.values["nonce"])
        self.cancelled.add((*key, nonce))
        if key in self.placed and self.placed[key].nonce == nonce:
            self._unlock(key)

    def _orders_cancelled(self, event: Event) -> None:
        key, below = _book_of(event), int(event.values["belowNonce"])
        self.below[key] = below
        if key in self.placed and self.placed[key].nonce < below:
            self._unlock(key)

    def _lock_released(self, event: Event) -> None:
        self._unlock(_book_of(event))

    def _unlock(self, key: tuple[int, int, int]) -> None:
        order = self.placed.pop(key)
        self.accounts.unlock(order.peer, order.worst_case_nano)

    # -------------------------------------------------------------------------------- clearing

    def _part_accepted(self, event: Event) -> None:
        clear = self.snapshot.contracts.clearing.clear
        call = self.history.call(clear, event)
        self._draft(event, call).append(call)

    def _draft(self, event: Event, call: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """The earlier parts of a solver's clearing; none if this call begins it, or anew."""
        key = (*_session_of(event), str(event.values["solver"]))
        _, _, carried, _ = call
        if not carried[0]:
            self.drafts[key] = []
        return self.drafts[key]

    def _link_earned(self, event: Event) -> None:
        values, session = event.values, _session_of(event)
        self.earned[(*session, int(values["owner"]))] += int(values["tariffNano"])
        self.earned[(*session, 0)] += int(values["rentNano"])

    def _session_cleared(self, event: Event) -> None:
        number, start = _session_of(event)
        clear = self.snapshot.contracts.clearing.clear
        call = self.history.call(clear, event)
        calls = [*self._draft(event, call), call]
        message = calls[-1][0]
        orders = [order for each in calls for order in taken_orders(number, start, each[1][0])]
        session = self.snapshot.session(number, start)
        proposal = rebuild(session, message, orders, lambda peer: self._peer(peer, start).node)
        self._check_orders(session, orders, event)
        try:
            proposal.check()
        except FairwattError as error:
            self._differ(_place(event), f"the clearing is not proved: {error}")
        self.positions[number, start] = proposal.positions_wh
        self._book_clearing(proposal, event)

    def _check_orders(
        self, session: Session, orders: Sequence[AcceptedOrder], event: Event
    ) -> None:
        """Each order is signed by its peer or placed, none is cancelled, no placed one left out."""
        domain = self.chain.order_domain
        taken = set()
        for accepted in orders:
            order = accepted.signed.order
            key = (session.market, session.start, order.peer)
            where = f"{_place(event)}, order {order.nonce} of peer {order.peer}"
            if self.placed.get(key) == order:
                taken.add(key)
            elif not accepted.signed.signature:
                self._differ(where, "it was not placed", transaction=event.transaction)
            if accepted.signed.signature:
                wallet = self._peer(order.peer, session.start).wallet
                signer = _signer(accepted, domain)
                self._compare(where, "who signed it", signer, wallet, event.transaction)
            if (*key, order.nonce) in self.cancelled or order.nonce < self.below.get(key, 0):
                self._differ(where, "it was cancelled", transaction=event.transaction)
        for key, order in self.placed.items():
            if key[:2] == (session.market, session.start) and key not in taken:
                where = f"{_place(event)}, order {order.nonce} of peer {order.peer}"
                self._differ(where, "it was placed and is left out")

    def _book_clearing(self, proposal: Proposal, event: Event) -> None:
        session, where = proposal.session, _place(event)
        incomes = _incomes(proposal)
        unlocks = {
            order.peer: order.worst_case_nano
            for key, order in self.placed.items()
            if key[:2] == (session.market, session.start)
        }
        for peer in unlocks:
            del self.placed[session.market, session.start, peer]
        for owner, nano in incomes.items():
            earned = self.earned[session.market, session.start, owner]
            name = f"the income of account {owner}" if owner else "the income of the fund"
            self._compare(where, name, earned, nano, event.transaction)
        paid = self.accounts.book_clearing(
            proposal.payments_nano,
            unlocks,
            incomes.items(),
            gate_closure=session.terms.gate_closure(session.start),
            fee=session.terms.solver_fee_nano,
            fee_to=proposal.fee_to,
        )
        fee = int(event.values["feeNano"])
        self._compare(where, "the solver's fee", fee, paid, event.transaction)
        kept = bytes(
            self.snapshot.contracts.clearing.positionsHash(
                session.market, session.start, block_id=self.snapshot.block
            )
        )
        ours = positions_hash(position_leaves(proposal.positions_wh))
        self._compare(where, "the hash of the positions", "0x" + kept.hex(), "0x" + ours.hex())

    # ----------------------------------------------------------------------- continuous trades

    def _traded(self, event: Event) -> None:
        """The orders are in the calldata; both, and the time, say what their trade comes to."""
        trade, where = self.snapshot.contracts.trades.trade, _place(event)
        *orders, energy_wh = self.history.call(trade, event)
        resting, incoming = (
            SignedContinuousOrder(ContinuousOrder.from_struct(order), signature)
            for order, signature in orders
        )
        pair, start = Pair(resting, incoming, energy_wh), resting.order.session_start
        session = self.snapshot.session(resting.order.market, start)
        peers = {
            signed.order.peer: self._peer(signed.order.peer, start)
            for signed in (resting, incoming)
        }
        for objection in self.trading.trade(pair, session, peers, event.time):
            self._differ(where, f"a trade: {objection}", transaction=event.transaction)
        for signed in (resting, incoming):
            self._check_signer(signed, peers[signed.order.peer].wallet, event)
        said = (*_session_of(event), *event.values["trade"].values())
        self._compare(where, "a trade", _listed(said), _listed(_stated(pair)), event.transaction)
        payer, payee, nano = pair.buyer, pair.seller, pair.value_nano
        if nano < 0:
            payer, payee, nano = payee, payer, -nano
        self.accounts.book_trade(payer, payee, nano)

    def _check_signer(self, signed: SignedContinuousOrder, wallet: str, event: Event) -> None:
        signer = _signer(signed, self.chain.trade_domain)
        if signer != wallet and not self.history.is_contract(wallet):
            order = signed.order
            where = f"{_place(event)}, continuous order {order.nonce} of peer {order.peer}"
            self._differ(where, "who signed it", signer, wallet, event.transaction)

    def _continuous_order_cancelled(self, event: Event) -> None:
        self.trading.cancelled.add((int(event.values["peer"]), int(event.values["nonce"])))

    # ---------------------------------------------------------------------------- settlement

    def _readings_brought(self, event: Event) -> None:
        reconcile = self.snapshot.contracts.settlement.reconcile
        number, start, _, readings = self.history.call(reconcile, event)
        terms = self._terms_of(number)
        records = decode_readings(
            readings,
            market=number,
            session_start=start,
            periods=terms.periods_per_session,
        )
        payments = [self._settle(number, start, record, event) for record in records]
        changes = self.accounts.book_imbalances(filter(None, payments))
        self.expected += [(name, amounts) for name, *amounts in changes]  # type: ignore[misc]

    def _settle(
        self, number: int, start: int, record: ReadingRecord, event: Event
    ) -> tuple[int, int, int] | None:
        """What a record makes somebody pay: debtor, creditor, nano-token."""
        key = (number, start, record.peer)
        before = self.states.get(key)
        if before is not None and (not before.estimated or record.signed is None):
            return None
        terms, peer = self._terms_of(number), self._peer(record.peer, start)
        nothing = (0,) * terms.periods_per_session
        position = self.positions.get((number, start), {}).get(record.peer, nothing)
        where = f"{_place(event)}, peer {record.peer}"
        self._compare(
            where,
            "the position that was brought",
            str(list(record.position_wh or nothing)),
            str(list(position)),
            event.transaction,
        )
        traded = self.trading.positions_wh[number, start].get(record.peer, nothing)
        position = tuple(map(add, position, traded))
        _, tariffs = self.snapshot.tariffs_of_session(number, start, peer.supplier)
        if record.signed is None:
            imbalance = estimate_imbalance(record.peer, position, tariffs)
            amount, said = imbalance.payment_nano, (record.peer, imbalance.payment_nano)
            self.expected.append(("ReadingEstimated", said))
        else:
            self._check_reading(record.signed, peer, terms, where, event)
            imbalance = settle_reading(
                record.peer, record.signed.reading.energy_wh, position, tariffs
            )
            earlier = before.payment_nano if before is not None else 0
            amount = imbalance.payment_nano - earlier
            self.expected.append(("ReadingSettled", (record.peer, imbalance.payment_nano, earlier)))
        self.states[key] = imbalance
        self.settled.append(SettledReading(*key, record.signed, amount, event.transaction))
        if amount == 0:
            return None
        if amount > 0:
            return peer.supplier, record.peer, amount
        return record.peer, peer.supplier, -amount

    def _check_reading(
        self,
        signed: SignedReading,
        peer: Peer,
        terms: MarketTerms,
        where: str,
        event: Event,
    ) -> None:
        signer = _signer(signed, self.chain.reading_domain)
        self._compare(where, "who signed", signer, str(peer.meter), event.transaction)
        limit = peer.energy_limit_wh(terms.period_seconds)
        if any(abs(wh) > limit for wh in signed.reading.energy_wh):
            self._differ(where, f"the reading exceeds the connection's {limit} Wh")

    def _follow(self, event: Event) -> None:
        """An event that says what was just recomputed, or that debts were collected."""
        said = _amounts(event)
        if not self.expected and event.name == "ArrearsPaid":
            debtor, creditor, nano = said
            *_, paid = self.accounts.collect(debtor, creditor)
            where = f"what peer {debtor} owes peer {creditor}"
            self._compare(where, "what was collected of it", nano, paid, event.transaction)
            return
        name, amounts = self.expected.popleft() if self.expected else ("nothing", ())
        self._compare(
            _place(event),
            "what it says",
            f"{event.name} {_listed(said)}",
            f"{name} {_listed(amounts)}".rstrip(),
            event.transaction,
        )

    def _require_nothing_expected(self, event: Event) -> None:
        while self.expected:
            name, amounts = self.expected.popleft()
            self._differ("history", f"{name} {_listed(amounts)} is missing before {event.name}")

    # ------------------------------------------------------------------------------- comparing

    def _compare_trades(self) -> None:
        for session, positions in self.trading.positions_wh.items():
            kept = self.snapshot.traded_positions_wh(*session)
            for peer, ours in positions.items():
                where = f"session {session[1]} of market {session[0]}, peer {peer}"
                theirs = list(kept.get(peer, ()))
                self._compare(where, "what it traded continuously", str(theirs), str(ours))
        for key in self.trading.cancelled | self.trading.traded_wh.keys():
            ours_wh = _CANCELLED if key in self.trading.cancelled else self.trading.traded_wh[key]
            where = f"continuous order {key[1]} of peer {key[0]}"
            self._compare(where, "what was traded of it", self.snapshot.traded_wh(*key), ours_wh)

    def _compare_tokens(self) -> None:
        came, left = self.history.tokens_moved_wei()
        for transaction in sorted(self.booked_wei.keys() | left.keys()):
            moved = came.get(transaction, 0) - left.get(transaction, 0)
            booked = self.booked_wei[transaction]
            if moved < booked or (moved != booked and booked < 0):
                self._differ("ledger", "tokens moved, in wei,", moved, booked, transaction)
        held = sum(came.values()) - sum(left.values())
        self._compare("ledger", "tokens held, in wei,", self.snapshot.tokens_held_wei(), held)

    def _compare_accounts(self) -> int:
        contracts, block = self.snapshot.contracts, self.snapshot.block
        ours = self.accounts
        count = int(contracts.registry.peerCount(block_id=block))
        for peer in range(1, count + 1):
            kept = self.snapshot.account(peer)
            for what, on_chain, recomputed in (
                ("the balance", kept.balance_nano, ours.balance[peer]),
                ("what is free", kept.free_nano, ours.free(peer)),
                ("what is locked", kept.locked_nano, ours.locked[peer]),
                ("the credit limit", kept.credit_nano, ours.credit[peer]),
                ("what it owes", kept.arrears_nano, ours.owed(peer)),
                ("the requested withdrawal", kept.withdrawal_nano, ours.withdrawal[peer]),
            ):
                self._compare(f"peer {peer}", what, on_chain, recomputed)
        for (debtor, creditor), nano in ours.arrears.items():
            owed = int(contracts.ledger.arrearsNano(debtor, creditor, block_id=block))
            self._compare(f"peer {debtor}", f"what it owes peer {creditor}", owed, nano)
        held = int(contracts.ledger.heldNano(block_id=block))
        granted = int(contracts.ledger.creditGrantedNano(block_id=block))
        self._compare("fund", "the balance", self.snapshot.fund_nano(), ours.fund)
        self._compare("fund", "the credit it covers", granted, sum(ours.credit.values()))
        self._compare("ledger", "the sum of all accounts", held, ours.held)
        return count

    # --------------------------------------------------------------------------------- looking

    def _peer(self, peer: int, time: int) -> Peer:
        if (peer, time) not in self._peers:
            self._peers[peer, time] = self.snapshot.peer(peer, time)
        return self._peers[peer, time]

    def _terms_of(self, number: int) -> MarketTerms:
        if number not in self._terms:
            self._terms[number] = self.snapshot.terms(number)
        return self._terms[number]


def _incomes(proposal: Proposal) -> dict[int, int]:
    """Tariffs to the owners of links, rent to the fund (0).

    Nothing is booked for the links of flexible orders, which come after those of the network: what
    passes through them is paid at the node of the peer.
    """
    incomes: Counter[int] = Counter()
    links = None if proposal.expansion is None else proposal.expansion.link_count
    for book, clearing in zip(proposal.books, proposal.clearings, strict=True):
        money = market.payments(book, clearing)
        for link, tariff, rent in zip(
            book.network.links[:links], money.tariffs_nano, money.rents_nano, strict=False
        ):
            incomes[int(link.owner or 0)] += tariff
            incomes[0] += rent
    return dict(incomes)


def _signer(signed: AcceptedOrder | SignedContinuousOrder | SignedReading, domain: Domain) -> str:
    """Whose key signed; what is no signature is nobody's."""
    try:
        return signed.signer(domain)
    except SignatureError:
        return "nobody"


def _stated(pair: Pair) -> tuple[int, ...]:
    """Session and trade, as the event says them."""
    order = pair.resting.order
    ask, bid = (pair.resting, pair.incoming) if order.side else (pair.incoming, pair.resting)
    return (
        *(order.market, order.session_start),
        *(ask.order.peer, ask.order.nonce, bid.order.peer, bid.order.nonce),
        *(order.first_period, order.periods, int(order.side)),
        *(pair.price_micro_per_kwh, pair.energy_wh),
    )


def _session_of(event: Event) -> tuple[int, int]:
    return int(event.values["market"]), int(event.values["sessionStart"])


def _book_of(event: Event) -> tuple[int, int, int]:
    return (*_session_of(event), int(event.values["peer"]))


def _place(event: Event) -> str:
    if "sessionStart" in event.values:
        number, start = _session_of(event)
        return f"session {start} of market {number}"
    who = event.values.get("peer", event.values.get("debtor"))
    return "fund" if who is None else f"peer {who}"


def _amounts(event: Event) -> tuple[int, ...]:
    """Peers and amounts of an event, without its session."""
    values = event.values
    return tuple(int(values[key]) for key in values if key not in ("market", "sessionStart"))


def _listed(amounts: Sequence[int]) -> str:
    return ", ".join(f"{amount:,}" for amount in amounts)


def _shown(value: int | str | None) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
