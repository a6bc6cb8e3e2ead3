"""`fairwatt case`: communities in folders, those of the project and anybody's own."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from click.core import ParameterSource

from fairwatt import cases
from fairwatt.cases import Case
from fairwatt.cli._case_options import CASE, START, case_options
from fairwatt.cli._text import (
    MOST_ROWS,
    Column,
    echo_json,
    echo_table,
    energy,
    json_option,
    plural,
    price,
    printable,
)
from fairwatt.community import (
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Load,
    Photovoltaic,
    ShiftableLoad,
    Storage,
)
from fairwatt.market import Book
from fairwatt.market.documents import dump_book

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fairwatt.community import Asset, Community, Horizon, Peer, Supplier

__all__ = ["case"]

_LOADS = (Load, CurtailableLoad, ShiftableLoad, ElectricVehicle, HeatPump)


@click.group()
def case() -> None:
    """Look at communities, check them, write new ones.

    A case is a folder with a case.toml and profiles; CASE is the name of one of the project, or
    the path of any such folder. `fairwatt schema case` prints the format.

    \b
    Examples:
      fairwatt case new my-homes --load load.csv --pv pv.csv
      fairwatt case check my-homes
      fairwatt case show my-homes
      fairwatt case book five-peer-2 > book.json
    """  # noqa: D301 - click reads the control character


@case.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the cases of the project with their titles."""
    titles = cases.titles()
    if as_json:
        echo_json(titles)
        return
    width = max(map(len, titles), default=0)
    for name, title in titles.items():
        click.echo(f"{name:{width}}  {printable(title)}")


@case.command()
@case_options
@json_option
def show(case: Case, as_json: bool) -> None:
    """Show who is in a case, with what, at which tariffs, over which horizon."""
    if as_json:
        echo_json(_document(case))
        return
    community = case.community
    click.secho(printable(case.title), bold=True)
    for line in case.source.splitlines():
        click.echo(f"  {printable(line)}")
    click.echo(
        f"\n1 token is 1 {printable(case.currency)}; local times are those of {case.zone}\n"
        if case.currency != "token"
        else f"\nlocal times are those of {case.zone}\n"
    )
    _show_horizons(case)
    _show_suppliers(community)
    _show_network(community)
    _show_peers(community)


@case.command()
@CASE
@json_option
def check(name: str, as_json: bool) -> None:
    """Tell everything that is wrong with a case, over all of its horizons.

    Warnings are of what is allowed but often a mistake, such as a profile in Wh. Exits with 1 if
    there are errors.
    """
    findings = cases.check(name)
    if as_json:
        echo_json(
            {
                "errors": [{"path": e.path, "problem": e.problem} for e in findings.errors],
                "warnings": [{"path": path, "problem": what} for path, what in findings.warnings],
            }
        )
    else:
        for error in findings.errors:
            click.secho("error    ", fg="red", nl=False)
            click.echo(printable(str(error)))
        for path, what in findings.warnings:
            click.secho("warning  ", fg="yellow", nl=False)
            click.echo(printable(f"{path}: {what}"))
        count = plural(len(findings.errors), "error")
        click.echo(f"{count}, {plural(len(findings.warnings), 'warning')}")
    if findings.errors:
        raise click.exceptions.Exit(1)


@case.command()
@case_options(minutes=("--period-minutes",))
@click.option(
    "--period", type=click.IntRange(0), default=0, metavar="N", help="Which period, from 0."
)
@click.option("--json", is_flag=True, expose_value=False, help="As always: it prints JSON.")
def book(case: Case, period: int) -> None:
    """Print a case's orders of one period as JSON, as `fairwatt clear` takes them.

    Assets that look beyond a period, such as storage, have no orders of a single one: plan the
    day with `fairwatt plan`.
    """
    periods = case.community.horizon.periods
    if period >= periods:
        raise click.UsageError(f"There is no period {period}; the last one is {periods - 1}.")
    echo_json(dump_book(case.book(period)))


