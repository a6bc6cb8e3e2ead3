"""A bill as PDF, set on A4 pages with matplotlib, which draws the chart anyway.

No other dependency is needed for it, the text stays text, and the same bill gives the same file.
"""

from __future__ import annotations

import textwrap
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from fairwatt.billing._chart import draw_days
from fairwatt.billing._view import view_of
from fairwatt.plot.style import GREEN, INK, SOFT, style

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fairwatt.billing._bill import Bill
    from fairwatt.billing._view import Section

__all__ = ["bill_pdf", "bill_picture"]

_WIDTH, _HEIGHT = 8.27, 11.69  # A4, inches
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.85, 7.42, 10.95, 0.8
_POINT: Final = 1 / 72
_CHARACTER: Final = 0.6  # mean width of a letter, of its size
_RULE: Final = "#d9dde1"


def bill_pdf(bill: Bill) -> bytes:
    """The file."""
    metadata = {
        "Title": view_of(bill).title, "Creator": "Fairwatt", "CreationDate": None, "ModDate": None,
    }  # fmt: skip
    content = BytesIO()
    with _page_style():
        pages = _Sheets(bill).draw()
        with PdfPages(content, metadata=metadata) as pdf:
            for page in pages:
                pdf.savefig(page)
    return content.getvalue()


def bill_picture(bill: Bill) -> bytes:
    """The first page as PNG."""
    content = BytesIO()
    with _page_style():
        first, *_ = _Sheets(bill).draw()
        first.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


@contextmanager
def _page_style() -> Iterator[None]:
    with style():
        mpl.rcParams["pdf.fonttype"] = 42  # text that can be searched and copied
        yield


