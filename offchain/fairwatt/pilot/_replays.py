"""Readings that are replayed: brought to the contract by their owners, past the settlement runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fairwatt.errors import ContractError, PilotError
from fairwatt.readings import bring

if TYPE_CHECKING:
    from fairwatt.chain import Chain, Signer
    from fairwatt.meter import SignedReading

__all__ = ["replay"]

_SETTLED: Final = "ReadingSettled"


def replay(chain: Chain, market: int, start: int, signed: SignedReading, sender: Signer) -> str:
    """Bring a reading that must not count to the session at `start`.

    Returns
    -------
    str
        What the contract did with it, in words.

    Raises
    ------
    PilotError
        If the contract settled it.
    """
    snapshot, peer = chain.snapshot(), signed.reading.peer
    supplier = snapshot.peer(peer, start).supplier
    tariff, _ = snapshot.tariffs_of_session(market, start, supplier)
    brought = bring(snapshot.positions_wh(market, start), [signed], tariffs={peer: tariff})
    reconcile = chain.contracts.settlement.reconcile
    arguments = (market, start, list(brought.leaves), brought.readings)
    try:
        receipt = chain.send(reconcile, *arguments, sender=sender)
    except ContractError as error:
        return f"refused by the contract ({error.name})"
    if any(log.event_name == _SETTLED for log in receipt.events):
        raise PilotError(f"session {start}: a replayed reading of peer {peer} was settled")
    return "passed over by the contract"
