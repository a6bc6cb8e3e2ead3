"""What the page for operators shows is what happens: a day's settlement, and each injected fault.

Each story runs on the embedded chain, through the commands; `docs/operating.md` shows what they
print, and `UPDATE_PAGES=1 pytest tests/test_operating.py` writes it there.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ape
import pytest
from click.testing import CliRunner
from eth_abi.abi import encode
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak

from fairwatt.audit import audit
from fairwatt.chain import Role
from fairwatt.cli import main
from fairwatt.deployment import CONTRACTS, Deployment
from fairwatt.errors import ContractError
from fairwatt.fleet import (
    Fleet,
    Late,
    Noise,
    OtherKey,
    Outage,
    Replay,
    Scale,
    UnderReport,
    meter_key,
)
from fairwatt.readings import bring
from fairwatt.settlement import doubt
from tests.community import C2, C3, DAY, FEED_IN, HOUR, NANO, QUARTERS, RETAIL, ask, bid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.fleet import Arrival
    from fairwatt.meter import SignedReading
    from tests.community import Community, Member

PAGE = Path(__file__).parents[1] / "docs" / "operating.md"
DATE = 4_102_444_800  # 2100-01-01T00:00Z: what is shown must not depend on when it is written
SOLD, BOUGHT = 1_800, 900  # Wh in each quarter
QUARTER_HOURS = range(4)
CONNECTION = ["--network", "URL", "--deployment", "D.json", "--account", "settler"]


@dataclass
class Story:
    """Two homes with PV (1 and 2 of six) and four without, in a market of quarter hours."""

    community: Community
    folder: Path
    homes: list[Member]
    fleet: Fleet
    start: int
    arrivals: list[Arrival] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    _files: Iterator[int] = field(default_factory=count)

    @property
    def peers(self) -> list[int]:
        return [home.peer for home in self.homes]

    @property
    def flowed(self) -> dict[int, tuple[int, ...]]:
        """What truly flows: what was traded."""
        return {
            home.peer: (SOLD if home.node == C2 else -BOUGHT,) * len(QUARTER_HOURS)
            for home in self.homes
        }

    def trade(self, start: int | None = None) -> None:
        """Everybody orders, and the session is cleared."""
        if start is not None:
            self.start = start
        orders = [
            self.community.sign(
                home,
                *(
                    ask(50_000, 2_000, at) if home.node == C2 else bid(100_000, BOUGHT, at)
                    for at in QUARTER_HOURS
                ),
                market=QUARTERS,
                session=self.start,
            )
            for home in self.homes
        ]
        self.community.clear(self.community.propose(*orders))
        assert self.community.chain.snapshot().positions_wh(QUARTERS, self.start) == self.flowed

    def deliver(self, flowed: dict[int, tuple[int, ...]] | None = None) -> None:
        """Let the session end; the meters send."""
        self.arrivals += self.fleet.session(self.start, self.flowed if flowed is None else flowed)
        self.travel_to(self.community.terms(QUARTERS).session_end(self.start) + HOUR)

    def travel_to(self, time: int) -> None:
        """What has arrived by then lies in the folder."""
        if self.community.now() < time:
            self.community.travel_to(time)
        due = [arrival for arrival in self.arrivals if arrival.arrives_at <= time]
        self.arrivals = [arrival for arrival in self.arrivals if arrival.arrives_at > time]
        for arrival in due:
            if arrival.signed is not None:
                self.file(arrival.signed)

    def file(self, signed: SignedReading) -> None:
        name = f"{next(self._files):03}-peer-{signed.reading.peer}.json"
        text = json.dumps(signed.to_document())
        (self.folder / "readings" / name).write_text(text, encoding="utf-8")

    def reading_of(self, peer: int) -> SignedReading:
        (arrival,) = (one for one in self.arrivals if one.peer == peer)
        assert arrival.signed is not None
        return arrival.signed

    def files(self) -> list[dict[str, Any]]:
        """The signed readings in the folder."""
        paths = sorted((self.folder / "readings").glob("*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    # ---------------------------------------------------------------------------- commands

    def run(
        self, *arguments: str, code: int = 0, aside: bool = False, only: str | None = None
    ) -> str:
        """What a command prints; it is shown on the page unless it is an aside.

        `only`: how the lines begin that are shown.
        """
        session = [str(QUARTERS), str(self.start)]
        options = [
            str(self.folder / "deployment.json") if one == "D.json" else one for one in CONNECTION
        ]
        if arguments[0] == "oracle":
            command = ["oracle", *options, "--market", str(QUARTERS), *arguments[1:]]
            words = ["oracle", "...", *arguments[1:]]
        elif "--check" in arguments:
            command = ["reconcile", *options[:4], *arguments[1:]]
            words = ["reconcile", *arguments[1:], "..."]
        else:
            readings = ["--readings", str(self.folder / "readings")]
            command = ["reconcile", *session, *options, *readings, *arguments[1:]]
            words = ["reconcile", *session, "--readings", "readings/", *arguments[1:], "..."]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == code, result.output
        if not aside:
            lines = result.output.splitlines()
            if only is not None:
                lines = ["...", *(line for line in lines if line.startswith(only))]
            shown = "\n".join([f"$ fairwatt {' '.join(words)}", *lines, ""])
            self.shown.append(shown.replace(str(self.folder) + "/", ""))
        return result.output

    def settle(self, *options: str, code: int = 0) -> str:
        return self.run("reconcile", *options, code=code)

    def sign(self, home: Member) -> None:
        """A gateway signs what flowed, from a file of the meter; home buys."""
        rows = [
            f"2100-01-01T{at // 4:02}:{at % 4 * 15:02}Z,{-wh / 1000}"
            for at, wh in enumerate(self.flowed[home.peer])
        ]
        meter = self.folder / "meter.csv"
        meter.write_text("\n".join(["time,home", *rows, ""]), encoding="utf-8")
        name = f"{next(self._files):03}-peer-{home.peer}.json"
        known = ["--market", str(QUARTERS), "--peer", str(home.peer), "--session", str(self.start)]
        known += ["--periods", str(len(rows))]
        files = ["--deployment", "D.json", "--out", f"readings/{name}"]
        paths = [str(self.folder / one) if "." in one else one for one in files]
        paths[1] = str(self.folder / "deployment.json")
        result = CliRunner().invoke(
            main,
            ["meter", "sign", str(meter), *known, *paths],
            env={"FAIRWATT_KEY": "0x" + bytes(home.meter.key).hex()},
        )
        assert result.exit_code == 0, result.output
        printed = result.output.replace(str(self.folder) + "/", "")
        words = " ".join(["meter.csv", *known, *files])
        self.shown.append(f"$ FAIRWATT_KEY=0x... fairwatt meter sign {words}\n{printed}")

    # ------------------------------------------------------------------------------- chain

    def bring(self, signed: SignedReading) -> ContractError | None:
        """Bring a reading past the command; what the contract says to it."""
        chain = self.community.chain
        positions = chain.snapshot().positions_wh(QUARTERS, self.start)
        brought = bring(positions, [signed], tariffs={signed.reading.peer: 0})
        try:
            chain.send(
                chain.contracts.settlement.reconcile,
                QUARTERS,
                self.start,
                list(brought.leaves),
                brought.readings,
                sender=self.community.outsider,
            )
        except ContractError as error:
            return error
        return None

    def balance(self, peer: int) -> int:
        return self.community.chain.snapshot().account(peer).balance_nano

    def imbalance(self, peer: int, *metered_wh: int) -> int:
        """What a reading is worth beside the position, nano-token; tariffs are the community's."""
        return sum(
            (wh - sold) * (FEED_IN if wh > sold else RETAIL)
            for wh, sold in zip(metered_wh, self.flowed[peer], strict=True)
        )


