"""Named markets as data: a folder in `cases/` with a `case.toml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fairwatt import tomltext
from fairwatt.errors import BookError, CaseError
from fairwatt.market import Book, LimitOrder, Link, Network, Side
from fairwatt.market.network import MAX_QUANTITY_WH, MAX_TARIFF, PRICE_RANGE

if TYPE_CHECKING:
    from fairwatt.tomltext import Table

__all__ = ["CASES", "Case", "CasePeer", "Generation", "Load", "Published", "names"]

CASES: Final = Path(__file__).parents[2] / "cases"
"""Folder of the cases that come with the project."""
_LONGEST_PERIOD: Final = 86_400
_MOST_COMMUNITIES: Final = 2**32 - 1
_ROLES: Final = ("consumer", "producer", "prosumer", "storage", "supplier")


@dataclass(frozen=True, slots=True)
class Generation:
    """What a peer can generate in the period, and at what cost; offered at cost."""

    energy_wh: int
    cost_micro_per_kwh: int
    export_cost_micro_per_kwh: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What a peer wants to consume in the period, and what it would pay at most."""

    energy_wh: int
    limit_micro_per_kwh: int


@dataclass(frozen=True, slots=True)
class CasePeer:
    """A peer of a case."""

    name: str
    role: str
    node: str
    community: int
    generation: Generation | None = None
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """Results that a paper prints for the case: its objective, and Wh per peer."""

    objective: Decimal
    generation_wh: dict[str, int]
    import_wh: dict[str, int]
    export_wh: dict[str, int]


@dataclass(frozen=True)
class Case:
    """A market for one period, with its peers.

    Raises
    ------
    CaseError
        From `load`, with the place of what is wrong.
    """

    name: str
    title: str
    source: str
    period_seconds: int
    network: Network
    peers: tuple[CasePeer, ...]
    retail_micro_per_kwh: int
    feed_in_micro_per_kwh: int
    published: Published | None = field(default=None)

    @classmethod
    def load(cls, name: str, folder: Path = CASES) -> Case:
        """Read `folder/name/case.toml`."""
        path = folder / name / "case.toml"
        if not path.is_file():
            known = ", ".join(names(folder)) or "none"
            raise CaseError(name, f"there is no such case; cases are: {known}")
        return _case(name, tomltext.read(path))

    def book(self) -> Book:
        """The limit orders of all peers: an ask for the generation, a bid for the load."""
        orders = []
        for peer in self.peers:
            if peer.generation is not None:
                orders.append(
                    LimitOrder(
                        f"{peer.name}/ask",
                        peer.name,
                        peer.node,
                        Side.ASK,
                        peer.generation.cost_micro_per_kwh,
                        peer.generation.energy_wh,
                    )
                )
            if peer.load is not None:
                orders.append(
                    LimitOrder(
                        f"{peer.name}/bid",
                        peer.name,
                        peer.node,
                        Side.BID,
                        peer.load.limit_micro_per_kwh,
                        peer.load.energy_wh,
                    )
                )
        return Book.of(self.network, orders)


def names(folder: Path = CASES) -> list[str]:
    """Names of all cases in a folder."""
    return sorted(path.parent.name for path in folder.glob("*/case.toml"))


def _case(name: str, content: Table) -> Case:
    network = content.table("network")
    tariff = content.table("tariff")
    case = Case(
        name=name,
        title=content.text("title"),
        source=content.text("source").strip(),
        period_seconds=content.whole("period_seconds", 1, _LONGEST_PERIOD),
        network=_network(network),
        peers=_peers(content),
        retail_micro_per_kwh=tariff.whole("retail_micro_per_kwh", *PRICE_RANGE),
        feed_in_micro_per_kwh=tariff.whole("feed_in_micro_per_kwh", *PRICE_RANGE),
        published=_published(content.table("published")) if content.has("published") else None,
    )
    for table in (tariff, content):
        table.done()
    try:
        case.book()  # every order must fit the network
    except BookError as error:
        raise CaseError(content.place("peers"), f"{error.path} {error.problem}") from error
    _require_known(case, content)
    return case


def _network(entry: Table) -> Network:
    links = []
    for link in entry.tables("links"):
        links.append(
            Link(
                link.text("from"),
                link.text("to"),
                link.whole("tariff_micro_per_kwh", 0, MAX_TARIFF),
                link.whole("capacity_wh", 0, MAX_QUANTITY_WH),
                link.text("owner") if link.has("owner") else None,
            )
        )
        link.done()
    floor = entry.whole("price_floor_micro_per_kwh", *PRICE_RANGE)
    cap = entry.whole("price_cap_micro_per_kwh", *PRICE_RANGE)
    nodes = entry.texts("nodes")
    entry.done()
    try:
        return Network(nodes, tuple(links), floor, cap)
    except BookError as error:
        place = entry.place(error.path.removeprefix("network."))
        raise CaseError(place, error.problem) from error


def _peers(content: Table) -> tuple[CasePeer, ...]:
    peers: list[CasePeer] = []
    for entry in content.tables("peers"):
        place = entry.place("name")
        peer = _peer(entry)
        if any(peer.name == other.name for other in peers):
            raise CaseError(place, f"{peer.name!r} is there twice")
        peers.append(peer)
    return tuple(peers)


def _peer(entry: Table) -> CasePeer:
    role = entry.text("role")
    if role not in _ROLES:
        raise CaseError(entry.place("role"), f"must be one of {', '.join(_ROLES)}, not {role!r}")
    peer = CasePeer(
        name=entry.text("name"),
        role=role,
        node=entry.text("node"),
        community=entry.whole("community", 0, _MOST_COMMUNITIES),
        generation=_generation(entry.table("generation")) if entry.has("generation") else None,
        load=_load(entry.table("load")) if entry.has("load") else None,
    )
    entry.done()
    return peer


def _generation(entry: Table) -> Generation:
    export_cost = (
        entry.whole("export_cost_micro_per_kwh", 0, MAX_TARIFF)
        if entry.has("export_cost_micro_per_kwh")
        else 0
    )
    generation = Generation(
        entry.whole("energy_wh", 0, MAX_QUANTITY_WH),
        entry.whole("cost_micro_per_kwh", *PRICE_RANGE),
        export_cost,
    )
    entry.done()
    return generation


def _load(entry: Table) -> Load:
    load = Load(
        entry.whole("energy_wh", 0, MAX_QUANTITY_WH),
        entry.whole("limit_micro_per_kwh", *PRICE_RANGE),
    )
    entry.done()
    return load


def _published(entry: Table) -> Published:
    text = entry.text("objective")
    try:
        objective = Decimal(text)
    except InvalidOperation as error:
        raise CaseError(entry.place("objective"), f"must be a number, not {text!r}") from error
    published = Published(
        objective,
        _energies(entry.table("generation_wh")),
        _energies(entry.table("import_wh")),
        _energies(entry.table("export_wh")),
    )
    entry.done()
    return published


def _energies(entry: Table) -> dict[str, int]:
    return {peer: entry.whole(peer, 0, MAX_QUANTITY_WH) for peer in entry.names()}


def _require_known(case: Case, content: Table) -> None:
    """Published results are those of the peers, all of them."""
    if case.published is None:
        return
    names = {peer.name for peer in case.peers}
    for kind in ("generation_wh", "import_wh", "export_wh"):
        if set(getattr(case.published, kind)) != names:
            place = content.place(f"published.{kind}")
            raise CaseError(place, "must have one entry for each peer, and none for others")
