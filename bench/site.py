"""A community with our contracts on a node by mainnet's rules, made for measuring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from eth_account import Account

from bench.anvil import Anvil, Sent, anvil
from fairwatt.calldata import NOTHING_CARRIED, encode_clearing, encode_parts
from fairwatt.chain import Role, project
from fairwatt.eip712 import Domain
from fairwatt.meter import Reading
from fairwatt.orders import Order
from fairwatt.proposal import propose
from fairwatt.readings import bring
from fairwatt.session import NOBODY, MarketTerms, NetworkVersion, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eth_account.signers.local import LocalAccount
    from web3.contract import Contract

    from bench.books import Wish
    from fairwatt.market import Network
    from fairwatt.proposal import Proposal

__all__ = ["clear", "reconcile"]

_DAY: Final = 86_400
_NOTICE: Final = 4 * _DAY
_DELAY: Final = 30 * _DAY
_FUNDS_NANO: Final = 10**13
_PAGE_PEERS: Final = 64
_PART_BYTES: Final = 90_000
_READINGS: Final = 100
"""Parts and readings of a transaction, so that it stays below the 128 KiB that nodes pass on."""
_CONNECTION_W: Final = 10**6
_TARIFF: Final = (300_000, 50_000)  # retail, feed-in


def clear(network: Network, wishes: Sequence[Wish]) -> Sent:
    """Clear what peers sign for their wishes, a day after all traded once, in as few parts as fit.

    Raises
    ------
    OutOfGas, FairwattError
        If the transaction needs too much gas, or is refused.
    """
    with anvil() as node:
        site = _Site(node, network, wishes)
        site.clear(site.day(0))
        return site.clear(site.day(1))


def reconcile(network: Network, wishes: Sequence[Wish]) -> Sent:
    """Clear, read every meter, and reconcile all readings, in as few transactions as fit.

    Raises
    ------
    OutOfGas, FairwattError
        If the transaction needs too much gas, or is refused.
    """
    with anvil() as node:
        site = _Site(node, network, wishes)
        for day in (0, 2):  # the gate of the one between closes while the first is delivered
            proposal = site.day(day)
            site.clear(proposal)
            sent = site.reconcile(proposal)
        return sent


@dataclass
class _Site:
    node: Anvil
    network: Network
    wishes: Sequence[Wish]

    def __post_init__(self) -> None:
        self._deploy()
        self._found()

    @cached_property
    def terms(self) -> MarketTerms:
        periods = 1 + max(step.period for wish in self.wishes for step in wish.steps)
        start = (self._now() // _DAY + 6) * _DAY
        return MarketTerms(
            network=1,
            period_seconds=900,
            periods_per_session=periods,
            max_placed_blocks=100,
            first_session_start=start,
            gate_lead_seconds=3600,
            clearing_window_seconds=3600,
            reading_window_seconds=_DAY,
            settlement_window_seconds=2 * _DAY,
        )

    def day(self, sessions: int) -> Proposal:
        """The clearing of the session so many after the first one; time goes on to its gate."""
        start = self.terms.first_session_start + sessions * self.terms.session_seconds
        domain = Domain(self.node.web3.eth.chain_id, self.order_book.address)
        orders = [
            Order(1, self.peers[at], start, wish.steps).signed_by(self._key(at), domain)
            for at, wish in enumerate(self.wishes)
        ]
        nodes = {self.peers[at]: wish.node for at, wish in enumerate(self.wishes)}
        version = NetworkVersion(0, 0, self.network)
        session = Session(1, start, self.terms, (version,) * self.terms.periods_per_session)
        self._travel(self.terms.gate_closure(start))
        return propose(session, orders, nodes=nodes)

    def clear(self, proposal: Proposal) -> Sent:
        """Send a clearing in as few parts as fit; its rosters are published."""
        message = encode_clearing(proposal)
        parts = encode_parts(proposal, _PART_BYTES)
        carried, gas, calldata = NOTHING_CARRIED, 0, b""
        for number, part in enumerate(parts, start=1):
            entry = {"orders": part.orders, "rosters": self._rosters(part.peers, message)}
            last = number == len(parts)
            sent = self.node.send(self.clearing, "clear", message, entry, carried, last)
            gas, calldata = gas + sent.gas, calldata + sent.calldata
            if not last:
                block = self.node.web3.eth.block_number
                logs = self.clearing.events.PartAccepted().get_logs(from_block=block)
                carried = dict(logs[-1]["args"]["carried"])
        return Sent(gas, calldata)

    def _rosters(self, peers: Sequence[int], message: dict[str, Any]) -> list[int]:
        start, rosters = message["sessionStart"], []
        for page in sorted({(peer - 1) // _PAGE_PEERS for peer in peers}):
            found, index = self.registry.functions.findRoster(page, start).call()
            if not found:
                self.node.send(self.registry, "publishRoster", page, start)
                _, index = self.registry.functions.findRoster(page, start).call()
            rosters.append(index)
        return rosters

    def reconcile(self, proposal: Proposal) -> Sent:
        """Read meters a little off the positions, and settle all readings."""
        start = proposal.session.start
        self._travel(self.terms.session_end(start))
        domain = Domain(self.node.web3.eth.chain_id, self.settlement.address)
        positions = proposal.positions_wh
        silent = (0,) * self.terms.periods_per_session
        signed = [
            Reading(
                1,
                peer,
                start,
                tuple(
                    energy + (7 * at + 3 * period) % 21 - 10
                    for period, energy in enumerate(positions.get(peer, silent))
                ),
            ).signed_by(self._meter(at), domain)
            for at, peer in enumerate(self.peers)
        ]
        gas, calldata = 0, b""
        for first in range(0, len(signed), _READINGS):
            some = signed[first : first + _READINGS]
            brought = bring(positions, some, tariffs=dict.fromkeys(self.peers, 0))
            arguments = 1, start, list(brought.leaves), brought.readings
            sent = self.node.send(self.settlement, "reconcile", *arguments)
            gas, calldata = gas + sent.gas, calldata + sent.calldata
        return Sent(gas, calldata)

    def _deploy(self) -> None:
        sender = self.node.sender
        self.registry = self._contract("PeerRegistry", sender, 0, _NOTICE)
        self.token = self._contract(
            "CommunityToken", "Community token", "CMT", sender, 0, NOBODY, 10**40
        )
        books = self.registry.address, self.token.address
        self.ledger = self._contract("Ledger", sender, 0, *books, _DELAY)
        self.order_book = self._contract(
            "OrderBook", sender, 0, self.registry.address, self.ledger.address
        )
        parts = self.registry.address, self.ledger.address, self.order_book.address
        self.clearing = self._contract("Clearing", *parts)
        trades = self._contract("Trades", *parts).address
        self.settlement = self._contract("Settlement", *parts, self.clearing.address, trades)
        send = self.node.send
        send(self.registry, "connectAccounts", self.ledger.address)
        connected = self.order_book.address, self.clearing.address, self.settlement.address
        send(self.ledger, "connectMarket", *connected, trades)
        send(self.order_book, "connectClearing", self.clearing.address)
        for contract, role in (
            (self.registry, "REGISTRAR_ROLE"),
            (self.registry, "NETWORK_OPERATOR_ROLE"),
            (self.order_book, "MARKET_OPERATOR_ROLE"),
            (self.token, "TREASURY_ROLE"),
        ):
            send(contract, "grantRole", contract.functions[role]().call(), sender)

    def _found(self) -> None:
        """Publish the network, open the market, admit and fund everybody."""
        send, network = self.node.send, self.network
        floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
        send(self.registry, "createNetwork", {"floorMicroPerKWh": floor, "capMicroPerKWh": cap})
        names = [name.encode().ljust(32, b"\0") for name in network.nodes]
        links = NetworkVersion(0, 0, network).links_message()
        send(self.registry, "publishNetwork", 1, self._now() + 60, names, links)
        self._travel(self._now() + 60)
        supplier = Account.from_key(b"\1" * 32).address
        self._admit(supplier, Role.SUPPLIER, 0, NOBODY, 0)
        self._travel(self._now() + 60)
        tariff = {"effectiveFrom": self._now() + 60}
        tariff |= dict(zip(("retailMicroPerKWh", "feedInMicroPerKWh"), _TARIFF, strict=True))
        send(self.registry, "publishTariffs", [tariff], sender=supplier)
        self._travel(self._now() + 60)
        send(self.order_book, "createMarket", self.terms.to_message())
        send(self.token, "treasuryMint", self.node.sender, 10**35)
        send(self.token, "approve", self.ledger.address, 10**35)
        send(self.ledger, "deposit", 1, 100 * _FUNDS_NANO)
        self.peers = list(range(2, len(self.wishes) + 2))
        for at, wish in enumerate(self.wishes):
            wallet, meter = self._key(at).address, self._meter(at).address
            self._admit(wallet, Role.PROSUMER, wish.node, meter, 1)
            send(self.ledger, "deposit", self.peers[at], _FUNDS_NANO)

    def _admit(self, wallet: str, role: Role, node: int, meter: str, supplier: int) -> None:
        connection = {
            "role": int(role),
            "network": 1,
            "node": node,
            "meter": meter,
            "supplier": supplier,
            "connectionW": _CONNECTION_W,
            "community": 1,
        }
        self.node.send(self.registry, "admit", wallet, connection)

    def _contract(self, name: str, *arguments: Any) -> Contract:
        kind = getattr(project(), name).contract_type
        abi = [entry.model_dump(mode="json", by_alias=True) for entry in kind.abi]
        return self.node.deploy(abi, str(kind.deployment_bytecode.bytecode), *arguments)

    def _now(self) -> int:
        return int(self.node.web3.eth.get_block("latest")["timestamp"])

    def _travel(self, time: int) -> None:
        for method, parameters in (("evm_setNextBlockTimestamp", [time]), ("evm_mine", [])):
            self.node.web3.provider.make_request(method, parameters)  # type: ignore[arg-type]

    @staticmethod
    def _key(at: int) -> LocalAccount:
        return _account(b"wallet", at)

    @staticmethod
    def _meter(at: int) -> LocalAccount:
        return _account(b"meter", at)


def _account(kind: bytes, at: int) -> LocalAccount:
    account: LocalAccount = Account.from_key(kind.ljust(28, b"\1") + at.to_bytes(4, "big"))
    return account
