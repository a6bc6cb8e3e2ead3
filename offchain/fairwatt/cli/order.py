"""`fairwatt order`: write, sign, check, place and cancel orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from fairwatt import jsontext
from fairwatt.cli._chain_options import account_option, deployment_option, network_option
from fairwatt.cli._signing import ADDRESS, already_json, echo_signed, with_domain, with_key
from fairwatt.cli._text import (
    FILE,
    MOST_ROWS,
    Column,
    echo_json,
    echo_table,
    energy,
    json_option,
    price,
    value,
)
from fairwatt.cli._verdict import reject
from fairwatt.deployment import Deployment
from fairwatt.eip712 import Domain
from fairwatt.errors import OrderError, SignatureError
from fairwatt.files import read
from fairwatt.market import Side
from fairwatt.orders import FlexibleOrder, Order, SignedOrder, Step, order_from_document
from fairwatt.units import moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eth_account.signers.local import LocalAccount

    from fairwatt.chain import Receipt

__all__ = ["order"]

_TEMPLATE: Final = Order(
    market=1,
    peer=1,
    session_start=1893456000,
    steps=(Step(0, Side.BID, 250_000, 1_000), Step(0, Side.BID, 150_000, 2_000)),
    nonce=0,
)
_FLEXIBLE_TEMPLATE: Final = FlexibleOrder(
    market=1,
    peer=1,
    session_start=1893456000,
    first_period=72,
    periods=24,
    charge_wh=1_850,
    discharge_wh=0,
    capacity_wh=20_000,
    start_wh=0,
    wanted_wh=20_000,
    value_micro_per_kwh=250_000,
    nonce=1,
)


@click.group(
    epilog="""\b
Examples:
  fairwatt order template > order.json
  fairwatt order sign order.json --deployment D.json --keystore key.json \\
      --out signed.json
  fairwatt order check signed.json --deployment D.json --wallet 0x...
  fairwatt order place signed.json --network URL --deployment D.json \\
      --account me --send
"""
)
def order() -> None:
    """Write, sign, check and place orders.

    An order is an EIP-712 message of one peer for one session of a market. Any wallet can sign
    it (typed-data), or this command (sign). Hand it to the community manager as a file, for free,
    or place it on chain: then every clearing must contain it.
    """


@order.command(
    epilog="""\b
Examples:
  fairwatt order template > order.json
  fairwatt order template --flexible > vehicle.json
"""
)
@click.option("--flexible", is_flag=True, help="For a vehicle or a storage, not in steps.")
@already_json
def template(*, flexible: bool) -> None:
    """Print an order to fill in.

    \b
    market        id of the market in the order book
    peer          id of the peer in the registry
    sessionStart  start of the session's first period, UTC Unix seconds
    nonce         tells the orders of a peer for one session apart
    steps         any number of prices and energies:
      period            number of the period in the session, from 0
      side              "bid" to buy, "ask" to sell
      priceMicroPerKWh  most to pay, least to receive; 1000000 is 1 token/kWh
      energyWh          most to trade at this price

    A flexible order has no steps. Instead:

    \b
    firstPeriod, periods  window in the session
    chargeWh, dischargeWh most to charge, to discharge, in a period
    capacityWh            most to hold
    wearMicroPerKWh       what discharging costs you: least difference of prices
    startWh               held at the start
    wantedWh              most to hold at the end that is of value to you
    valueMicroPerKWh      value of that; above all prices if you need it anyway
    """  # noqa: D301 - \b is click's, not an escape
    echo_json((_FLEXIBLE_TEMPLATE if flexible else _TEMPLATE).to_document())


@order.command(
    "typed-data",
    epilog="""\b
Example:
  fairwatt order typed-data order.json --chain-id 1 --contract 0x...
""",
)
@click.argument("order_path", metavar="ORDER", type=FILE)
@with_domain("order_book")
@already_json
def typed_data(order_path: Path, *, domain: Domain) -> None:
    """Print what a wallet signs, for eth_signTypedData_v4.

    The steps are packed into its curve. Put the signature that the wallet returns and the order
    together as {"order": ..., "signature": "0x..."}; `fairwatt order check` takes that.
    """
    echo_json(_read_order(order_path).typed_data(domain).to_document())


@order.command(
    epilog="""\b
Examples:
  fairwatt order sign order.json --deployment D.json --keystore key.json
  FAIRWATT_KEY=0x... fairwatt order sign order.json --deployment D.json
"""
)
@click.argument("order_path", metavar="ORDER", type=FILE)
@with_domain("order_book")
@with_key
@click.option("--out", type=FILE, help="Write the signed order to this file.")
@already_json
def sign(
    order_path: Path, *, domain: Domain, account: Callable[[], LocalAccount], out: Path | None
) -> None:
    """Sign an order with a key on this machine.

    The key comes from a keystore (as geth and most wallets write it) or from an environment
    variable, never from the command line. The signed order is printed as JSON, or written.
    """
    unsigned = _read_order(order_path)
    key = account()
    echo_signed(unsigned.signed_by(key, domain).to_document(), key, out)


@order.command(
    epilog="""\b
Example:
  fairwatt order check signed.json --deployment D.json --wallet 0x...
