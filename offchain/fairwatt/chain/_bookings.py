"""What happened on chain until a block: events in their sequence, and the calls behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ape

from fairwatt.chain._contracts import explained, named
from fairwatt.chain._reading import calls_made
from fairwatt.errors import ReadingError
from fairwatt.readings import ReadingRecord, decode_readings

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """An event with the block in which it stands.

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
    transaction: str


def history(snapshot: Snapshot) -> tuple[Event, ...]:
    """All events from which the balances follow, in their sequence."""
    times = dict[int, int]()

    def time_of(block: int) -> int:
        if block not in times:
            with explained("block"):
                times[block] = int(ape.networks.provider.get_block(block).timestamp)
        return times[block]

    return tuple(
        Event(
            str(log.event_name),
            named(
                getattr(getattr(snapshot.contracts, contract), log.event_name), log.event_arguments
            ),
            int(log.block_number),
            time_of(int(log.block_number)),
            str(log.transaction_hash),
        )
        for contract, log in snapshot.sequence(_MONEY)
    )


def brought_readings(
    snapshot: Snapshot, transaction: str, market: int, session: int, periods: int
) -> tuple[ReadingRecord, ...]:
    """The readings of a session that a transaction brought to the settlement.

    Whoever calls through another contract may bring several lots; what is no call of ours is passed
    over, as the events say what was settled.
    """
    records: list[ReadingRecord] = []
    for arguments in calls_made(snapshot.contracts.settlement.reconcile, transaction):
        if arguments[:2] != (market, session):
            continue
        try:
            records += decode_readings(
                arguments[3], market=market, session_start=session, periods=periods
            )
        except ReadingError:
            continue
    return tuple(records)
