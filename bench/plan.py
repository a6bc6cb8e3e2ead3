"""The day plan beside HiGHS alone on the same arrays, and beside the same model in Pyomo."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import highspy
import numpy as np
from rich.progress import Progress

from bench.results import Result
from fairwatt.community import Community, Horizon, Load, Peer, Photovoltaic, Storage, Supplier
from fairwatt.errors import FairwattError, ModelTimeLimit
from fairwatt.market import Network
from fairwatt.models.community_day import solve as solve_text
from fairwatt.planner import plan
from fairwatt.planner._plan import method_for
from fairwatt.planner._program import day_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from rich.console import Console

    from fairwatt.highs import Program

    Array = NDArray[np.float64]

__all__ = ["homes", "measure"]

SIZES: Final = ((100, 96), (300, 24), (300, 48), (300, 96), (1_000, 96))
"""Peers and periods of a day."""
TEXT_SIZES: Final = ((100, 96), (1_000, 96))
"""Of those, where the Pyomo text is tried."""
LIMIT_S: Final = 300.0
"""What the Pyomo text may take within HiGHS."""
_ROUNDS: Final = 2, 9
_SHORT_S: Final = 2.0  # until that much time is spent, rounds are added up to the second number
_AGREE: Final = 1e-6  # of the objective


def measure(
    console: Console,
    sizes: Sequence[tuple[int, int]] = SIZES,
    text_sizes: Sequence[tuple[int, int]] = TEXT_SIZES,
    limit_s: float = LIMIT_S,
) -> Iterator[Result]:
    """Plan days of several sizes, each in turn with its rivals.

    Raises
    ------
    FairwattError
        If the objectives differ.
    """
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(sizes) + len(text_sizes))
        for peers, periods in sizes:
            name = f"plan_{peers}x{periods}"
            progress.update(task, description=f"{peers:,} peers, {periods} periods")
            community = homes(peers, periods)
            ours, alone, objective = _in_turn(community)
            progress.advance(task)
            yield Result(name, ours, "s", "highs_solve", alone)
            if (peers, periods) not in text_sizes:
                continue
            progress.update(task, description=f"{peers:,} peers, {periods} periods in Pyomo")
            text = _text(community, objective, limit_s)
            progress.advance(task)
            if text is None:
                progress.print(f"pyomo: {name} takes more than {limit_s:g} s within HiGHS")
            yield Result(name, ours, "s", "pyomo", text)


def homes(peers: int, periods: int, seed: int = 2021) -> Community:
    """Make a day of homes on one node: half have a roof, three in five of those a battery.

    Loads have a morning and an evening peak and noise of their own, roofs their own size and
    clouds; batteries of 4 to 14 kWh lose 2 to 7 % each way and wear.
    """
    random = np.random.default_rng(seed)
    hours = 24 / periods
    at = (np.arange(periods) + 0.5) * hours
    sun = np.clip(np.sin((at - 6) / 12 * np.pi), 0, None) ** 1.5
    rhythm = 0.25 + 0.5 * np.exp(-(((at - 7.5) / 1.5) ** 2)) + np.exp(-(((at - 19.5) / 2.5) ** 2))
    retail = np.where((at > 17) & (at < 21), 0.35, 0.30)
    people = []
    for home in range(peers):
        noise = np.exp(0.4 * random.standard_normal(periods))
        assets: list[Load | Photovoltaic | Storage] = [
            Load(hours * random.uniform(0.3, 0.9) * rhythm * noise)
        ]
        if random.random() < 0.5:
            clouds = np.clip(1 + 0.2 * random.standard_normal(periods), 0.1, None)
            assets.append(Photovoltaic(hours * random.uniform(2, 8) * sun * clouds))
            if random.random() < 0.6:
                assets.append(_battery(random))
        people.append(Peer(f"H{home:04}", "prosumer", "street", tuple(assets), supplier="city"))
    return Community(
        f"{peers} homes",
        Horizon(1_704_067_200, round(3600 * hours), periods),
        Network(("street",), (), -500_000, 4_000_000),
        (Supplier("city", retail, 0.08),),
        tuple(people),
    )


def _battery(random: np.random.Generator) -> Storage:
    energy, power = random.uniform(4, 14), random.uniform(2, 5)
    return Storage(
        energy_kwh=energy,
        charge_kw=power,
        discharge_kw=power,
        charge_efficiency=random.uniform(0.93, 0.98),
        discharge_efficiency=random.uniform(0.93, 0.98),
        initial_kwh=energy * random.uniform(0, 0.5),
        cost_per_kwh=random.uniform(0.005, 0.02),
    )


def _in_turn(community: Community) -> tuple[float, float, float]:
    """Best seconds of the plan and of HiGHS alone, measured in turn, and the objective."""
    ours, alone = float("inf"), float("inf")
    program = day_program(community)
    began, least, most = perf_counter(), *_ROUNDS
    for turn in range(most):
        if turn >= least and perf_counter() - began > _SHORT_S:
            break
        start = perf_counter()
        objective = plan(community).objective
        ours = min(ours, perf_counter() - start)
        seconds, optimum = _highs(program.program)
        alone = min(alone, seconds)
    _require_equal("HiGHS alone", optimum + program.fixed_cost, objective)
    return ours, alone, objective


def _highs(program: Program) -> tuple[float, float]:
    """Seconds HiGHS itself says it solved for, given the program as a model, and the optimum."""
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = program.columns, program.rows
    model.col_cost_, model.col_lower_, model.col_upper_ = program.cost, program.lower, program.upper
    model.row_lower_, model.row_upper_ = program.row_lower, program.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = program.starts
    model.a_matrix_.index_ = program.indices
    model.a_matrix_.value_ = program.values
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("solver", method_for(program))
    solver.setOptionValue("parallel", "off")
    solver.passModel(model)
    solver.run()
    return solver.getRunTime(), solver.getInfo().objective_function_value


def _text(community: Community, objective: float, limit_s: float) -> float | None:
    """Seconds of the Pyomo text, stated and solved; None if HiGHS was not done in time."""
    start = perf_counter()
    try:
        found = solve_text(community, time_limit_s=limit_s)
    except ModelTimeLimit:
        return None
    seconds = perf_counter() - start
    _require_equal("Pyomo", found.objective, objective)
    return seconds


def _require_equal(who: str, theirs: float, ours: float) -> None:
    if abs(theirs - ours) > _AGREE * max(1.0, abs(ours)):
        raise FairwattError(f"{who} finds an objective of {theirs}, the planner {ours}")
