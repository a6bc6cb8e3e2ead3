"""Orders as peers sign them: EIP-712 messages that hold for one session of a market."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairwatt.eip712 import Domain, TypedData, recover, sign, signature_from_hex
from fairwatt.errors import OrderError
from fairwatt.jsontext import place, short
from fairwatt.market import Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eth_account.signers.local import LocalAccount

    from fairwatt.jsontext import Path

__all__ = ["Order", "SignedOrder", "Step", "pack_steps", "unpack_steps"]

_TYPES: Final = {
    "Order": (
        ("uint32", "market"),
        ("uint32", "peer"),
        ("uint16", "node"),
        ("uint40", "sessionStart"),
        ("uint32", "nonce"),
        ("uint16", "firstBlock"),
        ("uint16", "blocks"),
        ("bytes", "curve"),
    ),
}
_FIELDS: Final = {
    "order": (
        ("uint32", "market"),
        ("uint32", "peer"),
        ("uint16", "node"),
        ("uint40", "sessionStart"),
        ("", "steps"),
        ("uint32", "nonce"),
    ),
    "step": (
        ("uint16", "period"),
        ("", "side"),
        ("int32", "priceMicroPerKWh"),
        ("uint31", "energyWh"),
    ),
}
"""What an order is made of as people write it, with the types that its numbers must fit."""
_LANES: Final = 8
_PAIR_BYTES: Final = 2 * 4 * _LANES  # a word of prices, a word of steps
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
    """A peer's curve of steps for one session of a market.

    It is signed and sent as `Order` in `MarketTypes.sol`, with the steps packed into lanes:
    the first step of each period in the first row of the curve, the second in the second row, ...

    Parameters
    ----------
    market, peer, node
        Identifiers of the order book, the peer registry, and of the node in the network.
    session_start
        Start of the session's first period, UTC Unix seconds.
    steps
        At least one with energy.
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
    nonce: int

    def __post_init__(self) -> None:
        document = self.to_document()
        for kind, field in _FIELDS["order"]:
            if kind:
                _require_fits(field, kind, document[field])
        for at, step in enumerate(self.steps):
            entries = zip(
                _FIELDS["step"],
                (step.period, step.side, step.price_micro_per_kwh, step.energy_wh),
                strict=True,
            )
            for (kind, field), value in entries:
                if kind:
                    _require_fits(f"steps[{at}].{field}", kind, value)
        if not any(step.energy_wh for step in self.steps):
            raise OrderError("steps", "an order needs at least one step with energy")

    def to_document(self) -> dict[str, Any]:
        """As JSON for people: steps one by one, `side` as text."""
        return {
            "market": self.market,
            "peer": self.peer,
            "node": self.node,
            "sessionStart": self.session_start,
            "steps": [
                {
                    "period": step.period,
                    "side": step.side.name.lower(),
                    "priceMicroPerKWh": step.price_micro_per_kwh,
                    "energyWh": step.energy_wh,
                }
                for step in self.steps
            ],
            "nonce": self.nonce,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Order:
        """Read what `to_document` wrote; `side` may also be the number of the contract.

        Raises
        ------
        OrderError
            With the path of the field that is missing, unknown or wrong.
        """
        if not isinstance(document, dict):
            raise OrderError("", f"an order is an object, not {short(document)}")
        _require_fields((), document, "order")
        steps = document["steps"]
        if not isinstance(steps, (list, tuple)):
            raise OrderError("steps", "must be a list of steps")
        return cls(
            market=document["market"],
            peer=document["peer"],
            node=document["node"],
            session_start=document["sessionStart"],
            steps=tuple(_step(("steps", at), step) for at, step in enumerate(steps)),
            nonce=document["nonce"],
        )

    def to_message(self) -> dict[str, Any]:
        """The EIP-712 message; also what the contract takes as its struct."""
        first, blocks, curve = pack_steps(self.steps)
        return {
            "market": self.market,
            "peer": self.peer,
            "node": self.node,
            "sessionStart": self.session_start,
            "nonce": self.nonce,
            "firstBlock": first,
            "blocks": blocks,
            "curve": "0x" + curve.hex(),
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Order:
        """Read an EIP-712 message, or a struct that the contract emitted.

        Raises
        ------
        OrderError
            If the curve is no curve.
        """
        curve = message["curve"]
        if isinstance(curve, str):
            curve = bytes.fromhex(curve.removeprefix("0x"))
        return cls(
            market=message["market"],
            peer=message["peer"],
            node=message["node"],
            session_start=message["sessionStart"],
            steps=unpack_steps(message["firstBlock"], message["blocks"], bytes(curve)),
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
        return {"order": self.order.to_document(), "signature": "0x" + self.signature.hex()}

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
        return cls(Order.from_document(order), raw)


def pack_steps(steps: Sequence[Step]) -> tuple[int, int, bytes]:
    """Lay out steps as the contracts take them.

    Returns
    -------
    tuple
        First block, number of blocks, and the curve: rows, each with two words for each block,
        eight limit prices and eight energies (times two, plus one for an ask).
    """
    filled = [step for step in steps if step.energy_wh]
    first = min(step.period for step in filled) // _LANES
    blocks = max(step.period for step in filled) // _LANES + 1 - first
    rows: list[list[tuple[int, int]]] = []
    used: Counter[int] = Counter()
    for step in filled:
        row = used[step.period]
        used[step.period] += 1
        if row == len(rows):
            rows.append([(0, 0)] * (blocks * _LANES))
        energy = step.energy_wh << 1 | int(step.side)
        rows[row][step.period - first * _LANES] = (step.price_micro_per_kwh, energy)
    curve = bytearray()
    for row in rows:
        for start in range(0, len(row), _LANES):
            block = row[start : start + _LANES]
            curve += struct.pack(">8i8I", *(lane[0] for lane in block), *(lane[1] for lane in block))
    return first, blocks, bytes(curve)


def unpack_steps(first_block: int, blocks: int, curve: bytes) -> tuple[Step, ...]:
    """Read a curve: its steps with energy, by period and then by row.

    Raises
    ------
    OrderError
        If it is not made of whole rows.
    """
    row_bytes = blocks * _PAIR_BYTES
    if not curve or not row_bytes or len(curve) % row_bytes:
        raise OrderError("curve", f"{len(curve)} bytes are no rows of {blocks} blocks")
    lanes = list(struct.iter_unpack(">8i8I", curve))
    steps = []
    for at in range(blocks * _LANES):
        for start in range(0, len(lanes), blocks):
            pair = lanes[start + at // _LANES]
            price, energy = pair[at % _LANES], pair[_LANES + at % _LANES]
            if energy >> 1:
                period = first_block * _LANES + at
                steps.append(Step(period, Side(energy & 1), price, energy >> 1))
    return tuple(steps)


def _step(path: Path, step: object) -> Step:
    if not isinstance(step, dict):
        raise OrderError(place(path), "must be an object")
    _require_fields(path, step, "step")
    side = step["side"]
    if isinstance(side, bool) or not isinstance(side, (str, int)) or side not in _SIDES:
        problem = f'must be "bid" (0) or "ask" (1), not {short(side)}'
        raise OrderError(place((*path, "side")), problem)
    return Step(step["period"], _SIDES[side], step["priceMicroPerKWh"], step["energyWh"])


def _require_fields(path: Path, message: Mapping[str, Any], kind: str) -> None:
    fields = [field for _, field in _FIELDS[kind]]
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
    bits = int(kind.removeprefix("u").removeprefix("int"))  # such as uint31, what a lane holds
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise OrderError(path, f"must be {low} to {high}, not {value}")
