"""Full peer-to-peer trade and the hybrid: by hand, and against the market kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.communities import cents

from fairwatt.errors import BookError, CommunityError, ModelInfeasible, ModelNotConvex
from fairwatt.market import LimitOrder, Side, clear
from fairwatt.models import _solving
from fairwatt.models.bilateral import (
    Agent,
    Collective,
    Trade,
    as_network,
    bilateral_model,
    orders,
    solve,
)

GRID = Agent("grid", 0.0, 100.0, 0.30)
ROOF = Agent("roof", 0.0, 3.0, 0.05)
MILL = Agent("mill", 0.0, 3.0, 0.08)
HOME = Agent("home", -4.0, -4.0)


def test_solve__full_p2p__cheapest_partner_first_at_its_own_price():
    trades = [Trade("grid", "home"), Trade("roof", "home"), Trade("mill", "home")]
    market = solve([GRID, ROOF, MILL, Agent("home", -7.0, -7.0)], trades)

    assert market.trades_kwh[:, 0] == pytest.approx([1.0, 3.0, 3.0])
    assert market.generation_kwh[:, 0] == pytest.approx([1.0, 3.0, 3.0, -7.0])
    assert market.objective == pytest.approx(0.30 + 3 * 0.05 + 3 * 0.08)
    assert market.trade_price_per_kwh[:, 0] == pytest.approx([0.30, 0.30, 0.30])
    assert market.agent_price_per_kwh[3, 0] == pytest.approx(0.30)


def test_solve__pair_that_is_not_listed__does_not_trade():
    market = solve([GRID, ROOF, HOME], [Trade("grid", "home")])

    assert market.generation_kwh[:, 0] == pytest.approx([4.0, 0.0, -4.0])


def test_solve__buyers_dislike__counts_but_is_in_no_price():
    trades = [Trade("roof", "home", buyer_cost_per_kwh=0.04), Trade("mill", "home")]
    market = solve([ROOF, MILL, HOME], trades)

    assert market.trades_kwh[:, 0] == pytest.approx([1.0, 3.0])
    assert market.objective == pytest.approx(1 * 0.05 + 1 * 0.04 + 3 * 0.08)
    assert market.trade_price_per_kwh[:, 0] == pytest.approx([0.05, 0.09])


def test_solve__sellers_dislike__is_in_the_price():
    market = solve([ROOF, Agent("home", -2.0, -2.0)],
                   [Trade("roof", "home", seller_cost_per_kwh=0.02)])  # fmt: skip

    assert market.trade_price_per_kwh[0, 0] == pytest.approx(0.07)
    assert market.objective == pytest.approx(2 * 0.07)


def test_solve__liking__makes_a_dearer_partner_the_first():
    trades = [Trade("roof", "home"), Trade("mill", "home", buyer_cost_per_kwh=-0.05)]
    market = solve([ROOF, MILL, HOME], trades)

    assert market.trades_kwh[:, 0] == pytest.approx([1.0, 3.0])
    assert market.objective == pytest.approx(1 * 0.05 + 3 * (0.08 - 0.05))


def test_solve__capacity__limits_a_pair():
    trades = [Trade("grid", "home"), Trade("roof", "home", capacity_kwh=0.5)]

    assert solve([GRID, ROOF, HOME], trades).trades_kwh[:, 0] == pytest.approx([3.5, 0.5])


@pytest.mark.parametrize("own_kwh", [0.0, 1.0])
def test_solve__somebody_between__does_not_pass_energy_on(own_kwh: float):
    trades = [Trade("roof", "dealer"), Trade("dealer", "home"), Trade("grid", "home")]
    market = solve([GRID, ROOF, Agent("dealer", 0.0, own_kwh, 0.5), HOME], trades)

    assert market.generation_kwh[:, 0] == pytest.approx([4.0, 0.0, 0.0, -4.0])


def test_solve__prosumer__uses_its_own_then_sells():
    prosumer = Agent("prosumer", -2.0, 3.0, 0.10)  # generates up to 5 for its load of 2
    market = solve([prosumer, HOME, GRID], [Trade("prosumer", "home"), Trade("grid", "home")])

    assert market.generation_kwh[:, 0] == pytest.approx([3.0, -4.0, 1.0])


def test_solve__quadratic_costs__marginal_costs_meet_the_price():
    one, other = Agent("one", 0.0, 9.0, 0.10, 0.02), Agent("other", 0.0, 9.0, 0.10, 0.01)
    trades = [Trade("one", "home"), Trade("other", "home")]
    market = solve([one, other, Agent("home", -3.0, -3.0)], trades)

    assert market.trades_kwh[:, 0] == pytest.approx([1.0, 2.0], abs=1e-6)
    assert market.trade_price_per_kwh[:, 0] == pytest.approx([0.14, 0.14], abs=1e-6)


def test_solve__many_periods__each_for_itself():
    market = solve([Agent("roof", 0.0, [3.0, 1.0], [0.05, 0.20]), GRID, HOME],
                   [Trade("roof", "home"), Trade("grid", "home")], periods=2)  # fmt: skip

    assert market.trades_kwh == pytest.approx(np.array([[3.0, 1.0], [1.0, 3.0]]))


def test_solve__nobody_sells_to_a_load__infeasible():
    with pytest.raises(ModelInfeasible):
        solve([ROOF, HOME], [])


def test_solve__collective__one_price_for_all_members_with_the_fee_between():
    village = Collective("village", ("roof", "mill", "home"), fee_per_kwh=0.01)
    market = solve([ROOF, MILL, HOME], [], [village])

    assert market.given_kwh[:, 0] == pytest.approx([3.0, 1.0, -4.0])
    assert market.collective_price_per_kwh[0, 0] == pytest.approx(0.09)
    assert market.agent_price_per_kwh[:, 0] == pytest.approx([0.08, 0.08, 0.10])
    assert market.objective == pytest.approx(3 * 0.05 + 0.08 + 8 * 0.01)


def test_solve__russian_doll__energy_pays_its_way_out_and_in():
    town = Collective("town", ("grid",))
    east = Collective("east", ("roof",), "town", export_cost_per_kwh=0.03)
    west = Collective("west", ("home",), "town", import_cost_per_kwh=0.02)
    market = solve([GRID, ROOF, HOME], [], [town, east, west])

    assert market.given_kwh[:, 0] == pytest.approx([1.0, 3.0, -4.0])
    assert market.collective_price_per_kwh[:, 0] == pytest.approx([0.30, 0.27, 0.32])
    assert market.objective == pytest.approx(0.30 + 3 * 0.05 + 3 * 0.03 + 4 * 0.02)


def test_solve__hybrid__direct_trade_beside_the_collective():
    village = Collective("village", ("roof", "home"), fee_per_kwh=0.05)
    market = solve([ROOF, HOME, GRID], [Trade("roof", "home", 0.02, capacity_kwh=1.0),
                                        Trade("grid", "home")], [village])  # fmt: skip

    assert market.trades_kwh[:, 0] == pytest.approx([1.0, 1.0])
    assert market.given_kwh[:2, 0] == pytest.approx([2.0, -2.0])


def test_as_network__full_p2p__clears_to_the_same_dispatch_and_prices():
    trades = [Trade("grid", "home"), Trade("roof", "home", 0.04), Trade("mill", "home")]
    agents = [GRID, ROOF, MILL, Agent("home", -5.0, -5.0)]
    market = solve(agents, trades)

    graph = as_network([agent.name for agent in agents], trades)
    book = graph.book(orders(agents))
    clearing = clear(book)

    assert graph.generation_kwh(book, clearing) == pytest.approx(market.generation_kwh[:, 0])
    assert graph.trades_kwh(clearing) == pytest.approx(market.trades_kwh[:, 0])
    assert graph.trade_prices_per_kwh(clearing)[1] == pytest.approx(0.05)
    assert graph.offset_micro_per_kwh == 0


def test_as_network__liking__is_offset_and_paid_by_nobody():
    agents, trades = [ROOF, HOME], [Trade("roof", "home", buyer_cost_per_kwh=-0.20)]
    graph = as_network(["roof", "home"], trades)
    book = graph.book(
        [
            LimitOrder("ask", "roof", "", Side.ASK, 50_000, 3000),
            LimitOrder("bid", "home", "", Side.BID, 10_000, 4000),  # below the ask: it is liked
        ]
    )
    clearing = clear(book)

    assert graph.offset_micro_per_kwh == 200_000
    assert graph.trades_kwh(clearing) == pytest.approx([3.0])
    assert graph.trade_cost(clearing) == pytest.approx(-0.6)
    price = graph.trade_prices_per_kwh(clearing)[0]
    assert price == pytest.approx(0.21)  # home's bid is marginal: 0.01 and what it likes roof by
    assert graph.payments(clearing) == pytest.approx([-3 * price, 3 * price])
    assert [agent.name for agent in agents] == list(graph.names)


def test_as_network__own_use__needs_no_trade_and_no_payment():
    graph = as_network(["home", "other"], [Trade("home", "other", -0.10)])
    book = graph.book(
        [
            LimitOrder("pv", "home", "", Side.ASK, 0, 1000),
            LimitOrder("load", "home", "", Side.BID, 300_000, 1000),
        ]
    )
    clearing = clear(book)

    assert clearing.fills_wh.tolist() == [1000, 1000]
    assert graph.payments(clearing) == pytest.approx([0.0, 0.0])


def test_as_network__collective__pays_its_price_and_the_fee():
    graph = as_network(["roof", "home"], [], [Collective("village", ("roof", "home"), None, 0.01)])
    book = graph.book(
        [
            LimitOrder("ask", "roof", "", Side.ASK, 50_000, 3000),
            LimitOrder("bid", "home", "", Side.BID, 300_000, 4000),
        ]
    )
    clearing = clear(book)

    assert graph.collective_prices_per_kwh(clearing) == pytest.approx([0.29])
    assert graph.payments(clearing) == pytest.approx([-3 * 0.28, 3 * 0.30])


@st.composite
def markets(draw: st.DrawFn):
    """Agents with linear costs, some pairs with likes and dislikes, and a forest of collectives."""
    agents = [Agent("grid", 0.0, 1000.0, 0.50), Agent("sink", -1000.0, 0.0, -0.05)]
    for at in range(draw(st.integers(1, 5))):
        bounds = sorted(draw(st.lists(st.integers(-8, 8), min_size=2, max_size=2)))
        agents.append(Agent(f"a{at}", bounds[0] / 4, bounds[1] / 4, draw(cents(-5, 40))))
    names = [agent.name for agent in agents]
    trades = [Trade("grid", name) for name in names[2:]] + [Trade(n, "sink") for n in names[2:]]
    pairs = [(one, other) for one in names for other in names if one != other]
    for seller, buyer in draw(st.lists(st.sampled_from(pairs), max_size=8)):
        capacity = draw(st.one_of(st.none(), st.integers(0, 8).map(lambda each: each / 4)))
        trades.append(Trade(seller, buyer, draw(cents(-10, 10)), draw(cents(-10, 10)), capacity))
    collectives = []
    members = draw(st.permutations(names))
    for at in range(draw(st.integers(0, 3))):
        count = draw(st.integers(0, len(members)))
        outer = draw(st.sampled_from([None, *(f"k{each}" for each in range(at))]))
        costs = [draw(cents(0, 3)) for _ in range(3)]
        collectives.append(Collective(f"k{at}", tuple(members[:count]), outer, *costs))
        members = members[count:]
    return agents, trades, collectives


@settings(max_examples=40, deadline=None)
@given(markets())
def test_as_network__any_market__kernel_and_model_find_the_same(market):
    """Same cost, and the kernel's dispatch and trades are an optimum of the model: 1e-6 token."""
    agents, trades, collectives = market
    published = solve(agents, trades, collectives)

    graph = as_network([agent.name for agent in agents], trades, collectives)
    book = graph.book(orders(agents))
    clearing = clear(book)

    generation = graph.generation_kwh(book, clearing)
    slopes = np.array([float(agent.linear_per_kwh) for agent in agents])
    spent = float(slopes @ generation) + graph.trade_cost(clearing)
    assert spent == pytest.approx(published.objective, abs=1e-6)
    model = bilateral_model(agents, trades, collectives)
    for n, energy in enumerate(generation.tolist()):
        model.p[n, 0].fix(energy)
    for line, energy in enumerate(graph.trades_kwh(clearing).tolist()):
        model.buys[line, 0].fix(energy)
    assert _solving.solve(model).objective == pytest.approx(published.objective, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(markets())
def test_as_network__any_market__payments_sum_to_fees_and_ways(market):
    agents, trades, collectives = market
    graph = as_network([agent.name for agent in agents], trades, collectives)
    clearing = clear(graph.book(orders(agents)))

    liked = sum(
        trade.cost_per_kwh * energy
        for trade, energy in zip(trades, graph.trades_kwh(clearing), strict=True)
    )
    collected = graph.trade_cost(clearing) - liked
    assert graph.payments(clearing).sum() == pytest.approx(collected, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(markets())
def test_solve__traded_pairs__prices_lie_between_the_sides(market):
    agents, trades, collectives = market
    found = solve(agents, trades, collectives)
    at = {agent.name: n for n, agent in enumerate(agents)}

    for line, trade in enumerate(trades):
        if found.trades_kwh[line, 0] > 1e-6:
            price = found.trade_price_per_kwh[line, 0]
            seller = found.agent_price_per_kwh[at[trade.seller], 0] + trade.seller_cost_per_kwh
            buyer = found.agent_price_per_kwh[at[trade.buyer], 0] - trade.buyer_cost_per_kwh
            assert seller - 1e-6 <= price <= buyer + 1e-6


def test_orders__quadratic_cost__refused():
    with pytest.raises(CommunityError, match=r"agents\['a'\].quadratic_per_kwh2: an order has one"):
        orders([Agent("a", 0.0, 1.0, 0.1, 0.1)])


def test_orders__price_above_the_cap__refused_by_the_book():
    with pytest.raises(BookError):
        as_network(["a"], []).book(orders([Agent("a", 0.0, 1.0, 11.0)]))


def test_book__order_of_nobody__refused():
    with pytest.raises(CommunityError, match=r"orders\['x'\].peer: 'ghost' is no agent"):
        as_network(["a"], []).book([LimitOrder("x", "ghost", "", Side.BID, 1, 1)])


@pytest.mark.parametrize(
    ("trade", "message"),
    [
        (Trade("ghost", "home"), r"trades\[0\].seller: 'ghost' is no agent"),
        (Trade("home", "ghost"), r"trades\[0\].buyer: 'ghost' is no agent"),
        (Trade("home", "home"), r"trades\[0\].buyer: 'home' cannot trade with itself"),
        (Trade("roof", "home", float("nan")), r"trades\[0\].buyer_cost_per_kwh: must be finite"),
        (Trade("roof", "home", capacity_kwh=-1.0), r"trades\[0\].capacity_kwh: must be at least 0"),
    ],
)
def test_solve__bad_trade__says_which_and_what(trade, message):
    with pytest.raises(CommunityError, match=message):
        solve([ROOF, HOME], [trade])


@pytest.mark.parametrize(
    ("collectives", "message"),
    [
        ([Collective("k", ("ghost",))], r"collectives\['k'\].members: 'ghost' is no agent"),
        ([Collective("k", ("home", "home"))], r"\['k'\].members: 'home' is in 'k' already"),
        ([Collective("k"), Collective("k")], "collectives: two have the same name"),
        ([Collective("k", parent="out")], r"\['k'\].parent: 'out' is no collective"),
        ([Collective("k", parent="l"), Collective("l", parent="k")], "is within itself"),
        ([Collective("k", fee_per_kwh=-0.1)], r"\['k'\].fee_per_kwh: must be at least 0"),
    ],
)
def test_solve__bad_collective__says_which_and_what(collectives, message):
    with pytest.raises(CommunityError, match=message):
        solve([ROOF, HOME], [], collectives)


def test_agent__negative_curvature__not_convex():
    with pytest.raises(ModelNotConvex, match=r"-0\.1 is negative"):
        Agent("a", 0.0, 1.0, 0.0, -0.1)


def test_bilateral_model__few_pairs__has_two_variables_per_pair_and_no_more():
    agents = [Agent(f"a{at}", -1.0, 1.0) for at in range(100)]
    trades = [Trade(f"a{at}", f"a{at + 1}") for at in range(99)]
    model = bilateral_model(agents, trades)

    assert model.nvariables() == 100 + 2 * 99
