"""What nobody can do, tried: forge, replay, re-enter, block a session, take what is not theirs.

What one function refuses by itself stands in the tests of that function; here are the attempts
that need several steps, several contracts or a role.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth_utils.address import to_canonical_address
from tests.community import (
    C2,
    C3,
    DAY,
    GRID,
    HOUR,
    NANO,
    NETWORK,
    NOTICE,
    QUARTERS,
    RETAIL,
    TERMS,
    Community,
    Member,
    ask,
    bid,
)
from tests.contracts.conftest import Books, booked
from tests.contracts.parts import carried, in_two_parts, split
from tests.contracts.registry import admit, connection
from tests.outcomes import events, reverts

from fairwatt.calldata import encode_clearing, encode_orders
from fairwatt.chain import Receipt, Role, project
from fairwatt.chain import test_signer as signer_of
from fairwatt.eip712 import Domain
from fairwatt.errors import ContractError, OracleError, SignatureError
from fairwatt.market import Certificate
from fairwatt.orders import SignedOrder
from fairwatt.proposal import propose
from fairwatt.readings import bring
from fairwatt.session import MOST_PERIODS

if TYPE_CHECKING:
    from fairwatt.chain import Signer
    from fairwatt.proposal import Proposal

NOBODY = "0x" + "0" * 40
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture
def clearing(community: Community) -> Any:
    return community.chain.contracts.clearing


@pytest.fixture
def settlement(community: Community) -> Any:
    return community.chain.contracts.settlement


@pytest.fixture
def ledger(community: Community) -> Any:
    return community.chain.contracts.ledger


@pytest.fixture
def producer(community: Community) -> Member:
    return community.admit(Role.PRODUCER, C3, tokens=1)


@pytest.fixture
def consumer(community: Community, producer: Member) -> Member:
    """The peer that is admitted after the producer."""
    return community.admit(Role.CONSUMER, C3, tokens=1)


def _unsigned(signed: SignedOrder) -> SignedOrder:
    return replace(signed, signature=b"")


@pytest.fixture
def proposal(community: Community, producer: Member, consumer: Member) -> Proposal:
    """A kWh goes from the producer to the consumer."""
    return community.propose(
        community.sign(producer, ask(50_000, 1_000)), community.sign(consumer, bid(100_000, 1_000))
    )


def _send(
    community: Community, arguments: Any, sender: Signer | None = None, **changes: Any
) -> Receipt:
    message, *rest = arguments
    clear = community.chain.contracts.clearing.clear
    return community.send(clear, message | changes, *rest, sender=sender or community.solver)


# ---------------------------------------------------------------------------------- signatures


def _malleable(signature: bytes) -> bytes:
    """The other signature of the same key over the same message: n - s, and v turned."""
    s = SECP256K1_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([27 + 28 - signature[64]])


def _other_domains(community: Community) -> list[Domain]:
    chain = community.chain
    return [
        Domain(chain.chain_id + 1, chain.order_domain.verifying_contract),
        Domain(chain.chain_id, chain.reading_domain.verifying_contract),
        Domain(chain.chain_id, str(chain.contracts.clearing.address)),
    ]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_order__signed_for_another_chain_or_contract__is_refused(
    community: Community, clearing: Any, consumer: Member, which: int
) -> None:
    order = community.order(consumer, bid(100_000, 1_000))
    foreign = order.signed_by(consumer.key, _other_domains(community)[which])
    with reverts(
        clearing.OrderSignerMismatch,
        peer=consumer.peer,
        nonce=0,
        signer=foreign.signer(community.chain.order_domain),
    ):
        community.clear(community.propose(foreign))


def test_order__with_the_malleable_twin_of_its_signature__is_refused(
    community: Community, clearing: Any, consumer: Member
) -> None:
    """The short form has no room for a high s: what is left of it is another signature."""
    signed = community.sign(consumer, bid(100_000, 1_000))
    twin = replace(signed, signature=_malleable(signed.signature))
    order_book = community.chain.contracts.order_book
    with reverts(order_book.WrongSigner, peer=consumer.peer, nonce=0):
        community.place(twin)
    cut = bytes([twin.signature[32] & 0x7F]) + twin.signature[33:64] + bytes([28])
    signer = replace(twin, signature=twin.signature[:32] + cut).signer(community.chain.order_domain)
    assert signer != consumer.wallet.address
    with pytest.raises(OracleError, match="s is in the upper half"):
        encode_orders(community.propose(twin))
    proposal = community.propose(signed)
    community.close_gate(proposal)
    message, part, *rest = community.chain.clearing_arguments(proposal, community.solver)
    brought = part["orders"][:-64] + twin.signature[:64]
    with reverts(clearing.OrderSignerMismatch, peer=consumer.peer, nonce=0, signer=signer):
        _send(community, (message, part | {"orders": brought}, *rest))


@pytest.fixture
def contract_wallet(community: Community) -> Any:
    """A contract that accepts what the outsider signs."""
    wallet = project().ContractWallet
    return wallet.deploy(community.outsider.address, sender=community.admin.account)


def test_order__of_a_contract_wallet__is_cleared_only_if_placed(
    community: Community, clearing: Any, producer: Member, contract_wallet: Any
) -> None:
    """Its code could accept the order now and refuse it while the clearing is on its way."""
    receipt = admit(community, contract_wallet.address, connection(Role.CONSUMER))
    outsider = community.outsider
    owner = Member(int(receipt.events[-1].peer), outsider, producer.meter, C3)
    community.deposit(owner, NANO)
    sale = community.sign(producer, ask(50_000, 1_000))
    signed = community.sign(owner, bid(100_000, 1_000))
    community.chain.snapshot().require_valid(signed)
    before = ape.chain.snapshot()
    with reverts(clearing.OrderSignerMismatch, peer=owner.peer, nonce=0, signer=outsider.address):
        community.clear(community.propose(sale, signed))
    ape.chain.restore(before)
    community.place(signed)
    community.clear(community.propose(sale, placed=[_unsigned(signed)]))
    assert community.balance(owner) == NANO - 75_000 * 1_000


@pytest.mark.parametrize("by", ["key", "code"])
def test_order__of_a_delegated_account__is_its_keys(
    community: Community,
    clearing: Any,
    producer: Member,
    consumer: Member,
    contract_wallet: Any,
    by: str,
) -> None:
    """An account that delegates to code (EIP-7702) remains its key's."""
    outsider = community.outsider
    consumer.wallet.account.set_delegate(contract_wallet, receiver=outsider.address)
    code = ape.networks.provider.get_code(consumer.wallet.address)
    assert bytes(code) == b"\xef\x01\x00" + to_canonical_address(contract_wallet.address)
    assert outsider.key is not None
    key = {"key": consumer.key, "code": outsider.key}[by]
    order = community.order(consumer, bid(100_000, 1_000))
    signed = order.signed_by(key, community.chain.order_domain)
    community.chain.snapshot().require_valid(signed)
    proposal = community.propose(community.sign(producer, ask(50_000, 1_000)), signed)
    if by == "key":
        community.clear(proposal)
        assert community.balance(consumer) == NANO - 75_000 * 1_000
    else:
        names = {"peer": consumer.peer, "nonce": 0, "signer": outsider.address}
        with reverts(clearing.OrderSignerMismatch, **names):
            community.clear(proposal)


