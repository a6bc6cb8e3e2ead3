"""`Settlement.reconcile`: what it does, then one deviation per requirement S1 to S5."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.outcomes import event, events, reverts
from tests.reconciled import (
    DAILY,
    DAY,
    FEED_IN,
    HOUR,
    HOURLY,
    MARKETS,
    NANO,
    NOBODY,
    NOTICE,
    QUARTERS,
    RETAIL,
    Metered,
    World,
)

from fairwatt.chain import connect
from fairwatt.eip712 import Domain
from fairwatt.imbalances import Tariff, estimate_imbalance, settle_reading
from fairwatt.lanes import pack_energies, position_leaf, position_leaves, positions_hash
from fairwatt.meter import P256Meter, Reading
from fairwatt.readings import ReadingRecord, bring, decode_readings, encode_readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.chain import Receipt
    from fairwatt.meter import SignedReading

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TARIFFS = (Tariff(0, RETAIL, FEED_IN),)


@dataclass
class Delivered:
    """A cleared session that is over: the seller sold, the buyer bought 1,000 Wh; others nothing.

    Peers are admitted in this sequence: idle, seller, buyer, late.
    """

    world: World
    start: int
    idle: Metered
    seller: Metered
    buyer: Metered
    late: Metered

    @property
    def leaves(self) -> tuple[bytes, ...]:
        return position_leaves(self.world.positions[HOURLY, self.start])

    @property
    def reading_deadline(self) -> int:
        return self.start + HOUR + DAY

    def read(self, who: Metered, wh: int) -> SignedReading:
        return self.world.read(who, self.start, wh)

    def settle(self, *readings: SignedReading, missing: tuple[Metered, ...] = ()) -> Receipt:
        return self.world.settle(self.start, *readings, missing=[who.peer for who in missing])

    def send(self, readings: bytes, leaves: Any = None) -> Receipt:
        return self.world.send_raw(self.start, self.leaves if leaves is None else leaves, readings)

    def record(self, who: Metered, wh: int | None, **changes: Any) -> ReadingRecord:
        """As `settle` would bring it, with changes."""
        readings = [] if wh is None else [self.read(who, wh)]
        missing = [who.peer] if wh is None else []
        positions = self.world.positions[HOURLY, self.start]
        raw = bring(positions, readings, missing=missing, tariffs={who.peer: 0}).readings
        (record,) = decode_readings(raw, market=HOURLY, session_start=self.start, periods=1)
        return replace(record, **changes)

    def bring(self, *records: ReadingRecord) -> Receipt:
        return self.send(encode_readings(records))

    def brought(self, records: int) -> Any:
        return event(
            self.world.settlement.ReadingsBrought,
            market=HOURLY,
            sessionStart=self.start,
            by=self.world.sender.address,
            records=records,
        )

    def settled(self, who: Metered, imbalance_nano: int, estimated_nano: int = 0) -> Any:
        return event(
            self.world.settlement.ReadingSettled,
            market=HOURLY,
            sessionStart=self.start,
            peer=who.peer,
            imbalanceNano=imbalance_nano,
            estimatedNano=estimated_nano,
        )

    def estimated(self, who: Metered, imbalance_nano: int) -> Any:
        return event(
            self.world.settlement.ReadingEstimated,
            market=HOURLY,
            sessionStart=self.start,
            peer=who.peer,
            imbalanceNano=imbalance_nano,
        )


@pytest.fixture(scope="module")
def founded() -> Iterator[World]:
    with connect("ethereum:local:test"):
        yield World.found()


@pytest.fixture
def world(founded: World) -> Iterator[World]:
    snapshot, wallets, positions = ape.chain.snapshot(), founded._wallets, dict(founded.positions)
    yield founded
    peers = range(1, founded.registry.peerCount() + 1)
    total = sum(founded.balance(peer) for peer in peers) + founded.ledger.fundNano()
    assert founded.token.balanceOf(founded.ledger) == total * NANO
    founded._wallets, founded.positions = wallets, positions
    ape.chain.restore(snapshot)


@pytest.fixture
def settlement(world: World) -> Any:
    return world.settlement


@pytest.fixture(params=[False, True], ids=["secp256k1", "P-256"])
def p256(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def _deliver(world: World, *, p256: bool = False) -> Delivered:
    idle, seller, buyer, late = (world.admit(p256=p256) for _ in range(4))
    start = world.clear({seller.peer: (1_000,), buyer.peer: (-1_000,)})
    world.end(start)
    return Delivered(world, start, idle, seller, buyer, late)


@pytest.fixture
def delivered(world: World) -> Delivered:
    return _deliver(world)


# ------------------------------------------------------------------------------- what it does


def test_reconcile__surplus_and_shortage__are_the_suppliers(world: World, p256: bool) -> None:
    delivered = _deliver(world, p256=p256)
    seller, buyer = delivered.seller, delivered.buyer
    receipt = delivered.settle(delivered.read(seller, 1_200), delivered.read(buyer, -1_300))
    assert events(receipt) == [
        delivered.brought(2),
        delivered.settled(seller, 200 * FEED_IN),
        delivered.settled(buyer, -300 * RETAIL),
    ]
    assert world.balance(seller) == NANO + 200 * FEED_IN
    assert world.balance(buyer) == NANO - 300 * RETAIL
    assert world.balance(world.supplier) == NANO - 200 * FEED_IN + 300 * RETAIL
    assert world.settlement.isReadingSettled(HOURLY, delivered.start, seller.peer)
    assert not world.settlement.isReadingSettled(HOURLY, delivered.start, delivered.idle.peer)


@pytest.mark.parametrize(
    ("wh", "imbalance_nano"),
    [(700, -300 * RETAIL), (1_000, 0), (0, -1_000 * RETAIL), (-50, -1_050 * RETAIL)],
)
def test_reconcile__seller_that_delivers_less__buys_the_rest(
    delivered: Delivered, wh: int, imbalance_nano: int
) -> None:
    receipt = delivered.settle(delivered.read(delivered.seller, wh))
    assert events(receipt)[1:] == [delivered.settled(delivered.seller, imbalance_nano)]
    assert delivered.world.balance(delivered.seller) == NANO + imbalance_nano


def test_reconcile__buyer_that_takes_less__sells_the_rest(delivered: Delivered) -> None:
    delivered.settle(delivered.read(delivered.buyer, -400))
    assert delivered.world.balance(delivered.buyer) == NANO + 600 * FEED_IN


def test_reconcile__peers_without_position__are_supplied_as_ever(delivered: Delivered) -> None:
    """One whose position would be the first, one whose position would be the last."""
    delivered.settle(delivered.read(delivered.late, -100), delivered.read(delivered.idle, -100))
    for who in (delivered.idle, delivered.late):
        assert delivered.world.balance(who) == NANO - 100 * RETAIL


def test_reconcile__position_of_zero__is_a_position(world: World) -> None:
    consumer = world.admit()
    start = world.clear({consumer.peer: (0,)})
    world.end(start)
    world.settle(start, world.read(consumer, start, -10))
    assert world.balance(consumer) == NANO - 10 * RETAIL


def test_reconcile__nothing__changes_nothing(delivered: Delivered) -> None:
    assert events(delivered.settle()) == [delivered.brought(0)]


@pytest.mark.parametrize("cleared", [True, False], ids=["without positions", "void"])
def test_reconcile__session_without_positions__supplies_everybody(
    world: World, cleared: bool
) -> None:
    consumer = world.admit()
    start = world.clear({}) if cleared else world.next_session()
    world.end(start)
    world.settle(start, world.read(consumer, start, -500))
    assert world.balance(consumer) == NANO - 500 * RETAIL


def test_reconcile__each_period_by_itself__nets_nothing(world: World) -> None:
    """What is left over in one period is not there in the next."""
    prosumer = world.admit()
    start = world.clear({prosumer.peer: (50, 0, -20, 0)}, QUARTERS)
    world.end(start, QUARTERS)
    reading = world.read(prosumer, start, 100, -100, 0, -100, market=QUARTERS)
    world.settle(start, reading, market=QUARTERS)
    assert world.balance(prosumer) == NANO + 70 * FEED_IN - 200 * RETAIL


@pytest.mark.parametrize("seed", range(4))
def test_reconcile__a_day_of_quarters__comes_to_what_python_says(world: World, seed: int) -> None:
    random = Random(seed)
    who = [world.admit(p256=at == 1) for at in range(3)]

    def day() -> tuple[int, ...]:
        return tuple(random.randint(-250_000, 250_000) for _ in range(96))

    positions = {one.peer: day() for one in who[:2]}
    metered = [day() for _ in who]
    start = world.clear(positions, DAILY)
    world.travel_to(MARKETS[DAILY].reading_deadline(start))
    world.settle(start, missing=[who[0].peer], market=DAILY)
    readings = [
        world.read(one, start, *wh, market=DAILY) for one, wh in zip(who, metered, strict=True)
    ]
    receipt = world.settle(start, *readings, market=DAILY)
    settled = [entry for entry in events(receipt) if entry.name == "ReadingSettled"]
    assert [entry.values["imbalanceNano"] for entry in settled] == [
        settle_reading(one.peer, wh, positions.get(one.peer, (0,) * 96), TARIFFS * 96).payment_nano
        for one, wh in zip(who, metered, strict=True)
    ]
    estimate = estimate_imbalance(who[0].peer, positions[who[0].peer], TARIFFS * 96)
    assert settled[0].values["estimatedNano"] == estimate.payment_nano


def test_reconcile__calldata__is_all_an_auditor_needs(delivered: Delivered) -> None:
    """Found by the event, decoded, and every reading still carries its meter's signature."""
    readings = delivered.read(delivered.seller, 1_200), delivered.read(delivered.late, -5)
    receipt = delivered.settle(*readings)
    sent = ape.chain.provider.get_receipt(receipt.transaction).data
    _, arguments = delivered.world.settlement.decode_input(sent)
    assert tuple(bytes(leaf) for leaf in arguments["leaves"]) == delivered.leaves
    found = decode_readings(
        bytes(arguments["readings"]), market=HOURLY, session_start=delivered.start, periods=1
    )
    assert tuple(record.signed for record in found) == readings
    assert [record.position_wh for record in found] == [(1_000,), None]


