"""The nucleolus and the least core: shares that give no coalition more cause to leave than needed.

The excess e(S, x) = v(S) - x(S) is what coalition S would gain by leaving. The *least core* makes
the largest excess over all coalitions but nobody and everybody as small as it can be:

    minimise  e   subject to   x(S) + e >= v(S) for all S,   x(all) = v(all)                   (1)

The *nucleolus* (Schmeidler 1969, The nucleolus of a characteristic function game, SIAM J. Appl.
Math. 17) goes on: among those shares it makes the next largest excess small, and so forth, among
the shares that give each player at least its value alone. There is exactly one such vector. It is
found by a sequence of programs like (1) (Kopelowitz 1967; Maschler, Peleg and Shapley 1979,
Geometric properties of the kernel, nucleolus, and related solution concepts, Math. Oper. Res. 4).

Between two programs, the coalitions that are tight in *every* optimum keep their excess for good.
Being tight in the optimum that the solver happens to return is not enough (Guajardo and Jörnsten
2015, Common mistakes in computing the nucleolus, EJOR 241). A coalition with a positive dual is
tight in every optimum, by complementary slackness, and there is one, as the duals of the rows of
(1) sum to 1. Its excess is kept, with that of every coalition whose indicator is a combination of
kept ones, since its share is then fixed as well. So each program adds to the rank of what is kept,
and after at most n - 1 of them there is one vector left. A tight coalition whose dual happens to
be zero is not lost: it is tight again, at the same excess, in the next program.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.errors import SharingError
from fairwatt.highs import INFINITY, Program, Status, solve
from fairwatt.sharing._game import Amounts, Coalitions, every_coalition
from fairwatt.sharing._rules import DUST_TOKEN, Sharing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.sharing._game import Game, Progress

__all__ = ["MOST_PLAYERS", "LeastCore", "least_core", "nucleolus"]

MOST_PLAYERS: Final = 12
"""A program has a row for each of the 2^n - 2 coalitions."""
# The duals of a vertex sum to 1 over at most n + 1 <= 13 rows, so that one is above 0.07; those
# of rounding are below HiGHS's tolerance of 1e-7.
_POSITIVE_DUAL: Final = 1e-4
# An indicator that is no combination of others is at least 3e-4 away from all of them: squared,
# the distance is a quotient of two Gram determinants, whole numbers, and with 12 players the lower
# one is below 10^7.
_IN_SPAN: Final = 1e-6
_AGREES: Final = 1e-5  # of the largest value: what polishing may move shares that HiGHS found


@dataclass(frozen=True, eq=False)
class LeastCore:
    """The least by which coalitions must be let down, and shares that do so.

    Attributes
    ----------
    excess
        The least possible largest excess, token: the core is empty if and only if it is positive.
        For a single player 0, as nobody can object.
    shares
        One vector of shares that reaches it, token, shape (players,); there may be others.
    """

    excess: float
    shares: Amounts = field(repr=False)


def least_core(game: Game, *, progress: Progress | None = None) -> LeastCore:
    """Find how small the largest excess can be made.

    Raises
    ------
    SharingError
        If there are more than 12 players.
    SolverError
        If HiGHS fails.
    """
    values = _every_value(game, progress)
    if len(game) == 1:
        return LeastCore(0.0, values[1:])
    program = _Lexicographic(values, np.full(len(game), -INFINITY))
    shares, excess = program.lower()
    return LeastCore(excess, shares)


def nucleolus(game: Game, *, progress: Progress | None = None) -> Sharing:
    """Share by the nucleolus, exactly.

    The result lies in the core whenever the core is not empty.

    Raises
    ------
    SharingError
        If there are more than 12 players, or the gain is less than what the players have alone:
        then nothing that is shared would keep them in the community.
    SolverError
        If HiGHS fails.
    """
    before = game.evaluations
    values = _every_value(game, progress)
    alone = values[1 << np.arange(len(game))]
    scale = np.abs(values).max()
    short = float(alone.sum() - values[-1])
    if short > _AGREES * scale + DUST_TOKEN:
        raise SharingError(
            f"the players alone have {short:g} token more than all together: every sharing leaves "
            "somebody worse off than alone, and the nucleolus is not defined"
        )
    shares = alone - short / len(game)
    if len(game) > 1 and short < 0:
        program = _Lexicographic(values, alone)
        while not program.done:
            program.lower()
        shares = program.shares()
    evaluations = game.evaluations - before
    return Sharing("nucleolus", game.players, game.gain, shares, evaluations)


def _every_value(game: Game, progress: Progress | None) -> Amounts:
    if len(game) > MOST_PLAYERS:
        raise SharingError(
            f"{len(game)} players are too many: the nucleolus and the least core are computed for "
            f"up to {MOST_PLAYERS}"
        )
    return game.values(every_coalition(len(game)), progress=progress)


class _Lexicographic:
    """The sequence of programs. Values are scaled to at most 1 inside.

    Kept are equations: x(S) + e_k = v(S) for what round k settled, x(all) = v(all), and x_i = v(i)
    for players who in every optimum get just what they have alone. Values that an optimisation
    rounded make them contradict one another a little where they depend on one another. So only
    independent ones go into the next program, with the shares that the last one found, which
    thereby stay feasible; all of them together decide the last digits in the end.
    """

    def __init__(self, values: Amounts, least: Amounts) -> None:
        players = least.size
        self._scale = float(np.abs(values).max()) or 1.0
        self._least = least / self._scale
        self._all = float(values[-1]) / self._scale
        proper = slice(1, -1)
        self._members: Coalitions = every_coalition(players)[proper]
        self._values = values[proper] / self._scale
        everybody = np.ones((1, players), bool)
        self._kept: list[tuple[NDArray[np.bool_], float, int]] = [(everybody[0], self._all, -1)]
        self._excesses: list[float] = []
        self._fixed: Coalitions = everybody  # independent ones of what is kept
        self._basis: Amounts = everybody / np.sqrt(players)  # orthonormal, of the same span
        self._last: Amounts = np.empty(0)

    @property
    def done(self) -> bool:
        """Whether what is kept leaves a single vector of shares."""
        return len(self._basis) == self._least.size

    def lower(self) -> tuple[Amounts, float]:
        """Solve the next program and keep what it settles; returns its shares and excess."""
        found = solve(self._program(), method="simplex")
        if found.status is not Status.OPTIMAL:
            raise SharingError(
                f"the nucleolus could not be computed: HiGHS ends with {found.status.value!r}"
            )
        self._last, excess = found.values[:-1], float(found.values[-1])
        duals = found.row_duals[: len(self._members)]
        round_ = len(self._excesses)
        self._excesses.append(excess)
        for at in np.flatnonzero(duals > _POSITIVE_DUAL):
            self._keep(self._members[at], self._values[at], round_)
        for player in np.flatnonzero(found.reduced_costs[:-1] > _POSITIVE_DUAL):
            self._keep(np.arange(self._least.size) == player, self._least[player], -1)
        open_ = self._distances(self._members) > _IN_SPAN
        self._members, self._values = self._members[open_], self._values[open_]
        return self._last * self._scale, excess * self._scale

    def shares(self) -> Amounts:
        """Solve the kept equations for the shares and the excesses: exact but for rounding."""
        players = self._least.size
        rows = np.zeros((len(self._kept), players + len(self._excesses)))
        right = np.empty(len(self._kept))
        for at, (members, value, round_) in enumerate(self._kept):
            rows[at, :players] = members
            right[at] = value
            if round_ >= 0:
                rows[at, players + round_] = 1.0
        polished = np.linalg.lstsq(rows, right, rcond=None)[0][:players]
        polished += (self._all - polished.sum()) / players
        if np.abs(polished - self._last).max() > _AGREES:
            raise SharingError(
                "the nucleolus could not be computed: its equations do not agree with HiGHS, as "
                "the coalition values are rounded too much"
            )
        shares: Amounts = polished * self._scale
        return shares

    def _keep(self, members: NDArray[np.bool_], value: float, round_: int) -> None:
        self._kept.append((members, float(value), round_))
        rest = self._beyond(members[None].astype(np.float64))
        length = np.linalg.norm(rest)
        if length > _IN_SPAN:
            self._fixed = np.concatenate([self._fixed, members[None]])
            self._basis = np.concatenate([self._basis, rest / length])

    def _beyond(self, indicators: Amounts) -> Amounts:
        """What of indicators is no combination of kept ones; twice, to be free of rounding."""
        for _ in range(2):
            indicators = indicators - indicators @ self._basis.T @ self._basis
        return indicators

    def _distances(self, members: Coalitions) -> Amounts:
        distances: Amounts = np.linalg.norm(self._beyond(members.astype(np.float64)), axis=1)
        return distances

    def _program(self) -> Program:
        """Columns: shares, then e. Rows: open coalitions, then what is fixed."""
        players, open_ = self._least.size, len(self._members)
        least, right = self._least, np.array([self._all])
        if self._last.size:  # may be below the bounds by HiGHS's tolerance
            least = np.minimum(least, self._last)
            right = np.append(right, self._fixed[1:] @ self._last)
        matrix = np.zeros((open_ + right.size, players + 1))
        matrix[:, :players] = np.concatenate([self._members, self._fixed])
        matrix[:open_, players] = 1.0
        column, row = np.nonzero(matrix.T)
        starts = np.searchsorted(column, np.arange(players + 2))
        cost = np.zeros(players + 1)
        cost[-1] = 1.0
        return Program(
            cost=cost,
            lower=np.append(least, -INFINITY),
            upper=np.full(players + 1, INFINITY),
            row_lower=np.concatenate([self._values, right]),
            row_upper=np.concatenate([np.full(open_, INFINITY), right]),
            starts=starts.astype(np.int32),
            indices=row.astype(np.int32),
            values=np.ones(row.size),
        )
