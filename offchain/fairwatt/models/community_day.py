"""The community manager's day: what everybody draws, injects and trades at the least cost.

    minimise   sum over assets of their cost                                              (D1)
             + sum_n,t (retail_nt + delta_imp_n) import_nt
             - sum_n,t (feed_in_nt - delta_exp_n) export_nt
             + sum_l,t tariff_l flow_lt + phi sum_n,t (buy_nt + sell_nt)

    subject to the rules of each asset                                                (D2)-(D5)
               draw - inject = buy - sell + import - export        every peer, period      (D6)
               sum at z of (sell - buy) + inflow - outflow = 0     every node, period      (D7)
               |draw - inject| <= h connection                     every peer, period      (D8)
               import <= draw,   export <= inject                  every customer, period  (D9)

It is FleXunity D3.1, eqs. 3a-3g, with assets over many periods, several suppliers and a network in
place of the one balance 3c. D9 is what the market's books say too: a supplier backs only what its
customer itself draws and injects. It matters where peers of different suppliers, or without one,
meet. The price of a node and period is the dual of D7.

This is the plain text of the model: one variable per thing and period, nothing folded away. The
planner solves the same model from arrays and must find the same objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyomo.environ as pyo

from fairwatt.community import (
    Asset,
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Load,
    Photovoltaic,
    ShiftableLoad,
    Storage,
)
from fairwatt.models._solving import solve as _solve
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.community import Community

    Array = NDArray[np.float64]

__all__ = ["CommunityDay", "Schedule", "community_day", "solve"]

_DRAWS: Final = (Load, CurtailableLoad, ShiftableLoad, ElectricVehicle, Storage, HeatPump)
_INJECTS: Final = (Photovoltaic, Generator, Storage)
_HAS_LEVEL: Final = (Storage, HeatPump)


@dataclass(frozen=True, eq=False)
class Schedule:
    """What one asset does.

    Attributes
    ----------
    peer
        Index of its peer.
    asset
        The asset.
    draw_kwh, inject_kwh
        Shape (periods,); zeros where its kind cannot.
    level_kwh
        State at the end of each period, shape (periods,); None where its kind has none.
    """

    peer: int
    asset: Asset
    draw_kwh: Array
    inject_kwh: Array
    level_kwh: Array | None


@dataclass(frozen=True, eq=False)
class CommunityDay:
    """An optimum of the model.

    Attributes
    ----------
    objective
        D1, token.
    schedules
        One per asset, peer by peer.
    import_kwh, export_kwh
        With the supplier, shape (peers, periods).
    buy_kwh, sell_kwh
        In the community's market, shape (peers, periods); never both in one period.
    flows_kwh
        Shape (links, periods).
    price_per_kwh
        Duals of D7, token/kWh, shape (nodes, periods); NaN at a node without peers and links.
    build_seconds, solve_seconds, solver_seconds
        Wall time to state the model, to have it solved, and of the latter within HiGHS.
    """

    objective: float
    schedules: tuple[Schedule, ...]
    import_kwh: Array
    export_kwh: Array
    buy_kwh: Array
    sell_kwh: Array
    flows_kwh: Array
    price_per_kwh: Array
    build_seconds: float
    solve_seconds: float
    solver_seconds: float


def solve(community: Community, *, time_limit_s: float | None = None) -> CommunityDay:
    """State the model of a community and solve it.

    Raises
    ------
    ModelInfeasible, ModelUnbounded, ModelTimeLimit
        If there is no optimum, or none in time.
    """
    start = perf_counter()
    m = community_day(community)
    built = perf_counter()
    optimum = _solve(m, duals=[m.node_balance], time_limit_s=time_limit_s)
    net_buy = _array(m.buy, m.peers, m.periods) - _array(m.sell, m.peers, m.periods)
    price = np.full((len(m.nodes), len(m.periods)), np.nan)
    for (z, t), dual in optimum.duals(m.node_balance).items():
        price[z, t] = dual
    return CommunityDay(
        objective=optimum.objective,
        schedules=tuple(_schedule(m, n, k) for n, k in m.assets),
        import_kwh=_array(m.imports, m.peers, m.periods),
        export_kwh=_array(m.exports, m.peers, m.periods),
        buy_kwh=np.maximum(net_buy, 0.0),
        sell_kwh=np.maximum(-net_buy, 0.0),
        flows_kwh=_array(m.flow, m.links, m.periods),
        price_per_kwh=price,
        build_seconds=built - start,
        solve_seconds=optimum.seconds,
        solver_seconds=optimum.solver_seconds,
    )


def community_day(community: Community) -> pyo.ConcreteModel:
    """State the model of a community.

    Indices: peer n, its k-th asset (n, k), node z, link l, period t, all from 0.
    """
    m = pyo.ConcreteModel(community.name)
    m.community, m.hours = community, community.horizon.hours
    m.asset = {
        (n, k): a for n, peer in enumerate(community.peers) for k, a in enumerate(peer.assets)
    }
    m.assets = list(m.asset)
    m.peers = range(len(community.peers))
    m.nodes = range(len(community.network.nodes))
    m.links = range(len(community.network.links))
    m.periods = range(community.horizon.periods)
    m.customers = [n for n, peer in enumerate(community.peers) if peer.supplier is not None]
    m.peers_at = [
        [n for n, peer in enumerate(community.peers) if peer.node == node]
        for node in community.network.nodes
    ]
    m.draws = [(n, k) for n, k in m.assets if isinstance(m.asset[n, k], _DRAWS)]
    m.injects = [(n, k) for n, k in m.assets if isinstance(m.asset[n, k], _INJECTS)]
    m.storages = [(n, k) for n, k in m.assets if isinstance(m.asset[n, k], Storage)]
    m.heat_pumps = [(n, k) for n, k in m.assets if isinstance(m.asset[n, k], HeatPump)]
    m.tasks = [
        (n, k) for n, k in m.assets if isinstance(m.asset[n, k], (ShiftableLoad, ElectricVehicle))
    ]
    _add_variables(m)
    _add_constraints(m)
    m.cost = pyo.Objective(rule=total_cost, sense=pyo.minimize)
    return m


def _add_variables(m: pyo.ConcreteModel) -> None:
    m.draw = pyo.Var(m.draws, m.periods, bounds=draw_bounds)
    m.inject = pyo.Var(m.injects, m.periods, bounds=inject_bounds)
    m.level = pyo.Var(m.storages + m.heat_pumps, m.periods, bounds=level_bounds)
    m.imports = pyo.Var(m.peers, m.periods, bounds=supply_bounds)
    m.exports = pyo.Var(m.peers, m.periods, bounds=supply_bounds)
    m.buy = pyo.Var(m.peers, m.periods, within=pyo.NonNegativeReals)
    m.sell = pyo.Var(m.peers, m.periods, within=pyo.NonNegativeReals)
    m.flow = pyo.Var(m.links, m.periods, bounds=flow_bounds)


def _add_constraints(m: pyo.ConcreteModel) -> None:
    m.task_energy = pyo.Constraint(m.tasks, rule=task_energy)
    m.storage_state = pyo.Constraint(m.storages, m.periods, rule=storage_state)
    m.building_heat = pyo.Constraint(m.heat_pumps, m.periods, rule=building_heat)
    m.peer_balance = pyo.Constraint(m.peers, m.periods, rule=peer_balance)
    m.node_balance = pyo.Constraint(m.nodes, m.periods, rule=node_balance)
    limited = [n for n in m.peers if m.community.peers[n].connection_kw is not None]
    m.connection = pyo.Constraint(limited, m.periods, rule=connection)
    m.own_import = pyo.Constraint(m.customers, m.periods, rule=own_import)
    m.own_export = pyo.Constraint(m.customers, m.periods, rule=own_export)


# --- what assets may do ---------------------------------------------------------------------------


def draw_bounds(m: Any, n: int, k: int, t: int) -> tuple[float, float]:
    """D2, what an asset may draw.

    load                           d_t = energy_t
    curtailable load               (1 - share) energy_t <= d_t <= energy_t
    shiftable load, vehicle        0 <= d_t <= h power within the window, else d_t = 0
    storage                        0 <= d_t <= h charge
    heat pump                      0 <= d_t <= h power
    """
    match asset := m.asset[n, k]:
        case Load():
            energy = _at(m, asset, "energy_kwh", t)
            return energy, energy
        case CurtailableLoad():
            energy = _at(m, asset, "energy_kwh", t)
            return (1 - asset.share) * energy, energy
        case ShiftableLoad() | ElectricVehicle():
            return 0.0, m.hours * asset.power_kw if t in _window(asset) else 0.0
        case Storage():
            return 0.0, m.hours * asset.charge_kw
        case HeatPump():
            return 0.0, m.hours * asset.power_kw
    raise TypeError(f"{type(asset).__name__} does not draw")


def inject_bounds(m: Any, n: int, k: int, t: int) -> tuple[float, float]:
    """D3, what an asset may inject.

    photovoltaic                   0 <= g_t <= energy_t
    generator                      h least_t <= g_t <= h power_t
    storage                        0 <= g_t <= h discharge
    """
    match asset := m.asset[n, k]:
        case Photovoltaic():
            return 0.0, _at(m, asset, "energy_kwh", t)
        case Generator():
            least, most = _at(m, asset, "least_power_kw", t), _at(m, asset, "power_kw", t)
            return m.hours * least, m.hours * most
        case Storage():
            return 0.0, m.hours * asset.discharge_kw
    raise TypeError(f"{type(asset).__name__} does not inject")


def level_bounds(m: Any, n: int, k: int, t: int) -> tuple[float, float]:
    """D4, how full a store may be; the last period has a bound of its own.

    storage                        0 <= S_t <= energy,          S_last >= final
    heat pump                      -behind <= D_t <= ahead,     D_last >= 0
    """
    asset, last = m.asset[n, k], t == m.periods[-1]
    if isinstance(asset, Storage):
        return asset.least_final_kwh if last else 0.0, asset.energy_kwh
    return 0.0 if last else -asset.behind_kwh, asset.ahead_kwh


def task_energy(m: Any, n: int, k: int) -> Any:
    """D5a, what must be charged or done within the window: efficiency sum_t d_t = energy."""
    asset = m.asset[n, k]
    efficiency = asset.efficiency if isinstance(asset, ElectricVehicle) else 1.0
    drawn = pyo.quicksum(m.draw[n, k, t] for t in _window(asset))
    return efficiency * drawn == asset.energy_kwh


def storage_state(m: Any, n: int, k: int, t: int) -> Any:
    """D5b, S_t = S_{t-1} + eta_c d_t - g_t / eta_d, starting at S_-1 = initial (Moreno, eq. 7)."""
    asset = m.asset[n, k]
    before = m.level[n, k, t - 1] if t else asset.initial_kwh
    charged = asset.charge_efficiency * m.draw[n, k, t]
    return m.level[n, k, t] == before + charged - m.inject[n, k, t] / asset.discharge_efficiency


def building_heat(m: Any, n: int, k: int, t: int) -> Any:
    """D5c, D_t = (1 - loss)^h D_{t-1} + d_t - energy_t, starting at D_-1 = 0."""
    asset = m.asset[n, k]
    keeps = (1 - asset.loss_per_hour) ** m.hours
    before = keeps * m.level[n, k, t - 1] if t else 0.0
    return m.level[n, k, t] == before + m.draw[n, k, t] - _at(m, asset, "energy_kwh", t)


# --- what peers and the network may do ------------------------------------------------------------


def supply_bounds(m: Any, n: int, t: int) -> tuple[float, float | None]:
    """D6a, 0 <= import, 0 <= export, and both 0 without a supplier."""
    del t
    return 0.0, None if m.community.peers[n].supplier is not None else 0.0


def peer_balance(m: Any, n: int, t: int) -> Any:
    """D6, draw - inject = buy - sell + import - export (FleXunity, eq. 3b)."""
    market = m.buy[n, t] - m.sell[n, t]
    return _draw(m, n, t) - _inject(m, n, t) == market + m.imports[n, t] - m.exports[n, t]


def node_balance(m: Any, z: int, t: int) -> Any:
    """D7, sum at z of (sell - buy) + inflow - outflow = 0 (FleXunity, eq. 3c, where z is all)."""
    network = m.community.network
    here = [m.sell[n, t] - m.buy[n, t] for n in m.peers_at[z]]
    inflow = [m.flow[link, t] for link in np.flatnonzero(network.targets == z).tolist()]
    outflow = [m.flow[link, t] for link in np.flatnonzero(network.sources == z).tolist()]
    if not here and not inflow and not outflow:
        return pyo.Constraint.Skip
    return pyo.quicksum(here) + pyo.quicksum(inflow) - pyo.quicksum(outflow) == 0


def flow_bounds(m: Any, link: int, t: int) -> tuple[float, float]:
    """D7a, 0 <= flow <= capacity."""
    del t
    return 0.0, m.community.network.links[link].capacity_wh / WH_PER_KWH


def connection(m: Any, n: int, t: int) -> Any:
    """D8, -h connection <= draw - inject <= h connection."""
    if not m.community.peers[n].assets:
        return pyo.Constraint.Skip
    most = m.hours * m.community.peers[n].connection_kw
    return pyo.inequality(-most, _draw(m, n, t) - _inject(m, n, t), most)


def own_import(m: Any, n: int, t: int) -> Any:
    """D9a, import <= draw: nobody resells a supplier's energy."""
    return m.imports[n, t] <= _draw(m, n, t)


