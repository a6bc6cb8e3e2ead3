"""The market day: collect orders, clear, verify, submit; read meters, reconcile.

The oracle trusts nobody and need not be trusted: every order is judged by the contract, every
clearing is checked here as the contract will check it, and asked of the contract before it is
sent. It reads at one block, does nothing twice, and sends nothing unless told to.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

from fairwatt.continuous import ContinuousBook
from fairwatt.errors import (
    ChainError,
    ContractError,
    FairwattError,
    OracleError,
    SignatureError,
)
from fairwatt.expansion import most_flexible_orders
from fairwatt.imbalances import Imbalance, estimate_imbalance, settle_reading
from fairwatt.lanes import LANES, words_of
from fairwatt.market import Side
from fairwatt.orders import PAIR_BYTES, FlexibleOrder
from fairwatt.proposal import Proposal, propose
from fairwatt.readings import bring
from fairwatt.receipts import OrderReceipt, SignedReceipt
from fairwatt.session import MOST_PLACED_BLOCKS, NOBODY
from fairwatt.units import moment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from fairwatt.chain import Chain, Receipt, Signer, Snapshot
    from fairwatt.continuous import Pair, SignedContinuousOrder
    from fairwatt.market import Proof
    from fairwatt.meter import SignedReading
    from fairwatt.orders import Order, SignedOrder

__all__ = [
    "MOST_EXCUSED_BLOCKS",
    "ClearingRun",
    "Finding",
    "Imbalance",
    "IssueRun",
    "Oracle",
    "ReconciliationRun",
    "Refusal",
    "TradingRun",
]


MOST_EXCUSED_BLOCKS: Final = 192
"""Blocks, in all rows, of a peer's orders that a manager can excuse it by within 2^24 gas.

A full block takes 48,000 gas, and as many as can be placed besides take 7.3 million.
"""
_SETTLED = ("ReadingSettled", "ReadingEstimated")
_Want: TypeAlias = "tuple[int, int, Side]"  # peer, period, side


@dataclass(frozen=True, slots=True)
class Refusal:
    """An order or a reading that was left out, and why."""

    peer: int
    reason: str
    nonce: int | None = None


@dataclass(frozen=True, slots=True)
class ClearingRun:
    """What became of a session's orders.

    Attributes
    ----------
    proposal
        None if the session is cleared already.
    proofs
        Per period: welfare and the equal dual bound, nano-token.
    refused
        Orders that no clearing may contain, or that cannot be paid.
    receipt
        None if nothing was sent.
    excused
        Peers with a receipt that no clearing can keep; excused on chain if it was sent.
    """

    proposal: Proposal | None
    proofs: tuple[Proof, ...] = ()
    refused: tuple[Refusal, ...] = ()
    receipt: Receipt | None = None
    excused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class IssueRun:
    """What the community manager answers to the orders of a session.

    Attributes
    ----------
    answered
        Orders that are taken, each with its receipt: the one it had, or a new one.
    """

    answered: tuple[tuple[SignedOrder, SignedReceipt], ...]
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class TradingRun:
    """What became of orders for continuous trading.

    Attributes
    ----------
    pairs
        Traded by this run, or to be traded by it if it was sent.
    receipts
        One per pair; none if nothing was sent.
    """

    pairs: tuple[Pair, ...]
    refused: tuple[Refusal, ...] = ()
    receipts: tuple[Receipt, ...] = ()


@dataclass(frozen=True, slots=True)
class ReconciliationRun:
    """What became of a session's readings.

    Attributes
    ----------
    settled
        Settled by this run, or to be settled by it if it was sent; readings and estimates.
    missing
        Metered peers with a position, cleared or traded, but no settled reading, when it began.
    """

    settled: tuple[Imbalance, ...]
    missing: tuple[int, ...]
    refused: tuple[Refusal, ...] = ()
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check."""

    ok: bool
    text: str


