"""Who pays whom what in a cleared period. Whole nano-tokens; all of it sums to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fairwatt.market._columns import products
from fairwatt.market.book import Book, Side

if TYPE_CHECKING:
    from fairwatt.market.clearing import Clearing

__all__ = ["Payments", "payments"]


@dataclass(frozen=True, slots=True)
class Payments:
    """The money of one clearing, nano-token; + receives, - pays.

    Attributes
    ----------
    orders_nano
        Per order: an ask receives, a bid pays, fill x price of its node.
    tariffs_nano
        Per link, to its owner (None: the community fund): flow x tariff.
    rents_nano
        Per link, to the community fund: flow x (price difference - tariff), never negative
        in an optimal clearing.
    """

    orders_nano: tuple[int, ...]
    tariffs_nano: tuple[int, ...]
    rents_nano: tuple[int, ...]

    def total_nano(self) -> int:
        """Sum everything paid and received: zero for every balanced clearing."""
        return sum(self.orders_nano) + sum(self.tariffs_nano) + sum(self.rents_nano)


def payments(book: Book, clearing: Clearing) -> Payments:
    """Split the money of `clearing`, which `proof.check` has accepted for `book`."""
    network = book.network
    prices, flows = clearing.prices_micro_per_kwh, clearing.flows_wh
    price = prices[book.node]
    spread = prices[network.targets] - prices[network.sources]
    tariff = network.tariffs_micro_per_kwh
    return Payments(
        orders_nano=tuple(
            products(np.where(book.side == Side.ASK, price, -price), clearing.fills_wh)
        ),
        tariffs_nano=tuple(products(tariff, flows)),
        rents_nano=tuple(products(spread - tariff, flows)),
    )
