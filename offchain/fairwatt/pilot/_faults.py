"""Faults of the meters of a run: what is asked for in a file, and what came of each.

    seed = 7

    [[faults]]
    kind = "outage"
    share = 0.33          # of all meters, or peers = ["ES_H01", "ES_H02"]
    days = [2]            # of the run, the first is 1; every day if this is missing

Each fault is a behaviour of `fairwatt.fleet`, with its parameters.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fairwatt.errors import CaseError
from fairwatt.fleet import (
    Again,
    Fleet,
    Late,
    Noise,
    OtherKey,
    Outage,
    Replay,
    Scale,
    UnderReport,
    WrongUnit,
)
from fairwatt.settlement import doubt
from fairwatt.tomltext import Table, choice
from fairwatt.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fairwatt.chain import Snapshot
    from fairwatt.fleet import Arrival, Behaviour

__all__ = ["Faults", "Reception"]

_MOST: Final = 1e6


def _outage(table: Table) -> Behaviour:
    first = table.whole("first_period", 0, 10_000) if table.has("first_period") else 0
    end = table.whole("end_period", 1, 10_000) if table.has("end_period") else None
    if end is not None and end <= first:
        raise CaseError(table.place("end_period"), f"must be after first_period, which is {first}")
    return Outage(first, end)


def _late(table: Table) -> Behaviour:
    spread = table.number("spread_hours", 0, _MOST) if table.has("spread_hours") else 0.0
    return Late(
        round(table.number("hours", 0, _MOST) * SECONDS_PER_HOUR), round(spread * SECONDS_PER_HOUR)
    )


def _replay(table: Table) -> Behaviour:
    earlier = table.has("earlier") and table.any_of("earlier", bool)
    return Replay(relabelled=True) if earlier else Again()


_KINDS: Final[dict[str, Callable[[Table], Behaviour]]] = {
    "noise": lambda table: Noise(table.number("deviation", 0, 1)),
    "outage": _outage,
    "late": _late,
    "scale": lambda table: Scale(table.number("factor", 0, _MOST)),
    "wrong-unit": lambda _: WrongUnit(),
    "under-report": lambda table: UnderReport(table.number("share_hidden", 0, 1)),
    "other-key": lambda _: OtherKey(),
    "replay": _replay,
}


@dataclass(frozen=True, slots=True)
class _Fault:
    """A behaviour of some meters on some days, counted from 0; no days are all days."""

    behaviour: Behaviour
    peers: tuple[str, ...]
    share: float
    days: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the meters of a run.

    Attributes
    ----------
    seed
        Of who is struck where only a share is given, and of noise.
    """

    seed: int = 0
    faults: tuple[_Fault, ...] = ()

    @classmethod
    def read(
        cls, text: str, names: Iterable[str], place: str = "faults", days: int | None = None
    ) -> Faults:
        """Read the text of a file.

        Parameters
        ----------
        names
            Of the metered peers.
        days
            Of the run; None if it may be any number.

        Raises
        ------
        CaseError
            With the place of what is wrong.
        """
        try:
            table = Table(tomllib.loads(text), place, ": ")
        except tomllib.TOMLDecodeError as error:
            raise CaseError(place, f"is not readable as TOML: {error}") from error
        seed = table.whole("seed", 0, 2**63) if table.has("seed") else 0
        known = list(names)
        faults = tuple(_read(each, known, days) for each in table.tables("faults"))
        table.done()
        if not faults:
            raise CaseError(f"{place}: faults", "names none; add [[faults]] with a kind")
        return cls(seed, faults)

    @property
    def exaggeration(self) -> float:
        """How many times too much a meter may count; deposits must be enough for it."""
        factors = (
            each.behaviour.factor for each in self.faults if isinstance(each.behaviour, Scale)
        )
        return max((1.0, *factors))

    def replays_old(self, day: int) -> bool:
        """Whether a meter brings a reading of an earlier day on a day, counted from 0."""
        return any(
            isinstance(each.behaviour, Replay) and (not each.days or day in each.days)
            for each in self.faults
        )

    def give(self, fleet: Fleet, day: int, numbers: Mapping[str, int]) -> None:
        """Give the meters of a fleet the behaviours of a day, counted from 0."""
        for at, fault in enumerate(self.faults):
            if fault.days and day not in fault.days:
                continue
            struck = [numbers[name] for name in fault.peers] or replace(
                fleet, seed=self.seed + at
            ).some(fault.share, sorted(numbers.values()))
            fleet.give(fault.behaviour, peers=struck)


