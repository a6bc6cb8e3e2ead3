"""Bringing readings to periods: sums stay as they are, whatever is split or put together."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairwatt.metering import Channel, Checks
from fairwatt.metering._batch import MICRO, Batch, Readings, common_step
from fairwatt.metering._cells import Horizon, cells_of
from fairwatt.metering._clock import Clock
from fairwatt.metering._import import _horizon, _settled
from fairwatt.metering._periods import energy_wh

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINUTE = 60
START = 1_546_300_800  # 2019-01-01, a whole day
STEPS = st.sampled_from([1, 5, 10, 15, 20, 30, 60, 1440]).map(lambda minutes: minutes * MINUTE)


def batch(
    micro_wh: NDArray[np.int64] | list[int],
    step: int,
    *,
    start: int = START,
    lengths: list[int] | None = None,
) -> Batch:
    """Intervals of one meter, in micro-Wh."""
    values = np.array([micro_wh], np.float64)
    spans = np.full(values.size, step) if lengths is None else np.array(lengths)
    times = start + np.concatenate(([0], np.cumsum(spans)[:-1]))
    durations = None if lengths is None else spans.astype(np.int64)
    return Batch(
        (Channel("m", "net"),), times.astype(np.int64), values, 1.0, "interval", step, durations
    )


def settled(given: Batch, period: int) -> NDArray[np.int64]:
    readings = Readings((given,), ())
    horizon = _horizon(None, readings, period, None, None)  # type: ignore[arg-type]
    data = _settled(
        readings,
        Checks(rating_w=1e15, mean_low_w=0),
        Clock.fixed(0),
        horizon,
        policy="estimate",
        progress=lambda _: None,
    )
    return data.energy_wh[0]


def half_up(micro_wh: int) -> int:
    return (micro_wh + MICRO // 2) // MICRO


@given(
    st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=60),
    STEPS,
    st.sampled_from([900, 1800, 3600]),
)
def test_any_split_or_sum__whole_periods__keeps_the_sum_to_the_last_wh(
    micro_wh: list[int], step: int, period: int
) -> None:
    many = max(1, period // step)
    whole = micro_wh * many if period % step == 0 else micro_wh * 3
    if period % step and step % period:  # such as 20 minutes to 15: whole hours
        whole = micro_wh * 12
    energy = settled(batch(whole, step), period)
    assert energy.sum() == half_up(sum(whole))


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=48), STEPS, STEPS)
def test_energy_up_to_any_boundary__is_the_exact_one__rounded(
    micro_wh: list[int], step: int, period: int
) -> None:
    energy = settled(batch(micro_wh, step), period)
    total = len(micro_wh) * step
    exact = Fraction(0)
    edges = np.cumsum(energy)
    for at in range(min(energy.size, total // period)):
        reached = (at + 1) * period
        whole, rest = divmod(reached, step)
        exact = Fraction(sum(micro_wh[:whole]))
        if rest:
            exact += Fraction(micro_wh[whole] * rest, step)
        assert abs(int(edges[at]) - exact / MICRO) <= Fraction(1, 2) + Fraction(1, MICRO)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=96), st.sampled_from([1, 2, 3, 15]))
def test_split_and_put_together_again__whole_wh__is_what_it_was(
    energy_wh_given: list[int], parts: int
) -> None:
    split = settled(batch([e * MICRO for e in energy_wh_given], 900), 900 // parts)
    again = settled(batch([int(e) * MICRO for e in split], 900 // parts), 900)
    assert split.size == parts * len(energy_wh_given)
    assert again.tolist() == energy_wh_given


@given(
    st.lists(st.tuples(st.integers(0, 10**10), st.integers(1, 8)), min_size=1, max_size=30),
    st.sampled_from([900, 1800, 3600]),
)
def test_intervals_of_any_length__end_to_end__keep_their_sum(
    intervals: list[tuple[int, int]], period: int
) -> None:
    lengths = [450 * size for _, size in intervals]
    pad = -sum(lengths) % 3600
    energies = [energy for energy, _ in intervals] + ([0] if pad else [])
    energy = settled(batch(energies, 900, lengths=lengths + ([pad] if pad else [])), period)
    assert energy.sum() == half_up(sum(energies))


def test_rounding__is_carried__not_lost() -> None:
    third = [333_333] * 3 + [333_334] * 3  # micro-Wh
    assert settled(batch(third, 900), 900).tolist() == [0, 1, 0, 0, 1, 0]


def test_hour__split_into_quarters__gets_its_remainder() -> None:
    assert settled(batch([10 * MICRO, 3 * MICRO], 3600), 900).tolist() == [3, 2, 3, 2, 1, 1, 0, 1]


def test_minutes__of_power_in_watts__a_thousand_watts_are_a_thousand_wh() -> None:
    power = Batch(
        (Channel("m", "import"),),
        START + 60 * np.arange(60, dtype=np.int64),
        np.full((1, 60), 1000.0),
        MICRO / 3600,
        "power",
        60,
    )
    assert settled(power, 900).tolist() == [250] * 4


def test_large_energy__split__does_not_overflow() -> None:
    most = 8 * 10**15  # 8 GWh in a day
    assert settled(batch([most] * 30, 86_400), 60).sum() == 30 * most // MICRO


@pytest.mark.parametrize("offset", [-7200, -900, 450, 900, 7200])
def test_horizon__beyond_or_within_the_readings__covers_its_periods(offset: int) -> None:
    horizon = Horizon(START + offset, 900, 8)
    cells = cells_of(batch([MICRO * at for at in range(1, 25)], 900), slice(0, 1), horizon)
    out = np.empty((1, 8), np.int64)
    energy_wh(cells, horizon, out)
    energy = out[0]
    first = offset // 900
    if offset % 900 == 0:
        expected = [at + 1 if 0 <= at < 24 else 0 for at in range(first, first + 8)]
        assert energy.tolist() == expected
    else:
        assert energy.sum() == 40


@given(st.lists(st.integers(1, 5), min_size=2, max_size=40))
def test_common_step__is_the_most_frequent_distance(gaps: list[int]) -> None:
    found = common_step(60 * np.cumsum(gaps))
    counts = [gaps[1:].count(gap) for gap in range(6)]
    assert counts[found // 60] == max(counts)