@pytest.mark.parametrize("which", ["chain", "contract"])
def test_reading__signed_for_another_chain_or_contract__is_refused(
    community: Community, settlement: Any, consumer: Member, which: str
) -> None:
    chain = community.chain
    domain = {
        "chain": Domain(chain.chain_id + 1, chain.reading_domain.verifying_contract),
        "contract": chain.order_domain,
    }[which]
    start = community.open_session()
    community.travel_to(community.terms().clearing_deadline(start))
    reading = community.read(consumer, start, -10).reading
    foreign = reading.signed_by(consumer.meter, domain)
    with reverts(
        settlement.ReadingSignerMismatch,
        peer=consumer.peer,
        signer=foreign.signer(chain.reading_domain),
    ):
        community.reconcile(start, [foreign])


def test_reading__with_the_malleable_twin_of_its_signature__is_refused(
    community: Community, settlement: Any, consumer: Member
) -> None:
    """The short form has no room for a high s: what is left of it is another signature."""
    start = community.open_session()
    community.travel_to(community.terms().clearing_deadline(start))
    signed = community.read(consumer, start, -10)
    twin = replace(signed, signature=_malleable(signed.signature))
    with pytest.raises(SignatureError):
        community.reconcile(start, [twin])
    raw = twin.signature
    cut = raw[:32] + bytes([raw[32] & 0x7F]) + raw[33:64] + bytes([28])
    signer = replace(twin, signature=cut).signer(community.chain.reading_domain)
    assert signer != consumer.meter.address
    brought = bring({}, [signed], tariffs={consumer.peer: 0}).readings[:-64] + raw[:64]
    community.travel_to(community.terms().clearing_deadline(start) + 1)
    with reverts(settlement.ReadingSignerMismatch, peer=consumer.peer, signer=signer):
        community.send(settlement.reconcile, 1, start, [], brought, sender=community.solver)


def test_clearing__sent_again__is_refused(
    community: Community, clearing: Any, proposal: Proposal
) -> None:
    arguments = community.chain.clearing_arguments(proposal, community.solver)
    community.clear(proposal)
    names = {"market": 1, "sessionStart": proposal.session.start}
    with reverts(clearing.AlreadyCleared, **names):
        _send(community, arguments)


def test_order__cleared__cannot_be_cleared_again_in_another_session(
    community: Community, clearing: Any, producer: Member, proposal: Proposal
) -> None:
    arguments = community.chain.clearing_arguments(proposal, community.solver)
    community.clear(proposal)
    following = proposal.session.start + HOUR
    sale = proposal.orders[0]
    elsewhere = replace(sale, order=replace(sale.order, session_start=following))
    community.travel_to(community.terms().gate_closure(following))
    with reverts(
        clearing.OrderSignerMismatch,
        peer=producer.peer,
        nonce=0,
        signer=elsewhere.signer(community.chain.order_domain),
    ):
        _send(community, arguments, sessionStart=following)


