"""`fairwatt run`: days on a chain, killed and not, and what they come to."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from fairwatt.cases import Case
from fairwatt.cli import main
from fairwatt.errors import PilotError
from fairwatt.pilot import Results, RunFolder, RunSettings, prepare
from fairwatt.pilot._node import OwnAnvil
from fairwatt.pilot._results import PeerResult
from fairwatt.plot._stores import stores_figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # web3 keeps its sockets open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
BIN = Path(sys.executable).parent
KILLS = int(os.environ.get("FAIRWATT_KILLS", "2"))
"""How often the run is killed: `FAIRWATT_KILLS=10 pytest tests/pilot -k killed`."""
CASE = os.environ.get("FAIRWATT_KILL_CASE", "homes")
"""What is run; `iberia` takes longer."""
DAYS = 2
PATH = f"{BIN}{os.pathsep}{os.environ['PATH']}"


def command(*more: str) -> list[str]:
    settings = ["--days", str(DAYS), "--forecast", "persistence", "--json"]
    return [str(BIN / "fairwatt"), "run", CASE, *settings, *more]


def finished(folder: Path, *more: str) -> dict[str, Any]:
    run = subprocess.run(
        command(*more),
        cwd=folder,
        env=os.environ | {"PATH": PATH},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    document: dict[str, Any] = json.loads(run.stdout)
    return document


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a case of three homes: sun, a storage, a vehicle that charges over night."""
    folder = tmp_path_factory.mktemp("run")
    assert CliRunner().invoke(main, ["case", "new", str(folder / "homes")]).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def embedded(folder: Path) -> dict[str, Any]:
    """A run in one go, on the embedded chain."""
    return finished(folder, "--out", "embedded")


@pytest.fixture(scope="module")
def scheduled(folder: Path) -> dict[str, Any]:
    """The same with the storage and the vehicle left to the clearing."""
    return finished(folder, "--out", "scheduled", "--storage", "market")


FAULTS = """
[[faults]]
kind = "outage"
peers = ["{0}"]
days = [2]

[[faults]]
kind = "late"
hours = 30
peers = ["{1}"]
days = [2]

[[faults]]
kind = "replay"
peers = ["Bo"]
days = [1]

[[faults]]
kind = "replay"
earlier = true
peers = ["Ana"]

[[faults]]
kind = "under-report"
share_hidden = 0.3
peers = ["{2}"]
"""


@pytest.fixture(scope="module")
def failing(folder: Path) -> dict[str, Any]:
    """The same with meters that fail, those of the first three peers."""
    case = Case.load(folder / CASE if (folder / CASE).is_dir() else CASE)
    names = [peer.name for peer in case.community.peers]
    (folder / "faults.toml").write_text(FAULTS.format(*names), encoding="utf-8")
    more = ("--storage", "market", "--faults", "faults.toml")
    return finished(folder, "--out", "failing", *more)


def days_of(folder: Path) -> list[dict[str, Any]]:
    return list(RunFolder(folder).days())


@pytest.mark.slow
def test_run__balances__are_what_was_paid_in_less_what_it_cost(
    folder: Path, embedded: dict[str, Any]
) -> None:
    days, balances = days_of(folder / "embedded"), embedded["balancesNano"]
    funded = days[0]["fundedNano"]
    assert len(days) == embedded["daysOver"] == DAYS
    for name, peer in embedded["peers"].items():
        assert balances[name] == funded[name] - peer["costNano"]
    assert sum(balances.values()) == sum(funded.values())
    # Of every trade there are two sides, and the second day has some.
    sides = [
        sum(peer[side] for peer in embedded["peers"].values()) for side in ("boughtWh", "soldWh")
    ]
    assert sides[0] == sides[1] > 0
    assert embedded["refused"] == []
    # What one foresees one does not pay for.
    total = {
        key: sum(peer[key] for peer in embedded["peers"].values())
        for key in ("costNano", "perfectNano")
    }
    assert total["perfectNano"] < total["costNano"]


