"""docs/benchmarks.md: written by `make bench`, never by hand."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results import Result, titles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.sections import Section

__all__ = ["page"]

_HEAD = """\
# Benchmarks

`make bench` measures all of this anew and writes this page and `bench/results.json`;
`python -m bench clearing gas` measures these sections only and keeps the other results. Value and
rival are measured on the same machine, in the same run, on the same input; of several runs the
fastest counts. The ratio is value over rival: below 1 we need less.
"""


def page(sections: Sequence[Section], results: Sequence[Result]) -> str:
    """Write the page: for each section its text, and its results between markers."""
    parts = [_HEAD, f"Last written on {_machine()}.\n"]
    for section in sections:
        rows = [result for result in results if section.owns(result.name)]
        parts += [f"## {section.title}\n", section.text.strip() + "\n", _table(section.name, rows)]
    return "\n".join(parts)


def _table(name: str, rows: Sequence[Result]) -> str:
    lines = [f"<!-- bench {name} -->"]
    if rows:
        lines += [_line(titles), _line(("---", "---:", "---", "---", "---:", "---:"))]
        lines += [_line((f"`{row.name}`", *row.cells()[1:])) for row in rows]
    else:
        lines.append("Not measured yet.")
    lines.append(f"<!-- end {name} -->\n")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _machine() -> str:
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
