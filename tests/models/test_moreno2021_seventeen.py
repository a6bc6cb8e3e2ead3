"""The seventeen-peer cases: every statement of the paper, what breaks it, and the market's view."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fairwatt import market
from fairwatt.cases import Case
from fairwatt.community import Generator, Load, Photovoltaic, Storage
from fairwatt.market import Link
from fairwatt.market.trades import net_positions_wh
from fairwatt.models import moreno2021
from fairwatt.models.moreno2021 import ImportPrice, Instance, Result
from fairwatt.planner import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fairwatt.community import Asset, Community, Peer
    from fairwatt.market import Book
    from fairwatt.models.moreno2021 import Statement

PAGE = Path(__file__).parents[2] / "docs" / "seventeen-peer.md"
NAMES = moreno2021.CASES["seventeen-peer"]
STATEMENTS = moreno2021.statements("seventeen-peer")


@cache
def result(case: str) -> Result:
    return Result.of(Case.load(NAMES[case]).community)


def results(statement: Statement) -> dict[str, Result]:
    return {case: result(case) for case in statement.cases}


def about(words: str) -> Statement:
    return next(each for each in STATEMENTS if words in each.text and each.can_hold)


def with_peer(community: Community, name: str, change: Callable[[Peer], Peer]) -> Community:
    peers = tuple(change(peer) if peer.name == name else peer for peer in community.peers)
    return replace(community, peers=peers)


def with_assets(community: Community, name: str, change: Callable[[Asset], Asset]) -> Community:
    return with_peer(
        community, name, lambda peer: replace(peer, assets=tuple(map(change, peer.assets)))
    )


def generator(community: Community, name: str, **values: object) -> Community:
    return with_assets(
        community, name, lambda a: replace(a, **values) if isinstance(a, Generator) else a
    )


def storage(community: Community, name: str, **values: object) -> Community:
    return with_assets(
        community, name, lambda a: replace(a, **values) if isinstance(a, Storage) else a
    )


def load(community: Community, name: str, factor: object) -> Community:
    def changed(asset: Asset) -> Asset:
        if not isinstance(asset, Load):
            return asset
        return Load(np.asarray(asset.energy_kwh) * np.asarray(factor))

    return with_assets(community, name, changed)


def tariff(community: Community, source: str, target: str, micro: int) -> Community:
    links = tuple(
        replace(link, tariff_micro_per_kwh=micro)
        if (link.source, link.target) == (source, target)
        else link
        for link in community.network.links
    )
    return replace(community, network=replace(community.network, links=links))


# -------------------------------------------------------------------------------------- statements


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda each: each.text[:50])
def test_statement__on_the_committed_cases__holds_if_it_can(statement: Statement) -> None:
    finding = statement.check(results(statement))
    assert finding.holds == statement.can_hold, finding.numbers


def test_statements__that_cannot_hold__are_the_two_contradictions() -> None:
    contradictions = [each for each in STATEMENTS if not each.can_hold]
    assert [each.text[:40] for each in contradictions] == [
        "community 3 can sell energy to community",
        "the small generator in community 2 start",
    ]
    assert all(each.reading for each in contradictions)


def test_objectives__differ_by_the_papers_11_264__exactly() -> None:
    exact = {}
    for case in ("I", "II"):
        loaded = Case.load(NAMES[case])
        book = loaded.book()
        exact[case] = moreno2021.objective_of(loaded, book, market.clear(book))
        assert result(case).dispatch.objective == pytest.approx(float(exact[case]), abs=1e-9)
    assert exact["I"] - exact["II"] == Fraction("11.264")


EARLY_MORNING = np.r_[np.ones(4), 2.0, 2.0, np.ones(18)]
LATE_PEAK = np.r_[np.ones(22), 3.0, 1.0]

Change = tuple[str, "Callable[[Community], Community]", tuple[str, ...]]
"""A case, what is changed in it, and the statements that then do not hold."""

NEW_DISPATCH: list[Change] = [
    ("II", lambda c: load(c, "P4", 0.9), ("does not vary", "target values")),
    ("II", lambda c: generator(c, "P8", cost_per_kwh=0.064), ("becomes striking",)),
    ("I", lambda c: generator(c, "P11", power_kw=100), ("becomes striking",)),
    ("I", lambda c: with_peer(c, "P11", _exporting_at(0.0068)), ("target values",)),
    ("III", lambda c: tariff(c, "c3", "c4", 9_000), ("compared to [others]",)),
    ("III", lambda c: storage(c, "P3", charge_efficiency=0.8), ("charging cycles",)),
    ("III", lambda c: storage(c, "P6", charge_efficiency=0.99), ("charging cycles",)),
    (
        "III",
        lambda c: generator(c, "P6", power_kw=200),
        ("in h 2-6", "[peer 5]", "production of peer 6", "almost all the energy"),
    ),
    ("III", lambda c: generator(c, "P14", cost_per_kwh=0.09), ("in h 2-6",)),
    ("III", lambda c: generator(c, "P5", cost_per_kwh=0.065), ("[peer 5]",)),
    ("III", lambda c: load(c, "P4", LATE_PEAK), ("production of peer 6",)),
    ("III", lambda c: generator(c, "P7", cost_per_kwh=0.05), ("almost all the energy",)),
]
SAME_DISPATCH: list[Change] = [  # these statements are about the data alone
    ("I", lambda c: with_peer(c, "P8", _as("prosumer")), ("4 generation units",)),
    ("I", lambda c: with_peer(c, "P3", _in(2)), ("is not initially considered",)),
    ("II", lambda c: with_peer(c, "P13", _in(4)), ("5 communities",)),
    ("III", lambda _: _first_half(), ("24-h load curve",)),
    ("III", lambda c: storage(c, "P6", energy_kwh=50), ("can be stored",)),
    ("III", lambda c: load(c, "P4", EARLY_MORNING), ("demand increase",)),
    ("III", lambda c: with_peer(c, "P6", _in(3)), ("clustering",)),
]


def _as(role: str) -> Callable[[Peer], Peer]:
    return lambda peer: replace(peer, role=role)


def _in(number: int) -> Callable[[Peer], Peer]:
    return lambda peer: replace(peer, community=number)


def _exporting_at(cost: float) -> Callable[[Peer], Peer]:
    return lambda peer: replace(peer, export_cost_per_kwh=cost)


def _first_half() -> Community:
    horizon = replace(result("III").community.horizon, periods=12)
    return Case.load(NAMES["III"], horizon=horizon).community


def found(words: str, case: str, changed: Result) -> moreno2021.Finding:
    statement = about(words)
    return statement.check({**results(statement), case: changed})


@pytest.mark.parametrize(
    ("case", "change", "broken"), NEW_DISPATCH, ids=lambda at: str(at) if "<" not in str(at) else ""
)
def test_statement__on_another_optimum__fails(
    case: str, change: Callable[[Community], Community], broken: tuple[str, ...]
) -> None:
    changed = Result.of(change(result(case).community))
    assert [words for words in broken if found(words, case, changed).holds] == []


@pytest.mark.parametrize(
    ("case", "change", "broken"),
    SAME_DISPATCH,
    ids=lambda at: str(at) if "<" not in str(at) else "",
)
def test_statement__on_other_data__fails(
    case: str, change: Callable[[Community], Community], broken: tuple[str, ...]
) -> None:
    community = change(result(case).community)
    changed = Result(community, Instance.of(community), result(case).dispatch)
    assert [words for words in broken if found(words, case, changed).holds] == []


def test_statements__that_can_hold__are_each_broken_by_some_instance() -> None:
    broken = {about(words).text for *_, all_ in NEW_DISPATCH + SAME_DISPATCH for words in all_}
    assert broken == {statement.text for statement in STATEMENTS if statement.can_hold}


def test_statement__generator_by_role_in_community_2__would_break_its_composition() -> None:
    community = with_peer(result("III").community, "P5", _as("producer"))
    changed = Result(community, Instance.of(community), result("III").dispatch)
    literal = next(each for each in STATEMENTS if each.text.startswith("the small generator"))
    composition = about("5 communities")
    assert literal.check({"III": changed}).holds
    assert not composition.check({"II": result("II"), "III": changed}).holds


def test_statement__a_community_5_that_buys__would_break_the_composition() -> None:
    community = with_peer(result("III").community, "P13", _in(5))
    network = replace(community.network, nodes=(*community.network.nodes, "c5"))
    links = (*network.links, Link("c3", "c5", 8_000, 10**6))
    community = replace(community, network=replace(network, links=links))
    community = with_peer(community, "P13", lambda peer: replace(peer, node="c5"))
    changed = Result(community, Instance.of(community), result("III").dispatch)
    literal = next(each for each in STATEMENTS if each.text.endswith("community 5"))
    assert literal.check({"III": changed}).holds
    assert not found("5 communities", "III", changed).holds


# ---------------------------------------------------------------------------------- charging cycles


def cycles(*net_charge: float) -> int:
    net = np.array([net_charge])
    dispatch = replace(
        result("I").dispatch,
        charge_kwh=np.maximum(net, 0),
        discharge_kwh=np.maximum(-net, 0),
    )
    return moreno2021.charging_cycles(dispatch, 0)


def test_charging_cycles__runs_of_charging__are_counted_once() -> None:
    assert cycles(0, 5, 5, -5, -5, 5, 0) == 2


def test_charging_cycles__rest_within_a_run__does_not_end_it() -> None:
    assert cycles(5, 0, 5, -10) == 1


def test_charging_cycles__no_charging__is_none() -> None:
    assert cycles(-5, 0, -5) == 0


def _costs_off(community: Community, seed: int) -> Community:
    """Each generator's cost off by up to a millionth, hour by hour."""
    rng = np.random.default_rng(seed)

    def off(asset: Asset) -> Asset:
        if not isinstance(asset, Generator):
            return asset
        cost = asset.over("cost_per_kwh", 24) + rng.uniform(-1e-6, 1e-6, 24)
        return replace(asset, cost_per_kwh=cost)

    for peer in community.peers:
        community = with_assets(community, peer.name, off)
    return community


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_case_3__costs_off_by_a_millionth__give_the_same_schedules(seed: int) -> None:
    """So the optimum is the only one, and the cycles do not depend on the solver."""
    dispatch = Result.of(_costs_off(result("III").community, seed)).dispatch
    for name in ("generation_kwh", "charge_kwh", "discharge_kwh"):
        expected = getattr(result("III").dispatch, name)
        assert getattr(dispatch, name) == pytest.approx(expected, abs=1e-6)


