"""Founding a community on a local chain, from wherever it was left.

Every step looks at the chain before it acts: whoever has a number is not admitted again, and
whoever has its deposit gets no other. So a founding that was stopped is begun again and ends alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from eth_utils.crypto import keccak

from fairwatt.billing import changes, supplier_schedule
from fairwatt.chain import Role, secret_signer, signer_for
from fairwatt.community import Generator, Peer, Storage
from fairwatt.errors import CaseError
from fairwatt.market import Link
from fairwatt.session import NOBODY
from fairwatt.units import WEI_PER_NANO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eth_account.signers.local import LocalAccount

    from fairwatt.chain import Chain, Settings, Signer
    from fairwatt.community import Asset, Community, Horizon, Supplier
    from fairwatt.imbalances import Tariff
    from fairwatt.session import MarketTerms

__all__ = ["NETWORK", "Founder", "Member"]

NETWORK: Final = 1
"""The network of a founded community, and its market: the first of the deployment."""
_W_PER_KW: Final = 1000
_CONNECTION_MARGIN: Final = 2  # over all assets at once, where a case names no limit
_GAS_WEI: Final = 10**19
_MOST_WEI: Final = 2**256 - 1


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


@dataclass
class Founder:
    """Admits and funds a community in a deployment of its own.

    Parameters
    ----------
    community
        Over all the time that its connections and tariffs are for.
    rated
        What connections without a rating must have room for, if that is more than the community.
    seed
        The keys of wallets and meters are made of it and of the peers' names; they protect nothing.
    """

    community: Community
    chain: Chain
    settings: Settings
    seed: str = ""
    progress: Callable[[str], None] = field(default=lambda _: None)
    rated: Community | None = None

    def __post_init__(self) -> None:
        roles = self.settings.roles
        self.registrar = signer_for(roles.registrar)
        self.network_operator = signer_for(roles.network_operator)
        self.market_operator = signer_for(roles.market_operator)
        self.treasury = signer_for(roles.treasury)
        self._tariffs = cache(self._tariffs_from)

    def signer(self, kind: str, name: str) -> Signer:
        """A wallet or a meter by its peer's name."""
        return secret_signer(bytes(keccak(text=f"fairwatt/{self.seed}/{kind}/{name}")))

    def found(self, terms: MarketTerms) -> tuple[dict[str, Member], dict[str, int]]:
        """Publish the network, open the market, admit everybody.

        Returns
        -------
        tuple
            Peers by name and the suppliers that are not peers; accounts of the link owners by name.
        """
        operators = {owner: self._admit_operator(owner) for owner in self._owners()}
        self.progress("publish the network")
        self._publish_network(operators)
        self.progress("create the market")
        if not self.chain.read(self.chain.contracts.order_book.marketCount):
            self.chain.create_market(terms, sender=self.market_operator)
        members: dict[str, Member] = {}
        for supplier in self.community.suppliers:
            self.progress(f"admit {supplier.name}")
            members[supplier.name] = self._admit_supplier(supplier)
        for peer in self.community.peers:
            if peer.name not in members:
                self.progress(f"admit {peer.name}")
                members[peer.name] = self._admit_peer(peer, members)
        ordered = {peer.name: members.pop(peer.name) for peer in self.community.peers}
        return ordered | members, operators

    def fund(self, members: Mapping[str, Member], funds_nano: Mapping[str, int]) -> None:
        """Let everybody have deposited so much, nano-token; the treasury mints and pays it in."""
        token, ledger = self.chain.contracts.token, self.chain.contracts.ledger
        deposited = self.chain.snapshot().deposits_nano()
        missing = {
            name: funds_nano[name] - deposited.get(member.peer, 0)
            for name, member in members.items()
        }
        missing = {name: nano for name, nano in missing.items() if nano > 0}
        total = sum(missing.values()) * WEI_PER_NANO
        mint = total - self.chain.read(token.balanceOf, self.treasury.address)
        if mint > 0:
            self.chain.send(token.treasuryMint, self.treasury.address, mint, sender=self.treasury)
        if self.chain.read(token.allowance, self.treasury.address, ledger) < total:
            self.chain.send(token.approve, ledger, _MOST_WEI, sender=self.treasury)
        for name, nano in missing.items():
            self.progress(f"fund {name}")
            self.chain.send(ledger.deposit, members[name].peer, nano, sender=self.treasury)

    def pay_gas(self, member: Member) -> None:
        """Let a member have the ether to send transactions by itself."""
        self.chain.give_ether(member.wallet, _GAS_WEI, sender=self.treasury)

    def publish_tariffs(self, supplier: Supplier, member: Member, start: int, until: int) -> None:
        """Publish what is not yet published of the supplier's tariffs that begin before `until`.

        Parameters
        ----------
        start
            When the first period of the community is on the chain, UTC Unix seconds.
        """
        known = self.chain.read(self.chain.contracts.registry.tariffCount, member.peer)
        wanted = self._tariffs(supplier.name, start)
        new = [each for each in wanted[known:] if each.effective_from < until]
        self.chain.publish_tariffs(new, sender=member.wallet)

    def _tariffs_from(self, name: str, start: int) -> list[Tariff]:
        """All that a supplier has to publish; of a year it is asked every day."""
        (supplier,) = (each for each in self.community.suppliers if each.name == name)
        return changes(supplier_schedule(supplier, self.community.horizon, start=start))

    # --------------------------------------------------------------------------------- steps

    def _owners(self) -> Iterator[str]:
        links = self.community.network.links
        return iter(dict.fromkeys(link.owner for link in links if link.owner))

    def _admit_operator(self, owner: str) -> int:
        return self._admit(self.signer("operator", owner), Role.OPERATOR)

    def _publish_network(self, operators: Mapping[str, int]) -> None:
        registry, network = self.chain.contracts.registry, self.community.network
        links = tuple(
            Link(
                link.source,
                link.target,
                link.tariff_micro_per_kwh,
                link.capacity_wh,
                str(operators[link.owner]) if link.owner else None,
            )
            for link in network.links
        )
        network, sender = replace(network, links=links), self.network_operator
        if self.chain.read(registry.operatorOf, NETWORK) == NOBODY:
            self.chain.create_network(network, sender=sender)
        elif not self.chain.read(registry.networkVersionCount, NETWORK):
            self.chain.publish_network(NETWORK, network, sender=sender)

    def _admit_supplier(self, supplier: Supplier) -> Member:
        """Admit a supplier, as the peer of its name if there is one, with its first tariff."""
        network, registry = self.community.network, self.chain.contracts.registry
        peer = next((each for each in self.community.peers if each.name == supplier.name), None)
        member = self._join(peer or Peer(supplier.name, "supplier", network.nodes[0]), NOBODY, 0)
        if not self.chain.read(registry.tariffCount, member.peer):
            self.pay_gas(member)
            first, *_ = supplier_schedule(supplier, self.community.horizon)
            rates = first.retail_micro_per_kwh, first.feed_in_micro_per_kwh
            self.chain.from_now(
                lambda time: self.chain.send(
                    registry.publishTariffs, [(time, *rates)], sender=member.wallet
                )
            )
        return member

    def _admit_peer(self, peer: Peer, members: Mapping[str, Member]) -> Member:
        if peer.supplier is None:
            raise CaseError(peer.name, "needs a supplier to be simulated")
        return self._join(peer, None, members[peer.supplier].peer)

    def _join(self, peer: Peer, meter: str | None, supplier: int) -> Member:
        wallet, key = self.signer("wallet", peer.name), self.signer("meter", peer.name).key
        if key is None:
            raise CaseError(peer.name, "its meter has no key")
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
        """The rating of a connection, or else room for all that the assets draw or inject."""
        if peer.connection_kw is not None:
            return int(peer.connection_kw * _W_PER_KW)
        rated = self.rated or self.community
        assets = next((each.assets for each in rated.peers if each.name == peer.name), ())
        most_kw = sum(_most_kw(asset, rated.horizon) for asset in assets)
        return int(np.ceil(_CONNECTION_MARGIN * most_kw * _W_PER_KW))

    def _admit(self, wallet: Signer, role: Role, **connection: Any) -> int:
        registry = self.chain.contracts.registry
        if known := self.chain.read(registry.peerOf, wallet.address):
            return int(known)
        record = {
            "role": int(role),
            "network": 0 if role is Role.OPERATOR else NETWORK,
            "node": connection.get("node", 0),
            "meter": connection.get("meter", NOBODY),
            "supplier": connection.get("supplier", 0),
            "connectionW": connection.get("connection_w", 0),
            "community": connection.get("community", 0),
        }
        receipt = self.chain.send(registry.admit, wallet.address, record, sender=self.registrar)
        return int(receipt.events[-1].peer)


def _most_kw(asset: Asset, horizon: Horizon) -> float:
    """The largest power of an asset either way."""
    match asset:
        case Storage():
            return max(asset.charge_kw, asset.discharge_kw)
        case Generator():
            return float(asset.over("power_kw", horizon.periods).max())
    if "energy_kwh" in asset.series_fields:
        energy = float(asset.over("energy_kwh", horizon.periods).max()) / horizon.hours
        return max(energy, float(getattr(asset, "power_kw", 0.0)))
    return float(getattr(asset, "power_kw", 0.0))
