"""A run of days: prices and energy over time, who traded with whom, savings, costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from fairwatt.plot._days import (
    day_edges,
    edges,
    is_hourly,
    legend,
    means,
    plain,
    price_lines,
    span,
    time_axis,
)
from fairwatt.plot._stores import stores_figure
from fairwatt.plot.style import BLUE, GREEN, GREY, INK, RED, SOFT, save
from fairwatt.units import NANO, SECONDS_PER_HOUR

if TYPE_CHECKING:
    from pathlib import Path

    from fairwatt.pilot import Results

__all__ = ["RUN_PICTURES", "draw_run"]

RUN_PICTURES: Final = {
    "prices": "Prices and energy over time",
    "stores": "What storages and vehicles did",
    "flows": "Who traded with whom",
    "savings": "Savings per peer",
    "forecast": "What forecast errors cost",
    "chain": "What the chain costs",
}
"""Names of the pictures, and what they show."""
_MOST_NAMES: Final = 60
_CONTRACTS: Final = {
    "Clearing": GREEN,
    "Settlement": BLUE,
    "PeerRegistry": "#c58fb0",
    "OrderBook": RED,
    "Ledger": "#8a6bb1",
}
_TRADED, _IMPORT, _EXPORT = "#56b4a9", "#b4b8bd", "#f0c246"


def draw_run(results: Results, name: str, path: Path) -> None:
    """Draw one of `RUN_PICTURES`.

    Parameters
    ----------
    path
        File to write; its suffix, `.png` or `.svg`, says how.

    Raises
    ------
    FairwattError
        If the suffix is another, or the file cannot be written.
    """
    make = {
        "prices": _prices,
        "stores": stores_figure,
        "flows": _flows,
        "savings": _savings,
        "forecast": _forecast,
        "chain": _chain,
    }[name]
    save(lambda: make(results), path)


# ------------------------------------------------------------------------------- prices and energy


def _prices(results: Results) -> Figure:
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    prices, energy = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.1])
    bounds = edges(results)
    price_lines(prices, results)
    legend(prices)
    hours = results.prepared.settings.period_seconds / SECONDS_PER_HOUR
    traded, imported, exported = (
        means(results, energy) / hours
        for energy in (results.traded_kwh, results.imported_kwh, results.exported_kwh)
    )
    energy.stairs(traded, bounds, fill=True, color=_TRADED, label="between peers")
    energy.stairs(
        traded + imported, bounds, baseline=traded, fill=True, color=_IMPORT, label="from suppliers"
    )
    energy.stairs(-exported, bounds, fill=True, color=_EXPORT, label="to suppliers")
    energy.axhline(0, color=INK, linewidth=0.8)
    unit = "kW" if is_hourly(results) else f"kW, mean of the {span(results)}"
    energy.set_ylabel(unit, color=INK)
    legend(energy)
    time_axis(energy, results)
    for axes in (prices, energy):
        plain(axes)
    return figure


# ----------------------------------------------------------------------------------- between peers


def _flows(results: Results) -> Figure:
    """A cell for each seller and buyer that traded at all."""
    names = np.array([peer.name for peer in results.prepared.truth.peers])
    energy = results.between_kwh
    sellers, buyers = energy.sum(axis=1), energy.sum(axis=0)
    rows = np.argsort(-sellers)[: int((sellers > 0).sum())][:_MOST_NAMES]
    columns = np.argsort(-buyers)[: int((buyers > 0).sum())][:_MOST_NAMES]
    width = min(4.5 + 0.24 * len(columns), 15)
    height = min(3.0 + 0.24 * len(rows), 15)
    figure = Figure(figsize=(max(width, 7), max(height, 4)), layout="constrained")
    grid = figure.subplots(
        2, 2, width_ratios=[4, 1], height_ratios=[1, 4], sharex="col", sharey="row"
    )
    top, corner, cells, side = grid[0, 0], grid[0, 1], grid[1, 0], grid[1, 1]
    corner.set_visible(False)
    if not rows.size:
        cells.text(0.5, 0.5, "nobody traded", ha="center", va="center", transform=cells.transAxes)
        return figure
    shown = energy[np.ix_(rows, columns)]
    image = cells.imshow(
        np.where(shown > 0, shown, np.nan), aspect="auto", cmap="YlGnBu", interpolation="nearest",
        norm=LogNorm(max(shown.max() / 1000, shown[shown > 0].min()), shown.max()),
    )  # fmt: skip
    cells.set_xticks(range(len(columns)), names[columns], rotation=90, fontsize=7.5)
    cells.set_yticks(range(len(rows)), names[rows], fontsize=7.5)
    cells.set_xlabel("buys", color=INK)
    cells.set_ylabel("sells", color=INK)
    top.bar(range(len(columns)), buyers[columns], color=BLUE, width=0.8)
    top.set_ylabel("bought\nkWh", color=INK, fontsize=9)
    side.barh(range(len(rows)), sellers[rows], color=_EXPORT, height=0.8)
    side.set_xlabel("sold\nkWh", color=INK, fontsize=9)
    for axes in (top, side):
        plain(axes)
    top.tick_params(labelbottom=False)
    side.tick_params(labelleft=False)
    side.grid(axis="y", visible=False)
    # Powers of ten are no numbers to most; and a small community trades within one power.
    scale = figure.colorbar(image, ax=side, label="kWh", fraction=0.35, pad=0.08)
    scale.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scale.ax.yaxis.set_major_formatter(FuncFormatter(lambda energy, _: f"{energy:g}"))
    scale.ax.yaxis.set_minor_locator(NullLocator())
    return figure


# ----------------------------------------------------------------------------------------- savings


def _savings(results: Results) -> Figure:
    """What each saves; in percent too, as in the table, in a column of its own."""
    peers = sorted(results.peers.values(), key=lambda peer: peer.saved)[-_MOST_NAMES:]
    figure = Figure(figsize=(9, 1.5 + 0.22 * max(len(peers), 4)), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(peers))
    saved = np.array([peer.saved for peer in peers]) / NANO
    perfect = np.array([peer.alone - peer.perfect for peer in peers]) / NANO
    axes.barh(at, saved, color=np.where(saved >= 0, GREEN, RED), height=0.7)
    axes.scatter(
        perfect, at, marker="|", s=70, color=INK, linewidths=1.4, zorder=3,
        label="with a perfect forecast",
    )  # fmt: skip
    for place, peer in enumerate(peers):
        if (part := peer.saved_percent) is not None:
            # At the end of a bar it would be read as the percentage of the mark that stands there.
            axes.annotate(
                f"{part:z.1f} %", (1.0, place), xycoords=axes.get_yaxis_transform(),
                xytext=(46, 0), textcoords="offset points", ha="right", va="center",
                fontsize=7.5, color=SOFT,
            )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=9)
    axes.annotate(
        "saved, %", (1.0, 1.0), xycoords="axes fraction", xytext=(46, 6),
        textcoords="offset points", ha="right", fontsize=9, color=INK,
    )  # fmt: skip
    axes.set_yticks(at, [peer.name for peer in peers], fontsize=7.5)
    axes.set_ylim(-0.7, len(peers) - 0.3)
    axes.margins(x=0.08)
    currency = results.prepared.case.currency
    axes.set_xlabel(f"saved, {currency}; in % of the bill alone with the supplier", color=INK)
    plain(axes)
    axes.grid(axis="x", color="#e4e6e8", linewidth=0.6)
    axes.grid(axis="y", visible=False)
    return figure


# ---------------------------------------------------------------------------------------- forecast


def _forecast(results: Results) -> Figure:
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    total, errors = figure.subplots(1, 2, width_ratios=[1.25, 1])
    bounds = day_edges(results)
    costs = results.costs[: results.days]
    name = results.prepared.settings.forecast
    lines = (
        (1, "alone with the supplier", SOFT, ":"),
        (0, f"in the market, {name} forecast", GREEN, "-"),
        (2, "in the market, perfect forecast", BLUE, "--"),
    )
    for column, label, colour, style in lines:
        summed = np.concatenate([[0.0], costs[:, column].cumsum()])
        total.plot(bounds, summed, color=colour, linestyle=style, linewidth=1.8, label=label)
    total.set_ylabel(f"cost of all peers so far, {results.prepared.case.currency}", color=INK)
    total.legend(frameon=False, fontsize=9)
    total.set_ylim(bottom=min(0.0, total.get_ylim()[0]))
    width = 1.0 if results.days > _MOST_NAMES else 0.8
    middle = (bounds[:-1] + bounds[1:]) / 2
    errors.bar(middle, costs[:, 0] - costs[:, 2], width=width, color=RED)
    errors.set_ylabel(f"errors cost, {results.prepared.case.currency} a day", color=INK)
    for axes in (total, errors):
        time_axis(axes, results)
        plain(axes)
    return figure


# ------------------------------------------------------------------------------------------- chain


def _chain(results: Results) -> Figure:
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    gas, seconds = figure.subplots(1, 2, width_ratios=[1.25, 1])
    bounds = day_edges(results)
    base = np.zeros(results.days)
    for name, colour in _CONTRACTS.items():
        used = np.array([day.get(name, 0) for day in results.gas]) / 1e6
        if used.any():
            gas.stairs(base + used, bounds, baseline=base, fill=True, color=colour, label=name)
            base += used
    gas.set_ylabel("million gas a day", color=INK)
    gas.set_ylim(bottom=0)
    gas.legend(loc="lower right", fontsize=9)
    time_axis(gas, results)
    plain(gas)
    stages = list(results.seconds[0])
    rows = np.array([[day.get(stage, 0.0) for stage in stages] for day in results.seconds])
    at = np.arange(len(stages))[::-1]
    seconds.barh(at, np.median(rows, axis=0), color=GREY, height=0.7)
    for place, value in zip(at, np.median(rows, axis=0), strict=True):
        seconds.annotate(
            f"{value:.2f}", (value, place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8.5, color=INK,
        )  # fmt: skip
    seconds.set_yticks(at, stages)
    seconds.margins(x=0.18)
    seconds.set_xlabel("seconds per day, median, by stage", color=INK)
    plain(seconds)
    seconds.grid(axis="y", visible=False)
    return figure
