"""What all rules share: the actors, how they act, and how the machine asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import ape
from eth.vm.message import Message
from eth_abi.abi import decode, encode
from eth_utils.abi import function_abi_to_4byte_selector
from eth_utils.address import to_canonical_address
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from tests.contracts.machine.model import Book, Model, Peer
from tests.outcomes import plain

from fairwatt.chain import project, structs
from fairwatt.market import Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.community import Community, Member

    from fairwatt.chain import Receipt, Signer
    from fairwatt.session import MarketTerms

MARKETS = HOURLY, QUARTERS, MANAGED = 1, 2, 3
"""The managed one has sessions of two half hours, a manager with its own window, and a fee."""

amounts = st.one_of(st.sampled_from([1, 10**8]), st.integers(1, 10**9))
some = st.integers(0, 10**6)  # picks one of what there is at that step
markets = st.sampled_from(MARKETS)
# Bids and asks overlap, so that most books trade; some steps nobody can pay.
curves = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([Side.BID, Side.ASK]),
        st.sampled_from([0, 20_000, 40_000, 100_000]),
        st.sampled_from([1_000, 500, 2_000, 1, 7, 60_000]),
    ),
    min_size=1,
    max_size=3,
)

NOBODY = "0x" + "0" * 40
SUCCEEDED = b"\1"

Refusal = tuple[Any, ...]
"""Name of an error, and its values."""


def entry_point(method: Any) -> str:
    """As in `Ledger.deposit`."""
    name = str(method).split("(", maxsplit=1)[0]
    return f"{method.contract.contract_type.name}.{name}"


class Machine(RuleBasedStateMachine):
    """A community with three markets, and a ledger to move to; `model` is what is expected."""

    community: ClassVar[Community]
    members: ClassVar[Sequence[Member]]
    terms: ClassVar[dict[int, MarketTerms]]
    successor: ClassVar[Any]
    sent: ClassVar[Counter[str]] = Counter()
    refusals: ClassVar[Counter[str]] = Counter()
    errors: ClassVar[Counter[str]] = Counter()
    reached: ClassVar[Counter[str]] = Counter()
    """Entry points that were called, called in vain, with which error, and what became of it."""
    is_thorough: bool = True
    """Whether what is the same for several contracts is done with each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.first_block = ape.chain.snapshot(), _chain().header.block_number
        self.contracts = self.community.chain.contracts
        self.model = self.founded()

    @classmethod
    def founded(cls) -> Model:
        raise NotImplementedError

    def teardown(self) -> None:
        self._count_sent()
        ape.chain.restore(self.before)

    def _count_sent(self) -> None:
        """Which entry points were called in this run, as its transactions have it."""
        chain, names = _chain(), entry_points(self.contracts)
        for number in range(self.first_block, chain.header.block_number):
            block = chain.get_canonical_block_by_number(number)
            receipts = block.get_receipts(chain.chaindb)
            for sent, receipt in zip(block.transactions, receipts, strict=True):
                name = names.get((bytes(sent.to), bytes(sent.data[:4])), "")
                self.sent[name] += receipt.state_root == SUCCEEDED

    # -------------------------------------------------------------------------------- asking

    def view(self, contract: Any, name: str, *arguments: Any) -> Any:
        """Ask a contract, in a tenth of the time that Ape takes: each step asks many questions."""
        selector, inputs, outputs = _coder(contract.contract_type.name, name, contract)
        answer = self._ask(str(contract.address), selector + encode(inputs, arguments), NOBODY)
        answer.raise_if_error()
        values = decode(outputs, bytes(answer.output))
        return values[0] if len(values) == 1 else values

    @staticmethod
    def _ask(to: str, data: bytes, sender: str) -> Any:
        header = _chain().header
        state = _state(header.parent_hash, header.timestamp)
        origin, address = to_canonical_address(sender), to_canonical_address(to)
        message = Message(10**8, address, origin, 0, data, state.get_code(address))
        context = state.transaction_context_class(gas_price=0, origin=origin)
        before = state.snapshot()
        try:
            return state.computation_class.apply_message(state, message, context)
        finally:
            state.revert(before)

    @property
    def now(self) -> int:
        """Time of the next block."""
        return self.community.now()

    def travel(self, time: int) -> None:
        """Wait until then, if it is ahead."""
        if time > self.now:
            self.community.travel_to(time)

    # -------------------------------------------------------------------------------- acting

    def send(self, method: Any, *arguments: Any, sender: Signer) -> Receipt:
        return self.community.chain.send(method, *arguments, sender=sender)

    def refused(self, method: Any, *arguments: Any, sender: Signer) -> Refusal:
        """How a contract refuses it; asked, not sent, at a tenth of the time."""
        data = bytes(method.encode_input(*map(structs, arguments)))
        answer = self._ask(str(method.contract.address), data, sender.address)
        assert answer.is_error, f"{entry_point(method)} is not refused: {arguments}"
        self.refusals[entry_point(method)] += 1
        output = bytes(answer.output)
        name, types = _errors()[output[:4]]
        self.errors[name] += 1
        return (name, *map(plain, decode(types, output[4:])))

    def attempt(
        self, method: Any, *arguments: Any, sender: Signer, refusal: Refusal | None = None
    ) -> Receipt | None:
        """Send it; or have it refused, with exactly this error and these values."""
        if refusal is None:
            return self.send(method, *arguments, sender=sender)
        name, *values = refusal
        expected = (name, *map(plain, values))
        assert self.refused(method, *arguments, sender=sender) == expected, entry_point(method)
        return None

    # -------------------------------------------------------------------------------- actors

    @property
    def supplier(self) -> Peer:
        return self.model.peers[self.community.supplier.peer]

    def peer(self, pick: int) -> Peer:
        """A member or a guest; the operator does nothing."""
        operator = self.community.operator.peer
        choice = [peer for peer in self.model.peers.values() if peer.number != operator]
        return choice[pick % len(choice)]

    def metered(self, pick: int) -> Peer:
        choice = [peer for peer in self.model.peers.values() if peer.meter]
        return choice[pick % len(choice)]

    def wallet(self, peer: Peer) -> Signer:
        """What acts for a peer now."""
        return peer.at(self.now).wallet

    def stranger(self, pick: int) -> Signer:
        """Somebody who has no role."""
        choice = [self.community.outsider, *(member.wallet for member in self.members)]
        return choice[pick % len(choice)]

    def resume(self) -> None:
        """The guardian lets orders be placed again."""
        if self.model.paused:
            self.send(self.contracts.order_book.unpause, sender=self.community.guardian)
            self.model.paused = False

    # --------------------------------------------------------------------------------- books

    @property
    def books(self) -> list[Book]:
        return list(self.model.books.values())

    def book(self, market: int, start: int) -> Book:
        key = market, start
        return self.model.books.setdefault(key, Book(*key, self.terms[market]))

    def next_book(self, market: int, later: int = 0) -> Book:
        """Of the next session whose gate is still open for a minute, or of a later one."""
        terms = self.terms[market]
        start = terms.next_open_session(self.now + 60) + later * terms.session_seconds
        return self.book(market, start)

    def open_books(self) -> list[Book]:
        return [book for book in self.books if self.now < book.gate]

    def clearable_books(self) -> list[Book]:
        return [
            book
            for book in self.books
            if book.proposal is None and self.now + 60 <= book.deadline and book.orders
        ]

    def readable_books(self) -> list[Book]:
        return [
            book
            for book in self.books
            if self.now + 3 * 86_400 < book.terms.settlement_deadline(book.start)
            and (book.proposal or self.now > book.gate)
        ]


