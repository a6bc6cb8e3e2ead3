"""The bill of a peer and month, from the books."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, tzinfo
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from fairwatt.billing._lines import Item, Line, lines_of, split_wh
from fairwatt.billing._month import Month, local
from fairwatt.billing._records import Kind
from fairwatt.billing._statement import statement

if TYPE_CHECKING:
    from fairwatt.billing._records import Books, Delivery, Party
    from fairwatt.billing._statement import Statement

__all__ = [
    "ENERGY_ITEMS",
    "Alone",
    "Bill",
    "Day",
    "GridCharges",
    "Movements",
    "OwnSupply",
    "Total",
    "bill_of",
    "billed_months",
]

ENERGY_ITEMS: Final = (
    Item.COMMUNITY_BOUGHT,
    Item.COMMUNITY_SOLD,
    Item.GRID_BOUGHT,
    Item.GRID_SOLD,
    Item.SHORT,
    Item.LONG,
    Item.ESTIMATE,
)


@dataclass(frozen=True, slots=True)
class Total:
    """Lines of one item together: energy as in `Line`, and money."""

    energy_wh: int = 0
    amount_nano: int = 0

    @property
    def price_micro_per_kwh(self) -> Fraction | None:
        """What a kWh cost or brought on average, exactly; None without energy."""
        return Fraction(self.amount_nano, self.energy_wh) if self.energy_wh else None

    def __add__(self, line: Total | Line) -> Total:
        return Total(self.energy_wh + line.energy_wh, self.amount_nano + line.amount_nano)


@dataclass(frozen=True, slots=True)
class Day:
    """A local day: totals by item, and the tariffs averaged over its periods."""

    date: date
    totals: Mapping[Item, Total]
    retail_micro_per_kwh: Fraction | None
    feed_in_micro_per_kwh: Fraction | None

    def total(self, *items: Item) -> Total:
        """Totals of some items together."""
        return sum((self.totals.get(item, Total()) for item in items), Total())


@dataclass(frozen=True, slots=True)
class Alone:
    """The same metered energy with the supplier alone, without the community.

    Where a reading is missing, what the estimate takes for granted is counted: what was bought was
    taken. Periods of which nothing is settled yet are left out.
    """

    bought: Total
    sold: Total

    @property
    def amount_nano(self) -> int:
        """What the supplier would have paid, or charged (negative)."""
        return self.bought.amount_nano + self.sold.amount_nano


@dataclass(frozen=True, slots=True)
class OwnSupply:
    """How much of its energy a peer made or used itself, and with the community.

    Parameters
    ----------
    basis
        `behind the meter` where generation and consumption are known, else `net meter`: then
        what was generated and used at the same time at home is seen by nobody.
    taken_wh, injected_wh
        At the meter, both positive.
    from_community_wh, to_community_wh
        Of it, what came from the community and went to it.
    generation_wh, consumption_wh
        None where only the net meter is known.
    """

    basis: str
    taken_wh: int
    injected_wh: int
    from_community_wh: int
    to_community_wh: int
    generation_wh: int | None = None
    consumption_wh: int | None = None

    @property
    def autarky(self) -> float | None:
        """Part of its consumption that the peer did not take from the meter."""
        return _rest(self.taken_wh, self.consumption_wh)

    @property
    def self_consumption(self) -> float | None:
        """Part of its generation that the peer did not inject."""
        return _rest(self.injected_wh, self.generation_wh)

    @property
    def autarky_with_community(self) -> float | None:
        """Part of its consumption, or of what it took, that did not come from the supplier."""
        whole = self.taken_wh if self.consumption_wh is None else self.consumption_wh
        return _rest(self.taken_wh - self.from_community_wh, whole)

    @property
    def self_consumption_with_community(self) -> float | None:
        """Part of its generation, or of what it injected, that did not go to the supplier."""
        whole = self.injected_wh if self.generation_wh is None else self.generation_wh
        return _rest(self.injected_wh - self.to_community_wh, whole)


@dataclass(frozen=True, slots=True)
class GridCharges:
    """Grid charges of the month. They are not booked to peers: prices contain them.

    Parameters
    ----------
    paid_nano, received_nano
        By all buyers, and by all sellers; the difference is what the links earned.
    tariff_nano, rent_nano
        Link tariffs to their owners, and congestion rent to the community fund, of the clearings
        of sessions that start in the month.
    contained_nano
        Of what this peer paid for energy of the community: so much more than sellers received for
        as much energy at the same time, on average. Rounded; 0 for who bought nothing.
    """

    paid_nano: int
    received_nano: int
    tariff_nano: int
    rent_nano: int
    contained_nano: int


@dataclass(frozen=True, slots=True)
class Movements:
    """How the bill moved the balance: opening + all that follows = closing, to the last unit.

    Parameters
    ----------
    withdrawals_nano
        What was moved to the ledger of a newer deployment is among them.
    charges_nano
        Of this bill, booked within the month.
    other_charges_nano
        Of other months, booked within this one: the last days of the month before, late readings.
    unpaid_nano
        What was booked and not paid for want of funds (positive for the debtor), less what was
        paid of it.
    earlier_nano, later_nano
        Of this bill, booked before the month (the first day is cleared on the day before) and
        after it. With `charges_nano` they are the whole bill.
    """

    opening_nano: int
    deposits_nano: int
    withdrawals_nano: int
    charges_nano: int
    other_charges_nano: int
    unpaid_nano: int
    closing_nano: int
    earlier_nano: int
    later_nano: int


@dataclass(frozen=True)
class Bill:
    """A bill; `lines` are all its amounts, everything else is made of them.

    Attributes
    ----------
    total_nano
        Received positive, paid negative.
    pending_periods, estimated_periods
        Of which no reading is settled yet, or an estimate: with any of them it is provisional.
    """

    title: str
    currency: str
    zone: tzinfo
    party: Party
    suppliers: tuple[Party, ...]
    month: Month
    until: int
    lines: tuple[Line, ...]
    days: tuple[Day, ...]
    alone: Alone
    own_supply: OwnSupply
    grid_charges: GridCharges
    movements: Movements
    statement: Statement
    periods: int
    pending_periods: int
    estimated_periods: int
    totals: Mapping[Item, Total] = field(default_factory=dict)

    @property
    def total_nano(self) -> int:
        """What all lines come to."""
        return sum(line.amount_nano for line in self.lines)

    @property
    def saved_nano(self) -> int:
        """How much better off than alone with the supplier."""
        return self.total_nano - self.alone.amount_nano

    @property
    def is_provisional(self) -> bool:
        """Whether readings are still to come."""
        return bool(self.pending_periods or self.estimated_periods)

    def total(self, *items: Item) -> Total:
        """Totals of some items together."""
        return sum((self.totals.get(item, Total()) for item in items), Total())


def billed_months(books: Books) -> list[Month]:
    """All months in which energy was traded or metered, ascending."""
    times = {
        delivery.time(period)
        for delivery in books.deliveries
        for period in (0, -1 % delivery.periods)
    }
    if not times:
        return []
    first, last = Month.of(min(times), books.zone), Month.of(max(times), books.zone)
    months = [first]
    while months[-1] < last:
        months.append(months[-1].next)
    return months


def bill_of(books: Books, account: int, month: Month) -> Bill:
    """The bill of an account for a month of delivery.

    Raises
    ------
    BillingError
        If there is no such account, or its lines are not what was booked.
    BooksNotBalanced
        If what was booked is not its balance.
    """
    party, zone = books.party(account), books.zone
    start, end = month.start(zone), month.end(zone)
    booked = statement(books, account, start, end)
    lines = tuple(line for line in lines_of(books, account) if start <= line.time < end)
    own = [delivery for delivery in books.deliveries if delivery.peer == account]
    periods = [
        (delivery, period)
        for delivery in own
        for period in range(delivery.periods)
        if start <= delivery.time(period) < end
    ]
    metered = [each for each, _ in periods if each.supplier is not None]
    suppliers = sorted({each.supplier for each in metered if each.supplier is not None})
    totals: defaultdict[Item, Total] = defaultdict(Total)
    for line in lines:
        totals[line.item] += line
    return Bill(
        title=books.title,
        currency=books.currency,
        zone=zone,
        party=party,
        suppliers=tuple(map(books.party, suppliers)),
        month=month,
        until=books.until,
        lines=lines,
        days=_days(month, zone, lines, periods),
        alone=_alone(periods),
        own_supply=_own_supply(periods),
        grid_charges=_grid_charges(books, account, start, end),
        movements=_movements(booked, lines),
        statement=booked,
        periods=len(periods),
        pending_periods=sum(each.metered_wh is None and not each.is_estimated for each in metered),
        estimated_periods=sum(each.is_estimated for each in metered),
        totals={item: totals[item] for item in Item if item in totals},
    )


_Period = tuple["Delivery", int]


def _days(
    month: Month, zone: tzinfo, lines: Iterable[Line], periods: Iterable[_Period]
) -> tuple[Day, ...]:
    totals: defaultdict[date, defaultdict[Item, Total]] = defaultdict(lambda: defaultdict(Total))
    for line in lines:
        totals[local(line.time, zone).date()][line.item] += line
    retail: defaultdict[date, list[int]] = defaultdict(list)
    feed_in: defaultdict[date, list[int]] = defaultdict(list)
    for delivery, period in periods:
        if delivery.supplier is not None:
            day = local(delivery.time(period), zone).date()
            retail[day].append(delivery.retail_micro_per_kwh[period])
            feed_in[day].append(delivery.feed_in_micro_per_kwh[period])
    return tuple(
        Day(day, dict(totals[day]), _mean(retail[day]), _mean(feed_in[day])) for day in month.days()
    )


def _mean(values: Sequence[int]) -> Fraction | None:
    return Fraction(sum(values), len(values)) if values else None


def _alone(periods: Iterable[_Period]) -> Alone:
    bought, sold = Total(), Total()
    for delivery, period in periods:
        if delivery.supplier is None:
            continue
        if delivery.metered_wh is not None:
            wh = delivery.metered_wh[period]
        elif delivery.is_estimated:
            wh = min(delivery.traded_wh[period], 0)
        else:
            continue
        if wh > 0:
            sold += Total(wh, wh * delivery.feed_in_micro_per_kwh[period])
        else:
            bought += Total(wh, wh * delivery.retail_micro_per_kwh[period])
    return Alone(bought, sold)


def _own_supply(periods: Sequence[_Period]) -> OwnSupply:
    taken = injected = from_community = to_community = generation = consumption = 0
    is_known = bool(periods)
    for delivery, period in periods:
        if delivery.metered_wh is None:
            continue
        metered = delivery.metered_wh[period]
        delivered, _, _ = split_wh(delivery.traded_wh[period], metered)
        taken -= min(metered, 0)
        injected += max(metered, 0)
        from_community -= min(delivered, 0)
        to_community += max(delivered, 0)
        if delivery.generation_wh is None or delivery.consumption_wh is None:
            is_known = False
        else:
            generation += delivery.generation_wh[period]
            consumption += delivery.consumption_wh[period]
    flows = (taken, injected, from_community, to_community)
    if is_known:
        return OwnSupply("behind the meter", *flows, generation, consumption)
    return OwnSupply("net meter", *flows)


def _rest(part: int, whole: int | None) -> float | None:
    return max(0.0, 1 - part / whole) if whole else None


def _grid_charges(books: Books, account: int, start: int, end: int) -> GridCharges:
    sold: defaultdict[tuple[int, int], Total] = defaultdict(Total)
    own: dict[tuple[int, int], Total] = {}
    paid = received = 0
    for delivery in books.deliveries:
        for period, wh in enumerate(delivery.position_wh):
            time = delivery.time(period)
            if not wh or not start <= time < end:
                continue
            nano = wh * delivery.price_micro_per_kwh[period]
            if wh > 0:
                sold[delivery.market, time] += Total(wh, nano)
                received += nano
            else:
                paid -= nano
                if delivery.peer == account:
                    own[delivery.market, time] = Total(-wh, -nano)
    contained = Fraction()
    for at, bought in own.items():
        price = sold[at].price_micro_per_kwh
        if price is not None:
            contained += bought.amount_nano - bought.energy_wh * price
    earned: defaultdict[Kind, int] = defaultdict(int)
    for entry in books.entries:
        if entry.session is not None and start <= entry.session < end:
            earned[entry.kind] += entry.amount_nano
    return GridCharges(
        paid, received, earned[Kind.LINK_TARIFF], earned[Kind.RENT], round(contained)
    )


def _movements(booked: Statement, lines: Iterable[Line]) -> Movements:
    sums: defaultdict[Kind, int] = defaultdict(int)
    for entry in booked.entries:
        sums[entry.kind] += entry.amount_nano
    moved = (Kind.DEPOSIT, Kind.WITHDRAWAL, Kind.MOVE, Kind.ARREARS, Kind.ARREARS_PAID)
    all_charges = sum(nano for kind, nano in sums.items() if kind not in moved)
    earlier = charges = later = 0
    for line in lines:
        if line.booked_at < booked.start:
            earlier += line.amount_nano
        elif line.booked_at < booked.end:
            charges += line.amount_nano
        else:
            later += line.amount_nano
    return Movements(
        opening_nano=booked.opening_nano,
        deposits_nano=sums[Kind.DEPOSIT],
        withdrawals_nano=sums[Kind.WITHDRAWAL] + sums[Kind.MOVE],
        charges_nano=charges,
        other_charges_nano=all_charges - charges,
        unpaid_nano=sums[Kind.ARREARS] + sums[Kind.ARREARS_PAID],
        closing_nano=booked.closing_nano,
        earlier_nano=earlier,
        later_nano=later,
    )
