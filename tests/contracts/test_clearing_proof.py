"""`ClearingProof` by itself: it accepts what the kernel makes, comes to the same energy and money,
and refuses what `fairwatt.market.verify` refuses.

The contract is told prices, ranks, tails, flows and what marginal orders trade together, and fills
every order by itself. So Python gets the fills that follow from those numbers, by `implied_fills`.

Random cases are the same in every run; `EXAMPLES=20000` in the environment tries so many others.
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
from tests.sessions import START, session_on
from tests.strategies import INT32_MAX, INT32_MIN, UINT32_MAX, UINT40_MAX, networks

from fairwatt import calldata, errors, market
from fairwatt.chain import connect, project
from fairwatt.lanes import pack_energies, words_of
from fairwatt.market import Book, Certificate, Clearing, Link, Network, Side
from fairwatt.orders import Order, SignedOrder, Step
from fairwatt.proposal import Proposal, propose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BID_TAIL = 2**41
MOST_RANK = 2**16 - 1
MOST_CONNECTION_WH = 2**30 - 1
_HALF = 2**64  # of a lane of a half
_SENT = struct.Struct(">BIIHHHB")  # kind, peer, nonce, first block, blocks, rows, supports
_SIGNED, _FLEXIBLE = 0, 2
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


@dataclass
class RefusedError(Exception):
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
        """Raises `RefusedError` as the contract reverts."""
        return Outcome(*self._call("check", *claim.arguments)[0])

    def accepts(self, claim: Claim) -> bool:
        try:
            self.check(claim)
        except RefusedError:
            return False
        return True

    def refuses(self, claim: Claim, name: str, **values: Any) -> None:
        """Require exactly this error with all its values."""
        with pytest.raises(RefusedError) as refusal:
            self.check(claim)
        assert (refusal.value.name, refusal.value.values) == (name, values)

    def lanes_agree(self, *words: int) -> bool:
        return bool(self._call("lanesAgree", *words)[0])

    def add_fills_agrees(self, *arguments: list[int]) -> bool:
        return bool(self._call("addFillsAgrees", *arguments)[0])

    def take_agrees(self, *arguments: list[int]) -> bool:
        return bool(self._call("takeAgrees", *arguments)[0])

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
        raise RefusedError(error.name, dict(zip(names, values, strict=True)))


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
    limit_wh: int = MOST_CONNECTION_WH
    flexible: int = 0

    @classmethod
    def of(cls, proposal: Proposal) -> Claim:
        message = calldata.encode_clearing(proposal)
        return cls(
            proposal.session.versions[0].network,
            len(proposal.session.versions),
            message["cells"],
            message["details"],
            message["flows"],
            tuple(records(proposal)),
            flexible=len(proposal.expansion.flexible) if proposal.expansion else 0,
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
            len(on.nodes) + self.flexible,
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
    own = len(proposal.session.versions[-1].network.nodes)  # node of the next flexible order
    flexible = iter(proposal.expansion.flexible if proposal.expansion else ())
    while at < len(sent):
        if sent[at] == _FLEXIBLE:
            order = next(flexible)
            head = struct.pack(">HH", proposal.nodes[order.peer] | 1 << 15, own)
            at, size, own = at + 9, 32 + 4 * order.periods, own + 1
            yield head + order.struct_hash + sent[at : at + size]
            at += size + 64
            continue
        kind, peer, _, first, blocks, rows, supports = _SENT.unpack_from(sent, at)
        at += _SENT.size
        size = rows * blocks * 64 + 2 * supports
        head = _TRIED.pack(proposal.nodes[peer], first, blocks, rows, supports)
        yield head + sent[at : at + size]
        at += size + (64 if kind == _SIGNED else 0)


def proposal_of(
    on: Network, periods: int, steps: Mapping[int, tuple[int, Iterable[Step]]]
) -> Proposal:
    """Clear a session; `steps` gives node and steps of each peer. Its orders are placed ones."""
    orders = [
        SignedOrder(Order(1, peer, START, tuple(own)), b"") for peer, (_, own) in steps.items()
    ]
    nodes = {peer: node for peer, (node, _) in steps.items()}
    return propose(session_on(on, periods), orders, nodes=nodes)


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
    if max(book.energy_wh.tolist(), default=0) <= MOST_CONNECTION_WH
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
    nothing = (0,) * len(proposal.session.versions)
    positions = [proposal.positions_wh.get(peer, nothing) for peer in peers]
    links = None if proposal.expansion is None else proposal.expansion.link_count
    money = [
        market.payments(book, clearing)
        for book, clearing in zip(proposal.books, proposal.clearings, strict=True)
    ]
    assert outcome == Outcome(
        tuple(bytes(keccak(pack_energies(position))) for position in positions),
        tuple(proposal.payments_nano.get(peer, 0) for peer in peers),
        sum(sum(each.tariffs_nano[:links]) for each in money),
        sum(sum(each.rents_nano[:links]) for each in money),
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


def _merged(lanes: list[int], size: int = _HALF) -> int:
    word = 0
    for lane in lanes:
        word = word * size + lane
    return word


@some(100)
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


_LANE = 2**32  # of a word


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """A block of a row, prices near its limits, and what the peer has by then."""
    limits = draw(st.lists(st.integers(0, UINT32_MAX), min_size=8, max_size=8))
    step = st.sampled_from([0, 1, 2, 3, UINT32_MAX]) | st.integers(0, UINT32_MAX)
    steps = draw(st.lists(step, min_size=8, max_size=8))
    biased = [limit ^ 2**31 for limit in limits]
    near = st.integers(-1, 1) | st.integers(-_LANE, _LANE)
    prices = [sorted(_within(at + draw(near)) for _ in range(2)) for at in biased]
    halves = [
        _merged([pair[highest] for pair in prices[odd::2]]) for highest in (0, 1) for odd in (0, 1)
    ]
    energies = st.lists(st.integers(0, 2**62), min_size=4, max_size=4).map(_merged)
    position = draw(st.lists(energies, min_size=4, max_size=4))
    return [_merged(limits, _LANE), _merged(steps, _LANE)], halves, position


def _within(price: int) -> int:
    return max(0, min(price, UINT32_MAX))


@some(150)
@given(arguments=rows())
def test_add_fills__any_block__agrees_with_the_plain_ones(
    contract: Contract, arguments: tuple[list[int], ...]
) -> None:
    assert contract.add_fills_agrees(*arguments)


@st.composite
def blocks_to_take(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """What a peer sells or buys in a block, what its node has by then, and the prices."""
    most = st.sampled_from([0, 0, 1, MOST_CONNECTION_WH]) | st.integers(0, MOST_CONNECTION_WH)
    energies = draw(st.lists(most, min_size=8, max_size=8))
    sells = draw(st.lists(st.booleans(), min_size=8, max_size=8))
    sides = [
        [energy * (ask == side) for energy, ask in zip(energies, sells, strict=True)]
        for side in (True, False)
    ]
    position = [_merged(side[odd::2]) for side in sides for odd in (0, 1)]
    sums = st.lists(st.integers(0, 2**62), min_size=4, max_size=4).map(_merged)
    prices = st.lists(st.integers(0, UINT32_MAX) | st.just(UINT32_MAX), min_size=4, max_size=4)
    return (
        position,
        draw(st.lists(sums, min_size=4, max_size=4)),
        draw(st.lists(prices.map(_merged), min_size=2, max_size=2)),
    )


@some(150)
@given(arguments=blocks_to_take())
def test_take__any_block__agrees_with_the_plain_one(
    contract: Contract, arguments: tuple[list[int], ...]
) -> None:
    assert contract.take_agrees(*arguments)


# --------------------------------------------------------------------------------------- acceptance


@pytest.mark.parametrize("periods", [1, 8, 9, 20])
@pytest.mark.parametrize("name", FITTING)
def test_check__named_book__same_positions_and_money(
    contract: Contract, name: str, periods: int
) -> None:
    proposal = named_proposal(FITTING[name], periods)
    assert verifies(proposal)
    require_same(contract.check(Claim.of(proposal)), proposal)


@some(60)
@given(proposal=proposals(st.sampled_from([1, 8, 9, 20])))
def test_check__random_session__same_positions_and_money(
    contract: Contract, proposal: Proposal
) -> None:
    assert verifies(proposal)
    require_same(contract.check(Claim.of(proposal)), proposal)


# ------------------------------------------------------------------------------------- same verdict


@pytest.mark.parametrize("name", FITTING)
def test_check__named_book_with_one_change__same_verdict(contract: Contract, name: str) -> None:
    proposal = named_proposal(FITTING[name], 1)
    for place in places(proposal):
        for value in place.others(proposal):
            if (made := place.put(proposal, value)) is not None:
                assert contract.accepts(Claim.of(made)) == verifies(made), (place, value)


@some(100)
@given(proposal=proposals(st.sampled_from([1, 2, 9])), data=st.data())
def test_check__random_session_with_one_change__same_verdict(
    contract: Contract, proposal: Proposal, data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from(places(proposal)))
    made = place.put(proposal, data.draw(st.sampled_from(place.others(proposal))))
    if made is not None:
        assert contract.accepts(Claim.of(made)) == verifies(made)


# ----------------------------------------------------------------------------------- error by error

PERIODS, PERIOD = 10, 9
A, B = 0, 1


def two_nodes(capacity: int, *, spread: bool = False) -> Proposal:
    """Ten periods of which only the last is traded in: node a sells to b over a link of tariff 3.

    With `spread` there are no links, and node a alone trades, at prices from -7 to 20.
    """
    on = network("a", "b", links=() if spread else (Link("a", "b", 3, capacity),))
    ask, bid = Step(PERIOD, Side.ASK, -7, 6 if spread else 9), Step(PERIOD, Side.BID, 20, 6)
    return proposal_of(on, PERIODS, {1: (A, [ask]), 2: (A if spread else B, [bid])})


@pytest.fixture
def full() -> Proposal:
    """The link carries all of its 4 Wh, of 9 that are offered at -7 and 6 that are sought at 20."""
    return two_nodes(4)


@pytest.fixture
def roomy() -> Proposal:
    """The link carries 6 Wh of its 10: prices are -7 and, held by the link, -4."""
    return two_nodes(10)


@pytest.fixture
def apart() -> Proposal:
    """Asks and bids of 6 Wh: every price from -7 to 20 is optimal, and two orders hold the ends."""
    return two_nodes(0, spread=True)


def with_cell(claim: Claim, node: int, low: int, width: int) -> Claim:
    """Other prices of a cell in period 9, whether a certificate can have them or not."""
    cells = bytearray(claim.cells)
    lane = ((node * words_of(claim.periods) + PERIOD // 8) * 3 * 8 + PERIOD % 8) * 4
    struct.pack_into(">i", cells, lane, low)
    struct.pack_into(">I", cells, lane + 32, width)
    return replace(claim, cells=bytes(cells))


@pytest.mark.parametrize(
    ("low", "width"), [(-101, 0), (-101, 300), (100, 1), (INT32_MAX, UINT32_MAX)]
)
@pytest.mark.parametrize("node", [A, B])
def test_check__p1_prices_out_of_bounds(
    contract: Contract, full: Proposal, node: int, low: int, width: int
) -> None:
    claim = with_cell(Claim.of(full), node, low, width)
    values = {"node": node, "period": PERIOD, "low": low, "high": low + width}
    contract.refuses(claim, "PriceOutOfBounds", **values)


def test_check__p1_prices_of_a_period_that_does_not_exist(
    contract: Contract, full: Proposal
) -> None:
    cells = bytearray(Claim.of(full).cells)
    struct.pack_into(">i", cells, 3 * 32 + 7 * 4, -200)
    claim = replace(Claim.of(full), cells=bytes(cells))
    contract.refuses(claim, "PriceOutOfBounds", node=A, period=15, low=-200, high=-200)


def test_check__p2_limit_between_prices_in_another_lane(contract: Contract) -> None:
    ask, bid = Step(5, Side.ASK, 3, 6), Step(5, Side.BID, 3, 6)
    proposal = proposal_of(network("a"), PERIODS, {1: (A, [ask]), 2: (A, [bid])})
    claim = Claim.of(changed(proposal, 5, low=[2], high=[4]))
    contract.refuses(claim, "LimitBetweenPrices", node=A, period=5, limitMicroPerKWh=3)


def test_check__p2_limit_between_prices(contract: Contract, full: Proposal) -> None:
    claim = Claim.of(changed(full, PERIOD, low=[-8, 20], high=[-6, 20]))
    values = {"node": A, "period": PERIOD, "limitMicroPerKWh": -7}
    contract.refuses(claim, "LimitBetweenPrices", **values)


@pytest.mark.parametrize(
    ("column", "node", "asks_wh", "bids_wh"), [("ask_total", A, 9, 0), ("bid_total", B, 0, 6)]
)
def test_check__p3_marginal_total_that_is_not_true(
    contract: Contract, full: Proposal, column: str, node: int, asks_wh: int, bids_wh: int
) -> None:
    totals = [0, 0]
    totals[node] = asks_wh + bids_wh + 1
    # Of the wrong total so much is filled that the order gets its 4 Wh all the same.
    fills = [0, 0]
    fills[node] = -(-4 * totals[node] // (asks_wh + bids_wh))
    claim = Claim.of(
        changed(full, PERIOD, **{column: totals, column.replace("total", "fill"): fills})
    )
    values = {"node": node, "period": PERIOD, "asksWh": asks_wh, "bidsWh": bids_wh}
    contract.refuses(claim, "MarginalTotalMismatch", **values)


def test_check__p3_marginal_orders_not_mentioned(contract: Contract, full: Proposal) -> None:
    values = {"node": A, "period": PERIOD, "asksWh": 0, "bidsWh": 0}
    claim = replace(Claim.of(full), details=b"")
    contract.refuses(claim, "MarginalTotalMismatch", **values)


def test_check__p3_marginal_orders_that_are_not_there(contract: Contract, apart: Proposal) -> None:
    values = {"node": A, "period": PERIOD, "asksWh": 0, "bidsWh": 0}
    claim = Claim.of(changed(apart, PERIOD, ask_total=[1, 0]))
    contract.refuses(claim, "MarginalTotalMismatch", **values)


def test_check__p4_flow_above_capacity(contract: Contract, full: Proposal) -> None:
    claim = Claim.of(changed(full, PERIOD, flows=[5]))
    values = {"link": 0, "period": PERIOD, "flowWh": 5, "capacityWh": 4}
    contract.refuses(claim, "FlowAboveCapacity", **values)


@pytest.mark.parametrize(("period", "flow"), [(PERIOD, 3), (PERIOD, 0), (2, 1)])
def test_check__p5_flow_not_implied(
    contract: Contract, full: Proposal, period: int, flow: int
) -> None:
    claim = Claim.of(changed(full, period, flows=[flow]))
    contract.refuses(claim, "FlowNotImplied", link=0, period=period, flowWh=flow)


@pytest.mark.parametrize("change", [-1, 1])
def test_check__p6_flow_not_unique(contract: Contract, roomy: Proposal, change: int) -> None:
    tails = roomy.certificates[PERIOD].tail.tolist()
    claim = Claim.of(changed(roomy, PERIOD, tail=[tails[A], tails[B] + change]))
    contract.refuses(claim, "FlowNotUnique", link=0, period=PERIOD, flowWh=6)


@pytest.mark.parametrize(
    ("node", "tail"), [(A, -1), (A, 1), (B, BID_TAIL - 1), (B, BID_TAIL + 1), (B, 0)]
)
def test_check__p7_fill_not_unique(
    contract: Contract, full: Proposal, node: int, tail: int
) -> None:
    tails = full.certificates[PERIOD].tail.tolist()
    tails[node] = tail
    claim = Claim.of(changed(full, PERIOD, tail=tails))
    contract.refuses(claim, "FillNotUnique", node=node, period=PERIOD)


@pytest.mark.parametrize(
    ("column", "node", "fill", "surplus"),
    [("ask_fill", A, 3, -1), ("ask_fill", A, 9, 5), ("bid_fill", B, 3, 1), ("bid_fill", B, 6, -2)],
)
def test_check__p8_node_unbalanced(
    contract: Contract, full: Proposal, column: str, node: int, fill: int, surplus: int
) -> None:
    fills = [0, 0]
    fills[node] = fill
    claim = Claim.of(changed(full, PERIOD, **{column: fills}))
    values = {"node": node, "period": PERIOD, "surplusWh": surplus}
    contract.refuses(claim, "NodeUnbalanced", **values)


def test_check__p9_link_that_holds_only_what_is_behind_it(
    contract: Contract, roomy: Proposal
) -> None:
    assert roomy.certificates[PERIOD].low_rank.tolist() == [0, 1]
    claim = Claim.of(changed(roomy, PERIOD, low_rank=[0, 0]))
    contract.refuses(claim, "LowestNotProved", node=B, period=PERIOD)


def test_check__p10_link_that_holds_only_what_is_behind_it(
    contract: Contract, roomy: Proposal
) -> None:
    claim = Claim.of(changed(roomy, PERIOD, high_rank=[5, 5]))
    contract.refuses(claim, "HighestNotProved", node=B, period=PERIOD)


@pytest.mark.parametrize(
    ("low", "high", "error"), [(-6, 20, "LowestNotProved"), (-7, 19, "HighestNotProved")]
)
def test_check__p9_p10_narrower_prices(
    contract: Contract, apart: Proposal, low: int, high: int, error: str
) -> None:
    claim = Claim.of(changed(apart, PERIOD, low=[low, -100], high=[high, 100]))
    contract.refuses(claim, error, node=A, period=PERIOD)


@pytest.mark.parametrize(("peer", "error"), [(1, "LowestNotProved"), (2, "HighestNotProved")])
def test_check__p9_p10_order_that_is_not_named(
    contract: Contract, apart: Proposal, peer: int, error: str
) -> None:
    claim = Claim.of(apart)
    whole = list(claim.records)
    record = whole[peer - 1]
    assert (record[8], len(record)) == (1, _TRIED.size + 64 + 2)
    whole[peer - 1] = record[:8] + b"\0" + record[9:-2]
    contract.refuses(replace(claim, records=tuple(whole)), error, node=A, period=PERIOD)


@pytest.mark.parametrize("name", ["cut", "longer", "none"])
def test_check__p11_cells_malformed(contract: Contract, full: Proposal, name: str) -> None:
    claim = Claim.of(full)
    cells = {"cut": claim.cells[:-1], "longer": claim.cells + b"\0", "none": b""}[name]
    values = {"expectedBytes": 2 * 2 * 96, "actualBytes": len(cells)}
    contract.refuses(replace(claim, cells=cells), "CellsMalformed", **values)


def _detail(cell: int, tail: int = 1) -> bytes:
    return struct.pack(">Hq", cell, tail)


@pytest.mark.parametrize(
    ("details", "offset"),
    [
        pytest.param(_detail(3)[:-1], 0, id="cut off"),
        pytest.param(
            _detail(3) + struct.pack(">Hq31s", 1 << 15 | 4, 1, b""), 10, id="orders cut off"
        ),
        pytest.param(_detail(31) + _detail(32), 10, id="no such cell"),
        pytest.param(_detail(4) + _detail(4), 10, id="twice"),
        pytest.param(_detail(1) + _detail(4) + _detail(3), 20, id="not ascending"),
    ],
)
def test_check__p11_details_malformed(
    contract: Contract, full: Proposal, details: bytes, offset: int
) -> None:
    claim = replace(Claim.of(full), details=details)
    contract.refuses(claim, "DetailsMalformed", offset=offset)


@pytest.mark.parametrize(
    ("column", "node", "fill"),
    [("ask_fill", A, 10), ("bid_fill", B, 7), ("bid_fill", B, 2**63 - 1)],
)
def test_check__p11_marginal_fill_too_large(
    contract: Contract, full: Proposal, column: str, node: int, fill: int
) -> None:
    fills = [0, 0]
    fills[node] = fill
    claim = Claim.of(changed(full, PERIOD, **{column: fills}))
    contract.refuses(claim, "MarginalFillTooLarge", node=node, period=PERIOD)


def _record(
    first: int, *lanes: tuple[int, int, int], blocks: int = 1, holds: tuple[int, ...] = ()
) -> bytes:
    """The record of a peer at node a with one row: energies at lanes, at limit prices."""
    curve = bytearray(64 * blocks)
    for lane, price, step in lanes:
        struct.pack_into(">i", curve, lane // 8 * 64 + lane % 8 * 4, price)
        struct.pack_into(">I", curve, lane // 8 * 64 + lane % 8 * 4 + 32, step)
    head = _TRIED.pack(A, first, blocks, 1, len(holds))
    return head + bytes(curve) + b"".join(hold.to_bytes(2, "big") for hold in holds)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(_record(1, (2, 50, 3)), id="lane after the last period"),
        pytest.param(_record(1, (7, 50, 3)), id="last lane"),
        pytest.param(_record(1, (2, 50, 1)), id="no energy, but a side"),
        pytest.param(_record(2), id="block after the last one"),
        pytest.param(_record(1, blocks=2), id="one block too many"),
    ],
)
def test_check__p11_unknown_period(contract: Contract, full: Proposal, record: bytes) -> None:
    claim = Claim.of(full)
    claim = replace(claim, records=(*claim.records, record))
    contract.refuses(claim, "UnknownPeriod", period=PERIODS)


@pytest.mark.parametrize(
    ("lane", "hold"),
    [
        pytest.param((1, -8, 3), 1, id="limit is not low"),
        pytest.param((1, 21, 2), 1 | 1 << 15, id="limit is not high"),
        pytest.param((1, 20, 3), 1, id="holds the other price"),
        pytest.param((1, -7, 1), 1, id="no energy"),
        pytest.param((0, -100, 2), 1, id="another lane"),
    ],
)
def test_check__p11_no_support(
    contract: Contract, apart: Proposal, lane: tuple[int, int, int], hold: int
) -> None:
    claim = Claim.of(apart)
    claim = replace(claim, records=(*claim.records, _record(1, lane, holds=(hold,))))
    contract.refuses(claim, "NoSupport", node=A, period=PERIOD)


def test_check__p11_support_of_a_marginal_order(contract: Contract, full: Proposal) -> None:
    claim = Claim.of(full)
    record = claim.records[0]
    held = record[:8] + b"\1" + record[9:] + (1).to_bytes(2, "big")
    claim = replace(claim, records=(held, claim.records[1]))
    contract.refuses(claim, "NoSupport", node=A, period=PERIOD)


def test_check__energy_above_connection(contract: Contract, full: Proposal) -> None:
    claim = Claim.of(full)
    assert contract.accepts(replace(claim, limit_wh=4))
    contract.refuses(replace(claim, limit_wh=3), "EnergyAboveConnection", block_=1, limitWh=3)


def test_check__peer_that_sells_in_one_period_and_buys_in_another__same_positions(
    contract: Contract,
) -> None:
    mine = [Step(0, Side.ASK, -7, 6), Step(2, Side.BID, 20, 4)]
    theirs = [Step(0, Side.BID, 20, 5), Step(2, Side.ASK, -7, 6)]
    proposal = proposal_of(network("a"), PERIODS, {1: (A, mine), 2: (A, theirs)})
    require_same(contract.check(Claim.of(proposal)), proposal)


def test_check__energy_above_connection_though_traded_with_itself(contract: Contract) -> None:
    steps = [Step(PERIOD, Side.ASK, -7, 6), Step(PERIOD, Side.BID, 20, 6)]
    proposal = proposal_of(network("a"), PERIODS, {1: (A, steps)})
    claim = Claim.of(proposal)
    require_same(contract.check(replace(claim, limit_wh=6)), proposal)
    contract.refuses(replace(claim, limit_wh=5), "EnergyAboveConnection", block_=1, limitWh=5)


def test_check__most_energy_at_the_widest_prices__same_money(contract: Contract) -> None:
    """What a connection of the highest rating carries: sums of products just stay in their lane."""
    on = network("a", floor=INT32_MIN, cap=INT32_MAX)
    for price in (INT32_MIN, 5, INT32_MAX):
        ask, bid = (
            [Step(t, side, price, MOST_CONNECTION_WH) for t in range(8)]
            for side in (Side.ASK, Side.BID)
        )
        proposal = proposal_of(on, 8, {1: (A, ask), 2: (A, bid)})
        require_same(contract.check(Claim.of(proposal)), proposal)
