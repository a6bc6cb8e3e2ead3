"""Estimates for what no meter measured, by rules that anybody can follow.

They are those of validation, estimation and editing (VEE) as utilities do it: short holes are
filled by a line between the neighbours; longer ones by the same local time of the same day of the
week, one week before, after, two weeks before, ... up to four; where nothing was measured then, by
the nearest day that has it; at last by the mean at that time of the day.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fairwatt.errors import MeterDataError
from fairwatt.metering._batch import MICRO
from fairwatt.metering._cells import Cells, runs
from fairwatt.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    from fairwatt.metering._clock import Clock
    from fairwatt.metering._mapping import Checks

__all__ = ["estimate"]

_WEEKS: Final = tuple(7 * sign * weeks for weeks in range(1, 5) for sign in (-1, 1))
_DAYS: Final = tuple(sign * days for days in range(1, 7) for sign in (-1, 1))
_KEPT: Final = ("unit", "time_zone")  # nobody can estimate what these mean

Wh = NDArray[np.int64]


def estimate(cells: Cells, checks: Checks, clock: Clock) -> NDArray[np.bool_] | None:
    """Fill what is missing, in place; which cells are estimated, None if none is.

    Raises
    ------
    MeterDataError
        If a channel has nothing to estimate from.
    """
    estimated: NDArray[np.bool_] | None = None
    if cells.lack is not None or any(cells.spread.values()):
        estimated = np.zeros(cells.energy.shape, np.bool_)
        for row in range(len(cells.channels)):
            spans = cells.spread.get(row, [])
            lack = None if cells.lack is None else cells.lack[row]
            if spans or (lack is not None and lack.any()):
                estimated[row] = _fill(cells, row, lack, spans, checks=checks, clock=clock)
    cells.findings[:] = [
        replace(each, action="kept" if each.kind in _KEPT else "estimated")
        if each.action == "refused"
        else each
        for each in cells.findings
    ]
    return estimated


def _fill(
    cells: Cells,
    row: int,
    lack: NDArray[np.float32] | None,
    spans: list[tuple[int, int]],
    *,
    checks: Checks,
    clock: Clock,
) -> NDArray[np.bool_]:
    energy = cells.energy[row]
    part = np.zeros(energy.size, np.float32) if lack is None else lack
    wanted = part > 0
    shaped = np.zeros(energy.size, np.bool_)
    for first, last in spans:
        shaped[first:last] = True
    measured = ~(wanted | shaped)
    if wanted.any() and not measured.any() and not shaped.any():
        raise MeterDataError(
            f"meter {cells.channels[row].meter}",
            f"has no {cells.channels[row].direction} that was measured, so nothing can be "
            "estimated; leave the meter out, or choose another span",
        )
    source = measured if measured.any() else ~wanted
    guess = np.zeros(energy.size, np.int64)
    left = wanted | shaped
    for first, last in runs(wanted & ~shaped):
        if (last - first) * cells.step_seconds <= checks.short_gap_seconds and _line(
            energy, source, guess, first, last
        ):
            left[first:last] = False
    _similar(cells, energy, source, guess=guess, left=left, clock=clock)
    share = part.astype(np.float64)
    whole = np.rint(guess * share / MICRO).astype(np.int64) * MICRO
    energy[wanted] += whole[wanted]
    for first, last in spans:
        _shape(energy, guess, first, last)
    return wanted | shaped


def _line(energy: Wh, source: NDArray[np.bool_], guess: Wh, first: int, last: int) -> bool:
    """Fill from neighbour to neighbour, if both were measured."""
    if first == 0 or last == energy.size or not (source[first - 1] and source[last]):
        return False
    before, after = int(energy[first - 1]), int(energy[last])
    place = np.arange(1, last - first + 1) / (last - first + 1)
    guess[first:last] = np.rint(before + (after - before) * place).astype(np.int64)
    return True


def _similar(
    cells: Cells,
    energy: Wh,
    source: NDArray[np.bool_],
    *,
    guess: Wh,
    left: NDArray[np.bool_],
    clock: Clock,
) -> None:
    """Fill from the same local time of similar days, cell by cell."""
    open_ = np.flatnonzero(left)
    if not open_.size:
        return
    step = cells.step_seconds
    moments = cells.start + step * open_
    ahead = clock.offset(moments)
    for days in (*_WEEKS, *_DAYS):
        other = moments + days * SECONDS_PER_DAY
        other += ahead - clock.offset(other)
        at = (other - cells.start) // step
        inside = (at >= 0) & (at < energy.size)
        found = inside & source[np.where(inside, at, 0)]
        guess[open_[found]] = energy[at[found]]
        open_, moments, ahead = open_[~found], moments[~found], ahead[~found]
        if not open_.size:
            return
    times = cells.start + step * np.arange(energy.size, dtype=np.int64)
    slots = (times + clock.offset(times)) % SECONDS_PER_DAY // step
    known = np.flatnonzero(source)
    sums = np.bincount(slots[known], energy[known].astype(np.float64), int(slots.max()) + 1)
    counts = np.bincount(slots[known], minlength=int(slots.max()) + 1)
    mean = np.full(sums.size, energy[known].mean())
    np.divide(sums, counts, out=mean, where=counts > 0)
    guess[open_] = np.rint(mean[slots[open_]]).astype(np.int64)


def _shape(energy: Wh, guess: Wh, first: int, last: int) -> None:
    """Give a known sum the course of similar days; sums stay as they are."""
    total = int(energy[first:last].sum())
    course = np.maximum(guess[first:last], 0).astype(np.float64)
    if total <= 0 or course.sum() <= 0:
        return
    whole, rest = divmod(total, MICRO)
    at = np.rint(np.cumsum(course) / course.sum() * whole).astype(np.int64)
    parts = np.diff(np.concatenate(([0], at))) * MICRO
    parts[-1] += rest
    energy[first:last] = parts
