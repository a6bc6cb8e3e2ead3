"""Columns of exact whole numbers: how they enter, and sums of products that cannot overflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairwatt.errors import FairwattError

__all__ = ["Column", "Complaint", "column", "dot", "is_whole", "products", "text_problem"]

Column = NDArray[np.int64]
Complaint = Callable[[int | None, str], FairwattError]
"""Makes the error for the entry at a position, or for the whole column (None)."""

_INT64 = 2**63


def is_whole(value: object) -> bool:
    """Whether `value` is an integer in type as well as in value (True and 1.0 are not)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def text_problem(value: object) -> str | None:
    """Say what keeps `value` from being a name, or None."""
    if not isinstance(value, str):
        return f"must be a string, not {value!r}"
    if not value:
        return "must not be empty"
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        return f"must be valid Unicode, {value!r} has a lone surrogate"
    return None


def column(
    values: Iterable[Any], complain: Complaint, low: int = -_INT64, high: int = _INT64 - 1
) -> Column:
    """Copy `values`, all whole numbers in low..high, into a read-only int64 array.

    Raises what `complain` makes of the first entry that is not.
    """
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise complain(None, f"must have one dimension, not {values.ndim}")
        if values.size and values.dtype.kind not in "iu":
            raise complain(None, f"must hold whole numbers, not {values.dtype}")
        any_will_do = values.dtype == np.int64 and high - low == 2 * _INT64 - 1
        if values.size and not any_will_do and not low <= values.min() <= values.max() <= high:
            at = int(((values < low) | (values > high)).argmax())
            raise complain(at, _range_problem(values[at], low, high))
        numbers = values.astype(np.int64)
    else:
        items = list(values)
        if set(map(type, items)) - {int}:
            for at, item in enumerate(items):
                if not is_whole(item):
                    raise complain(at, f"must be a whole number, not {item!r}")
            items = [int(item) for item in items]
        if items and not low <= min(items) <= max(items) <= high:
            at = next(at for at, item in enumerate(items) if not low <= item <= high)
            raise complain(at, _range_problem(items[at], low, high))
        numbers = np.array(items, dtype=np.int64)
    numbers.flags.writeable = False
    return numbers


def dot(factors: Column, quantities: Column) -> int:
    """Sum products exactly, also where they leave int64.

    Parameters
    ----------
    factors, quantities
        Columns of the same length; the quantities sum to less than 2^63 in absolute value.
    """
    if not factors.size:
        return 0
    if _largest(factors) * int(np.abs(quantities).sum()) < _INT64:
        return int(factors @ quantities)
    return sum(map(mul, factors.tolist(), quantities.tolist()))


def products(factors: Column, quantities: Column) -> list[int]:
    """Multiply entry by entry, exactly."""
    if not factors.size or _largest(factors) * _largest(quantities) < _INT64:
        return (factors * quantities).tolist()  # type: ignore[no-any-return]
    return list(map(mul, factors.tolist(), quantities.tolist()))


def _largest(numbers: Column) -> int:
    return max(abs(int(numbers.min())), abs(int(numbers.max())))


def _range_problem(value: object, low: int, high: int) -> str:
    return f"{value} is out of range, must be {low} to {high}"
