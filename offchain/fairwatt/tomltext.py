"""TOML from strangers: values are asked for by name and type; what nobody asked for is refused.

So a slip of the pen in a settings file or a case is said with its place, and never ignored.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from fairwatt.errors import CaseError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Table", "read"]

_T = TypeVar("_T")
_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
    datetime: "a date with time",
    date: "a date",
    time: "a time of day",
}


def read(path: Path) -> Table:
    """Read a TOML file.

    Raises
    ------
    CaseError
        If it is missing or not TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CaseError(str(path), "there is no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise CaseError(str(path), f"is not readable as TOML: {error}") from error
    return Table(content, str(path), ": ")


class Table:
    """A table that knows where it stands, and what was not asked for yet.

    Parameters
    ----------
    path
        Of the table, as messages name it.

    Raises
    ------
    CaseError
        From all methods, with the place of what is wrong.
    """

    def __init__(self, content: object, path: str, joint: str = ".") -> None:
        if not isinstance(content, dict):
            raise CaseError(path, f"must be a table, not {content!r}")
        self._content: dict[str, Any] = dict(content)
        self._path = path
        self._joint = joint

    def place(self, key: str) -> str:
        """Path of an entry."""
        return f"{self._path}{self._joint}{key}"

    def has(self, key: str) -> bool:
        """Whether the entry is there and was not taken yet."""
        return key in self._content

    def text(self, key: str) -> str:
        """Take a text that is not empty."""
        value = self._take(key, str)
        if not value.strip():
            raise CaseError(self.place(key), "must not be empty")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """Take a whole number from `low` to `high`."""
        value = self._take(key, int)
        if not low <= value <= high:
            raise CaseError(self.place(key), f"must be {low} to {high}, not {value}")
        return value

    def number(self, key: str, low: float = -inf, high: float = inf) -> float:
        """Take a finite number from `low` to `high`."""
        value = self.any_of(key, int, float)
        if not isfinite(value) or not low <= value <= high:
            bounds = f"from {low:g} to {high:g}" if isfinite(high) else f"of at least {low:g}"
            wanted = "a finite number" if low == -inf else f"a number {bounds}"
            raise CaseError(self.place(key), f"must be {wanted}, not {value}")
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of texts."""
        values = self._take(key, list)
        for at, value in enumerate(values):
            if not isinstance(value, str):
                raise CaseError(f"{self.place(key)}[{at}]", f"must be a text, not {value!r}")
        return tuple(values)

    def table(self, key: str) -> Table:
        """Take a table."""
        return Table(self._take(key, dict), self.place(key))

    def tables(self, key: str) -> list[Table]:
        """Take an array of tables; it may be missing."""
        rows = self._take(key, list) if self.has(key) else []
        return [Table(row, f"{self.place(key)}[{at}]") for at, row in enumerate(rows)]

    def names(self) -> list[str]:
        """Names of the entries that were not taken yet."""
        return list(self._content)

    def done(self) -> None:
        """Refuse what nobody asked for, most likely a slip of the pen."""
        for key in self._content:
            raise CaseError(self.place(key), "is unknown")

    def any_of(self, key: str, *kinds: type) -> Any:
        """Take a value of one of several types."""
        if key not in self._content:
            raise CaseError(self.place(key), "is missing")
        value = self._content.pop(key)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
            raise CaseError(self.place(key), f"must be {wanted}, not {value!r}")
        return value

    def _take(self, key: str, kind: type[_T]) -> _T:
        value: _T = self.any_of(key, kind)
        return value
