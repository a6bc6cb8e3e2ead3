"""Market designs side by side on one community: what each costs, whom it serves, how it pays.

study(community) -> Study       every design that can take the community, with figures per peer
"""

from __future__ import annotations

from fairwatt.study._designs import DESIGNS, Design
from fairwatt.study._figures import Figures
from fairwatt.study._study import Outcome, Study, study

__all__ = ["DESIGNS", "Design", "Figures", "Outcome", "Study", "study"]
