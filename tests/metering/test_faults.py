"""What is wrong with readings is found, by meter and time, and refused, estimated or accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairwatt import metering
from fairwatt.errors import MeterDataError, MeterDataRefused
from fairwatt.metering import Checks, Mapping, Values

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

QUARTER, HOUR, DAY, WEEK = 900, 3600, 86_400, 7 * 86_400
START = 1_559_520_000  # Monday 2019-06-03
DAYS = 28
COUNT = DAYS * 96


def home(seed: int = 0) -> NDArray[np.float64]:
    """Import of a home, kWh in each quarter hour of four weeks, to the Wh."""
    rng = np.random.default_rng(seed)
    hour = np.arange(COUNT) % 96 / 4
    usual = 0.05 + 0.1 * np.exp(-(((hour - 20) / 2.5) ** 2)) + 0.05 * np.exp(-((hour - 8) ** 2))
    return np.round(usual * rng.uniform(0.7, 1.3, COUNT), 3)


def sun(shift_hours: float = 0, peak_kwh: float = 1.0) -> NDArray[np.float64]:
    """Export of a PV plant; noon of the sun is at 12 h."""
    hour = (np.arange(COUNT) % 96 / 4 + 0.125 - shift_hours) % 24
    return np.round(peak_kwh * np.maximum(0, np.cos((hour - 12) / 7 * np.pi / 2)) ** 2, 3) * (
        abs(hour - 12) < 7
    )


@dataclass
class Table:
    """Rows of one meter, to be changed and written."""

    folder: Path
    times: NDArray[np.int64]
    kwh: NDArray[np.float64]

    @classmethod
    def of(cls, folder: Path, values: NDArray[np.float64]) -> Table:
        return cls(folder, START + QUARTER * np.arange(values.size, dtype=np.int64), values.copy())

    def write(self) -> Path:
        frame = pd.DataFrame({"t": self.times, "m": self.kwh})
        frame.to_csv(self.folder / "data.csv", index=False)
        return self.folder / "data.csv"

    def load(
        self, policy: str = "estimate", checks: Checks | None = None, **values: str | int | None
    ) -> metering.IntervalData:
        return metering.load(
            self.write(), self.mapping(checks, **values), policy=policy, period_seconds=QUARTER
        )

    def mapping(self, checks: Checks | None = None, **values: str | int | None) -> Mapping:
        series = (Values(**values),)  # type: ignore[arg-type]
        return Mapping(time_format="unix", series=series, checks=checks or Checks())


def wh(kwh: NDArray[np.float64]) -> list[int]:
    result: list[int] = np.rint(kwh * 1000).astype(int).tolist()
    return result


def found(data: metering.IntervalData) -> list[tuple[str, int, int, str]]:
    """Kind, first and last cell, and what was done."""
    return [
        (each.kind, (each.start - START) // QUARTER, (each.end - START) // QUARTER, each.action)
        for each in data.findings
    ]


def test_good_readings__nothing_found_nothing_estimated(tmp_path: Path) -> None:
    data = Table.of(tmp_path, home()).load("refuse")
    assert data.findings == ()
    assert data.energy_wh[0].tolist() == wh(home())
    assert not data.estimated.any()


# -------------------------------------------------------------------------------------------- gaps


def test_gap__up_to_two_hours__is_a_line_between_its_neighbours(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.kwh[99], table.kwh[104] = 0.100, 0.200
    table.kwh[100:104] = np.nan
    data = table.load()
    assert found(data) == [("gap", 100, 104, "estimated")]
    assert data.energy_wh[0, 99:105].tolist() == [100, 120, 140, 160, 180, 200]
    assert np.flatnonzero(data.estimated[0]).tolist() == [100, 101, 102, 103]


def test_gap__longer__is_the_same_time_a_week_before(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    rows = slice(14 * 96, 14 * 96 + 40)
    table.times, table.kwh = (np.delete(column, rows) for column in (table.times, table.kwh))
    data = table.load()
    assert found(data) == [("gap", 14 * 96, 14 * 96 + 40, "estimated")]
    assert data.energy_wh[0, rows].tolist() == wh(home())[7 * 96 : 7 * 96 + 40]
    assert data.estimated.sum() == 40


def test_gap__in_the_first_week__is_the_week_after(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.kwh[10:90] = np.nan
    assert table.load().energy_wh[0, 10:90].tolist() == wh(home())[7 * 96 + 10 : 7 * 96 + 90]


def test_gap__where_no_week_has_it__is_the_nearest_day(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home()[: 3 * 96])
    table.kwh[96 : 96 + 40] = np.nan
    assert table.load().energy_wh[0, 96 : 96 + 40].tolist() == wh(home())[:40]


def test_gap__similar_day_across_a_clock_change__is_the_same_local_time(tmp_path: Path) -> None:
    times = pd.date_range("2019-10-21", "2019-11-04", freq="h", tz="Europe/Madrid")[:-1]
    values = times.hour.to_numpy() / 1000.0 + 0.1  # the clock tells what is used
    values[times.day == 28] = np.nan  # the day after the change
    frame = pd.DataFrame({"t": times.tz_convert("UTC"), "m": values})
    frame.to_parquet(tmp_path / "data.parquet")
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    mapping = Mapping(zone=ZoneInfo("Europe/Madrid"), zone_is_given=True)
    data = metering.load(tmp_path / "data.parquet", mapping, period_seconds=HOUR, policy="estimate")
    at = np.flatnonzero(times.day == 28)
    assert data.energy_wh[0, at].tolist() == [100 + hour for hour in range(24)]


def test_gap__refused__names_meter_and_time(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.kwh[100] = np.nan
    with pytest.raises(MeterDataRefused) as refused:
        table.load("refuse")
    assert "gap, m import, 2019-06-04T01:00Z to 2019-06-04T01:15Z" in str(refused.value)
    assert [each.action for each in refused.value.findings] == ["refused"]


def test_gap__part_of_an_hour__marks_the_hour(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.kwh[5] = np.nan
    data = metering.load(table.write(), table.mapping(), policy="estimate", period_seconds=HOUR)
    assert np.flatnonzero(data.estimated[0]).tolist() == [1]
    assert data.energy_wh[0, 2:].sum() == sum(wh(home())[8:])


def test_meter_without_any_reading__cannot_be_estimated(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("t,a,b\n0,1,\n900,1,\n", encoding="utf-8")
    with pytest.raises(MeterDataError, match="meter b: has no import that was measured"):
        metering.load(tmp_path / "data.csv", Mapping(time_format="unix"), policy="estimate")


# -------------------------------------------------------------------------------------- duplicates


def test_duplicate__of_the_same_value__is_dropped_and_never_refused(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.times = np.insert(table.times, 51, table.times[50])
    table.kwh = np.insert(table.kwh, 51, table.kwh[50])
    data = table.load("refuse")
    assert found(data) == [("duplicate", 50, 51, "dropped")]
    assert data.energy_wh[0].tolist() == wh(home())


def test_duplicate__of_another_value__is_estimated(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.times = np.append(table.times, table.times[50])  # out of sequence
    table.kwh = np.append(table.kwh, 0.999)
    data = table.load()
    assert found(data) == [("conflict", 50, 51, "estimated")]
    assert "different values, first" in data.findings[0].problem
    neighbours = wh(home())[49], wh(home())[51]
    assert min(neighbours) <= data.energy_wh[0, 50] <= max(neighbours)
    with pytest.raises(MeterDataRefused, match="1 conflict"):
        table.load("refuse")


# ------------------------------------------------------------------------------------------ values


def test_spike__above_the_rating__is_estimated(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.kwh[200] = 3.0  # 12 kW
    checks = Checks(rating_w=10_000)
    data = table.load(checks=checks)
    assert found(data) == [("spike", 200, 201, "estimated")]
    assert "12 kW is above 10 kW: its connection of 10 kW" in data.findings[0].problem
    assert data.energy_wh[0, 200] < 200
    assert table.load(checks=Checks(ratings_w={"m": 15_000})).findings == ()


def test_spike__far_beyond_what_the_meter_has__is_estimated(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.kwh[200:202] = 80.0
    data = table.load()
    assert found(data) == [("spike", 200, 202, "estimated")]


def test_spike__at_a_home_with_an_ev__is_none(tmp_path: Path) -> None:
    values = home()
    values[80::96] = values[81::96] = 2.75  # 11 kW for half an hour each evening
    assert Table.of(tmp_path, values).load("refuse").findings == ()


def test_spike__accepted_by_the_mapping__is_reported_and_kept(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.kwh[200] = 80.0
    for accept in ("spike", "spike:m"):
        data = table.load("refuse", Checks(accept=frozenset({accept})))
        assert found(data) == [("spike", 200, 201, "accepted")]
        assert data.energy_wh[0, 200] == 80_000
    with pytest.raises(MeterDataRefused):
        table.load("refuse", Checks(accept=frozenset({"spike:another"})))


def test_negative__in_one_direction__is_estimated(tmp_path: Path) -> None:
    table = Table.of(tmp_path, home())
    table.kwh[300:302] *= -1
    assert found(table.load()) == [("negative", 300, 302, "estimated")]
    assert table.load("refuse", direction="net").findings == ()


def test_unit__wh_declared_as_kwh__is_suspected(tmp_path: Path) -> None:
    data = Table.of(tmp_path, home() * 1000).load()
    assert found(data) == [("unit", 0, COUNT, "kept")]
    with pytest.raises(MeterDataRefused, match="1 unit"):
        Table.of(tmp_path, home() * 1000).load("refuse")


def test_unit__kwh_declared_as_wh__is_suspected(tmp_path: Path) -> None:
    assert found(Table.of(tmp_path, home()).load(unit="Wh"))[0][0] == "unit"


def test_unit__above_the_rating_on_average__is_suspected(tmp_path: Path) -> None:
    data = Table.of(tmp_path, home() * 1000 + 0.5).load(checks=Checks(rating_w=17_000))
    assert found(data) == [("unit", 0, COUNT, "kept")]


def test_unit__that_changes_within_the_file__is_suspected(tmp_path: Path) -> None:
    values = home()
    values[10 * 96 :] *= 1000
    data = Table.of(tmp_path, values).load()
    (finding,) = data.findings
    assert finding.kind == "unit"
    assert "from day 11 on" in finding.problem


def test_unit__of_a_plant_with_large_numbers__is_not(tmp_path: Path) -> None:
    assert Table.of(tmp_path, home() * 1000 + 0.123).load("refuse").findings == ()


def test_time_zone__pv_at_night__is_suspected(tmp_path: Path) -> None:
    assert Table.of(tmp_path, sun()).load("refuse", direction="export").findings == ()
    data = Table.of(tmp_path, sun(9)).load(direction="export")
    assert found(data) == [("time_zone", 0, COUNT, "kept")]
    assert "from 23 to 3 h" in data.findings[0].problem


def test_time_zone__two_hours_off__is_suspected_where_the_longitude_is_known(
    tmp_path: Path,
) -> None:
    checks = Checks(longitude=0)
    for shift, kinds in ((0, []), (1, []), (2, ["time_zone"]), (-2, ["time_zone"])):
        data = Table.of(tmp_path, sun(shift)).load(checks=checks, direction="export")
        assert [each.kind for each in data.findings] == kinds


@pytest.mark.parametrize("longitude", [-100, -11, -4, 0, 4, 11, 151])
def test_time_zone__noon_of_the_sun__is_found_at_any_longitude_from_hours(
    longitude: int, tmp_path: Path
) -> None:
    for wrong, kinds in ((0, []), (-1, []), (1, []), (-2, ["time_zone"]), (2, ["time_zone"])):
        quarters = sun(-longitude / 15 + wrong)
        table = Table.of(tmp_path, quarters.reshape(-1, 4).sum(axis=1))
        table.times = START + HOUR * np.arange(table.kwh.size, dtype=np.int64)
        checks = Checks(longitude=longitude, night_share=1)
        data = table.load(checks=checks, direction="export")
        assert [each.kind for each in data.findings] == kinds


def test_time_zone__export_all_day_and_night__is_no_pv(tmp_path: Path) -> None:
    assert Table.of(tmp_path, home()).load("refuse", direction="export").findings == ()


# ---------------------------------------------------------------------------------------- counters


def counter(values: NDArray[np.float64], first: float = 1000.0) -> NDArray[np.float64]:
    return np.round(first + np.concatenate(([0], np.cumsum(values))), 3)


def test_counter__energy_between_readings(tmp_path: Path) -> None:
    data = Table.of(tmp_path, counter(home())).load("refuse", kind="register")
    assert data.energy_wh[0].tolist() == wh(home())
    assert data.findings == ()


def test_counter__missing_readings__keep_their_sum_in_the_shape_of_similar_days(
    tmp_path: Path,
) -> None:
    table = Table.of(tmp_path, counter(home()))
    table.kwh[15 * 96 : 15 * 96 + 48] = np.nan
    data = table.load(kind="register")
    span = slice(15 * 96 - 1, 15 * 96 + 48)
    assert found(data) == [("spread", span.start, span.stop, "estimated")]
    assert data.energy_wh[0, span].sum() == sum(wh(home())[span])
    assert data.energy_wh.sum() == sum(wh(home()))
    shape, similar = data.energy_wh[0, span], np.array(wh(home())[span.start - 7 * 96 :][:49])
    assert np.corrcoef(shape, similar)[0, 1] > 0.99
    assert np.flatnonzero(data.estimated[0]).tolist() == list(range(span.start, span.stop))


@pytest.mark.parametrize("digits", [4, None])
def test_counter__that_begins_again_at_its_top__goes_on(digits: int | None, tmp_path: Path) -> None:
    counts = counter(home(), 9_990.0) % 10_000
    data = Table.of(tmp_path, counts).load("refuse", kind="register", digits=digits)
    assert data.energy_wh[0].tolist() == wh(home())
    assert [each.kind for each in data.findings] == ["rollover"]


def test_counter__reset__its_interval_is_estimated(tmp_path: Path) -> None:
    counts = counter(home(), 4_000.0)
    at = 500
    counts[at:] -= counts[at] - 0.02
    data = Table.of(tmp_path, counts).load(kind="register")
    assert found(data) == [("reset", at - 1, at, "estimated")]
    others = np.arange(COUNT) != at - 1
    assert data.energy_wh[0, others].tolist() == np.array(wh(home()))[others].tolist()
    with pytest.raises(MeterDataRefused, match="1 reset"):
        Table.of(tmp_path, counts).load("refuse", kind="register")


@pytest.mark.parametrize("wrong", [0.0, 99_999.0])
def test_counter__a_single_wrong_reading__is_left_out(wrong: float, tmp_path: Path) -> None:
    table = Table.of(tmp_path, counter(home(), 4_000.0))
    table.kwh[500] = wrong
    data = table.load(kind="register")
    assert {each.kind for each in data.findings} == {"spike", "spread"}
    assert data.energy_wh.sum() == sum(wh(home()))
    assert np.flatnonzero(data.estimated[0]).tolist() == [499, 500]


def test_counter__read_a_few_seconds_late__is_interpolated(tmp_path: Path) -> None:
    table = Table.of(tmp_path, counter(home()))
    table.times = table.times + np.random.default_rng(1).integers(0, 20, table.times.size)
    data = table.load("refuse", kind="register")
    assert data.energy_wh.shape[1] == COUNT
    assert abs(int(data.energy_wh.sum()) - sum(wh(home()))) < 5
    assert np.abs(data.energy_wh[0] - np.array(wh(home()))).max() < 10


# ------------------------------------------------------------------------------------------ random


KINDS = ["gap", "conflict", "duplicate", "spike", "negative"]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    faults=st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(0, 130)),
        max_size=12,
        unique_by=lambda fault: fault[1],
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_faults__all_are_found_where_they_are__and_nothing_else(
    faults: list[tuple[str, int]], seed: int, tmp_path: Path
) -> None:
    values, times = home(seed % 7), START + QUARTER * np.arange(COUNT, dtype=np.int64)
    rows = dict(zip(times.tolist(), values.tolist(), strict=True))
    extra: list[tuple[int, float]] = []
    for kind, place in faults:
        time = START + QUARTER * (20 * place + 7)  # apart, so that each is a run of its own
        if kind == "gap":
            del rows[time]
        elif kind == "spike":
            rows[time] = 50.0
        elif kind == "negative":
            rows[time] = -0.1
        else:
            extra.append((time, rows[time] + (0.05 if kind == "conflict" else 0)))
    shuffled = [*rows.items(), *extra]
    np.random.default_rng(seed).shuffle(shuffled)  # type: ignore[arg-type]
    table = Table(tmp_path, *map(np.array, zip(*shuffled, strict=True)))
    table.times = table.times.astype(np.int64)
    data = table.load()
    expected = sorted((kind, 20 * place + 7) for kind, place in faults)
    assert sorted((kind, first) for kind, first, _, _ in found(data)) == expected
    touched = sorted(at for kind, at in expected if kind != "duplicate")
    assert np.flatnonzero(data.estimated[0]).tolist() == touched
    sound = ~data.estimated[0]
    assert data.energy_wh[0, sound].tolist() == np.array(wh(values))[sound].tolist()
