"""What storages and vehicles do in a day, as their meters would count each of them alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fairwatt.community import ElectricVehicle, Storage
from fairwatt.units import WH_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairwatt.community import Array
    from fairwatt.planner import Schedule

__all__ = ["Stored", "whole_wh"]


@dataclass(frozen=True, slots=True)
class Stored:
    """A storage or a vehicle over a day; energies in Wh.

    Attributes
    ----------
    kind
        As that of its asset: "storage" or "ev".
    metered_wh
        Per period: given positive, drawn negative, losses and all.
    held_wh
        Before the first period and after each; None of a vehicle, of which nobody but its owner
        knows what it holds.
    capacity_wh
        Most that it can hold; None likewise.
    """

    peer: str
    kind: str
    metered_wh: tuple[int, ...]
    held_wh: tuple[int, ...] | None = None
    capacity_wh: int | None = None

    @classmethod
    def planned(cls, peer: str, schedule: Schedule) -> Stored | None:
        """As its owner planned it; None of an asset of another kind."""
        metered = whole_wh(schedule.inject_kwh - schedule.draw_kwh)
        match schedule.asset:
            case Storage() as storage if schedule.level_kwh is not None:
                levels = np.concatenate([[storage.initial_kwh], schedule.level_kwh])
                capacity = round(storage.energy_kwh * WH_PER_KWH)
                return cls(peer, storage.kind, metered, whole_wh(levels), capacity)
            case ElectricVehicle() as vehicle:
                return cls(peer, vehicle.kind, metered)
        return None

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "peer": self.peer,
            "kind": self.kind,
            "meteredWh": self.metered_wh,
            "heldWh": self.held_wh,
            "capacityWh": self.capacity_wh,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Stored:
        """Read what `to_document` wrote."""
        held = document["heldWh"]
        return cls(
            document["peer"],
            document["kind"],
            tuple(document["meteredWh"]),
            None if held is None else tuple(held),
            document["capacityWh"],
        )


def whole_wh(kwh: Array) -> tuple[int, ...]:
    """In whole Wh, each rounded."""
    return tuple(int(wh) for wh in np.rint(kwh * WH_PER_KWH).tolist())
