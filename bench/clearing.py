"""Clearing beside ASSUME, pymarket and a sorted merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from rich.progress import Progress

from bench.books import book, tree
from bench.results import Result
from bench.rivals import RIVALS, merge, missing
from bench.timing import TooSlow, fastest, limited
from fairwatt import market
from fairwatt.errors import FairwattError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from bench.rivals import Fills

__all__ = ["measure"]

SIZES: Final = (1_000, 10_000, 100_000)
"""Bids, and as many asks."""
BETWEEN: Final = (2_000, 5_000, 20_000, 50_000)
"""Sizes by which a slow rival climbs to its largest."""
LIMIT_S: Final = 300.0
"""What a rival may take for one clearing."""
_TREE_NODES: Final = 30


def measure(
    console: Console,
    sizes: Sequence[int] = SIZES,
    between: Sequence[int] = BETWEEN,
    limit_s: float = LIMIT_S,
) -> list[Result]:
    """Measure ours beside every rival that is installed.

    Raises
    ------
    FairwattError
        If a clearing of ours is not the optimum.
    """
    for name in missing():
        console.print(f"{name} is not installed and left out. `make bench` installs it, or:")
        console.print("  python -m pip install --constraint constraints.txt --editable .\\[bench]")
    rivals = [name for name in RIVALS if name not in missing()]
    results = {kind: list[tuple[int, Result]]() for kind in ("clear", "welfare", "network")}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(sizes) * (len(rivals) + 1))
        for name in rivals:
            progress.update(task, description=f"beside {name}")
            for size, seconds, welfare in _climb(name, sizes, between, limit_s):
                ours, best = _ours(size)
                row = Result(f"clear_{size}", ours, "s", name, seconds)
                results["clear"].append((size, row))
                row = Result(f"welfare_{size}", best, "% of optimum", name, welfare)
                results["welfare"].append((size, row))
                progress.advance(task, size in sizes)
                if seconds is None:
                    progress.print(f"{name}: {size:,} bids and asks take more than {limit_s:g} s")
        for size in sizes:
            progress.update(task, description=f"network, {size:,} bids and asks")
            results["network"].append((size, _network(size)))
            progress.advance(task)
    return [
        result for rows in results.values() for _, result in sorted(rows, key=lambda row: row[0])
    ]


def _ours(size: int) -> tuple[float, float]:
    """Seconds of our clearing, and its welfare in percent of the bound on all clearings."""
    orders = book(tree(1), size)
    seconds, clearing = fastest(lambda: lambda: market.clear(orders))
    bound = market.check(orders, clearing).dual_bound
    return seconds, 100 * _welfare(orders, clearing.fills_wh) / bound


def _climb(
    name: str, sizes: Sequence[int], between: Sequence[int], limit_s: float
) -> Iterator[tuple[int, float | None, float | None]]:
    """Seconds and welfare in percent at each of `sizes`, and at the largest size managed.

    At the first size that takes too long, or that would by the square of the sizes, the rival
    gives up. `between` are tried on the way only by rivals that have become slow.
    """
    _rival(name, 10)  # imports what it needs, which is not its clearing
    last: tuple[int, float, float] | None = None
    gave_up = False
    for size in sorted({*sizes, *between}):
        if gave_up or (size not in sizes and (last is None or last[1] < limit_s / 100)):
            continue
        if last is None or last[1] * (size / last[0]) ** 2 <= limit_s or last[1] < limit_s / 100:
            try:
                with limited(limit_s):
                    last = (size, *_rival(name, size))
            except TooSlow:
                gave_up = True
        else:
            gave_up = True
        if size in sizes and not gave_up and last is not None:
            yield last
    if last is not None and last[0] not in sizes:
        yield last
    for size in sizes:
        if last is None or size > last[0]:
            yield size, None, None


def _rival(name: str, size: int) -> tuple[float, float]:
    orders = book(tree(1), size)
    seconds, fills = fastest(lambda: RIVALS[name](orders))
    optimum = market.check(orders, market.clear(orders)).welfare
    return seconds, 100 * _welfare(orders, fills) / optimum


def _welfare(orders: market.Book, fills: Fills) -> float:
    """Welfare of these fills, nano-token, if they are a clearing at all."""
    sign = np.where(orders.side == market.Side.BID, 1, -1)
    slack = 1e-9 * orders.total_energy_wh
    if (fills < 0).any() or (fills > orders.energy_wh + slack).any() or abs(sign @ fills) > slack:
        raise FairwattError("a rival's fills are no clearing: out of bounds or out of balance")
    return float((sign * orders.price_micro_per_kwh) @ fills)


def _network(size: int) -> Result:
    orders = book(tree(_TREE_NODES), size)
    seconds, clearing = fastest(lambda: lambda: market.clear(orders))
    market.check(orders, clearing)
    alone = book(tree(1), size)
    rival_seconds, _ = fastest(lambda: merge(alone))
    return Result(f"network_{size}", seconds, "s", "merge", rival_seconds)
