"""Market designs to compare the proved clearing with: auctions, price rules of a pool, a leader.

Pure functions on plain data. *Auctions* take a book of one node in the whole numbers of
`fairwatt.market`; *price rules* and the *leader* take energy in kWh and tariffs in token/kWh as
arrays of shape (peers, periods). docs/mechanisms.md says what each guarantees.
"""

from __future__ import annotations

from fairwatt.mechanisms._auctions import (
    Auction,
    ContinuousAuction,
    PairPrice,
    Step,
    Trade,
    continuous_double_auction,
    efficiency,
    pay_as_bid,
    uniform_price,
)
from fairwatt.mechanisms._pool import PoolResult
from fairwatt.mechanisms._price_rules import (
    alone,
    bill_sharing,
    mid_market_rate,
    supply_demand_ratio,
)
from fairwatt.mechanisms._stackelberg import Demand, StackelbergResult, stackelberg

__all__ = [
    "Auction",
    "ContinuousAuction",
    "Demand",
    "PairPrice",
    "PoolResult",
    "StackelbergResult",
    "Step",
    "Trade",
    "alone",
    "bill_sharing",
    "continuous_double_auction",
    "efficiency",
    "mid_market_rate",
    "pay_as_bid",
    "stackelberg",
    "supply_demand_ratio",
    "uniform_price",
]
