"""`fairwatt trade`: write, sign and match orders for continuous trading."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fairwatt import jsontext
from fairwatt.cli._signing import already_json, echo_signed, with_domain, with_key
from fairwatt.cli._text import (
    FILE,
    MOST_ROWS,
    Column,
    echo_json,
    echo_table,
    energy,
    json_option,
    plural,
    price,
)
from fairwatt.continuous import ContinuousBook, ContinuousOrder, SignedContinuousOrder
from fairwatt.errors import OrderError
from fairwatt.files import read
from fairwatt.market import Side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eth_account.signers.local import LocalAccount

    from fairwatt.continuous import Pair
    from fairwatt.eip712 import Domain

__all__ = ["trade"]

_TEMPLATE: Final = ContinuousOrder(
    market=1,
    peer=1,
    session_start=1893456000,
    first_period=0,
    periods=1,
    side=Side.BID,
    price_micro_per_kwh=150_000,
    energy_wh=1_000,
    valid_until=1893455999,
    rests_from=1893455100,
)


@click.group(
    epilog="""\b
Examples:
  fairwatt trade template > order.json
  fairwatt trade sign order.json --deployment D.json --out orders/1.json
  fairwatt trade book orders
  fairwatt oracle ... trade --orders orders --send
"""
)
def trade() -> None:
    """Write, sign and match continuous orders.

    From gate closure to delivery two signed orders that cross are settled at the price of the one
    that rested. `fairwatt oracle trade` brings them to the contract.
    """


@trade.command()
@already_json
def template() -> None:
    """Print an order to fill in.

    \b
    market, peer      ids in the order book and in the registry
    sessionStart      start of the session's first period, UTC Unix seconds
    nonce             tells the orders of a peer apart, over all sessions
    firstPeriod, periods
                      consecutive periods of the session, from 0
    side              "bid" to buy, "ask" to sell
    priceMicroPerKWh  most to pay, least to receive; 1000000 is 1 token/kWh
    energyWh          most to trade in each of the periods
    restsFrom         until then the order takes what rests, from then on
                      it rests; 0 rests from the start
    validUntil        last second in which it trades
    counterparty      the only peer it trades with, 0 for any
    """  # noqa: D301 - \b is click's, not an escape
    echo_json(_TEMPLATE.to_document())


@trade.command("typed-data")
@click.argument("order_path", metavar="ORDER", type=FILE)
@with_domain("trades")
@already_json
def typed_data(order_path: Path, *, domain: Domain) -> None:
    """Print what a wallet signs, for eth_signTypedData_v4."""
    echo_json(_read_order(order_path).typed_data(domain).to_document())


@trade.command()
@click.argument("order_path", metavar="ORDER", type=FILE)
@with_domain("trades")
@with_key
@click.option("--out", type=FILE, help="Write the signed order to this file.")
@already_json
def sign(
    order_path: Path, *, domain: Domain, account: Callable[[], LocalAccount], out: Path | None
) -> None:
    """Sign an order with a key on this machine, as `fairwatt order sign` does."""
    unsigned = _read_order(order_path)
    key = account()
    echo_signed(unsigned.signed_by(key, domain).to_document(), key, out)


@trade.command()
@click.argument(
    "folder", metavar="ORDERS", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--at", type=int, help="The time, UTC Unix seconds; by default now.")
@json_option
def book(folder: Path, at: int | None, as_json: bool) -> None:
    """Match the signed orders of a folder, *.json, and show what is left of them.

    They arrived in the sequence of their files' names. What was traded before, who is at which node
    and who can pay only the chain knows: all peers are taken to be at one node.
    """
    now = int(time.time()) if at is None else at
    floor = ContinuousBook()
    for path in sorted(folder.glob("*.json")):
        content = jsontext.parse(read(path), path.name, OrderError)
        floor.add(SignedContinuousOrder.from_document(content))
    pairs = floor.match(now)
    left = [signed.order for signed in floor.orders(now)]
    if as_json:
        echo_json(
            {
                "time": now,
                "trades": [pair.to_document() for pair in pairs],
                "orders": [
                    order.to_document()
                    | {"leftWh": floor.left_wh(order), "rests": order.rests_at(now)}
                    for order in left
                ],
            }
        )
        return
    click.echo(f"{plural(len(pairs), 'trade')}, {plural(len(left), 'order')} left at {now}")
    _show_pairs(pairs)
    _show_orders(left, floor, now)


def _read_order(path: Path) -> ContinuousOrder:
    return ContinuousOrder.from_document(jsontext.parse(read(path), "order", OrderError))


def _show_pairs(pairs: Sequence[Pair]) -> None:
    shown = pairs[:MOST_ROWS]
    orders = [pair.resting.order for pair in shown]
    echo_table(
        [
            Column("seller", "", [str(pair.seller) for pair in shown]),
            Column("buyer", "", [str(pair.buyer) for pair in shown]),
            Column("session", "", [str(order.session_start) for order in orders]),
            Column("periods", "", [_periods(order) for order in orders], is_text=True),
            Column("energy", "kWh", energy(pair.energy_wh for pair in shown)),
            Column("price", "token/kWh", price(pair.price_micro_per_kwh for pair in shown)),
        ],
        len(pairs),
        "; --json has all of them",
    )


def _show_orders(left: Sequence[ContinuousOrder], floor: ContinuousBook, now: int) -> None:
    shown = left[:MOST_ROWS]
    echo_table(
        [
            Column("peer", "", [str(order.peer) for order in shown]),
            Column("side", "", [order.side.name.lower() for order in shown], is_text=True),
            Column("session", "", [str(order.session_start) for order in shown]),
            Column("periods", "", [_periods(order) for order in shown], is_text=True),
            Column("limit", "token/kWh", price(order.price_micro_per_kwh for order in shown)),
            Column("left", "kWh", energy(map(floor.left_wh, shown))),
            Column("state", "", ["rests" if order.rests_at(now) else "takes" for order in shown],
                   is_text=True),
        ],
        len(left),
        "; --json has all of them",
    )  # fmt: skip


def _periods(order: ContinuousOrder) -> str:
    last = order.first_period + order.periods - 1
    return str(last) if order.periods == 1 else f"{order.first_period}-{last}"
