"""The oracle's market day: whom it leaves out and why, what it sends, and that it does so once.

Whatever it refuses is also brought to the contract, which must refuse it as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import ape
import pytest
from eth_account import Account

from fairwatt.calldata import _held, _record
from fairwatt.chain import Chain, Role, Signer, connect, structs
from fairwatt.chain import test_signer as local_signer
from fairwatt.continuous import ContinuousOrder
from fairwatt.errors import ChainError, ContractError, OracleError
from fairwatt.market import Link, Side
from fairwatt.meter import Reading, SignedReading
from fairwatt.oracle import ClearingRun, Finding, Oracle, Refusal
from fairwatt.orders import SignedOrder
from fairwatt.proposal import propose
from fairwatt.readings import bring
from fairwatt.units import moment
from tests.community import (
    C2,
    C3,
    DAY,
    FEED_IN,
    HOUR,
    HOURLY,
    NETWORK,
    NOTICE,
    QUARTERS,
    RETAIL,
    TERMS,
    ask,
    bid,
)

if TYPE_CHECKING:
    from fairwatt.chain import Receipt
    from tests.community import Community, Member

NOBODY = "0x" + "0" * 40
KWH = 1000
NEVER = (1 << 40) - 1


def oracle(community: Community, market: int = HOURLY, *, send: bool = False) -> Oracle:
    return Oracle(community.chain, market, community.solver, send)


def block() -> int:
    return int(ape.chain.blocks.height)


def to_gate(community: Community, start: int, market: int = HOURLY) -> None:
    community.travel_to(community.terms(market).gate_closure(start))


def producer_and_consumer(community: Community, tokens: int = 1) -> tuple[Member, Member]:
    return (
        community.admit(Role.PRODUCER, C2, tokens=tokens),
        community.admit(Role.CONSUMER, C3, tokens=tokens),
    )


def arguments_of(
    community: Community, start: int, *orders: SignedOrder, market: int = HOURLY
) -> tuple[Any, ...]:
    """A clearing of orders that trade nothing, as the contract takes it.

    An order for which there is no clearing stands where another order of its peer is cleared.
    """
    snapshot = community.chain.snapshot()
    session = snapshot.session(market, start)
    peers = snapshot.peers()
    nodes = {
        order.peer: peers[order.peer].node if order.peer in peers else C3
        for order in (signed.order for signed in orders)
    }

    def stand_in(signed: SignedOrder) -> SignedOrder:
        periods = session.terms.periods_per_session
        sound = all(step.period < periods for step in signed.order.steps)
        return signed if sound else replace(signed, order=replace(signed.order, steps=(bid(9, 1),)))

    proposal = propose(session, map(stand_in, orders), nodes=nodes)
    assert proposal.positions_wh == {}
    message, part, *rest = community.chain.clearing_arguments(proposal, community.solver)
    for signed in orders:
        if stand_in(signed) is not signed:
            (held,) = _held(proposal).values()
            part["orders"] = _record(signed, (), held)
    return message, part, *rest


def said_to_clearing(community: Community, arguments: tuple[Any, ...]) -> ContractError:
    """What the contract says to a clearing."""
    clear = community.chain.contracts.clearing.clear
    with pytest.raises(ContractError) as refusal:
        community.chain.simulate(clear, *arguments, sender=community.solver)
    return refusal.value


# -------------------------------------------------------------------------------------- collect


def by_somebody_else(community: Community, start: int) -> SignedOrder:
    victim = community.admit(Role.CONSUMER, tokens=1)
    thief = community.admit(Role.CONSUMER)
    order = community.order(victim, bid(9, 1), session=start)
    return order.signed_by(thief.key, community.chain.order_domain)


def signed_for_another_contract(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    return community.order(member, bid(9, 1), session=start).signed_by(
        member.key, community.chain.reading_domain
    )


def cancelled(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    cancel = community.chain.contracts.order_book.cancel
    community.send(cancel, HOURLY, start, 0, sender=member.wallet)
    return community.sign(member, bid(9, 1), session=start)


def cancelled_with_all(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    cancel_all = community.chain.contracts.order_book.cancelAll
    community.send(cancel_all, HOURLY, start, 6, sender=member.wallet)
    return community.sign(member, bid(9, 1), session=start, nonce=5)


def unregistered(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    return community.sign(replace(member, peer=64), bid(9, 1), session=start)


def suspended(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    registry = community.chain.contracts.registry
    community.send(registry.suspend, member.peer, sender=community.registrar)
    return community.sign(member, bid(9, 1), session=start)


def on_another_network(community: Community, start: int) -> SignedOrder:
    other = community.chain.create_network(replace(NETWORK, links=()), sender=community.dso)
    member = community.admit(Role.CONSUMER, tokens=1, network=other)
    return community.sign(member, bid(9, 1), session=start)


def too_high_a_price(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    return community.sign(member, bid(NETWORK.price_cap_micro_per_kwh + 1, 1), session=start)


def too_low_a_price(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    return community.sign(member, bid(NETWORK.price_floor_micro_per_kwh - 1, 1), session=start)


def consumer_that_sells(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    return community.sign(member, ask(9, 1), session=start)


def of_a_period_there_is_not(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    return community.sign(member, bid(9, 1, period=1), session=start)


def of_another_session(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    return community.sign(member, bid(9, 1), session=start + HOUR)


def of_another_market(community: Community, start: int) -> SignedOrder:
    member = community.admit(Role.CONSUMER, tokens=1)
    return community.sign(member, bid(9, 1), session=start, market=QUARTERS)


def of_a_contract_wallet(community: Community, start: int) -> SignedOrder:
    owner, order = contract_wallet(community, start)
    return order.signed_by(owner, community.chain.order_domain)


def contract_wallet(community: Community, start: int) -> tuple[Any, Any]:
    """An ERC-1271 wallet of a funded consumer, and its order."""
    owner = local_signer(9)
    assert owner.key is not None
    wallet = owner.account.deploy(ape.project.ContractWallet, owner.address)
    # Admitted like everybody else, but the wallet is a contract.
    registry = community.chain.contracts.registry
    connection = (Role.CONSUMER, 1, C3, Account.create().address, 1, 10**6, 1)
    receipt = community.send(registry.admit, wallet.address, connection, sender=community.registrar)
    peer = int(receipt.events[-1].peer)
    donor = community.admit(Role.CONSUMER)
    community.deposit(replace(donor, peer=peer), 10**9)
    return owner.key, community.order(replace(donor, peer=peer), bid(9, 1), session=start)


Bad = Callable[["Community", int], SignedOrder]
BAD_ORDERS: dict[Bad, tuple[str, str]] = {
    # the order: what the oracle says, what the contract says to a clearing that contains it
    by_somebody_else: ("WrongSigner", "OrderSignerMismatch"),
    signed_for_another_contract: ("WrongSigner", "OrderSignerMismatch"),
    cancelled: ("OrderIsCancelled", "OrderIsCancelled"),
    cancelled_with_all: ("OrderIsCancelled", "OrderIsCancelled"),
    unregistered: ("PeerNotActive", "PeerNotInMarket"),
    suspended: ("PeerNotActive", "PeerNotInMarket"),
    on_another_network: ("WrongNetwork", "PeerNotInMarket"),
    of_a_period_there_is_not: ("UnknownPeriod", "UnknownPeriod"),
    of_another_session: ("it is for session", "OrderSignerMismatch"),
    of_another_market: ("it is for session", "OrderSignerMismatch"),
    of_a_contract_wallet: ("orders of contract wallets", "OrderSignerMismatch"),
}


@pytest.mark.parametrize("bad", BAD_ORDERS, ids=lambda bad: bad.__name__)
def test_collect__bad_order__is_refused_as_the_contract_would(
    community: Community, bad: Bad
) -> None:
    reason, error = BAD_ORDERS[bad]
    # Far enough ahead for a suspension to be in force.
    start = community.open_session() + (NOTICE + 2 * HOUR if bad is suspended else 0)
    signed = bad(community, start)
    good = community.sign(community.admit(Role.CONSUMER, tokens=1), bid(9, 1), session=start)
    to_gate(community, start)

    taken, refused = oracle(community).collect(start, [signed, good], community.chain.snapshot())

    assert taken == [good]
    assert [(entry.peer, entry.nonce) for entry in refused] == [
        (signed.order.peer, signed.order.nonce)
    ]
    assert refused[0].reason.startswith(reason)
    assert said_to_clearing(community, arguments_of(community, start, signed)).name == error
    # Without it such a clearing is accepted: it was refused for the order's sake.
    clear = community.chain.contracts.clearing.clear
    accepted = arguments_of(community, start, good)
    community.chain.simulate(clear, *accepted, sender=community.solver)


@pytest.mark.parametrize("bad", [too_high_a_price, too_low_a_price], ids=lambda bad: bad.__name__)
def test_collect__limit_beyond_the_prices_of_the_network__is_refused(
    community: Community, bad: Bad
) -> None:
    """The contract need not: such a limit is never met, or pays no more than the cap."""
    start = community.open_session()
    signed = bad(community, start)
    taken, refused = oracle(community).collect(start, [signed], community.chain.snapshot())
    assert taken == []
    assert refused[0].reason.startswith("LimitOutOfBounds")


def test_collect__consumer_that_sells__is_refused_as_the_contract_refuses_what_it_sold(
    community: Community,
) -> None:
    start = community.open_session()
    signed = consumer_that_sells(community, start)
    buyer = community.admit(Role.CONSUMER, tokens=1)
    wish = community.sign(buyer, bid(20, 1), session=start)
    taken, refused = oracle(community).collect(start, [signed, wish], community.chain.snapshot())
    assert taken == [wish]
    assert refused[0].reason.startswith("SideNotAllowed")
    proposal = community.propose(signed, wish)
    community.close_gate(proposal)
    said = said_to_clearing(
        community, community.chain.clearing_arguments(proposal, community.solver)
    )
    assert said.name == "SideNotAllowed"


def test_collect__reasons__carry_the_values_of_the_error(community: Community) -> None:
    start = community.open_session()
    member = community.admit(Role.CONSUMER, tokens=1, connection_w=5)
    signed = community.sign(member, bid(9, 5), bid(9, 6), session=start)
    _, refused = oracle(community).collect(start, [signed], community.chain.snapshot())
    ((peer, reason),) = [(entry.peer, entry.reason) for entry in refused]
    assert peer == member.peer
    assert reason.startswith(f"EnergyAboveConnection: peer={peer}, nonce=0, ")


@pytest.mark.parametrize("one_is_placed", [False, True])
def test_collect__orders_beyond_the_connection_together__are_taken_as_far_as_it_reaches(
    community: Community, one_is_placed: bool
) -> None:
    member = community.admit(Role.PROSUMER, C3, tokens=1, connection_w=10)
    seller = community.admit(Role.PRODUCER, C3)
    start = community.open_session()
    bids = [community.sign(member, bid(9, 6), session=start, nonce=at) for at in range(2)]
    fits = community.sign(member, bid(9, 4), ask(90, 10), session=start, nonce=2)
    offer = community.sign(seller, ask(1, 100), session=start)
    if one_is_placed:
        community.place(bids[0])
    to_gate(community, start)
    handed_in = bids[1:] if one_is_placed else bids
    snapshot = community.chain.snapshot()
    taken, refused = oracle(community).collect(start, [*handed_in, offer], snapshot)
    assert len(taken) == (1 if one_is_placed else 2)
    assert [(entry.peer, entry.reason) for entry in refused] == [
        (
            member.peer,
            "with it the peer's bids in period 0 come to 12 Wh, more than the connection's 10 Wh",
        )
    ]
    others = [bids[1], fits] if not one_is_placed else [fits]
    _, refused = oracle(community).collect(start, others, snapshot)
    assert refused == []
    # The contract would refuse the whole clearing.
    placed = [SignedOrder(bids[0].order, b"")] if one_is_placed else []
    proposal = community.propose(*handed_in, offer, placed=placed)
    said = said_to_clearing(
        community, community.chain.clearing_arguments(proposal, community.solver)
    )
    assert said.name == "EnergyAboveConnection"
    run = oracle(community, send=True).clear(start, [*handed_in, offer])
    assert run.receipt is not None
    assert run.proposal is not None
    assert run.proposal.positions_wh[member.peer] == (-6,)


def test_collect__two_orders_with_one_nonce__takes_the_lower_digest(community: Community) -> None:
    member = community.admit(Role.CONSUMER, tokens=1)
    start = community.open_session()
    both = [community.sign(member, bid(9, energy), session=start) for energy in (1, 2)]
    digest = community.chain.contracts.order_book.orderDigest
    lower, higher = sorted(
        both, key=lambda signed: bytes(digest(structs(signed.order.to_message())))
    )
    snapshot = community.chain.snapshot()
    for handed_in in (both, both[::-1]):
        taken, refused = oracle(community).collect(start, handed_in, snapshot)
        assert taken == [lower]
        assert refused == [Refusal(member.peer, "the peer signed another order with this nonce", 0)]
    to_gate(community, start)
    message, part, *rest = arguments_of(community, start, lower)
    part["orders"] += arguments_of(community, start, higher)[1]["orders"]
    assert said_to_clearing(community, (message, part, *rest)).name == "OrdersUnsorted"


def test_collect__bad_order_with_the_lower_digest__does_not_push_out_a_good_one(
    community: Community,
) -> None:
    member = community.admit(Role.CONSUMER, tokens=1)
    thief = community.admit(Role.CONSUMER)
    start = community.open_session()
    for energy in range(1, 9):
        good = community.sign(member, bid(9, 100), session=start)
        order = community.order(member, bid(9, energy), session=start)
        forged = order.signed_by(thief.key, community.chain.order_domain)
        taken, _ = oracle(community).collect(start, [forged, good], community.chain.snapshot())
        assert taken == [good]


def test_collect__order_handed_in_twice__is_taken_once(community: Community) -> None:
    member = community.admit(Role.CONSUMER, tokens=1)
    start = community.open_session()
    signed = community.sign(member, bid(9, 1), session=start)
    copies = [signed, SignedOrder(signed.order, bytes(signed.signature))]
    assert oracle(community).collect(start, copies, community.chain.snapshot()) == ([signed], [])


@pytest.mark.parametrize("last", ["true", "false"])
def test_collect__copy_with_a_false_signature__does_not_push_out_the_true_one(
    community: Community, last: str
) -> None:
    member = community.admit(Role.CONSUMER, tokens=1)
    thief = community.admit(Role.CONSUMER)
    start = community.open_session()
    true = community.sign(member, bid(9, 1), session=start)
    false = [
        true.order.signed_by(thief.key, community.chain.order_domain),
        SignedOrder(true.order, b""),
        SignedOrder(true.order, b"\0" * 65),
        SignedOrder(true.order, b"\xff" * 65),
    ]
    copies = [*false, true] if last == "true" else [true, *false]
    taken, refused = oracle(community).collect(start, copies, community.chain.snapshot())
    assert taken == [true]
    assert {entry.peer for entry in refused} <= {member.peer}


def test_collect__placed_order_handed_in_as_well__is_refused(community: Community) -> None:
    member = community.admit(Role.CONSUMER, tokens=1)
    start = community.open_session()
    signed = community.sign(member, bid(9, 1), session=start)
    other = community.sign(member, bid(9, 2), session=start)
    community.place(signed)
    taken, refused = oracle(community).collect(start, [signed, other], community.chain.snapshot())
    assert taken == []
    assert {entry.reason for entry in refused} == {
        "the order placed on chain with this nonce is in the clearing anyway"
    }
    to_gate(community, start)
    said = said_to_clearing(community, arguments_of(community, start, other))
    assert said.name == "NonceTaken"


# ---------------------------------------------------------------------------------------- clear


def test_clear__dry_run__proposes_and_sends_nothing(community: Community) -> None:
    seller, buyer = producer_and_consumer(community)
    start = community.open_session()
    orders = [
        community.sign(seller, ask(50_000, 2 * KWH), session=start),
        community.sign(buyer, bid(100_000, KWH), session=start),
    ]
    to_gate(community, start)
    oracle(community).clear(start, orders)  # publishes the roster, which anybody may
    before = block()
    run = oracle(community).clear(start, orders)
    assert block() == before
    assert run.receipt is None
    assert run.refused == ()
    assert run.proposal is not None
    assert run.proposal.positions_wh == {seller.peer: (KWH,), buyer.peer: (-KWH,)}
    assert [proof.welfare for proof in run.proofs] == [(100_000 - 50_000 - 21_600) * KWH]
    assert not community.chain.snapshot().is_cleared(HOURLY, start)


def test_clear__send__clears_once_and_pays_what_was_proposed(community: Community) -> None:
    seller, buyer = producer_and_consumer(community)
    start = community.open_session()
    orders = [
        community.sign(seller, ask(50_000, 2 * KWH), session=start),
        community.sign(buyer, bid(100_000, KWH), session=start),
    ]
    to_gate(community, start)
    before = {member: community.balance(member) for member in (seller, buyer)}
    run = oracle(community, send=True).clear(start, orders)
    assert run.receipt is not None
    assert run.proposal is not None
    for member, balance in before.items():
        assert community.balance(member) - balance == run.proposal.payments_nano[member.peer]
    assert community.chain.snapshot().is_cleared(HOURLY, start)
    assert community.chain.snapshot().positions_wh(HOURLY, start) == run.proposal.positions_wh

    height = block()
    for send in (False, True):
        assert oracle(community, send=send).clear(start, orders) == ClearingRun(None)
    assert block() == height


def test_clear__nobody_ordered__clears_empty(community: Community) -> None:
    start = community.open_session()
    to_gate(community, start)
    run = oracle(community, send=True).clear(start, [])
    assert run.receipt is not None
    assert community.chain.snapshot().is_cleared(HOURLY, start)


def test_clear__placed_order__is_in_it_without_being_handed_in(community: Community) -> None:
    seller, buyer = producer_and_consumer(community)
    start = community.open_session()
    community.place(community.sign(buyer, bid(100_000, KWH), session=start))
    offer = community.sign(seller, ask(50_000, 2 * KWH), session=start)
    to_gate(community, start)
    run = oracle(community, send=True).clear(start, [offer])
    assert run.proposal is not None
    assert run.proposal.positions_wh[buyer.peer] == (-KWH,)


def test_clear__contract_wallet__takes_part_by_placing(community: Community) -> None:
    start = community.open_session()
    key, order = contract_wallet(community, start)
    community.place(order.signed_by(key, community.chain.order_domain))
    to_gate(community, start)
    run = oracle(community, send=True).clear(start, [])
    assert run.proposal is not None
    assert [signed.order for signed in run.proposal.orders] == [order]


def test_clear__placed_and_cancelled_order__is_left_out(community: Community) -> None:
    buyer = community.admit(Role.CONSUMER, tokens=1)
    start = community.open_session()
    community.place(community.sign(buyer, bid(9, 1), session=start))
    cancel = community.chain.contracts.order_book.cancel
    community.send(cancel, HOURLY, start, 0, sender=buyer.wallet)
    to_gate(community, start)
    run = oracle(community, send=True).clear(start, [])
    assert run.proposal is not None
    assert run.proposal.orders == ()


def test_clear__session_of_quarters__clears_every_period(community: Community) -> None:
    seller, buyer = producer_and_consumer(community)
    start = community.open_session(QUARTERS)
    offers = [ask(50_000 + period, KWH, period) for period in range(4)]
    wishes = [bid(100_000, KWH, period) for period in (0, 2, 3)]
    orders = [
        community.sign(seller, *offers, market=QUARTERS, session=start),
        community.sign(buyer, *wishes, market=QUARTERS, session=start),
    ]
    to_gate(community, start, QUARTERS)
    run = oracle(community, QUARTERS, send=True).clear(start, orders)
    assert run.proposal is not None
    assert run.proposal.positions_wh == {
        seller.peer: (KWH, 0, KWH, KWH),
        buyer.peer: (-KWH, 0, -KWH, -KWH),
    }
    assert len(run.proofs) == 4


def test_clear__peer_that_cannot_pay__is_left_out_and_told(community: Community) -> None:
    seller, buyer = producer_and_consumer(community)
    poor = community.admit(Role.CONSUMER, C3)
    community.deposit(poor, 71_600 * KWH - 1)  # a nano-token less than it would pay
    start = community.open_session()
    orders = [
        community.sign(seller, ask(50_000, 9 * KWH), session=start),
        community.sign(buyer, bid(100_000, KWH), session=start),
        community.sign(poor, bid(100_000, KWH), session=start, nonce=3),
    ]
    to_gate(community, start)
    run = oracle(community, send=True).clear(start, orders)
    assert run.refused == (
        Refusal(poor.peer, "the peer cannot pay what it would buy; it should deposit more", 3),
    )
    assert run.proposal is not None
    assert poor.peer not in run.proposal.positions_wh
    assert community.balance(buyer) == 10**9 - 71_600 * KWH


def test_clear__peer_that_cannot_pay__would_make_the_contract_refuse(community: Community) -> None:
    seller, _ = producer_and_consumer(community)
    poor = community.admit(Role.CONSUMER, C3)
    community.deposit(poor, 71_600 * KWH - 1)
    orders = [
        community.sign(seller, ask(50_000, 9 * KWH)),
        community.sign(poor, bid(100_000, KWH)),
    ]
    proposal = community.propose(*orders)
    community.close_gate(proposal)
    error = said_to_clearing(
        community, community.chain.clearing_arguments(proposal, community.solver)
    )
    assert (error.name, error.values) == (
        "InsufficientFunds",
        {"peer": poor.peer, "neededNano": 71_600 * KWH, "availableNano": 71_600 * KWH - 1},
    )


@pytest.mark.parametrize("after_gate", [False, True])
def test_clear__withdrawal__frees_from_the_clearing_only_before_the_gate_closes(
    community: Community, after_gate: bool
) -> None:
    seller, buyer = producer_and_consumer(community)
    start = community.open_session()
    orders = [
        community.sign(seller, ask(50_000, 2 * KWH), session=start),
        community.sign(buyer, bid(100_000, KWH), session=start),
    ]
    if after_gate:
        to_gate(community, start)
    request = community.chain.contracts.ledger.requestWithdrawal
    community.send(request, 10**9, sender=buyer.wallet)
    if not after_gate:
        to_gate(community, start)
    run = oracle(community, send=True).clear(start, orders)
    assert run.proposal is not None
    assert (buyer.peer in run.proposal.positions_wh) is after_gate
    assert bool(run.refused) is not after_gate


@pytest.mark.parametrize("lock", [0, 5])
@pytest.mark.parametrize("withdraws", [0, 7])
def test_means__account__are_those_the_contract_reports(
    community: Community, lock: int, withdraws: int
) -> None:
    seller, _ = producer_and_consumer(community)
    poor = community.admit(Role.CONSUMER, C3)
    community.deposit(poor, 1_000)
    start = community.open_session()
    if lock:  # for the session after
        community.place(community.sign(poor, bid(lock, 10), session=start + HOUR))
    if withdraws:
        request = community.chain.contracts.ledger.requestWithdrawal
        community.send(request, withdraws, sender=poor.wallet)
    orders = [
        community.sign(seller, ask(50_000, 9 * KWH), session=start),
        community.sign(poor, bid(100_000, KWH), session=start),
    ]
    proposal = community.propose(*orders)
    community.close_gate(proposal)
    error = said_to_clearing(
        community, community.chain.clearing_arguments(proposal, community.solver)
    )
    snapshot = community.chain.snapshot()
    means = snapshot.account(poor.peer).means_nano(TERMS.gate_closure(start))
    assert error.values["availableNano"] == means == 1_000 - lock * 10 - withdraws
    assert community.chain.contracts.ledger.availableNano(poor.peer) == means


def test_clear__gate_still_open__waits(community: Community) -> None:
    start = community.open_session()
    gate = TERMS.gate_closure(start)
    community.travel_to(gate - 10)
    height = block()
    with pytest.raises(OracleError, match=rf"gate of session {start} closes at {moment(gate)}"):
        oracle(community, send=True).clear(start, [])
    assert block() == height
    assert said_to_clearing(community, arguments_of(community, start)).name == "GateStillOpen"


def test_clear__deadline_passed__says_so(community: Community) -> None:
    start = community.open_session()
    deadline = TERMS.clearing_deadline(start)
    community.travel_to(deadline + 1)
    with pytest.raises(OracleError, match=rf"had to be cleared by {moment(deadline)}"):
        oracle(community, send=True).clear(start, [])
    assert said_to_clearing(community, arguments_of(community, start)).name == "ClearingTooLate"


def test_clear__start_of_no_session__is_refused(community: Community) -> None:
    start = community.open_session() + 1
    with pytest.raises(ChainError, match=f"no session of market 1 starts at {start}"):
        oracle(community).clear(start, [])
    message, *rest = arguments_of(community, start - 1)
    arguments = (message | {"sessionStart": start}, *rest)
    assert said_to_clearing(community, arguments).name == "NotASession"


def test_clear__unknown_market__is_refused(community: Community) -> None:
    with pytest.raises(ChainError, match="there is no market 9; markets are numbered 1 to 2"):
        oracle(community, market=9).clear(community.open_session(), [])


def test_clear__contract_refuses__nothing_is_sent(community: Community) -> None:
    start = community.open_session()
    pause = community.chain.contracts.order_book.pause
    community.send(pause, sender=community.guardian)
    to_gate(community, start)
    height = block()
    with pytest.raises(ContractError) as refusal:
        oracle(community, send=True).clear(start, [])
    assert refusal.value.name == "ClearingPaused"
    assert block() == height


def test_clear__exclusive_window__is_the_managers_and_after_it_anyones(
    community: Community,
) -> None:
    manager = local_signer(9)
    terms = replace(TERMS, exclusive_window_seconds=600, manager=manager.address)
    market = community.chain.create_market(terms, sender=community.market_operator)
    start = community.open_session()
    to_gate(community, start, market)
    height = block()
    anyone = oracle(community, market, send=True)
    with pytest.raises(ContractError) as refusal:
        anyone.clear(start, [])
    assert refusal.value.name == "ManagersTurn"
    assert refusal.value.values["deadline"] == terms.exclusive_deadline(start)
    assert block() == height
    assert replace(anyone, signer=manager, send=False).clear(start, []).proposal is not None
    community.travel_to(terms.exclusive_deadline(start) + 1)
    assert anyone.clear(start, []).receipt is not None


@pytest.mark.parametrize("what", ["capacity", "tariff", "owner", "version"])
def test_clear__tampered_network__is_refused(community: Community, what: str) -> None:
    start = community.open_session()
    session = community.session(start)
    (version,) = session.versions
    first = version.network.links[0]
    changed: dict[str, Link] = {
        "capacity": replace(first, capacity_wh=first.capacity_wh + 1),
        "tariff": replace(first, tariff_micro_per_kwh=0),
        "owner": replace(first, owner=None),
        "version": first,
    }
    network = replace(version.network, links=(changed[what], *version.network.links[1:]))
    number = version.version - 1 if what == "version" else version.version
    tampered = replace(session, versions=(replace(version, version=number, network=network),))
    to_gate(community, start)
    proposal = propose(tampered, [], nodes={})
    error = said_to_clearing(
        community, community.chain.clearing_arguments(proposal, community.solver)
    )
    assert error.name == ("NetworkNotInForce" if what == "version" else "NetworkAltered")


# ----------------------------------------------------------------------------------- reconcile


def cleared_day(community: Community) -> tuple[int, Member, Member]:
    """A session in which 1 kWh was traded, and that is over."""
    seller, buyer = producer_and_consumer(community)
    start = community.open_session()
    orders = [
        community.sign(seller, ask(50_000, 2 * KWH), session=start),
        community.sign(buyer, bid(100_000, KWH), session=start),
    ]
    to_gate(community, start)
    assert oracle(community, send=True).clear(start, orders).receipt is not None
    community.travel_to(TERMS.session_end(start))
    return start, seller, buyer


def said_to_readings(
    community: Community, start: int, *readings: SignedReading, market: int = HOURLY
) -> ContractError:
    """What the contract says to a reconciliation."""
    positions = community.chain.snapshot().positions_wh(market, start)
    brought = bring(
        positions,
        [signed for signed in readings if signed.signature],
        missing=[signed.reading.peer for signed in readings if not signed.signature],
        tariffs={signed.reading.peer: 0 for signed in readings},
    )
    reconcile = community.chain.contracts.settlement.reconcile
    arguments = (market, start, list(brought.leaves), brought.readings)
    with pytest.raises(ContractError) as refusal:
        community.chain.simulate(reconcile, *arguments, sender=community.solver)
    return refusal.value


def test_reconcile__dry_run__says_what_it_comes_to_and_sends_nothing(community: Community) -> None:
    start, seller, buyer = cleared_day(community)
    height = block()
    run = oracle(community).reconcile(start, [community.read(seller, start, KWH + 10)])
    assert block() == height
    assert run.receipt is None
    assert run.missing == (buyer.peer,)
    (entry,) = run.settled
    assert (entry.peer, entry.energy_wh, entry.payment_nano) == (seller.peer, (10,), FEED_IN * 10)
    assert not community.chain.snapshot().is_reading_settled(HOURLY, start, seller.peer)


def test_reconcile__send__pays_what_it_said_and_what_the_events_say(community: Community) -> None:
    start, seller, buyer = cleared_day(community)
    absent = community.admit(Role.CONSUMER, C3, tokens=1)  # has no position
    members = (seller, buyer, absent, community.supplier)
    before = {member.peer: community.balance(member) for member in members}
    readings = [
        community.read(absent, start, -7),
        community.read(seller, start, KWH - 300),
        community.read(buyer, start, -KWH + 20),
    ]
    # The absent peer was admitted after the session started: it was no peer then.
    run = oracle(community, send=True).reconcile(start, readings)
    assert [entry.peer for entry in run.refused] == [absent.peer]
    assert {entry.peer: entry.payment_nano for entry in run.settled} == {
        seller.peer: -300 * RETAIL,
        buyer.peer: 20 * FEED_IN,
    }
    assert run.missing == ()
    assert run.receipt is not None
    settled = [log for log in run.receipt.events if log.event_name == "ReadingSettled"]
    assert {log.peer: log.imbalanceNano for log in settled} == {
        entry.peer: entry.payment_nano for entry in run.settled
    }
    changes = {member.peer: community.balance(member) - before[member.peer] for member in members}
    assert changes == {
        seller.peer: -300 * RETAIL,
        buyer.peer: 20 * FEED_IN,
        absent.peer: 0,
        community.supplier.peer: 300 * RETAIL - 20 * FEED_IN,
    }


def test_reconcile__again__sends_nothing(community: Community) -> None:
    start, seller, buyer = cleared_day(community)
    readings = [community.read(seller, start, KWH), community.read(buyer, start, -KWH)]
    assert oracle(community, send=True).reconcile(start, readings).receipt is not None
    height = block()
    run = oracle(community, send=True).reconcile(start, readings)
    assert block() == height
    assert (run.receipt, run.settled, run.missing) == (None, (), ())
    assert {entry.reason for entry in run.refused} == {
        "the peer's reading of this session is settled already"
    }


def test_reconcile__one_by_one__settles_each_once(community: Community) -> None:
    start, seller, buyer = cleared_day(community)
    first = [community.read(seller, start, KWH)]
    assert oracle(community, send=True).reconcile(start, first).missing == (buyer.peer,)
    both = [*first, community.read(buyer, start, -KWH)]
    run = oracle(community, send=True).reconcile(start, both)
    assert [entry.peer for entry in run.settled] == [buyer.peer]
    assert run.missing == ()


def test_reconcile__tariff_changes_within_the_session__counts_period_by_period(
    community: Community,
) -> None:
    terms = community.terms(QUARTERS)
    start = terms.next_open_session(community.now() + NOTICE + 2 * HOUR)
    change = (start + 1800, RETAIL + 5, FEED_IN - 5)
    publish = community.chain.contracts.registry.publishTariffs
    community.send(publish, [change], sender=community.supplier.wallet)
    seller, buyer = producer_and_consumer(community)
    orders = [
        community.sign(
            seller,
            *(ask(50_000, KWH, period) for period in range(4)),
            market=QUARTERS,
            session=start,
        ),
        community.sign(
            buyer,
            *(bid(100_000, KWH, period) for period in range(4)),
            market=QUARTERS,
            session=start,
        ),
    ]
    to_gate(community, start, QUARTERS)
    oracle(community, QUARTERS, send=True).clear(start, orders)
    community.travel_to(terms.session_end(start))
    before = community.balance(seller)
    metered = (KWH + 1, KWH - 2, KWH + 3, KWH - 4)
    reading = community.read(seller, start, *metered, market=QUARTERS)
    run = oracle(community, QUARTERS, send=True).reconcile(start, [reading])
    (entry,) = run.settled
    assert entry.energy_wh == (1, -2, 3, -4)
    expected = FEED_IN - 2 * RETAIL + 3 * (FEED_IN - 5) - 4 * (RETAIL + 5)
    assert entry.payment_nano == expected == community.balance(seller) - before


def test_reconcile__session_that_was_never_cleared__settles_against_zero(
    community: Community,
) -> None:
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    start = community.open_session()
    community.travel_to(TERMS.clearing_deadline(start) + 1)
    reading = community.read(consumer, start, -100)
    run = oracle(community, send=True).reconcile(start, [reading])
    assert run.settled[0].payment_nano == -100 * RETAIL
    assert community.balance(consumer) == 10**9 - 100 * RETAIL


def test_reconcile__clearing_still_possible__is_refused_by_the_contract(
    community: Community,
) -> None:
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    start = community.open_session()
    community.travel_to(TERMS.session_end(start))
    height = block()
    with pytest.raises(ContractError) as refusal:
        oracle(community, send=True).reconcile(start, [community.read(consumer, start, -1)])
    assert refusal.value.name == "ClearingStillPossible"
    assert block() == height


def test_reconcile__missing_readings__are_estimated_once_their_window_is_over(
    community: Community,
) -> None:
    start, seller, buyer = cleared_day(community)
    community.travel_to(TERMS.reading_deadline(start) - 1)  # the next block is the last before
    assert oracle(community, send=True).reconcile(start, []).receipt is None
    community.travel_to(TERMS.reading_deadline(start) + 1)
    before = {member.peer: community.balance(member) for member in (seller, buyer)}
    run = oracle(community, send=True).reconcile(start, [])
    assert [(entry.peer, entry.energy_wh, entry.estimated) for entry in run.settled] == [
        (seller.peer, (-KWH,), True),
        (buyer.peer, (0,), True),
    ]
    assert run.missing == (seller.peer, buyer.peer)
    assert run.receipt is not None
    estimated = [log for log in run.receipt.events if log.event_name == "ReadingEstimated"]
    assert {log.peer: log.imbalanceNano for log in estimated} == {
        entry.peer: entry.payment_nano for entry in run.settled
    }
    assert community.balance(seller) - before[seller.peer] == -KWH * RETAIL
    assert community.balance(buyer) == before[buyer.peer]

    height = block()
    again = oracle(community, send=True).reconcile(start, [])
    assert (again.receipt, again.settled, block()) == (None, (), height)


def test_reconcile__reading_after_an_estimate__settles_the_difference(
    community: Community,
) -> None:
    start, seller, _ = cleared_day(community)
    community.deposit(community.supplier, 10**9)
    community.travel_to(TERMS.reading_deadline(start) + 1)
    before = community.balance(seller)
    oracle(community, send=True).reconcile(start, [])
    estimated = community.balance(seller)
    run = oracle(community, send=True).reconcile(start, [community.read(seller, start, KWH + 2)])
    assert run.settled[0].payment_nano == 2 * FEED_IN + KWH * RETAIL
    assert community.balance(seller) - estimated == run.settled[0].payment_nano
    assert community.balance(seller) - before == 2 * FEED_IN


def of_an_unknown_peer(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(replace(seller, peer=77), start, 1)


def of_a_peer_without_meter(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(community.supplier, start, 1)


def by_another_meter(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(replace(seller, meter=Account.create()), start, 1)


def by_the_wallet(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(replace(seller, meter=seller.key), start, 1)


def with_too_many_values(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(seller, start, 1, 2)


def above_the_connection(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(seller, start, 10**6 + 1)


def below_the_connection(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(seller, start, -(10**6) - 1)


def of_an_earlier_session(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(seller, start - HOUR, 1)


def of_the_other_market(community: Community, start: int, seller: Member) -> SignedReading:
    return community.read(seller, start, 1, market=QUARTERS)


def without_signature(community: Community, start: int, seller: Member) -> SignedReading:
    return SignedReading(Reading(HOURLY, seller.peer, start, (1,)), b"")


BadReading = Callable[["Community", int, "Member"], SignedReading]
BAD_READINGS: dict[BadReading, tuple[str, str]] = {
    of_an_unknown_peer: ("there is no peer 77", "PeerNotMetered"),
    of_a_peer_without_meter: ("this peer has no meter", "PeerNotMetered"),
    by_another_meter: ("it is not signed by the peer's meter", "ReadingSignerMismatch"),
    by_the_wallet: ("it is not signed by the peer's meter", "ReadingSignerMismatch"),
    with_too_many_values: ("it has 2 values, the session has 1 periods", "ReadingBeyondSession"),
    above_the_connection: ("1000001 Wh in period 0 is more than", "ReadingImplausible"),
    below_the_connection: ("-1000001 Wh in period 0 is more than", "ReadingImplausible"),
    of_an_earlier_session: ("it is for session", "ReadingSignerMismatch"),
    of_the_other_market: ("it is for session", "ReadingSignerMismatch"),
    without_signature: ("a signature has 65 bytes, not 0", "ReadingStillAwaited"),
}


@pytest.mark.parametrize("bad", BAD_READINGS, ids=lambda bad: bad.__name__)
def test_reconcile__bad_reading__is_refused_as_the_contract_would_and_stops_nobody(
    community: Community, bad: BadReading
) -> None:
    reason, error = BAD_READINGS[bad]
    start, seller, buyer = cleared_day(community)
    signed = bad(community, start, seller)
    run = oracle(community).reconcile(start, [signed, community.read(buyer, start, -KWH)])
    assert [entry.peer for entry in run.refused] == [signed.reading.peer]
    assert run.refused[0].reason.startswith(reason)
    assert [entry.peer for entry in run.settled] == [buyer.peer]
    assert said_to_readings(community, start, signed).name == error


def test_reconcile__two_readings_of_a_peer__takes_the_first(community: Community) -> None:
    start, seller, _ = cleared_day(community)
    both = [community.read(seller, start, KWH), community.read(seller, start, 0)]
    run = oracle(community).reconcile(start, both)
    assert [entry.payment_nano for entry in run.settled] == [0]
    assert run.refused == (Refusal(seller.peer, "there is another reading of this peer before it"),)
    receipt = community.reconcile(start, both)
    settled = [log.imbalanceNano for log in receipt.events if log.event_name == "ReadingSettled"]
    assert settled == [0]


class Overtaken(Chain):
    """A chain on which somebody acts between the oracle's last question and its transaction."""

    act: ClassVar[Callable[[], object]]

    def send(self, method: Any, *arguments: Any, sender: Signer) -> Receipt:
        type(self).act()
        return super().send(method, *arguments, sender=sender)


