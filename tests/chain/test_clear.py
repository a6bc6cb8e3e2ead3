"""`Chain.clear`: in one part or several, with rosters or without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import C2, C3, HOURLY, ask, bid

from fairwatt import calldata
from fairwatt.chain import Role, _chain

if TYPE_CHECKING:
    from tests.community import Community

    from fairwatt.proposal import Proposal


@pytest.fixture
def proposal(community: Community) -> Proposal:
    """Three sellers share what two buyers want."""
    sellers = [community.admit(Role.PRODUCER, C3) for _ in range(3)]
    buyers = [community.admit(Role.CONSUMER, node, tokens=1) for node in (C3, C2)]
    return community.propose(
        *(community.sign(seller, ask(50_000, 1_000)) for seller in sellers),
        *(community.sign(buyer, bid(150_000, 700)) for buyer in buyers),
    )


def rosters(community: Community, time: int) -> bool:
    return bool(community.chain.contracts.registry.findRoster(0, time)[0])


@pytest.mark.parametrize(("most_bytes", "parts"), [(10**6, 1), (400, 3), (1, 5)])
def test_clear__in_parts__comes_to_the_same(
    community: Community,
    proposal: Proposal,
    monkeypatch: pytest.MonkeyPatch,
    most_bytes: int,
    parts: int,
) -> None:
    monkeypatch.setattr(_chain, "_PART_BYTES", most_bytes)
    assert len(calldata.encode_parts(proposal, most_bytes)) == parts
    community.close_gate(proposal)
    receipt = community.chain.clear(proposal, community.solver)
    assert receipt is not None
    snapshot, start = community.chain.snapshot(), proposal.session.start
    assert snapshot.is_cleared(HOURLY, start)
    cleared = snapshot.cleared(HOURLY, start)
    assert cleared is not None
    assert cleared.positions_wh == proposal.positions_wh
    (clearing,) = proposal.clearings
    assert cleared.prices_micro_per_kwh == (tuple(clearing.prices_micro_per_kwh.tolist()),)
    assert cleared.flows_wh == (tuple(clearing.flows_wh.tolist()),)
    clearing = community.chain.contracts.clearing
    accepted = list(clearing.PartAccepted.range(receipt.block - parts + 1, receipt.block + 1))
    assert len(accepted) == parts - 1


def test_clear__dry_run__asks_and_sends_nothing(community: Community, proposal: Proposal) -> None:
    community.close_gate(proposal)
    start, before = proposal.session.start, community.chain.snapshot().block
    assert not rosters(community, start)
    assert community.chain.clear(proposal, community.solver, dry_run=True) is None
    assert community.chain.snapshot().block == before
    assert not rosters(community, start)
    community.chain.clear(proposal, community.solver)
    assert rosters(community, start)
