"""What an import gives: energies in whole Wh, what of them is estimated, and all findings."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairwatt.errors import FileError, MeterDataError
from fairwatt.extras import how_to_install
from fairwatt.profiles import utc
from fairwatt.units import WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FAULTS", "Channel", "Finding", "IntervalData"]

FAULTS: Final = {
    "gap": "readings are missing",
    "conflict": "different values for the same time",
    "overlap": "intervals overlap",
    "reset": "a counter fell back",
    "spike": "more than the connection can carry, or far beyond what the meter has else",
    "negative": "below zero, though it only counts in one direction",
    "spread": "one value for several intervals: the sum is known, its course is not",
    "unit": "perhaps in another unit",
    "time_zone": "perhaps in another time zone",
}
"""Kinds of findings that the policy `refuse` refuses, with what each means."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One meter in one direction: `import` from the grid, `export` to it, `net` import."""

    meter: str
    direction: str

    def __str__(self) -> str:
        return self.meter if self.direction == "import" else f"{self.meter} {self.direction}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the readings of a meter from one moment to another.

    Parameters
    ----------
    kind
        One of `FAULTS`, or a harmless one: `duplicate`, `rollover`, `clock`, `quality`, `skipped`.
    meter, direction
        Whose; the meter may be empty where all of a file is meant.
    start, end
        Unix seconds, UTC.
    problem
        What is wrong, for people.
    action
        What was done: `estimated`, `corrected`, `dropped`, `marked` as estimated, `kept`,
        `accepted` by the mapping; `refused` if the policy estimates nothing.
    """

    kind: str
    meter: str
    direction: str
    start: int
    end: int
    problem: str
    action: str

    @property
    def is_fault(self) -> bool:
        """Whether the policy `refuse` refuses it: it is a fault that nobody accepted."""
        return self.kind in FAULTS and self.action != "accepted"

    def __str__(self) -> str:
        who = f"{self.meter} {self.direction}".strip()
        span = (
            utc(self.start) if self.end <= self.start else f"{utc(self.start)} to {utc(self.end)}"
        )
        return f"{self.kind}, {who}, {span}: {self.problem}"

    def document(self) -> dict[str, str]:
        """As JSON."""
        return {
            "kind": self.kind,
            "meter": self.meter,
            "direction": self.direction,
            "from": utc(self.start),
            "to": utc(self.end),
            "problem": self.problem,
            "action": self.action,
        }


@dataclass(frozen=True, eq=False)
class IntervalData:
    """Energy per channel and period.

    Parameters
    ----------
    start, period_seconds
        First period (Unix seconds, UTC) and length of each.
    channels
        Whose rows they are.
    energy_wh
        Shape (channels, periods), whole Wh; `net` may be negative.
    estimated
        Shape (channels, periods): what no meter measured.
    findings
        All that was found, by meter and time.
    """

    start: int
    period_seconds: int
    channels: tuple[Channel, ...]
    energy_wh: NDArray[np.int64]
    estimated: NDArray[np.bool_]
    findings: tuple[Finding, ...]

    @property
    def periods(self) -> int:
        """How many periods there are."""
        return int(self.energy_wh.shape[1])

    @property
    def meters(self) -> tuple[str, ...]:
        """Names of the meters, each once."""
        return tuple(dict.fromkeys(channel.meter for channel in self.channels))

    def times(self) -> NDArray[np.int64]:
        """Start of each period, Unix seconds."""
        return self.start + self.period_seconds * np.arange(self.periods, dtype=np.int64)

    def injected_wh(self) -> NDArray[np.int64]:
        """What each meter gave to the grid minus what it took, shape (meters, periods).

        It is what a signed reading says: injected positive, taken negative.
        """
        rows = {meter: at for at, meter in enumerate(self.meters)}
        result = np.zeros((len(rows), self.periods), np.int64)
        for at, channel in enumerate(self.channels):
            sign = 1 if channel.direction == "export" else -1
            result[rows[channel.meter]] += sign * self.energy_wh[at]
        return result

    def estimated_meters(self) -> NDArray[np.bool_]:
        """Where a part of `injected_wh` is estimated, shape (meters, periods)."""
        rows = {meter: at for at, meter in enumerate(self.meters)}
        result = np.zeros((len(rows), self.periods), np.bool_)
        for at, channel in enumerate(self.channels):
            result[rows[channel.meter]] |= self.estimated[at]
        return result

    def write_table(self, path: Path) -> None:
        """Write a row per channel and period: CSV, or Parquet where the name says so.

        Columns: time (start of the period, UTC), meter, direction, energy_wh, estimated.

        Raises
        ------
        FileError
            If it cannot be written; what was there before is then still there.
        """
        if path.name.lower().endswith((".parquet", ".pq")):
            moments = pd.to_datetime(self.times(), unit="s", utc=True)
            frame = self._frame(moments)
            frame["time"] = frame["time"].astype(moments.dtype)
            _replace(path, lambda temporary: frame.to_parquet(temporary, index=False))
            return
        frame = self._frame([utc(time) for time in self.times().tolist()])
        _replace(path, lambda temporary: frame.to_csv(temporary, index=False, lineterminator="\n"))

    def write_profiles(self, path: Path, direction: str) -> None:
        """Write what cases read as profiles: a column of times, one of kWh for every meter.

        Raises
        ------
        MeterDataError
            If no channel has the direction.
        FileError
            If it cannot be written.
        """
        rows = [at for at, each in enumerate(self.channels) if each.direction == direction]
        if not rows:
            known = ", ".join(sorted({each.direction for each in self.channels}))
            raise MeterDataError(str(path), f"no meter has {direction} here, only {known}")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["time", *(self.channels[at].meter for at in rows)])
        energies = self.energy_wh[rows].T.tolist()
        for time, values in zip(self.times().tolist(), energies, strict=True):
            writer.writerow([utc(time), *map(_kwh, values)])
        _replace(path, lambda temporary: _write_text(temporary, text.getvalue()))

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind, the most frequent first."""
        return dict(Counter(finding.kind for finding in self.findings).most_common())

    def _frame(self, times: pd.DatetimeIndex | list[str]) -> pd.DataFrame:
        many, periods = self.energy_wh.shape
        channels = np.repeat(np.arange(many), periods)
        meters = {meter: at for at, meter in enumerate(self.meters)}
        names = np.array([meters[each.meter] for each in self.channels], np.int32)[channels]
        known = sorted({channel.direction for channel in self.channels})
        ways = np.array([known.index(each.direction) for each in self.channels], np.int8)[channels]
        at = np.tile(np.arange(periods, dtype=np.int32), many)
        return pd.DataFrame(
            {
                "time": _category(at, times),
                "meter": _category(names, list(meters)),
                "direction": _category(ways, known),
                "energy_wh": self.energy_wh.ravel(),
                "estimated": self.estimated.ravel(),
            },
            copy=False,
        )


def _category(codes: NDArray[Any], names: pd.DatetimeIndex | list[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, categories=pd.Index(names))  # type: ignore[arg-type]


def _kwh(energy_wh: int) -> str:
    """Exact decimals."""
    whole, part = divmod(abs(energy_wh), WH_PER_KWH)
    return f"{'-' if energy_wh < 0 else ''}{whole}.{part:03}"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is there as a whole or not at all."""
    try:
        target = path.resolve()
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o644)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except ImportError as error:
        raise FileError(
            str(path), f"a Parquet file {how_to_install('pyarrow', 'parquet')}"
        ) from error
    except OSError as error:
        raise FileError(str(path), (error.strerror or str(error)).lower()) from error
