"""The case that a command works on: which, over which horizon, without whom."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

import click

from fairwatt.cases import Case, HorizonChoice

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["CASE", "START", "case_options"]


class _Time(click.DateTime):
    """A date or a time; who writes it otherwise is shown one, not the codes of a format."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(
                f"{value!r} is no date or time; write one such as 2019-06-30, 2019-06-30T18:00 or "
                "2019-06-30T18:00+02:00",
                param,
                ctx,
            )


_Option: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
CASE: Final[_Option] = click.argument("name", metavar="CASE")
"""Argument `name` of a command: a case of the project, or the path of a folder with one."""
START: Final[_Option] = click.option(
    "--start",
    type=_Time(("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%z")),
    metavar="TIME",
    help="Start then: a date or a time, local time of the case unless with an offset.",
)
_OPTIONS: Final[tuple[_Option, ...]] = (
    CASE,
    click.option(
        "--horizon",
        "horizon_name",
        default="default",
        metavar="NAME",
        help="A horizon that the case names, such as winter.",
    ),
    START,
    click.option("--periods", type=click.IntRange(1, 1_000_000), help="Take so many periods."),
    click.option("--days", type=click.IntRange(1, 3660), help="Take so many days."),
    click.option("--without", multiple=True, metavar="PEER", help="Leave out a peer; repeatable."),
)


@overload
def case_options(command: Callable[..., Any], /) -> Callable[..., Any]: ...
@overload
def case_options(*, minutes: tuple[str, ...]) -> _Option: ...
def case_options(
    command: Callable[..., Any] | None = None,
    *,
    minutes: tuple[str, ...] = ("--period", "--period-minutes"),
) -> Callable[..., Any]:
    """Give a command the argument CASE and the options of the horizon; it gets a loaded `case`.

    Parameters
    ----------
    minutes
        Names of the option for the length of a period.

    Examples
    --------
    >>> @click.command()
    ... @case_options
    ... def plan(case: Case) -> None: ...
    """
    if command is None:
        return lambda given: _with_case(given, minutes)
    return _with_case(command, minutes)


def _with_case(command: Callable[..., Any], minutes: tuple[str, ...]) -> Callable[..., Any]:
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

    period: _Option = click.option(
        *minutes,
        "period_minutes",
        type=click.IntRange(1, 1440),
        metavar="MINUTES",
        help="Length of a period, such as 15 or 60; profiles are spread or summed up.",
    )
    result: Callable[..., Any] = with_case
    for option in (period, *reversed(_OPTIONS)):
        result = option(result)
    return result