# -------------------------------------------------------------------------------- the model's rules


def test_case_3__optimum__keeps_every_equation() -> None:
    """Eqs. 2-8 by hand on the arrays, and eq. 1 of them."""
    instance, d = result("III").instance, result("III").dispatch
    members = instance.members
    stored = d.discharge_kwh - d.charge_kwh
    imports, exports = np.zeros((2, len(members), 24))
    cost = sum(float(m.cost_per_kwh @ d.generation_kwh[n]) for n, m in enumerate(members))
    for (seller, buyer), energy in d.trades_kwh.items():
        imports[buyer] += energy
        exports[seller] += energy
        price = instance.import_price_per_kwh[seller, buyer]
        price = price + instance.export_price_per_kwh[seller, buyer]
        cost += float(price @ energy)
    load_kwh = result("III").load_kwh
    exactly = {"abs": 1e-6}
    assert d.objective == pytest.approx(cost, **exactly)
    for n, member in enumerate(members):
        assert (d.generation_kwh[n] <= member.most_kwh + 1e-9).all()
        assert (d.generation_kwh[n] >= member.least_kwh).all()
    assert (d.generation_kwh + stored).sum(axis=0) == pytest.approx(load_kwh.sum(axis=0), **exactly)
    assert imports == pytest.approx(d.import_kwh, **exactly)
    assert exports == pytest.approx(d.export_kwh, **exactly)
    balance = d.generation_kwh + imports + stored - exports
    assert balance == pytest.approx(load_kwh, **exactly)
    for n, member in enumerate(members):
        if (store := member.storage) is None:
            continue
        change = store.charge_efficiency * d.charge_kwh[n]
        change = change - d.discharge_kwh[n] / store.discharge_efficiency
        level = store.initial_kwh + change.cumsum()
        assert d.level_kwh[n] == pytest.approx(level, **exactly)
        assert level.max() <= store.energy_kwh + 1e-6
        assert level.min() >= -1e-6
        assert level[-1] >= store.initial_kwh - 1e-6


