"""What happened on chain until a block: events in their sequence, and the calls behind them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ape
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_signature_to_4byte_selector

from fairwatt.chain._contracts import explained, named
from fairwatt.errors import ReadingError
from fairwatt.readings import ReadingRecord, decode_readings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fairwatt.chain._snapshot import Snapshot

__all__ = ["Event", "brought_readings", "history"]

_MONEY: Final = {
    "ledger": (
        "Deposited",
        "Withdrawn",
        "Moved",
        "FundReceived",
        "FundAllotted",
        "ArrearsIncurred",
        "ArrearsPaid",
        "SolverPaid",
    ),
    "clearing": ("SessionCleared", "LinkEarned"),
    "trades": ("Traded",),
    "settlement": ("ReadingSettled", "ReadingEstimated"),
}
"""By contract, the events that tell of money; what else is booked follows from them."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event with the place where it stands.

    Attributes
    ----------
    values
        By the names of the interface, those of a struct too.
    time
        Of the block, UTC Unix seconds.
    """

    name: str
    values: Mapping[str, Any]
    block: int
    time: int
    index: int
    transaction: str


def history(snapshot: Snapshot) -> tuple[Event, ...]:
    """All events from which the balances follow, in their sequence."""
    times = dict[int, int]()

    def time_of(block: int) -> int:
        if block not in times:
            with explained("block"):
                times[block] = int(ape.networks.provider.get_block(block).timestamp)
        return times[block]

    events = [
        Event(
            name,
            named(getattr(getattr(snapshot.contracts, contract), name), log.event_arguments),
            int(log.block_number),
            time_of(int(log.block_number)),
            int(log.log_index),
            str(log.transaction_hash),
        )
        for contract, names in _MONEY.items()
        for name in names
        for log in snapshot.events(contract, name)
    ]
    return tuple(sorted(events, key=lambda event: (event.block, event.index)))


def brought_readings(
    snapshot: Snapshot, transaction: str, market: int, session: int, periods: int
) -> tuple[ReadingRecord, ...]:
    """The readings of a session that a transaction brought to the settlement.

    Whoever calls through another contract may bring several lots; what is no call of ours is passed
    over, as the events say what was settled.
    """
    with explained("transaction"):
        data = bytes(ape.networks.provider.get_receipt(transaction).data)
    records: list[ReadingRecord] = []
    for arguments in _calls(data, snapshot.contracts.settlement.reconcile.abis[0]):
        if arguments[:2] != (market, session):
            continue
        try:
            records += decode_readings(
                arguments[3], market=market, session_start=session, periods=periods
            )
        except ReadingError:
            continue
    return tuple(records)


def _calls(data: bytes, method: Any) -> Iterator[tuple[Any, ...]]:
    """Arguments of each call of a method in the data of a transaction, also of a wrapped one."""
    selector = function_signature_to_4byte_selector(method.selector)
    types = [str(field.canonical_type) for field in method.inputs]
    at = data.find(selector)
    while at >= 0:
        with suppress(DecodingError, OverflowError):  # these four bytes may be something else
            yield tuple(decode(types, data[at + 4 :], strict=False))
        at = data.find(selector, at + 1)
