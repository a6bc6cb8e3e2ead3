"""`verify`: the rules of the certificate one by one, and no change that passes them all."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market import reference
from tests.market.shorthand import ask, bid, book, network
from tests.market.test_certificate import full_of_ties
from tests.strategies import books

from fairwatt import errors
from fairwatt.market import Book, Certificate, Clearing, Link, certify, check, clear, verify
from fairwatt.market._ties import Margin

many = settings(max_examples=150, deadline=None)
CERTIFICATE = tuple(Certificate.__dataclass_fields__)


def changed(certificate: Certificate, **columns: list[int]) -> Certificate:
    return Certificate(**{**certificate.columns(), **columns})


class Market:
    """A cleared and certified book."""

    def __init__(self, some: Book) -> None:
        self.book = some
        self.clearing = clear(some)
        self.certificate = certify(some, self.clearing)
        verify(some, self.clearing, self.certificate)

    def refuses(
        self,
        error: type[errors.ProofError],
        fills: list[int] | None = None,
        flows: list[int] | None = None,
        prices: list[int] | None = None,
        **columns: list[int],
    ) -> dict[str, object]:
        claim = Clearing(
            self.clearing.fills_wh if fills is None else fills,
            self.clearing.flows_wh if flows is None else flows,
            self.clearing.prices_micro_per_kwh if prices is None else prices,
        )
        with pytest.raises(error) as caught:
            verify(self.book, claim, changed(self.certificate, **columns))
        assert type(caught.value) is error
        return vars(caught.value)


@pytest.fixture
def apart() -> Market:
    """One node, prices 10 to 21: fills [5, 5, 0]."""
    return Market(book(ask("s", 10, 5), bid("b", 21, 5), ask("dear", 30, 5)))


@pytest.fixture
def margin() -> Market:
    """One node, price 9 at which bids x and y share: fills [60, 40, 20, 0]."""
    return Market(book(ask("s", 5, 60), bid("x", 9, 80), bid("y", 9, 40), bid("w", 1, 9)))


@pytest.fixture
def ways() -> Market:
    """Two free ways from a to b: flows [4, 0], fills [4, 4], prices [7, 7]."""
    on = network("a", "b", links=(Link("a", "b", 0, 9, tail=1), Link("a", "b", 0, 9, tail=2)))
    return Market(book(ask("s", 7, 5, "a"), bid("b", 20, 4, "b"), on=on))


def test_verify__count_of_prices_fills_flows(apart: Market) -> None:
    assert apart.refuses(errors.PriceCountMismatch, prices=[]) == {"expected": 1, "actual": 0}
    assert apart.refuses(errors.FillCountMismatch, fills=[5]) == {"expected": 3, "actual": 1}
    assert apart.refuses(errors.FlowCountMismatch, flows=[0]) == {"expected": 0, "actual": 1}


@pytest.mark.parametrize("field", CERTIFICATE)
def test_verify__count_of_every_column(apart: Market, field: str) -> None:
    found = apart.refuses(errors.CertificateCountMismatch, **{field: [0, 0]})
    assert found == {"field": field, "expected": 1, "actual": 2}


@pytest.mark.parametrize(("low", "high"), [(-101, 21), (10, 101), (22, 21)])
def test_verify__f1_prices_out_of_bounds(apart: Market, low: int, high: int) -> None:
    found = apart.refuses(errors.PricesOutOfBounds, low=[low], high=[high])
    assert found == {"node": 0, "low": low, "high": high, "floor": -100, "cap": 100}


@pytest.mark.parametrize("price", [10, 14, 16, 21])
def test_verify__f1_another_optimal_price(apart: Market, price: int) -> None:
    check(apart.book, Clearing([5, 5, 0], [], [price]))
    found = apart.refuses(errors.PriceNotMidpoint, prices=[price])
    assert found == {"node": 0, "price_micro_per_kwh": price, "low": 10, "high": 21}


def test_verify__f2_limit_between_the_prices(apart: Market) -> None:
    found = apart.refuses(errors.LimitBetweenPrices, low=[9], prices=[15])
    assert found == {"line": 0, "limit_micro_per_kwh": 10, "low": 9, "high": 21}


@pytest.mark.parametrize(
    ("fills", "line", "implied"),
    [([4, 5, 0], 0, 5), ([5, 6, 0], 1, 5), ([5, 5, 1], 2, 0), ([5, 5, -1], 2, 0)],
)
def test_verify__f3_fill_not_implied(
    apart: Market, fills: list[int], line: int, implied: int
) -> None:
    found = apart.refuses(errors.FillNotImplied, fills=fills)
    assert found == {"line": line, "fill_wh": fills[line], "implied_wh": implied}


@pytest.mark.parametrize("total", [119, 121])
def test_verify__f4_total_of_the_marginal_orders(margin: Market, total: int) -> None:
    found = margin.refuses(errors.MarginalTotalMismatch, bid_total=[total])
    assert found == {"node": 0, "side": 0, "stated_wh": total, "actual_wh": 120}


def test_verify__f4_total_where_no_order_is_marginal(apart: Market) -> None:
    found = apart.refuses(errors.MarginalTotalMismatch, ask_total=[5])
    assert found == {"node": 0, "side": 1, "stated_wh": 5, "actual_wh": 0}


def test_verify__f4_marginal_fill_above_the_total(margin: Market) -> None:
    found = margin.refuses(errors.MarginalFillAboveTotal, bid_fill=[121])
    assert found == {"node": 0, "side": 0, "fill_wh": 121, "total_wh": 120}


def test_verify__f4_fill_that_is_no_share(margin: Market) -> None:
    check(margin.book, Clearing([60, 41, 19, 0], [], [9]))
    found = margin.refuses(errors.FillNotShared, fills=[60, 41, 19, 0])
    assert found == {"line": 1, "fill_wh": 41, "share_wh": 40}


def test_verify__f4_shares_of_another_fill(margin: Market) -> None:
    found = margin.refuses(errors.FillNotShared, bid_fill=[61])
    assert found == {"line": 2, "fill_wh": 20, "share_wh": 21}


def test_verify__l1_flow_out_of_bounds(ways: Market) -> None:
    found = ways.refuses(errors.NegativeQuantity, flows=[5, -1])
    assert found == {"field": "flowsWh", "index": 1, "quantity_wh": -1}
    found = ways.refuses(errors.FlowAboveCapacity, flows=[10, 0])
    assert found == {"link": 0, "flow_wh": 10, "capacity_wh": 9}


def test_verify__l2_link_that_pays_is_full_and_one_that_does_not_is_empty() -> None:
    on = network("a", "b", links=(Link("a", "b", 3, 4), Link("b", "a", 0, 4)))
    full = Market(book(ask("s", 7, 9, "a"), bid("b", 20, 6, "b"), on=on))
    assert full.clearing.flows_wh.tolist() == [4, 0]
    found = full.refuses(errors.FlowNotImplied, flows=[3, 0])
    assert found == {"link": 0, "flow_wh": 3, "capacity_wh": 4, "low_gain": 10, "high_gain": 10}
    found = full.refuses(errors.FlowNotImplied, flows=[4, 1])
    assert found == {"link": 1, "flow_wh": 1, "capacity_wh": 4, "low_gain": -13, "high_gain": -13}


def test_verify__l2_closed_link_may_gain_at_one_end_of_the_prices_and_lose_at_the_other() -> None:
    on = network("a", "b", links=(Link("a", "b", 0, 0),))
    orders = ask("s", 0, 5, "a"), bid("k", 90, 5, "a"), ask("t", 30, 5, "b"), bid("l", 50, 5, "b")
    closed = Market(book(*orders, on=on))
    assert closed.certificate.low.tolist() == [0, 30]
    assert closed.certificate.high.tolist() == [90, 50]


def test_verify__l3_equal_way_of_a_larger_tail(ways: Market) -> None:
    check(ways.book, Clearing([4, 4], [0, 4], [7, 7]))
    found = ways.refuses(errors.FlowNotUnique, flows=[0, 4], tail=[0, 2])
    assert found == {"link": 0, "flow_wh": 0, "capacity_wh": 9, "rise": 2, "tail": 1}
    found = ways.refuses(errors.FlowNotUnique, flows=[0, 4])
    assert found == {"link": 1, "flow_wh": 4, "capacity_wh": 9, "rise": 1, "tail": 2}


def test_verify__l3_tails_at_the_ends_of_their_range(ways: Market) -> None:
    found = ways.refuses(errors.FlowNotUnique, tail=[-(2**63), 2**63 - 1])
    assert found["rise"] == 2**64 - 1


def test_verify__c1_less_traded_than_possible() -> None:
    some = Market(book(ask("s", 7, 5), bid("b", 7, 5)))
    check(some.book, Clearing([3, 3], [], [7]))
    less: dict[str, Any] = {"fills": [3, 3], "ask_fill": [3], "bid_fill": [3]}
    found = some.refuses(errors.FillNotUnique, **less, tail=[0])
    assert found == {"node": 0, "side": 0, "fill_wh": 3, "total_wh": 5, "tail": 0}
    found = some.refuses(errors.FillNotUnique, **less, tail=[2**41])
    assert found == {"node": 0, "side": 1, "fill_wh": 3, "total_wh": 5, "tail": 2**41}


def test_verify__c2_out_of_balance(margin: Market) -> None:
    found = margin.refuses(errors.NodeUnbalanced, fills=[60, 40, 21, 0], bid_fill=[61])
    assert found == {"node": 0, "surplus_wh": -1}


@pytest.mark.parametrize(("low", "high", "error"), [(15, 21, "low"), (10, 15, "high")])
def test_verify__r1_price_that_nothing_holds(
    apart: Market, low: int, high: int, error: str
) -> None:
    price = [(low + high) // 2]
    if error == "low":
        found = apart.refuses(errors.LowestNotProved, low=[low], prices=price)
        assert found == {"node": 0, "low": low, "rank": 0}
    else:
        found = apart.refuses(errors.HighestNotProved, high=[high], prices=price)
        assert found == {"node": 0, "high": high, "rank": 0}


@pytest.mark.parametrize("rank", ["low_rank", "high_rank"])
def test_verify__r1_order_holds_a_price_at_any_rank(
    apart: Market, margin: Market, rank: str
) -> None:
    for some in (apart, margin):
        verify(some.book, some.clearing, changed(some.certificate, **{rank: [1]}))


def test_verify__r1_nodes_that_hold_each_others_price(ways: Market) -> None:
    assert ways.certificate.low_rank.tolist() == [0, 1]
    assert ways.refuses(errors.LowestNotProved, low_rank=[1, 1]) == {"node": 1, "low": 7, "rank": 1}
    assert ways.refuses(errors.LowestNotProved, low_rank=[0, 0]) == {"node": 1, "low": 7, "rank": 0}


def verdict(some: Book, clearing: Clearing, certificate: Certificate) -> tuple[object, ...]:
    try:
        verify(some, clearing, certificate)
    except errors.ProofError as error:
        return (type(error).__name__, *vars(error).values())
    return ("accepted",)


def mutations(
    some: Book, clearing: Clearing, certificate: Certificate, chance: random.Random
) -> Any:
    """Every number of clearing and certificate, changed a little or a lot."""
    claim = {
        "fills_wh": clearing.fills_wh.tolist(),
        "flows_wh": clearing.flows_wh.tolist(),
        "prices_micro_per_kwh": clearing.prices_micro_per_kwh.tolist(),
    }
    columns = {field: column.tolist() for field, column in certificate.columns().items()}
    for field, numbers in (claim | columns).items():
        low, high = (
            (0, 2**62)
            if field.split("_")[-1] in {"rank", "fill", "total"}
            else (-(2**31), 2**31 - 1)
            if field in {"low", "high"}
            else (-(2**62), 2**62)
        )
        for at, old in enumerate(numbers):
            near = {old - 1, old + 1, 0, chance.choice(numbers), chance.randint(-9, 9)}
            for new in sorted(near - {old}):
                if low <= new <= high:
                    other = {field: [*numbers[:at], new, *numbers[at + 1 :]]}
                    yield (
                        field,
                        Clearing(*(claim | other if field in claim else claim).values()),
                        certificate if field in claim else changed(certificate, **other),
                    )


def no_single_change_passes(some: Book, chance: random.Random) -> None:
    """Tails and ranks prove and are not what is proved: others may prove the same."""
    clearing = clear(some)
    certificate = certify(some, clearing)
    for field, other, proof in mutations(some, clearing, certificate, chance):
        found = verdict(some, other, proof)
        assert found == reference.certified(some, other, proof)
        assert found[0] != "accepted" or field in {"tail", "low_rank", "high_rank"}


@pytest.mark.parametrize("first", range(0, 100, 50))
def test_verify__every_single_change_on_networks_full_of_ties__is_refused(first: int) -> None:
    for seed in range(first, first + 50):
        no_single_change_passes(full_of_ties(seed), random.Random(seed))


@settings(max_examples=40, deadline=None)
@given(books(max_orders=8), st.randoms(use_true_random=False))
def test_verify__every_single_change__gets_the_verdict_of_the_rules(
    some: Book, chance: random.Random
) -> None:
    no_single_change_passes(some, chance)


@many
@given(books(), st.randoms(use_true_random=False))
def test_verify__several_changes__pass_only_if_they_prove_the_same(
    some: Book, chance: random.Random
) -> None:
    clearing = clear(some)
    certificate = certify(some, clearing)
    for _ in range(chance.randint(1, 4)):
        steps = list(mutations(some, clearing, certificate, chance))
        if not steps:
            return
        _, clearing, certificate = chance.choice(steps)
    found = verdict(some, clearing, certificate)
    assert found == reference.certified(some, clearing, certificate)
    if found == ("accepted",):
        assert clearing == clear(some)


def test_verify__other_optima__are_refused_with_the_best_certificate_they_can_have() -> None:
    """What an honest solver finds for other tails, held against the tails as they are."""
    refused = 0
    for seed in range(300):
        some = full_of_ties(seed)
        elsewhere = replace(some, network=replace(some.network, seed=b"other"))
        other = clear(elsewhere)
        check(some, other)
        if other != clear(some):
            assert other.prices_micro_per_kwh.tolist() == clear(some).prices_micro_per_kwh.tolist()
            assert verdict(some, other, certify(elsewhere, other))[0] in {
                "FlowNotUnique",
                "FillNotUnique",
            }
            with pytest.raises(errors.KernelError):
                certify(some, other)
            refused += 1
    assert refused > 20


def test_verify__other_optimal_prices__are_refused_with_every_number_that_follows_from_them() -> (
    None
):
    refused = 0
    for seed in range(300):
        some = full_of_ties(seed)
        clearing = clear(some)
        true = certify(some, clearing)
        middle = clearing.prices_micro_per_kwh
        for low, high in ((true.low, true.low), (true.high, true.high), (true.low, middle)):
            if np.array_equal(low, true.low) and np.array_equal(high, true.high):
                continue
            claim = Clearing(clearing.fills_wh, clearing.flows_wh, (low + high) >> 1)
            check(some, claim)
            margin = Margin.of(some, low, high)
            filled = margin.filled(clearing.fills_wh)
            certificate = changed(
                true,
                low=low,
                high=high,
                ask_fill=filled[1::2],
                ask_total=margin.total[1::2],
                bid_fill=filled[::2],
                bid_total=margin.total[::2],
            )
            assert verdict(some, claim, certificate) != ("accepted",)
            refused += 1
    assert refused > 100
