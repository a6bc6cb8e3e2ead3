"""`ClearingProof` by itself: it accepts what the kernel makes, comes to the same energy and money,
and refuses what `fairwatt.market.verify` refuses.

The contract is told prices, ranks, tails, flows and what marginal orders trade together, and fills
every order by itself. So Python gets the fills that follow from those numbers, by `implied_fills`.

Random cases are the same in every run; `EXAMPLES=20000 pytest tests/contracts/test_clearing_proof.py`
tries so many others per test.
"""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth.vm.message import Message
from eth_abi.abi import decode, encode
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.market.shorthand import network
from tests.named_books import NAMED_BOOKS
from tests.strategies import INT32_MAX, INT32_MIN, UINT32_MAX, UINT40_MAX, networks

from fairwatt import calldata, errors, market
from fairwatt.chain import connect, project
from fairwatt.lanes import MAX_ENERGY_WH, pack_energies, words_of
from fairwatt.market import Book, Certificate, Clearing, Link, Network, Side
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.session import MarketTerms, NetworkVersion, Proposal, Session, propose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

START = 1_704_067_200
BID_TAIL = 2**41
MOST_RANK = 2**16 - 1
_HALF = 2**64  # of a lane of a half
_SENT = struct.Struct(">BIIHHHB")  # kind, peer, nonce, first block, blocks, rows, supports
_TRIED = struct.Struct(">HHHHB")  # node, first block, blocks, rows, supports

_EXAMPLES = int(os.environ.get("EXAMPLES", "0"))


