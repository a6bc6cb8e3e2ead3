"""Forecasts: what they say, and that they know nothing they could not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairwatt.cases import Case
from fairwatt.community import Load
from fairwatt.errors import ForecastError
from fairwatt.forecast import FORECASTS, Outlook, expected

DAY = 24
AHEAD = 1


def days(*rows: float) -> np.ndarray:
    """A series of days, each with one value."""
    return np.repeat(np.array([rows], float), DAY, axis=1)


def test_persistence__is_the_last_day_that_is_known() -> None:
    truth = days(1, 2, 3)
    forecast = Outlook("persistence", DAY, AHEAD).of(truth, 2 * DAY, 3 * DAY)
    # The last hour before gate closure to the start of the day is not metered yet.
    assert forecast[0].tolist() == [2.0] * 23 + [1.0]


def test_weekly__is_the_day_a_week_ago__or_persistence() -> None:
    truth = days(*range(9))
    outlook = Outlook("weekly", DAY, 0)
    assert outlook.of(truth, 8 * DAY, 9 * DAY)[0].tolist() == [1.0] * DAY
    assert outlook.of(truth, 3 * DAY, 4 * DAY)[0].tolist() == [2.0] * DAY


def test_nothing_metered__nothing_expected() -> None:
    for name in FORECASTS[:3]:
        assert not Outlook(name, DAY, AHEAD).of(days(5, 5), 0, DAY).any()


def test_regression__learns_what_the_weather_does() -> None:
    chance = np.random.default_rng(1)
    sun = chance.uniform(0, 1, 40 * DAY)
    truth = np.array([3 * sun + 0.5])
    errors = {}
    for name, weather in (("regression", sun[None]), ("persistence", None), ("weekly", None)):
        forecast = Outlook(name, DAY, AHEAD, weather).of(truth, 39 * DAY, 40 * DAY)
        errors[name] = np.abs(forecast - truth[:, 39 * DAY :]).mean()
    assert errors["regression"] < 0.01
    assert min(errors["persistence"], errors["weekly"]) > 0.5


def test_regression__without_weather__beats_a_single_day_where_days_vary_by_chance() -> None:
    chance = np.random.default_rng(2)
    shape = 2 + np.sin(np.arange(60 * DAY) * 2 * np.pi / DAY)
    truth = (shape * chance.uniform(0.5, 1.5, (5, 60 * DAY))).astype(float)

    def error(name: str) -> float:
        outlook = Outlook(name, DAY, AHEAD)
        spans = [(at * DAY, (at + 1) * DAY) for at in range(40, 60)]
        return float(np.mean([abs(outlook.of(truth, *s) - truth[:, slice(*s)]) for s in spans]))

    assert error("regression") < 0.9 * min(error("persistence"), error("weekly"))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(FORECASTS[:3]), st.integers(0, 35), st.integers(0, DAY), st.integers(0, 99))
def test_forecast__what_is_not_metered_yet__changes_nothing(
    name: str, day: int, ahead: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    truth = chance.uniform(0, 1, (3, 36 * DAY))
    other = truth.copy()
    other[:, max(day * DAY - ahead, 0) :] = chance.uniform(0, 9)
    outlook = Outlook(name, DAY, ahead)
    span = day * DAY, (day + 1) * DAY
    assert np.array_equal(outlook.of(truth, *span), outlook.of(other, *span))


def test_expected__replaces_loads_and_sun_and_nothing_else() -> None:
    case = Case.load("iberia", horizon="winter-week")
    outlook = Outlook("persistence", DAY, AHEAD)
    foreseen = expected(case.community, outlook, DAY)
    for before, after in zip(case.community.peers, foreseen.peers, strict=True):
        for asset, new in zip(before.assets, after.assets, strict=True):
            assert type(asset) is type(new)
            if isinstance(asset, Load) and isinstance(new, Load):
                true, said = asset.over("energy_kwh", 168), new.over("energy_kwh", 168)
                assert np.array_equal(said[:DAY], true[:DAY])
                assert np.array_equal(said[2 * DAY : 3 * DAY - 1], true[DAY : 2 * DAY - 1])
    perfect = expected(case.community, Outlook("perfect", DAY, AHEAD), 0)
    assert perfect.between(24, 24).retail_per_kwh.shape == (39, 24)


@pytest.mark.parametrize(
    ("name", "ahead", "message"),
    [("oracle", 1, "there is no forecast 'oracle'"), ("weekly", 25, "25 periods ahead")],
)
def test_outlook__that_cannot_be__says_so(name: str, ahead: int, message: str) -> None:
    with pytest.raises(ForecastError, match=message):
        Outlook(name, DAY, ahead)
