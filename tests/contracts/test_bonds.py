"""`Bonds`: what a receipt is worth, and what cannot be had for one (R1 to R9)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth_account import Account
from tests.community import (
    C2,
    C3,
    DAY,
    HOUR,
    HOURLY,
    NANO,
    NETWORK,
    NOTICE,
    TERMS,
    WITHDRAWAL_DELAY,
    Community,
    Member,
    ask,
    bid,
)
from tests.outcomes import event, events, reverts

from fairwatt.chain import Receipt, Role, Signer, project
from fairwatt.chain import test_signer as local_signer
from fairwatt.eip712 import Domain
from fairwatt.errors import SignatureError
from fairwatt.lanes import chained
from fairwatt.market import Side
from fairwatt.orders import FlexibleOrder, SignedOrder
from fairwatt.receipts import OrderReceipt, SignedReceipt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fairwatt.session import MarketTerms

TOKEN = 10**18
PENALTY, REWARD = 10 * TOKEN, 2 * TOKEN
WINDOW = 7 * DAY
EXCLUSIVE = 1_200
LIMIT, ENERGY = 100_000, 2_000  # of the victim's order
NOBODY = "0x" + "0" * 40
OPEN, EXCUSED, PAID = range(3)
EITHER = pytest.mark.parametrize("desk", ["curve", "flexible"], indirect=True)
"""Whichever kind the victim's order is of: it costs the same at the worst, and takes as much."""


@dataclass
class Desk:
    """A manager with a bond of 25 tokens in a market of its own, and who trades there.

    The victim's order is a bid, or that of a vehicle.
    """

    community: Community
    bonds: Any
    manager: Signer
    market: int
    terms: MarketTerms
    start: int
    victim: Member
    buyer: Member
    seller: Member
    order: SignedOrder
    others: tuple[SignedOrder, ...]

    @classmethod
    def open(cls, community: Community, kind: str = "curve") -> Desk:
        manager, bonds = community.solver, community.chain.contracts.bonds
        terms = replace(
            TERMS, manager=manager.address, exclusive_window_seconds=EXCLUSIVE, solver_fee_nano=7
        )
        market = community.chain.create_market(terms, sender=community.market_operator)
        victim, buyer = (community.admit(Role.PROSUMER, C3, tokens=1) for _ in range(2))
        seller = community.admit(Role.PRODUCER, C2, tokens=1)
        start = community.open_session(market)
        options = {"market": market, "session": start}
        desk = cls(
            community, bonds, manager, market, terms, start, victim, buyer, seller,
            community.sign(victim, bid(LIMIT, ENERGY), **options),
            (
                community.sign(buyer, bid(90_000, 1_000), **options),
                community.sign(seller, ask(50_000, 5_000), **options),
            ),
        )  # fmt: skip
        if kind == "flexible":
            desk.order = desk.vehicle(victim)
        desk.fund(community.outsider, 25 * TOKEN)
        return desk

    def vehicle(self, member: Member, **terms: int) -> SignedOrder:
        """One that takes `ENERGY` for at most `LIMIT`, by default."""
        energies = {"charge_wh": ENERGY, "capacity_wh": ENERGY, "wanted_wh": ENERGY}
        rest = {"discharge_wh": 0, "start_wh": 0, "value_micro_per_kwh": LIMIT}
        window = {"first_period": 0, "periods": 1}
        where = {"market": self.market, "session_start": self.start}
        order = FlexibleOrder(peer=member.peer, **(where | window | energies | rest | terms))
        return order.signed_by(member.key, self.community.chain.order_domain)

    def fund(self, payer: Signer, wei: int) -> Receipt:
        token, community = self.community.chain.contracts.token, self.community
        community.send(token.treasuryMint, payer.address, wei, sender=community.treasury)
        community.send(token.approve, self.bonds, wei, sender=payer)
        return community.send(self.bonds.deposit, self.manager.address, wei, sender=payer)

    def held(self) -> int:
        return int(self.bonds.bondOf(self.manager.address).amountWei)

    def receipt(self, signed: SignedOrder | None = None, at: int | None = None) -> SignedReceipt:
        """The manager's receipt, by default for the victim's order, issued as the gate closes."""
        order = (signed or self.order).order
        issued = self.terms.gate_closure(self.start) - 1 if at is None else at
        assert self.manager.key is not None
        domain = self.community.chain.receipt_domain
        return OrderReceipt.of(order, issued).signed_by(self.manager.key, domain)

    def clear(self, *orders: SignedOrder, placed: Sequence[SignedOrder] = ()) -> list[bytes]:
        """Let the manager clear; returns the hashes of the orders."""
        self.community.clear(self.community.propose(*orders, placed=placed))
        return self.hashes()

    def hashes(self) -> list[bytes]:
        return self.community.chain.snapshot().order_hashes(self.market, self.start)

    def to_gate(self) -> None:
        self.community.travel_to(self.terms.gate_closure(self.start))

    def challenge(
        self,
        hashes: Sequence[bytes],
        *,
        signed: SignedOrder | None = None,
        receipt: SignedReceipt | None = None,
        since: bytes = bytes(32),
        sender: Signer | None = None,
    ) -> Receipt:
        signed = signed or self.order
        message = (receipt or self.receipt(signed)).to_message(signed)
        sender = sender or self.community.outsider
        return self.community.send(
            self.bonds.challenge, message, since, list(hashes), sender=sender
        )

    def excuse(self, *orders: SignedOrder, sender: Signer | None = None) -> Receipt:
        listed = [signed.to_struct() for signed in orders]
        sender = sender or self.manager
        return self.community.send(self.bonds.excuse, listed, sender=sender)

    def claim(self, member: Member | None = None) -> int:
        return int(self.bonds.claimOf(self.market, self.start, (member or self.victim).peer))

    def broken(self, signed: SignedOrder, challenger: Signer, paid: int, reward: int) -> list[Any]:
        """All events of a challenge that is paid."""
        token, wallet = self.community.chain.contracts.token, local_wallet(self, signed)
        source = {"from": self.bonds.address}
        return [
            event(
                self.bonds.ReceiptBroken,
                market=self.market,
                sessionStart=self.start,
                peer=signed.order.peer,
                orderHash=signed.order.struct_hash,
                challenger=challenger.address,
                compensationWei=paid - reward,
                rewardWei=reward,
            ),
            event(token.Transfer, **source, to=wallet, value=paid - reward),
            event(token.Transfer, **source, to=challenger.address, value=reward),
        ]


