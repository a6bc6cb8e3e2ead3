"""The bench of the planner, at a size that takes no time."""

from __future__ import annotations

from bench.plan import homes, measure
from rich.console import Console

from fairwatt.community import Photovoltaic, Storage


def test_measure__small__has_a_row_per_size_and_rival():
    rows = list(measure(Console(quiet=True), ((4, 6), (2, 3)), ((4, 6),)))

    assert [(row.name, row.rival) for row in rows] == [
        ("plan_4x6", "highs_solve"),
        ("plan_4x6", "pyomo"),
        ("plan_2x3", "highs_solve"),
    ]
    assert all(row.value > 0 for row in rows)


def test_homes__same_seed__same_day_with_roofs_and_batteries():
    one, other = homes(100, 24), homes(100, 24)

    assert repr(one.peers) == repr(other.peers)
    roofs = sum(any(peer.of_kind(Photovoltaic)) for peer in one.peers)
    batteries = sum(any(peer.of_kind(Storage)) for peer in one.peers)
    assert 40 <= roofs <= 60
    assert 20 <= batteries <= 40
