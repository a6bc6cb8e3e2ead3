"""JSON from strangers: parsed strictly, with the place of what is wrong, and without a crash.

Stricter than `json.loads`: no key twice in an object, no NaN, no depth that ends the process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["Path", "Refusal", "parse", "place", "require_fields", "require_whole", "short"]

Path = tuple[str | int, ...]
Refusal = Callable[[str, str], Exception]
"""Makes the error from a place and what is wrong there."""


def parse(text: str | bytes, what: str, refusal: Refusal) -> Any:
    """Parse a JSON text.

    Parameters
    ----------
    what
        Name of the document; the place of what is wrong with all of it.

    Raises
    ------
    Exception
        What `refusal` makes of the place and the problem, such as `BookError`.
    """
    twice: list[_Twice] = []

    def object_(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) == len(pairs):
            return content
        marked = _Twice(content)
        seen = set[str]()
        for key, _ in pairs:
            if key in seen:
                marked.key = key
                break
            seen.add(key)
        twice.append(marked)
        return marked

    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text))
        if _depth(text) > _DEEPEST:
            raise refusal(what, "is nested too deeply to be read")
        content = json.loads(text, object_pairs_hook=object_, parse_constant=_no_constant)
    except ValueError as error:
        raise refusal(what, f"is not valid JSON: {error}") from error
    if twice:
        raise refusal(
            place(_path_to_twice(content) or (twice[0].key,)) or what, "stands there twice"
        )
    return content


def place(path: Path) -> str:
    """Write a path as in JavaScript: `orders[3].energyWh`, `fillsWh["a b"]`."""
    written = ""
    for key in path:
        if isinstance(key, str) and re.fullmatch(r"[\w-]+", key):
            written += f".{key}" if written else key
        else:
            written += f"[{json.dumps(key)}]"
    return written


def short(value: object) -> str:
    """Write a value as JSON would, not too long for a message."""
    text = json.dumps(value, default=repr, skipkeys=True)
    return text if len(text) <= 60 else f"{text[:57]}..."


def require_fields(
    document: Mapping[str, Any], fields: Collection[str], path: Path, refusal: Refusal
) -> None:
    """Require that an object at `path` has these fields and no others.

    Raises
    ------
    Exception
        What `refusal` makes of the place and the problem.
    """
    for field in fields:
        if field not in document:
            raise refusal(place((*path, field)), "is missing")
    for field in document:
        if field not in fields:
            problem = f"is unknown; fields are {', '.join(fields)}"
            raise refusal(place((*path, field)), problem)


def require_whole(value: object, low: int, high: int, where: str, refusal: Refusal) -> None:
    """Require a whole number within bounds, both included.

    Parameters
    ----------
    where
        Its place, as `place` writes it.

    Raises
    ------
    Exception
        What `refusal` makes of the place and the problem.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise refusal(where, f"must be a whole number, not {short(value)}")
    if not low <= value <= high:
        raise refusal(where, f"must be {low} to {high}, not {value}")


class _Twice(dict[str, Any]):
    """An object in which a key stands twice."""

    key = ""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _depth(text: str) -> int:
    """Count how deep a JSON text nests, as its parser may crash where recursion is unlimited."""
    brackets = _BETWEEN_BRACKETS.sub("", text)
    return max(accumulate(_STEPS.get(bracket, 0) for bracket in brackets), default=0)


_DEEPEST: Final = 50
_BETWEEN_BRACKETS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[^][{}"]++', re.DOTALL)
_STEPS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def _path_to_twice(content: object) -> Path | None:
    if isinstance(content, _Twice):
        return (content.key,)
    entries: Iterable[tuple[str | int, object]] = ()
    if isinstance(content, dict):
        entries = content.items()
    elif isinstance(content, list):
        entries = enumerate(content)
    for key, value in entries:
        if (rest := _path_to_twice(value)) is not None:
            return (key, *rest)
    return None
