"""What pictures of a run of days share: the axis of time, and prices over it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import matplotlib.dates as mdates
import numpy as np

from fairwatt.plot.style import BLUE, GREEN, INK, RED, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fairwatt.community import Array
    from fairwatt.pilot import Results

__all__ = [
    "alike",
    "day_edges",
    "edges",
    "is_hourly",
    "legend",
    "plain",
    "price_lines",
    "time_axis",
]

_NODE_COLOURS: Final = (BLUE, RED, GREEN, "#8a6bb1", "#c58fb0", INK)
_MOST_NODES: Final = 6
_MOST_HOURLY_DAYS: Final = 14  # beyond, days are drawn
_INSTANT: Final = 1e-6  # days


def is_hourly(results: Results) -> bool:
    """Whether periods are drawn; days otherwise."""
    return results.days <= _MOST_HOURLY_DAYS


def edges(results: Results) -> Array:
    """Bounds of what is drawn, periods or days, as Matplotlib's dates."""
    return _edges(results, 1 if is_hourly(results) else results.prepared.per_day)


def day_edges(results: Results) -> Array:
    """Bounds of the days, likewise."""
    return _edges(results, results.prepared.per_day)


def price_lines(axes: Axes, results: Results) -> None:
    """Draw the price at every node where anybody traded, and the tariffs of suppliers."""
    hourly, bounds, per_day = is_hourly(results), edges(results), results.prepared.per_day
    stop = results.days * per_day
    currency = results.prepared.case.currency
    community = results.prepared.truth.between(results.prepared.first, len(results.starts))
    for supplier in community.suppliers[:2]:
        for tariff in (supplier.retail(len(results.starts)), supplier.feed_in(len(results.starts))):
            shown = tariff[:stop] if hourly else _daily(tariff[:stop], per_day)
            axes.stairs(shown, bounds, baseline=None, color=SOFT, linewidth=1, linestyle=":")
    axes.plot([], [], color=SOFT, linestyle=":", label="retail, feed-in")
    for row, label, colour in alike(results):
        # Where nobody trades any price of a range would do; it says nothing.
        price = np.where(results.traded_kwh[:stop] > 0, results.prices[row, :stop], np.nan)
        if hourly:
            axes.stairs(price, bounds, baseline=None, color=colour, linewidth=1.6, label=label)
            continue
        low, mean, high = _spread(price.reshape(-1, per_day))
        axes.stairs(high, bounds, baseline=low, fill=True, color=colour, alpha=0.22)
        axes.stairs(
            mean, bounds, baseline=None, color=colour, linewidth=1.4,
            label=f"{label}: mean, 10 to 90 %",
        )  # fmt: skip
    axes.set_ylabel(f"price\n{currency}/kWh", color=INK)


def legend(axes: Axes, of: Axes | None = None) -> None:
    """Explain beside `axes` what is drawn there, or in `of`."""
    handles, labels = (of or axes).get_legend_handles_labels()
    axes.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9
    )


def alike(results: Results) -> list[tuple[int, str, str]]:
    """Nodes with the same prices at all times, with their names and a colour; the first few."""
    found: dict[bytes, tuple[int, list[str]]] = {}
    for row, node in enumerate(results.prepared.truth.network.nodes):
        key = results.prices[row].tobytes()
        found.setdefault(key, (row, []))[1].append(node)
    pairs = zip(list(found.values())[:_MOST_NODES], _NODE_COLOURS, strict=False)
    return [
        (row, ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else ""), colour)
        for (row, names), colour in pairs
    ]


def time_axis(axes: Axes, results: Results) -> None:
    """Let the horizontal axis be the days of the run."""
    zone = results.prepared.case.zone
    bounds = day_edges(results)
    locator = mdates.AutoDateLocator(tz=zone, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = mdates.ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    # Without its very end, or the midnight after a single day would date the axis.
    axes.set_xlim(bounds[0], bounds[-1] - _INSTANT)


def plain(axes: Axes) -> None:
    """No frame, and light lines across."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e6e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)


def _edges(results: Results, every: int) -> Array:
    count = results.days * results.prepared.per_day // every
    seconds = results.prepared.settings.period_seconds * every
    start = results.prepared.settings.start
    times = [
        datetime.fromtimestamp(start + at * seconds, UTC).astimezone(results.prepared.case.zone)
        for at in range(count + 1)
    ]
    return np.array(mdates.date2num(times))  # type: ignore[no-untyped-call]


def _daily(values: Array, per_day: int) -> Array:
    means: Array = values.reshape(-1, per_day).mean(axis=1)
    return means


def _spread(days: Array) -> Array:
    """Of each day's prices the 10 % quantile, the mean and the 90 % quantile, shape (3, days)."""
    rows = []
    for day in days:
        traded = day[~np.isnan(day)]
        low, high = np.quantile(traded, [0.1, 0.9]) if traded.size else (np.nan, np.nan)
        rows.append((low, traded.mean() if traded.size else np.nan, high))
    return np.array(rows).T
