"""A session of a market: from signed orders to a proposal, from readings to what they come to.

Pure data: everything a clearing depends on was read from the chain before (or made up by a
test), so the same session and orders give the same proposal anywhere.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from operator import mul
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fairwatt import market
from fairwatt.errors import OracleError
from fairwatt.expansion import Expansion
from fairwatt.orders import FlexibleOrder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from fairwatt.market import Book, Certificate, Clearing, Network, Proof
    from fairwatt.orders import SignedOrder

__all__ = [
    "MOST_PERIODS",
    "MOST_PLACED_BLOCKS",
    "NOBODY",
    "Imbalance",
    "MarketTerms",
    "NetworkVersion",
    "Proposal",
    "Session",
    "Tariff",
    "estimate_imbalance",
    "propose",
    "settle_reading",
]


NOBODY: Final = "0x" + "0" * 40
"""The address that stands for no account."""
MOST_PERIODS: Final = 127
"""Most periods of a session: a clearing counts the prices that an order holds in 8 bits."""
MOST_PLACED_BLOCKS: Final = 4096
"""Most blocks of an order, in all its rows, whose lanes a clearing can name: they have 15 bits."""
_LINKS: Final = "(uint16,uint16,uint32,uint32,uint40)[]"


@dataclass(frozen=True, slots=True)
class MarketTerms:
    """The terms of a market, as `Market` in `MarketTypes.sol`; times in seconds.

    `manager` alone proposes clearings until its exclusive window is over.
    """

    network: int
    period_seconds: int
    periods_per_session: int
    max_placed_blocks: int
    first_session_start: int
    gate_lead_seconds: int
    clearing_window_seconds: int
    reading_window_seconds: int
    settlement_window_seconds: int
    exclusive_window_seconds: int = 0
    manager: str = NOBODY
    solver_fee_nano: int = 0

    def to_message(self) -> dict[str, Any]:
        """The `Market` struct of the order book."""
        return {
            "network": self.network,
            "periodSeconds": self.period_seconds,
            "periodsPerSession": self.periods_per_session,
            "maxPlacedBlocks": self.max_placed_blocks,
            "firstSessionStart": self.first_session_start,
            "gateLeadSeconds": self.gate_lead_seconds,
            "clearingWindowSeconds": self.clearing_window_seconds,
            "readingWindowSeconds": self.reading_window_seconds,
            "settlementWindowSeconds": self.settlement_window_seconds,
            "exclusiveWindowSeconds": self.exclusive_window_seconds,
            "manager": self.manager,
            "solverFeeNano": self.solver_fee_nano,
        }

    @property
    def session_seconds(self) -> int:
        """Length of a session."""
        return self.period_seconds * self.periods_per_session

    def session_at(self, time: int) -> int:
        """Start of the session in which `time` lies, or of the first one."""
        sessions = max(0, time - self.first_session_start) // self.session_seconds
        return self.first_session_start + sessions * self.session_seconds

    def next_open_session(self, time: int) -> int:
        """Start of the first session whose gate is still open at `time`."""
        start = self.session_at(time + self.gate_lead_seconds)
        return start if time < self.gate_closure(start) else start + self.session_seconds

    def gate_closure(self, session_start: int) -> int:
        """First second in which no order enters or leaves the book."""
        return session_start - self.gate_lead_seconds

    def exclusive_deadline(self, session_start: int) -> int:
        """Last second in which only the manager may propose a clearing."""
        return self.gate_closure(session_start) + self.exclusive_window_seconds

    def clearing_deadline(self, session_start: int) -> int:
        """Last second in which a clearing may be proposed."""
        return self.gate_closure(session_start) + self.clearing_window_seconds

    def session_end(self, session_start: int) -> int:
        """First second after the last period."""
        return session_start + self.session_seconds

    def reading_deadline(self, session_start: int) -> int:
        """Last second in which a missing reading is awaited and not estimated."""
        return self.session_end(session_start) + self.reading_window_seconds

    def settlement_deadline(self, session_start: int) -> int:
        """Last second in which a reading is settled."""
        return self.session_end(session_start) + self.settlement_window_seconds


@dataclass(frozen=True, slots=True)
class NetworkVersion:
    """A published version of a network.

    Link owners are account numbers written as text; None is the community fund. The seed of the
    network becomes the hash of its links, which the contract makes their tails of.
    """

    version: int
    effective_from: int
    network: Network

    def __post_init__(self) -> None:
        links = [tuple(link.values()) for link in self.links_message()]
        seed = bytes(keccak(encode([_LINKS], [links])))
        object.__setattr__(self, "network", replace(self.network, seed=seed))

    def links_message(self) -> list[dict[str, int]]:
        """The links as the contract takes them."""
        index = self.network.node_index
        return [
            {
                "source": index[link.source],
                "target": index[link.target],
                "owner": int(link.owner or 0),
                "tariffMicroPerKWh": link.tariff_micro_per_kwh,
                "capacityWh": link.capacity_wh,
            }
            for link in self.network.links
        ]


@dataclass(frozen=True, slots=True)
class Session:
    """What a clearing of one session depends on, besides the orders.

    Parameters
    ----------
    market
        Identifier of the market.
    start
        Start of its first period, UTC Unix seconds.
    versions
        The network version in force for each period.
    """

    market: int
    start: int
    terms: MarketTerms
    versions: tuple[NetworkVersion, ...]


@dataclass(frozen=True)
class Proposal:
    """A clearing of a whole session, ready to be checked and sent.

    Parameters
    ----------
    orders
        Sorted by peer and nonce.
    nodes
        Index of the node of every peer with an order.
    clearings
        One per period; with flexible orders, which tie the periods together, one for all of them
        (see `fairwatt.expansion`).
    certificates
        What proves them, one for each. From these and the orders the contract finds fills and
        prices by itself; of the clearings it is told the flows alone.
    fee_to
        Account that receives the solver's fee; 0 if it is not taken.
    """

    session: Session
    orders: tuple[SignedOrder, ...]
    nodes: Mapping[int, int]
    clearings: tuple[Clearing, ...]
    certificates: tuple[Certificate, ...]
    fee_to: int = 0

    @cached_property
    def expansion(self) -> Expansion | None:
        """The session as one market, if there are flexible orders."""
        return _expansion(self.session, self.orders, self.nodes)

    @cached_property
    def books(self) -> tuple[Book, ...]:
        """The book of each clearing: the steps of all orders, in their sequence."""
        if self.expansion is not None:
            return (self.expansion.book,)
        return _books(self.session, self.orders, self.nodes)

    @cached_property
    def fills_wh(self) -> tuple[tuple[int, ...], ...]:
        """Energy traded, per order and step.

        Of a flexible order, per period of its window: discharged positive, charged negative.
        """
        if self.expansion is not None:
            return self.expansion.fills_of(self.clearings[0])
        fills = [iter(clearing.fills_wh.tolist()) for clearing in self.clearings]
        return tuple(
            tuple(next(fills[step.period]) for step in signed.steps) for signed in self.orders
        )

    def cells(self, columns: Sequence[NDArray[np.int64]], fill: int = 0) -> NDArray[np.int64]:
        """Numbers of the nodes of each clearing by node and period, shape (nodes, periods).

        The nodes of flexible orders come after those of the network.

        Parameters
        ----------
        columns
            Per clearing.
        fill
            Where the network in force has no such node yet.
        """
        if self.expansion is not None:
            return self.expansion.lattice(columns[0])
        versions = self.session.versions
        numbers = np.full((len(versions[-1].network.nodes), len(versions)), fill, np.int64)
        for period, column in enumerate(columns):
            numbers[: column.size, period] = column
        return numbers

    @cached_property
    def prices_micro_per_kwh(self) -> NDArray[np.int64]:
        """By node and period; those of flexible orders are what is held in them is worth."""
        return self.cells([clearing.prices_micro_per_kwh for clearing in self.clearings])

    def check(self) -> tuple[Proof, ...]:
        """Check every clearing, by the rules of the contract.

        Raises
        ------
        ProofError
            The rule that is broken first; where several periods break one, the contract may
            name that of another period.
        """
        for book, clearing, certificate in zip(
            self.books, self.clearings, self.certificates, strict=True
        ):
            market.verify(book, clearing, certificate)
        return tuple(map(market.check, self.books, self.clearings))

    @cached_property
    def positions_wh(self) -> dict[int, tuple[int, ...]]:
        """Per peer that trades, and period: sold positive, bought negative. Sorted by peer."""
        positions: dict[int, list[int]] = {}
        for signed, fills in zip(self.orders, self.fills_wh, strict=True):
            energy = positions.setdefault(signed.order.peer, [0] * len(self.session.versions))
            if isinstance(signed.order, FlexibleOrder):
                for period, fill in zip(signed.order.window, fills, strict=True):
                    energy[period] += fill
                continue
            for step, fill in zip(signed.order.steps, fills, strict=True):
                energy[step.period] += fill if step.side is market.Side.ASK else -fill
        return {peer: tuple(energy) for peer, energy in positions.items() if any(energy)}

    @cached_property
    def payments_nano(self) -> dict[int, int]:
        """Per peer, nano-token: received positive, paid negative. Sorted by peer."""
        prices = self.prices_micro_per_kwh.tolist()
        paid = dict.fromkeys((signed.order.peer for signed in self.orders), 0)
        for peer, energies in self.positions_wh.items():
            paid[peer] = sum(map(mul, energies, prices[self.nodes[peer]]))
        return paid


def propose(
    session: Session,
    orders: Iterable[SignedOrder],
    *,
    nodes: Mapping[int, int],
    funds_nano: Mapping[int, int] | None = None,
    placed: Iterable[SignedOrder] = (),
) -> Proposal:
    """Clear a session optimally.

    Parameters
    ----------
    orders
        Admissible signed orders; those of a peer that could not pay are left out.
    nodes
        Index of the node at which each peer is connected when the session starts.
    funds_nano
        What each peer can spend, nano-token; None if everybody can pay anything.
    placed
        Orders placed on chain: they must be in, and what they cost is locked already.

    Raises
    ------
    OracleError
        If two orders share peer and nonce.
    """
    must = list(placed)
    locked: dict[int, int] = defaultdict(int)
    for signed in must:
        locked[signed.order.peer] += signed.order.worst_case_nano
    free = list(orders)
    while True:
        proposal = _clear(session, [*must, *free], nodes)
        if funds_nano is None:
            return proposal
        means = {peer: locked[peer] + funds_nano.get(peer, 0) for peer in proposal.payments_nano}
        broke = [
            (means[peer] / -amount, peer)
            for peer, amount in proposal.payments_nano.items()
            if -amount > means[peer]
        ]
        if not broke:
            return proposal
        # Leaving out a peer changes prices, so the rest is cleared anew. Only the one that is
        # furthest from paying goes in a round: its bid may be what makes the others look broke.
        # A placed order alone can always be paid, so every round leaves out something.
        _, poorest = min(broke)
        free = [signed for signed in free if signed.order.peer != poorest]


@dataclass(frozen=True, slots=True)
class Tariff:
    """A supplier's prices from `effective_from` (UTC Unix seconds) on, micro-token/kWh."""

    effective_from: int
    retail_micro_per_kwh: int
    feed_in_micro_per_kwh: int


