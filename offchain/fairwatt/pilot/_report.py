"""The page of a run: what everybody saved, what it cost, in tables and pictures."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.files import write
from fairwatt.pilot._settings import STORAGE
from fairwatt.profiles import utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fairwatt.pilot._results import PeerResult, Results

__all__ = ["report"]

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; max-width: 68rem; margin: 2rem auto }
body { padding: 0 1rem } h1 { font-size: 1.6rem; margin-bottom: .2rem }
h2 { font-size: 1.15rem; margin-top: 2.2rem } img { max-width: 100% }
p.small { color: #6a6f75; font-size: .9em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { text-align: right; font-weight: 600 }
td, th { padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #e4e6e8; text-align: right }
td:first-child, th:first-child { text-align: left }
tr.all td { font-weight: 600; border-top: 2px solid #c9ccd0 }
"""
_TEXTS: Final = {
    "prices": "Above, the price at every node where anybody traded, and the tariffs of the "
    "supplier; below, what peers traded with each other and what their suppliers delivered and "
    "took, by the meters.",
    "stores": "Beneath the price: what storages gave and were charged with and what vehicles took, "
    "each by its own meter, and what all storages held; dotted, what they can hold. Nobody but its "
    "owner knows what a vehicle holds.",
    "flows": "The market has no pairs: of every period's trades each buyer has the same share of "
    "what each seller sold.",
    "savings": "Against being alone with the supplier, with the same assets, planned by the same "
    "forecasts. The mark says what it would have been had everybody foreseen the days. The "
    "percentage is of the bill alone; it is left out where that bill is none to save from, or more "
    "than all of it is saved.",
    "forecast": "Plans and orders follow the forecast, meters count what comes; the difference is "
    "bought and sold at the supplier's tariffs.",
    "chain": "Gas of the clearing with its proof, of the readings, and of what is published for "
    "the day (tariffs, rosters); and how long each stage of a day took.",
}
_WARNED: Final = (
    " Paid is only what was settled, alone is reckoned by what truly flowed: what a meter hid or "
    "did not tell looks here as if it were saved "
    '(<a href="#meters">which meters failed</a>).'
)


def report(results: Results, folder: Path) -> Path:
    """Write the page and its pictures; returns the page.

    Raises
    ------
    FairwattError
        If they cannot be written.
    """
    from fairwatt.plot import RUN_PICTURES, draw_run  # noqa: PLC0415 - Matplotlib is slow to load

    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [_head(results)]
    for name, title in RUN_PICTURES.items():
        if name == "stores" and not results.stores:
            continue
        draw_run(results, name, pictures / f"{name}.png")
        parts.append(
            f"<h2>{title}</h2>\n<p>{_TEXTS[name]}</p>\n"
            f'<img src="pictures/{name}.png" alt="{title}">'
        )
        if name == "flows":
            parts.append(_links(results))
        if name == "savings":
            parts.append(_peers(results))
        if name == "chain":
            parts.append(_costs(results))
    if results.prepared.settings.faults is not None:
        parts.append(_faults(results))
    parts.append(_money(results))
    page = folder / "report.html"
    title = escape(results.prepared.case.title)
    body = "\n".join(parts)
    write(
        page,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n",
    )
    return page


def _head(results: Results) -> str:
    settings, total = results.prepared.settings, results.total
    currency = results.prepared.case.currency
    saved = total.saved / 1e9
    errors = (total.cost - total.perfect) / 1e9
    shared = results.traded_kwh.sum()
    failed = " and failed meters" if settings.faults is not None else ""
    # Else a household whose meter was silent would seem to have saved most.
    warned = "" if settings.faults is None else _WARNED
    told = (
        f"All peers together paid <b>{total.cost / 1e9:,.2f} {currency}</b> instead of "
        f"{total.alone / 1e9:,.2f} alone with their suppliers: <b>{saved:,.2f} {currency}"
        f"{_percent(total)}</b> saved. They traded {shared:,.1f} kWh with "
        f"each other. Forecast errors{failed} cost {errors:,.2f} {currency}.{warned} Every "
        "clearing was proved on chain, and every balance is, to the nano-token, what the bills "
        "make it."
    )
    span = (
        f"{results.days} {'day' if results.days == 1 else 'days'} from {utc(settings.start)}, "
        f"{len(results.peers)} peers, periods of "
        f"{settings.period_seconds // 60} minutes, {settings.forecast} forecast, storages and "
        f"vehicles {STORAGE[settings.storage]}"
    )
    title = escape(results.prepared.case.title)
    lines = [f"<h1>{title}</h1>", f'<p class="small">{span}</p>', f"<p>{told}</p>"]
    if results.refused:
        shown = "".join(f"<li>{escape(each)}</li>" for each in results.refused[:20])
        lines.append(f"<p>Left out: {len(results.refused)}</p><ul>{shown}</ul>")
    return "\n".join(lines)


