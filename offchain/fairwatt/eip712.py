"""EIP-712 typed data: what a wallet shows, signs, and can be recognised by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_keys.exceptions import BadSignature
from eth_utils.address import (
    is_checksum_address,
    is_checksum_formatted_address,
    is_hex_address,
    to_checksum_address,
)
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from fairwatt.errors import SignatureError
from fairwatt.jsontext import require_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from eth_account.signers.local import LocalAccount

    from fairwatt.jsontext import Refusal

__all__ = [
    "Domain",
    "TypedData",
    "checksummed",
    "compact",
    "expanded",
    "recover",
    "require_fits",
    "sign",
    "signature_from_hex",
]

_SIGNATURE_BYTES: Final = 65  # r, s, v
_HIGHEST_S: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_WHOLE: Final = re.compile(r"(?P<unsigned>u?)int(?P<bits>\d+)")
_DOMAIN_FIELDS: Final = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


@dataclass(frozen=True, slots=True)
class Domain:
    """The contract, on a chain, that a signature is meant for (EIP-712 domain).

    Raises
    ------
    SignatureError
        If the contract is no address, or the chain id no uint256.
    """

    chain_id: int
    verifying_contract: str

    def __post_init__(self) -> None:
        if (contract := checksummed(self.verifying_contract)) is None:
            raise SignatureError(f"{self.verifying_contract!r} is not the address of a contract")
        if not 0 <= self.chain_id < 1 << 256:
            raise SignatureError(f"{self.chain_id} is not the id of a chain")
        object.__setattr__(self, "verifying_contract", contract)


@dataclass(frozen=True, slots=True)
class TypedData:
    """A message of some type in a domain."""

    domain: Domain
    primary_type: str
    types: Mapping[str, Sequence[tuple[str, str]]]
    message: Mapping[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The JSON that wallets take for `eth_signTypedData_v4`."""
        types = {
            name: [{"name": field, "type": kind} for kind, field in fields]
            for name, fields in self.types.items()
        }
        return {
            "types": {"EIP712Domain": _DOMAIN_FIELDS, **types},
            "primaryType": self.primary_type,
            "domain": {
                "name": "Fairwatt",
                "version": "1",
                "chainId": self.domain.chain_id,
                "verifyingContract": self.domain.verifying_contract,
            },
            "message": dict(self.message),
        }

    def digest(self) -> bytes:
        """The 32 bytes that are signed."""
        signable = self.signable()
        return keccak(b"\x19" + signable.version + signable.header + signable.body)

    def signable(self) -> SignableMessage:
        """What is hashed and signed."""
        return encode_typed_data(full_message=self.to_document())


def require_fits(
    message: Mapping[str, Any],
    fields: Iterable[tuple[str, str]],
    refusal: Refusal,
    *,
    path: str = "",
    least: Mapping[str, int] | None = None,
) -> None:
    """Require that the whole numbers of a message fit their types.

    Parameters
    ----------
    fields
        Types and names, as of `TypedData.types`; what the message does not have, and what is no
        number, is passed over.
    path
        Written before the name of the field.
    least
        Least values by name, where they are more than those of the types.

    Raises
    ------
    Exception
        What `refusal` makes of the field and what is wrong with it.
    """
    for kind, name in fields:
        if name in message and (found := _WHOLE.fullmatch(kind)):
            count = 1 << int(found["bits"])
            low = 0 if found["unsigned"] else -count // 2
            high = low + count - 1
            low = (least or {}).get(name, low)
            require_whole(message[name], low, high, f"{path}{name}", refusal)


def checksummed(address: object) -> str | None:
    """Give an address its checksum; None if it is no address, or its checksum is another."""
    if not isinstance(address, str) or not is_hex_address(address):
        return None
    if is_checksum_formatted_address(address) and not is_checksum_address(address):
        return None
    return str(to_checksum_address(address))


def sign(data: TypedData, account: LocalAccount) -> bytes:
    """Sign with a key held in memory; 65 bytes r, s, v."""
    return bytes(account.sign_message(data.signable()).signature)


def recover(data: TypedData, signature: bytes) -> str:
    """Address of the key that signed.

    Raises
    ------
    SignatureError
        If the bytes are no signature at all, or one in a form that the contracts refuse.
    """
    _require_form(signature)
    try:
        return str(Account.recover_message(data.signable(), signature=signature))
    except (ValueError, BadSignature, ValidationError) as error:
        raise SignatureError(f"this is not a signature: {error}") from error


def compact(signature: bytes) -> bytes:
    """The 64 bytes r, vs (EIP-2098) that stand in calldata for a signature r, s, v.

    Raises
    ------
    SignatureError
        If it is no r, s, v with a low s, which alone has this form.
    """
    _require_form(signature)
    is_odd = signature[64] - 27
    return signature[:32] + bytes([signature[32] | is_odd << 7]) + signature[33:64]


def expanded(short: bytes) -> bytes:
    """The signature r, s, v that `compact` made r, vs of."""
    vs = short[32]
    return short[:32] + bytes([vs & 0x7F]) + short[33:] + bytes([27 + (vs >> 7)])


def _require_form(signature: bytes) -> None:
    if len(signature) != _SIGNATURE_BYTES:
        raise SignatureError(f"a signature has {_SIGNATURE_BYTES} bytes, not {len(signature)}")
    if signature[64] not in (27, 28):
        raise SignatureError(f"a signature ends with v = 27 or 28, not {signature[64]}")
    if int.from_bytes(signature[32:64]) > _HIGHEST_S:
        raise SignatureError("s is in the upper half of its range; contracts take only the lower")


def signature_from_hex(text: object) -> bytes:
    """Read a signature as documents carry it, `0x...`.

    Raises
    ------
    SignatureError
        If it is not hexadecimal text.
    """
    try:
        return bytes.fromhex(str.removeprefix(text, "0x"))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise SignatureError("the signature must be hexadecimal, 0x...") from error