@dataclass(frozen=True, slots=True)
class Imbalance:
    """A reading, or an estimate, against its position.

    Attributes
    ----------
    energy_wh
        Per period: metered, or estimated, minus position.
    payment_nano
        What the peer receives from its supplier (positive) or owes it (negative), less what an
        earlier estimate settled; nano-token.
    estimated
        Whether the reading is missing.
    """

    peer: int
    energy_wh: tuple[int, ...]
    payment_nano: int
    estimated: bool = False


def settle_reading(
    peer: int,
    metered_wh: Sequence[int],
    position_wh: Sequence[int],
    tariffs: Sequence[Tariff],
    *,
    estimated_before: bool = False,
) -> Imbalance:
    """What a reading comes to, as `Settlement` of the contracts settles it (S1 to S5).

    What exceeds the position is bought by the supplier at its feed-in tariff, what is short is
    sold at its retail tariff; each period by itself.

    Parameters
    ----------
    metered_wh
        Per period: injected positive, taken negative.
    position_wh
        Per period: sold positive, bought negative.
    tariffs
        Per period: the supplier's in force when it starts.
    estimated_before
        Whether an estimate was settled while the reading was missing; it is taken off.
    """
    energy = tuple(wh - sold for wh, sold in zip(metered_wh, position_wh, strict=True))
    payment = _imbalance_nano(energy, tariffs)
    if estimated_before:
        payment -= estimate_imbalance(peer, position_wh, tariffs).payment_nano
    return Imbalance(peer, energy, payment)