def _peers(results: Results) -> str:
    currency = results.prepared.case.currency
    head = ["peer", "took kWh", "gave kWh", "bought kWh", "sold kWh"]
    head += [f"alone {currency}", f"paid {currency}", f"saved {currency}", "%"]
    rows = [_row(peer) for peer in results.peers.values()]
    return _table(head, rows, last=_row(results.total))


def _row(peer: PeerResult) -> list[str]:
    energies = (peer.taken, peer.injected, peer.bought, peer.sold)
    money = (peer.alone, peer.cost, peer.saved)
    return [
        peer.name,
        *(f"{energy / 1000:,.1f}" for energy in energies),
        *(f"{amount / 1e9:z,.2f}" for amount in money),
        "" if (part := peer.saved_percent) is None else f"{part:.1f}",
    ]


def _links(results: Results) -> str:
    """What went over each link that carried anything."""
    links = results.prepared.truth.network.links
    sums = results.flows_kwh.sum(axis=1)
    shown = [
        f"{escape(link.source)} to {escape(link.target)} {energy:,.1f} kWh"
        for link, energy in zip(links, sums, strict=True)
        if energy > 0
    ]
    return f"<p>Over the links: {'; '.join(shown)}.</p>" if shown else ""


def _faults(results: Results) -> str:
    """What was wrong with readings, what they were taken for, and what was settled."""
    rows = [
        [
            f"day {day}",
            peer,
            told,
            "" if estimate is None else f"{estimate / 1e9:,.2f}",
            f"{settled / 1e9:,.2f}",
        ]
        for day, peer, told, estimate, settled in results.faults
    ]
    currency = results.prepared.case.currency
    head = ["", "peer", "its reading", f"estimated {currency}", f"settled {currency}"]
    settled = sum(row[-1] for row in results.faults)
    estimated = sum(row[3] or 0 for row in results.faults)
    last = [f"{len(rows)} readings", "", "", f"{estimated / 1e9:,.2f}", f"{settled / 1e9:,.2f}"]
    return (
        '<h2 id="meters">Meters that failed</h2>'
        "\n<p>The initial run settles what has come, but for what can "
        "hardly be true. What is missing after a day is estimated: what was bought was taken, "
        "what was sold was not delivered. The final run settles what came since and gives back the "
        "estimate. A reading counts once, and for its own day: brought again it is passed over, "
        "brought for another day it is refused. Received from the supplier is positive. In all, "
        f"{abs(results.untold_wh) / 1000:,.3f} kWh "
        f"{'more' if results.untold_wh < 0 else 'less'} were taken than is settled; only the meter "
        f"of the feeder could tell.</p>\n{_table(head, rows, last=last)}"
    )


def _costs(results: Results) -> str:
    names = sorted({name for day in results.gas for name in day})
    gas = np.array([[day.get(name, 0) for name in names] for day in results.gas])
    per_day = gas.mean(axis=0)
    rows = [[name, f"{used:,.0f}"] for name, used in zip(names, per_day, strict=True)]
    total = float(per_day.sum())
    each = total / max(len(results.peers), 1)
    table = _table(["contract", "gas a day"], rows, last=["all", f"{total:,.0f}"])
    example = total * 1e-9
    return (
        f"{table}\n<p>{each:,.0f} gas per peer and day. At 1 gwei a day costs {example:.6f} ether, "
        f"at 0.01 gwei, as on rollups, {example / 100:.8f}.</p>"
    )


def _money(results: Results) -> str:
    rows = [[name, f"{nano / 1e9:,.9f}"] for name, nano in results.balances.items()]
    total = sum(results.balances.values())
    incomes = "".join(
        f"<p>{escape(name)} earned {nano / 1e9:,.9f} on links.</p>"
        for name, nano in sorted(results.incomes.items())
    )
    table = _table(["account", "token"], rows, last=["tokens held", f"{total / 1e9:,.9f}"])
    return f"<h2>Balances on chain at the end</h2>\n{incomes}\n{table}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], last: Sequence[str]) -> str:
    cells = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "\n".join(f"<tr>{_cells(row)}</tr>" for row in rows)
    return f'<table>\n<tr>{cells}</tr>\n{body}\n<tr class="all">{_cells(last)}</tr>\n</table>'


def _cells(row: Sequence[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in row)


def _percent(total: PeerResult) -> str:
    return "" if (part := total.saved_percent) is None else f" ({part:.1f} %)"
