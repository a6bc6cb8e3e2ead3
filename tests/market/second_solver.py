"""A second honest solver: network simplex on Python integers, then plain Bellman-Ford.

It shares nothing with the package but the types of its inputs, sees orders, nodes and links in
another sequence, and prices welfare and tails in one number: price x 2^60 + tail.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import networkx as nx

from fairwatt.market import Book, Side

_WELFARE = 2**60
_TRADE_TAIL = 2**41
_OUTSIDE = "outside"

Level = tuple[str, Side, int]
Rule = tuple[Any, Any, int]  # (u, v, c): x[v] <= x[u] + c


@dataclass(frozen=True)
class Answer:
    """What `clear` and `certify` come to, in plain lists."""

    fills: list[int]
    flows: list[int]
    prices: list[int]
    certificate: dict[str, list[int]]


def answer(book: Book, chance: random.Random) -> Answer:
    """Clear the book and certify the clearing."""
    nodes, levels = book.network.nodes, _levels(book)
    energy = {key: sum(int(book.energy_wh[at]) for at in lines) for key, lines in levels.items()}
    used = _least_cost(book, energy, chance)
    flows = [used.get(at, 0) for at in range(len(book.network.links))]
    low, high, low_rank, high_rank = _prices(book, energy, used, flows)
    margin = {(node, side) for node, side, price in energy if price == low[node] == high[node]}
    tail = _tails(book, low, high, margin, energy, used, flows)

    def of_margin(side: Side, of: dict[Any, int]) -> list[int]:
        return [of[node, side, low[node]] if (node, side) in margin else 0 for node in nodes]

    return Answer(
        _fills(book, levels, energy, used),
        flows,
        [(low[node] + high[node]) // 2 for node in nodes],
        {
            "low": [low[node] for node in nodes],
            "high": [high[node] for node in nodes],
            "low_rank": [low_rank[node] for node in nodes],
            "high_rank": [high_rank[node] for node in nodes],
            "tail": [tail[node] for node in nodes],
            "ask_fill": of_margin(Side.ASK, used),
            "ask_total": of_margin(Side.ASK, energy),
            "bid_fill": of_margin(Side.BID, used),
            "bid_total": of_margin(Side.BID, energy),
        },
    )


def _levels(book: Book) -> dict[Level, list[int]]:
    """Orders with energy by node, side and limit price."""
    levels: dict[Level, list[int]] = {}
    for at, order in enumerate(book.orders):
        if order.energy_wh:
            levels.setdefault((order.node, order.side, order.price_micro_per_kwh), []).append(at)
    return levels


def _least_cost(book: Book, energy: dict[Level, int], chance: random.Random) -> dict[Any, int]:
    """Fill of every level and flow of every open link, by its position."""
    network, tails = book.network, book.network.tails.tolist()
    arcs: list[tuple[Any, Any, Any, int, int]] = []
    for (node, side, price), total in energy.items():
        key = (node, side, price)
        if side is Side.ASK:
            arcs.append((_OUTSIDE, node, key, total, price * _WELFARE))
        else:
            arcs.append((node, _OUTSIDE, key, total, -price * _WELFARE - _TRADE_TAIL))
    for at, link in enumerate(network.links):
        if link.capacity_wh:
            cost = link.tariff_micro_per_kwh * _WELFARE + tails[at]
            arcs.append((link.source, link.target, at, link.capacity_wh, cost))
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(chance.sample([*network.nodes, _OUTSIDE], len(network.nodes) + 1))
    for source, target, key, capacity, cost in chance.sample(arcs, len(arcs)):
        graph.add_edge(source, target, key, capacity=capacity, weight=cost)
    _, found = nx.network_simplex(graph)
    return {key: found[source][target][key] for source, target, key, *_ in arcs}


def _fills(
    book: Book, levels: dict[Level, list[int]], energy: dict[Level, int], used: dict[Any, int]
) -> list[int]:
    """Share every level pro rata, in the sequence of the ids."""
    fills = [0] * len(book)
    for key, lines in levels.items():
        before, owed = 0, 0
        for at in sorted(lines, key=lambda at: book.ids[at]):
            before += int(book.energy_wh[at])
            fills[at] = before * used[key] // energy[key] - owed
            owed += fills[at]
    return fills


def _prices(
    book: Book, energy: dict[Level, int], used: dict[Any, int], flows: list[int]
) -> tuple[dict[Any, int], ...]:
    """Lowest and highest optimal prices and their ranks; the price outside is 0."""
    network = book.network
    outer: list[Rule] = []
    for node in network.nodes:
        outer.append((_OUTSIDE, node, network.price_cap_micro_per_kwh))
        outer.append((node, _OUTSIDE, -network.price_floor_micro_per_kwh))
    for (node, side, price), total in energy.items():
        outer += _order_rules(node, side, price, used[node, side, price], total)
    links = [
        rule
        for at, link in enumerate(network.links)
        for rule in _link_rules(
            link.source, link.target, link.tariff_micro_per_kwh, flows[at], link.capacity_wh
        )
    ]
    low, high = _smallest(network.nodes, outer + links), _largest(network.nodes, outer + links)
    # Where x[v] = x[u] + c, u holds the highest price of v, and v the lowest price of u.
    low_roots = {u for u, v, c in outer if v == _OUTSIDE and low[u] == -c}
    high_roots = {v for u, v, c in outer if u == _OUTSIDE and high[v] == c}
    return (
        low,
        high,
        _steps(low_roots, [(v, u) for u, v, c in links if low[v] == low[u] + c]),
        _steps(high_roots, [(u, v) for u, v, c in links if high[v] == high[u] + c]),
    )


def _tails(
    book: Book,
    low: dict[Any, int],
    high: dict[Any, int],
    margin: set[tuple[str, Side]],
    energy: dict[Level, int],
    used: dict[Any, int],
    flows: list[int],
) -> dict[Any, int]:
    """Smallest tails of which none is below those of the largest ones that are negative."""
    network = book.network
    rules: list[Rule] = []
    for node, side in margin:
        key = (node, side, low[node])
        worth = 0 if side is Side.ASK else _TRADE_TAIL
        rules += _order_rules(node, side, worth, used[key], energy[key])
    for at, link in enumerate(network.links):
        i, j = link.source, link.target
        if low[j] - low[i] == link.tariff_micro_per_kwh == high[j] - high[i]:
            rules += _link_rules(i, j, int(network.tails[at]), flows[at], link.capacity_wh)
    most = _largest(network.nodes, rules)
    floors = [(node, _OUTSIDE, -min(0, most.get(node, 0))) for node in network.nodes]
    return _smallest(network.nodes, rules + floors)


def _order_rules(node: str, side: Side, price: int, fill: int, total: int) -> list[Rule]:
    trades, could = fill > 0, fill < total
    rules: list[Rule] = []
    if trades if side is Side.ASK else could:
        rules.append((node, _OUTSIDE, -price))
    if could if side is Side.ASK else trades:
        rules.append((_OUTSIDE, node, price))
    return rules


def _link_rules(source: str, target: str, cost: int, flow: int, capacity: int) -> list[Rule]:
    rules: list[Rule] = []
    if flow < capacity:
        rules.append((source, target, cost))
    if flow > 0:
        rules.append((target, source, -cost))
    return rules


def _largest(nodes: tuple[str, ...], rules: list[Rule]) -> dict[Any, int]:
    """Largest x that keeps the rules, of the nodes that something bounds from above."""
    x: dict[Any, int] = {_OUTSIDE: 0}
    for _ in range(len(nodes) + 2):
        changed = False
        for u, v, c in rules:
            if u in x and (v not in x or x[u] + c < x[v]):
                x[v] = x[u] + c
                changed = True
        if not changed:
            return x
    raise AssertionError("no optimum: a cheaper cycle exists")


def _smallest(nodes: tuple[str, ...], rules: list[Rule]) -> dict[Any, int]:
    return {node: -x for node, x in _largest(nodes, [(v, u, c) for u, v, c in rules]).items()}


def _steps(roots: set[Any], edges: list[tuple[Any, Any]]) -> dict[Any, int]:
    steps, wave = dict.fromkeys(roots, 0), set(roots)
    while wave:
        wave = {v for u, v in edges if u in wave and v not in steps}
        steps |= dict.fromkeys(wave, max(steps.values()) + 1)
    return steps
