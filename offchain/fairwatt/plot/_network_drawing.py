"""How a card and a link of a clearing are drawn, where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

from fairwatt.plot._network_cards import BUYS, FULL, HEAD, OWN, PAD, ROW, SELLS, text_width
from fairwatt.plot.style import INK, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fairwatt.plot._network_cards import Card, DrawnLink, Measures, Points, Row

__all__ = ["PRICES", "arrow", "draw_card", "draw_link", "write"]

PRICES: Final = LinearSegmentedColormap.from_list(
    "fairwatt", ["#fff3cf", "#fbd884", "#f0ab4c", "#c9733a", "#8a4332", "#4f2230"]
)


def write(
    axes: Axes,
    at: tuple[float, float],
    text: str,
    size: float,
    *,
    colour: str = INK,
    bold: bool = False,
    align: Literal["left", "center", "right"] = "left",
) -> None:
    """Write a line of text."""
    axes.text(
        *at,
        text,
        fontsize=size,
        color=colour,
        fontweight="bold" if bold else "normal",
        ha=align,
        va="baseline",
        zorder=5,
        parse_math=False,
    )


def draw_link(axes: Axes, link: DrawnLink, origin: Points, measures: Measures) -> None:
    """Draw a link and its label; `origin` is that of its layout on the page."""
    thickness = measures.thickness(link.flow_wh) if link.flow_wh else 1.1
    arrow(axes, link.curve + origin, thickness, link)
    if link.label is None:
        return
    width, height = link.label_size()
    x, y = (np.array(link.label) + origin).tolist()
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2 + 0.03, y - height / 2 + 0.03),
            width - 0.06,
            height - 0.06,
            boxstyle="round,pad=0.03",
            facecolor="white",
            edgecolor="none",
            zorder=4,
        )
    )
    lines = link.lines()
    baseline = y + 0.17 * len(lines) / 2 - 0.13
    for at, (text, size, bold) in enumerate(lines):
        colour = INK if bold and not link.full else FULL if bold else SOFT
        write(axes, (x, baseline - 0.17 * at), text, size, colour=colour, bold=bold, align="center")


def arrow(axes: Axes, curve: Points, thickness: float, link: DrawnLink) -> None:
    """Draw a line with a head: dashed where the link is full."""
    length = 0.10 + 0.018 * thickness
    wide = 0.035 + 0.0115 * thickness
    tip = curve[-1]
    gone = np.hypot(*(curve - tip).T)
    neck = int(np.flatnonzero(gone > length)[-1]) if (gone > length).any() else 0
    base = curve[neck]
    along = (tip - base) / max(float(np.hypot(*(tip - base))), 1e-9)
    across = np.array([-along[1], along[0]]) * wide
    line = curve[neck::-1]  # from the head: dashes begin there
    if len(line) > 1:
        axes.add_line(
            Line2D(
                *line.T,
                color=link.colour,
                linewidth=thickness,
                solid_capstyle="butt",
                dash_capstyle="butt",
                linestyle=(0, (2.2, 0.7)) if link.full else "solid",
                zorder=1 + (link.flow_wh > 0),
            )
        )
    axes.add_patch(
        Polygon(
            np.array([tip, base + across, base - across]),
            facecolor=link.colour,
            edgecolor="none",
            zorder=1 + (link.flow_wh > 0),
        )
    )


def draw_card(axes: Axes, card: Card, corner: Points, measures: Measures) -> None:
    """Draw a card; `corner` is its lower left one."""
    x, y = corner.tolist()
    width, height = measures.card_width, card.height
    colour = PRICES(measures.scale(card.price_micro_per_kwh / 1e6))
    ink = _ink_on(colour)
    top = y + height
    shape = "round,pad=0,rounding_size=0.07"
    whole = FancyBboxPatch((x, y), width, height, boxstyle=shape, zorder=3)
    whole.set(facecolor="white", edgecolor="none")
    axes.add_patch(whole)
    head = Rectangle((x, top - HEAD), width, HEAD, facecolor=colour, edgecolor="none", zorder=3.1)
    axes.add_patch(head)
    frame = FancyBboxPatch((x, y), width, height, boxstyle=shape, zorder=3.2)
    frame.set(facecolor="none", edgecolor=INK, linewidth=1.0)
    axes.add_patch(frame)
    head.set_clip_path(frame)
    write(axes, (x + PAD, top - 0.235), card.name, 11, bold=True, colour=ink)
    write(axes, (x + width - PAD, top - 0.235), card.price, 9.5, colour=ink, align="right")
    if not card.rows:
        write(axes, (x + PAD, top - HEAD - 0.22), "no orders", 9.5, colour=SOFT)
    for at, row in enumerate(card.rows):
        _draw_row(axes, row, (x + PAD, top - HEAD - ROW * at - 0.22), measures)


def _draw_row(axes: Axes, row: Row, at: tuple[float, float], measures: Measures) -> None:
    x, y = at
    write(axes, at, row.name, 9.5, bold=True)
    left = x + measures.name_width
    for text, colour in row.items():
        write(axes, (left, y), text, 9.5, colour=colour)
        left += max(text_width(text, 9.5) + 0.14, measures.item_width)
    unit = (measures.card_width - 2 * PAD) / measures.most_row_wh
    for energy, colour in (
        (row.sold_wh, SELLS),
        (row.bought_wh, BUYS),
        (row.own_wh, OWN),
    ):
        bar = Rectangle((x, y - 0.10), energy * unit, 0.05, facecolor=colour, zorder=3.1)
        axes.add_patch(bar)
        x += energy * unit


def _ink_on(colour: tuple[float, float, float, float]) -> str:
    """Dark or white, whichever reads better on `colour`."""
    red, green, blue = to_rgb(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"
