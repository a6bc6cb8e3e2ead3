"""A community brought to life on a local chain: peers with wallets, meters and funds.

For the demo and for trying things out. Wallets are the unlocked accounts of the chain; the keys
of the meters are made from the peers' numbers and protect nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ape
from eth_account import Account

from fairwatt.billing import changes, supplier_schedule
from fairwatt.chain import Chain, Role, Settings, Signer, deploy, test_signer
from fairwatt.community import Peer, Supplier
from fairwatt.errors import CaseError
from fairwatt.market import Link
from fairwatt.meter import Reading, SignedReading
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.session import NOBODY, MarketTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eth_account.signers.local import LocalAccount

    from fairwatt.community import Community
    from fairwatt.market import Book

__all__ = ["Member", "Simulation"]

_NANO, _MICRO = 10**9, 10**6
_FIRST_WALLET = 8  # the accounts before hold the roles
_W_PER_KW = 1000
_CONNECTION_MARGIN = 2  # over the largest power of an asset, where a case names no limit


@dataclass(frozen=True)
class Member:
    """A peer of the community with its identifier, wallet and meter."""

    peer: int
    record: Peer
    node: int
    wallet: Signer
    meter: LocalAccount

    @property
    def key(self) -> LocalAccount:
        """Key of the wallet."""
        if self.wallet.key is None:
            raise CaseError(self.record.name, "this wallet cannot sign messages here")
        return self.wallet.key


@dataclass(frozen=True)
class Simulation:
    """A deployed community with its members.

    Attributes
    ----------
    members
        Peers by name, and the suppliers that are not peers.
    operators
        Accounts of the link owners, by the names the network gives them.
    """

    community: Community
    chain: Chain
    market: int
    members: Mapping[str, Member]
    operators: Mapping[str, int]

    @classmethod
    def found(
        cls,
        community: Community,
        settings: Settings,
        terms: MarketTerms,
        *,
        funds_nano: int,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Simulation:
        """Deploy, publish the network, open the market, admit and fund everybody.

        Parameters
        ----------
        settings
            Its networks and markets are replaced by those of the community.
        funds_nano
            Minted to every peer and deposited, nano-token.
        """
        chain = Chain.of(deploy(replace(settings, networks=(), markets=()), progress=progress))
        founder = _Founder(community, chain, settings)
        operators = founder.admit_operators()
        progress("publish the network")
        founder.publish_network(operators)
        progress("create the market")
        market = founder.create_market(terms)
        members: dict[str, Member] = {}
        for supplier in community.suppliers:
            progress(f"admit and fund {supplier.name}")
            members[supplier.name] = founder.admit_supplier(supplier)
        for peer in community.peers:
            if peer.name not in members:
                progress(f"admit and fund {peer.name}")
                members[peer.name] = founder.admit(peer, members)
        for member in members.values():
            founder.fund(member, funds_nano)
        ordered = {peer.name: members.pop(peer.name) for peer in community.peers}
        return cls(community, chain, market, ordered | members, operators)

    @cached_property
    def books(self) -> tuple[Book, ...]:
        """What everybody wants, period by period."""
        return tuple(map(self.community.book, range(self.community.horizon.periods)))

    def order(self, member: Member, start: int, nonce: int = 0) -> Order:
        """All that the member wants in the session at `start`."""
        steps = tuple(
            Step(period, line.side, line.price_micro_per_kwh, line.energy_wh)
            for period, book in enumerate(self.books)
            for line in book.orders
            if line.peer == member.record.name
        )
        return Order(self.market, member.peer, start, steps, nonce)

    def sign(self, member: Member, order: Order) -> SignedOrder:
        """Sign with the member's wallet."""
        return order.signed_by(member.key, self.chain.order_domain)

    def read(self, member: Member, start: int, energy_wh: tuple[int, ...]) -> SignedReading:
        """Sign with the member's meter."""
        reading = Reading(self.market, member.peer, start, energy_wh)
        return reading.signed_by(member.meter, self.chain.reading_domain)

    def publish_tariffs(self, start: int) -> None:
        """Publish what the suppliers charge over the horizon, its first period being at `start`.

        A supplier has the tariff of the first period from its admission on; of the others only
        those are published that differ from the one before.

        Raises
        ------
        ContractError
            If one would take effect before the notice of the registry is over.
        """
        snapshot = self.chain.snapshot()
        for supplier in self.community.suppliers:
            member = self.members[supplier.name]
            wanted = supplier_schedule(supplier, self.community.horizon, start=start)
            in_force = snapshot.tariffs(member.peer)[-1]
            self.chain.publish_tariffs(changes(wanted, in_force), sender=member.wallet)

    def travel_to(self, time: int) -> None:
        """Mine the next block at `time`."""
        ape.chain.pending_timestamp = time
        ape.chain.mine()

    def balances_nano(self) -> dict[str, int]:
        """Balance of everybody who has an account, by name, and of the fund."""
        snapshot = self.chain.snapshot()
        accounts = {name: member.peer for name, member in self.members.items()} | dict(
            self.operators
        )
        balances = {name: snapshot.account(peer).balance_nano for name, peer in accounts.items()}
        return balances | {"community fund": snapshot.fund_nano()}


