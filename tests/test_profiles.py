"""Profiles: files become one value per period; whatever is wrong is said with file, row, column."""

from __future__ import annotations

import gzip
import re
import time as clock
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairwatt.community import Horizon
from fairwatt.errors import CaseError
from fairwatt.profiles import Profiles, Quantity, moment, time_zone

if TYPE_CHECKING:
    from pathlib import Path

START = 1_546_300_800  # 2019-01-01T00:00Z
FOUR = """\
time,a,b
2019-01-01T00:00,1,2
2019-01-01T01:00,3,4
2019-01-01T02:00,5,6
2019-01-01T03:00,7,8
"""
COMMAS = """\
time;a;b
2019-01-01T00:00;1,0;2
2019-01-01T01:00;3,0;4
2019-01-01T02:00;5,00;6
2019-01-01T03:00;7;8,0
"""
MADRID = ZoneInfo("Europe/Madrid")


def hours(periods: int, *, start: int = START, seconds: int = 3600) -> Horizon:
    return Horizon(start, seconds, periods)


def read(
    folder: Path,
    content: str | bytes = FOUR,
    column: str = "a",
    horizon: Horizon | None = None,
    *,
    file: str = "load.csv",
    quantity: Quantity = "energy",
    zone: str = "UTC",
    **options: float,
) -> list[float]:
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    profiles = Profiles(folder, time_zone(zone, "zone"))
    wanted = horizon or hours(4)
    return profiles.read(file, column, wanted, quantity, "place", **options).tolist()


# ---------------------------------------------------------------------------------------- values


def test_read__rows_as_long_as_periods__are_the_values(tmp_path: Path) -> None:
    assert read(tmp_path) == [1, 3, 5, 7]
    assert read(tmp_path, column="b") == [2, 4, 6, 8]


def test_read__horizon_within_the_rows__takes_its_own(tmp_path: Path) -> None:
    assert read(tmp_path, horizon=hours(2, start=START + 3600)) == [3, 5]


def test_read__longer_rows__spread_energy_and_keep_rates(tmp_path: Path) -> None:
    quarters = hours(4, start=START + 3600, seconds=900)
    assert read(tmp_path, horizon=quarters) == [0.75] * 4
    assert read(tmp_path, horizon=quarters, quantity="rate") == [3.0] * 4


def test_read__horizon_within_a_longer_row__takes_its_part(tmp_path: Path) -> None:
    quarters = hours(3, start=START + 2700, seconds=900)
    assert read(tmp_path, horizon=quarters) == [0.25, 0.75, 0.75]


def test_read__shorter_rows__sum_energy_and_average_rates(tmp_path: Path) -> None:
    assert read(tmp_path, horizon=hours(2, seconds=7200)) == [4, 12]
    assert read(tmp_path, horizon=hours(2, seconds=7200), quantity="rate") == [2, 6]


def test_read__scale__multiplies(tmp_path: Path) -> None:
    assert read(tmp_path, scale=0.5) == [0.5, 1.5, 2.5, 3.5]


def test_read__single_row__is_as_long_as_a_period(tmp_path: Path) -> None:
    assert read(tmp_path, "time,a\n2019-01-01T00:00Z,5\n", horizon=hours(1, seconds=900)) == [5]


