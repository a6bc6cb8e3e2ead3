"""Sessions: the calendar of a market."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairwatt.session import NOBODY, MarketTerms

TERMS = MarketTerms(
    network=1,
    period_seconds=900,
    periods_per_session=4,
    max_placed_blocks=8,
    first_session_start=10_000,
    gate_lead_seconds=600,
    clearing_window_seconds=1_800,
    reading_window_seconds=7_200,
    settlement_window_seconds=86_400,
)
START = TERMS.first_session_start


def test_terms__times_of_a_session() -> None:
    assert TERMS.session_seconds == 3600
    assert TERMS.gate_closure(START) == START - 600
    assert TERMS.clearing_deadline(START) == START - 600 + 1_800
    assert TERMS.exclusive_deadline(START) == START - 600
    assert replace(TERMS, exclusive_window_seconds=60).exclusive_deadline(START) == START - 540
    assert TERMS.session_end(START) == START + 3_600
    assert TERMS.reading_deadline(START) == START + 3_600 + 7_200
    assert TERMS.settlement_deadline(START) == START + 3_600 + 86_400


def test_terms__to_message__has_the_fields_of_the_struct_in_their_sequence() -> None:
    assert list(TERMS.to_message().items()) == [
        ("network", 1),
        ("periodSeconds", 900),
        ("periodsPerSession", 4),
        ("maxPlacedBlocks", 8),
        ("firstSessionStart", 10_000),
        ("gateLeadSeconds", 600),
        ("clearingWindowSeconds", 1_800),
        ("readingWindowSeconds", 7_200),
        ("settlementWindowSeconds", 86_400),
        ("exclusiveWindowSeconds", 0),
        ("manager", NOBODY),
        ("solverFeeNano", 0),
    ]


@pytest.mark.parametrize(
    ("time", "start"),
    [
        (0, START),
        (START - 1, START),
        (START, START),
        (START + 3_599, START),
        (START + 3_600, START + 3_600),
        (START + 7_199, START + 3_600),
    ],
)
def test_session_at__time__is_the_session_it_lies_in_or_the_first(time: int, start: int) -> None:
    assert TERMS.session_at(time) == start


@pytest.mark.parametrize(
    ("time", "start"),
    [
        (0, START),
        (START - 601, START),  # the last second of the gate
        (START - 600, START + 3_600),  # gate closure
        (START, START + 3_600),
        (START + 2_999, START + 3_600),
        (START + 3_000, START + 7_200),
    ],
)
def test_next_open_session__time__is_the_first_with_an_open_gate(time: int, start: int) -> None:
    assert TERMS.next_open_session(time) == start


@given(
    time=st.integers(0, 200_000),
    lead=st.integers(0, 20_000),
    periods=st.integers(1, 30),
    first=st.integers(20_000, 60_000),
)
def test_next_open_session__any_terms__has_an_open_gate_and_the_one_before_has_not(
    time: int, lead: int, periods: int, first: int
) -> None:
    terms = replace(
        TERMS, gate_lead_seconds=lead, periods_per_session=periods, first_session_start=first
    )
    start = terms.next_open_session(time)
    assert terms.session_at(start) == start
    assert time < terms.gate_closure(start)
    before = start - terms.session_seconds
    assert before < first or time >= terms.gate_closure(before)
