"""`fairwatt bill`: the bills of a month, from a chain, for people and for programs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fairwatt import files, tomltext
from fairwatt.billing import (
    Books,
    Month,
    bill_csv,
    bill_document,
    bill_html,
    bill_of,
    bill_pdf,
    billed_months,
    require_balanced,
    supplier_report,
)
from fairwatt.billing.reader import read_books
from fairwatt.chain import Chain, connect
from fairwatt.cli._chain_options import deployment_option, network_option
from fairwatt.cli._text import Column, echo_json, echo_table, json_option, plural, printable
from fairwatt.cli._text import money as exact
from fairwatt.community import Horizon
from fairwatt.deployment import Deployment
from fairwatt.errors import BillingError, CaseError, FileError
from fairwatt.profiles import Profiles, time_zone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairwatt.billing import Bill, Delivery, SupplierReport

__all__ = ["bill"]

_FORMATS: Final = ("html", "pdf", "csv", "json")


@click.command()
@network_option()
@deployment_option()
@click.option("--month", required=True, help="Month of delivery, such as 2019-07.")
@click.option("--peer", "peers", type=int, multiple=True, help="Only this account; repeatable.")
@click.option(
    "--community",
    "about",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file with title, currency, time zone and names; docs/bills.md has the format.",
)
@click.option("--block", type=int, help="Read at this block; by default the latest.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write to; made if it is not there.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    help="Only this format; repeatable. By default all.",
)
@json_option
def bill(
    *,
    network: str,
    deployment: Path,
    month: str,
    peers: tuple[int, ...],
    about: Path | None,
    block: int | None,
    out: Path,
    formats: tuple[str, ...],
    as_json: bool,
) -> None:
    """Draw up the bills of a month: energy, prices, grid, imbalance, and what it saved.

    Everything is read from events and calldata of the chain, and held to the balances of the
    ledger. Suppliers get a report of what they balanced.

    \b
    Example:
      fairwatt bill --network http://127.0.0.1:8545 \\
        --deployment deployments/ethereum-local-foundry.json --month 2019-07 --out bills
    """  # noqa: D301 - click reads the control character
    wanted = Month.parse(month)
    described = _About.read(about)
    where = Deployment.load(deployment)
    with connect(network):
        books = read_books(
            Chain.of(where).snapshot(block),
            names=described.names,
            title=described.title,
            currency=described.currency,
            zone=described.zone,
        )
    require_balanced(books)
    books = described.with_behind_meter(books)
    accounts = _accounts(books, peers, wanted)
    _make(out)
    rows, reports = [], []
    for account in accounts:
        if books.party(account).role == "supplier":
            report = supplier_report(books, account, wanted)
            reports.append((report, _write_report(report, out, formats or _FORMATS)))
        else:
            made = bill_of(books, account, wanted)
            rows.append((made, _write_bill(made, out, formats or _FORMATS)))
    if as_json:
        echo_json(_summary(wanted, rows, reports))
        return
    click.secho(printable(f"{books.title}, {wanted.title}"), bold=True)
    _echo(rows, reports, books.currency)
    click.echo(f"written   {plural(len(rows) + len(reports), 'account')} to {out}")


# ------------------------------------------------------------------------------------------- asking


@dataclass(frozen=True)
class _About:
    """What the chain does not know of a community."""

    title: str = "Energy community"
    currency: str = "token"
    zone: tzinfo = UTC
    names: dict[int, str] = field(default_factory=dict)
    homes: Path | None = None

    @classmethod
    def read(cls, path: Path | None) -> _About:
        if path is None:
            return cls()
        content = tomltext.read(path)
        given: dict[str, Any] = {
            key: content.text(key) for key in ("title", "currency") if content.has(key)
        }
        if content.has("time_zone"):
            given["zone"] = time_zone(content.text("time_zone"), content.place("time_zone"))
        if content.has("names"):
            table = content.table("names")
            names = {}
            for key in table.names():
                if not key.isdecimal():
                    raise CaseError(table.place(key), "must be the number of an account")
                names[int(key)] = table.text(key)
            given["names"] = names
        if content.has("behind_meter"):
            given["homes"] = path.parent / content.text("behind_meter")
        content.done()
        return cls(**given)

    def with_behind_meter(self, books: Books) -> Books:
        """The books with generation and consumption of the homes that the file has columns of."""
        if self.homes is None:
            return books
        profiles = Profiles(self.homes.parent, self.zone)
        known = set(profiles.columns(self.homes.name, "behind_meter"))

        def complete(delivery: Delivery) -> Delivery:
            name = books.party(delivery.peer).name
            columns = f"{name} generation", f"{name} consumption"
            if not known.issuperset(columns):
                return delivery
            horizon = Horizon(delivery.session, delivery.period_seconds, delivery.periods)
            generation, consumption = (
                tuple(
                    round(float(kwh) * 1000)
                    for kwh in profiles.read(
                        self.homes.name if self.homes else "",
                        column, horizon, "energy", "behind_meter", low=0.0,
                    )
                )
                for column in columns
            )  # fmt: skip
            return replace(delivery, generation_wh=generation, consumption_wh=consumption)

        return replace(books, deliveries=tuple(map(complete, books.deliveries)))


def _accounts(books: Books, peers: Sequence[int], month: Month) -> list[int]:
    """Whose bills are drawn up: those asked for, or all that had anything to do with the month."""
    if peers:
        return [books.party(peer).account for peer in dict.fromkeys(peers)]
    start, end = month.start(books.zone), month.end(books.zone)
    found = set()
    for delivery in books.deliveries:
        first, last = delivery.time(0), delivery.time(delivery.periods - 1)
        if first < end and last >= start:
            found.add(delivery.peer)
            if delivery.supplier is not None:
                found.add(delivery.supplier)
    if not found:
        months = ", ".join(map(str, billed_months(books)))
        raise BillingError(
            f"nothing was delivered in {month.title}; "
            + (f"there are deliveries in {months}" if months else "there are no deliveries at all")
        )
    return sorted(found)


# ------------------------------------------------------------------------------------------ writing


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(str(folder), (error.strerror or str(error)).lower()) from error


def _write_bill(made: Bill, out: Path, formats: Sequence[str]) -> list[Path]:
    stem = _stem(made.month, made.party.account, made.party.name)
    paths = [out / f"{stem}.{form}" for form in _FORMATS if form in formats]
    for path in paths:
        match path.suffix:
            case ".html":
                files.write(path, bill_html(made))
            case ".csv":
                files.write(path, bill_csv(made))
            case ".json":
                files.write(path, json.dumps(bill_document(made), indent=1) + "\n")
            case _:
                files.write(path, bill_pdf(made))
    return paths


def _write_report(report: SupplierReport, out: Path, formats: Sequence[str]) -> list[Path]:
    """A supplier is no household: its month is for programs."""
    stem = _stem(report.month, report.party.account, report.party.name)
    paths = []
    if "csv" in formats:
        paths.append(out / f"{stem}.csv")
        files.write(paths[-1], report.to_csv())
    if "json" in formats:
        paths.append(out / f"{stem}.json")
        files.write(paths[-1], json.dumps(report.to_document(), indent=1) + "\n")
    return paths


def _stem(month: Month, account: int, name: str) -> str:
    plain = re.sub(r"[^\w-]+", "-", name).strip("-")
    return f"{month}-account-{account}-{plain}"


def _summary(
    month: Month,
    rows: Sequence[tuple[Bill, list[Path]]],
    reports: Sequence[tuple[SupplierReport, list[Path]]],
) -> dict[str, Any]:
    return {
        "month": str(month),
        "bills": [
            {
                "account": made.party.account,
                "name": made.party.name,
                "totalNano": made.total_nano,
                "aloneNano": made.alone.amount_nano,
                "savedNano": made.saved_nano,
                "provisional": made.is_provisional,
                "files": list(map(str, paths)),
            }
            for made, paths in rows
        ],
        "suppliers": [
            {**report.to_document(), "files": list(map(str, paths))} for report, paths in reports
        ],
    }


def _echo(
    rows: Sequence[tuple[Bill, list[Path]]],
    reports: Sequence[tuple[SupplierReport, list[Path]]],
    currency: str,
) -> None:
    bills = [made for made, _ in rows]
    echo_table(
        [
            Column("account", "", [str(made.party.account) for made in bills]),
            Column("name", "", [made.party.name for made in bills], is_text=True),
            Column("bill", currency, exact(made.total_nano for made in bills)),
            Column("alone", currency, exact(made.alone.amount_nano for made in bills)),
            Column("saved", currency, exact(made.saved_nano for made in bills)),
            Column(
                "", "", ["provisional" if made.is_provisional else "" for made in bills],
                is_text=True,
            ),
        ],
        len(bills),
    )  # fmt: skip
    for report, _ in reports:
        document = report.to_document()
        (revenue,) = exact([report.revenue_nano])
        click.echo(
            printable(
                f"supplier  {report.party.name}: sold {document['importWh'] / 1000:,.3f} kWh, "
                f"bought {document['exportWh'] / 1000:,.3f} kWh, revenue {revenue} {currency}"
            )
        )
