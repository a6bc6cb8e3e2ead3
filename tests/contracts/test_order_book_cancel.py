"""`OrderBook.cancel`, `cancelAll`, `release`: how placed orders leave, and their locks (R5, R7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import HOURLY, NOTICE, Community, Member, ask, bid
from tests.contracts.registry import change_wallet, new_wallet
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role
from fairwatt.orders import SignedOrder

if TYPE_CHECKING:
    from typing import Any

    from fairwatt.chain import Receipt, Signer

COST = 100_000 * 1_000  # nano-token, of one order here


@pytest.fixture
def book(community: Community) -> Any:
    return community.chain.contracts.order_book


@pytest.fixture
def ledger(community: Community) -> Any:
    return community.chain.contracts.ledger


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.CONSUMER, tokens=1)


@pytest.fixture
def start(community: Community) -> int:
    return community.open_session()


def place(
    community: Community, member: Member, nonce: int, session: int | None = None
) -> SignedOrder:
    signed = community.sign(member, bid(100_000, 1_000), nonce=nonce, session=session)
    community.place(signed)
    return signed


def cancel(community: Community, sender: Signer, start: int, nonce: int) -> Receipt:
    method = community.chain.contracts.order_book.cancel
    return community.send(method, HOURLY, start, nonce, sender=sender)


def cancel_all(community: Community, sender: Signer, start: int, below: int) -> Receipt:
    method = community.chain.contracts.order_book.cancelAll
    return community.send(method, HOURLY, start, below, sender=sender)


def release(community: Community, start: int, peer: int, market: int = HOURLY) -> Receipt:
    method = community.chain.contracts.order_book.release
    return community.send(method, market, start, peer, sender=community.outsider)


def placed_count(book: Any, start: int) -> int:
    return int(book.sessionState(HOURLY, start)[0])


def is_placed(book: Any, start: int, member: Member) -> bool:
    return any(book.placedOrder(HOURLY, start, member.peer)[0])


# ------------------------------------------------------------------------------------------ cancel


def test_cancel__placed_order__unlocks_what_it_locked(
    community: Community, book: Any, ledger: Any, member: Member, start: int
) -> None:
    place(community, member, 3)
    receipt = cancel(community, member.wallet, start, 3)
    assert events(receipt) == [
        event(book.OrderCancelled, market=HOURLY, sessionStart=start, peer=member.peer, nonce=3),
        event(ledger.Unlocked, peer=member.peer, amountNano=COST),
    ]
    assert ledger.account(member.peer).lockedNano == 0
    assert tuple(book.sessionState(HOURLY, start)) == (0, True, False)
    assert book.isCancelled(HOURLY, start, member.peer, 3)
    assert not is_placed(book, start, member)


def test_cancel__placed_ask__had_locked_nothing(
    community: Community, book: Any, start: int
) -> None:
    seller = community.admit(Role.PROSUMER)
    community.place(community.sign(seller, ask(100_000, 1_000), nonce=3))
    receipt = cancel(community, seller.wallet, start, 3)
    assert events(receipt) == [
        event(book.OrderCancelled, market=HOURLY, sessionStart=start, peer=seller.peer, nonce=3)
    ]
    assert not is_placed(book, start, seller)


@pytest.mark.parametrize("nonce", [2, 4])
def test_cancel__order_besides_the_placed_one__unlocks_nothing(
    community: Community, book: Any, ledger: Any, member: Member, start: int, nonce: int
) -> None:
    place(community, member, 3)
    receipt = cancel(community, member.wallet, start, nonce)
    assert events(receipt) == [
        event(book.OrderCancelled, market=HOURLY, sessionStart=start, peer=member.peer, nonce=nonce)
    ]
    cancelled = [book.isCancelled(HOURLY, start, member.peer, at) for at in (nonce, 3)]
    assert cancelled == [True, False]
    assert is_placed(book, start, member)
    assert ledger.account(member.peer).lockedNano == COST


@pytest.mark.parametrize("nonce", [0, 3])
def test_cancel__order_that_is_not_placed__unlocks_nothing(
    community: Community, book: Any, member: Member, start: int, nonce: int
) -> None:
    receipt = cancel(community, member.wallet, start, nonce)
    assert events(receipt) == [
        event(book.OrderCancelled, market=HOURLY, sessionStart=start, peer=member.peer, nonce=nonce)
    ]
    assert book.isCancelled(HOURLY, start, member.peer, nonce)


def test_cancel__same_nonce_of_another_peer_and_session__stays(
    community: Community, book: Any, member: Member, start: int
) -> None:
    other = community.admit(Role.CONSUMER, tokens=1)
    place(community, other, 3)
    cancel(community, member.wallet, start, 3)
    assert not book.isCancelled(HOURLY, start, other.peer, 3)
    assert not book.isCancelled(HOURLY, start + 3600, member.peer, 3)
    assert placed_count(book, start) == 1


def test_cancel__not_a_peer__is_refused(community: Community, book: Any, start: int) -> None:
    with reverts(book.NotThePeer, caller=community.admin.address):
        cancel(community, community.admin, start, 0)


def test_cancel__by_a_wallet_not_in_force_yet__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    change_wallet(community, member, new_wallet())
    with reverts(book.NotThePeer, caller=new_wallet().address):
        cancel(community, new_wallet(), start, 0)


def test_cancel__twice__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    cancel(community, member.wallet, start, 3)
    with reverts(book.OrderIsCancelled, peer=member.peer, nonce=3):
        cancel(community, member.wallet, start, 3)


def test_cancel__cancelled_with_all__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    place(community, member, 3)
    cancel_all(community, member.wallet, start, 4)
    with reverts(book.OrderIsCancelled, peer=member.peer, nonce=3):
        cancel(community, member.wallet, start, 3)


# --------------------------------------------------------------------------------------- cancelAll


def test_cancel_all__placed_one_among_them__unlocks_what_it_locked(
    community: Community, book: Any, ledger: Any, member: Member, start: int
) -> None:
    other = community.admit(Role.CONSUMER, tokens=1)
    place(community, member, 6)
    place(community, other, 1)
    receipt = cancel_all(community, member.wallet, start, 7)
    assert events(receipt) == [
        event(
            book.OrdersCancelled,
            market=HOURLY,
            sessionStart=start,
            peer=member.peer,
            belowNonce=7,
        ),
        event(ledger.Unlocked, peer=member.peer, amountNano=COST),
    ]
    assert [ledger.account(peer.peer).lockedNano for peer in (member, other)] == [0, COST]
    assert tuple(book.sessionState(HOURLY, start)) == (1, True, False)
    cancelled = [book.isCancelled(HOURLY, start, member.peer, nonce) for nonce in range(8)]
    assert cancelled == [True] * 7 + [False]
    assert [is_placed(book, start, peer) for peer in (member, other)] == [False, True]


@pytest.mark.parametrize("below", [2, 3])
def test_cancel_all__placed_one_not_among_them__leaves_it(
    community: Community, book: Any, ledger: Any, member: Member, start: int, below: int
) -> None:
    place(community, member, 3)
    receipt = cancel_all(community, member.wallet, start, below)
    assert [log.name for log in events(receipt)] == ["OrdersCancelled"]
    assert is_placed(book, start, member)
    assert ledger.account(member.peer).lockedNano == COST


def test_cancel_all__nothing_placed__unlocks_nothing(
    community: Community, book: Any, member: Member, start: int
) -> None:
    receipt = cancel_all(community, member.wallet, start, 2**32 - 1)
    assert events(receipt) == [
        event(
            book.OrdersCancelled,
            market=HOURLY,
            sessionStart=start,
            peer=member.peer,
            belowNonce=2**32 - 1,
        )
    ]


def test_cancel_all__again_with_a_higher_bound__cancels_what_was_placed_since(
    community: Community, book: Any, ledger: Any, member: Member, start: int
) -> None:
    place(community, member, 0)
    cancel_all(community, member.wallet, start, 1)
    place(community, member, 1)
    cancel_all(community, member.wallet, start, 2)
    assert ledger.account(member.peer).lockedNano == placed_count(book, start) == 0


def test_cancel_all__not_a_peer__is_refused(community: Community, book: Any, start: int) -> None:
    with reverts(book.NotThePeer, caller=community.admin.address):
        cancel_all(community, community.admin, start, 1)


@pytest.mark.parametrize("below", [4, 5])
def test_cancel_all__bound_not_above_the_last_one__is_refused(
    community: Community, book: Any, member: Member, start: int, below: int
) -> None:
    cancel_all(community, member.wallet, start, 5)
    with reverts(book.NothingToCancel, belowNonce=below, cancelledBelow=5):
        cancel_all(community, member.wallet, start, below)


def test_cancel_all__below_0__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    with reverts(book.NothingToCancel, belowNonce=0, cancelledBelow=0):
        cancel_all(community, member.wallet, start, 0)


# -------------------------------------------------------------------------------------- time, both


@pytest.mark.parametrize("act", [cancel, cancel_all])
def test_cancel__a_second_before_gate_closure__is_accepted(
    community: Community, book: Any, member: Member, start: int, act: Any
) -> None:
    community.travel_to(start - 900 - 2)
    act(community, member.wallet, start, 1)
    assert book.isCancelled(HOURLY, start, member.peer, 1 if act is cancel else 0)


@pytest.mark.parametrize("act", [cancel, cancel_all])
def test_cancel__exactly_at_gate_closure__is_refused(
    community: Community, book: Any, member: Member, start: int, act: Any
) -> None:
    gate = start - 900
    community.travel_to(gate - 1)
    with reverts(book.GateClosed, market=HOURLY, sessionStart=start, gateClosure=gate):
        act(community, member.wallet, start, 1)


@pytest.mark.parametrize("act", [cancel, cancel_all])
def test_cancel__book_not_open_yet__is_refused(
    community: Community, book: Any, member: Member, start: int, act: Any
) -> None:
    later = start + NOTICE
    opens, _ = book.bookTimes(HOURLY, later)
    with reverts(book.BookNotOpen, market=HOURLY, sessionStart=later, opens=opens):
        act(community, member.wallet, later, 1)


@pytest.mark.parametrize("act", [cancel, cancel_all])
def test_cancel__no_session__is_refused(
    community: Community, book: Any, member: Member, start: int, act: Any
) -> None:
    with reverts(book.NotASession, sessionStart=start + 1):
        act(community, member.wallet, start + 1, 1)


@pytest.mark.parametrize("method", ["cancel", "cancelAll"])
def test_cancel__unknown_market__is_refused(
    community: Community, book: Any, member: Member, start: int, method: str
) -> None:
    with reverts(book.UnknownMarket, market=9):
        community.send(getattr(book, method), 9, start, 1, sender=member.wallet)


# ----------------------------------------------------------------------------------------- release


def test_release__session_never_cleared__unlocks_for_anyone(
    community: Community, book: Any, ledger: Any, member: Member, start: int
) -> None:
    place(community, member, 1)
    community.travel_to(community.terms().clearing_deadline(start))
    receipt = release(community, start, member.peer)
    assert events(receipt) == [
        event(
            book.LockReleased,
            market=HOURLY,
            sessionStart=start,
            peer=member.peer,
            lockedNano=COST,
        ),
        event(ledger.Unlocked, peer=member.peer, amountNano=COST),
    ]
    assert ledger.account(member.peer).lockedNano == 0


def test_release__other_sessions__stay_locked(
    community: Community, ledger: Any, member: Member, start: int
) -> None:
    later = start + 10 * 3600
    place(community, member, 0)
    place(community, member, 0, session=later)
    community.travel_to(community.terms().clearing_deadline(start))
    release(community, start, member.peer)
    assert ledger.account(member.peer).lockedNano == COST


def test_release__in_the_last_second_for_a_clearing__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    place(community, member, 0)
    community.travel_to(community.terms().clearing_deadline(start) - 1)
    with reverts(book.NothingToRelease, market=HOURLY, sessionStart=start, peer=member.peer):
        release(community, start, member.peer)


def test_release__nothing_placed__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    community.travel_to(community.terms().clearing_deadline(start))
    with reverts(book.NothingToRelease, market=HOURLY, sessionStart=start, peer=member.peer):
        release(community, start, member.peer)


def test_release__cancelled_before__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    place(community, member, 0)
    cancel(community, member.wallet, start, 0)
    community.travel_to(community.terms().clearing_deadline(start))
    with reverts(book.NothingToRelease, market=HOURLY, sessionStart=start, peer=member.peer):
        release(community, start, member.peer)


def test_release__twice__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    place(community, member, 0)
    community.travel_to(community.terms().clearing_deadline(start))
    release(community, start, member.peer)
    with reverts(book.NothingToRelease, market=HOURLY, sessionStart=start, peer=member.peer):
        release(community, start, member.peer)


def test_release__no_session__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    with reverts(book.NotASession, sessionStart=start + 1):
        release(community, start + 1, member.peer)


def test_release__unknown_market__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    with reverts(book.UnknownMarket, market=9):
        release(community, start, member.peer, market=9)
