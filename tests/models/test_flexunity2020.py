"""FleXunity's community model, equation by equation, and as a special case of the day's model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.communities import cents, quarters, series

from fairwatt.community import Community, CurtailableLoad, Generator, Horizon, Supplier
from fairwatt.community import Peer as Member
from fairwatt.errors import CommunityError, ModelNotConvex
from fairwatt.market import Network
from fairwatt.models import community_day
from fairwatt.models.flexunity2020 import External, Peer, solve
from fairwatt.planner import plan

CITY = External.tariff(0.30, 0.10)
HOME = Peer("home", -2.0, -2.0)
ROOF = Peer("roof", 5.0, 5.0)


def test_solve__surplus__is_exported_after_trade():
    day = solve([ROOF, HOME], CITY)

    assert day.objective == pytest.approx(-3 * 0.10)
    assert day.generation_kwh[:, 0] == pytest.approx([5.0, -2.0])
    assert day.bought_kwh[:, 0] == pytest.approx([-2.0, 2.0])
    assert day.export_kwh[:, 0] == pytest.approx([3.0, 0.0])
    assert day.import_kwh.sum() == 0
    assert day.price_per_kwh == pytest.approx([0.10])


def test_solve__deficit__price_is_the_retail_tariff():
    day = solve([Peer("roof", 1.0, 1.0), HOME], CITY)

    assert day.objective == pytest.approx(0.30)
    assert day.price_per_kwh == pytest.approx([0.30])


def test_solve__linear_costs__cheapest_generation_first():
    cheap, dear = Peer("cheap", 0.0, 1.0, 0.12), Peer("dear", 0.0, 5.0, 0.20)
    day = solve([cheap, dear, HOME], CITY)

    assert day.generation_kwh[:, 0] == pytest.approx([1.0, 1.0, -2.0])
    assert day.price_per_kwh == pytest.approx([0.20])


def test_solve__quadratic_costs__marginal_costs_are_equal():
    one, other = Peer("one", 0.0, 9.0, 0.10, 0.02), Peer("other", 0.0, 9.0, 0.10, 0.01)
    need = Peer("need", -3.0, -3.0)
    day = solve([one, other, need], CITY)

    assert day.generation_kwh[:2, 0] == pytest.approx([1.0, 2.0], abs=1e-6)
    assert day.price_per_kwh == pytest.approx([0.14], abs=1e-6)


def test_solve__elastic_consumer__takes_as_much_as_it_is_worth():
    # Utility 0.50 d - 0.05 d^2 of d = -p: worth 0.30 a kWh at d = 2.
    day = solve([Peer("home", -9.0, 0.0, 0.50, 0.05)], CITY)

    assert day.generation_kwh[0, 0] == pytest.approx(-2.0, abs=1e-6)
    assert day.objective == pytest.approx(0.30 * 2 - 0.50 * 2 + 0.05 * 4)


def test_solve__fee__lies_between_the_prices_of_seller_and_buyer():
    day = solve([Peer("roof", 1.0, 1.0), HOME], CITY, fee_per_kwh=0.04)

    assert day.objective == pytest.approx(0.30 + 2 * 0.04)
    assert day.peer_price_per_kwh[:, 0] == pytest.approx([0.22, 0.30])
    assert day.price_per_kwh == pytest.approx([0.26])


def test_solve__fee_above_half_the_spread__nobody_trades():
    day = solve([ROOF, HOME], CITY, fee_per_kwh=0.11)

    assert np.abs(day.bought_kwh).max() == pytest.approx(0.0)
    assert day.objective == pytest.approx(2 * 0.30 - 5 * 0.10)


def test_solve__preferences__who_minds_least_deals_with_the_outside():
    averse = Peer("averse", -2.0, -2.0, import_preference_per_kwh=0.05)
    day = solve([averse, Peer("calm", -1.0, -1.0)], CITY)

    assert day.import_kwh[:, 0] == pytest.approx([0.0, 3.0])
    assert day.bought_kwh[:, 0] == pytest.approx([2.0, -2.0])


def test_solve__export_preference__makes_exports_worth_less():
    averse = Peer("averse", 2.0, 2.0, export_preference_per_kwh=0.03)

    assert solve([averse], CITY).objective == pytest.approx(-2 * 0.07)


def test_solve__day_ahead__price_with_fees_on_top_each_period():
    day = solve([Peer("home", [-1.0, 2.0], [-1.0, 2.0])],
                External.day_ahead([0.20, 0.15], 0.05, 0.02), periods=2)  # fmt: skip

    assert day.objective == pytest.approx(0.25 - 2 * 0.13)
    assert day.price_per_kwh == pytest.approx([0.25, 0.13])


def test_solve__nobody__refused():
    with pytest.raises(CommunityError, match="agents: there is nobody"):
        solve([], CITY)


def test_peer__negative_curvature__not_convex():
    with pytest.raises(ModelNotConvex, match=r"agents\['home'\].quadratic_per_kwh2: -0.1 is neg"):
        Peer("home", 0.0, 1.0, 0.0, -0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"least_kwh": 2.0, "most_kwh": 1.0}, r"agents\['p'\].least_kwh: is above most_kwh"),
        ({"least_kwh": [0, 2], "most_kwh": 1}, r"agents\['p'\].least_kwh\[1\]: is above most_kwh"),
        (
            {"linear_per_kwh": float("nan")},
            r"agents\['p'\].linear_per_kwh: must be finite, not n",
        ),
        ({"linear_per_kwh": "dear"}, r"agents\['p'\].linear_per_kwh: must be a number"),
        ({"least_kwh": [0, 0], "most_kwh": [1] * 3}, r"agents\['p'\].most_kwh: has 3 values"),
        ({"import_preference_per_kwh": float("inf")}, r"import_preference_per_kwh: must be finite"),
    ],
)
def test_peer__bad_field__says_which(fields, message):
    with pytest.raises(CommunityError, match=message):
        Peer("p", **{"least_kwh": 0.0, "most_kwh": 1.0, **fields})


def test_solve__wrong_length__says_whose():
    with pytest.raises(CommunityError, match=r"agents\['p'\].most_kwh: has 2 values for 3 periods"):
        solve([Peer("p", 0.0, [1.0, 1.0])], CITY, periods=3)


def test_solve__same_name_twice__refused():
    with pytest.raises(CommunityError, match="agents: 'home' is there twice"):
        solve([HOME, HOME], CITY)


def test_solve__negative_fee__refused():
    with pytest.raises(CommunityError, match=r"fee_per_kwh: must be at least 0, not -0.01"):
        solve([HOME], CITY, fee_per_kwh=-0.01)


def test_solve__exports_pay_more_than_imports_cost__refused_before_solving():
    with pytest.raises(CommunityError, match=r"external.export_per_kwh\[0\]: 0.4 is above 0.3 for"):
        solve([HOME], External.tariff(0.30, 0.40))


def test_solve__exports_pay_more_but_fees_are_in_the_way__is_solved():
    averse = Peer("home", -1.0, -1.0, import_preference_per_kwh=0.2)

    assert solve([averse], External.tariff(0.30, 0.40)).objective == pytest.approx(0.5)


@st.composite
def members(draw: st.DrawFn, name: str, periods: int) -> Peer:
    """A generator, or a load of which a part may go off."""
    energy = draw(series(quarters(), periods))
    slope = draw(cents(0, 20))
    if draw(st.booleans()):
        return Peer(name, 0.0, energy, slope, draw(cents(0, 3)))
    share = draw(st.sampled_from([0.0, 0.5, 1.0]))
    return Peer(name, [-each for each in energy], [-(1 - share) * each for each in energy], slope)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_solve__one_node_and_one_supplier__is_the_days_model(data):
    """Where both can say it: one supplier, one node, equal preferences. Tolerance 1e-6 token."""
    periods = data.draw(st.integers(1, 3))
    prices = data.draw(series(st.tuples(cents(), cents()), periods))
    retail, feed_in = [max(pair) for pair in prices], [min(pair) for pair in prices]
    fee, averse_to_imports, averse_to_exports = data.draw(st.tuples(cents(0, 3), cents(), cents()))
    deltas = {
        "import_preference_per_kwh": averse_to_imports,
        "export_preference_per_kwh": averse_to_exports,
    }
    peers, assets, constant = [], [], 0.0
    for at in range(data.draw(st.integers(1, 5))):
        plain = data.draw(members(f"p{at}", periods))
        least, most = (np.broadcast_to(each, periods) for each in (plain.least_kwh, plain.most_kwh))
        slope = float(plain.linear_per_kwh)
        if least.min() < 0:
            share = 1 - most[least.argmin()] / least.min()
            assets.append(CurtailableLoad(-least, slope, share))
            constant += slope * least.sum()  # 3a counts what is served, D1 what is not
        else:
            assets.append(Generator(most, slope, float(plain.quadratic_per_kwh2)))
        fields = (plain.least_kwh, plain.most_kwh, slope, plain.quadratic_per_kwh2)
        peers.append(Peer(plain.name, *fields, **deltas))
    community = Community(
        "one node",
        Horizon(0, 3600, periods),
        Network(("z",), (), 0, 10**6),
        (Supplier("s", retail, feed_in),),
        tuple(
            Member(peer.name, "prosumer", "z", (asset,), supplier="s", **deltas)
            for peer, asset in zip(peers, assets, strict=True)
        ),
        fee,
    )

    published = solve(peers, External.tariff(retail, feed_in), fee_per_kwh=fee, periods=periods)

    assert published.objective - constant == pytest.approx(plan(community).objective, abs=1e-6)
    assert published.objective - constant == pytest.approx(
        community_day.solve(community).objective, abs=1e-6
    )
