"""A day of 39 peers in quarter hours, stage by stage, on both chains; a year of Iberia on anvil."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from bench.results import ROOT, Result
from fairwatt.errors import FairwattError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

__all__ = ["measure"]

CASE: Final = "iberia"
DAY_LIMITS_S: Final = {"embedded": 20.0, "anvil": 5.0}
"""By chain."""
YEAR: Final = (30, 365)
"""Days of a first part of a year, and of the year."""
YEAR_LIMIT_MIN: Final = 20.0
_DAY_STAGES: Final = ("plan", "tariffs", "sign", "clear", "meter", "reconcile")
"""What a market does in a day; accounting and comparing are the run's own."""
_FIRST_DAY: Final = "2019-01-01"


@dataclass(frozen=True, slots=True)
class _Run:
    document: dict[str, Any]
    seconds: float
    peak_bytes: int


def measure(
    console: Console, chains: Sequence[str] = tuple(DAY_LIMITS_S), year: tuple[int, int] = YEAR
) -> Iterator[Result]:
    """Run days, each run in a process of its own.

    Raises
    ------
    FairwattError
        If a run does not end well.
    """
    for chain in chains:
        console.print(f"a day in quarter hours, {chain}")
        # The second day: in the first one what is kept for all days is published.
        run = _run("--days", "2", "--period", "15", "--chain", chain)
        stages = run.document["seconds"][-1]
        for stage in _DAY_STAGES:
            yield Result(f"pilot_day_{chain}_{stage}", stages[stage], "s")
        day = sum(stages[stage] for stage in _DAY_STAGES)
        yield Result(f"pilot_day_{chain}", day, "s", "limit", DAY_LIMITS_S[chain])
        gas = run.document["gas"][-1]
        yield Result(f"pilot_day_{chain}_gas", float(sum(gas.values())), "gas")
    part, whole = year
    console.print(f"{part} and {whole} days, anvil; the latter take some ten minutes")
    short, long = (
        _run("--start", _FIRST_DAY, "--days", str(days), "--chain", "anvil") for days in year
    )
    yield Result(
        "pilot_year_day", median(sum(day.values()) for day in long.document["seconds"]), "s"
    )
    yield Result("pilot_year", long.seconds / 60, "min", "limit", YEAR_LIMIT_MIN)
    yield Result(
        "pilot_year_memory",
        long.peak_bytes / 2**20,
        "MiB",
        f"{part} days",
        short.peak_bytes / 2**20,
    )


def _run(*arguments: str) -> _Run:
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.pilot", folder, *arguments]
        begin = perf_counter()
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
        if run.returncode:
            raise FairwattError(f"fairwatt run {' '.join(arguments)} failed: {run.stderr}")
        document, peak = json.loads(run.stdout)
        return _Run(document, perf_counter() - begin, peak)


def _measured(folder: Path, arguments: Sequence[str]) -> None:
    """Run in this process; print the result and the largest resident size."""
    from click.testing import CliRunner  # noqa: PLC0415 - only where a run is measured

    from fairwatt.cli import main  # noqa: PLC0415

    out = ["--out", str(folder), "--json"]
    result = CliRunner().invoke(main, ["run", CASE, *arguments, *out])
    if result.exit_code:
        sys.exit(result.output)
    unit = 1 if sys.platform == "darwin" else 1_024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([json.loads(result.stdout), peak]))


if __name__ == "__main__":
    _measured(Path(sys.argv[1]), sys.argv[2:])
