"""Energies of a session as the contracts take them: words of eight lanes of 32 bits.

Lane i of word k, the first being the most significant, is period 8k + i and holds
`|energy_wh| << 1 | negative`; lanes beyond the last period are 0.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from eth_utils.crypto import keccak

from fairwatt.errors import LaneError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "LANES",
    "MAX_ENERGY_WH",
    "WORD_BYTES",
    "chained",
    "pack_energies",
    "position_leaf",
    "position_leaves",
    "positions_hash",
    "unpack_energies",
    "words_of",
]

MAX_ENERGY_WH: Final = (1 << 31) - 1
"""The most energy that fits a lane."""
LANES: Final = 8
"""Lanes of a word, and so periods of a block."""
WORD_BYTES: Final = 32
_NO_POSITIONS: Final = (1).to_bytes(WORD_BYTES, "big")


def words_of(periods: int) -> int:
    """How many words the energies of a session take."""
    return -(-periods // LANES)


def pack_energies(energy_wh: Sequence[int]) -> bytes:
    """The words of energies, one per period.

    Raises
    ------
    LaneError
        If an energy does not fit its lane.
    """
    for at, energy in enumerate(energy_wh):
        if not -MAX_ENERGY_WH <= energy <= MAX_ENERGY_WH:
            raise LaneError(f"{energy} Wh in period {at} do not fit a lane")
    lanes = [abs(energy) << 1 | (energy < 0) for energy in energy_wh]
    lanes += [0] * (words_of(len(energy_wh)) * LANES - len(energy_wh))
    return struct.pack(f">{len(lanes)}I", *lanes)


def unpack_energies(words: bytes, periods: int) -> tuple[int, ...]:
    """The energies of words.

    Raises
    ------
    LaneError
        If they are more or fewer than the periods take, a lane beyond the last period is used,
        or a zero is negative.
    """
    expected = words_of(periods) * WORD_BYTES
    if len(words) != expected:
        raise LaneError(f"{periods} periods take {expected} bytes, not {len(words)}")
    lanes = struct.unpack(f">{expected // 4}I", words)
    if any(lanes[periods:]):
        raise LaneError(f"a lane beyond the {periods} periods is used")
    if 1 in lanes:
        raise LaneError(f"the zero of period {lanes.index(1)} is negative")
    return tuple(-(lane >> 1) if lane & 1 else lane >> 1 for lane in lanes[:periods])


def position_leaf(peer: int, energy_wh: Sequence[int]) -> bytes:
    """The leaf of a position: the peer, then the upper 224 bits of the hash of its words."""
    return peer.to_bytes(4, "big") + bytes(keccak(pack_energies(energy_wh)))[:28]


def position_leaves(positions_wh: Mapping[int, Sequence[int]]) -> tuple[bytes, ...]:
    """The leaves of the positions of a cleared session, in order of the peers."""
    return tuple(position_leaf(peer, positions_wh[peer]) for peer in sorted(positions_wh))


def positions_hash(leaves: Iterable[bytes]) -> bytes:
    """What the clearing keeps of the leaves of a cleared session."""
    chain = chained(leaves)
    return chain if any(chain) else _NO_POSITIONS


def chained(leaves: Iterable[bytes], start: bytes = bytes(WORD_BYTES)) -> bytes:
    """The chained hash over leaves, as the clearing keeps it: h = keccak256(h, leaf)."""
    for leaf in leaves:
        start = bytes(keccak(start + leaf))
    return start