def test_reconcile__in_several_runs__settles_each_reading_once(delivered: Delivered) -> None:
    delivered.settle(delivered.read(delivered.seller, 1_000))
    delivered.world.travel_to(delivered.start + 2 * DAY)
    receipt = delivered.settle(delivered.read(delivered.buyer, -1_100))
    assert events(receipt)[1:] == [delivered.settled(delivered.buyer, -100 * RETAIL)]


def test_reconcile__more_peers_than_a_page_of_states__keeps_them_apart(world: World) -> None:
    """States are two bits each, 128 peers to a word: neighbours on both sides of its end."""
    start = world.clear({})
    while world.registry.peerCount() < 126:
        world.admit(tokens=0)
    last = [world.admit() for _ in range(4)]  # 127 to 130
    world.end(start)
    following = start + HOUR
    world.end(following)
    for one in last[1:3]:
        world.settle(following, world.read(one, following, -1))
    flags = [world.settlement.isReadingSettled(HOURLY, following, one.peer) for one in last]
    assert (last[1].peer, flags) == (128, [False, True, True, False])


def test_reconcile__supplier_that_cannot_pay__owes(world: World) -> None:
    poor = world.admit_supplier((RETAIL, FEED_IN), tokens=0)
    producer = world.admit(supplier=poor, tokens=0)
    start = world.clear({})
    world.end(start)
    receipt = world.settle(start, world.read(producer, start, 500))
    assert events(receipt)[-1] == event(
        world.ledger.ArrearsIncurred,
        debtor=poor,
        creditor=producer.peer,
        amountNano=500 * FEED_IN,
    )


