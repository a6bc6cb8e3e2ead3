"""A bill as one HTML file that needs nothing else: style, chart and numbers are in it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from fairwatt.billing._chart import chart_svg
from fairwatt.billing._view import view_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.billing._bill import Bill
    from fairwatt.billing._view import Section, View

__all__ = ["bill_html"]

_STYLE: Final = """
:root { color-scheme: light; --ink: #1f2328; --soft: #5c6268; --line: #d9dde1; --green: #007a5a; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f5f6; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 860px; margin: 24px auto; padding: 32px 40px; background: #fff;
  border-radius: 8px; }
h1 { font-size: 1.35rem; margin: 0 0 .8rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
.headline { margin: 1.4rem 0 .3rem; padding: 18px 20px; border-left: 6px solid var(--green);
  background: #eef7f3; }
.headline strong { display: block; font-size: 1.7rem; line-height: 1.25; }
.warning { padding: 8px 14px; background: #fff3d6; border-left: 6px solid #e69f00; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 1rem 0; padding: 0; list-style: none; }
.tiles li { flex: 1 1 160px; border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px;
  color: var(--soft); font-size: .85rem; line-height: 1.3; }
.tiles b { display: block; color: var(--ink); font-size: 1.25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 8px; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; white-space: normal;
  vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
th:last-child, td:last-child { padding-right: 0; }
tr.sum td { font-weight: 700; border-top: 2px solid var(--ink); }
small, p.text { color: var(--soft); } small { display: block; line-height: 1.35; }
p.text { margin: .3rem 0 .6rem; font-size: .9rem; }
table.days { font-size: .85rem; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; }
footer { margin-top: 2rem; color: var(--soft); font-size: .85rem; }
@media print { body { background: #fff; } main { margin: 0; padding: 0; max-width: none; }
  h2, p.text { break-after: avoid; }
  table, figure, .tiles { break-inside: avoid; } table.days { break-inside: auto; } }
@media (max-width: 600px) { main { margin: 0; padding: 20px 16px; border-radius: 0; } }
"""


def bill_html(bill: Bill) -> str:
    """The whole page."""
    view = view_of(bill)
    return "\n".join(_page(bill, view)) + "\n"


def _page(bill: Bill, view: View) -> Iterator[str]:
    title = f"{view.title}, {bill.party.name}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{escape(view.title)}</h1>\n<dl>"
    for name, value in view.facts:
        yield f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    yield f'</dl>\n<p class="headline"><strong>{escape(view.headline)}</strong>'
    yield f"{escape(view.subline)}</p>"
    if view.warning:
        yield f'<p class="warning">{escape(view.warning)}</p>'
    yield '<ul class="tiles">'
    for figure, what in view.tiles:
        yield f"<li><b>{escape(figure)}</b>{escape(what)}</li>"
    yield "</ul>"
    first, *others = view.sections
    yield from _section(first)
    if any(day.totals for day in bill.days):
        label = escape(f"Energy and prices of each day of {bill.month.title}")
        yield f'<figure role="img" aria-label="{label}">{chart_svg(bill)}</figure>'
    for section in others:
        yield from _section(section)
    if view.daily.rows:
        yield from _section(view.daily, "days")
    yield "<footer>"
    for note in view.notes:
        yield f"<p>{escape(note)}</p>"
    yield "</footer>\n</main>\n</body>\n</html>"


def _section(section: Section, kind: str = "") -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>"
    if section.text:
        yield f'<p class="text">{escape(section.text)}</p>'
    yield f'<div class="scroll"><table class="{kind}">' if kind else '<div class="scroll"><table>'
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in section.head)
    yield f"<thead><tr>{heads}</tr></thead>\n<tbody>"
    for row in section.rows:
        name, *cells = row.cells
        note = f"<small>{escape(row.note)}</small>" if row.note else ""
        numbers = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        mark = ' class="sum"' if row.is_sum else ""
        yield f"<tr{mark}><td>{escape(name)}{note}</td>{numbers}</tr>"
    yield "</tbody></table></div>"
