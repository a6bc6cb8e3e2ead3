"""`Clearing.clear`: what it does, then one deviation per requirement C1 to C8."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak
from tests.community import (
    C2,
    C3,
    DAY,
    GRID,
    HOUR,
    HOURLY,
    NANO,
    NETWORK,
    NOTICE,
    QUARTERS,
    TERMS,
    Community,
    Member,
    ask,
    bid,
)
from tests.contracts.parts import carried, records
from tests.contracts.registry import admit, connection, leave, suspend
from tests.outcomes import event, events, reverts

from fairwatt.calldata import NOTHING_CARRIED
from fairwatt.chain import Role, project
from fairwatt.orders import SignedOrder
from fairwatt.proposal import Proposal, propose
from fairwatt.session import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fairwatt.chain import Receipt, Signer
    from fairwatt.orders import Order, Step

HEAD_BYTES, SIGNATURE_BYTES = 16, 64
PAGE_PEERS = 64
ORDER_TYPE = (
    "Order(uint32 market,uint32 peer,uint40 sessionStart,uint32 nonce,"
    "uint16 firstBlock,uint16 blocks,bytes curve)"
)


def chain_of(leaves: Iterable[bytes]) -> bytes:
    """The chained hash over these leaves."""
    chained = bytes(32)
    for leaf in leaves:
        chained = keccak(chained + leaf)
    return chained


def positions_hash(positions: Mapping[int, tuple[int, ...]]) -> bytes:
    """Chained hash over the positions of a session of at most eight periods."""
    leaves = []
    for peer, energy in positions.items():
        lanes = [abs(wh) << 1 | (wh < 0) for wh in energy]
        word = struct.pack(">8I", *lanes, *[0] * (8 - len(lanes)))
        leaves.append(peer.to_bytes(4, "big") + keccak(word)[:28])
    return chain_of(leaves)


def order_hash(order: Order) -> bytes:
    """EIP-712 hash of an order, without the domain."""
    first, blocks, curve = order.curve
    head = (order.market, order.peer, order.session_start, order.nonce, first, blocks)
    types = ["bytes32", *["uint256"] * len(head), "bytes32"]
    return keccak(encode(types, [keccak(text=ORDER_TYPE), *head, keccak(curve)]))


def orders_hash(proposal: Proposal) -> bytes:
    return chain_of(order_hash(signed.order) for signed in proposal.orders)


@dataclass(frozen=True)
class Call:
    """Arguments of a clearing in one part, to be changed and sent."""

    community: Community
    message: dict[str, Any]
    part: dict[str, Any]

    @classmethod
    def of(cls, community: Community, proposal: Proposal) -> Call:
        message, part, *_ = community.chain.clearing_arguments(proposal, community.solver)
        return cls(community, message, part)

    @property
    def records(self) -> list[bytes]:
        return [record for _, record in records(self.part["orders"])]

    def but(self, **changes: Any) -> Call:
        """Other fields of the proposal."""
        return replace(self, message=self.message | changes)

    def ordered(self, *orders: bytes) -> Call:
        """Other order records."""
        return replace(self, part=self.part | {"orders": b"".join(orders)})

    def with_rosters(self, *rosters: int) -> Call:
        return replace(self, part=self.part | {"rosters": list(rosters)})

    def part_of(self, *orders: bytes) -> Call:
        """A part with these records, all of one roster page."""
        return self.ordered(*orders).with_rosters(*self.part["rosters"] if orders else [])

    def send(
        self,
        before: Mapping[str, Any] = NOTHING_CARRIED,
        *,
        is_last: bool = True,
        sender: Signer | None = None,
    ) -> Receipt:
        clear = self.community.chain.contracts.clearing.clear
        arguments = (self.message, self.part, dict(before), is_last)
        return self.community.send(clear, *arguments, sender=sender or self.community.solver)

    def send_parts(self, *parts: list[bytes], sender: Signer | None = None) -> list[Receipt]:
        """Send records in several parts, each going on from the one before."""
        before: Mapping[str, Any] = NOTHING_CARRIED
        receipts = []
        for at, part in enumerate(parts):
            is_last = at + 1 == len(parts)
            sent = self.part_of(*part).send(before, is_last=is_last, sender=sender)
            receipts.append(sent)
            before = {} if is_last else carried(sent)
        return receipts


@pytest.fixture
def clearing(community: Community) -> Any:
    return community.chain.contracts.clearing


@pytest.fixture
def order_book(community: Community) -> Any:
    return community.chain.contracts.order_book


@pytest.fixture
def ledger(community: Community) -> Any:
    return community.chain.contracts.ledger


@pytest.fixture
def producer(community: Community) -> Member:
    return community.admit(Role.PRODUCER, C2, tokens=1)


@pytest.fixture
def consumer(community: Community, producer: Member) -> Member:
    """The peer that is admitted after the producer."""
    return community.admit(Role.CONSUMER, C3, tokens=1)


@pytest.fixture
def trade(community: Community, producer: Member, consumer: Member) -> Proposal:
    """Grid and C2 both sell to C3; all prices follow from what the grid asks for."""
    return community.propose(
        community.sign(community.supplier, ask(120_000, 100_000)),
        community.sign(producer, ask(50_000, 2_000)),
        community.sign(consumer, bid(200_000, 3_000)),
    )


@pytest.fixture
def closed(community: Community, trade: Proposal) -> Call:
    """The call of that trade, whose gate is closed."""
    community.close_gate(trade)
    return Call.of(community, trade)


def _unsigned(signed: SignedOrder) -> SignedOrder:
    return replace(signed, signature=b"")


def _alone(community: Community, signed: SignedOrder, node: int = C3) -> Proposal:
    """The clearing of one order, wherever its peer may be."""
    order = signed.order
    session = community.session(order.session_start, order.market)
    return propose(session, [signed], nodes={order.peer: node})


# ------------------------------------------------------------------------------- what it does


def test_clear__two_communities_and_the_grid__pays_everybody_at_node_prices(
    community: Community,
    clearing: Any,
    order_book: Any,
    trade: Proposal,
    producer: Member,
    consumer: Member,
) -> None:
    start, supplier = trade.session.start, community.supplier
    session = {"market": HOURLY, "sessionStart": start}
    assert clearing.positionsHash(HOURLY, start) == clearing.ordersHash(HOURLY, start) == bytes(32)
    assert tuple(order_book.sessionState(HOURLY, start)) == (0, False, False)
    hashes = {
        "positionsHash": positions_hash(
            {supplier.peer: (1_000,), producer.peer: (2_000,), consumer.peer: (-3_000,)}
        ),
        "ordersHash": orders_hash(trade),
    }
    link = {"owner": community.operator.peer, "rentNano": 0}
    assert events(community.clear(trade)) == [
        event(clearing.LinkEarned, **session, **link, link=1, tariffNano=15_840 * 1_000),
        event(clearing.LinkEarned, **session, **link, link=2, tariffNano=21_600 * 2_000),
        event(order_book.OrdersTaken, **session, placed=0),
        event(
            clearing.SessionCleared,
            **session,
            solver=community.solver.address,
            orders=3,
            **hashes,
            feeNano=0,
        ),
    ]
    assert bytes(clearing.positionsHash(HOURLY, start)) == hashes["positionsHash"]
    assert bytes(clearing.ordersHash(HOURLY, start)) == hashes["ordersHash"]
    assert tuple(order_book.sessionState(HOURLY, start)) == (0, False, True)
    assert community.balance(supplier) == 120_000 * 1_000
    assert community.balance(producer) == NANO + 114_240 * 2_000
    assert community.balance(consumer) == NANO - 135_840 * 3_000
    assert community.balance(community.operator) == 15_840 * 1_000 + 21_600 * 2_000


def test_clear__several_periods_and_orders__nets_each_peers_periods(
    community: Community, clearing: Any
) -> None:
    prosumer = community.admit(Role.PROSUMER, C3, tokens=1)
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    producer = community.admit(Role.PRODUCER, C3)
    proposal = community.propose(
        community.sign(prosumer, bid(90_000, 400), ask(60_000, 400, 3), market=QUARTERS),
        community.sign(prosumer, bid(95_000, 100), nonce=7, market=QUARTERS),
        community.sign(consumer, bid(100_000, 300, 1), bid(100_000, 300, 3), market=QUARTERS),
        community.sign(producer, ask(50_000, 1_000), nonce=2**32 - 1, market=QUARTERS),
    )
    (cleared,) = [each for each in events(community.clear(proposal)) if "Cleared" in each.name]
    positions = {
        prosumer.peer: (-500, 0, 0, 300),
        consumer.peer: (0, 0, 0, -300),
        producer.peer: (500, 0, 0, 0),
    }
    assert cleared.values["orders"] == 4
    assert cleared.values["positionsHash"] == positions_hash(positions)
    assert cleared.values["ordersHash"] == orders_hash(proposal)
    # At 3: no price is fixed between 60 000 and 100 000, so it is the one in the middle.
    assert community.balance(prosumer) == NANO - 500 * 50_000 + 300 * 60_000
    assert community.balance(consumer) == NANO - 300 * 60_000
    assert community.balance(producer) == 500 * 50_000


def test_clear__without_orders__is_final_too(
    community: Community, clearing: Any, order_book: Any
) -> None:
    start = community.open_session()
    empty = propose(community.session(start), [], nodes={})
    session = {"market": HOURLY, "sessionStart": start}
    traded = {"positionsHash": (1).to_bytes(32, "big"), "ordersHash": bytes(32)}
    solver = community.solver.address
    assert events(community.clear(empty)) == [
        event(order_book.OrdersTaken, **session, placed=0),
        event(clearing.SessionCleared, **session, solver=solver, orders=0, **traded, feeNano=0),
    ]
    assert int.from_bytes(clearing.positionsHash(HOURLY, start), "big") == 1
    with reverts(clearing.AlreadyCleared, **session):
        community.clear(empty)


def test_clear__orders_that_do_not_trade__are_counted_and_have_no_position(
    community: Community, clearing: Any, consumer: Member
) -> None:
    proposal = community.propose(community.sign(consumer, bid(200_000, 3_000)))
    cleared = events(community.clear(proposal))[-1].values
    assert (cleared["orders"], int.from_bytes(cleared["positionsHash"], "big")) == (1, 1)
    assert cleared["ordersHash"] == orders_hash(proposal)


def test_clear__full_link__leaves_the_congestion_rent_to_the_fund(
    community: Community, clearing: Any, ledger: Any
) -> None:
    seller = community.admit(Role.PRODUCER, C3)
    buyer = community.admit(Role.CONSUMER, C2, tokens=10)
    proposal = community.propose(
        community.sign(seller, ask(20_000, 200_000)), community.sign(buyer, bid(100_000, 100_000))
    )
    assert events(community.clear(proposal))[0] == event(
        clearing.LinkEarned,
        market=HOURLY,
        sessionStart=proposal.session.start,
        owner=0,
        link=3,
        tariffNano=4_800 * 50_000,
        rentNano=75_200 * 50_000,
    )
    assert community.balance(seller) == 20_000 * 50_000
    assert community.balance(buyer) == 10 * NANO - 100_000 * 50_000
    assert ledger.fundNano() == 80_000 * 50_000


def test_clear__full_link_with_an_owner__splits_tariff_and_rent(
    community: Community, ledger: Any
) -> None:
    seller = community.admit(Role.PRODUCER, GRID, connection_w=10**8)
    buyer = community.admit(Role.CONSUMER, C2, connection_w=10**8, tokens=1_000)
    proposal = community.propose(
        community.sign(seller, ask(20_000, 10**7)), community.sign(buyer, bid(50_000, 10**7))
    )
    community.clear(proposal)
    into_c2 = 5_000_000 + 50_000  # directly and over c3, both links full
    tariffs = 15_840 * 5_000_000 + 15_840 * 50_000
    assert community.balance(community.operator) == tariffs
    assert ledger.fundNano() == (50_000 - 20_000) * into_c2 - tariffs


def test_clear__negative_price__is_paid_by_the_seller(community: Community) -> None:
    producer = community.admit(Role.PRODUCER, C3, tokens=1)
    consumer = community.admit(Role.CONSUMER, C3)
    proposal = community.propose(
        community.sign(producer, ask(-100_000, 1_000)), community.sign(consumer, bid(-50_000, 400))
    )
    community.clear(proposal)
    assert community.balance(producer) == NANO - 100_000 * 400
    assert community.balance(consumer) == 100_000 * 400


def test_clear__by_anyone__is_accepted(community: Community, closed: Call) -> None:
    cleared = events(closed.send(sender=community.outsider))[-1]
    assert cleared.values["solver"] == community.outsider.address


# ------------------------------------------------------------------------- C1 session and time


def test_clear__unknown_market__reverts(order_book: Any, closed: Call) -> None:
    with reverts(order_book.UnknownMarket, market=3):
        closed.but(market=3).send()


@pytest.mark.parametrize("off", [1, -1, 1800])
def test_clear__no_session_of_the_market__reverts(clearing: Any, closed: Call, off: int) -> None:
    start = closed.message["sessionStart"] + off
    with reverts(clearing.NotASession, sessionStart=start):
        closed.but(sessionStart=start).send()


def test_clear__before_the_first_session__reverts(
    community: Community, clearing: Any, closed: Call
) -> None:
    start = community.terms().first_session_start - HOUR
    with reverts(clearing.NotASession, sessionStart=start):
        closed.but(sessionStart=start).send()


@pytest.mark.parametrize("is_last", [True, False])
def test_clear__a_second_before_gate_closure__reverts(
    community: Community, clearing: Any, trade: Proposal, is_last: bool
) -> None:
    start = trade.session.start
    gate = trade.session.terms.gate_closure(start)
    call = Call.of(community, trade)
    community.wait_until(gate - 1)
    with reverts(clearing.GateStillOpen, market=HOURLY, sessionStart=start, gateClosure=gate):
        call.send(is_last=is_last)


@pytest.mark.parametrize("moment", ["gate_closure", "clearing_deadline"])
def test_clear__in_the_first_and_in_the_last_second__is_accepted(
    community: Community, trade: Proposal, moment: str
) -> None:
    second = getattr(trade.session.terms, moment)(trade.session.start)
    call = Call.of(community, trade)
    community.wait_until(second)
    call.send()
    assert ape.chain.blocks.head.timestamp == second


@pytest.mark.parametrize("is_last", [True, False])
def test_clear__a_second_after_the_deadline__reverts(
    community: Community, clearing: Any, trade: Proposal, is_last: bool
) -> None:
    start = trade.session.start
    deadline = trade.session.terms.clearing_deadline(start)
    call = Call.of(community, trade)
    community.wait_until(deadline + 1)
    with reverts(clearing.ClearingTooLate, market=HOURLY, sessionStart=start, deadline=deadline):
        call.send(is_last=is_last)


@pytest.mark.parametrize("is_last", [True, False])
def test_clear__twice__reverts(clearing: Any, closed: Call, is_last: bool) -> None:
    closed.send()
    start = closed.message["sessionStart"]
    with reverts(clearing.AlreadyCleared, market=HOURLY, sessionStart=start):
        closed.part_of().send(is_last=is_last)


EXCLUSIVE = 1_200


@pytest.fixture
def managed(community: Community, producer: Member, consumer: Member) -> Proposal:
    """A trade in a market whose manager, the solver, has the first word."""
    manager = community.solver.address
    terms = replace(TERMS, manager=manager, exclusive_window_seconds=EXCLUSIVE)
    market = community.chain.create_market(terms, sender=community.market_operator)
    return community.propose(
        community.sign(producer, ask(50_000, 2_000), market=market),
        community.sign(consumer, bid(100_000, 1_000), market=market),
    )


@pytest.mark.parametrize("moment", ["gate_closure", "exclusive_deadline"])
@pytest.mark.parametrize("what", ["all", "nothing", "a part"])
def test_clear__by_an_outsider_in_the_managers_window__reverts(
    community: Community, clearing: Any, managed: Proposal, moment: str, what: str
) -> None:
    terms, start = managed.session.terms, managed.session.start
    proposal = propose(managed.session, [], nodes={}) if what == "nothing" else managed
    call = Call.of(community, proposal)
    community.wait_until(getattr(terms, moment)(start))
    with reverts(
        clearing.ManagersTurn,
        market=managed.session.market,
        sessionStart=start,
        manager=community.solver.address,
        deadline=terms.exclusive_deadline(start),
    ):
        call.send(is_last=what != "a part", sender=community.outsider)


@pytest.mark.parametrize(
    ("moment", "late", "who"),
    [
        ("gate_closure", 0, "solver"),
        ("exclusive_deadline", 0, "solver"),
        ("exclusive_deadline", 1, "outsider"),
        ("clearing_deadline", 0, "outsider"),
        ("clearing_deadline", 0, "solver"),
    ],
)
def test_clear__by_whose_turn_it_is__is_accepted(
    community: Community, managed: Proposal, moment: str, late: int, who: str
) -> None:
    start = managed.session.start
    call = Call.of(community, managed)
    community.wait_until(getattr(managed.session.terms, moment)(start) + late)
    call.send(sender=getattr(community, who))
    assert community.chain.snapshot().is_cleared(managed.session.market, start)


# --------------------------------------------------------------------------------------- pause


@pytest.mark.parametrize("is_last", [True, False])
def test_clear__while_paused__reverts(
    community: Community, clearing: Any, closed: Call, is_last: bool
) -> None:
    book = community.chain.contracts.order_book
    community.send(book.pause, sender=community.guardian)
    with reverts(clearing.ClearingPaused):
        closed.send(is_last=is_last)
    community.send(book.unpause, sender=community.guardian)
    closed.send()


def test_constructor__keeps_what_it_is_given(community: Community) -> None:
    contracts = community.chain.contracts
    parts = (contracts.registry, contracts.ledger, contracts.order_book)
    made = project().Clearing.deploy(*parts, sender=community.admin.account)
    assert (made.REGISTRY(), made.LEDGER(), made.ORDER_BOOK()) == tuple(
        part.address for part in parts
    )


# --------------------------------------------------------------------------------- C2 networks


@pytest.mark.parametrize("runs", [0, 2])
def test_clear__wrong_number_of_network_runs__reverts(
    clearing: Any, closed: Call, runs: int
) -> None:
    """A period more than the session has would lie in the next one."""
    networks = closed.message["networks"] * runs
    with reverts(clearing.PeriodCountMismatch, expected=1, actual=runs):
        closed.but(networks=networks).send()


def _run(call: Call, at: int = 0, **changes: Any) -> Call:
    networks = [dict(run) for run in call.message["networks"]]
    networks[at] |= changes
    return call.but(networks=networks)


def test_clear__wrong_number_of_periods_in_a_run__reverts(clearing: Any, closed: Call) -> None:
    with reverts(clearing.PeriodCountMismatch, expected=1, actual=2):
        _run(closed, periods=2).send()


@pytest.mark.parametrize("version", [0, 2])
def test_clear__version_not_in_force__reverts(
    community: Community, closed: Call, version: int
) -> None:
    """The first version was replaced by the second; a third is not published."""
    error = community.chain.contracts.registry.NetworkNotInForce
    with reverts(error, network=1, version=version, time=closed.message["sessionStart"]):
        _run(closed, version=version).send()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tariffMicroPerKWh", 0),
        ("capacityWh", 10**9),
        ("owner", 3),
        ("source", C3),
        ("target", C2),
    ],
)
def test_clear__altered_link__reverts(clearing: Any, closed: Call, field: str, value: int) -> None:
    links = [dict(link) for link in closed.message["networks"][0]["links"]]
    links[1][field] = value
    with reverts(clearing.NetworkAltered, network=1, version=1):
        _run(closed, links=links).send()


def test_clear__link_left_out__reverts(clearing: Any, closed: Call) -> None:
    links = closed.message["networks"][0]["links"][:-1]
    with reverts(clearing.NetworkAltered, network=1, version=1):
        _run(closed, links=links).but(flows=closed.message["flows"][:-5]).send()


@pytest.fixture
def two_versions(community: Community) -> Call:
    """A session of quarter hours; for its second half the tariff of grid -> c3 doubles."""
    terms = community.terms(QUARTERS)
    start = terms.next_open_session(community.now() + NOTICE + DAY)
    dearer = replace(NETWORK.links[1], tariff_micro_per_kwh=31_680)
    network = replace(NETWORK, links=(NETWORK.links[0], dearer, *NETWORK.links[2:]))
    in_force = start + 1800
    community.chain.publish_network(1, network, sender=community.dso, effective_from=in_force)
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    community.travel_to(terms.gate_closure(start) - 100)
    steps = [bid(300_000, 100, 1), bid(300_000, 100, 2)]
    sale = [ask(100_000, 1_000, 1), ask(100_000, 1_000, 2)]
    proposal = community.propose(
        community.sign(consumer, *steps, market=QUARTERS, session=start),
        community.sign(community.supplier, *sale, market=QUARTERS, session=start),
    )
    community.close_gate(proposal)
    return Call.of(community, proposal)


def test_clear__two_versions_in_a_session__each_period_has_its_own(
    community: Community, clearing: Any, two_versions: Call
) -> None:
    runs = two_versions.message["networks"]
    assert [(run["version"], run["periods"]) for run in runs] == [(1, 2), (2, 2)]
    earned = events(two_versions.send())[:2]
    session = {"market": QUARTERS, "sessionStart": two_versions.message["sessionStart"]}
    link = session | {"owner": community.operator.peer, "link": 1, "rentNano": 0}
    assert earned == [
        event(clearing.LinkEarned, **link, tariffNano=15_840 * 100),
        event(clearing.LinkEarned, **link, tariffNano=31_680 * 100),
    ]
    assert community.balance(community.operator) == (15_840 + 31_680) * 100


@pytest.mark.parametrize(
    ("periods", "version", "late"),
    [((3, 1), 1, 1800), ((1, 3), 2, 900), ((4,), 1, 2700)],
)
def test_clear__version_of_another_period__reverts(
    community: Community,
    two_versions: Call,
    periods: tuple[int, ...],
    version: int,
    late: int,
) -> None:
    runs = two_versions.message["networks"]
    changed = [run | {"periods": count} for run, count in zip(runs, periods, strict=False)]
    error = community.chain.contracts.registry.NetworkNotInForce
    time = two_versions.message["sessionStart"] + late
    with reverts(error, network=1, version=version, time=time):
        two_versions.but(networks=changed).send()


@pytest.mark.parametrize("change", [-5, -1, 1, 5])
def test_clear__not_one_flow_per_link_and_period__reverts(
    clearing: Any, closed: Call, change: int
) -> None:
    flows = (closed.message["flows"] + b"\0" * 5)[: 20 + change]
    with reverts(clearing.FlowCountMismatch, expectedBytes=20, actualBytes=20 + change):
        closed.but(flows=flows).send()


# ------------------------------------------------------------------------------ C3 orders' list


@pytest.mark.parametrize(
    "left", [1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 63, HEAD_BYTES + 64, 143]
)
@pytest.mark.parametrize("which", [0, 2])
def test_clear__record_cut_off__reverts(clearing: Any, closed: Call, which: int, left: int) -> None:
    """In its head, its curve or its signature; at its only record or after others."""
    whole = closed.records[:which]
    assert len(closed.records[which]) == 144
    with reverts(clearing.OrdersMalformed, offset=144 * which):
        closed.ordered(*whole, closed.records[which][:left]).send()


def _held(call: Call) -> tuple[bytes, bytes]:
    """A record with supports, in front of its supports and after them."""
    record = call.records[0]
    at = HEAD_BYTES + 64
    assert (record[15], len(record)) == (1, at + 2 + SIGNATURE_BYTES)
    return record[:at], record[at + 2 :]


@pytest.fixture
def supported(community: Community) -> Call:
    """A trade whose ask holds the lowest price and whose bid holds the highest one."""
    seller = community.admit(Role.PRODUCER, C3)
    buyer = community.admit(Role.CONSUMER, C3, tokens=1)
    proposal = community.propose(
        community.sign(seller, ask(50_000, 1_000)), community.sign(buyer, bid(100_000, 1_000))
    )
    community.close_gate(proposal)
    return Call.of(community, proposal)


def test_clear__supports_of_unmarginal_orders__are_accepted(
    community: Community, supported: Call
) -> None:
    _held(supported)
    supported.send()


@pytest.mark.parametrize("highest", [0, 1])
@pytest.mark.parametrize("lane", [8, 9, 2**15 - 1])
def test_clear__support_lane_beyond_the_curve__reverts(
    clearing: Any, supported: Call, lane: int, highest: int
) -> None:
    front, back = _held(supported)
    entry = (highest << 15 | lane).to_bytes(2, "big")
    with reverts(clearing.OrdersMalformed, offset=0):
        supported.ordered(front + entry + back, supported.records[1]).send()


def test_clear__support_lane_beyond_a_later_curve__reverts(clearing: Any, supported: Call) -> None:
    first, second = supported.records
    at = HEAD_BYTES + 64
    wrong = second[:at] + (2**15 + 8).to_bytes(2, "big") + second[at + 2 :]
    with reverts(clearing.OrdersMalformed, offset=len(first)):
        supported.ordered(first, wrong).send()


@pytest.mark.parametrize("lane", range(1, 8))
def test_clear__support_lane_without_a_step__reverts(
    clearing: Any, supported: Call, lane: int
) -> None:
    front, back = _held(supported)
    with reverts(clearing.NoSupport, node=C3, period=lane):
        supported.ordered(front + lane.to_bytes(2, "big") + back, supported.records[1]).send()


def test_clear__more_supports_than_bytes__reverts(clearing: Any, supported: Call) -> None:
    first, second = supported.records
    with reverts(clearing.OrdersMalformed, offset=len(first)):
        supported.ordered(first, second[:15] + b"\xff" + second[16:]).send()


@pytest.mark.parametrize("kind", [3, 0x80, 0xFF])
def test_clear__order_of_an_unknown_kind__reverts(clearing: Any, closed: Call, kind: int) -> None:
    first, second, third = closed.records
    with reverts(clearing.OrdersMalformed, offset=144):
        closed.ordered(first, bytes([kind]) + second[1:], third).send()


def test_clear__order_of_peer_0__reverts(clearing: Any, closed: Call) -> None:
    first = closed.records[0]
    with reverts(clearing.OrdersMalformed, offset=0):
        closed.ordered(first[:1] + bytes(4) + first[5:]).send()


@pytest.mark.parametrize("at", [11, 13], ids=["blocks", "rows"])
@pytest.mark.parametrize("count", [0, 2, 0xFFFF])
def test_clear__order_without_a_curve_or_with_more_than_there_is__reverts(
    clearing: Any, closed: Call, at: int, count: int
) -> None:
    last = closed.records[2]
    changed = last[:at] + count.to_bytes(2, "big") + last[at + 2 :]
    with reverts(clearing.OrdersMalformed, offset=288):
        closed.ordered(*closed.records[:2], changed).send()


@pytest.mark.parametrize("is_last", [True, False])
def test_clear__orders_not_sorted_by_peer__reverts(
    clearing: Any, closed: Call, producer: Member, is_last: bool
) -> None:
    supplier, seller, buyer = closed.records
    with reverts(clearing.OrdersUnsorted, peer=producer.peer, nonce=0):
        closed.ordered(supplier, buyer, seller).send(is_last=is_last)


def test_clear__orders_not_sorted_by_nonce__reverts(
    community: Community, clearing: Any, consumer: Member
) -> None:
    proposal = community.propose(
        community.sign(consumer, bid(10_000, 1), nonce=3),
        community.sign(consumer, bid(10_000, 1), nonce=4),
    )
    community.close_gate(proposal)
    call = Call.of(community, proposal)
    with reverts(clearing.OrdersUnsorted, peer=consumer.peer, nonce=3):
        call.ordered(*call.records[::-1]).send()


def test_clear__order_twice__reverts(clearing: Any, closed: Call, producer: Member) -> None:
    supplier, seller, buyer = closed.records
    with reverts(clearing.OrdersUnsorted, peer=producer.peer, nonce=0):
        closed.ordered(supplier, seller, seller, buyer).send()


def test_clear__two_orders_of_a_peer_with_one_nonce__reverts(
    community: Community, clearing: Any, closed: Call, consumer: Member, trade: Proposal
) -> None:
    other = community.sign(consumer, bid(10_000, 1), session=trade.session.start)
    record = Call.of(community, _alone(community, other)).records[0]
    with reverts(clearing.OrdersUnsorted, peer=consumer.peer, nonce=0):
        closed.ordered(*closed.records, record).send()


def test_clear__no_roster_named__reverts(clearing: Any, closed: Call) -> None:
    with reverts(clearing.RosterMissing, page=0):
        closed.with_rosters().send()


@pytest.fixture
def two_pages(community: Community, producer: Member) -> Call:
    """A buyer who is the first peer of the second roster page, and a seller of the first page."""
    while community.chain.contracts.registry.peerCount() < PAGE_PEERS:
        wallet, meter = (Account.create().address for _ in range(2))
        admit(community, wallet, connection(meter=meter))
    buyer = community.admit(Role.CONSUMER, C3, tokens=1)
    assert buyer.peer == PAGE_PEERS + 1
    proposal = community.propose(
        community.sign(producer, ask(50_000, 2_000)), community.sign(buyer, bid(200_000, 1_000))
    )
    community.close_gate(proposal)
    return Call.of(community, proposal)


def test_clear__peers_of_two_roster_pages__are_accepted(
    community: Community, two_pages: Call
) -> None:
    assert two_pages.part["rosters"] == [0, 0]
    first, second = two_pages.records
    sent = two_pages.ordered(first).with_rosters(0).send(is_last=False)
    two_pages.ordered(second).with_rosters(0).send(carried(sent))
    assert community.chain.snapshot().is_cleared(HOURLY, two_pages.message["sessionStart"])


def test_clear__peers_of_two_roster_pages_in_one_part__are_accepted(
    community: Community, two_pages: Call
) -> None:
    two_pages.send()
    assert community.chain.snapshot().is_cleared(HOURLY, two_pages.message["sessionStart"])


def test_clear__one_of_two_rosters_named__reverts(clearing: Any, two_pages: Call) -> None:
    with reverts(clearing.RosterMissing, page=1):
        two_pages.with_rosters(0).send()


@pytest.mark.parametrize("index", [1, 2**31])
def test_clear__roster_that_is_not_published__reverts(
    community: Community, closed: Call, index: int
) -> None:
    error = community.chain.contracts.registry.RosterNotInForce
    with reverts(error, page=0, index=index, time=closed.message["sessionStart"]):
        closed.with_rosters(index).send()


# ------------------------------------------------------------------------ C4 who and which side


def _bare(record: bytes) -> bytes:
    """A record of a signed order without its supports."""
    curve = record[HEAD_BYTES : len(record) - SIGNATURE_BYTES - 2 * record[15]]
    return record[:15] + b"\0" + curve + record[-SIGNATURE_BYTES:]


def _with(call: Call, signed: SignedOrder, node: int = C3) -> Call:
    """Bring one more order, where it belongs by peer and nonce; it holds no price."""
    one = Call.of(call.community, _alone(call.community, signed, node))
    return replace(one, message=call.message).ordered(
        *sorted([*call.records, *map(_bare, one.records)], key=lambda record: record[1:9])
    )


def test_clear__order_of_nobody__reverts(
    community: Community, clearing: Any, closed: Call, consumer: Member
) -> None:
    """Of a page that others are on."""
    start = closed.message["sessionStart"]
    nobody = community.sign(replace(consumer, peer=50), bid(10_000, 1), session=start)
    with reverts(clearing.PeerNotInMarket, peer=50):
        _with(closed, nobody).send()


@pytest.mark.parametrize("how", [suspend, leave])
def test_clear__order_of_a_peer_that_is_suspended_or_left__reverts(
    community: Community, clearing: Any, how: Any
) -> None:
    member = community.admit(Role.CONSUMER, C3)
    how(community, member)
    community.travel_to(community.now() + NOTICE + HOUR)
    proposal = community.propose(community.sign(member, bid(10_000, 1)))
    with reverts(clearing.PeerNotInMarket, peer=member.peer):
        community.clear(proposal)


def test_clear__order_of_a_peer_on_another_network__reverts(
    community: Community, clearing: Any, trade: Proposal
) -> None:
    network = community.chain.create_network(replace(NETWORK, links=()), sender=community.dso)
    foreigner = community.admit(Role.CONSUMER, C3, network=network)
    signed = community.sign(foreigner, bid(10_000, 1))
    community.close_gate(trade)
    with reverts(clearing.PeerNotInMarket, peer=foreigner.peer):
        _with(Call.of(community, trade), signed).send()


@pytest.mark.parametrize(
    ("role", "sells"),
    [
        (Role.CONSUMER, True),
        (Role.PRODUCER, False),
        (Role.OPERATOR, True),
        (Role.OPERATOR, False),
    ],
)
@pytest.mark.parametrize("is_last", [True, False])
def test_clear__trade_on_a_side_that_the_role_does_not_have__reverts(
    community: Community, clearing: Any, role: Role, sells: bool, is_last: bool
) -> None:
    peer = community.admit(role, C3, tokens=1)
    other = community.admit(Role.PROSUMER, C3, tokens=1)
    seller, buyer = (peer, other) if sells else (other, peer)
    proposal = community.propose(
        community.sign(seller, ask(50_000, 1_000)), community.sign(buyer, bid(100_000, 1_000))
    )
    community.close_gate(proposal)
    sides = {"sells": sells, "buys": not sells}
    with reverts(clearing.SideNotAllowed, peer=peer.peer, role=int(role), **sides):
        Call.of(community, proposal).send(is_last=is_last)


@pytest.mark.parametrize(
    ("role", "step"),
    [
        (Role.CONSUMER, ask(3_000_000, 10)),
        (Role.PRODUCER, bid(-400_000, 10)),
        (Role.OPERATOR, ask(3_000_000, 10)),
        (Role.OPERATOR, bid(-400_000, 10)),
    ],
)
def test_clear__order_on_another_side_that_does_not_trade__is_accepted(
    community: Community, closed: Call, role: Role, step: Step
) -> None:
    peer = community.admit(role, C3)
    # The record is in force from now on; the session is still ahead.
    signed = community.sign(peer, step, session=closed.message["sessionStart"])
    _with(closed, signed).send()


def test_clear__both_sides_of_a_consumer_cancel_out__is_accepted(
    community: Community, consumer: Member
) -> None:
    """What it sells it buys itself: of what it trades with others nothing is sold."""
    proposal = community.propose(
        community.sign(community.supplier, ask(120_000, 100_000)),
        community.sign(consumer, bid(200_000, 3_000), ask(10_000, 1_000)),
    )
    community.clear(proposal)
    assert proposal.positions_wh[consumer.peer] == (-2_000,)
    assert community.balance(consumer) == NANO - 135_840 * 2_000


# ------------------------------------------------------------------------------ C4 signatures


def _refused_signer(clearing: Any, signed: SignedOrder, signer: str) -> Any:
    order = signed.order
    names = {"peer": order.peer, "nonce": order.nonce, "signer": signer}
    return reverts(clearing.OrderSignerMismatch, **names)


@pytest.mark.parametrize("is_last", [True, False])
def test_clear__order_signed_by_another_key__reverts(
    community: Community,
    clearing: Any,
    closed: Call,
    consumer: Member,
    producer: Member,
    is_last: bool,
) -> None:
    start = closed.message["sessionStart"]
    order = community.order(consumer, bid(10_000, 1), nonce=1, session=start)
    signed = order.signed_by(producer.key, community.chain.order_domain)
    with _refused_signer(clearing, signed, producer.wallet.address):
        _with(closed, signed).send(is_last=is_last)


@pytest.mark.parametrize(
    "changes",
    [{"market": QUARTERS}, {"session_start": HOUR}, {"nonce": 2}, {"steps": (bid(20_000, 1),)}],
    ids=lambda changes: next(iter(changes)),
)
def test_clear__signature_over_another_order__reverts(
    community: Community, clearing: Any, closed: Call, consumer: Member, changes: dict[str, Any]
) -> None:
    start = closed.message["sessionStart"]
    order = community.order(consumer, bid(10_000, 1), nonce=1, session=start)
    if "session_start" in changes:
        changes = {"session_start": start + HOUR}
    signature = replace(order, **changes).signed_by(consumer.key, community.chain.order_domain)
    forged = SignedOrder(order, signature.signature)
    with _refused_signer(clearing, forged, forged.signer(community.chain.order_domain)):
        _with(closed, forged).send()


HIGHEST_LOW_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("s", [HIGHEST_LOW_S + 1, 2**255 - 1, 0])
def test_clear__signature_with_a_high_s_or_none__is_nobodys(
    clearing: Any, closed: Call, trade: Proposal, s: int, odd: int
) -> None:
    last = closed.records[-1]
    vs = (odd << 255 | s).to_bytes(32, "big")
    with _refused_signer(clearing, trade.orders[-1], NOBODY):
        closed.ordered(*closed.records[:-1], last[:-32] + vs).send()


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_clear__no_signature_at_all__reverts(
    clearing: Any, closed: Call, trade: Proposal, byte: bytes
) -> None:
    """Nor is the signature that stands for nobody one of a peer without a wallet."""
    last = closed.records[-1]
    with _refused_signer(clearing, trade.orders[-1], NOBODY):
        closed.ordered(*closed.records[:-1], last[:-SIGNATURE_BYTES] + byte * 64).send()


@pytest.fixture
def code(community: Community) -> Any:
    """An ERC-1271 wallet that accepts what the outsider signs."""
    return project().ContractWallet.deploy(
        community.outsider.address, sender=community.admin.account
    )


def test_clear__order_that_an_erc_1271_wallet_accepts__reverts_unless_it_is_placed(
    community: Community, clearing: Any, producer: Member, code: Any
) -> None:
    receipt = admit(community, code.address, connection(Role.CONSUMER))
    owner = Member(int(receipt.events[-1].peer), community.outsider, producer.meter, C3)
    community.deposit(owner, NANO)
    sale = community.sign(producer, ask(50_000, 4_000))
    signed = community.sign(owner, bid(200_000, 1_000))
    before = ape.chain.snapshot()
    with _refused_signer(clearing, signed, community.outsider.address):
        community.clear(community.propose(sale, signed))
    ape.chain.restore(before)
    community.place(signed)
    community.clear(community.propose(sale, placed=[_unsigned(signed)]))
    assert community.balance(owner) == NANO - 71_600 * 1_000


def test_clear__placed_order_with_a_signature_its_wallets_code_accepts__reverts(
    community: Community, clearing: Any, producer: Member, code: Any
) -> None:
    """Whoever brings a signature is held to it; a placed order needs none."""
    receipt = admit(community, code.address, connection(Role.CONSUMER))
    owner = Member(int(receipt.events[-1].peer), community.outsider, producer.meter, C3)
    community.deposit(owner, NANO)
    signed = community.sign(owner, bid(200_000, 1_000))
    community.place(signed)
    with _refused_signer(clearing, signed, community.outsider.address):
        community.clear(community.propose(signed))


@pytest.mark.parametrize("accepts", [True, False])
def test_clear__order_of_an_eip_7702_account__is_its_keys_whatever_its_code_says(
    community: Community, clearing: Any, consumer: Member, code: Any, accepts: bool
) -> None:
    """Its code accepts the outsider's signature, and no other."""
    outsider = community.outsider
    assert outsider.key is not None
    consumer.wallet.account.set_delegate(code, receiver=outsider.address)
    order = community.order(consumer, bid(200_000, 1_000))
    by_key, by_code = (
        order.signed_by(key, community.chain.order_domain) for key in (consumer.key, outsider.key)
    )
    if not accepts:
        wallet = project().ContractWallet.at(consumer.wallet.address)
        community.send(wallet.setAccepts, False, sender=outsider)
    with _refused_signer(clearing, by_code, outsider.address):
        community.clear(community.propose(by_code))
    community.clear(community.propose(by_key))