def overtaken(community: Community, act: Callable[[], object]) -> Oracle:
    Overtaken.act = staticmethod(act)
    chain = Overtaken(community.chain.contracts, community.chain.first_block)
    return Oracle(chain, HOURLY, community.solver, send=True)


def test_reconcile__reading_settled_by_somebody_else_meanwhile__settles_the_others(
    community: Community,
) -> None:
    start, seller, buyer = cleared_day(community)
    community.deposit(community.supplier, 10**9)
    before = community.balance(seller)
    readings = [community.read(seller, start, KWH + 10), community.read(buyer, start, -KWH)]
    run = overtaken(community, lambda: community.reconcile(start, readings[1:]))
    result = run.reconcile(start, readings)
    assert [entry.peer for entry in result.settled] == [seller.peer]
    assert result.refused == (Refusal(buyer.peer, "somebody else settled it meanwhile"),)
    assert community.balance(seller) == before + 10 * FEED_IN


def test_reconcile__all_settled_by_somebody_else_meanwhile__pays_nothing_twice(
    community: Community,
) -> None:
    start, seller, buyer = cleared_day(community)
    readings = [community.read(seller, start, KWH - 10), community.read(buyer, start, -KWH)]
    run = overtaken(community, lambda: community.reconcile(start, readings))
    before = community.balance(seller)
    result = run.reconcile(start, readings)
    assert (result.settled, len(result.refused)) == ((), 2)
    assert community.balance(seller) == before - 10 * RETAIL


