"""Receipts off chain: documents, the manager's oracle that issues and keeps them, challenges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from eth_account import Account

from fairwatt.chain import Claim, Role
from fairwatt.eip712 import Domain
from fairwatt.errors import ContractError, OracleError, ReceiptError, SignatureError
from fairwatt.oracle import MOST_EXCUSED_BLOCKS, IssueRun, Oracle
from fairwatt.orders import FlexibleOrder, Order, SignedOrder
from fairwatt.receipts import OrderReceipt, SignedReceipt
from tests.community import C2, C3, NANO, RETAIL, TERMS, Community, Member, ask, bid

if TYPE_CHECKING:
    from collections.abc import Callable

    from fairwatt.session import MarketTerms

FEE = 3 * NANO
TOKEN = 10**18
MANAGER = Account.from_key(b"\7" * 32)
DOMAIN = Domain(5, "0x" + "12" * 20)
ORDER = Order(1, 2, 3_600, (bid(9, 9),), 4)
SIGNED = ORDER.signed_by(Account.from_key(b"\5" * 32), DOMAIN)


# --------------------------------------------------------------------------------------- documents


def test_document__round_trip_and_signer() -> None:
    answer = OrderReceipt.of(ORDER, 77).signed_by(MANAGER, DOMAIN)
    assert SignedReceipt.from_document(answer.to_document()) == answer
    assert answer.to_document()["receipt"] == {
        "market": 1,
        "peer": 2,
        "sessionStart": 3_600,
        "nonce": 4,
        "orderHash": "0x" + ORDER.struct_hash.hex(),
        "issuedAt": 77,
    }
    assert answer.require_for(SIGNED, DOMAIN, MANAGER.address) == MANAGER.address
    elsewhere = Domain(6, DOMAIN.verifying_contract)
    with pytest.raises(SignatureError, match="or signed for another chain, contract, order"):
        answer.require_for(SIGNED, elsewhere, MANAGER.address)


def test_require_for__another_order__is_refused() -> None:
    answer = OrderReceipt.of(replace(ORDER, nonce=5), 77).signed_by(MANAGER, DOMAIN)
    with pytest.raises(ReceiptError, match="is for another order than this one"):
        answer.require_for(SIGNED, DOMAIN)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"market": -1}, "receipt.market"),
        ({"issuedAt": 2**40}, "receipt.issuedAt"),
        ({"nonce": True}, "receipt.nonce"),
        ({"peer": "2"}, "receipt.peer"),
        ({"orderHash": "0x12"}, "receipt.orderHash"),
        ({"orderHash": 12}, "receipt.orderHash"),
        ({"color": 1}, "receipt"),
    ],
)
def test_from_document__malformed__says_where(change: dict[str, Any], path: str) -> None:
    document = OrderReceipt.of(ORDER, 77).signed_by(MANAGER, DOMAIN).to_document()
    document["receipt"] |= change
    with pytest.raises(ReceiptError) as refusal:
        SignedReceipt.from_document(document)
    assert refusal.value.path == path


# ------------------------------------------------------------------------------------- the manager


@dataclass
class Office:
    """A market with a manager, its bond, and what peers handed in for the next session."""

    community: Community
    terms: MarketTerms
    market: int
    start: int
    buyer: Member
    seller: Member
    rival: Member
    orders: list[SignedOrder]
    most_flexible: int | None = None

    @classmethod
    def open(cls, community: Community) -> Office:
        terms = replace(
            TERMS,
            manager=community.solver.address,
            exclusive_window_seconds=600,
            solver_fee_nano=FEE,
        )
        market = community.chain.create_market(terms, sender=community.market_operator)
        buyer = community.admit(Role.CONSUMER, C3, tokens=1, connection_w=10_000)
        seller = community.admit(Role.PRODUCER, C2, tokens=1)
        rival = community.admit(Role.CONSUMER, C3, tokens=1)
        start = community.open_session(market)
        options = {"market": market, "session": start}
        orders = [
            community.sign(buyer, bid(100_000, 4_000), **options),
            community.sign(seller, ask(50_000, 9_000), **options),
            community.sign(rival, bid(90_000, 1_000), **options),
        ]
        office = cls(community, terms, market, start, buyer, seller, rival, orders)
        contracts = community.chain.contracts
        treasury, bonds = community.treasury, contracts.bonds
        community.send(contracts.token.approve, bonds, 30 * TOKEN, sender=treasury)
        community.send(bonds.deposit, community.solver.address, 30 * TOKEN, sender=treasury)
        return office

    @property
    def oracle(self) -> Oracle:
        oracle = Oracle(self.community.chain, self.market, self.community.solver, True)
        return replace(oracle, most_flexible=self.most_flexible)

    def issue(self, *orders: SignedOrder) -> tuple[SignedReceipt, ...]:
        run = self.oracle.issue(self.start, orders or self.orders)
        assert run.refused == ()
        return tuple(answer for _, answer in run.answered)

    def to_gate(self) -> None:
        self.community.travel_to(self.terms.gate_closure(self.start))

    def receipt_of(self, answers: tuple[SignedReceipt, ...], member: Member) -> SignedReceipt:
        (mine,) = [answer for answer in answers if answer.receipt.peer == member.peer]
        return mine

    def claim(self, member: Member) -> Claim:
        return self.community.chain.snapshot().claim(self.market, self.start, member.peer)


@pytest.fixture
def office(community: Community) -> Office:
    return Office.open(community)


def test_issue__orders_that_are_taken__have_receipts_that_name_them(office: Office) -> None:
    run = office.oracle.issue(office.start, office.orders)
    assert {signed for signed, _ in run.answered} == set(office.orders)
    for signed, answer in run.answered:
        manager = office.community.solver.address
        answer.require_for(signed, office.community.chain.receipt_domain, manager)
    again = office.oracle.issue(office.start, office.orders, [answer for _, answer in run.answered])
    assert again == run


def vehicle(office: Office, member: Member, nonce: int = 0, **terms: int) -> SignedOrder:
    """Takes 4 kWh for at most 0.1 token/kWh, by default."""
    window = {"first_period": 0, "periods": 1}
    energies = {"charge_wh": 4_000, "discharge_wh": 0, "capacity_wh": 4_000, "wanted_wh": 4_000}
    rest = {"start_wh": 0, "value_micro_per_kwh": 100_000}
    where = {"market": office.market, "peer": member.peer, "session_start": office.start}
    order = FlexibleOrder(nonce=nonce, **(where | window | energies | rest | terms))
    return order.signed_by(member.key, office.community.chain.order_domain)


def test_issue__flexible_order__is_promised_and_kept(office: Office) -> None:
    orders = [vehicle(office, office.buyer), *office.orders[1:]]
    run = office.oracle.issue(office.start, orders)
    assert run.refused == ()
    assert {answered for answered, _ in run.answered} == set(orders)
    receipts = [answer for _, answer in run.answered]
    assert SignedReceipt.from_document(receipts[0].to_document()) == receipts[0]
    office.to_gate()
    # It comes before another that was handed in under its nonce, of whichever kind.
    done = office.oracle.clear(office.start, [office.orders[0], *orders], receipts)
    assert [entry.reason for entry in done.refused] == [
        "the peer signed another order with this nonce"
    ]
    assert done.excused == ()
    assert done.proposal is not None
    assert set(done.proposal.orders) == set(orders)
    for signed, answer in run.answered:
        with pytest.raises(ContractError) as refusal:
            office.community.chain.challenge(signed, answer, office.community.outsider)
        assert refusal.value.name == "OrderIsThere"


def test_issue__more_flexible_orders_than_there_is_room_for__are_refused(office: Office) -> None:
    """Nothing is promised that no clearing could hold, and what was promised stays."""
    oracle = replace(office.oracle, most_flexible=1)
    first, second = vehicle(office, office.buyer), vehicle(office, office.rival)
    answers = office.issue(first)
    for orders in ((first, second), (second, first)):
        run = oracle.issue(office.start, orders, answers)
        assert run.answered == ((first, answers[0]),)
        assert run.refused[0].reason == "the clearing has room for 1 flexible orders"


def test_issue__second_order_under_a_promised_nonce__changes_nothing(office: Office) -> None:
    """Neither of two orders is lower than the other both times: one of them would push it out."""
    for energy in (4_001, 4_002, 4_003):
        first = office.orders[0]
        second = office.community.sign(
            office.buyer, bid(100_000, energy), market=office.market, session=office.start
        )
        answers = office.issue(first)
        run = office.oracle.issue(office.start, [second, first], answers)
        assert run.answered == ((first, answers[0]),)
        assert run.refused[0].reason == "the peer signed another order with this nonce"


def placed_for_a_while(office: Office, promised: SignedOrder, later: SignedOrder) -> list[Any]:
    """Receipts where an order that is placed and cancelled stood in the way of one in between."""
    community, wallet = office.community, office.buyer.wallet
    (first,) = office.issue(promised)
    whole = bid(1_000, 10_000)  # what the connection carries
    options = {"market": office.market, "session": office.start, "nonce": 9}
    community.place(community.sign(office.buyer, whole, **options))
    run = office.oracle.issue(office.start, [promised, later], [first])
    assert "more than the connection's" in run.refused[0].reason
    cancel = community.chain.contracts.order_book.cancel
    community.send(cancel, office.market, office.start, 9, sender=wallet)
    return [first, *(answer for _, answer in run.answered)]


def test_issue__promised_order_is_in_the_way_of_a_placed_one__keeps_its_steps(
    office: Office,
) -> None:
    """Or else both had a receipt when the placed one was cancelled, and one was left out."""
    community = office.community
    office.buyer = community.admit(Role.PROSUMER, C3, tokens=1, connection_w=10_000)
    options = {"market": office.market, "session": office.start}
    first = community.sign(office.buyer, *[bid(100_000, 100)] * 40, **options)
    later = community.sign(office.buyer, *[ask(100_000, 100)] * 40, nonce=1, **options)
    receipts = placed_for_a_while(office, first, later)
    assert [answer.receipt.nonce for answer in receipts] == [0]
    office.to_gate()
    run = office.oracle.clear(office.start, [first, later], receipts)
    assert run.excused == ()
    assert [entry.nonce for entry in run.refused] == [1]


def test_issue__promised_flexible_order_is_in_the_way_of_a_placed_one__keeps_its_node(
    office: Office,
) -> None:
    office.most_flexible = 1
    first, later = vehicle(office, office.buyer), vehicle(office, office.rival)
    receipts = placed_for_a_while(office, first, later)
    assert [answer.receipt.peer for answer in receipts] == [office.buyer.peer]
    # What it promised it keeps, whatever else it would take.
    office.to_gate()
    run = replace(office.oracle, most_flexible=0).clear(office.start, [first, later], receipts)
    assert run.excused == ()
    assert run.proposal is not None
    assert run.proposal.orders == (first,)


def test_issue__more_blocks_than_an_excuse_can_show__are_refused(office: Office) -> None:
    """A few steps far apart take many blocks, and gas for each of them."""
    community = office.community
    terms = replace(office.terms, period_seconds=900, periods_per_session=96)
    office.market = community.chain.create_market(terms, sender=community.market_operator)
    office.start = community.open_session(office.market)
    options = {"market": office.market, "session": office.start}
    rows = MOST_EXCUSED_BLOCKS // 12
    wide = community.sign(office.buyer, *[bid(9, 9)] * rows, bid(9, 9, 95), **options)
    more = community.sign(office.buyer, bid(9, 9), nonce=1, **options)
    other = community.sign(office.rival, bid(9, 9), **options)
    answers = office.issue(wide)
    run = office.oracle.issue(office.start, [wide, more, other], answers)
    assert {signed for signed, _ in run.answered} == {wide, other}
    assert [entry.reason for entry in run.refused] == [
        "with it the peer's curves have more than 192 blocks; it can place orders"
    ]


def test_issue__signer_whose_receipts_bind_nobody__is_refused(office: Office) -> None:
    outsider = replace(office.oracle, signer=office.community.outsider)
    with pytest.raises(OracleError, match="receipts of market 3 are signed by its manager"):
        outsider.issue(office.start, office.orders)
    hourly = replace(office.oracle, market=1)
    with pytest.raises(OracleError, match="who has an exclusive window to keep them"):
        hourly.issue(office.start, [])


def test_issue__no_bond_or_no_open_book__is_refused(office: Office) -> None:
    community, bonds = office.community, office.community.chain.contracts.bonds
    later = office.start + 100 * 3_600
    with pytest.raises(OracleError, match=f"session {later} are issued while its book is open"):
        office.oracle.issue(later, [])
    community.send(bonds.requestWithdrawal, 25 * TOKEN, sender=community.solver)
    with pytest.raises(OracleError, match="secures 5000000000000000000 wei, a broken receipt"):
        office.oracle.issue(office.start, office.orders)
    community.send(bonds.requestWithdrawal, 0, sender=community.solver)
    office.to_gate()
    with pytest.raises(OracleError, match="issued while its book is open"):
        office.oracle.issue(office.start, office.orders)


# -------------------------------------------------------------------------------- keeping promises


def test_clear__peer_emptied_its_account__is_excused_before_the_clearing(office: Office) -> None:
    community, chain = office.community, office.community.chain
    answers = office.issue()
    ledger = chain.contracts.ledger
    community.send(ledger.requestWithdrawal, NANO, sender=office.buyer.wallet)
    office.to_gate()
    dry = replace(office.oracle, send=False).clear(office.start, office.orders, answers)
    assert (len(dry.excused), office.claim(office.buyer)) == (1, Claim.OPEN)
    run = office.oracle.clear(office.start, office.orders, answers)
    assert run.receipt is not None
    assert [(entry.peer, entry.nonce) for entry in run.excused] == [(office.buyer.peer, 0)]
    assert "and is excused" in run.excused[0].reason
    assert office.claim(office.buyer) is Claim.EXCUSED
    mine = office.receipt_of(answers, office.buyer)
    with pytest.raises(ContractError) as refusal:
        chain.challenge(office.orders[0], mine, community.outsider)
    assert refusal.value.name == "NothingOwed"


@pytest.mark.parametrize("last", [False, True])
def test_clear__false_copy_of_a_promised_order__does_not_spoil_the_excuse(
    office: Office, *, last: bool
) -> None:
    """Anybody may hand in what looks like the order of another; wherever it stands in the list."""
    community = office.community
    answers = office.issue()
    ledger = community.chain.contracts.ledger
    community.send(ledger.requestWithdrawal, NANO, sender=office.buyer.wallet)
    office.to_gate()
    false = SignedOrder(office.orders[0].order, office.orders[1].signature)
    orders = [*office.orders, false] if last else [false, *office.orders]
    run = office.oracle.clear(office.start, orders, answers)
    assert "and is excused" in run.excused[0].reason
    assert office.claim(office.buyer) is Claim.EXCUSED


def test_clear__clearing_was_lost_after_the_excuse__is_not_called_a_breach(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    community = office.community
    answers = office.issue()
    ledger = community.chain.contracts.ledger
    community.send(ledger.requestWithdrawal, NANO, sender=office.buyer.wallet)
    office.to_gate()
    with monkeypatch.context() as patch:
        patch.setattr(type(community.chain), "clear", lambda *_, dry_run=False: None)
        assert office.oracle.clear(office.start, office.orders, answers).receipt is None
    assert office.claim(office.buyer) is Claim.EXCUSED
    run = office.oracle.clear(office.start, office.orders, answers)
    assert run.receipt is not None
    assert [entry.reason for entry in run.excused] == ["it has a receipt, and is excused already"]


def test_clear__placed_order_takes_the_connection_of_a_promised_one__is_excused(
    office: Office,
) -> None:
    answers = office.issue()
    placed = office.community.sign(
        office.buyer, bid(80_000, 7_000), market=office.market, session=office.start, nonce=1
    )
    office.community.place(placed)
    office.to_gate()
    run = office.oracle.clear(office.start, office.orders, answers)
    assert [entry.reason[:38] for entry in run.refused] == [
        "with it the peer's bids in period 0 co"
    ]
    assert [(entry.peer, entry.nonce) for entry in run.excused] == [(office.buyer.peer, 0)]
    assert office.claim(office.buyer) is Claim.EXCUSED


def test_clear__flexible_order_that_cannot_be_paid_or_carried__is_excused(office: Office) -> None:
    """The buyer empties its account; the connection of the rival is taken by a placed order."""
    community = office.community
    orders = [vehicle(office, office.buyer), office.orders[1], vehicle(office, office.rival)]
    answers = office.issue(*orders)
    ledger = community.chain.contracts.ledger
    community.send(ledger.requestWithdrawal, NANO, sender=office.buyer.wallet)
    limit = 10**6
    community.place(
        community.sign(
            office.rival, bid(100, limit), market=office.market, session=office.start, nonce=1
        )
    )
    office.to_gate()
    run = office.oracle.clear(office.start, orders, answers)
    assert run.receipt is not None
    assert [entry.peer for entry in run.excused] == [office.buyer.peer, office.rival.peer]
    assert all("and is excused" in entry.reason for entry in run.excused)
    for signed, member in ((orders[0], office.buyer), (orders[2], office.rival)):
        assert office.claim(member) is Claim.EXCUSED
        mine = office.receipt_of(answers, member)
        with pytest.raises(ContractError) as refusal:
            community.chain.challenge(signed, mine, community.outsider)
        assert refusal.value.name == "NothingOwed"


def test_clear__flexible_order_was_lost__is_paid_from_the_bond(office: Office) -> None:
    """Although the peer handed in a curve as well, which is in the clearing."""
    chain = office.community.chain
    lost = vehicle(office, office.buyer, nonce=1)
    answers = office.issue(lost)
    office.to_gate()
    run = office.oracle.clear(office.start, office.orders, answers)
    assert [(entry.peer, entry.nonce) for entry in run.excused] == [(office.buyer.peer, 1)]
    assert "left out without an excuse" in run.excused[0].reason
    paid = chain.challenge(lost, answers[0], office.community.outsider)
    assert paid is not None
    assert paid.events[0].event_name == "ReceiptBroken"
    assert office.claim(office.buyer) is Claim.PAID


def cancelled(office: Office) -> None:
    cancel = office.community.chain.contracts.order_book.cancel
    office.community.send(cancel, office.market, office.start, 0, sender=office.buyer.wallet)


def replaced(office: Office) -> None:
    """By another order that is placed under its nonce."""
    instead = office.community.sign(
        office.buyer, bid(80_000, 7_000), market=office.market, session=office.start
    )
    office.community.place(instead)


@pytest.mark.parametrize("what", [cancelled, replaced])
def test_clear__what_the_contract_sees_by_itself__needs_no_excuse(
    office: Office, what: Callable[[Office], None]
) -> None:
    answers = office.issue()
    what(office)
    office.to_gate()
    run = office.oracle.clear(office.start, office.orders, answers)
    assert (run.excused, office.claim(office.buyer)) == ((), Claim.OPEN)
    mine = office.receipt_of(answers, office.buyer)
    with pytest.raises(ContractError) as refusal:
        office.community.chain.challenge(office.orders[0], mine, office.community.outsider)
    assert refusal.value.name in ("OrderIsCancelled", "NoncePlaced")


def test_clear__promised_order_was_lost__says_what_it_costs_and_does(office: Office) -> None:
    community, chain = office.community, office.community.chain
    answers = office.issue()
    office.to_gate()
    run = office.oracle.clear(office.start, office.orders[1:], answers)
    assert run.excused[0].reason == (
        "it has a receipt and is left out without an excuse, which the bond pays for: "
        "OrdersMissing: "
    )
    mine, challenger = office.receipt_of(answers, office.buyer), community.outsider
    assert chain.challenge(office.orders[0], mine, challenger, dry_run=True) is None
    # Two orders are in the clearing; by one at a time they take a scan before the challenge.
    assert chain.challenge(office.orders[0], mine, challenger, dry_run=True, most_hashes=1) is None
    paid = chain.challenge(office.orders[0], mine, challenger, most_hashes=1)
    assert paid is not None
    assert paid.events[0].event_name == "ReceiptBroken"
    assert office.claim(office.buyer) is Claim.PAID
    kept = office.receipt_of(answers, office.rival)
    with pytest.raises(ContractError) as refusal:
        chain.challenge(office.orders[2], kept, challenger)
    assert refusal.value.name == "OrderIsThere"


def test_clear__paused__has_it_on_record(office: Office) -> None:
    community, contracts = office.community, office.community.chain.contracts
    answers = office.issue()
    office.to_gate()
    community.send(contracts.order_book.pause, sender=community.guardian)
    with pytest.raises(ContractError) as refusal:
        office.oracle.clear(office.start, office.orders, answers)
    assert refusal.value.name == "ClearingPaused"
    assert contracts.bonds.wasPaused(office.market, office.start)


# ------------------------------------------------------------------------------ the silent manager


def test_silent_manager__a_peer_clears_the_day_earns_the_fee_and_settles_it(
    office: Office,
) -> None:
    """The whole loop without the manager: orders signed, cleared, reconciled by a plain peer."""
    community, chain = office.community, office.community.chain
    community.send(chain.contracts.ledger.depositToFund, 10 * NANO, sender=community.treasury)
    answers = office.issue()  # it said yes to all, and is not seen again
    # The peer knows the orders of the two others, who handed them to everybody.
    known = [office.orders[1], office.orders[2]]
    peer = Oracle(chain, office.market, office.rival.wallet, True)
    before = {member.peer: community.balance(member) for member in members(office)}

    community.travel_to(office.terms.exclusive_deadline(office.start))
    with pytest.raises(ContractError) as refusal:
        peer.clear(office.start, known)
    assert refusal.value.name == "ManagersTurn"
    community.travel_to(office.terms.exclusive_deadline(office.start) + 1)
    run = peer.clear(office.start, known)
    assert run.receipt is not None
    assert run.proposal is not None
    paid = run.proposal.payments_nano
    assert {each: community.balance(member) - before[each] for each, member in by_peer(office)} == {
        office.buyer.peer: 0,
        office.seller.peer: paid[office.seller.peer],
        office.rival.peer: paid[office.rival.peer] + FEE,
    }
    assert chain.snapshot().fund_nano() >= 10 * NANO - FEE
    cleared = run.receipt.events[-1]
    assert (cleared.solver, cleared.feeNano) == (office.rival.wallet.address, FEE)

    # The session is settled by the same peer, with what the meters say.
    community.travel_to(office.terms.session_end(office.start))
    before = {member.peer: community.balance(member) for member in members(office)}
    settled = peer.reconcile(
        office.start,
        [
            community.read(office.seller, office.start, 1_000, market=office.market),
            community.read(office.rival, office.start, -1_500, market=office.market),
        ],
    )
    assert settled.missing == ()
    change = community.balance(office.rival) - before[office.rival.peer]
    assert change == -500 * RETAIL  # 500 Wh more than it bought
    assert community.balance(office.seller) == before[office.seller.peer]

    # Whom the manager promised its place, and who is missing, is paid from the bond.
    mine = office.receipt_of(answers, office.buyer)
    broken = chain.challenge(office.orders[0], mine, office.buyer.wallet)
    assert broken is not None
    assert chain.contracts.token.balanceOf(office.buyer.wallet.address) == 10 * TOKEN


def members(office: Office) -> tuple[Member, ...]:
    return office.buyer, office.seller, office.rival


def by_peer(office: Office) -> list[tuple[int, Member]]:
    return [(member.peer, member) for member in members(office)]


def test_void_session__costs_the_bond_as_well(office: Office) -> None:
    run: IssueRun = office.oracle.issue(office.start, office.orders)
    office.community.travel_to(office.terms.clearing_deadline(office.start) + 1)
    for signed, answer in run.answered:
        office.community.chain.challenge(signed, answer, office.community.outsider)
    assert office.community.chain.snapshot().bond(office.community.solver.address).amount_wei == 0
