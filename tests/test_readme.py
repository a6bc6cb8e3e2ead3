"""The README: what its console blocks show is what happens, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from fairwatt.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BIN = Path(sys.executable).parent
NEEDED = ("ape-config.yaml", "contracts", "scripts", "cases", "node_modules", ".build")
EXEMPT = {"make test"}  # runs this
REST = "..."


@dataclass(frozen=True)
class Shown:
    """A command and the output that is shown for it."""

    command: str
    output: tuple[str, ...]


def console_blocks(page: Path) -> list[Shown]:
    shown: list[Shown] = []
    for block in re.findall(
        r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = part.rstrip("\n").split("\n")
            shown.append(Shown(command, tuple(output)))
    return shown


def require_shown(shown: Shown, printed: str) -> None:
    """The shown lines are the printed ones; `...` stands for any lines, or for any text in one."""
    lines = [line.rstrip() for line in printed.splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?"
        if line == REST
        else re.escape(line.rstrip()).replace(re.escape(REST), ".*") + r"\n"
        for line in shown.output
    )
    if not shown.output or re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)):
        return
    missing = next((line for line in shown.output if line != REST and line not in lines), "")
    pytest.fail(f"$ {shown.command}\n  is shown to print {missing!r}, but printed:\n{printed}")


@pytest.mark.anvil
@pytest.mark.slow
def test_readme__console_blocks__show_what_happens(tmp_path: Path) -> None:
    for name in NEEDED:
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "deployments").mkdir()
    shutil.copy(ROOT / "deployments" / "local.toml", tmp_path / "deployments")
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    commands = [shown for shown in console_blocks(README) if shown.command not in EXEMPT]
    assert len(commands) > 8
    for shown in commands:
        command = "fairwatt demo" if shown.command == "make demo" else shown.command
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, f"$ {shown.command}\n{run.stdout}"
        require_shown(shown, run.stdout)


def recipe(target: str) -> str:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert found is not None
    return found.group(1)


def test_readme__make_demo__is_the_demo() -> None:
    assert recipe("demo") == "\t@$(BIN)/fairwatt demo\n"


def test_readme__make_test__runs_everything() -> None:
    assert "$(BIN)/pytest" in recipe("test")
    assert not re.search(r"\s-[mk]\s|--deselect|--ignore", recipe("test"))


def commands(command: click.Command, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its name."""
    if not isinstance(command, click.Group):
        yield " ".join(names), command
        return
    for name, inner in command.commands.items():
        yield from commands(inner, *names, name)


def test_readme__every_command__explains_itself_and_takes_json() -> None:
    for name, command in commands(main):
        assert command.help, name
        assert any("--json" in option.opts for option in command.params), name


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page__links__lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page__files_it_names__exist(page: Path) -> None:
    named = re.findall(
        r"`((?:tests|docs|cases|scripts|contracts|offchain)/[\w./-]+)`", page.read_text("utf-8")
    )
    assert [path for path in named if not (ROOT / path).exists()] == []