def _read(table: Table, known: Sequence[str], most: int | None) -> _Fault:
    kind = table.text("kind")
    if kind not in _KINDS:
        raise CaseError(table.place("kind"), choice(kind, _KINDS))
    behaviour = _KINDS[kind](table)
    peers = table.texts("peers") if table.has("peers") else ()
    for name in peers:
        if name not in known:
            raise CaseError(table.place("peers"), choice(name, known))
    if bool(peers) == table.has("share"):
        raise CaseError(table.place("share"), "whose meters? say either peers or share")
    share = 0.0 if peers else table.number("share", 0, 1)
    days = []
    if table.has("days"):
        for day in table.any_of("days", list):
            if not isinstance(day, int) or isinstance(day, bool) or day < 1:
                raise CaseError(table.place("days"), "must be days of the run; the first is 1")
            if most is not None and day > most:
                raise CaseError(
                    table.place("days"), f"the last day of the run is {most}, not {day}"
                )
            days.append(day - 1)
    table.done()
    return _Fault(behaviour, peers, share, tuple(days))


@dataclass(frozen=True, slots=True)
class Reception:
    """What became of a meter's reading in the end.

    Attributes
    ----------
    metered_wh
        What was settled; None if no reading was.
    estimate_nano
        What the estimate came to while the reading was missing; None if it was not.
    told
        What was wrong with it, in words; empty if nothing was.
    """

    metered_wh: tuple[int, ...] | None
    estimate_nano: int | None
    told: str

    @classmethod
    def of(
        cls,
        arrival: Arrival,
        flowed_wh: Sequence[int],
        position_wh: Sequence[int],
        state: tuple[Snapshot, int, int],
        deadlines: tuple[int, int],
        *,
        replayed: str | None = None,
    ) -> Reception:
        """Tell what the chain has of a meter.

        Parameters
        ----------
        flowed_wh
            What truly flowed.
        state
            The chain when all runs are over, market and session.
        deadlines
            When readings were estimated, and when the final run was.
        replayed
            What the contract did when its owner replayed it; None if nobody did.
        """
        snapshot, market, start = state
        is_settled = snapshot.is_reading_settled(market, start, arrival.peer)
        (estimated,) = [
            int(log.imbalanceNano)
            for log in snapshot.events(
                "settlement", "ReadingEstimated", market=market, sessionStart=start,
                peer=arrival.peer,
            )
        ] or (None,)  # fmt: skip
        signed = arrival.signed
        reading = signed.reading.energy_wh if signed is not None else None
        told = [_told_of_coming(arrival, is_settled, deadlines, replayed)]
        if reading is not None and is_settled:
            if reason := doubt(reading, position_wh):
                told.append(f"held back until the final run: {reason}")
            if (hidden := sum(reading) - sum(flowed_wh)) or reading != tuple(flowed_wh):
                told.append(f"off by {hidden / 1000:+,.3f} kWh")
        if estimated is not None:
            told.append("estimated, then replaced by it" if is_settled else "estimated for good")
        if replayed is not None and is_settled:
            told.append(f"brought again; {replayed}")
        return cls(reading if is_settled else None, estimated, "; ".join(filter(None, told)))


def _told_of_coming(
    arrival: Arrival, is_settled: bool, deadlines: tuple[int, int], replayed: str | None
) -> str:
    """What was wrong with how a reading came, in words; empty if nothing was."""
    if arrival.signed is None:
        return "nothing was sent"
    if arrival.is_old and not is_settled:
        return f"one of an earlier day was brought for this one; {replayed}"
    if arrival.arrives_at > deadlines[1]:
        return "it came after the final run"
    if not is_settled:
        return "it was refused"
    return "it came late" if arrival.arrives_at > deadlines[0] else ""
