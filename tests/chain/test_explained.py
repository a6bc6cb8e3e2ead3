"""`explained`: Ape's errors in the words of the contracts."""

from __future__ import annotations

import pytest
from ape.exceptions import ContractLogicError, ProviderError
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fairwatt.chain import connect
from fairwatt.chain._chain import explained
from fairwatt.errors import ContractError


@pytest.mark.parametrize("session_start", [1_704_067_200, ord("'")])
def test_explained__revert_data_as_ape_leaves_it__name_and_values(session_start: int) -> None:
    """The second one holds an apostrophe, which Ape does not expect."""
    words = [1, session_start, 3]
    data = keccak(text="GateStillOpen(uint32,uint40,uint256)")[:4]
    data += b"".join(word.to_bytes(32, "big") for word in words)
    raw = repr(data) if b"'" in data else "0x" + data.hex()
    with (
        connect("ethereum:local:test"),
        pytest.raises(ContractError) as caught,
        explained("clear"),
    ):
        raise ContractLogicError(revert_message=raw)
    assert caught.value.name == "GateStillOpen"
    assert list(caught.value.values.values()) == words


def anvil_says(selector: bytes, data: bytes) -> str:
    """Anvil's words for an error it does not know."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.hex()
    return f"custom error 0x{selector.hex()}" + (f": {text}" if data else "")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([3, 10**12, 10**9], id="in hex"),
        pytest.param([3, 5, 10], id="as text that ends with white space"),
        pytest.param([3, ord("\n"), ord(" ")], id="as text with white space in it"),
        pytest.param([3, 0x2030, 0x3131], id="as text with digits"),
    ],
)
def test_explained__custom_error_as_anvil_says_it__name_and_values(values: list[int]) -> None:
    selector = keccak(text="InsufficientFunds(uint32,uint256,uint256)")[:4]
    said = anvil_says(selector, b"".join(value.to_bytes(32, "big") for value in values))
    error = ContractLogicError(
        revert_message=said.strip(),  # as Ape takes it over
        base_err=ProviderError(f"execution reverted: {said}"),
    )
    with connect("ethereum:local:test"), pytest.raises(ContractError) as caught, explained("lock"):
        raise error
    assert caught.value.name == "InsufficientFunds"
    assert list(caught.value.values.values()) == values


def test_explained__custom_error_without_values__name() -> None:
    said = anvil_says(keccak(text="AddressZero()")[:4], b"")
    with connect("ethereum:local:test"), pytest.raises(ContractError) as caught, explained("link"):
        raise ContractLogicError(revert_message=said)
    assert (caught.value.name, caught.value.values) == ("AddressZero", {})


def test_explained__custom_error_of_nobody__its_data() -> None:
    with connect("ethereum:local:test"), pytest.raises(ContractError) as caught, explained("call"):
        raise ContractLogicError(revert_message="custom error 0x12345678: " + "00" * 32)
    assert caught.value.name == "UnknownError"
    assert caught.value.values == {"data": "0x12345678" + "00" * 32}


def test_explained__role_that_is_missing__is_named() -> None:
    account = "0x" + "11" * 20
    arguments = encode(["address", "bytes32"], [account, keccak(text="REGISTRAR_ROLE")])
    selector = keccak(text="AccessControlUnauthorizedAccount(address,bytes32)")[:4]
    said = anvil_says(selector, arguments)
    with connect("ethereum:local:test"), pytest.raises(ContractError) as caught, explained("admit"):
        raise ContractLogicError(revert_message=said)
    assert "neededRole=REGISTRAR_ROLE" in str(caught.value)


def test_contract_error__bytes__as_hex() -> None:
    assert "hash=0x01ff" in str(ContractError("Unknown", {"hash": b"\x01\xff"}))
