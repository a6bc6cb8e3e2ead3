"""The community manager: it moves prices until what is offered at every node is what is wanted.

Exchange ADMM (Boyd, Parikh, Chu, Peleato and Eckstein 2011, section 7.3.2) with one price per node
and period, penalties weighted by the size of agents, over-relaxation (3.4.3) and a penalty that is
adapted to balance the residuals (3.4.1). In a round k every agent i answers

    q_i = argmin  f_i(q) - price . q + rho / (2 w_i) |q - z_i|^2

and with the relaxed answers v_i = a q_i + (1 - a) z_i the manager updates, node by node,

    surplus = sum_i v_i / sum_i w_i,    z_i <- v_i - w_i surplus,    price <- price - rho surplus

A community manager sees answers and sizes. Costs, assets and preferences never reach this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.consensus._agents import Signal
from fairwatt.errors import ConsensusError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fairwatt.consensus._agents import Agent
    from fairwatt.consensus._proximal import Array

__all__ = ["CommunityManager", "Proof", "PublicPrices", "Round", "Settings"]

_PROVE_EVERY: Final = 10
_UNBALANCED: Final = 4.0
"""Relative residuals further apart than this change the penalty."""
_LEAST_KWH: Final = 1e-4
_LEAST_PER_KWH: Final = 1e-6
"""Residuals per entry that always are small: a tenth of a Wh, and the market's unit of prices."""
_LEAST_TARIFF_PER_KWH: Final = 0.01
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Settings:
    """How prices are sought.

    Parameters
    ----------
    gap
        Largest distance to the optimum, as a part of the cost; 0.001 is 0.1 %.
    least_gap
        Distance that always is small enough, token; for costs near zero.
    residual
        Largest primal and dual residual, as a part of traded energy and of prices.
    rounds
        After which to give up.
    relaxation
        a above, from 1 to less than 2.
    penalty
        First rho, as a part of the one that fits prices to sizes; it is adapted.
    adapt_every
        Rounds from one look at the penalty to the next, in the first half of them; a penalty that
        never settled would leave nothing proved about convergence.
    """

    gap: float = 1e-3
    least_gap: float = 1e-4
    residual: float = 1e-3
    rounds: int = 5000
    relaxation: float = 1.5
    penalty: float = 1.0
    adapt_every: int = 10

    def __post_init__(self) -> None:
        for name in ("gap", "least_gap", "residual", "rounds", "penalty", "adapt_every"):
            if not getattr(self, name) > 0:
                raise ConsensusError(f"{name} must be more than 0, not {getattr(self, name):g}")
        if not 1 <= self.relaxation < 2:
            raise ConsensusError(
                f"relaxation must be at least 1 and less than 2, not {self.relaxation:g}"
            )


@dataclass(frozen=True, eq=False)
class PublicPrices:
    """What suppliers publish: bounds of what energy costs outside, token/kWh, shape (periods,).

    The manager starts between them, and settles by them what does not balance in the end.
    """

    highest_retail: Array
    lowest_feed_in: Array


@dataclass(frozen=True, slots=True)
class Round:
    """One exchange of messages.

    Attributes
    ----------
    primal_residual_kwh
        Norm over nodes and periods of what is offered less what is wanted.
    dual_residual_per_kwh
        Norm over agents and periods of the change of targets times rho / w_i; token/kWh.
    penalty
        rho.
    """

    primal_residual_kwh: float
    dual_residual_per_kwh: float
    penalty: float


@dataclass(frozen=True, eq=False)
class Proof:
    """How far the answers are from the optimum at most.

    Attributes
    ----------
    costs
        Of every agent, token.
    imbalance_cost
        Of settling with suppliers what does not balance, token.
    gap
        Sum of regrets, and of what settling costs beyond the prices, token.
    """

    costs: Array
    imbalance_cost: float
    gap: float

    @property
    def objective(self) -> float:
        """Cost of all, token."""
        return float(self.costs.sum()) + self.imbalance_cost


