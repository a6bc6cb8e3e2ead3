"""`Imbalances`: eight periods at a time comes to what period by period comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ape
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt.chain import connect, project
from fairwatt.imbalances import Tariff, estimate_imbalance, settle_reading
from fairwatt.lanes import MAX_ENERGY_WH, pack_energies

if TYPE_CHECKING:
    from collections.abc import Iterator

INT32 = 2**31
SMALL = 2**22 - 1  # differences of such energies are small enough for the fields
EDGES = [0, 1, -1, SMALL, -SMALL, SMALL + 1, 2**23, -(2**23), MAX_ENERGY_WH, -MAX_ENERGY_WH]
RATES = [0, 1, -1, 40_000, 120_000, INT32 - 1, -INT32]


@pytest.fixture(scope="module")
def harness() -> Iterator[Any]:
    with connect("ethereum:local:test"):
        yield project().ImbalancesHarness.deploy(sender=ape.accounts.test_accounts[0])


def _require_same(harness: Any, metered: Any, position: Any, tariffs: Any, limit_wh: int) -> None:
    listed = [(0, retail, feed_in) for retail, feed_in in tariffs]
    arguments = (pack_energies(metered), pack_energies(position), listed, limit_wh)
    known = [Tariff(0, *tariff) for tariff in tariffs]
    expected = (
        settle_reading(1, metered, position, known).payment_nano,
        all(abs(wh) <= limit_wh for wh in metered),
        estimate_imbalance(1, position, known).payment_nano,
    )
    assert tuple(harness.packed(*arguments)) == expected
    assert tuple(harness.plain(*arguments)) == expected


@st.composite
def sessions(draw: Any) -> Any:
    periods = draw(st.integers(1, 20))
    most = draw(st.sampled_from((3, SMALL, MAX_ENERGY_WH)))
    energy = st.sampled_from(EDGES) | st.integers(-most, most)
    rate = st.sampled_from(RATES) | st.integers(-INT32, INT32 - 1)
    pair = st.tuples(rate, rate).map(lambda two: (max(two), min(two)))

    def each(values: Any) -> Any:
        return draw(st.lists(values, min_size=periods, max_size=periods))

    limit = draw(st.sampled_from((0, SMALL, MAX_ENERGY_WH, 2**32)) | st.integers(0, most))
    return each(energy), each(energy), each(pair), limit


@settings(max_examples=150, deadline=None)
@given(session=sessions())
def test_packed_and_plain_come_to_the_same(harness: Any, session: Any) -> None:
    _require_same(harness, *session)


@pytest.mark.parametrize("periods", [8, 96, 512, 520])
@pytest.mark.parametrize("metered", [SMALL, -SMALL])
@pytest.mark.parametrize("rate", [INT32 - 1, -INT32])
def test_largest_sums_stay_in_their_fields(
    harness: Any, periods: int, metered: int, rate: int
) -> None:
    position = [-metered] * periods
    _require_same(harness, [metered] * periods, position, [(rate, rate)] * periods, SMALL)


@pytest.mark.parametrize("period", range(9))
@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_lane_is_held_to_the_limit(harness: Any, period: int, excess: int, sign: int) -> None:
    metered = [0] * 9
    metered[period] = sign * (1_000 + excess)
    _require_same(harness, metered, [0] * 9, [(3, 2)] * 9, 1_000)
