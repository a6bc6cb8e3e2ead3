"""A radial low-voltage grid, and how it is cut into the nodes of a market.

The nodes form a tree, each with a *gate*, the one element through which it is fed:

    grid  --transformer-->  station  --first line-->  feeder 1, feeder 2, ...

or, cut at every bus, `station` and one node per bus behind it, each fed by one line.
"""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from fairwatt.errors import GridError
from fairwatt.grid._flow import PowerFlow, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from fairwatt.community import Array

__all__ = ["ROOT", "STATION", "Bounds", "Cut", "Element", "Grid", "Zone"]

ROOT, STATION = "grid", "station"
"""Names of the first two nodes: the medium voltage, and the low-voltage side of the station."""
Cut: TypeAlias = Literal["feeder", "bus"]
_SQRT3: Final = 3**0.5


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a network operator allows.

    Attributes
    ----------
    lowest_pu, highest_pu
        Voltage at low-voltage buses, of the nominal one; EN 50160 says 0.9 to 1.1.
    line_percent, transformer_percent
        Largest loading, of the rated current.
    """

    lowest_pu: float = 0.9
    highest_pu: float = 1.1
    line_percent: float = 100.0
    transformer_percent: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.lowest_pu < self.highest_pu:
            raise GridError(
                f"the voltage band must not be empty, from {self.lowest_pu:g} to "
                f"{self.highest_pu:g} of the nominal voltage"
            )
        if not min(self.line_percent, self.transformer_percent) > 0:
            raise GridError("the largest loading must be above 0 %")


@dataclass(frozen=True, slots=True)
class Element:
    """A line or the transformer.

    Attributes
    ----------
    name
        As the grid calls it.
    is_transformer
        Whether it is the transformer.
    zone
        Position of the zone it belongs to: a gate to the one it feeds.
    rated_kva
        What it carries at its rated current and nominal voltage.
    """

    name: str
    is_transformer: bool
    zone: int
    rated_kva: float


@dataclass(frozen=True, slots=True)
class Zone:
    """A node of the market: a connected part of the grid that is fed through one element.

    Attributes
    ----------
    name
        Of the node.
    parent
        Position of the zone that feeds it; None for the first one.
    gate
        Position of the element between them; None for the first one.
    """

    name: str
    parent: int | None
    gate: int | None


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid for power flows. Make it with `Grid.of`.

    Attributes
    ----------
    name
        Of the grid.
    zones
        Nodes of the market, parents before children: `ROOT`, `STATION`, then the others.
    buses
        Names of the low-voltage buses, the station's first.
    bus_zone
        Position of the zone of each of them, shape (buses,).
    elements
        The transformer, then the lines.
    net
        The network in pandapower, with one load at each low-voltage bus and nothing else.
    """

    name: str
    zones: tuple[Zone, ...]
    buses: tuple[str, ...]
    bus_zone: NDArray[np.int64]
    elements: tuple[Element, ...]
    net: Any

    @classmethod
    def of(cls, name: str, net: Any, cut: Cut = "feeder") -> Grid:
        """Make a grid of a network in pandapower; its loads and generation are left out.

        Parameters
        ----------
        cut
            "feeder": a node per line that leaves the station; "bus": one per bus.

        Raises
        ------
        GridError
            If it is not radial behind one transformer.
        """
        return _Surveyor(name, net, cut).grid()

    @cached_property
    def bus_index(self) -> Mapping[str, int]:
        """Position of every bus."""
        return {bus: at for at, bus in enumerate(self.buses)}

    @cached_property
    def above(self) -> Array:
        """Whether zone i lies on the way from the grid to zone j, shape (zones, zones)."""
        result = np.eye(len(self.zones))
        for at, zone in enumerate(self.zones):
            if zone.parent is not None:
                result[:, at] += result[:, zone.parent]
        return result

    @cached_property
    def feeder(self) -> NDArray[np.int64]:
        """The zone right behind the station on the way to each zone, shape (zones,).

        For the first two it is they themselves.
        """
        result = np.arange(len(self.zones))
        for at, zone in enumerate(self.zones):
            if zone.parent is not None and zone.parent > 1:
                result[at] = result[zone.parent]
        return result

    def rated_kva(self) -> Array:
        """What the gate of each zone carries, shape (zones,); infinite for the first one."""
        return np.array(
            [np.inf if z.gate is None else self.elements[z.gate].rated_kva for z in self.zones]
        )

    def flow(
        self,
        draw_kw: Array,
        reactive_kvar: Array,
        progress: Callable[[int], None] = lambda _: None,
    ) -> PowerFlow:
        """Run the AC power flow of every period.

        Parameters
        ----------
        draw_kw, reactive_kvar
            What is drawn at each bus, shape (buses, periods); negative: fed in.
        progress
            Called with the number of every period that is done.

        Raises
        ------
        GridError
            If there is no solution, with the period.
        """
        return run(self, draw_kw, reactive_kvar, progress)


