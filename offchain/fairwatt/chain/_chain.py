"""Connecting, and sending to a deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import ape
import ape.logging
from ape.exceptions import ApeException
from eth_account import Account as EthAccount

from fairwatt.calldata import NOTHING_CARRIED, encode_clearing, encode_parts
from fairwatt.chain._contracts import Contracts, explained, first_line, project, structs
from fairwatt.chain._reading import call
from fairwatt.chain._snapshot import Snapshot
from fairwatt.deployment import CONTRACTS
from fairwatt.eip712 import Domain, sign
from fairwatt.errors import ChainError, ContractError
from fairwatt.lanes import chained
from fairwatt.session import NetworkVersion

if TYPE_CHECKING:
    from ape.api import AccountAPI, ReceiptAPI
    from eth_account.signers.local import LocalAccount

    from fairwatt.continuous import Pair
    from fairwatt.deployment import Deployment
    from fairwatt.eip712 import TypedData
    from fairwatt.imbalances import Tariff
    from fairwatt.market import Network
    from fairwatt.orders import SignedOrder
    from fairwatt.proposal import Proposal
    from fairwatt.receipts import SignedReceipt
    from fairwatt.session import MarketTerms

__all__ = [
    "Chain",
    "Receipt",
    "Signer",
    "connect",
    "secret_signer",
    "test_signer",
]

_SETTINGS = ("test", "foundry")
"""Plugins of Ape whose settings are those of our project, wherever it is started."""
_MOST_TICKS = 5  # of a clock that goes on while something is published
_PENDING_S, _POLL_S = 60, 0.1
_TARIFFS_AT_ONCE = 300
"""A fresh slot of storage each: some 8 million gas."""
_PAGE_PEERS = 64  # of a roster
_NO_ROSTER = 2**32 - 1
_PART_BYTES = 48_000
"""Orders of a part: with prices, flows and sums well below the 128 KiB that nodes pass on."""
_MOST_HASHES = 2_000
"""Order hashes of a transaction, likewise."""


@dataclass(frozen=True, slots=True)
class Signer:
    """An account that can send transactions, and whose key may sign messages off chain."""

    account: AccountAPI
    key: LocalAccount | None = None

    @property
    def address(self) -> str:
        """Checksummed address."""
        return str(self.account.address)

    def sign(self, data: TypedData) -> bytes:
        """Sign typed data; 65 bytes r, s, v.

        Raises
        ------
        ChainError
            If the account does not.
        """
        if self.key is not None:
            return sign(data, self.key)
        with explained("sign"):
            signature = self.account.sign_message(data.signable())
        if signature is None:
            raise ChainError(f"account {self.address} did not sign")
        return bytes(signature.encode_rsv())


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction."""

    transaction: str
    block: int
    gas_used: int
    events: tuple[Any, ...]


@contextmanager
def connect(network: str = "ethereum:local:test") -> Iterator[None]:
    """Connect to a network by Ape's name; `ethereum:local:test` is the embedded chain.

    Raises
    ------
    ChainError
        If there is no such network or it cannot be reached.
    """
    ape.logging.logger.set_level(ape.logging.LogLevel.ERROR)  # we say ourselves what was sent
    _be_quiet()
    if ape.project.path != project().path:  # Ape reads the settings of the folder it is started in
        settings = project().config
        ours = {name: settings.get_config(name).model_dump(mode="json") for name in _SETTINGS}
        ape.project.reconfigure(**ours)
    try:
        context = ape.networks.parse_network_choice(network)
        context.__enter__()
    except (ApeException, OSError) as error:
        raise ChainError(f"cannot connect to {network}: {first_line(error)}") from error
    try:
        yield
    finally:
        context.__exit__(None, None, None)


def _be_quiet() -> None:
    """Keep Ape from printing the calls of what a contract refuses: it does so among our output."""
    from ape_ethereum.trace import Trace  # noqa: PLC0415 (loads web3)

    Trace.show = lambda *_, **__: None  # type: ignore[method-assign] # Ape has no setting for it


