"""Full peer-to-peer trade between pairs, and the hybrid of it with nested communities.

    minimise   sum_n a_n p_n^2 + b_n p_n                                                (B1)
             + sum over trades (m -> n) of (d_mn y_mn + c_mn x_mn)
             + sum over collectives k of fee_k sum_n (s_n + u_n) + export_k e_k + import_k i_k
    subject to p_n = sum_m y_nm - sum_m x_mn + s_n - u_n         every agent n          (B2)
               y_mn = x_mn                                       every trade m -> n     (B3)
               sum_n at k (s_n - u_n) + i_k - e_k
                 + sum over children j of (e_j - i_j) = 0        every collective k     (B4)
               least_n <= p_n <= most_n                                                 (B5)
               sum_m y_nm + s_n <= max(most_n, 0)                nobody resells         (B6)
               sum_m x_mn + u_n <= max(-least_n, 0)
               0 <= x, y <= capacity; s, u, e, i >= 0

y_mn is what m sells to n and x_mn what n buys from m; s_n and u_n is what n gives to and takes from
its collective, e_k and i_k what collective k exports to and imports from the one around it. All of
it in every period. Without collectives this is the full peer-to-peer market with product
differentiation of Sorin, Bobo and Pinson, "Consensus-based approach to peer-to-peer electricity
markets with product differentiation", 2019; with them the hybrid ("Russian doll") design of
FleXunity D3.1, section 2.1.4.3, whose collectives are those of Moret and Pinson, "Energy
collectives", 2019.

*Product differentiation.* c_mn is what the buyer dislikes a kWh of this seller by (distance, colour
of the energy, acquaintance) and d_mn the seller's dislike of the buyer, both per kWh and negative
where they like it. They count in the objective and are paid to nobody.

*Prices.* The dual of B3 is the price of the trade, what n pays m; the dual of B4 the price in the
collective; the dual of B2 what a kWh is worth at n. Where energy is traded

    worth at seller + d <= price of the trade <= worth at buyer - c

with equality where no limit binds: no capacity, and no B6 on somebody who both buys and sells.

*Pairs.* Only the trades that are listed exist: there is nothing of size agents x agents here.

*Nobody resells* is the sign rule of Sorin et al. (producers only sell, consumers only buy), said so
that it also holds for who does both. Without it an agent could pass energy on.

`as_network` says the same market as a graph, so that the market kernel can clear it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyomo.environ as pyo

from fairwatt.errors import CommunityError
from fairwatt.market import Book, LimitOrder, Link, Network, Side
from fairwatt.market.network import MAX_QUANTITY_WH
from fairwatt.models import _solving
from fairwatt.models._agents import Agent, cost, number, over, require_agents, table
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fairwatt.market import Clearing
    from fairwatt.models._agents import Array

__all__ = [
    "Agent",
    "Collective",
    "Dispatch",
    "Trade",
    "TradeNetwork",
    "as_network",
    "bilateral_model",
    "orders",
    "solve",
]

_FLOOR, _CAP = -(10**7), 10**7


@dataclass(frozen=True, slots=True)
class Trade:
    """A pair that may trade, in one direction.

    Parameters
    ----------
    seller, buyer
        Names of agents.
    buyer_cost_per_kwh, seller_cost_per_kwh
        c_mn, d_mn: dislike of the other, token/kWh; negative where they like it.
    capacity_kwh
        Most per period; None for no limit.
    """

    seller: str
    buyer: str
    buyer_cost_per_kwh: float = 0.0
    seller_cost_per_kwh: float = 0.0
    capacity_kwh: float | None = None

    @property
    def cost_per_kwh(self) -> float:
        """c_mn + d_mn."""
        return self.buyer_cost_per_kwh + self.seller_cost_per_kwh


@dataclass(frozen=True, slots=True)
class Collective:
    """A community whose members trade without naming a partner; it may be within another.

    Parameters
    ----------
    name
        Unique among collectives.
    members
        Names of agents; nobody is in two.
    parent
        Name of the collective around it; None for none.
    fee_per_kwh
        What a member's side of a trade in it costs, token/kWh, >= 0.
    import_cost_per_kwh, export_cost_per_kwh
        Of energy from and to its parent, token/kWh, >= 0.
    """

    name: str
    members: tuple[str, ...] = ()
    parent: str | None = None
    fee_per_kwh: float = 0.0
    import_cost_per_kwh: float = 0.0
    export_cost_per_kwh: float = 0.0


@dataclass(frozen=True, eq=False)
class Dispatch:
    """An optimum.

    Attributes
    ----------
    objective
        B1, token.
    generation_kwh
        p, shape (agents, periods).
    trades_kwh
        Shape (trades, periods).
    given_kwh
        s - u, to the collective, shape (agents, periods); 0 for who is in none.
    trade_price_per_kwh
        Duals of B3, shape (trades, periods); where nothing is traded, one of the prices at which
        neither side would like to.
    collective_price_per_kwh
        Duals of B4, shape (collectives, periods).
    agent_price_per_kwh
        Duals of B2, shape (agents, periods).
    """

    objective: float
    generation_kwh: Array
    trades_kwh: Array
    given_kwh: Array
    trade_price_per_kwh: Array
    collective_price_per_kwh: Array
    agent_price_per_kwh: Array


def solve(
    agents: Sequence[Agent],
    trades: Sequence[Trade],
    collectives: Sequence[Collective] = (),
    *,
    periods: int = 1,
    time_limit_s: float | None = None,
) -> Dispatch:
    """Solve the market; parameters as `bilateral_model`.

    Raises
    ------
    CommunityError
        If the data make no sense.
    ModelInfeasible, ModelTimeLimit
        If there is no optimum, or none in time.
    """
    m = bilateral_model(agents, trades, collectives, periods=periods)
    duals = [m.agent_balance, m.reciprocity, m.collective_balance]
    optimum = _solving.solve(m, duals=duals, time_limit_s=time_limit_s)
    given = np.zeros((len(agents), periods))
    for n in m.home:
        for t in m.periods:
            given[n, t] = m.gives[n, t].value - m.takes[n, t].value
    return Dispatch(
        optimum.objective,
        table(m.p, len(agents), periods),
        table(m.buys, len(trades), periods),
        given,
        table(optimum.duals(m.reciprocity), len(trades), periods),
        table(optimum.duals(m.collective_balance), len(collectives), periods),
        table(optimum.duals(m.agent_balance), len(agents), periods),
    )


def bilateral_model(
    agents: Sequence[Agent],
    trades: Sequence[Trade],
    collectives: Sequence[Collective] = (),
    *,
    periods: int = 1,
) -> pyo.ConcreteModel:
    """State the market.

    Indices: agent n, trade l, collective k, period t, all from 0.

    Parameters
    ----------
    agents
        Producers, consumers, prosumers; a supplier is an agent like any other.
    trades
        The pairs that may trade.
    collectives
        A forest; none for the full peer-to-peer market.
    periods
        How many; series of agents have one value each, or one for all.

    Raises
    ------
    CommunityError
        If the data make no sense.
    """
    require_agents(agents, periods)
    _require_structure([agent.name for agent in agents], trades, collectives)
    m = pyo.ConcreteModel("bilateral trade")
    m.members, m.pairs, m.groups = tuple(agents), tuple(trades), tuple(collectives)
    m.agents, m.trades = range(len(agents)), range(len(trades))
    m.collectives, m.periods = range(len(collectives)), range(periods)
    m.least = [over(agent.least_kwh, periods, "least_kwh").tolist() for agent in agents]
    m.most = [over(agent.most_kwh, periods, "most_kwh").tolist() for agent in agents]
    index = {agent.name: n for n, agent in enumerate(agents)}
    group = {collective.name: k for k, collective in enumerate(collectives)}
    m.sales, m.purchases = defaultdict(list), defaultdict(list)
    for line, trade in enumerate(trades):
        m.sales[index[trade.seller]].append(line)
        m.purchases[index[trade.buyer]].append(line)
    m.home = {index[name]: k for k, each in enumerate(collectives) for name in each.members}
    m.within, m.children = defaultdict(list), defaultdict(list)
    for n, k in m.home.items():
        m.within[k].append(n)
    for k, collective in enumerate(collectives):
        if collective.parent is not None:
            m.children[group[collective.parent]].append(k)
    m.nested = sorted(k for children in m.children.values() for k in children)
    _add_variables(m)
    m.agent_balance = pyo.Constraint(m.agents, m.periods, rule=agent_balance)
    m.reciprocity = pyo.Constraint(m.trades, m.periods, rule=reciprocity)
    m.collective_balance = pyo.Constraint(m.collectives, m.periods, rule=collective_balance)
    m.own_sales = pyo.Constraint(m.agents, m.periods, rule=own_sales)
    m.own_purchases = pyo.Constraint(m.agents, m.periods, rule=own_purchases)
    m.cost = pyo.Objective(rule=total_cost, sense=pyo.minimize)
    return m


def _add_variables(m: pyo.ConcreteModel) -> None:
    positive = pyo.NonNegativeReals
    m.p = pyo.Var(m.agents, m.periods, bounds=generation_bounds)
    m.sells = pyo.Var(m.trades, m.periods, bounds=trade_bounds)
    m.buys = pyo.Var(m.trades, m.periods, bounds=trade_bounds)
    m.gives = pyo.Var(list(m.home), m.periods, within=positive)
    m.takes = pyo.Var(list(m.home), m.periods, within=positive)
    m.exports = pyo.Var(m.nested, m.periods, within=positive)
    m.imports = pyo.Var(m.nested, m.periods, within=positive)


def total_cost(m: Any) -> Any:
    """B1, costs of generation, of trades, and of collectives."""
    return generation_cost(m) + trade_cost(m) + collective_cost(m)


def generation_cost(m: Any) -> Any:
    """B1a, sum_n a_n p_n^2 + b_n p_n."""
    terms = []
    for n, agent in enumerate(m.members):
        for t, (a, b) in enumerate(cost(agent, len(m.periods))):
            terms.append(b * m.p[n, t] + (a * m.p[n, t] ** 2 if a else 0.0))
    return pyo.quicksum(terms)


def trade_cost(m: Any) -> Any:
    """B1b, sum over trades of d y + c x."""
    return pyo.quicksum(
        trade.seller_cost_per_kwh * m.sells[line, t] + trade.buyer_cost_per_kwh * m.buys[line, t]
        for line, trade in enumerate(m.pairs)
        for t in m.periods
    )


def collective_cost(m: Any) -> Any:
    """B1c, sum_k fee_k sum_n (s_n + u_n) + export_k e_k + import_k i_k."""
    fees = (
        m.groups[k].fee_per_kwh * (m.gives[n, t] + m.takes[n, t])
        for n, k in m.home.items()
        for t in m.periods
    )
    ways = (
        m.groups[k].export_cost_per_kwh * m.exports[k, t]
        + m.groups[k].import_cost_per_kwh * m.imports[k, t]
        for k in m.nested
        for t in m.periods
    )
    return pyo.quicksum(fees) + pyo.quicksum(ways)


def agent_balance(m: Any, n: int, t: int) -> Any:
    """B2, p_n = sum_m y_nm - sum_m x_mn + s_n - u_n; its dual is what a kWh is worth at n."""
    return m.p[n, t] + _taken(m, n, t) - _given(m, n, t) == 0


def reciprocity(m: Any, line: int, t: int) -> Any:
    """B3, y_mn = x_mn: what is sold is what is bought; its dual is the price of the trade."""
    return m.sells[line, t] - m.buys[line, t] == 0


def collective_balance(m: Any, k: int, t: int) -> Any:
    """B4, members and children give what members and children take; its dual is the price."""
    members = [m.gives[n, t] - m.takes[n, t] for n in m.within[k]]
    children = [m.exports[j, t] - m.imports[j, t] for j in m.children[k]]
    outside = [m.imports[k, t] - m.exports[k, t]] if k in m.nested else []
    terms = members + children + outside
    return pyo.quicksum(terms) == 0 if terms else pyo.Constraint.Skip


def generation_bounds(m: Any, n: int, t: int) -> tuple[float, float]:
    """B5, least_n <= p_n <= most_n."""
    return m.least[n][t], m.most[n][t]


def own_sales(m: Any, n: int, t: int) -> Any:
    """B6a, sum_m y_nm + s_n <= max(most_n, 0); left out where B5 says it, for who cannot buy."""
    if m.least[n][t] >= 0.0 < m.most[n][t] or not (m.sales[n] or n in m.home):
        return pyo.Constraint.Skip
    return _given(m, n, t) <= max(m.most[n][t], 0.0)


def own_purchases(m: Any, n: int, t: int) -> Any:
    """B6b, sum_m x_mn + u_n <= max(-least_n, 0); left out where B5 says it, for who cannot sell."""
    if m.most[n][t] <= 0.0 > m.least[n][t] or not (m.purchases[n] or n in m.home):
        return pyo.Constraint.Skip
    return _taken(m, n, t) <= max(-m.least[n][t], 0.0)


def trade_bounds(m: Any, line: int, t: int) -> tuple[float, float | None]:
    """0 <= x, y <= capacity."""
    del t
    return 0.0, m.pairs[line].capacity_kwh


def _given(m: Any, n: int, t: int) -> Any:
    sold = [m.sells[line, t] for line in m.sales[n]]
    return pyo.quicksum(sold + ([m.gives[n, t]] if n in m.home else []))


def _taken(m: Any, n: int, t: int) -> Any:
    bought = [m.buys[line, t] for line in m.purchases[n]]
    return pyo.quicksum(bought + ([m.takes[n, t]] if n in m.home else []))


# --- the same market as a graph -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TradeNetwork:
    """The market as nodes and links for the kernel; make it with `as_network`.

    Every agent has two nodes, one for its asks and one for its bids, with a free link from the
    first to the second: so it can use what it generates, and nobody can pass energy on. A trade is
    a link from the seller's to the buyer's, its costs the tariff. A collective is a node, with
    links from and to its members, its children and its parent.

    *Likes.* A tariff cannot be negative. All energy enters at an ask and reaches a bid, so whatever
    is added to every link that ends where bids sit, and to every bid, changes no decision. That is
    `offset_micro_per_kwh`, just enough of it; `book` adds it to bids.

    Attributes
    ----------
    network
        For the kernel; its cap is raised by the offset.
    names
        Of the agents.
    trades, collectives
        As they were given.
    offset_micro_per_kwh
        What bids and the links to them are raised by.
    """

    network: Network
    names: tuple[str, ...]
    trades: tuple[Trade, ...]
    collectives: tuple[Collective, ...]
    offset_micro_per_kwh: int

    def book(self, orders: Iterable[LimitOrder]) -> Book:
        """Put orders of the agents where they belong; the nodes they name are not looked at.

        Raises
        ------
        CommunityError
            If an order is of nobody here.
        """
        known, placed = set(self.names), []
        for order in orders:
            if order.peer not in known:
                raise CommunityError(f"orders[{order.id!r}].peer", f"{order.peer!r} is no agent")
            is_bid = order.side is Side.BID
            node = _bids_of(order.peer) if is_bid else _asks_of(order.peer)
            price = order.price_micro_per_kwh + (self.offset_micro_per_kwh if is_bid else 0)
            placed.append(
                LimitOrder(order.id, order.peer, node, order.side, price, order.energy_wh)
            )
        return Book.of(self.network, placed)

    def generation_kwh(self, book: Book, clearing: Clearing) -> Array:
        """What the asks of each agent sold less what its bids bought, shape (agents,)."""
        sign = np.where(book.side == Side.ASK, 1, -1)
        totals = np.zeros(len(book.network.nodes), np.int64)
        np.add.at(totals, book.node, sign * clearing.fills_wh)
        agents = totals[: 2 * len(self.names)].reshape(-1, 2)  # asks and bids in turn
        found: Array = agents.sum(axis=1) / WH_PER_KWH
        return found

    def trade_cost(self, clearing: Clearing) -> float:
        """B1b and B1c, token: likes and dislikes, fees and ways of collectives."""
        into_bids = np.isin(self.network.targets, np.arange(1, 2 * len(self.names), 2))
        tariffs = self.network.tariffs_micro_per_kwh - self.offset_micro_per_kwh * into_bids
        return float((tariffs * clearing.flows_wh).sum()) / (MICRO * WH_PER_KWH)

    def trades_kwh(self, clearing: Clearing) -> Array:
        """Energy of each trade, shape (trades,)."""
        first = len(self.names)
        flows: Array = clearing.flows_wh[first : first + len(self.trades)] / WH_PER_KWH
        return flows

    def trade_prices_per_kwh(self, clearing: Clearing) -> Array:
        """Price of each trade, token/kWh, shape (trades,): the seller's worth and its dislike.

        Where a trade is at its capacity, the scarcity is the buyer's gain.
        """
        at = self.network.node_index
        prices = clearing.prices_micro_per_kwh
        worth = np.array([prices[at[_asks_of(trade.seller)]] for trade in self.trades], float)
        dislike = np.array([trade.seller_cost_per_kwh for trade in self.trades], float)
        found: Array = worth / MICRO + dislike
        return found

    def collective_prices_per_kwh(self, clearing: Clearing) -> Array:
        """Price in each collective, token/kWh, shape (collectives,)."""
        at = self.network.node_index
        prices = clearing.prices_micro_per_kwh
        found = [prices[at[_collective(each.name)]] for each in self.collectives]
        return np.array(found, float) / MICRO

    def payments(self, clearing: Clearing) -> Array:
        """What each agent pays, token, shape (agents,); negative if it is paid.

        A trade is paid at its own price, so likes and dislikes cost nothing. In a collective its
        price is paid or earned, and the fee paid. Sums to the fees and costs of the collectives.
        """
        paid, at = np.zeros(len(self.names)), {name: n for n, name in enumerate(self.names)}
        values = self.trades_kwh(clearing) * self.trade_prices_per_kwh(clearing)
        for trade, value in zip(self.trades, values.tolist(), strict=True):
            paid[at[trade.buyer]] += value
            paid[at[trade.seller]] -= value
        flows = (clearing.flows_wh / WH_PER_KWH).tolist()
        line = len(self.names) + len(self.trades)
        prices = self.collective_prices_per_kwh(clearing).tolist()
        for collective, price in zip(self.collectives, prices, strict=True):
            for member in collective.members:
                given, taken, fee = flows[line], flows[line + 1], collective.fee_per_kwh
                paid[at[member]] += price * (taken - given) + fee * (taken + given)
                line += 2
        return paid


def as_network(
    names: Sequence[str],
    trades: Sequence[Trade],
    collectives: Sequence[Collective] = (),
    *,
    price_floor_micro_per_kwh: int = _FLOOR,
    price_cap_micro_per_kwh: int = _CAP,
) -> TradeNetwork:
    """Say the market as a graph.

    Costs are rounded to micro-token/kWh and capacities to Wh.

    Parameters
    ----------
    names
        Of the agents.
    trades, collectives
        As in `bilateral_model`.
    price_floor_micro_per_kwh, price_cap_micro_per_kwh
        Bounds for the limit prices of orders.

    Raises
    ------
    CommunityError
        If the data make no sense.
    """
    _require_structure(names, trades, collectives)
    tariffs = [round(trade.cost_per_kwh * MICRO) for trade in trades]
    offset = max(0, -min(tariffs, default=0))
    links = [Link(_asks_of(name), _bids_of(name), offset, MAX_QUANTITY_WH) for name in names]
    for trade, tariff in zip(trades, tariffs, strict=True):
        most = trade.capacity_kwh
        capacity = MAX_QUANTITY_WH if most is None else round(most * WH_PER_KWH)
        ends = _asks_of(trade.seller), _bids_of(trade.buyer)
        links.append(Link(*ends, tariff + offset, capacity))
    for collective in collectives:
        node, fee = _collective(collective.name), round(collective.fee_per_kwh * MICRO)
        for member in collective.members:
            links.append(Link(_asks_of(member), node, fee, MAX_QUANTITY_WH))
            links.append(Link(node, _bids_of(member), fee + offset, MAX_QUANTITY_WH))
    for collective in collectives:
        if collective.parent is not None:
            node, parent = _collective(collective.name), _collective(collective.parent)
            out = round(collective.export_cost_per_kwh * MICRO)
            into = round(collective.import_cost_per_kwh * MICRO)
            links.append(Link(node, parent, out, MAX_QUANTITY_WH))
            links.append(Link(parent, node, into, MAX_QUANTITY_WH))
    nodes = [side(name) for name in names for side in (_asks_of, _bids_of)]
    nodes += [_collective(collective.name) for collective in collectives]
    network = Network(
        tuple(nodes), tuple(links), price_floor_micro_per_kwh, price_cap_micro_per_kwh + offset
    )
    return TradeNetwork(network, tuple(names), tuple(trades), tuple(collectives), offset)


def orders(agents: Sequence[Agent], period: int = 0, periods: int = 1) -> list[LimitOrder]:
    """Say in orders what agents with linear costs want in one period.

    Between least_n and most_n an agent asks, and bids, its b. What it must consume bids the cap of
    `as_network` and what it must generate asks its floor, so that nothing cheaper goes before.

    Raises
    ------
    CommunityError
        If an agent's cost is quadratic: an order has one price. Give it as several agents.
    """
    require_agents(agents, periods)
    lines: list[LimitOrder] = []
    for agent in agents:
        place = f"agents[{agent.name!r}]"
        a, b = cost(agent, periods)[period]
        if a:
            raise CommunityError(
                f"{place}.quadratic_per_kwh2",
                "an order has one price; say the cost in linear steps, an agent each",
            )
        least = float(over(agent.least_kwh, periods, place)[period])
        most = float(over(agent.most_kwh, periods, place)[period])
        price = round(b * MICRO)
        wishes = (
            ("must-buy", Side.BID, _CAP, max(-most, 0.0)),
            ("buy", Side.BID, price, max(-least, 0.0) - max(-most, 0.0)),
            ("must-sell", Side.ASK, _FLOOR, max(least, 0.0)),
            ("sell", Side.ASK, price, max(most, 0.0) - max(least, 0.0)),
        )
        lines += [
            LimitOrder(
                f"{agent.name}/{label}", agent.name, "", side, limit, round(energy * WH_PER_KWH)
            )
            for label, side, limit, energy in wishes
            if energy > 0
        ]
    return lines


def _asks_of(name: str) -> str:
    return f"{name}/sells"


def _bids_of(name: str) -> str:
    return f"{name}/buys"


def _collective(name: str) -> str:
    return f"collective/{name}"


# --- data that make no sense ----------------------------------------------------------------------


def _require_structure(
    names: Sequence[str], trades: Sequence[Trade], collectives: Sequence[Collective]
) -> None:
    known = set(names)
    for at, trade in enumerate(trades):
        _require_trade(known, trade, f"trades[{at}]")
    by_name = {each.name: each for each in collectives}
    if len(by_name) < len(collectives):
        raise CommunityError("collectives", "two have the same name")
    home: dict[str, str] = {}
    for each in collectives:
        place = f"collectives[{each.name!r}]"
        for field in ("fee_per_kwh", "import_cost_per_kwh", "export_cost_per_kwh"):
            number(getattr(each, field), f"{place}.{field}", 0.0)
        for member in each.members:
            if member not in known:
                raise CommunityError(f"{place}.members", f"{member!r} is no agent")
            if member in home:
                raise CommunityError(
                    f"{place}.members", f"{member!r} is in {home[member]!r} already"
                )
            home[member] = each.name
        if each.parent is not None and each.parent not in by_name:
            raise CommunityError(f"{place}.parent", f"{each.parent!r} is no collective")
        _require_tree(each, by_name.__getitem__, place)


def _require_trade(known: set[str], trade: Trade, place: str) -> None:
    for field in ("seller", "buyer"):
        if getattr(trade, field) not in known:
            raise CommunityError(f"{place}.{field}", f"{getattr(trade, field)!r} is no agent")
    if trade.seller == trade.buyer:
        raise CommunityError(f"{place}.buyer", f"{trade.buyer!r} cannot trade with itself")
    for field in ("buyer_cost_per_kwh", "seller_cost_per_kwh"):
        number(getattr(trade, field), f"{place}.{field}")
    if trade.capacity_kwh is not None:
        number(trade.capacity_kwh, f"{place}.capacity_kwh", 0.0)


def _require_tree(start: Collective, of: Callable[[str], Collective], place: str) -> None:
    """Require that the way outwards ends."""
    passed, here = {start.name}, start
    while here.parent is not None:
        if here.parent in passed:
            raise CommunityError(f"{place}.parent", "the collective is within itself")
        passed.add(here.parent)
        here = of(here.parent)
