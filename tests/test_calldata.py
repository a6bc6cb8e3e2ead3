"""What the calldata of a clearing says again of what went into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from fairwatt import calldata
from fairwatt.errors import OracleError
from fairwatt.market import Side
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.session import propose
from tests.sessions import SIGNATURE, START, proposals, session

if TYPE_CHECKING:
    from fairwatt.session import Proposal


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


@given(proposals())
@settings(deadline=None, max_examples=60)
def test_rebuild__from_its_calldata__is_the_proposal_again(proposal: Proposal) -> None:
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
    fields = [*(message | {"networks": runs}).values()]
    again = calldata.rebuild(proposal.session, fields, orders, proposal.nodes.__getitem__)
    assert again == proposal
    again.check()
    assert again.payments_nano == proposal.payments_nano
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


def test_orders__a_signature_that_is_none() -> None:
    order = Order(1, 3, START, (Step(0, Side.BID, 30, 1),), 8)
    proposal = propose(session(1), [SignedOrder(order, b"code")], nodes={3: 0})
    with pytest.raises(OracleError, match="order 8 of peer 3 has a signature of 4 bytes"):
        calldata.encode_orders(proposal)