@pytest.mark.parametrize("case", ["I", "II", "III"])
def test_import_prices__at_nothing__leave_the_same_generation(case: str) -> None:
    instance = Instance.of(result(case).community, import_price=ImportPrice.NOTHING)
    dispatch = moreno2021.solve(instance)
    expected = result(case).dispatch
    assert dispatch.generation_kwh == pytest.approx(expected.generation_kwh, abs=1e-6)
    assert dispatch.charge_kwh == pytest.approx(expected.charge_kwh, abs=1e-6)
    net = dispatch.export_kwh - dispatch.import_kwh
    assert net == pytest.approx(expected.export_kwh - expected.import_kwh, abs=1e-6)


def test_cases__peers_of_2_and_3__are_the_same_in_hour_12() -> None:
    """But for storage, and for the costs that make the day's optimum unique."""
    one, day = result("II").instance.members, result("III").instance.members
    for hourly, daily in zip(one, day, strict=True):
        assert (hourly.name, hourly.role, hourly.community) == (
            daily.name,
            daily.role,
            daily.community,
        )
        assert hourly.load_kwh[0] == daily.load_kwh[11]
        assert hourly.most_kwh[0] == daily.most_kwh[11]
        assert hourly.cost_per_kwh[0] == pytest.approx(daily.cost_per_kwh[11], abs=0.00024)
    for of_1, of_2 in zip(result("I").community.peers, result("II").community.peers, strict=True):
        assert of_1.export_cost_per_kwh == of_2.export_cost_per_kwh
        assert repr(of_1.assets) == repr(of_2.assets)


