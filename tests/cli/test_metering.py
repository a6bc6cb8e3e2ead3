"""`fairwatt meter`: what it prints and writes, and what it refuses by meter and time."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from eth_account import Account
from eth_utils.address import to_checksum_address
from tests.metering.feeds import Feed, Series
from tests.metering.test_espi import hours_of_year, naive_durations
from tests.test_readme import console_blocks, require_shown

from fairwatt.cases import Case, write_from_profiles
from fairwatt.cli import main
from fairwatt.deployment import CONTRACTS, Deployment
from fairwatt.meter import Curve, P256Meter, Reading, SignedReading

PAGE = Path(__file__).parents[2] / "docs" / "metering.md"
SAMPLE = Path(__file__).parents[1] / "metering" / "data" / "15minLP_15Days.xml"
GOOD = "time,a,b\n2019-01-01T00:00Z,0.25,1\n2019-01-01T00:15Z,0.5,2\n2019-01-01T00:30Z,0.125,3\n"
BAD = "time,a\n2019-01-01T00:00Z,0.1\n2019-01-01T00:15Z,-0.1\n2019-01-01T01:00Z,0.2\n"


def run(*arguments: str | Path) -> Result:
    result = CliRunner(mix_stderr=False).invoke(main, ["meter", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.csv"
    path.write_text(GOOD, encoding="utf-8")
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.csv"
    path.write_text(BAD, encoding="utf-8")
    return path


def test_import__green_button_file__shows_the_total_and_writes_a_table(tmp_path: Path) -> None:
    result = run("import", SAMPLE, "--out", tmp_path / "out.csv")
    assert result.exit_code == 0
    assert "periods    1,340 of 15 minutes, 2012-03-01T05:00Z to 2012-03-15T04:00Z" in result.stdout
    assert "import     1,397.734 kWh" in result.stdout
    assert "estimated  0 periods of 1,340 (0.00%)" in result.stdout
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "time,meter,direction,energy_wh,estimated"
    assert lines[1] == "2012-03-01T05:00Z,your house,import,324,False"
    assert len(lines) == 1341


def test_import__with_json__prints_channels_and_findings(good: Path) -> None:
    result = run("import", good, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "refused": False,
        "start": "2019-01-01T00:00Z",
        "periodSeconds": 900,
        "periods": 3,
        "channels": [
            {"meter": "a", "direction": "import", "energyWh": 875, "estimatedPeriods": 0},
            {"meter": "b", "direction": "import", "energyWh": 6000, "estimatedPeriods": 0},
        ],
        "findings": [],
    }


def test_import__with_mapping_and_span__parquet_out(tmp_path: Path) -> None:
    data, mapping = tmp_path / "in.csv", tmp_path / "map.toml"
    data.write_text(
        "wann;zähler;kW\n01.01.2019 00:00;h1;2,0\n01.01.2019 00:30;h1;4,0\n", encoding="utf-8"
    )
    mapping.write_text(
        'time = "wann"\nmeter = "zähler"\ntime_format = "%d.%m.%Y %H:%M"\n'
        'time_zone = "Europe/Berlin"\n[[values]]\ncolumn = "kW"\nunit = "kW"\nkind = "power"\n',
        encoding="utf-8",
    )
    out = tmp_path / "out.parquet"
    result = run("import", data, "--map", mapping, "--from", "2018-12-31T23:15", "--out", out)
    assert result.exit_code == 0, result.stderr
    frame = pd.read_parquet(out)
    assert frame["energy_wh"].tolist() == [500, 1000, 1000]
    assert frame["time"].iloc[0] == pd.Timestamp("2018-12-31T23:15Z")
    assert frame["meter"].tolist() == ["h1"] * 3
    assert not frame["estimated"].any()


def test_import__faults__are_refused_and_nothing_is_written(bad: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out.csv", tmp_path / "findings.json"
    result = run("import", bad, "--out", out, "--findings", report)
    assert result.exit_code == 1
    assert "is refused for what was found (1 negative, 1 gap)" in result.stderr
    assert "gap, a import, 2019-01-01T00:30Z to 2019-01-01T01:00Z: 2 intervals" in result.stderr
    assert not out.exists()
    findings = json.loads(report.read_text(encoding="utf-8"))
    assert [(each["kind"], each["action"]) for each in findings] == [
        ("negative", "refused"),
        ("gap", "refused"),
    ]


def test_import__faults_with_json__prints_them_and_exits_with_1(bad: Path) -> None:
    result = run("import", bad, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["refused"] is True
    assert document["findings"][1]["from"] == "2019-01-01T00:30Z"


def test_import__faults_estimated__are_marked_and_listed(bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    result = run("import", bad, "--policy", "estimate", "--out", out)
    assert result.exit_code == 0
    assert "estimated  3 periods of 5 (60.00%)" in result.stdout
    assert "negative" in result.stdout
    frame = pd.read_csv(out)
    assert frame["estimated"].tolist() == [False, True, True, True, False]
    assert frame["energy_wh"].tolist() == [100, 125, 150, 175, 200]


def test_import__profiles__make_a_case(tmp_path: Path) -> None:
    profiles = tmp_path / "load.csv"
    result = run("import", SAMPLE, "--period", "60", "--profiles", profiles)
    assert result.exit_code == 0
    case = write_from_profiles(
        tmp_path / "homes", profiles, None, retail_per_kwh=0.3, feed_in_per_kwh=0.1, zone_name="UTC"
    )
    assert isinstance(case, Case)
    assert case.community.peers[0].name == "your house"


def test_import__profiles_of_a_direction_there_is_not__is_refused(good: Path) -> None:
    result = run("import", good, "--profiles", good.with_name("p.csv"), "--direction", "export")
    assert result.exit_code == 1
    assert "no meter has export here, only import" in result.stderr


def test_check__good_data__exits_with_0(good: Path) -> None:
    result = run("check", good)
    assert (result.exit_code, result.stdout) == (0, "0 faults, 0 other findings\n")


def test_check__faults__lists_them_and_exits_with_1(bad: Path) -> None:
    result = run("check", bad)
    assert result.exit_code == 1
    assert "2 faults, 0 other findings" in result.stdout
    assert result.stderr == ""
    document = json.loads(run("check", bad, "--json").stdout)
    assert document["faults"] == 2
    assert [each["kind"] for each in document["findings"]] == ["negative", "gap"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["import", "none.csv"], "none.csv: there is no such file"),
        (["check", "none.xml"], "none.xml: there is no such file"),
        (["import", "good.csv", "--map", "none.toml"], "none.toml: there is no such file"),
        (["import", "good.csv", "--period", "7"], "divide the day"),
        (["import", "good.csv", "--from", "2019-01-01T00:01"], "start: must be a boundary"),
        (["import", "good.csv", "--from", "2020-01-01"], "has no reading in the span"),
        (["import", "good.csv", "--out", "nowhere/out.csv"], "no such file or directory"),
    ],
)
def test_what_cannot_be_done__is_said_in_a_line(
    arguments: list[str], problem: str, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(good.parent)
    result = run(*arguments)
    assert result.exit_code == 1
    assert problem in result.stderr


def test_names_from_files__that_terminals_obey__are_shown_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,\x1b[31mred\n2019-01-01T00:00Z,1\n2019-01-01T00:15Z,-1\n", "utf-8")
    result = run("check", path)
    assert result.exit_code == 1
    assert "\x1b[31mred" not in result.stdout


def test_import__green_button_year_with_both_clock_changes__8760_hours_and_the_total(
    tmp_path: Path,
) -> None:
    """Writers that take differences of local times give 7200 and 0 s at the changes."""
    starts, values = hours_of_year("America/Los_Angeles"), [100 + at % 977 for at in range(8760)]
    durations = naive_durations(starts, "America/Los_Angeles")
    assert sorted(set(durations)) == [0, 3600, 7200]
    year = Feed([Series(zip(starts, durations, values, strict=True))]).write(tmp_path / "year.xml")

    result = run("import", year, "--period", "60", "--out", tmp_path / "energy.csv")

    assert result.exit_code == 0, result.stderr
    assert f"import     {sum(values) / 1000:,.3f} kWh" in result.stdout
    shown = next(block for block in console_blocks(PAGE) if "year.xml --period" in block.command)
    require_shown(shown, result.stdout)
    written = pd.read_csv(tmp_path / "energy.csv")
    assert written["energy_wh"].tolist() == values
    # Every hour is there once, also the two of the clock changes.
    times = pd.to_datetime(written["time"])
    assert (times.diff().dropna() == pd.Timedelta(hours=1)).all()


# -------------------------------------------------------------------------------------- sign


def signing(file: Path, *more: str | Path, session: int = 1_546_300_800) -> list[str | Path]:
    deployment = file.parent / "deployment.json"
    addresses = {
        field: to_checksum_address(f"0x{at:040x}") for at, field in enumerate(CONTRACTS, 9)
    }
    Deployment("ethereum:local:test", 31337, 0, addresses).save(deployment)
    known = ("--market", "1", "--peer", "7", "--session", str(session), "--deployment", deployment)
    return ["sign", file, *known, "--periods", "2", *more]


def sign(file: Path, *more: str | Path, session: int = 1_546_300_800) -> Result:
    arguments = [str(each) for each in signing(file, *more, session=session)]
    key = {"FAIRWATT_KEY": "0x" + "11" * 32}
    return CliRunner(mix_stderr=False).invoke(main, ["meter", *arguments], env=key)


@pytest.mark.parametrize("curve", list(Curve))
def test_sign__measured_session__is_the_meters_signature(good: Path, curve: Curve) -> None:
    result = sign(good, "--meter", "a", "--curve", curve)

    assert result.exit_code == 0, result.stderr
    signed = SignedReading.from_document(json.loads(result.stdout))
    assert signed.reading == Reading(1, 7, 1_546_300_800, (-250, -500))
    meter = P256Meter.of(int("11" * 32, 16)) if curve is Curve.P256 else Account.from_key("11" * 32)
    domain = Deployment.load(good.parent / "deployment.json").domain("settlement")
    assert signed.signer(domain) == meter.address
    assert result.stderr == f"signed by {meter.address}: 2 periods, -0.75 kWh\n"


def test_sign__incomplete_or_estimated__is_refused_unless_estimates_are_allowed(
    bad: Path, tmp_path: Path
) -> None:
    result = sign(bad)
    assert result.exit_code == 1
    assert "negative, a import, 2019-01-01T00:15Z" in result.stderr
    allowed = sign(bad, "--allow-estimated", "--out", tmp_path / "signed.json")
    assert allowed.exit_code == 0, allowed.stderr
    document = json.loads((tmp_path / "signed.json").read_text(encoding="utf-8"))
    assert document["reading"]["energyWh"][0] == -100


@pytest.mark.parametrize(
    ("arguments", "session", "problem"),
    [
        (
            ("--meter", "a"),
            1_546_300_800 + 900 * 2,
            "has 1 of the 2 periods from 2019-01-01T00:30Z",
        ),
        (("--meter", "a"), 1_546_300_800 + 60, "does not start at a period of 900 s"),
        (("--meter", "c"), 1_546_300_800, "meter c: is not in the data, which has a, b"),
        ((), 1_546_300_800, "has 2 meters; name one with --meter"),
    ],
)
def test_sign__what_is_not_there__is_refused(
    good: Path, arguments: tuple[str, ...], session: int, problem: str
) -> None:
    result = sign(good, *arguments, session=session)
    assert result.exit_code in (1, 2)
    assert problem in result.stderr
    assert result.stdout == ""


def test_reading__estimate_that_the_utility_marked__is_not_signed_as_measured(
    tmp_path: Path,
) -> None:
    readings = [(1_546_300_800, 900, 100, 0), (1_546_301_700, 900, 120, 8)]  # 8: estimated
    path = Feed([Series(readings, interval=900)], rules=None).write(tmp_path / "feed.xml")
    result = sign(path)
    assert result.exit_code == 1
    assert "period 1 of session 1546300800 is estimated, not measured" in result.stderr
    assert sign(path, "--allow-estimated").exit_code == 0
