"""The rules of `Ledger.sol`, in Python: whole nano-tokens, kept as plain sums.

The contract keeps what is free and derives balances; here balances are kept and what is free is
derived, so that neither repeats the other's slips. `Unbacked` is what the contract would refuse.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from fairwatt.errors import FairwattError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Accounts", "ArrearsChange", "Unbacked"]

ArrearsChange: TypeAlias = "tuple[Literal['ArrearsIncurred', 'ArrearsPaid'], int, int, int]"
"""What happened, debtor, creditor, nano-token."""


class Unbacked(FairwattError):  # noqa: N818 - a finding rather than a failure
    """A booking that the rules forbid."""


def _zeros() -> defaultdict[int, int]:
    return defaultdict(int)


@dataclass
class Accounts:
    """All accounts of a market, nano-token.

    Attributes
    ----------
    arrears
        By debtor and creditor.
    requested_at
        When the last withdrawal was requested, UTC Unix seconds.
    """

    balance: defaultdict[int, int] = field(default_factory=_zeros)
    locked: defaultdict[int, int] = field(default_factory=_zeros)
    credit: defaultdict[int, int] = field(default_factory=_zeros)
    withdrawal: defaultdict[int, int] = field(default_factory=_zeros)
    requested_at: defaultdict[int, int] = field(default_factory=_zeros)
    arrears: defaultdict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    fund: int = 0
    held: int = 0

    # -------------------------------------------------------------------------------- views

    def owed(self, debtor: int) -> int:
        """All its arrears."""
        return sum(nano for (who, _), nano in self.arrears.items() if who == debtor)

    def free(self, peer: int) -> int:
        """What it can spend; below zero by arrears only.

        balance + credit - locks - requested withdrawal - arrears, where the credit does not count
        while a withdrawal is requested.
        """
        own = self.balance[peer] + self.credit[peer] - self.locked[peer] - self.owed(peer)
        return own - self._resting(peer)

    def free_fund(self) -> int:
        """What no credit limit needs."""
        return self.fund - sum(self.credit.values())

    def _resting(self, peer: int) -> int:
        requested = self.withdrawal[peer]
        return requested + self.credit[peer] if requested else 0

    # ----------------------------------------------------------------------------- in and out

    def deposit(self, peer: int, nano: int) -> None:
        """Tokens come in for a peer."""
        self.balance[peer] += nano
        self.held += nano

    def endow(self, nano: int) -> None:
        """Tokens come in for the fund."""
        self.fund += nano
        self.held += nano

    def request_withdrawal(self, peer: int, nano: int, time: int) -> None:
        """In place of any earlier request."""
        own = self.free(peer) + self._resting(peer) - self.credit[peer]
        self.withdrawal[peer], self.requested_at[peer] = nano, time
        if nano > max(own, 0):
            raise Unbacked(f"peer {peer} requests {nano} nano-token and has {max(own, 0)}")

    def withdraw(self, peer: int) -> int:
        """Pay what was requested, or what is left of it."""
        nano = self.withdrawal[peer]
        self.withdrawal[peer] = 0
        self.balance[peer] -= nano
        self.held -= nano
        return nano

    # ---------------------------------------------------------------------------- locks, fund

    def lock(self, peer: int, nano: int) -> None:
        """For a placed order."""
        free = self.free(peer)
        self.locked[peer] += nano
        if nano > max(free, 0):
            raise Unbacked(f"peer {peer} locks {nano} nano-token and has {max(free, 0)}")

    def unlock(self, peer: int, nano: int) -> None:
        """Free it again."""
        self.locked[peer] -= nano

    def set_credit(self, peer: int, nano: int) -> None:
        """How far the balance may go below zero."""
        self.credit[peer] = nano
        if self.free_fund() < 0:
            raise Unbacked(f"the fund does not cover credit limits by {-self.free_fund()}")

    def allot(self, peer: int, nano: int) -> None:
        """Pay out of the fund."""
        free = self.free_fund()
        self.fund -= nano
        self.balance[peer] += nano
        if nano > free:
            raise Unbacked(f"the fund pays {nano} nano-token and has {free}")

    # -------------------------------------------------------------------------------- booking

    def book_clearing(
        self,
        payments: Mapping[int, int],
        unlocks: Mapping[int, int],
        incomes: Iterable[tuple[int, int]],
        *,
        gate_closure: int,
        fee: int,
        fee_to: int,
    ) -> int:
        """Unlocks, then payments of peers, incomes of link owners (0: the fund), the fee.

        Returns
        -------
        int
            What the fund paid the solver.
        """
        for peer, nano in unlocks.items():
            self.unlock(peer, nano)
        objections = []
        for peer, amount in sorted(payments.items()):
            self.balance[peer] += amount
            if amount < 0 and self.requested_at[peer] >= gate_closure:
                self._give_way(peer)
            free = self.free(peer)
            means = unlocks.get(peer, 0) + max(0, free - amount - unlocks.get(peer, 0))
            if amount < 0 and free < 0 and -amount > means:
                objections.append(f"peer {peer} pays {-amount} nano-token and has {means}")
        for owner, nano in incomes:
            if owner:
                self.balance[owner] += nano
            else:
                self.fund += nano
        paid = min(fee, max(0, self.free_fund())) if fee_to else 0
        self.fund -= paid
        self.balance[fee_to] += paid
        if objections:
            raise Unbacked("; ".join(objections))
        return paid

    def book_imbalances(self, payments: Iterable[tuple[int, int, int]]) -> list[ArrearsChange]:
        """Payments for imbalances (debtor, creditor, amount); what cannot be paid is arrears.

        Returns
        -------
        list
            How arrears change.
        """
        changes: list[ArrearsChange] = []
        for debtor, creditor, amount in payments:
            owed = amount
            if set_off := min(owed, self.arrears[creditor, debtor]):
                self.arrears[creditor, debtor] -= set_off
                changes.append(("ArrearsPaid", creditor, debtor, set_off))
                owed -= set_off
            paid = min(owed, self._means(debtor))
            if unpaid := owed - paid:
                self.arrears[debtor, creditor] += unpaid
                changes.append(("ArrearsIncurred", debtor, creditor, unpaid))
            self.balance[debtor] -= paid
            self.balance[creditor] += paid
            if self.free(debtor) < 0:
                self._give_way(debtor)
        return changes

    def book_trade(self, payer: int, payee: int, nano: int) -> None:
        """What is paid for a continuous trade, from what is free."""
        free = self.free(payer)
        self.balance[payer] -= nano
        self.balance[payee] += nano
        if nano > max(free, 0):
            raise Unbacked(f"peer {payer} pays {nano} nano-token and has {max(free, 0)}")

    def collect(self, debtor: int, creditor: int) -> ArrearsChange:
        """Pay what is owed from what the debtor has."""
        paid = min(self.arrears[debtor, creditor], self._means(debtor))
        self.arrears[debtor, creditor] -= paid
        self.balance[debtor] -= paid
        self.balance[creditor] += paid
        return "ArrearsPaid", debtor, creditor, paid

    def _means(self, peer: int) -> int:
        """For debts: all but the locks."""
        return max(0, self.balance[peer] + self.credit[peer] - self.locked[peer])

    def _give_way(self, peer: int) -> None:
        """A requested withdrawal shrinks by what is missing; at nothing credit counts again."""
        short, requested = -self.free(peer), self.withdrawal[peer]
        if short > 0 and requested:
            self.withdrawal[peer] = max(0, requested - short)