# --------------------------------------------------------------------------- the market's own graph


def cheapest_routes(community: Community) -> dict[tuple[str, str], float]:
    """Least tariff from node to node (Floyd-Warshall), token/kWh."""
    nodes = community.network.nodes
    cost = {(a, b): 0.0 if a == b else float("inf") for a in nodes for b in nodes}
    for link in community.network.links:
        tariff_per_kwh = link.tariff_micro_per_kwh / 10**6
        cost[link.source, link.target] = min(cost[link.source, link.target], tariff_per_kwh)
    for via in nodes:
        for a in nodes:
            for b in nodes:
                cost[a, b] = min(cost[a, b], cost[a, via] + cost[via, b])
    return cost


@pytest.mark.parametrize("name", [*moreno2021.CASES["five-peer"].values(), *NAMES.values()])
def test_network__cheapest_route_of_every_pair__is_the_models_export_price(name: str) -> None:
    community = Case.load(name).community
    routes = cheapest_routes(community)
    for (seller, buyer), price in Instance.of(community).export_price_per_kwh.items():
        ends = community.peers[seller].node, community.peers[buyer].node
        assert routes[ends] == pytest.approx(price, abs=1e-12), ends


def cleared_kwh(book: Book, peers: Sequence[str]) -> tuple[list[float], list[float]]:
    """Per peer: generated, and exported net of imports."""
    clearing = market.clear(book)
    generated: dict[str, int] = dict.fromkeys(peers, 0)
    net: dict[str, int] = dict.fromkeys(peers, 0)
    for order, fill in zip(book.orders, clearing.fills_wh.tolist(), strict=True):
        if order.id.endswith("generator"):
            generated[order.peer] += fill
    for (peer, _), energy in net_positions_wh(book, clearing).items():
        net[peer] += energy
    return [each / 1000 for each in generated.values()], [each / 1000 for each in net.values()]