@dataclass
class _Founder:
    community: Community
    chain: Chain
    settings: Settings
    wallets: int = _FIRST_WALLET

    def __post_init__(self) -> None:
        roles = self.settings.roles
        self.registrar = _local(roles.registrar)
        self.network_operator = _local(roles.network_operator)
        self.market_operator = _local(roles.market_operator)
        self.treasury = _local(roles.treasury)

    def next_wallet(self) -> Signer:
        self.wallets += 1
        return test_signer(self.wallets - 1)

    def admit_operators(self) -> dict[str, int]:
        owners = dict.fromkeys(link.owner for link in self.community.network.links if link.owner)
        return {owner: self._admit(self.next_wallet(), Role.OPERATOR) for owner in owners}

    def publish_network(self, operators: Mapping[str, int]) -> None:
        links = tuple(
            Link(
                link.source,
                link.target,
                link.tariff_micro_per_kwh,
                link.capacity_wh,
                str(operators[link.owner]) if link.owner else None,
            )
            for link in self.community.network.links
        )
        network = replace(self.community.network, links=links)
        self.chain.create_network(network, sender=self.network_operator)

    def create_market(self, terms: MarketTerms) -> int:
        return self.chain.create_market(terms, sender=self.market_operator)

    def admit_supplier(self, supplier: Supplier) -> Member:
        """Admit a supplier, as the peer of its name if there is one, and publish its tariffs."""
        network = self.community.network
        peer = next((each for each in self.community.peers if each.name == supplier.name), None)
        member = self._join(peer or Peer(supplier.name, "supplier", network.nodes[0]), NOBODY, 0)
        retail, feed_in = (
            round(float(tariff(self.community.horizon.periods)[0]) * _MICRO)
            for tariff in (supplier.retail, supplier.feed_in)
        )
        publish = self.chain.contracts.registry.publishTariffs
        self.chain.from_now(
            lambda time: self.chain.send(publish, [(time, retail, feed_in)], sender=member.wallet)
        )
        return member

    def admit(self, peer: Peer, members: Mapping[str, Member]) -> Member:
        if peer.supplier is None:
            raise CaseError(peer.name, "needs a supplier to be simulated")
        return self._join(peer, None, members[peer.supplier].peer)

    def _join(self, peer: Peer, meter: str | None, supplier: int) -> Member:
        wallet = self.next_wallet()
        key = Account.from_key((1_000_000 + self.wallets).to_bytes(32, "big"))
        node = self.community.network.node_index[peer.node]
        identifier = self._admit(
            wallet,
            Role[peer.role.upper()],
            node=node,
            meter=key.address if meter is None else meter,
            supplier=supplier,
            connection_w=self._connection_w(peer),
            community=peer.community,
        )
        return Member(identifier, peer, node, wallet, key)

    def _connection_w(self, peer: Peer) -> int:
        if peer.connection_kw is not None:
            return int(peer.connection_kw * _W_PER_KW)
        periods = range(self.community.horizon.periods)
        books = (self.community.book(period) for period in periods)
        most_wh = max(
            (line.energy_wh for book in books for line in book.orders if line.peer == peer.name),
            default=0,
        )
        return _CONNECTION_MARGIN * most_wh * 3600 // self.community.horizon.period_seconds

    def fund(self, member: Member, nano: int) -> None:
        token, ledger = self.chain.contracts.token, self.chain.contracts.ledger
        wallet = member.wallet
        self.chain.send(token.treasuryMint, wallet.address, nano * _NANO, sender=self.treasury)
        self.chain.send(token.approve, ledger, nano * _NANO, sender=wallet)
        self.chain.send(ledger.deposit, member.peer, nano, sender=wallet)

    def _admit(self, wallet: Signer, role: Role, **connection: Any) -> int:
        record = {
            "role": int(role),
            "network": 0 if role is Role.OPERATOR else 1,
            "node": connection.get("node", 0),
            "meter": connection.get("meter", NOBODY),
            "supplier": connection.get("supplier", 0),
            "connectionW": connection.get("connection_w", 0),
            "community": connection.get("community", 0),
        }
        receipt = self.chain.send(
            self.chain.contracts.registry.admit, wallet.address, record, sender=self.registrar
        )
        return int(receipt.events[-1].peer)


def _local(role: str) -> Signer:
    index = role.removeprefix("test:")
    if not index.isdecimal():
        raise CaseError("roles", f"a simulation needs accounts of a local chain, not {role!r}")
    return test_signer(int(index))
