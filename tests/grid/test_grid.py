"""A cleared day on a grid: cut into nodes, flowing, checked, and kept within its bounds."""

# ruff: noqa: E402 - what needs the extra is imported once it is known to be there
from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, date
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

pp = pytest.importorskip("pandapower", reason="the extra `grid` is not installed")
pytest.importorskip("simbench", reason="the extra `grid` is not installed")

from tests.grid import street

from fairwatt.cases import Case
from fairwatt.cli import main
from fairwatt.community import Supplier
from fairwatt.errors import GridError, PlanInfeasible
from fairwatt.grid import (
    Bounds,
    Capacities,
    Grid,
    Terms,
    derive_capacities,
    load_site,
    place,
    settle_day,
    write_site,
)
from fairwatt.plot import draw_grid

if TYPE_CHECKING:
    from pathlib import Path

# ------------------------------------------------------------------------------------- the grid


def test_grid__by_feeder__has_a_node_for_each_line_that_leaves_the_station() -> None:
    grid = Grid.of("street", street.network())
    assert [(zone.name, zone.parent) for zone in grid.zones] == [
        ("grid", None), ("station", 0), ("feeder 1", 1), ("feeder 2", 1),
    ]  # fmt: skip
    assert grid.buses == ("Bus 1", "Bus 2", "Bus 3", "Bus 4")
    assert grid.bus_zone.tolist() == [1, 2, 2, 3]
    assert [element.name for element in grid.elements] == [
        "LV1.1 Trafo", "Line 1-2", "Line 2-3", "Line 1-4",
    ]  # fmt: skip
    assert grid.rated_kva()[1:].tolist() == pytest.approx([50, *[3**0.5 * 0.4 * 270] * 2])


def test_grid__by_bus__has_a_node_for_each_bus_fed_by_one_line() -> None:
    grid = Grid.of("street", street.network(), "bus")
    assert [(zone.name, zone.parent) for zone in grid.zones] == [
        ("grid", None), ("station", 0), ("Bus 2", 1), ("Bus 3", 2), ("Bus 4", 1),
    ]  # fmt: skip
    assert grid.feeder.tolist() == [0, 1, 2, 2, 4]


def test_grid__ring__is_refused() -> None:
    net = street.network()
    pp.create_line_from_parameters(net, 3, 4, 0.1, 0.2, 0.1, 0.0, 0.2)
    with pytest.raises(GridError, match="is not radial"):
        Grid.of("ring", net)


def test_grid__two_transformers__is_refused() -> None:
    net = street.network()
    net.trafo = net.trafo.loc[[0, 0]].reset_index(drop=True)
    with pytest.raises(GridError, match="one transformer"):
        Grid.of("two", net)


def test_flow__idle__has_the_voltage_of_the_grid_everywhere() -> None:
    grid = Grid.of("street", street.network())
    nothing = np.zeros((4, 1))
    flow = grid.flow(nothing, nothing)
    assert flow.voltage_pu == pytest.approx(1.0, abs=1e-3)
    assert flow.violations(Bounds()) == ()


def test_flow__what_it_says__is_what_ohm_says() -> None:
    """R and P of one line: the voltage falls by about R P / V^2 over it."""
    grid = Grid.of("street", street.network())
    draw = np.zeros((4, 1))
    draw[3] = 10.0
    flow = grid.flow(draw, np.zeros((4, 1)))
    fall = flow.voltage_pu[0, 0] - flow.voltage_pu[3, 0]
    assert fall == pytest.approx(0.2 * 0.208 * 10e3 / 400**2, rel=0.03)
    # loading is a current: at a voltage below the nominal one it is above the share of the power
    assert flow.loading_percent[0, 0] == pytest.approx(100 * 10 / 50, rel=0.05)


