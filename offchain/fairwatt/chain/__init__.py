"""The chain: the only place that knows Ape and web3.

connect()      a network, by Ape's name for it
deploy()       the contracts, roles and markets of a settings file
copy_community()  what a newer deployment takes over from a running one
Chain          a deployment: read it at a block, send to it
Snapshot       everything read at one block
History        all that happened until then, and the calls behind it
"""

from __future__ import annotations

from fairwatt.chain._chain import Chain, Receipt, Signer, connect, secret_signer, test_signer
from fairwatt.chain._contracts import Contracts, project, structs
from fairwatt.chain._deploy import (
    Roles,
    Settings,
    deploy,
    describe,
    signer_for,
)
from fairwatt.chain._history import Event, History
from fairwatt.chain._snapshot import Account, Bond, Claim, Cleared, Peer, Role, Snapshot, Standing
from fairwatt.chain._succession import Succession, copy_community
from fairwatt.deployment import Deployment

__all__ = [
    "Account",
    "Bond",
    "Chain",
    "Claim",
    "Cleared",
    "Contracts",
    "Deployment",
    "Event",
    "History",
    "Peer",
    "Receipt",
    "Role",
    "Roles",
    "Settings",
    "Signer",
    "Snapshot",
    "Standing",
    "Succession",
    "connect",
    "copy_community",
    "deploy",
    "describe",
    "project",
    "secret_signer",
    "signer_for",
    "structs",
    "test_signer",
]