@dataclass
class _Room:
    """What is left of a clearing for orders that have no receipt.

    Parameters
    ----------
    cells
        Of a node.
    most_steps
        Of a peer.
    most_flexible
        Flexible orders of all peers.
    most_blocks
        Of a peer, in all rows of its orders; None where nobody has to be excused.
    """

    cells: int
    most_steps: int
    most_flexible: int
    most_blocks: int | None = None
    _steps: Counter[int] = field(default_factory=Counter)
    _blocks: Counter[int] = field(default_factory=Counter)
    _flexible: int = 0
    _taken: set[bytes] = field(default_factory=set)

    def objection(self, order: Order | FlexibleOrder) -> str | None:
        """Why there is no room for an order; None if there is."""
        if self._steps[order.peer] + _step_count(order, self.cells) > self.most_steps:
            return f"the peer hands in more than {self.most_steps} steps; it can place orders"
        if isinstance(order, FlexibleOrder) and self._flexible >= self.most_flexible:
            return f"the clearing has room for {self.most_flexible} flexible orders"
        most = self.most_blocks
        if most is not None and self._blocks[order.peer] + self._shown(order) > most:
            return f"with it the peer's curves have more than {most} blocks; it can place orders"
        return None

    def _shown(self, order: Order | FlexibleOrder) -> int:
        """Blocks that an excuse reads; a flexible order counts as one row."""
        return _block_count(order) or self.cells // LANES

    def take(self, order: Order | FlexibleOrder) -> None:
        """Keep room for an order, whatever signatures its copies have."""
        if order.struct_hash in self._taken:
            return
        self._taken.add(order.struct_hash)
        self._steps[order.peer] += _step_count(order, self.cells)
        self._blocks[order.peer] += self._shown(order)
        self._flexible += isinstance(order, FlexibleOrder)


