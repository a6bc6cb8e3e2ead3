"""Whether anybody has cause to leave: a peer alone, or a coalition as a community of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.errors import SharingError
from fairwatt.sharing._game import amounts, every_coalition, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from fairwatt.sharing._game import Game, Progress

__all__ = ["MOST_LISTED", "Objection", "Standing", "in_core", "objections", "standings"]

MOST_LISTED: Final = 20
"""Up to so many players every coalition is looked at, a million of them."""
_TOLERANCE: Final = 1e-9  # token


@dataclass(frozen=True, slots=True)
class Objection:
    """A coalition that would gain by leaving.

    Attributes
    ----------
    members
        Names.
    value
        What the coalition gains as a community of its own, token.
    share
        What its members get together now, token.
    """

    members: tuple[str, ...]
    value: float
    share: float

    @property
    def excess(self) -> float:
        """What leaving is worth to them together, token."""
        return self.value - self.share


@dataclass(frozen=True, slots=True)
class Standing:
    """How a peer stands in the community compared to being alone with its supplier.

    Attributes
    ----------
    peer
        Name.
    alone
        What it pays alone, token; negative for who earns.
    pays
        What it pays in the community, token.
    rational
        Whether it pays no more than alone, but for the tolerance.
    """

    peer: str
    alone: float
    pays: float
    rational: bool

    @property
    def gain(self) -> float:
        """What the community saves it, token; negative if it pays more than alone."""
        return self.alone - self.pays


def objections(
    game: Game,
    shares: ArrayLike,
    *,
    tolerance: float = _TOLERANCE,
    progress: Progress | None = None,
) -> tuple[Objection, ...]:
    """List the coalitions that block some shares, single players included: the worst first.

    Parameters
    ----------
    shares
        Token, shape (players,).
    tolerance
        Excess (token) that nobody leaves for: as large as what a solver may round.

    Raises
    ------
    SharingError
        If there are more than 20 players, or the shares do not sum to the gain within the
        tolerance.
    """
    given = _checked_shares(game, shares, tolerance)
    coalitions = every_coalition(len(game))
    values = game.values(coalitions, progress=progress)
    totals = coalitions @ given
    excesses = values - totals
    blocking = np.flatnonzero(excesses > tolerance)
    worst_first = blocking[np.argsort(-excesses[blocking], kind="stable")]
    return tuple(
        Objection(game.members(coalitions[at]), float(values[at]), float(totals[at]))
        for at in worst_first
    )


def in_core(
    game: Game,
    shares: ArrayLike,
    *,
    tolerance: float = _TOLERANCE,
    progress: Progress | None = None,
) -> bool:
    """Whether no coalition would gain by leaving; parameters and errors as for `objections`."""
    return not objections(game, shares, tolerance=tolerance, progress=progress)


def standings(
    peers: Sequence[str],
    alone: ArrayLike,
    pays: ArrayLike,
    *,
    tolerance: float = _TOLERANCE,
) -> tuple[Standing, ...]:
    """Report individual rationality, peer by peer, in the sequence given.

    Parameters
    ----------
    alone, pays
        Cost of each peer alone and its bill in the community, token, shape (peers,). The bills of
        a sharing are `Sharing.bills(alone)`; those of any market will do as well.
    tolerance
        What a peer may pay more (token) without being called worse off.

    Raises
    ------
    SharingError
        If there is not one finite number per peer.
    """
    who = names(peers)
    columns = []
    for field, values in (("alone", alone), ("pays", pays)):
        column = amounts(field, values)
        if column.size != len(who):
            raise SharingError(f"{field}: has {column.size} numbers for {len(who)} peers")
        columns.append(column.tolist())
    return tuple(
        Standing(peer, cost, bill, rational=bill <= cost + tolerance)
        for peer, cost, bill in zip(who, *columns, strict=True)
    )


def _checked_shares(game: Game, shares: ArrayLike, tolerance: float) -> NDArray[np.float64]:
    if len(game) > MOST_LISTED:
        raise SharingError(
            f"{len(game)} players are too many: coalitions are listed for up to {MOST_LISTED}"
        )
    given = amounts("shares", shares)
    if given.size != len(game):
        raise SharingError(f"shares: has {given.size} numbers for {len(game)} players")
    if abs(given.sum() - game.gain) > max(tolerance, 1e-9 * abs(game.gain)):
        raise SharingError(f"shares: sum to {given.sum():g} token, the gain is {game.gain:g}")
    return given
