"""All that happened to a deployment up to a block: events in their sequence, and their calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ape

from fairwatt.chain._contracts import explained
from fairwatt.chain._reading import calls_made
from fairwatt.errors import ChainError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairwatt.chain._snapshot import Snapshot

__all__ = ["Happening", "History"]

_MONEY: Final = {
    "ledger": (
        *("Deposited", "FundReceived", "WithdrawalRequested", "Withdrawn", "Moved"),
        *("CreditChanged", "FundAllotted", "ArrearsIncurred", "ArrearsPaid"),
    ),
    "order_book": ("OrderPlaced", "OrderCancelled", "OrdersCancelled", "LockReleased"),
    "clearing": ("PartAccepted", "SessionCleared", "LinkEarned"),
    "trades": ("Traded", "ContinuousOrderCancelled"),
    "settlement": ("ReadingsBrought", "ReadingSettled", "ReadingEstimated"),
}
"""Events that tell of what changes an account, by contract; `fairwatt.audit` books each of them."""
_CALLS: Final = {"PartAccepted": "clear", "SessionCleared": "clear"}
"""Of events that the same function may end with, that function."""


@dataclass(frozen=True, slots=True)
class Happening:
    """An event.

    Attributes
    ----------
    number
        How many calls that end with such an event the transaction has before.
    """

    name: str
    block: int
    transaction: str
    values: Mapping[str, Any]
    number: int = 0


@dataclass(frozen=True)
class History:
    """What happened up to the block of a snapshot."""

    snapshot: Snapshot

    def happenings(self) -> list[Happening]:
        """Every event that money depends on, in the sequence in which they happened."""
        seen: Counter[tuple[str, str]] = Counter()
        happened = []
        for _, log in self.snapshot.sequence(_MONEY):
            transaction, name = str(log.transaction_hash), str(log.event_name)
            values = dict(log.event_arguments)
            call = transaction, _CALLS.get(name, name)
            happened.append(Happening(name, int(log.block_number), transaction, values, seen[call]))
            seen[call] += 1
        return happened

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

    def call(self, method: Any, happening: Happening) -> tuple[Any, ...]:
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
        for number, arguments in enumerate(calls_made(method, happening.transaction)):
            if number == happening.number:
                return arguments
        name = method.abis[0].name
        raise ChainError(
            f"transaction {happening.transaction} does not carry the call of {name} it made"
        )

    def time(self, happening: Happening) -> int:
        """Of its block, UTC Unix seconds."""
        with explained("block"):
            return int(ape.networks.provider.get_block(happening.block).timestamp)

    def is_contract(self, address: str) -> bool:
        """Whether there is code at an address: then signatures may be what the code accepts."""
        with explained("code"):
            return bool(ape.networks.provider.get_code(address))
