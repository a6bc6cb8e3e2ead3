"""Deploying: settings files, `ape run deploy`, and who holds which role afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ape
import pytest

from fairwatt.chain import Chain, Roles, Settings, deploy, describe, signer_for
from fairwatt.chain import test_signer as local_signer
from fairwatt.deployment import CONTRACTS, Deployment
from fairwatt.errors import CaseError, ChainError, ContractError
from fairwatt.market import Link
from fairwatt.session import MarketTerms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.community import Community

ROOT = Path(__file__).parents[1]
LOCAL = ROOT / "deployments" / "local.toml"
BIN = Path(sys.executable).parent
NOBODY = "0x" + "0" * 40
SOMEBODY = "0x" + "12" * 20

SMALL = """\
admin_delay_seconds = 10
notice_seconds = 172800
withdrawal_delay_seconds = 1209600
[token]
name = "Token"
symbol = "TOK"
supply_cap_tokens = 5
[roles]
admin = "test:0"
registrar = "test:1"
network_operator = "test:2"
market_operator = "test:3"
guardian = "test:4"
fund_manager = "test:5"
treasury = "test:6"
community_manager = "test:7"
[[networks]]
nodes = ["a", "b"]
price_floor_micro_per_kwh = -5
price_cap_micro_per_kwh = 9
links = [{ from = "a", to = "b", tariff_micro_per_kwh = 1, capacity_wh = 2 }]
[[markets]]
network = 1
period_seconds = 3600
periods_per_session = 1
max_placed_blocks = 16
first_session_start = 1704067200
gate_lead_seconds = 900
clearing_window_seconds = 3600
reading_window_seconds = 86400
settlement_window_seconds = 604800
exclusive_window_seconds = 60
solver_fee_nano = 5
"""


def load(folder: Path, text: str) -> Settings:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return Settings.load(path)


# ------------------------------------------------------------------------------------- settings


def test_load__local_toml__is_what_the_repository_ships() -> None:
    settings = Settings.load(LOCAL)
    assert (settings.token_name, settings.token_symbol) == ("Community token", "CMT")
    assert (settings.backing, settings.supply_cap_wei) == (None, 10**24)
    assert settings.admin_delay_seconds == 86_400
    assert settings.notice_seconds == 172_800
    assert settings.withdrawal_delay_seconds == 1_209_600
    assert settings.roles == Roles(*(f"test:{at}" for at in range(8)))
    (network,) = settings.networks
    assert network.nodes == ("grid", "c2", "c3")
    assert network.links[2] == Link("c2", "c3", 21_600, 5_000_000)
    (terms,) = settings.markets
    assert (terms.network, terms.period_seconds, terms.periods_per_session) == (1, 3600, 1)


def test_load__small_file__reads_every_field(tmp_path: Path) -> None:
    settings = load(tmp_path, SMALL)
    assert settings.supply_cap_wei == 5 * 10**18
    assert settings.networks[0].price_floor_micro_per_kwh == -5
    assert settings.markets == (
        MarketTerms(1, 3600, 1, 16, 1_704_067_200, 900, 3600, 86_400, 604_800, 60, NOBODY, 5),
    )


def test_load__backed_token__has_no_cap(tmp_path: Path) -> None:
    settings = load(tmp_path, SMALL.replace("supply_cap_tokens = 5", f'backing = "{SOMEBODY}"'))
    assert settings.backing is not None
    assert settings.backing.lower() == SOMEBODY
    assert settings.supply_cap_wei == 0


def test_load__receipts__may_be_set(tmp_path: Path) -> None:
    table = (
        "[receipts]\npenalty_milli_tokens = 2_500\nreward_milli_tokens = 500\n"
        "challenge_window_seconds = 60\n"
    )
    settings = load(tmp_path, SMALL.replace("[[networks]]", table + "[[networks]]"))
    assert (settings.penalty_wei, settings.reward_wei) == (25 * 10**17, 5 * 10**17)
    assert settings.challenge_window_seconds == 60
    greedy = table.replace("= 500", "= 2501")
    with pytest.raises(CaseError, match=r"receipts.reward_milli_tokens: must be 0 to 2500"):
        load(tmp_path, SMALL.replace("[[networks]]", greedy + "[[networks]]"))
    shipped, default = Settings.load(LOCAL), load(tmp_path, SMALL)
    assert (shipped.penalty_wei, shipped.reward_wei) == (default.penalty_wei, default.reward_wei)
    assert any("a broken receipt costs 10 tokens, 2 of them" in step for step in describe(shipped))


def test_load__without_networks_and_markets__has_none(tmp_path: Path) -> None:
    settings = load(tmp_path, SMALL[: SMALL.index("[[networks]]")])
    assert (settings.networks, settings.markets) == ((), ())


def test_load__no_file__is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="there is no such file") as refusal:
        Settings.load(tmp_path / "none.toml")
    assert refusal.value.path == str(tmp_path / "none.toml")


def test_load__folder__is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="is not readable as TOML"):
        Settings.load(tmp_path)


@pytest.mark.parametrize("content", [b"notice_seconds =", b"\xff", b"a = 1\na = 2"])
def test_load__not_toml__is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings.toml").write_bytes(content)
    with pytest.raises(CaseError, match="is not readable as TOML"):
        Settings.load(tmp_path / "settings.toml")


MALFORMED = {
    # what is changed -> into what, the place, the problem
    "no notice": ("notice_seconds = 172800\n", "", "notice_seconds", "is missing"),
    "notice is a text": ("= 172800", '= "2 days"', "notice_seconds", "must be a whole number"),
    "notice is a fraction": ("= 172800", "= 1.5", "notice_seconds", "must be a whole number"),
    "negative notice": ("= 172800", "= -1", "notice_seconds", "must be 1 to 1099511627775, not -1"),
    "negative admin delay": ("= 10\n", "= -10\n", "admin_delay_seconds", "must be 0 to"),
    "endless withdrawals": (
        "= 1209600",
        "= 1099511627776",
        "withdrawal_delay_seconds",
        "must be 0 to 1099511627775",
    ),
    "unknown setting": (
        "notice_seconds",
        "notice_days = 2\nnotice_seconds",
        "notice_days",
        "is unknown",
    ),
    "no token": (SMALL[SMALL.index("[token]") : SMALL.index("[roles]")], "", "token", "is missing"),
    "token without name": ('name = "Token"\n', "", "token.name", "is missing"),
    "token with empty symbol": ('"TOK"', '""', "token.symbol", "must not be empty"),
    "unknown key of the token": ("symbol", "color = 1\nsymbol", "token.color", "is unknown"),
    "cap of nothing": ("tokens = 5", "tokens = 0", "token.supply_cap_tokens", "must be 1 to"),
    "negative cap": ("tokens = 5", "tokens = -5", "token.supply_cap_tokens", "must be 1 to"),
    "cap beyond the ledger": (
        "tokens = 5",
        f"tokens = {10**18 + 1}",
        "token.supply_cap_tokens",
        "must be 1 to",
    ),
    "neither backing nor cap": ("supply_cap_tokens = 5\n", "", "token.backing", "give either this"),
    "backing and cap": (
        "supply_cap_tokens = 5\n",
        f'supply_cap_tokens = 5\nbacking = "{SOMEBODY}"\n',
        "token.backing",
        "give either this",
    ),
    "backing is no address": (
        "supply_cap_tokens = 5",
        'backing = "USDC"',
        "token.backing",
        "must be the address of an ERC-20, not 'USDC'",
    ),
    "no roles": (SMALL[SMALL.index("[roles]") : SMALL.index("[[net")], "", "roles", "is missing"),
    "role is missing": ('guardian = "test:4"\n', "", "roles.guardian", "is missing"),
    "role is a number": ('"test:4"', "4", "roles.guardian", "must be a text, not 4"),
    "role is empty": ('"test:4"', '""', "roles.guardian", "must not be empty"),
    "unknown role": ("guardian =", 'king = "test:9"\nguardian =', "roles.king", "is unknown"),
    "network is a table": ("[[networks]]", "[networks]", "networks", "must be a list"),
    "network without nodes": ('nodes = ["a", "b"]\n', "", "networks[0].nodes", "is missing"),
    "nodes is a text": ('["a", "b"]', '"ab"', "networks[0].nodes", "must be a list"),
    "node twice": ('["a", "b"]', '["a", "a"]', "networks[0].nodes[1]", "is there twice"),
    "node name too long": (
        '["a", "b"]',
        f'["a", "{"é" * 17}"]',
        "networks[0].nodes[1]",
        "is longer than 32 bytes",
    ),
    "link from nowhere": ('from = "a"', 'from = "z"', "networks[0].links[0].from", "is not a node"),
    "negative tariff": (
        "tariff_micro_per_kwh = 1",
        "tariff_micro_per_kwh = -1",
        "networks[0].links[0].tariff_micro_per_kwh",
        "must be 0 to 4294967295, not -1",
    ),
    "unknown key of a link": (
        "capacity_wh",
        "loss = 1, capacity_wh",
        "networks[0].links[0].loss",
        "is unknown",
    ),
    "unknown key of a network": ("nodes =", "name = 1\nnodes =", "networks[0].name", "is unknown"),
    "floor above cap": (
        "floor_micro_per_kwh = -5",
        "floor_micro_per_kwh = 10",
        "networks[0].priceFloorMicroPerKWh",
        "is above the cap",
    ),
    "market on no network": (
        "network = 1\n",
        "network = 2\n",
        "markets[0].network",
        "must be 1 to 1",
    ),
    "market without terms": (
        "gate_lead_seconds = 900\n",
        "",
        "markets[0].gate_lead_seconds",
        "is missing",
    ),
    "period too long": (
        "period_seconds = 3600",
        "period_seconds = 65536",
        "markets[0].period_seconds",
        "must be 1 to 65535",
    ),
    "negative gate lead": (
        "gate_lead_seconds = 900",
        "gate_lead_seconds = -900",
        "markets[0].gate_lead_seconds",
        "must be 0 to 4294967295, not -900",
    ),
    "unknown key of a market": (
        "period_seconds",
        "gate_minutes = 15\nperiod_seconds",
        "markets[0].gate_minutes",
        "is unknown",
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_load__malformed__is_refused_with_its_place(tmp_path: Path, what: str) -> None:
    old, new, place, problem = MALFORMED[what]
    assert old in SMALL
    with pytest.raises(CaseError) as refusal:
        load(tmp_path, SMALL.replace(old, new, 1))
    assert refusal.value.path == f"{tmp_path / 'settings.toml'}: {place}"
    assert problem in refusal.value.problem


def test_describe__local_toml__says_every_step() -> None:
    steps = describe(Settings.load(LOCAL))
    assert steps[0] == "deploy PeerRegistry: changes take effect 172800 s after publication"
    assert "of a treasury, at most 1,000,000 tokens" in steps[1]
    assert "grant guardian to test:4" in steps
    assert "publish network 1: 3 nodes, 4 links" in steps
    assert steps[-1] == (
        "create market 1 on network 1: 1 period of 3600 s, gate closes 900 s ahead, "
        "the first 300 s for the community manager test:7"
    )


# -------------------------------------------------------------------------------------- signers


@pytest.mark.parametrize(
    "account", ["test:99", "test:-1", "test:", "test:x", "nobody", "", SOMEBODY]
)
def test_signer_for__nobody_who_signs_here__says_so(community: Community, account: str) -> None:
    with pytest.raises(ChainError):
        signer_for(account)


def test_signer_for__test_account_on_a_public_chain__is_refused(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairwatt.chain._deploy._LOCAL_CHAINS", (31337,))
    with pytest.raises(ChainError, match="everybody has its key"):
        signer_for("test:0")


# --------------------------------------------------------------------------------------- deploy

ROLES = {
    "registry": ("REGISTRAR_ROLE", "NETWORK_OPERATOR_ROLE"),
    "order_book": ("MARKET_OPERATOR_ROLE", "GUARDIAN_ROLE"),
    "ledger": ("FUND_MANAGER_ROLE",),
    "token": ("TREASURY_ROLE",),
}
HOLDERS = {
    "REGISTRAR_ROLE": 1,
    "NETWORK_OPERATOR_ROLE": 2,
    "MARKET_OPERATOR_ROLE": 3,
    "GUARDIAN_ROLE": 4,
    "FUND_MANAGER_ROLE": 5,
    "TREASURY_ROLE": 6,
}


@pytest.fixture
def deployed(community: Community) -> Iterator[Chain]:
    """A second deployment, from the settings file that is shipped, beside the community."""
    return Chain.of(deploy(Settings.load(LOCAL)))


def test_deploy__roles__are_granted_and_the_admin_holds_none_of_them(deployed: Chain) -> None:
    accounts = [local_signer(at).address for at in range(10)]
    for field, names in ROLES.items():
        contract = getattr(deployed.contracts, field)
        for name in names:
            role = getattr(contract, name)()
            holders = [at for at, address in enumerate(accounts) if contract.hasRole(role, address)]
            assert holders == [HOLDERS[name]], f"{field}.{name}"
        assert contract.defaultAdmin() == accounts[0]
        assert contract.defaultAdminDelay() == 86_400


def test_deploy__every_role_of_the_contracts__is_covered(deployed: Chain) -> None:
    for field in CONTRACTS:
        contract = getattr(deployed.contracts, field)
        views = {method.name for method in contract.contract_type.view_methods}
        named = {name for name in views if name.endswith("_ROLE")} - {"DEFAULT_ADMIN_ROLE"}
        assert named == set(ROLES.get(field, ()))


def test_deploy__contracts__are_connected_for_good(deployed: Chain) -> None:
    contracts = deployed.contracts
    admin = local_signer(0)
    assert contracts.ledger.orderBook() == contracts.order_book.address
    assert contracts.ledger.clearing() == contracts.clearing.address
    assert contracts.ledger.settlement() == contracts.settlement.address
    assert contracts.order_book.clearing() == contracts.clearing.address
    assert contracts.ledger.trades() == contracts.trades.address
    assert contracts.settlement.TRADES() == contracts.trades.address
    assert contracts.bonds.CLEARING() == contracts.clearing.address
    assert contracts.bonds.TOKEN() == contracts.token.address
    accounts = (contracts.order_book, contracts.clearing, contracts.settlement, contracts.trades)
    again = [
        (contracts.registry.connectAccounts, (contracts.ledger,)),
        (contracts.ledger.connectMarket, accounts),
        (contracts.order_book.connectClearing, (contracts.clearing,)),
    ]
    for connect_, arguments in again:
        with pytest.raises(ContractError) as refusal:
            deployed.simulate(connect_, *arguments, sender=admin)
        assert refusal.value.name == "AlreadyConnected"


def test_deploy__networks_and_markets__are_those_of_the_settings(deployed: Chain) -> None:
    settings = Settings.load(LOCAL)
    snapshot = deployed.snapshot()
    manager = local_signer(7).address
    assert snapshot.terms(1) == replace(settings.markets[0], manager=manager)
    start = settings.markets[0].next_open_session(deployed.now())
    network = snapshot.session(1, start).versions[0].network
    assert replace(network, seed=b"") == settings.networks[0]


def test_deploy__whoever_must_sign_cannot__deploys_nothing(community: Community) -> None:
    settings = Settings.load(LOCAL)
    height = ape.chain.blocks.height
    for role in ("admin", "network_operator", "market_operator"):
        roles = replace(settings.roles, **{role: SOMEBODY})
        with pytest.raises(ChainError, match="cannot sign here"):
            deploy(replace(settings, roles=roles))
    roles = replace(settings.roles, guardian="nobody")
    with pytest.raises(ChainError, match="'nobody' cannot sign here"):
        deploy(replace(settings, roles=roles))
    assert ape.chain.blocks.height == height


def test_deploy__role_of_an_address__is_granted_to_it(community: Community) -> None:
    settings = Settings.load(LOCAL)
    deployment = deploy(replace(settings, roles=replace(settings.roles, guardian=SOMEBODY)))
    book = Chain.of(deployment).contracts.order_book
    assert book.hasRole(book.GUARDIAN_ROLE(), SOMEBODY)


def test_chain__deployment_of_another_chain__is_refused(community: Community) -> None:
    addresses = {field: getattr(community.chain.contracts, field).address for field in CONTRACTS}
    here = Deployment("ethereum:local:test", community.chain.chain_id, 0, addresses)
    with pytest.raises(ChainError, match="the deployment is on chain 5, this is chain"):
        Chain.of(replace(here, chain_id=5))
    with pytest.raises(ChainError, match=f"there is no Ledger at {NOBODY}; deploy first"):
        Chain.of(replace(here, addresses=addresses | {"ledger": NOBODY}))


# ------------------------------------------------------------------------------- ape run deploy


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which `ape run deploy` can write: the checkout, with deployments of its own."""
    for name in ("ape-config.yaml", "contracts", "scripts", "cases", "node_modules", ".build"):
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "deployments").mkdir()
    shutil.copy(LOCAL, tmp_path / "deployments")
    return tmp_path


