"""`fairwatt reconcile`: settlement runs of a session, and every balance checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fairwatt.audit import audit
from fairwatt.chain import Chain, connect, signer_for
from fairwatt.cli._chain_options import (
    account_option,
    deployment_option,
    folder_option,
    network_option,
)
from fairwatt.cli._folder import load_folder
from fairwatt.cli._text import echo_json, json_option, plural, printable, value
from fairwatt.deployment import Deployment
from fairwatt.errors import ReadingError
from fairwatt.files import write
from fairwatt.meter import SignedReading
from fairwatt.oracle import Oracle
from fairwatt.settlement import settle, unlike_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairwatt.audit import Audit

__all__ = ["reconcile"]

_MOST_DIFFERENCES: Final = 50


@click.command(
    epilog="""\b
Examples:
  fairwatt reconcile 1 1893456000 --readings readings/ --network URL \\
      --deployment D.json --account settler --report initial.json --send
  fairwatt reconcile 1 1893456000 --readings readings/ --final --send ...
  fairwatt reconcile --check --network URL --deployment D.json
"""
)
@click.argument("market", type=int, required=False)
@click.argument("session", type=int, required=False)
@network_option()
@deployment_option()
@account_option(required=False)
@folder_option("--readings", "signed readings", written_by="meter sign", required=False)
@click.option("--final", is_flag=True, help="The final run: nothing is held back any more.")
@click.option("--send", is_flag=True, help="Send the readings if the contract would accept them.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what the run did, as JSON.",
)
@click.option(
    "--check",
    "checks",
    is_flag=True,
    help="Settle nothing: recompute every balance from the history of the chain, and compare.",
)
@json_option
def reconcile(
    market: int | None,
    session: int | None,
    *,
    network: str,
    deployment: Path,
    account: str | None,
    readings: Path | None,
    final: bool,
    send: bool,
    report: Path | None,
    checks: bool,
    as_json: bool,
) -> None:
    """Settle a session with what its meters signed, or check every balance.

    The initial run comes after delivery. It settles the readings in the folder, holds back what
    can hardly be true, and after the reading window estimates what is missing. The final run
    comes before the settlement deadline: late readings replace estimates, and nothing is held
    back. MARKET is its number, SESSION its start (UTC Unix seconds).

    With --check every account is recomputed from deposits, withdrawals, moves, and the calldata
    of clearings, continuous trades and reconciliations; signatures and proofs are checked again.
    If SESSION and --readings are given too, what was settled is compared with the readings. Exits
    with 1 if anything differs.
    """
    if (market is None) != (session is None) or (not checks and session is None):
        raise click.UsageError("Give MARKET and SESSION, or --check alone.")
    if checks and (send or final or report):
        raise click.UsageError("--check settles nothing: leave out --send, --final, --report.")
    if not checks and (readings is None or account is None):
        raise click.UsageError("A settlement run needs --readings and --account.")
    signed, unreadable = (
        ({}, [])
        if readings is None
        else load_folder(readings, SignedReading.from_document, ReadingError)
    )
    where = Deployment.load(deployment)
    with connect(network):
        chain = Chain.of(where)
        if checks:
            result = audit(chain)
            unlike = []
            if market is not None and session is not None and readings is not None:
                unlike = unlike_files(result, market, session, signed.values())
            _show_check(result, unlike, as_json=as_json)
            return
        oracle = Oracle(chain, market or 0, signer_for(account or ""), send)
        settled = settle(oracle, session or 0, signed.values(), final=final)
    document = settled.to_document()
    document["refused"] = [*unreadable, *document["refused"]]
    if report is not None:
        write(report, json.dumps(document, indent=2) + "\n")
    if as_json:
        echo_json(document)
        return
    _show_run(document)
    if report is not None:
        click.echo(f"written    {printable(str(report))}")


def _show_run(document: Mapping[str, Any]) -> None:
    sent = "sent" if document["sent"] else "not sent"
    before = len(document["settledBefore"])
    replaced = sum(row["replacesEstimate"] for row in document["settled"])
    click.echo(
        f"session {document['session']}, {document['run']} run: "
        f"{plural(len(document['settled']), 'reading')} settled"
        f"{f', {replaced} in place of an estimate' if replaced else ''}"
        f"{f', {before} before' if before else ''}, "
        f"{len(document['estimated'])} estimated, {len(document['held'])} held back, "
        f"{len(document['missing'])} missing; {sent}"
    )
    for row in document["settled"]:
        note = ", in place of its estimate" if row["replacesEstimate"] else ""
        click.echo(f"  peer {row['peer']} {_paid(row['paymentNano'])}{note}")
    for row in document["estimated"]:
        click.echo(f"  estimated: peer {row['peer']} {_paid(row['paymentNano'])}")
    for kind in ("held", "refused"):
        for entry in document[kind]:
            who = entry.get("file") or f"peer {entry['peer']}"
            click.echo(printable(f"  {kind}: {who}: {entry['reason']}"))
    for row in document["arrears"]:
        owed = value(row["amountNano"])
        click.echo(f"  arrears: peer {row['debtor']} owes peer {row['creditor']} {owed}")


def _show_check(result: Audit, unlike: list[str], *, as_json: bool) -> None:
    if as_json:
        echo_json(
            {
                "block": result.block,
                "accounts": result.peers,
                "from": dict(result.counts),
                "differences": [
                    {
                        "where": entry.where,
                        "what": entry.what,
                        "onChain": entry.on_chain,
                        "recomputed": entry.recomputed,
                        "transaction": entry.transaction or None,
                    }
                    for entry in result.differences
                ],
                "readings": unlike,
            }
        )
    else:
        made = [plural(count, what.removesuffix("s")) for what, count in result.counts.items()]
        click.echo(
            f"{plural(result.peers, 'account')} and the fund, recomputed from "
            f"{', '.join(made) or 'nothing'}"
        )
        for difference in result.differences[:_MOST_DIFFERENCES]:
            click.echo(printable(f"BAD {difference}"))
        if (more := len(result.differences) - _MOST_DIFFERENCES) > 0:
            click.echo(f"... and {more} more; --json prints all")
        for line in unlike:
            click.echo(f"BAD {line}")
        if not result.differences and not unlike:
            click.echo("ok  every balance is what follows from the history")
    if result.differences or unlike:
        raise click.exceptions.Exit(1)


def _paid(nano: int) -> str:
    if nano == 0:
        return "was as it had traded"
    return f"{'receives' if nano > 0 else 'is charged'} {value(abs(nano))}"
