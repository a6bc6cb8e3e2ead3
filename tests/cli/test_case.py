"""`fairwatt case`: what it prints, what it writes, and what it refuses by name."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner, Result

from fairwatt.cases import Case, names, schema, titles
from fairwatt.cli import main
from fairwatt.cli._case_options import case_options
from fairwatt.market.documents import dump_book

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, [str(item) for item in arguments])


def done(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(result: Result, *reasons: str, code: int = 1) -> None:
    assert result.exit_code == code, result.stdout
    assert "Traceback" not in result.stderr
    for reason in reasons:
        assert reason in result.stderr


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The example, as `fairwatt case new` writes it."""
    done("case", "new", tmp_path / "mine")
    return tmp_path / "mine"


# ---------------------------------------------------------------------------------- list and schema


def test_list__cases_of_the_project__with_their_titles() -> None:
    lines = done("case", "list").splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert json.loads(done("case", "list", "--json")) == titles()


def test_schema__of_a_case__is_printed() -> None:
    assert json.loads(done("schema", "case")) == schema()


# ------------------------------------------------------------------------------------------- show


def test_show__example__is_what_is_in_it(mine: Path) -> None:
    printed = done("case", "show", mine)
    for line in (
        "Three homes",
        "1 token is 1 EUR; local times are those of Europe/Madrid",
        "default   2023-06-12 00:00       24       60  shown here",
        "two-days  2023-06-12 00:00       48       60",
        "retailer        0.3       0.08",
        "prices from 0 to 0.30 token/kWh",
    ):
        assert line in printed.splitlines(), line
    assert "Bo    prosumer  retailer" in printed
    assert "load, pv, storage 5 kWh" in printed
    assert "load, pv, ev 3.7 kW x 2, shiftable-load 2 kW" in printed
    assert printed.splitlines()[-1].startswith("3 peers: loads 41.8 kWh, PV 44.5 kWh over the")


def test_show__network__has_its_links() -> None:
    printed = done("case", "show", "five-peer-1")
    assert "4 nodes: hub, grid, p3, p5" in printed
    assert "p5 -> hub    DSO      0.02540     5,000" in printed


def test_show__json__has_all_of_it(mine: Path) -> None:
    shown = json.loads(done("case", "show", mine, "--json"))
    case = Case.load(mine)
    assert shown["title"] == "Three homes"
    assert shown["timeZone"] == "Europe/Madrid"
    assert set(shown["horizons"]) == {"default", "two-days"}
    assert shown["horizon"] == {
        "start": case.community.horizon.start, "periodSeconds": 3600, "periods": 24,
    }  # fmt: skip
    assert shown["suppliers"][0]["retailPerKWh"] == [0.3] * 24
    assert [peer["name"] for peer in shown["peers"]] == ["Ana", "Bo", "Cy"]
    load, pv, storage = shown["peers"][1]["assets"]
    assert load["energyKWh"] == pytest.approx(10.4, abs=0.1)
    assert pv["kind"] == "pv"
    assert storage == {"kind": "storage", "energyKWh": 5.0}


# --------------------------------------------------------------------------- options of the horizon


@pytest.mark.parametrize(
    ("options", "start", "seconds", "periods", "peers"),
    [
        ([], "2023-06-12T00:00+02:00", 3600, 24, 3),
        (["--horizon", "two-days"], "2023-06-12T00:00+02:00", 3600, 48, 3),
        (["--days", "2", "--period", "15"], "2023-06-12T00:00+02:00", 900, 192, 3),
        (["--start", "2023-06-12T06:00", "--periods", "6"], "2023-06-12T06:00+02:00", 3600, 6, 3),
        (["--start", "2023-06-13"], "2023-06-13T00:00+02:00", 3600, 24, 3),
        (["--start", "2023-06-12T12:00Z", "--periods", "3"], "2023-06-12T12:00Z", 3600, 3, 3),
        (["--without", "Ana", "--without", "Cy"], "2023-06-12T00:00+02:00", 3600, 24, 1),
    ],
)
def test_case_options__of_any_command__choose_horizon_and_peers(
    mine: Path, options: Sequence[str], start: str, seconds: int, periods: int, peers: int
) -> None:
    shown = json.loads(done("case", "show", mine, *options, "--json"))
    wanted = int(datetime.fromisoformat(start).timestamp())
    assert shown["horizon"] == {"start": wanted, "periodSeconds": seconds, "periods": periods}
    assert len(shown["peers"]) == peers


