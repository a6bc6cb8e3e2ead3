"""Everything the oracle needs to know, read at one block."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import IntEnum
from operator import add
from typing import TYPE_CHECKING, Any

import ape

from fairwatt.calldata import (
    ClearCall,
    flows_wh,
    order_hashes,
    positions_wh,
    prices_micro_per_kwh,
    schedules_wh,
)
from fairwatt.chain._contracts import explained, structs
from fairwatt.chain._reading import REFUSED, call, call_all, calls_made, logs
from fairwatt.errors import ChainError
from fairwatt.imbalances import Tariff
from fairwatt.lanes import (
    chained,
    pack_energies,
    position_leaves,
    positions_hash,
    unpack_energies,
)
from fairwatt.market import Link, Network
from fairwatt.orders import FlexibleOrder, Order, SignedOrder
from fairwatt.session import NOBODY, MarketTerms, NetworkVersion, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ape.contracts import ContractInstance

    from fairwatt.chain._contracts import Contracts
    from fairwatt.receipts import OrderReceipt

__all__ = ["Account", "Bond", "Claim", "Cleared", "Peer", "Role", "Snapshot", "Standing"]


class Role(IntEnum):
    """As `IPeerRegistry.Role`."""

    NONE = 0
    CONSUMER = 1
    PRODUCER = 2
    PROSUMER = 3
    STORAGE = 4
    SUPPLIER = 5
    OPERATOR = 6

    @property
    def sells(self) -> bool:
        """Whether a peer of this role may sell."""
        return self not in (Role.NONE, Role.CONSUMER, Role.OPERATOR)

    @property
    def buys(self) -> bool:
        """Whether a peer of this role may buy."""
        return self not in (Role.NONE, Role.PRODUCER, Role.OPERATOR)


class Standing(IntEnum):
    """As `IPeerRegistry.Standing`."""

    NONE = 0
    ACTIVE = 1
    SUSPENDED = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer's record in force at some time; `connection_w` in W."""

    id: int
    wallet: str
    network: int
    node: int
    role: Role
    standing: Standing
    meter: str | None
    supplier: int
    connection_w: int
    community: int

    def energy_limit_wh(self, period_seconds: int) -> int:
        """The most its connection carries in one period, Wh."""
        return self.connection_w * period_seconds // 3600


@dataclass(frozen=True, slots=True)
class Account:
    """A peer's account, nano-token."""

    balance_nano: int
    free_nano: int
    locked_nano: int
    credit_nano: int
    arrears_nano: int
    withdrawal_nano: int
    withdrawal_requested_at: int

    def means_nano(self, gate_closure: int) -> int:
        """What it can spend in a clearing, besides what placed orders have locked for it.

        Who requests a withdrawal after gate closure cannot escape the clearing by it.
        """
        means = self.free_nano
        if self.withdrawal_nano and self.withdrawal_requested_at >= gate_closure:
            means += self.withdrawal_nano + self.credit_nano
        return max(0, means)


class Claim(IntEnum):
    """As `IBonds.Claim`."""

    OPEN = 0
    EXCUSED = 1
    PAID = 2


@dataclass(frozen=True, slots=True)
class Bond:
    """A community manager's bond, wei.

    Attributes
    ----------
    requested_wei
        To be withdrawn from `available_from` on.
    secured_wei
        What of it stands behind receipts that are issued from now on.
    penalty_wei
        What a broken receipt costs.
    """

    amount_wei: int
    requested_wei: int
    available_from: int
    secured_wei: int
    penalty_wei: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """An accepted clearing, as its calldata says it.

    Attributes
    ----------
    positions_wh
        Per peer that trades, and period: sold positive, bought negative. Sorted by peer.
    prices_micro_per_kwh
        Per period and node of the network.
    flows_wh
        Per period and link of the network version in force then.
    schedules_wh
        Per flexible order, by peer and nonce, and period of its window: discharged positive,
        charged negative.
    """

    positions_wh: dict[int, tuple[int, ...]]
    prices_micro_per_kwh: tuple[tuple[int, ...], ...]
    flows_wh: tuple[tuple[int, ...], ...]
    schedules_wh: dict[tuple[int, int], tuple[int, ...]]


