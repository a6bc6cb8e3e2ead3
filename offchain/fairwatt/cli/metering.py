"""`fairwatt meter`: meter data from files to whole Wh per period of the market."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fairwatt import metering
from fairwatt.cli._chain_options import deployment_option
from fairwatt.cli._progress import progress_bar
from fairwatt.cli._signing import with_key
from fairwatt.cli._text import (
    MOST_ROWS,
    Column,
    echo_json,
    echo_table,
    energy,
    json_option,
    plural,
    printable,
)
from fairwatt.deployment import Deployment
from fairwatt.errors import MeterDataRefused
from fairwatt.files import write
from fairwatt.gateway import reading_of
from fairwatt.meter import Curve, P256Meter
from fairwatt.profiles import utc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eth_account.signers.local import LocalAccount

    from fairwatt.metering import Finding, IntervalData

__all__ = ["meter"]

_PATH: Any = click.Path(dir_okay=False, path_type=Path)
_POSITIVE: Any = click.IntRange(1, (1 << 32) - 1)
_MOST_FINDINGS: Final = 20


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every command."""
    for option in (
        json_option,
        click.option(
            "--period",
            "minutes",
            type=click.IntRange(1, 1440),
            default=15,
            show_default=True,
            metavar="MINUTES",
            help="Period of the market.",
        ),
        click.option(
            "--map", "mapping", type=_PATH, metavar="TOML", help="Which column is what, and checks."
        ),
        click.argument("file", type=_PATH),
    ):
        command = option(command)
    return command


@click.group()
def meter() -> None:
    """Bring meter data to the periods of the market, and find what is wrong with them.

    FILE is CSV, Parquet or Green Button (ESPI) XML. A small TOML file says which column is what;
    without one, the first column is the start of each interval in UTC, and every other column is
    the import of a meter in kWh.

    \b
    Examples:
      fairwatt meter check readings.csv --map map.toml
      fairwatt meter import readings.csv --map map.toml --out energy.csv
      fairwatt meter import year.xml --period 60 --policy estimate --profiles load.csv
      fairwatt meter sign day.csv --market 1 --peer 7 --session 1893456000 --periods 96 ...
    """  # noqa: D301 - click reads the control character


@meter.command("import")
@_common
@click.option(
    "--out", type=_PATH, metavar="FILE", help="Write a row per meter and period (.csv, .parquet)."
)
@click.option(
    "--profiles", type=_PATH, metavar="CSV", help="Write kWh, a column per meter, as cases read it."
)
@click.option(
    "--direction",
    type=click.Choice(("import", "export", "net")),
    default="import",
    show_default=True,
    help="Of the profiles.",
)
@click.option("--findings", "report", type=_PATH, metavar="JSON", help="Write all that was found.")
@click.option(
    "--policy",
    type=click.Choice(metering.POLICIES),
    default="refuse",
    show_default=True,
    help="What to do about faults.",
)
@click.option(
    "--from",
    "start",
    type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ")),
    metavar="TIME",
    help="First period (UTC).",
)
@click.option(
    "--to",
    "end",
    type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ")),
    metavar="TIME",
    help="After the last period (UTC).",
)
def import_(
    file: Path,
    mapping: Path | None,
    minutes: int,
    *,
    as_json: bool,
    out: Path | None,
    profiles: Path | None,
    direction: str,
    report: Path | None,
    policy: str,
    start: datetime | None,
    end: datetime | None,
) -> None:
    """Bring meter data to periods: whole Wh, not one of them lost.

    With --policy refuse nothing is written if there are faults. With --policy estimate what is
    missing or cannot be true is estimated and marked. Exits with 1 if the data are refused.
    """
    with progress_bar() as bar:
        task = bar.add_task("reading", total=None)

        def told(share: float) -> None:
            bar.update(task, description="checking", total=1, completed=share)

        try:
            data = metering.load(
                file,
                _mapping(mapping),
                period_seconds=60 * minutes,
                policy=policy,
                start=_moment(start),
                end=_moment(end),
                progress=told,
            )
        except MeterDataRefused as refused:
            bar.stop()
            _write_findings(report, refused.findings)
            if as_json:
                echo_json({"refused": True, "findings": _documents(refused.findings)})
            raise
        bar.update(task, description="writing", total=None)
        if out is not None:
            data.write_table(out)
        if profiles is not None:
            data.write_profiles(profiles, direction)
        _write_findings(report, data.findings)
    if as_json:
        echo_json(_document(data))
        return
    _show(data)
    for path in (out, profiles, report):
        if path is not None:
            click.echo(f"written    {printable(str(path))}")


@meter.command()
@_common
def check(file: Path, mapping: Path | None, minutes: int, *, as_json: bool) -> None:
    """Tell everything that is wrong with meter data; nothing is written.

    Exits with 1 if `fairwatt meter import` would refuse them.
    """
    findings = metering.check(file, _mapping(mapping), period_seconds=60 * minutes)
    faults = sum(finding.is_fault for finding in findings)
    if as_json:
        echo_json({"faults": faults, "findings": _documents(findings)})
    else:
        _show_findings(findings, MOST_ROWS, "; --json prints all")
        harmless = len(findings) - faults
        click.echo(f"{plural(faults, 'fault')}, {plural(harmless, 'other finding')}")
    if faults:
        raise click.exceptions.Exit(1)


