"""Cases: every field is read; what is malformed is refused with its place, by reader and schema."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fairwatt.cases import (
    Case,
    HorizonChoice,
    check,
    names,
    schema,
    titles,
    write_example,
    write_from_profiles,
    write_synthetic,
)
from fairwatt.community import (
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    ShiftableLoad,
    Storage,
)
from fairwatt.errors import CaseError, CommunityError
from fairwatt.market import Link, Side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.community import Asset

ROOT = Path(__file__).parents[1]
START = 1_546_300_800  # 2019-01-01T00:00Z
NOON = datetime.fromisoformat("2019-01-01T12:00")

SMALL = """\
title = "Two peers"
source = "made up"
currency = "EUR"
time_zone = "+00:00"
fee_per_kwh = 0.01

[horizon]
start = 2019-01-01
period_minutes = 30
periods = 4

[horizons.later]
start = 2019-01-01T01:00:00
periods = 2

[[suppliers]]
name = "R"
retail_per_kwh = [0.3, 0.3, 0.2, 0.2]
feed_in_per_kwh = -0.01

[network]
nodes = ["a", "b"]
price_floor_per_kwh = -0.05
price_cap_per_kwh = 0.4
links = [{ from = "a", to = "b", tariff_per_kwh = 0.003, capacity_kw = 50, owner = "DSO" }]

[[peers]]
name = "S"
role = "supplier"
node = "a"
community = 2
export_cost_per_kwh = 0.003
assets = [{ kind = "generator", power_kw = 40, cost_per_kwh = 0.02 }]

[[peers]]
name = "K"
node = "b"
connection_kw = 11
need = 2
import_preference_per_kwh = 0.001
export_preference_per_kwh = 0.002
assets = [
    { kind = "load", energy_kwh = [1, 2, 3, 4] },
    { kind = "pv", energy_kwh = 0.5 },
    { kind = "storage", energy_kwh = 5, charge_kw = 2, discharge_kw = 3, charge_efficiency = 0.9, discharge_efficiency = 0.8, initial_kwh = 1, final_kwh = 2, cost_per_kwh = 0.01 },
    { kind = "ev", energy_kwh = 2, power_kw = 4, arrival = "00:30", departure = "01:30", efficiency = 0.9 },
    { kind = "shiftable-load", energy_kwh = 1, power_kw = 2, from = 00:00:00, to = 02:00:00 },
    { kind = "curtailable-load", energy_kwh = 1, value_per_kwh = 0.1, share = 0.5 },
    { kind = "heat-pump", energy_kwh = 1, power_kw = 3, ahead_kwh = 2, behind_kwh = 1, loss_per_hour = 0.1 },
]

