"""Tracing: who supplies whom in a clearing, by proportional sharing."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from fairwatt import market
from fairwatt.market import Clearing, LimitOrder, Link, Side
from fairwatt.market.trades import net_positions_wh, trades_wh
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import books

if TYPE_CHECKING:
    from fairwatt.market import Book


def of(peer: str, order: LimitOrder) -> LimitOrder:
    return LimitOrder(
        order.id, peer, order.node, order.side, order.price_micro_per_kwh, order.energy_wh
    )


def test_trades__one_node__every_buyer_has_the_same_mix() -> None:
    on_one = book(ask("s1", 1, 30), ask("s2", 2, 10), bid("k1", 9, 25), bid("k2", 8, 15))
    assert trades_wh(on_one, market.clear(on_one)) == {
        ("s1", "k1"): Fraction(75, 4),
        ("s2", "k1"): Fraction(25, 4),
        ("s1", "k2"): Fraction(45, 4),
        ("s2", "k2"): Fraction(15, 4),
    }


def test_trades__thirds__are_exact() -> None:
    on_one = book(ask("s1", 1, 1), ask("s2", 1, 2), bid("k", 9, 2), bid("j", 9, 1))
    traded = trades_wh(on_one, market.clear(on_one))
    assert traded["s1", "k"] == Fraction(2, 3)
    assert sum(traded.values()) == 3


def test_trades__two_nodes__what_comes_in_mixes_with_what_is_there() -> None:
    line = network("a", "b", links=(Link("a", "b", 1, 100),))
    two = book(ask("far", 1, 6, "a"), ask("near", 2, 2, "b"), bid("k", 9, 8, "b"), on=line)
    assert trades_wh(two, market.clear(two)) == {("far", "k"): 6, ("near", "k"): 2}


def test_trades__transit__passes_through_a_node_unmixed_with_what_it_sells_elsewhere() -> None:
    line = network("a", "b", "c", links=(Link("a", "b", 1, 9), Link("b", "c", 1, 9)))
    transit = book(ask("s", 1, 9, "a"), bid("k", 9, 3, "b"), bid("j", 9, 6, "c"), on=line)
    assert trades_wh(transit, market.clear(transit)) == {("s", "k"): 3, ("s", "j"): 6}


def test_trades__parallel_links__add_up() -> None:
    both = network("a", "b", links=(Link("a", "b", 1, 3), Link("a", "b", 2, 9)))
    parallel = book(ask("s", 1, 8, "a"), bid("k", 9, 8, "b"), on=both)
    assert trades_wh(parallel, market.clear(parallel)) == {("s", "k"): 8}


def test_trades__own_use__is_no_trade() -> None:
    own = book(of("p", ask("p/ask", 1, 10)), of("p", bid("p/bid", 9, 4)), bid("k", 8, 6))
    clearing = market.clear(own)
    assert net_positions_wh(own, clearing) == {("p", 0): 6, ("k", 0): -6}
    assert trades_wh(own, clearing) == {("p", "k"): 6}


def test_trades__peer_at_two_nodes__sells_to_itself_over_the_link() -> None:
    line = network("a", "b", links=(Link("a", "b", 1, 9),))
    same = book(of("p", ask("x", 1, 5, "a")), of("p", bid("y", 9, 5, "b")), on=line)
    clearing = market.clear(same)
    assert net_positions_wh(same, clearing) == {("p", 0): 5, ("p", 1): -5}
    assert trades_wh(same, clearing) == {("p", "p"): 5}


def test_trades__nobody_trades__are_none() -> None:
    nothing = book(ask("s", 9, 5), bid("k", 1, 5))
    assert trades_wh(nothing, market.clear(nothing)) == {}


def test_trades__flow_in_a_ring__is_refused() -> None:
    ring = network("a", "b", links=(Link("a", "b", 0, 5), Link("b", "a", 0, 5)))
    empty = book(on=ring)
    with pytest.raises(CycleError):
        trades_wh(empty, Clearing([], [3, 3], [0, 0]))


@given(books(max_nodes=5, max_links=8))
@settings(deadline=None)
def test_trades__any_book__sum_to_what_everybody_trades_net(any_book: Book) -> None:
    clearing = market.clear(any_book)
    require_no_ring(any_book, clearing)
    traded = trades_wh(any_book, clearing)
    sold: dict[str, Fraction] = defaultdict(Fraction)
    bought: dict[str, Fraction] = defaultdict(Fraction)
    for (seller, buyer), energy in traded.items():
        assert isinstance(energy, Fraction)
        assert energy > 0
        sold[seller] += energy
        bought[buyer] += energy
    expected_sold: dict[str, int] = defaultdict(int)
    expected_bought: dict[str, int] = defaultdict(int)
    for (peer, _), energy in net_positions_wh(any_book, clearing).items():
        (expected_sold if energy > 0 else expected_bought)[peer] += abs(energy)
    assert {peer: energy for peer, energy in expected_sold.items() if energy} == sold
    assert {peer: energy for peer, energy in expected_bought.items() if energy} == bought
    asks = sum(
        fill
        for order, fill in zip(any_book.orders, clearing.fills_wh.tolist(), strict=True)
        if order.side is Side.ASK
    )
    assert sum(traded.values()) <= asks


def require_no_ring(any_book: Book, clearing: Clearing) -> None:
    """The kernel takes the least energy over links, so it never sends any in a ring."""
    upstream: dict[str, set[str]] = defaultdict(set)
    for link, flow in zip(any_book.network.links, clearing.flows_wh.tolist(), strict=True):
        if flow:
            upstream[link.target].add(link.source)
    TopologicalSorter(upstream).prepare()
