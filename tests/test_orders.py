"""Orders as messages: what is hashed, what goes round, what is refused and where."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt.eip712 import Domain, recover
from fairwatt.errors import OrderError, SignatureError
from fairwatt.market import Side
from fairwatt.orders import MAX_ENERGY_WH, Order, SignedOrder, Step

PEER = Account.from_key(b"\x01" * 32)
STRANGER = Account.from_key(b"\x02" * 32)
DOMAIN = Domain(31337, "0x" + "ab" * 20)
ORDER = Order(1, 5, 1893456000, (Step(0, Side.ASK, 50000, 200000),), 7)
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def uint(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


steps = st.builds(
    Step,
    st.one_of(uint(5), uint(9)),
    st.sampled_from(Side),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(1, MAX_ENERGY_WH),
)
orders = st.builds(
    Order,
    *(uint(32), uint(32), uint(40)),
    st.lists(steps, min_size=1, max_size=12).map(tuple),
    uint(32),
)


@settings(max_examples=50, deadline=None)
@given(orders)
def test_any_order_goes_round_and_is_signed_as_eth_account_signs_it(order: Order) -> None:
    assert Order.from_message(order.to_message()) == order
    assert Order.from_document(order.to_document()) == order
    assert Order.from_document(order.to_message()) == order
    document = order.typed_data(DOMAIN).to_document()
    signed = order.signed_by(PEER, DOMAIN)
    theirs = PEER.sign_message(encode_typed_data(full_message=document))
    by_parts = encode_typed_data(
        document["domain"],
        {name: fields for name, fields in document["types"].items() if name != "EIP712Domain"},
        document["message"],
    )
    assert signed.signature == theirs.signature == PEER.sign_message(by_parts).signature
    assert SignedOrder.from_document(signed.to_document()) == signed
    assert signed.signer(DOMAIN) == PEER.address


def test_sides_are_words_or_numbers() -> None:
    document = ORDER.to_document()
    assert document["steps"][0]["side"] == "ask"
    document["steps"][0]["side"] = 1
    assert Order.from_document(document) == ORDER


@pytest.mark.parametrize(
    ("steps", "cost"),
    [
        ((Step(0, Side.BID, 70000, 10),), 700000),
        ((Step(0, Side.BID, -70000, 10),), 0),
        ((Step(0, Side.ASK, 70000, 10),), 0),
        ((Step(0, Side.ASK, -70000, 10),), 700000),
        ((Step(0, Side.BID, 3, 10), Step(1, Side.ASK, -2, 10), Step(2, Side.ASK, 9, 10)), 50),
    ],
)
def test_worst_case(steps: tuple[Step, ...], cost: int) -> None:
    assert Order(1, 1, 0, steps).worst_case_nano == cost


@pytest.mark.parametrize(
    ("domain", "order"),
    [
        (Domain(1, DOMAIN.verifying_contract), ORDER),
        (Domain(31337, "0x" + "cd" * 20), ORDER),
        (DOMAIN, Order(1, 5, 1893456000, ORDER.steps, 8)),
    ],
    ids=["chain", "contract", "order"],
)
def test_signature_holds_for_one_chain_contract_and_order(domain: Domain, order: Order) -> None:
    signature = ORDER.signed_by(PEER, DOMAIN).signature
    assert SignedOrder(order, signature).signer(domain) != PEER.address


def test_wrong_signer_is_told() -> None:
    assert ORDER.signed_by(STRANGER, DOMAIN).signer(DOMAIN) == STRANGER.address


MISSING = object()


@pytest.mark.parametrize(
    ("place", "value", "path"),
    [
        *(((field,), MISSING, field) for field in ORDER.to_document()),
        *(((field,), -1, field) for field in ORDER.to_document() if field != "steps"),
        *(((field,), 2**40, field) for field in ORDER.to_document() if field != "steps"),
        (("peer",), 2**32, "peer"),
        (("peer",), "5", "peer"),
        (("peer",), 5.0, "peer"),
        (("peer",), True, "peer"),
        (("nonce",), None, "nonce"),
        (("node",), 0, "node"),
        (("expiry",), 0, "expiry"),
        (("side",), 0, "side"),
        (("a b",), 0, '["a b"]'),
        (("steps",), [], "steps"),
        (("steps",), {}, "steps"),
        (("steps", 0), None, "steps[0]"),
        *((("steps", 0, field), MISSING, f"steps[0].{field}") for field in ("period", "side")),
        (("steps", 0, "node"), 1, "steps[0].node"),
        (("steps", 0, "period"), 2**16, "steps[0].period"),
        (("steps", 0, "side"), 2, "steps[0].side"),
        (("steps", 0, "side"), True, "steps[0].side"),
        (("steps", 0, "side"), "buy", "steps[0].side"),
        (("steps", 0, "side"), [], "steps[0].side"),
        (("steps", 0, "priceMicroPerKWh"), 2**31, "steps[0].priceMicroPerKWh"),
        (("steps", 0, "priceMicroPerKWh"), -(2**31) - 1, "steps[0].priceMicroPerKWh"),
        (("steps", 0, "energyWh"), -1, "steps[0].energyWh"),
        (("steps", 0, "energyWh"), 0, "steps[0].energyWh"),
        (("steps", 0, "energyWh"), 2**31, "steps[0].energyWh"),
        (("steps", 0, "energyWh"), 1.5, "steps[0].energyWh"),
    ],
)
def test_malformed_order_is_refused_with_its_place(
    place: tuple[str | int, ...], value: object, path: str
) -> None:
    document: dict[str, Any] = ORDER.to_document()
    inner: Any = document
    for key in place[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    with pytest.raises(OrderError) as caught:
        Order.from_document(document)
    assert caught.value.path == path


@pytest.mark.parametrize("field", ORDER.to_message())
def test_message_without_a_field_is_refused_with_its_place(field: str) -> None:
    message = ORDER.to_message()
    del message[field]
    with pytest.raises(OrderError) as caught:
        Order.from_message(message)
    assert caught.value.path == field


def lanes(*numbers: int) -> bytes:
    """A word; lanes that are not given are 0."""
    return b"".join(number.to_bytes(4, "big") for number in numbers).ljust(32, b"\0")


def pair(prices: tuple[int, ...], energies: tuple[int, ...]) -> bytes:
    return lanes(*prices) + lanes(*energies)


NOTHING = pair((), ())
ONE_BID = pair((9,), (5 << 1,))


def test_curve_has_a_row_for_every_step_of_a_period_and_a_lane_for_every_period() -> None:
    steps = (
        Step(17, Side.ASK, -1, 3),
        Step(8, Side.BID, 70, 10),
        Step(17, Side.BID, 4, 2),
        Step(17, Side.ASK, 0, 1),
    )
    order = Order(1, 1, 0, steps)
    assert [step.period for step in order.steps] == [8, 17, 17, 17]
    second = (lanes(0, 0xFFFFFFFF), lanes(0, 3 << 1 | 1))
    assert order.curve == (
        1,
        2,
        pair((70,), (10 << 1,))
        + b"".join(second)
        + NOTHING
        + pair((0, 4), (0, 2 << 1))
        + NOTHING
        + pair((), (0, 1 << 1 | 1)),
    )
    assert Order.from_message(order.to_message()) == order


@pytest.mark.parametrize(
    ("blocks", "words", "problem"),
    [
        (0, b"", "one or more rows"),
        (1, b"", "one or more rows"),
        (1, ONE_BID[:-1], "one or more rows of 64 bytes, not 63"),
        (2, ONE_BID, "one or more rows of 128 bytes, not 64"),
        (1, NOTHING, "has no step"),
        (2, ONE_BID + NOTHING, "has an empty first block, last block or last row"),
        (2, NOTHING + ONE_BID, "has an empty first block, last block or last row"),
        (1, ONE_BID + NOTHING, "has an empty first block, last block or last row"),
        (1, NOTHING + ONE_BID, "has an empty lane before row 1 of period 0"),
        (1, ONE_BID + pair((0, 9), (0, 2)), "has an empty lane before row 1 of period 1"),
        (1, pair((9, 1), (2, 0)), "has a price or a side without energy in period 1"),
        (1, pair((9, 0), (2, 1)), "has a price or a side without energy in period 1"),
    ],
)
def test_curve_of_another_form_is_refused(blocks: int, words: bytes, problem: str) -> None:
    message = ORDER.to_message() | {"blocks": blocks, "curve": "0x" + words.hex()}
    with pytest.raises(OrderError, match=problem) as caught:
        Order.from_message(message)
    assert caught.value.path == "curve"


@pytest.mark.parametrize("curve", [None, 5, "0x1", "hello", []], ids=repr)
def test_curve_that_is_not_hexadecimal_is_refused(curve: object) -> None:
    with pytest.raises(OrderError, match="must be hexadecimal"):
        Order.from_message(ORDER.to_message() | {"curve": curve})


def test_curve_of_bytes_is_read() -> None:
    message = ORDER.to_message()
    assert Order.from_message(message | {"curve": ORDER.curve.words}) == ORDER


def test_order_too_large_for_anybody_is_refused() -> None:
    far = (Step(0, Side.BID, 1, 1), Step(65_535, Side.BID, 1, 1))
    assert Order(1, 1, 0, far).curve.blocks == 8_192
    with pytest.raises(OrderError, match="take 1572864 bytes"):
        Order(1, 1, 0, (*far, *far, *far))


@pytest.mark.parametrize("document", [None, 5, "order", list(ORDER.to_message())], ids=repr)
def test_what_is_no_object_is_refused(document: Any) -> None:
    with pytest.raises(OrderError):
        Order.from_document(document)
    with pytest.raises(OrderError):
        SignedOrder.from_document(document)
    with pytest.raises(OrderError):
        SignedOrder.from_document({"order": document, "signature": "0x"})


@pytest.mark.parametrize("signature", [None, 5, "0x1", "hello"], ids=repr)
def test_signature_that_is_not_hexadecimal(signature: object) -> None:
    with pytest.raises(SignatureError, match="hexadecimal"):
        SignedOrder.from_document({"order": ORDER.to_message(), "signature": signature})


def test_signatures_that_a_contract_refuses_are_refused() -> None:
    good = ORDER.signed_by(PEER, DOMAIN).signature
    r, s, v = good[:32], int.from_bytes(good[32:64]), good[64]
    assert s <= HALF_ORDER
    bad = {
        "65 bytes, not 0": b"",
        "65 bytes, not 64": good[:64],
        "65 bytes, not 66": good + b"\0",
        f"not {v - 27}": good[:64] + bytes([v - 27]),
        "not 29": good[:64] + b"\x1d",
        "upper half": r + (CURVE_ORDER - s).to_bytes(32) + bytes([55 - v]),
        "not a signature": bytes(64) + b"\x1b",
    }
    for reason, signature in bad.items():
        with pytest.raises(SignatureError, match=reason):
            SignedOrder(ORDER, signature).signer(DOMAIN)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=65, max_size=65), st.sampled_from([27, 28, None]))
def test_any_bytes_are_a_signature_or_refused(signature: bytes, v: int | None) -> None:
    signature = signature if v is None else signature[:64] + bytes([v])
    try:
        signer = recover(ORDER.typed_data(DOMAIN), signature)
    except SignatureError:
        return
    assert len(signer) == 42


def test_domain() -> None:
    assert Domain(1, "0x" + "ab" * 20) == Domain(1, ("0x" + "ab" * 20).upper().replace("X", "x"))
    for contract in ("", "0x12", "0x" + "zz" * 20, DOMAIN.verifying_contract.swapcase()[2:]):
        with pytest.raises(SignatureError, match="not the address"):
            Domain(1, contract)
    for chain_id in (-1, 2**256):
        with pytest.raises(SignatureError, match="not the id of a chain"):
            Domain(chain_id, DOMAIN.verifying_contract)
