"""Bills and suppliers' reports for programs: JSON with everything, CSV with every line."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from fairwatt.billing._month import local

if TYPE_CHECKING:
    from fractions import Fraction

    from fairwatt.billing._bill import Bill, Total
    from fairwatt.billing._lines import Line
    from fairwatt.billing._records import Party

__all__ = ["LINE_COLUMNS", "bill_csv", "bill_document"]

LINE_COLUMNS = (
    "time", "seconds", "item", "booked_as", "energy_wh", "price_micro_per_kwh", "amount_nano",
    "counterparty", "session", "booked_at",
)  # fmt: skip
"""Of a bill's CSV: local times with their offset, session as Unix seconds."""


def bill_csv(bill: Bill) -> str:
    """One row for each line; the amounts are the whole bill."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LINE_COLUMNS)
    writer.writerows(
        ["" if value is None else value for value in _line(bill, line).values()]
        for line in bill.lines
    )
    return text.getvalue()


def bill_document(bill: Bill) -> dict[str, Any]:
    """Everything, as JSON; amounts in nano-token, energies in Wh, prices in micro-token/kWh."""
    alone, own, grid, balance = bill.alone, bill.own_supply, bill.grid_charges, bill.movements
    return {
        "community": bill.title,
        "currency": bill.currency,
        "timeZone": str(bill.zone),
        "month": str(bill.month),
        "account": _party(bill.party),
        "suppliers": [_party(party) for party in bill.suppliers],
        "drawnUp": _time(bill, bill.until),
        "totalNano": bill.total_nano,
        "savedNano": bill.saved_nano,
        "provisional": {
            "periods": bill.periods,
            "pendingPeriods": bill.pending_periods,
            "estimatedPeriods": bill.estimated_periods,
        },
        "totals": {str(item): _total(total) for item, total in bill.totals.items()},
        "aloneWithSupplier": {
            "bought": _total(alone.bought),
            "sold": _total(alone.sold),
            "amountNano": alone.amount_nano,
        },
        "ownSupply": {
            "basis": own.basis,
            "takenWh": own.taken_wh,
            "injectedWh": own.injected_wh,
            "fromCommunityWh": own.from_community_wh,
            "toCommunityWh": own.to_community_wh,
            "generationWh": own.generation_wh,
            "consumptionWh": own.consumption_wh,
            "autarky": own.autarky,
            "selfConsumption": own.self_consumption,
            "autarkyWithCommunity": own.autarky_with_community,
            "selfConsumptionWithCommunity": own.self_consumption_with_community,
        },
        "gridCharges": {
            "paidByBuyersNano": grid.paid_nano,
            "receivedBySellersNano": grid.received_nano,
            "linkTariffsNano": grid.tariff_nano,
            "congestionRentNano": grid.rent_nano,
            "containedInPaymentsNano": grid.contained_nano,
        },
        "balance": {
            "openingNano": balance.opening_nano,
            "depositsNano": balance.deposits_nano,
            "withdrawalsNano": balance.withdrawals_nano,
            "chargesNano": balance.charges_nano,
            "otherChargesNano": balance.other_charges_nano,
            "unpaidNano": balance.unpaid_nano,
            "closingNano": balance.closing_nano,
            "chargesBookedEarlierNano": balance.earlier_nano,
            "chargesBookedLaterNano": balance.later_nano,
        },
        "days": [
            {
                "date": day.date.isoformat(),
                "totals": {str(item): _total(total) for item, total in day.totals.items()},
                "retailMicroPerKWh": _mean(day.retail_micro_per_kwh),
                "feedInMicroPerKWh": _mean(day.feed_in_micro_per_kwh),
            }
            for day in bill.days
        ],
        "statement": [
            {
                "kind": str(entry.kind),
                "amountNano": entry.amount_nano,
                "bookedAt": _time(bill, entry.booked_at),
                "counterparty": entry.counterparty,
                "market": entry.market,
                "session": entry.session,
                "block": entry.block,
                "transaction": entry.transaction,
            }
            for entry in bill.statement.entries
        ],
        "lines": [_line(bill, line) for line in bill.lines],
    }


def _line(bill: Bill, line: Line) -> dict[str, Any]:
    values = (
        _time(bill, line.time), line.seconds, str(line.item), str(line.kind), line.energy_wh,
        line.price_micro_per_kwh, line.amount_nano, line.counterparty, line.session,
        _time(bill, line.booked_at),
    )  # fmt: skip
    return dict(zip(LINE_COLUMNS, values, strict=True))


def _party(party: Party) -> dict[str, Any]:
    return {"account": party.account, "name": party.name, "role": party.role}


def _total(total: Total) -> dict[str, Any]:
    return {
        "energyWh": total.energy_wh,
        "amountNano": total.amount_nano,
        "averageMicroPerKWh": _mean(total.price_micro_per_kwh),
    }


def _mean(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _time(bill: Bill, time: int) -> str:
    return local(time, bill.zone).isoformat()
