"""TOML from strangers: values are asked for by name and type; what nobody asked for is refused.

So a slip of the pen in a settings file or a case is said with its place, and never ignored.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time
from difflib import get_close_matches
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fairwatt.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Table", "choice", "hint", "read", "short"]

_T = TypeVar("_T")
_KINDS: Final = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
    bool: "true or false",
    datetime: "a date with time",
    date: "a date",
    time: "a time of day",
}
_LONGEST: Final = 60


def read(path: Path) -> Table:
    """Read a TOML file.

    Raises
    ------
    CaseError
        If it is missing or not TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise CaseError(str(path), "there is no such file") from error
    except (OSError, ValueError, RecursionError) as error:  # what is no UTF-8, no TOML, no number
        raise CaseError(str(path), f"is not readable as TOML: {error}") from error
    return Table(content, str(path), ": ")


def short(value: object) -> str:
    """Write a value, not too long for a message."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def hint(word: object, known: Iterable[str]) -> str:
    """Ask whether a known word was meant, or nothing."""
    near = get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def choice(word: str, known: Iterable[str]) -> str:
    """Say that a word is none of the known, and which of them may have been meant."""
    names = list(known)
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"must be one of {listed}, not {short(word)}{hint(word, names)}"


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
            raise CaseError(path, f"must be a table, not {short(content)}")
        self._content: dict[str, Any] = dict(content)
        self._asked = dict[str, None]()
        self._path = path
        self._joint = joint

    def place(self, key: str) -> str:
        """Path of an entry."""
        return f"{self._path}{self._joint}{key}"

    def has(self, key: str) -> bool:
        """Whether the entry is there and was not taken yet."""
        self._asked[key] = None
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
            raise CaseError(self.place(key), f"must be {low} to {high}, not {short(value)}")
        return value

    def number(self, key: str, low: float = -inf, high: float = inf) -> float:
        """Take a finite number from `low` to `high`."""
        value = self.any_of(key, int, float)
        try:
            number = float(value)
        except OverflowError:
            number = inf
        if not isfinite(number) or not low <= number <= high:
            bounds = f"from {low:g} to {high:g}" if isfinite(high) else f"of at least {low:g}"
            wanted = "a finite number" if low == -inf else f"a number {bounds}"
            raise CaseError(self.place(key), f"must be {wanted}, not {short(value)}")
        return number

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of texts."""
        values = self._take(key, list)
        for at, value in enumerate(values):
            if not isinstance(value, str):
                raise CaseError(f"{self.place(key)}[{at}]", f"must be a text, not {short(value)}")
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

    def slips(self) -> list[CaseError]:
        """Entries that nobody asked for, most likely slips of the pen."""
        return [
            CaseError(self.place(key), f"is unknown{hint(key, self._asked)}")
            for key in self._content
        ]

    def done(self) -> None:
        """Refuse what nobody asked for."""
        for slip in self.slips():
            raise slip

    def any_of(self, key: str, *kinds: type) -> Any:
        """Take a value of one of several types."""
        self._asked[key] = None
        if key not in self._content:
            near = get_close_matches(key, self._content.keys() - self._asked.keys(), n=1)
            guess = f"; is {near[0]!r} a slip of the pen?" if near else ""
            raise CaseError(self.place(key), f"is missing{guess}")
        value = self._content.pop(key)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
            raise CaseError(self.place(key), f"must be {wanted}, not {short(value)}")
        return value

    def _take(self, key: str, kind: type[_T]) -> _T:
        value: _T = self.any_of(key, kind)
        return value
