"""Private keys for commands that sign: from a keystore or the environment."""

from __future__ import annotations

import os
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click
from eth_account import Account
from eth_utils.exceptions import ValidationError

from fairwatt import jsontext
from fairwatt.cli._text import FILE
from fairwatt.errors import FileError, SignatureError
from fairwatt.files import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eth_account.signers.local import LocalAccount

__all__ = ["with_key"]

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


def with_key(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name a key, and `key`, which reads it when it is called."""

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

        def key() -> LocalAccount:
            if keystore is None:
                return _from_environment(key_env or _KEY_ENV)
            return _from_keystore(keystore, password_file)

        command(*args, key=key, **kwargs)

    return wrapped


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
