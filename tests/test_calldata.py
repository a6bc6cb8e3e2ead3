"""What the calldata of a clearing says again of what went into it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt import calldata
from fairwatt.errors import OracleError
from fairwatt.market import Network, Side
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.proposal import propose
from fairwatt.session import NetworkVersion
from tests.flexible import NAMED, cleared
from tests.flexible import sessions as flexible_sessions
from tests.sessions import SIGNATURE, START, proposals, session, session_on

if TYPE_CHECKING:
    from fairwatt.calldata import AcceptedOrder
    from fairwatt.proposal import Proposal
    from fairwatt.session import Session


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


def test_encode_clearing__more_cells_than_it_can_name__is_an_error() -> None:
    nodes = tuple(f"n{at}" for at in range(1 << 12))
    on = Network((*nodes, "last"), (), price_floor_micro_per_kwh=0, price_cap_micro_per_kwh=9)
    order = Order(1, 1, START, (Step(0, Side.BID, 5, 1), Step(0, Side.ASK, 5, 2)))
    for node in (len(nodes) - 1, len(nodes)):
        proposal = propose(session_on(on, 1), [SignedOrder(order, SIGNATURE)], nodes={1: node})
        if node < len(nodes):
            calldata.encode_clearing(proposal)
        else:
            with pytest.raises(OracleError, match="has 32776 cells"):
                calldata.encode_clearing(proposal)


def received(proposal: Proposal) -> tuple[dict[str, Any], list[Any], list[AcceptedOrder]]:
    """The message, its networks as calldata has them, and the orders of its parts."""
    message = calldata.encode_clearing(proposal)
    runs = [
        (run["version"], run["periods"], [tuple(link.values()) for link in run["links"]])
        for run in message["networks"]
    ]
    orders = [
        order
        for part in calldata.encode_parts(proposal, most_bytes=300)
        for order in calldata.taken_orders(1, START, part.orders)
    ]
    return message, runs, orders


def require_rebuilt(proposal: Proposal) -> None:
    message, runs, orders = received(proposal)
    fields = [*(message | {"networks": runs}).values()]
    again = calldata.rebuild(proposal.session, fields, orders, proposal.nodes.__getitem__)
    peers = {signed.order.peer for signed in proposal.orders}
    trading = {peer: node for peer, node in proposal.nodes.items() if peer in peers}
    assert again == replace(proposal, nodes=trading)
    again.check()
    assert again.payments_nano == proposal.payments_nano
    assert calldata.encode_clearing(again) == message
    assert calldata.encode_orders(again) == calldata.encode_orders(proposal)


@pytest.mark.parametrize("name", NAMED)
def test_rebuild__named_session_with_flexible_orders__is_the_proposal_again(name: str) -> None:
    require_rebuilt(NAMED[name].proposal)


@given(flexible_sessions(st.sampled_from([1, 2, 4, 9, 17])), st.data())
@settings(deadline=None, max_examples=60)
def test_rebuild__session_with_flexible_orders__is_the_proposal_again(
    drawn: tuple[Session, list[SignedOrder], dict[int, int]], data: st.DataObject
) -> None:
    """Also where the network changes within the session: its last links are gone at the end."""
    of, orders, nodes = drawn
    turn = data.draw(st.integers(0, len(of.versions)))
    last = of.versions[-1].network
    fewer = NetworkVersion(1, 1, replace(last, links=last.links[:-1]))
    versions = (*of.versions[:turn], *(fewer for _ in of.versions[turn:]))
    proposal = cleared(replace(of, versions=versions), orders, nodes)
    require_rebuilt(proposal)
    message, _, _ = received(proposal)
    call, periods = calldata.ClearCall(b"", b"", b"", message["flows"]), len(versions)
    flows = calldata.flows_wh(call, [len(version.network.links) for version in versions])
    assert len(flows) == periods
    assert proposal.expansion is not None
    carried = proposal.clearings[0].flows_wh[: proposal.expansion.link_count]
    assert [flow for period in flows for flow in period] == carried.tolist()
    call = calldata.ClearCall(message["cells"], b"", b"")
    count = len(last.nodes)
    prices = calldata.prices_micro_per_kwh(call, periods, count)
    assert np.array_equal(np.transpose(prices), proposal.prices_micro_per_kwh[:count])


@given(proposals())
@settings(deadline=None, max_examples=60)
def test_rebuild__from_its_calldata__is_the_proposal_again(proposal: Proposal) -> None:
    require_rebuilt(proposal)
    message, runs, orders = received(proposal)
    for changed in ([(9, *runs[0][1:]), *runs[1:]], []):
        with pytest.raises(OracleError, match="names another network"):
            calldata.rebuild(
                proposal.session,
                [*(message | {"networks": changed}).values()],
                orders,
                proposal.nodes.__getitem__,
            )


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


@pytest.mark.parametrize(
    ("signature", "problem"),
    [
        (b"code", "a signature has 65 bytes, not 4"),
        (bytes([1] * 64 + [0]), "a signature ends with v = 27 or 28, not 0"),
        (bytes([1] * 32 + [255] * 32 + [27]), "s is in the upper half of its range"),
    ],
)
def test_orders__a_signature_that_calldata_cannot_say(signature: bytes, problem: str) -> None:
    order = Order(1, 3, START, (Step(0, Side.BID, 30, 1),), 8)
    proposal = propose(session(1), [SignedOrder(order, signature)], nodes={3: 0})
    with pytest.raises(OracleError, match=f"order 8 of peer 3: {problem}.* has to be placed"):
        calldata.encode_orders(proposal)