[published]
objective = "1.5"
generation_kwh = { S = 30, K = 0 }
import_kwh = { S = 0, K = 30 }
export_kwh = { S = 30, K = 0 }
"""  # noqa: E501 - as people write it


def put(folder: Path, text: str, name: str = "small", **files: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "case.toml").write_text(text, encoding="utf-8")
    for file, content in files.items():
        (folder / name / f"{file}.csv").write_text(content, encoding="utf-8")
    return folder / name


def load(folder: Path, text: str, **files: str) -> Case:
    return Case.load(put(folder, text, **files))


def assets(case: Case, peer: str = "K") -> tuple[Asset, ...]:
    return case.community.peers[case.community.index(peer)].assets


def only(old: str, new: str) -> str:
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


# ----------------------------------------------------------------------------- cases of the project


def test_names__of_the_project__are_the_folders_in_cases() -> None:
    assert names() == sorted(path.parent.name for path in ROOT.glob("cases/*/case.toml"))
    assert {"five-peer-1", "five-peer-2"} <= set(names())
    assert set(titles()) == set(names())


@pytest.mark.parametrize("name", names())
def test_check__every_case_of_the_project__has_no_error(name: str) -> None:
    assert check(name).errors == ()


@pytest.mark.parametrize("name", sorted({*names()} - {"corby-without-plant"}))
def test_titles_and_source__every_case_of_the_project__say_what_and_where_from(name: str) -> None:
    content = tomllib.loads((ROOT / "cases" / name / "case.toml").read_text("utf-8"))
    assert content["title"] == titles()[name]
    assert len(content["source"]) > 40


# ------------------------------------------------------------------------------------ every field


def test_load__small_case__reads_head_horizon_and_network(tmp_path: Path) -> None:
    case = load(tmp_path, SMALL)
    assert (case.name, case.title, case.source) == ("small", "Two peers", "made up")
    assert (case.currency, str(case.zone)) == ("EUR", "UTC")
    assert case.horizons == {
        "default": Horizon(START, 1800, 4),
        "later": Horizon(START + 3600, 1800, 2),
    }
    community = case.community
    assert community.name == "small"
    assert community.horizon == case.horizons["default"]
    assert community.fee_per_kwh == 0.01
    assert community.network.nodes == ("a", "b")
    assert community.network.links == (Link("a", "b", 3000, 25_000, "DSO"),)
    assert community.network.price_floor_micro_per_kwh == -50_000
    assert community.network.price_cap_micro_per_kwh == 400_000
    assert community.suppliers[0].name == "R"
    assert community.suppliers[0].retail(4).tolist() == [0.3, 0.3, 0.2, 0.2]
    assert community.suppliers[0].feed_in(4).tolist() == [-0.01] * 4


def test_load__small_case__reads_peers(tmp_path: Path) -> None:
    supplier, home = load(tmp_path, SMALL).community.peers
    assert (supplier.name, supplier.role, supplier.node) == ("S", "supplier", "a")
    assert (supplier.community, supplier.supplier, supplier.connection_kw) == (2, None, None)
    assert supplier.export_cost_per_kwh == 0.003
    assert (home.name, home.role, home.node) == ("K", "prosumer", "b")
    assert (home.community, home.supplier, home.connection_kw, home.need) == (1, "R", 11, 2)
    assert (home.import_preference_per_kwh, home.export_preference_per_kwh) == (0.001, 0.002)


def test_load__small_case__reads_every_kind_of_asset(tmp_path: Path) -> None:
    case = load(tmp_path, SMALL)
    wanted = (
        Load([1, 2, 3, 4]),
        Photovoltaic(0.5),
        Storage(5, 2, 3, 0.9, 0.8, 1, 2, 0.01),
        ElectricVehicle(2, 4, 1, 3, 0.9),
        ShiftableLoad(1, 2, 0, 3),
        CurtailableLoad(1, 0.1, 0.5),
        HeatPump(1, 3, 2, 1, 0.1),
    )
    assert list(map(repr, assets(case))) == list(map(repr, wanted))
    assert list(map(repr, assets(case, "S"))) == [repr(Generator(40, 0.02))]
    first = assets(case)[0]
    assert isinstance(first, Load)
    assert np.array_equal(first.energy_kwh, [1, 2, 3, 4])


def test_load__small_case__reads_what_was_published(tmp_path: Path) -> None:
    published = load(tmp_path, SMALL).published
    assert published is not None
    assert published.objective == Decimal("1.5")
    assert published.generation_wh == published.export_wh == {"S": 30_000, "K": 0}
    assert published.import_wh == {"S": 0, "K": 30_000}


LEAST = """\
title = "One"
[horizon]
start = "2019-01-01T00:00+01:00"
period_minutes = 60
days = 1
[[suppliers]]
name = "R"
retail_per_kwh = 0.3
feed_in_per_kwh = 0.1
[[peers]]
name = "K"
assets = [{ kind = "load", energy_kwh = 1 }]
"""


def test_load__fields_left_out__have_their_defaults(tmp_path: Path) -> None:
    case = load(tmp_path, LEAST)
    assert (case.source, case.currency, str(case.zone), case.published) == (
        "",
        "token",
        "UTC",
        None,
    )
    assert case.community.horizon == Horizon(START - 3600, 3600, 24)
    network = case.community.network
    assert (network.nodes, network.links) == (("community",), ())
    assert (network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh) == (0, 300_000)
    peer = case.community.peers[0]
    plain = Peer("K", "consumer", "community", peer.assets, supplier="R")
    assert repr(peer) == repr(plain)


@pytest.mark.parametrize(
    ("kinds", "role"),
    [
        ("load", "consumer"),
        ("pv", "producer"),
        ("load pv", "prosumer"),
        ("storage", "storage"),
        ("pv storage", "prosumer"),
        ("load storage", "consumer"),
        ("", "consumer"),
    ],
)
def test_load__role_left_out__follows_from_the_assets(
    tmp_path: Path, kinds: str, role: str
) -> None:
    more = {"storage": ", charge_kw = 1, discharge_kw = 1"}
    listed = ", ".join(
        f'{{ kind = "{kind}", energy_kwh = 1{more.get(kind, "")} }}' for kind in kinds.split()
    )
    case = load(tmp_path, LEAST[: LEAST.index("assets")] + f"assets = [{listed}]\n")
    assert case.community.peers[0].role == role


def test_load__supplier_none__is_none(tmp_path: Path) -> None:
    case = load(tmp_path, only('node = "b"\n', 'node = "b"\nsupplier = "none"\n'))
    assert [peer.supplier for peer in case.community.peers] == [None, None]


def test_load__several_suppliers__must_be_named(tmp_path: Path) -> None:
    second = '[[suppliers]]\nname = "Q"\nretail_per_kwh = 1\nfeed_in_per_kwh = 0\n[network]'
    text = only("[network]", second).replace("cap_per_kwh = 0.4", "cap_per_kwh = 1")
    with pytest.raises(CaseError, match=r"peers\[1\]\.supplier: is missing; write one of R, Q, or"):
        load(tmp_path, text)


# --------------------------------------------------------------------------------------- profiles

ROWS = "time,K,other\n" + "".join(
    f"2019-01-01T{at // 2:02}:{at % 2 * 30:02},{at + 1},{(at + 1) * 1000}\n" for at in range(6)
)


@pytest.mark.parametrize(
    "said",
    [
        '"rows.csv"',
        '"rows.csv:K"',
        '{ file = "rows.csv" }',
        '{ file = "rows.csv", column = "other", scale = 0.001 }',
        "[1, 2, 3, 4]",
    ],
)
def test_load__series__is_a_list_or_a_column(tmp_path: Path, said: str) -> None:
    text = only('kind = "load", energy_kwh = [1, 2, 3, 4]', f'kind = "load", energy_kwh = {said}')
    asset = assets(load(tmp_path, text, rows=ROWS))[0]
    assert asset.over("energy_kwh", 4).tolist() == [1, 2, 3, 4]


def test_load__tariff_from_a_file__is_the_column_of_the_supplier(tmp_path: Path) -> None:
    text = only("[0.3, 0.3, 0.2, 0.2]", '"rows.csv"')
    tariffs = "time,R\n" + "".join(f"2019-01-01T0{at}:00,0.{at + 1}\n" for at in range(2))
    case = load(tmp_path, text, rows=tariffs)
    assert case.community.suppliers[0].retail(4).tolist() == [0.1, 0.1, 0.2, 0.2]


def test_load__negative_profile__names_row_and_column(tmp_path: Path) -> None:
    text = only("energy_kwh = [1, 2, 3, 4]", 'energy_kwh = "rows.csv"')
    with pytest.raises(CaseError) as refusal:
        load(tmp_path, text, rows=ROWS.replace(",3,", ",-3,"))
    assert refusal.value.path == f"{tmp_path / 'small' / 'rows.csv'}, row 4, column 'K'"
    assert "must be at least 0, not -3" in refusal.value.problem


# --------------------------------------------------------------------------------------- horizons


@pytest.mark.parametrize(
    ("choice", "horizon"),
    [
        (HorizonChoice("later"), Horizon(START + 3600, 1800, 2)),
        (HorizonChoice(periods=2), Horizon(START, 1800, 2)),
        (HorizonChoice(period_minutes=15), Horizon(START, 900, 8)),
        (HorizonChoice(days=2, period_minutes=60), Horizon(START, 3600, 48)),
        (
            HorizonChoice(start=datetime.fromisoformat("2019-01-01T00:30")),
            Horizon(START + 1800, 1800, 4),
        ),
        (Horizon(START, 600, 3), Horizon(START, 600, 3)),
        ("later", Horizon(START + 3600, 1800, 2)),
    ],
)
def test_load__horizon_as_asked__is_the_one_of_the_community(
    tmp_path: Path, choice: HorizonChoice | Horizon | str, horizon: Horizon
) -> None:
    text = re.sub(r"= \[(\d\.?\d*)(, \d\.?\d*)+\]", r"= \1", SMALL).replace('"00:30"', '"00:00"')
    case = Case.load(put(tmp_path, text), horizon=choice)
    assert case.community.horizon == horizon
    assert case.community.network.links[0].capacity_wh == 50_000 * horizon.period_seconds // 3600
    assert case.published is None


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        (HorizonChoice("never"), "horizon: there is no horizon 'never'; there are default, later"),
        (HorizonChoice(period_minutes=50), "period_minutes: the horizon lasts 120 minutes, which"),
        (
            HorizonChoice(start=datetime.fromisoformat("1900-01-01")),
            "start: the year must be 1970 to 2200",
        ),
    ],
)
def test_load__horizon_that_cannot_be__is_refused(
    tmp_path: Path, choice: HorizonChoice, problem: str
) -> None:
    with pytest.raises(CaseError, match=re.escape(problem)):
        Case.load(put(tmp_path, SMALL), horizon=choice)


def zoned(start: str, length: str, zone: str = "Europe/Madrid") -> str:
    text = LEAST.replace('start = "2019-01-01T00:00+01:00"', f"start = {start}")
    return f'time_zone = "{zone}"\n' + text.replace("days = 1", length)


@pytest.mark.parametrize(
    ("day", "hours"), [("2019-03-31", 23), ("2019-10-27", 25), ("2019-06-01", 24)]
)
def test_load__local_days_over_a_clock_change__are_as_long_as_they_are(
    tmp_path: Path, day: str, hours: int
) -> None:
    case = load(tmp_path, zoned(day, "days = 1"))
    assert case.community.horizon.periods == hours


def test_load__start_in_a_repeated_hour__is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"horizon\.start: .* is repeated by a clock change"):
        load(tmp_path, zoned("2019-10-27T02:00:00", "periods = 1"))


# ---------------------------------------------------------------------------------------- windows


def visits(
    folder: Path,
    window: str,
    start: str = "2019-06-03",
    length: str = "days = 1",
    energy: float = 8,
    minutes: int = 60,
) -> list[tuple[int, int, float]]:
    asset = f'{{ kind = "ev", energy_kwh = {energy}, power_kw = 4, {window} }}'
    text = zoned(start, length).replace('{ kind = "load", energy_kwh = 1 }', asset)
    case = load(folder, text.replace("period_minutes = 60", f"period_minutes = {minutes}"))
    return [
        (each.arrival_period, each.departure_period, round(each.energy_kwh, 6))
        for each in assets(case)
        if isinstance(each, ElectricVehicle)
    ]


def test_ev__daily_window_within_the_day__is_one_visit(tmp_path: Path) -> None:
    assert visits(tmp_path, 'arrival = "09:00", departure = "17:00"') == [(9, 17, 8)]


def test_ev__daily_window_over_midnight__is_cut_with_its_share_of_the_energy(
    tmp_path: Path,
) -> None:
    found = visits(tmp_path, 'arrival = "18:00", departure = "06:00"')
    assert found == [(0, 6, 4), (18, 24, 4)]


def test_ev__three_days__have_each_night_whole(tmp_path: Path) -> None:
    found = visits(tmp_path, 'arrival = "18:00", departure = "06:00"', length="days = 3")
    assert found == [(0, 6, 4), (18, 30, 8), (42, 54, 8), (66, 72, 4)]


def test_ev__window_between_periods__keeps_its_energy(tmp_path: Path) -> None:
    assert visits(tmp_path, 'arrival = "08:30", departure = "12:10"') == [(9, 12, 8)]


def test_ev__cut_window_too_short_for_its_share__asks_no_more_than_the_power_brings(
    tmp_path: Path,
) -> None:
    found = visits(tmp_path, 'arrival = "22:50", departure = "01:00"', energy=8)
    assert found == [(0, 1, 3.692308), (23, 24, 4)]


def test_ev__cut_window_without_a_whole_period__is_no_visit(tmp_path: Path) -> None:
    found = visits(tmp_path, 'arrival = "22:30", departure = "00:30"', energy=4)
    assert found == [(23, 24, 3)]


def test_ev__dates__are_a_single_visit(tmp_path: Path) -> None:
    window = "arrival = 2019-06-04T18:00:00, departure = 2019-06-05T06:00:00"
    assert visits(tmp_path, window, length="days = 4") == [(42, 54, 8)]


def test_ev__dates_outside_the_horizon__are_no_visit(tmp_path: Path) -> None:
    window = 'arrival = "2019-07-04T18:00", departure = "2019-07-05T06:00"'
    assert visits(tmp_path, window) == []


@pytest.mark.parametrize(
    ("day", "window", "visit"),
    [
        # The clock jumps from 02:00 to 03:00: 23 hours, and 02:30 is the moment of the jump.
        ("2019-03-31", 'arrival = "00:00", departure = "06:00"', (0, 5, 8)),
        ("2019-03-31", 'arrival = "02:30", departure = "06:00"', (2, 5, 8)),
        ("2019-03-31", 'arrival = "00:00", departure = "02:30"', (0, 2, 8)),
        # The clock goes back from 03:00 to 02:00: the window opens first and closes last.
        ("2019-10-27", 'arrival = "00:00", departure = "06:00"', (0, 7, 8)),
        ("2019-10-27", 'arrival = "02:00", departure = "06:00"', (2, 7, 8)),
        ("2019-10-27", 'arrival = "00:00", departure = "02:00"', (0, 3, 8)),
    ],
)
def test_ev__clock_change_within_the_window__moves_its_ends(
    tmp_path: Path, day: str, window: str, visit: tuple[int, int, float]
) -> None:
    assert visits(tmp_path, window, start=day) == [visit]


def test_ev__window_that_a_clock_change_skips__does_not_happen(tmp_path: Path) -> None:
    found = visits(
        tmp_path,
        'arrival = "02:00", departure = "03:00"',
        start="2019-03-30",
        length="days = 3",
        energy=1,
    )
    assert found == [(2, 3, 1), (24 + 23 + 2, 24 + 23 + 3, 1)]


@given(
    st.integers(0, 23),
    st.integers(0, 23),
    st.sampled_from(["2019-06-03", "2019-03-30", "2019-10-26"]),
)
def test_ev__any_daily_window_over_days__asks_for_as_many_shares_as_it_shows(
    tmp_path_factory: pytest.TempPathFactory, arrives: int, leaves: int, start: str
) -> None:
    folder = tmp_path_factory.mktemp("windows")
    window = f'arrival = "{arrives:02}:00", departure = "{leaves:02}:00"'
    found = visits(folder, window, start, "days = 3", energy=1, minutes=30)
    # Over n days there are n windows, in pieces: what midnight cuts off the first lies at the end.
    for first, last, energy in found:
        assert 0 <= first < last <= 3 * 48 + 2
        assert 0 < energy <= 1
    # The hour that the clock skips is no window on that day.
    skipped = (start, arrives, leaves) == ("2019-03-30", 2, 3)
    assert sum(energy for *_, energy in found) == pytest.approx(3 - skipped, abs=0.1)


WINDOWS = {
    "leaves before it arrives": (
        "arrival = 2019-01-14T18:00:00, departure = 2019-01-14T07:00:00",
        "departure",
        "2019-01-14 07:00:00 is not after arrival 2019-01-14 18:00:00",
    ),
    "date and time of day": (
        'arrival = 2019-01-14T18:00:00, departure = "07:00"',
        "departure",
        "must have a date as the begin has, or both only a time of day",
    ),
    "no time": (
        'arrival = "evening", departure = "07:00"',
        "arrival",
        'must be a time of day such as "18:30", or a date and time such as',
    ),
    "time with offset": ('arrival = "18:00+01:00", departure = "07:00"', "arrival", "time of day"),
    "number": ('arrival = 18, departure = "07:00"', "arrival", "must be a time of day or a date"),
    "no departure": ('arrival = "18:00"', "departure", "is missing"),
    "no whole period": (
        'arrival = "18:10", departure = "18:50"',
        "departure",
        "no whole period of 60 minutes lies between 2019-06-03T16:10Z and",
    ),
    "too much energy": (
        'arrival = "18:30", departure = "20:10"',
        "energy_kwh",
        "8 kWh do not fit between arrival and departure: 4 kW bring 4 kWh",
    ),
    "skipped date": (
        "arrival = 2019-03-31T02:30:00, departure = 2019-04-01T07:00:00",
        "arrival",
        "is skipped by a clock change",
    ),
}


@pytest.mark.parametrize("what", WINDOWS)
def test_ev__window_that_cannot_be__is_refused(tmp_path: Path, what: str) -> None:
    window, field, problem = WINDOWS[what]
    with pytest.raises(CaseError) as refusal:
        visits(tmp_path, window)
    assert refusal.value.path.endswith(f"case.toml: peers[0].assets[0].{field}")
    assert problem in refusal.value.problem


# ------------------------------------------------------------------------------ based on another

BASED = 'title = "Alone"\nsource = "less"\nbased_on = "small"\nwithout = ["S"]\n'


def test_load__based_on_another__is_that_without_some(tmp_path: Path) -> None:
    put(tmp_path, SMALL)
    case = Case.load(put(tmp_path, BASED, "alone"))
    assert (case.name, case.community.name, case.title) == ("alone", "alone", "Alone")
    assert case.source == "less\nmade up"
    assert [peer.name for peer in case.community.peers] == ["K"]
    assert case.published is None


def test_load__based_on_a_case_of_the_project__finds_it(tmp_path: Path) -> None:
    text = BASED.replace('"small"', '"five-peer-1"').replace('"S"', '"P5"')
    case = Case.load(put(tmp_path, text, "alone"))
    assert [peer.name for peer in case.community.peers] == ["G", "P2", "P3", "P4"]


def test_load__without_a_peer__drops_what_was_published(tmp_path: Path) -> None:
    case = Case.load(put(tmp_path, SMALL), without=["S"])
    assert [peer.name for peer in case.community.peers] == ["K"]
    assert case.published is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BASED.replace('"S"', '"T"'), "there is no peer 'T' to leave out"),
        (BASED.replace('"S"', '"S", "K"'), "all peers are left out"),
        (BASED.replace('"small"', '"large"'), "based_on: there is no case"),
        (BASED.replace('"small"', '"alone"'), "based_on: 'alone' is based on this case: a loop"),
        (BASED.replace('"small"', '"loop"'), "based_on: 'alone' is based on this case: a loop"),
        (BASED + "fee_per_kwh = 1\n", "fee_per_kwh: is unknown"),
    ],
)
def test_load__based_on_what_cannot_be__is_refused(tmp_path: Path, text: str, problem: str) -> None:
    put(tmp_path, SMALL)
    put(tmp_path, BASED.replace('"small"', '"alone"'), "loop")
    with pytest.raises(CaseError, match=re.escape(problem)):
        Case.load(put(tmp_path, text, "alone"))


# -------------------------------------------------------------------------------------- not found


def test_load__unknown_case__names_those_there_are(tmp_path: Path) -> None:
    put(tmp_path, SMALL)
    with pytest.raises(
        CaseError, match=r"no such case; cases are: small; .*; did you mean 'small'\?"
    ):
        Case.load("smal", tmp_path)


def test_load__folder_without_cases__says_none(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"cases are: none"):
        Case.load("small", tmp_path)


def test_load__folder_without_a_case__says_so(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"there is no case\.toml in this folder"):
        Case.load(tmp_path)


def test_load__name_folder_or_file__is_the_same_case(tmp_path: Path) -> None:
    folder = put(tmp_path, SMALL)
    for name in (folder, folder / "case.toml", str(folder)):
        assert Case.load(name).name == "small"
    assert Case.load("small", tmp_path).name == "small"


@pytest.mark.parametrize("content", [b"title = ", b"\xff\xfe", b"title = 'a'\ntitle = 'b'"])
def test_load__not_toml__is_refused(tmp_path: Path, content: bytes) -> None:
    (put(tmp_path, "") / "case.toml").write_bytes(content)
    with pytest.raises(CaseError, match=r"case\.toml: is not readable as TOML") as refusal:
        Case.load("small", tmp_path)
    assert refusal.value.path.endswith("case.toml")


def test_load__byte_order_mark__does_not_matter(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + SMALL).title == "Two peers"


# --------------------------------------------------------------------------------------- refused

PEERS = SMALL[SMALL.index("[[peers]]") : SMALL.index("[published]")]
MALFORMED: dict[str, tuple[str, str, str, str, bool]] = {
    # what is changed -> into what, the place, the problem, whether a schema can say so
    "no title": ('title = "Two peers"\n', "", "title", "is missing", True),
    "slip of the pen": (
        "title",
        "titel",
        "title",
        "is missing; is 'titel' a slip of the pen?",
        True,
    ),
    "empty title": ('"Two peers"', '" "', "title", "must not be empty", True),
    "title is a number": ('"Two peers"', "2", "title", "must be a text, not 2", True),
    "source is a number": ('"made up"', "7", "source", "must be a text, not 7", True),
    "currency is a number": ('"EUR"', "7", "currency", "must be a text", True),
    "no such zone": ('"+00:00"', '"Mars"', "time_zone", "'Mars' is no time zone", False),
    "negative fee": ("= 0.01\n\n", "= -1\n\n", "fee_per_kwh", "must be a number from 0 to", True),
    "unknown key": ("source", "color = 1\nsource", "color", "is unknown", True),
    "unknown key like another": (
        "source = ",
        "curency = 'EUR'\nsource = ",
        "curency",
        "did you mean 'currency'?",
        True,
    ),
    "no horizon": (
        SMALL[SMALL.index("[horizon]") : SMALL.index("[horizons")],
        "",
        "horizon",
        "is missing",
        True,
    ),
    "no start": ("start = 2019-01-01\n", "", "horizon.start", "is missing", True),
    "start is a word": ("= 2019-01-01\n", '= "soon"\n', "horizon.start", "must be a date", True),
    "start is a number": ("= 2019-01-01\n", "= 2019\n", "horizon.start", "must be a date", True),
    "start in the stone age": ("= 2019-01-01\n", "= 0019-01-01\n", "horizon.start", "1970", False),
    "period is a text": (
        "= 30",
        '= "30"',
        "horizon.period_minutes",
        "must be a whole number",
        True,
    ),
    "period is a fraction": ("= 30", "= 7.5", "horizon.period_minutes", "whole number", True),
    "period is a truth": ("= 30", "= true", "horizon.period_minutes", "must be a whole", True),
    "period is nothing": ("= 30", "= 0", "horizon.period_minutes", "must be 1 to 1440", True),
    "no period": ("period_minutes = 30\n", "", "horizon.period_minutes", "is missing", True),
    "no periods": ("periods = 4\n", "", "horizon.periods", "is missing", True),
    "negative periods": ("periods = 4", "periods = -4", "horizon.periods", "must be 1 to", True),
    "periods and days": (
        "periods = 4",
        "periods = 4\ndays = 1",
        "horizon.days",
        "one of them",
        True,
    ),
    "days in no periods": (
        "30\nperiods = 4",
        "7\ndays = 1",
        "horizon.days",
        "which are not whole periods of 7",
        False,
    ),
    "unknown key of a horizon": ("periods = 4", "periods = 4\nx = 1", "horizon.x", "unknown", True),
    "horizon named default": (
        "horizons.later",
        "horizons.default",
        "horizons.default",
        "is the name of [horizon]",
        True,
    ),
    "supplier without name": ('name = "R"\n', "", "suppliers[0].name", "is missing", True),
    "supplier none": ('name = "R"', 'name = "none"', "suppliers[0].name", "there is none", True),
    "no retail": (
        "retail_per_kwh = [0.3, 0.3, 0.2, 0.2]\n",
        "",
        "suppliers[0].retail_per_kwh",
        "missing",
        True,
    ),
    "retail is a word": (
        "[0.3, 0.3, 0.2, 0.2]",
        '"dear"',
        "suppliers[0].retail_per_kwh",
        "must be a number, a list of numbers, or a profile such as",
        True,
    ),
    "retail has a text": (
        "[0.3, 0.3, 0.2, 0.2]",
        '[0.3, "a", 0.2, 0.2]',
        "suppliers[0].retail_per_kwh[1]",
        "must be a number, not 'a'",
        True,
    ),
    "retail too short": (
        "[0.3, 0.3, 0.2, 0.2]",
        "[0.3, 0.3]",
        "suppliers[0].retail_per_kwh",
        "has 2 values for 4 periods",
        False,
    ),
    "retail beyond the market": (
        "[0.3, 0.3, 0.2, 0.2]",
        "3000",
        "suppliers[0].retail_per_kwh",
        "between -2000 and",
        True,
    ),
    "feed-in above retail": (
        "= -0.01",
        "= 0.25",
        "suppliers[0].feed_in_per_kwh[2]",
        "0.25 is above the retail tariff 0.2",
        False,
    ),
    "unknown key of a supplier": (
        "feed_in_per_kwh",
        "green = 1\nfeed_in_per_kwh",
        "suppliers[0].green",
        "is unknown",
        True,
    ),
    "nodes is a text": ('["a", "b"]', '"ab"', "network.nodes", "must be a list", True),
    "no node": ('["a", "b"]', "[]", "network.nodes", "name at least one node", True),
    "node is a number": ('["a", "b"]', '["a", 2]', "network.nodes[1]", "must be a text", True),
    "node twice": ('["a", "b"]', '["a", "b", "a"]', "network.nodes[2]", "is there twice", True),
    "node without name": ('["a", "b"]', '["a", "b", ""]', "network.nodes[2]", "not be empty", True),
    "floor is a text": ("= -0.05", '= "a"', "network.price_floor_per_kwh", "a number", True),
    "floor above cap": ("= -0.05", "= 0.5", "network.price_floor_per_kwh", "0.5 is above", False),
    "cap too fine": (
        "cap_per_kwh = 0.4",
        "cap_per_kwh = 0.4000001",
        "network.price_cap_per_kwh",
        "is finer than a millionth of a token",
        False,
    ),
    "cap out of range": (
        "cap_per_kwh = 0.4",
        "cap_per_kwh = 2001",
        "network.price_cap_per_kwh",
        "to 2000",
        True,
    ),
    "unknown key of the network": ("nodes =", "loss = 0\nnodes =", "network.loss", "unknown", True),
    "link is a text": ("[{ from", '["a -> b", { from', "network.links[0]", "a table", True),
    "link from nowhere": (
        'from = "a"',
        'from = "z"',
        "network.links[0].from",
        "one of a, b",
        False,
    ),
    "link to itself": ('to = "b"', 'to = "a"', "network.links[0].to", "must not end where", False),
    "link without end": ('to = "b", ', "", "network.links[0].to", "is missing", True),
    "negative tariff": ("0.003, cap", "-1, cap", "network.links[0].tariff_per_kwh", "from 0", True),
    "negative capacity": ("= 50,", "= -1,", "network.links[0].capacity_kw", "at least 0", True),
    "vast capacity": ("= 50,", "= 1e12,", "network.links[0].capacity_kw", "can hold", False),
    "owner is a number": ('"DSO"', "3", "network.links[0].owner", "must be a text", True),
    "unknown key of a link": ("owner =", "owned =", "network.links[0].owned", "'owner'?", True),
    "peers is a table": (PEERS, "[peers]\n", "peers", "must be a list", True),
    "no peers": (PEERS, "", "peers", "there is none", True),
    "peer without name": ('name = "S"\n', "", "peers[0].name", "is missing", True),
    "peer twice": ('name = "K"', 'name = "S"', "peers[1].name", "'S' is there twice", False),
    "peer with a line break": ('name = "K"', 'name = "K\\n2"', "peers[1].name", "plain", False),
    "unknown role": (
        '"supplier"\nnode',
        '"suplier"\nnode',
        "peers[0].role",
        "did you mean 'supplier'?",
        True,
    ),
    "peer on no node": ('node = "b"', 'node = "z"', "peers[1].node", "must be one of a, b", False),
    "node left out": ('node = "b"\n', "", "peers[1].node", "is missing; write one of a, b", False),
    "no such supplier": (
        'node = "b"',
        'node = "b"\nsupplier = "Q"',
        "peers[1].supplier",
        "one of R, none",
        False,
    ),
    "community is a text": (
        "community = 2",
        'community = "2"',
        "peers[0].community",
        "whole",
        True,
    ),
    "negative community": ("community = 2", "community = -2", "peers[0].community", "0 to", True),
    "negative need": ("need = 2", "need = -2", "peers[1].need", "of at least 0", True),
    "infinite connection": ("= 11", "= inf", "peers[1].connection_kw", "of at least 0", False),
    "huge whole number": ("= 11", f"= {10**400}", "peers[1].connection_kw", "at least 0", False),
    "unknown key of a peer": ("need = 2", "needs = 2", "peers[1].needs", "'need'?", True),
    "asset is a text": (
        '[{ kind = "generator"',
        '["a", { kind = "generator"',
        "peers[0].assets[0]",
        "must be a table",
        True,
    ),
    "no kind": ('kind = "pv", ', "", "peers[1].assets[1].kind", "is missing", True),
    "wrong kind": ('"storage"', '"storge"', "peers[1].assets[2].kind", "mean 'storage'?", True),
    "load without energy": (
        'kind = "pv", energy_kwh = 0.5',
        'kind = "pv"',
        "peers[1].assets[1].energy_kwh",
        "missing",
        True,
    ),
    "negative load": (
        "[1, 2, 3, 4]",
        "[1, 2, -3, 4]",
        "peers[1].assets[0].energy_kwh[2]",
        "must be a number of at least 0, not -3",
        True,
    ),
    "load is NaN": (
        "[1, 2, 3, 4]",
        "[1, 2, nan, 4]",
        "peers[1].assets[0].energy_kwh[2]",
        "nan",
        False,
    ),
    "load is infinite": ("[1, 2, 3, 4]", "inf", "peers[1].assets[0].energy_kwh", "not inf", False),
    "load too long": (
        "[1, 2, 3, 4]",
        "[1, 2, 3, 4, 5]",
        "peers[1].assets[0].energy_kwh",
        "has 5 values for 4 periods",
        False,
    ),
    "no such profile": (
        "[1, 2, 3, 4]",
        '"load.csv"',
        "peers[1].assets[0].energy_kwh",
        "there is no file",
        False,
    ),
    "profile elsewhere": (
        "[1, 2, 3, 4]",
        '"../load.csv"',
        "peers[1].assets[0].energy_kwh",
        "must be a file in the folder of the case",
        False,
    ),
    "profile table without file": (
        "[1, 2, 3, 4]",
        '{ column = "K" }',
        "peers[1].assets[0].energy_kwh.file",
        "is missing",
        True,
    ),
    "unknown key of a profile": (
        "[1, 2, 3, 4]",
        '{ file = "a.csv", unit = "Wh" }',
        "peers[1].assets[0].energy_kwh.unit",
        "is unknown",
        True,
    ),
    "efficiency of nothing": (
        "charge_efficiency = 0.9, d",
        "charge_efficiency = 0, d",
        "peers[1].assets[2].charge_efficiency",
        "must be more than 0 and at most 1, not 0",
        True,
    ),
    "efficiency above one": (
        "discharge_efficiency = 0.8",
        "discharge_efficiency = 1.1",
        "peers[1].assets[2].discharge_efficiency",
        "must be 0 to 1, not 1.1",
        True,
    ),
    "negative efficiency": (
        "efficiency = 0.9 }",
        "efficiency = -0.9 }",
        "peers[1].assets[3].efficiency",
        "0 to 1",
        True,
    ),
    "more in it than fits": (
        "initial_kwh = 1",
        "initial_kwh = 6",
        "peers[1].assets[2].initial_kwh",
        "6 kWh do not fit into 5 kWh",
        False,
    ),
    "negative power": (
        "power_kw = 4,",
        "power_kw = -4,",
        "peers[1].assets[3].power_kw",
        "at least 0, not -4",
        True,
    ),
    "share above one": ("share = 0.5", "share = 1.5", "peers[1].assets[5].share", "0 to 1", True),
    "generator not convex": (
        "cost_per_kwh = 0.02 }",
        "cost_per_kwh = 0.02, quadratic_cost_per_kwh2 = -1 }",
        "peers[0].assets[0].quadratic_cost_per_kwh2",
        "would not be convex",
        True,
    ),
    "least power above the power": (
        "cost_per_kwh = 0.02 }",
        "cost_per_kwh = 0.02, least_power_kw = 50 }",
        "peers[0].assets[0].least_power_kw[0]",
        "is above power_kw",
        False,
    ),
    "field of another kind": (
        'kind = "pv"',
        'kind = "pv", share = 1',
        "peers[1].assets[1].share",
        "is unknown",
        True,
    ),
    "objective is a number": ('"1.5"', "1.5", "published.objective", "must be a text", True),
    "objective is no number": ('"1.5"', '"1,5"', "published.objective", "must be a number", True),
    "result of a stranger": (
        "import_kwh = { S = 0,",
        "import_kwh = { Z = 1, S = 0,",
        "published.import_kwh",
        "one entry for each peer",
        False,
    ),
    "result missing": (
        "import_kwh = { S = 0,",
        "import_kwh = {",
        "published.import_kwh",
        "one",
        False,
    ),
    "negative result": (
        "import_kwh = { S = 0, K = 30",
        "import_kwh = { S = 0, K = -3",
        "published.import_kwh.K",
        "from 0 to",
        True,
    ),
    "result too fine": (
        "import_kwh = { S = 0, K = 30",
        "import_kwh = { S = 0, K = 0.0001",
        "published.import_kwh.K",
        "finer than one Wh",
        False,
    ),
    "unknown result": ("objective =", "x = 1\nobjective =", "published.x", "is unknown", True),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_load__malformed__is_refused_with_its_place(tmp_path: Path, what: str) -> None:
    old, new, place, problem, _ = MALFORMED[what]
    assert old in SMALL
    with pytest.raises(CaseError) as refusal:
        load(tmp_path, SMALL.replace(old, new, 1))
    assert refusal.value.path == f"{tmp_path / 'small' / 'case.toml'}: {place}"
    assert problem in refusal.value.problem


def test_load__without_suppliers__needs_a_price_cap(tmp_path: Path) -> None:
    text = LEAST[: LEAST.index("[[suppliers]]")] + LEAST[LEAST.index("[[peers]]") :]
    with pytest.raises(CaseError) as refusal:
        load(tmp_path, text)
    assert refusal.value.path.endswith("case.toml: network.price_cap_per_kwh")
    assert refusal.value.problem == "is missing; without suppliers nothing bounds the prices"


# ----------------------------------------------------------------------------------------- schema


def as_json(value: Any) -> Any:
    """TOML as a schema sees it: dates are strings."""
    if isinstance(value, dict):
        return {key: as_json(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [as_json(entry) for entry in value]
    return value.isoformat() if isinstance(value, date | time) else value


def complaints(text: str) -> list[str]:
    document = as_json(tomllib.loads(text))
    return [error.message for error in Draft202012Validator(schema()).iter_errors(document)]


def test_schema__itself__is_valid_and_describes_every_field() -> None:
    document = schema()
    Draft202012Validator.check_schema(document)

    def fields(node: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict):
            for name, entry in node.get("properties", {}).items():
                yield name, entry
            for entry in node.values():
                yield from fields(entry)

    described = [(name, entry) for name, entry in fields(document["$defs"]) if name != "kind"]
    assert len(described) > 60
    assert [name for name, entry in described if not entry.get("description")] == []
    for name, entry in described:
        unit = re.search(r"_(kwh2?|kw|minutes)$", name)
        words = {"kwh": "kWh", "kwh2": "kWh^2", "kw": "kW", "minutes": "minutes"}
        assert unit is None or words[unit[1]] in entry["description"] or "kwh" in name, name


@pytest.mark.parametrize("name", names())
def test_schema__every_case_of_the_project__is_valid(name: str) -> None:
    assert complaints((ROOT / "cases" / name / "case.toml").read_text("utf-8")) == []


@pytest.mark.parametrize("text", [SMALL, LEAST, BASED], ids=["small", "least", "based on another"])
def test_schema__what_the_reader_takes__is_valid(text: str) -> None:
    assert complaints(text) == []


@pytest.mark.parametrize("what", MALFORMED)
def test_schema__what_the_reader_refuses__is_refused_as_far_as_a_schema_can(what: str) -> None:
    old, new, *_, said_by_schema = MALFORMED[what]
    assert bool(complaints(SMALL.replace(old, new, 1))) is said_by_schema


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[1, 2, 3, 4]", "0"),
        ("[1, 2, 3, 4]", "2.5"),
        ("[1, 2, 3, 4]", '{ file = "rows.csv", scale = 2 }'),
        ("[1, 2, 3, 4]", '"rows.csv:other"'),
        ('"00:30"', "00:30:00"),
        ('"00:30"', '"00:30:00"'),
        (
            'arrival = "00:30", departure = "01:30"',
            "arrival = 2019-01-01T00:30:00, departure = 2019-01-01T01:30:00Z",
        ),
        ("start = 2019-01-01\n", "start = 2019-01-01T00:00:00+01:00\n"),
        ("start = 2019-01-01\n", 'start = "2019-01-01 00:00"\n'),
        ('objective = "1.5"', 'objective = "-1.5e3"'),
        (', owner = "DSO"', ""),
        ("community = 2\n", "community = 0\n"),
        ('"supplier"\nnode', '"producer"\nnode'),
        ("= -0.01", "= 0.2"),
        (SMALL[SMALL.index("[published]") :], ""),
    ],
)
def test_schema_and_reader__variations_that_are_allowed__take_them(
    tmp_path: Path, old: str, new: str
) -> None:
    text = only(old, new)
    assert complaints(text) == []
    load(tmp_path, text, rows=ROWS.replace("2019-01-01T00:00", "2019-01-01T00:00"))


# ------------------------------------------------------------------------------------------ check


def test_check__good_case__finds_nothing(tmp_path: Path) -> None:
    findings = check(put(tmp_path, re.sub(r"= \[(\d\.?\d*)(, \d\.?\d*)+\]", r"= \1", SMALL)))
    assert findings.errors == ()


def test_check__many_mistakes__tells_all_of_them(tmp_path: Path) -> None:
    slips = [
        "no title",
        "negative fee",
        "unknown key of a supplier",
        "retail has a text",
        "no kind",
        "unknown role",
        "efficiency of nothing",
        "negative capacity",
        "share above one",
        "peer on no node",
        "unknown result",
        "unknown key",
        "unknown key of a horizon",
    ]
    text = SMALL
    for what in slips:
        old, new, *_ = MALFORMED[what]
        assert old in text, what
        text = text.replace(old, new, 1)
    found = {str(error.path).partition(": ")[2] for error in check(put(tmp_path, text)).errors}
    other_horizon = {"suppliers[0].retail_per_kwh", "peers[1].assets[0].energy_kwh"}
    assert found == {MALFORMED[what][2] for what in slips} | other_horizon


def test_check__other_horizon_that_profiles_do_not_cover__is_an_error(tmp_path: Path) -> None:
    text = only("[1, 2, 3, 4]", '"rows.csv"').replace("[0.3, 0.3, 0.2, 0.2]", "0.3")
    text = text.replace("start = 2019-01-01T01:00:00", "start = 2019-01-02T01:00:00")
    (error,) = check(put(tmp_path, text, rows=ROWS)).errors
    assert error.path == str(tmp_path / "small" / "rows.csv")
    assert error.problem.startswith("covers 2019-01-01T00:00Z to 2019-01-01T03:00Z, the horizon is")


def test_check__file_that_is_wrong__is_told_once_for_all_peers(tmp_path: Path) -> None:
    peer = '[[peers]]\nname = "L"\nassets = [{ kind = "load", energy_kwh = "rows.csv:K" }]\n'
    text = LEAST + peer + peer.replace('"L"', '"M"')
    errors = check(put(tmp_path, text, rows="time,K\nsoon,1\n")).errors
    assert [error.path for error in errors] == [f"{tmp_path / 'small' / 'rows.csv'}, row 2"]


@pytest.mark.parametrize("content", ["", "title = ", "x = 1", "[horizon]\nstart = 5\n"])
def test_check__little_to_go_on__tells_what_there_is(tmp_path: Path, content: str) -> None:
    assert check(put(tmp_path, content)).errors != ()


def test_check__no_such_case__is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no such case"):
        check("nothing", tmp_path)


def home(asset: str, more: str = "") -> str:
    return LEAST[: LEAST.index("assets")] + f"{more}assets = [{asset}]\n"


ODD = {
    "load of zero": (home('{ kind = "load", energy_kwh = 0 }'), "load", "is zero in all periods"),
    "no assets": (home(""), "", "has no assets"),
    "in Wh": (
        home(f'{{ kind = "load", energy_kwh = {[300, 650, 200] * 8} }}'),
        "load",
        "has only whole numbers, up to 650: is it in Wh or W instead of kWh?",
    ),
    "huge": (
        home(f'{{ kind = "pv", energy_kwh = {[0.5] * 12 + [9999.5] * 12} }}'),
        "pv",
        "is 5,000 kW on average: a plant, or is it in Wh or W instead of kWh?",
    ),
    "tiny": (
        home(f'{{ kind = "load", energy_kwh = {[0.0004] * 24} }}'),
        "load",
        "is 0.4 W on average: is it in MWh instead of kWh?",
    ),
    "sun at night": (
        home(f'{{ kind = "pv", energy_kwh = {[0.0] * 3 + [1.5] * 21} }}'),
        "pv",
        "generates 1.5 kWh at 2019-01-01 02:00 local time; is time_zone right?",
    ),
    "no supplier": (
        home('{ kind = "load", energy_kwh = 1 }', 'supplier = "none"\n'),
        "",
        "has no supplier",
    ),
    "small connection": (
        home('{ kind = "load", energy_kwh = 12 }', "connection_kw = 11\n"),
        "connection_kw",
        "its loads take up to 12 kW, its connection carries 11",
    ),
}


@pytest.mark.parametrize("what", ODD)
def test_check__odd_peer__is_a_warning(tmp_path: Path, what: str) -> None:
    text, place, problem = ODD[what]
    findings = check(put(tmp_path, text))
    assert findings.errors == ()
    ((path, found),) = findings.warnings
    assert path == ("peers['K']." + place).rstrip(".")
    assert problem in found


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        (LEAST.replace("0.3", "30"), "suppliers['R'].retail_per_kwh", "30 per kWh is high"),
        (LEAST + "[network]\nprice_cap_per_kwh = 0.2\n", "network.price_cap_per_kwh", "0.3 of 'R'"),
        (
            LEAST.replace('name = "K"', 'name = "K"\nnode = "a"')
            + '[network]\nnodes = ["a", "b"]\n'
            'links = [{ from = "a", to = "b", tariff_per_kwh = 0, capacity_kw = 1 }]\n',
            None,
            None,
        ),
        (
            LEAST.replace('name = "K"', 'name = "K"\nnode = "a"') + '[network]\nnodes = ["a"]\n',
            None,
            None,
        ),
    ],
)
def test_check__odd_community__is_a_warning(
    tmp_path: Path, text: str, path: str | None, problem: str | None
) -> None:
    warnings = check(put(tmp_path, text)).warnings
    if path is None or problem is None:
        assert warnings == ()
        return
    ((found_at, found),) = warnings
    assert found_at == path
    assert problem in found


def test_check__node_without_anybody__is_a_warning(tmp_path: Path) -> None:
    text = LEAST.replace('name = "K"', 'name = "K"\nnode = "a"') + '[network]\nnodes = ["a", "b"]\n'
    assert check(put(tmp_path, text)).warnings == (
        ("network.nodes", "no link leads to or from 'a'"),
        ("network.nodes", "nobody and no link is at 'b'"),
    )


# ------------------------------------------------------------------------------------------- book


def test_book__assets_that_know_one_period__bid_and_ask(tmp_path: Path) -> None:
    text = only('    { kind = "storage"', '#   { kind = "storage"')
    lines = [
        line
        for line in text.splitlines()
        if not re.search(r'kind = "(ev|shiftable|heat|curtail)', line)
    ]
    book = load(tmp_path, "\n".join(lines)).book(2)
    assert [(o.id, o.side, o.price_micro_per_kwh, o.energy_wh) for o in book.orders] == [
        ("S/generator", Side.ASK, 20_000, 20_000),
        ("K/load", Side.BID, 200_000, 3_000),
        ("K/pv", Side.ASK, 0, 500),
    ]


def test_book__storage__needs_a_plan(tmp_path: Path) -> None:
    with pytest.raises(CommunityError, match="plan the day"):
        load(tmp_path, SMALL).book()


# ---------------------------------------------------------------------------------------- writing


def test_write_example__in_a_new_folder__is_a_case_without_complaints(tmp_path: Path) -> None:
    case = write_example(tmp_path / "mine")
    assert case.name == "mine"
    assert {"load", "pv", "storage", "ev", "shiftable-load"} == {
        asset.kind for peer in case.community.peers for asset in peer.assets
    }
    findings = check(tmp_path / "mine")
    assert (findings.errors, findings.warnings) == ((), ())
    assert complaints((tmp_path / "mine" / "case.toml").read_text("utf-8")) == []


def test_docs__example__is_the_one_that_is_written(tmp_path: Path) -> None:
    write_example(tmp_path / "mine")
    page = (ROOT / "docs" / "cases.md").read_text("utf-8")
    shown, based = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown == (tmp_path / "mine" / "case.toml").read_text("utf-8")
    assert based in (ROOT / "cases" / "corby-without-plant" / "case.toml").read_text("utf-8") or (
        complaints(based) == []
    )
    (rows,) = re.findall(r"^```csv\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert (tmp_path / "mine" / "load.csv").read_text("utf-8").startswith(rows)


def test_docs__every_field__is_on_the_page() -> None:
    page = (ROOT / "docs" / "cases.md").read_text("utf-8")
    for name, part in schema()["$defs"].items():
        for field in part.get("properties", {}):
            assert re.search(rf"[`\[{{,] ?{field}\b", page), (name, field)


def test_write__folder_with_something_in_it__is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CaseError, match="is there already and not empty; choose another folder"):
        write_example(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_write__no_folder_above__is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="there is no folder"):
        write_example(tmp_path / "a" / "b")


def homes(folder: Path, load: str, pv: str | None = None, **options: Any) -> Case:
    (folder / "in.csv").write_text(load, encoding="utf-8")
    if pv is not None:
        (folder / "sun.csv").write_text(pv, encoding="utf-8")
    sun = None if pv is None else folder / "sun.csv"
    return write_from_profiles(folder / "mine", folder / "in.csv", sun, **options)


def rows(columns: str, count: int, minutes: int = 60, value: str = "0.5") -> str:
    times = (NOON + at * timedelta(minutes=minutes) for at in range(count))
    cells = f",{value}" * len(columns.split(","))
    return f"time,{columns}\n" + "".join(f"{at.isoformat()}{cells}\n" for at in times)


def test_write_from_profiles__columns__become_homes(tmp_path: Path) -> None:
    case = homes(tmp_path, rows('A,"B ""x"""', 60), rows("A,roof", 60))
    kinds = {peer.name: [asset.kind for asset in peer.assets] for peer in case.community.peers}
    assert kinds == {"A": ["load", "pv"], 'B "x"': ["load"], "roof": ["pv"]}
    assert case.community.horizon == Horizon(START + 86_400, 3600, 48)
    assert case.horizons["all"] == Horizon(START + 43_200, 3600, 60)
    supplier = case.community.suppliers[0]
    assert (supplier.retail_per_kwh, supplier.feed_in_per_kwh) == (0.30, 0.08)
    assert complaints((tmp_path / "mine" / "case.toml").read_text("utf-8")) == []


