"""What a supplier sees of a community: what its customers took and fed in beyond their trades."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairwatt.billing._lines import Item, lines_of
from fairwatt.billing._month import Month, local
from fairwatt.billing._records import Kind
from fairwatt.billing._statement import statement

if TYPE_CHECKING:
    from datetime import tzinfo

    from fairwatt.billing._records import Books, Party
    from fairwatt.billing._statement import Statement

__all__ = ["SUPPLIER_COLUMNS", "Supplied", "SupplierReport", "supplier_report"]

SUPPLIER_COLUMNS = (
    "time", "seconds", "import_wh", "export_wh", "metered_wh", "retail_micro_per_kwh",
    "feed_in_micro_per_kwh", "sales_nano", "purchases_nano", "customers", "missing",
)  # fmt: skip
"""Of the CSV, one row for each period."""


@dataclass(frozen=True, slots=True)
class Supplied:
    """A period, over all customers of a supplier.

    Parameters
    ----------
    import_wh
        What it sold to them: short of their trades, each by itself. Positive.
    export_wh
        What it bought from them.
    metered_wh
        What their meters counted together: injected positive, taken negative.
    sales_nano, purchases_nano
        What they paid for the first and received for the second, both at its tariffs.
    customers, missing
        How many there are, and of how many no reading is settled; they count with their estimates.
    """

    time: int
    seconds: int
    import_wh: int = 0
    export_wh: int = 0
    metered_wh: int = 0
    retail_micro_per_kwh: int = 0
    feed_in_micro_per_kwh: int = 0
    sales_nano: int = 0
    purchases_nano: int = 0
    customers: int = 0
    missing: int = 0


@dataclass(frozen=True)
class SupplierReport:
    """A supplier's month.

    Attributes
    ----------
    revenue_nano
        Of balancing: sales less purchases of all periods. It is what was booked with customers for
        deliveries of the month.
    """

    party: Party
    month: Month
    zone: tzinfo
    currency: str
    periods: tuple[Supplied, ...]
    statement: Statement

    @property
    def revenue_nano(self) -> int:
        """Sales less purchases."""
        return sum(each.sales_nano - each.purchases_nano for each in self.periods)

    def to_csv(self) -> str:
        """One row for each period."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(SUPPLIER_COLUMNS)
        for each in self.periods:
            row = [getattr(each, name) for name in SUPPLIER_COLUMNS[1:]]
            writer.writerow([local(each.time, self.zone).isoformat(), *row])
        return text.getvalue()

    def to_document(self) -> dict[str, Any]:
        """The month, as JSON; amounts in nano-token, energies in Wh."""
        booked: defaultdict[Kind, int] = defaultdict(int)
        for entry in self.statement.entries:
            booked[entry.kind] += entry.amount_nano
        return {
            "supplier": {"account": self.party.account, "name": self.party.name},
            "month": str(self.month),
            "currency": self.currency,
            "importWh": sum(each.import_wh for each in self.periods),
            "exportWh": sum(each.export_wh for each in self.periods),
            "meteredWh": sum(each.metered_wh for each in self.periods),
            "salesNano": sum(each.sales_nano for each in self.periods),
            "purchasesNano": sum(each.purchases_nano for each in self.periods),
            "revenueNano": self.revenue_nano,
            "balance": {
                "openingNano": self.statement.opening_nano,
                "bookedNano": {str(kind): nano for kind, nano in booked.items()},
                "closingNano": self.statement.closing_nano,
            },
        }


def supplier_report(books: Books, account: int, month: Month) -> SupplierReport:
    """What a supplier sees of a month of delivery.

    Raises
    ------
    BillingError
        If there is no such account, or a customer's lines are not what was booked.
    BooksNotBalanced
        If the supplier's entries are not its balance.
    """
    zone = books.zone
    start, end = month.start(zone), month.end(zone)
    sums: dict[tuple[int, int], dict[str, int]] = {}
    customers = set()
    for delivery in books.deliveries:
        if delivery.supplier != account:
            continue
        customers.add(delivery.peer)
        for period in range(delivery.periods):
            time = delivery.time(period)
            if start <= time < end:
                key = (time, delivery.period_seconds)
                row = sums.setdefault(key, defaultdict(int))
                row["customers"] += 1
                row["retail_micro_per_kwh"] = delivery.retail_micro_per_kwh[period]
                row["feed_in_micro_per_kwh"] = delivery.feed_in_micro_per_kwh[period]
                if delivery.metered_wh is None:
                    row["missing"] += 1
                else:
                    row["metered_wh"] += delivery.metered_wh[period]
    for customer in sorted(customers):
        for line in lines_of(books, customer):
            if line.item not in _BALANCED or line.counterparty != account:
                continue
            if start <= line.time < end:
                row = sums[line.time, line.seconds]
                back = -1 if line.kind is Kind.ESTIMATE_BACK else 1
                side = ("import", "sales", -1) if line.energy_wh < 0 else ("export", "purchases", 1)
                row[f"{side[0]}_wh"] += back * abs(line.energy_wh)
                row[f"{side[1]}_nano"] += side[2] * line.amount_nano
    periods = tuple(Supplied(*key, **row) for key, row in sorted(sums.items()))
    party, booked = books.party(account), statement(books, account, start, end)
    return SupplierReport(party, month, zone, books.currency, periods, booked)


_BALANCED = (Item.GRID_BOUGHT, Item.GRID_SOLD, Item.SHORT, Item.LONG, Item.ESTIMATE)
