"""A file of meter data, from its bytes to whole Wh per period."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fairwatt.errors import MeterDataError, MeterDataRefused
from fairwatt.metering._batch import straightened
from fairwatt.metering._cells import Horizon, cells_of
from fairwatt.metering._clock import Clock
from fairwatt.metering._data import Finding, IntervalData
from fairwatt.metering._espi import is_espi, read_espi
from fairwatt.metering._estimates import estimate
from fairwatt.metering._faults import find_faults
from fairwatt.metering._mapping import Checks, Mapping
from fairwatt.metering._periods import energy_wh, touched
from fairwatt.metering._tables import read_table
from fairwatt.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from fairwatt.metering._batch import Batch, Readings

__all__ = ["POLICIES", "check", "load"]

POLICIES: Final = ("refuse", "estimate")
_YEAR: Final = 365 * SECONDS_PER_DAY
_SHORTEST_PERIOD: Final = 60
_BLOCK_CELLS: Final = 1 << 18  # of channels that are worked on at once: they fit into the cache
_MOST_CELLS: Final = 1 << 31
_MOST_CELLS_OF_ONE: Final = 1 << 25  # 60 years of minutes
_SLACK_SECONDS: Final = 60  # that a counter may be read before or after a period
_NAMED: Final = 3


def load(
    path: Path,
    mapping: Mapping | None = None,
    *,
    period_seconds: int = 900,
    policy: str = "refuse",
    start: int | None = None,
    end: int | None = None,
    progress: Callable[[float], object] = lambda _: None,
) -> IntervalData:
    """Read a file and bring it to the periods of a market.

    Parameters
    ----------
    mapping
        Which column is what; a Green Button file only takes its checks.
    period_seconds
        60 to 86,400, a part of the day.
    policy
        `refuse`: any fault that the mapping does not accept refuses the file. `estimate`: what is
        missing or cannot be true is estimated, and marked.
    start, end
        Unix seconds, boundaries of periods; by default all that the file has.
    progress
        Is told how much is done, from 0 to 1.

    Raises
    ------
    MeterDataRefused
        If there are faults and the policy refuses them.
    MeterDataError
        If the file cannot be read, or nothing can be estimated from it.
    """
    if policy not in POLICIES:
        raise MeterDataError("policy", f"must be {' or '.join(POLICIES)}, not {policy!r}")
    _require_period(period_seconds, start, end)
    mapping = mapping or Mapping()
    readings, clock = _readings(path, mapping)
    _require_once(path, readings)
    horizon = _horizon(path, readings, period_seconds, start, end)
    try:
        data = _settled(readings, mapping.checks, clock, horizon, policy=policy, progress=progress)
    except MeterDataError as error:
        raise MeterDataError(f"{path}, {error.path}", error.problem) from error
    faults = [finding for finding in data.findings if finding.is_fault]
    if policy == "refuse" and faults:
        raise MeterDataRefused(str(path), _refusal(faults), data.findings)
    return data


def check(
    path: Path, mapping: Mapping | None = None, *, period_seconds: int = 900
) -> tuple[Finding, ...]:
    """Find what is wrong with a file; what would be refused has the action `refused`.

    Raises
    ------
    MeterDataError
        If the file cannot be read.
    """
    try:
        return load(path, mapping, period_seconds=period_seconds).findings
    except MeterDataRefused as refused:
        return refused.findings


def _require_period(period_seconds: int, start: int | None, end: int | None) -> None:
    fits = _SHORTEST_PERIOD <= period_seconds <= SECONDS_PER_DAY
    if not fits or SECONDS_PER_DAY % period_seconds:
        raise MeterDataError(
            "period", f"must be 60 to 86,400 s and divide the day, not {period_seconds} s"
        )
    for name, moment in (("start", start), ("end", end)):
        if moment is not None and moment % period_seconds:
            raise MeterDataError(name, "must be a boundary of periods")
    if start is not None and end is not None and end <= start:
        raise MeterDataError("end", "must be after the start")


def _readings(path: Path, mapping: Mapping) -> tuple[Readings, Clock]:
    if is_espi(path):
        readings, own = read_espi(path)
        if own is not None and not mapping.zone_is_given:
            return straightened(readings), own
    else:
        readings = read_table(path, mapping)
    readings = straightened(readings)
    if not readings.batches:
        raise MeterDataError(str(path), "has no readings")
    first = min(batch.start for batch in readings.batches)
    last = max(batch.end for batch in readings.batches)
    return readings, Clock.of_zone(mapping.zone, first, last)


def _require_once(path: Path, readings: Readings) -> None:
    counts = Counter(channel for batch in readings.batches for channel in batch.channels)
    for channel, count in counts.items():
        if count > 1:
            raise MeterDataError(
                f"{path}, meter {channel.meter}",
                f"its {channel.direction} comes from {count} columns; name each once in the "
                "mapping file",
            )


def _horizon(
    path: Path, readings: Readings, period: int, start: int | None, end: int | None
) -> Horizon:
    batches = readings.batches
    if start is None:
        start = min(_rounded(batch, batch.start, period) for batch in batches)
    if end is None:
        end = max(-_rounded(batch, -batch.end, period) for batch in batches)
    if end <= start:
        raise MeterDataError(str(path), "has no reading in the span asked for")
    periods = (end - start) // period
    if periods * sum(len(batch.channels) for batch in batches) > _MOST_CELLS:
        raise MeterDataError(
            str(path),
            f"spans {periods:,} periods for {len(batches):,} meters or more, which is too much at "
            "once; is one of its times wrong? Choose a span, or longer periods",
        )
    return Horizon(start, period, periods)


def _rounded(batch: Batch, moment: int, period: int) -> int:
    """Boundary of periods before, or after where a counter is read a moment too late."""
    slack = _SLACK_SECONDS if batch.kind == "register" else 0
    return (moment + slack) // period * period


def _settled(
    readings: Readings,
    checks: Checks,
    clock: Clock,
    horizon: Horizon,
    *,
    policy: str,
    progress: Callable[[float], object],
) -> IntervalData:
    channels = tuple(channel for batch in readings.batches for channel in batch.channels)
    energy = _room(readings.batches, (len(channels), horizon.periods))
    estimated = np.zeros((len(channels), horizon.periods), np.bool_)
    findings = list(readings.findings)
    done = 0
    for batch, rows in _blocks(readings.batches, horizon):
        cells = cells_of(batch, rows, horizon)
        find_faults(cells, batch, rows, checks, clock)
        here = slice(done, done + len(cells.channels))
        filled = estimate(cells, checks, clock) if policy == "estimate" else None
        energy_wh(cells, horizon, energy[here])
        if filled is not None:
            estimated[here] = touched(cells, horizon, filled)
        if cells.marked is not None:
            marks = np.broadcast_to(cells.marked, cells.energy.shape)
            estimated[here] |= touched(cells, horizon, marks)
        findings += cells.findings
        done = here.stop
        progress(done / len(channels))
    findings.sort(key=lambda each: (each.meter, each.direction, each.start, each.kind))
    return IntervalData(
        horizon.start, horizon.period_seconds, channels, energy, estimated, tuple(findings)
    )


def _room(batches: tuple[Batch, ...], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Room for the result: that of the values where it fits, for each is read but once.

    Memory that is new must be given by the system page by page, which takes as long as all else.
    """
    values = batches[0].values
    flags = values.flags
    if len(batches) == 1 and values.shape == shape and flags.c_contiguous and flags.writeable:
        return values.view(np.int64)
    return np.empty(shape, np.int64)


def _blocks(batches: Iterable[Batch], horizon: Horizon) -> Iterable[tuple[Batch, slice]]:
    for batch in batches:
        cells = max(batch.times.size, (horizon.end - horizon.start) // batch.step_seconds, 1)
        if cells > _MOST_CELLS_OF_ONE:
            years = cells * batch.step_seconds // _YEAR
            raise MeterDataError(
                f"meter {batch.channels[0].meter}",
                f"has readings every {batch.step_seconds} s over {years} years, which is too much "
                "at once; is one of its times wrong?",
            )
        many = max(1, _BLOCK_CELLS // cells)
        for first in range(0, len(batch.channels), many):
            yield batch, slice(first, first + many)


def _refusal(faults: list[Finding]) -> str:
    counts = Counter(finding.kind for finding in faults).most_common()
    listed = ", ".join(f"{count:,} {kind}" for kind, count in counts)
    named = "\n  ".join(str(finding) for finding in faults[:_NAMED])
    more = f"\n  ... and {len(faults) - _NAMED:,} more" if len(faults) > _NAMED else ""
    return (
        f"is refused for what was found ({listed}); correct it, estimate it (policy estimate), or "
        f"accept it in the mapping file:\n  {named}{more}"
    )
