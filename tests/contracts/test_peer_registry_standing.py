"""`PeerRegistry.suspend`, `reinstate`, `leaveCommunity`: standings, after the notice (R1, R6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import DAY, NOTICE, Community, Member, bid
from tests.contracts.conftest import Books
from tests.contracts.registry import (
    change_wallet,
    connection,
    leave,
    new_wallet,
    reinstate,
    second_wallet,
    suspend,
)
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, Standing, project, structs

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
    leave(community, member)
    with reverts(registry.WrongStanding, peer=member.peer, standing=Standing.LEFT):
        suspend(community, member)


def test_suspend__change_of_wallet_ahead__takes_effect_after_it(
    community: Community, registry: Any, member: Member
) -> None:
    """Else a peer that changes its wallet again and again could not be suspended."""
    wallet, other = new_wallet(), second_wallet()
    changed = community.now() + NOTICE + 2
    change_wallet(community, member, wallet)
    community.travel_to(community.now() + NOTICE // 2)
    since = community.now() + NOTICE + 1
    suspend(community, member)
    records = [registry.peerAt(member.peer, time) for time in (changed, since - 1, since)]
    assert [record.wallet for record in records] == [wallet.address] * 3
    assert [record.standing for record in records] == [
        Standing.ACTIVE,
        Standing.ACTIVE,
        Standing.SUSPENDED,
    ]
    community.travel_to(changed)
    with reverts(registry.ChangePending, peer=member.peer, effectiveFrom=since):
        community.send(registry.offerWallet, other.address, sender=wallet)


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


def test_leave__supplier__is_refused(community: Community, registry: Any) -> None:
    supplier = community.supplier
    with reverts(registry.SupplierStays, peer=supplier.peer):
        leave(community, supplier)


def test_leave__funds_locked__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    community.place(community.sign(member, bid(100_000, 1_000)))
    with reverts(registry.AccountOpen, peer=member.peer):
        leave(community, member)


@pytest.fixture
def indebted(books: Books) -> tuple[Any, Books]:
    """A registry whose only peer, of the outsider, is number 1 in the ledger's books."""
    community = books.community
    admin = community.admin
    registry = project().PeerRegistry.deploy(admin.address, DAY, NOTICE, sender=admin.account)
    community.send(registry.connectAccounts, books.ledger, sender=admin)
    community.send(registry.grantRole, registry.REGISTRAR_ROLE(), admin.address, sender=admin)
    terms = connection(Role.OPERATOR, network=0, node=0)
    community.send(registry.admit, community.outsider.address, terms, sender=admin)
    return registry, books


def test_leave__arrears__is_refused_until_they_are_paid(indebted: tuple[Any, Books]) -> None:
    registry, books = indebted
    books.owe((1, 2, 10))
    with reverts(registry.AccountOpen, peer=1):
        books.community.send(registry.leaveCommunity, sender=books.community.outsider)
    books.owe((2, 1, 10))
    books.community.send(registry.leaveCommunity, sender=books.community.outsider)
    assert registry.peerAt(1, books.community.now() + NOTICE).standing == Standing.LEFT


def test_leave__balance_below_zero__is_refused_until_it_is_paid(
    indebted: tuple[Any, Books],
) -> None:
    registry, books = indebted
    books.endow(10)
    books.credit(books.community.supplier, 10)
    books.clear((1, -10), (2, 10))
    with reverts(registry.AccountOpen, peer=1):
        books.community.send(registry.leaveCommunity, sender=books.community.outsider)
    books.deposit(books.community.supplier, 10)
    books.community.send(registry.leaveCommunity, sender=books.community.outsider)
    assert registry.peerAt(1, books.community.now() + NOTICE).standing == Standing.LEFT


def test_leave__free_order_not_cleared_yet__is_accepted(
    community: Community, registry: Any, member: Member
) -> None:
    """Until the notice is over it trades, and what it traded is settled by the record it had."""
    signed = community.sign(member, bid(100_000, 1_000))
    since = community.now() + NOTICE + 1
    leave(community, member)
    assert since > signed.order.session_start
    message = structs(signed.order.to_message())
    assert community.chain.contracts.order_book.requireValid(message, signed.signature)


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
