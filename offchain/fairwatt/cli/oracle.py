"""`fairwatt oracle`: the market day on a chain that stays."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairwatt import files
from fairwatt.chain import Chain, connect, signer_for
from fairwatt.cli._chain_options import (
    account_option,
    deployment_option,
    folder_option,
    network_option,
)
from fairwatt.cli._folder import load_folder
from fairwatt.cli._text import echo_json, json_option, plural, printable, value, wei
from fairwatt.continuous import SignedContinuousOrder
from fairwatt.deployment import Deployment
from fairwatt.errors import FileError, OracleError, OrderError, ReadingError, ReceiptError
from fairwatt.meter import SignedReading
from fairwatt.oracle import Oracle
from fairwatt.orders import SignedOrder
from fairwatt.receipts import SignedReceipt
from fairwatt.units import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairwatt.oracle import Refusal

__all__ = ["oracle"]

_RECEIPTS = "receipts"
"""Folder in that of the orders."""


@click.group()
@network_option(required=False)
@deployment_option(required=False)
@click.option("--market", type=int, default=1, show_default=True, help="Number of the market.")
@account_option(required=False)
@click.option(
    "--most-flexible",
    type=click.IntRange(0),
    help="Flexible orders that are taken for a session; by default as many as 2^24 gas prove.",
)
@click.pass_context
def oracle(
    context: click.Context,
    network: str | None,
    deployment: Path | None,
    *,
    market: int,
    account: str | None,
    most_flexible: int | None,
) -> None:
    """Run the market day: check, receipts, clear, reconcile. A dry run unless told to --send.

    \b
    Example:
      fairwatt oracle --network http://127.0.0.1:8545 \\
        --deployment deployments/ethereum-local-foundry.json --account test:9 check
    """  # noqa: D301 - click reads the control character
    settings = {"market": market, "most_flexible": most_flexible}
    context.obj = lambda send: _connected(network, deployment, account, send=send, **settings)


@contextmanager
def _connected(
    network: str | None, deployment: Path | None, account: str | None, **settings: Any
) -> Iterator[Oracle]:
    # Not required of the group, or else no command of it could be asked for its --help.
    if network is None or deployment is None or account is None:
        raise click.UsageError("Give --network, --deployment and --account before the command.")
    where = Deployment.load(deployment)
    with connect(network):
        yield Oracle(Chain.of(where), signer=signer_for(account), **settings)


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
@folder_option("--orders", "signed orders", written_by="order sign")
@click.option("--send", is_flag=True, help="Send the clearing if the contract would accept it.")
@json_option
@click.pass_obj
def clear(
    connected: Callable[[bool], Any], session: int | None, orders: Path, send: bool, as_json: bool
) -> None:
    """Clear a session: collect, optimise, verify, ask the contract, and --send.

    Orders with a receipt (ORDERS/receipts/) come first. A peer whose order no clearing can hold, as
    it emptied its account, is excused on chain before the clearing is sent.
    """
    signed, unreadable = load_folder(orders, SignedOrder.from_document, OrderError)
    with connected(send) as run:
        terms = run.chain.snapshot().terms(run.market)
        if session is None:
            after = terms.next_open_session(run.chain.now())
            session = _one_before(after, run, "whose gate is closed")
        result = run.clear(session, signed.values(), _issued(orders).values())
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
        "excused": _refusals(result.excused),
    }
    sent = f"sent, {result.receipt.gas_used:,} gas" if result.receipt else "not sent (dry run)"
    _say(
        as_json,
        document,
        f"clears {plural(len(result.proposal.orders), 'order')} with welfare "
        f"{sum(proof.welfare for proof in result.proofs):,} nano-token; {sent}",
    )


@oracle.command()
@click.option("--session", type=int, help="Its start; by default the next with an open gate.")
@folder_option("--orders", "signed orders", written_by="order sign")
@click.option("--send", is_flag=True, help="Sign and write the receipts.")
@json_option
@click.pass_obj
def receipts(
    connected: Callable[[bool], Any], session: int | None, orders: Path, send: bool, as_json: bool
) -> None:
    """Answer orders with receipts, as the market's manager, and --send.

    The receipt for ORDERS/NAME.json is written to ORDERS/receipts/NAME.json; hand it to the peer.
    An order that has one keeps it. A receipt promises that the order will be in the clearing: run
    `clear` with the same folder, in the exclusive window, or the bond pays.
    """
    by_file, unreadable = load_folder(orders, SignedOrder.from_document, OrderError)
    issued = _issued(orders)
    with connected(send) as run:
        if session is None:
            session = run.chain.snapshot().terms(run.market).next_open_session(run.chain.now())
        result = run.issue(session, by_file.values(), issued.values())
    answers = {signed.order.struct_hash: answer for signed, answer in result.answered}
    new = {
        name: answers[signed.order.struct_hash]
        for name, signed in by_file.items()
        if signed.order.struct_hash in answers and name not in issued
    }
    if send:
        (orders / _RECEIPTS).mkdir(exist_ok=True)
        for name, answer in new.items():
            path = orders / _RECEIPTS / name
            files.write(path, json.dumps(answer.to_document(), indent=2) + "\n")
    document = {
        "session": session,
        "sent": send,
        "answered": len(result.answered),
        "new": sorted(new),
        "refused": [*unreadable, *_refusals(result.refused)],
    }
    written = f"written to {orders / _RECEIPTS}" if send else "not written (dry run)"
    _say(
        as_json,
        document,
        f"takes {len(result.answered)} orders, {len(new)} new receipts; {written}",
    )


@oracle.command()
@click.option("--deposit", type=click.IntRange(1), help="Add so many wei of the token to it.")
@click.option("--withdraw", type=click.IntRange(0), help="Request to withdraw so many wei.")
@click.option("--collect", is_flag=True, help="Take what was requested, after its delay.")
@click.option("--send", is_flag=True, help="Send it.")
@json_option
@click.pass_obj
def bond(
    connected: Callable[[bool], Any],
    *,
    deposit: int | None,
    withdraw: int | None,
    collect: bool,
    send: bool,
    as_json: bool,
) -> None:
    """Show the account's bond, which broken receipts are paid from, or change it."""
    if sum([deposit is not None, withdraw is not None, collect]) > 1:
        raise click.UsageError("Give one of --deposit, --withdraw and --collect.")
    with connected(send) as run:
        chain, signer = run.chain, run.signer
        token, bonds = chain.contracts.token, chain.contracts.bonds
        if send and deposit is not None:
            chain.send(token.approve, bonds, deposit, sender=signer)
            chain.send(bonds.deposit, signer.address, deposit, sender=signer)
        elif send and withdraw is not None:
            chain.send(bonds.requestWithdrawal, withdraw, sender=signer)
        elif send and collect:
            chain.send(bonds.withdraw, sender=signer)
        state = chain.snapshot().bond(signer.address)
    document = {
        "manager": signer.address,
        "sent": send and (deposit, withdraw, collect) != (None, None, False),
        "bondWei": state.amount_wei,
        "requestedWei": state.requested_wei,
        "availableFrom": state.available_from,
        "securedWei": state.secured_wei,
        "penaltyWei": state.penalty_wei,
    }
    if as_json:
        echo_json(document)
        return
    click.echo(f"bond of {signer.address}: {wei(state.amount_wei)}")
    if state.requested_wei:
        click.echo(
            f"  of which {wei(state.requested_wei)} may leave from {state.available_from} on"
        )
    click.echo(f"  secures {wei(state.secured_wei)}; a breach costs {wei(state.penalty_wei)}")