@pytest.mark.parametrize("case", ["I", "II"])
def test_clear__asks_at_cost__gives_the_dispatch_of_the_model(case: str) -> None:
    community, dispatch = result(case).community, result(case).dispatch
    names = [peer.name for peer in community.peers]
    generated, net = cleared_kwh(community.book(0), names)
    assert generated == pytest.approx(dispatch.generation_kwh[:, 0], abs=1e-6)
    assert net == pytest.approx((dispatch.export_kwh - dispatch.import_kwh)[:, 0], abs=1e-6)


def _storage_as_planned(result: Result) -> Community:
    """What storage takes becomes a load, what it gives is offered at nothing."""
    community, d = result.community, result.dispatch

    def planned(peer: Peer) -> Peer:
        at = community.index(peer.name)
        kept = [asset for asset in peer.assets if not isinstance(asset, Storage)]
        return replace(
            peer, assets=(*kept, Load(d.charge_kwh[at]), Photovoltaic(d.discharge_kwh[at]))
        )

    for name in ("P3", "P6"):
        community = with_peer(community, name, planned)
    return community


def test_clear__each_hour_of_case_3_with_storage_as_planned__gives_the_model_s_dispatch() -> None:
    community, dispatch = _storage_as_planned(result("III")), result("III").dispatch
    names = [peer.name for peer in community.peers]
    for hour in range(24):
        generated, net = cleared_kwh(community.book(hour), names)
        # Orders are whole Wh: what storage takes or gives was rounded.
        assert generated == pytest.approx(dispatch.generation_kwh[:, hour], abs=0.002), hour
        exported = (dispatch.export_kwh - dispatch.import_kwh)[:, hour]
        assert net == pytest.approx(exported, abs=0.002), hour


# ----------------------------------------------------------------------------------------- the page


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _figure(value: float) -> str:
    return f"{round(value, 6) + 0.0:g}"


def _peers() -> list[str]:
    head = _row("peer", "role", "community", "load, kWh", "largest power, kW", "Cg", "Cexp")
    rows = [head, "|---|---|---|---|---|---|---|"]
    instance = result("II").instance
    for peer, member in zip(result("II").community.peers, instance.members, strict=True):
        figures = (
            member.load_kwh[0], member.most_kwh[0], member.cost_per_kwh[0], peer.export_cost_per_kwh
        )  # fmt: skip
        shown = [_figure(value) if value else "" for value in figures]
        rows.append(_row(peer.name, peer.role, peer.community, *shown))
    return rows


def _contracts() -> list[str]:
    agreed = moreno2021.contracts(result("III").community)
    rows = [_row("from", *range(1, 5)), "|---|---|---|---|---|"]
    for of, name in enumerate(("main grid", "1", "2", "3", "4")):
        cells = [_figure(agreed[of, to]) if of != to else "" for to in range(1, 5)]
        rows.append(_row(name, *cells))
    return rows


def _statements() -> list[str]:
    rows = [_row("statement", "section", "taken to mean", "computed"), "|---|---|---|---|"]
    for statement in STATEMENTS:
        numbers = statement.check(results(statement)).numbers
        shown = numbers if statement.can_hold else f"**cannot hold**: {numbers}"
        rows.append(_row(statement.text, statement.where, statement.reading, shown))
    return [row.replace("$", "\\$").replace("|  |", "| |") for row in rows]


def _dispatch() -> list[str]:
    does = ("generates", "imports", "exports")
    head = _row("peer", *(f"{case}: {what}" for case in ("I", "II") for what in does))
    rows = [head, "|---|---|---|---|---|---|---|"]
    for at, peer in enumerate(result("I").community.peers):
        figures = [
            _figure(getattr(result(case).dispatch, what)[at, 0])
            for case in ("I", "II")
            for what in ("generation_kwh", "import_kwh", "export_kwh")
        ]
        rows.append(_row(peer.name, *figures))
    return rows


