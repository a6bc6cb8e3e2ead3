"""`fairwatt oracle`: the market day on a chain that stays."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fairwatt import files, jsontext
from fairwatt.chain import Chain, connect, signer_for
from fairwatt.cli._text import echo_json, json_option, printable, value
from fairwatt.deployment import Deployment
from fairwatt.errors import FairwattError, OrderError, ReadingError
from fairwatt.meter import SignedReading
from fairwatt.oracle import Oracle
from fairwatt.orders import SignedOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairwatt.oracle import Refusal

__all__ = ["load_folder", "oracle"]

_T = TypeVar("_T")


@click.group()
@click.option("--network", help="The chain, by Ape's name or its address.")
@click.option(
    "--deployment",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Deployment file, as written by `ape run deploy`.",
)
@click.option("--market", type=int, default=1, show_default=True, help="Number of the market.")
@click.option("--account", help="Who sends: an Ape account, or test:N on a local chain.")
@click.pass_context
def oracle(
    context: click.Context,
    network: str | None,
    deployment: Path | None,
    market: int,
    account: str | None,
) -> None:
    """Run the market day: check, clear, reconcile. A dry run unless told to --send.

    \b
    Example:
      fairwatt oracle --network http://127.0.0.1:8545 \\
        --deployment deployments/ethereum-local-foundry.json --account test:9 check
    """  # noqa: D301 - click reads the control character
    context.obj = lambda send: _connected(network, deployment, market, account, send)


@contextmanager
def _connected(
    network: str | None, deployment: Path | None, market: int, account: str | None, send: bool
) -> Iterator[Oracle]:
    # Not required of the group, or else no command of it could be asked for its --help.
    if network is None or deployment is None or account is None:
        raise click.UsageError("Give --network, --deployment and --account before the command.")
    where = Deployment.load(deployment)
    with connect(network):
        yield Oracle(Chain.of(where), market, signer_for(account), send)


@oracle.command()
@json_option
@click.pass_obj
def check(connected: Callable[[bool], Any], as_json: bool) -> None:
    """Look whether the oracle could do its work now; exit 1 if not."""
    with connected(False) as run:
        findings = run.check()
    if as_json:
        echo_json([{"ok": entry.ok, "text": entry.text} for entry in findings])
    else:
        for entry in findings:
            click.echo(f"{'ok ' if entry.ok else 'BAD'} {entry.text}")
    if not all(entry.ok for entry in findings):
        raise click.exceptions.Exit(1)


@oracle.command()
@click.option("--session", type=int, help="Its start; by default the last with a closed gate.")
@click.option(
    "--orders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of signed orders, *.json, as written by `fairwatt order sign`.",
)
@click.option("--send", is_flag=True, help="Send the clearing if the contract would accept it.")
@json_option
@click.pass_obj
def clear(
    connected: Callable[[bool], Any], session: int | None, orders: Path, send: bool, as_json: bool
) -> None:
    """Clear a session: collect, optimise, verify, ask the contract, and --send."""
    signed, unreadable = load_folder(orders, SignedOrder.from_document, OrderError)
    with connected(send) as run:
        terms = run.chain.snapshot().terms(run.market)
        if session is None:
            session = terms.next_open_session(run.chain.now()) - terms.session_seconds
        result = run.clear(session, signed)
    if result.proposal is None:
        _say(as_json, {"session": session, "cleared": True, "sent": False}, "is cleared already")
        return
    document = {
        "session": session,
        "cleared": result.receipt is not None,
        "sent": result.receipt is not None,
        "gasUsed": result.receipt.gas_used if result.receipt else None,
        "orders": len(result.proposal.orders),
        "welfare": [proof.welfare for proof in result.proofs],
        "refused": [*unreadable, *_refusals(result.refused)],
    }
    sent = f"sent, {result.receipt.gas_used:,} gas" if result.receipt else "not sent (dry run)"
    _say(
        as_json,
        document,
        f"clears {len(result.proposal.orders)} orders with welfare "
        f"{sum(proof.welfare for proof in result.proofs):,} nano-token; {sent}",
    )


@oracle.command()
@click.option(
    "--session",
    type=int,
    help="Its start; by default the last that is over, unless readings would be estimated.",
)
@click.option(
    "--readings",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help='Folder of signed readings, *.json: {"reading": {...}, "signature": "0x..."}.',
)
@click.option("--send", is_flag=True, help="Send the readings if the contract would accept them.")
@json_option
@click.pass_obj
def reconcile(
    connected: Callable[[bool], Any],
    session: int | None,
    readings: Path,
    send: bool,
    as_json: bool,
) -> None:
    """Settle signed readings against the positions of a session, and --send."""
    signed, unreadable = load_folder(readings, SignedReading.from_document, ReadingError)
    with connected(send) as run:
        terms = run.chain.snapshot().terms(run.market)
        named = session is not None
        if session is None:
            session = terms.session_at(run.chain.now()) - terms.session_seconds
        result = run.reconcile(session, signed, estimate=named)
    document = {
        "session": session,
        "sent": result.receipt is not None,
        "gasUsed": result.receipt.gas_used if result.receipt else None,
        "settled": [
            {
                "peer": row.peer,
                "imbalanceWh": list(row.energy_wh),
                "paymentNano": row.payment_nano,
                "estimated": row.estimated,
            }
            for row in result.settled
        ],
        "missing": list(result.missing),
        "refused": [*unreadable, *_refusals(result.refused)],
    }
    sent = f"sent, {result.receipt.gas_used:,} gas" if result.receipt else "not sent"
    _say(
        as_json,
        document,
        f"settles {len(result.settled)} readings and estimates, {len(result.missing)} readings "
        f"are missing; "
        f"{sent}",
    )


@oracle.command()
@click.option("--send", is_flag=True, help="Send for what can be paid.")
@json_option
@click.pass_obj
def collect(connected: Callable[[bool], Any], send: bool, as_json: bool) -> None:
    """Have debtors pay what they owe for imbalances, as far as they can now, and --send.

    Anyone may ask for it. What nobody can pay stays owed; `check` lists it.
    """
    with connected(send) as run:
        paid = run.collect_arrears()
    if as_json:
        echo_json(
            [
                {"debtor": debtor, "creditor": creditor, "amountNano": nano}
                for debtor, creditor, nano in paid
            ]
        )
        return
    for debtor, creditor, nano in paid:
        verb = "pays" if send else "can pay"
        click.echo(f"peer {debtor} {verb} peer {creditor} {value(nano)}")
    if not paid:
        click.echo("nothing can be collected")


def load_folder(
    folder: Path,
    read: Callable[[Any], _T],
    error: type[OrderError | ReadingError],
) -> tuple[list[_T], list[dict[str, Any]]]:
    """Read every document of a folder; one that is malformed does not stop the day."""
    loaded, unreadable = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            loaded.append(read(jsontext.parse(files.read(path), path.name, error)))
        except FairwattError as problem:
            unreadable.append({"file": path.name, "reason": str(problem)})
    return loaded, unreadable


def _refusals(refused: tuple[Refusal, ...]) -> list[dict[str, Any]]:
    return [{"peer": entry.peer, "nonce": entry.nonce, "reason": entry.reason} for entry in refused]


def _say(as_json: bool, document: dict[str, Any], summary: str) -> None:
    if as_json:
        echo_json(document)
        return
    click.echo(f"session {document['session']} {summary}")
    for entry in document.get("refused", ()):
        who = entry.get("file") or f"peer {entry['peer']}"
        click.echo(printable(f"  refused: {who}: {entry['reason']}"))
