"""`fairwatt demo`: both market days come out as the paper and the money say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairwatt.cases import Case

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
NANO = 10**9
FUNDS_NANO = 50 * NANO
NAMES = ("five-peer-1", "five-peer-2")
DEVIATIONS_NANO = {"P3": 5_000 * 30_000, "P5": -8_000 * 200_000}  # as long and as short as told
TARIFFS_NANO = {"five-peer-1": 5_336_000_000, "five-peer-2": 1_296_000_000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    """The demo as a process of its own, in a folder that is not the checkout."""
    run = subprocess.run(
        [BIN / "fairwatt", "demo", "--json", "--picture", "new/day.png"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return {result["case"]: result for result in json.loads(run.stdout)}


def test_demo__both_variants__in_their_sequence(results: dict[str, Any]) -> None:
    assert tuple(results) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_demo__dispatch_and_objective__are_those_of_the_paper(
    results: dict[str, Any], name: str
) -> None:
    published = Case.load(name).published
    assert published is not None
    result = results[name]
    assert result["generationWh"] == published.generation_wh
    assert result["importWh"] == published.import_wh
    assert result["exportWh"] == published.export_wh
    assert result["objective"] == str(published.objective)


def test_demo__prices__are_those_of_the_documentation(results: dict[str, Any]) -> None:
    assert results["five-peer-1"]["pricesMicroPerKWh"]["hub"] == 75_400
    assert results["five-peer-2"]["pricesMicroPerKWh"]["c3"] == 69_600


@pytest.mark.parametrize("name", NAMES)
def test_demo__whoever_is_dishonest__is_refused(results: dict[str, Any], name: str) -> None:
    refusals = list(results[name]["refusals"].values())
    assert [refusal.split("(")[0] for refusal in refusals] == [
        "NodeUnbalanced",
        "LimitBetweenPrices",
        "PlacedOrdersMissing",
        "ManagersTurn",
    ]
    assert results[name]["clearingGas"] > 100_000


@pytest.mark.parametrize("name", NAMES)
def test_demo__balances__are_what_was_cleared_and_delivered(
    results: dict[str, Any], name: str
) -> None:
    case, result = Case.load(name), results[name]
    before, after = result["balancesBeforeNano"], result["balancesAfterNano"]
    assert before == dict.fromkeys(("G", "P2", "P3", "P4", "P5"), FUNDS_NANO) | {
        "DSO": 0,
        "community fund": 0,
    }
    expected = {
        peer.name: FUNDS_NANO
        + result["pricesMicroPerKWh"][peer.node]
        * (result["exportWh"][peer.name] - result["importWh"][peer.name])
        + DEVIATIONS_NANO.get(peer.name, 0)
        for peer in case.community.peers
    }
    expected["G"] -= sum(DEVIATIONS_NANO.values())  # supplies everybody
    assert after == expected | {"DSO": TARIFFS_NANO[name], "community fund": 0}


@pytest.mark.parametrize("name", NAMES)
def test_demo__tokens__add_up_to_the_wei(results: dict[str, Any], name: str) -> None:
    result = results[name]
    assert sum(result["balancesAfterNano"].values()) * NANO == int(result["tokensHeldWei"])
    assert int(result["tokensHeldWei"]) == 5 * FUNDS_NANO * NANO


def test_demo__picture__is_drawn_where_it_was_asked_for(
    results: dict[str, Any], folder: Path
) -> None:
    picture = folder / "new" / "day.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    assert [path.name for path in folder.iterdir()] == ["new"]
