"""What people read: tables that fit the terminal, exact numbers in kWh and token."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.cells import cell_len, set_cell_size

from fairwatt.units import WEI_PER_NANO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "FILE",
    "MOST_ROWS",
    "Column",
    "echo_json",
    "echo_table",
    "energy",
    "json_option",
    "money",
    "plural",
    "price",
    "printable",
    "value",
    "wei",
]

MOST_ROWS: Final = 200
"""Rows of a table that are shown; a note says how many more there are."""
_NARROWEST: Final = 8

FILE: Final[Any] = click.Path(allow_dash=True, readable=False, path_type=Path)
"""Type of file arguments; whether a file can be read, reading it says."""
json_option: Final[Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs."
)


def echo_json(document: object) -> None:
    """Print a document as JSON."""
    click.echo(json.dumps(document, indent=2))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: text to the left, numbers to the right."""

    title: str
    unit: str
    cells: Sequence[str]
    is_text: bool = False


def echo_table(columns: Sequence[Column], total: int, rest: str = "") -> None:
    """Print a table of the first rows.

    Parameters
    ----------
    total
        Number of rows there are; `columns` may hold the first of them only.
    rest
        Where to find the rows that are not shown.
    """
    columns = [column for column in columns if column.cells]
    if not columns:
        return
    texts = [[printable(cell) for cell in column.cells] for column in columns]
    widths = _widths(columns, texts)
    has_units = any(column.unit for column in columns)
    heads = [[column.title for column in columns]]
    if has_units:
        heads.append([column.unit for column in columns])
    for at, head in enumerate(heads):
        click.secho(_line(columns, head, widths), bold=at == 0 or None)
    for row in zip(*texts, strict=True):
        click.echo(_line(columns, row, widths))
    if (left := total - len(texts[0])) > 0:
        click.echo(f"... and {left:,} more{rest}")


def energy(values_wh: Iterable[int]) -> list[str]:
    """Energies in kWh, exact."""
    return _scaled(values_wh, 3, 0)


def price(values_micro_per_kwh: Iterable[int]) -> list[str]:
    """Prices in token/kWh, exact."""
    return _scaled(values_micro_per_kwh, 6, 2)


def money(values_nano: Iterable[int]) -> list[str]:
    """Amounts in token, exact."""
    return _scaled(values_nano, 9, 2)


def value(amount_nano: int) -> str:
    """One amount with its unit."""
    return f"{money([amount_nano])[0]} token"


def wei(amount_wei: int) -> str:
    """An amount of tokens with 18 decimals, exact."""
    nano, rest = divmod(amount_wei, WEI_PER_NANO)
    return f"{amount_wei:,} wei" if rest else value(nano)


def plural(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """Escape what a terminal would obey or could not show: names come from strangers."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _scaled(values: Iterable[int], scale: int, fewest: int) -> list[str]:
    """Decimals of whole numbers, as many for all as the longest needs; zero is plain."""
    numbers = list(values)
    common, decimals = gcd(*numbers), scale
    while decimals > fewest and common % 10 == 0:
        common //= 10
        decimals -= 1
    unit = 10**scale
    digits = 10 ** (scale - decimals)
    written = []
    for number in numbers:
        if not number:
            written.append("0")
            continue
        whole, part = divmod(abs(number), unit)
        sign = "-" if number < 0 else ""
        fraction = f".{part // digits:0{decimals}}" if decimals else ""
        written.append(f"{sign}{whole:,}{fraction}")
    return written


def _widths(columns: Sequence[Column], texts: Sequence[Sequence[str]]) -> list[int]:
    widths = [
        max(map(cell_len, (column.title, column.unit, *cells)))
        for column, cells in zip(columns, texts, strict=True)
    ]
    if sys.stdout is None or not sys.stdout.isatty():
        return widths
    excess = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size().columns
    for _ in range(max(0, excess)):
        wide = [at for at, column in enumerate(columns) if column.is_text]
        widest = max(wide, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        missing = width - cell_len(cell)
        if missing < 0:
            parts.append(_cut(cell, width))
        else:
            parts.append(cell + " " * missing if column.is_text else " " * missing + cell)
    return "  ".join(parts).rstrip()


def _cut(cell: str, width: int) -> str:
    """Shorten in the middle: names of one kind differ at their ends."""
    tail = cell[-(width // 2) :]
    while cell_len(tail) > width // 2:
        tail = tail[1:]
    return set_cell_size(cell, width - 1 - cell_len(tail)) + "…" + tail
