"""A community on a grid as a case: for `fairwatt plan` and whatever else takes one."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.community import CurtailableLoad, Generator, Photovoltaic, Storage
from fairwatt.errors import GridError
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fairwatt.community import Array, Asset, Community
    from fairwatt.grid._market import Capacities, Site

__all__ = ["write_site"]

_SECONDS_PER_MINUTE: Final = 60
_STORAGE: Final = (
    "energy_kwh",
    "charge_kw",
    "discharge_kw",
    "charge_efficiency",
    "discharge_efficiency",
    "initial_kwh",
    "cost_per_kwh",
)


def write_site(
    folder: Path, site: Site, capacities: Capacities, *, title: str, source: str
) -> tuple[str, ...]:
    """Write a site as a case whose links have these capacities.

    Returns
    -------
    tuple
        Names of the files.

    Raises
    ------
    GridError
        If the folder has something in it, or a peer has assets that no site of SimBench has.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GridError(f"{folder} is there already and not empty; choose another folder")
    community = site.limited(capacities)
    profiles: dict[str, dict[str, Array]] = {"load": {}, "pv": {}}
    peers = [_peer(community, at, profiles) for at in range(len(community.peers))]
    text = _head(community, title, source) + "".join(peers)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.toml").write_text(text, encoding="utf-8")
    written = ["case.toml"]
    for name, columns in profiles.items():
        if columns:
            (folder / f"{name}.csv").write_text(_csv(community, columns), encoding="utf-8")
            written.append(f"{name}.csv")
    return tuple(written)


def _head(community: Community, title: str, source: str) -> str:
    horizon, network = community.horizon, community.network
    start = datetime.fromtimestamp(horizon.start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    links = "".join(
        f"    {{ from = {_text(link.source)}, to = {_text(link.target)}, "
        f"tariff_per_kwh = {link.tariff_micro_per_kwh / MICRO}, "
        f"capacity_kw = {round(link.capacity_wh / WH_PER_KWH / horizon.hours, 6)}, "
        f"owner = {_text(link.owner or '')} }},\n"
        for link in network.links
    )
    nodes = ", ".join(map(_text, network.nodes))
    return (
        f'title = {_text(title)}\nsource = {_text(source)}\ntime_zone = "UTC"\n\n'
        f"[horizon]\nstart = {start}\nperiods = {horizon.periods}\n"
        f"period_minutes = {horizon.period_seconds // _SECONDS_PER_MINUTE}\n\n"
        f"[network]\nnodes = [{nodes}]\n"
        f"price_floor_per_kwh = {network.price_floor_micro_per_kwh / MICRO}\n"
        f"price_cap_per_kwh = {network.price_cap_micro_per_kwh / MICRO}\n"
        f"links = [\n{links}]\n"
    )


def _peer(community: Community, at: int, profiles: Mapping[str, dict[str, Array]]) -> str:
    peer = community.peers[at]
    assets = "".join(
        f"    {{ {_asset(community, peer.name, peer.role, asset, profiles)} }},\n"
        for asset in peer.assets
    )
    return (
        f"\n[[peers]]\nname = {_text(peer.name)}\nrole = {_text(peer.role)}\n"
        f"node = {_text(peer.node)}\nassets = [\n{assets}]\n"
    )


def _asset(
    community: Community,
    name: str,
    role: str,
    asset: Asset,
    profiles: Mapping[str, dict[str, Array]],
) -> str:
    periods = community.horizon.periods

    def series(field: str) -> str:
        values = asset.over(field, periods)
        if (values == values[0]).all():
            return f"{values[0]:.9g}"
        return "[" + ", ".join(f"{value:.9g}" for value in values) + "]"

    match asset:
        case CurtailableLoad() if role != "supplier":
            profiles["load"][name] = asset.over("energy_kwh", periods)
            fields: dict[str, Any] = {
                "energy_kwh": _text("load.csv"),
                "value_per_kwh": series("value_per_kwh"),
            }
        case CurtailableLoad():
            fields = {key: series(key) for key in ("energy_kwh", "value_per_kwh")}
        case Photovoltaic():
            profiles["pv"][name] = asset.over("energy_kwh", periods)
            fields = {"energy_kwh": _text("pv.csv")}
        case Generator():
            fields = {key: series(key) for key in ("power_kw", "cost_per_kwh")}
        case Storage():
            fields = {key: f"{getattr(asset, key):.9g}" for key in _STORAGE}
        case _:
            raise GridError(f"{name}: a {asset.kind} is not written; the case itself has it")
    return ", ".join(
        [f"kind = {_text(asset.kind)}", *(f"{key} = {value}" for key, value in fields.items())]
    )


def _csv(community: Community, columns: Mapping[str, Array]) -> str:
    horizon = community.horizon
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", *columns])
    values = np.array(list(columns.values()))
    for period in range(horizon.periods):
        time = datetime.fromtimestamp(horizon.start + period * horizon.period_seconds, UTC)
        cells = (f"{value:.6f}" for value in values[:, period])
        writer.writerow([time.strftime("%Y-%m-%dT%H:%M+00:00"), *cells])
    return text.getvalue()


def _text(text: str) -> str:
    """A basic string of TOML, which escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False)
