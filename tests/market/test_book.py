"""`Network` and `Book`: what is refused, and where the error points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from tests.market.shorthand import ask, bid, network
from tests.strategies import INT32_MAX, INT32_MIN, UINT32_MAX, UINT40_MAX, books

from fairwatt.errors import BookError, ClearingError
from fairwatt.market import Book, Clearing, LimitOrder, Link, Network, Side

LINK = Link("a", "b", 3, 4)


def wrong(value: Any) -> Any:
    """A value of a type that the type checker would not let through."""
    return value


def test_network__parallel_links_are_allowed() -> None:
    assert len(network("a", "b", links=(LINK, LINK)).links) == 2


def test_network__extreme_values_are_allowed() -> None:
    Network(("a", "b"), (Link("a", "b", UINT32_MAX, UINT40_MAX, "dso"),), INT32_MIN, INT32_MAX)
    Network(("a",), (), 0, 0)


def test_network__tails_are_made_of_the_seed_and_the_position() -> None:
    links = (LINK, LINK, replace(LINK, tail=7))
    some = replace(network("a", "b", links=links), seed=bytes(32))
    assert (
        some.tails.tolist()
        == [
            0xAD3228 + 1,  # keccak256 of 64 zero bytes begins so
            1 + int.from_bytes(keccak(bytes(63) + b"\1")[:3], "big"),
            7,
        ]
    )


def test_network__no_seed__tails_are_made_of_nodes_and_links() -> None:
    some = network("a", "b", links=(LINK, LINK))
    assert some.tails.tolist() == network("a", "b", links=(LINK, LINK), floor=0).tails.tolist()
    for links in ((LINK,), (LINK, replace(LINK, capacity_wh=5)), (LINK, replace(LINK, owner="o"))):
        assert some.tails[0] != network("a", "b", links=links).tails[0]
    text = '[["a","b"],[["a","b",3,4,null],["a","b",3,4,null]]]'
    assert replace(some, seed=keccak(text.encode())).tails.tolist() == some.tails.tolist()


def test_network__seed_that_is_not_bytes__is_refused() -> None:
    with pytest.raises(BookError, match="must be bytes") as caught:
        replace(network(), seed=wrong("0x00"))
    assert caught.value.path == "network.seed"


@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("network.nodes[2]", lambda: network("a", "b", "a")),
        ("network.nodes[0]", lambda: network("")),
        ("network.nodes[0]", lambda: network(wrong(7))),
        ("network.nodes[0]", lambda: network("\ud800")),
        ("network.priceFloorMicroPerKWh", lambda: network(floor=2, cap=1)),
        ("network.priceFloorMicroPerKWh", lambda: network(floor=INT32_MIN - 1)),
        ("network.priceFloorMicroPerKWh", lambda: network(floor=True)),
        ("network.priceCapMicroPerKWh", lambda: network(cap=INT32_MAX + 1)),
        ("network.priceCapMicroPerKWh", lambda: network(cap=wrong(1.0))),
    ],
)
def test_network__refused(path: str, make: Callable[[], Network]) -> None:
    with pytest.raises(BookError) as caught:
        make()
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("from", {"source": "c"}),
        ("from", {"source": ["a"]}),
        ("to", {"target": None}),
        ("to", {"target": "a"}),
        ("tariffMicroPerKWh", {"tariff_micro_per_kwh": -1}),
        ("tariffMicroPerKWh", {"tariff_micro_per_kwh": UINT32_MAX + 1}),
        ("tariffMicroPerKWh", {"tariff_micro_per_kwh": 1.0}),
        ("capacityWh", {"capacity_wh": UINT40_MAX + 1}),
        ("capacityWh", {"capacity_wh": -1}),
        ("capacityWh", {"capacity_wh": False}),
        ("owner", {"owner": ""}),
        ("owner", {"owner": 5}),
        ("tail", {"tail": 0}),
        ("tail", {"tail": 2**24 + 1}),
        ("tail", {"tail": 1.0}),
    ],
)
def test_network__link_refused(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(BookError) as caught:
        network("a", "b", links=(LINK, replace(LINK, **change)))
    assert caught.value.path == f"network.links[1].{field}"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("id", {"id": "first"}),
        ("id", {"id": ""}),
        ("id", {"id": 5}),
        ("id", {"id": "\udfff"}),
        ("peer", {"peer": ""}),
        ("peer", {"peer": None}),
        ("node", {"node": "c"}),
        ("node", {"node": {}}),
        ("side", {"side": 0}),
        ("side", {"side": "bid"}),
        ("priceMicroPerKWh", {"price_micro_per_kwh": 101}),
        ("priceMicroPerKWh", {"price_micro_per_kwh": -101}),
        ("priceMicroPerKWh", {"price_micro_per_kwh": 2**70}),
        ("priceMicroPerKWh", {"price_micro_per_kwh": 5.0}),
        ("energyWh", {"energy_wh": -1}),
        ("energyWh", {"energy_wh": UINT40_MAX + 1}),
        ("energyWh", {"energy_wh": True}),
        ("energyWh", {"energy_wh": "5"}),
    ],
)
def test_book__order_refused(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(BookError) as caught:
        Book.of(network(), [bid("first", 5, 5), replace(ask("second", 5, 5), **change)])
    assert caught.value.path == f"orders[1].{field}"


def test_book__energies_that_sum_too_high() -> None:
    Book.of(network(), [bid(f"b{at}", 5, UINT40_MAX) for at in range(4096)])
    with pytest.raises(BookError, match="split the book") as caught:
        Book.of(network(), [bid(f"b{at}", 5, UINT40_MAX) for at in range(4097)])
    assert caught.value.path == "orders"


COLUMNS: dict[str, Any] = {
    "ids": ["x", "y"],
    "peers": ["p", "q"],
    "node": np.array([0, 0]),
    "side": np.array([0, 1], np.uint8),
    "price_micro_per_kwh": np.array([3, -4], np.int32),
    "energy_wh": np.array([5, 6], np.uint64),
}


def test_book__from_columns_is_the_same_as_from_orders() -> None:
    orders = LimitOrder("x", "p", "a", Side.BID, 3, 5), LimitOrder("y", "q", "a", Side.ASK, -4, 6)
    assert Book.from_columns(network(), **COLUMNS) == Book.of(network(), orders)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("orders[*].energyWh", {"energy_wh": np.array([5.0, 6.0])}),
        ("orders[*].side", {"side": np.array([False, True])}),
        ("orders[*].node", {"node": np.array([[0, 0]])}),
        ("orders[1].node", {"node": np.array([0, 1])}),
        ("orders[0].node", {"node": np.array([-1, 0])}),
        ("orders[0].side", {"side": np.array([2, 0])}),
        ("orders[1].energyWh", {"energy_wh": np.array([0, 2**64 - 1], np.uint64)}),
        ("orders", {"energy_wh": [5]}),
        ("orders", {"peers": ["p"]}),
    ],
)
def test_book__columns_refused(path: str, change: dict[str, Any]) -> None:
    with pytest.raises(BookError) as caught:
        Book.from_columns(network(), **{**COLUMNS, **change})
    assert caught.value.path == path


def test_book__columns_are_copies_that_nobody_can_change() -> None:
    energies = np.array([5, 6])
    some = Book.from_columns(network(), **{**COLUMNS, "energy_wh": energies})
    energies[0] = 99
    assert some.energy_wh.tolist() == [5, 6]
    with pytest.raises(ValueError, match="read-only"):
        some.energy_wh[0] = 99


@given(books())
def test_book__orders_make_the_same_book_again(some: Book) -> None:
    assert Book.of(some.network, some.orders) == some


def test_book__unequal_to_other_books_and_other_things() -> None:
    assert Book.of(network(), [bid("x", 1, 1)]) != Book.of(network(), [bid("x", 1, 2)])
    assert Book.of(network(), []) != "book"
    assert Clearing([], [], []) != Clearing([1], [], [])
    assert Clearing([], [], []) != "clearing"


@pytest.mark.parametrize(
    ("path", "claim"),
    [
        ("fillsWh[1]", ([0, 1.5], [], [])),
        ("flowsWh[0]", ([], [True], [])),
        ("pricesMicroPerKWh[0]", ([], [], [2**63])),
        ("fillsWh", (np.array([0.0]), [], [])),
    ],
)
def test_clearing__only_whole_numbers(path: str, claim: tuple[Any, Any, Any]) -> None:
    with pytest.raises(ClearingError) as caught:
        Clearing(*claim)
    assert caught.value.path == path
