"""A case run for days on a chain, from plan to bill, and what came of it.

run()        day by day; goes on where it was stopped
Results      the days that are over, added up
report()     a page with pictures of them
bills()      of every peer and month, held to the balances on the chain
"""

from __future__ import annotations

from fairwatt.pilot._bills import bills, books_of
from fairwatt.pilot._day import STAGES
from fairwatt.pilot._node import ANVIL, EMBEDDED
from fairwatt.pilot._prepared import Prepared, prepare
from fairwatt.pilot._report import report
from fairwatt.pilot._results import PeerResult, Results
from fairwatt.pilot._run import Progress, run
from fairwatt.pilot._settings import STORAGE, RunFolder, RunSettings

__all__ = [
    "ANVIL",
    "EMBEDDED",
    "STAGES",
    "STORAGE",
    "PeerResult",
    "Prepared",
    "Progress",
    "Results",
    "RunFolder",
    "RunSettings",
    "bills",
    "books_of",
    "prepare",
    "report",
    "run",
]
