"""Named markets as data: a folder in `cases/` with a `case.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from fairwatt.errors import BookError, CaseError
from fairwatt.market import Book, LimitOrder, Link, Network, Side

__all__ = ["CASES", "Case", "CasePeer", "Generation", "Load", "Published", "names"]

CASES: Final = Path(__file__).parents[2] / "cases"
"""Folder of the cases that come with the project."""
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
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            known = ", ".join(names(folder)) or "none"
            raise CaseError(name, f"there is no such case; cases are: {known}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CaseError(str(path), f"is not readable as TOML: {error}") from error
        try:
            return _case(name, content)
        except KeyError as error:
            raise CaseError(f"{path}: {error.args[0]}", "is missing") from error
        except (TypeError, ValueError, InvalidOperation) as error:
            raise CaseError(str(path), f"is not a case: {error}") from error
        except BookError as error:
            raise CaseError(f"{path}: {error.path}", error.problem) from error

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


def _case(name: str, content: dict[str, Any]) -> Case:
    network = content["network"]
    published = content.get("published")
    case = Case(
        name=name,
        title=content["title"],
        source=content["source"].strip(),
        period_seconds=content["period_seconds"],
        network=Network(
            nodes=tuple(network["nodes"]),
            links=tuple(
                Link(
                    link["from"],
                    link["to"],
                    link["tariff_micro_per_kwh"],
                    link["capacity_wh"],
                    link.get("owner"),
                )
                for link in network["links"]
            ),
            price_floor_micro_per_kwh=network["price_floor_micro_per_kwh"],
            price_cap_micro_per_kwh=network["price_cap_micro_per_kwh"],
        ),
        peers=tuple(_peer(peer) for peer in content["peers"]),
        retail_micro_per_kwh=content["tariff"]["retail_micro_per_kwh"],
        feed_in_micro_per_kwh=content["tariff"]["feed_in_micro_per_kwh"],
        published=None if published is None else _published(published),
    )
    case.book()  # every order must fit the network
    return case


def _peer(entry: dict[str, Any]) -> CasePeer:
    if entry["role"] not in _ROLES:
        raise CaseError(f"peers: {entry['name']}: role", f"must be one of {', '.join(_ROLES)}")
    generation, load = entry.get("generation"), entry.get("load")
    return CasePeer(
        name=entry["name"],
        role=entry["role"],
        node=entry["node"],
        community=entry["community"],
        generation=None if generation is None else Generation(**generation),
        load=None if load is None else Load(**load),
    )


def _published(entry: dict[str, Any]) -> Published:
    return Published(
        Decimal(entry["objective"]),
        entry["generation_wh"],
        entry["import_wh"],
        entry["export_wh"],
    )
