"""What section 3.1 says about the five-peer system."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.community import Generator
from fairwatt.models.moreno2021._statement import EXACT, Finding, Result, Results, Statement, kwh

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairwatt.community import Community, Peer

__all__ = ["STATEMENTS", "as_printed"]

_TABLES: Final = {
    "I": {
        "generation_kwh": (0, 0, 250, 0, 60),
        "import_kwh": (0, 140, 0, 100, 0),
        "export_kwh": (0, 0, 200, 0, 40),
    },
    "II": {
        "generation_kwh": (0, 0, 110, 0, 200),
        "import_kwh": (0, 140, 0, 100, 0),
        "export_kwh": (0, 0, 60, 0, 180),
    },
}
"""Tables 2 and 3, kWh: G, P2, P3, P4, P5."""


def as_printed(community: Community) -> Community:
    """The five-peer system with P5 as Table 1 prints it: at most 20 kW, export cost 0.0048."""

    def printed(peer: Peer) -> Peer:
        assets = tuple(
            replace(asset, power_kw=20.0) if isinstance(asset, Generator) else asset
            for asset in peer.assets
        )
        return replace(peer, assets=assets, export_cost_per_kwh=0.0048)

    peers = [printed(peer) if peer.name == "P5" else peer for peer in community.peers]
    links = tuple(
        replace(link, tariff_micro_per_kwh=4800)
        if link.source == community.peers[community.index("P5")].node
        and link.tariff_micro_per_kwh > 0
        else link
        for link in community.network.links
    )
    return replace(community, peers=tuple(peers), network=replace(community.network, links=links))


def _objective(case: str, printed: float) -> Callable[[Results], Finding]:
    def check(results: Results) -> Finding:
        found = results[case].dispatch.objective
        return Finding(abs(found - printed) < EXACT, f"{found:.6g}")

    return check


def _table(case: str) -> Callable[[Results], Finding]:
    def check(results: Results) -> Finding:
        dispatch = results[case].dispatch
        worst = max(
            float(np.abs(getattr(dispatch, name)[:, 0] - row).max())
            for name, row in _TABLES[case].items()
        )
        return Finding(worst < EXACT, f"largest deviation {round(worst, 6):g} kWh")

    return check


def _grid_idle(results: Results) -> Finding:
    taken = {case: float(results[case].generated("G").sum()) for case in ("I", "II")}
    return Finding(max(taken.values()) < EXACT, kwh(taken))


def _p5_exports_more(results: Results) -> Finding:
    exported = {case: results[case].exported("P5") for case in ("I", "II")}
    more = exported["II"] - exported["I"]
    return Finding(abs(more - 140) < EXACT, f"{kwh(exported)}: {more:g} more")


def _printed_table(results: Results) -> Finding:
    """Solve the table as printed, for both cases."""
    results = {case: Result.of(as_printed(results[case].community)) for case in ("I", "II")}
    holds = all(
        _table(case)(results).holds and _objective(case, objective)(results).holds
        for case, objective in (("I", 31.936), ("II", 28.456))
    )
    numbers = ", ".join(
        f"{case}: {result.dispatch.objective:.6g} with {result.generated('G').sum():g} kWh of "
        "the grid"
        for case, result in results.items()
    )
    return Finding(holds, numbers)


STATEMENTS: Final = (
    Statement(
        "Table 2: generated, imported and exported power of case I",
        "3.1.1", ("I",), _table("I"), "every figure of the table, to a millionth of a kWh",
    ),
    Statement(
        "the main grid does not have any participation in the trading",
        "3.1.1", ("I", "II"), _grid_idle, "it generates nothing; Table 3 says so of case II",
    ),
    Statement(
        "Table 3: generated, imported and exported power of case II",
        "3.1.2", ("II",), _table("II"), "every figure of the table, to a millionth of a kWh",
    ),
    Statement(
        "the total operating cost of case I reached $ 31.936",
        "3.1.2", ("I",), _objective("I", 31.936), "the objective, to a millionth",
    ),
    Statement(
        "for case II it was $ 28.456",
        "3.1.2", ("II",), _objective("II", 28.456), "the objective, to a millionth",
    ),
    Statement(
        "an increase of 140 kW in the power exported from peer 5, from 40 to 180 kW",
        "3.1.2", ("I", "II"), _p5_exports_more,
    ),
    Statement(
        "Table 1: P5 can generate 20 kW and exports at 0.0048 $/kWh, and Tables 2 and 3 result",
        "3.1.1", ("I", "II"), _printed_table,
        "contradicts Tables 2 and 3, where P5 generates 60 and 200 kWh; P5 has 200 kW here and, in "
        "case I, an export cost of 0.0254",
        can_hold=False,
    ),
)  # fmt: skip
