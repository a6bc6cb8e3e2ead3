"""`clear`: what comes out of a book, case by case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import highspy
import numpy as np
import pytest
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import INT32_MAX, INT32_MIN, UINT40_MAX, fills_by_id

from fairwatt import highs
from fairwatt.errors import KernelError
from fairwatt.highs import Program
from fairwatt.market import Book, Link, Network, _flow, check, clear
from fairwatt.market._columns import Column


def cleared(some: Book) -> tuple[dict[str, int], list[int], list[int]]:
    clearing = clear(some)
    check(some, clearing)
    return (
        fills_by_id(some, clearing),
        clearing.flows_wh.tolist(),
        clearing.prices_micro_per_kwh.tolist(),
    )


def test_cheapest_asks_meet_dearest_bids() -> None:
    some = book(ask("cheap", 10, 5), ask("dear", 20, 5), bid("keen", 30, 4), bid("mean", 15, 4))
    fills, _, prices = cleared(some)
    assert fills == {"cheap": 5, "dear": 0, "keen": 4, "mean": 1}
    assert prices == [15]


def test_price_is_the_midpoint_when_no_order_is_marginal() -> None:
    assert cleared(book(ask("s", 10, 5), bid("b", 21, 5)))[2] == [15]


def test_midpoint_is_rounded_down_below_zero_too() -> None:
    assert cleared(book(ask("s", -10, 5), bid("b", -3, 5)))[2] == [-7]


def test_orders_that_do_not_trade_narrow_the_price() -> None:
    orders = ask("s", 10, 5), bid("b", 30, 5), ask("s2", 24, 1), bid("b2", 20, 1)
    assert cleared(book(*orders))[2] == [22]


def test_trade_is_preferred_to_no_trade_at_equal_prices() -> None:
    fills, _, prices = cleared(book(ask("s", 7, 5), bid("b", 7, 3)))
    assert fills == {"s": 3, "b": 3}
    assert prices == [7]


def test_trade_is_preferred_across_a_link_that_just_pays() -> None:
    on = network("a", "b", links=(Link("a", "b", 3, 10),))
    fills, flows, _ = cleared(book(ask("s", 7, 5, "a"), bid("b", 10, 4, "b"), on=on))
    assert (fills, flows) == ({"s": 4, "b": 4}, [4])


def test_equal_orders_share_the_marginal_quantity_in_proportion() -> None:
    fills, _, _ = cleared(
        book(ask("s", 5, 60), bid("x", 9, 40), bid("y", 9, 20), bid("z", 9, 60), bid("w", 1, 9))
    )
    assert fills == {"s": 60, "x": 20, "y": 10, "z": 30, "w": 0}


def test_remainders_go_by_id_whatever_the_sequence() -> None:
    orders = [bid("c", 9, 1), bid("a", 9, 1), bid("b", 9, 1), ask("s", 5, 2)]
    assert cleared(book(*orders))[0] == {"a": 0, "b": 1, "c": 1, "s": 2}
    assert cleared(book(*reversed(orders)))[0] == {"a": 0, "b": 1, "c": 1, "s": 2}


def test_shares_are_exact_where_products_leave_64_bits() -> None:
    some = book(*(bid(id_, 9, UINT40_MAX) for id_ in "abc"), ask("s", 5, UINT40_MAX))
    third = UINT40_MAX // 3
    assert cleared(some)[0] == {"a": third, "b": third, "c": third, "s": UINT40_MAX}


def test_link_raises_the_price_by_its_tariff() -> None:
    on = network("a", "b", links=(Link("a", "b", 3, 10),))
    some = book(ask("s", 7, 9, "a"), bid("b", 20, 4, "b"), on=on)
    assert cleared(some)[1:] == ([4], [7, 10])


def test_full_link_separates_the_prices() -> None:
    on = network("a", "b", links=(Link("a", "b", 3, 4),))
    some = book(ask("s", 7, 9, "a"), bid("b", 20, 6, "b"), on=on)
    assert cleared(some)[1:] == ([4], [7, 20])


def test_link_runs_one_way_only() -> None:
    on = network("a", "b", links=(Link("b", "a", 0, 9),))
    assert cleared(book(ask("s", 7, 9, "a"), bid("b", 20, 6, "b"), on=on))[1] == [0]


def test_closed_link_carries_nothing_and_binds_no_price() -> None:
    on = network("a", "b", links=(Link("a", "b", 0, 0),))
    some = book(ask("s", 7, 9, "a"), bid("b", 20, 6, "b"), on=on)
    assert cleared(some)[1:] == ([0], [(-100 + 7) // 2, (20 + 100) // 2])


def test_cheaper_of_two_parallel_links_fills_first() -> None:
    on = network("a", "b", links=(Link("a", "b", 5, 9), Link("a", "b", 3, 4)))
    assert cleared(book(ask("s", 7, 9, "a"), bid("b", 20, 6, "b"), on=on))[1] == [2, 4]


@pytest.mark.parametrize(("direct", "flows"), [(6, [0, 0, 0, 6, 0]), (8, [5, 5, 0, 1, 0])])
def test_of_free_ways_the_one_of_the_smallest_tails_is_taken(direct: int, flows: list[int]) -> None:
    ring = (
        *(Link("a", "b", 0, 9, tail=3), Link("b", "c", 0, 5, tail=4), Link("c", "a", 0, 9, tail=1)),
        *(Link("a", "c", 0, 9, tail=direct), Link("b", "a", 0, 9, tail=1)),
    )
    on = network("a", "b", "c", links=ring)
    some = book(ask("s", 7, 9, "a"), bid("b", 20, 6, "c"), on=on)
    assert cleared(some)[1] == flows


@pytest.mark.parametrize(("tails", "near"), [((1, 2), "s"), ((2, 1), "t")])
def test_of_equal_asks_the_one_over_the_smallest_tails_trades(
    tails: tuple[int, int], near: str
) -> None:
    links = Link("a", "c", 3, 9, tail=tails[0]), Link("b", "c", 3, 9, tail=tails[1])
    on = network("a", "b", "c", links=links)
    orders = ask("s", 7, 5, "a"), ask("t", 7, 5, "b"), bid("b", 20, 4, "c")
    fills, _, prices = cleared(book(*orders, on=on))
    assert fills == {"s": 0, "t": 0, "b": 4} | {near: 4}
    assert prices == [7, 7, 10]


def test_more_trade_outweighs_any_tails() -> None:
    chain = [Link("a", "b", 0, 9, tail=2**24), Link("b", "c", 0, 9, tail=2**24)]
    on = network("a", "b", "c", links=tuple(chain))
    assert cleared(book(ask("s", 7, 5, "a"), bid("b", 7, 4, "c"), on=on))[1] == [4, 4]


def test_negative_prices_trade() -> None:
    fills, _, prices = cleared(book(ask("s", -50, 5), bid("b", -20, 3)))
    assert fills == {"s": 3, "b": 3}
    assert prices == [-50]


def test_order_of_no_energy_binds_no_price() -> None:
    some = book(ask("s", 10, 5), bid("b", 20, 5), ask("none", 12, 0), bid("nil", 18, 0))
    assert cleared(some)[2] == [15]


@pytest.mark.parametrize("order", [ask("s", 10, 5), bid("s", 10, 5)])
def test_one_sided_book_does_not_trade(order: object) -> None:
    assert cleared(book(order))[0] == {"s": 0}  # type: ignore[arg-type]


def test_one_sided_price_lies_between_the_order_and_the_bound_of_the_market() -> None:
    assert cleared(book(ask("s", 10, 5)))[2] == [(-100 + 10) // 2]
    assert cleared(book(bid("b", 10, 5)))[2] == [(10 + 100) // 2]


def test_empty_book_has_the_middle_price_everywhere() -> None:
    assert cleared(book(on=network("a", "b", floor=-10, cap=25))) == ({}, [], [7, 7])


def test_market_without_nodes_clears_to_nothing() -> None:
    assert cleared(Book.of(Network((), (), 0, 0), [])) == ({}, [], [])


def test_isolated_node_keeps_to_itself() -> None:
    on = network("a", "alone", links=())
    fills, _, prices = cleared(book(ask("s", 10, 5, "alone"), bid("b", 20, 5), on=on))
    assert fills == {"s": 0, "b": 0}
    assert prices == [60, -45]


def test_extreme_values_stay_exact() -> None:
    on = network(
        "a", "b", links=(Link("a", "b", INT32_MAX, UINT40_MAX),), floor=INT32_MIN, cap=INT32_MAX
    )
    asks = [ask(f"s{at:04}", INT32_MIN, UINT40_MAX, "a") for at in range(2000)]
    bids = [bid(f"b{at:04}", INT32_MAX, UINT40_MAX, "b") for at in range(2000)]
    some = book(*asks, *bids, on=on)
    clearing = clear(some)
    assert clearing.flows_wh.tolist() == [UINT40_MAX]
    assert check(some, clearing).welfare == UINT40_MAX * (INT32_MAX - INT32_MIN - INT32_MAX)


def test_single_watt_hours_count_beside_the_largest_energies() -> None:
    big = [ask(f"s{at}", 1, UINT40_MAX) for at in range(4000)]
    fills, _, _ = cleared(book(*big, bid("one", 9, 1), bid("two", 8, 2)))
    assert fills["one"] == 1
    assert fills["two"] == 2


def test_large_book_clears_exactly() -> None:
    generator = np.random.default_rng(7)
    count = 200_000
    some = Book.from_columns(
        network(floor=0, cap=300_000),
        ids=[f"o{at}" for at in range(count)],
        peers=["p"] * count,
        node=np.zeros(count, np.int64),
        side=generator.integers(0, 2, count),
        price_micro_per_kwh=generator.integers(20_000, 300_000, count),
        energy_wh=generator.integers(0, 10_000, count),
    )
    proof = check(some, clear(some))
    assert proof.welfare == proof.dual_bound > 0


def solver_that_finds(*filled: int, links: Sequence[int] = ()) -> Callable[[Program], Any]:
    """A solver that fills the two orders so, and nothing of the sums that stand behind them."""

    def run(program: Program) -> tuple[Column, Column]:
        values = np.zeros(program.columns, np.int64)
        values[: len(filled)] = filled
        values[program.columns - len(links) :] = links
        return values, np.zeros(program.rows, np.int64)

    return run


def test_solver_that_is_no_optimum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_flow, "_run", solver_that_finds(0, 0))
    with pytest.raises(KernelError, match="not an exact optimum"):
        clear(book(ask("s", 10, 5), bid("b", 20, 5), on=network("a", "b")))


def test_solver_that_is_out_of_balance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_flow, "_run", solver_that_finds(5, 4))
    with pytest.raises(KernelError, match="node 0"):
        clear(book(ask("s", 10, 5), bid("b", 20, 5), on=network("a", "b")))


def test_solver_that_goes_in_circles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    on = network("a", "b", links=(Link("a", "b", 1, 9), Link("b", "a", 1, 9)))
    monkeypatch.setattr(_flow, "_run", solver_that_finds(0, 0, links=[3, 3]))
    with pytest.raises(KernelError, match="not an exact optimum"):
        clear(book(ask("s", 20, 5), bid("b", 10, 5), on=on))


def test_solver_that_gives_up_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_flow._OPTIONS, "iteration_limit", 0)
    with pytest.raises(KernelError, match="HiGHS ended with"):
        clear(book(ask("s", 10, 5), bid("b", 20, 3), bid("c", 5, 3), on=network("a", "b")))


def test_solver_that_does_not_know_is_asked_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def stubborn(program: Program, **options: Any) -> highs.Solution:
        solution = solve(program, **options)
        return solution if options["presolve"] else replace(solution, status=highs.Status.UNKNOWN)

    solve = highs.solve
    some = book(ask("s", 10, 5), bid("b", 20, 3), bid("c", 5, 3), on=network("a", "b"))
    expected = clear(some)
    monkeypatch.setattr(highs, "solve", stubborn)
    assert clear(some) == expected


def test_another_highs_in_the_process_does_not_matter() -> None:
    other = highspy.Highs()  # type: ignore[no-untyped-call]
    other.setOptionValue("output_flag", False)
    other.setOptionValue("threads", 2)
    other.run()
    on = network("a", "b", links=(Link("a", "b", 3, 9),))
    assert cleared(book(ask("s", 10, 5), bid("b", 20, 5, "b"), on=on))[2] == [13, 16]
