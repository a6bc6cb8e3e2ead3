"""Who takes part: peers, and the operator of the network. An agent knows its own affairs only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fairwatt.consensus._proximal import ProgramText
from fairwatt.errors import ConsensusError
from fairwatt.market import Network
from fairwatt.planner.devices import NO_ROW, Part, devices
from fairwatt.planner.feasible import require_feasible
from fairwatt.units import MICRO, WH_PER_KWH

if TYPE_CHECKING:
    from fairwatt.community import Asset, Community, Peer
    from fairwatt.consensus._proximal import Array, Index, Optimum, ProximalProgram

__all__ = ["Account", "Agent", "NetworkAgent", "PeerAgent", "Signal", "own_affairs"]


@dataclass(frozen=True, eq=False)
class Signal:
    """What an agent is told in a round; arrays of shape (its nodes, periods).

    Attributes
    ----------
    price_per_kwh
        At its nodes, token/kWh.
    target_kwh
        Its last answer, less its part of what was too much at the node.
    penalty
        How much a deviation from the target counts, token/kWh^2.
    """

    price_per_kwh: Array
    target_kwh: Array
    penalty: float


@dataclass(frozen=True, slots=True)
class Account:
    """What an agent says of its last answer when it is asked.

    Attributes
    ----------
    cost
        Of that answer, without what is paid on the market, token.
    regret
        How much better it could do for itself at the given prices, token, >= 0.
    """

    cost: float
    regret: float


class Agent(Protocol):
    """Somebody who injects into the market, at one node or at several."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where it injects."""

    @property
    def size_kwh(self) -> float | None:
        """Roughly how much it trades in a period, if it says so."""

    def respond(self, signal: Signal) -> Array:
        """Energy it would inject into the market (sold less bought), kWh, (nodes, periods)."""

    def account(self, price_per_kwh: Array) -> Account:
        """What its last answer costs, and how far it is from the best one at these prices."""


class _Trader:
    """The part that all agents share: answers come out of a program."""

    def __init__(self, name: str, nodes: tuple[str, ...], program: ProximalProgram) -> None:
        self.name = name
        self.nodes = nodes
        self._program = program
        self._last: Optimum | None = None

    def respond(self, signal: Signal) -> Array:
        """Best injection at these prices near the target."""
        self._last = self._best(signal.price_per_kwh, signal.target_kwh, signal.penalty)
        return self._last.traded_kwh.reshape(signal.price_per_kwh.shape)

    def account(self, price_per_kwh: Array) -> Account:
        """What the last answer costs, and its regret."""
        if self._last is None:
            raise ConsensusError(f"{self.name} was asked for an account before any price")
        best = self._best(price_per_kwh, np.zeros_like(price_per_kwh), 0.0)
        price = price_per_kwh.ravel()
        regret = (self._last.cost - price @ self._last.traded_kwh) - (
            best.cost - price @ best.traded_kwh
        )
        return Account(self._last.cost + self._fixed_cost(), max(float(regret), 0.0))

    def _fixed_cost(self) -> float:
        return 0.0

    def _best(self, price: Array, target: Array, penalty: float) -> Optimum:
        try:
            return self._program.respond(price.ravel(), target.ravel(), penalty)
        except ConsensusError as error:
            raise ConsensusError(f"{self.name}: {error}") from error


class PeerAgent(_Trader):
    """A peer: its assets, its preferences and the tariffs of its supplier.

        minimise    cost of assets + (retail + delta_imp) import - (feed_in - delta_exp) export
                  + phi (buy + sell)
        subject to  sell - buy = injection into the market
                    inject - draw + import - export = sell - buy
                    import <= draw,  export <= inject,  |draw - inject| <= h connection
                    the rules of `fairwatt.community.assets`

    Parameters
    ----------
    own
        A community that consists of this peer alone, as `own_affairs` makes it.

    Raises
    ------
    PlanInfeasible
        If an asset cannot keep its own rules.
    ConsensusError
        If there is anybody else in `own`, or the connection is too weak.
    """

    def __init__(self, own: Community) -> None:
        if len(own.peers) != 1 or own.network.links:
            raise ConsensusError(
                f"an agent is for one peer and no links, not {len(own.peers)} and "
                f"{len(own.network.links)}"
            )
        require_feasible(own)
        (peer,) = own.peers
        behind = _BehindTheMeter(own)
        self._fixed = behind.fixed_cost
        self.size_kwh = behind.size_kwh()
        try:
            program = behind.program(peer)
        except ConsensusError as error:
            raise ConsensusError(f"{peer.name}: {error}; look at its connection") from error
        super().__init__(peer.name, (peer.node,), program)

    def _fixed_cost(self) -> float:
        return self._fixed


