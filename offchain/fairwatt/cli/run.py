"""`fairwatt run`: a case, day by day on a chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from fairwatt.cases import Case, HorizonChoice
from fairwatt.cli._case_options import CASE, START
from fairwatt.cli._progress import progress_bar
from fairwatt.cli._text import Column, echo_json, echo_table, json_option, plural
from fairwatt.forecast import FORECASTS
from fairwatt.profiles import utc

if TYPE_CHECKING:
    from datetime import datetime

    from fairwatt.pilot import Progress, Results

__all__ = ["run"]

_FILE: Any = click.Path(dir_okay=False, exists=True, path_type=Path)
_MOST_SHOWN: Final = 40
_FOLDER: Any = click.Path(file_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  fairwatt run iberia --days 7
  fairwatt run corby --horizon summer-week --days 1 --chain anvil
  fairwatt run ./my-homes --start 2026-06-01 --days 30 --chain http://127.0.0.1:8545
"""
)
@CASE
@START
@click.option(
    "--horizon",
    "horizon_name",
    default="default",
    metavar="NAME",
    help="Begin where this horizon of the case does.",
)
@click.option("--days", type=click.IntRange(1, 3660), default=1, show_default=True)
@click.option(
    "--period",
    "period_minutes",
    type=click.Choice(["15", "30", "60"]),
    help="Length of a period in minutes; by default that of the case.",
)
@click.option("--without", multiple=True, metavar="PEER", help="Leave out a peer; repeatable.")
@click.option(
    "--chain",
    default="embedded",
    show_default=True,
    metavar="CHAIN",
    help="embedded; anvil; the address of a node whose clock can be set; or a network of Ape's.",
)
@click.option(
    "--forecast",
    type=click.Choice(FORECASTS),
    default="weekly",
    show_default=True,
    help="What plans and orders are made by.",
)
@click.option(
    "--weather",
    type=_FILE,
    metavar="FILE",
    help="Series known ahead (CSV, as the profiles of a case), for --forecast regression.",
)
@click.option(
    "--storage",
    type=click.Choice(["home", "market"]),
    default="home",
    show_default=True,
    help="Who decides when storages and vehicles charge: their owners beforehand, or the clearing.",
)
@click.option(
    "--faults",
    type=_FILE,
    metavar="FILE",
    help="What is wrong with the meters (TOML): outages, late and false readings.",
)
@click.option("--seed", default="", help="Makes the keys of wallets and meters.")
@click.option(
    "--settings",
    type=_FILE,
    metavar="FILE",
    help="Who holds the roles (TOML); by default the accounts of a local chain.",
)
@click.option("--out", type=_FOLDER, metavar="DIR", help="Folder of the run; by default out/CASE.")
@click.option("--fresh", is_flag=True, help="Begin anew, whatever the folder holds.")
@json_option
def run(
    *,
    name: str,
    horizon_name: str,
    start: datetime | None,
    days: int,
    period_minutes: str | None,
    without: tuple[str, ...],
    chain: str,
    forecast: str,
    weather: Path | None,
    storage: Literal["home", "market"],
    faults: Path | None,
    seed: str,
    settings: Path | None,
    out: Path | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Run a case day by day on a chain, from plan to bill.

    Every day everybody plans by a forecast and signs orders, the market is cleared with its proof,
    meters sign what really came, and what differs is settled. At the end every balance on the chain
    is held to the bills, and a page with pictures tells what it came to.

    On a chain that outlives this process a run that was stopped anywhere, even killed, goes on when
    the same command is given again. With --chain anvil it is the run's own: it goes on when this
    process is killed, and ends with the run.
    """
    if weather is not None and forecast != "regression":
        raise click.UsageError("--weather is for --forecast regression.")
    from fairwatt.pilot import (  # noqa: PLC0415 - brings Ape, which is slow to load
        Results,
        RunFolder,
        RunSettings,
        bills,
        report,
    )
    from fairwatt.pilot import run as run_case  # noqa: PLC0415

    minutes = int(period_minutes) if period_minutes else None
    choice = HorizonChoice(horizon_name, start, periods=1, period_minutes=minutes)
    horizon = Case.load(name, horizon=choice, without=without).community.horizon
    chosen = RunSettings(
        case=name,
        start=horizon.start,
        period_seconds=horizon.period_seconds,
        days=days,
        without=tuple(sorted(without)),
        forecast=forecast,
        weather=str(weather) if weather else None,
        seed=seed,
        storage=storage,
        faults=faults.read_text(encoding="utf-8") if faults else None,
    )
    folder = RunFolder(out or Path("out") / Path(name).name)
    with progress_bar() as bar:
        task = bar.add_task("starting", total=days)

        def tell(progress: Progress) -> None:
            day = min(progress.day + 1, days)
            bar.update(
                task,
                completed=progress.day + progress.share,
                description=f"day {day} of {days}: {progress.doing}",
            )

        prepared = run_case(
            chosen, folder, chain, deployment_settings=settings, fresh=fresh, progress=tell
        )
        bar.update(task, description="drawing")
        results = Results.of(prepared, folder.days())
        page = report(results, folder.path)
        written = bills(
            prepared,
            folder.days(),
            folder.bills,
            lambda what: bar.update(task, description=what),
        )
    if as_json:
        echo_json(_document(results))
        return
    _show(results)
    click.echo(f"written   {page}; {plural(written, 'bill')} in {folder.bills}")


def _show(results: Results) -> None:
    from fairwatt.pilot import STORAGE  # noqa: PLC0415 - brings Ape, which is slow to load

    case, settings = results.prepared.case, results.prepared.settings
    currency = case.currency
    click.secho(case.title, bold=True)
    click.echo(
        f"{plural(results.days, 'day')} from {utc(settings.start)}, "
        f"{plural(len(results.peers), 'peer')}, periods of "
        f"{settings.period_seconds // 60} minutes, {settings.forecast} forecast; money in "
        f"{currency}, energy in kWh"
    )
    if settings.storage == "market":
        click.echo(f"storages and vehicles {STORAGE['market']}")
    click.echo()
    peers = [*results.peers.values(), results.total]

    def energy(field: str) -> list[str]:
        return [f"{getattr(peer, field) / 1000:,.1f}" for peer in peers]

    def money(field: str) -> list[str]:
        return [f"{getattr(peer, field) / 1e9:z,.2f}" for peer in peers]

    echo_table(
        [
            Column("peer", "", [peer.name for peer in peers], is_text=True),
            Column("took", "kWh", energy("taken")),
            Column("gave", "kWh", energy("injected")),
            Column("bought", "kWh", energy("bought")),
            Column("sold", "kWh", energy("sold")),
            Column("alone", currency, money("alone")),
            Column("paid", currency, money("cost")),
            Column("saved", currency, money("saved")),
            Column(
                "",
                "%",
                ["" if (part := peer.saved_percent) is None else f"{part:.1f}" for peer in peers],
            ),
        ],
        len(peers),
    )
    total = results.total
    gas = sum(sum(day.values()) for day in results.gas) / results.days
    times = {
        stage: sorted(day.get(stage, 0.0) for day in results.seconds)[results.days // 2]
        for stage in results.seconds[0]
    }
    failed = " and failed meters" if settings.faults is not None else ""
    click.echo(
        f"\nforecast  errors{failed} cost {(total.cost - total.perfect) / 1e9:,.2f} {currency}: "
        f"{total.perfect / 1e9:,.2f} would have been paid had all been foreseen\n"
        f"chain     {gas:,.0f} gas a day, {gas / len(results.peers):,.0f} per peer\n"
        f"seconds   a day, median: "
        + ", ".join(f"{stage} {time:.2f}" for stage, time in times.items())
        + f"; {sum(times.values()):.2f} in all\n"
        f"balances  equal the bills, to the nano-token: {len(results.balances)} accounts"
    )
    if settings.faults is not None:
        _show_faults(results)
    for refused in results.refused[:20]:
        click.echo(f"left out  {refused}")


def _show_faults(results: Results) -> None:
    currency = results.prepared.case.currency
    for day, peer, told, estimate, settled in results.faults[:_MOST_SHOWN]:
        taken = "" if estimate is None else f"estimated {estimate / 1e9:,.2f}, "
        click.echo(
            f"meter     day {day}, {peer}: {told}: {taken}settled {settled / 1e9:,.2f} {currency}"
        )
    if len(results.faults) > _MOST_SHOWN:
        click.echo(f"meter     and {len(results.faults) - _MOST_SHOWN} more; the report has them")
    if results.untold_wh:
        click.echo(
            f"feeder    {abs(results.untold_wh) / 1000:,.3f} kWh "
            f"{'more' if results.untold_wh < 0 else 'less'} were taken than is settled"
        )


def _document(results: Results) -> dict[str, Any]:
    return {
        "case": results.prepared.case.name,
        "currency": results.prepared.case.currency,
        **results.prepared.settings.to_document(),
        "daysOver": results.days,
        "peers": {
            peer.name: {
                "takenWh": peer.taken,
                "injectedWh": peer.injected,
                "boughtWh": peer.bought,
                "soldWh": peer.sold,
                "imbalanceWh": peer.imbalance,
                "aloneNano": peer.alone,
                "costNano": peer.cost,
                "perfectNano": peer.perfect,
            }
            for peer in results.peers.values()
        },
        "incomesNano": dict(results.incomes),
        "balancesNano": results.balances,
        "gas": results.gas,
        "seconds": results.seconds,
        "refused": results.refused,
        "faulty": [
            {"day": day, "peer": peer, "told": told, "estimateNano": estimate, "settledNano": nano}
            for day, peer, told, estimate, nano in results.faults
        ],
        "untoldWh": results.untold_wh,
    }
