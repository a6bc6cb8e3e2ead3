"""The calldata of a clearing: packed prices, flows and orders, and what everybody trades by it.

The layout is that of `IClearing` and `ClearingProof.open`; there it is called format 1. A clearing
leaves nothing on chain but hashes, so reading its calldata is how positions are found again.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.eip712 import compact, expanded, recover
from fairwatt.errors import OracleError, SignatureError
from fairwatt.lanes import LANES, words_of
from fairwatt.market import Certificate, Clearing, Side, witnesses
from fairwatt.orders import PAIR_BYTES, Curve, FlexibleOrder, Order, SignedOrder, Step, order_hash
from fairwatt.proposal import Proposal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from fairwatt.eip712 import Domain
    from fairwatt.market import Book
    from fairwatt.session import Session

__all__ = [
    "NOTHING_CARRIED",
    "AcceptedOrder",
    "ClearCall",
    "PartOrders",
    "encode_clearing",
    "encode_orders",
    "encode_parts",
    "flows_wh",
    "order_hashes",
    "positions_wh",
    "prices_micro_per_kwh",
    "rebuild",
    "schedules_wh",
    "taken_orders",
]

_HEAD: Final = struct.Struct(">BIIHHHB")  # kind, peer, nonce, first block, blocks, rows, supports
_SIGNED, _PLACED, _FLEXIBLE = 0, 1, 2
_FLEXIBLE_HEAD: Final = struct.Struct(">BII")  # kind, peer, nonce
_TERMS: Final = struct.Struct(">HH28x")  # first period, periods, and what positions do not need
_SIGNATURE_BYTES: Final = 64
_DETAIL: Final = struct.Struct(">Hq")
_MARGINAL: Final = struct.Struct(">4Q")
_HAS_MARGINAL: Final = 1 << 15
_IS_HIGHEST: Final = 1 << 15
_FLOW_BYTES: Final = 5
_LINK: Final = ("source", "target", "owner", "tariffMicroPerKWh", "capacityWh")
_MARGINALS: Final = ("ask_fill", "ask_total", "bid_fill", "bid_total")

NOTHING_CARRIED: Final[dict[str, Any]] = {
    "sums": b"",
    "payments": [],
    "unlocks": [],
    "positionsHash": bytes(32),
    "ordersHash": bytes(32),
    "orders": 0,
    "placed": 0,
    "flexible": 0,
    "lastOrder": 0,
}
"""`Carried` of the first part."""


@dataclass(frozen=True, slots=True)
class PartOrders:
    """Orders that come together, and whose they are."""

    peers: tuple[int, ...]
    orders: bytes


@dataclass(frozen=True, slots=True)
class AcceptedOrder:
    """An order as it stands in the calldata of a clearing.

    Attributes
    ----------
    signed
        With an empty signature if it is one that was placed.
    curve
        The very bytes that were signed. The contract also takes curves that no `Order` has, with
        empty rows or lanes. None of a flexible order.
    schedule_wh
        Of a flexible order, per period of its window: discharged positive, charged negative.
    """

    signed: SignedOrder
    curve: Curve | None
    schedule_wh: tuple[int, ...] = ()

    def signer(self, domain: Domain) -> str:
        """Address of the key that signed.

        Raises
        ------
        SignatureError
            If the bytes are no signature.
        """
        if self.curve is None:
            return self.signed.signer(domain)
        data = self.signed.order.typed_data(domain)
        first, blocks, words = self.curve
        curve = {"firstBlock": first, "blocks": blocks, "curve": "0x" + words.hex()}
        message = {**data.message, **curve}
        return recover(replace(data, message=message), self.signed.signature)


@dataclass(frozen=True, slots=True)
class ClearCall:
    """Arguments of one call of `Clearing.clear`, as far as trades depend on them."""

    cells: bytes
    details: bytes
    orders: bytes
    flows: bytes = b""


def encode_clearing(proposal: Proposal) -> dict[str, Any]:
    """The `Proposal` struct of the clearing contract.

    Raises
    ------
    OracleError
        If there are more nodes in more periods than it can name.
    """
    session = proposal.session
    runs = _runs(session.versions)
    # Those of flexible orders come with the orders.
    links = None if proposal.expansion is None else proposal.expansion.link_count
    return {
        "market": session.market,
        "sessionStart": session.start,
        "feeTo": proposal.fee_to,
        "networks": [
            {
                "version": session.versions[first].version,
                "periods": last - first,
                "links": session.versions[first].links_message(),
            }
            for first, last in runs
        ],
        "cells": _cells(proposal),
        "details": _details(proposal),
        "flows": b"".join(
            int(flow).to_bytes(_FLOW_BYTES, "big")
            for clearing in proposal.clearings
            for flow in clearing.flows_wh[:links]
        ),
    }


def encode_orders(proposal: Proposal) -> bytes:
    """All orders of a proposal, one record after the other.

    Raises
    ------
    OracleError
        If a signature is in none of the forms that the contract takes.
    """
    return b"".join(part.orders for part in encode_parts(proposal))


def encode_parts(proposal: Proposal, most_bytes: int | None = None) -> list[PartOrders]:
    """The orders of a proposal in as few parts as their size allows; all of a peer in one.

    Parameters
    ----------
    most_bytes
        Most bytes of orders in a part, unless those of a single peer are more; None for one part.

    Raises
    ------
    OracleError
        If a signature is in none of the forms that the contract takes.
    """
    held, fills = _held(proposal), proposal.fills_wh
    parts: list[PartOrders] = []
    entries = enumerate(proposal.orders)
    for peer, group in groupby(entries, key=lambda entry: entry[1].order.peer):
        records = b"".join(_record(signed, fills[at], held.get(at, ())) for at, signed in group)
        size = len(parts[-1].orders) + len(records) if parts else 0
        if not parts or (most_bytes is not None and size > most_bytes):
            parts.append(PartOrders((), b""))
        last = parts[-1]
        parts[-1] = PartOrders((*last.peers, peer), last.orders + records)
    return parts or [PartOrders((), b"")]


def positions_wh(
    calls: Iterable[ClearCall], node_of: Callable[[int], int], periods: int
) -> dict[int, tuple[int, ...]]:
    """What everybody trades by an accepted clearing, from its calldata.

    Parameters
    ----------
    calls
        Its parts, the first one first.
    node_of
        Node at which a peer is connected when the session starts.

    Returns
    -------
    dict
        Peer -> energy per period, Wh: sold positive, bought negative; whoever trades, sorted.
    """
    width = words_of(periods) * LANES
    positions: dict[int, list[int]] = {}
    marginal: _Marginal | None = None
    for call in calls:
        if marginal is None:
            marginal = _Marginal(call.details)
        low, high = _ranges(call.cells)
        for record in _read_records(call.orders):
            peer = record.peer
            energy = positions.setdefault(peer, [0] * periods)
            if record.curve is None:
                first, _ = _TERMS.unpack(record.terms)
                for period, scheduled in enumerate(record.schedule_wh, first):
                    energy[period] += scheduled
                continue
            for step in _steps(*record.curve):
                cell = node_of(peer) * width + step.period
                filled = marginal.fill(step, cell, int(low[cell]), int(high[cell]))
                energy[step.period] += filled if step.side is Side.ASK else -filled
    return {peer: tuple(energy) for peer, energy in sorted(positions.items()) if any(energy)}


def schedules_wh(calls: Iterable[ClearCall]) -> dict[tuple[int, int], tuple[int, ...]]:
    """What the flexible orders of an accepted clearing do, from its calldata.

    Returns
    -------
    dict
        (Peer, nonce) -> energy per period of its window, Wh: discharged positive, charged negative.
    """
    return {
        (record.peer, record.nonce): record.schedule_wh
        for call in calls
        for record in _read_records(call.orders)
        if record.curve is None
    }


def order_hashes(calls: Iterable[ClearCall], market: int, session_start: int) -> list[bytes]:
    """EIP-712 hashes of the orders in an accepted clearing, in their sequence, from its calldata.

    Parameters
    ----------
    calls
        Its parts, the first one first.
    """
    return [
        record.order_hash(market, session_start)
        for call in calls
        for record in _read_records(call.orders)
    ]


def taken_orders(market: int, start: int, records: bytes) -> Iterator[AcceptedOrder]:
    """The orders of a part, from its records; those without any step are not there."""
    for record in _read_records(records):
        signature = expanded(record.signature) if record.signature else b""
        if record.curve is None:
            flexible = SignedOrder(record.flexible(market, start), signature)
            yield AcceptedOrder(flexible, None, record.schedule_wh)
        elif steps := tuple(_steps(*record.curve)):
            order = Order(market, record.peer, start, steps, record.nonce)
            yield AcceptedOrder(SignedOrder(order, signature), record.curve)


def rebuild(
    session: Session,
    message: Sequence[Any],
    orders: Sequence[AcceptedOrder],
    node_of: Callable[[int], int],
) -> Proposal:
    """The proposal that was accepted.

    Parameters
    ----------
    session
        With the networks as they were published.
    message
        The `Proposal` struct of the calldata, field by field.
    orders
        Of all parts, in their sequence.
    node_of
        Node at which a peer is connected when the session starts.

    Raises
    ------
    OracleError
        If it is not of this session, or names other networks.
    """
    market, start, fee_to, networks, packed, details, flows = message
    if (market, start) != (session.market, session.start):
        raise OracleError(f"the calldata is of session {start} of market {market}")
    _require_networks(session, networks)
    versions, width = session.versions, words_of(len(session.versions)) * LANES
    words = np.frombuffer(packed, ">u4").reshape(-1, 3, LANES)
    ranks = words[:, 2].astype(np.int64).ravel()
    low, high = _ranges(packed)
    cells = _Cells(low, high, ranks, *_read_details(details, low.size))
    signed = tuple(order.signed for order in orders)
    nodes = {entry.order.peer: node_of(entry.order.peer) for entry in signed}
    bare = Proposal(session, signed, nodes, (), (), fee_to)
    flows_of_links = iter(_energies(flows))
    if (expansion := bare.expansion) is None:
        places = [
            np.arange(len(version.network.nodes)) * width + period
            for period, version in enumerate(versions)
        ]
        carried = [list(islice(flows_of_links, len(version.network.links))) for version in versions]
    else:
        lattice = np.arange(expansion.node_count)[:, None] * width + np.arange(len(versions))
        schedules = [order.schedule_wh for order in orders if order.curve is None]
        places, carried = [lattice.ravel()], [[*flows_of_links, *expansion.flows_of(schedules)]]
    marginal = _Marginal(details)
    certificates = tuple(map(cells.certificate, places))
    clearings = tuple(
        Clearing(cells.fills(book, place, marginal), links, certificate.low + certificate.high >> 1)
        for book, place, links, certificate in zip(
            bare.books, places, carried, certificates, strict=True
        )
    )
    return replace(bare, clearings=clearings, certificates=certificates)


def prices_micro_per_kwh(call: ClearCall, periods: int, nodes: int) -> tuple[tuple[int, ...], ...]:
    """The prices of an accepted clearing, per period and node: the middle of the optimal ones.

    Parameters
    ----------
    nodes
        How many the network has. Those of flexible orders come after them; nobody is paid there.
    """
    low, high = _ranges(call.cells)
    middle = ((low + high) // 2).reshape(-1, words_of(periods) * LANES)
    return tuple(map(tuple, middle[:nodes, :periods].T.tolist()))


def flows_wh(call: ClearCall, links: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The flows of an accepted clearing, per period and link.

    Parameters
    ----------
    links
        How many the network has, per period.
    """
    flows = iter(_energies(call.flows))
    return tuple(tuple(islice(flows, count)) for count in links)