class CommunityManager:
    """Coordinates agents by prices.

    Parameters
    ----------
    agents
        Who takes part.
    nodes
        Of the network.
    periods
        How many.
    public
        Tariffs that everybody can read.

    Attributes
    ----------
    price_per_kwh
        Shape (nodes, periods).
    answers_kwh
        Last injections, agent by agent, each of shape (its nodes, periods).
    rounds
        What happened.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        nodes: Sequence[str],
        periods: int,
        public: PublicPrices,
        settings: Settings | None = None,
    ) -> None:
        self._agents = agents
        self._settings = settings or Settings()
        self._public = public
        index = {node: at for at, node in enumerate(nodes)}
        ports = [np.array([index[node] for node in agent.nodes], np.int64) for agent in agents]
        ends = np.cumsum([port.size for port in ports])
        self._ports = [slice(end - port.size, end) for port, end in zip(ports, ends, strict=True)]
        self._node = np.concatenate(ports) if ports else np.zeros(0, np.int64)
        self._weight = self._weights()
        self._node_weight = np.maximum(np.bincount(self._node, self._weight, len(nodes)), _TINY)
        shape = (self._node.size, periods)
        self._answer, self._target = np.zeros(shape), np.zeros(shape)
        start = (public.highest_retail + public.lowest_feed_in) / 2
        self.price_per_kwh: Array = np.tile(start, (len(nodes), 1))
        tariff = float(np.abs([public.highest_retail, public.lowest_feed_in]).mean())
        size = float(np.sqrt(np.mean(self._weight**2))) if ports else 1.0
        self._penalty = self._settings.penalty * max(tariff, _LEAST_TARIFF_PER_KWH) / size
        self._turns, self._direction = 0, 0
        self.rounds: list[Round] = []

    def _weights(self) -> Array:
        """Square root of the size of each port; agents that do not say count as average."""
        told = [np.sqrt(agent.size_kwh) for agent in self._agents if agent.size_kwh is not None]
        average = float(np.mean(told)) if told else 1.0
        weight = np.zeros(self._node.size)
        for agent, port in zip(self._agents, self._ports, strict=True):
            weight[port] = average if agent.size_kwh is None else np.sqrt(agent.size_kwh)
        return weight

    @property
    def answers_kwh(self) -> list[Array]:
        """Last injections, agent by agent."""
        return [self._answer[port] for port in self._ports]

    @property
    def connected(self) -> NDArray[np.bool_]:
        """Nodes at which anybody is, shape (nodes,)."""
        return np.bincount(self._node, minlength=self._node_weight.size) > 0

    def imbalance_kwh(self) -> Array:
        """Offered less wanted in the last answers, shape (nodes, periods)."""
        return self._by_node(self._answer)

    def seek(self, progress: Callable[[int, Round], None] | None = None) -> tuple[Proof, bool]:
        """Exchange messages until the answers are proved to be good enough, or rounds are over."""
        next_proof = 0
        for count in range(1, self._settings.rounds + 1):
            small = self._exchange()
            if progress is not None:
                progress(count, self.rounds[-1])
            if small and count >= next_proof:
                proof = self.prove()
                if proof.gap <= self._allowed(proof):
                    return proof, True
                next_proof = count + _PROVE_EVERY
        return self.prove(), False

    def prove(self) -> Proof:
        """Ask all agents how good their last answers are at the present prices.

        For any prices, the least of sum f_i(q_i) - price . q_i is a lower bound of the optimum
        (weak duality), and the regrets are what separates the answers from it.
        """
        accounts = [
            agent.account(self.price_per_kwh[self._node[port]])
            for agent, port in zip(self._agents, self._ports, strict=True)
        ]
        surplus, price = self.imbalance_kwh(), self.price_per_kwh
        missing = np.maximum(-surplus, 0.0) * np.maximum(self._public.highest_retail, price)
        left = np.maximum(surplus, 0.0) * np.minimum(self._public.lowest_feed_in, price)
        settled = float((missing - left).sum())
        beyond = settled + float((price * surplus).sum())
        regrets = sum(account.regret for account in accounts)
        return Proof(np.array([account.cost for account in accounts]), settled, beyond + regrets)

    def _allowed(self, proof: Proof) -> float:
        return max(self._settings.gap * abs(proof.objective), self._settings.least_gap)

    def _exchange(self) -> bool:
        """One round; whether both residuals are small (Boyd et al., 3.3.1)."""
        for agent, port in zip(self._agents, self._ports, strict=True):
            price = self.price_per_kwh[self._node[port]]
            penalty = self._penalty / float(self._weight[port][0])
            self._answer[port] = agent.respond(Signal(price, self._target[port], penalty))
        relaxed = self._settings.relaxation * (self._answer - self._target) + self._target
        surplus = self._by_node(relaxed) / self._node_weight[:, None]
        target = relaxed - self._weight[:, None] * surplus[self._node]
        self.price_per_kwh = self.price_per_kwh - self._penalty * surplus
        moved = self._penalty / self._weight[:, None] * (target - self._target)
        self._target = target

        self.rounds.append(Round(_norm(self.imbalance_kwh()), _norm(moved), self._penalty))
        part = self._relative(self.rounds[-1])
        count = len(self.rounds)
        if count % self._settings.adapt_every == 0 and 2 * count <= self._settings.rounds:
            self._adapt(*part)
        return max(part) <= self._settings.residual

    def _relative(self, last: Round) -> tuple[float, float]:
        """Residuals as parts of traded energy and of prices."""
        least = self._settings.residual
        volume = _norm(self._by_node(np.abs(self._answer)) / 2)
        volume += np.sqrt(self.price_per_kwh.size) * _LEAST_KWH / least
        prices = _norm(self.price_per_kwh[self._node])
        prices += np.sqrt(self._answer.size) * _LEAST_PER_KWH / least
        return (
            last.primal_residual_kwh / max(volume, _TINY),
            last.dual_residual_per_kwh / max(prices, _TINY),
        )

    def _adapt(self, primal: float, dual: float) -> None:
        """Move the penalty towards equal residuals, by less after every change of direction."""
        if _UNBALANCED * min(primal, dual) >= max(primal, dual):
            return
        direction = 1 if primal > dual else -1
        self._turns += direction != self._direction
        self._direction = direction
        self._penalty *= (1 + 1 / self._turns) ** direction

    def _by_node(self, energy_kwh: Array) -> Array:
        total = np.zeros_like(self.price_per_kwh)
        np.add.at(total, self._node, energy_kwh)
        return total


def _norm(values: Array) -> float:
    return float(np.linalg.norm(values))