def own_export(m: Any, n: int, t: int) -> Any:
    """D9b, export <= inject: nobody feeds in what others generate."""
    return m.exports[n, t] <= _inject(m, n, t)


def _draw(m: Any, n: int, t: int) -> Any:
    """All that the peer's assets draw."""
    kinds = enumerate(m.community.peers[n].assets)
    return pyo.quicksum(m.draw[n, k, t] for k, asset in kinds if isinstance(asset, _DRAWS))


def _inject(m: Any, n: int, t: int) -> Any:
    """All that the peer's assets inject."""
    kinds = enumerate(m.community.peers[n].assets)
    return pyo.quicksum(m.inject[n, k, t] for k, asset in kinds if isinstance(asset, _INJECTS))


# --- what it costs --------------------------------------------------------------------------------


def total_cost(m: Any) -> Any:
    """D1, the sum of all that follows."""
    return asset_cost(m) + supply_cost(m) + link_cost(m) + trade_fee(m)


def asset_cost(m: Any) -> Any:
    """D1a, what schedules cost the owners of assets.

    generator                      c_t g_t + a g_t^2
    storage                        w g_t
    curtailable load               value_t (energy_t - d_t)
    """
    return pyo.quicksum(_cost(m, n, k, t) for n, k in m.assets for t in m.periods)


