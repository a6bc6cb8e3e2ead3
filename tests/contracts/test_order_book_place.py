"""`OrderBook.place`: an order that no clearing can leave out (R2 to R4)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.community import HOURLY, NANO, NOTICE, QUARTERS, TERMS, Community, Member, ask, bid
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, structs
from fairwatt.orders import SignedOrder

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
    order_hash, locked = book.placedOrder(HOURLY, order.session_start, member.peer, 7)
    assert bytes(order_hash) == bytes(book.requireValid(*_arguments(signed)))
    assert locked == ledger.account(member.peer).lockedNano == cost == order.worst_case_nano
    assert book.placedCount(HOURLY, order.session_start) == 1
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
    assert book.placedCount(HOURLY, signed.order.session_start) == 1


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
        assert book.placedCount(market, start) == 1


def test_place__order_of_an_unplaced_nonce__is_nothing(
    community: Community, book: Any, member: Member
) -> None:
    order_hash, locked = book.placedOrder(HOURLY, community.open_session(), member.peer, 0)
    assert (bytes(order_hash), locked) == (bytes(32), 0)


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
    assert book.placedCount(HOURLY, start) == 1


def test_place__a_second_before_gate_closure__is_accepted(
    community: Community, book: Any, member: Member, next_book: tuple[int, int, int]
) -> None:
    start, _, gate = next_book
    community.travel_to(gate - 2)
    community.place(community.sign(member, bid(1_000, 1_000), session=start))
    assert book.placedCount(HOURLY, start) == 1


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


# ----------------------------------------------------------------------------------------- nonces


def test_place__twice__is_refused(community: Community, book: Any, member: Member) -> None:
    signed = community.sign(member, bid(1_000, 1_000), nonce=4)
    community.place(signed)
    with reverts(book.NonceTaken, peer=member.peer, nonce=4):
        community.place(signed)


def test_place__another_order_under_the_nonce__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    community.place(community.sign(member, bid(1_000, 1_000), nonce=4))
    with reverts(book.NonceTaken, peer=member.peer, nonce=4):
        community.place(community.sign(member, bid(1_000, 1_001), nonce=4))


def test_place__nonces_of_two_peers__do_not_meet(
    community: Community, book: Any, member: Member
) -> None:
    other = community.admit(Role.PROSUMER, tokens=1)
    for peer in (member, other):
        community.place(community.sign(peer, bid(1_000, 1_000), nonce=2**32 - 1))
    assert book.placedCount(HOURLY, community.open_session()) == 2


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
    assert book.placedCount(HOURLY, start) == 1


# ------------------------------------------------------------------------------------------ steps


def test_place__as_many_steps_as_the_market_allows__is_accepted(
    community: Community, book: Any, member: Member
) -> None:
    steps = [bid(1_000, 10)] * 4
    community.place(community.sign(member, *steps, nonce=0))
    community.place(community.sign(member, *steps, nonce=1))
    assert book.placedCount(HOURLY, community.open_session()) == 2


def test_place__too_many_steps_at_once__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    with reverts(book.TooManySteps, peer=member.peer, steps=9, maxPlacedBlocks=8):
        community.place(community.sign(member, *[bid(1_000, 10)] * 9))


def test_place__too_many_steps_together__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    community.place(community.sign(member, *[bid(1_000, 10)] * 8, nonce=0))
    with reverts(book.TooManySteps, peer=member.peer, steps=9, maxPlacedBlocks=8):
        community.place(community.sign(member, bid(1_000, 10), nonce=1))


def test_place__after_cancelling__has_its_steps_back(
    community: Community, book: Any, member: Member
) -> None:
    start = community.open_session()
    community.place(community.sign(member, *[bid(1_000, 10)] * 8, nonce=0))
    community.send(book.cancel, HOURLY, start, 0, sender=member.wallet)
    community.place(community.sign(member, *[bid(1_000, 10)] * 8, nonce=1))
    community.send(book.cancelAll, HOURLY, start, 2, sender=member.wallet)
    community.place(community.sign(member, *[bid(1_000, 10)] * 8, nonce=2))
    assert book.placedCount(HOURLY, start) == 1


def test_place__market_without_placing__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    terms = replace(TERMS, max_placed_blocks=0).to_message()
    community.send(book.createMarket, terms, sender=community.market_operator)
    with reverts(book.TooManySteps, peer=member.peer, steps=1, maxPlacedBlocks=0):
        community.place(community.sign(member, bid(1_000, 10), market=3))


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
    assert book.placedCount(HOURLY, signed.order.session_start) == 1


def test_pause__stops_nothing_else(
    community: Community, book: Any, ledger: Any, member: Member
) -> None:
    start = community.open_session()
    for nonce in range(3):
        community.place(community.sign(member, bid(100_000, 1_000), nonce=nonce))
    community.send(book.pause, sender=community.guardian)
    community.send(book.cancel, HOURLY, start, 2, sender=member.wallet)
    community.send(ledger.requestWithdrawal, 1, sender=member.wallet)
    orders = [community.order(member, bid(100_000, 1_000), nonce=nonce) for nonce in range(2)]
    community.clear(community.propose(placed=[as_placed(order) for order in orders]))
    assert ledger.account(member.peer).lockedNano == 0
    community.travel_to(community.now() + ledger.WITHDRAWAL_DELAY_SECONDS())
    community.send(ledger.withdraw, sender=member.wallet)
    assert ledger.account(member.peer).balanceNano == NANO - 1


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


def as_placed(order: Any) -> SignedOrder:
    """The order as a clearing presents it once it is placed."""
    return SignedOrder(order, b"")
