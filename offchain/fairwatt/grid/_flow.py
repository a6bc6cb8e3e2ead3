"""AC power flows of a day: voltages, loadings, and what goes beyond the bounds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from fairwatt.errors import GridError
from fairwatt.grid._extra import pandapower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairwatt.community import Array
    from fairwatt.grid._grid import Bounds, Grid

__all__ = ["Kind", "PowerFlow", "Violation", "run"]

Kind: TypeAlias = Literal["voltage above", "voltage below", "line", "transformer"]
_KW_PER_MW: Final = 1000
_SETTLED: Final = 1e-9
"""Of voltages (per unit) and loadings (percent): below it a bound is kept."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A bound that a power flow does not keep.

    Attributes
    ----------
    kind
        Which bound.
    name
        The bus, line or transformer.
    zone
        Position of its zone.
    period
        When.
    value, bound
        What it is and what it may be: per unit of the nominal voltage, or percent of the rating.
    """

    kind: Kind
    name: str
    zone: int
    period: int
    value: float
    bound: float

    @property
    def excess(self) -> float:
        """By how much, in the unit of the bound."""
        return abs(self.value - self.bound)


@dataclass(frozen=True, eq=False)
class PowerFlow:
    """Voltages and loadings of all periods.

    Attributes
    ----------
    grid
        Of which grid.
    voltage_pu
        At each low-voltage bus, of the nominal one, shape (buses, periods).
    loading_percent
        Of each element, of its rated current, shape (elements, periods).
    losses_kw
        Of all elements together, shape (periods,).
    """

    grid: Grid
    voltage_pu: Array
    loading_percent: Array
    losses_kw: Array

    def violations(self, bounds: Bounds) -> tuple[Violation, ...]:
        """Everything beyond the bounds, period by period, the transformer and lines first."""
        return tuple(sorted(self._violations(bounds), key=lambda each: each.period))

    def _violations(self, bounds: Bounds) -> Iterator[Violation]:
        for at, element in enumerate(self.grid.elements):
            bound = bounds.transformer_percent if element.is_transformer else bounds.line_percent
            kind: Kind = "transformer" if element.is_transformer else "line"
            for period in np.flatnonzero(self.loading_percent[at] > bound + _SETTLED).tolist():
                value = float(self.loading_percent[at, period])
                yield Violation(kind, element.name, element.zone, period, value, bound)
        for at, bus in enumerate(self.grid.buses):
            zone, voltages = int(self.grid.bus_zone[at]), self.voltage_pu[at]
            for period in np.flatnonzero(voltages > bounds.highest_pu + _SETTLED).tolist():
                value, bound = float(voltages[period]), bounds.highest_pu
                yield Violation("voltage above", bus, zone, period, value, bound)
            for period in np.flatnonzero(voltages < bounds.lowest_pu - _SETTLED).tolist():
                value, bound = float(voltages[period]), bounds.lowest_pu
                yield Violation("voltage below", bus, zone, period, value, bound)


def run(
    grid: Grid, draw_kw: Array, reactive_kvar: Array, progress: Callable[[int], None]
) -> PowerFlow:
    """Run pandapower for every period; see `Grid.flow`."""
    pp, net = pandapower(), grid.net
    periods = draw_kw.shape[1]
    voltage = np.empty((len(grid.buses), periods))
    loading = np.empty((len(grid.elements), periods))
    losses = np.empty(periods)
    buses = net.load.bus.to_numpy()
    for period in range(periods):
        net.load["p_mw"] = draw_kw[:, period] / _KW_PER_MW
        net.load["q_mvar"] = reactive_kvar[:, period] / _KW_PER_MW
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pp.runpp(net, numba=False, init="results" if period else "auto")
        except pp.LoadflowNotConverged as error:
            raise GridError(
                f"{grid.name}: no power flow exists in period {period}; the grid cannot carry "
                f"{draw_kw[:, period].sum():,.1f} kW"
            ) from error
        voltage[:, period] = net.res_bus.vm_pu.loc[buses]
        loading[0, period] = net.res_trafo.loading_percent.iloc[0]
        loading[1:, period] = net.res_line.loading_percent
        losses[period] = (net.res_trafo.pl_mw.sum() + net.res_line.pl_mw.sum()) * _KW_PER_MW
        progress(period + 1)
    return PowerFlow(grid, voltage, loading, losses)