@pytest.mark.parametrize("with_a_reading", [False, True])
def test_reconcile__estimate_overtaken__is_not_made_twice(
    community: Community, with_a_reading: bool
) -> None:
    start, seller, buyer = cleared_day(community)
    community.deposit(community.supplier, 10**9)
    community.travel_to(TERMS.reading_deadline(start) + 1)
    before = community.balance(seller)

    def act() -> None:
        if with_a_reading:
            community.reconcile(start, [community.read(seller, start, KWH + 1)])
        else:
            nothing = community.read(seller, start, 0)
            community.reconcile(start, [nothing], signed=None)

    result = overtaken(community, act).reconcile(start, [])
    assert [entry.peer for entry in result.settled] == [buyer.peer]
    change = FEED_IN if with_a_reading else -KWH * RETAIL
    assert community.balance(seller) == before + change


def test_reconcile__estimates_not_meant__says_so_and_sends_nothing(community: Community) -> None:
    start, seller, buyer = cleared_day(community)
    readings = [community.read(seller, start, KWH)]
    community.travel_to(TERMS.reading_deadline(start) + 1)
    height = block()
    with pytest.raises(OracleError, match=f"session {start} misses the readings of 1 peers"):
        oracle(community, send=True).reconcile(start, readings, estimate=False)
    assert block() == height
    complete = [*readings, community.read(buyer, start, -KWH)]
    run = oracle(community, send=True).reconcile(start, complete, estimate=False)
    assert [entry.peer for entry in run.settled] == [seller.peer, buyer.peer]


