"""Eqs. 1-8 of Moreno et al. 2021: each rule by itself, then both five-peer cases."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairwatt import market
from fairwatt.cases import Case
from fairwatt.community import (
    Community,
    Generator,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    ShiftableLoad,
    Storage,
    Supplier,
)
from fairwatt.errors import CommunityError, ModelInfeasible
from fairwatt.market import Link, Network, Side
from fairwatt.models import moreno2021
from fairwatt.models.moreno2021 import ImportPrice, Instance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairwatt.community import Asset
    from fairwatt.models.moreno2021._model import Dispatch

CAP = 200_000


def consumer(name: str, load: float | Sequence[float], community: int = 1) -> Peer:
    return Peer(name, "consumer", "n", (Load(load),), community)


def producer(
    name: str, power: float, cost: float | Sequence[float], community: int = 1, export: float = 0.0
) -> Peer:
    assets = (Generator(power, cost),)
    return Peer(name, "producer", "n", assets, community, export_cost_per_kwh=export)


def prosumer(name: str, *assets: Asset, community: int = 1, export: float = 0.0) -> Peer:
    return Peer(name, "prosumer", "n", assets, community, export_cost_per_kwh=export)


def of(*peers: Peer, periods: int = 1, period_seconds: int = 3600) -> Community:
    network = Network(("n",), (), 0, CAP)
    return Community("test", Horizon(0, period_seconds, periods), network, (), peers)


def solved(*peers: Peer, periods: int = 1, **options: object) -> Dispatch:
    return moreno2021.solve(Instance.of(of(*peers, periods=periods), **options))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------- eqs. 1-6 and 8


def test_objective__trade__counts_generation_the_sellers_cost_and_the_export_cost() -> None:
    dispatch = solved(producer("S", 10, 0.05, 1, 0.01), consumer("B", 4, 2))
    assert dispatch.objective == pytest.approx(4 * (0.05 + 0.05 + 0.01))
    assert dispatch.trades_kwh[0, 1] == pytest.approx([4])


def test_objective__import_price_nothing__counts_generation_once() -> None:
    dispatch = solved(
        producer("S", 10, 0.05, 1, 0.01), consumer("B", 4, 2), import_price=ImportPrice.NOTHING
    )
    assert dispatch.objective == pytest.approx(4 * (0.05 + 0.01))


def test_objective__same_community__has_no_export_cost() -> None:
    dispatch = solved(producer("S", 10, 0.05, 1, 0.01), consumer("B", 4, 1))
    assert dispatch.objective == pytest.approx(4 * (0.05 + 0.05))


def test_objective__own_use__counts_generation_only() -> None:
    dispatch = solved(prosumer("P", Load(4), Generator(10, 0.05), export=0.01))
    assert dispatch.objective == pytest.approx(4 * 0.05)
    assert dispatch.trades_kwh == {}


def test_generation__largest_power__leaves_the_rest_to_the_dearer_one() -> None:
    dispatch = solved(producer("S", 3, 0.05), producer("T", 9, 0.06), consumer("B", 4))
    assert dispatch.generation_kwh[:, 0] == pytest.approx([3, 1, 0])


def test_generation__smallest_power__runs_before_the_cheaper_one() -> None:
    dear = Peer("T", "producer", "n", (Generator(9, 0.06, least_power_kw=2),))
    dispatch = solved(producer("S", 9, 0.05), dear, consumer("B", 4))
    assert dispatch.generation_kwh[:, 0] == pytest.approx([2, 2, 0])


def test_generation__quarter_hours__power_is_a_quarter_in_energy() -> None:
    community = of(producer("S", 8, 0.05), consumer("B", 2), period_seconds=900)
    assert moreno2021.solve(Instance.of(community)).generation_kwh[0] == pytest.approx([2])
    with pytest.raises(ModelInfeasible):
        moreno2021.solve(Instance.of(replace(community, peers=(producer("S", 7, 0.05),
                                                               consumer("B", 2)))))  # fmt: skip


def test_photovoltaic__is_generation_without_cost() -> None:
    dispatch = solved(prosumer("P", Photovoltaic(5)), producer("S", 9, 0.05), consumer("B", 6))
    assert dispatch.generation_kwh[:, 0] == pytest.approx([5, 1, 0])


def test_totals__imports_and_exports__are_those_of_the_trades() -> None:
    dispatch = solved(
        producer("S", 3, 0.05), producer("T", 9, 0.06), consumer("A", 4), consumer("B", 2)
    )
    imports, exports = np.zeros((2, 4, 1))
    for (seller, buyer), energy in dispatch.trades_kwh.items():
        exports[seller] += energy
        imports[buyer] += energy
    assert dispatch.import_kwh == pytest.approx(imports)
    assert dispatch.export_kwh == pytest.approx(exports)
    assert imports[:, 0].tolist() == [0, 0, 4, 2]


def test_trades__only_allowed_pairs__buy_from_the_dearer_seller() -> None:
    dispatch = solved(
        producer("S", 9, 0.05),
        producer("T", 9, 0.06),
        consumer("B", 4),
        allowed=[("T", "B")],
    )
    assert list(dispatch.trades_kwh) == [(1, 2)]
    assert dispatch.objective == pytest.approx(4 * 0.12)


def test_trades__tariff_of_a_pair_of_communities__replaces_the_export_cost() -> None:
    network = Network(("a", "b", "c"), (Link("a", "b", 1000, 10**6),), 0, CAP)
    peers = (
        Peer("S", "producer", "a", (Generator(9, 0.05),), 1, export_cost_per_kwh=0.03),
        Peer("B", "consumer", "b", (Load(1),), 2),
        Peer("C", "consumer", "c", (Load(1),), 3),
    )
    community = Community("test", Horizon(0, 3600, 1), network, (), peers)
    instance = Instance.of(community)
    assert moreno2021.contracts(community) == {(1, 2): 0.001}
    assert instance.export_price_per_kwh == {(0, 1): 0.001, (0, 2): 0.03}
    assert moreno2021.solve(instance).objective == pytest.approx(0.1 + 0.001 + 0.1 + 0.03)


# ------------------------------------------------------------------------------------------- roles


def test_roles__consumer__does_not_resell_without_export_cost() -> None:
    seller, buyer = producer("S", 9, 0.05, 1, 0.03), consumer("B", 4, 2)
    idle = consumer("K", 0, 1)
    assert solved(seller, idle, buyer).objective == pytest.approx(4 * 0.13)
    # As a prosumer it would carry the energy out of the community free of the export cost.
    assert solved(seller, replace(idle, role="prosumer"), buyer).objective == pytest.approx(4 * 0.1)


def test_roles__producer__does_not_import_for_its_own_load() -> None:
    dear = Peer("T", "producer", "n", (Generator(9, 0.5), Load(2)))
    dispatch = solved(producer("S", 9, 0.05), dear, consumer("B", 4))
    assert dispatch.generation_kwh[:, 0] == pytest.approx([4, 2, 0])
    as_prosumer = solved(producer("S", 9, 0.05), replace(dear, role="prosumer"), consumer("B", 4))
    assert as_prosumer.generation_kwh[:, 0] == pytest.approx([6, 0, 0])


def test_roles__supplier_and_storage__are_producer_and_prosumer() -> None:
    grid = Peer("G", "supplier", "n", (Generator(9, 0.05),))
    store = Peer("E", "storage", "n", (Storage(2, 2, 2),))
    instance = Instance.of(of(grid, store, consumer("B", 4)))
    assert [member.role for member in instance.members] == ["producer", "prosumer", "consumer"]


# ---------------------------------------------------------------------------------- storage, eq. 7


def test_storage__cheap_hour_then_dear_hour__moves_energy_with_its_losses() -> None:
    store = Storage(9, 5, 5, charge_efficiency=0.8, discharge_efficiency=0.5)
    dispatch = solved(prosumer("P", Load([0, 1]), store), producer("S", 9, [0.01, 0.1]), periods=2)
    assert dispatch.charge_kwh[0] == pytest.approx([2.5, 0])  # 1 / 0.5 / 0.8
    assert dispatch.level_kwh[0] == pytest.approx([2, 0])
    assert dispatch.discharge_kwh[0] == pytest.approx([0, 1])
    assert dispatch.import_kwh[0] == pytest.approx([2.5, 0])


def test_storage__initial_state__may_be_used_but_must_be_restored() -> None:
    store = Storage(4, 5, 5, initial_kwh=3)
    dispatch = solved(prosumer("P", Load([4, 0]), store), producer("S", 9, [0.1, 0.01]), periods=2)
    assert dispatch.level_kwh[0] == pytest.approx([0, 3])


def test_storage__full_or_at_its_power__moves_no_more() -> None:
    peers = (prosumer("P", Load([0, 0, 9]), Storage(4, 3, 9)), producer("S", 9, [0.01, 0.02, 0.1]))
    dispatch = solved(*peers, periods=3)
    assert dispatch.charge_kwh[0] == pytest.approx([3, 1, 0])
    assert dispatch.generation_kwh[1] == pytest.approx([3, 1, 5])


def test_storage__wear__keeps_it_idle_where_it_costs_more_than_it_saves() -> None:
    def discharged(wear: float) -> float:
        store = Storage(4, 4, 4, cost_per_kwh=wear)
        peers = (prosumer("P", Load([0, 1]), store), producer("S", 9, [0.01, 0.1]))
        return float(solved(*peers, periods=2).discharge_kwh.sum())

    assert discharged(0.17) == pytest.approx(1)  # it saves 2 x 0.09
    assert discharged(0.19) == 0


# ---------------------------------------------------------------------------------------- bad input


def test_solve__nobody_has_enough__names_peer_and_period() -> None:
    with pytest.raises(
        ModelInfeasible, match=r"^B cannot be served in period 1: 2 kWh are missing"
    ):
        solved(producer("S", 3, 0.05), consumer("B", [3, 5]), periods=2)


def test_solve__generator_that_cannot_stop__names_who_has_too_much() -> None:
    peer = Peer("S", "producer", "n", (Generator(9, 0.05, least_power_kw=5),))
    with pytest.raises(ModelInfeasible, match=r"^S has 2 kWh too much in period 0"):
        solved(peer, consumer("B", 3))


def test_solve__pair_not_allowed__names_who_cannot_be_served() -> None:
    with pytest.raises(ModelInfeasible, match="B cannot be served in period 0"):
        solved(producer("S", 9, 0.05), consumer("A", 3), consumer("B", 3), allowed=[("S", "A")])


def test_solve__storage_that_cannot_be_as_full_as_it_has_to__says_so() -> None:
    peer = prosumer("P", Generator(9, 0.05), Storage(9, 1, 1, final_kwh=5))
    with pytest.raises(ModelInfeasible, match="no values keep all constraints"):
        solved(peer, consumer("B", 3))


@pytest.mark.parametrize(
    ("peer", "path", "problem"),
    [
        (prosumer("P", Generator(1, 0), Generator(2, 0)), "peers['P']", "two generators"),
        (prosumer("P", Generator(1, 0), Photovoltaic(1)), "peers['P']", "two generators"),
        (prosumer("P", ShiftableLoad(1, 1, 0, 0)), "peers['P'].shiftable-load", "not in the model"),
        (prosumer("P", Storage(1, 1, 1), Storage(1, 1, 1)), "peers['P'].storage", "not in the mo"),
        (prosumer("P", Generator(1, 0, 0.1)), "peers['P'].generator", "not in the model"),
        (Peer("P", "consumer", "n", (Generator(1, 0),)), "peers['P'].role", "make it a prosumer"),
    ],
)
def test_instance__what_the_paper_does_not_know__is_refused(
    peer: Peer, path: str, problem: str
) -> None:
    with pytest.raises(CommunityError, match=problem) as raised:
        Instance.of(of(peer))
    assert raised.value.path == path


def test_instance__allowed_pair_with_a_stranger__is_refused() -> None:
    with pytest.raises(CommunityError, match="there is no peer 'X'"):
        Instance.of(of(consumer("B", 3)), allowed=[("X", "B")])


# ------------------------------------------------------------------- the market finds the same cost


@st.composite
def meshes(draw: st.DrawFn) -> Community:
    """Peers on nodes of their own, with a link to each other at the export cost of its source."""
    cents = st.integers(0, 12).map(lambda cent: cent / 100)
    quarters = st.integers(0, 12).map(lambda quarter: quarter / 4)
    count = draw(st.integers(1, 4))
    peers, links = [], []
    for at in range(count):
        export = draw(st.integers(0, 5))
        assets = [Load(draw(quarters)), Generator(draw(quarters), draw(cents))]
        kept = assets[draw(st.integers(0, 1)) :]
        peers.append(
            Peer(f"p{at}", "prosumer", f"n{at}", kept, at, "s", export_cost_per_kwh=export / 100)
        )
        links += [
            Link(f"n{at}", f"n{to}", export * 10_000, 10**6) for to in range(count) if to != at
        ]
    peers.append(Peer("g", "supplier", "g", (Generator(99, 0.15),), count))
    links += [Link("g", f"n{at}", 0, 10**6) for at in range(count)]
    network = Network((*(f"n{at}" for at in range(count)), "g"), tuple(links), 0, CAP)
    supplier = Supplier("s", 0.2, 0.0)
    return Community("mesh", Horizon(0, 3600, 1), network, (supplier,), tuple(peers))


@given(meshes())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_solve__random_peers__costs_what_the_market_finds(community: Community) -> None:
    instance = Instance.of(community, import_price=ImportPrice.NOTHING)
    book = community.book(0)
    clearing = market.clear(book)
    asked = sum(
        order.price_micro_per_kwh * fill
        for order, fill in zip(book.orders, clearing.fills_wh.tolist(), strict=True)
        if order.side is Side.ASK
    )
    paid = sum(market.payments(book, clearing).tariffs_nano)
    assert moreno2021.solve(instance).objective == pytest.approx((asked + paid) / 10**9, abs=1e-9)


# ----------------------------------------------------------------------------- the five-peer system


@cache
def five() -> dict[str, moreno2021.Result]:
    return {
        case: moreno2021.Result.of(Case.load(name).community)
        for case, name in moreno2021.CASES["five-peer"].items()
    }


@pytest.mark.parametrize("case", ["I", "II"])
def test_five_peers__objective_and_totals__are_the_printed_ones(case: str) -> None:
    published = Case.load(moreno2021.CASES["five-peer"][case]).published
    assert published is not None
    dispatch = five()[case].dispatch
    assert dispatch.objective == pytest.approx(float(published.objective), abs=1e-9)
    for found, printed in (
        (dispatch.generation_kwh, published.generation_wh),
        (dispatch.import_kwh, published.import_wh),
        (dispatch.export_kwh, published.export_wh),
    ):
        assert found[:, 0] * 1000 == pytest.approx(list(printed.values()), abs=1e-6)


@pytest.mark.parametrize(("case", "cost"), [("I", 20.336), ("II", 16.576)])
def test_five_peers__without_import_prices__same_dispatch_at_the_resource_cost(
    case: str, cost: float
) -> None:
    instance = Instance.of(five()[case].community, import_price=ImportPrice.NOTHING)
    dispatch = moreno2021.solve(instance)
    assert dispatch.objective == pytest.approx(cost, abs=1e-9)
    assert dispatch.generation_kwh == pytest.approx(five()[case].dispatch.generation_kwh)


@pytest.mark.parametrize("statement", moreno2021.statements("five-peer"), ids=lambda s: s.text[:40])
def test_five_peers__every_statement_that_can_hold__holds(statement: moreno2021.Statement) -> None:
    finding = statement.check({case: five()[case] for case in statement.cases})
    assert finding.holds == statement.can_hold, finding.numbers


@pytest.mark.parametrize("case", ["I", "II"])
def test_five_peers__as_printed__contradicts_the_paper(case: str) -> None:
    result = moreno2021.Result.of(moreno2021.as_printed(five()[case].community))
    assert result.dispatch.objective == pytest.approx(35.2336, abs=1e-9)
    assert result.dispatch.generation_kwh[:, 0] == pytest.approx([40, 0, 250, 0, 20])


def test_five_peers__as_printed__no_statement_holds() -> None:
    printed = {
        case: moreno2021.Result.of(moreno2021.as_printed(result.community))
        for case, result in five().items()
    }
    held = [
        statement.text
        for statement, finding in moreno2021.findings("five-peer", printed)
        if finding.holds
    ]
    assert held == []


def test_findings__one_case_only__leaves_out_statements_about_both() -> None:
    found = moreno2021.findings("five-peer", {"I": five()["I"]})
    assert [statement.cases for statement, _ in found] == [("I",), ("I",)]