@dataclass(eq=False)
class _Surveyor:
    """Walks over a network from its transformer and notes what it finds."""

    name: str
    source: Any
    cut: Cut

    def grid(self) -> Grid:
        net = self.source
        trafo = net.trafo[net.trafo.in_service]
        if len(trafo) != 1 or len(net.ext_grid) != 1:
            raise self._error("must have one transformer and one connection to the grid")
        station = int(trafo.lv_bus.iloc[0])
        lines = self._lines()
        order, parents, gates = self._walk(station, lines)
        zones = [Zone(ROOT, None, None), Zone(STATION, 0, 0)]
        zone_of = {station: 1}
        elements = [
            Element(
                f"Trafo {trafo.index[0]}" if trafo.name.iloc[0] is None else trafo.name.iloc[0],
                True,
                1,
                float(trafo.sn_mva.iloc[0] * trafo.get("parallel", 1).iloc[0]) * 1000,
            )
        ]
        for bus in order[1:]:
            line, parent = gates[bus], parents[bus]
            if parent == station or self.cut == "bus":
                label = f"feeder {len(zones) - 1}" if self.cut == "feeder" else self._bus(bus)
                zone_of[bus] = len(zones)
                zones.append(Zone(label, zone_of[parent], len(elements)))
            else:
                zone_of[bus] = zone_of[parent]
            kva = float(
                _SQRT3
                * net.bus.vn_kv.at[bus]
                * net.line.max_i_ka.at[line]
                * net.line.df.at[line]
                * net.line.parallel.at[line]
            )
            elements.append(Element(self._line(line), False, zone_of[bus], 1000 * kva))
        lines_in_order = [gates[bus] for bus in order[1:]]
        return Grid(
            name=self.name,
            zones=tuple(zones),
            buses=tuple(self._bus(bus) for bus in order),
            bus_zone=np.array([zone_of[bus] for bus in order], np.int64),
            elements=tuple(elements),
            net=self._bare(order, lines_in_order),
        )

    def _error(self, problem: str) -> GridError:
        return GridError(f"{self.name}: {problem}")

    def _bus(self, bus: int) -> str:
        return _short(self.source.bus.name.at[bus], f"Bus {bus}")

    def _line(self, line: int) -> str:
        return _short(self.source.line.name.at[line], f"Line {line}")

    def _lines(self) -> dict[int, tuple[int, int]]:
        """Lines in service with both ends, without those that a switch opens."""
        net = self.source
        closed_between_buses = (net.switch.et == "b") & net.switch.closed
        if closed_between_buses.any():
            raise self._error("has switches between buses; merge these buses first")
        opened = set(net.switch.element[(net.switch.et == "l") & ~net.switch.closed])
        table = net.line[net.line.in_service]
        return {
            int(line): (int(start), int(end))
            for line, start, end in zip(table.index, table.from_bus, table.to_bus, strict=True)
            if line not in opened
        }

    def _walk(
        self, station: int, lines: Mapping[int, tuple[int, int]]
    ) -> tuple[list[int], dict[int, int], dict[int, int]]:
        """Buses feeder by feeder, with the bus and the line that each is fed from."""
        neighbours: dict[int, list[tuple[int, int]]] = {}
        for line, (start, end) in lines.items():
            neighbours.setdefault(start, []).append((line, end))
            neighbours.setdefault(end, []).append((line, start))
        order, parents, gates = [station], dict[int, int](), dict[int, int]()
        starts = sorted(neighbours.get(station, ()), key=lambda pair: self._rank(pair[1]))
        for first_line, first in starts:
            queue = deque([(first_line, station, first)])
            while queue:
                line, parent, bus = queue.popleft()
                if bus in gates or bus == station:
                    raise self._error(f"is not radial: {self._line(line)} closes a ring")
                order.append(bus)
                parents[bus], gates[bus] = parent, line
                queue.extend((way, bus, end) for way, end in neighbours[bus] if way != line)
        missing = {bus for ends in lines.values() for bus in ends} - {*order}
        if missing:
            raise self._error(f"{self._bus(min(missing))} is not connected to the station")
        return order, parents, gates

    def _rank(self, bus: int) -> tuple[int, str]:
        """Buses in the order of their numbers."""
        name = self._bus(bus)
        digits = "".join(letter if letter.isdigit() else " " for letter in name).split()
        return (int(digits[-1]) if digits else 0, name)

    def _bare(self, order: list[int], lines: list[int]) -> Any:
        """The network with one load per low-voltage bus, in their order, and lines in theirs."""
        profiles = self.source.get("profiles")  # a year of them: not copied
        net = deepcopy(self.source, {id(profiles): None})
        for table in ("load", "sgen", "storage", "gen", "shunt", "measurement"):
            if table in net and len(net[table]):
                net[table] = net[table].iloc[:0].copy()
        if "profiles" in net:
            del net["profiles"]
        net.switch = net.switch.iloc[:0].copy()
        net.line = net.line.loc[lines].copy()
        net.trafo = net.trafo[net.trafo.in_service].copy()
        from fairwatt.grid._extra import pandapower  # noqa: PLC0415 - slow to load

        pandapower().create_loads(net, order, p_mw=0.0, q_mvar=0.0)
        return net


def _short(name: object, otherwise: str) -> str:
    """A name without the number of its grid: `LV1.101 Bus 7` is `Bus 7` within it."""
    if not isinstance(name, str) or not name.strip():
        return otherwise
    head, _, rest = name.strip().partition(" ")
    return rest if rest and head.startswith(("LV", "MV")) and "." in head else name.strip()
