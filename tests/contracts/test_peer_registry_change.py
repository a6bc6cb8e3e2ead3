"""`PeerRegistry.change`: all that the registrar decides about a peer, after the notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import C2, NOTICE, Community, Member
from tests.contracts.registry import (
    METER,
    NOBODY,
    SECOND_METER,
    change,
    connection,
    leave,
    publish_network,
    same_connection,
    suspend,
)
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, Standing

if TYPE_CHECKING:
    from typing import Any


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.CONSUMER)


def test_change__of_everything__takes_effect_after_the_notice(
    community: Community, registry: Any, member: Member
) -> None:
    before = registry.peerAt(member.peer, community.now())
    terms = {
        "role": Role.STORAGE,
        "network": 1,
        "node": C2,
        "meter": METER,
        "supplier": 1,
        "connectionW": 7,
        "community": 8,
    }
    since = community.now() + NOTICE + 1
    receipt = change(community, member, terms)
    assert events(receipt) == [
        event(registry.PeerChanged, peer=member.peer, effectiveFrom=since, connection=terms)
    ]
    assert registry.peerAt(member.peer, since - 1) == before
    after = registry.peerAt(member.peer, since)
    assert {field: getattr(after, field) for field in terms} == terms
    assert (after.wallet, after.since, after.standing) == (before.wallet, since, Standing.ACTIVE)


def test_change__of_a_suspended_peer__leaves_it_suspended(
    community: Community, registry: Any, member: Member
) -> None:
    suspend(community, member)
    community.travel_to(community.now() + NOTICE)
    change(community, member, same_connection(community, member, connectionW=5))
    record = registry.peerAt(member.peer, community.now() + NOTICE)
    assert (record.connectionW, record.standing) == (5, Standing.SUSPENDED)


def test_change__back_to_an_own_former_meter__is_accepted(
    community: Community, registry: Any, member: Member
) -> None:
    change(community, member, same_connection(community, member, meter=SECOND_METER))
    community.travel_to(community.now() + NOTICE)
    terms = same_connection(community, member, meter=member.meter.address)
    change(community, member, terms)
    record = registry.peerAt(member.peer, community.now() + NOTICE)
    assert record.meter == member.meter.address


def test_change__from_consumer_to_supplier__gives_up_meter_and_supplier(
    community: Community, registry: Any, member: Member
) -> None:
    terms = same_connection(community, member, role=Role.SUPPLIER, meter=NOBODY, supplier=0)
    change(community, member, terms)
    record = registry.peerAt(member.peer, community.now() + NOTICE)
    assert (record.role, record.meter, record.supplier) == (Role.SUPPLIER, NOBODY, 0)


def test_change__to_a_node_in_force_by_then__is_accepted(
    community: Community, registry: Any, member: Member
) -> None:
    publish_network(community, community.now() + NOTICE + 1, nodes=(b"c4",))
    change(community, member, same_connection(community, member, node=3))
    assert registry.peerAt(member.peer, community.now() + NOTICE).node == 3


def test_change__to_a_node_in_force_a_second_later__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    since = community.now() + 1 + NOTICE + 1
    publish_network(community, since + 1, nodes=(b"c4",))
    with reverts(registry.NodeNotInForce, network=1, node=3, time=since):
        change(community, member, same_connection(community, member, node=3))


def test_change__not_the_registrar__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    terms = same_connection(community, member)
    with reverts(
        registry.AccessControlUnauthorizedAccount,
        account=member.wallet.address,
        neededRole=registry.REGISTRAR_ROLE(),
    ):
        community.send(registry.change, member.peer, terms, sender=member.wallet)


@pytest.mark.parametrize("peer", [0, 99])
def test_change__unknown_peer__is_refused(
    community: Community, registry: Any, member: Member, peer: int
) -> None:
    terms = same_connection(community, member)
    with reverts(registry.UnknownPeer, peer=peer):
        community.send(registry.change, peer, terms, sender=community.registrar)


def test_change__before_the_last_one_takes_effect__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    terms = same_connection(community, member, connectionW=5)
    since = community.now() + NOTICE + 1
    change(community, member, terms)
    community.travel_to(since - 2)  # so that the next block is a second early
    with reverts(registry.ChangePending, peer=member.peer, effectiveFrom=since):
        change(community, member, terms)


def test_change__in_the_second_the_last_one_takes_effect__is_accepted(
    community: Community, registry: Any, member: Member
) -> None:
    terms = same_connection(community, member, connectionW=5)
    since = community.now() + NOTICE + 1
    change(community, member, terms)
    community.travel_to(since - 1)
    change(community, member, terms | {"connectionW": 6})
    assert registry.peerAt(member.peer, since).connectionW == 5
    assert registry.peerAt(member.peer, since + NOTICE + 1).connectionW == 6


def test_change__of_a_peer_that_left__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    terms = same_connection(community, member)
    leave(community, member)
    community.travel_to(community.now() + NOTICE)
    with reverts(registry.WrongStanding, peer=member.peer, standing=Standing.LEFT):
        change(community, member, terms)


def test_change__to_no_role__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    with reverts(registry.RoleMissing):
        change(community, member, same_connection(community, member, role=Role.NONE))


def test_change__to_a_meter_of_another_peer__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    other = community.admit(Role.PRODUCER)
    with reverts(registry.MeterTaken, meter=other.meter.address):
        change(community, member, same_connection(community, member, meter=other.meter.address))


def test_change__to_itself_as_supplier__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    with reverts(registry.NotASupplier, peer=member.peer):
        change(community, member, same_connection(community, member, supplier=member.peer))


def test_change__to_a_supplier_that_keeps_its_meter__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    with reverts(registry.NotMetered, role=Role.SUPPLIER):
        change(community, member, same_connection(community, member, role=Role.SUPPLIER))


def test_change__from_supplier_to_another_role__is_refused(
    community: Community, registry: Any
) -> None:
    supplier = community.supplier
    with reverts(registry.SupplierStays, peer=supplier.peer):
        change(community, supplier, connection(Role.OPERATOR))
