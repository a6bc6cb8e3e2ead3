"""`fairwatt move`: sign, ask for, carry out; twice is once."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from tests.chain.test_succession import SETTINGS
from tests.community import C3, WITHDRAWAL_DELAY

from fairwatt.chain import Chain, Deployment, Role, deploy
from fairwatt.cli import main, move
from fairwatt.deployment import CONTRACTS

if TYPE_CHECKING:
    from tests.community import Community, Member


@pytest.fixture(autouse=True)
def _connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain of the community is connected already."""
    monkeypatch.setattr(move, "connect", lambda _: nullcontext())


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.CONSUMER, C3, tokens=1)


@pytest.fixture
def old(community: Community, tmp_path: Path) -> Path:
    contracts = community.chain.contracts
    addresses = {field: str(getattr(contracts, field).address) for field in CONTRACTS}
    path = tmp_path / "old.json"
    Deployment("ethereum:local:test", community.chain.chain_id, 0, addresses).save(path)
    return path


@pytest.fixture
def new(community: Community, tmp_path: Path) -> Path:
    path = tmp_path / "new.json"
    deploy(SETTINGS, token=community.chain.contracts.token).save(path)
    return path


def _sign(member: Member, old: Path, new: Path, out: Path, account: int = 0) -> Result:
    arguments = ["--from", str(old), "--to", str(new), "--account", str(account)]
    return CliRunner().invoke(
        main,
        ["move", "sign", str(member.peer), *arguments, "--out", str(out)],
        env={"FAIRWATT_KEY": member.key.key.hex()},
    )


def _send(folder: Path, old: Path) -> Result:
    arguments = ["--from", str(old), "--network", "ethereum:local:test", "--account", "test:8"]
    return CliRunner().invoke(main, ["move", "send", str(folder), *arguments])


def test_move__signed_and_sent_again_and_again__moves_once(
    community: Community, member: Member, old: Path, new: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "moves"
    folder.mkdir()
    signed = _sign(member, old, new, folder / "1.json")
    assert signed.exit_code == 0, signed.output
    assert _send(folder, old).output.startswith("1.json: asked for, can be carried out from ")
    assert _send(folder, old).output.startswith("1.json: waits until ")
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    assert _send(folder, old).output == "1.json: moved 1.000000000 token to account 0\n"
    successor = Chain.of(Deployment.load(new))
    assert successor.snapshot().fund_nano() == 10**9
    again = _send(folder, old)
    assert (again.exit_code, again.output) == (
        0,
        "1.json: was carried out, or taken back by its wallet\n",
    )


def test_send__a_move_that_another_signed__is_refused(
    community: Community, member: Member, old: Path, new: Path, tmp_path: Path
) -> None:
    thief = community.admit(Role.CONSUMER, C3)
    _sign(replace(thief, peer=member.peer), old, new, tmp_path / "1.json", thief.peer)
    (tmp_path / "2.json").write_text("{}")
    refused = _send(tmp_path, old)
    assert refused.exit_code == 1
    assert f"MoveNotSigned(peer={member.peer}, wallet={member.wallet.address})" in refused.output
    assert "2.json: not a signed move" in refused.output


def test_sign__for_a_deployment_on_another_chain__is_refused(
    member: Member, old: Path, tmp_path: Path
) -> None:
    document = json.loads(old.read_text()) | {"chainId": 1}
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document))
    refused = _sign(member, old, other, tmp_path / "signed.json")
    assert refused.exit_code == 1
    assert "accounts move within a chain" in refused.output
