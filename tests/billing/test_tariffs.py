"""Tariff models: by the local clock, over clock changes, and what of them is published."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from fairwatt.billing import Flat, changes, read_tariffs, schedule, supplier_schedule
from fairwatt.community import Horizon, Supplier
from fairwatt.errors import BillingError, CaseError
from fairwatt.imbalances import Tariff

if TYPE_CHECKING:
    from pathlib import Path

MADRID = ZoneInfo("Europe/Madrid")
SUNDAY = int(datetime(2019, 3, 31, tzinfo=MADRID).timestamp())  # 23 hours long
DAY = Horizon(SUNDAY, 3600, 47)
TEXT = """
time_zone = "Europe/Madrid"

[[suppliers]]
name = "Plain"
kind = "flat"
retail_per_kwh = 0.25
feed_in_per_kwh = 0.06

[[suppliers]]
name = "Evening"
kind = "time-of-use"
retail_per_kwh = 0.24
feed_in_per_kwh = 0.05
bands = [
    { weekdays = ["mon-fri"], hours = ["18:00-22:00"], retail_per_kwh = 0.34 },
    { weekdays = ["sun"], hours = ["23:00-01:00"], retail_per_kwh = 0.1, feed_in_per_kwh = -0.01 },
]

[[suppliers]]
name = "Spot"
kind = "day-ahead"
prices = "prices.csv"
unit = "MWh"
retail_margin_per_kwh = 0.05
feed_in_margin_per_kwh = 0.01
feed_in_floor_per_kwh = 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = ["time,price"]
    rows += [
        f"{datetime.fromtimestamp(SUNDAY + 3600 * at, MADRID).isoformat()},{at - 2}"
        for at in range(47)
    ]
    (tmp_path / "prices.csv").write_text("\n".join(rows) + "\n")
    path = tmp_path / "tariffs.toml"
    path.write_text(TEXT)
    return path


def test_models__hold_by_the_local_clock(file: Path) -> None:
    zone, models = read_tariffs(file, DAY)
    assert {each.retail_micro_per_kwh for each in schedule(models["Plain"], DAY, zone)} == {250_000}

    evening = schedule(models["Evening"], DAY, zone)
    rates = {
        datetime.fromtimestamp(each.effective_from, MADRID).strftime("%a %H"): (
            each.retail_micro_per_kwh,
            each.feed_in_micro_per_kwh,
        )
        for each in evening
    }
    assert len(rates) == 47  # 02 of Sunday does not exist
    special = {hour: rate for hour, rate in rates.items() if rate != (240_000, 50_000)}
    assert special == {
        "Sun 23": (100_000, -10_000),
        "Mon 00": (100_000, -10_000),
    } | dict.fromkeys(("Mon 18", "Mon 19", "Mon 20", "Mon 21"), (340_000, 50_000))
    assert [each.effective_from for each in changes(evening)] == [
        int(datetime(2019, *day, tzinfo=MADRID).timestamp())
        for day in ((3, 31, 0), (3, 31, 23), (4, 1, 1), (4, 1, 18), (4, 1, 22))
    ]

    spot = schedule(models["Spot"], DAY, zone)
    assert [each.retail_micro_per_kwh for each in spot[:4]] == [48_000, 49_000, 50_000, 51_000]
    assert [each.feed_in_micro_per_kwh for each in spot[:3]] == [0, 0, 0]
    assert spot[-1].feed_in_micro_per_kwh == 34_000
    with pytest.raises(BillingError, match="no day-ahead price for 2019-04-02"):
        models["Spot"].rates(SUNDAY + 47 * 3600, zone)


def test_changes__leave_out_what_holds_already() -> None:
    supplier = Supplier("S", [0.2, 0.2, 0.3, 0.3, 0.2], 0.05)
    wanted = supplier_schedule(supplier, Horizon(0, 900, 5), start=9000)
    assert changes(wanted, Tariff(0, 200_000, 50_000)) == [wanted[2], wanted[4]]
    assert changes(wanted) == [wanted[0], wanted[2], wanted[4]]
    with pytest.raises(BillingError, match="less than 15 minutes"):
        changes(supplier_schedule(supplier, Horizon(0, 300, 5)))
    with pytest.raises(BillingError, match="buying to sell would pay"):
        schedule(Flat(1, 2), DAY, MADRID)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "flat"', 'kind = "flatt"', "suppliers[0].kind: must be one of flat"),
        ('"18:00-22:00"', '"18-22"', "bands[0].hours[0]: '18-22' are no hours; write them"),
        ('"mon-fri"', '"mo-fri"', "bands[0].weekdays[0]: must be one of mon"),
        ("feed_in_per_kwh = 0.06", "feed_in_per_kwh = 0.6", "is above retail_per_kwh"),
        ('name = "Spot"', 'name = "Plain"', "'Plain' is there twice"),
        ('unit = "MWh"', 'unit = "GWh"', "must be one of kWh, MWh"),
        ("retail_margin", "retail_marge", "retail_margin_per_kwh: is missing"),
    ],
)
def test_read__slip__is_named(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(TEXT.replace(old, new))
    with pytest.raises(CaseError) as raised:
        read_tariffs(file, DAY)
    assert message in str(raised.value)
