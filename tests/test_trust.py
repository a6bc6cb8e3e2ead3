"""docs/trust.md: every sentence names tests, and every test it names exists where it says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "trust.md"
LINK = re.compile(r"\[`(test_\w+)`\]\(([^)]+)\)")
# What no test of ours can try.
UNTESTED = ("**The chain, and these contracts.**",)


def _sentences() -> list[str]:
    _, *sentences = re.split(r"^- ", PAGE.read_text(), flags=re.MULTILINE)
    assert sentences
    return sentences


def test_trust__every_sentence__names_a_test() -> None:
    without = [entry for entry in _sentences() if not LINK.search(entry)]
    assert all(entry.startswith(UNTESTED) for entry in without), without


def test_trust__every_test_named__is_there() -> None:
    for sentence in _sentences():
        for name, path in LINK.findall(sentence):
            source = (PAGE.parent / path).resolve().read_text()
            assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"{name} is not in {path}"