# ------------------------------------------------------------------------------------------ writing


def _runs(versions: Sequence[Any]) -> list[tuple[int, int]]:
    """Where each stretch with the same network version begins, and where the next one does."""
    starts = [
        at
        for at in range(len(versions))
        if at == 0 or versions[at].version != versions[at - 1].version
    ]
    return list(zip(starts, [*starts[1:], len(versions)], strict=True))


def _lattice(proposal: Proposal, pick: Callable[[Certificate], Any], fill: int) -> NDArray[Any]:
    """A number for each cell, shape (nodes, 8 x blocks); `fill` where there is none."""
    numbers = proposal.cells([pick(each) for each in proposal.certificates], fill)
    nodes, periods = numbers.shape
    cells = np.full((nodes, words_of(periods) * LANES), fill, np.int64)
    cells[:, :periods] = numbers
    return cells


def _cells(proposal: Proposal) -> bytes:
    network = proposal.session.versions[-1].network
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    low = _lattice(proposal, attrgetter("low"), floor)
    high = _lattice(proposal, attrgetter("high"), cap)
    high[:, len(proposal.session.versions) :] = floor
    ranks = _lattice(proposal, lambda each: each.low_rank << 16 | each.high_rank, 0)
    words = [numbers.reshape(low.shape[0], -1, 1, LANES) for numbers in (low, high - low, ranks)]
    cells: NDArray[np.uint32] = (np.concatenate(words, axis=2) & 0xFFFFFFFF).astype(">u4")
    return cells.tobytes()


