"""What orders of the same node, side and limit price do with a fill that is not enough for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairwatt.market._columns import Column

__all__ = ["share"]


def share(filled: int, lines: Column, energy_wh: Column, ids: Sequence[str]) -> Column:
    """Share `filled` in proportion to energy, remainders in the order of the ids.

    What is owed up to each order is rounded down, and an order gets the difference.

    Parameters
    ----------
    filled
        Wh, at most the energy of all of them together.
    lines
        Which orders of the book they are, in any sequence.
    energy_wh, ids
        Of all orders of the book.

    Returns
    -------
    Column
        Fill of each of `lines`, Wh.
    """
    names = [ids[line] for line in lines.tolist()]
    by_id = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    running = np.cumsum(energy_wh[lines[by_id]])
    total = int(running[-1])
    if filled * total < 2**63:
        owed = running * filled // total
    else:
        owed = np.array([upto * filled // total for upto in running.tolist()], np.int64)
    fills: Column = np.empty_like(owed)
    fills[by_id] = np.diff(owed, prepend=0)
    return fills