def test_order__of_one_market__cannot_be_cleared_in_another(
    community: Community, clearing: Any, producer: Member, proposal: Proposal
) -> None:
    twin = community.chain.create_market(TERMS, sender=community.market_operator)
    sale = proposal.orders[0]
    elsewhere = replace(sale, order=replace(sale.order, market=twin))
    community.close_gate(proposal)
    arguments = community.chain.clearing_arguments(proposal, community.solver)
    with reverts(
        clearing.OrderSignerMismatch,
        peer=producer.peer,
        nonce=0,
        signer=elsewhere.signer(community.chain.order_domain),
    ):
        _send(community, arguments, market=twin)


def test_order__of_a_wallet_that_was_replaced__needs_the_roster_of_its_session(
    community: Community, clearing: Any, consumer: Member
) -> None:
    """Nobody clears by an outdated roster."""
    registry, new = community.chain.contracts.registry, signer_of(community._wallets)
    before = community.open_session()
    community.send(registry.publishRoster, 0, before, sender=community.outsider)
    community.send(registry.offerWallet, new.address, sender=consumer.wallet)
    community.send(registry.acceptWallet, consumer.peer, sender=new)
    community.travel_to(community.now() + NOTICE)
    stolen = community.propose(community.sign(consumer, bid(100_000, 1_000)))
    community.close_gate(stolen)
    message, part, *rest = community.chain.clearing_arguments(stolen, community.solver)
    start = stolen.session.start
    with reverts(registry.RosterNotInForce, page=0, index=0, time=start):
        _send(community, (message, part | {"rosters": [0]}, *rest))
    names = {"peer": consumer.peer, "nonce": 0, "signer": consumer.wallet.address}
    with reverts(clearing.OrderSignerMismatch, **names):
        _send(community, (message, part, *rest))


# ---------------------------------------------------------------------------------------- in parts


def test_draft__of_another_solver__is_of_no_use(
    community: Community, clearing: Any, consumer: Member, proposal: Proposal
) -> None:
    community.close_gate(proposal)
    message, part, nothing, _ = community.chain.clearing_arguments(proposal, community.solver)
    first, second = split(part["orders"], consumer.peer)
    sent = _send(community, (message, part | {"orders": first}, nothing, False))
    kept = bytes(clearing.draft(community.solver.address, 1, proposal.session.start))
    rest = (message, part | {"orders": second}, carried(sent), True)
    with reverts(clearing.NotTheDraft, expected=bytes(32), actual=kept):
        _send(community, rest, community.outsider)


@pytest.mark.parametrize("what", ["payments", "unlocks", "proposal"])
def test_draft__altered_between_the_parts__is_refused(
    community: Community, clearing: Any, consumer: Member, proposal: Proposal, what: str
) -> None:
    community.close_gate(proposal)
    message, part, nothing, _ = community.chain.clearing_arguments(proposal, community.solver)
    first, second = split(part["orders"], consumer.peer)
    left = carried(_send(community, (message, part | {"orders": first}, nothing, False)))
    if what == "proposal":
        message = message | {"feeTo": 1}
    else:
        left = left | {what: [consumer.peer << 224 | 1]}
    rest = (message, part | {"orders": second}, left, True)
    with pytest.raises(ContractError) as refusal:
        community.chain.send(clearing.clear, *rest, sender=community.solver)
    assert refusal.value.name == "NotTheDraft"
    assert clearing.draft(community.solver.address, 1, proposal.session.start) != bytes(32)


def test_first_part__claims_that_something_was_carried__has_no_effect(
    community: Community, ledger: Any, proposal: Proposal, producer: Member
) -> None:
    """What is locked for a later session would be free otherwise, though the order is placed."""
    prosumer = community.admit(Role.PROSUMER, C3, tokens=1)
    later = proposal.session.start + HOUR
    placed = community.sign(prosumer, bid(200_000, 3_000), session=later)
    community.place(placed)
    community.close_gate(proposal)
    message, part, nothing, last = community.chain.clearing_arguments(proposal, community.solver)
    entry = prosumer.peer << 224 | 200_000 * 3_000
    before = nothing | {"unlocks": [entry], "payments": [entry]}
    _send(community, (message, part, before, last))
    assert ledger.account(prosumer.peer).lockedNano == 200_000 * 3_000
    assert _is_cleared_with(community, placed, producer, prosumer)


