"""Measure: `python -m bench [SECTION ...]`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from rich.console import Console

from bench import results
from bench.page import page
from bench.results import ROOT
from bench.sections import SECTIONS
from fairwatt.errors import FairwattError

__all__ = ["main", "run"]

_NAMES: Final = [part.name for part in SECTIONS]


@click.command()
@click.argument(
    "names", metavar="[SECTION]...", type=click.Choice([part.name for part in SECTIONS]), nargs=-1
)
@click.option(
    "--results",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ROOT / "bench" / "results.json",
    help="Where the results are kept.",
)
@click.option(
    "--page",
    "page_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ROOT / "docs" / "benchmarks.md",
    help="The page that shows them.",
)
def main(names: tuple[str, ...], path: Path, page_path: Path) -> None:
    """Measure the sections named, or all; print a table, write the results and the page."""
    try:
        run(names, path, page_path, Console())
    except FairwattError as error:
        raise click.ClickException(str(error)) from error


def run(names: tuple[str, ...], path: Path, page_path: Path, console: Console) -> None:
    """Measure the sections named, or all; write after each, so that stopping loses one at most.

    Raises
    ------
    FairwattError
        If a file does not hold results, or a clearing is not what it should be.
    """
    kept = results.load(path)
    for part in SECTIONS:
        if names and part.name not in names:
            continue
        console.rule(part.title)
        new = list(part.measure()(console))
        console.print(results.table(new))
        kept = results.merged(kept, new, part.owns)
        results.save(path, kept)
        page_path.write_text(page(SECTIONS, kept), encoding="utf-8")
    console.print(f"Written: {path}, {page_path}")


if __name__ == "__main__":
    main(prog_name="python -m bench")
