"""The statement of an account: all that was booked on it, from the events of the chain alone.

Of each kind of event one function says whose balance it changes, by how much:

    Deposited, Withdrawn, Moved     the peer's, by what came in or went out
    FundReceived, FundAllotted      the fund's; what it pays, a peer receives
    SessionCleared                  every peer's that traded: the sum of position x price, which the
                                    calldata of the clearing says; it has no event of its own
    LinkEarned                      the owner's by the tariff, the fund's by the congestion rent
    SolverPaid                      the solver's, from the fund
    ReadingEstimated                the peer's and its supplier's
    ReadingSettled                  likewise; an estimate that was settled before is taken back
    ArrearsIncurred, ArrearsPaid    the debtor's and the creditor's: what was booked above was not
                                    paid, or is paid now
    Traded                          seller's and buyer's, by energy x price in each period
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairwatt.billing._records import FUND, Books, Entry, Kind
from fairwatt.errors import BillingError, BooksNotBalanced

if TYPE_CHECKING:
    from fairwatt.chain import Event

__all__ = ["Statement", "entries_of", "require_balanced", "statement"]

Payments = Callable[[int, int], Mapping[int, int]]
"""What each peer receives or pays in the clearing of a session of a market, nano-token."""
SupplierOf = Callable[[int, int], int]
"""Account of the supplier of a peer at a time."""
_Booked = tuple[int, Kind, int, int | None]
"""Account, kind, nano-token, counterparty."""


def entries_of(
    events: Iterable[Event], payments: Payments, supplier_of: SupplierOf
) -> tuple[Entry, ...]:
    """All that was booked, in its sequence.

    Parameters
    ----------
    events
        In the sequence in which they happened; those that move no money may be among them.
    """
    happened = list(events)
    sessions = {
        event.transaction: (event.values["market"], event.values["sessionStart"])
        for event in happened
        if event.name == "SessionCleared"
    }
    entries: list[Entry] = []
    for event in happened:
        values = event.values
        market, session = values.get("market"), values.get("sessionStart")
        if event.name == "SolverPaid":
            market, session = sessions.get(event.transaction, (None, None))
        if event.name == "SessionCleared":
            booked: Iterable[_Booked] = (
                (peer, Kind.MARKET, nano, None)
                for peer, nano in payments(values["market"], values["sessionStart"]).items()
            )
        elif event.name in _SETTLED:
            supplier = supplier_of(values["peer"], values["sessionStart"])
            booked = _SETTLED[event.name](values, supplier)
        elif event.name in _RULES:
            booked = _RULES[event.name](values)
        else:
            continue
        entries += [
            Entry(
                account, kind, int(nano), event.time, other, market, session,
                event.block, event.transaction,
            )
            for account, kind, nano, other in booked
            if nano
        ]  # fmt: skip
    return tuple(entries)


def _pair(kind: Kind, payer: int, payee: int, nano: int) -> Iterator[_Booked]:
    yield payer, kind, -nano, payee
    yield payee, kind, nano, payer


def _deposited(values: Mapping[str, Any]) -> Iterator[_Booked]:
    yield values["peer"], Kind.DEPOSIT, values["amountNano"], None


def _withdrawn(values: Mapping[str, Any]) -> Iterator[_Booked]:
    yield values["peer"], Kind.WITHDRAWAL, -values["amountNano"], None


def _moved(values: Mapping[str, Any]) -> Iterator[_Booked]:
    yield values["peer"], Kind.MOVE, -values["amountNano"], None


def _fund_received(values: Mapping[str, Any]) -> Iterator[_Booked]:
    yield FUND, Kind.FUND_GIFT, values["amountNano"], None


def _fund_allotted(values: Mapping[str, Any]) -> Iterator[_Booked]:
    return _pair(Kind.FUND_SHARE, FUND, values["peer"], values["amountNano"])


def _solver_paid(values: Mapping[str, Any]) -> Iterator[_Booked]:
    return _pair(Kind.SOLVER_FEE, FUND, values["account"], values["amountNano"])


def _link_earned(values: Mapping[str, Any]) -> Iterator[_Booked]:
    yield values["owner"], Kind.LINK_TARIFF, values["tariffNano"], None
    yield FUND, Kind.RENT, values["rentNano"], None


def _arrears_incurred(values: Mapping[str, Any]) -> Iterator[_Booked]:
    debtor, creditor = values["debtor"], values["creditor"]
    return _pair(Kind.ARREARS, creditor, debtor, values["amountNano"])


def _arrears_paid(values: Mapping[str, Any]) -> Iterator[_Booked]:
    debtor, creditor = values["debtor"], values["creditor"]
    return _pair(Kind.ARREARS_PAID, debtor, creditor, values["amountNano"])


def _traded(values: Mapping[str, Any]) -> Iterator[_Booked]:
    trade = values["trade"]
    nano = trade["energyWh"] * trade["periods"] * trade["priceMicroPerKWh"]
    return _pair(Kind.TRADE, trade["buyer"], trade["seller"], nano)


def _reading_estimated(values: Mapping[str, Any], supplier: int) -> Iterator[_Booked]:
    return _pair(Kind.ESTIMATE, supplier, values["peer"], values["imbalanceNano"])


def _reading_settled(values: Mapping[str, Any], supplier: int) -> Iterator[_Booked]:
    peer = values["peer"]
    yield from _pair(Kind.ESTIMATE_BACK, peer, supplier, values["estimatedNano"])
    yield from _pair(Kind.BALANCING, supplier, peer, values["imbalanceNano"])


_RULES: Final[dict[str, Callable[[Mapping[str, Any]], Iterator[_Booked]]]] = {
    "Deposited": _deposited,
    "Withdrawn": _withdrawn,
    "Moved": _moved,
    "FundReceived": _fund_received,
    "FundAllotted": _fund_allotted,
    "SolverPaid": _solver_paid,
    "LinkEarned": _link_earned,
    "ArrearsIncurred": _arrears_incurred,
    "ArrearsPaid": _arrears_paid,
    "Traded": _traded,
}
_SETTLED: Final[dict[str, Callable[[Mapping[str, Any], int], Iterator[_Booked]]]] = {
    "ReadingEstimated": _reading_estimated,
    "ReadingSettled": _reading_settled,
}


@dataclass(frozen=True, slots=True)
class Statement:
    """What was booked on an account from one time to another; `end` is the first second after.

    Opening and closing balances are those of the ledger, to the last unit.
    """

    account: int
    start: int
    end: int
    opening_nano: int
    entries: tuple[Entry, ...]
    closing_nano: int


def statement(books: Books, account: int, start: int = 0, end: int | None = None) -> Statement:
    """The statement of an account, by default of all its time.

    Raises
    ------
    BillingError
        If there is no such account.
    BooksNotBalanced
        If its entries do not come to its balance.
    """
    require_balanced(books, account)
    end = books.until + 1 if end is None else end
    own = [entry for entry in books.entries if entry.account == account]
    opening = books.opening_nano.get(account, 0)
    opening += sum(entry.amount_nano for entry in own if entry.booked_at < start)
    within = tuple(entry for entry in own if start <= entry.booked_at < end)
    closing = opening + sum(entry.amount_nano for entry in within)
    return Statement(account, start, end, opening, within, closing)


def require_balanced(books: Books, account: int | None = None) -> None:
    """Hold what was booked to the balances of the ledger, of one account or of all.

    Raises
    ------
    BooksNotBalanced
        With the first account that differs, and by how much.
    BillingError
        If the balance of an account is not known.
    """
    sums = books.sums_nano()
    accounts = sorted(books.parties.keys() | sums.keys()) if account is None else [account]
    for each in accounts:
        name = books.party(each).name
        if each not in books.balances_nano:
            raise BillingError(f"the balance of account {each} ({name}) is not known")
        balance, booked = books.balances_nano[each], sums.get(each, 0)
        if balance != booked:
            raise BooksNotBalanced(each, name, balance, booked)
