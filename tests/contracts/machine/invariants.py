"""What holds after every step: the chain is as the model says, and what must hold of it holds."""

from __future__ import annotations

from collections import Counter

from hypothesis.stateful import invariant
from tests.community import NANO
from tests.contracts.machine.model import Account
from tests.contracts.machine.money import Money

from fairwatt.lanes import pack_energies, unpack_energies

CANCELLED = 2**32 - 1


class Invariants(Money):
    """Of docs/invariants.md."""

    @invariant()
    def money_adds_up(self) -> None:
        """I1 to I8, of the chain by itself."""
        self.reached["step"] += 1
        ledger, token = self.contracts.ledger, self.contracts.token
        numbers = sorted(self.model.peers)
        owed: Counter[int] = Counter()
        for debtor, creditor in self.model.accounts.owed:
            owed[debtor] += self.view(ledger, "arrearsNano", debtor, creditor)
        accounts = {number: self.account(ledger, number) for number in numbers}
        fund = self.view(ledger, "fundNano")
        held = sum(one.balance for one, _, _ in accounts.values()) + fund
        assert self.view(token, "balanceOf", str(ledger.address)) == held * NANO  # I1
        assert self.view(ledger, "heldNano") == held
        granted = self.view(ledger, "creditGrantedNano")
        assert sum(one.credit for one, _, _ in accounts.values()) == granted <= fund  # I2
        for number, (one, free, arrears) in accounts.items():
            assert one.balance >= -one.credit  # I3
            assert one.locked == sum(book.locked_nano(number) for book in self.books)  # I4
            assert one.balance + one.credit >= one.locked  # I5
            assert arrears == owed[number]  # I6
            credit = 0 if one.withdrawal else one.credit
            left = one.balance + credit - one.locked - one.withdrawal - arrears
            assert free == left >= -arrears  # I7
            if one.withdrawal:
                assert one.balance >= one.locked + arrears + one.withdrawal  # I8
            assert one == self.model.accounts.of[number], number
            assert arrears == self.model.accounts.arrears(number), number
        assert fund == self.model.accounts.fund

    @invariant()
    def tokens_are_where_they_belong(self) -> None:
        """I18, I19: those of bonds, of the other ledger, and of wallets."""
        model, token, bonds = self.model, self.contracts.token, self.contracts.bonds
        held = {address: self.view(token, "balanceOf", address) for address in model.wei}
        assert held == dict(model.wei)
        assert sum(held.values()) == self.view(token, "totalSupply") == model.supply
        bond = self.view(bonds, "bondOf", self.community.solver.address)
        assert bond == (model.bond.amount, model.bond.requested, model.bond.available_from)
        assert held[str(bonds.address)] == model.bond.amount
        for book in self.books:
            for peer, claim in book.claims.items():
                assert self.view(bonds, "claimOf", book.market, book.start, peer) == claim
        other, moved = self.successor, model.successor
        assert held[str(other.address)] == moved.held * NANO
        assert self.view(other, "heldNano") == moved.held
        assert self.view(other, "fundNano") == moved.fund
        for number, account in moved.of.items():
            assert self.account(other, number)[0] == Account(account.balance)

    @invariant()
    def trades_cancel_out(self) -> None:
        """I17."""
        model, trades = self.model, self.contracts.trades
        for key, energy in model.traded.items():
            expected = CANCELLED if key in model.revoked else energy
            assert self.view(trades, "tradedWh", *key) == expected
        for book in self.books:
            if not book.traded:
                continue
            periods = book.terms.periods_per_session
            none = pack_energies((0,) * periods)
            total = [0] * periods
            for peer, position in book.traded.items():
                raw = self.view(trades, "withTraded", book.market, book.start, peer, none)
                assert list(unpack_energies(bytes(raw), periods)) == position
                total = [have + more for have, more in zip(total, position, strict=True)]
            assert not any(total)
