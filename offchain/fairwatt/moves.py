"""Moves of accounts to the ledger of a newer deployment, signed by their wallets (EIP-712).

`Ledger.requestMove` and `completeMove` carry them out (R9 of `ILedger`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairwatt import eip712
from fairwatt.eip712 import Domain, TypedData
from fairwatt.errors import SignatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eth_account.signers.local import LocalAccount

__all__ = ["Move", "SignedMove"]

_TYPES: Final = {
    "Move": [
        ("uint32", "peer"),
        ("address", "successor"),
        ("uint32", "account"),
        ("uint40", "validUntil"),
    ]
}


@dataclass(frozen=True, slots=True)
class Move:
    """Where all that a peer can withdraw goes.

    Parameters
    ----------
    peer
        Number of the account here.
    successor
        Address of a ledger that holds the same token.
    account
        Number of the account there; 0 is its community fund.
    valid_until
        Last second in which it may be asked for, UTC Unix seconds.

    Raises
    ------
    SignatureError
        If a field is out of its range.
    """

    peer: int
    successor: str
    account: int
    valid_until: int

    def __post_init__(self) -> None:
        eip712.require_fits(self.to_message(), _TYPES["Move"], _refusal)
        if (successor := eip712.checksummed(self.successor)) is None:
            raise SignatureError(f"successor: {self.successor!r} is no address")
        object.__setattr__(self, "successor", successor)

    def to_message(self) -> dict[str, Any]:
        """The struct `Move` of the ledger."""
        return {
            "peer": self.peer,
            "successor": self.successor,
            "account": self.account,
            "validUntil": self.valid_until,
        }

    def typed_data(self, domain: Domain) -> TypedData:
        """What a wallet signs; the domain is that of the ledger that is left."""
        return TypedData(domain, "Move", _TYPES, self.to_message())

    def signed_by(self, account: LocalAccount, domain: Domain) -> SignedMove:
        """Sign with a key held in memory."""
        return SignedMove(self, eip712.sign(self.typed_data(domain), account))


def _refusal(field: str, problem: str) -> SignatureError:
    return SignatureError(f"{field}: {problem}")


@dataclass(frozen=True, slots=True)
class SignedMove:
    """A move and the signature of the peer's wallet."""

    move: Move
    signature: bytes

    def to_document(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {"move": self.move.to_message(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_document(cls, document: str | Mapping[str, Any]) -> SignedMove:
        """Read what `to_document` made.

        Raises
        ------
        SignatureError
            With what is wrong.
        """
        try:
            content = json.loads(document) if isinstance(document, str) else document
            stated = content["move"]
            move = Move(*(stated[name] for name in ("peer", "successor", "account", "validUntil")))
            signature = content["signature"]
        except (TypeError, ValueError, KeyError) as error:
            raise SignatureError(
                f"not a signed move: needs move (peer, successor, account, validUntil) and "
                f"signature; {error!r}"
            ) from error
        return cls(move, eip712.signature_from_hex(signature))
