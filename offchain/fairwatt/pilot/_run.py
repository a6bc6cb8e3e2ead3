"""A case, run on a chain: contracts deployed, a community founded and funded, then day by day.

A run that was stopped anywhere goes on, for all that it does asks the chain first whether it is
done (see `_day` for the days), and ends with the balances of one that was not.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.cases import CASES
from fairwatt.chain import Chain, Settings, deploy, signer_for
from fairwatt.errors import ChainError, PilotError
from fairwatt.founding import NETWORK, Founder
from fairwatt.oracle import Oracle
from fairwatt.pilot._day import STAGES, Day
from fairwatt.pilot._faults import Faults
from fairwatt.pilot._node import ANVIL, OwnAnvil, connected, outlives
from fairwatt.pilot._prepared import GATE_LEAD_S, Prepared, prepare
from fairwatt.session import MarketTerms
from fairwatt.simulation import Simulation
from fairwatt.units import NANO, SECONDS_PER_DAY, WEI_PER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairwatt.community import Array
    from fairwatt.deployment import Deployment
    from fairwatt.pilot._settings import RunFolder, RunSettings

__all__ = ["Progress", "Runner", "run"]

_READING_WINDOW_S: Final = 6 * SECONDS_PER_DAY
_SPARE: Final = 1.5
_LEAST_FUNDS_NANO: Final = 10 * NANO
_SUPPLY_CAP_WEI: Final = 10**9 * WEI_PER_TOKEN


@dataclass(frozen=True)
class Progress:
    """What is told of a run while it goes: which day it is at, of how many, and what it does."""

    day: int
    days: int
    doing: str

    @property
    def share(self) -> float:
        """Part of the day's stages that are done."""
        return STAGES.index(self.doing) / len(STAGES) if self.doing in STAGES else 0.0


