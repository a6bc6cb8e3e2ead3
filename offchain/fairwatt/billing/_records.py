"""What bills are made of: who there is, what was delivered, and what was booked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from enum import StrEnum
from typing import Final

from fairwatt.errors import BillingError

__all__ = ["FUND", "Books", "Delivery", "Entry", "Kind", "Party", "Trade"]

FUND: Final = 0
"""The account number of the community fund."""


class Kind(StrEnum):
    """What money was booked for."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    MOVE = "moved to another ledger"
    MARKET = "market"
    """Sold or bought in a clearing."""
    TRADE = "trade"
    """Sold to or bought from a peer outside the clearing."""
    LINK_TARIFF = "link tariff"
    RENT = "congestion rent"
    SOLVER_FEE = "solver fee"
    BALANCING = "balancing"
    """What the meter counted beyond the position, between a peer and its supplier."""
    ESTIMATE = "estimate"
    """The same while the reading is missing."""
    ESTIMATE_BACK = "estimate taken back"
    FUND_SHARE = "share of the fund"
    FUND_GIFT = "paid into the fund"
    ARREARS = "left unpaid"
    """Takes back what a debtor could not pay of another entry."""
    ARREARS_PAID = "arrears paid"


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody with an account, or the fund.

    Parameters
    ----------
    role
        `consumer`, `producer`, `prosumer`, `storage`, `supplier`, `operator` or `fund`.
    """

    account: int
    name: str
    role: str
    community: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """An amount that an account received (positive) or paid (negative).

    Parameters
    ----------
    amount_nano
        Nano-token, exactly as booked.
    booked_at
        Time of the block, UTC Unix seconds.
    counterparty
        The other account, where there is one.
    market, session
        What it was booked for: the market and the start of the session.
    block, transaction
        Where it is on chain.
    """

    account: int
    kind: Kind
    amount_nano: int
    booked_at: int
    counterparty: int | None = None
    market: int | None = None
    session: int | None = None
    block: int = 0
    transaction: str = ""


@dataclass(frozen=True, slots=True)
class Trade:
    """Energy traded with a peer outside the clearing.

    Parameters
    ----------
    energy_wh
        In each of its periods: sold positive, bought negative.
    """

    counterparty: int
    first_period: int
    periods: int
    energy_wh: int
    price_micro_per_kwh: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a peer traded and metered in one session; every series has one value per period.

    Parameters
    ----------
    session
        Start of its first period, UTC Unix seconds.
    position_wh
        Traded in the clearing: sold positive, bought negative. Zeros if the session was void.
    price_micro_per_kwh
        At the peer's node; zeros if the session was void.
    metered_wh
        Injected positive, taken negative; None as long as no signed reading is settled.
    supplier
        Account of its supplier; None: it has no meter, so nothing is balanced.
    retail_micro_per_kwh, feed_in_micro_per_kwh
        Its supplier's tariffs; empty without a supplier.
    trades
        What it traded besides; readings are settled against the sum of it and the position.
    is_estimated
        Whether an estimate is settled in place of the reading.
    generation_wh, consumption_wh
        Behind the meter, both positive, where somebody knows them. Generation less consumption is
        what the meter counted, but for what storage took or gave.
    """

    peer: int
    market: int
    session: int
    period_seconds: int
    position_wh: tuple[int, ...]
    price_micro_per_kwh: tuple[int, ...]
    metered_wh: tuple[int, ...] | None = None
    supplier: int | None = None
    retail_micro_per_kwh: tuple[int, ...] = ()
    feed_in_micro_per_kwh: tuple[int, ...] = ()
    trades: tuple[Trade, ...] = ()
    is_estimated: bool = False
    generation_wh: tuple[int, ...] | None = None
    consumption_wh: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        periods = len(self.position_wh)
        series = {
            "price_micro_per_kwh": self.price_micro_per_kwh,
            "metered_wh": self.metered_wh,
            "generation_wh": self.generation_wh,
            "consumption_wh": self.consumption_wh,
        }
        if self.supplier is not None:
            series |= {
                "retail_micro_per_kwh": self.retail_micro_per_kwh,
                "feed_in_micro_per_kwh": self.feed_in_micro_per_kwh,
            }
        for name, values in series.items():
            if values is not None and len(values) != periods:
                raise BillingError(
                    f"{name} of account {self.peer} in session {self.session} has {len(values)} "
                    f"values for {periods} periods"
                )

    @property
    def periods(self) -> int:
        """How many periods the session has."""
        return len(self.position_wh)

    @property
    def traded_wh(self) -> tuple[int, ...]:
        """Position and trades together, per period."""
        energy = list(self.position_wh)
        for trade in self.trades:
            for period in range(trade.first_period, trade.first_period + trade.periods):
                energy[period] += trade.energy_wh
        return tuple(energy)

    def time(self, period: int) -> int:
        """When a period starts, UTC Unix seconds."""
        return self.session + period * self.period_seconds


@dataclass(frozen=True)
class Books:
    """All that bills are made of; `require_balanced` says whether it adds up.

    Parameters
    ----------
    until
        Time of the block at which all was read, UTC Unix seconds.
    parties
        By account; the fund is added if it is missing.
    entries
        Of all accounts, in the sequence in which they were booked.
    balances_nano
        Of all accounts at `until`, as the ledger has them.
    opening_nano
        Their balances before the first entry; nothing is 0.
    currency
        What a token stands for.
    zone
        Time zone of months, days and hours.
    """

    until: int
    parties: Mapping[int, Party]
    deliveries: tuple[Delivery, ...]
    entries: tuple[Entry, ...]
    balances_nano: Mapping[int, int]
    opening_nano: Mapping[int, int] = field(default_factory=dict)
    title: str = "Energy community"
    currency: str = "token"
    zone: tzinfo = UTC

    def __post_init__(self) -> None:
        fund = {FUND: Party(FUND, "community fund", "fund")}
        object.__setattr__(self, "parties", fund | dict(self.parties))

    def party(self, account: int) -> Party:
        """Whose account it is.

        Raises
        ------
        BillingError
            If there is no such account.
        """
        if account not in self.parties:
            known = ", ".join(map(str, sorted(self.parties)))
            raise BillingError(f"there is no account {account}; there are {known}")
        return self.parties[account]

    def sums_nano(self) -> dict[int, int]:
        """What each account should have: where it began, and all that was booked."""
        sums = defaultdict(int, self.opening_nano)
        for entry in self.entries:
            sums[entry.account] += entry.amount_nano
        return dict(sums)