def test_peer__in_both_parts__is_refused(
    community: Community, clearing: Any, producer: Member
) -> None:
    """It would have two positions, each within its connection, and be settled by either."""
    prosumer = community.admit(Role.PROSUMER, C3, tokens=1)
    steps = [
        (ask(50_000, 1_000, 0), bid(50_000, 1_000, 1)),
        (bid(50_000, 1_000, 0), ask(50_000, 1_000, 1)),
    ]
    mine = [community.sign(prosumer, *steps[0], market=QUARTERS, nonce=at) for at in (0, 1)]
    other = community.admit(Role.PROSUMER, C3, tokens=1)
    others = [community.sign(other, *steps[1], market=QUARTERS, nonce=at) for at in (0, 1)]
    proposal = community.propose(*mine, *others)
    community.close_gate(proposal)
    message, part, nothing, _ = community.chain.clearing_arguments(proposal, community.solver)
    record = len(part["orders"]) // 4
    first, second = part["orders"][:record], part["orders"][record:]
    sent = _send(community, (message, part | {"orders": first}, nothing, False))
    with reverts(clearing.OrdersUnsorted, peer=prosumer.peer, nonce=1):
        _send(community, (message, part | {"orders": second}, carried(sent), True))
    in_two_parts(community, proposal, other.peer)
    positions = community.chain.snapshot().positions_wh(QUARTERS, proposal.session.start)
    assert positions[prosumer.peer] == (2_000, -2_000, 0, 0)


def test_part__brought_twice__is_refused(
    community: Community, clearing: Any, producer: Member, consumer: Member, proposal: Proposal
) -> None:
    community.close_gate(proposal)
    message, part, nothing, _ = community.chain.clearing_arguments(proposal, community.solver)
    first, _ = split(part["orders"], consumer.peer)
    part = part | {"orders": first}
    sent = _send(community, (message, part, nothing, False))
    with reverts(clearing.OrdersUnsorted, peer=producer.peer, nonce=0):
        _send(community, (message, part, carried(sent), False))


def test_part__after_the_deadline_of_the_clearing__is_too_late(
    community: Community, clearing: Any, consumer: Member, proposal: Proposal
) -> None:
    start = proposal.session.start
    deadline = community.terms().clearing_deadline(start)
    community.close_gate(proposal)
    message, part, nothing, _ = community.chain.clearing_arguments(proposal, community.solver)
    first, second = split(part["orders"], consumer.peer)
    community.wait_until(deadline)
    sent = _send(community, (message, part | {"orders": first}, nothing, False))
    with reverts(clearing.ClearingTooLate, market=1, sessionStart=start, deadline=deadline):
        _send(community, (message, part | {"orders": second}, carried(sent), True))


def test_draft__while_another_solver_clears__is_worth_nothing(
    community: Community, clearing: Any, consumer: Member, proposal: Proposal
) -> None:
    """Nobody waits for a draft, and nothing of it is booked."""
    community.close_gate(proposal)
    message, part, nothing, _ = community.chain.clearing_arguments(proposal, community.solver)
    first, second = split(part["orders"], consumer.peer)
    sent = _send(community, (message, part | {"orders": first}, nothing, False))
    assert community.balance(consumer) == NANO
    _send(community, (message, part, nothing, True), community.outsider)
    assert community.balance(consumer) == NANO - 75_000 * 1_000
    with reverts(clearing.AlreadyCleared, market=1, sessionStart=proposal.session.start):
        _send(community, (message, part | {"orders": second}, carried(sent), True))


# ---------------------------------------------------------------------------------- re-entrance


@pytest.fixture
def callback_token(community: Community) -> Any:
    """A token that calls whatever it is told to, while it is being transferred."""
    return project().CallbackERC20.deploy(18, sender=community.admin.account)


@pytest.fixture
def callback_books(community: Community, callback_token: Any, consumer: Member) -> Books:
    """A ledger of that token, in which the consumer has 100 nano-tokens."""
    books = Books.open(community, callback_token)
    wallet = consumer.wallet
    community.send(callback_token.mint, wallet.address, 200 * NANO, sender=wallet)
    community.send(callback_token.approve, books.ledger, 200 * NANO, sender=wallet)
    community.send(books.ledger.deposit, consumer.peer, 100, sender=wallet)
    return books


GUARDED = {"deposit": (3, 1), "depositToFund": (1,), "withdraw": ()}


@pytest.mark.parametrize("again", list(GUARDED))
@pytest.mark.parametrize("first", list(GUARDED))
def test_ledger__entered_again_by_its_token__reverts(
    callback_books: Books, callback_token: Any, consumer: Member, first: str, again: str
) -> None:
    community, ledger, wallet = callback_books.community, callback_books.ledger, consumer.wallet
    callback_books.request(consumer, 50)
    community.travel_to(community.now() + 14 * DAY)
    data = getattr(ledger, again).encode_input(*GUARDED[again])
    community.send(callback_token.setCallback, ledger, data, sender=wallet)
    with reverts(ledger.ReentrancyGuardReentrantCall):
        community.send(getattr(ledger, first), *GUARDED[first], sender=wallet)


