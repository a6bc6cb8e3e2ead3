"""`Settlement.clear`: what it does, then one deviation per requirement C1 to C7."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth_utils.crypto import keccak
from tests.community import (
    C2,
    C3,
    DAY,
    GRID,
    HOUR,
    NANO,
    NETWORK,
    NOTICE,
    QUARTERS,
    Community,
    Member,
    ask,
    bid,
)
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.session import Proposal, propose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairwatt.chain import Receipt, Signer


def positions_hash(positions: Mapping[int, tuple[int, ...]]) -> bytes:
    """Hash over the positions of a session, as `positionsHash` holds it."""
    words = {
        peer: b"".join(wh.to_bytes(32, "big", signed=True) for wh in energy)
        for peer, energy in positions.items()
    }
    return keccak(b"".join(keccak(peer.to_bytes(4, "big") + words[peer]) for peer in words))


def send(community: Community, message: dict[str, Any], sender: Signer | None = None) -> Receipt:
    """Send a clearing as it is."""
    clear = community.chain.contracts.settlement.clear
    return community.send(clear, message, sender=sender or community.solver)


def with_order(
    message: dict[str, Any], order: Order | dict[str, Any], signature: bytes, *fills_wh: int
) -> dict[str, Any]:
    """Add an order to a clearing, where it belongs by peer and nonce."""
    entry = order.to_message() if isinstance(order, Order) else order
    filled = {"order": entry, "fillsWh": list(fills_wh), "signature": signature}
    by_peer_and_nonce = sorted(
        [*message["orders"], filled],
        key=lambda each: (each["order"]["peer"], each["order"]["nonce"]),
    )
    return message | {"orders": by_peer_and_nonce}


@pytest.fixture
def settlement(community: Community) -> Any:
    return community.chain.contracts.settlement


@pytest.fixture
def order_book(community: Community) -> Any:
    return community.chain.contracts.order_book


@pytest.fixture
def producer(community: Community) -> Member:
    return community.admit(Role.PRODUCER, C2, tokens=1)


@pytest.fixture
def consumer(community: Community, producer: Member) -> Member:
    """The peer that is admitted after the producer."""
    return community.admit(Role.CONSUMER, C3, tokens=1)


@pytest.fixture
def trade(community: Community, producer: Member, consumer: Member) -> Proposal:
    """Grid and C2 both sell to C3, in parts, so that every price is fixed by a marginal order."""
    return community.propose(
        community.sign(community.supplier, ask(120_000, 100_000)),
        community.sign(producer, ask(50_000, 2_000)),
        community.sign(consumer, bid(200_000, 3_000)),
    )


@pytest.fixture
def closed(community: Community, trade: Proposal) -> dict[str, Any]:
    """The message of that trade, whose gate is closed."""
    community.close_gate(trade)
    return trade.to_message()


# ------------------------------------------------------------------------------- what it does


def test_clear__two_communities_and_the_grid__pays_everybody_at_node_prices(
    community: Community, trade: Proposal, producer: Member, consumer: Member
) -> None:
    contracts, start = community.chain.contracts, trade.session.start
    settlement, supplier = contracts.settlement, community.supplier
    period = {"market": 1, "periodStart": start}
    session = {"market": 1, "sessionStart": start}
    link = {"owner": community.operator.peer, "rentNano": 0}
    hashed = positions_hash(
        {supplier.peer: (1_000,), producer.peer: (2_000,), consumer.peer: (-3_000,)}
    )
    assert events(community.clear(trade)) == [
        event(settlement.LinkEarned, **period, **link, link=1, tariffNano=15_840 * 1_000),
        event(settlement.LinkEarned, **period, **link, link=2, tariffNano=21_600 * 2_000),
        event(
            settlement.PeriodCleared,
            **period,
            pricesMicroPerKWh=(120_000, 114_240, 135_840),
            flowsWh=(0, 1_000, 2_000, 0),
            welfare=320_960_000,
        ),
        event(
            settlement.PositionTaken,
            **session,
            peer=supplier.peer,
            energyWh=(1_000,),
            paymentNano=120_000 * 1_000,
        ),
        event(
            settlement.PositionTaken,
            **session,
            peer=producer.peer,
            energyWh=(2_000,),
            paymentNano=114_240 * 2_000,
        ),
        event(
            settlement.PositionTaken,
            **session,
            peer=consumer.peer,
            energyWh=(-3_000,),
            paymentNano=-135_840 * 3_000,
        ),
        event(
            settlement.SessionCleared,
            **session,
            solver=community.solver.address,
            orders=3,
            positionsHash=hashed,
        ),
        event(contracts.order_book.OrdersTaken, **session, orders=3),
    ]
    assert settlement.positionsHash(1, start) == hashed
    assert community.balance(supplier) == 120_000 * 1_000
    assert community.balance(producer) == NANO + 114_240 * 2_000
    assert community.balance(consumer) == NANO - 135_840 * 3_000
    assert community.balance(community.operator) == 15_840 * 1_000 + 21_600 * 2_000
    account = contracts.ledger.account(consumer.peer)
    assert account.openUntil == trade.session.terms.settlement_deadline(start)


def test_clear__several_periods_and_orders__nets_each_peers_periods(community: Community) -> None:
    prosumer = community.admit(Role.PROSUMER, C3, tokens=1)
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    producer = community.admit(Role.PRODUCER, C3)
    proposal = community.propose(
        community.sign(prosumer, bid(90_000, 400), ask(60_000, 400, 3), market=QUARTERS),
        community.sign(prosumer, bid(95_000, 100), nonce=7, market=QUARTERS),
        community.sign(consumer, bid(100_000, 300, 1), bid(100_000, 300, 3), market=QUARTERS),
        community.sign(producer, ask(50_000, 1_000), nonce=2**32 - 1, market=QUARTERS),
    )
    emitted = events(community.clear(proposal))
    positions = [each.values for each in emitted if each.name == "PositionTaken"]
    assert [(each["peer"], each["energyWh"], each["paymentNano"]) for each in positions] == [
        (prosumer.peer, (-500, 0, 0, 300), -500 * 50_000 + 300 * 60_000),
        (consumer.peer, (0, 0, 0, -300), -300 * 60_000),
        (producer.peer, (500, 0, 0, 0), 500 * 50_000),
    ]
    starts = [each.values["periodStart"] for each in emitted if each.name == "PeriodCleared"]
    assert starts == [proposal.session.start + offset for offset in (0, 900, 1800, 2700)]
    assert community.balance(prosumer) == NANO - 7_000_000


def test_clear__without_orders__is_final_too(community: Community, settlement: Any) -> None:
    start = community.open_session()
    empty = propose(community.session(start), [])
    emitted = events(community.clear(empty))
    assert [each.name for each in emitted] == ["PeriodCleared", "SessionCleared", "OrdersTaken"]
    assert settlement.positionsHash(1, start) == keccak(b"")
    with reverts(settlement.AlreadyCleared, market=1, sessionStart=start):
        community.clear(empty)


def test_clear__full_link__leaves_the_congestion_rent_to_the_fund(
    community: Community, settlement: Any
) -> None:
    seller = community.admit(Role.PRODUCER, C3)
    buyer = community.admit(Role.CONSUMER, C2, tokens=10)
    proposal = community.propose(
        community.sign(seller, ask(20_000, 200_000)), community.sign(buyer, bid(100_000, 100_000))
    )
    assert events(community.clear(proposal))[0] == event(
        settlement.LinkEarned,
        market=1,
        periodStart=proposal.session.start,
        owner=0,
        link=3,
        tariffNano=4_800 * 50_000,
        rentNano=75_200 * 50_000,
    )
    assert community.balance(seller) == 20_000 * 50_000
    assert community.balance(buyer) == 10 * NANO - 100_000 * 50_000
    assert community.chain.contracts.ledger.fundNano() == 80_000 * 50_000


def test_clear__full_link_with_an_owner__splits_tariff_and_rent(community: Community) -> None:
    seller = community.admit(Role.PRODUCER, GRID, connection_w=10**8)
    buyer = community.admit(Role.CONSUMER, C2, connection_w=10**8, tokens=1_000)
    proposal = community.propose(
        community.sign(seller, ask(20_000, 10**7)), community.sign(buyer, bid(50_000, 10**7))
    )
    community.clear(proposal)
    into_c2 = 5_000_000 + 50_000  # directly and over c3, both links full
    assert community.balance(community.operator) == 15_840 * into_c2
    assert community.chain.contracts.ledger.fundNano() == (50_000 - 20_000 - 15_840) * into_c2


def test_clear__negative_price__is_paid_by_the_seller(community: Community) -> None:
    producer = community.admit(Role.PRODUCER, C3, tokens=1)
    consumer = community.admit(Role.CONSUMER, C3)
    proposal = community.propose(
        community.sign(producer, ask(-100_000, 1_000)), community.sign(consumer, bid(-50_000, 400))
    )
    community.clear(proposal)
    assert community.balance(producer) == NANO - 100_000 * 400
    assert community.balance(consumer) == 100_000 * 400


def test_clear__by_anyone__is_accepted(community: Community, closed: dict[str, Any]) -> None:
    cleared = events(send(community, closed, community.outsider))[-2]
    assert cleared.values["solver"] == community.outsider.address


def test_clear__other_prices_that_prove_the_optimum__is_accepted(community: Community) -> None:
    """Where no order is marginal the optimal prices form a range; the contract takes any of it."""
    producer = community.admit(Role.PRODUCER, C3)
    consumer = community.admit(Role.CONSUMER, C3, tokens=1)
    proposal = community.propose(
        community.sign(producer, ask(50_000, 1_000)), community.sign(consumer, bid(100_000, 1_000))
    )
    message = proposal.to_message()
    prices = message["periods"][0]["pricesMicroPerKWh"]
    assert prices[C3] == 75_000
    prices[C2:] = [100_000, 100_000]
    community.close_gate(proposal)
    send(community, message)
    assert community.balance(producer) == 100_000 * 1_000


# ------------------------------------------------------------------------- C1 session and time


def test_clear__unknown_market__reverts(
    community: Community, order_book: Any, closed: dict[str, Any]
) -> None:
    with reverts(order_book.UnknownMarket, market=3):
        send(community, closed | {"market": 3})


@pytest.mark.parametrize("off", [1, -1, 1800])
def test_clear__no_session_of_the_market__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], off: int
) -> None:
    start = closed["sessionStart"] + off
    with reverts(settlement.NotASession, sessionStart=start):
        send(community, closed | {"sessionStart": start})


def test_clear__before_the_first_session__reverts(
    community: Community, settlement: Any, closed: dict[str, Any]
) -> None:
    start = community.terms().first_session_start - HOUR
    with reverts(settlement.NotASession, sessionStart=start):
        send(community, closed | {"sessionStart": start})


def test_clear__a_second_before_gate_closure__reverts(
    community: Community, settlement: Any, trade: Proposal
) -> None:
    start = trade.session.start
    gate = trade.session.terms.gate_closure(start)
    community.wait_until(gate - 1)
    with reverts(settlement.GateStillOpen, market=1, sessionStart=start, gateClosure=gate):
        send(community, trade.to_message())


def test_clear__in_the_second_of_gate_closure__is_accepted(
    community: Community, trade: Proposal
) -> None:
    gate = trade.session.terms.gate_closure(trade.session.start)
    community.wait_until(gate)
    send(community, trade.to_message())
    assert ape.chain.blocks.head.timestamp == gate


def test_clear__in_the_last_second__is_accepted(community: Community, trade: Proposal) -> None:
    deadline = trade.session.terms.clearing_deadline(trade.session.start)
    community.wait_until(deadline)
    send(community, trade.to_message())
    assert ape.chain.blocks.head.timestamp == deadline


def test_clear__a_second_after_the_deadline__reverts(
    community: Community, settlement: Any, trade: Proposal
) -> None:
    start = trade.session.start
    deadline = trade.session.terms.clearing_deadline(start)
    community.wait_until(deadline + 1)
    with reverts(settlement.ClearingTooLate, market=1, sessionStart=start, deadline=deadline):
        send(community, trade.to_message())


def test_clear__twice__reverts(
    community: Community, settlement: Any, closed: dict[str, Any]
) -> None:
    send(community, closed)
    with reverts(settlement.AlreadyCleared, market=1, sessionStart=closed["sessionStart"]):
        send(community, closed | {"orders": []})


def test_clear__while_paused__reverts(
    community: Community, settlement: Any, closed: dict[str, Any]
) -> None:
    community.send(settlement.pause, sender=community.guardian)
    with reverts(settlement.EnforcedPause):
        send(community, closed)
    community.send(settlement.unpause, sender=community.guardian)
    send(community, closed)


@pytest.mark.parametrize("switch", ["pause", "unpause"])
def test_pause__by_anyone_but_the_guardian__reverts(
    community: Community, settlement: Any, switch: str
) -> None:
    for caller in (community.solver, community.admin, community.market_operator):
        with reverts(
            settlement.AccessControlUnauthorizedAccount,
            account=caller.address,
            neededRole=settlement.GUARDIAN_ROLE(),
        ):
            community.send(getattr(settlement, switch), sender=caller)


# --------------------------------------------------------------------------------- C2 networks


@pytest.mark.parametrize("count", [0, 2])
def test_clear__wrong_number_of_periods__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], count: int
) -> None:
    with reverts(settlement.PeriodCountMismatch, expected=1, actual=count):
        send(community, closed | {"periods": closed["periods"] * count})


def test_clear__period_on_a_network_that_is_not_brought__reverts(
    community: Community, settlement: Any, closed: dict[str, Any]
) -> None:
    closed["periods"][0]["network"] = 1
    with reverts(settlement.NetworkMissing, period=0, network=1):
        send(community, closed)


@pytest.mark.parametrize("version", [0, 2])
def test_clear__version_not_in_force__reverts(
    community: Community, closed: dict[str, Any], version: int
) -> None:
    """The first version was replaced by the second; a third is not published."""
    closed["networks"][0]["version"] = version
    error = community.chain.contracts.registry.NetworkNotInForce
    with reverts(error, network=1, version=version, time=closed["sessionStart"]):
        send(community, closed)


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
def test_clear__altered_link__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], field: str, value: int
) -> None:
    closed["networks"][0]["links"][1][field] = value
    with reverts(settlement.NetworkAltered, network=1, version=1):
        send(community, closed)


def test_clear__link_left_out__reverts(
    community: Community, settlement: Any, closed: dict[str, Any]
) -> None:
    closed["networks"][0]["links"].pop()
    closed["periods"][0]["flowsWh"].pop()
    with reverts(settlement.NetworkAltered, network=1, version=1):
        send(community, closed)


@pytest.fixture
def two_versions(community: Community) -> Proposal:
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
    return proposal


def test_clear__two_versions_in_a_session__each_period_has_its_own(
    community: Community, two_versions: Proposal
) -> None:
    message = two_versions.to_message()
    assert [network["version"] for network in message["networks"]] == [1, 2]
    send(community, message)
    assert community.balance(community.operator) == (15_840 + 31_680) * 100


def test_clear__version_of_another_period__reverts(
    community: Community, two_versions: Proposal
) -> None:
    message = two_versions.to_message()
    message["periods"][2]["network"] = 0
    error = community.chain.contracts.registry.NetworkNotInForce
    with reverts(error, network=1, version=1, time=two_versions.session.start + 1800):
        send(community, message)


# ------------------------------------------------------------------------------ C3 orders' list


def test_clear__orders_not_sorted_by_peer__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], producer: Member
) -> None:
    supplier, seller, buyer = closed["orders"]
    with reverts(settlement.OrdersUnsorted, peer=producer.peer, nonce=0):
        send(community, closed | {"orders": [supplier, buyer, seller]})


def test_clear__orders_not_sorted_by_nonce__reverts(
    community: Community, settlement: Any, consumer: Member
) -> None:
    proposal = community.propose(
        community.sign(consumer, bid(10_000, 1), nonce=3),
        community.sign(consumer, bid(10_000, 1), nonce=4),
    )
    community.close_gate(proposal)
    message = proposal.to_message()
    with reverts(settlement.OrdersUnsorted, peer=consumer.peer, nonce=3):
        send(community, message | {"orders": message["orders"][::-1]})


def test_clear__order_twice__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], producer: Member
) -> None:
    supplier, seller, buyer = closed["orders"]
    with reverts(settlement.OrdersUnsorted, peer=producer.peer, nonce=0):
        send(community, closed | {"orders": [supplier, seller, seller, buyer]})


@pytest.mark.parametrize("other", ["session", "market"])
def test_clear__order_for_another_session__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member, other: str
) -> None:
    options = {"session": trade.session.start + HOUR, "market": QUARTERS}
    signed = community.sign(consumer, bid(10_000, 1), nonce=1, **{other: options[other]})
    community.close_gate(trade)
    with reverts(settlement.OrderOfAnotherSession, peer=consumer.peer, nonce=1):
        send(community, with_order(trade.to_message(), signed.order, signed.signature, 0))


@pytest.mark.parametrize("fills", [(), (0, 0)])
def test_clear__not_one_fill_per_step__reverts(
    community: Community,
    settlement: Any,
    closed: dict[str, Any],
    consumer: Member,
    fills: tuple[int, ...],
) -> None:
    closed["orders"][-1]["fillsWh"] = list(fills)
    error = settlement.FillCountMismatch
    with reverts(error, peer=consumer.peer, nonce=0, steps=1, fills=len(fills)):
        send(community, closed)


# -------------------------------------------------------------------- C4 admissible and signed


def _clear_with(community: Community, trade: Proposal, signed: SignedOrder) -> Receipt:
    """Clear the trade and one more order, of which nothing is filled."""
    community.close_gate(trade)
    fills = [0] * len(signed.order.steps)
    message = with_order(trade.to_message(), signed.order, signed.signature, *fills)
    return send(community, message)


def test_clear__order_without_steps__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], consumer: Member
) -> None:
    order = closed["orders"][-1]["order"] | {"steps": [], "nonce": 1}
    with reverts(settlement.OrderEmpty, peer=consumer.peer, nonce=1):
        send(community, with_order(closed, order, b"\1" * 65))


def test_clear__order_expired_a_second_before_gate_closure__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member
) -> None:
    gate = trade.session.terms.gate_closure(trade.session.start)
    signed = community.sign(consumer, bid(10_000, 1), nonce=1, expiry=gate - 1)
    order = {"peer": consumer.peer, "nonce": 1, "expiry": gate - 1}
    with reverts(settlement.OrderExpired, **order, gateClosure=gate):
        _clear_with(community, trade, signed)


def test_clear__order_that_expires_at_gate_closure__is_accepted(
    community: Community, trade: Proposal, consumer: Member
) -> None:
    gate = trade.session.terms.gate_closure(trade.session.start)
    _clear_with(community, trade, community.sign(consumer, bid(10_000, 1), nonce=1, expiry=gate))


def test_clear__order_of_nobody__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member
) -> None:
    nobody = replace(consumer, peer=99)
    with reverts(settlement.PeerNotActive, peer=99):
        _clear_with(community, trade, community.sign(nobody, bid(10_000, 1)))


def test_clear__order_of_a_suspended_peer__reverts(
    community: Community, settlement: Any, consumer: Member
) -> None:
    registry = community.chain.contracts.registry
    community.send(registry.suspend, consumer.peer, sender=community.registrar)
    community.travel_to(community.now() + NOTICE + HOUR)
    proposal = community.propose(community.sign(consumer, bid(10_000, 1)))
    with reverts(settlement.PeerNotActive, peer=consumer.peer):
        community.clear(proposal)


def test_clear__order_of_a_peer_on_another_network__reverts(
    community: Community, settlement: Any, trade: Proposal
) -> None:
    network = community.chain.create_network(replace(NETWORK, links=()), sender=community.dso)
    foreigner = community.admit(Role.CONSUMER, C3, network=network)
    error = settlement.WrongNetwork
    with reverts(error, peer=foreigner.peer, peerNetwork=network, marketNetwork=1):
        _clear_with(community, trade, community.sign(foreigner, bid(10_000, 1)))


def test_clear__order_at_another_node__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member
) -> None:
    signed = community.sign(consumer, bid(10_000, 1), nonce=1, node=C2)
    with reverts(settlement.WrongNode, peer=consumer.peer, orderNode=C2, peerNode=C3):
        _clear_with(community, trade, signed)


@pytest.mark.parametrize(
    ("role", "step"),
    [
        (Role.CONSUMER, ask(10_000, 1)),
        (Role.PRODUCER, bid(10_000, 1)),
        (Role.OPERATOR, bid(10_000, 1)),
        (Role.OPERATOR, ask(10_000, 1)),
    ],
)
def test_clear__side_that_the_role_does_not_have__reverts(
    community: Community, settlement: Any, trade: Proposal, role: Role, step: Step
) -> None:
    peer = community.admit(role, C3)
    error = settlement.SideNotAllowed
    with reverts(error, peer=peer.peer, role=int(role), side=int(step.side)):
        _clear_with(community, trade, community.sign(peer, step))


def test_clear__step_for_a_period_the_session_does_not_have__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member
) -> None:
    signed = community.sign(consumer, bid(10_000, 1, period=1), nonce=1)
    with reverts(settlement.UnknownPeriod, peer=consumer.peer, nonce=1, period=1):
        _clear_with(community, trade, signed)


def test_clear__more_energy_than_the_connection_carries__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member
) -> None:
    signed = community.sign(consumer, bid(10_000, 10**6 + 1), nonce=1)
    energy = {"energyWh": 10**6 + 1, "limitWh": 10**6}
    with reverts(settlement.EnergyAboveConnection, peer=consumer.peer, nonce=1, **energy):
        _clear_with(community, trade, signed)


@pytest.mark.parametrize("price", [-500_001, 4_000_001])
def test_clear__limit_beyond_floor_or_cap__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member, price: int
) -> None:
    signed = community.sign(consumer, bid(price, 1), nonce=1)
    error = settlement.LimitOutOfBounds
    with reverts(error, peer=consumer.peer, nonce=1, priceMicroPerKWh=price):
        _clear_with(community, trade, signed)


def test_clear__order_signed_by_another_wallet__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member, producer: Member
) -> None:
    order = community.order(consumer, bid(10_000, 1), nonce=1)
    signed = order.signed_by(producer.key, community.chain.order_domain)
    signer = producer.wallet.address
    with reverts(settlement.OrderSignerMismatch, peer=consumer.peer, nonce=1, signer=signer):
        _clear_with(community, trade, signed)


@pytest.mark.parametrize("signature", [b"\0" * 65, b"\xff" * 65, b"\1" * 64, b"\1"])
def test_clear__no_signature_at_all__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member, signature: bytes
) -> None:
    order = community.order(consumer, bid(10_000, 1), nonce=1)
    signer = "0x" + "0" * 40
    with reverts(settlement.OrderSignerMismatch, peer=consumer.peer, nonce=1, signer=signer):
        _clear_with(community, trade, SignedOrder(order, signature))


def test_clear__order_altered_after_signing__reverts(
    community: Community, settlement: Any, trade: Proposal, consumer: Member
) -> None:
    signed = community.sign(consumer, bid(10_000, 1), nonce=1)
    forged = replace(signed, order=replace(signed.order, steps=(bid(20_000, 1),)))
    signer = forged.signer(community.chain.order_domain)
    with reverts(settlement.OrderSignerMismatch, peer=consumer.peer, nonce=1, signer=signer):
        _clear_with(community, trade, forged)


@pytest.mark.parametrize("all_at_once", [False, True])
def test_clear__cancelled_order__reverts(
    community: Community, order_book: Any, trade: Proposal, consumer: Member, all_at_once: bool
) -> None:
    cancel = order_book.cancelAll if all_at_once else order_book.cancel
    bound = 1 if all_at_once else 0
    community.send(cancel, 1, trade.session.start, bound, sender=consumer.wallet)
    with reverts(order_book.OrderIsCancelled, peer=consumer.peer, nonce=0):
        community.clear(trade)


# ---------------------------------------------------------------------------- C5 placed orders


@pytest.fixture
def placed(community: Community, consumer: Member) -> SignedOrder:
    """The consumer's bid, placed on chain."""
    signed = community.sign(consumer, bid(200_000, 3_000))
    community.place(signed)
    return signed


