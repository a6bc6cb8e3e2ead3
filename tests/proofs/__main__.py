"""`python -m tests.proofs`: random markets, the fuzzer, and the fuzzer on weakened proofs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.proofs import branches, fuzz, halmos, markets, weakened
from tests.proofs.compiled import ROOT
from tests.proofs.revm import Harness

if TYPE_CHECKING:
    from collections.abc import Iterable

console = Console(stderr=True)
_CONTRACT_TESTS = ("tests/contracts", "tests/chain")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head)]
    lines += [tuple(f"{x:,}" if isinstance(x, int) else str(x) for x in row) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _report(text: str, section: str, record: Path | None) -> None:
    """Print a summary, and put it between the marks of its section if it is to be recorded."""
    click.echo(text)
    if record is not None:
        page = record.read_text(encoding="utf-8")
        marked = rf"(<!-- {section} -->\n).*?(<!-- /{section} -->)"
        new, found = re.subn(marked, lambda m: f"{m[1]}{text}\n{m[2]}", page, flags=re.DOTALL)
        if not found:
            raise click.ClickException(f"{record} has no section {section}")
        record.write_text(new, encoding="utf-8")


_RECORD = click.option(
    "--record",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Page whose section is to hold the summary.",
)
_SEED = click.option("--seed", default=1, show_default=True, help="Same seed, same run.")


@click.group()
def main() -> None:
    """Hold the proof to account."""


@main.command("markets")
@click.option("--count", default=10_000, show_default=True, help="Random markets.")
@click.option("--changes", default=5, show_default=True, help="Changed clearings of each.")
@click.option("--only", type=int, help="Try the market of this number alone.")
@_SEED
@_RECORD
def markets_command(
    count: int, changes: int, only: int | None, seed: int, record: Path | None
) -> None:
    """Judge random markets by the contract and by Python."""
    harness, tally, start = Harness.built(), markets.Tally(), time.process_time()
    numbers = range(count) if only is None else (only,)
    try:
        with _progress() as progress:
            for number in progress.track(numbers, description="markets"):
                markets.judge(harness, seed, number, changes, tally)
    except markets.DisagreementError as disagreement:
        console.print(f"[red]{disagreement}[/red]", highlight=False)
        sys.exit(1)
    minutes = (time.process_time() - start) / 60
    refused = sum(tally.errors.values())
    _report(
        f"Seed {seed}: {tally.markets:,} markets, every honest clearing accepted by both with the "
        f"same positions and money.\nOf {tally.changed:,} changed clearings both accept "
        f"{tally.accepted:,} and both refuse {refused:,}: {tally.same_reason:,}\nfor the "
        f"same reason, {tally.same_group:,} for two rules of one group. "
        f"{minutes:.0f} minutes\nof processor time.\n\n"
        + _table(("the contract says", "times"), tally.errors.most_common())
        + "\n\n"
        + _table(("markets of", "number"), sorted(tally.shapes.items())),
        "markets",
        record,
    )


@main.command("fuzz")
@click.option("--count", default=1_000_000, show_default=True, help="Changed clearings.")
@click.option("--only", type=int, help="Try the market of this number alone.")
@_SEED
@_RECORD
def fuzz_command(count: int, only: int | None, seed: int, record: Path | None) -> None:
    """Change clearings of tiny markets and hold what is accepted against the oracle."""
    harness, total, start = Harness.built(), fuzz.Count(), time.process_time()
    number = only or 0
    try:
        with _progress() as progress:
            task = progress.add_task("clearings", total=count)
            while total.changed < count:
                fuzz.fuzz_market(harness, seed, number, total)
                progress.update(task, completed=total.changed)
                number += 1
                if only is not None:
                    break
    except fuzz.ViolationError as violation:
        console.print(f"[red]{violation}[/red]", highlight=False, soft_wrap=True)
        sys.exit(1)
    minutes = (time.process_time() - start) / 60
    same = total.accepted - total.accepted_of_another_market
    _report(
        f"Seed {seed}: {total.changed:,} changed clearings of {total.markets:,} markets, "
        f"{total.accepted:,} accepted, each of them the\nbest clearing of the market it was sent "
        f"for. {same:,} of these prove the same clearing with other ranks,\ntails or supports, "
        f"{total.accepted_of_another_market:,} are of a market that was changed. In {total.tied:,} "
        f"link tails leave more than one\nbest clearing; {total.beyond:,} more were accepted of "
        f"markets too large for the oracle and are not counted.\n{minutes:.0f} minutes on one core."
        "\n\n"
        + _table(("the contract says", "times"), total.errors.most_common())
        + "\n\n"
        + _table(("what was changed", "clearings"), total.moves.most_common()),
        "fuzz",
        record,
    )


@main.command("weakened")
@click.option("--most", default=200_000, show_default=True, help="Changed clearings for each rule.")
@_SEED
@_RECORD
def weakened_command(most: int, seed: int, record: Path | None) -> None:
    """Take out the rules of the proof one by one; the fuzzer has to notice every time."""
    rows, missed = [], 0
    with _progress() as progress:
        for rule in progress.track(list(weakened.rules()), description="rules"):
            found = weakened.clearings_until_found(weakened.weakened(rule), seed, most)
            missed += found is None
            rows.append(
                (
                    f"`{rule.error}` in `{rule.function}`",
                    f"not in {most:,}" if found is None else found[0],
                )
            )
    _report(
        f"Seed {seed}.\n\n" + _table(("without", "found after changed clearings"), rows),
        "weakened",
        record,
    )
    sys.exit(bool(missed))


@main.command("coverage")
@click.option("--workers", default=2, show_default=True, help="Processes that test.")
@click.option("--only-report", is_flag=True, help="Report on what was seen last time.")
@click.argument("tests", nargs=-1)
@_RECORD
def coverage_command(
    workers: int, only_report: bool, tests: tuple[str, ...], record: Path | None
) -> None:
    """Say which branches of the contracts the tests take, those of the contracts unless named."""
    out = ROOT / ".build" / "branches" / "build.json"
    if not only_report:
        for old in out.parent.glob("*.seen.json"):
            old.unlink()
        with console.status("compiling so that every branch is a jump of its own"):
            branches.build(out)
        os.environ["FAIRWATT_BRANCHES"] = str(out)
        command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "--dist", "loadfile"]
        plugin = ["-p", "tests.proofs.recorder"]
        tried = subprocess.run(
            [*command, *plugin, *(tests or _CONTRACT_TESTS)], cwd=ROOT, check=False
        )
        if tried.returncode:
            console.print(
                "some tests fail on the coverage build; what they saw counts", style="red"
            )
    found = branches.report(out)
    explained = [(branch, branches.explanation(branch)) for branch in found.missed]
    missed = [branch for branch, why in explained if not why]
    taken = len(found.branches) - len(found.missed)
    text = (
        f"{taken:,} of {len(found.branches):,} branches are taken both ways. The compiler makes "
        f"{found.compilers.total():,} conditional\njumps more, which are not counted."
    )
    rows = [
        (
            f"`{Path(branch.source).name}{'' if why else f':{branch.line}'}`",
            f"`{branch.text[:60]}`".replace("|", "\\|"),
            branch.way(),
            why,
        )
        for branch, why in explained
    ]
    if rows:
        text += "\n\n" + _table(("where", "what", "taken", "why"), rows)
    _report(text, "coverage", record)
    sys.exit(bool(missed))


@main.command("halmos")
@click.option("--function", default="check_", show_default=True, help="Checks to run, by prefix.")
@click.option("--timeout", default=120, show_default=True, help="Seconds for a question.")
@click.option("--without", help="Error whose checks are taken out of the proof.")
def halmos_command(function: str, timeout: int, without: str | None) -> None:
    """Try to break every check in `symbolic/` with symbolic arguments."""
    root = ROOT / ".build" / "halmos"
    changed = {}
    if without:
        text = (ROOT / weakened.PROOF).read_text(encoding="utf-8")
        rules = [rule for rule in weakened.rules() if rule.error == without]
        if not rules:
            raise click.ClickException(f"no check of the proof has the error {without}")
        for rule in reversed(rules):  # from the end, for the places of the others to stay
            text = rule.removed(text)
        changed[weakened.PROOF] = text
    halmos.prepare(root, changed)
    options = ["--loop", "16", "--solver-timeout-branching", "50ms"]
    limit = ["--solver-timeout-assertion", f"{timeout}s"]
    sys.exit(halmos.run(root, ["--function", function, *options, *limit]))


if __name__ == "__main__":
    main()
