"""Green Button files: what they say, and both clock changes, on both halves of the globe."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from tests.metering.feeds import EUROPE, NORTH_AMERICA, SYDNEY, Feed, Series

from fairwatt import metering
from fairwatt.errors import MeterDataError
from fairwatt.metering import Channel
from fairwatt.metering._clock import Clock, DaylightRule

SAMPLE = Path(__file__).parent / "data" / "15minLP_15Days.xml"
HOUR = 3600
YEAR = 8760
PLACES = [
    ("America/Los_Angeles", -8 * HOUR, NORTH_AMERICA),
    ("Europe/Madrid", HOUR, EUROPE),
    ("Australia/Sydney", 10 * HOUR, SYDNEY),
]


def hours_of_year(zone: str, year: int = 2011) -> list[int]:
    """Starts of the 8,760 hours of a local year, Unix seconds."""
    first = int(datetime(year, 1, 1, tzinfo=ZoneInfo(zone)).timestamp())
    return [first + HOUR * at for at in range(YEAR)]


def local(moment: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment, ZoneInfo(zone)).replace(tzinfo=None)


def values_of_year(rng: np.random.Generator) -> list[int]:
    return rng.integers(100, 3000, YEAR).tolist()


def naive_durations(starts: list[int], zone: str) -> list[int]:
    """Differences of local times, as some writers take them: 7200 and 0 at the changes."""
    return [
        int((local(start + HOUR, zone) - local(start, zone)).total_seconds()) for start in starts
    ]


def test_sample_of_the_project__15_minutes__every_reading_and_the_total() -> None:
    data = metering.load(SAMPLE)
    assert data.channels == (Channel("your house", "import"),)
    assert data.start == int(datetime(2012, 3, 1, 5, tzinfo=UTC).timestamp())
    assert data.energy_wh.shape == (1, 1340)
    assert data.energy_wh[0, :4].tolist() == [324, 321, 328, 314]
    assert data.energy_wh.sum() == 1_397_734
    assert not data.estimated.any()
    assert data.findings == ()


def test_sample_of_the_project__brought_to_hours__keeps_the_total() -> None:
    data = metering.load(SAMPLE, period_seconds=HOUR)
    assert data.energy_wh.shape == (1, 335)
    assert data.energy_wh[0, 0] == 324 + 321 + 328 + 314
    assert data.energy_wh.sum() == 1_397_734


@pytest.mark.parametrize(("zone", "offset", "rules"), PLACES)
def test_year__durations_of_local_clock__all_hours_and_the_total(
    zone: str, offset: int, rules: tuple[str, str], tmp_path: Path
) -> None:
    starts, values = hours_of_year(zone), values_of_year(np.random.default_rng(1))
    durations = naive_durations(starts, zone)
    assert sorted(set(durations)) == [0, 3600, 7200]
    feed = Feed([Series(zip(starts, durations, values, strict=True))], offset=offset, rules=rules)
    data = metering.load(feed.write(tmp_path / "year.xml"), period_seconds=HOUR)
    assert data.start == starts[0]
    assert data.energy_wh.tolist() == [values]
    assert not data.estimated.any()
    assert [(each.kind, each.action) for each in data.findings] == [("clock", "corrected")] * 2


@pytest.mark.parametrize(("zone", "offset", "rules"), PLACES)
def test_year__starts_of_local_clock_too__all_hours_and_the_total(
    zone: str, offset: int, rules: tuple[str, str], tmp_path: Path
) -> None:
    starts, values = hours_of_year(zone), values_of_year(np.random.default_rng(2))
    written = [int(local(start, zone).replace(tzinfo=UTC).timestamp()) - offset for start in starts]
    durations = naive_durations(starts, zone)
    feed = Feed([Series(zip(written, durations, values, strict=True))], offset=offset, rules=rules)
    data = metering.load(feed.write(tmp_path / "year.xml"), period_seconds=HOUR)
    assert data.start == starts[0]
    assert data.energy_wh.tolist() == [values]
    assert not data.estimated.any()
    assert {each.kind for each in data.findings} == {"clock"}


def test_year__durations_true__nothing_to_report(tmp_path: Path) -> None:
    starts, values = hours_of_year("Europe/Madrid"), values_of_year(np.random.default_rng(3))
    feed = Feed([Series((start, HOUR, value) for start, value in zip(starts, values, strict=True))])
    data = metering.load(feed.write(tmp_path / "year.xml"), period_seconds=HOUR)
    assert data.energy_wh.tolist() == [values]
    assert data.findings == ()


def test_reading_of_two_hours__next_two_hours_later__energy_in_both(tmp_path: Path) -> None:
    starts = [at * HOUR for at in (0, 1, 3, 4)]
    feed = Feed(
        [Series(zip(starts, [HOUR, 2 * HOUR, HOUR, HOUR], [100, 300, 100, 100], strict=True))]
    )
    data = metering.load(feed.write(tmp_path / "a.xml"), period_seconds=HOUR, policy="estimate")
    assert data.energy_wh.sum() == 600
    assert data.energy_wh[0, [0, 3, 4]].tolist() == [100, 100, 100]
    assert data.energy_wh[0, 1] + data.energy_wh[0, 2] == 300
    assert data.estimated.tolist() == [[False, True, True, False, False]]
    assert [each.kind for each in data.findings] == ["spread"]


def test_import_and_export__of_one_usage_point__two_channels(tmp_path: Path) -> None:
    readings = [(0, HOUR, 100), (HOUR, HOUR, 200)]
    feed = Feed(
        [Series(readings), Series([(0, HOUR, 5), (HOUR, HOUR, 700)], direction=19)],
        titles={1: "home"},
    )
    data = metering.load(feed.write(tmp_path / "a.xml"), period_seconds=HOUR)
    assert data.channels == (Channel("home", "import"), Channel("home", "export"))
    assert data.injected_wh().tolist() == [[-95, 500]]
    assert data.meters == ("home",)


def test_net__flow_direction_4__keeps_its_signs(tmp_path: Path) -> None:
    feed = Feed([Series([(0, HOUR, -100), (HOUR, HOUR, 200)], direction=4)])
    data = metering.load(feed.write(tmp_path / "a.xml"), period_seconds=HOUR)
    assert data.channels == (Channel("1", "net"),)
    assert data.energy_wh.tolist() == [[-100, 200]]
    assert data.injected_wh().tolist() == [[100, -200]]


@pytest.mark.parametrize(
    ("multiplier", "value", "expected"), [(3, 7, 7000), (0, 7, 7), (-3, 7000, 7), (6, 2, 2_000_000)]
)
def test_multiplier__of_the_reading_type__scales(
    multiplier: int, value: int, expected: int, tmp_path: Path
) -> None:
    feed = Feed([Series([(0, HOUR, value), (HOUR, HOUR, value)], multiplier=multiplier)])
    mapping = metering.Mapping(checks=metering.Checks(rating_w=1e9, mean_low_w=0))
    data = metering.load(feed.write(tmp_path / "a.xml"), mapping, period_seconds=HOUR)
    assert data.energy_wh.tolist() == [[expected, expected]]


def test_power__in_watts__is_energy_over_its_interval(tmp_path: Path) -> None:
    feed = Feed([Series([(0, 900, 1000), (900, 900, 2000)], uom=38, behaviour=12, interval=900)])
    data = metering.load(feed.write(tmp_path / "a.xml"))
    assert data.energy_wh.tolist() == [[250, 500]]


def test_counter__accumulation_3__energy_between_its_readings(tmp_path: Path) -> None:
    readings = [(at * 900, 0, 5000 + 100 * at) for at in range(5)]
    feed = Feed([Series(readings, behaviour=3, interval=900)])
    data = metering.load(feed.write(tmp_path / "a.xml"))
    assert data.energy_wh.tolist() == [[100] * 4]


def test_readings_without_times__follow_each_other_from_the_start_of_the_block(
    tmp_path: Path,
) -> None:
    feed = Feed([Series([(None, None, 1), (None, None, 2), (None, None, 3)], block=(0, 3 * HOUR))])
    data = metering.load(feed.write(tmp_path / "a.xml"), period_seconds=HOUR)
    assert data.energy_wh.tolist() == [[1, 2, 3]]


def test_quality__estimated_by_the_utility__is_kept_and_marked(tmp_path: Path) -> None:
    feed = Feed([Series([(0, HOUR, 1), (HOUR, HOUR, 2, 8), (2 * HOUR, HOUR, 3, 17)])])
    data = metering.load(feed.write(tmp_path / "a.xml"), period_seconds=HOUR)
    assert data.energy_wh.tolist() == [[1, 2, 3]]
    assert data.estimated.tolist() == [[False, True, False]]
    (finding,) = data.findings
    assert (finding.kind, finding.start, finding.end, finding.action) == (
        "quality",
        HOUR,
        2 * HOUR,
        "marked",
    )


def test_usage_points__of_the_same_title__are_told_apart_by_their_address(tmp_path: Path) -> None:
    one = [(0, HOUR, 1), (HOUR, HOUR, 1)]
    feed = Feed([Series(one), Series(one, point=2)], titles={1: "meter", 2: "meter"})
    data = metering.load(feed.write(tmp_path / "a.xml"), period_seconds=HOUR)
    assert data.meters == ("1", "2")


def test_gas_and_reactive_energy__are_left_out_and_named(tmp_path: Path) -> None:
    one = [(0, HOUR, 1), (HOUR, HOUR, 1)]
    feed = Feed([Series(one), Series(one, uom=73, title="kVArh"), Series(one, commodity=7)])
    data = metering.load(feed.write(tmp_path / "a.xml"), period_seconds=HOUR)
    assert len(data.channels) == 1
    assert [each.kind for each in data.findings] == ["skipped", "skipped"]
    assert any("uom 73" in each.problem for each in data.findings)


def test_daily_sums_beside_hours__the_finer_is_taken(tmp_path: Path) -> None:
    hours = [(at * HOUR, HOUR, 10) for at in range(48)]
    days = [(0, 86_400, 240), (86_400, 86_400, 240)]
    feed = Feed([Series(days, interval=86_400), Series(hours)])
    data = metering.load(feed.write(tmp_path / "a.xml"), period_seconds=HOUR)
    assert data.energy_wh.tolist() == [[10] * 48]
    assert [each.kind for each in data.findings] == ["skipped"]


def test_compressed_file__is_read(tmp_path: Path) -> None:
    packed = tmp_path / "a.xml.gz"
    packed.write_bytes(gzip.compress(SAMPLE.read_bytes()))
    assert metering.load(packed).energy_wh.sum() == 1_397_734


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<feed><entry></feed>", "not well-formed"),
        ("<html><body/></html>", "begins with <html>"),
        ("<feed xmlns='http://www.w3.org/2005/Atom'></feed>", "has no entries"),
        ("<!DOCTYPE feed [<!ENTITY a 'b'>]><feed>&a;</feed>", "declares a document type"),
        ("<feed><entry><content><UsagePoint/></content></entry></feed>", "no electric energy"),
    ],
)
def test_broken_file__is_refused_with_its_name(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.xml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MeterDataError, match=problem) as refused:
        metering.load(path)
    assert str(refused.value).startswith(str(path))


@pytest.mark.parametrize(
    ("reading", "problem"),
    [
        ((0, HOUR, "12x"), "is no number: '12x'"),
        (("yesterday", HOUR, 1), "start must be a whole number, not 'yesterday'"),
        ((-5, HOUR, 1), "which is no time"),
        ((0, HOUR, "1e30"), "no meter counts"),
    ],
)
def test_broken_reading__is_refused_with_its_place(
    reading: tuple[int | str, ...], problem: str, tmp_path: Path
) -> None:
    path = Feed([Series([reading, (HOUR, HOUR, 1)])]).write(tmp_path / "a.xml")
    with pytest.raises(MeterDataError) as refused:
        metering.load(path)
    assert problem in str(refused.value)
    assert str(path) in str(refused.value)


def test_truncated_file__at_any_place__never_a_traceback(tmp_path: Path) -> None:
    text = Feed([Series([(at * HOUR, HOUR, at) for at in range(5)])]).text()
    path = tmp_path / "cut.xml"
    for length in range(0, len(text) - 1, 37):
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(MeterDataError):
            metering.load(path)


# ------------------------------------------------------------------------------------------ rules


@pytest.mark.parametrize(
    ("code", "year", "expected"),
    [
        (0x360E2000, 2012, "2012-03-11T02:00"),  # second Sunday of March
        (0xB40E2000, 2012, "2012-11-04T02:00"),  # first Sunday of November
        (0x3E0E2000, 2019, "2019-03-31T02:00"),  # last Sunday of March
        (0x3C0E2000, 2019, "2019-03-31T02:00"),  # fifth Sunday of March
        (0x3C0E2000, 2018, "2018-03-25T02:00"),  # there is no fifth: the last
        (0x328AB000, 2023, "2023-03-10T11:00"),  # Friday on or after 8 March
        (0x20F00A8C, 2023, "2023-02-15T00:45"),  # 15 February, 0:45
        (0x3 << 28 | 4 << 25 | 5 << 17 | 1 << 12 | 2700, 2024, "2024-03-15T01:45"),
    ],
)
def test_rule__of_a_clock_change__gives_its_day_in_a_year(
    code: int, year: int, expected: str
) -> None:
    moment = DaylightRule.decoded(code).local(year)
    shown = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=moment)
    assert f"{shown:%Y-%m-%dT%H:%M}" == expected


@pytest.mark.parametrize("code", [0x060E2000, 0xD60E2000, 0x36000000, 0x30002000, 0x360F8000])
def test_rule__with_a_part_out_of_range__is_refused(code: int) -> None:
    with pytest.raises(ValueError, match="is no rule of a clock change"):
        DaylightRule.decoded(code)


@pytest.mark.parametrize(("zone", "offset", "rules"), PLACES)
def test_clock__of_rules__agrees_with_the_time_zone(
    zone: str, offset: int, rules: tuple[str, str]
) -> None:
    first, last = hours_of_year(zone)[0], hours_of_year(zone)[-1]
    start, end = (DaylightRule.decoded(int(rule, 16)) for rule in rules)
    made = Clock.of_rules(offset=offset, saving=HOUR, start=start, end=end, first=first, last=last)
    known = Clock.of_zone(ZoneInfo(zone), first, last)
    moments = np.arange(first, last, 900)
    assert (made.offset(moments) == known.offset(moments)).all()
    assert made.standard == known.standard == offset
