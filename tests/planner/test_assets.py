"""Each kind of asset in the planner, by numbers that fit on a line."""

from __future__ import annotations

import numpy as np
import pytest
from tests.planner.homes import HOUR, community_of, peer

from fairwatt.community import (
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Load,
    Photovoltaic,
    ShiftableLoad,
    Storage,
    Supplier,
)
from fairwatt.planner import Schedule, plan


def only(*assets, **more) -> Schedule:
    """The schedule of the last asset of a peer on its own."""
    return plan(community_of(peer("home", *assets), **more)).schedules[-1]


def test_load__any_price__is_served():
    found = only(Load([2.0, 0.0]), periods=2)

    assert found.draw_kwh == pytest.approx([2.0, 0.0])
    assert found.inject_kwh == pytest.approx([0.0, 0.0])
    assert found.level_kwh is None
    assert found.cost == 0


def test_curtailable_load__worth_less_than_retail__goes_off_as_far_as_its_share():
    found = only(CurtailableLoad(4.0, [0.20, 0.40], share=0.75), periods=2)

    assert found.draw_kwh == pytest.approx([1.0, 4.0])
    assert found.cost == pytest.approx(3 * 0.20)


def test_photovoltaic__negative_feed_in__is_curtailed():
    found = only(Load(1.0), Photovoltaic(3.0), suppliers=(Supplier("city", 0.30, -0.05),))

    assert found.inject_kwh == pytest.approx([1.0])


def test_photovoltaics__two_peers_curtailed_together__in_proportion():
    found = plan(
        community_of(
            peer("one", Photovoltaic(1.0)),
            peer("two", Photovoltaic(3.0), Load(2.0)),
            suppliers=(Supplier("city", 0.30, -0.05),),
        )
    )

    assert found.inject_kwh == pytest.approx(np.array([[0.5], [1.5]]))


def test_generator__linear_cost__runs_fully_where_feed_in_pays_it_and_least_elsewhere():
    found = only(Generator(4.0, [0.05, 0.20], least_power_kw=1.0), periods=2)

    assert found.inject_kwh == pytest.approx([4.0, 1.0])
    assert found.cost == pytest.approx(4 * 0.05 + 0.20)


def test_generator__quadratic_cost__runs_until_its_marginal_cost_is_the_price():
    found = only(Generator(8.0, 0.02, 0.01))

    # 0.02 + 2 x 0.01 x g = feed-in 0.10  ->  g = 4, cost 0.02 x 4 + 0.01 x 16.
    assert found.inject_kwh == pytest.approx([4.0], abs=1e-5)
    assert found.cost == pytest.approx(0.24, abs=1e-6)


def test_generators__quadratic_costs__share_a_load_at_equal_marginal_cost():
    found = plan(
        community_of(
            peer("one", Generator(9.0, 0.10, 0.01)),
            peer("two", Generator(9.0, 0.14, 0.02)),
            peer("home", Load(5.0)),
        )
    )

    # 0.10 + 0.02 g = 0.14 + 0.04 (5 - g)  ->  g = 4; price 0.18, below retail and above feed-in.
    assert found.inject_kwh[:2, 0] == pytest.approx([4.0, 1.0], abs=1e-5)
    assert found.price_per_kwh[0, 0] == pytest.approx(0.18, abs=1e-6)
    assert found.objective == pytest.approx(0.4 + 0.16 + 0.14 + 0.02, abs=1e-7)


def test_shiftable_load__window__runs_in_its_cheapest_periods():
    tariff = Supplier("city", [0.10, 0.30, 0.20, 0.25, 0.05], 0.0)
    found = only(ShiftableLoad(3.0, 2.0, 1, 3), periods=5, suppliers=(tariff,))

    assert found.draw_kwh == pytest.approx([0.0, 0.0, 2.0, 1.0, 0.0])


def test_vehicle__efficiency__draws_more_than_it_stores_and_is_gone_at_departure():
    tariff = Supplier("city", [0.30, 0.20, 0.10], 0.0)
    found = only(ElectricVehicle(1.8, 1.5, 0, 2, efficiency=0.9), periods=3, suppliers=(tariff,))

    assert found.draw_kwh == pytest.approx([0.5, 1.5, 0.0])


def test_storage__spread_above_losses_and_wear__shifts_energy():
    tariff = Supplier("city", [0.10, 0.50], 0.0)
    battery = Storage(4.0, 2.0, 9.0, 0.9, 0.8, initial_kwh=1.0, final_kwh=0.5, cost_per_kwh=0.01)
    found = only(Load(3.0), battery, periods=2, suppliers=(tariff,))

    # Full charge 2 x 0.9 = 1.8 in, so (1 + 1.8 - 0.5) x 0.8 = 1.84 out.
    assert found.draw_kwh == pytest.approx([2.0, 0.0])
    assert found.inject_kwh == pytest.approx([0.0, 1.84])
    assert found.level_kwh == pytest.approx([2.8, 0.5])
    assert found.cost == pytest.approx(0.0184)


def test_storage__spread_below_losses__rests():
    tariff = Supplier("city", [0.10, 0.15], 0.0)
    found = only(Load(3.0), Storage(4.0, 2.0, 2.0, 0.8, 0.8), periods=2, suppliers=(tariff,))

    assert found.draw_kwh == pytest.approx([0.0, 0.0])
    assert found.inject_kwh == pytest.approx([0.0, 0.0])


def test_storage__no_final_state_given__ends_as_it_began():
    assert only(Storage(4.0, 2.0, 2.0, initial_kwh=3.0), periods=2).level_kwh[-1] >= 3.0 - 1e-9


def test_storage__negative_price__burns_energy_in_its_losses():
    """Nothing forbids it, and it pays: 2 kWh in, of which 1.8 arrive, and 1.8 x 0.8 out."""
    full = Storage(1.0, 2.0, 2.0, 0.9, 0.8, initial_kwh=1.0)
    found = plan(community_of(peer("home", full), suppliers=(Supplier("city", -0.1, -0.1),)))

    assert found.draw_kwh[0, 0] == pytest.approx(2.0)
    assert found.inject_kwh[0, 0] == pytest.approx(1.44)
    assert found.import_kwh[0, 0] == pytest.approx(0.56)
    assert found.cost == pytest.approx(-0.1 * 0.56)


def test_heat_pump__cheap_first__runs_ahead_within_comfort():
    tariff = Supplier("city", [0.10, 0.50, 0.50], 0.0)
    heat = HeatPump([1.0, 1.0, 1.0], 3.0, ahead_kwh=1.5, behind_kwh=0.5, loss_per_hour=0.1)
    found = only(heat, periods=3, suppliers=(tariff,))

    # 1 + 1.5 ahead; 1.35 of it is left for the second hour, 0.35 after it and 0.315 for the third.
    assert found.draw_kwh == pytest.approx([2.5, 0.0, 0.685])
    assert found.level_kwh == pytest.approx([1.5, 0.35, 0.0])


def test_quarter_hours__power_limits__are_kwh_over_four():
    assert only(Generator(4.0, 0.05), seconds=HOUR // 4).inject_kwh == pytest.approx([1.0])
