"""A bill in words and numbers for a household; HTML and PDF show the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fairwatt.billing._lines import Item
from fairwatt.billing._month import local
from fairwatt.billing._records import Kind
from fairwatt.units import MICRO, NANO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    from fairwatt.billing._bill import Bill, Total

__all__ = ["Row", "Section", "View", "view_of"]

_SIGNS: Final = {"EUR": "€", "GBP": "£", "USD": "$"}
_MINUS: Final = "−"
_WHAT: Final = {
    Item.COMMUNITY_BOUGHT: ("Bought in the community", "Energy of your neighbours."),
    Item.COMMUNITY_SOLD: ("Sold in the community", "Your energy, used by your neighbours."),
    Item.GRID_BOUGHT: (
        "Bought from the supplier",
        "What you took beyond what the community brought.",
    ),
    Item.GRID_SOLD: (
        "Sold to the supplier",
        "What you fed in beyond what the community took.",
    ),
    Item.SHORT: (
        "Sold, but not delivered",
        "You had sold it to the community; the supplier delivered it in your place.",
    ),
    Item.LONG: (
        "Bought, but not used",
        "You had bought it in the community; the supplier took it back.",
    ),
    Item.ESTIMATE: (
        "Estimated",
        "Your meter's reading is missing: what you had sold counts as not delivered.",
    ),
    Item.FUND_SHARE: ("Your share of the community fund", "Paid out by the community."),
    Item.LINK_TARIFF: ("Grid charges earned", "For energy over your links."),
    Item.RENT: ("Congestion rent earned", "For energy over full links."),
    Item.SOLVER_FEE: ("Fees for clearings", "Between the solver and the community fund."),
    Item.CUSTOMERS: ("Settled with customers", "As their supplier; see the supplier's report."),
    Item.FUND_GIFT: ("Given to the community fund", ""),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table; `note` explains it in small print, `is_sum` sets it off."""

    cells: tuple[str, ...]
    note: str = ""
    is_sum: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A table with a title, or a text."""

    title: str
    head: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """All that is shown.

    Attributes
    ----------
    facts
        Of the top: name and value.
    headline, subline
        What matters first.
    tiles
        Figure and what it is.
    daily
        The table of days.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    headline: str
    subline: str
    tiles: tuple[tuple[str, str], ...]
    warning: str
    sections: tuple[Section, ...]
    daily: Section
    notes: tuple[str, ...]


def view_of(bill: Bill) -> View:
    """Write a bill."""
    return _Writer(bill).view()


