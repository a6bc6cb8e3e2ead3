"""Files that were damaged anywhere are imported, or refused with their name: never a traceback."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.metering.feeds import Feed, Series

from fairwatt import metering
from fairwatt.errors import MeterDataError
from fairwatt.metering import Mapping, Values

if TYPE_CHECKING:
    from pathlib import Path

ROWS = "id,t,kwh\n" + "".join(
    f"{name},2019-03-31T{hour:02}:00,0.{hour:02}5\n" for name in "ab" for hour in (0, 1, 3, 4)
)
LONG = Mapping(time="t", meter="id", series=(Values(column="kwh"),))
WIDE = "time;a;b\n2019-01-01T00:00Z;1,5;2\n2019-01-01T00:15Z;1,25;-2\n2019-01-01T01:00Z;;3\n"
FEED = Feed(
    [
        Series([(at * 3600, 3600, at) for at in range(4)]),
        Series([(at * 3600, 0, at) for at in range(4)], behaviour=3, direction=19),
    ]
).text()
KINDS = {"long.csv": (ROWS, LONG), "wide.csv": (WIDE, None), "feed.xml": (FEED, None)}
PIECES = st.one_of(
    st.sampled_from(["", "\n", ",", ";", '"', "-", "9" * 30, "e99", "nan", "\x00", "é", "<", ">"]),
    st.text(max_size=3),
)


@pytest.mark.parametrize("name", KINDS)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), PIECES), max_size=3))
def test_damaged_text__is_read_or_refused(
    name: str, cuts: list[tuple[float, int, str]], tmp_path: Path
) -> None:
    text, mapping = KINDS[name]
    for place, length, piece in cuts:
        at = int(place * len(text))
        text = text[:at] + piece + text[at + length :]
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for policy in metering.POLICIES:
        with contextlib.suppress(MeterDataError):
            data = metering.load(path, mapping, policy=policy, period_seconds=3600)
            assert data.energy_wh.shape == (len(data.channels), data.periods)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1), piece=st.binary(min_size=1, max_size=6))
def test_damaged_parquet__is_read_or_refused(place: float, piece: bytes, tmp_path: Path) -> None:
    times = pd.date_range("2019-01-01", periods=8, freq="15min", tz="UTC")
    path = tmp_path / "data.parquet"
    pd.DataFrame({"t": times, "a": range(8), "b": 1.5}).to_parquet(path)
    content = path.read_bytes()
    at = int(place * len(content))
    path.write_bytes(content[:at] + piece + content[at + len(piece) :])
    with contextlib.suppress(MeterDataError):
        metering.load(path)