def _details(proposal: Proposal) -> bytes:
    tail = _lattice(proposal, attrgetter("tail"), 0).ravel()
    marginal = [_lattice(proposal, attrgetter(name), 0).ravel() for name in _MARGINALS]
    has_orders = np.bitwise_or.reduce(marginal) > 0
    details = bytearray()
    for cell in np.flatnonzero((tail != 0) | has_orders).tolist():
        if cell >= _HAS_MARGINAL:
            raise OracleError(
                f"the clearing has {tail.size} cells, of which its calldata can name "
                f"{_HAS_MARGINAL}; leave out flexible orders, or make sessions shorter"
            )
        flag = _HAS_MARGINAL if has_orders[cell] else 0
        details += _DETAIL.pack(cell | flag, int(tail[cell]))
        if flag:
            details += _MARGINAL.pack(*(int(column[cell]) for column in marginal))
    return bytes(details)


def _held(proposal: Proposal) -> dict[int, list[int]]:
    """Per order, the lanes that hold a price which no marginal order holds."""
    lines = _lines(proposal)
    held: dict[int, list[int]] = {}
    for book_at, (book, certificate) in enumerate(
        zip(proposal.books, proposal.certificates, strict=True)
    ):
        named = witnesses(book, certificate)
        for column, flag in ((named.low, 0), (named.high, _IS_HIGHEST)):
            for line in column[column >= 0].tolist():
                order, lane = lines[book_at][line]
                if lane is not None:
                    held.setdefault(order, []).append(lane | flag)
    return held


