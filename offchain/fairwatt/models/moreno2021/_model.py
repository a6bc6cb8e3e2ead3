"""Eqs. 1-8 of Moreno et al. 2021 in Pyomo, one function per equation.

Indices: n, m peers, t periods. `al[n, m, t]` and `bl[n, m, t]` are energy "to peer n from peer m",
as n counts what it buys and m what it sells. The paper sums eqs. 4-6 over all peers; its text says
what is meant, "all vectors of imported and exported power must be equal to the total power in this
peer", so 4 and 5 are stated for each peer and 6 for each pair, which implies the sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyomo.environ as pyo

from fairwatt.errors import ModelInfeasible
from fairwatt.models import _solving

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.models.moreno2021._instance import Instance

    Array = NDArray[np.float64]

__all__ = ["Dispatch", "model", "solve"]

_NOTHING_KWH: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Dispatch:
    """An optimum of the model. Arrays have shape (peers, periods) and are in kWh.

    Attributes
    ----------
    objective
        F of eq. 1, token (the paper's dollars).
    generation_kwh, import_kwh, export_kwh
        P, alpha, beta.
    trades_kwh
        Per pair (seller, buyer), shape (periods,); pairs that trade nothing are left out. Single
        trades are not unique where sellers cost the same.
    charge_kwh, discharge_kwh, level_kwh
        Storage at the meter, and its state at the end of each period; 0 without storage.
    build_seconds, solve_seconds
        Wall time to state the model and to have it solved.
    """

    objective: float
    generation_kwh: Array
    import_kwh: Array
    export_kwh: Array
    trades_kwh: dict[tuple[int, int], Array]
    charge_kwh: Array
    discharge_kwh: Array
    level_kwh: Array
    build_seconds: float
    solve_seconds: float


def solve(instance: Instance, *, time_limit_s: float | None = None) -> Dispatch:
    """State the model and solve it; as `fairwatt.models.moreno2021.solve`."""
    start = perf_counter()
    m = model(instance)
    built = perf_counter() - start
    try:
        optimum = _solving.solve(m, time_limit_s=time_limit_s)
    except ModelInfeasible as error:
        raise ModelInfeasible(_culprit(instance) or str(error)) from error
    charge, discharge = _array(m.charge, instance), _array(m.discharge, instance)
    # Taking and giving at once is free where nothing is lost: only the difference means anything.
    for n in m.stores:
        if _store(m, n).charge_efficiency == _store(m, n).discharge_efficiency == 1.0:
            both = np.minimum(charge[n], discharge[n])
            charge[n], discharge[n] = charge[n] - both, discharge[n] - both
    pairs = {(s, b): _row(m.al, (b, s), instance) for s, b in instance.import_price_per_kwh}
    return Dispatch(
        optimum.objective,
        _array(m.p, instance),
        _array(m.alpha, instance),
        _array(m.beta, instance),
        {pair: energy for pair, energy in pairs.items() if energy.max(initial=0) > _NOTHING_KWH},
        charge,
        discharge,
        _array(m.level, instance),
        built,
        optimum.seconds,
    )


def model(instance: Instance) -> pyo.ConcreteModel:
    """State eqs. 1-8 for an instance."""
    m = pyo.ConcreteModel("moreno2021")
    m.instance = instance
    m.peers = range(len(instance.members))
    m.periods = range(instance.periods)
    m.pairs = [(buyer, seller) for seller, buyer in instance.import_price_per_kwh]
    m.sellers_to = {n: [] for n in m.peers}
    m.buyers_from = {n: [] for n in m.peers}
    for buyer, seller in m.pairs:
        m.sellers_to[buyer].append(seller)
        m.buyers_from[seller].append(buyer)
    m.stores = [n for n in m.peers if instance.members[n].storage is not None]

    m.p = pyo.Var(m.peers, m.periods, domain=pyo.NonNegativeReals)
    m.alpha = pyo.Var(m.peers, m.periods, domain=pyo.NonNegativeReals)
    m.beta = pyo.Var(m.peers, m.periods, domain=pyo.NonNegativeReals)
    m.al = pyo.Var(m.pairs, m.periods, domain=pyo.NonNegativeReals)
    m.bl = pyo.Var(m.pairs, m.periods, domain=pyo.NonNegativeReals)
    m.charge = pyo.Var(m.stores, m.periods, domain=pyo.NonNegativeReals, bounds=charge_bounds)
    m.discharge = pyo.Var(m.stores, m.periods, domain=pyo.NonNegativeReals, bounds=discharge_bounds)
    m.level = pyo.Var(m.stores, m.periods, bounds=level_bounds)

    m.generation_limits = pyo.Constraint(m.peers, m.periods, rule=generation_limits)
    m.generation_is_load = pyo.Constraint(m.periods, rule=generation_is_load)
    m.imports_by_pair = pyo.Constraint(m.peers, m.periods, rule=imports_by_pair)
    m.exports_by_pair = pyo.Constraint(m.peers, m.periods, rule=exports_by_pair)
    m.imports_are_exports = pyo.Constraint(m.pairs, m.periods, rule=imports_are_exports)
    m.storage = pyo.Constraint(m.stores, m.periods, rule=storage)
    m.balance = pyo.Constraint(m.peers, m.periods, rule=balance)
    m.no_generation = pyo.Constraint(m.peers, m.periods, rule=no_generation)
    m.no_import = pyo.Constraint(m.peers, m.periods, rule=no_import)
    m.no_export = pyo.Constraint(m.peers, m.periods, rule=no_export)
    m.cost = pyo.Objective(rule=cost, sense=pyo.minimize)
    return m


# --- the objective --------------------------------------------------------------------------------


def cost(m: Any) -> Any:
    """Eq. 1: min sum_n Cg_n P_n + sum_n sum_m (Calpha_nm al_nm + Cbeta_nm bl_nm), over all periods.

    On top comes what storage wears, which the paper does not have: w times what it discharges.
    """
    generation = (
        float(m.instance.members[n].cost_per_kwh[t]) * m.p[n, t] for n in m.peers for t in m.periods
    )
    trade = (
        float(m.instance.import_price_per_kwh[seller, n][t]) * m.al[n, seller, t]
        + m.instance.export_price_per_kwh[seller, n] * m.bl[n, seller, t]
        for n, seller in m.pairs
        for t in m.periods
    )
    wear = (_store(m, n).cost_per_kwh * m.discharge[n, t] for n in m.stores for t in m.periods)
    return pyo.quicksum(generation) + pyo.quicksum(trade) + pyo.quicksum(wear)


# --- the constraints ------------------------------------------------------------------------------


def generation_limits(m: Any, n: int, t: int) -> Any:
    """Eq. 2: P_min_n <= P_n <= P_max_n."""
    member = m.instance.members[n]
    return pyo.inequality(float(member.least_kwh[t]), m.p[n, t], float(member.most_kwh[t]))


def generation_is_load(m: Any, t: int) -> Any:
    """Eq. 3: sum_n P_n = sum_n L_n; what storage takes or gives counts with the generation."""
    generated = pyo.quicksum(m.p[n, t] for n in m.peers)
    stored = pyo.quicksum(_from_storage(m, n, t) for n in m.stores)
    load = sum(float(member.load_kwh[t]) for member in m.instance.members)
    return generated + stored + _missing(m, m.peers, t) == load


def imports_by_pair(m: Any, n: int, t: int) -> Any:
    """Eq. 4: sum_m al_nm = alpha_n."""
    return pyo.quicksum(m.al[n, other, t] for other in m.sellers_to[n]) == m.alpha[n, t]


def exports_by_pair(m: Any, n: int, t: int) -> Any:
    """Eq. 5: sum_m bl_mn = beta_n, what all m get from n."""
    return pyo.quicksum(m.bl[other, n, t] for other in m.buyers_from[n]) == m.beta[n, t]


def imports_are_exports(m: Any, n: int, seller: int, t: int) -> Any:
    """Eq. 6: sum_n alpha_n = sum_n beta_n, as al_nm = bl_nm: both sides count the same trade."""
    return m.al[n, seller, t] == m.bl[n, seller, t]


def storage(m: Any, n: int, t: int) -> Any:
    """Eq. 7: S = f(S) + S(0), as S_t = S_{t-1} + eta_c charge_t - discharge_t / eta_d."""
    store = _store(m, n)
    before = m.level[n, t - 1] if t else store.initial_kwh
    taken = store.charge_efficiency * m.charge[n, t]
    return m.level[n, t] == before + taken - m.discharge[n, t] / store.discharge_efficiency


def balance(m: Any, n: int, t: int) -> Any:
    """Eq. 8: P_n + alpha_n + S_n - beta_n = L_n, with S_n what storage gives less what it takes."""
    stored = _from_storage(m, n, t) if n in m.stores else 0.0
    traded = m.alpha[n, t] - m.beta[n, t]
    load = float(m.instance.members[n].load_kwh[t])
    return m.p[n, t] + traded + stored + _missing(m, [n], t) == load


# --- roles (section 3.1) and storage limits -------------------------------------------------------


def no_generation(m: Any, n: int, t: int) -> Any:
    """Roles: "consumer peers only use power", P_n = 0."""
    return m.p[n, t] == 0 if m.instance.members[n].role == "consumer" else pyo.Constraint.Skip


def no_import(m: Any, n: int, t: int) -> Any:
    """Roles: "producer peers do not need to import electrical power", alpha_n = 0."""
    return m.alpha[n, t] == 0 if m.instance.members[n].role == "producer" else pyo.Constraint.Skip


def no_export(m: Any, n: int, t: int) -> Any:
    """Roles: consumers export nothing, beta_n = 0.

    Without it they would hand energy through: a consumer's Cg and export cost are 0, so what it
    resells would cost eq. 1 nothing, and leave a community without its export cost.
    """
    return m.beta[n, t] == 0 if m.instance.members[n].role == "consumer" else pyo.Constraint.Skip


def charge_bounds(m: Any, n: int, t: int) -> tuple[float, float]:
    """0 <= charge_t <= h charge power."""
    del t
    return 0.0, m.instance.hours * _store(m, n).charge_kw


def discharge_bounds(m: Any, n: int, t: int) -> tuple[float, float]:
    """0 <= discharge_t <= h discharge power."""
    del t
    return 0.0, m.instance.hours * _store(m, n).discharge_kw


def level_bounds(m: Any, n: int, t: int) -> tuple[float, float]:
    """0 <= S_t <= capacity, and S_last >= what is wanted at the end."""
    store = _store(m, n)
    return store.least_final_kwh if t == m.periods[-1] else 0.0, store.energy_kwh


def _store(m: Any, n: int) -> Any:
    return m.instance.members[n].storage


def _from_storage(m: Any, n: int, t: int) -> Any:
    return m.discharge[n, t] - m.charge[n, t]


# --- who cannot be served -------------------------------------------------------------------------


def _missing(m: Any, peers: Any, t: int) -> Any:
    """What is unserved less what is too much: nothing, but when a culprit is looked for."""
    if not hasattr(m, "unserved"):
        return 0.0
    return pyo.quicksum(m.unserved[n, t] - m.surplus[n, t] for n in peers)


def _culprit(instance: Instance) -> str | None:
    """Say who cannot be balanced, and when, with the least energy missing or left over in all."""
    m = model(instance)
    m.del_component(m.cost)
    for name in ("balance", "generation_is_load"):
        m.del_component(name)
    m.unserved = pyo.Var(m.peers, m.periods, domain=pyo.NonNegativeReals)
    m.surplus = pyo.Var(m.peers, m.periods, domain=pyo.NonNegativeReals)
    m.generation_is_load = pyo.Constraint(m.periods, rule=generation_is_load)
    m.balance = pyo.Constraint(m.peers, m.periods, rule=balance)
    m.cost = pyo.Objective(
        expr=pyo.quicksum(m.unserved.values()) + pyo.quicksum(m.surplus.values())
    )
    try:
        _solving.solve(m)
    except ModelInfeasible:
        return None  # it is not the balances: a storage cannot be as full as it has to
    for t in m.periods:
        for n in m.peers:
            name, missing = instance.members[n].name, m.unserved[n, t].value
            if missing > _NOTHING_KWH:
                return f"{name} cannot be served in period {t}: {missing:g} kWh are missing"
            if m.surplus[n, t].value > _NOTHING_KWH:
                return f"{name} has {m.surplus[n, t].value:g} kWh too much in period {t}"
    return None


def _row(variable: Any, pair: tuple[int, int], instance: Instance) -> Array:
    return np.array([variable[(*pair, t)].value for t in range(instance.periods)])


def _array(variable: Any, instance: Instance) -> Array:
    """Values over (peers, periods), 0 where there is no variable."""
    values = np.zeros((len(instance.members), instance.periods))
    for at, entry in variable.items():
        values[at] = max(0.0, entry.value)  # a solver may leave -1e-12
    return values
