"""Clearings that come in several parts, as a solver sends them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from fairwatt.calldata import NOTHING_CARRIED, encode_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.community import Community

    from fairwatt.chain import Receipt
    from fairwatt.proposal import Proposal

_HEAD = struct.Struct(">BIIHHHB")  # kind, peer, nonce, first block, blocks, rows, supports


def records(orders: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of packed orders, each with its peer."""
    at = 0
    while at < len(orders):
        kind, peer, _, _, blocks, rows, supports = _HEAD.unpack_from(orders, at)
        end = at + _HEAD.size + 64 * blocks * rows + 2 * supports + (0 if kind else 64)
        yield peer, orders[at:end]
        at = end


def split(orders: bytes, first_of_second: int) -> tuple[bytes, bytes]:
    """Two parts, the second with the peers from this one on."""
    found = list(records(orders))
    return (
        b"".join(record for peer, record in found if peer < first_of_second),
        b"".join(record for peer, record in found if peer >= first_of_second),
    )


def carried(receipt: Receipt) -> dict[str, Any]:
    """What a part that was accepted leaves for the next one."""
    return dict(zip(NOTHING_CARRIED, receipt.events[-1].carried, strict=True))


def in_two_parts(
    community: Community, proposal: Proposal, first_of_second: int
) -> tuple[Receipt, Receipt]:
    """Clear a session whose gate is closed: earlier peers first, then those from this one on."""
    message, part, nothing, _ = community.chain.clearing_arguments(proposal, community.solver)
    clear = community.chain.contracts.clearing.clear
    # Peers of one roster page only, or else each part would name its own rosters.
    assert len(part["rosters"]) <= 1
    of_each = encode_parts(proposal, 1)
    halves = (
        b"".join(one.orders for one in of_each if (one.peers < (first_of_second,)) == is_first)
        for is_first in (True, False)
    )
    both = [
        part | {"orders": orders, "rosters": part["rosters"] if orders else []} for orders in halves
    ]
    first = community.send(clear, message, both[0], nothing, False, sender=community.solver)
    rest = carried(first)
    last = community.send(clear, message, both[1], rest, True, sender=community.solver)
    return first, last
