"""What the one right clearing of a tiny market is, found by trying everything.

Nothing is shared with the kernel, the certificate or the verifiers: no linear program is solved, no
dual is followed, no rule of the proof is used. In units of one price and one energy, which all
numbers of the market are multiples of,

*   every flow over the links is tried, and at every node every quantity traded, by merit order; the
    best is the one with the most welfare, then the most energy bought, then the least sum of flow
    times tail;
*   every price vector within floor and cap is tried: those are optimal whose dual bound

        sum_k Q_k max(0, b_k - pi) + sum_s Q_s max(0, pi - a_s)
            + sum_l K_l max(0, pi_j - pi_i - f_l)

    is that welfare; the price of a node is the midpoint, rounded down, of the lowest and the
    highest it has in any of them.

That units suffice: the constraints of the market and of its dual are a network matrix, so the
vertices of what is optimal are whole numbers of units, and lowest and highest prices and the only
optimum are vertices.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tests.proofs.packed import Frame, Step


class TooLargeError(ValueError):
    """A market of which not everything can be tried."""


@dataclass(frozen=True)
class Units:
    """What all prices, less `base`, and all energies of a market are multiples of."""

    base: int = 0
    price: int = 1
    energy: int = 1

    def prices(self, number: int) -> int:
        """A price in units."""
        return _divided(number - self.base, self.price)

    def tariffs(self, number: int) -> int:
        """A difference of prices in units."""
        return _divided(number, self.price)

    def energies(self, number: int) -> int:
        """An energy in units."""
        return _divided(number, self.energy)


def _divided(number: int, unit: int) -> int:
    quotient, rest = divmod(number, unit)
    if rest:
        raise TooLargeError(f"{number} is not a multiple of {unit}")
    return quotient


@dataclass(frozen=True)
class Best:
    """All there is to know of a period: what the proof may accept, and nothing else.

    Attributes
    ----------
    flows
        Flows of every best clearing, Wh; more than one only where link tails tie.
    fills
        For each of them what every step trades, Wh.
    low, high
        Lowest and highest optimal price of every node.
    welfare
        Of all optimal clearings, nano-token.
    """

    flows: tuple[tuple[int, ...], ...]
    fills: tuple[tuple[int, ...], ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    welfare: int


@dataclass
class Oracle:
    """The oracle of all markets on one network; answers are remembered."""

    frame: Frame
    units: Units
    most: int = 70_000
    _answers: dict[Any, Best] = field(default_factory=dict)

    def best(self, steps: Sequence[Step]) -> Best:
        """Find the best clearings of a period with these steps.

        Raises
        ------
        TooLargeError
            If it has too many clearings or prices to try them all, or does not fit the units.
        """
        key = tuple((step.node, step.is_ask, step.price, step.energy) for step in steps)
        if key not in self._answers:
            self._answers[key] = self._find(steps)
        return self._answers[key]

    def _find(self, steps: Sequence[Step]) -> Best:
        nodes = [
            _Node([step for step in steps if step.node == node], self.units)
            for node in range(self.frame.nodes)
        ]
        worth = sum(node.worth(self._imports[:, at]) for at, node in enumerate(nodes))
        worth = (
            np.where(worth[:, 0] > _NEVER // 2, worth[:, 0] - self._tariffs, _NEVER),
            worth[:, 1],
        )
        chosen = np.flatnonzero(worth[0] == worth[0].max())
        chosen = chosen[worth[1][chosen] == worth[1][chosen].max()]
        cost = self._flow_tails[chosen]
        chosen = chosen[cost == cost.min()]
        welfare = int(worth[0].max())
        low, high = self._optimal_prices(nodes, welfare)
        unit = self.units.energy
        return Best(
            tuple(tuple(int(w) * unit for w in self._flows[at]) for at in chosen),
            tuple(self._fills(steps, nodes, self._imports[at].tolist()) for at in chosen),
            low,
            high,
            # Prices are relative to the base, which in balance changes no welfare.
            welfare * unit * self.units.price,
        )

    def _fills(
        self, steps: Sequence[Step], nodes: Sequence[_Node], imports: Sequence[int]
    ) -> tuple[int, ...]:
        """Equal limits share pro rata: floor of running totals, in the sequence of the steps."""
        filled: dict[tuple[int, bool, int], int] = {}
        for at, node in enumerate(nodes):
            for (is_ask, price), energy in node.filled(imports[at]).items():
                filled[at, is_ask, price] = energy * self.units.energy
        total: dict[tuple[int, bool, int], int] = defaultdict(int)
        for step in steps:
            total[step.node, step.is_ask, step.price] += step.energy
        running: dict[tuple[int, bool, int], int] = defaultdict(int)
        fills = []
        for step in steps:
            level = (step.node, step.is_ask, step.price)
            before = running[level] * filled[level] // total[level]
            running[level] += step.energy
            fills.append(running[level] * filled[level] // total[level] - before)
        return tuple(fills)

    def _optimal_prices(
        self, nodes: Sequence[_Node], welfare: int
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        bound = self._rents.copy()
        for at, node in enumerate(nodes):
            bound += node.gains(self._grid)[self._prices[:, at] - self._grid[0]]
        optimal = self._prices[bound == welfare]
        if int(bound.min()) < welfare:
            raise AssertionError("the oracle is wrong: a dual bound is below the welfare")
        if not len(optimal):
            return (), ()
        return tuple(
            tuple(int(p) * self.units.price + self.units.base for p in column)
            for column in (optimal.min(0), optimal.max(0))
        )  # type: ignore[return-value]

    # ------------------------------------------------------------------------- everything to try

    @cached_property
    def _links(self) -> list[tuple[int, int, int, int]]:
        return [
            (
                link.source,
                link.target,
                self.units.tariffs(link.tariff),
                self.units.energies(link.capacity),
            )
            for link in self.frame.links
        ]

    @cached_property
    def _flows(self) -> NDArray[np.int64]:
        return self._every([range(capacity + 1) for *_, capacity in self._links])

    @cached_property
    def _imports(self) -> NDArray[np.int64]:
        imports = np.zeros((len(self._flows), self.frame.nodes), np.int64)
        for at, (source, target, *_) in enumerate(self._links):
            imports[:, source] -= self._flows[:, at]
            imports[:, target] += self._flows[:, at]
        return imports

    @cached_property
    def _tariffs(self) -> NDArray[np.int64]:
        return self._flows @ np.array([tariff for _, _, tariff, _ in self._links], np.int64)

    @cached_property
    def _flow_tails(self) -> NDArray[np.int64]:
        return self._flows @ np.array(self.frame.tails, np.int64)

    @cached_property
    def _grid(self) -> NDArray[np.int64]:
        bounds = self.units.prices(self.frame.floor), self.units.prices(self.frame.cap)
        return np.arange(bounds[0], bounds[1] + 1)

    @cached_property
    def _prices(self) -> NDArray[np.int64]:
        return self._every([self._grid.tolist()] * self.frame.nodes)

    @cached_property
    def _rents(self) -> NDArray[np.int64]:
        rents = np.zeros(len(self._prices), np.int64)
        for source, target, tariff, capacity in self._links:
            spread = self._prices[:, target] - self._prices[:, source]
            rents += np.maximum(spread - tariff, 0) * capacity
        return rents

    def _every(self, choices: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        count = int(np.prod([len(each) for each in choices], dtype=object)) if choices else 1
        if count > self.most:
            raise TooLargeError(f"{count} combinations")
        return np.array(list(product(*choices)), np.int64).reshape(count, len(choices))


_NEVER = -(2**60)


class _Node:
    """What a node can do with an import, by merit order; prices and energies in units."""

    def __init__(self, steps: Sequence[Step], units: Units) -> None:
        levels: dict[tuple[bool, int], int] = defaultdict(int)
        for step in steps:
            levels[step.is_ask, units.prices(step.price)] += units.energies(step.energy)
        self._units = units
        self._levels = levels
        if sum(levels.values()) > 200:
            raise TooLargeError("too much energy at a node")
        # One Wh after the other, the dearest bid and the cheapest ask first.
        self._bids = sorted(
            (price for (is_ask, price), q in levels.items() if not is_ask for _ in range(q)),
            reverse=True,
        )
        self._asks = sorted(
            price for (is_ask, price), q in levels.items() if is_ask for _ in range(q)
        )

    def best(self, imported: int) -> tuple[int, int]:
        """Most welfare with this import, and the most that can be bought at that welfare."""
        value = [0]
        for price in self._bids:
            value.append(value[-1] + price)
        cost = [0]
        for price in self._asks:
            cost.append(cost[-1] + price)
        ways = [
            (value[bought] - cost[bought - imported], bought)
            for bought in range(len(value))
            if 0 <= bought - imported < len(cost)
        ]
        return max(ways, default=(_NEVER, 0))

    def worth(self, imports: NDArray[np.int64]) -> NDArray[np.int64]:
        """`best` for each of these imports."""
        least, most = int(imports.min()), int(imports.max())
        table = np.array([self.best(each) for each in range(least, most + 1)], np.int64)
        return table[imports - least]

    def gains(self, prices: NDArray[np.int64]) -> NDArray[np.int64]:
        """What its orders gain at each of these prices if they may trade what they like."""
        gains = np.zeros(len(prices), np.int64)
        for (is_ask, price), energy in self._levels.items():
            gains += energy * np.maximum(prices - price if is_ask else price - prices, 0)
        return gains

    def filled(self, imported: int) -> dict[tuple[bool, int], int]:
        """What every level trades at this import, by the limit price as it is written."""
        _, bought = self.best(imported)
        taken: dict[tuple[bool, int], int] = defaultdict(int)
        for is_ask, price in self._levels:
            taken[is_ask, price] = 0
        for price in self._bids[:bought]:
            taken[False, price] += 1
        for price in self._asks[: bought - imported]:
            taken[True, price] += 1
        return {
            (is_ask, price * self._units.price + self._units.base): energy
            for (is_ask, price), energy in taken.items()
        }
