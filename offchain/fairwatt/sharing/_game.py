"""Cooperative games: what every coalition of peers would gain as a community of its own.

The gain of a coalition S is what its members pay each alone, less what they pay as a community:

    v(S) = sum_{i in S} cost({i}) - cost(S),      v(nobody) = 0

Coalitions are rows of a matrix of shape (coalitions, players), True for members, so that many can
be valued at once; a list of all of them follows the bits of the row number (`every_coalition`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairwatt.errors import SharingError

__all__ = [
    "Amounts",
    "Coalitions",
    "Game",
    "PoolGame",
    "Progress",
    "amounts",
    "every_coalition",
    "names",
]

Amounts: TypeAlias = NDArray[np.float64]
Coalitions: TypeAlias = NDArray[np.bool_]
"""Shape (coalitions, players), True for members."""
Orders: TypeAlias = NDArray[np.int64]
"""Orders in which players arrive, shape (orders, players): a permutation of the players per row."""
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the coalitions valued so far, and how many there are to value."""

_BATCH = 256  # coalitions between two calls of a progress callback
_POOL_BATCH = 2**15
_BLOCK = 2**17  # numbers that are worked on at a time: few enough to stay in a processor's cache


class Game:
    """A cooperative game whose coalition values are computed once each, when they are needed.

    Parameters
    ----------
    players
        Names, all different.
    value
        Gain (token) of a coalition, given as the set of its players' indices. It may be an
        expensive solve: it is called once per coalition, and never for the empty one, which
        gains nothing. A community that may also split up gains at least what its parts gain
        (the game is superadditive); the rules do not need that unless they say so.
    marginal_range
        Least and most (token) that each player can add to any coalition it joins, one number or
        one per player each. Only a sampled Shapley value needs it, for its error bound. Without
        it the game is taken to be monotone, where a player adds 0 to v(all).

    Raises
    ------
    SharingError
        If there is no player, a name is given twice, or the range is none.

    Attributes
    ----------
    players
        Names.
    batch
        How many coalitions the game likes to be asked for at once.
    """

    def __init__(
        self,
        players: Sequence[str],
        value: Callable[[frozenset[int]], float],
        *,
        marginal_range: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None:
        def one_by_one(members: Coalitions) -> Amounts:
            sets = (frozenset(np.flatnonzero(row).tolist()) for row in members)
            return np.array([value(coalition) for coalition in sets], dtype=np.float64)

        self._set_up(players, one_by_one, marginal_range, batch=1)

    @classmethod
    def in_batches(
        cls,
        players: Sequence[str],
        values: Callable[[Coalitions], ArrayLike],
        *,
        marginal_range: tuple[ArrayLike, ArrayLike] | None = None,
        batch: int = _BATCH,
    ) -> Game:
        """Make a game from a function that values up to `batch` coalitions at once.

        `values` takes coalitions of shape (coalitions, players), all different and none empty, and
        returns one gain (token) each.
        """
        game = cls.__new__(cls)
        game._set_up(players, values, marginal_range, batch)  # noqa: SLF001 - our own constructor
        return game

    def _set_up(
        self,
        players: Sequence[str],
        values: Callable[[Coalitions], ArrayLike],
        marginal_range: tuple[ArrayLike, ArrayLike] | None,
        batch: int,
    ) -> None:
        if batch < 1:
            raise SharingError(f"batch: must be at least 1, not {batch}")
        self.players = names(players)
        self._ask = values
        self.batch = batch
        self._memory: dict[bytes, float] = {np.packbits(np.zeros(len(self), bool)).tobytes(): 0.0}
        self._evaluations = 0
        self._range = None if marginal_range is None else self._checked_range(*marginal_range)

    def _checked_range(self, least: ArrayLike, most: ArrayLike) -> tuple[Amounts, Amounts]:
        low = _one_each("marginal_range", least, len(self))
        high = _one_each("marginal_range", most, len(self))
        if (low > high).any():
            raise SharingError("marginal_range: the least must not be above the most")
        return low, high

    def __len__(self) -> int:
        """Number of players."""
        return len(self.players)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} players, {self.evaluations} values known>"

    @property
    def evaluations(self) -> int:
        """How many coalition values were computed so far, repetitions from memory not counted."""
        return self._evaluations

    @property
    def gain(self) -> float:
        """Gain (token) of all players together: what there is to share."""
        return self.value(range(len(self)))

    def value(self, coalition: Iterable[int]) -> float:
        """Gain (token) of one coalition, given by its players' indices."""
        members = np.zeros((1, len(self)), bool)
        for player in coalition:
            if not 0 <= player < len(self):
                raise SharingError(f"there is no player {player}: the game has {len(self)}")
            members[0, player] = True
        return float(self.values(members)[0])

    def values(self, members: Coalitions, *, progress: Progress | None = None) -> Amounts:
        """Gains (token) of coalitions, shape (coalitions,); what is known is not computed again.

        Raises
        ------
        SharingError
            If the game's own function returns something else than one finite number each. The
            values before that stay known.
        """
        keys = [row.tobytes() for row in np.packbits(members, axis=1)]
        missing = {key: at for at, key in enumerate(keys) if key not in self._memory}
        rows = np.fromiter(missing.values(), dtype=np.int64, count=len(missing))
        for start in range(0, rows.size, self.batch):
            asked = members[rows[start : start + self.batch]]
            for row, gain in zip(asked, self._answers(asked), strict=True):
                self._memory[np.packbits(row).tobytes()] = gain
            if progress is not None:
                progress(min(start + self.batch, rows.size), rows.size)
        return np.array([self._memory[key] for key in keys])

    def _answers(self, members: Coalitions) -> list[float]:
        answers = np.asarray(self._ask(members), dtype=np.float64)
        if answers.shape != members.shape[:1]:
            raise SharingError(
                f"the game's function returned values of shape {answers.shape} "
                f"for {len(members)} coalitions"
            )
        if not np.isfinite(answers).all():
            at = int(np.argmin(np.isfinite(answers)))
            who = ", ".join(self.members(members[at]))
            raise SharingError(f"the gain of coalition {{{who}}} is {answers[at]}, not a number")
        self._evaluations += len(members)
        return list(map(float, answers))

    def members(self, coalition: NDArray[np.bool_]) -> tuple[str, ...]:
        """Names of the members of one coalition, given as a row of shape (players,)."""
        return tuple(self.players[at] for at in np.flatnonzero(coalition))

    def marginals(self, orders: Orders) -> Amounts:
        """What each player adds (token) as the players join one by one.

        Parameters
        ----------
        orders
            Permutations of the players' indices, shape (orders, players).

        Returns
        -------
        Array of shape (orders, players), in the sequence of the players; rows sum to the gain.
        """
        count, players = orders.shape
        ranks = np.empty_like(orders)
        np.put_along_axis(ranks, orders, np.arange(players)[None, :], axis=1)
        present = ranks[:, None, :] <= np.arange(players)[None, :, None]
        worth = self.values(present.reshape(-1, players)).reshape(count, players)
        return _by_player(orders, worth)

    def marginal_range(self) -> tuple[Amounts, Amounts]:
        """Least and most (token) each player can add to a coalition, each of shape (players,).

        What was given, else 0 and the gain of all, as in every monotone game.
        """
        if self._range is not None:
            return self._range
        return np.zeros(len(self)), np.full(len(self), max(self.gain, 0.0))


