"""Readings as meters sign them: EIP-712 messages, one per peer and session.

A meter's key lies on secp256k1, as wallets' do, or on P-256, as those of secure elements do. The
registry knows either by an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from fairwatt.eip712 import (
    Domain,
    TypedData,
    recover,
    require_fits,
    sign,
    signature_from_hex,
)
from fairwatt.errors import ReadingError, SignatureError
from fairwatt.jsontext import require_whole
from fairwatt.lanes import MAX_ENERGY_WH, pack_energies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eth_account.signers.local import LocalAccount

__all__ = ["Curve", "P256Meter", "Reading", "SignedReading"]

_TYPES: Final = {
    "Reading": (
        ("uint32", "market"),
        ("uint32", "peer"),
        ("uint40", "sessionStart"),
        ("bytes", "energyWh"),
    ),
}
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256_BYTES: Final = 128  # r, s, qx, qy
_DIGEST: Final = ec.ECDSA(Prehashed(SHA256()))  # any hash of 32 bytes


class Curve(StrEnum):
    """What a meter's key lies on."""

    SECP256K1 = "secp256k1"
    P256 = "P-256"


@dataclass(frozen=True, slots=True)
class P256Meter:
    """A meter whose key is on P-256, held in memory."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, secret: int) -> P256Meter:
        """The meter with this secret number.

        Raises
        ------
        SignatureError
            If the curve has no such key.
        """
        if not 0 < secret < _P256_ORDER:
            raise SignatureError("a P-256 key is a number from 1 to the order of the curve")
        return cls(ec.derive_private_key(secret, ec.SECP256R1()))

    @property
    def address(self) -> str:
        """What the registry knows the meter by."""
        return _p256_address(self._point)

    def sign(self, digest: bytes) -> bytes:
        """Sign 32 bytes: r, s, qx, qy, with s in the lower half of its range.

        The same digest is always signed alike (RFC 6979).
        """
        algorithm = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)
        r, s = decode_dss_signature(self.key.sign(digest, algorithm))
        return _word(r) + _word(min(s, _P256_ORDER - s)) + self._point

    @property
    def _point(self) -> bytes:
        numbers = self.key.public_key().public_numbers()
        return _word(numbers.x) + _word(numbers.y)


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
        require_fits(self.to_document(), _TYPES["Reading"], ReadingError)
        for at, energy in enumerate(self.energy_wh):
            place = f"energyWh[{at}]"
            require_whole(energy, -MAX_ENERGY_WH, MAX_ENERGY_WH, place, ReadingError)

    def to_document(self) -> dict[str, Any]:
        """As JSON: the energies as a list."""
        return {
            "market": self.market,
            "peer": self.peer,
            "sessionStart": self.session_start,
            "energyWh": list(self.energy_wh),
        }

    def to_message(self) -> dict[str, Any]:
        """The EIP-712 message: the energies as words, in hex."""
        return self.to_document() | {"energyWh": "0x" + pack_energies(self.energy_wh).hex()}

    def typed_data(self, domain: Domain) -> TypedData:
        """What the meter signs; `domain` is that of the settlement."""
        return TypedData(domain, "Reading", _TYPES, self.to_message())

    def signed_by(self, meter: LocalAccount | P256Meter, domain: Domain) -> SignedReading:
        """Sign with the meter's key."""
        data = self.typed_data(domain)
        if isinstance(meter, P256Meter):
            return SignedReading(self, meter.sign(data.digest()), Curve.P256)
        return SignedReading(self, sign(data, meter))


@dataclass(frozen=True, slots=True)
class SignedReading:
    """A reading with its meter's signature.

    Parameters
    ----------
    signature
        On secp256k1 65 bytes r, s, v; on P-256 128 bytes r, s, qx, qy.
    """

    reading: Reading
    signature: bytes
    curve: Curve = Curve.SECP256K1

    def signer(self, domain: Domain) -> str:
        """Address of the meter that signed.

        Raises
        ------
        SignatureError
            If the bytes are no signature, or one on P-256 of something else.
        """
        data = self.reading.typed_data(domain)
        if self.curve is Curve.P256:
            return _p256_signer(data.digest(), self.signature)
        return recover(data, self.signature)

    def to_document(self) -> dict[str, Any]:
        """As JSON: the reading, the signature in hex, and its curve unless it is secp256k1."""
        document = {
            "reading": self.reading.to_document(),
            "signature": "0x" + self.signature.hex(),
        }
        if self.curve is not Curve.SECP256K1:
            document["curve"] = str(self.curve)
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SignedReading:
        """Read what `to_document` wrote.

        Raises
        ------
        ReadingError, SignatureError
            If it is malformed.
        """
        if not isinstance(document, dict) or document.keys() - {"curve"} != {
            "reading",
            "signature",
        }:
            raise ReadingError("", 'a signed reading is {"reading": {...}, "signature": "0x..."}')
        message, signature = document["reading"], document["signature"]
        fields = [field for _, field in _TYPES["Reading"]]
        if not isinstance(message, dict) or set(message) != set(fields):
            raise ReadingError("reading", f"must be an object of {', '.join(fields)}")
        if not isinstance(message["energyWh"], list):
            raise ReadingError("reading.energyWh", "must be a list, one value per period")
        curve = document.get("curve", Curve.SECP256K1)
        if curve not in list(Curve):
            raise ReadingError("curve", f"must be one of {', '.join(Curve)}, not {curve!r}")
        raw = signature_from_hex(signature)
        reading = Reading(
            message["market"],
            message["peer"],
            message["sessionStart"],
            tuple(message["energyWh"]),
        )
        return cls(reading, raw, Curve(curve))


def _p256_signer(digest: bytes, signature: bytes) -> str:
    if len(signature) != _P256_BYTES:
        raise SignatureError(f"a signature on P-256 has {_P256_BYTES} bytes, not {len(signature)}")
    r, s, x, y = (int.from_bytes(signature[at : at + 32], "big") for at in range(0, 128, 32))
    if s > _P256_ORDER // 2:
        raise SignatureError("s is in the upper half of its range; contracts take only the lower")
    try:
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        key.verify(encode_dss_signature(r, s), digest, _DIGEST)
    except (ValueError, InvalidSignature) as error:
        raise SignatureError("this is not the signature of its key on P-256") from error
    return _p256_address(signature[64:])


def _p256_address(point: bytes) -> str:
    return str(to_checksum_address(keccak(point)[12:]))


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")
