"""`fairwatt oracle` against a chain that stays: one market day on anvil, from outside."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from fairwatt.cases import Case
from fairwatt.chain import Chain, Role, Settings, connect
from fairwatt.chain import test_signer as local_signer
from fairwatt.cli import main
from fairwatt.continuous import ContinuousOrder
from fairwatt.deployment import CONTRACTS, Deployment
from fairwatt.market import Side
from fairwatt.orders import FlexibleOrder, Order, Step
from fairwatt.session import MarketTerms
from fairwatt.simulation import Simulation
from fairwatt.units import moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eth_account.signers.local import LocalAccount

pytestmark = [
    pytest.mark.anvil,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # web3 keeps its sockets open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ANVIL = shutil.which("anvil", path=str(BIN)) or shutil.which("anvil")
PAUPER = 19  # loses its ether
TERMS = MarketTerms(
    network=1,
    period_seconds=3600,
    periods_per_session=1,
    max_placed_blocks=16,
    first_session_start=1_704_067_200,
    gate_lead_seconds=900,
    clearing_window_seconds=3600,
    reading_window_seconds=1_800,  # over before the next session is
    settlement_window_seconds=7 * 86_400,
)
SHORT_WH = {"P3": 5_000, "P5": -8_000}  # metered minus position


@dataclass(frozen=True)
class Node:
    """An anvil on a port of its own."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, *parameters: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        request = urllib.request.Request(
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)["result"]

    def travel_to(self, seconds: int) -> None:
        self.ask("evm_setNextBlockTimestamp", seconds)
        self.ask("evm_mine")

    def block(self) -> int:
        return int(self.ask("eth_blockNumber"), 16)


