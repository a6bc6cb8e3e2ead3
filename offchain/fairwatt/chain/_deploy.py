"""Deploying what a settings file describes."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import ape
from ape.exceptions import ApeException
from eth_utils.address import is_address, to_checksum_address

from fairwatt.chain._chain import Chain, Contracts, Signer, explained, project, test_signer
from fairwatt.deployment import CONTRACTS, Deployment
from fairwatt.errors import CaseError, ChainError
from fairwatt.market import Link, Network
from fairwatt.session import MarketTerms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "Deployment",
    "Roles",
    "Settings",
    "deploy",
    "describe",
    "signer_for",
]

_NOBODY: Final = "0x" + "0" * 40
_TEST: Final = "test:"
_WEI_PER_TOKEN: Final = 10**18
_ROLES: Final = {
    "registrar": ("registry", "REGISTRAR_ROLE"),
    "network_operator": ("registry", "NETWORK_OPERATOR_ROLE"),
    "market_operator": ("order_book", "MARKET_OPERATOR_ROLE"),
    "guardian": ("settlement", "GUARDIAN_ROLE"),
    "fund_manager": ("ledger", "FUND_MANAGER_ROLE"),
    "treasury": ("token", "TREASURY_ROLE"),
}


@dataclass(frozen=True, slots=True)
class Roles:
    """Who holds which role.

    Each is `test:N` (an unlocked account of a local chain), an Ape alias, or an address. The
    admin deploys, so it must be an account that can sign.
    """

    admin: str
    registrar: str
    network_operator: str
    market_operator: str
    guardian: str
    fund_manager: str
    treasury: str


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

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read a settings file (TOML).

        Raises
        ------
        CaseError
            With file and field of what is wrong.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CaseError(str(path), "there is no such file") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CaseError(str(path), f"is not readable as TOML: {error}") from error
        return _settings(_Table(content, str(path)))


def describe(settings: Settings) -> list[str]:
    """Say step by step what `deploy` would do."""
    kind = (
        f"backed by {settings.backing}"
        if settings.backing
        else f"of a treasury, at most {settings.supply_cap_wei / _WEI_PER_TOKEN:,.0f} tokens"
    )
    steps = [
        f"deploy PeerRegistry: changes take effect {settings.notice_seconds} s after publication",
        f"deploy CommunityToken {settings.token_name!r} ({settings.token_symbol}), {kind}",
        f"deploy Ledger: withdrawals wait {settings.withdrawal_delay_seconds} s",
        "deploy OrderBook",
        "deploy Settlement",
        "connect Ledger, OrderBook and PeerRegistry with each other, for good",
    ]
    steps += [f"grant {role} to {getattr(settings.roles, role)}" for role in _ROLES]
    for at, network in enumerate(settings.networks, start=1):
        nodes, links = len(network.nodes), len(network.links)
        steps.append(f"publish network {at}: {nodes} nodes, {links} links")
    for at, terms in enumerate(settings.markets, start=1):
        steps.append(
            f"create market {at} on network {terms.network}: {terms.periods_per_session} periods "
            f"of {terms.period_seconds} s, gate closes {terms.gate_lead_seconds} s ahead"
        )
    return steps


def deploy(settings: Settings, *, progress: Callable[[str], None] = lambda _: None) -> Deployment:
    """Deploy and wire everything on the connected network.

    Raises
    ------
    ChainError
        If an account cannot sign or pay, or a contract refuses.
    """
    admin = signer_for(settings.roles.admin)
    addresses = {role: _address(getattr(settings.roles, role)) for role in _ROLES}
    first_block = int(ape.networks.provider.get_block("latest").number or 0)
    delay = settings.admin_delay_seconds

    def create(name: str, *arguments: Any) -> Any:
        progress(f"deploy {name}")
        with explained(f"deploy {name}"):
            return getattr(project(), name).deploy(*arguments, sender=admin.account)

    registry = create("PeerRegistry", admin.address, delay, settings.notice_seconds)
    token = create(
        "CommunityToken",
        settings.token_name,
        settings.token_symbol,
        admin.address,
        delay,
        settings.backing or _NOBODY,
        settings.supply_cap_wei,
    )
    ledger = create(
        "Ledger", admin.address, delay, registry, token, settings.withdrawal_delay_seconds
    )
    order_book = create("OrderBook", admin.address, delay, registry, ledger)
    settlement = create("Settlement", admin.address, delay, registry, ledger, order_book)
    contracts = Contracts(registry, token, ledger, order_book, settlement)
    chain = Chain(contracts, first_block)

    progress("connect the contracts")
    chain.send(registry.connectAccounts, ledger, sender=admin)
    chain.send(ledger.connectMarket, order_book, settlement, sender=admin)
    chain.send(order_book.connectSettlement, settlement, sender=admin)
    for role, (field, constant) in _ROLES.items():
        progress(f"grant {role}")
        holders = [field, "order_book"] if role == "guardian" else [field]
        for holder in holders:
            contract = getattr(contracts, holder)
            role_id = getattr(contract, constant)()
            chain.send(contract.grantRole, role_id, addresses[role], sender=admin)
    for at, network in enumerate(settings.networks, start=1):
        progress(f"publish network {at}")
        chain.create_network(network, sender=signer_for(settings.roles.network_operator))
    for at, terms in enumerate(settings.markets, start=1):
        progress(f"create market {at}")
        chain.create_market(terms, sender=signer_for(settings.roles.market_operator))
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
        If there is none that can sign here.
    """
    if account.startswith(_TEST):
        return test_signer(_test_index(account))
    try:
        return Signer(ape.accounts.load(account))
    except (ApeException, KeyError) as error:
        raise ChainError(
            f"{account!r} cannot sign here: name an Ape account (ape accounts list) or, on a "
            "local chain, test:0 to test:19"
        ) from error


