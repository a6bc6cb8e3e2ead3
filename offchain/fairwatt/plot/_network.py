"""Pictures of clearings: the network with its prices, who sells and buys, what the links carry.

Panels on one page, with one legend and one scale of prices. What a panel says is in
`_network_cards`, where it stands in `_network_layout`, how it is drawn in `_network_drawing`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fairwatt.errors import (
    FairwattError,
    FillCountMismatch,
    FlowCountMismatch,
    NegativeQuantity,
    PriceCountMismatch,
)
from fairwatt.plot._network_cards import (
    BUYS,
    OWN,
    SELLS,
    DrawnLink,
    Measures,
    Panel,
    cards_of,
    measures_of,
    price_text,
    text_width,
    wrapped,
)
from fairwatt.plot._network_drawing import PRICES, arrow, draw_card, draw_link, write
from fairwatt.plot._network_layout import Layout, laid_out
from fairwatt.plot.style import INK, SOFT, picture_kind, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["MAX_NODES", "Panel", "draw_clearings"]

MAX_NODES: Final = 40
"""Most nodes of a panel; a dozen are comfortable."""

_PAGE: Final = 14.0  # widest row of panels, inches
_MARGIN: Final = 0.3


def draw_clearings(panels: Sequence[Panel], path: Path) -> None:
    """Draw clearings into one picture, a panel each, with one price scale for all.

    Parameters
    ----------
    path
        File to write; its suffix, `.png` or `.svg`, says how.

    Raises
    ------
    FairwattError
        If the suffix is another, the file cannot be written, there is no panel, or a network has
        more than `MAX_NODES` nodes.
    PriceCountMismatch, FlowCountMismatch, FillCountMismatch, NegativeQuantity
        If a clearing does not fit its book.
    """
    picture_kind(path)
    if not panels:
        raise FairwattError(f"{path}: there is no clearing to draw")
    for panel in panels:
        _check(panel)
    save(lambda: _figure(panels), path)


def _check(panel: Panel) -> None:
    network, clearing = panel.book.network, panel.clearing
    if len(network.nodes) > MAX_NODES:
        raise FairwattError(
            f"{panel.title}: {len(network.nodes)} nodes are too many to draw, at most {MAX_NODES}"
        )
    if len(clearing.prices_micro_per_kwh) != len(network.nodes):
        raise PriceCountMismatch(len(network.nodes), len(clearing.prices_micro_per_kwh))
    if len(clearing.flows_wh) != len(network.links):
        raise FlowCountMismatch(len(network.links), len(clearing.flows_wh))
    if len(clearing.fills_wh) != len(panel.book):
        raise FillCountMismatch(len(panel.book), len(clearing.fills_wh))
    for name, quantities in (("fillsWh", clearing.fills_wh), ("flowsWh", clearing.flows_wh)):
        for at, quantity in enumerate(quantities.tolist()):
            if quantity < 0:
                raise NegativeQuantity(name, at, quantity)


@dataclass(slots=True)
class _Place:
    """A panel on the page: its title and the left edge and top of its space, from the top."""

    layout: Layout
    title: list[str]
    width: float
    height: float
    left: float = 0.0
    top: float = 0.0

    @property
    def title_height(self) -> float:
        return 0.27 * len(self.title) + 0.2


def _figure(panels: Sequence[Panel]) -> Figure:
    cards = [cards_of(panel) for panel in panels]
    measures = measures_of(panels, cards)
    places = []
    for panel, group in zip(panels, cards, strict=True):
        half = len(panels) > 1 and len(group) <= 6
        room = (_PAGE - 3 * _MARGIN - 0.6) / 2 if half else _PAGE - 2 * _MARGIN
        layout = laid_out(panel, group, measures, room)
        left, bottom, right, top = layout.box
        width = max(right - left, 3.6)
        title = wrapped(panel.title, 13, width)
        places.append(_Place(layout, title, width, 0.27 * len(title) + 0.2 + top - bottom))
    width, height = _arrange(places)
    legend = _legend([place.layout for place in places], width)
    strip = 0.72 + 0.34 * len(legend)
    figure = Figure(figsize=(width, height + strip), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(0, height + strip)
    for place in places:
        _draw_panel(axes, place, height + strip, measures)
    _draw_legend(axes, legend, strip)
    _draw_scale(figure, measures, (width, height + strip))
    return figure


def _arrange(places: list[_Place]) -> tuple[float, float]:
    """Set panels in rows like words in lines; gives width and height of the page."""
    gap, x, y, row, right = 0.6, _MARGIN, _MARGIN, 0.0, 0.0
    for place in places:
        if x > _MARGIN and x + place.width > _PAGE:
            x, y, row = _MARGIN, y + row + 0.5, 0.0
        place.left, place.top = x, y
        x += place.width + gap
        row = max(row, place.height)
        right = max(right, x - gap)
    for _, group in itertools.groupby(places, key=lambda place: place.top):
        line = list(group)
        tall = max(place.height for place in line)
        for place in line:
            place.height = tall
    return right + _MARGIN, y + row + 0.25


def _draw_panel(axes: Axes, place: _Place, page: float, measures: Measures) -> None:
    layout = place.layout
    left, bottom, right, top = layout.box
    baseline = page - place.top - 0.2
    for line in place.title:
        write(axes, (place.left, baseline), line, 13, bold=True)
        baseline -= 0.27
    body = place.height - place.title_height
    origin = np.array(
        [
            place.left + (place.width - (right - left)) / 2 - left,
            page - place.top - place.title_height - (body + top - bottom) / 2 - bottom,
        ]
    )
    for link in sorted(layout.links, key=lambda link: link.flow_wh):
        draw_link(axes, link, origin, measures)
    for card, centre, half in zip(layout.cards, layout.centres, layout.halves, strict=True):
        draw_card(axes, card, centre + origin - half, measures)
    if not layout.cards:
        write(axes, (place.left, float(origin[1]) + 0.1), "no nodes", 9.5, colour=SOFT)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A sign of the legend and what it means."""

    sign: str | DrawnLink
    text: str
    colour: str = INK
    bar: str = ""
    left: float = 0.0

    @property
    def width(self) -> float:
        return (
            text_width(f"{self.sign} {self.text}", 9.5)
            if self.bar
            else 0.62 + text_width(self.text, 9.5)
        )