def test_reconcile__session_not_over__waits(community: Community) -> None:
    seller, _ = producer_and_consumer(community)
    start = community.open_session()
    reading = community.read(seller, start, 1)
    with pytest.raises(OracleError, match=f"ends at {moment(start + HOUR)}"):
        oracle(community, send=True).reconcile(start, [reading])
    assert said_to_readings(community, start, reading).name == "SessionNotOver"


def test_reconcile__settlement_deadline_passed__says_so(community: Community) -> None:
    start, seller, _ = cleared_day(community)
    reading = community.read(seller, start, KWH)
    community.travel_to(TERMS.settlement_deadline(start) + 1)
    with pytest.raises(OracleError, match=f"settled by {moment(TERMS.settlement_deadline(start))}"):
        oracle(community, send=True).reconcile(start, [reading])
    assert said_to_readings(community, start, reading).name == "SettlementTooLate"


# --------------------------------------------------------------------------------------- check


def bad(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if not finding.ok]


def young_market(community: Community) -> tuple[int, int]:
    """A market whose first session is still open; its number and that session."""
    first = community.open_session()
    terms = replace(TERMS, first_session_start=first)
    return community.chain.create_market(terms, sender=community.market_operator), first


def test_check__community_at_work__finds_all_well(community: Community) -> None:
    market, first = young_market(community)
    for start in (first, first + HOUR, first + 2 * HOUR):
        to_gate(community, start, market)
        oracle(community, market, send=True).clear(start, [])
    findings = oracle(community, market).check()
    assert bad(findings) == []
    texts = "\n".join(finding.text for finding in findings)
    assert f"answers at block {block()}" in texts
    assert "ether for gas" in texts
    gate = moment(TERMS.gate_closure(first + 3 * HOUR))
    assert f"gate of session {first + 3 * HOUR} closes at {gate}" in texts
    assert "network 1 is in force for it" in texts
    assert f"session {first + 2 * HOUR} is cleared" in texts
    assert f"session {first} is cleared" in texts


