"""`fairwatt peer`, and orders placed and cancelled: what is sent, what is refused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from tests.community import C3, NANO, WITHDRAWAL_DELAY, bid

import fairwatt.chain
from fairwatt.chain import Role
from fairwatt.cli import main, peer
from fairwatt.deployment import CONTRACTS, Deployment

if TYPE_CHECKING:
    from tests.community import Community, Member

WALLET = "0x" + "12" * 20
METER = "0x" + "34" * 20
TREASURY, REGISTRAR = "test:6", "test:1"


@pytest.fixture(autouse=True)
def _connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain of the community is connected already."""
    monkeypatch.setattr(peer, "connect", lambda _: nullcontext())
    monkeypatch.setattr(fairwatt.chain, "connect", lambda _: nullcontext())


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.CONSUMER, C3, tokens=1)


@pytest.fixture
def deployment(community: Community, tmp_path: Path) -> Path:
    contracts = community.chain.contracts
    addresses = {field: str(getattr(contracts, field).address) for field in CONTRACTS}
    path = tmp_path / "D.json"
    Deployment("ethereum:local:test", community.chain.chain_id, 0, addresses).save(path)
    return path


def run(deployment: Path, *arguments: object, account: str | None = None) -> Result:
    where = ["--network", "ethereum:local:test", "--deployment", str(deployment)]
    who = [] if account is None else ["--account", account]
    return CliRunner().invoke(main, [*map(str, arguments), *where, *who])


def account_of(community: Community, member: Member) -> str:
    """Its wallet by the name of a test account."""
    return next(
        f"test:{at}"
        for at in range(20)
        if fairwatt.chain.test_signer(at).address == member.wallet.address
    )


ADMIT = ["peer", "admit", WALLET, "--role", "consumer", "--node", "c3", "--meter", METER]


def test_admit__dry_run_then_sent_then_again__once(community: Community, deployment: Path) -> None:
    command = [*ADMIT, "--supplier", community.supplier.peer]
    number = len(community.chain.snapshot().peers()) + 1
    dry = run(deployment, *command, account=REGISTRAR)
    assert dry.output.lower() == f"{WALLET} is peer {number}; not sent (dry run)\n"
    assert run(deployment, *command, "--send", account=REGISTRAR).exit_code == 0
    record = community.chain.snapshot().peer(number)
    assert (record.role, record.node, record.connection_w) == (Role.CONSUMER, C3, 10_000)
    again = run(deployment, *command, "--send", account=REGISTRAR)
    assert again.exit_code == 1
    assert f"is the wallet of peer {number} already" in again.output


def test_admit__by_somebody_else__role_is_named(community: Community, deployment: Path) -> None:
    refused = run(deployment, *ADMIT, "--supplier", community.supplier.peer, account="test:8")
    assert refused.exit_code == 1
    assert "neededRole=REGISTRAR_ROLE" in refused.output


def test_admit__unknown_node__nodes_are_named(community: Community, deployment: Path) -> None:
    command = [*ADMIT, "--supplier", community.supplier.peer, "--node", "c9"]
    refused = run(deployment, *command, account=REGISTRAR)
    assert "has no node 'c9'; there are grid, c2, c3" in refused.output


def test_admit__no_meter__is_wrong_usage(deployment: Path) -> None:
    command = ["peer", "admit", WALLET, "--role", "consumer", "--node", "c3"]
    assert run(deployment, *command, account=REGISTRAR).exit_code == 2


def test_deposit__minted__arrives(community: Community, member: Member, deployment: Path) -> None:
    paid = run(deployment, "peer", "deposit", member.peer, "2.5", "--send", account=TREASURY)
    assert paid.output.endswith("its balance is 3.50 token\n")
    assert community.balance(member) == 3_500_000_000
    community.require_conservation()


def test_deposit__without_tokens__says_how_many(member: Member, deployment: Path) -> None:
    short = run(deployment, "peer", "deposit", member.peer, "2.5", account="test:8")
    assert short.exit_code == 1
    assert "is 2.50 token short of that" in short.output


@pytest.mark.parametrize("tokens", ["0.0000000001", "many", "NaN", "Infinity"])
def test_deposit__no_amount__is_wrong_usage(tokens: str, deployment: Path) -> None:
    assert run(deployment, "peer", "deposit", 1, tokens, account=TREASURY).exit_code == 2


def test_show__json__is_the_account(member: Member, deployment: Path) -> None:
    shown = json.loads(run(deployment, "peer", "show", member.peer, "--json").output)
    assert (shown["balanceNano"], shown["node"], shown["role"]) == (NANO, "c3", "consumer")


def test_withdraw__requested_too_early_then_in_time__is_paid(
    community: Community, member: Member, deployment: Path
) -> None:
    wallet = account_of(community, member)
    assert "has requested nothing" in run(deployment, "peer", "withdraw", account=wallet).output
    asked = run(deployment, "peer", "withdraw", "0.4", "--send", account=wallet)
    assert asked.exit_code == 0, asked.output
    early = run(deployment, "peer", "withdraw", "--send", account=wallet)
    assert (early.exit_code, "is paid from " in early.output) == (1, True)
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    assert run(deployment, "peer", "withdraw", "--send", account=wallet).exit_code == 0
    assert community.balance(member) == 600_000_000


def test_tariff__second_without_a_time__asks_for_it(community: Community, deployment: Path) -> None:
    supplier = account_of(community, community.supplier)
    refused = run(deployment, "peer", "tariff", "0.3", "0.08", account=supplier)
    assert "say with --from when it changes" in refused.output


def test_tariff__of_no_peer__is_refused(deployment: Path) -> None:
    refused = run(deployment, "peer", "tariff", "0.3", "0.08", account="test:8")
    assert "is the wallet of no peer; ask the registrar to admit it" in refused.output


def test_order__placed_and_cancelled__locks_and_frees(
    community: Community, member: Member, deployment: Path, tmp_path: Path
) -> None:
    path = tmp_path / "signed.json"
    path.write_text(json.dumps(community.sign(member, bid(100_000, 1_000)).to_document()))
    dry = run(deployment, "order", "place", path, account="test:8")
    assert dry.output.endswith("; not sent (dry run)\n")
    placed = run(deployment, "order", "place", path, "--send", account="test:8")
    assert placed.output.startswith(f"locks 0.10 token of peer {member.peer}; sent, ")
    assert community.chain.snapshot().account(member.peer).locked_nano == NANO // 10
    twice = run(deployment, "order", "place", path, "--send", account="test:8")
    assert (twice.exit_code, "AlreadyPlaced" in twice.output) == (1, True)
    wallet = account_of(community, member)
    assert run(deployment, "order", "cancel", path, "--send", account=wallet).exit_code == 0
    assert community.chain.snapshot().account(member.peer).locked_nano == 0
