"""Connections to admit peers with, and the registry's methods as its tests call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.community import C3

from fairwatt.chain import Role, Signer, test_signer

if TYPE_CHECKING:
    from tests.community import Community, Member

    from fairwatt.chain import Receipt

NOBODY = "0x" + "0" * 40
METER, SECOND_METER = "0x" + "11" * 20, "0x" + "22" * 20
UNMETERED = (Role.SUPPLIER, Role.OPERATOR)


def new_wallet() -> Signer:
    return test_signer(19)


def second_wallet() -> Signer:
    return test_signer(18)


def connection(role: Role = Role.CONSUMER, **changes: Any) -> dict[str, Any]:
    """A connection of the community's network; `changes` replace its fields."""
    metered = role not in UNMETERED
    return {
        "role": role,
        "network": 1,
        "node": C3,
        "meter": METER if metered else NOBODY,
        "supplier": 1 if metered else 0,
        "connectionW": 10_000,
        "community": 1,
    } | changes


def same_connection(community: Community, member: Member, /, **changes: Any) -> dict[str, Any]:
    """The connection a member has now; `changes` replace its fields."""
    record = community.chain.contracts.registry.peerAt(member.peer, community.now())
    fields = connection()
    return {field: getattr(record, field) for field in fields} | changes


def admit(community: Community, wallet: str, terms: dict[str, Any]) -> Receipt:
    admission = community.chain.contracts.registry.admit
    return community.send(admission, wallet, terms, sender=community.registrar)


def change(community: Community, member: Member, terms: dict[str, Any]) -> Receipt:
    alter = community.chain.contracts.registry.change
    return community.send(alter, member.peer, terms, sender=community.registrar)


def suspend(community: Community, member: Member) -> Receipt:
    method = community.chain.contracts.registry.suspend
    return community.send(method, member.peer, sender=community.registrar)


def reinstate(community: Community, member: Member) -> Receipt:
    method = community.chain.contracts.registry.reinstate
    return community.send(method, member.peer, sender=community.registrar)


def leave(community: Community, member: Member) -> Receipt:
    return community.send(community.chain.contracts.registry.leaveCommunity, sender=member.wallet)


def change_wallet(community: Community, member: Member, wallet: Signer) -> Receipt:
    registry = community.chain.contracts.registry
    community.send(registry.offerWallet, wallet.address, sender=member.wallet)
    return community.send(registry.acceptWallet, member.peer, sender=wallet)


def publish_tariffs(
    community: Community, supplier: Member, *tariffs: tuple[int, int, int]
) -> Receipt:
    method = community.chain.contracts.registry.publishTariffs
    return community.send(method, list(tariffs), sender=supplier.wallet)


def publish_network(
    community: Community,
    effective_from: int,
    links: list[tuple[int, int, int, int, int]] | None = None,
    *,
    nodes: tuple[bytes, ...] = (),
    network: int = 1,
    sender: Signer | None = None,
) -> Receipt:
    """Publish a version; a link is (source, target, owner, tariff, capacity)."""
    return community.send(
        community.chain.contracts.registry.publishNetwork,
        network,
        effective_from,
        [name.ljust(32, b"\0") for name in nodes],
        links or [],
        sender=sender or community.dso,
    )