@oracle.command()
@click.option(
    "--session",
    type=int,
    help="Its start; by default the last that is over, unless readings would be estimated.",
)
@folder_option("--readings", "signed readings", written_by="meter sign")
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
            after = terms.session_at(run.chain.now())
            session = _one_before(after, run, "that is over")
        result = run.reconcile(session, signed.values(), estimate=named)
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
@folder_option("--orders", "signed orders", written_by="trade sign")
@click.option("--send", is_flag=True, help="Send the trades that the contract would accept.")
@json_option
@click.pass_obj
def trade(connected: Callable[[bool], Any], orders: Path, send: bool, as_json: bool) -> None:
    """Match continuous orders by price and time, ask the contract, and --send.

    Orders arrived in the sequence of their files' names.
    """
    signed, unreadable = load_folder(orders, SignedContinuousOrder.from_document, OrderError)
    with connected(send) as run:
        result = run.trade(signed.values())
    gas = sum(receipt.gas_used for receipt in result.receipts)
    document = {
        "sent": bool(result.receipts),
        "gasUsed": gas or None,
        "trades": [pair.to_document() for pair in result.pairs],
        "refused": [*unreadable, *_refusals(result.refused)],
    }
    sent = f"sent, {gas:,} gas" if result.receipts else "not sent"
    _say(
        as_json, document, f"market {run.market} trades {plural(len(result.pairs), 'pair')}; {sent}"
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


def _issued(orders: Path) -> dict[str, SignedReceipt]:
    """The receipts beside the orders of a folder; none may be lost, so none may be unreadable."""
    issued, unreadable = load_folder(orders / _RECEIPTS, SignedReceipt.from_document, ReceiptError)
    if unreadable:
        raise FileError(
            str(orders / _RECEIPTS / unreadable[0]["file"]),
            f"is no receipt: {unreadable[0]['reason']}; mend it or move it away",
        )
    return issued


def _one_before(start: int, run: Oracle, which: str) -> int:
    """The session before that of `start`, unless it was before the market."""
    snapshot = run.chain.snapshot()
    first = snapshot.first_session(run.market)
    if start <= first:
        raise OracleError(
            f"market {run.market} has no session yet {which}; its first begins at {moment(first)}"
        )
    return start - snapshot.terms(run.market).session_seconds


def _refusals(refused: tuple[Refusal, ...]) -> list[dict[str, Any]]:
    return [{"peer": entry.peer, "nonce": entry.nonce, "reason": entry.reason} for entry in refused]


def _say(as_json: bool, document: dict[str, Any], summary: str) -> None:
    if as_json:
        echo_json(document)
        return
    click.echo(f"session {document['session']} {summary}" if "session" in document else summary)
    for kind in ("refused", "excused"):
        for entry in document.get(kind, ()):
            who = entry.get("file") or f"peer {entry['peer']}"
            click.echo(printable(f"  {kind}: {who}: {entry['reason']}"))