def parts_of(contracts: Any) -> list[Any]:
    """All contracts of a deployment."""
    return [getattr(contracts, part.name) for part in fields(contracts)]


def entry_points(contracts: Any) -> dict[tuple[bytes, bytes], str]:
    """What may change the state of a deployment, by address and selector."""
    return {
        (
            to_canonical_address(contract.address),
            function_abi_to_4byte_selector(abi.model_dump()),
        ): (f"{contract.contract_type.name}.{abi.name}")
        for contract in parts_of(contracts)
        for abi in contract.contract_type.mutable_methods
    }


def _chain() -> Any:
    return ape.networks.provider.tester.ethereum_tester.backend.chain


@lru_cache(1)
def _state(_head: bytes, _time: int) -> Any:
    """To ask at a block; questions leave nothing behind."""
    return _chain().get_vm().state


@cache
def _errors() -> dict[bytes, tuple[str, list[str]]]:
    """Of all contracts, by selector."""
    return {
        function_abi_to_4byte_selector(abi.model_dump()): (
            abi.name,
            [str(field.canonical_type) for field in abi.inputs],
        )
        for contract in project().contracts.values()
        for abi in contract.contract_type.errors
    }


@cache
def _coder(_kind: str, name: str, contract: Any) -> tuple[bytes, list[str], list[str]]:
    abi = next(method for method in contract.contract_type.view_methods if method.name == name)
    inputs, outputs = (
        [str(entry.canonical_type) for entry in entries] for entries in (abi.inputs, abi.outputs)
    )
    return function_abi_to_4byte_selector(abi.model_dump()), inputs, outputs
