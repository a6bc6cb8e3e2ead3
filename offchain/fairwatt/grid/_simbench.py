"""Grids of SimBench with the peers that its profiles make.

Meinecke et al. 2020, SimBench: low-voltage grids built to be typical of Germany, with a year of
quarter hours for every load, panel and storage. The data are under the ODbL 1.0 and come with the
package `simbench`.

*A peer per bus.* What is connected to a bus is behind one meter: homes, charging points and heat
pumps are its load, which may go unserved at the price cap; photovoltaics can be curtailed.

*Storage.* A storage of SimBench feeds in only, with a profile named after photovoltaics and a load,
such as `Storage_PV5_H0-A`, and has no panels beside it: it stands for both. Here it becomes what it
is named after: panels of its rated power with that profile, and a battery of its capacity that the
day plan runs.

*Homes differ.* SimBench has six household shapes and gives every home one of them; together they
would peak as one. The second home of a shape and those after it live the same weekday of a
neighbouring week, then a quarter of an hour or more earlier or later as well. Charging points of
one shape likewise.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from fairwatt.cases import FEED_IN, RETAIL
from fairwatt.community import (
    Asset,
    Community,
    CurtailableLoad,
    Horizon,
    Peer,
    Photovoltaic,
    Storage,
)
from fairwatt.errors import GridError
from fairwatt.grid._extra import simbench
from fairwatt.grid._grid import Cut, Grid
from fairwatt.grid._market import Site, Terms, site
from fairwatt.market import Network

if TYPE_CHECKING:
    from fairwatt.community import Array

__all__ = ["GRIDS", "ZONE", "is_grid", "load_grid", "load_site", "reactive_at"]

GRIDS: Final = {
    "1-LV-rural1--2-sw": "13 peers on 4 feeders, more sun than the transformer carries",
    "1-LV-rural2--2-sw": "rural, longer feeders",
    "1-LV-rural3--2-sw": "118 peers on 9 feeders",
    "1-LV-semiurb4--2-sw": "39 peers on 3 feeders",
    "1-LV-semiurb5--2-sw": "semi-urban, more peers",
    "1-LV-urban6--2-sw": "urban, short feeders",
}
"""Low-voltage grids of SimBench in its scenario 2, of the far future."""
ZONE: Final = ZoneInfo("Europe/Berlin")
_START: Final = datetime(2016, 1, 1, tzinfo=ZONE)
_QUARTER_SECONDS: Final = 900
_PER_HOUR: Final = 4
_PER_WEEK: Final = 7 * 96
_KW_PER_MW: Final = 1000
_LIVED_IN: Final = ("H0", "HLS", "APLS")
"""Shapes that follow the habits of single people, not the weather or a business."""
_WEEKS: Final = (0, 1, -1, 2, -2)
_EFFICIENCY: Final = 0.95**0.5
"""Each way; SimBench says 0.95 for a storage as a whole."""
_WEAR_PER_KWH: Final = 0.02
_FULL_AT_MIDNIGHT: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Year:
    """A grid of SimBench with a year of everything, by bus of the network, kW."""

    net: Any
    load: dict[int, Array]
    reactive: dict[int, Array]
    sun: dict[int, Array]
    storages: dict[int, tuple[Array, ...]]


def is_grid(name: str) -> bool:
    """Whether this is how SimBench would name a low-voltage grid."""
    return name.startswith("1-LV-") and not any(letter in name for letter in "/\\")


def load_grid(name: str, cut: Cut = "feeder") -> Grid:
    """Read a grid.

    Raises
    ------
    GridError
        If SimBench has none of that name, or it is not radial.
    """
    return Grid.of(name, _year(name).net, cut)


def load_site(
    name: str,
    day: date | None = None,
    *,
    cut: Cut = "feeder",
    periods: int | None = None,
    retail_per_kwh: float = RETAIL,
    feed_in_per_kwh: float = FEED_IN,
    terms: Terms | None = None,
    sun: float = 1.0,
) -> Site:
    """Read a grid with its peers over a day of 2016, in quarter hours.

    Parameters
    ----------
    day
        Local day; None: the one with the largest power through the transformer, either way, if
        storage stood still.
    periods
        How many quarter hours from its start; None: the day.
    sun
        By how much there is more photovoltaics than SimBench says.

    Raises
    ------
    GridError
        If SimBench has none of that name, or no such day.
    """
    year = _year(name)
    day = day or _worst(year, sun)
    here = _quarters(day)
    if periods is not None:
        here = slice(here.start, min(here.start + periods, here.stop))
    horizon = Horizon(
        int(_START.timestamp()) + here.start * _QUARTER_SECONDS,
        _QUARTER_SECONDS,
        here.stop - here.start,
    )
    grid = Grid.of(name, year.net, cut)
    terms = terms or Terms()
    ends = year.load.keys() | year.sun.keys() | year.storages.keys()
    peers, buses = [], []
    reactive = np.zeros((len(grid.buses), horizon.periods))
    by_bus = dict(zip(grid.net.load.bus.tolist(), range(len(grid.buses)), strict=True))
    for bus in sorted(ends, key=by_bus.__getitem__):
        at = by_bus[bus]
        peers.append(_peer(grid.buses[at], year, bus, here, terms=terms, sun=sun))
        buses.append(at)
        if bus in year.reactive:
            reactive[at] = year.reactive[bus][here]
    community = Community(
        f"{name} on {day}", horizon, Network(("community",), (), 0, 1), (), tuple(peers)
    )
    return site(
        grid,
        community,
        np.array(buses, np.int64),
        reactive,
        terms=terms,
        retail_per_kwh=np.full(horizon.periods, retail_per_kwh),
        feed_in_per_kwh=np.full(horizon.periods, feed_in_per_kwh),
    )


def reactive_at(name: str, grid: Grid, horizon: Horizon) -> Array | None:
    """Reactive power of the loads, shape (buses, periods), kvar; None in another year than 2016."""
    year, periods = _year(name), horizon.periods
    first = (horizon.start - int(_START.timestamp())) / _QUARTER_SECONDS
    total = next(iter(year.reactive.values())).size
    if horizon.period_seconds != _QUARTER_SECONDS or not 0 <= first <= total - periods or first % 1:
        return None
    result = np.zeros((len(grid.buses), periods))
    for at, bus in enumerate(grid.net.load.bus.tolist()):
        if bus in year.reactive:
            result[at] = year.reactive[bus][int(first) : int(first) + periods]
    return result


def _peer(name: str, year: _Year, bus: int, here: slice, *, terms: Terms, sun: float) -> Peer:
    assets: list[Asset] = []
    if bus in year.load:
        energy = year.load[bus][here] / _PER_HOUR
        assets.append(CurtailableLoad(energy, terms.unserved_per_kwh))
    if bus in year.sun:
        assets.append(Photovoltaic(sun * year.sun[bus][here] / _PER_HOUR))
    for power, capacity in year.storages.get(bus, ()):
        first = _FULL_AT_MIDNIGHT * float(capacity)
        assets.append(
            Storage(
                energy_kwh=float(capacity),
                charge_kw=float(power),
                discharge_kw=float(power),
                charge_efficiency=_EFFICIENCY,
                discharge_efficiency=_EFFICIENCY,
                initial_kwh=first,
                cost_per_kwh=_WEAR_PER_KWH,
            )
        )
    role = "consumer" if len(assets) == 1 and bus in year.load else "prosumer"
    return Peer(name, role, "community", tuple(assets))


# --- a year ---------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _year(name: str) -> _Year:
    sb = simbench()
    if not is_grid(name) or name not in set(sb.collect_all_simbench_codes()):
        known = ", ".join(GRIDS)
        raise GridError(f"{name}: SimBench has no low-voltage grid of that name; some are {known}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about how SimBench joins tables
        net = sb.get_simbench_net(name)
    year = _Year(net, {}, {}, {}, {})
    _add_loads(year)
    for bus, power, profile in zip(net.sgen.bus, net.sgen.p_mw, net.sgen.profile, strict=True):
        _add(year.sun, bus, power * _KW_PER_MW * _renewable(net, profile))
    table = net.storage
    for bus, power, capacity, profile in zip(
        table.bus, table.p_mw.abs(), table.max_e_mwh, table.profile, strict=True
    ):
        panels = profile.split("_")[1]
        _add(year.sun, bus, power * _KW_PER_MW * _renewable(net, panels))
        pair = np.array([power * _KW_PER_MW, capacity * _KW_PER_MW])
        year.storages[bus] = (*year.storages.get(bus, ()), pair)
    return year


def _add_loads(year: _Year) -> None:
    """Loads of every bus, those of one shape apart from each other."""
    net = year.net
    profiles, seen = net.profiles["load"], defaultdict[str, int](int)
    table = net.load
    for bus, active, reactive, shape in zip(
        table.bus, table.p_mw, table.q_mvar, table.profile, strict=True
    ):
        shift = 0
        if shape.startswith(_LIVED_IN):
            shift = _shift(seen[shape])
            seen[shape] += 1
        for power, kind, into in ((active, "p", year.load), (reactive, "q", year.reactive)):
            values = profiles[f"{shape}_{kind}load"].to_numpy(np.float64)
            _add(into, bus, power * _KW_PER_MW * np.roll(values, shift))


def _shift(position: int) -> int:
    """By how many quarter hours the home at a position among those of its shape is moved."""
    rounds, week = divmod(position, len(_WEEKS))
    quarters = (rounds + 1) // 2 * (1 if rounds % 2 else -1)
    return _WEEKS[week] * _PER_WEEK + quarters


def _renewable(net: Any, profile: str) -> Array:
    """A profile of the grid, or of the whole collection where only a storage is named after it."""
    if profile in net.profiles["renewables"]:
        column = net.profiles["renewables"][profile]
    else:
        column = _all_renewables()[profile]
    values: Array = column.to_numpy(np.float64)
    return values


@lru_cache(maxsize=1)
def _all_renewables() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return simbench().get_all_simbench_profiles(2)["renewables"]


def _add(into: dict[int, Array], bus: int, values: Array) -> None:
    into[int(bus)] = into[int(bus)] + values if int(bus) in into else values


def _worst(year: _Year, sun: float) -> date:
    load, generation = sum(year.load.values()), sum(year.sun.values())
    power = np.abs(load - sun * generation)
    at = _START.astimezone(UTC) + int(power.argmax()) * timedelta(seconds=_QUARTER_SECONDS)
    return at.astimezone(ZONE).date()


def _quarters(day: date) -> slice:
    """Quarter hours of a local day, counted from the start of 2016."""
    begin = datetime(day.year, day.month, day.day, tzinfo=ZONE)
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), ZONE)
    if day.year != _START.year:
        raise GridError(f"{day}: the profiles of SimBench are of 2016; choose a day of that year")
    first, last = (
        int((each.timestamp() - _START.timestamp()) // _QUARTER_SECONDS) for each in (begin, end)
    )
    return slice(first, last)