@case.command(
    epilog="""\b
Examples:
  fairwatt case new my-homes
  fairwatt case new my-homes --load load.csv --pv pv.csv --time-zone Europe/Madrid
  fairwatt case new thousand --peers 1000 --seed 1 --days 1 --period 15
"""
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--load", type=click.Path(path_type=Path), help="Profiles of loads, a column each.")
@click.option("--pv", type=click.Path(path_type=Path), help="Profiles of PV, columns of same name.")
@click.option("--peers", type=click.IntRange(1, 100_000), help="Make up so many homes.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The same homes each time.",
)
@click.option(
    "--retail", type=float, default=cases.RETAIL, show_default=True, help="Retail tariff per kWh."
)
@click.option(
    "--feed-in", type=float, default=cases.FEED_IN, show_default=True, help="Feed-in per kWh."
)
@click.option("--time-zone", default="UTC", show_default=True, help="Of times without an offset.")
@START
@click.option("--days", type=click.IntRange(1, 3660), help="Length of the horizon.")
@click.option(
    "--period", "period_minutes", type=click.IntRange(1, 1440), metavar="MINUTES", help="Period."
)
@json_option
def new(
    folder: Path,
    *,
    load: Path | None,
    pv: Path | None,
    peers: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write a new case: an example to change, your own homes, or a community made up.

    Without options it is a small example with comments. With --load and --pv each column of your
    profiles, in kWh per row, becomes a home. With --peers the homes are made up, some of them
    with PV, storage and electric vehicles. FOLDER must be new or empty.
    """
    source = click.get_current_context().get_parameter_source
    given = {name for name in options if source(name) is ParameterSource.COMMANDLINE}
    if peers is not None:
        if load or pv:
            raise click.UsageError("--peers makes profiles up; leave it out with --load and --pv.")
        if "time_zone" in given:
            raise click.UsageError("--time-zone is for profiles of your own, not for --peers.")
        written = _synthetic(folder, peers, options)
    elif "seed" in given:
        raise click.UsageError("--seed goes with --peers.")
    elif load or pv:
        written = _from_profiles(folder, load, pv, options)
    elif given:
        raise click.UsageError("Options go with --load, --pv or --peers.")
    else:
        written = cases.write_example(folder)
    horizon, count = written.community.horizon, len(written.community.peers)
    if as_json:
        echo_json({"folder": str(folder), "peers": count, "horizon": _horizon(horizon)})
        return
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    click.echo(
        f"written  {printable(str(folder))}: {files}\n"
        f"         {plural(count, 'peer')}, {plural(horizon.periods, 'period')} of "
        f"{horizon.period_seconds // 60} minutes"
    )
    if load or pv:
        click.echo(f"times    without an offset are those of {options['time_zone']} (--time-zone)")
    if load and (
        odd := [peer.name for peer in written.community.peers if not any(peer.of_kind(Load))]
    ):
        click.echo(f"no load  {', '.join(map(printable, odd))}: are their columns named alike?")
    click.echo(f"next     fairwatt case check {printable(str(folder))}")


def _synthetic(folder: Path, peers: int, options: dict[str, Any]) -> Case:
    given = {name: options[name] for name in ("days", "period_minutes") if options[name]}
    if options["start"]:
        given["start"] = options["start"].date()
    return cases.write_synthetic(
        folder,
        peers,
        options["seed"],
        retail_per_kwh=options["retail"],
        feed_in_per_kwh=options["feed_in"],
        **given,
    )


def _from_profiles(
    folder: Path, load: Path | None, pv: Path | None, options: dict[str, Any]
) -> Case:
    return cases.write_from_profiles(
        folder,
        load,
        pv,
        retail_per_kwh=options["retail"],
        feed_in_per_kwh=options["feed_in"],
        zone_name=options["time_zone"],
        start=options["start"],
        days=options["days"],
        period_minutes=options["period_minutes"],
    )


# ------------------------------------------------------------------------------------------- show


def _show_horizons(case: Case) -> None:
    chosen = case.community.horizon
    rows = [(name, each) for name, each in case.horizons.items() if each != chosen]
    rows.insert(0, (next((n for n, h in case.horizons.items() if h == chosen), "as asked"), chosen))
    starts = [datetime.fromtimestamp(each.start, case.zone) for _, each in rows]
    names = [name for name, _ in rows]
    echo_table(
        [
            Column("horizon", "", names, is_text=True),
            Column("starts", "", [f"{each:%Y-%m-%d %H:%M}" for each in starts], is_text=True),
            Column("periods", "", [f"{each.periods:,}" for _, each in rows]),
            Column("of", "minutes", [f"{each.period_seconds / 60:g}" for _, each in rows]),
            Column("", "", ["shown here"] + [""] * (len(rows) - 1), is_text=True),
        ],
        len(rows),
    )
    click.echo()


def _show_suppliers(community: Community) -> None:
    if not community.suppliers:
        return
    periods = community.horizon.periods
    echo_table(
        [
            Column("supplier", "", [each.name for each in community.suppliers], is_text=True),
            Column(
                "retail",
                "token/kWh",
                [_range(each.retail(periods).tolist()) for each in community.suppliers],
            ),
            Column(
                "feed-in",
                "token/kWh",
                [_range(each.feed_in(periods).tolist()) for each in community.suppliers],
            ),
        ],
        len(community.suppliers),
    )
    click.echo()


def _show_network(community: Community) -> None:
    network = community.network
    floor, cap = price([network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh])
    nodes = ", ".join(network.nodes[:20]) + (", ..." if len(network.nodes) > 20 else "")
    click.echo(f"{plural(len(network.nodes), 'node')}: {printable(nodes)}")
    click.echo(f"prices from {floor} to {cap} token/kWh")
    if community.fee_per_kwh:
        click.echo(f"a trade costs each side {community.fee_per_kwh:g} token/kWh")
    click.echo()
    links = network.links[:MOST_ROWS]
    if not links:
        return
    capacities = energy(round(link.capacity_wh / community.horizon.hours) for link in links)
    echo_table(
        [
            Column("link", "", [f"{link.source} -> {link.target}" for link in links], is_text=True),
            Column("owner", "", [link.owner or "fund" for link in links], is_text=True),
            Column("tariff", "token/kWh", price(link.tariff_micro_per_kwh for link in links)),
            Column("capacity", "kW", capacities),
        ],
        len(network.links),
    )
    click.echo()


def _show_peers(community: Community) -> None:
    peers = community.peers[:MOST_ROWS]
    totals = [_totals(peer, community.horizon) for peer in peers]

    def column(title: str, unit: str, cells: list[str]) -> Column:
        return Column(title, unit, cells if any(cells) else [], is_text=not unit)

    several = len(community.network.nodes) > 1
    echo_table(
        [
            Column("peer", "", [peer.name for peer in peers], is_text=True),
            Column("role", "", [peer.role for peer in peers], is_text=True),
            column("node", "", [peer.node if several else "" for peer in peers]),
            column("supplier", "", [peer.supplier or "" for peer in peers]),
            column("loads", "kWh", [_amount(each["load"]) for each in totals]),
            column("PV", "kWh", [_amount(each["pv"]) for each in totals]),
            column("storage", "kWh", [_amount(each["storage"]) for each in totals]),
            Column("assets", "", [_assets(peer.assets) for peer in peers], is_text=True),
        ],
        len(community.peers),
        "; --json has all of them",
    )
    every = [_totals(peer, community.horizon) for peer in community.peers]
    click.echo(
        f"\n{plural(len(community.peers), 'peer')}: loads "
        f"{sum(each['load'] for each in every):,.1f} kWh, PV "
        f"{sum(each['pv'] for each in every):,.1f} kWh over the horizon, storage "
        f"{sum(each['storage'] for each in every):,.1f} kWh"
    )


def _totals(peer: Peer, horizon: Horizon) -> dict[str, float]:
    """Energy over the horizon of loads and PV, capacity of storage, kWh."""
    totals = {"load": 0.0, "pv": 0.0, "storage": 0.0}
    for asset in peer.assets:
        if isinstance(asset, _LOADS):
            totals["load"] += _energy(asset, horizon)
        elif isinstance(asset, Photovoltaic):
            totals["pv"] += _energy(asset, horizon)
        elif isinstance(asset, Storage):
            totals["storage"] += asset.energy_kwh
    return totals


def _energy(asset: Asset, horizon: Horizon) -> float:
    """What an asset takes or offers over the horizon, kWh; capacity of a storage."""
    if "energy_kwh" in asset.series_fields:
        return float(asset.over("energy_kwh", horizon.periods).sum())
    if isinstance(asset, Generator):
        return float(asset.over("power_kw", horizon.periods).sum()) * horizon.hours
    return float(getattr(asset, "energy_kwh", 0.0))


def _assets(assets: Iterable[Asset]) -> str:
    counts = Counter(_label(asset) for asset in assets)
    named = (label if count == 1 else f"{label} x {count}" for label, count in counts.items())
    return ", ".join(named)


def _label(asset: Asset) -> str:
    if isinstance(asset, Storage):
        return f"{asset.kind} {asset.energy_kwh:g} kWh"
    if isinstance(asset, ElectricVehicle | ShiftableLoad | HeatPump):
        return f"{asset.kind} {asset.power_kw:g} kW"
    if isinstance(asset, Generator):
        return f"{asset.kind} {np.max(asset.power_kw):g} kW"
    return asset.kind


def _amount(energy_kwh: float) -> str:
    return f"{energy_kwh:,.1f}" if energy_kwh else ""


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _document(case: Case) -> dict[str, Any]:
    community = case.community
    return {
        "name": case.name,
        "title": case.title,
        "source": case.source,
        "currency": case.currency,
        "timeZone": str(case.zone),
        "horizon": _horizon(community.horizon),
        "horizons": {name: _horizon(each) for name, each in case.horizons.items()},
        "network": dump_book(Book.of(community.network, []))["network"],
        "feePerKWh": community.fee_per_kwh,
        "suppliers": [_tariffs(each, community.horizon) for each in community.suppliers],
        "peers": [_peer(peer, community.horizon) for peer in community.peers],
    }


def _horizon(horizon: Horizon) -> dict[str, int]:
    return {
        "start": horizon.start,
        "periodSeconds": horizon.period_seconds,
        "periods": horizon.periods,
    }


def _tariffs(supplier: Supplier, horizon: Horizon) -> dict[str, Any]:
    return {
        "name": supplier.name,
        "retailPerKWh": supplier.retail(horizon.periods).tolist(),
        "feedInPerKWh": supplier.feed_in(horizon.periods).tolist(),
    }


def _peer(peer: Peer, horizon: Horizon) -> dict[str, Any]:
    return {
        "name": peer.name,
        "role": peer.role,
        "node": peer.node,
        "community": peer.community,
        "supplier": peer.supplier,
        "connectionKW": peer.connection_kw,
        "assets": [
            {"kind": asset.kind, "energyKWh": _energy(asset, horizon)} for asset in peer.assets
        ],
    }