def test_reconcile__peer_that_cannot_pay__owes(world: World) -> None:
    consumer = world.admit(tokens=0)
    start = world.clear({})
    world.end(start)
    receipt = world.settle(start, world.read(consumer, start, -500))
    assert events(receipt)[-1] == event(
        world.ledger.ArrearsIncurred,
        debtor=consumer.peer,
        creditor=world.supplier,
        amountNano=500 * RETAIL,
    )


# ------------------------------------------------------------------------------------ estimates


def test_reconcile__missing_readings__sold_nothing_and_took_all_that_was_bought(
    settlement: Any, delivered: Delivered
) -> None:
    seller, buyer, idle = delivered.seller, delivered.buyer, delivered.idle
    delivered.world.travel_to(delivered.reading_deadline)
    assert events(delivered.settle(missing=(seller, buyer, idle))) == [
        delivered.brought(3),
        delivered.estimated(seller, -1_000 * RETAIL),
        delivered.estimated(buyer, 0),
        delivered.estimated(idle, 0),
    ]
    assert delivered.world.balance(seller) == NANO - 1_000 * RETAIL
    assert settlement.isReadingEstimated(HOURLY, delivered.start, seller.peer)
    assert not settlement.isReadingSettled(HOURLY, delivered.start, seller.peer)


@pytest.mark.parametrize("wh", [0, 900, 1_000, 1_100])
def test_reconcile__reading_after_its_estimate__settles_the_difference(
    world: World, p256: bool, wh: int
) -> None:
    delivered = _deliver(world, p256=p256)
    seller = delivered.seller
    world.travel_to(delivered.reading_deadline)
    delivered.settle(missing=(seller,))
    owed = (wh - 1_000) * (FEED_IN if wh > 1_000 else RETAIL)
    receipt = delivered.settle(delivered.read(seller, wh))
    assert events(receipt)[1:] == [delivered.settled(seller, owed, -1_000 * RETAIL)]
    assert world.balance(seller) == NANO + owed
    for flag in (world.settlement.isReadingEstimated, world.settlement.isReadingSettled):
        assert flag(HOURLY, delivered.start, seller.peer)


def test_reconcile__estimate_and_reading_in_one_run__settles_the_difference(
    delivered: Delivered,
) -> None:
    seller = delivered.seller
    delivered.world.travel_to(delivered.reading_deadline)
    receipt = delivered.bring(delivered.record(seller, None), delivered.record(seller, 1_000))
    assert events(receipt)[1:] == [
        delivered.estimated(seller, -1_000 * RETAIL),
        delivered.settled(seller, 0, -1_000 * RETAIL),
    ]
    assert delivered.world.balance(seller) == NANO


def test_reconcile__estimate_at_a_negative_retail_tariff__is_no_gain(world: World) -> None:
    supplier = world.admit_supplier((-20_000, -30_000))
    seller = world.admit(supplier=supplier)
    start = world.clear({seller.peer: (1_000,)})
    world.travel_to(MARKETS[HOURLY].reading_deadline(start))
    receipt = world.settle(start, missing=[seller.peer])
    assert events(receipt)[1].values["imbalanceNano"] == 0
    assert world.balance(seller) == NANO


