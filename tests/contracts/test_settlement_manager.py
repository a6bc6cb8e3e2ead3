"""`Settlement.clear` in a market with a community manager (C1): whose turn it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.community import C2, C3, TERMS, ask, bid
from tests.outcomes import reverts

from fairwatt.chain import Role
from fairwatt.session import propose

if TYPE_CHECKING:
    from tests.community import Community

    from fairwatt.chain import Signer
    from fairwatt.session import Proposal

EXCLUSIVE = 1_200


@pytest.fixture
def managed(community: Community) -> int:
    """A market whose manager has the first word."""
    manager = community.solver.address
    terms = replace(TERMS, manager=manager, exclusive_window_seconds=EXCLUSIVE)
    return community.chain.create_market(terms, sender=community.market_operator)


@pytest.fixture
def trade(community: Community, managed: int) -> Proposal:
    """The clearing of a seller and a buyer."""
    seller = community.admit(Role.PRODUCER, C2)
    buyer = community.admit(Role.CONSUMER, C3, tokens=1)
    return community.propose(
        community.sign(seller, ask(50_000, 2_000), market=managed),
        community.sign(buyer, bid(100_000, 1_000), market=managed),
    )


def send(community: Community, message: dict[str, Any], sender: Signer, at: int) -> None:
    community.wait_until(at)
    community.send(community.chain.contracts.settlement.clear, message, sender=sender)


def refused(community: Community, trade: Proposal) -> Any:
    start = trade.session.start
    return reverts(
        community.chain.contracts.settlement.ManagersTurn,
        market=trade.session.market,
        sessionStart=start,
        manager=community.solver.address,
        deadline=trade.session.terms.exclusive_deadline(start),
    )


def test_clear__by_the_manager_at_gate_closure__is_accepted(
    community: Community, trade: Proposal
) -> None:
    gate = trade.session.terms.gate_closure(trade.session.start)
    send(community, trade.to_message(), community.solver, gate)
    assert community.chain.snapshot().is_cleared(trade.session.market, trade.session.start)


def test_clear__by_an_outsider_with_an_empty_book__reverts_in_the_exclusive_window(
    community: Community, trade: Proposal
) -> None:
    empty = propose(trade.session, [])
    gate = trade.session.terms.gate_closure(trade.session.start)
    with refused(community, trade):
        send(community, empty.to_message(), community.outsider, gate)


def test_clear__by_an_outsider_in_the_last_second_of_the_window__reverts(
    community: Community, trade: Proposal
) -> None:
    deadline = trade.session.terms.exclusive_deadline(trade.session.start)
    with refused(community, trade):
        send(community, trade.to_message(), community.outsider, deadline)


def test_clear__by_an_outsider_after_the_window_of_a_silent_manager__is_accepted(
    community: Community, trade: Proposal
) -> None:
    deadline = trade.session.terms.exclusive_deadline(trade.session.start)
    send(community, trade.to_message(), community.outsider, deadline + 1)
    assert community.chain.snapshot().is_cleared(trade.session.market, trade.session.start)
