"""Statements of the paper as checks of results.

A statement is seldom a number. Where it is not ("almost all", "striking") `Statement.reading` says
which number it is taken to mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from fairwatt.models.moreno2021._instance import Instance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.community import Community
    from fairwatt.models.moreno2021._model import Dispatch

    Array = NDArray[np.float64]

__all__ = ["EXACT", "Finding", "Result", "Results", "Statement", "kwh", "listed"]

EXACT: Final = 1e-6
"""kWh or token: two figures that differ by less are taken to be the same."""


@dataclass(frozen=True, eq=False)
class Result:
    """A case with its optimum."""

    community: Community
    instance: Instance
    dispatch: Dispatch

    @classmethod
    def of(cls, community: Community) -> Result:
        """Solve the model for a community, at the paper's prices; errors as `solve`."""
        from fairwatt.models.moreno2021 import _model  # noqa: PLC0415 (as in `solve`)

        instance = Instance.of(community)
        return cls(community, instance, _model.solve(instance))

    def generated(self, peer: str) -> Array:
        """What a peer generates, kWh, shape (periods,)."""
        row: Array = self.dispatch.generation_kwh[self.instance.index(peer)]
        return row

    def imported(self, peer: str) -> float:
        """What a peer imports in all, kWh."""
        return float(self.dispatch.import_kwh[self.instance.index(peer)].sum())

    def exported(self, peer: str) -> float:
        """What a peer exports in all, kWh."""
        return float(self.dispatch.export_kwh[self.instance.index(peer)].sum())

    @property
    def communities(self) -> list[int]:
        """Numbers of the communities, ascending."""
        return sorted({member.community for member in self.instance.members})

    def members(self, community: int) -> list[int]:
        """Positions of the peers of a community."""
        return [at for at, m in enumerate(self.instance.members) if m.community == community]

    def roles(self, community: int | None = None) -> str:
        """Roles of a community, or of all, such as `2G 2P 2C` (G: producers)."""
        count = Counter(
            member.role
            for member in self.instance.members
            if community is None or member.community == community
        )
        letters = (("G", "producer"), ("P", "prosumer"), ("C", "consumer"))
        return " ".join(f"{count[role]}{letter}" for letter, role in letters if count[role])

    @property
    def load_kwh(self) -> Array:
        """Loads, shape (peers, periods)."""
        return np.array([member.load_kwh for member in self.instance.members])


Results: TypeAlias = Mapping[str, Result]
"""By case: "I", "II", "III"."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a statement holds, and the numbers that say so."""

    holds: bool
    numbers: str


@dataclass(frozen=True)
class Statement:
    """A statement of the paper and its check.

    Attributes
    ----------
    text
        In the words of the paper, or close to them.
    where
        Section of the paper.
    cases
        The cases whose results the check needs.
    check
        Computes the finding.
    reading
        Which numbers its words are taken to mean; for a statement that cannot hold, what is held
        in its place, and by which statement.
    can_hold
        False for a statement that contradicts another one of the paper: its check fails.
    """

    text: str
    where: str
    cases: tuple[str, ...]
    check: Callable[[Results], Finding]
    reading: str = ""
    can_hold: bool = True


def listed(values: Mapping[str, object] | Mapping[int, object]) -> str:
    """Write `key: value, ...`."""
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def kwh(values: Mapping[str, float] | Mapping[int, float]) -> str:
    """Write `key: value kWh, ...`."""
    return ", ".join(f"{key}: {value:g} kWh" for key, value in values.items())
