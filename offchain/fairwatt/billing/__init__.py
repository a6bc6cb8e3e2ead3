"""Bills: what everybody sold, bought and paid, to the last unit of the chain.

Books           what bills are made of: parties, deliveries, entries; from a chain or a recording
statement()     all that was booked on an account, held to its balance
bill_of()       the bill of an account and month, as data
supplier_report()
                what a supplier sees of a month
schedule(), changes()
                tariffs of a supplier, and what of them has to be published
bill_html(), bill_pdf(), bill_csv(), bill_document()
                a bill for people and for programs
"""

from __future__ import annotations

from fairwatt.billing._bill import (
    Alone,
    Bill,
    Day,
    GridCharges,
    Movements,
    OwnSupply,
    Total,
    bill_of,
    billed_months,
)
from fairwatt.billing._documents import LINE_COLUMNS, bill_csv, bill_document
from fairwatt.billing._html import bill_html
from fairwatt.billing._lines import Item, Line
from fairwatt.billing._month import Month
from fairwatt.billing._pdf import bill_pdf, bill_picture
from fairwatt.billing._records import FUND, Books, Delivery, Entry, Kind, Party, Trade
from fairwatt.billing._statement import Statement, entries_of, require_balanced, statement
from fairwatt.billing._supplier import (
    SUPPLIER_COLUMNS,
    Supplied,
    SupplierReport,
    supplier_report,
)
from fairwatt.billing._tariffs import (
    Band,
    DayAhead,
    Flat,
    Model,
    TimeOfUse,
    changes,
    read_tariffs,
    schedule,
    supplier_schedule,
)

__all__ = [
    "FUND",
    "LINE_COLUMNS",
    "SUPPLIER_COLUMNS",
    "Alone",
    "Band",
    "Bill",
    "Books",
    "Day",
    "DayAhead",
    "Delivery",
    "Entry",
    "Flat",
    "GridCharges",
    "Item",
    "Kind",
    "Line",
    "Model",
    "Month",
    "Movements",
    "OwnSupply",
    "Party",
    "Statement",
    "Supplied",
    "SupplierReport",
    "TimeOfUse",
    "Total",
    "Trade",
    "bill_csv",
    "bill_document",
    "bill_html",
    "bill_of",
    "bill_pdf",
    "bill_picture",
    "billed_months",
    "changes",
    "entries_of",
    "read_tariffs",
    "require_balanced",
    "schedule",
    "statement",
    "supplier_report",
    "supplier_schedule",
]
