"""Bills of a run, a month at a time, from the days that are over."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from fairwatt.billing import (
    FUND,
    Books,
    Delivery,
    Entry,
    Kind,
    Month,
    Party,
    bill_csv,
    bill_document,
    bill_html,
    bill_of,
    require_balanced,
)
from fairwatt.files import write
from fairwatt.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from fairwatt.billing import Bill
    from fairwatt.pilot._prepared import Prepared

__all__ = ["bills", "books_of"]

_MARKET: Final = 1
_FUND_NAME: Final = "community fund"


def bills(
    prepared: Prepared,
    days: Iterable[dict[str, Any]],
    folder: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Write the bills of every metered peer and month; returns how many.

    Times are those of the case: the chain's sessions are the same days at another time.

    Raises
    ------
    BillingError
        If the bills do not come to the balances on the chain.
    FileError
        If they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for month, books in books_of(prepared, days):
        require_balanced(books)
        metered = {each.peer for each in books.deliveries if each.supplier is not None}
        for account in sorted(metered):
            made = bill_of(books, account, month)
            progress(f"bill of {made.party.name}, {month}")
            _write(made, folder)
            written += 1
    return written


def books_of(prepared: Prepared, days: Iterable[dict[str, Any]]) -> Iterator[tuple[Month, Books]]:
    """The books of each month, opened with the balances at its first day.

    A day belongs to the month in which it begins.
    """
    recorder: _Month | None = None
    opening: dict[str, int] = {}
    for day in days:
        month = Month.of(day["start"], prepared.case.zone)
        if recorder is None or recorder.month != month:
            if recorder is not None:
                yield recorder.month, recorder.books()
            recorder = _Month(prepared, month, day, opening)
        recorder.add(day)
        opening = day["balancesNano"]
    if recorder is not None:
        yield recorder.month, recorder.books()


class _Month:
    """Books in the making."""

    def __init__(
        self, prepared: Prepared, month: Month, first: dict[str, Any], opening: dict[str, int]
    ) -> None:
        self.prepared, self.month = prepared, month
        self.accounts: dict[str, int] = {**first["accounts"], _FUND_NAME: FUND}
        self.peers = {peer.name: peer for peer in prepared.truth.peers}
        self.opening = {self.accounts[name]: nano for name, nano in opening.items()}
        self.entries: list[Entry] = []
        self.deliveries: list[Delivery] = []
        self.balances: dict[int, int] = {}
        self.until = 0
        if not opening:
            for name, nano in first["fundedNano"].items():
                self._book(name, Kind.DEPOSIT, nano, first["start"] - SECONDS_PER_DAY)

    def add(self, day: dict[str, Any]) -> None:
        start = day["start"]
        end = start + SECONDS_PER_DAY
        session = {"market": _MARKET, "session": start}
        for name, nano in day["tradesNano"].items():
            self._book(name, Kind.MARKET, nano, start, **session)
        for name, kind, nano in day["incomes"]:
            self._book(name, Kind(kind), nano, start, **session)
        for name, nano in day["imbalancesNano"].items():
            supplier = self.peers[name].supplier or ""
            who, whose = self.accounts[name], self.accounts[supplier]
            estimate = day["estimatesNano"].get(name, 0)
            is_read = day["meteredWh"][name] is not None
            for kind, amount in (
                (Kind.ESTIMATE, estimate),
                (Kind.ESTIMATE_BACK, -estimate if is_read else 0),
                (Kind.BALANCING, nano if is_read else 0),
            ):
                self._book(name, kind, amount, end, counterparty=whose, **session)
                self._book(supplier, kind, -amount, end, counterparty=who, **session)
        for name, peer in self.peers.items():
            self.deliveries.append(self._delivery(day, name, peer.node, peer.supplier))
        self.balances = {self.accounts[name]: nano for name, nano in day["balancesNano"].items()}
        self.until = end

    def books(self) -> Books:
        return Books(
            until=self.until,
            parties={
                number: Party(number, name, self._role(name), self._community(name))
                for name, number in self.accounts.items()
                if number != FUND
            },
            deliveries=tuple(self.deliveries),
            entries=tuple(self.entries),
            balances_nano=self.balances,
            opening_nano=self.opening,
            title=self.prepared.case.title,
            currency=self.prepared.case.currency,
            zone=self.prepared.case.zone,
        )

    def _book(self, name: str, kind: Kind, nano: int, at: int, **more: Any) -> None:
        if nano:
            self.entries.append(Entry(self.accounts[name], kind, nano, at, **more))

    def _delivery(
        self, day: dict[str, Any], name: str, node: str, supplier: str | None
    ) -> Delivery:
        nothing = [0] * self.prepared.per_day
        metered = day["meteredWh"].get(name)
        supplied = name in day["meteredWh"] and supplier is not None
        tariffs = day["tariffs"][supplier] if supplied else {"retail": (), "feedIn": ()}
        return Delivery(
            peer=self.accounts[name],
            market=_MARKET,
            session=day["start"],
            period_seconds=self.prepared.settings.period_seconds,
            position_wh=tuple(day["positionsWh"].get(name, nothing)),
            price_micro_per_kwh=tuple(day["prices"][node]),
            metered_wh=tuple(metered) if metered is not None else None,
            supplier=self.accounts[supplier] if supplied and supplier else None,
            retail_micro_per_kwh=tuple(tariffs["retail"]),
            feed_in_micro_per_kwh=tuple(tariffs["feedIn"]),
            is_estimated=metered is None and name in day["estimatesNano"],
        )

    def _role(self, name: str) -> str:
        if name in self.peers:
            return self.peers[name].role
        suppliers = {each.name for each in self.prepared.truth.suppliers}
        return "supplier" if name in suppliers else "operator"

    def _community(self, name: str) -> int:
        return self.peers[name].community if name in self.peers else 1


def _write(made: Bill, folder: Path) -> None:
    name = re.sub(r"[^\w-]+", "-", made.party.name).strip("-")
    stem = f"{made.month}-account-{made.party.account}-{name}"
    write(folder / f"{stem}.html", bill_html(made))
    write(folder / f"{stem}.csv", bill_csv(made))
    write(folder / f"{stem}.json", json.dumps(bill_document(made), indent=1) + "\n")
