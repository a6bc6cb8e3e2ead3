"""Meter data from CSV and Parquet files, with the columns that a mapping names."""

from __future__ import annotations

import csv
import gzip
import re
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairwatt.errors import MeterDataError
from fairwatt.extras import how_to_install
from fairwatt.metering._batch import MICRO, Batch, Readings, common_step
from fairwatt.metering._clock import Clock, SkippedTime
from fairwatt.metering._data import Channel
from fairwatt.metering._mapping import UNITS, Mapping, Values
from fairwatt.tomltext import hint, short
from fairwatt.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from pathlib import Path

__all__ = ["read_table"]

_EXAMPLE: Final = "2019-06-30T13:00+02:00"
_OFFSET: Final = r"(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"
_COMMA_NUMBER: Final = re.compile(r"[+-]?\d+,\d+")
_SAMPLE: Final = 100  # lines that tell delimiter and decimal sign
_MOST_NUMBERS: Final = 2_000  # intervals of a day
_EARLIEST, _LATEST = 0, 7_258_118_400  # the years 1970 to 2199, for times in Unix seconds
_UNITS_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

Seconds = NDArray[np.int64]


def read_table(path: Path, mapping: Mapping) -> Readings:
    """Read a CSV or Parquet file.

    Raises
    ------
    MeterDataError
        With file, row and meter of what cannot be read.
    """
    is_parquet = path.name.lower().endswith((".parquet", ".pq"))
    frame = _guarded(path, lambda: (_parquet if is_parquet else _csv)(path, mapping))
    if len(frame) == 0:
        raise MeterDataError(str(path), "has no readings")
    table = _Table(path, mapping, frame, 1 if is_parquet else 2)
    return Readings(tuple(table.batches()), ())


# ------------------------------------------------------------------------------------------ files


