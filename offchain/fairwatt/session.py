"""A session of a market: its terms, its times, and the networks in force for its periods.

Pure data, read from the chain or made up by a test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

if TYPE_CHECKING:
    from fairwatt.market import Network

__all__ = [
    "MOST_PERIODS",
    "MOST_PLACED_BLOCKS",
    "NOBODY",
    "MarketTerms",
    "NetworkVersion",
    "Session",
]


NOBODY: Final = "0x" + "0" * 40
"""The address that stands for no account."""
MOST_PERIODS: Final = 127
"""Most periods of a session: a clearing counts the prices that an order holds in 8 bits."""
MOST_PLACED_BLOCKS: Final = 4096
"""Most blocks of an order, in all its rows, whose lanes a clearing can name: they have 15 bits."""
_LINKS: Final = "(uint16,uint16,uint32,uint32,uint40)[]"


@dataclass(frozen=True, slots=True)
class MarketTerms:
    """The terms of a market, as `Market` in `MarketTypes.sol`; times in seconds.

    `manager` alone proposes clearings until its exclusive window is over.
    """

    network: int
    period_seconds: int
    periods_per_session: int
    max_placed_blocks: int
    first_session_start: int
    gate_lead_seconds: int
    clearing_window_seconds: int
    reading_window_seconds: int
    settlement_window_seconds: int
    exclusive_window_seconds: int = 0
    manager: str = NOBODY
    solver_fee_nano: int = 0

    def to_message(self) -> dict[str, Any]:
        """The `Market` struct of the order book."""
        return {
            "network": self.network,
            "periodSeconds": self.period_seconds,
            "periodsPerSession": self.periods_per_session,
            "maxPlacedBlocks": self.max_placed_blocks,
            "firstSessionStart": self.first_session_start,
            "gateLeadSeconds": self.gate_lead_seconds,
            "clearingWindowSeconds": self.clearing_window_seconds,
            "readingWindowSeconds": self.reading_window_seconds,
            "settlementWindowSeconds": self.settlement_window_seconds,
            "exclusiveWindowSeconds": self.exclusive_window_seconds,
            "manager": self.manager,
            "solverFeeNano": self.solver_fee_nano,
        }

    @property
    def session_seconds(self) -> int:
        """Length of a session."""
        return self.period_seconds * self.periods_per_session

    def session_at(self, time: int) -> int:
        """Start of the session in which `time` lies, or of the first one."""
        sessions = max(0, time - self.first_session_start) // self.session_seconds
        return self.first_session_start + sessions * self.session_seconds

    def next_open_session(self, time: int) -> int:
        """Start of the first session whose gate is still open at `time`."""
        start = self.session_at(time + self.gate_lead_seconds)
        return start if time < self.gate_closure(start) else start + self.session_seconds

    def gate_closure(self, session_start: int) -> int:
        """First second in which no order enters or leaves the book."""
        return session_start - self.gate_lead_seconds

    def exclusive_deadline(self, session_start: int) -> int:
        """Last second in which only the manager may propose a clearing."""
        return self.gate_closure(session_start) + self.exclusive_window_seconds

    def clearing_deadline(self, session_start: int) -> int:
        """Last second in which a clearing may be proposed."""
        return self.gate_closure(session_start) + self.clearing_window_seconds

    def session_end(self, session_start: int) -> int:
        """First second after the last period."""
        return session_start + self.session_seconds

    def reading_deadline(self, session_start: int) -> int:
        """Last second in which a missing reading is awaited and not estimated."""
        return self.session_end(session_start) + self.reading_window_seconds

    def settlement_deadline(self, session_start: int) -> int:
        """Last second in which a reading is settled."""
        return self.session_end(session_start) + self.settlement_window_seconds


@dataclass(frozen=True, slots=True)
class NetworkVersion:
    """A published version of a network.

    Link owners are account numbers written as text; None is the community fund. The seed of the
    network becomes the hash of its links, which the contract makes their tails of.
    """

    version: int
    effective_from: int
    network: Network

    def __post_init__(self) -> None:
        links = [tuple(link.values()) for link in self.links_message()]
        seed = bytes(keccak(encode([_LINKS], [links])))
        object.__setattr__(self, "network", replace(self.network, seed=seed))

    def links_message(self) -> list[dict[str, int]]:
        """The links as the contract takes them."""
        index = self.network.node_index
        return [
            {
                "source": index[link.source],
                "target": index[link.target],
                "owner": int(link.owner or 0),
                "tariffMicroPerKWh": link.tariff_micro_per_kwh,
                "capacityWh": link.capacity_wh,
            }
            for link in self.network.links
        ]


@dataclass(frozen=True, slots=True)
class Session:
    """What a clearing of one session depends on, besides the orders.

    Parameters
    ----------
    market
        Identifier of the market.
    start
        Start of its first period, UTC Unix seconds.
    versions
        The network version in force for each period.
    """

    market: int
    start: int
    terms: MarketTerms
    versions: tuple[NetworkVersion, ...]
