"""What makes an order an order (`Orders`): every rule, as `requireValid` and `place` apply it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.community import C2, C3, HOUR, NETWORK, NOTICE, QUARTERS, Community, Member, ask, bid
from tests.contracts.registry import (
    admit,
    change,
    connection,
    leave,
    new_wallet,
    reinstate,
    same_connection,
    suspend,
)
from tests.outcomes import reverts

from fairwatt.chain import Role, structs
from fairwatt.market import Side

if TYPE_CHECKING:
    from typing import Any

    from fairwatt.orders import SignedOrder

FLOOR, CAP = NETWORK.price_floor_micro_per_kwh, NETWORK.price_cap_micro_per_kwh
ONE_KW = 1_000


@pytest.fixture
def book(community: Community) -> Any:
    return community.chain.contracts.order_book


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.PROSUMER, tokens=1, connection_w=ONE_KW)


def accept(community: Community, signed: SignedOrder) -> None:
    """Require that the order is valid, and can be placed."""
    book, order = community.chain.contracts.order_book, signed.order
    assert book.requireValid(structs(order.to_message()), signed.signature)
    community.place(signed)
    assert book.placedCount(order.market, order.session_start) == 1


def refuse(community: Community, signed: SignedOrder, error: Any, **values: Any) -> None:
    """Require that the order is not valid, for this reason, and cannot be placed for the same."""
    book = community.chain.contracts.order_book
    with reverts(error, **values):
        book.requireValid(structs(signed.order.to_message()), signed.signature)
    with reverts(error, **values):
        community.place(signed)


# ----------------------------------------------------------------------------------- market, steps


def test_order__for_several_periods__is_valid(community: Community, member: Member) -> None:
    steps = (bid(9, 1, period=0), ask(10, 1, period=3), bid(9, 1, period=3))
    accept(community, community.sign(member, *steps, market=QUARTERS))


def test_order__unknown_market__is_not_valid(
    community: Community, book: Any, member: Member
) -> None:
    signed = community.sign(member, bid(1, 1), market=9, session=community.open_session())
    refuse(community, signed, book.UnknownMarket, market=9)


def test_order__between_sessions__is_not_valid(
    community: Community, book: Any, member: Member
) -> None:
    start = community.open_session() + 900
    signed = community.sign(member, bid(1, 1), session=start)
    refuse(community, signed, book.NotASession, sessionStart=start)


def test_order__no_steps__is_not_valid(community: Community, book: Any, member: Member) -> None:
    message = community.order(member, bid(1, 1), nonce=4).to_message() | {"steps": []}
    with reverts(book.OrderEmpty, peer=member.peer, nonce=4):
        book.requireValid(structs(message), b"")
    with reverts(book.OrderEmpty, peer=member.peer, nonce=4):
        community.send(book.place, message, b"", sender=member.wallet)


@pytest.mark.parametrize("period", [1, 2**16 - 1])
def test_order__period_beyond_the_session__is_not_valid(
    community: Community, book: Any, member: Member, period: int
) -> None:
    signed = community.sign(member, bid(1, 1), bid(1, 1, period), nonce=4)
    refuse(community, signed, book.UnknownPeriod, peer=member.peer, nonce=4, period=period)


def test_order__fifth_quarter__is_not_valid(
    community: Community, book: Any, member: Member
) -> None:
    signed = community.sign(member, bid(1, 1, period=4), market=QUARTERS)
    refuse(community, signed, book.UnknownPeriod, peer=member.peer, nonce=0, period=4)


# -------------------------------------------------------------------------------------------- time


def test_order__expires_at_gate_closure__is_valid(community: Community, member: Member) -> None:
    gate = community.open_session() - 900
    accept(community, community.sign(member, bid(1, 1), expiry=gate))


def test_order__expires_a_second_before_gate_closure__is_not_valid(
    community: Community, book: Any, member: Member
) -> None:
    gate = community.open_session() - 900
    signed = community.sign(member, bid(1, 1), expiry=gate - 1, nonce=4)
    refuse(
        community,
        signed,
        book.OrderExpired,
        peer=member.peer,
        nonce=4,
        expiry=gate - 1,
        gateClosure=gate,
    )


# ------------------------------------------------------------------------------------------ prices


@pytest.mark.parametrize("price", [FLOOR, CAP])
def test_order__limit_at_floor_or_cap__is_valid(
    community: Community, member: Member, price: int
) -> None:
    accept(community, community.sign(member, bid(price, 1)))


@pytest.mark.parametrize("price", [FLOOR - 1, CAP + 1, -(2**31), 2**31 - 1])
@pytest.mark.parametrize("step", [bid, ask])
def test_order__limit_beyond_floor_or_cap__is_not_valid(
    community: Community, book: Any, member: Member, price: int, step: Any
) -> None:
    signed = community.sign(member, bid(1, 1), step(price, 1), nonce=4)
    refuse(
        community,
        signed,
        book.LimitOutOfBounds,
        peer=member.peer,
        nonce=4,
        priceMicroPerKWh=price,
    )


# ------------------------------------------------------------------------------------------ energy


def test_order__all_that_the_connection_carries__is_valid(
    community: Community, member: Member
) -> None:
    accept(community, community.sign(member, ask(1, ONE_KW), bid(1, ONE_KW)))


def test_order__more_than_the_connection_carries__is_not_valid(
    community: Community, book: Any, member: Member
) -> None:
    signed = community.sign(member, ask(1, ONE_KW + 1), nonce=4)
    refuse(
        community,
        signed,
        book.EnergyAboveConnection,
        peer=member.peer,
        nonce=4,
        energyWh=ONE_KW + 1,
        limitWh=ONE_KW,
    )


def test_order__more_than_the_connection_carries_in_a_quarter__is_not_valid(
    community: Community, book: Any
) -> None:
    member = community.admit(Role.PROSUMER, tokens=1, connection_w=999)  # 249.75 Wh a quarter
    signed = community.sign(member, bid(1, 250, period=3), market=QUARTERS)
    refuse(
        community,
        signed,
        book.EnergyAboveConnection,
        peer=member.peer,
        nonce=0,
        energyWh=250,
        limitWh=249,
    )
    accept(community, community.sign(member, bid(1, 249, period=3), market=QUARTERS))


def test_order__no_energy_without_a_connection__is_valid(community: Community) -> None:
    member = community.admit(Role.PROSUMER, connection_w=0)
    accept(community, community.sign(member, bid(1, 0)))


# ---------------------------------------------------------------------------------------- standing


@pytest.mark.parametrize("peer", [0, 99])
def test_order__unregistered_peer__is_not_valid(
    community: Community, book: Any, member: Member, peer: int
) -> None:
    signed = community.sign(replace(member, peer=peer), bid(1, 1))
    refuse(community, signed, book.PeerNotActive, peer=peer)


@pytest.mark.parametrize("stop", [suspend, leave])
def test_order__suspended_or_left__is_not_valid_from_then_on(
    community: Community, book: Any, member: Member, stop: Any
) -> None:
    start = community.open_session() + NOTICE
    community.travel_to(start - NOTICE - 2)
    stop(community, member)
    since = community.chain.contracts.registry.peerAt(member.peer, start).since
    assert since == start
    community.travel_to(start + HOUR - NOTICE)  # now both books are open
    refuse(
        community,
        community.sign(member, bid(1, 1), session=start),
        book.PeerNotActive,
        peer=member.peer,
    )
    accept(community, community.sign(member, bid(1, 1), session=start - HOUR))


def test_order__reinstated__is_valid_from_then_on(
    community: Community, book: Any, member: Member
) -> None:
    suspend(community, member)
    start = community.terms().next_open_session(community.now() + NOTICE) + NOTICE
    community.travel_to(start - NOTICE - 2)
    reinstate(community, member)
    community.travel_to(start + HOUR - NOTICE)  # now both books are open
    refuse(
        community,
        community.sign(member, bid(1, 1), session=start - HOUR),
        book.PeerNotActive,
        peer=member.peer,
    )
    accept(community, community.sign(member, bid(1, 1), session=start))


# ---------------------------------------------------------------------------------- node, network


def test_order__at_another_node__is_not_valid(
    community: Community, book: Any, member: Member
) -> None:
    signed = community.sign(member, bid(1, 1), node=C2)
    refuse(community, signed, book.WrongNode, peer=member.peer, orderNode=C2, peerNode=C3)


def test_order__at_a_node_of_tomorrow__is_not_valid_before(
    community: Community, book: Any, member: Member
) -> None:
    start = community.open_session() + NOTICE
    community.travel_to(start - NOTICE - 2)
    change(community, member, same_connection(community, member, node=C2))
    community.travel_to(start + HOUR - NOTICE)  # now both books are open
    signed = community.sign(member, bid(1, 1), session=start - HOUR, node=C2)
    refuse(community, signed, book.WrongNode, peer=member.peer, orderNode=C2, peerNode=C3)
    accept(community, community.sign(member, bid(1, 1), session=start, node=C2))


def test_order__in_a_market_of_another_network__is_not_valid(
    community: Community, book: Any
) -> None:
    community.chain.create_network(replace(NETWORK, links=()), sender=community.dso)
    member = community.admit(Role.PROSUMER, network=2, tokens=1)
    signed = community.sign(member, bid(1, 1))
    refuse(community, signed, book.WrongNetwork, peer=member.peer, peerNetwork=2, marketNetwork=1)


# ------------------------------------------------------------------------------------------- sides


@pytest.mark.parametrize("step", [bid, ask])
@pytest.mark.parametrize("role", [Role.PROSUMER, Role.STORAGE, Role.SUPPLIER])
def test_order__of_one_who_sells_and_buys__is_valid(
    community: Community, role: Role, step: Any
) -> None:
    accept(community, community.sign(community.admit(role, tokens=1), step(1, 1)))


@pytest.mark.parametrize(
    ("role", "step", "side"),
    [
        (Role.CONSUMER, ask, Side.ASK),
        (Role.PRODUCER, bid, Side.BID),
        (Role.OPERATOR, bid, Side.BID),
        (Role.OPERATOR, ask, Side.ASK),
    ],
)
def test_order__side_that_the_role_does_not_trade__is_not_valid(
    community: Community, book: Any, role: Role, step: Any, side: Side
) -> None:
    member = community.admit(role, tokens=1)
    signed = community.sign(member, step(1, 1))
    refuse(community, signed, book.SideNotAllowed, peer=member.peer, role=role, side=side)


@pytest.mark.parametrize(("role", "step"), [(Role.CONSUMER, bid), (Role.PRODUCER, ask)])
def test_order__side_that_the_role_trades__is_valid(
    community: Community, role: Role, step: Any
) -> None:
    accept(community, community.sign(community.admit(role, tokens=1), step(1, 1)))


def test_order__one_step_on_the_wrong_side__is_not_valid(community: Community, book: Any) -> None:
    consumer = community.admit(Role.CONSUMER, tokens=1)
    signed = community.sign(consumer, bid(1, 1), bid(1, 1), ask(1, 1))
    refuse(
        community,
        signed,
        book.SideNotAllowed,
        peer=consumer.peer,
        role=Role.CONSUMER,
        side=Side.ASK,
    )


# --------------------------------------------------------------------------------------- admission


def test_order__of_a_peer_admitted_while_the_book_is_open__is_valid(community: Community) -> None:
    community.travel_to(community.open_session() - 900 - 10)
    terms = connection(Role.PRODUCER, node=C2)
    peer = int(admit(community, new_wallet().address, terms).events[-1].peer)
    wallet = new_wallet()
    assert wallet.key is not None
    accept(community, community.sign(Member(peer, wallet, wallet.key, C2), ask(1, 1)))
