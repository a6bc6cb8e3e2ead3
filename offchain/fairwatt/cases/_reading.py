"""Reads a case file. What is wrong is raised at once, or kept so that all of it can be told."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from fairwatt import tomltext
from fairwatt.cases._horizon import LONGEST, HorizonChoice, horizon_of_days, stays
from fairwatt.community import (
    ROLES,
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
from fairwatt.tomltext import Table, choice, short
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from types import TracebackType

    from fairwatt.community import Series
    from fairwatt.profiles import Quantity

__all__ = ["FILE", "KINDS", "Parts", "Problems", "Published", "Reader"]

FILE: Final = "case.toml"
KINDS: Final[dict[str, type[Asset]]] = {
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
_WINDOWS: Final = {ShiftableLoad: ("from", "to"), ElectricVehicle: ("arrival", "departure")}
_PERIOD_FIELDS: Final = ("first_period", "last_period", "arrival_period", "departure_period")
"""Fields of assets that the file says as a window."""
_NOT_NEGATIVE: Final = ("energy_kwh", "power_kw", "least_power_kw")
_PROFILE: Final = re.compile(
    r"(?P<file>.+?\.(?:csv|csv\.gz|parquet|pq))(?::(?P<column>.+))?", re.IGNORECASE | re.DOTALL
)
_DEFAULT_NODE: Final = "community"
_NOBODY: Final = "none"
_HIGHEST_PRICE: Final = 2000.0  # token/kWh: what the market's whole numbers hold
_MOST_WH: Final = 2**40 - 1
_ALMOST_WHOLE: Final = 1e-6
_LARGEST: Final = 1e300
_MOST_COMMUNITIES: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Published:
    """Results that a paper prints for the case: its objective, and Wh per peer."""

    objective: Decimal
    generation_wh: dict[str, int]
    import_wh: dict[str, int]
    export_wh: dict[str, int]


class Parts(NamedTuple):
    """What a case file says."""

    title: str
    source: str
    currency: str
    zone: tzinfo
    horizons: dict[str, Horizon]
    community: Community
    published: Published | None


@dataclass
class Problems:
    """What is wrong: the first is raised, or all of it is kept.

    Attributes
    ----------
    found
        Each problem once, by its text.
    count
        How often there was one.
    """

    keep: bool = False
    found: dict[str, CaseError] = field(default_factory=dict)
    count: int = 0

    def noted(self) -> _Noted:
        """Go on after a `with` block in which something is wrong, where all is kept."""
        return _Noted(self)

    def done(self, entry: Table) -> None:
        """Note the entries of a table that nobody asked for."""
        for slip in entry.slips():
            with self.noted():
                raise slip


@dataclass(frozen=True)
class _Noted:
    problems: Problems

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not self.problems.keep or not isinstance(error, CaseError):
            return False
        self.problems.count += 1
        self.problems.found.setdefault(str(error), error)
        return True


class Unfinished(Exception):  # noqa: N818 - no error: what is wrong is noted already
    """Raised where problems are kept and nothing can be made of what is left."""


class Reader:
    """Reads one case; one that is based on another takes all but its title from that.

    Parameters
    ----------
    path
        Of the case file.
    folder
        Where a case that this is based on may be, besides next to it.
    problems
        Where problems go.
    profiles
        Files that were read before.
    below
        Case files that are based on this one.

    Attributes
    ----------
    horizons
        Those that the file names, as soon as they are read.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        problems: Problems | None = None,
        profiles: dict[tuple[Path, str], Profiles] | None = None,
        below: tuple[Path, ...] = (),
    ) -> None:
        self.path = path
        self.folder = folder
        self.name = path.parent.resolve().name
        self.problems = Problems() if problems is None else problems
        self.noted = self.problems.noted
        self.read_before = {} if profiles is None else profiles
        self.below = below
        self.horizons: dict[str, Horizon] = {}
        self.content = tomltext.read(path)

    def parts(self, wanted: HorizonChoice | Horizon, without: frozenset[str]) -> Parts:
        """Read the case.

        Raises
        ------
        CaseError
            With file and place of what is wrong first, or of what leaves nothing to go on with.
        Unfinished
            If problems are kept and there are some.
        """
        title = ""
        with self.noted():
            title = self.content.text("title")
        source = self.content.text("source").strip() if self.content.has("source") else ""
        if self.content.has("based_on"):
            return self._based(title, source, wanted, without)
        content, noted = self.content, self.noted
        currency = content.text("currency") if content.has("currency") else "token"
        zone_name = content.text("time_zone") if content.has("time_zone") else "UTC"
        self.zone = time_zone(zone_name, content.place("time_zone"))
        self.profiles = self.read_before.setdefault(
            (self.path.parent, zone_name), Profiles(self.path.parent, self.zone)
        )
        horizons = self._horizons()
        self.horizons.update(horizons)
        is_default = isinstance(wanted, HorizonChoice) and wanted == HorizonChoice()
        self.horizon = wanted if isinstance(wanted, Horizon) else wanted.of(horizons, self.zone)
        suppliers = self._suppliers()
        network = self._network(suppliers)
        peers = self._peers()
        kept: tuple[Peer, ...] = ()
        with noted():
            kept = self._kept(peers, without)
        fee = 0.0
        if content.has("fee_per_kwh"):
            with noted():
                fee = content.number("fee_per_kwh", 0.0, _HIGHEST_PRICE)
        published = None
        with noted():
            published = self._published(peers)
        self.problems.done(content)
        if self.problems.found or network is None:
            raise Unfinished
        try:
            community = Community(self.name, self.horizon, network, suppliers, kept, fee)
        except CommunityError as error:
            raise CaseError(content.place(error.path), error.problem) from error
        printed = published if is_default and not without else None
        return Parts(title, source, currency, self.zone, horizons, community, printed)

    def _based(
        self, title: str, source: str, wanted: HorizonChoice | Horizon, without: frozenset[str]
    ) -> Parts:
        content = self.content
        place, named = content.place("based_on"), content.text("based_on")
        left_out = content.texts("without") if content.has("without") else ()
        self.problems.done(content)
        candidates = (self.path.parent.parent / named / FILE, self.folder / named / FILE)
        base = next((path for path in candidates if path.is_file()), None)
        if base is None:
            raise CaseError(place, f"there is no case {candidates[0]}")
        chain = (*self.below, self.path.resolve())
        if base.resolve() in chain:
            raise CaseError(place, f"{named!r} is based on this case: a loop")
        reader = Reader(base, self.folder, self.problems, self.read_before, chain)
        reader.horizons = self.horizons
        parts = reader.parts(wanted, without | frozenset(left_out))
        return parts._replace(
            title=title,
            source="\n".join(filter(None, (source, parts.source))),
            community=replace(parts.community, name=self.name),
            published=None,
        )

    def _kept(self, peers: tuple[Peer, ...], without: frozenset[str]) -> tuple[Peer, ...]:
        known = [peer.name for peer in peers]
        for name in sorted(without.difference(known)):
            raise CaseError(
                str(self.path),
                f"there is no peer {name!r} to leave out{tomltext.hint(name, known)}",
            )
        kept = tuple(peer for peer in peers if peer.name not in without)
        if peers and not kept:
            raise CaseError(str(self.path), "all peers are left out; keep at least one")
        return kept

    # ---------------------------------------------------------------------------------- horizons

    def _horizons(self) -> dict[str, Horizon]:
        default = self._horizon(self.content.table("horizon"), None)
        horizons = {"default": default}
        if self.content.has("horizons"):
            with self.noted():
                named = self.content.table("horizons")
                for name in named.names():
                    with self.noted():
                        entry = named.table(name)
                        if name == "default":
                            raise CaseError(
                                named.place(name), "is the name of [horizon]; choose another"
                            )
                        horizons[name] = self._horizon(entry, default)
        return horizons

    def _horizon(self, entry: Table, default: Horizon | None) -> Horizon:
        begin = moment(self._start(entry), self.zone, entry.place("start"))
        if entry.has("period_minutes") or default is None:
            seconds = entry.whole("period_minutes", 1, 24 * 60) * 60
        else:
            seconds = default.period_seconds
        if entry.has("days"):
            if entry.has("periods"):
                raise CaseError(entry.place("days"), "is said besides periods; say one of them")
            days = entry.whole("days", 1, 3660)
            horizon = horizon_of_days(begin, days, seconds, self.zone, entry.place("days"))
        else:
            horizon = Horizon(begin, seconds, entry.whole("periods", 1, LONGEST))
        self.problems.done(entry)
        return horizon

    def _start(self, entry: Table) -> datetime:
        value = entry.any_of("start", datetime, date, str)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                raise CaseError(
                    entry.place("start"),
                    f"must be a date, or a date with time, such as 2019-01-14, not {short(value)}",
                ) from None
        return value if isinstance(value, datetime) else datetime.combine(value, time())

    # --------------------------------------------------------------------- suppliers and network

    def _suppliers(self) -> tuple[Supplier, ...]:
        suppliers = []
        self.supplier_names = dict[str, None]()
        for entry in self._entries(self.content, "suppliers"):
            before = self.problems.count
            name, tariffs = "", dict[str, Any]()
            with self.noted():
                name = self._name(entry, self.supplier_names, "supplier")
                if name == _NOBODY:
                    raise CaseError(entry.place("name"), f"{_NOBODY!r} says that there is none")
            for key in ("retail_per_kwh", "feed_in_per_kwh"):
                with self.noted():
                    tariffs[key] = self._series(entry, key, name, "rate", bound=_HIGHEST_PRICE)
            self.problems.done(entry)
            if self.problems.count == before:
                with self.noted():
                    suppliers.append(self._made(entry, Supplier, name=name, **tariffs))
        return tuple(suppliers)

    def _network(self, suppliers: tuple[Supplier, ...]) -> Network | None:
        """Nodes and links of the file; by default one node, with tariffs as price bounds."""
        self.nodes: tuple[str, ...] = (_DEFAULT_NODE,)
        with self.noted():
            entry = self.content.table("network") if self.content.has("network") else None
            if entry and entry.has("nodes"):
                with self.noted():
                    self.nodes = self._nodes(entry)
            links = [
                link
                for each in (self._entries(entry, "links") if entry else ())
                if (link := self._link(each))
            ]
            floor, cap = self._price_bounds(entry, suppliers)
            if entry:
                self.problems.done(entry)
            try:
                return Network(self.nodes, tuple(links), floor, cap)
            except BookError as error:
                place = self.content.place("network")
                raise CaseError(place, f"{error.path} {error.problem}") from error
        return None

    def _nodes(self, entry: Table) -> tuple[str, ...]:
        nodes = entry.texts("nodes")
        if not nodes:
            raise CaseError(entry.place("nodes"), "must not be empty; name at least one node")
        for at, node in enumerate(nodes):
            place = f"{entry.place('nodes')}[{at}]"
            if not node.strip():
                raise CaseError(place, "must not be empty")
            if node in nodes[:at]:
                raise CaseError(place, f"{node!r} is there twice")
        return nodes

    def _price_bounds(self, entry: Table | None, suppliers: tuple[Supplier, ...]) -> list[int]:
        """Floor and cap, by default those of the tariffs over the horizon; micro-token/kWh."""
        periods = self.horizon.periods
        floor = min((float(each.feed_in(periods).min()) for each in suppliers), default=0.0)
        cap = max((float(each.retail(periods).max()) for each in suppliers), default=0.0)
        bounds = [_micro(min(floor, 0.0)), _micro(max(cap, 0.0))]
        for at, key in enumerate(("price_floor_per_kwh", "price_cap_per_kwh")):
            if entry and entry.has(key):
                bounds[at] = _price(entry, key, -_HIGHEST_PRICE)
            elif key == "price_cap_per_kwh" and not self.supplier_names:
                place = entry.place(key) if entry else self.content.place(f"network.{key}")
                raise CaseError(place, "is missing; without suppliers nothing bounds the prices")
        if entry and bounds[0] > bounds[1]:
            raise CaseError(
                entry.place("price_floor_per_kwh"),
                f"{bounds[0] / MICRO:g} is above the cap {bounds[1] / MICRO:g}",
            )
        return bounds

    def _link(self, entry: Table) -> Link | None:
        with self.noted():
            ends = []
            for key in ("from", "to"):
                node = entry.text(key)
                if node not in self.nodes:
                    raise CaseError(entry.place(key), choice(node, self.nodes))
                ends.append(node)
            if ends[0] == ends[1]:
                raise CaseError(entry.place("to"), "a link must not end where it starts")
            tariff = _price(entry, "tariff_per_kwh", 0.0)
            capacity = entry.number("capacity_kw", 0.0) * self.horizon.hours * WH_PER_KWH
            if capacity > _MOST_WH:
                raise CaseError(entry.place("capacity_kw"), "is more than the market can hold")
            owner = entry.text("owner") if entry.has("owner") else None
            self.problems.done(entry)
            return Link(ends[0], ends[1], tariff, int(capacity + _ALMOST_WHOLE), owner)
        return None

    # ------------------------------------------------------------------------------------- peers

    def _peers(self) -> tuple[Peer, ...]:
        peers, self.peer_names = list[Peer](), dict[str, None]()
        entries = self._entries(self.content, "peers")
        if not entries:
            with self.noted():
                raise CaseError(
                    self.content.place("peers"), "there is none; write [[peers]] for each of them"
                )
        for entry in entries:
            before = self.problems.count
            values: dict[str, Any] = {"name": ""}
            with self.noted():
                values["name"] = self._name(entry, self.peer_names, "peer")
            values |= self._connection(entry)
            values["assets"] = tuple(self._assets(entry, values["name"]))
            values.setdefault("role", _role(values["assets"]))
            with self.noted():
                if supplier := self._supplier(entry, values["role"]):
                    values["supplier"] = supplier
            self.problems.done(entry)
            if self.problems.count == before:
                with self.noted():
                    peers.append(self._made(entry, Peer, **values))
        return tuple(peers)

    def _connection(self, entry: Table) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if entry.has("role"):
            with self.noted():
                values["role"] = entry.text("role")
                if values["role"] not in ROLES:
                    raise CaseError(entry.place("role"), choice(values["role"], ROLES))
        with self.noted():
            values["node"] = self._node(entry)
        if entry.has("community"):
            with self.noted():
                values["community"] = entry.whole("community", 0, _MOST_COMMUNITIES)
        for key in (
            "connection_kw",
            "export_cost_per_kwh",
            "import_preference_per_kwh",
            "export_preference_per_kwh",
            "need",
        ):
            if entry.has(key):
                with self.noted():
                    values[key] = entry.number(key, 0.0)
        return values

    def _node(self, entry: Table) -> str:
        if not entry.has("node"):
            if len(self.nodes) == 1:
                return self.nodes[0]
            raise CaseError(
                entry.place("node"), f"is missing; write one of {', '.join(self.nodes)}"
            )
        node = entry.text("node")
        if node not in self.nodes:
            raise CaseError(entry.place("node"), choice(node, self.nodes))
        return node

    def _supplier(self, entry: Table, role: str) -> str | None:
        """Who supplies a peer: the only supplier there is, unless it says otherwise."""
        if entry.has("supplier"):
            named = entry.text("supplier")
            if named == _NOBODY:
                return None
            if named not in self.supplier_names:
                raise CaseError(
                    entry.place("supplier"), choice(named, [*self.supplier_names, _NOBODY])
                )
            return named
        if role == "supplier" or not self.supplier_names:
            return None
        if len(self.supplier_names) > 1:
            raise CaseError(
                entry.place("supplier"),
                f"is missing; write one of {', '.join(self.supplier_names)}, or "
                f'"{_NOBODY}" for a peer that only trades in the community',
            )
        return next(iter(self.supplier_names))

    # ------------------------------------------------------------------------------------ assets

    def _assets(self, peer: Table, name: str) -> Iterator[Asset]:
        for entry in self._entries(peer, "assets"):
            with self.noted():
                kind = entry.text("kind")
                if kind not in KINDS:
                    raise CaseError(entry.place("kind"), choice(kind, KINDS))
                yield from self._asset(entry, KINDS[kind], name)

    def _asset(self, entry: Table, kind: type[Asset], peer: str) -> list[Asset]:
        before = self.problems.count
        values: dict[str, Any] = {}
        for parameter in fields(kind):  # type: ignore[arg-type]
            key = parameter.name
            if key in _PERIOD_FIELDS or (parameter.default is not MISSING and not entry.has(key)):
                continue
            with self.noted():
                if key in kind.series_fields:
                    quantity: Quantity = "energy" if key == "energy_kwh" else "rate"
                    low = 0.0 if key in _NOT_NEGATIVE else -np.inf
                    bound = _HIGHEST_PRICE if key.endswith("_per_kwh") else np.inf
                    values[key] = self._series(entry, key, peer, quantity, low=low, bound=bound)
                else:
                    values[key] = entry.number(key)
        window: list[Any] = []
        for key in _WINDOWS.get(kind, ()):
            with self.noted():
                window.append(self._clock(entry, key))
        self.problems.done(entry)
        if self.problems.count > before:
            return []
        if window:
            return list(self._windowed(entry, kind, values, *window))
        return [self._made(entry, kind, **values)]

    def _windowed(
        self,
        entry: Table,
        kind: type[Asset],
        values: dict[str, Any],
        begin: time | datetime,
        end: time | datetime,
    ) -> Iterator[Asset]:
        """One asset per window: what the horizon cuts off of one takes its energy with it."""
        begin_key, end_key = _WINDOWS[kind]
        if isinstance(begin, datetime) and isinstance(end, datetime):
            self._require_after(entry, begin, begin_key, end, end_key)
        # Made once as it is said, so that every limit is checked with its field.
        whole = self._made(entry, kind, **values, **_periods(kind, 0, self.horizon.periods))
        for stay in stays(begin, end, self.horizon, self.zone, entry.place(end_key)):
            most = whole.power_kw * self.horizon.hours * stay.periods
            most *= getattr(whole, "efficiency", 1.0)
            energy = whole.energy_kwh * stay.share
            if stay.share < 1:
                energy = min(energy, most)
            elif energy > most * (1 + _ALMOST_WHOLE):
                raise CaseError(
                    entry.place("energy_kwh"),
                    f"{energy:g} kWh do not fit between {begin_key} and {end_key}: "
                    f"{whole.power_kw:g} kW bring {most:g} kWh in the whole periods there",
                )
            yield replace(
                whole, energy_kwh=min(energy, most), **_periods(kind, stay.first, stay.periods)
            )

    def _require_after(
        self, entry: Table, begin: datetime, begin_key: str, end: datetime, end_key: str
    ) -> None:
        opens = moment(begin, self.zone, entry.place(begin_key))
        closes = moment(end, self.zone, entry.place(end_key))
        if closes <= opens:
            raise CaseError(
                entry.place(end_key),
                f"{end.isoformat(sep=' ')} is not after {begin_key} {begin.isoformat(sep=' ')}",
            )

    def _clock(self, entry: Table, key: str) -> time | datetime:
        value = entry.any_of(key, time, datetime, str)
        if isinstance(value, str):
            value = _parsed(value)
        if not isinstance(value, time | datetime) or (isinstance(value, time) and value.tzinfo):
            raise CaseError(
                entry.place(key),
                'must be a time of day such as "18:30", or a date and time such as '
                '"2019-01-14T18:30"',
            )
        return value

    # ------------------------------------------------------------------------------------ series

    def _series(
        self,
        entry: Table,
        key: str,
        column: str,
        quantity: Quantity,
        *,
        low: float = -np.inf,
        bound: float = np.inf,
    ) -> Series:
        """Take a number, a list, `file` or `file:column`, or a table of file, column and scale."""
        value = entry.any_of(key, int, float, list, str, dict)
        place = entry.place(key)
        taken: Series
        if isinstance(value, dict):
            taken = self._scaled(Table(value, place), column, quantity, low)
        elif isinstance(value, str):
            match = _PROFILE.fullmatch(value.strip())
            if match is None:
                raise CaseError(
                    place,
                    'must be a number, a list of numbers, or a profile such as "load.csv" or '
                    f'"load.csv:{column or "H01"}", not {short(value)}',
                )
            named = match["column"] or column
            taken = self.profiles.read(match["file"], named, self.horizon, quantity, place, low=low)
        else:
            taken = self._numbers(value, place, low)
        if np.abs(taken).max(initial=0.0) > bound:
            raise CaseError(place, f"must be between {-bound:g} and {bound:g} token/kWh")
        return taken

    def _scaled(self, entry: Table, column: str, quantity: Quantity, low: float) -> Series:
        file = entry.text("file")
        named = entry.text("column") if entry.has("column") else column
        scale = entry.number("scale") if entry.has("scale") else 1.0
        self.problems.done(entry)
        return self.profiles.read(
            file, named, self.horizon, quantity, entry.place("file"), low=low, scale=scale
        )

    def _numbers(self, value: float | list[object], place: str, low: float) -> Series:
        if not isinstance(value, list):
            return _finite(value, place, low)
        if len(value) != self.horizon.periods:
            raise CaseError(
                place,
                f"has {len(value)} values for {self.horizon.periods} periods; write one number for "
                "all of them, one for each, or a profile from a file",
            )
        return np.array([_finite(each, f"{place}[{at}]", low) for at, each in enumerate(value)])

    # --------------------------------------------------------------------------------- published

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
            if set(table.names()) != everybody and not self.problems.found:
                raise CaseError(
                    entry.place(key), "must have one entry for each peer, and none for others"
                )
            results.append({peer: _energy(table, peer) for peer in table.names()})
        self.problems.done(entry)
        return Published(objective, *results)

    # ---------------------------------------------------------------------------------- all over

    def _entries(self, table: Table, key: str) -> list[Table]:
        with self.noted():
            return table.tables(key)
        return []

    def _name(self, entry: Table, names: dict[str, None], what: str) -> str:
        name = entry.text("name")
        if name in names:
            raise CaseError(entry.place("name"), f"{name!r} is there twice; name each {what} once")
        if not name.isprintable() or name != name.strip():
            raise CaseError(
                entry.place("name"), f"must be plain letters without spaces around: {short(name)}"
            )
        names[name] = None
        return name

    def _made(self, entry: Table, kind: type[Any], **values: Any) -> Any:
        try:
            made = kind(**values)
            if isinstance(made, Supplier | Asset):
                made.fit(self.horizon.periods)
        except CommunityError as error:
            raise CaseError(entry.place(error.path), error.problem) from error
        return made


