"""Profiles from CSV and Parquet files: one row per period, one column per series.

The first column is the start of each row: ISO 8601 with an offset, or local time of a time zone.
Rows must be consecutive and evenly spaced. A profile with longer rows than the periods asked for
is spread evenly, one with shorter rows is summed up (energies) or averaged (prices, powers).

A CSV file is UTF-8 text with commas, or with semicolons or tabs, between columns; with semicolons
or tabs its numbers may have decimal commas. `.csv.gz` is read as well.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from fairwatt.community import Horizon
from fairwatt.errors import CaseError
from fairwatt.extras import how_to_install
from fairwatt.tomltext import hint, short
from fairwatt.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Profiles", "Quantity", "change", "moment", "time_zone", "utc"]

Quantity = Literal["energy", "rate"]
"""Whether a series adds up over time (kWh) or holds while it lasts (kW, token/kWh)."""
_YEARS: Final = range(1970, 2201)
_SAMPLE_BYTES: Final = 1 << 16
_LONGEST_HEADER: Final = 1 << 24
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - local time of any zone
_COMMA_NUMBER, _POINT_NUMBER = re.compile(r"[+-]?\d+,\d+"), re.compile(r"[+-]?\d+\.\d+")
_EXAMPLE: Final = "2019-06-30T13:00"


def time_zone(name: str, place: str) -> tzinfo:
    """Time zone by its IANA name, or by its offset such as `+01:00`.

    Raises
    ------
    CaseError
        If there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    try:
        offset = datetime.strptime(name, "%z").utcoffset()
    except ValueError:
        offset = None
    if offset is None:
        raise CaseError(
            place, f'{short(name)} is no time zone; write one such as "Europe/Madrid" or "+01:00"'
        )
    return timezone(offset)


def moment(time: datetime, zone: tzinfo, place: str) -> int:
    """Unix seconds of a time with an offset, or of a local time that occurs exactly once.

    Raises
    ------
    CaseError
        If the local time is skipped or repeated by a clock change, or far from our age.
    """
    if time.year not in _YEARS:
        raise CaseError(place, f"the year must be {_YEARS[0]} to {_YEARS[-1]}, not {time.year}")
    if time.tzinfo is not None:
        return int(time.timestamp())
    happens = change(time, zone)
    if happens is not None:
        raise CaseError(
            place,
            f"{time.isoformat(sep=' ')} is {happens} by a clock change of {zone}; write times with "
            f"their offset, such as {_with_offset(time, zone)}",
        )
    return int(time.replace(tzinfo=zone).timestamp())


