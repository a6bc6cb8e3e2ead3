"""A community on the embedded chain, for tests: contracts, roles, a network, markets, members.

Everything a test may want to vary is an argument; everything else has a plain default.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ape
from eth_account import Account

from fairwatt.chain import (
    Chain,
    Receipt,
    Role,
    Roles,
    Settings,
    Signer,
    deploy,
    structs,
    test_signer,
)
from fairwatt.market import Link, Network, Side
from fairwatt.meter import Reading, SignedReading
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.proposal import Proposal, propose
from fairwatt.readings import bring, decode_readings, encode_readings
from fairwatt.session import MarketTerms, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eth_account.signers.local import LocalAccount

HOUR = 3600
DAY = 24 * HOUR
NOTICE = 2 * DAY
WITHDRAWAL_DELAY = 14 * DAY
TREASURE = 10**29  # wei of community tokens that the treasury holds to deposit for members
NANO = 10**9  # nano-token in a token, and wei in a nano-token

TERMS = MarketTerms(
    network=1,
    period_seconds=HOUR,
    periods_per_session=1,
    max_placed_blocks=8,
    first_session_start=1_704_067_200,
    gate_lead_seconds=900,
    clearing_window_seconds=2 * HOUR,
    reading_window_seconds=DAY,
    settlement_window_seconds=7 * DAY,
)
HOURLY = 1  # one period of an hour
QUARTERS = 2  # four quarter hours cleared together
NETWORK = Network(
    nodes=("grid", "c2", "c3"),
    links=(
        Link("grid", "c2", 15_840, 5_000_000, "2"),
        Link("grid", "c3", 15_840, 5_000_000, "2"),
        Link("c2", "c3", 21_600, 5_000_000, "2"),
        Link("c3", "c2", 4_800, 50_000),
    ),
    price_floor_micro_per_kwh=-500_000,
    price_cap_micro_per_kwh=4_000_000,
)
GRID, C2, C3 = 0, 1, 2
RETAIL, FEED_IN = 120_000, 40_000


def bid(price: int, energy_wh: int, period: int = 0) -> Step:
    return Step(period, Side.BID, price, energy_wh)


def ask(price: int, energy_wh: int, period: int = 0) -> Step:
    return Step(period, Side.ASK, price, energy_wh)


@dataclass(frozen=True)
class Member:
    """A peer with its wallet and its meter."""

    peer: int
    wallet: Signer
    meter: LocalAccount
    node: int

    @property
    def key(self) -> LocalAccount:
        assert self.wallet.key is not None
        return self.wallet.key


@dataclass
class Community:
    """The deployed contracts and who acts on them."""

    chain: Chain
    admin: Signer
    registrar: Signer
    dso: Signer
    market_operator: Signer
    guardian: Signer
    fund_manager: Signer
    treasury: Signer
    solver: Signer
    outsider: Signer
    supplier: Member = field(init=False)
    operator: Member = field(init=False)
    _wallets: int = 10

    @classmethod
    def found(cls, admin: int = 0) -> Community:
        """Deploy, publish the network, open both markets; admit supplier (1) and operator (2).

        `admin` is the number of the test account that deploys.
        """
        names = ("admin", "registrar", "dso", "market_operator", "guardian", "fund_manager")
        signers = {name: test_signer(at) for at, name in enumerate(names)}
        signers |= {"admin": test_signer(admin), "treasury": test_signer(6)}
        settings = Settings(
            token_name="Community token",
            token_symbol="CMT",
            backing=None,
            supply_cap_wei=10**30,
            admin_delay_seconds=DAY,
            notice_seconds=NOTICE,
            withdrawal_delay_seconds=WITHDRAWAL_DELAY,
            roles=Roles(*(f"test:{at}" for at in (admin, *range(1, 8)))),
        )
        self = cls(
            chain=Chain.of(deploy(settings)),
            solver=test_signer(7),
            outsider=test_signer(8),
            **signers,
        )
        contracts = self.chain.contracts
        treasury = self.treasury
        self.send(contracts.token.treasuryMint, treasury.address, TREASURE, sender=treasury)
        self.send(contracts.token.approve, contracts.ledger, TREASURE, sender=treasury)
        # The operator owns links of the first version, so it is there before the network.
        supplier_at_grid = replace(NETWORK, links=())
        self.chain.create_network(supplier_at_grid, sender=self.dso)
        self.supplier = self.admit(Role.SUPPLIER, node=GRID, connection_w=10**9)
        self.operator = self.admit(Role.OPERATOR, node=0, connection_w=0)
        self.send(
            contracts.registry.publishTariffs,
            [(self.now(), RETAIL, FEED_IN)],
            sender=self.supplier.wallet,
        )
        start = self.now() + NOTICE + HOUR
        self.chain.publish_network(1, NETWORK, sender=self.dso, effective_from=start)
        self.chain.create_market(TERMS, sender=self.market_operator)
        quarters = replace(TERMS, period_seconds=900, periods_per_session=4)
        self.chain.create_market(quarters, sender=self.market_operator)
        self.travel_to(start)
        return self

    # ------------------------------------------------------------------------------- members

    def admit(
        self,
        role: Role,
        node: int = C3,
        *,
        connection_w: int = 10**6,
        supplier: int | None = None,
        community: int = 1,
        network: int = 1,
        tokens: int = 0,
    ) -> Member:
        """Admit a peer with a wallet of its own, and fund it."""
        wallet = test_signer(self._wallets)
        self._wallets += 1
        meter = Account.from_key((10_000 + self._wallets).to_bytes(32, "big"))
        metered = role not in (Role.SUPPLIER, Role.OPERATOR)
        if supplier is None:
            supplier = self.supplier.peer if metered else 0
        connection = {
            "role": role,
            "network": network,
            "node": node,
            "meter": meter.address if metered else "0x" + "0" * 40,
            "supplier": supplier,
            "connectionW": connection_w,
            "community": community,
        }
        registry = self.chain.contracts.registry
        receipt = self.send(registry.admit, wallet.address, connection, sender=self.registrar)
        member = Member(int(receipt.events[-1].peer), wallet, meter, node)
        if tokens:
            self.deposit(member, tokens * NANO)
        return member

    def deposit(self, member: Member, nano: int) -> None:
        """Deposit tokens of the treasury for the member."""
        self.send(self.chain.contracts.ledger.deposit, member.peer, nano, sender=self.treasury)

    # -------------------------------------------------------------------------------- orders

    def order(
        self,
        member: Member,
        *steps: Step,
        market: int = HOURLY,
        session: int | None = None,
        nonce: int = 0,
    ) -> Order:
        """An order for the next open session, by default."""
        start = self.open_session(market) if session is None else session
        return Order(
            market=market,
            peer=member.peer,
            session_start=start,
            steps=steps,
            nonce=nonce,
        )

    def sign(self, member: Member, *steps: Step, **options: Any) -> SignedOrder:
        """An order signed by the member's wallet."""
        return self.order(member, *steps, **options).signed_by(member.key, self.chain.order_domain)

    def place(self, signed: SignedOrder, sender: Signer | None = None) -> Receipt:
        """Place an order on chain."""
        place = self.chain.contracts.order_book.place
        message = signed.order.to_message()
        return self.send(place, message, signed.signature, sender=sender or self.outsider)

    # ------------------------------------------------------------------------------ sessions

    def terms(self, market: int = HOURLY) -> MarketTerms:
        return self.chain.snapshot().terms(market)

    def open_session(self, market: int = HOURLY) -> int:
        """Start of the next session whose gate is open."""
        return self.terms(market).next_open_session(self.now())

    def session(self, start: int, market: int = HOURLY) -> Session:
        return self.chain.snapshot().session(market, start)

    def propose(self, *orders: SignedOrder, placed: Iterable[SignedOrder] = ()) -> Proposal:
        """The optimal clearing of these orders; all are of one session."""
        every = [*orders, *placed]
        order = every[0].order
        snapshot = self.chain.snapshot()
        session = snapshot.session(order.market, order.session_start)
        peers = {signed.order.peer for signed in every}
        nodes = {peer: snapshot.peer(peer, session.start).node for peer in peers}
        return propose(session, orders, nodes=nodes, placed=placed)

    def close_gate(self, proposal: Proposal) -> None:
        self.travel_to(proposal.session.terms.gate_closure(proposal.session.start))

    def clear(self, proposal: Proposal, **changes: Any) -> Receipt:
        """Close the gate and send the clearing; `changes` replace fields of its proposal."""
        if self.now() < proposal.session.terms.gate_closure(proposal.session.start):
            self.close_gate(proposal)
        message, *rest = self.chain.clearing_arguments(proposal, self.solver)
        clear = self.chain.contracts.clearing.clear
        return self.send(clear, message | changes, *rest, sender=self.solver)

    # -------------------------------------------------------------------------------- meters

    def read(
        self, member: Member, start: int, *energy_wh: int, market: int = HOURLY
    ) -> SignedReading:
        """A reading signed by the member's meter."""
        reading = Reading(market, member.peer, start, energy_wh)
        return reading.signed_by(member.meter, self.chain.reading_domain)

    def reconcile(
        self,
        start: int,
        readings: Sequence[SignedReading],
        *,
        market: int = HOURLY,
        **changes: Any,
    ) -> Receipt:
        """Wait for the session's end and settle readings; `changes` replace fields of records."""
        terms = self.terms(market)
        if self.now() < terms.session_end(start):
            self.travel_to(terms.session_end(start))
        positions = self.chain.snapshot().positions_wh(market, start)
        tariffs = {signed.reading.peer: 0 for signed in readings}
        brought = bring(positions, readings, tariffs=tariffs)
        records = decode_readings(
            brought.readings,
            market=market,
            session_start=start,
            periods=terms.periods_per_session,
        )
        packed = encode_readings(replace(record, **changes) for record in records)
        settlement = self.chain.contracts.settlement
        arguments = (market, start, list(brought.leaves), packed)
        return self.send(settlement.reconcile, *arguments, sender=self.solver)

    # --------------------------------------------------------------------------------- chain

    def send(self, method: Any, *arguments: Any, sender: Signer) -> Receipt:
        """Send a transaction; Ape's own error comes through, for `ape.reverts`."""
        receipt = method(*(structs(value) for value in arguments), sender=sender.account)
        return Receipt(
            str(receipt.txn_hash),
            int(receipt.block_number),
            int(receipt.gas_used),
            tuple(receipt.events),
        )

    def now(self) -> int:
        """Time of the next block."""
        return self.chain.now()

    def travel_to(self, time: int) -> None:
        """Mine the next block at `time`."""
        ape.chain.pending_timestamp = time
        ape.chain.mine()

    def wait_until(self, time: int) -> None:
        """Let the next transaction be mined at `time`, to the second."""
        ape.chain.pending_timestamp = time

    # ---------------------------------------------------------------------------- invariants

    def balance(self, member: Member) -> int:
        """Nano-token."""
        return self.chain.snapshot().account(member.peer).balance_nano

    def require_conservation(self) -> None:
        """Tokens held are exactly the balances and the fund."""
        snapshot = self.chain.snapshot()
        peers = range(1, self.chain.contracts.registry.peerCount() + 1)
        total = sum(snapshot.account(peer).balance_nano for peer in peers) + snapshot.fund_nano()
        assert snapshot.tokens_held_wei() == total * NANO
