"""A case, and where cases are found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairwatt import tomltext
from fairwatt.cases._horizon import HorizonChoice
from fairwatt.cases._reading import FILE, Published, Reader
from fairwatt.errors import CaseError
from fairwatt.tomltext import hint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import tzinfo

    from fairwatt.community import Community, Horizon
    from fairwatt.market import Book

__all__ = ["CASES", "Case", "find", "names", "schema", "titles"]

_PACKAGE: Final = Path(__file__).parents[1]
_PACKED: Final = _PACKAGE / "_cases"
CASES: Final = _PACKED if _PACKED.is_dir() else _PACKAGE.parents[1] / "cases"
"""Folder of the cases that come with the project."""


@dataclass(frozen=True)
class Case:
    """A community with its name and origin.

    Attributes
    ----------
    name
        Of its folder.
    title, source
        What it is, and where its figures come from.
    currency
        What one token stands for.
    zone
        Time zone of local times and days.
    horizons
        Horizons that the case names, by name; `default` is the one of `community` unless another
        was asked for.
    community
        Over the horizon that was asked for.
    published
        What a paper prints for all of its peers over the default horizon, if there is one.
    """

    name: str
    title: str
    source: str
    currency: str
    zone: tzinfo
    horizons: Mapping[str, Horizon]
    community: Community
    published: Published | None = None

    @classmethod
    def load(
        cls,
        name: str | Path,
        folder: Path = CASES,
        *,
        horizon: str | HorizonChoice | Horizon = "default",
        without: Collection[str] = (),
    ) -> Case:
        """Read a case.

        Parameters
        ----------
        name
            Of a folder in `folder`, or the path of any folder with a case.
        horizon
            One that the case names, such a one with changes, or any that its profiles cover.
        without
            Peers to leave out.

        Raises
        ------
        CaseError
            With the file and the place, row or column of what is wrong.
        """
        choice = HorizonChoice(horizon) if isinstance(horizon, str) else horizon
        reader = Reader(find(name, folder), folder)
        parts = reader.parts(choice, frozenset(without))
        return cls(reader.name, **parts._asdict())

    def book(self, period: int = 0) -> Book:
        """The limit orders of all peers for one period; as `Community.book`."""
        return self.community.book(period)


def find(name: str | Path, folder: Path = CASES) -> Path:
    """The `case.toml` of a case, by the name or path that `Case.load` takes.

    Raises
    ------
    CaseError
        If there is no such case.
    """
    path = Path(name)
    for candidate in (path, path / FILE, folder / name / FILE):
        if candidate.name == FILE and candidate.is_file():
            return candidate
    if path.is_dir():
        raise CaseError(str(name), f"there is no {FILE} in this folder")
    known = names(folder)
    raise CaseError(
        str(name),
        f"there is no such case; cases are: {', '.join(known) or 'none'}; a path of a folder with "
        f"a {FILE} works too{hint(str(name), known)}",
    )


def names(folder: Path = CASES) -> list[str]:
    """Names of all cases in a folder."""
    return sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))


def titles(folder: Path = CASES) -> dict[str, str]:
    """Titles of all cases in a folder, by name.

    Raises
    ------
    CaseError
        If a case file is no TOML or has no title.
    """
    return {name: tomltext.read(folder / name / FILE).text("title") for name in names(folder)}


def schema() -> dict[str, Any]:
    """Format of a `case.toml`, as JSON Schema (draft 2020-12)."""
    file = resources.files("fairwatt.cases").joinpath("schemas", "case.schema.json")
    document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return document