def _unsigned(signed: SignedOrder) -> SignedOrder:
    return replace(signed, signature=b"")


def test_clear__placed_order__frees_its_lock(
    community: Community, placed: SignedOrder, producer: Member, consumer: Member
) -> None:
    sale = community.sign(producer, ask(50_000, 4_000))
    receipt = community.clear(community.propose(sale, placed=[_unsigned(placed)]))
    ledger = community.chain.contracts.ledger
    unlocked = {"peer": consumer.peer, "amountNano": 200_000 * 3_000}
    assert events(receipt)[-1] == event(ledger.Unlocked, **unlocked)
    assert ledger.account(consumer.peer).lockedNano == 0
    assert community.balance(consumer) == NANO - 71_600 * 3_000


def test_clear__placed_order_with_its_signature__frees_its_lock_too(
    community: Community, placed: SignedOrder, consumer: Member
) -> None:
    community.clear(community.propose(placed))
    assert community.chain.contracts.ledger.account(consumer.peer).lockedNano == 0


def test_clear__without_a_placed_order__reverts(
    community: Community, order_book: Any, placed: SignedOrder, producer: Member
) -> None:
    proposal = community.propose(community.sign(producer, ask(50_000, 4_000)))
    with reverts(order_book.PlacedOrdersMissing, placed=1, taken=0):
        community.clear(proposal)


