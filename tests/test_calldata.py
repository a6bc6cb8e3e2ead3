"""What the calldata of a clearing says again of what went into it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt import calldata
from fairwatt.errors import OracleError
from fairwatt.market import Link, Network, Side
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.session import MarketTerms, NetworkVersion, Proposal, Session, propose

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


def session(periods: int, *, second_version_from: int | None = None) -> Session:
    terms = MarketTerms(
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
    first = NetworkVersion(0, 0, Network(NODES[:2], LINKS[:1], FLOOR, CAP))
    second = NetworkVersion(1, 1, Network(NODES, LINKS, FLOOR, CAP))
    turn = 0 if second_version_from is None else second_version_from
    versions = tuple(first if period < turn else second for period in range(periods))
    return Session(1, START, terms, versions)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    """Sessions of any length with few prices, so that ties are the rule."""
    periods = draw(st.integers(1, 20))
    turn = draw(st.integers(0, periods))
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


def read(proposal: Proposal) -> dict[int, tuple[int, ...]]:
    message = calldata.encode_clearing(proposal)
    call = calldata.ClearCall(
        message["cells"], message["details"], calldata.encode_orders(proposal)
    )
    return calldata.positions_wh([call], proposal.nodes.__getitem__, len(proposal.clearings))


@given(proposals())
@settings(deadline=None, max_examples=150)
def test_positions__are_those_of_the_proposal(proposal: Proposal) -> None:
    proposal.check()
    assert read(proposal) == proposal.positions_wh


def test_positions__of_parts_are_those_of_the_whole() -> None:
    ask = Step(0, Side.ASK, 30, 10)
    orders = [
        SignedOrder(Order(1, peer, START, (step,)), SIGNATURE)
        for peer, step in ((1, ask), (2, ask), (3, Step(0, Side.BID, 30, 15)))
    ]
    whole = propose(session(1), orders, nodes={1: 0, 2: 0, 3: 0})
    message = calldata.encode_clearing(whole)
    records = calldata.encode_orders(whole)
    size = len(records) // 3
    calls = [
        calldata.ClearCall(message["cells"], message["details"], part)
        for part in (records[:size], records[size:])
    ]
    assert calldata.positions_wh(calls, lambda _: 0, 1) == {1: (7,), 2: (8,), 3: (-15,)}


def test_networks__runs_of_equal_versions() -> None:
    proposal = propose(session(9, second_version_from=4), [], nodes={})
    message = calldata.encode_clearing(proposal)
    assert [(run["version"], run["periods"]) for run in message["networks"]] == [(0, 4), (1, 5)]
    assert len(message["flows"]) == 5 * (4 * 1 + 5 * 4)
    assert len(message["cells"]) == 3 * 2 * 96


def test_orders__a_signature_that_is_none() -> None:
    order = Order(1, 3, START, (Step(0, Side.BID, 30, 1),), 8)
    proposal = propose(session(1), [SignedOrder(order, b"code")], nodes={3: 0})
    with pytest.raises(OracleError, match="order 8 of peer 3 has a signature of 4 bytes"):
        calldata.encode_orders(proposal)
