"""Meter import beside a bare read of the same file by the same library."""

from __future__ import annotations

import tempfile
from gc import collect
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet
from rich.progress import Progress

from bench.results import Result
from fairwatt import metering
from fairwatt.errors import FairwattError
from fairwatt.metering import Mapping, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from rich.console import Console

__all__ = ["measure"]

METERS: Final = 1_000
CSV_METERS: Final = 100
QUARTERS: Final = 35_040
"""Of a year."""
_ROUNDS: Final = 2
_ROWS: Final = Mapping(time="time", meter="meter", series=(Values(column="kwh"),))


def measure(
    console: Console,
    meters: int = METERS,
    csv_meters: int = CSV_METERS,
    quarters: int = QUARTERS,
) -> Iterator[Result]:
    """Read a year of quarter hours from each kind of file, in turn with a bare read.

    Raises
    ------
    FairwattError
        If the imported energy is not what was written, to the last Wh.
    """
    with Progress(console=console, transient=True) as progress, tempfile.TemporaryDirectory() as at:
        kinds: tuple[tuple[str, int, Callable[[NDArray[np.int64], Path], Mapping | None]], ...] = (
            ("columns", meters, _columns),
            ("rows", meters, _rows),
            ("csv", csv_meters, _csv),
        )
        task = progress.add_task("", total=2 * len(kinds))
        for kind, many, write in kinds:
            name = f"meter_import_{kind}_{many}x{quarters}"
            progress.update(task, description=f"{name}: writing")
            path = Path(at) / f"data.{'csv' if kind == 'csv' else 'parquet'}"
            energy = np.random.default_rng(2021).integers(0, 500, (many, quarters))
            mapping = write(energy, path)
            total = energy.sum(axis=1)
            del energy
            progress.update(task, description=f"{name}: reading", advance=1)
            ours, bare = _in_turn(path, mapping, total)
            progress.advance(task)
            path.unlink()
            yield Result(name, ours, "s", "pandas", bare)


def _in_turn(
    path: Path, mapping: Mapping | None, total_wh: NDArray[np.int64]
) -> tuple[float, float]:
    """Best seconds of the import and of the bare read."""
    read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
    ours, bare = [], []
    for _ in range(_ROUNDS):
        collect()
        start = perf_counter()
        frame = read(path)
        bare.append(perf_counter() - start)
        del frame
        collect()
        start = perf_counter()
        data = metering.load(path, mapping)
        ours.append(perf_counter() - start)
        if not np.array_equal(data.energy_wh.sum(axis=1), total_wh) or data.findings:
            raise FairwattError("the import changed the energies of the bench")
        del data
    return min(ours), min(bare)


def _times(count: int) -> pd.DatetimeIndex:
    return pd.date_range("2019-01-01", periods=count, freq="15min", tz="UTC", name="time")


def _names(count: int) -> list[str]:
    return [f"meter-{at:05}" for at in range(count)]


def _columns(energy_wh: NDArray[np.int64], path: Path) -> None:
    """A Parquet file with a column for each meter."""
    many, count = energy_wh.shape
    frame = pd.DataFrame(energy_wh.T / 1000, index=_times(count), columns=_names(many))
    frame.to_parquet(path)


def _rows(energy_wh: NDArray[np.int64], path: Path) -> Mapping:
    """A Parquet file with a row for each reading, one meter below the other."""
    many, count = energy_wh.shape
    moments = pa.array(np.tile(_times(count).to_numpy(), many)).cast(pa.timestamp("ns", "UTC"))
    codes = np.repeat(np.arange(many, dtype=np.int32), count)
    meters = pa.DictionaryArray.from_arrays(codes, _names(many))
    table = pa.table({"time": moments, "meter": meters, "kwh": energy_wh.ravel() / 1000})
    parquet.write_table(table, path)  # type: ignore[no-untyped-call]
    return _ROWS


def _csv(energy_wh: NDArray[np.int64], path: Path) -> Mapping:
    """A CSV file with a row for each reading."""
    many, count = energy_wh.shape
    texts = _times(count).strftime("%Y-%m-%dT%H:%MZ").tolist()
    with path.open("w", encoding="utf-8") as file:
        file.write("time,meter,kwh\n")
        for name, values in zip(_names(many), energy_wh, strict=True):
            file.writelines(
                f"{text},{name},{value / 1000}\n"
                for text, value in zip(texts, values.tolist(), strict=True)
            )
    return _ROWS
