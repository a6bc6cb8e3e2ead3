"""The linear programs of a market: blocks of orders on nodes, and links between them.

See `fairwatt.market.kernel` for why their numbers are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt import highs
from fairwatt.errors import KernelError, SolverError
from fairwatt.highs import Program, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.market._columns import Column
    from fairwatt.market.network import Network

__all__ = ["Blocks", "Columns", "Flow", "Ways", "run", "solve"]


@dataclass(frozen=True)
class Blocks:
    """Energy on sale or wanted, in blocks of one node, side and limit price; shape (blocks,)."""

    node: Column
    is_bid: NDArray[np.bool_]
    price: Column
    energy: Column


@dataclass(frozen=True)
class Flow:
    """An optimum of the program.

    Attributes
    ----------
    filled
        Of each block, Wh, shape (blocks,).
    flows
        Of each link, Wh, shape (links,).
    prices
        That support it, micro-token/kWh, rounded down, shape (nodes,).
    """

    filled: Column
    flows: Column
    prices: Column


def solve(network: Network, blocks: Blocks, guess: Column) -> Flow:
    """Fill the blocks: whole numbers, which are within bounds and in balance unless HiGHS errs.

    Parameters
    ----------
    guess
        Prices near those that will come out, within floor and cap, shape (nodes,). All costs are
        taken relative to them. In balance that changes no difference of costs, and simplex starts
        with nearly every block on the right side.

    Raises
    ------
    KernelError
        If HiGHS finds no optimum.
    """
    flows = np.zeros(len(network.links), np.int64)
    bids = int(blocks.energy[blocks.is_bid].sum())
    asks = int(blocks.energy[~blocks.is_bid].sum())
    if not bids or not asks:
        return Flow(np.zeros(blocks.energy.size, np.int64), flows, guess)

    # A link never needs to carry more than all that is traded: keeps floats exact.
    open_ = np.flatnonzero(network.capacities_wh)
    capacity = np.minimum(network.capacities_wh[open_], min(bids, asks))
    source, target = network.sources[open_], network.targets[open_]
    # Any optimum will do, but simplex dislikes a choice: a traded Wh is worth half a unit of price
    # more. That outweighs no whole unit, since optima differ by rings that trade one Wh or none.
    price = blocks.price - guess[blocks.node]
    tariff = network.tariffs_micro_per_kwh[open_] + guess[source] - guess[target]
    cost = np.where(blocks.is_bid, -2 * price - 1, 2 * price)
    filled, flows[open_], duals = run(
        Columns(blocks.node, blocks.is_bid, cost, blocks.energy),
        Ways(source, target, 2 * tariff, capacity),
        np.zeros(len(network.nodes), np.int64),
    )
    low, high = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    return Flow(filled, flows, np.clip(guess + duals // 2, low, high))


@dataclass(frozen=True)
class Columns:
    """What enters and leaves at the nodes at most, and its cost per Wh; shape (columns,)."""

    node: Column
    is_bid: NDArray[np.bool_]
    cost: Column
    energy: Column


@dataclass(frozen=True)
class Ways:
    """What passes from node to node at most, and its cost per Wh; shape (ways,)."""

    source: Column
    target: Column
    cost: Column
    capacity: Column


def run(columns: Columns, ways: Ways, surplus: Column) -> tuple[Column, Column, Column]:
    """Find what enters and leaves, what passes, and the duals of the nodes, at the least cost.

    Parameters
    ----------
    surplus
        Asks + inflow - outflow - bids at every node, Wh, shape (nodes,).

    Raises
    ------
    KernelError
        If HiGHS finds no optimum.
    """
    n_columns, n_ways = columns.node.size, ways.source.size
    starts = np.arange(n_columns + n_ways + 1)
    starts[n_columns:] += np.arange(n_ways + 1)  # two entries for a way
    values, duals = _run(
        Program(
            cost=np.concatenate([columns.cost, ways.cost]).astype(float),
            lower=np.zeros(n_columns + n_ways),
            upper=np.concatenate([columns.energy, ways.capacity]).astype(float),
            row_lower=surplus.astype(float),
            row_upper=surplus.astype(float),
            starts=starts.astype(np.int32),
            indices=np.concatenate(
                [columns.node, np.stack([ways.source, ways.target], 1).ravel()], dtype=np.int32
            ),
            values=np.concatenate(
                [np.where(columns.is_bid, -1.0, 1.0), np.tile([-1.0, 1.0], n_ways)]
            ),
        )
    )
    return values[:n_columns], values[n_columns:], duals


def _run(program: Program) -> tuple[Column, Column]:
    """Solve, and round the solution and its duals to whole numbers."""
    try:
        solution = highs.solve(program, **_OPTIONS)
        if solution.status is Status.UNKNOWN:  # it ran in circles; from elsewhere it may not
            solution = highs.solve(program, **{**_OPTIONS, "presolve": True})
    except SolverError as error:
        raise KernelError(str(error)) from error
    if solution.status is not Status.OPTIMAL:
        raise KernelError(f"HiGHS ended with {solution.status.value!r} instead of an optimum")
    quantities: Column = np.rint(solution.values).astype(np.int64)
    duals: Column = np.rint(solution.row_duals).astype(np.int64)
    return quantities, duals


_OPTIONS: Final[dict[str, Any]] = {"method": "simplex", "presolve": False, "scale": False}