def _day() -> list[str]:
    day = result("III")
    rows = [
        _row("h", "load", "P6", "P5", "P8", "others", "stored at P3", "stored at P6"),
        "|---|---|---|---|---|---|---|---|",
    ]
    shown = [day.generated(name) for name in ("P6", "P5", "P8")]
    others = day.dispatch.generation_kwh.sum(axis=0) - sum(shown)
    levels = [day.dispatch.level_kwh[day.instance.index(name)] for name in ("P3", "P6")]
    for hour in range(24):
        columns = [day.load_kwh.sum(axis=0), *shown, others, *levels]
        rows.append(_row(hour + 1, *(f"{abs(round(column[hour], 1)):g}" for column in columns)))
    return rows


TABLES = {
    "PEERS": _peers,
    "CONTRACTS": _contracts,
    "STATEMENTS": _statements,
    "DISPATCH": _dispatch,
    "DAY": _day,
}


@pytest.mark.parametrize("table", TABLES)
def test_page__tables__show_what_is_computed(table: str) -> None:
    assert "\n".join(TABLES[table]()) in PAGE.read_text(encoding="utf-8")


def test_page__storage_and_objectives__are_those_of_the_cases() -> None:
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    stores = {m.name: m.storage for m in result("III").instance.members if m.storage is not None}
    one, other = stores["P3"], stores["P6"]
    assert (
        f"P3 stores {one.energy_kwh:g} kWh at {one.charge_kw:g} kW with efficiencies of "
        f"{one.charge_efficiency:g} either way, and starts and ends the day with "
        f"{one.initial_kwh:g} kWh."
    ) in page
    assert one.charge_kw == one.discharge_kw
    assert one.charge_efficiency == one.discharge_efficiency
    assert (
        f"P6 stores {other.energy_kwh:g} kWh, charged at {other.charge_kw:g} kW and discharged at "
        f"{other.discharge_kw:g} kW with {other.charge_efficiency:g} either way, and starts empty."
    ) in page
    assert (other.initial_kwh, other.discharge_efficiency) == (0, other.charge_efficiency)
    objectives = [f"{result(case).dispatch.objective:.6g}" for case in ("I", "II")]
    assert page.count(" and ".join(objectives)) == 2


def test_page__costs_that_make_the_day_unique__rise_by_a_hundred_thousandth_with_the_load() -> None:
    day = result("III")
    order = np.argsort(day.load_kwh.sum(axis=0), kind="stable")
    for name in ("P5", "P6", "P8"):
        cost = day.instance.members[day.instance.index(name)].cost_per_kwh[order]
        assert np.diff(cost) == pytest.approx(np.full(23, 0.00001))


def test_page__prosumers_by_day__generate_nothing_at_night() -> None:
    for name in ("P3", "P10"):
        most = result("III").instance.members[result("III").instance.index(name)].most_kwh
        assert most[:6].tolist() == most[18:].tolist() == [0] * 6
        assert most[6:17].min() > 0


# ------------------------------------------------------------------------------ the day's planner


@pytest.mark.parametrize("name", [*moreno2021.CASES["five-peer"].values(), *NAMES.values()])
def test_plan__every_case_of_the_paper__costs_what_the_model_finds(name: str) -> None:
    """At import prices of nothing: both then minimise what energy costs."""
    community = Case.load(name).community
    instance = Instance.of(community, import_price=ImportPrice.NOTHING)
    objective = moreno2021.solve(instance).objective
    assert plan(community).objective == pytest.approx(objective, abs=1e-6)


def test_plan__case_3__has_the_schedules_of_the_model() -> None:
    dispatch = result("III").dispatch
    expected = {
        (kind, peer): getattr(dispatch, array)[at]
        for kind, array in (("generator", "generation_kwh"), ("storage", "discharge_kwh"))
        for at, peer in enumerate(result("III").community.peers)
    }
    planned = plan(result("III").community)
    for schedule in planned.schedules:
        if schedule.asset.kind in {"generator", "storage"}:
            peer = result("III").community.peers[schedule.peer]
            found = expected[schedule.asset.kind, peer]
            assert schedule.inject_kwh == pytest.approx(found, abs=1e-6), peer.name
