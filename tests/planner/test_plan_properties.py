"""On random communities: the kernel's optimum, money that adds up, orders that realise the plan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from tests.models.communities import communities
from tests.planner.homes import realise

from fairwatt.community import Community
from fairwatt.errors import PlanInfeasible
from fairwatt.market import Side, clear, proof
from fairwatt.planner import Plan, plan

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(communities(couplings=False, frictions=False))
def test_plan__no_couplings__costs_what_the_kernels_clearings_leave(community: Community):
    """In whole cents and quarters of a kWh the book is exact, so the tolerance is the solver's.

    Without trade every bid costs its limit and every ask earns its limit less what it costs to
    generate; trade is worth its welfare.
    """
    found, expected = plan(community), 0.0
    for t in range(community.horizon.periods):
        book = community.book(t)
        worth = np.where(book.side == Side.BID, 1, -1) * book.price_micro_per_kwh
        expected += float(worth @ book.energy_wh) / 1e9 + _fuel(community, t)
        expected -= proof.check(book, clear(book)).welfare / 1e9

    assert found.objective == pytest.approx(expected, abs=1e-7)


@patient
@given(communities(couplings=False, frictions=False))
def test_plan__no_couplings__prices_bound_the_welfare_as_the_kernels_do(community: Community):
    """Prices are optimal if and only if their dual bound is the welfare."""
    found, network = plan(community), community.network
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    for t in range(community.horizon.periods):
        book = community.book(t)
        price = np.clip(found.price_per_kwh[:, t] * 1e6, floor, cap)
        margin = np.where(book.side == Side.BID, 1, -1) * (
            book.price_micro_per_kwh - price[book.node]
        )
        spread = price[network.targets] - price[network.sources] - network.tariffs_micro_per_kwh
        bound = np.maximum(margin, 0) @ book.energy_wh
        bound += np.maximum(spread, 0) @ network.capacities_wh

        welfare = proof.check(book, clear(book)).welfare
        assert float(bound) / 1e9 == pytest.approx(welfare / 1e9, abs=1e-6)


@patient
@given(communities(quadratic=True))
def test_plan__any_community__balances_and_bills_add_up(community: Community):
    found = _plan(community)
    network = community.network
    market = found.buy_kwh - found.sell_kwh

    supply = found.import_kwh - found.export_kwh
    assert found.net_kwh == pytest.approx(market + supply, abs=1e-6)
    assert (found.import_kwh <= found.draw_kwh + 1e-6).all()
    assert (found.export_kwh <= found.inject_kwh + 1e-6).all()
    assert not (found.buy_kwh * found.sell_kwh).any()
    bought = np.zeros_like(found.price_per_kwh)
    np.add.at(bought, [network.node_index[peer.node] for peer in community.peers], market)
    np.subtract.at(bought, network.targets, found.flows_kwh)
    np.add.at(bought, network.sources, found.flows_kwh)
    assert bought == pytest.approx(np.zeros_like(bought), abs=1e-6)
    rent = found.congestion_rent()
    assert rent >= -1e-6
    assert found.bills().sum() == pytest.approx(found.cost + rent, abs=1e-6)


@patient
@given(communities(quadratic=True))
def test_orders__any_community__clear_to_the_plan(community: Community):
    """Every device does what was planned, and all of it costs what was planned.

    Up to the rounding: a Wh per peer and period, at prices of some cents.
    """
    found = _plan(community)
    realised = realise(found)

    assert realised.failed == []
    planned = found.net_kwh
    assert realised.supplied_kwh - realised.position_kwh == pytest.approx(planned, abs=0.0021)
    assert realised.cost == pytest.approx(found.objective, abs=1e-4 * planned.size)


def _plan(community: Community) -> Plan:
    try:
        return plan(community)
    except PlanInfeasible:  # a connection is too weak
        assume(False)
        raise


def _fuel(community: Community, period: int) -> float:
    """What generators would cost if all of them ran fully, token."""
    return sum(
        float(unit.over("cost_per_kwh", community.horizon.periods)[period])
        * float(unit.over("power_kw", community.horizon.periods)[period])
        * community.horizon.hours
        for peer in community.peers
        for unit in peer.assets
        if unit.kind == "generator"
    )
