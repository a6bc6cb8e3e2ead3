"""`Clearing.clear`: what it does, then one deviation per requirement C1 to C8."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth_abi.abi import encode
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
from tests.outcomes import event, events, reverts

from fairwatt.calldata import NOTHING_CARRIED
from fairwatt.chain import Role, project
from fairwatt.orders import SignedOrder
from fairwatt.session import NOBODY, Proposal, propose

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fairwatt.chain import Receipt, Signer
    from fairwatt.orders import Order

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
        event(order_book.OrdersTaken, **session, orders=0),
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
        event(order_book.OrdersTaken, **session, orders=0),
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
    community.send(clearing.pause, sender=community.guardian)
    with reverts(clearing.EnforcedPause):
        closed.send(is_last=is_last)
    community.send(clearing.unpause, sender=community.guardian)
    closed.send()


@pytest.mark.parametrize("switch", ["pause", "unpause"])
def test_pause__by_anyone_but_the_guardian__reverts(
    community: Community, clearing: Any, switch: str
) -> None:
    for caller in (community.solver, community.admin, community.market_operator):
        with reverts(
            clearing.AccessControlUnauthorizedAccount,
            account=caller.address,
            neededRole=clearing.GUARDIAN_ROLE(),
        ):
            community.send(getattr(clearing, switch), sender=caller)


def test_pause__while_paused__reverts(community: Community, clearing: Any) -> None:
    community.send(clearing.pause, sender=community.guardian)
    with reverts(clearing.EnforcedPause):
        community.send(clearing.pause, sender=community.guardian)


def test_unpause__while_not_paused__reverts(community: Community, clearing: Any) -> None:
    with reverts(clearing.ExpectedPause):
        community.send(clearing.unpause, sender=community.guardian)


def test_constructor__keeps_what_it_is_given_and_grants_no_role(community: Community) -> None:
    contracts, admin = community.chain.contracts, community.admin
    parts = (contracts.registry, contracts.ledger, contracts.order_book)
    made = project().Clearing.deploy(admin.address, DAY, *parts, sender=admin.account)
    assert (made.REGISTRY(), made.LEDGER(), made.ORDER_BOOK()) == tuple(
        part.address for part in parts
    )
    assert (made.defaultAdmin(), made.defaultAdminDelay()) == (admin.address, DAY)
    assert not made.hasRole(made.GUARDIAN_ROLE(), admin.address)
    assert not made.paused()


def test_constructor__without_an_admin__reverts(community: Community, clearing: Any) -> None:
    contracts = community.chain.contracts
    parts = (contracts.registry, contracts.ledger, contracts.order_book)
    with reverts(clearing.AccessControlInvalidDefaultAdmin, defaultAdmin=NOBODY):
        project().Clearing.deploy(NOBODY, DAY, *parts, sender=community.admin.account)


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
def test_clear__record_cut_off__reverts(
    clearing: Any, closed: Call, which: int, left: int
) -> None:
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


@pytest.mark.parametrize("kind", [2, 0x80, 0xFF])
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
