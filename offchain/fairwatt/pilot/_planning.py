"""A day before it comes: what is expected, planned and ordered, and what the meters will count."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.community import CurtailableLoad, Load, Photovoltaic, Storage
from fairwatt.market import Side
from fairwatt.orders import Step
from fairwatt.planner import orders, plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairwatt.community import Array, Asset, Community
    from fairwatt.planner import Plan, Schedule

__all__ = ["DayPlan", "Levels", "plan_day", "with_levels"]

Levels = dict[str, list[float]]
"""What the storages of every peer that has any hold, kWh."""
_WH_PER_KWH: Final = 1000
_NOISE_KWH: Final = 1e-6


@dataclass(frozen=True)
class DayPlan:
    """What everybody orders, and what will be metered if everybody then does as planned.

    Attributes
    ----------
    steps
        Per peer what it wants on the market.
    metered_wh
        Per peer and period: injected positive, taken negative.
    levels
        Of the storages at the end of the day.
    costs
        Per peer what its assets cost besides energy (fuel, wear, what is not served), token.
    """

    steps: dict[str, tuple[Step, ...]]
    metered_wh: dict[str, tuple[int, ...]]
    levels: Levels
    costs: dict[str, float]

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "steps": {
                name: [
                    [step.period, step.side.value, step.price_micro_per_kwh, step.energy_wh]
                    for step in steps
                ]
                for name, steps in self.steps.items()
            },
            "meteredWh": self.metered_wh,
            "levels": self.levels,
            "costs": self.costs,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DayPlan:
        """Read what `to_document` wrote."""
        return cls(
            steps={
                name: tuple(
                    Step(period, Side(side), price, energy) for period, side, price, energy in rows
                )
                for name, rows in document["steps"].items()
            },
            metered_wh={name: tuple(row) for name, row in document["meteredWh"].items()},
            levels=document["levels"],
            costs=document["costs"],
        )


def plan_day(expected: Community, truth: Community) -> DayPlan:
    """Plan a day as it is expected, and say what the meters count when it comes as it does.

    What was decided (storages, vehicles, heat pumps, generators) is done as planned; loads are what
    they are, and the sun gives what it gives, but no more than planned where the plan spills some.
    """
    planned = plan(expected)
    drawn, injected = (np.zeros(planned.draw_kwh.shape) for _ in range(2))
    for schedule, true, foreseen in zip(
        planned.schedules, _assets(truth), _assets(expected), strict=True
    ):
        draw, inject = _done(schedule, foreseen, true, truth.horizon.periods)
        drawn[schedule.peer] += draw
        injected[schedule.peer] += inject
    metered = np.rint((injected - drawn) * _WH_PER_KWH).astype(np.int64).tolist()
    names = [peer.name for peer in truth.peers]
    return DayPlan(
        steps=orders(planned, "at-plan"),
        metered_wh={name: tuple(row) for name, row in zip(names, metered, strict=True)},
        levels=_levels(planned, names),
        costs=dict(zip(names, planned.asset_costs().tolist(), strict=True)),
    )


def with_levels(community: Community, levels: Levels) -> Community:
    """The community with its storages as they are left."""
    peers = []
    for peer in community.peers:
        left = iter(levels.get(peer.name, ()))
        assets = tuple(_filled(asset, left) for asset in peer.assets)
        peers.append(replace(peer, assets=assets))
    return replace(community, peers=tuple(peers))


def _filled(asset: Asset, left: Any) -> Asset:
    if not isinstance(asset, Storage):
        return asset
    level = next(left, None)
    if level is None:
        return asset
    # What it has to hold in the evening is as the case says, not what it holds now.
    return replace(asset, initial_kwh=min(max(level, 0.0), asset.energy_kwh))


def _assets(community: Community) -> list[Asset]:
    return [asset for peer in community.peers for asset in peer.assets]


def _done(schedule: Schedule, foreseen: Asset, true: Asset, periods: int) -> tuple[Array, Array]:
    """What an asset draws and injects."""
    match foreseen, true:
        case Load(), Load():
            return true.over("energy_kwh", periods), schedule.inject_kwh
        case CurtailableLoad(), CurtailableLoad():
            wanted = foreseen.over("energy_kwh", periods)
            share = np.divide(
                schedule.draw_kwh, wanted, out=np.ones_like(wanted), where=wanted > _NOISE_KWH
            )
            return share * true.over("energy_kwh", periods), schedule.inject_kwh
        case Photovoltaic(), Photovoltaic():
            sun = true.over("energy_kwh", periods)
            spilt = foreseen.over("energy_kwh", periods) - schedule.inject_kwh > _NOISE_KWH
            given = np.where(spilt, np.minimum(sun, schedule.inject_kwh), sun)
            return schedule.draw_kwh, given
    return schedule.draw_kwh, schedule.inject_kwh


def _levels(planned: Plan, names: list[str]) -> Levels:
    levels: Levels = defaultdict(list)
    for schedule in planned.schedules:
        if isinstance(schedule.asset, Storage) and schedule.level_kwh is not None:
            levels[names[schedule.peer]].append(float(schedule.level_kwh[-1]))
    return dict(levels)
