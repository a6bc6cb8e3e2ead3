"""How long something takes."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TooSlow", "fastest", "limited"]

_T = TypeVar("_T")
_LEAST, _MOST = 5, 200  # runs
_ENOUGH_S: Final = 0.5  # of runs
_LONG_S: Final = 1.0  # what takes longer is measured once


class TooSlow(Exception):  # noqa: N818 - says what happened
    """Something did not finish in time."""


def fastest(make: Callable[[], Callable[[], _T]]) -> tuple[float, _T]:
    """Time the best of several runs, in seconds; the first one warms up, unless it takes long.

    Parameters
    ----------
    make
        Makes the action of one run, ready to go; making it is not timed.
    """
    seconds, result = _timed(make())
    if seconds > _LONG_S:
        return seconds, result
    runs: list[float] = []
    while len(runs) < _LEAST or (sum(runs) < _ENOUGH_S and len(runs) < _MOST):
        seconds, result = _timed(make())
        runs.append(seconds)
    return min(runs), result


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop the Python code within after so many seconds.

    Raises
    ------
    TooSlow
        If it was stopped.
    """

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _timed(action: Callable[[], _T]) -> tuple[float, _T]:
    start = perf_counter()
    result = action()
    return perf_counter() - start, result
