"""Capacities of links that keep a day within the bounds of its grid.

Begin with what the gates carry at their rated current and the highest voltage allowed, which is too
much. Then, until nothing is violated:

    clear the day within the capacities, run its power flow,
    and lower the gates behind which something is beyond its bound.

Loading is nearly in proportion to what passes a gate: where F passes it while a line or the
transformer is loaded with L and B is allowed, it asks for F B / L. A voltage v beyond its bound b
has risen (or fallen) gate by gate on its way from the voltage of an idle grid, by d_a over the gate
a while F_a passes it. A kW less through one gate is a kW less through those above it, and so

    (v - b) / (sum over the gate and those above it of d_a / F_a)

kW less bring it back; the nearest gate does it with the fewest. It is asked if that is half of what
passes it at most, otherwise the first one above of which that holds, or the one of which it is the
least part. It is never asked for less than half the flow at which v would reach b if all flows on
the way were scaled alike. Of the buses of a feeder that with the worst voltage of a period asks.

A gate may be asked for little in a period in which others do the harm. So only the periods count
in which most passes it, of those that ask for anything; what is then still beyond its bound is met
in the next round. Each time a gate is lowered by 0.2 % at least, and it is never raised: it falls
geometrically, and the search ends, with a power flow that shows no violation or with an error.
Where all energy that hurts stays behind a gate (panels at the end of a feeder serve homes at its
head, through a line too thin), no capacity of that gate helps, and the error asks for a node per
bus.

A capacity holds for all periods, as in a case or a market's network.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.errors import GridError
from fairwatt.grid._grid import Bounds
from fairwatt.grid._market import Capacities, settle_day

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairwatt.grid._flow import PowerFlow, Violation
    from fairwatt.grid._grid import Grid
    from fairwatt.grid._market import Day, Site

__all__ = ["Derived", "Round", "derive_capacities"]

_LEAST_STEP: Final = 0.998
_MOST_SHARE: Final = 0.5
_SOME_KW: Final = 1e-3
_MOST_ROUNDS: Final = 60


@dataclass(frozen=True, slots=True)
class Round:
    """One round of the search: how many violations a day had, and which gates were lowered."""

    violations: int
    lowered: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Derived:
    """A day without limits, and one within the capacities that were found.

    Attributes
    ----------
    bounds
        What is allowed.
    before, flow_before
        The day without limits, and its power flow.
    after, flow_after
        The day within the capacities, and its power flow, which violates nothing.
    rounds
        What happened in between.
    """

    bounds: Bounds
    before: Day
    flow_before: PowerFlow
    after: Day
    flow_after: PowerFlow
    rounds: tuple[Round, ...]

    @property
    def capacities(self) -> Capacities:
        """What was found."""
        return self.after.capacities

    @property
    def cost(self) -> float:
        """What the limits cost peers and fund together, token."""
        return self.after.cost - self.before.cost


def derive_capacities(
    site: Site,
    bounds: Bounds | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Derived:
    """Find capacities under which the cleared day violates nothing.

    Parameters
    ----------
    bounds
        What is allowed.
    progress
        Called with what is done, and how many periods of how many are done.

    Raises
    ------
    GridError
        If no capacities of these nodes help.
    PlanInfeasible
        If loads that must be served cannot be within the bounds.
    """
    bounds = bounds or Bounds()
    before, flow_before = _settle(site, Capacities.unlimited(site.grid), "without limits", progress)
    capacities, rounds = _rated(site.grid, bounds), list[Round]()
    nothing = np.zeros((len(site.grid.buses), 1))
    idle_pu = float(site.grid.flow(nothing, nothing).voltage_pu[0, 0])
    for number in range(1, _MOST_ROUNDS + 1):
        day, flow = _settle(site, capacities, f"round {number}", progress)
        found = flow.violations(bounds)
        if not found:
            return Derived(bounds, before, flow_before, day, flow, tuple(rounds))
        lower = _lowered(day, flow, found, idle_pu)
        rounds.append(Round(len(found), _names(site.grid, capacities, lower)))
        capacities = lower
    raise GridError(
        f"{site.grid.name}: no capacities were found in {_MOST_ROUNDS} rounds; the last of them "
        f"left {rounds[-1].violations} violations"
    )


def _settle(
    site: Site,
    capacities: Capacities,
    title: str,
    progress: Callable[[str, int, int], None],
) -> tuple[Day, PowerFlow]:
    total = 2 * site.community.horizon.periods
    day = settle_day(site, capacities, lambda done: progress(title, done, total))
    return day, day.flow(lambda done: progress(title, total // 2 + done, total))


def _rated(grid: Grid, bounds: Bounds) -> Capacities:
    """What the gates carry at their rated current, the highest voltage, and power factor 1."""
    rated = grid.rated_kva() * bounds.highest_pu
    rated[1:2] *= bounds.transformer_percent / 100
    rated[2:] *= bounds.line_percent / 100
    return Capacities(rated, rated.copy())


def _names(grid: Grid, before: Capacities, after: Capacities) -> tuple[str, ...]:
    changed = (after.import_kw < before.import_kw) | (after.export_kw < before.export_kw)
    return tuple(grid.zones[at].name for at in np.flatnonzero(changed).tolist())


def _lowered(day: Day, flow: PowerFlow, found: tuple[Violation, ...], idle_pu: float) -> Capacities:
    """The capacities, lowered to what the violations ask the gates for."""
    asked = defaultdict[tuple[int, bool], list[tuple[float, float]]](list)
    for violation in _worst(day.site.grid, found):
        if violation.kind in {"line", "transformer"}:
            zone, part = _by_loading(day, violation)
        else:
            zone, part = _by_voltage(day, flow, violation, idle_pu)
        power = float(day.gate_kw[zone, violation.period])
        asked[zone, power > 0].append((abs(power), abs(power) * min(part, _LEAST_STEP)))
    towards, back = day.capacities.import_kw.copy(), day.capacities.export_kw.copy()
    for (zone, inwards), each in asked.items():
        most = max(power for power, _ in each)
        side = towards if inwards else back
        side[zone] = min(wanted for power, wanted in each if power >= _LEAST_STEP * most)
    return Capacities(towards, back)


def _worst(grid: Grid, found: tuple[Violation, ...]) -> list[Violation]:
    """Without the voltages of a feeder and period that are less beyond their bound than another."""
    result = [each for each in found if not each.kind.startswith("voltage")]
    worst: dict[tuple[str, int, int], Violation] = {}
    for each in found:
        if each.kind.startswith("voltage"):
            key = (each.kind, int(grid.feeder[each.zone]), each.period)
            if key not in worst or each.excess > worst[key].excess:
                worst[key] = each
    return [*result, *worst.values()]


def _by_loading(day: Day, violation: Violation) -> tuple[int, float]:
    """The gate of an element's zone, and to what part of its flow it should be lowered."""
    if abs(day.gate_kw[violation.zone, violation.period]) <= _SOME_KW:
        raise _helpless(day, violation)
    return violation.zone, violation.bound / violation.value


