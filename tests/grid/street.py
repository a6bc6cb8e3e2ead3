"""A street of two feeders behind a small transformer, as small as a grid can be.

    grid -- transformer 50 kVA -- Bus 1 --+-- Bus 2 -- Bus 3      (feeder 1)
                                          +-- Bus 4               (feeder 2)

Bus 2 draws, Bus 3 is a farm with much sun, Bus 4 has a home with a battery.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandapower as pp

from fairwatt.community import (
    Community,
    CurtailableLoad,
    Horizon,
    Load,
    Peer,
    Photovoltaic,
    Storage,
    Supplier,
)
from fairwatt.grid import Grid, Site, place
from fairwatt.market import Network

RETAIL, FEED_IN = 0.30, 0.08
HOURS = Horizon(1_466_575_200, 3600, 4)


def network(length_km: float = 0.2) -> Any:
    """The street in pandapower."""
    net = pp.create_empty_network()
    high = pp.create_bus(net, 20.0, name="MV1.1 Bus 0")
    buses = [pp.create_bus(net, 0.4, name=f"LV1.1 Bus {at}") for at in range(1, 5)]
    pp.create_ext_grid(net, high, vm_pu=1.0)
    pp.create_transformer_from_parameters(
        net, high, buses[0], sn_mva=0.05, vn_hv_kv=20.0, vn_lv_kv=0.4, vkr_percent=1.4,
        vk_percent=4.0, pfe_kw=0.1, i0_percent=0.3, name="LV1.1 Trafo",
    )  # fmt: skip
    for start, end in ((0, 1), (1, 2), (0, 3)):
        pp.create_line_from_parameters(
            net, buses[start], buses[end], length_km, r_ohm_per_km=0.208, x_ohm_per_km=0.08,
            c_nf_per_km=0.0, max_i_ka=0.27, name=f"LV1.1 Line {start + 1}-{end + 1}",
        )  # fmt: skip
    pp.create_load(net, buses[1], p_mw=0.01)  # of no account: peers bring their own
    return net


def community(*, sun_kwh: float = 80.0, load_kwh: float = 4.0, must: bool = False) -> Community:
    """Three peers at their buses over four hours, the two in the middle sunny."""
    sun = np.array([0.0, 1.0, 0.9, 0.1]) * sun_kwh
    home = Load(load_kwh) if must else CurtailableLoad(load_kwh, 3.0)
    battery = Storage(energy_kwh=20.0, charge_kw=10.0, discharge_kw=10.0, cost_per_kwh=0.01)
    peers = (
        Peer("Bus 2", "consumer", "community", (home,), supplier="retailer"),
        Peer("Bus 3", "producer", "community", (Photovoltaic(sun),), supplier="retailer"),
        Peer("Bus 4", "prosumer", "community", (Load(1.0), battery), supplier="retailer"),
    )
    bounds = Network(("community",), (), 0, 300_000)
    supplier = Supplier("retailer", RETAIL, FEED_IN)
    return Community("street", HOURS, bounds, (supplier,), peers)


def site(cut: Any = "feeder", **options: Any) -> Site:
    """The community on the street."""
    return place(Grid.of("street", network(), cut), community(**options))
