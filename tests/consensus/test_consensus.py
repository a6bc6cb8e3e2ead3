"""Prices that peers agree on: the central optimum, without anybody's costs in one place."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from tests.models.communities import communities

from fairwatt import consensus
from fairwatt.cases import Case
from fairwatt.community import (
    Community,
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    Storage,
    Supplier,
)
from fairwatt.consensus import (
    Account,
    CommunityManager,
    NetworkAgent,
    PeerAgent,
    Settings,
    Signal,
    agree,
)
from fairwatt.consensus._agents import own_affairs
from fairwatt.consensus._manager import PublicPrices
from fairwatt.errors import ConsensusError, PlanInfeasible
from fairwatt.market import Link, Network
from fairwatt.planner import plan

CITY = Supplier("city", 0.30, 0.10)
PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"
TIGHT = Settings(gap=1e-6, least_gap=1e-6, residual=1e-6)


def peer(name: str, *assets, node="a", supplier="city", **more) -> Peer:
    return Peer(name, "prosumer", node, assets, supplier=supplier, **more)


def community_of(*peers: Peer, periods=1, links=(), suppliers=(CITY,), fee=0.0) -> Community:
    network = Network(("a", "b"), tuple(links), 0, 10**6)
    return Community("test", Horizon(0, 3600, periods), network, suppliers, peers, fee)


def roof_and_home(**of_home) -> Community:
    return community_of(peer("roof", Photovoltaic(5.0)), peer("home", Load(2.0), **of_home))


# --- what is agreed on ----------------------------------------------------------------------------


def test_agree__surplus__home_buys_from_the_roof_at_the_feed_in_tariff():
    found = agree(roof_and_home(), settings=TIGHT)

    assert found.converged
    assert found.objective == pytest.approx(-3 * 0.10, abs=1e-5)
    assert found.sell_kwh == pytest.approx(np.array([[2.0], [0.0]]), abs=1e-4)
    assert found.buy_kwh == pytest.approx(np.array([[0.0], [2.0]]), abs=1e-4)
    assert found.price_per_kwh[0, 0] == pytest.approx(0.10, abs=1e-4)
    assert found.costs == pytest.approx([-3 * 0.10, 0.0], abs=1e-4)


def test_agree__quadratic_costs__marginal_costs_are_the_price():
    # 2a g = price for both and g1 + g2 = 6: price 0.16, g = 4 and 2
    found = agree(
        community_of(
            peer("one", Generator(9.0, 0.0, 0.02), supplier=None),
            peer("two", Generator(9.0, 0.0, 0.04), supplier=None),
            peer("home", Load(6.0)),
        ),
        settings=TIGHT,
    )

    assert found.price_per_kwh[0, 0] == pytest.approx(0.16, abs=1e-4)
    assert found.sell_kwh[:, 0] == pytest.approx([4.0, 2.0, 0.0], abs=1e-3)
    assert found.objective == pytest.approx(0.02 * 16 + 0.04 * 4, abs=1e-5)


def test_agree__full_link__prices_differ_at_its_ends():
    found = agree(
        community_of(
            peer("roof", Photovoltaic(5.0)),
            peer("home", Load(4.0), node="b"),
            links=[Link("a", "b", 50_000, 3_000)],
        ),
        settings=TIGHT,
    )

    assert found.flows_kwh == pytest.approx(np.array([[3.0]]), abs=1e-4)
    assert found.network_cost == pytest.approx(3 * 0.05, abs=1e-5)
    assert found.objective == pytest.approx(3 * 0.05 + 1 * 0.30 - 2 * 0.10, abs=1e-5)
    assert found.price_per_kwh[:, 0] == pytest.approx([0.10, 0.30], abs=1e-4)


def test_agree__storage__carries_sun_into_the_evening():
    community = community_of(
        peer("roof", Photovoltaic([5.0, 0.0])),
        peer("battery", Storage(2.0, 3.0, 3.0, 0.9, 0.9), supplier=None),
        peer("home", Load([0.0, 4.0])),
        periods=2,
    )

    found = agree(community, settings=TIGHT)

    assert found.objective == pytest.approx(plan(community).objective, abs=1e-5)
    assert found.injection_kwh[1] == pytest.approx([-2 / 0.9, 2 * 0.9], abs=1e-3)


def test_agree__preferences__count_as_in_a_plan():
    community = roof_and_home(import_preference_per_kwh=0.02)
    community = replace(community, peers=(replace(community.peers[1], assets=(Load(7.0),)),))

    assert agree(community).objective == pytest.approx(7 * 0.32, abs=1e-3)


def test_agree__two_tariffs__nobody_resells():
    cheap = Supplier("cheap", 0.20, 0.05)
    community = community_of(
        peer("home", Load(4.0)),
        peer("broker", CurtailableLoad(3.0, 0.10), supplier="cheap"),
        suppliers=(CITY, cheap),
    )

    found = agree(community, settings=TIGHT)

    assert found.objective == pytest.approx(4 * 0.30 + 3 * 0.10, abs=1e-5)
    assert found.injection_kwh == pytest.approx(0.0, abs=1e-4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(communities(quadratic=True))
def test_agree__any_community__is_as_good_as_the_plan(community):
    try:
        best = plan(community).objective
    except PlanInfeasible:
        assume(condition=False)

    found = agree(community)

    assert found.converged
    assert found.objective == pytest.approx(best, rel=1e-3, abs=1e-4)
    assert found.lower_bound <= best + 1e-6
    assert found.gap <= max(1e-3 * abs(found.objective), 1e-4)


# --- cases ----------------------------------------------------------------------------------------

QUICK = [
    "five-peer-1",
    "five-peer-2",
    "seventeen-peer-1",
    "seventeen-peer-2",
    "corby",
    "corby-without-plant",
]
SLOW = ["seventeen-peer-3", "iberia"]


def require_optimum(name: str) -> None:
    community = Case.load(name).community
    best = plan(community)

    found = agree(community)

    assert found.converged
    assert found.objective == pytest.approx(best.objective, rel=1e-3)
    assert found.lower_bound <= best.objective * (1 + 1e-6)
    assert found.gap <= 1e-3 * found.objective
    traded = np.abs(found.injection_kwh).sum() / 2
    assert np.abs(found.imbalance_kwh).sum() <= 2e-3 * traded
    assert np.abs(found.flows_kwh - np.maximum(found.flows_kwh, 0)).max(initial=0) < 1e-5


@pytest.mark.parametrize("name", QUICK)
def test_agree__case__is_within_a_thousandth_of_the_plan(name):
    require_optimum(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_agree__case_with_storage__is_within_a_thousandth_of_the_plan(name):
    require_optimum(name)


# --- what is recorded -----------------------------------------------------------------------------


def test_agree__every_round__is_recorded_and_reported():
    seen = []

    found = agree(roof_and_home(), progress=lambda count, last: seen.append((count, last)))

    assert [count for count, _ in seen] == list(range(1, found.iterations + 1))
    assert [last.primal_residual_kwh for _, last in seen] == found.primal_residual_kwh.tolist()
    assert [last.dual_residual_per_kwh for _, last in seen] == found.dual_residual_per_kwh.tolist()
    assert found.penalty.shape == (found.iterations,)
    assert found.primal_residual_kwh[-1] < 1e-2 < found.primal_residual_kwh[0]
    assert found.primal_residual_kwh[-1] == pytest.approx(np.linalg.norm(found.imbalance_kwh))


def test_agree__too_few_rounds__says_that_it_did_not_converge():
    found = agree(roof_and_home(), settings=Settings(rounds=2))

    assert not found.converged
    assert found.iterations == 2
    assert found.gap > 1e-3 * abs(found.objective)


def test_agree__nobody_can_serve_a_load__does_not_converge():
    community = community_of(
        peer("home", Load(2.0), supplier=None), peer("roof", Photovoltaic(1.0))
    )

    found = agree(community, settings=Settings(rounds=200))

    assert not found.converged
    assert found.imbalance_kwh[0, 0] == pytest.approx(-1.0, abs=1e-3)
    assert found.price_per_kwh[0, 0] > 0.30


def test_agree__nobody_there__has_nothing_to_agree_on():
    found = agree(community_of())

    assert found.converged
    assert found.objective == 0
    assert np.isnan(found.price_per_kwh).all()


def test_agree__empty_node__has_no_price():
    prices = agree(roof_and_home()).price_per_kwh

    assert np.isnan(prices[1]).all()
    assert np.isfinite(prices[0]).all()


def test_agree__tariffs_of_zero__still_finds_its_way():
    free = Supplier("city", 0.0, 0.0)
    community = community_of(
        peer("mill", Generator(2.0, 0.05), supplier=None),
        peer("home", CurtailableLoad(3.0, 0.20), supplier=None),
        suppliers=(free,),
    )

    found = agree(community)

    assert found.converged
    assert found.objective == pytest.approx(2 * 0.05 + 1 * 0.20, abs=1e-3)


@pytest.mark.parametrize("penalty", [0.01, 100.0])
def test_agree__badly_chosen_penalty__is_adapted(penalty):
    community = Case.load("five-peer-1").community

    found = agree(community, settings=Settings(penalty=penalty))

    assert found.converged
    assert found.objective == pytest.approx(20.336, rel=1e-3)


# --- who knows what -------------------------------------------------------------------------------


def test_own_affairs__of_a_peer__hold_nobody_else():
    other = Supplier("other", 0.25, 0.05)
    community = community_of(
        peer("home", Load(1.0)),
        peer("roof", Photovoltaic(2.0), node="b", supplier="other"),
        links=[Link("a", "b", 0, 1_000)],
        suppliers=(CITY, other),
    )

    own = own_affairs(community, 0)

    assert own.peers == (community.peers[0],)
    assert own.suppliers == (CITY,)
    assert own.network.nodes == ("a",)
    assert own.network.links == ()


def test_peer_agent__more_than_one_peer__is_refused():
    with pytest.raises(ConsensusError, match="one peer and no links, not 2 and 0"):
        PeerAgent(roof_and_home())


def test_peer_agent__other_peers_change__answers_the_same():
    signal = Signal(np.array([[0.2]]), np.array([[0.0]]), 0.01)
    before = roof_and_home()
    after = replace(before, peers=(peer("mine", Generator(99.0, 0.01)), before.peers[1]))

    answers = [PeerAgent(own_affairs(each, 1)).respond(signal) for each in (before, after)]

    assert answers[0] == pytest.approx(answers[1], abs=0)


def test_peer_agent__size__is_a_rounded_power_of_two():
    assert PeerAgent(own_affairs(roof_and_home(), 0)).size_kwh == 4.0
    assert PeerAgent(own_affairs(roof_and_home(), 1)).size_kwh == 2.0


def test_network_agent__is_made_of_the_network_alone():
    network = Network(("a", "b"), (Link("a", "b", 50_000, 3_000),), 0, 10**6)

    answer = NetworkAgent(network, 1).respond(
        Signal(np.array([[0.1], [0.3]]), np.zeros((2, 1)), 1e-6)
    )

    assert answer == pytest.approx(np.array([[-3.0], [3.0]]), abs=1e-5)


class Linear:
    """A generator in three lines: min cost q - price q + penalty/2 (q - target)^2, 0 <= q <= most.

    It is no peer of a community, and the manager does not mind.
    """

    nodes = ("a",)
    size_kwh = 1.0

    def __init__(self, name: str, cost: float, least: float, most: float) -> None:
        self.name, self.cost, self.least, self.most = name, cost, least, most
        self.heard: list[Signal] = []
        self.last = np.zeros((1, 1))

    def respond(self, signal: Signal) -> np.ndarray:
        self.heard.append(signal)
        best = signal.target_kwh + (signal.price_per_kwh - self.cost) / signal.penalty
        self.last = np.clip(best, self.least, self.most)
        return self.last

    def account(self, price_per_kwh: np.ndarray) -> Account:
        margin = price_per_kwh - self.cost
        best = np.where(margin > 0, self.most, self.least) * margin
        return Account(float(self.cost * self.last.sum()), float((best - margin * self.last).sum()))


def test_manager__any_agents__needs_their_answers_only():
    seller, buyer = Linear("seller", 0.1, 0.0, 3.0), Linear("buyer", 0.4, -2.0, 0.0)
    public = PublicPrices(np.array([0.5]), np.array([0.0]))

    manager = CommunityManager([seller, buyer], ("a",), 1, public)
    proof, converged = manager.seek()

    assert converged
    assert proof.objective == pytest.approx(2 * 0.1 - 2 * 0.4, rel=1e-3)
    assert manager.answers_kwh[0] == pytest.approx(2.0, abs=1e-2)


def test_manager__an_agent__hears_price_and_target_of_its_own():
    """Targets are an agent's own last answers less its part of what was too much at the node."""
    one, two = Linear("one", 0.1, 0.0, 3.0), Linear("two", 0.4, -2.0, 0.0)
    public = PublicPrices(np.array([0.5]), np.array([0.0]))

    CommunityManager([one, two], ("a",), 1, public, Settings(rounds=2, relaxation=1.0)).seek()

    assert set(vars(one.heard[0])) == {"price_per_kwh", "target_kwh", "penalty"}
    first = [Linear("again", each.cost, each.least, each.most) for each in (one, two)]
    answers = [float(again.respond(each.heard[0]).item()) for again, each in
               zip(first, (one, two), strict=True)]  # fmt: skip
    too_much = sum(answers) / 2
    for answer, each in zip(answers, (one, two), strict=True):
        assert each.heard[1].target_kwh.item() == pytest.approx(answer - too_much)


