"""Saying no: what is wrong, for people or for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from fairwatt.cli._text import echo_json, printable

if TYPE_CHECKING:
    from pathlib import Path

    from fairwatt.errors import FairwattError

__all__ = ["reject"]


def reject(error: FairwattError, *, as_json: bool, file: Path | None = None) -> NoReturn:
    """End with exit code 1 and the name, the values and the message of the error.

    Parameters
    ----------
    file
        What is rejected, if the message does not name it.
    """
    name = type(error).__name__
    message = str(error) if file is None else f"{file}: {error}"
    if as_json:
        values = {_camel(key): value for key, value in vars(error).items()}
        echo_json({"valid": False, "error": name, "values": values, "message": message})
    else:
        click.secho(f"rejected: {name}: {printable(message)}", err=True, fg="red")
    raise click.exceptions.Exit(1)


def _camel(name: str) -> str:
    """Spell a name as the contracts and the documents do: `price_micro_per_kwh`."""
    first, *others = name.split("_")
    return first + "".join("KWh" if part == "kwh" else part.capitalize() for part in others)
