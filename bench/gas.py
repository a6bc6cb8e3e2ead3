"""What a clearing costs on chain, beside the least that Ethereum charges for its calldata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.progress import track

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

__all__ = ["measure"]

_ORDERS: Final = (2, 10, 50)
_FLOOR_PER_TOKEN, _INTRINSIC_GAS = 10, 21_000  # EIP-7623: a zero byte is one token, others four


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


def _cleared(orders: int) -> tuple[int, int]:
    """Gas of a clearing of `orders` orders, and the least its calldata could cost."""
    simulation = Simulation.found(_COMMUNITY, _SETTINGS, _TERMS, funds_nano=50 * 10**9)
    start = _TERMS.next_open_session(simulation.chain.now())
    seller, buyer = simulation.members["seller"], simulation.members["buyer"]
    signed = []
    for nonce in range(orders // 2):
        for member, side, price in ((seller, Side.ASK, 50_000), (buyer, Side.BID, 90_000)):
            steps = (Step(0, side, price + nonce, 1_000),)
            order = Order(simulation.market, member.peer, start, steps, nonce)
            signed.append(simulation.sign(member, order))
    simulation.travel_to(_TERMS.gate_closure(start))
    solver = signer_for(_SETTINGS.roles.community_manager)
    run = Oracle(simulation.chain, simulation.market, solver, send=True, most_steps=orders).clear(
        start, signed
    )
    if run.proposal is None or run.receipt is None or len(run.proposal.orders) != orders:
        raise FairwattError(f"the clearing of {orders} orders was not sent: {run.refused}")
    clear = simulation.chain.contracts.clearing.clear
    arguments = simulation.chain.clearing_arguments(run.proposal, solver)
    calldata = bytes(clear.encode_input(*map(structs, arguments)))
    tokens = sum(4 if byte else 1 for byte in calldata)
    return run.receipt.gas_used, _INTRINSIC_GAS + _FLOOR_PER_TOKEN * tokens


_SETTINGS: Final = Settings.load(ROOT / "deployments" / "local.toml")
_TERMS: Final = MarketTerms(
    network=1,
    period_seconds=3600,
    periods_per_session=1,
    max_placed_blocks=0,
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
