"""CSV and Parquet files: every way a table may be laid out, and local times at clock changes."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from fairwatt import metering
from fairwatt.errors import MeterDataError
from fairwatt.metering import Channel, Mapping

if TYPE_CHECKING:
    from pathlib import Path

QUARTER, HOUR, DAY = 900, 3600, 86_400
ZONES = [  # a day clocks go forward and one they go back
    ("Europe/Madrid", "2019-03-31", "2019-10-27"),
    ("America/New_York", "2019-03-10", "2019-11-03"),
    ("Australia/Sydney", "2019-10-06", "2019-04-07"),
    ("Australia/Lord_Howe", "2019-10-06", "2019-04-07"),  # half an hour
]


def unix(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def mapped(folder: Path, text: str) -> Mapping:
    path = folder / "map.toml"
    path.write_text(text, encoding="utf-8")
    return Mapping.load(path)


def written(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# ----------------------------------------------------------------------------------------- layouts


def test_profile__without_mapping__import_in_kwh(tmp_path: Path) -> None:
    path = written(tmp_path, "time,a,b\n2019-01-01T00:00Z,0.250,1\n2019-01-01T00:15Z,0.125,2.5\n")
    data = metering.load(path)
    assert data.channels == (Channel("a", "import"), Channel("b", "import"))
    assert data.energy_wh.tolist() == [[250, 125], [1000, 2500]]
    assert data.start == unix("2019-01-01T00:00+00:00")
    assert data.period_seconds == QUARTER


def test_rows_of_meters__one_below_the_other__in_any_sequence(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "id;when;Wh\nb;2019-01-01 01:15;4\na;2019-01-01 01:00;1\n"
        "b;2019-01-01 01:00;3\na;2019-01-01 01:15;2\n",
    )
    mapping = mapped(
        tmp_path,
        'time = "when"\nmeter = "id"\ntime_zone = "Europe/Madrid"\n'
        '[[values]]\ncolumn = "Wh"\nunit = "Wh"\n[checks]\nmean_low_w = 0\n',
    )
    data = metering.load(path, mapping)
    assert data.meters == ("a", "b")
    assert data.energy_wh.tolist() == [[1, 2], [3, 4]]
    assert data.start == unix("2019-01-01T00:00+00:00")


@pytest.mark.parametrize(
    ("unit", "kind", "expected"),
    [
        ("Wh", "interval", 2),
        ("kWh", "interval", 2_000),
        ("MWh", "interval", 2_000_000),
        ("W", "power", 1),
        ("kW", "power", 500),
        ("MW", "power", 500_000),
    ],
)
def test_unit__of_energy_or_of_power__is_scaled(
    unit: str, kind: str, expected: int, tmp_path: Path
) -> None:
    path = written(tmp_path, "time,a\n2019-01-01T00:00Z,2\n2019-01-01T00:15Z,2\n")
    mapping = mapped(
        tmp_path,
        f'[[values]]\nunit = "{unit}"\nkind = "{kind}"\n[checks]\nrating_w = 1e9\nmean_low_w = 0\n',
    )
    energy = metering.load(path, mapping).energy_wh
    assert energy.sum() == 2 * expected if kind != "power" or unit != "W" else energy.sum() == 1


def test_import_and_export__columns_of_a_row__two_channels(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "meter,time,in,out\nh1,2019-01-01T00:00Z,100,0\nh1,2019-01-01T00:15Z,50,25\n",
    )
    mapping = mapped(
        tmp_path,
        'time = "time"\nmeter = "meter"\n'
        '[[values]]\ncolumn = "in"\nunit = "Wh"\n'
        '[[values]]\ncolumn = "out"\nunit = "Wh"\ndirection = "export"\n',
    )
    data = metering.load(path, mapping)
    assert data.channels == (Channel("h1", "import"), Channel("h1", "export"))
    assert data.injected_wh().tolist() == [[-100, -25]]


def test_obis_codes__rows_are_told_apart__by_where(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "time,meter,obis,value\n"
        "2019-01-01T00:00Z,m,1-1:1.8.0,10.000\n2019-01-01T00:00Z,m,1-1:2.8.0,3\n"
        "2019-01-01T00:15Z,m,1-1:1.8.0,10.100\n2019-01-01T00:15Z,m,1-1:2.8.0,3.5\n"
        "2019-01-01T00:30Z,m,1-1:1.8.0,10.300\n2019-01-01T00:30Z,m,1-1:2.8.0,3.5\n",
    )
    mapping = mapped(
        tmp_path,
        'time = "time"\nmeter = "meter"\n'
        '[[values]]\ncolumn = "value"\nkind = "register"\nwhere = { obis = "1-1:1.8.0" }\n'
        '[[values]]\ncolumn = "value"\nkind = "register"\ndirection = "export"\n'
        'where = { obis = "1-1:2.8.0" }\n',
    )
    data = metering.load(path, mapping)
    assert data.energy_wh.tolist() == [[100, 200], [500, 0]]


def test_german_table__semicolons_decimal_commas_dates_and_missing__are_read(
    tmp_path: Path,
) -> None:
    path = written(
        tmp_path,
        "Zeitstempel;Zähler 1\n31.12.2019 23:45;0,25\n01.01.2020 00:00;-\n01.01.2020 00:15;1,5\n",
    )
    mapping = mapped(
        tmp_path,
        'time = "Zeitstempel"\ntime_format = "%d.%m.%Y %H:%M"\ntime_zone = "Europe/Berlin"\n'
        'missing = ["-"]\n',
    )
    data = metering.load(path, mapping, policy="estimate")
    assert data.energy_wh.tolist() == [[250, 875, 1500]]
    assert data.estimated.tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ("day", "hours"), [("2019-03-31", 23), ("2019-10-27", 25), ("2019-06-01", 24)]
)
def test_spanish_table__hours_of_the_day_from_1__have_23_24_or_25(
    day: str, hours: int, tmp_path: Path
) -> None:
    date = datetime.fromisoformat(day)
    rows = "".join(f"ES01;{date:%d/%m/%Y};{hour};0,{hour:03}\n" for hour in range(1, hours + 1))
    path = written(tmp_path, "CUPS;Fecha;Hora;Consumo_kWh\n" + rows)
    mapping = mapped(
        tmp_path,
        'time = "Fecha"\ntime_format = "%d/%m/%Y"\nnumber = "Hora"\ninterval_minutes = 60\n'
        'meter = "CUPS"\ntime_zone = "Europe/Madrid"\n'
        '[[values]]\ncolumn = "Consumo_kWh"\n',
    )
    data = metering.load(path, mapping, period_seconds=HOUR)
    assert data.energy_wh.tolist() == [list(range(1, hours + 1))]
    assert data.start == int(date.replace(tzinfo=ZoneInfo("Europe/Madrid")).timestamp())


def test_unix_seconds__as_times__are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "t,a\n1546300800,1\n1546301700,2\n")
    mapping = mapped(tmp_path, 'time_format = "unix"\n')
    assert metering.load(path, mapping).start == 1_546_300_800


def test_compressed_csv__is_read(tmp_path: Path) -> None:
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(b"time,a\n2019-01-01T00:00Z,1\n2019-01-01T00:15Z,2\n"))
    assert metering.load(path).energy_wh.tolist() == [[1000, 2000]]


def test_descending_rows__and_end_marks__are_put_right(tmp_path: Path) -> None:
    path = written(tmp_path, "time,a\n2019-01-01T00:30Z,2\n2019-01-01T00:15Z,1\n")
    data = metering.load(path, mapped(tmp_path, 'time_marks = "end"\n'))
    assert data.start == unix("2019-01-01T00:00+00:00")
    assert data.energy_wh.tolist() == [[1000, 2000]]


def test_parquet__side_by_side_and_below_each_other__as_csv(tmp_path: Path) -> None:
    times = pd.date_range("2019-01-01", periods=4, freq="15min", tz="Europe/Madrid")
    wide = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [0.5, 0.25, 0, 1]}, index=times)
    wide.to_parquet(tmp_path / "wide.parquet")
    long = wide.melt(ignore_index=False, var_name="id", value_name="kwh").reset_index(names="t")
    long.sample(frac=1, random_state=1).to_parquet(tmp_path / "long.parquet")
    mapping = mapped(tmp_path, 'time = "t"\nmeter = "id"\n[[values]]\ncolumn = "kwh"\n')
    for data in (
        metering.load(tmp_path / "wide.parquet"),
        metering.load(tmp_path / "long.parquet", mapping),
    ):
        assert data.meters == ("a", "b")
        assert data.energy_wh.tolist() == [[1000, 2000, 3000, 4000], [500, 250, 0, 1000]]
        assert data.start == unix("2018-12-31T23:00+00:00")


def test_meters_of_different_intervals__in_one_file__each_to_the_period(tmp_path: Path) -> None:
    minutes = [f"fast,2019-01-01T00:{at:02}Z,0.001" for at in range(60)]
    halves = ["slow,2019-01-01T00:00Z,1", "slow,2019-01-01T00:30Z,3"]
    path = written(tmp_path, "id,t,kwh\n" + "\n".join(minutes + halves) + "\n")
    mapping = mapped(tmp_path, 'time = "t"\nmeter = "id"\n[[values]]\ncolumn = "kwh"\n')
    data = metering.load(path, mapping)
    assert data.energy_wh.tolist() == [[15] * 4, [500, 500, 1500, 1500]]


def test_times_a_few_seconds_late__are_put_on_the_minute_and_reported(tmp_path: Path) -> None:
    rows = "".join(f"2019-01-01T00:{15 * at:02}:0{at + 1}Z,1\n" for at in range(4))
    data = metering.load(written(tmp_path, "time,a\n" + rows))
    assert data.energy_wh.tolist() == [[1000] * 4]
    assert [(each.kind, each.action) for each in data.findings] == [("clock", "corrected")]


# ----------------------------------------------------------------------------------- clock changes


def local_quarters(zone: str, day: str, minutes: int = 15) -> list[tuple[int, datetime]]:
    """Starts of the intervals of three days around one, with what the clock shows."""
    place = ZoneInfo(zone)
    first = datetime.fromisoformat(day).replace(tzinfo=place) - timedelta(days=1)
    last = datetime.fromisoformat(day).replace(tzinfo=place) + timedelta(days=2)
    moments = range(int(first.timestamp()), int(last.timestamp()), 60 * minutes)
    return [(at, datetime.fromtimestamp(at, place).replace(tzinfo=None)) for at in moments]


@pytest.mark.parametrize("minutes", [15, 30, 60])
@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("case", ZONES)
def test_local_times__over_a_clock_change__each_reading_at_its_moment(
    case: tuple[str, str, str], which: int, minutes: int, tmp_path: Path
) -> None:
    zone = case[0]
    if zone == "Australia/Lord_Howe" and minutes == 60:
        pytest.skip("hours that clocks cut in half")
    intervals = local_quarters(zone, case[which], minutes)
    rows = "".join(f"{shown:%Y-%m-%d %H:%M},0.{at:03}\n" for at, (_, shown) in enumerate(intervals))
    mapping = mapped(tmp_path, f'time_zone = "{zone}"\n')
    data = metering.load(written(tmp_path, "time,a\n" + rows), mapping, period_seconds=60 * minutes)
    assert data.start == intervals[0][0]
    assert data.energy_wh.tolist() == [list(range(len(intervals)))]
    assert data.findings == ()


@pytest.mark.parametrize("style", ["clock", "start"])
@pytest.mark.parametrize("minutes", [15, 60])
@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("case", ZONES[:3])
def test_local_ends__over_a_clock_change__as_the_clock_shows_or_as_start_plus_length(
    case: tuple[str, str, str], which: int, minutes: int, style: str, tmp_path: Path
) -> None:
    intervals = local_quarters(case[0], case[which], minutes)
    length = timedelta(minutes=minutes)
    ends = (
        [shown for _, shown in local_quarters(case[0], case[which], minutes)[1:]]
        + [intervals[-1][1] + length]
        if style == "clock"
        else [shown + length for _, shown in intervals]
    )
    rows = "".join(f"{shown:%Y-%m-%d %H:%M},0.{at:03}\n" for at, shown in enumerate(ends))
    mapping = mapped(tmp_path, f'time_zone = "{case[0]}"\ntime_marks = "end"\n')
    data = metering.load(written(tmp_path, "time,a\n" + rows), mapping, period_seconds=60 * minutes)
    assert data.start == intervals[0][0]
    assert data.energy_wh.tolist() == [list(range(len(intervals)))]
    assert data.findings == ()


@pytest.mark.parametrize("layout", ["meter by meter", "time by time", "backward"])
def test_repeated_hour__of_several_meters__is_told_apart_by_sequence(
    layout: str, tmp_path: Path
) -> None:
    intervals = local_quarters("Europe/Madrid", "2019-10-27", 60)
    rows = [
        (name, at, f"{name},{shown:%Y-%m-%dT%H:%M},0.{at:03}")
        for name in "ab"
        for at, (_, shown) in enumerate(intervals)
    ]
    if layout != "meter by meter":
        rows.sort(key=lambda row: row[1], reverse=layout == "backward")
    path = written(tmp_path, "id,t,kwh\n" + "\n".join(row for _, _, row in rows) + "\n")
    mapping = mapped(
        tmp_path,
        'time = "t"\nmeter = "id"\ntime_zone = "Europe/Madrid"\n[[values]]\ncolumn = "kwh"\n',
    )
    data = metering.load(path, mapping, period_seconds=HOUR)
    assert data.energy_wh.tolist() == [list(range(len(intervals)))] * 2


def test_parquet__naive_local_times_of_a_year__8760_hours(tmp_path: Path) -> None:
    times = pd.date_range("2019-01-01", periods=8760, freq="h", tz="Europe/Madrid")
    frame = pd.DataFrame({"t": times.tz_localize(None), "a": np.arange(8760) / 1000})
    frame.to_parquet(tmp_path / "year.parquet")
    data = metering.load(
        tmp_path / "year.parquet",
        mapped(tmp_path, 'time_zone = "Europe/Madrid"\n'),
        period_seconds=HOUR,
    )
    assert data.energy_wh.tolist() == [list(range(8760))]
    assert data.findings == ()


def test_standard_time_all_year__declared_as_local__is_refused_where_clocks_skip(
    tmp_path: Path,
) -> None:
    rows = "".join(f"2019-03-31T0{hour}:00,1\n" for hour in range(6))
    with pytest.raises(MeterDataError) as refused:
        metering.load(
            written(tmp_path, "time,a\n" + rows), mapped(tmp_path, 'time_zone = "Europe/Madrid"\n')
        )
    assert "row 4, meter a: 2019-03-31T02:00 is skipped by a clock change" in str(refused.value)
    data = metering.load(
        written(tmp_path, "time,a\n" + rows), mapped(tmp_path, 'time_zone = "+01:00"\n')
    )
    assert data.energy_wh.sum() == 6000


def test_repeated_hour__that_stands_there_once__leaves_a_gap_of_an_hour(tmp_path: Path) -> None:
    rows = "".join(f"2019-10-27T0{hour}:00,1\n" for hour in range(6))
    data = metering.load(
        written(tmp_path, "time,a\n" + rows),
        mapped(tmp_path, 'time_zone = "Europe/Madrid"\n'),
        period_seconds=HOUR,
        policy="estimate",
    )
    (gap,) = data.findings
    assert (gap.kind, gap.start) == ("gap", unix("2019-10-27T01:00+00:00"))
    assert data.periods == 7


# ------------------------------------------------------------------------------------ broken files


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("time,a\n", "has no readings"),
        ("nonsense\n1\n", "row 1: must be the names of at least two columns"),
        ("time,a\nyesterday,1\n", "row 2, time: 'yesterday' is no time"),
        ("time,a\n2019-01-01T00:00Z,1\n13/01/2019,1\n", "row 3, time: '13/01/2019' is no time"),
        (
            "time,a\n2019-01-01T00:00Z,1\n2019-01-01T00:15,1\n",
            "row 3, time: '2019-01-01T00:15' has no offset",
        ),
        ("time,a\n2019-01-01T00:00Z,1\n,1\n", "row 3, time: has no time"),
        ("time,a\n2019-01-01T00:00Z,1\n2019-01-01T00:15Z,x1\n", "row 3, column 'a'"),
        (
            "time,a\n2019-01-01T00:00Z,1\n2019-01-01T00:15Z,inf\n",
            "meter a: has inf kWh in an interval",
        ),
        ("time,a\n2019-01-01T00:00Z,1\n2019-01-01T00:15Z,1e15\n", "no meter counts that"),
        ("time,a\n2019-01-01T00:00Z,1,2\n", "cannot be read"),
        ("time,a\n2019-01-01T00:00Z,1\n", "has readings at a single time only"),
        ("time,a,a\n2019-01-01T00:00Z,1,1\n", "several columns of the name 'a'"),
        ("time,a\n1,1\n2,2\n", "row 2, time: '1' is no time"),
        ("time,a\n2019-01-01T00:00:00.5Z,1\n", "is no whole second"),
        ("time,a\n2019-01-01T00:00Z,1\n2019-01-01T00:15Z,\x00\n", "is no text"),
    ],
)
def test_broken_csv__is_refused_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(MeterDataError) as refused:
        metering.load(path)
    assert problem in str(refused.value)
    assert str(path) in str(refused.value)


def test_wrong_number__in_rows_of_meters__names_row_and_meter(tmp_path: Path) -> None:
    path = written(tmp_path, "id,t,kwh\na,2019-01-01T00:00Z,1\nb,2019-01-01T00:00Z,1.5.2\n")
    mapping = mapped(tmp_path, 'time = "t"\nmeter = "id"\n[[values]]\ncolumn = "kwh"\n')
    with pytest.raises(
        MeterDataError, match=r"row 3, column 'kwh', meter b: is no number: '1\.5\.2'"
    ):
        metering.load(path, mapping)


def test_row_without_meter__is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "id,t,kwh\na,2019-01-01T00:00Z,1\n,2019-01-01T00:15Z,1\n")
    mapping = mapped(tmp_path, 'time = "t"\nmeter = "id"\n[[values]]\ncolumn = "kwh"\n')
    with pytest.raises(MeterDataError, match="row 3, id: has no meter"):
        metering.load(path, mapping)


def test_missing_file__and_bytes_that_are_no_table__are_refused(tmp_path: Path) -> None:
    with pytest.raises(MeterDataError, match="there is no such file"):
        metering.load(tmp_path / "none.csv")
    for name in ("a.csv", "a.parquet", "a.csv.gz", "a.xml"):
        (tmp_path / name).write_bytes(b"\x89PNG\xff\xfe\r\n\x1a\n" * 50)
        with pytest.raises(MeterDataError):
            metering.load(tmp_path / name)
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(MeterDataError, match="cannot be read"):
        metering.load(tmp_path / "a.parquet")


def test_time_far_away__is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = written(
        tmp_path, "time,a\n1970-01-01T00:00Z,1\n1970-01-01T00:01Z,1\n2199-01-01T00:00Z,1\n"
    )
    with pytest.raises(MeterDataError, match="too much at once"):
        metering.load(path, period_seconds=60)


# ----------------------------------------------------------------------------------------- mapping


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tiem = 'x'", "map.toml: tiem: is unknown; did you mean 'time'?"),
        ("time = 3", "map.toml: time: must be a text"),
        ("time_zone = 'Mars'", "time_zone: 'Mars' is no time zone"),
        ("time_marks = 'middle'", "time_marks: must be one of start, end"),
        ("delimiter = '--'", "delimiter: must be one of"),
        ("meter = 'id'", "values: is missing"),
        ("meter = 'id'\n[[values]]\nunit = 'Wh'", "values[0].column: is missing"),
        ("[[values]]\nunit = 'kwh'", "unit: must be one of"),
        ("[[values]]\nunit = 'kW'", 'unit: kW does not go with kind = "interval"'),
        ("[[values]]\nkind = 'power'", "kWh does not go with kind"),
        ("[[values]]\ndirection = 'out'", "direction: must be one of import, export, net"),
        ("[[values]]\ndigits = 6", "digits: goes with kind"),
        ("number = 'Hora'", "interval_minutes: is missing"),
        ("[checks]\nrating_w = -1", "checks.rating_w: must be a number"),
        ("[checks]\nspike = 1", "checks.spike: is unknown"),
        ("[checks]\naccept = ['gap']", "checks.accept[0]: must be one of negative, spike"),
        ("interval_minutes = 0", "interval_minutes: must be 1 to 1440"),
        ("a = [", "is not readable as TOML"),
    ],
)
def test_mapping__malformed__is_refused_with_its_entry(
    text: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(MeterDataError) as refused:
        mapped(tmp_path, text)
    assert problem in str(refused.value)


def test_mapping__names_a_column_that_is_not_there__says_which_may_be_meant(tmp_path: Path) -> None:
    path = written(tmp_path, "time,home 1\n2019-01-01T00:00Z,1\n")
    mapping = mapped(tmp_path, '[[values]]\ncolumn = "home1"\n')
    with pytest.raises(MeterDataError, match="has no column 'home1'; did you mean 'home 1'"):
        metering.load(path, mapping)


def test_mapping__names_a_meter_twice__is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "time,a,b\n2019-01-01T00:00Z,1,1\n2019-01-01T00:15Z,1,1\n")
    mapping = mapped(
        tmp_path, '[[values]]\ncolumn = "a"\nmeter = "m"\n[[values]]\ncolumn = "b"\nmeter = "m"\n'
    )
    with pytest.raises(MeterDataError, match="meter m: its import comes from 2 columns"):
        metering.load(path, mapping)


# ------------------------------------------------------------------------------------------ output


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_table__written_and_read_again__is_the_same(name: str, tmp_path: Path) -> None:
    path = written(
        tmp_path, "t,a,a2,b\n2019-01-01T00:00Z,1,0,0.123\n2019-01-01T00:15Z,0,2.5,0.001\n"
    )
    columns = "".join(
        f'[[values]]\ncolumn = "{column}"\nmeter = "{meter}"\ndirection = "{direction}"\n'
        for column, meter, direction in (
            ("a", "m", "import"),
            ("a2", "m", "export"),
            ("b", "n", "import"),
        )
    )
    first = metering.load(path, mapped(tmp_path, columns))
    first.write_table(tmp_path / name)
    again = metering.load(
        tmp_path / name,
        mapped(
            tmp_path,
            'time = "time"\nmeter = "meter"\n'
            + "".join(
                f'[[values]]\ncolumn = "energy_wh"\nunit = "Wh"\ndirection = "{direction}"\n'
                f'where = {{ direction = "{direction}" }}\n'
                for direction in ("import", "export")
            ),
        ),
    )
    rows = {channel: first.energy_wh[at].tolist() for at, channel in enumerate(first.channels)}
    assert {c: again.energy_wh[at].tolist() for at, c in enumerate(again.channels)} == rows
    assert again.start == first.start


def test_profiles__written_for_cases__are_what_metering_reads_by_itself(tmp_path: Path) -> None:
    path = written(tmp_path, "t,a,b\n2019-01-01T00:00Z,1,0.25\n2019-01-01T00:15Z,0,0.001\n")
    data = metering.load(path)
    data.write_profiles(tmp_path / "load.csv", "import")
    assert (tmp_path / "load.csv").read_text(encoding="utf-8") == (
        "time,a,b\n2019-01-01T00:00Z,1.000,0.250\n2019-01-01T00:15Z,0.000,0.001\n"
    )
    assert metering.load(tmp_path / "load.csv").energy_wh.tolist() == data.energy_wh.tolist()
    with pytest.raises(MeterDataError, match="no meter has export here, only import"):
        data.write_profiles(tmp_path / "pv.csv", "export")


def test_span__asked_for__is_cut_out(tmp_path: Path) -> None:
    rows = "".join(f"2019-01-01T{hour:02}:00Z,{hour}\n" for hour in range(24))
    path = written(tmp_path, "time,a\n" + rows)
    start, end = unix("2019-01-01T06:00+00:00"), unix("2019-01-01T08:00+00:00")
    data = metering.load(path, start=start, end=end, period_seconds=HOUR)
    assert (data.start, data.energy_wh.tolist()) == (start, [[6000, 7000]])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"period_seconds": 7 * 60}, "divide the day"),
        ({"start": 100}, "must be a boundary of periods"),
        ({"start": 900, "end": 900}, "must be after the start"),
        ({"start": 0, "end": 900}, "24 intervals are missing|has no reading|1 interval"),
        ({"policy": "guess"}, "must be refuse or estimate"),
    ],
)
def test_options__out_of_range__are_refused(
    options: dict[str, int], problem: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "time,a\n2019-01-01T00:00Z,1\n2019-01-01T00:15Z,1\n")
    with pytest.raises(MeterDataError, match=problem):
        metering.load(path, **options)  # type: ignore[arg-type]
