"""What a clearing costs on chain, beside the least that Ethereum charges for its calldata.

What is measured beside CoW Protocol takes the sender of a clearing as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from bench import cow
from bench.anvil import TRANSACTION_GAS, OutOfGas, Sent, calldata_floor
from bench.books import PERIODS, Wish, community_day, crossing, everywhere, tree
from bench.results import Result
from bench.site import clear, reconcile
from fairwatt import market

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Clear", "Reconcile", "beside_cow", "days", "measure", "networks", "reconciliation"]

Clear = Callable[[market.Network, Sequence[Wish]], Sent]
"""Clears on a fresh chain, in as few parts as fit, the order every peer signs for its wish.

Everybody has a wallet, and funds for all they may buy. A session has as many periods as the wishes
reach. As in daily use, everybody has traded once before.
"""
Reconcile = Callable[[market.Network, Sequence[Wish]], Sent]
"""Clears as `Clear` does, reads every meter, and returns what it takes to reconcile them."""


def measure(console: Console) -> Iterator[Result]:
    """Measure clearings beside CoW, days, and their reconciliation."""
    with console.status("clearings beside CoW"):
        yield from beside_cow(clear)
    with console.status("days of 96 periods"):
        yield from days(clear)
    with console.status("large networks"):
        yield from networks(clear)
    with console.status("readings of a day"):
        yield reconciliation(reconcile)


def beside_cow(clear: Clear, orders: Sequence[int] = (10, 50, 100, 200, 1_000)) -> Iterator[Result]:
    """Gas per order of a book on one node, beside the settlement of the very same orders by CoW.

    Where they do not fit into one transaction of CoW, the rival has no value; what is twice too
    much by its last gas per order is not tried, for that takes a minute.
    """
    per_order = 0.0
    for count in orders:
        wishes = crossing(count)
        rival = None
        if per_order * count < 2 * TRANSACTION_GAS:
            with suppress(OutOfGas):
                rival = per_order = cow.settled(wishes).gas / count
        gas, _ = clear(tree(1), wishes)
        yield Result(f"order_gas_n{count}", gas / count, "gas/order", "cow", rival)


def days(clear: Clear, peers: Sequence[int] = (100, 400)) -> Iterator[Result]:
    """Gas of a community's day per peer and period, and the largest day beside its calldata floor.

    An order is a peer's step in a period; their number is peers times periods.
    """
    for count in peers:
        sent = clear(*community_day(count))
        yield Result(f"day96_gas_{count}", sent.gas / (count * PERIODS), "gas/order/period")
    yield Result(
        "proof_over_floor", sent.gas, "gas", "calldata floor", calldata_floor(sent.calldata)
    )


def networks(
    clear: Clear, sizes: Sequence[tuple[int, int]] = ((24, 96), (80, 24))
) -> Iterator[Result]:
    """Gas of networks of so many nodes in so many periods, beside what a transaction may use."""
    for nodes, periods in sizes:
        gas, _ = clear(*everywhere(nodes, periods))
        name = f"ring_gas_{nodes}x{periods}"
        yield Result(name, gas, "gas", "transaction limit", TRANSACTION_GAS)


def reconciliation(reconcile: Reconcile, peers: int = 400) -> Result:
    """Gas per peer of reconciling a community's day with its meters, beside the calldata floor."""
    gas, calldata = reconcile(*community_day(peers))
    floor = calldata_floor(calldata) / peers
    return Result(f"reconcile_gas_{peers}", gas / peers, "gas/peer", "calldata floor", floor)
