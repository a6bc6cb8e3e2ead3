"""`OrderBook.lookUp`, `take`: a clearing has every placed order and no cancelled one (R6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.community import DAY, TERMS, Community, Member, bid
from tests.contracts.conftest import Books
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, Signer, project, structs
from fairwatt.eip712 import Domain
from fairwatt.orders import SignedOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.chain import Receipt

COST = 100_000 * 1_000  # nano-token, of one order here
MARKET = 1


@dataclass(frozen=True)
class Desk:
    """An order book by itself, with a ledger of its own; a test account clears."""

    books: Books
    book: Any
    clearing: Signer
    start: int

    @classmethod
    def open(cls, community: Community) -> Desk:
        admin, registry = community.admin, community.chain.contracts.registry
        books = Books.open(community, connect=False)
        ledger, clearing = books.ledger, books.clearing
        book = project().OrderBook.deploy(
            admin.address, DAY, registry, ledger, sender=admin.account
        )
        wiring = (book, clearing.address, books.settlement.address, books.trades.address)
        community.send(ledger.connectMarket, *wiring, sender=admin)
        community.send(book.connectClearing, clearing.address, sender=admin)
        role = book.MARKET_OPERATOR_ROLE()
        community.send(book.grantRole, role, admin.address, sender=admin)
        community.send(book.createMarket, TERMS.to_message(), sender=admin)
        return cls(books, book, clearing, TERMS.next_open_session(community.now()))

    @property
    def community(self) -> Community:
        return self.books.community

    def admit(self) -> Member:
        """A consumer that can pay ten orders."""
        member = self.community.admit(Role.CONSUMER)
        self.books.deposit(member, 10 * COST)
        return member

    def sign(self, member: Member, nonce: int, price: int = 100_000) -> SignedOrder:
        step = bid(price, 1_000)
        order = self.community.order(member, step, nonce=nonce, session=self.start)
        return order.signed_by(member.key, Domain(self.community.chain.chain_id, self.book.address))

    def place(self, *orders: SignedOrder) -> None:
        for signed in orders:
            message = signed.order.to_message()
            sender = self.community.outsider
            self.community.send(self.book.place, message, signed.signature, sender=sender)

    def cancel(self, member: Member, nonce: int, method: str = "cancel") -> None:
        """Cancel the order with this nonce; `cancelAll` also cancels all below."""
        by = {"cancel": nonce, "cancelAll": nonce + 1}[method]
        send = getattr(self.book, method)
        self.community.send(send, MARKET, self.start, by, sender=member.wallet)

    def look_up(
        self, *signed: SignedOrder, placed: tuple[SignedOrder, ...] = ()
    ) -> tuple[list[int], int]:
        """Look up orders that come with their signature, then orders that come as placed."""
        taken = [self._taken(entry, is_placed=False) for entry in signed]
        taken += [self._taken(entry, is_placed=True) for entry in placed]
        locked, count = self.book.lookUp(MARKET, self.start, taken)
        return list(locked), int(count)

    def _taken(self, signed: SignedOrder, *, is_placed: bool) -> Any:
        order = signed.order
        domain = Domain(self.community.chain.chain_id, self.book.address)
        body = order.typed_data(domain).signable().body
        return structs({"peer": order.peer, "nonce": order.nonce, "placed": is_placed, "h": body})

    def take(self, placed: int, sender: Signer | None = None) -> Receipt:
        sender = sender or self.clearing
        return self.community.send(self.book.take, MARKET, self.start, placed, sender=sender)


@pytest.fixture
def desk(community: Community) -> Iterator[Desk]:
    desk = Desk.open(community)
    yield desk
    desk.books.require_conservation()


@pytest.fixture
def member(desk: Desk) -> Member:
    return desk.admit()


# ------------------------------------------------------------------------------------------- found


def test_look_up__placed_and_unplaced_orders__says_what_is_locked(
    desk: Desk, member: Member
) -> None:
    placed, free = desk.sign(member, 0), desk.sign(member, 1)
    desk.place(placed)
    assert desk.look_up(free, placed=(placed,)) == ([0, COST], 1)


def test_look_up__orders_placed_by_several_peers__counts_them(desk: Desk, member: Member) -> None:
    orders = [desk.sign(peer, 2) for peer in (member, desk.admit(), desk.admit())]
    desk.place(*orders[:2])
    assert desk.look_up(orders[2], placed=tuple(orders[:2])) == ([0, COST, COST], 2)


def test_look_up__placed_order_with_its_signature__is_the_placed_one(
    desk: Desk, member: Member
) -> None:
    signed = desk.sign(member, 0)
    desk.place(signed)
    assert desk.look_up(signed) == ([COST], 1)


def test_look_up__nothing__finds_nothing(desk: Desk) -> None:
    assert desk.look_up() == ([], 0)


def test_look_up__besides_a_cancelled_order__finds_the_others(desk: Desk, member: Member) -> None:
    gone, kept = desk.sign(member, 4), desk.sign(member, 5)
    desk.place(gone)
    desk.cancel(member, 4)
    assert desk.look_up(kept) == ([0], 0)
    desk.place(kept)
    assert desk.look_up(placed=(kept,)) == ([COST], 1)


# ----------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("method", ["cancel", "cancelAll"])
def test_look_up__cancelled_order__is_refused(desk: Desk, member: Member, method: str) -> None:
    signed = desk.sign(member, 4)
    desk.cancel(member, 4, method)
    with reverts(desk.book.OrderIsCancelled, peer=member.peer, nonce=4):
        desk.look_up(signed)


@pytest.mark.parametrize("method", ["cancel", "cancelAll"])
def test_look_up__placed_and_cancelled_order__is_refused(
    desk: Desk, member: Member, method: str
) -> None:
    signed = desk.sign(member, 4)
    desk.place(signed)
    desk.cancel(member, 4, method)
    for orders in ({"placed": (signed,)}, {"placed": ()}):
        with reverts(desk.book.OrderIsCancelled, peer=member.peer, nonce=4):
            desk.look_up(*(() if orders["placed"] else (signed,)), **orders)


def test_look_up__unsigned_order_where_none_is_placed__is_refused(
    desk: Desk, member: Member
) -> None:
    with reverts(desk.book.OrderNotPlaced, peer=member.peer, nonce=4):
        desk.look_up(placed=(desk.sign(member, 4),))


def test_look_up__unsigned_order_besides_a_placed_one__is_refused(
    desk: Desk, member: Member
) -> None:
    placed, other = desk.sign(member, 0), desk.sign(member, 4)
    desk.place(placed)
    with reverts(desk.book.OrderNotPlaced, peer=member.peer, nonce=4):
        desk.look_up(placed=(placed, other))


def test_look_up__unsigned_order_of_a_peer_that_placed_none__is_refused(
    desk: Desk, member: Member
) -> None:
    other = desk.admit()
    desk.place(desk.sign(member, 0))
    with reverts(desk.book.OrderNotPlaced, peer=other.peer, nonce=0):
        desk.look_up(placed=(desk.sign(other, 0),))


def test_look_up__unsigned_other_order_under_a_placed_nonce__is_refused(
    desk: Desk, member: Member
) -> None:
    desk.place(desk.sign(member, 4))
    with reverts(desk.book.OrderNotPlaced, peer=member.peer, nonce=4):
        desk.look_up(placed=(desk.sign(member, 4, price=1),))


@pytest.mark.parametrize("nonce", [0, 4])
def test_look_up__signed_other_order_under_a_placed_nonce__is_refused(
    desk: Desk, member: Member, nonce: int
) -> None:
    desk.place(desk.sign(member, nonce))
    with reverts(desk.book.NonceTaken, peer=member.peer, nonce=nonce):
        desk.look_up(desk.sign(member, nonce, price=1))


# ------------------------------------------------------------------------------------------- taken


@pytest.mark.parametrize("placed", [0, 2])
def test_take__of_all_that_is_placed__closes_the_book(
    desk: Desk, member: Member, placed: int
) -> None:
    desk.place(*(desk.sign(peer, 0) for peer in (member, desk.admit())[:placed]))
    assert events(desk.take(placed)) == [
        event(desk.book.OrdersTaken, market=MARKET, sessionStart=desk.start, placed=placed)
    ]
    assert tuple(desk.book.sessionState(MARKET, desk.start)) == (placed, False, True)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_take__of_more_or_less_than_is_placed__is_refused(
    desk: Desk, member: Member, taken: int
) -> None:
    desk.place(desk.sign(member, 0), desk.sign(desk.admit(), 0))
    with reverts(desk.book.PlacedOrdersMissing, placed=2, taken=taken):
        desk.take(taken)


def test_take__of_what_is_cancelled__is_refused(desk: Desk, member: Member) -> None:
    desk.place(desk.sign(member, 0))
    desk.cancel(member, 0)
    with reverts(desk.book.PlacedOrdersMissing, placed=0, taken=1):
        desk.take(1)


def test_take__not_the_clearing__is_refused(desk: Desk) -> None:
    community = desk.community
    for caller in (community.admin, community.outsider, desk.books.settlement):
        with reverts(desk.book.NotTheClearing, caller=caller.address):
            desk.take(0, sender=caller)


def test_take__before_the_clearing_is_connected__is_refused(desk: Desk) -> None:
    admin, registry = desk.community.admin, desk.community.chain.contracts.registry
    book = project().OrderBook.deploy(
        admin.address, DAY, registry, desk.books.ledger, sender=admin.account
    )
    with reverts(book.NotTheClearing, caller=desk.clearing.address):
        desk.community.send(book.take, MARKET, desk.start, 0, sender=desk.clearing)


def test_release__session_was_cleared__is_refused(desk: Desk, member: Member) -> None:
    """What was locked for it is the ledger's to free, with the payment."""
    desk.place(desk.sign(member, 0))
    desk.take(1)
    desk.books.clear((member.peer, -COST), unlocks=((member.peer, COST),), incomes=((0, COST),))
    desk.community.travel_to(TERMS.clearing_deadline(desk.start))
    release = desk.book.release
    with reverts(
        desk.book.NothingToRelease, market=MARKET, sessionStart=desk.start, peer=member.peer
    ):
        desk.community.send(release, MARKET, desk.start, member.peer, sender=member.wallet)
    account = desk.books.ledger.account(member.peer)
    assert (account.balanceNano, account.lockedNano) == (9 * COST, 0)
