"""Moreno, Hoyos, Cantillo 2021: peer-to-peer trading with a community manager.

"A framework from peer-to-peer electricity trading based on communities transactions", International
Journal of Energy Economics and Policy 11(3), 537-545, doi:10.32479/ijeep.11077.

`Instance` is the data of the model, `solve` states eqs. 1-8 and solves them, `Dispatch` is what
comes of it. `objective` evaluates eq. 1 exactly on any dispatch, a clearing of the market included.
`statements` are the sentences of the paper about its two systems, `CASES`, as checks of results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fairwatt.models.moreno2021 import _five_peer, _seventeen_peer
from fairwatt.models.moreno2021._five_peer import as_printed
from fairwatt.models.moreno2021._instance import ImportPrice, Instance, Member, contracts
from fairwatt.models.moreno2021._objective import objective, objective_of
from fairwatt.models.moreno2021._seventeen_peer import charging_cycles
from fairwatt.models.moreno2021._statement import Finding, Result, Results, Statement

if TYPE_CHECKING:
    from fairwatt.models.moreno2021._model import Dispatch

__all__ = [
    "CASES",
    "Finding",
    "ImportPrice",
    "Instance",
    "Member",
    "Result",
    "Results",
    "Statement",
    "as_printed",
    "charging_cycles",
    "contracts",
    "findings",
    "objective",
    "objective_of",
    "solve",
    "statements",
]

CASES: Final[dict[str, dict[str, str]]] = {
    "five-peer": {"I": "five-peer-1", "II": "five-peer-2"},
    "seventeen-peer": {
        "I": "seventeen-peer-1",
        "II": "seventeen-peer-2",
        "III": "seventeen-peer-3",
    },
}
"""Per system of the paper, the names of its cases."""


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


def statements(system: str) -> tuple[Statement, ...]:
    """Statements of the paper about a system of `CASES`, in its sequence."""
    return {"five-peer": _five_peer.STATEMENTS, "seventeen-peer": _seventeen_peer.STATEMENTS}[
        system
    ]


def findings(system: str, results: Results) -> list[tuple[Statement, Finding]]:
    """Check the statements about a system whose cases are all among the results.

    All is as it should be where `finding.holds == statement.can_hold`.
    """
    return [
        (statement, statement.check({case: results[case] for case in statement.cases}))
        for statement in statements(system)
        if set(statement.cases) <= set(results)
    ]
