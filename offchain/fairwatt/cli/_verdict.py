"""Saying no: what is wrong, for people or for programs."""

from __future__ import annotations

from typing import NoReturn

import click

from fairwatt.cli._text import echo_json, printable
from fairwatt.errors import FairwattError

__all__ = ["reject"]


def reject(error: FairwattError, *, as_json: bool) -> NoReturn:
    """End with exit code 1 and the name, the values and the message of the error."""
    name = type(error).__name__
    if as_json:
        values = {_camel(key): value for key, value in vars(error).items()}
        echo_json({"valid": False, "error": name, "values": values, "message": str(error)})
    else:
        click.secho(f"rejected: {name}: {printable(str(error))}", err=True, fg="red")
    raise click.exceptions.Exit(1)


def _camel(name: str) -> str:
    """Spell a name as the contracts and the documents do: `price_micro_per_kwh`."""
    first, *others = name.split("_")
    return first + "".join("KWh" if part == "kwh" else part.capitalize() for part in others)
