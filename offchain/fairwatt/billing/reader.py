"""The only place where bills meet the chain: gathers parties, deliveries and entries at a block."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from fairwatt.billing._records import FUND, Books, Delivery, Party, Trade
from fairwatt.billing._statement import entries_of
from fairwatt.chain import History
from fairwatt.errors import BillingError
from fairwatt.imbalances import settle_reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from fairwatt.chain import Event, Snapshot
    from fairwatt.imbalances import Tariff

__all__ = ["read_books"]


def read_books(
    snapshot: Snapshot,
    *,
    names: Mapping[int, str] | None = None,
    title: str = "Energy community",
    currency: str = "token",
    zone: tzinfo = UTC,
) -> Books:
    """Gather all that bills are made of.

    Everything comes from events and the calldata behind them: of a clearing its positions and
    prices, of a reconciliation its readings. Of a flexible order its schedule counts, at the prices
    of its peer's node. Balances are the ledger's.

    Parameters
    ----------
    names
        Of accounts; the chain knows numbers alone.

    Raises
    ------
    ChainError
        If the chain cannot be reached, or does not hold what its events say.
    BillingError
        If a reading that was settled is not found, or does not come to what was booked for it.
    """
    return _Reader(snapshot, names or {}).books(title, currency, zone)


class _Reader:
    def __init__(self, snapshot: Snapshot, names: Mapping[int, str]) -> None:
        self.snapshot = snapshot
        self.names = names
        self.history = History(snapshot)
        self.peers = snapshot.peers()
        self._readings: dict[tuple[str, int, int], Mapping[int, list[tuple[int, ...]]]] = {}

    def books(self, title: str, currency: str, zone: tzinfo) -> Books:
        parties = {
            number: Party(
                number,
                self.names.get(number, f"peer {number}"),
                peer.role.name.lower(),
                peer.community,
            )
            for number, peer in self.peers.items()
        }
        balances = {number: self.snapshot.account(number).balance_nano for number in parties}
        balances[FUND] = self.snapshot.fund_nano()
        return Books(
            until=self.snapshot.time,
            parties=parties,
            deliveries=tuple(self._deliveries()),
            entries=entries_of(self.history.events, self._payments, self._supplier_of),
            balances_nano=balances,
            title=title,
            currency=currency,
            zone=zone,
        )

    def _supplier_of(self, peer: int, time: int) -> int:
        return self.snapshot.peer(peer, time).supplier

    def _payments(self, market: int, session: int) -> dict[int, int]:
        """What each peer receives or pays in a clearing: position times price at its node."""
        cleared = self.snapshot.cleared(market, session)
        if cleared is None:
            raise BillingError(f"session {session} of market {market} is not cleared")
        payments = {}
        for peer, position in cleared.positions_wh.items():
            node = self.snapshot.peer(peer, session).node
            prices = (at[node] for at in cleared.prices_micro_per_kwh)
            payments[peer] = sum(wh * price for wh, price in zip(position, prices, strict=True))
        return payments

    def _deliveries(self) -> list[Delivery]:
        """One for each peer and session in which it traded or something was settled."""
        settled: dict[tuple[int, int, int], Event] = {}
        trades: defaultdict[tuple[int, int, int], list[Trade]] = defaultdict(list)
        estimated = set[tuple[int, int, int]]()
        sessions: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for event in self.history.events:
            values = event.values
            if "sessionStart" not in values:
                continue
            session = (values["market"], values["sessionStart"])
            if event.name == "SessionCleared":
                cleared = self.snapshot.cleared(*session)
                sessions[session] |= cleared.positions_wh.keys() if cleared else set()
            elif event.name == "Traded":
                for peer, trade in _sides(values["trade"]):
                    sessions[session].add(peer)
                    trades[*session, peer].append(trade)
            elif event.name == "ReadingSettled":
                sessions[session].add(values["peer"])
                settled[*session, values["peer"]] = event
            elif event.name == "ReadingEstimated":
                sessions[session].add(values["peer"])
                estimated.add((*session, values["peer"]))
        return [
            self._delivery(
                market,
                session,
                peer,
                tuple(trades[market, session, peer]),
                settled.get((market, session, peer)),
                is_estimated=(market, session, peer) in estimated,
            )
            for (market, session), peers in sorted(sessions.items(), key=lambda item: item[0][::-1])
            for peer in sorted(peers)
        ]

    def _delivery(
        self,
        market: int,
        session: int,
        peer: int,
        trades: tuple[Trade, ...],
        settled: Event | None,
        *,
        is_estimated: bool,
    ) -> Delivery:
        snapshot = self.snapshot
        terms, record = snapshot.terms(market), snapshot.peer(peer, session)
        nothing = (0,) * terms.periods_per_session
        cleared = snapshot.cleared(market, session)
        position, prices = nothing, nothing
        if cleared is not None:
            position = cleared.positions_wh.get(peer, nothing)
            prices = tuple(at[record.node] for at in cleared.prices_micro_per_kwh)
        tariffs: tuple[Tariff, ...] = ()
        if record.supplier:
            _, tariffs = snapshot.tariffs_of_session(market, session, record.supplier)
        delivery = Delivery(
            peer=peer,
            market=market,
            session=session,
            period_seconds=terms.period_seconds,
            position_wh=position,
            price_micro_per_kwh=prices,
            supplier=record.supplier or None,
            retail_micro_per_kwh=tuple(each.retail_micro_per_kwh for each in tariffs),
            feed_in_micro_per_kwh=tuple(each.feed_in_micro_per_kwh for each in tariffs),
            trades=trades,
            is_estimated=is_estimated and settled is None,
        )
        if settled is None:
            return delivery
        metered = self._metered(settled, delivery.traded_wh, tariffs)
        return replace(delivery, metered_wh=metered)

    def _metered(
        self, settled: Event, traded_wh: tuple[int, ...], tariffs: tuple[Tariff, ...]
    ) -> tuple[int, ...]:
        """The reading that was settled: of those the transaction brought, the one booked for."""
        market, session, peer, booked = (
            settled.values[name] for name in ("market", "sessionStart", "peer", "imbalanceNano")
        )
        for metered in self._brought(settled.transaction, market, session).get(peer, ()):
            if settle_reading(peer, metered, traded_wh, tariffs).payment_nano == booked:
                return metered
        raise BillingError(
            f"transaction {settled.transaction} settled {booked:,} nano-token for the reading of "
            f"peer {peer} of session {session}, but brought no reading that comes to it"
        )

    def _brought(
        self, transaction: str, market: int, session: int
    ) -> Mapping[int, list[tuple[int, ...]]]:
        key = (transaction, market, session)
        if key not in self._readings:
            found: defaultdict[int, list[tuple[int, ...]]] = defaultdict(list)
            periods = self.snapshot.terms(market).periods_per_session
            for record in self.history.readings(*key, periods):
                if record.signed is not None:
                    found[record.peer].append(record.signed.reading.energy_wh)
            self._readings[key] = found
        return self._readings[key]


def _sides(traded: Mapping[str, int]) -> Iterator[tuple[int, Trade]]:
    """A continuous trade as its seller and its buyer see it."""
    seller, buyer, energy = traded["seller"], traded["buyer"], traded["energyWh"]
    product = traded["firstPeriod"], traded["periods"]
    for peer, other, wh in ((seller, buyer, energy), (buyer, seller, -energy)):
        yield peer, Trade(other, *product, wh, traded["priceMicroPerKWh"])