def _address(account: str) -> str:
    return to_checksum_address(account) if is_address(account) else signer_for(account).address


def _test_index(account: str) -> int:
    number = account.removeprefix(_TEST)
    if not number.isdecimal() or int(number) >= len(ape.accounts.test_accounts):
        raise ChainError(f"{account!r}: the accounts of a local chain are test:0 to test:19")
    return int(number)


class _Table:
    """A table of the settings file that knows where it stands and what was not asked for."""

    def __init__(self, content: object, path: str) -> None:
        if not isinstance(content, dict):
            raise CaseError(path, "must be a table")
        self._content = dict(content)
        self._path = path

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        """Take a value of a kind; without default it is required."""
        value = self._content.pop(key, default)
        if value is None:
            raise CaseError(f"{self._path}: {key}", "is missing")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CaseError(f"{self._path}: {key}", f"must be {kind.__name__}, not {value!r}")
        return value

    def table(self, key: str) -> _Table:
        """Take a table."""
        return _Table(self.take(key, dict), f"{self._path}: {key}")

    def tables(self, key: str) -> list[_Table]:
        """Take an array of tables, empty if it is not there."""
        rows = self.take(key, list, [])
        return [_Table(row, f"{self._path}: {key}[{at}]") for at, row in enumerate(rows)]

    def done(self) -> None:
        """Refuse what nobody asked for, most likely a slip of the pen."""
        for key in self._content:
            raise CaseError(f"{self._path}: {key}", "is not a known setting")


def _settings(table: _Table) -> Settings:
    token = table.table("token")
    backing = token.take("backing", str, "")
    if backing and not is_address(backing):
        raise CaseError("token.backing", f"must be the address of an ERC-20, not {backing!r}")
    cap = token.take("supply_cap_tokens", int, 0)
    if bool(backing) == bool(cap):
        raise CaseError("token", "needs either backing or supply_cap_tokens above 0, not both")
    roles = table.table("roles")
    settings = Settings(
        token_name=token.take("name", str),
        token_symbol=token.take("symbol", str),
        backing=to_checksum_address(backing) if backing else None,
        supply_cap_wei=cap * _WEI_PER_TOKEN,
        admin_delay_seconds=table.take("admin_delay_seconds", int),
        notice_seconds=table.take("notice_seconds", int),
        withdrawal_delay_seconds=table.take("withdrawal_delay_seconds", int),
        roles=Roles(**{field.name: roles.take(field.name, str) for field in fields(Roles)}),
        networks=tuple(_network(entry) for entry in table.tables("networks")),
        markets=tuple(
            MarketTerms(
                **{field.name: entry.take(field.name, int) for field in fields(MarketTerms)}
            )
            for entry in table.tables("markets")
        ),
    )
    for entry in (token, roles, table):
        entry.done()
    return settings


def _network(table: _Table) -> Network:
    links = tuple(
        Link(
            source=entry.take("from", str),
            target=entry.take("to", str),
            tariff_micro_per_kwh=entry.take("tariff_micro_per_kwh", int),
            capacity_wh=entry.take("capacity_wh", int),
        )
        for entry in table.tables("links")
    )
    network = Network(
        nodes=tuple(table.take("nodes", list)),
        links=links,
        price_floor_micro_per_kwh=table.take("price_floor_micro_per_kwh", int),
        price_cap_micro_per_kwh=table.take("price_cap_micro_per_kwh", int),
    )
    table.done()
    return network
