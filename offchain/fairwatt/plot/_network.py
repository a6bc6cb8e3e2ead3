"""Pictures of clearings: the network with its prices, who sells and buys, what the links carry.

Everything is laid out in inches on one page.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from fairwatt.errors import (
    FairwattError,
    FillCountMismatch,
    FlowCountMismatch,
    NegativeQuantity,
    PriceCountMismatch,
)
from fairwatt.market import Side
from fairwatt.plot.style import BLUE, GREEN, GREY, INK, RED, SOFT, picture_kind, save

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from fairwatt.market import Book, Clearing

__all__ = ["MAX_NODES", "Panel", "draw_clearings"]

MAX_NODES: Final = 40
"""Most nodes of a panel; a dozen are comfortable."""

Points = NDArray[np.float64]
Columns = tuple[tuple[int, ...], ...]

# Every meaning of a colour has a sign as well.
_SELLS, _BUYS, _OWN = GREEN, BLUE, GREY
_INK, _SOFT, _IDLE, _FLOW, _FULL = INK, SOFT, "#b4b8bd", "#4d5257", RED
_PRICES: Final = LinearSegmentedColormap.from_list(
    "fairwatt", ["#fff3cf", "#fbd884", "#f0ab4c", "#c9733a", "#8a4332", "#4f2230"]
)
_PAGE: Final = 14.0  # widest row of panels, inches
_MARGIN: Final = 0.3
_PAD: Final = 0.12  # inside a card
_HEAD: Final = 0.36  # height of a card's header
_ROW: Final = 0.31
_ROWS: Final = 5  # most lines of peers on a card
_LANE: Final = 0.40  # between links of the same two nodes
_EVALUATIONS: Final = 6000  # most layouts that are compared


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


# What is said


def _energy(energy_wh: int) -> str:
    """Four digits and the unit that suits them: `950 Wh`, `1.25 kWh`, `5 MWh`."""
    if energy_wh < 1000:
        return f"{energy_wh} Wh"
    power = next((at for at in (1, 2, 3) if energy_wh < 999.95 * 1000**at), 4)
    value = energy_wh / 1000**power
    number = f"{value:.{3 if value < 9.9995 else 2 if value < 99.995 else 1}f}"
    return f"{number.rstrip('0').rstrip('.')} {'kMGT'[power - 1]}Wh"


def _price(micro_per_kwh: int) -> str:
    """Exact, in token/kWh, with four to six decimals: `0.0754`, `−0.00125`."""
    whole, micro = divmod(abs(micro_per_kwh), 1_000_000)
    decimals = f"{micro:06d}".rstrip("0").ljust(4, "0")
    return f"{'−' if micro_per_kwh < 0 else ''}{whole}.{decimals}"


def _name(text: str, most: int = 20) -> str:
    """A name that fits its place; an address keeps its two ends."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def _width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a line of text, inches."""
    font = FontProperties(family="sans-serif", weight="bold" if bold else "normal", size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _wrapped(text: str, size: float, width: float) -> list[str]:
    lines: list[str] = []
    for word in _name(text, 200).split():
        if lines and _width(f"{lines[-1]} {word}", size, bold=True) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


# Cards: a node with its peers


@dataclass(slots=True)
class _Row:
    """A peer at a node: traded with others, and own generation that it uses itself."""

    name: str
    sold_wh: int = 0
    bought_wh: int = 0
    own_wh: int = 0

    @property
    def total_wh(self) -> int:
        return self.sold_wh + self.bought_wh + self.own_wh

    def items(self) -> list[tuple[str, str]]:
        parts = (
            ("▲", self.sold_wh, _SELLS),
            ("▼", self.bought_wh, _BUYS),
            ("↺", self.own_wh, _SOFT),
        )
        shown = [(f"{sign} {_energy(energy)}", colour) for sign, energy, colour in parts if energy]
        return shown or [("no trade", _SOFT)]


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    price_micro_per_kwh: int
    rows: list[_Row]

    @property
    def price(self) -> str:
        return f"{_price(self.price_micro_per_kwh)} token/kWh"

    @property
    def height(self) -> float:
        return _HEAD + _ROW * max(1, len(self.rows)) + 0.10


def _cards(panel: Panel) -> list[_Card]:
    book, clearing = panel.book, panel.clearing
    fills: dict[tuple[int, str], list[int]] = {}  # bought, sold
    for peer, node, side, fill in zip(
        book.peers, book.node.tolist(), book.side.tolist(), clearing.fills_wh.tolist(), strict=True
    ):
        fills.setdefault((node, peer), [0, 0])[Side(side)] += fill
    rows: list[list[_Row]] = [[] for _ in book.network.nodes]
    for (node, peer), (bought, sold) in fills.items():
        own = min(bought, sold)
        rows[node].append(_Row(_name(peer, 16), sold - own, bought - own, own))
    prices = clearing.prices_micro_per_kwh.tolist()
    return [
        _Card(_name(name), price, _top(lines))
        for name, price, lines in zip(book.network.nodes, prices, rows, strict=True)
    ]


def _top(rows: list[_Row]) -> list[_Row]:
    """All rows if they fit, else the largest and the sum of the others."""
    if len(rows) <= _ROWS:
        return rows
    ranked = sorted(rows, key=lambda row: -row.total_wh)
    others = ranked[_ROWS - 1 :]
    rest = _Row(
        f"+ {len(others)} more",
        sum(row.sold_wh for row in others),
        sum(row.bought_wh for row in others),
        sum(row.own_wh for row in others),
    )
    return [*ranked[: _ROWS - 1], rest]


@dataclass(frozen=True, slots=True)
class _Measures:
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


def _measures(panels: Sequence[Panel], cards: list[list[_Card]]) -> _Measures:
    every = [card for group in cards for card in group]
    rows = [row for card in every for row in card.rows]
    named = max((_width(row.name, 9.5, bold=True) for row in rows), default=0.0) + 0.14
    item = max((_width(row.items()[0][0], 9.5) for row in rows), default=0.0) + 0.14
    width = 2.1
    for card in every:
        head = _width(card.name, 11, bold=True) + 0.25 + _width(card.price, 9.5)
        width = max(width, head + 2 * _PAD)
    for row in rows:
        width = max(width, 2 * _PAD + named + _items_width(row, item))
    labels = [line for panel in panels for link in _links(panel) for line in link.lines()]
    prices = [card.price_micro_per_kwh / 1e6 for card in every] or [0.0]
    low, high = min(prices), max(prices)
    if one_price := low == high:
        spread = max(abs(low) * 0.2, 0.001)
        low, high = low - spread, high + spread
    return _Measures(
        card_width=width,
        name_width=named,
        item_width=item,
        label_width=max((_width(*line[:2], bold=line[2]) for line in labels), default=0.5),
        most_row_wh=max((row.total_wh for row in rows), default=0) or 1,
        most_flow_wh=max((int(p.clearing.flows_wh.max(initial=0)) for p in panels), default=0) or 1,
        scale=Normalize(low, high),
        one_price=one_price,
    )


def _items_width(row: _Row, item_width: float) -> float:
    widths = [_width(text, 9.5) for text, _ in row.items()]
    return sum(max(width + 0.14, item_width) for width in widths[:-1]) + widths[-1]


# Links


@dataclass(slots=True)
class _Link:
    source: int
    target: int
    flow_wh: int
    capacity_wh: int
    tariff_micro_per_kwh: int
    curve: Points = field(default_factory=lambda: np.zeros((0, 2)))
    label: tuple[float, float] | None = None  # its centre; None: no room

    @property
    def full(self) -> bool:
        return 0 < self.flow_wh >= self.capacity_wh

    @property
    def colour(self) -> str:
        return _FULL if self.full else _FLOW if self.flow_wh else _IDLE

    def lines(self) -> list[tuple[str, float, bool]]:
        """Text, size and weight of the label's lines."""
        tariff = f"tariff {_price(self.tariff_micro_per_kwh) if self.tariff_micro_per_kwh else 0}"
        if not self.flow_wh:
            return [(tariff if self.capacity_wh else f"closed, {tariff}", 8.0, False)]
        state = ", full" if self.full else ""
        return [(_energy(self.flow_wh) + state, 9.5, True), (tariff, 8.5, False)]

    def label_size(self) -> tuple[float, float]:
        lines = self.lines()
        width = max(_width(text, size, bold=bold) for text, size, bold in lines)
        return width + 0.10, 0.17 * len(lines) + 0.04


def _links(panel: Panel) -> list[_Link]:
    network = panel.book.network
    return [
        _Link(*ends)
        for ends in zip(
            network.sources.tolist(),
            network.targets.tolist(),
            panel.clearing.flows_wh.tolist(),
            network.capacities_wh.tolist(),
            network.tariffs_micro_per_kwh.tolist(),
            strict=True,
        )
    ]


# Layout: cards stand in columns; the energy should run from left to right


@dataclass(slots=True)
class _Layout:
    """Cards and links of a panel at their places; y runs upwards."""

    cards: list[_Card]
    links: list[_Link]
    centres: Points
    halves: Points  # half width and half height of every card
    missing: int = 0  # labels of energy that found no room
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def _layout(panel: Panel, cards: list[_Card], measures: _Measures, width: float) -> _Layout:
    """Arrange a panel; if a label of a flow finds no room, try again with more space."""
    links = _links(panel)
    halves = np.array([(measures.card_width / 2, card.height / 2) for card in cards])
    halves = halves.reshape(-1, 2)
    best: _Layout | None = None
    for stretch in (1.0, 1.25, 1.6, 2.0, 2.6):
        gaps = ((measures.label_width + 0.85) * stretch, 0.85 * stretch)
        columns = _columns(links, halves, gaps, width)
        centres = _centres(columns, halves, gaps)
        layout = _Layout(cards, [replace(link) for link in links], centres, halves)
        _route(layout)
        _place_labels(layout)
        if best is None or layout.missing < best.missing:
            best = layout
        if not best.missing:
            break
    assert best is not None  # noqa: S101 - the loop ran
    best.box = _box(best)
    return best


def _centres(columns: Columns, halves: Points, gaps: tuple[float, float]) -> Points:
    """Place the columns from left to right, each centred on the same height."""
    centres = np.zeros((len(halves), 2))
    for at, column in enumerate(columns):
        heights = [2 * float(halves[node, 1]) for node in column]
        top = (sum(heights) + gaps[1] * (len(column) - 1)) / 2
        for node, height in zip(column, heights, strict=True):
            centres[node] = at * (2 * halves[node, 0] + gaps[0]), top - height / 2
            top -= height + gaps[1]
    return centres


def _columns(
    links: list[_Link], halves: Points, gaps: tuple[float, float], width: float
) -> Columns:
    """Look for good columns: from several starts, change places as long as it helps."""
    count = len(halves)
    if count < 2:
        return (tuple(range(count)),)
    card = 2 * float(halves[0, 0])
    most = max(1, min(count, int((width + gaps[0]) / (card + gaps[0]))))
    budget = _EVALUATIONS

    def cost(columns: Columns) -> float:
        return _cost(columns, links, halves, gaps)

    best: tuple[float, Columns] = (math.inf, ())
    for number in range(1, most + 1):
        for start in _starts(links, count, number):
            now = cost(start), start
            better = True
            while better and budget > 0:
                better = False
                for columns in _neighbours(now[1], count):
                    budget -= 1
                    price = cost(columns)
                    if price < now[0] - 1e-9:
                        now, better = (price, columns), True
                        break
            if now[0] < best[0] - 1e-9:
                best = now
    return best[1]


def _starts(links: list[_Link], count: int, number: int) -> Iterator[Columns]:
    """In the sequence of the network; and by how far energy has come."""
    size = math.ceil(count / number)
    blocks = [tuple(range(at, min(at + size, count))) for at in range(0, count, size)]
    yield tuple(blocks + [()] * (number - len(blocks)))
    depth = [0] * count
    for _ in range(count):
        for link in links:
            if link.flow_wh:
                depth[link.target] = max(depth[link.target], min(depth[link.source] + 1, count))
    ranks = {value: at for at, value in enumerate(sorted(set(depth)))}
    yield tuple(
        tuple(node for node in range(count) if min(ranks[depth[node]], number - 1) == at)
        for at in range(number)
    )


def _neighbours(columns: Columns, count: int) -> Iterator[Columns]:
    """Every layout in which two nodes have changed places, or one has gone elsewhere."""
    for one, other in itertools.combinations(range(count), 2):
        swap = {one: other, other: one}
        yield tuple(tuple(swap.get(node, node) for node in column) for column in columns)
    for node in range(count):
        left = [tuple(entry for entry in column if entry != node) for column in columns]
        for at, column in enumerate(left):
            for place in range(len(column) + 1):
                moved = (*column[:place], node, *column[place:])
                yield (*left[:at], moved, *left[at + 1 :])


def _cost(columns: Columns, links: list[_Link], halves: Points, gaps: tuple[float, float]) -> float:
    """Long, crossing and hidden links, energy that runs backwards, and a tall picture."""
    centres = _centres(columns, halves, gaps)
    tallest = max(
        sum(2 * float(halves[node, 1]) + gaps[1] for node in column) for column in columns
    )
    cost = 0.7 * tallest + 0.5 * len(columns) + 3.0 * sum(not column for column in columns)
    pairs = sorted({(min(k.source, k.target), max(k.source, k.target)) for k in links})
    if not pairs:
        return cost
    first, second = (np.array(ends) for ends in zip(*pairs, strict=True))
    start, end = centres[first], centres[second]
    cost += float(np.hypot(*(end - start).T).sum())
    hidden = _hits(start, end, centres, halves + 0.1)
    rows = np.arange(len(pairs))
    hidden[rows, first] = hidden[rows, second] = False
    cost += 20 * int(hidden.sum()) + 5 * _crossings(start, end, first, second)
    for link in links:
        if link.flow_wh:
            step = centres[link.target, 0] - centres[link.source, 0]
            cost += 0.0 if step > 0.1 else 1.5 if step > -0.1 else 4.0
    return cost


def _hits(start: Points, end: Points, centres: Points, halves: Points) -> NDArray[np.bool_]:
    """Whether segment s passes through rectangle r, shape (segments, rectangles)."""
    step = (end - start)[:, None, :]
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    near = (centres - halves - start[:, None, :]) / step
    far = (centres + halves - start[:, None, :]) / step
    enter = np.minimum(near, far).max(axis=2)
    leave = np.maximum(near, far).min(axis=2)
    return np.asarray((np.maximum(enter, 0.0) < np.minimum(leave, 1.0)), dtype=np.bool_)


def _crossings(
    start: Points, end: Points, first: NDArray[np.int_], second: NDArray[np.int_]
) -> int:
    """How many pairs of segments cross that have no node in common."""

    def turn(point: Points) -> Points:
        """On which side of every segment (rows) the points (columns) lie."""
        step = end - start
        away = point[None, :, :] - start[:, None, :]
        side: Points = np.sign(step[:, None, 0] * away[:, :, 1] - step[:, None, 1] * away[:, :, 0])
        return side

    across = turn(start) * turn(end) < 0
    apart = np.ones_like(across)
    for one, other in itertools.product((first, second), repeat=2):
        apart &= one[:, None] != other[None, :]
    return int(np.triu(across & across.T & apart, 1).sum())


def _route(layout: _Layout) -> None:
    """Draw the links of each two nodes side by side, around the cards in their way."""
    pairs: dict[tuple[int, int], list[_Link]] = {}
    for link in layout.links:
        ends = (min(link.source, link.target), max(link.source, link.target))
        pairs.setdefault(ends, []).append(link)
    routed: list[Points] = []
    for ends, links in sorted(
        pairs.items(), key=lambda item: (-max(link.flow_wh for link in item[1]), item[0])
    ):
        links.sort(key=lambda link: link.source)
        lanes = [_LANE * (at - (len(links) - 1) / 2) for at in range(len(links))]
        best = math.inf
        for bow in (0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.2, -2.2, 3.0, -3.0):
            curves = [_curve(layout, ends, lane, bow) for lane in lanes]
            cost = 1.2 * abs(bow) + sum(_obstacles(layout, ends, c, routed) for c in curves)
            if cost < best - 1e-9:
                best = cost
                for link, curve in zip(links, curves, strict=True):
                    link.curve = curve
        routed += [link.curve for link in links]
    for link in layout.links:
        if link.source > link.target:
            link.curve = link.curve[::-1]


def _obstacles(
    layout: _Layout, ends: tuple[int, int], curve: Points, routed: list[Points]
) -> float:
    others = [node for node in range(len(layout.cards)) if node not in ends]
    thin = curve[::8]
    hits = _hits(thin[:-1], thin[1:], layout.centres[others], layout.halves[others] + 0.12)
    cost = 14.0 * int(hits.any(axis=0).sum())
    for other in routed:
        gap = np.abs(thin[:, None, :] - other[None, ::8, :]).max(axis=2)
        # Links that share a node come close there; what counts is further along.
        away = np.abs(thin[:, None, :] - thin[[0, -1]][None, :, :]).max(axis=2).min(axis=1) > 0.5
        cost += 0.6 * float((gap[away] < 0.1).any())
    return cost


def _curve(layout: _Layout, ends: tuple[int, int], lane: float, bow: float) -> Points:
    """Points of a link from the edge of one card to the edge of the other."""
    start, end = layout.centres[ends[0]], layout.centres[ends[1]]
    along = (end - start) / max(float(np.hypot(*(end - start))), 1e-9)
    across = np.array([-along[1], along[0]])
    reach = min(
        0.8
        * min(float(half / max(abs(part), 1e-9)) for half, part in zip(box, across, strict=True))
        for box in (layout.halves[ends[0]], layout.halves[ends[1]])
    )
    shift = max(-reach, min(reach, lane))
    bend = (start + end) / 2 + across * (2 * (lane + bow) - shift)
    part = np.linspace(0, 1, 401)[:, None]
    curve = (
        (1 - part) ** 2 * (start + across * shift)
        + 2 * part * (1 - part) * bend
        + part**2 * (end + across * shift)
    )
    inside = np.zeros(len(curve), dtype=bool)
    for node in ends:
        apart = np.abs(curve - layout.centres[node]) - layout.halves[node]
        inside |= apart.max(axis=1) < 0.04
    outside = np.flatnonzero(~inside)
    seen: Points = curve[outside[0] : outside[-1] + 1] if len(outside) > 1 else curve[199:202]
    return seen


def _place_labels(layout: _Layout) -> None:
    """Give every label the best free place along its link, those of flows first."""
    boxes = [
        (*(centre - half - 0.05), *(centre + half + 0.05))
        for centre, half in zip(layout.centres, layout.halves, strict=True)
    ]
    for link in sorted(layout.links, key=lambda link: -link.flow_wh):
        width, height = link.label_size()
        best = math.inf
        for cost, (x, y) in _spots(link, width, height):
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            if cost >= best or any(_overlap(box, other) for other in boxes):
                continue
            total = cost + sum(_cover(other, box, other is link) for other in layout.links)
            if total < min(best, math.inf if link.flow_wh else 1.5):
                best, link.label = total, (x, y)
        if link.label is not None:
            x, y = link.label
            boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        elif link.flow_wh:
            layout.missing += 1


def _cover(link: _Link, box: tuple[float, ...], own: bool) -> float:
    """What it costs to put a label over a link; its head should stay in sight."""
    if not _within(link.curve, box):
        return 0.0
    head = np.abs(link.curve - link.curve[-1]).max(axis=1) < 0.2
    if _within(link.curve[head], box):
        return 2.5
    return 0.0 if own else 1.2 if link.flow_wh else 0.5


def _spots(link: _Link, width: float, height: float) -> Iterator[tuple[float, tuple[float, float]]]:
    """Where a label may stand: beside a flow, else on the link; the cheapest are the best."""
    curve = link.curve
    thick = 0.15 if link.flow_wh else 0.05
    beside, upon = (0.0, 0.25) if link.flow_wh else (0.3, 0.0)
    for part in (0.5, 0.45, 0.55, 0.4, 0.6, 0.35, 0.65, 0.3, 0.7, 0.25, 0.75, 0.2, 0.8):
        at = round(part * (len(curve) - 1))
        x, y = (float(value) for value in curve[at])
        yield abs(part - 0.5) + upon, (x, y)
        step = curve[min(at + 5, len(curve) - 1)] - curve[max(at - 5, 0)]
        length = max(float(np.hypot(*step)), 1e-9)
        over, up = -float(step[1]) / length, float(step[0]) / length
        away = abs(over) * width / 2 + abs(up) * height / 2 + thick
        for side in (1, -1):
            spot = (x + side * over * away, y + side * up * away)
            yield abs(part - 0.5) + beside, spot


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _within(curve: Points, box: tuple[float, ...]) -> bool:
    low, high = np.array(box[:2]) - 0.03, np.array(box[2:]) + 0.03
    return bool(((curve > low) & (curve < high)).all(axis=1).any())


def _box(layout: _Layout) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of everything in the panel."""
    corners = [layout.centres - layout.halves, layout.centres + layout.halves]
    corners += [link.curve + sign * 0.08 for link in layout.links for sign in (1, -1)]
    for link in layout.links:
        if link.label is not None:
            half = np.array(link.label_size()) / 2
            corners += [np.array([link.label]) + sign * half for sign in (1, -1)]
    points = np.concatenate(corners)
    if not len(points):
        return (0.0, 0.0, 2.0, 0.4)
    (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
    return float(left), float(bottom), float(right), float(top)


# The page


@dataclass(slots=True)
class _Place:
    """A panel on the page: its title and the left edge and top of its space, from the top."""

    layout: _Layout
    title: list[str]
    width: float
    height: float
    left: float = 0.0
    top: float = 0.0

    @property
    def title_height(self) -> float:
        return 0.27 * len(self.title) + 0.2


def _figure(panels: Sequence[Panel]) -> Figure:
    cards = [_cards(panel) for panel in panels]
    measures = _measures(panels, cards)
    places = []
    for panel, group in zip(panels, cards, strict=True):
        half = len(panels) > 1 and len(group) <= 6
        room = (_PAGE - 3 * _MARGIN - 0.6) / 2 if half else _PAGE - 2 * _MARGIN
        layout = _layout(panel, group, measures, room)
        left, bottom, right, top = layout.box
        width = max(right - left, 3.6)
        title = _wrapped(panel.title, 13, width)
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


def _write(
    axes: Axes,
    at: tuple[float, float],
    text: str,
    size: float,
    *,
    colour: str = _INK,
    bold: bool = False,
    align: Literal["left", "center", "right"] = "left",
) -> None:
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


def _draw_panel(axes: Axes, place: _Place, page: float, measures: _Measures) -> None:
    layout = place.layout
    left, bottom, right, top = layout.box
    baseline = page - place.top - 0.2
    for line in place.title:
        _write(axes, (place.left, baseline), line, 13, bold=True)
        baseline -= 0.27
    body = place.height - place.title_height
    origin = np.array(
        [
            place.left + (place.width - (right - left)) / 2 - left,
            page - place.top - place.title_height - (body + top - bottom) / 2 - bottom,
        ]
    )
    for link in sorted(layout.links, key=lambda link: link.flow_wh):
        _draw_link(axes, link, origin, measures)
    for card, centre, half in zip(layout.cards, layout.centres, layout.halves, strict=True):
        _draw_card(axes, card, centre + origin - half, measures)
    if not layout.cards:
        _write(axes, (place.left, float(origin[1]) + 0.1), "no nodes", 9.5, colour=_SOFT)


def _draw_link(axes: Axes, link: _Link, origin: Points, measures: _Measures) -> None:
    thickness = measures.thickness(link.flow_wh) if link.flow_wh else 1.1
    _arrow(axes, link.curve + origin, thickness, link)
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
        colour = _INK if bold and not link.full else _FULL if bold else _SOFT
        _write(
            axes, (x, baseline - 0.17 * at), text, size, colour=colour, bold=bold, align="center"
        )


def _arrow(axes: Axes, curve: Points, thickness: float, link: _Link) -> None:
    """A line with a head: dashed where the link is full."""
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


def _draw_card(axes: Axes, card: _Card, corner: Points, measures: _Measures) -> None:
    x, y = corner.tolist()
    width, height = measures.card_width, card.height
    colour = _PRICES(measures.scale(card.price_micro_per_kwh / 1e6))
    ink = _ink_on(colour)
    top = y + height
    shape = "round,pad=0,rounding_size=0.07"
    whole = FancyBboxPatch((x, y), width, height, boxstyle=shape, zorder=3)
    whole.set(facecolor="white", edgecolor="none")
    axes.add_patch(whole)
    head = Rectangle((x, top - _HEAD), width, _HEAD, facecolor=colour, edgecolor="none", zorder=3.1)
    axes.add_patch(head)
    frame = FancyBboxPatch((x, y), width, height, boxstyle=shape, zorder=3.2)
    frame.set(facecolor="none", edgecolor=_INK, linewidth=1.0)
    axes.add_patch(frame)
    head.set_clip_path(frame)
    _write(axes, (x + _PAD, top - 0.235), card.name, 11, bold=True, colour=ink)
    _write(axes, (x + width - _PAD, top - 0.235), card.price, 9.5, colour=ink, align="right")
    if not card.rows:
        _write(axes, (x + _PAD, top - _HEAD - 0.22), "no orders", 9.5, colour=_SOFT)
    for at, row in enumerate(card.rows):
        _draw_row(axes, row, (x + _PAD, top - _HEAD - _ROW * at - 0.22), measures)


def _draw_row(axes: Axes, row: _Row, at: tuple[float, float], measures: _Measures) -> None:
    x, y = at
    _write(axes, at, row.name, 9.5, bold=True)
    left = x + measures.name_width
    for text, colour in row.items():
        _write(axes, (left, y), text, 9.5, colour=colour)
        left += max(_width(text, 9.5) + 0.14, measures.item_width)
    unit = (measures.card_width - 2 * _PAD) / measures.most_row_wh
    for energy, colour in (
        (row.sold_wh, _SELLS),
        (row.bought_wh, _BUYS),
        (row.own_wh, _OWN),
    ):
        bar = Rectangle((x, y - 0.10), energy * unit, 0.05, facecolor=colour, zorder=3.1)
        axes.add_patch(bar)
        x += energy * unit


def _ink_on(colour: tuple[float, float, float, float]) -> str:
    """Dark or white, whichever reads better on `colour`."""
    red, green, blue = to_rgb(colour)
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A sign of the legend and what it means."""

    sign: str | _Link
    text: str
    colour: str = _INK
    bar: str = ""
    left: float = 0.0

    @property
    def width(self) -> float:
        return (
            _width(f"{self.sign} {self.text}", 9.5) if self.bar else 0.62 + _width(self.text, 9.5)
        )


def _legend(layouts: list[_Layout], width: float) -> list[list[_Entry]]:
    """Explain the signs that are in the picture; lines of entries."""
    rows = [row for layout in layouts for card in layout.cards for row in card.rows]
    links = [link for layout in layouts for link in layout.links]
    used = any(link.flow_wh for link in links)
    carried = "energy carried (tariff in token/kWh)"
    entries = (
        (any(row.sold_wh for row in rows), _Entry("▲", "sells to others", _SELLS, _SELLS)),
        (any(row.bought_wh for row in rows), _Entry("▼", "buys from others", _BUYS, _BUYS)),
        (any(row.own_wh for row in rows), _Entry("↺", "own use", _SOFT, _OWN)),
        (used, _Entry(_Link(0, 1, 1, 2, 0), carried)),
        (any(link.full for link in links), _Entry(_Link(0, 1, 1, 1, 0), "full")),
        (
            any(not link.flow_wh for link in links),
            _Entry(_Link(0, 1, 0, 2, 0), "not used" if used else "not used (tariff in token/kWh)"),
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
                _write(axes, (x, y), f"{entry.sign} {entry.text}", 9.5, colour=entry.colour)
                bar = Rectangle((x, y - 0.10), entry.width, 0.05, facecolor=entry.bar)
                axes.add_patch(bar)
                continue
            run = np.column_stack([np.linspace(x, x + 0.52, 60), np.full(60, y + 0.05)])
            _arrow(axes, run, 3.5 if entry.sign.flow_wh else 1.1, entry.sign)
            _write(axes, (x + 0.62, y), entry.text, 9.5, colour=entry.colour)


def _draw_scale(figure: Figure, measures: _Measures, page: tuple[float, float]) -> None:
    label = "Node price, token/kWh"
    left = _MARGIN + _width(label, 9.5) + 0.25
    width = min(page[0] - left - _MARGIN - 0.3, 5.0)
    axes = figure.add_axes((left / page[0], 0.42 / page[1], width / page[0], 0.16 / page[1]))
    bar = figure.colorbar(
        ScalarMappable(measures.scale, _PRICES), cax=axes, orientation="horizontal"
    )
    low, high = float(measures.scale.vmin or 0), float(measures.scale.vmax or 0)
    digits = 4 if high - low >= 0.004 else 6
    steps = max(1, min(4, int(width)))
    ticks = [low + (high - low) * at / steps for at in range(steps + 1)]
    labels = [f"{tick:.{digits}f}".replace("-", "−") for tick in ticks]
    if measures.one_price:
        ticks = [(low + high) / 2]
        labels = [_price(round(ticks[0] * 1e6))]
    bar.set_ticks(ticks, labels=labels)
    bar.ax.tick_params(labelsize=8.5, labelcolor=_INK, color=_SOFT, length=3)
    bar.outline.set_edgecolor(_SOFT)
    figure.text(
        _MARGIN / page[0], 0.45 / page[1], label, fontsize=9.5, color=_INK, parse_math=False
    )
