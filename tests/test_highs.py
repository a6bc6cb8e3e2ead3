"""`fairwatt.highs`: what comes out of small programs, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fairwatt.errors import SolverError
from fairwatt.highs import INFINITY, Program, Progress, Status, solve


def program(
    cost: list[float],
    row: tuple[float, float],
    *,
    upper: float = INFINITY,
    quadratic: list[float] | None = None,
) -> Program:
    """Columns of at least 0 that sum to something within `row`."""
    count = len(cost)
    return Program(
        cost=np.array(cost),
        lower=np.zeros(count),
        upper=np.full(count, upper),
        row_lower=np.array([row[0]]),
        row_upper=np.array([row[1]]),
        starts=np.arange(count + 1),
        indices=np.zeros(count, np.int64),
        values=np.ones(count),
        quadratic_diagonal=None if quadratic is None else np.array(quadratic),
    )


@pytest.mark.parametrize("method", ["choose", "simplex", "ipm"])
def test_solve__linear__cheapest_first_and_the_price_of_one_more(method: Any) -> None:
    solution = solve(program([1.0, 2.0], (3.0, 3.0), upper=2.0), method=method)
    assert solution.status is Status.OPTIMAL
    assert solution.values == pytest.approx([2.0, 1.0])
    assert solution.row_duals == pytest.approx([2.0])
    assert solution.reduced_costs == pytest.approx([-1.0, 0.0])
    assert solution.objective == pytest.approx(4.0)
    assert solution.seconds > 0


def test_solve__without_presolve_and_scaling__the_same() -> None:
    some = program([1.0, 2.0], (3.0, 3.0), upper=2.0)
    assert solve(some, presolve=False, scale=False).values.tolist() == [2.0, 1.0]


def test_solve__quadratic__marginal_costs_are_equal() -> None:
    solution = solve(program([0.0, 0.0], (3.0, 3.0), quadratic=[1.0, 2.0]))
    assert solution.values == pytest.approx([2.0, 1.0], abs=1e-6)
    assert solution.row_duals == pytest.approx([2.0], abs=1e-6)
    assert solution.objective == pytest.approx(3.0)


def test_solve__quadratic_in_some_columns_only() -> None:
    solution = solve(program([1.0, 0.0], (3.0, 3.0), quadratic=[0.0, 1.0]))
    assert solution.values == pytest.approx([2.0, 1.0], abs=1e-6)


@pytest.mark.parametrize(
    ("some", "status"),
    [
        (program([1.0], (3.0, 3.0), upper=2.0), Status.INFEASIBLE),
        (program([1.0], (3.0, 3.0), upper=2.0, quadratic=[1.0]), Status.INFEASIBLE),
        (program([], (3.0, 3.0)), Status.INFEASIBLE),
        (program([-1.0], (0.0, INFINITY)), Status.UNBOUNDED),
    ],
)
def test_solve__no_optimum__status_and_no_numbers(some: Program, status: Status) -> None:
    solution = solve(some)
    assert solution.status is status
    assert solution.values.size == solution.row_duals.size == solution.reduced_costs.size == 0
    assert np.isnan(solution.objective)


def hard() -> Program:
    """A program that takes more than a second."""
    generator = np.random.default_rng(5)
    columns, rows, each = 60_000, 1_500, 3
    indices = generator.integers(0, rows // each, (columns, each)) + np.arange(each) * 500
    values = generator.normal(size=columns * each)
    inside = np.bincount(indices.ravel(), values * 0.5, rows).astype(float)
    return Program(
        cost=generator.normal(size=columns),
        lower=np.zeros(columns),
        upper=np.ones(columns),
        row_lower=inside,
        row_upper=inside,
        starts=np.arange(columns + 1) * each,
        indices=indices.ravel(),
        values=values,
    )


def test_solve__time_limit__is_a_status() -> None:
    solution = solve(hard(), method="simplex", time_limit_s=0.2)
    assert solution.status is Status.TIME_LIMIT
    assert solution.seconds < 2


def test_solve__iteration_limit__is_a_status() -> None:
    solution = solve(hard(), method="simplex", presolve=False, iteration_limit=10)
    assert solution.status is Status.ITERATION_LIMIT


def test_solve__progress__is_told_how_far_it_is() -> None:
    seen: list[Progress] = []

    def watch(step: Progress) -> None:
        seen.append(step)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(hard(), method="simplex", time_limit_s=60, progress=watch)
    assert len(seen) == 2
    assert [step.seconds for step in seen] == sorted(step.seconds for step in seen)


def test_solve__progress_raises__ends_the_solve() -> None:
    def interrupted(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(hard(), method="simplex", time_limit_s=5, progress=interrupted)


FINE = program([1.0, 2.0], (3.0, 3.0))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cost": np.array([1.0, np.nan])}, r"cost\[1\] must be finite"),
        ({"values": np.array([np.inf, 1.0])}, r"values\[0\] must be finite"),
        ({"upper": np.array([1.0, np.nan])}, r"upper\[1\] must be a number"),
        ({"row_lower": np.array([np.nan])}, r"row_lower\[0\] must be a number"),
        ({"indices": np.array([0, 1])}, r"indices\[1\] is no row"),
        ({"upper": np.array([1.0])}, r"upper has shape \(1,\), expected \(2,\)"),
        ({"starts": np.array([0, 1])}, r"starts has shape \(2,\), expected \(3,\)"),
        ({"quadratic_diagonal": np.array([1.0, -1.0])}, r"quadratic_diagonal\[1\] must be"),
        ({"starts": np.array([1, 0, 2])}, "HiGHS refused the program"),
    ],
)
def test_solve__program_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SolverError, match=problem):
        solve(replace(FINE, **change))
