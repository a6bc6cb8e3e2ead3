"""How peers that keep their costs to themselves came to agree on prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from fairwatt.plot.style import BLUE, INK, RED, SOFT, save

if TYPE_CHECKING:
    from pathlib import Path

    from fairwatt.consensus import Consensus

__all__ = ["draw_consensus"]


def draw_consensus(consensus: Consensus, path: Path, *, title: str, currency: str) -> None:
    """Draw the residuals of every round.

    Parameters
    ----------
    path
        File to write; its suffix, `.png` or `.svg`, says how.

    Raises
    ------
    FairwattError
        If the suffix is another, or the file cannot be written.
    """
    save(lambda: _figure(consensus, title, currency), path)


def _figure(consensus: Consensus, title: str, currency: str) -> Figure:
    figure = Figure(figsize=(9, 5), layout="constrained")
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK, x=0.01, ha="left")
    axes = figure.subplots()
    rounds = np.arange(1, consensus.iterations + 1)
    for values, colour, label in (
        (consensus.primal_residual_kwh, BLUE, "primal: what is offered and not wanted, kWh"),
        (consensus.dual_residual_per_kwh, RED, f"dual: how far prices still move, {currency}/kWh"),
    ):
        axes.semilogy(rounds, np.maximum(values, 1e-12), color=colour, linewidth=1.4, label=label)
    ending = "agreed" if consensus.converged else "not agreed"
    axes.set_title(
        f"{ending} after {consensus.iterations} rounds, at most {consensus.gap:.2g} {currency} "
        f"({100 * consensus.gap / max(abs(consensus.objective), 1e-9):.2g} %) above the optimum",
        fontsize=10, loc="left", color=INK,
    )  # fmt: skip
    axes.set_xlabel("round", color=INK)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e6e8", linewidth=0.6)
    axes.tick_params(colors=SOFT)
    return figure