def _lines(proposal: Proposal) -> list[list[tuple[int, int | None]]]:
    """Where each line of the books stands: the order, and the lane of its curve, if it has one."""
    lines: list[list[tuple[int, int | None]]] = [[] for _ in proposal.books]
    for at, signed in enumerate(proposal.orders):
        order = signed.order
        if isinstance(order, FlexibleOrder):  # the contract finds by itself what they hold
            lines[0] += [(at, None)] * 2
            continue
        first, blocks, _ = order.curve
        rows: dict[int, int] = defaultdict(int)
        for step in order.steps:
            lane = rows[step.period] * blocks * LANES + step.period - first * LANES
            lines[step.period if proposal.expansion is None else 0].append((at, lane))
            rows[step.period] += step.energy_wh > 0
    return lines


def _record(signed: SignedOrder, fills: Sequence[int], held: Sequence[int]) -> bytes:
    order = signed.order
    if isinstance(order, FlexibleOrder):
        head = _FLEXIBLE_HEAD.pack(_FLEXIBLE, order.peer, order.nonce)
        lanes = struct.pack(f">{len(fills)}I", *(abs(wh) << 1 | (wh < 0) for wh in fills))
        return head + order.terms + lanes + _signature(signed)
    first, blocks, curve = order.curve
    rows = len(curve) // (blocks * PAIR_BYTES)
    kind = _SIGNED if signed.signature else _PLACED
    head = _HEAD.pack(kind, order.peer, order.nonce, first, blocks, rows, len(held))
    lanes = struct.pack(f">{len(held)}H", *held)
    return head + curve + lanes + _signature(signed)


