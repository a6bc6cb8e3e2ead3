"""Eq. 1 evaluated on a dispatch, exactly."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING

from fairwatt.market import Side
from fairwatt.market.trades import trades_wh
from fairwatt.models.moreno2021._instance import contracts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairwatt.cases import Case
    from fairwatt.market import Book, Clearing

__all__ = ["objective", "objective_of"]


def objective(
    generation_wh: Mapping[str, int],
    trades_wh: Mapping[tuple[str, str], Fraction],
    *,
    cost_micro_per_kwh: Mapping[str, int],
    export_cost_micro_per_kwh: Mapping[str, int],
    community: Mapping[str, int],
    contracts_micro_per_kwh: Mapping[tuple[int, int], int] | None = None,
) -> Fraction:
    """Evaluate the objective function, eq. 1, on a dispatch.

        F = sum_n Cg_n P_n + sum_m sum_n (Cg_m + e_mn) q_mn

    with q_mn the energy from m to n and e_mn the export cost of m, or 0 within a community, or what
    two communities have agreed upon.
    The paper states the second sum with import and export costs Ca and Cb of a pair, without
    values; this is the reading that reproduces both of its results exactly. It counts the
    seller's generation cost once more on all that is traded.

    Parameters
    ----------
    generation_wh
        P_n per peer.
    trades_wh
        q_mn per pair (seller, buyer).
    cost_micro_per_kwh, export_cost_micro_per_kwh
        Cg_n and Cexp_n, micro-token/kWh; 0 where missing.
    community
        Per peer.
    contracts_micro_per_kwh
        Per pair of communities (from, to), in place of the export costs of the first.

    Returns
    -------
    Fraction
        In tokens (the paper's dollars), exact.
    """
    nano = Fraction(0)
    for peer, energy in generation_wh.items():
        nano += cost_micro_per_kwh.get(peer, 0) * energy
    agreed = contracts_micro_per_kwh or {}
    for (seller, buyer), traded in trades_wh.items():
        ends = community[seller], community[buyer]
        export = agreed.get(ends, export_cost_micro_per_kwh.get(seller, 0))
        export = 0 if ends[0] == ends[1] else export
        nano += (cost_micro_per_kwh.get(seller, 0) + export) * traded
    return nano / 10**9


def objective_of(case: Case, book: Book, clearing: Clearing) -> Fraction:
    """Evaluate eq. 1 on a clearing of a case's book, one ask per peer; in tokens, exact."""
    generation: dict[str, int] = defaultdict(int)
    for order, fill in zip(book.orders, clearing.fills_wh.tolist(), strict=True):
        if order.side is Side.ASK:
            generation[order.peer] += fill
    peers = case.community.peers
    return objective(
        generation,
        trades_wh(book, clearing),
        cost_micro_per_kwh={
            order.peer: order.price_micro_per_kwh for order in book.orders if order.side is Side.ASK
        },
        export_cost_micro_per_kwh={
            peer.name: round(peer.export_cost_per_kwh * 10**6) for peer in peers
        },
        community={peer.name: peer.community for peer in peers},
        contracts_micro_per_kwh={
            ends: round(tariff * 10**6) for ends, tariff in contracts(case.community).items()
        },
    )
