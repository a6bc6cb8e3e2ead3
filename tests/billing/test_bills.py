"""Bills from recorded books: months, clock changes, what they show, and what they refuse."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from matplotlib.figure import Figure

from fairwatt.billing import (
    Books,
    Delivery,
    Entry,
    Item,
    Kind,
    Month,
    Party,
    Trade,
    bill_document,
    bill_html,
    bill_of,
    bill_pdf,
    billed_months,
    supplier_report,
)
from fairwatt.billing._chart import draw_days
from fairwatt.errors import BillingError, BooksNotBalanced
from tests.billing.recorded import CITY, GREEN, HOMES, MADRID, record

OCTOBER = Month(2019, 10)


@pytest.fixture(scope="module")
def autumn() -> Books:
    """Six days around the end of summer time and of the month."""
    return record(datetime(2019, 10, 26, tzinfo=MADRID), 8, behind_meter=True)


def of_one_period(
    traded: int, metered: int | None, *, price: int = 100_000, retail: int = 300_000
) -> Books:
    """A peer with one hour, settled with its supplier."""
    entries = [Entry(2, Kind.MARKET, traded * price, 10, market=1, session=0)]
    if metered is not None:
        wh = metered - traded
        nano = wh * (80_000 if wh > 0 else retail)
        entries.append(Entry(2, Kind.BALANCING, nano, 20, 1, 1, 0))
        entries.append(Entry(1, Kind.BALANCING, -nano, 20, 2, 1, 0))
    balances = {0: 0, 1: 0, 2: 0}
    for entry in entries:
        balances[entry.account] += entry.amount_nano
    delivery = Delivery(
        2, 1, 0, 3600, (traded,), (price,), metered and (metered,), 1, (retail,), (80_000,)
    )
    parties = {1: Party(1, "Retail Ltd", "supplier"), 2: Party(2, "Ana <i>", "prosumer")}
    return Books(30, parties, (delivery,), tuple(entries), balances)


@pytest.mark.parametrize(
    ("traded", "metered", "expected"),
    [
        (-3, -5, {Item.COMMUNITY_BOUGHT: -3, Item.GRID_BOUGHT: -2}),
        (-3, -1, {Item.COMMUNITY_BOUGHT: -3, Item.LONG: 2}),
        (-3, 2, {Item.COMMUNITY_BOUGHT: -3, Item.GRID_SOLD: 2, Item.LONG: 3}),
        (3, 5, {Item.COMMUNITY_SOLD: 3, Item.GRID_SOLD: 2}),
        (3, 1, {Item.COMMUNITY_SOLD: 3, Item.SHORT: -2}),
        (3, -2, {Item.COMMUNITY_SOLD: 3, Item.GRID_BOUGHT: -2, Item.SHORT: -3}),
    ],
)
def test_bill__traded_and_metered__are_told_apart_without_a_remainder(
    traded: int, metered: int, expected: dict[Item, int]
) -> None:
    bill = bill_of(of_one_period(traded, metered), 2, Month(1970, 1))
    assert {item: total.energy_wh for item, total in bill.totals.items()} == expected
    rate = 80_000 if metered > traded else 300_000
    assert bill.total_nano == traded * 100_000 + (metered - traded) * rate
    assert bill.alone.amount_nano == metered * (80_000 if metered > 0 else 300_000)


def test_bill__trades_outside_the_clearing__add_to_the_position() -> None:
    books = of_one_period(-3, -5)
    trade = Trade(1, 0, 1, -2, 120_000)
    (delivery,), (market, *_) = books.deliveries, books.entries
    entries = (
        market,
        Entry(2, Kind.TRADE, -240_000, 5, 1, 1, 0),
        Entry(1, Kind.TRADE, 240_000, 5, 2, 1, 0),
    )
    traded = replace(
        books,
        deliveries=(replace(delivery, trades=(trade,)),),
        entries=(*entries, *books.entries[3:]),
        balances_nano={0: 0, 1: 240_000, 2: -540_000},
    )
    bill = bill_of(traded, 2, Month(1970, 1))
    assert bill.total(Item.COMMUNITY_BOUGHT).energy_wh == -5
    assert bill.total_nano == -540_000
    assert Item.GRID_BOUGHT not in bill.totals


def test_bill__reading_not_settled__is_provisional() -> None:
    bill = bill_of(of_one_period(-3, None), 2, Month(1970, 1))
    assert bill.is_provisional
    assert bill.pending_periods == 1
    page = bill_html(bill)
    assert "Provisional: 1 period not settled yet." in page
    assert "off so far; a reading that is missing changes both." in page
    assert "off (" not in page


@pytest.mark.parametrize(
    ("traded", "metered", "price", "said"),
    [
        (-3, -3, 150_000, "better off (50.0%)"),
        (-3, -3, 450_000, "worse off (50.0%)"),
        (3, 3, 160_000, "better off."),  # alone it would receive something
        (-3, -3, -10_000, "better off."),  # more than all of the bill
    ],
)
def test_bill__percentage__is_of_a_bill_and_at_most_all_of_it(
    traded: int, metered: int, price: int, said: str
) -> None:
    page = bill_html(bill_of(of_one_period(traded, metered, price=price), 2, Month(1970, 1)))
    assert said in page


def test_bill__name_with_markup__is_text(autumn: Books) -> None:
    page = bill_html(bill_of(of_one_period(-3, -5), 2, Month(1970, 1)))
    assert "Ana &lt;i&gt;" in page
    assert "Ana <i>" not in page


def test_bill__months_and_clock_change__by_the_local_clock(autumn: Books) -> None:
    assert billed_months(autumn) == [OCTOBER, Month(2019, 11)]
    bill = bill_of(autumn, 4, OCTOBER)
    assert bill.periods == 6 * 24 + 1  # clocks went back on the 27th
    sunday = [line for line in bill.lines if datetime.fromtimestamp(line.time, MADRID).day == 27]
    assert {line.time for line in sunday} <= set(
        range(int(datetime(2019, 10, 26, 22, tzinfo=UTC).timestamp()), OCTOBER.end(MADRID), 3600)
    )
    both = [bill_of(autumn, 4, month) for month in billed_months(autumn)]
    charged = sum(each.total_nano for each in both)
    assert charged == autumn.balances_nano[4] - 100 * 10**9
    assert [day.date.day for day in bill.days if day.totals] == [26, 27, 28, 29, 30, 31]
    assert both[1].movements.other_charges_nano != 0  # the last of October is settled in November


def test_bill__behind_the_meter__tells_own_use_from_the_communitys(autumn: Books) -> None:
    share = bill_of(autumn, 4, OCTOBER).own_supply
    assert share.basis == "behind the meter"
    assert share.generation_wh
    assert share.consumption_wh
    assert share.generation_wh - share.consumption_wh == share.injected_wh - share.taken_wh
    own, together = share.self_consumption, share.self_consumption_with_community
    assert own is not None
    assert together is not None
    assert own == pytest.approx(1 - share.injected_wh / share.generation_wh)
    assert together - own == pytest.approx(share.to_community_wh / share.generation_wh)


def test_bill__grid_charges__are_what_the_links_earned(autumn: Books) -> None:
    bills = [bill_of(autumn, home, OCTOBER) for home in HOMES]
    network = bills[0].grid_charges
    assert network.tariff_nano > 0
    assert network.paid_nano - network.received_nano == network.tariff_nano + network.rent_nano
    contained = sum(each.grid_charges.contained_nano for each in bills)
    assert abs(contained - network.tariff_nano - network.rent_nano) <= len(HOMES)


def test_page_and_pdf__have_the_numbers(autumn: Books) -> None:
    bill = bill_of(autumn, 4, OCTOBER)
    page = bill_html(bill)
    for nano in (bill.total_nano, bill.saved_nano, bill.alone.amount_nano):
        assert f"€{Fraction(abs(nano), 10**9).__float__():,.2f}" in page
    assert f"{bill.total_nano:,} nano-token" in page
    assert "<svg" in page
    assert "http" not in page.split("<svg")[0]  # nothing is fetched
    pdf = bill_pdf(bill)
    assert pdf == bill_pdf(bill)
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    if importlib.util.find_spec("pypdf"):
        from pypdf import PdfReader  # noqa: PLC0415 - not a dependency

        text = "".join(each.extract_text() for each in PdfReader(io.BytesIO(pdf)).pages)
        assert f"{bill.total_nano:,}" in text.replace("\n", "")


def test_chart__of_one_day__shows_the_suppliers_tariffs() -> None:
    energy, prices = Figure().subplots(2, 1)
    draw_days(bill_of(of_one_period(-3, -5), 2, Month(1970, 1)), energy, prices)
    shown = {each.get_label(): each.get_segments() for each in prices.collections}
    for label, price in (("supplier sells", 0.3), ("supplier buys", 0.08)):
        (segment,) = shown[label]
        assert segment.tolist() == [[0.5, price], [1.5, price]]


def test_supplier__of_recorded_books__sees_imports_and_exports(autumn: Books) -> None:
    for supplier in (GREEN, CITY):
        reports = [supplier_report(autumn, supplier, month) for month in billed_months(autumn)]
        booked = autumn.balances_nano[supplier] - 100 * 10**9
        assert sum(report.revenue_nano for report in reports) == booked
        for row in reports[0].periods:
            positions = sum(
                delivery.position_wh[(row.time - delivery.session) // 3600]
                for delivery in autumn.deliveries
                if delivery.supplier == supplier
                and 0 <= row.time - delivery.session < delivery.periods * 3600
            )
            assert row.metered_wh - positions == row.export_wh - row.import_wh


def test_bill__booked_otherwise_than_delivered__is_refused(autumn: Books) -> None:
    first, *others = autumn.deliveries
    metered = first.metered_wh
    assert metered is not None
    wrong = replace(first, metered_wh=(metered[0] - 1, *metered[1:]))
    with pytest.raises(BillingError, match="'balancing' was booked with"):
        bill_of(replace(autumn, deliveries=(wrong, *others)), first.peer, OCTOBER)
    with pytest.raises(BillingError, match="no delivery that explains it"):
        bill_of(replace(autumn, deliveries=tuple(others)), first.peer, OCTOBER)
    off = autumn.balances_nano | {4: autumn.balances_nano[4] + 1}
    with pytest.raises(BooksNotBalanced, match=r"account 4 \(Bo\).*difference of -1"):
        bill_of(replace(autumn, balances_nano=off), 4, OCTOBER)
    with pytest.raises(BillingError, match="there is no account 99"):
        bill_of(autumn, 99, OCTOBER)
    with pytest.raises(BillingError, match="has 1 values for 2 periods"):
        replace(first, position_wh=(0, 0), price_micro_per_kwh=(1,))
    with pytest.raises(BillingError, match="is no month"):
        Month.parse("2019-13")


def test_document__is_the_whole_bill(autumn: Books) -> None:
    bill = bill_of(autumn, 5, OCTOBER)
    document = bill_document(bill)
    assert sum(line["amount_nano"] for line in document["lines"]) == document["totalNano"]
    days = sum(total["amountNano"] for day in document["days"] for total in day["totals"].values())
    assert days == document["totalNano"]
    balance = document["balance"]
    booked = sum(entry["amountNano"] for entry in document["statement"])
    assert balance["openingNano"] + booked == balance["closingNano"]
