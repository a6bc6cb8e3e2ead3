"""`OrderBook.place`: an order that no clearing can leave out (R2 to R4)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.community import HOURLY, NANO, NOTICE, QUARTERS, TERMS, Community, Member, ask, bid
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, structs

if TYPE_CHECKING:
    from typing import Any


@pytest.fixture
def book(community: Community) -> Any:
    return community.chain.contracts.order_book


@pytest.fixture
def ledger(community: Community) -> Any:
    return community.chain.contracts.ledger


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.PROSUMER, tokens=1)


# ------------------------------------------------------------------------------------------ placed


def test_place__by_a_third_party__locks_the_worst_case(
    community: Community, book: Any, ledger: Any, member: Member
) -> None:
    signed = community.sign(member, bid(100_000, 2_000), bid(50_000, 1_000), nonce=7)
    receipt = community.place(signed, sender=community.outsider)
    order, cost = signed.order, 100_000 * 2_000 + 50_000 * 1_000
    assert events(receipt) == [
        event(
            book.OrderPlaced,
            market=HOURLY,
            sessionStart=order.session_start,
            peer=member.peer,
            order=order.to_message(),
        ),
        event(ledger.Locked, peer=member.peer, amountNano=cost),
    ]
    order_hash, nonce, locked = book.placedOrder(HOURLY, order.session_start, member.peer)
    assert bytes(order_hash) == bytes(book.requireValid(*_arguments(signed)))
    assert nonce == 7
    assert locked == ledger.account(member.peer).lockedNano == cost == order.worst_case_nano
    assert book.sessionState(HOURLY, order.session_start)[0] == 1
    assert ledger.availableNano(member.peer) == NANO - cost


def test_place__ask_at_a_negative_limit__locks_what_it_may_pay(
    community: Community, ledger: Any, member: Member
) -> None:
    steps = (ask(-30_000, 1_000), ask(20_000, 1_000), bid(-40_000, 1_000))
    community.place(community.sign(member, *steps))
    assert ledger.account(member.peer).lockedNano == 30_000 * 1_000


def test_place__costs_nothing__needs_no_funds(community: Community, book: Any, ledger: Any) -> None:
    producer = community.admit(Role.PRODUCER)
    signed = community.sign(producer, ask(50_000, 1_000))
    receipt = community.place(signed)
    assert events(receipt)[1:] == [event(ledger.Locked, peer=producer.peer, amountNano=0)]
    assert book.sessionState(HOURLY, signed.order.session_start)[0] == 1


def test_place__all_that_the_peer_has__is_accepted(
    community: Community, ledger: Any, member: Member
) -> None:
    community.place(community.sign(member, bid(1_000_000, 1_000)))
    assert ledger.availableNano(member.peer) == 0


def test_place__more_than_the_peer_has__is_refused(
    community: Community, ledger: Any, member: Member
) -> None:
    signed = community.sign(member, bid(1_000_000, 1_000), bid(1, 1))
    with reverts(
        ledger.InsufficientFunds, peer=member.peer, neededNano=NANO + 1, availableNano=NANO
    ):
        community.place(signed)


def test_place__other_sessions_and_markets__have_books_of_their_own(
    community: Community, book: Any, member: Member
) -> None:
    first, quarters = community.open_session(), community.open_session(QUARTERS)
    for market, start in ((HOURLY, first), (HOURLY, first + 3600), (QUARTERS, quarters)):
        community.place(community.sign(member, bid(1_000, 1_000), market=market, session=start))
        assert book.sessionState(market, start)[0] == 1


def test_place__nothing__is_no_order(community: Community, book: Any, member: Member) -> None:
    order_hash, nonce, locked = book.placedOrder(HOURLY, community.open_session(), member.peer)
    assert (bytes(order_hash), nonce, locked) == (bytes(32), 0, 0)


def test_place__orders_of_several_peers__are_counted(
    community: Community, book: Any, member: Member
) -> None:
    start = community.open_session()
    assert tuple(book.sessionState(HOURLY, start)) == (0, False, False)
    for peer in (member, community.admit(Role.PROSUMER, tokens=1)):
        community.place(community.sign(peer, bid(1_000, 1_000)))
    assert tuple(book.sessionState(HOURLY, start)) == (2, False, False)


# -------------------------------------------------------------------------------------------- time


@pytest.fixture
def next_book(community: Community) -> tuple[int, int, int]:
    """Start of a session whose book is not open yet, and when that opens and closes."""
    start = community.open_session() + NOTICE
    opens, gate = community.chain.contracts.order_book.bookTimes(HOURLY, start)
    return start, opens, gate


def test_place__a_second_before_opening__is_refused(
    community: Community, book: Any, member: Member, next_book: tuple[int, int, int]
) -> None:
    start, opens, _ = next_book
    signed = community.sign(member, bid(1_000, 1_000), session=start)
    community.travel_to(opens - 2)
    assert community.now() == opens - 1
    with reverts(book.BookNotOpen, market=HOURLY, sessionStart=start, opens=opens):
        community.place(signed)


def test_place__exactly_at_opening__is_accepted(
    community: Community, book: Any, member: Member, next_book: tuple[int, int, int]
) -> None:
    start, opens, _ = next_book
    community.travel_to(opens - 1)
    community.place(community.sign(member, bid(1_000, 1_000), session=start))
    assert book.sessionState(HOURLY, start)[0] == 1


def test_place__a_second_before_gate_closure__is_accepted(
    community: Community, book: Any, member: Member, next_book: tuple[int, int, int]
) -> None:
    start, _, gate = next_book
    community.travel_to(gate - 2)
    community.place(community.sign(member, bid(1_000, 1_000), session=start))
    assert book.sessionState(HOURLY, start)[0] == 1


def test_place__exactly_at_gate_closure__is_refused(
    community: Community, book: Any, member: Member, next_book: tuple[int, int, int]
) -> None:
    start, _, gate = next_book
    signed = community.sign(member, bid(1_000, 1_000), session=start)
    community.travel_to(gate - 1)
    with reverts(book.GateClosed, market=HOURLY, sessionStart=start, gateClosure=gate):
        community.place(signed)


def test_place__unknown_market__is_refused(community: Community, book: Any, member: Member) -> None:
    signed = community.sign(member, bid(1, 1), market=9, session=community.open_session())
    with reverts(book.UnknownMarket, market=9):
        community.place(signed)


def test_place__between_sessions__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    start = community.open_session() + 1
    with reverts(book.NotASession, sessionStart=start):
        community.place(community.sign(member, bid(1, 1), session=start))


def test_place__before_the_first_session__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    start = TERMS.first_session_start - 3600
    with reverts(book.NotASession, sessionStart=start):
        community.place(community.sign(member, bid(1, 1), session=start))


# ----------------------------------------------------------------------------------- one of a peer


@pytest.mark.parametrize("nonce", [3, 4, 5])
def test_place__second_order_of_the_peer__is_refused(
    community: Community, book: Any, member: Member, nonce: int
) -> None:
    community.place(community.sign(member, bid(1_000, 1_000), nonce=4))
    with reverts(book.AlreadyPlaced, peer=member.peer, nonce=4):
        community.place(community.sign(member, bid(1_000, 1_001), nonce=nonce))


def test_place__same_order_twice__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    signed = community.sign(member, bid(1_000, 1_000), nonce=4)
    community.place(signed)
    with reverts(book.AlreadyPlaced, peer=member.peer, nonce=4):
        community.place(signed)


@pytest.mark.parametrize(("method", "by"), [("cancel", 4), ("cancelAll", 5)])
def test_place__after_the_first_is_cancelled__is_accepted(
    community: Community, book: Any, ledger: Any, member: Member, method: str, by: int
) -> None:
    start = community.open_session()
    community.place(community.sign(member, bid(1_000, 1_000), nonce=4))
    community.send(getattr(book, method), HOURLY, start, by, sender=member.wallet)
    community.place(community.sign(member, bid(1_000, 2_000), nonce=5))
    _, nonce, locked = book.placedOrder(HOURLY, start, member.peer)
    assert (nonce, locked) == (5, 1_000 * 2_000)
    assert ledger.account(member.peer).lockedNano == 1_000 * 2_000
    assert tuple(book.sessionState(HOURLY, start)) == (1, True, False)


def test_place__nonces_of_two_peers__do_not_meet(
    community: Community, book: Any, member: Member
) -> None:
    other = community.admit(Role.PROSUMER, tokens=1)
    for peer in (member, other):
        community.place(community.sign(peer, bid(1_000, 1_000), nonce=2**32 - 1))
    assert book.sessionState(HOURLY, community.open_session())[0] == 2


def test_place__cancelled_nonce__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    signed = community.sign(member, bid(1_000, 1_000), nonce=4)
    start = signed.order.session_start
    community.send(book.cancel, HOURLY, start, 4, sender=member.wallet)
    with reverts(book.OrderIsCancelled, peer=member.peer, nonce=4):
        community.place(signed)


def test_place__nonce_below_those_cancelled__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    start = community.open_session()
    community.send(book.cancelAll, HOURLY, start, 5, sender=member.wallet)
    with reverts(book.OrderIsCancelled, peer=member.peer, nonce=4):
        community.place(community.sign(member, bid(1_000, 1_000), nonce=4))
    community.place(community.sign(member, bid(1_000, 1_000), nonce=5))
    assert book.sessionState(HOURLY, start)[0] == 1


# ----------------------------------------------------------------------------------------- blocks


def test_place__as_many_rows_as_the_market_allows__is_accepted(
    community: Community, book: Any, member: Member
) -> None:
    community.place(community.sign(member, *[bid(1_000, 10)] * 8))
    assert book.sessionState(HOURLY, community.open_session())[0] == 1


def test_place__too_many_rows__is_refused(community: Community, book: Any, member: Member) -> None:
    with reverts(book.TooManyBlocks, peer=member.peer, blocks=9, maxPlacedBlocks=8):
        community.place(community.sign(member, *[bid(1_000, 10)] * 9))


def test_place__too_many_rows_of_several_blocks__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    terms = replace(TERMS, periods_per_session=20).to_message()
    community.send(book.createMarket, terms, sender=community.market_operator)
    steps = [bid(1_000, 10, period) for period in (0, 0, 0, 19)]
    with reverts(book.TooManyBlocks, peer=member.peer, blocks=9, maxPlacedBlocks=8):
        community.place(community.sign(member, *steps, market=3))
    community.place(community.sign(member, *steps[1:], market=3))
    assert book.sessionState(3, community.open_session(3))[0] == 1


def test_place__market_without_placing__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    terms = replace(TERMS, max_placed_blocks=0).to_message()
    community.send(book.createMarket, terms, sender=community.market_operator)
    with reverts(book.TooManyBlocks, peer=member.peer, blocks=1, maxPlacedBlocks=0):
        community.place(community.sign(member, bid(1_000, 10), market=3))


def test_place__most_that_an_order_can_cost__is_more_than_anybody_has(
    community: Community, book: Any, ledger: Any
) -> None:
    """The worst case of many periods exceeds what an account holds; it is refused as any other."""
    most, dearest, periods = 2**30 - 1, 2**31 - 1, 96
    bounds = (-dearest, dearest)
    registry = community.chain.contracts.registry
    community.send(registry.createNetwork, bounds, sender=community.dso)
    names = [b"a".ljust(32)]
    community.send(registry.publishNetwork, 2, community.now(), names, [], sender=community.dso)
    rich = community.admit(Role.PROSUMER, node=0, network=2, connection_w=most, tokens=1)
    terms = replace(
        TERMS, network=2, period_seconds=900, periods_per_session=periods, max_placed_blocks=12
    )
    community.send(book.createMarket, terms.to_message(), sender=community.market_operator)
    signed = community.sign(rich, *(bid(dearest, most // 4, at) for at in range(periods)), market=3)
    needed = periods * dearest * (most // 4)
    assert needed == signed.order.worst_case_nano > 2**63
    with reverts(ledger.InsufficientFunds, peer=rich.peer, neededNano=needed, availableNano=NANO):
        community.place(signed)


# ------------------------------------------------------------------------------------------ pause


def test_pause__by_the_guardian__stops_placing_until_it_ends(
    community: Community, book: Any, member: Member
) -> None:
    guardian, signed = community.guardian, community.sign(member, bid(1_000, 1_000))
    receipt = community.send(book.pause, sender=guardian)
    assert events(receipt) == [event(book.Paused, account=guardian.address)]
    with reverts(book.EnforcedPause):
        community.place(signed)
    receipt = community.send(book.unpause, sender=guardian)
    assert events(receipt) == [event(book.Unpaused, account=guardian.address)]
    community.place(signed)
    assert book.sessionState(HOURLY, signed.order.session_start)[0] == 1


def test_pause__stops_no_cancelling_and_no_money(
    community: Community, book: Any, ledger: Any, member: Member
) -> None:
    start = community.open_session()
    other = community.admit(Role.PROSUMER, tokens=1)
    for peer in (member, other):
        community.place(community.sign(peer, bid(100_000, 1_000)))
    community.send(book.pause, sender=community.guardian)
    community.send(book.cancel, HOURLY, start, 0, sender=member.wallet)
    community.send(ledger.requestWithdrawal, NANO, sender=member.wallet)
    community.travel_to(community.terms().clearing_deadline(start))
    community.send(book.release, HOURLY, start, other.peer, sender=community.outsider)
    assert [ledger.account(peer.peer).lockedNano for peer in (member, other)] == [0, 0]
    community.travel_to(community.now() + ledger.WITHDRAWAL_DELAY_SECONDS())
    community.send(ledger.withdraw, sender=member.wallet)
    assert ledger.account(member.peer).balanceNano == 0


@pytest.mark.parametrize("method", ["pause", "unpause"])
def test_pause__not_the_guardian__is_refused(community: Community, book: Any, method: str) -> None:
    with reverts(
        book.AccessControlUnauthorizedAccount,
        account=community.admin.address,
        neededRole=book.GUARDIAN_ROLE(),
    ):
        community.send(getattr(book, method), sender=community.admin)


def test_pause__paused__is_refused(community: Community, book: Any) -> None:
    community.send(book.pause, sender=community.guardian)
    with reverts(book.EnforcedPause):
        community.send(book.pause, sender=community.guardian)


def test_unpause__not_paused__is_refused(community: Community, book: Any) -> None:
    with reverts(book.ExpectedPause):
        community.send(book.unpause, sender=community.guardian)


def _arguments(signed: Any) -> tuple[Any, bytes]:
    return structs(signed.order.to_message()), signed.signature
