"""The calldata of a reconciliation: what goes round, and what is no layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt.eip712 import Domain
from fairwatt.errors import ReadingError, SignatureError
from fairwatt.lanes import MAX_ENERGY_WH, pack_energies, position_leaves
from fairwatt.meter import P256Meter, Reading, SignedReading
from fairwatt.readings import ReadingRecord, bring, decode_readings, encode_readings

DOMAIN = Domain(31337, "0x" + "ab" * 20)
MARKET, START = 1, 1_893_456_000
METERS = (Account.from_key(b"\x03" * 32), P256Meter.of(3))


@st.composite
def records(draw: Any, periods: int) -> ReadingRecord:
    energies = st.lists(
        st.integers(-MAX_ENERGY_WH, MAX_ENERGY_WH), min_size=periods, max_size=periods
    ).map(tuple)
    numbers = st.integers(0, 2**32 - 1)
    peer = draw(numbers)
    meter = draw(st.sampled_from((None, *METERS)))
    signed = None
    if meter is not None:
        signed = Reading(MARKET, peer, START, draw(energies)).signed_by(meter, DOMAIN)
    position = draw(st.none() | energies)
    return ReadingRecord(peer, draw(numbers), draw(numbers), position, signed)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 20))
def test_any_records_go_round(data: Any, periods: int) -> None:
    brought = data.draw(st.lists(records(periods), max_size=5))
    raw = encode_readings(brought)
    decoded = decode_readings(raw, market=MARKET, session_start=START, periods=periods)
    assert decoded == tuple(brought)
    assert encode_readings(decoded) == raw
    for record in decoded:
        if record.signed is not None:
            signer = record.signed.signer(DOMAIN)
            assert signer in {meter.address for meter in METERS}


@pytest.mark.parametrize("meter", METERS, ids=["secp256k1", "P-256"])
def test_record_is_laid_out_as_the_interface_says(meter: Any) -> None:
    signed = Reading(MARKET, 5, START, (-7,)).signed_by(meter, DOMAIN)
    brought = bring({2: (1,), 5: (3,)}, [signed], missing=[4], tariffs={4: 8, 5: 9})
    assert brought.leaves == position_leaves({2: (1,), 5: (3,)})
    kind = METERS.index(meter) + 1
    header = bytes([kind + 4]) + b"".join(n.to_bytes(4, "big") for n in (5, 1, 9))
    words = pack_energies((3,)) + pack_energies((-7,))
    raw = brought.readings
    assert raw[:78] == b"\1" + header + words
    assert raw[-13:] == bytes([0]) + b"".join(n.to_bytes(4, "big") for n in (4, 1, 8))
    assert len(raw) == 78 + (64, 128)[kind - 1] + 13


def test_reading_without_a_position_names_the_place_where_it_would_be() -> None:
    positions = {2: (1,), 5: (3,)}
    raw = bring(positions, [], missing=[1, 3, 9], tariffs=dict.fromkeys((1, 3, 9), 0)).readings
    decoded = decode_readings(raw, market=MARKET, session_start=START, periods=1)
    assert [(record.peer, record.leaf, record.position_wh) for record in decoded] == [
        (1, 0, None),
        (3, 1, None),
        (9, 2, None),
    ]


ESTIMATE = encode_readings([ReadingRecord(1, 0, 0, (5,), None)])
SIGNED = encode_readings(
    [ReadingRecord(1, 0, 0, None, Reading(MARKET, 1, START, (5,)).signed_by(METERS[0], DOMAIN))]
)


@pytest.mark.parametrize(
    ("raw", "path", "problem"),
    [
        (b"", "", "start with the byte 1"),
        (b"\2", "", "start with the byte 1"),
        (b"\1\3", "[0]", "flags 3"),
        (b"\1\x08", "[0]", "flags 8"),
        (b"\1\0", "[0]", "takes 13 bytes, and only 1 are left"),
        (ESTIMATE[:-1], "[0]", "takes 45 bytes, and only 44 are left"),
        (ESTIMATE + b"\0", "[1]", "takes 13 bytes, and only 1 are left"),
        (SIGNED[:-1], "[0]", "takes 109 bytes, and only 108 are left"),
        (ESTIMATE[:-1] + b"\1", "[0]", "beyond the 1 periods"),
    ],
)
def test_what_is_no_layout_is_refused_with_its_place(raw: bytes, path: str, problem: str) -> None:
    with pytest.raises(ReadingError, match=problem) as caught:
        decode_readings(raw, market=MARKET, session_start=START, periods=1)
    assert caught.value.path == path


def _altered(meter: Any, change: Any) -> SignedReading:
    signed = Reading(MARKET, 1, START, (5,)).signed_by(meter, DOMAIN)
    return replace(signed, signature=change(signed.signature))


@pytest.mark.parametrize(
    "signed",
    [
        _altered(METERS[0], lambda raw: raw[:-1]),
        _altered(METERS[0], lambda raw: raw[:-1] + b"\0"),
        _altered(METERS[0], lambda raw: raw[:32] + b"\xff" + raw[33:]),
        _altered(METERS[1], lambda raw: raw[:-1]),
    ],
    ids=["64 bytes", "v = 0", "high s", "127 bytes"],
)
def test_signature_without_a_short_form_is_refused(signed: SignedReading) -> None:
    with pytest.raises(SignatureError):
        encode_readings([ReadingRecord(1, 0, 0, None, signed)])
