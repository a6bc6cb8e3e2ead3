"""The one door to HiGHS: linear and convex quadratic programs as sparse arrays.

    minimise    cost . x + 1/2 x . diag(q) x
    subject to  row_lower <= A x <= row_upper,   lower <= x <= upper

An outcome is a status, not an exception: that a program is infeasible or that the time ran out is
an answer, and what it means only the caller can say. An exception means that HiGHS could not work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

import highspy
import numpy as np

from fairwatt.errors import SolverError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Indices = NDArray[np.int32] | NDArray[np.int64]

__all__ = ["INFINITY", "Method", "Program", "Progress", "Solution", "Status", "solve"]

INFINITY: Final = float("inf")
"""A bound that binds nothing."""

Method = Literal["choose", "simplex", "ipm", "pdlp"]
"""How HiGHS works; "choose" leaves it to HiGHS. Quadratic programs have a method of their own."""


class Status(Enum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    INFEASIBLE_OR_UNBOUNDED = "infeasible or unbounded"
    TIME_LIMIT = "time limit"
    ITERATION_LIMIT = "iteration limit"
    UNKNOWN = "unknown"
    """HiGHS gave up: what it holds passes its own tolerances in part only."""


@dataclass(frozen=True, eq=False)
class Program:
    """A program with `columns` unknowns and `rows` rows; the matrix column by column (CSC).

    Nothing is copied or converted if the arrays are float64, and int32 for `starts` and `indices`.

    Attributes
    ----------
    cost, lower, upper
        Per column, shape (columns,); bounds may be infinite.
    row_lower, row_upper
        Per row, shape (rows,); equal for an equation, may be infinite.
    starts
        Where the entries of each column begin, shape (columns + 1,).
    indices, values
        Row and value of each entry, shape (entries,); no row twice in a column.
    quadratic_diagonal
        q per column, shape (columns,), not negative; None for a linear program.
    """

    cost: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    row_lower: NDArray[np.float64]
    row_upper: NDArray[np.float64]
    starts: Indices
    indices: Indices
    values: NDArray[np.float64]
    quadratic_diagonal: NDArray[np.float64] | None = None

    @property
    def columns(self) -> int:
        """Number of unknowns."""
        return self.cost.size

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.row_lower.size


@dataclass(frozen=True, eq=False)
class Solution:
    """What came of a solve. The arrays are empty unless the status is `Status.OPTIMAL`.

    Attributes
    ----------
    status
        How it ended; look here first.
    values
        x, shape (columns,).
    row_duals
        By how much the objective rises per unit by which the row's bounds rise, shape (rows,).
    reduced_costs
        cost + q x - A^T row_duals, shape (columns,).
    objective
        Least cost; NaN unless optimal.
    seconds
        Wall time within HiGHS, the passing of the arrays included.
    iterations
        Of whatever method ran.
    """

    status: Status
    values: NDArray[np.float64] = field(repr=False)
    row_duals: NDArray[np.float64] = field(repr=False)
    reduced_costs: NDArray[np.float64] = field(repr=False)
    objective: float
    seconds: float
    iterations: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a solve is; nobody knows how far it has to go.

    Attributes
    ----------
    seconds
        Since it started.
    iterations
        So far, of the method that runs.
    """

    seconds: float
    iterations: int


