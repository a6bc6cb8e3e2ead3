"""The market day: collect orders, clear, verify, submit; read meters, reconcile.

The oracle trusts nobody and need not be trusted: every order is judged by the contract, every
clearing is checked here as the contract will check it, and asked of the contract before it is
sent. It reads at one block, does nothing twice, and sends nothing unless told to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from fairwatt.chain import Standing
from fairwatt.errors import (
    ChainError,
    ContractError,
    FairwattError,
    OracleError,
    SignatureError,
)
from fairwatt.market import Side
from fairwatt.orders import FlexibleOrder
from fairwatt.readings import bring
from fairwatt.session import (
    NOBODY,
    Imbalance,
    Proposal,
    estimate_imbalance,
    propose,
    settle_reading,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fairwatt.chain import Chain, Receipt, Signer, Snapshot
    from fairwatt.market import Proof
    from fairwatt.meter import SignedReading
    from fairwatt.orders import Order, SignedOrder

__all__ = [
    "ClearingRun",
    "Finding",
    "Imbalance",
    "Oracle",
    "ReconciliationRun",
    "Refusal",
]


_SETTLED = ("ReadingSettled", "ReadingEstimated")
_LANES = 8  # periods of a block
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
    """

    proposal: Proposal | None
    proofs: tuple[Proof, ...] = ()
    refused: tuple[Refusal, ...] = ()
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class ReconciliationRun:
    """What became of a session's readings.

    Attributes
    ----------
    settled
        Settled by this run, or to be settled by it if it was sent; readings and estimates.
    missing
        Metered peers with a position but no settled reading, when the run began.
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
        flexible order counts as one for each period of its window.
    """

    chain: Chain
    market: int
    signer: Signer
    send: bool = False
    most_steps: int | None = None

    def collect(
        self, start: int, orders: Iterable[SignedOrder], snapshot: Snapshot
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
        """
        on_chain = [signed.order for signed in snapshot.placed_orders(self.market, start)]
        placed = {(order.peer, order.nonce) for order in on_chain}
        wanted = sum(map(_wanted_wh, on_chain), Counter())
        accepted: dict[tuple[int, int], SignedOrder] = {}
        steps: Counter[int] = Counter()
        most_steps = self._most_steps(snapshot)
        refused = []
        domain = self.chain.order_domain
        # Of two orders with one nonce the lower digest is taken: whoever solves, it is the same.
        # Copies that differ in their signatures are all looked at, or else a false one handed in
        # by somebody could push out the true one.
        distinct = {(signed.order, signed.signature): signed for signed in orders}
        for signed in sorted(
            distinct.values(),
            key=lambda signed: (
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
            elif steps[order.peer] + _step_count(order) > most_steps:
                reason = f"the peer hands in more than {most_steps} steps; it can place orders"
            else:
                reason = self._objection(signed, snapshot, wanted)
            if reason is None:
                accepted[key] = signed
                steps[order.peer] += _step_count(order)
                wanted += _wanted_wh(order)
            else:
                refused.append(Refusal(order.peer, reason, order.nonce))
        return list(accepted.values()), refused

    def clear(self, start: int, orders: Iterable[SignedOrder]) -> ClearingRun:
        """Clear a session: collect, optimise, verify, ask the contract, send.

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
            raise OracleError(f"the gate of session {start} closes at {gate}, it is {now}; wait")
        if now > deadline:
            raise OracleError(f"session {start} had to be cleared by {deadline}, it is {now}")

        accepted, refused = self.collect(start, orders, snapshot)
        placed = snapshot.placed_orders(self.market, start)
        funds = {
            peer: snapshot.account(peer).means_nano(gate)
            for peer in {signed.order.peer for signed in [*accepted, *placed]}
        }
        nodes = {peer: snapshot.peer(peer, start).node for peer in funds}
        proposal = propose(session, accepted, nodes=nodes, funds_nano=funds, placed=placed)
        refused += _unfunded(accepted, proposal)
        proofs = proposal.check()
        receipt = self.chain.clear(proposal, self.signer, dry_run=True)
        if self.send:
            receipt = self.chain.clear(proposal, self.signer)
        return ClearingRun(proposal, proofs, tuple(refused), receipt)

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
            raise OracleError(f"session {start} ends at {end}, it is {now}; wait")
        if now > deadline:
            raise OracleError(f"session {start} had to be settled by {deadline}, it is {now}")

        positions = snapshot.positions_wh(self.market, start)
        taken: dict[int, SignedReading | None] = {}
        refused = []
        for signed in readings:
            peer = signed.reading.peer
            try:
                self._require_settleable(start, signed, snapshot)
                if peer in taken:
                    raise OracleError("there is another reading of this peer before it")
            except FairwattError as error:
                refused.append(Refusal(peer, str(error)))
            else:
                taken[peer] = signed
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
        receipt = self._send_readings(start, taken, positions, snapshot) if taken else None
        if receipt is not None:
            done = {log.peer for log in receipt.events if log.event_name in _SETTLED}
            refused += [
                Refusal(entry.peer, "somebody else settled it meanwhile")
                for entry in settled
                if entry.peer not in done
            ]
            settled = tuple(entry for entry in settled if entry.peer in done)
        return ReconciliationRun(settled, tuple(missing), tuple(refused), receipt)

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
        gate = terms.gate_closure(start)
        findings.append(
            Finding(True, f"market {self.market}: gate of session {start} closes in {gate - now} s")
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
        closed = start - terms.session_seconds
        over = terms.session_at(now - 1 + terms.gate_lead_seconds - terms.clearing_window_seconds)
        for before in dict.fromkeys((closed, over)):
            if not terms.first_session_start <= before <= closed:
                continue
            cleared = snapshot.is_cleared(self.market, before)
            if cleared or now <= terms.clearing_deadline(before):
                state = "is cleared" if cleared else "waits for its clearing"
                findings.append(Finding(True, f"session {before} {state}"))
            else:
                findings.append(Finding(False, f"session {before} was never cleared: it is void"))
        return findings

    def _most_steps(self, snapshot: Snapshot) -> int:
        if self.most_steps is not None:
            return self.most_steps
        terms = snapshot.terms(self.market)
        return max(_LANES * terms.max_placed_blocks, 4 * terms.periods_per_session)

    def _objection(
        self, signed: SignedOrder, snapshot: Snapshot, wanted: Mapping[_Want, int]
    ) -> str | None:
        """Why an order is refused; `wanted` is what is wanted by the orders taken before it."""
        order = signed.order
        try:
            if isinstance(order, FlexibleOrder):
                _require_flexible(order, snapshot)
            else:
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
            return f"{error.name}: {_listed(error)}"
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
        positions: dict[int, tuple[int, ...]],
        snapshot: Snapshot,
    ) -> Receipt | None:
        tariffs = {}
        for peer in taken:
            supplier = snapshot.peer(peer, start).supplier
            tariffs[peer], _ = snapshot.tariffs_of_session(self.market, start, supplier)
        brought = bring(
            positions,
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


def _step_count(order: Order | FlexibleOrder) -> int:
    """Steps of an order; a flexible one counts as one for each of its periods."""
    return order.periods if isinstance(order, FlexibleOrder) else len(order.steps)


def _require_flexible(order: FlexibleOrder, snapshot: Snapshot) -> None:
    """Require that a clearing may contain a flexible order, whoever signed it.

    Raises
    ------
    ChainError, OracleError
        With the reason why it may not.
    """
    terms = snapshot.terms(order.market)
    peer = snapshot.peer(order.peer, order.session_start)
    network = snapshot.session(order.market, order.session_start).versions[-1].network
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    reason = None
    if peer.standing is not Standing.ACTIVE or peer.network != terms.network:
        reason = "the peer may not trade in this market"
    elif order.window.stop > terms.periods_per_session:
        reason = (
            f"its window ends with period {order.window.stop - 1}; the session has "
            f"{terms.periods_per_session} periods"
        )
    elif not floor <= order.value_micro_per_kwh <= cap:
        reason = f"its value {order.value_micro_per_kwh} lies outside of {floor} to {cap}"
    elif order.charge_wh and not peer.role.buys:
        reason = f"a {peer.role.name.lower()} never buys"
    elif order.discharge_wh and not peer.role.sells:
        reason = f"a {peer.role.name.lower()} never sells"
    elif snapshot.is_cancelled(order):
        reason = "it is cancelled"
    if reason is not None:
        raise OracleError(reason)


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


def _listed(error: ContractError) -> str:
    return ", ".join(f"{key}={value}" for key, value in error.values.items())
