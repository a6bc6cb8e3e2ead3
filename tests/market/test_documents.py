"""Books and clearings as JSON: what goes round, what is refused, and where the error points."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from tests.strategies import books, clearings_with_one_change

from fairwatt.errors import BookError, ClearingError, FairwattError, NotOptimal, ProofError
from fairwatt.market import Book, Proof, check, clear
from fairwatt.market.documents import (
    dump_book,
    dump_clearing,
    load_book,
    load_clearing,
    schema,
    verify_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BOOK: dict[str, Any] = json.loads("""
{
  "network": {
    "nodes": ["grid", "c3"],
    "priceFloorMicroPerKWh": -500000,
    "priceCapMicroPerKWh": 4000000,
    "links": [
      {"from": "grid", "to": "c3", "tariffMicroPerKWh": 15840, "capacityWh": 5000000},
      {"from": "c3", "to": "grid", "tariffMicroPerKWh": 0, "capacityWh": 0, "owner": "dso"}
    ]
  },
  "orders": [
    {"id": "P5", "peer": "P5", "node": "c3", "side": "ask",
     "priceMicroPerKWh": 50000, "energyWh": 200000},
    {"id": "P 4", "peer": "P4", "node": "c3", "side": "bid",
     "priceMicroPerKWh": 70000, "energyWh": 100000}
  ]
}
""")
CLEARING: dict[str, Any] = {
    "fillsWh": {"P5": 100000, "P 4": 100000},
    "flowsWh": [0, 0],
    "pricesMicroPerKWh": {"grid": 1767080, "c3": 50000},
    "welfare": 2000000000,
    "dualBound": 2000000000,
}
MISSING = object()


def changed(document: dict[str, Any], place: tuple[str | int, ...], value: object) -> Any:
    result = copy.deepcopy(document)
    inner: Any = result
    for key in place[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return result


def test_book_document_goes_round() -> None:
    assert dump_book(load_book(BOOK)) == BOOK


def test_seed_and_tails_go_round() -> None:
    links = [BOOK["network"]["links"][0] | {"tail": 16777216}, BOOK["network"]["links"][1]]
    document = BOOK | {"network": BOOK["network"] | {"seed": "0x00ff", "links": links}}
    book = load_book(document)
    assert dump_book(book) == document
    assert (book.network.seed, book.network.links[0].tail) == (b"\x00\xff", 16777216)


@pytest.mark.parametrize("seed", ["", "0x", "0xf", "0xFF", "00", 5])
def test_seed_that_is_no_hexadecimal_is_refused(seed: object) -> None:
    with pytest.raises(BookError) as caught:
        load_book(BOOK | {"network": BOOK["network"] | {"seed": seed}})
    assert caught.value.path == "network.seed"


def test_text_bytes_and_parsed_documents_are_the_same() -> None:
    text = json.dumps(BOOK)
    assert load_book(text) == load_book(text.encode()) == load_book(BOOK)


def test_clearing_document_is_verified() -> None:
    assert verify_document(load_book(BOOK), json.dumps(CLEARING)) == Proof(2 * 10**9, 2 * 10**9)


def test_fills_and_prices_are_matched_by_name_not_by_sequence() -> None:
    turned = {
        **CLEARING,
        "fillsWh": dict(reversed(CLEARING["fillsWh"].items())),
        "pricesMicroPerKWh": dict(reversed(CLEARING["pricesMicroPerKWh"].items())),
    }
    book = load_book(BOOK)
    assert load_clearing(book, turned) == load_clearing(book, CLEARING)


def test_schemas_are_valid_schemas() -> None:
    for kind in ("book", "clearing"):
        Draft202012Validator.check_schema(schema(kind))


@settings(max_examples=100, deadline=None)
@given(books())
def test_any_market_goes_round_as_the_schemas_say(book: Book) -> None:
    clearing = clear(book)
    written, result = dump_book(book), dump_clearing(book, clearing)
    Draft202012Validator(schema("book")).validate(written)
    Draft202012Validator(schema("clearing")).validate(result)
    assert load_book(json.dumps(written)) == book
    assert load_clearing(book, json.dumps(result)) == clearing
    assert verify_document(book, json.dumps(result)) == check(book, clearing)


def verdict(judge: Callable[[Book, Any], Proof], book: Book, claim: object) -> object:
    try:
        return judge(book, claim)
    except ProofError as error:
        return type(error), vars(error)


@settings(max_examples=100, deadline=None)
@given(books(), st.data())
def test_changed_clearings_get_the_same_verdict_as_documents(
    book: Book, data: st.DataObject
) -> None:
    clearing = data.draw(clearings_with_one_change(book, clear(book)))
    document = json.dumps(dump_clearing(book, clearing))
    assert verdict(verify_document, book, document) == verdict(check, book, clearing)


@pytest.mark.parametrize(
    ("place", "value", "path"),
    [
        (("network",), MISSING, "network"),
        (("orders",), MISSING, "orders"),
        (("orders",), {}, "orders"),
        (("extra",), 1, "extra"),
        (("network",), [], "network"),
        (("network", "nodes"), MISSING, "network.nodes"),
        (("network", "nodes"), "grid", "network.nodes"),
        (("network", "nodes", 1), 5, "network.nodes[1]"),
        (("network", "nodes", 1), "", "network.nodes[1]"),
        (("network", "nodes", 1), "grid", "network.nodes[1]"),
        (("network", "owner"), "dso", "network.owner"),
        (("network", "priceFloorMicroPerKWh"), 1.5, "network.priceFloorMicroPerKWh"),
        (("network", "priceFloorMicroPerKWh"), 1.0, "network.priceFloorMicroPerKWh"),
        (("network", "priceFloorMicroPerKWh"), 4000001, "network.priceFloorMicroPerKWh"),
        (("network", "priceCapMicroPerKWh"), True, "network.priceCapMicroPerKWh"),
        (("network", "priceCapMicroPerKWh"), 2**31, "network.priceCapMicroPerKWh"),
        (("network", "links", 0), None, "network.links[0]"),
        (("network", "links", 0, "from"), MISSING, "network.links[0].from"),
        (("network", "links", 0, "from"), "c4", "network.links[0].from"),
        (("network", "links", 0, "to"), "grid", "network.links[0].to"),
        (("network", "links", 0, "tariff"), 1, "network.links[0].tariff"),
        (("network", "links", 1, "owner"), None, "network.links[1].owner"),
        (("network", "links", 1, "capacityWh"), -1, "network.links[1].capacityWh"),
        (("network", "links", 1, "capacityWh"), 2**40, "network.links[1].capacityWh"),
        (("network", "links", 1, "tariffMicroPerKWh"), -1, "network.links[1].tariffMicroPerKWh"),
        (("orders", 1), [], "orders[1]"),
        (("orders", 1, "id"), MISSING, "orders[1].id"),
        (("orders", 1, "id"), "P5", "orders[1].id"),
        (("orders", 1, "id"), "\ud800", "orders[1].id"),
        (("orders", 1, "peer"), 5, "orders[1].peer"),
        (("orders", 1, "peer"), "", "orders[1].peer"),
        (("orders", 1, "node"), "c4", "orders[1].node"),
        (("orders", 1, "side"), "buy", "orders[1].side"),
        (("orders", 1, "side"), 0, "orders[1].side"),
        (("orders", 1, "priceMicroPerKWh"), 4000001, "orders[1].priceMicroPerKWh"),
        (("orders", 1, "priceMicroPerKWh"), None, "orders[1].priceMicroPerKWh"),
        (("orders", 1, "priceMicroPerKWh"), 2**80, "orders[1].priceMicroPerKWh"),
        (("orders", 1, "energyWh"), "5", "orders[1].energyWh"),
        (("orders", 1, "energyWh"), 1.0, "orders[1].energyWh"),
        (("orders", 1, "energyWh"), 1e400, "orders[1].energyWh"),
        (("orders", 1, "energyWh"), False, "orders[1].energyWh"),
        (("orders", 1, "energyWh"), -1, "orders[1].energyWh"),
        (("orders", 1, "energyWh"), 2**40, "orders[1].energyWh"),
        (("orders", 1, "energy"), 5, "orders[1].energy"),
        (("orders", 1, "a b"), 5, 'orders[1]["a b"]'),
    ],
)
def test_load_book__refused(place: tuple[str | int, ...], value: object, path: str) -> None:
    with pytest.raises(BookError) as caught:
        load_book(changed(BOOK, place, value))
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("place", "value", "path"),
    [
        (("fillsWh",), MISSING, "fillsWh"),
        (("fillsWh",), [], "fillsWh"),
        (("fillsWh", "P5"), MISSING, "fillsWh.P5"),
        (("fillsWh", "P6"), 0, "fillsWh.P6"),
        (("fillsWh", "P 4"), 1.5, 'fillsWh["P 4"]'),
        (("fillsWh", "P 4"), 100000.0, 'fillsWh["P 4"]'),
        (("fillsWh", "P 4"), True, 'fillsWh["P 4"]'),
        (("fillsWh", "P 4"), -1, 'fillsWh["P 4"]'),
        (("fillsWh", "P 4"), 2**40, 'fillsWh["P 4"]'),
        (("flowsWh",), {}, "flowsWh"),
        (("flowsWh", 1), None, "flowsWh[1]"),
        (("flowsWh", 1), -1, "flowsWh[1]"),
        (("pricesMicroPerKWh", "c3"), MISSING, "pricesMicroPerKWh.c3"),
        (("pricesMicroPerKWh", "c4"), 0, "pricesMicroPerKWh.c4"),
        (("pricesMicroPerKWh", "c3"), 2**31, "pricesMicroPerKWh.c3"),
        (("welfare",), MISSING, "welfare"),
        (("welfare",), 2e9, "welfare"),
        (("dualBound",), "2000000000", "dualBound"),
        (("note",), "hello", "note"),
    ],
)
def test_load_clearing__refused(place: tuple[str | int, ...], value: object, path: str) -> None:
    with pytest.raises(ClearingError) as caught:
        load_clearing(load_book(BOOK), changed(CLEARING, place, value))
    assert caught.value.path == path


@pytest.mark.parametrize("field", ["welfare", "dualBound"])
def test_verify_document__false_total(field: str) -> None:
    with pytest.raises(ClearingError, match="states 2000000001 but it is 2000000000") as caught:
        verify_document(load_book(BOOK), {**CLEARING, field: 2 * 10**9 + 1})
    assert caught.value.path == field


def test_verify_document__claims_an_optimum_that_is_none() -> None:
    claim = changed(CLEARING, ("pricesMicroPerKWh", "c3"), 50001)
    with pytest.raises(NotOptimal):
        verify_document(load_book(BOOK), claim)


BAD_TEXTS = {
    "nothing": ("", "book", "not valid JSON"),
    "cut off": ('{"orders": [', "book", "not valid JSON"),
    "not an object": ("[]", "book", "must be an object"),
    "NaN": ('{"orders": NaN}', "book", "NaN"),
    "infinity": ('{"orders": -Infinity}', "book", "-Infinity"),
    "deep": ("[" * 200_000, "book", "nested too deeply"),
    "deep behind a string": ('{"]]]]": ' + '{"\\"}": ' * 200_000, "book", "nested too deeply"),
    "endless number": ('{"orders": ' + "1" * 10_000 + "}", "book", "not valid JSON"),
    "key twice": ('{"orders": [], "orders": []}', "orders", "twice"),
    "key twice inside": (
        '{"network": {}, "orders": [{}, {"id": "x", "id": "y"}]}',
        "orders[1].id",
        "twice",
    ),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_load_book__text_refused(case: str) -> None:
    text, path, problem = BAD_TEXTS[case]
    with pytest.raises(BookError, match=problem) as caught:
        load_book(text)
    assert caught.value.path == path


def test_load_book__bytes_that_are_not_text() -> None:
    with pytest.raises(BookError, match="not valid JSON"):
        load_book(b"\xff\xfe\xfd")


def test_load_clearing__fill_twice() -> None:
    with pytest.raises(ClearingError, match=r"fillsWh\.P5: stands there twice"):
        load_clearing(load_book(BOOK), '{"fillsWh": {"P5": 1, "P5": 1}}')


def test_many_orders_of_other_shapes_are_all_seen() -> None:
    orders = [{**BOOK["orders"][0], "id": f"o{at}"} for at in range(50)]
    orders[37]["energyWh"] = 5.5
    orders[41]["side"] = "both"
    with pytest.raises(BookError) as caught:
        load_book({**BOOK, "orders": orders})
    assert caught.value.path == "orders[37].energyWh"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def places(content: object) -> list[tuple[str | int, ...]]:
    pairs: list[tuple[Any, object]] = []
    if isinstance(content, dict):
        pairs = list(content.items())
    elif isinstance(content, list):
        pairs = list(enumerate(content))
    return [
        place for key, value in pairs for place in ((key,), *((key, *p) for p in places(value)))
    ]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(places(BOOK)), anything)
def test_load_book__anything_anywhere_is_taken_or_refused(
    place: tuple[str | int, ...], value: object
) -> None:
    document = changed(BOOK, place, value)
    try:
        book = load_book(document)
    except BookError:
        return
    Draft202012Validator(schema("book")).validate(document)
    assert dump_book(book) == document


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(places(CLEARING)), anything)
def test_verify_document__anything_anywhere_is_taken_or_refused(
    place: tuple[str | int, ...], value: object
) -> None:
    document = changed(CLEARING, place, value)
    try:
        verify_document(load_book(BOOK), document)
    except FairwattError:
        return
    Draft202012Validator(schema("clearing")).validate(document)