@dataclass(frozen=True)
class Day:
    """A community on the node, with what its peers handed in."""

    node: Node
    folder: Path
    start: int
    peers: dict[str, int]
    keys: dict[str, LocalAccount]

    @property
    def arguments(self) -> list[str]:
        deployment = str(self.folder / "deployment.json")
        return ["--network", self.node.url, "--deployment", deployment]

    @property
    def orders(self) -> list[str]:
        return ["--session", str(self.start), "--orders", str(self.folder / "orders")]

    @property
    def readings(self) -> list[str]:
        return ["--session", str(self.start), "--readings", str(self.folder / "readings")]

    def run(self, *arguments: str, account: str = "test:0") -> Result:
        """Within this process."""
        return CliRunner().invoke(
            main, ["oracle", *self.arguments, "--account", account, *arguments]
        )

    def process(self, *arguments: str, code: int = 0) -> str:
        """As a process of its own; what it printed."""
        run = subprocess.run(
            [BIN / "fairwatt", "oracle", *self.arguments, "--account", "test:0", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == code, run.stdout + run.stderr
        assert "Traceback" not in run.stderr
        return run.stdout if code == 0 else run.stderr


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    assert ANVIL is not None, "anvil is not installed; make setup"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        node = Node(free.getsockname()[1])
    command = [ANVIL, "--port", str(node.port), "--silent", "--accounts", "20"]
    with subprocess.Popen([*command, "--hardfork", "prague"]) as process:
        try:
            for _ in range(100):
                try:
                    node.ask("eth_chainId")
                    break
                except OSError:
                    time.sleep(0.1)
            yield node
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def day(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """The five peers of case II; everybody has signed, P4 has placed its order."""
    folder = tmp_path_factory.mktemp("day")
    for name in ("orders", "readings", "continuous"):
        (folder / name).mkdir()
    case = Case.load("five-peer-2")
    settings = Settings.load(ROOT / "deployments" / "local.toml")
    published = case.published
    assert published is not None
    with connect(node.url):
        community = Simulation.found(case.community, settings, TERMS, funds_nano=50 * 10**9)
        chain = community.chain
        start = TERMS.next_open_session(chain.now())
        for name, member in community.members.items():
            signed = community.sign(member, community.order(member, start))
            if name == "P4":
                message = signed.order.to_message()
                place = chain.contracts.order_book.place
                chain.send(place, message, signed.signature, sender=member.wallet)
            else:
                write(folder / "orders" / f"{name}.json", signed.to_document())
            if name != "G":
                sold = published.export_wh[name] - published.import_wh[name]
                reading = community.read(member, start, (sold + SHORT_WH.get(name, 0),))
                write(folder / "readings" / f"{name}.json", reading.to_document())
        for name, side, energy, rests_from in (
            ("P5", Side.ASK, 700, 0),
            ("P2", Side.BID, 400, start),
        ):
            member = community.members[name]
            product = (1, member.peer, start, 0, 1)
            wish = ContinuousOrder(*product, side, 150_000, energy, start, rests_from)
            signed_wish = wish.signed_by(member.key, chain.trade_domain)
            write(folder / "continuous" / f"{name}.json", signed_wish.to_document())
        addresses = {field: getattr(chain.contracts, field).address for field in CONTRACTS}
        deployment = Deployment(node.url, chain.chain_id, chain.first_block, addresses)
        deployment.save(folder / "deployment.json")
        peers = {name: member.peer for name, member in community.members.items()}
        keys = {name: member.key for name, member in community.members.items()}
    node.ask("anvil_setBalance", address_of(node, PAUPER), "0x0")
    return Day(node, folder, start, peers, keys)


@pytest.fixture(autouse=True)
def _untouched(node: Node) -> Iterator[None]:
    """Every test starts from the same day."""
    snapshot = node.ask("evm_snapshot")
    yield
    assert node.ask("evm_revert", snapshot)


def address_of(node: Node, index: int) -> str:
    return str(node.ask("eth_accounts")[index])


def write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def test_oracle__market_is_new__has_no_session_to_clear_or_reconcile(day: Day) -> None:
    for command, folder, which in (
        ("clear", day.orders[2:], "whose gate is closed"),
        ("reconcile", day.readings[2:], "that is over"),
    ):
        assert day.process(command, *folder, code=1) == (
            f"error: market 1 has no session yet {which}; its first begins at {moment(day.start)}\n"
        )


def test_oracle__a_market_day__is_dry_unless_told_to_send_and_does_nothing_twice(day: Day) -> None:
    gate = TERMS.gate_closure(day.start)
    assert day.process("clear", *day.orders, code=1).startswith(
        f"error: the gate of session {day.start} closes at {moment(gate)}, it is "
    )
    day.node.travel_to(gate)
    height = day.node.block()

    assert "clears 5 orders with welfare 45,424,000,000 nano-token; not sent (dry run)" in (
        day.process("clear", *day.orders)
    )
    assert day.node.block() == height
    sent = json.loads(day.process("clear", *day.orders, "--send", "--json"))
    assert sent["gasUsed"] > 0
    assert sent | {"gasUsed": 0} == {
        "session": day.start,
        "cleared": True,
        "sent": True,
        "gasUsed": 0,
        "orders": 5,
        "welfare": [45_424_000_000],
        "refused": [],
        "excused": [],
    }
    assert day.node.block() == height + 2  # with a roster
    again = json.loads(day.process("clear", *day.orders, "--send", "--json"))
    assert (again["cleared"], again["sent"]) == (True, False)
    assert day.node.block() == height + 2

    assert f"session {day.start} ends at" in day.process("reconcile", *day.readings, code=1)
    day.node.travel_to(TERMS.session_end(day.start))
    height = day.node.block()
    dry = json.loads(day.process("reconcile", *day.readings, "--json"))
    assert (dry["sent"], day.node.block()) == (False, height)
    settled = json.loads(day.process("reconcile", *day.readings, "--send", "--json"))
    assert (settled["sent"], day.node.block()) == (True, height + 1)
    assert settled["settled"] == dry["settled"]
    assert {
        row["peer"]: (row["imbalanceWh"], row["paymentNano"])
        for row in settled["settled"]
        if row["paymentNano"]
    } == {
        day.peers["P3"]: ([5_000], 5_000 * 30_000),
        day.peers["P5"]: ([-8_000], -8_000 * 200_000),
    }
    assert (settled["missing"], settled["refused"]) == ([], [])
    again = json.loads(day.process("reconcile", *day.readings, "--send", "--json"))
    assert (again["sent"], again["settled"], len(again["refused"])) == (False, [], 4)
    assert day.node.block() == height + 1


def test_reconcile__check__recomputes_every_account_and_finds_what_was_changed(day: Day) -> None:
    day.node.travel_to(TERMS.gate_closure(day.start))
    assert day.run("clear", *day.orders, "--send").exit_code == 0
    day.node.travel_to(TERMS.session_end(day.start))
    assert day.run("reconcile", *day.readings, "--send").exit_code == 0

    def check() -> Result:
        return CliRunner().invoke(main, ["reconcile", *day.arguments, "--check"])

    run = check()
    assert run.exit_code == 0, run.output
    assert run.output == (
        "6 accounts and the fund, recomputed from 5 deposits, 1 clearing, 1 reconciliation\n"
        "ok  every balance is what follows from the history\n"
    )
    # A node that lies about the storage of the ledger.
    contracts = Deployment.load(day.folder / "deployment.json").addresses
    peer, ledger = day.peers["P3"], contracts["ledger"]
    for mapping in range(32):
        slot = keccak(encode(["uint256", "uint256"], [peer // 4, mapping])).hex()
        word = int(day.node.ask("eth_getStorageAt", ledger, f"0x{slot}", "latest"), 16)
        if word:
            changed = f"0x{word ^ 1 << (3 - peer % 4) * 64:064x}"
            day.node.ask("anvil_setStorageAt", ledger, f"0x{slot}", changed)
            break
    run = check()
    assert run.exit_code == 1
    assert f"BAD peer {peer}: the balance is" in run.output
    assert "(off by " in run.output


def test_trade__orders_of_a_folder__are_matched_and_sent_once(day: Day) -> None:
    day.node.travel_to(TERMS.gate_closure(day.start))
    orders, height = ["--orders", str(day.folder / "continuous")], day.node.block()
    assert day.process("trade", *orders) == "market 1 trades 1 pair; not sent\n"
    assert day.node.block() == height
    sent = json.loads(day.process("trade", *orders, "--send", "--json"))
    assert (sent["sent"], sent["refused"], day.node.block()) == (True, [], height + 1)
    (traded,) = sent["trades"]
    parties = traded["seller"], traded["buyer"], traded["resting"]
    assert parties == (day.peers["P5"], day.peers["P2"], day.peers["P5"])
    assert (traded["energyWh"], traded["valueNano"]) == (400, 400 * 150_000)
    again = json.loads(day.process("trade", *orders, "--send", "--json"))
    assert (again["sent"], again["trades"], day.node.block()) == (False, [], height + 1)


def test_check__exits_with_0_or_1(day: Day) -> None:
    run = day.run("check", "--json")
    findings = json.loads(run.output)
    assert (run.exit_code, all(finding["ok"] for finding in findings)) == (0, True)
    assert findings[0]["text"].startswith("chain 31337 answers at block")
    poor = day.run("check", account=f"test:{PAUPER}")
    assert poor.exit_code == 1
    assert "BAD account" in poor.output
    assert "holds 0.0000 ether for gas" in poor.output
    assert "ok  chain 31337 answers at block" in poor.output
    # The first session of the market is not cleared, and its time is over.
    day.node.travel_to(TERMS.clearing_deadline(day.start) + 1)
    late = day.run("check", "--json")
    wrong = [finding["text"] for finding in json.loads(late.output) if not finding["ok"]]
    assert late.exit_code == 1
    assert wrong == [f"session {day.start} was never cleared: it is void"]


def test_clear__malformed_and_bad_orders__are_listed_and_stop_nobody(
    day: Day, tmp_path: Path
) -> None:
    orders = tmp_path / "orders"
    shutil.copytree(day.folder / "orders", orders)
    document = json.loads((orders / "P5.json").read_text(encoding="utf-8"))
    write(orders / "0-false-signature.json", document | {"signature": "0x" + "00" * 65})
    write(orders / "1-no-hex.json", document | {"signature": "0xzz"})
    write(orders / "2-no-order.json", {"signature": "0x"})
    (orders / "3-no-json.json").write_text("{", encoding="utf-8")
    (orders / "4-bytes.json").write_bytes(b"\xff\xfe\x00")
    (orders / "5-folder.json").mkdir()
    write(orders / "6-\x1b[31mred.json", {})
    (orders / "notes.txt").write_text("not an order", encoding="utf-8")
    day.node.travel_to(TERMS.gate_closure(day.start))
    arguments = ["--session", str(day.start), "--orders", str(orders)]
    run = day.run("clear", *arguments, "--json")
    assert run.exit_code == 0, run.output
    document = json.loads(run.output)
    assert document["orders"] == 5
    assert [entry.get("file", entry.get("peer")) for entry in document["refused"]] == [
        "1-no-hex.json",
        "2-no-order.json",
        "3-no-json.json",
        "4-bytes.json",
        "5-folder.json",
        "6-\x1b[31mred.json",
        day.peers["P5"],
    ]
    shown = day.run("clear", *arguments)
    assert "  refused: 1-no-hex.json: the signature must be hexadecimal" in shown.output
    assert "\x1b" not in shown.output


def test_clear__default_session__is_the_last_with_a_closed_gate(day: Day) -> None:
    day.node.travel_to(TERMS.gate_closure(day.start))
    run = day.run("clear", "--orders", str(day.folder / "orders"))
    assert run.exit_code == 0, run.output
    assert run.output.startswith(f"session {day.start} clears 5 orders")


def test_reconcile__default_session__is_the_last_that_is_over(day: Day) -> None:
    day.node.travel_to(TERMS.gate_closure(day.start))
    assert day.run("clear", *day.orders, "--send").exit_code == 0
    day.node.travel_to(TERMS.session_end(day.start))
    run = day.run("reconcile", "--readings", str(day.folder / "readings"))
    assert run.exit_code == 0, run.output
    assert run.output.startswith(f"session {day.start} settles 4 readings")


def test_reconcile__readings_would_be_estimated__asks_for_the_session(
    day: Day, tmp_path: Path
) -> None:
    day.node.travel_to(TERMS.gate_closure(day.start))
    assert day.run("clear", *day.orders, "--send").exit_code == 0
    day.node.travel_to(TERMS.reading_deadline(day.start) + 1)
    height, empty = day.node.block(), tmp_path / "readings"
    empty.mkdir()
    run = day.run("reconcile", "--readings", str(empty), "--send")
    assert run.output == (
        f"error: session {day.start} misses the readings of 4 peers, which would be estimated; "
        "name this session if that is meant\n"
    )
    assert (run.exit_code, day.node.block()) == (1, height)
    named = ["--session", str(day.start), "--readings", str(empty), "--send"]
    run = day.run("reconcile", *named)
    assert run.exit_code == 0, run.output
    assert run.output.startswith(f"session {day.start} settles 4 readings and estimates")
    assert day.node.block() == height + 1
    # With all readings there is nothing to estimate.
    run = day.run("reconcile", "--readings", str(day.folder / "readings"), "--send")
    assert run.exit_code == 0, run.output


def test_clear__account_without_gas__says_so_and_changes_nothing(day: Day) -> None:
    day.node.travel_to(TERMS.gate_closure(day.start))
    height = day.node.block()
    run = day.run("clear", *day.orders, "--send", account=f"test:{PAUPER}")
    assert run.exit_code == 1
    assert run.output.startswith("error: publishRoster: ")
    assert day.node.block() == height


@pytest.mark.parametrize(
    ("account", "message"),
    [("nobody", "'nobody' cannot sign here"), ("test:99", "there is no test:99")],
)
def test_check__account_that_is_not_there__says_so(day: Day, account: str, message: str) -> None:
    run = day.run("check", account=account)
    assert (run.exit_code, "Traceback" in run.output) == (1, False)
    assert message in run.output


def test_check__unknown_market__says_so(day: Day) -> None:
    arguments = ["oracle", *day.arguments, "--market", "7", "--account", "test:0", "check"]
    run = CliRunner().invoke(main, arguments)
    assert (run.exit_code, run.output) == (
        1,
        "error: there is no market 7; markets are numbered 1 to 1\n",
    )


def test_check__deployment_that_does_not_fit__says_so(day: Day, tmp_path: Path) -> None:
    deployment = Deployment.load(day.folder / "deployment.json")
    replace(deployment, chain_id=1).save(tmp_path / "other.json")
    for name, message in (
        ("other.json", "the deployment is on chain 1"),
        ("none.json", "none.json"),
    ):
        arguments = ["--network", day.node.url, "--deployment", str(tmp_path / name)]
        run = CliRunner().invoke(main, ["oracle", *arguments, "--account", "test:0", "check"])
        assert run.exit_code == 1
        assert message in run.output


def test_check__chain_that_is_not_there__says_so(day: Day) -> None:
    deployment = ["--deployment", str(day.folder / "deployment.json")]
    arguments = ["--network", "http://127.0.0.1:1", *deployment, "--account", "test:0", "check"]
    run = CliRunner().invoke(main, ["oracle", *arguments])
    assert run.exit_code == 1
    assert run.output.startswith("error: cannot connect to http://127.0.0.1:1: ")


# ---------------------------------------------------------------------------------------- receipts

MANAGER, CHALLENGER, TREASURY = "test:0", "test:18", 6
TOKEN = 10**18


@dataclass(frozen=True)
class Managed:
    """A second market on the node, whose manager answers orders with receipts."""

    day: Day
    folder: Path
    start: int

    def run(self, command: str, *arguments: str, account: str = MANAGER) -> Result:
        market = ["--market", "2", "--account", account, command]
        return CliRunner().invoke(main, ["oracle", *self.day.arguments, *market, *arguments])

    def ask(self, command: str, *arguments: str) -> dict[str, Any]:
        run = self.run(command, *arguments, "--json")
        assert run.exit_code == 0, run.output
        document: dict[str, Any] = json.loads(run.output)
        return document

    def receipt(self, command: str, name: str, *arguments: str) -> Result:
        documents = [
            str(self.folder / "orders" / "receipts" / name),
            "--order",
            str(self.folder / "kept" / name),
        ]
        return CliRunner().invoke(
            main, ["receipt", command, *documents, *self.day.arguments, *arguments]
        )


@pytest.fixture
def managed(day: Day, tmp_path: Path) -> Managed:
    (tmp_path / "orders").mkdir()
    (tmp_path / "kept").mkdir()
    deployment = Deployment.load(day.folder / "deployment.json")
    manager = address_of(day.node, 0)
    with connect(day.node.url):
        chain = Chain.of(deployment)
        terms = replace(TERMS, manager=manager, exclusive_window_seconds=600)
        assert chain.create_market(terms, sender=local_signer(3)) == 2
        mint = chain.contracts.token.treasuryMint
        chain.send(mint, manager, 25 * TOKEN, sender=local_signer(TREASURY))
        start = terms.next_open_session(chain.now())
        for name in ("P3", "P4"):
            key, peer = day.keys[name], day.peers[name]
            role = chain.snapshot().peer(peer).role
            side = Side.BID if role is Role.CONSUMER else Side.ASK
            curve = Order(2, peer, start, (Step(0, side, 100_000, 1_000),))
            order = _flexible(curve, role) if name == "P4" else curve
            signed = order.signed_by(key, chain.order_domain)
            write(tmp_path / "orders" / f"{name}.json", signed.to_document())
            write(tmp_path / "kept" / f"{name}.json", signed.to_document())
    return Managed(day, tmp_path, start)


def _flexible(order: Order, role: Role) -> FlexibleOrder:
    """What the order says, as one of a vehicle or a storage: it may take 1 kWh, or give it."""
    charge, discharge = (1_000, 0) if role.buys else (0, 1_000)
    window = {"first_period": 0, "periods": 1, "capacity_wh": 1_000, "wanted_wh": 1_000}
    return FlexibleOrder(
        order.market, order.peer, order.session_start, charge_wh=charge, discharge_wh=discharge,
        start_wh=discharge, value_micro_per_kwh=100_000, **window,
    )  # fmt: skip


def test_receipts__from_bond_to_challenge(managed: Managed) -> None:
    node, orders = managed.day.node, ["--orders", str(managed.folder / "orders")]
    refused = managed.run("receipts", *orders, "--send")
    assert (refused.exit_code, "deposit more (fairwatt oracle bond)" in refused.output) == (1, True)
    assert managed.ask("bond", "--deposit", str(25 * TOKEN))["bondWei"] == 0
    bond = managed.ask("bond", "--deposit", str(25 * TOKEN), "--send")
    assert (bond["bondWei"], bond["securedWei"], bond["sent"]) == (25 * TOKEN, 25 * TOKEN, True)
    assert "secures 25.00 token; a breach costs 10.00 token" in managed.run("bond").output

    assert managed.ask("receipts", *orders)["new"] == ["P3.json", "P4.json"]
    assert not (managed.folder / "orders" / "receipts").exists()
    answered = managed.ask("receipts", *orders, "--send")
    assert (answered["session"], answered["answered"]) == (managed.start, 2)
    again = managed.ask("receipts", *orders, "--send")
    assert (again["answered"], again["new"]) == (2, [])

    checked = managed.receipt("check", "P4.json")
    assert checked.exit_code == 0, checked.output
    assert f"signer      {to_checksum_address(address_of(node, 0))}, the manager" in checked.output
    assert "state       not cleared" in checked.output
    offline = [
        "receipt", "check", str(managed.folder / "orders" / "receipts" / "P4.json"),
        "--order", str(managed.folder / "orders" / "P3.json"),
        "--deployment", str(managed.day.folder / "deployment.json"),
    ]  # fmt: skip
    wrong = CliRunner().invoke(main, offline)
    assert wrong.exit_code == 1
    assert "rejected: ReceiptError: receipt: is for another order than this one" in wrong.output

    # The manager loses an order, and clears without it.
    node.travel_to(TERMS.gate_closure(managed.start))
    (managed.folder / "orders" / "P4.json").unlink()
    session = ["--session", str(managed.start), *orders]
    cleared = managed.ask("clear", *session, "--send")
    assert (cleared["orders"], len(cleared["excused"])) == (1, 1)
    claim = ["--account", CHALLENGER]
    kept = managed.receipt("challenge", "P3.json", *claim)
    assert kept.exit_code == 1
    assert "rejected: ContractError: " in kept.output
    assert "OrderIsThere" in kept.output
    assert "state       missing" in managed.receipt("check", "P4.json").output
    dry = managed.receipt("challenge", "P4.json", *claim)
    assert "none of the 1 order in the clearing" in dry.output
    assert "the contract would pay; not sent (dry run)" in dry.output
    sent = managed.receipt("challenge", "P4.json", *claim, "--send", "--json")
    document = json.loads(sent.output)
    assert (document["compensationWei"], document["rewardWei"]) == (8 * TOKEN, 2 * TOKEN)
    assert "state       paid" in managed.receipt("check", "P4.json").output
    assert managed.ask("bond")["bondWei"] == 15 * TOKEN

    # A receipt that cannot be read must not be forgotten.
    (managed.folder / "orders" / "receipts" / "P4.json").write_text("{", encoding="utf-8")
    broken = managed.run("clear", *session)
    assert (broken.exit_code, "P4.json: is no receipt: " in broken.output) == (1, True)

    request = managed.ask("bond", "--withdraw", str(5 * TOKEN), "--send")
    assert (request["requestedWei"], request["securedWei"]) == (5 * TOKEN, 10 * TOKEN)
    early = managed.run("bond", "--collect", "--send")
    assert (early.exit_code, "WithdrawalNotReady" in early.output) == (1, True)
    node.travel_to(request["availableFrom"])
    assert managed.ask("bond", "--collect", "--send")["bondWei"] == 10 * TOKEN
    both = managed.run("bond", "--collect", "--withdraw", "1")
    assert (both.exit_code, "Give one of --deposit" in both.output) == (2, True)


@pytest.mark.parametrize("command", ["check", "clear", "reconcile", "trade", "receipts", "bond"])
def test_help__teaches(command: str) -> None:
    run = CliRunner().invoke(main, ["oracle", command, "--help"])
    assert run.exit_code == 0
    assert "--json" in run.output


@pytest.mark.parametrize("missing", ["--network", "--deployment", "--account"])
def test_check__option_missing__is_wrong_usage(day: Day, missing: str) -> None:
    options = [*day.arguments, "--account", "test:0"]
    at = options.index(missing)
    run = CliRunner().invoke(main, ["oracle", *options[:at], *options[at + 2 :], "check"])
    assert run.exit_code == 2
    assert "Give --network, --deployment and --account before the command." in run.output
