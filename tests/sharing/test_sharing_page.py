"""docs/sharing.md: its example runs, and its numbers are what comes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairwatt import sharing
from fairwatt.sharing import gini, in_core, objections, standings

PAGE = Path(__file__).parents[2] / "docs" / "sharing.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example(page: str) -> dict[str, Any]:
    """What the names of the example stand for once it has run."""
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    return names


def rows(page: str, header: str) -> list[list[str]]:
    """Cells of the table whose header line starts like this."""
    lines = page[page.index(header) :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_page__table_of_the_example__is_what_comes_out(page: str, example: dict[str, Any]) -> None:
    shown = rows(page, "| rule | Ada |")
    computed = []
    for result in example["sharings"]:
        found = objections(example["game"], result.shares)
        leaving = "; ".join(" and ".join(objection.members) for objection in found) or "nobody"
        shares = [f"{share:.4f}" for share in result.shares + 0.0]
        computed.append([result.rule, *shares, f"{gini(result.shares):.3f}", leaving])
    assert shown == computed


def test_page__costs_alone__are_those_of_the_tariffs(example: dict[str, Any]) -> None:
    net = np.array(example["net_kwh"])
    alone = (np.maximum(-net, 0) * 0.30 - np.maximum(net, 0) * 0.10).sum(axis=1)
    assert example["alone"] == pytest.approx(alone.tolist(), abs=1e-12)


def test_page__text_of_the_example__is_true(page: str, example: dict[str, Any]) -> None:
    game = example["game"]
    gain, alone, *coalitions = re.search(  # type: ignore[union-attr]
        r"save ([\d.]+) token of ([\d.]+):.*?Ada and Ben would save ([\d.]+);.*?Ada and Cleo "
        r"([\d.]+);.*?Ben and Cleo ([\d.]+)\.\n",
        page,
        re.DOTALL,
    ).groups()
    assert float(gain) == pytest.approx(game.gain)
    assert float(alone) == pytest.approx(sum(example["alone"]))
    pairs = [game.value(pair) for pair in ((0, 1), (0, 2), (1, 2))]
    assert [float(value) for value in coalitions] == pytest.approx(pairs)
    for result in example["sharings"]:
        bills = result.bills(example["alone"])
        assert all(
            standing.rational for standing in standings(game.players, example["alone"], bills)
        )
        assert in_core(game, result.shares) == (result.share_of("Ben") <= 0.2 + 1e-9)


def test_page__functions_it_names__exist(page: str) -> None:
    functions = {row[1].strip("`") for row in rows(page, "| rule | function |")}
    assert functions <= set(sharing.__all__)
    assert len(functions) == 6
