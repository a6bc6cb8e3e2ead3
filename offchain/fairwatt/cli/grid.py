"""`fairwatt grid`: a community on a real low-voltage grid, as its operator sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click
import numpy as np

from fairwatt import cases
from fairwatt.cases import Case, HorizonChoice
from fairwatt.cli._progress import progress_bar
from fairwatt.cli._text import Column, echo_json, echo_table, json_option, plural, printable
from fairwatt.errors import GridError
from fairwatt.grid import (
    GRIDS,
    ZONE,
    Bounds,
    Derived,
    Site,
    Terms,
    derive_capacities,
    is_grid,
    load_grid,
    load_site,
    place,
    reactive_at,
    settle_day,
    write_site,
)
from fairwatt.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairwatt.grid import Capacities, Day, PowerFlow, Violation

__all__ = ["grid"]

_Option: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
_PATH: Any = click.Path(dir_okay=False, path_type=Path)
_KWH_PER_WH: Final = 1 / 1000
_BOUNDS: Final = Bounds()
_TERMS: Final = Terms()
_SOURCE: Final = (
    "{grid} of SimBench (Meinecke et al. 2020, simbench.net; data under the ODbL 1.0) on {day}, "
    "with links that keep this day within the bounds of the grid. Written by fairwatt grid limits."
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A site and how to speak of it."""

    site: Site
    title: str
    grid: str
    day: date
    currency: str
    zone: tzinfo
    is_case: bool


@click.group(no_args_is_help=True)
def grid() -> None:
    """Check a cleared day on a real low-voltage grid, and find limits it can live with.

    A node of the market is a feeder of the grid (or a bus), a link is the line or the transformer
    through which it is fed. Power flows are AC, by pandapower; grids are those of SimBench:
    pip install --editable '.[grid]'.

    \b
    Examples:
      fairwatt grid list
      fairwatt grid check 1-LV-rural1--2-sw
      fairwatt grid limits 1-LV-rural1--2-sw --picture limits.png
      fairwatt grid check corby --grid 1-LV-semiurb4--2-sw
    """  # noqa: D301 - click reads the control character


def _site_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument NAME and its options; it gets what was `asked` and `bounds`."""

    @wraps(command)
    def with_site(
        *,
        lowest: float,
        highest: float,
        line: float,
        transformer: float,
        picture: Path | None,
        as_json: bool,
        **choice: Any,
    ) -> Any:
        bounds = Bounds(lowest, highest, line, transformer)
        others = {key: choice.pop(key) for key in ("out",) if key in choice}
        with progress_bar() as bar:
            bar.add_task("reading the grid", total=None)
            asked = _asked(**choice)
        return command(asked, bounds, picture, as_json=as_json, **others)

    options: tuple[_Option, ...] = (
        click.argument("name", metavar="CASE|GRID"),
        click.option("--grid", "on", metavar="GRID", help="Grid of SimBench to put a case on."),
        click.option(
            "--day",
            type=click.DateTime(("%Y-%m-%d",)),
            help="Which day; of a grid, by default the one with the most power at the transformer.",
        ),
        click.option("--horizon", default="default", metavar="NAME", help="Horizon of the case."),
        click.option("--periods", type=click.IntRange(1, 100_000), help="Take so many periods."),
        click.option(
            "--nodes",
            type=click.Choice(("feeder", "bus")),
            default="feeder",
            show_default=True,
            help="What a node of the market is.",
        ),
        click.option(
            "--sun",
            type=click.FloatRange(0, 100),
            default=1.0,
            show_default=True,
            help="Photovoltaics of the grid, times this.",
        ),
        _number("--lowest", _BOUNDS.lowest_pu, "Lowest voltage, of the nominal one."),
        _number("--highest", _BOUNDS.highest_pu, "Highest voltage, of the nominal one."),
        _number("--line", _BOUNDS.line_percent, "Largest loading of a line, %."),
        _number("--transformer", _BOUNDS.transformer_percent, "Largest loading of it, %."),
        _number("--retail", cases.RETAIL, "Retail tariff of a grid's peers per kWh."),
        _number("--feed-in", cases.FEED_IN, "Feed-in tariff of a grid's peers per kWh."),
        _number("--station-tariff", _TERMS.station_tariff_per_kwh, "Of retail, for the station."),
        _number("--feeder-tariff", _TERMS.feeder_tariff_per_kwh, "Of retail, for the feeder."),
        click.option("--picture", type=_PATH, metavar="FILE", help="Draw it (.png or .svg)."),
        json_option,
    )
    result: Callable[..., Any] = with_site
    for option in reversed(options):
        result = option(result)
    return result


def _number(name: str, default: float, text: str) -> _Option:
    return click.option(name, type=float, default=default, show_default=True, help=text)


@grid.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List grids of SimBench that these commands take."""
    if as_json:
        echo_json(GRIDS)
        return
    width = max(map(len, GRIDS))
    for name, what in GRIDS.items():
        click.echo(f"{name:{width}}  {what}")


