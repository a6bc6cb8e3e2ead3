"""Named communities as data: a folder with a `case.toml` and its profiles.

`docs/cases.md` describes the format for people, `schemas/case.schema.json` for programs.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields, replace
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairwatt import tomltext
from fairwatt.community import (
    Asset,
    Community,
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    ShiftableLoad,
    Storage,
    Supplier,
)
from fairwatt.errors import BookError, CaseError, CommunityError
from fairwatt.market import Link, Network
from fairwatt.profiles import Profiles, moment, time_zone

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from fairwatt.community import Series
    from fairwatt.market import Book
    from fairwatt.profiles import Quantity
    from fairwatt.tomltext import Table

__all__ = ["CASES", "Case", "HorizonChoice", "Published", "names", "schema"]

CASES: Final = Path(__file__).parents[2] / "cases"
"""Folder of the cases that come with the project."""
_FILE: Final = "case.toml"
_KINDS: Final[dict[str, type[Asset]]] = {
    kind.kind: kind
    for kind in (
        Load,
        CurtailableLoad,
        Photovoltaic,
        Generator,
        ShiftableLoad,
        ElectricVehicle,
        Storage,
        HeatPump,
    )
}
_WINDOWS: Final = {
    ShiftableLoad: ("from", "to", "first_period", "last_period"),
    ElectricVehicle: ("arrival", "departure", "arrival_period", "departure_period"),
}
"""Times of day in the file, and the fields they become."""
_DAY: Final = timedelta(days=1)
_MICRO, _WH_PER_KWH = 10**6, 1000
_HIGHEST_PRICE: Final = 2000.0  # token/kWh: what the market's whole numbers hold
_ALMOST_WHOLE: Final = 1e-6
_MOST_COMMUNITIES: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class HorizonChoice:
    """What to change about a horizon that a case names.

    Parameters
    ----------
    name
        Of the horizon.
    start
        Another start, local time of the case unless it carries an offset; None: as named.
    periods, days
        Another length, in periods or in local days (which a clock change makes 23 or 25 hours
        long), one of them at most; None: as long as named.
    period_minutes
        Another length of the periods.
    """

    name: str = "default"
    start: datetime | None = None
    periods: int | None = None
    days: int | None = None
    period_minutes: int | None = None

    def of(self, horizons: Mapping[str, Horizon], zone: tzinfo) -> Horizon:
        """The horizon that was chosen.

        Raises
        ------
        CaseError
            If there is none of that name, or its length is not whole periods.
        """
        if self.name not in horizons:
            raise CaseError(
                "--horizon", f"there is no horizon {self.name!r}; there are {', '.join(horizons)}"
            )
        named = horizons[self.name]
        start = named.start if self.start is None else moment(self.start, zone, "--start")
        seconds = named.period_seconds if self.period_minutes is None else self.period_minutes * 60
        if self.periods is not None:
            return Horizon(start, seconds, self.periods)
        duration = named.periods * named.period_seconds
        if self.days is not None:
            first = datetime.fromtimestamp(start, zone).replace(tzinfo=None)
            duration = moment(first + self.days * _DAY, zone, "--days") - start
        periods, rest = divmod(duration, seconds)
        if rest or not periods:
            raise CaseError(
                "--period", f"{duration} s are not whole periods of {seconds} s; choose another"
            )
        return Horizon(start, seconds, periods)


@dataclass(frozen=True, slots=True)
class Published:
    """Results that a paper prints for the case: its objective, and Wh per peer."""

    objective: Decimal
    generation_wh: dict[str, int]
    import_wh: dict[str, int]
    export_wh: dict[str, int]


@dataclass(frozen=True)
class Case:
    """A community with its name and origin.

    Attributes
    ----------
    name
        Of its folder.
    currency
        What one token stands for.
    zone
        Time zone of local times and days.
    horizons
        Horizons that the case names, by name; `default` is the one of `community` unless another
        was asked for.
    community
        Over the horizon that was asked for.
    published
        What a paper prints, if there is one.
    """

    name: str
    title: str
    source: str
    currency: str
    zone: tzinfo
    horizons: Mapping[str, Horizon]
    community: Community
    published: Published | None = None

    @classmethod
    def load(
        cls,
        name: str | Path,
        folder: Path = CASES,
        *,
        horizon: str | HorizonChoice | Horizon = "default",
        without: Collection[str] = (),
    ) -> Case:
        """Read a case.

        Parameters
        ----------
        name
            Of a folder in `folder`, or the path of any folder with a case.
        horizon
            One that the case names, such a one with changes, or any that its profiles cover.
        without
            Peers to leave out.

        Raises
        ------
        CaseError
            With the file and the place, row or column of what is wrong.
        """
        path = Path(name) / _FILE
        if not path.is_file():
            path = folder / name / _FILE
        if not path.is_file():
            known = ", ".join(names(folder)) or "none"
            raise CaseError(
                str(name),
                f"there is no such case; cases are: {known}; a path of a folder with a {_FILE} "
                "works too",
            )
        return _Reader(path).case(horizon, frozenset(without))

    def book(self, period: int = 0) -> Book:
        """The limit orders of all peers for one period; as `Community.book`."""
        return self.community.book(period)


def names(folder: Path = CASES) -> list[str]:
    """Names of all cases in a folder."""
    return sorted(path.parent.name for path in folder.glob(f"*/{_FILE}"))


def schema() -> dict[str, Any]:
    """Format of a `case.toml`, as JSON Schema (draft 2020-12)."""
    path = Path(__file__).with_name("schemas") / "case.schema.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


class _Reader:
    """Reads one case file; a case that is based on another takes all but its title from that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.parent.resolve().name
        self.content = tomltext.read(path)

    def case(self, wanted: str | HorizonChoice | Horizon, without: frozenset[str]) -> Case:
        content = self.content
        if content.has("based_on"):
            return self._based(wanted, without)
        title, source = content.text("title"), content.text("source").strip()
        currency = content.text("currency") if content.has("currency") else "token"
        zone_name = content.text("time_zone") if content.has("time_zone") else "UTC"
        self.zone = time_zone(zone_name, content.place("time_zone"))
        self.profiles = Profiles(self.path.parent, self.zone)
        horizons = self._horizons()
        if isinstance(wanted, str):
            wanted = HorizonChoice(wanted)
        if isinstance(wanted, HorizonChoice):
            wanted = wanted.of(horizons, self.zone)
        self.horizon = wanted
        suppliers = self._suppliers()
        peers = self._peers(suppliers)
        _require_peers(without, peers, str(self.path))
        kept = tuple(peer for peer in peers if peer.name not in without)
        network = self._network(suppliers)
        fee = content.number("fee_per_kwh", 0.0) if content.has("fee_per_kwh") else 0.0
        try:
            community = Community(self.name, wanted, network, suppliers, kept, fee)
        except CommunityError as error:
            raise CaseError(content.place(error.path), error.problem) from error
        published = self._published(peers)
        content.done()
        return Case(self.name, title, source, currency, self.zone, horizons, community, published)

    def _based(self, wanted: str | HorizonChoice | Horizon, without: frozenset[str]) -> Case:
        content = self.content
        title, source = content.text("title"), content.text("source").strip()
        base = self.path.parent.parent / content.text("based_on") / _FILE
        left_out = content.texts("without") if content.has("without") else ()
        content.done()
        if base.resolve() == self.path.resolve() or not base.is_file():
            raise CaseError(content.place("based_on"), f"there is no other case {base}")
        case = _Reader(base).case(wanted, without | frozenset(left_out))
        community = replace(case.community, name=self.name)
        source = f"{source}\n{case.source}"
        return replace(
            case, name=self.name, title=title, source=source, community=community, published=None
        )

    def _horizons(self) -> dict[str, Horizon]:
        default = self.content.table("horizon")
        horizons = {"default": self._horizon(default, None)}
        if self.content.has("horizons"):
            named = self.content.table("horizons")
            for name in named.names():
                horizons[name] = self._horizon(named.table(name), horizons["default"])
        return horizons

    def _horizon(self, entry: Table, default: Horizon | None) -> Horizon:
        start = entry.any_of("start", datetime, date)
        if not isinstance(start, datetime):
            start = datetime.combine(start, time())
        begin = moment(start, self.zone, entry.place("start"))
        if entry.has("period_minutes") or default is None:
            period_seconds = entry.whole("period_minutes", 1, 24 * 60) * 60
        else:
            period_seconds = default.period_seconds
        periods = entry.whole("periods", 1, 1_000_000)
        entry.done()
        return Horizon(begin, period_seconds, periods)

    def _suppliers(self) -> tuple[Supplier, ...]:
        suppliers = []
        for entry in self.content.tables("suppliers"):
            name = entry.text("name")
            tariffs = {
                field: self._series(entry, field, name, "rate")
                for field in ("retail_per_kwh", "feed_in_per_kwh")
            }
            entry.done()
            suppliers.append(self._made(entry, Supplier, name=name, **tariffs))
        return tuple(suppliers)

    def _network(self, suppliers: tuple[Supplier, ...]) -> Network:
        """Nodes and links of the file; by default one node with tariffs as price bounds."""
        has = self.content.has("network")
        entry = self.content.table("network") if has else None
        nodes = entry.texts("nodes") if entry and entry.has("nodes") else ("community",)
        links = [self._link(link) for link in entry.tables("links")] if entry else []
        periods = self.horizon.periods
        floor = min((float(each.feed_in(periods).min()) for each in suppliers), default=0.0)
        cap = max((float(each.retail(periods).max()) for each in suppliers), default=0.0)
        bounds = [_micro(min(floor, 0.0)), _micro(cap)]
        for at, field in enumerate(("price_floor_per_kwh", "price_cap_per_kwh")):
            if entry and entry.has(field):
                bounds[at] = _price(entry, field, -_HIGHEST_PRICE)
        place = self.content.place("network")
        if entry:
            entry.done()
        elif not suppliers:
            raise CaseError(place, "is missing; without suppliers nothing bounds the prices")
        try:
            return Network(nodes, tuple(links), bounds[0], bounds[1])
        except BookError as error:
            raise CaseError(
                place, f"{error.path.removeprefix('network.')} {error.problem}"
            ) from error

    def _link(self, entry: Table) -> Link:
        capacity = entry.number("capacity_kw", 0.0, 1e9) * self.horizon.hours * _WH_PER_KWH
        link = Link(
            entry.text("from"),
            entry.text("to"),
            _price(entry, "tariff_per_kwh", 0.0),
            int(capacity + 1e-6),
            entry.text("owner") if entry.has("owner") else None,
        )
        entry.done()
        return link

    def _peers(self, suppliers: tuple[Supplier, ...]) -> tuple[Peer, ...]:
        return tuple(self._peer(entry, suppliers) for entry in self.content.tables("peers"))

    def _peer(self, entry: Table, suppliers: tuple[Supplier, ...]) -> Peer:
        values: dict[str, Any] = {"name": entry.text("name"), "role": entry.text("role")}
        values["node"] = entry.text("node") if entry.has("node") else "community"
        values["assets"] = tuple(self._assets(entry, values["name"]))
        if entry.has("community"):
            values["community"] = entry.whole("community", 0, _MOST_COMMUNITIES)
        if entry.has("supplier"):
            values["supplier"] = entry.text("supplier")
        elif len(suppliers) == 1 and values["role"] != "supplier":
            values["supplier"] = suppliers[0].name
        for field in (
            "connection_kw",
            "export_cost_per_kwh",
            "import_preference_per_kwh",
            "export_preference_per_kwh",
            "need",
        ):
            if entry.has(field):
                values[field] = entry.number(field, 0.0)
        entry.done()
        peer: Peer = self._made(entry, Peer, **values)
        return peer

    def _assets(self, peer: Table, name: str) -> Iterator[Asset]:
        for entry in peer.tables("assets"):
            kind = entry.text("kind")
            if kind not in _KINDS:
                raise CaseError(
                    entry.place("kind"), f"must be one of {', '.join(_KINDS)}, not {kind!r}"
                )
            asset = _KINDS[kind]
            values = dict(self._parameters(entry, asset, name))
            if asset in _WINDOWS:
                yield from self._daily(entry, asset, values)
            else:
                yield self._made(entry, asset, **values)
            entry.done()

    def _parameters(self, entry: Table, asset: type[Asset], peer: str) -> Iterator[tuple[str, Any]]:
        for field in fields(asset):  # type: ignore[arg-type]
            if asset in _WINDOWS and field.name in _WINDOWS[asset]:
                continue
            if not entry.has(field.name) and field.default is not MISSING:
                continue
            if field.name in asset.series_fields:
                quantity: Quantity = "energy" if field.name == "energy_kwh" else "rate"
                yield field.name, self._series(entry, field.name, peer, quantity)
            else:
                yield field.name, entry.number(field.name)

    def _daily(self, entry: Table, asset: type[Asset], values: dict[str, Any]) -> Iterator[Asset]:
        """One asset per day: what the horizon cuts off of a window takes its energy with it."""
        begin_key, end_key, first_field, last_field = _WINDOWS[asset]
        begin, end = self._time_of_day(entry, begin_key), self._time_of_day(entry, end_key)
        start, seconds = self.horizon.start, self.horizon.period_seconds
        finish = start + self.horizon.periods * seconds
        day = datetime.fromtimestamp(start, self.zone).date() - _DAY
        while (opens := self._local(day, begin)) < finish:
            closes = self._local(day if end > begin else day + _DAY, end)
            first = max(0, -((start - opens) // seconds))
            last = min(self.horizon.periods, (closes - start) // seconds)
            day += _DAY
            if last <= first:
                continue
            share = (last - first) * seconds / (closes - opens)
            windowed = {
                **values,
                "energy_kwh": values["energy_kwh"] * share,
                first_field: first,
                last_field: last if asset is ElectricVehicle else last - 1,
            }
            yield self._made(entry, asset, **windowed)

    def _local(self, day: date, clock: time) -> int:
        return int(datetime.combine(day, clock, self.zone).timestamp())

    def _time_of_day(self, entry: Table, key: str) -> time:
        value = entry.any_of(key, time, str)
        try:
            return value if isinstance(value, time) else time.fromisoformat(value)
        except ValueError as error:
            raise CaseError(
                entry.place(key), f'must be a time of day such as "18:30", not {value!r}'
            ) from error

    def _series(self, entry: Table, key: str, column: str, quantity: Quantity) -> Series:
        """Take a number, a list, or `file` or `file:column` of a profile."""
        value = entry.any_of(key, int, float, list, str)
        place = entry.place(key)
        if isinstance(value, str):
            file, _, named = value.partition(":")
            return self.profiles.read(file, named or column, self.horizon, quantity, place)
        numbers = value if isinstance(value, list) else [value]
        for at, each in enumerate(numbers):
            if isinstance(each, bool) or not isinstance(each, int | float):
                raise CaseError(f"{place}[{at}]", f"must be a number, not {each!r}")
        taken: Series = value
        return taken

    def _published(self, peers: tuple[Peer, ...]) -> Published | None:
        if not self.content.has("published"):
            return None
        entry = self.content.table("published")
        text = entry.text("objective")
        try:
            objective = Decimal(text)
        except InvalidOperation as error:
            raise CaseError(entry.place("objective"), f"must be a number, not {text!r}") from error
        everybody = {peer.name for peer in peers}
        results = []
        for key in ("generation_kwh", "import_kwh", "export_kwh"):
            table = entry.table(key)
            if set(table.names()) != everybody:
                raise CaseError(
                    entry.place(key), "must have one entry for each peer, and none for others"
                )
            results.append({peer: _energy(table, peer) for peer in table.names()})
        entry.done()
        return Published(objective, *results)

    def _made(self, entry: Table, kind: type[Any], **values: Any) -> Any:
        try:
            return kind(**values)
        except CommunityError as error:
            raise CaseError(entry.place(error.path), error.problem) from error


def _micro(price: float) -> int:
    return round(price * _MICRO)


def _price(entry: Table, key: str, low: float) -> int:
    """Take a price in token/kWh that is whole in micro-token/kWh."""
    value = entry.number(key, low, _HIGHEST_PRICE)
    if abs(value * _MICRO - _micro(value)) > _ALMOST_WHOLE:
        raise CaseError(entry.place(key), f"{value} is finer than a millionth of a token")
    return _micro(value)


def _energy(entry: Table, key: str) -> int:
    """Take an energy in kWh that is whole in Wh."""
    value = entry.number(key, 0.0)
    whole = round(value * _WH_PER_KWH)
    if abs(value * _WH_PER_KWH - whole) > _ALMOST_WHOLE:
        raise CaseError(entry.place(key), f"{value} is finer than one Wh")
    return whole


def _require_peers(without: frozenset[str], peers: tuple[Peer, ...], place: str) -> None:
    for name in sorted(without - {peer.name for peer in peers}):
        raise CaseError(place, f"there is no peer {name!r} to leave out")
