"""`fairwatt clear`, `verify` and `schema`: books and clearings in files."""

from __future__ import annotations

import json
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from fairwatt import market
from fairwatt.cli._text import (
    FILE,
    MOST_ROWS,
    Column,
    echo_json,
    echo_table,
    energy,
    json_option,
    money,
    plural,
    price,
    value,
)
from fairwatt.cli._verdict import reject
from fairwatt.errors import BookError, ClearingError, FileError, ProofError
from fairwatt.files import read, write
from fairwatt.market import Side, documents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fairwatt.market import Book, Clearing, Payments, Proof

__all__ = ["clear", "schema", "verify"]


@click.command(
    epilog="""\b
Examples:
  fairwatt clear book.json
  fairwatt clear book.json --out clearing.json
  fairwatt clear - --json < book.json
"""
)
@click.argument("book_path", metavar="BOOK", type=FILE)
@click.option("--out", type=FILE, metavar="CLEARING", help="Write the clearing to this file.")
@json_option
def clear(book_path: Path, out: Path | None, *, as_json: bool) -> None:
    """Find who trades how much, at what price.

    BOOK is a JSON file, - for standard input: the orders of one delivery period and the network
    they sit on (`fairwatt schema book`). The clearing is optimal and proved to be before it is
    printed; its JSON is described by `fairwatt schema clearing`.
    """
    if out is not None and out.exists() and book_path.exists() and out.samefile(book_path):
        raise FileError(str(out), "is the book itself; write the clearing to another file")
    with _in_file(book_path):
        book = documents.load_book(read(book_path))
    clearing = market.clear(book)
    document = documents.dump_clearing(book, clearing)
    if out is not None:
        write(out, json.dumps(document, indent=2) + "\n")
    if as_json:
        echo_json(document)
        return
    _show(book, clearing, document["welfare"])
    if out is not None:
        click.echo(f"written   {out}")


@click.command(
    epilog="""\b
Examples:
  fairwatt verify book.json clearing.json && echo optimal
  fairwatt clear book.json --json | fairwatt verify book.json -
"""
)
@click.argument("book_path", metavar="BOOK", type=FILE)
@click.argument("clearing_path", metavar="CLEARING", type=FILE)
@json_option
def verify(book_path: Path, clearing_path: Path, *, as_json: bool) -> None:
    """Prove that a clearing is an optimum.

    Checks in exact whole numbers, as the contract does: every price, fill and flow is within its
    bounds, every node is in balance, and the welfare equals the bound that the prices put on
    every clearing of the book. Exits with 0 if all of it holds, or with 1 and what is wrong.
    """
    if str(book_path) == str(clearing_path) == "-":
        raise click.UsageError("Only one of BOOK and CLEARING can be standard input.")
    try:
        with _in_file(book_path):
            book = documents.load_book(read(book_path))
        with _in_file(clearing_path):
            proof = documents.verify_document(book, read(clearing_path))
    except (BookError, ClearingError) as error:
        reject(error, as_json=as_json)
    except ProofError as error:
        reject(error, as_json=as_json, file=clearing_path)
    if as_json:
        echo_json({"valid": True, "welfare": proof.welfare, "dualBound": proof.dual_bound})
        return
    _show_proof(book, proof)


@click.command(
    epilog="""\b
Examples:
  fairwatt schema book > book.schema.json
  fairwatt schema case
"""
)
@click.argument("kind", type=click.Choice(["book", "case", "clearing"]))
@click.option("--json", is_flag=True, expose_value=False, help="A schema is JSON in any case.")
def schema(kind: Any) -> None:
    """Print the format of a book, a case or a clearing, as JSON Schema (draft 2020-12)."""
    if kind == "case":
        from fairwatt import cases  # noqa: PLC0415 - books and clearings need no pandas

        echo_json(cases.schema())
        return
    echo_json(documents.schema(kind))


@contextmanager
def _in_file(path: Path) -> Iterator[None]:
    """Let what is wrong with a document begin with the path of its file."""
    try:
        yield
    except (BookError, ClearingError) as error:
        raise error.of_file(str(path)) from error


