"""Net positions and tariffs of an energy-sharing pool, checked; and what it does outside.

Where the long side of a period cannot be served inside, everybody on it deals with their own
supplier for the same share of their position: nobody is served first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairwatt.errors import MechanismError

__all__ = ["Array", "Pool", "PoolResult", "finite", "first", "over_periods", "place"]

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PoolResult:
    """What a price rule makes of the positions of a community.

    The bills sum to `outside_bill` + `manager_surplus`.

    Attributes
    ----------
    bills
        What each peer pays over all periods, token, shape (peers,); negative: it is paid.
    buy_per_kwh
        What a kWh of deficit costs on average in each period, token/kWh, shape (periods,). Where
        nobody has a deficit, what the first kWh would cost.
    sell_per_kwh
        What a kWh of surplus is paid, likewise.
    import_kwh, export_kwh
        What the community buys from and sells to suppliers, kWh, shape (periods,).
    outside_bill
        What suppliers are paid for it, less what they pay, token.
    manager_surplus
        What the rule leaves to the community manager, token.
    """

    bills: Array
    buy_per_kwh: Array
    sell_per_kwh: Array
    import_kwh: Array
    export_kwh: Array
    outside_bill: float
    manager_surplus: float


@dataclass(frozen=True, eq=False)
class Pool:
    """Checked input of the price rules. Build it with `of`.

    Attributes
    ----------
    deficit, surplus
        kWh, shape (peers, periods); never both more than 0.
    retail, feed_in
        Each peer's tariffs, token/kWh, shape (peers, periods).
    """

    deficit: Array
    surplus: Array
    retail: Array
    feed_in: Array

    @classmethod
    def of(cls, net_kwh: ArrayLike, buy_per_kwh: ArrayLike, sell_per_kwh: ArrayLike) -> Pool:
        """Check positions (deficit positive) and tariffs.

        Raises
        ------
        MechanismError
            With the first entry at fault as its path.
        """
        net = finite("net_kwh", net_kwh)
        if net.ndim != 2 or not net.size:
            raise MechanismError(
                "net_kwh", f"must have shape (peers, periods), none of them 0, not {net.shape}"
            )
        retail = _tariff("buy_per_kwh", buy_per_kwh, net.shape)
        feed_in = _tariff("sell_per_kwh", sell_per_kwh, net.shape)
        if (at := first(feed_in > retail)) is not None:
            raise MechanismError(
                place("sell_per_kwh", at),
                f"peer {at[0]} would be paid {feed_in[at]:g} in period {at[1]} and pay "
                f"{retail[at]:g}: buying to sell would pay; feed-in must not be above retail",
            )
        return cls(np.maximum(net, 0.0), np.maximum(-net, 0.0), retail, feed_in)

    @cached_property
    def bought(self) -> Array:
        """Deficits of all peers, kWh, shape (periods,)."""
        total: Array = self.deficit.sum(axis=0)
        return total

    @cached_property
    def sold(self) -> Array:
        """Surpluses of all peers, kWh, shape (periods,)."""
        total: Array = self.surplus.sum(axis=0)
        return total

    @cached_property
    def inside(self) -> Array:
        """What deficits take from surpluses, kWh, shape (periods,)."""
        return np.minimum(self.bought, self.sold)

    @cached_property
    def bought_inside(self) -> Array:
        """Share of every deficit that is served inside, shape (periods,); 1 if there is none."""
        return _ratio(self.inside, self.bought, empty=1.0)

    @cached_property
    def sold_inside(self) -> Array:
        """Share of every surplus that is sold inside, shape (periods,); 1 if there is none."""
        return _ratio(self.inside, self.sold, empty=1.0)

    @cached_property
    def import_cost(self) -> Array:
        """What each peer's supplier gets for what is not served inside, shape (peers, periods)."""
        return self.deficit * (1 - self.bought_inside) * self.retail

    @cached_property
    def export_income(self) -> Array:
        """What each peer's supplier pays for what is not sold inside, shape (peers, periods)."""
        return self.surplus * (1 - self.sold_inside) * self.feed_in

    @cached_property
    def outside_bill(self) -> float:
        """What all suppliers get, less what they pay, token."""
        return float(self.import_cost.sum() - self.export_income.sum())

    @cached_property
    def common_tariffs(self) -> tuple[Array, Array]:
        """Lowest retail and highest feed-in tariff among the peers, each of shape (periods,).

        A price between the two is no worse than their own supplier for anybody.

        Raises
        ------
        MechanismError
            If there is no price between the two, naming the peers.
        """
        retail, feed_in = self.retail.min(axis=0), self.feed_in.max(axis=0)
        if (at := first(feed_in > retail)) is not None:
            seller = int(self.feed_in[:, at[0]].argmax())
            buyer = int(self.retail[:, at[0]].argmin())
            raise MechanismError(
                place("sell_per_kwh", (seller, at[0])),
                f"peer {seller}'s supplier pays {feed_in[at]:g} in period {at[0]}, more than peer "
                f"{buyer}'s asks ({retail[at]:g}): no price inside would suit both",
            )
        return retail, feed_in

    def average(self, payments: Array, energy: Array, otherwise: Array) -> Array:
        """Tokens per kWh over the peers, shape (periods,); `otherwise` where no energy is."""
        return np.where(
            energy.sum(axis=0) > 0, _ratio(payments.sum(axis=0), energy.sum(axis=0), 0.0), otherwise
        )


def finite(field: str, values: ArrayLike) -> Array:
    """Read numbers, all of them finite.

    Raises
    ------
    MechanismError
        That names `field` and the place in it.
    """
    try:
        result = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise MechanismError(field, "must be an array of numbers") from None
    if (at := first(~np.isfinite(result))) is not None:
        number = result[at]
        problem = "is missing (NaN)" if np.isnan(number) else f"must be finite, not {number:g}"
        raise MechanismError(place(field, at), problem)
    return result


def over_periods(field: str, values: ArrayLike, periods: int) -> Array:
    """Read one number, or one per period.

    Raises
    ------
    MechanismError
        If it is of another shape.
    """
    result = finite(field, values)
    if result.shape not in {(), (periods,)}:
        raise MechanismError(
            field, f"has shape {result.shape}, expected ({periods},): one a period"
        )
    return np.broadcast_to(result, (periods,))


def first(wrong: NDArray[np.bool_]) -> tuple[int, ...] | None:
    """Place of the first True."""
    if not wrong.any():
        return None
    return tuple(int(at) for at in np.unravel_index(int(wrong.argmax()), wrong.shape))


def place(field: str, at: tuple[int, ...]) -> str:
    """Write the place as in `net_kwh[2][17]`: of peer 2, in period 17, counted from 0."""
    return field + "".join(f"[{index}]" for index in at)


def _tariff(field: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
    tariff = finite(field, values)
    if tariff.shape not in {(), shape[1:], shape}:
        raise MechanismError(
            field,
            f"has shape {tariff.shape}, expected ({shape[1]},) for all peers or {shape} for each",
        )
    return np.broadcast_to(tariff, shape)


def _ratio(part: Array, whole: Array, empty: float) -> Array:
    return np.divide(part, whole, out=np.full(whole.shape, empty), where=whole > 0)
