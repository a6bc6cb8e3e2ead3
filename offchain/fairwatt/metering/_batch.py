"""Readings as a file has them: channels that share their times, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fairwatt.metering._data import Finding

if TYPE_CHECKING:
    from fairwatt.metering._data import Channel

__all__ = ["MICRO", "Batch", "Readings", "common_step", "straightened"]

_DRIFTING_STEP: Final = 270  # seconds; of shorter intervals nobody knows whether they drift
_MOST_DRIFT: Final = 30  # seconds

MICRO: Final = 1_000_000
"""Micro-Wh per Wh: energies are whole numbers of it until they are whole Wh."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Readings of channels that were read at the same times.

    Parameters
    ----------
    channels
        Whose rows they are.
    times
        Shape (readings,), ascending Unix seconds: when intervals start, or counters were read.
        The same time may stand twice.
    values
        Shape (channels, readings), in units of the file; NaN for none.
    micro_wh
        Of a unit of the file; of a power for one second.
    kind
        `interval`, `register` or `power`.
    step_seconds
        Usual distance of readings.
    durations
        Length of each interval; None if all are of the usual length.
    marked
        Shape (readings,): what the file itself says is estimated or doubtful; None if nothing.
    rollover
        Unit of the file at which a counter begins again at zero; None if not known.
    """

    channels: tuple[Channel, ...]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    micro_wh: float
    kind: str
    step_seconds: int
    durations: NDArray[np.int64] | None = None
    marked: NDArray[np.bool_] | None = None
    rollover: float | None = None

    @property
    def start(self) -> int:
        """First moment it says something about."""
        return int(self.times[0])

    @property
    def end(self) -> int:
        """Last moment it says something about."""
        last = int(self.times[-1])
        if self.kind == "register":
            return last
        if self.durations is not None:
            return int((self.times + self.durations).max())
        return last + self.step_seconds


@dataclass(frozen=True, eq=False)
class Readings:
    """All readings of a file, with what was found while it was read."""

    batches: tuple[Batch, ...]
    findings: tuple[Finding, ...]


def common_step(times: NDArray[np.int64]) -> int:
    """The most frequent distance of ascending times; 0 if there are not two."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not steps.size:
        return 0
    if steps[0] == steps[-1] and (steps == steps[0]).all():
        return _minutes(int(steps[0]))
    found, counts = np.unique(steps, return_counts=True)
    if 2 * counts.max() < steps.size:  # clocks that are off by seconds
        found, counts = np.unique(np.maximum((steps + 30) // 60 * 60, 1), return_counts=True)
    return _minutes(int(found[np.argmax(counts)]))


def straightened(readings: Readings) -> Readings:
    """Put starts of intervals that are a few seconds off the minute there, and report it."""
    batches, findings = [], list(readings.findings)
    for batch in readings.batches:
        straight = (batch.times + 30) // 60 * 60
        drift = int(np.abs(batch.times - straight).max())
        if (
            batch.kind == "register"
            or batch.durations is not None
            or not 0 < drift <= min(_MOST_DRIFT, batch.step_seconds // 10)
        ):
            batches.append(batch)
            continue
        batches.append(replace(batch, times=straight))
        findings.extend(
            Finding(
                "clock",
                channel.meter,
                channel.direction,
                batch.start,
                batch.end,
                f"times are off by up to {drift} s",
                "corrected",
            )
            for channel in batch.channels
        )
    return Readings(tuple(batches), tuple(findings))


def _minutes(step: int) -> int:
    """Whole minutes, where a clock runs slow or fast."""
    return (step + 30) // 60 * 60 if step >= _DRIFTING_STEP else step