@pytest.mark.parametrize(
    ("options", "reason", "code"),
    [
        (["--horizon", "winter"], "there is no horizon 'winter'; there are default, two-days", 1),
        (["--days", "9"], "load.csv: covers", 1),
        (["--period", "7"], "which are not whole periods of 7 minutes", 1),
        (["--without", "Anna"], "there is no peer 'Anna' to leave out; did you mean 'Ana'?", 1),
        (["--days", "1", "--periods", "3"], "Only one of --periods and --days", 2),
        (["--periods", "0"], "--periods", 2),
        (["--start", "yesterday"], "--start", 2),
    ],
)
def test_case_options__that_cannot_be__are_refused(
    mine: Path, options: Sequence[str], reason: str, code: int
) -> None:
    refused(run("case", "show", mine, *options), reason, code=code)


def test_case_options__decorator__hands_a_command_its_case_and_options(mine: Path) -> None:
    @click.command()
    @case_options
    @click.option("--loud", is_flag=True)
    def command(case: Case, **others: Any) -> None:
        """Say it."""
        click.echo(f"{case.name} {case.community.horizon.periods} {others}")

    result = CliRunner().invoke(command, [str(mine), "--periods", "3", "--loud"])
    assert result.output == "mine 3 {'loud': True}\n"
    assert "Say it." in CliRunner().invoke(command, ["--help"]).output


# ------------------------------------------------------------------------------------------- check


def test_check__good_case__says_so(mine: Path) -> None:
    assert done("case", "check", mine) == "0 errors, 0 warnings\n"
    assert json.loads(done("case", "check", mine, "--json")) == {"errors": [], "warnings": []}


def test_check__mistakes__are_all_told_and_fail(mine: Path) -> None:
    file = mine / "case.toml"
    text = file.read_text("utf-8").replace(
        "efficiency = 0.95, initial", "efficiency = 1.95, initial"
    )
    file.write_text(text.replace('kind = "ev"', 'kind = "eV"'), encoding="utf-8")
    result = run("case", "check", mine)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"error    {file}: peers[1].assets[2].discharge_efficiency: must be 0 to 1, not 1.95",
        (
            f"error    {file}: peers[2].assets[2].kind: must be one of load, curtailable-load, pv, "
            "generator, shiftable-load, ev, storage, heat-pump, not 'eV'"
        ),
        "2 errors, 0 warnings",
    ]
    result = run("case", "check", mine, "--json")
    assert result.exit_code == 1
    paths = [error["path"] for error in json.loads(result.stdout)["errors"]]
    assert paths == [
        f"{file}: peers[1].assets[2].discharge_efficiency", f"{file}: peers[2].assets[2].kind",
    ]  # fmt: skip


