"""Readings as meters sign them: EIP-712 messages, one per peer and session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairwatt.eip712 import Domain, TypedData, recover, sign, signature_from_hex
from fairwatt.errors import ReadingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eth_account.signers.local import LocalAccount

__all__ = ["Reading", "SignedReading"]

_TYPES: Final = {
    "Reading": (
        ("uint32", "market"),
        ("uint32", "peer"),
        ("uint40", "sessionStart"),
        ("int48[]", "energyWh"),
    ),
}
_BITS: Final = {"market": 32, "peer": 32, "sessionStart": 40}
_MAX_ENERGY_WH: Final = (1 << 47) - 1


@dataclass(frozen=True, slots=True)
class Reading:
    """What a peer's meter counted in each period of a session.

    Parameters
    ----------
    energy_wh
        Per period: injected positive, taken negative.

    Raises
    ------
    ReadingError
        If a value does not fit its type.
    """

    market: int
    peer: int
    session_start: int
    energy_wh: tuple[int, ...]

    def __post_init__(self) -> None:
        message = self.to_message()
        for field, bits in _BITS.items():
            _require_between(field, message[field], 0, (1 << bits) - 1)
        for at, energy in enumerate(self.energy_wh):
            _require_between(f"energyWh[{at}]", energy, -_MAX_ENERGY_WH, _MAX_ENERGY_WH)

    def to_message(self) -> dict[str, Any]:
        """The EIP-712 message."""
        return {
            "market": self.market,
            "peer": self.peer,
            "sessionStart": self.session_start,
            "energyWh": list(self.energy_wh),
        }

    def typed_data(self, domain: Domain) -> TypedData:
        """What the meter signs; `domain` is that of the settlement."""
        return TypedData(domain, "Reading", _TYPES, self.to_message())

    def signed_by(self, meter: LocalAccount, domain: Domain) -> SignedReading:
        """Sign with the meter's key."""
        return SignedReading(self, sign(self.typed_data(domain), meter))


@dataclass(frozen=True, slots=True)
class SignedReading:
    """A reading with its meter's signature, 65 bytes r, s, v."""

    reading: Reading
    signature: bytes

    def signer(self, domain: Domain) -> str:
        """Address of the meter that signed.

        Raises
        ------
        SignatureError
            If the bytes are no signature.
        """
        return recover(self.reading.typed_data(domain), self.signature)

    def to_document(self) -> dict[str, Any]:
        """As JSON: the message and the signature in hex."""
        return {"reading": self.reading.to_message(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SignedReading:
        """Read what `to_document` wrote.

        Raises
        ------
        ReadingError, SignatureError
            If it is malformed.
        """
        if not isinstance(document, dict) or set(document) != {"reading", "signature"}:
            raise ReadingError("", 'a signed reading is {"reading": {...}, "signature": "0x..."}')
        message, signature = document["reading"], document["signature"]
        fields = [field for _, field in _TYPES["Reading"]]
        if not isinstance(message, dict) or set(message) != set(fields):
            raise ReadingError("reading", f"must be an object of {', '.join(fields)}")
        if not isinstance(message["energyWh"], list):
            raise ReadingError("reading.energyWh", "must be a list, one value per period")
        raw = signature_from_hex(signature)
        reading = Reading(
            message["market"],
            message["peer"],
            message["sessionStart"],
            tuple(message["energyWh"]),
        )
        return cls(reading, raw)


def _require_between(path: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ReadingError(path, f"must be a whole number from {low} to {high}, not {value!r}")
