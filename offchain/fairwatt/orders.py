"""Orders as peers sign them: EIP-712 messages that hold for one session of a market.

People read and write an order as a list of steps, in a JSON document. What is signed, and what the
contracts take, is the same steps packed into words: the message. Each has one form for the other.

A flexible order says what a storage or a vehicle may do in a window of periods; the clearing finds
when. Its document is its message.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fairwatt.eip712 import (
    Domain,
    TypedData,
    recover,
    require_fits,
    sign,
    signature_from_hex,
)
from fairwatt.errors import OrderError
from fairwatt.jsontext import place, require_fields, require_whole, short
from fairwatt.lanes import LANES, MAX_ENERGY_WH
from fairwatt.market import Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eth_account.signers.local import LocalAccount

    from fairwatt.jsontext import Path

__all__ = [
    "PAIR_BYTES",
    "Curve",
    "FlexibleOrder",
    "Order",
    "SignedOrder",
    "Step",
    "order_from_document",
    "order_hash",
    "read_side",
]

PAIR_BYTES: Final = 64
"""Prices and steps of a block in one row of a curve."""

_TYPES: Final = {
    "Order": (
        ("uint32", "market"),
        ("uint32", "peer"),
        ("uint40", "sessionStart"),
        ("uint32", "nonce"),
        ("uint16", "firstBlock"),
        ("uint16", "blocks"),
        ("bytes", "curve"),
    ),
}
_TYPE_HASH: Final = keccak(
    text=f"Order({','.join(f'{kind} {field}' for kind, field in _TYPES['Order'])})"
)
_HASHED: Final = (
    "bytes32",
    *("bytes32" if kind == "bytes" else kind for kind, _ in _TYPES["Order"]),
)
_FLEXIBLE_TYPES: Final = {
    "FlexibleOrder": (
        ("uint32", "market"),
        ("uint32", "peer"),
        ("uint40", "sessionStart"),
        ("uint32", "nonce"),
        ("uint16", "firstPeriod"),
        ("uint16", "periods"),
        ("uint32", "chargeWh"),
        ("uint32", "dischargeWh"),
        ("uint32", "capacityWh"),
        ("uint32", "wearMicroPerKWh"),
        ("uint32", "startWh"),
        ("uint32", "wantedWh"),
        ("int32", "valueMicroPerKWh"),
    ),
}
_FLEXIBLE_MESSAGE: Final = tuple(field for _, field in _FLEXIBLE_TYPES["FlexibleOrder"])
_TERMS: Final = struct.Struct(">HHIIIIIIi")
_FIELDS: Final = {
    "market": "market",
    "peer": "peer",
    "sessionStart": "session_start",
    "nonce": "nonce",
    "firstPeriod": "first_period",
    "periods": "periods",
    "chargeWh": "charge_wh",
    "dischargeWh": "discharge_wh",
    "capacityWh": "capacity_wh",
    "wearMicroPerKWh": "wear_micro_per_kwh",
    "startWh": "start_wh",
    "wantedWh": "wanted_wh",
    "valueMicroPerKWh": "value_micro_per_kwh",
}
_MESSAGE: Final = tuple(field for _, field in _TYPES["Order"])
_HEAD: Final = _TYPES["Order"][:4]
_DOCUMENT: Final = (*(field for _, field in _HEAD), "steps")
_STEP: Final = ("period", "side", "priceMicroPerKWh", "energyWh")
_SIDES: Final = {"bid": Side.BID, "ask": Side.ASK, 0: Side.BID, 1: Side.ASK}
_MOST_CURVE_BYTES: Final = 1 << 20
_MOST_PERIOD, _MOST_BLOCK = (1 << 16) - 1, (1 << 16) - 1


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
        Most to be traded at this limit; at least 1.
    """

    period: int
    side: Side
    price_micro_per_kwh: int
    energy_wh: int


class Curve(NamedTuple):
    """The steps of an order as the contracts read them.

    A block is eight consecutive periods: block k has the periods 8k to 8k + 7. A word has a lane of
    32 bits for each of them, the first being the most significant. `words` are rows, each with two
    words for every block: limit prices (two's complement), and steps, `energy_wh << 1 | side`.
    The s-th step of a period stands in row s; a lane without a step is 0 in both words. There is
    no more of it than the steps need.
    """

    first_block: int
    blocks: int
    words: bytes


