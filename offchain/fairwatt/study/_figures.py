"""Figures of merit of a dispatch, as energy communities state them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fairwatt.community import Array

__all__ = ["Figures", "figures"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a dispatch does with its own energy.

    Attributes
    ----------
    self_consumption
        Part of the generation that is not exported to suppliers, 0 to 1; None without generation.
        Exports beyond the generation (out of a storage that was full, or charged from suppliers)
        make it 0, not negative.
    self_sufficiency
        Part of the consumption that is not imported from suppliers, likewise.
    peak_import_kw
        Largest power that all peers together import from suppliers.
    import_kwh, export_kwh
        Over the horizon, with suppliers.
    """

    self_consumption: float | None
    self_sufficiency: float | None
    peak_import_kw: float
    import_kwh: float
    export_kwh: float


def figures(
    *,
    generation_kwh: float,
    consumption_kwh: float,
    import_kwh: Array,
    export_kwh: Array,
    hours: float,
) -> Figures:
    """Figures of what is exchanged with suppliers, shapes (parties, periods).

    Storage is neither generation nor consumption; sun that is spilt is not generated.

    Parameters
    ----------
    generation_kwh, consumption_kwh
        Of all peers over the horizon.
    hours
        Length of a period.
    """
    imported, exported = float(import_kwh.sum()), float(export_kwh.sum())
    return Figures(
        self_consumption=max(1 - exported / generation_kwh, 0.0) if generation_kwh > 0 else None,
        self_sufficiency=max(1 - imported / consumption_kwh, 0.0) if consumption_kwh > 0 else None,
        peak_import_kw=float(np.max(import_kwh.sum(axis=0), initial=0.0)) / hours,
        import_kwh=imported,
        export_kwh=exported,
    )
