"""`fairwatt study`: market designs side by side."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fairwatt.cases import Case
from fairwatt.cli._case_options import case_options
from fairwatt.cli._progress import progress_bar
from fairwatt.cli._text import Column, echo_json, echo_table, json_option, plural
from fairwatt.files import write
from fairwatt.study import DESIGNS
from fairwatt.study import study as run_study

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fairwatt.models.moreno2021 import Finding, Statement
    from fairwatt.study import Study

__all__ = ["study"]

_SLOW_S: Final = 0.1
_PATH: Any = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog="Designs:\n\n\b\n"
    + "\n".join(f"  {key:22} {each.title}: {each.summary}" for key, each in DESIGNS.items())
    + "\n\n\b\nExamples:\n"
    "  fairwatt study five-peer-2\n"
    "  fairwatt study corby --horizon summer-week --without B1_food_plant\n"
    "  fairwatt study ./my-homes --designs market,mid-market --picture study.png\n"
)
@case_options
@click.option(
    "--designs",
    metavar="LIST",
    help="Only these, with commas between them; all that can take the case by default.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=2021,
    show_default=True,
    help="Of everything drawn by lot.",
)
@click.option("--csv", "table", type=_PATH, metavar="FILE", help="Write bills and gains per peer.")
@click.option("--picture", type=_PATH, metavar="FILE", help="Draw it (.png or .svg).")
@json_option
def study(
    case: Case,
    designs: str | None,
    seed: int,
    table: Path | None,
    picture: Path | None,
    *,
    as_json: bool,
) -> None:
    """Compare market designs on a community.

    CASE is a name of `fairwatt case list`, or the path of a folder with a case. Every design
    covers the same homes and the same hours; a gain is what is saved against everybody being
    alone with its supplier.
    """
    chosen = None if designs is None else [key.strip() for key in designs.split(",")]
    if chosen is not None and (unknown := set(chosen) - set(DESIGNS)):
        raise click.BadParameter(
            f"there is no design {min(unknown)!r}; there are {', '.join(DESIGNS)}",
            param_hint="--designs",
        )
    with progress_bar() as bar:
        task = bar.add_task("starting", total=None)
        result = run_study(
            case.community,
            chosen,
            seed=seed,
            progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
        bar.update(task, description="what the paper says")
        findings = _findings(case)
        if picture is not None:
            bar.update(task, description="drawing")
            _draw(result, case, picture)
    if table is not None:
        write(table, _csv(result))
    if as_json:
        checks = [
            {
                "text": statement.text,
                "where": statement.where,
                "reading": statement.reading,
                "canHold": statement.can_hold,
                "holds": finding.holds,
                "numbers": finding.numbers,
            }
            for statement, finding in findings
        ]
        echo_json(result.to_document() | {"currency": case.currency, "checks": checks})
        return
    _show(case, result)
    _show_findings(findings)
    for path in (table, picture):
        if path is not None:
            click.echo(f"written   {path}")


def _findings(case: Case) -> list[tuple[Statement, Finding]]:
    """What the paper says of the case, checked on the paper's model at the paper's prices."""
    from fairwatt.models import moreno2021  # noqa: PLC0415 - Pyomo takes a second to load

    for system, cases in moreno2021.CASES.items():
        own = [number for number, name in cases.items() if name == case.name]
        if own and _is_of_project(case):
            results = {
                number: moreno2021.Result.of(Case.load(name).community)
                for number, name in cases.items()
            }
            return [
                (statement, finding)
                for statement, finding in moreno2021.findings(system, results)
                if own[0] in statement.cases
            ]
    return []


def _is_of_project(case: Case) -> bool:
    """Whether it is the case of that name as it stands, and not another of the same name."""
    bundled = Case.load(case.name)
    ours, theirs = case.community, bundled.community
    return (
        (case.title, case.source) == (bundled.title, bundled.source)
        and ours.horizon == theirs.horizon
        and [peer.name for peer in ours.peers] == [peer.name for peer in theirs.peers]
    )


def _show(case: Case, result: Study) -> None:
    horizon = case.community.horizon
    click.secho(case.title, bold=True)
    click.echo(
        f"{plural(len(case.community.peers), 'peer')}, {plural(horizon.periods, 'period')} of "
        f"{horizon.period_seconds // 60} minutes; money in {case.currency}, energy in kWh\n"
    )
    outcomes = result.outcomes
    gains = [result.gain(each) for each in outcomes]
    alone = abs(result.alone.cost)
    echo_table(
        [
            Column("design", "", [each.title for each in outcomes], is_text=True),
            Column("cost", "", [f"{each.cost:z,.2f}" for each in outcomes]),
            Column("gain", "", [f"{gain:z,.2f}" for gain in gains]),
            Column("", "%", [f"{100 * gain / alone:.1f}" if alone else "" for gain in gains]),
            Column("kept", "", [f"{each.kept:z,.2f}" for each in outcomes]),
            Column("self-", "cons. %", _percent(e.figures.self_consumption for e in outcomes)),
            Column("self-", "suff. %", _percent(e.figures.self_sufficiency for e in outcomes)),
            Column("peak", "kW", [f"{each.figures.peak_import_kw:,.1f}" for each in outcomes]),
            Column("price", "from", [_price(each.lowest_price) for each in outcomes]),
            Column("", "to", [_price(each.highest_price) for each in outcomes]),
            Column("Gini", "", [_price(result.inequality(each)) for each in outcomes]),
            Column("worse", "off", [str(len(result.worse_off(each))) for each in outcomes]),
        ],
        len(outcomes),
    )
    slow = [f"{each.title} {each.seconds:.2f}" for each in outcomes if each.seconds >= _SLOW_S]
    rest = "all" if not slow else "the rest"
    click.echo(f"seconds: {', '.join([*slow, f'{rest} below {_SLOW_S}'])}")
    for each in outcomes:
        if each.note:
            click.echo(f"{each.title}: {each.note}")
    for key, reason in result.left_out.items():
        click.echo(f"left out: {DESIGNS[key].title} ({reason})")
    click.echo()
    _show_peers(result)


def _show_peers(result: Study) -> None:
    """What every peer pays alone, and what it saves in the designs."""
    peers = result.community.peers
    columns = [
        Column("peer", "", [peer.name for peer in peers], is_text=True),
        Column("alone", "pays", [f"{bill:z,.2f}" for bill in result.alone.bills]),
    ]
    for outcome in result.outcomes[1:]:
        first, _, rest = outcome.title.partition(" ")
        columns.append(Column(first, rest, [f"{gain:z,.2f}" for gain in result.gains(outcome)]))
    click.secho("What each peer saves against being alone", bold=True)
    echo_table(columns, len(peers))


def _show_findings(findings: Sequence[tuple[Statement, Finding]]) -> None:
    if not findings:
        return
    click.secho("\nWhat the paper says", bold=True)
    for statement, finding in findings:
        expected = finding.holds == statement.can_hold
        mark = "holds" if finding.holds else "cannot hold" if expected else "DOES NOT HOLD"
        click.secho(f"{mark:13}", fg="green" if expected else "red", nl=False)
        click.echo(f" {statement.text} ({statement.where})")
        click.echo(f"{'':14}{finding.numbers}")
        if statement.reading:
            click.echo(f"{'':14}read as: {statement.reading}")


def _csv(result: Study) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["design", "peer", "bill", "gain"])
    for outcome in result.outcomes:
        for peer, bill, gain in zip(
            result.community.peers, outcome.bills, result.gains(outcome), strict=True
        ):
            writer.writerow([outcome.design, peer.name, f"{bill:.6f}", f"{gain:.6f}"])
    return text.getvalue()


def _draw(result: Study, case: Case, path: Path) -> None:
    from fairwatt.plot import draw_study  # noqa: PLC0415 - Matplotlib takes a second to load

    path.parent.mkdir(parents=True, exist_ok=True)
    draw_study(result, path, title=case.title, currency=case.currency)


def _percent(values: Iterable[float | None]) -> list[str]:
    return ["" if value is None else f"{100 * value:.1f}" for value in values]


def _price(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
