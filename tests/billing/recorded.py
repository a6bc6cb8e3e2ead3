"""Recorded books without a chain: a community over some days, cleared hour by hour.

Four homes on two feeders with a link between them; two suppliers, one dearer in the evening.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import exp
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from fairwatt import market
from fairwatt.billing import FUND, Books, Delivery, Entry, Kind, Party
from fairwatt.market import Book, LimitOrder, Link, Network, Side

MADRID = ZoneInfo("Europe/Madrid")
HOUR = 3600
NETWORK = Network(
    ("north", "south"),
    (
        Link("north", "south", 20_000, 1_500, "7"),
        Link("south", "north", 20_000, 1_500, "7"),
    ),
    0,
    500_000,
)
GREEN, CITY, DSO = 1, 2, 7
HOMES = {3: ("Ana", "north", GREEN), 4: ("Bo", "south", GREEN)}
HOMES |= {5: ("Cy", "north", CITY), 6: ("Dee", "south", CITY)}
PEAK_KW = {3: 0.0, 4: 5.0, 5: 3.0, 6: 0.0}
PARTIES = {
    GREEN: Party(GREEN, "GreenPower", "supplier"),
    CITY: Party(CITY, "City Energy", "supplier"),
    DSO: Party(DSO, "Grid operator", "operator"),
} | {
    number: Party(number, name, "prosumer" if PEAK_KW[number] else "consumer")
    for number, (name, _, _) in HOMES.items()
}


def tariff(supplier: int, time: datetime) -> tuple[int, int]:
    """Retail and feed-in, micro-token/kWh."""
    if supplier == GREEN:
        return (320_000 if 18 <= time.hour < 22 and time.weekday() < 5 else 240_000), 70_000
    return 260_000, 60_000


@dataclass
class Recorder:
    """Books in the making: every amount changes the balances and is an entry."""

    entries: list[Entry] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    balances: dict[int, int] = field(default_factory=lambda: dict.fromkeys([FUND, *PARTIES], 0))

    def book(self, account: int, kind: Kind, nano: int, at: int, **more: Any) -> None:
        if nano:
            self.balances[account] += nano
            self.entries.append(Entry(account, kind, nano, at, **more))

    def books(self, until: int) -> Books:
        return Books(
            until, PARTIES, tuple(self.deliveries), tuple(self.entries), dict(self.balances),
            title="Sunny Street", currency="EUR", zone=MADRID,
        )  # fmt: skip


def record(start: datetime, days: int, *, behind_meter: bool = False, seed: int = 1) -> Books:
    """Sessions of local days from `start` on, each cleared in the evening before.

    Readings are settled an hour after the end of a day.
    """
    recorder, chance = Recorder(), Random(seed)
    day = start.astimezone(MADRID)
    for account in (GREEN, CITY, *HOMES):
        recorder.book(account, Kind.DEPOSIT, 100 * 10**9, int(day.timestamp()) - 3 * 86_400)
    for _ in range(days):
        following = (day + timedelta(days=1)).replace(fold=0)
        _day(recorder, int(day.timestamp()), int(following.timestamp()), chance, behind_meter)
        day = following
    return recorder.books(int(day.timestamp()) + 2 * HOUR)


def _day(recorder: Recorder, start: int, end: int, chance: Random, behind_meter: bool) -> None:
    times = range(start, end, HOUR)
    sun = chance.uniform(0.3, 1)
    load: dict[int, list[int]] = {home: [] for home in HOMES}
    pv: dict[int, list[int]] = {home: [] for home in HOMES}
    position: dict[int, list[int]] = {home: [] for home in HOMES}
    price: dict[int, list[int]] = {home: [] for home in HOMES}
    earned = rent = 0
    for time in times:
        clock = datetime.fromtimestamp(time, MADRID)
        lines = []
        for home, (_, node, supplier) in HOMES.items():
            shape = 0.25 + 0.7 * exp(-(((clock.hour - 20) / 3) ** 2))
            load[home].append(round(1000 * shape * chance.uniform(0.5, 1.5)))
            bell = exp(-(((clock.hour - 13.5) / 3.2) ** 2)) if 6 < clock.hour < 21 else 0.0
            pv[home].append(round(1000 * PEAK_KW[home] * 0.8 * sun * bell))
            net = pv[home][-1] - load[home][-1]
            retail, feed_in = tariff(supplier, clock)
            side, limit = (Side.ASK, feed_in) if net > 0 else (Side.BID, retail)
            planned = round(abs(net) * chance.uniform(0.85, 1.1))
            if planned:
                lines.append(LimitOrder(str(home), str(home), node, side, limit, planned))
        book = Book.of(NETWORK, lines)
        clearing = market.clear(book)
        fills = {line.peer: fill for line, fill in zip(lines, clearing.fills_wh, strict=True)}
        sides = {line.peer: 1 if line.side is Side.ASK else -1 for line in lines}
        for home, (_, node, _) in HOMES.items():
            position[home].append(int(fills.get(str(home), 0)) * sides.get(str(home), 1))
            at = NETWORK.node_index[node]
            price[home].append(int(clearing.prices_micro_per_kwh[at]))
        money = market.payments(book, clearing)
        earned, rent = earned + sum(money.tariffs_nano), rent + sum(money.rents_nano)
    session = {"market": 1, "session": start}
    recorder.book(DSO, Kind.LINK_TARIFF, earned, start - 6 * HOUR, **session)
    recorder.book(FUND, Kind.RENT, rent, start - 6 * HOUR, **session)
    for home, (_, _, supplier) in HOMES.items():
        rates = [tariff(supplier, datetime.fromtimestamp(time, MADRID)) for time in times]
        metered = [made - used for made, used in zip(pv[home], load[home], strict=True)]
        paid = sum(wh * at for wh, at in zip(position[home], price[home], strict=True))
        recorder.book(home, Kind.MARKET, paid, start - 6 * HOUR, **session)
        balance = sum(
            (wh - traded) * (rate[1] if wh > traded else rate[0])
            for wh, traded, rate in zip(metered, position[home], rates, strict=True)
        )
        settled = end + HOUR
        recorder.book(home, Kind.BALANCING, balance, settled, counterparty=supplier, **session)
        recorder.book(supplier, Kind.BALANCING, -balance, settled, counterparty=home, **session)
        recorder.deliveries.append(
            Delivery(
                home, 1, start, HOUR, tuple(position[home]), tuple(price[home]), tuple(metered),
                supplier, tuple(rate[0] for rate in rates), tuple(rate[1] for rate in rates),
                generation_wh=tuple(pv[home]) if behind_meter else None,
                consumption_wh=tuple(load[home]) if behind_meter else None,
            )
        )  # fmt: skip
