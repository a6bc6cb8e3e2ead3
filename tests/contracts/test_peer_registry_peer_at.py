"""`PeerRegistry.peerAt`: the record in force, at any time, and nothing in force without notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import NOTICE, Community, Member
from tests.contracts.registry import (
    NOBODY,
    change,
    change_wallet,
    leave,
    new_wallet,
    publish_network,
    publish_tariffs,
    reinstate,
    same_connection,
    suspend,
)

from fairwatt.chain import Role, Standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


def nothing(record: Any) -> bool:
    return record.wallet == NOBODY and not any(list(record)[1:6]) and record.supplier == 0


def test_peer_at__several_changes__every_record_stays_readable(
    community: Community, registry: Any
) -> None:
    admitted = community.now()
    member = community.admit(Role.CONSUMER)
    turns = []
    for act in (
        lambda: change(community, member, same_connection(community, member, connectionW=5)),
        lambda: suspend(community, member),
        lambda: reinstate(community, member),
        lambda: change_wallet(community, member, new_wallet()),
        lambda: change(community, member, same_connection(community, member, connectionW=6)),
    ):
        act()
        turns.append(community.now() + NOTICE)
        community.travel_to(turns[-1])

    def known(time: int) -> tuple[int, int, str]:
        record = registry.peerAt(member.peer, time)
        metering = registry.meteringAt(member.peer, time)
        assert list(metering) == [record.meter, record.supplier, record.connectionW]
        return record.connectionW, record.standing, record.wallet

    first, second = member.wallet.address, new_wallet().address
    expected = [
        (10**6, Standing.ACTIVE, first),
        (5, Standing.ACTIVE, first),
        (5, Standing.SUSPENDED, first),
        (5, Standing.ACTIVE, first),
        (5, Standing.ACTIVE, second),
        (6, Standing.ACTIVE, second),
    ]
    assert [known(time) for time in (admitted, *turns)] == expected
    assert [known(turn - 1) for turn in turns] == expected[:-1]
    assert known(2**256 - 1) == expected[-1]


def test_peer_at__before_the_admission__is_nothing(community: Community, registry: Any) -> None:
    admitted = community.now()
    member = community.admit(Role.CONSUMER)
    assert registry.peerAt(member.peer, admitted).standing == Standing.ACTIVE
    assert nothing(registry.peerAt(member.peer, admitted - 1))


def test_peer_at__before_the_admission_of_a_changed_peer__is_nothing(
    community: Community, registry: Any
) -> None:
    admitted = community.now()
    member = community.admit(Role.CONSUMER)
    suspend(community, member)
    assert nothing(registry.peerAt(member.peer, admitted - 1))


@pytest.mark.parametrize("peer", [0, 99])
def test_peer_at__unknown_peer__is_nothing(community: Community, registry: Any, peer: int) -> None:
    assert nothing(registry.peerAt(peer, community.now()))


# ---------------------------------------------------------------------------------------- notice

CHANGES: dict[str, Callable[[Community, Member], object]] = {
    "change": lambda community, member: change(
        community, member, same_connection(community, member, connectionW=5)
    ),
    "suspend": suspend,
    "leaveCommunity": leave,
    "acceptWallet": lambda community, member: change_wallet(community, member, new_wallet()),
}


@pytest.mark.parametrize("act", CHANGES.values(), ids=CHANGES)
def test_notice__change_of_a_peer__is_in_force_a_second_after_it(
    community: Community, registry: Any, act: Callable[[Community, Member], object]
) -> None:
    member = community.admit(Role.PROSUMER)
    before = registry.peerAt(member.peer, community.now())
    act(community, member)
    published = community.now() - 1
    assert registry.peerAt(member.peer, published + NOTICE) == before
    assert registry.peerAt(member.peer, published + NOTICE + 1) != before


def test_notice__reinstatement__is_in_force_a_second_after_it(
    community: Community, registry: Any
) -> None:
    member = community.admit(Role.PROSUMER)
    suspend(community, member)
    community.travel_to(community.now() + NOTICE)
    reinstate(community, member)
    published = community.now() - 1
    assert registry.peerAt(member.peer, published + NOTICE).standing == Standing.SUSPENDED
    assert registry.peerAt(member.peer, published + NOTICE + 1).standing == Standing.ACTIVE


def test_notice__network_version__is_in_force_a_second_after_it(
    community: Community, registry: Any
) -> None:
    published = community.now()
    publish_network(community, published + NOTICE + 1)
    assert registry.networkInForce(1, 1, published + NOTICE)
    assert registry.networkInForce(1, 2, published + NOTICE + 1)


def test_notice__tariff__is_in_force_a_second_after_it(community: Community, registry: Any) -> None:
    published = community.now()
    publish_tariffs(community, community.supplier, (published + NOTICE + 1, 2, 1))
    assert registry.tariffsFor(1, 0, published + NOTICE, 900, 1)
    assert registry.tariffsFor(1, 1, published + NOTICE + 1, 900, 1)
