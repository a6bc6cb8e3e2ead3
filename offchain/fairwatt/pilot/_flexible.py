"""Storages and vehicles that the clearing schedules: what they sign, and what they then do.

A flexible order knows no losses: what it charges it can discharge. So its energies are those that a
storage gives at its meter. A storage that holds S kWh can give eta_d S, and to be able to give a
kWh more it draws 1 / (eta_c eta_d) kWh. Of these the order buys one; the rest is its loss, which is
metered and not bought, so its supplier delivers it. What that costs at planned prices is part of
the wear it signs: the clearing does not charge where prices differ by less. A vehicle never gives,
so its order counts what it draws, and there is nothing to lose.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.chain import Role
from fairwatt.community import ElectricVehicle, Storage
from fairwatt.market import Side
from fairwatt.orders import FlexibleOrder, Step
from fairwatt.pilot._stored import Stored, whole_wh
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fairwatt.community import Array
    from fairwatt.planner import Plan, Schedule

__all__ = ["Device", "devices_of", "stand_in", "within_connection"]

_NOISE_KWH: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Device:
    """A storage or a vehicle with the terms of its order; energies as the module says.

    Attributes
    ----------
    asset
        Index among all assets of the community.
    slot
        Index among the storages of its peer; None of a vehicle.
    first_period, periods, charge_wh, discharge_wh, capacity_wh, start_wh, wanted_wh
        As in `FlexibleOrder`.
    value_micro_per_kwh, wear_micro_per_kwh
        Likewise; the wear is what it costs its owner and what is lost.
    drawn_per_charged
        At its meter.
    level_per_wh
        kWh it holds for each Wh it can give.
    cost_per_kwh
        What discharging really costs, token/kWh.
    planned_wh
        What its owner would do, per period of its window: discharged positive, charged negative.
        It does so if its order is not in the clearing.
    """

    peer: str
    asset: int
    slot: int | None
    first_period: int
    periods: int
    charge_wh: int
    discharge_wh: int
    capacity_wh: int
    start_wh: int
    wanted_wh: int
    value_micro_per_kwh: int
    wear_micro_per_kwh: int
    drawn_per_charged: float
    level_per_wh: float
    cost_per_kwh: float
    planned_wh: tuple[int, ...]

    @property
    def window(self) -> range:
        """Its periods."""
        return range(self.first_period, self.first_period + self.periods)

    def order(self, market: int, peer: int, start: int, nonce: int) -> FlexibleOrder:
        """What its owner signs."""
        return FlexibleOrder(
            market=market,
            peer=peer,
            session_start=start,
            first_period=self.first_period,
            periods=self.periods,
            charge_wh=self.charge_wh,
            discharge_wh=self.discharge_wh,
            capacity_wh=self.capacity_wh,
            start_wh=self.start_wh,
            wanted_wh=self.wanted_wh,
            value_micro_per_kwh=self.value_micro_per_kwh,
            wear_micro_per_kwh=self.wear_micro_per_kwh,
            nonce=nonce,
        )

    def metered_wh(self, schedule_wh: Sequence[int]) -> list[int]:
        """What its meter counts of a schedule: given positive, drawn negative, losses and all."""
        return [wh if wh > 0 else round(wh * self.drawn_per_charged) for wh in schedule_wh]

    def left_wh(self, schedule_wh: Sequence[int]) -> int:
        """What it can give after a schedule."""
        return self.start_wh - sum(schedule_wh)

    def stored(self, schedule_wh: Sequence[int], periods: int) -> Stored:
        """What it does with a schedule, over all periods of the day."""
        metered = [0] * periods
        metered[self.first_period : self.window.stop] = self.metered_wh(schedule_wh)
        if self.slot is None:
            return Stored(self.peer, ElectricVehicle.kind, tuple(metered))
        held = accumulate(schedule_wh, lambda left, wh: left - wh, initial=self.start_wh)
        per_wh = self.level_per_wh * WH_PER_KWH
        return Stored(
            self.peer,
            Storage.kind,
            tuple(metered),
            tuple(round(wh * per_wh) for wh in held),
            round(self.capacity_wh * per_wh),
        )

    def cost(self, schedule_wh: Sequence[int]) -> float:
        """Wear of a schedule, token."""
        return self.cost_per_kwh * sum(max(wh, 0) for wh in schedule_wh) / WH_PER_KWH

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Device:
        """Read what `to_document` wrote."""
        return cls(**{**document, "planned_wh": tuple(document["planned_wh"])})


def devices_of(planned: Plan) -> list[Device]:
    """The storages and vehicles of peers that may buy and sell, with the terms of their orders.

    Those of others stay with their owners: whoever cannot sell cannot stand in for its supplier.
    """
    peers, devices, slots = planned.community.peers, [], dict[int, int]()
    for at, schedule in enumerate(planned.schedules):
        role = Role[peers[schedule.peer].role.upper()]
        tradable = role.buys and role.sells
        match schedule.asset:
            case Storage() as storage:
                slot = slots.get(schedule.peer, 0)
                slots[schedule.peer] = slot + 1
                if tradable:
                    devices.append(_of_storage(planned, at, storage, slot))
            case ElectricVehicle() as vehicle if tradable and vehicle.energy_kwh > _NOISE_KWH:
                devices.append(_of_vehicle(planned, at, vehicle))
    return devices


def _of_storage(planned: Plan, at: int, asset: Storage, slot: int) -> Device:
    schedule, community = planned.schedules[at], planned.community
    gives, hours = asset.discharge_efficiency, community.horizon.hours
    yields = asset.charge_efficiency * gives
    capacity = _down(asset.energy_kwh * gives)
    start = min(_near(asset.initial_kwh * gives), capacity)
    lost = (1 / yields - 1) * _charging_price(planned, schedule)
    return Device(
        peer=community.peers[schedule.peer].name,
        asset=at,
        slot=slot,
        first_period=0,
        periods=community.horizon.periods,
        charge_wh=_down(asset.charge_kw * hours * yields),
        discharge_wh=_down(asset.discharge_kw * hours),
        capacity_wh=capacity,
        start_wh=start,
        # It has one value for all it holds, so it keeps what it has beyond what it must hold.
        wanted_wh=max(start, min(_near(asset.least_final_kwh * gives), capacity)),
        value_micro_per_kwh=community.network.price_cap_micro_per_kwh,
        wear_micro_per_kwh=round((asset.cost_per_kwh + lost) * MICRO),
        drawn_per_charged=1 / yields,
        level_per_wh=1 / gives / WH_PER_KWH,
        cost_per_kwh=asset.cost_per_kwh,
        planned_wh=whole_wh(schedule.inject_kwh - yields * schedule.draw_kwh),
    )


def _of_vehicle(planned: Plan, at: int, asset: ElectricVehicle) -> Device:
    schedule, community = planned.schedules[at], planned.community
    window = slice(asset.arrival_period, asset.departure_period)
    periods = asset.departure_period - asset.arrival_period
    charge = _down(asset.power_kw * community.horizon.hours)
    wanted = min(_near(asset.energy_kwh / asset.efficiency), charge * periods)
    return Device(
        peer=community.peers[schedule.peer].name,
        asset=at,
        slot=None,
        first_period=asset.arrival_period,
        periods=periods,
        charge_wh=charge,
        discharge_wh=0,
        capacity_wh=wanted,
        start_wh=0,
        wanted_wh=wanted,
        value_micro_per_kwh=community.network.price_cap_micro_per_kwh,
        wear_micro_per_kwh=0,
        drawn_per_charged=1.0,
        level_per_wh=asset.efficiency / WH_PER_KWH,
        cost_per_kwh=0.0,
        planned_wh=whole_wh(-schedule.draw_kwh[window]),
    )


def within_connection(devices: Iterable[Device], connection_wh: int) -> list[Device]:
    """The devices of a peer, with less power if its connection does not carry them all at once."""
    left = {"charge_wh": connection_wh, "discharge_wh": connection_wh}
    limited = []
    for device in devices:
        power = {side: min(getattr(device, side), room) for side, room in left.items()}
        left = {side: room - power[side] for side, room in left.items()}
        limited.append(replace(device, **power))
    return limited


def stand_in(
    firm: Iterable[Step], devices: Sequence[Device], planned: Plan, connection_wh: int
) -> tuple[Step, ...]:
    """The curve of a peer with devices: its firm orders, and what its supplier would do.

    The supplier has no orders in the market. So that a device can also charge from it, its peer
    asks for what it charges at most at the retail tariff, and serves that from its supplier; so
    that it can discharge to it where that may pay, it bids at the feed-in tariff. Where tariffs
    differ, the highest retail and the lowest feed-in tariff count: nobody resells.

    What the connection does not carry beside the devices is not ordered; the supplier balances it.
    """
    community = planned.community
    supplied = np.isfinite(community.retail_per_kwh)
    retail = np.where(supplied, community.retail_per_kwh, -np.inf).max(axis=0)
    feed_in = np.where(supplied, community.feed_in_per_kwh, np.inf).min(axis=0)
    varies = feed_in > feed_in.min()
    steps = list(firm)
    curve = []
    for period, (high, low) in enumerate(zip(_micros(retail), _micros(feed_in), strict=True)):
        here = [device for device in devices if period in device.window]
        charge = sum(device.charge_wh for device in here)
        discharge = sum(device.discharge_wh for device in here)
        for side, used, wanted, limit in (
            (Side.BID, charge, discharge if varies[period] else 0, low),
            (Side.ASK, discharge, charge, high),
        ):
            room = connection_wh - used
            for step in steps:
                if (step.period, step.side) == (period, side) and room > 0:
                    curve.append(replace(step, energy_wh=min(step.energy_wh, room)))
                    room -= curve[-1].energy_wh
            if (energy := min(wanted, room)) > 0:
                curve.append(Step(period, side, limit, energy))
    return tuple(curve)


def _charging_price(planned: Plan, schedule: Schedule) -> float:
    """What a kWh costs where a storage is planned to charge; where it is not, over the day."""
    price = planned.peer_price_per_kwh[schedule.peer]
    charged = schedule.draw_kwh
    weight = charged if charged.sum() > _NOISE_KWH else np.ones_like(charged)
    return max(float(price @ weight / weight.sum()), 0.0)


def _micros(price: Array) -> list[int]:
    return [round(each) for each in (price * MICRO).tolist()]


def _down(kwh: float) -> int:
    return int(kwh * WH_PER_KWH + _NOISE_KWH)


def _near(kwh: float) -> int:
    return round(kwh * WH_PER_KWH)
