"""The one door to Clarabel: what an agent solves in every round.

    minimise    cost . x + 1/2 x . diag(curvature) x - price . q + penalty/2 |q - target|^2
    subject to  E x = e,   L x <= u,   lower <= x <= upper,   q the last columns of x

Rows and columns never change, so the solver is set up once. An interior-point method (Goulart and
Chen 2024) is used because it does not mind degenerate optima, which are the rule here, and because
its answers are exact enough (1e-8) for prices to settle; a method that stops at 1e-4 feeds its
noise back into them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import clarabel
import numpy as np
from scipy import sparse

from fairwatt.errors import ConsensusError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]
    Entries = tuple[Index, Index, Array | float]

__all__ = ["Optimum", "ProgramText", "ProximalProgram"]

_FIXED: Final = 1e-12
"""Columns no wider than this are constants; an interior-point method needs an interior."""
_TOLERANCE_KWH: Final = 1e-6
_NOTHING: Final = "nothing it could do keeps all of its own rules"


@dataclass(eq=False)
class _Rows:
    right: list[Array] = field(default_factory=list)
    entries: list[tuple[Index, Index, Array]] = field(default_factory=list)
    count: int = 0

    def add(self, right: Array, entries: Sequence[Entries]) -> None:
        for row, column, value in entries:
            shape = np.broadcast_shapes(row.shape, column.shape, np.shape(value))
            spread = (np.broadcast_to(each, shape).ravel() for each in (row, column, value))
            rows, columns, values = spread
            self.entries.append((rows + self.count, columns, np.asarray(values, np.float64)))
        self.right.append(right.ravel())
        self.count += right.size

    def matrix(self, columns: int) -> tuple[Any, Array]:
        none = np.zeros(0, np.int64)
        entries = [(none, none, np.zeros(0)), *self.entries]
        row, column, value = (np.concatenate(each) for each in zip(*entries, strict=True))
        matrix = sparse.csc_matrix((value, (row, column)), shape=(self.count, columns))
        matrix.eliminate_zeros()
        return matrix, np.concatenate([np.zeros(0), *self.right])


@dataclass(eq=False)
class ProgramText:
    """Columns and rows as they are added.

    Entries are (positions of rows, positions of columns, values), of shapes that broadcast.
    """

    _cost: list[Array] = field(default_factory=list)
    _curvature: list[Array] = field(default_factory=list)
    _lower: list[Array] = field(default_factory=list)
    _upper: list[Array] = field(default_factory=list)
    _equal: _Rows = field(default_factory=_Rows)
    _most: _Rows = field(default_factory=_Rows)
    _columns: int = 0

    def columns(
        self, cost: Array, lower: Array, upper: Array, curvature: Array | None = None
    ) -> Index:
        """Add columns; their positions, in the shape of `cost`."""
        first = self._columns
        self._columns += cost.size
        self._cost.append(cost.ravel())
        self._curvature.append(np.zeros(cost.size) if curvature is None else curvature.ravel())
        self._lower.append(lower.ravel())
        self._upper.append(upper.ravel())
        return np.arange(first, self._columns).reshape(cost.shape)

    def equations(self, right: Array, entries: Sequence[Entries]) -> None:
        """Add rows: sum of entries = right; row positions count from 0 within `right`."""
        self._equal.add(right, entries)

    def limits(self, right: Array, entries: Sequence[Entries]) -> None:
        """Add rows: sum of entries <= right; row positions count from 0 within `right`."""
        self._most.add(right, entries)

    def program(self, traded: int) -> ProximalProgram:
        """The program; its last `traded` columns are q."""
        return ProximalProgram(
            cost=np.concatenate(self._cost),
            curvature=np.concatenate(self._curvature),
            lower=np.concatenate(self._lower),
            upper=np.concatenate(self._upper),
            equal=self._equal.matrix(self._columns),
            most=self._most.matrix(self._columns),
            traded=traded,
        )


@dataclass(frozen=True, eq=False)
class Optimum:
    """What was found: traded energies q, all columns, and their cost without prices, token."""

    traded_kwh: Array
    values: Array
    cost: float


class ProximalProgram:
    """A program of an agent, ready to be solved again and again for other prices."""

    def __init__(
        self,
        *,
        cost: Array,
        curvature: Array,
        lower: Array,
        upper: Array,
        equal: tuple[Any, Array],
        most: tuple[Any, Array],
        traded: int,
    ) -> None:
        self._cost, self._curvature, self._traded = cost, curvature, traded
        self._free = upper - lower > _FIXED
        self._constant = np.where(self._free, 0.0, lower)
        self._equal = _substituted(equal, self._free, self._constant, both=True)
        self._most = _substituted(most, self._free, self._constant, both=False)
        self._lower, self._upper = lower[self._free], upper[self._free]
        self._penalty = np.nan
        self._solver: Any = None

    def respond(self, price: Array, target: Array, penalty: float) -> Optimum:
        """Best trade at these prices near the target; with no penalty, the best anywhere.

        Raises
        ------
        ConsensusError
            If nothing keeps the rows, or Clarabel fails.
        """
        cost = self._cost[self._free].copy()
        cost[-self._traded :] -= price + penalty * target
        solution = self._solve(cost, penalty)
        values = self._constant.copy()
        values[self._free] = solution
        spent = self._cost @ values + self._curvature @ values**2 / 2
        return Optimum(values[-self._traded :], values, float(spent))

    def _solve(self, cost: Array, penalty: float) -> Array:
        if self._solver is None:
            self._solver = self._set_up(cost, penalty)
        elif penalty == self._penalty:
            self._solver.update(q=cost)
        else:
            self._solver.update(q=cost, P=self._hessian(penalty))
        self._penalty = penalty
        solution = self._solver.solve()
        status = str(solution.status)
        if status in ("Solved", "AlmostSolved"):
            return np.array(solution.x)
        if "PrimalInfeasible" in status:
            raise ConsensusError(_NOTHING)
        raise ConsensusError(f"Clarabel ended with {status!r}")

    def _set_up(self, cost: Array, penalty: float) -> Any:
        (equal, right), (most, bound) = self._equal, self._most
        unit = sparse.identity(cost.size, format="csr")
        above, below = np.isfinite(self._upper), np.isfinite(self._lower)
        rows = sparse.vstack([equal, most, unit[above], -unit[below]], format="csc")
        rights = np.concatenate([right, bound, self._upper[above], -self._lower[below]])
        cones = [
            clarabel.ZeroConeT(right.size),
            clarabel.NonnegativeConeT(rights.size - right.size),
        ]
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.presolve_enable = False  # it would forbid updates
        return clarabel.DefaultSolver(self._hessian(penalty), cost, rows, rights, cones, settings)

    def _hessian(self, penalty: float) -> Any:
        """Second derivatives, with every entry of the diagonal there, be it zero."""
        diagonal = self._curvature[self._free].copy()
        diagonal[-self._traded :] += penalty
        at = np.arange(diagonal.size)
        return sparse.csc_matrix((diagonal, at, np.arange(diagonal.size + 1)))


def _substituted(
    rows: tuple[Any, Array], free: NDArray[np.bool_], constant: Array, *, both: bool
) -> tuple[Any, Array]:
    """Rows in the free columns alone; those that say nothing of them must hold as they are."""
    matrix, right = rows
    kept = matrix[:, free].tocsr()
    rest = right - matrix @ constant
    used = np.diff(kept.indptr) > 0
    missed = np.abs(rest) if both else -rest
    if (missed[~used] > _TOLERANCE_KWH).any():
        raise ConsensusError(_NOTHING)
    return kept[used], rest[used]
