"""Fairwatt: an energy market for communities whose clearings are proved, not trusted.

From what knows nothing of the rest to what uses all of it:

    units, errors, extras, files, jsontext, tomltext, highs
                    what everything else stands on
    market          a book of limit orders on a network, its clearing, its proof
    community       peers, assets, suppliers, a horizon; `profiles` and `cases` read them from files
    planner         the day plan of a community, and orders made of it; `consensus` finds the same
                    by messages, `models` states it as the papers do, `forecast` says what to expect
    sharing, mechanisms, study
                    rules that share a gain, rival market designs, all of them side by side
    grid            a cleared day on a low-voltage grid

    eip712          typed data, signatures
    orders, continuous, receipts, moves, meter
                    what is signed: orders of an auction and of continuous trading, receipts,
                    moves of accounts, readings
    session         a session of a market: its terms, times and networks
    proposal        its orders cleared, with the proof; `expansion` makes one book of a session with
                    flexible orders
    imbalances      what its readings come to beside positions
    lanes, calldata, readings
                    words, clearings and readings as the contracts take them
    metering        meter data from files; `gateway` makes readings of them, `fleet` makes them up
    deployment      where the contracts are
    chain           the contracts: read at a block, sent to, deployed, succeeded

    oracle          the market day: receipts, clearings, trades, reconciliations
    settlement      runs of it after delivery
    audit           every balance again, from the history of the chain
    billing         bills, statements, tariffs
    founding, simulation
                    a community brought onto a local chain, and acting there
    demo, pilot     one market day told step by step; a case run day by day
    plot            pictures of all of it
    cli             the command line

Modules whose names begin with an underscore belong to their package alone.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
