"""Tariffs of suppliers: flat, by time of use, day-ahead plus margin; what of them is published.

A model gives whole micro-token/kWh for any period. The price of a period is the one at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING, Final, TypeAlias

from fairwatt import tomltext
from fairwatt.billing._month import local
from fairwatt.community import Horizon
from fairwatt.errors import BillingError, CaseError
from fairwatt.imbalances import Tariff
from fairwatt.profiles import Profiles, time_zone
from fairwatt.tomltext import choice
from fairwatt.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fairwatt.community import Supplier
    from fairwatt.tomltext import Table

__all__ = [
    "SPACING_SECONDS",
    "Band",
    "DayAhead",
    "Flat",
    "Model",
    "TimeOfUse",
    "changes",
    "read_tariffs",
    "schedule",
    "supplier_schedule",
]

_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES: Final = 24 * 60
_HIGHEST: Final = 1000.0  # token/kWh
SPACING_SECONDS: Final = 900
"""Least time between two tariffs of a supplier in the registry."""

Rates: TypeAlias = tuple[int, int]
"""Retail and feed-in, micro-token/kWh."""


@dataclass(frozen=True, slots=True)
class Flat:
    """The same at any time."""

    retail_micro_per_kwh: int
    feed_in_micro_per_kwh: int

    def rates(self, time: int, zone: tzinfo) -> Rates:  # noqa: ARG002 (every model takes them)
        """Retail and feed-in at a time."""
        return self.retail_micro_per_kwh, self.feed_in_micro_per_kwh


@dataclass(frozen=True, slots=True)
class Band:
    """Hours of some days with rates of their own, by the local clock.

    Parameters
    ----------
    weekdays
        0 is Monday.
    hours
        From and to, in minutes of the day; one that ends at or before its begin goes on over
        midnight into a day that need not be one of `weekdays`.
    """

    weekdays: frozenset[int]
    hours: tuple[tuple[int, int], ...]
    retail_micro_per_kwh: int
    feed_in_micro_per_kwh: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether it holds at a minute of a day."""
        for begin, end in self.hours:
            if begin < end:
                found = weekday in self.weekdays and begin <= minute < end
            else:
                late = weekday in self.weekdays and minute >= begin
                early = (weekday - 1) % 7 in self.weekdays and minute < end
                found = late or early
            if found:
                return True
        return False


@dataclass(frozen=True, slots=True)
class TimeOfUse:
    """Bands by weekday and hour; the first that holds counts, else the base rates."""

    base: Flat
    bands: tuple[Band, ...]

    def rates(self, time: int, zone: tzinfo) -> Rates:
        """Retail and feed-in at a time."""
        clock = local(time, zone)
        for band in self.bands:
            if band.holds(clock.weekday(), clock.hour * 60 + clock.minute):
                return band.retail_micro_per_kwh, band.feed_in_micro_per_kwh
        return self.base.rates(time, zone)


@dataclass(frozen=True, slots=True)
class DayAhead:
    """A price series and margins on it: retail = price + margin, feed-in = price - margin.

    Parameters
    ----------
    prices_micro_per_kwh
        One for each period of `horizon`.
    feed_in_floor_micro_per_kwh
        Feed-in is never less; None: it may be negative.
    """

    horizon: Horizon
    prices_micro_per_kwh: tuple[int, ...]
    retail_margin_micro_per_kwh: int
    feed_in_margin_micro_per_kwh: int
    feed_in_floor_micro_per_kwh: int | None = None

    def rates(self, time: int, zone: tzinfo) -> Rates:
        """Retail and feed-in at a time.

        Raises
        ------
        BillingError
            If there is no price for it.
        """
        at, _ = divmod(time - self.horizon.start, self.horizon.period_seconds)
        if not 0 <= at < len(self.prices_micro_per_kwh):
            raise BillingError(f"there is no day-ahead price for {local(time, zone).isoformat()}")
        price = self.prices_micro_per_kwh[at]
        retail = price + self.retail_margin_micro_per_kwh
        feed_in = price - self.feed_in_margin_micro_per_kwh
        if self.feed_in_floor_micro_per_kwh is not None:
            feed_in = min(max(feed_in, self.feed_in_floor_micro_per_kwh), retail)
        return retail, feed_in


