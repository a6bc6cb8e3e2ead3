"""What section 3.2 says about the seventeen-peer system; hours count from 1, as in the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.models.moreno2021._instance import contracts
from fairwatt.models.moreno2021._statement import (
    EXACT,
    Finding,
    Results,
    Statement,
    kwh,
    listed,
)

if TYPE_CHECKING:
    from fairwatt.models.moreno2021._model import Dispatch

__all__ = ["STATEMENTS", "charging_cycles"]

_ALMOST_ALL: Final = 0.9
_COMMUNITIES: Final = {0: "1G", 1: "2G 2P 2C", 2: "2P 1C", 3: "1G 1P 1C", 4: "1P 3C"}
_STRIKING: Final = ("P6", "P8")
_NIGHT: Final = range(2, 7)
_PEAK: Final = {20, 21}


def charging_cycles(dispatch: Dispatch, peer: int) -> int:
    """How often a storage turns to charging: runs of hours in which it charges.

    Hours in which it rests within a run do not end it; only discharging does.
    """
    cycles, charging = 0, False
    for taken, given in zip(dispatch.charge_kwh[peer], dispatch.discharge_kwh[peer], strict=True):
        if taken - given > EXACT:
            cycles += not charging
            charging = True
        elif given - taken > EXACT:
            charging = False
    return cycles


def _composition(results: Results) -> Finding:
    roles = {case: result.roles() for case, result in results.items()}
    return Finding(set(roles.values()) == {"4G 6P 7C"}, listed(roles))


def _ungrouped(results: Results) -> Finding:
    members = results["I"].instance.members
    count = len({member.community for member in members})
    return Finding(count == len(members), f"{count} communities of one")


def _grouping(results: Results) -> Finding:
    roles = {
        case: {n: results[case].roles(n) for n in results[case].communities}
        for case in ("II", "III")
    }
    holds = all(found == _COMMUNITIES for found in roles.values())
    return Finding(holds, listed(roles["II"]))


def _cluster(results: Results) -> Finding:
    names = [results["III"].instance.members[at].name for at in results["III"].members(2)]
    return Finding(names == ["P4", "P5", "P6"], ", ".join(names))


def _same_imports(results: Results) -> Finding:
    one, other = results["I"], results["II"]
    consumers = [m.name for m in one.instance.members if m.role == "consumer"]
    imported = {name: one.imported(name) for name in consumers}
    worst = max(abs(other.imported(name) - energy) for name, energy in imported.items())
    return Finding(
        worst < EXACT and min(imported.values()) > 0,
        f"{sum(imported.values()):g} kWh in both, largest change {round(worst, 6):g} kWh",
    )


def _striking(results: Results) -> Finding:
    at = [results["I"].instance.index(name) for name in _STRIKING]
    holds, numbers = True, []
    for what in ("generation_kwh", "export_kwh"):
        before, after = (getattr(results[c].dispatch, what).sum(axis=1) for c in ("I", "II"))
        rise = after - before
        others = float(np.delete(rise, at).max())
        for name, n in zip(_STRIKING, at, strict=True):
            holds = holds and bool(
                rise[n] >= 100 and after[n] >= 2 * before[n] and others <= rise[n] / 2
            )
            numbers.append(f"{name} {what.split('_')[0]} {before[n]:g} -> {after[n]:g}")
    return Finding(holds, ", ".join(numbers))


def _difference(results: Results) -> Finding:
    one, other = (results[case].dispatch.objective for case in ("I", "II"))
    return Finding(
        abs(one - other - 11.264) < EXACT, f"{one:.6g} - {other:.6g} = {one - other:.6g}"
    )


def _curve(results: Results) -> Finding:
    result = results["III"]
    load = result.load_kwh.sum(axis=0)
    hours = result.instance.hours
    return Finding(
        load.size == 24 and hours == 1.0 and bool(np.ptp(load) > 0),
        f"{load.size} periods of {hours:g} h, {load.min():g} to {load.max():g} kWh",
    )


def _storage(results: Results) -> Finding:
    members = results["III"].instance.members
    found = {member.name: member.storage.energy_kwh for member in members if member.storage}
    return Finding(found == {"P3": 40.0, "P6": 60.0}, kwh(found))


def _pair_tariffs(results: Results) -> Finding:
    result = results["III"]
    agreed = {to: tariff for (of, to), tariff in contracts(result.community).items() if of == 3}
    sold = dict.fromkeys(agreed, 0.0)
    for (seller, buyer), energy in result.dispatch.trades_kwh.items():
        of, to = (result.instance.members[at].community for at in (seller, buyer))
        if of == 3 != to:
            sold[to] = sold.get(to, 0.0) + float(energy.sum())
    cheaper = {1, 2, 4} <= set(agreed) and all(
        agreed[4] < tariff for to, tariff in agreed.items() if to != 4
    )
    return Finding(
        cheaper and sold[4] > 0 and sum(sold.values()) - sold[4] < EXACT,
        f"tariffs of community 3: {listed(agreed)}; sold: {kwh(sold)}",
    )


def _community_5(results: Results) -> Finding:
    agreed = contracts(results["III"].community)
    buyers = sum(
        member.role != "producer"
        for at in results["III"].members(5)
        for member in [results["III"].instance.members[at]]
    )
    holds = buyers > 0 and (3, 5) in agreed and agreed[3, 4] < agreed[3, 5]
    return Finding(holds, f"{buyers} peers in a community 5")


def _cycles(results: Results) -> Finding:
    result = results["III"]
    found = {
        name: charging_cycles(result.dispatch, result.instance.index(name)) for name in ("P3", "P6")
    }
    return Finding(found == {"P3": 4, "P6": 1}, listed(found))


def _night(results: Results) -> Finding:
    """Compare peer 6 with the demand of communities without a night prosumer, peer 6's apart."""
    result = results["III"]
    hours = [hour - 1 for hour in _NIGHT]
    able = {
        member.community
        for member in result.instance.members
        if member.role == "prosumer" and member.community != 2 and member.most_kwh[hours].min() > 0
    }
    others = [at for at, m in enumerate(result.instance.members) if m.community not in able]
    demand = result.load_kwh[others][:, hours].sum(axis=0)
    share = float((result.generated("P6")[hours] / demand).min())
    within = [at for at, m in enumerate(result.instance.members) if m.community in able]
    local = result.dispatch.generation_kwh[within][:, hours].sum(axis=0)
    own = float((local / result.load_kwh[within][:, hours].sum(axis=0)).min()) if within else 0.0
    system = float((demand / result.load_kwh[:, hours].sum(axis=0)).min())
    return Finding(
        share >= _ALMOST_ALL and own >= _ALMOST_ALL and bool(able) and system >= 0.5,
        f"peer 6 generates {share:.1%} of it or more; it is {system:.1%} of the system's; "
        f"communities {', '.join(map(str, sorted(able)))} cover {own:.1%} of theirs",
    )


