"""Bills: what everybody sold, bought and paid, to the last unit of the chain.

Books      what bills are made of: parties, deliveries, entries; from a chain or from a recording
"""

from __future__ import annotations

from fairwatt.billing._records import FUND, Books, Delivery, Entry, Kind, Party

__all__ = ["FUND", "Books", "Delivery", "Entry", "Kind", "Party"]
