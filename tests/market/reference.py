"""A second opinion on markets: the same questions answered slowly, in plain Python integers.

Nothing here is shared with the package but the types of its inputs.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from fairwatt.market import Book, Certificate, Clearing, Side


def best(book: Book) -> tuple[int, int]:
    """Largest welfare (nano-token), and largest traded energy (Wh) at that welfare.

    Min-cost circulation by cancelling negative cycles: starts from nothing and pushes energy
    around any cycle that helps until there is none. Every order is an arc between its node and
    the outside world, whose number is the number of nodes.
    """
    outside = len(book.network.nodes)
    arcs = []  # [tail, head, spare, cost], each followed by its reverse
    for order in book.orders:
        node, price = book.network.node_index[order.node], order.price_micro_per_kwh
        if order.side is Side.BID:
            arcs += _arc(node, outside, order.energy_wh, -2 * price - 1)
        else:
            arcs += _arc(outside, node, order.energy_wh, 2 * price)
    for link in book.network.links:
        tail, head = (book.network.node_index[name] for name in (link.source, link.target))
        arcs += _arc(tail, head, link.capacity_wh, 2 * link.tariff_micro_per_kwh)
    while cycle := _negative_cycle(outside + 1, arcs):
        step = min(arcs[at][2] for at in cycle)
        for at in cycle:
            arcs[at][2] -= step
            arcs[at ^ 1][2] += step
    used = [(arcs[at + 1][2], arcs[at][3]) for at in range(0, len(arcs), 2)]
    traded = sum(flow for flow, cost in used if cost % 2)
    return (-sum(flow * cost for flow, cost in used) - traded) // 2, traded


def verdict(book: Book, clearing: Clearing) -> tuple[Any, ...]:  # noqa: C901 - rule after rule
    """What the proof check has to say: ("accepted", welfare, bound) or (error, parameters...)."""
    network = book.network
    nodes, links, orders = network.nodes, network.links, list(book.orders)
    fills = clearing.fills_wh.tolist()
    flows = clearing.flows_wh.tolist()
    prices = clearing.prices_micro_per_kwh.tolist()
    if len(prices) != len(nodes):
        return ("PriceCountMismatch", len(nodes), len(prices))
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    for at, price in enumerate(prices):
        if not floor <= price <= cap:
            return ("PriceOutOfBounds", at, price, floor, cap)
    if len(fills) != len(orders):
        return ("FillCountMismatch", len(orders), len(fills))
    for at, order in enumerate(orders):
        if fills[at] > order.energy_wh:
            return ("FillAboveEnergy", at, fills[at], order.energy_wh)
    if len(flows) != len(links):
        return ("FlowCountMismatch", len(links), len(flows))
    for at, link in enumerate(links):
        if flows[at] > link.capacity_wh:
            return ("FlowAboveCapacity", at, flows[at], link.capacity_wh)
    welfare = bound = 0
    for at, node in enumerate(nodes):
        surplus = 0
        for fill, order in zip(fills, orders, strict=True):
            if order.node == node:
                sign = 1 if order.side is Side.ASK else -1
                surplus += sign * fill
                welfare -= sign * fill * order.price_micro_per_kwh
                gain = sign * (prices[at] - order.price_micro_per_kwh)
                bound += order.energy_wh * max(0, gain)
        surplus += sum(w for w, link in zip(flows, links, strict=True) if link.target == node)
        surplus -= sum(w for w, link in zip(flows, links, strict=True) if link.source == node)
        if surplus:
            return ("NodeUnbalanced", at, surplus)
    for flow, link in zip(flows, links, strict=True):
        rise = prices[nodes.index(link.target)] - prices[nodes.index(link.source)]
        welfare -= flow * link.tariff_micro_per_kwh
        bound += link.capacity_wh * max(0, rise - link.tariff_micro_per_kwh)
    return ("accepted" if welfare == bound else "NotOptimal", welfare, bound)


def midpoints(book: Book, clearing: Clearing) -> list[int]:
    """Midpoint prices, from trying every price at every node. For very small books."""
    network = book.network
    every = range(network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh + 1)
    optimal = [
        prices
        for prices in product(every, repeat=len(network.nodes))
        if verdict(book, Clearing(clearing.fills_wh, clearing.flows_wh, prices))[0] == "accepted"
    ]
    return [(min(column) + max(column)) // 2 for column in zip(*optimal, strict=True)]


def _arc(tail: int, head: int, capacity: int, cost: int) -> list[list[int]]:
    return [[tail, head, capacity, cost], [head, tail, 0, -cost]]


def _negative_cycle(count: int, arcs: list[list[int]]) -> list[int]:
    distance, via = [0] * count, [-1] * count
    for _ in range(count):
        last = -1
        for at, (tail, head, spare, cost) in enumerate(arcs):
            if spare and distance[tail] + cost < distance[head]:
                distance[head], via[head], last = distance[tail] + cost, at, head
        if last < 0:
            return []
    for _ in range(count):  # walk back far enough to be on the cycle
        last = arcs[via[last]][0]
    cycle, node = [], last
    while True:
        cycle.append(via[node])
        node = arcs[via[node]][0]
        if node == last:
            return cycle


def certified(  # noqa: C901 - rule after rule
    book: Book, clearing: Clearing, certificate: Certificate
) -> tuple[Any, ...]:
    """What the rules of the certificate have to say: ("accepted",) or (error, parameters...)."""
    network = book.network
    nodes, orders = range(len(network.nodes)), list(book.orders)
    home = [network.node_index[order.node] for order in orders]
    fills, flows = clearing.fills_wh.tolist(), clearing.flows_wh.tolist()
    prices = clearing.prices_micro_per_kwh.tolist()
    low, high = certificate.low.tolist(), certificate.high.tolist()
    tail = certificate.tail.tolist()
    filled = {
        Side.BID: certificate.bid_fill.tolist(),
        Side.ASK: certificate.ask_fill.tolist(),
    }
    total = {
        Side.BID: certificate.bid_total.tolist(),
        Side.ASK: certificate.ask_total.tolist(),
    }
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh

    for z in nodes:
        if not floor <= low[z] <= high[z] <= cap:
            return ("PricesOutOfBounds", z, low[z], high[z], floor, cap)
    for z in nodes:
        if prices[z] != (low[z] + high[z]) // 2:
            return ("PriceNotMidpoint", z, prices[z], low[z], high[z])

    for at, order in enumerate(orders):
        limit = order.price_micro_per_kwh
        if order.energy_wh and low[home[at]] < limit < high[home[at]]:
            return ("LimitBetweenPrices", at, limit, low[home[at]], high[home[at]])
    groups: dict[tuple[int, Side], list[int]] = {(z, side): [] for z in nodes for side in Side}
    for at, order in enumerate(orders):
        limit, z = order.price_micro_per_kwh, home[at]
        if limit == low[z] == high[z] and order.energy_wh:
            groups[z, order.side].append(at)
            continue
        trades = limit <= low[z] if order.side is Side.ASK else limit >= high[z]
        if fills[at] != (order.energy_wh if trades else 0):
            return ("FillNotImplied", at, fills[at], order.energy_wh if trades else 0)
    for (z, side), lines in groups.items():
        actual = sum(orders[at].energy_wh for at in lines)
        if total[side][z] != actual:
            return ("MarginalTotalMismatch", z, side.value, total[side][z], actual)
    for z, side in groups:
        if filled[side][z] > total[side][z]:
            return ("MarginalFillAboveTotal", z, side.value, filled[side][z], total[side][z])
    shares = {}
    for (z, side), lines in groups.items():
        before = 0
        for at in sorted(lines, key=lambda at: orders[at].id):
            after = before + orders[at].energy_wh
            owed = [upto * filled[side][z] // total[side][z] for upto in (before, after)]
            shares[at], before = owed[1] - owed[0], after
    for at in sorted(shares):
        if fills[at] != shares[at]:
            return ("FillNotShared", at, fills[at], shares[at])

    links = list(enumerate(network.links))
    ends = [(network.node_index[link.source], network.node_index[link.target]) for _, link in links]
    gains = [
        tuple(x[j] - x[i] - link.tariff_micro_per_kwh for x in (low, high))
        for (i, j), (_, link) in zip(ends, links, strict=True)
    ]
    for at, _ in links:
        if flows[at] < 0:
            return ("NegativeQuantity", "flowsWh", at, flows[at])
    for at, link in links:
        if flows[at] > link.capacity_wh:
            return ("FlowAboveCapacity", at, flows[at], link.capacity_wh)
    for at, link in links:
        if (max(gains[at]) > 0 and flows[at] < link.capacity_wh) or (
            min(gains[at]) < 0 and flows[at] > 0
        ):
            return ("FlowNotImplied", at, flows[at], link.capacity_wh, *gains[at])
    for at, link in links:
        own, rise = int(network.tails[at]), tail[ends[at][1]] - tail[ends[at][0]]
        too_much, too_little = (
            flows[at] > 0 and rise < own,
            flows[at] < link.capacity_wh and rise > own,
        )
        if gains[at] == (0, 0) and (too_much or too_little):
            return ("FlowNotUnique", at, flows[at], link.capacity_wh, rise, own)

    for side, worth in ((Side.ASK, 0), (Side.BID, -(2**41))):
        sign = 1 if side is Side.ASK else -1
        for z in nodes:
            fill, most, value = filled[side][z], total[side][z], sign * tail[z]
            if (fill > 0 and value < worth) or (fill < most and value > worth):
                return ("FillNotUnique", z, side.value, fill, most, tail[z])
    for z in nodes:
        surplus = 0
        for at, order in enumerate(orders):
            if home[at] == z:
                surplus += fills[at] if order.side is Side.ASK else -fills[at]
        surplus += sum(flows[at] for at, _ in links if ends[at][1] == z)
        surplus -= sum(flows[at] for at, _ in links if ends[at][0] == z)
        if surplus:
            return ("NodeUnbalanced", z, surplus)

    for name, x, bound, rank, upward in (
        ("LowestNotProved", low, floor, certificate.low_rank.tolist(), False),
        ("HighestNotProved", high, cap, certificate.high_rank.tolist(), True),
    ):
        held = {z for z in nodes if x[z] == bound}
        for at, order in enumerate(orders):
            z = home[at]
            # What lets an order hold a price down is what lets it hold one up on the other side.
            holds = (
                fills[at] > 0 if (order.side is Side.ASK) != upward else fills[at] < order.energy_wh
            )
            if x[z] == order.price_micro_per_kwh and holds:
                held.add(z)
        for at, link in links:
            i, j = ends[at]
            if x[j] - x[i] == link.tariff_micro_per_kwh:
                for active, one, other in (
                    (flows[at] > 0, i, j),
                    (flows[at] < link.capacity_wh, j, i),
                ):
                    giver, taker = (other, one) if upward else (one, other)
                    if active and rank[giver] < rank[taker]:
                        held.add(taker)
        for z in nodes:
            if z not in held:
                return (name, z, x[z], rank[z])
    return ("accepted",)
