"""Changes of a clearing as it is sent: blind ones of its bytes, and those of a sly solver.

A sly solver keeps what it can: it moves energy along links and makes the nodes balance again, moves
prices together, gives tails and ranks that fit. Some changes are of the market itself, with the
clearing of before.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.proofs.packed import LANES, Frame, Link, Sent, supports_offset

if TYPE_CHECKING:
    from tests.proofs.oracle import Units

BID_TAIL = 2**41
_HAS_MARGINAL = 1 << 15
_HEAD_BYTES = 9


@dataclass
class Detail:
    """What `details` say of a cell."""

    tail: int = 0
    marginal: list[int] | None = None


@dataclass
class Draft:
    """A clearing in parts that are easy to change."""

    frame: Frame
    cells: bytearray
    details: dict[int, Detail]
    flows: bytearray
    curves: list[bytearray]
    supports: list[list[int]]
    chance: random.Random
    units: Units
    loose: list[str] = field(default_factory=list)
    """What is changed only once everything is packed."""

    @classmethod
    def of(cls, sent: Sent, units: Units, chance: random.Random) -> Draft:
        curves, supports = [], []
        for record in sent.records:
            at = supports_offset(record)
            curves.append(bytearray(record[:at]))
            supports.append(list(struct.unpack(f">{record[8]}H", record[at:])))
        return cls(
            sent.frame,
            bytearray(sent.cells),
            _details(sent.details),
            bytearray(sent.flows),
            curves,
            supports,
            chance,
            units,
        )

    def sent(self) -> Sent:
        details = bytearray()
        for cell, detail in sorted(self.details.items()):
            flag = 0 if detail.marginal is None else _HAS_MARGINAL
            details += struct.pack(">Hq", (cell | flag) & 0xFFFF, _int64(detail.tail))
            if detail.marginal is not None:
                details += struct.pack(">4Q", *(each & (2**64 - 1) for each in detail.marginal))
        records = []
        for curve, supports in zip(self.curves, self.supports, strict=True):
            kept = supports[:255]
            curve[8] = len(kept)
            records.append(bytearray(curve) + struct.pack(f">{len(kept)}H", *kept))
        parts = {"cells": self.cells, "details": details, "flows": self.flows}
        for loose in self.loose:
            _spoil(parts, records, loose, self.chance)
        return Sent(
            self.frame,
            bytes(parts["cells"]),
            bytes(parts["details"]),
            bytes(parts["flows"]),
            tuple(bytes(record) for record in records),
        )

    # --------------------------------------------------------------------------------------- places

    def cell(self) -> tuple[int, int]:
        """A random node and period."""
        return self.chance.randrange(self.frame.nodes), self.chance.randrange(self.frame.periods)

    def detail(self, node: int, period: int) -> Detail:
        return self.details.setdefault(node * self.frame.width + period, Detail())

    def low_high(self, node: int, period: int) -> tuple[int, int]:
        at = self._lane(node, period)
        (low,), (width,) = (
            struct.unpack_from(">i", self.cells, at),
            struct.unpack_from(">I", self.cells, at + 32),
        )
        return low, low + width

    def set_low_high(self, node: int, period: int, low: int, high: int) -> None:
        """Prices outside of the bounds are refused at once, so most are brought back into them."""
        at = self._lane(node, period)
        if self.chance.random() < 0.9:
            low = min(max(low, self.frame.floor), self.frame.cap)
            high = min(max(high, low), self.frame.cap)
        struct.pack_into(">I", self.cells, at, low & 0xFFFFFFFF)
        struct.pack_into(">I", self.cells, at + 32, (high - low) & 0xFFFFFFFF)

    def _lane(self, node: int, period: int) -> int:
        block, lane = divmod(period, LANES)
        return (node * self.frame.width // LANES + block) * 96 + lane * 4

    def set_rank(self, node: int, period: int, *, highest: bool, rank: int) -> None:
        struct.pack_into(">H", self.cells, self._lane(node, period) + 64 + 2 * highest, rank)

    def flow(self, link: int, period: int) -> int:
        at = (period * len(self.frame.links) + link) * 5
        return int.from_bytes(self.flows[at : at + 5], "big")

    def set_flow(self, link: int, period: int, flow: int) -> None:
        at = (period * len(self.frame.links) + link) * 5
        self.flows[at : at + 5] = (flow % 2**40).to_bytes(5, "big")

    def step_of_energy(self) -> int:
        return self.chance.choice((1, self.units.energy, self.units.energy))

    def step_of_price(self) -> int:
        return self.chance.choice((-1, 1)) * self.chance.choice((1, self.units.price))


def _details(packed: bytes) -> dict[int, Detail]:
    found, at = {}, 0
    while at < len(packed):
        head, tail = struct.unpack_from(">Hq", packed, at)
        at += 10
        found[head & ~_HAS_MARGINAL] = detail = Detail(tail)
        if head & _HAS_MARGINAL:
            detail.marginal = list(struct.unpack_from(">4Q", packed, at))
            at += 32
    return found


def _int64(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


# ------------------------------------------------------------------------------------------- prices


def _price(draft: Draft) -> None:
    """One lowest or highest price, or both."""
    node, period = draft.cell()
    low, high = draft.low_high(node, period)
    step = draft.step_of_price()
    other = draft.chance.choice((draft.frame.floor, draft.frame.cap, low, high, low + step))
    match draft.chance.randrange(4):
        case 0:
            low += step
        case 1:
            high += step
        case 2:
            low, high = low + step, high + step
        case _:
            low, high = draft.chance.choice(((other, high), (low, other), (other, other)))
    draft.set_low_high(node, period, low, high)


def _prices(draft: Draft) -> None:
    """The prices of several nodes together."""
    period, step = draft.chance.randrange(draft.frame.periods), draft.step_of_price()
    ends = draft.chance.choice(((1, 0), (0, 1), (1, 1)))
    for node in range(draft.frame.nodes):
        if draft.chance.random() < 0.7:
            low, high = draft.low_high(node, period)
            draft.set_low_high(node, period, low + ends[0] * step, high + ends[1] * step)


def _rank(draft: Draft) -> None:
    """Ranks of a few cells."""
    for _ in range(draft.chance.randint(1, 3)):
        node, period = draft.cell()
        draft.set_rank(
            node,
            period,
            highest=draft.chance.random() < 0.5,
            rank=draft.chance.choice((0, 1, 2, 3, 4, 2**16 - 1)),
        )


# ------------------------------------------------------------------------------------------- ties


def _tail(draft: Draft) -> None:
    """Tails of one cell, or of all of a period."""
    node, period = draft.cell()
    nodes = range(draft.frame.nodes) if draft.chance.random() < 0.3 else (node,)
    by = draft.chance.choice((0, 1, -1, *draft.frame.tails, *(-t for t in draft.frame.tails)))
    origin = draft.chance.choice((None, 0, BID_TAIL))
    for each in nodes:
        detail = draft.detail(each, period)
        detail.tail = (detail.tail if origin is None else origin) + by


def _marginal(draft: Draft) -> None:
    """What is filled of marginal orders, or what there is of them."""
    marginal = [detail for detail in draft.details.values() if detail.marginal is not None]
    if not marginal or draft.chance.random() < 0.1:
        draft.detail(*draft.cell()).marginal = [draft.chance.choice((0, 1, 2)) for _ in range(4)]
        return
    numbers = draft.chance.choice(marginal).marginal
    assert numbers is not None
    at = draft.chance.randrange(4)
    _change(draft, numbers, at)
    if draft.chance.random() < 0.8:  # more than there is would be refused at once
        numbers[0] = min(max(numbers[0], 0), numbers[1])
        numbers[2] = min(max(numbers[2], 0), numbers[3])


def _change(draft: Draft, numbers: list[int], at: int) -> None:
    step = draft.step_of_energy() * draft.chance.choice((-1, 1))
    match draft.chance.randrange(4):
        case 0:
            numbers[at] += step
        case 1:  # both sides trade more, or less, so the cell stays in balance
            numbers[0] += step
            numbers[2] += step
        case 2:
            numbers[at] = draft.chance.choice((0, *numbers, 2**62))
        case _:
            numbers[:] = numbers[2:] + numbers[:2]


# ------------------------------------------------------------------------------------------- flows


def _flow(draft: Draft) -> None:
    """One flow."""
    if draft.frame.links:
        link = draft.chance.randrange(len(draft.frame.links))
        period = draft.chance.randrange(draft.frame.periods)
        step, capacity = draft.step_of_energy(), draft.frame.links[link].capacity
        old = draft.flow(link, period)
        new = draft.chance.choice((old + step, old - step, 0, capacity, capacity + 1))
        if draft.chance.random() < 0.8:
            new = min(max(new, 0), capacity)
        draft.set_flow(link, period, new)


def _reroute(draft: Draft) -> None:
    """Other flows, with marginal orders that balance the nodes again where there are some."""
    if not draft.frame.links:
        return
    period, step = draft.chance.randrange(draft.frame.periods), draft.step_of_energy()
    surplus = [0] * draft.frame.nodes
    for _ in range(draft.chance.randint(1, 3)):
        at = draft.chance.randrange(len(draft.frame.links))
        link, old = draft.frame.links[at], draft.flow(at, period)
        new = min(max(old + draft.chance.choice((-step, step)), 0), link.capacity)
        by = new - old
        draft.set_flow(at, period, new)
        surplus[link.source] -= by
        surplus[link.target] += by
    for node, more in enumerate(surplus):
        detail = draft.details.get(node * draft.frame.width + period)
        if more and detail is not None and detail.marginal is not None:
            if draft.chance.random() < 0.5:
                detail.marginal[0] -= more
            else:
                detail.marginal[2] += more
    if draft.chance.random() < 0.5:
        _tail(draft)


# ----------------------------------------------------------------------------------------- supports


def _support(draft: Draft) -> None:
    """Steps that hold a price: one less, one more, another."""
    if not draft.supports:
        return
    held = draft.chance.choice(draft.supports)
    entry = draft.chance.randrange(40) | draft.chance.choice((0, _HAS_MARGINAL))
    if held and draft.chance.random() < 0.6:
        at = draft.chance.randrange(len(held))
        if draft.chance.random() < 0.5:
            held.pop(at)
        else:
            held[at] = draft.chance.choice((entry, held[at] ^ _HAS_MARGINAL, held[at] + 8))
    else:
        held.append(entry)


# -------------------------------------------------------------------------------------------- bytes


def _bytes(draft: Draft) -> None:
    """Some bytes, whatever they mean."""
    draft.loose.append("bytes")


def _cut(draft: Draft) -> None:
    """A part that is longer or shorter, or has two words swapped."""
    draft.loose.append("cut")


def _spoil(  # noqa: C901 - way by way
    parts: dict[str, bytearray], records: list[bytearray], how: str, chance: random.Random
) -> None:
    name = chance.choice(("cells", "cells", "details", "flows", "supports"))
    part, start = parts.get(name), 0
    if part is None:
        if not records:
            return
        part = chance.choice(records)
        start = supports_offset(part)
    size = len(part) - start
    if how == "bytes":
        for _ in range(chance.choice((1, 1, 2, 4))):
            if size:
                at = start + chance.randrange(size)
                part[at] = chance.choice(
                    (part[at] ^ 1 << chance.randrange(8), chance.randrange(256))
                )
        return
    if name == "supports" or not size:
        return
    at, length = chance.randrange(size), chance.choice((1, 5, 10, 32, 42, 96))
    match chance.randrange(4):
        case 0:
            del part[at : at + length]
        case 1:
            part[at:at] = part[at : at + length]
        case 2:
            part += bytes(chance.choice((length, 1)))
        case _:
            to = chance.randrange(size)
            one, other = part[at : at + length], part[to : to + length]
            if len(one) == len(other):
                part[at : at + length], part[to : to + length] = other, one


# ------------------------------------------------------------------------------------------- market


def _order(draft: Draft) -> None:
    """The price, energy, side or period of a step, or the node of a peer."""
    if not draft.curves:
        return
    curve, units = draft.chance.choice(draft.curves), draft.units
    if draft.chance.random() < 0.1:
        struct.pack_into(">H", curve, 0, draft.chance.randrange(draft.frame.nodes))
        return
    pairs = (len(curve) - _HEAD_BYTES) // 64
    places = [
        _HEAD_BYTES + 64 * pair + 4 * lane
        for pair in range(pairs)
        for lane in range(LANES)
        if any(curve[_HEAD_BYTES + 64 * pair + 32 + 4 * lane :][:4])
    ]
    if not places:
        return
    at = draft.chance.choice(places)
    (price,), (step,) = (
        struct.unpack_from(">i", curve, at),
        struct.unpack_from(">I", curve, at + 32),
    )
    match draft.chance.randrange(4):
        case 0:  # another period, which the session may not have
            struct.pack_into(">i", curve, at, 0)
            struct.pack_into(">I", curve, at + 32, 0)
            pair = (at - _HEAD_BYTES) // 64
            at = _HEAD_BYTES + 64 * pair + 4 * draft.chance.randrange(LANES)
        case 1:
            price += draft.chance.choice((-1, 1)) * units.price
            price = min(max(price, draft.frame.floor), draft.frame.cap)
        case 2:
            step = max(step + draft.chance.choice((-2, 2)) * units.energy, 0)
        case _:
            step ^= 1
    struct.pack_into(">i", curve, at, price)
    struct.pack_into(">I", curve, at + 32, step)


def _link(draft: Draft) -> None:
    """Tariff, capacity or tail of a link."""
    links, tails = list(draft.frame.links), list(draft.frame.tails)
    if not links:
        return
    at, units = draft.chance.randrange(len(links)), draft.units
    link, step = links[at], draft.chance.choice((-1, 1))
    match draft.chance.randrange(4):
        case 0:
            links[at] = Link(
                *link[:3], min(2**32 - 1, max(0, link.tariff + step * units.price)), link.capacity
            )
        case 1:
            links[at] = Link(*link[:4], max(0, link.capacity + step * units.energy))
        case 2:
            links[at] = Link(link.target, link.source, *link[2:])
        case _:
            tails[at] = draft.chance.choice((1, 2**24, *draft.frame.tails))
    draft.frame = draft.frame._replace(links=tuple(links), tails=tuple(tails))


def _limit(draft: Draft) -> None:
    """What a connection carries."""
    draft.frame = draft.frame._replace(limit=draft.chance.randrange(8) * draft.units.energy)


def _peers(draft: Draft) -> None:
    """Peers in another sequence."""
    pairs = list(zip(draft.curves, draft.supports, strict=True))
    draft.chance.shuffle(pairs)
    draft.curves = [curve for curve, _ in pairs]
    draft.supports = [supports for _, supports in pairs]


_WEIGHTS = {
    _price: 5,
    _prices: 3,
    _rank: 2,
    _tail: 4,
    _marginal: 4,
    _flow: 3,
    _reroute: 5,
    _support: 3,
    _bytes: 5,
    _cut: 1,
    _order: 2,
    _link: 2,
    _limit: 1,
    _peers: 1,
}
_MOVES, _OFTEN = list(_WEIGHTS), list(_WEIGHTS.values())


def mutate(sent: Sent, units: Units, chance: random.Random, moves: int) -> tuple[Sent, list[str]]:
    """`sent` after so many changes, and what they were."""
    draft = Draft.of(sent, units, chance)
    chosen = chance.choices(_MOVES, _OFTEN, k=moves)
    for move in chosen:
        move(draft)
    return draft.sent(), [move.__name__.lstrip("_") for move in chosen]