@given(st.lists(st.floats(0, 1e3), min_size=8, max_size=8), st.sampled_from([1, 2, 4]))
def test_read__other_periods_and_back__keeps_the_energy(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], merged: int
) -> None:
    folder = tmp_path_factory.mktemp("profiles")
    rows = [(START + at * 900, value) for at, value in enumerate(values)]
    longer = read(folder, table(rows), horizon=hours(8 // merged, seconds=900 * merged))
    rows = [(START + at * 900 * merged, value) for at, value in enumerate(longer)]
    again = read(folder, table(rows), horizon=hours(8, seconds=900), file="again.csv")
    assert sum(longer) == pytest.approx(sum(values))
    assert sum(again) == pytest.approx(sum(values))


def table(rows: list[tuple[int, float]]) -> str:
    lines = [f"{datetime.fromtimestamp(at, UTC).isoformat()},{value!r}" for at, value in rows]
    return "\n".join(["time,a", *lines]) + "\n"


# ----------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + FOUR,
        FOUR.replace(",", ";"),
        FOUR.replace(",", "\t"),
        FOUR.replace("\n", "\r\n"),
        FOUR.replace("\n", "\r"),
        FOUR + "\n\n,,\n",
        FOUR.replace(",", ", "),
        COMMAS,
        FOUR.replace("T", " "),
        FOUR.replace(":00,", ":00:00Z,"),
        FOUR.replace(":00,", ":00+00:00,"),
    ],
    ids=[
        "byte order mark",
        "semicolons",
        "tabs",
        "windows",
        "old mac",
        "empty lines at the end",
        "spaces",
        "decimal commas",
        "space before the time",
        "Z",
        "offset",
    ],
)
def test_read__same_table_written_otherwise__is_the_same(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == [1, 3, 5, 7]


def test_read__thousands_of_columns__are_all_there(tmp_path: Path) -> None:
    names = [f"a home with a long name {at}" for at in range(5_000)]
    lines = [",".join(["time", *names])]
    lines += [",".join([f"2019-01-01T0{at}:00", *("1" * len(names))]) for at in range(2)]
    values = read(tmp_path, "\n".join(lines), column=names[-1], horizon=hours(2))
    assert values == [1, 1]


def test_read__packed__is_read(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(FOUR.encode()), file="load.csv.gz") == [1, 3, 5, 7]


def test_read__parquet__is_read_by_column_or_index(tmp_path: Path) -> None:
    times = pd.date_range("2019-01-01", periods=4, freq="h", tz="UTC", name="time")
    frame = pd.DataFrame({"a": [1.0, 3, 5, 7]}, index=times)
    frame.to_parquet(tmp_path / "index.parquet")
    frame.reset_index().to_parquet(tmp_path / "column.parquet")
    frame.tz_localize(None).to_parquet(tmp_path / "local.parquet")
    profiles = Profiles(tmp_path, UTC)
    for file in ("index.parquet", "column.parquet", "local.parquet"):
        values = profiles.read(file, "a", hours(4), "energy", "place")
        assert values.tolist() == [1, 3, 5, 7]


def test_read__parquet_with_a_missing_value__names_the_row(tmp_path: Path) -> None:
    times = pd.date_range("2019-01-01", periods=3, freq="h", tz="UTC", name="time")
    pd.DataFrame({"a": [1, np.nan, 5]}, index=times).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(CaseError, match=r"a\.parquet, row 2, column 'a': is missing"):
        Profiles(tmp_path, UTC).read("a.parquet", "a", hours(3), "energy", "place")


def test_read__parquet_without_pyarrow__says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(CaseError, match=r"place: a Parquet file needs .* '\.\[parquet\]'"):
        read(tmp_path, file="a.parquet")


def test_columns_and_span__of_a_file__are_what_it_has(tmp_path: Path) -> None:
    read(tmp_path)
    profiles = Profiles(tmp_path, UTC)
    assert profiles.columns("load.csv", "place") == ("a", "b")
    assert profiles.span("load.csv", "place") == hours(4)


# ---------------------------------------------------------------------------------------- clocks


def local_rows(start: datetime, count: int, minutes: int = 60) -> str:
    """Rows in local time of Madrid, as a meter writes them: the repeated hour twice."""
    times = [
        (start + at * timedelta(minutes=minutes)).astimezone(MADRID).strftime("%Y-%m-%d %H:%M")
        for at in range(count)
    ]
    return "\n".join(["time,a", *(f"{time},{at}" for at, time in enumerate(times))]) + "\n"


@pytest.mark.parametrize("minutes", [60, 15])
@pytest.mark.parametrize("day", [date(2019, 3, 31), date(2019, 10, 27)])
def test_read__local_times_over_a_clock_change__are_told_apart(
    tmp_path: Path, day: date, minutes: int
) -> None:
    begin = datetime(day.year, day.month, day.day, tzinfo=MADRID).astimezone(UTC)
    count = 26 * 60 // minutes
    content = local_rows(begin, count, minutes)
    assert len(set(content.splitlines())) == count + 1
    horizon = Horizon(int(begin.timestamp()), minutes * 60, count)
    assert read(tmp_path, content, horizon=horizon, zone="Europe/Madrid") == list(range(count))


CLOCKS = {
    "skipped hour": (
        "time,a\n2019-03-31 01:00,1\n2019-03-31 02:00,2\n",
        "row 3",
        "2019-03-31 02:00:00 is skipped by a clock change of Europe/Madrid",
        '"+01:00"',
    ),
    "starts within the repeated hour": (
        "time,a\n2019-10-27 02:00,1\n2019-10-27 03:00,2\n",
        "row 2",
        "2019-10-27 02:00:00 is repeated by a clock change",
        "2019-10-27T02:00+01:00",
    ),
    "repeated hour once": (
        "time,a\n2019-10-27 00:00,1\n2019-10-27 01:00,1\n2019-10-27 02:00,1\n2019-10-27 03:00,2\n",
        "row 5",
        "comes 120 minutes after the row before, other rows 60 minutes",
        "clocks of Europe/Madrid change there",
    ),
    "repeated hour three times": (
        "time,a\n2019-10-27 01:00,1\n2019-10-27 02:00,1\n2019-10-27 02:00,2\n2019-10-27 02:00,2\n",
        "row 5",
        "repeats the time of the row before",
        "once",
    ),
}


@pytest.mark.parametrize("what", CLOCKS)
def test_read__clock_change_that_cannot_be_resolved__names_the_row(
    tmp_path: Path, what: str
) -> None:
    content, row, *problems = CLOCKS[what]
    with pytest.raises(CaseError) as refusal:
        read(tmp_path, content, zone="Europe/Madrid")
    assert refusal.value.path == f"{tmp_path / 'load.csv'}, {row}"
    for problem in problems:
        assert problem in refusal.value.problem


def test_moment__time_with_offset__needs_no_zone() -> None:
    time = datetime.fromisoformat("2019-10-27T02:30+02:00")
    assert moment(time, MADRID, "place") == int(time.timestamp())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2019-03-31T02:30", "is skipped by a clock change of Europe/Madrid; write"),
        ("2019-10-27T02:30", "is repeated by a clock change of Europe/Madrid; write"),
        ("1901-01-01T00:00", "the year must be 1970 to 2200, not 1901"),
    ],
)
def test_moment__local_time_that_is_none__is_refused(text: str, problem: str) -> None:
    with pytest.raises(CaseError) as refusal:
        moment(datetime.fromisoformat(text), MADRID, "place")
    assert refusal.value.path == "place"
    assert problem in refusal.value.problem


