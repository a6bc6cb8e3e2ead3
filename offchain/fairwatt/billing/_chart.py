"""The chart of days on a bill: what came in and went out, and at what prices."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure

from fairwatt.billing._lines import Item
from fairwatt.plot.style import BLUE, GREEN, INK, RED, SOFT, style
from fairwatt.units import MICRO

if TYPE_CHECKING:
    from fractions import Fraction

    from matplotlib.axes import Axes

    from fairwatt.billing._bill import Bill, Day

__all__ = ["chart_svg", "draw_days"]

_LIGHT_BLUE: Final = "#9ecae1"
_YELLOW: Final = "#e69f00"
_BARS: Final = (
    ("bought in the community", (Item.COMMUNITY_BOUGHT,), GREEN),
    ("from the supplier", (Item.GRID_BOUGHT,), BLUE),
    ("sold in the community", (Item.COMMUNITY_SOLD,), _YELLOW),
    ("to the supplier", (Item.GRID_SOLD,), _LIGHT_BLUE),
)


def draw_days(bill: Bill, energy: Axes, prices: Axes) -> None:
    """Energy of each day, taken upwards and fed in downwards; below, prices beside tariffs."""
    days = [day.date.day for day in bill.days]
    tops, bottoms = [0.0] * len(days), [0.0] * len(days)
    for label, items, colour in _BARS:
        values = [-day.total(*items).energy_wh / 1000 for day in bill.days]
        if not any(values):
            continue
        base = tops if sum(values) > 0 else bottoms
        energy.bar(days, values, bottom=base, color=colour, label=label, width=0.8)
        for at, value in enumerate(values):
            base[at] += value
    energy.axhline(0, color=INK, linewidth=0.8)
    energy.set_ylabel("kWh per day\n↓ sold   taken ↑", color=INK)
    _tariffs(bill, prices, days)
    for axes in (energy, prices):
        axes.set_xlim(0.4, len(days) + 0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=SOFT)
        axes.grid(axis="y", color="#e6e8eb", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xticks(range(1, len(days) + 1, 2))
        handles, _ = axes.get_legend_handles_labels()
        if handles:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize="small",
                borderaxespad=0.2, handlelength=1.2,
            )  # fmt: skip
    prices.set_xlabel(f"day of {bill.month.title}", color=INK)
    prices.set_ylabel(f"{bill.currency} per kWh", color=INK)


def _tariffs(bill: Bill, axes: Axes, days: list[int]) -> None:
    def line(values: list[Fraction | None], label: str, colour: str, **style: Any) -> None:
        if any(value is not None for value in values):
            shown = [float("nan") if value is None else float(value) / MICRO for value in values]
            axes.plot(days, shown, color=colour, label=label, **style)

    def flat(values: list[Fraction | None], label: str, colour: str) -> None:
        # As wide as the day: a line through a single day has no length and is not seen.
        known = [
            (day, float(value) / MICRO)
            for day, value in zip(days, values, strict=True)
            if value is not None
        ]
        if known:
            at = [day for day, _ in known]
            axes.hlines(
                [value for _, value in known], [day - 0.5 for day in at], [day + 0.5 for day in at],
                colors=colour, label=label, linewidth=1.4,
            )  # fmt: skip

    flat([day.retail_micro_per_kwh for day in bill.days], "supplier sells", RED)
    line([_price(day, Item.COMMUNITY_BOUGHT) for day in bill.days], "you paid", GREEN, marker="o",
         markersize=3.5, linewidth=1)  # fmt: skip
    line([_price(day, Item.COMMUNITY_SOLD) for day in bill.days], "you received", _YELLOW,
         marker="s", markersize=3, linewidth=1)  # fmt: skip
    flat([day.feed_in_micro_per_kwh for day in bill.days], "supplier buys", BLUE)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))


def _price(day: Day, item: Item) -> Fraction | None:
    return day.total(item).price_micro_per_kwh


def chart_svg(bill: Bill) -> str:
    """The chart as an SVG element, with its texts as text."""
    with style():
        figure = Figure(figsize=(9, 5), layout="constrained")
        energy, prices = figure.subplots(2, 1, height_ratios=(3, 2), sharex=True)
        draw_days(bill, energy, prices)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Creator": "Fairwatt", "Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]
