"""`fairwatt move`: accounts to the ledger of a newer deployment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fairwatt import jsontext
from fairwatt.chain import Chain, connect, signer_for
from fairwatt.cli._chain_options import account_option, network_option
from fairwatt.cli._signing import already_json, echo_signed, with_key
from fairwatt.cli._text import FILE, echo_json, json_option, printable
from fairwatt.deployment import Deployment
from fairwatt.errors import ContractError, FairwattError, SignatureError
from fairwatt.files import read
from fairwatt.moves import Move, SignedMove
from fairwatt.units import NANO, moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from eth_account.signers.local import LocalAccount

    from fairwatt.chain import Signer

__all__ = ["move"]

_DAYS_VALID: Final = 30
_UINT32_MAX: Final = 2**32 - 1


@click.group(
    epilog="""\b
Examples:
  fairwatt move sign 5 --from old.json --to new.json --account 7 --out moves/5.json
  fairwatt move send moves/ --from old.json --network http://127.0.0.1:8545 --account test:9
"""
)
def move() -> None:
    """Move accounts to a newer deployment: each as its own wallet signs."""


@move.command()
@click.argument("peer", type=click.IntRange(1, _UINT32_MAX))
@click.option("--from", "old", type=FILE, required=True, help="Deployment that is left.")
@click.option("--to", "new", type=FILE, required=True, help="Deployment that takes over.")
@click.option(
    "--account",
    "number",
    type=click.IntRange(0, _UINT32_MAX),
    required=True,
    help="Number of the account there; 0 is the community fund.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=_DAYS_VALID,
    show_default=True,
    help="How long the signature is good for.",
)
@with_key
@click.option("--out", type=FILE, help="Write the signed move to this file.")
@already_json
def sign(
    peer: int,
    *,
    old: Path,
    new: Path,
    number: int,
    days: int,
    account: Callable[[], LocalAccount],
    out: Path | None,
) -> None:
    """Agree that all that PEER can withdraw goes to its account in another deployment."""
    here, there = Deployment.load(old), Deployment.load(new)
    if here.chain_id != there.chain_id:
        raise SignatureError(
            f"{old} is on chain {here.chain_id}, {new} on {there.chain_id}; accounts move within "
            "a chain"
        )
    until = datetime.now(UTC) + timedelta(days=days)
    wanted = Move(peer, there.addresses["ledger"], number, int(until.timestamp()))
    key = account()
    echo_signed(wanted.signed_by(key, here.domain("ledger")).to_document(), key, out)
    click.echo(f"good until {until:%Y-%m-%d}", err=True)


@move.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--from", "old", type=FILE, required=True, help="Deployment that is left.")
@network_option()
@account_option()
@json_option
def send(folder: Path, *, old: Path, network: str, account: str, as_json: bool) -> None:
    """Ask for the moves in FOLDER, *.json; run again, carry out those that have waited.

    Exit code 1 if any of them is refused.
    """
    states = []
    with connect(network):
        chain, signer = Chain.of(Deployment.load(old)), signer_for(account)
        for path in sorted(folder.glob("*.json")):
            try:
                content = jsontext.parse(read(path), path.name, SignatureError)
                state = _advance(chain, SignedMove.from_document(content), signer)
            except FairwattError as error:
                states.append({"file": path.name, "refused": True, "state": str(error)})
            else:
                states.append({"file": path.name, "refused": False, "state": state})
    if as_json:
        echo_json(states)
    else:
        for entry in states:
            click.echo(printable(f"{entry['file']}: {entry['state']}"))
        if not states:
            click.echo(f"no *.json in {folder}")
    if any(entry["refused"] for entry in states):
        raise click.exceptions.Exit(1)


def _advance(chain: Chain, signed: SignedMove, signer: Signer) -> str:
    """Do what is next for a move, and say what that was."""
    ledger, wanted = chain.contracts.ledger, signed.move
    to = ledger.moveOf(wanted.peer)
    if (str(to.successor), int(to.toAccount)) != (wanted.successor, wanted.account):
        request, message = ledger.requestMove, wanted.to_message()
        try:
            receipt = chain.send(request, message, signed.signature, sender=signer)
        except ContractError as error:
            if error.name == "MoveUsed":
                return "was carried out, or taken back by its wallet"
            raise
        requested = next(log for log in receipt.events if log.event_name == "WithdrawalRequested")
        return f"asked for, can be carried out from {moment(requested.availableFrom)} on"
    account = chain.snapshot().account(wanted.peer)
    ready = account.withdrawal_requested_at + int(ledger.WITHDRAWAL_DELAY_SECONDS())
    if chain.now() < ready:
        return f"waits until {moment(ready)}"
    receipt = chain.send(ledger.completeMove, wanted.peer, sender=signer)
    moved = next(log for log in receipt.events if log.event_name == "Moved")
    return f"moved {moved.amountNano / NANO:,.9f} token to account {moved.account}"
