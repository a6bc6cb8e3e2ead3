"""`ClearingProof` by itself, run by py-evm without the detour over transactions.

It accepts what the kernel certifies and comes to the same positions and money; each of its errors
is provoked once; and on random sessions with ties every single change of a number gets the verdict
of `fairwatt.market.verify`. `EXAMPLES=20000 pytest tests/contracts/test_clearing_proof.py` tries so
many others per test.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ape
import numpy as np
import pytest
from eth.vm.message import Message
from eth_abi.abi import decode, encode
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sessions import CAP, FLOOR, SIGNATURE, START, proposals, session

from fairwatt import calldata, market
from fairwatt.chain import connect, project
from fairwatt.errors import FairwattError
from fairwatt.lanes import pack_energies
from fairwatt.market import Certificate, Clearing, Side
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.session import Proposal, propose

if TYPE_CHECKING:
    from collections.abc import Iterator

Verdict = tuple[object, ...]

LIMIT_WH = 2**31 - 1
_EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
some = settings(
    max_examples=_EXAMPLES or 150,
    derandomize=not _EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@dataclass(frozen=True)
class Sent:
    """What the harness takes: a session, and its proof in bytes."""

    proposal: Proposal
    cells: bytes
    details: bytes
    flows: bytes
    limit_wh: int = LIMIT_WH
    changed_records: bytes | None = None

    @classmethod
    def of(cls, proposal: Proposal) -> Sent:
        message = calldata.encode_clearing(proposal)
        return cls(proposal, message["cells"], message["details"], message["flows"])

    @cached_property
    def records(self) -> bytes:
        """Those of the harness, one for each order; every peer has one order."""
        if self.changed_records is not None:
            return self.changed_records
        held = calldata._held(self.proposal)
        return b"".join(
            record(self.proposal.nodes[signed.order.peer], signed, *held.get(at, ()))
            for at, signed in enumerate(self.proposal.orders)
        )

    def lane(self, node: int, word: int, period: int, value: int) -> Sent:
        """With another lowest price (word 0), width (1) or rank (2)."""
        blocks = len(self.cells) // 96 // len(self.network.nodes)
        at = ((node * blocks + period // 8) * 3 + word) * 32 + period % 8 * 4
        lane = (value & 0xFFFFFFFF).to_bytes(4, "big")
        return replace(self, cells=self.cells[:at] + lane + self.cells[at + 4 :])

    def flow(self, at: int, flow_wh: int) -> Sent:
        new = flow_wh.to_bytes(5, "big")
        return replace(self, flows=self.flows[: 5 * at] + new + self.flows[5 * at + 5 :])

    @property
    def network(self) -> market.Network:
        return self.proposal.session.versions[0].network


def record(node: int, signed: SignedOrder, *held: int) -> bytes:
    """An order as the harness takes it; the lanes hold prices."""
    first, blocks, words = signed.order.curve
    head = struct.pack(">HHHHB", node, first, blocks, len(words) // (64 * blocks), len(held))
    return head + words + struct.pack(f">{len(held)}H", *held)


@dataclass(frozen=True)
class Contract:
    """The harness: pure functions, so there is no state to set up."""

    vm: Any
    code: bytes

    @cached_property
    def errors(self) -> dict[bytes, Any]:
        found = project().ClearingProofHarness.contract_type.errors
        return {function_abi_to_4byte_selector(error.model_dump()): error for error in found}

    def call(self, name: str, *arguments: object) -> Verdict:
        """What a function returns, or reverts with."""
        method = project().ClearingProofHarness.contract_type.view_methods[name]
        selector = function_abi_to_4byte_selector(method.model_dump())
        data = selector + encode(_types(method.inputs), arguments)
        nobody = b"\0" * 20
        message = Message(10**9, nobody, nobody, 0, data, self.code)
        state = self.vm.state
        context = state.transaction_context_class(gas_price=0, origin=nobody)
        computation = state.computation_class.apply_message(state, message, context)
        output = bytes(computation.output)
        if not computation.is_error:
            return ("accepted", *decode(_types(method.outputs), output))
        error = self.errors.get(output[:4])
        if error is None:
            return ("panic", output)
        return (error.name, *decode(_types(error.inputs), output[4:]))

    def check(self, sent: Sent) -> Verdict:
        network = sent.network
        frame = (
            len(network.nodes),
            len(sent.proposal.clearings),
            network.price_floor_micro_per_kwh,
            network.price_cap_micro_per_kwh,
            sent.limit_wh,
            [tuple(link.values()) for link in sent.proposal.session.versions[0].links_message()],
            network.tails.tolist(),
        )
        orders = len(sent.proposal.orders)
        return self.call("check", frame, sent.cells, sent.details, sent.flows, sent.records, orders)


def _types(fields: Any) -> list[str]:
    return [str(field.canonical_type) for field in fields]


@pytest.fixture(scope="module")
def contract() -> Iterator[Contract]:
    with connect("ethereum:local:test"):
        harness = project().ClearingProofHarness.deploy(sender=ape.accounts.test_accounts[0])
        code = bytes(ape.networks.provider.get_code(harness.address))
        chain = ape.networks.provider.tester.backend.chain
        yield Contract(chain.get_vm(), code)


def one_order_each(proposal: Proposal) -> Proposal:
    """Without the second order of a peer, cleared anew: the harness takes one of each."""
    first = {}
    for signed in proposal.orders:
        first.setdefault(signed.order.peer, signed)
    return propose(proposal.session, first.values(), nodes=proposal.nodes)


# --------------------------------------------------------------------------- what is accepted


@some
@given(proposals(one_version=True))
def test_what_the_kernel_certifies__comes_to_the_same_positions_and_money(
    contract: Contract, drawn: Proposal
) -> None:
    proposal = one_order_each(drawn)
    verdict, *outcome = contract.check(Sent.of(proposal))
    assert verdict == "accepted"
    (hashes, payments, tariffs, rents) = outcome[0]
    silent = (0,) * len(proposal.clearings)
    for at, signed in enumerate(proposal.orders):
        peer = signed.order.peer
        position = pack_energies(proposal.positions_wh.get(peer, silent))
        assert hashes[at] == bytes(keccak(position))
        assert payments[at] == proposal.payments_nano[peer]
    money = list(map(market.payments, proposal.books, proposal.clearings))
    assert tariffs == sum(sum(each.tariffs_nano) for each in money)
    assert rents == sum(sum(each.rents_nano) for each in money)


# -------------------------------------------------------------------------- what Python says


def python_accepts(sent: Sent) -> bool:
    """Whether `verify` accepts every period, with the fills that follow from these numbers."""
    proposal, network = sent.proposal, sent.network
    nodes = len(network.nodes)
    words = np.frombuffer(sent.cells, ">u4").reshape(nodes, -1, 3, 8).transpose(2, 0, 1, 3)
    low, width, ranks = (words[at].reshape(nodes, -1).astype(np.int64) for at in range(3))
    low -= (low >> 31) << 32
    high = low + width
    cells = nodes * low.shape[1]
    tail, marginal = [0] * cells, [(0, 0, 0, 0)] * cells
    at = 0
    while at < len(sent.details):
        head, tail_here = struct.unpack_from(">Hq", sent.details, at)
        tail[head & 0x7FFF] = tail_here
        at += 10
        if head >> 15:
            marginal[head & 0x7FFF] = struct.unpack_from(">4Q", sent.details, at)
            at += 32
    flows = [int.from_bytes(sent.flows[i : i + 5], "big") for i in range(0, len(sent.flows), 5)]
    links = len(network.links)
    sharing = calldata._Marginal(sent.details)
    try:
        for period, book in enumerate(proposal.books):
            column = slice(None), period
            fills = [
                sharing.fill(
                    Step(period, line.side, line.price_micro_per_kwh, line.energy_wh),
                    network.node_index[line.node] * low.shape[1] + period,
                    int(low[network.node_index[line.node], period]),
                    int(high[network.node_index[line.node], period]),
                )
                for line in book.orders
            ]
            here = [node * low.shape[1] + period for node in range(nodes)]
            certificate = Certificate(
                low=low[column],
                high=high[column],
                low_rank=ranks[column] >> 16,
                high_rank=ranks[column] & 0xFFFF,
                tail=[tail[cell] for cell in here],
                ask_fill=[marginal[cell][0] for cell in here],
                ask_total=[marginal[cell][1] for cell in here],
                bid_fill=[marginal[cell][2] for cell in here],
                bid_total=[marginal[cell][3] for cell in here],
            )
            prices = (low[column] + high[column]) >> 1
            clearing = Clearing(fills, flows[period * links : (period + 1) * links], prices)
            market.verify(book, clearing, certificate)
    except (FairwattError, KeyError, OverflowError, ZeroDivisionError):
        return False  # fills cannot even be told
    return True


@st.composite
def one_change(draw: st.DrawFn) -> Sent:
    """A proof with one of its numbers changed, by a little or to an edge."""
    proposal = one_order_each(draw(proposals(one_version=True)))
    sent = Sent.of(proposal)
    nodes, periods = len(sent.network.nodes), len(proposal.clearings)
    small = st.integers(-3, 3)
    kind = draw(st.sampled_from(["low", "width", "shift", "rank", "detail", "flow"]))
    node, period = draw(st.integers(0, nodes - 1)), draw(st.integers(0, periods - 1))
    certificate = proposal.certificates[period]
    low, high = int(certificate.low[node]), int(certificate.high[node])
    prices = st.sampled_from([FLOOR, -20, 0, 10, 30, CAP, FLOOR - 1, CAP + 1, 2**31 - 1])
    other = draw(st.one_of(prices, st.builds(low.__add__, small)))
    if kind == "low":  # and the highest price goes along
        return sent.lane(node, 0, period, other)
    if kind == "width":
        return sent.lane(node, 1, period, max(0, other - low))
    if kind == "shift":  # the lowest alone
        return sent.lane(node, 0, period, other).lane(node, 1, period, max(0, high - other))
    if kind == "rank":
        return sent.lane(node, 2, period, draw(st.integers(0, 3)) << 16 | draw(st.integers(0, 3)))
    if kind == "flow":
        at = draw(st.integers(0, len(sent.flows) // 5 - 1))
        return sent.flow(at, draw(st.integers(0, 41)))
    if not sent.details:
        return sent
    starts = [0]
    while starts[-1] < len(sent.details):
        starts.append(starts[-1] + (42 if sent.details[starts[-1]] >> 7 else 10))
    at = draw(st.sampled_from(starts[:-1]))
    fields = [(at + 2, 8)]
    if sent.details[at] >> 7:
        fields += [(at + 10 + 8 * n, 8) for n in range(4)]
    place, size = draw(st.sampled_from(fields))
    old = int.from_bytes(sent.details[place : place + size], "big")
    new = (old + draw(st.sampled_from([-(2**41), -7, -1, 1, 7, 2**24, 2**41]))) % 2**64
    details = sent.details[:place] + new.to_bytes(8, "big") + sent.details[place + size :]
    return replace(sent, details=details)


@some
@given(one_change())
def test_every_single_change__gets_the_verdict_of_python(contract: Contract, sent: Sent) -> None:
    verdict = contract.check(sent)
    assert verdict[0] != "panic"
    # An order may be named as a support where a change left nothing to hold: the contract says so,
    # Python knows no such names.
    if verdict[0] != "NoSupport":
        assert (verdict[0] == "accepted") == python_accepts(sent), verdict


# ------------------------------------------------------------------------------ every error


def order(peer: int, *steps: Step) -> SignedOrder:
    return SignedOrder(Order(1, peer, START, steps), SIGNATURE)


def ask(price: int, energy: int, period: int = 0) -> Step:
    return Step(period, Side.ASK, price, energy)


def bid(price: int, energy: int, period: int = 0) -> Step:
    return Step(period, Side.BID, price, energy)


@pytest.fixture(scope="module")
def uncongested() -> Sent:
    """North is short of energy: it gets 30 Wh from the grid, 5 from the south, and wants 50.

    So north's price is its bid of 60, south's is the same and the grid's is 20 less.
    """
    orders = [order(1, ask(10, 30)), order(2, bid(60, 50)), order(3, ask(0, 5))]
    return Sent.of(propose(session(9), orders, nodes={1: 0, 2: 1, 3: 2}))


GRID, NORTH, SOUTH = range(3)


def test_accepted(contract: Contract, uncongested: Sent) -> None:
    assert contract.check(uncongested)[0] == "accepted"


def test_cells__of_another_size(contract: Contract, uncongested: Sent) -> None:
    shorter = replace(uncongested, cells=uncongested.cells[:-1])
    assert contract.check(shorter) == ("CellsMalformed", 3 * 2 * 96, 3 * 2 * 96 - 1)


def test_details__cut_off_unsorted_or_of_no_cell(contract: Contract, uncongested: Sent) -> None:
    details = uncongested.details
    assert len(details) > 42
    for length in (1, 9, len(details) - 1):
        verdict, at = contract.check(replace(uncongested, details=details[:length]))
        assert verdict == "DetailsMalformed"
        assert 0 <= at < length
    twice = replace(uncongested, details=details + details[:42])
    assert contract.check(twice) == ("DetailsMalformed", len(details))
    beyond = struct.pack(">Hq", 3 * 16, 1)
    assert contract.check(replace(uncongested, details=beyond)) == ("DetailsMalformed", 0)


def test_marginal__more_filled_than_there_is(contract: Contract, uncongested: Sent) -> None:
    details = struct.pack(">Hq4Q", NORTH * 16 | 1 << 15, 0, 0, 0, 51, 50)
    verdict = contract.check(replace(uncongested, details=details))
    assert verdict == ("MarginalFillTooLarge", NORTH, 0)


def test_prices__out_of_bounds(contract: Contract, uncongested: Sent) -> None:
    below = uncongested.lane(SOUTH, 0, 8, FLOOR - 1)
    assert contract.check(below) == ("PriceOutOfBounds", SOUTH, 8, FLOOR - 1, CAP - 1)
    above = uncongested.lane(SOUTH, 1, 8, CAP - FLOOR + 1)
    assert contract.check(above) == ("PriceOutOfBounds", SOUTH, 8, FLOOR, CAP + 1)


def test_prices__a_limit_between_them(contract: Contract, uncongested: Sent) -> None:
    wide = uncongested.lane(NORTH, 0, 0, 59).lane(NORTH, 1, 0, 2)
    assert contract.check(wide) == ("LimitBetweenPrices", NORTH, 0, 60)


def test_marginal__totals_that_are_not_true(contract: Contract, uncongested: Sent) -> None:
    start = _detail(uncongested, NORTH * 16)
    more = _put(uncongested, start + 10 + 8, 1)  # askTotal: an ask that is not there
    assert contract.check(more) == ("MarginalTotalMismatch", NORTH, 0, 0, 50)


def test_marginal__orders_that_are_not_declared(contract: Contract, uncongested: Sent) -> None:
    start = _detail(uncongested, NORTH * 16)
    none = replace(
        uncongested, details=uncongested.details[:start] + uncongested.details[start + 42 :]
    )
    assert contract.check(none) == ("MarginalTotalMismatch", NORTH, 0, 0, 0)


def test_flow__above_the_capacity(contract: Contract, uncongested: Sent) -> None:
    assert contract.check(uncongested.flow(0, 41)) == ("FlowAboveCapacity", 0, 0, 41, 40)


def test_flow__where_the_price_difference_is_less_than_the_tariff(
    contract: Contract, uncongested: Sent
) -> None:
    back = uncongested.flow(2, 1)  # north -> grid
    assert contract.check(back) == ("FlowNotImplied", 2, 0, 1)


def test_nodes__out_of_balance(contract: Contract, uncongested: Sent) -> None:
    assert contract.check(uncongested.flow(0, 29)) == ("NodeUnbalanced", GRID, 0, 1)


def test_flow__that_the_tails_do_not_choose(contract: Contract, uncongested: Sent) -> None:
    start = _detail(uncongested, GRID * 16)
    tail = int.from_bytes(uncongested.details[start + 2 : start + 10], "big")
    moved = _put(uncongested, start + 2, tail + 1)
    assert contract.check(moved) == ("FlowNotUnique", 0, 0, 30)


def test_fill__that_the_tails_do_not_choose(contract: Contract) -> None:
    """Of a bid something is left, so its tail is what a bid is worth, and nothing less."""
    alone = propose(session(1), [order(1, ask(10, 5)), order(2, bid(10, 8))], nodes={1: 1, 2: 1})
    sent = Sent.of(alone)
    assert contract.check(sent)[0] == "accepted"
    start = _detail(sent, NORTH * 8)
    tail = int.from_bytes(sent.details[start + 2 : start + 10], "big")
    assert contract.check(_put(sent, start + 2, tail - 1)) == ("FillNotUnique", NORTH, 0)


def test_prices__that_nothing_holds(contract: Contract, uncongested: Sent) -> None:
    """The grid's are held by the link to the north, which must come before it."""
    assert contract.check(uncongested.lane(GRID, 2, 0, 1)) == ("LowestNotProved", GRID, 0)
    assert contract.check(uncongested.lane(GRID, 2, 0, 1 << 16)) == ("HighestNotProved", GRID, 0)


