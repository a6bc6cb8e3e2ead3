"""Random positions and tariffs for Hypothesis: empty periods, one-sided ones, equal tariffs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairwatt.mechanisms import PoolResult

SLACK = 1e-9
"""Token: what rounding of floats may make of a sum here (positions to 50 kWh, prices to 1)."""


QUICK = settings(max_examples=50, deadline=None)


@dataclass(frozen=True)
class Positions:
    """Arguments of a price rule."""

    net_kwh: np.ndarray
    buy_per_kwh: np.ndarray
    sell_per_kwh: np.ndarray

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter((self.net_kwh, self.buy_per_kwh, self.sell_per_kwh))


@st.composite
def positions(
    draw: st.DrawFn, *, own_tariffs: bool | None = None, least_feed_in: float = -0.1
) -> Positions:
    """Up to five peers and four periods; any feed-in tariff is below every retail tariff."""
    peers, periods = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    energy = st.one_of(
        st.sampled_from([0.0, 1.0, -1.0, 5.0]), st.floats(-50, 50, allow_subnormal=False)
    )
    own = draw(st.booleans()) if own_tariffs is None else own_tariffs
    shape = (peers, periods) if own else (periods,)
    middle = draw(arrays(float, (periods,), elements=st.floats(0.05, 0.5)))
    up = draw(arrays(float, shape, elements=st.one_of(st.just(0.0), st.floats(0, 0.5))))
    down = draw(arrays(float, shape, elements=st.one_of(st.just(0.0), st.floats(0, 0.5))))
    sell = np.maximum(middle - down, least_feed_in)
    return Positions(draw(arrays(float, (peers, periods), elements=energy)), middle + up, sell)


def outside_bill(given: Positions) -> float:
    """What the suppliers get, peer by peer and period by period, by the words of the page."""
    peers, periods = given.net_kwh.shape
    retail = np.broadcast_to(given.buy_per_kwh, (peers, periods))
    feed_in = np.broadcast_to(given.sell_per_kwh, (peers, periods))
    bill = 0.0
    for period in range(periods):
        wants = [max(net, 0.0) for net in given.net_kwh[:, period].tolist()]
        has = [max(-net, 0.0) for net in given.net_kwh[:, period].tolist()]
        missing = max(sum(wants) - sum(has), 0.0)
        left = max(sum(has) - sum(wants), 0.0)
        for peer in range(peers):
            if missing:
                bill += missing * wants[peer] / sum(wants) * float(retail[peer, period])
            if left:
                bill -= left * has[peer] / sum(has) * float(feed_in[peer, period])
    return bill


def require_balanced(result: PoolResult, given: Positions) -> None:
    """Bills pay the suppliers and the manager, and energy inside stays inside."""
    assert abs(result.bills.sum() - result.outside_bill - result.manager_surplus) < SLACK
    np.testing.assert_allclose(
        result.import_kwh - result.export_kwh, given.net_kwh.sum(axis=0), atol=SLACK
    )
    assert (result.import_kwh >= 0).all()
    assert (result.export_kwh >= 0).all()
