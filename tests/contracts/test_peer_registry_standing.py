"""`PeerRegistry.suspend`, `reinstate`, `leaveCommunity`: standings, after the notice (R1, R6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import NOTICE, Community, Member, ask, bid
from tests.contracts.registry import leave, reinstate, suspend
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, Standing

if TYPE_CHECKING:
    from typing import Any


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.PROSUMER, tokens=1)


@pytest.fixture
def suspended(community: Community, member: Member) -> Member:
    suspend(community, member)
    community.travel_to(community.now() + NOTICE)
    return member


@pytest.fixture
def left(community: Community, member: Member) -> Member:
    leave(community, member)
    community.travel_to(community.now() + NOTICE)
    return member


def standings_around(registry: Any, peer: int, time: int) -> list[int]:
    return [registry.peerAt(peer, second).standing for second in (time - 1, time)]


# ---------------------------------------------------------------------------------------- suspend


def test_suspend__active_peer__takes_effect_after_the_notice(
    community: Community, registry: Any, member: Member
) -> None:
    since = community.now() + NOTICE + 1
    receipt = suspend(community, member)
    assert events(receipt) == [
        event(
            registry.PeerStandingChanged,
            peer=member.peer,
            effectiveFrom=since,
            standing=Standing.SUSPENDED,
        )
    ]
    assert standings_around(registry, member.peer, since) == [Standing.ACTIVE, Standing.SUSPENDED]


def test_suspend__not_the_registrar__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    with reverts(
        registry.AccessControlUnauthorizedAccount,
        account=community.guardian.address,
        neededRole=registry.REGISTRAR_ROLE(),
    ):
        community.send(registry.suspend, member.peer, sender=community.guardian)


def test_suspend__unknown_peer__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.UnknownPeer, peer=99):
        community.send(registry.suspend, 99, sender=community.registrar)


def test_suspend__suspended_peer__is_refused(
    community: Community, registry: Any, suspended: Member
) -> None:
    with reverts(registry.WrongStanding, peer=suspended.peer, standing=Standing.SUSPENDED):
        suspend(community, suspended)


def test_suspend__peer_that_left__is_refused(
    community: Community, registry: Any, left: Member
) -> None:
    with reverts(registry.WrongStanding, peer=left.peer, standing=Standing.LEFT):
        suspend(community, left)


def test_suspend__peer_about_to_leave__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    since = community.now() + NOTICE + 1
    leave(community, member)
    with reverts(registry.ChangePending, peer=member.peer, effectiveFrom=since):
        suspend(community, member)


# -------------------------------------------------------------------------------------- reinstate


def test_reinstate__suspended_peer__takes_effect_after_the_notice(
    community: Community, registry: Any, suspended: Member
) -> None:
    since = community.now() + NOTICE + 1
    receipt = reinstate(community, suspended)
    assert events(receipt) == [
        event(
            registry.PeerStandingChanged,
            peer=suspended.peer,
            effectiveFrom=since,
            standing=Standing.ACTIVE,
        )
    ]
    assert standings_around(registry, suspended.peer, since) == [
        Standing.SUSPENDED,
        Standing.ACTIVE,
    ]


def test_reinstate__not_the_registrar__is_refused(
    community: Community, registry: Any, suspended: Member
) -> None:
    with reverts(
        registry.AccessControlUnauthorizedAccount,
        account=suspended.wallet.address,
        neededRole=registry.REGISTRAR_ROLE(),
    ):
        community.send(registry.reinstate, suspended.peer, sender=suspended.wallet)


def test_reinstate__unknown_peer__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.UnknownPeer, peer=0):
        community.send(registry.reinstate, 0, sender=community.registrar)


def test_reinstate__active_peer__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    with reverts(registry.WrongStanding, peer=member.peer, standing=Standing.ACTIVE):
        reinstate(community, member)


def test_reinstate__peer_that_left__is_refused(
    community: Community, registry: Any, left: Member
) -> None:
    with reverts(registry.WrongStanding, peer=left.peer, standing=Standing.LEFT):
        reinstate(community, left)


def test_reinstate__suspension_not_in_force_yet__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    since = community.now() + NOTICE + 1
    suspend(community, member)
    with reverts(registry.ChangePending, peer=member.peer, effectiveFrom=since):
        reinstate(community, member)


# ---------------------------------------------------------------------------------- leaveCommunity


def test_leave__settled_peer__leaves_after_the_notice(
    community: Community, registry: Any, member: Member
) -> None:
    since = community.now() + NOTICE + 1
    receipt = leave(community, member)
    assert events(receipt) == [
        event(
            registry.PeerStandingChanged,
            peer=member.peer,
            effectiveFrom=since,
            standing=Standing.LEFT,
        )
    ]
    assert standings_around(registry, member.peer, since) == [Standing.ACTIVE, Standing.LEFT]


def test_leave__balance__stays_the_peers(community: Community, left: Member) -> None:
    ledger = community.chain.contracts.ledger
    community.send(ledger.requestWithdrawal, 10**9, sender=left.wallet)
    community.travel_to(community.now() + ledger.WITHDRAWAL_DELAY_SECONDS())
    community.send(ledger.withdraw, sender=left.wallet)
    assert community.chain.contracts.token.balanceOf(left.wallet.address) == 10**18


def test_leave__not_a_peer__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.NotThePeer, caller=community.outsider.address):
        community.send(registry.leaveCommunity, sender=community.outsider)


def test_leave__funds_locked__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    community.place(community.sign(member, bid(100_000, 1_000)))
    with reverts(registry.AccountOpen, peer=member.peer):
        leave(community, member)


def test_leave__debt__is_refused(community: Community, registry: Any) -> None:
    ledger, token = community.chain.contracts.ledger, community.chain.contracts.token
    community.send(
        token.treasuryMint, community.treasury.address, 10**18, sender=community.treasury
    )
    community.send(token.approve, ledger, 10**18, sender=community.treasury)
    community.send(ledger.depositToFund, 10**9, sender=community.treasury)
    debtor = community.admit(Role.CONSUMER)
    community.send(ledger.setCredit, debtor.peer, 10**9, sender=community.fund_manager)
    seller = community.admit(Role.PRODUCER)
    start = community.open_session()
    community.clear(
        community.propose(
            community.sign(debtor, bid(100_000, 1_000)), community.sign(seller, ask(0, 1_000))
        )
    )
    community.travel_to(community.terms().settlement_deadline(start) + 1)
    with reverts(registry.AccountOpen, peer=debtor.peer):
        leave(community, debtor)


def test_leave__session_can_still_be_settled__is_refused(
    community: Community, registry: Any
) -> None:
    seller, start = _cleared_seller(community)
    community.travel_to(community.terms().settlement_deadline(start) - 1)
    with reverts(registry.AccountOpen, peer=seller.peer):
        leave(community, seller)


def test_leave__a_second_after_the_settlement_deadline__is_accepted(
    community: Community, registry: Any
) -> None:
    seller, start = _cleared_seller(community)
    community.travel_to(community.terms().settlement_deadline(start))
    leave(community, seller)
    assert registry.peerAt(seller.peer, community.now() + NOTICE).standing == Standing.LEFT


def test_leave__suspended_peer__is_refused(
    community: Community, registry: Any, suspended: Member
) -> None:
    with reverts(registry.WrongStanding, peer=suspended.peer, standing=Standing.SUSPENDED):
        leave(community, suspended)


def test_leave__twice__is_refused(community: Community, registry: Any, left: Member) -> None:
    with reverts(registry.WrongStanding, peer=left.peer, standing=Standing.LEFT):
        leave(community, left)


def test_leave__change_ahead__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    since = community.now() + NOTICE + 1
    suspend(community, member)
    with reverts(registry.ChangePending, peer=member.peer, effectiveFrom=since):
        leave(community, member)


def _cleared_seller(community: Community) -> tuple[Member, int]:
    """A peer that sold in a session, and the session's start."""
    seller, buyer = community.admit(Role.PRODUCER), community.admit(Role.CONSUMER, tokens=1)
    start = community.open_session()
    community.clear(
        community.propose(
            community.sign(seller, ask(0, 1_000)), community.sign(buyer, bid(100_000, 1_000))
        )
    )
    return seller, start