def _finite(value: object, place: str, low: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CaseError(place, f"must be a number, not {short(value)}")
    if not max(low, -_LARGEST) <= value <= _LARGEST:
        wanted = "a finite number" if low == -np.inf else f"a number of at least {low:g}"
        raise CaseError(place, f"must be {wanted}, not {short(value)}")
    return float(value)


def _periods(kind: type[Asset], first: int, periods: int) -> dict[str, int]:
    if kind is ElectricVehicle:
        return {"arrival_period": first, "departure_period": first + periods}
    return {"first_period": first, "last_period": first + periods - 1}


def _role(assets: tuple[Asset, ...]) -> str:
    """What a peer is by what it has."""
    generates = any(isinstance(asset, Photovoltaic | Generator) for asset in assets)
    stores = any(isinstance(asset, Storage) for asset in assets)
    consumes = any(not isinstance(asset, Photovoltaic | Generator | Storage) for asset in assets)
    if generates:
        return "prosumer" if consumes or stores else "producer"
    return "storage" if stores and not consumes else "consumer"


def _parsed(text: str) -> time | datetime | None:
    for kind in (time, datetime):
        try:
            return kind.fromisoformat(text.strip())
        except ValueError:
            continue
    return None


def _micro(price: float) -> int:
    return round(price * MICRO)


def _price(entry: Table, key: str, low: float) -> int:
    """Take a price in token/kWh that is whole in micro-token/kWh."""
    value = entry.number(key, low, _HIGHEST_PRICE)
    if abs(value * MICRO - _micro(value)) > _ALMOST_WHOLE:
        raise CaseError(entry.place(key), f"{value} is finer than a millionth of a token")
    return _micro(value)


def _energy(entry: Table, key: str) -> int:
    """Take an energy in kWh that is whole in Wh."""
    value = entry.number(key, 0.0, 1e12)
    whole = round(value * WH_PER_KWH)
    if abs(value * WH_PER_KWH - whole) > _ALMOST_WHOLE:
        raise CaseError(entry.place(key), f"{value} is finer than one Wh")
    return whole
