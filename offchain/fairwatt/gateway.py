"""A meter gateway: from imported meter data to the reading of a session, ready to be signed.

It signs what was measured, whole sessions only. What an import has estimated, or only suspects to
be wrong, it does not pass off as measured, unless told that estimates are good enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.errors import MeterDataError
from fairwatt.meter import Reading
from fairwatt.profiles import utc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairwatt.metering import IntervalData

__all__ = ["reading_of"]

_NAMED: Final = 5


def reading_of(
    data: IntervalData,
    meter: str,
    *,
    market: int,
    peer: int,
    session_start: int,
    periods: int,
    allow_estimated: bool = False,
) -> Reading:
    """What a meter counted in a session: injected positive, taken negative.

    Parameters
    ----------
    data
        Brought to the periods of the market.
    periods
        Of a session.
    allow_estimated
        Whether to take what was estimated, or what faults were found in and kept.

    Raises
    ------
    MeterDataError
        If there is no such meter, or its data do not cover the session, or not as they must.
    """
    if meter not in data.meters:
        known = ", ".join(sorted(data.meters)[:_NAMED])
        raise MeterDataError(f"meter {meter}", f"is not in the data, which has {known}")
    first, off = divmod(session_start - data.start, data.period_seconds)
    if off:
        raise MeterDataError(
            f"session {session_start}",
            f"does not start at a period of {data.period_seconds} s; import for the market's",
        )
    have = sum(0 <= at < data.periods for at in range(first, first + periods))
    if have < periods:
        raise MeterDataError(
            f"meter {meter}",
            f"has {have} of the {periods} periods from {utc(session_start)}; a reading is signed "
            "for whole sessions",
        )
    span = slice(first, first + periods)
    row = data.meters.index(meter)
    if not allow_estimated:
        _require_measured(data, meter, data.estimated_meters()[row, span], session_start)
    energy = data.injected_wh()[row, span]
    return Reading(market, peer, session_start, tuple(energy.tolist()))


def _require_measured(
    data: IntervalData, meter: str, estimated: NDArray[np.bool_], session_start: int
) -> None:
    if estimated.any():
        named = [str(at) for at in np.flatnonzero(estimated).tolist()]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        raise MeterDataError(
            f"meter {meter}",
            f"period {', '.join(named[:_NAMED])}{more} of session {session_start} is estimated, "
            "not measured; wait for the meter, or allow estimates",
        )
    end = session_start + estimated.size * data.period_seconds
    for finding in data.findings:
        inside = finding.start < end and max(finding.end, finding.start + 1) > session_start
        if finding.is_fault and finding.meter in (meter, "") and inside:
            raise MeterDataError(
                f"meter {meter}",
                f"is not signed for what was found ({finding}); correct it, accept it in the "
                "mapping file, or allow estimates",
            )
