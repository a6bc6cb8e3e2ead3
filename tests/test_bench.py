"""The bench at a tiny size: its rows, what it keeps of earlier runs, and the page it writes."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from bench import clearing, growth, results, rivals
from bench.__main__ import run
from bench.books import book, tree
from bench.page import page
from bench.results import Result
from bench.sections import SECTIONS
from bench.timing import TooSlow, limited
from rich.console import Console

from fairwatt.errors import FairwattError, FileError
from fairwatt.market import check, clear

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
