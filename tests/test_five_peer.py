"""The five-peer cases: every sentence of docs/five-peer.md."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from fairwatt import market
from fairwatt.cases import Case
from fairwatt.community import Community, Generator, Horizon, Load, Peer
from fairwatt.market import Network, Side
from fairwatt.market.trades import net_positions_wh, trades_wh
from fairwatt.models import moreno2021

if TYPE_CHECKING:
    from fairwatt.market import Book, Clearing

CASE_I, CASE_II = "five-peer-1", "five-peer-2"
BOTH = (CASE_I, CASE_II)
# Tables 2 and 3 of the paper, kWh: generated, imported, exported.
TABLES = {
    CASE_I: {
        "G": (0, 0, 0),
        "P2": (0, 140, 0),
        "P3": (250, 0, 200),
        "P4": (0, 100, 0),
        "P5": (60, 0, 40),
    },
    CASE_II: {
        "G": (0, 0, 0),
        "P2": (0, 140, 0),
        "P3": (110, 0, 60),
        "P4": (0, 100, 0),
        "P5": (200, 0, 180),
    },
}


def cleared(name: str) -> tuple[Case, Book, Clearing]:
    case = Case.load(name)
    book = case.book()
    return case, book, market.clear(book)


def generator(peer: Peer) -> Generator | None:
    return next((asset for asset in peer.assets if isinstance(asset, Generator)), None)


def dispatch_kwh(book: Book, clearing: Clearing) -> dict[str, tuple[float, float, float]]:
    """Per peer: generated, imported, exported."""
    generated: dict[str, int] = dict.fromkeys(book.peers, 0)
    net: dict[str, int] = dict.fromkeys(book.peers, 0)
    for order, fill in zip(book.orders, clearing.fills_wh.tolist(), strict=True):
        generated[order.peer] += fill if order.side is Side.ASK else 0
    for (peer, _), energy in net_positions_wh(book, clearing).items():
        net[peer] += energy
    return {
        peer: (generated[peer] / 1000, max(0, -net[peer]) / 1000, max(0, net[peer]) / 1000)
        for peer in generated
    }


# ------------------------------------------------------------------------------ the corrected cases


@pytest.mark.parametrize("name", BOTH)
def test_clear__five_peers__gives_the_dispatch_of_the_paper(name: str) -> None:
    _, book, clearing = cleared(name)
    assert dispatch_kwh(book, clearing) == TABLES[name]


@pytest.mark.parametrize("name", BOTH)
def test_case__five_peers__publishes_what_the_tables_say(name: str) -> None:
    published = Case.load(name).published
    assert published is not None
    for at, energies in enumerate(
        (published.generation_wh, published.import_wh, published.export_wh)
    ):
        assert energies == {peer: row[at] * 1000 for peer, row in TABLES[name].items()}


@pytest.mark.parametrize(
    ("name", "objective", "printed"),
    [(CASE_I, Fraction(3992, 125), "31.936"), (CASE_II, Fraction(3557, 125), "28.456")],
)
def test_objective__five_peers__is_the_printed_one_exactly(
    name: str, objective: Fraction, printed: str
) -> None:
    case, book, clearing = cleared(name)
    assert moreno2021.objective_of(case, book, clearing) == objective == Fraction(printed)
    assert case.published is not None
    assert str(case.published.objective) == printed


@pytest.mark.parametrize(("name", "cost"), [(CASE_I, "20.336"), (CASE_II, "16.576")])
def test_clear__five_peers__minimises_the_resource_cost(name: str, cost: str) -> None:
    _, book, clearing = cleared(name)
    nano = sum(
        order.price_micro_per_kwh * fill
        for order, fill in zip(book.orders, clearing.fills_wh.tolist(), strict=True)
        if order.side is Side.ASK
    )
    nano += sum(market.payments(book, clearing).tariffs_nano)
    assert Fraction(nano, 10**9) == Fraction(cost)
    # All loads are served, so welfare is their value at the cap less that cost.
    assert market.check(book, clearing).welfare == 310_000 * 200_000 - nano


def test_objective__counts_the_seller_cost_once_more_on_all_that_is_traded() -> None:
    _, book, clearing = cleared(CASE_I)
    traded = trades_wh(book, clearing)
    cost = {
        order.peer: order.price_micro_per_kwh for order in book.orders if order.side is Side.ASK
    }
    again = sum(cost[seller] * energy for (seller, _), energy in traded.items())
    assert Fraction(3992, 125) - Fraction(again) / 10**9 == Fraction("20.336")


@pytest.mark.parametrize(
    ("name", "node", "price", "p5", "p3", "tariffs"),
    [
        (CASE_I, "hub", 75_400, 40, 200, "5.336"),
        (CASE_II, "c3", 69_600, 180, 60, "1.296"),
    ],
)
def test_clear__communities__change_what_the_documentation_says(
    name: str, node: str, price: int, p5: int, p3: int, tariffs: str
) -> None:
    _, book, clearing = cleared(name)
    at = book.network.node_index[node]
    assert clearing.prices_micro_per_kwh[at] == price
    exported = {peer: row[2] for peer, row in dispatch_kwh(book, clearing).items()}
    assert (exported["P5"], exported["P3"]) == (p5, p3)
    assert Fraction(sum(market.payments(book, clearing).tariffs_nano), 10**9) == Fraction(tariffs)


def test_case_2__p3_sets_the_price_with_what_it_costs_to_bring_its_energy_in() -> None:
    case = Case.load(CASE_II)
    p3 = case.community.peers[case.community.index("P3")]
    assert generator(p3).cost_per_kwh + p3.export_cost_per_kwh == pytest.approx(0.0696)


@pytest.mark.parametrize("name", BOTH)
def test_case__loads__bid_the_price_cap(name: str) -> None:
    case = Case.load(name)
    limits = {line.price_micro_per_kwh for line in case.book().orders if line.side is Side.BID}
    assert limits == {case.community.network.price_cap_micro_per_kwh} == {200_000}


def test_case_2__communities__are_the_nodes_inside_which_nobody_pays() -> None:
    case = Case.load(CASE_II)
    members: dict[str, set[str]] = {}
    for peer in case.community.peers:
        members.setdefault(peer.node, set()).add(peer.name)
    assert sorted(members.values(), key=len) == [{"G"}, {"P3"}, {"P2", "P4", "P5"}]
    assert len({peer.community for peer in case.community.peers}) == 3


def test_cases__differ_from_the_printed_table_in_two_figures_only() -> None:
    printed = {
        "G": (5000, 0.096, 0.01584),
        "P3": (250, 0.048, 0.0216),
        "P5": (20, 0.05, 0.0048),
    }
    differing = {
        (name, peer.name, at)
        for name in BOTH
        for peer in Case.load(name).community.peers
        if (g := generator(peer))
        for at, (ours, theirs) in enumerate(
            zip(
                (float(g.power_kw), float(g.cost_per_kwh), peer.export_cost_per_kwh),
                printed[peer.name],
                strict=True,
            )
        )
        if ours != theirs
    }
    assert differing == {(CASE_I, "P5", 0), (CASE_I, "P5", 2), (CASE_II, "P5", 0)}


@pytest.mark.parametrize("name", BOTH)
def test_case__links_out_of_a_seller__carry_its_export_cost(name: str) -> None:
    case = Case.load(name)
    for peer in case.community.peers:
        if generator(peer) is None:
            continue
        tariffs = {
            link.tariff_micro_per_kwh
            for link in case.community.network.links
            if link.source == peer.node
        }
        assert tariffs == {round(peer.export_cost_per_kwh * 10**6)}


# ------------------------------------------------------------------------------ the printed table

# Table 1: role, community of case II, largest power kW, Cg and Cexp $/kWh, load kWh.
PRINTED = {
    "G": ("producer", 1, 5000, 0.096, 0.01584, 0),
    "P2": ("consumer", 3, 0, 0, 0, 140),
    "P3": ("prosumer", 2, 250, 0.048, 0.0216, 50),
    "P4": ("consumer", 3, 0, 0, 0, 100),
    "P5": ("prosumer", 3, 20, 0.050, 0.0048, 20),
}


def table_1(*, communities: bool, p5_kw: float = 20, p5_export_cost: float = 0.0048) -> Community:
    """The table as printed, but for what is given of P5; the model needs no network."""
    peers = []
    for at, (name, row) in enumerate(PRINTED.items()):
        role, community, power, cost, export_cost, load = row
        if name == "P5":
            power, export_cost = p5_kw, p5_export_cost
        assets = (*([Generator(power, cost)] if power else []), Load(load))
        number = community if communities else at
        peers.append(Peer(name, role, "n", assets, number, export_cost_per_kwh=export_cost))
    network = Network(("n",), (), 0, 200_000)
    return Community("table 1", Horizon(0, 3600, 1), network, (), tuple(peers))


def minimum(community: Community) -> tuple[float, list[float], list[float]]:
    """Minimise eq. 1 itself; objective, generation, exports."""
    dispatch = moreno2021.solve(moreno2021.Instance.of(community))
    return (
        dispatch.objective,
        dispatch.generation_kwh[:, 0].tolist(),
        dispatch.export_kwh[:, 0].tolist(),
    )


@pytest.mark.parametrize("communities", [False, True])
def test_printed_table__takes_40_kw_from_the_grid__contradicting_both_results(
    communities: bool,
) -> None:
    objective, generation, _ = minimum(table_1(communities=communities))
    assert objective == pytest.approx(35.2336, abs=1e-9)
    assert generation == pytest.approx([40, 0, 250, 0, 20])


@pytest.mark.parametrize("name", BOTH)
def test_printed_table__cleared_by_the_market__takes_40_kwh_from_the_grid(name: str) -> None:
    case = Case.load(name)
    case = replace(case, community=moreno2021.as_printed(case.community))
    book = case.book()
    clearing = market.clear(book)
    assert moreno2021.objective_of(case, book, clearing) == Fraction("35.2336")
    assert dispatch_kwh(book, clearing)["G"] == (40, 0, 40)


def test_printed_table__export_cost_corrected_only__is_still_contradicted() -> None:
    objective, generation, _ = minimum(table_1(communities=False, p5_export_cost=0.0254))
    assert objective == pytest.approx(35.2336, abs=1e-9)
    assert generation[0] == pytest.approx(40)


def test_printed_table__largest_power_corrected_only__lets_p5_sell_before_p3_in_case_1() -> None:
    objective, _, exported = minimum(table_1(communities=False, p5_kw=200))
    assert exported == pytest.approx([0, 0, 60, 0, 180])
    assert objective != pytest.approx(31.936, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "export_cost", "printed"), [(CASE_I, 0.0254, 31.936), (CASE_II, 0.0048, 28.456)]
)
def test_corrected_table__minimum_of_the_objective__is_the_printed_result(
    name: str, export_cost: float, printed: float
) -> None:
    community = table_1(communities=name == CASE_II, p5_kw=200, p5_export_cost=export_cost)
    objective, generation, exported = minimum(community)
    assert objective == pytest.approx(printed, abs=1e-9)
    assert generation == pytest.approx([row[0] for row in TABLES[name].values()])
    assert exported == pytest.approx([row[2] for row in TABLES[name].values()])
