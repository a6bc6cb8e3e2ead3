"""Books and bills of two sessions on the embedded chain, over the end of a month.

Two suppliers, one with tariffs by time of use; a reading that comes after its estimate; a share of
the fund; energy over links of an operator.
"""

from __future__ import annotations

import csv
import io
import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import ape
import pytest
from click.testing import CliRunner, Result

from fairwatt.billing import (
    FUND,
    Band,
    Bill,
    Books,
    Flat,
    Item,
    Kind,
    Month,
    TimeOfUse,
    bill_csv,
    bill_document,
    bill_html,
    bill_of,
    changes,
    require_balanced,
    schedule,
    statement,
    supplier_report,
)
from fairwatt.billing.reader import read_books
from fairwatt.chain import Chain, Role
from fairwatt.cli import main
from fairwatt.community import Horizon
from fairwatt.deployment import CONTRACTS, Deployment
from fairwatt.errors import BooksNotBalanced
from fairwatt.oracle import Oracle
from tests.community import (
    C2,
    C3,
    DAY,
    FEED_IN,
    GRID,
    HOUR,
    NANO,
    RETAIL,
    TERMS,
    Community,
    ask,
    bid,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fairwatt.meter import SignedReading
    from tests.community import Member

NO_CHARGES = (Kind.DEPOSIT, Kind.ARREARS, Kind.ARREARS_PAID)
OTHER_FORMS = ("--format", "html", "--format", "csv", "--format", "json")
MADRID = ZoneInfo("Europe/Madrid")
MARCH, APRIL = Month(2040, 3), Month(2040, 4)
START = int(datetime(2040, 3, 31, 16, tzinfo=UTC).timestamp())  # 18:00 to 02:00 local time
PERIODS = 8
EVENING = TimeOfUse(
    Flat(110_000, 30_000), (Band(frozenset(range(7)), ((18 * 60, 22 * 60),), 190_000, 50_000),)
)
SOLAR = (900, 700, 0, 400, 0, 600, 800, 500)
NEEDS = {"ana": (500, 400, 300, 200, 600, 100, 0, 300), "bo": (200, 200, 200, 900, 0, 0, 400, 400)}


@dataclass
class Story:
    community: Community
    chain: Chain
    market: int
    producer: Member
    ana: Member
    bo: Member
    second: Member
    books: Books
    shared_nano: int = 777_777_777

    def bill(self, member: Member, month: Month) -> Bill:
        return bill_of(self.books, member.peer, month)


@pytest.fixture(scope="module")
def story(founded: Community) -> Iterator[Story]:
    """The tests only read, so what happened is made once for all of them."""
    snapshot, wallets = ape.chain.snapshot(), founded._wallets
    yield _happened(founded)
    founded.require_conservation()
    founded._wallets = wallets
    ape.chain.restore(snapshot)


def _happened(community: Community) -> Story:
    community.travel_to(START - 6 * DAY)
    chain, fund_manager = community.chain, community.fund_manager
    second = community.admit(Role.SUPPLIER, node=GRID, connection_w=10**9, tokens=5)
    zone = MADRID
    tariffs = schedule(EVENING, Horizon(START, HOUR, 2 * PERIODS), zone)
    first = [replace(tariffs[0], effective_from=community.now())]
    chain.publish_tariffs(first, sender=second.wallet)
    planned = changes(tariffs, first[0])
    assert len(planned) == 1  # cheap from 22:00 on; the evening's rates hold already
    chain.publish_tariffs(planned, sender=second.wallet)

    producer = community.admit(Role.PRODUCER, node=C3, tokens=2)
    ana = community.admit(Role.CONSUMER, node=C2, supplier=second.peer, tokens=3)
    bo = community.admit(Role.CONSUMER, node=C3, supplier=second.peer, tokens=3)
    terms = replace(TERMS, periods_per_session=PERIODS)
    market = chain.create_market(terms, sender=community.market_operator)
    oracle = Oracle(chain, market, community.solver, send=True)

    def trade(start: int) -> None:
        orders = [
            community.sign(member, *steps, market=market, session=start)
            for member, steps in (
                (producer, [ask(FEED_IN, wh, at) for at, wh in enumerate(SOLAR) if wh]),
                (ana, [bid(150_000, wh, at) for at, wh in enumerate(NEEDS["ana"]) if wh]),
                (bo, [bid(110_000, wh, at) for at, wh in enumerate(NEEDS["bo"]) if wh]),
            )
        ]
        community.travel_to(terms.gate_closure(start))
        assert oracle.clear(start, orders).receipt is not None

    def produced(start: int, change: int) -> SignedReading:
        return community.read(
            producer, start, *(max(0, wh - change) for wh in SOLAR), market=market
        )

    def used(member: Member, name: str, start: int, more: int) -> SignedReading:
        return community.read(member, start, *(-wh - more for wh in NEEDS[name]), market=market)

    def settle(start: int, *readings: SignedReading, estimate: bool = False) -> None:
        assert oracle.reconcile(start, readings, estimate=estimate).receipt is not None

    second_start = START + PERIODS * HOUR
    trade(START)
    trade(second_start)
    community.travel_to(terms.session_end(second_start))
    settle(START, used(ana, "ana", START, 100), used(bo, "bo", START, 50))
    settle(second_start, produced(second_start, -30), used(bo, "bo", second_start, -30))
    community.send(chain.contracts.token.treasuryMint, fund_manager.address, NANO * NANO,
                   sender=community.treasury)  # fmt: skip
    community.send(chain.contracts.token.approve, chain.contracts.ledger, NANO * NANO,
                   sender=fund_manager)  # fmt: skip
    community.send(chain.contracts.ledger.depositToFund, NANO, sender=fund_manager)
    share = [{"peer": ana.peer, "amountNano": Story.shared_nano}]
    community.send(chain.contracts.ledger.allot, share, sender=fund_manager)

    community.travel_to(terms.reading_deadline(second_start) + 1)
    settle(START, estimate=True)  # of the producer, who pays for what it sold
    settle(second_start, estimate=True)  # of ana
    settle(START, produced(START, 50))  # late

    names = {producer.peer: "Sol", ana.peer: "Ana", bo.peer: "Bo", second.peer: "Second"}
    books = read_books(chain.snapshot(), names=names, currency="EUR", zone=zone)
    return Story(community, chain, market, producer, ana, bo, second, books)


def test_books__everything__adds_up_to_the_chain(story: Story) -> None:
    books = story.books
    require_balanced(books)
    assert books.balances_nano[FUND] == story.chain.snapshot().fund_nano()
    for member in (story.producer, story.ana, story.bo, story.second):
        account = member.peer
        own = statement(books, account)
        assert own.closing_nano == story.community.balance(member)
        moved = sum(each.amount_nano for each in own.entries if each.kind in NO_CHARGES)
        if books.party(account).role != "supplier":
            bills = [story.bill(member, month) for month in (MARCH, APRIL)]
            assert moved + sum(each.total_nano for each in bills) == own.closing_nano
            assert all(each.periods for each in bills)  # the first session is in both months
    kinds = {entry.kind for entry in books.entries}
    assert kinds >= {
        Kind.MARKET, Kind.LINK_TARIFF, Kind.BALANCING, Kind.ESTIMATE, Kind.FUND_SHARE,
        Kind.ESTIMATE_BACK, Kind.ARREARS, Kind.ARREARS_PAID,
    }  # fmt: skip

    with pytest.raises(BooksNotBalanced) as raised:
        require_balanced(replace(books, entries=books.entries[:-1]))
    last = books.entries[-1]
    assert (raised.value.account, raised.value.difference_nano) == (last.account, -last.amount_nano)


def test_bill__of_each_month__has_balances_energy_and_tariffs(story: Story) -> None:
    march, april = (story.bill(story.ana, month) for month in (MARCH, APRIL))
    for each in (march, april):
        account = each.movements
        assert account.closing_nano == (
            account.opening_nano + account.deposits_nano + account.withdrawals_nano
            + account.charges_nano + account.other_charges_nano + account.unpaid_nano
        )  # fmt: skip
        booked = account.earlier_nano + account.charges_nano + account.later_nano
        assert booked == each.total_nano
    assert april.total(Item.FUND_SHARE).amount_nano == story.shared_nano
    assert march.periods == 6
    assert april.periods == 10
    assert march.pending_periods == march.estimated_periods == 0
    assert april.estimated_periods == 8

    # 18:00 to 22:00 local time is dear; the reading took 100 Wh more than was wanted.
    metered = [-wh - 100 for wh in NEEDS["ana"]]
    rates = [190_000] * 4 + [110_000] * 4
    assert march.alone.amount_nano == sum(
        wh * rate for wh, rate in zip(metered[:6], rates[:6], strict=True)
    )
    assert march.alone.bought.energy_wh == sum(metered[:6])
    assert march.own_supply.basis == "net meter"
    assert march.own_supply.taken_wh == -sum(metered[:6])
    bought = -march.total(Item.COMMUNITY_BOUGHT).energy_wh
    assert march.own_supply.from_community_wh == bought > 0
    assert -march.total(Item.GRID_BOUGHT).energy_wh == march.own_supply.taken_wh - bought


def test_bill__all_forms__come_to_the_same_sum(story: Story) -> None:
    bill = story.bill(story.bo, MARCH)
    rows = list(csv.DictReader(io.StringIO(bill_csv(bill))))
    assert sum(int(row["amount_nano"]) for row in rows) == bill.total_nano
    document = json.loads(json.dumps(bill_document(bill)))
    assert sum(line["amount_nano"] for line in document["lines"]) == bill.total_nano
    assert document["totalNano"] == sum(
        total["amountNano"] for total in document["totals"].values()
    )
    page = bill_html(bill)
    assert f"{bill.total_nano:,} nano-token" in page
    assert "Bought from the supplier" in page


def test_supplier__sees_what_its_customers_took_beyond_their_trades(story: Story) -> None:
    books, second = story.books, story.second.peer
    reports = [supplier_report(books, second, month) for month in (MARCH, APRIL)]
    booked = sum(
        entry.amount_nano
        for entry in books.entries
        if entry.account == second and entry.kind is not Kind.DEPOSIT
    )
    assert sum(report.revenue_nano for report in reports) == booked
    rows = list(csv.DictReader(io.StringIO(reports[0].to_csv())))
    assert len(rows) == 6
    assert [int(row["retail_micro_per_kwh"]) for row in rows] == [190_000] * 4 + [110_000] * 2
    assert {int(row["customers"]) for row in rows} == {2}
    first = supplier_report(books, story.community.supplier.peer, MARCH)
    assert {each.retail_micro_per_kwh for each in first.periods} == {RETAIL}
    assert sum(each.export_wh for each in first.periods) > 0


def test_command__writes_every_form_for_everybody(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairwatt.cli.bill.connect", lambda _network: nullcontext())
    contracts = story.chain.contracts
    addresses = {name: str(getattr(contracts, name).address) for name in CONTRACTS}
    Deployment("embedded", story.chain.chain_id, 0, addresses).save(tmp_path / "deployment.json")
    ana, bo = story.ana.peer, story.bo.peer
    (tmp_path / "about.toml").write_text(
        'title = "Street"\ncurrency = "EUR"\ntime_zone = "Europe/Madrid"\n'
        f'behind_meter = "homes.csv"\n[names]\n{ana} = "Ana"\n{bo} = "Bo/.."\n'
    )
    rows = ["time,Ana generation,Ana consumption"]
    for at, wh in enumerate(NEEDS["ana"]):
        time = datetime.fromtimestamp(START + at * HOUR, UTC).isoformat()
        rows.append(f"{time},0.25,{(wh + 100) / 1000 + 0.25}")
    rows += [
        f"{datetime.fromtimestamp(START + at * HOUR, UTC).isoformat()},0,0"
        for at in range(PERIODS, 2 * PERIODS)
    ]
    (tmp_path / "homes.csv").write_text("\n".join(rows) + "\n")
    options = ["--network", "x", "--deployment", str(tmp_path / "deployment.json")]
    options += ["--community", str(tmp_path / "about.toml"), "--out", str(tmp_path / "bills")]

    def run(*more: str) -> Result:
        return CliRunner().invoke(main, ["bill", *options, *more])

    assert run("--month", "2040-03", "--peer", str(ana), "--format", "pdf").exit_code == 0
    result = run("--month", "2040-03", "--json", *OTHER_FORMS)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    names = {path.name for path in (tmp_path / "bills").iterdir()}
    assert names >= {f"2040-03-account-{ana}-Ana.{form}" for form in ("html", "pdf", "csv", "json")}
    assert f"2040-03-account-{bo}-Bo.html" in names
    assert f"2040-03-account-{story.second.peer}-peer-{story.second.peer}.csv" in names
    assert {row["account"]: row["totalNano"] for row in summary["bills"]} == {
        member.peer: story.bill(member, MARCH).total_nano
        for member in (story.producer, story.ana, story.bo)
    }
    written = json.loads((tmp_path / "bills" / f"2040-03-account-{ana}-Ana.json").read_text())
    assert written["ownSupply"]["basis"] == "behind the meter"
    assert written["ownSupply"]["generationWh"] == 6 * 250

    shown = run("--month", "2040-04", "--peer", str(ana), "--format", "csv")
    assert shown.exit_code == 0, shown.output
    assert "provisional" in shown.stdout
    nothing = run("--month", "2040-05")
    assert nothing.exit_code == 1
    assert "nothing was delivered in May 2040; there are deliveries in 2040-03, 2040-04" in (
        nothing.output
    )