def test_flow__beyond_bounds__says_where_when_and_by_how_much() -> None:
    grid = Grid.of("street", street.network())
    draw = np.zeros((4, 2))
    draw[2, 1] = -80.0
    flow = grid.flow(draw, np.zeros((4, 2)))
    found = flow.violations(Bounds(highest_pu=1.03))
    assert [(each.kind, each.name, each.period) for each in found] == [
        ("transformer", "LV1.1 Trafo", 1),
        ("voltage above", "Bus 2", 1),
        ("voltage above", "Bus 3", 1),
    ]
    worst = found[-1]
    assert worst.value == flow.voltage_pu[2, 1]
    assert worst.excess == pytest.approx(worst.value - 1.03)


def test_flow__more_than_any_grid_carries__is_an_error_with_its_period() -> None:
    grid = Grid.of("street", street.network())
    draw = np.zeros((4, 2))
    draw[2, 1] = 5000.0
    with pytest.raises(GridError, match="no power flow exists in period 1"):
        grid.flow(draw, np.zeros((4, 2)))


@pytest.mark.parametrize("bounds", [{"lowest_pu": 1.2}, {"line_percent": 0.0}])
def test_bounds__that_nothing_keeps__are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(GridError):
        Bounds(**bounds)


# -------------------------------------------------------------------------------------- the day


def test_day__without_limits__prices_are_the_tariffs() -> None:
    day = settle_day(street.site())
    assert day.price_per_kwh[2, 1] == pytest.approx(street.FEED_IN, abs=2e-6)
    assert day.price_per_kwh[2, 0] == pytest.approx(street.RETAIL, abs=2e-6)
    assert day.rent == pytest.approx(0.0, abs=1e-9)
    assert day.curtailed_kwh().sum() == 0
    assert day.gate_kw[1].tolist() == pytest.approx(
        (day.draw_kwh.sum(axis=0) / day.plan.community.horizon.hours).tolist()
    )


def test_day__bills_and_rent__are_what_the_day_costs() -> None:
    """Peers pay the supplier, the operator and the fund; the fund is theirs."""
    capacities = Capacities(np.array([np.inf] * 4), np.array([np.inf, 30.0, np.inf, np.inf]))
    day = settle_day(street.site(), capacities)
    assert day.rent > 1
    assert day.bills().sum() == pytest.approx(day.cost + day.rent, abs=1e-3)


def test_place__other_names__are_spread_over_the_buses() -> None:
    community = street.community()
    names = ("Ana", "Bo", "Cy")
    peers = tuple(
        replace(peer, name=name) for peer, name in zip(community.peers, names, strict=True)
    )
    grid = Grid.of("street", street.network())
    placed = place(grid, replace(community, peers=peers))
    assert placed.peer_bus.tolist() == [1, 2, 3]
    assert [peer.node for peer in placed.community.peers] == [
        "feeder 1", "feeder 1", "feeder 2", "grid",
    ]  # fmt: skip


def test_place__suppliers_of_different_tariffs__are_refused() -> None:
    community = street.community()
    other = Supplier("other", 0.25, 0.05)
    peers = (replace(community.peers[0], supplier="other"), *community.peers[1:])
    mixed = replace(community, suppliers=(*community.suppliers, other), peers=peers)
    with pytest.raises(GridError, match="different tariffs"):
        place(Grid.of("street", street.network()), mixed)


def test_place__supplier_among_the_peers__is_refused() -> None:
    community = street.community()
    peers = (replace(community.peers[0], role="supplier"), *community.peers[1:])
    with pytest.raises(GridError, match="'Bus 2' is a supplier among the peers"):
        place(Grid.of("street", street.network()), replace(community, peers=peers))


def test_place__tariffs_that_leave_the_supplier_nothing__are_refused() -> None:
    with pytest.raises(GridError, match="less than the feed-in tariff"):
        place(Grid.of("street", street.network()), street.community(), Terms(0.2, 0.1))


# ----------------------------------------------------------------------------------- capacities