def test_clear__with_one_of_two_placed_orders__reverts(
    community: Community, order_book: Any, placed: SignedOrder, producer: Member
) -> None:
    community.place(community.sign(producer, ask(50_000, 4_000)))
    proposal = community.propose(placed=[_unsigned(placed)])
    with reverts(order_book.PlacedOrdersMissing, placed=2, taken=1):
        community.clear(proposal)


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


@pytest.mark.parametrize("others_are_placed", [False, True])
def test_clear__unsigned_order_that_is_not_placed__reverts(
    community: Community,
    order_book: Any,
    consumer: Member,
    producer: Member,
    others_are_placed: bool,
) -> None:
    unsigned = SignedOrder(community.order(consumer, bid(150_000, 10)), b"")
    sale = community.sign(producer, ask(50_000, 1))
    if others_are_placed:
        community.place(sale)
    with reverts(order_book.OrderNotPlaced, peer=consumer.peer, nonce=0):
        community.clear(community.propose(unsigned, sale))


def test_clear__placed_and_signed_orders_of_a_peer__are_both_taken(
    community: Community, placed: SignedOrder, consumer: Member, producer: Member
) -> None:
    more = community.sign(consumer, bid(100_000, 500), nonce=1)
    sale = community.sign(producer, ask(50_000, 4_000))
    community.clear(community.propose(more, sale, placed=[_unsigned(placed)]))
    assert community.balance(consumer) == NANO - 71_600 * 3_500