def test_support__by_a_step_that_holds_nothing(contract: Contract, uncongested: Sent) -> None:
    """Marginal orders hold prices without being named, empty lanes hold none."""
    one, two, three = uncongested.proposal.orders
    for named, node in ((0, GRID), (1, GRID)):
        records = record(0, one, named) + record(1, two) + record(2, three)
        verdict = contract.check(replace(uncongested, changed_records=records))
        assert verdict == ("NoSupport", node, named)
    records = record(0, one) + record(1, two, 0) + record(2, three)
    verdict = contract.check(replace(uncongested, changed_records=records))
    assert verdict == ("NoSupport", NORTH, 0)


def test_order__for_a_period_that_is_not(contract: Contract, uncongested: Sent) -> None:
    for late in (order(1, ask(10, 30, 9)), order(1, ask(10, 30, 16))):
        records = record(0, late)
        one = replace(uncongested.proposal, orders=uncongested.proposal.orders[:1])
        sent = replace(uncongested, proposal=one, changed_records=records)
        assert contract.check(sent) == ("UnknownPeriod", 9)


def test_order__beyond_the_connection(contract: Contract, uncongested: Sent) -> None:
    assert contract.check(replace(uncongested, limit_wh=30))[0:1] == ("EnergyAboveConnection",)
    assert contract.check(replace(uncongested, limit_wh=29)) == ("EnergyAboveConnection", 0, 29)
    assert contract.check(replace(uncongested, limit_wh=35))[0] == "accepted"


