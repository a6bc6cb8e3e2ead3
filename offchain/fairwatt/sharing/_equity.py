"""How evenly amounts are spread over people: Gini coefficient, Jain index, least to most.

A peer may stand for several people (a home, an office): `population` counts them. A measure then
treats everybody behind a peer as having an equal part of its amount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fairwatt.errors import SharingError
from fairwatt.sharing._game import Amounts, amounts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["gini", "jain", "min_max"]


def gini(values: ArrayLike, population: ArrayLike | None = None) -> float:
    """Gini coefficient: the mean difference of two people, over twice the mean.

    G = sum_ij p_i p_j |y_i - y_j| / (2 P^2 mean(y)),   y = amount per head,  P = sum p

    0 if all have the same (also if nobody has anything), 1 - 1/P if one person has it all. Some
    amounts may be negative as long as the sum is positive; the coefficient may then exceed 1.

    Parameters
    ----------
    values
        Amount of each peer, such as its gain in token, shape (peers,).
    population
        People behind each peer, > 0; one each if not given.

    Raises
    ------
    SharingError
        If a number is missing or out of range, or the sum is not positive and not all are zero.
    """
    heads, people = _per_head(values, population)
    if not heads.any():
        return 0.0
    total = float(heads @ people)
    if total <= 0:
        raise SharingError(
            f"no Gini coefficient: the amounts sum to {total:g}, which is not positive"
        )
    order = np.argsort(heads)
    heads, people = heads[order], people[order]
    upto = np.cumsum(people)
    # In rising order, each person is above all before and below all after.
    above = 2 * upto - people - upto[-1]
    return float(max(0.0, (people * above) @ heads / (upto[-1] * total)))


def jain(values: ArrayLike, population: ArrayLike | None = None) -> float:
    """Jain's index: (sum p y)^2 / (P sum p y^2), y = amount per head.

    1 if all have the same (also if nobody has anything), 1/P if one person has it all. Jain, Chiu
    and Hawe (1984), A quantitative measure of fairness, DEC TR-301. Parameters as for `gini`.

    Raises
    ------
    SharingError
        If a number is missing or out of range.
    """
    heads, people = _per_head(values, population)
    largest = np.abs(heads).max()
    if largest == 0:
        return 1.0
    heads = heads / largest  # squares of very small or large amounts leave the range of floats
    return float((heads @ people) ** 2 / (people.sum() * (heads**2 @ people)))


def min_max(values: ArrayLike, population: ArrayLike | None = None) -> float:
    """Least amount per head over the largest: 1 if all have the same, 0 if somebody has nothing.

    Negative if somebody has less than nothing. Parameters as for `gini`.

    Raises
    ------
    SharingError
        If a number is missing or out of range, or nobody has a positive amount and not all are
        zero.
    """
    heads, _ = _per_head(values, population)
    if not heads.any():
        return 1.0
    if heads.max() <= 0:
        raise SharingError("no ratio of least to most: nobody has a positive amount")
    return float(heads.min() / heads.max())


def _per_head(values: ArrayLike, population: ArrayLike | None) -> tuple[Amounts, Amounts]:
    each = amounts("values", values)
    if not each.size:
        raise SharingError("values: must have at least one amount")
    people = np.ones(each.size) if population is None else amounts("population", population)
    if people.shape != each.shape:
        raise SharingError(f"population: has {people.size} numbers for {each.size} peers")
    if (people <= 0).any():
        at = int(np.argmax(people <= 0))
        raise SharingError(f"population[{at}]: must be above 0, not {people[at]:g}")
    return each / people, people
