"""The case that a command works on: which, over which horizon, without whom."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

from fairwatt.cases import Case, HorizonChoice

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["CASE", "case_options"]

CASE: Final[Callable[..., Any]] = click.argument("name", metavar="CASE")
"""Argument `name` of a command: a case of the project, or the path of a folder with one."""
_TIMES: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%z")
_OPTIONS: Final = (
    CASE,
    click.option(
        "--horizon",
        "horizon_name",
        default="default",
        metavar="NAME",
        help="A horizon that the case names, such as winter.",
    ),
    click.option(
        "--start",
        type=click.DateTime(_TIMES),
        metavar="TIME",
        help="Start elsewhere: a date or a time, local time of the case unless with an offset.",
    ),
    click.option("--periods", type=click.IntRange(1, 1_000_000), help="Take so many periods."),
    click.option("--days", type=click.IntRange(1, 3660), help="Take so many days."),
    click.option(
        "--period",
        "--period-minutes",
        "period_minutes",
        type=click.IntRange(1, 1440),
        metavar="MINUTES",
        help="Length of a period, such as 15 or 60; profiles are spread or summed up.",
    ),
    click.option("--without", multiple=True, metavar="PEER", help="Leave out a peer; repeatable."),
)


def case_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument CASE and the options of the horizon; it gets a loaded `case`.

    Examples
    --------
    >>> @click.command()
    ... @case_options
    ... def plan(case: Case) -> None: ...
    """

    @wraps(command)
    def with_case(
        *,
        name: str,
        horizon_name: str,
        start: datetime | None,
        periods: int | None,
        days: int | None,
        period_minutes: int | None,
        without: tuple[str, ...],
        **others: Any,
    ) -> Any:
        if periods is not None and days is not None:
            raise click.UsageError("Only one of --periods and --days can be given.")
        choice = HorizonChoice(horizon_name, start, periods, days, period_minutes)
        return command(case=Case.load(name, horizon=choice, without=without), **others)

    for option in reversed(_OPTIONS):
        with_case = option(with_case)
    return with_case
