"""Whose orders are placed: EIP-712, ECDSA, ERC-1271, and EIP-7702, which is both (R3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import ape
import pytest
from eth_account.messages import _hash_eip191_message
from eth_utils.address import to_canonical_address
from tests.community import C3, HOUR, HOURLY, NOTICE, Community, Member, ask, bid
from tests.contracts.registry import admit, change_wallet, connection, new_wallet
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role, project, structs
from fairwatt.eip712 import Domain
from fairwatt.orders import Order, SignedOrder

if TYPE_CHECKING:
    from typing import Any

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture
def book(community: Community) -> Any:
    return community.chain.contracts.order_book


@pytest.fixture
def ledger(community: Community) -> Any:
    return community.chain.contracts.ledger


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.PROSUMER, tokens=1)


def refuse(community: Community, signed: SignedOrder) -> None:
    """Require that the signature is not the peer's, for `requireValid` and `place`."""
    book, order = community.chain.contracts.order_book, signed.order
    with reverts(book.WrongSigner, peer=order.peer, nonce=order.nonce):
        book.requireValid(structs(order.to_message()), signed.signature)
    with reverts(book.WrongSigner, peer=order.peer, nonce=order.nonce):
        community.place(signed)


def is_found(book: Any, signed: SignedOrder) -> bool:
    """Whether a clearing finds the order placed, and so needs no signature."""
    order = signed.order
    order_hash, _, locked = book.placedOrder(order.market, order.session_start, order.peer)
    taken = (order.peer, order.nonce, True, order_hash)
    found = book.lookUp(order.market, order.session_start, [taken])
    return (list(found[0]), found[1]) == ([locked], 1)


# ----------------------------------------------------------------------------------------- EIP-712


def test_order_digest__is_what_wallets_sign(
    community: Community, book: Any, member: Member
) -> None:
    steps = (bid(-1, 2**31 - 1), ask(2**31 - 1, 1, period=77), bid(5, 6, period=77))
    order = community.order(member, *steps, nonce=9)
    signable = order.typed_data(community.chain.order_domain).signable()
    assert bytes(book.orderDigest(structs(order.to_message()))) == _hash_eip191_message(signable)


def test_domain_separator__is_that_of_the_typed_data(
    community: Community, book: Any, member: Member
) -> None:
    order = community.order(member, bid(1, 1))
    signable = order.typed_data(community.chain.order_domain).signable()
    assert bytes(book.domainSeparator()) == signable.header


def test_eip712_domain__describes_itself(community: Community, book: Any) -> None:
    fields, name, version, chain_id, contract, salt, extensions = book.eip712Domain()
    assert bytes(fields) == b"\x0f"  # name, version, chain and contract; no salt
    assert (name, version) == ("Fairwatt", "1")
    assert (chain_id, contract) == (community.chain.chain_id, book.address)
    assert (bytes(salt), list(extensions)) == (bytes(32), [])


def test_require_valid__of_a_valid_order__is_its_hash(
    community: Community, book: Any, member: Member
) -> None:
    signed = community.sign(member, bid(1, 1))
    order_hash = book.requireValid(structs(signed.order.to_message()), signed.signature)
    signable = signed.order.typed_data(community.chain.order_domain).signable()
    assert bytes(order_hash) == signable.body


@pytest.mark.parametrize("cancel", ["cancel", "cancelAll"])
def test_require_valid__of_a_cancelled_order__is_refused(
    community: Community, book: Any, member: Member, cancel: str
) -> None:
    signed = community.sign(member, bid(1, 1), nonce=4)
    nonce = {"cancel": 4, "cancelAll": 5}[cancel]
    method, start = getattr(book, cancel), signed.order.session_start
    community.send(method, HOURLY, start, nonce, sender=member.wallet)
    with reverts(book.OrderIsCancelled, peer=member.peer, nonce=4):
        book.requireValid(structs(signed.order.to_message()), signed.signature)


# ------------------------------------------------------------------------------------------- ECDSA


def test_place__signed_by_another_peer__is_refused(community: Community, member: Member) -> None:
    order = community.order(member, bid(1, 1), nonce=4)
    key = community.supplier.key
    refuse(community, order.signed_by(key, community.chain.order_domain))


def test_place__sent_by_the_peer_without_its_signature__is_refused(
    community: Community, book: Any, member: Member
) -> None:
    message = community.order(member, bid(1, 1), nonce=4).to_message()
    with reverts(book.WrongSigner, peer=member.peer, nonce=4):
        community.send(book.place, message, b"", sender=member.wallet)


def changed(order: Order, field: str) -> Order:
    """The order with one field changed in a way that leaves it admissible."""
    if field == "steps":
        return replace(order, steps=(*order.steps, bid(1, 1)))
    if field == "session_start":
        return replace(order, session_start=order.session_start - HOUR)
    return replace(order, **{field: getattr(order, field) + 1})


