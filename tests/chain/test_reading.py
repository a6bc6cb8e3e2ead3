"""Reading without Ape's long ways gives what Ape gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import C3, HOURLY, RETAIL, ask

from fairwatt.chain import Role
from fairwatt.errors import ContractError

if TYPE_CHECKING:
    from tests.community import Community


def test_views__return_what_ape_returns(community: Community) -> None:
    member = community.admit(Role.PRODUCER, C3, tokens=1)
    contracts, snapshot = community.chain.contracts, community.chain.snapshot()
    for method, arguments in (
        (contracts.registry.peerAt, (member.peer, snapshot.time)),
        (contracts.registry.nodesOf, (1,)),
        (contracts.registry.tariffsFor, (community.supplier.peer, 0, snapshot.time, 3600, 2)),
        (contracts.order_book.marketTerms, (HOURLY,)),
        (contracts.ledger.account, (member.peer,)),
        (contracts.ledger.fundNano, ()),
        (contracts.token.balanceOf, (contracts.ledger,)),
        (contracts.clearing.positionsHash, (HOURLY, 0)),
    ):
        assert community.chain.read(method, *arguments) == method(*arguments), method


def test_view__that_refuses__says_why(community: Community) -> None:
    member = community.admit(Role.PRODUCER, C3)
    signed = community.sign(member, ask(RETAIL, 10**9))
    with pytest.raises(ContractError) as refusal:
        community.chain.snapshot().require_valid(signed)
    assert refusal.value.name == "EnergyAboveConnection"


def test_events__are_those_that_ape_finds(community: Community) -> None:
    for _ in range(2):
        community.admit(Role.PRODUCER, C3, tokens=1)
    snapshot, ledger = community.chain.snapshot(), community.chain.contracts.ledger
    found = snapshot._events(ledger, "Deposited")
    long = list(ledger.Deposited.range(snapshot.first_block, snapshot.block + 1))
    assert len(found) == len(long) >= 2
    assert [log.event_arguments for log in found] == [log.event_arguments for log in long]
    assert [log.transaction_hash for log in found] == [log.transaction_hash for log in long]
    last = found[-1].peer
    assert snapshot._events(ledger, "Deposited", peer=last) == [
        log for log in found if log.peer == last
    ]
    total = sum(log.amountNano for log in found if log.peer == last)
    assert snapshot.deposits_nano()[last] == total
