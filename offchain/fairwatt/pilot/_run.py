"""A case, run day by day on a chain: plan, order, clear, deliver, reconcile, account.

Each stage of a day asks the chain whether it is done before it acts, and what a day depends on is
made of the settings, of the days before it, or was written down before anything was sent. So a run
that was stopped anywhere goes on, and ends with the balances of one that was not.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.billing import FUND, Kind
from fairwatt.cases import CASES, Case
from fairwatt.chain import Chain, Settings, deploy, signer_for
from fairwatt.community import Horizon
from fairwatt.errors import CaseError, ChainError, PilotError
from fairwatt.fleet import Fleet
from fairwatt.forecast import Outlook, expected
from fairwatt.founding import NETWORK, Founder
from fairwatt.imbalances import settle_reading
from fairwatt.oracle import Oracle
from fairwatt.orders import FlexibleOrder, SignedOrder
from fairwatt.pilot._faults import Faults, Reception
from fairwatt.pilot._node import ANVIL, OwnAnvil, connected, outlives
from fairwatt.pilot._planning import DayPlan, Levels, plan_day, with_levels
from fairwatt.pilot._replays import replay
from fairwatt.profiles import Profiles
from fairwatt.proposal import propose
from fairwatt.session import MarketTerms
from fairwatt.settlement import settle
from fairwatt.simulation import Simulation
from fairwatt.units import NANO, SECONDS_PER_DAY, SECONDS_PER_HOUR, WEI_PER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fairwatt.chain import Cleared, Snapshot
    from fairwatt.community import Array, Community
    from fairwatt.deployment import Deployment
    from fairwatt.fleet import Arrival
    from fairwatt.founding import Member
    from fairwatt.imbalances import Tariff
    from fairwatt.meter import SignedReading
    from fairwatt.orders import Order
    from fairwatt.pilot._planning import Done
    from fairwatt.pilot._settings import RunFolder, RunSettings
    from fairwatt.session import Session

__all__ = ["STAGES", "Prepared", "Progress", "prepare", "run"]

STAGES: Final = ("plan", "tariffs", "sign", "clear", "meter", "reconcile", "account", "compare")
"""Of a day, in their sequence."""

_MOST_HISTORY_DAYS: Final = 36
_GATE_LEAD_S: Final = SECONDS_PER_HOUR
_READING_WINDOW_S: Final = 6 * SECONDS_PER_DAY
_TARIFFS_AHEAD: Final = 6 * SECONDS_PER_DAY
"""How long before they take effect tariffs are published, beyond the notice that they must have."""
_INITIAL_RUN_S, _FINAL_RUN_S = 22 * SECONDS_PER_HOUR, 36 * SECONDS_PER_HOUR
"""From the end of a day to its settlement runs, where meters fail: between them readings are
estimated, after a day, and after the final one there is time to clear the day that follows."""
_SPARE: Final = 1.5
_LEAST_FUNDS_NANO: Final = 10 * NANO
_SUPPLY_CAP_WEI: Final = 10**9 * WEI_PER_TOKEN
_FUND: Final = "community fund"


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


@dataclass(frozen=True)
class Prepared:
    """A case over the days of a run and what is known before them.

    Attributes
    ----------
    truth, forecast
        Over history and days, as it is and as it is expected.
    first
        Period at which the first day begins.
    """

    case: Case
    truth: Community
    forecast: Community
    first: int
    settings: RunSettings

    @property
    def per_day(self) -> int:
        """Periods of a day."""
        return SECONDS_PER_DAY // self.settings.period_seconds

    def day(self, number: int, community: Community) -> Community:
        """One of the days of `truth` or `forecast`."""
        return community.between(self.first + number * self.per_day, self.per_day)


def prepare(settings: RunSettings) -> Prepared:
    """Load the case with as much history as its profiles have, and forecast all days.

    Raises
    ------
    CaseError
        If the case does not cover the days.
    """
    seconds = settings.period_seconds
    per_day = SECONDS_PER_DAY // seconds
    if SECONDS_PER_DAY % seconds:
        raise PilotError(f"periods of {seconds} s do not fill a day")

    def load(history_days: int) -> Case:
        horizon = Horizon(
            settings.start - history_days * SECONDS_PER_DAY,
            seconds,
            (history_days + settings.days) * per_day,
        )
        return Case.load(settings.case, horizon=horizon, without=settings.without)

    case, known, unknown = load(0), 0, _MOST_HISTORY_DAYS + 1
    while unknown - known > 1:
        middle = (known + unknown) // 2 if unknown <= _MOST_HISTORY_DAYS else unknown - 1
        try:
            case, known = load(middle), middle
        except CaseError:
            unknown = middle
    first = known * per_day
    weather = _weather(settings, case)
    outlook = Outlook(settings.forecast, per_day, ceil(_GATE_LEAD_S / seconds), weather)
    return Prepared(case, case.community, expected(case.community, outlook, first), first, settings)


def _faults(prepared: Prepared) -> Faults | None:
    """What is wrong with meters; None if nothing was asked for."""
    if prepared.settings.faults is None:
        return None
    metered = [peer.name for peer in prepared.truth.peers if peer.role != "supplier"]
    return Faults.read(prepared.settings.faults, metered, days=prepared.settings.days)


def _weather(settings: RunSettings, case: Case) -> Array | None:
    """All columns of the weather file over history and days."""
    if settings.weather is None:
        return None
    path = Path(settings.weather)
    if not path.is_file():
        raise PilotError(f"there is no weather file {path}")
    profiles = Profiles(path.parent, case.zone)
    columns = profiles.columns(path.name, "weather")
    rows = [
        profiles.read(path.name, column, case.community.horizon, "rate", "weather")
        for column in columns
    ]
    return np.array(rows)


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
        runner = _Runner(prepared, folder, Settings.load(path), chain, say, faults=faults)
        runner.open()
        for number in range(settings.days):
            if number >= runner.over:
                runner.run_day(number)
                say(number + 1, "day over")
    return prepared


class _Runner:
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
        soonest = now + self.settings.notice_seconds + _GATE_LEAD_S + SECONDS_PER_DAY
        first = start + -(-(soonest - start) // SECONDS_PER_DAY) * SECONDS_PER_DAY
        return MarketTerms(
            network=NETWORK,
            period_seconds=self.prepared.settings.period_seconds,
            periods_per_session=self.prepared.per_day,
            max_placed_blocks=16,
            first_session_start=first,
            gate_lead_seconds=_GATE_LEAD_S,
            clearing_window_seconds=clearing_s,
            reading_window_seconds=reading_s,
            settlement_window_seconds=reading_s + SECONDS_PER_DAY,
            exclusive_window_seconds=_GATE_LEAD_S,
            manager=self.manager.address,
        )

    # --------------------------------------------------------------------------------- a day

    def run_day(self, number: int) -> None:
        """Go through the stages of a day, as far as they are not done."""
        day = _Day(self, number)
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


@dataclass
class _Day:
    """One day of a run."""

    runner: _Runner
    number: int
    seconds: dict[str, float] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.simulation = self.runner.simulation
        self.chain = self.runner.chain
        self.members = self.simulation.members
        self.start = self.runner.start(self.number)
        prepared = self.runner.prepared
        self.truth = prepared.day(self.number, prepared.truth)
        self.forecast = prepared.day(self.number, prepared.forecast)

    def run(self, before: dict[str, Any] | None) -> None:
        levels = before["levels"] if before else {}
        with self._stage("plan"):
            plan, block = self._plan(levels.get("run", {}))
        with self._stage("tariffs"):
            self._publish_tariffs()
        with self._stage("sign"):
            orders = self._sign(plan)
        with self._stage("clear"):
            refused = self._clear(orders)
        with self._stage("meter"):
            done = self._deliver(plan)
            refused += done.short
            arrivals = self._read(done)
        with self._stage("reconcile"):
            refused += self._reconcile(arrivals)
            replays = self._replay(arrivals)
        with self._stage("account"):
            accounts = self._account(arrivals, done, before, replays)
        with self._stage("compare"):
            compared, left = self._compare(levels)
        self.document = {
            "day": self.number,
            "start": self.truth.horizon.start,
            "session": self.start,
            "refused": refused,
            "levels": {"run": done.levels, **left},
            **accounts,
            "gas": self.chain.gas_used(block + 1, accounts["block"], *self.runner.senders),
            "orders": {name: len(steps) for name, steps in plan.steps.items() if steps},
            "flexibleOrders": len(plan.devices),
            "assetCosts": done.costs,
            "stored": [each.to_document() for each in done.stored],
            "compared": compared,
            "seconds": self.seconds,
        }

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.runner.say(self.number, name)
        begin = perf_counter()
        yield
        self.seconds[name] = round(perf_counter() - begin, 4)

    # ------------------------------------------------------------------------------- stages

    def _plan(self, levels: Levels) -> tuple[DayPlan, int]:
        """The plan, and the last block before anything of the day was sent."""
        kept = self.runner.folder.plan(self.number)
        if kept is None:
            plan = self._planned(self.forecast, levels)
            kept = {"block": self.chain.snapshot().block, **plan.to_document()}
            self.runner.folder.keep_plan(self.number, kept)
        return DayPlan.from_document(kept), kept["block"]

    def _planned(self, expected: Community, levels: Levels) -> DayPlan:
        """A day in the market, planned as it is expected."""
        connections = None
        if self.runner.prepared.settings.storage == "market":
            snapshot, seconds = self.chain.snapshot(), self.runner.terms.period_seconds
            connections = {
                name: snapshot.peer(self.members[name].peer, self.start).energy_limit_wh(seconds)
                for name in self._metered
            }
        return plan_day(with_levels(expected, levels), with_levels(self.truth, levels), connections)

    def _publish_tariffs(self) -> None:
        until = self.start + SECONDS_PER_DAY + self.runner.settings.notice_seconds + _TARIFFS_AHEAD
        for supplier in self.runner.founder.community.suppliers:
            member = self.members[supplier.name]
            self.runner.founder.publish_tariffs(supplier, member, self.runner.base, until)

    def _sign(self, plan: DayPlan) -> list[SignedOrder]:
        snapshot = self.chain.snapshot()
        if snapshot.is_cleared(NETWORK, self.start):
            return []
        return [
            self.simulation.sign(self.members[name], order) for name, order in self._orders(plan)
        ]

    def _orders(self, plan: DayPlan) -> Iterator[tuple[str, Order | FlexibleOrder]]:
        """What everybody signs, each with its name."""
        for name, steps in plan.steps.items():
            if steps:
                yield name, self.simulation.order_of(self.members[name], self.start, steps)
        for nonce, device in plan.numbered():
            peer = self.members[device.peer].peer
            yield device.peer, device.order(NETWORK, peer, self.start, nonce)

    def _clear(self, orders: list[SignedOrder]) -> list[str]:
        self.chain.travel_to(self.runner.terms.gate_closure(self.start))
        run = self.runner.oracle.clear(self.start, orders)
        return [f"order of {self._name(each.peer)}: {each.reason}" for each in run.refused]

    def _deliver(self, plan: DayPlan) -> Done:
        """What flows: loads and sun as they are, storages and vehicles as the clearing decided."""
        if not plan.devices:
            return plan.done({})
        cleared = self.chain.snapshot().cleared(NETWORK, self.start)
        if cleared is None:
            raise PilotError(f"session {self.start} of day {self.number + 1} is not cleared")
        return plan.done(self._by_name(cleared.schedules_wh))

    def _by_name(
        self, schedules_wh: Mapping[tuple[int, int], tuple[int, ...]]
    ) -> dict[tuple[str, int], tuple[int, ...]]:
        return {
            (self._name(peer), nonce): schedule for (peer, nonce), schedule in schedules_wh.items()
        }

    def _read(self, done: Done) -> list[Arrival]:
        """What the meters send, and when; truthful and at once if no faults are asked for."""
        numbers = {name: self.members[name].peer for name in self._metered}
        keys = {numbers[name]: self.members[name].meter for name in self._metered}
        faults, domain = self.runner.faults, self.chain.reading_domain
        seed = faults.seed if faults else 0
        fleet = Fleet(domain, NETWORK, self.runner.terms, keys, seed)
        if faults is not None:
            faults.give(fleet, self.number, numbers)
            if faults.replays_old(self.number):
                fleet.sent.update(self._settled_before())
        flowed = {numbers[name]: done.metered_wh[name] for name in self._metered}
        return fleet.session(self.start, flowed)

    def _settled_before(self) -> dict[int, SignedReading]:
        """The last reading of every meter that was settled, as it was: signing knows no chance."""
        found: dict[int, SignedReading] = {}
        for number in reversed(range(self.number)):
            day = self.runner.folder.day(number)
            for name, energy in day["meteredWh"].items() if day else ():
                member = self.members[name]
                if energy is not None and member.peer not in found:
                    start = self.runner.start(number)
                    found[member.peer] = self.simulation.read(member, start, tuple(energy))
            if len(found) == len(self._metered):
                break
        return found

    def _reconcile(self, arrivals: Sequence[Arrival]) -> list[str]:
        if self.runner.faults is not None:
            return self._settle(arrivals)
        snapshot = self.chain.snapshot()
        snapshot.foresee(NETWORK, self.start, self._accounts.values())
        left = [
            arrival.signed
            for arrival in arrivals
            if arrival.signed is not None
            and not snapshot.is_reading_settled(NETWORK, self.start, arrival.peer)
        ]
        if not left:
            return []
        self.chain.travel_to(self.runner.terms.session_end(self.start))
        run = self.runner.oracle.reconcile(self.start, left)
        return [f"reading of {self._name(each.peer)}: {each.reason}" for each in run.refused]

    def _settle(self, arrivals: Sequence[Arrival]) -> list[str]:
        """The settlement runs: initial, again when the reading window is over, and final."""
        initial, estimating, final = self._runs
        refused: dict[str, None] = {}
        for time in (initial, estimating, final):
            self.chain.travel_to(time)
            came = [
                arrival.signed
                for arrival in arrivals
                if arrival.signed is not None
                and arrival.arrives_at <= time
                and not arrival.is_again
            ]
            report = settle(self.runner.oracle, self.start, came, final=time == final)
            for each in report.run.refused:
                # Whoever is settled is passed over; on the way back to where a run was stopped too.
                if each.peer not in report.before:
                    refused[f"reading of {self._name(each.peer)}: {each.reason}"] = None
        return list(refused)

    def _replay(self, arrivals: Sequence[Arrival]) -> dict[int, str]:
        """Let owners bring what must not count to the contract by themselves; what it did, by peer.

        A reading that comes again is replayed if it is settled; otherwise it is the first.
        """
        replays, snapshot = {}, self.chain.snapshot()
        for arrival in arrivals:
            if arrival.signed is None or not (arrival.is_old or arrival.is_again):
                continue
            if arrival.is_again and not snapshot.is_reading_settled(
                NETWORK, self.start, arrival.peer
            ):
                continue
            owner = self.members[self._name(arrival.peer)]
            self.runner.founder.pay_gas(owner)
            replays[arrival.peer] = replay(
                self.chain, NETWORK, self.start, arrival.signed, owner.wallet
            )
        return replays

    @property
    def _runs(self) -> tuple[int, int, int]:
        """When the settlement runs of the day are."""
        end = self.runner.terms.session_end(self.start)
        estimating = self.runner.terms.reading_deadline(self.start) + 1
        return end + _INITIAL_RUN_S, estimating, end + _FINAL_RUN_S

    def _received(
        self,
        arrivals: Sequence[Arrival],
        done: Done,
        snapshot: Snapshot,
        cleared: Cleared,
        replays: Mapping[int, str],
    ) -> dict[str, Reception]:
        """What is settled of every meter."""
        received = {}
        for arrival in arrivals:
            if arrival.is_again:
                continue
            name = self._name(arrival.peer)
            if self.runner.faults is None:
                received[name] = Reception(done.metered_wh[name], None, "")
                continue
            _, estimating, final = self._runs
            received[name] = Reception.of(
                arrival,
                done.metered_wh[name],
                cleared.positions_wh.get(arrival.peer, ()),
                (snapshot, NETWORK, self.start),
                (estimating, final),
                replayed=replays.get(arrival.peer),
            )
        return dict(sorted(received.items(), key=lambda item: self._metered.index(item[0])))

    def _account(
        self,
        arrivals: Sequence[Arrival],
        done: Done,
        before: dict[str, Any] | None,
        replays: Mapping[int, str],
    ) -> dict[str, Any]:
        """Reckon what everybody gets and pays, from what the chain accepted, and compare.

        Raises
        ------
        PilotError
            If a balance is not, to the nano-token, what the bills make it.
        """
        snapshot = self.chain.snapshot()
        snapshot.foresee(NETWORK, self.start, self._accounts.values())
        cleared = snapshot.cleared(NETWORK, self.start)
        if cleared is None:
            raise PilotError(f"session {self.start} of day {self.number + 1} is not cleared")
        session = snapshot.session(NETWORK, self.start)
        trades = self._trades_nano(cleared)
        received = self._received(arrivals, done, snapshot, cleared, replays)
        tariffs = self._tariffs(snapshot)
        imbalances = {
            name: got.estimate_nano or 0
            if got.metered_wh is None
            else _settled_nano(
                self.members[name],
                got.metered_wh,
                cleared.positions_wh.get(self.members[name].peer),
                tariffs[self._supplier_name(name)],
            )
            for name, got in received.items()
        }
        incomes = _incomes(session, cleared)
        balances = self._require_balances(trades, imbalances, incomes, before, snapshot)
        self.session = session
        return {
            "block": snapshot.block,
            "prices": dict(
                zip(
                    self.truth.network.nodes,
                    map(list, zip(*cleared.prices_micro_per_kwh, strict=True)),
                    strict=True,
                )
            ),
            "flowsWh": list(map(list, zip(*cleared.flows_wh, strict=True))),
            "positionsWh": {
                self._name(peer): list(energy) for peer, energy in cleared.positions_wh.items()
            },
            "meteredWh": {
                name: None if got.metered_wh is None else list(got.metered_wh)
                for name, got in received.items()
            },
            "estimatesNano": {
                name: got.estimate_nano
                for name, got in received.items()
                if got.estimate_nano is not None
            },
            "faults": {name: got.told for name, got in received.items() if got.told},
            "flowedWh": {name: sum(done.metered_wh[name]) for name in received},
            "tradesNano": trades,
            "imbalancesNano": imbalances,
            "incomes": [(self._name(account), kind, nano) for account, kind, nano in incomes],
            "tariffs": {
                supplier: {
                    "retail": [each.retail_micro_per_kwh for each in rates],
                    "feedIn": [each.feed_in_micro_per_kwh for each in rates],
                }
                for supplier, rates in tariffs.items()
            },
            "accounts": self._accounts,
            "fundedNano": self._funded(),
            "balancesNano": balances,
        }

    def _trades_nano(self, cleared: Cleared) -> dict[str, int]:
        prices = cleared.prices_micro_per_kwh
        trades = {}
        for peer, energy in cleared.positions_wh.items():
            member = self.members[self._name(peer)]
            trades[member.record.name] = sum(
                wh * prices[period][member.node] for period, wh in enumerate(energy)
            )
        return trades

    def _require_balances(
        self,
        trades: Mapping[str, int],
        imbalances: Mapping[str, int],
        incomes: list[tuple[int, Kind, int]],
        before: dict[str, Any] | None,
        snapshot: Snapshot,
    ) -> dict[str, int]:
        """The balances on chain, which must be those before and what the day came to."""
        start = before["balancesNano"] if before else self._funded()
        expected_nano = defaultdict(int, start)
        for name, nano in trades.items():
            expected_nano[name] += nano
        by_number = {member.peer: name for name, member in self.members.items()}
        for name, nano in imbalances.items():
            expected_nano[name] += nano
            expected_nano[by_number[self._supplier(name)]] -= nano
        for account, _, nano in incomes:
            expected_nano[self._name(account)] += nano
        balances = {
            name: snapshot.account(peer).balance_nano for name, peer in self._accounts.items()
        }
        balances[_FUND] = snapshot.fund_nano()
        for name, nano in balances.items():
            if nano != expected_nano[name]:
                raise PilotError(
                    f"day {self.number + 1}: {name} has {nano} nano-token, its bills make it "
                    f"{expected_nano[name]}"
                )
        if sum(balances.values()) * NANO != snapshot.tokens_held_wei():
            raise PilotError(f"day {self.number + 1}: the balances are not the tokens held")
        return balances

    def _compare(self, levels: Mapping[str, Levels]) -> tuple[dict[str, Any], dict[str, Levels]]:
        """What the day would have cost everybody alone, and together with a perfect forecast."""
        tariffs = self._tariffs(self.chain.snapshot())
        alone = plan_day(
            with_levels(self.forecast.apart(), levels.get("alone", {})),
            with_levels(self.truth.apart(), levels.get("alone", {})),
        ).done({})
        foreseen = self._planned(self.truth, levels.get("perfect", {}))
        nodes = {member.peer: member.node for member in self.members.values()}
        unsigned = [SignedOrder(order, b"unsigned") for _, order in self._orders(foreseen)]
        proposal = propose(self.session, unsigned, nodes=nodes)
        schedules = {
            (signed.order.peer, signed.order.nonce): fills
            for signed, fills in zip(proposal.orders, proposal.fills_wh, strict=True)
            if isinstance(signed.order, FlexibleOrder)
        }
        perfect = foreseen.done(self._by_name(schedules))
        trades, positions = proposal.payments_nano, proposal.positions_wh
        compared = {}
        for name in self._metered:
            member, rates = self.members[name], tariffs[self._supplier_name(name)]
            position = positions.get(member.peer)
            gets = trades.get(member.peer, 0)
            gets += _settled_nano(member, perfect.metered_wh[name], position, rates)
            compared[name] = {
                "aloneNano": -_settled_nano(member, alone.metered_wh[name], None, rates)
                + round(alone.costs[name] * NANO),
                "perfectNano": -gets + round(perfect.costs[name] * NANO),
            }
        return compared, {"alone": alone.levels, "perfect": perfect.levels}

    # ------------------------------------------------------------------------------ looking up

    @property
    def _metered(self) -> list[str]:
        return [peer.name for peer in self.truth.peers if peer.role != "supplier"]

    @property
    def _accounts(self) -> dict[str, int]:
        members = {name: member.peer for name, member in self.members.items()}
        return members | dict(self.simulation.operators)

    def _tariffs(self, snapshot: Snapshot) -> dict[str, tuple[Tariff, ...]]:
        return {
            supplier.name: snapshot.tariffs_of_session(
                NETWORK, self.start, self.members[supplier.name].peer
            )[1]
            for supplier in self.truth.suppliers
        }

    def _supplier(self, name: str) -> int:
        return self.members[self._supplier_name(name)].peer

    def _supplier_name(self, name: str) -> str:
        supplier = self.members[name].record.supplier
        if supplier is None:
            raise CaseError(name, "needs a supplier to be simulated")
        return supplier

    def _name(self, account: int) -> str:
        if account == FUND:
            return _FUND
        for name, member in self.members.items():
            if member.peer == account:
                return name
        return next(name for name, peer in self.simulation.operators.items() if peer == account)

    def _funded(self) -> dict[str, int]:
        return {name: self.runner.funds[name] for name in self.members}


def _settled_nano(
    member: Member,
    metered_wh: tuple[int, ...],
    position_wh: tuple[int, ...] | None,
    tariffs: tuple[Tariff, ...],
) -> int:
    position = position_wh or (0,) * len(metered_wh)
    return settle_reading(member.peer, metered_wh, position, tariffs).payment_nano


def _incomes(session: Session, cleared: Cleared) -> list[tuple[int, Kind, int]]:
    """What links earn, by account: their tariff for their owners, the rest for the fund."""
    incomes: dict[tuple[int, Kind], int] = defaultdict(int)
    for version, prices, flows in zip(
        session.versions, cleared.prices_micro_per_kwh, cleared.flows_wh, strict=True
    ):
        index = version.network.node_index
        for link, flow in zip(version.network.links, flows, strict=True):
            rent = (prices[index[link.target]] - prices[index[link.source]]) * flow
            tariff = link.tariff_micro_per_kwh * flow
            incomes[int(link.owner or FUND), Kind.LINK_TARIFF] += tariff
            incomes[FUND, Kind.RENT] += rent - tariff
    return [(account, kind, nano) for (account, kind), nano in incomes.items() if nano]


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