@pytest.mark.parametrize("all_at_once", [False, True])
@pytest.mark.parametrize("is_last", [True, False])
def test_clear__cancelled_order__reverts(
    community: Community,
    order_book: Any,
    trade: Proposal,
    consumer: Member,
    all_at_once: bool,
    is_last: bool,
) -> None:
    cancel = order_book.cancelAll if all_at_once else order_book.cancel
    bound = 1 if all_at_once else 0
    community.send(cancel, HOURLY, trade.session.start, bound, sender=consumer.wallet)
    community.close_gate(trade)
    with reverts(order_book.OrderIsCancelled, peer=consumer.peer, nonce=0):
        Call.of(community, trade).send(is_last=is_last)


def test_clear__other_orders_than_the_cancelled_one__are_accepted(
    community: Community, order_book: Any, trade: Proposal, consumer: Member
) -> None:
    start = trade.session.start
    community.send(order_book.cancel, HOURLY, start, 1, sender=consumer.wallet)
    community.clear(trade)
    assert tuple(order_book.sessionState(HOURLY, start)) == (0, True, True)


# ---------------------------------------------------------------------------- C5 placed orders


@pytest.fixture
def placed(community: Community, consumer: Member) -> SignedOrder:
    """The consumer's bid, placed on chain."""
    signed = community.sign(consumer, bid(200_000, 3_000))
    community.place(signed)
    return signed


