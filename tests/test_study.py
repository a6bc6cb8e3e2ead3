"""Market designs side by side: what their bills add up to, whom they serve, what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fairwatt.cases import Case
from fairwatt.community import (
    Community,
    Generator,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    Storage,
    Supplier,
)
from fairwatt.errors import StudyError
from fairwatt.market import Link, Network
from fairwatt.planner import plan
from fairwatt.study import Study, study

RETAIL, FEED_IN = 0.3, 0.1
POOLS = ("mid-market", "supply-demand", "bill-sharing")
SHARES = ("share-equally", "share-by-contribution", "share-by-need", "share-by-renewables")


def home(name: str, load: list[float], sun: list[float], *more: object, need: float = 1) -> Peer:
    assets = (Load(load), Photovoltaic(sun), *more)
    return Peer(name, "prosumer", "village", assets, supplier="utility", need=need)


def village(*peers: Peer, periods: int = 2) -> Community:
    return Community(
        "village",
        Horizon(0, 3600, periods),
        Network(("village",), (), 100_000, 300_000),
        (Supplier("utility", RETAIL, FEED_IN),),
        peers,
    )


# Sun has 3 kWh too many at noon, Moon misses 2 then and 1 at night, Star has what it needs at noon.
SUN = home("Sun", [1, 1], [4, 0])
MOON = home("Moon", [2, 1], [0, 0], need=3)
STAR = home("Star", [1, 0], [1, 0])


@pytest.fixture(scope="module")
def three() -> Study:
    return study(village(SUN, MOON, STAR))


def outcome_of(result: Study, design: str):
    return next(each for each in result.outcomes if each.design == design)


# ------------------------------------------------------------------------------ three homes by hand


def test_study__three_homes__everybody_alone_pays_its_supplier(three: Study) -> None:
    # Sun sells 3 at 0.1 and buys 1 at 0.3; Moon buys 3 at 0.3.
    assert three.alone.bills == pytest.approx([0.0, 0.9, 0.0])
    assert three.alone.figures.export_kwh == pytest.approx(3)
    assert three.alone.figures.import_kwh == pytest.approx(4)
    assert three.alone.figures.self_consumption == pytest.approx(2 / 5)
    assert three.alone.figures.self_sufficiency == pytest.approx(2 / 6)


@pytest.mark.parametrize("design", [*POOLS, "double-auction", "market", *SHARES, "shapley"])
def test_study__three_homes__two_kwh_at_noon_stay_inside(three: Study, design: str) -> None:
    outcome = outcome_of(three, design)
    assert three.gain(outcome) == pytest.approx(2 * (RETAIL - FEED_IN))
    assert outcome.figures.export_kwh == pytest.approx(1)
    assert outcome.figures.self_consumption == pytest.approx(4 / 5)
    assert outcome.figures.self_sufficiency == pytest.approx(4 / 6)
    assert outcome.figures.peak_import_kw == pytest.approx(2)  # at night


def test_study__mid_market__splits_the_gain_of_every_kwh_by_half(three: Study) -> None:
    # 2 kWh at 0.2; Sun's third goes out at 0.1, so that Sun gets 5/3 x 0.1 a kWh: the same gain.
    assert three.gains(outcome_of(three, "mid-market")) == pytest.approx([0.2, 0.2, 0.0])


def test_study__pay_as_bid__leaves_the_spread_to_the_manager(three: Study) -> None:
    outcome = outcome_of(three, "pay-as-bid")
    assert three.gains(outcome) == pytest.approx([0, 0, 0])
    assert outcome.kept == pytest.approx(0.4)


def test_study__market__surplus_left_over_sets_the_price(three: Study) -> None:
    outcome = outcome_of(three, "market")
    assert (outcome.lowest_price, outcome.highest_price) == (FEED_IN, FEED_IN)
    assert three.gains(outcome) == pytest.approx([0.0, 0.4, 0.0])


@pytest.mark.parametrize(
    ("design", "gains"),
    [
        ("share-equally", [0.4 / 3] * 3),
        ("share-by-need", [0.08, 0.24, 0.08]),
        ("share-by-renewables", [0.32, 0.0, 0.08]),
        ("share-by-contribution", [0.2, 0.2, 0.0]),
        ("shapley", [0.2, 0.2, 0.0]),
        ("nucleolus", [0.2, 0.2, 0.0]),
    ],
)
def test_study__sharing_rules__share_the_same_gain(
    three: Study, design: str, gains: list[float]
) -> None:
    assert three.gains(outcome_of(three, design)) == pytest.approx(gains, abs=1e-9)


def test_study__leader__keeps_the_spread_to_itself() -> None:
    outcome = outcome_of(study(village(SUN, MOON, STAR), ["stackelberg"]), "stackelberg")
    assert outcome.kept > 0.3
    assert "elasticity" in outcome.note


# ------------------------------------------------------------------------------------ optimised


def test_study__storage_and_generator__market_realises_the_joint_plan() -> None:
    store = Storage(4, 2, 2, 0.9, 0.9)
    community = village(
        home("Sun", [1, 2, 1, 3], [4, 3, 0, 0], store),
        home("Moon", [2, 1, 3, 2], [0, 0, 0, 0]),
        Peer("Mill", "producer", "village", (Generator(1, 0.15),), supplier="utility"),
        periods=4,
    )
    result = study(community)
    joint = plan(community)
    market = outcome_of(result, "market")
    assert market.cost == pytest.approx(joint.cost, abs=1e-3)  # orders are whole Wh
    assert result.gain(market) > max(result.gain(outcome_of(result, each)) for each in POOLS)
    assert not result.worse_off(market)


@pytest.mark.parametrize(
    ("name", "cost", "tariffs"),
    [("five-peer-1", 20.336, 5.336), ("five-peer-2", 16.576, 1.296)],
)
def test_study__five_peers__market_costs_the_resources_of_the_paper(
    name: str, cost: float, tariffs: float
) -> None:
    result = study(Case.load(name).community, ["market"])
    outcome = outcome_of(result, "market")
    assert outcome.cost == pytest.approx(cost, abs=1e-9)
    assert outcome.kept == pytest.approx(tariffs, abs=1e-9)
    assert result.alone.cost == pytest.approx(51.4)


def any_village(seed: int) -> tuple[Community, float]:
    """Homes with sun and some with storage, at one or two nodes; and what they feed in for."""
    random = np.random.default_rng(seed)
    nodes = ("a", "b")[: random.integers(1, 3)]
    tariff = int(random.choice([0, 20_000]))
    links = tuple(Link(one, two, tariff, 2_000) for one in nodes for two in nodes if one != two)
    feed_in = float(random.choice([0.0, FEED_IN]))
    homes = [
        replace(
            home(
                f"H{at}",
                random.uniform(0, 3, 6).tolist(),
                (random.uniform(0, 5, 6) * random.integers(0, 2)).tolist(),
                *([Storage(2, 1, 1, 0.9, 0.9, 1)] if random.integers(0, 2) else []),
            ),
            node=str(random.choice(nodes)),
            connection_kw=float(random.choice([6.5, 50.0])),
            community=int(random.integers(1, 3)),
        )
        for at in range(5)
    ]
    community = Community(
        "any village",
        Horizon(0, 1800, 6),
        Network(nodes, links, 0, 300_000),
        (Supplier("utility", RETAIL, feed_in),),
        homes,
        fee_per_kwh=float(random.choice([0.0, 0.01])),
    )
    return community, feed_in


@pytest.mark.parametrize("seed", range(12))
def test_study__any_village__money_and_energy_add_up_in_every_design(seed: int) -> None:
    community, feed_in = any_village(seed)
    result = study(community)
    joint = plan(community)
    kept = joint.link_tariffs().sum() + community.fee_per_kwh * float(
        joint.buy_kwh.sum() + joint.sell_kwh.sum()
    )
    best = result.alone.cost - joint.cost + kept
    for each in result.outcomes:
        if each.design == "stackelberg":
            continue  # its peers use other amounts
        # Whatever a design moves between peers, suppliers are paid for what is exchanged with them.
        outside = RETAIL * each.figures.import_kwh - feed_in * each.figures.export_kwh
        assert each.cost - each.kept == pytest.approx(outside, abs=0.01), each.design
        assert each.figures.peak_import_kw >= each.figures.import_kwh / 6 / 0.5 - 1e-9
        if not community.network.links:  # pools do not look at capacities
            assert result.gain(each) + each.kept <= best + 0.01, each.design
        if each.design != "bill-sharing" and community.fee_per_kwh == 0:
            assert not result.worse_off(each), each.design


def test_study__sun_that_nobody_pays_for__is_shared_before_it_is_spilt() -> None:
    worthless = replace(village(SUN, MOON, STAR), suppliers=(Supplier("utility", RETAIL, 0.0),))
    result = study(worthless)
    for design in (*POOLS, "double-auction", "market", "shapley"):
        assert result.gain(outcome_of(result, design)) == pytest.approx(2 * RETAIL), design
        assert outcome_of(result, design).figures.export_kwh == pytest.approx(0, abs=1e-9)


def test_study__generator_behind_a_weak_connection__sells_what_the_connection_carries() -> None:
    mill = Peer(
        "Mill", "producer", "village", (Generator(5, 0.15),), supplier="utility", connection_kw=1
    )
    result = study(village(home("Moon", [5, 0], [0, 0]), mill), ["double-auction", "market"])
    # 1 of 5 kWh comes from the mill, 0.15 cheaper; the auction's order of arrival says for whom.
    for each in result.outcomes[1:]:
        assert result.gain(each) == pytest.approx(0.15), each.design


def test_study__links_with_a_tariff__keep_the_simple_designs_apart() -> None:
    links = (Link("a", "b", 50_000, 10_000), Link("b", "a", 50_000, 10_000))
    community = Community(
        "two villages",
        Horizon(0, 3600, 2),
        Network(("a", "b"), links, 100_000, 300_000),
        (Supplier("utility", RETAIL, FEED_IN),),
        (replace(SUN, node="a"), replace(MOON, node="b")),
    )
    result = study(community, ["mid-market", "market"])
    assert result.gain(result.outcomes[1]) == pytest.approx(0)
    assert result.gain(result.outcomes[2]) == pytest.approx(2 * (RETAIL - FEED_IN - 0.05))


@pytest.mark.parametrize("seed", range(6))
def test_study__market__makes_nobody_worse_off_than_alone(seed: int) -> None:
    random = np.random.default_rng(seed)

    def store() -> Storage:
        power = random.uniform(0.5, 2)
        return Storage(random.uniform(1, 4), power, power, 0.95, 0.9)

    homes = [
        home(
            f"H{at}",
            random.uniform(0, 3, 8).tolist(),
            (random.uniform(0, 6, 8) * random.integers(0, 2)).tolist(),
            *([store()] if random.integers(0, 2) else []),
        )
        for at in range(6)
    ]
    tariff = Supplier("utility", random.choice([0.1, 0.2, 0.3], 8), FEED_IN / 2)
    community = replace(village(*homes, periods=8), suppliers=(tariff,))
    result = study(community, ["market"])
    market = outcome_of(result, "market")
    # A Wh per period and peer, at the retail tariff, is what whole Wh can cost.
    assert result.gains(market).min() >= -8 * 0.001 * 0.3
    assert result.gain(market) == pytest.approx(
        plan(community.apart()).cost - plan(community).cost, abs=6 * 8 * 0.001 * 0.3
    )


# -------------------------------------------------------------------------------------- refused


def test_study__unknown_design__is_named_with_those_there_are() -> None:
    with pytest.raises(StudyError, match="no design 'lottery'; there are alone, mid-market"):
        study(village(SUN), ["lottery"])


def test_study__design_that_cannot_take_the_case__says_why() -> None:
    many = village(*(home(f"H{at}", [1, 1], [2, 0], Storage(1, 1, 1)) for at in range(13)))
    with pytest.raises(StudyError, match="nucleolus cannot take village: more than 12 peers"):
        study(many, ["nucleolus"])
    left_out = study(many).left_out
    assert set(left_out) == {"nucleolus", "shapley"}
    assert "2^n plans" in left_out["shapley"]


def test_study__many_homes_that_only_share__shapley_is_sampled_with_its_bound() -> None:
    many = village(*(home(f"H{at}", [at, 1], [13 - at, 0]) for at in range(13)))
    result = study(many, ["shapley"])
    outcome = outcome_of(result, "shapley")
    assert "sampled: within" in outcome.note
    assert result.gain(outcome) == pytest.approx(plan(many.apart()).cost - plan(many).cost)


def test_study__of_one__has_nothing_to_gain() -> None:
    result = study(village(SUN))
    for each in result.outcomes:
        assert result.gain(each) == pytest.approx(0, abs=1e-9)
        assert result.inequality(each) is None


def test_study__document__carries_bills_and_gains_per_peer(three: Study) -> None:
    document = three.to_document()
    rows = {row["design"]: row for row in document["designs"]}
    assert document["leftOut"] == {}
    assert rows["alone"]["bills"] == pytest.approx({"Sun": 0.0, "Moon": 0.9, "Star": 0.0})
    assert rows["market"]["gains"] == pytest.approx({"Sun": 0.0, "Moon": 0.4, "Star": 0.0})
    # 2 kWh at night cost 0.6, of which Sun bears 1/4, its part of all deficits; it exports for 0.1.
    assert rows["bill-sharing"]["worseOff"] == ["Sun"]
    assert math.isclose(rows["market"]["gini"], 2 / 3)