def test_ledger__collecting_while_tokens_leave__pays_nothing_twice(
    callback_books: Books, callback_token: Any, consumer: Member, producer: Member
) -> None:
    """Arrears are out of reach of the withdrawal, so they are still there to be collected."""
    books, community = callback_books, callback_books.community
    books.lock(consumer, 100)
    books.owe((consumer.peer, producer.peer, 30))
    books.unlock(consumer, 100)
    books.request(consumer, 70)
    community.travel_to(community.now() + 14 * DAY)
    data = books.ledger.collect.encode_input(consumer.peer, producer.peer)
    community.send(callback_token.setCallback, books.ledger, data, sender=consumer.wallet)
    books.withdraw(consumer)
    assert callback_token.balanceOf(consumer.wallet.address) == (100 + 70) * NANO
    assert (books.balance(consumer), books.balance(producer)) == (0, 30)


# ----------------------------------------------------------------------------- blocking a session


@pytest.fixture
def placed(community: Community, consumer: Member) -> SignedOrder:
    """A bid of the consumer for a session a day ahead, placed on chain."""
    session = community.open_session() + DAY
    signed = community.sign(consumer, bid(200_000, 3_000), session=session)
    community.place(signed)
    return signed


def _is_cleared_with(
    community: Community, placed: SignedOrder, producer: Member, consumer: Member
) -> bool:
    """Whether the placed order still trades, with the producer as the seller."""
    session = placed.order.session_start
    sale = community.sign(producer, ask(50_000, 4_000), session=session)
    before = community.balance(consumer)
    community.clear(community.propose(sale, placed=[_unsigned(placed)]))
    return community.balance(consumer) == before - 50_000 * 3_000


def _connection(member: Member, **changes: Any) -> dict[str, Any]:
    return {
        "role": Role.CONSUMER,
        "network": 1,
        "node": member.node,
        "meter": member.meter.address,
        "supplier": 1,
        "connectionW": 10**6,
        "community": 1,
    } | changes


@pytest.mark.parametrize("when", ["after placing", "after gate closure"])
@pytest.mark.parametrize("change", ["suspended", "moved", "cut off", "made a producer"])
def test_placed_order__of_a_peer_that_is_changed__is_cleared(
    community: Community,
    placed: SignedOrder,
    producer: Member,
    consumer: Member,
    change: str,
    when: str,
) -> None:
    """The book opens when no change can take effect any more before the session's end."""
    registry = community.chain.contracts.registry
    if when == "after gate closure":
        community.travel_to(community.terms().gate_closure(placed.order.session_start))
    changes = {
        "moved": {"node": C2},
        "cut off": {"connectionW": 0},
        "made a producer": {"role": Role.PRODUCER},
    }
    if change == "suspended":
        community.send(registry.suspend, consumer.peer, sender=community.registrar)
    else:
        connection = _connection(consumer, **changes[change])
        community.send(registry.change, consumer.peer, connection, sender=community.registrar)
    assert _is_cleared_with(community, placed, producer, consumer)


def test_placed_order__of_a_peer_with_a_new_wallet__is_cleared(
    community: Community, placed: SignedOrder, producer: Member, consumer: Member
) -> None:
    registry, new = community.chain.contracts.registry, signer_of(community._wallets)
    community.send(registry.offerWallet, new.address, sender=consumer.wallet)
    community.send(registry.acceptWallet, consumer.peer, sender=new)
    assert _is_cleared_with(community, placed, producer, consumer)


def test_placed_order__of_a_peer_that_wants_to_leave__keeps_it(
    community: Community, placed: SignedOrder, consumer: Member
) -> None:
    registry = community.chain.contracts.registry
    with reverts(registry.AccountOpen, peer=consumer.peer):
        community.send(registry.leaveCommunity, sender=consumer.wallet)


def test_placed_order__of_a_peer_that_asks_for_its_money__is_cleared(
    community: Community, ledger: Any, placed: SignedOrder, producer: Member, consumer: Member
) -> None:
    free = NANO - 200_000 * 3_000
    names = {"peer": consumer.peer, "neededNano": free + 1, "availableNano": free}
    with reverts(ledger.InsufficientFunds, **names):
        community.send(ledger.requestWithdrawal, free + 1, sender=consumer.wallet)
    community.send(ledger.requestWithdrawal, free, sender=consumer.wallet)
    assert _is_cleared_with(community, placed, producer, consumer)


def test_placed_order__of_a_peer_that_came_into_arrears__is_cleared(
    community: Community, ledger: Any, placed: SignedOrder, producer: Member, consumer: Member
) -> None:
    void = community.open_session()
    community.travel_to(community.terms().clearing_deadline(void))
    community.reconcile(void, [community.read(consumer, void, -100_000)])
    owed = 100_000 * RETAIL - (NANO - 200_000 * 3_000)
    assert ledger.arrearsNano(consumer.peer, community.supplier.peer) == owed
    assert _is_cleared_with(community, placed, producer, consumer)


