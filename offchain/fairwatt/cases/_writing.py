"""New cases: an example to change, homes from somebody's own profiles, a community made up."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from fairwatt.cases._case import Case
from fairwatt.cases._horizon import end_of
from fairwatt.cases._reading import FILE
from fairwatt.community import Horizon
from fairwatt.errors import CaseError
from fairwatt.profiles import Profiles, time_zone
from fairwatt.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairwatt.community import Array

__all__ = ["FEED_IN", "RETAIL", "write_example", "write_from_profiles", "write_synthetic"]

RETAIL, FEED_IN = 0.30, 0.08
"""Tariffs where nothing else is said, token/kWh."""
_WEEK: Final = 7
_HOURS_PER_YEAR: Final = 8760
_LATITUDE: Final = 45.0
_OFFSET_HOURS: Final = 1  # of the synthetic community: at 15 degrees east the sun is its clock


def write_example(folder: Path) -> Case:
    """Write a small complete case with comments, to be changed by hand.

    Raises
    ------
    CaseError
        If the folder has something in it.
    """

    def fill(into: Path) -> None:
        for entry in (resources.files("fairwatt.cases") / "example").iterdir():
            (into / entry.name).write_bytes(entry.read_bytes())

    return _written(folder, fill)


def write_from_profiles(
    folder: Path,
    load: Path | None = None,
    pv: Path | None = None,
    *,
    retail_per_kwh: float = RETAIL,
    feed_in_per_kwh: float = FEED_IN,
    zone_name: str = "UTC",
    start: datetime | None = None,
    days: int | None = None,
    period_minutes: int | None = None,
) -> Case:
    """Write a case of homes whose profiles are at hand: a peer for each column.

    Parameters
    ----------
    folder
        Of the new case; the profiles are copied into it.
    load, pv
        Profiles in kWh per row, one of them at least. Columns of one name belong to one peer.
    zone_name
        Time zone of times without an offset.
    start, days
        Horizon; by default the first week of whole days that the profiles cover.
    period_minutes
        Of the horizon; by default as the rows.

    Raises
    ------
    CaseError
        If a profile is malformed, or the folder has something in it.
    """
    zone = time_zone(zone_name, "time_zone")
    files = {name: path for name, path in (("load", load), ("pv", pv)) if path is not None}
    if not files:
        raise CaseError("profiles", "there is neither a load nor a PV profile")
    columns: dict[str, tuple[str, ...]] = {}
    spans = []
    for name, path in files.items():
        profiles = Profiles(path.parent, zone)
        columns[name] = profiles.columns(path.name, str(path))
        spans.append(profiles.span(path.name, str(path)))
    horizon = _shared(spans, period_minutes)
    copies = {name: f"{name}{_suffix(path)}" for name, path in files.items()}
    peers = dict.fromkeys(each for names in columns.values() for each in names)

    def fill(into: Path) -> None:
        for name, path in files.items():
            shutil.copyfile(path, into / copies[name])

        def file(name: str, peer: str) -> str | None:
            return copies[name] if peer in columns.get(name, ()) else None

        homes = [_Home(peer, file("load", peer), file("pv", peer)) for peer in peers]
        head = _Head(
            title=f"{len(homes)} homes of {next(iter(files.values())).name}",
            source=f"Profiles of {' and '.join(path.name for path in files.values())}.",
            zone_name=zone_name,
            retail_per_kwh=retail_per_kwh,
            feed_in_per_kwh=feed_in_per_kwh,
        )
        text = (
            head.text()
            + _first_days(horizon, zone, start, days)
            + "".join(home.text() for home in homes)
        )
        (into / FILE).write_text(text, encoding="utf-8")

    return _written(folder, fill, {copies[name]: path for name, path in files.items()})


def write_synthetic(
    folder: Path,
    peers: int,
    seed: int,
    *,
    retail_per_kwh: float = RETAIL,
    feed_in_per_kwh: float = FEED_IN,
    start: date = date(2023, 6, 5),
    days: int = _WEEK,
    period_minutes: int = 60,
    pv_share: float = 0.5,
    storage_share: float = 0.25,
    ev_share: float = 0.1,
) -> Case:
    """Write a community of homes that are made up, the same ones for the same seed.

    Homes of 1,500 to 6,000 kWh a year with a morning and an evening peak, photovoltaics of 2 to
    8 kWp under clouds that all of them share, at 45 degrees north. Nothing of it was measured.

    Parameters
    ----------
    peers
        How many, >= 1.
    pv_share, storage_share, ev_share
        Parts of the homes that have photovoltaics, storage besides those, an electric vehicle.

    Raises
    ------
    CaseError
        If the folder has something in it, or the days are not whole periods.
    """
    if peers < 1 or days < 1 or period_minutes < 1 or days * 24 * 60 % period_minutes:
        raise CaseError(
            str(folder),
            f"needs peers, days, and whole periods in them: {peers} peers, {days} days, periods of "
            f"{period_minutes} minutes",
        )
    random = np.random.default_rng(seed)
    zone = timezone(timedelta(hours=_OFFSET_HOURS))
    begin = datetime.combine(start, datetime.min.time(), zone)
    count = days * 24 * 60 // period_minutes
    times = [begin + at * timedelta(minutes=period_minutes) for at in range(count)]
    names = [f"H{at:0{len(str(peers))}}" for at in range(1, peers + 1)]
    clock = _Clock.of(start, count, period_minutes)
    load = _loads(random, clock, peers)
    with_pv = np.sort(random.choice(peers, round(peers * pv_share), replace=False))
    kwp = random.uniform(2.0, 8.0, with_pv.size).round(1)
    pv = _generation(random, clock, kwp)
    batteries = round(peers * min(storage_share, pv_share))
    with_storage = set(random.choice(with_pv, batteries, replace=False).tolist())
    with_ev = set(random.choice(peers, round(peers * ev_share), replace=False).tolist())
    power = dict(zip(with_pv.tolist(), kwp.tolist(), strict=True))
    homes = [
        _Home(
            name,
            "load.csv",
            "pv.csv" if at in power else None,
            storage_kwh=round(power[at] * 1.2, 1) if at in with_storage else 0.0,
            ev=_commuter(random) if at in with_ev else None,
        )
        for at, name in enumerate(names)
    ]

    def fill(into: Path) -> None:
        stamps = [time.isoformat(timespec="minutes") for time in times]
        _write_profile(into / "load.csv", stamps, names, load)
        if with_pv.size:
            _write_profile(into / "pv.csv", stamps, [names[at] for at in with_pv], pv)
        head = _Head(
            title=f"{peers} synthetic home{'s' if peers > 1 else ''}",
            source=f"Made up by `fairwatt case new --peers {peers} --seed {seed}`; not measured.",
            zone_name=f"+{_OFFSET_HOURS:02}:00",
            retail_per_kwh=retail_per_kwh,
            feed_in_per_kwh=feed_in_per_kwh,
        )
        horizon = (
            f"\n[horizon]\nstart = {start}\ndays = {days}\nperiod_minutes = {period_minutes}\n"
        )
        if days > 1:
            horizon += f"\n[horizons.day]\nstart = {start}\ndays = 1\n"
        text = head.text() + horizon + "".join(home.text() for home in homes)
        (into / FILE).write_text(text, encoding="utf-8")

    return _written(folder, fill)


# ------------------------------------------------------------------------------------- case.toml


@dataclass(frozen=True)
class _Head:
    title: str
    source: str
    zone_name: str
    retail_per_kwh: float
    feed_in_per_kwh: float

    def text(self) -> str:
        return (
            f"title = {_quoted(self.title)}\nsource = {_quoted(self.source)}\n"
            f"time_zone = {_quoted(self.zone_name)}\n\n"
            f'[[suppliers]]\nname = "retailer"\nretail_per_kwh = {self.retail_per_kwh}\n'
            f"feed_in_per_kwh = {self.feed_in_per_kwh}\n"
        )


@dataclass(frozen=True)
class _Home:
    """A peer with the files that have a column of its name."""

    name: str
    load: str | None
    pv: str | None = None
    storage_kwh: float = 0.0
    ev: tuple[float, str, str] | None = None

    def text(self) -> str:
        lines = "".join(f"    {{ {asset} }},\n" for asset in self._assets())
        return f"\n[[peers]]\nname = {_quoted(self.name)}\nassets = [\n{lines}]\n"

    def _assets(self) -> Iterator[str]:
        if self.load:
            yield f'kind = "load", energy_kwh = {_quoted(self.load)}'
        if self.pv:
            yield f'kind = "pv", energy_kwh = {_quoted(self.pv)}'
        if self.storage_kwh:
            power = round(self.storage_kwh / 2, 2)
            yield (
                f'kind = "storage", energy_kwh = {self.storage_kwh}, charge_kw = {power}, '
                f"discharge_kw = {power}, charge_efficiency = 0.95, discharge_efficiency = 0.95, "
                f"initial_kwh = {power}, cost_per_kwh = 0.02"
            )
        if self.ev:
            energy, arrival, departure = self.ev
            yield (
                f'kind = "ev", energy_kwh = {energy}, power_kw = 3.7, arrival = "{arrival}", '
                f'departure = "{departure}", efficiency = 0.9'
            )


def _quoted(text: str) -> str:
    """A basic string of TOML, which escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def _shared(spans: list[Horizon], period_minutes: int | None) -> Horizon:
    """What all profiles cover, in periods as long as the longest rows."""
    start, end = max(span.start for span in spans), min(end_of(span) for span in spans)
    seconds = max(span.period_seconds for span in spans)
    if period_minutes is not None:
        seconds = period_minutes * 60
    if seconds % 60:
        raise CaseError("period_minutes", f"rows come every {seconds} s; choose whole minutes")
    if end - start < seconds:
        raise CaseError("profiles", "the files have no time in common")
    return Horizon(start, seconds, (end - start) // seconds)


def _first_days(covered: Horizon, zone: tzinfo, start: datetime | None, days: int | None) -> str:
    """The horizon: the first whole local days, a week of them at most, and all there is."""
    minutes = covered.period_seconds // 60
    local = datetime.fromtimestamp(covered.start, zone)
    first = local if local.time() == datetime.min.time() else _midnight(local + timedelta(days=1))
    if start is not None:
        first = start.replace(tzinfo=zone) if start.tzinfo is None else start
    whole = (end_of(covered) - int(first.timestamp())) // SECONDS_PER_DAY
    named = f"\n[horizons.all]\nstart = {local.isoformat()}\nperiods = {covered.periods}\n"
    if days is None and whole < 1:
        begin = local if start is None else first
        periods = (end_of(covered) - int(begin.timestamp())) // covered.period_seconds
        length = f"periods = {max(periods, 1)}"
    else:
        begin, length = first, f"days = {days or min(_WEEK, whole)}"
    return (
        f"\n[horizon]\nstart = {begin.isoformat()}\n{length}\nperiod_minutes = {minutes}\n{named}"
    )


def _midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for suffix in (".csv.gz", ".csv", ".parquet", ".pq"):
        if name.endswith(suffix):
            return suffix
    raise CaseError(str(path), "must be a CSV or a Parquet file: .csv, .csv.gz, .parquet, .pq")


def _written(
    folder: Path, fill: Callable[[Path], None], origins: dict[str, Path] | None = None
) -> Case:
    """Fill a folder that is new or empty, wholly or not at all, with a case that can be read.

    Parameters
    ----------
    origins
        Where files of the folder come from: what is wrong with them is said of these.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CaseError(str(folder), "is there already and not empty; choose another folder")
    if not folder.resolve().parent.is_dir():
        raise CaseError(str(folder), f"there is no folder {folder.parent}")
    target = folder.resolve()
    with tempfile.TemporaryDirectory(
        prefix=f".{target.name}.", dir=target.parent, ignore_cleanup_errors=True
    ) as scratch:
        draft = Path(scratch) / target.name
        draft.mkdir()
        fill(draft)
        try:
            case = Case.load(draft)
        except CaseError as error:
            path = error.path
            for name, origin in (origins or {}).items():
                path = path.replace(str(draft / name), str(origin))
            raise CaseError(path.replace(str(draft), str(folder)), error.problem) from error
        if target.exists():
            for file in draft.iterdir():
                file.replace(target / file.name)
        else:
            draft.replace(target)
    return case


# --------------------------------------------------------------------------------------- profiles


@dataclass(frozen=True)
class _Clock:
    """Middle of every period: hour of the day, day of the year, whether at a weekend."""

    hour: Array
    day_of_year: Array
    is_weekend: Array
    hours: float

    @classmethod
    def of(cls, start: date, periods: int, period_minutes: int) -> _Clock:
        hours = (np.arange(periods) + 0.5) * period_minutes / 60
        days = hours // 24
        weekday = (start.weekday() + days) % 7
        return cls(
            hours % 24,
            start.timetuple().tm_yday + days,
            (weekday >= 5).astype(np.float64),
            period_minutes / 60,
        )


def _loads(random: np.random.Generator, clock: _Clock, peers: int) -> Array:
    """Consumption of homes, kWh, shape (peers, periods)."""

    def drawn(low: float, high: float) -> Array:
        return random.uniform(low, high, (peers, 1))

    def peak(at: Array, width: float) -> Array:
        distance = (clock.hour - at + 12) % 24 - 12
        shape: Array = np.exp(-((distance / width) ** 2))
        return shape

    annual_kwh = np.clip(random.lognormal(np.log(2900), 0.4, (peers, 1)), 1500, 6000)
    morning = drawn(0.5, 1.5) * peak(drawn(6.5, 8.5) + 1.5 * clock.is_weekend, 1.2)
    midday = drawn(0.1, 0.6) * (1 + clock.is_weekend) * peak(drawn(12.0, 14.0), 2.0)
    evening = drawn(1.5, 3.0) * peak(drawn(18.0, 21.0), 2.2)
    shape = drawn(0.4, 0.8) + morning + midday + evening
    mean = shape.mean(axis=1, keepdims=True)
    season = 1 + 0.15 * np.cos(2 * np.pi * (clock.day_of_year - 15) / 365)
    noise = random.gamma(4.0, 0.25, (peers, clock.hour.size))
    energy: Array = annual_kwh / _HOURS_PER_YEAR * clock.hours * season * shape / mean * noise
    return energy


def _generation(random: np.random.Generator, clock: _Clock, kwp: Array) -> Array:
    """Photovoltaics under shared clouds, kWh, shape (systems, periods).

    The sine of the sun's height is that of its declination and hour angle; air and angle of
    incidence cost more when it is low, which the exponent stands for.
    """
    latitude = np.radians(_LATITUDE)
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + clock.day_of_year) / 365)
    angle = np.pi * (clock.hour - 12) / 12
    height = np.sin(latitude) * np.sin(declination)
    height = height + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    clear = 0.85 * np.maximum(height, 0.0) ** 1.2
    clouds = np.empty(clear.size)
    level = random.uniform(0.5, 1.0)
    keep = 0.8**clock.hours
    for at in range(clear.size):
        level = keep * level + (1 - keep) * random.uniform(0.2, 1.15)
        clouds[at] = min(level, 1.0)
    own = random.uniform(0.9, 1.0, (kwp.size, clear.size))
    energy: Array = kwp[:, None] * clock.hours * clear * clouds * own
    return energy


def _commuter(random: np.random.Generator) -> tuple[float, str, str]:
    """Energy of a day's driving, when the vehicle comes home and when it leaves."""
    energy = round(float(random.uniform(4.0, 12.0)), 1)
    return energy, f"{random.integers(17, 21)}:00", f"0{random.integers(6, 9)}:00"


def _write_profile(path: Path, times: list[str], names: list[str], values: Array) -> None:
    frame = pd.DataFrame(values.T.round(4), index=pd.Index(times, name="time"), columns=names)
    frame.to_csv(path)