def test_clear__cancelled_placed_order__is_not_missed(
    community: Community,
    order_book: Any,
    placed: SignedOrder,
    consumer: Member,
    producer: Member,
) -> None:
    community.send(order_book.cancel, 1, placed.order.session_start, 0, sender=consumer.wallet)
    community.clear(community.propose(community.sign(producer, ask(50_000, 4_000))))


def test_clear__cancelled_placed_order_presented__reverts(
    community: Community, order_book: Any, placed: SignedOrder, consumer: Member
) -> None:
    community.send(order_book.cancel, 1, placed.order.session_start, 0, sender=consumer.wallet)
    with reverts(order_book.OrderIsCancelled, peer=consumer.peer, nonce=0):
        community.clear(community.propose(placed=[_unsigned(placed)]))


# -------------------------------------------------------------------------------------- C6 proof


@pytest.mark.parametrize("count", [2, 4])
def test_clear__not_one_price_per_node__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], count: int
) -> None:
    closed["periods"][0]["pricesMicroPerKWh"] = [50_000] * count
    with reverts(settlement.PriceCountMismatch, expected=3, actual=count):
        send(community, closed)


@pytest.mark.parametrize("count", [3, 5])
def test_clear__not_one_flow_per_link__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], count: int
) -> None:
    closed["periods"][0]["flowsWh"] = [0] * count
    with reverts(settlement.FlowCountMismatch, expected=4, actual=count):
        send(community, closed)


