"""Tokens, accounts, credit, the fund, and moves to another ledger."""

from __future__ import annotations

from typing import Any

from eth_account.messages import encode_typed_data
from eth_utils.address import to_checksum_address
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.community import DAY, NANO, WITHDRAWAL_DELAY
from tests.contracts.machine.base import NOBODY, Machine, Refusal, amounts, some
from tests.contracts.machine.model import Account, Peer

from fairwatt.moves import Move

FOR_EVER = 2**40 - 1
NO_ACCOUNT = 10**6


class Money(Machine):
    """What peers and the fund manager do with what is there."""

    # -------------------------------------------------------------------------------- tokens

    @rule(pick=some, nano=amounts, share=st.integers(0, 120))
    def token(self, pick: int, nano: int, share: int) -> None:
        """The treasury mints; the outsider gives, lends, and takes back; a member burns."""
        token, model = self.contracts.token, self.model
        peer, outsider, treasury = self.peer(pick), self.community.outsider, self.community.treasury
        wallet, wei = self.wallet(peer), nano * NANO
        self.send(token.treasuryMint, wallet.address, wei, sender=treasury)
        model.wei[wallet.address] += wei
        model.supply += wei
        cap = int(self.view(token, "supplyCapWei"))
        self.attempt(
            token.treasuryMint, wallet.address, cap, sender=treasury,
            refusal=("SupplyCapExceeded", model.supply + cap, cap),
        )  # fmt: skip
        role = self.view(token, "TREASURY_ROLE")
        self.attempt(
            token.treasuryMint, wallet.address, 1, sender=wallet,
            refusal=("AccessControlUnauthorizedAccount", wallet.address, role),
        )  # fmt: skip
        for method in (token.depositBacking, token.redeem):
            self.attempt(method, wallet.address, wei, sender=wallet, refusal=("WrongKind",))

        have = model.wei[wallet.address]
        poor = ("ERC20InsufficientBalance", wallet.address, have, have + 1)
        self.attempt(token.transfer, outsider.address, have + 1, sender=wallet, refusal=poor)
        self.attempt(token.treasuryBurn, have + 1, sender=wallet, refusal=poor)
        sent = have * min(share, 100) // 100
        self.send(token.transfer, outsider.address, sent, sender=wallet)
        model.transfer(wallet.address, outsider.address, sent)
        nobody = ("ERC20InvalidSpender", NOBODY)
        self.attempt(token.approve, NOBODY, wei, sender=outsider, refusal=nobody)
        self.send(token.approve, wallet.address, wei // 2, sender=outsider)
        taken = wei * share // 100
        take = (token.transferFrom, outsider.address, wallet.address, taken)
        short = ("ERC20InsufficientAllowance", wallet.address, wei // 2, taken)
        allowed = taken <= wei // 2
        self.attempt(*take, sender=wallet, refusal=None if allowed else short)
        if allowed:
            model.transfer(outsider.address, wallet.address, taken)
        self._permit(peer, wei)
        burnt = min(wei, model.wei[wallet.address])
        self.send(token.treasuryBurn, burnt, sender=wallet)
        model.wei[wallet.address] -= burnt
        model.supply -= burnt

    def _permit(self, peer: Peer, wei: int) -> None:
        """A signature gives an allowance, once."""
        token, wallet, outsider = self.contracts.token, self.wallet(peer), self.community.outsider
        message = {
            "owner": wallet.address,
            "spender": outsider.address,
            "value": wei,
            "nonce": self.view(token, "nonces", wallet.address),
            "deadline": FOR_EVER,
        }
        kinds = {"owner": "address", "spender": "address"}
        types = {"Permit": [{"name": name, "type": kinds.get(name, "uint256")} for name in message]}
        domain = {
            "name": "Community token",
            "version": "1",
            "chainId": self.community.chain.chain_id,
            "verifyingContract": str(token.address),
        }
        signable = encode_typed_data(domain, types, message)
        signed = peer.key(self.now).sign_message(signable)
        parts = (signed.v, signed.r.to_bytes(32), signed.s.to_bytes(32))
        arguments = (wallet.address, outsider.address, wei, FOR_EVER, *parts)
        self.send(token.permit, *arguments, sender=outsider)
        assert self.view(token, "allowance", wallet.address, outsider.address) == wei
        error = self.refused(token.permit, *arguments, sender=outsider)
        assert error[0] == "ERC2612InvalidSigner"

    # ------------------------------------------------------------------------------ accounts

    @rule(pick=some, nano=amounts, to_fund=st.integers(0, 4).map(lambda one: one == 4))
    def deposit(self, pick: int, nano: int, to_fund: bool) -> None:
        ledger, payer = self.contracts.ledger, self.community.outsider
        if to_fund:
            self.send(ledger.depositToFund, nano, sender=payer)
            self.model.accounts.fund += nano
        else:
            peer = self.peer(pick).number
            self.send(ledger.deposit, peer, nano, sender=payer)
            self.model.accounts.of[peer].balance += nano
        self.model.transfer(payer.address, str(ledger.address), nano * NANO)

    @rule(nano=amounts)
    def deposit_for_nobody(self, nano: int) -> None:
        ledger, payer = self.contracts.ledger, self.community.outsider
        unknown = ("UnknownAccount", NO_ACCOUNT)
        self.attempt(ledger.deposit, NO_ACCOUNT, nano, sender=payer, refusal=unknown)
        self.attempt(ledger.depositToFund, 0, sender=payer, refusal=("AmountZero",))

    @rule(pick=some, share=st.integers(0, 110))
    def request_withdrawal(self, pick: int, share: int) -> None:
        peer, accounts, now = self.peer(pick), self.model.accounts, self.now
        most = accounts.withdrawable(peer.number)
        nano = most * share // 100 + (share > 100)
        refusal = ("InsufficientFunds", peer.number, nano, most) if nano > most else None
        request = self.contracts.ledger.requestWithdrawal
        if self.attempt(request, nano, sender=self.wallet(peer), refusal=refusal):
            accounts.request(peer.number, nano, now)

    @rule(pick=some)
    def withdraw(self, pick: int) -> None:
        """I13."""
        peer, accounts = self.peer(pick), self.model.accounts
        refusal, wallet = self._not_ready(peer.number), self.wallet(peer)
        if self.attempt(self.contracts.ledger.withdraw, sender=wallet, refusal=refusal):
            paid = accounts.take_out(peer.number)
            self.model.transfer(str(self.contracts.ledger.address), wallet.address, paid * NANO)

    def _not_ready(self, peer: int) -> Refusal | None:
        account = self.model.accounts.of[peer]
        ready = account.requested_at + WITHDRAWAL_DELAY
        if not account.withdrawal:
            return ("NoWithdrawalRequested", peer)
        return ("WithdrawalNotReady", peer, ready) if self.now < ready else None

    @rule(pick=some)
    def nobody_withdraws(self, pick: int) -> None:
        """Nor asks for it, who has no account."""
        ledger, outsider = self.contracts.ledger, self.community.outsider
        refusal = ("NotAnAccount", outsider.address)
        self.attempt(ledger.withdraw, sender=outsider, refusal=refusal)
        self.attempt(ledger.requestWithdrawal, pick, sender=outsider, refusal=refusal)

    @precondition(lambda self: self.model.accounts.owed)
    @rule(pick=some)
    def collect(self, pick: int) -> None:
        accounts = self.model.accounts
        choice = sorted(pair for pair, owed in accounts.owed.items() if owed) or sorted(
            accounts.owed
        )
        self.collect_from(*choice[pick % len(choice)])

    def collect_from(self, *pair: int) -> None:
        accounts = self.model.accounts
        refusal = None if accounts.collectable(*pair) else ("NothingToCollect", *pair)
        collect, outsider = self.contracts.ledger.collect, self.community.outsider
        if self.attempt(collect, *pair, sender=outsider, refusal=refusal):
            accounts.collect(*pair)
            nothing = ("NothingToCollect", *pair)
            self.attempt(collect, *pair, sender=outsider, refusal=nothing)

    # ------------------------------------------------------------------------ fund and credit

    @rule(pick=some, share=st.integers(0, 120))
    def set_credit(self, pick: int, share: int) -> None:
        peer, accounts = self.peer(pick).number, self.model.accounts
        account = accounts.of[peer]
        nano = accounts.fund * share // 100
        granted = accounts.granted - account.credit + nano
        needed = account.locked - account.balance
        refusal: Refusal | None = None
        if granted > accounts.fund:
            refusal = ("FundTooSmall", granted, accounts.fund)
        elif nano < account.credit and needed > nano:
            refusal = ("CreditInUse", peer, needed)
        set_credit, manager = self.contracts.ledger.setCredit, self.community.fund_manager
        if self.attempt(set_credit, peer, nano, sender=manager, refusal=refusal):
            account.credit = nano

    @rule(pick=some, nano=amounts)
    def allot(self, pick: int, nano: int) -> None:
        peer, accounts = self.peer(pick).number, self.model.accounts
        free = accounts.fund - accounts.granted
        refusal = ("FundTooSmall", nano, free) if nano > free else None
        allot, manager = self.contracts.ledger.allot, self.community.fund_manager
        if self.attempt(allot, [(peer, nano)], sender=manager, refusal=refusal):
            accounts.fund -= nano
            accounts.of[peer].balance += nano

    @rule(pick=some, nano=amounts)
    def manage_the_fund_without_the_role(self, pick: int, nano: int) -> None:
        ledger, peer, sender = self.contracts.ledger, self.peer(pick).number, self.stranger(pick)
        role = self.view(ledger, "FUND_MANAGER_ROLE")
        refusal = ("AccessControlUnauthorizedAccount", sender.address, role)
        self.attempt(ledger.setCredit, peer, nano, sender=sender, refusal=refusal)
        self.attempt(ledger.allot, [(peer, nano)], sender=sender, refusal=refusal)

    # --------------------------------------------------------------------------------- moves

    @rule(
        pick=some,
        account=st.sampled_from(["own", "own", "fund", "nobody"]),
        fault=st.sampled_from(["", "", "", "signer", "late", "itself", "altered"]),
    )
    def request_move(self, pick: int, account: str, fault: str) -> None:
        """I19."""
        peer, now, model = self.peer(pick), self.now, self.model
        ledger, wallet = self.contracts.ledger, self.wallet(peer)
        successor = str(ledger.address if fault == "itself" else self.successor.address)
        number = {"own": peer.number, "fund": 0, "nobody": NO_ACCOUNT}[account]
        until = now - 1 if fault == "late" else now + DAY
        move = Move(peer.number, successor, number, until)
        key = self.community.outsider.key if fault == "signer" else peer.key(now)
        assert key is not None
        signed = move.signed_by(key, self.community.chain.ledger_domain)
        message = move.to_message() | ({"account": 1 + number} if fault == "altered" else {})
        most, domain = model.accounts.withdrawable(peer.number), self.community.chain.ledger_domain
        refusal: Refusal | None = None
        if fault:
            refusal = {
                "late": ("MoveExpired", peer.number, until),
                "itself": ("NoSuccessor", successor),
            }.get(fault, ("MoveNotSigned", peer.number, wallet.address))
        elif not most:
            refusal = ("AmountZero",)
        arguments, sender = (message, signed.signature), self.community.outsider
        if self.attempt(ledger.requestMove, *arguments, sender=sender, refusal=refusal):
            model.accounts.request(peer.number, most, now, (successor, number))
            used = ("MoveUsed", peer.number, move.typed_data(domain).digest())
            self.attempt(ledger.requestMove, *arguments, sender=sender, refusal=used)

    @rule(pick=some)
    def complete_move(self, pick: int) -> None:
        """I13, I19."""
        accounts, ledger = self.model.accounts, self.contracts.ledger
        choice = [peer for peer, one in accounts.of.items() if one.moves_to]
        peer = choice[pick % len(choice)] if choice else self.peer(pick).number
        to = accounts.of[peer].moves_to
        refusal = self._not_ready(peer) if to else ("NoMoveRequested", peer)
        if to and not refusal and to[1] == NO_ACCOUNT:
            refusal = ("UnknownAccount", NO_ACCOUNT)
        complete, outsider = ledger.completeMove, self.community.outsider
        if self.attempt(complete, peer, sender=outsider, refusal=refusal):
            assert to is not None
            nano = accounts.take_out(peer)
            if to[1]:
                self.model.successor.of[to[1]].balance += nano
            else:
                self.model.successor.fund += nano
            self.model.transfer(str(ledger.address), str(self.successor.address), nano * NANO)

    # ------------------------------------------------------------------------------- reading

    def account(self, ledger: Any, peer: int) -> tuple[Account, int, int]:
        """As a ledger has it, with what is free and the arrears."""
        balance, free, locked, credit, arrears, withdrawal, requested_at = self.view(
            ledger, "account", peer
        )
        successor, number = self.view(ledger, "moveOf", peer)
        to = (to_checksum_address(successor), number) if int(successor, 16) else None
        return Account(balance, credit, locked, withdrawal, requested_at, to), free, arrears
