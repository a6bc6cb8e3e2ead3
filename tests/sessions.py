"""Sessions that need no chain: orders on a small network, cleared and certified."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from fairwatt.market import Link, Network, Side
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.proposal import Proposal, propose
from fairwatt.session import MarketTerms, NetworkVersion, Session

START = 1_704_067_200
FLOOR, CAP = -500, 1_000
NODES = ("grid", "north", "south")
LINKS = (
    Link("grid", "north", 20, 40, "7"),
    Link("north", "south", 0, 15),
    Link("north", "grid", 5, 40),
    Link("south", "north", 0, 15),
)
SIGNATURE = bytes(range(1, 65)) + bytes([28])


def terms_of(periods: int) -> MarketTerms:
    """Of a market whose sessions have so many quarter hours."""
    return MarketTerms(
        network=1,
        period_seconds=900,
        periods_per_session=periods,
        max_placed_blocks=4,
        first_session_start=START,
        gate_lead_seconds=900,
        clearing_window_seconds=900,
        reading_window_seconds=900,
        settlement_window_seconds=1800,
    )


def session(periods: int, *, second_version_from: int | None = None) -> Session:
    first = NetworkVersion(0, 0, Network(NODES[:2], LINKS[:1], FLOOR, CAP))
    second = NetworkVersion(1, 1, Network(NODES, LINKS, FLOOR, CAP))
    turn = 0 if second_version_from is None else second_version_from
    versions = tuple(first if period < turn else second for period in range(periods))
    return Session(1, START, terms_of(periods), versions)


def session_on(on: Network, periods: int) -> Session:
    """A session on one network, whose links belong to nobody."""
    links = tuple(replace(link, owner=None) for link in on.links)
    version = NetworkVersion(0, 0, replace(on, links=links))
    return Session(1, START, terms_of(periods), (version,) * periods)


@st.composite
def proposals(draw: st.DrawFn, *, one_version: bool = False) -> Proposal:
    """Sessions of any length with few prices, so that ties are the rule."""
    periods = draw(st.integers(1, 20))
    turn = 0 if one_version else draw(st.integers(0, periods))
    chosen = session(periods, second_version_from=turn)
    peers = draw(st.lists(st.integers(1, 200), min_size=1, max_size=6, unique=True))
    nodes = {peer: draw(st.integers(0, 1 if turn else 2)) for peer in peers}
    step = st.builds(
        Step,
        st.integers(0, periods - 1),
        st.sampled_from(Side),
        st.sampled_from([FLOOR, -20, 0, 10, 30, CAP]),
        st.sampled_from([1, 2, 7, 40]),
    )
    orders = [
        SignedOrder(Order(1, peer, START, tuple(steps), nonce), SIGNATURE)
        for peer in peers
        for nonce, steps in enumerate(
            draw(st.lists(st.lists(step, min_size=1, max_size=8), min_size=1, max_size=2))
        )
    ]
    return propose(chosen, orders, nodes=nodes)