@dataclass
class _Sheets:
    """Pages filled from top to bottom; all lengths in inches."""

    bill: Bill
    pages: list[Figure] = field(default_factory=list)
    y: float = 0.0

    def draw(self) -> list[Figure]:
        view = view_of(self.bill)
        self._new_page()
        self._text(view.title, 15, weight="bold")
        self.y -= 0.08
        for name, value in view.facts:
            self._text(name, 9.5, colour=SOFT, advance=False)
            self._text(value, 9.5, x=_LEFT + 1.0)
        self._banner(view.headline, view.subline)
        if view.warning:
            self._text(view.warning, 9.5, colour="#8a5a00", weight="bold")
            self.y -= 0.05
        self._tiles(view.tiles)
        first, *others = view.sections
        self._section(first)
        if any(day.totals for day in self.bill.days):
            self._chart()
        for section in others:
            self._section(section)
        if view.daily.rows:
            self._section(view.daily, size=7.5)
        self.y -= 0.15
        for note in view.notes:
            self._text(note, 8, colour=SOFT)
        self._number()
        return self.pages

    # ---------------------------------------------------------------------------------- pages

    @property
    def page(self) -> Figure:
        return self.pages[-1]

    def _new_page(self) -> None:
        self.pages.append(Figure(figsize=(_WIDTH, _HEIGHT)))
        self.y = _TOP

    def _need(self, height: float) -> None:
        if self.y - height < _BOTTOM:
            self._new_page()

    def _number(self) -> None:
        for number, page in enumerate(self.pages, start=1):
            foot = f"{self.bill.party.name}, {self.bill.month.title}"
            page.text(
                _LEFT / _WIDTH, 0.45 / _HEIGHT, _plain(foot), size=8, color=SOFT,
            )  # fmt: skip
            page.text(
                _RIGHT / _WIDTH, 0.45 / _HEIGHT, f"page {number} of {len(self.pages)}",
                size=8, color=SOFT, ha="right",
            )  # fmt: skip

    # ---------------------------------------------------------------------------------- parts

    def _text(
        self,
        text: str,
        size: float,
        *,
        x: float = _LEFT,
        colour: str = INK,
        weight: str = "normal",
        advance: bool = True,
    ) -> None:
        width = int((_RIGHT - x) / (size * _POINT * _CHARACTER))
        for line in textwrap.wrap(text, width) or [""]:
            height = size * _POINT * 1.4
            self._need(height)
            self._put(x, self.y - size * _POINT, line, size, colour=colour, weight=weight)
            if advance:
                self.y -= height

    def _put(
        self, x: float, y: float, text: str, size: float, *,
        colour: str = INK, weight: str = "normal", right: bool = False,
    ) -> None:  # fmt: skip
        self.page.text(
            x / _WIDTH, y / _HEIGHT, _plain(text), size=size, color=colour,
            weight=weight, ha="right" if right else "left", va="baseline",
        )  # fmt: skip

    def _rule(self, y: float, colour: str = _RULE, width: float = 0.7) -> None:
        xs, ys = (_LEFT / _WIDTH, _RIGHT / _WIDTH), (y / _HEIGHT, y / _HEIGHT)
        self.page.add_artist(Line2D(xs, ys, color=colour, linewidth=width))

    def _banner(self, headline: str, subline: str) -> None:
        lines = textwrap.wrap(subline, 78)
        height = 0.62 + 0.19 * len(lines)
        self.y -= 0.12
        for left, width, colour in (
            (_LEFT, _RIGHT - _LEFT, "#eef7f3"),
            (_LEFT, 0.07, GREEN),
        ):
            corner = (left / _WIDTH, (self.y - height) / _HEIGHT)
            box = Rectangle(corner, width / _WIDTH, height / _HEIGHT, color=colour, linewidth=0)
            self.page.add_artist(box)
        self._put(_LEFT + 0.25, self.y - 0.4, headline, 19, weight="bold")
        for at, line in enumerate(lines):
            self._put(_LEFT + 0.25, self.y - 0.65 - 0.19 * at, line, 9.5)
        self.y -= height + 0.14

    def _tiles(self, tiles: Sequence[tuple[str, str]]) -> None:
        if not tiles:
            return
        width = (_RIGHT - _LEFT) / len(tiles)
        for at, (figure, what) in enumerate(tiles):
            x = _LEFT + at * width
            self._put(x, self.y - 0.22, figure, 13, weight="bold")
            for row, line in enumerate(textwrap.wrap(what, 24)):
                self._put(x, self.y - 0.40 - 0.15 * row, line, 8, colour=SOFT)
        self.y -= 0.74

    def _section(self, section: Section, size: float = 9.5) -> None:
        step = size * _POINT * 1.75
        heads = len(textwrap.wrap(section.text, 100)) * 0.16 + 0.75
        self._need(heads + step * min(len(section.rows), 8))
        self.y -= 0.2
        self._text(section.title, 12, weight="bold")
        if section.text:
            self._text(section.text, 8, colour=SOFT)
        self._head(section, size)
        columns = self._columns(section)
        for row in section.rows:
            height = step + (0.14 if row.note else 0)
            if self.y - height < _BOTTOM:
                self._new_page()
                self._head(section, size)
            weight = "bold" if row.is_sum else "normal"
            if row.is_sum:
                self._rule(self.y, INK, 1.0)
            base = self.y - size * _POINT * 1.25
            for at, (cell, x) in enumerate(zip(row.cells, columns, strict=True)):
                self._put(x, base, cell, size, weight=weight, right=at > 0)
            if row.note:
                self._put(_LEFT, base - 0.14, row.note, 7.5, colour=SOFT)
            self.y -= height
            self._rule(self.y)

    def _head(self, section: Section, size: float) -> None:
        columns = self._columns(section)
        if any(section.head):
            for at, (cell, x) in enumerate(zip(section.head, columns, strict=True)):
                self._put(x, self.y - 0.16, cell, min(size, 8.5), colour=SOFT, right=at > 0)
            self.y -= 0.22
        self._rule(self.y)

    @staticmethod
    def _columns(section: Section) -> list[float]:
        """The first starts at the left, the others end where they stand."""
        count = len(section.head)
        first = 0.08 if count > 5 else 0.46
        span = (1 - first) * (_RIGHT - _LEFT)
        start = _RIGHT - span
        return [_LEFT, *(start + span * at / (count - 1) for at in range(1, count))]

    def _chart(self) -> None:
        height = 3.45
        self._need(height + 0.25)
        self.y -= 0.25
        left, width = _LEFT + 0.45, _RIGHT - _LEFT - 0.45

        def axes(top: float, tall: float) -> tuple[float, float, float, float]:
            return left / _WIDTH, (top - tall) / _HEIGHT, width / _WIDTH, tall / _HEIGHT

        with mpl.rc_context({"font.size": 8}):
            energy = self.page.add_axes(axes(self.y - 0.1, 1.6))
            prices = self.page.add_axes(axes(self.y - 2.18, 0.9))
            draw_days(self.bill, energy, prices)
        self.y -= height


def _plain(text: str) -> str:
    """A dollar sign is one, and no formula."""
    return text.replace("$", r"\$")