@pytest.mark.parametrize("cut", ["feeder", "bus"])
@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(),
        Bounds(transformer_percent=60, line_percent=12),
        Bounds(highest_pu=1.04),
        Bounds(highest_pu=1.02, line_percent=20),
    ],
    ids=str,
)
def test_capacities__found__leave_no_violation(cut: Any, bounds: Bounds) -> None:
    result = derive_capacities(street.site(cut), bounds)
    assert result.flow_before.violations(bounds)
    assert result.flow_after.violations(bounds) == ()
    assert result.cost > 0
    # They are what was cleared: the same capacities clear the same day, and it flows the same.
    again = settle_day(street.site(cut), result.capacities)
    assert np.array_equal(again.draw_kwh, result.after.draw_kwh)
    power, limits, unit = again.gate_kw, result.capacities, 2e-3
    assert (power <= limits.import_kw[:, None] + unit).all()
    assert (-power <= limits.export_kw[:, None] + unit).all()


def test_capacities__full_transformer__are_tight() -> None:
    result = derive_capacities(street.site())
    assert 99 < result.flow_after.loading_percent[0].max() <= 100
    spilt = result.after.curtailed_kwh()
    assert spilt[1] > 20
    assert spilt[[0, 2]].tolist() == [0, 0]
    # behind the full transformer the sun is worth nothing, at the grid what the supplier pays
    assert result.after.price_per_kwh[2, 1] == pytest.approx(0.0, abs=2e-6)
    assert result.after.price_per_kwh[0, 1] == pytest.approx(street.FEED_IN, abs=2e-6)
    assert result.after.full_periods(1) == 2


def test_capacities__nothing_violated__cost_nothing() -> None:
    result = derive_capacities(street.site(sun_kwh=20.0))
    assert result.rounds == ()
    assert result.cost == pytest.approx(0.0, abs=1e-9)


def test_capacities__low_voltage__leave_load_unserved_at_the_cap() -> None:
    bounds = Bounds(lowest_pu=0.985)
    result = derive_capacities(street.site(sun_kwh=0.0, load_kwh=30.0), bounds)
    assert {each.kind for each in result.flow_before.violations(bounds)} == {"voltage below"}
    assert result.after.unserved_kwh()[0] > 1
    assert result.after.price_per_kwh[2].max() == pytest.approx(3.0, abs=2e-6)


def test_capacities__load_that_must_be_served__says_who_cannot_be() -> None:
    with pytest.raises(PlanInfeasible, match="kWh are missing at node"):
        derive_capacities(
            street.site(sun_kwh=0.0, load_kwh=30.0, must=True), Bounds(transformer_percent=50)
        )


def test_capacities__harm_that_stays_behind_its_node__asks_for_a_finer_cut() -> None:
    """The farm feeds the home next to it through a line too thin; nothing passes the gate."""
    community = street.community(load_kwh=79.0)
    grid = Grid.of("street", street.network(length_km=0.001))
    bounds = Bounds(line_percent=35, transformer_percent=1000)
    with pytest.raises(GridError, match="a node per bus"):
        derive_capacities(place(grid, community), bounds)


# ------------------------------------------------------------------------------------ as a case


def test_write_site__read_again__clears_within_the_same_limits(tmp_path: Path) -> None:
    here = street.site(load_kwh=3.0)
    peers = list(here.community.peers)
    battery = peers[2].assets[1]
    peers[2] = replace(peers[2], assets=(battery,))  # a load that must be served is not written
    here = replace(here, community=replace(here.community, peers=tuple(peers)))
    result = derive_capacities(here)
    files = write_site(tmp_path / "it", here, result.capacities, title="Street", source="made up")
    assert files == ("case.toml", "load.csv", "pv.csv")
    case = Case.load(tmp_path / "it")
    again = place(here.grid, case.community, reactive_kvar=here.reactive_kvar)
    day = settle_day(again)
    assert day.flow().violations(Bounds()) == ()
    assert day.cost == pytest.approx(result.after.cost, abs=1e-3)