def test_placed_order__on_credit__keeps_the_credit(
    community: Community, ledger: Any, producer: Member
) -> None:
    manager, token = community.fund_manager, community.chain.contracts.token
    community.send(token.treasuryMint, manager.address, NANO * NANO, sender=community.treasury)
    community.send(token.approve, ledger, NANO * NANO, sender=manager)
    community.send(ledger.depositToFund, NANO, sender=manager)
    consumer = community.admit(Role.CONSUMER, C3)
    community.send(ledger.setCredit, consumer.peer, NANO, sender=manager)
    placed = community.sign(consumer, bid(200_000, 3_000))
    community.place(placed)
    with reverts(ledger.CreditInUse, peer=consumer.peer, neededNano=200_000 * 3_000):
        community.send(ledger.setCredit, consumer.peer, 0, sender=manager)
    with reverts(ledger.FundTooSmall, neededNano=1, freeNano=0):
        community.send(ledger.allot, [(producer.peer, 1)], sender=manager)
    assert _is_cleared_with(community, placed, producer, consumer)


def test_placed_order__cancelled_after_gate_closure__is_still_due(
    community: Community, placed: SignedOrder, producer: Member, consumer: Member
) -> None:
    order_book, start = community.chain.contracts.order_book, placed.order.session_start
    gate = community.terms().gate_closure(start)
    community.travel_to(gate)
    names = {"market": 1, "sessionStart": start, "gateClosure": gate}
    for cancel in (order_book.cancel, order_book.cancelAll):
        with reverts(order_book.GateClosed, **names):
            community.send(cancel, 1, start, 1, sender=consumer.wallet)
    assert _is_cleared_with(community, placed, producer, consumer)


@pytest.mark.parametrize("nonce", [0, 2**31, 2**32 - 1])
def test_placed_orders__at_the_limits_of_price_energy_and_nonce__are_cleared(
    community: Community, ledger: Any, nonce: int
) -> None:
    """The dearest bid meets the cheapest ask; both have locked what they might pay at worst."""
    prosumer = community.admit(Role.PROSUMER, GRID, tokens=4_500)
    storage = community.admit(Role.STORAGE, GRID, tokens=4_500)
    steps = bid(4_000_000, 10**6), ask(-500_000, 10**6)
    orders = [community.sign(member, *steps, nonce=nonce) for member in (prosumer, storage)]
    for signed in orders:
        community.place(signed)
        assert ledger.availableNano(signed.order.peer) == 0
    community.clear(community.propose(placed=[_unsigned(signed) for signed in orders]))
    assert [ledger.account(signed.order.peer).lockedNano for signed in orders] == [0, 0]


def test_placed_order__that_alone_holds_both_prices_of_every_period__is_cleared(
    community: Community,
) -> None:
    """A clearing names 254 of its steps, of the 255 that it can; a longer session has no market."""
    terms = replace(
        TERMS, period_seconds=900, periods_per_session=MOST_PERIODS, max_placed_blocks=32
    )
    market = community.chain.create_market(terms, sender=community.market_operator)
    start = community.open_session(market)
    opens, _ = community.chain.contracts.order_book.bookTimes(market, start)
    if community.now() < opens:  # a session is long: by the hour its book may be open already
        community.travel_to(opens)
    alone = community.admit(Role.PROSUMER, C3, tokens=1)
    steps = [step for at in range(MOST_PERIODS) for step in (ask(5, 1, at), bid(10, 1, at))]
    signed = community.sign(alone, *steps, market=market, session=start)
    community.place(signed)
    community.clear(community.propose(placed=[_unsigned(signed)]))


def test_signed_order__whose_funds_are_locked_for_later__is_left_out(
    community: Community, ledger: Any, producer: Member, consumer: Member
) -> None:
    """A peer may spoil the clearing that contains its order, and is then left out of it."""
    sale = community.sign(producer, ask(50_000, 20_000))
    proposal = community.propose(sale, community.sign(consumer, bid(100_000, 10_000)))
    community.close_gate(proposal)
    later = community.sign(consumer, bid(1_000_000, 1_000), session=proposal.session.start + HOUR)
    community.place(later)
    names = {"peer": consumer.peer, "neededNano": 50_000 * 10_000, "availableNano": 0}
    with reverts(ledger.InsufficientFunds, **names):
        community.clear(proposal)
    community.clear(community.propose(sale))


def test_session__of_which_the_dso_publishes_many_successors__is_cleared(
    community: Community, placed: SignedOrder, producer: Member, consumer: Member
) -> None:
    first = community.now() + NOTICE + HOUR
    for at in range(12):
        links = (replace(NETWORK.links[0], tariff_micro_per_kwh=at), *NETWORK.links[1:])
        community.chain.publish_network(
            1,
            replace(NETWORK, links=links),
            sender=community.dso,
            effective_from=first + 900 * at,
        )
    assert _is_cleared_with(community, placed, producer, consumer)


