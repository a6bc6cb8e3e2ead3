"""The Shapley value: what a player adds on average, over all orders in which players may arrive.

    phi_i = sum_{S without i} |S|! (n - |S| - 1)! / n! * (v(S + i) - v(S))

Shapley, L. S. (1953), A value for n-person games, Contributions to the Theory of Games II.

*Sampled*: orders of arrival are drawn at random (Castro, Gómez and Tejada 2009, Polynomial
calculation of the Shapley value based on sampling, Computers & Operations Research 36), each with
its reverse: who comes early in one comes late in the other, which takes out most of what depends
on the place in the line. What the players add in any one order sums to the gain, so the average
over orders does too.

*Error bound*: the averages over a pair of orders are independent between pairs and lie in the
player's marginal range. Scaled to 0..1 as X_1, X_2, ..., the variables

    exp(+-lambda_t (X_t - mu) - (X_t - m_{t-1})^2 (-ln(1 - lambda_t) - lambda_t))

multiply to a supermartingale for any lambda_t in [0, 1) and m_{t-1} chosen before X_t is seen, so
that with probability 1 - alpha, at all t at once (Ville's inequality),

    |sum lambda X / sum lambda - mu| <= (ln(2 / alpha) + sum (X - m)^2 (-ln(1 - lambda) - lambda))
                                        / sum lambda

which is the empirical Bernstein confidence sequence with predictable plug-ins of Waudby-Smith and
Ramdas (2024), Estimating means of bounded random variables by betting, J. R. Stat. Soc. B 86. As it
holds at all t, sampling may stop once the bound is small enough. The share is the plain average
(weights lambda differ between players and would not keep the sum), so its distance to the weighted
one is added. alpha is (1 - confidence) / n: the bounds hold for all players together.

Blocks of more than two orders, such as a pair with its rotations, would leave fewer independent
blocks for the same work, which loosens the bound by more than the lower variance tightens it.
"""

from __future__ import annotations

from math import factorial, log
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.errors import SharingError
from fairwatt.sharing._game import Amounts, every_coalition
from fairwatt.sharing._rules import DUST_TOKEN, ErrorBound, Sharing

if TYPE_CHECKING:
    from fairwatt.sharing._game import Game, Progress

__all__ = ["EXACT_PLAYERS", "shapley"]

EXACT_PLAYERS: Final = 12
"""Up to so many players all 2^n coalitions are valued, unless the caller says otherwise."""
_MOST_EXACT: Final = 20  # a million coalitions
_FASTEST_BET: Final = 0.75  # lambda stays away from 1, where its logarithm blows up
_RANGE_SLACK: Final = 1e-6  # of the gain: what a solver's rounding may add to a marginal
_ROUNDING: Final = 1e-11  # of the largest value: what adding up floats may lose
METHOD: Final = "empirical Bernstein, predictable plug-in"


def shapley(
    game: Game,
    *,
    seed: int | None = None,
    pairs: int = 1000,
    tolerance_token: float = 0.0,
    confidence: float = 0.95,
    exact_players: int = EXACT_PLAYERS,
    progress: Progress | None = None,
) -> Sharing:
    """Share by the Shapley value: exact in small games, sampled with an error bound in others.

    Parameters
    ----------
    seed
        Of the sample; needed where one is drawn. The same seed draws the same sample.
    pairs
        Orders of arrival to sample, each with its reverse. A pair asks for 2 n coalition values.
    tolerance_token
        Sampling ends early once every player's error bound (token) is at most this.
    confidence
        Probability, below 1, with which the error bounds hold for all players at once.
    exact_players
        Games of more players are sampled; at most 20.
    progress
        Called with the coalition values looked up so far, and how many there are at most.

    Raises
    ------
    SharingError
        If a seed is needed and missing, a number is out of range, or a player adds to a coalition
        what its marginal range does not allow, which would make the error bound untrue.
    """
    if not 0 <= exact_players <= _MOST_EXACT:
        raise SharingError(f"exact_players: must be 0 to {_MOST_EXACT}, not {exact_players}")
    before = game.evaluations
    if len(game) <= exact_players:
        (shares, scale), bound = _exact(game, progress), None
    else:
        _require_sample(seed, pairs, tolerance_token, confidence, len(game))
        sample = _Sample(game, pairs, confidence)
        sample.draw(np.random.default_rng(seed), tolerance_token, progress)
        shares, scale, bound = sample.mean, sample.scale, sample.bound()
    missing = game.gain - shares.sum()
    if abs(missing) <= _ROUNDING * scale:  # values may be far larger than the gain they leave
        shares = shares + missing / len(game)
    evaluations = game.evaluations - before
    return Sharing("Shapley value", game.players, game.gain, shares, evaluations, bound)


