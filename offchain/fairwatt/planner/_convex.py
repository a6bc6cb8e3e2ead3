"""Separable quadratic costs by linear programs that look ever closer at their optimum.

A convex cost f over a box is replaced by straight lines between points of its graph, one column per
line. The optimum x of that program comes with prices; for these prices the cheapest place z of
each curved column is known in closed form, and

    sum of  [f(x) - p x] - [f(z) - p z]

bounds what x costs above the true optimum (p is what a unit of the column earns at the prices; the
other columns are exactly optimal for them). Then the points move: x and z are among the next ones,
with others near them, so the cost never rises.

The quadratic method of HiGHS 1.15 gives up on communities of five peers and leaves Wh of slack in
others; linear programs it solves to 1e-9, at any size.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt import highs
from fairwatt.highs import Solution, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fairwatt.highs import Method, Program, Progress

    Array = NDArray[np.float64]

__all__ = ["solve"]

_FIRST_LINES: Final = 16
_NEAREST_KWH: Final = 4e-6
"""Lines are no shorter than a quarter of this: ten times the tolerance of HiGHS."""
_TOLERANCES: Final = 3e-7, 3e-6
"""A column is at its optimum if its marginal cost is that close to the price, token/kWh, or its
energy to the best one, kWh."""
_ROUNDS: Final = 40


def solve(
    program: Program,
    *,
    method: Method,
    time_limit_s: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Solution:
    """Solve a program; its curved columns have finite bounds.

    The status is `Status.UNKNOWN` if the marginal costs do not come close to the prices.
    """
    if program.quadratic_diagonal is None:
        return highs.solve(program, method=method, time_limit_s=time_limit_s, progress=progress)
    start, iterations, status = perf_counter(), 0, Status.UNKNOWN
    curved = np.flatnonzero(program.quadratic_diagonal)
    q = program.quadratic_diagonal[curved]
    low, high = program.lower[curved], program.upper[curved]
    points = np.linspace(low, high, _FIRST_LINES + 1, axis=1)
    near, x = (high - low) / _FIRST_LINES, (low + high) / 2
    for _ in range(_ROUNDS):
        left = None if time_limit_s is None else time_limit_s - (perf_counter() - start)
        if left is not None and left <= 0:
            status = Status.TIME_LIMIT
            break
        lines = _with_lines(program, curved, q, points)
        found = highs.solve(lines, method=method, time_limit_s=left, progress=progress)
        iterations += found.iterations
        if found.status is not Status.OPTIMAL:
            status = found.status
            break
        before = x
        x = low + found.values[program.columns :].reshape(x.size, -1).sum(axis=1)
        z = np.clip(-found.reduced_costs[curved] / q, low, high)
        off = np.abs(x - z)
        if ((q * off <= _TOLERANCES[0]) | (off <= _TOLERANCES[1])).all():
            optimum = _optimum(program, program.quadratic_diagonal, curved, found, x)
            return replace(optimum, seconds=perf_counter() - start, iterations=iterations)
        near = np.where(np.abs(x - before) <= near, near / 8, near * 2)
        near = np.maximum(near, _NEAREST_KWH)
        points = np.stack([low, x - near, x - near / 4, x, x + near / 4, x + near, z, high], axis=1)
        points = np.sort(np.clip(points, low[:, None], high[:, None]), axis=1)
    none = np.empty(0)
    return Solution(status, none, none, none, float("nan"), perf_counter() - start, iterations)


def _with_lines(program: Program, curved: NDArray[np.int64], q: Array, points: Array) -> Program:
    """Fix the curved columns at their lower bounds and add one column per line above them."""
    slope = program.cost[curved, None] + q[:, None] * (points[:, :-1] + points[:, 1:]) / 2
    widths = np.diff(points, axis=1)
    first, size = program.starts[curved], np.diff(program.starts)[curved]
    count = widths.shape[1]
    sizes = np.repeat(size, count)
    ends = np.cumsum(sizes)
    entries = np.arange(sizes.sum()) + np.repeat(np.repeat(first, count) - (ends - sizes), sizes)
    upper = program.upper.copy()
    upper[curved] = program.lower[curved]
    return replace(
        program,
        cost=np.concatenate([program.cost, slope.ravel()]),
        lower=np.concatenate([program.lower, np.zeros(widths.size)]),
        upper=np.concatenate([upper, widths.ravel()]),
        starts=np.concatenate([program.starts, program.starts[-1] + ends]).astype(np.int32),
        indices=np.concatenate([program.indices, program.indices[entries]]),
        values=np.concatenate([program.values, program.values[entries]]),
        quadratic_diagonal=None,
    )


def _optimum(
    program: Program, q: Array, curved: NDArray[np.int64], found: Solution, x: Array
) -> Solution:
    """What was found, in the columns of the program itself."""
    values = found.values[: program.columns].copy()
    values[curved] = x
    return replace(
        found,
        values=values,
        reduced_costs=found.reduced_costs[: program.columns] + q * values,
        objective=float(program.cost @ values + q @ values**2 / 2),
    )
