"""What a clearing costs on chain, beside the least that Ethereum charges for its calldata.

What is measured beside CoW Protocol takes the sender of a clearing as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rich.progress import track

from bench import cow
from bench.anvil import TRANSACTION_GAS, OutOfGas, Sent, calldata_floor
from bench.books import PERIODS, Wish, community_day, crossing, tree
from bench.results import ROOT, Result
from fairwatt import market
from fairwatt.chain import Settings, connect, signer_for, structs
from fairwatt.community import Community, Generator, Horizon, Load, Peer, Supplier
from fairwatt.errors import FairwattError
from fairwatt.market import Side
from fairwatt.oracle import Oracle
from fairwatt.orders import Order, Step
from fairwatt.session import MarketTerms
from fairwatt.simulation import Simulation

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Clear", "Reconcile", "beside_cow", "days", "measure", "reconciliation"]

Clear = Callable[[market.Network, Sequence[Wish]], Sent]
"""Clears in one transaction, on a fresh chain, the order that every peer signs for its wish.

Everybody has a wallet, and funds for all they may buy. A session has as many periods as the wishes
reach. As in daily use, everybody has traded once before.
"""
Reconcile = Callable[[market.Network, Sequence[Wish]], Sent]
"""Clears as `Clear` does, reads every meter, and returns the transaction that reconciles them."""

_ORDERS: Final = (2, 10, 50)


def measure(console: Console) -> list[Result]:
    """Clearings of one node, one signature per order: gas per order beside the calldata floor."""
    results = []
    for orders in track(_ORDERS, "gas", console=console):
        with connect():
            gas, floor = _cleared(orders)
        results.append(
            Result(
                f"order_gas_n{orders}",
                gas / orders,
                "gas/order",
                "calldata floor",
                floor / orders,
            )
        )
    return results


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
        yield Result(f"day96_gas_{count}", sent.gas / (count * PERIODS), "gas/order")
    yield Result(
        "proof_over_floor", sent.gas, "gas", "calldata floor", calldata_floor(sent.calldata)
    )


def reconciliation(reconcile: Reconcile, peers: int = 400) -> Result:
    """Gas per peer of reconciling a community's day with its meters, beside the calldata floor."""
    gas, calldata = reconcile(*community_day(peers))
    floor = calldata_floor(calldata) / peers
    return Result(f"reconcile_gas_{peers}", gas / peers, "gas/peer", "calldata floor", floor)


def _cleared(orders: int) -> tuple[int, int]:
    """Gas of a clearing of `orders` orders, and the least its calldata could cost."""
    simulation = Simulation.found(_COMMUNITY, _SETTINGS, _TERMS, funds_nano=50 * 10**9)
    start = _TERMS.next_open_session(simulation.chain.now())
    seller, buyer = simulation.members["seller"], simulation.members["buyer"]
    signed = []
    for nonce in range(orders // 2):
        for member, side, price in ((seller, Side.ASK, 50_000), (buyer, Side.BID, 90_000)):
            steps = (Step(0, side, price + nonce, 1_000),)
            order = Order(simulation.market, member.peer, 0, start, steps, start, nonce)
            signed.append(simulation.sign(member, order))
    simulation.travel_to(_TERMS.gate_closure(start))
    solver = signer_for(_SETTINGS.roles.community_manager)
    run = Oracle(simulation.chain, simulation.market, solver, send=True, most_steps=orders).clear(
        start, signed
    )
    if run.proposal is None or run.receipt is None or len(run.proposal.orders) != orders:
        raise FairwattError(f"the clearing of {orders} orders was not sent: {run.refused}")
    clear = simulation.chain.contracts.settlement.clear
    calldata = bytes(clear.encode_input(structs(run.proposal.to_message())))
    return run.receipt.gas_used, calldata_floor(calldata)


_SETTINGS: Final = Settings.load(ROOT / "deployments" / "local.toml")
_TERMS: Final = MarketTerms(
    network=1,
    period_seconds=3600,
    periods_per_session=1,
    max_placed_steps=0,
    first_session_start=1_704_067_200,
    gate_lead_seconds=900,
    clearing_window_seconds=3600,
    reading_window_seconds=86_400,
    settlement_window_seconds=7 * 86_400,
)
_COMMUNITY: Final = Community(
    name="bench",
    horizon=Horizon(_TERMS.first_session_start, _TERMS.period_seconds, 1),
    network=market.Network(("community",), (), 0, 1_000_000),
    suppliers=(Supplier("supplier", retail_per_kwh=0.15, feed_in_per_kwh=0.03),),
    peers=(
        Peer("seller", "producer", "community", (Generator(1000, 0.05),), supplier="supplier"),
        Peer("buyer", "consumer", "community", (Load(1000),), supplier="supplier"),
    ),
)
