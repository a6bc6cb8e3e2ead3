"""`check`: the rules of the proof in their sequence.

Each claim breaks the named rule and, where it can, the next one: the first is reported.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market import reference
from tests.market.shorthand import ask, bid, book, network
from tests.strategies import (
    books,
    clearings_rebalanced,
    clearings_with_changes,
    clearings_with_one_change,
)

from fairwatt import errors
from fairwatt.market import Book, Clearing, Link, Proof, check, clear

many = settings(max_examples=250, deadline=None)


@pytest.fixture
def market() -> Book:
    """Two nodes, one link at its capacity; cleared by [4, 4], [4], [7, 20]."""
    on = network("a", "b", links=(Link("a", "b", 3, 4),), floor=0, cap=50)
    return book(ask("s", 7, 9, "a"), bid("k", 20, 6, "b"), on=on)


def test_check__optimum_is_accepted_with_its_welfare(market: Book) -> None:
    assert check(market, Clearing([4, 4], [4], [7, 20])) == Proof(40, 40)


def refused(market: Book, error: type[errors.ProofError], *claim: list[int]) -> dict[str, object]:
    with pytest.raises(error) as caught:
        check(market, Clearing(*claim))
    assert type(caught.value) is error
    return vars(caught.value)


def test_check__negative_fill(market: Book) -> None:
    found = refused(market, errors.NegativeQuantity, [4, -1], [4], [7, 20])
    assert found == {"field": "fillsWh", "index": 1, "quantity_wh": -1}


def test_check__negative_flow(market: Book) -> None:
    found = refused(market, errors.NegativeQuantity, [4, 4], [-4], [7, 20])
    assert found == {"field": "flowsWh", "index": 0, "quantity_wh": -4}


def test_check__price_missing(market: Book) -> None:
    found = refused(market, errors.PriceCountMismatch, [4], [], [60])
    assert found == {"expected": 2, "actual": 1}


@pytest.mark.parametrize("price", [-1, 51])
def test_check__price_outside_floor_and_cap(market: Book, price: int) -> None:
    found = refused(market, errors.PriceOutOfBounds, [4], [4], [7, price])
    assert found == {"node": 1, "price_micro_per_kwh": price, "floor": 0, "cap": 50}


def test_check__fill_too_many(market: Book) -> None:
    found = refused(market, errors.FillCountMismatch, [7, 7, 7], [4], [7, 20])
    assert found == {"expected": 2, "actual": 3}


def test_check__fill_above_energy(market: Book) -> None:
    found = refused(market, errors.FillAboveEnergy, [4, 7], [], [7, 20])
    assert found == {"line": 1, "fill_wh": 7, "energy_wh": 6}


def test_check__flow_missing(market: Book) -> None:
    found = refused(market, errors.FlowCountMismatch, [4, 5], [], [7, 20])
    assert found == {"expected": 1, "actual": 0}


def test_check__flow_above_capacity(market: Book) -> None:
    found = refused(market, errors.FlowAboveCapacity, [5, 4], [5], [7, 20])
    assert found == {"link": 0, "flow_wh": 5, "capacity_wh": 4}


def test_check__energy_from_nowhere(market: Book) -> None:
    found = refused(market, errors.NodeUnbalanced, [4, 5], [4], [7, 20])
    assert found == {"node": 1, "surplus_wh": -1}


def test_check__energy_to_nowhere(market: Book) -> None:
    found = refused(market, errors.NodeUnbalanced, [5, 4], [4], [7, 20])
    assert found == {"node": 0, "surplus_wh": 1}


def test_check__trade_left_out(market: Book) -> None:
    found = refused(market, errors.NotOptimal, [3, 3], [3], [7, 20])
    assert found == {"welfare": 30, "dual_bound": 40}


def test_check__price_that_nobody_bid(market: Book) -> None:
    found = refused(market, errors.NotOptimal, [4, 4], [4], [7, 21])
    assert found == {"welfare": 40, "dual_bound": 44}


def test_errors__parameters_are_attributes_and_messages_name_the_place(market: Book) -> None:
    with pytest.raises(errors.FlowAboveCapacity, match=r"link 0 \(a -> b\) carries 5 Wh"):
        check(market, Clearing([5, 5], [5], [7, 20]))


def test_errors__all_proof_errors_are_drawn_in_the_tree() -> None:
    for name, item in vars(errors).items():
        if inspect.isclass(item) and issubclass(item, errors.FairwattError) and name[0] != "_":
            assert name in (errors.__doc__ or "")


def test_errors__are_named_as_in_the_contract() -> None:
    """What only calldata can get wrong has no twin; nor has the sign of numbers without one."""
    source = (Path(__file__).parents[2] / "contracts" / "ClearingProof.sol").read_text()
    theirs = set(re.findall(r"^ *error (\w+)\(", source, re.MULTILINE))
    of_calldata = {"CellsMalformed", "DetailsMalformed", "UnknownPeriod", "NoSupport"}
    named_otherwise = {
        "PriceOutOfBounds": "PricesOutOfBounds",
        "MarginalFillTooLarge": "MarginalFillAboveTotal",
    }
    of_the_peer = {"EnergyAboveConnection"}
    for name in theirs - of_calldata - of_the_peer:
        assert issubclass(getattr(errors, named_otherwise.get(name, name)), errors.ProofError)


def verdict_of_check(some: Book, clearing: Clearing) -> tuple[object, ...]:
    try:
        proof = check(some, clearing)
    except errors.ProofError as error:
        return (type(error).__name__, *vars(error).values())
    return ("accepted", proof.welfare, proof.dual_bound)


@many
@given(books(), st.data())
def test_every_single_change_gets_the_verdict_of_the_rules(some: Book, data: st.DataObject) -> None:
    changed = data.draw(clearings_with_one_change(some, clear(some)))
    assert verdict_of_check(some, changed) == reference.verdict(some, changed)


@many
@given(books(), st.data())
def test_every_few_changes_get_the_verdict_of_the_rules(some: Book, data: st.DataObject) -> None:
    changed = data.draw(clearings_with_changes(some, clear(some)))
    assert verdict_of_check(some, changed) == reference.verdict(some, changed)


@many
@given(books(), st.data())
def test_what_is_accepted_is_optimal(some: Book, data: st.DataObject) -> None:
    verdict = verdict_of_check(some, data.draw(clearings_with_changes(some, clear(some))))
    assert verdict[0] != "accepted" or verdict[1] == reference.best(some)[0]


@many
@given(books(min_orders=2, max_nodes=1), st.data())
def test_a_change_in_balance_is_optimal_or_refused_for_the_right_reason(
    some: Book, data: st.DataObject
) -> None:
    changed = data.draw(clearings_rebalanced(some, clear(some)))
    verdict = verdict_of_check(some, changed)
    assert verdict == reference.verdict(some, changed)
    assert verdict[0] in {"accepted", "FillAboveEnergy", "NotOptimal"}
    assert verdict[0] != "accepted" or verdict[1] == reference.best(some)[0]
