"""Sessions with storage and vehicles: what they come to, whoever solves them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyomo.environ as pyo
import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt import calldata
from fairwatt.eip712 import Domain
from fairwatt.errors import OracleError, OrderError
from fairwatt.expansion import most_flexible_orders
from fairwatt.market import Certificate, Clearing, Link, Side
from fairwatt.orders import FlexibleOrder, Order, SignedOrder, Step, order_from_document
from fairwatt.proposal import propose
from tests.flexible import (
    BATTERY,
    BUYER,
    EV,
    NAMED,
    ONE,
    SELLER,
    TWO,
    cleared,
    flexible,
    order,
    sessions,
)
from tests.market.second_solver import answer
from tests.sessions import session_on

if TYPE_CHECKING:
    from fairwatt.proposal import Proposal
    from fairwatt.session import Session

Drawn = tuple["Session", list[SignedOrder], dict[int, int]]
DOMAIN = Domain(31337, "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9")
some = settings(max_examples=40, derandomize=True, database=None, deadline=None)


def whole(proposal: Proposal) -> Any:
    assert proposal.expansion is not None
    return proposal.expansion


# ------------------------------------------------------------------------------------------ outcome


@pytest.mark.parametrize("name", NAMED)
def test_propose__named_session__schedules_prices_and_payments(name: str) -> None:
    named, proposal = NAMED[name], NAMED[name].proposal
    proposal.check()
    assert whole(proposal).schedules_of(proposal.clearings[0]) == named.schedules
    assert tuple(proposal.prices_micro_per_kwh[0]) == named.prices
    assert proposal.payments_nano == named.payments_nano
    assert sum(proposal.payments_nano.values()) == 0


def test_propose__links_and_storage__everybody_is_paid_the_price_of_the_own_node() -> None:
    asks = order(SELLER, [Step(0, Side.ASK, 100, 20), Step(1, Side.ASK, 400, 20)])
    bids = order(BUYER, [Step(1, Side.BID, 900, 4)])
    battery = flexible(BATTERY, 2, 9, 9, 9, 0, 0, 0, 7)
    proposal = cleared(session_on(TWO, 2), [asks, bids, battery], {SELLER: 0, BUYER: 1, BATTERY: 1})
    # The battery brings all 4 Wh over time at home; the link is paid for in the first period.
    assert proposal.positions_wh == {SELLER: (4, 0), BUYER: (0, -4), BATTERY: (-4, 4)}
    # Later no link is used, so the grid's price is from 127 - 20 to 127 + 5.
    assert proposal.prices_micro_per_kwh[:2].tolist() == [[100, 119], [120, 127]]
    assert proposal.payments_nano == {SELLER: 400, BUYER: -4 * 127, BATTERY: 4 * 7}


@pytest.mark.parametrize("peers", [1, 3])
def test_propose__vehicle__gain_is_its_dual_in_one_number(peers: int) -> None:
    """E u + sum of K max(0, b - price - u), least over u >= 0: the prices alone bound the gain."""
    asks = order(SELLER, [Step(at, Side.ASK, 50 + 37 * at % 60, 9) for at in range(8)])
    power, energy, value = 4, 14, 100
    evs = [flexible(10 + at, 8, power, 0, energy, 0, energy, value, 0) for at in range(peers)]
    nodes = dict.fromkeys([SELLER, *range(10, 10 + peers)], 0)
    proposal = cleared(session_on(ONE, 8), [asks, *evs], nodes)
    prices = proposal.prices_micro_per_kwh[0].tolist()

    def dual(u: int) -> int:
        return energy * u + sum(power * max(0, value - price - u) for price in prices)

    for peer in range(10, 10 + peers):
        charged = -sum(proposal.positions_wh[peer])
        gain = value * charged + proposal.payments_nano[peer]
        assert gain == min(map(dual, {0, *(max(0, value - price) for price in prices)}))


def test_propose__broke_vehicle__is_left_out() -> None:
    named = NAMED["vehicle charges in the two cheapest periods"]
    orders = named.proposal.orders
    nodes, of = named.proposal.nodes, named.proposal.session
    enough = propose(of, orders, nodes=nodes, funds_nano={EV: 380})
    assert enough.payments_nano == named.payments_nano
    broke = propose(of, orders, nodes=nodes, funds_nano={EV: 379})
    assert [signed.order.peer for signed in broke.orders] == [SELLER]
    assert broke.expansion is None


@some
@given(drawn=sessions(st.sampled_from([1, 2, 4, 9])))
def test_propose__random_session__no_gain_beyond_what_a_plain_model_finds(drawn: Drawn) -> None:
    proposal = cleared(*drawn)
    (proof,) = proposal.check()
    kept = sum(each.value_micro_per_kwh * each.start_wh for each in whole(proposal).flexible)
    assert proof.welfare + kept == pytest.approx(model_welfare(*drawn), abs=1e-4)
    for schedule, each in zip(
        whole(proposal).schedules_of(proposal.clearings[0]), whole(proposal).flexible, strict=True
    ):
        levels = each.start_wh - np.cumsum(schedule)
        assert (levels >= 0).all()
        assert (levels[:-1] <= each.capacity_wh).all()
        assert levels[-1] <= each.wanted_wh
        assert all(-each.charge_wh <= wh <= each.discharge_wh for wh in schedule)


def model_welfare(of: Session, orders: list[SignedOrder], nodes: dict[int, int]) -> float:
    """Charge, discharge and level as variables, with the limits E and K of each."""
    periods, on = range(len(of.versions)), of.versions[0].network
    model = pyo.ConcreteModel()
    model.gain = pyo.Expression(expr=0)
    model.limits, model.balances = pyo.ConstraintList(), pyo.ConstraintList()
    surplus: dict[tuple[int, int], Any] = {(z, t): 0 for z in range(len(on.nodes)) for t in periods}
    gain: Any = 0
    model.amounts = pyo.VarList(domain=pyo.NonNegativeReals)

    def amount(most: int) -> Any:
        variable = model.amounts.add()
        variable.setub(most)
        return variable

    for t in periods:
        for link, source, target in zip(
            on.links, on.sources.tolist(), on.targets.tolist(), strict=True
        ):
            flow = amount(link.capacity_wh)
            gain -= link.tariff_micro_per_kwh * flow
            surplus[source, t] -= flow
            surplus[target, t] += flow
    for signed in orders:
        each = signed.order
        at = nodes[each.peer]
        if isinstance(each, Order):
            for step in each.steps:
                sign = 1 if step.side is Side.ASK else -1
                fill = amount(step.energy_wh)
                gain -= sign * step.price_micro_per_kwh * fill
                surplus[at, step.period] += sign * fill
            continue
        level: Any = each.start_wh
        for t in each.window:
            charged, discharged = amount(each.charge_wh), amount(each.discharge_wh)
            gain -= each.wear_micro_per_kwh * discharged
            surplus[at, t] += discharged - charged
            after = amount(each.capacity_wh)
            model.limits.add(after == level + charged - discharged)
            level = after
        model.limits.add(level <= each.wanted_wh)
        gain += each.value_micro_per_kwh * level
    for rest in surplus.values():
        if not isinstance(rest, int):
            model.balances.add(rest == 0)
    model.welfare = pyo.Objective(expr=gain, sense=pyo.maximize)
    pyo.SolverFactory("appsi_highs").solve(model)
    return float(pyo.value(model.welfare))


# ------------------------------------------------------------------------------------ no discretion


@some
@given(drawn=sessions(st.sampled_from([1, 2, 4])), seed=st.integers(0, 2**32))
def test_propose__second_solver_and_permuted_orders__same_bytes(drawn: Drawn, seed: int) -> None:
    of, orders, nodes = drawn
    proposal, chance = cleared(of, orders, nodes), random.Random(seed)
    other = answer(proposal.books[0], chance)
    clearing = Clearing(other.fills, other.flows, other.prices)
    theirs = replace(
        proposal, clearings=(clearing,), certificates=(Certificate(**other.certificate),)
    )
    shuffled = cleared(of, chance.sample(orders, len(orders)), nodes)
    for made in (theirs, shuffled):
        assert calldata.encode_clearing(made) == calldata.encode_clearing(proposal)
        assert calldata.encode_orders(made) == calldata.encode_orders(proposal)


@some
@given(drawn=sessions(st.sampled_from([1, 4, 9, 17])))
def test_positions__of_the_calldata__are_those_of_the_proposal(drawn: Drawn) -> None:
    proposal = cleared(*drawn)
    message = calldata.encode_clearing(proposal)
    orders = calldata.encode_orders(proposal)
    call = calldata.ClearCall(message["cells"], message["details"], orders)
    periods = len(proposal.session.versions)
    assert (
        calldata.positions_wh([call], proposal.nodes.__getitem__, periods) == proposal.positions_wh
    )


@pytest.mark.parametrize(
    ("terms", "periods", "problem"),
    [
        ((3, 0, 3, 0, 3, 9, 0, 1), 3, "goes on to period 3; the session has 3 periods"),
        ((3, 0, 3, 0, 3, 9, 0), 32_768, "2 nodes and 65536 cells, more than 32768; leave some out"),
    ],
)
def test_propose__no_room__is_refused(terms: tuple[int, ...], periods: int, problem: str) -> None:
    with pytest.raises(OracleError, match=problem):
        cleared(session_on(ONE, periods), [flexible(EV, 3, *terms)], {EV: 0})


@pytest.mark.parametrize(("periods", "room"), [(1, 238), (24, 78), (25, 58), (96, 18), (127, 13)])
def test_room__for_flexible_orders__is_what_is_left_by_the_network(periods: int, room: int) -> None:
    assert most_flexible_orders(session_on(TWO, periods)) == room


def test_room__where_every_node_is_linked_to_every_other__is_less() -> None:
    """The 80 links more than nodes take the gas of 320 cells in a day."""
    nodes = tuple(map(str, range(10)))
    ring = tuple(Link(a, b, 1, 1) for a, b in zip(nodes, nodes[1:] + nodes[:1], strict=True))
    whole = tuple(Link(a, b, 1, 1) for a in nodes for b in nodes if a != b)
    for links, room in ((ring, 70), (whole, 56)):
        on = replace(ONE, nodes=nodes, links=links)
        assert most_flexible_orders(session_on(on, 24)) == room


def test_room__in_a_large_network__is_none() -> None:
    on = replace(ONE, nodes=tuple(map(str, range(21))))
    assert most_flexible_orders(session_on(on, 96)) == 0


# ------------------------------------------------------------------------------------------- orders

TERMS = FlexibleOrder(
    market=1,
    peer=2,
    session_start=3,
    nonce=4,
    first_period=5,
    periods=6,
    charge_wh=7,
    discharge_wh=8,
    capacity_wh=99,
    wear_micro_per_kwh=10,
    start_wh=11,
    wanted_wh=12,
    value_micro_per_kwh=-13,
)


def test_document__and_back__is_the_same_order() -> None:
    document = TERMS.to_document()
    assert order_from_document(document) == TERMS
    signed = TERMS.signed_by(Account.from_key(b"\1" * 32), DOMAIN)
    assert SignedOrder.from_document(signed.to_document()) == signed
    assert signed.signer(DOMAIN) == Account.from_key(b"\1" * 32).address
    assert TERMS.terms.hex(" ", -2).split(" ", 2)[:2] == ["0005", "0006"]
    assert TERMS.terms[4:].hex(" ", -4).split() == [
        f"{number & 0xFFFFFFFF:08x}" for number in (7, 8, 99, 10, 11, 12, -13)
    ]
    assert list(TERMS.window) == [5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("periods", 0, "must be 1 to 65531, not 0"),
        ("periods", 65_532, "must be 1 to 65531, not 65532"),
        ("chargeWh", 2**31, "must be 0 to 2147483647, not 2147483648"),
        ("capacityWh", -1, "must be 0 to 4294967295, not -1"),
        ("wantedWh", 10, "must be 11 to 99, not 10; it is at least startWh"),
        ("wantedWh", 100, "must be 11 to 99, not 100"),
        ("valueMicroPerKWh", 2**31, "must be -2147483648 to 2147483647"),
        ("startWh", 1.5, "must be a whole number, not 1.5"),
        ("colour", 1, "is unknown"),
        ("nonce", None, "is missing"),
    ],
)
def test_document__wrong_field__says_which(field: str, value: Any, problem: str) -> None:
    document = {**TERMS.to_document(), field: value}
    if value is None:
        del document[field]
    with pytest.raises(OrderError, match=problem) as refusal:
        order_from_document(document)
    assert refusal.value.path == field


@pytest.mark.parametrize(
    ("terms", "bid_price", "paid"),
    [
        pytest.param((9, 0, 20, 0, 12, 7, 3), None, 12 * 7, id="charges what it wants"),
        pytest.param((2, 0, 20, 0, 12, 7, 3), None, 4 * 7, id="charges what it can"),
        pytest.param((0, 9, 20, 4, 4, -7, 3), -4, 4 * 4, id="gets rid of all"),
        pytest.param((0, 1, 20, 4, 4, -7, 3), -4, 2 * 4, id="gets rid of what it can"),
    ],
)
def test_worst_case__at_the_prices_that_make_it_so__is_what_it_pays(
    terms: tuple[int, ...], bid_price: int | None, paid: int
) -> None:
    """No less could be set aside for it: somebody asks its value, or bids that and its wear."""
    other = (
        [Step(at, Side.ASK, terms[5], 50) for at in range(2)]
        if bid_price is None
        else [Step(at, Side.BID, bid_price, 50) for at in range(2)]
    )
    on = session_on(replace(ONE, price_floor_micro_per_kwh=-1_000), 2)
    storage = flexible(EV, 2, *terms)
    proposal = cleared(on, [order(SELLER, other), storage], {SELLER: 0, EV: 0})
    assert proposal.payments_nano[EV] == -paid == -storage.order.worst_case_nano


@some
@given(drawn=sessions(st.sampled_from([1, 2, 4])))
def test_worst_case__random_session__is_never_exceeded(drawn: Drawn) -> None:
    proposal = cleared(*drawn)
    for signed in proposal.orders:
        if isinstance(signed.order, FlexibleOrder):  # of whom each peer has but one
            paid = -proposal.payments_nano.get(signed.order.peer, 0)
            assert paid <= signed.order.worst_case_nano
