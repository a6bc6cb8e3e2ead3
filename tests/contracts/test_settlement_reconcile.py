"""`Settlement.reconcile`: what it does, then one deviation per requirement S1 to S5."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth_utils.crypto import keccak
from tests.community import (
    C2,
    C3,
    DAY,
    FEED_IN,
    HOUR,
    NANO,
    NOTICE,
    QUARTERS,
    RETAIL,
    Community,
    Member,
    ask,
    bid,
)
from tests.contracts.test_settlement_clear import positions_hash
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role

if TYPE_CHECKING:
    from fairwatt.chain import Receipt
    from fairwatt.meter import SignedReading

PRICE = 50_000


@dataclass
class Delivered:
    """A cleared session: the seller sold, the buyer bought 1,000 Wh; the idle peer did nothing.

    Peers are admitted in this sequence: idle, seller, buyer, late.
    """

    community: Community
    start: int
    idle: Member
    seller: Member
    buyer: Member
    late: Member

    @property
    def positions(self) -> dict[int, tuple[int, ...]]:
        return {self.seller.peer: (1_000,), self.buyer.peer: (-1_000,)}

    def read(self, member: Member, wh: int, **options: Any) -> SignedReading:
        return self.community.read(member, options.pop("start", self.start), wh, **options)

    def settle(self, *readings: SignedReading, **changes: Any) -> Receipt:
        return self.community.reconcile(self.start, readings, **changes)

    def send(self, positions: dict[int, tuple[int, ...]], *entries: dict[str, Any]) -> Receipt:
        """Reconcile with exactly these arguments."""
        listed = [{"peer": peer, "energyWh": list(wh)} for peer, wh in positions.items()]
        reconcile = self.community.chain.contracts.settlement.reconcile
        arguments = (1, self.start, listed, list(entries))
        return self.community.send(reconcile, *arguments, sender=self.community.outsider)

    def estimate(self, *members: Member, **changes: Any) -> Receipt:
        """Bring the lack of a reading."""
        silence = [self.read(member, 0) for member in members]
        return self.settle(*silence, **{"signature": b"", "energyWh": []} | changes)

    @property
    def reading_deadline(self) -> int:
        return self.start + HOUR + DAY

    def wait_for_end(self) -> None:
        self.community.travel_to(self.start + HOUR)


@pytest.fixture
def delivered(community: Community) -> Delivered:
    idle = community.admit(Role.CONSUMER, C3, tokens=1)
    seller = community.admit(Role.PRODUCER, C3, tokens=1)
    buyer = community.admit(Role.CONSUMER, C3, tokens=1)
    late = community.admit(Role.CONSUMER, C3, tokens=1)
    community.deposit(community.supplier, NANO)
    proposal = community.propose(
        community.sign(seller, ask(PRICE, 2_000)), community.sign(buyer, bid(100_000, 1_000))
    )
    community.clear(proposal)
    return Delivered(community, proposal.session.start, idle, seller, buyer, late)


@pytest.fixture
def settlement(community: Community) -> Any:
    return community.chain.contracts.settlement


def _settled(
    delivered: Delivered, member: Member, wh: int, imbalance_nano: int, estimated_nano: int = 0
) -> Any:
    return event(
        delivered.community.chain.contracts.settlement.ReadingSettled,
        market=1,
        sessionStart=delivered.start,
        peer=member.peer,
        energyWh=(wh,),
        imbalanceNano=imbalance_nano,
        estimatedNano=estimated_nano,
    )


# ------------------------------------------------------------------------------- what it does


def test_reconcile__surplus_and_shortage__are_the_suppliers(
    community: Community, settlement: Any, delivered: Delivered
) -> None:
    seller, buyer = delivered.seller, delivered.buyer
    receipt = delivered.settle(delivered.read(seller, 1_200), delivered.read(buyer, -1_300))
    assert events(receipt) == [
        _settled(delivered, seller, 1_200, 200 * FEED_IN),
        _settled(delivered, buyer, -1_300, -300 * RETAIL),
    ]
    assert community.balance(seller) == NANO + 1_000 * PRICE + 200 * FEED_IN
    assert community.balance(buyer) == NANO - 1_000 * PRICE - 300 * RETAIL
    assert community.balance(community.supplier) == NANO - 200 * FEED_IN + 300 * RETAIL
    assert settlement.isReadingSettled(1, delivered.start, seller.peer)
    assert not settlement.isReadingSettled(1, delivered.start, delivered.idle.peer)


@pytest.mark.parametrize(
    ("wh", "imbalance_nano"),
    [(700, -300 * RETAIL), (1_000, 0), (0, -1_000 * RETAIL), (-50, -1_050 * RETAIL)],
)
def test_reconcile__seller_that_delivers_less__buys_the_rest(
    delivered: Delivered, wh: int, imbalance_nano: int
) -> None:
    receipt = delivered.settle(delivered.read(delivered.seller, wh))
    assert events(receipt) == [_settled(delivered, delivered.seller, wh, imbalance_nano)]
    balance = delivered.community.balance(delivered.seller)
    assert balance == NANO + 1_000 * PRICE + imbalance_nano


def test_reconcile__buyer_that_takes_less__sells_the_rest(delivered: Delivered) -> None:
    delivered.settle(delivered.read(delivered.buyer, -400))
    balance = delivered.community.balance(delivered.buyer)
    assert balance == NANO - 1_000 * PRICE + 600 * FEED_IN


def test_reconcile__peers_without_position__are_supplied_as_ever(delivered: Delivered) -> None:
    """One whose position would be the first, one whose position would be the last."""
    delivered.settle(delivered.read(delivered.idle, -100), delivered.read(delivered.late, -100))
    for peer in (delivered.idle, delivered.late):
        assert delivered.community.balance(peer) == NANO - 100 * RETAIL


def test_reconcile__position_of_zero__is_a_position(community: Community) -> None:
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    proposal = community.propose(community.sign(consumer, bid(100_000, 1_000)))
    community.clear(proposal)
    start = proposal.session.start
    assert community.chain.snapshot().positions_wh(1, start) == {consumer.peer: (0,)}
    community.reconcile(start, [community.read(consumer, start, -10)])
    assert community.balance(consumer) == NANO - 10 * RETAIL


def test_reconcile__nothing__changes_nothing(delivered: Delivered) -> None:
    assert events(delivered.settle()) == []


def test_reconcile__each_period_by_itself__nets_nothing(community: Community) -> None:
    """What is left over in one period is not there in the next."""
    prosumer = community.admit(Role.PROSUMER, C3, tokens=1)
    community.deposit(community.supplier, NANO)
    start = community.open_session(QUARTERS)
    proposal = community.propose(
        community.sign(prosumer, ask(30_000, 100), ask(30_000, 100, 3), market=QUARTERS),
        community.sign(community.supplier, bid(FEED_IN, 10_000), market=QUARTERS),
    )
    community.clear(proposal)
    reading = community.read(prosumer, start, 100, -100, 0, -100, market=QUARTERS)
    community.reconcile(start, [reading], market=QUARTERS)
    position = [wh for _, wh in sorted(proposal.positions_wh.items())][-1]
    owed = sum(
        (metered - sold) * (FEED_IN if metered > sold else RETAIL)
        for metered, sold in zip((100, -100, 0, -100), position, strict=True)
    )
    assert community.balance(prosumer) == NANO + proposal.payments_nano[prosumer.peer] + owed


def test_reconcile__in_several_runs__settles_each_reading_once(delivered: Delivered) -> None:
    delivered.settle(delivered.read(delivered.seller, 1_000))
    delivered.community.travel_to(delivered.start + 2 * DAY)
    receipt = delivered.settle(delivered.read(delivered.buyer, -1_100))
    assert events(receipt)[0] == _settled(delivered, delivered.buyer, -1_100, -100 * RETAIL)


def test_reconcile__while_paused__settles(settlement: Any, delivered: Delivered) -> None:
    community = delivered.community
    community.send(settlement.pause, sender=community.guardian)
    delivered.settle(delivered.read(delivered.seller, 1_000))


def test_reconcile__void_session__supplies_everybody(community: Community) -> None:
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    start = community.open_session()
    community.travel_to(community.terms().clearing_deadline(start))
    community.reconcile(start, [community.read(consumer, start, -500)])
    assert community.balance(consumer) == NANO - 500 * RETAIL


def test_reconcile__supplier_that_cannot_pay__owes(community: Community) -> None:
    ledger = community.chain.contracts.ledger
    producer = community.admit(Role.PRODUCER, C3)
    start = community.open_session()
    community.travel_to(community.terms().clearing_deadline(start))
    receipt = community.reconcile(start, [community.read(producer, start, 500)])
    assert events(receipt)[-1] == event(
        ledger.ArrearsIncurred,
        debtor=community.supplier.peer,
        creditor=producer.peer,
        amountNano=500 * FEED_IN,
    )
    community.deposit(community.supplier, NANO)
    names = (community.supplier.peer, producer.peer)
    community.send(ledger.collect, *names, sender=community.outsider)
    assert community.balance(producer) == 500 * FEED_IN


def test_reconcile__peer_that_cannot_pay__owes(community: Community) -> None:
    consumer = community.admit(Role.CONSUMER, C3)
    community.deposit(consumer, 1_000)
    start = community.open_session()
    community.travel_to(community.terms().clearing_deadline(start))
    receipt = community.reconcile(start, [community.read(consumer, start, -500)])
    assert events(receipt)[-1] == event(
        community.chain.contracts.ledger.ArrearsIncurred,
        debtor=consumer.peer,
        creditor=community.supplier.peer,
        amountNano=500 * RETAIL - 1_000,
    )
    assert community.balance(community.supplier) == 1_000


# ------------------------------------------------------------------------------------ estimates


def _estimated(delivered: Delivered, member: Member, imbalance_nano: int) -> Any:
    return event(
        delivered.community.chain.contracts.settlement.ReadingEstimated,
        market=1,
        sessionStart=delivered.start,
        peer=member.peer,
        imbalanceNano=imbalance_nano,
    )


def test_reconcile__missing_readings__sold_nothing_and_took_all_that_was_bought(
    settlement: Any, delivered: Delivered
) -> None:
    seller, buyer, idle = delivered.seller, delivered.buyer, delivered.idle
    delivered.community.travel_to(delivered.reading_deadline)
    assert events(delivered.estimate(seller, buyer, idle)) == [
        _estimated(delivered, seller, -1_000 * RETAIL),
        _estimated(delivered, buyer, 0),
        _estimated(delivered, idle, 0),
    ]
    assert delivered.community.balance(seller) == NANO + 1_000 * PRICE - 1_000 * RETAIL
    assert settlement.isReadingEstimated(1, delivered.start, seller.peer)
    assert not settlement.isReadingSettled(1, delivered.start, seller.peer)


@pytest.mark.parametrize("wh", [0, 900, 1_000, 1_100])
def test_reconcile__reading_after_its_estimate__settles_the_difference(
    delivered: Delivered, wh: int
) -> None:
    seller = delivered.seller
    delivered.community.travel_to(delivered.reading_deadline)
    delivered.estimate(seller)
    owed = (wh - 1_000) * (FEED_IN if wh > 1_000 else RETAIL)
    receipt = delivered.settle(delivered.read(seller, wh))
    assert events(receipt) == [_settled(delivered, seller, wh, owed, -1_000 * RETAIL)]
    assert delivered.community.balance(seller) == NANO + 1_000 * PRICE + owed


def test_reconcile__reading_after_an_estimate_that_was_not_paid__sets_off_the_arrears(
    community: Community,
) -> None:
    seller = community.admit(Role.PRODUCER, C3)
    buyer = community.admit(Role.CONSUMER, C3, tokens=1)
    proposal = community.propose(
        community.sign(seller, ask(PRICE, 2_000)), community.sign(buyer, bid(100_000, 1_000))
    )
    community.clear(proposal)
    delivered = Delivered(community, proposal.session.start, buyer, seller, buyer, buyer)
    community.travel_to(delivered.reading_deadline)
    ledger, supplier = community.chain.contracts.ledger, community.supplier
    names = {"debtor": seller.peer, "creditor": supplier.peer}
    unpaid = 1_000 * (RETAIL - PRICE)
    assert events(delivered.estimate(seller)) == [
        _estimated(delivered, seller, -1_000 * RETAIL),
        event(ledger.ArrearsIncurred, **names, amountNano=unpaid),
    ]
    assert events(delivered.settle(delivered.read(seller, 1_000))) == [
        _settled(delivered, seller, 1_000, 0, -1_000 * RETAIL),
        event(ledger.ArrearsPaid, **names, amountNano=unpaid),
    ]
    assert community.balance(seller) == 1_000 * PRICE
    assert community.balance(supplier) == 0


def test_reconcile__estimate_in_the_last_second_of_the_reading_window__reverts(
    settlement: Any, delivered: Delivered
) -> None:
    deadline = delivered.reading_deadline
    names = {"peer": delivered.seller.peer, "sessionStart": delivered.start}
    delivered.community.wait_until(deadline)
    with reverts(settlement.ReadingStillAwaited, **names, deadline=deadline):
        delivered.estimate(delivered.seller)


def test_reconcile__estimate_a_second_after_the_reading_window__is_settled(
    delivered: Delivered,
) -> None:
    delivered.community.wait_until(delivered.reading_deadline + 1)
    delivered.estimate(delivered.seller)
    assert ape.chain.blocks.head.timestamp == delivered.reading_deadline + 1


def test_reconcile__estimate_twice__counts_once(delivered: Delivered) -> None:
    community, seller = delivered.community, delivered.seller
    community.travel_to(delivered.reading_deadline)
    receipt = delivered.estimate(seller, seller)
    assert [entry.name for entry in events(receipt)] == ["ReadingEstimated"]
    assert events(delivered.estimate(seller)) == []
    assert community.balance(seller) == NANO + 1_000 * PRICE - 1_000 * RETAIL


@pytest.mark.parametrize("estimated_before", [False, True])
def test_reconcile__estimate_after_the_reading__is_passed_over(
    delivered: Delivered, estimated_before: bool
) -> None:
    community, seller = delivered.community, delivered.seller
    community.travel_to(delivered.reading_deadline)
    if estimated_before:
        delivered.estimate(seller)
    delivered.settle(delivered.read(seller, 1_000))
    assert events(delivered.estimate(seller)) == []
    assert community.balance(seller) == NANO + 1_000 * PRICE


def test_reconcile__estimate_with_a_value__reverts(settlement: Any, delivered: Delivered) -> None:
    delivered.community.travel_to(delivered.reading_deadline)
    names = {"peer": delivered.seller.peer, "periods": 0, "values": 1}
    with reverts(settlement.ReadingCountMismatch, **names):
        delivered.estimate(delivered.seller, energyWh=[0])


def test_reconcile__estimate_of_a_supplier__reverts(
    community: Community, settlement: Any, delivered: Delivered
) -> None:
    community.travel_to(delivered.reading_deadline)
    with reverts(settlement.PeerNotMetered, peer=community.supplier.peer):
        delivered.estimate(community.supplier)


# -------------------------------------------------------------------------------------- tariffs


def _publish(community: Community, *tariffs: tuple[int, int, int]) -> None:
    publish = community.chain.contracts.registry.publishTariffs
    community.send(publish, list(tariffs), sender=community.supplier.wallet)


def _void_session(community: Community, market: int, first: int) -> None:
    community.travel_to(community.terms(market).clearing_deadline(first))


def test_reconcile__tariffs_that_change_within_a_session__hold_for_their_periods(
    community: Community,
) -> None:
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    start = community.terms(QUARTERS).next_open_session(community.now() + NOTICE + DAY)
    changes = (start + 900, 200_000, 0), (start + 2_700, 300_000, 0)
    _publish(community, *changes)
    _void_session(community, QUARTERS, start)
    reading = community.read(consumer, start, -1, -10, -100, -1_000, market=QUARTERS)
    community.reconcile(start, [reading], market=QUARTERS)
    owed = RETAIL * 1 + 200_000 * 110 + 300_000 * 1_000
    assert community.balance(consumer) == NANO - owed


@pytest.fixture
def second_tariff(community: Community) -> tuple[Member, int]:
    """A consumer, and a void session that starts just when the second tariff takes effect."""
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    start = community.terms().next_open_session(community.now() + NOTICE + DAY)
    _publish(community, (start, 200_000, -30_000), (start + HOUR, 0, 0))
    _void_session(community, 1, start)
    return consumer, start


def test_reconcile__tariff_that_starts_with_the_session__holds(
    community: Community, second_tariff: tuple[Member, int]
) -> None:
    consumer, start = second_tariff
    community.reconcile(start, [community.read(consumer, start, -100)], tariff=1)
    assert community.balance(consumer) == NANO - 200_000 * 100


@pytest.mark.parametrize("tariff", [0, 2, 3])
def test_reconcile__tariff_not_in_force__reverts(
    community: Community, second_tariff: tuple[Member, int], tariff: int
) -> None:
    consumer, start = second_tariff
    error = community.chain.contracts.registry.TariffNotInForce
    with reverts(error, supplier=community.supplier.peer, index=tariff, time=start):
        community.reconcile(start, [community.read(consumer, start, -100)], tariff=tariff)


def test_reconcile__negative_feed_in_tariff__charges_for_surplus(
    community: Community, second_tariff: tuple[Member, int]
) -> None:
    consumer, start = second_tariff
    community.reconcile(start, [community.read(consumer, start, 100)], tariff=1)
    assert community.balance(consumer) == NANO - 30_000 * 100


def test_reconcile__negative_retail_tariff__pays_for_consumption(community: Community) -> None:
    consumer = community.admit(Role.CONSUMER, C3)
    community.deposit(community.supplier, NANO)
    start = community.terms().next_open_session(community.now() + NOTICE + DAY)
    _publish(community, (start, -20_000, -30_000))
    _void_session(community, 1, start)
    community.reconcile(start, [community.read(consumer, start, -100)], tariff=1)
    assert community.balance(consumer) == 20_000 * 100


def test_reconcile__peer_that_changed_its_supplier_later__pays_the_one_of_the_session(
    delivered: Delivered,
) -> None:
    community, buyer = delivered.community, delivered.buyer
    other = community.admit(Role.SUPPLIER, 0)
    registry = community.chain.contracts.registry
    community.send(registry.publishTariffs, [(community.now(), 0, 0)], sender=other.wallet)
    connection = {
        "role": Role.CONSUMER,
        "network": 1,
        "node": C3,
        "meter": buyer.meter.address,
        "supplier": other.peer,
        "connectionW": 10**6,
        "community": 1,
    }
    community.send(registry.change, buyer.peer, connection, sender=community.registrar)
    community.travel_to(community.now() + NOTICE + HOUR)
    delivered.settle(delivered.read(buyer, -1_300))
    assert community.balance(buyer) == NANO - 1_000 * PRICE - 300 * RETAIL
    assert community.balance(other) == 0


# ------------------------------------------------------------------------------- S1 session over


def test_reconcile__unknown_market__reverts(community: Community, settlement: Any) -> None:
    error = community.chain.contracts.order_book.UnknownMarket
    with reverts(error, market=3):
        community.send(settlement.reconcile, 3, 0, [], [], sender=community.solver)


def test_reconcile__no_session_of_the_market__reverts(
    settlement: Any, delivered: Delivered
) -> None:
    delivered.start += 1
    with reverts(settlement.NotASession, sessionStart=delivered.start):
        delivered.send({})


def test_reconcile__a_second_before_the_end__reverts(settlement: Any, delivered: Delivered) -> None:
    end = delivered.start + HOUR
    delivered.community.wait_until(end - 1)
    with reverts(settlement.SessionNotOver, market=1, sessionStart=delivered.start, end=end):
        delivered.send(delivered.positions)


def test_reconcile__in_the_second_of_the_end__succeeds(delivered: Delivered) -> None:
    delivered.community.wait_until(delivered.start + HOUR)
    delivered.send(delivered.positions)
    assert ape.chain.blocks.head.timestamp == delivered.start + HOUR


def test_reconcile__in_the_last_second__succeeds(delivered: Delivered) -> None:
    deadline = delivered.community.terms().settlement_deadline(delivered.start)
    delivered.community.wait_until(deadline)
    delivered.send(delivered.positions)
    assert ape.chain.blocks.head.timestamp == deadline


def test_reconcile__a_second_too_late__reverts(settlement: Any, delivered: Delivered) -> None:
    start = delivered.start
    deadline = delivered.community.terms().settlement_deadline(start)
    delivered.community.wait_until(deadline + 1)
    with reverts(settlement.SettlementTooLate, market=1, sessionStart=start, deadline=deadline):
        delivered.send(delivered.positions)


def test_reconcile__while_it_may_still_be_cleared__reverts(
    community: Community, settlement: Any
) -> None:
    start = community.open_session()
    deadline = community.terms().clearing_deadline(start)
    community.wait_until(deadline)
    with reverts(settlement.ClearingStillPossible, market=1, sessionStart=start, deadline=deadline):
        community.reconcile(start, [])


def test_reconcile__a_second_after_it_may_be_cleared__succeeds(community: Community) -> None:
    start = community.open_session()
    community.wait_until(community.terms().clearing_deadline(start) + 1)
    assert events(community.reconcile(start, [])) == []


# ---------------------------------------------------------------------------------- S2 positions


@pytest.mark.parametrize("change", ["energy", "peer", "left out", "added", "empty", "swapped"])
def test_reconcile__other_positions__reverts(
    settlement: Any, delivered: Delivered, change: str
) -> None:
    seller, buyer = delivered.seller.peer, delivered.buyer.peer
    positions = {
        "energy": {seller: (1_001,), buyer: (-1_000,)},
        "peer": {delivered.idle.peer: (1_000,), buyer: (-1_000,)},
        "left out": {seller: (1_000,)},
        "added": delivered.positions | {99: (0,)},
        "empty": {},
        "swapped": {buyer: (-1_000,), seller: (1_000,)},
    }[change]
    delivered.wait_for_end()
    with reverts(
        settlement.PositionsMismatch,
        expected=positions_hash(delivered.positions),
        actual=positions_hash(positions),
    ):
        delivered.send(positions)


def test_reconcile__positions_in_a_void_session__reverts(
    community: Community, settlement: Any, delivered: Delivered
) -> None:
    delivered.start = community.open_session()
    _void_session(community, 1, delivered.start)
    with reverts(
        settlement.PositionsMismatch,
        expected=keccak(b""),
        actual=positions_hash(delivered.positions),
    ):
        delivered.send(delivered.positions)


@pytest.mark.parametrize(
    ("who", "position"),
    [
        ("seller", 1),  # the buyer's
        ("seller", 2),  # as if it had none
        ("seller", 3),  # beyond the list
        ("buyer", 0),
        ("buyer", 2),
        ("idle", 1),
        ("idle", 2),
        ("idle", 3),
        ("late", 0),
        ("late", 1),
        ("late", 2**32 - 1),
    ],
)
def test_reconcile__index_of_another_position__reverts(
    settlement: Any, delivered: Delivered, who: str, position: int
) -> None:
    member: Member = getattr(delivered, who)
    with reverts(settlement.WrongPosition, peer=member.peer, position=position):
        delivered.settle(delivered.read(member, 0), position=position)


# ----------------------------------------------------------------------------------- S3 readings


def test_reconcile__reading_by_another_meter__reverts(
    settlement: Any, delivered: Delivered
) -> None:
    stranger = replace(delivered.buyer, meter=delivered.seller.meter)
    with reverts(
        settlement.ReadingSignerMismatch,
        peer=delivered.buyer.peer,
        signer=delivered.seller.meter.address,
    ):
        delivered.settle(delivered.read(stranger, -1_000))


def test_reconcile__reading_by_the_peers_wallet__reverts(
    settlement: Any, delivered: Delivered
) -> None:
    buyer = delivered.buyer
    with reverts(settlement.ReadingSignerMismatch, peer=buyer.peer, signer=buyer.wallet.address):
        delivered.settle(delivered.read(replace(buyer, meter=buyer.key), -1_000))


@pytest.mark.parametrize("signature", [b"\0", b"\0" * 65, b"\xff" * 65, b"\1" * 64])
def test_reconcile__no_signature_at_all__reverts(
    settlement: Any, delivered: Delivered, signature: bytes
) -> None:
    with reverts(
        settlement.ReadingSignerMismatch, peer=delivered.buyer.peer, signer="0x" + "0" * 40
    ):
        delivered.settle(delivered.read(delivered.buyer, -1_000), signature=signature)


def test_reconcile__reading_altered_after_signing__reverts(
    community: Community, settlement: Any, delivered: Delivered
) -> None:
    honest = delivered.read(delivered.buyer, -1_000)
    forged = replace(honest, reading=replace(honest.reading, energy_wh=(-1,)))
    with reverts(
        settlement.ReadingSignerMismatch,
        peer=delivered.buyer.peer,
        signer=forged.signer(community.chain.reading_domain),
    ):
        delivered.settle(forged)


@pytest.mark.parametrize("replayed", ["session", "market"])
def test_reconcile__reading_of_another_session__reverts(
    community: Community, settlement: Any, delivered: Delivered, replayed: str
) -> None:
    options = {"session": {"start": delivered.start - HOUR}, "market": {"market": QUARTERS}}
    other = delivered.read(delivered.buyer, -1_000, **options[replayed])
    here = replace(other, reading=replace(other.reading, session_start=delivered.start, market=1))
    with reverts(
        settlement.ReadingSignerMismatch,
        peer=delivered.buyer.peer,
        signer=here.signer(community.chain.reading_domain),
    ):
        delivered.settle(other)


@pytest.mark.parametrize("who", ["supplier", "operator"])
def test_reconcile__supplier_or_operator__has_no_meter(
    community: Community, settlement: Any, delivered: Delivered, who: str
) -> None:
    member: Member = getattr(community, who)
    with reverts(settlement.PeerNotMetered, peer=member.peer):
        delivered.settle(delivered.read(member, 0))


def test_reconcile__reading_of_nobody__reverts(settlement: Any, delivered: Delivered) -> None:
    with reverts(settlement.PeerNotMetered, peer=99):
        delivered.settle(delivered.read(replace(delivered.buyer, peer=99), 0))


def test_reconcile__peer_admitted_after_the_session_began__reverts(
    community: Community, settlement: Any, delivered: Delivered
) -> None:
    community.travel_to(delivered.start)
    newcomer = community.admit(Role.CONSUMER, C2)
    with reverts(settlement.PeerNotMetered, peer=newcomer.peer):
        delivered.settle(delivered.read(newcomer, 0))


@pytest.mark.parametrize("values", [(), (-1_000, 0)])
def test_reconcile__not_one_value_per_period__reverts(
    community: Community, settlement: Any, delivered: Delivered, values: tuple[int, ...]
) -> None:
    reading = community.read(delivered.buyer, delivered.start, *values)
    with reverts(
        settlement.ReadingCountMismatch,
        peer=delivered.buyer.peer,
        periods=1,
        values=len(values),
    ):
        delivered.settle(reading)


# ---------------------------------------------------------------------------------------- S4 once


def test_reconcile__reading_twice_in_a_run__settles_once(delivered: Delivered) -> None:
    buyer = delivered.buyer
    receipt = delivered.settle(delivered.read(buyer, -1_100), delivered.read(buyer, -1_100))
    assert events(receipt) == [_settled(delivered, buyer, -1_100, -100 * RETAIL)]
    assert delivered.community.balance(buyer) == NANO - 1_000 * PRICE - 100 * RETAIL


def test_reconcile__other_reading_later__is_passed_over(delivered: Delivered) -> None:
    buyer = delivered.buyer
    delivered.settle(delivered.read(buyer, -1_100))
    assert events(delivered.settle(delivered.read(buyer, -900))) == []
    assert delivered.community.balance(buyer) == NANO - 1_000 * PRICE - 100 * RETAIL


def test_reconcile__one_reading_settled_before_by_an_outsider__settles_the_others(
    delivered: Delivered,
) -> None:
    seller, buyer = delivered.seller, delivered.buyer
    readings = [delivered.read(seller, 1_200), delivered.read(buyer, -1_300)]
    delivered.settle(readings[1])
    receipt = delivered.settle(*readings)
    assert events(receipt) == [_settled(delivered, seller, 1_200, 200 * FEED_IN)]
    balances = [delivered.community.balance(member) for member in (seller, buyer)]
    assert balances == [
        NANO + 1_000 * PRICE + 200 * FEED_IN,
        NANO - 1_000 * PRICE - 300 * RETAIL,
    ]


def test_reconcile__settled_reading_with_a_false_signature__is_passed_over(
    delivered: Delivered,
) -> None:
    delivered.settle(delivered.read(delivered.buyer, -1_000))
    again = delivered.read(delivered.buyer, -900)
    assert events(delivered.settle(again, signature=b"\1" * 65, position=7, tariff=7)) == []


def test_reconcile__same_peer_in_another_session__settles(
    community: Community, delivered: Delivered
) -> None:
    delivered.settle(delivered.read(delivered.buyer, -1_000))
    following = delivered.start + HOUR
    _void_session(community, 1, following)
    community.reconcile(following, [community.read(delivered.buyer, following, -100)])
    assert community.balance(delivered.buyer) == NANO - 1_000 * PRICE - 100 * RETAIL


# ---------------------------------------------------------------------------------- S5 plausible


@pytest.mark.parametrize("wh", [10**6, -(10**6)])
def test_reconcile__all_that_the_connection_carries__settles(delivered: Delivered, wh: int) -> None:
    delivered.settle(delivered.read(delivered.idle, wh))


@pytest.mark.parametrize("wh", [10**6 + 1, -(10**6) - 1, 2**47 - 1, -(2**47) + 1])
def test_reconcile__more_than_the_connection_carries__reverts(
    settlement: Any, delivered: Delivered, wh: int
) -> None:
    with reverts(
        settlement.ReadingImplausible,
        peer=delivered.idle.peer,
        period=0,
        energyWh=wh,
        limitWh=10**6,
    ):
        delivered.settle(delivered.read(delivered.idle, wh))


def test_reconcile__more_than_a_quarter_hour_carries__reverts(
    community: Community, settlement: Any
) -> None:
    consumer = community.admit(Role.CONSUMER, C3)
    start = community.open_session(QUARTERS)
    _void_session(community, QUARTERS, start)
    reading = community.read(consumer, start, 0, 0, -250_001, 0, market=QUARTERS)
    with reverts(
        settlement.ReadingImplausible,
        peer=consumer.peer,
        period=2,
        energyWh=-250_001,
        limitWh=250_000,
    ):
        community.reconcile(start, [reading], market=QUARTERS)