@pytest.fixture
def sale(community: Community, producer: Member) -> SignedOrder:
    return community.sign(producer, ask(50_000, 4_000))


@pytest.mark.parametrize("by_flag", [True, False])
def test_clear__placed_order__frees_its_lock(
    community: Community,
    order_book: Any,
    ledger: Any,
    placed: SignedOrder,
    sale: SignedOrder,
    consumer: Member,
    by_flag: bool,
) -> None:
    """Marked as placed or with its signature."""
    brought = _unsigned(placed) if by_flag else placed
    proposal = community.propose(sale, placed=[brought])
    session = {"market": HOURLY, "sessionStart": proposal.session.start}
    emitted = events(community.clear(proposal))
    assert emitted[1:3] == [
        event(order_book.OrdersTaken, **session, placed=1),
        event(ledger.Unlocked, peer=consumer.peer, amountNano=200_000 * 3_000),
    ]
    assert emitted[-1].values["ordersHash"] == orders_hash(proposal)
    assert ledger.account(consumer.peer).lockedNano == 0
    assert community.balance(consumer) == NANO - 71_600 * 3_000
    assert tuple(order_book.sessionState(*session.values())) == (1, False, True)


def test_clear__without_a_placed_order__reverts(
    community: Community, order_book: Any, placed: SignedOrder, sale: SignedOrder
) -> None:
    with reverts(order_book.PlacedOrdersMissing, placed=1, taken=0):
        community.clear(community.propose(sale))


