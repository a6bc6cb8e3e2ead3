"""Orders as messages: what is hashed, what goes round, what is refused and where."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt.eip712 import Domain, recover
from fairwatt.errors import OrderError, SignatureError
from fairwatt.market import Side
from fairwatt.orders import Order, SignedOrder, Step

PEER = Account.from_key(b"\x01" * 32)
STRANGER = Account.from_key(b"\x02" * 32)
DOMAIN = Domain(31337, "0x" + "ab" * 20)
ORDER = Order(1, 5, 1893456000, (Step(0, Side.ASK, 50000, 200000),), 7)
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def uint(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


prices = st.integers(-(2**31), 2**31 - 1)
periods = st.one_of(st.integers(0, 30), st.integers(0, 400))
steps = st.builds(Step, periods, st.sampled_from(Side), prices, st.integers(1, 2**31 - 1))
orders = st.builds(
    Order,
    *(uint(32), uint(32), uint(40)),
    st.lists(steps, min_size=1, max_size=9).map(tuple),
    uint(32),
)


@settings(max_examples=50, deadline=None)
@given(orders)
def test_any_order_goes_round_and_is_signed_as_eth_account_signs_it(order: Order) -> None:
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


# ---------------------------------------------------------------------------------------- curves


def message(first_block: int, blocks: int, curve: object) -> dict[str, Any]:
    return ORDER.to_message() | {"firstBlock": first_block, "blocks": blocks, "curve": curve}


def words(*lanes: dict[int, int]) -> str:
    """Words in hex, each of the lanes that are not 0."""
    return (
        "0x"
        + b"".join(lane.get(at, 0).to_bytes(4, "big") for lane in lanes for at in range(8)).hex()
    )


def test_curve_has_its_steps_in_lanes_and_rows() -> None:
    ask, bid, other = Step(9, Side.ASK, -2, 5), Step(9, Side.BID, 3, 6), Step(23, Side.BID, 4, 7)
    curve = Order(1, 5, 0, (other, ask, bid), 7).curve
    expected = words(
        *({1: 2**32 - 2}, {1: 11}, {7: 4}, {7: 14}),  # first row, blocks 1 and 2
        *({1: 3}, {1: 12}, {}, {}),
    )
    assert (curve.first_block, curve.blocks, "0x" + curve.words.hex()) == (1, 2, expected)
    assert Order.from_message(message(1, 2, expected)).steps == (ask, bid, other)
    assert Order.from_message(message(1, 2, curve.words)).steps == (ask, bid, other)


def test_steps_are_kept_in_the_sequence_of_their_periods() -> None:
    late, first, second = (Step(period, Side.BID, 1, wh) for period, wh in ((5, 1), (2, 9), (2, 3)))
    assert Order(1, 5, 0, (late, first, second)).steps == (first, second, late)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_curve_is_read_in_one_form_only(data: st.DataObject) -> None:
    """Whatever is read is written again as it was; all else is refused."""
    blocks, rows = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    filled = st.dictionaries(st.integers(0, 7), st.integers(0, 5), max_size=3)
    lanes = data.draw(st.lists(filled, min_size=2 * blocks * rows, max_size=2 * blocks * rows))
    given_message = message(data.draw(st.integers(0, 3)), blocks, words(*lanes))
    with suppress(OrderError):
        assert Order.from_message(given_message).to_message() == given_message


@pytest.mark.parametrize(
    ("first_block", "blocks", "curve", "problem"),
    [
        (0, 1, 5, "must be hexadecimal"),
        (0, 1, "0xzz", "must be hexadecimal"),
        (0, 1, "", "rows of 64 bytes, not 0 bytes"),
        (0, 1, "0x00", "rows of 64 bytes, not 1 bytes"),
        (0, 2, words({0: 1}, {0: 2}), "rows of 128 bytes, not 64 bytes"),
        (0, 0, words({0: 1}, {0: 2}), "rows of 0 bytes, not 64 bytes"),
        (0, 1, words({}, {}), "has no step"),
        (0, 1, words({0: 1}, {}), "without energy in period 0"),
        (2, 1, words({}, {5: 1}), "without energy in period 21"),
        (1, 1, words({}, {0: 2}, {}, {0: 2, 1: 2}), "empty lane before row 1 of period 9"),
        (0, 2, words({}, {}, {}, {0: 2}), "an empty first block"),
        (0, 2, words({}, {0: 2}, {}, {}), "an empty first block, last block"),
        (0, 1, words({}, {0: 2}, {}, {}), "or last row"),
        (0, 1, "0x" + "00" * (2**20 + 64), "at most 1048576 bytes"),
    ],
)
def test_malformed_curve_is_refused(
    first_block: int, blocks: int, curve: object, problem: str
) -> None:
    with pytest.raises(OrderError, match=problem) as caught:
        Order.from_message(message(first_block, blocks, curve))
    assert caught.value.path == "curve"


@pytest.mark.parametrize(
    ("field", "value"),
    [("firstBlock", 2**16), ("blocks", -1), ("blocks", "1"), ("peer", 2**32), ("steps", [])],
)
def test_malformed_message_is_refused_with_its_place(field: str, value: object) -> None:
    with pytest.raises(OrderError) as caught:
        Order.from_message(ORDER.to_message() | {field: value})
    assert caught.value.path == field


@pytest.mark.parametrize("field", ORDER.to_message())
def test_message_without_a_field_is_refused(field: str) -> None:
    incomplete = ORDER.to_message()
    del incomplete[field]
    with pytest.raises(OrderError) as caught:
        Order.from_message(incomplete)
    assert (caught.value.path, caught.value.problem) == (field, "is missing")


def test_order_that_is_spread_too_far_is_refused() -> None:
    far = [Step(period, Side.BID, 1, 1) for period in (0, 0, 0, 2**16 - 1)]
    with pytest.raises(OrderError, match="take 1572864 bytes") as caught:
        Order(1, 5, 0, tuple(far))
    assert caught.value.path == "steps"


def test_sides_may_be_numbers() -> None:
    document = ORDER.to_document()
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
        (("side",), 0, "side"),
        (("node",), 0, "node"),
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


@pytest.mark.parametrize("document", [None, 5, "order", list(ORDER.to_document())], ids=repr)
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
        SignedOrder.from_document({"order": ORDER.to_document(), "signature": signature})


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
