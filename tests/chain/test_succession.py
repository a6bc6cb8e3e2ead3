"""A community moves to a newer deployment: nobody loses a unit, nobody is moved unasked."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.community import (
    C2,
    C3,
    DAY,
    FEED_IN,
    HOURLY,
    NETWORK,
    NOTICE,
    RETAIL,
    WITHDRAWAL_DELAY,
    ask,
    bid,
)

from fairwatt.chain import Chain, Role, Roles, Settings, copy_community, deploy
from fairwatt.errors import ChainError
from fairwatt.market import Link
from fairwatt.moves import Move

if TYPE_CHECKING:
    from tests.community import Community, Member

SETTINGS = Settings(
    token_name="",
    token_symbol="",
    backing=None,
    supply_cap_wei=0,
    admin_delay_seconds=DAY,
    notice_seconds=NOTICE,
    withdrawal_delay_seconds=WITHDRAWAL_DELAY,
    roles=Roles(*(f"test:{at}" for at in range(8))),
)


def _successor(community: Community) -> Community:
    new = copy(community)
    new.chain = Chain.of(deploy(SETTINGS, token=community.chain.contracts.token))
    return new


def _move(old: Community, new: Community, member: Member, account: int) -> None:
    ledger, signer = old.chain.contracts.ledger, member.key
    move = Move(member.peer, str(new.chain.contracts.ledger.address), account, 2**40 - 1)
    signed = move.signed_by(signer, old.chain.ledger_domain)
    old.send(ledger.requestMove, move.to_message(), signed.signature, sender=old.outsider)


def _trade(community: Community, seller: Member, buyer: Member) -> int:
    """A kWh at 0.05 token; returns the start of the session."""
    proposal = community.propose(
        community.sign(seller, ask(50_000, 1_000)), community.sign(buyer, bid(50_000, 1_000))
    )
    community.clear(proposal)
    return proposal.session.start


def test_copy_community__then_moves__takes_everybody_along(community: Community) -> None:
    seller = community.admit(Role.PRODUCER, C3)
    gone = community.admit(Role.CONSUMER, C2)
    buyer = community.admit(Role.CONSUMER, C3, tokens=1)
    unwilling = community.admit(Role.CONSUMER, C2, tokens=1)
    registry = community.chain.contracts.registry
    community.send(registry.leaveCommunity, sender=gone.wallet)
    community.travel_to(community.now() + NOTICE + 1)
    start = _trade(community, seller, buyer)
    community.reconcile(
        start, [community.read(seller, start, 1_000), community.read(buyer, start, -1_000)]
    )
    members = [seller, buyer, unwilling]
    before = {member.peer: community.balance(member) for member in members}
    assert before[seller.peer] == 50_000_000

    new = _successor(community)
    first = copy_community(community.chain, new.chain, SETTINGS.roles)
    assert first.waiting == {community.supplier.peer: [member.peer for member in members]}
    supplier = first.accounts[community.supplier.peer]
    publish = new.chain.contracts.registry.publishTariffs
    tariff = (new.now(), RETAIL, FEED_IN)
    new.send(publish, [tariff], sender=community.supplier.wallet)
    succession = copy_community(community.chain, new.chain, SETTINGS.roles)
    assert not succession.waiting
    assert succession.accounts[community.supplier.peer] == supplier
    accounts = succession.accounts
    assert gone.peer not in accounts
    assert new.chain.contracts.token.address == community.chain.contracts.token.address
    copied, original = new.chain.snapshot(), community.chain.snapshot()
    for member in members:
        here, there = copied.peer(accounts[member.peer]), original.peer(member.peer)
        assert (here.wallet, here.role, here.node, here.meter, here.connection_w) == (
            there.wallet,
            there.role,
            there.node,
            there.meter,
            there.connection_w,
        )
    assert copied.markets() == original.markets()
    links = zip(copied.networks()[1].links, original.networks()[1].links, strict=True)
    for link, before_link in links:
        owner = before_link.owner and str(accounts[int(before_link.owner)])
        assert link == replace(before_link, owner=owner)

    for member in (seller, buyer):
        _move(community, new, member, accounts[member.peer])
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    for member in (seller, buyer):
        complete = community.chain.contracts.ledger.completeMove
        community.send(complete, member.peer, sender=community.outsider)
    moved = {
        member.peer: new.chain.snapshot().account(accounts[member.peer]).balance_nano
        for member in members
    }
    kept = {member.peer: community.balance(member) for member in members}
    assert moved == {**before, unwilling.peer: 0}
    assert kept == {seller.peer: 0, buyer.peer: 0, unwilling.peer: before[unwilling.peer]}

    # The market goes on in the new deployment.
    seller, buyer = (replace(member, peer=accounts[member.peer]) for member in (seller, buyer))
    start = _trade(new, seller, buyer)
    assert new.chain.snapshot().is_cleared(succession.markets[HOURLY], start)
    assert new.balance(seller) == 100_000_000
    new.require_conservation()


def test_copy_community__with_a_supplier_that_is_gone__says_whose(community: Community) -> None:
    peer = community.admit(Role.CONSUMER, C3)
    registry = community.chain.contracts.registry
    community.send(registry.suspend, community.supplier.peer, sender=community.registrar)
    community.travel_to(community.now() + NOTICE + 1)
    new = _successor(community)
    with pytest.raises(ChainError, match=f"peer {peer.peer} has the supplier 1, which is not"):
        copy_community(community.chain, new.chain, SETTINGS.roles)


def test_copy_community__to_a_ledger_of_another_token__is_refused(community: Community) -> None:
    new = Chain.of(
        deploy(replace(SETTINGS, token_name="Other", token_symbol="O", supply_cap_wei=1))
    )
    with pytest.raises(ChainError, match="deploy with the token of the old one"):
        copy_community(community.chain, new, SETTINGS.roles)


def test_copy_community__where_a_peer_owns_a_link__names_the_link(community: Community) -> None:
    peer = community.admit(Role.PROSUMER, C3)
    link = Link("grid", "c3", 5, 10, str(peer.peer))
    start = community.now() + NOTICE + 1
    community.chain.publish_network(
        1, replace(NETWORK, links=(link,)), sender=community.dso, effective_from=start
    )
    community.travel_to(start)
    new = _successor(community)
    with pytest.raises(ChainError, match=f"grid -> c3 belongs to account {peer.peer}, which"):
        copy_community(community.chain, new.chain, SETTINGS.roles)
