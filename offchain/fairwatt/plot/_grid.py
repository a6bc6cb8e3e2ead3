"""A day on a grid: voltages of its feeders, loading of its lines, prices of its nodes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import matplotlib.dates as mdates
import numpy as np
from matplotlib.figure import Figure

from fairwatt.plot.style import GREY, INK, RED, SOFT, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo
    from pathlib import Path

    from matplotlib.axes import Axes

    from fairwatt.community import Array
    from fairwatt.grid import Bounds, Day, Grid, PowerFlow

__all__ = ["draw_grid"]

_COLOURS: Final = (
    "#0072b2", "#e69f00", "#007a5a", "#cc79a7", "#56b4e9",
    "#8a6bb1", "#8c6d31", "#6a6f75", "#b2182b",
)  # fmt: skip
_WIDEST, _THINNEST = 6.0, 1.0
_AIR: Final = 0.06
_ALIKE: Final = 5
"""Decimals: prices are made with orders a millionth better than their limit."""


def draw_grid(
    days: Sequence[tuple[str, Day, PowerFlow]],
    path: Path,
    *,
    title: str,
    currency: str,
    bounds: Bounds,
    zone: tzinfo,
) -> None:
    """Draw one day, or the same day within different limits, side by side.

    Parameters
    ----------
    days
        Each with a heading and its power flow.
    path
        File to write; its suffix, `.png` or `.svg`, says how.
    zone
        Time zone of the axis.

    Raises
    ------
    FairwattError
        If the suffix is another, or the file cannot be written.
    """
    save(lambda: _figure(days, title, currency, bounds, zone), path)


def _figure(
    days: Sequence[tuple[str, Day, PowerFlow]],
    title: str,
    currency: str,
    bounds: Bounds,
    zone: tzinfo,
) -> Figure:
    figure = Figure(figsize=(6.6 * len(days) + 1.6, 9.6), layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK, x=0.01, ha="left")
    axes = figure.subplots(3, len(days), sharex=True, sharey="row", squeeze=False)
    for column, (heading, day, flow) in enumerate(days):
        voltage, loading, price = axes[:, column]
        horizon = day.plan.community.horizon
        edges = [
            datetime.fromtimestamp(horizon.start + at * horizon.period_seconds, UTC)
            for at in range(horizon.periods + 1)
        ]
        times = np.array(mdates.date2num(edges))  # type: ignore[no-untyped-call]
        voltage.set_title(heading, fontsize=11, loc="left", color=INK)
        _draw_voltages(voltage, flow, bounds, times)
        _draw_loading(loading, flow, bounds, times)
        _draw_prices(price, day, times)
        locator = mdates.AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
        price.xaxis.set_major_locator(locator)
        formatter = mdates.ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]
        formatter.show_offset = False
        price.xaxis.set_major_formatter(formatter)
        price.set_xlim(times[0], times[-1])
    low, high = axes[2, 0].get_ylim()
    axes[2, 0].set_ylim(low - _AIR * (high - low), high)
    for row, label in enumerate(
        (
            "voltage, of the nominal one\nband: all buses of a feeder",
            "loading, %\nmost loaded line of a feeder",
            f"price\n{currency}/kWh",
        )
    ):
        axes[row, 0].set_ylabel(label, color=INK)
        axes[row, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    for each in axes.flat:
        _plain(each)
    return figure


def _draw_voltages(axes: Axes, flow: PowerFlow, bounds: Bounds, times: Array) -> None:
    grid = flow.grid
    feeder = grid.feeder
    for at, name in _named(grid).items():
        rows = flow.voltage_pu[feeder[grid.bus_zone] == at]
        low, high = rows.min(axis=0), rows.max(axis=0)
        colour = _colour(grid, at)
        axes.stairs(high, times, baseline=low, fill=True, color=colour, alpha=0.25, linewidth=0)
        axes.stairs(high, times, baseline=None, color=colour, linewidth=1.2, label=name)
        axes.stairs(low, times, baseline=None, color=colour, linewidth=0.7)
    _draw_bounds(axes, (bounds.lowest_pu, bounds.highest_pu), "bounds")


def _draw_loading(axes: Axes, flow: PowerFlow, bounds: Bounds, times: Array) -> None:
    grid = flow.grid
    feeder = grid.feeder
    zone = np.array([element.zone for element in grid.elements])
    is_line = np.array([not element.is_transformer for element in grid.elements])
    axes.stairs(
        flow.loading_percent[0], times, baseline=None, color=INK, linewidth=2.0, label="transformer"
    )
    for at, name in _named(grid).items():
        rows = flow.loading_percent[is_line & (feeder[zone] == at)]
        axes.stairs(rows.max(axis=0), times, baseline=None, color=_colour(grid, at), label=name)
    highest = {bounds.line_percent, bounds.transformer_percent}
    _draw_bounds(axes, tuple(sorted(highest)), "bounds" if len(highest) > 1 else "bound")
    axes.set_ylim(bottom=0)


def _draw_prices(axes: Axes, day: Day, times: Array) -> None:
    """A line per node, each thinner than those before it: equal prices show as one striped line."""
    grid = day.site.grid
    feeder, named = grid.feeder, _named(grid)
    names = {0: grid.zones[0].name, 1: grid.zones[1].name} | named
    widths = np.linspace(_WIDEST, _THINNEST, len(names)).tolist()
    width = dict(zip(names, widths, strict=True))
    for at, prices in enumerate(day.price_per_kwh.round(_ALIKE) + 0.0):
        colour = (GREY, INK)[at] if at < 2 else _colour(grid, int(feeder[at]))
        axes.stairs(
            prices, times, baseline=None, color=colour, linewidth=width[int(feeder[at])],
            label=names.get(at),
        )  # fmt: skip


def _draw_bounds(axes: Axes, values: tuple[float, ...], label: str) -> None:
    for value in values:
        axes.axhline(value, color=RED, linewidth=1.0, linestyle="--")
    axes.plot([], [], color=RED, linewidth=1.0, linestyle="--", label=label)


def _named(grid: Grid) -> dict[int, str]:
    return {
        at: zone.name if zone.name.startswith("feeder") else f"feeder with {zone.name}"
        for at, zone in enumerate(grid.zones)
        if zone.parent == 1
    }


def _colour(grid: Grid, zone: int) -> str:
    return _COLOURS[list(_named(grid)).index(zone) % len(_COLOURS)]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e6e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)
