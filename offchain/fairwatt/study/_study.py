"""Run designs on a community and keep their outcomes comparable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from fairwatt.errors import MechanismError, SharingError, StudyError
from fairwatt.sharing import gini
from fairwatt.study._designs import DESIGNS, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairwatt.community import Array, Community
    from fairwatt.study._designs import Design
    from fairwatt.study._figures import Figures

__all__ = ["Outcome", "Progress", "Study", "study"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what begins, and how many of how many designs are done."""

_DUST_TOKEN: Final = 1e-6
"""Differences of bills below this are rounding."""
_HALF_WH_KWH: Final = 0.0005


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a design does for a community.

    Attributes
    ----------
    design, title
        Key in `DESIGNS`, and what people call it.
    bills
        What each peer pays over the horizon, own assets included, token, shape (peers,).
    kept
        What stays with link owners, the fund or the manager, token: part of the bills.
    lowest_price, highest_price
        Of the trades inside the community, token/kWh; None where there are none.
    figures
        Of the dispatch.
    seconds
        Time it took, without what several designs share.
    note
        What one should know about it.
    """

    design: str
    title: str
    bills: Array
    kept: float
    lowest_price: float | None
    highest_price: float | None
    figures: Figures
    seconds: float
    note: str = ""

    @property
    def cost(self) -> float:
        """What all peers pay together, token."""
        return float(self.bills.sum())


@dataclass(frozen=True, eq=False)
class Study:
    """Outcomes of several designs; the first is that of every peer alone with its supplier.

    Attributes
    ----------
    left_out
        Designs that cannot take this community, with the reason.
    """

    community: Community
    outcomes: tuple[Outcome, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def alone(self) -> Outcome:
        """Every peer alone with its supplier."""
        return self.outcomes[0]

    def gains(self, outcome: Outcome) -> Array:
        """What each peer saves against being alone, token, shape (peers,)."""
        gains: Array = self.alone.bills - outcome.bills
        return np.where(np.abs(gains) < _DUST_TOKEN, 0.0, gains)

    def gain(self, outcome: Outcome) -> float:
        """What the community saves against everybody being alone, token."""
        return float(self.gains(outcome).sum())

    def worse_off(self, outcome: Outcome) -> tuple[str, ...]:
        """Peers that pay more than alone: for them the design is not individually rational.

        Half a Wh per period at the highest retail tariff is what orders in whole Wh may cost.
        """
        horizon = self.community.horizon
        highest = max(
            (each.retail(horizon.periods).max() for each in self.community.suppliers), default=0.0
        )
        losing = np.flatnonzero(
            self.gains(outcome) < -_HALF_WH_KWH * horizon.periods * abs(highest)
        )
        return tuple(self.community.peers[at].name for at in losing)

    def inequality(self, outcome: Outcome) -> float | None:
        """Gini coefficient of the gains, above 1 if some lose much; None without a gain."""
        gains = self.gains(outcome)
        return gini(gains) if gains.sum() > _DUST_TOKEN else None

    def to_document(self) -> dict[str, Any]:
        """The study as JSON; energies in kWh, money in tokens."""
        names = [peer.name for peer in self.community.peers]
        return {
            "community": self.community.name,
            "start": self.community.horizon.start,
            "periodSeconds": self.community.horizon.period_seconds,
            "periods": self.community.horizon.periods,
            "designs": [self._row(outcome, names) for outcome in self.outcomes],
            "leftOut": self.left_out,
        }

    def _row(self, outcome: Outcome, names: Sequence[str]) -> dict[str, Any]:
        figures = outcome.figures
        return {
            "design": outcome.design,
            "title": outcome.title,
            "cost": outcome.cost,
            "gain": self.gain(outcome),
            "kept": outcome.kept,
            "selfConsumption": figures.self_consumption,
            "selfSufficiency": figures.self_sufficiency,
            "peakImportKW": figures.peak_import_kw,
            "importKWh": figures.import_kwh,
            "exportKWh": figures.export_kwh,
            "lowestPrice": outcome.lowest_price,
            "highestPrice": outcome.highest_price,
            "gini": self.inequality(outcome),
            "worseOff": list(self.worse_off(outcome)),
            "seconds": outcome.seconds,
            "note": outcome.note,
            "bills": dict(zip(names, outcome.bills.tolist(), strict=True)),
            "gains": dict(zip(names, self.gains(outcome).tolist(), strict=True)),
        }


def study(
    community: Community,
    designs: Sequence[str] | None = None,
    *,
    seed: int = 2021,
    progress: Progress = lambda *_: None,
) -> Study:
    """Run market designs on a community.

    Parameters
    ----------
    designs
        Keys of `DESIGNS`; None: all of them. Being alone is always there.
    seed
        Of the sequence in which orders arrive at auctions, and of sampled Shapley values.
    progress
        Called with what begins, and how many of how many designs are done.

    Raises
    ------
    StudyError
        If a design is unknown, or one that was asked for by name cannot take the community.
    PlanError
        If the community cannot be planned for.
    """
    wanted = list(DESIGNS) if designs is None else list(dict.fromkeys(["alone", *designs]))
    for key in wanted:
        if key not in DESIGNS:
            raise StudyError(f"there is no design {key!r}; there are {', '.join(DESIGNS)}")
    outcomes: list[Outcome] = []
    left_out: dict[str, str] = {}
    stage = Stage(community, seed, lambda what: progress(what, len(outcomes), len(wanted)))
    for key in wanted:
        design = DESIGNS[key]
        stage.progress(design.title)
        try:
            outcomes.append(_run(key, design, stage))
        except (StudyError, MechanismError, SharingError) as reason:
            if designs is not None:
                raise StudyError(
                    f"{design.title} cannot take {community.name}: {reason}"
                ) from reason
            left_out[key] = str(reason)
    return Study(community, tuple(outcomes), left_out)


def _run(key: str, design: Design, stage: Stage) -> Outcome:
    if reason := design.refuses(stage):
        raise StudyError(reason)
    for shared in design.needs:
        getattr(stage, shared)  # computed once, on nobody's clock
    start = perf_counter()
    priced = design.run(stage)
    seconds = perf_counter() - start
    low = high = None
    if priced.prices is not None and priced.prices.size:
        low, high = float(priced.prices.min()), float(priced.prices.max())
    return Outcome(
        key, design.title, priced.bills, priced.kept, low, high, priced.figures, seconds,
        priced.note,
    )  # fmt: skip
