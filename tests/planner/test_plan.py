"""What a plan is: trade, suppliers, network, money."""

from __future__ import annotations

import numpy as np
import pytest
from tests.planner.homes import CITY, community_of, peer

from fairwatt.community import CurtailableLoad, Generator, Load, Photovoltaic, Storage, Supplier
from fairwatt.market import Link
from fairwatt.planner import plan


def test_plan__surplus_and_deficit_at_a_node__trade_before_the_supplier():
    found = plan(community_of(peer("roof", Photovoltaic(5.0)), peer("home", Load(2.0))))

    assert found.sell_kwh == pytest.approx(np.array([[2.0], [0.0]]))
    assert found.buy_kwh == pytest.approx(np.array([[0.0], [2.0]]))
    assert found.export_kwh == pytest.approx(np.array([[3.0], [0.0]]))
    assert found.price_per_kwh[0] == pytest.approx([0.10])
    assert found.objective == found.cost == pytest.approx(-0.30)


def test_plan__scarce_energy__is_shared_in_proportion_to_net_deficits():
    found = plan(
        community_of(
            peer("roof", Photovoltaic(3.0)),
            peer("small", Load(2.0)),
            peer("large", Load(7.0), Photovoltaic(3.0)),
        )
    )

    # Deficits 2 and 4, of which 3 are missing.
    assert found.import_kwh[:, 0] == pytest.approx([0.0, 1.0, 2.0])
    assert found.buy_kwh[:, 0] == pytest.approx([0.0, 1.0, 2.0])
    assert found.price_per_kwh[0] == pytest.approx([0.30])


def test_plan__full_link__separates_prices_and_leaves_a_rent():
    found = plan(
        community_of(
            peer("roof", Photovoltaic(5.0)),
            peer("home", Load(2.0), node="b"),
            links=(Link("a", "b", 20_000, 500),),
        )
    )

    assert found.flows_kwh == pytest.approx(np.array([[0.5]]))
    assert found.price_per_kwh[:, 0] == pytest.approx([0.10, 0.30])
    assert found.link_tariffs() == pytest.approx([0.5 * 0.02])
    assert found.congestion_rent() == pytest.approx(0.5 * (0.30 - 0.10 - 0.02))
    assert found.cost == pytest.approx(0.01 + 1.5 * 0.30 - 4.5 * 0.10)


def test_bills__full_link_and_a_fee__sum_to_the_cost_and_the_rent():
    found = plan(
        community_of(
            peer("roof", Photovoltaic(5.0), Generator(1.0, 0.05)),
            peer("home", Load(2.0), Storage(1.0, 1.0, 1.0), node="b"),
            links=(Link("a", "b", 20_000, 500),),
            fee=0.01,
        )
    )

    assert found.bills().sum() == pytest.approx(found.cost + found.congestion_rent())


def test_bills__trade_at_the_node__each_pays_its_own():
    found = plan(community_of(peer("roof", Photovoltaic(5.0)), peer("home", Load(2.0))))

    assert found.bills() == pytest.approx([-0.50, 0.20])


def test_price__nobody_trades__lies_between_the_tariffs():
    found = plan(community_of(peer("home", CurtailableLoad(1.0, 0.50)), peer("far", node="b")))

    assert ((found.price_per_kwh >= 0.10) & (found.price_per_kwh <= 0.30)).all()


def test_price__nobody_trades_over_a_link_with_room__never_invites_to_use_it():
    found = plan(
        community_of(peer("home", Load(1.0)), peer("far", node="b"),
                     links=(Link("b", "a", 20_000, 500),))
    )  # fmt: skip

    near, far = found.price_per_kwh[:, 0]
    assert near - far <= 0.02 + 1e-9


def test_plan__fee__both_sides_pay_it():
    found = plan(community_of(peer("roof", Photovoltaic(2.0)), peer("home", Load(2.0)), fee=0.04))

    assert found.objective == pytest.approx(2 * 2 * 0.04)


def test_plan__fee_above_half_the_spread__nobody_trades():
    found = plan(community_of(peer("roof", Photovoltaic(2.0)), peer("home", Load(2.0)), fee=0.11))

    assert found.buy_kwh.sum() == found.sell_kwh.sum() == 0
    assert found.objective == pytest.approx(2 * 0.30 - 2 * 0.10)


def test_plan__fee__own_use_pays_none():
    found = plan(community_of(peer("home", Load(2.0), Photovoltaic(2.0)), fee=0.04))

    assert found.objective == pytest.approx(0.0)


