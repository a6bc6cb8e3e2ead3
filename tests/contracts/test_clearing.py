"""`Clearing.clear`: a clearing in one part, then one deviation at a time (C1 to C8 of `IClearing`).

The proof itself is tried in `test_clearing_proof.py`, parts and drafts, signatures and what a
solver could gain in `test_attacks.py`, and any sequence of steps in `test_state_machine.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from eth_utils.crypto import keccak
from tests.community import C3, GRID, HOURLY, NANO, NETWORK, NOTICE, TERMS, ask, bid
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role
from fairwatt.lanes import position_leaves, positions_hash
from fairwatt.session import propose

if TYPE_CHECKING:
    from tests.community import Community, Member

    from fairwatt.chain import Receipt, Signer
    from fairwatt.session import Proposal

NO_ROSTER = 2**32 - 1


@pytest.fixture
def clearing(community: Community) -> Any:
    return community.chain.contracts.clearing


@pytest.fixture
def producer(community: Community) -> Member:
    return community.admit(Role.PRODUCER, C3, tokens=1)


@pytest.fixture
def consumer(community: Community, producer: Member) -> Member:
    """The peer that is admitted after the producer."""
    return community.admit(Role.CONSUMER, C3, tokens=1)


@pytest.fixture
def proposal(community: Community, producer: Member, consumer: Member) -> Proposal:
    """A kWh goes from the producer to the consumer, at the midpoint of their limits."""
    return community.propose(
        community.sign(producer, ask(50_000, 1_000)), community.sign(consumer, bid(100_000, 1_000))
    )


@pytest.fixture
def arguments(community: Community, proposal: Proposal) -> list[Any]:
    """What `clear` takes, after gate closure."""
    community.close_gate(proposal)
    return list(community.chain.clearing_arguments(proposal, community.solver))


def send(community: Community, arguments: list[Any], sender: Signer | None = None) -> Receipt:
    clear = community.chain.contracts.clearing.clear
    return community.send(clear, *arguments, sender=sender or community.solver)


def changed(arguments: list[Any], **changes: Any) -> list[Any]:
    """With other fields of the proposal."""
    return [arguments[0] | changes, *arguments[1:]]


def with_orders(arguments: list[Any], orders: bytes, rosters: list[int] | None = None) -> list[Any]:
    message, part, *rest = arguments
    named = part["rosters"] if rosters is None else rosters
    return [message, {"orders": orders, "rosters": named}, *rest]


# -------------------------------------------------------------------------------- what is booked


def test_clear__two_orders__books_what_they_trade(
    community: Community,
    clearing: Any,
    proposal: Proposal,
    producer: Member,
    consumer: Member,
    arguments: list[Any],
) -> None:
    start = proposal.session.start
    digests = [signed.order for signed in proposal.orders]
    receipt = send(community, arguments)
    kept = positions_hash(position_leaves(proposal.positions_wh))
    orders_hash = bytes(32)
    for order in digests:
        orders_hash = keccak(orders_hash + _struct_hash(community, order))
    assert events(receipt) == [
        event(
            community.chain.contracts.order_book.OrdersTaken,
            market=HOURLY,
            sessionStart=start,
            placed=0,
        ),
        event(
            clearing.SessionCleared,
            market=HOURLY,
            sessionStart=start,
            solver=community.solver.address,
            orders=2,
            positionsHash=kept,
            ordersHash=orders_hash,
            feeNano=0,
        ),
    ]
    assert bytes(clearing.positionsHash(HOURLY, start)) == kept
    assert bytes(clearing.ordersHash(HOURLY, start)) == orders_hash
    assert community.balance(producer) == NANO + 75_000 * 1_000
    assert community.balance(consumer) == NANO - 75_000 * 1_000
    assert community.chain.snapshot().positions_wh(HOURLY, start) == {
        producer.peer: (1_000,),
        consumer.peer: (-1_000,),
    }


def _struct_hash(community: Community, order: Any) -> bytes:
    signable = order.typed_data(community.chain.order_domain).signable()
    return bytes(signable.body)


def test_clear__nothing__is_cleared_all_the_same(community: Community, clearing: Any) -> None:
    start = community.open_session()
    proposal = propose(community.session(start), [], nodes={})
    community.close_gate(proposal)
    send(community, list(community.chain.clearing_arguments(proposal, community.solver)))
    assert int.from_bytes(clearing.positionsHash(HOURLY, start), "big") == 1
    assert community.chain.snapshot().positions_wh(HOURLY, start) == {}


def test_clear__over_a_link__pays_its_owner_and_the_fund(
    community: Community, clearing: Any
) -> None:
    """The links of the test network: what the tariff is goes to the operator."""
    producer = community.admit(Role.PRODUCER, GRID, tokens=1)
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    proposal = community.propose(
        community.sign(producer, ask(10_000, 1_000)), community.sign(consumer, bid(190_000, 1_000))
    )
    link = next(
        at
        for at, link in enumerate(NETWORK.links)
        if proposal.clearings[0].flows_wh[at] and link.target == NETWORK.nodes[C3]
    )
    before = community.balance(community.operator)
    receipt = community.clear(proposal)
    tariff = NETWORK.links[link].tariff_micro_per_kwh * 1_000
    earned = [entry for entry in events(receipt) if entry.name == "LinkEarned"]
    assert sum(entry.values["tariffNano"] for entry in earned) >= tariff
    assert {entry.values["rentNano"] for entry in earned} == {0}
    paid = sum(
        entry.values["tariffNano"]
        for entry in earned
        if entry.values["owner"] == community.operator.peer
    )
    assert community.balance(community.operator) == before + paid


def test_clear__without_rosters__reads_the_registry(
    community: Community, clearing: Any, proposal: Proposal, arguments: list[Any]
) -> None:
    orders = arguments[1]["orders"]
    send(community, with_orders(arguments, orders, [NO_ROSTER]))
    assert any(clearing.positionsHash(HOURLY, proposal.session.start))


def test_clear__solver_fee__is_paid_from_the_fund(community: Community, clearing: Any) -> None:
    fee = 5_000
    terms = replace(TERMS, solver_fee_nano=fee)
    create = community.chain.contracts.order_book.createMarket
    community.send(create, terms.to_message(), sender=community.market_operator)
    solver = community.admit(Role.OPERATOR, node=0, connection_w=0)
    producer = community.admit(Role.PRODUCER, C3, tokens=1)
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    fund = community.chain.contracts.ledger.depositToFund
    community.send(fund, NANO, sender=community.treasury)
    proposal = community.propose(
        community.sign(producer, ask(50_000, 1_000), market=3),
        community.sign(consumer, bid(100_000, 1_000), market=3),
    )
    receipt = community.clear(replace(proposal, fee_to=solver.peer))
    assert events(receipt)[-1].values["feeNano"] == fee
    assert community.balance(solver) == fee
    assert community.chain.snapshot().fund_nano() == NANO - fee


# --------------------------------------------------------------------------------------- C1, C2


def test_clear__before_gate_closure__is_refused(
    community: Community, clearing: Any, proposal: Proposal
) -> None:
    arguments = list(community.chain.clearing_arguments(proposal, community.solver))
    start = proposal.session.start
    gate = proposal.session.terms.gate_closure(start)
    community.wait_until(gate - 1)
    with reverts(clearing.GateStillOpen, market=HOURLY, sessionStart=start, gateClosure=gate):
        send(community, arguments)


def test_clear__after_the_deadline__is_refused(
    community: Community, clearing: Any, proposal: Proposal, arguments: list[Any]
) -> None:
    start = proposal.session.start
    deadline = proposal.session.terms.clearing_deadline(start)
    community.wait_until(deadline + 1)
    with reverts(clearing.ClearingTooLate, market=HOURLY, sessionStart=start, deadline=deadline):
        send(community, arguments)


def test_clear__twice__is_refused(
    community: Community, clearing: Any, proposal: Proposal, arguments: list[Any]
) -> None:
    send(community, arguments)
    start = proposal.session.start
    with reverts(clearing.AlreadyCleared, market=HOURLY, sessionStart=start):
        send(community, arguments)


def test_clear__in_the_managers_window__is_the_managers_turn(
    community: Community, clearing: Any
) -> None:
    manager = community.outsider.address
    terms = replace(TERMS, exclusive_window_seconds=300, manager=manager)
    create = community.chain.contracts.order_book.createMarket
    community.send(create, terms.to_message(), sender=community.market_operator)
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    proposal = community.propose(community.sign(consumer, bid(100_000, 1_000), market=3))
    community.close_gate(proposal)
    arguments = list(community.chain.clearing_arguments(proposal, community.solver))
    start = proposal.session.start
    deadline = terms.gate_closure(start) + 300
    with reverts(
        clearing.ManagersTurn, market=3, sessionStart=start, manager=manager, deadline=deadline
    ):
        send(community, arguments)
    community.wait_until(deadline + 1)
    send(community, arguments)


def test_clear__networks_for_another_number_of_periods__are_refused(
    community: Community, clearing: Any, arguments: list[Any]
) -> None:
    with reverts(clearing.PeriodCountMismatch, expected=1, actual=0):
        send(community, changed(arguments, networks=[]))
    (run,) = arguments[0]["networks"]
    with reverts(clearing.PeriodCountMismatch, expected=1, actual=0):
        send(community, changed(arguments, networks=[run | {"periods": 0}, run]))
    with reverts(clearing.PeriodCountMismatch, expected=1, actual=2):
        send(community, changed(arguments, networks=[run | {"periods": 2}]))


def test_clear__altered_links__are_refused(
    community: Community, clearing: Any, proposal: Proposal, arguments: list[Any]
) -> None:
    (run,) = arguments[0]["networks"]
    cheaper = [link | {"tariffMicroPerKWh": 0} for link in run["links"]]
    with reverts(clearing.NetworkAltered, network=1, version=run["version"]):
        send(community, changed(arguments, networks=[run | {"links": cheaper}]))


def test_clear__version_that_is_no_longer_in_force__is_refused(
    community: Community, clearing: Any, proposal: Proposal, arguments: list[Any]
) -> None:
    (run,) = arguments[0]["networks"]
    earlier = run | {"version": run["version"] - 1, "links": []}
    registry = community.chain.contracts.registry
    start = proposal.session.start
    with reverts(registry.NetworkNotInForce, network=1, version=run["version"] - 1, time=start):
        send(community, changed(arguments, networks=[earlier]))


def test_clear__flows_for_other_links__are_refused(
    community: Community, clearing: Any, arguments: list[Any]
) -> None:
    flows = arguments[0]["flows"]
    size = len(flows)
    with reverts(clearing.FlowCountMismatch, expectedBytes=size, actualBytes=size - 1):
        send(community, changed(arguments, flows=flows[:-1]))


# --------------------------------------------------------------------------------------- C3, C4


@pytest.mark.parametrize("length", [1, 15, 16, 17, 80, 143, 144 + 1, 144 + 16, 287])
def test_clear__records_cut_off__are_refused(
    community: Community, clearing: Any, arguments: list[Any], length: int
) -> None:
    orders = arguments[1]["orders"]
    assert len(orders) > 287
    sizes = len(orders) // 2
    whole = length // sizes * sizes if length >= sizes else 0
    with reverts(clearing.OrdersMalformed, offset=whole):
        send(community, with_orders(arguments, orders[:length]))


@pytest.mark.parametrize(
    ("at", "value"), [(0, 2), (0, 255), (12, 0), (14, 0)], ids=["kind", "kinds", "blocks", "rows"]
)
def test_clear__record_of_no_kind_or_curve__is_refused(
    community: Community, clearing: Any, arguments: list[Any], at: int, value: int
) -> None:
    orders = bytearray(arguments[1]["orders"])
    orders[at] = value
    with reverts(clearing.OrdersMalformed, offset=0):
        send(community, with_orders(arguments, bytes(orders)))


def test_clear__support_beyond_the_curve__is_refused(
    community: Community, clearing: Any, arguments: list[Any]
) -> None:
    orders = arguments[1]["orders"]
    half = len(orders) // 2
    held = orders[15]
    second = bytearray(orders[half:])
    assert held == second[15] == 1
    second[16 + 64 : 16 + 66] = (8).to_bytes(2, "big")
    with reverts(clearing.OrdersMalformed, offset=half):
        send(community, with_orders(arguments, orders[:half] + bytes(second)))


def test_clear__order_of_nobody__is_refused(
    community: Community, clearing: Any, arguments: list[Any]
) -> None:
    orders = arguments[1]["orders"]
    with reverts(clearing.OrdersMalformed, offset=0):
        send(community, with_orders(arguments, orders[:1] + bytes(4) + orders[5:]))


def test_clear__orders_out_of_sequence_or_twice__are_refused(
    community: Community,
    clearing: Any,
    producer: Member,
    consumer: Member,
    arguments: list[Any],
) -> None:
    orders = arguments[1]["orders"]
    half = len(orders) // 2
    first, second = orders[:half], orders[half:]
    with reverts(clearing.OrdersUnsorted, peer=producer.peer, nonce=0):
        send(community, with_orders(arguments, second + first))
    with reverts(clearing.OrdersUnsorted, peer=producer.peer, nonce=0):
        send(community, with_orders(arguments, first + first))


def test_clear__no_roster_named__is_refused(
    community: Community, clearing: Any, arguments: list[Any]
) -> None:
    with reverts(clearing.RosterMissing, page=0):
        send(community, with_orders(arguments, arguments[1]["orders"], []))


def test_clear__suspended_peer__is_refused(community: Community, clearing: Any) -> None:
    producer = community.admit(Role.PRODUCER, C3, tokens=1)
    suspend = community.chain.contracts.registry.suspend
    community.send(suspend, producer.peer, sender=community.registrar)
    community.travel_to(community.now() + NOTICE + 2)
    proposal = community.propose(community.sign(producer, ask(50_000, 1_000)))
    community.close_gate(proposal)
    arguments = list(community.chain.clearing_arguments(proposal, community.solver))
    with reverts(clearing.PeerNotInMarket, peer=producer.peer):
        send(community, arguments)


def test_clear__consumer_that_sells__is_refused(community: Community, clearing: Any) -> None:
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    prosumer = community.admit(Role.PROSUMER, C3, tokens=1)
    proposal = community.propose(
        community.sign(consumer, ask(50_000, 1_000)), community.sign(prosumer, bid(100_000, 1_000))
    )
    community.close_gate(proposal)
    arguments = list(community.chain.clearing_arguments(proposal, community.solver))
    with reverts(
        clearing.SideNotAllowed,
        peer=consumer.peer,
        role=int(Role.CONSUMER),
        sells=True,
        buys=False,
    ):
        send(community, arguments)


def test_clear__producer_that_buys__is_refused(community: Community, clearing: Any) -> None:
    producer = community.admit(Role.PRODUCER, C3, tokens=1)
    prosumer = community.admit(Role.PROSUMER, C3, tokens=1)
    proposal = community.propose(
        community.sign(producer, bid(100_000, 1_000)), community.sign(prosumer, ask(50_000, 1_000))
    )
    community.close_gate(proposal)
    arguments = list(community.chain.clearing_arguments(proposal, community.solver))
    with reverts(
        clearing.SideNotAllowed,
        peer=producer.peer,
        role=int(Role.PRODUCER),
        sells=False,
        buys=True,
    ):
        send(community, arguments)


def test_clear__order_marked_as_placed_that_is_not__is_refused(
    community: Community, clearing: Any, producer: Member, arguments: list[Any]
) -> None:
    orders = arguments[1]["orders"]
    half = len(orders) // 2
    unsigned = b"\x01" + orders[1 : half - 64] + orders[half:]
    book = community.chain.contracts.order_book
    with reverts(book.OrderNotPlaced, peer=producer.peer, nonce=0):
        send(community, with_orders(arguments, unsigned))


# ------------------------------------------------------------------------------------------- C7


def test_clear__buyer_without_funds__is_refused(
    community: Community, producer: Member, consumer: Member
) -> None:
    ledger = community.chain.contracts.ledger
    needed, funds = 75_000 * 20_000, NANO
    proposal = community.propose(
        community.sign(producer, ask(50_000, 20_000)),
        community.sign(consumer, bid(100_000, 20_000)),
    )
    assert proposal.payments_nano[consumer.peer] == -needed < -funds
    with reverts(
        ledger.InsufficientFunds, peer=consumer.peer, neededNano=needed, availableNano=funds
    ):
        community.clear(proposal)