def test_check__session_waits_for_its_clearing__is_well(community: Community) -> None:
    market, first = young_market(community)
    to_gate(community, first, market)
    findings = oracle(community, market).check()
    assert Finding(True, f"session {first} waits for its clearing") in findings
    assert bad(findings) == []


def test_check__session_was_never_cleared__is_bad(community: Community) -> None:
    market, first = young_market(community)
    community.travel_to(TERMS.clearing_deadline(first) + 1)
    findings = bad(oracle(community, market).check())
    assert findings == [f"session {first} was never cleared: it is void"]


def test_check__market_before_its_first_session__misses_none(community: Community) -> None:
    first = community.open_session() + 30 * DAY
    terms = replace(TERMS, first_session_start=first)
    market = community.chain.create_market(terms, sender=community.market_operator)
    findings = oracle(community, market).check()
    assert not any("was never cleared" in finding.text for finding in findings)
    assert (
        f"gate of session {first} closes at {moment(terms.gate_closure(first))}" in findings[2].text
    )


def test_check__network_not_in_force__is_bad(community: Community) -> None:
    registry = community.chain.contracts.registry
    send = community.send
    receipt = send(registry.createNetwork, (0, 10), sender=community.dso)
    network = int(receipt.events[-1].network)
    market = community.chain.create_market(
        replace(TERMS, network=network), sender=community.market_operator
    )
    findings = bad(oracle(community, market).check())
    assert any("no version of network" in text for text in findings)