def test_reconcile__estimate_in_the_last_second_of_the_reading_window__reverts(
    settlement: Any, delivered: Delivered
) -> None:
    deadline = delivered.reading_deadline
    names = {"peer": delivered.seller.peer, "sessionStart": delivered.start}
    delivered.world.wait_until(deadline)
    with reverts(settlement.ReadingStillAwaited, **names, deadline=deadline):
        delivered.settle(missing=(delivered.seller,))


def test_reconcile__estimate_a_second_after_the_reading_window__is_settled(
    delivered: Delivered,
) -> None:
    delivered.world.wait_until(delivered.reading_deadline + 1)
    delivered.settle(missing=(delivered.seller,))
    assert ape.chain.blocks.head.timestamp == delivered.reading_deadline + 1


def test_reconcile__estimate_twice__counts_once(delivered: Delivered) -> None:
    seller = delivered.seller
    delivered.world.travel_to(delivered.reading_deadline)
    receipt = delivered.settle(missing=(seller, seller))
    assert [entry.name for entry in events(receipt)] == ["ReadingsBrought", "ReadingEstimated"]
    assert events(delivered.settle(missing=(seller,))) == [delivered.brought(1)]
    assert delivered.world.balance(seller) == NANO - 1_000 * RETAIL


@pytest.mark.parametrize("estimated_before", [False, True])
def test_reconcile__estimate_after_the_reading__is_passed_over(
    delivered: Delivered, estimated_before: bool
) -> None:
    seller = delivered.seller
    delivered.world.travel_to(delivered.reading_deadline)
    if estimated_before:
        delivered.settle(missing=(seller,))
    delivered.settle(delivered.read(seller, 1_000))
    assert events(delivered.settle(missing=(seller,))) == [delivered.brought(1)]
    assert delivered.world.balance(seller) == NANO


def test_reconcile__estimate_of_a_supplier__reverts(
    world: World, settlement: Any, delivered: Delivered
) -> None:
    world.travel_to(delivered.reading_deadline)
    with reverts(settlement.PeerNotMetered, peer=world.supplier):
        delivered.settle(missing=(replace(delivered.idle, peer=world.supplier),))


# -------------------------------------------------------------------------------------- tariffs


@pytest.fixture
def second_tariff(world: World) -> tuple[World, int, Metered, Metered, int]:
    """A supplier with three tariffs, two peers of it, and a session that starts with the second."""
    number = 2 + world._wallets
    supplier = world.admit_supplier((RETAIL, FEED_IN))
    consumer, neighbour = (world.admit(supplier=supplier) for _ in range(2))
    start = MARKETS[HOURLY].next_open_session(world.now() + NOTICE + DAY)
    world.publish(number, (start, 200_000, -30_000), (start + HOUR, 0, 0))
    world.end(start)
    return world, supplier, consumer, neighbour, start


def test_reconcile__tariff_that_starts_with_the_session__holds(second_tariff: Any) -> None:
    world, _, consumer, _, start = second_tariff
    world.settle(start, world.read(consumer, start, -100), tariffs={consumer.peer: 1})
    assert world.balance(consumer) == NANO - 200_000 * 100


def test_reconcile__negative_feed_in_tariff__charges_for_surplus(second_tariff: Any) -> None:
    world, _, consumer, _, start = second_tariff
    world.settle(start, world.read(consumer, start, 100), tariffs={consumer.peer: 1})
    assert world.balance(consumer) == NANO - 30_000 * 100


@pytest.mark.parametrize("tariff", [0, 2, 3, 2**32 - 1])
@pytest.mark.parametrize("after_the_right_one", [False, True])
def test_reconcile__tariff_not_in_force__reverts(
    second_tariff: Any, tariff: int, after_the_right_one: bool
) -> None:
    """Also where the tariffs of the session are known already."""
    world, supplier, consumer, neighbour, start = second_tariff
    following = start + HOUR
    world.end(following)
    right = [world.read(consumer, following, 0)] if after_the_right_one else []
    tariffs = {consumer.peer: 2, neighbour.peer: tariff if tariff != 2 else 1}
    with reverts(
        world.registry.TariffNotInForce,
        supplier=supplier,
        index=tariffs[neighbour.peer],
        time=following,
    ):
        world.settle(following, *right, world.read(neighbour, following, 0), tariffs=tariffs)


def test_reconcile__tariffs_that_change_within_a_session__hold_for_their_periods(
    world: World,
) -> None:
    number = 2 + world._wallets
    consumer = world.admit(supplier=world.admit_supplier((RETAIL, FEED_IN)))
    start = MARKETS[QUARTERS].next_open_session(world.now() + NOTICE + DAY)
    world.publish(number, (start + 900, 200_000, 0), (start + 2_700, 300_000, 0))
    world.end(start, QUARTERS)
    reading = world.read(consumer, start, -1, -10, -100, -1_000, market=QUARTERS)
    world.settle(start, reading, market=QUARTERS)
    assert world.balance(consumer) == NANO - RETAIL - 200_000 * 110 - 300_000 * 1_000