def _exact(game: Game, progress: Progress | None) -> tuple[Amounts, float]:
    """Find the shares, and the largest value that went into them."""
    players = len(game)
    coalitions = every_coalition(players)
    values = game.values(coalitions, progress=progress)
    sizes = coalitions.sum(axis=1)
    weights = np.array(
        [factorial(size) * factorial(players - size - 1) for size in range(players)], dtype=object
    )
    weights = (weights / factorial(players)).astype(np.float64)
    shares = np.empty(players)
    rows = np.arange(2**players)
    for player in range(players):
        without = rows[~coalitions[:, player]]
        added = values[without | 1 << player] - values[without]
        shares[player] = weights[sizes[without]] @ added
    return shares, float(np.abs(values).max())


def _require_sample(
    seed: int | None, pairs: int, tolerance_token: float, confidence: float, players: int
) -> None:
    if seed is None:
        raise SharingError(
            f"seed: {players} players are too many for the exact Shapley value, so it is sampled; "
            "give a seed, that others can repeat it"
        )
    if seed < 0:
        raise SharingError(f"seed: must not be negative, not {seed}")
    if pairs < 1:
        raise SharingError(f"pairs: must be at least 1, not {pairs}")
    if not tolerance_token >= 0:
        raise SharingError(f"tolerance_token: must be at least 0, not {tolerance_token}")
    if not 0 < confidence < 1:
        raise SharingError(f"confidence: must lie between 0 and 1, not {confidence}")


class _Sample:
    """Running averages of what players add, and the confidence sequence around them."""

    def __init__(self, game: Game, pairs: int, confidence: float) -> None:
        players = len(game)
        self._game, self._pairs, self._confidence = game, pairs, confidence
        self._low, self._high = game.marginal_range()
        width = self._high - self._low
        self._width = np.where(width > 0, width, 1.0)  # of players who always add the same
        largest = max(np.abs(self._low).max(), np.abs(self._high).max())
        self._slack = _RANGE_SLACK * (abs(game.gain) + width.max() + largest) + DUST_TOKEN
        self._log = log(2 * players / (1 - confidence))
        self._drawn = 0
        self._total = np.zeros(players)  # token
        self._sum = np.zeros(players)  # scaled to 0..1, as all that follow
        self._squares = np.zeros(players)  # around the running mean
        self._bets = np.zeros(players)  # sum of lambda
        self._won = np.zeros(players)  # sum of lambda X
        self._spent = np.zeros(players)  # sum of (X - m)^2 (-ln(1 - lambda) - lambda)

    def draw(
        self, random: np.random.Generator, tolerance_token: float, progress: Progress | None
    ) -> None:
        players = len(self._game)
        step = max(1, self._game.batch // (2 * players))
        while self._drawn < self._pairs:
            count = min(step, self._pairs - self._drawn)
            orders = np.array([random.permutation(players) for _ in range(count)])
            both = self._game.marginals(np.concatenate([orders, orders[:, ::-1]]))
            self._require_range(both)
            self._add((both[:count] + both[count:]) / 2)
            if progress is not None:
                progress(2 * players * self._drawn, 2 * players * self._pairs)
            if (self.bound().token <= tolerance_token).all():
                return

    def _require_range(self, added: Amounts) -> None:
        wrong = (added < self._low - self._slack) | (added > self._high + self._slack)
        if wrong.any():
            order, player = np.argwhere(wrong)[0]
            raise SharingError(
                f"{self._game.players[player]} adds {added[order, player]:g} token to a coalition, "
                f"outside its marginal range {self._low[player]:g} to {self._high[player]:g}: "
                "the game is not monotone; give it a marginal_range that holds"
            )

    def _add(self, added: Amounts) -> None:
        self._total += added.sum(axis=0)
        scaled = np.clip((added - self._low) / self._width, 0.0, 1.0)
        counts = self._drawn + 1.0 + np.arange(len(scaled))[:, None]
        # Mean and variance as if half had been seen once before, with variance 1/4.
        means = (0.5 + self._sum + np.cumsum(scaled, axis=0)) / (counts + 1)
        squares = self._squares + np.cumsum((scaled - means) ** 2, axis=0)
        first_mean = (0.5 + self._sum) / (self._drawn + 1)
        before = np.concatenate([first_mean[None], means[:-1]])
        squares_before = np.concatenate([self._squares[None], squares[:-1]])
        variance = (0.25 + squares_before) / counts
        bet = np.minimum(np.sqrt(2 * self._log / (variance * self._pairs)), _FASTEST_BET)
        self._bets += bet.sum(axis=0)
        self._won += (bet * scaled).sum(axis=0)
        self._spent += ((scaled - before) ** 2 * (-np.log1p(-bet) - bet)).sum(axis=0)
        self._sum = self._sum + scaled.sum(axis=0)
        self._squares = squares[-1]
        self._drawn += len(scaled)

    @property
    def mean(self) -> Amounts:
        mean: Amounts = self._total / self._drawn
        return mean

    @property
    def scale(self) -> float:
        return float(np.maximum(np.abs(self._low), np.abs(self._high)).max())

    def bound(self) -> ErrorBound:
        centre = self._won / self._bets
        radius = (self._log + self._spent) / self._bets
        distance = np.minimum(np.abs(centre - self._sum / self._drawn) + radius, 1.0)
        token = distance * (self._high - self._low)
        return ErrorBound(token, self._confidence, 2 * self._drawn, METHOD)
