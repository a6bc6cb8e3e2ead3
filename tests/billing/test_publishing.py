"""Two suppliers on the chain: their tariffs of a day are published where they change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import ape
import pytest

from fairwatt.billing import supplier_schedule
from fairwatt.chain import Settings
from fairwatt.community import Community, Horizon, Load, Peer, Supplier
from fairwatt.errors import ContractError
from fairwatt.market import Network
from fairwatt.session import MarketTerms
from fairwatt.simulation import Simulation

if TYPE_CHECKING:
    from tests.community import Community as Founded

HOUR = 3600
HOURS = 8
ROOT = Path(__file__).parents[2]
DAYTIME = Supplier("Daytime", [0.2, 0.2, 0.3, 0.3, 0.3, 0.2, 0.2, 0.2], 0.05)
STEADY = Supplier("Steady", 0.25, 0.06)
TERMS = MarketTerms(1, HOUR, HOURS, 8, 1_704_067_200, 900, HOUR, HOUR, 7 * 86_400)


def test_publish__tariffs_of_a_day__only_where_they_change(founded: Founded) -> None:
    snapshot = ape.chain.snapshot()
    community = Community(
        "Street",
        Horizon(0, HOUR, HOURS),
        Network(("street",), (), 0, 500_000),
        (DAYTIME, STEADY),
        tuple(
            Peer(name, "consumer", "street", (Load([0.5] * HOURS),), supplier=supplier)
            for name, supplier in (("Ana", "Daytime"), ("Bo", "Steady"))
        ),
    )
    settings = Settings.load(ROOT / "deployments" / "local.toml")
    simulation = Simulation.found(community, settings, TERMS, funds_nano=10**9)
    chain, market = simulation.chain, simulation.market
    soon = TERMS.next_open_session(chain.now())
    with pytest.raises(ContractError) as raised:
        simulation.publish_tariffs(soon)
    assert raised.value.name == "EffectiveTooEarly"

    start = TERMS.next_open_session(chain.now() + settings.notice_seconds + HOUR)
    simulation.publish_tariffs(start)
    state = chain.snapshot()
    for supplier, published in ((DAYTIME, 3), (STEADY, 1)):
        account = simulation.members[supplier.name].peer
        assert len(state.tariffs(account)) == published
        _, in_force = state.tariffs_of_session(market, start, account)
        wanted = supplier_schedule(supplier, community.horizon, start=start)
        assert [(each.retail_micro_per_kwh, each.feed_in_micro_per_kwh) for each in in_force] == [
            (each.retail_micro_per_kwh, each.feed_in_micro_per_kwh) for each in wanted
        ]
    simulation.publish_tariffs(start + TERMS.session_seconds)  # goes on from what holds by then
    again = chain.snapshot().tariffs(simulation.members["Daytime"].peer)
    assert len(again) == 5
    ape.chain.restore(snapshot)
