"""From readings to cells: energy on an even grid of the meter's own intervals, and what is missing.

Energies are whole micro-Wh from here on, so sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fairwatt.errors import MeterDataError
from fairwatt.metering._data import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.metering._batch import Batch
    from fairwatt.metering._data import Channel

__all__ = ["Cells", "Horizon", "cells_of", "runs", "span_text"]

Wh = NDArray[np.int64]

_MOST_MICRO_WH: Final = 9e15  # 9 GWh in an interval; up to here floats are exact
_MOST_LOST_SECONDS: Final = 60
_LONG: Final = 1.5  # of the usual interval
_NEAR_TOP: Final = 0.99  # of a counter whose digits nobody told


@dataclass(frozen=True, slots=True)
class Horizon:
    """The periods asked for: first moment, length of a period in seconds, how many."""

    start: int
    period_seconds: int
    periods: int

    @property
    def end(self) -> int:
        """The moment after the last period."""
        return self.start + self.period_seconds * self.periods


@dataclass(eq=False)
class Cells:
    """Energies of channels on an even grid.

    Parameters
    ----------
    channels
        Whose rows they are.
    start, step_seconds
        First cell (Unix seconds) and length of each.
    energy
        Shape (channels, cells), micro-Wh; what is known of a cell that is missing in part.
    lack
        Shape (channels, cells): part of each cell that is missing, 0 to 1; None if nothing is.
    explained
        Shape (channels, cells): missing for a reason that a finding names; None as `lack`.
    spread
        For each row the runs of cells, first and one past the last, of which only the sum is
        known.
    marked
        Shape (cells,): what the file says is estimated; None if nothing.
    findings
        What was found so far.
    """

    channels: tuple[Channel, ...]
    start: int
    step_seconds: int
    energy: Wh
    lack: NDArray[np.float32] | None
    explained: NDArray[np.bool_] | None
    spread: dict[int, list[tuple[int, int]]]
    marked: NDArray[np.bool_] | None
    findings: list[Finding]

    def drop(self, row: int, cells: NDArray[np.bool_]) -> None:
        """Take the energy of cells as missing, for a reason that a finding names."""
        if self.lack is None or self.explained is None:
            self.lack = np.zeros(self.energy.shape, np.float32)
            self.explained = np.zeros(self.energy.shape, np.bool_)
        self.energy[row, cells] = 0
        self.lack[row, cells] = 1
        self.explained[row, cells] = True

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Moments of a run of cells, `last` being one past it."""
        return self.start + first * self.step_seconds, self.start + last * self.step_seconds


def runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Runs of true flags, as first and one past the last."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def span_text(seconds: int) -> str:
    """Write how long something takes."""
    if seconds % 86_400 == 0 and seconds > 86_400:
        return f"{seconds // 86_400} days"
    if seconds % 3600 == 0:
        return f"{seconds // 3600} h"
    return f"{seconds / 60:g} min"


def cells_of(batch: Batch, rows: slice, horizon: Horizon) -> Cells:
    """Bring some channels of a batch to an even grid that covers the horizon.

    Raises
    ------
    MeterDataError
        If a value is beyond what any meter counts.
    """
    channels = batch.channels[rows]
    micro = _micro(batch, batch.values[rows], channels)
    if batch.kind == "register":
        return _of_counters(batch, channels, micro, horizon)
    if batch.durations is None and _is_even(batch.times, batch.step_seconds):
        return _even(batch, channels, batch.times, micro, horizon)
    return _uneven(batch, channels, micro, horizon)


def _micro(
    batch: Batch, values: NDArray[np.float64], channels: tuple[Channel, ...]
) -> NDArray[np.float64]:
    """Whole micro-Wh as floats, NaN for none."""
    scale: float | NDArray[np.float64] = batch.micro_wh
    if batch.kind == "power":
        scale = scale * (batch.step_seconds if batch.durations is None else batch.durations)
    micro = np.empty(values.shape)  # row by row, whatever the file has
    np.multiply(values, scale, out=micro)
    np.rint(micro, out=micro)
    largest = np.fmax.reduce(micro, axis=1), np.fmin.reduce(micro, axis=1)
    beyond = (largest[0] > _MOST_MICRO_WH) | (largest[1] < -_MOST_MICRO_WH)
    if batch.kind != "register" and beyond.any():
        row = int(np.argmax(beyond))
        raise MeterDataError(
            f"meter {channels[row]}",
            f"has {np.nanmax(np.abs(micro[row])) / 1e9:g} kWh in an interval; no meter counts "
            "that: see to the unit and the decimal sign in the mapping file",
        )
    return micro