def test_clear__with_one_of_two_placed_orders__reverts(
    community: Community, order_book: Any, placed: SignedOrder, sale: SignedOrder
) -> None:
    community.place(sale)
    with reverts(order_book.PlacedOrdersMissing, placed=2, taken=1):
        community.clear(community.propose(placed=[_unsigned(placed)]))


def test_clear__nothing_though_an_order_is_placed__reverts(
    community: Community, order_book: Any, placed: SignedOrder
) -> None:
    empty = propose(community.session(placed.order.session_start), [], nodes={})
    with reverts(order_book.PlacedOrdersMissing, placed=1, taken=0):
        community.clear(empty)


def test_clear__placed_order_altered__reverts(
    community: Community, order_book: Any, placed: SignedOrder, consumer: Member
) -> None:
    altered = SignedOrder(replace(placed.order, steps=(bid(200_000, 2_999),)), b"")
    with reverts(order_book.OrderNotPlaced, peer=consumer.peer, nonce=0):
        community.clear(community.propose(placed=[altered]))


def test_clear__other_signed_order_under_the_nonce_of_a_placed_one__reverts(
    community: Community, order_book: Any, placed: SignedOrder, consumer: Member
) -> None:
    proposal = community.propose(community.sign(consumer, bid(150_000, 10)))
    with reverts(order_book.NonceTaken, peer=consumer.peer, nonce=0):
        community.clear(proposal)


