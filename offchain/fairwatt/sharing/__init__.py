"""How the gain of a community is shared among its peers, and whether that is fair.

Plain data in and out, no files and no chain. Money is in token, energy in kWh, both floats. What
there is to share is the value of a cooperative game: what the peers pay each alone less what they
pay together. docs/sharing.md says which rule does what.
"""

from __future__ import annotations

from fairwatt.sharing._equity import gini, jain, min_max
from fairwatt.sharing._game import Game, PoolGame, Progress
from fairwatt.sharing._nucleolus import LeastCore, least_core, nucleolus
from fairwatt.sharing._rules import (
    ErrorBound,
    Sharing,
    by_contribution,
    by_need,
    by_renewable_share,
    equal,
)
from fairwatt.sharing._shapley import shapley
from fairwatt.sharing._stability import Objection, Standing, in_core, objections, standings

__all__ = [
    "ErrorBound",
    "Game",
    "LeastCore",
    "Objection",
    "PoolGame",
    "Progress",
    "Sharing",
    "Standing",
    "by_contribution",
    "by_need",
    "by_renewable_share",
    "equal",
    "gini",
    "in_core",
    "jain",
    "least_core",
    "min_max",
    "nucleolus",
    "objections",
    "shapley",
    "standings",
]
