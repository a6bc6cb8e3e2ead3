"""All that happened to a deployment up to a block: events in their sequence, and their calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import ape

from fairwatt.chain._contracts import explained, named
from fairwatt.chain._reading import calls_made
from fairwatt.errors import ChainError, ReadingError
from fairwatt.readings import decode_readings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairwatt.chain._snapshot import Snapshot
    from fairwatt.readings import ReadingRecord

__all__ = ["Event", "History"]

_MONEY: Final = {
    "ledger": (
        *("Deposited", "FundReceived", "WithdrawalRequested", "Withdrawn", "Moved"),
        *("CreditChanged", "FundAllotted", "SolverPaid", "ArrearsIncurred", "ArrearsPaid"),
    ),
    "order_book": ("OrderPlaced", "OrderCancelled", "OrdersCancelled", "LockReleased"),
    "clearing": ("PartAccepted", "SessionCleared", "LinkEarned"),
    "trades": ("Traded", "ContinuousOrderCancelled"),
    "settlement": ("ReadingsBrought", "ReadingSettled", "ReadingEstimated"),
}
"""By contract, the events that tell of what changes an account, or can be spent of it."""
_CALLS: Final = {"PartAccepted": "clear", "SessionCleared": "clear"}
"""Of events that the same function may end with, that function."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event with the block in which it stands.

    Attributes
    ----------
    values
        By the names of the interface, those of a struct too.
    time
        Of the block, UTC Unix seconds.
    number
        How many calls that end with such an event the transaction has before.
    """

    name: str
    values: Mapping[str, Any]
    block: int
    time: int
    transaction: str
    number: int = 0


@dataclass(frozen=True)
class History:
    """What happened up to the block of a snapshot."""

    snapshot: Snapshot

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Every event that money depends on, in the sequence in which they happened."""
        times = dict[int, int]()
        seen: Counter[tuple[str, str]] = Counter()
        events = []
        for contract, log in self.snapshot.sequence(_MONEY):
            name, block, transaction = log.event_name, int(log.block_number), log.transaction_hash
            if block not in times:
                with explained("block"):
                    times[block] = int(ape.networks.provider.get_block(block).timestamp)
            emitter = getattr(self.snapshot.contracts, contract)
            values = named(getattr(emitter, name), log.event_arguments)
            call = str(transaction), _CALLS.get(name, name)
            events.append(Event(name, values, block, times[block], str(transaction), seen[call]))
            seen[call] += 1
        return tuple(events)

    def tokens_moved_wei(self) -> tuple[dict[str, int], dict[str, int]]:
        """Tokens that came into the ledger's custody, and that left it, by transaction."""
        ledger = str(self.snapshot.contracts.ledger.address)
        came: Counter[str] = Counter()
        left: Counter[str] = Counter()
        for log in self.snapshot.events("token", "Transfer"):
            sender, receiver, value = log.event_arguments.values()
            transaction = str(log.transaction_hash)
            if str(receiver) == ledger:
                came[transaction] += int(value)
            if str(sender) == ledger:
                left[transaction] += int(value)
        return dict(came), dict(left)

    def call(self, method: Any, event: Event) -> tuple[Any, ...]:
        """Arguments of the call that made an event, from the calldata of its transaction.

        The call may be wrapped in that of a contract wallet.

        Parameters
        ----------
        method
            A method of a contract, as in `contracts.clearing.clear`.

        Raises
        ------
        ChainError
            If the transaction does not carry the call in a form that is known here.
        """
        for number, arguments in enumerate(calls_made(method, event.transaction)):
            if number == event.number:
                return arguments
        name = method.abis[0].name
        raise ChainError(
            f"transaction {event.transaction} does not carry the call of {name} it made"
        )

    def readings(
        self, transaction: str, market: int, session: int, periods: int
    ) -> tuple[ReadingRecord, ...]:
        """The readings of a session that a transaction brought to the settlement.

        Whoever calls through another contract may bring several lots; what is no call of ours is
        passed over, as the events say what was settled.

        Parameters
        ----------
        session
            Its start, UTC Unix seconds.
        periods
            Of a session.
        """
        records: list[ReadingRecord] = []
        reconcile = self.snapshot.contracts.settlement.reconcile
        for arguments in calls_made(reconcile, transaction):
            if arguments[:2] != (market, session):
                continue
            try:
                records += decode_readings(
                    arguments[3], market=market, session_start=session, periods=periods
                )
            except ReadingError:
                continue
        return tuple(records)

    def is_contract(self, address: str) -> bool:
        """Whether there is code at an address: then signatures may be what the code accepts."""
        with explained("code"):
            return bool(ape.networks.provider.get_code(address))