def test_plan__preferences__weigh_in_the_objective_and_are_not_paid():
    averse = {"import_preference_per_kwh": 0.02, "export_preference_per_kwh": 0.03}
    buyer = plan(community_of(peer("home", Load(1.0), **averse)))
    seller = plan(community_of(peer("roof", Photovoltaic(1.0), **averse)))

    assert (buyer.objective, buyer.cost) == pytest.approx((0.32, 0.30))
    assert (seller.objective, seller.cost) == pytest.approx((-0.07, -0.10))


def test_plan__connection__curtails_generation():
    found = plan(community_of(peer("roof", Photovoltaic(5.0), Load(1.0), connection_kw=2.0)))

    assert found.inject_kwh[0] == pytest.approx([3.0])


def test_plan__two_tariffs__nobody_resells_a_suppliers_energy():
    cheap, dear = Supplier("cheap", 0.20, 0.10), Supplier("dear", 0.30, 0.25)
    found = plan(
        community_of(
            peer("one", Load(1.0), CurtailableLoad(1.0, 0.05), supplier="cheap"),
            peer("two", Load(1.0), Photovoltaic(0.5), supplier="dear"),
            suppliers=(cheap, dear),
        )
    )

    # "one" could import for "two" at 0.20, or sell it what "dear" takes at 0.25.
    assert found.import_kwh[:, 0] == pytest.approx([1.0, 0.5])
    assert found.export_kwh[:, 0] == pytest.approx([0.0, 0.0])
    assert found.objective == pytest.approx(0.20 + 0.5 * 0.30 + 0.05)


def test_plan__two_tariffs__own_generation_goes_where_it_is_worth_most():
    cheap, dear = Supplier("cheap", 0.20, 0.10), Supplier("dear", 0.30, 0.10)
    found = plan(
        community_of(
            peer("one", Load(1.0), Photovoltaic(1.0), supplier="cheap"),
            peer("two", Load(1.0), supplier="dear"),
            suppliers=(cheap, dear),
        )
    )

    assert found.import_kwh[:, 0] == pytest.approx([1.0, 0.0])
    assert found.sell_kwh[:, 0] == pytest.approx([1.0, 0.0])
    assert found.objective == pytest.approx(0.20)


def test_plan__feed_in_of_one_above_retail_of_another__stays_bounded():
    low, high = Supplier("low", 0.10, 0.00), Supplier("high", 0.40, 0.30)
    found = plan(
        community_of(
            peer("one", Load(1.0), supplier="low"),
            peer("two", Photovoltaic(1.0), supplier="high"),
            suppliers=(low, high),
        )
    )

    assert found.objective == pytest.approx(0.10 - 0.30)


def test_plan__equal_tariffs__nobody_imports_and_exports_at_once():
    found = plan(
        community_of(
            peer("roof", Photovoltaic(2.0)),
            peer("home", Load(3.0)),
            suppliers=(Supplier("city", 0.2, 0.2),),
        )
    )

    assert found.import_kwh.sum() == pytest.approx(1.0)
    assert found.export_kwh.sum() == 0


def test_plan__no_supplier__lives_off_the_market():
    found = plan(
        community_of(peer("roof", Photovoltaic(5.0)), peer("hut", Load(2.0), supplier=None))
    )

    assert found.buy_kwh[1] == pytest.approx([2.0])
    assert found.import_kwh[1] == found.export_kwh[1] == pytest.approx([0.0])


def test_plan__community_of_one__is_that_peer_with_its_supplier():
    found = plan(community_of(peer("home", Load(2.0), Photovoltaic(3.0))))

    assert found.cost == found.bills()[0] == pytest.approx(-0.10)
    assert found.net_kwh == pytest.approx(np.array([[-1.0]]))


def test_plan__nobody__costs_nothing():
    found = plan(community_of(periods=2))

    assert found.objective == found.cost == 0
    assert found.schedules == ()
    assert found.bills().shape == (0,)
    assert found.import_kwh.shape == (0, 2)
    assert found.price_per_kwh.shape == (2, 2)


def test_plan__peer_without_assets__does_nothing():
    assert plan(community_of(peer("empty"), peer("home", Load(1.0)))).bills() == pytest.approx(
        [0.0, 0.30]
    )


def test_plan__week_of_quarter_hours__timings_say_where_time_went():
    found = plan(
        community_of(peer("home", Load(0.1), Storage(4.0, 2.0, 2.0, 0.9)), periods=672, seconds=900)
    )

    assert found.cost == pytest.approx(672 * 0.1 * CITY.retail(1)[0])
    assert found.timings.build_seconds > 0
    assert found.timings.solve_seconds > 0