@pytest.mark.parametrize(("node", "price"), [(GRID, -500_001), (C2, 4_000_001), (C3, 4_000_001)])
def test_clear__price_beyond_floor_or_cap__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], node: int, price: int
) -> None:
    closed["periods"][0]["pricesMicroPerKWh"][node] = price
    bounds = {"floor": -500_000, "cap": 4_000_000}
    with reverts(settlement.PriceOutOfBounds, node=node, priceMicroPerKWh=price, **bounds):
        send(community, closed)


@pytest.mark.parametrize(("at", "energy"), [(0, 100_000), (1, 2_000), (2, 3_000)])
def test_clear__fill_above_energy__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], at: int, energy: int
) -> None:
    closed["orders"][at]["fillsWh"] = [energy + 1]
    with reverts(settlement.FillAboveEnergy, line=at, fillWh=energy + 1, energyWh=energy):
        send(community, closed)


@pytest.mark.parametrize("link", range(4))
def test_clear__flow_above_capacity__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], link: int
) -> None:
    capacity = NETWORK.links[link].capacity_wh
    closed["periods"][0]["flowsWh"][link] = capacity + 1
    error = settlement.FlowAboveCapacity
    with reverts(error, link=link, flowWh=capacity + 1, capacityWh=capacity):
        send(community, closed)


