"""What the chain should hold, in plain Python: nothing here asks a chain.

The machine does to this model what it does to the chain, and after every step both are compared.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fairwatt.imbalances import Tariff
from fairwatt.market import Side
from fairwatt.orders import FlexibleOrder, Order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eth_account.signers.local import LocalAccount

    from fairwatt.chain import Role, Signer
    from fairwatt.orders import SignedOrder
    from fairwatt.proposal import Proposal
    from fairwatt.receipts import SignedReceipt
    from fairwatt.session import MarketTerms

Key = tuple[int, int]
"""Peer and nonce."""
ACTIVE, SUSPENDED, LEFT = 1, 2, 3
OPEN, EXCUSED, PAID = range(3)


@dataclass
class Account:
    """Of a peer, nano-token."""

    balance: int = 0
    credit: int = 0
    locked: int = 0
    withdrawal: int = 0
    requested_at: int = 0
    moves_to: tuple[str, int] | None = None


@dataclass
class Accounts:
    """Everybody's accounts, what they owe each other, and the community fund."""

    of: defaultdict[int, Account] = field(default_factory=lambda: defaultdict(Account))
    owed: defaultdict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    fund: int = 0
    given_way: int = 0
    """Of what was to be withdrawn."""

    @property
    def granted(self) -> int:
        return sum(account.credit for account in self.of.values())

    @property
    def held(self) -> int:
        return sum(account.balance for account in self.of.values()) + self.fund

    def arrears(self, peer: int) -> int:
        return sum(owed for (debtor, _), owed in self.owed.items() if debtor == peer)

    def free(self, peer: int) -> int:
        """Below zero by arrears alone. What is to be withdrawn, and the credit then, rests."""
        one = self.of[peer]
        credit = 0 if one.withdrawal else one.credit
        return one.balance + credit - one.locked - one.withdrawal - self.arrears(peer)

    def available(self, peer: int) -> int:
        return max(0, self.free(peer))

    def withdrawable(self, peer: int) -> int:
        one = self.of[peer]
        return max(0, one.balance - one.locked - self.arrears(peer))

    def means(self, peer: int, gate: int) -> int:
        """For what is cleared: a withdrawal requested after gate closure is no way out."""
        one = self.of[peer]
        late = one.withdrawal > 0 and one.requested_at >= gate
        return max(0, self.free(peer) + (one.withdrawal + one.credit if late else 0))

    def request(self, peer: int, nano: int, now: int, to: tuple[str, int] | None = None) -> None:
        one = self.of[peer]
        one.withdrawal, one.requested_at, one.moves_to = nano, now, to

    def take_out(self, peer: int) -> int:
        one = self.of[peer]
        paid, one.withdrawal, one.moves_to = one.withdrawal, 0, None
        one.balance -= paid
        return paid

    def owe(self, debtor: int, creditor: int, nano: int) -> None:
        """Paid as far as it can, the rest are arrears; what the other owes goes off first."""
        off = min(nano, self.owed[creditor, debtor])
        self.owed[creditor, debtor] -= off
        nano -= off
        one = self.of[debtor]
        paid = min(nano, max(0, one.balance + one.credit - one.locked))
        self.pay(debtor, creditor, paid)
        self.owed[debtor, creditor] += nano - paid
        self._give_way(debtor)

    def collectable(self, debtor: int, creditor: int) -> int:
        one = self.of[debtor]
        means = max(0, one.balance + one.credit - one.locked)
        return min(self.owed[debtor, creditor], means)

    def collect(self, debtor: int, creditor: int) -> None:
        paid = self.collectable(debtor, creditor)
        self.pay(debtor, creditor, paid)
        self.owed[debtor, creditor] -= paid

    def pay(self, payer: int, payee: int, nano: int) -> None:
        self.of[payer].balance -= nano
        self.of[payee].balance += nano

    def clear(self, payments: Mapping[int, int], gate: int) -> None:
        """Book what peers receive (positive) and pay, whose locks are off already."""
        for peer, nano in payments.items():
            one = self.of[peer]
            one.balance += nano
            if nano < 0 and one.requested_at >= gate:
                self._give_way(peer)

    def _give_way(self, peer: int) -> None:
        """What is missing is taken from what was to be withdrawn."""
        one = self.of[peer]
        missing = max(0, -self.free(peer))
        self.given_way += min(missing, one.withdrawal)
        one.withdrawal = max(0, one.withdrawal - missing)


