"""Books and clearings as JSON documents, read strictly and written exactly.

A document is JSON text, or what a JSON parser made of it. The formats are published as JSON
Schemas (draft 2020-12) in `schemas/`. Whatever is wrong with a document is said with its place,
such as `orders[3].energyWh`.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from fairwatt import jsontext
from fairwatt.errors import BookError, ClearingError
from fairwatt.jsontext import place, short
from fairwatt.market import proof
from fairwatt.market._columns import Column, column
from fairwatt.market.book import Book, Side
from fairwatt.market.clearing import Clearing
from fairwatt.market.network import MAX_QUANTITY_WH, PRICE_RANGE, Link, Network

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from jsonschema.exceptions import ValidationError

    from fairwatt.jsontext import Path

__all__ = [
    "dump_book",
    "dump_clearing",
    "load_book",
    "load_clearing",
    "schema",
    "verify_document",
]

_Kind = Literal["book", "clearing"]
_ERRORS: Final[dict[_Kind, type[BookError | ClearingError]]] = {
    "book": BookError,
    "clearing": ClearingError,
}
_SIDES: Final = {"bid": Side.BID.value, "ask": Side.ASK.value}


def load_book(document: str | bytes | Mapping[str, Any]) -> Book:
    """Read a book.

    Raises
    ------
    BookError
        With the place and what is wrong there.
    """
    content = _read(document, "book")
    orders, stated = content["orders"], content["network"]
    network = Network(
        nodes=tuple(stated["nodes"]),
        links=tuple(
            Link(
                source=link["from"],
                target=link["to"],
                tariff_micro_per_kwh=link["tariffMicroPerKWh"],
                capacity_wh=link["capacityWh"],
                owner=link.get("owner"),
                tail=link.get("tail"),
            )
            for link in stated["links"]
        ),
        price_floor_micro_per_kwh=stated["priceFloorMicroPerKWh"],
        price_cap_micro_per_kwh=stated["priceCapMicroPerKWh"],
        seed=bytes.fromhex(stated.get("seed", "0x")[2:]),
    )
    index = network.node_index
    for at, order in enumerate(orders):
        if order["node"] not in index:
            _refuse("book", ("orders", at, "node"), f"{short(order['node'])} is not a node")
    return Book.from_columns(
        network,
        ids=[order["id"] for order in orders],
        peers=[order["peer"] for order in orders],
        node=[index[order["node"]] for order in orders],
        side=[_SIDES[order["side"]] for order in orders],
        price_micro_per_kwh=[order["priceMicroPerKWh"] for order in orders],
        energy_wh=[order["energyWh"] for order in orders],
    )


def dump_book(book: Book) -> dict[str, Any]:
    """Write a book as a document, ready for `json.dumps`."""
    network = book.network
    return {
        "network": {
            "nodes": list(network.nodes),
            "priceFloorMicroPerKWh": int(network.price_floor_micro_per_kwh),
            "priceCapMicroPerKWh": int(network.price_cap_micro_per_kwh),
            "links": [
                {
                    "from": link.source,
                    "to": link.target,
                    "tariffMicroPerKWh": int(link.tariff_micro_per_kwh),
                    "capacityWh": int(link.capacity_wh),
                    **({} if link.owner is None else {"owner": link.owner}),
                    **({} if link.tail is None else {"tail": int(link.tail)}),
                }
                for link in network.links
            ],
            **({"seed": "0x" + network.seed.hex()} if network.seed else {}),
        },
        "orders": [
            {
                "id": order.id,
                "peer": order.peer,
                "node": order.node,
                "side": order.side.name.lower(),
                "priceMicroPerKWh": order.price_micro_per_kwh,
                "energyWh": order.energy_wh,
            }
            for order in book.orders
        ],
    }


def load_clearing(book: Book, document: str | bytes | Mapping[str, Any]) -> Clearing:
    """Read a clearing of `book`; whether it is one, `proof.check` or `verify_document` says.

    Raises
    ------
    ClearingError
        With the place and what is wrong there: also an order or a node that is missing.
    """
    return _clearing(book, _read(document, "clearing"))


def dump_clearing(book: Book, clearing: Clearing) -> dict[str, Any]:
    """Write a clearing of `book` as a document, ready for `json.dumps`."""
    fills, prices = clearing.fills_wh, clearing.prices_micro_per_kwh
    return {
        "fillsWh": dict(zip(book.ids, fills.tolist(), strict=True)),
        "flowsWh": clearing.flows_wh.tolist(),
        "pricesMicroPerKWh": dict(zip(book.network.nodes, prices.tolist(), strict=True)),
        "welfare": proof.welfare(book, fills, clearing.flows_wh),
        "dualBound": proof.dual_bound(book, prices),
    }


def verify_document(book: Book, document: str | bytes | Mapping[str, Any]) -> proof.Proof:
    """Accept a clearing document as the optimum of `book` it says it is.

    Raises
    ------
    ClearingError
        If the document is malformed, or its `welfare` or `dualBound` is not the true one.
    ProofError
        If the clearing breaks a rule of the proof.
    """
    content = _read(document, "clearing")
    found = proof.check(book, _clearing(book, content))
    for field, true in (("welfare", found.welfare), ("dualBound", found.dual_bound)):
        if content[field] != true:
            _refuse("clearing", (field,), f"states {short(content[field])} but it is {true}")
    return found


@cache
def schema(kind: _Kind) -> dict[str, Any]:
    """Return the published JSON Schema of a "book" or a "clearing"."""
    file = resources.files("fairwatt.market").joinpath("schemas", f"{kind}.schema.json")
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return content


def _clearing(book: Book, content: Mapping[str, Any]) -> Clearing:
    return Clearing(
        fills_wh=_by_name(content, "fillsWh", book.ids, "an order", (0, MAX_QUANTITY_WH)),
        flows_wh=content["flowsWh"],
        prices_micro_per_kwh=_by_name(
            content, "pricesMicroPerKWh", book.network.nodes, "a node", PRICE_RANGE
        ),
    )


def _by_name(
    content: Mapping[str, Any],
    field: str,
    names: tuple[str, ...],
    noun: str,
    bounds: tuple[int, int],
) -> Column:
    """Bring an object that has one number for every name into the sequence of the names."""
    stated = content[field]
    if unknown := stated.keys() - set(names):
        first = min(unknown, key=str)
        _refuse("clearing", (field, first), f"is not {noun} of the book")
    for name in names:
        if name not in stated:
            _refuse("clearing", (field, name), f"is missing, but is {noun} of the book")

    def complain(at: int | None, problem: str) -> ClearingError:
        return ClearingError(place((field,) if at is None else (field, names[at])), problem)

    return column((stated[name] for name in names), complain, *bounds)


def _read(document: str | bytes | Mapping[str, Any], kind: _Kind) -> Mapping[str, Any]:
    content: Any = document
    if isinstance(document, str | bytes):
        content = jsontext.parse(document, kind, _ERRORS[kind])
    _conform(content, kind)
    checked: Mapping[str, Any] = content
    return checked


# --- JSON Schema --------------------------------------------------------------------------------


def _conform(content: object, kind: _Kind) -> None:
    """Hold a document against its schema.

    Of the orders and the fills, which may be very many, the schema sees the first of each shape
    (fields and types). What differs within a shape are values, and their ranges are checked for
    all of them when they become columns.
    """
    sample, positions = content, list[int]()
    if isinstance(content, dict):
        sample = dict(content)
        if kind == "book" and isinstance(orders := content.get("orders"), list):
            positions = _first_of_each(map(_shape, orders))
            sample["orders"] = [orders[at] for at in positions]
        elif kind == "clearing" and isinstance(fills := content.get("fillsWh"), dict):
            some = list(fills.items())
            sample["fillsWh"] = dict(some[at] for at in _first_of_each(map(type, fills.values())))
    errors = _validator(kind).iter_errors(sample)
    if (error := min(errors, key=_sequence, default=None)) is None:
        return
    path, problem = _explain(error)
    if len(path) > 1 and path[0] == "orders":
        path = ("orders", positions[int(path[1])], *path[2:])
    _refuse(kind, path, problem)


@cache
def _validator(kind: _Kind) -> Draft202012Validator:
    strict = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    validator = extend(Draft202012Validator, type_checker=strict)  # type: ignore[no-untyped-call]
    return cast("Draft202012Validator", validator(schema(kind)))


def _first_of_each(shapes: Iterable[Hashable]) -> list[int]:
    first: dict[Hashable, int] = {}
    for at, shape in enumerate(shapes):
        first.setdefault(shape, at)
    return list(first.values())


def _shape(order: object) -> Hashable:
    if not isinstance(order, dict):
        return (type(order),)
    side = order.get("side")
    return (*order, *map(type, order.values()), side if isinstance(side, str) else None)


def _sequence(error: ValidationError) -> tuple[tuple[str, ...], str]:
    return tuple(f"{key:09d}" if isinstance(key, int) else key for key in error.path), error.message


def _explain(error: ValidationError) -> tuple[Path, str]:
    """Say place and problem in the words of the market instead of those of JSON Schema."""
    path, rule = tuple(error.path), error.validator
    # Set for every error of an `iter_errors`; what type they have depends on the rule.
    wanted, found, rules = cast("Any", (error.validator_value, error.instance, error.schema))
    if rule == "required":
        missing = next(field for field in wanted if field not in found)
        return (*path, missing), "is missing"
    if rule == "additionalProperties":
        known = rules["properties"]
        unknown = next(field for field in found if field not in known)
        return (*path, unknown), f"is not a known field; there are {', '.join(known)}"
    if rule == "enum":
        return path, f"must be {' or '.join(map(json.dumps, wanted))}, not {short(found)}"
    problems = {
        "type": f"must be {_TYPES.get(str(wanted), wanted)}, not {short(found)}",
        "minimum": f"{short(found)} is out of range, must be {wanted} or more",
        "maximum": f"{short(found)} is out of range, must be {wanted} or less",
        "minLength": "must not be empty",
    }
    return path, problems.get(str(rule), error.message)


_TYPES: Final = {
    "integer": "a whole number (written without a decimal point)",
    "string": "a string",
    "object": "an object",
    "array": "a list",
}


def _refuse(kind: _Kind, path: Path, problem: str) -> NoReturn:
    raise _ERRORS[kind](place(path) or kind, problem)
