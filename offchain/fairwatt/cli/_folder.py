"""Folders of signed documents, *.json, one to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from fairwatt import files, jsontext
from fairwatt.errors import FairwattError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fairwatt.jsontext import Refusal

__all__ = ["load_folder"]

_T = TypeVar("_T")


def load_folder(
    folder: Path, read: Callable[[Any], _T], refusal: Refusal
) -> tuple[dict[str, _T], list[dict[str, Any]]]:
    """Read every document of a folder; one that is malformed does not stop the day.

    Parameters
    ----------
    read
        Makes of a parsed document what it stands for, or raises a `FairwattError`.
    refusal
        Makes the error of what is no JSON.

    Returns
    -------
    tuple
        The documents by the names of their files, sorted; file and reason of those left out.
    """
    loaded, unreadable = {}, []
    for path in sorted(folder.glob("*.json")):
        try:
            loaded[path.name] = read(jsontext.parse(files.read(path), path.name, refusal))
        except FairwattError as problem:
            unreadable.append({"file": path.name, "reason": str(problem)})
    return loaded, unreadable
