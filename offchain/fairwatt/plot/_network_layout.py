"""Where the cards and links of a clearing stand: in columns, energy running from left to right."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fairwatt.plot._network_cards import links_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.plot._network_cards import Card, DrawnLink, Measures, Panel, Points

__all__ = ["Layout", "laid_out"]

Columns = tuple[tuple[int, ...], ...]

_LANE: Final = 0.40  # between links of the same two nodes
_EVALUATIONS: Final = 6000  # most layouts that are compared


@dataclass(slots=True)
class Layout:
    """Cards and links of a panel at their places; y runs upwards."""

    cards: list[Card]
    links: list[DrawnLink]
    centres: Points
    halves: Points  # half width and half height of every card
    missing: int = 0  # labels of energy that found no room
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def laid_out(panel: Panel, cards: list[Card], measures: Measures, width: float) -> Layout:
    """Arrange a panel; if a label of a flow finds no room, try again with more space."""
    links = links_of(panel)
    halves = np.array([(measures.card_width / 2, card.height / 2) for card in cards])
    halves = halves.reshape(-1, 2)
    best: Layout | None = None
    for stretch in (1.0, 1.25, 1.6, 2.0, 2.6):
        gaps = ((measures.label_width + 0.85) * stretch, 0.85 * stretch)
        columns = _columns(links, halves, gaps, width)
        centres = _centres(columns, halves, gaps)
        layout = Layout(cards, [replace(link) for link in links], centres, halves)
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
    links: list[DrawnLink], halves: Points, gaps: tuple[float, float], width: float
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


def _starts(links: list[DrawnLink], count: int, number: int) -> Iterator[Columns]:
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


def _cost(
    columns: Columns, links: list[DrawnLink], halves: Points, gaps: tuple[float, float]
) -> float:
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


def _route(layout: Layout) -> None:
    """Draw the links of each two nodes side by side, around the cards in their way."""
    pairs: dict[tuple[int, int], list[DrawnLink]] = {}
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


def _obstacles(layout: Layout, ends: tuple[int, int], curve: Points, routed: list[Points]) -> float:
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


def _curve(layout: Layout, ends: tuple[int, int], lane: float, bow: float) -> Points:
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


def _place_labels(layout: Layout) -> None:
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


def _cover(link: DrawnLink, box: tuple[float, ...], own: bool) -> float:
    """What it costs to put a label over a link; its head should stay in sight."""
    if not _within(link.curve, box):
        return 0.0
    head = np.abs(link.curve - link.curve[-1]).max(axis=1) < 0.2
    if _within(link.curve[head], box):
        return 2.5
    return 0.0 if own else 1.2 if link.flow_wh else 0.5


def _spots(
    link: DrawnLink, width: float, height: float
) -> Iterator[tuple[float, tuple[float, float]]]:
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


def _box(layout: Layout) -> tuple[float, float, float, float]:
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