def local_wallet(desk: Desk, signed: SignedOrder) -> str:
    return desk.community.chain.snapshot().peer(signed.order.peer).wallet


@pytest.fixture
def desk(community: Community, request: pytest.FixtureRequest) -> Desk:
    return Desk.open(community, getattr(request, "param", "curve"))


# ------------------------------------------------------------------------------------------ bonds


def test_deploy__withdrawals__wait_longer_than_any_challenge(desk: Desk) -> None:
    bonds = desk.bonds
    assert (bonds.PENALTY_WEI(), bonds.REWARD_WEI()) == (PENALTY, REWARD)
    assert bonds.CHALLENGE_WINDOW_SECONDS() == WINDOW
    assert bonds.WITHDRAWAL_DELAY_SECONDS() == NOTICE + WITHDRAWAL_DELAY + WINDOW


@pytest.mark.parametrize(("penalty", "reward"), [(0, 0), (1, 2)])
def test_deploy__penalty_below_the_reward_or_none__is_refused(
    desk: Desk, penalty: int, reward: int
) -> None:
    contracts, admin = desk.community.chain.contracts, desk.community.admin
    parts = (
        contracts.registry,
        contracts.ledger,
        contracts.order_book,
        contracts.clearing,
        contracts.token,
    )
    with reverts(desk.bonds.RewardTooLarge, rewardWei=reward, penaltyWei=penalty):
        project().Bonds.deploy(*parts, penalty, reward, WINDOW, sender=admin.account)


def test_deposit__by_anyone__adds_to_the_bond(desk: Desk) -> None:
    payer, token = desk.victim.wallet, desk.community.chain.contracts.token
    receipt = desk.fund(payer, 5)
    manager = desk.manager.address
    assert events(receipt) == [
        event(desk.bonds.BondDeposited, manager=manager, amountWei=5, **{"from": payer.address}),
        event(token.Transfer, **{"from": payer.address}, to=desk.bonds.address, value=5),
    ]
    assert (desk.held(), desk.bonds.securedWei(manager)) == (25 * TOKEN + 5, 25 * TOKEN + 5)
    with reverts(desk.bonds.AmountZero):
        desk.community.send(desk.bonds.deposit, manager, 0, sender=payer)
    with reverts(desk.bonds.AddressZero):
        desk.community.send(desk.bonds.deposit, NOBODY, 1, sender=payer)


@pytest.fixture
def odd(desk: Desk) -> tuple[Any, Any]:
    """Bonds in a token that calls back and may take a fee."""
    community, contracts = desk.community, desk.community.chain.contracts
    admin = community.admin
    token = project().CallbackERC20.deploy(18, sender=admin.account)
    bonds = project().Bonds.deploy(
        contracts.registry,
        contracts.ledger,
        contracts.order_book,
        contracts.clearing,
        token,
        PENALTY,
        REWARD,
        WINDOW,
        sender=admin.account,
    )
    community.send(token.mint, admin.address, 100, sender=admin)
    community.send(token.approve, bonds, 100, sender=admin)
    return bonds, token


def test_deposit__token_takes_a_fee__reverts(desk: Desk, odd: tuple[Any, Any]) -> None:
    bonds, token = odd
    admin = desk.community.admin
    desk.community.send(token.setFee, 100, sender=admin)
    with reverts(bonds.DepositIncomplete, expectedWei=100, receivedWei=90):
        desk.community.send(bonds.deposit, admin.address, 100, sender=admin)


def test_token_that_returns_false__is_not_taken_for_paid(desk: Desk, odd: tuple[Any, Any]) -> None:
    """Neither by a deposit, nor by a challenge, nor by a withdrawal."""
    bonds, token = odd
    community, admin, manager = desk.community, desk.community.admin, desk.manager
    assert manager.key is not None
    domain = Domain(community.chain.receipt_domain.chain_id, str(bonds.address))
    receipt = OrderReceipt.of(desk.order.order, desk.terms.gate_closure(desk.start) - 1)
    message = receipt.signed_by(manager.key, domain).to_message(desk.order)
    hashes = desk.clear(*desk.others)

    def refuse(method: Any, *arguments: Any, sender: Signer) -> None:
        community.send(token.setRefusing, True, sender=admin)
        with reverts(bonds.SafeERC20FailedOperation, token=token.address):
            community.send(method, *arguments, sender=sender)
        community.send(token.setRefusing, False, sender=admin)

    refuse(bonds.deposit, manager.address, 100, sender=admin)
    community.send(bonds.deposit, manager.address, 100, sender=admin)
    refuse(bonds.challenge, message, bytes(32), hashes, sender=community.outsider)
    community.send(bonds.requestWithdrawal, 60, sender=manager)
    community.travel_to(bonds.bondOf(manager.address).availableFrom)
    refuse(bonds.withdraw, sender=manager)
    assert tuple(bonds.bondOf(manager.address))[:2] == (100, 60)
    community.send(bonds.withdraw, sender=manager)
    assert (token.balanceOf(manager.address), token.balanceOf(bonds)) == (60, 40)


