"""Solve a Pyomo model with HiGHS: an optimum with its duals comes back, or an error that says why.

Of Pyomo's two doors to HiGHS `contrib.solver` is taken: `appsi` refuses quadratic objectives.
Linear programs and quadratic ones with a convex objective can be solved. A model that has no
optimum is an error here, not a status: a published model without an optimum has no figures to show.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.repn import generate_standard_repn

from fairwatt.errors import (
    ModelError,
    ModelInfeasible,
    ModelNotConvex,
    ModelTimeLimit,
    ModelUnbounded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Optimum", "require_convex", "solve"]

_NEGATIVE: Final = -1e-9
"""Curvature, relative to the largest, below which an objective counts as not convex."""

_LINEAR_ATTEMPTS: Final[tuple[dict[str, object], ...]] = ({}, {"presolve": "off"})
"""Presolve cannot always tell infeasible from unbounded; without it simplex can."""

_QUADRATIC_ATTEMPTS: Final[tuple[dict[str, object], ...]] = (
    {"qp_regularization_value": 1e-10},
    {"qp_regularization_value": 1e-7},
    {"qp_regularization_value": 1e-9, "user_bound_scale": 3},
    {"qp_regularization_value": 1e-7, "presolve": "off"},
)
"""HiGHS adds a little curvature to every variable, 1e-7 by default, which moves the optimum by 1e-5
where prices are in cents. With less it is exact, but now and then gives up, goes in circles, or
takes a direction that costs nothing for one that earns without bound."""

_INCONCLUSIVE: Final = (
    TerminationCondition.infeasibleOrUnbounded,
    TerminationCondition.unknown,
    TerminationCondition.error,
    TerminationCondition.iterationLimit,
)


@dataclass(frozen=True, eq=False)
class Optimum:
    """An optimum; the values of the variables are loaded into the model itself.

    Attributes
    ----------
    objective
        Its value, constants included.
    seconds
        Wall time of the solve, the translation by Pyomo included.
    solver_seconds
        Of these, within HiGHS.
    """

    objective: float
    seconds: float
    solver_seconds: float
    _duals: dict[int, float]

    def dual(self, constraint: Any) -> float:
        """By how much the objective rises per unit by which the constraint's right side rises."""
        return self._duals[id(constraint)]

    def duals(self, constraint: Any) -> dict[Any, float]:
        """Duals of an indexed constraint by index; `Constraint.Skip`ped ones are missing."""
        return {index: self.dual(constraint[index]) for index in constraint}


def solve(
    model: pyo.ConcreteModel,
    *,
    duals: Iterable[Any] = (),
    time_limit_s: float | None = None,
    threads: int = 1,
) -> Optimum:
    """Solve a model and load the optimum into its variables.

    Parameters
    ----------
    model
        With one active objective, linear or convex quadratic, and linear constraints.
    duals
        Constraints, indexed or not, whose duals are wanted.
    time_limit_s
        Wall time within HiGHS; None for no limit.
    threads
        Of HiGHS.

    Raises
    ------
    ModelNotConvex
        If the objective curves the wrong way; found before anything is solved.
    ModelInfeasible, ModelUnbounded, ModelTimeLimit
        If there is no optimum, or none in time.
    ModelError
        If HiGHS gave up.
    """
    quadratic = require_convex(model)
    start = perf_counter()
    if next(model.component_data_objects(pyo.Var), None) is None:
        return Optimum(pyo.value(_objective(model)), 0.0, 0.0, {})  # HiGHS calls it "unknown"
    common: dict[str, object] = {"threads": threads}
    if quadratic:
        common["qp_iteration_limit"] = 1000 + 10 * (model.nvariables() + model.nconstraints())
    for attempt in _QUADRATIC_ATTEMPTS if quadratic else _LINEAR_ATTEMPTS:
        result = _run(model, {**common, **attempt}, time_limit_s)
        ending = result.termination_condition
        falls = quadratic and ending is TerminationCondition.unbounded
        if ending not in _INCONCLUSIVE and not falls:
            break
    _require_optimum(model, result, time_limit_s)
    result.solution_loader.load_vars()
    wanted = [data for constraint in duals for data in constraint.values()]
    found = result.solution_loader.get_duals(wanted) if wanted else {}
    return Optimum(
        pyo.value(_objective(model)),
        perf_counter() - start,
        result.timing_info.highs_time,
        {id(data): dual for data, dual in found.items()},
    )


