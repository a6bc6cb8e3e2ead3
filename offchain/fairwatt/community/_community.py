"""Peers with assets on a network over a horizon, and the book of what they want."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.community._series import Array, Series, number, over, series
from fairwatt.community.assets import (
    Asset,
    CurtailableLoad,
    Generator,
    Load,
    Photovoltaic,
)
from fairwatt.errors import CommunityError
from fairwatt.market import Book, LimitOrder, Network, Side
from fairwatt.units import MICRO, SECONDS_PER_HOUR, WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["ROLES", "Community", "Horizon", "Peer", "Supplier"]

ROLES: Final = ("consumer", "producer", "prosumer", "storage", "supplier")
_LONGEST_PERIOD: Final = 86_400


@dataclass(frozen=True, slots=True)
class Horizon:
    """Consecutive delivery periods.

    Parameters
    ----------
    start
        Unix seconds, UTC.
    period_seconds
        Length of a period, 1 to 86,400.
    periods
        How many, >= 1.
    """

    start: int
    period_seconds: int
    periods: int

    def __post_init__(self) -> None:
        for name in ("start", "period_seconds", "periods"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise CommunityError(f"horizon.{name}", f"must be a whole number, not {value!r}")
        if not 1 <= self.period_seconds <= _LONGEST_PERIOD:
            raise CommunityError(
                "horizon.period_seconds",
                f"must be 1 to {_LONGEST_PERIOD}, not {self.period_seconds}",
            )
        if self.periods < 1:
            raise CommunityError("horizon.periods", f"must be at least 1, not {self.periods}")

    @property
    def hours(self) -> float:
        """Length of a period in hours."""
        return self.period_seconds / SECONDS_PER_HOUR


@dataclass(frozen=True, eq=False)
class Supplier:
    """A retailer and its tariffs, as its customers see them.

    Parameters
    ----------
    name
        Unique among the suppliers.
    retail_per_kwh
        What a customer pays, token/kWh, one number or one per period.
    feed_in_per_kwh
        What a customer is paid; never above the retail tariff of its period.
    """

    name: str
    retail_per_kwh: Series
    feed_in_per_kwh: Series

    def __post_init__(self) -> None:
        for name in ("retail_per_kwh", "feed_in_per_kwh"):
            object.__setattr__(self, name, series(getattr(self, name), name, -np.inf))

    def retail(self, periods: int) -> Array:
        """Retail tariff, shape (periods,)."""
        return over(np.asarray(self.retail_per_kwh), periods, "retail_per_kwh")

    def feed_in(self, periods: int) -> Array:
        """Feed-in tariff, shape (periods,)."""
        return over(np.asarray(self.feed_in_per_kwh), periods, "feed_in_per_kwh")

    def between(self, first: int, periods: int) -> Supplier:
        """Its tariffs in some of its periods."""
        stop = first + periods
        cut = {
            name: values[first:stop]
            for name in ("retail_per_kwh", "feed_in_per_kwh")
            if np.ndim(values := getattr(self, name))
        }
        return replace(self, **cut) if cut else self

    def fit(self, periods: int) -> None:
        """Require tariffs of the right length, without a loop that earns money.

        Raises
        ------
        CommunityError
            If feeding in pays more than buying costs: the optimum would be unbounded.
        """
        above = self.feed_in(periods) > self.retail(periods)
        if above.any():
            at = int(above.argmax())
            raise CommunityError(
                f"feed_in_per_kwh[{at}]",
                f"{self.feed_in(periods)[at]:g} is above the retail tariff "
                f"{self.retail(periods)[at]:g}: buying to sell would pay without bound",
            )


@dataclass(frozen=True, eq=False)
class Peer:
    """A participant: one connection, one meter, the assets behind it.

    Parameters
    ----------
    name
        Unique in the community.
    role
        One of `ROLES`.
    node
        Node of the network it is connected to.
    assets
        Behind its meter.
    community
        Number of the community it belongs to; those of one number share an interest.
    supplier
        Name of its supplier; None: it can neither buy nor sell outside the market.
    connection_kw
        Largest power at its meter either way; None: no limit.
    export_cost_per_kwh
        Cexp of Moreno et al. 2021: what it pays for exports out of its community, token/kWh.
    import_preference_per_kwh, export_preference_per_kwh
        delta_imp, delta_exp of FleXunity D3.1: aversion to trade outside the community, token/kWh,
        counted in the objective but not paid.
    need
        Weight for sharing by need, >= 0.
    """

    name: str
    role: str
    node: str
    assets: tuple[Asset, ...] = ()
    community: int = 1
    supplier: str | None = None
    connection_kw: float | None = None
    export_cost_per_kwh: float = 0.0
    import_preference_per_kwh: float = 0.0
    export_preference_per_kwh: float = 0.0
    need: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "assets", tuple(self.assets))
        if self.role not in ROLES:
            raise CommunityError("role", f"must be one of {', '.join(ROLES)}, not {self.role!r}")
        if self.connection_kw is not None:
            number(self.connection_kw, "connection_kw")
        for name in (
            "export_cost_per_kwh",
            "import_preference_per_kwh",
            "export_preference_per_kwh",
            "need",
        ):
            number(getattr(self, name), name)

    def of_kind(self, kind: type[Asset]) -> Iterator[Asset]:
        """Assets of one kind."""
        return (asset for asset in self.assets if isinstance(asset, kind))


@dataclass(frozen=True, eq=False)
class Community:
    """A planning problem: who is connected where, with what, supplied by whom, and when.

    Parameters
    ----------
    name
        For messages and titles.
    horizon
        The periods.
    network
        Nodes and links; capacities in Wh per period.
    suppliers
        Retailers with their tariffs.
    peers
        Participants, in the order of all arrays of shape (peers, ...).
    fee_per_kwh
        phi_com of FleXunity D3.1, eq. 3a: what each side of a trade inside the community costs,
        token/kWh, >= 0.

    Raises
    ------
    CommunityError
        With the path of what does not fit, such as `peers['H01'].pv.energy_kwh[3]`.
    """

    name: str
    horizon: Horizon
    network: Network
    suppliers: tuple[Supplier, ...]
    peers: tuple[Peer, ...]
    fee_per_kwh: float = 0.0
    _peer_index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "suppliers", tuple(self.suppliers))
        put(self, "peers", tuple(self.peers))
        put(self, "fee_per_kwh", number(self.fee_per_kwh, "fee_per_kwh"))
        _require_unique([supplier.name for supplier in self.suppliers], "suppliers")
        _require_unique([peer.name for peer in self.peers], "peers")
        put(self, "_peer_index", {peer.name: at for at, peer in enumerate(self.peers)})
        for supplier in self.suppliers:
            with _at(f"suppliers[{supplier.name!r}]"):
                supplier.fit(self.horizon.periods)
        names = {supplier.name for supplier in self.suppliers}
        for peer in self.peers:
            place = f"peers[{peer.name!r}]"
            if peer.node not in self.network.node_index:
                raise CommunityError(f"{place}.node", f"{peer.node!r} is not a node of the network")
            if peer.supplier is not None and peer.supplier not in names:
                raise CommunityError(f"{place}.supplier", f"there is no supplier {peer.supplier!r}")
            for asset in peer.assets:
                with _at(f"{place}.{asset.kind}"):
                    asset.fit(self.horizon.periods)

    def index(self, peer: str) -> int:
        """Position of a peer."""
        return self._peer_index[peer]

    def supplier_of(self, peer: Peer) -> Supplier | None:
        """Supplier of a peer, if it has one."""
        return next((each for each in self.suppliers if each.name == peer.supplier), None)

    @cached_property
    def retail_per_kwh(self) -> Array:
        """Retail tariff of every peer, shape (peers, periods); infinite without a supplier."""
        return self._tariffs(Supplier.retail, np.inf)

    @cached_property
    def feed_in_per_kwh(self) -> Array:
        """Feed-in tariff of every peer, shape (peers, periods); minus infinite without supplier."""
        return self._tariffs(Supplier.feed_in, -np.inf)

    def _tariffs(self, tariff: object, missing: float) -> Array:
        periods = self.horizon.periods
        by_name = {each.name: tariff(each, periods) for each in self.suppliers}  # type: ignore[operator]
        none = np.full(periods, missing)
        rows = [by_name[peer.supplier] if peer.supplier else none for peer in self.peers]
        return np.array(rows).reshape(len(self.peers), periods)

    def apart(self) -> Community:
        """The same peers without a market: everybody has a node of its own, and no link.

        What each does then with its supplier is the cost of being alone.
        """
        nodes = tuple(peer.name for peer in self.peers)
        network = replace(self.network, nodes=nodes, links=())
        peers = tuple(replace(peer, node=peer.name) for peer in self.peers)
        return replace(self, network=network, peers=peers)

    def between(self, first: int, periods: int) -> Community:
        """The same community over some of its periods; each asset as its `between` says.

        Raises
        ------
        CommunityError
            If the horizon does not have them.
        """
        known, stop = self.horizon, first + periods
        if not 0 <= first < stop <= known.periods:
            raise CommunityError(
                "horizon", f"has {known.periods} periods; there are none from {first} to {stop}"
            )
        return replace(
            self,
            horizon=Horizon(
                known.start + first * known.period_seconds, known.period_seconds, periods
            ),
            suppliers=tuple(each.between(first, periods) for each in self.suppliers),
            peers=tuple(
                replace(
                    peer,
                    assets=tuple(
                        cut
                        for asset in peer.assets
                        if (cut := asset.between(first, periods)) is not None
                    ),
                )
                for peer in self.peers
            ),
        )

    def of(self, peers: Collection[int]) -> Community:
        """The community of some of its peers, given by their positions; network as it is."""
        return replace(self, peers=tuple(self.peers[at] for at in sorted(peers)))

    def book(self, period: int) -> Book:
        """Orders that say in whole numbers what everybody wants in one period.

        A load bids its retail tariff (the cap where there is no supplier), a curtailable load its
        value if that is less; photovoltaics ask the feed-in tariff (the floor without supplier), a
        generator its cost if that is more. Energies are rounded to Wh, prices to micro-token/kWh.

        Raises
        ------
        CommunityError
            If an asset couples periods or has a quadratic cost: orders for it come from a plan.
        """
        lines = []
        for at, peer in enumerate(self.peers):
            labels: dict[str, int] = {}
            for asset in peer.assets:
                labels[asset.kind] = labels.get(asset.kind, 0) + 1
                count = labels[asset.kind]
                label = asset.kind if count == 1 else f"{asset.kind}-{count}"
                side, price, energy = self._wish(at, asset, period)
                lines.append(
                    LimitOrder(
                        f"{peer.name}/{label}", peer.name, peer.node, side,
                        self._micro(price), round(energy * WH_PER_KWH),
                    )
                )  # fmt: skip
        return Book.of(self.network, lines)

    def _wish(self, at: int, asset: Asset, period: int) -> tuple[Side, float, float]:
        """Side, limit price and energy of an asset that knows no other period."""
        retail, feed_in = self.retail_per_kwh[at, period], self.feed_in_per_kwh[at, period]

        def value(name: str) -> float:
            return float(asset.over(name, self.horizon.periods)[period])

        match asset:
            case Load():
                return Side.BID, retail, value("energy_kwh")
            case CurtailableLoad(share=1.0):
                return Side.BID, min(retail, value("value_per_kwh")), value("energy_kwh")
            case Photovoltaic():
                return Side.ASK, max(feed_in, 0.0), value("energy_kwh")
            case Generator(quadratic_cost_per_kwh2=0.0) if value("least_power_kw") == 0:
                energy = value("power_kw") * self.horizon.hours
                return Side.ASK, max(feed_in, value("cost_per_kwh")), energy
        raise CommunityError(
            f"peers[{self.peers[at].name!r}].{asset.kind}",
            "cannot be said in the orders of a single period; plan the day and make orders of the "
            "plan",
        )

    def _micro(self, price: float) -> int:
        floor, cap = self.network.price_floor_micro_per_kwh, self.network.price_cap_micro_per_kwh
        return round(min(max(price * MICRO, floor), cap))


class _at:  # noqa: N801 - reads as a word: with _at(place)
    """Puts the place in front of the path of a `CommunityError`."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CommunityError):
            raise CommunityError(f"{self.place}.{error.path}", error.problem) from error


def _require_unique(names: list[str], field_: str) -> None:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise CommunityError(field_, f"{name!r} is there twice")
        seen.add(name)
