"""Connecting, sending, and saying in words why something was refused."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ape
import ape.logging
from ape.exceptions import (
    ApeException,
    ContractLogicError,
    CustomError,
    SignatureError,
)
from eth_abi.abi import decode
from eth_account import Account as EthAccount
from eth_utils.abi import function_abi_to_4byte_selector

from fairwatt.chain._snapshot import Snapshot
from fairwatt.deployment import CONTRACTS
from fairwatt.eip712 import Domain
from fairwatt.errors import ChainError, ContractError
from fairwatt.session import NetworkVersion

if TYPE_CHECKING:
    from ape.api import AccountAPI, ReceiptAPI
    from ape.contracts import ContractInstance
    from eth_account.signers.local import LocalAccount

    from fairwatt.deployment import Deployment
    from fairwatt.market import Network
    from fairwatt.session import MarketTerms, Proposal

__all__ = [
    "Chain",
    "Contracts",
    "Receipt",
    "Signer",
    "connect",
    "explained",
    "project",
    "test_signer",
]

_PANICS = {0x11: "arithmetic overflow", 0x32: "index out of range"}
_PANIC_SELECTOR = "4e487b71"


@dataclass(frozen=True, slots=True)
class Contracts:
    """The deployed contracts, as Ape objects."""

    registry: ContractInstance
    token: ContractInstance
    ledger: ContractInstance
    order_book: ContractInstance
    settlement: ContractInstance


@dataclass(frozen=True, slots=True)
class Signer:
    """An account that can send transactions, and whose key may sign messages off chain."""

    account: AccountAPI
    key: LocalAccount | None = None

    @property
    def address(self) -> str:
        """Checksummed address."""
        return str(self.account.address)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction."""

    transaction: str
    block: int
    gas_used: int
    events: tuple[Any, ...]


@cache
def project() -> ape.Project:
    """The Ape project with the contracts: the folder that holds `offchain/`."""
    root = Path(__file__).parents[3]
    if not (root / "ape-config.yaml").is_file():
        raise ChainError(
            f"the contracts are not at {root}; install the package from a checkout "
            "(pip install --editable .)"
        )
    return ape.Project(root)


@contextmanager
def connect(network: str = "ethereum:local:test") -> Iterator[None]:
    """Connect to a network by Ape's name; `ethereum:local:test` is the embedded chain.

    Raises
    ------
    ChainError
        If there is no such network or it cannot be reached.
    """
    ape.logging.logger.set_level(ape.logging.LogLevel.ERROR)  # we say ourselves what was sent
    try:
        context = ape.networks.parse_network_choice(network)
        context.__enter__()
    except (ApeException, OSError) as error:
        raise ChainError(f"cannot connect to {network}: {_first_line(error)}") from error
    try:
        yield
    finally:
        context.__exit__(None, None, None)


def test_signer(index: int) -> Signer:
    """One of the unlocked accounts of a local chain, with its key."""
    account = ape.accounts.test_accounts[index]
    return Signer(account, EthAccount.from_key(account.private_key))


