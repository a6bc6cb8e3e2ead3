"""Orders as peers sign them: EIP-712 messages that hold for one session of a market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairwatt.eip712 import Domain, TypedData, recover, sign, signature_from_hex
from fairwatt.errors import OrderError
from fairwatt.jsontext import place, short
from fairwatt.market import Side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eth_account.signers.local import LocalAccount

    from fairwatt.jsontext import Path

__all__ = ["Order", "SignedOrder", "Step"]

_TYPES: Final = {
    "Order": (
        ("uint32", "market"),
        ("uint32", "peer"),
        ("uint16", "node"),
        ("uint40", "sessionStart"),
        ("Step[]", "steps"),
        ("uint40", "expiry"),
        ("uint32", "nonce"),
    ),
    "Step": (
        ("uint16", "period"),
        ("uint8", "side"),
        ("int32", "priceMicroPerKWh"),
        ("uint40", "energyWh"),
    ),
}
_SIDES: Final = {"bid": Side.BID, "ask": Side.ASK, 0: Side.BID, 1: Side.ASK}


@dataclass(frozen=True, slots=True)
class Step:
    """One price and energy of an order.

    Parameters
    ----------
    period
        Index of the period in the session, 0 for the first.
    side
        Bid or ask.
    price_micro_per_kwh
        Limit: a bid pays at most, an ask receives at least this. May be negative.
    energy_wh
        Most to be traded at this limit.
    """

    period: int
    side: Side
    price_micro_per_kwh: int
    energy_wh: int


@dataclass(frozen=True, slots=True)
class Order:
    """A peer's curve of steps for one session of a market, as `Order` in `MarketTypes.sol`.

    Parameters
    ----------
    market, peer, node
        Identifiers of the order book, the peer registry, and of the node in the network.
    session_start
        Start of the session's first period, UTC Unix seconds.
    steps
        At least one.
    expiry
        UTC Unix seconds; an order that expires before gate closure is never cleared.
    nonce
        Tells the orders of a peer for one session apart.

    Raises
    ------
    OrderError
        If a value does not fit its type, with the path of the field.
    """

    market: int
    peer: int
    node: int
    session_start: int
    steps: tuple[Step, ...]
    expiry: int
    nonce: int

    def __post_init__(self) -> None:
        message = self.to_message()
        for kind, field in _TYPES["Order"]:
            if field != "steps":
                _require_fits(field, kind, message[field])
        if not self.steps:
            raise OrderError("steps", "an order needs at least one step")
        for at, step in enumerate(message["steps"]):
            for kind, field in _TYPES["Step"]:
                _require_fits(f"steps[{at}].{field}", kind, step[field])

    def to_message(self) -> dict[str, Any]:
        """The EIP-712 message; also what the contract takes as its struct."""
        return {
            "market": self.market,
            "peer": self.peer,
            "node": self.node,
            "sessionStart": self.session_start,
            "steps": [
                {
                    "period": step.period,
                    "side": int(step.side),
                    "priceMicroPerKWh": step.price_micro_per_kwh,
                    "energyWh": step.energy_wh,
                }
                for step in self.steps
            ],
            "expiry": self.expiry,
            "nonce": self.nonce,
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Order:
        """Read an EIP-712 message; `side` may also be written `"bid"` or `"ask"`.

        Raises
        ------
        OrderError
            With the path of the field that is missing, unknown or wrong.
        """
        if not isinstance(message, dict):
            raise OrderError("", f"an order is an object, not {short(message)}")
        _require_fields((), message, "Order")
        steps = message["steps"]
        if not isinstance(steps, (list, tuple)):
            raise OrderError("steps", "must be a list of steps")
        return cls(
            market=message["market"],
            peer=message["peer"],
            node=message["node"],
            session_start=message["sessionStart"],
            steps=tuple(_step(("steps", at), step) for at, step in enumerate(steps)),
            expiry=message["expiry"],
            nonce=message["nonce"],
        )

    def typed_data(self, domain: Domain) -> TypedData:
        """What the peer's wallet signs; `domain` is that of the order book."""
        return TypedData(domain, "Order", _TYPES, self.to_message())

    def signed_by(self, account: LocalAccount, domain: Domain) -> SignedOrder:
        """Sign with a key held in memory."""
        return SignedOrder(self, sign(self.typed_data(domain), account))

    @property
    def worst_case_nano(self) -> int:
        """The most the order can cost its peer, in nano-token; what placing it locks."""
        return sum(
            max(0, step.price_micro_per_kwh * (1 if step.side is Side.BID else -1)) * step.energy_wh
            for step in self.steps
        )


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """An order with its signature: 65 bytes r, s, v, or what an ERC-1271 wallet accepts.

    An empty signature stands for an order that is placed on chain.
    """

    order: Order
    signature: bytes

    def signer(self, domain: Domain) -> str:
        """Address of the key that signed.

        Raises
        ------
        SignatureError
            If the bytes are no signature.
        """
        return recover(self.order.typed_data(domain), self.signature)

    def to_document(self) -> dict[str, Any]:
        """As JSON: the message and the signature in hex."""
        return {"order": self.order.to_message(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SignedOrder:
        """Read what `to_document` wrote.

        Raises
        ------
        OrderError, SignatureError
            If it is malformed.
        """
        if not isinstance(document, dict) or set(document) != {"order", "signature"}:
            raise OrderError("", 'a signed order is {"order": {...}, "signature": "0x..."}')
        order, signature = document["order"], document["signature"]
        if not isinstance(order, dict):
            raise OrderError("order", "must be an object")
        raw = signature_from_hex(signature)
        return cls(Order.from_message(order), raw)


def _step(path: Path, step: object) -> Step:
    if not isinstance(step, dict):
        raise OrderError(place(path), "must be an object")
    _require_fields(path, step, "Step")
    side = step["side"]
    if isinstance(side, bool) or not isinstance(side, (str, int)) or side not in _SIDES:
        problem = f'must be "bid" (0) or "ask" (1), not {short(side)}'
        raise OrderError(place((*path, "side")), problem)
    return Step(step["period"], _SIDES[side], step["priceMicroPerKWh"], step["energyWh"])


def _require_fields(path: Path, message: Mapping[str, Any], kind: str) -> None:
    fields = [field for _, field in _TYPES[kind]]
    for field in fields:
        if field not in message:
            raise OrderError(place((*path, field)), "is missing")
    for field in message:
        if field not in fields:
            problem = f"is unknown; fields are {', '.join(fields)}"
            raise OrderError(place((*path, field)), problem)


def _require_fits(path: str, kind: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise OrderError(path, f"must be a whole number, not {short(value)}")
    signed = kind.startswith("int")
    bits = int(kind.removeprefix("u").removeprefix("int"))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise OrderError(path, f"must be {low} to {high}, not {value}")