def test_deposit__token_that_calls_back__cannot_reenter(desk: Desk, odd: tuple[Any, Any]) -> None:
    bonds, token = odd
    community, admin = desk.community, desk.community.admin
    message = desk.receipt().to_message(desk.order)
    calls = [
        bonds.withdraw.encode_input(),
        bonds.deposit.encode_input(admin.address, 1),
        bonds.challenge.encode_input(_tuples(message), bytes(32), []),
    ]
    for call in calls:
        community.send(token.setCallback, bonds.address, call, sender=admin)
        with reverts(bonds.ReentrancyGuardReentrantCall):
            community.send(bonds.deposit, admin.address, 100, sender=admin)


def _tuples(message: Any) -> Any:
    return tuple(map(_tuples, message.values())) if isinstance(message, dict) else message


def test_withdraw__after_the_delay__pays_what_was_requested(desk: Desk) -> None:
    community, bonds, manager = desk.community, desk.bonds, desk.manager
    token, address = community.chain.contracts.token, desk.manager.address
    with reverts(bonds.NoWithdrawalRequested, manager=address):
        community.send(bonds.withdraw, sender=manager)
    with reverts(bonds.BondTooSmall, manager=address, neededWei=25 * TOKEN + 1, bondWei=25 * TOKEN):
        community.send(bonds.requestWithdrawal, 25 * TOKEN + 1, sender=manager)
    receipt = community.send(bonds.requestWithdrawal, 20 * TOKEN, sender=manager)
    at = int(ape.chain.blocks.head.timestamp) + NOTICE + WITHDRAWAL_DELAY + WINDOW
    assert events(receipt) == [
        event(
            bonds.BondWithdrawalRequested,
            manager=address,
            amountWei=20 * TOKEN,
            availableFrom=at,
        )
    ]
    assert (desk.held(), bonds.securedWei(address)) == (25 * TOKEN, 5 * TOKEN)
    community.wait_until(at - 1)
    with reverts(bonds.WithdrawalNotReady, manager=address, availableFrom=at):
        community.send(bonds.withdraw, sender=manager)
    community.wait_until(at)
    receipt = community.send(bonds.withdraw, sender=manager)
    assert events(receipt) == [
        event(bonds.BondWithdrawn, manager=address, amountWei=20 * TOKEN),
        event(token.Transfer, **{"from": bonds.address}, to=address, value=20 * TOKEN),
    ]
    assert (desk.held(), bonds.securedWei(address)) == (5 * TOKEN, 5 * TOKEN)
    with reverts(bonds.NoWithdrawalRequested, manager=address):
        community.send(bonds.withdraw, sender=manager)


def test_withdraw__requested_as_soon_as_receipts_are_out__comes_after_every_challenge(
    desk: Desk,
) -> None:
    community, bonds, manager = desk.community, desk.bonds, desk.manager
    opens, _ = community.chain.snapshot().book_times(desk.market, desk.start)
    receipt = desk.receipt(at=opens)  # nobody requests earlier than that, here nor in any market
    community.send(bonds.requestWithdrawal, 25 * TOKEN, sender=manager)
    available = bonds.bondOf(manager.address).availableFrom
    last = desk.terms.clearing_deadline(desk.start) + WINDOW
    assert last < opens + bonds.WITHDRAWAL_DELAY_SECONDS() <= available
    community.wait_until(last - 1)
    with reverts(bonds.WithdrawalNotReady, manager=manager.address, availableFrom=available):
        community.send(bonds.withdraw, sender=manager)
    community.wait_until(last)
    desk.challenge([], receipt=receipt)
    assert desk.held() == 15 * TOKEN
    # The request is for what is there: the penalty comes first.
    community.wait_until(available)
    community.send(bonds.withdraw, sender=manager)
    assert desk.held() == bonds.securedWei(manager.address) == 0


# -------------------------------------------------------------------------------------- challenges


def cleared_by_the_manager(desk: Desk) -> list[bytes]:
    return desk.clear(*desk.others)


def cleared_by_an_outsider(desk: Desk) -> list[bytes]:
    """The manager was silent, and whoever is first clears what it likes."""
    community, proposal = desk.community, desk.community.propose(*desk.others)
    community.travel_to(desk.terms.exclusive_deadline(desk.start) + 1)
    arguments = community.chain.clearing_arguments(proposal, community.outsider)
    clear = community.chain.contracts.clearing.clear
    community.send(clear, *arguments, sender=community.outsider)
    return desk.hashes()


def cleared_empty(desk: Desk) -> list[bytes]:
    community, session = desk.community, desk.community.session(desk.start, desk.market)
    from fairwatt.proposal import propose  # noqa: PLC0415 - the one use

    community.clear(propose(session, [], nodes={}))
    return desk.hashes()


def void(desk: Desk) -> list[bytes]:
    """Nobody clears: the manager kept silent, and nobody else came."""
    desk.community.travel_to(desk.terms.clearing_deadline(desk.start) + 1)
    return []


@EITHER
@pytest.mark.parametrize(
    "broken", [cleared_by_the_manager, cleared_by_an_outsider, cleared_empty, void]
)
def test_challenge__order_is_missing__pays_peer_and_challenger(
    desk: Desk, broken: Callable[[Desk], list[bytes]]
) -> None:
    hashes = broken(desk)
    challenger = desk.community.registrar
    receipt = desk.challenge(hashes, sender=challenger)
    assert events(receipt) == desk.broken(desk.order, challenger, PENALTY, REWARD)
    assert (desk.held(), desk.claim()) == (25 * TOKEN - PENALTY, PAID)


@EITHER
def test_challenge__order_is_there__reverts(desk: Desk) -> None:
    hashes = desk.clear(desk.order, *desk.others)
    with reverts(desk.bonds.OrderIsThere, orderHash=desk.order.order.struct_hash, index=0):
        desk.challenge(hashes)
    # It is found wherever it is.
    last = desk.others[-1]
    with reverts(desk.bonds.OrderIsThere, orderHash=last.order.struct_hash, index=2):
        desk.challenge(hashes, signed=last)