def _cost(m: Any, n: int, k: int, t: int) -> Any:
    match asset := m.asset[n, k]:
        case Generator(quadratic_cost_per_kwh2=0.0):
            return _at(m, asset, "cost_per_kwh", t) * m.inject[n, k, t]
        case Generator():
            energy = m.inject[n, k, t]
            linear = _at(m, asset, "cost_per_kwh", t) * energy
            return linear + asset.quadratic_cost_per_kwh2 * energy**2
        case Storage():
            return asset.cost_per_kwh * m.inject[n, k, t]
        case CurtailableLoad():
            unserved = _at(m, asset, "energy_kwh", t) - m.draw[n, k, t]
            return _at(m, asset, "value_per_kwh", t) * unserved
    return 0.0


def supply_cost(m: Any) -> Any:
    """D1b, sum (retail + delta_imp) import - (feed_in - delta_exp) export; FleXunity's G, delta."""
    return pyo.quicksum(_supply_cost(m, n, t) for n in m.customers for t in m.periods)


def _supply_cost(m: Any, n: int, t: int) -> Any:
    peer = m.community.peers[n]
    retail = float(m.community.retail_per_kwh[n, t]) + peer.import_preference_per_kwh
    feed_in = float(m.community.feed_in_per_kwh[n, t]) - peer.export_preference_per_kwh
    return retail * m.imports[n, t] - feed_in * m.exports[n, t]