def run(
    settings: RunSettings,
    folder: RunFolder,
    chain: str,
    *,
    deployment_settings: Path | None = None,
    fresh: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Prepared:
    """Run a case, from where it was left.

    Parameters
    ----------
    chain
        As `connected` takes it.
    deployment_settings
        Says who holds the roles; by default the accounts of a local chain.
    fresh
        Begin anew, whatever the folder holds.

    Raises
    ------
    FairwattError
        If the run cannot go on. Whatever was done stays done.
    """

    def say(day: int, doing: str) -> None:
        progress(Progress(day, settings.days, doing))

    say(0, "reading the case")
    prepared = prepare(settings)
    faults = _faults(prepared)  # before the folder is begun: a slip must not cost the run in it
    if fresh and chain == ANVIL:
        OwnAnvil(folder.path).forget()
    folder.begin(settings, chain, fresh=fresh, stays=outlives(chain))
    path = deployment_settings or CASES.parent / "deployments" / "local.toml"
    with connected(chain, folder.path):
        runner = Runner(prepared, folder, Settings.load(path), chain, say, faults=faults)
        runner.open()
        for number in range(settings.days):
            if number >= runner.over:
                runner.run_day(number)
                say(number + 1, "day over")
    return prepared


class Runner:
    """Goes through the days of a run on the connected chain."""

    def __init__(
        self,
        prepared: Prepared,
        folder: RunFolder,
        settings: Settings,
        chain: str,
        say: Callable[[int, str], None],
        *,
        faults: Faults | None,
    ) -> None:
        self.prepared = prepared
        self.folder = folder
        self.settings = replace(
            settings, networks=(), markets=(), supply_cap_wei=_SUPPLY_CAP_WEI, backing=None
        )
        self.chain_name = chain
        self.say = say
        self.manager = signer_for(settings.roles.community_manager)
        self.faults = faults

    # ------------------------------------------------------------------------------ founding

    def open(self) -> None:
        """Deploy and found, as far as that is not done, and find out which days are over."""
        self._attach()
        roles = self.settings.roles
        signers = (roles.admin, roles.registrar, roles.network_operator, roles.market_operator)
        distinct = dict.fromkeys((*signers, roles.treasury, roles.community_manager))
        self.chain.wait_for_pending(*map(signer_for, distinct))
        founder = self._founder()
        members, operators = founder.found(self._terms())
        self.terms = self.chain.snapshot().terms(NETWORK)
        self.base = self.terms.first_session_start
        self.simulation = Simulation(self.prepared.truth, self.chain, NETWORK, members, operators)
        self.oracle = Oracle(
            self.chain,
            NETWORK,
            self.manager,
            send=True,
            most_steps=self._most_steps,
            most_flexible=sum(len(peer.assets) for peer in self.prepared.truth.peers),
        )
        self.founder = founder
        self.senders = (self.manager, *(members[each.name].wallet for each in self._suppliers))
        self.over = sum(1 for _ in self.folder.days())
        if self.over and not self._is_settled(self.over - 1):
            raise PilotError(
                f"{self.folder.path} says that {self.over} days are over, the chain does not; was "
                "it put back? --fresh begins anew"
            )
        self.funds = _funds_nano(self.prepared, self.faults)
        if not self.over:
            founder.fund(members, self.funds)

    @property
    def _suppliers(self) -> Any:
        return self.prepared.truth.suppliers

    @property
    def _most_steps(self) -> int:
        """Room for a curve of four steps a period and for an order of each asset."""
        most = max(len(peer.assets) for peer in self.prepared.truth.peers)
        return (4 + most) * self.prepared.per_day

    def _attach(self) -> None:
        """Find the contracts, or deploy them."""
        deployment = self.folder.deployment
        if deployment is not None:
            try:
                self.chain = Chain.of(deployment)
            except ChainError as error:
                if self.chain_name != ANVIL:
                    raise PilotError(
                        f"this is not the chain of the run in {self.folder.path}: {error}; --fresh "
                        "begins anew"
                    ) from error
                # The anvil of this run was killed before it could write its state: all is lost
                # alike, and comes out the same again.
                settings = self.prepared.settings
                self.folder.begin(settings, self.chain_name, fresh=True)
                deployment = None
        if deployment is None:
            new: Deployment = deploy(self.settings, progress=lambda what: self.say(0, what))
            self.folder.keep_deployment(new)
            self.chain = Chain.of(new)

    def _founder(self) -> Founder:
        settings, prepared = self.prepared.settings, self.prepared
        days = prepared.truth.between(prepared.first, settings.days * prepared.per_day)
        return Founder(
            days,
            self.chain,
            self.settings,
            settings.seed,
            progress=lambda what: self.say(0, what),
            rated=prepared.truth,
        )

    def _terms(self) -> MarketTerms:
        """Sessions of a day, the first at the next start of a day that leaves time to publish."""
        start, now = self.prepared.settings.start, self.chain.now()
        # Where meters fail a day is settled for good before the next; else a run may stand still.
        clearing_s = reading_s = _READING_WINDOW_S
        if self.faults is not None:
            clearing_s, reading_s = 2 * SECONDS_PER_DAY, SECONDS_PER_DAY
        soonest = now + self.settings.notice_seconds + GATE_LEAD_S + SECONDS_PER_DAY
        first = start + -(-(soonest - start) // SECONDS_PER_DAY) * SECONDS_PER_DAY
        return MarketTerms(
            network=NETWORK,
            period_seconds=self.prepared.settings.period_seconds,
            periods_per_session=self.prepared.per_day,
            max_placed_blocks=16,
            first_session_start=first,
            gate_lead_seconds=GATE_LEAD_S,
            clearing_window_seconds=clearing_s,
            reading_window_seconds=reading_s,
            settlement_window_seconds=reading_s + SECONDS_PER_DAY,
            exclusive_window_seconds=GATE_LEAD_S,
            manager=self.manager.address,
        )

    # --------------------------------------------------------------------------------- a day

    def run_day(self, number: int) -> None:
        """Go through the stages of a day, as far as they are not done."""
        day = Day(self, number)
        before = self.folder.day(number - 1) if number else None
        day.run(before)
        self.folder.keep_day(number, day.document)
        self.chain.forget()

    def start(self, number: int) -> int:
        """When the session of a day starts on the chain."""
        return self.base + number * SECONDS_PER_DAY

    def _is_settled(self, number: int) -> bool:
        """Whether the chain has every reading that the folder says it has."""
        snapshot, start = self.chain.snapshot(), self.start(number)
        day = self.folder.day(number) or {"meteredWh": {}}
        return snapshot.is_cleared(NETWORK, start) and all(
            snapshot.is_reading_settled(NETWORK, start, self.simulation.members[name].peer)
            for name, energy in day["meteredWh"].items()
            if energy is not None
        )


def _faults(prepared: Prepared) -> Faults | None:
    """What is wrong with meters; None if nothing was asked for."""
    if prepared.settings.faults is None:
        return None
    metered = [peer.name for peer in prepared.truth.peers if peer.role != "supplier"]
    return Faults.read(prepared.settings.faults, metered, days=prepared.settings.days)


def _funds_nano(prepared: Prepared, faults: Faults | None = None) -> dict[str, int]:
    """Deposits that last for all days, whatever the market does: half as much again as it takes.

    Where meters are to count too much, so many times more.
    """
    spare = _SPARE * (faults.exaggeration if faults else 1.0)
    days = prepared.truth.between(prepared.first, prepared.settings.days * prepared.per_day)
    periods = days.horizon.periods
    funds: dict[str, int] = {}
    owed: dict[str, float] = defaultdict(float)
    retail, feed_in = days.retail_per_kwh, days.feed_in_per_kwh
    for at, peer in enumerate(days.peers):
        draw, inject = _turnover_kwh(peer, days.horizon.hours, periods)
        cost = float(np.maximum(retail[at], 0) @ draw) if peer.supplier else 0.0
        funds[peer.name] = _LEAST_FUNDS_NANO + round(spare * cost * NANO)
        if peer.supplier:
            owed[peer.supplier] += float(np.maximum(feed_in[at], 0) @ inject)
    for supplier in days.suppliers:
        nano = _LEAST_FUNDS_NANO + round(spare * owed[supplier.name] * NANO)
        funds[supplier.name] = max(funds.get(supplier.name, 0), nano)
    return funds


def _turnover_kwh(peer: Any, hours: float, periods: int) -> tuple[Array, Array]:
    """The most that a peer's assets draw and inject, period by period."""
    draw, inject = np.zeros(periods), np.zeros(periods)
    for asset in peer.assets:
        match asset.kind:
            case "pv":
                inject += asset.over("energy_kwh", periods)
            case "generator":
                inject += hours * asset.over("power_kw", periods)
            case "storage":
                draw += hours * asset.charge_kw / 2
                inject += hours * asset.discharge_kw / 2
            case "shiftable-load" | "ev":
                draw += asset.energy_kwh / periods / getattr(asset, "efficiency", 1.0)
            case _:
                draw += asset.over("energy_kwh", periods)
    return draw, inject
