"""The mapping file: which column is what, and what counts as a fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fairwatt.errors import CaseError, MeterDataError
from fairwatt.profiles import time_zone
from fairwatt.tomltext import Table, choice, read

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingType
    from pathlib import Path

__all__ = ["DIRECTIONS", "KINDS", "UNITS", "Checks", "Mapping", "Values"]

UNITS: Final = {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6, "W": 1.0, "kW": 1e3, "MW": 1e6}
KINDS: Final = ("interval", "register", "power")
DIRECTIONS: Final = ("import", "export", "net")
_ACCEPTABLE: Final = ("negative", "spike", "unit", "time_zone")
_POWERS: Final = ("W", "kW", "MW")


@dataclass(frozen=True, slots=True)
class Values:
    """A column of values, or all columns that are nothing else.

    Parameters
    ----------
    column
        Its name; None for every column that the mapping does not name: one meter each.
    meter
        Whose it is; None for the name of the column, or what the column of meters says.
    unit
        One of `UNITS`.
    kind
        `interval`: energy of each interval. `register`: a counter that goes on. `power`: mean
        power of each interval.
    direction
        `import`: taken from the grid. `export`: given to it. `net`: import minus export.
    digits
        Of a counter before its point, after which it begins again at zero; None if not known.
    where
        Texts that other columns must have in a row, such as an OBIS code.
    """

    column: str | None = None
    meter: str | None = None
    unit: str = "kWh"
    kind: str = "interval"
    direction: str = "import"
    digits: int | None = None
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Checks:
    """What counts as a fault; powers are means over an interval of the data.

    Parameters
    ----------
    rating_w, ratings_w
        Largest power of the connection of every meter, and of meters by name. None: not known.
    spike_factor, spike_floor_w
        Without a rating, a spike is above `spike_factor` times the 99th percentile of the meter
        and above `spike_floor_w` (default: 3 x 25 A at 230 V).
    short_gap_seconds
        Up to this length a gap is filled by a line between its neighbours.
    mean_high_w, mean_low_w
        A mean power beyond these lets a wrong unit be suspected.
    night_share
        Part of the export that may fall into the hours 23 to 3 of standard time.
    longitude
        Degrees east; with it the middle of the day of export is compared with the sun's.
    accept
        Kinds of findings, or `kind:meter`, that are known to be in order: they are reported, and
        nothing is done about them.
    """

    rating_w: float | None = None
    ratings_w: MappingType[str, float] = field(default_factory=lambda: MappingProxyType({}))
    spike_factor: float = 10.0
    spike_floor_w: float = 17_250.0
    short_gap_seconds: int = 7_200
    mean_high_w: float = 50_000.0
    mean_low_w: float = 1.0
    night_share: float = 0.02
    longitude: float | None = None
    accept: frozenset[str] = frozenset()

    def rating(self, meter: str) -> float | None:
        """Largest power of a meter's connection in W, if it is known."""
        return self.ratings_w.get(meter, self.rating_w)

    def accepts(self, kind: str, meter: str) -> bool:
        """Whether findings of a kind are in order at a meter."""
        return kind in self.accept or f"{kind}:{meter}" in self.accept


@dataclass(frozen=True, slots=True)
class Mapping:
    """How to read a table of meter data.

    Without any settings a table is a profile: the first column is the start of each interval in
    UTC or with an offset, every other column the import of a meter in kWh.

    Parameters
    ----------
    time
        Column of times; None for the first column.
    number
        Column that counts the intervals of a day from 1, where `time` has the day only.
    meter
        Column that says whose a row is; None if meters stand side by side.
    zone, zone_is_given
        Of times without an offset.
    time_format
        As `datetime.strptime` takes it; None for ISO 8601; `unix` for Unix seconds.
    marks_end
        Whether times mark the end of an interval.
    step_seconds
        Length of the intervals; None to find it out.
    delimiter, decimal
        Of CSV files; None to find it out.
    missing
        Texts that stand for no value.
    series
        What columns of values there are.
    checks
        What counts as a fault.
    """

    time: str | None = None
    number: str | None = None
    meter: str | None = None
    zone: tzinfo = UTC
    zone_is_given: bool = False
    time_format: str | None = None
    marks_end: bool = False
    step_seconds: int | None = None
    delimiter: str | None = None
    decimal: str | None = None
    missing: tuple[str, ...] = ()
    series: tuple[Values, ...] = (Values(),)
    checks: Checks = field(default_factory=Checks)

    @classmethod
    def load(cls, path: Path) -> Mapping:
        """Read a mapping file.

        Raises
        ------
        MeterDataError
            With the entry that is wrong.
        """
        try:
            table = read(path)
            mapping = _mapping(table)
            table.done()
        except CaseError as error:
            raise MeterDataError(error.path, error.problem) from error
        return mapping


