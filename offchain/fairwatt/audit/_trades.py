"""The rules of `Trades.sol`, in Python, for pairs of orders that were traded.

What was traded is counted here once more, by nonce and by period, so that neither orders nor
connections can have been exceeded unnoticed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fairwatt.chain import Standing
from fairwatt.market import Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fairwatt.chain import Peer
    from fairwatt.continuous import ContinuousOrder, Pair
    from fairwatt.session import Session

__all__ = ["Trading"]


@dataclass
class Trading:
    """All continuous trades up to now.

    Attributes
    ----------
    traded_wh
        By peer and nonce, in each period.
    cancelled
        Peers and nonces that trade no more.
    positions_wh
        By market and start of the session, then by peer: sold positive, bought negative.
    """

    traded_wh: Counter[tuple[int, int]] = field(default_factory=Counter)
    cancelled: set[tuple[int, int]] = field(default_factory=set)
    positions_wh: defaultdict[tuple[int, int], dict[int, list[int]]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def trade(
        self, pair: Pair, session: Session, peers: Mapping[int, Peer], time: int
    ) -> list[str]:
        """Count a trade.

        Parameters
        ----------
        session
            That of the resting order.
        peers
            Records of both peers, in force when the session starts.
        time
            Of the block, UTC Unix seconds.

        Returns
        -------
        list
            Which rules it breaks; the signatures are looked at elsewhere.
        """
        objections = [*_of_the_pair(pair), *_of_the_times(pair, session, time)]
        nodes = set()
        for signed in (pair.resting, pair.incoming):
            peer = peers[signed.order.peer]
            nodes.add(peer.node)
            objections += _of_an_order(signed.order, peer, session)
            objections += self._count(pair.energy_wh, signed.order, peer, session)
        if len(nodes) > 1:
            objections.append("its peers are at different nodes")
        return objections

    def _count(
        self, energy_wh: int, order: ContinuousOrder, peer: Peer, session: Session
    ) -> Iterator[str]:
        name, key = f"order {order.nonce} of peer {order.peer}", (order.peer, order.nonce)
        if key in self.cancelled:
            yield f"{name} was cancelled"
        self.traded_wh[key] += energy_wh
        if self.traded_wh[key] > order.energy_wh:
            yield f"{name} trades {self.traded_wh[key]} Wh of its {order.energy_wh} Wh"
        position = self.positions_wh[session.market, session.start].setdefault(
            order.peer, [0] * len(session.versions)
        )
        periods = range(order.first_period, order.first_period + order.periods)
        for period in periods[: len(position) - order.first_period]:
            position[period] += energy_wh if order.side is Side.ASK else -energy_wh
        limit = peer.energy_limit_wh(session.terms.period_seconds)
        if any(abs(wh) > limit for wh in position):
            yield f"{name} trades more than the connection's {limit} Wh"


def _of_the_pair(pair: Pair) -> Iterator[str]:
    resting, incoming = pair.resting.order, pair.incoming.order
    if pair.energy_wh <= 0:
        yield "it is of nothing"
    if resting.product != incoming.product:
        yield "its orders are for different periods"
    ask, bid = (incoming, resting) if resting.side is Side.BID else (resting, incoming)
    if (ask.side, bid.side) != (Side.ASK, Side.BID):
        yield "its orders are on one side"
    elif ask.price_micro_per_kwh > bid.price_micro_per_kwh:
        yield "its orders do not cross"
    if resting.peer == incoming.peer:
        yield "its peer trades with itself"
    for order, other in ((resting, incoming), (incoming, resting)):
        if order.counterparty not in (0, other.peer):
            yield f"order {order.nonce} of peer {order.peer} is for peer {order.counterparty} alone"


def _of_the_times(pair: Pair, session: Session, time: int) -> Iterator[str]:
    resting, incoming, terms = pair.resting.order, pair.incoming.order, session.terms
    if not resting.rests_at(time):
        yield f"order {resting.nonce} of peer {resting.peer} did not rest yet"
    if incoming.rests_at(time):
        yield f"order {incoming.nonce} of peer {incoming.peer} rested already"
    for order in (resting, incoming):
        if time > order.valid_until:
            yield f"order {order.nonce} of peer {order.peer} had expired"
    if resting.first_period + resting.periods > terms.periods_per_session:
        yield "its periods are not of the session"
    begins = session.start + resting.first_period * terms.period_seconds
    if not terms.gate_closure(session.start) <= time < begins:
        yield "it was made outside of the time from gate closure to delivery"


def _of_an_order(order: ContinuousOrder, peer: Peer, session: Session) -> Iterator[str]:
    name, network = f"order {order.nonce} of peer {order.peer}", session.versions[-1].network
    floor, cap = network.price_floor_micro_per_kwh, network.price_cap_micro_per_kwh
    if not floor <= order.price_micro_per_kwh <= cap:
        yield f"the limit of {name} lies outside of {floor} to {cap}"
    if peer.standing is not Standing.ACTIVE or peer.network != session.terms.network:
        yield f"{name} is of a peer that may not trade in this market"
    if not (peer.role.sells if order.side is Side.ASK else peer.role.buys):
        yield f"{name} is on a side that its peer's role does not allow"