def without_the_order(desk: Desk, hashes: list[bytes]) -> list[bytes]:
    return [each for each in hashes if each != desk.order.order.struct_hash]


def without_any(desk: Desk, hashes: list[bytes]) -> list[bytes]:
    return []


def with_another_in_its_place(desk: Desk, hashes: list[bytes]) -> list[bytes]:
    return [bytes(32), *hashes[1:]]


def in_other_sequence(desk: Desk, hashes: list[bytes]) -> list[bytes]:
    return without_the_order(desk, hashes)[::-1]


@pytest.mark.parametrize(
    "altered", [without_the_order, without_any, with_another_in_its_place, in_other_sequence]
)
def test_challenge__altered_list__reverts(
    desk: Desk, altered: Callable[[Desk, list[bytes]], list[bytes]]
) -> None:
    hashes = desk.clear(desk.order, *desk.others)
    false = altered(desk, hashes)
    with reverts(desk.bonds.NotTheOrders, expected=chained(hashes), actual=chained(false)):
        desk.challenge(false)


def by_the_peer(desk: Desk, receipt: OrderReceipt) -> SignedReceipt:
    return receipt.signed_by(desk.victim.key, desk.community.chain.receipt_domain)


def for_another_chain(desk: Desk, receipt: OrderReceipt) -> SignedReceipt:
    assert desk.manager.key is not None
    here = desk.community.chain.receipt_domain
    return receipt.signed_by(desk.manager.key, Domain(here.chain_id + 1, here.verifying_contract))


def for_another_contract(desk: Desk, receipt: OrderReceipt) -> SignedReceipt:
    assert desk.manager.key is not None
    return receipt.signed_by(desk.manager.key, desk.community.chain.order_domain)


def for_another_time(desk: Desk, receipt: OrderReceipt) -> SignedReceipt:
    return replace(desk.receipt(at=receipt.issued_at - 1), receipt=receipt)


def for_another_order(desk: Desk, receipt: OrderReceipt) -> SignedReceipt:
    return replace(desk.receipt(desk.others[0]), receipt=receipt)


