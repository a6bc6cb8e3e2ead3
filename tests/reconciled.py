"""A settlement by itself: registry and ledger as they are, a clearing that says what one likes.

Peer 1 is the supplier. Sessions are cleared by saying what their positions are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ape
from eth_account import Account

from fairwatt.chain import Receipt, Role, Signer, project, structs, test_signer
from fairwatt.eip712 import Domain
from fairwatt.lanes import position_leaves, positions_hash
from fairwatt.meter import P256Meter, Reading, SignedReading
from fairwatt.readings import bring
from tests.community import DAY, HOUR, NANO, NOTICE, TERMS, WITHDRAWAL_DELAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from eth_account.signers.local import LocalAccount

HOURLY, QUARTERS, DAILY = 1, 2, 3
MARKETS = {
    HOURLY: TERMS,
    QUARTERS: replace(TERMS, period_seconds=900, periods_per_session=4),
    DAILY: replace(TERMS, period_seconds=900, periods_per_session=96),
}
RETAIL, FEED_IN = 120_000, 40_000
NOBODY = "0x" + "0" * 40

Positions = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Metered:
    """A peer with its meter."""

    peer: int
    meter: LocalAccount | P256Meter


@dataclass
class World:
    """The contracts a settlement needs, and the settlement."""

    registry: Any
    token: Any
    ledger: Any
    clearing: Any
    settlement: Any
    admin: Signer
    sender: Signer
    supplier: int = 1
    positions: dict[tuple[int, int], Positions] = field(default_factory=dict)
    _wallets: int = 0

    @classmethod
    def found(cls) -> World:
        """Deploy, admit the supplier, publish its tariff."""
        admin, contracts = test_signer(0), project()

        def create(name: str, *arguments: Any) -> Any:
            return getattr(contracts, name).deploy(*arguments, sender=admin.account)

        registry = create("PeerRegistry", admin.address, DAY, NOTICE)
        named = ("Community token", "CMT", admin.address, DAY, NOBODY, 10**30)
        token = create("CommunityToken", *named)
        ledger = create("Ledger", admin.address, DAY, registry, token, WITHDRAWAL_DELAY)
        clearing = create("ClearingStub")
        settlement = create("Settlement", registry, ledger, clearing, clearing, clearing)
        self = cls(registry, token, ledger, clearing, settlement, admin, test_signer(1))
        for contract, role in (
            (registry, registry.REGISTRAR_ROLE()),
            (registry, registry.NETWORK_OPERATOR_ROLE()),
            (token, token.TREASURY_ROLE()),
        ):
            self.send(contract.grantRole, role, admin.address, sender=admin)
        self.send(ledger.connectMarket, clearing, clearing, settlement, clearing, sender=admin)
        self.send(token.treasuryMint, admin.address, 10**29, sender=admin)
        self.send(token.approve, ledger, 10**29, sender=admin)
        bounds = {"floorMicroPerKWh": -(10**8), "capMicroPerKWh": 10**8}
        self.send(registry.createNetwork, bounds, sender=admin)
        node = (b"grid".ljust(32, b"\0"),)
        self.send(registry.publishNetwork, 1, self.now(), list(node), [], sender=admin)
        for market, terms in MARKETS.items():
            self.send(clearing.setMarket, market, terms.to_message(), sender=admin)
        assert self.admit_supplier((RETAIL, FEED_IN)) == self.supplier
        self.travel_to(self.now() + DAY)
        return self

    # --------------------------------------------------------------------------------- peers

    def admit_supplier(self, *tariffs: tuple[int, int], tokens: int = 1) -> int:
        """Admit a supplier; its first tariff holds from now on."""
        number = 2 + self._wallets
        peer = self._admit(test_signer(number).address, Role.SUPPLIER, NOBODY, 0, 10**9)
        self.publish(number, *((self.now(), *tariff) for tariff in tariffs))
        if tokens:
            self.deposit(peer, tokens * NANO)
        return peer

    def publish(self, number: int, *tariffs: tuple[int, int, int]) -> None:
        """Publish tariffs (from, retail, feed-in) of the supplier whose wallet has this number."""
        publish = self.registry.publishTariffs
        self.send(publish, list(tariffs), sender=test_signer(number))

    def admit(
        self,
        *,
        supplier: int = 1,
        connection_w: int = 10**6,
        tokens: int = 1,
        p256: bool = False,
    ) -> Metered:
        """Admit a peer with a meter of its own, and fund it."""
        secret = 10_000 + self._wallets
        meter = P256Meter.of(secret) if p256 else Account.from_key(secret.to_bytes(32, "big"))
        wallet = f"0x{0xC0FFEE0000 + self._wallets:040x}"
        peer = self._admit(wallet, Role.PROSUMER, meter.address, supplier, connection_w)
        if tokens:
            self.deposit(peer, tokens * NANO)
        return Metered(peer, meter)

    def _admit(self, wallet: str, role: Role, meter: str, supplier: int, connection_w: int) -> int:
        self._wallets += 1
        connection = {
            "role": role,
            "network": 1,
            "node": 0,
            "meter": meter,
            "supplier": supplier,
            "connectionW": connection_w,
            "community": 1,
        }
        self.send(self.registry.admit, wallet, connection, sender=self.admin)
        return int(self.registry.peerCount())

    def deposit(self, peer: int, nano: int) -> None:
        self.send(self.ledger.deposit, peer, nano, sender=self.admin)

    def balance(self, peer: int | Metered) -> int:
        peer = peer.peer if isinstance(peer, Metered) else peer
        return int(self.ledger.account(peer).balanceNano)

    # ------------------------------------------------------------------------------ sessions

    def next_session(self, market: int = HOURLY) -> int:
        return MARKETS[market].next_open_session(self.now())

    def clear(self, positions: Positions, market: int = HOURLY, start: int | None = None) -> int:
        """Say that a session, by default the next, was cleared with these positions."""
        start = self.next_session(market) if start is None else start
        hashed = positions_hash(position_leaves(positions))
        self.send(self.clearing.setPositionsHash, market, start, hashed, sender=self.admin)
        self.positions[market, start] = positions
        return start

    def end(self, start: int, market: int = HOURLY) -> None:
        """Let the session be over, and a clearing of it too late."""
        terms = MARKETS[market]
        over = max(terms.session_end(start), terms.clearing_deadline(start) + 1)
        if self.now() < over:
            self.travel_to(over)

    @property
    def domain(self) -> Domain:
        chain_id = ape.chain.provider.chain_id
        return Domain(chain_id, str(self.settlement.address))

    def read(
        self, who: Metered, start: int, *energy_wh: int, market: int = HOURLY
    ) -> SignedReading:
        reading = Reading(market, who.peer, start, energy_wh)
        return reading.signed_by(who.meter, self.domain)

    def settle(
        self,
        start: int,
        *readings: SignedReading,
        market: int = HOURLY,
        missing: Iterable[int] = (),
        tariffs: Mapping[int, int] | None = None,
    ) -> Receipt:
        """Bring readings, and what is missing."""
        missing = list(missing)
        positions = self.positions.get((market, start), {})
        peers = [*(signed.reading.peer for signed in readings), *missing]
        tariffs = dict.fromkeys(peers, 0) | dict(tariffs or {})
        brought = bring(positions, readings, missing=missing, tariffs=tariffs)
        return self.send_raw(start, brought.leaves, brought.readings, market=market)

    def send_raw(
        self, start: int, leaves: Sequence[bytes], readings: bytes, *, market: int = HOURLY
    ) -> Receipt:
        """Reconcile with exactly these arguments."""
        reconcile = self.settlement.reconcile
        return self.send(reconcile, market, start, list(leaves), readings, sender=self.sender)

    # --------------------------------------------------------------------------------- chain

    def send(self, method: Any, *arguments: Any, sender: Signer) -> Receipt:
        """Send a transaction; Ape's own error comes through."""
        receipt = method(*(structs(value) for value in arguments), sender=sender.account)
        return Receipt(
            str(receipt.txn_hash),
            int(receipt.block_number),
            int(receipt.gas_used),
            tuple(receipt.events),
        )

    def now(self) -> int:
        """Time of the next block."""
        return int(ape.chain.pending_timestamp)

    def travel_to(self, time: int) -> None:
        """Mine the next block at `time`."""
        ape.chain.pending_timestamp = time
        ape.chain.mine()

    def wait_until(self, time: int) -> None:
        """Let the next transaction be mined at `time`, to the second."""
        ape.chain.pending_timestamp = time


__all__ = ["DAILY", "HOUR", "HOURLY", "MARKETS", "NANO", "QUARTERS", "World"]