def test_signer(index: int) -> Signer:
    """One of the unlocked accounts of a local chain, with its key.

    Raises
    ------
    ChainError
        If the chain does not have so many.
    """
    count = len(ape.accounts.test_accounts)
    if index >= count:
        raise ChainError(f"there is no test:{index}; a local chain has test:0 to test:{count - 1}")
    account = ape.accounts.test_accounts[index]
    return Signer(account, EthAccount.from_key(account.private_key))


def secret_signer(secret: bytes) -> Signer:
    """The account of a secret of 32 bytes; it has no ether before somebody gives it some."""
    from ape_test.accounts import TestAccount  # noqa: PLC0415 (loads web3)

    key = EthAccount.from_key(secret)
    account = TestAccount(index=-1, address_str=key.address, private_key="0x" + secret.hex())
    return Signer(account, key)


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
    def trade_domain(self) -> Domain:
        """What signatures of continuous orders are meant for."""
        return Domain(self.chain_id, str(self.contracts.trades.address))

    @property
    def reading_domain(self) -> Domain:
        """What meter signatures are meant for."""
        return Domain(self.chain_id, str(self.contracts.settlement.address))

    @property
    def ledger_domain(self) -> Domain:
        """What moves of accounts are signed for."""
        return Domain(self.chain_id, str(self.contracts.ledger.address))

    @property
    def receipt_domain(self) -> Domain:
        """What receipts of community managers are signed for."""
        return Domain(self.chain_id, str(self.contracts.bonds.address))

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

    def read(self, method: Any, *arguments: Any) -> Any:
        """Call a view at the latest block; raises as `send`."""
        with explained(str(method).split("(", maxsplit=1)[0]):
            return call(method, arguments, int(ape.networks.provider.get_block("latest").number))

    def simulate(self, method: Any, *arguments: Any, sender: Signer) -> Any:
        """Call a method, or a view, without sending; raises as `send`."""
        with explained(str(method).split("(", maxsplit=1)[0]):
            asked = getattr(method, "call", method)  # a view is its own call
            return asked(*(structs(value) for value in arguments), sender=sender.account)

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
        nodes = [node.encode().ljust(32, b"\0") for node in network.nodes[known:]]
        links = NetworkVersion(0, 0, network).links_message()

        def publish(time: int) -> Receipt:
            return self.send(registry.publishNetwork, network_id, time, nodes, links, sender=sender)

        receipt = self.from_now(publish) if effective_from is None else publish(effective_from)
        return int(receipt.events[-1].version)

    def publish_tariffs(self, tariffs: Sequence[Tariff], *, sender: Signer) -> list[Receipt]:
        """Publish a supplier's tariffs, in several transactions if they are many.

        Parameters
        ----------
        tariffs
            In the sequence in which they take effect: after the notice, but for a first one.

        Raises
        ------
        ContractError, ChainError
            As `send`; `EffectiveTooEarly` says from when on they may take effect.
        """
        publish = self.contracts.registry.publishTariffs
        entries = [
            (each.effective_from, each.retail_micro_per_kwh, each.feed_in_micro_per_kwh)
            for each in tariffs
        ]
        return [
            self.send(publish, entries[at : at + _TARIFFS_AT_ONCE], sender=sender)
            for at in range(0, len(entries), _TARIFFS_AT_ONCE)
        ]

    def from_now(self, publish: Callable[[int], Receipt]) -> Receipt:
        """Publish what takes effect at once; a clock that ticks meanwhile makes it try again."""
        time = self.now()
        for _ in range(_MOST_TICKS):
            try:
                return publish(time)
            except ContractError as error:
                if error.name != "EffectiveTooEarly":
                    raise
                time = int(str(error.values["earliest"]))
        return publish(time)

    def create_market(self, terms: MarketTerms, *, sender: Signer) -> int:
        """Create a market; returns its id."""
        receipt = self.send(
            self.contracts.order_book.createMarket, terms.to_message(), sender=sender
        )
        return int(receipt.events[-1].market)

    def now(self) -> int:
        """Time of the next block, UTC Unix seconds."""
        return int(ape.chain.pending_timestamp)

    def travel_to(self, time: int) -> None:
        """Let a local chain's next block be at `time`, UTC Unix seconds, and mine it.

        A chain that is there already stays as it is.

        Raises
        ------
        ChainError
            If the chain's clock cannot be set, as that of a public network.
        """
        from ape.api import TestProviderAPI  # noqa: PLC0415 (loads web3)

        if self.now() >= time:
            return
        provider = ape.networks.provider
        try:
            if isinstance(provider, TestProviderAPI):
                ape.chain.pending_timestamp = time
                ape.chain.mine()
            else:
                provider.make_request("evm_setNextBlockTimestamp", [time])
                provider.make_request("evm_mine", [])
        except (ApeException, ValueError, OSError) as error:
            raise ChainError(
                f"the clock of this chain cannot be set to {time}: {first_line(error)}; time can "
                "be moved on local chains only"
            ) from error

    def wait_for_pending(self, *signers: Signer) -> None:
        """Wait until nothing that these accounts sent is on its way any more.

        Who was interrupted cannot know what the chain will still take in of what it sent.

        Raises
        ------
        ChainError
            If something is not mined within a minute.
        """
        provider = ape.networks.provider
        until = monotonic() + _PENDING_S
        for signer in signers:
            with explained("nonce"):
                while provider.get_nonce(signer.address, block_id="pending") != provider.get_nonce(
                    signer.address
                ):
                    if monotonic() > until:
                        raise ChainError(
                            f"a transaction of {signer.address} is not mined for {_PENDING_S} s; "
                            "wait for it, or replace it, and start again"
                        )
                    sleep(_POLL_S)

    def give_ether(self, signer: Signer, wei: int, *, sender: Signer) -> None:
        """Let an account have at least so much ether to pay for its transactions."""
        with explained("transfer"):
            if (missing := wei - int(signer.account.balance)) > 0:
                sender.account.transfer(signer.account, missing)

    def gas_used(self, first: int, last: int, *signers: Signer) -> dict[str, int]:
        """Gas of what these accounts sent in some blocks, by the contract it was sent to."""
        names = {
            str(getattr(self.contracts, field).address): name for field, name in CONTRACTS.items()
        }
        senders = {signer.address for signer in signers}
        eth, gas = ape.networks.provider.web3.eth, dict[str, int]()
        with explained("block"):
            for number in range(first, last + 1):
                for sent in eth.get_block(number, full_transactions=True)["transactions"]:
                    name = names.get(str(sent.get("to")))
                    if name is not None and sent["from"] in senders:
                        used = int(eth.get_transaction_receipt(sent["hash"])["gasUsed"])
                        gas[name] = gas.get(name, 0) + used
        return gas

    def forget(self) -> None:
        """Let go of the receipts that Ape keeps of everything sent in this process."""
        history = ape.chain.history
        history._hash_to_receipt_map.clear()  # noqa: SLF001 (Ape has no other way)
        history._account_history_cache.clear()  # noqa: SLF001

    def clear(self, proposal: Proposal, sender: Signer, *, dry_run: bool = False) -> Receipt | None:
        """Propose a clearing, in several parts if it is large.

        Rosters that it needs and that nobody has published yet are published first.

        Parameters
        ----------
        dry_run
            Only ask the contract whether it would accept the clearing, or the first part of it.

        Returns
        -------
        Receipt
            That of the last part, which books the clearing, with the gas of all.

        Raises
        ------
        ContractError, ChainError
            As `send`.
        """
        message, clear = encode_clearing(proposal), self.contracts.clearing.clear
        parts = encode_parts(proposal, _PART_BYTES)
        carried, gas = NOTHING_CARRIED, 0
        for number, part in enumerate(parts, start=1):
            rosters = self._rosters(part.peers, proposal.session.start, sender, publish=not dry_run)
            entry = {"orders": part.orders, "rosters": rosters}
            arguments = (message, entry, carried, number == len(parts))
            if dry_run:
                self.simulate(clear, *arguments, sender=sender)
                return None
            receipt = self.send(clear, *arguments, sender=sender)
            gas += receipt.gas_used
            if number < len(parts):
                carried = dict(zip(NOTHING_CARRIED, receipt.events[-1].carried, strict=True))
        return replace(receipt, gas_used=gas)

    def trade(self, pair: Pair, sender: Signer, *, dry_run: bool = False) -> Receipt | None:
        """Bring two orders that cross; with `dry_run` only ask the contract.

        Raises
        ------
        ContractError, ChainError
            As `send`.
        """
        trade = self.contracts.trades.trade
        orders = pair.resting.to_message(), pair.incoming.to_message()
        if dry_run:
            self.simulate(trade, *orders, pair.energy_wh, sender=sender)
            return None
        return self.send(trade, *orders, pair.energy_wh, sender=sender)

    def challenge(
        self,
        signed: SignedOrder,
        receipt: SignedReceipt,
        sender: Signer,
        *,
        dry_run: bool = False,
        most_hashes: int = _MOST_HASHES,
    ) -> Receipt | None:
        """Show a receipt whose order is missing from the clearing, or whose session is void.

        The hashes of the orders in the clearing are read from its calldata. They go out in several
        transactions if they are many.

        Parameters
        ----------
        dry_run
            Only ask the contract whether it would pay, or go through the first of the hashes.

        Returns
        -------
        Receipt
            Of the last transaction, which pays, with the gas of all.

        Raises
        ------
        ContractError, ChainError
            As `send`.
        """
        order, bonds = signed.order, self.contracts.bonds
        snapshot = self.snapshot()
        hashes = snapshot.order_hashes(order.market, order.session_start)
        last = max(0, len(hashes) - 1) // most_hashes * most_hashes
        reached, gas = bytes(32), 0
        for at in range(0, last, most_hashes):
            scan = (order.struct_hash, reached, hashes[at : at + most_hashes])
            if dry_run:
                self.simulate(bonds.scan, *scan, sender=sender)
                return None
            gas += self.send(bonds.scan, *scan, sender=sender).gas_used
            reached = chained(hashes[at : at + most_hashes], reached)
        arguments = (receipt.to_message(signed), reached, hashes[last:])
        if dry_run:
            self.simulate(bonds.challenge, *arguments, sender=sender)
            return None
        sent = self.send(bonds.challenge, *arguments, sender=sender)
        return replace(sent, gas_used=gas + sent.gas_used)

    def clearing_arguments(self, proposal: Proposal, sender: Signer) -> tuple[Any, ...]:
        """What `Clearing.clear` takes for a whole clearing in one part; rosters are published."""
        (part,) = encode_parts(proposal)
        rosters = self._rosters(part.peers, proposal.session.start, sender, publish=True)
        entry = {"orders": part.orders, "rosters": rosters}
        return encode_clearing(proposal), entry, NOTHING_CARRIED, True

    def _rosters(
        self, peers: Iterable[int], time: int, sender: Signer, *, publish: bool
    ) -> list[int]:
        """For each page of these peers the roster that holds at `time`.

        Where there is none it is published, or else the contract is told to do without.
        """
        registry = self.contracts.registry
        rosters = []
        for page in sorted({(peer - 1) // _PAGE_PEERS for peer in peers}):
            found, index = self.simulate(registry.findRoster, page, time, sender=sender)
            if not found and publish:
                receipt = self.send(registry.publishRoster, page, time, sender=sender)
                found, index = True, receipt.events[-1].index
            rosters.append(int(index) if found else _NO_ROSTER)
        return rosters


def _receipt(receipt: ReceiptAPI) -> Receipt:
    return Receipt(
        transaction=str(receipt.txn_hash),
        block=int(receipt.block_number),
        gas_used=int(receipt.gas_used),
        events=tuple(receipt.events),
    )