def change(time: datetime, zone: tzinfo) -> Literal["skipped", "repeated"] | None:
    """Whether a local time does not exist, or exists twice, because clocks change."""
    early, late = (time.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if early.utcoffset() == late.utcoffset():
        return None
    return "repeated" if early.timestamp() < late.timestamp() else "skipped"


def utc(time: int) -> str:
    """Write Unix seconds as people read them."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time)).strftime("%Y-%m-%dT%H:%MZ")


@dataclass(frozen=True)
class _Table:
    """Columns of a file over evenly spaced rows; `first_row` is the number of the first."""

    start: int
    step_seconds: int
    columns: pd.DataFrame
    first_row: int

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.columns.columns)

    def values(self, column: str, begin: int, rows: int) -> NDArray[np.float64]:
        """Numbers of a column, NaN for what is none."""
        if column in self._numbers:
            return self._numbers[column][begin : begin + rows]
        cells = self.columns[column].iloc[begin : begin + rows].astype(str)
        return pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)

    @cached_property
    def _numbers(self) -> dict[str, NDArray[np.float64]]:
        """Columns that hold nothing but numbers, all at once: a thousand one by one are slow."""
        numeric = self.columns.select_dtypes("number")
        matrix = np.ascontiguousarray(numeric.to_numpy(np.float64).T)
        return dict(zip(numeric.columns, matrix, strict=True))


@dataclass(frozen=True)
class Profiles:
    """The profile files of a folder, read once each.

    Parameters
    ----------
    folder
        File names are relative to it, and lead to no other place.
    zone
        Of times without an offset.
    """

    folder: Path
    zone: tzinfo
    _tables: dict[str, _Table | CaseError] = field(default_factory=dict, repr=False)

    def read(
        self,
        file: str,
        column: str,
        horizon: Horizon,
        quantity: Quantity,
        place: str,
        *,
        low: float = -np.inf,
        scale: float = 1.0,
    ) -> NDArray[np.float64]:
        """Values of a column over the periods of a horizon, shape (periods,).

        Parameters
        ----------
        place
            Where the file is asked for.
        low
            Least value that makes sense.
        scale
            What every value is multiplied by.

        Raises
        ------
        CaseError
            With file, row and column of what is wrong.
        """
        table = self._table(file, place)
        if column not in table.names:
            raise CaseError(
                place, f"{file} has no column {short(column)}{hint(column, table.names)}"
            )
        begin, rows = self._rows(file, table, horizon)
        numbers = table.values(column, begin, rows) * scale
        wrong = ~(np.isfinite(numbers) & (numbers >= low))
        if wrong.any():
            at = int(np.argmax(wrong))
            more = f" ({int(wrong.sum()) - 1} more rows too)" if wrong.sum() > 1 else ""
            row = begin + at + table.first_row
            raise CaseError(
                f"{self.folder / file}, row {row}, column {column!r}",
                _complaint(table.columns[column].iloc[begin + at], low) + more,
            )
        return _over(numbers, table, horizon, quantity, begin)

    def columns(self, file: str, place: str) -> tuple[str, ...]:
        """Names of the columns of values of a file, as it has them.

        Raises
        ------
        CaseError
            As `read`.
        """
        return tuple(self._table(file, place).columns.columns)

    def span(self, file: str, place: str) -> Horizon:
        """The rows of a file as a horizon.

        Raises
        ------
        CaseError
            As `read`.
        """
        table = self._table(file, place)
        return Horizon(table.start, table.step_seconds or 3600, len(table.columns))

    def _rows(self, file: str, table: _Table, horizon: Horizon) -> tuple[int, int]:
        """First row and number of rows that cover the horizon."""
        path, period = str(self.folder / file), horizon.period_seconds
        step = table.step_seconds or period  # a single row is as long as the periods
        if step % period and period % step:
            raise CaseError(
                path,
                f"has a row every {_duration(step)}, which neither divides nor is a multiple of "
                f"periods of {_duration(period)}; choose other periods",
            )
        finish, end = _end(horizon), table.start + len(table.columns) * step
        if horizon.start < table.start or finish > end:
            raise CaseError(
                path,
                f"covers {utc(table.start)} to {utc(end)}, the horizon is {utc(horizon.start)} to "
                f"{utc(finish)}; choose another horizon or bring more rows",
            )
        if (horizon.start - table.start) % min(step, period) or (finish - table.start) % min(
            step, period
        ):
            raise CaseError(
                path,
                f"has a row every {_duration(step)} from {utc(table.start)}; a horizon from "
                f"{utc(horizon.start)} to {utc(finish)} cuts through its rows",
            )
        begin = (horizon.start - table.start) // step
        return begin, -((table.start - finish) // step) - begin

    def _table(self, file: str, place: str) -> _Table:
        """A file, read once; what is wrong with it is said once."""
        if file not in self._tables:
            try:
                self._tables[file] = self._load(file, place)
            except CaseError as error:
                self._tables[file] = error
        table = self._tables[file]
        if isinstance(table, CaseError):
            raise table
        return table

    def _load(self, file: str, place: str) -> _Table:
        named = PureWindowsPath(file)  # knows both slashes, and drives
        if named.anchor or ".." in named.parts:
            raise CaseError(place, f"{file!r} must be a file in the folder of the case")
        path = self.folder / file
        frame = _read(path, place)
        if frame.shape[1] < 2 or len(frame) < 1:
            raise CaseError(
                str(path), "needs a column of times, columns of values, and at least one row"
            )
        first_row = 1 if _is_parquet(path) else 2  # of a CSV file, as editors count
        starts = _Times(frame.iloc[:, 0], path, self.zone, first_row).starts()
        return _Table(
            int(starts[0]), _step(starts, path, self.zone, first_row), frame.iloc[:, 1:], first_row
        )


def _complaint(cell: object, low: float) -> str:
    if pd.Series([cell]).isna().all():
        return "is missing"
    try:
        number = float(str(cell))
    except ValueError:
        return f"is no number: {short(str(cell))}"
    if not np.isfinite(number):
        return f"must be a finite number, not {cell}"
    return f"must be at least {low:g}, not {cell}; loads and generation are both written positive"


def _over(
    numbers: NDArray[np.float64], table: _Table, horizon: Horizon, quantity: Quantity, begin: int
) -> NDArray[np.float64]:
    """Values per period of rows that cover the horizon, and perhaps more at its ends."""
    step, period = table.step_seconds or horizon.period_seconds, horizon.period_seconds
    values = _resampled(numbers, step, period, quantity)
    first = (horizon.start - table.start - begin * step) // period
    return values[first : first + horizon.periods]


def _resampled(
    values: NDArray[np.float64], step: int, period: int, quantity: Quantity
) -> NDArray[np.float64]:
    if step == period:
        return values
    if step > period:
        parts = step // period
        return np.repeat(values / parts if quantity == "energy" else values, parts)
    groups = values.reshape(-1, period // step)
    result: NDArray[np.float64] = (
        groups.sum(axis=1) if quantity == "energy" else groups.mean(axis=1)
    )
    return result


# ------------------------------------------------------------------------------------------ files


def _read(path: Path, place: str) -> pd.DataFrame:
    """Times in the first column, values in the others; columns have unique names."""
    try:
        frame = _read_parquet(path) if _is_parquet(path) else _read_csv(path)
    except FileNotFoundError as error:
        raise CaseError(place, f"there is no file {path}") from error
    except ImportError as error:
        raise CaseError(place, f"a Parquet file {how_to_install('pyarrow', 'parquet')}") from error
    except CaseError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise CaseError(str(path), f"cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:  # ParserError, Arrow
        raise CaseError(str(path), f"cannot be read: {_one_line(error)}") from error
    names = [str(name).strip() for name in frame.columns]
    for name, count in Counter(names).items():
        if count > 1:
            raise CaseError(str(path), f"has {count} columns of the name {short(name)}")
    return frame.set_axis(names, axis=1)


def _read_parquet(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    return frame.reset_index() if isinstance(frame.index, pd.DatetimeIndex) else frame


def _read_csv(path: Path) -> pd.DataFrame:
    sample = _sample(path)
    separator = _separator(sample, path)
    names = [name.strip() for name in next(_cells(sample, separator))]
    _require_header(names, path)
    # Columns without a name are kept apart: they only matter to who asks for them.
    names = [name or f"(column {at})" for at, name in enumerate(names, start=1)]
    for name, count in Counter(names).items():
        if count > 1:
            raise CaseError(f"{path}, row 1", f"has {count} columns of the name {short(name)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # of words among numbers
            frame = pd.read_csv(
                path,
                sep=separator,
                decimal=_decimal(sample, separator, path),
                header=0,
                names=names,
                index_col=False,
                dtype={names[0]: str},
                encoding="utf-8-sig",
                skip_blank_lines=False,
                skipinitialspace=True,
            )
    except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
        raise CaseError(
            str(path),
            f"has rows with more values than its header has names ({_one_line(error)}); numbers "
            "with decimal commas need semicolons between columns",
        ) from error
    except UnicodeDecodeError as error:
        raise CaseError(str(path), f"is not UTF-8 text ({error}); save it as UTF-8") from error
    rows = len(frame)
    while rows and frame.iloc[rows - 1].isna().all():  # empty lines at the end
        rows -= 1
    return frame.iloc[:rows]


def _sample(path: Path) -> str:
    """The first lines of a CSV file, decoded."""
    is_packed = path.name.lower().endswith(".gz")
    with gzip.open(path, "rb") if is_packed else path.open("rb") as file:
        start = file.readline(_LONGEST_HEADER)  # whole: it may name thousands of columns
        rows = file.read(_SAMPLE_BYTES)
    start += rows if len(rows) < _SAMPLE_BYTES else rows[: rows.rfind(b"\n") + 1]
    if not start.strip():
        raise CaseError(str(path), "is empty")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CaseError(str(path), "is UTF-16 text; save it as UTF-8")
    if b"\0" in start:
        raise CaseError(str(path), "is no text; save the table as CSV")
    try:
        return start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaseError(str(path), f"is not UTF-8 text ({error}); save it as UTF-8") from error


def _cells(sample: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(sample, newline=None), delimiter=separator)


def _separator(sample: str, path: Path) -> str:
    header = sample.replace("\r", "\n").partition("\n")[0]
    counts = {separator: header.count(separator) for separator in (",", ";", "\t")}
    best = max(counts, key=counts.__getitem__)
    if not counts[best]:
        raise CaseError(
            f"{path}, row 1",
            "must be the names of the columns with commas between them: one of times, others of "
            f"values; it is {short(header)}",
        )
    return best


def _require_header(names: list[str], path: Path) -> None:
    if re.match(r"\d{4}-\d", names[0]):
        raise CaseError(
            f"{path}, row 1", f"must be the names of the columns, not values: {short(names[0])}"
        )


def _decimal(sample: str, separator: str, path: Path) -> str:
    """Comma or point; where commas do not separate columns they may stand in numbers."""
    if separator == ",":
        return "."
    cells = [cell.strip() for row in [*_cells(sample, separator)][1:] for cell in row[1:]]
    has_commas = any(_COMMA_NUMBER.fullmatch(cell) for cell in cells)
    if has_commas and any(_POINT_NUMBER.fullmatch(cell) for cell in cells):
        raise CaseError(
            str(path), "has numbers with decimal commas and others with points; use one of them"
        )
    return "," if has_commas else "."


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith((".parquet", ".pq"))


def _one_line(error: Exception | Warning) -> str:
    return short(" ".join(str(error).split()))[1:-1]


# ------------------------------------------------------------------------------------------ times


@dataclass(frozen=True)
class _Times:
    """The column of times of a file."""

    cells: pd.Series
    path: Path
    zone: tzinfo
    first_row: int

    def starts(self) -> NDArray[np.int64]:
        """Unix seconds of every row."""
        cells = self.cells
        self._refuse(cells.isna().to_numpy(), lambda _: "has no time in its first column")
        if isinstance(cells.dtype, pd.DatetimeTZDtype):
            return self._seconds(cells.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
        if pd.api.types.is_datetime64_dtype(cells.dtype):
            return self._unix(self._seconds(cells.to_numpy()))
        if not (
            pd.api.types.is_object_dtype(cells.dtype) or isinstance(cells.dtype, pd.StringDtype)
        ):
            raise CaseError(
                str(self.path), f"must have times such as {_EXAMPLE} in its first column"
            )
        return self._parsed([str(cell).strip() for cell in cells.tolist()])

    def _parsed(self, texts: list[str]) -> NDArray[np.int64]:
        try:
            times = list(map(datetime.fromisoformat, texts))
        except ValueError:
            times = [self._time(text, at) for at, text in enumerate(texts)]
        aware = np.array([time.tzinfo is not None for time in times])
        self._refuse(
            aware != aware[0],
            lambda at: (
                f"{texts[at]} has {'no' if aware[0] else 'an'} offset from UTC, unlike the first "
                "row; write all times with it, or none"
            ),
        )
        years = np.array([time.year for time in times])
        self._refuse(
            (years < _YEARS[0]) | (years > _YEARS[-1]),
            lambda at: f"the year must be {_YEARS[0]} to {_YEARS[-1]}: {texts[at]}",
        )
        clock = times if aware[0] else [time.replace(tzinfo=UTC) for time in times]
        micro = np.round(np.array([time.timestamp() for time in clock]) * 1e6)
        seconds = self._seconds(micro.astype("datetime64[us]"))
        return seconds if aware[0] else self._unix(seconds)

    def _time(self, text: str, at: int) -> datetime:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            raise CaseError(self._row(at), _no_time(text)) from None

    def _seconds(self, exact: NDArray[np.datetime64]) -> NDArray[np.int64]:
        seconds = exact.astype("datetime64[s]")
        self._refuse(seconds != exact, lambda at: f"{exact[at]} is no whole second")
        return seconds.astype(np.int64)

    def _unix(self, local: NDArray[np.int64]) -> NDArray[np.int64]:
        """Unix seconds of local times; only rows of a day with a clock change are looked at."""
        days, day_of = np.unique(local // SECONDS_PER_DAY, return_inverse=True)
        offsets, steady = self._offsets(days)
        result = local - offsets[day_of]
        for at in np.flatnonzero(~steady[day_of]).tolist():
            result[at] = self._resolved(_EPOCH + timedelta(seconds=int(local[at])), at, result)
        return result

    def _offsets(self, days: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Offset from UTC in seconds at the start of each day, and whether it lasts."""
        midnights = [_EPOCH + timedelta(days=int(day) + end) for day in days for end in (0, 1)]
        ends = np.array([_offset(time, self.zone) for time in midnights], np.int64).reshape(-1, 2)
        return ends[:, 0], ends[:, 0] == ends[:, 1]

    def _resolved(self, time: datetime, at: int, before: NDArray[np.int64]) -> int:
        """A repeated hour stands first for its first occurrence, then for its second."""
        happens = change(time, self.zone)
        early, late = (int(time.replace(tzinfo=self.zone, fold=f).timestamp()) for f in (0, 1))
        if happens == "skipped":
            raise CaseError(
                self._row(at),
                f"{time.isoformat(sep=' ')} is skipped by a clock change of {self.zone}; if the "
                "file keeps standard time all year, set time_zone to its offset, such as "
                f'"{_standard(time, self.zone)}"',
            )
        if happens == "repeated" and at == 0:
            raise CaseError(
                self._row(at),
                f"{time.isoformat(sep=' ')} is repeated by a clock change of {self.zone}; write "
                f"times with their offset, such as {_with_offset(time, self.zone)}",
            )
        return early if at == 0 or early > before[at - 1] else late

    def _row(self, at: int) -> str:
        return f"{self.path}, row {at + self.first_row}"

    def _refuse(self, wrong: NDArray[np.bool_], why: Callable[[int], str]) -> None:
        if wrong.any():
            at = int(np.argmax(wrong))
            raise CaseError(self._row(at), why(at))


def _step(starts: NDArray[np.int64], path: Path, zone: tzinfo, first_row: int) -> int:
    """Distance of the rows in seconds, which must be even; 0 for a single row."""
    if starts.size == 1:
        return 0
    steps = np.diff(starts)
    step = int(np.median(steps))
    uneven = steps != step
    if step > 0 and not uneven.any():
        return step
    at = int(np.argmax(uneven)) if step > 0 else int(np.argmax(steps <= 0))
    place, found = f"{path}, row {at + 1 + first_row}", int(steps[at])
    if found <= 0:
        what = "repeats the time of" if found == 0 else "is earlier than"
        raise CaseError(
            place,
            f"{utc(int(starts[at + 1]))} {what} the row before; each time must come once (times "
            f"without an offset are taken as those of {zone}: time_zone in the case, --time-zone "
            "of `fairwatt case new`)",
        )
    local = [datetime.fromtimestamp(int(time), zone) for time in starts[at : at + 2]]
    clocks = (
        f"; clocks of {zone} change there: write times with their offset, or set time_zone to the "
        "offset that the file keeps"
        if local[0].utcoffset() != local[1].utcoffset()
        else ""
    )
    raise CaseError(
        place,
        f"comes {_duration(found)} after the row before, other rows {_duration(step)}; rows must "
        f"be evenly spaced, without gaps{clocks}",
    )


def _no_time(text: str) -> str:
    what = f"{short(text)} is no time; write one such as {_EXAMPLE}"
    if re.match(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}", text):
        return f"{what}: year, month, day cannot be mixed up"
    return what


def _with_offset(time: datetime, zone: tzinfo) -> str:
    return time.replace(tzinfo=zone, fold=1).isoformat(timespec="minutes")


def _offset(time: datetime, zone: tzinfo) -> int:
    """Seconds that a local time is ahead of UTC."""
    return int((time.replace(tzinfo=zone).utcoffset() or timedelta()).total_seconds())


def _standard(time: datetime, zone: tzinfo) -> str:
    """Offset of the zone in the January of the year or the July, whichever is less."""
    ahead = min(_offset(datetime(time.year, month, 1), zone) for month in (1, 7))  # noqa: DTZ001
    return datetime(2000, 1, 1, tzinfo=timezone(timedelta(seconds=ahead))).isoformat()[-6:]


def _end(horizon: Horizon) -> int:
    return horizon.start + horizon.periods * horizon.period_seconds


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{seconds} s" if rest else f"{minutes} minutes" if minutes != 1 else "1 minute"
