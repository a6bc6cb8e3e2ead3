"""What comes of a rule, and the rules that need no game: equal shares and shares by weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.errors import SharingError
from fairwatt.sharing._game import Amounts, amounts, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

__all__ = [
    "DUST_TOKEN",
    "ErrorBound",
    "Sharing",
    "by_contribution",
    "by_need",
    "by_renewable_share",
    "equal",
]

DUST_TOKEN: Final = 1e-6
"""Gains this close to zero (token) are a solver's rounding: neither a gain nor a loss."""
_ROUNDING: Final = 1e-11  # of the gain and the shares: thousands of additions of floats stay below


@dataclass(frozen=True, eq=False)
class ErrorBound:
    """How far sampled shares may be from the exact ones.

    Attributes
    ----------
    token
        Per player: |share - exact share| is at most this, shape (players,).
    confidence
        Probability with which that holds for *all* players at once, over the choice of the sample.
    orders
        Orders of arrival that were sampled.
    method
        Name of the inequality behind the bound.
    """

    token: Amounts
    confidence: float
    orders: int
    method: str


@dataclass(frozen=True, eq=False)
class Sharing:
    """How a gain is shared. The shares sum to it within the precision of floats.

    Attributes
    ----------
    rule
        Name of the rule.
    players
        Names, in the sequence of the shares.
    gain
        What is shared, token.
    shares
        Per player, token, shape (players,); negative for who pays in.
    evaluations
        Coalition values that were computed for it.
    error_bound
        None if the shares are exact.

    Raises
    ------
    SharingError
        If there is not one finite share per player, or they do not sum to the gain.
    """

    rule: str
    players: tuple[str, ...]
    gain: float
    shares: Amounts = field(repr=False)
    evaluations: int = 0
    error_bound: ErrorBound | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        shares = amounts(f"shares of the rule {self.rule!r}", self.shares)
        if shares.shape != (len(self.players),):
            raise SharingError(f"{self.rule}: {shares.size} shares for {len(self.players)} players")
        object.__setattr__(self, "shares", shares)
        missing = self.gain - float(shares.sum())
        size = abs(self.gain) + float(np.abs(shares).sum())
        if not abs(missing) <= _ROUNDING * size + np.finfo(float).tiny:
            raise SharingError(
                f"{self.rule}: the shares sum to {shares.sum()!r}, the gain is {self.gain!r}"
            )

    def share_of(self, player: str) -> float:
        """Share (token) of one player.

        Raises
        ------
        SharingError
            If nobody has that name.
        """
        if player not in self.players:
            raise SharingError(f"there is no player {player!r} in this sharing")
        return float(self.shares[self.players.index(player)])

    def bills(self, alone: ArrayLike) -> Amounts:
        """What each player pays (token): its cost alone, given per player, less its share."""
        costs = amounts("alone", alone)
        if costs.shape != self.shares.shape:
            raise SharingError(f"alone: has {costs.size} costs for {len(self.players)} players")
        bills: Amounts = costs - self.shares
        return bills


def equal(gain: float, players: Sequence[str]) -> Sharing:
    """Share equally: gain / n each. A loss is shared equally too.

    Raises
    ------
    SharingError
        If there is no player, or the gain is not a finite number.
    """
    who = names(players)
    return Sharing("equal", who, _finite(gain), np.full(len(who), gain / len(who)))


def by_contribution(gain: float, players: Sequence[str], traded_kwh: ArrayLike) -> Sharing:
    """Share by energy traded in the community: gain * e_i / sum(e).

    Parameters
    ----------
    traded_kwh
        Energy e that each player bought and sold within the community, kWh, shape (players,) or
        (players, periods); or any other measure of what it contributed.

    Raises
    ------
    SharingError
        If a contribution is negative or not a number, or if there is a gain but no contribution;
        if the gain is negative (see `by_need`).
    """
    return _by_weights("contribution", gain, players, "traded_kwh", traded_kwh)


def by_need(gain: float, players: Sequence[str], need: ArrayLike) -> Sharing:
    """Share by need, such as the social situation of the peers: gain * w_i / sum(w).

    Shares by weights of a *negative* gain would charge most to whom the rule means to favour, so
    it is refused; down to -1e-6 token it counts as rounding and is shared. With nothing to share
    and no weights, nobody gets anything.

    Parameters
    ----------
    need
        Weights w >= 0 without unit, shape (players,).

    Raises
    ------
    SharingError
        If a weight is negative or not a number, or if there is a gain but all weights are zero;
        if the gain is negative.
    """
    return _by_weights("need", gain, players, "need", need)


def by_renewable_share(gain: float, players: Sequence[str], renewable_kwh: ArrayLike) -> Sharing:
    """Share by each player's part of the community's renewable energy: gain * r_i / sum(r).

    Parameters
    ----------
    renewable_kwh
        Renewable energy r that each player produced, kWh, shape (players,) or (players, periods).

    Raises
    ------
    SharingError
        If an energy is negative or not a number, or if there is a gain but no renewable energy;
        if the gain is negative (see `by_need`).
    """
    return _by_weights("renewable share", gain, players, "renewable_kwh", renewable_kwh)


def _by_weights(
    rule: str, gain: float, players: Sequence[str], name: str, weights: ArrayLike
) -> Sharing:
    who = names(players)
    each = amounts(name, weights, axes=(1, 2))
    if each.shape[0] != len(who):
        raise SharingError(f"{name}: has shape {each.shape} for {len(who)} players")
    if (each < 0).any():
        place = tuple(np.argwhere(each < 0)[0])
        raise SharingError(f"{name}: {each[place]:g} of {who[place[0]]!r} must not be negative")
    if _finite(gain) < -DUST_TOKEN:
        raise SharingError(
            f"the community costs {-gain:g} token more than its peers alone: there is no gain to "
            f"share by {name}; share the loss equally or by the Shapley value, or do not trade"
        )
    if each.ndim == 2:
        each = each.sum(axis=1)
    largest = each.max()
    if largest == 0:
        if abs(gain) > DUST_TOKEN:
            raise SharingError(
                f"{name}: all weights are zero, so the rule does not say who gets the gain of "
                f"{gain:g} token; share it equally, or by another rule"
            )
        each, largest = np.ones(len(who)), 1.0
    each = each / largest  # the sum of large weights could overflow
    return Sharing(rule, who, gain, gain * (each / each.sum()))


def _finite(gain: float) -> float:
    return float(amounts("gain", gain, axes=(0,)))
