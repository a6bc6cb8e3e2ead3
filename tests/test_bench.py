"""The bench at a tiny size: its rows, what it keeps of earlier runs, and the page it writes."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from bench import clearing, cow, gas, growth, results, rivals
from bench.__main__ import run
from bench.anvil import TRANSACTION_GAS, OutOfGas, Sent, anvil, calldata_floor, intrinsic_gas
from bench.books import PERIODS, Wish, book, community_day, crossing, ring, tree
from bench.page import page
from bench.results import Result
from bench.sections import SECTIONS
from bench.timing import TooSlow, limited
from rich.console import Console

from fairwatt.errors import FairwattError, FileError
from fairwatt.market import Book, Network, Side, check, clear

CLEARING = SECTIONS[0]


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=120)


@pytest.fixture
def only_the_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "missing", lambda: ["assume", "pymarket"])


def measured(console: Console) -> list[Result]:
    return clearing.measure(console, sizes=(5, 50), between=(), limit_s=20)


def test_clearing__without_the_packages__has_the_merge_and_says_what_is_missing(
    console: Console, only_the_merge: None
) -> None:
    rows = measured(console)
    assert [(row.name, row.rival) for row in rows] == [
        ("clear_5", "merge"),
        ("clear_50", "merge"),
        ("welfare_5", "merge"),
        ("welfare_50", "merge"),
        ("network_5", "merge"),
        ("network_50", "merge"),
    ]
    assert all(row.value > 0 and row.ratio for row in rows)
    assert [row.rival_value for row in rows if row.name.startswith("welfare")] == [100, 100]
    assert isinstance(console.file, StringIO)
    assert "assume is not installed" in console.file.getvalue()
    assert "--editable .[bench]" in console.file.getvalue()


def test_clearing__rival_too_slow__has_a_row_of_its_largest_size_and_rows_without_value(
    console: Console, only_the_merge: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(name: str, size: int) -> tuple[float, float]:
        return size**2 / 100, 99.0

    monkeypatch.setattr(clearing, "_rival", timed)
    rows = clearing.measure(console, sizes=(10, 100), between=(20, 50), limit_s=5)
    assert [(row.name, row.rival_value) for row in rows if row.name.startswith("clear")] == [
        ("clear_10", 1.0),
        ("clear_20", 4.0),
        ("clear_100", None),
    ]


def test_clearing__rival_that_makes_no_clearing__is_refused(
    console: Console, only_the_merge: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rivals.RIVALS, "merge", lambda some: lambda: some.energy_wh)
    with pytest.raises(FairwattError, match="out of balance"):
        measured(console)


@pytest.mark.parametrize("each", [1, 7, 300])
def test_merge__book_of_one_node__has_the_welfare_of_the_optimum(each: int) -> None:
    some = book(tree(1), each)
    fills = rivals.merge(some)()
    best = check(some, clear(some)).welfare
    assert clearing._welfare(some, fills) == best


def test_growth__small__a_row_of_time_and_one_of_memory_per_point(console: Console) -> None:
    rows = list(growth.measure(console, nodes=(3,), orders=(20,)))
    assert [row.name for row in rows] == [
        "growth_time_3_nodes_20_orders",
        "growth_memory_3_nodes_20_orders",
    ]
    assert rows[0].value > 0
    assert [row.rival for row in rows] == [None, None]


def test_tree__two_ways_between_each_node_and_its_parent() -> None:
    assert len(tree(1).links) == 0
    assert len(tree(30).links) == 58
    assert np.unique(book(tree(30), 200).node).size == 30


def test_crossing__everybody_trades_in_full_at_one_price() -> None:
    wishes = crossing(20)
    assert [wish.peer for wish in wishes] == list(range(1, 21))
    some = book_of(tree(1), wishes, 0)
    assert (clear(some).fills_wh == some.energy_wh).all()
    assert wishes == crossing(20)


def test_community_day__a_step_per_peer_and_period_that_trades_all_day() -> None:
    network, wishes = community_day(40)
    assert [wish.peer for wish in wishes] == list(range(1, 41))
    assert {wish.node for wish in wishes} == set(range(len(network.nodes))) == set(range(5))
    for wish in wishes:
        assert [step.period for step in wish.steps] == list(range(PERIODS))
    asks = [sum(wish.steps[at].side is Side.ASK for wish in wishes) for at in (0, 48)]
    assert asks[0] == 4 < 10 < asks[1]
    for period in (0, 48, 76):
        some = book_of(network, wishes, period)
        clearing = clear(some)
        check(some, clearing)
        assert clearing.fills_wh.any()
        assert clearing.flows_wh.any()
    assert (network, wishes) == community_day(40)


def test_ring__two_ways_between_neighbours() -> None:
    ends = {(link.source, link.target) for link in ring(3, 1_000).links}
    assert len(ends) == 6
    assert ends == {(target, source) for source, target in ends}


def book_of(network: Network, wishes: list[Wish], period: int) -> Book:
    rows = [(wish, step) for wish in wishes for step in wish.steps if step.period == period]
    return Book.from_columns(
        network,
        ids=[f"{wish.peer:07}" for wish, _ in rows],
        peers=[f"peer {wish.peer}" for wish, _ in rows],
        node=np.array([wish.node for wish, _ in rows]),
        side=np.array([step.side.value for _, step in rows]),
        price_micro_per_kwh=np.array([step.price_micro_per_kwh for _, step in rows]),
        energy_wh=np.array([step.energy_wh for _, step in rows]),
    )


@pytest.mark.parametrize(
    ("calldata", "floor", "intrinsic"),
    [(b"", 21_000, 21_000), (b"\0" * 3, 21_030, 21_012), (b"\1\0\2", 21_090, 21_036)],
)
def test_calldata__zero_bytes_are_cheaper(calldata: bytes, floor: int, intrinsic: int) -> None:
    assert (calldata_floor(calldata), intrinsic_gas(calldata)) == (floor, intrinsic)


@pytest.mark.anvil
def test_anvil__transaction__costs_its_floor_and_needs_no_more_than_a_transaction_may_use() -> None:
    with anvil() as node:
        calldata = b"\1\0" * 50
        transfer = {"from": node.sender, "to": node.sender, "data": "0x" + calldata.hex()}
        assert node._mined(transfer)["gasUsed"] == calldata_floor(calldata)
        with pytest.raises(FairwattError, match="cap"):
            node._mined(transfer, gas=TRANSACTION_GAS + 1)
        endless = node._mined({"from": node.sender, "data": "0x625b5f565f526003601df3"})
        with pytest.raises(OutOfGas):
            node._mined({**transfer, "to": endless["contractAddress"]})


needs_cow = pytest.mark.skipif(not cow.PACKAGE.is_dir(), reason="make setup brings the package")


@needs_cow
@pytest.mark.anvil
def test_cow__two_orders__settled_at_one_price() -> None:
    sent = cow.settled(crossing(2))
    assert calldata_floor(sent.calldata) < sent.gas < 200_000


@needs_cow
@pytest.mark.anvil
def test_cow__orders_that_do_not_all_trade__are_refused() -> None:
    ask, bid = crossing(2)
    with pytest.raises(FairwattError, match="all trade in full"):
        cow.settled([ask, ask, bid])


def test_cow__most_orders__the_last_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def settled(wishes: list[Wish]) -> Sent:
        used = 100_000 + 58_000 * len(wishes) + len(wishes) ** 2
        if used > TRANSACTION_GAS:
            raise OutOfGas("too many")
        return Sent(used, b"")

    monkeypatch.setattr(cow, "settled", settled)
    assert cow.most_orders() == 286


def test_gas__beside_cow__without_value_where_the_rival_has_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def settled(wishes: list[Wish]) -> Sent:
        assert len(wishes) < 1_000, "need not be tried"
        if len(wishes) > 10:
            raise OutOfGas("too many")
        return Sent(50_000 * len(wishes), b"")

    monkeypatch.setattr(cow, "settled", settled)
    rows = list(gas.beside_cow(lambda _, wishes: Sent(6_000 * len(wishes), b""), (10, 20, 1_000)))
    assert rows == [
        Result("order_gas_n10", 6_000, "gas/order", "cow", 50_000),
        Result("order_gas_n20", 6_000, "gas/order", "cow", None),
        Result("order_gas_n1000", 6_000, "gas/order", "cow", None),
    ]


def test_gas__day_and_reconciliation__beside_the_floor_of_what_was_sent() -> None:
    def send(network: Network, wishes: list[Wish]) -> Sent:
        assert len(network.nodes) == 5
        return Sent(PERIODS * 1_000 * len(wishes), b"\1" * len(wishes))

    assert [*gas.days(send, (2, 4)), gas.reconciliation(send, 4)] == [
        Result("day96_gas_2", 1_000, "gas/order/period"),
        Result("day96_gas_4", 1_000, "gas/order/period"),
        Result("proof_over_floor", 384_000, "gas", "calldata floor", 21_160),
        Result("reconcile_gas_4", 96_000, "gas/peer", "calldata floor", 5_290),
    ]


def test_gas__networks__beside_what_a_transaction_may_use() -> None:
    def send(network: Network, wishes: list[Wish]) -> Sent:
        steps = sum(len(wish.steps) for wish in wishes)
        assert {wish.node for wish in wishes} == set(range(len(network.nodes)))
        return Sent(1_000 * steps, b"")

    (row,) = gas.networks(send, [(3, 24)])
    assert row == Result("ring_gas_3x24", 144_000, "gas", "transaction limit", TRANSACTION_GAS)


ONE = Result("clear_5", 0.5, "s", "merge", 0.25)
SLOW = Result("clear_5", 0.5, "s", "assume", None)
ALONE = Result("growth_time_1", 3.0, "us/order")
GAS = Result("order_gas_n2", 90_000.0, "gas/order", "calldata floor", 30_000.0)


def test_results__saved_and_loaded__the_same_with_their_ratios(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "results.json"
    results.save(path, [ONE, SLOW, ALONE])
    assert results.load(path) == [ONE, SLOW, ALONE]
    assert json.loads(path.read_text())[0] == {
        "name": "clear_5",
        "value": 0.5,
        "unit": "s",
        "rival": "merge",
        "rival_value": 0.25,
        "ratio": 2.0,
    }


@pytest.mark.parametrize("text", ["", "[1]", '[{"name": "x"}]', "{}x"])
def test_results__other_file__is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(FileError, match="holds no results"):
        results.load(path)


def test_results__merged__those_of_the_section_are_replaced_the_others_kept() -> None:
    new = Result("clear_9", 1.0, "s", "merge", 1.0)
    assert results.merged([ONE, GAS, SLOW], [new], CLEARING.owns) == [GAS, new]


def test_page__table_between_markers_with_a_dash_for_what_did_not_finish() -> None:
    text = page([CLEARING], [GAS, ONE, SLOW])
    table = text.partition("<!-- bench clearing -->\n")[2].partition("<!-- end clearing -->")[0]
    assert table.splitlines() == [
        "| what | value | unit | rival | its value | ratio |",
        "| --- | ---: | --- | --- | ---: | ---: |",
        "| `clear_5` | 0.5 | s | merge | 0.25 | 2 |",
        "| `clear_5` | 0.5 | s | assume | - | - |",
    ]
    assert CLEARING.text.strip() in text


def test_run__named_section__writes_results_and_page_and_keeps_the_rest(
    console: Console, only_the_merge: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick = ((5,), (), 20.0)  # sizes, between, limit_s
    monkeypatch.setattr(clearing.measure, "__defaults__", quick)
    path, page_path = tmp_path / "results.json", tmp_path / "benchmarks.md"
    results.save(path, [ONE, GAS])
    run(("clearing",), path, page_path, console)
    names = [row["name"] for row in json.loads(path.read_text())]
    assert names == ["order_gas_n2", "clear_5", "welfare_5", "network_5"]
    assert "| `order_gas_n2` | 90,000 |" in page_path.read_text()
    assert "Not measured yet." in page_path.read_text()


def test_limited__endless__is_stopped() -> None:
    with pytest.raises(TooSlow), limited(0.01):
        sleep(10)
