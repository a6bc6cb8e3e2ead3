"""Deploying what a settings file describes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

import ape
from ape.exceptions import ApeException
from eth_utils.address import is_address, to_checksum_address

from fairwatt import tomltext
from fairwatt.chain._chain import Chain, Signer, test_signer
from fairwatt.chain._contracts import Contracts, explained, project
from fairwatt.deployment import CONTRACTS, Deployment
from fairwatt.errors import BookError, CaseError, ChainError
from fairwatt.market import Link, Network
from fairwatt.market.network import MAX_QUANTITY_WH, MAX_TARIFF, PRICE_RANGE
from fairwatt.session import MOST_PERIODS, MOST_PLACED_BLOCKS, NOBODY, MarketTerms
from fairwatt.units import WEI_PER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ape.contracts import ContractInstance

    from fairwatt.tomltext import Table

__all__ = [
    "Deployment",
    "Roles",
    "Settings",
    "deploy",
    "describe",
    "signer_for",
]

_TEST: Final = "test:"
_LOCAL_CHAINS: Final = (1337, 31337)
_MOST_TOKENS: Final = 10**18  # far more than the accounts of the ledger hold together
_UINT16_MAX, _UINT32_MAX, _UINT40_MAX = 2**16 - 1, 2**32 - 1, 2**40 - 1
_UINT64_MAX: Final = 2**64 - 1
_NAME_BYTES: Final = 32
_ROLES: Final = {
    "registrar": ("registry", "REGISTRAR_ROLE"),
    "network_operator": ("registry", "NETWORK_OPERATOR_ROLE"),
    "market_operator": ("order_book", "MARKET_OPERATOR_ROLE"),
    "guardian": ("order_book", "GUARDIAN_ROLE"),
    "fund_manager": ("ledger", "FUND_MANAGER_ROLE"),
    "treasury": ("token", "TREASURY_ROLE"),
}


@dataclass(frozen=True, slots=True)
class Roles:
    """Who holds which role.

    Each is `test:N` (an unlocked account of a local chain), an Ape alias, or an address. The
    admin deploys, so it must be an account that can sign. The community manager is that of all
    markets that have an exclusive window.
    """

    admin: str
    registrar: str
    network_operator: str
    market_operator: str
    guardian: str
    fund_manager: str
    treasury: str
    community_manager: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment is made of.

    Parameters
    ----------
    token_name, token_symbol
        Of the community token.
    backing
        Address of the ERC-20 that backs it; None for a treasury token.
    supply_cap_wei
        Most that a treasury may mint; 0 for a backed token.
    admin_delay_seconds
        How long handing on the admin role takes.
    notice_seconds
        How far ahead changes of peers, networks and tariffs are published.
    withdrawal_delay_seconds
        How long a withdrawal waits.
    penalty_wei, reward_wei
        What a broken receipt costs its community manager, and how much of it the challenger gets.
    challenge_window_seconds
        How long after its clearing deadline a session's receipts may be challenged.
    networks, markets
        To publish and create at once, numbered from 1; their operators must be able to sign.
    """

    token_name: str
    token_symbol: str
    backing: str | None
    supply_cap_wei: int
    admin_delay_seconds: int
    notice_seconds: int
    withdrawal_delay_seconds: int
    roles: Roles
    networks: tuple[Network, ...] = ()
    markets: tuple[MarketTerms, ...] = ()
    penalty_wei: int = 10 * WEI_PER_TOKEN
    reward_wei: int = 2 * WEI_PER_TOKEN
    challenge_window_seconds: int = 7 * 86_400

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read a settings file (TOML).

        Raises
        ------
        CaseError
            With file and field of what is wrong.
        """
        return _settings(tomltext.read(path))


def describe(settings: Settings) -> list[str]:
    """Say step by step what `deploy` would do."""
    kind = (
        f"backed by {settings.backing}"
        if settings.backing
        else f"of a treasury, at most {settings.supply_cap_wei / WEI_PER_TOKEN:,.0f} tokens"
    )
    receipts = (
        f"a broken receipt costs {settings.penalty_wei / WEI_PER_TOKEN:,g} tokens, "
        f"{settings.reward_wei / WEI_PER_TOKEN:,g} of them for whoever shows it within "
        f"{settings.challenge_window_seconds} s"
    )
    steps = [
        f"deploy PeerRegistry: changes take effect {settings.notice_seconds} s after publication",
        f"deploy CommunityToken {settings.token_name!r} ({settings.token_symbol}), {kind}",
        f"deploy Ledger: withdrawals wait {settings.withdrawal_delay_seconds} s",
        "deploy OrderBook",
        "deploy Clearing",
        "deploy Trades",
        "deploy Settlement",
        f"deploy Bonds: {receipts}",
        "connect Ledger, OrderBook and PeerRegistry with each other, for good",
    ]
    steps += [f"grant {role} to {getattr(settings.roles, role)}" for role in _ROLES]
    for at, network in enumerate(settings.networks, start=1):
        nodes, links = len(network.nodes), len(network.links)
        steps.append(f"publish network {at}: {nodes} nodes, {links} links")
    for at, terms in enumerate(settings.markets, start=1):
        periods = (
            "1 period" if terms.periods_per_session == 1 else f"{terms.periods_per_session} periods"
        )
        steps.append(
            f"create market {at} on network {terms.network}: {periods} "
            f"of {terms.period_seconds} s, gate closes {terms.gate_lead_seconds} s ahead"
            + (
                f", the first {terms.exclusive_window_seconds} s for the community manager "
                f"{settings.roles.community_manager}"
                if terms.exclusive_window_seconds
                else ""
            )
        )
    return steps


def deploy(
    settings: Settings,
    *,
    token: ContractInstance | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Deployment:
    """Deploy and wire everything on the connected network.

    Parameters
    ----------
    token
        The community's token if it has one, of which the settings then say nothing; its treasury
        stays as it is.

    Raises
    ------
    ChainError
        If an account cannot sign or pay, or a contract refuses.
    """
    admin = signer_for(settings.roles.admin)
    addresses = {role: _address(getattr(settings.roles, role)) for role in _ROLES}
    community_manager = _address(settings.roles.community_manager)
    # Whoever must sign later is looked for before anything is sent.
    dso = signer_for(settings.roles.network_operator) if settings.networks else admin
    operator = signer_for(settings.roles.market_operator) if settings.markets else admin
    first_block = int(ape.networks.provider.get_block("latest").number or 0)
    delay = settings.admin_delay_seconds

    def create(name: str, *arguments: Any) -> Any:
        progress(f"deploy {name}")
        with explained(f"deploy {name}"):
            return getattr(project(), name).deploy(*arguments, sender=admin.account)

    registry = create("PeerRegistry", admin.address, delay, settings.notice_seconds)
    has_token = token is not None
    token = token or create(
        "CommunityToken",
        settings.token_name,
        settings.token_symbol,
        admin.address,
        delay,
        settings.backing or NOBODY,
        settings.supply_cap_wei,
    )
    ledger = create(
        "Ledger", admin.address, delay, registry, token, settings.withdrawal_delay_seconds
    )
    order_book = create("OrderBook", admin.address, delay, registry, ledger)
    clearing = create("Clearing", registry, ledger, order_book)
    trades = create("Trades", registry, ledger, order_book)
    settlement = create("Settlement", registry, ledger, order_book, clearing, trades)
    bonds = create(
        "Bonds",
        registry,
        ledger,
        order_book,
        clearing,
        token,
        settings.penalty_wei,
        settings.reward_wei,
        settings.challenge_window_seconds,
    )
    contracts = Contracts(registry, token, ledger, order_book, clearing, trades, settlement, bonds)
    chain = Chain(contracts, first_block)

    progress("connect the contracts")
    chain.send(registry.connectAccounts, ledger, sender=admin)
    connected = (order_book, clearing, settlement, trades)
    chain.send(ledger.connectMarket, *connected, sender=admin)
    chain.send(order_book.connectClearing, clearing, sender=admin)
    for role, (field, constant) in _ROLES.items():
        if field == "token" and has_token:
            continue
        progress(f"grant {role}")
        contract = getattr(contracts, field)
        role_id = getattr(contract, constant)()
        chain.send(contract.grantRole, role_id, addresses[role], sender=admin)
    for at, network in enumerate(settings.networks, start=1):
        progress(f"publish network {at}")
        chain.create_network(network, sender=dso)
    for at, terms in enumerate(settings.markets, start=1):
        progress(f"create market {at}")
        manager = community_manager if terms.exclusive_window_seconds else NOBODY
        chain.create_market(replace(terms, manager=manager), sender=operator)
    return Deployment(
        network=ape.networks.provider.network_choice,
        chain_id=chain.chain_id,
        block=first_block,
        addresses={field: str(getattr(contracts, field).address) for field in CONTRACTS},
    )


def signer_for(account: str) -> Signer:
    """Find the account that signs: `test:N` on a local chain, else an Ape alias.

    Raises
    ------
    ChainError
        If there is none that can sign here. Test accounts are for local chains only: everybody
        knows their keys.
    """
    if account.startswith(_TEST):
        chain = ape.networks.provider.chain_id
        if chain not in _LOCAL_CHAINS:
            raise ChainError(f"{account!r} is for local chains; everybody has its key on {chain}")
        return test_signer(_test_index(account))
    try:
        return Signer(ape.accounts.load(account))
    except (ApeException, KeyError, ValueError) as error:
        raise ChainError(
            f"{account!r} cannot sign here: name an Ape account (ape accounts list) or, on a "
            "local chain, test:0 to test:19"
        ) from error


def _address(account: str) -> str:
    return to_checksum_address(account) if is_address(account) else signer_for(account).address


def _test_index(account: str) -> int:
    number = account.removeprefix(_TEST)
    if not number.isdecimal():
        raise ChainError(f"{account!r}: the accounts of a local chain are test:0, test:1, ...")
    return int(number)


def _settings(table: Table) -> Settings:
    token, roles = table.table("token"), table.table("roles")
    backing, cap = _backing(token)
    networks = tuple(_network(entry) for entry in table.tables("networks"))
    receipts = _receipts(table.table("receipts")) if table.has("receipts") else {}
    settings = Settings(
        token_name=token.text("name"),
        token_symbol=token.text("symbol"),
        backing=backing,
        supply_cap_wei=cap * WEI_PER_TOKEN,
        admin_delay_seconds=table.whole("admin_delay_seconds", 0, _UINT40_MAX),
        notice_seconds=table.whole("notice_seconds", 1, _UINT40_MAX),
        withdrawal_delay_seconds=table.whole("withdrawal_delay_seconds", 0, _UINT40_MAX),
        roles=Roles(**{field.name: roles.text(field.name) for field in fields(Roles)}),
        networks=networks,
        markets=tuple(_market(entry, len(networks)) for entry in table.tables("markets")),
        **receipts,
    )
    for entry in (token, roles, table):
        entry.done()
    return settings


def _backing(token: Table) -> tuple[str | None, int]:
    """What backs the token, or how many tokens its treasury may mint."""
    if token.has("backing") == token.has("supply_cap_tokens"):
        raise CaseError(token.place("backing"), "give either this or supply_cap_tokens")
    if not token.has("backing"):
        return None, token.whole("supply_cap_tokens", 1, _MOST_TOKENS)
    backing = token.text("backing")
    if not is_address(backing):
        problem = f"must be the address of an ERC-20, not {backing!r}"
        raise CaseError(token.place("backing"), problem)
    return to_checksum_address(backing), 0


def _receipts(table: Table) -> dict[str, int]:
    penalty = table.whole("penalty_milli_tokens", 1, _MOST_TOKENS)
    reward = table.whole("reward_milli_tokens", 0, penalty)
    window = table.whole("challenge_window_seconds", 1, _UINT40_MAX)
    table.done()
    return {
        "penalty_wei": penalty * WEI_PER_TOKEN // 1000,
        "reward_wei": reward * WEI_PER_TOKEN // 1000,
        "challenge_window_seconds": window,
    }


def _network(table: Table) -> Network:
    links = []
    for entry in table.tables("links"):
        links.append(
            Link(
                source=entry.text("from"),
                target=entry.text("to"),
                tariff_micro_per_kwh=entry.whole("tariff_micro_per_kwh", 0, MAX_TARIFF),
                capacity_wh=entry.whole("capacity_wh", 0, MAX_QUANTITY_WH),
            )
        )
        entry.done()
    nodes = table.texts("nodes")
    for at, node in enumerate(nodes):
        if len(node.encode(errors="replace")) > _NAME_BYTES:
            raise CaseError(f"{table.place('nodes')}[{at}]", f"is longer than {_NAME_BYTES} bytes")
    floor = table.whole("price_floor_micro_per_kwh", *PRICE_RANGE)
    cap = table.whole("price_cap_micro_per_kwh", *PRICE_RANGE)
    table.done()
    try:
        return Network(nodes, tuple(links), floor, cap)
    except BookError as error:
        place = table.place(error.path.removeprefix("network."))
        raise CaseError(place, error.problem) from error


def _market(table: Table, networks: int) -> MarketTerms:
    terms = MarketTerms(
        network=table.whole("network", 1, networks),
        period_seconds=table.whole("period_seconds", 1, _UINT16_MAX),
        periods_per_session=table.whole("periods_per_session", 1, MOST_PERIODS),
        max_placed_blocks=table.whole("max_placed_blocks", 0, MOST_PLACED_BLOCKS),
        first_session_start=table.whole("first_session_start", 0, _UINT40_MAX),
        gate_lead_seconds=table.whole("gate_lead_seconds", 0, _UINT32_MAX),
        clearing_window_seconds=table.whole("clearing_window_seconds", 0, _UINT32_MAX),
        reading_window_seconds=table.whole("reading_window_seconds", 0, _UINT32_MAX),
        settlement_window_seconds=table.whole("settlement_window_seconds", 0, _UINT32_MAX),
        exclusive_window_seconds=table.whole("exclusive_window_seconds", 0, _UINT32_MAX),
        solver_fee_nano=table.whole("solver_fee_nano", 0, _UINT64_MAX),
    )
    table.done()
    return terms
