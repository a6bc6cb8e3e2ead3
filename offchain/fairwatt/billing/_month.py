"""Calendar months and days on a local clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from fairwatt.errors import BillingError

if TYPE_CHECKING:
    from datetime import tzinfo

__all__ = ["Month", "local"]

_NAMES = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


def local(time: int, zone: tzinfo) -> datetime:
    """Unix seconds as a local time."""
    return datetime.fromtimestamp(time, zone)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month; a delivery period belongs to the one in which it starts."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """From `2019-07`.

        Raises
        ------
        BillingError
            If it is no month.
        """
        found = re.fullmatch(r"(\d{4})-(\d{2})", text)
        if not found or not 1 <= int(found[2]) <= 12 or not 1970 <= int(found[1]) <= 2200:
            raise BillingError(f"{text!r} is no month; write one such as 2019-07")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, time: int, zone: tzinfo) -> Month:
        """The month of a moment."""
        day = local(time, zone)
        return cls(day.year, day.month)

    @property
    def next(self) -> Month:
        """The month after."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def title(self) -> str:
        """Such as July 2019."""
        return f"{_NAMES[self.month - 1]} {self.year}"

    def start(self, zone: tzinfo) -> int:
        """First second, Unix."""
        return int(datetime(self.year, self.month, 1, tzinfo=zone).timestamp())

    def end(self, zone: tzinfo) -> int:
        """First second after, Unix."""
        return self.next.start(zone)

    def days(self) -> Iterator[date]:
        """All its days."""
        day = date(self.year, self.month, 1)
        while day.month == self.month:
            yield day
            day += timedelta(days=1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"
