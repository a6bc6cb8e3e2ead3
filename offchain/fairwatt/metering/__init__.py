"""Meter data in: CSV, Parquet and Green Button files to whole Wh per market period.

`load` reads a file and brings it to periods; what is wrong with it is found, and either estimated
or refused. `docs/metering.md` describes formats, mapping files and findings for operators.
"""

from __future__ import annotations

from fairwatt.metering._data import FAULTS, Channel, Finding, IntervalData
from fairwatt.metering._import import POLICIES, check, load
from fairwatt.metering._mapping import Checks, Mapping, Values

__all__ = [
    "FAULTS",
    "POLICIES",
    "Channel",
    "Checks",
    "Finding",
    "IntervalData",
    "Mapping",
    "Values",
    "check",
    "load",
]