def test_reconcile__peers_of_several_suppliers__in_any_sequence__pay_their_own(
    world: World,
) -> None:
    suppliers = [world.supplier, *(world.admit_supplier((10 * k, 2 * k)) for k in (1, 2))]
    who = [world.admit(supplier=suppliers[at % 3]) for at in range(7)]
    start = world.clear({who[3].peer: (50,)})
    world.end(start)
    readings = [world.read(one, start, -100 if at % 2 else 100) for at, one in enumerate(who)]
    world.settle(start, *reversed(readings))
    rates = [(RETAIL, FEED_IN), (10, 2), (20, 4)]
    expected = [-100 * rates[at % 3][0] if at % 2 else 100 * rates[at % 3][1] for at in range(7)]
    expected[3] = -150 * RETAIL
    assert [world.balance(one) - NANO for one in who] == expected
    assert [world.balance(one) - NANO for one in suppliers] == [
        -sum(expected[at::3]) for at in range(3)
    ]


# ------------------------------------------------------------------------------- S1 session over


def test_reconcile__unknown_market__reverts(world: World) -> None:
    with reverts(world.clearing.UnknownMarket, market=9):
        world.send_raw(0, [], b"\1", market=9)


def test_reconcile__no_session_of_the_market__reverts(
    settlement: Any, delivered: Delivered
) -> None:
    with reverts(settlement.NotASession, sessionStart=delivered.start + 1):
        delivered.world.send_raw(delivered.start + 1, [], b"\1")


def test_reconcile__a_second_before_the_end__reverts(world: World, settlement: Any) -> None:
    start = world.clear({})
    world.wait_until(start + HOUR - 1)
    with reverts(settlement.SessionNotOver, market=1, sessionStart=start, end=start + HOUR):
        world.settle(start)


def test_reconcile__in_the_second_of_the_end__succeeds(world: World) -> None:
    start = world.clear({})
    world.wait_until(start + HOUR)
    world.settle(start)
    assert ape.chain.blocks.head.timestamp == start + HOUR


def test_reconcile__in_the_last_second__succeeds(delivered: Delivered) -> None:
    deadline = MARKETS[HOURLY].settlement_deadline(delivered.start)
    delivered.world.wait_until(deadline)
    delivered.settle()
    assert ape.chain.blocks.head.timestamp == deadline


def test_reconcile__a_second_too_late__reverts(settlement: Any, delivered: Delivered) -> None:
    start = delivered.start
    deadline = MARKETS[HOURLY].settlement_deadline(start)
    delivered.world.wait_until(deadline + 1)
    with reverts(settlement.SettlementTooLate, market=1, sessionStart=start, deadline=deadline):
        delivered.settle()


def test_reconcile__while_it_may_still_be_cleared__reverts(world: World, settlement: Any) -> None:
    start = world.next_session()
    deadline = MARKETS[HOURLY].clearing_deadline(start)
    world.wait_until(deadline)
    with reverts(settlement.ClearingStillPossible, market=1, sessionStart=start, deadline=deadline):
        world.settle(start)


def test_reconcile__a_second_after_it_may_be_cleared__succeeds(world: World) -> None:
    start = world.next_session()
    world.wait_until(MARKETS[HOURLY].clearing_deadline(start) + 1)
    world.settle(start)


# ---------------------------------------------------------------------------------- S2 positions


@pytest.mark.parametrize("change", ["energy", "peer", "left out", "added", "empty", "swapped"])
def test_reconcile__other_leaves__reverts(
    settlement: Any, delivered: Delivered, change: str
) -> None:
    seller, buyer = delivered.leaves
    leaves = {
        "energy": (position_leaf(delivered.seller.peer, (1_001,)), buyer),
        "peer": (position_leaf(delivered.idle.peer, (1_000,)), buyer),
        "left out": (seller,),
        "added": (seller, buyer, position_leaf(99, (0,))),
        "empty": (),
        "swapped": (buyer, seller),
    }[change]
    actual = positions_hash(leaves) if leaves else bytes(32)
    expected = positions_hash(delivered.leaves)
    with reverts(settlement.PositionsMismatch, expected=expected, actual=actual):
        delivered.send(b"\1", leaves)


@pytest.mark.parametrize("cleared", [True, False], ids=["without positions", "void"])
def test_reconcile__leaves_of_a_session_without_positions__reverts(
    world: World, settlement: Any, delivered: Delivered, cleared: bool
) -> None:
    start = world.clear({}) if cleared else world.next_session()
    world.end(start)
    with reverts(
        settlement.PositionsMismatch,
        expected=positions_hash(()) if cleared else bytes(32),
        actual=positions_hash(delivered.leaves),
    ):
        world.send_raw(start, delivered.leaves, b"\1")


