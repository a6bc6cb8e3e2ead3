"""From the meter's intervals to the market's periods, in whole Wh, without losing one.

The energy up to each boundary of periods is rounded, and a period is the difference of its two
boundaries: so what is rounded off in one period is carried into the next, and over any span of
periods the sum is off by less than a Wh from the exact one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairwatt.metering._batch import MICRO

if TYPE_CHECKING:
    from fairwatt.metering._cells import Cells, Horizon

__all__ = ["energy_wh", "touched"]


def energy_wh(cells: Cells, horizon: Horizon, out: NDArray[np.int64]) -> None:
    """Write the energy in each period to `out`, shape (channels, periods), whole Wh."""
    up_to = _up_to_boundaries(cells, horizon)
    up_to += MICRO // 2
    up_to //= MICRO
    np.subtract(up_to[:, 1:], up_to[:, :-1], out=out)


def touched(cells: Cells, horizon: Horizon, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Periods that have part in a flagged cell, shape (channels, periods)."""
    step = cells.step_seconds
    boundaries = horizon.start + horizon.period_seconds * np.arange(horizon.periods + 1)
    first = (boundaries[:-1] - cells.start) // step
    last = -((cells.start - boundaries[1:]) // step)
    counts = np.zeros((flags.shape[0], flags.shape[1] + 1), np.int32)
    np.cumsum(flags, axis=1, out=counts[:, 1:])
    result: NDArray[np.bool_] = counts[:, last] > counts[:, first]
    return result


def _up_to_boundaries(cells: Cells, horizon: Horizon) -> NDArray[np.int64]:
    """Micro-Wh from the first boundary of periods up to each, shape (channels, periods + 1)."""
    energy, step, period = cells.energy, cells.step_seconds, horizon.period_seconds
    total = np.zeros((energy.shape[0], energy.shape[1] + 1), np.int64)
    np.cumsum(energy, axis=1, out=total[:, 1:])
    first, off = divmod(horizon.start - cells.start, step)
    if off == 0 and period % step == 0:
        each = period // step
        up_to = total[:, first : first + horizon.periods * each + 1 : each]
    else:
        up_to = _cut(cells, horizon, total)
    if up_to[:, 0].any():
        up_to = up_to - up_to[:, :1]
    return up_to


def _cut(cells: Cells, horizon: Horizon, total: NDArray[np.int64]) -> NDArray[np.int64]:
    """Energy up to boundaries within cells: each second of a cell has the same part of it."""
    energy, step, period = cells.energy, cells.step_seconds, horizon.period_seconds
    boundaries = horizon.start - cells.start + period * np.arange(horizon.periods + 1)
    at, rest = np.divmod(boundaries, step)
    inside = np.minimum(at, energy.shape[1] - 1)
    whole, part = np.divmod(energy[:, inside], step)
    up_to: NDArray[np.int64] = total[:, at] + whole * rest + part * rest // step
    return up_to
