"""What a run is of, and the folder in which it is kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from fairwatt.deployment import Deployment
from fairwatt.errors import PilotError
from fairwatt.files import read, write
from fairwatt.pilot._node import outlives
from fairwatt.tomltext import short

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STORAGE", "RunFolder", "RunSettings"]

STORAGE: Final = {"home": "planned by their owners", "market": "scheduled by the clearing"}
"""Who says when storages and vehicles charge, and how that is told."""

_RUN, _DEPLOYMENT, _DAYS, _PLANS = "run.json", "deployment.json", "days", "plans"
_BILLS: Final = "bills"
_FORMAT: Final = 2


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What makes a run what it is: the same settings come to the same balances on any chain.

    Parameters
    ----------
    case
        Name or path of the case.
    start
        First period, UTC Unix seconds in the time of the case.
    period_seconds
        Length of a period.
    days
        Sessions of 24 hours.
    without
        Peers that are left out.
    forecast
        One of `fairwatt.forecast.FORECASTS`.
    weather
        File with series that are known ahead; None if there is none.
    seed
        Of all keys.
    storage
        "home": storages and vehicles do what their owners planned beforehand; "market": what the
        clearing decides.
    faults
        Text of a file of what is wrong with the meters (`fairwatt.pilot._faults`); None: nothing.
    """

    case: str
    start: int
    period_seconds: int
    days: int
    without: tuple[str, ...] = ()
    forecast: str = "weekly"
    weather: str | None = None
    seed: str = ""
    storage: Literal["home", "market"] = "home"
    faults: str | None = None

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run; every file is there as a whole or not at all.

    The chain says what happened; here is only what it cannot know: what the run is of, where its
    contracts are, what was planned for a day, and what became of the days that are over.
    """

    path: Path

    def begin(self, settings: RunSettings, chain: str, *, fresh: bool, stays: bool = True) -> None:
        """Open the folder for a run, as it was left or emptied of a former run.

        Parameters
        ----------
        fresh
            Forget whatever the folder holds.
        stays
            Whether the chain outlives the process. On one that does not, a run begins anew; but
            what the folder holds of a chain that stays is not forgotten for it.

        Raises
        ------
        PilotError
            If it holds a run of something else.
        FileError
            If it cannot be written.
        """
        document = {"format": _FORMAT, "chain": chain, **settings.to_document()}
        kept = self._read(self._run) if self._run.exists() and not fresh else document
        # Where nothing was deployed, as on a chain that was not there, nothing is lost.
        held = stays or outlives(str(kept.get("chain")))
        if kept != document and held and (self.deployment or any(self.days())):
            differs = [key for key in document if kept.get(key) != document[key]]
            shown = ", ".join(f"{key} {short(kept.get(key))}" for key in differs)
            raise PilotError(
                f"{self.path} holds another run ({shown}); choose another folder (--out), or "
                "--fresh to begin anew in this one"
            )
        if fresh or not stays or kept != document:
            self.forget()
        for folder in (self.path, self.path / _DAYS, self.path / _PLANS):
            folder.mkdir(parents=True, exist_ok=True)
        self._write(self._run, document)

    def forget(self) -> None:
        """Remove everything of a former run, and nothing else."""
        if self._run.exists():  # with other peers there are other bills
            shutil.rmtree(self.path / _BILLS, ignore_errors=True)
        for folder in (_DAYS, _PLANS):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        for name in (_DEPLOYMENT, _RUN):
            (self.path / name).unlink(missing_ok=True)

    @property
    def bills(self) -> Path:
        """Where the bills go."""
        return self.path / _BILLS

    @property
    def deployment(self) -> Deployment | None:
        """Where the run's contracts are; None before they are deployed."""
        path = self.path / _DEPLOYMENT
        return Deployment.load(path) if path.exists() else None

    def keep_deployment(self, deployment: Deployment) -> None:
        """Remember where the contracts are."""
        self._write(self.path / _DEPLOYMENT, deployment.to_document())

    def plan(self, day: int) -> dict[str, Any] | None:
        """What was planned for a day, before anything of it was sent."""
        return self._kept(_PLANS, day)

    def keep_plan(self, day: int, document: dict[str, Any]) -> None:
        """Remember a plan."""
        self._write(self._path(_PLANS, day), document)

    def day(self, day: int) -> dict[str, Any] | None:
        """What became of a day; None if it is not over."""
        return self._kept(_DAYS, day)

    def keep_day(self, day: int, document: dict[str, Any]) -> None:
        """Remember what became of a day; its plan is needed no longer."""
        self._write(self._path(_DAYS, day), document)
        self._path(_PLANS, day).unlink(missing_ok=True)

    def days(self) -> Iterator[dict[str, Any]]:
        """The days that are over, one after the other, none of them held."""
        number = 0
        while (document := self.day(number)) is not None:
            yield document
            number += 1

    @property
    def _run(self) -> Path:
        return self.path / _RUN

    def _path(self, kind: str, day: int) -> Path:
        return self.path / kind / f"{day + 1:04}.json"

    def _kept(self, kind: str, day: int) -> dict[str, Any] | None:
        path = self._path(kind, day)
        return self._read(path) if path.exists() else None

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            document = json.loads(read(path))
        except ValueError as error:
            raise PilotError(f"{path} is damaged: {error}; --fresh begins anew") from error
        if not isinstance(document, dict):
            raise PilotError(f"{path} is damaged; --fresh begins anew")
        return document

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        write(path, json.dumps(document, separators=(",", ":")) + "\n")
