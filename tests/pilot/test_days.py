"""What a bar stands for in pictures of few and of many days: every period, and none twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from fairwatt.plot._days import bars, edges, means

PER_DAY = 24


@pytest.mark.parametrize(
    ("days", "hours", "last"),
    [(1, 1, 1), (14, 1, 1), (15, 24, 24), (120, 24, 24), (121, 168, 216), (365, 168, 192)],
)
def test_bars__any_number_of_days__have_every_period_once(days: int, hours: int, last: int) -> None:
    prepared = SimpleNamespace(
        per_day=PER_DAY,
        settings=SimpleNamespace(period_seconds=3600, start=1_546_297_200),
        case=SimpleNamespace(zone=ZoneInfo("Europe/Madrid")),
    )
    results: Any = SimpleNamespace(days=days, prepared=prepared)
    values = np.arange((days + 3) * PER_DAY) ** 2.0  # three days are not over

    shown = bars(results, values)

    assert np.concatenate(shown).tolist() == values[: days * PER_DAY].tolist()
    assert {len(bar) for bar in shown[:-1]} <= {hours}
    assert len(shown[-1]) == last
    widths = np.diff(edges(results)) * 24
    assert widths == pytest.approx([len(bar) for bar in shown], abs=1e-3)
    assert means(results, values) @ widths == pytest.approx(values[: days * PER_DAY].sum())
