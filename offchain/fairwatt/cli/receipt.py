"""`fairwatt receipt`: look at what a community manager promised, and hold it to it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from fairwatt import jsontext
from fairwatt.cli._chain_options import account_option, deployment_option, network_option
from fairwatt.cli._text import FILE, echo_json, json_option, plural, wei
from fairwatt.cli._verdict import reject
from fairwatt.deployment import Deployment
from fairwatt.eip712 import checksummed
from fairwatt.errors import ContractError, FairwattError, OrderError, ReceiptError
from fairwatt.files import read
from fairwatt.orders import SignedOrder
from fairwatt.receipts import SignedReceipt
from fairwatt.units import moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fairwatt.chain import Chain, Snapshot

__all__ = ["receipt"]

_order_option = click.option(
    "--order", "order_path", type=FILE, required=True, help="The signed order it is for."
)


@click.group(
    epilog="""\b
Examples:
  fairwatt receipt check receipt.json --order signed.json --deployment D.json
  fairwatt receipt challenge receipt.json --order signed.json \\
      --deployment D.json --network http://127.0.0.1:8545 --account me --send
"""
)
def receipt() -> None:
    """Check receipts, and claim what a broken one costs.

    A community manager answers an order that it takes with a signed receipt. It promises that the
    order is in the clearing of its session; if it is not, the manager's bond pays.
    """


@receipt.command()
@click.argument("receipt_path", metavar="RECEIPT", type=FILE)
@_order_option
@deployment_option()
@click.option("--manager", help="Who must have signed it; with --network the chain says that.")
@click.option("--network", help="Ask the chain too: its name in Ape, or its address.")
@json_option
def check(
    receipt_path: Path,
    *,
    order_path: Path,
    deployment: Path,
    manager: str | None,
    network: str | None,
    as_json: bool,
) -> None:
    """Say who signed a receipt, and with --network what it is worth.

    Keep the receipt and the signed order: both are needed to claim.
    """
    where = Deployment.load(deployment)
    if manager is not None and (manager := checksummed(manager)) is None:
        raise click.UsageError("--manager must be an address.")
    content = (read(receipt_path), read(order_path))
    try:
        answer, signed = _documents(*content)
        state: dict[str, Any] = {}
        if network is not None:
            with _connected(network, where) as chain:
                state = _worth(chain, answer)
            manager = manager or state["manager"]
        signer = answer.require_for(signed, where.domain("bonds"), manager)
        if state:
            _require_binding(answer, state)
    except FairwattError as error:
        reject(error, as_json=as_json)
    document = {"valid": True, "signer": signer, "receipt": answer.receipt.to_document(), **state}
    if as_json:
        echo_json(document)
        return
    promise = answer.receipt
    click.echo(f"signer      {signer}{'' if manager is None else ', the manager'}")
    click.echo(f"promises    market {promise.market}, peer {promise.peer}, nonce {promise.nonce}")
    click.echo(
        f"            in the clearing of session {promise.session_start}, "
        f"{moment(promise.session_start)}"
    )
    click.echo(f"issued at   {moment(promise.issued_at)}")
    if state:
        click.echo(
            f"bond        {wei(state['bondWei'])}, of which {wei(state['securedWei'])} stay; "
            f"a breach costs {wei(state['penaltyWei'])}"
        )
        click.echo(f"challenge   until {moment(state['challengeDeadline'])}")
        click.echo(f"state       {state['state']}")


@receipt.command()
@click.argument("receipt_path", metavar="RECEIPT", type=FILE)
@_order_option
@deployment_option()
@network_option()
@account_option()
@click.option("--send", is_flag=True, help="Send the challenge if the contract would pay.")
@json_option
def challenge(
    receipt_path: Path,
    *,
    order_path: Path,
    deployment: Path,
    network: str,
    account: str,
    send: bool,
    as_json: bool,
) -> None:
    """Claim for a receipt whose order is missing; a dry run unless told to --send.

    What is in the clearing is read from its calldata. Anyone may do this: the peer is compensated,
    whoever sends it is rewarded. Exit code 1 if the contract would not pay, with its reason.
    """
    from fairwatt.chain import signer_for  # noqa: PLC0415 - loads Ape

    where = Deployment.load(deployment)
    content = (read(receipt_path), read(order_path))
    try:
        answer, signed = _documents(*content)
        answer.require_for(signed, where.domain("bonds"))
    except FairwattError as error:
        reject(error, as_json=as_json)
    with _connected(network, where) as chain:
        signer = signer_for(account)
        orders = len(chain.snapshot().order_hashes(signed.order.market, signed.order.session_start))
        try:
            sent = chain.challenge(signed, answer, signer, dry_run=not send)
        except ContractError as error:
            reject(error, as_json=as_json)
    paid = sent.events[0] if sent is not None else None
    document = {
        "sent": sent is not None,
        "gasUsed": sent.gas_used if sent else None,
        "ordersInClearing": orders,
        "compensationWei": None,
        "rewardWei": None,
    }
    if paid is not None:
        document |= {"compensationWei": paid.compensationWei, "rewardWei": paid.rewardWei}
    if as_json:
        echo_json(document)
        return
    click.echo(f"the order is none of the {plural(orders, 'order')} in the clearing")
    if sent is None or paid is None:
        click.echo("the contract would pay; not sent (dry run)")
    else:
        click.echo(
            f"sent, {sent.gas_used:,} gas: {wei(paid.compensationWei)} to peer "
            f"{paid.peer}, {wei(paid.rewardWei)} to {paid.challenger}"
        )


def _documents(receipt_text: bytes, order_text: bytes) -> tuple[SignedReceipt, SignedOrder]:
    answer = SignedReceipt.from_document(jsontext.parse(receipt_text, "receipt", ReceiptError))
    signed = SignedOrder.from_document(jsontext.parse(order_text, "signed order", OrderError))
    return answer, signed


@contextmanager
def _connected(network: str, where: Deployment) -> Iterator[Chain]:
    from fairwatt.chain import Chain, connect  # noqa: PLC0415 - loads Ape

    with connect(network):
        yield Chain.of(where)


def _worth(chain: Chain, answer: SignedReceipt) -> dict[str, Any]:
    """What stands behind a receipt now."""
    promise, snapshot = answer.receipt, chain.snapshot()
    terms = snapshot.terms(promise.market)
    bond = snapshot.bond(terms.manager)
    opens, gate = snapshot.book_times(promise.market, promise.session_start)
    claim = snapshot.claim(promise.market, promise.session_start, promise.peer)
    return {
        "manager": terms.manager,
        "exclusiveWindowSeconds": terms.exclusive_window_seconds,
        "bookOpens": opens,
        "gateClosure": gate,
        "bondWei": bond.amount_wei,
        "securedWei": bond.secured_wei,
        "penaltyWei": bond.penalty_wei,
        "challengeDeadline": snapshot.challenge_deadline(promise.market, promise.session_start),
        "state": _state(snapshot, answer, claim.name.lower()),
    }


def _state(snapshot: Snapshot, answer: SignedReceipt, claim: str) -> str:
    promise = answer.receipt
    if claim != "open":
        return claim
    if not snapshot.is_cleared(promise.market, promise.session_start):
        return "not cleared"
    hashes = snapshot.order_hashes(promise.market, promise.session_start)
    return "kept" if promise.order_hash in hashes else "missing"


def _require_binding(answer: SignedReceipt, state: dict[str, Any]) -> None:
    issued, opens, gate = answer.receipt.issued_at, state["bookOpens"], state["gateClosure"]
    if not state["exclusiveWindowSeconds"]:
        raise ReceiptError("receipt", "binds nobody: its market has no exclusive window")
    if not opens <= issued < gate:
        problem = f"binds nobody: the book is open from {opens} to {gate - 1}, not at {issued}"
        raise ReceiptError("receipt.issuedAt", problem)
