"""FleXunity, deliverable D3.1 (2020), section 4.1: a community behind one manager, eqs. 3a-3g.

    minimise   sum_n C_n(p_n, q_n, alpha_n, beta_n) + G(q_imp, q_exp)              (3a)
    subject to p_n + q_n + alpha_n + beta_n = 0      every peer                    (3b)
               sum_n q_n = 0                                                       (3c)
               sum_n alpha_n = q_imp                                               (3d)
               sum_n beta_n = q_exp                                                (3e)
               least_n <= p_n <= most_n              every peer                    (3f)
               p_n, q_n, alpha_n, beta_n real                                      (3g)

    with       C_n = a_n p_n^2 + b_n p_n + phi_com |q_n| + delta_imp_n alpha_n - delta_exp_n beta_n

after Moret and Pinson, "Energy collectives", 2019. Each equation holds in every period.

Where the report is silent or at odds with itself, this is what is taken:

* *Signs.* The report wants q_n positive where a peer gives, as p_n is. Balance 3b then could not
  hold for a peer that sells what it generates. Taken is 3b: all four are what the peer is supplied
  with, q_n > 0 is bought in the community, alpha_n >= 0 imported, beta_n <= 0 exported. Without
  these two signs, 3g leaves imports and exports of any size that cancel each other.
* *G* is left open. Taken is a price per kWh for each direction: `External.tariff` for retail and
  feed-in tariffs, `External.day_ahead` for a market price with fees on top.
* |q_n| is the sum of a bought and a sold part, which is exact because phi_com is not negative.
* The price of the community is the dual of 3c, what a kWh more in the community would be worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyomo.environ as pyo

from fairwatt.errors import CommunityError
from fairwatt.models import _solving
from fairwatt.models._agents import Agent, cost, finite, number, over, require_agents, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairwatt.models._agents import Array, Series

__all__ = ["Dispatch", "External", "Peer", "community_model", "solve"]


@dataclass(frozen=True, eq=False)
class Peer(Agent):
    """A member of the community.

    Parameters
    ----------
    import_preference_per_kwh, export_preference_per_kwh
        delta_imp, delta_exp: what a kWh imported or exported is disliked by, token/kWh.
    """

    import_preference_per_kwh: float = 0.0
    export_preference_per_kwh: float = 0.0

    def __post_init__(self) -> None:
        Agent.__post_init__(self)
        for field in ("import_preference_per_kwh", "export_preference_per_kwh"):
            path = f"agents[{self.name!r}].{field}"
            object.__setattr__(self, field, number(getattr(self, field), path))


@dataclass(frozen=True, eq=False)
class External:
    """G of 3a: G(q_imp, q_exp) = import_price q_imp + export_price q_exp, with q_exp <= 0.

    Parameters
    ----------
    import_per_kwh, export_per_kwh
        What is paid for imports, and paid out for exports, token/kWh, one number or one per period.
    """

    import_per_kwh: Series
    export_per_kwh: Series

    def __post_init__(self) -> None:
        for field in ("import_per_kwh", "export_per_kwh"):
            object.__setattr__(self, field, finite(getattr(self, field), f"external.{field}"))

    @classmethod
    def tariff(cls, retail_per_kwh: Series, feed_in_per_kwh: Series) -> External:
        """Tariffs of a supplier."""
        return cls(retail_per_kwh, feed_in_per_kwh)

    @classmethod
    def day_ahead(
        cls, price_per_kwh: Series, import_fee_per_kwh: float = 0.0, export_fee_per_kwh: float = 0.0
    ) -> External:
        """Prices of a day-ahead market, with what the way to it costs."""
        price = finite(price_per_kwh, "external.price_per_kwh")
        return cls(price + import_fee_per_kwh, price - export_fee_per_kwh)


@dataclass(frozen=True, eq=False)
class Dispatch:
    """An optimum.

    Attributes
    ----------
    objective
        3a, token.
    generation_kwh, bought_kwh, import_kwh, export_kwh
        p_n, q_n, alpha_n and -beta_n, shape (peers, periods).
    price_per_kwh
        Of the community, from the dual of 3c, shape (periods,).
    peer_price_per_kwh
        What a kWh is worth at a peer, from the duals of 3b, shape (peers, periods): within phi_com
        of the price of the community.
    """

    objective: float
    generation_kwh: Array
    bought_kwh: Array
    import_kwh: Array
    export_kwh: Array
    price_per_kwh: Array
    peer_price_per_kwh: Array


def solve(
    peers: Sequence[Peer],
    external: External,
    *,
    fee_per_kwh: float = 0.0,
    periods: int = 1,
    time_limit_s: float | None = None,
) -> Dispatch:
    """Solve eqs. 3a-3g; parameters as `community_model`.

    Raises
    ------
    CommunityError, ModelNotConvex
        If the data make no sense, or a cost is not convex.
    ModelInfeasible, ModelTimeLimit
        If there is no optimum, or none in time.
    """
    m = community_model(peers, external, fee_per_kwh=fee_per_kwh, periods=periods)
    optimum = _solving.solve(m, duals=[m.eq_3b, m.eq_3c], time_limit_s=time_limit_s)
    size = len(peers), periods
    # A kWh on the right side of 3c is a gift to the community; on that of 3b the peer needs it.
    return Dispatch(
        optimum.objective,
        table(m.p, *size),
        table(m.bought, *size) - table(m.sold, *size),
        table(m.alpha, *size),
        -table(m.beta, *size),
        np.array([-optimum.dual(m.eq_3c[t]) for t in m.periods]),
        table(optimum.duals(m.eq_3b), *size),
    )


def community_model(
    peers: Sequence[Peer], external: External, *, fee_per_kwh: float = 0.0, periods: int = 1
) -> pyo.ConcreteModel:
    """State eqs. 3a-3g.

    Parameters
    ----------
    peers
        n of the equations.
    external
        G.
    fee_per_kwh
        phi_com, token/kWh on what each side trades in the community, >= 0.
    periods
        How many; series of peers and of `external` have one value each, or one for all.

    Raises
    ------
    CommunityError
        If the data make no sense; among them exports that pay more than imports cost.
    """
    require_agents(peers, periods)
    m = pyo.ConcreteModel("FleXunity community")
    m.members, m.peers, m.periods = tuple(peers), range(len(peers)), range(periods)
    m.phi = number(fee_per_kwh, "fee_per_kwh", 0.0)
    m.import_price = over(external.import_per_kwh, periods, "external.import_per_kwh").tolist()
    m.export_price = over(external.export_per_kwh, periods, "external.export_per_kwh").tolist()
    _require_no_loop(m)
    m.p = pyo.Var(m.peers, m.periods, bounds=eq_3f)
    m.bought = pyo.Var(m.peers, m.periods, within=pyo.NonNegativeReals)
    m.sold = pyo.Var(m.peers, m.periods, within=pyo.NonNegativeReals)
    m.alpha = pyo.Var(m.peers, m.periods, within=pyo.NonNegativeReals)
    m.beta = pyo.Var(m.peers, m.periods, within=pyo.NonPositiveReals)
    m.q_imp = pyo.Var(m.periods)
    m.q_exp = pyo.Var(m.periods)
    m.eq_3a = pyo.Objective(rule=eq_3a, sense=pyo.minimize)
    m.eq_3b = pyo.Constraint(m.peers, m.periods, rule=eq_3b)
    m.eq_3c = pyo.Constraint(m.periods, rule=eq_3c)
    m.eq_3d = pyo.Constraint(m.periods, rule=eq_3d)
    m.eq_3e = pyo.Constraint(m.periods, rule=eq_3e)
    return m


def eq_3a(m: Any) -> Any:
    """Eq. 3a: sum_n C_n + G."""
    costs = (peer_cost(m, n, t) for n in m.peers for t in m.periods)
    return pyo.quicksum(costs) + pyo.quicksum(external_cost(m, t) for t in m.periods)


def peer_cost(m: Any, n: int, t: int) -> Any:
    """C_n = a p^2 + b p + phi_com |q| + delta_imp alpha - delta_exp beta."""
    peer = m.members[n]
    a, b = cost(peer, len(m.periods))[t]
    own = b * m.p[n, t] + (a * m.p[n, t] ** 2 if a else 0.0)
    traded = m.phi * (m.bought[n, t] + m.sold[n, t])
    imports = peer.import_preference_per_kwh * m.alpha[n, t]
    exports = peer.export_preference_per_kwh * m.beta[n, t]
    return own + traded + imports - exports


def external_cost(m: Any, t: int) -> Any:
    """G = import_price q_imp + export_price q_exp, the latter negative."""
    return m.import_price[t] * m.q_imp[t] + m.export_price[t] * m.q_exp[t]


def eq_3b(m: Any, n: int, t: int) -> Any:
    """Eq. 3b: p_n + q_n + alpha_n + beta_n = 0, with q_n = bought - sold."""
    q = m.bought[n, t] - m.sold[n, t]
    return m.p[n, t] + q + m.alpha[n, t] + m.beta[n, t] == 0


def eq_3c(m: Any, t: int) -> Any:
    """Eq. 3c: sum_n q_n = 0."""
    return pyo.quicksum(m.bought[n, t] - m.sold[n, t] for n in m.peers) == 0


def eq_3d(m: Any, t: int) -> Any:
    """Eq. 3d: sum_n alpha_n = q_imp."""
    return pyo.quicksum(m.alpha[n, t] for n in m.peers) == m.q_imp[t]


def eq_3e(m: Any, t: int) -> Any:
    """Eq. 3e: sum_n beta_n = q_exp."""
    return pyo.quicksum(m.beta[n, t] for n in m.peers) == m.q_exp[t]


def eq_3f(m: Any, n: int, t: int) -> tuple[float, float]:
    """Eq. 3f: least_n <= p_n <= most_n."""
    peer, periods = m.members[n], len(m.periods)
    return (
        float(over(peer.least_kwh, periods, "least_kwh")[t]),
        float(over(peer.most_kwh, periods, "most_kwh")[t]),
    )


def _require_no_loop(m: Any) -> None:
    """Require that nobody earns by importing to export: 3a would have no bound."""
    imports = [peer.import_preference_per_kwh for peer in m.members]
    exports = [peer.export_preference_per_kwh for peer in m.members]
    own = min(map(sum, zip(imports, exports, strict=True)))
    way = min(own, 2 * m.phi + min(imports) + min(exports))
    for t in m.periods:
        if m.import_price[t] + way < m.export_price[t]:
            raise CommunityError(
                f"external.export_per_kwh[{t}]",
                f"{m.export_price[t]:g} is above {m.import_price[t]:g} for imports and {way:g} for "
                "fee and preferences: importing to export would pay without bound",
            )