def _mapping(table: Table) -> Mapping:
    meter = table.text("meter") if table.has("meter") else None
    zone, is_given = _zone(table)
    series = tuple(_values(each, has_meters=meter is not None) for each in table.tables("values"))
    marks = table.text("time_marks") if table.has("time_marks") else "start"
    if marks not in ("start", "end"):
        raise CaseError(table.place("time_marks"), choice(marks, ("start", "end")))
    if meter is not None and not series:
        raise CaseError(table.place("values"), "is missing: say which column has the values")
    number = table.text("number") if table.has("number") else None
    step = _step(table)
    if number is not None and step is None:
        raise CaseError(
            table.place("interval_minutes"), "is missing: number counts intervals of it"
        )
    return Mapping(
        number=number,
        time=table.text("time") if table.has("time") else None,
        meter=meter,
        zone=zone,
        zone_is_given=is_given,
        time_format=table.text("time_format") if table.has("time_format") else None,
        marks_end=marks == "end",
        step_seconds=step,
        delimiter=_one_of(table, "delimiter", (",", ";", "\t", "|")),
        decimal=_one_of(table, "decimal", (".", ",")),
        missing=table.texts("missing") if table.has("missing") else (),
        series=series or (Values(),),
        checks=_checks(table.table("checks")) if table.has("checks") else Checks(),
    )


def _zone(table: Table) -> tuple[tzinfo, bool]:
    if not table.has("time_zone"):
        return UTC, False
    return time_zone(table.text("time_zone"), table.place("time_zone")), True


def _step(table: Table) -> int | None:
    if not table.has("interval_minutes"):
        return None
    return 60 * table.whole("interval_minutes", 1, 1440)


def _one_of(table: Table, key: str, known: tuple[str, ...]) -> str | None:
    if not table.has(key):
        return None
    value: str = table.any_of(key, str)
    if value not in known:
        raise CaseError(table.place(key), choice(value, known))
    return value


def _values(table: Table, *, has_meters: bool) -> Values:
    chosen = {}
    for key, known, default in (
        ("unit", tuple(UNITS), "kWh"),
        ("kind", KINDS, "interval"),
        ("direction", DIRECTIONS, "import"),
    ):
        chosen[key] = table.text(key) if table.has(key) else default
        if chosen[key] not in known:
            raise CaseError(table.place(key), choice(chosen[key], known))
    if (chosen["unit"] in _POWERS) != (chosen["kind"] == "power"):
        raise CaseError(
            table.place("unit"),
            f'{chosen["unit"]} does not go with kind = "{chosen["kind"]}": powers are in '
            f"{', '.join(_POWERS)}, energies and counters in Wh, kWh or MWh",
        )
    column = table.text("column") if table.has("column") else None
    meter = table.text("meter") if table.has("meter") else None
    if has_meters and column is None:
        raise CaseError(table.place("column"), "is missing: say which column has the values")
    if meter is not None and (has_meters or column is None):
        raise CaseError(
            table.place("meter"), "names the meter of one column; here meters come from the file"
        )
    where = table.table("where") if table.has("where") else None
    result = Values(
        column=column,
        meter=meter,
        digits=table.whole("digits", 1, 15) if table.has("digits") else None,
        where=tuple((name, where.text(name)) for name in where.names()) if where else (),
        **chosen,
    )
    if result.digits is not None and result.kind != "register":
        raise CaseError(table.place("digits"), 'goes with kind = "register"')
    table.done()
    return result


def _checks(table: Table) -> Checks:
    numbers = {
        key: table.number(key, low, high)
        for key, low, high in (
            ("rating_w", 1, 1e12),
            ("spike_factor", 1, 1e6),
            ("spike_floor_w", 0, 1e12),
            ("mean_high_w", 0, 1e12),
            ("mean_low_w", 0, 1e12),
            ("night_share", 0, 1),
            ("longitude", -180, 180),
        )
        if table.has(key)
    }
    if table.has("ratings_w"):
        ratings = table.table("ratings_w")
        named = MappingProxyType({n: ratings.number(n, 1, 1e12) for n in ratings.names()})
    else:
        named = MappingProxyType({})
    checks = Checks(
        ratings_w=named,
        short_gap_seconds=60 * table.whole("short_gap_minutes", 0, 10_080)
        if table.has("short_gap_minutes")
        else 7_200,
        accept=_accepted(table),
        **numbers,
    )
    table.done()
    return checks


def _accepted(table: Table) -> frozenset[str]:
    accepted = table.texts("accept") if table.has("accept") else ()
    for at, each in enumerate(accepted):
        kind = each.partition(":")[0]
        if kind not in _ACCEPTABLE:
            raise CaseError(f"{table.place('accept')}[{at}]", choice(kind, _ACCEPTABLE))
    return frozenset(accepted)