def test_manager__agents_behind_a_narrow_door__finds_the_same():
    community = roof_and_home()

    def door(agent: PeerAgent) -> SimpleNamespace:
        return SimpleNamespace(
            name=agent.name, nodes=agent.nodes, size_kwh=agent.size_kwh,
            respond=agent.respond, account=agent.account,
        )  # fmt: skip

    agents = [door(PeerAgent(own_affairs(community, at))) for at in range(2)]
    public = PublicPrices(np.array([0.30]), np.array([0.10]))
    proof, _ = CommunityManager(agents, ("a", "b"), 1, public).seek()

    assert proof.objective == agree(community).objective


def test_manager__module__never_imports_communities_or_plans():
    source = Path(consensus._manager.__file__).read_text()
    imported = {
        node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
    }

    ours = {name for name in imported if name and name.startswith("fairwatt")}
    assert ours == {
        "fairwatt.consensus._agents", "fairwatt.consensus._proximal", "fairwatt.errors",
    }  # fmt: skip


# --- what cannot work -----------------------------------------------------------------------------


def test_agree__vehicle_that_cannot_charge_in_time__is_named():
    vehicle = ElectricVehicle(9.0, 3.0, 0, 1)

    with pytest.raises(PlanInfeasible, match="the ev of 'home' cannot charge 9 kWh") as caught:
        agree(community_of(peer("home", vehicle)))

    assert caught.value.peers == ("home",)


