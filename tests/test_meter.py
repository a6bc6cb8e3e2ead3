"""Readings as messages: what is hashed, what goes round, what is refused and where."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt.eip712 import Domain
from fairwatt.errors import ReadingError, SignatureError
from fairwatt.lanes import MAX_ENERGY_WH as MOST
from fairwatt.meter import Curve, P256Meter, Reading, SignedReading

METER = Account.from_key(b"\x03" * 32)
DOMAIN = Domain(31337, "0x" + "ab" * 20)
READING = Reading(1, 5, 1893456000, (-100, 0, 250))
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        Reading,
        *(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**40 - 1)),
        st.lists(st.integers(-MOST, MOST), max_size=5).map(tuple),
    )
)
def test_any_reading_goes_round_and_is_signed_as_eth_account_signs_it(reading: Reading) -> None:
    signed = reading.signed_by(METER, DOMAIN)
    document = reading.typed_data(DOMAIN).to_document()
    assert (
        signed.signature == METER.sign_message(encode_typed_data(full_message=document)).signature
    )
    assert SignedReading.from_document(signed.to_document()) == signed
    assert signed.signer(DOMAIN) == METER.address


def test_signature_holds_for_one_reading() -> None:
    signature = READING.signed_by(METER, DOMAIN).signature
    changed = Reading(1, 5, 1893456000, (-100, 0, 251))
    assert SignedReading(changed, signature).signer(DOMAIN) != METER.address


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        *((field, bad, field) for field in ("market", "peer") for bad in (-1, 2**32, "1", True)),
        ("sessionStart", 2**40, "sessionStart"),
        ("sessionStart", 1.0, "sessionStart"),
        ("energyWh", [0, MOST + 1], "energyWh[1]"),
        ("energyWh", [0, -MOST - 1], "energyWh[1]"),
        ("energyWh", [None], "energyWh[0]"),
        ("energyWh", "12", "reading.energyWh"),
        ("note", "hello", "reading"),
    ],
)
def test_malformed_reading_is_refused_with_its_place(field: str, value: object, path: str) -> None:
    document: dict[str, Any] = READING.signed_by(METER, DOMAIN).to_document()
    document["reading"][field] = value
    with pytest.raises(ReadingError) as caught:
        SignedReading.from_document(document)
    assert caught.value.path == path


@pytest.mark.parametrize("document", [None, [], {"reading": {}}, {"reading": 1, "signature": ""}])
def test_what_is_no_signed_reading_is_refused(document: Any) -> None:
    with pytest.raises(ReadingError):
        SignedReading.from_document(document)


@pytest.mark.parametrize("signature", [None, 5, "0xzz"], ids=repr)
def test_signature_that_is_not_hexadecimal(signature: object) -> None:
    with pytest.raises(SignatureError, match="hexadecimal"):
        SignedReading.from_document({"reading": READING.to_document(), "signature": signature})


# -------------------------------------------------------------------------------------- P-256

SECURE = P256Meter.of(7)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, P256_ORDER - 1), st.lists(st.integers(-MOST, MOST), max_size=9).map(tuple))
def test_any_meter_on_p256_signs_with_a_low_s_and_is_recognised(
    secret: int, energy_wh: tuple[int, ...]
) -> None:
    meter = P256Meter.of(secret)
    signed = Reading(1, 5, 1893456000, energy_wh).signed_by(meter, DOMAIN)
    assert signed.curve is Curve.P256
    assert int.from_bytes(signed.signature[32:64]) <= P256_ORDER // 2
    assert signed.signer(DOMAIN) == meter.address
    assert SignedReading.from_document(signed.to_document()) == signed
    assert signed == Reading(1, 5, 1893456000, energy_wh).signed_by(meter, DOMAIN)


def test_meter_on_p256_is_known_by_the_hash_of_its_key() -> None:
    point = READING.signed_by(SECURE, DOMAIN).signature[64:]
    assert SECURE.address.lower() == "0x" + keccak(point)[12:].hex()


def test_document_of_a_reading_says_its_curve_unless_it_is_that_of_wallets() -> None:
    assert READING.signed_by(SECURE, DOMAIN).to_document()["curve"] == "P-256"
    assert "curve" not in READING.signed_by(METER, DOMAIN).to_document()


def test_curve_that_is_not_known_is_refused() -> None:
    document = READING.signed_by(SECURE, DOMAIN).to_document() | {"curve": "ed25519"}
    with pytest.raises(ReadingError) as caught:
        SignedReading.from_document(document)
    assert caught.value.path == "curve"


@pytest.mark.parametrize("part", ["r", "s", "qx", "qy", "reading", "high s", "length"])
def test_signature_on_p256_of_something_else_is_refused(part: str) -> None:
    signed = READING.signed_by(SECURE, DOMAIN)
    raw, reading = bytearray(signed.signature), READING
    if part == "reading":
        reading = Reading(1, 5, 1893456000, (-100, 0, 251))
    elif part == "high s":
        raw[32:64] = (P256_ORDER - int.from_bytes(raw[32:64])).to_bytes(32, "big")
    elif part == "length":
        raw = raw[:65]
    else:
        raw[32 * ("r", "s", "qx", "qy").index(part) + 31] ^= 1
    with pytest.raises(SignatureError):
        SignedReading(reading, bytes(raw), Curve.P256).signer(DOMAIN)


@pytest.mark.parametrize("secret", [0, P256_ORDER, -1])
def test_number_that_is_no_key_on_p256_is_refused(secret: int) -> None:
    with pytest.raises(SignatureError):
        P256Meter.of(secret)