@pytest.mark.parametrize("session_has", ["nothing", "a placed order", "a cancelled order"])
@pytest.mark.parametrize("is_last", [True, False])
def test_clear__order_marked_as_placed_that_is_not__reverts(
    community: Community,
    order_book: Any,
    sale: SignedOrder,
    consumer: Member,
    producer: Member,
    session_has: str,
    is_last: bool,
) -> None:
    """Nor does its signature help it that nobody asks for."""
    unsigned = _unsigned(community.sign(consumer, bid(150_000, 10)))
    start = sale.order.session_start
    if session_has == "a placed order":
        community.place(sale)
    elif session_has == "a cancelled order":
        community.send(order_book.cancel, HOURLY, start, 9, sender=producer.wallet)
    proposal = community.propose(unsigned, sale)
    community.close_gate(proposal)
    with reverts(order_book.OrderNotPlaced, peer=consumer.peer, nonce=0):
        Call.of(community, proposal).send(is_last=is_last)


def test_clear__placed_and_signed_orders_of_a_peer__are_both_taken(
    community: Community, placed: SignedOrder, sale: SignedOrder, consumer: Member
) -> None:
    more = community.sign(consumer, bid(100_000, 500), nonce=1)
    community.clear(community.propose(more, sale, placed=[_unsigned(placed)]))
    assert community.balance(consumer) == NANO - 71_600 * 3_500


