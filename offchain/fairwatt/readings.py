"""The calldata of a reconciliation: leaves of positions and records of readings.

The layout is that of `ISettlement`. Whoever reads it needs no account of the market's: a
transaction carries all that it settles, so `decode_readings` is also how a settlement is audited.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fairwatt.eip712 import compact, expanded
from fairwatt.errors import LaneError, ReadingError, SignatureError
from fairwatt.lanes import WORD_BYTES, pack_energies, position_leaves, unpack_energies, words_of
from fairwatt.meter import Curve, Reading, SignedReading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Brought", "ReadingRecord", "bring", "decode_readings", "encode_readings"]

_LAYOUT: Final = 1
_HEADER: Final = struct.Struct(">BIII")  # flags, peer, leaf, tariff
_KIND: Final = 3  # of the flags
_HAS_POSITION: Final = 4
_KINDS: Final = {None: 0, Curve.SECP256K1: 1, Curve.P256: 2}
_CURVES: Final = {kind: curve for curve, kind in _KINDS.items()}
_SIGNATURE_BYTES: Final = {0: 0, 1: 64, 2: 128}


@dataclass(frozen=True, slots=True)
class ReadingRecord:
    """A reading as it is brought to a reconciliation, or the lack of one.

    Parameters
    ----------
    leaf
        Index of the peer's leaf, or, if it has no position, of the first leaf of a later peer.
    tariff
        Index of its supplier's tariff in force at the start of the session.
    position_wh
        None if it has no position.
    signed
        None for an estimate.
    """

    peer: int
    leaf: int
    tariff: int
    position_wh: tuple[int, ...] | None
    signed: SignedReading | None


@dataclass(frozen=True, slots=True)
class Brought:
    """What `reconcile` takes besides market and session."""

    leaves: tuple[bytes, ...]
    readings: bytes


def bring(
    positions_wh: Mapping[int, Sequence[int]],
    readings: Iterable[SignedReading],
    *,
    missing: Iterable[int] = (),
    tariffs: Mapping[int, int],
) -> Brought:
    """Lay out readings of a session, and then peers whose readings are missing.

    Parameters
    ----------
    positions_wh
        All positions of the session, by peer.
    tariffs
        Per peer: index of its supplier's tariff in force at the start of the session.
    """
    peers = sorted(positions_wh)
    brought = [(signed.reading.peer, signed) for signed in readings]
    records = [
        ReadingRecord(
            peer,
            bisect_left(peers, peer),
            tariffs[peer],
            tuple(positions_wh[peer]) if peer in positions_wh else None,
            signed,
        )
        for peer, signed in [*brought, *((peer, None) for peer in missing)]
    ]
    return Brought(position_leaves(positions_wh), encode_readings(records))


def encode_readings(records: Iterable[ReadingRecord]) -> bytes:
    """Lay out records.

    Raises
    ------
    SignatureError
        If a signature is in none of the forms that the contract takes.
    """
    return bytes([_LAYOUT]) + b"".join(map(_encode, records))


def decode_readings(
    readings: bytes, *, market: int, session_start: int, periods: int
) -> tuple[ReadingRecord, ...]:
    """Read what `encode_readings` laid out, or found in the calldata of a transaction.

    Raises
    ------
    ReadingError
        If it is no such layout; the path is the number of the record.
    """
    if readings[:1] != bytes([_LAYOUT]):
        raise ReadingError("", f"readings start with the byte {_LAYOUT}, their layout")
    records: list[ReadingRecord] = []
    at = 1
    while at < len(readings):
        try:
            record, at = _decode(readings, at, market, session_start, periods)
        except LaneError as error:
            raise ReadingError(f"[{len(records)}]", str(error)) from error
        except _Malformed as error:
            raise ReadingError(f"[{len(records)}]", str(error)) from None
        records.append(record)
    return tuple(records)


class _Malformed(Exception):  # noqa: N818 (never leaves this module)
    pass


def _encode(record: ReadingRecord) -> bytes:
    flags = _KINDS[record.signed.curve if record.signed else None]
    if record.position_wh is not None:
        flags |= _HAS_POSITION
    parts = [_HEADER.pack(flags, record.peer, record.leaf, record.tariff)]
    if record.position_wh is not None:
        parts.append(pack_energies(record.position_wh))
    if record.signed is not None:
        parts.append(pack_energies(record.signed.reading.energy_wh))
        parts.append(_signature(record.signed))
    return b"".join(parts)


def _decode(
    readings: bytes, at: int, market: int, session_start: int, periods: int
) -> tuple[ReadingRecord, int]:
    kind, position = readings[at] & _KIND, readings[at] & _HAS_POSITION
    if readings[at] > _KIND | _HAS_POSITION or kind not in _CURVES:
        raise _Malformed(f"no record starts with the flags {readings[at]}")
    energy_bytes = words_of(periods) * WORD_BYTES
    position_at = at + _HEADER.size
    reading_at = position_at + (energy_bytes if position else 0)
    signature_at = reading_at + (energy_bytes if kind else 0)
    end = signature_at + _SIGNATURE_BYTES[kind]
    if end > len(readings):
        raise _Malformed(f"takes {end - at} bytes, and only {len(readings) - at} are left")
    _, peer, leaf, tariff = _HEADER.unpack_from(readings, at)
    signed = None
    if (curve := _CURVES[kind]) is not None:
        energies = unpack_energies(readings[reading_at:signature_at], periods)
        reading = Reading(market, peer, session_start, energies)
        raw = readings[signature_at:end]
        signed = SignedReading(reading, raw if curve is Curve.P256 else expanded(raw), curve)
    position_wh = unpack_energies(readings[position_at:reading_at], periods) if position else None
    return ReadingRecord(peer, leaf, tariff, position_wh, signed), end


def _signature(signed: SignedReading) -> bytes:
    """As it stands in the calldata: compact on secp256k1, as it is on P-256."""
    if signed.curve is Curve.SECP256K1:
        return compact(signed.signature)
    if len(signed.signature) != _SIGNATURE_BYTES[_KINDS[Curve.P256]]:
        raise SignatureError(f"a signature on P-256 has 128 bytes, not {len(signed.signature)}")
    return signed.signature
