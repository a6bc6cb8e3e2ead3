"""The oracle and flexible orders: which it takes, and that it clears them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from eth_account import Account

from fairwatt.chain import Role, project
from fairwatt.chain import test_signer as local_signer
from fairwatt.oracle import Oracle
from fairwatt.orders import SignedOrder
from tests.community import C3, NANO, QUARTERS, Community, Member, ask, bid
from tests.contracts.test_flexible_orders import flexible

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE = (4, 4, 9, 0, 0, 0, 0)


def test_clear__vehicle_and_battery__are_cleared_and_paid(community: Community) -> None:
    seller = community.admit(Role.PRODUCER, tokens=1)
    buyer = community.admit(Role.CONSUMER, tokens=1)
    battery, vehicle = (community.admit(Role.STORAGE, tokens=1) for _ in range(2))
    orders = [
        community.sign(
            seller,
            *(ask(price, 20, at) for at, price in enumerate((90, 30, 70, 50))),
            market=QUARTERS,
        ),
        community.sign(buyer, bid(500, 3, 2), market=QUARTERS),
        flexible(community, battery, (5, 5, 9, 0, 0, 0, 10)),
        flexible(community, vehicle, (6, 0, 10, 0, 10, 500, 0)),
    ]
    start = community.open_session(QUARTERS)
    community.travel_to(community.terms(QUARTERS).gate_closure(start))
    run = Oracle(community.chain, QUARTERS, community.solver, send=True).clear(start, orders)
    assert run.refused == ()
    assert run.proposal is not None
    # The battery buys all it can at 30 and sells it at 50, to the buyer and to the vehicle, which
    # buys 6 Wh at 30 and 4 at 50. When it buys those 4, third or last, is a tie.
    snapshot = community.chain.snapshot()
    assert snapshot.positions_wh(QUARTERS, start) == run.proposal.positions_wh
    assert community.balance(buyer) == NANO - 3 * 50
    assert community.balance(battery) == NANO + 5 * 50 - 5 * 30
    assert community.balance(vehicle) == NANO - 6 * 30 - 4 * 50
    assert community.balance(seller) == NANO + 11 * 30 + 2 * 50


def _unknown(community: Community, member: Member) -> SignedOrder:
    return flexible(community, replace(member, peer=99), IDLE)


def _suspended(community: Community, member: Member) -> SignedOrder:
    registry = community.chain.contracts.registry
    community.send(registry.suspend, member.peer, sender=community.registrar)
    community.travel_to(community.now() + registry.NOTICE_SECONDS() + 1)
    return flexible(community, member, IDLE)


def _cancelled(community: Community, member: Member) -> SignedOrder:
    signed = flexible(community, member, IDLE)
    cancel = community.chain.contracts.order_book.cancel
    community.send(cancel, QUARTERS, signed.order.session_start, 0, sender=member.wallet)
    return signed


def _by_another(community: Community, member: Member) -> SignedOrder:
    other = community.admit(Role.STORAGE)
    return flexible(community, replace(other, peer=member.peer), IDLE)


def _of_a_consumer(community: Community, _: Member) -> SignedOrder:
    return flexible(community, community.admit(Role.CONSUMER), IDLE)


def _of_a_contract_wallet(community: Community, _: Member) -> SignedOrder:
    owner = local_signer(9)
    assert owner.key is not None
    wallet = owner.account.deploy(project().ContractWallet, owner.address)
    meter = Account.create().address
    receipt = community.send(
        community.chain.contracts.registry.admit,
        wallet.address,
        (Role.STORAGE, 1, C3, meter, 1, 10**6, 1),
        sender=community.registrar,
    )
    return flexible(community, Member(int(receipt.events[-1].peer), owner, owner.key, C3), IDLE)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_unknown, "PeerNotActive: peer=99"),
        (_suspended, "PeerNotActive: peer="),
        (_cancelled, "OrderIsCancelled: peer="),
        (_by_another, "WrongSigner: peer="),
        (_of_a_contract_wallet, "it is not signed by the key of the peer's wallet 0x"),
        (_of_a_consumer, "SideNotAllowed: "),
        (
            lambda community, member: flexible(community, member, IDLE, periods=5),
            "WindowMalformed: ",
        ),
        (
            lambda community, member: flexible(community, member, (4, 4, 9, 0, 0, 4_000_001, 0)),
            "LimitOutOfBounds: ",
        ),
        (
            lambda community, member: flexible(community, member, (250_001, 4, 9, 0, 0, 0, 0)),
            "EnergyAboveConnection: ",
        ),
    ],
)
def test_collect__no_clearing_may_contain_it__is_refused(
    community: Community, make: Callable[[Community, Member], SignedOrder], reason: str
) -> None:
    signed = make(community, community.admit(Role.STORAGE, tokens=1))
    oracle: Any = Oracle(community.chain, QUARTERS, community.solver)
    snapshot = community.chain.snapshot()
    accepted, (refusal,) = oracle.collect(signed.order.session_start, [signed], snapshot)
    assert accepted == []
    assert reason in refusal.reason


def test_collect__more_than_its_steps__is_refused(community: Community) -> None:
    """However short its window is, an order is a node in all eight periods of a block."""
    member = community.admit(Role.STORAGE, tokens=1)
    oracle = Oracle(community.chain, QUARTERS, community.solver, most_steps=15)
    both = [flexible(community, member, IDLE, periods=1, nonce=nonce) for nonce in range(2)]
    start = community.open_session(QUARTERS)
    accepted, (refusal,) = oracle.collect(start, both, community.chain.snapshot())
    assert len(accepted) == 1
    assert refusal.reason == "the peer hands in more than 15 steps; it can place orders"


def test_collect__more_than_the_clearing_has_room_for__are_refused(community: Community) -> None:
    """Those with receipts come first, so no promise is broken by what comes later."""
    oracle = Oracle(community.chain, QUARTERS, community.solver, most_flexible=2)
    orders = [flexible(community, community.admit(Role.STORAGE, tokens=1), IDLE) for _ in range(4)]
    start = community.open_session(QUARTERS)
    promised = {signed.order.struct_hash for signed in orders[1:3]}
    accepted, refused = oracle.collect(start, orders, community.chain.snapshot(), promised)
    assert {signed.order.struct_hash for signed in accepted} == promised
    assert {entry.reason for entry in refused} == {"the clearing has room for 2 flexible orders"}
    assert len(refused) == 2


def test_collect__two_orders_beyond_the_connection_together__is_refused(
    community: Community,
) -> None:
    member = community.admit(Role.STORAGE, tokens=1, connection_w=16)  # 4 Wh in a quarter
    both = [flexible(community, member, IDLE, nonce=nonce) for nonce in range(2)]
    oracle = Oracle(community.chain, QUARTERS, community.solver)
    start = community.open_session(QUARTERS)
    _, (refusal,) = oracle.collect(start, both, community.chain.snapshot())
    assert refusal.reason == (
        "with it the peer's bids in period 0 come to 8 Wh, more than the connection's 4 Wh"
    )
