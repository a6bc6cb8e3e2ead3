"""`PeerRegistry`: networks and their versions, each in force for its time (R7, R8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from tests.community import HOUR, NOTICE, Community
from tests.contracts.registry import publish_network
from tests.outcomes import NO_SUCH_INDEX, PANIC, event, events, reverts

if TYPE_CHECKING:
    from typing import Any

    from fairwatt.chain import Receipt

SPACING = 900
NODES = (b"a", b"b")
LINKS = [(0, 1, 2, 15_840, 5_000_000), (1, 0, 0, 0, 2**40 - 1)]


def name(node: bytes) -> bytes:
    return node.ljust(32, b"\0")


def links_hash(links: list[tuple[int, int, int, int, int]]) -> bytes:
    return keccak(encode(["(uint16,uint16,uint32,uint32,uint40)[]"], [links]))


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


def create(community: Community, floor: int = -500, cap: int = 4_000) -> Receipt:
    method = community.chain.contracts.registry.createNetwork
    return community.send(method, (floor, cap), sender=community.dso)


@pytest.fixture
def network(community: Community) -> int:
    """A network without versions, operated by the DSO."""
    return int(create(community).events[-1].network)


# ---------------------------------------------------------------------------------- createNetwork


def test_create_network__by_an_operator__is_its_own(community: Community, registry: Any) -> None:
    receipt = create(community)
    dso = community.dso.address
    assert events(receipt) == [
        event(registry.NetworkCreated, network=2, operator=dso, bounds=(-500, 4_000))
    ]
    assert registry.operatorOf(2) == dso
    bounds = registry.boundsOf(2)
    assert (bounds.floorMicroPerKWh, bounds.capMicroPerKWh) == (-500, 4_000)
    assert registry.networkVersionCount(2) == 0
    assert registry.nodesOf(2) == []


def test_create_network__floor_at_the_cap__is_accepted(community: Community, registry: Any) -> None:
    create(community, floor=7, cap=7)
    assert registry.boundsOf(2).floorMicroPerKWh == 7


def test_create_network__not_a_network_operator__is_refused(
    community: Community, registry: Any
) -> None:
    with reverts(
        registry.AccessControlUnauthorizedAccount,
        account=community.registrar.address,
        neededRole=registry.NETWORK_OPERATOR_ROLE(),
    ):
        community.send(registry.createNetwork, (0, 1), sender=community.registrar)


def test_create_network__floor_above_the_cap__is_refused(
    community: Community, registry: Any
) -> None:
    with reverts(registry.BoundsInverted, floorMicroPerKWh=8, capMicroPerKWh=7):
        create(community, floor=8, cap=7)


def test_bounds_of__unknown_network__is_refused(registry: Any) -> None:
    with reverts(registry.UnknownNetwork, network=9):
        registry.boundsOf(9)


# --------------------------------------------------------------------------------- publishNetwork


def test_publish_network__first_version__may_be_in_force_at_once(
    community: Community, registry: Any, network: int
) -> None:
    now = community.now()
    receipt = publish_network(community, now, LINKS, nodes=NODES, network=network)
    assert events(receipt) == [
        event(
            registry.NetworkPublished,
            network=network,
            version=0,
            effectiveFrom=now,
            newNodes=[name(node) for node in NODES],
            links=LINKS,
        )
    ]
    assert registry.networkVersionCount(network) == 1
    assert [bytes(node) for node in registry.nodesOf(network)] == [name(node) for node in NODES]
    assert tuple(registry.networkVersion(network, 0)) == (now, 2, links_hash(LINKS))


def test_publish_network__next_version__adds_nodes_after_the_notice(
    community: Community, registry: Any
) -> None:
    since, links = community.now() + NOTICE + 1, [(3, 0, 0, 1, 2)]
    receipt = publish_network(community, since, links, nodes=(b"c4",))
    assert events(receipt) == [
        event(
            registry.NetworkPublished,
            network=1,
            version=2,
            effectiveFrom=since,
            newNodes=[name(b"c4")],
            links=links,
        )
    ]
    assert [bytes(node).rstrip(b"\0") for node in registry.nodesOf(1)] == [
        b"grid",
        b"c2",
        b"c3",
        b"c4",
    ]
    assert registry.networkVersion(1, 1)[1] == 3
    assert tuple(registry.networkVersion(1, 2)) == (since, 4, links_hash(links))


def test_publish_network__next_but_one_version__may_follow_after_the_spacing(
    community: Community, registry: Any
) -> None:
    since = community.now() + NOTICE + 2
    publish_network(community, since)
    publish_network(community, since + SPACING)
    assert registry.networkVersion(1, 3)[0] == since + SPACING


def test_publish_network__without_the_role__is_refused(community: Community, registry: Any) -> None:
    with reverts(
        registry.AccessControlUnauthorizedAccount,
        account=community.outsider.address,
        neededRole=registry.NETWORK_OPERATOR_ROLE(),
    ):
        publish_network(community, community.now() + NOTICE + 1, sender=community.outsider)


def test_publish_network__of_another_operator__is_refused(
    community: Community, registry: Any
) -> None:
    role, other = registry.NETWORK_OPERATOR_ROLE(), community.outsider
    community.send(registry.grantRole, role, other.address, sender=community.admin)
    with reverts(registry.NotTheOperator, network=1, caller=other.address):
        publish_network(community, community.now() + NOTICE + 1, sender=other)


def test_publish_network__unknown_network__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.UnknownNetwork, network=9):
        publish_network(community, community.now() + NOTICE + 1, network=9)


def test_publish_network__first_version_in_the_past__is_refused(
    community: Community, registry: Any, network: int
) -> None:
    now = community.now()
    with reverts(registry.EffectiveTooEarly, effectiveFrom=now - 1, earliest=now):
        publish_network(community, now - 1, nodes=NODES, network=network)


def test_publish_network__next_version_within_the_notice__is_refused(
    community: Community, registry: Any
) -> None:
    now = community.now()
    with reverts(registry.EffectiveTooEarly, effectiveFrom=now + NOTICE, earliest=now + NOTICE + 1):
        publish_network(community, now + NOTICE)


def test_publish_network__within_the_spacing__is_refused(
    community: Community, registry: Any
) -> None:
    since = community.now() + NOTICE + HOUR
    publish_network(community, since)
    with reverts(
        registry.EffectiveTooEarly,
        effectiveFrom=since + SPACING - 1,
        earliest=since + SPACING,
    ):
        publish_network(community, since + SPACING - 1)


def test_publish_network__before_the_version_ahead__is_refused(
    community: Community, registry: Any
) -> None:
    since = community.now() + NOTICE + HOUR
    publish_network(community, since)
    early = community.now() + NOTICE + 1
    with reverts(registry.EffectiveTooEarly, effectiveFrom=early, earliest=since + SPACING):
        publish_network(community, early)


def test_publish_network__link_from_unknown_node__is_refused(
    community: Community, registry: Any, network: int
) -> None:
    links = [LINKS[0], (2, 0, 0, 0, 0)]
    with reverts(registry.LinkToUnknownNode, link=1, node=2):
        publish_network(community, community.now(), links, nodes=NODES, network=network)


def test_publish_network__link_to_unknown_node__is_refused(
    community: Community, registry: Any, network: int
) -> None:
    with reverts(registry.LinkToUnknownNode, link=0, node=3):
        publish_network(community, community.now(), [(0, 3, 0, 0, 0)], nodes=NODES, network=network)


def test_publish_network__link_to_itself__is_refused(
    community: Community, registry: Any, network: int
) -> None:
    links = [LINKS[0], (1, 1, 0, 0, 0)]
    with reverts(registry.LinkToItself, link=1):
        publish_network(community, community.now(), links, nodes=NODES, network=network)


def test_publish_network__link_of_an_unknown_owner__is_refused(
    community: Community, registry: Any, network: int
) -> None:
    with reverts(registry.UnknownPeer, peer=3):
        publish_network(community, community.now(), [(0, 1, 3, 0, 0)], nodes=NODES, network=network)


def test_network_version__unknown__is_refused(registry: Any) -> None:
    with reverts(PANIC, code=NO_SUCH_INDEX):
        registry.networkVersion(1, 2)


# --------------------------------------------------------------------------------- networkInForce


def test_network_in_force__at_the_turn_of_versions__is_exactly_one(
    community: Community, registry: Any
) -> None:
    since = community.now() + NOTICE + 1
    publish_network(community, since, LINKS[1:], nodes=(b"c4",))
    _, nodes, links = registry.networkVersion(1, 1)
    assert tuple(registry.networkInForce(1, 1, since - 1)) == (nodes, links)
    assert tuple(registry.networkInForce(1, 2, since)) == (4, links_hash(LINKS[1:]))
    with reverts(registry.NetworkNotInForce, network=1, version=2, time=since - 1):
        registry.networkInForce(1, 2, since - 1)
    with reverts(registry.NetworkNotInForce, network=1, version=1, time=since):
        registry.networkInForce(1, 1, since)


def test_network_in_force__last_version__has_no_end(registry: Any) -> None:
    assert registry.networkInForce(1, 1, 2**256 - 1)[0] == 3


def test_network_in_force__before_the_first_version__is_refused(registry: Any) -> None:
    first = registry.networkVersion(1, 0)[0]
    with reverts(registry.NetworkNotInForce, network=1, version=0, time=first - 1):
        registry.networkInForce(1, 0, first - 1)


def test_network_in_force__unknown_version__is_refused(community: Community, registry: Any) -> None:
    now = community.now()
    with reverts(registry.NetworkNotInForce, network=1, version=2, time=now):
        registry.networkInForce(1, 2, now)


def test_network_in_force__unknown_network__is_refused(community: Community, registry: Any) -> None:
    now = community.now()
    with reverts(registry.NetworkNotInForce, network=9, version=0, time=now):
        registry.networkInForce(9, 0, now)