def test_write_site__folder_in_use__is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    here = street.site()
    with pytest.raises(GridError, match="not empty"):
        write_site(tmp_path, here, here.published, title="", source="")


# --------------------------------------------------------------------------- SimBench, commands


def test_simbench__rural1_at_noon__is_limited_by_its_transformer() -> None:
    here = load_site("1-LV-rural1--2-sw", date(2016, 5, 20), periods=56)
    assert len(here.peer_bus) == 13
    last = here.community.horizon.periods - 4
    noon = slice(last, last + 4)
    sun = sum(
        asset.energy_kwh[noon].sum()
        for peer in here.community.peers
        for asset in peer.assets
        if asset.kind == "pv"
    )
    assert sun > 160  # kWh in an hour: more than the transformer carries


def test_simbench__homes_of_one_shape__differ() -> None:
    here = load_site("1-LV-rural3--2-sw", date(2016, 1, 18), periods=96)
    loads = [peer.assets[0].energy_kwh / peer.assets[0].energy_kwh.sum()
             for peer in here.community.peers[:-1]]  # fmt: skip
    different = {tuple(np.round(load, 6)) for load in loads}
    assert len(different) == len(loads) == 118


def test_simbench__no_such_grid__is_an_error() -> None:
    with pytest.raises(GridError, match="no low-voltage grid of that name"):
        load_site("1-LV-nowhere--2-sw")


def test_simbench__another_year__is_an_error() -> None:
    with pytest.raises(GridError, match="are of 2016"):
        load_site("1-LV-rural1--2-sw", date(2017, 1, 1))


def run(*arguments: object) -> Any:
    return CliRunner(mix_stderr=False).invoke(main, [str(argument) for argument in arguments])


def test_commands__check_limits_check_again(tmp_path: Path) -> None:
    day = ("--day", "2016-05-20", "--periods", 54)
    tight = ("--transformer", 60)
    checked = run("grid", "check", "1-LV-rural1--2-sw", *day, *tight, "--json")
    assert checked.exit_code == 1, checked.output
    assert {each["kind"] for each in json.loads(checked.stdout)["violations"]} == {"transformer"}
    limits = run(
        "grid", "limits", "1-LV-rural1--2-sw", *day, *tight, "--out", tmp_path / "it", "--json"
    )
    assert limits.exit_code == 0, limits.output
    document = json.loads(limits.stdout)
    assert document["after"]["violations"] == []
    assert document["before"]["violations"] == json.loads(checked.stdout)["violations"]
    assert document["cost"] > 0
    again = run("grid", "check", tmp_path / "it", "--grid", "1-LV-rural1--2-sw", *tight)
    assert again.exit_code == 0, again.output
    assert "no violations" in again.stdout


def test_commands__case_without_grid__says_what_to_add() -> None:
    result = run("grid", "check", "corby")
    assert result.exit_code == 2
    assert "--grid" in result.stderr


def test_commands__case_to_be_written__is_a_case_already(tmp_path: Path) -> None:
    result = run(
        "grid", "limits", "corby", "--periods", 1, "--grid", "1-LV-semiurb4--2-sw",
        "--station-tariff", 0, "--feeder-tariff", 0, "--out", tmp_path / "it",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "--out" in result.stderr


def test_picture__of_a_day_before_and_after__is_drawn(tmp_path: Path) -> None:
    result = derive_capacities(street.site())
    path = tmp_path / "it.svg"
    days = [
        ("before", result.before, result.flow_before),
        ("after", result.after, result.flow_after),
    ]
    draw_grid(days, path, title="Street", currency="EUR", bounds=Bounds(), zone=UTC)
    text = path.read_text(encoding="utf-8")
    for word in ("Street", "before", "after", "feeder 1", "station", "transformer", "EUR/kWh"):
        assert word in text


def test_commands__without_the_extra__say_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "simbench", None)
    result = run("grid", "check", "1-LV-semiurb5--2-sw")
    assert result.exit_code == 1
    assert "pip install --editable '.[grid]'" in result.stderr
