"""docs/mechanisms.md: its numbers are what the functions compute, and its tests are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.market.shorthand import ask, bid, book

from fairwatt.mechanisms import (
    Auction,
    Demand,
    PoolResult,
    alone,
    bill_sharing,
    continuous_double_auction,
    efficiency,
    mid_market_rate,
    pay_as_bid,
    stackelberg,
    supply_demand_ratio,
    uniform_price,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairwatt.market import Book

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "mechanisms.md").read_text(encoding="utf-8")
Rows = list[list[str]]


def table(header: str) -> Rows:
    """Rows of the one table whose header line starts so."""
    (found,) = re.findall(rf"^{re.escape(header)}.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in found.splitlines()]


def book_of(rows: Rows) -> Book:
    orders = []
    for name, energy, limit, *_ in rows:
        side, id_ = name.split()
        orders.append({"bid": bid, "ask": ask}[side](id_, int(limit), int(energy)))
    return book(*orders)


ARRIVALS = table("| order | energy |")
AUCTIONS: dict[str, Callable[[Book], Auction]] = {
    "continuous": continuous_double_auction,
    "pay-as-bid, own": lambda on: pay_as_bid(on, "own"),
    "pay-as-bid, bid": lambda on: pay_as_bid(on, "bid"),
    "pay-as-bid, ask": lambda on: pay_as_bid(on, "ask"),
    "pay-as-bid, midpoint": lambda on: pay_as_bid(on, "midpoint"),
    "uniform price": uniform_price,
}


def test_page__sequence_of_the_continuous_auction__is_what_it_does() -> None:
    steps = continuous_double_auction(book_of(ARRIVALS)).steps
    for row, step in zip(ARRIVALS, steps, strict=True):
        name, _, _, trades, *prices = row
        side, id_ = name.split()
        shown = [
            f"{trade.ask if side == 'bid' else trade.bid} {trade.energy_wh} "
            f"{trade.paid_micro_per_kwh}"
            for trade in step.trades
        ]
        assert (id_, trades) == (step.order, ", ".join(shown))
        computed = (
            step.best_bid_micro_per_kwh,
            step.best_ask_micro_per_kwh,
            step.spread_micro_per_kwh,
        )
        assert prices == ["" if price is None else str(price) for price in computed]


def test_page__auctions_compared__are_the_same_numbers() -> None:
    on = book_of(ARRIVALS)
    rows = table("| design | energy |")
    assert [row[0] for row in rows] == list(AUCTIONS)
    for design, energy, welfare, share, manager in rows:
        auction = AUCTIONS[design](on)
        assert int(energy) == sum(trade.energy_wh for trade in auction.trades)
        assert int(welfare) == auction.welfare_nano
        assert share == f"{efficiency(auction):.1%}".replace("%", " %")
        assert int(manager) == auction.manager_nano


NET_KWH = np.array([[6.0, 2.0], [2.0, 0.0], [-4.0, -8.0]])


def led() -> PoolResult:
    load, generation = np.maximum(NET_KWH, 0), np.maximum(-NET_KWH, 0)
    demand = Demand.around(load, 0.30, elasticity=0.1, flexible=0.0)
    return stackelberg(generation, demand, 0.30, 0.10)


RULES: dict[str, Callable[[], PoolResult]] = {
    "alone": lambda: alone(NET_KWH, 0.30, 0.10),
    "mid-market rate": lambda: mid_market_rate(NET_KWH, 0.30, 0.10),
    "supply-demand ratio": lambda: supply_demand_ratio(NET_KWH, 0.30, 0.10),
    "bill sharing": lambda: bill_sharing(NET_KWH, 0.30, 0.10),
    "Stackelberg, loads that do not bend": led,
}


def test_page__rules_compared__are_the_same_numbers() -> None:
    assert "A needs 6 and 2 kWh, B 2 and 0, C has 4 and 8 to\nspare." in PAGE
    assert "Retail 0.30, feed-in 0.10 token/kWh, two periods." in PAGE
    rows = table("| rule | A | B |")
    assert [row[0] for row in rows] == list(RULES)
    for rule, *shown in rows:
        result = RULES[rule]()
        computed = [*result.bills, result.manager_surplus, result.outside_bill]
        assert shown == [f"{round(number, 9) + 0.0:.2f}" for number in computed]


@pytest.mark.parametrize("at", [0, 1])
def test_page__games__have_the_same_equilibrium(at: int) -> None:
    game, *shown = table("| game | P |")[at]
    has, one, other = (6.0, 0.0, 0.40) if "needs none" in game else (1.5, 0.20, 0.35)
    assert f"has {has:g} kWh" in game
    assert f"w = {other:.2f}" in game
    assert one == 0 or f"w = {one:.2f}" in game
    value = np.array([[one], [other]])
    demand = Demand(value, np.full((2, 1), 0.1), np.zeros((2, 1)), np.full((2, 1), 9.0))
    result = stackelberg([[has], [0.0]], demand, 0.30, 0.10)
    buy, sell = result.buy_per_kwh[0], result.sell_per_kwh[0]
    assert shown == [f"{buy:.3f}", f"{sell:.3f}", f"{result.manager_surplus:.4f}"]


def test_page__tests_it_names__are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    defined = {
        name
        for file in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    assert len(named) > 15
    assert named - defined == set()
