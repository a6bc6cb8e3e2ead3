"""Named communities as data: a folder with a `case.toml` and its profiles.

`docs/cases.md` describes the format for people, `schemas/case.schema.json` for programs.
"""

from __future__ import annotations

from fairwatt.cases._case import CASES, Case, find, names, schema, titles
from fairwatt.cases._checking import Findings, check
from fairwatt.cases._horizon import HorizonChoice
from fairwatt.cases._reading import Published
from fairwatt.cases._writing import (
    FEED_IN,
    RETAIL,
    write_example,
    write_from_profiles,
    write_synthetic,
)

__all__ = [
    "CASES",
    "FEED_IN",
    "RETAIL",
    "Case",
    "Findings",
    "HorizonChoice",
    "Published",
    "check",
    "find",
    "names",
    "schema",
    "titles",
    "write_example",
    "write_from_profiles",
    "write_synthetic",
]
