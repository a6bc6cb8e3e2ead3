"""Time and memory of a clearing per order, from a small book on one node to a large network."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.progress import track

from bench.books import book, tree
from bench.results import ROOT, Result
from bench.timing import fastest
from fairwatt import market
from fairwatt.errors import FairwattError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

__all__ = ["measure"]

ORDERS: Final = (1_000, 10_000, 100_000, 1_000_000)
NODES: Final = (1, 10, 100, 1_000)


def measure(
    console: Console, nodes: Sequence[int] = NODES, orders: Sequence[int] = ORDERS
) -> Iterator[Result]:
    """Clear a book of every size on a tree of every size, each in a process of its own."""
    points = [(some, many) for some in nodes for many in orders]
    for some, many in track(points, "growth", console=console, transient=True):
        seconds, size = _in_process(some, many)
        at = f"{some}_nodes_{many}_orders"
        yield Result(f"growth_time_{at}", 1e6 * seconds / many, "us/order")
        yield Result(f"growth_memory_{at}", size / many, "byte/order")


def _in_process(nodes: int, orders: int) -> tuple[float, int]:
    command = [sys.executable, "-m", "bench.growth", str(nodes), str(orders)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if run.returncode:
        raise FairwattError(f"growth at {nodes} nodes, {orders} orders failed: {run.stderr}")
    seconds, size = json.loads(run.stdout)
    return seconds, size


def _point(nodes: int, orders: int) -> tuple[float, int]:
    """Seconds of a clearing, and bytes by which the resident size of the process rises in it."""
    market.clear(book(tree(min(nodes, 2)), 10))  # loads what is loaded once
    some = book(tree(nodes), orders // 2)
    _peak_bytes()
    before = _peak_bytes()  # what is held now: nothing happened since
    market.clear(some)
    size = _peak_bytes() - before
    seconds, _ = fastest(lambda: lambda: market.clear(some))
    return seconds, size


def _peak_bytes() -> int:
    """Read the largest resident size since the last call, and begin anew where that can be done.

    Linux forgets the peak on demand; else only a peak beyond all former ones is seen.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1_024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return 1_024 * int(lines["VmHWM"].split()[0])


if __name__ == "__main__":
    print(json.dumps(_point(int(sys.argv[1]), int(sys.argv[2]))))
