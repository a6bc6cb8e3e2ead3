"""The page for operators says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairwatt import metering

PAGE = (Path(__file__).parents[2] / "docs" / "metering.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_mapping_files_of_the_page__load(text: str, tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text, encoding="utf-8")
    assert metering.Mapping.load(path).zone_is_given


def test_findings_of_the_page__are_all_there_are() -> None:
    table = PAGE.partition("| kind |")[2].partition("\n\n")[0]
    kinds = re.findall(r"^\| `(\w+)` \| .* \| ([\w ]+) \| [^|]+\|$", table, re.MULTILINE)
    refused = {kind for kind, action in kinds if action == "refused"}
    assert refused == set(metering.FAULTS)
    assert {kind for kind, _ in kinds} - refused == {
        "duplicate",
        "rollover",
        "clock",
        "quality",
        "skipped",
    }
