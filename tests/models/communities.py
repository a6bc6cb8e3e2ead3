"""Random communities for Hypothesis: small, full of ties, with every kind of asset.

Energies are whole quarters of a kWh and prices whole cents, so that books of the same communities
are exact in whole numbers. Every community can be served unless a connection is too weak.
"""

from __future__ import annotations

from hypothesis import strategies as st

from fairwatt.community import (
    Community,
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    ShiftableLoad,
    Storage,
    Supplier,
)
from fairwatt.market import Link, Network

START = 1_704_067_200
HOUR = 3600


def quarters(low: int = 0, high: int = 12) -> st.SearchStrategy[float]:
    """kWh or kW in steps of 0.25."""
    return st.integers(low, high).map(lambda quarter: quarter / 4)


def cents(low: int = 0, high: int = 12) -> st.SearchStrategy[float]:
    """token/kWh in steps of 0.01."""
    return st.integers(low, high).map(lambda cent: cent / 100)


@st.composite
def communities(
    draw: st.DrawFn,
    *,
    couplings: bool = True,
    frictions: bool = True,
    quadratic: bool = False,
    max_peers: int = 5,
    max_periods: int = 4,
) -> Community:
    """Any community that can be served, connections apart.

    Parameters
    ----------
    couplings
        Whether assets may couple periods.
    frictions
        Whether there may be a fee, preferences, connection limits and loads curtailable in part.
    quadratic
        Whether generators may have quadratic costs.
    """
    periods = draw(st.integers(1, max_periods))
    nodes = tuple(f"z{at}" for at in range(draw(st.integers(1, 3))))
    network = draw(networks(nodes))
    suppliers = draw(st.lists(tariffs(periods), min_size=1, max_size=2))
    suppliers = tuple(Supplier(f"s{at}", *tariff) for at, tariff in enumerate(suppliers))
    peers = tuple(
        draw(some_peer(f"p{at}", nodes, len(suppliers), periods, couplings, frictions, quadratic))
        for at in range(draw(st.integers(1, max_peers)))
    )
    fee = draw(cents(0, 3)) if frictions else 0.0
    seconds = HOUR if not couplings else draw(st.sampled_from([HOUR, HOUR // 4]))
    return Community("random", Horizon(START, seconds, periods), network, suppliers, peers, fee)


@st.composite
def networks(draw: st.DrawFn, nodes: tuple[str, ...]) -> Network:
    """Any links among the nodes, closed and parallel ones among them."""
    pairs = [(one, other) for one in nodes for other in nodes if one != other]
    ends = st.sampled_from(pairs or [("", "")])
    link = st.builds(
        lambda ends, cents, quarters: Link(*ends, cents * 10_000, quarters * 250),
        ends, st.integers(0, 4), st.integers(0, 16),
    )  # fmt: skip
    links = draw(st.lists(link, max_size=5)) if pairs else []
    return Network(nodes, tuple(links), -(10**6), 10**6)


@st.composite
def tariffs(draw: st.DrawFn, periods: int) -> tuple[list[float], list[float]]:
    """Retail and feed-in tariffs, feed-in never the larger; negative at times."""
    pairs = draw(st.lists(st.tuples(cents(-3, 15), cents(-3, 15)), min_size=periods,
                          max_size=periods))  # fmt: skip
    return [max(pair) for pair in pairs], [min(pair) for pair in pairs]


@st.composite
def some_peer(
    draw: st.DrawFn, name: str, nodes: tuple[str, ...], suppliers: int, periods: int,
    couplings: bool, frictions: bool, quadratic: bool,
) -> Peer:  # fmt: skip
    supplier = draw(st.one_of(st.integers(0, suppliers - 1), st.none()))
    free = [pv(periods), generator(periods, quadratic), curtailable(periods, st.just(1.0))]
    if couplings:
        free.append(storage())
    forced = [st.builds(Load, series(quarters(), periods))]
    if frictions:
        forced += [curtailable(periods, quarters(0, 4)), running_generator(periods)]
    if couplings:
        forced += [shiftable(periods), vehicle(periods), heat_pump(periods)]
    kinds = free if supplier is None else free + forced
    assets = draw(st.lists(st.one_of(kinds), max_size=3))
    extra = {}
    if frictions:
        extra = {
            "connection_kw": draw(st.one_of(st.none(), quarters(4, 60))),
            "import_preference_per_kwh": draw(cents(0, 2)),
            "export_preference_per_kwh": draw(cents(0, 2)),
        }
    return Peer(
        name, "prosumer", draw(st.sampled_from(nodes)), tuple(assets),
        supplier=None if supplier is None else f"s{supplier}", **extra,
    )  # fmt: skip


def series(values: st.SearchStrategy[float], periods: int) -> st.SearchStrategy[list[float]]:
    """One value per period."""
    return st.lists(values, min_size=periods, max_size=periods)


def pv(periods: int) -> st.SearchStrategy[Photovoltaic]:
    return st.builds(Photovoltaic, series(quarters(), periods))


def generator(periods: int, quadratic: bool) -> st.SearchStrategy[Generator]:
    curve = cents(0, 4) if quadratic else st.just(0.0)
    return st.builds(Generator, series(quarters(), periods), series(cents(-1, 12), periods), curve)


def running_generator(periods: int) -> st.SearchStrategy[Generator]:
    """A generator that cannot be switched off."""
    return st.builds(
        lambda least, more, cost: Generator(least + more, cost, least_power_kw=least),
        quarters(0, 4), quarters(), cents(),
    )  # fmt: skip


def curtailable(
    periods: int, share: st.SearchStrategy[float]
) -> st.SearchStrategy[CurtailableLoad]:
    return st.builds(
        CurtailableLoad, series(quarters(), periods), series(cents(0, 20), periods), share
    )


@st.composite
def shiftable(draw: st.DrawFn, periods: int) -> ShiftableLoad:
    first = draw(st.integers(0, periods - 1))
    last = draw(st.integers(first, periods - 1))
    power = draw(quarters(1))
    return ShiftableLoad(power / 4 * draw(st.integers(0, last + 1 - first)), power, first, last)


@st.composite
def vehicle(draw: st.DrawFn, periods: int) -> ElectricVehicle:
    arrival = draw(st.integers(0, periods - 1))
    departure = draw(st.integers(arrival + 1, periods))
    power, efficiency = draw(quarters(1)), draw(st.sampled_from([1.0, 0.9, 0.5]))
    energy = power / 4 * efficiency * draw(st.integers(0, departure - arrival))
    return ElectricVehicle(energy, power, arrival, departure, efficiency)


@st.composite
def storage(draw: st.DrawFn) -> Storage:
    """A battery that need not be fuller at the end than at the start."""
    energy = draw(quarters(1, 12))
    initial = draw(st.sampled_from([0.0, energy / 2, energy]))
    efficiency = st.sampled_from([1.0, 0.9, 0.8])
    return Storage(
        energy, draw(quarters(0, 8)), draw(quarters(0, 8)), draw(efficiency), draw(efficiency),
        initial, draw(st.sampled_from([None, 0.0])), draw(cents(0, 2)),
    )  # fmt: skip


@st.composite
def heat_pump(draw: st.DrawFn, periods: int) -> HeatPump:
    """A heat pump strong enough to follow its profile."""
    energy = draw(series(st.integers(0, 3).map(lambda sixteenth: sixteenth / 16), periods))
    return HeatPump(
        energy, draw(quarters(3)), draw(quarters(0, 2)), draw(quarters(0, 2)),
        draw(st.sampled_from([0.0, 0.1, 1.0])),
    )  # fmt: skip
