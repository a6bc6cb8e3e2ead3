"""From deliveries to lines: each amount that was booked for a session, period by period.

In a period the meter counts m (injected positive) where the peer had sold or bought P in all
(sold positive). What is both traded and metered was delivered in the community:

    c = sign(P) min(|P|, |m|)  if P and m have one sign, else 0

What the meter counted beyond it, m - c, went through the grid: the supplier sold or bought it.
What was traded beyond it, c - P, is the imbalance: sold and not delivered, or bought and not used.
The contract settles the sum, m - P, at one price: the supplier's feed-in tariff if it is positive,
else its retail tariff. Both parts have the sign of the sum, so they add up without a remainder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fairwatt.billing._records import Kind
from fairwatt.errors import BillingError

if TYPE_CHECKING:
    from fairwatt.billing._records import Books, Delivery, Entry

__all__ = ["Item", "Line", "lines_of", "split_wh"]


class Item(StrEnum):
    """What a line of a bill is about."""

    COMMUNITY_BOUGHT = "bought in the community"
    COMMUNITY_SOLD = "sold in the community"
    GRID_BOUGHT = "bought from the supplier"
    GRID_SOLD = "sold to the supplier"
    SHORT = "sold but not delivered"
    LONG = "bought but not used"
    ESTIMATE = "estimated, reading missing"
    FUND_SHARE = "share of the community fund"
    LINK_TARIFF = "grid charges earned"
    RENT = "congestion rent earned"
    SOLVER_FEE = "fee for a clearing"
    CUSTOMERS = "settled with customers"
    FUND_GIFT = "given to the community fund"


@dataclass(frozen=True, slots=True)
class Line:
    """An amount of a bill.

    Parameters
    ----------
    kind
        The entry it is part of.
    time, seconds
        The delivery period; for money without one, when it was booked, and 0.
    energy_wh
        Sold or injected positive, bought or taken negative.
    price_micro_per_kwh
        None where the amount is no energy times a price.
    amount_nano
        Received positive, paid negative.
    booked_at
        When; the start of the session if it came to nothing as a whole and was not booked.
    """

    item: Item
    kind: Kind
    time: int
    seconds: int
    energy_wh: int
    price_micro_per_kwh: int | None
    amount_nano: int
    booked_at: int
    counterparty: int | None = None
    session: int | None = None


_Key = tuple[Kind, int | None, int | None]
"""Kind, market and session of entries."""

_BALANCES = (Kind.BALANCING, Kind.ESTIMATE, Kind.ESTIMATE_BACK)
_DIRECT = {
    Kind.FUND_SHARE: Item.FUND_SHARE,
    Kind.LINK_TARIFF: Item.LINK_TARIFF,
    Kind.RENT: Item.RENT,
    Kind.SOLVER_FEE: Item.SOLVER_FEE,
    Kind.FUND_GIFT: Item.FUND_GIFT,
}
"""Entries that are a line by themselves. Deposits, withdrawals and arrears are no charges."""


def split_wh(position_wh: int, metered_wh: int) -> tuple[int, int, int]:
    """What was delivered in the community, went through the grid, and is imbalance; see above."""
    delivered = 0
    if position_wh > 0 < metered_wh:
        delivered = min(position_wh, metered_wh)
    elif position_wh < 0 > metered_wh:
        delivered = max(position_wh, metered_wh)
    return delivered, metered_wh - delivered, delivered - position_wh


def lines_of(books: Books, account: int) -> list[Line]:
    """All lines of an account, in order of their time.

    Raises
    ------
    BillingError
        If the lines of a session are not what was booked for it.
    """
    entries: defaultdict[_Key, list[Entry]] = defaultdict(list)
    customers = []
    for entry in books.entries:
        if entry.account != account:
            continue
        if entry.kind in _BALANCES and _is_suppliers(books, entry):
            customers.append(entry)
        else:
            entries[entry.kind, entry.market, entry.session].append(entry)
    lines = [_whole(entry, Item.CUSTOMERS) for entry in customers]
    for kind, item in _DIRECT.items():
        for key in [key for key in entries if key[0] is kind]:
            lines += [_whole(entry, item) for entry in entries.pop(key)]
    for delivery in books.deliveries:
        if delivery.peer == account:
            lines += _explained(books, delivery, entries)
    for kind, _, session in entries:
        if kind in (*_BALANCES, Kind.MARKET, Kind.TRADE) and session is not None:
            raise BillingError(
                f"account {account} has an entry {str(kind)!r} for session {session}, but there is "
                "no delivery that explains it"
            )
    return sorted(lines, key=lambda line: line.time)


def _is_suppliers(books: Books, entry: Entry) -> bool:
    """Whether an account was booked as the supplier of somebody, and not for its own meter."""
    return books.party(entry.account).role == "supplier"


def _whole(entry: Entry, item: Item) -> Line:
    time = entry.booked_at if entry.session is None else entry.session
    return Line(
        item, entry.kind, time, 0, 0, None, entry.amount_nano, entry.booked_at,
        entry.counterparty, entry.session,
    )  # fmt: skip


def _explained(
    books: Books, delivery: Delivery, entries: dict[_Key, list[Entry]]
) -> Iterator[Line]:
    """The lines of a delivery, of each kind as much as was booked."""
    for kind, make in (
        (Kind.MARKET, _market),
        (Kind.TRADE, _trades),
        (Kind.BALANCING, _balancing),
        (Kind.ESTIMATE, _estimate),
        (Kind.ESTIMATE_BACK, _estimate),
    ):
        booked = entries.pop((kind, delivery.market, delivery.session), [])
        if kind in (Kind.ESTIMATE, Kind.ESTIMATE_BACK) and not booked:
            continue
        sign = -1 if kind is Kind.ESTIMATE_BACK else 1
        at = booked[-1].booked_at if booked else delivery.session
        found = [
            Line(
                item, kind, delivery.time(period), delivery.period_seconds,
                wh, price, sign * wh * price, at, other, delivery.session,
            )
            for period, item, wh, price, other in make(delivery)
        ]  # fmt: skip
        expected = sum(entry.amount_nano for entry in booked)
        actual = sum(line.amount_nano for line in found)
        if expected != actual:
            raise BillingError(
                f"account {delivery.peer} ({books.party(delivery.peer).name}), session "
                f"{delivery.session}: {str(kind)!r} was booked with {expected:,} nano-token, "
                f"energies and prices come to {actual:,}"
            )
        yield from found


_Row = tuple[int, Item, int, int, int | None]
"""Period, item, Wh, micro-token/kWh, counterparty."""


def _market(delivery: Delivery) -> Iterator[_Row]:
    for period, (wh, price) in enumerate(
        zip(delivery.position_wh, delivery.price_micro_per_kwh, strict=True)
    ):
        if wh:
            item = Item.COMMUNITY_SOLD if wh > 0 else Item.COMMUNITY_BOUGHT
            yield period, item, wh, price, None


def _trades(delivery: Delivery) -> Iterator[_Row]:
    for trade in delivery.trades:
        item = Item.COMMUNITY_SOLD if trade.energy_wh > 0 else Item.COMMUNITY_BOUGHT
        for period in range(trade.first_period, trade.first_period + trade.periods):
            yield period, item, trade.energy_wh, trade.price_micro_per_kwh, trade.counterparty


def _balancing(delivery: Delivery) -> Iterator[_Row]:
    if delivery.metered_wh is None or delivery.supplier is None:
        return
    for period, (position, metered) in enumerate(
        zip(delivery.traded_wh, delivery.metered_wh, strict=True)
    ):
        _, grid, imbalance = split_wh(position, metered)
        surplus = metered > position
        rates = delivery.feed_in_micro_per_kwh if surplus else delivery.retail_micro_per_kwh
        items = (Item.GRID_SOLD, Item.LONG) if surplus else (Item.GRID_BOUGHT, Item.SHORT)
        for item, wh in zip(items, (grid, imbalance), strict=True):
            if wh:
                yield period, item, wh, rates[period], delivery.supplier


def _estimate(delivery: Delivery) -> Iterator[_Row]:
    """What was bought was taken, what was sold was not delivered; never a gain in all."""
    rows = [
        (period, Item.ESTIMATE, -wh, delivery.retail_micro_per_kwh[period], delivery.supplier)
        for period, wh in enumerate(delivery.traded_wh)
        if wh > 0
    ]
    if sum(wh * price for _, _, wh, price, _ in rows) <= 0:
        yield from rows
