"""What makes a flexible order an order (`Orders`), as `requireValid` applies it to all kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.community import NETWORK, NOTICE, QUARTERS, Community, Member
from tests.contracts.registry import suspend
from tests.outcomes import reverts

from fairwatt.chain import Role, structs
from fairwatt.market import Side
from fairwatt.orders import FlexibleOrder, SignedOrder

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOOR, CAP = NETWORK.price_floor_micro_per_kwh, NETWORK.price_cap_micro_per_kwh
LIMIT = 250  # Wh, of a connection of 1 kW in a quarter
TERMS = {
    "first_period": 1,
    "periods": 3,
    "charge_wh": 40,
    "discharge_wh": 50,
    "capacity_wh": 9,
    "start_wh": 7,
    "wanted_wh": 8,
    "value_micro_per_kwh": 5,
    "wear_micro_per_kwh": 6,
    "nonce": 4,
}


@pytest.fixture
def book(community: Community) -> Any:
    return community.chain.contracts.order_book


@pytest.fixture
def storage(community: Community) -> Member:
    return community.admit(Role.STORAGE, connection_w=1_000)


def sign(community: Community, member: Member, **terms: int) -> SignedOrder:
    """Signed terms, also such as no order in Python can have."""
    start = community.open_session(QUARTERS)
    order = FlexibleOrder(market=QUARTERS, peer=member.peer, session_start=start, **TERMS)
    for field, value in terms.items():
        object.__setattr__(order, field, value)
    return order.signed_by(member.key, community.chain.order_domain)


def require_valid(community: Community, signed: SignedOrder) -> bytes:
    book = community.chain.contracts.order_book
    return bytes(book.requireValid(structs(signed.order.to_struct()), signed.signature))


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"first_period": 0, "periods": 4},
        {"first_period": 3, "periods": 1},
        {"charge_wh": LIMIT, "discharge_wh": LIMIT},
        {"start_wh": 9, "wanted_wh": 9},
        {"start_wh": 0, "wanted_wh": 0, "capacity_wh": 0},
        {"capacity_wh": 2**32 - 1, "wear_micro_per_kwh": 2**32 - 1},
        {"value_micro_per_kwh": FLOOR},
        {"value_micro_per_kwh": CAP},
    ],
    ids=str,
)
def test_flexible_order__that_a_clearing_may_contain__is_valid(
    community: Community, storage: Member, terms: dict[str, int]
) -> None:
    signed = sign(community, storage, **terms)
    assert require_valid(community, signed) == signed.order.struct_hash


@pytest.mark.parametrize(
    ("terms", "error", "values"),
    [
        ({"periods": 0}, "WindowMalformed", {"firstPeriod": 1, "periods": 0}),
        ({"periods": 4}, "WindowMalformed", {"firstPeriod": 1, "periods": 4}),
        (
            {"first_period": 2**16 - 1, "periods": 2**16 - 1},
            "WindowMalformed",
            {"firstPeriod": 2**16 - 1, "periods": 2**16 - 1},
        ),
        (
            {"wanted_wh": 6},
            "LevelsMalformed",
            {"startWh": 7, "wantedWh": 6, "capacityWh": 9},
        ),
        (
            {"wanted_wh": 10},
            "LevelsMalformed",
            {"startWh": 7, "wantedWh": 10, "capacityWh": 9},
        ),
        ({"value_micro_per_kwh": FLOOR - 1}, "LimitOutOfBounds", {"priceMicroPerKWh": FLOOR - 1}),
        ({"value_micro_per_kwh": CAP + 1}, "LimitOutOfBounds", {"priceMicroPerKWh": CAP + 1}),
        (
            {"charge_wh": LIMIT + 1},
            "EnergyAboveConnection",
            {"period": 1, "energyWh": LIMIT + 1, "limitWh": LIMIT},
        ),
        (
            {"discharge_wh": 2**32 - 1},
            "EnergyAboveConnection",
            {"period": 1, "energyWh": 2**32 - 1, "limitWh": LIMIT},
        ),
    ],
    ids=str,
)
def test_flexible_order__that_no_clearing_may_contain__is_not_valid(
    community: Community,
    book: Any,
    storage: Member,
    terms: dict[str, int],
    error: str,
    values: Mapping[str, int],
) -> None:
    with reverts(getattr(book, error), peer=storage.peer, nonce=4, **values):
        require_valid(community, sign(community, storage, **terms))


@pytest.mark.parametrize(
    ("role", "terms", "side"),
    [
        (Role.CONSUMER, {"charge_wh": 0}, Side.ASK),
        (Role.PRODUCER, {"discharge_wh": 0}, Side.BID),
        (Role.OPERATOR, {"charge_wh": 0}, Side.ASK),
        (Role.OPERATOR, {"discharge_wh": 0}, Side.BID),
    ],
)
def test_flexible_order__side_that_the_role_does_not_trade__is_not_valid(
    community: Community, book: Any, role: Role, terms: dict[str, int], side: Side
) -> None:
    member = community.admit(role)
    with reverts(book.SideNotAllowed, peer=member.peer, role=role, side=side):
        require_valid(community, sign(community, member, **terms))


@pytest.mark.parametrize(
    ("role", "terms"),
    [
        (Role.CONSUMER, {"discharge_wh": 0}),
        (Role.PRODUCER, {"charge_wh": 0}),
        (Role.OPERATOR, {"charge_wh": 0, "discharge_wh": 0}),
        (Role.PROSUMER, {}),
        (Role.SUPPLIER, {}),
    ],
)
def test_flexible_order__sides_that_the_role_trades__is_valid(
    community: Community, role: Role, terms: dict[str, int]
) -> None:
    signed = sign(community, community.admit(role), **terms)
    assert require_valid(community, signed) == signed.order.struct_hash


def test_flexible_order__of_whom_it_is(community: Community, book: Any, storage: Member) -> None:
    """Unknown, of another network, signed by another, cancelled, suspended."""
    with reverts(book.PeerNotActive, peer=99):
        require_valid(community, sign(community, replace(storage, peer=99)))
    community.chain.create_network(replace(NETWORK, links=()), sender=community.dso)
    stranger = community.admit(Role.STORAGE, network=2)
    with reverts(book.WrongNetwork, peer=stranger.peer, peerNetwork=2, marketNetwork=1):
        require_valid(community, sign(community, stranger))
    with reverts(book.WrongSigner, peer=storage.peer, nonce=4):
        require_valid(community, sign(community, replace(stranger, peer=storage.peer)))
    signed = sign(community, storage)
    start = signed.order.session_start
    community.send(book.cancel, QUARTERS, start, 4, sender=storage.wallet)
    with reverts(book.OrderIsCancelled, peer=storage.peer, nonce=4):
        require_valid(community, signed)
    suspend(community, storage)
    community.travel_to(community.now() + NOTICE + 1)
    with reverts(book.PeerNotActive, peer=storage.peer):
        require_valid(community, sign(community, storage, nonce=5))


def test_place__flexible_order__reverts(community: Community, book: Any, storage: Member) -> None:
    """What it trades depends on all periods at once; the book could promise no room for it."""
    signed = sign(community, storage)
    struct = structs(signed.order.to_struct())
    with reverts(book.FlexibleNotPlaced, peer=storage.peer, nonce=4):
        community.send(book.place, struct, signed.signature, sender=community.outsider)


def test_digest__of_the_order_in_either_shape__is_the_one_that_is_signed(
    community: Community, book: Any, storage: Member
) -> None:
    signed = sign(community, storage)
    digest = signed.order.typed_data(community.chain.order_domain).digest()
    assert bytes(book.orderDigest(structs(signed.order.to_struct()))) == digest
    assert bytes(book.flexibleOrderDigest(structs(signed.order.to_message()))) == digest
