"""The network operator's view: a cleared day on a real low-voltage grid, by AC power flow.

A `Grid` is a radial low-voltage network behind one transformer, cut into the nodes of a market.
`settle_day` plans and clears a community on these nodes, `Grid.flow` finds the voltages and
loadings of what was cleared, and `derive_capacities` lowers the capacities of the links until a day
is cleared that violates nothing.

Needs the extra `fairwatt[grid]`: pandapower for the power flow, SimBench for its grids.
"""

from __future__ import annotations

from fairwatt.grid._capacities import Derived, derive_capacities
from fairwatt.grid._flow import PowerFlow, Violation
from fairwatt.grid._grid import ROOT, STATION, Bounds, Grid, Zone
from fairwatt.grid._market import Capacities, Day, Site, Terms, place, settle_day
from fairwatt.grid._simbench import GRIDS, ZONE, is_grid, load_grid, load_site, reactive_at
from fairwatt.grid._writing import write_site

__all__ = [
    "GRIDS",
    "ROOT",
    "STATION",
    "ZONE",
    "Bounds",
    "Capacities",
    "Day",
    "Derived",
    "Grid",
    "PowerFlow",
    "Site",
    "Terms",
    "Violation",
    "Zone",
    "derive_capacities",
    "is_grid",
    "load_grid",
    "load_site",
    "place",
    "reactive_at",
    "settle_day",
    "write_site",
]