class _BehindTheMeter:
    """The assets of one peer as columns and rows, and what they can do at most."""

    def __init__(self, own: Community) -> None:
        self._own = own
        self._periods = own.horizon.periods
        self._t = np.arange(self._periods)
        self._text = ProgramText()
        self._columns: dict[Part, list[Index]] = {Part.DRAW: [], Part.INJECT: [], Part.LEVEL: []}
        self._most = {part: np.zeros(self._periods) for part in Part}
        self.fixed_draw = np.zeros(self._periods)
        self.fixed_cost = 0.0
        for asset in own.peers[0].assets:
            self._add(asset)

    def size_kwh(self) -> float:
        """Energy that could pass the meter in a period, on average, to the nearest power of two.

        Rounded, because it need not be exact to be useful, and says less so.
        """
        most = self.fixed_draw + self._most[Part.DRAW] + self._most[Part.INJECT]
        return float(2.0 ** np.round(np.log2(max(most.mean(), 2.0**-10))))

    def program(self, peer: Peer) -> ProximalProgram:
        """Assets, supplier, connection and market of the peer."""
        text, t, own = self._text, self._t, self._own
        draws, injects = self._columns[Part.DRAW], self._columns[Part.INJECT]
        balance = [(t, each, -1.0) for each in draws] + [(t, each, 1.0) for each in injects]
        most_draw = self.fixed_draw + self._most[Part.DRAW]
        if peer.supplier is not None:
            retail = own.retail_per_kwh[0] + peer.import_preference_per_kwh
            feed_in = own.feed_in_per_kwh[0] - peer.export_preference_per_kwh
            nothing = np.zeros(self._periods)
            imports = text.columns(retail, nothing, most_draw)
            exports = text.columns(-feed_in, nothing, self._most[Part.INJECT])
            balance += [(t, imports, 1.0), (t, exports, -1.0)]
            if draws:
                less = [(t, each, -1.0) for each in draws]
                text.limits(self.fixed_draw, [(t, imports, 1.0), *less])
            if injects:
                less = [(t, each, -1.0) for each in injects]
                text.limits(nothing, [(t, exports, 1.0), *less])
        if peer.connection_kw is not None:
            most = own.horizon.hours * peer.connection_kw
            net = [(t, each, 1.0) for each in draws] + [(t, each, -1.0) for each in injects]
            text.limits(most - self.fixed_draw, net)
            text.limits(most + self.fixed_draw, [(row, at, -value) for row, at, value in net])
        text.equations(self.fixed_draw, balance + self._market(most_draw))
        return text.program(self._periods)

    def _market(self, most_draw: Array) -> list[tuple[Index, Index, float]]:
        """Columns of the injection into the market; their entries in the balance."""
        text, t, fee = self._text, self._t, self._own.fee_per_kwh
        nothing, anything = np.zeros(self._periods), np.full(self._periods, np.inf)
        if not fee:
            traded = text.columns(nothing, -anything, anything)
            return [(t, traded, -1.0)]
        buy = text.columns(nothing + fee, nothing, most_draw)
        sell = text.columns(nothing + fee, nothing, self._most[Part.INJECT])
        traded = text.columns(nothing, -anything, anything)
        text.equations(nothing, [(t, sell, 1.0), (t, buy, -1.0), (t, traded, -1.0)])
        return [(t, buy, 1.0), (t, sell, -1.0)]

    def _add(self, asset: Asset) -> None:
        block = devices([asset], self._own.horizon)
        curvature = None if block.curvature is None else block.curvature[0]
        self.fixed_draw += block.fixed_draw_kwh[0]
        self.fixed_cost += float(block.fixed_cost[0])
        if not block.parts:
            return
        at = self._text.columns(block.cost[0], block.lower[0], block.upper[0], curvature)
        for number, part in enumerate(block.parts):
            self._columns[part].append(at[number])
            self._most[part] += block.upper[0, number]
        if block.row_bound.size:
            there = block.entry_row[0] != NO_ROW
            columns = np.broadcast_to(at[..., None], there.shape)[there]
            rows = block.entry_row[0][there].astype(np.int64)
            entries = [(rows, columns, block.entry_value[0][there])]
            self._text.equations(block.row_bound, entries)


class NetworkAgent(_Trader):
    """The operator of the network: it knows its links, and nothing of who is connected.

    minimise    sum over links of tariff x flow
    subject to  injection at a node = inflow - outflow,   0 <= flow <= capacity
    """

    def __init__(self, network: Network, periods: int) -> None:
        text = ProgramText()
        links, nodes = len(network.links), len(network.nodes)
        most = np.repeat(network.capacities_wh[:, None] / WH_PER_KWH, periods, axis=1)
        tariff = np.repeat(network.tariffs_micro_per_kwh[:, None] / MICRO, periods, axis=1)
        flow = text.columns(tariff, np.zeros((links, periods)), most)
        anything = np.full((nodes, periods), np.inf)
        traded = text.columns(np.zeros((nodes, periods)), -anything, anything)
        rows = np.arange(nodes * periods).reshape(nodes, periods)
        text.equations(
            np.zeros(nodes * periods),
            [
                (rows[network.targets], flow, 1.0),
                (rows[network.sources], flow, -1.0),
                (rows, traded, -1.0),
            ],
        )
        super().__init__("the network", network.nodes, text.program(nodes * periods))
        self.size_kwh = None
        self._shape = (links, periods)

    @property
    def flows_kwh(self) -> Array:
        """Flows of the last answer, shape (links, periods)."""
        links, periods = self._shape
        if self._last is None:
            return np.zeros(self._shape)
        return self._last.values[: links * periods].reshape(self._shape)


def own_affairs(community: Community, peer: int) -> Community:
    """What a peer knows: itself, its supplier's tariffs, its node, the horizon and the fee."""
    own = community.peers[peer]
    return replace(
        community,
        name=own.name,
        network=replace(community.network, nodes=(own.node,), links=()),
        suppliers=tuple(each for each in community.suppliers if each.name == own.supplier),
        peers=(own,),
    )
