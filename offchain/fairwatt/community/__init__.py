"""What a community is: peers with assets, on a network, with suppliers, over a horizon.

Plain data for planning and study, without files, chain or solver. Energy is in kWh per period,
power in kW, prices in token/kWh, all floats; series have one value per period. The market itself
works in whole numbers: `Community.book` says in them what the peers want.
"""

from __future__ import annotations

from fairwatt.community._community import ROLES, Community, Horizon, Peer, Supplier
from fairwatt.community._series import Array, Series
from fairwatt.community.assets import (
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

__all__ = [
    "ROLES",
    "Array",
    "Asset",
    "Community",
    "CurtailableLoad",
    "ElectricVehicle",
    "Generator",
    "HeatPump",
    "Horizon",
    "Load",
    "Peer",
    "Photovoltaic",
    "Series",
    "ShiftableLoad",
    "Storage",
    "Supplier",
]
