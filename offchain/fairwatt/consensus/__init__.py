"""The same optimum as `fairwatt.planner`, found by peers who keep their costs to themselves.

Every peer answers prices with what it would trade; the community manager moves the prices until
what is offered is what is wanted (exchange ADMM). `docs/distributed.md` says who learns what.
"""

from __future__ import annotations

from fairwatt.consensus._agents import Account, Agent, NetworkAgent, PeerAgent, Signal
from fairwatt.consensus._consensus import Consensus, agree
from fairwatt.consensus._manager import CommunityManager, Settings

__all__ = [
    "Account",
    "Agent",
    "CommunityManager",
    "Consensus",
    "NetworkAgent",
    "PeerAgent",
    "Settings",
    "Signal",
    "agree",
]
