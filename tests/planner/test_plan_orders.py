"""From a plan to orders: what clears is what was planned."""

from __future__ import annotations

import pytest
from eth_account import Account
from tests.planner.homes import HOUR, community_of, peer, realise

from fairwatt import planner
from fairwatt.community import (
    CurtailableLoad,
    ElectricVehicle,
    Load,
    Photovoltaic,
    Storage,
    Supplier,
)
from fairwatt.eip712 import Domain
from fairwatt.errors import PlanError
from fairwatt.market import Link, Side, clear
from fairwatt.orders import Order, Step
from fairwatt.planner import plan


def test_orders__load_and_sun__ask_feed_in_and_bid_retail():
    found = plan(community_of(peer("roof", Photovoltaic(5.0)), peer("home", Load(2.0))))

    assert planner.orders(found) == {
        "roof": (Step(0, Side.ASK, 100_000, 5000),),
        "home": (Step(0, Side.BID, 300_000, 2000),),
    }


def test_orders__own_generation__serves_the_own_load_first():
    found = plan(community_of(peer("home", Load([2.0, 3.0]), Photovoltaic([5.0, 1.0])), periods=2))

    assert planner.orders(found)["home"] == (
        Step(0, Side.ASK, 100_000, 3000),
        Step(1, Side.BID, 300_000, 2000),
    )


def test_orders__sells_its_own_and_imports__does_not_trade_with_itself():
    cheap, dear = Supplier("cheap", 0.20, 0.10), Supplier("dear", 0.30, 0.10)
    found = plan(
        community_of(
            peer("one", Load(1.0), Photovoltaic(1.0), supplier="cheap"),
            peer("two", Load(1.0), supplier="dear"),
            suppliers=(cheap, dear),
        )
    )

    assert planner.orders(found)["one"] == (
        Step(0, Side.BID, 200_000, 1000),
        Step(0, Side.ASK, 200_000, 1000),
    )
    assert realise(found).position_kwh[:, 0] == pytest.approx([1.0, -1.0])


def test_orders__vehicle__bids_in_every_period_what_charging_is_worth():
    tariff = Supplier("city", [0.30, 0.20, 0.25], 0.0)
    vehicle = ElectricVehicle(3.0, 2.0, 0, 3)
    found = plan(community_of(peer("car", vehicle), periods=3, suppliers=(tariff,)))

    # 2 kWh at 0.20 and 1 at 0.25, which is what a kWh more would cost: at 0.20 it would pay 0.25,
    # but not to the market, for its supplier sells at 0.20.
    assert planner.orders(found)["car"] == (
        Step(1, Side.BID, 200_000, 2000),
        Step(2, Side.BID, 250_000, 1000),
    )


def test_orders__storage_in_the_community__bids_the_later_price_less_its_losses():
    tariff = Supplier("city", 0.30, [0.05, 0.05])
    found = plan(
        community_of(
            peer("roof", Photovoltaic([4.0, 0.0])),
            peer("tank", Storage(2.0, 2.0, 2.0, 0.8)),
            peer("home", Load([0.0, 3.0])),
            periods=2,
            suppliers=(tariff,),
        )
    )

    # Charged to its 2 kWh takes 2.5 > 2, so power limits it to 2 in and 1.6 out; a kWh in is worth
    # 0.8 x 0.30 later. It gives at whatever is left of it: nothing, so at its feed-in tariff.
    bid, ask = planner.orders(found)["tank"]
    assert bid == Step(0, Side.BID, 240_000, 2000)
    assert (ask.period, ask.side, ask.energy_wh) == (1, Side.ASK, 1600)
    assert realise(found).failed == []


def test_orders__no_supplier__bids_the_cap():
    found = plan(
        community_of(
            peer("roof", Photovoltaic(5.0), supplier=None), peer("hut", Load(2.0), supplier=None)
        )
    )
    steps = planner.orders(found)

    assert steps["hut"] == (Step(0, Side.BID, 10**6, 2000),)
    (ask,) = steps["roof"]
    assert ask.energy_wh == 2000  # the rest is curtailed, not exported
    assert realise(found).position_kwh[:, 0] == pytest.approx([2.0, -2.0])


def test_orders__peer_that_does_nothing__has_none():
    assert planner.orders(plan(community_of(peer("empty")))) == {"empty": ()}


def test_orders__parts_of_a_wh__balance_at_every_node():
    third = 1 / 3
    found = plan(
        community_of(
            *(peer(f"H{at}", Load(third / 1000 * 2)) for at in range(3)),
            peer("roof", Photovoltaic(1.0), node="b"),
            links=(Link("b", "a", 0, 10**6),),
            suppliers=(Supplier("city", 0.3, 0.3),),
        )
    )
    book = planner.book(found, 0)

    bids = book.energy_wh[book.side == Side.BID].sum()
    assert bids == clear(book).flows_wh.sum() == 2


def test_orders__of_a_day__a_wallet_signs_them():
    found = plan(community_of(peer("home", Load([1.0, 2.0]), Photovoltaic([0.0, 3.0])), periods=2))
    steps = planner.orders(found)["home"]
    order = Order(1, 1, 1_704_067_200, steps)
    account = Account.create()
    domain = Domain(1, "0x" + "11" * 20)

    assert order.signed_by(account, domain).signer(domain) == account.address


def test_book__same_steps__with_ids_of_peer_and_rank():
    found = plan(
        community_of(
            peer("home", Load(1.0), CurtailableLoad(1.0, 0.25)), peer("roof", Photovoltaic(5.0))
        )
    )
    book = planner.book(found, 0)

    assert book.ids == ("home/bid-1", "home/bid-2", "roof/ask-1")
    assert book.price_micro_per_kwh.tolist() == [300_000, 250_000, 100_000]
    assert book.energy_wh.tolist() == [1000, 1000, 5000]


@pytest.mark.parametrize("period", [-1, 1])
def test_book__period_outside__refused(period):
    found = plan(community_of(peer("home", Load(1.0))))

    with pytest.raises(PlanError, match=f"no period {period}, only 0 to 0"):
        planner.book(found, period)


def test_book__quarter_hours__energies_are_of_the_period():
    found = plan(community_of(peer("home", Load(0.25)), seconds=HOUR // 4))

    assert planner.book(found, 0).energy_wh.tolist() == [250]