def test_write_from_profiles__rows_of_other_lengths__take_the_longer(tmp_path: Path) -> None:
    case = homes(tmp_path, rows("A", 48 * 4, 15), rows("A", 40, 60, "1"))
    assert case.community.horizon.period_seconds == 3600
    load, pv = case.community.peers[0].assets
    assert load.over("energy_kwh", 24).tolist() == [2.0] * 24
    assert pv.over("energy_kwh", 24).tolist() == [1.0] * 24


def test_write_from_profiles__options__are_in_the_case(tmp_path: Path) -> None:
    case = homes(
        tmp_path,
        rows("A", 60),
        retail_per_kwh=0.4,
        feed_in_per_kwh=0.1,
        zone_name="+01:00",
        start=NOON + timedelta(hours=2),
        days=1,
        period_minutes=30,
    )
    assert case.community.horizon == Horizon(START + 13 * 3600, 1800, 48)
    assert case.community.retail_per_kwh[0, 0] == 0.4
    assert case.community.feed_in_per_kwh[0, 0] == 0.1


def test_write_from_profiles__less_than_a_day__takes_all_of_it(tmp_path: Path) -> None:
    assert homes(tmp_path, rows("A", 5)).community.horizon == Horizon(START + 43_200, 3600, 5)


@pytest.mark.parametrize(
    ("load", "pv", "options", "path", "problem"),
    [
        ("time,A\nsoon,1\n", None, {}, "in.csv, row 2", "is no time"),
        (rows("A", 40, value=""), None, {}, "in.csv, row 14, column 'A'", "is missing"),
        (rows("A", 40), rows("A", 40, value="-1"), {}, "sun.csv, row 14, column 'A'", "at least 0"),
        (rows("A", 40), rows("A", 40).replace("2019", "2020"), {}, "profiles", "no time in common"),
        (rows("A", 40), None, {"feed_in_per_kwh": 0.5}, "suppliers[0].feed_in_per_kwh[0]", "above"),
        (rows("A", 40), None, {"zone_name": "Mars"}, "time_zone", "is no time zone"),
        (rows("A", 40), None, {"days": 9}, "in.csv", "the horizon is"),
    ],
)
def test_write_from_profiles__malformed__names_the_users_file_and_writes_nothing(
    tmp_path: Path, load: str, pv: str | None, options: dict[str, Any], path: str, problem: str
) -> None:
    with pytest.raises(CaseError) as refusal:
        homes(tmp_path, load, pv, **options)
    assert refusal.value.path.endswith(path)
    assert problem in refusal.value.problem
    assert {entry.name for entry in tmp_path.iterdir()} <= {"in.csv", "sun.csv"}