@grid.command()
@_site_options
def check(asked: _Asked, bounds: Bounds, picture: Path | None, *, as_json: bool) -> None:
    """Clear a day and run the power flow of every period; tell what it violates.

    Without limits of its own a market does not know its grid: this says what would happen.
    Exits with 1 if there are violations.
    """
    with progress_bar() as bar:
        periods = asked.site.community.horizon.periods
        task = bar.add_task("clearing", total=2 * periods)
        day = settle_day(asked.site, progress=lambda done: bar.update(task, completed=done))
        bar.update(task, description="power flow")
        flow = day.flow(lambda done: bar.update(task, completed=periods + done))
        found = flow.violations(bounds)
        if picture is not None:
            bar.update(task, description="drawing")
            _draw([("", day, flow)], picture, asked, bounds)
    if as_json:
        echo_json(_head(asked, bounds) | _day_document(day, flow, bounds))
    else:
        _show_head(asked, bounds)
        _show_nodes(day, flow)
        _show_violations(found, asked)
        if picture is not None:
            click.echo(f"written   {picture}")
    if found:
        raise click.exceptions.Exit(1)


@grid.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write a grid's peers and links as a case, for `fairwatt plan`.",
)
@_site_options
def limits(
    asked: _Asked, bounds: Bounds, picture: Path | None, *, out: Path | None, as_json: bool
) -> None:
    """Find capacities of the links under which the cleared day violates nothing.

    The day is cleared, its power flow run, and the capacity lowered behind which something is
    beyond its bound, until nothing is. What the limits cost is what the day costs more.
    """
    if out is not None and asked.is_case:
        raise click.UsageError("--out writes the peers of a grid; a case is a case already.")
    with progress_bar() as bar:
        task = bar.add_task("clearing", total=None)
        result = derive_capacities(
            asked.site,
            bounds,
            lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
        if picture is not None:
            bar.update(task, description="drawing")
            before = f"without limits: {plural(_count(result, bounds), 'violation')}"
            _draw(
                [
                    (before, result.before, result.flow_before),
                    ("within limits: none", result.after, result.flow_after),
                ],
                picture,
                asked,
                bounds,
            )
    files: tuple[str, ...] = ()
    if out is not None:
        files = write_site(
            out,
            asked.site,
            result.capacities,
            title=asked.title,
            source=_SOURCE.format(grid=asked.grid, day=asked.day),
        )
    if as_json:
        echo_json(_limits_document(result, asked))
        return
    _show_limits(result, asked)
    if picture is not None:
        click.echo(f"written   {picture}")
    if out is not None:
        click.echo(f"written   {printable(str(out))}: {', '.join(files)}")


# ------------------------------------------------------------------------------------------ site


def _asked(
    *,
    name: str,
    on: str | None,
    day: datetime | None,
    horizon: str,
    periods: int | None,
    nodes: Any,
    sun: float,
    retail: float,
    feed_in: float,
    station_tariff: float,
    feeder_tariff: float,
) -> _Asked:
    terms = Terms(station_tariff, feeder_tariff)
    if is_grid(name):
        if on is not None:
            raise click.UsageError("--grid is for a case; this is a grid with peers of its own.")
        site = load_site(
            name,
            day.date() if day else None,
            cut=nodes,
            periods=periods,
            retail_per_kwh=retail,
            feed_in_per_kwh=feed_in,
            terms=terms,
            sun=sun,
        )
        title, label, currency = site.community.name, name, "EUR"
        zone: tzinfo = ZONE
    else:
        if on is None:
            raise click.UsageError(
                f"Say with --grid on which grid to put {name!r}; `fairwatt grid list` has some."
            )
        if sun != 1:
            raise GridError("--sun is for the peers of a grid; change the case instead")
        choice = HorizonChoice(
            horizon, start=day, periods=periods, days=1 if day and not periods else None
        )
        case = Case.load(name, horizon=choice)
        place_on = load_grid(on, nodes)
        reactive = None
        if all(peer.name in place_on.bus_index for peer in case.community.peers[:-1]):
            reactive = reactive_at(on, place_on, case.community.horizon)
        site = place(place_on, case.community, terms, reactive_kvar=reactive)
        title, label = f"{case.title} on {on}", on
        currency, zone = case.currency, case.zone
    start = datetime.fromtimestamp(site.community.horizon.start, UTC).astimezone(zone)
    return _Asked(site, title, label, start.date(), currency, zone, on is not None)


# ------------------------------------------------------------------------------------------ text


def _show_head(asked: _Asked, bounds: Bounds) -> None:
    horizon = asked.site.community.horizon
    click.secho(printable(asked.title), bold=True)
    click.echo(
        f"{plural(len(asked.site.peer_bus), 'peer')}, "
        f"{plural(len(asked.site.grid.zones), 'node')}, {plural(horizon.periods, 'period')} of "
        f"{horizon.period_seconds // 60} minutes; money in {asked.currency}\n"
        f"allowed: {bounds.lowest_pu:g} to {bounds.highest_pu:g} of the nominal voltage, lines to "
        f"{bounds.line_percent:g} %, the transformer to {bounds.transformer_percent:g} %\n"
    )


def _show_nodes(day: Day, flow: PowerFlow) -> None:
    """What passes into each node, and how the grid behind it fares."""
    site = day.site
    zones = range(len(site.grid.zones))
    voltages = [_voltages(flow, zone) for zone in zones]
    loading = [_loading(flow, zone) for zone in zones]
    prices = day.price_per_kwh
    echo_table(
        [
            *_node_columns(site),
            Column(
                "most in", "kW", ["", *(f"{max(p.max(), 0.0) + 0.0:,.1f}" for p in day.gate_kw[1:])]
            ),
            Column(
                "most out",
                "kW",
                ["", *(f"{max(-p.min(), 0.0) + 0.0:,.1f}" for p in day.gate_kw[1:])],
            ),
            Column("voltage", "from", ["" if v is None else f"{v[0]:.3f}" for v in voltages]),
            Column("", "to", ["" if v is None else f"{v[1]:.3f}" for v in voltages]),
            Column("loading", "%", ["" if value is None else f"{value:.1f}" for value in loading]),
            Column("price", "from", [f"{price.min():.3f}" for price in prices]),
            Column("", "to", [f"{price.max():.3f}" for price in prices]),
        ],
        len(site.grid.zones),
    )
    click.echo()


def _show_limits(result: Derived, asked: _Asked) -> None:
    bounds, before, after = result.bounds, result.before, result.after
    _show_head(asked, bounds)
    site, zones = asked.site, range(len(asked.site.grid.zones))
    peer_zone = site.grid.bus_zone[site.peer_bus]

    def behind(values: Any) -> list[str]:
        sums = [float(values[peer_zone == zone].sum()) for zone in zones]
        return [f"{value:,.1f}" if value else "" for value in sums]

    def limit(values: Any) -> list[str]:
        return [f"{v:,.1f}" if np.isfinite(v) else "" for v in values]

    bills = [[float(d.bills()[peer_zone == zone].sum()) for zone in zones] for d in (before, after)]
    echo_table(
        [
            *_node_columns(site),
            Column("limit in", "kW", limit(result.capacities.import_kw)),
            Column("limit out", "kW", limit(result.capacities.export_kw)),
            Column("full", "periods", [str(after.full_periods(z) or "") for z in zones]),
            Column("price", "before", [f"{p.mean():.3f}" for p in before.price_per_kwh]),
            Column("mean", "after", [f"{p.mean():.3f}" for p in after.price_per_kwh]),
            Column("lowest", "after", [f"{p.min():.3f}" for p in after.price_per_kwh]),
            Column("highest", "after", [f"{p.max():.3f}" for p in after.price_per_kwh]),
            Column("spilt", "kWh", behind(after.curtailed_kwh())),
            Column("unserved", "kWh", behind(after.unserved_kwh())),
            Column("bills", "before", [f"{bill:z,.2f}" for bill in bills[0]]),
            Column("", "after", [f"{bill:z,.2f}" for bill in bills[1]]),
        ],
        len(zones),
    )
    worst = [
        (flow.loading_percent[0].max(), flow.loading_percent[1:].max(), flow.voltage_pu)
        for flow in (result.flow_before, result.flow_after)
    ]
    found = plural(_count(result, bounds), "violation")
    click.echo()
    for title, count, (transformer, line, voltage) in zip(
        ("before", "after "), (found, "0 violations"), worst, strict=True
    ):
        click.echo(
            f"{title}    {count}: transformer to {transformer:.1f} %, lines to {line:.1f} %, "
            f"voltage {voltage.min():.3f} to {voltage.max():.3f}"
        )
    change = [after_ - before_ for before_, after_ in zip(*bills, strict=True)]
    click.echo(
        f"cost      of the limits {result.cost:,.2f} {asked.currency}: the day costs "
        f"{after.cost:,.2f} instead of {before.cost:,.2f}\n"
        f"          peers pay {sum(change):,.2f} more; {after.rent - before.rent:,.2f} of it goes "
        f"to the community fund as congestion rent\n"
        f"          {after.curtailed_kwh().sum():,.1f} kWh of sun are spilt, "
        f"{after.unserved_kwh().sum():,.1f} kWh are not served\n"
        f"rounds    {len(result.rounds) + 1}, the last one without a violation"
    )


def _show_violations(found: Sequence[Violation], asked: _Asked) -> None:
    if not found:
        click.secho("no violations", fg="green")
        return
    groups: dict[tuple[str, str], list[Violation]] = defaultdict(list)
    for violation in found:
        groups[violation.kind, violation.name].append(violation)
    rows = sorted(groups.values(), key=lambda each: -len(each))
    worst = [max(each, key=lambda violation: violation.excess) for each in rows]
    horizon = asked.site.community.horizon
    times = [
        datetime.fromtimestamp(horizon.start + each.period * horizon.period_seconds, asked.zone)
        for each in worst
    ]
    click.secho(plural(len(found), "violation"), fg="red", bold=True)
    shown = slice(0, 30)
    echo_table(
        [
            Column("what", "", [each.kind for each in worst][shown], is_text=True),
            Column("where", "", [each.name for each in worst][shown], is_text=True),
            Column("periods", "", [str(len(each)) for each in rows][shown]),
            Column("worst", "", [_value(each, each.value) for each in worst][shown]),
            Column("allowed", "", [_value(each, each.bound) for each in worst][shown]),
            Column("when", "", [f"{time:%Y-%m-%d %H:%M}" for time in times][shown], is_text=True),
        ],
        len(rows),
        "; --json has all of them",
    )


def _value(violation: Violation, value: float) -> str:
    return f"{value:.4f}" if violation.kind.startswith("voltage") else f"{value:.1f} %"


def _node_columns(site: Site) -> list[Column]:
    zones = site.grid.zones
    counts = np.bincount(site.grid.bus_zone[site.peer_bus], minlength=len(zones)).tolist()
    return [
        Column("node", "", [zone.name for zone in zones], is_text=True),
        Column("peers", "", [str(count or "") for count in counts]),
    ]


def _voltages(flow: PowerFlow, zone: int) -> tuple[float, float] | None:
    rows = flow.voltage_pu[flow.grid.bus_zone == zone]
    return (float(rows.min()), float(rows.max())) if rows.size else None


def _loading(flow: PowerFlow, zone: int) -> float | None:
    own = [at for at, element in enumerate(flow.grid.elements) if element.zone == zone]
    return float(flow.loading_percent[own].max()) if own else None


def _count(result: Derived, bounds: Bounds) -> int:
    return len(result.flow_before.violations(bounds))


# ------------------------------------------------------------------------------------------ JSON


def _head(asked: _Asked, bounds: Bounds) -> dict[str, Any]:
    horizon = asked.site.community.horizon
    return {
        "title": asked.title,
        "grid": asked.grid,
        "currency": asked.currency,
        "start": horizon.start,
        "periodSeconds": horizon.period_seconds,
        "periods": horizon.periods,
        "bounds": {
            "lowestPu": bounds.lowest_pu,
            "highestPu": bounds.highest_pu,
            "linePercent": bounds.line_percent,
            "transformerPercent": bounds.transformer_percent,
        },
    }


def _day_document(day: Day, flow: PowerFlow, bounds: Bounds) -> dict[str, Any]:
    grid_, peers = flow.grid, day.site.community.peers[: len(day.draw_kwh)]
    return {
        "cost": day.cost,
        "congestionRent": day.rent,
        "spiltKWh": float(day.curtailed_kwh().sum()),
        "unservedKWh": float(day.unserved_kwh().sum()),
        "violations": [
            {
                "kind": each.kind,
                "name": each.name,
                "node": grid_.zones[each.zone].name,
                "period": each.period,
                "value": each.value,
                "bound": each.bound,
                "excess": each.excess,
            }
            for each in flow.violations(bounds)
        ],
        "nodes": [
            {
                "name": zone.name,
                "pricePerKWh": day.price_per_kwh[at].tolist(),
                "powerKW": day.gate_kw[at].tolist(),
            }
            for at, zone in enumerate(grid_.zones)
        ],
        "buses": [
            {"name": bus, "node": grid_.zones[zone].name, "voltagePu": voltage}
            for bus, zone, voltage in zip(
                grid_.buses, grid_.bus_zone.tolist(), flow.voltage_pu.tolist(), strict=True
            )
        ],
        "elements": [
            {
                "name": element.name,
                "node": grid_.zones[element.zone].name,
                "loadingPercent": loading,
            }
            for element, loading in zip(grid_.elements, flow.loading_percent.tolist(), strict=True)
        ],
        "peers": [
            {"name": peer.name, "node": peer.node, "bill": bill, "drawKWh": draw}
            for peer, bill, draw in zip(
                peers, day.bills().tolist(), day.draw_kwh.tolist(), strict=True
            )
        ],
        "lossesKW": flow.losses_kw.tolist(),
    }


def _limits_document(result: Derived, asked: _Asked) -> dict[str, Any]:
    bounds = result.bounds
    return _head(asked, bounds) | {
        "cost": result.cost,
        "rounds": [
            {"violations": each.violations, "lowered": list(each.lowered)} for each in result.rounds
        ],
        "links": _links(asked.site, result.capacities),
        "before": _day_document(result.before, result.flow_before, bounds),
        "after": _day_document(result.after, result.flow_after, bounds),
    }


def _links(site: Site, capacities: Capacities) -> list[dict[str, Any]]:
    """What the operator publishes."""
    community = site.limited(capacities)
    return [
        {
            "from": link.source,
            "to": link.target,
            "tariffPerKWh": link.tariff_micro_per_kwh / MICRO,
            "capacityKW": link.capacity_wh * _KWH_PER_WH / community.horizon.hours,
            "capacityWh": link.capacity_wh,
        }
        for link in community.network.links
    ]


def _draw(
    days: Sequence[tuple[str, Day, PowerFlow]], path: Path, asked: _Asked, bounds: Bounds
) -> None:
    from fairwatt.plot import draw_grid  # noqa: PLC0415 - Matplotlib takes a second to load

    path.parent.mkdir(parents=True, exist_ok=True)
    draw_grid(
        days, path, title=asked.title, currency=asked.currency, bounds=bounds, zone=asked.zone
    )
