"""What a picture of a clearing says: cards of nodes with their peers, links with their labels.

Everything is measured in inches, as it is laid out on one page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from fairwatt.market import Side
from fairwatt.plot.style import BLUE, GREEN, GREY, RED, SOFT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairwatt.market import Book, Clearing

__all__ = [
    "BUYS", "FULL", "HEAD", "OWN", "PAD", "ROW", "SELLS", "Card", "DrawnLink", "Measures", "Panel",
    "Points", "Row", "cards_of", "links_of", "measures_of", "price_text", "text_width", "wrapped",
]  # fmt: skip

Points = NDArray[np.float64]

# Every meaning of a colour has a sign as well.
SELLS, BUYS, OWN = GREEN, BLUE, GREY
FULL = RED
_IDLE, _FLOW = "#b4b8bd", "#4d5257"
PAD: Final = 0.12  # inside a card
HEAD: Final = 0.36  # height of a card's header
ROW: Final = 0.31
_ROWS: Final = 5  # most lines of peers on a card


@dataclass(frozen=True, slots=True)
class Panel:
    """One clearing of a picture.

    Parameters
    ----------
    title
        Stands above it.
    book, clearing
        What is drawn; the clearing need not be proved, but must fit the book.
    """

    title: str
    book: Book
    clearing: Clearing


def _energy(energy_wh: int) -> str:
    """Four digits and the unit that suits them: `950 Wh`, `1.25 kWh`, `5 MWh`."""
    if energy_wh < 1000:
        return f"{energy_wh} Wh"
    power = next((at for at in (1, 2, 3) if energy_wh < 999.95 * 1000**at), 4)
    value = energy_wh / 1000**power
    number = f"{value:.{3 if value < 9.9995 else 2 if value < 99.995 else 1}f}"
    return f"{number.rstrip('0').rstrip('.')} {'kMGT'[power - 1]}Wh"


def price_text(micro_per_kwh: int) -> str:
    """Exact, in token/kWh, with four to six decimals: `0.0754`, `−0.00125`."""
    whole, micro = divmod(abs(micro_per_kwh), 1_000_000)
    decimals = f"{micro:06d}".rstrip("0").ljust(4, "0")
    return f"{'−' if micro_per_kwh < 0 else ''}{whole}.{decimals}"


def _fitted(text: str, most: int = 20) -> str:
    """A name that fits its place; an address keeps its two ends."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a line of text, inches."""
    font = FontProperties(family="sans-serif", weight="bold" if bold else "normal", size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def wrapped(text: str, size: float, width: float) -> list[str]:
    """A text in bold lines that are no wider than `width`, inches."""
    lines: list[str] = []
    for word in _fitted(text, 200).split():
        if lines and text_width(f"{lines[-1]} {word}", size, bold=True) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@dataclass(slots=True)
class Row:
    """A peer at a node: traded with others, and own generation that it uses itself."""

    name: str
    sold_wh: int = 0
    bought_wh: int = 0
    own_wh: int = 0

    @property
    def total_wh(self) -> int:
        """Length of its bar."""
        return self.sold_wh + self.bought_wh + self.own_wh

    def items(self) -> list[tuple[str, str]]:
        """What it trades, each with its colour."""
        parts = (
            ("▲", self.sold_wh, SELLS),
            ("▼", self.bought_wh, BUYS),
            ("↺", self.own_wh, SOFT),
        )
        shown = [(f"{sign} {_energy(energy)}", colour) for sign, energy, colour in parts if energy]
        return shown or [("no trade", SOFT)]


@dataclass(frozen=True, slots=True)
class Card:
    """A node with its price and its peers."""

    name: str
    price_micro_per_kwh: int
    rows: list[Row]

    @property
    def price(self) -> str:
        """As it stands in the header."""
        return f"{price_text(self.price_micro_per_kwh)} token/kWh"

    @property
    def height(self) -> float:
        """Of header and rows, inches."""
        return HEAD + ROW * max(1, len(self.rows)) + 0.10


def cards_of(panel: Panel) -> list[Card]:
    """A card for every node, in their sequence."""
    book, clearing = panel.book, panel.clearing
    fills: dict[tuple[int, str], list[int]] = {}  # bought, sold
    for peer, node, side, fill in zip(
        book.peers, book.node.tolist(), book.side.tolist(), clearing.fills_wh.tolist(), strict=True
    ):
        fills.setdefault((node, peer), [0, 0])[Side(side)] += fill
    rows: list[list[Row]] = [[] for _ in book.network.nodes]
    for (node, peer), (bought, sold) in fills.items():
        own = min(bought, sold)
        rows[node].append(Row(_fitted(peer, 16), sold - own, bought - own, own))
    prices = clearing.prices_micro_per_kwh.tolist()
    return [
        Card(_fitted(name), price, _top(lines))
        for name, price, lines in zip(book.network.nodes, prices, rows, strict=True)
    ]


def _top(rows: list[Row]) -> list[Row]:
    """All rows if they fit, else the largest and the sum of the others."""
    if len(rows) <= _ROWS:
        return rows
    ranked = sorted(rows, key=lambda row: -row.total_wh)
    others = ranked[_ROWS - 1 :]
    rest = Row(
        f"+ {len(others)} more",
        sum(row.sold_wh for row in others),
        sum(row.bought_wh for row in others),
        sum(row.own_wh for row in others),
    )
    return [*ranked[: _ROWS - 1], rest]


@dataclass(frozen=True, slots=True)
class Measures:
    """What all cards and links of a picture share."""

    card_width: float
    name_width: float
    item_width: float
    label_width: float
    most_row_wh: int
    most_flow_wh: int
    scale: Normalize
    one_price: bool

    def thickness(self, flow_wh: int) -> float:
        """Width of a link's line, points."""
        return 1.6 + 6.4 * flow_wh / self.most_flow_wh


def measures_of(panels: Sequence[Panel], cards: list[list[Card]]) -> Measures:
    """Measure the cards and links of all panels, so that they are alike."""
    every = [card for group in cards for card in group]
    rows = [row for card in every for row in card.rows]
    named = max((text_width(row.name, 9.5, bold=True) for row in rows), default=0.0) + 0.14
    item = max((text_width(row.items()[0][0], 9.5) for row in rows), default=0.0) + 0.14
    width = 2.1
    for card in every:
        head = text_width(card.name, 11, bold=True) + 0.25 + text_width(card.price, 9.5)
        width = max(width, head + 2 * PAD)
    for row in rows:
        width = max(width, 2 * PAD + named + _items_width(row, item))
    labels = [line for panel in panels for link in links_of(panel) for line in link.lines()]
    prices = [card.price_micro_per_kwh / 1e6 for card in every] or [0.0]
    low, high = min(prices), max(prices)
    if one_price := low == high:
        spread = max(abs(low) * 0.2, 0.001)
        low, high = low - spread, high + spread
    return Measures(
        card_width=width,
        name_width=named,
        item_width=item,
        label_width=max((text_width(*line[:2], bold=line[2]) for line in labels), default=0.5),
        most_row_wh=max((row.total_wh for row in rows), default=0) or 1,
        most_flow_wh=max((int(p.clearing.flows_wh.max(initial=0)) for p in panels), default=0) or 1,
        scale=Normalize(low, high),
        one_price=one_price,
    )


def _items_width(row: Row, item_width: float) -> float:
    widths = [text_width(text, 9.5) for text, _ in row.items()]
    return sum(max(width + 0.14, item_width) for width in widths[:-1]) + widths[-1]


@dataclass(slots=True)
class DrawnLink:
    """A link with what it carries, and where it runs once it is laid out."""

    source: int
    target: int
    flow_wh: int
    capacity_wh: int
    tariff_micro_per_kwh: int
    curve: Points = field(default_factory=lambda: np.zeros((0, 2)))
    label: tuple[float, float] | None = None  # its centre; None: no room

    @property
    def full(self) -> bool:
        """Whether it carries all it can."""
        return 0 < self.flow_wh >= self.capacity_wh

    @property
    def colour(self) -> str:
        """Of its line."""
        return FULL if self.full else _FLOW if self.flow_wh else _IDLE

    def lines(self) -> list[tuple[str, float, bool]]:
        """Text, size and weight of the label's lines."""
        tariff = (
            f"tariff {price_text(self.tariff_micro_per_kwh) if self.tariff_micro_per_kwh else 0}"
        )
        if not self.flow_wh:
            return [(tariff if self.capacity_wh else f"closed, {tariff}", 8.0, False)]
        state = ", full" if self.full else ""
        return [(_energy(self.flow_wh) + state, 9.5, True), (tariff, 8.5, False)]

    def label_size(self) -> tuple[float, float]:
        """Width and height, inches."""
        lines = self.lines()
        width = max(text_width(text, size, bold=bold) for text, size, bold in lines)
        return width + 0.10, 0.17 * len(lines) + 0.04


def links_of(panel: Panel) -> list[DrawnLink]:
    """The links in their sequence, not laid out yet."""
    network = panel.book.network
    return [
        DrawnLink(*ends)
        for ends in zip(
            network.sources.tolist(),
            network.targets.tolist(),
            panel.clearing.flows_wh.tolist(),
            network.capacities_wh.tolist(),
            network.tariffs_micro_per_kwh.tolist(),
            strict=True,
        )
    ]
