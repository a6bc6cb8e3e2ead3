"""Each kind of asset as columns and rows of a program, in the words of `fairwatt.community.assets`.

The columns of a kind stand in arrays of shape (assets, parts, periods). A part is what a column
says of an asset: what it draws or injects at the meter, or its level. Every column of a part has
at most two entries in the asset's own rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from fairwatt.community import (
    Asset,
    CurtailableLoad,
    ElectricVehicle,
    Generator,
    HeatPump,
    Load,
    Photovoltaic,
    ShiftableLoad,
    Storage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fairwatt.community import Horizon

    Array = NDArray[np.float64]
    Index = NDArray[np.int32]

__all__ = ["NO_ROW", "Devices", "Part", "devices", "generation"]

NO_ROW: Final = -1
"""Stands for an entry that is not there."""

_A = TypeVar("_A", bound=Asset)


class Part(Enum):
    """What a column says; the value is the kWh it injects at the meter per unit."""

    DRAW = -1.0
    INJECT = 1.0
    LEVEL = 0.0


@dataclass(frozen=True, eq=False)
class Devices:
    """All assets of a kind.

    Attributes
    ----------
    parts
        Of every asset, in sequence.
    cost, lower, upper
        Per column, shape (assets, parts, periods); token/kWh and kWh.
    entry_row, entry_value
        Entries in the own rows, shape (assets, parts, periods, 2); row `NO_ROW`: no entry.
    row_bound
        The own rows are equations; their right sides, shape (own rows,).
    fixed_draw_kwh
        Drawn whatever happens, shape (assets, periods).
    fixed_cost
        Token, shape (assets,).
    curvature
        Second derivative of the cost, as `cost`; None where all costs are linear.
    """

    parts: tuple[Part, ...]
    cost: Array
    lower: Array
    upper: Array
    entry_row: Index
    entry_value: Array
    row_bound: Array
    fixed_draw_kwh: Array
    fixed_cost: Array
    curvature: Array | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Assets, parts, periods."""
        assets, parts, periods = self.cost.shape
        return assets, parts, periods


def devices(assets: Sequence[Asset], horizon: Horizon) -> Devices:
    """Say assets of one kind as columns and rows."""
    return _SAYING[type(assets[0])](assets, horizon)


def generation(energy_kwh: Array) -> Devices:
    """Free generation up to what is available, shape (assets, periods): 0 <= g_t <= energy_t."""
    block = _columns((Part.INJECT,), *energy_kwh.shape)
    block.upper[:, 0] = energy_kwh
    return block


def _columns(parts: tuple[Part, ...], assets: int, periods: int, rows: int = 0) -> Devices:
    """Columns fixed at zero, for the kinds to fill in."""
    shape = (assets, len(parts), periods)
    return Devices(
        parts=parts,
        cost=np.zeros(shape),
        lower=np.zeros(shape),
        upper=np.zeros(shape),
        entry_row=np.full((*shape, 2), NO_ROW, np.int32),
        entry_value=np.zeros((*shape, 2)),
        row_bound=np.zeros(rows),
        fixed_draw_kwh=np.zeros((assets, periods)),
        fixed_cost=np.zeros(assets),
    )


def _load(assets: Sequence[Load], horizon: Horizon) -> Devices:
    """d_t = energy_t: no column, a draw that is fixed."""
    block = _columns((), len(assets), horizon.periods)
    block.fixed_draw_kwh[:] = _series(assets, "energy_kwh", horizon)
    return block


def _curtailable_load(assets: Sequence[CurtailableLoad], horizon: Horizon) -> Devices:
    """(1 - share) energy_t <= d_t <= energy_t, cost value_t (energy_t - d_t)."""
    block = _columns((Part.DRAW,), len(assets), horizon.periods)
    energy = _series(assets, "energy_kwh", horizon)
    value = _series(assets, "value_per_kwh", horizon)
    block.lower[:, 0] = (1 - _numbers(assets, "share"))[:, None] * energy
    block.upper[:, 0] = energy
    block.cost[:, 0] = -value
    block.fixed_cost[:] = (value * energy).sum(axis=1)
    return block


def _photovoltaic(assets: Sequence[Photovoltaic], horizon: Horizon) -> Devices:
    """0 <= g_t <= energy_t."""
    return generation(_series(assets, "energy_kwh", horizon))


def _generator(assets: Sequence[Generator], horizon: Horizon) -> Devices:
    """Generation h least_t <= g_t <= h power_t, cost c_t g_t + a g_t^2."""
    block = _columns((Part.INJECT,), len(assets), horizon.periods)
    block.lower[:, 0] = horizon.hours * _series(assets, "least_power_kw", horizon)
    block.upper[:, 0] = horizon.hours * _series(assets, "power_kw", horizon)
    block.cost[:, 0] = _series(assets, "cost_per_kwh", horizon)
    quadratic = _numbers(assets, "quadratic_cost_per_kwh2")
    if not quadratic.any():
        return block
    curvature = np.broadcast_to(2 * quadratic[:, None, None], block.shape)
    return Devices(**{**vars(block), "curvature": curvature})


