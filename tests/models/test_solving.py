"""`models._solving`: an optimum with its duals, or an error that says why there is none."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

from fairwatt.errors import (
    ModelError,
    ModelInfeasible,
    ModelNotConvex,
    ModelTimeLimit,
    ModelUnbounded,
)
from fairwatt.models._solving import require_convex, solve


def model_of(objective, bounds=(0, 10), sense=pyo.minimize) -> pyo.ConcreteModel:
    """Two variables x, y and the demand x + y = 4."""
    model = pyo.ConcreteModel("dispatch")
    model.x = pyo.Var(bounds=bounds)
    model.y = pyo.Var(bounds=bounds)
    model.cost = pyo.Objective(expr=objective(model.x, model.y), sense=sense)
    model.demand = pyo.Constraint(expr=model.x + model.y == 4)
    return model


def test_solve__linear__loads_the_values_and_returns_the_dual_of_the_demand():
    model = model_of(lambda x, y: 2 * x + 3 * y + 1, bounds=(0, 3))

    optimum = solve(model, duals=[model.demand])

    assert (model.x.value, model.y.value) == pytest.approx((3, 1))
    assert optimum.objective == pytest.approx(10)
    assert optimum.dual(model.demand) == pytest.approx(3)
    assert 0 < optimum.solver_seconds < optimum.seconds


def test_solve__indexed_constraint__gives_duals_by_index_without_the_skipped():
    model = pyo.ConcreteModel("many")
    model.x = pyo.Var([1, 2, 3], bounds=(0, None))
    model.cost = pyo.Objective(expr=sum(at * model.x[at] for at in (1, 2, 3)))
    model.least = pyo.Constraint(
        [1, 2, 3], rule=lambda m, at: pyo.Constraint.Skip if at == 2 else m.x[at] >= 1
    )

    assert solve(model, duals=[model.least]).duals(model.least) == pytest.approx({1: 1, 3: 3})


def test_solve__quadratic__marginal_costs_meet_the_dual():
    model = model_of(lambda x, y: x**2 + 3 * y**2)

    optimum = solve(model, duals=[model.demand])

    assert (model.x.value, model.y.value) == pytest.approx((3, 1), abs=1e-6)
    assert optimum.objective == pytest.approx(12)
    assert optimum.dual(model.demand) == pytest.approx(6)


def test_solve__maximise_concave__is_solved():
    model = model_of(lambda x, y: 10 - x**2 - y**2, sense=pyo.maximize)

    assert solve(model).objective == pytest.approx(2)


def test_solve__products_of_variables_that_are_convex__is_solved():
    model = model_of(lambda x, y: x**2 + y**2 - x * y)

    assert solve(model).objective == pytest.approx(4)


def test_solve__nothing_serves_the_demand__infeasible():
    with pytest.raises(ModelInfeasible, match="dispatch: no values keep all constraints"):
        solve(model_of(lambda x, y: x + y, bounds=(0, 1)))


def test_solve__cost_falls_for_ever__unbounded():
    with pytest.raises(ModelUnbounded, match="dispatch: the cost falls without bound"):
        solve(model_of(lambda x, y: x - y, bounds=(None, None)))


def test_solve__no_time__says_the_limit():
    model = pyo.ConcreteModel("long")
    model.x = pyo.Var(range(200), bounds=(0, 1))
    model.cost = pyo.Objective(expr=sum(-(at * 7 % 13 + 1) * model.x[at] for at in range(200)))
    model.rows = pyo.Constraint(
        range(100), rule=lambda m, r: sum((r * at % 11) * m.x[at] for at in range(200)) <= 50 + r
    )

    with pytest.raises(ModelTimeLimit, match="long: no optimum within the time limit of 0 s"):
        solve(model, time_limit_s=0)


def test_require_convex__negative_square__names_the_variable_before_solving():
    with pytest.raises(ModelNotConvex, match="the cost of y has the quadratic coefficient -1;"):
        require_convex(model_of(lambda x, y: x**2 - y**2))


def test_require_convex__maximise_a_convex_objective__refused():
    with pytest.raises(ModelNotConvex):
        solve(model_of(lambda x, y: x**2 + y, sense=pyo.maximize))


def test_require_convex__product_that_curves_down__refused():
    with pytest.raises(ModelNotConvex, match="curve down in some direction"):
        require_convex(model_of(lambda x, y: x**2 + y**2 + 3 * x * y))


def test_require_convex__not_even_quadratic__refused():
    with pytest.raises(ModelNotConvex, match="neither linear nor quadratic"):
        require_convex(model_of(lambda x, y: x**3 + y))


def test_model_errors__are_model_errors():
    for kind in (ModelInfeasible, ModelNotConvex, ModelTimeLimit, ModelUnbounded):
        assert issubclass(kind, ModelError)
