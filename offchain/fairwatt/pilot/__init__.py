"""A case run for days on a chain, from plan to bill, and what came of it.

run()        day by day; goes on where it was stopped
report()     a page with pictures of a run
"""

from __future__ import annotations

from fairwatt.pilot._node import ANVIL, EMBEDDED
from fairwatt.pilot._run import STAGES, Progress, run
from fairwatt.pilot._settings import RunFolder, RunSettings

__all__ = ["ANVIL", "EMBEDDED", "STAGES", "Progress", "RunFolder", "RunSettings", "run"]
