"""`PeerRegistry.publishRoster`, `rosterAt`, `findRoster`: records of a page as code (R10, R11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ape
import pytest
from tests.community import C2, C3, NOTICE, Community, Member
from tests.contracts.registry import (
    admit,
    change,
    change_wallet,
    connection,
    leave,
    new_wallet,
    reinstate,
    same_connection,
    second_wallet,
    suspend,
)
from tests.outcomes import event, events, reverts

from fairwatt.chain import Receipt, Role, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = 2**40 - 1
PAGE = 64


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.PROSUMER, C3, connection_w=2**30 - 1)


def publish(community: Community, time: int, page: int = 0) -> Receipt:
    """Publish a roster, as anyone may."""
    method = community.chain.contracts.registry.publishRoster
    return community.send(method, page, time, sender=community.outsider)


def require_holds(registry: Any, time: int, page: int = 0) -> int:
    """Require a roster that says of every peer what `peerAt` does; its index."""
    found, index = registry.findRoster(page, time)
    assert found
    code = bytes(ape.networks.provider.get_code(registry.rosterAt(page, index, time)))
    assert (code[0], len(code)) == (0, 1 + 32 * PAGE)
    for at in range(PAGE):
        record = registry.peerAt(PAGE * page + 1 + at, time)
        word = bytes.fromhex(record.wallet[2:]) + b"".join(
            value.to_bytes(size)
            for value, size in (
                (record.node, 2),
                (record.network, 2),
                (record.connectionW, 4),
                (record.role, 1),
                (record.standing, 1),
                (0, 2),
            )
        )
        assert code[1 + 32 * at :][:32] == word
    return int(index)


def require_none(registry: Any, time: int, page: int = 0) -> None:
    """Require that no roster holds then."""
    assert registry.findRoster(page, time)[0] is False
    for index in range(5):
        with reverts(registry.RosterNotInForce, page=page, index=index, time=time):
            registry.rosterAt(page, index, time)


# -------------------------------------------------------------------------------------- publishing


def test_publish_roster__by_anyone__is_the_records_in_force(
    community: Community, registry: Any, member: Member
) -> None:
    since, now = registry.peerAt(member.peer, community.now()).since, community.now()
    receipt = publish(community, now)
    code = registry.rosterAt(0, 0, now)
    assert events(receipt) == [
        event(registry.RosterPublished, page=0, index=0, code=code, **{"from": since}, until=NEVER)
    ]
    for time in (since, now, now + 10**9, NEVER):
        assert require_holds(registry, time) == 0
    assert registry.rosterAt(0, 0, 2**256 - 1) == code
    require_none(registry, since - 1)


def test_publish_roster__of_a_time_before_an_admission__has_nothing_of_that_peer(
    community: Community, registry: Any, member: Member
) -> None:
    since = registry.peerAt(member.peer, community.now()).since
    publish(community, since - 1)
    before = registry.peerAt(community.operator.peer, since).since
    assert require_holds(registry, before) == require_holds(registry, since - 1) == 0
    require_none(registry, since)


def test_publish_roster__of_a_time_before_all_admissions__is_empty(
    community: Community, registry: Any
) -> None:
    publish(community, 0)
    first = min(registry.peerAt(peer, community.now()).since for peer in (1, 2))
    assert require_holds(registry, 0) == require_holds(registry, first - 1) == 0
    require_none(registry, first)


@pytest.mark.parametrize("page", [1, 2**26, 2**32 - 1])
def test_publish_roster__of_a_page_without_peers__is_refused(
    community: Community, registry: Any, page: int
) -> None:
    with reverts(registry.PageEmpty, page=page):
        publish(community, community.now(), page)


@pytest.mark.parametrize("later", [0, 1, 10**6, None])
def test_publish_roster__where_one_holds__is_refused(
    community: Community, registry: Any, member: Member, later: int | None
) -> None:
    suspend(community, member)
    publish(community, community.now())
    publish(community, community.now() + NOTICE)
    time = NEVER if later is None else community.now() + NOTICE + later
    with reverts(registry.RosterInForce, page=0, index=1):
        publish(community, time)
    with reverts(registry.RosterInForce, page=0, index=0):
        publish(community, community.now())


# ----------------------------------------------------------------------------------------- changes

CHANGES: dict[str, Callable[[Community, Member], object]] = {
    "change": lambda community, member: change(
        community,
        member,
        same_connection(community, member, connectionW=5, node=C2, role=Role.STORAGE),
    ),
    "suspend": suspend,
    "leaveCommunity": leave,
    "acceptWallet": lambda community, member: change_wallet(community, member, new_wallet()),
}


@pytest.mark.parametrize("act", CHANGES.values(), ids=CHANGES)
def test_roster__of_a_peer_that_changes__ends_when_the_change_takes_effect(
    community: Community, registry: Any, member: Member, act: Callable[..., object]
) -> None:
    publish(community, community.now())
    act(community, member)
    since = registry.peerAt(member.peer, NEVER).since
    assert require_holds(registry, since - 1) == 0
    require_none(registry, since)
    receipt = publish(community, since)
    assert receipt.events[-1].index == 1
    assert [require_holds(registry, time) for time in (since - 1, since, NEVER)] == [0, 1, 1]


@pytest.mark.parametrize("act", CHANGES.values(), ids=CHANGES)
def test_roster__published_before_a_change_takes_effect__ends_with_it(
    community: Community, registry: Any, member: Member, act: Callable[..., object]
) -> None:
    act(community, member)
    since = registry.peerAt(member.peer, NEVER).since
    receipt = publish(community, community.now())
    assert receipt.events[-1].until == since
    receipt = publish(community, NEVER)
    assert (receipt.events[-1]["from"], receipt.events[-1].until) == (since, NEVER)
    assert [require_holds(registry, time) for time in (since - 1, since)] == [0, 1]


def test_roster__of_a_reinstated_peer__says_so(
    community: Community, registry: Any, member: Member
) -> None:
    suspend(community, member)
    community.travel_to(community.now() + NOTICE)
    publish(community, community.now())
    reinstate(community, member)
    since = registry.peerAt(member.peer, NEVER).since
    publish(community, since)
    assert [require_holds(registry, time) for time in (since - 1, since)] == [0, 1]
    assert registry.peerAt(member.peer, since).standing == Standing.ACTIVE


def test_roster__with_two_changes_ahead__holds_between_them(
    community: Community, registry: Any, member: Member
) -> None:
    other = community.admit(Role.CONSUMER)
    suspend(community, other)
    first = registry.peerAt(other.peer, NEVER).since
    change_wallet(community, member, new_wallet())
    second = registry.peerAt(member.peer, NEVER).since
    assert first < second
    receipts = [publish(community, time) for time in (second, first, first - 1)]
    assert [(log.until, log["from"]) for log in (receipt.events[-1] for receipt in receipts)] == [
        (NEVER, second),
        (second, first),
        (first, registry.peerAt(other.peer, first - 1).since),
    ]
    times = (first - 1, first, second - 1, second, NEVER)
    assert [require_holds(registry, time) for time in times] == [2, 1, 1, 0, 0]


def test_roster__of_the_past__stays_when_a_peer_changes(
    community: Community, registry: Any, member: Member
) -> None:
    suspend(community, member)
    since = registry.peerAt(member.peer, NEVER).since
    publish(community, since - 1)
    community.travel_to(since)
    reinstate(community, member)
    assert require_holds(registry, since - 1) == 0


# -------------------------------------------------------------------------------------- admissions


def test_roster__when_a_peer_is_admitted__ends_at_once(
    community: Community, registry: Any, member: Member
) -> None:
    publish(community, community.now())
    admitted = community.now()
    admit(community, new_wallet().address, connection())
    assert require_holds(registry, admitted - 1) == 0
    require_none(registry, admitted)
    publish(community, community.now())
    assert require_holds(registry, admitted) == require_holds(registry, NEVER) == 1


def test_roster__ahead_when_a_peer_is_admitted__never_holds(
    community: Community, registry: Any, member: Member
) -> None:
    suspend(community, member)
    since = registry.peerAt(member.peer, NEVER).since
    publish(community, since)
    assert require_holds(registry, since) == 0
    admit(community, new_wallet().address, connection())
    for time in (0, community.now(), since - 1, since, NEVER):
        require_none(registry, time)
    publish(community, since)
    assert require_holds(registry, since) == 1


# ----------------------------------------------------------------------------------------- griefing


def test_publish_roster__by_one_who_wants_changes_to_be_dear__achieves_little(
    community: Community, registry: Any, member: Member
) -> None:
    """Rosters that are over are not looked at again, however many there are."""
    gas = []
    for _ in range(6):
        act = suspend if len(gas) % 2 == 0 else reinstate
        gas.append(act(community, member).gas_used)
        since = registry.peerAt(member.peer, NEVER).since
        publish(community, since)
        for time in (since, since + 1, NEVER):  # there are no more to be had
            with reverts(registry.RosterInForce, page=0, index=len(gas) - 1):
                publish(community, time)
        community.travel_to(since)
    assert max(gas[3:]) - min(gas[3:]) < 1_000
    assert registry.findRoster(0, NEVER)[1] == 5


def test_publish_roster__for_everything_ahead__does_not_stop_an_admission(
    community: Community, registry: Any
) -> None:
    members = [community.admit(Role.CONSUMER) for _ in range(5)]
    changes = []
    for member in members:
        suspend(community, member)
        changes.append(registry.peerAt(member.peer, NEVER).since)
    for time in (community.now(), *changes):
        publish(community, time)
    receipt = admit(community, new_wallet().address, connection())
    assert receipt.gas_used < 400_000
    assert not any(registry.findRoster(0, time)[0] for time in (community.now(), *changes))
    second = admit(community, second_wallet().address, connection(meter="0x" + "33" * 20))
    assert second.gas_used < receipt.gas_used


# -------------------------------------------------------------------------------------------- pages


def test_roster__of_the_64th_and_the_65th_peer__are_two(
    community: Community, registry: Any
) -> None:
    terms = connection(Role.OPERATOR)
    for number in range(registry.peerCount() + 1, PAGE + 1):
        admit(community, f"0x{0xC0FFEE0000 + number:040x}", terms)
    publish(community, community.now())
    with reverts(registry.PageEmpty, page=1):
        publish(community, community.now(), 1)
    admit(community, new_wallet().address, terms | {"connectionW": 65})
    now = community.now()
    assert require_holds(registry, now) == 0
    publish(community, now, 1)
    assert require_holds(registry, now, 1) == 0
    code = bytes(ape.networks.provider.get_code(registry.rosterAt(1, 0, now)))
    assert code[1:21] == bytes.fromhex(new_wallet().address[2:])
    assert not any(code[33:])
    admit(community, second_wallet().address, terms)
    require_none(registry, community.now(), 1)
    assert require_holds(registry, community.now()) == 0


# -------------------------------------------------------------------------------------- connection


def test_admit__connection_of_30_bits__is_accepted(community: Community, registry: Any) -> None:
    admit(community, new_wallet().address, connection(connectionW=2**30 - 1))
    assert registry.peerAt(3, community.now()).connectionW == 2**30 - 1


@pytest.mark.parametrize("watts", [2**30, 2**32 - 1])
def test_admit__larger_connection__is_refused(
    community: Community, registry: Any, member: Member, watts: int
) -> None:
    with reverts(registry.ConnectionTooLarge, connectionW=watts):
        admit(community, new_wallet().address, connection(connectionW=watts))
    with reverts(registry.ConnectionTooLarge, connectionW=watts):
        change(community, member, same_connection(community, member, connectionW=watts))
