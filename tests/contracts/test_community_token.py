"""`CommunityToken`: backed one to one by another token, or minted by a treasury (R1 to R3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from tests.community import DAY, Community
from tests.outcomes import OVERFLOW, PANIC, event, events, reverts

from fairwatt.chain import project

if TYPE_CHECKING:
    from eth_account.messages import SignableMessage

    from fairwatt.chain import Receipt, Signer

NOBODY = "0x" + "0" * 40
CAP_WEI = 10**30  # of the community's treasury token


def deploy(community: Community, backing: Any = NOBODY, cap_wei: int = 0) -> Any:
    admin = community.admin
    return project().CommunityToken.deploy(
        "Backed token", "BKD", admin.address, DAY, backing, cap_wei, sender=admin.account
    )


def deploy_money(community: Community, decimals: int, kind: str = "TestERC20") -> Any:
    return getattr(project(), kind).deploy(decimals, sender=community.admin.account)


def transferred(token: Any, sender: Any, to: Any, value: int) -> Any:
    sender, to = (getattr(account, "address", account) for account in (sender, to))
    return event(token.Transfer, **{"from": sender, "to": to}, value=value)


def give(community: Community, token: Any, money: Any, owner: Signer, units: int) -> None:
    """Give money to the owner, who lets the token take it."""
    community.send(money.mint, owner.address, units, sender=community.admin)
    community.send(money.approve, token, units, sender=owner)


@pytest.fixture
def alice(community: Community) -> Signer:
    return community.outsider


@pytest.fixture
def bob(community: Community) -> Signer:
    return community.solver


@pytest.fixture
def money(community: Community) -> Any:
    """The backing, with 6 decimals."""
    return deploy_money(community, 6)


@pytest.fixture
def backed(community: Community, money: Any) -> Any:
    return deploy(community, money)


@pytest.fixture
def treasury_token(community: Community) -> Any:
    return community.chain.contracts.token


# ------------------------------------------------------------------------------------ constructor


@pytest.mark.parametrize(("decimals", "wei_per_unit"), [(18, 1), (6, 10**12), (0, 10**18)])
def test_deploy__with_a_backing__has_18_decimals_whatever_the_backing_has(
    community: Community, decimals: int, wei_per_unit: int
) -> None:
    money = deploy_money(community, decimals)
    token = deploy(community, money)
    assert (token.backing(), token.supplyCapWei()) == (money.address, 0)
    assert (token.decimals(), token.weiPerBackingUnit()) == (18, wei_per_unit)


def test_deploy__with_a_cap__is_a_treasury_token(treasury_token: Any) -> None:
    assert (treasury_token.backing(), treasury_token.supplyCapWei()) == (NOBODY, CAP_WEI)
    assert treasury_token.weiPerBackingUnit() == 0


def test_deploy__neither_kind__is_refused(community: Community, treasury_token: Any) -> None:
    with reverts(treasury_token.KindUnclear, backing=NOBODY, supplyCapWei=0):
        deploy(community)


def test_deploy__both_kinds__is_refused(
    community: Community, money: Any, treasury_token: Any
) -> None:
    with reverts(treasury_token.KindUnclear, backing=money.address, supplyCapWei=1):
        deploy(community, money, cap_wei=1)


def test_deploy__backing_of_19_decimals__is_refused(
    community: Community, treasury_token: Any
) -> None:
    money = deploy_money(community, 19)
    with reverts(treasury_token.BackingTooFine, decimals=19):
        deploy(community, money)


# --------------------------------------------------------------------------------- depositBacking


def deposit(community: Community, token: Any, sender: Signer, to: str, units: int) -> Receipt:
    return community.send(token.depositBacking, to, units, sender=sender)


def test_deposit_backing__for_somebody__mints_the_same_value(
    community: Community, backed: Any, money: Any, alice: Signer, bob: Signer
) -> None:
    give(community, backed, money, alice, 5)
    receipt = deposit(community, backed, alice, bob.address, 5)
    assert events(receipt) == [
        transferred(money, alice, backed, 5),
        transferred(backed, NOBODY, bob, 5 * 10**12),
        event(
            backed.BackingDeposited,
            **{"from": alice.address, "to": bob.address},
            backingUnits=5,
            amountWei=5 * 10**12,
        ),
    ]
    assert backed.balanceOf(bob.address) == backed.totalSupply() == 5 * 10**12
    assert money.balanceOf(backed) == 5


@pytest.mark.parametrize(("decimals", "wei_per_unit"), [(18, 1), (0, 10**18)])
def test_deposit_backing__and_redeem__leaves_nothing_behind(
    community: Community, alice: Signer, decimals: int, wei_per_unit: int
) -> None:
    money = deploy_money(community, decimals)
    token = deploy(community, money)
    give(community, token, money, alice, 7)
    deposit(community, token, alice, alice.address, 7)
    assert token.balanceOf(alice.address) == 7 * wei_per_unit
    community.send(token.redeem, alice.address, 7 * wei_per_unit, sender=alice)
    assert money.balanceOf(alice.address) == 7
    assert token.totalSupply() == money.balanceOf(token) == 0


def test_deposit_backing__fee_on_transfer__is_refused(
    community: Community, backed: Any, money: Any, alice: Signer
) -> None:
    give(community, backed, money, alice, 1_000)
    community.send(money.setFee, 1, sender=community.admin)
    with reverts(backed.DepositIncomplete, expectedUnits=1_000, receivedUnits=999):
        deposit(community, backed, alice, alice.address, 1_000)


def test_deposit_backing__more_delivered_than_asked_for__is_refused(
    community: Community, alice: Signer
) -> None:
    money = deploy_money(community, 6, "CallbackERC20")
    token = deploy(community, money)
    give(community, token, money, alice, 5)
    mint = money.mint.encode_input(token.address, 1)
    community.send(money.setCallback, money.address, mint, sender=community.admin)
    with reverts(token.DepositIncomplete, expectedUnits=5, receivedUnits=6):
        deposit(community, token, alice, alice.address, 5)


def test_deposit_backing__from_within_a_deposit__is_refused(
    community: Community, alice: Signer
) -> None:
    money = deploy_money(community, 6, "CallbackERC20")
    token = deploy(community, money)
    give(community, token, money, alice, 5)
    again = token.depositBacking.encode_input(alice.address, 0)
    community.send(money.setCallback, token.address, again, sender=community.admin)
    with reverts(token.ReentrancyGuardReentrantCall):
        deposit(community, token, alice, alice.address, 5)


def test_deposit_backing__not_approved__is_refused(
    community: Community, backed: Any, money: Any, alice: Signer
) -> None:
    give(community, backed, money, alice, 5)
    with reverts(money.ERC20InsufficientAllowance, spender=backed.address, allowance=5, needed=6):
        deposit(community, backed, alice, alice.address, 6)


def test_deposit_backing__to_nobody__is_refused(
    community: Community, backed: Any, money: Any, alice: Signer
) -> None:
    give(community, backed, money, alice, 5)
    with reverts(backed.ERC20InvalidReceiver, receiver=NOBODY):
        deposit(community, backed, alice, NOBODY, 5)


def test_deposit_backing__value_beyond_256_bits__is_refused(
    community: Community, backed: Any, money: Any, alice: Signer
) -> None:
    give(community, backed, money, alice, 2**255)
    with reverts(PANIC, code=OVERFLOW):
        deposit(community, backed, alice, alice.address, 2**255)


def test_deposit_backing__of_a_treasury_token__is_refused(
    community: Community, treasury_token: Any, alice: Signer
) -> None:
    with reverts(treasury_token.WrongKind):
        deposit(community, treasury_token, alice, alice.address, 1)


# ----------------------------------------------------------------------------------------- redeem


def test_redeem__to_somebody__burns_and_pays_the_same_value(
    community: Community, backed: Any, money: Any, alice: Signer, bob: Signer
) -> None:
    give(community, backed, money, alice, 5)
    deposit(community, backed, alice, alice.address, 5)
    receipt = community.send(backed.redeem, bob.address, 2 * 10**12, sender=alice)
    assert events(receipt) == [
        transferred(backed, alice, NOBODY, 2 * 10**12),
        event(
            backed.BackingRedeemed,
            **{"from": alice.address, "to": bob.address},
            backingUnits=2,
            amountWei=2 * 10**12,
        ),
        transferred(money, backed, bob, 2),
    ]
    assert backed.totalSupply() == 3 * 10**12
    assert (money.balanceOf(bob.address), money.balanceOf(backed)) == (2, 3)


def test_redeem__no_whole_unit_of_the_backing__is_refused(
    community: Community, backed: Any, money: Any, alice: Signer
) -> None:
    give(community, backed, money, alice, 5)
    deposit(community, backed, alice, alice.address, 5)
    with reverts(backed.NotRedeemable, amountWei=10**12 + 1, weiPerUnit=10**12):
        community.send(backed.redeem, alice.address, 10**12 + 1, sender=alice)


def test_redeem__more_than_owned__is_refused(
    community: Community, backed: Any, money: Any, alice: Signer, bob: Signer
) -> None:
    give(community, backed, money, alice, 5)
    deposit(community, backed, alice, alice.address, 5)
    with reverts(backed.ERC20InsufficientBalance, sender=bob.address, balance=0, needed=10**12):
        community.send(backed.redeem, bob.address, 10**12, sender=bob)


def test_redeem__from_within_a_redemption__is_refused(community: Community, alice: Signer) -> None:
    money = deploy_money(community, 6, "CallbackERC20")
    token = deploy(community, money)
    give(community, token, money, alice, 5)
    deposit(community, token, alice, alice.address, 5)
    again = token.redeem.encode_input(alice.address, 0)
    community.send(money.setCallback, token.address, again, sender=community.admin)
    with reverts(token.ReentrancyGuardReentrantCall):
        community.send(token.redeem, alice.address, 10**12, sender=alice)


def test_redeem__of_a_treasury_token__is_refused(
    community: Community, treasury_token: Any, alice: Signer
) -> None:
    with reverts(treasury_token.WrongKind):
        community.send(treasury_token.redeem, alice.address, 0, sender=alice)


# --------------------------------------------------------------------------------------- treasury


def test_treasury_mint__by_the_treasury__mints(
    community: Community, treasury_token: Any, alice: Signer
) -> None:
    receipt = community.send(
        treasury_token.treasuryMint, alice.address, 7, sender=community.treasury
    )
    assert events(receipt) == [
        transferred(treasury_token, NOBODY, alice, 7),
        event(treasury_token.TreasuryMinted, to=alice.address, amountWei=7),
    ]
    assert treasury_token.balanceOf(alice.address) == 7


def test_treasury_mint__up_to_the_cap__is_accepted(
    community: Community, treasury_token: Any, alice: Signer
) -> None:
    rest = CAP_WEI - treasury_token.totalSupply()
    community.send(treasury_token.treasuryMint, alice.address, rest, sender=community.treasury)
    assert treasury_token.totalSupply() == CAP_WEI


def test_treasury_mint__beyond_the_cap__is_refused(
    community: Community, treasury_token: Any, alice: Signer
) -> None:
    rest = CAP_WEI - treasury_token.totalSupply()
    with reverts(treasury_token.SupplyCapExceeded, supplyWei=CAP_WEI + 1, supplyCapWei=CAP_WEI):
        community.send(
            treasury_token.treasuryMint, alice.address, rest + 1, sender=community.treasury
        )


def test_treasury_mint__beyond_256_bits__is_refused(
    community: Community, treasury_token: Any, alice: Signer
) -> None:
    community.send(treasury_token.treasuryMint, alice.address, 1, sender=community.treasury)
    with reverts(PANIC, code=OVERFLOW):
        community.send(
            treasury_token.treasuryMint, alice.address, 2**256 - 1, sender=community.treasury
        )


def test_treasury_mint__not_the_treasury__is_refused(
    community: Community, treasury_token: Any
) -> None:
    with reverts(
        treasury_token.AccessControlUnauthorizedAccount,
        account=community.admin.address,
        neededRole=treasury_token.TREASURY_ROLE(),
    ):
        community.send(
            treasury_token.treasuryMint, community.admin.address, 1, sender=community.admin
        )


def test_treasury_mint__of_a_backed_token__is_refused(
    community: Community, backed: Any, alice: Signer
) -> None:
    treasury = community.treasury
    community.send(
        backed.grantRole, backed.TREASURY_ROLE(), treasury.address, sender=community.admin
    )
    with reverts(backed.WrongKind):
        community.send(backed.treasuryMint, alice.address, 1, sender=treasury)


def test_treasury_burn__by_a_holder__burns_its_own(
    community: Community, treasury_token: Any, alice: Signer
) -> None:
    community.send(treasury_token.treasuryMint, alice.address, 7, sender=community.treasury)
    receipt = community.send(treasury_token.treasuryBurn, 3, sender=alice)
    assert events(receipt) == [
        transferred(treasury_token, alice, NOBODY, 3),
        event(treasury_token.TreasuryBurned, **{"from": alice.address}, amountWei=3),
    ]
    assert treasury_token.balanceOf(alice.address) == 4


def test_treasury_burn__more_than_owned__is_refused(
    community: Community, treasury_token: Any, alice: Signer
) -> None:
    community.send(treasury_token.treasuryMint, alice.address, 7, sender=community.treasury)
    with reverts(
        treasury_token.ERC20InsufficientBalance, sender=alice.address, balance=7, needed=8
    ):
        community.send(treasury_token.treasuryBurn, 8, sender=alice)


def test_treasury_burn__of_a_backed_token__is_refused(
    community: Community, backed: Any, alice: Signer
) -> None:
    with reverts(backed.WrongKind):
        community.send(backed.treasuryBurn, 0, sender=alice)


# ----------------------------------------------------------------------------------------- permit


def permit_message(
    community: Community, token: Any, owner: Signer, nonce: int, deadline: int
) -> SignableMessage:
    """The EIP-2612 message that lets the solver spend 5 of the owner's."""
    fields = {
        "owner": "address",
        "spender": "address",
        "value": "uint256",
        "nonce": "uint256",
        "deadline": "uint256",
    }
    values = (owner.address, community.solver.address, 5, nonce, deadline)
    return encode_typed_data(
        domain_data={
            "name": token.name(),
            "version": "1",
            "chainId": community.chain.chain_id,
            "verifyingContract": token.address,
        },
        message_types={"Permit": [{"name": name, "type": kind} for name, kind in fields.items()]},
        message_data=dict(zip(fields, values, strict=True)),
    )


