"""What a run starts from: its case over history and days, and what is expected of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.cases import Case
from fairwatt.community import Horizon
from fairwatt.errors import CaseError, PilotError
from fairwatt.forecast import Outlook, expected
from fairwatt.profiles import Profiles
from fairwatt.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

if TYPE_CHECKING:
    from fairwatt.community import Array, Community
    from fairwatt.pilot._settings import RunSettings

__all__ = ["GATE_LEAD_S", "Prepared", "prepare"]

GATE_LEAD_S: Final = SECONDS_PER_HOUR
"""From gate closure to the start of a day."""
_MOST_HISTORY_DAYS: Final = 36


@dataclass(frozen=True)
class Prepared:
    """A case over the days of a run and what is known before them.

    Attributes
    ----------
    truth, forecast
        Over history and days, as it is and as it is expected.
    first
        Period at which the first day begins.
    """

    case: Case
    truth: Community
    forecast: Community
    first: int
    settings: RunSettings

    @property
    def per_day(self) -> int:
        """Periods of a day."""
        return SECONDS_PER_DAY // self.settings.period_seconds

    def day(self, number: int, community: Community) -> Community:
        """One of the days of `truth` or `forecast`."""
        return community.between(self.first + number * self.per_day, self.per_day)


def prepare(settings: RunSettings) -> Prepared:
    """Load the case with as much history as its profiles have, and forecast all days.

    Raises
    ------
    CaseError
        If the case does not cover the days.
    """
    seconds = settings.period_seconds
    per_day = SECONDS_PER_DAY // seconds
    if SECONDS_PER_DAY % seconds:
        raise PilotError(f"periods of {seconds} s do not fill a day")

    def load(history_days: int) -> Case:
        horizon = Horizon(
            settings.start - history_days * SECONDS_PER_DAY,
            seconds,
            (history_days + settings.days) * per_day,
        )
        return Case.load(settings.case, horizon=horizon, without=settings.without)

    case, known, unknown = load(0), 0, _MOST_HISTORY_DAYS + 1
    while unknown - known > 1:
        middle = (known + unknown) // 2 if unknown <= _MOST_HISTORY_DAYS else unknown - 1
        try:
            case, known = load(middle), middle
        except CaseError:
            unknown = middle
    first = known * per_day
    weather = _weather(settings, case)
    outlook = Outlook(settings.forecast, per_day, ceil(GATE_LEAD_S / seconds), weather)
    return Prepared(case, case.community, expected(case.community, outlook, first), first, settings)


def _weather(settings: RunSettings, case: Case) -> Array | None:
    """All columns of the weather file over history and days."""
    if settings.weather is None:
        return None
    path = Path(settings.weather)
    if not path.is_file():
        raise PilotError(f"there is no weather file {path}")
    profiles = Profiles(path.parent, case.zone)
    columns = profiles.columns(path.name, "weather")
    rows = [
        profiles.read(path.name, column, case.community.horizon, "rate", "weather")
        for column in columns
    ]
    return np.array(rows)
