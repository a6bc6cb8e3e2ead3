"""Write docs/pilots.md and its pictures: `make pages`.

Every number and picture of the page comes from here; nothing of it is written by hand.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from rich.progress import track

from fairwatt.cases import Case
from fairwatt.community import Horizon
from fairwatt.planner import plan
from fairwatt.plot import draw_plan, draw_study
from fairwatt.study import study

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.study import Study

_DOCS: Final = Path(__file__).parents[1] / "docs"
_CASES: Final = ("corby", "corby-without-plant", "iberia")
_WEEKS: Final = {"winter-week": "a week in winter", "summer-week": "a week in summer"}
_SECONDS_PER_WEEK: Final = 7 * 86_400
_WEEKS_PER_YEAR: Final = 52
_SUMMER: Final = range(22, 35)  # weeks of June to August
_WINTER: Final = (*range(9), *range(48, 52))  # January, February, December
_INTRODUCTION: Final = """\
# The pilots of FleXunity

Corby and Iberia are the two communities that the FleXunity report D3.1 (2020) recruits. The report
says who takes part and states yearly energies; nobody published profiles, so the hourly ones of
`cases/corby` and `cases/iberia` are models scaled to the report's figures (the README of each
folder says which). What follows is what such a community would gain, not what a real one gained.

This page and its pictures are written by `make pages`. A gain is what all peers together save
against everybody being alone with its supplier, with the same assets and the same foresight. Every
row is one run of `fairwatt study`; [study.md](study.md) says what the columns are.
"""
_READING: Final = """\
## What one sees

* *Corby with the food plant never has a surplus*: the plant alone draws more in any hour than all
  others generate. A community can then share nothing but what the plant takes off the others.
* *Without the plant* there are surpluses around noon in summer, hardly any in winter.
* *Storage makes the difference in Iberia*: together the peers charge from surpluses of others and
  in cheap hours, and discharge where it is dearest, so the gain is large in winter as well.
* All designs that only share surpluses find about the same total; they differ in who gets it. Bill
  sharing makes some peers pay more than alone. The other price rules do not, nor does the market
  when orders are signed at the plan's prices, as they are here (to what whole Wh can say).
"""


def main() -> None:
    """Run the studies, draw the pictures, write the page."""
    pictures = _DOCS / "pilots"
    pictures.mkdir(exist_ok=True)
    parts = [_INTRODUCTION, "## The whole year, week by week\n", *_year()]
    for name in _CASES:
        case = Case.load(name)
        parts.append(f"## {case.title}\n")
        for week, title in track(_WEEKS.items(), name, transient=True):
            parts += _week(name, week, title, pictures)
    parts.append(_READING)
    (_DOCS / "pilots.md").write_text("\n".join(parts), encoding="utf-8")


def _week(name: str, week: str, title: str, pictures: Path) -> Iterator[str]:
    case = Case.load(name, horizon=week)
    result = study(case.community)
    heading = f"{case.title}: {title}"
    stem = f"{name}-{week}"
    draw_study(result, pictures / f"{stem}.svg", title=heading, currency=case.currency)
    yield f"### {title.capitalize()}\n"
    yield f"`fairwatt study {name} --horizon {week}`\n"
    yield from _table(result, case.currency)
    yield f"![{heading}: designs](pilots/{stem}.svg)\n"
    if name == "iberia":
        planned = plan(case.community)
        draw_plan(
            planned, pictures / f"{stem}-plan.svg",
            title=heading, currency=case.currency, zone=case.zone,
        )  # fmt: skip
        yield f"![{heading}: plan](pilots/{stem}-plan.svg)\n"


def _table(result: Study, currency: str) -> Iterator[str]:
    yield f"| design | cost, {currency} | gain | self-consumption | self-sufficiency | worse off |"
    yield "|---|---|---|---|---|---|"
    for outcome in result.outcomes:
        gain = result.gain(outcome)
        own = [
            "" if part is None else f"{100 * part:.1f} %"
            for part in (outcome.figures.self_consumption, outcome.figures.self_sufficiency)
        ]
        yield (
            f"| {outcome.title} | {outcome.cost:,.2f} | {gain:,.2f} "
            f"({100 * gain / abs(result.alone.cost):.1f} %) | {own[0]} | {own[1]} | "
            f"{len(result.worse_off(outcome))} of {len(result.community.peers)} |"
        )
    yield ""


def _year() -> Iterator[str]:
    yield "Gain of the jointly planned community in each of the 52 weeks of 2019:\n"
    yield "| case | winter weeks | summer weeks | all weeks |"
    yield "|---|---|---|---|"
    for name in _CASES:
        start = Case.load(name).horizons["year"].start
        gains = []
        for week in track(range(_WEEKS_PER_YEAR), f"{name}, year", transient=True):
            horizon = Horizon(start + week * _SECONDS_PER_WEEK, 3600, 168)
            community = Case.load(name, horizon=horizon).community
            alone, joint = plan(community.apart()).cost, plan(community).cost
            gains.append(100 * (alone - joint) / alone)
        cells = [
            f"{min(some):.1f} to {max(some):.1f} %, median {median(some):.1f} %"
            for some in ([gains[w] for w in _WINTER], [gains[w] for w in _SUMMER], gains)
        ]
        yield f"| `{name}` | {' | '.join(cells)} |"
    yield ""


if __name__ == "__main__":
    main()
