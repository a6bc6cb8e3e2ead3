"""From a community to agents, and from their answers to what everybody trades."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from fairwatt.consensus._agents import NetworkAgent, PeerAgent, own_affairs
from fairwatt.consensus._manager import CommunityManager, PublicPrices
from fairwatt.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairwatt.community import Community
    from fairwatt.consensus._agents import Agent
    from fairwatt.consensus._manager import Round, Settings
    from fairwatt.consensus._proximal import Array

__all__ = ["Consensus", "agree"]


@dataclass(frozen=True, eq=False)
class Consensus:
    """What peers agreed on, and how.

    Attributes
    ----------
    community
        Who they are.
    injection_kwh
        Sold less bought on the community's market, shape (peers, periods).
    flows_kwh
        Over links, shape (links, periods).
    price_per_kwh
        Token/kWh, shape (nodes, periods); not a number where nobody is connected.
    costs
        What peers say their answers cost, without payments on the market, token, shape (peers,);
        with preferences, as in the objective of a plan.
    network_cost
        Tariffs of links, token.
    imbalance_kwh
        Offered less wanted, what is left of it, shape (nodes, periods).
    imbalance_cost
        Of settling it: what is missing at the highest retail tariff, what is left at the lowest
        feed-in tariff, or at the price where that is worse; token.
    objective
        Sum of these costs, token.
    gap
        The objective is no more than this above the optimum, proved by the peers' own accounts;
        token.
    converged
        Whether the gap is as small as was asked for. If not, this is a state, not a result.
    primal_residual_kwh, dual_residual_per_kwh, penalty
        Of every round, shape (iterations,).
    seconds
        Wall time.
    """

    community: Community
    injection_kwh: Array
    flows_kwh: Array
    price_per_kwh: Array
    costs: Array
    network_cost: float
    imbalance_kwh: Array
    imbalance_cost: float
    objective: float
    gap: float
    converged: bool
    primal_residual_kwh: Array
    dual_residual_per_kwh: Array
    penalty: Array
    seconds: float

    @property
    def iterations(self) -> int:
        """Rounds of messages."""
        return self.primal_residual_kwh.size

    @property
    def lower_bound(self) -> float:
        """No plan costs less, token."""
        return self.objective - self.gap

    @property
    def buy_kwh(self) -> Array:
        """On the community's market, shape (peers, periods)."""
        return np.maximum(-self.injection_kwh, 0.0)

    @property
    def sell_kwh(self) -> Array:
        """On the community's market, shape (peers, periods)."""
        return np.maximum(self.injection_kwh, 0.0)


def agree(
    community: Community,
    *,
    settings: Settings | None = None,
    progress: Callable[[int, Round], None] | None = None,
) -> Consensus:
    """Let the peers of a community agree on prices.

    Every peer becomes an agent that knows `own_affairs` only; the network's operator is one more.

    Parameters
    ----------
    progress
        Called after every round; what it raises ends the search.

    Raises
    ------
    PlanInfeasible, ConsensusError
        If somebody cannot keep its own rules, whatever the prices. That a community as a whole
        cannot be served shows as a result that did not converge.
    """
    start = perf_counter()
    network, periods = community.network, community.horizon.periods
    agents: list[Agent] = [
        PeerAgent(own_affairs(community, peer)) for peer in range(len(community.peers))
    ]
    operator = NetworkAgent(network, periods) if network.links else None
    if operator is not None:
        agents.append(operator)
    manager = CommunityManager(agents, network.nodes, periods, _public(community), settings)
    proof, converged = manager.seek(progress)
    peers = len(community.peers)
    answers = manager.answers_kwh[:peers]
    price = manager.price_per_kwh.copy()
    price[~manager.connected] = np.nan
    return Consensus(
        community=community,
        injection_kwh=np.concatenate([np.zeros((0, periods)), *answers]),
        flows_kwh=np.zeros((0, periods)) if operator is None else operator.flows_kwh,
        price_per_kwh=price,
        costs=proof.costs[:peers],
        network_cost=float(proof.costs[peers:].sum()),
        imbalance_kwh=manager.imbalance_kwh(),
        imbalance_cost=proof.imbalance_cost,
        objective=proof.objective,
        gap=proof.gap,
        converged=converged,
        primal_residual_kwh=np.array([each.primal_residual_kwh for each in manager.rounds]),
        dual_residual_per_kwh=np.array([each.dual_residual_per_kwh for each in manager.rounds]),
        penalty=np.array([each.penalty for each in manager.rounds]),
        seconds=perf_counter() - start,
    )


def _public(community: Community) -> PublicPrices:
    """Tariffs of all suppliers; where there is none, the price bounds of the market."""
    periods = community.horizon.periods
    if not community.suppliers:
        network = community.network
        return PublicPrices(
            np.full(periods, network.price_cap_micro_per_kwh / MICRO),
            np.full(periods, network.price_floor_micro_per_kwh / MICRO),
        )
    return PublicPrices(
        np.max([each.retail(periods) for each in community.suppliers], axis=0),
        np.min([each.feed_in(periods) for each in community.suppliers], axis=0),
    )
