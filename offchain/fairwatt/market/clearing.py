"""The result of a market period: fills, flows, prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fairwatt.errors import ClearingError
from fairwatt.market._columns import Column, Complaint, column

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Clearing"]


@dataclass(frozen=True, eq=False)
class Clearing:
    """What everybody trades and at what price; a claim until `proof.check` accepts it.

    Any whole numbers are taken here, from any sequence; they are kept as read-only int64.

    Attributes
    ----------
    fills_wh
        Energy traded by each order, shape (orders,).
    flows_wh
        Energy carried by each link, shape (links,).
    prices_micro_per_kwh
        Price at each node, shape (nodes,).

    Raises
    ------
    ClearingError
        If an entry is not a whole number.
    """

    fills_wh: Column
    flows_wh: Column
    prices_micro_per_kwh: Column

    def __init__(
        self,
        fills_wh: Iterable[int] | Column,
        flows_wh: Iterable[int] | Column,
        prices_micro_per_kwh: Iterable[int] | Column,
    ) -> None:
        put = object.__setattr__
        put(self, "fills_wh", column(fills_wh, _complaint("fillsWh")))
        put(self, "flows_wh", column(flows_wh, _complaint("flowsWh")))
        put(
            self,
            "prices_micro_per_kwh",
            column(prices_micro_per_kwh, _complaint("pricesMicroPerKWh")),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Clearing):
            return NotImplemented
        return (
            np.array_equal(self.fills_wh, other.fills_wh)
            and np.array_equal(self.flows_wh, other.flows_wh)
            and np.array_equal(self.prices_micro_per_kwh, other.prices_micro_per_kwh)
        )

    __hash__ = None  # type: ignore[assignment]


def _complaint(field: str) -> Complaint:
    def complain(at: int | None, problem: str) -> ClearingError:
        return ClearingError(field if at is None else f"{field}[{at}]", problem)

    return complain