@dataclass(frozen=True)
class Oracle:
    """Runs the days of one market.

    Parameters
    ----------
    signer
        Pays for the transactions; anybody may be the solver.
    send
        False: a dry run, in which the contract is asked but nothing is sent.
    most_steps
        Steps that are taken of a peer for a session beside its placed ones, so that nobody fills
        the clearing; by default four a period, or as many as it may place if that is more. A
        flexible order counts as one for each period of the session's blocks, whatever its window:
        in the proof it is a node in all of them.
    most_flexible
        Flexible orders that are taken for a session; by default as many as can be proved within
        the gas that every chain has for a transaction (see `fairwatt.expansion`).
    """

    chain: Chain
    market: int
    signer: Signer
    send: bool = False
    most_steps: int | None = None
    most_flexible: int | None = None

    def collect(
        self,
        start: int,
        orders: Iterable[SignedOrder],
        snapshot: Snapshot,
        promised: Collection[bytes] = (),
    ) -> tuple[list[SignedOrder], list[Refusal]]:
        """Tell the orders a clearing may contain from those it may not.

        Parameters
        ----------
        start
            Start of the session.
        orders
            As they were handed in; doubles are taken once. What a peer bids, or asks, in a period
            is within its connection in all orders together, or else the contract might refuse the
            whole clearing.
        promised
            Hashes of orders that have a receipt: they are taken before any other, and need no room.
            One that is refused keeps its room unless that is for good: what stands in its way may
            go as it came, as an order that is placed and cancelled.
        """
        on_chain = [signed.order for signed in snapshot.placed_orders(self.market, start)]
        placed = {(order.peer, order.nonce) for order in on_chain}
        wanted = sum(map(_wanted_wh, on_chain), Counter())
        accepted: dict[tuple[int, int], SignedOrder] = {}
        room = self._room(start, snapshot)
        refused = []
        domain = self.chain.order_domain
        # Of two orders with one nonce the promised one is taken, or else the one with the lower
        # digest: whoever solves, it is the same.
        # Copies that differ in their signatures are all looked at, or else a false one handed in
        # by somebody could push out the true one.
        distinct = {(signed.order, signed.signature): signed for signed in orders}
        for signed in sorted(
            distinct.values(),
            key=lambda signed: (
                signed.order.struct_hash not in promised,
                signed.order.typed_data(domain).digest(),
                signed.signature,
            ),
        ):
            order = signed.order
            key = (order.peer, order.nonce)
            reason = None
            if key in accepted and accepted[key].order == order:
                continue
            if (order.market, order.session_start) != (self.market, start):
                reason = f"it is for session {order.session_start} of market {order.market}"
            elif key in placed:
                reason = "the order placed on chain with this nonce is in the clearing anyway"
            elif key in accepted:
                reason = "the peer signed another order with this nonce"
            elif _block_count(order) > MOST_PLACED_BLOCKS:
                reason = f"its curve has more than {MOST_PLACED_BLOCKS} blocks"
            elif order.struct_hash in promised:
                if not snapshot.is_cancelled(order):
                    room.take(order)
                reason = self._objection(signed, snapshot, wanted)
            else:
                reason = room.objection(order) or self._objection(signed, snapshot, wanted)
            if reason is None:
                accepted[key] = signed
                room.take(order)
                wanted += _wanted_wh(order)
            else:
                refused.append(Refusal(order.peer, reason, order.nonce))
        return list(accepted.values()), refused

    def issue(
        self,
        start: int,
        orders: Iterable[SignedOrder],
        issued: Iterable[SignedReceipt] = (),
    ) -> IssueRun:
        """Answer the orders of a session that a clearing may contain with receipts.

        Parameters
        ----------
        issued
            Receipts that are out already. Their orders are taken first, and get no second one.

        Raises
        ------
        OracleError
            If the signer's receipts would not bind, or nothing would stand behind them; or if the
            book is not open.
        """
        snapshot = self.chain.snapshot()
        terms, manager = snapshot.terms(self.market), self.signer.address
        if manager != terms.manager or not terms.exclusive_window_seconds:
            raise OracleError(
                f"receipts of market {self.market} are signed by its manager, who has an exclusive "
                f"window to keep them: {terms.manager}, {terms.exclusive_window_seconds} s"
            )
        now, (opens, gate) = self.chain.now(), snapshot.book_times(self.market, start)
        if not opens <= now < gate:
            raise OracleError(
                f"receipts for session {start} are issued while its book is open, from "
                f"{moment(opens)} until {moment(gate)}; it is {moment(now)}"
            )
        bond = snapshot.bond(manager)
        if bond.secured_wei < bond.penalty_wei:
            raise OracleError(
                f"the bond of {manager} secures {bond.secured_wei} wei, a broken receipt costs "
                f"{bond.penalty_wei}; deposit more (fairwatt oracle bond)"
            )
        out = self._promises(start, issued, terms.manager)
        accepted, refused = self.collect(start, orders, snapshot, out)
        domain, answered = self.chain.receipt_domain, []
        for signed in accepted:
            answer = out.get(signed.order.struct_hash)
            if answer is None:
                receipt = OrderReceipt.of(signed.order, now)
                answer = SignedReceipt(receipt, self.signer.sign(receipt.typed_data(domain)))
            answered.append((signed, answer))
        return IssueRun(tuple(answered), tuple(refused))

    def clear(
        self,
        start: int,
        orders: Iterable[SignedOrder],
        issued: Iterable[SignedReceipt] = (),
    ) -> ClearingRun:
        """Clear a session: collect, optimise, verify, ask the contract, send.

        The solver's fee goes to the peer whose wallet the signer is, if it is one.

        Parameters
        ----------
        issued
            Receipts for orders of the session, where the signer is the manager that issued them.
            Their orders are taken first; what no clearing can hold is excused before it is sent.

        Raises
        ------
        OracleError
            If the gate is still open or the deadline has passed.
        KernelError, ProofError
            If the clearing is not optimal; it is not sent then.
        ContractError
            If the contract would refuse it; it is not sent then.
        """
        snapshot = self.chain.snapshot()
        session = snapshot.session(self.market, start)
        if snapshot.is_cleared(self.market, start):
            return ClearingRun(None)
        now, gate = self.chain.now(), session.terms.gate_closure(start)
        deadline = session.terms.clearing_deadline(start)
        if now < gate:
            raise OracleError(
                f"the gate of session {start} closes at {moment(gate)}, it is {moment(now)}; wait"
            )
        if now > deadline:
            raise OracleError(
                f"session {start} had to be cleared by {moment(deadline)}, it is {moment(now)}"
            )

        orders = list(orders)
        of_peers = dict.fromkeys(signed.order.peer for signed in orders)
        snapshot.foresee(self.market, start, of_peers, orders)
        promised = self._promises(start, issued, session.terms.manager)
        if promised and snapshot.is_paused():
            self._witness_pause(start)
        accepted, refused = self.collect(start, orders, snapshot, promised)
        placed = snapshot.placed_orders(self.market, start)
        funds = {
            peer: snapshot.account(peer).means_nano(gate)
            for peer in {signed.order.peer for signed in [*accepted, *placed]}
        }
        nodes = {peer: snapshot.peer(peer, start).node for peer in funds}
        proposal = propose(session, accepted, nodes=nodes, funds_nano=funds, placed=placed)
        if session.terms.solver_fee_nano:
            proposal = replace(proposal, fee_to=snapshot.peer_of_wallet(self.signer.address))
        refused += _unfunded(accepted, proposal)
        proofs = proposal.check()
        receipt = self.chain.clear(proposal, self.signer, dry_run=True)
        excused = []
        if promised:
            left = [signed for signed in orders if signed.order.struct_hash in promised]
            excused = self._excuse(start, proposal, promised, [*left, *accepted], snapshot)
        if self.send:
            receipt = self.chain.clear(proposal, self.signer)
        return ClearingRun(proposal, proofs, tuple(refused), receipt, tuple(excused))

    def trade(self, orders: Iterable[SignedContinuousOrder]) -> TradingRun:
        """Match orders for continuous trading by price and time, and settle every pair.

        Pairs that the contract refuses are left out; their orders may trade with others.

        Parameters
        ----------
        orders
            In the sequence in which they arrived. Those of other markets, and those whose peers are
            not known, are refused.
        """
        snapshot, now = self.chain.snapshot(), self.chain.now()
        taken: dict[SignedContinuousOrder, int] = {}  # doubles once
        nodes, refused = dict[int, int](), list[Refusal]()
        for signed in orders:
            order = signed.order
            try:
                if order.market != self.market:
                    raise OracleError(f"it is for market {order.market}")  # noqa: TRY301
                nodes[order.peer] = snapshot.peer(order.peer, order.session_start).node
                taken[signed] = snapshot.traded_wh(order.peer, order.nonce)
            except (ChainError, OracleError) as error:
                refused.append(Refusal(order.peer, str(error), order.nonce))
        book = ContinuousBook(nodes)
        for signed, traded_wh in taken.items():
            book.add(signed, traded_wh=traded_wh)
        pairs: list[Pair] = []
        receipts: list[Receipt] = []
        while (pair := book.next_pair(now)) is not None:
            try:
                self.chain.trade(pair, self.signer, dry_run=True)
                if self.send and (receipt := self.chain.trade(pair, self.signer)) is not None:
                    receipts.append(receipt)
            except ContractError as error:
                book.refuse(pair)
                refusal = _at_fault(error, pair)
                if refusal not in refused:
                    refused.append(refusal)
            else:
                book.trade(pair)
                pairs.append(pair)
        return TradingRun(tuple(pairs), tuple(refused), tuple(receipts))

    def reconcile(
        self, start: int, readings: Iterable[SignedReading], *, estimate: bool = True
    ) -> ReconciliationRun:
        """Settle the readings of a session that are not settled yet.

        Readings that are still missing after the reading window are estimated. Whatever somebody
        else settles meanwhile is passed over by the contract, and refused in the result.

        Parameters
        ----------
        estimate
            Whether readings may be estimated. An estimate is paid at once, and only a signed
            reading that comes in time takes it back.

        Raises
        ------
        OracleError
            If the session is not over, or its settlement deadline has passed; or if a reading
            would have to be estimated and must not.
        ContractError
            If the contract would refuse; nothing is sent then.
        """
        snapshot = self.chain.snapshot()
        terms = snapshot.session(self.market, start).terms
        now, end = self.chain.now(), terms.session_end(start)
        deadline = terms.settlement_deadline(start)
        if now < end:
            raise OracleError(f"session {start} ends at {moment(end)}, it is {moment(now)}; wait")
        if now > deadline:
            raise OracleError(
                f"session {start} had to be settled by {moment(deadline)}, it is {moment(now)}"
            )

        readings = list(readings)
        snapshot.foresee(self.market, start, [signed.reading.peer for signed in readings])
        cleared = snapshot.positions_wh(self.market, start)
        positions = snapshot.total_positions_wh(self.market, start)
        taken: dict[int, SignedReading | None] = {}
        refused = []
        for signed in readings:
            peer = signed.reading.peer
            reason = self.objection(start, signed, snapshot)
            if reason is None and peer in taken:
                reason = "there is another reading of this peer before it"
            if reason is None:
                taken[peer] = signed
            else:
                refused.append(Refusal(peer, reason))
        missing = [
            peer
            for peer in positions
            if peer not in taken
            and snapshot.peer(peer, start).meter is not None
            and not snapshot.is_reading_settled(self.market, start, peer)
        ]
        if now > terms.reading_deadline(start):
            silent = [
                peer
                for peer in missing
                if not snapshot.is_reading_estimated(self.market, start, peer)
            ]
            if silent and not estimate:
                raise OracleError(
                    f"session {start} misses the readings of {len(silent)} peers, which would be "
                    "estimated; name this session if that is meant"
                )
            taken |= dict.fromkeys(silent)
        settled = tuple(
            self._imbalance(start, peer, signed, positions, snapshot)
            for peer, signed in sorted(taken.items(), key=lambda entry: entry[0])
        )
        receipt = self._send_readings(start, taken, cleared, snapshot) if taken else None
        if receipt is not None:
            done = {log.peer for log in receipt.events if log.event_name in _SETTLED}
            refused += [
                Refusal(entry.peer, "somebody else settled it meanwhile")
                for entry in settled
                if entry.peer not in done
            ]
            settled = tuple(entry for entry in settled if entry.peer in done)
        return ReconciliationRun(settled, tuple(missing), tuple(refused), receipt)

    def objection(self, start: int, signed: SignedReading, snapshot: Snapshot) -> str | None:
        """Why a reading is not settled for a session; None if it is."""
        try:
            self._require_settleable(start, signed, snapshot)
        except FairwattError as error:
            return str(error)
        return None

    def collect_arrears(self) -> list[tuple[int, int, int]]:
        """Have debtors pay what they owe from what they have come to have.

        Returns
        -------
        list
            Debtor, creditor and nano-token that were paid, or can be; of whoever has nothing, none.

        Raises
        ------
        ContractError
            If the contract refuses.
        """
        snapshot = self.chain.snapshot()
        ledger = self.chain.contracts.ledger
        means: dict[int, int] = {}
        collected = []
        for (debtor, creditor), owed in snapshot.arrears_nano().items():
            if debtor not in means:
                account = snapshot.account(debtor)
                means[debtor] = account.balance_nano + account.credit_nano - account.locked_nano
            paid = min(owed, means[debtor])
            if paid <= 0:
                continue
            if self.send:
                self.chain.send(ledger.collect, debtor, creditor, sender=self.signer)
            means[debtor] -= paid
            collected.append((debtor, creditor, paid))
        return collected

    def check(self) -> list[Finding]:
        """Look whether the oracle could do its work now."""
        snapshot = self.chain.snapshot()
        now = self.chain.now()
        findings = [Finding(True, f"chain {self.chain.chain_id} answers at block {snapshot.block}")]
        wei = int(self.signer.account.balance)
        paid = f"account {self.signer.address} holds {wei / 10**18:.4f} ether for gas"
        findings.append(Finding(wei > 0, paid))
        terms = snapshot.terms(self.market)
        start = terms.next_open_session(now)
        gate = moment(terms.gate_closure(start))
        findings.append(
            Finding(True, f"market {self.market}: gate of session {start} closes at {gate}")
        )
        if terms.manager not in (NOBODY, self.signer.address):
            turn = f"{terms.manager} alone clears for {terms.exclusive_window_seconds} s after it"
            findings.append(Finding(True, turn))
        try:
            snapshot.session(self.market, start)
        except ChainError as error:
            findings.append(Finding(False, str(error)))
        else:
            findings.append(Finding(True, f"network {terms.network} is in force for it"))
        # The last session with a closed gate, and the last that can no longer be cleared.
        first, closed = snapshot.first_session(self.market), start - terms.session_seconds
        over = terms.session_at(now - 1 + terms.gate_lead_seconds - terms.clearing_window_seconds)
        for before in dict.fromkeys((closed, over)):
            if not first <= before <= closed:
                continue
            cleared = snapshot.is_cleared(self.market, before)
            if cleared or now <= terms.clearing_deadline(before):
                state = "is cleared" if cleared else "waits for its clearing"
                findings.append(Finding(True, f"session {before} {state}"))
            else:
                findings.append(Finding(False, f"session {before} was never cleared: it is void"))
        for (debtor, creditor), nano in snapshot.arrears_nano().items():
            owed = f"peer {debtor} owes peer {creditor} {nano:,} nano-token that it could not pay"
            findings.append(Finding(False, owed))
        return findings

    def _promises(
        self, start: int, issued: Iterable[SignedReceipt], manager: str
    ) -> dict[bytes, SignedReceipt]:
        """The receipts that bind the manager in this session, by the hash of their order."""
        promises: dict[bytes, SignedReceipt] = {}
        for signed in issued:
            receipt = signed.receipt
            if (receipt.market, receipt.session_start) != (self.market, start):
                continue
            try:
                binds = signed.signer(self.chain.receipt_domain) == manager
            except SignatureError:
                continue
            if binds:
                promises.setdefault(receipt.order_hash, signed)
        return promises

    def _witness_pause(self, start: int) -> None:
        """Have it on record that nobody can clear now, as far as the contract takes it."""
        if self.send:
            witness = self.chain.contracts.bonds.witnessPause
            with suppress(ContractError):  # the window is over, or the pause
                self.chain.send(witness, self.market, start, sender=self.signer)

    def _excuse(
        self,
        start: int,
        proposal: Proposal,
        promised: Mapping[bytes, SignedReceipt],
        orders: Sequence[SignedOrder],
        snapshot: Snapshot,
    ) -> list[Refusal]:
        """Excuse the peers whose promised orders are left out, where the contract sees why.

        Parameters
        ----------
        orders
            All that might have been cleared, beside those that are placed. The contract takes no
            excuse with an order that is not valid, as a copy with a false signature: anybody may
            have handed that in.
        """
        cleared = {signed.order.struct_hash for signed in proposal.orders}
        left_out = defaultdict(list)
        for hash_, answer in promised.items():
            if hash_ not in cleared:
                left_out[answer.receipt.peer].append(answer.receipt)
        placed = {
            signed.order.peer: signed for signed in snapshot.placed_orders(self.market, start)
        }
        said = []
        for peer, receipts in sorted(left_out.items()):
            shown = {
                signed.order.nonce: signed
                for signed in orders
                if signed.order.peer == peer and _is_valid(signed, snapshot)
            }
            if peer in placed:
                shown[placed[peer].order.nonce] = placed[peer]
            owed = [
                receipt
                for receipt in receipts
                if not snapshot.is_cancelled(receipt)
                and receipt.nonce != (placed[peer].order.nonce if peer in placed else None)
            ]
            if not owed:
                continue  # the contract sees by itself that no clearing could contain them
            if snapshot.claim(self.market, start, peer):
                reason = "it has a receipt, and is excused already"
            else:
                reason = self._excuse_peer([signed for _, signed in sorted(shown.items())])
            said += [Refusal(peer, reason, receipt.nonce) for receipt in owed]
        return said

    def _excuse_peer(self, shown: Sequence[SignedOrder]) -> str:
        """Excuse a peer by its orders; says what came of it."""
        listed = [signed.to_struct() for signed in shown]
        excuse = self.chain.contracts.bonds.excuse
        try:
            self.chain.simulate(excuse, listed, sender=self.signer)
            if self.send:
                self.chain.send(excuse, listed, sender=self.signer)
        except ContractError as error:
            return (
                "it has a receipt and is left out without an excuse, which the bond pays for: "
                f"{error.name}: {_listed(error)}"
            )
        return "it has a receipt, and is excused: its peer wants more than it can pay, or carry"

    def _room(self, start: int, snapshot: Snapshot) -> _Room:
        """What a clearing of the session has room for."""
        terms, most_steps, most = snapshot.terms(self.market), self.most_steps, self.most_flexible
        if most_steps is None:
            most_steps = max(LANES * terms.max_placed_blocks, 4 * terms.periods_per_session)
        if most is None:
            most = most_flexible_orders(snapshot.session(self.market, start))
        cells = words_of(terms.periods_per_session) * LANES
        most_blocks = MOST_EXCUSED_BLOCKS if terms.exclusive_window_seconds else None
        return _Room(cells, most_steps, most, most_blocks)

    def _objection(
        self, signed: SignedOrder, snapshot: Snapshot, wanted: Mapping[_Want, int]
    ) -> str | None:
        """Why an order is refused; `wanted` is what is wanted by the orders taken before it."""
        order = signed.order
        try:
            snapshot.require_valid(signed)
            peer = snapshot.peer(order.peer, order.session_start)
            if len(signed.signature) != 65 or signed.signer(self.chain.order_domain) != peer.wallet:
                if isinstance(order, FlexibleOrder):
                    return f"it is not signed by the key of the peer's wallet {peer.wallet}"
                return "orders of contract wallets are cleared only if they are placed on chain"
            limit = peer.energy_limit_wh(snapshot.terms(self.market).period_seconds)
            for want, energy in _wanted_wh(order).items():
                total = energy + wanted.get(want, 0)
                if total > limit:
                    _, period, side = want
                    return (
                        f"with it the peer's {side.name.lower()}s in period {period} come to "
                        f"{total} Wh, more than the connection's {limit} Wh"
                    )
        except ContractError as error:
            return _reason(error)
        except (ChainError, OracleError, SignatureError) as error:
            return str(error)
        return None

    def _require_settleable(self, start: int, signed: SignedReading, snapshot: Snapshot) -> None:
        reading = signed.reading
        if (reading.market, reading.session_start) != (self.market, start):
            raise OracleError(
                f"it is for session {reading.session_start} of market {reading.market}"
            )
        peer = snapshot.peer(reading.peer, start)
        if peer.meter is None:
            raise OracleError("this peer has no meter")
        if signed.signer(self.chain.reading_domain) != peer.meter:
            raise OracleError(f"it is not signed by the peer's meter {peer.meter}")
        if snapshot.is_reading_settled(self.market, start, reading.peer):
            raise OracleError("the peer's reading of this session is settled already")
        terms = snapshot.terms(self.market)
        if len(reading.energy_wh) != terms.periods_per_session:
            raise OracleError(
                f"it has {len(reading.energy_wh)} values, the session has "
                f"{terms.periods_per_session} periods"
            )
        limit = peer.energy_limit_wh(terms.period_seconds)
        for period, energy in enumerate(reading.energy_wh):
            if abs(energy) > limit:
                raise OracleError(
                    f"{energy} Wh in period {period} is more than the connection's {limit} Wh"
                )

    def _imbalance(
        self,
        start: int,
        peer: int,
        signed: SignedReading | None,
        positions: dict[int, tuple[int, ...]],
        snapshot: Snapshot,
    ) -> Imbalance:
        """What settling a reading, or estimating a missing one, comes to."""
        periods = snapshot.terms(self.market).periods_per_session
        position = positions.get(peer, (0,) * periods)
        supplier = snapshot.peer(peer, start).supplier
        _, tariffs = snapshot.tariffs_of_session(self.market, start, supplier)
        if signed is None:
            return estimate_imbalance(peer, position, tariffs)
        estimated = snapshot.is_reading_estimated(self.market, start, peer)
        metered = signed.reading.energy_wh
        return settle_reading(peer, metered, position, tariffs, estimated_before=estimated)

    def _send_readings(
        self,
        start: int,
        taken: dict[int, SignedReading | None],
        cleared: dict[int, tuple[int, ...]],
        snapshot: Snapshot,
    ) -> Receipt | None:
        tariffs = {}
        for peer in taken:
            supplier = snapshot.peer(peer, start).supplier
            tariffs[peer], _ = snapshot.tariffs_of_session(self.market, start, supplier)
        brought = bring(
            cleared,
            [
                signed
                for _, signed in sorted(taken.items(), key=itemgetter(0))
                if signed is not None
            ],
            missing=[
                peer for peer, signed in sorted(taken.items(), key=itemgetter(0)) if signed is None
            ],
            tariffs=tariffs,
        )
        reconcile = self.chain.contracts.settlement.reconcile
        arguments = (self.market, start, list(brought.leaves), brought.readings)
        self.chain.simulate(reconcile, *arguments, sender=self.signer)
        if not self.send:
            return None
        return self.chain.send(reconcile, *arguments, sender=self.signer)