@pytest.mark.parametrize("field", ["steps", "session_start", "nonce"])
def test_place__field_changed_after_signing__is_refused(
    community: Community, member: Member, field: str
) -> None:
    start = community.open_session() + HOUR
    signed = community.sign(member, bid(1, 1), session=start)
    refuse(community, replace(signed, order=changed(signed.order, field)))


@pytest.mark.parametrize("field", ["price_micro_per_kwh", "energy_wh"])
def test_place__step_changed_after_signing__is_refused(
    community: Community, member: Member, field: str
) -> None:
    signed = community.sign(member, bid(1, 1))
    (step,) = signed.order.steps
    raised = replace(step, **{field: 2})
    refuse(community, replace(signed, order=replace(signed.order, steps=(raised,))))


def test_place__for_the_place_of_another_peer__is_refused(
    community: Community, member: Member
) -> None:
    other = community.admit(Role.PROSUMER, tokens=1)
    signed = community.sign(member, bid(1, 1))
    refuse(community, replace(signed, order=replace(signed.order, peer=other.peer)))


def test_place__signed_for_another_chain__is_refused(community: Community, member: Member) -> None:
    domain = community.chain.order_domain
    elsewhere = Domain(domain.chain_id + 1, domain.verifying_contract)
    refuse(community, community.order(member, bid(1, 1)).signed_by(member.key, elsewhere))


def test_place__signed_for_another_contract__is_refused(
    community: Community, member: Member
) -> None:
    elsewhere = community.chain.reading_domain
    refuse(community, community.order(member, bid(1, 1)).signed_by(member.key, elsewhere))


def test_place__high_s__is_refused(community: Community, member: Member) -> None:
    signed = community.sign(member, bid(1, 1))
    r, s, v = signed.signature[:32], int.from_bytes(signed.signature[32:64]), signed.signature[64]
    malleated = r + (CURVE_ORDER - s).to_bytes(32) + bytes([27 + 28 - v])
    refuse(community, replace(signed, signature=malleated))


def test_place__v_of_0_or_1__is_refused(community: Community, member: Member) -> None:
    signed = community.sign(member, bid(1, 1))
    signature = signed.signature[:64] + bytes([signed.signature[64] - 27])
    refuse(community, replace(signed, signature=signature))


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65), bytes(66)], ids=len)
def test_place__no_signature__is_refused(
    community: Community, member: Member, signature: bytes
) -> None:
    refuse(community, SignedOrder(community.order(member, bid(1, 1)), signature))


def test_place__new_wallet__signs_for_sessions_from_the_change_on(
    community: Community, book: Any, member: Member
) -> None:
    start = community.open_session() + NOTICE
    community.travel_to(start - NOTICE - 3)
    change_wallet(community, member, new_wallet())
    community.travel_to(start + HOUR - NOTICE)  # now both books are open
    successor = replace(member, wallet=new_wallet())
    refuse(community, community.sign(member, bid(1, 1), session=start))
    refuse(community, community.sign(successor, bid(1, 1), session=start - HOUR))
    community.place(community.sign(member, bid(1, 1), session=start - HOUR))
    community.place(community.sign(successor, bid(1, 1), session=start))
    assert [book.sessionState(HOURLY, at)[0] for at in (start, start - HOUR)] == [1, 1]


# ---------------------------------------------------------------------------------------- ERC-1271


@pytest.fixture
def contract_wallet(community: Community) -> Any:
    """A contract that accepts what the outsider signs."""
    return project().ContractWallet.deploy(
        community.outsider.address, sender=community.admin.account
    )


@pytest.fixture
def owner(community: Community, contract_wallet: Any) -> Member:
    """The peer of the contract wallet, with the key of the wallet's owner."""
    receipt = admit(community, contract_wallet.address, connection(Role.PROSUMER))
    wallet = community.outsider
    assert wallet.key is not None
    member = Member(int(receipt.events[-1].peer), wallet, wallet.key, C3)
    community.deposit(member, 10**9)
    return member


def test_place__contract_wallet_accepts__is_placed(
    community: Community, book: Any, ledger: Any, owner: Member
) -> None:
    signed = community.sign(owner, bid(1_000, 1_000))
    receipt = community.place(signed)
    assert events(receipt) == [
        event(
            book.OrderPlaced,
            market=HOURLY,
            sessionStart=signed.order.session_start,
            peer=owner.peer,
            order=signed.order.to_message(),
        ),
        event(ledger.Locked, peer=owner.peer, amountNano=1_000_000),
    ]


def test_place__contract_wallet_refuses__is_refused(
    community: Community, contract_wallet: Any, owner: Member
) -> None:
    community.send(contract_wallet.setAccepts, False, sender=community.outsider)
    refuse(community, community.sign(owner, bid(1, 1)))


