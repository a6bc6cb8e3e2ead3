"""A community brought to life on a local chain: peers with wallets, meters and funds.

For the demo, for pilots and for trying things out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from fairwatt.billing import changes, supplier_schedule
from fairwatt.chain import Chain, deploy
from fairwatt.founding import NETWORK, Founder, Member
from fairwatt.meter import Reading, SignedReading
from fairwatt.orders import Order, SignedOrder, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fairwatt.chain import Settings
    from fairwatt.community import Community
    from fairwatt.market import Book
    from fairwatt.orders import FlexibleOrder
    from fairwatt.session import MarketTerms

__all__ = ["Member", "Simulation"]


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
            Minted and deposited for every peer, nano-token; all get ether for transactions too.
        """
        chain = Chain.of(deploy(replace(settings, networks=(), markets=()), progress=progress))
        founder = Founder(community, chain, settings, progress=progress)
        members, operators = founder.found(terms)
        founder.fund(members, dict.fromkeys(members, funds_nano))
        for member in members.values():
            founder.pay_gas(member)
        return cls(community, chain, NETWORK, members, operators)

    @cached_property
    def books(self) -> tuple[Book, ...]:
        """What everybody wants, period by period."""
        return tuple(map(self.community.book, range(self.community.horizon.periods)))

    def order(self, member: Member, start: int, nonce: int = 0) -> Order:
        """All that the member wants in the session at `start`."""
        steps = (
            Step(period, line.side, line.price_micro_per_kwh, line.energy_wh)
            for period, book in enumerate(self.books)
            for line in book.orders
            if line.peer == member.record.name
        )
        return self.order_of(member, start, steps, nonce)

    def order_of(self, member: Member, start: int, steps: Iterable[Step], nonce: int = 0) -> Order:
        """An order of the member's for the session at `start`."""
        return Order(self.market, member.peer, start, tuple(steps), nonce)

    def sign(self, member: Member, order: Order | FlexibleOrder) -> SignedOrder:
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
        self.chain.travel_to(time)

    def balances_nano(self) -> dict[str, int]:
        """Balance of everybody who has an account, by name, and of the fund."""
        snapshot = self.chain.snapshot()
        accounts = {name: member.peer for name, member in self.members.items()} | dict(
            self.operators
        )
        balances = {name: snapshot.account(peer).balance_nano for name, peer in accounts.items()}
        return balances | {"community fund": snapshot.fund_nano()}
