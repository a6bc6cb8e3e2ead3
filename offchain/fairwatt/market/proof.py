"""The proof check: is a clearing feasible, and is it optimal? In whole numbers, without trust.

Feasible fills, flows and prices are optimal if and only if the welfare

    sum_k b_k x_k - sum_s a_s y_s - sum_l f_l w_l

equals the bound that linear programming duality puts on every clearing of the book,

    sum_k Q_k max(0, b_k - pi) + sum_s Q_s max(0, pi - a_s) + sum_l K_l max(0, pi_j - pi_i - f_l)

That is `check`. `verify` holds a clearing against more: with its certificate it is the one optimum
that the rules of the market choose, at the one price. It is the twin of the Solidity library
`ClearingProof`; `docs/proof.md` has the rules of both with their errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fairwatt import errors
from fairwatt.market._columns import Column, dot
from fairwatt.market._potentials import TRADE_TAIL
from fairwatt.market._ties import Margin
from fairwatt.market.book import Book, Side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.market.certificate import Certificate
    from fairwatt.market.clearing import Clearing

__all__ = ["Proof", "check", "dual_bound", "surplus_wh", "verify", "welfare"]


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
        The first that is broken: no quantity is negative; prices, fills, flows, each counted and
        then one by one; balance node by node; optimality.
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


def verify(book: Book, clearing: Clearing, certificate: Certificate) -> None:
    """Accept `clearing` as the one that the rules choose, or say which rule it breaks first.

    Per node there are the lowest and the highest price and a tail, per link i -> j the gains
    d = low_j - low_i - f and e = high_j - high_i - f. Orders of no energy are not there.

        F1  floor <= low <= high <= cap, and the price is their midpoint, rounded down
        F2  no limit lies between low and high
        F3  asks of at most low are full and of at least high empty, bids the reverse; where low is
            high, orders of that limit are marginal
        F4  marginal orders of a side share pro rata, in the sequence of their ids
        L1  0 <= w <= K
        L2  a link is full if d > 0 or e > 0, empty if d < 0 or e < 0
        L3  where d = e = 0 the tail rises along a link by at least its own if it carries something,
            by at most that if it could carry more
        C1  a tail is >= 0 if marginal asks trade, <= 0 if they could trade more; it is <= B if
            marginal bids trade, >= B if they could trade more
        C2  asks + inflow = outflow + bids
        R1  low cannot be lower, high cannot be higher: it is floor (cap), an order of the node
            holds it, or a link does from a node of smaller rank

    F2 to L2 and C2 are complementary slackness with the lowest and with the highest prices, so both
    are optimal, and so is their midpoint. L3 and C1 are complementary slackness of the program
    that chooses among the optima. By R1 there are no lower and no higher optimal prices.

    Raises
    ------
    ProofError
        Of the first rule that is broken, in this sequence.
    """
    _check_counts(book, clearing, certificate)
    _check_price_range(book, clearing, certificate)
    margin = Margin.of(book, certificate.low, certificate.high)
    _check_orders(book, clearing, certificate, margin)
    _check_links(book, clearing, certificate)
    _check_nodes(book, clearing, certificate)
    _check_lowest(book, clearing, certificate)
    _check_highest(book, clearing, certificate)


def _check_counts(book: Book, clearing: Clearing, certificate: Certificate) -> None:
    network = book.network
    if clearing.prices_micro_per_kwh.size != len(network.nodes):
        raise errors.PriceCountMismatch(len(network.nodes), clearing.prices_micro_per_kwh.size)
    if clearing.fills_wh.size != len(book):
        raise errors.FillCountMismatch(len(book), clearing.fills_wh.size)
    if clearing.flows_wh.size != len(network.links):
        raise errors.FlowCountMismatch(len(network.links), clearing.flows_wh.size)
    for field, numbers in certificate.columns().items():
        if numbers.size != len(network.nodes):
            raise errors.CertificateCountMismatch(field, len(network.nodes), numbers.size)


def _check_price_range(book: Book, clearing: Clearing, certificate: Certificate) -> None:
    """F1."""
    network, low, high = book.network, certificate.low, certificate.high
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    if (at := _first((low < floor) | (low > high) | (high > cap))) is not None:
        raise errors.PricesOutOfBounds(
            at, int(low[at]), int(high[at]), floor, cap, label=network.nodes[at]
        )
    prices = clearing.prices_micro_per_kwh
    if (at := _first(prices != (low + high) >> 1)) is not None:
        raise errors.PriceNotMidpoint(
            at, int(prices[at]), int(low[at]), int(high[at]), label=network.nodes[at]
        )


def _check_orders(book: Book, clearing: Clearing, certificate: Certificate, margin: Margin) -> None:
    """F2 to F4."""
    limit, energy, fills = book.price_micro_per_kwh, book.energy_wh, clearing.fills_wh
    low, high = certificate.low[book.node], certificate.high[book.node]
    if (at := _first((low < limit) & (limit < high) & (energy > 0))) is not None:
        raise errors.LimitBetweenPrices(
            at, int(limit[at]), int(low[at]), int(high[at]), label=book.ids[at]
        )

    full = np.where(book.side == Side.ASK, limit < high, limit > low)
    implied = np.where(full, energy, 0)
    marginal = np.zeros(len(book), bool)
    marginal[margin.lines] = True
    if (at := _first((fills != implied) & ~marginal)) is not None:
        raise errors.FillNotImplied(at, int(fills[at]), int(implied[at]), label=book.ids[at])

    stated = np.empty_like(margin.total)
    filled = np.empty_like(margin.total)
    stated[Side.BID :: 2], stated[Side.ASK :: 2] = certificate.bid_total, certificate.ask_total
    filled[Side.BID :: 2], filled[Side.ASK :: 2] = certificate.bid_fill, certificate.ask_fill
    if (at := _first(stated != margin.total)) is not None:
        node, side = divmod(at, 2)
        raise errors.MarginalTotalMismatch(
            node, side, int(stated[at]), int(margin.total[at]), label=book.network.nodes[node]
        )
    if (at := _first(filled > stated)) is not None:
        node, side = divmod(at, 2)
        raise errors.MarginalFillAboveTotal(
            node, side, int(filled[at]), int(stated[at]), label=book.network.nodes[node]
        )
    shares = np.zeros(len(book), np.int64)
    shares[margin.lines] = margin.shares(filled)
    if (at := _first((fills != shares) & marginal)) is not None:
        raise errors.FillNotShared(at, int(fills[at]), int(shares[at]), label=book.ids[at])


def _check_links(book: Book, clearing: Clearing, certificate: Certificate) -> None:
    """L1 to L3."""
    network, flows, capacity = book.network, clearing.flows_wh, book.network.capacities_wh
    if (at := _first(flows < 0)) is not None:
        raise errors.NegativeQuantity("flowsWh", at, int(flows[at]))
    if (at := _first(flows > capacity)) is not None:
        raise errors.FlowAboveCapacity(at, int(flows[at]), int(capacity[at]), _label(book, at))

    d, e = _gains(book, certificate)
    too_little = ((d > 0) | (e > 0)) & (flows < capacity)
    too_much = ((d < 0) | (e < 0)) & (flows > 0)
    if (at := _first(too_little | too_much)) is not None:
        raise errors.FlowNotImplied(
            at, int(flows[at]), int(capacity[at]), int(d[at]), int(e[at]), label=_label(book, at)
        )

    for at in np.flatnonzero((d == 0) & (e == 0) & (capacity > 0)).tolist():
        source, target = int(network.sources[at]), int(network.targets[at])
        rise = int(certificate.tail[target]) - int(certificate.tail[source])
        tail, flow, most = int(network.tails[at]), int(flows[at]), int(capacity[at])
        if (flow > 0 and rise < tail) or (flow < most and rise > tail):
            raise errors.FlowNotUnique(at, flow, most, rise, tail, label=_label(book, at))


def _check_nodes(book: Book, clearing: Clearing, certificate: Certificate) -> None:
    """C1 and C2; groups are empty where low < high."""
    tail = certificate.tail
    for side, fill, total, worth in (
        (Side.ASK, certificate.ask_fill, certificate.ask_total, 0),
        (Side.BID, certificate.bid_fill, certificate.bid_total, TRADE_TAIL),
    ):
        trades, could = fill > 0, fill < total
        too_low, too_high = tail < worth, tail > worth
        broken = (
            (trades & too_low) | (could & too_high)
            if side is Side.ASK
            else (trades & too_high) | (could & too_low)
        )
        if (at := _first(broken)) is not None:
            raise errors.FillNotUnique(
                at,
                side.value,
                int(fill[at]),
                int(total[at]),
                int(tail[at]),
                label=book.network.nodes[at],
            )

    surplus = surplus_wh(book, clearing.fills_wh, clearing.flows_wh)
    if (at := _first(surplus != 0)) is not None:
        raise errors.NodeUnbalanced(at, int(surplus[at]), book.network.nodes[at])


def _check_lowest(book: Book, clearing: Clearing, certificate: Certificate) -> None:
    """R1 for the lowest prices."""
    network, low, rank = book.network, certificate.low, certificate.low_rank
    source, target, flows = network.sources, network.targets, clearing.flows_wh
    held = low == network.price_floor_micro_per_kwh
    held |= np.where(
        low == certificate.high,
        (certificate.ask_fill > 0) | (certificate.bid_fill < certificate.bid_total),
        _has_order_at(book, low),
    )
    d, _ = _gains(book, certificate)
    carries, could = (d == 0) & (flows > 0), (d == 0) & (flows < network.capacities_wh)
    held[target[carries & (rank[source] < rank[target])]] = True
    held[source[could & (rank[target] < rank[source])]] = True
    if (at := _first(~held)) is not None:
        raise errors.LowestNotProved(at, int(low[at]), int(rank[at]), label=network.nodes[at])


def _check_highest(book: Book, clearing: Clearing, certificate: Certificate) -> None:
    """R1 for the highest prices."""
    network, high, rank = book.network, certificate.high, certificate.high_rank
    source, target, flows = network.sources, network.targets, clearing.flows_wh
    held = high == network.price_cap_micro_per_kwh
    held |= np.where(
        high == certificate.low,
        (certificate.ask_fill < certificate.ask_total) | (certificate.bid_fill > 0),
        _has_order_at(book, high),
    )
    _, e = _gains(book, certificate)
    carries, could = (e == 0) & (flows > 0), (e == 0) & (flows < network.capacities_wh)
    held[target[could & (rank[source] < rank[target])]] = True
    held[source[carries & (rank[target] < rank[source])]] = True
    if (at := _first(~held)) is not None:
        raise errors.HighestNotProved(at, int(high[at]), int(rank[at]), label=network.nodes[at])


def _has_order_at(book: Book, price: Column) -> NDArray[np.bool_]:
    """Where an order has this limit. By F3 that is enough to hold a price where low < high.

    An ask at low trades and a bid at low could, so no price is lower; an ask at high could trade
    and a bid at high does, so none is higher.
    """
    found = np.zeros(price.size, bool)
    found[book.node[(book.price_micro_per_kwh == price[book.node]) & (book.energy_wh > 0)]] = True
    return found


def _gains(book: Book, certificate: Certificate) -> tuple[Column, Column]:
    """What a link gains on a kWh at the lowest and at the highest prices, its tariff taken off."""
    network, low, high = book.network, certificate.low, certificate.high
    source, target, tariff = network.sources, network.targets, network.tariffs_micro_per_kwh
    return low[target] - low[source] - tariff, high[target] - high[source] - tariff


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
        capacity = int(network.capacities_wh[at])
        raise errors.FlowAboveCapacity(at, int(flows[at]), capacity, _label(book, at))


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


def _label(book: Book, link: int) -> str:
    ends = book.network.links[link]
    return f"{ends.source} -> {ends.target}"


def _first(broken: NDArray[np.bool_]) -> int | None:
    return int(broken.argmax()) if broken.any() else None