def test_clear__cancelled_placed_order__is_not_missed(
    community: Community,
    order_book: Any,
    placed: SignedOrder,
    sale: SignedOrder,
    consumer: Member,
) -> None:
    community.send(order_book.cancel, HOURLY, placed.order.session_start, 0, sender=consumer.wallet)
    community.clear(community.propose(sale))


def test_clear__cancelled_placed_order_presented__reverts(
    community: Community, order_book: Any, placed: SignedOrder, consumer: Member
) -> None:
    community.send(order_book.cancel, HOURLY, placed.order.session_start, 0, sender=consumer.wallet)
    with reverts(order_book.OrderIsCancelled, peer=consumer.peer, nonce=0):
        community.clear(community.propose(placed=[_unsigned(placed)]))


# -------------------------------------------------------------------------------------- C6 proof
# What a clearing proves is held against Python in `test_clearing_proof`; here is asked only that
# `clear` does ask for it, at the prices, orders and flows that it was given.


def _put(data: bytes, at: int, value: int, size: int) -> bytes:
    return data[:at] + (value % 256**size).to_bytes(size, "big") + data[at + size :]


@pytest.mark.parametrize("change", [-96, -1, 1, 96])
def test_clear__not_three_words_per_cell__reverts(clearing: Any, closed: Call, change: int) -> None:
    cells = (closed.message["cells"] + bytes(96))[: 288 + change]
    with reverts(clearing.CellsMalformed, expectedBytes=288, actualBytes=288 + change):
        closed.but(cells=cells).send()


@pytest.mark.parametrize("node", [GRID, C2, C3])
@pytest.mark.parametrize("low", [-500_001, 4_000_001])
def test_clear__price_beyond_floor_or_cap__reverts(
    clearing: Any, closed: Call, node: int, low: int
) -> None:
    cells = _put(closed.message["cells"], 96 * node, low, 4)
    prices = {"low": low, "high": low}
    with reverts(clearing.PriceOutOfBounds, node=node, period=0, **prices):
        closed.but(cells=cells).send()


def test_clear__details_cut_off__reverts(clearing: Any, closed: Call) -> None:
    details = closed.message["details"]
    with reverts(clearing.DetailsMalformed, offset=0):
        closed.but(details=details[:9]).send()


@pytest.mark.parametrize("link", range(4))
def test_clear__flow_above_capacity__reverts(clearing: Any, closed: Call, link: int) -> None:
    capacity = NETWORK.links[link].capacity_wh
    flows = _put(closed.message["flows"], 5 * link, capacity + 1, 5)
    energy = {"flowWh": capacity + 1, "capacityWh": capacity}
    with reverts(clearing.FlowAboveCapacity, link=link, period=0, **energy):
        closed.but(flows=flows).send()


@pytest.mark.parametrize("link", [0, 3])
def test_clear__flow_that_does_not_pay__reverts(clearing: Any, closed: Call, link: int) -> None:
    flows = _put(closed.message["flows"], 5 * link, 1, 5)
    with reverts(clearing.FlowNotImplied, link=link, period=0, flowWh=1):
        closed.but(flows=flows).send()


@pytest.mark.parametrize(
    ("link", "change", "node", "surplus"),
    [(1, 1, GRID, -1), (1, -1, GRID, 1), (2, 1, C2, -1), (2, -1, C2, 1)],
)
def test_clear__flow_changed_by_a_watt_hour__reverts(
    clearing: Any, closed: Call, link: int, change: int, node: int, surplus: int
) -> None:
    flow = (0, 1_000, 2_000, 0)[link] + change
    flows = _put(closed.message["flows"], 5 * link, flow, 5)
    with reverts(clearing.NodeUnbalanced, node=node, period=0, surplusWh=surplus):
        closed.but(flows=flows).send()


def test_clear__step_for_a_period_the_session_does_not_have__reverts(
    community: Community, clearing: Any, closed: Call, consumer: Member
) -> None:
    session = closed.message["sessionStart"]
    order = community.order(consumer, bid(10_000, 1, period=1), nonce=1, session=session)
    signed = order.signed_by(consumer.key, community.chain.order_domain)
    twin = community.sign(consumer, bid(10_000, 1), nonce=1, session=session)
    record = _bare(Call.of(community, _alone(community, twin)).records[0])
    signature = signed.signature
    odd = signature[64] - 27
    compact = signature[:32] + bytes([signature[32] | odd << 7]) + signature[33:64]
    later = record[:HEAD_BYTES] + order.curve[2] + compact
    with reverts(clearing.UnknownPeriod, period=1):
        closed.ordered(*closed.records, later).send()


def test_clear__more_energy_than_the_connection_carries__reverts(
    community: Community, clearing: Any
) -> None:
    consumer = community.admit(Role.CONSUMER, C3, connection_w=1_000, tokens=1)
    proposal = community.propose(
        community.sign(community.supplier, ask(120_000, 100_000)),
        community.sign(consumer, bid(200_000, 1_001)),
    )
    with reverts(clearing.EnergyAboveConnection, block_=0, limitWh=1_000):
        community.clear(proposal)


# ----------------------------------------------------------------------------- C7 everybody pays

COST = 135_840 * 1_000  # what a kWh from the grid costs at C3


@pytest.fixture
def broke(community: Community) -> Member:
    """A consumer without money."""
    return community.admit(Role.CONSUMER, C3)


@pytest.fixture
def purchase(community: Community, broke: Member) -> Proposal:
    return community.propose(
        community.sign(community.supplier, ask(120_000, 100_000)),
        community.sign(broke, bid(200_000, 1_000)),
    )


@pytest.mark.parametrize("means", [0, 1, COST - 1])
def test_clear__peer_that_cannot_pay__reverts(
    community: Community, ledger: Any, broke: Member, purchase: Proposal, means: int
) -> None:
    if means:
        community.deposit(broke, means)
    with reverts(ledger.InsufficientFunds, peer=broke.peer, neededNano=COST, availableNano=means):
        community.clear(purchase)
    assert not community.chain.snapshot().is_cleared(HOURLY, purchase.session.start)


def test_clear__peer_with_just_enough__is_accepted(
    community: Community, broke: Member, purchase: Proposal
) -> None:
    community.deposit(broke, COST)
    community.clear(purchase)
    assert community.balance(broke) == 0


def test_clear__money_deposited_after_gate_closure__counts(
    community: Community, broke: Member, purchase: Proposal
) -> None:
    community.close_gate(purchase)
    community.deposit(broke, COST)
    community.clear(purchase)


def test_clear__peer_with_credit__goes_below_zero(
    community: Community, ledger: Any, broke: Member, purchase: Proposal
) -> None:
    community.send(ledger.depositToFund, COST, sender=community.treasury)
    community.send(ledger.setCredit, broke.peer, COST, sender=community.fund_manager)
    community.clear(purchase)
    assert community.balance(broke) == -COST


def test_clear__withdrawal_requested_before_gate_closure__cannot_pay(
    community: Community, ledger: Any, broke: Member, purchase: Proposal
) -> None:
    community.deposit(broke, COST)
    community.wait_until(purchase.session.terms.gate_closure(purchase.session.start) - 1)
    community.send(ledger.requestWithdrawal, 1, sender=broke.wallet)
    names = {"peer": broke.peer, "neededNano": COST, "availableNano": COST - 1}
    with reverts(ledger.InsufficientFunds, **names):
        community.clear(purchase)


