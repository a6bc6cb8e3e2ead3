"""Proposals as pure functions of session and orders."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt import market
from fairwatt.calldata import encode_clearing
from fairwatt.errors import OracleError, ProofError
from fairwatt.market import Clearing, Link, Network, Side
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.proposal import Proposal, propose
from fairwatt.session import MarketTerms, NetworkVersion, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TERMS = MarketTerms(
    network=1,
    period_seconds=900,
    periods_per_session=4,
    max_placed_blocks=8,
    first_session_start=10_000,
    gate_lead_seconds=600,
    clearing_window_seconds=1_800,
    reading_window_seconds=7_200,
    settlement_window_seconds=86_400,
)
START = TERMS.first_session_start
NETWORK = Network(("a", "b"), (Link("a", "b", 3, 100, "7"),), -100, 100)
TOGETHER = dict.fromkeys(range(1, 101), 0)  # every peer at the first node
APART = TOGETHER | {2: 1, 3: 1}


def session(*networks: Network, terms: MarketTerms | None = None) -> Session:
    """A session with one network version per period; the same networks are one version."""
    networks = networks or (NETWORK,)
    distinct = list(dict.fromkeys(networks))
    terms = terms or replace(TERMS, periods_per_session=len(networks))
    versions = tuple(NetworkVersion(distinct.index(net), 0, net) for net in networks)
    return Session(1, START, terms, versions)


def signed(peer: int, *steps: Step, nonce: int = 0) -> SignedOrder:
    return SignedOrder(Order(1, peer, START, steps, nonce), bytes([peer % 256, nonce % 256]))


def proposed(
    some: Session,
    orders: Iterable[SignedOrder],
    nodes: Mapping[int, int] = TOGETHER,
    **options: Any,
) -> Proposal:
    return propose(some, orders, nodes=nodes, **options)


def peers_of(proposal: Proposal) -> set[int]:
    return {signed.order.peer for signed in proposal.orders}


def ask(price: int, energy_wh: int, period: int = 0) -> Step:
    return Step(period, Side.ASK, price, energy_wh)


def bid(price: int, energy_wh: int, period: int = 0) -> Step:
    return Step(period, Side.BID, price, energy_wh)


DAY = session(NETWORK, NETWORK, NETWORK)
ORDERS = (
    signed(1, ask(10, 50, 0), ask(10, 30, 0), ask(20, 40, 2)),
    signed(2, bid(40, 25, 0), bid(30, 90, 2), bid(35, 7, 1)),
    signed(3, bid(40, 25, 0)),
    signed(3, bid(40, 5, 0), ask(12, 9, 1), nonce=7),
    signed(30, ask(10, 20, 0), nonce=4_000_000_000),
)


@pytest.mark.parametrize("seed", range(5))
def test_propose__orders_in_any_sequence__give_the_same_proposal(seed: int) -> None:
    shuffled = list(ORDERS)
    Random(seed).shuffle(shuffled)
    expected = proposed(DAY, ORDERS, APART)
    proposal = proposed(DAY, shuffled, APART)
    assert proposal == expected
    assert encode_clearing(proposal) == encode_clearing(expected)


def test_propose__orders__stand_sorted_by_peer_and_nonce_as_numbers() -> None:
    proposal = proposed(DAY, ORDERS[::-1], APART)
    keys = [(signed.order.peer, signed.order.nonce) for signed in proposal.orders]
    assert keys == [(1, 0), (2, 0), (3, 0), (3, 7), (30, 4_000_000_000)]


def test_propose__ties__are_broken_by_peer_not_by_sequence() -> None:
    tied = [signed(10, ask(5, 3)), signed(9, ask(5, 3)), signed(100, ask(5, 3))]
    buyer = signed(1, bid(50, 4))
    one = proposed(session(), [buyer, *tied])
    other = proposed(session(), [*tied[::-1], buyer])
    assert one.positions_wh == other.positions_wh
    assert sum(energy for (energy,) in one.positions_wh.values()) == 0


def test_propose__every_period__is_a_book_of_its_own_and_optimal() -> None:
    proposal = proposed(DAY, ORDERS, APART)
    assert [len(book) for book in proposal.books] == [6, 2, 2]
    proofs = proposal.check()
    assert [proof.welfare for proof in proofs] == [proof.dual_bound for proof in proofs]
    assert proposal.books[1].ids == ("0000000002/0000000000/00001", "0000000003/0000000007/00001")


def test_propose__fills__stand_in_the_sequence_of_the_steps() -> None:
    proposal = proposed(
        session(NETWORK, NETWORK),
        [
            signed(1, ask(10, 5, 1), ask(30, 5, 0), ask(10, 7, 0)),
            signed(2, bid(20, 6, 0), bid(50, 4, 1)),
        ],
    )
    assert proposal.fills_wh == ((0, 6, 4), (6, 4))  # a period after the other
    assert proposal.positions_wh == {1: (6, 4), 2: (-6, -4)}


def test_propose__nobody__is_an_empty_clearing_of_all_periods() -> None:
    proposal = proposed(DAY, [])
    assert (proposal.orders, proposal.positions_wh, proposal.payments_nano) == ((), {}, {})
    assert len(proposal.check()) == 3


def test_propose__two_orders_with_one_nonce__are_refused() -> None:
    twice = [signed(1, ask(1, 1), nonce=4), signed(1, ask(2, 1), nonce=4)]
    with pytest.raises(OracleError, match="peer 1 has two orders with nonce 4"):
        proposed(session(), twice)
    with pytest.raises(OracleError, match="peer 1 has two orders with nonce 4"):
        proposed(session(), twice[:1], placed=twice[1:])


def test_propose__one_nonce_of_two_peers__is_no_duplicate() -> None:
    assert len(proposed(session(), [signed(1, ask(1, 1)), signed(2, ask(1, 1))]).orders) == 2


# ---------------------------------------------------------------------------------------- funds


def test_propose__without_funds_given__everybody_can_pay() -> None:
    proposal = proposed(session(), [signed(1, ask(10, 5)), signed(2, bid(10, 5))])
    assert proposal.payments_nano == {1: 50, 2: -50}


@pytest.mark.parametrize(("funds", "takes_part"), [(50, True), (49, False), (0, False)])
def test_propose__peer_with_funds__takes_part_if_they_suffice_to_the_nano_token(
    funds: int, takes_part: bool
) -> None:
    orders = [signed(1, ask(10, 5)), signed(2, bid(10, 5))]
    proposal = proposed(session(), orders, funds_nano={1: 0, 2: funds})
    assert (2 in proposal.positions_wh) is takes_part


def test_propose__peer_of_unknown_funds__has_none() -> None:
    proposal = proposed(session(), [signed(1, ask(10, 5)), signed(2, bid(10, 5))], funds_nano={})
    assert peers_of(proposal) == {1}


def test_propose__unfunded_peer__is_left_out_and_prices_are_computed_anew() -> None:
    orders = [
        signed(1, ask(10, 5)),
        signed(2, ask(30, 5)),
        signed(3, bid(50, 5)),
        signed(4, bid(60, 3)),
    ]
    funds = {1: 0, 2: 0, 3: 10**6, 4: 89}
    everybody = proposed(session(), orders)
    assert everybody.clearings[0].prices_micro_per_kwh[0] == 30
    proposal = proposed(session(), orders, funds_nano=funds)
    assert proposal == proposed(session(), orders[:3])
    assert proposal.clearings[0].prices_micro_per_kwh[0] < 30
    proposal.check()


def test_propose__seller_without_funds__sells() -> None:
    orders = [signed(1, ask(10, 5)), signed(2, bid(10, 5))]
    assert proposed(session(), orders, funds_nano={2: 50}).positions_wh == {1: (5,), 2: (-5,)}


def test_propose__seller_at_negative_price__must_be_able_to_pay() -> None:
    orders = [signed(1, ask(-10, 5)), signed(2, bid(-10, 5))]
    assert proposed(session(), orders, funds_nano={1: 50}).payments_nano == {1: -50, 2: 50}
    assert peers_of(proposed(session(), orders, funds_nano={1: 49})) == {2}


def test_propose__peer_that_earns_and_pays__must_afford_the_balance_only() -> None:
    orders = [
        signed(1, bid(20, 10, 0), ask(30, 5, 1)),
        signed(2, ask(20, 10, 0), bid(30, 5, 1)),
    ]
    two = session(NETWORK, NETWORK)
    assert proposed(two, orders, funds_nano={1: 50}).payments_nano == {1: -50, 2: 50}
    assert peers_of(proposed(two, orders, funds_nano={1: 49})) == {2}


def test_propose__one_leaves_after_the_other__until_all_can_pay() -> None:
    # Without peer 3, who pays for the dear ask, 2 pays more than it has.
    orders = [
        signed(1, ask(10, 4)),
        signed(2, bid(40, 4)),
        signed(3, bid(45, 8)),
        signed(4, ask(20, 8)),
    ]
    funds = {2: 79, 3: 80}
    proposal = proposed(session(), orders, funds_nano=funds)
    for peer, amount in proposal.payments_nano.items():
        assert -amount <= funds.get(peer, 0)
    proposal.check()


def test_propose__placed_order__stays_and_is_paid_by_what_it_locked() -> None:
    placed = signed(2, bid(10, 5))
    proposal = proposed(session(), [signed(1, ask(10, 5))], funds_nano={}, placed=[placed])
    assert proposal.positions_wh == {1: (5,), 2: (-5,)}


def test_propose__placed_order_of_an_unfunded_peer__stays_while_its_others_go() -> None:
    placed = signed(2, bid(40, 5), nonce=1)
    others = [signed(2, bid(40, 5), nonce=0), signed(2, bid(40, 5), nonce=2)]
    orders = [signed(1, ask(30, 50)), *others]
    proposal = proposed(session(), orders, funds_nano={2: 100}, placed=[placed])
    keys = [(signed.order.peer, signed.order.nonce) for signed in proposal.orders]
    assert keys == [(1, 0), (2, 1)]
    # With a little more, what is locked and what is free pay for all three.
    richer = proposed(session(), orders, funds_nano={2: 250}, placed=[placed])
    assert len(richer.orders) == 4


def orders_of_anybody() -> st.SearchStrategy[list[SignedOrder]]:
    step = st.builds(
        Step, st.integers(0, 1), st.sampled_from(Side), st.integers(-9, 20), st.integers(1, 9)
    )
    order = st.builds(
        lambda peer, nonce, steps: signed(peer, *steps, nonce=nonce),
        st.integers(1, 4),
        st.integers(0, 2),
        st.lists(step, min_size=1, max_size=3),
    )
    return st.lists(
        order, max_size=8, unique_by=lambda entry: (entry.order.peer, entry.order.nonce)
    )


@given(
    orders=orders_of_anybody(),
    funds=st.dictionaries(st.integers(1, 4), st.integers(0, 300)),
    split=st.integers(0, 8),
    nodes=st.fixed_dictionaries(dict.fromkeys(range(1, 5), st.integers(0, 1))),
)
@settings(deadline=None)
def test_propose__any_funds__everybody_can_pay_and_every_placed_order_is_in(
    orders: list[SignedOrder], funds: dict[int, int], split: int, nodes: dict[int, int]
) -> None:
    placed, free = orders[:split], orders[split:]
    two = session(NETWORK, NETWORK)
    proposal = proposed(two, free, nodes, funds_nano=funds, placed=placed)
    proposal.check()
    assert set(placed) <= set(proposal.orders)
    locked = {
        peer: sum(entry.order.worst_case_nano for entry in placed if entry.order.peer == peer)
        for peer in range(1, 5)
    }
    for peer, amount in proposal.payments_nano.items():
        assert -amount <= locked[peer] + funds.get(peer, 0)
    require_sums(proposal)


def require_sums(proposal: Proposal) -> None:
    """Positions and payments are those of the market kernel, peer by peer."""
    paid: dict[int, int] = {}
    sold: dict[tuple[int, int], int] = {}
    rest = 0
    for period, (book, clearing) in enumerate(zip(proposal.books, proposal.clearings, strict=True)):
        money = market.payments(book, clearing)
        rest += sum(money.tariffs_nano) + sum(money.rents_nano)
        rows = zip(book.orders, clearing.fills_wh.tolist(), money.orders_nano, strict=True)
        for order, fill, amount in rows:
            peer = int(order.peer)
            paid[peer] = paid.get(peer, 0) + amount
            key = (peer, period)
            sold[key] = sold.get(key, 0) + (fill if order.side is Side.ASK else -fill)
    assert {peer: paid.get(peer, 0) for peer in proposal.positions_wh} == {
        peer: proposal.payments_nano.get(peer, 0) for peer in proposal.positions_wh
    }
    assert list(proposal.payments_nano) == sorted(proposal.payments_nano)
    assert list(proposal.positions_wh) == sorted(proposal.positions_wh)
    assert sum(proposal.payments_nano.values()) + rest == 0
    for peer, energies in proposal.positions_wh.items():
        assert energies == tuple(sold.get((peer, at), 0) for at in range(len(energies)))


# -------------------------------------------------------------------------------------- message


def test_encode__networks_that_change__are_brought_once_each() -> None:
    wider = replace(NETWORK, links=(replace(NETWORK.links[0], capacity_wh=200),))
    runs = encode_clearing(proposed(session(NETWORK, NETWORK, wider), ORDERS, APART))["networks"]
    assert [(run["version"], run["periods"]) for run in runs] == [(0, 2), (1, 1)]
    assert [run["links"][0]["capacityWh"] for run in runs] == [100, 200]
    assert runs[0]["links"] == [
        {"source": 0, "target": 1, "owner": 7, "tariffMicroPerKWh": 3, "capacityWh": 100}
    ]


def test_encode__link_of_the_community__has_no_owner() -> None:
    network = replace(NETWORK, links=(replace(NETWORK.links[0], owner=None),))
    message = encode_clearing(proposed(session(network), []))
    assert message["networks"][0]["links"][0]["owner"] == 0


def test_encode__session_and_fee__are_those_of_the_proposal() -> None:
    message = encode_clearing(replace(proposed(session(), []), fee_to=9))
    assert (message["market"], message["sessionStart"], message["feeTo"]) == (1, START, 9)


def test_check__changed_clearing__is_refused_by_the_rule_of_the_market() -> None:
    proposal = proposed(session(), [signed(1, ask(10, 5)), signed(2, bid(10, 3))])
    honest = proposal.clearings[0]
    more = Clearing(
        honest.fills_wh + np.array([1, 0]), honest.flows_wh, honest.prices_micro_per_kwh
    )
    with pytest.raises(ProofError):
        replace(proposal, clearings=(more,)).check()


def test_propose__penniless_bid_that_makes_others_look_broke__goes_alone() -> None:
    # With peer 3 energy is scarce and dear, and neither can pay; alone peer 2 pays the ask's 10.
    orders = [
        signed(1, ask(10, 10)),
        signed(2, bid(100, 5)),
        signed(3, bid(100, 6)),
    ]
    assert proposed(session(), orders).payments_nano[2] < -100
    proposal = proposed(session(), orders, funds_nano={2: 100})
    assert proposal.positions_wh == {1: (5,), 2: (-5,)}
    assert proposal.payments_nano == {1: 50, 2: -50}