def _increase(results: Results) -> Finding:
    load = results["III"].load_kwh.sum(axis=0)
    rises = load[1:] / load[:-1] - 1
    hour = int(rises.argmax()) + 2
    largest = float(rises.max())
    return Finding(hour in {6, 7, 8} and largest >= 0.25, f"h {hour}: +{largest:.1%}")


def _starts(results: Results) -> Finding:
    p5 = results["III"].generated("P5")
    able = results["III"].instance.members[results["III"].instance.index("P5")].most_kwh
    running = np.flatnonzero(p5 > EXACT) + 1
    start = int(running[0]) if running.size else 0
    peak = int(np.flatnonzero(p5 >= p5.max() - EXACT)[0]) + 1
    rising = bool(np.all(np.diff(p5[6:12]) > EXACT))
    return Finding(
        start == 7 and peak == 12 and rising and bool(able[: start - 1].min(initial=1) > 0),
        f"starts at h {start}, {p5[6]:g} kWh; first at its peak of {p5.max():g} kWh at h {peak}",
    )


def _generator_by_role(results: Results) -> Finding:
    members = results["III"].instance.members
    found = [members[at].name for at in results["III"].members(2) if members[at].role == "producer"]
    return Finding(bool(found), f"{len(found)} producers; community 2 is {results['III'].roles(2)}")


def _falls(results: Results) -> Finding:
    result = results["III"]
    load, p6 = result.load_kwh.sum(axis=0), result.generated("P6")
    peak = {int(hour) + 1 for hour in np.argsort(load)[-2:]}
    falls = bool(np.all(np.diff(p6[20:]) < -EXACT))
    numbers = " -> ".join(f"{value:.1f}" for value in p6[20:])
    return Finding(
        peak == _PEAK and falls, f"peak at h {', '.join(map(str, sorted(peak)))}; peer 6: {numbers}"
    )


