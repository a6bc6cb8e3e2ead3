"""Why there is no plan: who cannot be served, when, and by how much.

What is plain arithmetic of one asset is found before anything is solved. The rest comes from a
second program that may leave energy unserved or unused, and overload connections, at a cost of one
per kWh, and where nothing else costs anything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt import highs
from fairwatt.community import ElectricVehicle, HeatPump, ShiftableLoad, Storage
from fairwatt.errors import PlanError, PlanInfeasible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.community import Asset, Community, Horizon
    from fairwatt.planner._program import DayProgram
    from fairwatt.planner.devices import Array

__all__ = ["explain", "require_feasible"]

_TOLERANCE_KWH: Final = 1e-6
_SHOWN: Final = 3


def require_feasible(community: Community) -> None:
    """Require that every asset could keep its own rules, if it had all the energy it wants.

    Raises
    ------
    PlanInfeasible
        With the first asset that could not.
    """
    for peer in community.peers:
        for asset in peer.assets:
            if problem := _impossible(asset, community.horizon):
                period, what = problem
                raise PlanInfeasible(
                    f"the {asset.kind} of {peer.name!r} {what}", (peer.name,), period
                )


def _impossible(asset: Asset, horizon: Horizon) -> tuple[int, str] | None:
    """Period and reason why an asset cannot do what it must."""
    match asset:
        case ElectricVehicle():
            periods = asset.departure_period - asset.arrival_period
            most = asset.efficiency * asset.power_kw * horizon.hours * periods
            if asset.energy_kwh > most + _TOLERANCE_KWH:
                return asset.departure_period - 1, (
                    f"cannot charge {asset.energy_kwh:g} kWh from its arrival in period "
                    f"{asset.arrival_period} to its departure in period {asset.departure_period}: "
                    f"{asset.power_kw:g} kW charge {most:g} kWh at most"
                )
        case ShiftableLoad():
            periods = asset.last_period + 1 - asset.first_period
            most = asset.power_kw * horizon.hours * periods
            if asset.energy_kwh > most + _TOLERANCE_KWH:
                return asset.last_period, (
                    f"cannot use {asset.energy_kwh:g} kWh in periods {asset.first_period} to "
                    f"{asset.last_period}: {asset.power_kw:g} kW make {most:g} kWh at most"
                )
        case Storage():
            gain = asset.charge_efficiency * asset.charge_kw * horizon.hours * horizon.periods
            if asset.least_final_kwh > asset.initial_kwh + gain + _TOLERANCE_KWH:
                return horizon.periods - 1, (
                    f"cannot hold {asset.least_final_kwh:g} kWh at the end: from "
                    f"{asset.initial_kwh:g} kWh, {asset.charge_kw:g} kW add {gain:g} kWh at most"
                )
        case HeatPump():
            return _too_cold(asset, horizon)
    return None


def _too_cold(asset: HeatPump, horizon: Horizon) -> tuple[int, str] | None:
    """First period in which even full power all along does not keep the comfort bound."""
    level, full = 0.0, asset.power_kw * horizon.hours
    keeps = (1 - asset.loss_per_hour) ** horizon.hours
    for period, need in enumerate(asset.over("energy_kwh", horizon.periods).tolist()):
        level = min(asset.ahead_kwh, keeps * level + full - need)
        least = 0.0 if period == horizon.periods - 1 else -asset.behind_kwh
        if level < least - _TOLERANCE_KWH:
            return period, (
                f"cannot keep its comfort bound in period {period}: at {asset.power_kw:g} kW all "
                f"along it is {least - level:.6g} kWh short"
            )
    return None


def explain(community: Community, day: DayProgram) -> PlanError:
    """Find the least energy that cannot be served and say whose it is."""
    periods = community.horizon.periods
    nodes, limited = len(community.network.nodes), len(day.limited)
    solution = highs.solve(_elastic(day, nodes * periods, limited * periods))
    if solution.status is not highs.Status.OPTIMAL:
        return PlanError(
            f"{community.name} cannot be served, and why could not be found: HiGHS ended with "
            f"{solution.status.value!r}"
        )
    extra = solution.values[day.program.columns :]
    missing, unused = extra[: 2 * nodes * periods].reshape(2, nodes, periods)
    above, below = extra[2 * nodes * periods :].reshape(2, limited, periods)
    found = sorted(
        [
            *_at_nodes(community, missing, "are missing"),
            *_at_nodes(community, unused, "cannot be used"),
            *_at_connections(community, day, above, "draw"),
            *_at_connections(community, day, below, "inject"),
        ],
        key=lambda each: each[0],
    )
    if not found:
        return PlanError(
            f"{community.name}: HiGHS calls the plan infeasible, yet everybody could be served; "
            "energies of very different size may be the reason"
        )
    shown = "; ".join(what for _, _, what in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    names = tuple(dict.fromkeys(name for _, names, _ in found for name in names))
    return PlanInfeasible(f"{shown}{more}", names, found[0][0])


def _elastic(day: DayProgram, balances: int, limits: int) -> highs.Program:
    """The program with energy from and to nowhere at nodes, and room at connections."""
    program = day.program
    balance = np.arange(balances, dtype=np.int32)
    limit = np.arange(day.connection_row, day.connection_row + limits, dtype=np.int32)
    rows = np.concatenate([balance, balance, limit, limit])
    sign = np.repeat([1.0, -1.0, -1.0, 1.0], [balances, balances, limits, limits])
    last = program.starts[-1]
    return replace(
        program,
        cost=np.concatenate([np.zeros(program.columns), np.ones(rows.size)]),
        lower=np.concatenate([program.lower, np.zeros(rows.size)]),
        upper=np.concatenate([program.upper, np.full(rows.size, np.inf)]),
        starts=np.concatenate(
            [program.starts, np.arange(last + 1, last + 1 + rows.size, dtype=np.int32)]
        ),
        indices=np.concatenate([program.indices, rows]),
        values=np.concatenate([program.values, sign]),
        quadratic_diagonal=None,
    )


_Culprit = tuple[int, tuple[str, ...], str]


def _at_nodes(community: Community, kwh: Array, what: str) -> Iterator[_Culprit]:
    """Where energy is missing or too much: the peers there who have no supplier for it."""
    for node, period in zip(*np.nonzero(kwh > _TOLERANCE_KWH), strict=True):
        name = community.network.nodes[node]
        here = [peer for peer in community.peers if peer.node == name]
        alone = tuple(peer.name for peer in here if peer.supplier is None)
        names = alone or tuple(peer.name for peer in here)
        shown = ", ".join(repr(each) for each in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield (
            int(period),
            names,
            (
                f"in period {period} {kwh[node, period]:.6g} kWh {what} at node {name!r} "
                f"({'without a supplier there' if alone else 'there'}: {shown}{more})"
            ),
        )


def _at_connections(
    community: Community, day: DayProgram, kwh: Array, verb: str
) -> Iterator[_Culprit]:
    for at, period in zip(*np.nonzero(kwh > _TOLERANCE_KWH), strict=True):
        peer = community.peers[day.limited[at]]
        yield (
            int(period),
            (peer.name,),
            (
                f"in period {period} {peer.name!r} must {verb} {kwh[at, period]:.6g} kWh more than "
                f"its connection of {peer.connection_kw:g} kW carries"
            ),
        )