@pytest.mark.parametrize("kind", ["reading", "estimate"])
@pytest.mark.parametrize(
    ("who", "leaf", "has_position"),
    [
        ("seller", 1, True),  # the buyer's
        ("seller", 2, True),  # beyond the leaves
        ("seller", 2**32 - 1, True),
        ("buyer", 0, True),
        *(("seller", leaf, False) for leaf in (0, 1, 2, 3, 2**32 - 1)),  # as if it had none
        *(("buyer", leaf, False) for leaf in (0, 1, 2, 3)),
        *(("idle", leaf, False) for leaf in (1, 2, 3)),
        *(("late", leaf, False) for leaf in (0, 1, 3, 2**32 - 1)),
        *(("idle", leaf, True) for leaf in (0, 1, 2)),  # as if it had one
        *(("late", leaf, True) for leaf in (0, 1, 2)),
    ],
)
def test_reconcile__wrong_leaf__reverts(
    settlement: Any, delivered: Delivered, kind: str, who: str, leaf: int, has_position: bool
) -> None:
    one: Metered = getattr(delivered, who)
    delivered.world.travel_to(delivered.reading_deadline)
    position = ((1_000,) if who in ("seller", "idle") else (-1_000,)) if has_position else None
    record = delivered.record(one, 0 if kind == "reading" else None)
    with reverts(settlement.WrongPosition, peer=one.peer, leaf=leaf):
        delivered.bring(replace(record, leaf=leaf, position_wh=position))


@pytest.mark.parametrize("position", [(1_001,), (-1_000,), (0,)])
def test_reconcile__other_words_than_those_of_the_leaf__reverts(
    settlement: Any, delivered: Delivered, position: tuple[int, ...]
) -> None:
    record = delivered.record(delivered.seller, 1_000, position_wh=position)
    with reverts(settlement.WrongPosition, peer=delivered.seller.peer, leaf=0):
        delivered.bring(record)


# -------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("layout", [None, 0, 2, 255])
def test_reconcile__unknown_layout__reverts(
    settlement: Any, delivered: Delivered, layout: int | None
) -> None:
    with reverts(settlement.UnknownLayout, layout=layout or 0):
        delivered.send(b"" if layout is None else bytes([layout]))


@pytest.mark.parametrize("flags", [3, 7, 8, 9, 128, 255])
def test_reconcile__unknown_record__reverts(
    settlement: Any, delivered: Delivered, flags: int
) -> None:
    first = encode_readings([delivered.record(delivered.seller, 1_000)])
    with reverts(settlement.UnknownRecord, record=1, flags=flags):
        delivered.send(first + bytes([flags]))


@pytest.mark.parametrize(
    ("flags", "length"), [(0, 13), (1, 109), (2, 173), (4, 45), (5, 141), (6, 205)]
)
def test_reconcile__record_of_any_other_length__reverts(
    settlement: Any, delivered: Delivered, flags: int, length: int
) -> None:
    error = settlement.RecordTruncated
    for actual in (1, 12, 13, length - 1):
        if actual < length:
            with reverts(error, record=0, expectedBytes=length, actualBytes=actual):
                delivered.send(b"\1" + bytes([flags]) + bytes(actual - 1))


def test_reconcile__more_bytes_than_records__reverts(settlement: Any, delivered: Delivered) -> None:
    raw = encode_readings([delivered.record(delivered.seller, 1_000)])
    with reverts(settlement.RecordTruncated, record=1, expectedBytes=13, actualBytes=1):
        delivered.send(raw + b"\0")


def test_reconcile__words_of_another_number_of_periods__reverts(
    world: World, settlement: Any
) -> None:
    """A day's words in a market of four quarters are other records."""
    consumer = world.admit()
    start = world.clear({}, QUARTERS)
    world.end(start, QUARTERS)
    reading = world.read(consumer, start, *[-1] * 9, market=QUARTERS)
    raw = encode_readings([ReadingRecord(consumer.peer, 0, 0, None, reading)])
    with reverts(settlement.UnknownRecord, record=1, flags=raw[1 + 109]):
        world.send_raw(start, (), raw, market=QUARTERS)


# ----------------------------------------------------------------------------------- S3 readings


@pytest.mark.parametrize("forger", ["secp256k1", "P-256"])
def test_reconcile__reading_by_another_meter__reverts(
    world: World, settlement: Any, p256: bool, forger: str
) -> None:
    delivered = _deliver(world, p256=p256)
    key = P256Meter.of(9) if forger == "P-256" else Account.from_key(b"\x09" * 32)
    stranger = replace(delivered.buyer, meter=key)
    with reverts(settlement.ReadingSignerMismatch, peer=delivered.buyer.peer, signer=key.address):
        delivered.settle(delivered.read(stranger, -1_000))


def _signed_with(
    delivered: Delivered, domain: Domain | None = None, **changes: Any
) -> ReadingRecord:
    """The buyer's record, whose signature is of something else."""
    honest = delivered.read(delivered.buyer, -1_000).reading
    other = replace(honest, **changes).signed_by(
        delivered.buyer.meter, domain or delivered.world.domain
    )
    record = delivered.record(delivered.buyer, -1_000)
    assert record.signed is not None
    return replace(record, signed=replace(record.signed, signature=other.signature))


