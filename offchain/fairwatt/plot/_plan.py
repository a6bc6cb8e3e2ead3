"""The day plan: where the energy comes from, what it is worth, what the stores hold."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import matplotlib.dates as mdates
import numpy as np
from matplotlib.figure import Figure

from fairwatt.community import (
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Load,
    Photovoltaic,
    ShiftableLoad,
    Storage,
)
from fairwatt.plot.style import INK, SOFT, save

if TYPE_CHECKING:
    from datetime import tzinfo
    from pathlib import Path

    from matplotlib.axes import Axes

    from fairwatt.community import Array, Asset
    from fairwatt.planner import Plan, Schedule

__all__ = ["draw_plan"]

_SOURCES: Final[dict[str, tuple[tuple[type[Asset], ...], str]]] = {
    "sun": ((Photovoltaic,), "#f0c246"),
    "generators": ((Generator,), "#8a6bb1"),
    "from storage": ((Storage,), "#56b4a9"),
}
_USES: Final[dict[str, tuple[tuple[type[Asset], ...], str]]] = {
    "load": ((Load, CurtailableLoad), "#8d99a6"),
    "shifted load": ((ShiftableLoad, HeatPump), "#c58fb0"),
    "vehicles": ((ElectricVehicle,), "#0072b2"),
    "into storage": ((Storage,), "#56b4a9"),
}
_IMPORT, _EXPORT = "#b4b8bd", "#e6d3a3"
_MOST_PRICES: Final = 6
_AIR: Final = 0.03  # below the deepest bar
_MOST_SUPPLIERS: Final = 4


def draw_plan(plan: Plan, path: Path, *, title: str, currency: str, zone: tzinfo) -> None:
    """Draw a day plan.

    Parameters
    ----------
    path
        File to write; its suffix, `.png` or `.svg`, says how.
    zone
        Time zone of the axis.

    Raises
    ------
    FairwattError
        If the suffix is another, or the file cannot be written.
    """
    save(lambda: _figure(plan, title, currency, zone), path)


def _figure(plan: Plan, title: str, currency: str, zone: tzinfo) -> Figure:
    stores = [each for each in plan.schedules if isinstance(each.asset, Storage)]
    rows = 3 if stores else 2
    figure = Figure(figsize=(11, 3.1 * rows + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK, x=0.01, ha="left")
    axes = figure.subplots(rows, 1, sharex=True, height_ratios=[2, 1, 1][:rows])
    horizon = plan.community.horizon
    edges = [
        datetime.fromtimestamp(horizon.start + at * horizon.period_seconds, UTC).astimezone(zone)
        for at in range(horizon.periods + 1)
    ]
    times = np.array(mdates.date2num(edges))  # type: ignore[no-untyped-call]
    _draw_balance(axes[0], plan, times)
    _draw_prices(axes[1], plan, times, currency)
    if stores:
        _draw_levels(axes[2], stores, times)
    locator = mdates.AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
    axes[-1].xaxis.set_major_locator(locator)
    formatter = mdates.ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]
    axes[-1].xaxis.set_major_formatter(formatter)
    axes[-1].set_xlim(times[0], times[-1])
    return figure


def _draw_balance(axes: Axes, plan: Plan, times: Array) -> None:
    """Sources above the line, uses below it; both sides are equally high."""
    hours = plan.community.horizon.hours
    injected, drawn = _by_kind(plan, "inject_kwh"), _by_kind(plan, "draw_kwh")
    up = [(name, _sum(injected, kinds), colour) for name, (kinds, colour) in _SOURCES.items()]
    down = [(name, _sum(drawn, kinds), colour) for name, (kinds, colour) in _USES.items()]
    up.append(("imported", plan.import_kwh.sum(axis=0), _IMPORT))
    down.append(("exported", plan.export_kwh.sum(axis=0), _EXPORT))
    seen = set[str]()
    for sign, layers in ((1, up), (-1, down)):
        base = np.zeros(plan.community.horizon.periods)
        for name, energy, colour in layers:
            if not np.any(energy > 0):
                continue
            top = base + sign * energy / hours
            label = None if colour in seen else name.replace("into ", "").replace("from ", "")
            seen.add(colour)
            axes.stairs(top, times, baseline=base, fill=True, color=colour, label=label)
            base = top
    axes.axhline(0, color=INK, linewidth=0.8)
    low, high = axes.get_ylim()
    axes.set_ylim(low - _AIR * (high - low), high)
    axes.set_ylabel("kW\nused  |  supplied", color=INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    _plain(axes)


def _draw_prices(axes: Axes, plan: Plan, times: Array, currency: str) -> None:
    community = plan.community
    periods = community.horizon.periods
    for supplier in community.suppliers[:_MOST_SUPPLIERS]:
        for tariff in (supplier.retail(periods), supplier.feed_in(periods)):
            axes.stairs(tariff, times, baseline=None, color=SOFT, linewidth=1.0, linestyle=":")
    if community.suppliers:
        axes.plot([], [], color=SOFT, linestyle=":", label="retail, feed-in")
    nodes = community.network.nodes
    colours = ("#0072b2", "#d55e00", "#007a5a", "#8a6bb1", "#c58fb0", INK)
    alike: dict[bytes, list[str]] = defaultdict(list)
    for node, prices in zip(nodes, plan.price_per_kwh.round(9), strict=True):
        alike[prices.tobytes()].append(node)
    for (prices, names), colour in zip(list(alike.items())[:_MOST_PRICES], colours, strict=False):
        label = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        axes.stairs(
            np.frombuffer(prices), times, baseline=None, color=colour, linewidth=1.6, label=label
        )
    if (left := len(alike) - _MOST_PRICES) > 0:
        axes.plot([], [], " ", label=f"and {left} more")
    axes.set_ylabel(f"price\n{currency}/kWh", color=INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    _plain(axes)


def _draw_levels(axes: Axes, stores: list[Schedule], times: Array) -> None:
    total = np.zeros(len(times))
    for store in stores:
        if isinstance(store.asset, Storage) and store.level_kwh is not None:
            total += np.concatenate([[store.asset.initial_kwh], store.level_kwh])
    axes.fill_between(times, total, color="#56b4a9", alpha=0.35, linewidth=0)
    axes.plot(times, total, color="#56b4a9", linewidth=1.6)
    axes.set_ylabel("stored\nkWh", color=INK)
    axes.set_ylim(bottom=0)
    _plain(axes)


def _by_kind(plan: Plan, field: str) -> dict[type[Asset], Array]:
    sums: dict[type[Asset], Array] = defaultdict(lambda: np.zeros(plan.community.horizon.periods))
    for schedule in plan.schedules:
        sums[type(schedule.asset)] = sums[type(schedule.asset)] + getattr(schedule, field)
    return sums


def _sum(energies: dict[type[Asset], Array], kinds: tuple[type[Asset], ...]) -> Array:
    present = [energies[kind] for kind in kinds if kind in energies]
    total: Array = np.sum(present, axis=0) if present else np.zeros(1)
    return total


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e6e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)
