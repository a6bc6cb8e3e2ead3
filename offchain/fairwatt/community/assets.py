"""What stands behind a peer's meter, each kind with the rules its schedule must keep.

For a period t of h hours an asset draws d_t or injects g_t kWh. Parameters are checked where an
asset is made, lengths of series where it joins a `Community`. The rules below are the model:
the planner and its Pyomo text state the same equations.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

import numpy as np

from fairwatt.community._series import Array, Series, fraction, number, over, series
from fairwatt.errors import CommunityError

__all__ = [
    "Asset",
    "CurtailableLoad",
    "ElectricVehicle",
    "Generator",
    "HeatPump",
    "Load",
    "Photovoltaic",
    "ShiftableLoad",
    "Storage",
]

_ANY: float = float("inf")


class Asset(ABC):
    """Base of all kinds of assets.

    Attributes
    ----------
    kind
        How cases and tables call it.
    couples_periods
        Whether what it does in one period limits what it can do in another.
    series_fields
        Parameters that have one value, or one per period.
    """

    kind: ClassVar[str]
    couples_periods: ClassVar[bool] = False
    series_fields: ClassVar[tuple[str, ...]] = ()

    def fit(self, periods: int) -> None:
        """Require that every series has one value, or one per period.

        Raises
        ------
        CommunityError
            With the field as its path.
        """
        for field in self.series_fields:
            over(getattr(self, field), periods, field)

    def over(self, field: str, periods: int) -> Array:
        """Values of a series, shape (periods,), read-only."""
        return over(getattr(self, field), periods, field)

    def between(self, first: int, periods: int) -> Self | None:
        """What of it falls into some of its periods; None if nothing does.

        Limits over time (what a storage holds at the end, what a heat pump makes up for) then hold
        for these periods by themselves.
        """
        stop = first + periods
        cut = {
            name: values[first:stop]
            for name in self.series_fields
            if np.ndim(values := getattr(self, name))
        }
        return replace(self, **cut) if cut else self  # type: ignore[type-var]

    def _take(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def _take_series(self, field: str, low: float = 0.0, high: float = _ANY) -> None:
        self._take(field, series(getattr(self, field), field, low, high))

    def _take_number(self, field: str, low: float = 0.0, high: float = _ANY) -> None:
        self._take(field, number(getattr(self, field), field, low, high))

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            text = f"({value.size} values)" if getattr(value, "ndim", 0) else f"{value}"
            shown.append(f"{field.name}={text}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, eq=False, repr=False)
class Load(Asset):
    """Consumption that must be served: d_t = energy_t.

    Parameters
    ----------
    energy_kwh
        Per period, >= 0.
    """

    energy_kwh: Series

    kind: ClassVar[str] = "load"
    series_fields: ClassVar[tuple[str, ...]] = ("energy_kwh",)

    def __post_init__(self) -> None:
        self._take_series("energy_kwh")


@dataclass(frozen=True, eq=False, repr=False)
class CurtailableLoad(Asset):
    """Consumption that may go unserved at a price: (1 - share) energy_t <= d_t <= energy_t.

    What is not served costs its value: value_t (energy_t - d_t).

    Parameters
    ----------
    energy_kwh
        Wanted per period, >= 0.
    value_per_kwh
        What serving it is worth, token/kWh; above it the load goes off.
    share
        Largest part that may go unserved, 0 to 1.
    """

    energy_kwh: Series
    value_per_kwh: Series
    share: float = 1.0

    kind: ClassVar[str] = "curtailable-load"
    series_fields: ClassVar[tuple[str, ...]] = ("energy_kwh", "value_per_kwh")

    def __post_init__(self) -> None:
        self._take_series("energy_kwh")
        self._take_series("value_per_kwh", -_ANY)
        self._take_number("share", high=1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Photovoltaic(Asset):
    """Generation of sun or wind: 0 <= g_t <= energy_t, free of cost.

    Parameters
    ----------
    energy_kwh
        Available per period, >= 0.
    """

    energy_kwh: Series

    kind: ClassVar[str] = "pv"
    series_fields: ClassVar[tuple[str, ...]] = ("energy_kwh",)

    def __post_init__(self) -> None:
        self._take_series("energy_kwh")


@dataclass(frozen=True, eq=False, repr=False)
class Generator(Asset):
    """Generation at a convex cost: h least_t <= g_t <= h power_t, cost c_t g_t + a g_t^2.

    Moreno et al. 2021, eq. 2, with the quadratic costs of FleXunity D3.1, eq. 3a.

    Parameters
    ----------
    power_kw
        Largest power per period, >= 0.
    cost_per_kwh
        c, token/kWh.
    quadratic_cost_per_kwh2
        a, token/kWh^2, >= 0: a cost that falls with the energy is not convex.
    least_power_kw
        Smallest power, from 0 to `power_kw`: it cannot be switched off.
    """

    power_kw: Series
    cost_per_kwh: Series
    quadratic_cost_per_kwh2: float = 0.0
    least_power_kw: Series = 0.0

    kind: ClassVar[str] = "generator"
    series_fields: ClassVar[tuple[str, ...]] = ("power_kw", "cost_per_kwh", "least_power_kw")

    def __post_init__(self) -> None:
        self._take_series("power_kw")
        self._take_series("cost_per_kwh", -_ANY)
        self._take_series("least_power_kw")
        self._take_number("quadratic_cost_per_kwh2", -_ANY)
        if self.quadratic_cost_per_kwh2 < 0:
            raise CommunityError(
                "quadratic_cost_per_kwh2",
                f"{self.quadratic_cost_per_kwh2:g} is negative: the cost would not be convex, and "
                "no optimum could be proved; use 0 or more",
            )

    def fit(self, periods: int) -> None:
        """Require series and bounds that fit; as `Asset.fit`."""
        super().fit(periods)
        above = self.over("least_power_kw", periods) > self.over("power_kw", periods)
        if above.any():
            raise CommunityError(
                f"least_power_kw[{int(above.argmax())}]", "is above power_kw of that period"
            )


@dataclass(frozen=True, eq=False, repr=False)
class ShiftableLoad(Asset):
    """A task that needs energy within a window: sum of d_t = energy, 0 <= d_t <= h power.

    Parameters
    ----------
    energy_kwh
        Needed in all, >= 0.
    power_kw
        Largest power, >= 0.
    first_period, last_period
        Window in which it may run, both included, counted from 0.
    """

    energy_kwh: float
    power_kw: float
    first_period: int
    last_period: int

    kind: ClassVar[str] = "shiftable-load"
    couples_periods: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._take_number("energy_kwh")
        self._take_number("power_kw")
        _require_window(self.first_period, self.last_period, "last_period", "first_period")

    def between(self, first: int, periods: int) -> Self | None:
        """Its window as far as it falls into these periods, with that part of the energy."""
        begin, end = _overlap(self.first_period, self.last_period + 1, first, periods)
        if begin >= end:
            return None
        share = (end - begin) / (self.last_period + 1 - self.first_period)
        energy = share * self.energy_kwh
        return replace(self, energy_kwh=energy, first_period=begin, last_period=end - 1)

    def fit(self, periods: int) -> None:
        """Require series and bounds that fit; as `Asset.fit`."""
        super().fit(periods)
        _require_within(self.last_period, periods, "last_period")


@dataclass(frozen=True, eq=False, repr=False)
class ElectricVehicle(Asset):
    """Charging while the vehicle is there: efficiency x sum of d_t = energy, 0 <= d_t <= h power.

    Parameters
    ----------
    energy_kwh
        To be in the battery more at departure than at arrival, >= 0.
    power_kw
        Largest charging power at the meter, >= 0.
    arrival_period, departure_period
        It charges from the first, and is gone at the start of the second; counted from 0.
    efficiency
        Battery over meter, more than 0, at most 1.
    """

    energy_kwh: float
    power_kw: float
    arrival_period: int
    departure_period: int
    efficiency: float = 1.0

    kind: ClassVar[str] = "ev"
    couples_periods: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._take_number("energy_kwh")
        self._take_number("power_kw")
        self._take("efficiency", fraction(self.efficiency, "efficiency"))
        if self.departure_period <= self.arrival_period:
            raise CommunityError(
                "departure_period",
                f"it leaves at the start of period {self.departure_period}, before it could charge "
                f"after its arrival in period {self.arrival_period}",
            )
        _require_window(
            self.arrival_period, self.departure_period - 1, "departure_period", "arrival_period"
        )

    def between(self, first: int, periods: int) -> Self | None:
        """Its stay as far as it falls into these periods, with that part of the energy."""
        begin, end = _overlap(self.arrival_period, self.departure_period, first, periods)
        if begin >= end:
            return None
        share = (end - begin) / (self.departure_period - self.arrival_period)
        energy = share * self.energy_kwh
        return replace(self, energy_kwh=energy, arrival_period=begin, departure_period=end)

    def fit(self, periods: int) -> None:
        """Require series and bounds that fit; as `Asset.fit`."""
        super().fit(periods)
        _require_within(self.departure_period - 1, periods, "departure_period")


@dataclass(frozen=True, eq=False, repr=False)
class Storage(Asset):
    """A battery (Moreno et al. 2021, eq. 7, with losses and a cost of wear).

        S_t = S_{t-1} + eta_c d_t - g_t / eta_d,   0 <= S_t <= energy,   S_last >= final
        0 <= d_t <= h charge_kw,   0 <= g_t <= h discharge_kw,   cost w g_t

    Nothing forbids charging and discharging in one period. With losses, and prices that are not
    negative, it pays only where a storage thereby carries energy from one supplier's tariff to a
    dearer one of another; a community with one tariff never does both.

    Parameters
    ----------
    energy_kwh
        Capacity, >= 0.
    charge_kw, discharge_kw
        Largest powers at the meter, >= 0.
    charge_efficiency, discharge_efficiency
        eta_c, eta_d: more than 0, at most 1.
    initial_kwh
        S before the first period.
    final_kwh
        Least S after the last; None: as much as at the start.
    cost_per_kwh
        w, wear per kWh discharged, token/kWh, >= 0.
    """

    energy_kwh: float
    charge_kw: float
    discharge_kw: float
    charge_efficiency: float = 1.0
    discharge_efficiency: float = 1.0
    initial_kwh: float = 0.0
    final_kwh: float | None = None
    cost_per_kwh: float = 0.0

    kind: ClassVar[str] = "storage"
    couples_periods: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for field in ("energy_kwh", "charge_kw", "discharge_kw", "cost_per_kwh"):
            self._take_number(field)
        for field in ("charge_efficiency", "discharge_efficiency"):
            self._take(field, fraction(getattr(self, field), field))
        if self.final_kwh is None:
            self._take("final_kwh", self.initial_kwh)
        for field in ("initial_kwh", "final_kwh"):
            self._take_number(field)
            if getattr(self, field) > self.energy_kwh:
                raise CommunityError(
                    field,
                    f"{getattr(self, field):g} kWh do not fit into {self.energy_kwh:g} kWh",
                )

    @property
    def least_final_kwh(self) -> float:
        """Least state after the last period, kWh."""
        return self.initial_kwh if self.final_kwh is None else self.final_kwh


@dataclass(frozen=True, eq=False, repr=False)
class HeatPump(Asset):
    """Heating or cooling that may run ahead of or behind its profile within comfort bounds.

        D_t = (1 - loss)^h D_{t-1} + d_t - energy_t,   -behind <= D_t <= ahead,   D_last >= 0
        0 <= d_t <= h power

    D is energy in the building beyond the comfort profile, in kWh of electricity.

    Parameters
    ----------
    energy_kwh
        Electricity per period that keeps the room at its set point, >= 0.
    power_kw
        Largest power, >= 0.
    ahead_kwh, behind_kwh
        Comfort bounds, >= 0.
    loss_per_hour
        Part of D that the building loses per hour, 0 to 1.
    """

    energy_kwh: Series
    power_kw: float
    ahead_kwh: float
    behind_kwh: float = 0.0
    loss_per_hour: float = 0.0

    kind: ClassVar[str] = "heat-pump"
    couples_periods: ClassVar[bool] = True
    series_fields: ClassVar[tuple[str, ...]] = ("energy_kwh",)

    def __post_init__(self) -> None:
        self._take_series("energy_kwh")
        for field in ("power_kw", "ahead_kwh", "behind_kwh"):
            self._take_number(field)
        self._take_number("loss_per_hour", high=1.0)


def _overlap(begin: int, end: int, first: int, periods: int) -> tuple[int, int]:
    """What of a window falls into some periods, counted from the first of them."""
    return max(begin - first, 0), min(end - first, periods)


def _require_window(first: int, last: int, last_field: str, first_field: str) -> None:
    for field, period in ((first_field, first), (last_field, last)):
        if isinstance(period, bool) or not isinstance(period, int):
            raise CommunityError(field, f"must be a period, a whole number, not {period!r}")
    if first < 0:
        raise CommunityError(first_field, f"must be at least 0, not {first}")
    if last < first:
        raise CommunityError(last_field, f"{last} is before {first_field} {first}")


def _require_within(last: int, periods: int, field: str) -> None:
    if last >= periods:
        raise CommunityError(field, f"is after the end of the horizon of {periods} periods")