def run_deploy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [BIN / "ape", "run", "deploy", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "deployments").iterdir())


def require_deployment(folder: Path, run: subprocess.CompletedProcess[str], name: str) -> Any:
    """The file says what was printed."""
    assert run.returncode == 0, run.stderr
    assert f"Written to deployments/{name}" in run.stdout
    assert written(folder) == sorted([name, "local.toml"])
    document = json.loads((folder / "deployments" / name).read_text(encoding="utf-8"))
    assert list(document["contracts"]) == list(CONTRACTS.values())
    for contract, address in document["contracts"].items():
        assert f"{contract:15} {address}\n" in run.stdout
    Deployment.load(folder / "deployments" / name)
    return document


def test_ape_run_deploy__embedded_chain__prints_and_writes_the_addresses(checkout: Path) -> None:
    run = run_deploy(checkout)
    document = require_deployment(checkout, run, "ethereum-local-test.json")
    assert (document["network"], document["chainId"]) == ("ethereum:local:test", 1337)
    for step in ("deploy Settlement", "grant guardian", "publish network 1", "create market 1"):
        assert f"{step}\n" in run.stdout


@pytest.mark.anvil
def test_ape_run_deploy__anvil__prints_and_writes_the_addresses(checkout: Path) -> None:
    run = run_deploy(checkout, "--network", "ethereum:local:foundry")
    document = require_deployment(checkout, run, "ethereum-local-foundry.json")
    assert (document["network"], document["chainId"]) == ("ethereum:local:foundry", 31337)


def test_ape_run_deploy__dry_run__says_what_it_would_do_and_writes_nothing(checkout: Path) -> None:
    run = run_deploy(checkout, "--dry-run")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "On ethereum:local:test this would:",
        *(f"  {step}" for step in describe(Settings.load(LOCAL))),
    ]
    assert written(checkout) == ["local.toml"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("notice_seconds = 172800\n", "", "notice_seconds: is missing"),
        ('"test:4"', '"nobody"', "'nobody' cannot sign here"),
        ("gate_lead_seconds = 900", "gate_lead_seconds = 172800", "BookNeverOpen"),
    ],
)
def test_ape_run_deploy__bad_settings__ends_with_a_message_and_writes_nothing(
    checkout: Path, old: str, new: str, message: str
) -> None:
    assert old in SMALL
    (checkout / "bad.toml").write_text(SMALL.replace(old, new), encoding="utf-8")
    run = run_deploy(checkout, "--settings", "bad.toml")
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr + run.stdout
    assert written(checkout) == ["local.toml"]
