"""Which periods of a case are looked at, and what of a daily window falls into them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Final

from fairwatt.community import Horizon
from fairwatt.errors import CaseError
from fairwatt.profiles import change, moment, utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["LONGEST", "HorizonChoice", "Stay", "days_after", "end_of", "stays"]

LONGEST: Final = 1_000_000
"""Most periods of a horizon."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HorizonChoice:
    """A horizon that a case names, with changes.

    Parameters
    ----------
    name
        Of the horizon.
    start
        Another start, local time of the case unless it carries an offset; None: as named.
    periods, days
        Another length, in periods or in local days (which a clock change makes 23 or 25 hours
        long), one of them at most; None: as long as named.
    period_minutes
        Another length of the periods.
    """

    name: str = "default"
    start: datetime | None = None
    periods: int | None = None
    days: int | None = None
    period_minutes: int | None = None

    def of(self, horizons: Mapping[str, Horizon], zone: tzinfo) -> Horizon:
        """The horizon that was chosen.

        Raises
        ------
        CaseError
            If there is none of that name, or its length is not whole periods.
        """
        if self.name not in horizons:
            raise CaseError(
                "horizon", f"there is no horizon {self.name!r}; there are {', '.join(horizons)}"
            )
        named = horizons[self.name]
        start = named.start if self.start is None else moment(self.start, zone, "start")
        seconds = named.period_seconds if self.period_minutes is None else self.period_minutes * 60
        if self.periods is not None:
            return Horizon(start, seconds, self.periods)
        duration = named.periods * named.period_seconds
        if self.days is not None:
            duration = days_after(start, self.days, zone, "days") - start
        return _of_duration(start, duration, seconds, "period_minutes")


def days_after(start: int, days: int, zone: tzinfo, place: str) -> int:
    """The same local time some days later, Unix seconds.

    Raises
    ------
    CaseError
        If a clock change skips or repeats that time.
    """
    return moment(
        datetime.fromtimestamp(start, zone).replace(tzinfo=None) + days * _DAY, zone, place
    )


def _of_duration(start: int, duration: int, seconds: int, place: str) -> Horizon:
    periods, rest = divmod(duration, seconds)
    if rest or not periods:
        raise CaseError(
            place,
            f"the horizon lasts {duration / 60:g} minutes, which are not whole periods of "
            f"{seconds / 60:g} minutes",
        )
    return Horizon(start, seconds, periods)


def horizon_of_days(start: int, days: int, seconds: int, zone: tzinfo, place: str) -> Horizon:
    """A horizon of local days.

    Raises
    ------
    CaseError
        If they are not whole periods.
    """
    return _of_duration(start, days_after(start, days, zone, place) - start, seconds, place)


def end_of(horizon: Horizon) -> int:
    """End of the last period, Unix seconds."""
    return horizon.start + horizon.periods * horizon.period_seconds


@dataclass(frozen=True, slots=True)
class Stay:
    """What of a window falls into a horizon.

    Attributes
    ----------
    first
        First whole period in the window.
    periods
        How many whole periods, >= 1.
    share
        Part of the window's time that lies within the horizon; 1: nothing is cut off.
    """

    first: int
    periods: int
    share: float


def stays(
    begin: time | datetime, end: time | datetime, horizon: Horizon, zone: tzinfo, place: str
) -> Iterator[Stay]:
    """Windows within a horizon: one for each day, or one for good if both ends carry a date.

    A daily window that does not end after its begin ends on the next day. Where clocks change, a
    skipped time of day is the moment of the change; a repeated one opens the window when it comes
    first and closes it when it comes last. A window that a change skips altogether does not happen.

    Parameters
    ----------
    place
        Where the end is said.

    Raises
    ------
    CaseError
        If a window that the horizon does not cut has no whole period in it.
    """
    windows: Iterable[tuple[int, int]]
    if isinstance(begin, datetime) and isinstance(end, datetime):
        windows = [(moment(begin, zone, place), moment(end, zone, place))]
    elif isinstance(begin, datetime) or isinstance(end, datetime):
        raise CaseError(place, "must have a date as the begin has, or both only a time of day")
    else:
        windows = _daily(begin, end, horizon, zone)
    seconds = horizon.period_seconds
    for opens, closes in windows:
        if closes <= opens:
            continue
        seen_from, seen_to = max(opens, horizon.start), min(closes, end_of(horizon))
        first = -((horizon.start - seen_from) // seconds)
        periods = (seen_to - horizon.start) // seconds - first
        if periods >= 1:
            yield Stay(first, periods, (seen_to - seen_from) / (closes - opens))
        elif (seen_from, seen_to) == (opens, closes):
            raise CaseError(
                place,
                f"no whole period of {seconds / 60:g} minutes lies between {utc(opens)} and "
                f"{utc(closes)}; widen the window or shorten the periods",
            )


def _daily(begin: time, end: time, horizon: Horizon, zone: tzinfo) -> Iterator[tuple[int, int]]:
    finish = end_of(horizon)
    day = datetime.fromtimestamp(horizon.start, zone).date() - _DAY
    while (opens := _instant(day, begin, zone, last=False)) < finish:
        yield opens, _instant(day if end > begin else day + _DAY, end, zone, last=True)
        day += _DAY


def _instant(day: date, clock: time, zone: tzinfo, *, last: bool) -> int:
    local = datetime.combine(day, clock)
    match change(local, zone):
        case "repeated":
            return int(local.replace(tzinfo=zone, fold=int(last)).timestamp())
        case "skipped":
            return _moment_of_change(local, zone)
    return int(local.replace(tzinfo=zone).timestamp())


def _moment_of_change(skipped: datetime, zone: tzinfo) -> int:
    """When clocks jump over a local time, Unix seconds: it lies between both readings of it."""
    low, high = (int(skipped.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (1, 0))
    after = datetime.fromtimestamp(high, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high