def with_high_s(desk: Desk, receipt: OrderReceipt) -> SignedReceipt:
    """The other signature that plain ECDSA would take."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    low = desk.receipt().signature
    s = order - int.from_bytes(low[32:64], "big")
    return SignedReceipt(receipt, low[:32] + s.to_bytes(32, "big") + bytes([55 - low[64]]))


def not_signed(desk: Desk, receipt: OrderReceipt) -> SignedReceipt:
    return SignedReceipt(receipt, b"")


@pytest.mark.parametrize(
    "forged",
    [
        by_the_peer,
        for_another_chain,
        for_another_contract,
        for_another_time,
        for_another_order,
        with_high_s,
        not_signed,
    ],
)
def test_challenge__receipt_that_the_manager_did_not_sign__reverts(
    desk: Desk, forged: Callable[[Desk, OrderReceipt], SignedReceipt]
) -> None:
    hashes = desk.clear(*desk.others)
    false = forged(desk, desk.receipt().receipt)
    try:
        signer = false.signer(desk.community.chain.receipt_domain)
    except SignatureError:
        signer = NOBODY
    with reverts(desk.bonds.ReceiptSignerMismatch, manager=desk.manager.address, signer=signer):
        desk.challenge(hashes, receipt=false)


def test_challenge__receipt_issued_while_the_book_was_not_open__reverts(desk: Desk) -> None:
    opens, gate = desk.community.chain.snapshot().book_times(desk.market, desk.start)
    assert (opens, gate) == (desk.start + HOUR - NOTICE, desk.start - 900)
    hashes = desk.clear(*desk.others)
    for issued in (opens - 1, gate):
        receipt = desk.receipt(at=issued)
        with reverts(desk.bonds.IssuedOutOfTime, issuedAt=issued, opens=opens, gateClosure=gate):
            desk.challenge(hashes, receipt=receipt)
    desk.challenge(hashes, receipt=desk.receipt(at=opens))


def test_challenge__before_it_is_decided_or_too_late__reverts(desk: Desk) -> None:
    community, deadline = desk.community, desk.terms.clearing_deadline(desk.start)
    where = {"market": desk.market, "sessionStart": desk.start}
    community.wait_until(deadline)
    with reverts(desk.bonds.NotYetDecided, **where, deadline=deadline):
        desk.challenge([])
    community.wait_until(deadline + WINDOW + 1)
    with reverts(desk.bonds.ChallengeTooLate, **where, deadline=deadline + WINDOW):
        desk.challenge([])


def test_challenge__market_without_exclusive_window__reverts(desk: Desk) -> None:
    """Anybody may clear there before the manager can."""
    community = desk.community
    terms = replace(desk.terms, exclusive_window_seconds=0)
    market = community.chain.create_market(terms, sender=community.market_operator)
    signed = community.sign(desk.victim, bid(9, 9), market=market, session=desk.start)
    community.travel_to(terms.clearing_deadline(desk.start) + 1)
    with reverts(desk.bonds.NotBinding, market=market):
        desk.challenge([], signed=signed)


def test_challenge__again__pays_once_for_all_orders_of_a_peer(desk: Desk) -> None:
    community = desk.community
    second = community.sign(desk.victim, bid(5, 5), market=desk.market, session=desk.start, nonce=1)
    hashes = desk.clear(desk.others[1])
    desk.challenge(hashes)
    again = {"market": desk.market, "sessionStart": desk.start, "peer": desk.victim.peer}
    reissued = desk.receipt(at=desk.receipt().receipt.issued_at - 5)
    for options in ({}, {"receipt": reissued}, {"signed": second}):
        with reverts(desk.bonds.NothingOwed, **again, claim=PAID):
            desk.challenge(hashes, **options)
    # The other peer has a claim of its own, and what is left of the bond after it is paid in part.
    desk.challenge(hashes, signed=desk.others[0])
    assert desk.held() == 5 * TOKEN


def test_challenge__bond_smaller_than_the_penalty__pays_what_is_left(desk: Desk) -> None:
    hashes = cleared_empty(desk)
    for signed in (desk.order, desk.others[0]):
        desk.challenge(hashes, signed=signed)
    third, challenger = desk.others[1], desk.community.registrar
    receipt = desk.challenge(hashes, signed=third, sender=challenger)
    assert events(receipt) == desk.broken(third, challenger, 5 * TOKEN, TOKEN)
    assert desk.held() == 0
    fourth = desk.community.admit(Role.CONSUMER)
    late = desk.community.sign(fourth, bid(1, 1), market=desk.market, session=desk.start)
    with reverts(
        desk.bonds.BondTooSmall, manager=desk.manager.address, neededWei=PENALTY, bondWei=0
    ):
        desk.challenge(hashes, signed=late)


def test_challenge__wallet_was_changed__pays_the_new_one(desk: Desk) -> None:
    community, registry = desk.community, desk.community.chain.contracts.registry
    hashes, new = desk.clear(*desk.others), local_signer(9)
    community.send(registry.offerWallet, new.address, sender=desk.victim.wallet)
    community.send(registry.acceptWallet, desk.victim.peer, sender=new)
    community.travel_to(community.now() + NOTICE + 1)
    receipt = desk.challenge(hashes)
    assert events(receipt)[1].values["to"] == new.address


# ----------------------------------------------------------------- what no clearing could contain


@EITHER
def test_challenge__order_was_cancelled__reverts(desk: Desk) -> None:
    community, book = desk.community, desk.community.chain.contracts.order_book
    community.send(book.cancel, desk.market, desk.start, 0, sender=desk.victim.wallet)
    hashes = desk.clear(*desk.others)
    with reverts(book.OrderIsCancelled, peer=desk.victim.peer, nonce=0):
        desk.challenge(hashes)


def test_challenge__peer_was_suspended__reverts(desk: Desk) -> None:
    """A receipt for a session whose book was not open when the order came."""
    community, contracts = desk.community, desk.community.chain.contracts
    community.send(contracts.registry.suspend, desk.victim.peer, sender=community.registrar)
    start = desk.start + NOTICE + 2 * HOUR
    signed = community.sign(desk.victim, bid(9, 9), market=desk.market, session=start)
    receipt = replace(desk, start=start).receipt(signed)
    community.travel_to(desk.terms.clearing_deadline(start) + 1)
    abi = _error("Orders", "PeerNotActive")
    with reverts(abi, peer=desk.victim.peer):
        desk.challenge([], signed=signed, receipt=receipt)


def _error(contract: str, name: str) -> Any:
    errors = getattr(project(), contract).contract_type.errors
    return next(error for error in errors if error.name == name)


@EITHER
def test_challenge__order_that_the_peer_did_not_sign__reverts(desk: Desk) -> None:
    book = desk.community.chain.contracts.order_book
    forged = replace(desk.order, signature=desk.others[0].signature)
    hashes = desk.clear(*desk.others)
    with reverts(book.WrongSigner, peer=desk.victim.peer, nonce=0):
        desk.challenge(hashes, signed=forged)


@pytest.mark.parametrize("kind", ["curve", "flexible"])
def test_challenge__order_that_only_a_wallets_code_accepts__reverts(desk: Desk, kind: str) -> None:
    """It could change its mind: refuse in the clearing, accept in the challenge."""
    community, owner = desk.community, local_signer(9)
    assert owner.key is not None
    wallet = owner.account.deploy(project().ContractWallet, owner.address)
    meter = Account.create().address
    receipt = community.send(
        community.chain.contracts.registry.admit,
        wallet.address,
        (Role.CONSUMER, 1, C3, meter, 1, 10**6, 1),
        sender=community.registrar,
    )
    peer = int(receipt.events[-1].peer)
    member = replace(desk.victim, peer=peer, wallet=owner)
    options = {"market": desk.market, "session": desk.start}
    signed = (
        desk.vehicle(member) if kind == "flexible" else community.sign(member, bid(9, 9), **options)
    )
    hashes = desk.clear(*desk.others)
    with reverts(desk.bonds.OrderNotOfKey, peer=peer, nonce=0, signer=owner.address):
        desk.challenge(hashes, signed=signed)


def test_challenge__another_order_placed__is_no_way_out_but_under_the_same_nonce(
    desk: Desk,
) -> None:
    community = desk.community
    options = {"market": desk.market, "session": desk.start}
    placed = community.sign(desk.victim, bid(7, 7), **options, nonce=1)
    community.place(placed)  # by whom does not matter: the manager could
    hashes = desk.clear(*desk.others, placed=[SignedOrder(placed.order, b"")])
    desk.challenge(hashes)
    # Of another peer, under the nonce of its receipt.
    start = desk.start + HOUR
    later = replace(desk, start=start)
    options = {"market": desk.market, "session": start}
    order = community.sign(desk.buyer, bid(9, 9), **options, nonce=4)
    instead = community.sign(desk.buyer, bid(8, 8), **options, nonce=4)
    community.place(instead)
    hashes = later.clear(placed=[SignedOrder(instead.order, b"")])
    with reverts(desk.bonds.NoncePlaced, peer=desk.buyer.peer, nonce=4):
        later.challenge(hashes, signed=order)


# --------------------------------------------------------------------------------- flexible orders


def test_challenge__receipt_of_a_curve_shown_with_a_flexible_order__reverts(desk: Desk) -> None:
    """Of the same peer under the same nonce, and the other way round."""
    community, vehicle = desk.community, desk.vehicle(desk.victim)
    hashes = desk.clear(*desk.others)
    for signed, receipt in ((vehicle, desk.receipt()), (desk.order, desk.receipt(vehicle))):
        claimed = replace(receipt, receipt=OrderReceipt.of(signed.order, receipt.receipt.issued_at))
        signer = claimed.signer(community.chain.receipt_domain)
        with reverts(desk.bonds.ReceiptSignerMismatch, manager=desk.manager.address, signer=signer):
            desk.challenge(hashes, signed=signed, receipt=receipt)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_challenge__terms_that_are_no_word__revert(desk: Desk, size: int) -> None:
    hashes = desk.clear(*desk.others)
    message = desk.receipt().to_message(desk.vehicle(desk.victim))
    message["signed"]["order"]["curve"] = bytes(size)
    malformed = {"peer": desk.victim.peer, "nonce": 0, "curveBytes": size}
    challenge, sender = desk.bonds.challenge, desk.community.outsider
    with reverts(desk.bonds.CurveMalformed, **malformed):
        desk.community.send(challenge, message, bytes(32), hashes, sender=sender)


def test_challenge__flexible_order_that_no_clearing_could_contain__reverts(desk: Desk) -> None:
    """A manager may sign what it likes: it is bound to nothing that it could not do."""
    community = desk.community
    community.chain.create_network(replace(NETWORK, links=()), sender=community.dso)
    stranger = community.admit(Role.STORAGE, network=2)
    consumer = community.admit(Role.CONSUMER, connection_w=ENERGY - 1)
    hashes = desk.clear(*desk.others)
    cap = NETWORK.price_cap_micro_per_kwh
    for signed, name, values in (
        (desk.vehicle(stranger), "WrongNetwork", {"peerNetwork": 2, "marketNetwork": 1}),
        (
            desk.vehicle(consumer, charge_wh=0, discharge_wh=1),
            "SideNotAllowed",
            {"role": Role.CONSUMER, "side": Side.ASK},
        ),
        (
            desk.vehicle(consumer, nonce=7),
            "EnergyAboveConnection",
            {"nonce": 7, "period": 0, "energyWh": ENERGY, "limitWh": ENERGY - 1},
        ),
        (
            desk.vehicle(desk.victim, nonce=7, value_micro_per_kwh=cap + 1),
            "LimitOutOfBounds",
            {"nonce": 7, "priceMicroPerKWh": cap + 1},
        ),
        (
            desk.vehicle(desk.victim, nonce=7, first_period=1),
            "WindowMalformed",
            {"nonce": 7, "firstPeriod": 1, "periods": 1},
        ),
    ):
        with reverts(_error("Orders", name), peer=signed.order.peer, **values):
            desk.challenge(hashes, signed=signed)


def test_challenge__nonce_of_a_flexible_order_was_placed__reverts(desk: Desk) -> None:
    """Under another nonce it is no way out."""
    community, vehicle = desk.community, desk.vehicle(desk.buyer, nonce=4)
    options = {"market": desk.market, "session": desk.start}
    placed = [community.sign(who, bid(7, 7), **options, nonce=4) for who in (desk.buyer,)]
    placed.append(community.sign(desk.victim, bid(7, 7), **options, nonce=4))
    for signed in placed:
        community.place(signed)
    hashes = desk.clear(placed=[SignedOrder(signed.order, b"") for signed in placed])
    with reverts(desk.bonds.NoncePlaced, peer=desk.buyer.peer, nonce=4):
        desk.challenge(hashes, signed=vehicle)
    desk.challenge(hashes, signed=desk.vehicle(desk.victim, nonce=5))
    assert desk.claim() == PAID


def test_challenge__clearing_has_the_flexible_order__reverts_only_for_it(desk: Desk) -> None:
    """The vehicle charges, and another of the same terms under another nonce is missing."""
    vehicle, lost = (desk.vehicle(desk.victim, nonce=nonce) for nonce in range(2))
    hashes = desk.clear(vehicle, *desk.others)
    snapshot = desk.community.chain.snapshot()
    assert snapshot.positions_wh(desk.market, desk.start)[desk.victim.peer] == (-ENERGY,)
    with reverts(desk.bonds.OrderIsThere, orderHash=vehicle.order.struct_hash, index=0):
        desk.challenge(hashes, signed=vehicle)
    desk.challenge(hashes, signed=lost)
    assert desk.claim() == PAID


# ----------------------------------------------------------------------------------------- excuses


def spend(desk: Desk, member: Member, left: int) -> None:
    """Request a withdrawal of all but this many nano-tokens."""
    ledger = desk.community.chain.contracts.ledger
    request = ledger.availableNano(member.peer) - left
    desk.community.send(ledger.requestWithdrawal, request, sender=member.wallet)


def wants(cost: int, means: int, most: int, limit: int = 10**6) -> dict[str, int]:
    return {"costNano": cost, "meansNano": means, "mostWh": most, "limitWh": limit}


COST = LIMIT * ENERGY
WINDOW_TOO_LONG = {"nonce": 5, "firstPeriod": 0, "periods": 2}


@EITHER
@pytest.mark.parametrize("left", [COST - 1, 0])
def test_excuse__peer_emptied_its_account__owes_nothing(desk: Desk, left: int) -> None:
    spend(desk, desk.victim, left)
    desk.to_gate()
    receipt = desk.excuse(desk.order)
    where = {"market": desk.market, "sessionStart": desk.start, "peer": desk.victim.peer}
    assert events(receipt) == [
        event(desk.bonds.PeerExcused, **where, wants=wants(COST, left, ENERGY))
    ]
    hashes = desk.clear(*desk.others)
    assert desk.claim() == EXCUSED
    with reverts(desk.bonds.NothingOwed, **where, claim=EXCUSED):
        desk.challenge(hashes)
    desk.challenge(hashes, signed=community_order(desk))  # the others have their claims


def community_order(desk: Desk) -> SignedOrder:
    member = desk.community.admit(Role.CONSUMER)
    return desk.community.sign(member, bid(1, 1), market=desk.market, session=desk.start)


@EITHER
def test_excuse__peer_that_can_pay__reverts(desk: Desk) -> None:
    spend(desk, desk.victim, COST)
    desk.to_gate()
    with reverts(
        desk.bonds.NoExcuse, peer=desk.victim.peer, wants=tuple(wants(COST, COST, ENERGY).values())
    ):
        desk.excuse(desk.order)


def test_excuse__withdrawal_requested_after_the_gate__does_not_count(desk: Desk) -> None:
    """The clearing reaches for it as well."""
    desk.to_gate()
    spend(desk, desk.victim, 0)
    with reverts(
        desk.bonds.NoExcuse, peer=desk.victim.peer, wants=tuple(wants(COST, NANO, ENERGY).values())
    ):
        desk.excuse(desk.order)


def test_excuse__orders_that_cost_too_much_together__are_all_excused(desk: Desk) -> None:
    more = desk.community.sign(
        desk.victim, bid(50_000, 9_000), ask(7, 3),
        market=desk.market, session=desk.start, nonce=3,
    )  # fmt: skip
    total = COST + 50_000 * 9_000
    spend(desk, desk.victim, total - 1)
    desk.to_gate()
    receipt = desk.excuse(desk.order, more)
    assert events(receipt)[0].values["wants"] == (total, total - 1, ENERGY + 9_000, 10**6)


@pytest.mark.parametrize(
    ("terms", "cost"),
    [
        pytest.param({}, COST, id="charges what it wants"),
        pytest.param({"charge_wh": 7}, 7 * LIMIT, id="charges what it can"),
        pytest.param({"start_wh": 1_500}, 500 * LIMIT, id="has a part of it"),
        pytest.param({"value_micro_per_kwh": 0}, 0, id="wants nothing"),
        pytest.param({"value_micro_per_kwh": -9}, 0, id="has nothing to get rid of"),
        pytest.param(
            {"start_wh": 60, "discharge_wh": 80, "value_micro_per_kwh": -9},
            60 * 9,
            id="gets rid of all",
        ),
        pytest.param(
            {"start_wh": 60, "discharge_wh": 8, "value_micro_per_kwh": -9, "wear_micro_per_kwh": 2},
            8 * 7,
            id="gets rid of what it can, with its wear",
        ),
        pytest.param(
            {"start_wh": 60, "discharge_wh": 8, "value_micro_per_kwh": -9, "wear_micro_per_kwh": 9},
            0,
            id="keeps it",
        ),
    ],
)
def test_excuse__worst_case_of_a_flexible_order__is_what_it_would_pay_for_its_value(
    desk: Desk, terms: dict[str, int], cost: int
) -> None:
    signed = desk.vehicle(desk.victim, **terms)
    assert signed.order.worst_case_nano == cost
    spend(desk, desk.victim, max(cost - 1, 0))
    desk.to_gate()
    order = signed.order
    assert isinstance(order, FlexibleOrder)
    total = wants(cost, max(cost - 1, 0), max(order.charge_wh, order.discharge_wh))
    if cost:
        receipt = desk.excuse(signed)
        assert events(receipt)[0].values["wants"] == tuple(total.values())
    else:
        with reverts(desk.bonds.NoExcuse, peer=desk.victim.peer, wants=tuple(total.values())):
            desk.excuse(signed)


def test_excuse__curve_and_flexible_order__count_together(desk: Desk) -> None:
    """Charging with what it bids, discharging with what it asks, in money and in energy."""
    community = desk.community
    options = {"market": desk.market, "session": desk.start}
    curve = community.sign(
        desk.victim, bid(1, 400_000), ask(1, 300_000), bid(2, 100_000), **options, nonce=1
    )
    terms = {"charge_wh": 500_000, "capacity_wh": 0, "wanted_wh": 0, "discharge_wh": 700_000}
    fits = desk.vehicle(desk.victim, **terms, nonce=2)
    beyond = desk.vehicle(desk.victim, **terms | {"discharge_wh": 700_001}, nonce=2)
    vehicle = desk.vehicle(desk.victim, nonce=3)
    cost = 400_000 + 2 * 100_000
    desk.to_gate()
    full = wants(cost, NANO, 10**6)
    with reverts(desk.bonds.NoExcuse, peer=desk.victim.peer, wants=tuple(full.values())):
        desk.excuse(curve, fits)
    before = ape.chain.snapshot()
    receipt = desk.excuse(curve, beyond)
    assert events(receipt)[0].values["wants"] == (cost, NANO, 10**6 + 1, 10**6)
    ape.chain.restore(before)
    receipt = desk.excuse(curve, fits, vehicle)
    assert events(receipt)[0].values["wants"] == (cost + COST, NANO, 10**6 + ENERGY, 10**6)


def test_excuse__placed_order__costs_nothing_and_needs_no_signature(desk: Desk) -> None:
    community = desk.community
    placed = community.sign(
        desk.victim, bid(1_000, 10**6 - ENERGY), market=desk.market, session=desk.start, nonce=2
    )
    deposit = community.chain.contracts.ledger.deposit
    community.send(deposit, desk.victim.peer, 10**9, sender=community.treasury)
    community.place(placed)
    means = community.chain.contracts.ledger.availableNano(desk.victim.peer)
    desk.to_gate()
    bare = SignedOrder(placed.order, b"")
    with reverts(
        desk.bonds.NoExcuse, peer=desk.victim.peer, wants=tuple(wants(COST, means, 10**6).values())
    ):
        desk.excuse(desk.order, bare)
    third = desk.community.sign(
        desk.victim, bid(1, 1), market=desk.market, session=desk.start, nonce=3
    )
    # One watt-hour more than the connection carries, with what the peer placed after the receipt.
    receipt = desk.excuse(desk.order, bare, third)
    assert events(receipt)[0].values["wants"] == (COST + 1, means, 10**6 + 1, 10**6)


def test_excuse__in_whose_turn(desk: Desk) -> None:
    spend(desk, desk.victim, 0)
    gate = desk.terms.gate_closure(desk.start)
    turn = {
        "market": desk.market,
        "sessionStart": desk.start,
        "from": gate,
        "until": gate + EXCLUSIVE,
    }
    desk.community.wait_until(gate - 1)
    with reverts(desk.bonds.NotTheManagersTurn, **turn):
        desk.excuse(desk.order)
    desk.to_gate()
    with reverts(desk.bonds.NotTheManager, caller=desk.community.outsider.address):
        desk.excuse(desk.order, sender=desk.community.outsider)
    before = ape.chain.snapshot()
    desk.clear(*desk.others)
    with reverts(desk.bonds.NotTheManagersTurn, **turn):
        desk.excuse(desk.order)
    ape.chain.restore(before)
    desk.community.wait_until(gate + EXCLUSIVE + 1)
    with reverts(desk.bonds.NotTheManagersTurn, **turn):
        desk.excuse(desk.order)


def test_excuse__orders_that_are_not_one_peers_in_sequence__revert(desk: Desk) -> None:
    community, book = desk.community, desk.community.chain.contracts.order_book
    options = {"market": desk.market, "session": desk.start}
    second = community.sign(desk.victim, bid(5, 5), **options, nonce=1)
    cancelled = community.sign(desk.victim, bid(10**6, 10**6), **options, nonce=2)
    next_hour = community.sign(
        desk.victim, bid(5, 5), market=desk.market, session=desk.start + HOUR, nonce=9
    )
    elsewhere = community.sign(desk.victim, bid(5, 5), market=HOURLY, session=desk.start, nonce=9)
    same_nonce = desk.vehicle(desk.victim)  # of which a clearing has one at most
    community.send(book.cancel, desk.market, desk.start, 2, sender=desk.victim.wallet)
    desk.to_gate()
    with reverts(desk.bonds.OrdersMissing):
        desk.excuse()
    for orders in (
        (desk.order, desk.order),  # twice, to make it look dear
        (second, desk.order),
        (desk.order, desk.others[0]),
        (desk.order, next_hour),
        (desk.order, elsewhere),
        (desk.order, same_nonce),
        (same_nonce, desk.order),
    ):
        last = orders[-1].order
        with reverts(desk.bonds.OrdersUnsorted, peer=last.peer, nonce=last.nonce):
            desk.excuse(*orders)
    with reverts(book.OrderIsCancelled, peer=desk.victim.peer, nonce=2):
        desk.excuse(desk.order, cancelled)
    for order in (cancelled.order, same_nonce.order):
        invented = replace(desk.others[0], order=replace(order, nonce=5))
        with reverts(book.WrongSigner, peer=desk.victim.peer, nonce=5):
            desk.excuse(desk.order, invented)
    with reverts(_error("Orders", "WindowMalformed"), **WINDOW_TOO_LONG, peer=desk.victim.peer):
        desk.excuse(desk.order, desk.vehicle(desk.victim, nonce=5, periods=2))


def test_witness_pause__in_the_managers_window__frees_it_from_its_receipts(desk: Desk) -> None:
    """A guardian could otherwise pause until the window is over, and let others collect."""
    community, bonds = desk.community, desk.bonds
    book = community.chain.contracts.order_book
    where = {"market": desk.market, "sessionStart": desk.start}
    gate = desk.terms.gate_closure(desk.start)
    with reverts(bonds.NotTheManagersTurn, **where, **{"from": gate}, until=gate + EXCLUSIVE):
        community.send(bonds.witnessPause, *where.values(), sender=community.outsider)
    desk.to_gate()
    with reverts(bonds.NotPaused):
        community.send(bonds.witnessPause, *where.values(), sender=community.outsider)
    community.send(book.pause, sender=community.guardian)
    receipt = community.send(bonds.witnessPause, *where.values(), sender=community.outsider)
    assert events(receipt) == [event(bonds.PauseWitnessed, **where)]
    assert bonds.wasPaused(*where.values())
    with reverts(bonds.ClearingWasPaused, **where):
        desk.excuse(desk.order)
    community.send(book.unpause, sender=community.guardian)
    hashes = cleared_by_an_outsider(desk)
    with reverts(bonds.ClearingWasPaused, **where):
        desk.challenge(hashes)


# ------------------------------------------------------------------------------------------- scans


def test_scan__in_several_transactions__is_gone_on_from(desk: Desk) -> None:
    community, bonds = desk.community, desk.bonds
    hashes, missing = desk.clear(*desk.others), desk.order.order.struct_hash
    reached = chained(hashes[:1])
    receipt = community.send(bonds.scan, missing, bytes(32), hashes[:1], sender=community.outsider)
    assert events(receipt) == [event(bonds.OrdersScanned, orderHash=missing, reached=reached)]
    # A scan counts for its own order only, and nobody goes on from where no scan has come.
    other = desk.others[0].order.struct_hash
    for order_hash, since in ((other, reached), (missing, chained(hashes))):
        with reverts(bonds.NotScanned, orderHash=order_hash, reached=since):
            community.send(bonds.scan, order_hash, since, [], sender=community.outsider)
    with reverts(bonds.OrderIsThere, orderHash=other, index=0):
        community.send(bonds.scan, other, bytes(32), hashes, sender=community.outsider)
    with reverts(bonds.NotTheOrders, expected=chained(hashes), actual=reached):
        desk.challenge([], since=reached)
    desk.challenge(hashes[1:], since=reached)
    assert desk.claim() == PAID


@EITHER
def test_digest__is_what_python_signs(desk: Desk) -> None:
    receipt = desk.receipt().receipt
    order, book = desk.order.order, desk.community.chain.contracts.order_book
    digest = desk.bonds.receiptDigest(_tuples(order.to_struct()), receipt.issued_at)
    assert bytes(digest) == receipt.typed_data(desk.community.chain.receipt_domain).digest()
    assert order.struct_hash == bytes(
        book.requireValid(_tuples(order.to_struct()), desk.order.signature)
    )
