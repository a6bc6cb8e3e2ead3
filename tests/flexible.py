"""Sessions with storage and vehicles that need no chain: named ones, random ones full of ties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from fairwatt.market import Link, Network, Side
from fairwatt.orders import FlexibleOrder, Order, SignedOrder, Step
from fairwatt.proposal import Proposal, propose
from fairwatt.session import Session
from tests.sessions import SIGNATURE, START, session_on
from tests.strategies import networks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ONE = Network(("home",), (), 0, 1_000)
TWO = Network(
    ("grid", "home"),
    (Link("grid", "home", 20, 40, "7"), Link("home", "grid", 5, 40)),
    -100,
    1_000,
)
SELLER, BUYER, EV, BATTERY, TWIN = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Named:
    """A session whose outcome is known by hand.

    Attributes
    ----------
    asks, bids
        Price and energy of the seller (the buyer) in each period; None for no step.
    devices
        Terms of the flexible orders by peer: charge, discharge, capacity, start, wanted, value,
        wear.
    schedules
        Per device and period: discharged positive, charged negative.
    prices
        At the node, per period.
    payments_nano
        Per peer that trades: received positive, paid negative.
    """

    asks: Sequence[tuple[int, int] | None]
    bids: Sequence[tuple[int, int] | None]
    devices: dict[int, tuple[int, int, int, int, int, int, int]]
    schedules: tuple[tuple[int, ...], ...]
    prices: tuple[int, ...]
    payments_nano: dict[int, int]

    @property
    def proposal(self) -> Proposal:
        steps = {
            SELLER: _steps(Side.ASK, self.asks),
            BUYER: _steps(Side.BID, self.bids),
        }
        orders = [order(peer, own) for peer, own in steps.items() if own]
        orders += [flexible(peer, len(self.asks), *terms) for peer, terms in self.devices.items()]
        return cleared(session_on(ONE, len(self.asks)), orders, dict.fromkeys(range(1, 6), 0))


def _steps(side: Side, offers: Iterable[tuple[int, int] | None]) -> list[Step]:
    return [Step(at, side, *offer) for at, offer in enumerate(offers) if offer is not None]


NAMED = {
    # It takes 6 Wh in a period and needs 10: 6 in the cheapest, 4 in the second cheapest, which
    # makes what is held worth 50 then and later. In the others the seller sells nothing: their
    # lowest price is the 50 for which it would charge, their highest the ask.
    "vehicle charges in the two cheapest periods": Named(
        asks=[(90, 20), (30, 20), (70, 20), (50, 20)],
        bids=[None, None, None, None],
        devices={EV: (6, 0, 10, 0, 10, 500, 0)},
        schedules=((0, -6, 0, -4),),
        prices=(70, 30, 60, 50),
        payments_nano={SELLER: 6 * 30 + 4 * 50, EV: -6 * 30 - 4 * 50},
    ),
    # It needs 10 at a value of 40, and only one ask is below.
    "vehicle buys no more than it is worth": Named(
        asks=[(90, 20), (30, 20), (70, 20), (50, 20)],
        bids=[None, None, None, None],
        devices={EV: (6, 0, 10, 0, 10, 40, 0)},
        schedules=((0, -6, 0, 0),),
        prices=(65, 30, 55, 45),
        payments_nano={SELLER: 6 * 30, EV: -6 * 30},
    ),
    # All of the cheap energy goes through the battery, and not enough: the first price rises to
    # the second less the wear, and the battery earns its wear and no more.
    "battery trades until prices differ by its wear": Named(
        asks=[(100, 3), (300, 9)],
        bids=[None, (900, 5)],
        devices={BATTERY: (5, 5, 9, 0, 0, 0, 40)},
        schedules=((-3, 3),),
        prices=(260, 300),
        payments_nano={SELLER: 3 * 260 + 2 * 300, BUYER: -5 * 300, BATTERY: 3 * 40},
    ),
    "battery stays idle where prices differ by no more": Named(
        asks=[(100, 9), (140, 9)],
        bids=[(500, 1), (900, 5)],
        devices={BATTERY: (5, 5, 9, 0, 0, 0, 41)},
        schedules=((0, 0),),
        prices=(100, 140),
        payments_nano={SELLER: 100 + 5 * 140, BUYER: -100 - 5 * 140, BATTERY: 0},
    ),
    # Its power is the bottleneck, so both prices are those of the orders.
    "battery limited by its power": Named(
        asks=[(100, 20), None],
        bids=[None, (900, 20)],
        devices={BATTERY: (5, 5, 9, 0, 0, 0, 40)},
        schedules=((-5, 5),),
        prices=(100, 900),
        payments_nano={SELLER: 5 * 100, BUYER: -5 * 900, BATTERY: 5 * 800},
    ),
    # It could take and give 9 in a period, but holds 6: the price steps where it is full.
    "battery limited by its capacity": Named(
        asks=[(100, 20), (300, 20), (500, 20)],
        bids=[None, None, (900, 20)],
        devices={BATTERY: (9, 9, 6, 0, 0, 0, 0)},
        schedules=((-6, 0, 6),),
        prices=(100, 200, 500),
        payments_nano={SELLER: 6 * 100 + 14 * 500, BUYER: -20 * 500, BATTERY: 6 * 400},
    ),
    # It sells what it has first and buys it back later.
    "battery ends with what it began with": Named(
        asks=[None, (100, 20)],
        bids=[(400, 4), None],
        devices={BATTERY: (5, 5, 9, 5, 5, 1_000, 40)},
        schedules=((4, -4),),
        prices=(140, 100),
        payments_nano={SELLER: 4 * 100, BUYER: -4 * 140, BATTERY: 4 * 40},
    ),
    # What it has is worth 70 to its owner, so with its wear of 10 it sells at 80 and above. The bid
    # of 79 gets nothing: it is the lowest price there.
    "battery sells what it holds for more than its value": Named(
        asks=[None, None, None],
        bids=[(90, 2), (79, 2), (200, 9)],
        devices={BATTERY: (5, 4, 9, 7, 7, 70, 10)},
        schedules=((2, 0, 4),),
        prices=(80, 79, 200),
        payments_nano={BUYER: -2 * 80 - 4 * 200, BATTERY: 2 * 80 + 4 * 200},
    ),
    # 7 Wh are wanted of two alike that give 5 each. Which of them gives 5 is decided by the tails.
    "two equal batteries": Named(
        asks=[(100, 20), (500, 20)],
        bids=[None, (900, 7)],
        devices={BATTERY: (5, 5, 9, 0, 0, 0, 40), TWIN: (5, 5, 9, 0, 0, 0, 40)},
        schedules=((-5, 5), (-2, 2)),
        prices=(100, 140),
        payments_nano={SELLER: 700, BUYER: -7 * 140, BATTERY: 5 * 40, TWIN: 2 * 40},
    ),
}


def order(peer: int, steps: Iterable[Step], nonce: int = 0) -> SignedOrder:
    return SignedOrder(Order(1, peer, START, tuple(steps), nonce), SIGNATURE)


def flexible(
    peer: int,
    periods: int,
    charge: int,
    discharge: int,
    capacity: int,
    start: int,
    wanted: int,
    value: int,
    wear: int,
    first: int = 0,
    nonce: int = 0,
) -> SignedOrder:
    terms = FlexibleOrder(
        market=1,
        peer=peer,
        session_start=START,
        first_period=first,
        periods=periods,
        charge_wh=charge,
        discharge_wh=discharge,
        capacity_wh=capacity,
        start_wh=start,
        wanted_wh=wanted,
        value_micro_per_kwh=value,
        wear_micro_per_kwh=wear,
        nonce=nonce,
    )
    return SignedOrder(terms, SIGNATURE)


def cleared(of: Session, orders: Iterable[SignedOrder], nodes: dict[int, int]) -> Proposal:
    return propose(of, orders, nodes=nodes)


@st.composite
def sessions(
    draw: st.DrawFn, periods: st.SearchStrategy[int]
) -> tuple[Session, list[SignedOrder], dict[int, int]]:
    """Few prices and energies, so that ties are the rule; at least one flexible order."""
    count = draw(periods)
    on = draw(networks(wide=False))
    floor, cap = on.price_floor_micro_per_kwh, on.price_cap_micro_per_kwh
    price = st.one_of(
        st.sampled_from(sorted({floor, cap, (floor + cap) // 2})), st.integers(floor, cap)
    )
    energy = st.integers(1, 5)
    step = st.builds(Step, st.integers(0, count - 1), st.sampled_from(Side), price, energy)
    node = st.integers(0, len(on.nodes) - 1)
    nodes, orders = {}, []
    for peer in range(1, draw(st.integers(1, 5)) + 1):
        nodes[peer] = draw(node)
        orders.append(order(peer, draw(st.lists(step, min_size=1, max_size=3 * count + 2))))
    for at in range(draw(st.integers(1, 3))):
        peer = at + 10
        nodes[peer] = draw(node)
        first = draw(st.integers(0, count - 1))
        length = draw(st.integers(1, count - first))
        capacity = draw(st.integers(0, 8))
        wanted = draw(st.integers(0, capacity))
        start = draw(st.integers(0, wanted))
        power, wear = st.integers(0, 5), st.sampled_from([0, 0, 1, 5])
        terms = draw(power), draw(power), capacity, start, wanted, draw(price), draw(wear)
        orders.append(flexible(peer, length, *terms, first=first))
    return session_on(on, count), orders, nodes
