"""Every balance again, from the history of the chain: what was paid in, cleared, metered, paid out.

audit()     recompute all accounts of a deployment and compare them with what its contracts keep
Accounts    the rules of the ledger, in Python
"""

from __future__ import annotations

from fairwatt.audit._accounts import Accounts
from fairwatt.audit._audit import Audit, Difference, SettledReading, audit

__all__ = ["Accounts", "Audit", "Difference", "SettledReading", "audit"]
