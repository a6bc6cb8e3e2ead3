"""Local clocks: offsets from UTC over time, and Unix seconds of local times, for many at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairwatt.units import SECONDS_PER_DAY

__all__ = ["Clock", "DaylightRule", "SkippedTime"]

Seconds = NDArray[np.int64]

_MARGIN: Final = 60 * SECONDS_PER_DAY  # similar days are sought so far beyond the data
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SkippedTime(Exception):  # noqa: N818 - says what happened
    """A local time does not exist: clocks are put forward over it. Carries its position."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass(frozen=True, slots=True)
class DaylightRule:
    """When clocks change every year, as ESPI and IEEE 2030.5 encode it in 32 bits.

    Parameters
    ----------
    month, day, weekday
        1 to 12, 0 to 31, 0 to 7; Monday is 1, and 0 says that it does not matter.
    operator
        0: on the day of the month. 1: on the weekday on or after it. 2 to 6: on the first to the
        fifth such weekday of the month. 7: on the last.
    seconds
        Of the day, as the clock shows just before it changes.
    """

    month: int
    day: int
    weekday: int
    operator: int
    seconds: int

    @classmethod
    def decoded(cls, code: int) -> DaylightRule:
        """From 32 bits: month 4, operator 3, day 5, weekday 3, hour 5, second of the hour 12.

        Raises
        ------
        ValueError
            If a part is out of range.
        """
        month, operator, day = code >> 28 & 15, code >> 25 & 7, code >> 20 & 31
        weekday, hour, second = code >> 17 & 7, code >> 12 & 31, code & 0xFFF
        needs_day = operator in (0, 1)
        if (
            not 1 <= month <= 12
            or hour > 23
            or second > 3599
            or (needs_day and not day)
            or (operator and not weekday)
        ):
            raise ValueError(f"{code:08X} is no rule of a clock change")
        return cls(month, day, weekday, operator, hour * 3600 + second)

    def local(self, year: int) -> int:
        """Local time of the change in a year, in seconds since 1970-01-01 00:00 local time."""
        first = datetime(year, self.month, 1, tzinfo=UTC)
        following = datetime(year + self.month // 12, self.month % 12 + 1, 1, tzinfo=UTC)
        if self.operator <= 1:
            date = first + timedelta(days=self.day - 1)
            if self.operator:
                date += timedelta(days=(self.weekday - date.isoweekday()) % 7)
        else:
            date = first + timedelta(days=(self.weekday - first.isoweekday()) % 7)
            date += timedelta(days=7 * (min(self.operator, 6) - 2))
            while date >= following:  # the last, or a fifth that there is not
                date -= timedelta(days=7)
        return int(date.timestamp()) + self.seconds


@dataclass(frozen=True, eq=False)
class Clock:
    """Offsets of a local clock, from one change to the next.

    Parameters
    ----------
    changes
        Unix seconds at which the offset changes, ascending.
    offsets
        Seconds ahead of UTC before the first change and after each: one more than `changes`.
    name
        As messages call it.
    """

    changes: Seconds
    offsets: Seconds
    name: str

    @classmethod
    def of_zone(cls, zone: tzinfo, first: int, last: int) -> Clock:
        """The clock of a time zone around the moments `first` to `last` (Unix seconds)."""
        days = range(first - _MARGIN, last + _MARGIN + SECONDS_PER_DAY, SECONDS_PER_DAY)
        offsets = [_offset(zone, day) for day in days]
        changes, kept = [], offsets[:1]
        for at in range(1, len(offsets)):
            if offsets[at] != offsets[at - 1]:
                changes.append(_moment_of_change(zone, days[at - 1], days[at]))
                kept.append(offsets[at])
        return cls(np.array(changes, np.int64), np.array(kept, np.int64), str(zone))

    @classmethod
    def of_rules(
        cls,
        *,
        offset: int,
        saving: int,
        start: DaylightRule,
        end: DaylightRule,
        first: int,
        last: int,
    ) -> Clock:
        """A clock that is `offset` ahead of UTC, and by `saving` seconds more in summer."""
        years = range(_year(first) - 1, _year(last) + 2)
        changes = [(start.local(year) - offset, offset + saving) for year in years]
        changes += [(end.local(year) - offset - saving, offset) for year in years]
        changes.sort()
        before = offset if changes[0][1] != offset else offset + saving
        return cls(
            np.array([moment for moment, _ in changes], np.int64),
            np.array([before, *(after for _, after in changes)], np.int64),
            f"UTC{_signed(offset)} with summer time",
        )

    @classmethod
    def fixed(cls, offset: int) -> Clock:
        """A clock that never changes."""
        name = f"UTC{_signed(offset)}"
        return cls(np.empty(0, np.int64), np.array([offset], np.int64), name)

    @property
    def standard(self) -> int:
        """Seconds that the clock is ahead of UTC outside summer time."""
        return int(self.offsets.min())

    def offset(self, moments: Seconds) -> Seconds:
        """Seconds that the clock is ahead of UTC at each moment."""
        result: Seconds = self.offsets[np.searchsorted(self.changes, moments, side="right")]
        return result

    def unix(self, local: Seconds) -> Seconds:
        """Unix seconds of local times in the sequence in which they were written.

        A time that clocks show twice is its first occurrence, unless that is not later than the
        time before it: hours that stand there twice are resolved by their sequence.

        Raises
        ------
        SkippedTime
            If clocks never showed one of the times.
        """
        before, after = self.offsets[:-1], self.offsets[1:]
        cuts = self.changes + np.maximum(before, after)
        lows = self.changes + np.minimum(before, after)
        at = np.searchsorted(cuts, local, side="right")
        result: Seconds = local - self.offsets[at]
        if not cuts.size:
            return result
        near = np.minimum(at, cuts.size - 1)
        doubtful = (at < cuts.size) & (local >= lows[near])
        for row in np.flatnonzero(doubtful).tolist():
            change = int(at[row])
            if after[change] > before[change]:
                raise SkippedTime(row)
            if row and result[row] <= result[row - 1]:
                result[row] = local[row] - after[change]
        return result


def _offset(zone: tzinfo, moment: int) -> int:
    ahead = (_EPOCH + timedelta(seconds=moment)).astimezone(zone).utcoffset()
    return int((ahead or timedelta()).total_seconds())


def _moment_of_change(zone: tzinfo, early: int, late: int) -> int:
    """First second with the offset of `late`, by halving."""
    target = _offset(zone, late)
    while late - early > 1:
        middle = (early + late) // 2
        if _offset(zone, middle) == target:
            late = middle
        else:
            early = middle
    return late


def _year(moment: int) -> int:
    return (_EPOCH + timedelta(seconds=moment)).year


def _signed(offset: int) -> str:
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"
