"""A day before it comes: what is expected, planned and ordered, and what the meters will count."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.community import CurtailableLoad, Load, Photovoltaic, Storage
from fairwatt.market import Side
from fairwatt.orders import Step
from fairwatt.pilot._flexible import Device, devices_of, stand_in, within_connection
from fairwatt.pilot._stored import Stored
from fairwatt.planner import firm_orders, orders, plan
from fairwatt.units import WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fairwatt.community import Array, Asset, Community
    from fairwatt.planner import Plan, Schedule

__all__ = ["DayPlan", "Done", "Levels", "plan_day", "with_levels"]

Levels = dict[str, list[float]]
"""What the storages of every peer that has any hold, kWh."""
_NOISE_KWH: Final = 1e-6


@dataclass(frozen=True)
class Done:
    """What a day came to behind the meters.

    Attributes
    ----------
    metered_wh
        Per peer and period: injected positive, taken negative.
    levels
        Of the storages at the end of the day.
    costs
        Per peer what its assets cost besides energy (fuel, wear, what is not served), token.
    stored
        What each storage and vehicle did.
    short
        Vehicles that got less than they need, in words.
    """

    metered_wh: dict[str, tuple[int, ...]]
    levels: Levels
    costs: dict[str, float]
    stored: tuple[Stored, ...] = ()
    short: tuple[str, ...] = ()


@dataclass(frozen=True)
class DayPlan:
    """What everybody orders, and what will be metered if everybody then does as planned.

    Attributes
    ----------
    steps
        Per peer what it wants on the market.
    metered_wh, levels, costs, stored
        As `Done` has them, without what `devices` do.
    devices
        Storages and vehicles that the clearing schedules, those of a peer in sequence.
    """

    steps: dict[str, tuple[Step, ...]]
    metered_wh: dict[str, tuple[int, ...]]
    levels: Levels
    costs: dict[str, float]
    stored: tuple[Stored, ...] = ()
    devices: tuple[Device, ...] = ()

    def numbered(self) -> Iterator[tuple[int, Device]]:
        """The devices, each with the nonce of its order; that of a curve is 0."""
        numbers: dict[str, int] = defaultdict(int)
        for device in self.devices:
            numbers[device.peer] += 1
            yield numbers[device.peer], device

    def done(self, schedules_wh: Mapping[tuple[str, int], Sequence[int]]) -> Done:
        """What it comes to when the clearing gives the devices these schedules.

        Parameters
        ----------
        schedules_wh
            By peer and nonce: discharged positive, charged negative. A device without one does as
            its owner planned.
        """
        metered = {name: list(energy) for name, energy in self.metered_wh.items()}
        levels = {name: list(held) for name, held in self.levels.items()}
        costs, stored, short = dict(self.costs), list(self.stored), []
        for nonce, device in self.numbered():
            schedule = schedules_wh.get((device.peer, nonce), device.planned_wh)
            for period, energy in zip(device.window, device.metered_wh(schedule), strict=True):
                metered[device.peer][period] += energy
            stored.append(device.stored(schedule, len(metered[device.peer])))
            left = device.left_wh(schedule)
            costs[device.peer] += device.cost(schedule)
            if device.slot is not None:
                levels[device.peer][device.slot] = left * device.level_per_wh
            elif left < device.wanted_wh:
                short.append(
                    f"vehicle of {device.peer}: it has {left} Wh of {device.wanted_wh} from its "
                    "charger"
                )
        return Done(
            {name: tuple(energy) for name, energy in metered.items()},
            levels,
            costs,
            tuple(stored),
            tuple(short),
        )

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
            "stored": [each.to_document() for each in self.stored],
            "devices": [device.to_document() for device in self.devices],
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
            stored=tuple(map(Stored.from_document, document["stored"])),
            devices=tuple(map(Device.from_document, document["devices"])),
        )


def plan_day(
    expected: Community, truth: Community, connections_wh: Mapping[str, int] | None = None
) -> DayPlan:
    """Plan a day as it is expected, and say what the meters count when it comes as it does.

    What was decided (storages, vehicles, heat pumps, generators) is done as planned; loads are what
    they are, and the sun gives what it gives, but no more than planned where the plan spills some.

    Parameters
    ----------
    connections_wh
        Per peer the most energy of a period. If it is given, storages and vehicles are left to the
        clearing: curves carry the rest, limited by the tariffs.
    """
    planned = plan(expected)
    devices = [] if connections_wh is None else devices_of(planned)
    left_out = {device.asset for device in devices}
    names = [peer.name for peer in truth.peers]
    drawn, injected, net = (np.zeros(planned.draw_kwh.shape) for _ in range(3))
    costs = dict.fromkeys(names, 0.0)
    stored = []
    for at, (schedule, true, foreseen) in enumerate(
        zip(planned.schedules, _assets(truth), _assets(expected), strict=True)
    ):
        if at in left_out:
            continue
        draw, inject = _done(schedule, foreseen, true, truth.horizon.periods)
        drawn[schedule.peer] += draw
        injected[schedule.peer] += inject
        net[schedule.peer] += schedule.inject_kwh - schedule.draw_kwh
        costs[names[schedule.peer]] += schedule.cost
        if (store := Stored.planned(names[schedule.peer], schedule)) is not None:
            stored.append(store)
    metered = np.rint((injected - drawn) * WH_PER_KWH).astype(np.int64).tolist()
    if connections_wh is None:
        steps = orders(planned, "at-plan")
    else:
        steps, devices = _curves(planned, net, devices, connections_wh)
    return DayPlan(
        steps=steps,
        metered_wh={name: tuple(row) for name, row in zip(names, metered, strict=True)},
        levels=_levels(planned, names),
        costs=costs,
        stored=tuple(stored),
        devices=tuple(devices),
    )


def _curves(
    planned: Plan, net_kwh: Array, devices: Sequence[Device], connections_wh: Mapping[str, int]
) -> tuple[dict[str, tuple[Step, ...]], list[Device]]:
    """Curves beside devices that the connections carry, and these."""
    steps, carried = firm_orders(planned, net_kwh), []
    for name, firm in steps.items():
        own = [device for device in devices if device.peer == name]
        limited = within_connection(own, connections_wh.get(name, 0))
        if limited:
            steps[name] = stand_in(firm, limited, planned, connections_wh[name])
        carried += limited
    return steps, carried


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