def _show(book: Book, clearing: Clearing, welfare: int) -> None:
    paid = market.payments(book, clearing)
    traded = clearing.fills_wh > 0
    network = book.network
    click.echo(
        f"{plural(len(book), 'order')} on {plural(len(network.nodes), 'node')} "
        f"and {plural(len(network.links), 'link')}\n"
    )
    _show_orders(book, clearing, paid)
    _show_links(book, clearing, paid)
    _show_nodes(book, clearing)
    bids, asks = book.side == Side.BID, book.side == Side.ASK
    volume = energy([int(clearing.fills_wh[bids].sum())])[0]
    click.echo(
        f"traded    {volume} kWh: {(traded & bids).sum():,} of {plural(int(bids.sum()), 'bid')}, "
        f"{(traded & asks).sum():,} of {plural(int(asks.sum()), 'ask')}"
    )
    click.echo(f"welfare   {value(welfare)} = dual bound: no other clearing is worth more")
    amounts = money([sum(paid.orders_nano), sum(paid.tariffs_nano), sum(paid.rents_nano)])
    click.echo(
        f"payments  orders {amounts[0]}, tariffs {amounts[1]}, rents {amounts[2]} token: "
        f"sum {paid.total_nano()}"
    )


def _show_orders(book: Book, clearing: Clearing, paid: Payments) -> None:
    orders = list(islice(book.orders, MOST_ROWS))
    prices = clearing.prices_micro_per_kwh[book.node[:MOST_ROWS]].tolist()
    limits = price([*(order.price_micro_per_kwh for order in orders), *prices])
    energies = energy(
        [*clearing.fills_wh[:MOST_ROWS].tolist(), *(order.energy_wh for order in orders)]
    )
    count = len(orders)
    peers = [order.peer for order in orders]
    ids = [order.id for order in orders]
    echo_table(
        [
            Column("order", "", ids, is_text=True),
            Column("peer", "", [] if peers == ids else peers, is_text=True),
            Column("node", "", [order.node for order in orders], is_text=True),
            Column("side", "", [order.side.name.lower() for order in orders], is_text=True),
            Column("limit", "token/kWh", limits[:count]),
            Column("price", "token/kWh", limits[count:]),
            Column("trades", "kWh", energies[:count]),
            Column("of", "kWh", energies[count:]),
            Column("payment", "token", money(paid.orders_nano[:MOST_ROWS])),
        ],
        len(book),
        "; --json and --out have all of them",
    )
    if orders:
        click.echo()


def _show_links(book: Book, clearing: Clearing, paid: Payments) -> None:
    links = book.network.links[:MOST_ROWS]
    echo_table(
        [
            Column("link", "", [f"{link.source} -> {link.target}" for link in links], is_text=True),
            Column(
                "owner",
                "",
                [link.owner or "fund" for link in links] if any(x.owner for x in links) else [],
                is_text=True,
            ),
            Column("tariff", "token/kWh", price(link.tariff_micro_per_kwh for link in links)),
            Column("carries", "kWh", energy(clearing.flows_wh[:MOST_ROWS].tolist())),
            Column("of", "kWh", energy(link.capacity_wh for link in links)),
            Column("tariff", "token", money(paid.tariffs_nano[:MOST_ROWS])),
            Column("rent", "token", money(paid.rents_nano[:MOST_ROWS])),
        ],
        len(book.network.links),
        "; --json and --out have all of them",
    )
    if links:
        click.echo()


def _show_nodes(book: Book, clearing: Clearing) -> None:
    nodes = book.network.nodes[:MOST_ROWS]
    echo_table(
        [
            Column("node", "", nodes, is_text=True),
            Column("price", "token/kWh", price(clearing.prices_micro_per_kwh[:MOST_ROWS].tolist())),
        ],
        len(book.network.nodes),
        "; --json and --out have all of them",
    )
    if nodes:
        click.echo()


def _show_proof(book: Book, proof: Proof) -> None:
    network = book.network
    click.secho("accepted: this clearing is feasible and optimal", fg="green")
    click.echo(
        f"  bounds   {plural(len(network.nodes), 'price')}, {plural(len(book), 'fill')} and "
        f"{plural(len(network.links), 'flow')} are within their limits\n"
        "  balance  asks + inflow = bids + outflow at every node\n"
        f"  optimum  welfare {value(proof.welfare)} = dual bound: no other clearing is worth more"
    )