def test_check__account_without_gas__is_bad(community: Community) -> None:
    findings = replace(oracle(community), signer=penniless()).check()
    assert any("holds 0.0000 ether for gas" in text for text in bad(findings))


def test_check__unknown_market__is_refused(community: Community) -> None:
    with pytest.raises(ChainError, match="there is no market 0"):
        oracle(community, market=0).check()


# --------------------------------------------------------------------------------------- chain


def penniless() -> Signer:
    """An account that has never received anything."""
    return Signer(ape.accounts.test_accounts.generate_test_account())


def test_clear__account_without_gas__fails_and_changes_nothing(community: Community) -> None:
    start = community.open_session()
    to_gate(community, start)
    height = block()
    with pytest.raises(ChainError):
        replace(oracle(community, send=True), signer=penniless()).clear(start, [])
    assert block() == height
    assert not community.chain.snapshot().is_cleared(HOURLY, start)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # web3's sockets
@pytest.mark.parametrize(
    "network",
    ["http://127.0.0.1:1", "http://", "ethereum:local:nobody", "ethereum:nowhere:test", "nothing"],
)
def test_connect__no_such_chain__says_so(network: str) -> None:
    with pytest.raises(ChainError, match="cannot connect to"), connect(network):
        pass


def test_snapshot__of_a_block__does_not_see_what_comes_later(community: Community) -> None:
    member = community.admit(Role.CONSUMER, C3, tokens=1)
    start = community.open_session()
    before = community.chain.snapshot()
    signed = community.sign(member, bid(9, 1), session=start)
    cancelled_later = community.sign(member, bid(9, 1), session=start, nonce=1)
    community.place(signed)
    book = community.chain.contracts.order_book
    community.send(book.cancel, HOURLY, start, 1, sender=member.wallet)
    community.deposit(member, 5)
    later = community.admit(Role.CONSUMER)
    to_gate(community, start)
    oracle(community, send=True).clear(start, [])
    after = community.chain.snapshot()

    assert before.placed_orders(HOURLY, start) == []
    assert after.placed_orders(HOURLY, start) == [SignedOrder(signed.order, b"")]
    assert before.account(member.peer).balance_nano == 10**9
    assert after.account(member.peer).balance_nano == 10**9 + 5
    assert later.peer not in before.peers()
    assert later.peer in after.peers()
    assert not before.is_cleared(HOURLY, start)
    assert after.is_cleared(HOURLY, start)
    assert before.positions_wh(HOURLY, start) == {}
    assert after.positions_wh(HOURLY, start) == {}  # nobody sold to it
    assert not before.is_cancelled(cancelled_later.order)
    before.require_valid(cancelled_later)
    with pytest.raises(ContractError):
        after.require_valid(cancelled_later)
    # Named by its number, a block is read as it was read when it was the latest.
    assert community.chain.snapshot(before.block) == before


