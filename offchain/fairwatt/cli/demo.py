"""`fairwatt demo`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from fairwatt.cli._text import echo_json, json_option
from fairwatt.demo import demo as run_demo

__all__ = ["demo"]


@click.command()
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("out/demo.png"),
    show_default=True,
    help="Where to draw flows and prices (.png or .svg).",
)
@click.option(
    "--network",
    default="ethereum:local:test",
    show_default=True,
    help="A local chain, by Ape's name; ethereum:local:foundry is anvil.",
)
@json_option
def demo(picture: Path, network: str, as_json: bool) -> None:
    """One market day of both five-peer variants, told step by step.

    Peers are registered and funded, sign orders, and are cleared; the contract refuses three
    tampered clearings and an outsider's, and accepts the proof; meters report, one peer short and
    one long; every balance is shown before and after. Needs no server: the chain runs in this
    process.

    \b
    Example:
      fairwatt demo --picture day.png
    """  # noqa: D301 - click reads the control character
    picture.parent.mkdir(parents=True, exist_ok=True)
    console = Console(quiet=as_json, highlight=False)
    results = run_demo(picture, console, network)
    if as_json:
        echo_json([result.to_document() for result in results])