Model: TypeAlias = Flat | TimeOfUse | DayAhead


def schedule(model: Model, horizon: Horizon, zone: tzinfo) -> tuple[Tariff, ...]:
    """A tariff for each period, from its start on.

    Raises
    ------
    BillingError
        If feed-in exceeds retail anywhere, which the registry refuses.
    """
    times = [horizon.start + at * horizon.period_seconds for at in range(horizon.periods)]
    tariffs = tuple(Tariff(time, *model.rates(time, zone)) for time in times)
    for tariff in tariffs:
        if tariff.feed_in_micro_per_kwh > tariff.retail_micro_per_kwh:
            raise BillingError(
                f"at {local(tariff.effective_from, zone).isoformat()} the feed-in tariff "
                f"{tariff.feed_in_micro_per_kwh} is above the retail tariff "
                f"{tariff.retail_micro_per_kwh} (micro-token/kWh): buying to sell would pay"
            )
    return tariffs


def supplier_schedule(
    supplier: Supplier, horizon: Horizon, *, start: int | None = None
) -> tuple[Tariff, ...]:
    """The tariffs that a case gives its supplier, rounded to micro-token/kWh.

    Parameters
    ----------
    start
        When the first period starts on chain, if not as in the case.
    """
    first = horizon.start if start is None else start
    pairs = zip(supplier.retail(horizon.periods), supplier.feed_in(horizon.periods), strict=True)
    return tuple(
        Tariff(
            first + at * horizon.period_seconds,
            round(float(retail) * MICRO),
            round(float(feed_in) * MICRO),
        )
        for at, (retail, feed_in) in enumerate(pairs)
    )


def changes(tariffs: Iterable[Tariff], in_force: Tariff | None = None) -> list[Tariff]:
    """Those that differ from the one before: all that has to be published.

    Parameters
    ----------
    in_force
        What holds before the first of them.

    Raises
    ------
    BillingError
        If two changes are less than 15 minutes apart, which the registry refuses.
    """
    published: list[Tariff] = []
    before = in_force
    for tariff in tariffs:
        rates = (tariff.retail_micro_per_kwh, tariff.feed_in_micro_per_kwh)
        if before and rates == (before.retail_micro_per_kwh, before.feed_in_micro_per_kwh):
            continue
        if before and tariff.effective_from < before.effective_from + SPACING_SECONDS:
            raise BillingError(
                f"the tariff from {tariff.effective_from} on follows another in less than "
                f"{SPACING_SECONDS // 60} minutes; the registry takes none so close"
            )
        published.append(tariff)
        before = tariff
    return published


# ------------------------------------------------------------------------------------------ reading


def read_tariffs(path: Path, horizon: Horizon) -> tuple[tzinfo, dict[str, Model]]:
    """Read the tariffs of suppliers from a TOML file; `docs/bills.md` has the format.

    Parameters
    ----------
    horizon
        Which day-ahead prices are read.

    Returns
    -------
    tuple
        The time zone, and the model of each supplier by name.

    Raises
    ------
    CaseError
        With the place of what is wrong.
    """
    content = tomltext.read(path)
    zone = time_zone(content.text("time_zone"), content.place("time_zone"))
    profiles = Profiles(path.parent, zone)
    models: dict[str, Model] = {}
    entries = content.tables("suppliers")
    for entry in entries:
        name = entry.text("name")
        if name in models:
            raise CaseError(entry.place("name"), f"{name!r} is there twice")
        kind = entry.text("kind")
        if kind not in _READERS:
            raise CaseError(entry.place("kind"), choice(kind, _READERS))
        models[name] = _READERS[kind](entry, profiles, horizon)
        entry.done()
    content.done()
    if not models:
        raise CaseError(content.place("suppliers"), "there is no supplier")
    return zone, models