def test_collect__more_steps_than_the_oracle_takes__are_refused_before_the_chain_is_asked(
    community: Community,
) -> None:
    member = community.admit(Role.CONSUMER)
    most = 5
    first = community.sign(member, *(bid(1, 1) for _ in range(most)), nonce=0)
    second = community.sign(member, bid(1, 1), nonce=1)
    run = replace(oracle(community), most_steps=most)
    accepted, refused = run.collect(
        first.order.session_start, [first, second], community.chain.snapshot()
    )
    assert len(accepted) == 1
    assert [refusal.reason for refusal in refused] == [
        "the peer hands in more than 5 steps; it can place orders"
    ]


def test_clear__order_with_lanes_that_a_clearing_cannot_name__is_left_out(
    community: Community,
) -> None:
    """Few steps take many blocks: what holds a price far down in the curve could not be shown."""
    terms = replace(TERMS, period_seconds=900, periods_per_session=96)
    market = community.chain.create_market(terms, sender=community.market_operator)
    start = community.open_session(market)
    seller = community.admit(Role.PRODUCER, tokens=1)
    buyer = community.admit(Role.CONSUMER, tokens=1)
    for_session = {"market": market, "session": start}
    dear = [ask(4_000_000, 1)] * 350
    orders = [
        community.sign(seller, *dear, ask(50_000, 1), ask(60_000, 1, 95), **for_session),
        community.sign(seller, ask(70_000, 1), nonce=1, **for_session),
        community.sign(buyer, bid(100_000, 1), **for_session),
    ]
    community.travel_to(terms.gate_closure(start))
    run = Oracle(community.chain, market, community.solver, send=True).clear(start, orders)
    assert [refusal.reason for refusal in run.refused] == ["its curve has more than 4096 blocks"]
    assert community.balance(buyer) == 10**9 - 85_000


