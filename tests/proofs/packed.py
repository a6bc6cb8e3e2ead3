"""A clearing read back from what the harness is sent, by docs/calldata.md and nothing else.

What the fuzzer changes are bytes, so what they say has to be found out without the package, which
would be asked whether its own reading is right.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

LANES = 8
_HEAD = struct.Struct(">HHHHB")


class Link(NamedTuple):
    source: int
    target: int
    owner: int
    tariff: int
    capacity: int


class Frame(NamedTuple):
    """The first argument of the harness."""

    nodes: int
    periods: int
    floor: int
    cap: int
    limit: int
    links: tuple[Link, ...]
    tails: tuple[int, ...]

    @property
    def width(self) -> int:
        """Cells of a node."""
        return -(-self.periods // LANES) * LANES


class Step(NamedTuple):
    """A step of an order, in the sequence in which ties are shared."""

    peer: int
    node: int
    period: int
    is_ask: bool
    price: int
    energy: int


@dataclass(frozen=True)
class Sent:
    """All arguments of the harness but the number of peers, which is that of its records."""

    frame: Frame
    cells: bytes
    details: bytes
    flows: bytes
    records: tuple[bytes, ...]

    def malformed(self) -> str:
        """What is wrong with the form of cells and details, or nothing."""
        if len(self.cells) != self.frame.nodes * self.frame.width // LANES * 96:
            return "cells are not three words for each node and block"
        at, before = 0, -1
        while at < len(self.details):
            if at + 10 > len(self.details):
                return "a detail is cut off"
            (head,) = struct.unpack_from(">H", self.details, at)
            cell, size = head & 0x7FFF, 42 if head >> 15 else 10
            if at + size > len(self.details):
                return "a detail is cut off"
            if not before < cell < self.frame.nodes * self.frame.width:
                return f"the detail of cell {cell} is not in its place"
            at, before = at + size, cell
        return ""

    def low_high(self, node: int, period: int) -> tuple[int, int]:
        """Claimed lowest and highest price of a cell."""
        at = self.cell_offset(node, period)
        (low,) = struct.unpack_from(">i", self.cells, at)
        (width,) = struct.unpack_from(">I", self.cells, at + 32)
        return low, low + width

    def cell_offset(self, node: int, period: int) -> int:
        """Where the lane of a cell stands in its first word."""
        block, lane = divmod(period, LANES)
        return (node * self.frame.width // LANES + block) * 96 + lane * 4

    def flow(self, link: int, period: int) -> int:
        """Claimed flow, Wh."""
        at = (period * len(self.frame.links) + link) * 5
        return int.from_bytes(self.flows[at : at + 5], "big")

    def steps(self) -> list[Step]:
        """Every step with energy, as the contract adds them: record by record, row by row."""
        found = []
        for peer, record in enumerate(self.records):
            node, first, blocks, rows, _ = _HEAD.unpack_from(record)
            for pair in range(rows * blocks):
                lanes = struct.unpack_from(">8i8I", record, _HEAD.size + 64 * pair)
                start = (first + pair % blocks) * LANES
                for lane in range(LANES):
                    price, step = lanes[lane], lanes[LANES + lane]
                    if step > 1:
                        found.append(
                            Step(peer, node, start + lane, bool(step & 1), price, step >> 1)
                        )
        return found


def supports_offset(record: bytes) -> int:
    """Where the supports of a record begin."""
    _, _, blocks, rows, _ = _HEAD.unpack_from(record)
    return _HEAD.size + 64 * blocks * rows
