"""`fairwatt plan`: the day plan of a community."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from fairwatt.cli._case_options import case_options
from fairwatt.cli._progress import progress_bar
from fairwatt.cli._text import Column, echo_json, echo_table, json_option, plural
from fairwatt.files import write
from fairwatt.planner import plan as make_plan

if TYPE_CHECKING:
    from fairwatt.cases import Case
    from fairwatt.planner import Plan

__all__ = ["plan"]

_PATH: Any = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  fairwatt plan corby
  fairwatt plan iberia --horizon summer-week --picture week.png
  fairwatt plan ./my-homes --start 2026-06-01 --days 1 --csv plan.csv
"""
)
@case_options
@click.option(
    "--distributed",
    is_flag=True,
    help="Let peers keep their costs to themselves and agree by answering prices (ADMM).",
)
@click.option("--time-limit", type=click.FloatRange(min=0.001), metavar="SECONDS")
@click.option("--csv", "table", type=_PATH, metavar="FILE", help="Write all peers and periods.")
@click.option("--picture", type=_PATH, metavar="FILE", help="Draw it (.png or .svg).")
@json_option
def plan(
    case: Case,
    time_limit: float | None,
    table: Path | None,
    picture: Path | None,
    *,
    distributed: bool,
    as_json: bool,
) -> None:
    """Plan what everybody generates, stores, shifts and trades, at the least cost for all.

    CASE is a name of `fairwatt case list`, or the path of a folder with a case. Prices are those
    that make the plan everybody's own best choice.
    """
    if distributed:
        if time_limit is not None or table is not None:
            raise click.UsageError("--distributed takes neither --time-limit nor --csv.")
        _agree(case, picture, as_json=as_json)
        return
    with progress_bar() as bar:
        task = bar.add_task("building the program", total=None)
        result = make_plan(
            case.community,
            time_limit_s=time_limit,
            progress=lambda solving: bar.update(
                task, description=f"solving, iteration {solving.iterations:,}"
            ),
        )
        if picture is not None:
            bar.update(task, description="drawing")
            _draw(result, case, picture)
    if table is not None:
        write(table, _csv(result, case))
    if as_json:
        echo_json(_document(result, case))
        return
    _show(result, case)
    for path in (table, picture):
        if path is not None:
            click.echo(f"written   {path}")


def _agree(case: Case, picture: Path | None, *, as_json: bool) -> None:
    """Distributed: rounds of prices and answers instead of one program that knows all."""
    from fairwatt.consensus import agree  # noqa: PLC0415 - brings a solver of its own

    with progress_bar() as bar:
        task = bar.add_task("asking the peers", total=None)
        result = agree(
            case.community,
            progress=lambda number, _: bar.update(task, description=f"round {number}"),
        )
        if picture is not None:
            from fairwatt.plot import draw_consensus  # noqa: PLC0415 - Matplotlib is slow to load

            picture.parent.mkdir(parents=True, exist_ok=True)
            draw_consensus(result, picture, title=case.title, currency=case.currency)
    names = [peer.name for peer in case.community.peers]
    if as_json:
        echo_json(
            {
                "case": case.name,
                "currency": case.currency,
                "converged": result.converged,
                "iterations": result.iterations,
                "objective": result.objective,
                "gap": result.gap,
                "seconds": result.seconds,
                "primalResidualKWh": result.primal_residual_kwh.tolist(),
                "dualResidualPerKWh": result.dual_residual_per_kwh.tolist(),
                "injectionKWh": dict(zip(names, result.injection_kwh.tolist(), strict=True)),
                "prices": dict(
                    zip(case.community.network.nodes, result.price_per_kwh.tolist(), strict=True)
                ),
            }
        )
        return
    click.secho(case.title, bold=True)
    traded = result.buy_kwh.sum(axis=1), result.sell_kwh.sum(axis=1)
    echo_table(
        [
            Column("peer", "", names, is_text=True),
            Column("buys", "kWh", [f"{energy:z,.2f}" for energy in traded[0]]),
            Column("sells", "kWh", [f"{energy:z,.2f}" for energy in traded[1]]),
            Column("cost", case.currency, [f"{cost:z,.2f}" for cost in result.costs]),
        ],
        len(names),
    )
    share = 100 * result.gap / max(abs(result.objective), 1e-9)
    click.echo(
        f"\n{'agreed' if result.converged else 'NOT AGREED'} after {result.iterations} rounds in "
        f"{result.seconds:.1f} s: objective {result.objective:,.4f} {case.currency}, at most "
        f"{result.gap:.4f} ({share:.3f} %) above the optimum"
    )
    if picture is not None:
        click.echo(f"written   {picture}")


