"""`ClearingProof` and its Python twin give the same verdict: error name and values, or welfare.

First on named books with every fill, flow and price changed by itself, then on random ones. These
are the same in every run; `EXAMPLES=20000 pytest tests/contracts/test_clearing_proof.py` tries so
many others per test. The contract has no `FillCountMismatch` and no `NegativeQuantity` of its own:
`Settlement` counts fills per order, and the ABI has no negative quantities.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth.vm.message import Message
from eth_abi.abi import decode, encode
from eth_utils.abi import function_abi_to_4byte_selector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.market import reference
from tests.named_books import NAMED_BOOKS
from tests.strategies import (
    INT32_MAX,
    INT32_MIN,
    UINT40_MAX,
    books,
    clearings_rebalanced,
    clearings_with_changes,
    clearings_with_one_change,
)

from fairwatt import errors
from fairwatt.chain import connect, project
from fairwatt.market import Book, Clearing, check, clear

if TYPE_CHECKING:
    from collections.abc import Iterator

Verdict = tuple[object, ...]

_EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
some = settings(
    max_examples=_EXAMPLES or 250,
    derandomize=not _EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@dataclass(frozen=True)
class Contract:
    """The harness, run by py-evm without the detour over transactions: it is a pure function."""

    vm: Any
    code: bytes

    @cached_property
    def method(self) -> Any:
        return project().ClearingProofHarness.contract_type.view_methods["check"]

    @cached_property
    def errors(self) -> dict[bytes, Any]:
        found = project().ClearingProofHarness.contract_type.errors
        return {function_abi_to_4byte_selector(error.model_dump()): error for error in found}

    def verdict(self, *arguments: object) -> Verdict:
        """What `check(book, prices, flows)` returns or reverts with."""
        selector = function_abi_to_4byte_selector(self.method.model_dump())
        data = selector + encode(_types(self.method.inputs), arguments)
        nobody = b"\0" * 20
        message = Message(10**9, nobody, nobody, 0, data, self.code)
        state = self.vm.state
        context = state.transaction_context_class(gas_price=0, origin=nobody)
        computation = state.computation_class.apply_message(state, message, context)
        output = bytes(computation.output)
        if not computation.is_error:
            return ("accepted", *decode(_types(self.method.outputs), output))
        error = self.errors[output[:4]]
        return (error.name, *decode(_types(error.inputs), output[4:]))

    def check(self, book: Book, clearing: Clearing) -> Verdict:
        return self.verdict(*message(book, clearing))


def _types(fields: Any) -> list[str]:
    return [str(field.canonical_type) for field in fields]


def message(book: Book, clearing: Clearing) -> tuple[Any, list[int], list[int]]:
    """A book and a clearing as the harness takes them."""
    network = book.network
    links = zip(
        network.sources.tolist(),
        network.targets.tolist(),
        [0] * len(network.links),
        network.tariffs_micro_per_kwh.tolist(),
        network.capacities_wh.tolist(),
        strict=True,
    )
    lines = zip(
        book.node.tolist(),
        book.side.tolist(),
        book.price_micro_per_kwh.tolist(),
        book.energy_wh.tolist(),
        clearing.fills_wh.tolist(),
        strict=True,
    )
    bounds = (network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh)
    return (
        (len(network.nodes), *bounds, list(links), list(lines)),
        clearing.prices_micro_per_kwh.tolist(),
        clearing.flows_wh.tolist(),
    )


def python_verdict(book: Book, clearing: Clearing) -> Verdict:
    try:
        proof = check(book, clearing)
    except errors.ProofError as error:
        return (error.name, *vars(error).values())
    return ("accepted", proof.welfare, proof.dual_bound)


def single_changes(book: Book, clearing: Clearing) -> Iterator[Clearing]:
    """Every fill, flow and price changed by itself, to each value at which a rule may turn."""
    network = book.network
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    bounds = (floor, cap, floor - 1, cap + 1, INT32_MIN, INT32_MAX)
    fills, flows, prices = (
        column.tolist()
        for column in (clearing.fills_wh, clearing.flows_wh, clearing.prices_micro_per_kwh)
    )
    energies, capacities = book.energy_wh.tolist(), network.capacities_wh.tolist()
    for numbers, limits in ((fills, energies), (flows, capacities), (prices, [None] * len(prices))):
        for at, (old, limit) in enumerate(zip(numbers, limits, strict=True)):
            low, high = (INT32_MIN, INT32_MAX) if limit is None else (0, UINT40_MAX)
            others = bounds if limit is None else (0, limit, limit + 1, UINT40_MAX)
            for new in sorted({old - 1, old + 1, *others} - {old}):
                if low <= new <= high:
                    numbers[at] = new
                    yield Clearing(fills, flows, prices)
            numbers[at] = old


@pytest.fixture(scope="module")
def contract() -> Iterator[Contract]:
    with connect("ethereum:local:test"):
        chain = ape.networks.provider.tester.ethereum_tester.backend.chain
        code = project().ClearingProofHarness.contract_type.runtime_bytecode.bytecode
        yield Contract(chain.get_vm(), bytes.fromhex(str(code).removeprefix("0x")))


named = pytest.mark.parametrize("name", NAMED_BOOKS)


@named
def test_check__named_book_cleared__accepted_with_the_same_welfare(
    contract: Contract, name: str
) -> None:
    book = NAMED_BOOKS[name]
    proof = check(book, clearing := clear(book))
    assert contract.check(book, clearing) == ("accepted", proof.welfare, proof.dual_bound)
    assert proof.welfare == reference.best(book)[0]


@named
def test_check__named_book_with_one_change__same_verdict(contract: Contract, name: str) -> None:
    book = NAMED_BOOKS[name]
    for changed in single_changes(book, clear(book)):
        expected = python_verdict(book, changed)
        assert contract.check(book, changed) == expected, changed
        assert reference.verdict(book, changed) == expected, changed


@named
def test_check__named_book_with_other_counts__same_verdict(contract: Contract, name: str) -> None:
    book = NAMED_BOOKS[name]
    clearing = clear(book)
    flows, prices = clearing.flows_wh.tolist(), clearing.prices_micro_per_kwh.tolist()
    for changed in (
        Clearing(clearing.fills_wh, flows, prices[:-1]),
        Clearing(clearing.fills_wh, flows, [*prices, prices[0]]),
        Clearing(clearing.fills_wh, flows, []),
        Clearing(clearing.fills_wh, [*flows, 0], prices),
        *([Clearing(clearing.fills_wh, flows[:-1], prices)] if flows else []),
        Clearing(clearing.fills_wh, [*flows, 0], [*prices, INT32_MAX]),
    ):
        expected = python_verdict(book, changed)
        assert expected[0] in {"PriceCountMismatch", "FlowCountMismatch"}
        assert contract.check(book, changed) == expected


def test_check__named_books__every_error_is_met(contract: Contract) -> None:
    """Otherwise the comparisons above would compare less than they seem to."""
    met = {"PriceCountMismatch", "FlowCountMismatch"}  # asserted above
    for name in ("full link", "five peers in three communities"):
        book = NAMED_BOOKS[name]
        met |= {python_verdict(book, changed)[0] for changed in single_changes(book, clear(book))}
    assert met - {"accepted"} == {
        error.name for error in contract.errors.values() if error.name != "UnknownNode"
    }


def test_check__order_at_unknown_node__refused(contract: Contract) -> None:
    book, prices, flows = message(NAMED_BOOKS["full link"], clear(NAMED_BOOKS["full link"]))
    nodes, floor, cap, links, lines = book
    lines[1] = (2, *lines[1][1:])
    verdict = contract.verdict((nodes, floor, cap, links, lines), prices, flows)
    assert verdict == ("UnknownNode", 2, 2)


@pytest.mark.parametrize("ends", [(2, 1), (0, 7)])
def test_check__link_to_unknown_node__refused(contract: Contract, ends: tuple[int, int]) -> None:
    book, prices, flows = message(NAMED_BOOKS["full link"], clear(NAMED_BOOKS["full link"]))
    nodes, floor, cap, links, lines = book
    links[0] = (*ends, *links[0][2:])
    verdict = contract.verdict((nodes, floor, cap, links, lines), prices, flows)
    assert verdict == ("UnknownNode", max(ends), 2)


@some
@given(book=books())
def test_check__random_book_cleared__accepted_with_the_same_welfare(
    contract: Contract, book: Book
) -> None:
    proof = check(book, clearing := clear(book))
    assert contract.check(book, clearing) == ("accepted", proof.welfare, proof.dual_bound)


@some
@given(book=books(), data=st.data())
def test_check__random_book_with_one_change__same_verdict(
    contract: Contract, book: Book, data: st.DataObject
) -> None:
    changed = data.draw(clearings_with_one_change(book, clear(book)))
    assert contract.check(book, changed) == python_verdict(book, changed)


@some
@given(book=books(), data=st.data())
def test_check__random_book_with_some_changes__same_verdict(
    contract: Contract, book: Book, data: st.DataObject
) -> None:
    changed = data.draw(clearings_with_changes(book, clear(book)))
    assert contract.check(book, changed) == python_verdict(book, changed)


@some
@given(book=books(min_orders=2, max_nodes=2), data=st.data())
def test_check__random_book_rebalanced__same_verdict(
    contract: Contract, book: Book, data: st.DataObject
) -> None:
    changed = data.draw(clearings_rebalanced(book, clear(book)))
    assert contract.check(book, changed) == python_verdict(book, changed)
