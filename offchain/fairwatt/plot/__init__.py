"""Pictures: clearings on their network, day plans, how peers agree, designs, grids.

Without randomness and independent of the caller's Matplotlib settings, so the same data give the
same picture. Floats are fine here: nothing in a picture goes back into the market.
"""

from __future__ import annotations

from fairwatt.plot._consensus import draw_consensus
from fairwatt.plot._grid import draw_grid
from fairwatt.plot._network import MAX_NODES, Panel, draw_clearings
from fairwatt.plot._plan import draw_plan
from fairwatt.plot._run import RUN_PICTURES, draw_run
from fairwatt.plot._study import draw_study

__all__ = [
    "MAX_NODES",
    "RUN_PICTURES",
    "Panel",
    "draw_clearings",
    "draw_consensus",
    "draw_grid",
    "draw_plan",
    "draw_run",
    "draw_study",
]