@pytest.fixture
def story(community: Community, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    community.travel_to(DATE - HOUR)
    homes = [
        community.admit(Role.PROSUMER, node, connection_w=100_000, tokens=1)
        for node in (C2, C2, C3, C3, C3, C3)
    ]
    fleet = Fleet(
        community.chain.reading_domain,
        QUARTERS,
        community.terms(QUARTERS),
        {home.peer: home.meter for home in homes},
        seed=1,
    )
    community.deposit(community.supplier, 10 * NANO)
    (tmp_path / "readings").mkdir()
    contracts = community.chain.contracts
    addresses = {name: str(getattr(contracts, name).address) for name in CONTRACTS}
    chain = community.chain
    Deployment("ethereum:local:test", chain.chain_id, chain.first_block, addresses).save(
        tmp_path / "deployment.json"
    )
    for module in ("reconcile", "oracle"):
        monkeypatch.setattr(f"fairwatt.cli.{module}.connect", lambda _: nullcontext())
        monkeypatch.setattr(f"fairwatt.cli.{module}.signer_for", lambda _: community.solver)
    told = Story(community, tmp_path, homes, fleet, DATE)
    told.trade()
    yield told
    # Whatever happened, every balance follows from it.
    assert audit(chain).differences == ()


def require_on_page(name: str, told: Story) -> None:
    """The page shows between its marks what the story printed."""
    page = PAGE.read_text(encoding="utf-8")
    shown = "```console\n" + "".join(told.shown) + "```\n"
    pattern = re.compile(rf"(<!-- run {name} -->\n)(.*?)(<!-- end {name} -->)", re.DOTALL)
    found = pattern.search(page)
    assert found is not None, f"docs/operating.md has no place for {name}"
    if os.environ.get("UPDATE_PAGES"):
        PAGE.write_text(pattern.sub(lambda at: at[1] + shown + at[3], page), encoding="utf-8")
        return
    assert found[2] == shown


def test_day__readings_as_traded_but_for_noise__is_settled_in_one_run(story: Story) -> None:
    story.fleet.give(Noise(0.02))
    before = {peer: story.balance(peer) for peer in story.peers}
    story.deliver()
    readings = {
        document["reading"]["peer"]: document["reading"]["energyWh"] for document in story.files()
    }

    report = story.folder / "initial.json"
    assert "6 readings settled, 0 estimated" in story.settle("--report", str(report))
    story.shown.clear()
    printed = story.settle("--send")
    assert printed.startswith(f"session {DATE}, initial run: 6 readings settled")
    for peer in story.peers:
        assert story.balance(peer) - before[peer] == story.imbalance(peer, *readings[peer])
    document = json.loads(report.read_text(encoding="utf-8"))
    assert sum(document["movedNano"].values()) == 0
    assert (document["run"], document["sent"], len(document["settled"])) == ("initial", False, 6)
    story.run("reconcile", "--check")
    require_on_page("day", story)


def test_outage__of_a_third_of_the_meters__is_estimated_and_late_readings_replace_it(
    story: Story,
) -> None:
    late, silent = story.fleet.some(1 / 3)  # a seller and a buyer
    story.fleet.give(Outage(), peers=[silent])
    story.fleet.give(Late(3 * DAY), peers=[late])
    before = {peer: story.balance(peer) for peer in (silent, late)}
    story.deliver()

    assert "4 readings settled, 0 estimated, 0 held back, 2 missing; sent" in story.settle("--send")
    assert "readings of session" in story.settle("--final", code=1)
    terms = story.community.terms(QUARTERS)
    story.travel_to(terms.reading_deadline(DATE) + HOUR)
    assert "2 estimated" in story.settle("--send")
    # Nobody is paid for energy that no meter saw; what was bought counts as taken.
    for peer in (silent, late):
        sold = [max(0, wh) for wh in story.flowed[peer]]
        assert story.balance(peer) - before[peer] == -RETAIL * sum(sold)
    story.travel_to(terms.settlement_deadline(DATE) - DAY)
    final = story.settle("--final", "--send")
    assert "1 reading settled, 1 in place of an estimate" in final
    assert story.balance(late) == before[late]
    estimated = [story.community.chain.snapshot().is_reading_estimated(QUARTERS, DATE, silent)]
    assert estimated == [True]
    require_on_page("outage", story)


def test_meter_off_by_10__within_the_connection__is_held_back_until_it_signs_again(
    story: Story,
) -> None:
    wrong = story.peers[3]
    story.fleet.give(Scale(10), peers=[wrong])
    before = story.balance(wrong)
    story.deliver()

    assert f"held: peer {wrong}: it counts 36.000 kWh, 10.0 times" in story.settle("--send")
    assert story.balance(wrong) == before
    story.sign(story.homes[3])
    assert f"peer {wrong} was as it had traded" in story.settle("--send")
    assert story.balance(wrong) == before
    require_on_page("scale", story)


def test_meter_off_by_10__nobody_corrects_it__is_settled_in_the_final_run(story: Story) -> None:
    wrong = story.peers[3]
    story.fleet.give(Scale(10), peers=[wrong])
    before = story.balance(wrong)
    story.deliver()
    story.settle("--send")
    story.travel_to(story.community.terms(QUARTERS).reading_deadline(DATE) + HOUR)

    printed = story.settle("--final", "--send")

    taken = (-10 * BOUGHT,) * 4
    owed = -story.imbalance(wrong, *taken)
    arrears = story.community.chain.snapshot().account(wrong).arrears_nano
    assert before - story.balance(wrong) + arrears == owed
    assert f"arrears: peer {wrong} owes peer" in printed


def test_meter_off_by_10__beyond_the_connection__is_refused_by_the_contract_too(
    story: Story,
) -> None:
    wrong = story.peers[0]
    story.fleet.give(Scale(20), peers=[wrong])
    story.arrivals += story.fleet.session(DATE, story.flowed)
    reading = story.reading_of(wrong)
    story.deliver({})

    assert (
        f"refused: peer {wrong}: 36000 Wh in period 0 is more than the connection's 25000 Wh"
        in (story.settle("--send"))
    )
    said = story.bring(reading)
    assert said is not None
    assert said.name == "ReadingImplausible"
    require_on_page("implausible", story)


def test_replay__of_yesterdays_reading__is_refused_under_either_date(story: Story) -> None:
    first, second = story.peers[2:4]
    story.deliver()
    story.settle("--send")
    story.shown.clear()
    yesterday = story.start
    story.trade(story.community.open_session(QUARTERS))
    story.fleet.give(Replay(), peers=[first])
    story.fleet.give(Replay(relabelled=True), peers=[second])
    story.arrivals += story.fleet.session(story.start, story.flowed)
    forged = story.reading_of(second)
    for path in (story.folder / "readings").glob("*.json"):
        path.unlink()
    story.deliver({})
    before = {peer: story.balance(peer) for peer in story.peers}

    printed = story.settle("--send")

    assert f"refused: peer {first}: it is for session {yesterday} of market 2" in printed
    assert f"refused: peer {second}: it is not signed by the peer's meter" in printed
    said = story.bring(forged)
    assert said is not None
    assert (said.name, said.values["peer"]) == ("ReadingSignerMismatch", second)
    # Brought again for its own session, it is passed over: nothing is paid twice.
    story.start = yesterday
    (again,) = story.fleet.session(yesterday, {first: story.flowed[first]})
    assert again.signed is not None
    assert story.bring(again.signed) is None
    assert {peer: story.balance(peer) for peer in story.peers} == before
    require_on_page("replay", story)


def test_anothers_key__reading_signed_by_it__is_refused_and_its_peer_stays_missing(
    story: Story,
) -> None:
    victim = story.peers[5]
    story.fleet.give(OtherKey(meter_key(99)), peers=[victim])
    story.arrivals += story.fleet.session(DATE, story.flowed)
    forged = story.reading_of(victim)
    story.deliver({})

    printed = story.settle("--send")

    assert f"refused: peer {victim}: it is not signed by the peer's meter" in printed
    assert "5 readings settled, 0 estimated, 0 held back, 1 missing; sent" in printed
    said = story.bring(forged)
    assert said is not None
    assert said.name == "ReadingSignerMismatch"
    assert to_checksum_address(said.values["signer"]) == meter_key(99).address
    require_on_page("key", story)


def test_peer_that_never_pays__owes_arrears_is_left_out_and_pays_when_it_has_funds(
    story: Story,
) -> None:
    debtor, supplier = story.homes[4], story.community.supplier
    taken = story.flowed | {debtor.peer: (-12_000,) * 4}
    story.deliver(taken)
    before = story.balance(debtor.peer)

    assert "1 held back" in story.settle("--send")  # 13 times what it traded: looked at first
    story.travel_to(story.community.terms(QUARTERS).reading_deadline(DATE) + HOUR)
    printed = story.settle("--final", "--send")
    owed = -story.imbalance(debtor.peer, *taken[debtor.peer]) - before
    assert f"arrears: peer {debtor.peer} owes peer {supplier.peer}" in printed
    account = story.community.chain.snapshot().account(debtor.peer)
    assert (account.balance_nano, account.arrears_nano) == (0, owed)
    owes = f"BAD peer {debtor.peer} owes"
    assert f"{owes} peer {supplier.peer}" in story.run("oracle", "check", code=1, only=owes)

    # It trades no more: no clearing with its bid could be paid.
    orders = story.folder / "orders"
    orders.mkdir()
    start = story.community.open_session(QUARTERS)
    order = story.community.sign(debtor, bid(100_000, BOUGHT), market=QUARTERS, session=start)
    (orders / "debtor.json").write_text(json.dumps(order.to_document()), encoding="utf-8")
    offer = story.community.sign(story.homes[0], ask(50_000, 2_000), market=QUARTERS, session=start)
    (orders / "seller.json").write_text(json.dumps(offer.to_document()), encoding="utf-8")
    story.community.travel_to(story.community.terms(QUARTERS).gate_closure(start))
    cleared = story.run("oracle", "clear", "--orders", str(orders))
    assert f"refused: peer {debtor.peer}: the peer cannot pay what it would buy" in cleared
    # Nor does it withdraw.
    ledger = story.community.chain.contracts.ledger
    with ape.reverts(ledger.InsufficientFunds, peer=debtor.peer, neededNano=1, availableNano=0):
        story.community.send(ledger.requestWithdrawal, 1, sender=debtor.wallet)
    # Whatever it comes to have, anyone collects for its creditor.
    assert story.run("oracle", "collect", "--send", aside=True) == "nothing can be collected\n"
    story.community.deposit(debtor, owed - NANO)
    assert "can pay" in story.run("oracle", "collect", aside=True)
    gained = story.balance(supplier.peer)
    story.run("oracle", "collect", "--send")
    assert story.balance(supplier.peer) - gained == owed - NANO
    assert story.community.chain.snapshot().account(debtor.peer).arrears_nano == NANO
    require_on_page("arrears", story)


def test_peer_that_never_pays__with_credit__is_covered_by_the_fund_up_to_its_limit(
    story: Story,
) -> None:
    debtor = story.homes[4]
    contracts, treasury = story.community.chain.contracts, story.community.treasury
    story.community.send(contracts.ledger.depositToFund, NANO, sender=treasury)
    manager = story.community.fund_manager
    story.community.send(contracts.ledger.setCredit, debtor.peer, NANO, sender=manager)
    taken = story.flowed | {debtor.peer: (-4_000,) * 4}
    story.deliver(taken)
    before = story.balance(debtor.peer)

    story.settle("--send")

    account = story.community.chain.snapshot().account(debtor.peer)
    assert account.balance_nano == before + story.imbalance(debtor.peer, *taken[debtor.peer])
    assert -NANO < account.balance_nano < 0 == account.arrears_nano


def test_check__with_the_readings_of_a_session__says_which_were_not_settled(story: Story) -> None:
    story.fleet.give(Noise(0.05))
    swapped, lost, unsettled = story.peers[:3]
    story.fleet.give(Late(10 * DAY), peers=[unsettled])
    story.deliver()
    story.settle("--send")
    session = [str(QUARTERS), str(DATE)]
    files = ["--readings", str(story.folder / "readings")]
    told = story.run("reconcile", "--check", *session, *files)
    assert told.endswith("ok  every balance is what follows from the history\n")

    for path in (story.folder / "readings").glob("*.json"):
        if path.name.endswith((f"peer-{swapped}.json", f"peer-{lost}.json")):
            path.unlink()
    story.fleet.behaviours.clear()
    for arrival in story.fleet.session(DATE, {swapped: (1, 2, 3, 4), unsettled: (-1, -2, -3, -4)}):
        assert arrival.signed is not None
        story.file(arrival.signed)
    printed = story.run("reconcile", "--check", *session, *files, code=1)
    assert printed.splitlines()[1:] == [
        f"BAD peer {swapped}: the reading that was settled is not among these",
        f"BAD peer {lost}: the reading that was settled is not among these",
        f"BAD peer {unsettled}: its reading is not settled",
    ]
    document = json.loads(story.run("reconcile", "--check", "--json"))
    assert (document["accounts"], document["differences"], document["readings"]) == (8, [], [])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["2"], "Give MARKET and SESSION, or --check alone."),
        ([], "Give MARKET and SESSION, or --check alone."),
        (["--check", "--send"], "--check settles nothing"),
        (["2", "9"], "A settlement run needs --readings and --account."),
    ],
)
def test_reconcile__wrong_usage__is_explained(arguments: list[str], problem: str) -> None:
    where = ["--network", "ethereum:local:test", "--deployment", "D.json"]
    run = CliRunner().invoke(main, ["reconcile", *arguments, *where])
    assert run.exit_code == 2
    assert problem in run.output


