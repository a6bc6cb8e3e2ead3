"""Communities: every parameter within its bounds, the book of a period, tariffs, parts."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairwatt.community import (
    ROLES,
    Asset,
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
from fairwatt.errors import CommunityError
from fairwatt.market import Link, Network, Side, clear

if TYPE_CHECKING:
    from collections.abc import Callable

HORIZON = Horizon(0, 1800, 4)
NETWORK = Network(("a", "b"), (Link("a", "b", 1000, 5000),), -50_000, 400_000)
RETAILER = Supplier("R", 0.3, [0.1, 0.1, 0.2, 0.2])
LOAD, SUN = Load([1, 2, 3, 4]), Photovoltaic([0, 1, 2, 1])


def peer(name: str = "K", *assets: Asset, **options: Any) -> Peer:
    return Peer(name, **{"role": "prosumer", "node": "a", "supplier": "R"} | options, assets=assets)


def community(*peers: Peer, **options: Any) -> Community:
    common: dict[str, Any] = {
        "name": "test", "horizon": HORIZON, "network": NETWORK, "suppliers": (RETAILER,),
    }  # fmt: skip
    return Community(peers=peers, **common | options)


def refused(path: str, problem: str, make: Callable[[], object]) -> None:
    with pytest.raises(CommunityError) as refusal:
        make()
    assert refusal.value.path == path
    assert problem in refusal.value.problem
    assert str(refusal.value) == f"{path}: {refusal.value.problem}"


# ----------------------------------------------------------------------------------------- assets

GOOD: dict[type[Asset], dict[str, Any]] = {
    Load: {"energy_kwh": [1, 2]},
    CurtailableLoad: {"energy_kwh": 1, "value_per_kwh": [0.1, -0.2], "share": 0.5},
    Photovoltaic: {"energy_kwh": 0},
    Generator: {
        "power_kw": 3, "cost_per_kwh": -0.1, "quadratic_cost_per_kwh2": 0.1, "least_power_kw": 1,
    },
    ShiftableLoad: {"energy_kwh": 1, "power_kw": 2, "first_period": 0, "last_period": 1},
    ElectricVehicle: {
        "energy_kwh": 1, "power_kw": 2, "arrival_period": 0, "departure_period": 2, "efficiency": 1,
    },
    Storage: {
        "energy_kwh": 5, "charge_kw": 2, "discharge_kw": 3, "charge_efficiency": 0.9,
        "discharge_efficiency": 1, "initial_kwh": 1, "final_kwh": 2, "cost_per_kwh": 0.1,
    },
    HeatPump: {
        "energy_kwh": 1, "power_kw": 2, "ahead_kwh": 1, "behind_kwh": 1, "loss_per_hour": 0.1,
    },
}  # fmt: skip
KINDS = list(GOOD)
NUMBERS = [(kind, field) for kind in KINDS for field in GOOD[kind] if not field.endswith("period")]
NOT_NEGATIVE = [
    (kind, field)
    for kind, field in NUMBERS
    if field not in ("value_per_kwh", "cost_per_kwh", "quadratic_cost_per_kwh2")
]


@pytest.mark.parametrize("kind", KINDS)
def test_asset__good_parameters__are_kept(kind: type[Asset]) -> None:
    asset = kind(**GOOD[kind])
    asset.fit(2)
    for field, value in GOOD[kind].items():
        assert np.array_equal(getattr(asset, field), value), field
    assert repr(asset).startswith(f"{kind.__name__}(")


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
@pytest.mark.parametrize(
    ("value", "problem"),
    [(nan, "NaN|finite"), (inf, "at least|finite|not inf|most"), ("much", "must be a number")],
)
def test_asset__value_that_is_no_number__is_refused(
    kind: type[Asset], field: str, value: Any, problem: str
) -> None:
    with pytest.raises(CommunityError, match=problem) as refusal:
        kind(**GOOD[kind] | {field: value})
    assert refusal.value.path == field


@pytest.mark.parametrize(("kind", "field"), NOT_NEGATIVE)
def test_asset__negative_value__is_refused(kind: type[Asset], field: str) -> None:
    with pytest.raises(CommunityError, match=r"must be .*, not -1"):
        kind(**GOOD[kind] | {field: -1})


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (CurtailableLoad, "share"), (ElectricVehicle, "efficiency"), (HeatPump, "loss_per_hour"),
        (Storage, "charge_efficiency"), (Storage, "discharge_efficiency"),
    ],
)  # fmt: skip
def test_asset__part_above_one__is_refused(kind: type[Asset], field: str) -> None:
    refused(field, "must be 0 to 1, not 1.1", lambda: kind(**GOOD[kind] | {field: 1.1}))


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (ElectricVehicle, "efficiency"), (Storage, "charge_efficiency"),
        (Storage, "discharge_efficiency"),
    ],
)  # fmt: skip
def test_asset__efficiency_of_zero__is_refused(kind: type[Asset], field: str) -> None:
    problem = "must be more than 0 and at most 1, not 0"
    refused(field, problem, lambda: kind(**GOOD[kind] | {field: 0}))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.series_fields])
def test_asset__series__is_read_only_over_the_periods(kind: type[Asset]) -> None:
    asset = kind(**GOOD[kind])
    for field in kind.series_fields:
        values = asset.over(field, 2)
        assert values.shape == (2,)
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.series_fields])
def test_asset__series_too_long__is_refused_where_it_joins(kind: type[Asset]) -> None:
    for field in kind.series_fields:
        asset = kind(**GOOD[kind] | {field: [1, 1, 1]})
        refused(field, "has 3 values for 2 periods", lambda asset=asset: asset.fit(2))


def test_load__second_value_negative__is_named_by_its_period() -> None:
    refused("energy_kwh[1]", "must be at least 0, not -2", lambda: Load([1, -2, -3]))


def test_load__second_value_missing__is_named_by_its_period() -> None:
    refused("energy_kwh[1]", "is missing (NaN)", lambda: Load([1, nan]))


def test_load__table__is_refused() -> None:
    refused("energy_kwh", "must have one axis", lambda: Load(np.ones((2, 2))))


def test_load__caller_changes_its_array__keeps_its_own() -> None:
    values = np.array([1.0, 2.0])
    asset = Load(values)
    values[0] = -9
    assert asset.over("energy_kwh", 2).tolist() == [1, 2]


def test_generator__cost_that_falls__is_not_convex() -> None:
    bad = GOOD[Generator] | {"quadratic_cost_per_kwh2": -0.1}
    refused("quadratic_cost_per_kwh2", "would not be convex", lambda: Generator(**bad))


def test_generator__least_power_above_its_power__is_refused_by_period() -> None:
    asset = Generator([3, 3], 0.1, least_power_kw=[1, 4])
    refused("least_power_kw[1]", "is above power_kw of that period", lambda: asset.fit(2))


@pytest.mark.parametrize(
    ("first", "last", "path", "problem"),
    [
        (2, 1, "last_period", "1 is before first_period 2"),
        (-1, 1, "first_period", "must be at least 0, not -1"),
        (0.5, 1, "first_period", "must be a period, a whole number, not 0.5"),
        (True, 1, "first_period", "must be a period"),
    ],
)
def test_shiftable_load__window_that_is_none__is_refused(
    first: Any, last: Any, path: str, problem: str
) -> None:
    refused(path, problem, lambda: ShiftableLoad(1, 1, first, last))


def test_shiftable_load__window_beyond_the_horizon__is_refused() -> None:
    asset = ShiftableLoad(1, 1, 0, 4)
    refused("last_period", "is after the end of the horizon of 4", lambda: asset.fit(4))


@pytest.mark.parametrize("departure", [2, 1])
def test_ev__leaves_before_it_could_charge__is_refused(departure: int) -> None:
    problem = f"it leaves at the start of period {departure}, before it could charge"
    refused("departure_period", problem, lambda: ElectricVehicle(1, 1, 2, departure))


def test_ev__leaves_after_the_horizon__is_refused() -> None:
    ElectricVehicle(1, 1, 0, 4).fit(4)
    asset = ElectricVehicle(1, 1, 0, 5)
    refused("departure_period", "after the end of the horizon", lambda: asset.fit(4))


def test_storage__final_state_left_out__is_the_initial_one() -> None:
    asset = Storage(5, 2, 2, initial_kwh=1.5)
    assert asset.final_kwh == asset.least_final_kwh == 1.5


@pytest.mark.parametrize("field", ["initial_kwh", "final_kwh"])
def test_storage__more_than_it_holds__is_refused(field: str) -> None:
    bad = GOOD[Storage] | {field: 6}
    refused(field, "6 kWh do not fit into 5 kWh", lambda: Storage(**bad))


# -------------------------------------------------------------------------- horizon, tariffs, peers


def test_horizon__half_hours__know_their_hours() -> None:
    assert Horizon(7, 1800, 3).hours == 0.5


@pytest.mark.parametrize(
    ("values", "path", "problem"),
    [
        ((0, 0, 1), "horizon.period_seconds", "must be 1 to 86400, not 0"),
        ((0, 86_401, 1), "horizon.period_seconds", "must be 1 to 86400, not 86401"),
        ((0, 60, 0), "horizon.periods", "must be at least 1, not 0"),
        ((0.5, 60, 1), "horizon.start", "must be a whole number, not 0.5"),
        ((0, 60, True), "horizon.periods", "must be a whole number, not True"),
    ],
)
def test_horizon__out_of_range__is_refused(
    values: tuple[Any, Any, Any], path: str, problem: str
) -> None:
    refused(path, problem, lambda: Horizon(*values))


def test_supplier__feed_in_above_retail__is_refused_by_period() -> None:
    bad = Supplier("R", [0.3, 0.1], [0.2, 0.2])
    problem = "0.2 is above the retail tariff 0.1: buying to sell would pay without bound"
    refused("feed_in_per_kwh[1]", problem, lambda: bad.fit(2))


def test_supplier__feed_in_as_retail__is_allowed() -> None:
    Supplier("R", 0.2, 0.2).fit(3)


@pytest.mark.parametrize("field", ["retail_per_kwh", "feed_in_per_kwh"])
def test_supplier__infinite_tariff__is_refused(field: str) -> None:
    values = {"retail_per_kwh": 0.3, "feed_in_per_kwh": 0.1, field: -inf}
    refused(field, "must be a finite number, not -inf", lambda: Supplier("R", **values))


@pytest.mark.parametrize("role", ROLES)
def test_peer__every_role__is_allowed(role: str) -> None:
    assert peer(role=role).role == role


@pytest.mark.parametrize(
    ("options", "path", "problem"),
    [
        (
            {"role": "king"},
            "role",
            "must be one of consumer, producer, prosumer, storage, supplier",
        ),
        ({"connection_kw": -1}, "connection_kw", "must be at least 0, not -1"),
        ({"connection_kw": inf}, "connection_kw", "must be a finite number"),
        ({"export_cost_per_kwh": -1}, "export_cost_per_kwh", "must be at least 0"),
        ({"import_preference_per_kwh": nan}, "import_preference_per_kwh", "a finite number"),
        ({"export_preference_per_kwh": -1}, "export_preference_per_kwh", "at least 0"),
        ({"need": -1}, "need", "must be at least 0, not -1"),
    ],
)
def test_peer__out_of_range__is_refused(options: dict[str, Any], path: str, problem: str) -> None:
    refused(path, problem, lambda: peer(**options))


def test_of_kind__assets_of_one_kind__in_their_sequence() -> None:
    second = Load(9)
    assert list(peer("K", LOAD, SUN, second).of_kind(Load)) == [LOAD, second]


# -------------------------------------------------------------------------------------- community


@pytest.mark.parametrize(
    ("peers", "options", "path", "problem"),
    [
        ([peer(), peer()], {}, "peers", "'K' is there twice"),
        ([], {"suppliers": (RETAILER, RETAILER)}, "suppliers", "'R' is there twice"),
        ([peer(node="z")], {}, "peers['K'].node", "'z' is not a node of the network"),
        ([peer(supplier="Q")], {}, "peers['K'].supplier", "there is no supplier 'Q'"),
        ([peer("K", Load([1]))], {}, "peers['K'].load.energy_kwh", "has 1 values for 4 periods"),
        (
            [peer("K", ElectricVehicle(1, 1, 0, 9))], {},
            "peers['K'].ev.departure_period", "is after the end of the horizon of 4 periods",
        ),
        (
            [], {"suppliers": (Supplier("Q", 0.1, 0.2),)},
            "suppliers['Q'].feed_in_per_kwh[0]", "is above the retail tariff",
        ),
        ([], {"fee_per_kwh": -1}, "fee_per_kwh", "must be at least 0"),
    ],
)  # fmt: skip
def test_community__what_does_not_fit__is_refused_with_its_place(
    peers: list[Peer], options: dict[str, Any], path: str, problem: str
) -> None:
    refused(path, problem, lambda: community(*peers, **options))


def test_tariffs__of_every_peer__are_those_of_its_supplier() -> None:
    found = community(peer("K"), peer("L", supplier=None))
    assert found.retail_per_kwh.tolist() == [[0.3] * 4, [inf] * 4]
    assert found.feed_in_per_kwh.tolist() == [[0.1, 0.1, 0.2, 0.2], [-inf] * 4]
    assert found.supplier_of(found.peers[0]) is RETAILER
    assert found.supplier_of(found.peers[1]) is None
    assert (found.index("K"), found.index("L")) == (0, 1)


def test_apart__everybody__has_a_node_of_its_own() -> None:
    found = community(peer("K", LOAD), peer("L", SUN, node="b")).apart()
    assert found.network.nodes == ("K", "L")
    assert found.network.links == ()
    assert [each.node for each in found.peers] == ["K", "L"]
    assert (found.network.price_floor_micro_per_kwh, found.horizon) == (-50_000, HORIZON)


def test_of__some_peers__keep_their_sequence_and_network() -> None:
    found = community(peer("K"), peer("L"), peer("M")).of({2, 0})
    assert [each.name for each in found.peers] == ["K", "M"]
    assert found.network is NETWORK
    assert found.index("M") == 1


# ------------------------------------------------------------------------------------------- book


def lines(*assets: Asset, period: int = 2, **options: Any) -> list[tuple[str, Side, int, int]]:
    book = community(peer("K", *assets, **options)).book(period)
    return [(o.id, o.side, o.price_micro_per_kwh, o.energy_wh) for o in book.orders]


@pytest.mark.parametrize(
    ("asset", "line"),
    [
        (LOAD, ("K/load", Side.BID, 300_000, 3000)),
        (CurtailableLoad(1.5, 0.25), ("K/curtailable-load", Side.BID, 250_000, 1500)),
        (CurtailableLoad(1.5, 9), ("K/curtailable-load", Side.BID, 300_000, 1500)),
        (SUN, ("K/pv", Side.ASK, 200_000, 2000)),
        (Generator(4, 0.25), ("K/generator", Side.ASK, 250_000, 2000)),
        (Generator(4, 0.05), ("K/generator", Side.ASK, 200_000, 2000)),
    ],
)
def test_book__asset_with_a_supplier__is_an_order_within_its_tariffs(
    asset: Asset, line: tuple[str, Side, int, int]
) -> None:
    assert lines(asset) == [line]


def test_book__without_supplier__goes_to_the_bounds_of_the_market() -> None:
    found = lines(LOAD, SUN, Generator(4, 0.25), supplier=None)
    assert [(side, limit) for _, side, limit, _ in found] == [
        (Side.BID, 400_000), (Side.ASK, 0), (Side.ASK, 250_000),
    ]  # fmt: skip


def test_book__several_of_a_kind__are_counted() -> None:
    assert [line[0] for line in lines(LOAD, Load(1), SUN)] == ["K/load", "K/load-2", "K/pv"]


def test_book__price_above_the_cap__is_the_cap() -> None:
    assert lines(Generator(4, 9.0))[0][2] == 400_000


@pytest.mark.parametrize(
    "asset",
    [
        Storage(5, 2, 2), ElectricVehicle(1, 4, 0, 4), ShiftableLoad(1, 4, 0, 3),
        HeatPump(1, 4, 1), CurtailableLoad(1, 0.1, 0.5), Generator(4, 0.1, 0.1),
        Generator(4, 0.1, least_power_kw=1),
    ],
)  # fmt: skip
def test_book__asset_that_no_single_period_can_say__needs_a_plan(asset: Asset) -> None:
    refused(f"peers['K'].{asset.kind}", "plan the day", lambda: lines(asset))


def test_book__two_homes__clear_between_their_tariffs() -> None:
    book = community(peer("K", LOAD, node="b"), peer("L", SUN)).book(2)
    clearing = clear(book)
    assert clearing.fills_wh.tolist() == [2000, 2000]
    assert clearing.flows_wh.tolist() == [2000]


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=6),
    st.floats(0, 0.2),
    st.floats(0.2, 0.4),
)
def test_book__any_loads__are_rounded_to_whole_numbers(
    energies: list[float], feed_in: float, retail: float
) -> None:
    peers = [peer(f"P{at}", Load(energy)) for at, energy in enumerate(energies)]
    book = community(*peers, suppliers=(Supplier("R", retail, feed_in),)).book(0)
    assert book.energy_wh.tolist() == [round(energy * 1000) for energy in energies]
    assert set(book.price_micro_per_kwh.tolist()) == {round(retail * 1e6)}


def test_replace__another_horizon__is_checked_again() -> None:
    found = community(peer("K", LOAD))
    with pytest.raises(CommunityError, match="has 4 values for 2 periods"):
        replace(found, horizon=Horizon(0, 1800, 2), suppliers=(Supplier("R", 1, 0),))


def test_between__series_and_windows__are_cut_with_their_part_of_the_energy() -> None:
    vehicle, task = ElectricVehicle(3, 4, 1, 4, 0.9), ShiftableLoad(2, 4, 0, 1)
    sun = Photovoltaic([0, 1, 2, 3])
    known = community(
        peer("K", sun, vehicle, task, Storage(5, 2, 2)),
        suppliers=(Supplier("R", [0.2, 0.3, 0.4, 0.5], 0.1),),
    )
    cut = known.between(2, 2)
    assert cut.horizon == Horizon(known.horizon.start + 2 * 1800, 1800, 2)
    assert cut.retail_per_kwh.tolist() == [[0.4, 0.5]]
    kinds = {asset.kind: asset for asset in cut.peers[0].assets}
    assert set(kinds) == {"pv", "ev", "storage"}  # the task is over by then
    assert np.asarray(sun.energy_kwh)[2:].tolist() == kinds["pv"].over("energy_kwh", 2).tolist()
    left = kinds["ev"]
    assert isinstance(left, ElectricVehicle)
    assert (left.arrival_period, left.departure_period, left.energy_kwh) == (0, 2, 2.0)
    refused("horizon", "has 4 periods", lambda: known.between(3, 2))
