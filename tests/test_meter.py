"""Readings as messages: what is hashed, what goes round, what is refused and where."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt.eip712 import Domain
from fairwatt.errors import ReadingError, SignatureError
from fairwatt.meter import Reading, SignedReading

METER = Account.from_key(b"\x03" * 32)
DOMAIN = Domain(31337, "0x" + "ab" * 20)
READING = Reading(1, 5, 1893456000, (-100, 0, 250))
MOST = 2**47 - 1


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
        SignedReading.from_document({"reading": READING.to_message(), "signature": signature})
