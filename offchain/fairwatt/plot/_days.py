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
    "alike", "bars", "day_edges", "edges", "is_hourly", "legend", "means", "plain", "price_lines",
    "span", "time_axis",
]  # fmt: skip

_NODE_COLOURS: Final = (BLUE, RED, GREEN, "#8a6bb1", "#c58fb0", INK)
_MOST_NODES: Final = 6
_MOST_HOURLY_DAYS: Final = 14  # beyond, days are drawn
_MOST_DAILY_DAYS: Final = 120  # beyond, weeks
_DAYS_OF_WEEK: Final = 7
_INSTANT: Final = 1e-6  # days


def is_hourly(results: Results) -> bool:
    """Whether periods are drawn; days or weeks otherwise."""
    return results.days <= _MOST_HOURLY_DAYS


def span(results: Results) -> str:
    """What a bar stands for, where it is no period: a day or a week."""
    return "day" if results.days <= _MOST_DAILY_DAYS else "week"


def bars(results: Results, values: Array) -> list[Array]:
    """Values of the periods by the bars that are drawn; the last week has the days left over."""
    stop = results.days * results.prepared.per_day
    every = _periods_of_bar(results)
    return np.split(values[:stop], range(every, stop - every + 1, every))


def means(results: Results, values: Array) -> Array:
    """Mean of each bar."""
    return np.array([bar.mean() for bar in bars(results, values)])


def edges(results: Results) -> Array:
    """Bounds of what is drawn, periods, days or weeks, as Matplotlib's dates."""
    return _edges(results, _periods_of_bar(results))


def day_edges(results: Results) -> Array:
    """Bounds of the days, likewise."""
    return _edges(results, results.prepared.per_day)


def price_lines(axes: Axes, results: Results) -> None:
    """Draw the price at every node where anybody traded, and the tariffs of suppliers."""
    hourly, bounds = is_hourly(results), edges(results)
    currency = results.prepared.case.currency
    community = results.prepared.truth.between(results.prepared.first, len(results.starts))
    for supplier in community.suppliers[:2]:
        for tariff in (supplier.retail(len(results.starts)), supplier.feed_in(len(results.starts))):
            axes.stairs(
                means(results, tariff),
                bounds,
                baseline=None,
                color=SOFT,
                linewidth=1,
                linestyle=":",
            )
    axes.plot([], [], color=SOFT, linestyle=":", label="retail, feed-in")
    for row, label, colour in alike(results):
        # Where nobody trades any price of a range would do; it says nothing.
        price = np.where(results.traded_kwh > 0, results.prices[row], np.nan)
        if hourly:
            axes.stairs(
                means(results, price),
                bounds,
                baseline=None,
                color=colour,
                linewidth=1.6,
                label=label,
            )
            continue
        low, mean, high = _spread(bars(results, price))
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


def _periods_of_bar(results: Results) -> int:
    if is_hourly(results):
        return 1
    return results.prepared.per_day * (_DAYS_OF_WEEK if span(results) == "week" else 1)


def _edges(results: Results, every: int) -> Array:
    stop = results.days * results.prepared.per_day
    seconds, start = results.prepared.settings.period_seconds, results.prepared.settings.start
    times = [
        datetime.fromtimestamp(start + at * seconds, UTC).astimezone(results.prepared.case.zone)
        for at in (*range(0, stop - every + 1, every), stop)
    ]
    return np.array(mdates.date2num(times))  # type: ignore[no-untyped-call]


def _spread(bars: list[Array]) -> Array:
    """Of each bar's prices the 10 % quantile, the mean and the 90 % quantile, shape (3, bars)."""
    rows = []
    for bar in bars:
        traded = bar[~np.isnan(bar)]
        low, high = np.quantile(traded, [0.1, 0.9]) if traded.size else (np.nan, np.nan)
        rows.append((low, traded.mean() if traded.size else np.nan, high))
    return np.array(rows).T