def _require_mismatch(delivered: Delivered, record: ReadingRecord) -> None:
    assert record.signed is not None
    signer = NOBODY  # on P-256 the key is the meter's, and what it signed is not this
    if not isinstance(delivered.buyer.meter, P256Meter):
        signer = record.signed.signer(delivered.world.domain)
    error = delivered.world.settlement.ReadingSignerMismatch
    with reverts(error, peer=delivered.buyer.peer, signer=signer):
        delivered.bring(record)


@pytest.mark.parametrize(
    "change",
    [{"energy_wh": (-1,)}, {"market": QUARTERS}, {"session_start": 0}, {"peer": 2}],
    ids=["energy", "market", "session", "peer"],
)
def test_reconcile__signature_of_another_reading__reverts(
    world: World, p256: bool, change: dict[str, Any]
) -> None:
    delivered = _deliver(world, p256=p256)
    _require_mismatch(delivered, _signed_with(delivered, **change))


@pytest.mark.parametrize("where", ["chain", "contract"])
def test_reconcile__signature_for_another_domain__reverts(
    world: World, p256: bool, where: str
) -> None:
    delivered = _deliver(world, p256=p256)
    here = world.domain
    domain = {
        "chain": Domain(here.chain_id + 1, here.verifying_contract),
        "contract": Domain(here.chain_id, str(world.ledger.address)),
    }[where]
    _require_mismatch(delivered, _signed_with(delivered, domain))


