"""Continuous trading: signed orders for after gate closure, and who of them trades with whom.

A pair of orders that cross is brought to the contract `Trades`, which settles it at the price of
the order that rested. Which one that is both say by themselves: an order is incoming until its time
`rests_from`, and rests from then on. `ContinuousBook` finds the pairs as a continuous double
auction does, by price and then by time; whoever runs it could choose other pairs, but no prices.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fairwatt.eip712 import (
    Domain,
    TypedData,
    recover,
    require_fits,
    sign,
    signature_from_hex,
)
from fairwatt.errors import OrderError
from fairwatt.jsontext import require_fields, short
from fairwatt.market import Side
from fairwatt.orders import read_side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eth_account.signers.local import LocalAccount

__all__ = [
    "ContinuousBook",
    "ContinuousOrder",
    "Pair",
    "Product",
    "SignedContinuousOrder",
]

_FIELDS: Final = {
    "market": ("uint32", "market"),
    "peer": ("uint32", "peer"),
    "session_start": ("uint40", "sessionStart"),
    "nonce": ("uint32", "nonce"),
    "first_period": ("uint16", "firstPeriod"),
    "periods": ("uint16", "periods"),
    "side": ("uint8", "side"),
    "price_micro_per_kwh": ("int32", "priceMicroPerKWh"),
    "energy_wh": ("uint32", "energyWh"),
    "rests_from": ("uint40", "restsFrom"),
    "valid_until": ("uint40", "validUntil"),
    "counterparty": ("uint32", "counterparty"),
}
"""Of the struct of the contract, in its sequence."""
_TYPES: Final = {"ContinuousOrder": tuple(_FIELDS.values())}
_NAMES: Final = tuple(name for _, name in _FIELDS.values())
_AT_LEAST: Final = {"periods": 1, "energyWh": 1, "peer": 1}


class Product(NamedTuple):
    """What is traded: the same energy in each of some periods of a session."""

    market: int
    session_start: int
    first_period: int
    periods: int


@dataclass(frozen=True, slots=True)
class ContinuousOrder:
    """A limit order for some periods of a session, as `ContinuousOrder` in `ITrades.sol`.

    Parameters
    ----------
    market, peer, session_start
        As of an `Order` for the auction.
    first_period, periods
        Consecutive periods of the session.
    side
        Bid or ask.
    price_micro_per_kwh
        Limit: a bid pays at most, an ask receives at least this. May be negative.
    energy_wh
        Energy in each of the periods, in all trades together; at least 1.
    valid_until
        Last second in which it trades, UTC Unix seconds.
    rests_from
        First second in which it rests. Before, it takes what rests and cannot be taken; from then
        on it can be taken, at its limit, and takes nothing. 0 rests from the start.
    nonce
        Tells the orders of a peer apart; what is traded counts per nonce.
    counterparty
        The only peer it trades with; 0 if any.

    Raises
    ------
    OrderError
        If a value does not fit its type, with the path of the field.
    """

    market: int
    peer: int
    session_start: int
    first_period: int
    periods: int
    side: Side
    price_micro_per_kwh: int
    energy_wh: int
    valid_until: int
    rests_from: int = 0
    nonce: int = 0
    counterparty: int = 0

    def __post_init__(self) -> None:
        values = {name: getattr(self, field) for field, (_, name) in _FIELDS.items()}
        require_fits(values, _FIELDS.values(), OrderError, least=_AT_LEAST)

    @property
    def product(self) -> Product:
        """What it is for."""
        return Product(self.market, self.session_start, self.first_period, self.periods)

    def rests_at(self, time: int) -> bool:
        """Whether it rests at a time; otherwise it is incoming."""
        return time >= self.rests_from

    def to_message(self) -> dict[str, Any]:
        """The EIP-712 message; also what the contract takes as its struct."""
        return {name: int(getattr(self, field)) for field, (_, name) in _FIELDS.items()}

    def to_document(self) -> dict[str, Any]:
        """As JSON: the message, the side in words."""
        return self.to_message() | {"side": "ask" if self.side else "bid"}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ContinuousOrder:
        """Read what `to_document` or `to_message` wrote.

        Raises
        ------
        OrderError
            With the path of the field that is missing, unknown or wrong.
        """
        if not isinstance(document, dict):
            raise OrderError("", f"an order is an object, not {short(document)}")
        require_fields(document, _NAMES, (), OrderError)
        values = {field: document[name] for field, (_, name) in _FIELDS.items()}
        return cls(**values | {"side": read_side(document["side"])})

    @classmethod
    def from_struct(cls, values: Sequence[int]) -> ContinuousOrder:
        """Read the fields in the sequence of the contract's struct, as calldata has them.

        Raises
        ------
        OrderError
            If it is an order that the contract takes from nobody.
        """
        return cls.from_document(dict(zip(_NAMES, values, strict=True)))

    def typed_data(self, domain: Domain) -> TypedData:
        """What the peer's wallet signs; `domain` is that of the contract `Trades`."""
        return TypedData(domain, "ContinuousOrder", _TYPES, self.to_message())

    def signed_by(self, account: LocalAccount, domain: Domain) -> SignedContinuousOrder:
        """Sign with a key held in memory."""
        return SignedContinuousOrder(self, sign(self.typed_data(domain), account))


