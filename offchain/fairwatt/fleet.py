"""Many meters that are not there: what they sign, when it arrives, and what is wrong with it.

For tests and demonstrations. Each meter has behaviours, applied in their sequence to what it should
have counted; chance comes from the seed, the session and the peer alone, so the same fleet tells
the same story, whatever else is asked of it. Its keys protect nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Protocol

from eth_account import Account

from fairwatt.lanes import MAX_ENERGY_WH
from fairwatt.meter import P256Meter, Reading, SignedReading
from fairwatt.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from eth_account.signers.local import LocalAccount

    from fairwatt.eip712 import Domain
    from fairwatt.session import MarketTerms

__all__ = [
    "Again",
    "Arrival",
    "Behaviour",
    "Day",
    "Fleet",
    "Late",
    "Noise",
    "OtherKey",
    "Outage",
    "Replay",
    "Scale",
    "UnderReport",
    "WrongUnit",
    "meter_key",
]

_FIRST_KEY = 2_000_000
_P256_KEY = 3_000_000


def meter_key(peer: int, *, p256: bool = False) -> LocalAccount | P256Meter:
    """A key for the meter of a peer, made of its number."""
    if p256:
        return P256Meter.of(_P256_KEY + peer)
    account: LocalAccount = Account.from_key((_FIRST_KEY + peer).to_bytes(32, "big"))
    return account


@dataclass(frozen=True, slots=True)
class Day:
    """What a meter is about to send for a session.

    Attributes
    ----------
    energy_wh
        Per period: injected positive, taken negative; None where nothing was counted.
    arrives_at
        UTC Unix seconds.
    key
        Whose signature it will bear.
    before
        What the meter sent for the session before, None if nothing.
    resent
        Sent in place of a new reading.
    again_after
        Seconds until it is sent a second time, None if it is not.
    """

    peer: int
    session_start: int
    energy_wh: tuple[int | None, ...]
    arrives_at: int
    key: LocalAccount | P256Meter
    before: SignedReading | None = None
    resent: SignedReading | None = None
    again_after: int | None = None


class Behaviour(Protocol):
    """Something a meter, or who owns it, does with what should have been sent."""

    def apply(self, day: Day, chance: Random) -> Day:
        """What is sent instead."""
        ...


@dataclass(frozen=True, slots=True)
class Noise:
    """The energy of each period is off by a normal share of itself; 0.02 is 2 %."""

    deviation: float = 0.02

    def apply(self, day: Day, chance: Random) -> Day:
        """Multiply each period by 1 + N(0, deviation)."""
        return _each(day, lambda wh: wh * (1 + chance.gauss(0, self.deviation)))


@dataclass(frozen=True, slots=True)
class Outage:
    """Nothing is counted from period `first` to before `end`; by default all of the session.

    A gateway signs whole sessions only: whatever is missing, nothing is sent.
    """

    first: int = 0
    end: int | None = None

    def apply(self, day: Day, chance: Random) -> Day:  # noqa: ARG002 (every behaviour takes it)
        """Leave the periods out."""
        energy = list(day.energy_wh)
        lost = range(len(energy))[self.first : self.end]
        for period in lost:
            energy[period] = None
        return replace(day, energy_wh=tuple(energy))


@dataclass(frozen=True, slots=True)
class Late:
    """The reading arrives later by so many seconds, and by up to `spread_seconds` more."""

    seconds: int
    spread_seconds: int = 0

    def apply(self, day: Day, chance: Random) -> Day:
        """Delay it."""
        delay = self.seconds + chance.randint(0, self.spread_seconds)
        return replace(day, arrives_at=day.arrives_at + delay)


@dataclass(frozen=True, slots=True)
class Scale:
    """Every value is multiplied: a transformer ratio that is set wrong."""

    factor: float = 10

    def apply(self, day: Day, chance: Random) -> Day:  # noqa: ARG002
        """Multiply."""
        return _each(day, lambda wh: wh * self.factor)


@dataclass(frozen=True, slots=True)
class WrongUnit:
    """The gateway takes kWh for Wh."""

    def apply(self, day: Day, chance: Random) -> Day:  # noqa: ARG002
        """Divide by a thousand."""
        return _each(day, lambda wh: wh / 1000)


@dataclass(frozen=True, slots=True)
class UnderReport:
    """A dishonest peer: its meter hides a share of what it takes from the grid."""

    share: float = 0.3

    def apply(self, day: Day, chance: Random) -> Day:  # noqa: ARG002
        """Report less of what was taken; what was injected is told in full."""
        return _each(day, lambda wh: wh if wh > 0 else wh * (1 - self.share))


@dataclass(frozen=True, slots=True)
class Replay:
    """What was sent for the session before is sent again, in place of a new reading.

    Parameters
    ----------
    relabelled
        Whether it pretends to be of this session; the signature is still the old one.
    """

    relabelled: bool = False

    def apply(self, day: Day, chance: Random) -> Day:  # noqa: ARG002
        """Send the old one, if there is one."""
        if day.before is None or not self.relabelled:
            return replace(day, resent=day.before)
        reading = replace(day.before.reading, session_start=day.session_start)
        return replace(day, resent=replace(day.before, reading=reading))


@dataclass(frozen=True, slots=True)
class Again:
    """What is sent comes a second time, so many seconds after the first."""

    seconds: int = SECONDS_PER_HOUR

    def apply(self, day: Day, chance: Random) -> Day:  # noqa: ARG002
        """Send it twice."""
        return replace(day, again_after=self.seconds)


@dataclass(frozen=True, slots=True)
class OtherKey:
    """The reading is signed with a key that is not the meter's."""

    key: LocalAccount | P256Meter = field(default_factory=lambda: meter_key(0))

    def apply(self, day: Day, chance: Random) -> Day:  # noqa: ARG002
        """Change the key."""
        return replace(day, key=self.key)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What comes of a meter's session.

    Attributes
    ----------
    signed
        None if nothing is ever sent.
    missing
        Periods that were not counted.
    is_old
        Whether it is a reading of an earlier session, in place of a new one.
    is_again
        Whether it came before.
    """

    peer: int
    arrives_at: int
    signed: SignedReading | None
    missing: tuple[int, ...] = ()
    is_old: bool = False
    is_again: bool = False


@dataclass
class Fleet:
    """The meters of a market.

    Parameters
    ----------
    domain
        What signatures are meant for: `Chain.reading_domain`.
    keys
        By peer; those of `meter_key` if the meters were registered with them.
    behaviours
        Of each peer, in the sequence in which they apply; None of an honest meter.
    delay_seconds
        From the end of a session to the arrival of its readings.
    sent
        By peer the last new reading that was sent, which `Replay` sends again.
    """

    domain: Domain
    market: int
    terms: MarketTerms
    keys: Mapping[int, LocalAccount | P256Meter]
    seed: int = 0
    delay_seconds: int = 60
    behaviours: dict[int, tuple[Behaviour, ...]] = field(default_factory=dict)
    sent: dict[int, SignedReading] = field(default_factory=dict, repr=False)

    def give(self, *behaviours: Behaviour, peers: Iterable[int] | None = None) -> None:
        """Add behaviours to those of some peers, or of all."""
        for peer in self.keys if peers is None else peers:
            self.behaviours[peer] = (*self.behaviours.get(peer, ()), *behaviours)

    def some(self, share: float, among: Collection[int] | None = None) -> list[int]:
        """A share of the peers, at random but always the same; rounded, at least one."""
        peers = sorted(self.keys if among is None else among)
        many = max(1, round(share * len(peers)))
        return sorted(Random(f"{self.seed}/some").sample(peers, many))  # noqa: S311 (no secret)

    def session(self, start: int, energy_wh: Mapping[int, Sequence[int]]) -> list[Arrival]:
        """What the meters send for a session, by the time of its arrival.

        Parameters
        ----------
        energy_wh
            What truly flowed, by peer and period: injected positive, taken negative.
        """
        arrivals = [
            arrival
            for peer in sorted(energy_wh)
            for arrival in self._arrivals(start, peer, energy_wh[peer])
        ]
        return sorted(arrivals, key=lambda arrival: (arrival.arrives_at, arrival.peer))

    def _arrivals(self, start: int, peer: int, energy_wh: Sequence[int]) -> Iterator[Arrival]:
        chance = Random(f"{self.seed}/{start}/{peer}")  # noqa: S311 (no secret)
        arrives = self.terms.session_end(start) + self.delay_seconds
        day = Day(peer, start, tuple(energy_wh), arrives, self.keys[peer], self.sent.get(peer))
        for behaviour in self.behaviours.get(peer, ()):
            day = behaviour.apply(day, chance)
        missing = tuple(at for at, wh in enumerate(day.energy_wh) if wh is None)
        signed = day.resent
        if signed is None and not missing:
            counted = tuple(wh for wh in day.energy_wh if wh is not None)
            signed = Reading(self.market, peer, start, counted).signed_by(day.key, self.domain)
            self.sent[peer] = signed
        first = Arrival(peer, day.arrives_at, signed, missing, is_old=day.resent is not None)
        yield first
        if day.again_after is not None and signed is not None:
            yield replace(first, arrives_at=day.arrives_at + day.again_after, is_again=True)


def _each(day: Day, change: Callable[[int], float]) -> Day:
    """Change every value that was counted, rounded to whole Wh, as far as a lane holds it."""
    energy = tuple(
        None if wh is None else max(-MAX_ENERGY_WH, min(MAX_ENERGY_WH, round(change(wh))))
        for wh in day.energy_wh
    )
    return replace(day, energy_wh=energy)