def test_clear__withdrawal_requested_at_gate_closure__pays(
    community: Community, ledger: Any, broke: Member, purchase: Proposal
) -> None:
    community.deposit(broke, COST)
    community.wait_until(purchase.session.terms.gate_closure(purchase.session.start))
    community.send(ledger.requestWithdrawal, COST, sender=broke.wallet)
    community.clear(purchase)
    assert community.balance(broke) == 0


def test_clear__without_the_order_that_nobody_pays__is_accepted(
    community: Community, ledger: Any, broke: Member, purchase: Proposal
) -> None:
    names = {"peer": broke.peer, "neededNano": COST, "availableNano": 0}
    with reverts(ledger.InsufficientFunds, **names):
        community.clear(purchase)
    kept = [signed for signed in purchase.orders if signed.order.peer != broke.peer]
    community.clear(community.propose(*kept))
    assert community.chain.snapshot().is_cleared(HOURLY, purchase.session.start)


# -------------------------------------------------------------------------------- solver's fee

FEE = 5_000


@pytest.fixture
def rewarded(community: Community, producer: Member, consumer: Member) -> Proposal:
    """A trade at C3 and C2 in a market that pays a fee, which the operator is to receive."""
    terms = replace(TERMS, solver_fee_nano=FEE)
    market = community.chain.create_market(terms, sender=community.market_operator)
    proposal = community.propose(
        community.sign(producer, ask(50_000, 2_000), market=market),
        community.sign(consumer, bid(100_000, 1_000), market=market),
    )
    return replace(proposal, fee_to=community.operator.peer)


@pytest.mark.parametrize("fund", [1, FEE - 1, FEE, 3 * FEE])
def test_clear__solver_fee__is_paid_from_the_fund_as_far_as_it_goes(
    community: Community, ledger: Any, rewarded: Proposal, fund: int
) -> None:
    community.send(ledger.depositToFund, fund, sender=community.treasury)
    emitted = events(community.clear(rewarded))
    paid = min(fund, FEE)
    operator = community.operator
    assert emitted[-2] == event(ledger.SolverPaid, account=operator.peer, amountNano=paid)
    assert emitted[-1].values["feeNano"] == paid
    assert community.balance(operator) == 21_600 * 1_000 + paid
    assert ledger.fundNano() == fund - paid


def test_clear__solver_fee_without_a_fund__is_not_paid(
    community: Community, ledger: Any, rewarded: Proposal
) -> None:
    emitted = events(community.clear(rewarded))
    assert "SolverPaid" not in [each.name for each in emitted]
    assert emitted[-1].values["feeNano"] == 0
    assert community.balance(community.operator) == 21_600 * 1_000


def test_clear__solver_fee__leaves_what_the_fund_lends(
    community: Community, ledger: Any, rewarded: Proposal, consumer: Member
) -> None:
    community.send(ledger.depositToFund, FEE, sender=community.treasury)
    community.send(ledger.setCredit, consumer.peer, FEE - 7, sender=community.fund_manager)
    assert events(community.clear(rewarded))[-1].values["feeNano"] == 7


def test_clear__solver_fee_that_nobody_wants__stays_in_the_fund(
    community: Community, ledger: Any, rewarded: Proposal
) -> None:
    community.send(ledger.depositToFund, FEE, sender=community.treasury)
    emitted = events(community.clear(replace(rewarded, fee_to=0)))
    assert "SolverPaid" not in [each.name for each in emitted]
    assert (emitted[-1].values["feeNano"], ledger.fundNano()) == (0, FEE)


def test_clear__market_without_a_fee__pays_none(
    community: Community, ledger: Any, trade: Proposal
) -> None:
    community.send(ledger.depositToFund, FEE, sender=community.treasury)
    receipt = community.clear(trade, feeTo=community.operator.peer)
    assert events(receipt)[-1].values["feeNano"] == 0
    assert ledger.fundNano() == FEE


def test_clear__solver_fee__is_paid_from_the_rent_of_the_session_itself(
    community: Community, ledger: Any
) -> None:
    terms = replace(TERMS, solver_fee_nano=FEE)
    market = community.chain.create_market(terms, sender=community.market_operator)
    seller = community.admit(Role.PRODUCER, C3)
    buyer = community.admit(Role.CONSUMER, C2, tokens=10)
    proposal = community.propose(
        community.sign(seller, ask(20_000, 200_000), market=market),
        community.sign(buyer, bid(100_000, 100_000), market=market),
    )
    emitted = events(community.clear(replace(proposal, fee_to=seller.peer)))
    assert emitted[-1].values["feeNano"] == FEE
    assert ledger.fundNano() == 80_000 * 50_000 - FEE


def test_clear__solver_fee_of_a_clearing_in_parts__is_paid_once(
    community: Community, ledger: Any, rewarded: Proposal
) -> None:
    community.send(ledger.depositToFund, 3 * FEE, sender=community.treasury)
    community.close_gate(rewarded)
    call = Call.of(community, rewarded)
    first, last = call.send_parts(call.records[:1], call.records[1:])
    assert [each.name for each in events(first)] == ["PartAccepted"]
    assert events(last)[-1].values["feeNano"] == FEE
    assert ledger.fundNano() == 2 * FEE


# -------------------------------------------------------------------------------- C8 in parts


@pytest.fixture
def busy(community: Community, producer: Member, consumer: Member) -> Call:
    """Equal bids that share what there is, placed orders, supports, and peers at every node."""
    second = community.admit(Role.PROSUMER, C3, tokens=1)
    third = community.admit(Role.STORAGE, C3, tokens=1)
    market = {"market": QUARTERS}
    placed = [
        community.sign(consumer, bid(90_000, 1_000), bid(300_000, 10, 2), **market),
        community.sign(third, bid(90_000, 777), bid(90_000, 5, 3), **market),
    ]
    for signed in placed:
        community.place(signed)
    proposal = community.propose(
        community.sign(community.supplier, ask(250_000, 5, 2), **market),
        community.sign(producer, ask(50_000, 1_500), ask(60_000, 20, 3), **market),
        community.sign(second, bid(90_000, 333), ask(40_000, 7, 1), nonce=1, **market),
        community.sign(second, bid(80_000, 7, 1), nonce=2, **market),
        placed=[_unsigned(signed) for signed in placed],
    )
    community.close_gate(proposal)
    return Call.of(community, proposal)


def _outcome(community: Community, call: Call) -> tuple[Any, ...]:
    contracts = community.chain.contracts
    session = (call.message["market"], call.message["sessionStart"])
    peers = range(1, contracts.registry.peerCount() + 1)
    accounts = [contracts.ledger.account(peer) for peer in peers]
    return (
        bytes(contracts.clearing.positionsHash(*session)),
        bytes(contracts.clearing.ordersHash(*session)),
        tuple(contracts.order_book.sessionState(*session)),
        contracts.ledger.fundNano(),
        [(account.balanceNano, account.lockedNano) for account in accounts],
    )


def _cut(call: Call, *places: int) -> list[list[bytes]]:
    """The records in parts that end where `places` say."""
    ends = [0, *places, len(call.records)]
    return [call.records[first:last] for first, last in pairwise(ends)]


# Records by peer: the supplier, the producer, the consumer, the prosumer's two, the storage.
@pytest.mark.parametrize(
    "places",
    [(1,), (2,), (3,), (5,), (1, 3), (2, 3), (3, 5), (0, 6), (2, 2), (1, 2, 3, 5)],
    ids=str,
)
def test_clear__in_parts__comes_to_the_same_as_in_one(
    community: Community, clearing: Any, busy: Call, places: tuple[int, ...]
) -> None:
    """A part may be empty, the first and the last one too."""
    assert len(busy.records) == 6
    start = busy.message["sessionStart"]
    fresh = ape.chain.snapshot()
    whole = events(busy.send())
    expected = _outcome(community, busy)
    ape.chain.restore(fresh)
    *earlier, last = busy.send_parts(*_cut(busy, *places))
    assert _outcome(community, busy) == expected
    assert events(last) == whole
    assert whole[-1].values["orders"] == 6
    for receipt in earlier:
        (accepted,) = events(receipt)
        assert accepted.name == "PartAccepted"
        assert accepted.values["solver"] == community.solver.address
        assert (accepted.values["market"], accepted.values["sessionStart"]) == (QUARTERS, start)


def test_clear__part_that_is_not_the_last__books_nothing(
    community: Community, clearing: Any, busy: Call
) -> None:
    start = busy.message["sessionStart"]
    solver = community.solver.address
    before = _outcome(community, busy)
    assert clearing.draft(solver, QUARTERS, start) == bytes(32)
    busy.send(is_last=False)
    assert _outcome(community, busy) == before
    assert clearing.draft(solver, QUARTERS, start) != bytes(32)
    assert clearing.draft(solver, HOURLY, start) == bytes(32)
    assert clearing.draft(community.outsider.address, QUARTERS, start) == bytes(32)