@dataclass(frozen=True, slots=True)
class SignedContinuousOrder:
    """An order with its signature: 65 bytes r, s, v, or what an ERC-1271 wallet accepts."""

    order: ContinuousOrder
    signature: bytes

    def signer(self, domain: Domain) -> str:
        """Address of the key that signed.

        Raises
        ------
        SignatureError
            If the bytes are no signature.
        """
        return recover(self.order.typed_data(domain), self.signature)

    def to_message(self) -> dict[str, Any]:
        """The struct of the contract."""
        return {"order": self.order.to_message(), "signature": self.signature}

    def to_document(self) -> dict[str, Any]:
        """As JSON: the order and the signature in hex."""
        return {"order": self.order.to_document(), "signature": "0x" + self.signature.hex()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SignedContinuousOrder:
        """Read what `to_document` wrote.

        Raises
        ------
        OrderError, SignatureError
            If it is malformed.
        """
        if not isinstance(document, dict) or set(document) != {"order", "signature"}:
            raise OrderError("", 'a signed order is {"order": {...}, "signature": "0x..."}')
        return cls(
            ContinuousOrder.from_document(document["order"]),
            signature_from_hex(document["signature"]),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Two orders that trade, and how much in each period."""

    resting: SignedContinuousOrder
    incoming: SignedContinuousOrder
    energy_wh: int

    @property
    def price_micro_per_kwh(self) -> int:
        """The limit of the order that rested."""
        return self.resting.order.price_micro_per_kwh

    @property
    def seller(self) -> int:
        """The peer that sells."""
        return (self.resting if self.resting.order.side else self.incoming).order.peer

    @property
    def buyer(self) -> int:
        """The peer that buys."""
        return (self.incoming if self.resting.order.side else self.resting).order.peer

    @property
    def value_nano(self) -> int:
        """What the buyer pays the seller, nano-token; negative where the price is."""
        return self.energy_wh * self.resting.order.periods * self.price_micro_per_kwh

    def to_document(self) -> dict[str, Any]:
        """As JSON, to be read; not to be signed."""
        return {
            "seller": self.seller,
            "buyer": self.buyer,
            "resting": self.resting.order.peer,
            "sessionStart": self.resting.order.session_start,
            "firstPeriod": self.resting.order.first_period,
            "periods": self.resting.order.periods,
            "energyWh": self.energy_wh,
            "priceMicroPerKWh": self.price_micro_per_kwh,
            "valueNano": self.value_nano,
        }


class _Entry(NamedTuple):
    """Sorts by price, best first, and then by arrival."""

    rank: int
    arrival: int
    signed: SignedContinuousOrder


class ContinuousBook:
    """The book of a continuous double auction: price first, then time.

    An incoming order trades with the best order that rests on the other side, as much as both can,
    then with the next, until it is filled or none crosses; the earlier of two equal prices comes
    first. What is left of it waits, and rests when its time has come. Orders that arrived earlier
    take first. All of it is by rule; there are no clocks, the time is an argument.

    Parameters
    ----------
    nodes
        Index of the node of every peer: only peers of one node trade. None: all are at one node.
    """

    def __init__(self, nodes: Mapping[int, int] | None = None) -> None:
        self._nodes = nodes
        self._queues: defaultdict[tuple[Product, int, Side], list[_Entry]] = defaultdict(list)
        self._takers: list[_Entry] = []
        self._traded: Counter[tuple[int, int]] = Counter()
        self._refused: set[tuple[SignedContinuousOrder, SignedContinuousOrder]] = set()
        self._arrivals = 0

    def add(self, signed: SignedContinuousOrder, *, traded_wh: int = 0) -> None:
        """Let an order arrive.

        Parameters
        ----------
        traded_wh
            What has been traded under its nonce already, as far as it is not known here.
        """
        order = signed.order
        key = order.peer, order.nonce
        self._traded[key] = max(self._traded[key], traded_wh)
        self._arrivals += 1
        entry = _Entry(_rank(order), self._arrivals, signed)
        insort(self._queues[self._place(order)], entry, key=lambda other: other[:2])
        self._takers.append(entry)

    def left_wh(self, order: ContinuousOrder) -> int:
        """What is left of an order, in each period."""
        return max(0, order.energy_wh - self._traded[order.peer, order.nonce])

    def orders(self, time: int) -> list[SignedContinuousOrder]:
        """Orders that are valid and not filled: by product and side, the best first."""
        return [
            entry.signed
            for place in sorted(self._queues)
            for entry in self._queues[place]
            if self._is_live(entry.signed.order, time)
        ]

    def next_pair(self, time: int) -> Pair | None:
        """The pair that trades next at a time; None if no two orders trade."""
        self._takers = [
            entry
            for entry in self._takers
            if not entry.signed.order.rests_at(time) and self._is_live(entry.signed.order, time)
        ]
        for taker in self._takers:
            if (maker := self._maker(taker, time)) is not None:
                energy = min(self.left_wh(taker.signed.order), self.left_wh(maker.order))
                return Pair(maker, taker.signed, energy)
        return None

    def trade(self, pair: Pair) -> None:
        """Take what a pair trades off its orders."""
        for signed in (pair.resting, pair.incoming):
            self._traded[signed.order.peer, signed.order.nonce] += pair.energy_wh

    def refuse(self, pair: Pair) -> None:
        """Never pair these two again: the contract refuses them."""
        self._refused.add((pair.resting, pair.incoming))

    def match(self, time: int) -> list[Pair]:
        """Trade all that trades at a time."""
        pairs = []
        while (pair := self.next_pair(time)) is not None:
            self.trade(pair)
            pairs.append(pair)
        return pairs

    def _maker(self, taker: _Entry, time: int) -> SignedContinuousOrder | None:
        order = taker.signed.order
        product, node, side = self._place(order)
        queue = self._queues[product, node, Side.ASK if side is Side.BID else Side.BID]
        at = 0
        while at < len(queue) and taker.rank + queue[at].rank <= 0:
            maker = queue[at].signed
            if not self._is_live(maker.order, time):
                del queue[at]
                continue
            if (
                maker.order.rests_at(time)
                and _may_trade(order, maker.order)
                and (maker, taker.signed) not in self._refused
            ):
                return maker
            at += 1
        return None

    def _is_live(self, order: ContinuousOrder, time: int) -> bool:
        return time <= order.valid_until and self.left_wh(order) > 0

    def _place(self, order: ContinuousOrder) -> tuple[Product, int, Side]:
        node = 0 if self._nodes is None else self._nodes[order.peer]
        return order.product, node, order.side


def _rank(order: ContinuousOrder) -> int:
    """Lower is better. A bid and an ask cross where their ranks sum to at most 0."""
    price = order.price_micro_per_kwh
    return price if order.side is Side.ASK else -price


def _may_trade(one: ContinuousOrder, other: ContinuousOrder) -> bool:
    return (
        one.peer != other.peer
        and one.counterparty in (0, other.peer)
        and other.counterparty in (0, one.peer)
    )