def _supplies(results: Results) -> Finding:
    result = results["III"]
    ours = result.dispatch.generation_kwh[result.members(2)].sum(axis=0)
    system = result.dispatch.generation_kwh.sum(axis=0)
    day, late = float(ours.sum() / system.sum()), float((ours / system)[21:].min())
    return Finding(
        min(day, late) >= _ALMOST_ALL, f"{day:.1%} of the day, {late:.1%} or more in h 22-24"
    )


STATEMENTS: Final = (
    Statement(
        "4 generation units (3 small-medium scale and the main grid), 6 prosumer and 7 consumer "
        "peers",
        "3.2", ("I", "II", "III"), _composition,
    ),
    Statement(
        "the grouping between peers is not initially considered",
        "3.2", ("I",), _ungrouped, "in case I every peer is a community of its own",
    ),
    Statement(
        "5 communities: Main Grid, community 1 (2 generators, 2 prosumers, 2 consumers), community "
        "2 (2 prosumers, 1 consumer), community 3 (one peer of each role), community 4 (3 "
        "consumers, 1 prosumer)",
        "3.2.2", ("II", "III"), _grouping, "0 is the main grid",
    ),
    Statement(
        "the imported power by consumer peers does not vary",
        "3.2.2", ("I", "II"), _same_imports, "case I against case II, each consumer",
    ),
    Statement(
        "the energy production and export from certain peers becomes striking, as is the case with "
        "peers 6 and 8",
        "3.2.2", ("I", "II"), _striking,
        "from case I to case II generation and exports of both at least double and rise by at "
        "least 100 kWh, and those of nobody else rise half as much",
    ),
    Statement(
        "the difference between the target values of both cases was $ 11.264",
        "3.2.2", ("I", "II"), _difference, "objective of case I less that of case II, to a "
        "millionth",
    ),
    Statement("a 24-h load curve is used", "3.2.3", ("III",), _curve),
    Statement(
        "40 kW and 60 kW can be stored in peers 3 and 6",
        "3.2.3", ("III",), _storage, "capacities of 40 and 60 kWh, and nobody else stores",
    ),
    Statement(
        "community 3 can sell energy to community 4 at a lower price compared to community 5",
        "3.2.3", ("III",), _community_5,
        "no community 5 is defined: the fifth is the main grid, which buys nothing; see the next",
        can_hold=False,
    ),
    Statement(
        "community 3 can sell energy to community 4 at a lower price compared to [others]; energy "
        "transactions may favor one exchange over another",
        "3.2.3", ("III",), _pair_tariffs,
        "its tariff to community 4 is lower than to any other community, and it sells there only",
    ),
    Statement(
        "peers 3 and 6 have 4 and 1 charging cycles in the 24 h",
        "3.2.3", ("III",), _cycles,
        "a cycle begins where a storage turns to charging, for the first time or after discharging",
    ),
    Statement(
        "in h 2-6 peer 6 covers almost all the demand of the system except for the communities "
        "that have prosumer peers that can operate at night",
        "3.2.3", ("III",), _night,
        "in each of these hours it generates at least 90 % of the demand of all communities but "
        "those, other than its own, with a prosumer whose generator can run then; these cover at "
        "least 90 % of their own; the former are at least half of the system",
    ),
    Statement(
        "close to h 7 there is a demand increase in the system",
        "3.2.3", ("III",), _increase,
        "the largest relative rise of the load of the day is at h 6, 7 or 8 and at least 25 %",
    ),
    Statement(
        "the small generator in community 2 starts working",
        "3.2.3", ("III",), _generator_by_role,
        "community 2 has no generator by role (3.2.2): read as the generator of its prosumer peer "
        "5; see the next",
        can_hold=False,
    ),
    Statement(
        "[peer 5] starts working [close to h 7], reaching its peak at h 12",
        "3.2.3", ("III",), _starts,
        "it could run before, first does at h 7, rises every hour, and is first at its largest "
        "power of the day at h 12",
    ),
    Statement(
        "once the demand curve falls after the peak hours (h 20 and 21), the production of peer 6 "
        "begins to decrease",
        "3.2.3", ("III",), _falls,
        "the load is largest in these two hours; from h 21 on peer 6 generates less every hour",
    ),
    Statement(
        "community 2 supplies almost all the energy of the system",
        "3.2.3", ("III",), _supplies,
        "at least 90 % of what is generated in the day, and in each of the hours 22 to 24",
    ),
    Statement(
        "its clustering (peers 4, 5 and 6)", "3.2.3", ("III",), _cluster, "they are community 2"
    ),
)  # fmt: skip
