"""`Trades`: continuous trading, what it does, then one deviation per requirement T1 to T9."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

import ape
import pytest
from tests.community import (
    C2,
    C3,
    FEED_IN,
    HOURLY,
    NETWORK,
    NOTICE,
    QUARTERS,
    RETAIL,
    Community,
    Member,
    ask,
    bid,
)
from tests.contracts.conftest import Books
from tests.outcomes import event, events, reverts

from fairwatt.audit import audit
from fairwatt.chain import Role, project
from fairwatt.continuous import ContinuousOrder, SignedContinuousOrder
from fairwatt.eip712 import Domain
from fairwatt.lanes import pack_energies, unpack_energies
from fairwatt.market import Side
from fairwatt.oracle import Oracle
from fairwatt.readings import bring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.chain import Receipt, Signer

PERIODS = 4
QUARTER = 900
NEVER = (1 << 40) - 1
CANCELLED = (1 << 32) - 1
CONNECTION_WH = 2_000


@dataclass
class Floor:
    """A session of four quarter hours after gate closure; all members are at one node."""

    community: Community
    start: int
    seller: Member
    buyer: Member
    other: Member

    @property
    def trades(self) -> Any:
        return self.community.chain.contracts.trades

    @property
    def ledger(self) -> Any:
        return self.community.chain.contracts.ledger

    def order(self, who: Member, side: Side, price: int, energy_wh: int, **more: Any) -> Any:
        """For the third and fourth quarter; incoming unless said otherwise."""
        fields = {
            "market": QUARTERS,
            "peer": who.peer,
            "session_start": self.start,
            "first_period": 2,
            "periods": 2,
            "valid_until": self.start + 2 * QUARTER,
            "rests_from": NEVER,
        }
        return ContinuousOrder(
            side=side, price_micro_per_kwh=price, energy_wh=energy_wh, **fields | more
        )

    def sign(self, order: ContinuousOrder, who: Member) -> SignedContinuousOrder:
        return order.signed_by(who.key, self.community.chain.trade_domain)

    def ask(self, price: int, energy_wh: int, who: Member | None = None, **more: Any) -> Any:
        who = who or self.seller
        return self.sign(self.order(who, Side.ASK, price, energy_wh, **more), who)

    def bid(self, price: int, energy_wh: int, who: Member | None = None, **more: Any) -> Any:
        who = who or self.buyer
        return self.sign(self.order(who, Side.BID, price, energy_wh, **more), who)

    def trade(
        self,
        resting: SignedContinuousOrder,
        incoming: SignedContinuousOrder,
        energy_wh: int,
        sender: Signer | None = None,
    ) -> Receipt:
        orders = resting.to_message(), incoming.to_message()
        sender = sender or self.community.outsider
        return self.community.send(self.trades.trade, *orders, energy_wh, sender=sender)

    def traded(self, who: Member, nonce: int = 0) -> int:
        return int(self.trades.tradedWh(who.peer, nonce))

    def position(self, who: Member, start: int | None = None) -> tuple[int, ...]:
        start = self.start if start is None else start
        none = pack_energies((0,) * PERIODS)
        raw = self.trades.withTraded(QUARTERS, start, who.peer, none)
        return unpack_energies(bytes(raw), PERIODS)


@pytest.fixture(scope="module")
def opened(founded: Community) -> Iterator[Floor]:
    snapshot, wallets = ape.chain.snapshot(), founded._wallets
    yield _open(founded)
    founded._wallets = wallets
    ape.chain.restore(snapshot)


@pytest.fixture
def floor(opened: Floor) -> Iterator[Floor]:
    """A fresh copy of the floor; after the test its tokens must add up."""
    snapshot, wallets = ape.chain.snapshot(), opened.community._wallets
    yield replace(opened)
    opened.community.require_conservation()
    opened.community._wallets = wallets
    ape.chain.restore(snapshot)


@pytest.fixture
def books(floor: Floor) -> Iterator[Books]:
    """A ledger by itself, on the floor."""
    books = Books.open(floor.community)
    yield books
    books.require_conservation()


def _open(community: Community) -> Floor:
    connection = CONNECTION_WH * 4
    seller = community.admit(Role.PRODUCER, tokens=1, connection_w=connection)
    buyer = community.admit(Role.CONSUMER, tokens=1, connection_w=connection)
    other = community.admit(Role.PROSUMER, tokens=1, connection_w=connection)
    start = community.open_session(QUARTERS)
    community.travel_to(start - QUARTER)
    return Floor(community, start, seller, buyer, other)


# ------------------------------------------------------------------------------------- what it does


@pytest.mark.parametrize("resting", ["ask", "bid"])
def test_trade__two_orders_that_cross__settle_at_the_price_of_the_one_that_rests(
    floor: Floor, resting: str
) -> None:
    seller_rests = resting == "ask"
    sold = floor.ask(50_000, 1_000, nonce=7, rests_from=0 if seller_rests else NEVER)
    bought = floor.bid(90_000, 800, nonce=9, rests_from=NEVER if seller_rests else 0)
    price = 50_000 if seller_rests else 90_000
    before = [floor.community.balance(who) for who in (floor.seller, floor.buyer)]
    pair = (sold, bought) if seller_rests else (bought, sold)
    receipt = floor.trade(*pair, 600)
    paid = 600 * 2 * price
    after = [floor.community.balance(who) for who in (floor.seller, floor.buyer)]
    assert after == [before[0] + paid, before[1] - paid]
    trade = {
        "seller": floor.seller.peer,
        "sellerNonce": 7,
        "buyer": floor.buyer.peer,
        "buyerNonce": 9,
        "firstPeriod": 2,
        "periods": 2,
        "sellerRests": seller_rests,
        "priceMicroPerKWh": price,
        "energyWh": 600,
    }
    named = {"market": QUARTERS, "sessionStart": floor.start, "trade": trade}
    assert events(receipt) == [event(floor.trades.Traded, **named)]
    assert (floor.traded(floor.seller, 7), floor.traded(floor.buyer, 9)) == (600, 600)
    assert floor.position(floor.seller) == (0, 0, 600, 600)
    assert floor.position(floor.buyer) == (0, 0, -600, -600)
    bits = 1 << floor.seller.peer | 1 << floor.buyer.peer
    assert floor.trades.traders(QUARTERS, floor.start) == bits


def test_trade__negative_price__is_paid_by_the_seller(floor: Floor) -> None:
    before = floor.community.balance(floor.seller)
    floor.trade(floor.ask(-30_000, 1_000, rests_from=0), floor.bid(0, 1_000), 1_000)
    assert floor.community.balance(floor.seller) == before - 30_000 * 2_000


def test_trade__price_of_zero__moves_energy_alone(floor: Floor) -> None:
    before = floor.community.balance(floor.seller)
    floor.trade(floor.ask(0, 10, rests_from=0), floor.bid(0, 10), 10)
    assert floor.community.balance(floor.seller) == before
    assert floor.position(floor.seller) == (0, 0, 10, 10)


def test_trade__order_that_took__rests_from_its_time_on(floor: Floor) -> None:
    """One signature is enough for a continuous double auction."""
    turn = floor.community.now() + 60
    bought = floor.bid(80_000, 1_000, rests_from=turn)
    took = floor.trade(floor.ask(50_000, 400, rests_from=0), bought, 400)
    floor.community.travel_to(turn)
    gave = floor.trade(bought, floor.ask(40_000, 2_000, nonce=1), 600)
    assert [receipt.events[0].trade[-2] for receipt in (took, gave)] == [50_000, 80_000]
    assert floor.traded(floor.buyer) == 1_000


def test_trade__in_many_parts__never_exceeds_the_order(floor: Floor) -> None:
    """Random parts with two buyers, checked against plain sums."""
    random = Random(7)
    resting = floor.ask(50_000, 1_000, rests_from=0)
    left, bought = 1_000, Counter[int]()
    for nonce in range(12):
        who = random.choice((floor.buyer, floor.other))
        energy = random.randrange(1, 300)
        taker = floor.bid(60_000, energy, who, nonce=nonce)
        if energy <= left:
            floor.trade(resting, taker, energy)
            left -= energy
            bought[who.peer] += energy
        else:
            values = {"energyWh": energy, "leftWh": left}
            named = {"peer": floor.seller.peer, "nonce": 0, **values}
            with reverts(floor.trades.OrderExceeded, **named):
                floor.trade(resting, taker, energy)
            floor.trade(resting, taker, left)
            bought[who.peer] += left
            left = 0
            break
    assert left == 0
    assert floor.position(floor.seller) == (0, 0, 1_000, 1_000)
    for who in (floor.buyer, floor.other):
        assert floor.position(who) == (0, 0, -bought[who.peer], -bought[who.peer])


def test_trade__what_was_bought__can_be_sold_on(floor: Floor) -> None:
    floor.trade(floor.ask(50_000, 700, rests_from=0), floor.bid(60_000, 700, floor.other), 700)
    onward = floor.ask(70_000, 500, floor.other, rests_from=0, nonce=1)
    floor.trade(onward, floor.bid(70_000, 500), 500)
    assert floor.position(floor.other) == (0, 0, -200, -200)


def test_trade__replaced_under_its_nonce__goes_on_where_it_was(floor: Floor) -> None:
    floor.trade(floor.ask(50_000, 500, rests_from=0), floor.bid(60_000, 300), 300)
    cheaper = floor.ask(40_000, 500, rests_from=0)
    named = {"peer": floor.seller.peer, "nonce": 0, "energyWh": 201, "leftWh": 200}
    with reverts(floor.trades.OrderExceeded, **named):
        floor.trade(cheaper, floor.bid(60_000, 900, nonce=1), 201)
    smaller = floor.ask(40_000, 200, rests_from=0)
    with reverts(floor.trades.OrderExceeded, **named | {"energyWh": 1, "leftWh": 0}):
        floor.trade(smaller, floor.bid(60_000, 900, nonce=1), 1)


def test_trade__contract_wallet__signs_by_its_code(floor: Floor) -> None:
    community, owner = floor.community, floor.other.key
    deployer = floor.other.wallet.account
    wallet = project().ContractWallet.deploy(owner.address, sender=deployer)
    connection = (Role.PROSUMER, 1, C3, community.outsider.address, 1, 10_000, 1)
    registry = community.chain.contracts.registry
    receipt = community.send(registry.admit, wallet.address, connection, sender=community.registrar)
    member = replace(floor.other, peer=int(receipt.events[-1].peer))
    community.deposit(member, 10**9)
    taker = floor.bid(50_000, 100, member)
    floor.trade(floor.ask(50_000, 100, rests_from=0), taker, 100)
    assert floor.position(member) == (0, 0, -100, -100)
    community.send(wallet.setAccepts, False, sender=floor.other.wallet)
    with reverts(floor.trades.WrongSigner, peer=member.peer, nonce=1):
        floor.trade(
            floor.ask(50_000, 1, rests_from=0, nonce=1), floor.bid(50_000, 1, member, nonce=1), 1
        )
    assert audit(community.chain).differences == ()  # what the code accepted stays accepted


def test_trade__never_cleared_session__needs_no_clearing(floor: Floor) -> None:
    floor.trade(floor.ask(50_000, 10, rests_from=0), floor.bid(50_000, 10), 10)
    assert not floor.community.chain.snapshot().is_cleared(QUARTERS, floor.start)


def test_with_traded__any_positions__are_added_lane_by_lane(floor: Floor) -> None:
    floor.trade(floor.ask(50_000, 700, rests_from=0), floor.bid(60_000, 700), 700)
    random = Random(3)
    with_traded = floor.trades.withTraded
    for _ in range(20):
        cleared = [
            random.choice((-700, 700, 0, -699, random.randint(-(10**9), 10**9))) for _ in "1234"
        ]
        words = pack_energies(cleared)
        for who, sign in ((floor.seller, 1), (floor.buyer, -1), (floor.other, 0)):
            total = with_traded(QUARTERS, floor.start, who.peer, words)
            expected = [*cleared[:2], *(energy + sign * 700 for energy in cleared[2:])]
            assert bytes(total) == pack_energies(expected)


def test_trade__sessions_of_many_blocks__keep_every_period_apart(floor: Floor) -> None:
    community = floor.community
    terms = replace(community.terms(QUARTERS), periods_per_session=24)
    market = community.chain.create_market(terms, sender=community.market_operator)
    start = community.open_session(market)
    community.travel_to(start - QUARTER)
    floor.start = start
    expected = [0] * 24
    for nonce, (first, periods) in enumerate([(0, 24), (7, 2), (8, 8), (23, 1)]):
        product = {"market": market, "first_period": first, "periods": periods, "nonce": nonce}
        resting = floor.ask(1_000, 100 + nonce, rests_from=0, **product)
        floor.trade(resting, floor.bid(1_000, 100 + nonce, **product), 100 + nonce)
        for period in range(first, first + periods):
            expected[period] += 100 + nonce
    snapshot = community.chain.snapshot()
    assert snapshot.traded_positions_wh(market, start) == {
        floor.seller.peer: tuple(expected),
        floor.buyer.peer: tuple(-energy for energy in expected),
    }


# ----------------------------------------------------------------------------------------- T1: time


def test_trade__before_gate_closure__reverts(floor: Floor) -> None:
    start = floor.start + PERIODS * QUARTER
    more = {"session_start": start, "valid_until": NEVER}
    pair = floor.ask(1, 1, rests_from=0, **more), floor.bid(1, 1, **more)
    opens = start - QUARTER
    floor.community.wait_until(opens - 1)
    named = {"market": QUARTERS, "sessionStart": start, "opens": opens}
    with reverts(floor.trades.TradingNotOpen, **named):
        floor.trade(*pair, 1)
    floor.community.wait_until(opens)
    floor.trade(*pair, 1)


def test_trade__once_its_first_period_has_begun__reverts(floor: Floor) -> None:
    more = {"valid_until": NEVER}
    pair = floor.ask(1, 9, rests_from=0, **more), floor.bid(1, 9, **more)
    closes = floor.start + 2 * QUARTER
    floor.community.wait_until(closes - 1)
    floor.trade(*pair, 1)
    named = {"market": QUARTERS, "sessionStart": floor.start, "closes": closes}
    with reverts(floor.trades.TradingClosed, **named):
        floor.trade(*pair, 1)


def test_trade__while_the_guardian_stops_orders__reverts(floor: Floor) -> None:
    community, book = floor.community, floor.community.chain.contracts.order_book
    community.send(book.pause, sender=community.guardian)
    pair = floor.ask(1, 1, rests_from=0), floor.bid(1, 1)
    with reverts(floor.trades.TradingStopped):
        floor.trade(*pair, 1)
    community.send(book.unpause, sender=community.guardian)
    floor.trade(*pair, 1)


def test_trade__no_market_no_session__reverts(floor: Floor) -> None:
    book = floor.community.chain.contracts.order_book
    with reverts(book.UnknownMarket, market=9):
        floor.trade(floor.ask(1, 1, rests_from=0, market=9), floor.bid(1, 1, market=9), 1)
    odd = {"session_start": floor.start + 1}
    with reverts(floor.trades.NotASession, sessionStart=floor.start + 1):
        floor.trade(floor.ask(1, 1, rests_from=0, **odd), floor.bid(1, 1, **odd), 1)


@pytest.mark.parametrize(("first", "periods"), [(4, 1), (3, 2), (65_535, 65_535), (2, 0)])
def test_trade__of_periods_that_the_session_has_not__reverts(
    floor: Floor, first: int, periods: int
) -> None:
    resting, incoming = floor.ask(1, 1, rests_from=0).to_message(), floor.bid(1, 1).to_message()
    for signed in (resting, incoming):
        signed["order"] |= {"firstPeriod": first, "periods": periods}
    named = {"firstPeriod": first, "periods": periods, "sessionPeriods": PERIODS}
    with reverts(floor.trades.PeriodsNotOfSession, **named):
        floor.community.send(
            floor.trades.trade, resting, incoming, 1, sender=floor.community.outsider
        )


# ---------------------------------------------------------------------------- T2: orders that cross


@pytest.mark.parametrize(
    "change",
    [{"market": HOURLY}, {"session_start": 0}, {"first_period": 3}, {"periods": 1}],
    ids=str,
)
def test_trade__of_different_products__reverts(floor: Floor, change: dict[str, int]) -> None:
    with reverts(floor.trades.ProductsDiffer):
        floor.trade(floor.ask(1, 1, rests_from=0), floor.bid(1, 1, **change), 1)


def test_trade__on_the_same_side__reverts(floor: Floor) -> None:
    with reverts(floor.trades.SidesEqual, side=1):
        floor.trade(floor.ask(1, 1, rests_from=0), floor.ask(1, 1, floor.other), 1)


@pytest.mark.parametrize("resting", ["ask", "bid"])
def test_trade__of_prices_that_do_not_cross__reverts(floor: Floor, resting: str) -> None:
    rests = resting == "ask"
    sold = floor.ask(50_001, 1, rests_from=0 if rests else NEVER)
    bought = floor.bid(50_000, 1, rests_from=NEVER if rests else 0)
    named = {"bidMicroPerKWh": 50_000, "askMicroPerKWh": 50_001}
    with reverts(floor.trades.PricesDoNotCross, **named):
        floor.trade(*((sold, bought) if rests else (bought, sold)), 1)


@pytest.mark.parametrize("resting", [True, False])
def test_trade__beyond_the_prices_of_the_network__reverts(floor: Floor, resting: bool) -> None:
    price = (
        NETWORK.price_floor_micro_per_kwh - 1 if resting else NETWORK.price_cap_micro_per_kwh + 1
    )
    sold, bought = floor.ask(price if resting else 1, 1, rests_from=0), floor.bid(price, 1)
    who = floor.seller if resting else floor.buyer
    bought = floor.bid(1, 1) if resting else bought
    named = {"peer": who.peer, "nonce": 0, "priceMicroPerKWh": price}
    with reverts(floor.trades.LimitOutOfBounds, **named):
        floor.trade(sold, bought, 1)


# ------------------------------------------------------------------------------ T3: which one rests


def test_trade__the_other_way_round__reverts(floor: Floor) -> None:
    """Whoever brings two orders cannot say which one rested."""
    sold, bought = floor.ask(50_000, 1, rests_from=1), floor.bid(90_000, 1)
    named = {"peer": floor.buyer.peer, "nonce": 0, "restsFrom": NEVER}
    with reverts(floor.trades.OrderNotResting, **named):
        floor.trade(bought, sold, 1)


def test_trade__of_two_that_rest__reverts(floor: Floor) -> None:
    turn = floor.community.now() + 60
    sold, bought = floor.ask(50_000, 9, rests_from=0), floor.bid(90_000, 9, rests_from=turn)
    floor.community.wait_until(turn - 1)
    floor.trade(sold, bought, 1)
    floor.community.wait_until(turn)
    for pair, late in (((sold, bought), bought), ((bought, sold), sold)):
        order = late.order
        named = {"peer": order.peer, "nonce": 0, "restsFrom": order.rests_from}
        with reverts(floor.trades.OrderNotIncoming, **named):
            floor.trade(*pair, 1)


@pytest.mark.parametrize("resting", [True, False])
def test_trade__of_an_expired_order__reverts(floor: Floor, resting: bool) -> None:
    until = floor.community.now() + 60
    sold = floor.ask(1, 9, rests_from=0, **({"valid_until": until} if resting else {}))
    bought = floor.bid(1, 9, **({} if resting else {"valid_until": until}))
    floor.community.wait_until(until)
    floor.trade(sold, bought, 1)
    floor.community.wait_until(until + 1)
    peer = (floor.seller if resting else floor.buyer).peer
    with reverts(floor.trades.OrderExpired, peer=peer, nonce=0, validUntil=until):
        floor.trade(sold, bought, 1)


# -------------------------------------------------------------------------------- T4: who with whom


def test_trade__with_itself__reverts(floor: Floor) -> None:
    own = floor.ask(1, 1, floor.other, rests_from=0), floor.bid(1, 1, floor.other, nonce=1)
    with reverts(floor.trades.TradeWithItself, peer=floor.other.peer):
        floor.trade(*own, 1)


@pytest.mark.parametrize("resting", [True, False])
def test_trade__with_another_than_the_order_names__reverts(floor: Floor, resting: bool) -> None:
    named = {"counterparty": floor.other.peer}
    sold = floor.ask(1, 9, rests_from=0, **(named if resting else {}))
    bought = floor.bid(1, 9, **({} if resting else named))
    who = floor.seller if resting else floor.buyer
    with reverts(floor.trades.NotTheCounterparty, peer=who.peer, nonce=0, **named):
        floor.trade(sold, bought, 1)
    if resting:  # over the counter: with the one it names
        floor.trade(sold, floor.bid(1, 9, floor.other, counterparty=floor.seller.peer), 9)


def test_trade__between_nodes__reverts(floor: Floor) -> None:
    far = floor.community.admit(Role.PROSUMER, node=C2, tokens=1)
    named = {
        "restingPeer": floor.seller.peer,
        "restingNode": C3,
        "incomingPeer": far.peer,
        "incomingNode": C2,
    }
    with reverts(floor.trades.NodesDiffer, **named):
        floor.trade(floor.ask(1, 1, rests_from=0), floor.bid(1, 1, far), 1)


def test_trade__on_a_side_the_role_does_not_allow__reverts(floor: Floor) -> None:
    named = {"peer": floor.buyer.peer, "role": int(Role.CONSUMER), "side": 1}
    with reverts(floor.trades.SideNotAllowed, **named):
        floor.trade(floor.ask(1, 1, floor.buyer, rests_from=0), floor.bid(1, 1, floor.other), 1)


def test_trade__of_a_peer_of_another_network__reverts(floor: Floor) -> None:
    community = floor.community
    community.chain.create_network(replace(NETWORK, links=()), sender=community.dso)
    stranger = community.admit(Role.PROSUMER, network=2, tokens=1)
    named = {"peer": stranger.peer, "peerNetwork": 2, "marketNetwork": 1}
    with reverts(floor.trades.WrongNetwork, **named):
        floor.trade(floor.ask(1, 1, rests_from=0), floor.bid(1, 1, stranger), 1)


def test_trade__of_a_peer_that_is_suspended_or_unknown__reverts(floor: Floor) -> None:
    community = floor.community
    registry = community.chain.contracts.registry
    unknown = replace(floor.other, peer=99)
    with reverts(floor.trades.PeerNotActive, peer=99):
        floor.trade(floor.ask(1, 1, rests_from=0), floor.bid(1, 1, unknown), 1)
    community.send(registry.suspend, floor.other.peer, sender=community.registrar)
    community.travel_to(community.now() + NOTICE)
    floor.start = community.open_session(QUARTERS)
    community.travel_to(floor.start - QUARTER)
    with reverts(floor.trades.PeerNotActive, peer=floor.other.peer):
        floor.trade(floor.ask(1, 1, rests_from=0), floor.bid(1, 1, floor.other), 1)


# ----------------------------------------------------------------------------------- T5: signatures


@pytest.mark.parametrize("resting", [True, False])
def test_trade__signed_by_another__reverts(floor: Floor, resting: bool) -> None:
    sold, bought = floor.ask(1, 1, rests_from=0), floor.bid(1, 1)
    forged = floor.sign((sold if resting else bought).order, floor.other)
    peer = forged.order.peer
    with reverts(floor.trades.WrongSigner, peer=peer, nonce=0):
        floor.trade(*((forged, bought) if resting else (sold, forged)), 1)


@pytest.mark.parametrize("where", ["chain", "contract"])
def test_trade__signed_for_another_chain_or_contract__reverts(floor: Floor, where: str) -> None:
    domain = floor.community.chain.trade_domain
    other = (
        Domain(domain.chain_id + 1, domain.verifying_contract)
        if where == "chain"
        else floor.community.chain.order_domain
    )
    bought = floor.bid(1, 1).order.signed_by(floor.buyer.key, other)
    with reverts(floor.trades.WrongSigner, peer=floor.buyer.peer, nonce=0):
        floor.trade(floor.ask(1, 1, rests_from=0), bought, 1)


@pytest.mark.parametrize(
    "field",
    ["market", "peer", "session_start", "nonce", "first_period", "periods", "side",
     "price_micro_per_kwh", "energy_wh", "rests_from", "valid_until", "counterparty"],
)  # fmt: skip
def test_order_digest__of_every_field__is_that_of_python(floor: Floor, field: str) -> None:
    order = floor.order(floor.buyer, Side.BID, -7, 11)
    changed = replace(order, **{field: Side.ASK if field == "side" else getattr(order, field) - 1
                                if field not in ("nonce", "counterparty") else 5})  # fmt: skip
    domain = floor.community.chain.trade_domain
    digest = changed.typed_data(domain).digest()
    assert bytes(floor.trades.orderDigest(changed.to_message())) == digest
    assert digest != order.typed_data(domain).digest()


# ---------------------------------------------------------------------------- T6: no more than that


def test_trade__replayed__is_refused_when_all_is_traded(floor: Floor) -> None:
    pair = floor.ask(1, 5, rests_from=0), floor.bid(1, 5)
    floor.trade(*pair, 5)
    named = {"peer": floor.seller.peer, "nonce": 0, "energyWh": 5, "leftWh": 0}
    with reverts(floor.trades.OrderExceeded, **named):
        floor.trade(*pair, 5)


def test_trade__more_than_the_incoming_order_has_left__reverts(floor: Floor) -> None:
    bought = floor.bid(1, 5)
    floor.trade(floor.ask(1, 9, rests_from=0), bought, 2)
    named = {"peer": floor.buyer.peer, "nonce": 0, "energyWh": 4, "leftWh": 3}
    with reverts(floor.trades.OrderExceeded, **named):
        floor.trade(floor.ask(1, 9, rests_from=0), bought, 4)


def test_trade__of_nothing__reverts(floor: Floor) -> None:
    with reverts(floor.trades.EnergyZero):
        floor.trade(floor.ask(1, 5, rests_from=0), floor.bid(1, 5), 0)


def test_trade__nonces_of_one_word__count_apart(floor: Floor) -> None:
    for nonce in (8, 15, 16, 2**32 - 1):
        resting = floor.ask(1, nonce % 100 + 1, rests_from=0, nonce=nonce)
        floor.trade(resting, floor.bid(1, 99, nonce=nonce), nonce % 100 + 1)
    assert [floor.traded(floor.seller, nonce) for nonce in (7, 8, 9, 15, 16, 17, 2**32 - 1)] == [
        *(0, 9, 0, 16, 17, 0, 96)
    ]


# ---------------------------------------------------------------------------------- T7: connections


def test_trade__beyond_the_connection__reverts(floor: Floor) -> None:
    first = {"first_period": 2, "periods": 1}
    floor.trade(
        floor.ask(1, 1_500, rests_from=0, **first), floor.bid(1, 1_500, floor.other, **first), 1_500
    )
    named = {"peer": floor.seller.peer, "nonce": 1, "period": 2, "energyWh": CONNECTION_WH + 1}
    resting = floor.ask(1, 900, rests_from=0, nonce=1)
    with reverts(floor.trades.EnergyAboveConnection, limitWh=CONNECTION_WH, **named):
        floor.trade(resting, floor.bid(1, 900), 501)
    floor.trade(resting, floor.bid(1, 900), 500)
    assert floor.position(floor.seller) == (0, 0, 2_000, 500)


# ---------------------------------------------------------------------------------------- T8: money


def test_trade__that_the_buyer_cannot_pay__reverts(floor: Floor) -> None:
    poor = floor.community.admit(Role.CONSUMER)
    floor.community.deposit(poor, 199_999)
    named = {"peer": poor.peer, "neededNano": 200_000, "availableNano": 199_999}
    with reverts(floor.ledger.InsufficientFunds, **named):
        floor.trade(floor.ask(1_000, 100, rests_from=0), floor.bid(1_000, 100, poor), 100)
    floor.community.deposit(poor, 1)
    floor.trade(floor.ask(1_000, 100, rests_from=0), floor.bid(1_000, 100, poor), 100)
    assert floor.community.balance(poor) == 0


def test_trade__with_what_is_to_be_withdrawn_or_locked__reverts(floor: Floor) -> None:
    community, ledger = floor.community, floor.ledger
    balance = community.balance(floor.buyer)
    community.send(ledger.requestWithdrawal, balance - 100, sender=floor.buyer.wallet)
    named = {"peer": floor.buyer.peer, "neededNano": 200, "availableNano": 100}
    with reverts(ledger.InsufficientFunds, **named):
        floor.trade(floor.ask(1, 100, rests_from=0), floor.bid(1, 100), 100)
    held = community.balance(floor.other)
    placed = community.sign(floor.other, bid(held // 2_000, 2_000), market=HOURLY)
    community.place(placed)
    rest = held - held // 2_000 * 2_000
    named = {"peer": floor.other.peer, "neededNano": 200, "availableNano": rest}
    with reverts(ledger.InsufficientFunds, **named):
        floor.trade(floor.ask(1, 100, rests_from=0), floor.bid(1, 100, floor.other), 100)


def test_book_trade__by_anyone_but_trades__reverts(books: Books, floor: Floor) -> None:
    books.deposit(floor.buyer, 100)
    for caller in (books.order_book, books.clearing, books.settlement, books.community.admin):
        with reverts(books.ledger.NotTheTrades, caller=caller.address):
            books.community.send(books.ledger.bookTrade, 1, 2, 0, sender=caller)
    books.trade(floor.buyer, floor.seller, 60)
    assert (books.balance(floor.buyer), books.balance(floor.seller)) == (40, 60)


def test_book_trade__with_credit_and_arrears__spends_what_is_free(
    books: Books, floor: Floor
) -> None:
    books.endow(1_000)
    books.deposit(floor.buyer, 100)
    books.credit(floor.buyer, 50)
    books.trade(floor.buyer, floor.seller, 120)
    assert books.balance(floor.buyer) == -20
    named = {"peer": floor.buyer.peer, "neededNano": 31, "availableNano": 30}
    with reverts(books.ledger.InsufficientFunds, **named):
        books.trade(floor.buyer, floor.seller, 31)
    books.owe((floor.buyer.peer, floor.other.peer, 500))  # beyond its means: arrears
    named = {"peer": floor.buyer.peer, "neededNano": 1, "availableNano": 0}
    with reverts(books.ledger.InsufficientFunds, **named):
        books.trade(floor.buyer, floor.seller, 1)


# --------------------------------------------------------------------------------------- T9: cancel


def test_cancel__by_the_peer__ends_its_order(floor: Floor) -> None:
    resting = floor.ask(1, 9, rests_from=0, nonce=3)
    floor.trade(resting, floor.bid(1, 9), 4)
    cancel = floor.trades.cancel
    receipt = floor.community.send(cancel, 3, sender=floor.seller.wallet)
    named = {"peer": floor.seller.peer, "nonce": 3}
    assert events(receipt) == [event(floor.trades.ContinuousOrderCancelled, **named)]
    assert floor.traded(floor.seller, 3) == CANCELLED
    assert floor.traded(floor.seller, 2) == floor.traded(floor.seller, 4) == 0
    with reverts(floor.trades.OrderIsCancelled, **named):
        floor.trade(resting, floor.bid(1, 9), 1)
    with reverts(floor.trades.OrderIsCancelled, **named):
        floor.community.send(cancel, 3, sender=floor.seller.wallet)


def test_cancel__by_nobodys_wallet__reverts(floor: Floor) -> None:
    caller = floor.community.outsider
    with reverts(floor.trades.NotThePeer, caller=caller.address):
        floor.community.send(floor.trades.cancel, 0, sender=caller)


# ----------------------------------------------------------------------------------- reconciliation


def test_market_day__auction_then_trades_then_readings__by_hand(floor: Floor) -> None:
    """Balances of every peer before and after, in nano-token."""
    community, seller, buyer, other = floor.community, floor.seller, floor.buyer, floor.other
    supplier = community.supplier
    community.deposit(supplier, 10**9)
    start = community.open_session(QUARTERS)
    floor.start = start
    # The auction: 1,000 Wh in the third quarter, at the midpoint of 40,000 and 60,000.
    orders = [
        community.sign(seller, ask(40_000, 1_000, 2), market=QUARTERS, session=start),
        community.sign(buyer, bid(60_000, 1_000, 2), market=QUARTERS, session=start),
    ]
    everyone = (seller, buyer, other, supplier)
    before = [community.balance(who) for who in everyone]
    community.clear(community.propose(*orders))
    # The buyer needs 300 Wh less in that quarter and sells them to the other by a producer's hand:
    # a consumer only buys, so it is the other who buys 500 Wh more from the seller, at 50,000.
    floor.trade(floor.ask(50_000, 500, rests_from=0), floor.bid(55_000, 500, other), 500)
    # The buyer buys 200 Wh from the other, who asks incoming, at the buyer's 52,000.
    floor.trade(floor.bid(52_000, 400, rests_from=0), floor.ask(45_000, 200, other, nonce=1), 200)
    snapshot = community.chain.snapshot()
    assert snapshot.positions_wh(QUARTERS, start) == {
        seller.peer: (0, 0, 1_000, 0),
        buyer.peer: (0, 0, -1_000, 0),
    }
    assert snapshot.total_positions_wh(QUARTERS, start) == {
        seller.peer: (0, 0, 1_500, 500),
        buyer.peer: (0, 0, -1_200, -200),
        other.peer: (0, 0, -300, -300),
    }
    traded = [
        1_000 * 50_000 + 1_000 * 50_000,
        -1_000 * 50_000 - 400 * 52_000,
        -1_000 * 50_000 + 400 * 52_000,
        0,
    ]
    assert [community.balance(who) for who in everyone] == [
        have + paid for have, paid in zip(before, traded, strict=True)
    ]
    # Delivery: the seller is 100 Wh short in the fourth quarter, the buyer takes 50 Wh less in the
    # third, and the meter of the other says nothing.
    community.travel_to(start + PERIODS * QUARTER)
    readings = [
        community.read(seller, start, 0, 0, 1_500, 400, market=QUARTERS),
        community.read(buyer, start, 0, 0, -1_150, -200, market=QUARTERS),
    ]
    run = Oracle(community.chain, QUARTERS, community.solver, send=True)
    done = run.reconcile(start, readings)
    assert {entry.peer: entry.payment_nano for entry in done.settled} == {
        seller.peer: -100 * RETAIL,
        buyer.peer: 50 * FEED_IN,
    }
    assert done.missing == (other.peer,)
    # What the other bought it is taken to have used: the estimate is free. Its reading comes late.
    community.travel_to(community.terms(QUARTERS).reading_deadline(start) + 1)
    (estimated,) = run.reconcile(start, []).settled
    assert (estimated.peer, estimated.estimated, estimated.payment_nano) == (other.peer, True, 0)
    late = community.read(other, start, 0, 0, -300, -310, market=QUARTERS)
    (settled,) = run.reconcile(start, [late]).settled
    assert settled.payment_nano == -10 * RETAIL
    imbalances = [-100 * RETAIL, 50 * FEED_IN, -10 * RETAIL]
    assert [community.balance(who) for who in everyone] == [
        have + paid + owed
        for have, paid, owed in zip(before, traded, [*imbalances, -sum(imbalances)], strict=True)
    ]


def test_reconcile__trades_of_a_session_never_cleared__are_settled(floor: Floor) -> None:
    community = floor.community
    floor.trade(floor.ask(50_000, 500, rests_from=0), floor.bid(50_000, 500), 500)
    community.travel_to(community.terms(QUARTERS).clearing_deadline(floor.start) + 1)
    run = Oracle(community.chain, QUARTERS, community.solver, send=True)
    readings = [
        community.read(floor.seller, floor.start, 0, 0, 500, 480, market=QUARTERS),
        community.read(floor.other, floor.start, 0, 0, 0, 70, market=QUARTERS),
    ]
    done = run.reconcile(floor.start, readings)
    assert [(entry.peer, entry.payment_nano) for entry in done.settled] == [
        (floor.seller.peer, -20 * RETAIL),
        (floor.other.peer, 70 * FEED_IN),
    ]
    assert done.receipt is not None
    community.travel_to(community.terms(QUARTERS).reading_deadline(floor.start) + 1)
    (estimated,) = run.reconcile(floor.start, []).settled  # the buyer's
    assert (estimated.peer, estimated.payment_nano) == (floor.buyer.peer, 0)


def test_reconcile__estimate_of_what_was_sold_on_the_floor__is_paid_for(floor: Floor) -> None:
    """Who sells what no meter saw pays for all of it, though the auction knows nothing of it."""
    community = floor.community
    floor.trade(floor.ask(50_000, 500, rests_from=0), floor.bid(50_000, 500), 500)
    community.travel_to(community.terms(QUARTERS).reading_deadline(floor.start) + 1)
    brought = bring({}, [], missing=[floor.seller.peer], tariffs={floor.seller.peer: 0})
    arguments = QUARTERS, floor.start, list(brought.leaves), brought.readings
    settlement = community.chain.contracts.settlement
    receipt = community.send(settlement.reconcile, *arguments, sender=community.outsider)
    assert events(receipt)[1] == event(
        settlement.ReadingEstimated,
        market=QUARTERS,
        sessionStart=floor.start,
        peer=floor.seller.peer,
        imbalanceNano=-2 * 500 * RETAIL,
    )