@pytest.mark.parametrize("peers", [1, 2, 40])
def test_write_synthetic__so_many_peers__are_plausible_homes(tmp_path: Path, peers: int) -> None:
    case = write_synthetic(tmp_path / "made-up", peers, seed=7)
    community = case.community
    assert len(community.peers) == peers
    assert community.horizon.periods == 168
    findings = check(tmp_path / "made-up")
    assert (findings.errors, findings.warnings) == ((), ())
    yearly = [_sum(peer, Load) * 365 / 7 for peer in community.peers]
    assert all(1_000 < energy < 8_000 for energy in yearly)
    sunny = [_sum(peer, Photovoltaic) for peer in community.peers]
    assert sum(energy > 0 for energy in sunny) == round(peers / 2)
    assert sum(any(peer.of_kind(Storage)) for peer in community.peers) == round(peers / 4)


def _sum(peer: Peer, kind: type[Asset]) -> float:
    return float(sum(asset.over("energy_kwh", 168).sum() for asset in peer.of_kind(kind)))


def test_write_synthetic__same_seed__is_the_same_community(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic(tmp_path / name, 6, seed, days=1, period_minutes=15)
    texts = {name: (tmp_path / name / "load.csv").read_text("utf-8") for name in "abc"}
    assert texts["a"] == texts["b"] != texts["c"]
    assert (tmp_path / "a" / "case.toml").read_text("utf-8") == (
        tmp_path / "b" / "case.toml"
    ).read_text("utf-8")


def test_write_synthetic__periods_that_do_not_fill_the_day__are_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="whole periods"):
        write_synthetic(tmp_path / "a", 2, 1, days=1, period_minutes=7)
    assert list(tmp_path.iterdir()) == []


def test_schema__as_a_file__is_packed_with_the_code() -> None:
    packed = ROOT / "offchain" / "fairwatt" / "cases" / "schemas" / "case.schema.json"
    assert json.loads(packed.read_text("utf-8")) == schema()
