"""`OrderBook.take`: a clearing has every placed order and no cancelled one (R6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import HOURLY, Community, Member, bid
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role
from fairwatt.orders import SignedOrder
from fairwatt.session import Proposal, propose

if TYPE_CHECKING:
    from typing import Any

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


def sign(community: Community, member: Member, nonce: int, price: int = 100_000) -> SignedOrder:
    return community.sign(member, bid(price, 1_000), nonce=nonce)


def as_placed(signed: SignedOrder) -> SignedOrder:
    """The order as a clearing presents it once it is placed."""
    return SignedOrder(signed.order, b"")


# ------------------------------------------------------------------------------------------- taken


def test_take__placed_and_unplaced_orders__unlocks_the_placed(
    community: Community, book: Any, ledger: Any, member: Member, start: int
) -> None:
    placed, free = sign(community, member, 0), sign(community, member, 1)
    community.place(placed)
    receipt = community.clear(community.propose(free, placed=[as_placed(placed)]))
    ours = [log for log in events(receipt) if log.name in ("OrdersTaken", "Unlocked")]
    assert ours == [
        event(book.OrdersTaken, market=HOURLY, sessionStart=start, orders=2),
        event(ledger.Unlocked, peer=member.peer, amountNano=COST),
    ]
    assert ledger.account(member.peer).lockedNano == 0


def test_take__several_placed_by_several_peers__unlocks_all(
    community: Community, ledger: Any, member: Member
) -> None:
    other = community.admit(Role.CONSUMER, tokens=1)
    orders = [sign(community, peer, nonce) for peer in (member, other) for nonce in (2, 5)]
    for signed in orders:
        community.place(signed)
    community.clear(community.propose(placed=[as_placed(signed) for signed in orders]))
    assert [ledger.account(peer.peer).lockedNano for peer in (member, other)] == [0, 0]


def test_take__placed_order_with_its_signature__is_the_placed_one(
    community: Community, ledger: Any, member: Member
) -> None:
    signed = sign(community, member, 0)
    community.place(signed)
    community.clear(community.propose(signed))
    assert ledger.account(member.peer).lockedNano == 0


def test_take__no_orders_at_all__is_a_clearing(
    community: Community, book: Any, member: Member, start: int
) -> None:
    session = community.session(start)
    receipt = community.clear(_empty(session))
    assert event(book.OrdersTaken, market=HOURLY, sessionStart=start, orders=0) in events(receipt)


# ----------------------------------------------------------------------------------------- refused


def test_take__not_the_settlement__is_refused(community: Community, book: Any, start: int) -> None:
    for caller in (community.admin, community.market_operator, community.solver):
        with reverts(book.NotTheSettlement, caller=caller.address):
            community.send(book.take, HOURLY, start, [], sender=caller)


@pytest.mark.parametrize("method", ["cancel", "cancelAll"])
def test_take__cancelled_order__is_refused(
    community: Community, book: Any, member: Member, start: int, method: str
) -> None:
    signed = sign(community, member, 4)
    nonce = {"cancel": 4, "cancelAll": 5}[method]
    community.send(getattr(book, method), HOURLY, start, nonce, sender=member.wallet)
    with reverts(book.OrderIsCancelled, peer=member.peer, nonce=4):
        community.clear(community.propose(signed))


@pytest.mark.parametrize("method", ["cancel", "cancelAll"])
def test_take__placed_and_cancelled_order__is_refused(
    community: Community, book: Any, member: Member, start: int, method: str
) -> None:
    signed = sign(community, member, 4)
    community.place(signed)
    nonce = {"cancel": 4, "cancelAll": 5}[method]
    community.send(getattr(book, method), HOURLY, start, nonce, sender=member.wallet)
    with reverts(book.OrderIsCancelled, peer=member.peer, nonce=4):
        community.clear(community.propose(placed=[as_placed(signed)]))


def test_take__without_the_cancelled_order__is_accepted(
    community: Community, book: Any, member: Member, start: int
) -> None:
    gone, kept = sign(community, member, 4), sign(community, member, 5)
    community.place(gone)
    community.send(book.cancel, HOURLY, start, 4, sender=member.wallet)
    receipt = community.clear(community.propose(kept))
    assert event(book.OrdersTaken, market=HOURLY, sessionStart=start, orders=1) in events(receipt)


def test_take__unsigned_order_where_none_is_placed__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    with reverts(book.OrderNotPlaced, peer=member.peer, nonce=4):
        community.clear(community.propose(placed=[as_placed(sign(community, member, 4))]))


def test_take__unsigned_order_besides_a_placed_one__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    placed, other = sign(community, member, 0), sign(community, member, 4)
    community.place(placed)
    with reverts(book.OrderNotPlaced, peer=member.peer, nonce=4):
        community.clear(community.propose(placed=[as_placed(placed), as_placed(other)]))


def test_take__unsigned_other_order_under_a_placed_nonce__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    community.place(sign(community, member, 4))
    other = sign(community, member, 4, price=1)
    with reverts(book.OrderNotPlaced, peer=member.peer, nonce=4):
        community.clear(community.propose(placed=[as_placed(other)]))


def test_take__signed_other_order_under_a_placed_nonce__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    community.place(sign(community, member, 4))
    other = sign(community, member, 4, price=1)
    with reverts(book.NonceTaken, peer=member.peer, nonce=4):
        community.clear(community.propose(other))


def test_take__one_of_two_placed_orders_missing__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    orders = [sign(community, member, nonce) for nonce in range(2)]
    for signed in orders:
        community.place(signed)
    with reverts(book.PlacedOrdersMissing, placed=2, taken=1):
        community.clear(community.propose(placed=[as_placed(orders[0])]))


def test_take__clearing_without_orders_where_one_is_placed__is_refused(
    community: Community, book: Any, member: Member, start: int
) -> None:
    community.place(sign(community, member, 0))
    with reverts(book.PlacedOrdersMissing, placed=1, taken=0):
        community.clear(_empty(community.session(start)))


def _empty(session: Any) -> Proposal:
    """The clearing of a session without orders."""
    return propose(session, ())
