"""Price rules of an energy-sharing pool: what net positions cost when peers share what they have.

Every peer's net position is given; the rule only splits the money. In each period with total
deficit D and total surplus S of the peers, min(D, S) is exchanged inside the community, and what
is left is bought from or sold to each peer's own supplier (`Pool`):

* of every deficit the share min(D, S) / D is served inside, the rest at the peer's retail tariff;
* of every surplus the share min(D, S) / S is sold inside, the rest at the peer's feed-in tariff.

The *outside bill* of the community is the sum of what the peers' suppliers get for that, less what
they pay. With one tariff for all it is what a community with one meter and one contract would pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fairwatt.errors import MechanismError
from fairwatt.mechanisms._pool import Array, Pool, PoolResult, first, over_periods, place

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["alone", "bill_sharing", "mid_market_rate", "supply_demand_ratio"]


def alone(net_kwh: ArrayLike, buy_per_kwh: ArrayLike, sell_per_kwh: ArrayLike) -> PoolResult:
    """No community: each peer buys its deficit from and sells its surplus to its own supplier.

    Parameters
    ----------
    net_kwh
        Net position of each peer, kWh, shape (peers, periods): positive is a deficit (it buys),
        negative a surplus (it sells).
    buy_per_kwh, sell_per_kwh
        Retail and feed-in tariff, token/kWh: one number, shape (periods,) for all peers, or
        (peers, periods). Feed-in is never above retail.

    Raises
    ------
    MechanismError
        If a number is missing or not finite, a shape does not fit, or a peer's feed-in tariff is
        above its retail tariff; with the place, such as `net_kwh[2][17]` (peer 2, period 17).
    """
    pool = Pool.of(net_kwh, buy_per_kwh, sell_per_kwh)
    cost, income = pool.deficit * pool.retail, pool.surplus * pool.feed_in
    return PoolResult(
        bills=(cost - income).sum(axis=1),
        buy_per_kwh=pool.average(cost, pool.deficit, pool.retail.min(axis=0)),
        sell_per_kwh=pool.average(income, pool.surplus, pool.feed_in.max(axis=0)),
        import_kwh=pool.bought,
        export_kwh=pool.sold,
        outside_bill=float(cost.sum() - income.sum()),
        manager_surplus=0.0,
    )


def mid_market_rate(
    net_kwh: ArrayLike, buy_per_kwh: ArrayLike, sell_per_kwh: ArrayLike
) -> PoolResult:
    """Exchange inside at the middle of retail and feed-in tariff; the long side shares the rest.

    With retail r, feed-in f and the mid-market rate m = (r + f) / 2 of a period:

    * D = S: buyers pay m, sellers get m;
    * S > D: buyers pay m, sellers get (D m + (S - D) f) / S;
    * D > S: sellers get m, buyers pay (S m + (D - S) r) / D.

    C. Long, J. Wu, C. Zhang, L. Thomas, M. Cheng, N. Jenkins: Peer-to-peer energy trading in a
    community microgrid, IEEE PES General Meeting 2017.

    Where tariffs differ per peer, m is the middle of the lowest retail and the highest feed-in
    tariff among the peers, and the rest costs each peer what its own supplier asks.

    Parameters
    ----------
    net_kwh, buy_per_kwh, sell_per_kwh
        As `alone`.

    Raises
    ------
    MechanismError
        As `alone`, and if some peer's feed-in tariff is above another's retail tariff.
    """
    pool = Pool.of(net_kwh, buy_per_kwh, sell_per_kwh)
    retail, feed_in = pool.common_tariffs
    return _exchanged_at((retail + feed_in) / 2, pool)


def supply_demand_ratio(
    net_kwh: ArrayLike,
    buy_per_kwh: ArrayLike,
    sell_per_kwh: ArrayLike,
    *,
    compensation_per_kwh: ArrayLike = 0.0,
) -> PoolResult:
    """Let the price inside fall from retail to feed-in as supply grows from none to demand.

    With SDR = S / D, retail r, feed-in f and compensation c of a period, g = f + c:

    * SDR <= 1: sellers get P = g r / ((r - g) SDR + g), buyers pay P SDR + r (1 - SDR);
    * SDR >= 1: buyers pay g, sellers get f + c / SDR.

    N. Liu, X. Yu, C. Wang, C. Li, L. Ma, J. Lei: Energy-sharing model with price-based demand
    response for microgrids of peer-to-peer prosumers, IEEE Transactions on Power Systems 32, 2017,
    for c = 0: with a surplus everybody trades at the feed-in tariff, and buyers have all the gain.
    The compensation, which leaves sellers a part of it, is that of C. Long, J. Wu, Y. Zhou,
    N. Jenkins: Peer-to-peer energy sharing through a two-stage aggregated battery control in a
    community microgrid, Applied Energy 226, 2018.

    In both cases it is the energy exchanged inside that is paid at one price, P or g. Where tariffs
    differ per peer, r is the lowest retail and f the highest feed-in tariff among the peers, and
    the rest costs each peer what its own supplier asks.

    Parameters
    ----------
    net_kwh, buy_per_kwh, sell_per_kwh
        As `alone`; feed-in tariffs are not negative.
    compensation_per_kwh
        c, token/kWh, one number or shape (periods,), 0 to r - f.

    Raises
    ------
    MechanismError
        As `mid_market_rate`, and if a feed-in tariff is negative (the price is then no falling
        function of SDR) or the compensation is not within its range.
    """
    pool = Pool.of(net_kwh, buy_per_kwh, sell_per_kwh)
    retail, feed_in = pool.common_tariffs
    if (at := first(feed_in < 0)) is not None:
        raise MechanismError(
            "sell_per_kwh",
            f"the highest of all peers is {feed_in[at]:g} in period {at[0]}; the supply-demand "
            "ratio makes no price of a negative feed-in tariff",
        )
    compensation = over_periods("compensation_per_kwh", compensation_per_kwh, retail.size)
    most = retail - feed_in
    if (at := first((compensation < 0) | (compensation > most))) is not None:
        raise MechanismError(
            place("compensation_per_kwh", at),
            f"must be 0 to retail less feed-in, {most[at]:g}, not {compensation[at]:g}",
        )
    return _exchanged_at(_ratio_price(pool, retail, feed_in + compensation), pool)


def _ratio_price(pool: Pool, retail: Array, least: Array) -> Array:
    """P at min(SDR, 1), the share of deficits served inside; `least` (g) where that is 1."""
    scale = (retail - least) * pool.bought_inside + least
    # Both 0: least is 0 and nothing is supplied. No energy has that price, retail is the limit.
    return np.divide(least * retail, scale, out=retail.copy(), where=scale > 0)


def _exchanged_at(price: Array, pool: Pool) -> PoolResult:
    """Everybody pays or gets `price` for what is exchanged inside, and its supplier the rest."""
    cost = pool.deficit * pool.bought_inside * price + pool.import_cost
    income = pool.surplus * pool.sold_inside * price + pool.export_income
    return _result(
        pool,
        bills=(cost - income).sum(axis=1),
        buy=pool.average(cost, pool.deficit, price),
        sell=pool.average(income, pool.surplus, price),
    )


def bill_sharing(net_kwh: ArrayLike, buy_per_kwh: ArrayLike, sell_per_kwh: ArrayLike) -> PoolResult:
    """Share the community's bill over all periods: its costs by imports, its income by exports.

    What the community pays for imports is borne in proportion of each peer's deficits over all
    periods, what it gets for exports is shared in proportion of the surpluses:

        bill_i = imports * D_i / sum D - exports * S_i / sum S

    Long et al. 2017, as in `mid_market_rate`. What is exchanged inside is free, so who sells when
    others buy may be paid less than by its supplier: the rule is *not* individually rational.

    Parameters
    ----------
    net_kwh, buy_per_kwh, sell_per_kwh
        As `alone`. Where tariffs differ per peer, costs and income of all suppliers are added up
        before they are shared.

    Raises
    ------
    MechanismError
        As `alone`.
    """
    pool = Pool.of(net_kwh, buy_per_kwh, sell_per_kwh)
    buy, sell = (
        float(money.sum() / energy.sum()) if energy.any() else 0.0
        for money, energy in (
            (pool.import_cost, pool.deficit),
            (pool.export_income, pool.surplus),
        )
    )
    periods = pool.inside.size
    return _result(
        pool,
        bills=pool.deficit.sum(axis=1) * buy - pool.surplus.sum(axis=1) * sell,
        buy=np.full(periods, buy),
        sell=np.full(periods, sell),
    )


def _result(pool: Pool, *, bills: Array, buy: Array, sell: Array) -> PoolResult:
    """Complete the result of a rule that keeps nothing for the manager."""
    return PoolResult(
        bills=bills,
        buy_per_kwh=buy,
        sell_per_kwh=sell,
        import_kwh=pool.bought - pool.inside,
        export_kwh=pool.sold - pool.inside,
        outside_bill=pool.outside_bill,
        manager_surplus=0.0,
    )
