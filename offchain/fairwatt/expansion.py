"""A session with flexible orders as one market: a node for each cell.

A *cell* is a node in one period. The book of the session has the nodes and links of the network
once for each period, and the orders of all periods. A flexible order adds a node of its own, a cell
for each period, and in its window the links

    charging      node of the peer, t -> own, t         charge_wh, tariff 0
    discharging   own, t -> node of the peer, t         discharge_wh, tariff wear
    holding       own, t -> own, t + 1                  capacity_wh - start_wh, tariff 0
    bringing back own, t + 1 -> own, t                  start_wh, tariff 0

To keep what is held at the start is where it begins, so the links in time carry the difference:
more is held forward in time, less backward. In the last cell the owner offers what was held at the
start and bids for what is wanted beyond it, both at the value at the end. All of this is an
ordinary book, and the kernel clears, certifies and verifies it knowing nothing of storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

from eth_utils.crypto import keccak

from fairwatt.errors import OracleError
from fairwatt.lanes import LANES, words_of
from fairwatt.market import Book, Link, Network, Side
from fairwatt.orders import FlexibleOrder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fairwatt.market import Clearing
    from fairwatt.orders import SignedOrder
    from fairwatt.session import Session

__all__ = ["MAX_CELLS", "PROVABLE_CELLS", "Expansion", "most_flexible_orders"]

MAX_CELLS: Final = 1 << 15
"""The most cells that calldata can name."""
PROVABLE_CELLS: Final = 1_920
"""Cells that are proved within the 2^24 gas of a transaction: 80 nodes in 24 periods."""
_FLOWS_OF_A_CELL: Final = 6
"""Flows that take no more gas than a cell does: 1,300 each."""


def most_flexible_orders(session: Session) -> int:
    """How many flexible orders every chain has the gas for, each a node in all periods.

    Of the network, a cell has gas for the flow of one link; what it has more of them is taken off.
    """
    periods, nodes = len(session.versions), len(session.versions[-1].network.nodes)
    flows = sum(len(version.network.links) for version in session.versions) - nodes * periods
    cells = PROVABLE_CELLS - max(0, -(-flows // _FLOWS_OF_A_CELL))
    return max(0, cells // (words_of(periods) * LANES) - nodes)


@dataclass(frozen=True)
class Expansion:
    """The book of a session with flexible orders, and what its clearing says of them.

    Parameters
    ----------
    session
        Its terms and networks.
    orders
        Sorted by peer and nonce.
    nodes
        Index of the node of every peer with an order.

    Raises
    ------
    OracleError
        If there are more cells than a clearing has room for, or a window ends after the session.
    """

    session: Session
    orders: tuple[SignedOrder, ...]
    nodes: Mapping[int, int]

    def __post_init__(self) -> None:
        for order in self.flexible:
            if order.window.stop > self.periods:
                raise OracleError(
                    f"order {order.nonce} of peer {order.peer} goes on to period "
                    f"{order.window.stop - 1}; the session has {self.periods} periods"
                )
        lanes = words_of(self.periods) * LANES
        if (count := self.node_count * lanes) > MAX_CELLS:
            raise OracleError(
                f"{len(self.flexible)} flexible orders make {self.node_count} nodes and {count} "
                f"cells, more than {MAX_CELLS}; leave some out"
            )

    @property
    def periods(self) -> int:
        """Of the session."""
        return len(self.session.versions)

    @cached_property
    def flexible(self) -> tuple[FlexibleOrder, ...]:
        """The flexible orders, in their sequence."""
        orders = (signed.order for signed in self.orders)
        return tuple(order for order in orders if isinstance(order, FlexibleOrder))

    @property
    def network_nodes(self) -> int:
        """Nodes of the network."""
        return len(self.session.versions[-1].network.nodes)

    @property
    def node_count(self) -> int:
        """Nodes of the network, then one for each flexible order."""
        return self.network_nodes + len(self.flexible)

    def cell(self, node: int, period: int) -> int:
        """Where a cell stands among the nodes of the book."""
        return node * self.periods + period

    @cached_property
    def book(self) -> Book:
        """All orders of the session on the network of its cells."""
        lines = list(self._lines())
        peers = [str(peer) for peer, *_ in lines]
        return Book.from_columns(
            self.network,
            ids=[id_ for _, id_, *_ in lines],
            peers=peers,
            node=[cell for _, _, cell, *_ in lines],
            side=[side.value for _, _, _, side, *_ in lines],
            price_micro_per_kwh=[price for *_, price, _ in lines],
            energy_wh=[energy for *_, energy in lines],
        )

    @cached_property
    def network(self) -> Network:
        """The network of the cells."""
        names = self._names()
        links = []
        for period, version in enumerate(self.session.versions):
            on, index = version.network, version.network.node_index
            links += [
                Link(
                    names[self.cell(index[link.source], period)],
                    names[self.cell(index[link.target], period)],
                    link.tariff_micro_per_kwh,
                    link.capacity_wh,
                    link.owner,
                    tail,
                )
                for link, tail in zip(on.links, on.tails.tolist(), strict=True)
            ]
        for at, order in enumerate(self.flexible):
            links += self._links_of(order, self.network_nodes + at, names)
        last = self.session.versions[-1].network
        floor, cap = last.price_floor_micro_per_kwh, last.price_cap_micro_per_kwh
        return Network(tuple(names), tuple(links), floor, cap, seed=last.seed)

    @cached_property
    def link_count(self) -> int:
        """Links of the networks, those of the first period first."""
        return sum(len(version.network.links) for version in self.session.versions)

    def fills_of(self, clearing: Clearing) -> tuple[tuple[int, ...], ...]:
        """Energy traded, per order and step; of a flexible order, its schedule."""
        fills = iter(clearing.fills_wh.tolist())
        schedules = iter(self.schedules_of(clearing))
        traded = []
        for signed in self.orders:
            if isinstance(signed.order, FlexibleOrder):
                next(fills), next(fills)
                traded.append(next(schedules))
            else:
                traded.append(tuple(next(fills) for _ in signed.order.steps))
        return tuple(traded)

    def schedules_of(self, clearing: Clearing) -> tuple[tuple[int, ...], ...]:
        """Per flexible order and period of its window: discharged positive, charged negative."""
        at, schedules = self.link_count, []
        for order in self.flexible:
            flows = clearing.flows_wh[at : at + 2 * order.periods]
            schedules.append(tuple((flows[1::2] - flows[::2]).tolist()))
            at += 4 * order.periods - 2
        return tuple(schedules)

    def flows_of(self, schedules: Sequence[Sequence[int]]) -> list[int]:
        """Flows of the links of flexible orders whose schedules, as of `schedules_of`, are these.

        For schedules that never charge and discharge in the same period, as those of a clearing.
        """
        flows: list[int] = []
        for schedule in schedules:
            for energy in schedule:
                flows += max(0, -energy), max(0, energy)
            for gained in list(accumulate(-energy for energy in schedule))[:-1]:
                flows += max(0, gained), max(0, -gained)
        return flows

    def lattice(self, column: NDArray[np.int64]) -> NDArray[np.int64]:
        """A column of numbers of the cells by node and period, shape (nodes, periods)."""
        return column.reshape(self.node_count, self.periods)

    def _names(self) -> list[str]:
        """No two are the same: after the last slash stands a period, or peer and nonce."""
        nodes = self.session.versions[-1].network.nodes
        return [f"{node} / {period}" for node in nodes for period in range(self.periods)] + [
            f"flexible / {period} / {order.peer}.{order.nonce}"
            for order in self.flexible
            for period in range(self.periods)
        ]

    def _links_of(self, order: FlexibleOrder, node: int, names: Sequence[str]) -> Iterator[Link]:
        """Charging and discharging period by period, then holding and bringing back."""
        seed, at = order.struct_hash, self.nodes[order.peer]
        own = [names[self.cell(node, period)] for period in order.window]
        for period, here in zip(order.window, own, strict=True):
            peers, wear = names[self.cell(at, period)], order.wear_micro_per_kwh
            yield Link(peers, here, 0, order.charge_wh, None, _tail(seed, 3 * period))
            yield Link(here, peers, wear, order.discharge_wh, None, _tail(seed, 3 * period + 1))
        held = order.start_wh
        for period, (here, later) in zip(order.window, pairwise(own), strict=False):
            tail = _tail(seed, 3 * period + 2)
            yield Link(here, later, 0, order.capacity_wh - held, None, tail)
            yield Link(later, here, 0, held, None, tail)

    def _lines(self) -> Iterator[tuple[int, str, int, Side, int, int]]:
        """Peer, id, cell, side, price and energy of every line of the book."""
        node = self.network_nodes
        for signed in self.orders:
            order = signed.order
            # The width makes the sequence of the texts that of the numbers.
            head = f"{order.peer:010}/{order.nonce:010}"
            if isinstance(order, FlexibleOrder):
                end, value = self.cell(node, order.window.stop - 1), order.value_micro_per_kwh
                more = order.wanted_wh - order.start_wh
                yield order.peer, f"{head}/00000", end, Side.BID, value, more
                yield order.peer, f"{head}/00001", end, Side.ASK, value, order.start_wh
                node += 1
                continue
            for at, step in enumerate(order.steps):
                cell = self.cell(self.nodes[order.peer], step.period)
                price, energy = step.price_micro_per_kwh, step.energy_wh
                yield order.peer, f"{head}/{at:05}", cell, step.side, price, energy


def _tail(seed: bytes, number: int) -> int:
    """Drawn as the tail of a link is from the seed of its network."""
    return 1 + int.from_bytes(keccak(seed + number.to_bytes(32, "big"))[:3], "big")
