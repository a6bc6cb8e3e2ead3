"""Flexible orders in `ClearingProof` by itself: the same verdict as Python, number by number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.test_clearing_proof import (
    BID_TAIL,
    MOST_RANK,
    Claim,
    Contract,
    contract,
    implied_fills,
    require_same,
    some,
    verifies,
)
from tests.flexible import NAMED, cleared, sessions

from fairwatt.market import Certificate, Clearing

if TYPE_CHECKING:
    from fairwatt.expansion import Expansion
    from fairwatt.orders import FlexibleOrder, SignedOrder
    from fairwatt.proposal import Proposal
    from fairwatt.session import Session

__all__ = ["contract"]


def expansion(proposal: Proposal) -> Expansion:
    assert proposal.expansion is not None
    return proposal.expansion


def flows_of(order: FlexibleOrder, schedule: list[int]) -> list[int]:
    """Flows of the links of a flexible order: all follows from what it charges and discharges."""
    flows = [flow for wh in schedule for flow in (max(0, -wh), max(0, wh))]
    extra = -np.cumsum(schedule)[:-1]  # held beyond what was held at the start
    return flows + [flow for wh in extra.tolist() for flow in (max(0, wh), max(0, -wh))]


def changed(
    proposal: Proposal,
    *,
    flows: list[int] | None = None,
    schedules: list[list[int]] | None = None,
    **columns: list[int],
) -> Proposal:
    """The proposal with other flows, schedules or columns of the certificate; the rest follows."""
    whole, (clearing,) = expansion(proposal), proposal.clearings
    certificate = Certificate(**{**proposal.certificates[0].columns(), **columns})
    if flows is None:
        flows = clearing.flows_wh[: whole.link_count].tolist()
    if schedules is None:
        schedules = [list(each) for each in whole.schedules_of(clearing)]
    for order, schedule in zip(whole.flexible, schedules, strict=True):
        flows = flows + flows_of(order, schedule)
    made = Clearing(
        implied_fills(whole.book, certificate), flows, (certificate.low + certificate.high) >> 1
    )
    return replace(proposal, clearings=(made,), certificates=(certificate,))


@dataclass(frozen=True)
class Place:
    """A number of a proposal that can be changed by itself."""

    column: str
    at: int
    period: int = 0

    def old(self, proposal: Proposal) -> int:
        if self.column == "flows":
            return int(proposal.clearings[0].flows_wh[self.at])
        if self.column == "schedules":
            return expansion(proposal).schedules_of(proposal.clearings[0])[self.at][self.period]
        return int(proposal.certificates[0].columns()[self.column][self.at])

    def others(self, proposal: Proposal) -> list[int]:
        """Values at which a rule may turn."""
        whole, old = expansion(proposal), self.old(proposal)
        on = whole.network
        if self.column in {"low", "high"}:
            bounds = (on.price_floor_micro_per_kwh, on.price_cap_micro_per_kwh)
            values = {*bounds, bounds[0] - 1, *whole.book.price_micro_per_kwh.tolist()}
        elif self.column == "flows":
            capacity = on.links[self.at].capacity_wh
            values = {0, capacity, capacity + 1}
        elif self.column == "schedules":
            order = whole.flexible[self.at]
            values = {0, -old, order.discharge_wh, -order.charge_wh, -order.charge_wh - 1}
        elif self.column == "tail":
            tails = {link.tail or 0 for link in on.links}
            values = {0, BID_TAIL, -1, BID_TAIL + 1, *(old + t for t in sorted(tails)[:20])}
        elif self.column.endswith("rank"):
            values = {0, 1, MOST_RANK}
        else:
            values = {0}
        return sorted(value for value in {old - 1, old + 1, *values} if value != old)

    def put(self, proposal: Proposal, value: int) -> Proposal | None:
        """The proposal with this number changed, or None if that cannot be said to the contract."""
        whole, (certificate,) = expansion(proposal), proposal.certificates
        if self.column == "schedules":
            schedules = [list(each) for each in whole.schedules_of(proposal.clearings[0])]
            schedules[self.at][self.period] = value
            return changed(proposal, schedules=schedules)
        if value < 0 and self.column not in {"low", "high", "tail"}:
            return None
        if self.column == "flows":
            flows = proposal.clearings[0].flows_wh[: whole.link_count].tolist()
            flows[self.at] = value
            return changed(proposal, flows=flows)
        numbers = certificate.columns()[self.column].tolist()
        numbers[self.at] = value
        made = changed(proposal, **{self.column: numbers})
        certificate = made.certificates[0]
        if (certificate.low > certificate.high).any():
            return None
        if self.column.endswith("fill") and not (
            certificate.ask_total[self.at] or certificate.bid_total[self.at]
        ):
            return None
        return made


def places(proposal: Proposal) -> list[Place]:
    whole, columns = expansion(proposal), proposal.certificates[0].columns()
    return [
        *(Place("flows", at) for at in range(whole.link_count)),
        *(
            Place("schedules", at, period)
            for at, order in enumerate(whole.flexible)
            for period in range(order.periods)
        ),
        *(Place(name, at) for name in columns for at in range(len(whole.network.nodes))),
    ]


# ----------------------------------------------------------------------------------- error by error

FULL = "battery limited by its capacity"  # three periods; it charges 6 of 9 Wh in the first
SELLS = "battery sells what it holds for more than its value"  # 2 Wh, 0, 4 of the 7 that it holds
CHARGE, DISCHARGE, HOLD = 1 << 16, 1 << 16 | 1, 1 << 16 | 2  # links of node 1


@pytest.mark.parametrize(
    ("name", "place", "value", "error", "values"),
    [
        (
            *(FULL, Place("schedules", 0, 0), -10, "FlowAboveCapacity"),
            {"link": CHARGE, "period": 0, "flowWh": 10, "capacityWh": 9},
        ),
        (
            *(FULL, Place("schedules", 0, 0), -7, "FlowAboveCapacity"),
            {"link": HOLD, "period": 0, "flowWh": 7, "capacityWh": 6},
        ),
        (
            *(FULL, Place("schedules", 0, 0), -5, "FlowNotImplied"),
            {"link": HOLD, "period": 0, "flowWh": 5},
        ),
        (
            *(FULL, Place("low", 0), 0, "FlowNotImplied"),
            {"link": CHARGE, "period": 0, "flowWh": 6},
        ),
        (
            *(FULL, Place("tail", 0), -1, "FlowNotUnique"),
            {"link": CHARGE, "period": 0, "flowWh": 6},
        ),
        (
            *(FULL, Place("schedules", 0, 0), 6, "FlowNotUnique"),
            {"link": DISCHARGE, "period": 0, "flowWh": 6},
        ),
        (
            *(FULL, Place("schedules", 0, 2), 5, "NodeUnbalanced"),
            {"node": 1, "period": 2, "surplusWh": 1},
        ),
        (
            *(SELLS, Place("schedules", 0, 0), 4, "NodeUnbalanced"),
            {"node": 1, "period": 2, "surplusWh": -1},
        ),
        (FULL, Place("low_rank", 0), 1, "LowestNotProved", {"node": 1, "period": 0}),
        (FULL, Place("high_rank", 0), 1, "HighestNotProved", {"node": 1, "period": 0}),
    ],
)
def test_check__one_number_is_wrong__says_which(
    contract: Contract, name: str, place: Place, value: int, error: str, values: dict[str, int]
) -> None:
    made = place.put(NAMED[name].proposal, value)
    assert made is not None
    assert not verifies(made)
    contract.refuses(Claim.of(made), error, **values)


WORTH = "vehicle buys no more than it is worth"  # 6 of 10 Wh, which at the end are marginal at 40


def test_check__value_between_the_prices_at_the_end__reverts(contract: Contract) -> None:
    proposal = NAMED[WORTH].proposal
    columns = proposal.certificates[0].columns()
    low, high = columns["low"].copy(), columns["high"].copy()
    low[5:8] -= 1  # from the second period on, when it charges
    high[5:8] += 1
    claim = Claim.of(changed(proposal, low=low.tolist(), high=high.tolist()))
    contract.refuses(claim, "LimitBetweenPrices", node=1, period=3, limitMicroPerKWh=40)


def test_check__marginal_at_the_end__total_fill_and_tail_are_checked(contract: Contract) -> None:
    proposal = NAMED[WORTH].proposal
    columns = {name: each.tolist() for name, each in proposal.certificates[0].columns().items()}
    assert (columns["bid_fill"][7], columns["bid_total"][7]) == (6, 10)

    def other(name: str, by: int, cells: range = range(7, 8)) -> Claim:
        numbers = [wh + by if at in cells else wh for at, wh in enumerate(columns[name])]
        return Claim.of(changed(proposal, **{name: numbers}))

    cell = {"node": 1, "period": 3}
    contract.refuses(other("bid_total", 1), "MarginalTotalMismatch", **cell, asksWh=0, bidsWh=10)
    contract.refuses(other("bid_fill", 1), "NodeUnbalanced", **cell, surplusWh=-1)
    contract.refuses(other("tail", 1, range(5, 8)), "FillNotUnique", **cell)


# ------------------------------------------------------------------------------------ same verdict


@some(60)
@given(drawn=sessions(st.sampled_from([1, 2, 4, 9])))
def test_check__random_session__same_positions_and_money(
    contract: Contract, drawn: tuple[Session, list[SignedOrder], dict[int, int]]
) -> None:
    proposal = cleared(*drawn)
    assert verifies(proposal)
    require_same(contract.check(Claim.of(proposal)), proposal)


@pytest.mark.parametrize("name", NAMED)
def test_check__named_session_with_one_change__same_verdict(contract: Contract, name: str) -> None:
    proposal = NAMED[name].proposal
    require_same(contract.check(Claim.of(proposal)), proposal)
    for place in places(proposal):
        for value in place.others(proposal):
            if (made := place.put(proposal, value)) is not None:
                assert contract.accepts(Claim.of(made)) == verifies(made), (place, value)


@some(150)
@given(drawn=sessions(st.sampled_from([1, 2, 4, 9])), data=st.data())
def test_check__random_session_with_one_change__same_verdict(
    contract: Contract,
    drawn: tuple[Session, list[SignedOrder], dict[int, int]],
    data: st.DataObject,
) -> None:
    proposal = cleared(*drawn)
    place = data.draw(st.sampled_from(places(proposal)))
    made = place.put(proposal, data.draw(st.sampled_from(place.others(proposal))))
    if made is not None:
        assert contract.accepts(Claim.of(made)) == verifies(made)