@pytest.mark.parametrize("assets", [(Load(5.0),), (Load(5.0), CurtailableLoad(1.0, 0.2))])
def test_agree__connection_too_weak__is_named(assets):
    with pytest.raises(ConsensusError, match="home: nothing it could do keeps all of its own"):
        agree(community_of(peer("home", *assets, connection_kw=3.0)))


def test_account__before_any_price__is_refused():
    agent = PeerAgent(own_affairs(roof_and_home(), 0))

    with pytest.raises(ConsensusError, match="roof was asked for an account before any price"):
        agent.account(np.array([[0.2]]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gap": 0.0}, "gap must be more than 0, not 0"),
        ({"rounds": 0}, "rounds must be more than 0, not 0"),
        ({"penalty": float("nan")}, "penalty must be more than 0, not nan"),
        ({"relaxation": 2.0}, "relaxation must be at least 1 and less than 2, not 2"),
    ],
)
def test_settings__out_of_range__are_refused(wrong, message):
    with pytest.raises(ConsensusError, match=message):
        Settings(**wrong)


# --- the page -------------------------------------------------------------------------------------


def page_rows() -> dict[str, list[float]]:
    names = "|".join([*QUICK, *SLOW])
    rows = re.findall(rf"^\| ({names}) \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    return {name: [float(cell.strip(" %")) for cell in cells.split("|")] for name, cells in rows}


def test_page__table__has_every_case_within_a_thousandth():
    rows = page_rows()

    assert set(rows) == {*QUICK, *SLOW}
    for best, found, apart, proved, _imbalance, _rounds, _seconds in rows.values():
        assert abs(apart) <= proved <= 0.1
        assert (found / best - 1) * 100 == pytest.approx(apart, abs=2e-3)


@pytest.mark.parametrize("name", ["five-peer-1", "five-peer-2"])
def test_page__program_on_it__prints_its_table(name, monkeypatch):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.setattr("fairwatt.cases.names", lambda: [name])
    printed: list[str] = []

    exec(program, {"print": printed.append})

    (line,) = printed
    best, found, _, proved, _, rounds, _ = (
        float(cell.strip(" %")) for cell in line.split("|")[2:-1]
    )
    on_page = page_rows()[name]
    assert best == pytest.approx(on_page[0], abs=1e-4)
    assert found == pytest.approx(on_page[1], rel=1e-3)
    assert proved <= 0.1
    assert 0.5 * on_page[5] <= rounds <= 2 * on_page[5]
