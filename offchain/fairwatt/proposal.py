"""From the signed orders of a session to a proposal: who trades what, at what price, with proof.

Everything a clearing depends on was read from the chain before (or made up by a test), so the same
session and orders give the same proposal anywhere.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import mul
from typing import TYPE_CHECKING

import numpy as np

from fairwatt import market
from fairwatt.errors import OracleError
from fairwatt.expansion import Expansion
from fairwatt.orders import FlexibleOrder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from fairwatt.market import Book, Certificate, Clearing, Proof
    from fairwatt.orders import SignedOrder
    from fairwatt.session import Session

__all__ = ["Proposal", "propose"]


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