class PoolGame(Game):
    """A community at one node with common tariffs: surplus meets deficit, period by period.

    v(S) = sum_t (retail_t - feed_in_t) * min(surplus_t(S), deficit_t(S))

    Alone, a peer buys its deficit at the retail tariff and sells its surplus at the feed-in tariff;
    each kWh that stays in the community saves the difference. What every peer does is given, so
    that values are sums of products and nothing is solved.

    As min(a, b) = (a + b - |a - b|) / 2, a coalition's value follows from its net energy alone:

    v(S) = (sum_{i in S} w_i - sum_t s_t |x_t(S)|) / 2,     w_i = sum_t s_t |x_it|,  s = spread

    Parameters
    ----------
    net_kwh
        Production less consumption of each peer (positive: surplus, negative: deficit), kWh per
        period, shape (peers, periods).
    retail, feed_in
        Tariffs, token/kWh, one number or shape (periods,); feed-in never above retail.
    players
        Names; "1", "2", ... if not given.

    Raises
    ------
    SharingError
        If a number is missing or not finite, or a feed-in tariff is above its retail tariff.
    """

    def __init__(
        self,
        net_kwh: ArrayLike,
        retail: ArrayLike,
        feed_in: ArrayLike,
        players: Sequence[str] | None = None,
    ) -> None:
        net = amounts("net_kwh", net_kwh, axes=(2,))
        peers, periods = net.shape
        self.net_kwh = net
        self.spread = _spread(retail, feed_in, periods)
        self._worth = np.abs(net) @ self.spread
        chosen = players if players is not None else [str(at + 1) for at in range(peers)]
        if len(chosen) != peers:
            raise SharingError(f"net_kwh: has {peers} rows for {len(chosen)} players")
        opposite = np.where(net > 0, self._total_kwh(-1), self._total_kwh(+1))
        most = np.minimum(np.abs(net), opposite) @ self.spread
        self._set_up(chosen, self._worth_of, (np.zeros(peers), most), batch=_POOL_BATCH)

    def _total_kwh(self, sign: int) -> Amounts:
        """Surplus (+1) or deficit (-1) of all peers, kWh, shape (periods,)."""
        total: Amounts = np.maximum(sign * self.net_kwh, 0.0).sum(axis=0)
        return total

    def traded_kwh(self) -> Amounts:
        """Energy each peer buys or sells within the community, kWh, shape (peers, periods).

        The short side trades all it has, the long side in proportion to what each has.
        """
        surplus, deficit = self._total_kwh(+1), self._total_kwh(-1)
        traded = np.minimum(surplus, deficit)
        side = np.where(self.net_kwh > 0, surplus, deficit)
        parts = np.divide(np.abs(self.net_kwh), side, out=np.zeros_like(side), where=side > 0)
        energy: Amounts = parts * traded
        return energy

    def values(self, members: Coalitions, *, progress: Progress | None = None) -> Amounts:
        """Gains (token) of coalitions, shape (coalitions,): a matrix product, nothing kept."""
        count = len(members)
        worth = np.empty(count)
        step = max(1, _BLOCK // max(1, self.spread.size))
        for start in range(0, count, step):
            worth[start : start + step] = self._worth_of(members[start : start + step])
            if progress is not None:
                progress(min(start + step, count), count)
        self._evaluations += count
        return worth

    def _worth_of(self, members: Coalitions) -> Amounts:
        present = members.astype(np.float64)
        outside = np.abs(present @ self.net_kwh) @ self.spread
        worth: Amounts = np.maximum(present @ self._worth - outside, 0.0) / 2
        return worth

    def marginals(self, orders: Orders) -> Amounts:
        """What each player adds (token) as the players join one by one: running sums."""
        added = np.empty(orders.shape)
        step = max(1, _BLOCK // max(1, self.net_kwh.size))
        for start in range(0, len(orders), step):
            some = orders[start : start + step]
            outside = np.abs(np.cumsum(self.net_kwh[some], axis=1)) @ self.spread
            added[start : start + step] = (self._worth - _by_player(some, outside)) / 2
        self._evaluations += orders.size
        return added


def every_coalition(players: int) -> Coalitions:
    """List all 2^players coalitions; player i is in row r if bit i of r is set."""
    rows = np.arange(2**players)[:, None]
    return np.asarray(rows >> np.arange(players) & 1, dtype=bool)


def names(players: Sequence[str]) -> tuple[str, ...]:
    """Require at least one name, and none twice."""
    if isinstance(players, str) or not players:
        raise SharingError("players: must be a list of at least one name")
    result = tuple(players)
    twice = next(_repeated(result), None)
    if twice is not None:
        raise SharingError(f"players: {twice!r} is named twice")
    return result


def amounts(field: str, values: ArrayLike, axes: tuple[int, ...] = (1,)) -> Amounts:
    """Copy finite numbers into an array that cannot be written to, of one of these numbers of axes.

    Raises
    ------
    SharingError
        That names `field` and the place in it.
    """
    try:
        result = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise SharingError(f"{field}: must be an array of numbers") from None
    if result.ndim not in axes:
        wanted = " or ".join(map(str, axes))
        raise SharingError(f"{field}: must have {wanted} axes, not {result.ndim}")
    if not np.isfinite(result).all():
        place = np.argwhere(~np.isfinite(result))[0]
        index = "".join(f"[{at}]" for at in place)
        raise SharingError(f"{field}{index}: is {result[tuple(place)]}, must be a finite number")
    result.flags.writeable = False
    return result


def _spread(retail: ArrayLike, feed_in: ArrayLike, periods: int) -> Amounts:
    dear, cheap = _one_each("retail", retail, periods), _one_each("feed_in", feed_in, periods)
    spread: Amounts = dear - cheap
    if (spread < 0).any():
        at = int(np.argmax(spread < 0))
        raise SharingError(
            f"feed_in[{at}]: {cheap[at]:g} is above the retail tariff {dear[at]:g}, "
            "so that a community would lose by trading"
        )
    return spread


def _one_each(field: str, values: ArrayLike, count: int) -> Amounts:
    """Spread one number over `count` places, or require as many numbers."""
    given = amounts(field, values, axes=(0, 1))
    if given.ndim and given.size != count:
        raise SharingError(f"{field}: has {given.size} numbers, expected one, or {count}")
    return np.broadcast_to(given, (count,))


def _by_player(orders: Orders, totals: Amounts) -> Amounts:
    """Turn running totals along orders of arrival into what each player added."""
    added = np.empty_like(totals)
    np.put_along_axis(added, orders, np.diff(totals, axis=1, prepend=0.0), axis=1)
    return added


def _repeated(items: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for item in items:
        if item in seen:
            yield item
        seen.add(item)
