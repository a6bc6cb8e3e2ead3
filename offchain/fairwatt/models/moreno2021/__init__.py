"""Moreno, Hoyos, Cantillo 2021: peer-to-peer trading with a community manager.

"A framework from peer-to-peer electricity trading based on communities transactions", International
Journal of Energy Economics and Policy 11(3), 537-545, doi:10.32479/ijeep.11077.

`Instance` is the data of the model, `solve` states eqs. 1-8 and solves them, `Dispatch` is what
comes of it. `objective` evaluates eq. 1 exactly on any dispatch, a clearing of the market included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairwatt.models.moreno2021._instance import ImportPrice, Instance, Member
from fairwatt.models.moreno2021._objective import objective, objective_of

if TYPE_CHECKING:
    from fairwatt.models.moreno2021._model import Dispatch

__all__ = ["ImportPrice", "Instance", "Member", "objective", "objective_of", "solve"]


def solve(instance: Instance, *, time_limit_s: float | None = None) -> Dispatch:
    """State the model, eqs. 1-8, and solve it with HiGHS.

    Parameters
    ----------
    time_limit_s
        Wall time within HiGHS; None for no limit.

    Raises
    ------
    ModelInfeasible
        If nothing keeps all constraints; names the first peer and period that cannot be balanced.
    ModelTimeLimit, ModelUnbounded, ModelError
        If no optimum was found for another reason.
    """
    # Pyomo takes a second to import, which who only evaluates an objective need not wait for.
    from fairwatt.models.moreno2021 import _model  # noqa: PLC0415

    return _model.solve(instance, time_limit_s=time_limit_s)
