"""Plans that cannot be: who, when and why."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.planner.homes import community_of, peer

from fairwatt import highs
from fairwatt.community import (
    ElectricVehicle,
    Generator,
    HeatPump,
    Load,
    Photovoltaic,
    ShiftableLoad,
    Storage,
    Supplier,
)
from fairwatt.errors import CommunityError, PlanError, PlanInfeasible, PlanTimeLimit
from fairwatt.market import Link
from fairwatt.planner import _plan, plan


def refused(*peers, **more) -> PlanInfeasible:
    with pytest.raises(PlanInfeasible) as caught:
        plan(community_of(*peers, **more))
    return caught.value


def test_plan__vehicle_leaves_too_early__says_how_much_it_can_charge():
    vehicle = ElectricVehicle(40.0, 3.7, 2, 7, efficiency=0.9)
    error = refused(peer("H02"), peer("H03", vehicle), periods=8)

    assert error.peers == ("H03",)
    assert error.period == 6
    assert str(error) == (
        "no plan serves everybody: the ev of 'H03' cannot charge 40 kWh from its arrival in period "
        "2 to its departure in period 7: 3.7 kW charge 16.65 kWh at most"
    )


def test_plan__task_too_large_for_its_window__says_so():
    error = refused(peer("H03", ShiftableLoad(5.0, 2.0, 1, 2)), periods=4)

    assert (error.peers, error.period) == (("H03",), 2)
    assert "cannot use 5 kWh in periods 1 to 2: 2 kW make 4 kWh at most" in str(error)


def test_plan__storage_cannot_reach_its_final_state__says_so():
    error = refused(peer("H03", Storage(10.0, 1.0, 1.0, 0.5, final_kwh=2.0)), periods=3)

    assert (error.peers, error.period) == (("H03",), 2)
    assert "cannot hold 2 kWh at the end: from 0 kWh, 1 kW add 1.5 kWh at most" in str(error)


def test_plan__heat_pump_too_weak__says_when_it_gets_too_cold():
    error = refused(peer("H03", HeatPump([1.0, 3.0, 0.0], 2.0, 0.5, 0.25)), periods=3)

    # 0.5 ahead, then 2 of 3: 0.5 behind where 0.25 are allowed.
    assert (error.peers, error.period) == (("H03",), 1)
    assert "2 kW all along it is 0.25 kWh short" in str(error)


def test_plan__load_without_supplier__names_who_when_where_and_how_much():
    error = refused(
        peer("home", Load(1.0)),
        peer("hut", Load([0.0, 2.0]), node="b", supplier=None),
        peer("roof", Photovoltaic([0.0, 0.5])),
        links=(Link("a", "b", 0, 300),),
        periods=2,
    )

    assert (error.peers, error.period) == (("hut",), 1)
    assert str(error) == (
        "no plan serves everybody: in period 1 1.7 kWh are missing at node 'b' (without a supplier "
        "there: 'hut')"
    )


def test_plan__generator_that_cannot_stop_without_supplier__names_it():
    error = refused(peer("chp", Generator(2.0, 0.1, least_power_kw=1.0), supplier=None))

    assert (error.peers, error.period) == (("chp",), 0)
    assert "1 kWh cannot be used at node 'a'" in str(error)


@pytest.mark.parametrize("fee", [0.0, 0.01])
def test_plan__connection_too_weak__names_the_peer_and_the_excess(fee):
    error = refused(
        peer("home", Load(1.0)), peer("works", Load([1.0, 5.0]), connection_kw=3.0),
        periods=2, fee=fee,
    )  # fmt: skip

    assert (error.peers, error.period) == (("works",), 1)
    assert "'works' must draw 2 kWh more than its connection of 3 kW carries" in str(error)


def test_plan__many_shortages__shows_three_and_counts_the_rest():
    error = refused(peer("hut", Load(1.0), supplier=None), periods=9)

    assert str(error).endswith("; and 6 more")
    assert len(re.findall("kWh are missing", str(error))) == 3


def test_plan__no_time__says_how_much_there_was():
    rng = np.random.default_rng(1)
    peers = [
        peer(f"H{at}", Load(rng.uniform(0, 1, 96)), Storage(9.0, 3.0, 3.0, 0.9)) for at in range(60)
    ]
    with pytest.raises(PlanTimeLimit, match=r"no plan for test within 0\.001 s") as caught:
        plan(community_of(*peers, periods=96), time_limit_s=0.001)

    assert caught.value.time_limit_s == 0.001


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_plan__time_limit_that_is_none__refused(limit):
    with pytest.raises(PlanError, match="must be more than 0 s"):
        plan(community_of(), time_limit_s=limit)


def test_plan__feeding_in_pays_more_than_buying__no_community_has_that():
    """The only tariffs that would make a plan unbounded: within one supplier."""
    with pytest.raises(CommunityError, match=r"suppliers\['city'\].feed_in_per_kwh\[0\]"):
        community_of(suppliers=(Supplier("city", 0.1, 0.2),))


@pytest.mark.parametrize("status", [highs.Status.UNKNOWN, highs.Status.UNBOUNDED])
def test_plan__solver_fails__says_how_it_ended(monkeypatch, status):
    none = np.zeros(0)
    failed = highs.Solution(status, none, none, none, float("nan"), 0.0, 0)
    monkeypatch.setattr(_plan, "solve", lambda *_, **__: failed)

    with pytest.raises(PlanError, match=f"test: HiGHS ended with '{status.value}'"):
        plan(community_of(peer("home", Load(1.0))))


def test_plan__called_infeasible_without_reason__says_so(monkeypatch):
    none = np.zeros(0)
    failed = highs.Solution(highs.Status.INFEASIBLE, none, none, none, float("nan"), 0.0, 0)
    monkeypatch.setattr(_plan, "solve", lambda *_, **__: failed)

    with pytest.raises(PlanError, match="yet everybody could be served"):
        plan(community_of(peer("home", Load(1.0))))


def test_plan__progress__is_told_and_may_stop_the_plan():
    rng = np.random.default_rng(1)
    peers = [
        peer(f"H{at}", Load(rng.uniform(0, 1, 96)), Storage(9.0, 3.0, 3.0, 0.9, cost_per_kwh=0.01))
        for at in range(60)
    ]
    tariff = Supplier("city", rng.uniform(0.2, 0.4, 96), 0.1)

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan(community_of(*peers, periods=96, suppliers=(tariff,)), progress=stop)