@dataclass(frozen=True)
class Snapshot:
    """The state of a deployment at the end of one block.

    What was read once is remembered: at one block it stays as it is.
    """

    contracts: Contracts
    first_block: int
    block: int
    time: int
    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def at(cls, contracts: Contracts, first_block: int, block: int | None) -> Snapshot:
        """Pin a block; None is the latest."""
        with explained("block"):
            header = ape.networks.provider.get_block("latest" if block is None else block)
        return cls(contracts, first_block, int(header.number or 0), int(header.timestamp))

    # ------------------------------------------------------------------------------- markets

    def terms(self, market: int) -> MarketTerms:
        """The terms of a market.

        Raises
        ------
        ChainError
            If there is no such market.
        """
        count = self._read(self.contracts.order_book.marketCount)
        if not 1 <= market <= count:
            raise ChainError(f"there is no market {market}; markets are numbered 1 to {count}")
        terms = self._read(self.contracts.order_book.marketTerms, market)
        return MarketTerms(
            network=terms.network,
            period_seconds=terms.periodSeconds,
            periods_per_session=terms.periodsPerSession,
            max_placed_blocks=terms.maxPlacedBlocks,
            first_session_start=terms.firstSessionStart,
            gate_lead_seconds=terms.gateLeadSeconds,
            clearing_window_seconds=terms.clearingWindowSeconds,
            reading_window_seconds=terms.readingWindowSeconds,
            settlement_window_seconds=terms.settlementWindowSeconds,
            exclusive_window_seconds=terms.exclusiveWindowSeconds,
            manager=str(terms.manager),
            solver_fee_nano=terms.solverFeeNano,
        )

    def first_session(self, market: int) -> int:
        """Start of the first session whose gate was open when the market was created."""
        (created,) = self._events(self.contracts.order_book, "MarketCreated", market=market)
        with explained("block"):
            block = ape.networks.provider.get_block(int(created.block_number))
        return self.terms(market).next_open_session(int(block.timestamp))

    def markets(self) -> dict[int, MarketTerms]:
        """The terms of every market, by number."""
        count = self._read(self.contracts.order_book.marketCount)
        return {market: self.terms(market) for market in range(1, count + 1)}

    def networks(self) -> dict[int, Network]:
        """Every network as it is in force at this block, by number."""
        published = self._events(self.contracts.registry, "NetworkCreated")
        numbers = [int(event.network) for event in published]
        in_force = {}
        for number in numbers:
            versions = self._network_versions(number)
            known = [entry for entry in versions if entry.effective_from <= self.time]
            if known:
                in_force[number] = known[-1].network
        return in_force

    def session(self, market: int, start: int) -> Session:
        """A session with the network version in force for each of its periods.

        Raises
        ------
        ChainError
            If there is no such market or session, or no network is in force then.
        """
        terms = self.terms(market)
        if terms.session_at(start) != start:
            raise ChainError(f"no session of market {market} starts at {start}")
        published = self._network_versions(terms.network)
        versions = []
        for period in range(terms.periods_per_session):
            time = start + period * terms.period_seconds
            in_force = [version for version in published if version.effective_from <= time]
            if not in_force:
                raise ChainError(f"no version of network {terms.network} is in force at {time}")
            versions.append(in_force[-1])
        return Session(market, start, terms, tuple(versions))

    def _network_versions(self, network: int) -> list[NetworkVersion]:
        registry = self.contracts.registry
        bounds = self._read(registry.boundsOf, network)
        names: list[str] = []
        versions = []
        for event in self._events(registry, "NetworkPublished", network=network):
            for name in event.newNodes:
                names.append(_node_name(bytes(name), names))
            links = tuple(
                Link(names[source], names[target], tariff, capacity, str(owner) if owner else None)
                for source, target, owner, tariff, capacity in event.links
            )
            versions.append(
                NetworkVersion(
                    event.version,
                    event.effectiveFrom,
                    Network(tuple(names), links, bounds.floorMicroPerKWh, bounds.capMicroPerKWh),
                )
            )
        return versions

    # --------------------------------------------------------------------------------- peers

    def peer(self, peer: int, time: int | None = None) -> Peer:
        """A peer's record in force at `time`, by default at this block.

        Raises
        ------
        ChainError
            If it was not admitted by then.
        """
        record = self._read(
            self.contracts.registry.peerAt, peer, self.time if time is None else time
        )
        if record.standing == Standing.NONE:
            raise ChainError(f"there is no peer {peer}; ask the registrar to admit it")
        return Peer(
            id=peer,
            wallet=str(record.wallet),
            network=record.network,
            node=record.node,
            role=Role(record.role),
            standing=Standing(record.standing),
            meter=None if record.meter == NOBODY else str(record.meter),
            supplier=record.supplier,
            connection_w=record.connectionW,
            community=record.community,
        )

    def peers(self, time: int | None = None) -> dict[int, Peer]:
        """All peers' records in force at `time`, by identifier."""
        count = self._read(self.contracts.registry.peerCount)
        return {peer: self.peer(peer, time) for peer in range(1, count + 1)}

    def tariffs_of_session(
        self, market: int, start: int, supplier: int
    ) -> tuple[int, tuple[Tariff, ...]]:
        """The supplier's tariffs in force for each period of a session.

        Returns
        -------
        tuple
            Index of the first among all that the supplier published, and one tariff per period.

        Raises
        ------
        ChainError
            If none is in force.
        """
        terms, registry = self.terms(market), self.contracts.registry
        count = self._read(registry.tariffCount, supplier)

        def effective_from(index: int) -> int:
            return int(self._read(registry.tariff, supplier, index).effectiveFrom)

        first = bisect_right(range(count), start, key=effective_from) - 1
        if first < 0:
            raise ChainError(f"supplier {supplier} has no tariff in force at {start}")
        span = terms.period_seconds, terms.periods_per_session
        in_force = self._read(registry.tariffsFor, supplier, first, start, *span)
        return first, tuple(map(_tariff, in_force))

    def tariffs(self, supplier: int) -> list[Tariff]:
        """All tariffs a supplier has published."""
        registry = self.contracts.registry
        count = self._read(registry.tariffCount, supplier)
        published = (self._read(registry.tariff, supplier, at) for at in range(count))
        return list(map(_tariff, published))

    # --------------------------------------------------------------------------------- money

    def account(self, peer: int) -> Account:
        """A peer's account."""
        account = self._read(self.contracts.ledger.account, peer)
        return Account(
            balance_nano=account.balanceNano,
            free_nano=account.freeNano,
            locked_nano=account.lockedNano,
            credit_nano=account.creditNano,
            arrears_nano=account.arrearsNano,
            withdrawal_nano=account.withdrawalNano,
            withdrawal_requested_at=account.withdrawalRequestedAt,
        )

    def arrears_nano(self) -> dict[tuple[int, int], int]:
        """What was not paid for imbalances and is owed still, by debtor and creditor."""
        ledger = self.contracts.ledger
        pairs = {
            (int(log.debtor), int(log.creditor)) for log in self._events(ledger, "ArrearsIncurred")
        }
        owed = {pair: int(self._read(ledger.arrearsNano, *pair)) for pair in sorted(pairs)}
        return {pair: nano for pair, nano in owed.items() if nano}

    def fund_nano(self) -> int:
        """The community fund."""
        return int(self._read(self.contracts.ledger.fundNano))

    def deposits_nano(self) -> dict[int, int]:
        """All that was ever deposited for each peer."""
        deposits: dict[int, int] = {}
        for event in self._events(self.contracts.ledger, "Deposited"):
            deposits[event.peer] = deposits.get(event.peer, 0) + event.amountNano
        return deposits

    def tokens_held_wei(self) -> int:
        """Tokens in the ledger's custody."""
        contracts = self.contracts
        return int(self._read(contracts.token.balanceOf, contracts.ledger.address))

    # -------------------------------------------------------------------------------- orders

    def placed_orders(self, market: int, start: int) -> list[SignedOrder]:
        """Orders that a clearing of the session must contain, with empty signatures."""
        book = self.contracts.order_book
        placed = []
        for event in self._events(book, "OrderPlaced", market=market, sessionStart=start):
            order = _order(event.order)
            # An order that is cancelled may be followed by another, but not under its nonce.
            digest, nonce, _ = self._read(book.placedOrder, market, start, order.peer)
            if any(digest) and nonce == order.nonce:
                placed.append(SignedOrder(order, b""))
        return placed

    def require_valid(self, signed: SignedOrder) -> None:
        """Ask the contract whether a clearing may contain the order.

        Raises
        ------
        ContractError
            With the reason why it may not.
        """
        struct = structs(signed.order.to_struct())
        self._read(self.contracts.order_book.requireValid, struct, signed.signature)

    def is_cancelled(self, order: Order | FlexibleOrder | OrderReceipt) -> bool:
        """Whether the peer has cancelled the order."""
        return bool(
            self._read(
                self.contracts.order_book.isCancelled,
                order.market,
                order.session_start,
                order.peer,
                order.nonce,
            )
        )

    # ------------------------------------------------------------------------------ receipts

    def book_times(self, market: int, start: int) -> tuple[int, int]:
        """When the book of a session opens and closes."""
        opens, gate = self._read(self.contracts.order_book.bookTimes, market, start)
        return int(opens), int(gate)

    def bond(self, manager: str) -> Bond:
        """What a community manager's receipts are worth."""
        bonds = self.contracts.bonds
        bond = self._read(bonds.bondOf, manager)
        return Bond(
            amount_wei=bond.amountWei,
            requested_wei=bond.requestedWei,
            available_from=bond.availableFrom,
            secured_wei=int(self._read(bonds.securedWei, manager)),
            penalty_wei=int(self._read(bonds.PENALTY_WEI)),
        )

    def challenge_deadline(self, market: int, start: int) -> int:
        """Last second in which a receipt for the session may be challenged."""
        window = int(self._read(self.contracts.bonds.CHALLENGE_WINDOW_SECONDS))
        return self.terms(market).clearing_deadline(start) + window

    def claim(self, market: int, start: int, peer: int) -> Claim:
        """What became of the promises to a peer for a session."""
        return Claim(self._read(self.contracts.bonds.claimOf, market, start, peer))

    def is_paused(self) -> bool:
        """Whether the guardian has stopped clearings."""
        return bool(self._read(self.contracts.order_book.paused))

    def peer_of_wallet(self, wallet: str) -> int:
        """The peer whose wallet this is now; 0 if none."""
        return int(self._read(self.contracts.registry.peerInForce, wallet))

    # ---------------------------------------------------------------------------- settlement

    def is_cleared(self, market: int, start: int) -> bool:
        """Whether the session is cleared."""
        return any(self._read(self.contracts.clearing.positionsHash, market, start))

    def positions_wh(self, market: int, start: int) -> dict[int, tuple[int, ...]]:
        """Per peer that trades and period of a cleared session: sold positive, bought negative.

        Read from the calldata of the clearing, sorted by peer.

        Raises
        ------
        ChainError
            If what is read is not what the contract keeps the hash of.
        """
        cleared = self.cleared(market, start)
        return {} if cleared is None else cleared.positions_wh

    def cleared(self, market: int, start: int) -> Cleared | None:
        """The clearing of a session, read from its calldata; None if it is not cleared.

        Raises
        ------
        ChainError
            As `positions_wh`.
        """
        kept = bytes(self._read(self.contracts.clearing.positionsHash, market, start))
        if not any(kept):
            return None
        if ("cleared", market, start) not in self._known:
            self._known["cleared", market, start] = self._cleared(market, start, kept)
        found: Cleared = self._known["cleared", market, start]
        return found

    def _cleared(self, market: int, start: int, kept: bytes) -> Cleared:
        session = self.session(market, start)
        periods = session.terms.periods_per_session
        calls = self._clear_calls(market, start)
        positions = positions_wh(calls, lambda peer: self.peer(peer, start).node, periods)
        if positions_hash(position_leaves(positions)) != kept:
            raise ChainError(
                f"the calldata of the clearing of session {start} does not give its positions; "
                "another contract made the call in a form that is not known here"
            )
        links = [len(version.network.links) for version in session.versions]
        return Cleared(
            positions,
            prices_micro_per_kwh(calls[0], periods, len(session.versions[-1].network.nodes)),
            flows_wh(calls[0], links),
            schedules_wh(calls),
        )

    def traded_wh(self, peer: int, nonce: int) -> int:
        """What a peer traded continuously under a nonce, in each period; 2^32 - 1 if cancelled."""
        return int(self._read(self.contracts.trades.tradedWh, peer, nonce))

    def traded_positions_wh(self, market: int, start: int) -> dict[int, tuple[int, ...]]:
        """Per peer and period: sold (positive) and bought in continuous trades. Sorted by peer."""
        trades = self.contracts.trades
        events = self._events(trades, "Traded", market=market, sessionStart=start)
        if not events:
            return {}
        periods = self.terms(market).periods_per_session
        none = pack_energies((0,) * periods)
        peers = set[int]()
        for event in events:
            seller, _, buyer, *_ = event.trade  # structs in events come without their names
            peers |= {seller, buyer}
        words = {
            peer: self._read(trades.withTraded, market, start, peer, none) for peer in sorted(peers)
        }
        return {peer: unpack_energies(bytes(raw), periods) for peer, raw in words.items()}

    def total_positions_wh(self, market: int, start: int) -> dict[int, tuple[int, ...]]:
        """What readings are settled against: cleared and traded positions, added up.

        Raises
        ------
        ChainError
            As `positions_wh`.
        """
        total = dict(self.positions_wh(market, start))
        for peer, traded in self.traded_positions_wh(market, start).items():
            cleared = total.get(peer, (0,) * len(traded))
            total[peer] = tuple(map(add, cleared, traded))
        return dict(sorted(total.items()))

    def order_hashes(self, market: int, start: int) -> list[bytes]:
        """EIP-712 hashes of the orders in the clearing of a session; none if it is not cleared.

        Read from the calldata of the clearing, in its sequence.

        Raises
        ------
        ChainError
            If what is read is not what the contract keeps the hash of.
        """
        if not self.is_cleared(market, start):
            return []
        hashes = order_hashes(self._clear_calls(market, start), market, start)
        kept = bytes(self._read(self.contracts.clearing.ordersHash, market, start))
        if chained(hashes) != kept:
            raise ChainError(
                f"the calldata of the clearing of session {start} does not give its orders; "
                "another contract made the call in a form that is not known here"
            )
        return hashes

    def _clear_calls(self, market: int, start: int) -> list[ClearCall]:
        """The parts of the clearing of a session."""
        clearing = self.contracts.clearing
        session = {"market": market, "sessionStart": start}
        (last,) = self._events(clearing, "SessionCleared", **session)
        parts = [
            event
            for event in self._events(clearing, "PartAccepted", **session)
            if event.solver == last.solver
        ]
        calls: list[ClearCall] = []
        for event in [*parts, last]:
            part, before = self._clear_call(str(event.transaction_hash))
            if not before:  # a draft was begun, or begun anew
                calls.clear()
            calls.append(part)
        return calls

    def _clear_call(self, transaction: str) -> tuple[ClearCall, bytes]:
        for proposal, part, before, _ in calls_made(self.contracts.clearing.clear, transaction):
            _, _, _, _, cells, details, flows = proposal
            return ClearCall(cells, details, part[0], flows), before[0]
        raise ChainError(f"transaction {transaction} does not carry the clearing it made")

    def is_reading_settled(self, market: int, start: int, peer: int) -> bool:
        """Whether the peer's reading of the session is settled."""
        return bool(self._read(self.contracts.settlement.isReadingSettled, market, start, peer))

    def is_reading_estimated(self, market: int, start: int, peer: int) -> bool:
        """Whether the peer's reading of the session was missing and is estimated."""
        return bool(self._read(self.contracts.settlement.isReadingEstimated, market, start, peer))

    def events(self, contract: str, name: str, **topics: int) -> list[Any]:
        """Events of one of `contracts` until this block, the first one first."""
        return self._events(getattr(self.contracts, contract), name, **topics)

    def sequence(self, wanted: Mapping[str, Iterable[str]]) -> list[tuple[str, Any]]:
        """Events until this block in the sequence in which they happened, each with its contract.

        Parameters
        ----------
        wanted
            Names of events, by the contract of `contracts`.
        """
        events = [
            (contract, log)
            for contract, names in wanted.items()
            for name in names
            for log in self.events(contract, name)
        ]

        def place(event: tuple[str, Any]) -> tuple[int, int, int]:
            _, log = event
            return log.block_number, log.transaction_index, log.log_index

        return sorted(events, key=place)

    def foresee(
        self,
        market: int,
        start: int,
        peers: Iterable[int],
        orders: Iterable[SignedOrder] = (),
    ) -> None:
        """Ask at once what will be asked of peers and orders of a session one by one.

        Nothing depends on it: what does not come back is asked again when it is needed.
        """
        contracts = self.contracts
        questions: list[tuple[Any, tuple[Any, ...]]] = []
        for peer in peers:
            questions += [
                (contracts.registry.peerAt, (peer, start)),
                (contracts.ledger.account, (peer,)),
                (contracts.settlement.isReadingSettled, (market, start, peer)),
                (contracts.settlement.isReadingEstimated, (market, start, peer)),
            ]
        questions += [
            (
                contracts.order_book.requireValid,
                (structs(signed.order.to_struct()), signed.signature),
            )
            for signed in orders
        ]
        new = {_key(*question): question for question in questions}
        new = {key: question for key, question in new.items() if key not in self._known}
        for key, answer in zip(new, call_all(list(new.values()), self.block), strict=True):
            if answer is not REFUSED:
                self._known[key] = answer

    def _read(self, method: Any, *arguments: Any) -> Any:
        key = _key(method, arguments)
        if key not in self._known:
            with explained(str(method).split("(", maxsplit=1)[0]):
                self._known[key] = call(method, arguments, self.block)
        return self._known[key]

    def _events(self, contract: ContractInstance, name: str, **topics: int) -> list[Any]:
        key = (contract.address, name, tuple(topics.items()))
        if key not in self._known:
            with explained(name):
                found = list(logs(contract, name, self.first_block, self.block, topics))
            self._known[key] = [
                log
                for log in found
                if all(getattr(log, topic) == topics[topic] for topic in topics)
            ]
        kept: list[Any] = self._known[key]
        return kept


def _key(method: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return method.contract.address, method.abis[0].selector, arguments


def _tariff(published: Any) -> Tariff:
    """As the registry returns it, by itself or in a list."""
    return Tariff(published.effectiveFrom, published.retailMicroPerKWh, published.feedInMicroPerKWh)


def _node_name(raw: bytes, taken: Sequence[str]) -> str:
    """The name of a node as published, or its index where nobody could use that name.

    The contract takes any 32 bytes; a careless name must not stop whoever reads the network.
    """
    name = raw.rstrip(b"\0").decode(errors="replace")
    if name and name not in taken and name.isprintable():
        return name
    name = f"node {len(taken)}"
    while name in taken:
        name += "'"
    return name


def _order(values: Sequence[Any]) -> Order:
    """An order as events carry it: the fields of the struct in their sequence."""
    fields = ("market", "peer", "sessionStart", "nonce", "firstBlock", "blocks", "curve")
    return Order.from_message(dict(zip(fields, values, strict=True)))