def test_reconcile__high_s__reverts(world: World, settlement: Any, p256: bool) -> None:
    delivered = _deliver(world, p256=p256)
    raw = bytearray(encode_readings([delivered.record(delivered.buyer, -1_000)]))
    at = len(raw) - (96 if p256 else 32)
    s = int.from_bytes(raw[at : at + 32])
    if p256:
        raw[at : at + 32] = (P256_ORDER - s).to_bytes(32, "big")
    else:
        # The twin of the signature has the other parity. Its s has 256 bits unless it is just above
        # half the order; in 255 bits the largest that fits is not low either.
        raw[at : at + 32] = (s >> 255 << 255 | (SECP256K1_ORDER // 2 + 1)).to_bytes(32, "big")
    with reverts(settlement.ReadingSignerMismatch, peer=delivered.buyer.peer, signer=NOBODY):
        delivered.send(bytes(raw))


@pytest.mark.parametrize("value", [0, 2**256 - 1])
@pytest.mark.parametrize("part", ["r", "s"])
def test_reconcile__no_signature_at_all__reverts(
    world: World, settlement: Any, p256: bool, part: str, value: int
) -> None:
    delivered = _deliver(world, p256=p256)
    raw = bytearray(encode_readings([delivered.record(delivered.buyer, -1_000)]))
    at = len(raw) - (128 if p256 else 64) + (32 if part == "s" else 0)
    raw[at : at + 32] = value.to_bytes(32, "big")
    with reverts(settlement.ReadingSignerMismatch, peer=delivered.buyer.peer, signer=NOBODY):
        delivered.send(bytes(raw))


def test_reconcile__signature_of_the_other_kind__reverts(
    world: World, settlement: Any, p256: bool
) -> None:
    """A meter's key is on the curve that its address was made of."""
    delivered = _deliver(world, p256=p256)
    raw = bytearray(encode_readings([delivered.record(delivered.buyer, -1_000)]))
    raw[1] ^= 3
    raw = raw[:-64] if p256 else raw + bytes(64)
    with ape.reverts() as refusal:
        delivered.send(bytes(raw))
    assert "ReadingSignerMismatch" in repr(refusal.value)


@pytest.mark.parametrize("peer", [1, 99, 0])
def test_reconcile__reading_of_no_metered_peer__reverts(
    settlement: Any, delivered: Delivered, peer: int
) -> None:
    with reverts(settlement.PeerNotMetered, peer=peer):
        delivered.settle(delivered.read(replace(delivered.buyer, peer=peer), 0))


def test_reconcile__peer_admitted_after_the_session_began__reverts(
    world: World, settlement: Any, delivered: Delivered
) -> None:
    newcomer = world.admit()
    with reverts(settlement.PeerNotMetered, peer=newcomer.peer):
        delivered.settle(delivered.read(newcomer, 0))


@pytest.mark.parametrize("period", [4, 7])
def test_reconcile__value_beyond_the_last_period__reverts(
    world: World, settlement: Any, period: int
) -> None:
    consumer = world.admit()
    start = world.clear({}, QUARTERS)
    world.end(start, QUARTERS)
    values = [-1, 0, 0, 0, 0, 0, 0, 0]
    values[period] = 1
    reading = world.read(consumer, start, *values, market=QUARTERS)
    with reverts(settlement.ReadingBeyondSession, peer=consumer.peer):
        world.settle(start, reading, market=QUARTERS)


# ---------------------------------------------------------------------------------------- S4 once


def test_reconcile__reading_twice_in_a_run__settles_once(delivered: Delivered) -> None:
    buyer = delivered.buyer
    receipt = delivered.settle(delivered.read(buyer, -1_100), delivered.read(buyer, -1_100))
    assert events(receipt) == [delivered.brought(2), delivered.settled(buyer, -100 * RETAIL)]
    assert delivered.world.balance(buyer) == NANO - 100 * RETAIL


def test_reconcile__other_reading_later__is_passed_over(delivered: Delivered) -> None:
    buyer = delivered.buyer
    delivered.settle(delivered.read(buyer, -1_100))
    assert events(delivered.settle(delivered.read(buyer, -900))) == [delivered.brought(1)]
    assert delivered.world.balance(buyer) == NANO - 100 * RETAIL


def test_reconcile__one_reading_settled_before_by_an_outsider__settles_the_others(
    delivered: Delivered,
) -> None:
    seller, buyer, late = delivered.seller, delivered.buyer, delivered.late
    readings = [delivered.read(who, wh) for who, wh in ((seller, 1_200), (buyer, -1), (late, -2))]
    delivered.settle(readings[1])
    receipt = delivered.settle(*readings)
    assert events(receipt) == [
        delivered.brought(3),
        delivered.settled(seller, 200 * FEED_IN),
        delivered.settled(late, -2 * RETAIL),
    ]


def test_reconcile__settled_reading_with_anything_false__is_passed_over(
    delivered: Delivered,
) -> None:
    delivered.settle(delivered.read(delivered.buyer, -1_000))
    record = delivered.record(delivered.buyer, -900, leaf=7, tariff=7, position_wh=(5,))
    assert record.signed is not None
    forged = replace(record.signed, signature=b"\1" * 64 + b"\x1b")
    assert events(delivered.bring(replace(record, signed=forged))) == [delivered.brought(1)]


def test_reconcile__same_peer_in_another_session_or_market__settles(
    world: World, delivered: Delivered
) -> None:
    delivered.settle(delivered.read(delivered.buyer, -1_000))
    for market, start in ((HOURLY, delivered.start + HOUR), (QUARTERS, delivered.start)):
        world.end(start, market)
        values = [0] * MARKETS[market].periods_per_session
        values[0] = -100
        world.settle(
            start, world.read(delivered.buyer, start, *values, market=market), market=market
        )
    assert world.balance(delivered.buyer) == NANO - 200 * RETAIL


# ---------------------------------------------------------------------------------- S5 plausible


@pytest.mark.parametrize("wh", [10**6, -(10**6)])
def test_reconcile__all_that_the_connection_carries__settles(delivered: Delivered, wh: int) -> None:
    delivered.settle(delivered.read(delivered.idle, wh))


@pytest.mark.parametrize("wh", [10**6 + 1, -(10**6) - 1, 2**31 - 1, -(2**31) + 1])
def test_reconcile__more_than_the_connection_carries__reverts(
    settlement: Any, delivered: Delivered, wh: int
) -> None:
    names = {"peer": delivered.idle.peer, "period": 0, "energyWh": wh, "limitWh": 10**6}
    with reverts(settlement.ReadingImplausible, **names):
        delivered.settle(delivered.read(delivered.idle, wh))


@pytest.mark.parametrize("period", [0, 7, 8, 95])
def test_reconcile__more_than_a_quarter_hour_carries__reverts(
    world: World, settlement: Any, period: int
) -> None:
    consumer = world.admit()
    start = world.clear({}, DAILY)
    world.end(start, DAILY)
    values = [-250_000] * 96
    values[period] -= 1
    names = {"peer": consumer.peer, "period": period, "energyWh": -250_001, "limitWh": 250_000}
    with reverts(settlement.ReadingImplausible, **names):
        world.settle(start, world.read(consumer, start, *values, market=DAILY), market=DAILY)


def test_reconcile__more_than_any_account_holds__reverts(world: World, settlement: Any) -> None:
    dear = 2**31 - 1
    consumer = world.admit(
        supplier=world.admit_supplier((dear, 0)), connection_w=2**30 - 1, tokens=0
    )
    start = world.clear({}, DAILY)
    world.end(start, DAILY)
    values = [-(2**28) + 1] * 96
    names = {"peer": consumer.peer, "amountNano": sum(values) * dear}
    with reverts(settlement.PaymentTooLarge, **names):
        world.settle(start, world.read(consumer, start, *values, market=DAILY), market=DAILY)


# ---------------------------------------------------------------------------------------- digest


@settings(max_examples=20, deadline=None)
@given(
    st.builds(
        Reading,
        *(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**40 - 1)),
        st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=20).map(tuple),
    )
)
def test_reading_digest__any_reading__is_what_python_signs(
    founded: World, reading: Reading
) -> None:
    digest = founded.settlement.readingDigest(
        reading.market, reading.peer, reading.session_start, pack_energies(reading.energy_wh)
    )
    assert bytes(digest) == reading.typed_data(founded.domain).digest()
