"""Storages and vehicles of a run as flexible orders: their terms, and what their meters count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairwatt.community import (
    Community,
    ElectricVehicle,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    Storage,
    Supplier,
)
from fairwatt.market import Network, Side
from fairwatt.pilot._planning import DayPlan, plan_day

RETAIL, FEED_IN = 0.30, 0.08
STORAGE = Storage(5, 2, 3, charge_efficiency=0.9, discharge_efficiency=0.8, initial_kwh=1)
VEHICLE = ElectricVehicle(4, 3, 1, 3, efficiency=0.8)
LOAD, SUN = Load([1, 1, 2, 2]), Photovoltaic([0, 6, 0, 0])
CONNECTION_WH = 20_000


def community(*assets: object, role: str = "prosumer") -> Community:
    peer = Peer("Bo", role, "home", (LOAD, *assets), supplier="retailer")  # type: ignore[arg-type]
    network = Network(("home",), (), 0, 300_000)
    return Community(
        "one home",
        Horizon(0, 3600, 4),
        network,
        (Supplier("retailer", RETAIL, FEED_IN),),
        (peer,),
    )


def planned(*assets: object, role: str = "prosumer", connection: int = CONNECTION_WH) -> DayPlan:
    day = community(*assets, role=role)
    return plan_day(day, day, {"Bo": connection})


def test_plan__storage__orders_what_it_can_give_and_prices_what_is_lost() -> None:
    (device,) = planned(SUN, STORAGE).devices
    order = device.order(1, 7, 0, 1)
    # It holds 5 kWh and gives 4. To give a kWh more it draws 1 / 0.72, of 2 kW at most.
    assert (order.capacity_wh, order.start_wh, order.wanted_wh) == (4_000, 800, 800)
    assert (order.charge_wh, order.discharge_wh) == (1_440, 3_000)
    assert order.value_micro_per_kwh == 300_000
    assert order.wear_micro_per_kwh > 0 == STORAGE.cost_per_kwh
    free = replace(STORAGE, charge_efficiency=1.0, discharge_efficiency=1.0)
    assert planned(SUN, free).devices[0].wear_micro_per_kwh == 0


def test_done__schedule__meters_losses_and_levels() -> None:
    day = planned(SUN, replace(STORAGE, cost_per_kwh=0.05))
    done = day.done({("Bo", 1): (0, -1_440, 1_000, 0)})
    assert done.metered_wh["Bo"] == (-1_000, 5_000 - 2_000, 1_000 - 2_000, -2_000)
    assert done.levels == {"Bo": [pytest.approx((800 + 440) / 800)]}
    assert done.costs["Bo"] == pytest.approx(0.05)
    # Of 5 kWh it can give 4 and holds 1; what it gives is 0.8 of what it then holds less.
    (stored,) = done.stored
    assert (stored.kind, stored.metered_wh) == ("storage", (0, -2_000, 1_000, 0))
    assert (stored.held_wh, stored.capacity_wh) == ((1_000, 1_000, 2_800, 1_550, 1_550), 5_000)
    assert DayPlan.from_document(day.to_document()) == day


def test_done__order_not_in_the_clearing__does_as_planned() -> None:
    home = plan_day(*(community(SUN, STORAGE),) * 2)
    done = planned(SUN, STORAGE).done({})
    assert done.metered_wh["Bo"] == pytest.approx(home.metered_wh["Bo"], abs=2)
    assert done.levels["Bo"] == pytest.approx(home.levels["Bo"], abs=0.01)
    (stored,), (planned_at_home,) = done.stored, home.stored
    assert stored.metered_wh == pytest.approx(planned_at_home.metered_wh, abs=2)
    assert stored.held_wh == pytest.approx(planned_at_home.held_wh, abs=4)
    assert DayPlan.from_document(home.to_document()) == home


def test_plan__vehicle__orders_what_it_draws() -> None:
    day = planned(SUN, VEHICLE)
    order = day.devices[0].order(1, 7, 0, 1)
    assert (order.window, order.charge_wh, order.discharge_wh) == (range(1, 3), 3_000, 0)
    assert (order.capacity_wh, order.start_wh, order.wanted_wh) == (5_000, 0, 5_000)
    full, half = (day.done({("Bo", 1): energy}) for energy in ((-3_000, -2_000), (-3_000, 0)))
    assert full.short == ()
    assert half.short == ("vehicle of Bo: it has 3000 Wh of 5000 from its charger",)
    assert [each.metered_wh for each in half.stored] == [(0, -3_000, 0, 0)]
    assert sum(half.metered_wh["Bo"]) - sum(full.metered_wh["Bo"]) == 2_000


def test_plan__curve__has_loads_sun_and_what_the_supplier_would_sell() -> None:
    day = planned(SUN, STORAGE)
    curve = {
        (step.period, step.side): (step.price_micro_per_kwh, step.energy_wh)
        for step in day.steps["Bo"]
        if step.energy_wh != 1_440
    }
    assert curve == {
        (0, Side.BID): (299_999, 1_000),
        (1, Side.ASK): (80_001, 5_000),
        (2, Side.BID): (299_999, 2_000),
        (3, Side.BID): (299_999, 2_000),
    }
    asked = [step for step in day.steps["Bo"] if step.energy_wh == 1_440]
    assert [(step.period, step.side, step.price_micro_per_kwh) for step in asked] == [
        (period, Side.ASK, 300_000) for period in range(4)
    ]


def test_plan__weak_connection__carries_the_storage_first() -> None:
    day = planned(SUN, STORAGE, connection=3_500)
    for period in range(4):
        for side, power in ((Side.BID, 1_440), (Side.ASK, 3_000)):
            wanted = sum(
                step.energy_wh
                for step in day.steps["Bo"]
                if (step.period, step.side) == (period, side)
            )
            assert wanted <= 3_500 - power


def test_plan__consumer__keeps_its_vehicle_at_home() -> None:
    day = planned(VEHICLE, role="consumer")
    assert day.devices == ()
    assert sum(day.metered_wh["Bo"]) == pytest.approx(-6_000 - 5_000, abs=4)