# ------------------------------------------------------------------------------------- lanes


def halves(bits: int) -> st.SearchStrategy[list[int]]:
    edges = st.sampled_from([0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1])
    return st.lists(st.one_of(edges, st.integers(0, 2**bits - 1)), min_size=4, max_size=4)


def half(lanes: list[int]) -> int:
    return int.from_bytes(struct.pack(">4Q", *lanes), "big")


@some
@given(
    st.integers(0, 2**256 - 1),
    st.tuples(halves(32), halves(32), halves(32), halves(32)),
    st.tuples(halves(31), halves(62)),
)
def test_lanes__are_what_they_are_one_by_one(
    contract: Contract, word: int, lanes: tuple[list[int], ...], sums: tuple[list[int], ...]
) -> None:
    limits, steps, prices, others = lanes
    low = [min(pair) for pair in zip(prices, others, strict=True)]
    high = [max(pair) for pair in zip(prices, others, strict=True)]
    energies = [energy >> 1 for energy in sums[0]]
    factors = [limit >> 3 for limit in limits]  # prices less than 2^29 above the floor
    words = map(half, (limits, steps, low, high, energies, factors))
    assert contract.call("lanesAgree", word, *words) == ("accepted", True)


def _detail(sent: Sent, cell: int) -> int:
    at = 0
    while at < len(sent.details):
        head = int.from_bytes(sent.details[at : at + 2], "big")
        if head & 0x7FFF == cell:
            return at
        at += 42 if head >> 15 else 10
    raise AssertionError(f"cell {cell} has no detail")


def _put(sent: Sent, at: int, value: int) -> Sent:
    details = sent.details[:at] + value.to_bytes(8, "big") + sent.details[at + 8 :]
    return replace(sent, details=details)