def _show(result: Plan, case: Case) -> None:
    community = case.community
    horizon = community.horizon
    click.secho(case.title, bold=True)
    click.echo(
        f"{plural(len(community.peers), 'peer')}, {plural(horizon.periods, 'period')} of "
        f"{horizon.period_seconds // 60} minutes; money in {case.currency}, energy in kWh\n"
    )
    bills = result.bills()
    totals = [
        values.sum(axis=1)
        for values in (
            result.draw_kwh, result.inject_kwh, result.buy_kwh, result.sell_kwh,
            result.import_kwh, result.export_kwh,
        )
    ]  # fmt: skip
    titles = ("draws", "injects", "buys", "sells", "imports", "exports")
    echo_table(
        [
            Column("peer", "", [peer.name for peer in community.peers], is_text=True),
            *(
                Column(title, "kWh", [f"{value:z,.2f}" for value in total])
                for title, total in zip(titles, totals, strict=True)
            ),
            Column("bill", case.currency, [f"{bill:z,.2f}" for bill in bills]),
        ],
        len(community.peers),
    )
    click.echo()
    _show_periods(result, case)
    click.echo(
        f"cost      {result.cost:,.4f} {case.currency}; built in "
        f"{result.timings.build_seconds:.2f} s, solved in {result.timings.solve_seconds:.2f} s"
    )


def _show_periods(result: Plan, case: Case) -> None:
    shown = slice(0, 48)
    times = _times(case)
    sums = [
        values.sum(axis=0)[shown]
        for values in (
            result.draw_kwh, result.inject_kwh, result.buy_kwh,
            result.import_kwh, result.export_kwh,
        )
    ]  # fmt: skip
    titles = ("drawn", "injected", "shared", "imported", "exported")
    prices = result.price_per_kwh[:, shown]
    echo_table(
        [
            Column("period", "", times[shown], is_text=True),
            *(
                Column(title, "kWh", [f"{value:z,.2f}" for value in values])
                for title, values in zip(titles, sums, strict=True)
            ),
            *(
                Column(node, "price", [f"{value:.4f}" for value in row])
                for node, row in zip(case.community.network.nodes[:4], prices, strict=False)
            ),
        ],
        case.community.horizon.periods,
        "; --json and --csv have all of them",
    )


def _times(case: Case) -> list[str]:
    """Starts of the periods for people."""
    return [time.strftime("%Y-%m-%d %H:%M") for time in _local(case)]


def _starts(case: Case) -> list[str]:
    """Starts of the periods with their offset, also where a clock change repeats an hour."""
    return [time.isoformat(timespec="minutes") for time in _local(case)]


def _local(case: Case) -> list[datetime]:
    horizon = case.community.horizon
    starts = horizon.start + horizon.period_seconds * np.arange(horizon.periods)
    return [datetime.fromtimestamp(start, UTC).astimezone(case.zone) for start in starts.tolist()]


def _csv(result: Plan, case: Case) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fields = ("draw", "inject", "buy", "sell", "import", "export")
    writer.writerow(["time", "peer", *(f"{field}_kwh" for field in fields), "price_per_kwh"])
    columns = [getattr(result, f"{field}_kwh") for field in fields]
    nodes = case.community.network.node_index
    for at, peer in enumerate(case.community.peers):
        prices = result.price_per_kwh[nodes[peer.node]]
        for period, time in enumerate(_starts(case)):
            cells = (f"{column[at, period]:.6g}" for column in columns)
            writer.writerow([time, peer.name, *cells, f"{prices[period]:.6g}"])
    return text.getvalue()


def _document(result: Plan, case: Case) -> dict[str, Any]:
    community = case.community
    fields = ("draw", "inject", "buy", "sell", "import", "export")
    peers = [
        {
            "name": peer.name,
            "bill": bill,
            **{f"{field}KWh": getattr(result, f"{field}_kwh")[at].tolist() for field in fields},
            "assets": [
                {
                    "kind": schedule.asset.kind,
                    "drawKWh": schedule.draw_kwh.tolist(),
                    "injectKWh": schedule.inject_kwh.tolist(),
                    **(
                        {"levelKWh": schedule.level_kwh.tolist()}
                        if schedule.level_kwh is not None
                        else {}
                    ),
                }
                for schedule in result.schedules
                if schedule.peer == at
            ],
        }
        for (at, peer), bill in zip(
            enumerate(community.peers), result.bills().tolist(), strict=True
        )
    ]
    return {
        "case": case.name,
        "currency": case.currency,
        "start": community.horizon.start,
        "periodSeconds": community.horizon.period_seconds,
        "cost": result.cost,
        "peers": peers,
        "prices": dict(zip(community.network.nodes, result.price_per_kwh.tolist(), strict=True)),
        "flowsKWh": [
            {"from": link.source, "to": link.target, "flowKWh": flow}
            for link, flow in zip(community.network.links, result.flows_kwh.tolist(), strict=True)
        ],
        "buildSeconds": result.timings.build_seconds,
        "solveSeconds": result.timings.solve_seconds,
    }


def _draw(result: Plan, case: Case, path: Path) -> None:
    from fairwatt.plot import draw_plan  # noqa: PLC0415 - Matplotlib takes a second to load

    path.parent.mkdir(parents=True, exist_ok=True)
    draw_plan(result, path, title=case.title, currency=case.currency, zone=case.zone)