def _by_voltage(
    day: Day, flow: PowerFlow, violation: Violation, idle_pu: float
) -> tuple[int, float]:
    """The nearest gate that can bring a voltage back, and to what part of its flow."""
    grid, period = day.site.grid, violation.period
    sign = 1 if violation.kind == "voltage above" else -1
    way = list[tuple[float, float, int]]()  # part of the rise, power that causes it, zone
    zone, below = violation.zone, violation.value
    while (parent := grid.zones[zone].parent) is not None:
        above = idle_pu
        if grid.zones[parent].parent is not None:
            above = float(flow.voltage_pu[np.flatnonzero(grid.bus_zone == parent)[0], period])
        way.append((sign * (below - above), -sign * float(day.gate_kw[zone, period]), zone))
        zone, below = parent, above
    helpful = [at for at, (rise, power, _) in enumerate(way) if rise > 0 and power > _SOME_KW]
    if not helpful:
        raise _helpless(day, violation)
    shares = {}
    for at in helpful:
        per_kw = sum(rise / power for rise, power, _ in way[at:] if rise > 0 and power > 0)
        shares[at] = violation.excess / per_kw / way[at][1]
    enough = [at for at in helpful if shares[at] <= _MOST_SHARE]
    chosen = enough[0] if enough else min(helpful, key=shares.__getitem__)
    alike = (violation.bound - idle_pu) / (violation.value - idle_pu)
    return way[chosen][2], max(1 - shares[chosen], alike / 2, 0.0)


def _helpless(day: Day, violation: Violation) -> GridError:
    what = "voltage" if violation.kind.startswith("voltage") else "loading"
    return GridError(
        f"{day.site.grid.name}: no capacity helps against the {what} of {violation.name} in period "
        f"{violation.period}: what causes it stays behind its node, or the grid is beyond its "
        "bound when idle; try a node per bus"
    )