def test_reading__of_a_supplier_with_many_tariffs__is_settled(
    community: Community, consumer: Member
) -> None:
    """A session meets no more tariffs than it has quarter hours, wherever it stands in the list."""
    registry = community.chain.contracts.registry
    start = community.terms(QUARTERS).next_open_session(community.now() + NOTICE + 2 * DAY)
    first = start - 60 * 900
    tariffs = [(first + 900 * at, 100_000 + at, 0) for at in range(80)]
    community.send(registry.publishTariffs, tariffs, sender=community.supplier.wallet)
    community.travel_to(community.terms(QUARTERS).clearing_deadline(start))
    reading = community.read(consumer, start, -1, -1, -1, -1, market=QUARTERS)
    receipt = community.reconcile(start, [reading], market=QUARTERS, tariff=1 + 60)
    assert events(receipt)[1].values["imbalanceNano"] == -(4 * 100_060 + 1 + 2 + 3)


# --------------------------------------------------------------------------- what roles cannot do


def _everybody_with_a_role(community: Community) -> list[Signer]:
    return [
        community.admin,
        community.registrar,
        community.dso,
        community.market_operator,
        community.guardian,
        community.fund_manager,
        community.treasury,
        community.solver,
        community.supplier.wallet,
        community.operator.wallet,
    ]


def test_nobody__books_or_locks_by_hand(
    community: Community, ledger: Any, consumer: Member
) -> None:
    for caller in _everybody_with_a_role(community):
        with reverts(ledger.NotTheClearing, caller=caller.address):
            bookings = booked((consumer.peer, -NANO)), b"", [(community.supplier.peer, NANO)]
            community.send(ledger.bookClearing, *bookings, 0, 0, 0, sender=caller)
        with reverts(ledger.NotTheSettlement, caller=caller.address):
            payments = [(consumer.peer, community.supplier.peer, NANO)]
            community.send(ledger.bookImbalances, payments, sender=caller)
        for move in (ledger.lock, ledger.unlock):
            with reverts(ledger.NotTheOrderBook, caller=caller.address):
                community.send(move, consumer.peer, NANO, sender=caller)
        order_book = community.chain.contracts.order_book
        with reverts(order_book.NotTheClearing, caller=caller.address):
            community.send(order_book.take, 1, community.open_session(), 0, sender=caller)


def test_nobody__withdraws_for_another(community: Community, ledger: Any) -> None:
    members = (community.supplier.wallet, community.operator.wallet)
    for caller in _everybody_with_a_role(community):
        if caller in members:
            continue
        with reverts(ledger.NotAnAccount, caller=caller.address):
            community.send(ledger.requestWithdrawal, 1, sender=caller)


def test_nobody__takes_more_than_its_own(
    community: Community, ledger: Any, consumer: Member
) -> None:
    """The ledger is full of other people's tokens."""
    supplier = community.supplier
    with reverts(ledger.InsufficientFunds, peer=supplier.peer, neededNano=1, availableNano=0):
        community.send(ledger.requestWithdrawal, 1, sender=supplier.wallet)


def test_admin__clears_without_proof__is_refused(
    community: Community, clearing: Any, proposal: Proposal
) -> None:
    """The prices of an empty book would let nothing trade."""
    community.close_gate(proposal)
    arguments = community.chain.clearing_arguments(proposal, community.solver)
    empty = encode_clearing(propose(proposal.session, [], nodes={}))
    with reverts(clearing.LimitBetweenPrices, node=C3, period=0, limitMicroPerKWh=50_000):
        _send(community, (empty, *arguments[1:]), community.admin)


def _at_prices(proposal: Proposal, **columns: Any) -> Proposal:
    (certificate,) = proposal.certificates
    changed = Certificate(**certificate.columns() | columns)
    return replace(proposal, certificates=(changed,))


def test_solver__gives_the_gain_to_the_sellers__is_refused(
    community: Community, clearing: Any, proposal: Proposal
) -> None:
    """All prices from 50 000 to 100 000 are optimal; only the one in the middle is taken."""
    (certificate,) = proposal.certificates
    assert (certificate.low[C3], certificate.high[C3]) == (50_000, 100_000)
    bought = [0, 0, 1_000]
    dearest = _at_prices(proposal, low=certificate.high, bid_fill=bought, bid_total=bought)
    community.close_gate(proposal)
    with reverts(clearing.LowestNotProved, node=GRID, period=0):
        _send(community, community.chain.clearing_arguments(dearest, community.solver))


def test_solver__gives_the_gain_to_the_buyers__is_refused(
    community: Community, clearing: Any, proposal: Proposal
) -> None:
    (certificate,) = proposal.certificates
    sold = [0, 0, 1_000]
    cheapest = _at_prices(proposal, high=certificate.low, ask_fill=sold, ask_total=sold)
    community.close_gate(proposal)
    with reverts(clearing.HighestNotProved, node=GRID, period=0):
        _send(community, community.chain.clearing_arguments(cheapest, community.solver))


def test_solver__leaves_out_what_it_may__lets_the_rest_be_cleared_optimally(
    community: Community, clearing: Any, consumer: Member, proposal: Proposal
) -> None:
    """Orders that are not placed are at the solver's mercy; that is why a manager comes first."""
    alone = replace(proposal, orders=proposal.orders[1:])
    community.close_gate(proposal)
    arguments = community.chain.clearing_arguments(alone, community.solver)
    with reverts(clearing.NodeUnbalanced, node=C3, period=0, surplusWh=-1_000):
        _send(community, arguments)
    community.clear(community.propose(*proposal.orders[1:]))
    assert community.balance(consumer) == NANO