@pytest.mark.slow
def test_run__storage_in_the_market__does_what_the_clearing_decided(
    folder: Path, embedded: dict[str, Any], scheduled: dict[str, Any]
) -> None:
    days, homes = days_of(folder / "scheduled"), days_of(folder / "embedded")
    funded = days[0]["fundedNano"]
    for name, peer in scheduled["peers"].items():
        assert scheduled["balancesNano"][name] == funded[name] - peer["costNano"]
        assert peer["aloneNano"] == embedded["peers"][name]["aloneNano"]
    assert scheduled["refused"] == []
    for day, home in zip(days, homes, strict=True):
        assert day["flexibleOrders"] > home["flexibleOrders"] == 0
        # The vehicle of Cy takes what it needs, whoever decides when: the sums are those of the
        # plan but for a Wh a period; the storage of Bo ends the day with what it has to hold.
        taken = [sum(one["meteredWh"]["Cy"]) for one in (day, home)]
        assert taken[0] == pytest.approx(taken[1], abs=len(day["meteredWh"]["Cy"]))
        assert day["meteredWh"]["Ana"] == home["meteredWh"]["Ana"]
        assert day["levels"]["run"] == {"Bo": [pytest.approx(2.5, abs=0.002)]}
    assert any(
        day["meteredWh"]["Bo"] != home["meteredWh"]["Bo"]
        for day, home in zip(days, homes, strict=True)
    )


