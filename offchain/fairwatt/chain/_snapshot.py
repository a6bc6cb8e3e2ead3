"""Everything the oracle needs to know, read at one block."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import ape
from eth_abi.abi import decode
from eth_utils.abi import function_signature_to_4byte_selector

from fairwatt.calldata import ClearCall, positions_wh
from fairwatt.chain._contracts import explained, structs
from fairwatt.errors import ChainError
from fairwatt.lanes import position_leaves, positions_hash
from fairwatt.market import Link, Network
from fairwatt.orders import FlexibleOrder, Order, SignedOrder
from fairwatt.session import NOBODY, MarketTerms, NetworkVersion, Session, Tariff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ape.contracts import ContractInstance

    from fairwatt.chain._contracts import Contracts

__all__ = ["Account", "Peer", "Role", "Snapshot", "Standing"]


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


@dataclass(frozen=True)
class Snapshot:
    """The state of a deployment at the end of one block."""

    contracts: Contracts
    first_block: int
    block: int
    time: int

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
        terms, published = self.terms(market), self.tariffs(supplier)

        def index(time: int) -> int:
            in_force = [at for at, entry in enumerate(published) if entry.effective_from <= time]
            if not in_force:
                raise ChainError(f"supplier {supplier} has no tariff in force at {time}")
            return in_force[-1]

        starts = (start + at * terms.period_seconds for at in range(terms.periods_per_session))
        return index(start), tuple(published[index(time)] for time in starts)

    def tariffs(self, supplier: int) -> list[Tariff]:
        """All tariffs a supplier has published."""
        registry = self.contracts.registry
        count = self._read(registry.tariffCount, supplier)
        published = (self._read(registry.tariff, supplier, at) for at in range(count))
        return [
            Tariff(tariff.effectiveFrom, tariff.retailMicroPerKWh, tariff.feedInMicroPerKWh)
            for tariff in published
        ]

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

    def available_nano(self, peer: int) -> int:
        """What the peer can spend."""
        return int(self._read(self.contracts.ledger.availableNano, peer))

    def fund_nano(self) -> int:
        """The community fund."""
        return int(self._read(self.contracts.ledger.fundNano))

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
        message = structs(signed.order.to_message())
        self._read(self.contracts.order_book.requireValid, message, signed.signature)

    def is_cancelled(self, order: Order | FlexibleOrder) -> bool:
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
        kept = bytes(self._read(self.contracts.clearing.positionsHash, market, start))
        if not any(kept):
            return {}
        periods = self.terms(market).periods_per_session
        nodes: dict[int, int] = {}

        def node_of(peer: int) -> int:
            if peer not in nodes:
                nodes[peer] = self.peer(peer, start).node
            return nodes[peer]

        positions = positions_wh(self._clear_calls(market, start), node_of, periods)
        if positions_hash(position_leaves(positions)) != kept:
            raise ChainError(
                f"the calldata of the clearing of session {start} does not give its positions; "
                "another contract made the call in a form that is not known here"
            )
        return positions

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
            call, before = self._clear_call(str(event.transaction_hash))
            if not before:  # a draft was begun, or begun anew
                calls.clear()
            calls.append(call)
        return calls

    def _clear_call(self, transaction: str) -> tuple[ClearCall, bytes]:
        with explained("transaction"):
            data = bytes(ape.networks.provider.get_receipt(transaction).data)
        clear = self.contracts.clearing.clear.abis[0]
        selector = function_signature_to_4byte_selector(clear.selector)
        at = data.find(selector)  # the call may be wrapped in that of a contract wallet
        if at < 0:
            raise ChainError(f"transaction {transaction} does not carry the clearing it made")
        types = [str(field.canonical_type) for field in clear.inputs]
        proposal, part, before, _ = decode(types, data[at + 4 :], strict=False)
        return ClearCall(cells=proposal[4], details=proposal[5], orders=part[0]), before[0]

    def is_reading_settled(self, market: int, start: int, peer: int) -> bool:
        """Whether the peer's reading of the session is settled."""
        return bool(self._read(self.contracts.settlement.isReadingSettled, market, start, peer))

    def is_reading_estimated(self, market: int, start: int, peer: int) -> bool:
        """Whether the peer's reading of the session was missing and is estimated."""
        return bool(self._read(self.contracts.settlement.isReadingEstimated, market, start, peer))

    def _read(self, method: Any, *arguments: Any) -> Any:
        with explained(str(method).split("(", maxsplit=1)[0]):
            return method(*arguments, block_id=self.block)

    def _events(self, contract: ContractInstance, name: str, **topics: int) -> list[Any]:
        event = getattr(contract, name)
        with explained(name):
            logs = list(event.range(self.first_block, self.block + 1, search_topics=topics))
        return [log for log in logs if all(getattr(log, key) == topics[key] for key in topics)]


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
