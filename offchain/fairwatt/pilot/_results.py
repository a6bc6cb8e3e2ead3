"""What a run came to: the days that are over, added up one after the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fairwatt.errors import PilotError
from fairwatt.pilot._stored import Stored
from fairwatt.units import MICRO, NANO, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fairwatt.community import Array
    from fairwatt.pilot._prepared import Prepared

__all__ = ["PeerResult", "Results", "StoreResult"]


@dataclass(slots=True)
class PeerResult:
    """What all days came to for a peer; energies in Wh, money in nano-token.

    Attributes
    ----------
    cost, alone, perfect
        What it paid in all, assets included; what it would have paid alone with its supplier, with
        the same assets and forecasts; and in the market had everybody foreseen the days.
    """

    name: str
    sold: int = 0
    bought: int = 0
    injected: int = 0
    taken: int = 0
    imbalance: int = 0
    cost: int = 0
    alone: int = 0
    perfect: int = 0

    @property
    def saved(self) -> int:
        """Against being alone."""
        return self.alone - self.cost

    @property
    def saved_percent(self) -> float | None:
        """Of the bill alone; None where that is none to save from, or saves more than all of it."""
        if self.alone <= 0 or self.saved > self.alone:
            return None
        return 100 * self.saved / self.alone


@dataclass(slots=True)
class StoreResult:
    """What all storages, or all vehicles, did together, kWh.

    Attributes
    ----------
    drawn, given
        Per period, as their meters count them; one may charge while another discharges.
    held
        At the bounds of the periods; storages only.
    capacity
        Most that storages can hold.
    """

    drawn: Array
    given: Array
    held: Array
    capacity: float = 0.0

    @classmethod
    def none(cls, periods: int) -> StoreResult:
        """Nothing yet."""
        return cls(np.zeros(periods), np.zeros(periods), np.zeros(periods + 1))

    def add(self, first: int, stores: Iterable[Stored]) -> None:
        """Add what they did in the periods of a day from `first` on."""
        held = np.zeros(0)
        self.capacity = 0.0
        for store in stores:
            metered = np.array(store.metered_wh) / WH_PER_KWH
            here = slice(first, first + len(metered))
            self.drawn[here] += np.maximum(-metered, 0)
            self.given[here] += np.maximum(metered, 0)
            if store.held_wh is not None:
                row = np.array(store.held_wh) / WH_PER_KWH
                held = row if not held.size else held + row
                self.capacity += (store.capacity_wh or 0) / WH_PER_KWH
        self.held[first : first + held.size] = held


@dataclass
class Results:
    """All days of a run that are over.

    Attributes
    ----------
    starts
        Of each period, UTC Unix seconds in the time of the case.
    prices
        Token/kWh, shape (nodes, periods).
    traded_kwh, imported_kwh, exported_kwh
        Per period: on the market, and what suppliers delivered and took, shape (periods,).
    flows_kwh
        Shape (links, periods).
    between_kwh
        From seller to buyer, shape (peers, peers): of every period's trades each buyer has the same
        share of what each seller sold, for the market has no pairs.
    stores
        By kind of asset, those that there are: "storage", "ev".
    gas, seconds
        Per day, by contract and by stage.
    faults
        Day (counted from 1), peer, what was wrong with its reading, what its estimate came to
        (None if it was not estimated) and what was settled in the end, nano-token.
    untold_wh
        What flowed out of all meters less what is settled of them: who sees it is the meter of the
        feeder alone.
    costs
        Per day: what all peers paid, would have paid alone, and with a perfect forecast, token,
        shape (days, 3).
    """

    prepared: Prepared
    peers: dict[str, PeerResult]
    starts: Array
    prices: Array
    traded_kwh: Array
    imported_kwh: Array
    exported_kwh: Array
    flows_kwh: Array
    between_kwh: Array
    costs: Array
    stores: dict[str, StoreResult] = field(default_factory=dict)
    gas: list[dict[str, int]] = field(default_factory=list)
    seconds: list[dict[str, float]] = field(default_factory=list)
    orders: Counter[int] = field(default_factory=Counter)
    incomes: Counter[str] = field(default_factory=Counter)
    balances: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    faults: list[tuple[int, str, str, int | None, int]] = field(default_factory=list)
    untold_wh: int = 0

    @classmethod
    def of(cls, prepared: Prepared, days: Iterable[dict[str, Any]]) -> Results:
        """Add up days.

        Raises
        ------
        PilotError
            If no day is over.
        """
        community, per_day = prepared.truth, prepared.per_day
        periods = prepared.settings.days * per_day
        nodes, links = len(community.network.nodes), len(community.network.links)
        peers = [peer.name for peer in community.peers if peer.role != "supplier"]
        results = cls(
            prepared=prepared,
            peers={name: PeerResult(name) for name in peers},
            starts=prepared.settings.start
            + prepared.settings.period_seconds * np.arange(periods, dtype=np.float64),
            prices=np.zeros((nodes, periods)),
            traded_kwh=np.zeros(periods),
            imported_kwh=np.zeros(periods),
            exported_kwh=np.zeros(periods),
            flows_kwh=np.zeros((links, periods)),
            between_kwh=np.zeros((len(community.peers), len(community.peers))),
            costs=np.zeros((prepared.settings.days, 3)),
        )
        for day in days:
            results._add(day)
        if not results.gas:
            raise PilotError("no day of this run is over; there is nothing to report")
        return results

    @property
    def days(self) -> int:
        """Days that are over."""
        return len(self.gas)

    @property
    def total(self) -> PeerResult:
        """All peers together."""
        total = PeerResult("all peers")
        for peer in self.peers.values():
            for name in ("sold", "bought", "injected", "taken", "imbalance", "cost", "alone"):
                setattr(total, name, getattr(total, name) + getattr(peer, name))
            total.perfect += peer.perfect
        return total

    def _add(self, day: dict[str, Any]) -> None:
        per_day = self.prepared.per_day
        here = slice(day["day"] * per_day, (day["day"] + 1) * per_day)
        names = [peer.name for peer in self.prepared.truth.peers]
        nothing = [0] * per_day
        positions = np.array(
            [day["positionsWh"].get(name, nothing) for name in names], np.int64
        ).reshape(len(names), per_day)
        # Where no reading is settled, what the estimate takes for granted counts.
        metered = {
            name: np.minimum(positions[names.index(name)], 0)
            if row is None
            else np.array(row, np.int64)
            for name, row in day["meteredWh"].items()
        }
        nodes = self.prepared.truth.network.nodes
        self.prices[:, here] = np.array([day["prices"][node] for node in nodes]) / MICRO
        if self.flows_kwh.size:
            self.flows_kwh[:, here] = np.array(day["flowsWh"]) / WH_PER_KWH
        sold, bought = np.maximum(positions, 0), np.maximum(-positions, 0)
        volume = sold.sum(axis=0)
        self.traded_kwh[here] = volume / WH_PER_KWH
        self.between_kwh += sold @ (bought / np.maximum(volume, 1)).T / WH_PER_KWH
        for at, name in enumerate(names):
            if name not in metered:
                continue
            peer, difference = self.peers[name], metered[name] - positions[at]
            self.imported_kwh[here] += np.maximum(-difference, 0) / WH_PER_KWH
            self.exported_kwh[here] += np.maximum(difference, 0) / WH_PER_KWH
            peer.sold += int(sold[at].sum())
            peer.bought += int(bought[at].sum())
            peer.injected += int(np.maximum(metered[name], 0).sum())
            peer.taken += int(np.maximum(-metered[name], 0).sum())
            peer.imbalance += int(np.abs(difference).sum())
        self._add_stores(day)
        self._add_money(day)
        self.gas.append(day["gas"])
        self.seconds.append(day["seconds"])
        self.orders[sum(day["orders"].values())] += 1
        for name, _, nano in day["incomes"]:
            self.incomes[name] += nano
        self.balances = day["balancesNano"]
        self.untold_wh += sum(
            day["flowedWh"][name] - int(energy.sum()) for name, energy in metered.items()
        )
        self.faults += [
            (
                day["day"] + 1,
                name,
                told,
                day["estimatesNano"].get(name),
                day["imbalancesNano"][name],
            )
            for name, told in day["faults"].items()
        ]
        self.refused += [f"day {day['day'] + 1}: {each}" for each in day["refused"]]

    def _add_stores(self, day: dict[str, Any]) -> None:
        per_day = self.prepared.per_day
        by_kind: dict[str, list[Stored]] = {}
        for store in map(Stored.from_document, day["stored"]):
            by_kind.setdefault(store.kind, []).append(store)
        for kind, stores in by_kind.items():
            if kind not in self.stores:
                self.stores[kind] = StoreResult.none(len(self.starts))
            self.stores[kind].add(day["day"] * per_day, stores)

    def _add_money(self, day: dict[str, Any]) -> None:
        for name, peer in self.peers.items():
            gets = day["tradesNano"].get(name, 0) + day["imbalancesNano"].get(name, 0)
            cost = round(day["assetCosts"][name] * NANO) - gets
            compared = day["compared"][name]
            peer.cost += cost
            peer.alone += compared["aloneNano"]
            peer.perfect += compared["perfectNano"]
            self.costs[day["day"]] += (
                np.array([cost, compared["aloneNano"], compared["perfectNano"]]) / NANO
            )