def _signature(signed: SignedOrder) -> bytes:
    """As it stands in the calldata; nothing of an order that is placed."""
    if not signed.signature:
        return b""
    try:
        return compact(signed.signature)
    except SignatureError as error:
        order = signed.order
        raise OracleError(
            f"order {order.nonce} of peer {order.peer}: {error}; what only a wallet's code accepts "
            "has to be placed"
        ) from error


# ------------------------------------------------------------------------------------------ reading


def _ranges(cells: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest optimal prices of all cells."""
    words = np.frombuffer(cells, ">u4").reshape(-1, 3, LANES)
    low = words[:, 0].astype(">i4").astype(np.int64).ravel()
    return low, low + words[:, 1].astype(np.int64).ravel()


class _Marginal:
    """What marginal orders share, cell by cell, as their records go by."""

    def __init__(self, details: bytes) -> None:
        self._given: dict[int, tuple[int, int, int, int]] = {}
        self._running: dict[tuple[int, Side], int] = {}
        at = 0
        while at < len(details):
            head, _ = _DETAIL.unpack_from(details, at)
            at += _DETAIL.size
            if head & _HAS_MARGINAL:
                self._given[head & ~_HAS_MARGINAL] = _MARGINAL.unpack_from(details, at)
                at += _MARGINAL.size

    def fill(self, step: Step, cell: int, low: int, high: int) -> int:
        """What is traded of a step, Wh."""
        limit, energy = step.price_micro_per_kwh, step.energy_wh
        if not energy:  # what a flexible order offers or wants at the end may be nothing
            return 0
        if limit == low == high:
            return self._share(cell, step.side, energy)
        trades = limit < high if step.side is Side.ASK else limit > low
        return energy if trades else 0

    def _share(self, cell: int, side: Side, energy: int) -> int:
        asks, bids = self._given[cell][:2], self._given[cell][2:]
        filled, total = asks if side is Side.ASK else bids
        before = self._running.get((cell, side), 0)
        self._running[cell, side] = before + energy
        return (before + energy) * filled // total - before * filled // total


@dataclass(frozen=True, slots=True)
class _Record:
    """An order record; a flexible one has terms and a schedule instead of a curve."""

    kind: int
    peer: int
    nonce: int
    curve: Curve | None
    terms: bytes
    schedule_wh: tuple[int, ...]
    signature: bytes

    def order_hash(self, market: int, start: int) -> bytes:
        if self.curve is None:
            return self.flexible(market, start).struct_hash
        return order_hash(market, self.peer, start, self.nonce, self.curve)

    def flexible(self, market: int, start: int) -> FlexibleOrder:
        return FlexibleOrder.from_terms(market, self.peer, start, self.nonce, self.terms)


def _read_records(orders: bytes) -> Iterator[_Record]:
    at = 0
    while at < len(orders):
        kind, terms, schedule = orders[at], b"", ()
        curve: Curve | None = None
        if kind == _FLEXIBLE:
            _, peer, nonce = _FLEXIBLE_HEAD.unpack_from(orders, at)
            at += _FLEXIBLE_HEAD.size
            terms = orders[at : at + _TERMS.size]
            _, periods = _TERMS.unpack(terms)
            at += _TERMS.size
            lanes = struct.unpack_from(f">{periods}I", orders, at)
            schedule = tuple(-(lane >> 1) if lane & 1 else lane >> 1 for lane in lanes)
            at += 4 * periods
        else:
            _, peer, nonce, first, blocks, rows, held = _HEAD.unpack_from(orders, at)
            at += _HEAD.size
            words = orders[at : at + rows * blocks * PAIR_BYTES]
            curve = Curve(first, blocks, words)
            at += len(words) + 2 * held
        size = 0 if kind == _PLACED else _SIGNATURE_BYTES
        yield _Record(kind, peer, nonce, curve, terms, schedule, orders[at : at + size])
        at += size


def _steps(first: int, blocks: int, curve: bytes) -> list[Step]:
    """Every lane with energy, row by row; a clearing also takes curves no Python order makes."""
    steps = []
    for at, lanes in enumerate(struct.iter_unpack(">8i8I", curve)):
        start = (first + at % blocks) * LANES
        for lane in range(LANES):
            price, entry = lanes[lane], lanes[LANES + lane]
            if entry >> 1:
                steps.append(Step(start + lane, Side(entry & 1), price, entry >> 1))
    return steps


def _require_networks(session: Session, networks: Sequence[Any]) -> None:
    named = [
        (version, periods, [dict(zip(_LINK, link, strict=True)) for link in links])
        for version, periods, links in networks
    ]
    published = [
        (session.versions[first].version, last - first, session.versions[first].links_message())
        for first, last in _runs(session.versions)
    ]
    if named != published:
        raise OracleError(f"the calldata of session {session.start} names another network")


def _read_details(details: bytes, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tails, and what marginal orders trade, by cell."""
    tails, marginal = np.zeros(cells, np.int64), np.zeros((len(_MARGINALS), cells), np.int64)
    at = 0
    while at < len(details):
        head, tail = _DETAIL.unpack_from(details, at)
        at += _DETAIL.size
        cell = head & ~_HAS_MARGINAL
        tails[cell] = tail
        if head & _HAS_MARGINAL:
            marginal[:, cell] = _MARGINAL.unpack_from(details, at)
            at += _MARGINAL.size
    return tails, marginal


@dataclass(frozen=True)
class _Cells:
    """What the calldata says of the cells, node by node and period by period."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    ranks: NDArray[np.int64]
    tails: NDArray[np.int64]
    marginal: NDArray[np.int64]

    def certificate(self, picked: NDArray[np.int64]) -> Certificate:
        """The certificate of the clearing of these cells."""
        ranks = self.ranks[picked]
        return Certificate(
            low=self.low[picked],
            high=self.high[picked],
            low_rank=ranks >> 16,
            high_rank=ranks & 0xFFFF,
            tail=self.tails[picked],
            **{name: self.marginal[place][picked] for place, name in enumerate(_MARGINALS)},
        )

    def fills(self, book: Book, place: NDArray[np.int64], marginal: _Marginal) -> list[int]:
        """What is traded of each order of a book; `place` has the cell of each of its nodes."""
        filled = []
        for line, node in zip(book.orders, book.node.tolist(), strict=True):
            cell = int(place[node])
            step = Step(0, line.side, line.price_micro_per_kwh, line.energy_wh)
            filled.append(marginal.fill(step, cell, int(self.low[cell]), int(self.high[cell])))
        return filled


def _energies(flows: bytes) -> list[int]:
    places = range(0, len(flows), _FLOW_BYTES)
    return [int.from_bytes(flows[at : at + _FLOW_BYTES], "big") for at in places]
