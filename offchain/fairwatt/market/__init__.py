"""The market kernel: a book of limit orders on a network goes in, a proved clearing comes out.

Knows nothing of chain, files, web or command line. Energy is in Wh, prices are in
micro-token/kWh, value is in nano-token (= Wh x micro-token/kWh); all whole numbers.
"""

from __future__ import annotations

from fairwatt.market.book import Book, LimitOrder, Side
from fairwatt.market.certificate import Certificate, Witnesses, certify, witnesses
from fairwatt.market.clearing import Clearing
from fairwatt.market.kernel import clear
from fairwatt.market.money import Payments, payments
from fairwatt.market.network import Link, Network
from fairwatt.market.proof import Proof, check, verify

__all__ = [
    "Book",
    "Certificate",
    "Clearing",
    "LimitOrder",
    "Link",
    "Network",
    "Payments",
    "Proof",
    "Side",
    "Witnesses",
    "certify",
    "check",
    "clear",
    "payments",
    "verify",
    "witnesses",
]
