"""Clear a book: HiGHS finds the quantities, whole-number arithmetic makes them exact.

    maximise   sum_k b_k x_k - sum_s a_s y_s - sum_l f_l w_l
    subject to asks + inflow - outflow - bids = 0 at every node,   0 <= x, y <= Q,  0 <= w <= K

Of the solver only the quantities are used, and only after they passed exact checks. Prices are
computed from them in integers.

*Same price, same node.* Orders of one node, side and limit price form one *level*, which is one
column of the linear program; they share its fill pro rata, remainders in the order of their ids.
Levels are sorted, so the sequence of the orders in the book never matters.

*Ties.* Among clearings of the same welfare the one with the largest traded energy is taken,
among those one with the least energy over links. Both are part of the costs of the program:

    bid (2 b + 1) m    ask 2 a m    link 2 f m + 1        m = number of nodes + 1

Two clearings differ by cycles that pass the outside world (where energy comes from and goes to)
at most once. Such a cycle changes the traded energy by at most 1 and the energy over links by
less than m per unit, so it cannot outweigh a change of welfare, which is a whole number: 2 and m
are large enough, and the optimum of the program is an optimum of the market exactly.
What remains tied (equal paths, asks at equal distance) may depend on the sequence of the links.

*Exact floats.* The program is neither scaled nor presolved. Energies sum to less than 2^52, a cost
is at most 2^53 (with less than 2^20 nodes) and the matrix holds only ones, so what simplex adds up
are whole numbers that floats hold, and one Wh stands far above the tolerances of HiGHS. Scaled
down, it would vanish below them. Whatever a float still got wrong, the exact checks would refuse.

*Speed.* Limit prices are taken relative to the price at which the book would clear on one node.
In balance that changes no cost, and simplex starts with nearly every order on the right side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt import highs
from fairwatt.errors import KernelError, ProofError, SolverError
from fairwatt.highs import Program, Status
from fairwatt.market import _ties, proof
from fairwatt.market._crossing import clear_node, quantile
from fairwatt.market.book import Book, Side
from fairwatt.market.clearing import Clearing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.market._columns import Column
    from fairwatt.market.network import Network

__all__ = ["clear"]


def clear(book: Book) -> Clearing:
    """Find the optimal clearing of a book, with midpoint prices, and prove it before it leaves.

    Raises
    ------
    KernelError
        If the solver fails or its result is not an exact optimum.
    """
    clearing = clear_node(book) if len(book.network.nodes) == 1 else clear_network(book)
    try:
        proof.check(book, clearing)
    except ProofError as error:
        raise KernelError(f"the solver's result is not an exact optimum: {error}") from error
    return clearing


def clear_network(book: Book) -> Clearing:
    """Find the optimal clearing of a book on any network, with midpoint prices."""
    levels = _Levels.of(book)
    filled, flows = _solve(book.network, levels)
    prices = _midpoint_prices(book.network, levels, filled, flows)
    return Clearing(levels.share(filled), flows, prices)


@dataclass(frozen=True)
class _Levels:
    """Orders with energy, grouped by node, side and limit price, in sorted sequence.

    `lines` lists the orders level by level; level i owns lines[starts[i] : starts[i + 1]].
    """

    book: Book
    lines: Column
    starts: Column
    node: Column
    is_bid: NDArray[np.bool_]
    price: Column
    energy: Column

    @classmethod
    def of(cls, book: Book) -> _Levels:
        some = np.flatnonzero(book.energy_wh)
        keys = book.price_micro_per_kwh[some], book.side[some], book.node[some]
        lines = some[np.lexsort(keys)]
        price, side, node = (
            values[lines] for values in (book.price_micro_per_kwh, book.side, book.node)
        )
        new = np.ones(lines.size, bool)
        new[1:] = (np.diff(node) != 0) | (np.diff(side) != 0) | (np.diff(price) != 0)
        starts = np.flatnonzero(new)
        energy = np.add.reduceat(book.energy_wh[lines], starts) if starts.size else starts
        return cls(
            book, lines, starts, node[starts], side[starts] == Side.BID, price[starts], energy
        )

    def share(self, filled: Column) -> Column:
        """Split the fills of the levels into fills of the orders."""
        counts = np.diff(self.starts, append=self.lines.size)
        fills = np.zeros(len(self.book), np.int64)
        full = np.repeat(filled == self.energy, counts)
        fills[self.lines[full]] = self.book.energy_wh[self.lines[full]]
        for level in np.flatnonzero((filled > 0) & (filled < self.energy)).tolist():
            start = self.starts[level]
            lines = self.lines[start : start + counts[level]]
            fills[lines] = _ties.share(
                int(filled[level]), lines, self.book.energy_wh, self.book.ids
            )
        return fills


def _solve(network: Network, levels: _Levels) -> tuple[Column, Column]:
    """Fill of every level and flow of every link, whole numbers within bounds and in balance."""
    flows = np.zeros(len(network.links), np.int64)
    bids = int(levels.energy[levels.is_bid].sum())
    asks = int(levels.energy[~levels.is_bid].sum())
    if not bids or not asks:
        return np.zeros(levels.energy.size, np.int64), flows

    # A link never needs to carry more than all that is traded: keeps floats exact.
    open_ = np.flatnonzero(network.capacities_wh)
    capacity = np.minimum(network.capacities_wh[open_], min(bids, asks))
    source, target = network.sources[open_], network.targets[open_]

    m = len(network.nodes) + 1
    price = levels.price - quantile(levels.price, levels.energy, bids)
    level_cost = np.where(levels.is_bid, -(2 * price + 1) * m, 2 * price * m)
    link_cost = 2 * network.tariffs_micro_per_kwh[open_] * m + 1
    n_levels, n_links = levels.node.size, open_.size

    solution = _run(
        Program(
            cost=np.concatenate([level_cost, link_cost]).astype(float),
            lower=np.zeros(n_levels + n_links),
            upper=np.concatenate([levels.energy, capacity]).astype(float),
            row_lower=np.zeros(len(network.nodes)),
            row_upper=np.zeros(len(network.nodes)),
            starts=np.concatenate([np.arange(n_levels), n_levels + 2 * np.arange(n_links + 1)]),
            indices=np.concatenate([levels.node, np.stack([source, target], 1).ravel()]),
            values=np.concatenate(
                [np.where(levels.is_bid, -1.0, 1.0), np.tile([-1.0, 1.0], n_links)]
            ),
        )
    )
    filled = solution[:n_levels]
    flows[open_] = solution[n_levels:]
    return filled, flows


def _run(program: Program) -> Column:
    """Solve, and round the solution to whole numbers."""
    try:
        solution = highs.solve(program, **_OPTIONS)
    except SolverError as error:
        raise KernelError(str(error)) from error
    if solution.status is not Status.OPTIMAL:
        raise KernelError(f"HiGHS ended with {solution.status.value!r} instead of an optimum")
    quantities: Column = np.rint(solution.values).astype(np.int64)
    return quantities


_OPTIONS: Final[dict[str, Any]] = {"method": "simplex", "presolve": False, "scale": False}


def _midpoint_prices(network: Network, levels: _Levels, filled: Column, flows: Column) -> Column:
    """Per node floor((lowest + highest) / 2) of the optimal whole-number prices.

    Complementary slackness says which prices are optimal for optimal quantities:
    a bid pays at most b if it trades, at least b if it could trade more; an ask the reverse;
    along a link the price rises by at least f if energy flows, by at most f if more could.
    """
    low = np.full(len(network.nodes), network.price_floor_micro_per_kwh, np.int64)
    high = np.full(len(network.nodes), network.price_cap_micro_per_kwh, np.int64)
    trades, could = filled > 0, filled < levels.energy
    above = np.where(levels.is_bid, could, trades)
    below = np.where(levels.is_bid, trades, could)
    np.maximum.at(low, levels.node[above], levels.price[above])
    np.minimum.at(high, levels.node[below], levels.price[below])

    # Rows "price[head] <= price[tail] + length".
    carries, spare = flows > 0, flows < network.capacities_wh
    tariff = network.tariffs_micro_per_kwh
    tail = np.concatenate([network.sources[spare], network.targets[carries]])
    head = np.concatenate([network.targets[spare], network.sources[carries]])
    length = np.concatenate([tariff[spare], -tariff[carries]])

    highest = _tighten(high, tail, head, length)
    lowest = -_tighten(-low, head, tail, length)
    if (highest < low).any() or (lowest > high).any():
        raise KernelError("the solver's result is not an exact optimum: no prices support it")
    return (lowest + highest) >> 1


def _tighten(bound: Column, tail: Column, head: Column, length: Column) -> Column:
    """Find the largest x <= bound with x[head] <= x[tail] + length everywhere (Bellman-Ford)."""
    if not tail.size:
        return bound
    by_head = np.argsort(head, kind="stable")
    tail, head, length = tail[by_head], head[by_head], length[by_head]
    starts = np.flatnonzero(np.diff(head, prepend=-1))
    heads = head[starts]
    x = bound.copy()
    for _ in range(bound.size + 1):
        best = np.minimum.reduceat(x[tail] + length, starts)
        if (best >= x[heads]).all():
            return x
        x[heads] = np.minimum(x[heads], best)
    raise KernelError("the solver's result is not an exact optimum: a cheaper cycle exists")
