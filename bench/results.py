"""Results: what a measurement says, how it is kept and how it is shown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE
from rich.table import Table

from fairwatt.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["ROOT", "Result", "load", "merged", "save", "table", "titles"]

ROOT: Final = Path(__file__).resolve().parents[1]
"""Folder of the repository."""

titles: Final = ("what", "value", "unit", "rival", "its value", "ratio")


@dataclass(frozen=True, slots=True)
class Result:
    """A measurement, beside that of a rival if there is one.

    Parameters
    ----------
    name
        What was measured; the same with several rivals stands in several rows.
    value, unit
        What came out.
    rival
        Who was measured beside it; None if nobody.
    rival_value
        What came out there; None if the rival did not finish in time.
    """

    name: str
    value: float
    unit: str
    rival: str | None = None
    rival_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """Value over the value of the rival."""
        return self.value / self.rival_value if self.rival_value else None

    def cells(self) -> tuple[str, ...]:
        """Write it as a row of a table."""
        return (
            self.name,
            _number(self.value),
            self.unit,
            self.rival or "",
            _number(self.rival_value) if self.rival_value is not None else self._nothing(),
            f"{self.ratio:.3g}" if self.ratio is not None else self._nothing(),
        )

    def _nothing(self) -> str:
        return "-" if self.rival else ""


def load(path: Path) -> list[Result]:
    """Read results; none if the file is not there.

    Raises
    ------
    FileError
        If the file does not hold results.
    """
    if not path.exists():
        return []
    keys = {field.name for field in fields(Result)}
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [Result(**{key: row[key] for key in keys}) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(
            str(path), f"holds no results of `make bench` ({error!r}); delete it and run again"
        ) from error


def save(path: Path, results: Iterable[Result]) -> None:
    """Write results, with their ratios, as a JSON list."""
    rows = [{**asdict(result), "ratio": result.ratio} for result in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def merged(
    old: Iterable[Result], new: Iterable[Result], replaced: Callable[[str], bool]
) -> list[Result]:
    """Take `new`, and of `old` what does not bear a name to be replaced; new ones stand last."""
    return [*(result for result in old if not replaced(result.name)), *new]


def table(results: Sequence[Result]) -> Table:
    """Lay results out for the terminal."""
    shown = Table(*titles, box=SIMPLE)
    shown.columns[0].overflow = "fold"
    for number in (1, 4, 5):
        shown.columns[number].justify = "right"
    for result in results:
        shown.add_row(*result.cells())
    return shown


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