"""
)
@click.argument("signed_path", metavar="SIGNED", type=FILE)
@with_domain("order_book")
@click.option("--wallet", type=ADDRESS, help="The peer's wallet; exit with 1 if another signed.")
@json_option
def check(signed_path: Path, *, domain: Domain, wallet: str | None, as_json: bool) -> None:
    """Say who signed an order, and what it can cost.

    Whether the order is in time, its nonce unused and its peer registered, only the chain knows.
    Neither can it be told here whether a contract wallet (ERC-1271) accepts a signature.
    """
    text = read(signed_path)
    try:
        content = jsontext.parse(text, "signed order", OrderError)
        signed = SignedOrder.from_document(content)
        signer = _signer(signed, domain, wallet)
    except (OrderError, SignatureError) as error:
        reject(error, as_json=as_json)
    if as_json:
        echo_json(
            {
                "valid": True,
                "signer": signer,
                "worstCaseNano": signed.order.worst_case_nano,
                "order": signed.order.to_document(),
            }
        )
        return
    _show(signed.order, signer, wallet)


@order.command(
    epilog="""\b
Example:
  fairwatt order place signed.json --network http://127.0.0.1:8545 \\
      --deployment D.json --account me --send
"""
)
@click.argument("signed_path", metavar="SIGNED", type=FILE)
@network_option()
@deployment_option()
@account_option()
@click.option("--send", is_flag=True, help="Place it if the contract would accept it.")
@json_option
def place(
    signed_path: Path, *, network: str, deployment: Path, account: str, send: bool, as_json: bool
) -> None:
    """Place a signed order on chain: the clearing must then contain it.

    It costs a transaction, and the most that it can cost is locked until the session is cleared.
    Any account may bring it. Exit code 1 if the contract would not take it, with its reason.
    """
    signed = SignedOrder.from_document(
        jsontext.parse(read(signed_path), "signed order", OrderError)
    )
    if isinstance(signed.order, FlexibleOrder):
        raise OrderError("order", "is flexible, and those cannot be placed; hand it in")
    from fairwatt.chain import Chain, connect, signer_for  # noqa: PLC0415 - signing needs no chain

    with connect(network):
        chain, sender = Chain.of(Deployment.load(deployment)), signer_for(account)
        method, message = chain.contracts.order_book.place, signed.order.to_message()
        run = chain.send if send else chain.simulate
        receipt = run(method, message, signed.signature, sender=sender)
    locked = value(max(0, signed.order.worst_case_nano))
    _say_sent(as_json, receipt if send else None, f"locks {locked} of peer {signed.order.peer}")


@order.command()
@click.argument("order_path", metavar="ORDER", type=FILE)
@network_option()
@deployment_option()
@account_option()
@click.option("--send", is_flag=True, help="Cancel it if the contract would let you.")
@json_option
def cancel(
    order_path: Path, *, network: str, deployment: Path, account: str, send: bool, as_json: bool
) -> None:
    """Cancel an order until gate closure, placed or not, as the wallet of its peer.

    ORDER is the file of the order, signed or not.
    """
    content = jsontext.parse(read(order_path), "order", OrderError)
    if isinstance(content, dict) and "order" in content:
        content = content["order"]
    wanted = order_from_document(content)
    from fairwatt.chain import Chain, connect, signer_for  # noqa: PLC0415 - signing needs no chain

    with connect(network):
        chain, sender = Chain.of(Deployment.load(deployment)), signer_for(account)
        run = chain.send if send else chain.simulate
        terms = (wanted.market, wanted.session_start, wanted.nonce)
        receipt = run(chain.contracts.order_book.cancel, *terms, sender=sender)
    said = f"cancels nonce {wanted.nonce} for session {_time(wanted.session_start)}"
    _say_sent(as_json, receipt if send else None, said)


def _say_sent(as_json: bool, receipt: Receipt | None, said: str) -> None:
    if as_json:
        echo_json(
            {
                "sent": receipt is not None,
                "transaction": receipt.transaction if receipt else None,
                "gasUsed": receipt.gas_used if receipt else None,
            }
        )
        return
    sent = "not sent (dry run)" if receipt is None else f"sent, {receipt.gas_used:,} gas"
    click.echo(f"{said}; {sent}")


def _signer(signed: SignedOrder, domain: Domain, wallet: str | None) -> str:
    signer = signed.signer(domain)
    if wallet is not None and signer != wallet:
        raise SignatureError(
            f"signed by {signer}, not by {wallet}; or signed for another chain, contract or order"
        )
    return signer


def _read_order(path: Path) -> Order | FlexibleOrder:
    return order_from_document(jsontext.parse(read(path), "order", OrderError))


def _show(checked: Order | FlexibleOrder, signer: str, wallet: str | None) -> None:
    click.echo(f"signer      {signer}{'' if wallet is None else ', the wallet'}")
    click.echo(f"order       market {checked.market}, peer {checked.peer}, nonce {checked.nonce}")
    click.echo(f"session     {_time(checked.session_start)}")
    click.echo(f"worst case  pays {value(checked.worst_case_nano)}\n")
    if isinstance(checked, FlexibleOrder):
        for name, term in list(checked.to_document().items())[4:]:
            click.echo(f"{name:16}  {term}")
        return
    steps = checked.steps[:MOST_ROWS]
    echo_table(
        [
            Column("period", "", [str(step.period) for step in steps]),
            Column("side", "", [step.side.name.lower() for step in steps], is_text=True),
            Column("limit", "token/kWh", price(step.price_micro_per_kwh for step in steps)),
            Column("energy", "kWh", energy(step.energy_wh for step in steps)),
        ],
        len(checked.steps),
        "; --json has all of them",
    )


def _time(seconds: int) -> str:
    return f"{moment(seconds)} ({seconds})"
