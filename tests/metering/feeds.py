"""Green Button files made up by tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NORTH_AMERICA = ("360E2000", "B40E2000")
"""Second Sunday of March and first of November, 2 h."""
EUROPE = ("3E0E2000", "AE0E3000")
"""Last Sunday of March, 2 h, and of October, 3 h of summer time, as in Central Europe."""
SYDNEY = ("A40E2000", "440E3000")
"""First Sunday of October, 2 h, and of April, 3 h of summer time."""


@dataclass
class Series:
    """A meter reading; its readings are start, duration, value and perhaps a quality."""

    readings: Iterable[tuple[int | str | None, ...]]
    point: int = 1
    title: str = ""
    interval: int = 3600
    direction: int = 1
    multiplier: int = 0
    uom: int = 72
    behaviour: int = 4
    commodity: int = 1
    block: tuple[int, int] | None = None


@dataclass
class Feed:
    series: list[Series] = field(default_factory=list)
    titles: dict[int, str] = field(default_factory=dict)
    service: int = 0
    offset: int = -28_800
    rules: tuple[str, str] | None = NORTH_AMERICA
    prefix: str = "https://example.org/espi/1_1/resource/"

    def text(self) -> str:
        entries = [self._local_time()] if self.rules else []
        entries += map(self._point, sorted({each.point for each in self.series}))
        for at, each in enumerate(self.series):
            entries += [self._type(at, each), self._meter(at, each), self._block(at, each)]
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<feed xmlns="http://www.w3.org/2005/Atom"><title>made up</title>'
            + "".join(entries)
            + "</feed>"
        )

    def write(self, path: Path) -> Path:
        path.write_text(self.text(), encoding="utf-8")
        return path

    def _entry(self, links: list[tuple[str, str]], content: str, title: str = "") -> str:
        shown = "".join(f'<link rel="{rel}" href="{self.prefix}{href}"/>' for rel, href in links)
        return f"<entry>{shown}<title>{title}</title><content>{content}</content></entry>"

    def _local_time(self) -> str:
        start, end = self.rules or ("", "")
        return self._entry(
            [("self", "LocalTimeParameters/01")],
            '<LocalTimeParameters xmlns="http://naesb.org/espi">'
            f"<dstEndRule>{end}</dstEndRule><dstOffset>3600</dstOffset>"
            f"<dstStartRule>{start}</dstStartRule><tzOffset>{self.offset}</tzOffset>"
            "</LocalTimeParameters>",
        )

    def _point(self, point: int) -> str:
        return self._entry(
            [("self", f"RetailCustomer/1/UsagePoint/{point}")],
            '<UsagePoint xmlns="http://naesb.org/espi"><ServiceCategory>'
            f"<kind>{self.service}</kind></ServiceCategory></UsagePoint>",
            self.titles.get(point, ""),
        )

    def _type(self, at: int, each: Series) -> str:
        return self._entry(
            [("self", f"ReadingType/{at}")],
            '<ReadingType xmlns="http://naesb.org/espi">'
            f"<accumulationBehaviour>{each.behaviour}</accumulationBehaviour>"
            f"<commodity>{each.commodity}</commodity>"
            f"<flowDirection>{each.direction}</flowDirection>"
            f"<intervalLength>{each.interval}</intervalLength>"
            f"<powerOfTenMultiplier>{each.multiplier}</powerOfTenMultiplier>"
            f"<uom>{each.uom}</uom></ReadingType>",
        )

    def _meter(self, at: int, each: Series) -> str:
        own = f"RetailCustomer/1/UsagePoint/{each.point}/MeterReading/{at}"
        links = [("self", own), ("related", f"ReadingType/{at}")]
        return self._entry(links, '<MeterReading xmlns="http://naesb.org/espi"/>', each.title)

    def _block(self, at: int, each: Series) -> str:
        own = f"RetailCustomer/1/UsagePoint/{each.point}/MeterReading/{at}/IntervalBlock"
        interval = ""
        if each.block:
            start, duration = each.block
            interval = f"<interval><duration>{duration}</duration><start>{start}</start></interval>"
        readings = "".join(_reading(*reading) for reading in each.readings)
        return self._entry(
            [("self", f"{own}/1"), ("up", own)],
            f'<IntervalBlock xmlns="http://naesb.org/espi">{interval}{readings}</IntervalBlock>',
        )


def _reading(
    start: int | None, duration: int | None, value: float | str, quality: int | None = None
) -> str:
    period = (
        f"<timePeriod><duration>{duration}</duration><start>{start}</start></timePeriod>"
        if start is not None
        else ""
    )
    marked = f"<ReadingQuality><quality>{quality}</quality></ReadingQuality>" if quality else ""
    return f"<IntervalReading>{marked}{period}<value>{value}</value></IntervalReading>"