@dataclass(frozen=True)
class Chain:
    """A deployment on the connected network."""

    contracts: Contracts
    first_block: int

    @classmethod
    def of(cls, deployment: Deployment) -> Chain:
        """Attach to a deployment.

        Raises
        ------
        ChainError
            If the connected chain is another one or holds no contract there.
        """
        provider = ape.networks.provider
        if provider.chain_id != deployment.chain_id:
            raise ChainError(
                f"the deployment is on chain {deployment.chain_id}, "
                f"this is chain {provider.chain_id}"
            )
        instances = {}
        for field, name in CONTRACTS.items():
            address = deployment.addresses[field]
            if not provider.get_code(address):
                raise ChainError(f"there is no {name} at {address}; deploy first")
            instances[field] = getattr(project(), name).at(address)
        return cls(Contracts(**instances), deployment.block)

    @property
    def chain_id(self) -> int:
        """Identifier of the chain."""
        return int(ape.networks.provider.chain_id)

    @property
    def order_domain(self) -> Domain:
        """What order signatures are meant for."""
        return Domain(self.chain_id, str(self.contracts.order_book.address))

    @property
    def reading_domain(self) -> Domain:
        """What meter signatures are meant for."""
        return Domain(self.chain_id, str(self.contracts.settlement.address))

    def snapshot(self, block: int | None = None) -> Snapshot:
        """Read at a block, the latest by default."""
        return Snapshot.at(self.contracts, self.first_block, block)

    def send(self, method: Any, *arguments: Any, sender: Signer) -> Receipt:
        """Send a transaction and wait for it.

        Parameters
        ----------
        method
            A method of one of `contracts`, as in `chain.contracts.token.approve`.

        Raises
        ------
        ContractError
            If a contract refuses; with the name and values of its error.
        ChainError
            If the sender cannot pay the gas, or the chain is gone.
        """
        action = str(method).split("(", maxsplit=1)[0]
        with explained(action):
            receipt = method(*(structs(value) for value in arguments), sender=sender.account)
        return _receipt(receipt)

    def simulate(self, method: Any, *arguments: Any, sender: Signer) -> Any:
        """Call a method, or a view, without sending; raises as `send`."""
        with explained(str(method).split("(", maxsplit=1)[0]):
            call = getattr(method, "call", method)  # a view is its own call
            return call(*(structs(value) for value in arguments), sender=sender.account)

    def create_network(self, network: Network, *, sender: Signer) -> int:
        """Create a network and publish its first version, in force at once; returns its id."""
        registry = self.contracts.registry
        bounds = (network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh)
        receipt = self.send(registry.createNetwork, bounds, sender=sender)
        identifier = int(receipt.events[-1].network)
        self.publish_network(identifier, network, sender=sender)
        return identifier

    def publish_network(
        self,
        network_id: int,
        network: Network,
        *,
        sender: Signer,
        effective_from: int | None = None,
    ) -> int:
        """Publish the next version of a network, whose nodes may only have been added to.

        Parameters
        ----------
        effective_from
            UTC Unix seconds; None is now, which only a first version may be.

        Returns
        -------
        int
            The version.
        """
        registry = self.contracts.registry
        known = len(registry.nodesOf(network_id))
        version = NetworkVersion(0, 0, network)
        receipt = self.send(
            registry.publishNetwork,
            network_id,
            self.now() if effective_from is None else effective_from,
            [node.encode().ljust(32, b"\0") for node in network.nodes[known:]],
            version.links_message(),
            sender=sender,
        )
        return int(receipt.events[-1].version)

    def create_market(self, terms: MarketTerms, *, sender: Signer) -> int:
        """Create a market; returns its id."""
        receipt = self.send(
            self.contracts.order_book.createMarket, terms.to_message(), sender=sender
        )
        return int(receipt.events[-1].market)

    def now(self) -> int:
        """Time of the next block, UTC Unix seconds."""
        return int(ape.chain.pending_timestamp)

    def clear(self, proposal: Proposal, sender: Signer, *, dry_run: bool = False) -> Receipt | None:
        """Propose a clearing; a dry run only asks the contract whether it would accept it.

        Raises
        ------
        ContractError, ChainError
            As `send`.
        """
        if dry_run:
            self.simulate(self.contracts.settlement.clear, proposal.to_message(), sender=sender)
            return None
        return self.send(self.contracts.settlement.clear, proposal.to_message(), sender=sender)


@contextmanager
def explained(action: str) -> Iterator[None]:
    try:
        yield
    except CustomError as error:
        raise ContractError(type(error).__name__, dict(error.inputs), action) from error
    except ContractLogicError as error:
        name, values = _decode(str(error.revert_message or error))
        raise ContractError(name, values, action) from error
    except SignatureError as error:
        raise ChainError(f"{action}: the account did not sign") from error
    except (ApeException, OSError) as error:
        raise ChainError(f"{action}: {_first_line(error)}") from error


def _decode(data: str) -> tuple[str, dict[str, object]]:
    """Name and values of an error that Ape could not decode, as of another contract of ours."""
    if data.startswith('b"'):  # Ape reads b'...' alone, but bytes with a ' in them print as b"..."
        data = "0x" + bytes(literal_eval(data)).hex()
    if not data.startswith("0x"):
        return "Error", {"message": data}
    selector, body = data[2:10], bytes.fromhex(data[10:])
    if selector == _PANIC_SELECTOR:
        code = int.from_bytes(body, "big")
        return "Panic", {"code": code, "meaning": _PANICS.get(code, "see Solidity's panic codes")}
    abi = _errors_by_selector().get(selector)
    if abi is None:
        return "UnknownError", {"data": data}
    values = decode([str(field.canonical_type) for field in abi.inputs], body)
    names = [field.name or str(at) for at, field in enumerate(abi.inputs)]
    return abi.name, dict(zip(names, values, strict=True))


@cache
def _errors_by_selector() -> Mapping[str, Any]:
    errors = {}
    for name in CONTRACTS.values():
        for abi in getattr(project(), name).contract_type.errors:
            selector = function_abi_to_4byte_selector(abi.model_dump())
            errors[selector.hex()] = abi
    return errors


def structs(value: Any) -> Any:
    """Messages as Ape takes structs in structs: tuples, in the sequence of the fields."""
    if isinstance(value, dict):
        return tuple(structs(entry) for entry in value.values())
    if isinstance(value, list):
        return [structs(entry) for entry in value]
    return value


def _receipt(receipt: ReceiptAPI) -> Receipt:
    return Receipt(
        transaction=str(receipt.txn_hash),
        block=int(receipt.block_number),
        gas_used=int(receipt.gas_used),
        events=tuple(receipt.events),
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


assert {field.name for field in fields(Contracts)} == set(CONTRACTS)  # noqa: S101