@pytest.mark.parametrize(
    ("name", "hours_ahead"), [("UTC", 0), ("+01:00", 1), ("-0330", -3.5), ("Asia/Tokyo", 9)]
)
def test_time_zone__name_or_offset__is_found(name: str, hours_ahead: float) -> None:
    offset = datetime(2019, 1, 1, tzinfo=time_zone(name, "place")).utcoffset()
    assert offset == timedelta(hours=hours_ahead)


@pytest.mark.parametrize("name", ["", "Madrid", "../etc/passwd", "/etc/passwd", "+1", "\0"])
def test_time_zone__no_zone__is_refused(name: str) -> None:
    with pytest.raises(CaseError, match=r"place: .* is no time zone; write one such as"):
        time_zone(name, "place")


# --------------------------------------------------------------------------------------- refused

ROW = "2019-01-01T01:00,3,4"
MALFORMED: dict[str, tuple[str | bytes, str, str]] = {
    # content, what stands after the file in the place, problem
    "missing value": (FOUR.replace(",3,", ",,"), ", row 3, column 'a'", "is missing"),
    "NaN": (FOUR.replace(",3,", ",NaN,"), ", row 3, column 'a'", "is missing"),
    "two missing": (
        FOUR.replace(",3,", ",,").replace(",7,", ",,"),
        ", row 3, column 'a'",
        "(1 more",
    ),
    "row too short": (FOUR.replace(ROW, "2019-01-01T01:00"), ", row 3, column 'a'", "is missing"),
    "word": (FOUR.replace(",3,", ",many,"), ", row 3, column 'a'", "is no number: 'many'"),
    "thousands": (FOUR.replace(",3,", ",1 234,"), ", row 3, column 'a'", "is no number: '1 234'"),
    "truth": (
        re.sub(",[1357]", ",True", FOUR),
        ", row 2, column 'a'",
        "is no number: 'True'",
    ),
    "infinite": (FOUR.replace(",3,", ",inf,"), ", row 3, column 'a'", "a finite number, not inf"),
    "too large": (FOUR.replace(",3,", ",1e999,"), ", row 3, column 'a'", "must be a finite number"),
    "negative": (FOUR.replace(",3,", ",-3,"), ", row 3, column 'a'", "must be at least 0, not -3"),
    "empty": ("", "", "is empty"),
    "blank first line": ("\n" + FOUR, ", row 1", "must be the names of the columns with commas"),
    "line break in a cell": (
        "time;a\n2019-01-01T00:00;1\r;2\n",
        ", row 3",
        "no time",
    ),
    "blank": ("\n \n", "", "is empty"),
    "header alone": ("time,a\n", "", "at least one row"),
    "no header": (FOUR[9:], ", row 1", "must be the names of the columns, not values"),
    "one column": ("time\n2019-01-01\n", ", row 1", "must be the names of the columns with commas"),
    "column twice": (FOUR.replace("a,b", "a,a"), ", row 1", "has 2 columns of the name 'a'"),
    "too many values": (FOUR.replace(ROW, ROW + ",5"), "", "more values than its header has names"),
    "decimal commas": (
        "time,a\n2019-01-01T00:00,0,5\n2019-01-01T01:00,0,7\n",
        "",
        "decimal commas need semicolons",
    ),
    "commas and points": (
        "time;a\n2019-01-01T00:00;0,5\n2019-01-01T01:00;0.7\n",
        "",
        "use one of them",
    ),
    "binary": (b"PK\x03\x04\0\0", "", "is no text; save the table as CSV"),
    "utf-16": (FOUR.encode("utf-16"), "", "is UTF-16 text; save it as UTF-8"),
    "latin 1": ("time,caf\xe9\n2019-01-01,1\n".encode("latin-1"), "", "is not UTF-8 text"),
    "no time": (
        FOUR.replace("2019-01-01T01:00", "soon"),
        ", row 3",
        "'soon' is no time; write one",
    ),
    "row number as time": ("time,a\n0,1\n1,2\n", ", row 2", "'0' is no time; write one such as"),
    "day first": (
        FOUR.replace("2019-01-01T01:00", "01/02/2019 01:00"),
        ", row 3",
        "cannot be mixed up",
    ),
    "time missing": (FOUR.replace("2019-01-01T01:00", ""), ", row 3", "has no time in its first"),
    "offset missing": (
        FOUR.replace(":00,", ":00Z,").replace("T01:00Z", "T01:00"),
        ", row 3",
        "2019-01-01T01:00 has no offset from UTC, unlike the first row",
    ),
    "offset too much": (FOUR.replace("T01:00", "T01:00Z"), ", row 3", "has an offset from UTC"),
    "fraction of a second": (FOUR.replace("T01:00", "T01:00:00.5"), ", row 3", "no whole second"),
    "far future": (FOUR.replace("2019", "2919"), ", row 2", "the year must be 1970 to 2200"),
    "row missing": (FOUR.replace(ROW + "\n", ""), ", row 3", "comes 120 minutes after"),
    "row twice": (FOUR.replace(ROW, f"{ROW}\n{ROW}"), ", row 4", "repeats the time of"),
    "row out of order": (
        FOUR.replace("T02:00", "T00:30"),
        ", row 4",
        "2019-01-01T00:30Z is earlier than the row",
    ),
    "uneven": (
        FOUR.replace("T03:00", "T03:10"),
        ", row 5",
        "comes 70 minutes after the row before",
    ),
    "too few rows": (
        FOUR[: FOUR.index("2019-01-01T03")],
        "",
        "covers 2019-01-01T00:00Z to 2019-01-01T03:00Z, the horizon is 2019-01-01T00:00Z to",
    ),
    "starts too late": (FOUR.replace("2019-01-01T", "2019-01-02T"), "", "choose another horizon"),
    "periods do not divide": (FOUR.replace(":00,", ":07,"), "", "covers 2019-01-01T00:07Z"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_read__malformed__names_file_row_and_column(tmp_path: Path, what: str) -> None:
    content, place, problem = MALFORMED[what]
    with pytest.raises(CaseError) as refusal:
        read(tmp_path, content, low=0.0)
    assert refusal.value.path == f"{tmp_path / 'load.csv'}{place}"
    assert problem in refusal.value.problem


def test_read__wrong_value_outside_the_horizon__does_not_matter(tmp_path: Path) -> None:
    content = FOUR.replace(",7,", ",-7,")
    assert read(tmp_path, content, horizon=hours(3), low=0.0) == [1, 3, 5]


@pytest.mark.parametrize(
    ("horizon", "problem"),
    [
        (hours(1, seconds=1500), "neither divides nor is a multiple of periods of 25 minutes"),
        (hours(1, start=START + 600, seconds=7200), "cuts through its rows"),
        (hours(1, start=START + 600, seconds=900), "cuts through its rows"),
    ],
)
def test_read__horizon_between_rows__is_refused(
    tmp_path: Path, horizon: Horizon, problem: str
) -> None:
    with pytest.raises(CaseError) as refusal:
        read(tmp_path, horizon=horizon)
    assert refusal.value.path == str(tmp_path / "load.csv")
    assert problem in refusal.value.problem


@pytest.mark.parametrize("file", ["/etc/passwd.csv", "../load.csv", "a/../../b.csv", "C:\\a.csv"])
def test_read__file_elsewhere__is_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(CaseError, match=r"place: .* must be a file in the folder of the case"):
        Profiles(tmp_path, UTC).read(file, "a", hours(1), "energy", "place")


def test_read__no_such_file__is_said_where_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(CaseError) as refusal:
        Profiles(tmp_path, UTC).read("load.csv", "a", hours(1), "energy", "place")
    assert refusal.value.path == "place"
    assert refusal.value.problem == f"there is no file {tmp_path / 'load.csv'}"


def test_read__no_such_column__guesses_which(tmp_path: Path) -> None:
    content = FOUR.replace("a,b", "H01,H02")
    with pytest.raises(CaseError, match=r"load\.csv has no column 'H1'; did you mean 'H01'\?"):
        read(tmp_path, content, column="H1")


@pytest.mark.parametrize("file", ["load.csv.gz", "load.parquet"])
def test_read__not_what_its_name_says__is_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(CaseError, match=r"cannot be read: "):
        read(tmp_path, file=file)


# ----------------------------------------------------------------------------------------- speed


def test_read__a_year_of_quarters_in_local_time__costs_little_beside_pandas(tmp_path: Path) -> None:
    start = datetime(2019, 1, 1, tzinfo=MADRID).astimezone(UTC)
    content = local_rows(start, 35_040, 15)
    (tmp_path / "load.csv").write_text(content, encoding="utf-8")

    def seconds(work: object) -> float:
        begin = clock.process_time()
        work()  # type: ignore[operator]
        return clock.process_time() - begin

    horizon = Horizon(int(start.timestamp()), 900, 35_040)
    ours = min(
        seconds(lambda: Profiles(tmp_path, MADRID).read("load.csv", "a", horizon, "energy", ""))
        for _ in range(3)
    )
    bare = min(seconds(lambda: pd.read_csv(tmp_path / "load.csv")) for _ in range(3))
    assert ours < 20 * bare
