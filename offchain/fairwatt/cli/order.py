"""`fairwatt order`: write, sign and check orders."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click
from eth_account import Account
from eth_utils.exceptions import ValidationError

from fairwatt import jsontext
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
from fairwatt.eip712 import Domain, checksummed
from fairwatt.errors import FileError, OrderError, SignatureError
from fairwatt.files import read, write
from fairwatt.market import Side
from fairwatt.orders import FlexibleOrder, Order, SignedOrder, Step, order_from_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eth_account.signers.local import LocalAccount

__all__ = ["order"]

_KEY_ENV: Final = "FAIRWATT_KEY"
_PRIVATE_KEY_BYTES: Final = 32
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
_BROKEN_KEYSTORE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""What eth_keyfile ends with if a keystore is not one."""


class _Address(click.ParamType):
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if (address := checksummed(value)) is None:
            self.fail(f"{value!r} is not an address, or has a wrong checksum.", param, ctx)
        return address


_ADDRESS: Final = _Address()
_already_json = click.option(
    "--json", is_flag=True, expose_value=False, help="The output is JSON in any case."
)


def _with_domain(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the order book that orders are signed for."""

    @click.option("--chain-id", type=click.IntRange(0, (1 << 64) - 1), help="Id of the chain.")
    @click.option("--contract", type=_ADDRESS, help="Address of the order book.")
    @click.option(
        "--deployment", type=FILE, help="Deployment file that says both, from deployments/."
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        chain_id: int | None,
        contract: str | None,
        deployment: Path | None,
        **kwargs: Any,
    ) -> None:
        if deployment is not None:
            if chain_id is not None or contract is not None:
                raise click.UsageError(
                    "--deployment says what --chain-id and --contract say; give one or the other."
                )
            domain = Deployment.load(deployment).order_book
        elif chain_id is None or contract is None:
            raise click.UsageError("Give --chain-id and --contract, or --deployment.")
        else:
            domain = Domain(chain_id, contract)
        command(*args, domain=domain, **kwargs)

    return wrapped


@click.group(
    epilog="""\b
Examples:
  fairwatt order template > order.json
  fairwatt order sign order.json --deployment D.json --keystore key.json \\
      --out signed.json
  fairwatt order check signed.json --deployment D.json --wallet 0x...
"""
)
def order() -> None:
    """Write, sign and check orders.

    An order is an EIP-712 message of one peer for one session of a market. Any wallet can sign
    it (typed-data), or this command (sign).
    """


@order.command(
    epilog="""\b
Examples:
  fairwatt order template > order.json
  fairwatt order template --flexible > vehicle.json
"""
)
@click.option("--flexible", is_flag=True, help="For a vehicle or a storage, not in steps.")
@_already_json
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
@_with_domain
@_already_json
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
@_with_domain
@click.option("--keystore", type=FILE, help="Encrypted key file; its password is asked for.")
@click.option("--password-file", type=FILE, help="Take the password from its first line.")
@click.option(
    "--key-env",
    metavar="NAME",
    help=f"Environment variable with a raw key, if there is no keystore [default: {_KEY_ENV}].",
)
@click.option("--out", type=FILE, help="Write the signed order to this file.")
@_already_json
def sign(
    order_path: Path,
    *,
    domain: Domain,
    keystore: Path | None,
    password_file: Path | None,
    key_env: str | None,
    out: Path | None,
) -> None:
    """Sign an order with a key on this machine.

    The key comes from a keystore (as geth and most wallets write it) or from an environment
    variable, never from the command line. The signed order is printed as JSON, or written.
    """
    if keystore is not None and key_env is not None:
        raise click.UsageError("Give --keystore or --key-env, not both.")
    if password_file is not None and keystore is None:
        raise click.UsageError("--password-file belongs to --keystore.")
    unsigned = _read_order(order_path)
    account = (
        _from_environment(key_env or _KEY_ENV)
        if keystore is None
        else _from_keystore(keystore, password_file)
    )
    document = unsigned.signed_by(account, domain).to_document()
    if out is None:
        echo_json(document)
    else:
        write(out, json.dumps(document, indent=2) + "\n")
    click.echo(
        f"signed by {account.address}{'' if out is None else f', written to {out}'}", err=True
    )


@order.command(
    epilog="""\b
Example:
  fairwatt order check signed.json --deployment D.json --wallet 0x...
"""
)
@click.argument("signed_path", metavar="SIGNED", type=FILE)
@_with_domain
@click.option("--wallet", type=_ADDRESS, help="The peer's wallet; exit with 1 if another signed.")
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


def _signer(signed: SignedOrder, domain: Domain, wallet: str | None) -> str:
    signer = signed.signer(domain)
    if wallet is not None and signer != wallet:
        raise SignatureError(
            f"signed by {signer}, not by {wallet}; or signed for another chain, contract or order"
        )
    return signer


def _read_order(path: Path) -> Order | FlexibleOrder:
    return order_from_document(jsontext.parse(read(path), "order", OrderError))


def _from_environment(name: str) -> LocalAccount:
    key = os.environ.get(name, "").strip()
    if not key:
        raise SignatureError(
            f"there is no key in the environment variable {name}; set it, or use --keystore"
        )
    try:
        raw = bytes.fromhex(key.removeprefix("0x"))
    except ValueError:
        raw = b""
    return _account(raw, f"the environment variable {name}")


def _from_keystore(path: Path, password_file: Path | None) -> LocalAccount:
    content = jsontext.parse(read(path), f"keystore {path}", FileError)
    if password_file is None:
        password = click.prompt(
            f"Password of {path}", default="", show_default=False, hide_input=True, err=True
        )
    else:
        first = read(password_file).split(b"\n", 1)[0].removesuffix(b"\r")
        try:
            password = first.decode()
        except UnicodeDecodeError:
            raise FileError(str(password_file), "is not UTF-8 text") from None
    try:
        raw = bytes(Account.decrypt(content, password))
    except _BROKEN_KEYSTORE as error:
        if "mismatch" in str(error):
            raise SignatureError(f"wrong password for the keystore {path}") from None
        raise FileError(str(path), "is not a keystore (Web3 Secret Storage)") from None
    return _account(raw, f"the keystore {path}")


def _account(key: bytes, where: str) -> LocalAccount:
    """Take a private key; nothing that is said if it is wrong contains it."""
    try:
        if len(key) == _PRIVATE_KEY_BYTES:
            account: LocalAccount = Account.from_key(key)
            return account
    except (ValueError, ValidationError):
        pass
    raise SignatureError(f"{where} does not hold a private key: 32 bytes, 64 hexadecimal digits")


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
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC ({seconds})"
    except (ValueError, OverflowError, OSError):
        return str(seconds)  # later than calendars go
