"""docs/models.md names tests that exist, and its example does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairwatt.market import clear
from fairwatt.models import bilateral

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/models.md").read_text()


def test_page__tests_it_names__exist():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    files = (ROOT / "tests/models").glob("test_*.py")
    text = "\n".join(file.read_text() for file in files)
    there = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))

    assert len(named) > 10
    assert named - there == set()


def test_page__example__does_what_it_says():
    lines = re.findall(r"^    ((?:agents|trades|graph|clearing|solve).*)$", PAGE, re.MULTILINE)
    names = {**vars(bilateral), "clear": clear}
    exec("\n".join(lines[:-2]), names)  # the page's own code

    assert eval(lines[-2], names).tolist() == [1.0, 3.0]
    assert eval(lines[-1], names)[:, 0] == pytest.approx([1.0, 3.0])
