"""`PeerRegistry.admit`: who may trade, where, and with which supplier (R1 to R3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import C2, GRID, HOUR, NOTICE, Community
from tests.contracts.registry import (
    METER,
    NOBODY,
    SECOND_METER,
    admit,
    change,
    change_wallet,
    connection,
    new_wallet,
    publish_network,
    publish_tariffs,
    same_connection,
    second_wallet,
    suspend,
)
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, Standing

if TYPE_CHECKING:
    from typing import Any

METERED = (Role.CONSUMER, Role.PRODUCER, Role.PROSUMER, Role.STORAGE)


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


def test_admit__new_wallet__is_a_peer_at_once(community: Community, registry: Any) -> None:
    wallet, terms = new_wallet().address, connection(Role.PROSUMER, node=C2, community=7)
    now = community.now()
    receipt = admit(community, wallet, terms)
    assert events(receipt) == [
        event(registry.PeerAdmitted, peer=3, wallet=wallet, connection=terms)
    ]
    assert registry.peerCount() == registry.peerOf(wallet) == 3
    record = registry.peerAt(3, now)
    assert (record.wallet, record.since, record.standing) == (wallet, now, Standing.ACTIVE)
    assert {field: getattr(record, field) for field in terms} == terms


@pytest.mark.parametrize("role", METERED)
def test_admit__metered_role__needs_meter_supplier_and_node(
    community: Community, registry: Any, role: Role
) -> None:
    admit(community, new_wallet().address, connection(role))
    assert registry.peerAt(3, community.now()).role == role


def test_admit__supplier__needs_only_a_node(community: Community, registry: Any) -> None:
    terms = connection(Role.SUPPLIER, node=GRID)
    admit(community, new_wallet().address, terms)
    record = registry.peerAt(3, community.now())
    assert {field: getattr(record, field) for field in terms} == terms


def test_admit__operator__needs_nothing(community: Community, registry: Any) -> None:
    terms = connection(Role.OPERATOR, network=0, node=0)
    admit(community, new_wallet().address, terms)
    record = registry.peerAt(3, community.now())
    assert {field: getattr(record, field) for field in terms} == terms


def test_admit__not_the_registrar__is_refused(community: Community, registry: Any) -> None:
    with reverts(
        registry.AccessControlUnauthorizedAccount,
        account=community.admin.address,
        neededRole=registry.REGISTRAR_ROLE(),
    ):
        community.send(registry.admit, new_wallet().address, connection(), sender=community.admin)


def test_admit__no_wallet__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.WalletTaken, wallet=NOBODY):
        admit(community, NOBODY, connection())


def test_admit__wallet_of_a_peer__is_refused(community: Community, registry: Any) -> None:
    wallet = community.supplier.wallet.address
    with reverts(registry.WalletTaken, wallet=wallet):
        admit(community, wallet, connection())


def test_admit__former_wallet_of_a_peer__is_refused(community: Community, registry: Any) -> None:
    member = community.admit(Role.CONSUMER)
    change_wallet(community, member, new_wallet())
    community.travel_to(community.now() + NOTICE + 1)
    with reverts(registry.WalletTaken, wallet=member.wallet.address):
        admit(community, member.wallet.address, connection())


def test_admit__no_role__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.RoleMissing):
        admit(community, new_wallet().address, connection(role=Role.NONE))


@pytest.mark.parametrize("role", METERED)
def test_admit__no_meter__is_refused(community: Community, registry: Any, role: Role) -> None:
    with reverts(registry.MeterTaken, meter=NOBODY):
        admit(community, new_wallet().address, connection(role, meter=NOBODY))


def test_admit__meter_of_a_peer__is_refused(community: Community, registry: Any) -> None:
    admit(community, new_wallet().address, connection())
    with reverts(registry.MeterTaken, meter=METER):
        admit(community, second_wallet().address, connection())


def test_admit__former_meter_of_a_peer__is_refused(community: Community, registry: Any) -> None:
    member = community.admit(Role.CONSUMER)
    change(community, member, same_connection(community, member, meter=SECOND_METER))
    community.travel_to(community.now() + NOTICE + 1)
    with reverts(registry.MeterTaken, meter=member.meter.address):
        admit(community, new_wallet().address, connection(meter=member.meter.address))


@pytest.mark.parametrize("role", [Role.SUPPLIER, Role.OPERATOR])
@pytest.mark.parametrize("metered_by", [{"meter": METER}, {"supplier": 1}])
def test_admit__meter_or_supplier_of_one_who_is_not_metered__is_refused(
    community: Community, registry: Any, role: Role, metered_by: dict[str, Any]
) -> None:
    with reverts(registry.NotMetered, role=role):
        admit(community, new_wallet().address, connection(role, **metered_by))


def test_admit__unknown_supplier__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.NotASupplier, peer=99):
        admit(community, new_wallet().address, connection(supplier=99))


def test_admit__no_supplier__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.NotASupplier, peer=0):
        admit(community, new_wallet().address, connection(supplier=0))


def test_admit__consumer_as_supplier__is_refused(community: Community, registry: Any) -> None:
    consumer = community.admit(Role.CONSUMER)
    with reverts(registry.NotASupplier, peer=consumer.peer):
        admit(community, new_wallet().address, connection(supplier=consumer.peer))


def test_admit__suspended_supplier__is_refused(community: Community, registry: Any) -> None:
    suspend(community, community.supplier)
    community.travel_to(community.now() + NOTICE)
    with reverts(registry.NotASupplier, peer=1):
        admit(community, new_wallet().address, connection())


def test_admit__supplier_before_its_suspension_takes_effect__is_accepted(
    community: Community, registry: Any
) -> None:
    suspend(community, community.supplier)
    community.travel_to(community.now() + NOTICE - 2)
    admit(community, new_wallet().address, connection())
    assert registry.peerAt(3, community.now()).supplier == 1


def test_admit__supplier_without_tariffs__is_refused(community: Community, registry: Any) -> None:
    supplier = community.admit(Role.SUPPLIER)
    now = community.now()
    with reverts(registry.TariffNotInForce, supplier=supplier.peer, index=0, time=now):
        admit(community, new_wallet().address, connection(supplier=supplier.peer))


def test_admit__first_tariff_later__is_refused(community: Community, registry: Any) -> None:
    supplier = community.admit(Role.SUPPLIER)
    publish_tariffs(community, supplier, (community.now() + HOUR, 2, 1))
    now = community.now()
    with reverts(registry.TariffNotInForce, supplier=supplier.peer, index=0, time=now):
        admit(community, new_wallet().address, connection(supplier=supplier.peer))


def test_admit__first_tariff_from_this_second__is_accepted(
    community: Community, registry: Any
) -> None:
    supplier = community.admit(Role.SUPPLIER)
    publish_tariffs(community, supplier, (community.now() + HOUR, 2, 1))
    community.travel_to(community.now() + HOUR - 2)
    assert registry.tariff(supplier.peer, 0).effectiveFrom == community.now()
    admit(community, new_wallet().address, connection(supplier=supplier.peer))
    assert registry.peerCount() == supplier.peer + 1


def test_admit__unknown_network__is_refused(community: Community, registry: Any) -> None:
    now = community.now()
    with reverts(registry.NodeNotInForce, network=9, node=0, time=now):
        admit(community, new_wallet().address, connection(network=9, node=0))


@pytest.mark.parametrize("role", [Role.CONSUMER, Role.SUPPLIER, Role.OPERATOR])
def test_admit__unknown_node__is_refused(community: Community, registry: Any, role: Role) -> None:
    """An operator trades nothing, yet its orders may stand in a clearing: at a node it has."""
    now = community.now()
    with reverts(registry.NodeNotInForce, network=1, node=3, time=now):
        admit(community, new_wallet().address, connection(role, node=3))


def test_admit__node_that_takes_effect_later__is_refused(
    community: Community, registry: Any
) -> None:
    publish_network(community, community.now() + NOTICE + 1, nodes=(b"c4",))
    now = community.now()
    with reverts(registry.NodeNotInForce, network=1, node=3, time=now):
        admit(community, new_wallet().address, connection(node=3))


def test_admit__first_version_of_the_network_later__is_refused(
    community: Community, registry: Any
) -> None:
    community.send(registry.createNetwork, (0, 1), sender=community.dso)
    publish_network(community, community.now() + HOUR, nodes=(b"a",), network=2)
    now = community.now()
    with reverts(registry.NodeNotInForce, network=2, node=0, time=now):
        admit(community, new_wallet().address, connection(network=2, node=0))