@dataclass
class Book:
    """What was ordered for a session, and what became of it."""

    market: int
    start: int
    terms: MarketTerms
    orders: dict[Key, SignedOrder] = field(default_factory=dict)
    placed: set[Key] = field(default_factory=set)
    released: set[int] = field(default_factory=set)
    cancelled: set[Key] = field(default_factory=set)
    below: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    nonces: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    proposal: Proposal | None = None
    read: set[int] = field(default_factory=set)
    estimated: set[int] = field(default_factory=set)
    traded: dict[int, list[int]] = field(default_factory=dict)
    receipts: list[tuple[SignedOrder, SignedReceipt]] = field(default_factory=list)
    claims: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    was_paused: bool = False

    @property
    def gate(self) -> int:
        return self.terms.gate_closure(self.start)

    @property
    def deadline(self) -> int:
        return self.terms.clearing_deadline(self.start)

    @property
    def hashes(self) -> list[bytes]:
        """Of the orders in the clearing."""
        return (
            [signed.order.struct_hash for signed in self.proposal.orders] if self.proposal else []
        )

    def locked_nano(self, peer: int) -> int:
        """Worst case of the placed order, until it is cleared or released."""
        if self.proposal or peer in self.released:
            return 0
        return sum(self.orders[key].order.worst_case_nano for key in self.placed if key[0] == peer)

    def placed_nonce(self, peer: int) -> int | None:
        return next((nonce for one, nonce in self.placed if one == peer), None)

    def is_cancelled(self, key: Key) -> bool:
        return key in self.cancelled or key[1] < self.below[key[0]]

    def cleared_wh(self, peer: int) -> tuple[int, ...]:
        nothing = (0,) * self.terms.periods_per_session
        return self.proposal.positions_wh.get(peer, nothing) if self.proposal else nothing

    def position_wh(self, peer: int) -> tuple[int, ...]:
        """Cleared and traded."""
        cleared = self.cleared_wh(peer)
        return tuple(map(sum, zip(cleared, self.traded.get(peer, [0] * len(cleared)), strict=True)))

    def most_wh(self, *orders: Order | FlexibleOrder) -> int:
        """The most that orders bid and charge, or ask and discharge, in a period."""
        energies: dict[tuple[int, int], int] = defaultdict(int)
        for order in orders:
            if isinstance(order, FlexibleOrder):
                for period in order.window:
                    energies[period, Side.BID] += order.charge_wh
                    energies[period, Side.ASK] += order.discharge_wh
                continue
            for step in order.steps:
                energies[step.period, step.side] += step.energy_wh
        return max(energies.values())


@dataclass(frozen=True)
class Record:
    """Of a peer, from a time on."""

    since: int
    wallet: Signer
    node: int
    standing: int = ACTIVE


@dataclass
class Peer:
    """Who it was, is, and will be."""

    number: int
    role: Role
    meter: LocalAccount | None
    connection_w: int
    records: list[Record]
    nonce: int = 0
    """Of its last continuous order."""

    @property
    def latest(self) -> Record:
        return self.records[-1]

    def at(self, time: int) -> Record:
        known = [record for record in self.records if record.since <= time]
        return known[-1] if known else replace(self.records[0], standing=0)

    def key(self, time: int) -> LocalAccount:
        key = self.at(time).wallet.key
        assert key is not None
        return key

    def is_active(self, time: int) -> bool:
        return self.at(time).standing == ACTIVE

    def limit_wh(self, terms: MarketTerms) -> int:
        return self.connection_w * terms.period_seconds // 3600


@dataclass
class Bond:
    """Of a manager, wei."""

    amount: int = 0
    requested: int = 0
    available_from: int = 0


@dataclass
class Model:
    """All of it."""

    accounts: Accounts = field(default_factory=Accounts)
    successor: Accounts = field(default_factory=Accounts)
    wei: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    supply: int = 0
    books: dict[tuple[int, int], Book] = field(default_factory=dict)
    peers: dict[int, Peer] = field(default_factory=dict)
    tariffs: list[Tariff] = field(default_factory=list)
    bond: Bond = field(default_factory=Bond)
    traded: defaultdict[Key, int] = field(default_factory=lambda: defaultdict(int))
    revoked: set[Key] = field(default_factory=set)
    network_from: int = 0
    """When the last version of the network takes effect."""
    paused: bool = False

    def transfer(self, source: str, target: str, wei: int) -> None:
        self.wei[source] -= wei
        self.wei[target] += wei

    def tariffs_of(self, book: Book) -> tuple[int, list[Tariff]]:
        """In force for each period, and the number of the first."""
        periods = range(book.terms.periods_per_session)
        starts = [book.start + period * book.terms.period_seconds for period in periods]
        numbers = [
            max(at for at, tariff in enumerate(self.tariffs) if tariff.effective_from <= start)
            for start in starts
        ]
        return numbers[0], [self.tariffs[at] for at in numbers]