@pytest.mark.parametrize("name", [b"\xff\xfe", b"", b"grid"], ids=["no text", "empty", "twice"])
def test_snapshot__node_with_a_useless_name__is_called_by_its_index(
    community: Community, name: bytes
) -> None:
    registry = community.chain.contracts.registry
    effective = community.now() + NOTICE + 10
    community.send(
        registry.publishNetwork, 1, effective, [name.ljust(32, b"\0")], [], sender=community.dso
    )
    community.travel_to(effective + DAY)
    start = community.open_session()
    nodes = community.session(start).versions[0].network.nodes
    assert nodes[:3] == ("grid", "c2", "c3")
    assert len(set(nodes)) == 4
    assert nodes[3].isprintable()


# ----------------------------------------------------------------------------------------- trading


def _floor(community: Community, *who: tuple[Member, Side, int, int, int]) -> list[Any]:
    """Orders (member, side, price, energy, rests from) for the next session, its gate closed."""
    start = community.open_session()
    to_gate(community, start)
    return [
        ContinuousOrder(HOURLY, member.peer, start, 0, 1, side, price, energy, start, rests, at)
        .signed_by(member.key, community.chain.trade_domain)
        for at, (member, side, price, energy, rests) in enumerate(who)
    ]  # fmt: skip


def test_trade__orders_that_cross__trade_by_price_and_time_and_only_once(
    community: Community,
) -> None:
    cheap, dear, buyer = (community.admit(Role.PROSUMER, tokens=1) for _ in range(3))
    orders = _floor(
        community,
        (dear, Side.ASK, 60_000, 500, 0),
        (cheap, Side.ASK, 50_000, 400, 0),
        (buyer, Side.BID, 70_000, 700, NEVER),
    )
    before, height = [community.balance(who) for who in (cheap, dear, buyer)], block()
    dry = oracle(community).trade([*orders, orders[0]])
    assert (block(), dry.receipts, dry.refused) == (height, (), ())
    sent = oracle(community, send=True).trade(orders)
    assert sent.pairs == dry.pairs
    assert len(sent.receipts) == 2
    assert [(pair.seller, pair.energy_wh) for pair in sent.pairs] == [
        (cheap.peer, 400),
        (dear.peer, 300),
    ]
    paid = [400 * 50_000, 300 * 60_000]
    after = [community.balance(who) for who in (cheap, dear, buyer)]
    assert after == [have + more for have, more in zip(before, [*paid, -sum(paid)], strict=True)]
    again = oracle(community, send=True).trade(orders)
    assert (again.pairs, again.refused) == ((), ())


def test_trade__what_the_contract_refuses__is_told_and_stops_nobody(community: Community) -> None:
    seller, buyer, far = (
        community.admit(Role.PROSUMER, node=node, tokens=1) for node in (C3, C3, C2)
    )
    poor = community.admit(Role.PROSUMER)
    good, forged, bought, wanted, stranger = _floor(
        community,
        (seller, Side.ASK, 60_000, 500, 0),
        (far, Side.ASK, 10_000, 500, 0),
        (buyer, Side.BID, 70_000, 200, NEVER),
        (poor, Side.BID, 80_000, 100, NEVER),
        (buyer, Side.BID, 70_000, 100, NEVER),
    )
    unknown = replace(stranger, order=replace(stranger.order, peer=99))
    elsewhere = replace(stranger, order=replace(stranger.order, market=QUARTERS))
    forged = replace(good, order=replace(good.order, price_micro_per_kwh=40_000, nonce=9))
    run = oracle(community, send=True).trade([unknown, elsewhere, forged, wanted, good, bought])
    assert [(pair.seller, pair.buyer, pair.energy_wh) for pair in run.pairs] == [
        (seller.peer, buyer.peer, 200)
    ]
    assert [(entry.peer, entry.reason.split(":")[0]) for entry in run.refused] == [
        (99, "there is no peer 99; ask the registrar to admit it"),
        (buyer.peer, f"it is for market {QUARTERS}"),
        (seller.peer, "WrongSigner"),
        (poor.peer, "InsufficientFunds"),
    ]
