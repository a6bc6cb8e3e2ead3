"""Flexible orders through the whole of `Clearing.clear`: signatures, roles, connections, money."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ape import reverts
from eth_utils.crypto import keccak
from tests.community import C3, NANO, QUARTERS, Community, Member, ask, bid
from tests.contracts.parts import carried
from tests.flexible import BUYER, NAMED, SELLER, Named

from fairwatt.calldata import encode_parts
from fairwatt.chain import Role, structs
from fairwatt.eip712 import compact
from fairwatt.orders import FlexibleOrder, SignedOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairwatt.proposal import Proposal

ROLES = {SELLER: Role.PRODUCER, BUYER: Role.CONSUMER}


@pytest.fixture
def clearing(community: Community) -> Any:
    return community.chain.contracts.clearing


@pytest.fixture
def storage(community: Community) -> Member:
    return community.admit(Role.STORAGE, tokens=1)


def flexible(
    community: Community,
    member: Member,
    terms: Sequence[int],
    periods: int = 4,
    first: int = 0,
    nonce: int = 0,
) -> SignedOrder:
    """Signed terms: charge, discharge, capacity, start, wanted, value, wear."""
    charge, discharge, capacity, start, wanted, value, wear = terms
    order = FlexibleOrder(
        market=QUARTERS,
        peer=member.peer,
        session_start=community.open_session(QUARTERS),
        first_period=first,
        periods=periods,
        charge_wh=charge,
        discharge_wh=discharge,
        capacity_wh=capacity,
        start_wh=start,
        wanted_wh=wanted,
        value_micro_per_kwh=value,
        wear_micro_per_kwh=wear,
        nonce=nonce,
    )
    return order.signed_by(member.key, community.chain.order_domain)


def on_chain(community: Community, named: Named) -> tuple[Proposal, dict[int, Member]]:
    """The named session in the market of quarters, all of its peers at one node."""
    members = {
        peer: community.admit(ROLES.get(peer, Role.STORAGE), C3, tokens=1)
        for peer in [SELLER, BUYER, *named.devices]
    }
    orders = []
    for peer, offers, step in ((SELLER, named.asks, ask), (BUYER, named.bids, bid)):
        steps = [step(*offer, at) for at, offer in enumerate(offers) if offer is not None]
        if steps:
            orders.append(community.sign(members[peer], *steps, market=QUARTERS))
    orders += [
        flexible(community, members[peer], terms, len(named.asks))
        for peer, terms in named.devices.items()
    ]
    return community.propose(*orders), members


@pytest.mark.parametrize("name", NAMED)
def test_clear__named_session__pays_what_it_comes_to(community: Community, name: str) -> None:
    named = NAMED[name]
    proposal, members = on_chain(community, named)
    community.clear(proposal)
    paid = {peer: community.balance(member) - NANO for peer, member in members.items()}
    if len(named.devices) == 1:
        assert {peer: paid[peer] for peer in named.payments_nano} == named.payments_nano
    else:  # which of two alike trades more is drawn from the hashes of their orders
        assert sorted(paid.values()) == sorted(named.payments_nano.values())
    start = proposal.session.start
    assert community.chain.snapshot().positions_wh(QUARTERS, start) == proposal.positions_wh
    assert sum(paid.values()) == 0


def test_clear__orders_hash__chains_flexible_orders_like_others(
    community: Community, clearing: Any
) -> None:
    named = NAMED["battery limited by its power"]
    proposal, _ = on_chain(community, named)
    community.clear(proposal)
    chained = bytes(32)
    for signed in proposal.orders:
        body = signed.order.typed_data(community.chain.order_domain).signable().body
        chained = keccak(chained + body)
    assert clearing.ordersHash(QUARTERS, proposal.session.start) == chained


def test_clear__storage_with_an_order_beside__is_netted_and_carried_together(
    community: Community, storage: Member
) -> None:
    """It sells 6 Wh of its own and charges 4 of them: one position, one payment."""
    buyer = community.admit(Role.CONSUMER, tokens=1)
    proposal = community.propose(
        community.sign(storage, ask(100, 6), market=QUARTERS),
        community.sign(buyer, bid(300, 3), bid(900, 9, 1), market=QUARTERS),
        flexible(community, storage, (4, 4, 9, 0, 0, 0, 50), periods=2, nonce=1),
    )
    community.clear(proposal)
    assert proposal.positions_wh == {storage.peer: (2, 4, 0, 0), buyer.peer: (-2, -4, 0, 0)}
    assert community.balance(storage) == NANO + 2 * 300 + 4 * 900


def test_clear__in_parts__counts_flexible_orders_through(
    community: Community, clearing: Any
) -> None:
    proposal, members = on_chain(community, NAMED["two equal batteries"])
    community.close_gate(proposal)
    message, part, nothing, _ = community.chain.clearing_arguments(proposal, community.solver)
    parts = [part | {"orders": each.orders} for each in encode_parts(proposal, 1)]
    before = nothing
    for at, each in enumerate(parts):
        is_last = at + 1 == len(parts)
        sent = community.send(
            clearing.clear, message, each, before, is_last, sender=community.solver
        )
        before = {} if is_last else carried(sent)
    for peer, payment in proposal.payments_nano.items():
        (member,) = (each for each in members.values() if each.peer == peer)
        assert community.balance(member) == NANO + payment


# ----------------------------------------------------------------------------------------- refusals


def test_clear__signed_by_another__reverts(
    community: Community, clearing: Any, storage: Member
) -> None:
    order = flexible(community, storage, (4, 4, 9, 0, 0, 0, 0)).order
    thief = community.outsider.key
    assert thief is not None
    proposal = community.propose(order.signed_by(thief, community.chain.order_domain))
    with reverts(
        clearing.OrderSignerMismatch,
        peer=storage.peer,
        nonce=0,
        signer=community.outsider.address,
    ):
        community.clear(proposal)


def test_clear__cancelled__reverts(community: Community, clearing: Any, storage: Member) -> None:
    book = community.chain.contracts.order_book
    proposal = community.propose(flexible(community, storage, (4, 4, 9, 0, 0, 0, 0)))
    start = proposal.session.start
    community.send(book.cancel, QUARTERS, start, 0, sender=storage.wallet)
    with reverts(book.OrderIsCancelled, peer=storage.peer, nonce=0):
        community.clear(proposal)


def test_clear__consumer_discharges__reverts(community: Community, clearing: Any) -> None:
    consumer = community.admit(Role.CONSUMER, tokens=1)
    buyer = community.admit(Role.CONSUMER, tokens=1)
    proposal = community.propose(
        community.sign(buyer, bid(900, 3), market=QUARTERS),
        flexible(community, consumer, (0, 4, 9, 4, 4, 0, 0)),
    )
    with reverts(
        clearing.SideNotAllowed,
        peer=consumer.peer,
        role=Role.CONSUMER,
        sells=True,
        buys=False,
    ):
        community.clear(proposal)


def test_clear__charges_more_than_the_connection__reverts(
    community: Community, clearing: Any
) -> None:
    storage = community.admit(Role.STORAGE, connection_w=16, tokens=1)  # 4 Wh in a quarter
    seller = community.admit(Role.PRODUCER, tokens=1)
    proposal = community.propose(
        community.sign(seller, ask(10, 9), market=QUARTERS),
        flexible(community, storage, (5, 0, 9, 0, 9, 900, 0)),
    )
    with reverts(clearing.EnergyAboveConnection, block_=0, limitWh=4):
        community.clear(proposal)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"periods": 5}, "WindowMalformed"),
        ({"periods": 0}, "WindowMalformed"),
        ({"first_period": 1}, "WindowMalformed"),
        ({"start_wh": 5, "wanted_wh": 4}, "LevelsMalformed"),
        ({"wanted_wh": 10}, "LevelsMalformed"),
    ],
    ids=str,
)
def test_clear__terms_that_cannot_be_kept__reverts(
    community: Community, clearing: Any, storage: Member, wrong: dict[str, int], error: str
) -> None:
    """The order book refuses the same, so no receipt binds for it."""
    signed = flexible(community, storage, (4, 4, 9, 0, 0, 0, 0))
    proposal = community.propose(signed)
    order = replace(signed.order)
    for field, value in wrong.items():
        object.__setattr__(order, field, value)  # what no order in Python can be
    other = order.signed_by(storage.key, community.chain.order_domain)
    assert isinstance(order, FlexibleOrder)
    book = community.chain.contracts.order_book
    with reverts(getattr(book, error)):
        book.requireValid(structs(order.to_struct()), other.signature)
    community.close_gate(proposal)
    message, part, *rest = community.chain.clearing_arguments(proposal, community.solver)
    schedule = bytes(4 * order.periods)
    record = part["orders"][:9] + order.terms + schedule + compact(other.signature)
    with reverts(clearing.OrdersMalformed, offset=0):
        community.send(
            clearing.clear, message, part | {"orders": record}, *rest, sender=community.solver
        )


def test_clear__record_cut_off__reverts(
    community: Community, clearing: Any, storage: Member
) -> None:
    proposal = community.propose(flexible(community, storage, (4, 4, 9, 0, 0, 0, 0)))
    community.close_gate(proposal)
    message, part, *rest = community.chain.clearing_arguments(proposal, community.solver)
    for orders in (part["orders"][:-1], b"\2" + bytes(4) + part["orders"][5:]):
        with reverts(clearing.OrdersMalformed, offset=0):
            community.send(
                clearing.clear, message, part | {"orders": orders}, *rest, sender=community.solver
            )


def test_clear__cells_for_more_or_fewer_flexible_orders__reverts(
    community: Community, clearing: Any, storage: Member
) -> None:
    proposal = community.propose(flexible(community, storage, (4, 4, 9, 0, 0, 0, 0)))
    community.close_gate(proposal)
    message, *rest = community.chain.clearing_arguments(proposal, community.solver)
    cells = message["cells"]
    block = 96  # of a node
    assert len(cells) == 4 * block
    for changed, needed in ((cells[:-block], 4 * block), (cells + cells[-block:], 4 * block)):
        with reverts(clearing.CellsMalformed, expectedBytes=needed, actualBytes=len(changed)):
            community.send(
                clearing.clear, message | {"cells": changed}, *rest, sender=community.solver
            )