@pytest.mark.slow
def test_run__meters_fail__estimates_are_settled_then_replaced_and_told(
    folder: Path, scheduled: dict[str, Any], failing: dict[str, Any]
) -> None:
    first, second = days_of(folder / "failing")
    before, honest = days_of(folder / "scheduled")
    assert scheduled["faulty"] == []
    told = {(each["day"], each["peer"]): each for each in failing["faulty"]}
    assert set(told) == {(1, "Bo"), (1, "Cy"), (2, "Ana"), (2, "Bo"), (2, "Cy")}
    # Bo had hardly traded on the first day, so its reading is doubted, and settled in the end.
    assert told[1, "Bo"]["told"].startswith("held back until the final run: it counts")
    # Its owner brings it again, and nothing is paid twice: every balance is held to the bills.
    assert told[1, "Bo"]["told"].endswith("; brought again; passed over by the contract")
    assert told[1, "Bo"]["settledNano"] == before["imbalancesNano"]["Bo"]
    # Ana had bought, and is taken to have taken just that; no reading ever replaces it, least of
    # all that of the first day, when there was none to replay.
    assert told[2, "Ana"]["told"] == (
        "one of an earlier day was brought for this one; refused by the contract "
        "(ReadingSignerMismatch); estimated for good"
    )
    assert second["meteredWh"]["Ana"] is None
    assert min(second["positionsWh"]["Ana"]) < 0 == told[2, "Ana"]["settledNano"]
    # Bo had sold: what it brought is charged as if it had not been there, and then given back.
    assert told[2, "Bo"]["estimateNano"] < 0
    assert told[2, "Bo"]["settledNano"] == honest["imbalancesNano"]["Bo"]
    assert second["meteredWh"]["Bo"] == honest["meteredWh"]["Bo"]
    assert "estimated, then replaced" in told[2, "Bo"]["told"]
    # What Cy hides is settled as it says, and only the sum of all meters could tell.
    assert second["meteredWh"]["Cy"] == [
        wh if wh > 0 else round(0.7 * wh) for wh in honest["meteredWh"]["Cy"]
    ]
    assert first["meteredWh"]["Ana"] == before["meteredWh"]["Ana"]
    hidden = [sum(day["meteredWh"]["Cy"]) - day["flowedWh"]["Cy"] for day in (first, second)]
    unseen = -second["flowedWh"]["Ana"] + sum(second["positionsWh"]["Ana"])
    assert failing["untoldWh"] == -sum(hidden) - unseen < 0
    page = (folder / "failing" / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="meters">Meters that failed</h2>' in page
    assert "Paid is only what was settled" in page.split("<h2")[0]
    assert "estimated for good" in page
    assert "refused by the contract (ReadingSignerMismatch)" in page
    bills = {
        bill["account"]["name"]: bill
        for path in (folder / "failing" / "bills").glob("*.json")
        for bill in (json.loads(path.read_text()),)
    }
    for name, bill in bills.items():
        assert bill["balance"]["closingNano"] == failing["balancesNano"][name]
    assert bills["Ana"]["provisional"]["estimatedPeriods"] == 24


@pytest.mark.slow
def test_run__bills__end_with_the_balances_on_chain(folder: Path, embedded: dict[str, Any]) -> None:
    bills = [
        json.loads(path.read_text()) for path in (folder / "embedded" / "bills").glob("*.json")
    ]
    assert len(bills) == len(embedded["peers"])
    for bill in bills:
        name = bill["account"]["name"]
        assert bill["balance"]["closingNano"] == embedded["balancesNano"][name]
        assert bill["totalNano"] == -embedded["peers"][name]["costNano"]


@pytest.mark.slow
def test_run__report__shows_pictures_and_peers(folder: Path, embedded: dict[str, Any]) -> None:
    page = (folder / "embedded" / "report.html").read_text(encoding="utf-8")
    for name in ("prices", "stores", "flows", "savings", "forecast", "chain"):
        assert f'src="pictures/{name}.png"' in page
        assert (folder / "embedded" / "pictures" / f"{name}.png").stat().st_size > 10_000
    for name in embedded["peers"]:
        assert f"<td>{name}</td>" in page


@pytest.mark.slow
@pytest.mark.parametrize("out", ["embedded", "scheduled"])
def test_run__picture_of_storages__draws_what_the_meters_counted(
    folder: Path, embedded: dict[str, Any], scheduled: dict[str, Any], out: str
) -> None:
    stated = {"embedded": embedded, "scheduled": scheduled}[out]
    settings = RunSettings(
        str(folder / "homes"), stated["start"], stated["period_seconds"], DAYS, storage="market"
    )
    prepared, days = prepare(settings), days_of(folder / out)
    prices, power, held = stores_figure(Results.of(prepared, days)).axes
    drawn = {patch.get_label(): patch.get_data() for patch in power.patches}

    def energy(label: str) -> NDArray[np.float64]:
        """In Wh: the periods have an hour."""
        bars = drawn[label]
        return np.asarray((bars.values - bars.baseline) * 1000)

    # Bo has the storage, Cy the vehicle. What is settled of their meters, less loads and sun as the
    # case has them, is what these did; and by day, when the vehicle is gone, a washing machine.
    shown = {
        "Bo": energy("storages discharge") + energy("storages charge"),
        "Cy": energy("vehicles charge"),
    }
    periods = DAYS * prepared.per_day
    is_night = np.arange(periods) % 24 // 9 != 1  # not 9:00 to 18:00
    for peer in prepared.truth.between(prepared.first, periods).peers:
        if peer.name not in shown:
            continue
        rest = np.zeros(periods)
        for asset in peer.assets:
            if asset.kind in ("load", "pv"):
                rest += asset.over("energy_kwh", periods) * (1 if asset.kind == "pv" else -1)
        metered = np.concatenate([day["meteredWh"][peer.name] for day in days]) - 1000 * rest
        seen = shown[peer.name]
        assert seen[is_night] == pytest.approx(metered[is_night], abs=2)
        expected = metered if peer.name == "Bo" else np.zeros(periods)
        assert seen[~is_night] == pytest.approx(expected[~is_night], abs=2)
        assert np.abs(seen).max() > 500
    # A day ends with what the next one begins with, and prices are those of the clearing.
    level = held.lines[0].get_ydata()
    assert level[prepared.per_day :: prepared.per_day] == pytest.approx(
        [day["levels"]["run"]["Bo"][0] for day in days], abs=0.002
    )
    for node in prepared.truth.network.nodes:
        cleared = np.concatenate([day["prices"][node] for day in days]) / 1e6
        (line,) = [patch for patch in prices.patches if node in str(patch.get_label()).split(", ")]
        price = line.get_data().values
        assert np.isfinite(price).any()
        assert price[~np.isnan(price)] == pytest.approx(cleared[~np.isnan(price)])


@pytest.mark.anvil
@pytest.mark.slow
def test_run__killed_anywhere__ends_with_the_same_balances(
    folder: Path, failing: dict[str, Any]
) -> None:
    """Killed whenever the chain has reached a height by chance, and started again.

    With everything that a run can have: storages in the market, meters that fail.
    """
    out = folder / "killed"
    days = days_of(folder / "failing")
    founded, last = days[0]["block"] - 5, days[-1]["block"] - 2
    chance = random.Random(os.environ.get("FAIRWATT_SEED", "1"))
    more = ("--chain", "anvil", "--out", "killed", "--storage", "market")
    more = (*more, "--faults", "faults.toml")
    arguments = command(*more)
    # Half of them before the community is founded, half within its days.
    heights = [chance.randrange(2, founded) for _ in range(KILLS // 2)]
    heights = sorted(heights + [chance.randrange(founded, last) for _ in range(-(-KILLS // 2))])
    try:
        for height in heights:
            with subprocess.Popen(
                arguments,
                cwd=folder,
                env=os.environ | {"PATH": PATH},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            ) as process:
                while block(out) < height:
                    assert process.poll() is None, process.communicate()[1].decode()
                    time.sleep(0.02)
                time.sleep(chance.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
        result = finished(folder, *more)
    finally:
        OwnAnvil(out).stop()
    for key in ("balancesNano", "peers", "incomesNano", "refused", "faulty", "daysOver"):
        assert result[key] == failing[key], key
    # What the chain was asked to do once it did once: deposits, clearings, readings.
    assert [day["positionsWh"] for day in days_of(out)] == [
        day["positionsWh"] for day in days_of(folder / "failing")
    ]
    # Given again, there is nothing left to do: the anvil that ended is begun where it was.
    again = finished(folder, *more)
    assert again == result


def block(out: Path) -> int:
    """Height of the run's own chain, 0 while there is none."""
    try:
        url = json.loads((out / "anvil.json").read_text())["url"]
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(json.load(response)["result"], 16)
    except (OSError, ValueError):
        return 0


SETTINGS = RunSettings("iberia", 0, 3600, 7)


def test_folder__of_another_run__is_left_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.begin(SETTINGS, "anvil", fresh=False)
    folder.keep_day(0, {"day": 0})
    folder.begin(SETTINGS, "anvil", fresh=False)
    other = RunSettings("iberia", 0, 3600, 8)
    with pytest.raises(PilotError, match=r"holds another run \(days 7\); .*--fresh"):
        folder.begin(other, "anvil", fresh=False)
    assert list(folder.days()) == [{"day": 0}]
    folder.begin(other, "anvil", fresh=True)
    assert list(folder.days()) == []


def test_folder__begun_on_a_chain_that_was_not_there__is_free(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.begin(SETTINGS, "http://127.0.0.1:1", fresh=False)
    folder.begin(SETTINGS, "anvil", fresh=False)


def test_folder__of_a_chain_that_stays__is_not_lost_to_one_that_does_not(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.begin(SETTINGS, "anvil", fresh=False)
    folder.keep_day(0, {"day": 0})
    with pytest.raises(PilotError, match=r"holds another run \(chain 'anvil'\); .*--fresh"):
        folder.begin(SETTINGS, "embedded", fresh=False, stays=False)
    assert list(folder.days()) == [{"day": 0}]
    folder.begin(SETTINGS, "embedded", fresh=True, stays=False)
    folder.keep_day(0, {"day": 0})
    folder.begin(SETTINGS, "embedded", fresh=False, stays=False)
    assert list(folder.days()) == []


@pytest.mark.parametrize(
    ("alone", "cost", "percent"),
    [(200, 150, 25.0), (200, 300, -50.0), (1, -1, None), (-100, -200, None), (0, 0, None)],
)
def test_peer_result__percent__only_of_a_bill(alone: int, cost: int, percent: float | None) -> None:
    assert PeerResult("Ana", alone=alone, cost=cost).saved_percent == percent


def test_folder__damaged__says_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(SETTINGS, "anvil", fresh=False)
    (tmp_path / "days" / "0001.json").write_text('{"day": ')
    with pytest.raises(PilotError, match=r"0001\.json is damaged"):
        folder.day(0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["atlantis"], 1, "there is no such case"),
        (["iberia", "--start", "2031-01-01"], 1, "covers 2018-12-31T23:00Z to"),
        (["iberia", "--days", "0"], 2, "0 is not in the range"),
        (["iberia", "--forecast", "crystal"], 2, "is not one of 'persistence'"),
        (["iberia", "--weather", __file__], 2, "--weather is for --forecast regression"),
        (["iberia", "--chain", "http://127.0.0.1:1"], 1, "cannot connect to http://127.0.0.1:1"),
        (["iberia", "--without", "nobody"], 1, "nobody"),
        (["iberia", "--faults", __file__], 1, "is not readable as TOML"),
    ],
)
def test_run__what_cannot_be__says_so(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    run = CliRunner().invoke(main, ["run", *arguments, "--out", str(tmp_path / "out")])
    assert (run.exit_code, message in run.output) == (code, True), run.output
    assert "Traceback" not in run.output


def test_run__slip_in_the_faults__costs_no_run_that_is_in_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.begin(SETTINGS, "embedded", fresh=False)
    folder.keep_day(0, {"day": 0})
    slip = tmp_path / "faults.toml"
    slip.write_text("[[faults]]\nkind = 'outage'\nshare = 1\ndays = [2]\n", encoding="utf-8")
    run = CliRunner().invoke(
        main, ["run", "iberia", "--faults", str(slip), "--out", str(tmp_path / "out")]
    )
    assert (run.exit_code, "the last day of the run is 1, not 2" in run.output) == (1, True)
    assert list(folder.days()) == [{"day": 0}]


def test_help__teaches() -> None:
    run = CliRunner().invoke(main, ["run", "--help"])
    assert run.exit_code == 0
    assert "goes on when" in run.output