@pytest.mark.parametrize(
    ("order", "change", "node", "surplus"),
    [(0, 1, GRID, 1), (0, -1, GRID, -1), (1, -1, C2, -1), (2, -1, C3, 1)],
)
def test_clear__fill_changed_by_a_watt_hour__reverts(
    community: Community,
    settlement: Any,
    closed: dict[str, Any],
    order: int,
    change: int,
    node: int,
    surplus: int,
) -> None:
    closed["orders"][order]["fillsWh"][0] += change
    with reverts(settlement.NodeUnbalanced, node=node, surplusWh=surplus):
        send(community, closed)


@pytest.mark.parametrize(("link", "change"), [(0, 1), (1, 1), (1, -1), (2, 1), (2, -1), (3, 1)])
def test_clear__flow_changed_by_a_watt_hour__reverts(
    community: Community, settlement: Any, closed: dict[str, Any], link: int, change: int
) -> None:
    closed["periods"][0]["flowsWh"][link] += change
    source = NETWORK.node_index[NETWORK.links[link].source]
    target = NETWORK.node_index[NETWORK.links[link].target]
    first = min(source, target)
    surplus = change if first == target else -change
    with reverts(settlement.NodeUnbalanced, node=first, surplusWh=surplus):
        send(community, closed)


@pytest.mark.parametrize(
    ("node", "change", "gain"),
    [
        (GRID, 1, 100_000),  # all the grid offers would gain
        (GRID, -1, 5_000_000),  # grid -> c3 would earn a rent
        (C2, 1, 2_000),
        (C2, -1, 5_000_000 - 2_000),
        (C3, 1, 10_000_000 - 3_000),  # both links to C3 would earn a rent
        (C3, -1, 3_000),
    ],
)
def test_clear__price_changed_by_a_millionth__reverts(
    community: Community,
    settlement: Any,
    closed: dict[str, Any],
    node: int,
    change: int,
    gain: int,
) -> None:
    closed["periods"][0]["pricesMicroPerKWh"][node] += change
    with reverts(settlement.NotOptimal, welfare=320_960_000, dualBound=320_960_000 + gain):
        send(community, closed)


