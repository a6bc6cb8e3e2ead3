"""The shorter ways on the embedded chain lead where the long ones lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ape
import pytest
from tests.community import C2, C3, HOURLY, ask, bid
from tests.embedded import long_ways
from tests.outcomes import events

from fairwatt.chain import Role
from fairwatt.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.community import Community, Member

    from fairwatt.chain import Receipt


def head() -> Any:
    """Header of the last block."""
    chain = ape.networks.provider.tester.ethereum_tester.backend.chain
    return chain.chaindb.get_block_header_by_hash(chain.header.parent_hash)


def from_here(*steps: Callable[[], Any]) -> list[Any]:
    """What each step comes to from the state that is now, which is left as it is."""
    results = []
    for step in steps:
        snapshot = ape.chain.snapshot()
        results.append(step())
        ape.chain.restore(snapshot)
    return results


def outcome(receipt: Receipt) -> tuple[Any, ...]:
    """What a transaction did; the block's hash is that of a random number too, its state is not."""
    block = head()
    return (
        (receipt.transaction, receipt.block, receipt.gas_used, events(receipt)),
        (block.state_root, block.receipt_root, block.timestamp, block.gas_used),
    )


def the_long_way(step: Callable[[], Any]) -> Callable[[], Any]:
    def long() -> Any:
        with long_ways():
            return step()

    return long


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.PROSUMER, C3, tokens=1)


def test_ask__view__answers_the_same(community: Community, member: Member) -> None:
    before = community.chain.snapshot()
    community.deposit(member, 7)
    after, registry = community.chain.snapshot(), community.chain.contracts.registry
    questions = [
        lambda: [snapshot.account(member.peer) for snapshot in (before, after)],
        after.peers,
        lambda: after.terms(HOURLY),
        lambda: registry.peerInForce(member.wallet.address),
        lambda: [registry.nodesOf(1), registry.boundsOf(1), registry.peerCount()],
    ]
    for question in questions:
        with long_ways():
            expected = question()
        assert question() == expected
        assert question() == expected  # from memory
    assert before.account(member.peer) != after.account(member.peer)


def test_ask__refusal__has_the_same_error(community: Community, member: Member) -> None:
    clear = community.chain.contracts.clearing.clear
    proposal = community.propose(community.sign(member, bid(9, 1)))
    arguments = community.chain.clearing_arguments(proposal, community.solver)

    def ask_it() -> tuple[str, Any]:
        with pytest.raises(ContractError) as refusal:
            community.chain.simulate(clear, *arguments, sender=community.solver)
        return refusal.value.name, refusal.value.values

    with long_ways():
        expected = ask_it()
    assert ask_it() == expected
    assert expected[0] == "GateStillOpen"


def test_ask__sender__is_who_asks(community: Community, member: Member) -> None:
    withdraw = community.chain.contracts.ledger.requestWithdrawal
    community.chain.simulate(withdraw, 1, sender=member.wallet)
    with pytest.raises(ContractError) as refusal:
        community.chain.simulate(withdraw, 1, sender=community.outsider)
    assert refusal.value.values == {"caller": community.outsider.address}


def test_send__same_step_from_the_same_state__has_the_same_outcome(
    community: Community, member: Member
) -> None:
    def step() -> tuple[Any, ...]:
        return outcome(community.place(community.sign(member, bid(9, 100))))

    first, again, long = from_here(step, step, the_long_way(step))
    assert first == again == long


def test_send__replayed__can_be_built_upon(community: Community, member: Member) -> None:
    seller = community.admit(Role.PRODUCER, C2)

    def steps() -> list[Any]:
        community.travel_to(community.now() + 600)
        community.deposit(seller, 5)
        proposal = community.propose(
            community.sign(member, bid(100_000, 500)), community.sign(seller, ask(50_000, 500))
        )
        cleared = outcome(community.clear(proposal))
        return [cleared, community.balance(seller), community.balance(member), community.now()]

    first, again, long = from_here(steps, steps, the_long_way(steps))
    assert first == again == long


def test_send__anything_different__is_another_step(community: Community, member: Member) -> None:
    ledger = community.chain.contracts.ledger

    def request(nano: int, sender: Member = member, seconds: int = 0) -> Any:
        if seconds:
            community.wait_until(community.now() + seconds)
        community.send(ledger.requestWithdrawal, nano, sender=sender.wallet)
        account = community.chain.snapshot().account(sender.peer)
        return account.withdrawal_nano, account.withdrawal_requested_at

    other, now = community.admit(Role.CONSUMER, tokens=1), community.now()
    assert from_here(
        lambda: request(5),
        lambda: request(6),
        lambda: request(5, other),
        lambda: request(5, seconds=60),
        lambda: (request(4), request(5))[1],
    ) == [(5, now), (6, now), (5, now), (5, now + 60), (5, now + 1)]


def test_send__refusal__is_refused_again(community: Community, member: Member) -> None:
    request = community.chain.contracts.ledger.requestWithdrawal

    def step() -> Any:
        with pytest.raises(ContractError) as refusal:
            community.chain.send(request, 2 * 10**9, sender=member.wallet)
        return refusal.value.name, refusal.value.values

    first, again, long = from_here(step, step, the_long_way(step))
    assert first == again == long
    assert first[0] == "InsufficientFunds"


def test_events__of_a_range__are_the_same(community: Community, member: Member) -> None:
    start = community.open_session()
    for _ in range(3):
        other = community.admit(Role.CONSUMER, tokens=1)
        community.place(community.sign(other, bid(9, 1), session=start))
    book, latest = community.chain.contracts.order_book, community.chain.snapshot().block
    searches: list[tuple[Any, int, int, dict[str, int]]] = [
        (book.OrderPlaced, community.chain.first_block, latest + 1, {"sessionStart": start}),
        (book.OrderPlaced, community.chain.first_block, latest + 1, {"sessionStart": start + 1}),
        (book.OrderPlaced, latest - 3, latest, {}),
        (book.MarketCreated, community.chain.first_block, latest + 1, {}),
    ]

    def found() -> list[Any]:
        return [
            list(kind.range(first, stop, search_topics=topics))
            for kind, first, stop, topics in searches
        ]

    with long_ways():
        expected = found()
    assert [len(logs) for logs in expected] == [3, 0, 1, 2]
    assert found() == expected
    snapshot = ape.chain.snapshot()
    community.place(community.sign(member, bid(9, 1), session=start))
    ape.chain.restore(snapshot)
    assert found() == expected
