"""What registrar, DSO and supplier cannot do: each test tries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import HOURLY, NANO, NOTICE, Community, Member, bid
from tests.contracts.conftest import booked
from tests.contracts.registry import (
    change,
    new_wallet,
    publish_network,
    publish_tariffs,
    same_connection,
    suspend,
)
from tests.outcomes import event, events, reverts

from fairwatt.chain import Role

if TYPE_CHECKING:
    from typing import Any


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


@pytest.fixture
def member(community: Community) -> Member:
    return community.admit(Role.CONSUMER, tokens=1)


# ------------------------------------------------------------------------------------- registrar


def test_registrar__suspends_a_peer__cannot_stop_its_withdrawal(
    community: Community, member: Member
) -> None:
    contracts = community.chain.contracts
    suspend(community, member)
    community.travel_to(community.now() + NOTICE)
    community.send(contracts.ledger.requestWithdrawal, NANO, sender=member.wallet)
    community.travel_to(community.now() + contracts.ledger.WITHDRAWAL_DELAY_SECONDS())
    receipt = community.send(contracts.ledger.withdraw, sender=member.wallet)
    wallet = member.wallet.address
    assert events(receipt) == [
        event(contracts.ledger.Withdrawn, peer=member.peer, wallet=wallet, amountNano=NANO),
        event(
            contracts.token.Transfer,
            **{"from": contracts.ledger.address, "to": wallet},
            value=NANO * NANO,
        ),
    ]


def test_registrar__changes_a_peer__leaves_its_account_alone(
    community: Community, member: Member
) -> None:
    account = community.chain.contracts.ledger.account(member.peer)
    change(community, member, same_connection(community, member, connectionW=0, community=9))
    community.travel_to(community.now() + NOTICE)
    assert community.chain.contracts.ledger.account(member.peer) == account


def test_registrar__books_on_an_account__is_refused(community: Community, member: Member) -> None:
    ledger, registrar = community.chain.contracts.ledger, community.registrar
    caller = registrar.address
    for method in (ledger.lock, ledger.unlock):
        with reverts(ledger.NotTheOrderBook, caller=caller):
            community.send(method, member.peer, 1, sender=registrar)
    with reverts(ledger.NotTheClearing, caller=caller):
        bookings = booked((2, 1), (member.peer, -1))
        community.send(ledger.bookClearing, bookings, b"", [], 0, 0, 0, sender=registrar)
    with reverts(ledger.NotTheSettlement, caller=caller):
        community.send(ledger.bookImbalances, [(member.peer, 2, 1)], sender=registrar)


def test_registrar__withdraws_for_a_peer__is_refused(community: Community, member: Member) -> None:
    ledger, registrar = community.chain.contracts.ledger, community.registrar
    with reverts(ledger.NotAnAccount, caller=registrar.address):
        community.send(ledger.requestWithdrawal, 1, sender=registrar)
    with reverts(ledger.NotAnAccount, caller=registrar.address):
        community.send(ledger.withdraw, sender=registrar)


def test_registrar__gives_a_peers_place_to_another_wallet__is_refused(
    community: Community, registry: Any, member: Member
) -> None:
    with reverts(registry.NotThePeer, caller=community.registrar.address):
        community.send(registry.offerWallet, new_wallet().address, sender=community.registrar)
    with reverts(registry.NotThePeer, caller=community.registrar.address):
        community.send(registry.acceptWallet, member.peer, sender=community.registrar)


def test_registrar__suspends_a_peer_while_the_book_is_open__its_order_still_counts(
    community: Community, member: Member
) -> None:
    start = community.open_session() + NOTICE
    opens, gate = community.chain.contracts.order_book.bookTimes(HOURLY, start)
    community.travel_to(opens - 1)
    suspend(community, member)
    community.travel_to(gate - 2)
    community.place(community.sign(member, bid(100_000, 1_000), session=start))
    assert community.chain.contracts.order_book.sessionState(HOURLY, start)[0] == 1


# ------------------------------------------------------------------------------------------- DSO


@pytest.mark.parametrize("when", ["opening", "gate closure", "session start"])
def test_dso__changes_the_network_of_a_session_whose_book_is_open__is_refused(
    community: Community, registry: Any, when: str
) -> None:
    start = community.open_session() + NOTICE
    opens, gate = community.chain.contracts.order_book.bookTimes(HOURLY, start)
    now = {"opening": opens, "gate closure": gate, "session start": start}[when]
    community.travel_to(now - 1)
    last_second = community.terms().session_end(start) - 1
    with reverts(registry.EffectiveTooEarly, effectiveFrom=last_second, earliest=now + NOTICE + 1):
        publish_network(community, last_second)


def test_dso__changes_the_network_a_second_before_the_book_opens__the_session_ends_before(
    community: Community, registry: Any
) -> None:
    start = community.open_session() + NOTICE
    opens, _ = community.chain.contracts.order_book.bookTimes(HOURLY, start)
    community.travel_to(opens - 2)
    publish_network(community, opens - 1 + NOTICE + 1)
    assert registry.networkVersion(1, 2)[0] == community.terms().session_end(start)


# -------------------------------------------------------------------------------------- supplier


@pytest.mark.parametrize("when", ["opening", "gate closure", "session start"])
def test_supplier__changes_the_tariff_of_a_session_whose_book_is_open__is_refused(
    community: Community, registry: Any, when: str
) -> None:
    start = community.open_session() + NOTICE
    opens, gate = community.chain.contracts.order_book.bookTimes(HOURLY, start)
    now = {"opening": opens, "gate closure": gate, "session start": start}[when]
    community.travel_to(now - 1)
    with reverts(registry.EffectiveTooEarly, effectiveFrom=start, earliest=now + NOTICE + 1):
        publish_tariffs(community, community.supplier, (start, 2, 1))
