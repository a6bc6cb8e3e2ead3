"""The calldata of a clearing: packed prices, flows and orders, and what everybody trades by it.

The layout is that of `IClearing` and `ClearingProof.open`; there it is called format 1. A clearing
leaves nothing on chain but hashes, so reading its calldata is how positions are found again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.errors import OracleError
from fairwatt.lanes import words_of
from fairwatt.market import Side, witnesses
from fairwatt.orders import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from fairwatt.market import Certificate
    from fairwatt.orders import SignedOrder
    from fairwatt.session import Proposal

__all__ = [
    "NOTHING_CARRIED",
    "ClearCall",
    "PartOrders",
    "encode_clearing",
    "encode_orders",
    "encode_parts",
    "positions_wh",
]

_LANES: Final = 8
_HEAD: Final = struct.Struct(">BIIHHHB")  # kind, peer, nonce, first block, blocks, rows, supports
_SIGNED, _PLACED = 0, 1
_SIGNATURE_BYTES: Final = 64
_PAIR_BYTES: Final = 64
_DETAIL: Final = struct.Struct(">Hq")
_MARGINAL: Final = struct.Struct(">4Q")
_HAS_MARGINAL: Final = 1 << 15
_IS_HIGHEST: Final = 1 << 15
_FLOW_BYTES: Final = 5

NOTHING_CARRIED: Final[dict[str, Any]] = {
    "sums": b"",
    "payments": [],
    "unlocks": [],
    "positionsHash": bytes(32),
    "ordersHash": bytes(32),
    "orders": 0,
    "placed": 0,
    "lastOrder": 0,
}
"""`Carried` of the first part."""


@dataclass(frozen=True, slots=True)
class PartOrders:
    """Orders that come together, and whose they are."""

    peers: tuple[int, ...]
    orders: bytes


@dataclass(frozen=True, slots=True)
class ClearCall:
    """Arguments of one call of `Clearing.clear`, as far as positions depend on them."""

    cells: bytes
    details: bytes
    orders: bytes


def encode_clearing(proposal: Proposal) -> dict[str, Any]:
    """The `Proposal` struct of the clearing contract."""
    session = proposal.session
    runs = _runs(session.versions)
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
            for flow in clearing.flows_wh
        ),
    }


def encode_orders(proposal: Proposal) -> bytes:
    """All orders of a proposal, one record after the other.

    Raises
    ------
    OracleError
        If a signature is not one of 65 bytes.
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
        If a signature is not one of 65 bytes.
    """
    held = _held(proposal)
    parts: list[PartOrders] = []
    entries = enumerate(proposal.orders)
    for peer, group in groupby(entries, key=lambda entry: entry[1].order.peer):
        records = b"".join(_record(signed, held.get(at, ())) for at, signed in group)
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
    width = words_of(periods) * _LANES
    positions: dict[int, list[int]] = {}
    marginal: _Marginal | None = None
    for call in calls:
        if marginal is None:
            marginal = _Marginal(call.details)
        prices = np.frombuffer(call.cells, ">u4").reshape(-1, 3, _LANES)
        low = prices[:, 0].astype(">i4").astype(np.int64).ravel()
        high = low + prices[:, 1].astype(np.int64).ravel()
        for peer, steps in _read_orders(call.orders):
            energy = positions.setdefault(peer, [0] * periods)
            for step in steps:
                cell = node_of(peer) * width + step.period
                filled = marginal.fill(step, cell, int(low[cell]), int(high[cell]))
                energy[step.period] += filled if step.side is Side.ASK else -filled
    return {peer: tuple(energy) for peer, energy in sorted(positions.items()) if any(energy)}


# ------------------------------------------------------------------------------------------ writing


def _runs(versions: Sequence[Any]) -> list[tuple[int, int]]:
    """First and last-but-one period of each stretch with the same network version."""
    starts = [
        at
        for at in range(len(versions))
        if at == 0 or versions[at].version != versions[at - 1].version
    ]
    return list(zip(starts, [*starts[1:], len(versions)], strict=True))


def _lattice(proposal: Proposal, pick: Callable[[Certificate], Any], fill: int) -> NDArray[Any]:
    """A number for each cell, shape (nodes, 8 x blocks); `fill` where there is none."""
    nodes = len(proposal.session.versions[-1].network.nodes)
    width = words_of(len(proposal.clearings)) * _LANES
    cells = np.full((nodes, width), fill, np.int64)
    for period, certificate in enumerate(proposal.certificates):
        values = pick(certificate)
        cells[: values.size, period] = values
    return cells


def _cells(proposal: Proposal) -> bytes:
    network = proposal.session.versions[-1].network
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    low = _lattice(proposal, lambda each: each.low, floor)
    high = _lattice(proposal, lambda each: each.high, cap)
    high[:, len(proposal.clearings) :] = floor
    ranks = _lattice(proposal, lambda each: each.low_rank << 16 | each.high_rank, 0)
    words = [numbers.reshape(low.shape[0], -1, 1, _LANES) for numbers in (low, high - low, ranks)]
    cells: NDArray[np.uint32] = (np.concatenate(words, axis=2) & 0xFFFFFFFF).astype(">u4")
    return cells.tobytes()


def _details(proposal: Proposal) -> bytes:
    tail = _lattice(proposal, lambda each: each.tail, 0).ravel()
    marginal = [
        _lattice(proposal, pick, 0).ravel()
        for pick in (
            lambda each: each.ask_fill,
            lambda each: each.ask_total,
            lambda each: each.bid_fill,
            lambda each: each.bid_total,
        )
    ]
    has_orders = np.bitwise_or.reduce(marginal) > 0
    details = bytearray()
    for cell in np.flatnonzero((tail != 0) | has_orders).tolist():
        flag = _HAS_MARGINAL if has_orders[cell] else 0
        details += _DETAIL.pack(cell | flag, int(tail[cell]))
        if flag:
            details += _MARGINAL.pack(*(int(column[cell]) for column in marginal))
    return bytes(details)


def _held(proposal: Proposal) -> dict[int, list[int]]:
    """Per order, the lanes that hold a price which no marginal order holds."""
    lines = _lines(proposal)
    held: dict[int, list[int]] = {}
    for period, (book, certificate) in enumerate(
        zip(proposal.books, proposal.certificates, strict=True)
    ):
        named = witnesses(book, certificate)
        for column, flag in ((named.low, 0), (named.high, _IS_HIGHEST)):
            for line in column[column >= 0].tolist():
                order, lane = lines[period][line]
                held.setdefault(order, []).append(lane | flag)
    return held


def _lines(proposal: Proposal) -> list[list[tuple[int, int]]]:
    """Where each line of the books stands: the order, and the lane of its curve."""
    lines: list[list[tuple[int, int]]] = [[] for _ in proposal.books]
    for at, signed in enumerate(proposal.orders):
        first, blocks = signed.order.curve.first_block, signed.order.curve.blocks
        rows = dict.fromkeys(range(len(lines)), 0)
        for step in signed.order.steps:
            lane = rows[step.period] * blocks * _LANES + step.period - first * _LANES
            lines[step.period].append((at, lane))
            rows[step.period] += step.energy_wh > 0
    return lines


def _record(signed: SignedOrder, held: Sequence[int]) -> bytes:
    order = signed.order
    first, blocks, curve = order.curve
    rows = len(curve) // (blocks * _PAIR_BYTES)
    kind = _SIGNED if signed.signature else _PLACED
    head = _HEAD.pack(kind, order.peer, order.nonce, first, blocks, rows, len(held))
    lanes = struct.pack(f">{len(held)}H", *held)
    return head + curve + lanes + _compact(signed)


def _compact(signed: SignedOrder) -> bytes:
    """A signature r, s, v as r, vs (EIP-2098)."""
    signature = signed.signature
    if not signature:
        return b""
    if len(signature) != 65:
        order = signed.order
        raise OracleError(
            f"order {order.nonce} of peer {order.peer} has a signature of {len(signature)} bytes; "
            "what only a wallet's code accepts has to be placed"
        )
    odd = signature[64] - 27
    return signature[:32] + bytes([signature[32] | odd << 7]) + signature[33:64]


# ------------------------------------------------------------------------------------------ reading


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


def _read_orders(orders: bytes) -> Iterator[tuple[int, list[Step]]]:
    at = 0
    while at < len(orders):
        kind, peer, _, first, blocks, rows, held = _HEAD.unpack_from(orders, at)
        at += _HEAD.size
        size = rows * blocks * _PAIR_BYTES
        yield peer, _steps(first, blocks, orders[at : at + size])
        at += size + 2 * held + (_SIGNATURE_BYTES if kind == _SIGNED else 0)


def _steps(first: int, blocks: int, curve: bytes) -> list[Step]:
    """Every lane with energy, row by row; a clearing also takes curves no Python order makes."""
    steps = []
    for at, lanes in enumerate(struct.iter_unpack(">8i8I", curve)):
        start = (first + at % blocks) * _LANES
        for lane in range(_LANES):
            price, entry = lanes[lane], lanes[_LANES + lane]
            if entry >> 1:
                steps.append(Step(start + lane, Side(entry & 1), price, entry >> 1))
    return steps