def require_convex(model: pyo.ConcreteModel) -> bool:
    """Require an objective that HiGHS can bring to a proved optimum; whether it is quadratic.

    Raises
    ------
    ModelNotConvex
        If it is to be minimised and curves down in some direction, if it is to be maximised and
        curves up, or if it is not quadratic at all.
    """
    objective = _objective(model)
    form = generate_standard_repn(objective.expr, quadratic=True)
    if form.nonlinear_expr is not None:
        raise ModelNotConvex(f"{model.name}: the objective is neither linear nor quadratic")
    if not form.quadratic_vars:
        return False
    sign = 1.0 if objective.sense == pyo.minimize else -1.0
    curved = {id(x): x for pair in form.quadratic_vars for x in pair}
    position = {key: at for at, key in enumerate(curved)}
    products = [
        (position[id(x)], position[id(y)], sign * pyo.value(coefficient))
        for (x, y), coefficient in zip(form.quadratic_vars, form.quadratic_coefs, strict=True)
    ]
    names = [x.name for x in curved.values()]
    squares, mixed = np.zeros(len(curved)), [each for each in products if each[0] != each[1]]
    for one, other, coefficient in products:
        if one == other:
            squares[one] += coefficient
    largest = max(abs(coefficient) for _, _, coefficient in products)
    worst = int(squares.argmin())
    if squares[worst] < _NEGATIVE * largest:
        raise ModelNotConvex(
            f"{model.name}: the cost of {names[worst]} has the quadratic coefficient "
            f"{squares[worst]:g}; a cost that falls ever faster is not convex and no optimum "
            "could be proved: use 0 or more"
        )
    if mixed and _least_curvature(squares, mixed) < _NEGATIVE * largest:
        raise ModelNotConvex(
            f"{model.name}: the products of variables in the objective make it curve down in some "
            "direction; it is not convex and no optimum could be proved"
        )
    return True


def _least_curvature(squares: NDArray[np.float64], mixed: list[tuple[int, int, float]]) -> float:
    """Smallest eigenvalue of the quadratic form among the variables that stand in products."""
    among = sorted({at for one, other, _ in mixed for at in (one, other)})
    position = {at: index for index, at in enumerate(among)}
    form = np.diag(squares[among])
    for one, other, coefficient in mixed:
        form[position[one], position[other]] += coefficient / 2
        form[position[other], position[one]] += coefficient / 2
    return float(np.linalg.eigvalsh(form)[0])


def _objective(model: pyo.ConcreteModel) -> Any:
    return next(model.component_data_objects(pyo.Objective, active=True))


def _run(model: pyo.ConcreteModel, options: dict[str, object], time_limit_s: float | None) -> Any:
    return SolverFactory("highs").solve(
        model,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
        time_limit=time_limit_s,
        solver_options=options,
    )


def _require_optimum(model: pyo.ConcreteModel, result: Any, time_limit_s: float | None) -> None:
    if result.solution_status is SolutionStatus.optimal:
        return
    match result.termination_condition:
        case TerminationCondition.provenInfeasible:
            raise ModelInfeasible(
                f"{model.name}: no values keep all constraints; something that must be served "
                "cannot be, by generation, trade or supplier"
            )
        case TerminationCondition.unbounded:
            raise ModelUnbounded(
                f"{model.name}: the cost falls without bound; some energy without limit is paid "
                "for more than it costs"
            )
        case TerminationCondition.maxTimeLimit:
            raise ModelTimeLimit(
                f"{model.name}: no optimum within the time limit of {time_limit_s:g} s; allow more"
            )
    raise ModelError(f"{model.name}: HiGHS ended with {result.termination_condition.name!r}")
