"""Profiles from CSV and Parquet files: one row per period, one column per series.

The first column is the start of each row: ISO 8601 with an offset, or local time of a time zone.
Rows must be consecutive and evenly spaced. A profile with longer rows than the periods asked for
is spread evenly, one with shorter rows is summed up (energies) or averaged (prices, powers).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from fairwatt.errors import CaseError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fairwatt.community import Horizon

__all__ = ["Profiles", "Quantity", "moment", "time_zone"]

Quantity = Literal["energy", "rate"]
"""Whether a series adds up over time (kWh) or holds while it lasts (kW, token/kWh)."""
_FIRST_ROW: Final = 2  # of a CSV file, as editors count: the first holds the names


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
            place, f'{name!r} is no time zone; write one such as "Europe/Madrid" or "+01:00"'
        )
    return timezone(offset)


def moment(time: datetime, zone: tzinfo, place: str) -> int:
    """Unix seconds of a time with an offset, or of a local time that occurs exactly once.

    Raises
    ------
    CaseError
        If the local time is skipped or repeated by a clock change.
    """
    if time.tzinfo is not None:
        return int(time.timestamp())
    early, late = (time.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if early.utcoffset() != late.utcoffset():
        change = "repeated" if early.astimezone(UTC) < late.astimezone(UTC) else "skipped"
        raise CaseError(
            place,
            f"{time.isoformat(sep=' ')} is {change} by a clock change of {zone}; write times with "
            "their offset, such as 2019-10-27T02:30+02:00",
        )
    return int(early.timestamp())


@dataclass(frozen=True)
class _Table:
    start: int
    step_seconds: int
    columns: pd.DataFrame


@dataclass(frozen=True)
class Profiles:
    """The profile files of a folder, read once each.

    Parameters
    ----------
    folder
        File names are relative to it.
    zone
        Of times without an offset.
    """

    folder: Path
    zone: tzinfo
    _tables: dict[str, _Table] = field(default_factory=dict, repr=False)

    def read(
        self, file: str, column: str, horizon: Horizon, quantity: Quantity, place: str
    ) -> NDArray[np.float64]:
        """Values of a column over the periods of a horizon, shape (periods,).

        Raises
        ------
        CaseError
            With file, row and column of what is wrong; `place` is where the file is asked for.
        """
        table = self._table(file, place)
        if column not in table.columns:
            near = get_close_matches(column, [str(name) for name in table.columns], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise CaseError(place, f"{file} has no column {column!r}{hint}")
        first, rows = self._rows(file, table, horizon, place)
        values = table.columns[column].iloc[first : first + rows]
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            at = int(np.argmax(wrong))
            row, cell = first + at + _FIRST_ROW, values.iloc[at]
            what = "is missing" if pd.isna(cell) else f"is no number: {cell!r}"
            raise CaseError(f"{self.folder / file}, row {row}, column {column!r}", what)
        return _resampled(numbers, table.step_seconds, horizon.period_seconds, quantity)

    def _rows(self, file: str, table: _Table, horizon: Horizon, place: str) -> tuple[int, int]:
        """First row and number of rows that cover the horizon."""
        step, period = table.step_seconds, horizon.period_seconds
        if step % period and period % step:
            raise CaseError(
                place,
                f"{file} has a row every {step} s, which neither divides nor is a multiple of "
                f"periods of {period} s",
            )
        first, offset = divmod(horizon.start - table.start, step)
        seconds = horizon.periods * period
        end = table.start + len(table.columns) * step
        if first < 0 or horizon.start + seconds > end:
            raise CaseError(
                place,
                f"{file} covers {_utc(table.start)} to {_utc(end)}, the horizon is "
                f"{_utc(horizon.start)} to {_utc(horizon.start + seconds)}",
            )
        if offset or seconds % step:
            raise CaseError(
                place, f"the horizon must start and end with a row of {file}, every {step} s"
            )
        return first, seconds // step

    def _table(self, file: str, place: str) -> _Table:
        if file not in self._tables:
            self._tables[file] = self._load(file, place)
        return self._tables[file]

    def _load(self, file: str, place: str) -> _Table:
        path = self.folder / file
        try:
            frame = pd.read_parquet(path) if _is_parquet(file) else pd.read_csv(path)
        except FileNotFoundError as error:
            raise CaseError(place, f"there is no file {path}") from error
        except ImportError as error:
            raise CaseError(
                place, "Parquet files need the package pyarrow: pip install 'fairwatt[parquet]'"
            ) from error
        except (OSError, ValueError) as error:  # pandas: ParserError, UnicodeDecodeError and others
            raise CaseError(place, f"{path} cannot be read: {error}") from error
        if isinstance(frame.index, pd.DatetimeIndex):
            frame = frame.reset_index()
        if frame.shape[1] < 2 or len(frame) < 1:
            raise CaseError(place, f"{path} needs a column of times, others of values, and rows")
        start, step = self._times(frame.iloc[:, 0], path)
        columns = frame.iloc[:, 1:]
        columns.columns = columns.columns.map(str)
        return _Table(start, step, columns)

    def _times(self, times: pd.Series[str], path: Path) -> tuple[int, int]:
        """Start of the first row and distance of the rows, which must be even."""
        starts = np.array(
            [self._time(time, at, path) for at, time in enumerate(times)], dtype=np.int64
        )
        if starts.size == 1:
            return int(starts[0]), 3600
        steps = np.diff(starts)
        step = int(steps[0])
        uneven = steps != step
        if step <= 0 or uneven.any():
            at = int(np.argmax(uneven)) if step > 0 else 0
            raise CaseError(
                f"{path}, row {at + 1 + _FIRST_ROW}",
                f"comes {steps[at]} s after the row before, the first rows are {step} s apart; "
                "rows must be evenly spaced, without gap or repetition",
            )
        return int(starts[0]), step

    def _time(self, time: object, row: int, path: Path) -> int:
        place = f"{path}, row {row + _FIRST_ROW}"
        if isinstance(time, pd.Timestamp):
            return moment(time.to_pydatetime(), self.zone, place)
        try:
            return moment(datetime.fromisoformat(str(time).strip()), self.zone, place)
        except ValueError as error:
            raise CaseError(
                place, f"{time!r} is no time; write one such as 2019-06-30T13:00"
            ) from error


def _resampled(
    values: NDArray[np.float64], step: int, period: int, quantity: Quantity
) -> NDArray[np.float64]:
    if step >= period:
        parts = step // period
        return np.repeat(values / parts if quantity == "energy" else values, parts)
    groups = values.reshape(-1, period // step)
    result: NDArray[np.float64] = (
        groups.sum(axis=1) if quantity == "energy" else groups.mean(axis=1)
    )
    return result


def _is_parquet(file: str) -> bool:
    return file.lower().endswith((".parquet", ".pq"))


def _utc(time: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time)).strftime("%Y-%m-%dT%H:%MZ")
