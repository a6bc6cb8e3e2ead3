"""`PeerRegistry.offerWallet` and `acceptWallet`: both wallets agree, after the notice (R5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import NOTICE, Community, Member
from tests.contracts.registry import (
    NOBODY,
    admit,
    change_wallet,
    connection,
    leave,
    new_wallet,
    second_wallet,
    suspend,
)
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, Signer, Standing

if TYPE_CHECKING:
    from typing import Any

    from fairwatt.chain import Receipt


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.PROSUMER)


def offer(community: Community, sender: Signer, wallet: str) -> Receipt:
    return community.send(community.chain.contracts.registry.offerWallet, wallet, sender=sender)


def accept(community: Community, sender: Signer, peer: int) -> Receipt:
    return community.send(community.chain.contracts.registry.acceptWallet, peer, sender=sender)


# ------------------------------------------------------------------------------------ offerWallet


def test_offer_wallet__by_the_peer__changes_nothing_yet(
    community: Community, registry: Any, member: Member
) -> None:
    wallet = new_wallet().address
    receipt = offer(community, member.wallet, wallet)
    assert events(receipt) == [event(registry.WalletOffered, peer=member.peer, wallet=wallet)]
    assert registry.peerOf(wallet) == 0
    assert registry.peerAt(member.peer, community.now() + NOTICE).wallet == member.wallet.address


def test_offer_wallet__not_a_peer__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.NotThePeer, caller=community.registrar.address):
        offer(community, community.registrar, new_wallet().address)


def test_offer_wallet__by_the_next_wallet_within_the_notice__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    change_wallet(community, member, new_wallet())
    community.travel_to(community.now() + NOTICE - 2)
    with reverts(registry.NotThePeer, caller=new_wallet().address):
        offer(community, new_wallet(), second_wallet().address)


def test_offer_wallet__by_the_former_wallet__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    change_wallet(community, member, new_wallet())
    community.travel_to(community.now() + NOTICE - 1)
    with reverts(registry.NotThePeer, caller=member.wallet.address):
        offer(community, member.wallet, second_wallet().address)


def test_offer_wallet__no_wallet__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    with reverts(registry.WalletTaken, wallet=NOBODY):
        offer(community, member.wallet, NOBODY)


def test_offer_wallet__wallet_of_a_peer__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    taken = community.operator.wallet.address
    with reverts(registry.WalletTaken, wallet=taken):
        offer(community, member.wallet, taken)


def test_offer_wallet__own_former_wallet__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    change_wallet(community, member, new_wallet())
    community.travel_to(community.now() + NOTICE)
    with reverts(registry.WalletTaken, wallet=member.wallet.address):
        offer(community, new_wallet(), member.wallet.address)


# ----------------------------------------------------------------------------------- acceptWallet


def test_accept_wallet__offered__takes_the_place_after_the_notice(
    community: Community, registry: Any, member: Member
) -> None:
    wallet = new_wallet()
    offer(community, member.wallet, wallet.address)
    since = community.now() + NOTICE + 1
    before = registry.peerAt(member.peer, since)
    receipt = accept(community, wallet, member.peer)
    assert events(receipt) == [
        event(registry.WalletChanged, peer=member.peer, effectiveFrom=since, wallet=wallet.address)
    ]
    assert registry.peerAt(member.peer, since - 1) == before
    after = registry.peerAt(member.peer, since)
    assert (after.wallet, after.standing) == (wallet.address, Standing.ACTIVE)
    assert registry.peerOf(wallet.address) == registry.peerOf(member.wallet.address) == member.peer


def test_offer_wallet__after_the_place_was_taken__is_refused_to_the_former_wallet(
    community: Community, registry: Any, member: Member
) -> None:
    change_wallet(community, member, new_wallet())
    since = registry.peerAt(member.peer, community.now() + 2 * NOTICE).since
    community.travel_to(since - 2)
    assert registry.peerInForce(member.wallet.address) == member.peer
    with reverts(registry.ChangePending, peer=member.peer, effectiveFrom=since):
        offer(community, member.wallet, second_wallet().address)


def test_accept_wallet__suspended_peer__stays_suspended(
    community: Community, registry: Any, member: Member
) -> None:
    suspend(community, member)
    community.travel_to(community.now() + NOTICE)
    change_wallet(community, member, new_wallet())
    after = registry.peerAt(member.peer, community.now() + NOTICE)
    assert (after.wallet, after.standing) == (new_wallet().address, Standing.SUSPENDED)


@pytest.mark.parametrize("peer", [0, 1])
def test_accept_wallet__not_offered__is_refused(
    community: Community, registry: Any, peer: int
) -> None:
    with reverts(registry.NotThePeer, caller=new_wallet().address):
        accept(community, new_wallet(), peer)


def test_accept_wallet__offered_to_another_since__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    offer(community, member.wallet, new_wallet().address)
    offer(community, member.wallet, second_wallet().address)
    with reverts(registry.NotThePeer, caller=new_wallet().address):
        accept(community, new_wallet(), member.peer)


def test_accept_wallet__twice__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    change_wallet(community, member, new_wallet())
    with reverts(registry.NotThePeer, caller=new_wallet().address):
        accept(community, new_wallet(), member.peer)


def test_accept_wallet__admitted_as_a_peer_since__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    offer(community, member.wallet, new_wallet().address)
    admit(community, new_wallet().address, connection())
    with reverts(registry.WalletTaken, wallet=new_wallet().address):
        accept(community, new_wallet(), member.peer)


def test_accept_wallet__second_of_two_places__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    other = community.admit(Role.CONSUMER)
    for peer in (member, other):
        offer(community, peer.wallet, new_wallet().address)
    accept(community, new_wallet(), member.peer)
    with reverts(registry.WalletTaken, wallet=new_wallet().address):
        accept(community, new_wallet(), other.peer)


def test_accept_wallet__change_ahead__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    offer(community, member.wallet, new_wallet().address)
    since = community.now() + NOTICE + 1
    suspend(community, member)
    with reverts(registry.ChangePending, peer=member.peer, effectiveFrom=since):
        accept(community, new_wallet(), member.peer)


def test_accept_wallet__peer_that_left__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    offer(community, member.wallet, new_wallet().address)
    leave(community, member)
    community.travel_to(community.now() + NOTICE)
    with reverts(registry.WrongStanding, peer=member.peer, standing=Standing.LEFT):
        accept(community, new_wallet(), member.peer)
