"""A session with everything: auction, battery, vehicle, continuous trades, a moved account.

Whoever reads the chain afterwards, for an audit or for bills, must come to its balances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ape
import pytest

from fairwatt.audit import audit
from fairwatt.billing import FUND, Kind, Month, bill_of, require_balanced, statement
from fairwatt.billing.reader import read_books
from fairwatt.chain import History, Role
from fairwatt.continuous import ContinuousOrder, Pair, SignedContinuousOrder
from fairwatt.market import Side
from fairwatt.moves import Move
from fairwatt.oracle import Oracle
from fairwatt.settlement import settle
from tests.community import C2, C3, NANO, QUARTERS, WITHDRAWAL_DELAY, Community, Member, ask, bid
from tests.contracts.conftest import Books as SecondLedger
from tests.contracts.test_flexible_orders import flexible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.proposal import Proposal

NEVER = 2**40 - 1
CHARGES = (Kind.DEPOSIT, Kind.WITHDRAWAL, Kind.MOVE, Kind.ARREARS, Kind.ARREARS_PAID)


@dataclass
class Day:
    community: Community
    start: int
    proposal: Proposal
    seller: Member
    buyer: Member
    battery: Member
    vehicle: Member
    moved_nano: int

    @property
    def members(self) -> tuple[Member, ...]:
        return self.seller, self.buyer, self.battery, self.vehicle


@pytest.fixture(scope="module")
def day(founded: Community) -> Iterator[Day]:
    """The tests only read, so what happened is made once for all of them."""
    snapshot, wallets = ape.chain.snapshot(), founded._wallets
    yield _happened(founded)
    founded.require_conservation()
    founded._wallets = wallets
    ape.chain.restore(snapshot)


def _happened(community: Community) -> Day:
    seller = community.admit(Role.PRODUCER, C3, tokens=1)
    buyer = community.admit(Role.CONSUMER, C2, tokens=1)
    battery = community.admit(Role.STORAGE, C3, tokens=1)
    vehicle = community.admit(Role.STORAGE, C2, tokens=1)
    community.deposit(community.supplier, NANO)
    chain, start = community.chain, community.open_session(QUARTERS)
    asks = [ask(price, 2_000, at) for at, price in enumerate((90_000, 30_000, 70_000, 50_000))]
    orders = [
        community.sign(seller, *asks, market=QUARTERS),
        community.sign(buyer, *(bid(300_000, 250, at) for at in (0, 1, 2)), market=QUARTERS),
        flexible(community, battery, (500, 500, 900, 0, 0, 0, 10_000)),
        flexible(community, vehicle, (600, 0, 1_000, 0, 1_000, 200_000, 0), periods=3, first=1),
    ]
    oracle = Oracle(chain, QUARTERS, community.solver, send=True)
    community.travel_to(community.terms(QUARTERS).gate_closure(start))
    cleared = oracle.clear(start, orders)
    assert cleared.refused == ()
    assert cleared.receipt is not None
    assert cleared.proposal is not None

    def order(who: Member, side: Side, price: int, wh: int, **more: Any) -> SignedContinuousOrder:
        made = ContinuousOrder(QUARTERS, who.peer, start, 2, 2, side, price, wh, NEVER, **more)
        return made.signed_by(who.key, chain.trade_domain)

    offer = order(seller, Side.ASK, 55_000, 400)
    wanted = order(battery, Side.BID, 60_000, 300, rests_from=NEVER)
    chain.trade(Pair(offer, wanted, 300), community.outsider)
    # The battery sells on, at a price below zero; then it trades no more.
    dump = order(battery, Side.ASK, -20_000, 100, rests_from=NEVER, nonce=1)
    onward = order(community.admit(Role.CONSUMER, C3), Side.BID, -20_000, 100)
    chain.trade(Pair(onward, dump, 60), community.outsider)
    community.send(chain.contracts.trades.cancel, 1, sender=battery.wallet)

    community.travel_to(community.terms(QUARTERS).session_end(start))
    total = chain.snapshot().total_positions_wh(QUARTERS, start)
    readings = [
        community.read(seller, start, *total[seller.peer], market=QUARTERS),
        community.read(battery, start, *(wh - 7 for wh in total[battery.peer]), market=QUARTERS),
        community.read(vehicle, start, *(wh + 5 for wh in total[vehicle.peer]), market=QUARTERS),
    ]
    assert settle(oracle, start, readings).held == ()
    community.travel_to(community.terms(QUARTERS).reading_deadline(start) + 1)
    settle(oracle, start, [])  # estimates
    late = community.read(buyer, start, -250, -250, -260, 0, market=QUARTERS)
    assert settle(oracle, start, [late]).replaced == (buyer.peer,)

    successor = SecondLedger.open(community, connect=False).ledger
    move = Move(buyer.peer, str(successor.address), buyer.peer, NEVER)
    signed = move.signed_by(buyer.key, chain.ledger_domain)
    ledger = chain.contracts.ledger
    community.send(ledger.requestMove, move.to_message(), signed.signature, sender=buyer.wallet)
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    moved = community.balance(buyer)
    community.send(ledger.completeMove, buyer.peer, sender=community.outsider)
    assert successor.account(buyer.peer).balanceNano == moved > 0
    return Day(community, start, cleared.proposal, seller, buyer, battery, vehicle, moved)


def test_cleared__with_flexible_orders__has_prices_and_flows_of_the_network(day: Day) -> None:
    proposal, nodes = day.proposal, 3
    cleared = day.community.chain.snapshot().cleared(QUARTERS, day.start)
    assert cleared is not None
    assert cleared.positions_wh == proposal.positions_wh
    prices = proposal.prices_micro_per_kwh
    assert prices.shape == (nodes + 2, 4)
    assert cleared.prices_micro_per_kwh == tuple(map(tuple, prices[:nodes].T.tolist()))
    links = [len(version.network.links) for version in proposal.session.versions]
    assert [len(flows) for flows in cleared.flows_wh] == links
    assert proposal.expansion is not None
    carried = proposal.clearings[0].flows_wh[: proposal.expansion.link_count]
    assert [flow for flows in cleared.flows_wh for flow in flows] == carried.tolist()
    assert any(carried)
    assert any(day.proposal.positions_wh[day.battery.peer])


def test_audit__of_everything__finds_nothing(day: Day) -> None:
    result = audit(day.community.chain)
    assert result.differences == ()
    assert {name: result.counts[name] for name in ("clearings", "trades", "moves")} == {
        "clearings": 1,
        "trades": 2,
        "moves": 1,
    }
    for member in day.members:
        assert result.accounts.balance[member.peer] == day.community.balance(member)
    assert result.accounts.balance[day.buyer.peer] == 0


def test_books__of_everything__come_to_the_balances(day: Day) -> None:
    snapshot = day.community.chain.snapshot()
    books = read_books(snapshot)
    require_balanced(books)
    assert books.balances_nano[FUND] == snapshot.fund_nano() > 0
    months = sorted({Month.of(each.session, books.zone) for each in books.deliveries})
    for member in day.members:
        own = statement(books, member.peer)
        assert own.closing_nano == day.community.balance(member)
        moved = sum(each.amount_nano for each in own.entries if each.kind in CHARGES)
        bills = [bill_of(books, member.peer, month) for month in months]
        assert moved + sum(bill.total_nano for bill in bills) == own.closing_nano

    # Period by period: what was cleared at the price of the node, and what was traded besides.
    total = snapshot.total_positions_wh(QUARTERS, day.start)
    prices = day.proposal.prices_micro_per_kwh[C3].tolist()
    for member in (day.seller, day.battery):
        lines = [line for month in months for line in bill_of(books, member.peer, month).lines]
        assert [
            sum(
                line.energy_wh
                for line in lines
                if line.kind in (Kind.MARKET, Kind.TRADE) and line.time == day.start + 900 * period
            )
            for period in range(4)
        ] == list(total[member.peer])
        assert {
            (line.time - day.start) // 900: (line.energy_wh, line.price_micro_per_kwh)
            for line in lines
            if line.kind is Kind.MARKET
        } == {
            period: (wh, prices[period])
            for period, wh in enumerate(day.proposal.positions_wh[member.peer])
            if wh
        }
    assert [
        (each.kind, each.amount_nano, each.counterparty)
        for each in statement(books, day.battery.peer).entries
        if each.kind is Kind.TRADE
    ] == [
        (Kind.TRADE, -300 * 2 * 55_000, day.seller.peer),
        (Kind.TRADE, -60 * 2 * 20_000, day.vehicle.peer + 1),
    ]
    (move,) = (each for each in books.entries if each.kind is Kind.MOVE)
    assert (move.account, move.amount_nano) == (day.buyer.peer, -day.moved_nano)
    booked = bill_of(books, day.buyer.peer, Month.of(move.booked_at, books.zone)).movements
    assert booked.withdrawals_nano == -day.moved_nano


def test_audit__calldata_of_another_trade__says_all_that_differs(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the contract had booked 300 Wh where the orders that were brought say 299."""
    call = History.call

    def other(self: History, method: Any, event: Any) -> tuple[Any, ...]:
        arguments = call(self, method, event)
        if event.name == "Traded" and arguments[2] == 300:
            resting, (order, signature), _ = arguments
            return resting, ((*order[:8], 299, *order[9:]), signature), 299
        return arguments

    monkeypatch.setattr(History, "call", other)
    differences = audit(day.community.chain).differences
    found = {(entry.where, entry.what) for entry in differences}
    seller, battery = day.seller.peer, day.battery.peer
    where = f"session {day.start} of market {QUARTERS}"
    assert found >= {
        (f"{where}, continuous order 0 of peer {battery}", "who signed it"),
        (where, "a trade"),
        (f"{where}, peer {seller}", "what it traded continuously"),
        (f"{where}, peer {battery}", "what it traded continuously"),
        (f"continuous order 0 of peer {seller}", "what was traded of it"),
        (f"continuous order 0 of peer {battery}", "what was traded of it"),
        (f"peer {seller}", "the balance"),
        (f"peer {battery}", "the balance"),
    }
    (signer,) = (entry for entry in differences if entry.what == "who signed it")
    assert signer.recomputed == day.battery.wallet.address != signer.on_chain
