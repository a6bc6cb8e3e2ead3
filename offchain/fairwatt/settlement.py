"""Settlement runs of a session: the initial one after delivery, the final one before its deadline.

Both settle signed readings against positions, and estimate what is missing once the reading window
is over. They differ in what they do with a reading that can hardly be true. The initial run holds
it back, so that there is time to look and to sign a corrected one: a reading is settled once. The
final run settles it, as nobody but the meter says what the meter counted. A reading that comes
after an estimate replaces it, and the difference is settled, in either run.

A run can be repeated: what is settled stays settled, and what a run would do follows from the
chain and the readings alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fairwatt.errors import OracleError
from fairwatt.oracle import Refusal
from fairwatt.units import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fairwatt.audit import Audit
    from fairwatt.meter import SignedReading
    from fairwatt.oracle import Imbalance, Oracle, ReconciliationRun

__all__ = ["SettlementReport", "doubt", "settle", "unlike_files"]

_MOST_TIMES: Final = 5
_LEAST_SHARE: Final = 100
_LEAST_WH: Final = 1000
_ARREARS: Final = "ArrearsIncurred"


@dataclass(frozen=True, slots=True)
class SettlementReport:
    """What a run did, or would do if it were sent.

    Attributes
    ----------
    block, time
        What it was reckoned from.
    replaced
        Peers whose estimate was replaced by their reading.
    before
        Peers whose readings were settled before the run; they are passed over.
    held
        Readings that can hardly be true; the initial run held them back.
    missing
        Metered peers with a position and no settled reading, when the run began.
    moved_nano
        Per account, peers and suppliers: received positive, paid or owed negative.
    arrears_nano
        (debtor, creditor): what could not be paid in this run; known once it is sent.
    """

    market: int
    session_start: int
    final: bool
    block: int
    time: int
    run: ReconciliationRun
    replaced: tuple[int, ...]
    before: tuple[int, ...]
    held: tuple[Refusal, ...]
    moved_nano: Mapping[int, int]
    arrears_nano: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        receipt = self.run.receipt
        return {
            "market": self.market,
            "session": self.session_start,
            "run": "final" if self.final else "initial",
            "block": self.block,
            "time": self.time,
            "sent": receipt is not None,
            "transaction": receipt.transaction if receipt else None,
            "gasUsed": receipt.gas_used if receipt else None,
            "settled": [
                _line(row) | {"replacesEstimate": row.peer in self.replaced}
                for row in self.run.settled
                if not row.estimated
            ],
            "estimated": [_line(row) for row in self.run.settled if row.estimated],
            "settledBefore": list(self.before),
            "held": _reasons(self.held),
            "missing": list(self.run.missing),
            "refused": _reasons(self.run.refused),
            "movedNano": {str(account): nano for account, nano in self.moved_nano.items()},
            "arrears": [
                {"debtor": debtor, "creditor": creditor, "amountNano": nano}
                for (debtor, creditor), nano in self.arrears_nano.items()
            ],
        }


def settle(
    oracle: Oracle, start: int, readings: Iterable[SignedReading], *, final: bool = False
) -> SettlementReport:
    """Run the settlement of a session; it is sent if the oracle sends.

    Parameters
    ----------
    readings
        All that have come, also those of earlier runs; of several of a peer the first that can be
        true is taken.

    Raises
    ------
    OracleError
        If the session is not over, or its settlement deadline has passed; if the final run is asked
        for while readings are still awaited.
    ContractError
        If the contract would refuse; nothing is sent then.
    """
    snapshot = oracle.chain.snapshot()
    terms = snapshot.session(oracle.market, start).terms
    now, deadline = oracle.chain.now(), terms.reading_deadline(start)
    if final and now <= deadline:
        raise OracleError(
            f"readings of session {start} are awaited until {moment(deadline)}, it is "
            f"{moment(now)}; the final run comes after that"
        )
    positions = snapshot.total_positions_wh(oracle.market, start)
    sound, doubtful, known, before = [], [], set[int](), set[int]()
    for signed in readings:
        peer = signed.reading.peer
        if signed.reading.session_start == start and snapshot.is_reading_settled(
            oracle.market, start, peer
        ):
            before.add(peer)
            continue
        reason = doubt(signed.reading.energy_wh, positions.get(peer, ()))
        refused = oracle.objection(start, signed, snapshot) is not None
        if reason is None or refused:
            sound.append(signed)  # what is refused is refused by the oracle, with its reason
        else:
            doubtful.append((signed, Refusal(peer, reason)))
        if reason is None and not refused:
            known.add(peer)
    doubtful = [(signed, why) for signed, why in doubtful if why.peer not in known]
    if final:
        sound += [signed for signed, _ in doubtful]
    run = oracle.reconcile(start, sound)
    suppliers = {row.peer: snapshot.peer(row.peer, start).supplier for row in run.settled}
    return SettlementReport(
        market=oracle.market,
        session_start=start,
        final=final,
        block=snapshot.block,
        time=now,
        run=run,
        replaced=tuple(
            row.peer
            for row in run.settled
            if not row.estimated and snapshot.is_reading_estimated(oracle.market, start, row.peer)
        ),
        before=tuple(sorted(before)),
        held=() if final else tuple(why for _, why in doubtful),
        moved_nano=_moved(run.settled, suppliers),
        arrears_nano=_arrears(run),
    )


def doubt(metered_wh: Sequence[int], position_wh: Sequence[int]) -> str | None:
    """Why a reading can hardly be true beside what its peer traded; None if it may be.

    It is looked at as a whole: five times as much energy as was traded, or less than a hundredth
    of it, and a difference of at least 1 kWh. Who trades little is not doubted, nor is who
    reports only somewhat less than it took: that only another meter can tell.
    """
    metered, traded = sum(map(abs, metered_wh)), sum(map(abs, position_wh))
    if not traded or abs(metered - traded) < _LEAST_WH:
        return None
    if metered >= _MOST_TIMES * traded:
        return (
            f"it counts {metered / 1000:,.3f} kWh, {metered / traded:.1f} times the "
            f"{traded / 1000:,.3f} kWh that the peer traded; is the meter's ratio or unit wrong?"
        )
    if metered * _LEAST_SHARE < traded:
        return (
            f"it counts {metered / 1000:,.3f} kWh, next to nothing of the {traded / 1000:,.3f} kWh "
            "that the peer traded; is the meter off, or its unit wrong?"
        )
    return None


def unlike_files(
    audit: Audit, market: int, start: int, readings: Iterable[SignedReading]
) -> list[str]:
    """Where what was settled for a session is not what its readings say.

    Parameters
    ----------
    readings
        All that the meters signed for it.
    """
    signed = list(readings)
    ours = {(each.reading.peer, each.reading.energy_wh) for each in signed}
    peers = {each.reading.peer for each in signed if each.reading.session_start == start}
    last = {
        entry.peer: entry.signed
        for entry in audit.settled
        if (entry.market, entry.session_start) == (market, start)
    }
    found = []
    for peer in sorted(peers | last.keys()):
        if peer not in last:
            found.append(f"peer {peer}: its reading is not settled")
        elif (settled := last[peer]) is None:
            if peer in peers:
                found.append(f"peer {peer}: it is estimated although its reading is here")
        elif (peer, settled.reading.energy_wh) not in ours:
            found.append(f"peer {peer}: the reading that was settled is not among these")
    return found


def _moved(settled: Iterable[Imbalance], suppliers: Mapping[int, int]) -> dict[int, int]:
    moved: dict[int, int] = {}
    for row in settled:
        for account, nano in (
            (row.peer, row.payment_nano),
            (suppliers[row.peer], -row.payment_nano),
        ):
            moved[account] = moved.get(account, 0) + nano
    return dict(sorted(moved.items()))


def _arrears(run: ReconciliationRun) -> dict[tuple[int, int], int]:
    events = run.receipt.events if run.receipt else ()
    return {
        (int(log.debtor), int(log.creditor)): int(log.amountNano)
        for log in events
        if log.event_name == _ARREARS
    }


def _line(row: Imbalance) -> dict[str, Any]:
    return {
        "peer": row.peer,
        "imbalanceWh": list(row.energy_wh),
        "paymentNano": row.payment_nano,
    }


def _reasons(refused: Iterable[Refusal]) -> list[dict[str, Any]]:
    return [{"peer": entry.peer, "reason": entry.reason} for entry in refused]
