"""Changed clearings of tiny markets, held against an oracle that tries everything.

An accepted clearing has to be the best one in every number: in the prices and flows that are
claimed, and in what the contract makes of them: positions, payments, tariffs and rents.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from eth_utils.crypto import keccak

from fairwatt import market
from fairwatt.market import Network, Side
from fairwatt.orders import Step as OrderStep
from tests.contracts.test_clearing_proof import MOST_CONNECTION_WH, Claim, Outcome, proposal_of
from tests.proofs.mutations import mutate
from tests.proofs.oracle import Oracle, TooLargeError, Units
from tests.proofs.packed import Frame, Link, Sent, Step, supports_offset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.proofs.oracle import Best
    from tests.proofs.revm import Harness, Verdict

PER_MARKET = 200
"""Changed clearings of one market."""


class ViolationError(AssertionError):
    """The contract accepted what is not the best clearing, or refused the best one."""


class HonestError(ViolationError):
    """It refused the best clearing, or took it for something else."""


@dataclass
class Count:
    """What was tried and what became of it."""

    markets: int = 0
    changed: int = 0
    accepted: int = 0
    accepted_of_another_market: int = 0
    """Of these the ones where a change was made to the market, so that a clearing fits another."""
    beyond: int = 0
    """Accepted of markets that are too large for the oracle; they are not counted as changed."""
    tied: int = 0
    """Accepted where link tails leave several best clearings."""
    errors: Counter[str] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)


# ------------------------------------------------------------------------------------ tiny markets

_Steps = dict[int, tuple[int, list[OrderStep]]]


@dataclass(frozen=True)
class Tiny:
    """A market of few numbers, in units."""

    units: Units
    on: Network
    periods: int
    steps: _Steps
    limit_wh: int

    def sent(self) -> Sent:
        """Its honest clearing."""
        claim = Claim.of(proposal_of(self.on, self.periods, self.steps))
        frame, cells, details, flows, *_ = replace(claim, limit_wh=self.limit_wh).arguments
        nodes, periods, floor, cap, limit, links, tails, *_ = frame
        return Sent(
            Frame(
                nodes,
                periods,
                floor,
                cap,
                limit,
                tuple(Link(*link) for link in links),
                tuple(tails),
            ),
            cells,
            details,
            flows,
            claim.records,
        )


def tiny_market(chance: random.Random) -> Tiny:
    """A random market of which everything can be tried."""
    count = chance.choice((1, 1, 2, 2, 2, 3, 3, 4))
    levels = {1: 9, 2: 9, 3: 8, 4: 6}[count]  # prices of a node
    scale = chance.choice((1, 1, 1, 1000, 2**28))
    base = chance.choice((-3, -3, 0, 1)) * scale
    if scale == 2**28:
        base = chance.choice((-(2**31), 2**31 - 1 - (levels - 1) * scale))
    units = Units(base, scale, chance.choice((1, 1, 1, 7, 2**20)))
    cap = base + (levels - 1) * scale
    nodes = tuple(f"n{at}" for at in range(count))
    pairs = [(one, other) for one in nodes for other in nodes if one != other]
    links = tuple(
        market.Link(
            *chance.choice(pairs),
            chance.choice((0, 0, 1, 1, 2, 3)) * scale,
            chance.choice((0, 1, 2, 3)) * units.energy,
            None,
        )
        for _ in range(chance.randint(0, 4) if pairs else 0)
    )
    periods = chance.choice((1, 1, 1, 1, 2, 2, 9))
    busy = range(periods) if periods < 3 else chance.sample(range(periods), 2)
    steps: _Steps = {
        peer: (
            chance.randrange(count),
            [
                OrderStep(
                    chance.choice(busy),
                    chance.choice((Side.ASK, Side.BID)),
                    base + chance.randrange(levels) * scale,
                    chance.choice((1, 1, 2, 3)) * units.energy,
                )
                for _ in range(chance.choice((1, 1, 2, 3)))
            ],
        )
        for peer in range(1, chance.randint(1, 6) + 1)
    }
    most = chance.choice((MOST_CONNECTION_WH, 9 * units.energy))
    return Tiny(units, Network(nodes, links, base, cap), periods, steps, most)


def neighbour(tiny: Tiny, chance: random.Random) -> Tiny:
    """The market with one number changed."""
    units = tiny.units
    if tiny.on.links and chance.random() < 0.6:
        links = list(tiny.on.links)
        at = chance.randrange(len(links))
        if chance.random() < 0.5:
            capacity = chance.choice((0, 1, 2, 3)) * units.energy
            links[at] = replace(links[at], capacity_wh=capacity)
        else:
            tariff = chance.choice((0, 1, 2, 3)) * units.price
            links[at] = replace(links[at], tariff_micro_per_kwh=tariff)
        return replace(tiny, on=replace(tiny.on, links=tuple(links)))
    steps = {peer: (node, list(own)) for peer, (node, own) in tiny.steps.items()}
    _, own = steps[chance.choice(list(steps))]
    at = chance.randrange(len(own))
    bounds = tiny.on.price_floor_micro_per_kwh, tiny.on.price_cap_micro_per_kwh
    moved = own[at].price_micro_per_kwh + chance.choice((-1, 0, 1)) * units.price
    own[at] = replace(
        own[at],
        price_micro_per_kwh=min(max(moved, bounds[0]), bounds[1]),
        energy_wh=chance.choice((1, 2, 3)) * units.energy,
    )
    return replace(tiny, steps=steps)


def grafted(sent: Sent, donor: Sent) -> Sent:
    """The market of the one with the clearing of the other."""
    records = []
    for own, other in zip(sent.records, donor.records, strict=True):
        at, there = supports_offset(own), supports_offset(other)
        records.append(own[:8] + other[8:9] + own[9:at] + other[there:])
    return Sent(sent.frame, donor.cells, donor.details, donor.flows, tuple(records))


# -------------------------------------------------------------------------------------------- judge


def reason_against(  # noqa: C901 - claim by claim
    sent: Sent, outcome: Outcome, best_of: Callable[[Frame, list[Step]], Best]
) -> tuple[str, bool]:
    """Why an accepted clearing is not the best one, or nothing; and whether there are several.

    Raises
    ------
    TooLargeError
        If the oracle cannot say.
    """
    if wrong := sent.malformed():
        return wrong, False
    frame, steps = sent.frame, sent.steps()
    if any(step.period >= frame.periods for step in steps):
        return "energy outside of the session", False
    sold = [[0] * frame.width for _ in sent.records]
    bought = [[0] * frame.width for _ in sent.records]
    payments = [0] * len(sent.records)
    tariffs = rents = 0
    tied = False
    for period in range(frame.periods):
        own = [step for step in steps if step.period == period]
        best = best_of(frame, own)
        claimed = [sent.low_high(node, period) for node in range(frame.nodes)]
        if claimed != list(zip(best.low, best.high, strict=True)):
            return f"period {period}: prices {claimed} are not {best.low} to {best.high}", False
        flows = tuple(sent.flow(at, period) for at in range(len(frame.links)))
        if flows not in best.flows:
            return f"period {period}: flows {flows} are not among {best.flows}", False
        fills = best.fills[best.flows.index(flows)]
        tied |= len(best.flows) > 1
        price = [(low + high) // 2 for low, high in claimed]
        for step, fill in zip(own, fills, strict=True):
            (sold if step.is_ask else bought)[step.peer][period] += fill
            payments[step.peer] += (fill if step.is_ask else -fill) * price[step.node]
        for flow, link in zip(flows, frame.links, strict=True):
            tariffs += link.tariff * flow
            rents += (price[link.target] - price[link.source] - link.tariff) * flow
        welfare = sum(
            (-fill if step.is_ask else fill) * step.price
            for step, fill in zip(own, fills, strict=True)
        ) - sum(link.tariff * flow for flow, link in zip(flows, frame.links, strict=True))
        if welfare != best.welfare:
            return f"period {period}: welfare {welfare} is not {best.welfare}", False
    if any(max(each) > frame.limit for each in (*sold, *bought)):
        return "energy above the connection", False
    hashes = tuple(
        _hash([s - b for s, b in zip(ours, theirs, strict=True)])
        for ours, theirs in zip(sold, bought, strict=True)
    )
    right = Outcome(hashes, tuple(payments), tariffs, rents)
    if outcome != right:
        return f"it comes to {outcome}, which should be {right}", False
    return "", tied


def _hash(energies: list[int]) -> bytes:
    lanes = (abs(energy) << 1 | (energy < 0) for energy in energies)
    return bytes(keccak(b"".join(lane.to_bytes(4, "big") for lane in lanes)))


@dataclass
class Judge:
    """Asks the contract, and the oracle where it accepts."""

    harness: Harness
    units: Units
    _frames: dict[Frame, bytes] = field(default_factory=dict)
    _oracles: dict[Frame, Oracle] = field(default_factory=dict)

    def ask(self, sent: Sent) -> Verdict:
        if sent.frame not in self._frames:
            frame = [*sent.frame]
            frame[5], frame[6] = [tuple(link) for link in sent.frame.links], [*sent.frame.tails]
            self._frames[sent.frame] = self.harness.encode_frame(tuple(frame))
        orders = b"".join(sent.records)
        return self.harness.check_packed(
            self._frames[sent.frame],
            sent.cells,
            sent.details,
            sent.flows,
            orders,
            len(sent.records),
        )

    def reason_against(self, sent: Sent, verdict: Verdict) -> tuple[str, bool]:
        return reason_against(sent, self.harness.outcome(verdict), self._best)

    def _best(self, frame: Frame, steps: list[Step]) -> Best:
        if frame not in self._oracles:
            self._oracles[frame] = Oracle(frame, self.units)
        return self._oracles[frame].best(steps)


# --------------------------------------------------------------------------------------------- runs


def changed_clearings(
    tiny: Tiny, honest: Sent, chance: random.Random, count: int
) -> Iterator[tuple[Sent, list[str]]]:
    """Changed clearings of a market, and how they were changed."""
    donors = [grafted(honest, neighbour(tiny, chance).sent()) for _ in range(2)]
    while count:
        graft = chance.random() < 0.25
        moves = chance.choice((0, 1, 1, 2) if graft else (1, 1, 1, 2, 2, 3, 4))
        sent, names = mutate(chance.choice(donors) if graft else honest, tiny.units, chance, moves)
        if sent != honest:
            count -= 1
            yield sent, ["neighbour", *names] if graft else names


def fuzz_market(
    harness: Harness, seed: int, number: int, total: Count, per_market: int = PER_MARKET
) -> None:
    """Try the honest clearing of the market of this number, and changes of it.

    Raises
    ------
    ViolationError
        If the contract accepts what the oracle does not.
    HonestError
        If it is the honest clearing that it does not accept.
    """
    chance = random.Random(f"fuzz {seed} {number}")
    tiny = tiny_market(chance)
    honest = tiny.sent()
    judge = Judge(harness, tiny.units)
    verdict = judge.ask(honest)
    where = f"market {number} of seed {seed}"
    if not verdict.accepted:
        raise HonestError(f"{where}: its honest clearing is refused with {verdict.error}")
    why, _ = judge.reason_against(honest, verdict)
    if why:
        raise HonestError(f"{where}: its honest clearing is not the best: {why}")
    total.markets += 1
    for sent, moves in changed_clearings(tiny, honest, chance, per_market):
        verdict = judge.ask(sent)
        if verdict.accepted:
            try:
                why, tied = judge.reason_against(sent, verdict)
            except TooLargeError:
                total.beyond += 1
                continue
            if why:
                raise ViolationError(f"{where}, {' + '.join(moves)}: {why}\n{as_json(sent)}")
            total.accepted += 1
            total.tied += tied
            total.accepted_of_another_market += _market(sent) != _market(honest)
        else:
            total.errors[verdict.error] += 1
        total.changed += 1
        total.moves.update(set(moves))


def _market(sent: Sent) -> Any:
    return sent.frame, [record[:8] + record[9 : supports_offset(record)] for record in sent.records]


def as_json(sent: Sent) -> str:
    """All arguments, to try it again."""
    return json.dumps(
        {
            "frame": sent.frame,
            "cells": sent.cells.hex(),
            "details": sent.details.hex(),
            "flows": sent.flows.hex(),
            "records": [record.hex() for record in sent.records],
        }
    )
