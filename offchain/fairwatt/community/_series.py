"""Values over the periods of a horizon: given as one number or as many, kept as an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fairwatt.errors import CommunityError

__all__ = ["Array", "Series", "fraction", "number", "series"]

Array: TypeAlias = NDArray[np.float64]
Series: TypeAlias = float | Sequence[float] | Array
"""One value for every period, or one per period."""


def number(value: float, field: str, low: float = 0.0, high: float = float("inf")) -> float:
    """Require a finite number within bounds.

    Raises
    ------
    CommunityError
        With `field` as its path.
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise CommunityError(field, f"must be a number, not {value!r}") from None
    if not np.isfinite(result):
        raise CommunityError(field, f"must be a finite number, not {result}")
    if not low <= result <= high:
        raise CommunityError(field, f"must be {_range(low, high)}, not {result:g}")
    return result


def fraction(value: float, field: str) -> float:
    """Require an efficiency: more than 0, at most 1."""
    if number(value, field, high=1.0) == 0.0:
        raise CommunityError(field, "must be more than 0 and at most 1, not 0")
    return float(value)


def series(value: Series, field: str, low: float = 0.0, high: float = float("inf")) -> Array:
    """Require finite numbers within bounds; one number stays one, shape () or (periods,).

    Raises
    ------
    CommunityError
        With `field` and the first period at fault as its path.
    """
    try:
        values = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise CommunityError(field, "must be a number or one number per period") from None
    if values.ndim > 1:
        raise CommunityError(field, f"must have one axis, the periods, not {values.ndim}")
    wrong = ~(np.isfinite(values) & (values >= low) & (values <= high))
    if wrong.any():
        at = int(np.argmax(wrong))
        place = f"{field}[{at}]" if values.ndim else field
        worst = float(values[at] if values.ndim else values)
        if np.isnan(worst):
            raise CommunityError(place, "is missing (NaN)")
        raise CommunityError(place, f"must be {_range(low, high)}, not {worst:g}")
    values.flags.writeable = False
    return values


def over(values: Array, periods: int, field: str) -> Array:
    """Spread one number over all periods, or require as many as there are periods."""
    if values.ndim and values.size != periods:
        raise CommunityError(field, f"has {values.size} values for {periods} periods")
    return np.broadcast_to(values, (periods,))


def _range(low: float, high: float) -> str:
    if np.isinf(low):
        return "a finite number" if np.isinf(high) else f"at most {high:g}"
    return f"at least {low:g}" if np.isinf(high) else f"{low:g} to {high:g}"
