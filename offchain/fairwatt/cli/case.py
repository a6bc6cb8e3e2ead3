"""`fairwatt case`: the named markets that come with the project."""

from __future__ import annotations

import click

from fairwatt.cases import Case, names
from fairwatt.cli._text import echo_json, json_option
from fairwatt.market.documents import dump_book

__all__ = ["case"]


@click.group()
def case() -> None:
    """Look at the named markets in cases/.

    \b
    Example:
      fairwatt case book five-peer-2 > book.json
      fairwatt clear book.json
    """  # noqa: D301 - click reads the control character


@case.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the cases with their titles."""
    titles = {name: Case.load(name).title for name in names()}
    if as_json:
        echo_json(titles)
        return
    for name, title in titles.items():
        click.echo(f"{name:15} {title}")


@case.command()
@click.argument("name")
@click.option("--json", is_flag=True, expose_value=False, help="As always: it prints JSON.")
def book(name: str) -> None:
    """Print a case's book as JSON, as `fairwatt clear` takes it."""
    echo_json(dump_book(Case.load(name).book()))