def link_cost(m: Any) -> Any:
    """D1c, sum_l,t tariff_l flow_lt."""
    tariffs = (m.community.network.tariffs_micro_per_kwh / MICRO).tolist()
    return pyo.quicksum(tariffs[link] * m.flow[link, t] for link in m.links for t in m.periods)


def trade_fee(m: Any) -> Any:
    """D1d, phi sum_n,t (buy_nt + sell_nt), which is phi |q_n| of FleXunity."""
    fee = m.community.fee_per_kwh
    if fee == 0.0:
        return 0.0
    return pyo.quicksum(fee * (m.buy[n, t] + m.sell[n, t]) for n in m.peers for t in m.periods)


def _at(m: Any, asset: Asset, series: str, t: int) -> float:
    return float(asset.over(series, len(m.periods))[t])


def _window(asset: ShiftableLoad | ElectricVehicle) -> range:
    if isinstance(asset, ShiftableLoad):
        return range(asset.first_period, asset.last_period + 1)
    return range(asset.arrival_period, asset.departure_period)


# --- what came of it ------------------------------------------------------------------------------


def _schedule(m: Any, n: int, k: int) -> Schedule:
    asset, nothing = m.asset[n, k], np.zeros(len(m.periods))
    return Schedule(
        n,
        asset,
        _row(m, m.draw, n, k) if isinstance(asset, _DRAWS) else nothing,
        _row(m, m.inject, n, k) if isinstance(asset, _INJECTS) else nothing,
        _row(m, m.level, n, k) if isinstance(asset, _HAS_LEVEL) else None,
    )


def _row(m: Any, variable: Any, n: int, k: int) -> Array:
    return np.array([variable[n, k, t].value for t in m.periods])


def _array(variable: Any, one: range, other: range) -> Array:
    values = [variable[i, j].value for i in one for j in other]
    return np.array(values, float).reshape(len(one), len(other))
