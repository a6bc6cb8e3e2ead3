"""Market designs side by side: what they save, for whom, at what prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fairwatt.plot.style import BLUE, GREEN, GREY, INK, SOFT, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from fairwatt.study import Outcome, Study

__all__ = ["draw_study"]

_MOST_NAMES: Final = 45  # beyond, peers are drawn without their names
_OURS: Final = "market"
_DARK: Final = 0.6  # of the largest gain: cells that need white text


def draw_study(study: Study, path: Path, *, title: str, currency: str) -> None:
    """Draw a study: gains by design, figures of the dispatch, prices, gains by peer.

    Parameters
    ----------
    path
        File to write; its suffix, `.png` or `.svg`, says how.

    Raises
    ------
    FairwattError
        If the suffix is another, or the file cannot be written.
    """
    save(lambda: _figure(study, title, currency), path)


def _figure(study: Study, title: str, currency: str) -> Figure:
    outcomes = study.outcomes
    peers = len(study.community.peers)
    left = 0.34 * len(outcomes) + 1.3
    right = min(max(0.2 * peers, 2.0), 10.0) + 1.6
    figure = Figure(figsize=(14, left + right), layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK, x=0.01, ha="left")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[left, right])[:, 0]
    gains, own, prices = top.subplots(1, 3, sharey=True, width_ratios=[1.2, 1, 1])
    _draw_gains(gains, study, currency)
    _draw_own(own, outcomes)
    _draw_prices(prices, study, currency)
    gains.set_yticks(range(len(outcomes)), [each.title for each in outcomes])
    gains.invert_yaxis()
    if len(outcomes) > 1:
        _draw_peers(bottom.subplots(), study, currency)
    return figure


def _draw_gains(axes: Axes, study: Study, currency: str) -> None:
    """A bar per design: what all peers save; what is kept by others stands beside it."""
    for row, outcome in enumerate(study.outcomes):
        gain = study.gain(outcome)
        axes.barh(row, gain, color=GREEN if outcome.design == _OURS else BLUE, height=0.62)
        if outcome.kept > 0:
            axes.barh(row, outcome.kept, left=max(gain, 0.0), color=GREY, height=0.62)
        share = gain / abs(study.alone.cost) if study.alone.cost else 0.0
        edge = max(gain, 0.0) + max(outcome.kept, 0.0)
        axes.annotate(
            f"{gain:,.2f} ({100 * share:.1f} %)", (edge, row), xytext=(4, 0), va="center",
            textcoords="offset points", fontsize=8.5, color=INK,
        )  # fmt: skip
    axes.set_title(f"gain of all peers, {currency}", fontsize=10, loc="left", color=INK)
    if any(each.kept > 0 for each in study.outcomes):
        axes.set_xlabel("grey: kept by network, fund or manager", fontsize=8.5, color=SOFT)
    axes.margins(x=0.32)
    _plain(axes)


def _draw_own(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    for field, marker, colour, label in (
        ("self_consumption", "o", "#f0a202", "self-consumption"),
        ("self_sufficiency", "D", BLUE, "self-sufficiency"),
    ):
        points = [
            (100 * value, row)
            for row, each in enumerate(outcomes)
            if (value := getattr(each.figures, field)) is not None
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=label, markersize=6)
    axes.set_xlim(-3, 103)
    axes.set_title("of own energy, %", fontsize=10, loc="left", color=INK)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False, fontsize=8.5
    )
    _plain(axes)


def _draw_prices(axes: Axes, study: Study, currency: str) -> None:
    """Range of the prices inside the community between the tariffs of the suppliers."""
    community = study.community
    periods = community.horizon.periods
    for supplier in community.suppliers:
        low, high = supplier.feed_in(periods).min(), supplier.retail(periods).max()
        axes.axvspan(low, high, color="#f3f4f5", zorder=0)
    for row, each in enumerate(study.outcomes):
        if each.lowest_price is not None and each.highest_price is not None:
            colour = GREEN if each.design == _OURS else BLUE
            axes.plot(
                [each.lowest_price, each.highest_price],
                [row, row],
                color=colour,
                linewidth=5,
                solid_capstyle="butt",
            )
            axes.plot([each.lowest_price], [row], "|", color=colour, markersize=10)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(f"prices inside, {currency}/kWh", fontsize=10, loc="left", color=INK)
    if community.suppliers:
        axes.set_xlabel("shaded: from feed-in to retail tariff", fontsize=8.5, color=SOFT)
    _plain(axes)


def _draw_peers(axes: Axes, study: Study, currency: str) -> None:
    """Gain of every peer in every design."""
    peers = study.community.peers
    values = np.array([study.gains(each) for each in study.outcomes[1:]]).T
    worse = [study.worse_off(each) for each in study.outcomes[1:]]
    bound = float(np.max(np.abs(values), initial=0.0)) or 1.0
    axes.imshow(
        np.sign(values) * np.sqrt(np.abs(values) / bound),
        cmap="RdYlGn", vmin=-1, vmax=1, aspect="auto", interpolation="nearest",
    )  # fmt: skip
    axes.set_xticks(
        range(values.shape[1]), [each.title.replace(" ", "\n", 1) for each in study.outcomes[1:]],
        fontsize=8.5,
    )  # fmt: skip
    axes.xaxis.tick_top()
    if len(peers) <= _MOST_NAMES:
        axes.set_yticks(range(len(peers)), [peer.name for peer in peers], fontsize=8)
        for (row, column), value in np.ndenumerate(values):
            axes.text(
                column, row, f"{value:z,.2f}", ha="center", va="center", fontsize=7.5,
                color="white" if abs(value) > _DARK * bound else INK,
                fontweight="bold" if peers[row].name in worse[column] else "normal",
            )  # fmt: skip
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(peers)} peers")
    axes.set_title(
        f"gain of every peer against being alone, {currency}; red and bold: worse off",
        fontsize=10, loc="left", color=INK,
    )  # fmt: skip
    axes.tick_params(colors=SOFT, length=0)
    axes.spines[:].set_visible(False)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e4e6e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)
