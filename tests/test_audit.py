"""The audit against contracts that do not keep the rules: it names whom, what and how much.

That it agrees with those that do, whatever happens, `tests/contracts/test_state_machine.py` shows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fairwatt.audit import audit
from fairwatt.chain import Chain, Role
from tests.community import C2, C3, HOURLY, NANO, ask, bid
from tests.contracts.conftest import Books

if TYPE_CHECKING:
    from tests.community import Community


def test_audit__ledger_that_books_for_strangers__names_every_account(community: Community) -> None:
    """A ledger whose clearing, trades and settlement are accounts: whatever they like is booked."""
    payer, payee = (community.admit(Role.PROSUMER, C3) for _ in range(2))
    books = Books.open(community)
    books.deposit(payer, NANO)
    books.endow(NANO)
    contracts = replace(community.chain.contracts, ledger=books.ledger)
    chain = Chain(contracts, community.chain.first_block)
    assert audit(chain).differences == ()

    books.owe((payer.peer, payee.peer, 4))
    books.trade(payer, payee, 3)
    books.clear((payer.peer, -5), incomes=((0, 5),))
    books.lock(payer, 100)
    found = {(entry.where, entry.what): entry for entry in audit(chain).differences}

    assert set(found) == {
        (f"peer {payer.peer}", "the balance"),
        (f"peer {payer.peer}", "what is free"),
        (f"peer {payer.peer}", "what is locked"),
        (f"peer {payee.peer}", "the balance"),
        (f"peer {payee.peer}", "what is free"),
        ("fund", "the balance"),
    }
    balance = found[f"peer {payer.peer}", "the balance"]
    assert (balance.on_chain, balance.recomputed) == (NANO - 12, NANO)
    assert str(balance) == (
        f"peer {payer.peer}: the balance is 999,999,988 on chain, recomputed 1,000,000,000 "
        "(off by -12)"
    )
    fund = found["fund", "the balance"]
    assert (fund.on_chain, fund.recomputed) == (NANO + 5, NANO)


def test_audit__arrears_of_nothing__are_named_with_their_transaction(community: Community) -> None:
    debtor, creditor = (community.admit(Role.PROSUMER, C3) for _ in range(2))
    books = Books.open(community)
    contracts = replace(community.chain.contracts, ledger=books.ledger)
    chain = Chain(contracts, community.chain.first_block)

    receipt = books.owe((debtor.peer, creditor.peer, 7))
    first, *rest = audit(chain).differences

    assert first.transaction == receipt.transaction
    assert first.on_chain == f"ArrearsIncurred {debtor.peer}, {creditor.peer}, 7"
    assert first.recomputed == "nothing"
    assert {(entry.where, entry.what) for entry in rest} == {
        (f"peer {debtor.peer}", "what it owes"),
        (f"peer {debtor.peer}", "what is free"),
    }


def test_audit__of_an_earlier_block__sees_what_was_there(community: Community) -> None:
    seller = community.admit(Role.PRODUCER, C2)
    buyer = community.admit(Role.CONSUMER, C3, tokens=1)
    proposal = community.propose(
        community.sign(seller, ask(50_000, 1_000), market=HOURLY),
        community.sign(buyer, bid(90_000, 1_000), market=HOURLY),
    )
    before = community.chain.snapshot().block
    community.clear(proposal)

    then, now = audit(community.chain, before), audit(community.chain)

    assert then.differences == now.differences == ()
    assert then.accounts.balance[buyer.peer] == NANO
    assert "clearings" not in then.counts
    assert now.counts["clearings"] == 1
    assert now.accounts.balance[buyer.peer] == community.balance(buyer) < NANO