def some(examples: int) -> settings:
    return settings(
        max_examples=_EXAMPLES or examples,
        derandomize=not _EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


# ------------------------------------------------------------------------------------- the contract


@dataclass(frozen=True)
class Refused(Exception):
    """The error that the proof was refused with."""

    name: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What the harness returns."""

    position_hashes: tuple[bytes, ...]
    payments_nano: tuple[int, ...]
    tariffs_nano: int
    rents_nano: int


@dataclass(frozen=True)
class Contract:
    """The harness, run by py-evm without the detour over transactions: its functions are pure."""

    vm: Any
    code: bytes

    @cached_property
    def methods(self) -> Any:
        return project().ClearingProofHarness.contract_type.view_methods

    @cached_property
    def errors(self) -> dict[bytes, Any]:
        found = project().ClearingProofHarness.contract_type.errors
        return {function_abi_to_4byte_selector(error.model_dump()): error for error in found}

    def check(self, claim: Claim) -> Outcome:
        """Raises `Refused` as the contract reverts."""
        return Outcome(*self._call("check", *claim.arguments)[0])

    def accepts(self, claim: Claim) -> bool:
        try:
            self.check(claim)
        except Refused:
            return False
        return True

    def refuses(self, claim: Claim, name: str, **values: Any) -> None:
        """Require exactly this error with all its values."""
        with pytest.raises(Refused) as refusal:
            self.check(claim)
        assert (refusal.value.name, refusal.value.values) == (name, values)

    def lanes_agree(self, *words: int) -> bool:
        return bool(self._call("lanesAgree", *words)[0])

    def _call(self, name: str, *arguments: object) -> tuple[Any, ...]:
        method = self.methods[name]
        selector = function_abi_to_4byte_selector(method.model_dump())
        data = selector + encode(_types(method.inputs), arguments)
        nobody = b"\0" * 20
        message = Message(10**9, nobody, nobody, 0, data, self.code)
        state = self.vm.state
        context = state.transaction_context_class(gas_price=0, origin=nobody)
        computation = state.computation_class.apply_message(state, message, context)
        output = bytes(computation.output)
        if not computation.is_error:
            return tuple(decode(_types(method.outputs), output))
        error = self.errors[output[:4]]
        values = decode(_types(error.inputs), output[4:])
        names = [field.name for field in error.inputs]
        raise Refused(error.name, dict(zip(names, values, strict=True)))


def _types(fields: Any) -> list[str]:
    return [str(field.canonical_type) for field in fields]


@pytest.fixture(scope="module")
def contract() -> Iterator[Contract]:
    with connect("ethereum:local:test"):
        chain = ape.networks.provider.tester.ethereum_tester.backend.chain
        code = project().ClearingProofHarness.contract_type.runtime_bytecode.bytecode
        yield Contract(chain.get_vm(), bytes.fromhex(str(code).removeprefix("0x")))


# ----------------------------------------------------------------------------------------- sessions


@dataclass(frozen=True)
class Claim:
    """A proposal as the harness takes it; any part may be changed by itself."""

    network: Network
    periods: int
    cells: bytes
    details: bytes
    flows: bytes
    records: tuple[bytes, ...]
    limit_wh: int = MAX_ENERGY_WH

    @classmethod
    def of(cls, proposal: Proposal) -> Claim:
        message = calldata.encode_clearing(proposal)
        return cls(
            proposal.session.versions[0].network,
            len(proposal.clearings),
            message["cells"],
            message["details"],
            message["flows"],
            tuple(records(proposal)),
        )

    @property
    def arguments(self) -> tuple[Any, ...]:
        on = self.network
        links = zip(
            on.sources.tolist(),
            on.targets.tolist(),
            [0] * len(on.links),
            on.tariffs_micro_per_kwh.tolist(),
            on.capacities_wh.tolist(),
            strict=True,
        )
        frame = (
            len(on.nodes),
            self.periods,
            on.price_floor_micro_per_kwh,
            on.price_cap_micro_per_kwh,
            self.limit_wh,
            list(links),
            on.tails.tolist(),
        )
        orders = b"".join(self.records)
        return frame, self.cells, self.details, self.flows, orders, len(self.records)


def records(proposal: Proposal) -> Iterator[bytes]:
    """The records of the clearing contract, one order per peer, as the harness takes them."""
    sent = calldata.encode_orders(proposal)
    at = 0
    while at < len(sent):
        _, peer, _, first, blocks, rows, supports = _SENT.unpack_from(sent, at)
        at += _SENT.size
        size = rows * blocks * 64 + 2 * supports
        head = _TRIED.pack(proposal.nodes[peer], first, blocks, rows, supports)
        yield head + sent[at : at + size]
        at += size


def session(on: Network, periods: int) -> Session:
    on = replace(on, links=tuple(replace(link, owner=None) for link in on.links))
    terms = MarketTerms(
        network=1,
        period_seconds=900,
        periods_per_session=periods,
        max_placed_blocks=4,
        first_session_start=START,
        gate_lead_seconds=900,
        clearing_window_seconds=900,
        reading_window_seconds=900,
        settlement_window_seconds=1800,
    )
    return Session(1, START, terms, (NetworkVersion(0, 0, on),) * periods)


def proposal_of(
    on: Network, periods: int, steps: Mapping[int, tuple[int, Iterable[Step]]]
) -> Proposal:
    """Clear a session; `steps` gives node and steps of each peer. Its orders are placed ones."""
    orders = [
        SignedOrder(Order(1, peer, START, tuple(own)), b"") for peer, (_, own) in steps.items()
    ]
    nodes = {peer: node for peer, (node, _) in steps.items()}
    return propose(session(on, periods), orders, nodes=nodes)


def named_proposal(book: Book, periods: int) -> Proposal:
    """A session of a named book, each of its orders a peer; later periods leave out some peers."""
    steps = {}
    for peer, order in enumerate(book.orders, 1):
        own = [
            Step(period, order.side, order.price_micro_per_kwh, order.energy_wh)
            for period in range(periods)
            if order.energy_wh and (period == 0 or (peer + period) % 4)
        ]
        if own:
            steps[peer] = (book.network.node_index[order.node], own)
    return proposal_of(book.network, periods, steps)


FITTING = {
    name: book
    for name, book in NAMED_BOOKS.items()
    if max(book.energy_wh.tolist(), default=0) <= MAX_ENERGY_WH
}


@st.composite
def proposals(draw: st.DrawFn, periods: st.SearchStrategy[int]) -> Proposal:
    """Half of them with few prices and energies, so full of ties, half with extreme ones."""
    count, wide = draw(periods), draw(st.booleans())
    on = draw(networks(wide=wide))
    floor, cap = on.price_floor_micro_per_kwh, on.price_cap_micro_per_kwh
    some_prices = st.sampled_from(sorted({floor, cap, (floor + cap) // 2}))
    energy = st.integers(1, 5)
    if wide:  # a peer's energies at the widest spread of prices are to stay below 2^62
        energy = st.one_of(st.sampled_from([1, 2, 2**26 - 1]), st.integers(1, 2**26 - 1))
    step = st.builds(
        Step,
        st.integers(0, count - 1),
        st.sampled_from(Side),
        st.one_of(some_prices, st.integers(floor, cap)),
        energy,
    )
    peers = draw(st.integers(0, 6))
    steps = {
        peer: (
            draw(st.integers(0, len(on.nodes) - 1)),
            draw(st.lists(step, min_size=1, max_size=12 if count > 1 else 4)),
        )
        for peer in range(1, peers + 1)
    }
    return proposal_of(on, count, steps)


def require_same(outcome: Outcome, proposal: Proposal) -> None:
    """The same positions, payments, tariffs and rents in Python."""
    peers = [signed.order.peer for signed in proposal.orders]
    nothing = (0,) * len(proposal.clearings)
    positions = [proposal.positions_wh.get(peer, nothing) for peer in peers]
    money = [
        market.payments(book, clearing)
        for book, clearing in zip(proposal.books, proposal.clearings, strict=True)
    ]
    assert outcome == Outcome(
        tuple(bytes(keccak(pack_energies(position))) for position in positions),
        tuple(proposal.payments_nano.get(peer, 0) for peer in peers),
        sum(sum(each.tariffs_nano) for each in money),
        sum(sum(each.rents_nano) for each in money),
    )


# ------------------------------------------------------------------------------------------ changes


def implied_fills(book: Book, certificate: Certificate) -> list[int]:
    """What the rules F3 and F4 give every order, whether the totals are true or not."""
    low, high = certificate.low.tolist(), certificate.high.tolist()
    stated = {
        Side.ASK: (certificate.ask_fill.tolist(), certificate.ask_total.tolist()),
        Side.BID: (certificate.bid_fill.tolist(), certificate.bid_total.tolist()),
    }
    running: dict[tuple[int, Side], int] = defaultdict(int)
    fills = dict.fromkeys(book.ids, 0)
    for order in sorted(book.orders, key=lambda order: order.id):
        node, limit = book.network.node_index[order.node], order.price_micro_per_kwh
        if low[node] == limit == high[node]:
            fill, total = (column[node] for column in stated[order.side])
            before = running[node, order.side]
            running[node, order.side] += order.energy_wh
            if fill <= total and total:
                fills[order.id] = (before + order.energy_wh) * fill // total
                fills[order.id] -= before * fill // total
        elif limit < high[node] if order.side is Side.ASK else limit > low[node]:
            fills[order.id] = order.energy_wh
    return [fills[id_] for id_ in book.ids]


def changed(
    proposal: Proposal, period: int, *, flows: list[int] | None = None, **columns: list[int]
) -> Proposal:
    """The proposal with other flows or other columns of the certificate in one period."""
    certificate = Certificate(**{**proposal.certificates[period].columns(), **columns})
    clearing = Clearing(
        implied_fills(proposal.books[period], certificate),
        proposal.clearings[period].flows_wh if flows is None else flows,
        (certificate.low + certificate.high) >> 1,
    )
    return replace(
        proposal,
        clearings=(*proposal.clearings[:period], clearing, *proposal.clearings[period + 1 :]),
        certificates=(
            *proposal.certificates[:period],
            certificate,
            *proposal.certificates[period + 1 :],
        ),
    )


def verifies(proposal: Proposal) -> bool:
    """Whether Python accepts every period."""
    try:
        for book, clearing, certificate in zip(
            proposal.books, proposal.clearings, proposal.certificates, strict=True
        ):
            market.verify(book, clearing, certificate)
    except errors.ProofError:
        return False
    return True


@dataclass(frozen=True)
class Place:
    """A number of a proposal that can be changed by itself."""

    period: int
    column: str
    at: int

    def numbers(self, proposal: Proposal) -> list[int]:
        if self.column == "flows":
            return list(proposal.clearings[self.period].flows_wh.tolist())
        return list(proposal.certificates[self.period].columns()[self.column].tolist())

    def others(self, proposal: Proposal) -> list[int]:
        """Values at which a rule may turn."""
        on = proposal.session.versions[self.period].network
        old = self.numbers(proposal)[self.at]
        if self.column in {"low", "high"}:
            bounds = (on.price_floor_micro_per_kwh, on.price_cap_micro_per_kwh)
            limits = proposal.books[self.period].price_micro_per_kwh.tolist()
            values = {*bounds, bounds[0] - 1, bounds[1] + 1, *limits}
        elif self.column == "flows":
            capacity = on.links[self.at].capacity_wh
            values = {0, capacity, capacity + 1, UINT40_MAX}
        elif self.column == "tail":
            tails = on.tails.tolist()
            values = {0, BID_TAIL, -1, BID_TAIL + 1, *(old + t for t in tails)}
        elif self.column.endswith("rank"):
            values = {0, 1, 2, MOST_RANK}
        else:
            values = {0, 2**62}
        return sorted(value for value in {old - 1, old + 1, *values} if value != old)

    def put(self, proposal: Proposal, value: int) -> Proposal | None:
        """The proposal with this number changed, or None if that cannot be said to the contract."""
        numbers = self.numbers(proposal)
        numbers[self.at] = value
        least, most = {
            "low": (INT32_MIN, INT32_MAX),
            "high": (INT32_MIN, INT32_MAX),
            "flows": (0, UINT40_MAX),
            "tail": (-(2**63), 2**63 - 1),
            "low_rank": (0, MOST_RANK),
            "high_rank": (0, MOST_RANK),
        }.get(self.column, (0, 2**63 - 1))
        if not least <= value <= most:
            return None
        made = changed(proposal, self.period, **{self.column: numbers})
        certificate = made.certificates[self.period]
        if (certificate.low > certificate.high).any():
            return None
        if self.column.endswith("fill") and not (
            certificate.ask_total[self.at] or certificate.bid_total[self.at]
        ):
            return None
        return made


def places(proposal: Proposal) -> list[Place]:
    columns = proposal.certificates[0].columns()
    on = proposal.session.versions[0].network
    return [
        Place(period, column, at)
        for period in range(len(proposal.clearings))
        for column, count in (
            *((name, len(on.nodes)) for name in columns),
            ("flows", len(on.links)),
        )
        for at in range(count)
    ]


# -------------------------------------------------------------------------------------------- lanes


@st.composite
def words(draw: st.DrawFn) -> tuple[int, ...]:
    """Arguments of `lanesAgree`, within the bounds that `Lanes` states."""
    bits = draw(st.integers(0, 32))

    def lanes(*strategies: st.SearchStrategy[int]) -> list[int]:
        return [draw(each) for each in (strategies * 4)[:4]]

    def near(numbers: list[int], most: int) -> list[int]:
        close = [st.integers(max(0, each - 2), min(most, each + 2)) for each in numbers]
        return lanes(*(st.one_of(one, st.integers(0, most)) for one in close))

    def up_to(most: int) -> st.SearchStrategy[int]:
        return st.one_of(st.integers(0, most), st.sampled_from([0, most, most // 2]))

    limits = lanes(up_to(2**bits - 1))
    steps = lanes(st.one_of(up_to(UINT32_MAX), st.sampled_from([0, 1, 2, 3])))
    one, other = near(limits, UINT32_MAX), near(limits, UINT32_MAX)
    a = lanes(up_to(2 ** (62 - bits) - 1))  # four products stay below 2^64
    b = near(a, 2**63 - 1)
    return (
        draw(st.integers(0, 2**256 - 1)),
        *map(
            _merged,
            (
                limits,
                steps,
                [min(pair) for pair in zip(one, other, strict=True)],
                [max(pair) for pair in zip(one, other, strict=True)],
                a,
                b,
            ),
        ),
    )


def _merged(lanes: list[int]) -> int:
    word = 0
    for lane in lanes:
        word = word * _HALF + lane
    return word


@some(150)
@given(arguments=words())
def test_lanes__within_their_bounds__agree_with_the_plain_ones(
    contract: Contract, arguments: tuple[int, ...]
) -> None:
    assert contract.lanes_agree(*arguments)


def test_lanes__all_at_their_bounds__agree_with_the_plain_ones(contract: Contract) -> None:
    most = _merged([UINT32_MAX] * 4)
    energies, wide = _merged([2**30 - 1] * 4), _merged([2**63 - 1] * 4)
    assert contract.lanes_agree(2**256 - 1, most, most, most, most, energies, wide)
    assert contract.lanes_agree(0, 0, most, 0, most, energies, energies)
    assert contract.lanes_agree(0, most, most, 0, 0, energies, energies)
    assert contract.lanes_agree(0, 0, 0, 0, 0, 0, 0)


# --------------------------------------------------------------------------------------- acceptance


@pytest.mark.parametrize("periods", [1, 8, 9, 20])
@pytest.mark.parametrize("name", FITTING)
def test_check__named_book__same_positions_and_money(
    contract: Contract, name: str, periods: int
) -> None:
    proposal = named_proposal(FITTING[name], periods)
    assert verifies(proposal)
    require_same(contract.check(Claim.of(proposal)), proposal)


@some(120)
@given(proposal=proposals(st.sampled_from([1, 8, 9, 20])))
def test_check__random_session__same_positions_and_money(
    contract: Contract, proposal: Proposal
) -> None:
    assert verifies(proposal)
    require_same(contract.check(Claim.of(proposal)), proposal)


# -------------------------------------------------------------------------------------- same verdict


@pytest.mark.parametrize("name", FITTING)
def test_check__named_book_with_one_change__same_verdict(contract: Contract, name: str) -> None:
    proposal = named_proposal(FITTING[name], 1)
    for place in places(proposal):
        for value in place.others(proposal):
            if (made := place.put(proposal, value)) is not None:
                assert contract.accepts(Claim.of(made)) == verifies(made), (place, value)


@some(200)
@given(proposal=proposals(st.sampled_from([1, 2, 9])), data=st.data())
def test_check__random_session_with_one_change__same_verdict(
    contract: Contract, proposal: Proposal, data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from(places(proposal)))
    made = place.put(proposal, data.draw(st.sampled_from(place.others(proposal))))
    if made is not None:
        assert contract.accepts(Claim.of(made)) == verifies(made)
