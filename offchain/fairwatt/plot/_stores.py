"""What storages and vehicles did in a run of days: charged, gave and held, beneath the price.

Over a few days by periods; over many by days or weeks, with a mean day beside.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure

from fairwatt.plot._days import (
    alike,
    bars,
    edges,
    is_hourly,
    legend,
    means,
    plain,
    price_lines,
    span,
    time_axis,
)
from fairwatt.plot.style import BLUE, INK, SOFT
from fairwatt.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from fairwatt.community import Array
    from fairwatt.pilot import Results

__all__ = ["stores_figure"]

_GIVEN, _CHARGED, _VEHICLES = "#56b4a9", "#2b6f77", BLUE
_LABELS: Final = {
    ("storage", "given"): ("storages discharge", _GIVEN),
    ("storage", "drawn"): ("storages charge", _CHARGED),
    ("ev", "drawn"): ("vehicles charge", _VEHICLES),
}
_AIR: Final = 1.08  # above the capacity


def stores_figure(results: Results) -> Figure:
    """Draw prices, charging and discharging, and what storages hold, one above the other."""
    hourly = is_hourly(results)
    columns = 1 if hourly else 2
    figure = Figure(figsize=(11 if hourly else 13, 8), layout="constrained")
    grid = figure.subplots(
        3, columns, sharex="col", squeeze=False,
        height_ratios=[1, 1.2, 0.8], width_ratios=[2.4, 1][:columns],
    )  # fmt: skip
    prices, power, held = grid[:, 0]
    price_lines(prices, results)
    _draw_power(power, _powers(results), edges(results))
    unit = "kW" if hourly else "kWh a day"
    if not hourly and span(results) == "week":
        unit += ", mean of the week"
    power.set_ylabel(f"discharged above, charged below\n{unit}", color=INK)
    _draw_held(held, results)
    held.set_ylabel("held by storages\nkWh", color=INK)
    time_axis(held, results)
    if not hourly:
        _draw_mean_day(grid, results)
    for shown, beside in zip(grid[:, 0], grid[:, -1], strict=True):
        legend(beside, shown)
    for axes in grid.flat:
        plain(axes)
        axes.grid(axis="x", color="#e4e6e8", linewidth=0.6)
    return figure


def _powers(results: Results) -> dict[tuple[str, str], Array]:
    """What is drawn of each kind: kW by periods, kWh a day by days or weeks."""
    hours = results.prepared.settings.period_seconds / SECONDS_PER_HOUR
    scale = 1 / hours if is_hourly(results) else results.prepared.per_day
    return {
        (kind, side): scale * means(results, getattr(results.stores[kind], side))
        for kind, side in _LABELS
        if kind in results.stores
    }


def _draw_power(axes: Axes, powers: Mapping[tuple[str, str], Array], bounds: Array) -> None:
    """Discharging above the line, charging stacked below it."""
    below = np.zeros(len(bounds) - 1)
    for (kind, side), power in powers.items():
        label, colour = _LABELS[kind, side]
        if side == "given":
            axes.stairs(power, bounds, fill=True, color=colour, label=label)
            continue
        axes.stairs(
            below - power, bounds, baseline=below.copy(), fill=True, color=colour, label=label
        )
        below -= power
    axes.axhline(0, color=INK, linewidth=0.8)


def _draw_held(axes: Axes, results: Results) -> None:
    """The level of all storages; by days or weeks from its lowest to its highest."""
    if "storage" not in results.stores:
        axes.set_yticks([])
        return
    storages = results.stores["storage"]
    level = storages.held[: results.days * results.prepared.per_day + 1]
    if is_hourly(results):
        axes.fill_between(edges(results), level, color=_GIVEN, alpha=0.35, linewidth=0)
        axes.plot(edges(results), level, color=_GIVEN, linewidth=1.6, label="held")
    else:
        before, after = bars(results, level[:-1]), bars(results, level[1:])
        low, high = (
            np.array([extreme([*one, *other]) for one, other in zip(before, after, strict=True)])
            for extreme in (min, max)
        )
        axes.stairs(
            high, edges(results), baseline=low, fill=True, color=_GIVEN, alpha=0.35,
            label=f"lowest to highest of the {span(results)}",
        )  # fmt: skip
        axes.stairs(
            means(results, level[:-1]), edges(results), baseline=None, color=_GIVEN, linewidth=1.4,
            label=f"mean of the {span(results)}",
        )  # fmt: skip
    axes.axhline(storages.capacity, color=SOFT, linewidth=1, linestyle=":", label="capacity")
    axes.set_ylim(0, storages.capacity * _AIR)


def _draw_mean_day(grid: Array, results: Results) -> None:
    """The mean of all days in the second column, by time of day as people there read it."""
    prices, power, held = grid[:, 1]
    settings, zone = results.prepared.settings, results.prepared.case.zone
    stop = results.days * results.prepared.per_day
    bounds = np.arange(0, SECONDS_PER_DAY + 1, settings.period_seconds) / SECONDS_PER_HOUR
    times = [datetime.fromtimestamp(start, UTC).astimezone(zone) for start in results.starts[:stop]]
    hours = np.array([time.hour + time.minute / 60 for time in times])
    slots = np.digitize(hours, bounds) - 1

    def mean(values: Array) -> Array:
        counted = ~np.isnan(values)
        sums = np.bincount(slots[counted], values[counted], len(bounds) - 1)
        many = np.bincount(slots[counted], minlength=len(bounds) - 1)
        return np.divide(sums, many, out=np.full(len(sums), np.nan), where=many > 0)

    for row, _, colour in alike(results):
        price = np.where(results.traded_kwh[:stop] > 0, results.prices[row, :stop], np.nan)
        prices.stairs(mean(price), bounds, baseline=None, color=colour, linewidth=1.6)
    prices.set_ylim(grid[0, 0].get_ylim())
    prices.set_title("mean day", loc="left", fontsize=10, color=INK)
    per_hour = SECONDS_PER_HOUR / settings.period_seconds
    powers = {
        (kind, side): mean(getattr(results.stores[kind], side)[:stop]) * per_hour
        for kind, side in _LABELS
        if kind in results.stores
    }
    _draw_power(power, powers, bounds)
    power.set_ylabel("kW", color=INK)
    if "storage" in results.stores:
        levels = results.stores["storage"].held[: stop + 1]
        level = np.append(mean(levels[:-1]), mean(levels[1:])[-1])
        held.fill_between(bounds, level, color=_GIVEN, alpha=0.35, linewidth=0)
        held.plot(bounds, level, color=_GIVEN, linewidth=1.6)
        held.axhline(results.stores["storage"].capacity, color=SOFT, linewidth=1, linestyle=":")
    held.set_ylim(grid[2, 0].get_ylim())
    held.set_xlim(0, 24)
    held.set_xticks(range(0, 25, 6))
    held.set_xlabel("hour of the day", color=INK)
