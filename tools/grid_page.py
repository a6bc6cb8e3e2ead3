"""Write docs/grid.md: SimBench grids before and after limits, with pictures.

The text is that of grid_page.md beside this file; numbers and pictures are computed. Needs the
extra `grid`; takes some minutes, most of them in power flows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from rich.progress import track

from fairwatt.grid import ZONE, Bounds, derive_capacities, load_site
from fairwatt.plot import draw_grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.grid import Derived, PowerFlow

_DOCS: Final = Path(__file__).parents[1] / "docs"
_TEXT: Final = Path(__file__).parent / "grid_page"
_SUMMER: Final = date(2016, 7, 23)


@dataclass(frozen=True)
class _Run:
    """One row of the page: `fairwatt grid limits` with some options."""

    grid: str
    bounds: dict[str, float] = field(default_factory=dict)
    site: dict[str, Any] = field(default_factory=dict)
    picture: str | None = None

    @property
    def options(self) -> str:
        """As they are written on the command line."""
        names = {
            "lowest_pu": "lowest", "highest_pu": "highest", "line_percent": "line",
            "transformer_percent": "transformer", "cut": "nodes",
        }  # fmt: skip
        given = self.site | self.bounds
        return " ".join(f"--{names.get(key, key)} {value}" for key, value in given.items())


_RUNS: Final = (
    _Run("1-LV-rural1--2-sw", picture="rural1"),
    _Run("1-LV-rural1--2-sw", site={"sun": 1.5}),
    _Run(
        "1-LV-rural1--2-sw",
        {"lowest_pu": 0.95, "highest_pu": 1.05, "line_percent": 60, "transformer_percent": 80},
    ),
    _Run("1-LV-semiurb4--2-sw"),
    _Run("1-LV-semiurb4--2-sw", {"highest_pu": 1.05}, picture="semiurb4"),
    _Run("1-LV-rural3--2-sw"),
    _Run("1-LV-rural3--2-sw", {"lowest_pu": 0.995}, picture="rural3"),
    _Run("1-LV-rural3--2-sw", {"highest_pu": 1.04}, {"day": _SUMMER}),
    _Run("1-LV-rural3--2-sw", {"highest_pu": 1.04}, {"day": _SUMMER, "cut": "bus"}),
)


def main() -> None:
    """Find the limits, draw the pictures, write the page."""
    pictures = _DOCS / "grid"
    pictures.mkdir(exist_ok=True)
    rows, details = list[str](), list[str]()
    for run in track(_RUNS, "grids", transient=True):
        bounds = Bounds(**run.bounds)
        site = load_site(run.grid, **run.site)
        start = perf_counter()
        result = derive_capacities(site, bounds)
        rows.append(_row(run, result, perf_counter() - start))
        if run.picture:
            title = site.community.name
            days = [
                (f"without limits: {_count(result)} violations", result.before, result.flow_before),
                ("within limits: none", result.after, result.flow_after),
            ]
            draw_grid(
                days, pictures / f"{run.picture}.png",
                title=title, currency="EUR", bounds=bounds, zone=ZONE,
            )  # fmt: skip
            details += [
                f"### {title}\n",
                f"`fairwatt grid limits {run.grid} {run.options}".rstrip() + "`\n",
                *_nodes(result),
                f"![{title}: before and after limits](grid/{run.picture}.png)\n",
            ]
    text = (_TEXT.with_suffix(".md")).read_text(encoding="utf-8")
    page = text.replace("{rows}", "\n".join(rows)).replace("{details}", "\n".join(details).rstrip())
    (_DOCS / "grid.md").write_text(page, encoding="utf-8")


def _row(run: _Run, result: Derived, seconds: float) -> str:
    after = result.after
    peers = len(after.site.peer_bus)
    day = after.site.community.name.rpartition(" ")[2]
    options = " ".join(
        part for part in run.options.split("--") if part and not part.startswith("day")
    )
    cells = (
        f"`{run.grid}`, {peers} peers, {day}" + (f"; {options.strip()}" if options.strip() else ""),
        f"{_count(result):,}",
        _worst(result.flow_before),
        _worst(result.flow_after),
        f"{result.cost:,.2f}",
        f"{after.rent:,.2f}",
        f"{after.curtailed_kwh().sum():,.1f}",
        f"{after.unserved_kwh().sum():,.1f}",
        f"{len(result.rounds) + 1}",
        f"{seconds:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _worst(flow: PowerFlow) -> str:
    transformer, lines = flow.loading_percent[0].max(), flow.loading_percent[1:].max()
    low, high = flow.voltage_pu.min(), flow.voltage_pu.max()
    return f"{transformer:.1f} %, {lines:.1f} %, {low:.3f} to {high:.3f}"


def _count(result: Derived) -> int:
    return len(result.flow_before.violations(result.bounds))


def _nodes(result: Derived) -> Iterator[str]:
    before, after = result.before, result.after
    site = after.site
    peer_zone = site.grid.bus_zone[site.peer_bus]
    bills = before.bills(), after.bills()
    yield (
        "| node | peers | limit in, kW | limit out, kW | periods full | mean price before | after "
        "| lowest | highest | bills before, EUR | after |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for at, zone in enumerate(site.grid.zones):
        here = peer_zone == at
        limits = ["", ""]
        if zone.parent is not None:
            limits = [
                f"{result.capacities.import_kw[at]:,.1f}",
                f"{result.capacities.export_kw[at]:,.1f}",
            ]
        prices = after.price_per_kwh[at]
        paid = [f"{bill[here].sum():,.2f}" if here.any() else "" for bill in bills]
        low, high = prices.min(), prices.max()
        yield (
            f"| {zone.name} | {int(here.sum()) or ''} | {limits[0]} | {limits[1]} | "
            f"{after.full_periods(at) or ''} | {before.price_per_kwh[at].mean():.3f} | "
            f"{prices.mean():.3f} | {low:.3f} | {high:.3f} | {paid[0]} | {paid[1]} |"
        )
    yield ""


if __name__ == "__main__":
    main()