def test_check__warning__does_not_fail(mine: Path) -> None:
    with (mine / "case.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[peers]]\nname = "Di"\n')
    lines = done("case", "check", mine).splitlines()
    assert lines == ["warning  peers['Di']: has no assets", "0 errors, 1 warning"]


def test_check__no_such_case__is_refused() -> None:
    refused(run("case", "check", "corbi"), "there is no such case", "did you mean 'corby'?")


def test_show__names_of_strangers__cannot_speak_to_the_terminal(mine: Path) -> None:
    file = mine / "case.toml"
    text = file.read_text("utf-8").replace('title = "Three homes"', 'title = "\\u001b[2J"')
    file.write_text(text.replace('"Made up', '"\\u001b[2JMade up'), encoding="utf-8")
    assert "\x1b" not in done("case", "show", mine)


# ------------------------------------------------------------------------------------------- book


def test_book__of_a_case__is_its_book() -> None:
    book = json.loads(done("case", "book", "five-peer-2"))
    assert book == dump_book(Case.load("five-peer-2").book())


def test_book__of_another_period__is_that_of_the_period(tmp_path: Path) -> None:
    (tmp_path / "load.csv").write_text(
        "time,A\n2019-01-01T00:00,1\n2019-01-01T01:00,2\n", encoding="utf-8"
    )
    done("case", "new", tmp_path / "a", "--load", tmp_path / "load.csv")
    for period, energy in ((0, 1000), (1, 2000)):
        book = json.loads(done("case", "book", tmp_path / "a", "--period", str(period)))
        assert [order["energyWh"] for order in book["orders"]] == [energy]
    refused(
        run("case", "book", tmp_path / "a", "--period", "2"),
        "There is no period 2; the last one is 1.",
        code=2,
    )
    halved = json.loads(done("case", "book", tmp_path / "a", "--period-minutes", "30"))
    assert [order["energyWh"] for order in halved["orders"]] == [500]


def test_book__storage__needs_a_plan(mine: Path) -> None:
    refused(run("case", "book", mine), "peers['Bo'].storage", "plan the day")


# -------------------------------------------------------------------------------------------- new


def test_new__example__says_what_it_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert done("case", "new", folder).splitlines() == [
        f"written  {folder}: case.toml, load.csv, pv.csv",
        "         3 peers, 24 periods of 60 minutes",
        f"next     fairwatt case check {folder}",
    ]


def test_new__own_profiles__become_a_case(tmp_path: Path, mine: Path) -> None:
    written = json.loads(
        done(
            "case", "new", tmp_path / "homes", "--load", mine / "load.csv", "--pv", mine / "pv.csv",
            "--retail", "0.4", "--feed-in", "0.1", "--time-zone", "Europe/Madrid", "--json",
        )
    )  # fmt: skip
    assert written["peers"] == 2
    assert written["horizon"]["periods"] == 48
    case = Case.load(tmp_path / "homes")
    assert {peer.name: len(peer.assets) for peer in case.community.peers} == {"Ana": 1, "Bo": 2}
    assert str(case.zone) == "Europe/Madrid"


def test_new__thousand_peers__are_made_up(tmp_path: Path) -> None:
    done(
        "case", "new", tmp_path / "k", "--peers", "1000", "--seed", "1", "--days", "1",
        "--period", "15",
    )  # fmt: skip
    community = Case.load(tmp_path / "k").community
    assert (len(community.peers), community.horizon.periods) == (1000, 96)


@pytest.mark.parametrize(
    ("options", "reason", "code"),
    [
        (["--seed", "1"], "--seed goes with --peers.", 2),
        (["--days", "2"], "Options go with --load, --pv or --peers.", 2),
        (["--peers", "2", "--load", "x.csv"], "leave it out with --load and --pv", 2),
        (["--peers", "2", "--time-zone", "UTC"], "not for --peers", 2),
        (["--peers", "0"], "--peers", 2),
        (["--load", "nothing.csv"], "there is no file nothing.csv", 1),
        (["--load", "case.toml"], "case.toml", 1),
        (["--peers", "2", "--period", "7"], "whole periods", 1),
        (["--peers", "2", "--feed-in", "0.5"], "is above the retail tariff", 1),
        (["--peers", "2", "--retail", "nan"], "retail_per_kwh: must be a finite number", 1),
    ],
)
def test_new__options_that_cannot_be__write_nothing(
    tmp_path: Path, options: Sequence[str], reason: str, code: int
) -> None:
    refused(run("case", "new", tmp_path / "mine", *options), reason, code=code)
    assert list(tmp_path.iterdir()) == []


def test_new__folder_with_something_in_it__is_left_alone(mine: Path) -> None:
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    refused(run("case", "new", mine), f"{mine}: is there already and not empty; choose another")
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before


def test_list__as_a_process__needs_no_chain() -> None:
    code = (
        "import sys; from fairwatt.cli import main\n"
        "main(['case', 'list'], standalone_mode=False)\n"
        "assert 'ape' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_start__no_time__shows_one() -> None:
    result = CliRunner().invoke(main, ["plan", "corby", "--start", "13.06.2023"])
    assert result.exit_code == 2
    assert "is no date or time; write one such as 2019-06-30," in result.output