def solve(
    program: Program,
    *,
    method: Method = "choose",
    presolve: bool = True,
    scale: bool = True,
    parallel: bool = False,
    time_limit_s: float | None = None,
    iteration_limit: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Solution:
    """Solve a program.

    Parameters
    ----------
    presolve, scale
        Whether HiGHS may shrink and scale the program first. Without either, simplex adds up the
        very numbers it is given.
    parallel
        Whether more than one core may be used.
    time_limit_s
        Wall time after which HiGHS stops with `Status.TIME_LIMIT`; None for no limit.
    iteration_limit
        Simplex iterations after which it stops with `Status.ITERATION_LIMIT`.
    progress
        Called now and then, at most ten times a second, by simplex and interior point only. What
        it raises, Ctrl-C included, ends the solve and is raised here.

    Raises
    ------
    SolverError
        If HiGHS refuses the program (a NaN, a row that is not there, a negative curvature), or
        fails.
    """
    _check(program)
    start = perf_counter()
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    options: dict[str, bool | int | float | str] = {
        "output_flag": False,
        "solver": method,
        "presolve": "choose" if presolve else "off",
        "parallel": "choose" if parallel else "off",
    }
    if not scale:
        options["simplex_scale_strategy"] = 0
    if time_limit_s is not None:
        options["time_limit"] = float(time_limit_s)
    if iteration_limit is not None:
        options["simplex_iteration_limit"] = iteration_limit
    for option, value in options.items():
        _require(solver.setOptionValue(option, value), f"the option {option} = {value!r}")
    _pass(solver, program)
    failures = _report(solver, progress) if progress is not None else []
    _require(solver.run(), "the program")
    if failures:
        raise failures[0]
    if not program.columns and ((program.row_lower > 0) | (program.row_upper < 0)).any():
        # Without columns HiGHS looks at no row.
        return _without_values(Status.INFEASIBLE, perf_counter() - start)
    return _solution(solver, perf_counter() - start)


def _check(program: Program) -> None:
    """Find what HiGHS would take without a word, or die of."""
    for name in ("lower", "upper"):
        _require_length(name, getattr(program, name), program.columns)
    _require_length("row_upper", program.row_upper, program.rows)
    _require_length("starts", program.starts, program.columns + 1)
    _require_length("indices", program.indices, int(program.starts[-1]))
    _require_length("values", program.values, int(program.starts[-1]))
    for name in ("cost", "values"):
        _require_none(~np.isfinite(getattr(program, name)), name, "must be finite")
    for name in ("lower", "upper", "row_lower", "row_upper"):
        _require_none(np.isnan(getattr(program, name)), name, "must be a number")
    if program.indices.size:
        _require_none(
            (program.indices < 0) | (program.indices >= program.rows), "indices", "is no row"
        )
    if program.quadratic_diagonal is not None:
        _require_length("quadratic_diagonal", program.quadratic_diagonal, program.columns)
        wrong = ~((program.quadratic_diagonal >= 0) & np.isfinite(program.quadratic_diagonal))
        _require_none(wrong, "quadratic_diagonal", "must be finite and not negative")


def _require_length(name: str, array: NDArray[Any], length: int) -> None:
    if array.shape != (length,):
        raise SolverError(f"the program's {name} has shape {array.shape}, expected ({length},)")


def _require_none(wrong: NDArray[np.bool_], name: str, problem: str) -> None:
    if wrong.any():
        raise SolverError(f"the program's {name}[{int(wrong.argmax())}] {problem}")


def _require(status: highspy.HighsStatus, what: str) -> None:
    if status == highspy.HighsStatus.kError:
        raise SolverError(f"HiGHS refused {what}")


def _pass(solver: highspy.Highs, program: Program) -> None:
    # As arrays: an HighsLp would copy them number by number, in four times the time.
    status = solver.passModel(
        program.columns,
        program.rows,
        program.values.size,
        highspy.MatrixFormat.kColwise.value,
        highspy.ObjSense.kMinimize.value,
        0.0,
        program.cost,
        program.lower,
        program.upper,
        program.row_lower,
        program.row_upper,
        program.starts,
        program.indices,
        program.values,
        np.zeros(program.columns, np.int32),  # all columns are continuous
    )
    _require(status, "the program")
    if program.quadratic_diagonal is None:
        return
    curved = np.flatnonzero(program.quadratic_diagonal)
    starts = np.searchsorted(curved, np.arange(program.columns + 1))
    status = solver.passHessian(
        program.columns,
        curved.size,
        highspy.HessianFormat.kTriangular.value,
        starts.astype(np.int32),
        curved.astype(np.int32),
        program.quadratic_diagonal[curved],
    )
    _require(status, "the quadratic costs")


def _report(solver: highspy.Highs, progress: Callable[[Progress], None]) -> list[BaseException]:
    """Have `progress` called; what it raises must not pass through HiGHS, so it is listed."""
    failures: list[BaseException] = []
    start = perf_counter()
    due, done = 0.0, 0

    def report(event: highspy.highs.HighsCallbackEvent) -> None:
        nonlocal due, done
        out = event.data_out  # says -1 where HiGHS does not count
        done = max(done, out.simplex_iteration_count, out.ipm_iteration_count)
        seconds = perf_counter() - start
        if seconds >= due and not failures:
            due = seconds + 0.1
            try:
                progress(Progress(seconds, done))
            except BaseException as failure:  # noqa: BLE001 - raised again by `solve`
                failures.append(failure)
        if failures:
            event.interrupt()

    solver.cbSimplexInterrupt.subscribe(report)
    solver.cbIpmInterrupt.subscribe(report)
    return failures


def _solution(solver: highspy.Highs, seconds: float) -> Solution:
    ending = solver.getModelStatus()
    status = _STATUS.get(ending)
    if status is None:
        raise SolverError(f"HiGHS ended with {solver.modelStatusToString(ending)!r}")
    info, found = solver.getInfo(), solver.getSolution()
    counts = (
        info.simplex_iteration_count, info.ipm_iteration_count,
        info.pdlp_iteration_count, info.qp_iteration_count,
    )  # fmt: skip
    optimal = status is Status.OPTIMAL
    nothing = np.empty(0)
    return Solution(
        status,
        np.asarray(found.col_value) if optimal else nothing,
        np.asarray(found.row_dual) if optimal else nothing,
        np.asarray(found.col_dual) if optimal else nothing,
        info.objective_function_value if optimal else float("nan"),
        seconds,
        sum(max(count, 0) for count in counts),
    )


def _without_values(status: Status, seconds: float) -> Solution:
    nothing = np.empty(0)
    return Solution(status, nothing, nothing, nothing, float("nan"), seconds, 0)


_STATUS: Final = {
    highspy.HighsModelStatus.kOptimal: Status.OPTIMAL,
    highspy.HighsModelStatus.kModelEmpty: Status.OPTIMAL,
    highspy.HighsModelStatus.kInfeasible: Status.INFEASIBLE,
    highspy.HighsModelStatus.kUnbounded: Status.UNBOUNDED,
    highspy.HighsModelStatus.kUnboundedOrInfeasible: Status.INFEASIBLE_OR_UNBOUNDED,
    highspy.HighsModelStatus.kTimeLimit: Status.TIME_LIMIT,
    highspy.HighsModelStatus.kIterationLimit: Status.ITERATION_LIMIT,
    highspy.HighsModelStatus.kUnknown: Status.UNKNOWN,
}
