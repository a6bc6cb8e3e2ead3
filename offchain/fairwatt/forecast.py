"""What a series is expected to be, from what was metered of it until then.

All forecasters see the same: the values of the periods that are over when the forecast is made,
at gate closure, and, where somebody brings them, weather series that are known ahead. Where nothing
was metered yet nothing is expected.

persistence  the same time of the last day that is known
weekly       the same time a week ago; as persistence where that is not known
regression   least squares of the last four weeks on the last known day, the week ago, the mean
             of the last seven days and the weather; as weekly where less than a week can be learnt
             from
perfect      what will be: the yardstick that the others are measured by
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.community import CurtailableLoad, Load, Photovoltaic
from fairwatt.errors import ForecastError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fairwatt.community import Array, Asset, Community

    Index = NDArray[np.int64]

__all__ = ["FORECASTS", "Outlook", "expected"]

FORECASTS: Final = ("persistence", "weekly", "regression", "perfect")
_WEEK: Final = 7
_LEARNT_DAYS: Final = 28
_LEAST_LEARNT_DAYS: Final = 7
_RIDGE: Final = 1e-6
"""Of the mean square of the features: keeps series that never change from being singular."""
_UNCERTAIN: Final = (Load, CurtailableLoad, Photovoltaic)


@dataclass(frozen=True)
class Outlook:
    """How a forecast of a day is made.

    Parameters
    ----------
    name
        One of `FORECASTS`.
    day
        Periods of a day.
    ahead
        Periods from gate closure to the start of the day, which are not metered yet.
    weather
        Series that are known ahead, shape (series, periods).
    """

    name: str
    day: int
    ahead: int
    weather: Array | None = None

    def __post_init__(self) -> None:
        if self.name not in FORECASTS:
            raise ForecastError(
                f"there is no forecast {self.name!r}; there are {', '.join(FORECASTS)}"
            )
        if self.day < 1 or not 0 <= self.ahead <= self.day:
            raise ForecastError(f"{self.ahead} periods ahead of a day of {self.day} cannot be")

    def of(self, truth: Array, first: int, stop: int) -> Array:
        """Forecast periods of series that lie within one day.

        Parameters
        ----------
        truth
            What will have been metered, shape (series, periods); only what is over at gate closure
            is looked at, unless the forecast is perfect.
        first, stop
            The day's periods.
        """
        when = np.arange(first, stop, dtype=np.int64)
        if self.name == "perfect":
            return truth[:, first:stop].copy()
        known = max(first - self.ahead, 0)
        last_day = self._at(truth, when - self._lag(when, known))
        if self.name == "persistence":
            return last_day
        weekly = np.where(when >= _WEEK * self.day, self._at(truth, when - self._week), last_day)
        if self.name == "weekly":
            return weekly
        return self._regression(truth, when, known, weekly)

    @property
    def _week(self) -> int:
        return _WEEK * self.day

    def _lag(self, when: Index, known: int) -> Index:
        """The fewest whole days back to a period that is known."""
        lag: Index = np.maximum(-(-(when - known + 1) // self.day), 1) * self.day
        return lag

    @staticmethod
    def _at(truth: Array, periods: Index) -> Array:
        """Values of periods, 0 before the first."""
        return np.where(periods >= 0, truth[:, np.maximum(periods, 0)], 0.0)

    def _regression(self, truth: Array, when: Index, known: int, otherwise: Array) -> Array:
        oldest = (_WEEK + 1) * self.day  # the features of a learnt period reach back so far
        begin = max(known - _LEARNT_DAYS * self.day, oldest)
        if known - begin < _LEAST_LEARNT_DAYS * self.day:
            return otherwise
        # Learnt as it will be used: with the lag that a period of its time of day will have.
        lag = np.empty(self.day, np.int64)
        lag[when % self.day] = self._lag(when, known)
        learnt = np.arange(begin, known)
        features = self._features(truth, learnt, lag[learnt % self.day])
        target = truth[:, learnt]
        square = np.einsum("sfp,sgp->sfg", features, features)
        scale = np.einsum("sff->s", square) / square.shape[1]
        eye = np.eye(square.shape[1])
        ridge = (_RIDGE * scale + np.finfo(float).tiny)[:, None, None] * eye
        silent = scale == 0
        square[silent] = eye
        weights = np.linalg.solve(
            square + ridge, np.einsum("sfp,sp->sf", features, target)[..., None]
        )[..., 0]
        ahead = self._features(truth, when, lag[when % self.day])
        forecast: Array = np.maximum(np.einsum("sf,sfp->sp", weights, ahead), 0.0)
        return forecast

    def _features(self, truth: Array, when: Index, lag: Index) -> Array:
        """Shape (series, features, periods)."""
        last = when - lag
        days = [self._at(truth, last - back * self.day) for back in range(_WEEK)]
        columns = [days[0], self._at(truth, when - self._week), np.mean(days, axis=0)]
        columns.append(np.ones_like(columns[0]))
        if self.weather is not None:
            columns += [np.broadcast_to(row[when], columns[0].shape) for row in self.weather]
        return np.stack(columns, axis=1)


def expected(community: Community, outlook: Outlook, first: int) -> Community:
    """The community as it is expected to be, day by day from period `first` on.

    Loads and generation of the sun are expected; everything else is decided by its owner or known.
    What lies before `first`, and series that are one number for good, stay as they are.
    """
    truth = _series(community)
    if not truth.size:
        return community
    forecast = truth.copy()
    for start in range(first, community.horizon.periods, outlook.day):
        stop = min(start + outlook.day, community.horizon.periods)
        forecast[:, start:stop] = outlook.of(truth, start, stop)
    rows = iter(forecast)
    peers = tuple(
        replace(
            peer,
            assets=tuple(
                replace(asset, energy_kwh=next(rows)) if _is_uncertain(asset) else asset  # type: ignore[type-var]
                for asset in peer.assets
            ),
        )
        for peer in community.peers
    )
    return replace(community, peers=peers)


def _series(community: Community) -> Array:
    rows = [asset.energy_kwh for asset in _uncertain(community)]  # type: ignore[attr-defined]
    return np.array(rows, np.float64).reshape(len(rows), community.horizon.periods)


def _uncertain(community: Community) -> Iterator[Asset]:
    return (asset for peer in community.peers for asset in peer.assets if _is_uncertain(asset))


def _is_uncertain(asset: Asset) -> bool:
    return isinstance(asset, _UNCERTAIN) and np.ndim(asset.energy_kwh) > 0