def _legend(layouts: list[Layout], width: float) -> list[list[_Entry]]:
    """Explain the signs that are in the picture; lines of entries."""
    rows = [row for layout in layouts for card in layout.cards for row in card.rows]
    links = [link for layout in layouts for link in layout.links]
    used = any(link.flow_wh for link in links)
    carried = "energy carried (tariff in token/kWh)"
    entries = (
        (any(row.sold_wh for row in rows), _Entry("▲", "sells to others", SELLS, SELLS)),
        (any(row.bought_wh for row in rows), _Entry("▼", "buys from others", BUYS, BUYS)),
        (any(row.own_wh for row in rows), _Entry("↺", "own use", SOFT, OWN)),
        (used, _Entry(DrawnLink(0, 1, 1, 2, 0), carried)),
        (any(link.full for link in links), _Entry(DrawnLink(0, 1, 1, 1, 0), "full")),
        (
            any(not link.flow_wh for link in links),
            _Entry(
                DrawnLink(0, 1, 0, 2, 0), "not used" if used else "not used (tariff in token/kWh)"
            ),
        ),
    )
    lines: list[list[_Entry]] = [[]]
    x = _MARGIN
    for shown, entry in entries:
        if not shown:
            continue
        if lines[-1] and x + entry.width > width - _MARGIN:
            lines.append([])
            x = _MARGIN
        lines[-1].append(replace(entry, left=x))
        x += entry.width + 0.4
    return lines if lines[0] else []


def _draw_legend(axes: Axes, legend: list[list[_Entry]], strip: float) -> None:
    for at, line in enumerate(legend):
        y = strip - 0.2 - 0.34 * at
        for entry in line:
            x = entry.left
            if isinstance(entry.sign, str):
                write(axes, (x, y), f"{entry.sign} {entry.text}", 9.5, colour=entry.colour)
                bar = Rectangle((x, y - 0.10), entry.width, 0.05, facecolor=entry.bar)
                axes.add_patch(bar)
                continue
            run = np.column_stack([np.linspace(x, x + 0.52, 60), np.full(60, y + 0.05)])
            arrow(axes, run, 3.5 if entry.sign.flow_wh else 1.1, entry.sign)
            write(axes, (x + 0.62, y), entry.text, 9.5, colour=entry.colour)


def _draw_scale(figure: Figure, measures: Measures, page: tuple[float, float]) -> None:
    label = "Node price, token/kWh"
    left = _MARGIN + text_width(label, 9.5) + 0.25
    width = min(page[0] - left - _MARGIN - 0.3, 5.0)
    axes = figure.add_axes((left / page[0], 0.42 / page[1], width / page[0], 0.16 / page[1]))
    bar = figure.colorbar(
        ScalarMappable(measures.scale, PRICES), cax=axes, orientation="horizontal"
    )
    low, high = float(measures.scale.vmin or 0), float(measures.scale.vmax or 0)
    digits = 4 if high - low >= 0.004 else 6
    steps = max(1, min(4, int(width)))
    ticks = [low + (high - low) * at / steps for at in range(steps + 1)]
    labels = [f"{tick:.{digits}f}".replace("-", "−") for tick in ticks]
    if measures.one_price:
        ticks = [(low + high) / 2]
        labels = [price_text(round(ticks[0] * 1e6))]
    bar.set_ticks(ticks, labels=labels)
    bar.ax.tick_params(labelsize=8.5, labelcolor=INK, color=SOFT, length=3)
    bar.outline.set_edgecolor(SOFT)
    figure.text(_MARGIN / page[0], 0.45 / page[1], label, fontsize=9.5, color=INK, parse_math=False)