def _is_valid(signed: SignedOrder, snapshot: Snapshot) -> bool:
    """Whether a clearing may contain the order, as far as that depends on it alone."""
    with suppress(ChainError):
        snapshot.require_valid(signed)
        return True
    return False


def _step_count(order: Order | FlexibleOrder, cells: int) -> int:
    """Steps of an order; a flexible one counts as one for each cell of a node."""
    return cells if isinstance(order, FlexibleOrder) else len(order.steps)


def _block_count(order: Order | FlexibleOrder) -> int:
    """Blocks of an order in all its rows; a few steps may take many."""
    return 0 if isinstance(order, FlexibleOrder) else len(order.curve.words) // PAIR_BYTES


def _wanted_wh(order: Order | FlexibleOrder) -> Counter[_Want]:
    """What an order trades at most, per peer, period and side."""
    wanted: Counter[_Want] = Counter()
    if isinstance(order, FlexibleOrder):
        for period in order.window:
            wanted[order.peer, period, Side.BID] += order.charge_wh
            wanted[order.peer, period, Side.ASK] += order.discharge_wh
        return wanted
    for step in order.steps:
        wanted[order.peer, step.period, step.side] += step.energy_wh
    return wanted


def _unfunded(accepted: Sequence[SignedOrder], proposal: Proposal) -> list[Refusal]:
    cleared = {(signed.order.peer, signed.order.nonce) for signed in proposal.orders}
    return [
        Refusal(
            signed.order.peer,
            "the peer cannot pay what it would buy; it should deposit more",
            signed.order.nonce,
        )
        for signed in accepted
        if (signed.order.peer, signed.order.nonce) not in cleared
    ]


def _at_fault(error: ContractError, pair: Pair) -> Refusal:
    """Whose order it is that the contract names; the incoming one if it names none."""
    named = error.values.get("peer")
    resting, incoming = pair.resting.order, pair.incoming.order
    order = resting if named == resting.peer else incoming
    return Refusal(order.peer, _reason(error), order.nonce)


def _reason(error: ContractError) -> str:
    return f"{error.name}: {_listed(error)}"


def _listed(error: ContractError) -> str:
    return ", ".join(f"{key}={value}" for key, value in error.values.items())
