"""The contracts: where they are, how structs go in, and what a refusal says in words."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ape
from ape.exceptions import (
    ApeException,
    ContractLogicError,
    CustomError,
    SignatureError,
)
from eth_abi.abi import decode
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.crypto import keccak

from fairwatt.deployment import CONTRACTS
from fairwatt.errors import ChainError, ContractError

if TYPE_CHECKING:
    from ape.contracts import ContractInstance

__all__ = ["Contracts", "explained", "first_line", "named", "project", "structs"]

_PANICS = {0x11: "arithmetic overflow", 0x32: "index out of range"}
_ROLES = {
    bytes(keccak(text=f"{name}_ROLE")): f"{name}_ROLE"
    for name in (
        "REGISTRAR",
        "NETWORK_OPERATOR",
        "MARKET_OPERATOR",
        "GUARDIAN",
        "FUND_MANAGER",
        "TREASURY",
    )
} | {bytes(32): "DEFAULT_ADMIN_ROLE"}
_PANIC_SELECTOR = "4e487b71"
# As anvil says it: the data as text where it is UTF-8, as that of small values is, or else in hex.
_CUSTOM_ERROR = re.compile(r"custom error (0x[0-9a-f]{8})(?:: (.*))?$", re.DOTALL)
_WORDS = re.compile(r"([0-9a-f]{64})+")


@dataclass(frozen=True, slots=True)
class Contracts:
    """The deployed contracts, as Ape objects."""

    registry: ContractInstance
    token: ContractInstance
    ledger: ContractInstance
    order_book: ContractInstance
    clearing: ContractInstance
    trades: ContractInstance
    settlement: ContractInstance
    bonds: ContractInstance


@cache
def project() -> ape.Project:
    """The Ape project with the contracts: the folder that holds `offchain/`."""
    root = Path(__file__).parents[3]
    if not (root / "ape-config.yaml").is_file():
        raise ChainError(
            f"the contracts are not at {root}; install the package from a checkout "
            "(pip install --editable .)"
        )
    return ape.Project(root)


@contextmanager
def explained(action: str) -> Iterator[None]:
    try:
        yield
    except CustomError as error:
        name, values = type(error).__name__, dict(error.inputs)
        raise ContractError(name, _with_role(values), action) from error
    except ContractLogicError as error:
        name, values = _decode(_said(error))
        raise ContractError(name, _with_role(values), action) from error
    except SignatureError as error:
        raise ChainError(f"{action}: the account did not sign") from error
    except (ApeException, OSError) as error:
        raise ChainError(f"{action}: {first_line(error)}") from error


def _with_role(values: dict[str, object]) -> dict[str, object]:
    """Name the role that a sender lacks; the contract has its hash only."""
    role = values.get("neededRole")
    return values | {"neededRole": _ROLES.get(role, role)} if isinstance(role, bytes) else values


def _said(error: ContractLogicError) -> str:
    """What the node said, where Ape has cut white space from it: values may end with it."""
    arguments = getattr(error.base_err, "args", ())
    if arguments and _CUSTOM_ERROR.search(str(arguments[0])):
        return str(arguments[0])
    return str(error.revert_message or error)


def _decode(data: str) -> tuple[str, dict[str, object]]:
    """Name and values of an error that Ape could not decode, as of another contract of ours."""
    if data.startswith('b"'):  # Ape reads b'...' alone, but bytes with a ' in them print as b"..."
        data = "0x" + bytes(literal_eval(data)).hex()
    elif custom := _CUSTOM_ERROR.search(data):
        text = custom.group(2) or ""
        data = custom.group(1) + (text if _WORDS.fullmatch(text) else text.encode().hex())
    if not data.startswith("0x"):
        return "Error", {"message": data}
    selector, body = data[2:10], bytes.fromhex(data[10:])
    if selector == _PANIC_SELECTOR:
        code = int.from_bytes(body, "big")
        return "Panic", {"code": code, "meaning": _PANICS.get(code, "see Solidity's panic codes")}
    abi = _errors_by_selector().get(selector)
    if abi is None:
        return "UnknownError", {"data": data}
    values = decode([str(field.canonical_type) for field in abi.inputs], body)
    names = [field.name or str(at) for at, field in enumerate(abi.inputs)]
    return abi.name, dict(zip(names, values, strict=True))


@cache
def _errors_by_selector() -> Mapping[str, Any]:
    errors = {}
    for name in CONTRACTS.values():
        for abi in getattr(project(), name).contract_type.errors:
            selector = function_abi_to_4byte_selector(abi.model_dump())
            errors[selector.hex()] = abi
    return errors


def structs(value: Any) -> Any:
    """Messages as Ape takes structs in structs: tuples, in the sequence of the fields."""
    if isinstance(value, dict):
        return tuple(structs(entry) for entry in value.values())
    if isinstance(value, list):
        return [structs(entry) for entry in value]
    return value


def named(event: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Values of an event of a contract; structs, which come without their names, by name too."""
    values = dict(arguments)
    for field in event.abi.inputs:
        if field.components:
            names = [component.name for component in field.components]
            values[field.name] = dict(zip(names, values[field.name], strict=True))
    return values


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
