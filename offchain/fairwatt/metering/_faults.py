"""Faults that values themselves show: below zero, spikes, wrong units, PV by night, holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fairwatt.metering._batch import MICRO
from fairwatt.metering._cells import Cells, runs, span_text
from fairwatt.metering._data import Finding
from fairwatt.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    from fairwatt.metering._batch import Batch
    from fairwatt.metering._clock import Clock
    from fairwatt.metering._mapping import Checks

__all__ = ["find_faults"]

_HOUR: Final = 3_600
_QUANTILE: Final = 0.99
_MOST: Final = np.iinfo(np.int64).max
_UNIT_JUMP: Final = 300.0  # a thousand, with room for days that differ by three
_WEEK: Final = 7
_NIGHT: Final = (23, 0, 1, 2)  # hours of standard time
_LEAST_DAYS: Final = 3  # before anything is said about PV
_DARK_HOURS, _DARK_SHARE = 8, 0.01  # what PV looks like: hardly anything in some 8 hours on end
_MOST_LAG_HOURS: Final = 1.5
_GLEAM: Final = 0.01  # of the largest value: the day of a PV plant begins and ends there


def find_faults(cells: Cells, batch: Batch, rows: slice, checks: Checks, clock: Clock) -> None:
    """Find faults, take what cannot be true as missing, and say so in `cells.findings`."""
    low, high = cells.energy.min(axis=1), cells.energy.max(axis=1)
    hours = cells.step_seconds / _HOUR
    whole = cells.energy.shape[1] * hours
    means = cells.energy.sum(axis=1) / (MICRO * whole)
    days = _daily(cells)
    for row in _suspects(cells, batch, checks, low=low, high=high, means=means, days=days):
        channel = cells.channels[row]
        rating = checks.rating(channel.meter)
        limit = (checks.spike_floor_w if rating is None else rating) * hours * MICRO
        if low[row] < 0 and channel.direction != "net":
            _negative(cells, row, checks)
        unit = ""
        if means[row]:
            values = batch.values[rows][row]
            unit = _unit(cells, row, float(means[row]), values=values, batch=batch, checks=checks)
            unit = unit or _jump(days[row])
        if unit:
            _whole_channel(cells, row, "unit", unit, checks)
        elif high[row] > limit or -low[row] > limit:
            _spikes(cells, row, limit, rating, checks)
        if (
            channel.direction == "export"
            and cells.step_seconds <= _HOUR
            and np.count_nonzero(days[row]) >= _LEAST_DAYS
        ):
            zone = _night(cells, row, checks, clock) or _noon(cells, row, checks)
            if zone:
                _whole_channel(cells, row, "time_zone", zone, checks)
    _gaps(cells)
    _spread(cells)


def _suspects(
    cells: Cells,
    batch: Batch,
    checks: Checks,
    *,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    means: NDArray[np.float64],
    days: NDArray[np.int64],
) -> list[int]:
    """Rows that deserve a look: most have nothing that any check could find."""
    per_w = cells.step_seconds / _HOUR * MICRO
    ratings = np.array([checks.rating(channel.meter) or np.nan for channel in cells.channels])
    highest = np.where(np.isnan(ratings), checks.spike_floor_w, ratings)
    exported = np.array([channel.direction == "export" for channel in cells.channels])
    counted = np.maximum(np.count_nonzero(cells.energy, axis=1), 1)
    where_not_zero = np.abs(means) * cells.energy.shape[1] / counted
    smallest = np.where(days > 0, days, _MOST).min(axis=1, initial=_MOST)
    look = exported | (low < 0) | (high > highest * per_w) | (-low > highest * per_w)
    look |= np.abs(means) > np.minimum(highest, checks.mean_high_w)
    if not _is_large_unit(batch):
        look |= (where_not_zero < checks.mean_low_w) & (means != 0)
    look |= days.max(axis=1, initial=0) / smallest > _UNIT_JUMP
    result: list[int] = np.flatnonzero(look).tolist()
    return result


def _is_large_unit(batch: Batch) -> bool:
    """Whether values are in a unit above Wh or W."""
    return batch.micro_wh * (_HOUR if batch.kind == "power" else 1) > MICRO


def _add(
    cells: Cells,
    row: int,
    kind: str,
    span: tuple[int, int],
    problem: str,
    *,
    checks: Checks | None = None,
) -> bool:
    """Add a finding; whether something is to be done about it."""
    channel = cells.channels[row]
    accepted = checks is not None and checks.accepts(kind, channel.meter)
    action = "accepted" if accepted else "refused"
    cells.findings.append(Finding(kind, channel.meter, channel.direction, *span, problem, action))
    return not accepted


def _whole_channel(cells: Cells, row: int, kind: str, problem: str, checks: Checks) -> None:
    _add(cells, row, kind, cells.span(0, cells.energy.shape[1]), problem, checks=checks)


def _negative(cells: Cells, row: int, checks: Checks) -> None:
    wrong = cells.energy[row] < 0
    bad = np.zeros_like(wrong)
    for first, last in runs(wrong):
        lowest = cells.energy[row, first:last].min() / MICRO
        problem = f"below zero, down to {lowest:g} Wh"
        if _add(cells, row, "negative", cells.span(first, last), problem, checks=checks):
            bad[first:last] = True
    if bad.any():
        cells.drop(row, bad)


def _spikes(cells: Cells, row: int, limit: float, rating: float | None, checks: Checks) -> None:
    size = np.abs(cells.energy[row])
    if rating is None:
        usual = float(np.quantile(size[size > 0], _QUANTILE))
        limit = max(limit, checks.spike_factor * usual)
        why = f"{checks.spike_factor:g} times what the meter has in 99 of 100 intervals"
    else:
        why = f"its connection of {rating / 1000:g} kW"
    per_kw = MICRO * 1000 * cells.step_seconds / _HOUR
    bad = np.zeros(size.size, np.bool_)
    for first, last in runs(size > limit):
        power = size[first:last].max() / per_kw
        problem = f"{power:,.4g} kW is above {limit / per_kw:,.4g} kW: {why}"
        if _add(cells, row, "spike", cells.span(first, last), problem, checks=checks):
            bad[first:last] = True
    if bad.any():
        cells.drop(row, bad)


# ---------------------------------------------------------------------------------- unit and zone


def _daily(cells: Cells) -> NDArray[np.int64]:
    """Energy of each whole day, shape (channels, days)."""
    each = max(1, SECONDS_PER_DAY // cells.step_seconds)
    days = cells.energy.shape[1] // each
    split = cells.energy[:, : days * each].reshape(len(cells.channels), days, each)
    result: NDArray[np.int64] = split.sum(axis=2)
    return result


def _unit(
    cells: Cells,
    row: int,
    mean_w: float,
    *,
    values: NDArray[np.float64],
    batch: Batch,
    checks: Checks,
) -> str:
    rating = checks.rating(cells.channels[row].meter)
    if rating is not None and abs(mean_w) > rating:
        return (
            f"the mean power is {mean_w / 1000:,.4g} kW, above its connection of "
            f"{rating / 1000:,.4g} kW: is the unit a thousandth of that in the mapping file?"
        )
    is_large_unit = _is_large_unit(batch)
    if rating is None and is_large_unit and abs(mean_w) > checks.mean_high_w:
        known = values[np.isfinite(values)]
        if (known == np.floor(known)).all():
            return (
                f"the mean power is {mean_w / 1000:,.4g} kW and all values are whole numbers: is "
                "the unit a thousandth of that in the mapping file?"
            )
    counted = np.count_nonzero(cells.energy[row])
    if not is_large_unit and abs(mean_w) * cells.energy.shape[1] / counted < checks.mean_low_w:
        return (
            f"the mean power is {mean_w:.2g} W where it is not zero: is the unit a thousand times "
            "that in the mapping file?"
        )
    return ""


def _jump(daily: NDArray[np.int64]) -> str:
    """A day from which everything is about a thousand times as large, or as small."""
    active = np.flatnonzero(daily > 0)
    if active.size < 2:
        return ""
    energy = daily[active].astype(np.float64)
    ratio = np.abs(np.log(energy[1:] / energy[:-1]))
    for at in (np.flatnonzero(ratio > np.log(_UNIT_JUMP)) + 1).tolist():
        before = float(np.median(energy[max(0, at - _WEEK) : at]))
        after = float(np.median(energy[at : at + _WEEK]))
        if max(before / after, after / before) > _UNIT_JUMP and min(at, energy.size - at) > 1:
            return (
                f"from day {int(active[at]) + 1} on a day has {after / 1e9:,.4g} kWh, before "
                f"{before / 1e9:,.4g}: does the unit change?"
            )
    return ""


def _night(cells: Cells, row: int, checks: Checks, clock: Clock) -> str:
    moments = cells.start + cells.step_seconds * np.arange(cells.energy.shape[1], dtype=np.int64)
    hours = (moments + clock.standard) // _HOUR % 24
    weights = np.maximum(cells.energy[row], 0).astype(np.float64)
    energy = np.bincount(hours, weights, 24).astype(np.float64)
    total = energy.sum()
    if total == 0 or not _is_solar(energy):
        return ""
    share = energy[list(_NIGHT)].sum() / total
    if share <= checks.night_share:
        return ""
    return (
        f"{share:.0%} of what looks like PV is exported from 23 to 3 h: does time_zone "
        f"({clock.name}) hold for this file?"
    )


def _is_solar(by_hour: NDArray[np.float64]) -> bool:
    twice = np.concatenate((by_hour, by_hour[: _DARK_HOURS - 1]))
    darkest = np.convolve(twice, np.ones(_DARK_HOURS), "valid").min()
    return bool(darkest < _DARK_SHARE * by_hour.sum())


def _noon(cells: Cells, row: int, checks: Checks) -> str:
    """Compare the middle of the day of export with noon of the sun, if the longitude is known."""
    if checks.longitude is None:
        return ""
    step = cells.step_seconds
    each = SECONDS_PER_DAY // step
    ahead = round(checks.longitude * 240)  # seconds per degree
    skip = -((cells.start + ahead) // step) % each
    energy = cells.energy[row, skip:]
    days = energy.size // each
    lit = energy[: days * each].reshape(days, each) > _GLEAM * energy.max(initial=1)
    lit = lit[lit.any(axis=1)]
    if not lit.size:
        return ""
    middles = (np.argmax(lit, axis=1) + each - np.argmax(lit[:, ::-1], axis=1)) / 2 * step / _HOUR
    middle = float(np.median(middles)) + (cells.start + ahead) % step / _HOUR
    if abs(middle - 12) <= _MOST_LAG_HOURS:
        return ""
    return (
        f"the middle of a day of export is at {middle:.1f} h of the sun's time, not 12: does "
        "time_zone hold for this file?"
    )


# ------------------------------------------------------------------------------------------ holes


def _gaps(cells: Cells) -> None:
    if cells.lack is None or cells.explained is None:
        return
    for row in np.flatnonzero(cells.lack.any(axis=1)).tolist():
        for first, last in runs((cells.lack[row] > 0) & ~cells.explained[row]):
            span = cells.span(first, last)
            problem = (
                f"{last - first} intervals are missing ({span_text(span[1] - span[0])})"
                if last - first > 1
                else f"1 interval is missing ({span_text(span[1] - span[0])})"
            )
            _add(cells, row, "gap", span, problem)


def _spread(cells: Cells) -> None:
    for row, spans in cells.spread.items():
        for first, last in spans:
            span = cells.span(first, last)
            total = cells.energy[row, first:last].sum() / (1000 * MICRO)
            problem = f"{total:,.6g} kWh in all, in {last - first} intervals"
            _add(cells, row, "spread", span, problem)