@dataclass(frozen=True, slots=True)
class Order:
    """A peer's curve of steps for one session of a market, as `Order` in `MarketTypes.sol`.

    Parameters
    ----------
    market, peer
        Identifiers of the order book and the peer registry.
    session_start
        Start of the session's first period, UTC Unix seconds.
    steps
        At least one. They are kept in the sequence of their periods, those of one period in the
        sequence given.
    nonce
        Tells the orders of a peer for one session apart.

    Raises
    ------
    OrderError
        If a value does not fit its type, with the path of the field.
    """

    market: int
    peer: int
    session_start: int
    steps: tuple[Step, ...]
    nonce: int = 0

    def __post_init__(self) -> None:
        require_fits(self.to_document(), _HEAD, OrderError)
        if not self.steps:
            raise OrderError("steps", "an order needs at least one step")
        for at, step in enumerate(self.steps):
            _require_step(f"steps[{at}]", step)
        in_sequence = tuple(sorted(self.steps, key=lambda step: step.period))
        object.__setattr__(self, "steps", in_sequence)
        _require_small(in_sequence)

    @property
    def curve(self) -> Curve:
        """The steps as the contracts read them."""
        return _pack(self.steps)

    def to_document(self) -> dict[str, Any]:
        """As JSON: the steps one by one."""
        return {
            "market": self.market,
            "peer": self.peer,
            "sessionStart": self.session_start,
            "nonce": self.nonce,
            "steps": [
                {
                    "period": step.period,
                    "side": "ask" if step.side else "bid",
                    "priceMicroPerKWh": step.price_micro_per_kwh,
                    "energyWh": step.energy_wh,
                }
                for step in self.steps
            ],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Order:
        """Read what `to_document` wrote, or the message with its curve in hex.

        `side` may also be written 0 (bid) or 1 (ask).

        Raises
        ------
        OrderError
            With the path of the field that is missing, unknown or wrong.
        """
        if not isinstance(document, dict):
            raise OrderError("", f"an order is an object, not {short(document)}")
        if "curve" in document:
            return cls.from_message(document)
        require_fields(document, _DOCUMENT, (), OrderError)
        steps = document["steps"]
        if not isinstance(steps, (list, tuple)):
            raise OrderError("steps", "must be a list of steps")
        return cls(
            market=document["market"],
            peer=document["peer"],
            session_start=document["sessionStart"],
            steps=tuple(_step(("steps", at), step) for at, step in enumerate(steps)),
            nonce=document["nonce"],
        )

    def to_struct(self) -> dict[str, Any]:
        """The `Order` of the contracts, which take orders of both kinds as one: the message."""
        return self.to_message()

    def to_message(self) -> dict[str, Any]:
        """The EIP-712 message, the curve in hex."""
        curve = self.curve
        return {
            "market": self.market,
            "peer": self.peer,
            "sessionStart": self.session_start,
            "nonce": self.nonce,
            "firstBlock": curve.first_block,
            "blocks": curve.blocks,
            "curve": "0x" + curve.words.hex(),
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Order:
        """Read an EIP-712 message; the curve in hex, or as bytes.

        Raises
        ------
        OrderError
            With the path of the field that is missing, unknown or wrong. A curve has one form
            only; none but that is read.
        """
        require_fields(message, _MESSAGE, (), OrderError)
        for field in ("firstBlock", "blocks"):
            require_whole(message[field], 0, _MOST_BLOCK, field, OrderError)
        curve = Curve(message["firstBlock"], message["blocks"], _bytes("curve", message["curve"]))
        return cls(
            market=message["market"],
            peer=message["peer"],
            session_start=message["sessionStart"],
            steps=_unpack(curve),
            nonce=message["nonce"],
        )

    def typed_data(self, domain: Domain) -> TypedData:
        """What the peer's wallet signs; `domain` is that of the order book."""
        return TypedData(domain, "Order", _TYPES, self.to_message())

    @property
    def struct_hash(self) -> bytes:
        """EIP-712 hash without a domain: what a clearing chains, and a receipt names."""
        return order_hash(self.market, self.peer, self.session_start, self.nonce, self.curve)

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
class FlexibleOrder:
    """What a storage or vehicle of a peer may do in one session, as in `MarketTypes.sol`.

    The clearing finds when it charges and discharges. Each period it pays or receives the price of
    its peer's node. What it holds at the end, up to `wanted_wh`, is worth `value_micro_per_kwh` to
    its peer: whatever the prices, no other schedule within these terms is worth more. A vehicle
    starts with 0, wants what it needs and does not discharge; a battery that is to hold at the end
    what it held at the start wants that, at a value above all prices.

    Parameters
    ----------
    market, peer, session_start, nonce
        As in `Order`, with which it shares the nonces.
    first_period, periods
        Its window in the session.
    charge_wh, discharge_wh
        Most energy in one period.
    capacity_wh
        Most it holds from one period to the next.
    wear_micro_per_kwh
        Cost of discharging: it sells only at prices so much above those it buys at. It is paid to
        nobody.
    start_wh
        Held at the start; at most `wanted_wh`.
    wanted_wh
        Most that is of value at the end; at most `capacity_wh`.
    value_micro_per_kwh
        Value of what it holds at the end. It is paid by nobody.

    Raises
    ------
    OrderError
        If a value does not fit its type, or the terms contradict each other, with the path of the
        field.
    """

    market: int
    peer: int
    session_start: int
    first_period: int
    periods: int
    charge_wh: int
    discharge_wh: int
    capacity_wh: int
    start_wh: int
    wanted_wh: int
    value_micro_per_kwh: int
    wear_micro_per_kwh: int = 0
    nonce: int = 0

    def __post_init__(self) -> None:
        message = self.to_message()
        require_fits(message, _FLEXIBLE_TYPES["FlexibleOrder"], OrderError)
        for field, least, most in (
            ("periods", 1, (1 << 16) - self.first_period),
            ("chargeWh", 0, MAX_ENERGY_WH),
            ("dischargeWh", 0, MAX_ENERGY_WH),
            ("wantedWh", self.start_wh, self.capacity_wh),
        ):
            if not least <= message[field] <= most:
                problem = f"must be {least} to {most}, not {message[field]}"
                if field == "wantedWh":
                    problem += "; it is at least startWh and at most capacityWh"
                raise OrderError(field, problem)

    @property
    def window(self) -> range:
        """Its periods."""
        return range(self.first_period, self.first_period + self.periods)

    @classmethod
    def from_terms(
        cls, market: int, peer: int, session_start: int, nonce: int, terms: bytes
    ) -> FlexibleOrder:
        """The order with these `terms`.

        Raises
        ------
        OrderError
            As for any order.
        """
        first, periods, charge, discharge, capacity, wear, start, wanted, value = _TERMS.unpack(
            terms
        )
        return cls(
            market=market,
            peer=peer,
            session_start=session_start,
            nonce=nonce,
            first_period=first,
            periods=periods,
            charge_wh=charge,
            discharge_wh=discharge,
            capacity_wh=capacity,
            wear_micro_per_kwh=wear,
            start_wh=start,
            wanted_wh=wanted,
            value_micro_per_kwh=value,
        )

    @property
    def terms(self) -> bytes:
        """Its terms in one word, as a clearing has them."""
        return _TERMS.pack(
            *(self.first_period, self.periods, self.charge_wh, self.discharge_wh),
            *(self.capacity_wh, self.wear_micro_per_kwh, self.start_wh, self.wanted_wh),
            self.value_micro_per_kwh,
        )

    def to_struct(self) -> dict[str, Any]:
        """The `Order` of the contracts: it has no blocks, and its terms for a curve."""
        return {
            "market": self.market,
            "peer": self.peer,
            "sessionStart": self.session_start,
            "nonce": self.nonce,
            "firstBlock": 0,
            "blocks": 0,
            "curve": "0x" + self.terms.hex(),
        }

    def to_message(self) -> dict[str, Any]:
        """The EIP-712 message."""
        fields = asdict(self)
        return {field: fields[_FIELDS[field]] for field in _FLEXIBLE_MESSAGE}

    def to_document(self) -> dict[str, Any]:
        """As JSON: the message."""
        return self.to_message()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> FlexibleOrder:
        """Read what `to_document` wrote.

        Raises
        ------
        OrderError
            With the path of the field that is missing, unknown or wrong.
        """
        if not isinstance(document, dict):
            raise OrderError("", f"an order is an object, not {short(document)}")
        require_fields(document, _FLEXIBLE_MESSAGE, (), OrderError)
        return cls(**{_FIELDS[field]: document[field] for field in _FLEXIBLE_MESSAGE})

    def typed_data(self, domain: Domain) -> TypedData:
        """What the peer's wallet signs; `domain` is that of the order book."""
        return TypedData(domain, "FlexibleOrder", _FLEXIBLE_TYPES, self.to_message())

    @property
    def struct_hash(self) -> bytes:
        """EIP-712 hash of the message without the domain: the seed of its tails in the proof."""
        signable = self.typed_data(Domain(0, "0x" + "0" * 40)).signable()
        return bytes(signable.body)

    def signed_by(self, account: LocalAccount, domain: Domain) -> SignedOrder:
        """Sign with a key held in memory."""
        return SignedOrder(self, sign(self.typed_data(domain), account))

    @property
    def worst_case_nano(self) -> int:
        """The most the order can cost its peer, in nano-token.

        At the prices of a clearing its schedule is worth no less than to do nothing, so it pays no
        more than what it gains in value, less its wear; `Orders.worstCaseNano` of the contracts.
        """
        value, wear = self.value_micro_per_kwh, self.wear_micro_per_kwh
        gained = min(self.wanted_wh - self.start_wh, self.periods * self.charge_wh)
        lost = min(self.start_wh, self.periods * self.discharge_wh)
        return value * gained if value > 0 else max(0, -value - wear) * lost


def order_from_document(document: Mapping[str, Any]) -> Order | FlexibleOrder:
    """Read an order of either kind: a flexible one is told by its window.

    Raises
    ------
    OrderError
        With the path of the field that is missing, unknown or wrong.
    """
    if isinstance(document, dict) and "firstPeriod" in document:
        return FlexibleOrder.from_document(document)
    return Order.from_document(document)


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """An order with its signature: 65 bytes r, s, v, or what an ERC-1271 wallet accepts.

    An empty signature stands for an order that is placed on chain.
    """

    order: Order | FlexibleOrder
    signature: bytes

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the order; a flexible one has none."""
        return () if isinstance(self.order, FlexibleOrder) else self.order.steps

    def signer(self, domain: Domain) -> str:
        """Address of the key that signed.

        Raises
        ------
        SignatureError
            If the bytes are no signature.
        """
        return recover(self.order.typed_data(domain), self.signature)

    def to_struct(self) -> dict[str, Any]:
        """The `SignedOrder` of the bonds."""
        return {"order": self.order.to_struct(), "signature": self.signature}

    def to_document(self) -> dict[str, Any]:
        """As JSON: the order and the signature in hex."""
        return {"order": self.order.to_document(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SignedOrder:
        """Read what `to_document` wrote; the order may also be the message that was signed.

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
        return cls(order_from_document(order), raw)


def order_hash(market: int, peer: int, session_start: int, nonce: int, curve: Curve) -> bytes:
    """EIP-712 hash of an order without a domain, whatever its curve looks like."""
    head = (market, peer, session_start, nonce, curve.first_block, curve.blocks)
    return bytes(keccak(encode(_HASHED, [_TYPE_HASH, *head, keccak(curve.words)])))


def _pack(steps: Sequence[Step]) -> Curve:
    """The curve of steps that come in the sequence of their periods."""
    first, blocks, rows = _extent(steps)
    lanes = [0] * (rows * blocks * 2 * LANES)
    period, row = -1, 0
    for step in steps:
        row = row + 1 if step.period == period else 0
        period = step.period
        block, lane = divmod(period - first * LANES, LANES)
        at = (row * blocks + block) * 2 * LANES + lane
        lanes[at] = step.price_micro_per_kwh & 0xFFFFFFFF
        lanes[at + LANES] = step.energy_wh << 1 | step.side
    return Curve(first, blocks, struct.pack(f">{len(lanes)}I", *lanes))


def _extent(steps: Sequence[Step]) -> tuple[int, int, int]:
    """First block, number of blocks, number of rows."""
    first = steps[0].period // LANES
    rows, in_row, period = 0, 0, -1
    for step in steps:
        in_row = in_row + 1 if step.period == period else 1
        period = step.period
        rows = max(rows, in_row)
    return first, steps[-1].period // LANES + 1 - first, rows


def _require_small(steps: Sequence[Step]) -> None:
    _, blocks, rows = _extent(steps)
    size = rows * blocks * PAIR_BYTES
    if size > _MOST_CURVE_BYTES:
        problem = f"take {size} bytes, of which an order has at most {_MOST_CURVE_BYTES}"
        raise OrderError("steps", problem)


def _unpack(curve: Curve) -> tuple[Step, ...]:
    row_bytes = curve.blocks * PAIR_BYTES
    size = len(curve.words)
    if not row_bytes or not size or size % row_bytes:
        problem = f"must have one or more rows of {row_bytes} bytes, not {size} bytes"
        raise OrderError("curve", problem)
    if size > _MOST_CURVE_BYTES:
        raise OrderError("curve", f"must have at most {_MOST_CURVE_BYTES} bytes, not {size}")
    lanes = struct.unpack(f">{size // 4}I", curve.words)
    steps: dict[int, list[Step]] = {}
    for at in range(0, len(lanes), 2 * LANES):
        row, block = divmod(at // (2 * LANES), curve.blocks)
        for lane in range(LANES):
            price, entry = lanes[at + lane], lanes[at + LANES + lane]
            if not (price or entry):
                continue
            period = (curve.first_block + block) * LANES + lane
            if entry < 2:
                raise OrderError("curve", f"has a step without energy in period {period}")
            if row != len(steps.setdefault(period, [])):
                raise OrderError("curve", f"has an empty lane before row {row} of period {period}")
            signed = price - (price >> 31 << 32)
            steps[period].append(Step(period, Side(entry & 1), signed, entry >> 1))
    in_sequence = tuple(step for period in sorted(steps) for step in steps[period])
    if not in_sequence:
        raise OrderError("curve", "has no step")
    extent = curve.first_block, curve.blocks, size // row_bytes
    if _extent(in_sequence) != extent:
        raise OrderError("curve", "has an empty first block, last block or last row")
    return in_sequence


def _bytes(path: str, value: object) -> bytes:
    if isinstance(value, bytes):
        return bytes(value)
    try:
        return bytes.fromhex(str.removeprefix(value, "0x"))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise OrderError(path, f"must be hexadecimal, 0x..., not {short(value)}") from None


def read_side(side: object, where: str = "side") -> Side:
    """Read a side as documents carry it, `bid` or `ask`, or as messages do, 0 or 1.

    Raises
    ------
    OrderError
        If it is none, with its place.
    """
    if isinstance(side, bool) or not isinstance(side, (str, int)) or side not in _SIDES:
        raise OrderError(where, f'must be "bid" (0) or "ask" (1), not {short(side)}')
    return _SIDES[side]


def _step(path: Path, step: object) -> Step:
    if not isinstance(step, dict):
        raise OrderError(place(path), "must be an object")
    require_fields(step, _STEP, path, OrderError)
    side = read_side(step["side"], place((*path, "side")))
    return Step(step["period"], side, step["priceMicroPerKWh"], step["energyWh"])


def _require_step(path: str, step: Step) -> None:
    for field, value, low, high in (
        ("period", step.period, 0, _MOST_PERIOD),
        ("priceMicroPerKWh", step.price_micro_per_kwh, -(1 << 31), (1 << 31) - 1),
        ("energyWh", step.energy_wh, 1, MAX_ENERGY_WH),
    ):
        require_whole(value, low, high, f"{path}.{field}", OrderError)