def test_clear__balanced_but_worse__reverts(
    community: Community, settlement: Any, closed: dict[str, Any]
) -> None:
    """A kWh from the grid instead of one from C2."""
    closed["orders"][0]["fillsWh"] = [2_000]
    closed["orders"][1]["fillsWh"] = [1_000]
    closed["periods"][0]["flowsWh"] = [0, 2_000, 1_000, 0]
    lost = (120_000 + 15_840 - 50_000 - 21_600) * 1_000
    with reverts(settlement.NotOptimal, welfare=320_960_000 - lost, dualBound=320_960_000):
        send(community, closed)


def test_clear__without_trade__reverts(
    community: Community, settlement: Any, closed: dict[str, Any]
) -> None:
    for filled in closed["orders"]:
        filled["fillsWh"] = [0]
    closed["periods"][0]["flowsWh"] = [0] * 4
    with reverts(settlement.NotOptimal, welfare=0, dualBound=320_960_000):
        send(community, closed)


def test_clear__energy_in_a_circle__reverts(
    community: Community, settlement: Any, closed: dict[str, Any]
) -> None:
    """From C2 to C3 and back, for nothing but the tariffs."""
    closed["periods"][0]["flowsWh"] = [0, 1_000, 2_001, 1]
    wasted = 21_600 + 4_800
    with reverts(settlement.NotOptimal, welfare=320_960_000 - wasted, dualBound=320_960_000):
        send(community, closed)


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