def _rate(entry: Table, key: str, default: int | None = None) -> int:
    if default is not None and not entry.has(key):
        return default
    return round(entry.number(key, -_HIGHEST, _HIGHEST) * MICRO)


def _flat(entry: Table, default: Flat | None = None) -> Flat:
    retail = _rate(entry, "retail_per_kwh", default.retail_micro_per_kwh if default else None)
    feed_in = _rate(entry, "feed_in_per_kwh", default.feed_in_micro_per_kwh if default else None)
    if feed_in > retail:
        raise CaseError(entry.place("feed_in_per_kwh"), "is above retail_per_kwh")
    return Flat(retail, feed_in)


def _time_of_use(entry: Table, _profiles: Profiles, _horizon: Horizon) -> TimeOfUse:
    base = _flat(entry)
    bands = []
    for table in entry.tables("bands"):
        rates = _flat(table, base)
        days = _weekdays(table) if table.has("weekdays") else frozenset(range(7))
        hours = tuple(
            _hours(text, f"{table.place('hours')}[{at}]")
            for at, text in enumerate(table.texts("hours"))
        )
        table.done()
        bands.append(Band(days, hours, rates.retail_micro_per_kwh, rates.feed_in_micro_per_kwh))
    return TimeOfUse(base, tuple(bands))


def _weekdays(table: Table) -> frozenset[int]:
    days = set()
    for at, text in enumerate(table.texts("weekdays")):
        for day in _day_range(text, f"{table.place('weekdays')}[{at}]"):
            days.add(day)
    return frozenset(days)


def _day_range(text: str, place: str) -> Sequence[int]:
    first, _, last = text.partition("-")
    for word in (first, last or first):
        if word not in _WEEKDAYS:
            raise CaseError(place, choice(word, _WEEKDAYS))
    begin, end = _WEEKDAYS.index(first), _WEEKDAYS.index(last or first)
    return [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]


def _hours(text: str, place: str) -> tuple[int, int]:
    begin, dash, end = text.partition("-")
    minutes = [_minute(word) for word in (begin, end)]
    if not dash or None in minutes or minutes[0] == _MINUTES:
        raise CaseError(place, f'{text!r} are no hours; write them as "18:00-22:00"')
    return minutes[0] or 0, minutes[1] or 0


def _minute(text: str) -> int | None:
    hour, colon, minute = text.strip().partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal() and len(minute) == 2):
        return None
    value = int(hour) * 60 + int(minute)
    return value if int(minute) < 60 and value <= _MINUTES else None


def _day_ahead(entry: Table, profiles: Profiles, horizon: Horizon) -> DayAhead:
    file = entry.text("prices")
    column = entry.text("column") if entry.has("column") else "price"
    scale = 1.0
    if entry.has("unit"):
        unit = entry.text("unit")
        if unit not in _UNITS:
            raise CaseError(entry.place("unit"), choice(unit, _UNITS))
        scale = _UNITS[unit]
    prices = profiles.read(
        file, column, horizon, "rate", entry.place("prices"), low=-_HIGHEST, scale=scale
    )
    floor = _rate(entry, "feed_in_floor_per_kwh") if entry.has("feed_in_floor_per_kwh") else None
    return DayAhead(
        horizon,
        tuple(round(float(price) * MICRO) for price in prices),
        _rate(entry, "retail_margin_per_kwh"),
        _rate(entry, "feed_in_margin_per_kwh"),
        floor,
    )


def _only_flat(entry: Table, _profiles: Profiles, _horizon: Horizon) -> Flat:
    return _flat(entry)


_UNITS: Final = {"kWh": 1.0, "MWh": 0.001}
_READERS: Final[dict[str, Callable[[Table, Profiles, Horizon], Model]]] = {
    "flat": _only_flat,
    "time-of-use": _time_of_use,
    "day-ahead": _day_ahead,
}
