"""What commands that sign have in common: for which contract, and with which key."""

from __future__ import annotations

import json
import os
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click
from eth_account import Account
from eth_utils.exceptions import ValidationError

from fairwatt import jsontext
from fairwatt.cli._text import FILE, echo_json
from fairwatt.deployment import CONTRACTS, Deployment
from fairwatt.eip712 import Domain, checksummed
from fairwatt.errors import FileError, SignatureError
from fairwatt.files import read, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eth_account.signers.local import LocalAccount

__all__ = ["ADDRESS", "already_json", "echo_signed", "with_domain", "with_key"]

_KEY_ENV: Final = "FAIRWATT_KEY"
_PRIVATE_KEY_BYTES: Final = 32
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


ADDRESS: Final = _Address()
already_json = click.option(
    "--json", is_flag=True, expose_value=False, help="The output is JSON in any case."
)


def with_domain(contract: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give commands the `domain` of a contract that orders are signed for; by its field."""
    return lambda command: _with_domain(command, contract)


def _with_domain(command: Callable[..., None], field: str) -> Callable[..., None]:
    name = CONTRACTS[field]

    @click.option("--chain-id", type=click.IntRange(0, (1 << 64) - 1), help="Id of the chain.")
    @click.option("--contract", type=ADDRESS, help=f"Address of the contract {name}.")
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
            domain = Deployment.load(deployment).domain(field)
        elif chain_id is None or contract is None:
            raise click.UsageError("Give --chain-id and --contract, or --deployment.")
        else:
            domain = Domain(chain_id, contract)
        command(*args, domain=domain, **kwargs)

    return wrapped


def with_key(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an `account` to call for the key, once everything else is read."""

    @click.option("--keystore", type=FILE, help="Encrypted key file; its password is asked for.")
    @click.option("--password-file", type=FILE, help="Take the password from its first line.")
    @click.option(
        "--key-env",
        metavar="NAME",
        help=f"Environment variable with a raw key, if there is no keystore [default: {_KEY_ENV}].",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        keystore: Path | None,
        password_file: Path | None,
        key_env: str | None,
        **kwargs: Any,
    ) -> None:
        if keystore is not None and key_env is not None:
            raise click.UsageError("Give --keystore or --key-env, not both.")
        if password_file is not None and keystore is None:
            raise click.UsageError("--password-file belongs to --keystore.")

        def account() -> LocalAccount:
            if keystore is None:
                return _from_environment(key_env or _KEY_ENV)
            return _from_keystore(keystore, password_file)

        command(*args, account=account, **kwargs)

    return wrapped


def echo_signed(document: object, account: LocalAccount, out: Path | None) -> None:
    """Print or write what is signed, and say who signed it."""
    if out is None:
        echo_json(document)
    else:
        write(out, json.dumps(document, indent=2) + "\n")
    click.echo(
        f"signed by {account.address}{'' if out is None else f', written to {out}'}", err=True
    )


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
