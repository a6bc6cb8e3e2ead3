"""A second opinion on markets: the same questions answered slowly, in plain Python integers.

Nothing here is shared with the package but the types of its inputs.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from fairwatt.market import Book, Clearing, Side


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
