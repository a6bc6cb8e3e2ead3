"""The bench of meter import at a tiny size."""

from __future__ import annotations

from io import StringIO

from bench import metering
from rich.console import Console


def test_meter_import__three_kinds_of_files__beside_a_bare_read() -> None:
    rows = list(metering.measure(Console(file=StringIO()), meters=3, csv_meters=2, quarters=200))
    assert [(row.name, row.rival) for row in rows] == [
        ("meter_import_columns_3x200", "pandas"),
        ("meter_import_rows_3x200", "pandas"),
        ("meter_import_csv_2x200", "pandas"),
    ]
    assert all(row.ratio and row.ratio > 0 for row in rows)
