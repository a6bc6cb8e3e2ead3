"""`fairwatt plan` and `fairwatt study`: what they print, write and refuse."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from fairwatt.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: object) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])


def printed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


# ---------------------------------------------------------------------------------------- plan


def test_plan__five_peers__says_what_everybody_does_and_pays() -> None:
    lines = [line.split() for line in printed("plan", "five-peer-2").splitlines()]
    # peer, draws, injects, buys, sells, imports, exports; P5 sells 180 kWh of its own
    assert ["P5", "20.00", "200.00", "0.00", "180.00", "0.00", "0.00"] in [row[:7] for row in lines]
    assert ["cost", "16.5760", "USD;"] in [row[:3] for row in lines]


def test_plan__json__has_every_schedule_and_price() -> None:
    document = json.loads(printed("plan", "iberia", "--periods", 6, "--json"))
    assert document["case"] == "iberia"
    assert document["currency"] == "EUR"
    assert set(document["prices"]) == {"spain", "portugal"}
    store = document["peers"][0]["assets"][2]
    assert store["kind"] == "storage"
    assert len(store["levelKWh"]) == 6
    bought = sum(sum(peer["buyKWh"]) for peer in document["peers"])
    sold = sum(sum(peer["sellKWh"]) for peer in document["peers"])
    assert bought == pytest.approx(sold)


def test_plan__csv__has_a_row_per_peer_and_period(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    assert f"written   {path}" in printed("plan", "corby", "--periods", 2, "--csv", path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 34 * 2
    assert rows[1]["time"] == "2019-01-14T01:00+00:00"
    for row in rows:
        net = float(row["draw_kwh"]) - float(row["inject_kwh"])
        traded = float(row["buy_kwh"]) - float(row["sell_kwh"])
        supplied = float(row["import_kwh"]) - float(row["export_kwh"])
        assert net == pytest.approx(traded + supplied, abs=1e-3)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plan__picture__is_drawn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"plan.{suffix}"
    printed("plan", "iberia", "--periods", 24, "--picture", path)
    assert path.stat().st_size > 10_000


def test_plan__picture_of_no_known_kind__is_refused() -> None:
    result = run("plan", "five-peer-1", "--picture", "plan.jpg")
    assert result.exit_code == 1
    assert "written as .png or .svg" in result.stderr


def test_plan__quarter_hours__costs_what_the_hours_cost() -> None:
    hours = json.loads(printed("plan", "corby", "--json"))
    quarters = json.loads(printed("plan", "corby", "--period", 15, "--days", 1, "--json"))
    assert len(quarters["peers"][0]["drawKWh"]) == 96
    # Profiles are hourly, so quarters add nothing but rows.
    assert quarters["cost"] == pytest.approx(hours["cost"])


def test_plan__no_such_case__names_those_there_are() -> None:
    result = run("plan", "corbi")
    assert result.exit_code == 1
    assert "there is no such case" in result.stderr
    assert "corby" in result.stderr


def test_plan__time_limit__is_an_error_not_a_bad_plan() -> None:
    result = run("plan", "iberia", "--horizon", "year", "--days", 60, "--time-limit", 0.05)
    assert result.exit_code == 1
    assert "0.05 s" in result.stderr


# --------------------------------------------------------------------------------------- study


@pytest.mark.parametrize("name", ["five-peer-1", "five-peer-2"])
def test_study__five_peers__prints_designs_and_checks(name: str) -> None:
    output = printed("study", name)
    for title in ("no community", "mid-market rate", "Fairwatt market", "nucleolus"):
        assert title in output
    checks = output.split("What the paper says")[1]
    assert checks.count("\nholds") >= 4
    assert "cannot hold" in checks
    assert "DOES NOT HOLD" not in checks


@pytest.mark.parametrize("number", [1, 2, 3])
def test_study__seventeen_peers__every_check_is_as_it_can_be(number: int) -> None:
    document = json.loads(printed("study", f"seventeen-peer-{number}", "--json"))
    assert len(document["checks"]) >= 5
    for check in document["checks"]:
        assert check["holds"] == check["canHold"], check["text"]
        assert check["numbers"]


def test_study__only_some_designs__runs_them_and_being_alone() -> None:
    document = json.loads(printed("study", "corby", "--designs", "market, mid-market", "--json"))
    assert [row["design"] for row in document["designs"]] == ["alone", "market", "mid-market"]
    assert document["checks"] == []


def test_study__csv__has_bills_and_gains_that_add_up(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    printed("study", "five-peer-2", "--csv", path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    market = {row["peer"]: float(row["bill"]) for row in rows if row["design"] == "market"}
    assert sum(market.values()) == pytest.approx(16.576)
    alone = {row["peer"]: float(row["bill"]) for row in rows if row["design"] == "alone"}
    gains = {row["peer"]: float(row["gain"]) for row in rows if row["design"] == "market"}
    assert gains == pytest.approx({peer: alone[peer] - market[peer] for peer in alone}, abs=2e-6)


def test_study__picture__is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "study.svg"
    printed("study", "five-peer-1", "--picture", path)
    text = path.read_text(encoding="utf-8")
    assert "Fairwatt market" in text
    assert "P5" in text


def test_study__unknown_design__is_wrong_usage() -> None:
    result = run("study", "five-peer-1", "--designs", "lottery")
    assert result.exit_code == 2
    assert "there is no design 'lottery'" in result.stderr


def test_study__without_somebody_unknown__is_refused() -> None:
    result = run("study", "corby", "--without", "H99")
    assert result.exit_code == 1
    assert "no peer 'H99'" in result.stderr


# ------------------------------------------------------------------- communities of any size


@pytest.mark.parametrize("peers", [1, 2, 40])
@pytest.mark.parametrize("options", [(), ("--period", 15), ("--days", 7)])
def test_new_case__of_any_size__is_planned_and_studied(
    tmp_path: Path, peers: int, options: tuple[object, ...]
) -> None:
    folder = tmp_path / "homes"
    printed("case", "new", folder, "--peers", peers, "--seed", 1)
    plan = json.loads(printed("plan", folder, *options, "--json"))
    assert len(plan["peers"]) == peers
    study = json.loads(printed("study", folder, *options, "--designs", "market", "--json"))
    assert study["designs"][1]["cost"] == pytest.approx(plan["cost"], abs=0.02)
    assert study["designs"][1]["gain"] >= -0.01


# --------------------------------------------------------------------------------- distributed


def test_plan__distributed__agrees_on_the_optimum(tmp_path: Path) -> None:
    path = tmp_path / "residuals.svg"
    output = printed("plan", "five-peer-2", "--distributed", "--picture", path)
    assert "agreed after" in output
    assert "NOT AGREED" not in output
    assert "primal" in path.read_text(encoding="utf-8")
    document = json.loads(printed("plan", "five-peer-2", "--distributed", "--json"))
    assert document["converged"] is True
    assert document["objective"] == pytest.approx(16.576, rel=1e-3)
    assert document["gap"] <= 1e-3 * document["objective"]
    assert len(document["primalResidualKWh"]) == document["iterations"]


def test_plan__distributed_with_a_table__is_wrong_usage() -> None:
    result = run("plan", "five-peer-2", "--distributed", "--csv", "plan.csv")
    assert result.exit_code == 2
    assert "neither --time-limit nor --csv" in result.stderr
