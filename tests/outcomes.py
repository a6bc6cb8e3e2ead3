"""What became of a transaction: the events it emitted, or the error it was refused with.

`ape.reverts` ignores names of values that the error does not have, and accepts every error that it
cannot decode, such as one that comes up from another contract. Nothing is forgiven here.
"""

from __future__ import annotations

from ast import literal_eval
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ape
from ape.exceptions import CustomError
from ape_solidity.exceptions import SolidityRuntimeError
from eth_abi.abi import decode, encode
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.address import is_address, to_checksum_address
from ethpm_types.abi import ABIType, ErrorABI

from fairwatt.chain import structs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.chain import Receipt

PANIC = ErrorABI(type="error", name="Panic", inputs=[ABIType(name="code", type="uint256")])
OVERFLOW, NO_SUCH_INDEX = 0x11, 0x32


@contextmanager
def reverts(error: Any, **values: Any) -> Iterator[None]:
    """Require exactly this error with all its values, whichever contract it comes from.

    Parameters
    ----------
    error
        As in `ape.reverts`: an error of a contract, or `PANIC`.
    """
    abi = error if isinstance(error, ErrorABI) else error.abi
    names = [field.name for field in abi.inputs]
    assert sorted(values) == sorted(names), f"{abi.name} has the values {names}"
    with ape.reverts() as refusal:
        yield
    data = _revert_data(refusal.value)
    assert data[:4] == _selector(abi), f"expected {abi.name}, not {refusal.value!r}"
    actual = decode([str(field.canonical_type) for field in abi.inputs], data[4:])
    assert dict(zip(names, map(plain, actual), strict=True)) == {
        name: plain(value) for name, value in values.items()
    }


@dataclass(frozen=True)
class Emitted:
    """An event as a contract emitted it."""

    contract: str
    name: str
    values: dict[str, Any]


def event(kind: Any, **values: Any) -> Emitted:
    """Build the event to be expected, as in `event(registry.PeerAdmitted, peer=3, ...)`.

    Structs are dictionaries or tuples, with all fields in their sequence.
    """
    names = [field.name for field in kind.abi.inputs]
    assert sorted(values) == sorted(names), f"{kind.abi.name} has the values {names}"
    expected = {name: plain(value) for name, value in values.items()}
    return Emitted(str(kind.contract.address), kind.abi.name, expected)


def events(receipt: Receipt) -> list[Emitted]:
    """All events of a transaction."""
    return [
        Emitted(
            str(log.contract_address),
            log.event_name,
            {name: plain(value) for name, value in log.event_arguments.items()},
        )
        for log in receipt.events
    ]


def plain(value: Any) -> Any:
    """A value of an event or error, the same however Ape or a test writes it."""
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, str):  # there are no texts in the ABI: an address, or bytes
        return to_checksum_address(value) if is_address(value) else bytes.fromhex(value[2:])
    if isinstance(value, (dict, list, tuple)):
        return tuple(plain(entry) for entry in structs(list(_entries(value))))
    return value


def _entries(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _revert_data(error: Any) -> bytes:
    """What a contract reverted with, whether Ape could decode it or not."""
    if isinstance(error, CustomError):
        types = [str(field.canonical_type) for field in error.abi.inputs]
        return _selector(error.abi) + encode(types, list(error.inputs.values()))
    if isinstance(error, SolidityRuntimeError):
        return _selector(PANIC) + encode(["uint256"], [error.error_type.value])
    data = str(error.base_err).rpartition("execution reverted: ")[2]
    assert data.startswith(("b'", 'b"')), f"not an error of a contract: {error!r}"
    return bytes(literal_eval(data))


def _selector(abi: ErrorABI) -> bytes:
    return function_abi_to_4byte_selector(abi.model_dump())