def test_solver__favours_one_of_two_equal_bids__is_refused(
    community: Community, clearing: Any, producer: Member, consumer: Member
) -> None:
    """Orders at the same limit share, by what they ask for and nothing else."""
    other = community.admit(Role.CONSUMER, C3, tokens=1)
    proposal = community.propose(
        community.sign(producer, ask(50_000, 1_000)),
        community.sign(consumer, bid(100_000, 1_000)),
        community.sign(other, bid(100_000, 1_000)),
    )
    community.close_gate(proposal)
    more = _at_prices(proposal, bid_fill=[0, 0, 1_500])
    with reverts(clearing.NodeUnbalanced, node=C3, period=0, surplusWh=-500):
        _send(community, community.chain.clearing_arguments(more, community.solver))
    community.clear(proposal)
    half = NANO - 500 * 100_000
    assert (community.balance(consumer), community.balance(other)) == (half, half)


def test_guardian__pauses_everything__stops_no_money_that_is_due(
    community: Community, ledger: Any, producer: Member, consumer: Member
) -> None:
    """Cancelling, reconciling, collecting, releasing and withdrawing go on."""
    order_book = community.chain.contracts.order_book
    start = community.open_session()
    other = community.admit(Role.CONSUMER, C3, tokens=1)
    for member in (consumer, other):
        community.place(community.sign(member, bid(100_000, 1_000), session=start))
    community.send(ledger.requestWithdrawal, NANO // 2, sender=producer.wallet)
    community.send(order_book.pause, sender=community.guardian)

    community.send(order_book.cancel, 1, start, 0, sender=other.wallet)
    community.travel_to(community.terms().clearing_deadline(start) + 1)
    community.send(order_book.release, 1, start, consumer.peer, sender=community.outsider)
    assert ledger.availableNano(consumer.peer) == ledger.availableNano(other.peer) == NANO
    community.reconcile(start, [community.read(consumer, start, -10)])
    assert community.balance(consumer) == NANO - 10 * RETAIL
    community.travel_to(community.now() + 14 * DAY)
    community.send(ledger.withdraw, sender=producer.wallet)
    assert community.balance(producer) == NANO // 2


def test_guardian__pauses_until_the_deadline__voids_the_session_and_moves_no_funds(
    community: Community, clearing: Any, producer: Member, consumer: Member, proposal: Proposal
) -> None:
    start = proposal.session.start
    deadline = community.terms().clearing_deadline(start)
    book = community.chain.contracts.order_book
    community.send(book.pause, sender=community.guardian)
    community.travel_to(deadline + 1)
    community.send(book.unpause, sender=community.guardian)
    with reverts(clearing.ClearingTooLate, market=1, sessionStart=start, deadline=deadline):
        community.clear(proposal)
    assert (community.balance(producer), community.balance(consumer)) == (NANO, NANO)


def test_meter__that_was_replaced__reads_earlier_sessions_only(
    community: Community, settlement: Any, consumer: Member
) -> None:
    registry, new = community.chain.contracts.registry, community.registrar
    before = community.open_session()
    connection = _connection(consumer, meter=new.address)
    community.send(registry.change, consumer.peer, connection, sender=community.registrar)
    after = community.terms().next_open_session(community.now() + NOTICE + HOUR)
    community.travel_to(community.terms().clearing_deadline(after))
    community.reconcile(before, [community.read(consumer, before, -10)])
    old = consumer.meter.address
    with reverts(settlement.ReadingSignerMismatch, peer=consumer.peer, signer=old):
        community.reconcile(after, [community.read(consumer, after, -10)])


def test_meter__claims_a_position_for_its_peer__is_refused(
    community: Community, settlement: Any, proposal: Proposal
) -> None:
    """Another peer's sale would turn one's own consumption into a delivery."""
    community.clear(proposal)
    idle = community.admit(Role.CONSUMER, C3)
    start = proposal.session.start
    for leaf, position in enumerate(proposal.positions_wh.values()):
        for claimed in (None, position):
            with reverts(settlement.WrongPosition, peer=idle.peer, leaf=leaf):
                reading = community.read(idle, start, -10)
                community.reconcile(start, [reading], leaf=leaf, position_wh=claimed)


def test_meter__denies_the_position_of_its_peer__is_refused(
    community: Community, settlement: Any, producer: Member, proposal: Proposal
) -> None:
    """Who sold and did not deliver would owe nothing."""
    community.clear(proposal)
    start = proposal.session.start
    for leaf in (0, 1, 2):
        with reverts(settlement.WrongPosition, peer=producer.peer, leaf=leaf):
            reading = community.read(producer, start, 0)
            community.reconcile(start, [reading], leaf=leaf, position_wh=None)