def test_check__balance_changed_past_the_contracts__is_named_with_the_amount(story: Story) -> None:
    story.deliver()
    story.settle("--send")
    story.shown.clear()
    rich = story.peers[0]
    before = ape.chain.snapshot()
    add_to_free_funds(story.community, rich, 5 * NANO)

    printed = story.run("reconcile", "--check", code=1)

    assert f"BAD peer {rich}: the balance is " in printed
    assert "(off by +5,000,000,000)" in printed
    assert "BAD peer" not in printed.replace(f"BAD peer {rich}", "")
    ape.chain.restore(before)
    require_on_page("tampered", story)


def add_to_free_funds(community: Community, peer: int, nano: int) -> None:
    """Write to the storage of the ledger, as no contract does."""
    chain = ape.chain.provider.evm_backend.chain
    ledger = to_canonical_address(str(community.chain.contracts.ledger.address))
    state = chain.get_vm().state
    free = int(community.chain.contracts.ledger.account(peer).freeNano)
    shift = (3 - peer % 4) * 64
    for mapping in range(32):  # wherever the compiler has put it
        slot = int.from_bytes(keccak(encode(["uint256", "uint256"], [peer // 4, mapping])))
        word = state.get_storage(ledger, slot)
        if word >> shift & (1 << 64) - 1 == free:
            state.set_storage(ledger, slot, word + (nano << shift))
            break
    state.lock_changes()
    state.persist()
    chain.header = chain.header.copy(state_root=state.state_root)
    community.travel_to(community.now() + 12_345)  # at a time at which no other test mines


def test_dishonest_meter__reports_somewhat_less__is_believed(story: Story) -> None:
    """Nobody but its meter says what a peer took: the page says what does help."""
    cheat = story.peers[2]
    story.fleet.give(UnderReport(0.3), peers=[cheat])
    before = story.balance(cheat)
    story.deliver()

    story.settle("--send")

    assert story.balance(cheat) - before == round(0.3 * BOUGHT) * 4 * FEED_IN


@pytest.mark.parametrize(
    ("metered", "traded", "reason"),
    [
        ((-9_000,), (-900,), "10.0 times the 0.900 kWh"),
        ((-4_499,), (-900,), None),
        ((-9,), (-9_000,), "next to nothing of the 9.000 kWh"),
        ((0,), (5_000,), "next to nothing"),
        ((-90,), (-9_000,), None),
        ((-900,), (-90,), None),  # less than 1 kWh apart
        ((-90_000,), (), None),
    ],
)
def test_doubt__energy_beside_what_was_traded(
    metered: tuple[int, ...], traded: tuple[int, ...], reason: str | None
) -> None:
    said = doubt(metered, traded)
    assert said is None if reason is None else said is not None and reason in said