@meter.command(
    epilog="""\b
Example:
  FAIRWATT_KEY=0x... fairwatt meter sign day.csv --market 1 --peer 7 \\
      --session 1893456000 --periods 96 --deployment D.json --out readings/7.json
"""
)
@_common
@click.option("--meter", "name", help="Which meter of the file, if it has several.")
@click.option("--market", type=_POSITIVE, required=True, help="Number of the market.")
@click.option("--peer", type=_POSITIVE, required=True, help="Whose meter it is.")
@click.option("--session", type=int, required=True, help="Its start, UTC Unix seconds.")
@click.option("--periods", type=_POSITIVE, required=True, help="Of a session of the market.")
@deployment_option()
@click.option(
    "--curve",
    type=click.Choice([str(curve) for curve in Curve]),
    default=str(Curve.SECP256K1),
    show_default=True,
    help="What the meter's key lies on.",
)
@click.option(
    "--allow-estimated", is_flag=True, help="Sign what is estimated, or suspect and kept, too."
)
@click.option("--out", type=_PATH, metavar="FILE", help="Write the signed reading to this file.")
@with_key
def sign(
    file: Path,
    mapping: Path | None,
    minutes: int,
    *,
    as_json: bool,  # noqa: ARG001 (the output is JSON in any case)
    name: str | None,
    market: int,
    peer: int,
    session: int,
    periods: int,
    deployment: Path,
    curve: str,
    allow_estimated: bool,
    out: Path | None,
    account: Callable[[], LocalAccount],
) -> None:
    """Sign a meter's readings of a session, as a gateway does.

    The key is the meter's, from a keystore or from an environment variable. Readings that are
    incomplete, faulty or estimated are not signed; with --allow-estimated they are estimated.
    """
    domain = Deployment.load(deployment).domain("settlement")
    data = metering.load(
        file,
        _mapping(mapping),
        period_seconds=60 * minutes,
        policy="estimate" if allow_estimated else "refuse",
    )
    if name is None:
        if len(data.meters) > 1:
            raise click.UsageError(f"{file} has {len(data.meters)} meters; name one with --meter.")
        (name,) = data.meters
    reading = reading_of(
        data,
        name,
        market=market,
        peer=peer,
        session_start=session,
        periods=periods,
        allow_estimated=allow_estimated,
    )
    key = account()
    signer = P256Meter.of(int.from_bytes(key.key)) if curve == Curve.P256 else key
    document = reading.signed_by(signer, domain).to_document()
    if out is None:
        echo_json(document)
    else:
        write(out, json.dumps(document, indent=2) + "\n")
    total = energy([sum(reading.energy_wh)])[0]
    click.echo(
        f"signed by {signer.address}: {plural(periods, 'period')}, {total} kWh"
        f"{'' if out is None else f', written to {printable(str(out))}'}",
        err=True,
    )


def _mapping(path: Path | None) -> metering.Mapping | None:
    return None if path is None else metering.Mapping.load(path)


def _moment(time: datetime | None) -> int | None:
    return None if time is None else int(time.replace(tzinfo=UTC).timestamp())


def _documents(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [finding.document() for finding in findings]


def _write_findings(path: Path | None, findings: Sequence[Finding]) -> None:
    if path is not None:
        write(path, json.dumps(_documents(findings), indent=2) + "\n")


def _document(data: IntervalData) -> dict[str, Any]:
    totals = data.energy_wh.sum(axis=1).tolist()
    estimated = data.estimated.sum(axis=1).tolist()
    return {
        "refused": False,
        "start": utc(data.start),
        "periodSeconds": data.period_seconds,
        "periods": data.periods,
        "channels": [
            {
                "meter": channel.meter,
                "direction": channel.direction,
                "energyWh": total,
                "estimatedPeriods": count,
            }
            for channel, total, count in zip(data.channels, totals, estimated, strict=True)
        ],
        "findings": _documents(data.findings),
    }


def _show(data: IntervalData) -> None:
    end = data.start + data.periods * data.period_seconds
    click.echo(
        f"periods    {data.periods:,} of {data.period_seconds // 60} minutes, {utc(data.start)} to "
        f"{utc(end)}\nmeters     {len(data.meters):,}"
    )
    directions = [channel.direction for channel in data.channels]
    for direction in dict.fromkeys(directions):
        rows = [at for at, each in enumerate(directions) if each == direction]
        total = energy([int(data.energy_wh[rows].sum())])[0]
        click.echo(f"{direction:10} {total} kWh")
    estimated = int(data.estimated.sum())
    share = estimated / data.estimated.size
    click.echo(f"estimated  {plural(estimated, 'period')} of {data.estimated.size:,} ({share:.2%})")
    _show_findings(data.findings, _MOST_FINDINGS, "; --findings writes all")


def _show_findings(findings: Sequence[Finding], most: int, rest: str) -> None:
    shown = findings[:most]
    echo_table(
        [
            Column("found", "", [each.kind for each in shown], is_text=True),
            Column("meter", "", [f"{each.meter} {each.direction}" for each in shown], is_text=True),
            Column("from", "UTC", [utc(each.start) for each in shown], is_text=True),
            Column("to", "UTC", [utc(each.end) for each in shown], is_text=True),
            Column("done", "", [each.action for each in shown], is_text=True),
            Column("what", "", [each.problem for each in shown], is_text=True),
        ],
        len(findings),
        rest,
    )
