"""The graph a market runs on: nodes where orders sit, links that carry energy between them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from fairwatt.errors import BookError
from fairwatt.market._columns import Column, Complaint, column, is_whole, text_problem

__all__ = ["MAX_QUANTITY_WH", "MAX_TAIL", "MAX_TARIFF", "PRICE_RANGE", "Link", "Network"]

MAX_QUANTITY_WH: Final = 2**40 - 1
"""Largest energy, capacity, flow or fill (uint40 in the contract)."""
PRICE_RANGE: Final = (-(2**31), 2**31 - 1)
"""Prices in micro-token/kWh (int32 in the contract)."""
MAX_TARIFF: Final = 2**32 - 1
"""Tariffs in micro-token/kWh (uint32 in the contract)."""
MAX_TAIL: Final = 2**24
"""Largest tail of a link."""
_MAX_COUNT: Final = 2**20 - 1
"""Nodes, links: keeps every sum of flows in int64 and every cost of the kernel exact."""


@dataclass(frozen=True, slots=True)
class Link:
    """A directed connection `source` -> `target`.

    Parameters
    ----------
    source, target
        Names of nodes.
    tariff_micro_per_kwh
        Earned on every kWh carried, 0 to 2^32 - 1.
    capacity_wh
        Most it carries in the period, 0 to 2^40 - 1.
    owner
        Account that earns the tariff; None is the community fund.
    tail
        Decides between ways that cost the same, 1 to 2^24; None is the one that the network's
        seed gives it.
    """

    source: str
    target: str
    tariff_micro_per_kwh: int
    capacity_wh: int
    owner: str | None = None
    tail: int | None = None


@dataclass(frozen=True)
class Network:
    """Nodes, links and the price bounds of a market. Parallel links are allowed.

    Parameters
    ----------
    nodes, links, price_floor_micro_per_kwh, price_cap_micro_per_kwh
        The graph, and the bounds of every price.
    seed
        What the tails of the links are made of: in the contract the hash of the published links.
        Nothing stands for a hash of nodes and links, so that any network has tails of its own.

    Raises
    ------
    BookError
        With the path of the first thing that is wrong, such as `network.links[2].from`.
    """

    nodes: tuple[str, ...]
    links: tuple[Link, ...]
    price_floor_micro_per_kwh: int
    price_cap_micro_per_kwh: int
    seed: bytes = b""

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "links", tuple(self.links))
        self._check_nodes()
        self._check_price_bounds()
        _ = self.sources, self.targets, self.tariffs_micro_per_kwh, self.capacities_wh
        for at, link in enumerate(self.links):
            if link.source == link.target:
                raise BookError(f"network.links[{at}].to", "a link must not end where it starts")
            if link.owner is not None and (problem := text_problem(link.owner)):
                raise BookError(f"network.links[{at}].owner", problem)
            if link.tail is not None and not is_whole(link.tail):
                problem = f"must be a whole number, not {link.tail!r}"
                raise BookError(f"network.links[{at}].tail", problem)
            if link.tail is not None and not 1 <= link.tail <= MAX_TAIL:
                problem = f"{link.tail} is out of range, must be 1 to {MAX_TAIL}"
                raise BookError(f"network.links[{at}].tail", problem)
        if not isinstance(self.seed, bytes):
            raise BookError("network.seed", f"must be bytes, not {self.seed!r}")

    @cached_property
    def node_index(self) -> dict[str, int]:
        """Position of every node."""
        return {node: at for at, node in enumerate(self.nodes)}

    @cached_property
    def sources(self) -> Column:
        """Node index where each link starts, shape (links,)."""
        return self._endpoints("from", [link.source for link in self.links])

    @cached_property
    def targets(self) -> Column:
        """Node index where each link ends, shape (links,)."""
        return self._endpoints("to", [link.target for link in self.links])

    @cached_property
    def tariffs_micro_per_kwh(self) -> Column:
        """Tariff of each link, shape (links,)."""
        tariffs = (link.tariff_micro_per_kwh for link in self.links)
        return column(tariffs, self._complaint("tariffMicroPerKWh"), 0, MAX_TARIFF)

    @cached_property
    def capacities_wh(self) -> Column:
        """Capacity of each link, shape (links,)."""
        capacities = (link.capacity_wh for link in self.links)
        return column(capacities, self._complaint("capacityWh"), 0, MAX_QUANTITY_WH)

    @cached_property
    def tails(self) -> Column:
        """Tail of each link, shape (links,): its own, or made of the seed and its position.

        1 + first 24 bits of keccak256(seed || uint256(position))
        """
        from eth_utils.crypto import keccak  # noqa: PLC0415 - slow to load, seldom needed

        seed = self.seed or keccak(self._text().encode())
        return column(
            (
                link.tail
                if link.tail is not None
                else 1 + int.from_bytes(keccak(seed + at.to_bytes(32, "big"))[:3], "big")
                for at, link in enumerate(self.links)
            ),
            self._complaint("tail"),
        )

    def _text(self) -> str:
        """Nodes and links, the same for equal ones."""
        links = [
            (
                *(link.source, link.target),
                *(int(link.tariff_micro_per_kwh), int(link.capacity_wh)),
                link.owner,
            )
            for link in self.links
        ]
        return json.dumps([self.nodes, links], separators=(",", ":"))

    def _check_nodes(self) -> None:
        for field, count in (("nodes", len(self.nodes)), ("links", len(self.links))):
            if count > _MAX_COUNT:
                raise BookError(f"network.{field}", f"{count} are too many, at most {_MAX_COUNT}")
        seen = set[str]()
        for at, node in enumerate(self.nodes):
            if problem := text_problem(node):
                raise BookError(f"network.nodes[{at}]", problem)
            if node in seen:
                raise BookError(f"network.nodes[{at}]", f"{node!r} is there twice")
            seen.add(node)

    def _check_price_bounds(self) -> None:
        low, high = PRICE_RANGE
        for field, bound in (
            ("priceFloorMicroPerKWh", self.price_floor_micro_per_kwh),
            ("priceCapMicroPerKWh", self.price_cap_micro_per_kwh),
        ):
            if not is_whole(bound):
                raise BookError(f"network.{field}", f"must be a whole number, not {bound!r}")
            if not low <= bound <= high:
                raise BookError(f"network.{field}", f"{bound} is out of range {low} to {high}")
        if self.price_floor_micro_per_kwh > self.price_cap_micro_per_kwh:
            raise BookError(
                "network.priceFloorMicroPerKWh",
                f"{self.price_floor_micro_per_kwh} is above the cap "
                f"{self.price_cap_micro_per_kwh}; the floor must not exceed it",
            )

    def _endpoints(self, field: str, names: list[str]) -> Column:
        for at, name in enumerate(names):
            if text_problem(name) or name not in self.node_index:
                raise BookError(
                    f"network.links[{at}].{field}", f"{name!r} is not a node of the network"
                )
        return column((self.node_index[name] for name in names), self._complaint(field))

    @staticmethod
    def _complaint(field: str) -> Complaint:
        return lambda at, problem: BookError(f"network.links[{at}].{field}", problem)
