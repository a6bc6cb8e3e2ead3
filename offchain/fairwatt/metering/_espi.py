"""Green Button files: Atom feeds of the Energy Services Provider Interface (NAESB REQ.21 ESPI).

A usage point has meter readings, a meter reading has a reading type and interval blocks, a block
has readings. They are entries of a feed, joined by their links. Times are Unix seconds, UTC; the
local clock of the place comes as an offset with two rules of summer time.

Two kinds of files get the clock changes wrong, and both are read right:

* durations are differences of local times, 2 h and 0 h at the changes, though intervals start
  every hour: the start of the next interval tells how long one was;
* starts are local times counted with the offset of winter, so that in summer they are an hour too
  late, one interval starts two hours after the one before, and two start at once.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from fairwatt.errors import MeterDataError
from fairwatt.metering._batch import MICRO, Batch, Readings, common_step
from fairwatt.metering._clock import Clock, DaylightRule, SkippedTime
from fairwatt.metering._data import Channel, Finding
from fairwatt.tomltext import short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["is_espi", "read_espi"]

_SAMPLE: Final = 1 << 16
_WATT_HOURS, _WATTS = 72, 38
_ELECTRIC_KIND: Final = 0
_ELECTRIC_COMMODITIES: Final = (0, 1, 2)
_DIRECTIONS: Final = {0: "import", 1: "import", 4: "net", 19: "export"}
_DELTA, _COUNTERS = 4, (1, 2, 3)  # accumulationBehaviour
_DOUBTFUL: Final = {
    7: "manually edited",
    8: "estimated from a reference day",
    9: "estimated by interpolation",
    10: "questionable",
    11: "derived",
    12: "projected",
    13: "mixed",
    15: "normalised for weather",
    16: "of other quality",
}
_NO_RULE: Final = 0xFFFFFFFF
_SECONDS_PER_HOUR: Final = 3_600
_LONGEST: Final = 400 * 86_400
_YEARS: Final = (0, 7_258_118_400)  # 1970 to 2199
_MOST_MULTIPLIER: Final = 12


def is_espi(path: Path) -> bool:
    """Whether a file looks like XML."""
    try:
        with _opened(path) as file:
            head = file.read(_SAMPLE)
    except (OSError, EOFError, zlib.error):
        return False
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def read_espi(path: Path) -> tuple[Readings, Clock | None]:
    """Read a Green Button file; also the local clock of the place, if the file has it.

    Raises
    ------
    MeterDataError
        If it is not well-formed, or has no electric energy or power.
    """
    feed = _Feed(path)
    try:
        with _opened(path) as file:
            _refuse_entities(path, file)
        with _opened(path) as file:
            feed.parse(file)
    except ET.ParseError as error:
        raise MeterDataError(str(path), f"is not well-formed XML: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise MeterDataError(str(path), f"cannot be read: {error}") from error
    return feed.readings()


def _opened(path: Path) -> BinaryIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _refuse_entities(path: Path, file: BinaryIO) -> None:
    """Feeds have no document type; one that declares entities may only mean harm."""
    head = file.read(_SAMPLE).lower()
    if b"<!doctype" in head or b"<!entity" in head:
        raise MeterDataError(str(path), "declares a document type, which no Green Button file does")


# -------------------------------------------------------------------------------------- the feed


@dataclass(frozen=True, slots=True)
class _Type:
    """What the values of a meter reading are."""

    uom: int = _WATT_HOURS
    multiplier: int = 0
    direction: int = 1
    behaviour: int = _DELTA
    interval: int = 0
    commodity: int = 1
    quality: int = 0


@dataclass(slots=True)
class _Entry:
    """An entry of the feed: its links, and the resource in it."""

    own: str = ""
    up: str = ""
    related: tuple[str, ...] = ()
    title: str = ""


@dataclass(slots=True)
class _Meter:
    """A meter reading: its entry, its usage point, and its intervals."""

    entry: _Entry
    point: _Entry | None
    starts: list[int] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    qualities: list[int] = field(default_factory=list)


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in element if _local(child) == name)


def _child(element: ET.Element | None, name: str) -> ET.Element | None:
    return None if element is None else next(_children(element, name), None)


@dataclass(eq=False)
class _Feed:
    path: Path
    points: list[tuple[_Entry, int]] = field(default_factory=list)
    types: list[tuple[_Entry, _Type]] = field(default_factory=list)
    meters: list[_Meter] = field(default_factory=list)
    clock: tuple[int, int, int, int] | None = None
    count: int = 0

    def parse(self, file: BinaryIO) -> None:
        """Read the entries one after the other; what was read is not kept in memory."""
        root: ET.Element | None = None
        for event, element in ET.iterparse(file, events=("start", "end")):  # noqa: S314 - no entities
            if root is None:
                root = element
            if event == "end" and _local(element) == "entry":
                self.count += 1
                self._entry(element)
                if element is not root:
                    root.clear()
        if root is not None and not self.count:
            if _local(root) not in ("feed", "entry"):
                raise MeterDataError(
                    str(self.path),
                    f"is XML, but no Green Button feed: it begins with <{_local(root)}>",
                )
            raise MeterDataError(str(self.path), "has no entries")

    def _entry(self, element: ET.Element) -> None:
        links = [
            (link.get("rel", ""), _path(link.get("href", "")))
            for link in _children(element, "link")
        ]
        title = _child(element, "title")
        entry = _Entry(
            own=next((href for rel, href in links if rel == "self"), ""),
            up=next((href for rel, href in links if rel == "up"), ""),
            related=tuple(href for rel, href in links if rel == "related"),
            title=(title.text or "").strip() if title is not None else "",
        )
        for content in _children(element, "content"):
            blocks: list[ET.Element] = []
            for resource in content:
                name = _local(resource)
                if name == "UsagePoint":
                    kind = self._whole(_child(resource, "ServiceCategory"), "kind", 0)
                    self.points.append((entry, kind))
                elif name == "LocalTimeParameters":
                    self._local_time(resource)
                elif name == "MeterReading":
                    point = self.points[-1][0] if self.points else None
                    self.meters.append(_Meter(entry, point))
                elif name == "ReadingType":
                    self.types.append((entry, self._type(resource)))
                elif name == "IntervalBlock":
                    blocks.append(resource)
            if blocks:
                self._blocks(entry, blocks)

    def _type(self, resource: ET.Element) -> _Type:
        multiplier = self._whole(resource, "powerOfTenMultiplier", 0)
        if abs(multiplier) > _MOST_MULTIPLIER:
            raise MeterDataError(
                self._place(), f"powerOfTenMultiplier {multiplier} is none that is known"
            )
        return _Type(
            uom=self._whole(resource, "uom", _WATT_HOURS),
            multiplier=multiplier,
            direction=self._whole(resource, "flowDirection", 1),
            behaviour=self._whole(resource, "accumulationBehaviour", _DELTA),
            interval=self._whole(resource, "intervalLength", 0),
            commodity=self._whole(resource, "commodity", 1),
            quality=self._whole(resource, "defaultQuality", 0),
        )

    def _local_time(self, resource: ET.Element) -> None:
        codes = []
        for name in ("dstStartRule", "dstEndRule"):
            rule = _child(resource, name)
            text = (rule.text or "").strip() if rule is not None else ""
            try:
                code = int(text, 16) if text else _NO_RULE
                if code not in (_NO_RULE, 0):
                    DaylightRule.decoded(code)
            except ValueError as error:
                raise MeterDataError(self._place(), f"{name}: {error}") from error
            codes.append(code or _NO_RULE)
        offset = self._whole(resource, "tzOffset", 0)
        saving = self._whole(resource, "dstOffset", 0)
        if abs(offset) > 18 * _SECONDS_PER_HOUR or abs(saving) > 3 * _SECONDS_PER_HOUR:
            raise MeterDataError(self._place(), "has offsets from UTC that no place has")
        self.clock = (offset, saving, codes[0], codes[1])

    def _blocks(self, entry: _Entry, blocks: list[ET.Element]) -> None:
        meter = self._meter_of(entry)
        for block in blocks:
            begin = self._whole(_child(block, "interval"), "start", -1)
            for rank, reading in enumerate(_children(block, "IntervalReading")):
                self._reading(meter, reading, begin, rank)

    def _reading(self, meter: _Meter, reading: ET.Element, begin: int, rank: int) -> None:
        """Take a reading; without a time it is as many intervals after the start of its block."""
        period = _child(reading, "timePeriod")
        start, length = begin, -1
        if period is not None:
            start, rank = self._whole(period, "start", -1), 0
            length = self._whole(period, "duration", -1)
        if not _YEARS[0] <= start < _YEARS[1] or length > _LONGEST:
            raise MeterDataError(
                self._place(), f"has a reading from {start} for {length} s, which is no time"
            )
        meter.ranks.append(rank)
        meter.starts.append(start)
        meter.lengths.append(length)
        meter.values.append(self._value(reading))
        qualities = [
            self._whole(each, "quality", 0) for each in _children(reading, "ReadingQuality")
        ]
        meter.qualities.append(next((each for each in qualities if each in _DOUBTFUL), 0))

    def _value(self, reading: ET.Element) -> float:
        value = _child(reading, "value")
        text = (value.text or "").strip() if value is not None else ""
        if not text:
            return float("nan")
        try:
            number = float(text)
        except ValueError:
            number = float("inf")
        if not np.isfinite(number):
            raise MeterDataError(self._place(), f"has a value that is no number: {short(text)}")
        return number

    def _meter_of(self, entry: _Entry) -> _Meter:
        """By the link to its parent; in files without links, the last meter reading before."""
        for meter in self.meters:
            own = meter.entry.own
            if own and (entry.up == f"{own}/IntervalBlock" or entry.own.startswith(f"{own}/")):
                return meter
            if entry.up and entry.up in meter.entry.related:
                return meter
        if not self.meters:
            raise MeterDataError(self._place(), "has an IntervalBlock without a MeterReading")
        return self.meters[-1]

    def _whole(self, parent: ET.Element | None, name: str, default: int) -> int:
        element = _child(parent, name)
        text = (element.text or "").strip() if element is not None else ""
        if not text:
            return default
        try:
            return int(text)
        except ValueError:
            raise MeterDataError(
                self._place(), f"{name} must be a whole number, not {short(text)}"
            ) from None

    def _place(self) -> str:
        return f"{self.path}, entry {self.count}"

    # -------------------------------------------------------------------------------- readings

    def readings(self) -> tuple[Readings, Clock | None]:
        findings: list[Finding] = []
        found = [
            (meter, kind)
            for meter in self.meters
            if meter.starts and (kind := self._usable(meter, findings)) is not None
        ]
        if not found:
            listed = "; ".join(finding.problem for finding in findings)
            raise MeterDataError(
                str(self.path),
                f"has no electric energy or power{f': {listed}' if listed else ''}",
            )
        clock = self._clock([meter for meter, _ in found])
        batches: dict[Channel, Batch] = {}
        for meter, kind in sorted(found, key=lambda each: each[1].interval or _LONGEST):
            channel = Channel(self._name(meter), _DIRECTIONS[kind.direction])
            if channel in batches:  # the same in coarser intervals
                problem = f"the same in intervals of {kind.interval} s is left out"
                findings.append(_found("skipped", channel, meter, problem, "dropped"))
                continue
            batches[channel] = self._batch(meter, kind, channel, clock, findings)
        return Readings(tuple(batches.values()), tuple(findings)), clock

    def _usable(self, meter: _Meter, findings: list[Finding]) -> _Type | None:
        kind = self._type_of(meter)
        service = next((k for entry, k in self.points if entry is self._point(meter)), 0)
        problem = ""
        if service != _ELECTRIC_KIND or kind.commodity not in _ELECTRIC_COMMODITIES:
            problem = f"is no electricity (service {service}, commodity {kind.commodity})"
        elif kind.uom not in (_WATT_HOURS, _WATTS):
            problem = f"is neither Wh nor W (uom {kind.uom})"
        elif kind.direction not in _DIRECTIONS:
            problem = f"has flowDirection {kind.direction}, which is neither in, out nor net"
        elif kind.uom == _WATT_HOURS and kind.behaviour not in (0, _DELTA, *_COUNTERS):
            problem = f"has accumulationBehaviour {kind.behaviour}, neither intervals nor a counter"
        if not problem:
            return kind
        channel = Channel(self._name(meter), "")
        title = f"{meter.entry.title!r} " if meter.entry.title else ""
        findings.append(_found("skipped", channel, meter, f"{title}{problem}", "dropped"))
        return None

    def _type_of(self, meter: _Meter) -> _Type:
        for entry, kind in self.types:
            if entry.own and entry.own in meter.entry.related:
                return kind
        if len(self.types) == 1:
            return self.types[0][1]
        at = self.meters.index(meter)
        if len(self.types) == len(self.meters):
            return self.types[at][1]
        raise MeterDataError(
            str(self.path), f"has no ReadingType for the MeterReading {meter.entry.own or at + 1}"
        )

    def _point(self, meter: _Meter) -> _Entry | None:
        for entry, _ in self.points:
            if entry.own and meter.entry.own.startswith(f"{entry.own}/"):
                return entry
        return meter.point

    def _name(self, meter: _Meter) -> str:
        """Title of the usage point where titles differ, else the end of its address."""
        point = self._point(meter)
        if point is None:
            return self.path.stem
        titles = Counter(entry.title for entry, _ in self.points)
        if point.title and titles[point.title] == 1:
            return point.title
        return point.own.rpartition("UsagePoint/")[2] or self.path.stem

    def _clock(self, meters: list[_Meter]) -> Clock | None:
        if self.clock is None:
            return None
        offset, saving, start, end = self.clock
        if not saving or _NO_RULE in (start, end):
            return Clock.fixed(offset)
        return Clock.of_rules(
            offset=offset,
            saving=saving,
            start=DaylightRule.decoded(start),
            end=DaylightRule.decoded(end),
            first=min(min(meter.starts) for meter in meters),
            last=max(max(meter.starts) for meter in meters),
        )

    def _batch(
        self,
        meter: _Meter,
        kind: _Type,
        channel: Channel,
        clock: Clock | None,
        findings: list[Finding],
    ) -> Batch:
        starts, lengths = np.array(meter.starts, np.int64), np.array(meter.lengths, np.int64)
        values = np.array(meter.values, np.float64)
        quality = np.array(meter.qualities, np.int64)
        ranks = np.array(meter.ranks, np.int64)
        step = kind.interval or common_step(np.sort(starts)) or int(lengths.max(initial=0))
        if step <= 0 or step > _LONGEST:
            raise MeterDataError(
                f"{self.path}, meter {channel.meter}", "does not say how long intervals are"
            )
        starts = starts + ranks * step
        order = np.argsort(starts, kind="stable")
        starts, lengths = starts[order], lengths[order]
        values, quality = values[order], quality[order]
        is_counter = kind.uom == _WATT_HOURS and kind.behaviour in _COUNTERS
        lengths[lengths < 0] = step
        if clock is not None and not is_counter:
            starts = _local_starts(starts, lengths, step, clock, channel=channel, findings=findings)
        if not is_counter:
            lengths = _true_lengths(starts, lengths, step, channel, findings)
        marked = (quality > 0) | (kind.quality in _DOUBTFUL)
        _report_quality(starts, lengths, quality, kind.quality, channel=channel, findings=findings)
        return Batch(
            channels=(channel,),
            times=starts + lengths if is_counter else starts,
            values=values[np.newaxis, :],
            micro_wh=10.0**kind.multiplier
            * (MICRO if kind.uom == _WATT_HOURS else MICRO / _SECONDS_PER_HOUR),
            kind="register" if is_counter else "interval" if kind.uom == _WATT_HOURS else "power",
            step_seconds=step,
            durations=None if is_counter or bool((lengths == step).all()) else lengths,
            marked=marked if marked.any() and not is_counter else None,
        )


def _path(href: str) -> str:
    """Of a link, without the server: some files write it in one place and not in another."""
    _, separator, rest = href.partition("://")
    return (rest.partition("/")[2] if separator else href).strip("/")


def _found(kind: str, channel: Channel, meter: _Meter, problem: str, action: str) -> Finding:
    span = min(meter.starts), max(meter.starts)
    return Finding(kind, channel.meter, channel.direction, *span, problem, action)


# ---------------------------------------------------------------------------------- clock changes


def _local_starts(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    step: int,
    clock: Clock,
    *,
    channel: Channel,
    findings: list[Finding],
) -> NDArray[np.int64]:
    """Starts in UTC, also where the file counts local time with the offset of winter.

    It does where clocks go forward and an interval starts that much later than usual after one
    of that much longer duration, or where they go back and two start at once, the first of
    duration zero.
    """
    if not clock.changes.size or starts.size < 2:
        return starts
    gaps = np.diff(starts)
    savings = np.abs(np.diff(clock.offsets))
    saving = int(savings[0])
    written = starts + clock.standard
    forward = (gaps == step + saving) & (lengths[:-1] == step + saving)
    back = (gaps == 0) & (lengths[:-1] == 0)
    steps_forward = np.diff(clock.offsets) > 0
    skipped = clock.changes[steps_forward] + clock.standard
    again = clock.changes[~steps_forward] + clock.standard
    is_local = (forward & np.isin(written[:-1] + step, skipped)).any() or (
        back & (np.isin(written[:-1], again) | np.isin(written[:-1] + step, again + saving))
    ).any()
    if not is_local:
        return starts
    try:
        moments = clock.unix(written)
    except SkippedTime:
        return starts
    moved = np.flatnonzero(moments != starts)
    findings.append(
        Finding(
            "clock",
            channel.meter,
            channel.direction,
            int(moments[moved[0]]),
            int(moments[moved[-1]]) + step,
            f"{moved.size} starts are local times counted with the offset of winter",
            "corrected",
        )
    )
    return moments


def _true_lengths(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    step: int,
    channel: Channel,
    findings: list[Finding],
) -> NDArray[np.int64]:
    """Durations that contradict the start of the next interval, which comes as usual."""
    gaps = np.append(np.diff(starts), step)
    wrong = (lengths != step) & (gaps == step)
    # 0 for the last reading tells nothing; a shorter one may be true
    wrong[-1] = lengths[-1] == 0
    if not wrong.any():
        return lengths
    findings.extend(
        Finding(
            "clock",
            channel.meter,
            channel.direction,
            int(starts[at]),
            int(starts[at]) + step,
            f"a duration of {lengths[at]} s, though the next interval starts {step} s later",
            "corrected",
        )
        for at in np.flatnonzero(wrong).tolist()
    )
    return np.where(wrong, step, lengths)


def _report_quality(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    quality: NDArray[np.int64],
    default: int,
    *,
    channel: Channel,
    findings: list[Finding],
) -> None:
    quality = np.where(quality == 0, default if default in _DOUBTFUL else 0, quality)
    for code in np.unique(quality[quality > 0]).tolist():
        at = np.flatnonzero(quality == code)
        breaks = np.flatnonzero(np.diff(at) > 1)
        firsts, lasts = at[np.append(0, breaks + 1)], at[np.append(breaks, at.size - 1)]
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            findings.append(
                Finding(
                    "quality",
                    channel.meter,
                    channel.direction,
                    int(starts[first]),
                    int(starts[last] + lengths[last]),
                    f"the file says that {last - first + 1} values are {_DOUBTFUL[code]}",
                    "marked",
                )
            )
