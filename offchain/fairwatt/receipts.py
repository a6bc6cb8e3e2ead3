"""Receipts: what a community manager answers to an order it takes, signed as EIP-712 messages.

A receipt promises that the order is in the clearing of its session. The contract `Bonds` makes the
manager's bond pay if it is not; its interface says when it binds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairwatt.eip712 import TypedData, recover, require_fits, sign, signature_from_hex
from fairwatt.errors import ReceiptError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eth_account.signers.local import LocalAccount

    from fairwatt.eip712 import Domain
    from fairwatt.orders import FlexibleOrder, Order, SignedOrder

__all__ = ["OrderReceipt", "SignedReceipt"]

_TYPES: Final = {
    "Receipt": (
        ("uint32", "market"),
        ("uint32", "peer"),
        ("uint40", "sessionStart"),
        ("uint32", "nonce"),
        ("bytes32", "orderHash"),
        ("uint40", "issuedAt"),
    ),
}
_FIELDS: Final = tuple(field for _, field in _TYPES["Receipt"])
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class OrderReceipt:
    """The promise that an order is in the clearing of its session.

    Parameters
    ----------
    order_hash
        EIP-712 hash of the order without its domain: `struct_hash` of orders of both kinds.
    issued_at
        When the manager took the order, UTC Unix seconds.

    Raises
    ------
    ReceiptError
        If a value does not fit its type.
    """

    market: int
    peer: int
    session_start: int
    nonce: int
    order_hash: bytes
    issued_at: int

    def __post_init__(self) -> None:
        require_fits(self.to_document(), _TYPES["Receipt"], ReceiptError, path="receipt.")
        if len(self.order_hash) != _HASH_BYTES:
            raise ReceiptError("receipt.orderHash", f"must have {_HASH_BYTES} bytes")

    @classmethod
    def of(cls, order: Order | FlexibleOrder, issued_at: int) -> OrderReceipt:
        """The receipt for an order."""
        return cls(
            market=order.market,
            peer=order.peer,
            session_start=order.session_start,
            nonce=order.nonce,
            order_hash=order.struct_hash,
            issued_at=issued_at,
        )

    def to_document(self) -> dict[str, Any]:
        """As JSON, and the EIP-712 message."""
        return {
            "market": self.market,
            "peer": self.peer,
            "sessionStart": self.session_start,
            "nonce": self.nonce,
            "orderHash": "0x" + self.order_hash.hex(),
            "issuedAt": self.issued_at,
        }

    def typed_data(self, domain: Domain) -> TypedData:
        """What the manager signs; `domain` is that of the bonds."""
        return TypedData(domain, "Receipt", _TYPES, self.to_document())

    def signed_by(self, account: LocalAccount, domain: Domain) -> SignedReceipt:
        """Sign with a key held in memory."""
        return SignedReceipt(self, sign(self.typed_data(domain), account))


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt with the signature of its manager's key: 65 bytes r, s, v."""

    receipt: OrderReceipt
    signature: bytes

    def signer(self, domain: Domain) -> str:
        """Address of the key that signed.

        Raises
        ------
        SignatureError
            If the bytes are no signature.
        """
        return recover(self.receipt.typed_data(domain), self.signature)

    def require_for(self, signed: SignedOrder, domain: Domain, manager: str | None = None) -> str:
        """Check that this is a receipt for an order; returns who signed it.

        Parameters
        ----------
        manager
            Who must have signed it; None if that is not known.

        Raises
        ------
        ReceiptError, SignatureError
            If it is for another order, or another key signed.
        """
        expected = OrderReceipt.of(signed.order, self.receipt.issued_at)
        if self.receipt != expected:
            raise ReceiptError("receipt", "is for another order than this one")
        signer = self.signer(domain)
        if manager is not None and signer != manager:
            raise SignatureError(
                f"signed by {signer}, not by the manager {manager}; or signed for another chain, "
                "contract, order or time"
            )
        return signer

    def to_document(self) -> dict[str, Any]:
        """As JSON: the receipt and the signature in hex."""
        return {"receipt": self.receipt.to_document(), "signature": "0x" + self.signature.hex()}

    def to_message(self, signed: SignedOrder) -> dict[str, Any]:
        """The `Receipt` struct of the bonds, with the order that it is for."""
        return {
            "signed": signed.to_struct(),
            "issuedAt": self.receipt.issued_at,
            "signature": self.signature,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SignedReceipt:
        """Read what `to_document` wrote.

        Raises
        ------
        ReceiptError, SignatureError
            If it is malformed.
        """
        if not isinstance(document, dict) or set(document) != {"receipt", "signature"}:
            raise ReceiptError("", 'a signed receipt is {"receipt": {...}, "signature": "0x..."}')
        message = document["receipt"]
        if not isinstance(message, dict) or set(message) != set(_FIELDS):
            raise ReceiptError("receipt", f"must be an object of {', '.join(_FIELDS)}")
        try:
            order_hash = bytes.fromhex(str.removeprefix(message["orderHash"], "0x"))
        except (TypeError, ValueError):
            raise ReceiptError("receipt.orderHash", "must be hexadecimal, 0x...") from None
        receipt = OrderReceipt(
            market=message["market"],
            peer=message["peer"],
            session_start=message["sessionStart"],
            nonce=message["nonce"],
            order_hash=order_hash,
            issued_at=message["issuedAt"],
        )
        return cls(receipt, signature_from_hex(document["signature"]))
