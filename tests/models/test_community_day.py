"""The Pyomo text of the day: rule by rule by hand, and random ones against kernel and planner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.communities import communities

from fairwatt.community import (
    Community,
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    ShiftableLoad,
    Storage,
    Supplier,
)
from fairwatt.errors import ModelInfeasible, PlanInfeasible
from fairwatt.market import Link, Network, Side, clear
from fairwatt.models.community_day import CommunityDay, solve
from fairwatt.planner import plan

HOUR = 3600
CITY = Supplier("city", 0.30, 0.10)


def community_of(
    *peers: Peer, periods: int = 1, seconds: int = HOUR, links=(), suppliers=(CITY,), fee=0.0
) -> Community:
    network = Network(("a", "b"), tuple(links), 0, 10**6)
    return Community("test", Horizon(0, seconds, periods), network, suppliers, peers, fee)


def peer(name: str, *assets, node="a", supplier="city", **more) -> Peer:
    return Peer(name, "prosumer", node, assets, supplier=supplier, **more)


def only(day: CommunityDay):
    """The schedule of the only asset."""
    (schedule,) = day.schedules
    return schedule


def test_solve__load_alone__imports_at_retail():
    day = solve(community_of(peer("home", Load([2.0, 3.0])), periods=2))

    assert day.objective == pytest.approx(5 * 0.30)
    assert day.import_kwh == pytest.approx(np.array([[2.0, 3.0]]))
    assert only(day).draw_kwh == pytest.approx([2.0, 3.0])
    assert only(day).level_kwh is None


def test_solve__surplus_and_deficit_at_a_node__trade_before_the_supplier():
    day = solve(community_of(peer("roof", Photovoltaic(5.0)), peer("home", Load(2.0))))

    assert day.objective == pytest.approx(-3 * 0.10)
    assert day.sell_kwh == pytest.approx(np.array([[2.0], [0.0]]))
    assert day.buy_kwh == pytest.approx(np.array([[0.0], [2.0]]))
    assert day.export_kwh == pytest.approx(np.array([[3.0], [0.0]]))
    assert day.price_per_kwh[0, 0] == pytest.approx(0.10)
    assert np.isnan(day.price_per_kwh[1, 0])


def test_solve__deficit__price_is_the_retail_tariff():
    day = solve(community_of(peer("roof", Photovoltaic(2.0)), peer("home", Load(5.0))))

    assert day.objective == pytest.approx(3 * 0.30)
    assert day.price_per_kwh[0, 0] == pytest.approx(0.30)


def test_solve__link__carries_up_to_its_capacity_for_its_tariff():
    day = solve(
        community_of(
            peer("roof", Photovoltaic(5.0)),
            peer("home", Load(4.0), node="b"),
            links=[Link("a", "b", 50_000, 3_000)],
        )
    )

    assert day.flows_kwh == pytest.approx(np.array([[3.0]]))
    assert day.objective == pytest.approx(3 * 0.05 + 1 * 0.30 - 2 * 0.10)
    assert day.price_per_kwh[:, 0] == pytest.approx([0.10, 0.30])


def test_solve__fee__both_sides_pay_it():
    day = solve(community_of(peer("roof", Photovoltaic(2.0)), peer("home", Load(2.0)), fee=0.04))

    assert day.objective == pytest.approx(2 * 2 * 0.04)


def test_solve__fee_above_half_the_spread__nobody_trades():
    day = solve(community_of(peer("roof", Photovoltaic(2.0)), peer("home", Load(2.0)), fee=0.11))

    assert day.objective == pytest.approx(2 * 0.30 - 2 * 0.10)
    assert day.buy_kwh.sum() == 0


def test_solve__preferences__weigh_on_imports_and_exports():
    averse = {"import_preference_per_kwh": 0.02, "export_preference_per_kwh": 0.03}
    buyer = solve(community_of(peer("home", Load(1.0), **averse)))
    seller = solve(community_of(peer("roof", Photovoltaic(1.0), **averse)))

    assert buyer.objective == pytest.approx(0.32)
    assert seller.objective == pytest.approx(-0.07)


def test_solve__curtailable_load__goes_off_below_its_value_as_far_as_its_share():
    day = solve(community_of(peer("home", CurtailableLoad(4.0, 0.20, share=0.75))))

    assert only(day).draw_kwh == pytest.approx([1.0])
    assert day.objective == pytest.approx(1 * 0.30 + 3 * 0.20)


def test_solve__generator__runs_above_its_least_power_only_where_it_pays():
    unit = Generator(4.0, [0.05, 0.20], least_power_kw=1.0)
    day = solve(community_of(peer("chp", unit), periods=2))

    assert only(day).inject_kwh == pytest.approx([4.0, 1.0])
    assert day.objective == pytest.approx(4 * (0.05 - 0.10) + (0.20 - 0.10))


def test_solve__quadratic_generator__runs_up_to_the_price():
    day = solve(community_of(peer("chp", Generator(8.0, 0.02, 0.01))))

    assert only(day).inject_kwh == pytest.approx([4.0], abs=1e-5)  # 0.02 + 2 x 0.01 x 4 = 0.10
    assert day.objective == pytest.approx(0.02 * 4 + 0.01 * 16 - 0.10 * 4)


def test_solve__quarter_hours__power_limits_are_kwh_over_four():
    day = solve(community_of(peer("chp", Generator(4.0, 0.05)), seconds=HOUR // 4))

    assert only(day).inject_kwh == pytest.approx([1.0])


def test_solve__shiftable_load__runs_where_it_is_cheap_within_window_and_power():
    sun = Photovoltaic([0.0, 1.5, 0.0, 9.0])
    task = ShiftableLoad(3.0, 2.0, 0, 2)
    day = solve(community_of(peer("home", sun, task), periods=4))

    assert day.schedules[1].draw_kwh[1] == pytest.approx(2.0)
    assert day.schedules[1].draw_kwh[3] == 0
    assert day.schedules[1].draw_kwh.sum() == pytest.approx(3.0)
    assert day.objective == pytest.approx(1.5 * 0.30 - 9 * 0.10)


def test_solve__vehicle__draws_more_than_it_needs_and_is_gone_at_departure():
    supplier = Supplier("city", [0.30, 0.20, 0.10], 0.0)
    vehicle = ElectricVehicle(1.8, 1.5, 0, 2, efficiency=0.9)
    day = solve(community_of(peer("car", vehicle), periods=3, suppliers=(supplier,)))

    assert only(day).draw_kwh == pytest.approx([0.5, 1.5, 0.0])
    assert day.objective == pytest.approx(0.5 * 0.30 + 1.5 * 0.20)


def test_solve__storage__loses_both_ways_and_wears():
    supplier = Supplier("city", [0.10, 0.50], 0.0)
    battery = Storage(4.0, 2.0, 9.0, 0.9, 0.8, initial_kwh=1.0, final_kwh=0.5, cost_per_kwh=0.01)
    day = solve(community_of(peer("home", battery, Load(3.0)), periods=2, suppliers=(supplier,)))

    assert day.schedules[0].draw_kwh == pytest.approx([2.0, 0.0])
    assert day.schedules[0].level_kwh == pytest.approx([2.8, 0.5])
    assert day.schedules[0].inject_kwh == pytest.approx([0.0, 2.3 * 0.8])
    assert day.objective == pytest.approx(5 * 0.10 + (3 - 1.84) * 0.50 + 0.01 * 1.84)


def test_solve__storage__final_state_is_that_of_the_start_by_default():
    day = solve(community_of(peer("home", Storage(4.0, 2.0, 2.0, initial_kwh=3.0)), periods=2))

    assert only(day).level_kwh[-1] == pytest.approx(3.0)
    assert day.objective == pytest.approx(0.0)


def test_solve__heat_pump__runs_ahead_of_its_profile_within_comfort():
    supplier = Supplier("city", [0.10, 0.50, 0.50], 0.0)
    heat = HeatPump([1.0, 1.0, 1.0], 3.0, ahead_kwh=1.5, behind_kwh=0.5, loss_per_hour=0.1)
    day = solve(community_of(peer("home", heat), periods=3, suppliers=(supplier,)))

    # 1.5 ahead; then 0.9 x 1.5 - 1 = 0.35 is left, the last hour needs 1 - 0.9 x 0.35.
    assert only(day).draw_kwh == pytest.approx([2.5, 0.0, 1 - 0.9 * 0.35])
    assert only(day).level_kwh == pytest.approx([1.5, 0.35, 0.0])


def test_solve__connection__curtails_generation():
    day = solve(
        community_of(
            peer("roof", Photovoltaic(5.0), Load(1.0), connection_kw=8.0), seconds=HOUR // 4
        )
    )

    assert day.export_kwh == pytest.approx(np.array([[2.0]]))


def test_solve__two_tariffs__nobody_resells_a_suppliers_energy():
    cheap, dear = Supplier("cheap", 0.20, 0.10), Supplier("dear", 0.30, 0.25)
    day = solve(
        community_of(
            peer("one", Load(1.0), supplier="cheap"),
            peer("two", Load(1.0), Photovoltaic(0.5), supplier="dear"),
            suppliers=(cheap, dear),
        )
    )

    # Without D9 "one" would import for "two" at 0.20, and all else would be fed in at 0.25.
    assert day.import_kwh.sum(axis=1) == pytest.approx([1.0, 0.5])
    assert day.objective == pytest.approx(0.20 + 0.5 * 0.30)


def test_solve__generation_used_elsewhere__is_no_right_to_feed_in():
    day = solve(
        community_of(
            peer("far", Photovoltaic(1.0), Load(1.0), node="b"),
            peer("near", Load(0.0)),
            peer("outsider", Photovoltaic(3.0), supplier=None),
        )
    )

    assert day.export_kwh.sum() == pytest.approx(0.0)
    assert day.objective == pytest.approx(0.0)


def test_solve__no_supplier__lives_off_the_market():
    day = solve(
        community_of(peer("roof", Photovoltaic(5.0)), peer("hut", Load(2.0), supplier=None))
    )

    assert day.import_kwh[1, 0] == day.export_kwh[1, 0] == 0
    assert day.buy_kwh[1, 0] == pytest.approx(2.0)


def test_solve__nobody_can_serve_a_load__infeasible():
    with pytest.raises(ModelInfeasible, match="test: no values keep all constraints"):
        solve(community_of(peer("hut", Load(2.0), supplier=None)))


def test_solve__nobody_at_all__costs_nothing():
    assert solve(community_of()).objective == 0.0


@settings(max_examples=30, deadline=None)
@given(communities(couplings=False, frictions=False))
def test_solve__no_couplings__has_the_welfare_of_the_kernel(community: Community):
    """In whole cents and quarters of a kWh the book is exact, so the tolerance is the solver's."""
    day = solve(community)

    gained = sum(welfare_of(community, t) for t in range(community.horizon.periods))
    assert day.objective == pytest.approx(cost_without_market(community) - gained, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(communities(quadratic=True))
def test_solve__any_community__keeps_every_balance(community: Community):
    try:
        day = solve(community)
    except ModelInfeasible:  # a connection is too weak
        assert any(each.connection_kw is not None for each in community.peers)
        return

    net = np.zeros_like(day.buy_kwh)
    for schedule in day.schedules:
        net[schedule.peer] += schedule.draw_kwh - schedule.inject_kwh
    outside = day.import_kwh - day.export_kwh
    assert net == pytest.approx(day.buy_kwh - day.sell_kwh + outside, abs=1e-6)
    surplus = np.zeros((len(community.network.nodes), net.shape[1]))
    for at, each in enumerate(community.peers):
        surplus[community.network.node_index[each.node]] += day.sell_kwh[at] - day.buy_kwh[at]
    for flow, start, end in zip(
        day.flows_kwh, community.network.sources, community.network.targets, strict=True
    ):
        surplus[start] -= flow
        surplus[end] += flow
    assert surplus == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("quadratic", [False, True])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_solve__any_community__has_the_objective_of_the_planner(quadratic: bool, data):
    """Two texts of one model: 1e-6 token is left to the tolerances of the solver."""
    community = data.draw(communities(quadratic=quadratic))
    try:
        expected = plan(community).objective
    except PlanInfeasible:
        with pytest.raises(ModelInfeasible):
            solve(community)
        return

    assert solve(community).objective == pytest.approx(expected, abs=1e-6)


def welfare_of(community: Community, period: int) -> float:
    """Welfare of the kernel's clearing of one period, token."""
    book = community.book(period)
    clearing = clear(book)
    sign = np.where(book.side == Side.BID, 1, -1)
    traded = (sign * book.price_micro_per_kwh * clearing.fills_wh).sum()
    carried = (book.network.tariffs_micro_per_kwh * clearing.flows_wh).sum()
    return float(traded - carried) / 1e9


def cost_without_market(community: Community) -> float:
    """What the same orders cost if each peer has its supplier only, token."""
    total, periods = 0.0, community.horizon.periods
    for at, each in enumerate(community.peers):
        retail, feed_in = community.retail_per_kwh[at], community.feed_in_per_kwh[at]
        for asset in each.assets:
            match asset:
                case Load():
                    total += (asset.over("energy_kwh", periods) * retail).sum()
                case CurtailableLoad():
                    worth = np.minimum(asset.over("value_per_kwh", periods), retail)
                    total += (asset.over("energy_kwh", periods) * worth).sum()
                case Photovoltaic():
                    energy = asset.over("energy_kwh", periods)
                    total -= (energy * np.maximum(feed_in, 0.0)).sum()
                case Generator():
                    gain = feed_in - asset.over("cost_per_kwh", periods)
                    total -= (asset.over("power_kw", periods) * np.maximum(gain, 0.0)).sum()
    return total