def permission(
    community: Community, token: Any, signer: Signer, owner: Signer, deadline: int
) -> tuple[Any, ...]:
    """What `permit` takes: the first permission of the owner, with a signature."""
    assert signer.key is not None
    signed = signer.key.sign_message(permit_message(community, token, owner, 0, deadline))
    r, s = (number.to_bytes(32, "big") for number in (signed.r, signed.s))
    return owner.address, community.solver.address, 5, deadline, signed.v, r, s


def test_permit__signed_by_the_owner__lets_the_spender_spend(
    community: Community, treasury_token: Any, alice: Signer, bob: Signer
) -> None:
    deadline = community.now()
    arguments = permission(community, treasury_token, alice, alice, deadline)
    receipt = community.send(treasury_token.permit, *arguments, sender=bob)
    assert events(receipt) == [
        event(treasury_token.Approval, owner=alice.address, spender=bob.address, value=5)
    ]
    assert treasury_token.allowance(alice.address, bob.address) == 5
    assert treasury_token.nonces(alice.address) == 1


def test_permit__a_second_late__is_refused(
    community: Community, treasury_token: Any, alice: Signer, bob: Signer
) -> None:
    deadline = community.now() - 1
    arguments = permission(community, treasury_token, alice, alice, deadline)
    with reverts(treasury_token.ERC2612ExpiredSignature, deadline=deadline):
        community.send(treasury_token.permit, *arguments, sender=bob)


def test_permit__signed_by_another__is_refused(
    community: Community, treasury_token: Any, alice: Signer, bob: Signer
) -> None:
    arguments = permission(community, treasury_token, bob, alice, 2**256 - 1)
    with reverts(treasury_token.ERC2612InvalidSigner, signer=bob.address, owner=alice.address):
        community.send(treasury_token.permit, *arguments, sender=bob)


def test_permit__twice__is_refused(
    community: Community, treasury_token: Any, alice: Signer, bob: Signer
) -> None:
    deadline = 2**256 - 1
    arguments = permission(community, treasury_token, alice, alice, deadline)
    community.send(treasury_token.permit, *arguments, sender=bob)
    v, r, s = arguments[4:]
    # Read as the next permission, the signature is somebody else's.
    signer = Account.recover_message(
        permit_message(community, treasury_token, alice, 1, deadline), vrs=(v, r, s)
    )
    with reverts(treasury_token.ERC2612InvalidSigner, signer=signer, owner=alice.address):
        community.send(treasury_token.permit, *arguments, sender=bob)