def estimate_imbalance(
    peer: int, position_wh: Sequence[int], tariffs: Sequence[Tariff]
) -> Imbalance:
    """What a missing reading comes to: what was bought was taken, what was sold not delivered.

    It is never a gain, not even where a retail tariff is negative. Parameters as those of
    `settle_reading`.
    """
    energy = tuple(min(wh, 0) - wh for wh in position_wh)
    return Imbalance(peer, energy, min(_imbalance_nano(energy, tariffs), 0), estimated=True)


def _imbalance_nano(energy_wh: Sequence[int], tariffs: Sequence[Tariff]) -> int:
    return sum(
        wh * (tariff.feed_in_micro_per_kwh if wh > 0 else tariff.retail_micro_per_kwh)
        for wh, tariff in zip(energy_wh, tariffs, strict=True)
    )


def _clear(session: Session, orders: Sequence[SignedOrder], nodes: Mapping[int, int]) -> Proposal:
    ordered = tuple(sorted(orders, key=lambda signed: (signed.order.peer, signed.order.nonce)))
    for before, after in pairwise(ordered):
        if (before.order.peer, before.order.nonce) == (after.order.peer, after.order.nonce):
            raise OracleError(
                f"peer {after.order.peer} has two orders with nonce {after.order.nonce}; "
                "a nonce stands for one order of a session"
            )
    expansion = _expansion(session, ordered, nodes)
    books = _books(session, ordered, nodes) if expansion is None else (expansion.book,)
    clearings = tuple(map(market.clear, books))
    return Proposal(
        session, ordered, nodes, clearings, tuple(map(market.certify, books, clearings))
    )


def _expansion(
    session: Session, orders: tuple[SignedOrder, ...], nodes: Mapping[int, int]
) -> Expansion | None:
    if any(isinstance(signed.order, FlexibleOrder) for signed in orders):
        return Expansion(session, orders, nodes)
    return None


def _books(
    session: Session, orders: Sequence[SignedOrder], nodes: Mapping[int, int]
) -> tuple[Book, ...]:
    lines: list[list[market.LimitOrder]] = [[] for _ in session.versions]
    for signed in orders:
        order = signed.order
        for at, step in enumerate(signed.steps):
            # The width makes the sequence of the texts that of the numbers: ties between orders
            # are broken by it.
            lines[step.period].append(
                market.LimitOrder(
                    id=f"{order.peer:010}/{order.nonce:010}/{at:05}",
                    peer=str(order.peer),
                    node=session.versions[step.period].network.nodes[nodes[order.peer]],
                    side=step.side,
                    price_micro_per_kwh=step.price_micro_per_kwh,
                    energy_wh=step.energy_wh,
                )
            )
    return tuple(
        market.Book.of(version.network, period)
        for version, period in zip(session.versions, lines, strict=True)
    )
