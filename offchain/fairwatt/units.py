"""How the units of the market relate to those that people use.

The market reckons in Wh, micro-token per kWh and nano-token, of which 1 Wh x 1 micro-token/kWh is
one, so that nothing is ever rounded. Communities, plans and pictures are in kWh and token.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

__all__ = [
    "MICRO",
    "NANO",
    "SECONDS_PER_DAY",
    "SECONDS_PER_HOUR",
    "WEI_PER_NANO",
    "WEI_PER_TOKEN",
    "WH_PER_KWH",
    "moment",
]

MICRO: Final = 10**6
"""Micro-token in a token."""
NANO: Final = 10**9
"""Nano-token in a token."""
WEI_PER_NANO: Final = 10**9
"""The smallest unit of the ERC-20 token, 18 decimals, in a nano-token."""
WEI_PER_TOKEN: Final = 10**18
WH_PER_KWH: Final = 1000
SECONDS_PER_HOUR: Final = 3600
SECONDS_PER_DAY: Final = 86_400
"""Of a day without a change of clocks."""


def moment(seconds: int) -> str:
    """A time of the chain, in Unix seconds, for people to read: `2026-06-01 12:00:00 UTC`."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"  # later than calendars go
