"""Who supplies whom: the flows of a clearing traced back from buyers to sellers.

The market settles every peer against its node's price, so a clearing has no bilateral trades.
Tracing makes some for reports and for models that know nothing else: at each node everything
that comes in mixes, and leaves in the same proportions (proportional sharing, Bialek 1996).
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from fairwatt.market.book import Side

if TYPE_CHECKING:
    from fairwatt.market.book import Book
    from fairwatt.market.clearing import Clearing

__all__ = ["net_positions_wh", "trades_wh"]


def net_positions_wh(book: Book, clearing: Clearing) -> dict[tuple[str, int], int]:
    """Per peer and node index, Wh: sold positive, bought negative, own use taken off."""
    net: dict[tuple[str, int], int] = defaultdict(int)
    rows = zip(
        book.peers, book.node.tolist(), book.side.tolist(), clearing.fills_wh.tolist(), strict=True
    )
    for peer, node, side, fill in rows:
        net[peer, node] += fill if side == Side.ASK else -fill
    return dict(net)


def trades_wh(book: Book, clearing: Clearing) -> dict[tuple[str, str], Fraction]:
    """Energy from each seller to each buyer, Wh.

    Parameters
    ----------
    clearing
        An accepted clearing of `book`. The links that carry energy form no cycle: a cycle would
        cost tariffs for nothing.

    Returns
    -------
    dict
        (seller, buyer) -> Wh above zero. Per seller and per buyer they sum to what they
        trade net of their own use.
    """
    net = net_positions_wh(book, clearing)
    mix = _mixes(book, clearing, net)
    trades: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for (buyer, node), energy in net.items():
        if energy < 0:
            for seller, share in mix[node].items():
                trades[seller, buyer] += share * -energy
    return dict(trades)


def _mixes(
    book: Book, clearing: Clearing, net: dict[tuple[str, int], int]
) -> dict[int, dict[str, Fraction]]:
    """Shares of the sellers in what comes in at each node, upstream nodes first."""
    network = book.network
    ends = zip(network.sources.tolist(), network.targets.tolist(), strict=True)
    flows = [
        (source, target, flow)
        for (source, target), flow in zip(ends, clearing.flows_wh.tolist(), strict=True)
        if flow
    ]
    upstream: dict[int, set[int]] = {node: set() for node in range(len(network.nodes))}
    for source, target, _ in flows:
        upstream[target].add(source)
    mix: dict[int, dict[str, Fraction]] = {}
    for node in TopologicalSorter(upstream).static_order():
        inflow: dict[str, Fraction] = defaultdict(Fraction)
        for (peer, at), energy in net.items():
            if at == node and energy > 0:
                inflow[peer] += energy
        for source, _, flow in (entry for entry in flows if entry[1] == node):
            for peer, share in mix[source].items():
                inflow[peer] += share * flow
        total = sum(inflow.values(), Fraction())
        mix[node] = {peer: energy / total for peer, energy in inflow.items()}
    return mix