def _is_even(times: Wh, step: int) -> bool:
    gaps = np.diff(times)
    if (gaps == step).all():
        return True
    return bool((gaps > 0).all() and (gaps % step == 0).all())


def _whole(micro: NDArray[np.float64]) -> tuple[Wh, NDArray[np.bool_] | None]:
    """As integers, and what is missing."""
    if not np.isnan(np.maximum.reduce(micro, axis=1)).any():  # which hands NaN on
        return micro.astype(np.int64), None
    missing = np.isnan(micro)
    return np.where(missing, 0.0, micro).astype(np.int64), missing


def _even(
    batch: Batch,
    channels: tuple[Channel, ...],
    times: Wh,
    micro: NDArray[np.float64],
    horizon: Horizon,
) -> Cells:
    """Readings on an even grid, perhaps with holes."""
    step = batch.step_seconds
    start = horizon.start - (horizon.start - int(times[0])) % step
    count = -((start - horizon.end) // step)
    energy, missing = _whole(micro)
    at = (times - start) // step
    inside = (at >= 0) & (at < count)
    marked = batch.marked
    if not inside.all():
        at, energy = at[inside], energy[:, inside]
        missing = None if missing is None else missing[:, inside]
        marked = None if marked is None else marked[inside]
    lack = None
    if at.size != count:
        full = np.zeros((len(channels), count), np.int64)
        full[:, at] = energy
        lack = np.ones((len(channels), count), np.float32)
        lack[:, at] = 0 if missing is None else missing
        energy = full
        if marked is not None:
            marks = np.zeros(count, np.bool_)
            marks[at] = marked
            marked = marks
    elif missing is not None:
        lack = missing.astype(np.float32)
    explained = None if lack is None else np.zeros(energy.shape, np.bool_)
    return Cells(channels, start, step, energy, lack, explained, {}, marked, [])


# ------------------------------------------------------------------------------------ one by one


@dataclass(frozen=True, eq=False)
class _Intervals:
    """Intervals of one channel, ascending, none over another."""

    starts: Wh
    lengths: Wh
    energy: Wh


def _uneven(
    batch: Batch, channels: tuple[Channel, ...], micro: NDArray[np.float64], horizon: Horizon
) -> Cells:
    """Intervals that stand twice, overlap, differ in length or lie off the grid."""
    step = batch.step_seconds
    lengths = np.full(batch.times.size, step) if batch.durations is None else batch.durations
    times = batch.times
    parts: list[_Intervals] = []
    findings: list[Finding] = []
    causes: list[list[tuple[int, int]]] = []
    for row, channel in enumerate(channels):
        known = ~np.isnan(micro[row])
        each = _Intervals(times[known], lengths[known], micro[row, known].astype(np.int64))
        each, spans = _unique(each, channel, findings)
        each, over = _without_overlaps(each, channel, findings)
        parts.append(each)
        causes.append(spans + over)
    marks = None if batch.marked is None else (times[batch.marked], lengths[batch.marked])
    return _gathered(
        parts,
        causes,
        channels=channels,
        step=step,
        horizon=horizon,
        findings=findings,
        marks=marks,
    )


def _unique(
    each: _Intervals, channel: Channel, findings: list[Finding]
) -> tuple[_Intervals, list[tuple[int, int]]]:
    """One interval for each start; where values differ, none."""
    again = np.flatnonzero(each.starts[1:] == each.starts[:-1]) + 1
    if not again.size:
        return each, []
    firsts = np.flatnonzero(np.concatenate(([True], each.starts[1:] != each.starts[:-1])))
    low, high = (f.reduceat(each.energy, firsts) for f in (np.minimum, np.maximum))
    longest = np.maximum.reduceat(each.lengths, firsts)
    size = np.diff(np.append(firsts, each.starts.size))
    same = (low == high) & (np.minimum.reduceat(each.lengths, firsts) == longest)
    starts = each.starts[firsts]
    spans: list[tuple[int, int]] = []
    for kind, wanted in (("duplicate", (size > 1) & same), ("conflict", (size > 1) & ~same)):
        for begin, end in runs(wanted):
            span = int(starts[begin]), int(starts[end - 1] + longest[end - 1])
            what = "times that stand there more than once have"
            if kind == "conflict":
                spans.append(span)
                pair = f"{low[begin] / 1e6:g} and {high[begin] / 1e6:g} Wh"
                problem = f"{end - begin} {what} different values, first {pair}"
            else:
                problem = f"{end - begin} {what} the same value"
            action = "dropped" if kind == "duplicate" else "refused"
            findings.append(Finding(kind, channel.meter, channel.direction, *span, problem, action))
    keep = firsts[same]
    return _Intervals(each.starts[keep], each.lengths[keep], each.energy[keep]), spans


def _without_overlaps(
    each: _Intervals, channel: Channel, findings: list[Finding]
) -> tuple[_Intervals, list[tuple[int, int]]]:
    ends = each.starts + each.lengths
    if each.starts.size < 2:
        return each, []
    latest = np.maximum.accumulate(ends)
    over = each.starts[1:] < latest[:-1]
    if not over.any():
        return each, []
    bad = np.zeros(each.starts.size, np.bool_)
    bad[1:] |= over
    bad[:-1] |= ends[:-1] > np.minimum.accumulate(each.starts[::-1])[::-1][1:]
    spans = []
    for begin, end in runs(bad):
        span = int(each.starts[begin]), int(ends[begin:end].max())
        spans.append(span)
        problem = f"{end - begin} intervals overlap"
        findings.append(
            Finding("overlap", channel.meter, channel.direction, *span, problem, "refused")
        )
    good = ~bad
    return _Intervals(each.starts[good], each.lengths[good], each.energy[good]), spans


def _gathered(
    parts: list[_Intervals],
    causes: list[list[tuple[int, int]]],
    *,
    channels: tuple[Channel, ...],
    step: int,
    horizon: Horizon,
    findings: list[Finding],
    marks: tuple[Wh, Wh] | None = None,
) -> Cells:
    """Intervals of any start and length on one grid: that of the meters, or that of the market."""
    filled = [part for part in parts if part.starts.size]
    phase = int(filled[0].starts[0]) % step if filled else 0
    on_grid = all(
        not ((part.starts - phase) % step).any() and not (part.lengths % step).any()
        for part in filled
    )
    if not on_grid:
        step, phase = horizon.period_seconds, horizon.start % horizon.period_seconds
    start = horizon.start - (horizon.start - phase) % step
    count = -((start - horizon.end) // step)
    edges = start + step * np.arange(count + 1)
    shape = len(channels), count
    cells = Cells(
        channels,
        start,
        step,
        np.zeros(shape, np.int64),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.bool_),
        {},
        None,
        findings,
    )
    for row, part in enumerate(parts):
        energy, covered = _accumulated(part, edges)
        cells.energy[row] = energy
        unknown = step - covered
        unknown[unknown <= min(_MOST_LOST_SECONDS, step // 10)] = 0  # at the ends of a counter
        cells.lack[row] = unknown / step  # type: ignore[index]
        for begin, end in causes[row]:
            cells.explained[row, _between(begin, end, start, step, count)] = True  # type: ignore[index]
        cells.spread[row] = [
            (span.start, span.stop)
            for span in (
                _between(int(s), int(s + d), start, step, count)
                for s, d in zip(part.starts.tolist(), part.lengths.tolist(), strict=True)
                if d > _LONG * step
            )
            if span.stop > span.start
        ]
    if marks is not None:
        cells.marked = np.zeros(count, np.bool_)
        for begin, length in zip(*(column.tolist() for column in marks), strict=True):
            cells.marked[_between(begin, begin + length, start, step, count)] = True
    return cells


def _between(begin: int, end: int, start: int, step: int, count: int) -> slice:
    """Cells that a span touches."""
    first, last = (begin - start) // step, -((start - end) // step)
    return slice(max(first, 0), max(min(last, count), 0))


def _accumulated(part: _Intervals, edges: Wh) -> tuple[Wh, Wh]:
    """Energy and covered seconds between edges; whole numbers, so that sums stay as they are."""
    ends = part.starts + part.lengths
    energy = np.concatenate(([0], np.cumsum(part.energy)))
    seconds = np.concatenate(([0], np.cumsum(part.lengths)))
    at = np.searchsorted(ends, edges, side="right")
    energy_at, seconds_at = energy[at], seconds[at]
    open_ = np.flatnonzero(at < part.starts.size)
    which = at[open_]
    inside = np.maximum(edges[open_] - part.starts[which], 0)
    whole, rest = np.divmod(part.energy[which], part.lengths[which])
    energy_at[open_] += whole * inside + rest * inside // part.lengths[which]
    seconds_at[open_] += inside
    return np.diff(energy_at), np.diff(seconds_at)


# --------------------------------------------------------------------------------------- counters


def _of_counters(
    batch: Batch, channels: tuple[Channel, ...], micro: NDArray[np.float64], horizon: Horizon
) -> Cells:
    gaps = np.diff(batch.times)
    if gaps.size and (gaps == batch.step_seconds).all() and not np.isnan(micro).any():
        energy = np.diff(micro, axis=1)
        if not (energy < 0).any():
            return _even(batch, channels, batch.times[:-1], energy, horizon)
    findings: list[Finding] = []
    pairs = [_counted(batch, channel, micro[row], findings) for row, channel in enumerate(channels)]
    return _gathered(
        [part for part, _ in pairs],
        [spans for _, spans in pairs],
        channels=channels,
        step=batch.step_seconds,
        horizon=horizon,
        findings=findings,
    )


def _counted(
    batch: Batch, channel: Channel, micro: NDArray[np.float64], findings: list[Finding]
) -> tuple[_Intervals, list[tuple[int, int]]]:
    """Energy between the readings of a counter."""
    known = ~np.isnan(micro)
    each = _Intervals(
        batch.times[known], np.zeros(int(known.sum()), np.int64), micro[known].astype(np.int64)
    )
    each, _ = _unique(each, channel, findings)
    times, counts = _without_outliers(each.starts, each.energy, channel, findings)
    energy, lengths = np.diff(counts), np.diff(times)
    spans: list[tuple[int, int]] = []
    good = np.ones(energy.size, np.bool_)
    for at in np.flatnonzero(energy < 0).tolist():
        span = int(times[at]), int(times[at + 1])
        top = _top(batch, int(counts[at]), int(counts[at + 1]))
        fell = f"the counter went from {counts[at] / 1e9:g} to {counts[at + 1] / 1e9:g} kWh"
        if top is not None:
            energy[at] += top
            kind, problem, action = "rollover", f"{fell}, past {top / 1e9:g}", "corrected"
        else:
            good[at] = False
            spans.append(span)
            kind, problem, action = "reset", f"{fell}; what it counted is not known", "refused"
        findings.append(Finding(kind, channel.meter, channel.direction, *span, problem, action))
    return _Intervals(times[:-1][good], lengths[good], energy[good]), spans


def _without_outliers(
    times: Wh, counts: Wh, channel: Channel, findings: list[Finding]
) -> tuple[Wh, Wh]:
    """Leave out single readings that the next one shows to be wrong: too low, or too high."""
    keep = np.ones(counts.size, np.bool_)
    for at in (np.flatnonzero(np.diff(counts) < 0) + 1).tolist():
        bad = -1
        if at + 1 < counts.size and counts[at + 1] >= counts[at - 1]:
            bad = at
        elif at >= 2 and counts[at] >= counts[at - 2]:
            bad = at - 1
        if bad >= 0 and keep[bad]:
            keep[bad] = False
            around = counts[bad - 1], counts[min(bad + 1, counts.size - 1)]
            problem = (
                f"the counter shows {counts[bad] / 1e9:g} kWh between {around[0] / 1e9:g} and "
                f"{around[1] / 1e9:g}"
            )
            moment = int(times[bad])
            findings.append(
                Finding(
                    "spike", channel.meter, channel.direction, moment, moment, problem, "refused"
                )
            )
    return times[keep], counts[keep]


def _top(batch: Batch, before: int, after: int) -> int | None:
    """Where a counter began again at zero, if that is what happened."""
    if batch.rollover is not None:
        top = round(batch.rollover * batch.micro_wh)
        return top if before <= top and after + top - before < top // 2 else None
    unit = round(batch.micro_wh)
    top = unit
    while top < before:
        top *= 10
    return top if before >= _NEAR_TOP * top and after <= (1 - _NEAR_TOP) * top else None
