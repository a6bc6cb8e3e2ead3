"""The proof check: is a clearing feasible, and is it optimal? In whole numbers, without trust.

The twin of the Solidity library `ClearingProof`: same rules, same sequence, same errors.
Feasible fills, flows and prices are optimal if and only if the welfare

    sum_k b_k x_k - sum_s a_s y_s - sum_l f_l w_l

equals the bound that linear programming duality puts on every clearing of the book,

    sum_k Q_k max(0, b_k - pi) + sum_s Q_s max(0, pi - a_s) + sum_l K_l max(0, pi_j - pi_i - f_l)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fairwatt import errors
from fairwatt.market._columns import Column, dot
from fairwatt.market.book import Book

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.market.clearing import Clearing

__all__ = ["Proof", "check", "dual_bound", "surplus_wh", "welfare"]


@dataclass(frozen=True, slots=True)
class Proof:
    """An accepted clearing's welfare and the equal dual bound, nano-token."""

    welfare: int
    dual_bound: int


def check(book: Book, clearing: Clearing) -> Proof:
    """Accept `clearing` as an optimum of `book`, or say which rule it breaks first.

    Raises
    ------
    ProofError
        A `NegativeQuantity` first, for what the contract's types cannot express; then in the
        sequence of the contract: prices, fills, flows, each counted and then one by one; then
        node balance by node balance; then optimality.
    """
    _check_types(clearing)
    _check_prices(book, clearing)
    _check_fills(book, clearing)
    _check_flows(book, clearing)
    fills, flows = clearing.fills_wh, clearing.flows_wh
    surplus = surplus_wh(book, fills, flows)
    if (at := _first(surplus != 0)) is not None:
        raise errors.NodeUnbalanced(at, int(surplus[at]), book.network.nodes[at])
    proof = Proof(
        welfare(book, fills, flows, in_bounds=True),
        dual_bound(book, clearing.prices_micro_per_kwh, in_bounds=True),
    )
    if proof.welfare != proof.dual_bound:
        raise errors.NotOptimal(proof.welfare, proof.dual_bound)
    return proof


def _check_types(clearing: Clearing) -> None:
    for field, quantities in (("fillsWh", clearing.fills_wh), ("flowsWh", clearing.flows_wh)):
        if (at := _first(quantities < 0)) is not None:
            raise errors.NegativeQuantity(field, at, int(quantities[at]))


def _check_prices(book: Book, clearing: Clearing) -> None:
    network, prices = book.network, clearing.prices_micro_per_kwh
    if prices.size != len(network.nodes):
        raise errors.PriceCountMismatch(len(network.nodes), prices.size)
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    if (at := _first((prices < floor) | (prices > cap))) is not None:
        raise errors.PriceOutOfBounds(at, int(prices[at]), floor, cap, network.nodes[at])


def _check_fills(book: Book, clearing: Clearing) -> None:
    fills = clearing.fills_wh
    if fills.size != len(book):
        raise errors.FillCountMismatch(len(book), fills.size)
    if (at := _first(fills > book.energy_wh)) is not None:
        raise errors.FillAboveEnergy(at, int(fills[at]), int(book.energy_wh[at]), book.ids[at])


def _check_flows(book: Book, clearing: Clearing) -> None:
    network, flows = book.network, clearing.flows_wh
    if flows.size != len(network.links):
        raise errors.FlowCountMismatch(len(network.links), flows.size)
    if (at := _first(flows > network.capacities_wh)) is not None:
        link, capacity = network.links[at], int(network.capacities_wh[at])
        label = f"{link.source} -> {link.target}"
        raise errors.FlowAboveCapacity(at, int(flows[at]), capacity, label)


def surplus_wh(book: Book, fills: Column, flows: Column) -> Column:
    """Sum asks + inflow - outflow - bids at every node, Wh; fills and flows are within bounds."""
    network = book.network
    sold = np.where(book.side, fills, -fills)  # a bid is 0, an ask 1
    if len(network.nodes) == 1:
        return np.array([sold.sum()])
    # A float holds these sums exactly: the energies of a book sum to less than 2^52.
    surplus = np.bincount(book.node, sold, len(network.nodes)).astype(np.int64)
    np.add.at(surplus, network.targets, flows)
    np.subtract.at(surplus, network.sources, flows)
    return surplus


def welfare(book: Book, fills: Column, flows: Column, *, in_bounds: bool = False) -> int:
    """Sum the value to the bids less the cost of the asks less the tariffs, nano-token.

    Fills that are known to be in bounds are summed up faster.
    """
    price = book.price_micro_per_kwh
    worth = np.where(book.side, -price, price)
    value = _sum_over_orders(book, worth, fills) if in_bounds else dot(worth, fills)
    return value - dot(book.network.tariffs_micro_per_kwh, flows)


def dual_bound(book: Book, prices: Column, *, in_bounds: bool = False) -> int:
    """Bound the welfare of every clearing of the book, as these prices prove; nano-token.

    With prices that are known to be in bounds it is faster.
    """
    network = book.network
    margin = book.price_micro_per_kwh - prices[book.node]
    gain = np.maximum(np.where(book.side, -margin, margin), 0)
    energy = book.energy_wh
    bound = _sum_over_orders(book, gain, energy) if in_bounds else dot(gain, energy)
    if not network.links:
        return bound
    spread = prices[network.targets] - prices[network.sources]
    rent = np.maximum(spread - network.tariffs_micro_per_kwh, 0)
    return bound + dot(rent, network.capacities_wh)


def _sum_over_orders(book: Book, money: Column, energies: Column) -> int:
    """Sum money x energy, of prices or margins and energies that are in bounds."""
    network = book.network
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    if max(cap - floor, -floor, cap) * book.total_energy_wh < 2**63:
        return int(money @ energies)
    return dot(money, energies)


def _first(broken: NDArray[np.bool_]) -> int | None:
    return int(broken.argmax()) if broken.any() else None