@pytest.fixture
def insufficient(community: Community) -> Any:
    return community.chain.contracts.ledger.InsufficientFunds


@pytest.mark.parametrize("means", [0, 1, COST - 1])
def test_clear__peer_that_cannot_pay__reverts(
    community: Community, insufficient: Any, broke: Member, purchase: Proposal, means: int
) -> None:
    if means:
        community.deposit(broke, means)
    with reverts(insufficient, peer=broke.peer, neededNano=COST, availableNano=means):
        community.clear(purchase)
    assert not community.chain.snapshot().is_cleared(1, purchase.session.start)


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
    community: Community, broke: Member, purchase: Proposal
) -> None:
    contracts, manager = community.chain.contracts, community.fund_manager
    ledger, token, wei = contracts.ledger, contracts.token, COST * NANO
    community.send(token.treasuryMint, manager.address, wei, sender=community.treasury)
    community.send(token.approve, ledger, wei, sender=manager)
    community.send(ledger.depositToFund, COST, sender=manager)
    community.send(ledger.setCredit, broke.peer, COST, sender=manager)
    community.clear(purchase)
    assert community.balance(broke) == -COST


def test_clear__withdrawal_requested_before_gate_closure__cannot_pay(
    community: Community, insufficient: Any, broke: Member, purchase: Proposal
) -> None:
    community.deposit(broke, COST)
    request = community.chain.contracts.ledger.requestWithdrawal
    community.wait_until(purchase.session.terms.gate_closure(purchase.session.start) - 1)
    community.send(request, 1, sender=broke.wallet)
    with reverts(insufficient, peer=broke.peer, neededNano=COST, availableNano=COST - 1):
        community.clear(purchase)


def test_clear__withdrawal_requested_at_gate_closure__pays(
    community: Community, broke: Member, purchase: Proposal
) -> None:
    community.deposit(broke, COST)
    request = community.chain.contracts.ledger.requestWithdrawal
    community.wait_until(purchase.session.terms.gate_closure(purchase.session.start))
    community.send(request, COST, sender=broke.wallet)
    community.clear(purchase)
    assert community.balance(broke) == 0


def test_clear__without_the_order_that_nobody_pays__is_accepted(
    community: Community, insufficient: Any, broke: Member, purchase: Proposal
) -> None:
    with reverts(insufficient, peer=broke.peer, neededNano=COST, availableNano=0):
        community.clear(purchase)
    kept = [signed for signed in purchase.orders if signed.order.peer != broke.peer]
    community.clear(community.propose(*kept))
    assert community.chain.snapshot().is_cleared(1, purchase.session.start)