def _guarded(path: Path, read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # of words among numbers
            return read()
    except FileNotFoundError as error:
        raise MeterDataError(str(path), "there is no such file") from error
    except ImportError as error:
        raise MeterDataError(
            str(path), f"a Parquet file {how_to_install('pyarrow', 'parquet')}"
        ) from error
    except UnicodeDecodeError as error:
        raise MeterDataError(str(path), f"is not UTF-8 text ({error}); save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise MeterDataError(str(path), f"cannot be read: {_one_line(error)}") from error
    except (ValueError, TypeError, KeyError, NotImplementedError, pd.errors.ParserWarning) as error:
        # ParserError, ArrowInvalid
        raise MeterDataError(str(path), f"cannot be read: {_one_line(error)}") from error


def _parquet(path: Path, mapping: Mapping) -> pd.DataFrame:
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    names = set(parquet.ParquetFile(path).schema_arrow.names)  # type: ignore[no-untyped-call]
    texts = [name for name in _text_columns(mapping) if name in names]
    wanted = _wanted(mapping)
    columns = [name for name in wanted if name in names] if wanted else None
    frame = pd.read_parquet(path, columns=columns, engine="pyarrow", read_dictionary=texts)
    return _named(frame, [str(name) for name in frame.columns], path)


def _csv(path: Path, mapping: Mapping) -> pd.DataFrame:
    lines = _first_lines(path)
    delimiter = mapping.delimiter or _delimiter(lines[0], path)
    header = next(csv.reader(lines[:1], delimiter=delimiter))
    names = [name.strip() or f"(column {at})" for at, name in enumerate(header, start=1)]
    wanted = _wanted(mapping)
    for name in sorted(wanted):
        _require_column(name, names, path)
    times = mapping.time or names[0]
    texts: dict[Hashable, str] = dict.fromkeys([times, *_text_columns(mapping)], "category")
    return _named(
        pd.read_csv(
            path,
            sep=delimiter,
            decimal=mapping.decimal or _decimal(lines, delimiter),
            header=0,
            names=names,
            usecols=[name for name in names if name in wanted] if wanted else None,
            index_col=False,
            dtype=texts,
            na_values=list(mapping.missing),
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
        if len(set(names)) == len(names)
        else pd.DataFrame(columns=names),
        [name for name in names if not wanted or name in wanted],
        path,
    )


def _require_column(column: str, names: list[str], path: Path) -> None:
    if column not in names:
        raise MeterDataError(
            str(path),
            f"has no column {short(column)}{hint(column, names)}; the mapping file names it",
        )


def _wanted(mapping: Mapping) -> set[str]:
    """Columns that are read; none named means all."""
    columns = [values.column for values in mapping.series]
    if mapping.time is None or None in columns:
        return set()
    named = {mapping.time, *_text_columns(mapping), *(name for name in columns if name)}
    return named | ({mapping.number} if mapping.number else set())


def _text_columns(mapping: Mapping) -> list[str]:
    names = [mapping.meter] if mapping.meter else []
    names += [name for values in mapping.series for name, _ in values.where]
    return list(dict.fromkeys(names))


def _named(frame: pd.DataFrame, names: list[str], path: Path) -> pd.DataFrame:
    for name, count in Counter(names).items():
        if count > 1:
            raise MeterDataError(f"{path}, row 1", f"has several columns of the name {short(name)}")
    frame.columns = pd.Index(names)
    return frame


def _first_lines(path: Path) -> list[str]:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = [file.readline(1 << 20) for _ in range(_SAMPLE)]
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise MeterDataError(str(path), "is empty")
    if any("\0" in line for line in lines):
        raise MeterDataError(str(path), "is no text; save the table as CSV in UTF-8")
    return lines


def _delimiter(header: str, path: Path) -> str:
    best = max((";", "\t", ",", "|"), key=header.count)
    if not header.count(best):
        raise MeterDataError(
            f"{path}, row 1",
            f"must be the names of at least two columns, not {short(header.strip())}; name the "
            "delimiter in the mapping file if it is none of , ; | and tab",
        )
    return best


def _decimal(lines: list[str], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = (cell.strip() for row in csv.reader(lines[1:], delimiter=delimiter) for cell in row)
    return "," if any(_COMMA_NUMBER.fullmatch(cell) for cell in cells) else "."


def _one_line(error: Exception) -> str:
    return short(" ".join(str(error).split()))[1:-1]


# ------------------------------------------------------------------------------------------ table


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a channel: as stored, or those that an index picks."""

    index: NDArray[np.int64] | None

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        return array if self.index is None else array[self.index]

    def number(self, at: int) -> int:
        return at if self.index is None else int(self.index[at])


@dataclass(eq=False)
class _Table:
    """A file in memory; `first_row` is the number of its first row of values."""

    path: Path
    mapping: Mapping
    frame: pd.DataFrame
    first_row: int

    def __post_init__(self) -> None:
        name, index = self.mapping.time, self.frame.index
        if isinstance(index, pd.DatetimeIndex) and (name is None or name not in self.frame.columns):
            cells = pd.Series(index)
            name = name or ("time" if index.name is None else str(index.name))
        else:
            name = name or str(self.frame.columns[0])
            self.has(name)
            cells = pd.Series(self.frame.pop(name).array)
        self.times = _times(self, cells, name)

    def has(self, column: str) -> None:
        _require_column(column, list(map(str, self.frame.columns)), self.path)

    def place(self, row: int, column: str = "") -> str:
        """Of a cell, as messages name it; rows are counted as editors do."""
        return f"{self.path}, row {row + self.first_row}" + (f", {column}" if column else "")

    def batches(self) -> Iterator[Batch]:
        if self.mapping.meter is None:
            yield from self._side_by_side()
        else:
            for values in self.mapping.series:
                yield from self._one_below_the_other(values)

    def _side_by_side(self) -> Iterator[Batch]:
        named = {values.column for values in self.mapping.series if values.column}
        named |= {name for values in self.mapping.series for name, _ in values.where}
        named |= {self.mapping.number} if self.mapping.number else set()
        for values in self.mapping.series:
            if values.column is None:
                columns = [str(name) for name in self.frame.columns if name not in named]
                if not columns:
                    raise MeterDataError(str(self.path), "has no columns of values")
            else:
                columns = [values.column]
            rows = self._where(values)
            meters = [values.meter or column for column in columns]
            matrix = self.numbers(columns)
            if rows.index is not None:
                matrix = matrix[:, rows.index]
            yield self._batch(values, meters, rows, matrix)

    def _one_below_the_other(self, values: Values) -> Iterator[Batch]:
        column, meter = str(values.column), str(self.mapping.meter)
        self.has(meter)
        rows = self._where(values)
        names = self.frame[meter]
        if not isinstance(names.dtype, pd.CategoricalDtype):
            names = names.astype("category")
        if not names.cat.categories.is_monotonic_increasing:
            names = names.cat.reorder_categories(names.cat.categories.sort_values())
        codes = rows.of(names.cat.codes.to_numpy())
        labels = [str(name) for name in names.cat.categories]
        if (codes < 0).any():
            raise MeterDataError(
                self.place(rows.number(int(np.argmin(codes))), meter), "has no meter"
            )
        numbers = rows.of(self.numbers([column])[0])
        many = _side_by_side_in_time(codes, rows.of(self.times.raw))
        if many:
            index = np.arange(0, codes.size, many)
            yield self._batch(
                values,
                [labels[code] for code in codes[:many].tolist()],
                _Rows(index if rows.index is None else rows.index[index]),
                numbers.reshape(-1, many).T,
            )
            return
        if np.any(codes[1:] < codes[:-1]):
            order = np.argsort(_narrow(codes), kind="stable")
            codes, numbers = codes[order], numbers[order]
            rows = _Rows(order if rows.index is None else rows.index[order])
        edges = np.searchsorted(codes, np.arange(len(labels) + 1, dtype=codes.dtype))
        raw = rows.of(self.times.raw)
        for first, last in _same_times(raw, edges):
            begin, end = int(edges[first]), int(edges[last])
            many = last - first
            each = (end - begin) // many
            picked = np.arange(begin, begin + each)
            index = picked if rows.index is None else rows.index[picked]
            yield self._batch(
                values, labels[first:last], _Rows(index), numbers[begin:end].reshape(many, each)
            )

    def _where(self, values: Values) -> _Rows:
        mask: NDArray[np.bool_] | None = None
        for name, text in values.where:
            self.has(name)
            fits = (self.frame[name].astype(str) == text).to_numpy()
            mask = fits if mask is None else mask & fits
        if mask is None:
            return _Rows(None)
        if not mask.any():
            wanted = ", ".join(f"{name} = {text}" for name, text in values.where)
            raise MeterDataError(str(self.path), f"has no row with {wanted}")
        return _Rows(np.flatnonzero(mask))

    def numbers(self, columns: list[str]) -> NDArray[np.float64]:
        """Values of columns, shape (columns, rows); NaN for none."""
        known = set(map(str, self.frame.columns))
        for column in columns:
            if column not in known:
                self.has(column)
        if columns != list(self.frame.columns):
            return self._rows_of_numbers(columns)
        if all(map(pd.api.types.is_float_dtype, self.frame.dtypes)):
            return self.frame.to_numpy(np.float64).T
        return self._rows_of_numbers(columns)

    def _rows_of_numbers(self, columns: list[str]) -> NDArray[np.float64]:
        rows = [self._number(self.frame[column], column) for column in columns]
        return rows[0][np.newaxis, :] if len(rows) == 1 else np.vstack(rows)

    def _number(self, cells: pd.Series, column: str) -> NDArray[np.float64]:
        if pd.api.types.is_numeric_dtype(cells.dtype) and cells.dtype != np.bool_:
            return cells.to_numpy(np.float64, na_value=np.nan)
        texts = cells.astype(object)
        numbers = pd.to_numeric(texts, errors="coerce")
        wrong = (numbers.isna() & texts.notna()).to_numpy()
        if wrong.any():
            at = int(np.argmax(wrong))
            raise MeterDataError(
                self.place(at, f"column {column!r}{self._meter_at(at)}"),
                f"is no number: {short(str(texts.iloc[at]))}; if it stands for no value, name it "
                "under missing in the mapping file; if its decimal sign is another, under decimal",
            )
        return numbers.to_numpy(np.float64, na_value=np.nan)

    def _meter_at(self, row: int) -> str:
        meter = self.mapping.meter
        return f", meter {self.frame[meter].iloc[row]}" if meter in self.frame.columns else ""

    def _batch(
        self, values: Values, meters: list[str], rows: _Rows, numbers: NDArray[np.float64]
    ) -> Batch:
        raw = rows.of(self.times.raw)
        try:
            starts, order, step = self.times.starts(raw, values.kind)
        except SkippedTime as skipped:
            row = rows.number(skipped.at)
            raise MeterDataError(
                self.place(row, f"meter {meters[0]}"),
                f"{self.times.text(row)} is skipped by a clock change of {self.mapping.zone}; if "
                "the file keeps standard time all year, set time_zone to its offset, such as "
                '"+01:00"',
            ) from None
        if step == 0:
            raise MeterDataError(
                f"{self.path}, meter {meters[0]}",
                "has readings at a single time only; set interval_minutes in the mapping file",
            )
        if values.kind == "power":
            micro = UNITS[values.unit] * MICRO / SECONDS_PER_HOUR
        else:
            micro = UNITS[values.unit] * MICRO
        return Batch(
            channels=tuple(Channel(meter, values.direction) for meter in meters),
            times=starts,
            values=numbers if order is None else numbers[:, order],
            micro_wh=micro,
            kind=values.kind,
            step_seconds=step,
            rollover=None if values.digits is None else 10.0**values.digits,
        )


def _narrow(codes: NDArray[Any]) -> NDArray[Any]:
    """As 16 bits where they fit: those are sorted by counting, in one pass."""
    return codes.astype(np.int16) if codes.max() < np.iinfo(np.int16).max else codes


def _side_by_side_in_time(codes: NDArray[Any], raw: NDArray[Any]) -> int:
    """How many meters there are where all of them follow at each time in the same sequence."""
    later = raw != raw[0]
    many = int(np.argmax(later)) if later.any() else raw.size
    if many < 2 or raw.size % many or np.unique(codes[:many]).size < many:
        return 0
    meters, times = codes.reshape(-1, many), raw.reshape(-1, many)
    is_even = bool((meters == meters[0]).all()) and bool((times == times[:, :1]).all())
    return many if is_even else 0


def _same_times(raw: NDArray[Any], edges: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of meters that were read at the same times, as first and one past the last."""
    first = -1
    for at in range(len(edges) - 1):
        if edges[at] == edges[at + 1]:  # a name without rows
            if first >= 0:
                yield first, at
            first = -1
            continue
        here = raw[edges[at] : edges[at + 1]]
        if first >= 0 and np.array_equal(here, raw[edges[first] : edges[first + 1]]):
            continue
        if first >= 0:
            yield first, at
        first = at
    if first >= 0:
        yield first, len(edges) - 1


# ------------------------------------------------------------------------------------------ times


@dataclass(frozen=True, eq=False)
class _Times:
    """The column of times.

    Parameters
    ----------
    raw
        Shape (rows,): whole numbers that stand for times.
    seconds
        Makes seconds of them: Unix seconds, or local time as if it were UTC.
    is_local
        Which of both.
    text
        A time as the file has it, by its row.
    """

    mapping: Mapping
    raw: NDArray[Any]
    seconds: Callable[[NDArray[Any]], Seconds]
    is_local: bool
    text: Callable[[int], str]

    def starts(self, raw: NDArray[Any], kind: str) -> tuple[Seconds, NDArray[np.int64] | None, int]:
        """When intervals start, ascending; which reading comes where; and their usual length."""
        times = self.seconds(raw)
        count = times.size
        backward = count > 1 and bool(times[0] > times[-1])
        if backward:
            times = times[::-1]
        back = self.mapping.marks_end and kind != "register"
        try:
            unix, step = self._unix(times, back=back)
        except SkippedTime as skipped:
            raise SkippedTime(count - 1 - skipped.at if backward else skipped.at) from None
        if not backward and bool((unix[1:] >= unix[:-1]).all()):
            return unix, None, step
        order = np.argsort(unix, kind="stable")
        return unix[order], (count - 1 - order if backward else order), step

    def _unix(self, times: Seconds, *, back: bool) -> tuple[Seconds, int]:
        step = self.mapping.step_seconds or common_step(np.sort(times))
        if not self.is_local:
            return (times - step if back else times), step
        clock = Clock.of_zone(self.mapping.zone, int(times.min()), int(times.max()))
        if not back:
            return clock.unix(times), step
        return _starts_of_ends(clock, times, step), step


def _starts_of_ends(clock: Clock, ends: Seconds, step: int) -> Seconds:
    """Starts of intervals that are written by their local ends.

    At a clock change some files write what the clock shows when an interval ends, others its start
    plus its length; whichever leaves fewer readings at the same time, or with times that do not
    exist, is taken.
    """
    ways: list[Callable[[], Seconds]] = [
        lambda: clock.unix(ends) - step,
        lambda: clock.unix(ends - step),
    ]
    found: list[Seconds] = []
    failure: SkippedTime | None = None
    for way in ways:
        try:
            found.append(way())
        except SkippedTime as skipped:
            failure = failure or skipped
    if not found:
        raise failure or SkippedTime(0)
    return max(found, key=lambda starts: len(np.unique(starts)))


def _times(table: _Table, cells: pd.Series, name: str) -> _Times:
    if cells.hasnans:
        missing = cells.isna().to_numpy()
        raise MeterDataError(table.place(int(np.argmax(missing)), name), "has no time")
    mapping = table.mapping

    def text(row: int) -> str:
        return str(cells.iloc[row])

    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        made = _instants(mapping, cells, text)
    elif pd.api.types.is_numeric_dtype(cells.dtype) or mapping.time_format == "unix":
        made = _unix_numbers(table, cells, name, text)
    else:
        made = _written(table, cells, name, text)
    return made if mapping.number is None else _numbered(table, made, mapping.number)


def _instants(mapping: Mapping, cells: pd.Series, text: Callable[[int], str]) -> _Times:
    is_local = cells.dt.tz is None
    array = cells.array
    raw: NDArray[np.int64] = array.asi8
    unit = _UNITS_PER_SECOND[array.unit]
    return _Times(mapping, raw, lambda some: some // unit, is_local, text)


def _unix_numbers(table: _Table, cells: pd.Series, name: str, text: Callable[[int], str]) -> _Times:
    if table.mapping.time_format != "unix":
        raise MeterDataError(
            str(table.path),
            f"has numbers as times in column {name!r}; if they are Unix seconds, set time_format "
            'to "unix" in the mapping file',
        )
    numbers = pd.to_numeric(cells.astype(object), errors="coerce").to_numpy(np.float64)
    wrong = ~((numbers >= _EARLIEST) & (numbers < _LATEST) & (numbers == np.floor(numbers)))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise MeterDataError(table.place(at, name), f"{text(at)} is no time in Unix seconds")
    raw = numbers.astype(np.int64)
    return _Times(table.mapping, raw, lambda some: some.astype(np.int64), is_local=False, text=text)


def _written(table: _Table, cells: pd.Series, name: str, text: Callable[[int], str]) -> _Times:
    if not isinstance(cells.dtype, pd.CategoricalDtype):
        cells = cells.astype("category")
    texts = pd.Series([str(each).strip() for each in cells.cat.categories], dtype=object)
    codes = cells.cat.codes.to_numpy()

    def refuse(wrong: NDArray[np.bool_], problem: str) -> None:
        if wrong.any():
            at = int(np.argmax(np.isin(codes, np.flatnonzero(wrong))))
            raise MeterDataError(table.place(at, name), f"{short(text(at))} {problem}")

    wanted = table.mapping.time_format or "ISO8601"
    moments = pd.to_datetime(texts, format=wanted, errors="coerce", utc=True)
    how = (
        f"does not fit time_format = {short(wanted)}"
        if table.mapping.time_format
        else f"is no time; write one such as {_EXAMPLE}, or set time_format in the mapping file"
    )
    refuse(moments.isna().to_numpy(), how)
    times = texts.str.split("[T ]", n=1, regex=True).str[-1]
    aware = times.str.contains(_OFFSET, regex=True).to_numpy(np.bool_)
    if len(set(aware.tolist())) > 1:
        refuse(
            ~aware, "has no offset from UTC, unlike other rows; write all times with it, or none"
        )
    exact = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    seconds = exact.astype("datetime64[s]")
    refuse(exact != seconds, "is no whole second")
    known = seconds.astype(np.int64)
    return _Times(table.mapping, codes, lambda some: known[some], not bool(aware.all()), text)


def _numbered(table: _Table, days: _Times, column: str) -> _Times:
    """Times from a column of days and one that counts the intervals of a day from 1.

    The count goes on over clock changes: a day has 23, 24 or 25 hours.
    """
    numbers = table.numbers([column])[0]
    step = table.mapping.step_seconds or 0
    wrong = ~((numbers >= 1) & (numbers <= _MOST_NUMBERS) & (numbers == np.floor(numbers)))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise MeterDataError(table.place(at, column), "must be a whole number from 1")
    raw = days.raw.astype(np.int64) * _MOST_NUMBERS + (numbers.astype(np.int64) - 1)

    def seconds(some: NDArray[Any]) -> Seconds:
        whole = some.astype(np.int64)
        midnights = days.seconds(whole // _MOST_NUMBERS)
        if days.is_local:
            first, at = np.unique(midnights, return_inverse=True)
            clock = Clock.of_zone(table.mapping.zone, int(first[0]), int(first[-1]))
            midnights = clock.unix(first)[at]
        return midnights + whole % _MOST_NUMBERS * step

    mapping = replace(table.mapping, marks_end=False)
    return _Times(mapping, raw, seconds, is_local=False, text=days.text)