def test_place__contract_wallet_of_another_signer__is_refused(
    community: Community, member: Member, owner: Member
) -> None:
    order = community.order(owner, bid(1, 1))
    refuse(community, order.signed_by(member.key, community.chain.order_domain))


def test_place__contract_that_is_no_wallet__is_refused(community: Community) -> None:
    token = community.chain.contracts.token.address
    peer = int(admit(community, token, connection(Role.PROSUMER)).events[-1].peer)
    member = replace(community.supplier, peer=peer, node=C3)
    refuse(community, community.sign(member, ask(1, 1)))


def test_place__contract_wallet_changes_its_mind_afterwards__stays_placed(
    community: Community, book: Any, contract_wallet: Any, owner: Member
) -> None:
    signed = community.sign(owner, bid(100_000, 1_000))
    community.place(signed)
    community.send(contract_wallet.setAccepts, False, sender=community.outsider)
    with reverts(book.WrongSigner, peer=owner.peer, nonce=0):
        book.requireValid(structs(signed.order.to_message()), signed.signature)
    assert is_found(book, signed)


def test_cancel__by_a_contract_wallet__is_its_own(
    community: Community, book: Any, ledger: Any, contract_wallet: Any, owner: Member
) -> None:
    signed = community.sign(owner, bid(1_000, 1_000))
    start = signed.order.session_start
    community.place(signed)
    with reverts(book.NotThePeer, caller=community.outsider.address):
        community.send(book.cancel, HOURLY, start, 0, sender=community.outsider)
    call = book.cancel.encode_input(HOURLY, start, 0)
    receipt = community.send(contract_wallet.execute, book.address, call, sender=community.outsider)
    assert events(receipt) == [
        event(book.OrderCancelled, market=HOURLY, sessionStart=start, peer=owner.peer, nonce=0),
        event(ledger.Unlocked, peer=owner.peer, amountNano=1_000_000),
    ]


# ---------------------------------------------------------------------------------------- EIP-7702


@pytest.fixture
def delegated(community: Community, contract_wallet: Any, member: Member) -> Member:
    """The member, whose account delegates to a wallet that accepts what the outsider signs."""
    member.wallet.account.set_delegate(contract_wallet, receiver=community.outsider.address)
    code = ape.networks.provider.get_code(member.wallet.address)
    assert bytes(code) == b"\xef\x01\x00" + to_canonical_address(contract_wallet.address)
    return member


def by_the_outsider(community: Community, member: Member, nonce: int = 0) -> SignedOrder:
    order = community.order(member, bid(1_000, 1_000), nonce=nonce)
    assert community.outsider.key is not None
    return order.signed_by(community.outsider.key, community.chain.order_domain)


def test_place__delegated_account__takes_its_key_and_what_its_code_accepts(
    community: Community, book: Any, delegated: Member
) -> None:
    by_key = community.sign(delegated, bid(1_000, 1_000))
    by_code = by_the_outsider(community, delegated, nonce=1)
    start = by_key.order.session_start
    for signed in (by_key, by_code):
        book.requireValid(structs(signed.order.to_message()), signed.signature)
        community.place(signed)
        assert is_found(book, signed)
        nonce = signed.order.nonce
        community.send(book.cancel, HOURLY, start, nonce, sender=delegated.wallet)


def test_place__delegated_account_whose_code_refuses__takes_its_key(
    community: Community, book: Any, contract_wallet: Any, delegated: Member
) -> None:
    # The code runs for the member's account: what it stores is the member's.
    refuse_all = contract_wallet.setAccepts.encode_input(False)
    community.outsider.account.transfer(delegated.wallet.address, 0, data=refuse_all)
    refuse(community, by_the_outsider(community, delegated, nonce=1))
    community.place(community.sign(delegated, bid(1_000, 1_000)))


def test_place__delegated_account__refuses_what_neither_signed(
    community: Community, delegated: Member
) -> None:
    order = community.order(delegated, bid(1, 1))
    refuse(community, order.signed_by(community.supplier.key, community.chain.order_domain))


def test_place__delegated_to_what_is_no_wallet__takes_its_key(
    community: Community, member: Member
) -> None:
    token = community.chain.contracts.token
    member.wallet.account.set_delegate(token, receiver=community.outsider.address)
    refuse(community, by_the_outsider(community, member))
    community.place(community.sign(member, bid(1, 1)))


def test_place__delegation_ends_afterwards__stays_placed(
    community: Community, book: Any, delegated: Member
) -> None:
    placed = by_the_outsider(community, delegated)
    community.place(placed)
    delegated.wallet.account.remove_delegate(receiver=community.outsider.address)
    refuse(community, by_the_outsider(community, delegated, nonce=1))
    assert is_found(book, placed)
