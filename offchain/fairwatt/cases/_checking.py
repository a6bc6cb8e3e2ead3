"""Everything that is wrong with a case, and what looks as if it were."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.cases._case import CASES, Case, find
from fairwatt.cases._horizon import HorizonChoice, end_of
from fairwatt.cases._reading import Problems, Reader, Unfinished
from fairwatt.community import CurtailableLoad, HeatPump, Load, Photovoltaic
from fairwatt.errors import CaseError
from fairwatt.units import MICRO, SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.community import Array, Asset, Community, Peer
    from fairwatt.profiles import Profiles

__all__ = ["Findings", "check"]

_NIGHT: Final = (23, 0, 1, 2)  # hours of local time without sun, but beyond the polar circle
_NIGHT_SHARE: Final = 0.01
_WHOLE_FROM: Final = 500.0  # Wh of a home in an hour
_HUGE_KW: Final = 100.0  # homes have less than one, a large plant may have more
_TINY_KW: Final = 0.002


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found.

    Attributes
    ----------
    errors
        What keeps the case from being used, with its place.
    warnings
        What is allowed but is often a mistake: place, and what is odd there.
    """

    errors: tuple[CaseError, ...]
    warnings: tuple[tuple[str, str], ...]


def check(name: str | Path, folder: Path = CASES) -> Findings:
    """Read a case over all of its horizons and tell everything that is wrong.

    Raises
    ------
    CaseError
        If there is no such case.
    """
    path = find(name, folder)
    problems, profiles = Problems(keep=True), dict[tuple[Path, str], "Profiles"]()
    warnings = dict[tuple[str, str], None]()
    wanted = ["default"]
    for horizon in wanted:  # grows when the first reading has told the others
        with problems.noted():
            reader = Reader(path, folder, problems, profiles)
            try:
                parts = reader.parts(HorizonChoice(horizon), frozenset())
            except Unfinished:
                pass
            else:
                case = Case(reader.name, **parts._asdict())
                warnings |= dict.fromkeys(_oddities(case))
            wanted += [each for each in reader.horizons if each not in wanted]
    return Findings(tuple(problems.found.values()), tuple(warnings))


def _oddities(case: Case) -> Iterator[tuple[str, str]]:
    community = case.community
    if not community.suppliers:
        yield (
            "suppliers",
            "there are none: what the market leaves over cannot be bought or sold",
        )
    cap = community.network.price_cap_micro_per_kwh / MICRO
    for supplier in community.suppliers:
        highest = float(supplier.retail(community.horizon.periods).max())
        if highest > cap + 1e-9:
            yield (
                "network.price_cap_per_kwh",
                f"caps the bids of loads below the retail tariff {highest:g} of {supplier.name!r}",
            )
        if highest > 5:
            yield (
                f"suppliers[{supplier.name!r}].retail_per_kwh",
                f"{highest:g} per kWh is high; is it in hundredths, or per MWh?",
            )
    used = {peer.node for peer in community.peers}
    linked = {end for link in community.network.links for end in (link.source, link.target)}
    for node in community.network.nodes:
        if node not in used | linked:
            yield "network.nodes", f"nobody and no link is at {node!r}"
        elif node not in linked and len(community.network.nodes) > 1:
            yield "network.nodes", f"no link leads to or from {node!r}"
    for peer in community.peers:
        yield from _oddities_of(peer, case)


def _oddities_of(peer: Peer, case: Case) -> Iterator[tuple[str, str]]:
    place, community = f"peers[{peer.name!r}]", case.community
    if not peer.assets:
        yield place, "has no assets"
    if peer.supplier is None and community.suppliers and peer.role != "supplier":
        yield place, "has no supplier: it can neither buy nor sell outside the market"
    labels = dict[str, int]()
    for asset in peer.assets:
        at = labels[asset.kind] = labels.get(asset.kind, 0) + 1
        where = f"{place}.{asset.kind}" + (f"-{at}" if at > 1 else "")
        for problem in _oddities_in(asset, case):
            yield where, problem
    if peer.connection_kw is not None:
        load = _load_kwh(peer, community)
        peak = float(load.max()) / community.horizon.hours
        if peak > peer.connection_kw:
            yield (
                f"{place}.connection_kw",
                f"its loads take up to {peak:g} kW, its connection carries {peer.connection_kw:g}",
            )


def _oddities_in(asset: Asset, case: Case) -> Iterator[str]:
    if not isinstance(asset, Load | CurtailableLoad | Photovoltaic | HeatPump):
        return
    horizon = case.community.horizon
    energy = asset.over("energy_kwh", horizon.periods)
    if not energy.any():
        is_long = end_of(horizon) - horizon.start >= SECONDS_PER_DAY
        if is_long or not isinstance(asset, Photovoltaic):
            yield "is zero in all periods"
        return
    if np.ndim(asset.energy_kwh):
        yield from _unit(energy, horizon.hours)
    if isinstance(asset, Photovoltaic):
        seconds = horizon.start + np.arange(horizon.periods) * horizon.period_seconds
        dark = [datetime.fromtimestamp(int(each), case.zone).hour in _NIGHT for each in seconds]
        night = np.where(dark, energy, 0.0) if horizon.period_seconds <= 3600 else energy * 0
        if night.max() > _NIGHT_SHARE * energy.max():
            at = datetime.fromtimestamp(int(seconds[int(night.argmax())]), case.zone)
            yield (
                f"generates {night.max():g} kWh at {at:%Y-%m-%d %H:%M} local time; is time_zone "
                "right?"
            )


def _unit(energy: Array, hours: float) -> Iterator[str]:
    """Ask whether values are in kWh per period: whole numbers are most often Wh or W."""
    mean = float(energy.mean()) / hours
    if energy.max() > _WHOLE_FROM * hours and (energy == np.round(energy)).all():
        yield f"has only whole numbers, up to {energy.max():g}: is it in Wh or W instead of kWh?"
    elif mean > _HUGE_KW:
        yield f"is {mean:,.0f} kW on average: a plant, or is it in Wh or W instead of kWh?"
    elif mean < _TINY_KW:
        yield f"is {mean * 1000:.3g} W on average: is it in MWh instead of kWh?"


def _load_kwh(peer: Peer, community: Community) -> Array:
    loads = [each for each in peer.assets if isinstance(each, Load)]
    total: Array = sum(
        (each.over("energy_kwh", community.horizon.periods) for each in loads),
        np.zeros(community.horizon.periods),
    )
    return total