def _shiftable_load(assets: Sequence[ShiftableLoad], horizon: Horizon) -> Devices:
    """Over the window: sum of d_t = energy, 0 <= d_t <= h power."""
    return _task(
        assets,
        horizon,
        first=_numbers(assets, "first_period"),
        after=_numbers(assets, "last_period") + 1,
        efficiency=np.ones(len(assets)),
    )


def _electric_vehicle(assets: Sequence[ElectricVehicle], horizon: Horizon) -> Devices:
    """While it is there: efficiency x sum of d_t = energy, 0 <= d_t <= h power."""
    return _task(
        assets,
        horizon,
        first=_numbers(assets, "arrival_period"),
        after=_numbers(assets, "departure_period"),
        efficiency=_numbers(assets, "efficiency"),
    )


def _task(
    assets: Sequence[ShiftableLoad] | Sequence[ElectricVehicle],
    horizon: Horizon,
    *,
    first: Array,
    after: Array,
    efficiency: Array,
) -> Devices:
    count, t = len(assets), np.arange(horizon.periods)
    block = _columns((Part.DRAW,), count, horizon.periods, rows=count)
    within = (first[:, None] <= t) & (t < after[:, None])
    block.upper[:, 0] = within * (horizon.hours * _numbers(assets, "power_kw"))[:, None]
    block.entry_row[:, 0, :, 0] = np.arange(count)[:, None]
    block.entry_value[:, 0, :, 0] = efficiency[:, None]
    block.row_bound[:] = _numbers(assets, "energy_kwh")
    return block


def _storage(assets: Sequence[Storage], horizon: Horizon) -> Devices:
    """S_t - S_{t-1} - eta_c d_t + g_t / eta_d = 0 and its bounds; S_{-1} = initial; cost w g_t."""
    count, periods = len(assets), horizon.periods
    block = _columns((Part.DRAW, Part.INJECT, Part.LEVEL), count, periods, rows=count * periods)
    block.upper[:, 0] = horizon.hours * _numbers(assets, "charge_kw")[:, None]
    block.upper[:, 1] = horizon.hours * _numbers(assets, "discharge_kw")[:, None]
    block.upper[:, 2] = _numbers(assets, "energy_kwh")[:, None]
    block.lower[:, 2, -1] = _numbers(assets, "least_final_kwh")
    block.cost[:, 1] = _numbers(assets, "cost_per_kwh")[:, None]
    _add_states(
        block,
        keeps=np.ones(count),
        start=_numbers(assets, "initial_kwh"),
        fills={
            0: _numbers(assets, "charge_efficiency"),
            1: -1 / _numbers(assets, "discharge_efficiency"),
        },
    )
    return block


def _heat_pump(assets: Sequence[HeatPump], horizon: Horizon) -> Devices:
    """D_t - (1 - loss)^h D_{t-1} - d_t = -energy_t and its bounds; D_{-1} = 0, D_last >= 0."""
    count, periods = len(assets), horizon.periods
    block = _columns((Part.DRAW, Part.LEVEL), count, periods, rows=count * periods)
    block.upper[:, 0] = horizon.hours * _numbers(assets, "power_kw")[:, None]
    block.upper[:, 1] = _numbers(assets, "ahead_kwh")[:, None]
    block.lower[:, 1] = -_numbers(assets, "behind_kwh")[:, None]
    block.lower[:, 1, -1] = 0.0
    _add_states(
        block,
        keeps=(1 - _numbers(assets, "loss_per_hour")) ** horizon.hours,
        start=np.zeros(count),
        fills={0: np.ones(count)},
    )
    block.row_bound[:] -= _series(assets, "energy_kwh", horizon).ravel()
    return block


def _add_states(block: Devices, *, keeps: Array, start: Array, fills: dict[int, Array]) -> None:
    """Rows X_t - keeps X_{t-1} - sum of fills x part = 0, the level X being the last part."""
    count, parts, periods = block.shape
    row = np.arange(count * periods, dtype=np.int32).reshape(count, periods)
    for part, fill in fills.items():
        block.entry_row[:, part, :, 0] = row
        block.entry_value[:, part, :, 0] = -fill[:, None]
    level = parts - 1
    block.entry_row[:, level, :, 0] = row
    block.entry_value[:, level, :, 0] = 1.0
    block.entry_row[:, level, :-1, 1] = row[:, 1:]
    block.entry_value[:, level, :-1, 1] = -keeps[:, None]
    block.row_bound.reshape(count, periods)[:, 0] = keeps * start


def _numbers(assets: Sequence[_A], field: str) -> Array:
    return np.array([getattr(asset, field) for asset in assets], np.float64)


def _series(assets: Sequence[_A], field: str, horizon: Horizon) -> Array:
    rows = [asset.over(field, horizon.periods) for asset in assets]
    return np.array(rows).reshape(len(assets), horizon.periods)


_SAYING: Final[dict[type[Asset], Callable[..., Devices]]] = {
    Load: _load,
    CurtailableLoad: _curtailable_load,
    Photovoltaic: _photovoltaic,
    Generator: _generator,
    ShiftableLoad: _shiftable_load,
    ElectricVehicle: _electric_vehicle,
    Storage: _storage,
    HeatPump: _heat_pump,
}
