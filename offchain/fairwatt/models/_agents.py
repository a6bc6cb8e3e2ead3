"""Whoever trades in the published models: bounds on its net generation, and a convex cost of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fairwatt.errors import CommunityError, ModelNotConvex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Series: TypeAlias = float | Sequence[float] | Array

__all__ = ["Agent", "cost", "finite", "number", "over", "require_agents", "table"]


@dataclass(frozen=True, eq=False)
class Agent:
    """A peer: it generates p, or consumes where p is negative, at the cost a p^2 + b p.

    A consumer has `most_kwh` <= 0, and b is what a kWh is worth to it. All but the name may be one
    number or one per period.

    Parameters
    ----------
    name
        Unique.
    least_kwh, most_kwh
        Bounds of p per period; equal where nothing can be chosen.
    linear_per_kwh
        b, token/kWh.
    quadratic_per_kwh2
        a, token/kWh^2, >= 0.

    Raises
    ------
    CommunityError
        With the field, if a value is missing or the bounds cross.
    ModelNotConvex
        If a is negative.
    """

    name: str
    least_kwh: Series
    most_kwh: Series
    linear_per_kwh: Series = 0.0
    quadratic_per_kwh2: Series = 0.0

    def __post_init__(self) -> None:
        place = f"agents[{self.name!r}]"
        for field in ("least_kwh", "most_kwh", "linear_per_kwh", "quadratic_per_kwh2"):
            object.__setattr__(self, field, finite(getattr(self, field), f"{place}.{field}"))
        least, most = np.asarray(self.least_kwh), np.asarray(self.most_kwh)
        if least.ndim == most.ndim == 1 and least.size != most.size:
            raise CommunityError(
                f"{place}.most_kwh", f"has {most.size} values, least_kwh {least.size}"
            )
        crossed = np.atleast_1d(least > most)
        if crossed.any():
            at = f"[{int(crossed.argmax())}]" if crossed.size > 1 else ""
            raise CommunityError(f"{place}.least_kwh{at}", "is above most_kwh")
        curvature = np.asarray(self.quadratic_per_kwh2)
        if curvature.min(initial=0.0) < 0:
            raise ModelNotConvex(
                f"{place}.quadratic_per_kwh2: {curvature.min():g} is negative; a cost that falls "
                "ever faster is not convex and no optimum could be proved: use 0 or more"
            )


def cost(agent: Agent, periods: int) -> list[tuple[float, float]]:
    """Coefficients a and b of each period."""
    a = over(agent.quadratic_per_kwh2, periods, f"agents[{agent.name!r}].quadratic_per_kwh2")
    b = over(agent.linear_per_kwh, periods, f"agents[{agent.name!r}].linear_per_kwh")
    return list(zip(a.tolist(), b.tolist(), strict=True))


def finite(value: Series, path: str, least: float = -np.inf) -> Array:
    """Require finite numbers, not below `least`; shape () or (periods,)."""
    try:
        values = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise CommunityError(path, "must be a number or one number per period") from None
    if values.ndim > 1:
        raise CommunityError(path, f"must have one axis, the periods, not {values.ndim}")
    wrong = np.atleast_1d(~np.isfinite(values) | (values < least))
    if wrong.any():
        at = int(wrong.argmax())
        worst = np.atleast_1d(values)[at]
        place = f"{path}[{at}]" if values.ndim else path
        bound = "finite" if not np.isfinite(worst) else f"at least {least:g}"
        raise CommunityError(place, f"must be {bound}, not {worst:g}")
    values.flags.writeable = False
    return values


def number(value: float, path: str, least: float = -np.inf) -> float:
    """Require one finite number, not below `least`."""
    values = finite(value, path, least)
    if values.ndim:
        raise CommunityError(path, "must be one number")
    return float(values)


def over(value: Series, periods: int, path: str) -> Array:
    """Spread one number over all periods, or require as many as there are."""
    values = np.asarray(value, dtype=np.float64)
    if values.ndim and values.size != periods:
        raise CommunityError(path, f"has {values.size} values for {periods} periods")
    return np.broadcast_to(values, (periods,))


def require_agents(agents: Sequence[Agent], periods: int) -> None:
    """Require somebody, at least one period, names that differ, and series of the right length."""
    if not agents:
        raise CommunityError("agents", "there is nobody")
    if periods < 1:
        raise CommunityError("periods", f"must be at least 1, not {periods}")
    seen = set[str]()
    for agent in agents:
        if agent.name in seen:
            raise CommunityError("agents", f"{agent.name!r} is there twice")
        seen.add(agent.name)
        for field in ("least_kwh", "most_kwh", "linear_per_kwh", "quadratic_per_kwh2"):
            over(getattr(agent, field), periods, f"agents[{agent.name!r}].{field}")


def table(variable: Any, rows: int, periods: int) -> Array:
    """Values of a Pyomo variable or of a dictionary by (row, period), shape (rows, periods)."""
    values = variable if isinstance(variable, dict) else variable.extract_values()
    found = [values.get((row, t), np.nan) for row in range(rows) for t in range(periods)]
    return np.array(found, dtype=np.float64).reshape(rows, periods)