def _types(abi: Any) -> str:
    return str(abi.canonical_type)


def _digest(clearing: Any, message: dict[str, Any], left: dict[str, Any]) -> bytes:
    """What a draft is held to: keccak256(abi.encode(keccak256(abi.encode(proposal)), carried))."""
    links = [
        (run["version"], run["periods"], [tuple(link.values()) for link in run["links"]])
        for run in message["networks"]
    ]
    proposal = tuple((message | {"networks": links}).values())
    method = clearing.contract_type.mutable_methods["clear"]
    kind, _, before, _ = (_types(field) for field in method.inputs)
    hashed = keccak(encode([kind], [proposal]))
    return keccak(encode(["bytes32", before], [hashed, tuple(left.values())]))


ALTERED = {
    "sums": lambda left: left["sums"][:-1] + bytes([left["sums"][-1] ^ 1]),
    "payments": lambda left: left["payments"][:-1],
    "unlocks": lambda left: [*left["unlocks"], 3 << 224 | 1],
    "positionsHash": lambda left: bytes(31) + b"\1",
    "ordersHash": lambda left: bytes(31) + b"\1",
    "orders": lambda left: left["orders"] + 1,
    "placed": lambda left: left["placed"] + 1,
    "lastOrder": lambda left: 0,
}


@pytest.mark.parametrize("field", list(ALTERED))
def test_clear__what_was_carried_altered__reverts(clearing: Any, busy: Call, field: str) -> None:
    first, second = _cut(busy, 3)
    left = carried(busy.part_of(*first).send(is_last=False))
    altered = left | {field: ALTERED[field](left)}
    names = {
        "expected": _digest(clearing, busy.message, left),
        "actual": _digest(clearing, busy.message, altered),
    }
    with reverts(clearing.NotTheDraft, **names):
        busy.part_of(*second).send(altered)
    busy.part_of(*second).send(left)


@pytest.mark.parametrize("field", ["feeTo", "cells", "flows", "details"])
def test_clear__proposal_altered_between_the_parts__reverts(
    clearing: Any, busy: Call, field: str
) -> None:
    first, second = _cut(busy, 3)
    left = carried(busy.part_of(*first).send(is_last=False))
    old = busy.message
    if field == "feeTo":
        new: Any = 2
    elif field == "flows":
        new = _put(old["flows"], 0, 1, 5)
    elif field == "details":
        new = _put(old["details"], 2, 1, 8)
    else:
        new = _put(old["cells"], 0, -499_999, 4)
    altered = busy.but(**{field: new})
    names = {
        "expected": _digest(clearing, old, left),
        "actual": _digest(clearing, altered.message, left),
    }
    with reverts(clearing.NotTheDraft, **names):
        altered.part_of(*second).send(left)
    busy.part_of(*second).send(left)


def test_clear__going_on_from_no_draft__reverts(
    community: Community, clearing: Any, busy: Call
) -> None:
    first, second = _cut(busy, 3)
    fresh = ape.chain.snapshot()
    left = carried(busy.part_of(*first).send(is_last=False))
    ape.chain.restore(fresh)
    actual = _digest(clearing, busy.message, left)
    with reverts(clearing.NotTheDraft, expected=bytes(32), actual=actual):
        busy.part_of(*second).send(left)


def test_clear__going_on_from_another_solvers_draft__reverts(
    community: Community, clearing: Any, busy: Call
) -> None:
    first, second = _cut(busy, 3)
    left = carried(busy.part_of(*first).send(is_last=False))
    actual = _digest(clearing, busy.message, left)
    with reverts(clearing.NotTheDraft, expected=bytes(32), actual=actual):
        busy.part_of(*second).send(left, sender=community.outsider)


def test_clear__going_on_from_what_is_no_longer_the_draft__reverts(
    clearing: Any, busy: Call
) -> None:
    """A part that was accepted replaces what it went on from."""
    first, second, third = _cut(busy, 2, 3)
    left = carried(busy.part_of(*first).send(is_last=False))
    later = carried(busy.part_of(*second).send(left, is_last=False))
    names = {
        "expected": _digest(clearing, busy.message, later),
        "actual": _digest(clearing, busy.message, left),
    }
    with reverts(clearing.NotTheDraft, **names):
        busy.part_of(*third).send(left)


def test_clear__peer_in_two_parts__reverts(clearing: Any, busy: Call) -> None:
    first, second = _cut(busy, 4)  # between the prosumer's two orders
    left = carried(busy.part_of(*first).send(is_last=False))
    (prosumer,) = struct.unpack_from(">I", second[0], 1)
    with reverts(clearing.OrdersUnsorted, peer=prosumer, nonce=2):
        busy.part_of(*second).send(left)


def test_clear__earlier_peer_in_a_later_part__reverts(clearing: Any, busy: Call) -> None:
    supplier, *others = busy.records
    left = carried(busy.part_of(*others[:2]).send(is_last=False))
    with reverts(clearing.OrdersUnsorted, peer=1, nonce=0):
        busy.part_of(supplier, *others[2:]).send(left)


def test_clear__last_part_without_a_placed_order__reverts(
    community: Community, order_book: Any, placed: SignedOrder, sale: SignedOrder
) -> None:
    """The placed orders of all parts are counted, also those of which nothing is traded."""
    idle = community.sign(community.admit(Role.CONSUMER, C3, tokens=1), bid(10_000, 1))
    community.place(idle)
    proposal = community.propose(sale, placed=[_unsigned(placed), _unsigned(idle)])
    community.close_gate(proposal)
    call = Call.of(community, proposal)
    left = carried(call.part_of(*call.records[:2]).send(is_last=False))
    assert (left["placed"], left["orders"]) == (1, 2)
    with reverts(order_book.PlacedOrdersMissing, placed=2, taken=1):
        call.part_of().send(left)
    call.part_of(call.records[2]).send(left)


def test_clear__restarted__forgets_the_earlier_draft(
    community: Community, clearing: Any, busy: Call
) -> None:
    """Even with another proposal, as when a peer turns out not to be able to pay."""
    fresh = ape.chain.snapshot()
    busy.send()
    expected = _outcome(community, busy)
    ape.chain.restore(fresh)
    first, second = _cut(busy, 3)
    old = carried(busy.but(feeTo=2).part_of(*first).send(is_last=False))
    left = carried(busy.part_of(*_cut(busy, 2)[0]).send(is_last=False))
    names = {
        "expected": _digest(clearing, busy.message, left),
        "actual": _digest(clearing, busy.but(feeTo=2).message, old),
    }
    with reverts(clearing.NotTheDraft, **names):
        busy.but(feeTo=2).part_of(*second).send(old)
    busy.part_of(*_cut(busy, 2)[1]).send(left)
    assert _outcome(community, busy) == expected


def test_clear__in_one_while_a_draft_is_open__is_accepted(
    community: Community, clearing: Any, busy: Call
) -> None:
    busy.part_of(*busy.records[:2]).send(is_last=False)
    assert events(busy.send())[-1].values["orders"] == 6


def test_clear__two_solvers_in_parts__the_first_to_finish_clears(
    community: Community, clearing: Any, busy: Call
) -> None:
    outsider = community.outsider
    fresh = ape.chain.snapshot()
    busy.send()
    expected = _outcome(community, busy)
    ape.chain.restore(fresh)
    first, second = _cut(busy, 3)
    mine = carried(busy.part_of(*first).send(is_last=False))
    theirs = busy.part_of(*_cut(busy, 2)[0]).send(is_last=False, sender=outsider)
    last = busy.part_of(*_cut(busy, 2)[1]).send(carried(theirs), sender=outsider)
    assert events(last)[-1].values["solver"] == outsider.address
    start = busy.message["sessionStart"]
    for is_last in (True, False):
        with reverts(clearing.AlreadyCleared, market=QUARTERS, sessionStart=start):
            busy.part_of(*second).send(mine, is_last=is_last)
    assert _outcome(community, busy) == expected


# --------------------------------------------------------------------------------------- rosters


def test_clear__without_rosters__reads_the_registry(
    community: Community, trade: Proposal, closed: Call
) -> None:
    closed.with_rosters(2**32 - 1).send()
    start = trade.session.start
    assert community.chain.snapshot().positions_wh(HOURLY, start) == trade.positions_wh


def test_clear__network_for_no_period__reverts(clearing: Any, closed: Call) -> None:
    (run,) = closed.message["networks"]
    with reverts(clearing.PeriodCountMismatch, expected=1, actual=0):
        closed.but(networks=[run | {"periods": 0}, run]).send()
    with reverts(clearing.PeriodCountMismatch, expected=1, actual=1):
        closed.but(networks=[run, run | {"periods": 0}]).send()