class _Writer:
    def __init__(self, bill: Bill) -> None:
        self.bill = bill
        amounts = [abs(total.amount_nano) for total in bill.totals.values()]
        # Of a day's cents the hundredths would all be zero.
        self.decimals = 2 if max(amounts, default=NANO) >= NANO else 4

    # --------------------------------------------------------------------------------- numbers

    def money(self, nano: int, *, sign: bool = True) -> str:
        """Rounded half away from zero, for display."""
        unit = 10 ** (9 - self.decimals)
        steps = (abs(nano) + unit // 2) // unit
        text = f"{steps // 10**self.decimals:,}.{steps % 10**self.decimals:0{self.decimals}}"
        mark = (_MINUS if nano < 0 else "+") if sign and steps else ""
        return f"{mark}{self._with_unit(text)}"

    def exact(self, nano: int) -> str:
        """All nine decimals."""
        mark = _MINUS if nano < 0 else ""
        return f"{mark}{self._with_unit(f'{abs(nano) // NANO:,}.{abs(nano) % NANO:09}')}"

    def _with_unit(self, text: str) -> str:
        currency = self.bill.currency
        sign = _SIGNS.get(currency.upper())
        return f"{sign}{text}" if sign else f"{text} {currency}"

    def price(self, price: Fraction | None) -> str:
        """Per kWh, four decimals."""
        if price is None:
            return ""
        text = self._with_unit(f"{abs(float(price)) / MICRO:.4f}")
        return f"{_MINUS if price < 0 else ''}{text}"

    # --------------------------------------------------------------------------------- parts

    def view(self) -> View:
        bill = self.bill
        suppliers = ", ".join(party.name for party in bill.suppliers)
        facts = [
            ("Member", f"{bill.party.name} (account {bill.party.account}, {bill.party.role})"),
            ("Month", f"{bill.month.title}, {_plural(bill.periods, 'delivery period')}"),
        ]
        if suppliers:
            facts.append(("Supplier", suppliers))
        facts.append(("Drawn up", f"{local(bill.until, bill.zone):%d %B %Y, %H:%M} ({bill.zone})"))
        return View(
            title=f"{bill.title}: bill for {bill.month.title}",
            facts=tuple(facts),
            headline=self._headline(),
            subline=self._subline(suppliers or "the supplier"),
            tiles=tuple(self._tiles()),
            warning=self._warning(),
            sections=tuple(self._sections()),
            daily=self._daily(),
            notes=tuple(self._notes()),
        )

    def _headline(self) -> str:
        total = self.bill.total_nano
        if total > 0:
            return f"You receive {self.money(total, sign=False)}"
        return f"You pay {self.money(total, sign=False)}"

    def _subline(self, supplier: str) -> str:
        bill = self.bill
        if not bill.suppliers:
            return ""
        alone = bill.alone.amount_nano
        verb = "receive" if alone > 0 else "pay"
        saved = bill.saved_nano
        better = f"{self.money(saved, sign=False)} {'better' if saved >= 0 else 'worse'} off"
        if bill.is_provisional:
            better += " so far; a reading that is missing changes both"
        # Of an income, or beyond all of a bill, a percentage says nothing.
        elif alone < 0 and saved <= -alone:
            better += f" ({abs(saved) / -alone:.1%})"
        return (
            f"For the same energy with {supplier} alone you would {verb} "
            f"{self.money(alone, sign=False)}. With the community you are {better}."
        )

    def _tiles(self) -> Iterator[tuple[str, str]]:
        own = self.bill.own_supply
        behind = own.consumption_wh is not None
        yield _kwh(own.taken_wh), "taken at your meter"
        yield _kwh(own.injected_wh), "fed in at your meter"
        whose = "consumption" if behind else "what you took"
        if (part := own.autarky_with_community) is not None:
            yield f"{part:.0%}", f"of {whose} without the supplier"
        whose = "generation" if behind else "what you fed in"
        if (part := own.self_consumption_with_community) is not None:
            yield f"{part:.0%}", f"of {whose} used at home or by neighbours"

    def _warning(self) -> str:
        bill = self.bill
        parts = []
        if bill.pending_periods:
            parts.append(f"{_plural(bill.pending_periods, 'period')} not settled yet")
        if bill.estimated_periods:
            parts.append(f"{_plural(bill.estimated_periods, 'period')} estimated for now")
        return f"Provisional: {', '.join(parts)}." if parts else ""

    def _sections(self) -> Iterator[Section]:
        bill = self.bill
        rows = [
            Row((_WHAT[item][0], *self._cells(total)), _WHAT[item][1])
            for item, total in bill.totals.items()
            if total.energy_wh or total.amount_nano
        ]
        rows.append(Row(("In all", "", "", self.money(bill.total_nano)), is_sum=True))
        yield Section("What you bought and sold", _HEAD, tuple(rows))
        if bill.suppliers:
            yield self._alone()
        yield from self._own_supply()
        if bill.grid_charges.paid_nano:
            yield self._grid()
        yield self._balance()

    def _cells(self, total: Total) -> tuple[str, str, str]:
        energy = _kwh(abs(total.energy_wh)) if total.energy_wh else ""
        return energy, self.price(total.price_micro_per_kwh), self.money(total.amount_nano)

    def _alone(self) -> Section:
        alone = self.bill.alone
        return Section(
            "What it would have been without the community",
            _HEAD,
            (
                Row(("All you took, from the supplier", *self._cells(alone.bought))),
                Row(("All you fed in, to the supplier", *self._cells(alone.sold))),
                Row(("Without the community", "", "", self.money(alone.amount_nano)), is_sum=True),
                Row(("With the community", "", "", self.money(self.bill.total_nano))),
                Row(("Difference", "", "", self.money(self.bill.saved_nano)), is_sum=True),
            ),
            "The same metered energy at the supplier's tariffs of each period.",
        )

    def _own_supply(self) -> Iterator[Section]:
        own = self.bill.own_supply
        rows: list[Row] = []
        head: tuple[str, ...] = ("", "Share")
        if own.basis == "behind the meter":
            for name, alone, together in (
                ("Autarky", own.autarky, own.autarky_with_community),
                (
                    "Self-consumption",
                    own.self_consumption,
                    own.self_consumption_with_community,
                ),
            ):
                if alone is not None and together is not None:
                    rows.append(Row((name, f"{alone:.1%}", f"{together:.1%}"), _OWN[name]))
            head = ("", "Your home", "With the community")
            text = (
                f"From {_kwh(own.consumption_wh or 0)} consumption and "
                f"{_kwh(own.generation_wh or 0)} generation behind your meter; losses of "
                "storage count as consumption."
            )
        else:
            pairs = (
                ("Of what you took, from the community", own.autarky_with_community),
                (
                    "Of what you fed in, to the community",
                    own.self_consumption_with_community,
                ),
            )
            rows = [Row((name, f"{part:.1%}")) for name, part in pairs if part is not None]
            text = (
                "From your net meter alone: what you generate and use at home at the same time "
                "is not seen by it."
            )
        if rows:
            yield Section("Your own supply", head, tuple(rows), text)

    def _grid(self) -> Section:
        charges = self.bill.grid_charges
        rows = [
            Row(("Paid by all buyers", self.money(-charges.paid_nano))),
            Row(("Received by all sellers", self.money(charges.received_nano))),
            Row(("Link tariffs, to the network operators", self.money(charges.tariff_nano))),
            Row(("Congestion rent, to the community fund", self.money(charges.rent_nano))),
        ]
        if self.bill.total(Item.COMMUNITY_BOUGHT).energy_wh:
            contained = self.money(-charges.contained_nano)
            rows.append(Row(("In what you paid, about", contained), is_sum=True))
        return Section(
            "Grid charges in the community's prices",
            ("Whole community, this month", ""),
            tuple(rows),
            "Nobody is billed for the grid separately: buyers pay the price at their node, sellers "
            "receive that at theirs, and the links between earn the difference. What is contained "
            "in your payments is how much more you paid than sellers received on average at the "
            "same time.",
        )

    def _balance(self) -> Section:
        moved, month = self.bill.movements, self.bill.month.title
        rows = [Row((f"Balance at the beginning of {month}", self.exact(moved.opening_nano)))]
        for name, nano in (
            ("Deposits", moved.deposits_nano),
            ("Withdrawals", moved.withdrawals_nano),
            ("Of this bill, booked this month", moved.charges_nano),
            ("Of other months, booked this month", moved.other_charges_nano),
            ("Left unpaid, or paid of it", moved.unpaid_nano),
        ):
            if nano:
                rows.append(Row((name, self.exact(nano))))
        rows.append(Row(("Balance at the end", self.exact(moved.closing_nano)), is_sum=True))
        for name, nano in (
            ("Of this bill, booked before this month", moved.earlier_nano),
            ("Of this bill, booked after this month", moved.later_nano),
        ):
            if nano:
                rows.append(Row((name, self.exact(nano))))
        return Section(
            "Your balance in the community's ledger",
            ("", "Exact"),
            tuple(rows),
            "As on chain, to the last unit (a billionth of a token).",
        )

    def _daily(self) -> Section:
        table = [
            (
                f"{day.date:%a %d}",
                *self._traded(day.total(Item.COMMUNITY_BOUGHT)),
                *self._traded(day.total(Item.COMMUNITY_SOLD)),
                _energy(day.total(Item.GRID_BOUGHT)),
                _energy(day.total(Item.GRID_SOLD)),
                _energy(day.total(Item.SHORT, Item.LONG, Item.ESTIMATE)),
                self.money(day.total(*day.totals).amount_nano),
            )
            for day in self.bill.days
            if day.totals
        ]
        used = [at for at in range(len(_DAILY)) if any(row[at] for row in table)]
        return Section(
            "Day by day",
            tuple(_DAILY[at] for at in used),
            tuple(Row(tuple(row[at] for at in used)) for row in table),
            "Energy in kWh, average prices per kWh. Bought and sold: in the community.",
        )

    def _traded(self, total: Total) -> tuple[str, str]:
        return _energy(total), self.price(total.price_micro_per_kwh)

    def _notes(self) -> Iterator[str]:
        bill = self.bill
        yield (
            f"Amounts are rounded for display only. The exact sum of this bill is "
            f"{self.exact(bill.total_nano)} ({bill.total_nano:,} nano-token); its "
            f"{_plural(len(bill.lines), 'line')} are in the CSV and JSON files."
        )
        yield "+ is received, − is paid. A token stands for " + (
            f"one {bill.currency}." if bill.currency != "token" else "itself."
        )
        replaced = [line for line in bill.lines if line.kind is Kind.ESTIMATE_BACK]
        if replaced:
            yield (
                "A missing reading had been estimated; the reading came later and replaced the "
                "estimate, and the difference was settled."
            )
        yield (
            "A delivery period belongs to the day and month, on the local clock "
            f"({bill.zone}), in which it starts."
        )


_HEAD: Final = ("", "Energy", "Price per kWh", "Amount")
_DAILY: Final = (
    "Day", "Bought", "at", "Sold", "at", "From supplier", "To supplier", "Imbalance", "Amount",
)  # fmt: skip
_OWN: Final = {
    "Autarky": "Part of your consumption not taken at the meter, or not from the supplier.",
    "Self-consumption": "Part of your generation used at home, or by the community.",
}


def _kwh(wh: int) -> str:
    return f"{wh / 1000:,.1f} kWh" if wh >= 100_000 else f"{wh / 1000:,.2f} kWh"


def _energy(total: Total) -> str:
    return f"{abs(total.energy_wh) / 1000:,.2f}" if total.energy_wh else ""


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
