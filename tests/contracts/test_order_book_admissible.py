"""What makes an order an order (`Orders`): every rule, as `requireValid` and `place` apply it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.community import (
    C2,
    HOUR,
    NETWORK,
    NOTICE,
    QUARTERS,
    TERMS,
    Community,
    Member,
    ask,
    bid,
)
from tests.contracts.registry import (
    admit,
    connection,
    leave,
    new_wallet,
    reinstate,
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
    assert book.sessionState(order.market, order.session_start)[0] == 1


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


@pytest.mark.parametrize("period", [1, 7])
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


@pytest.mark.parametrize(("period", "blocks"), [(8, 2), (2**16 - 1, 2**13)])
def test_order__block_beyond_the_session__is_not_valid(
    community: Community, book: Any, member: Member, period: int, blocks: int
) -> None:
    signed = community.sign(member, bid(1, 1, period), nonce=4)
    refuse(
        community,
        signed,
        book.BlocksBeyondSession,
        peer=member.peer,
        nonce=4,
        blocks=blocks,
        sessionBlocks=1,
    )


# ------------------------------------------------------------------------------------------ curve
#
# The packer writes only well formed curves, so these are written by hand, for a market of a day.

DAILY = 3
PERIODS = 20  # two blocks and a half


@pytest.fixture
def daily(community: Community, book: Any) -> int:
    """A market of long sessions; the start of its next one."""
    terms = replace(TERMS, periods_per_session=PERIODS)
    community.send(book.createMarket, terms.to_message(), sender=community.market_operator)
    return community.open_session(DAILY)


def words(*lanes: dict[int, int]) -> bytes:
    """Words, each of the lanes that are not 0."""
    return b"".join(lane.get(at, 0).to_bytes(4) for lane in lanes for at in range(8))


def message(member: Member, start: int, first_block: int, blocks: int, curve: bytes) -> Any:
    return structs(
        {
            "market": DAILY,
            "peer": member.peer,
            "sessionStart": start,
            "nonce": 4,
            "firstBlock": first_block,
            "blocks": blocks,
            "curve": curve,
        }
    )


def test_order__of_several_rows_and_blocks__is_valid(
    community: Community, book: Any, member: Member, daily: int
) -> None:
    steps = (bid(5, 1, 8), ask(-9, 7, 8), ask(-9, 7, 8), bid(4, 2, 11), bid(1, 1, 19))
    accept(community, community.sign(member, *steps, market=DAILY))


@pytest.mark.parametrize(
    ("blocks", "curve"),
    [
        (1, b""),
        (0, words({0: 1}, {0: 2})),
        (0, b""),
        (1, words({0: 1}, {0: 2})[:-1]),
        (1, words({0: 1}, {0: 2}, {})),
        (2, words({0: 1}, {0: 2})),
        (2, words({}, {0: 2}, {}, {0: 2}, {}, {0: 2})),
    ],
)
def test_order__curve_of_no_whole_rows__is_not_valid(
    book: Any, member: Member, daily: int, blocks: int, curve: bytes
) -> None:
    with reverts(book.CurveMalformed, peer=member.peer, nonce=4, curveBytes=len(curve)):
        book.requireValid(message(member, daily, 0, blocks, curve), b"")


@pytest.mark.parametrize(
    ("lanes", "period"),
    [
        ([{0: 5}, {}], 8),
        ([{}, {7: 1}], 15),
        ([{3: 2**32 - 1, 5: 1}, {0: 2}], 11),
        ([{}, {0: 2}, {0: 1}, {}], 8),
    ],
)
def test_order__price_or_side_without_energy__is_not_valid(
    book: Any, member: Member, daily: int, lanes: list[dict[int, int]], period: int
) -> None:
    with reverts(book.LaneNotEmpty, peer=member.peer, nonce=4, period=period):
        book.requireValid(message(member, daily, 1, 1, words(*lanes)), b"")


def test_order__price_without_energy_after_the_session__is_not_valid(
    book: Any, member: Member, daily: int
) -> None:
    curve = words({4: 1}, {0: 2})
    with reverts(book.LaneNotEmpty, peer=member.peer, nonce=4, period=20):
        book.requireValid(message(member, daily, 2, 1, curve), b"")


def test_order__step_below_an_empty_lane__is_not_valid(
    book: Any, member: Member, daily: int
) -> None:
    curve = words({}, {0: 2}, {}, {0: 2, 6: 2})
    with reverts(book.StepOutOfPlace, peer=member.peer, nonce=4, period=14):
        book.requireValid(message(member, daily, 1, 1, curve), b"")


@pytest.mark.parametrize(
    ("blocks", "lanes"),
    [
        pytest.param(1, [{}, {}], id="no step"),
        pytest.param(2, [{}, {}, {}, {0: 2}], id="first block"),
        pytest.param(2, [{}, {0: 2}, {}, {}], id="last block"),
        pytest.param(1, [{}, {0: 2}, {}, {}], id="last row"),
    ],
)
def test_order__empty_block_or_row_at_the_rim__is_not_valid(
    book: Any, member: Member, daily: int, blocks: int, lanes: list[dict[int, int]]
) -> None:
    with reverts(book.CurveNotTight, peer=member.peer, nonce=4):
        book.requireValid(message(member, daily, 0, blocks, words(*lanes)), b"")


def test_order__empty_block_in_between__is_valid(
    community: Community, member: Member, daily: int
) -> None:
    accept(community, community.sign(member, bid(1, 1, 0), bid(1, 1, 16), market=DAILY))


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


def test_order__all_that_the_connection_carries_both_ways__is_valid(
    community: Community, member: Member
) -> None:
    accept(
        community,
        community.sign(member, ask(1, ONE_KW - 1), bid(1, ONE_KW - 2), ask(3, 1), bid(2, 2)),
    )


@pytest.mark.parametrize("step", [ask, bid])
@pytest.mark.parametrize("parts", [(ONE_KW + 1,), (1, ONE_KW), (ONE_KW - 1, 1, 1)])
def test_order__more_than_the_connection_carries__is_not_valid(
    community: Community, book: Any, member: Member, step: Any, parts: tuple[int, ...]
) -> None:
    signed = community.sign(member, *(step(1, part) for part in parts), nonce=4)
    refuse(
        community,
        signed,
        book.EnergyAboveConnection,
        peer=member.peer,
        nonce=4,
        period=0,
        energyWh=ONE_KW + 1,
        limitWh=ONE_KW,
    )


def test_order__all_that_the_connection_carries_in_every_period__is_valid(
    community: Community, member: Member, daily: int
) -> None:
    accept(
        community,
        community.sign(member, *(ask(1, ONE_KW, at) for at in range(PERIODS)), market=DAILY),
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
        period=3,
        energyWh=250,
        limitWh=249,
    )
    accept(community, community.sign(member, bid(1, 249, period=3), market=QUARTERS))


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


# ---------------------------------------------------------------------------------------- network


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
