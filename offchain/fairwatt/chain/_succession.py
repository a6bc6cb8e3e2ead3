"""A newer deployment that takes over from one that is running.

Contracts are never replaced: a community moves to new ones. They share the token; peers, networks
and markets are copied by those who may set them up; suppliers publish their tariffs anew; and every
account moves as its own wallet signed (`fairwatt.moves`), so nobody is moved who does not agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fairwatt.chain._deploy import signer_for
from fairwatt.chain._snapshot import Role, Standing
from fairwatt.errors import ChainError
from fairwatt.session import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fairwatt.chain._chain import Chain
    from fairwatt.chain._deploy import Roles
    from fairwatt.chain._snapshot import Peer, Snapshot
    from fairwatt.market import Network

__all__ = ["Succession", "copy_community"]


@dataclass
class Succession:
    """What of a deployment is in the new one.

    Attributes
    ----------
    accounts, networks, markets
        Old number to new number. Who is suspended or left gets no new account and keeps the old.
    waiting
        Old numbers of suppliers that have yet to publish tariffs in the new deployment, each with
        those of the peers that cannot be admitted before.
    """

    accounts: dict[int, int] = field(default_factory=dict)
    networks: dict[int, int] = field(default_factory=dict)
    markets: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, list[int]] = field(default_factory=dict)


def copy_community(
    old: Chain, new: Chain, roles: Roles, *, progress: Callable[[str], None] = lambda _: None
) -> Succession:
    """Copy peers, networks as they are in force now, and markets, as far as they are not there yet.

    Run it again when suppliers have published their tariffs.

    Parameters
    ----------
    new
        Deployed on the token of the old one, with nothing in it but what this function put there.
    roles
        Registrar, network operator and market operator of the new deployment.

    Raises
    ------
    ChainError
        If something cannot be copied, an account cannot sign or pay, or a contract refuses. What
        was copied by then is found when it is run again.
    """
    if old.contracts.token.address != new.contracts.token.address:
        raise ChainError(
            f"the new ledger holds the token {new.contracts.token.address}, the old one "
            f"{old.contracts.token.address}; deploy with the token of the old one"
        )
    return _Copying(old.snapshot(), new, roles, progress).run()


class _Copying:
    def __init__(
        self, old: Snapshot, new: Chain, roles: Roles, progress: Callable[[str], None]
    ) -> None:
        self.old, self.new, self.progress = old, new, progress
        self.registrar = signer_for(roles.registrar)
        self.network_operator = signer_for(roles.network_operator)
        self.market_operator = signer_for(roles.market_operator)
        self.peers = [
            record for record in old.peers().values() if record.standing is Standing.ACTIVE
        ]
        self.done = Succession()

    def run(self) -> Succession:
        known = {record.wallet: peer for peer, record in self.new.snapshot().peers().items()}
        for record in self.peers:
            if record.wallet in known:
                self.done.accounts[record.id] = known[record.wallet]
        # Operators own links, links make a network, peers are connected to it and have suppliers.
        self._admit(record for record in self.peers if record.role is Role.OPERATOR)
        self._publish_networks()
        self._admit(record for record in self.peers if record.role is Role.SUPPLIER)
        self._admit(record for record in self.peers if self._has_tariff(record))
        self._create_markets()
        return self.done

    def _admit(self, records: Iterable[Peer]) -> None:
        for record in records:
            if record.id in self.done.accounts:
                continue
            self.progress(f"admit {record.wallet}")
            connection = {
                "role": int(record.role),
                "network": self.done.networks.get(record.network, 0),
                "node": record.node,
                "meter": record.meter or NOBODY,
                "supplier": self.done.accounts.get(record.supplier, 0),
                "connectionW": record.connection_w,
                "community": record.community,
            }
            admit = self.new.contracts.registry.admit
            receipt = self.new.send(admit, record.wallet, connection, sender=self.registrar)
            self.done.accounts[record.id] = int(receipt.events[-1].peer)

    def _has_tariff(self, record: Peer) -> bool:
        """Whether the supplier sells in the new deployment already; remembers if not."""
        if not record.supplier:
            return True
        if record.supplier not in self.done.accounts:
            raise ChainError(
                f"peer {record.id} has the supplier {record.supplier}, which is not active; give "
                "it another, or suspend it"
            )
        if self.new.snapshot().tariffs(self.done.accounts[record.supplier]):
            return True
        self.done.waiting.setdefault(record.supplier, []).append(record.id)
        return False

    def _publish_networks(self) -> None:
        there = len(self.new.snapshot().networks())
        for at, (number, network) in enumerate(self.old.networks().items(), start=1):
            if at > there:
                self.progress(f"publish network {number}")
                self.new.create_network(self._owned(network), sender=self.network_operator)
            self.done.networks[number] = at

    def _owned(self, network: Network) -> Network:
        links = []
        for link in network.links:
            if link.owner is not None and int(link.owner) not in self.done.accounts:
                # A peer that owns links needs a network to be admitted to.
                raise ChainError(
                    f"link {link.source} -> {link.target} belongs to account {link.owner}, which "
                    "is not that of an active operator; publish a version without it first"
                )
            owner = None if link.owner is None else str(self.done.accounts[int(link.owner)])
            links.append(replace(link, owner=owner))
        return replace(network, links=tuple(links), seed=b"")

    def _create_markets(self) -> None:
        there = len(self.new.snapshot().markets())
        for at, (number, terms) in enumerate(self.old.markets().items(), start=1):
            if at > there:
                self.progress(f"create market {number}")
                copied = replace(terms, network=self.done.networks[terms.network])
                self.new.create_market(copied, sender=self.market_operator)
            self.done.markets[number] = at
