"""A case brought to life on a local chain: peers with wallets, meters and funds.

For the demo and for trying things out. Wallets are the unlocked accounts of the chain; the keys
of the meters are made from the peers' numbers and protect nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ape
from eth_account import Account

from fairwatt.cases import Case, CasePeer
from fairwatt.chain import Chain, Role, Settings, Signer, deploy, test_signer
from fairwatt.errors import CaseError
from fairwatt.market import Link, Side
from fairwatt.meter import Reading, SignedReading
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.session import NOBODY, MarketTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eth_account.signers.local import LocalAccount

__all__ = ["Member", "Simulation"]

_NANO = 10**9
_FIRST_WALLET = 8  # the accounts before hold the roles
_CONNECTION_MARGIN = 2


@dataclass(frozen=True)
class Member:
    """A peer of the case with its identifier, wallet and meter."""

    peer: int
    case: CasePeer
    node: int
    wallet: Signer
    meter: LocalAccount

    @property
    def key(self) -> LocalAccount:
        """Key of the wallet."""
        if self.wallet.key is None:
            raise CaseError(self.case.name, "this wallet cannot sign messages here")
        return self.wallet.key


@dataclass(frozen=True)
class Simulation:
    """A deployed community whose members are the peers of a case.

    Attributes
    ----------
    operators
        Accounts of the link owners, by the names the case gives them.
    """

    case: Case
    chain: Chain
    market: int
    members: Mapping[str, Member]
    operators: Mapping[str, int]

    @classmethod
    def found(
        cls,
        case: Case,
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
            Its networks and markets are replaced by the case's.
        funds_nano
            Minted to every peer and deposited, nano-token.
        """
        chain = Chain.of(deploy(replace(settings, networks=(), markets=()), progress=progress))
        founder = _Founder(case, chain, settings)
        operators = founder.admit_operators()
        progress("publish the network")
        founder.publish_network(operators)
        progress("create the market")
        market = founder.create_market(terms)
        members: dict[str, Member] = {}
        suppliers = [peer for peer in case.peers if peer.role == "supplier"]
        if len(suppliers) != 1:
            raise CaseError(case.name, f"needs one supplier to be simulated, has {len(suppliers)}")
        for peer in (*suppliers, *(peer for peer in case.peers if peer.role != "supplier")):
            progress(f"admit and fund {peer.name}")
            members[peer.name] = founder.admit(peer, members.get(suppliers[0].name))
            founder.fund(members[peer.name], funds_nano)
        ordered = {peer.name: members[peer.name] for peer in case.peers}
        return cls(case, chain, market, ordered, operators)

    def order(self, member: Member, start: int, nonce: int = 0) -> Order:
        """The member's order: its generation offered at cost, its load at its limit."""
        steps = []
        if (generation := member.case.generation) is not None:
            steps.append(Step(0, Side.ASK, generation.cost_micro_per_kwh, generation.energy_wh))
        if (load := member.case.load) is not None:
            steps.append(Step(0, Side.BID, load.limit_micro_per_kwh, load.energy_wh))
        return Order(self.market, member.peer, member.node, start, tuple(steps), start, nonce)

    def sign(self, member: Member, order: Order) -> SignedOrder:
        """Sign with the member's wallet."""
        return order.signed_by(member.key, self.chain.order_domain)

    def read(self, member: Member, start: int, energy_wh: tuple[int, ...]) -> SignedReading:
        """Sign with the member's meter."""
        reading = Reading(self.market, member.peer, start, energy_wh)
        return reading.signed_by(member.meter, self.chain.reading_domain)

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
    case: Case
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
        owners = dict.fromkeys(link.owner for link in self.case.network.links if link.owner)
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
            for link in self.case.network.links
        )
        network = replace(self.case.network, links=links)
        self.chain.create_network(network, sender=self.network_operator)

    def create_market(self, terms: MarketTerms) -> int:
        return self.chain.create_market(terms, sender=self.market_operator)

    def admit(self, peer: CasePeer, supplier: Member | None) -> Member:
        wallet = self.next_wallet()
        meter = Account.from_key((1_000_000 + self.wallets).to_bytes(32, "big"))
        node = self.case.network.node_index[peer.node]
        most = max(
            peer.generation.energy_wh if peer.generation else 0,
            peer.load.energy_wh if peer.load else 0,
        )
        identifier = self._admit(
            wallet,
            Role[peer.role.upper()],
            node=node,
            meter=meter.address if supplier else NOBODY,
            supplier=supplier.peer if supplier else 0,
            connection_w=_CONNECTION_MARGIN * most * 3600 // self.case.period_seconds,
            community=peer.community,
        )
        member = Member(identifier, peer, node, wallet, meter)
        if supplier is None:
            prices = self.case.retail_micro_per_kwh, self.case.feed_in_micro_per_kwh
            publish = self.chain.contracts.registry.publishTariffs
            self.chain.from_now(
                lambda time: self.chain.send(publish, [(time, *prices)], sender=wallet)
            )
        return member

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
