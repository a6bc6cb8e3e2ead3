"""Gas of every function that changes state, to the unit, against `gas.json` in git.

`UPDATE_GAS=1 pytest tests/gas` writes the file anew. Gas depends on which bytes of the calldata
are zero, those of signatures and times among them; so the community's contracts have the same
addresses and its clock the same time in every run. Deployment and what connects the contracts is
left out, so is what OpenZeppelin's access control brings along.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ape
import pytest
from eth_account import Account
from tests.community import (
    C2,
    C3,
    DAY,
    GRID,
    HOUR,
    HOURLY,
    NANO,
    NETWORK,
    QUARTERS,
    TERMS,
    WITHDRAWAL_DELAY,
    Community,
    Member,
    ask,
    bid,
)
from tests.contracts.parts import in_two_parts

from fairwatt.chain import Role, Signer, connect, project
from fairwatt.continuous import ContinuousOrder
from fairwatt.market import Side
from fairwatt.moves import Move
from fairwatt.orders import FlexibleOrder
from fairwatt.receipts import OrderReceipt
from fairwatt.session import NetworkVersion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairwatt.chain import Receipt
    from fairwatt.orders import SignedOrder

FILE = Path(__file__).with_name("gas.json")
START = 2_114_380_800  # 2037-01-01, later than any clock that this runs by
TOKENS = 10**27  # wei

# Between the contracts, or once at deployment.
INTERNAL = {
    "bookClearing",
    "bookImbalances",
    "bookTrade",
    "connectAccounts",
    "connectClearing",
    "connectMarket",
    "lock",
    "take",
    "unlock",
}
# Of a token that is backed by another one.
BACKED = {"depositBacking", "redeem"}
ACCESS_CONTROL = {
    "acceptDefaultAdminTransfer",
    "beginDefaultAdminTransfer",
    "cancelDefaultAdminTransfer",
    "changeDefaultAdminDelay",
    "grantRole",
    "renounceRole",
    "revokeRole",
    "rollbackDefaultAdminDelay",
}


class Meter:
    """Runs scenarios and writes down what their last transaction took."""

    def __init__(self, community: Community) -> None:
        self.community = community
        self.contracts = community.chain.contracts
        self.gas: dict[str, int] = {}

    def take(self, name: str, receipt: Receipt) -> Receipt:
        assert name not in self.gas
        self.gas[name] = receipt.gas_used
        return receipt

    def send(self, name: str, method: Any, *arguments: Any, sender: Signer) -> Receipt:
        return self.take(name, self.community.send(method, *arguments, sender=sender))

    def crowd(self, count: int) -> list[Member]:
        """Admit and fund so many peers on all three nodes; each wallet has its own key."""
        community, contracts, members = self.community, self.contracts, []
        for at in range(count):
            key, meter = (Account.from_key(keccak_of(kind, at)) for kind in (b"wallet", b"meter"))
            connection = (Role.PROSUMER, 1, (GRID, C2, C3)[at % 3], meter.address, 1, 10**6, 1)
            admit = contracts.registry.admit
            receipt = community.send(admit, key.address, connection, sender=community.registrar)
            peer = int(receipt.events[-1].peer)
            deposit = contracts.ledger.deposit
            community.send(deposit, peer, 6 * 10**10, sender=community.outsider)
            # The outsider's account never sends in a member's name; it only fills the field.
            wallet = Signer(community.outsider.account, key)
            members.append(Member(peer, wallet, meter, (GRID, C2, C3)[at % 3]))
        return members


def keccak_of(kind: bytes, at: int) -> bytes:
    return kind.ljust(28, b"\1") + at.to_bytes(4, "big")


@pytest.fixture
def meter() -> Iterator[Meter]:
    """A community of its own: deployed by an account that nothing else deploys with."""
    with connect("ethereum:local:test"):
        before = ape.chain.snapshot()
        community = Community.found(admin=19)
        community.travel_to(START)
        contracts, payer = community.chain.contracts, community.outsider
        mint = contracts.token.treasuryMint
        community.send(mint, payer.address, TOKENS, sender=community.treasury)
        community.send(contracts.token.approve, contracts.ledger, TOKENS, sender=payer)
        yield Meter(community)
        ape.chain.restore(before)


def registry(meter: Meter) -> None:
    community, registry = meter.community, meter.contracts.registry
    registrar, supplier = community.registrar, community.supplier.wallet
    member = community.admit(Role.PROSUMER)
    connection = (Role.PROSUMER, 1, C2, member.meter.address, 1, 20_000, 2)
    key = Account.from_key(keccak_of(b"wallet", 99))
    other = (Role.CONSUMER, 1, C3, key.address, 1, 10_000, 1)
    meter.send("registry.admit", registry.admit, key.address, other, sender=registrar)
    meter.send("registry.change", registry.change, member.peer, connection, sender=registrar)
    community.travel_to(community.now() + 3 * DAY)
    meter.send("registry.suspend", registry.suspend, member.peer, sender=registrar)
    community.travel_to(community.now() + 3 * DAY)
    meter.send("registry.reinstate", registry.reinstate, member.peer, sender=registrar)
    community.travel_to(community.now() + 3 * DAY)
    outsider = community.outsider
    meter.send("registry.offerWallet", registry.offerWallet, outsider.address, sender=member.wallet)
    meter.send("registry.acceptWallet", registry.acceptWallet, member.peer, sender=outsider)
    community.travel_to(community.now() + 3 * DAY)
    meter.send("registry.leaveCommunity", registry.leaveCommunity, sender=outsider)

    meter.send("registry.createNetwork", registry.createNetwork, (0, 10**6), sender=community.dso)
    links = NetworkVersion(0, 0, NETWORK).links_message()
    names = [node.encode().ljust(32, b"\0") for node in NETWORK.nodes]
    publish, now = registry.publishNetwork, community.now()
    name = "registry.publishNetwork: 3 new nodes, 4 links"
    meter.send(name, publish, 2, now, names, links, sender=community.dso)
    name = "registry.publishNetwork: no new node, 4 links"
    meter.send(name, publish, 2, now + 3 * DAY, [], links, sender=community.dso)
    tariffs = [(now + (at + 3) * DAY, 120_000 + at, 40_000) for at in range(4)]
    name, publish = "registry.publishTariffs", registry.publishTariffs
    meter.send(f"{name}: 1 tariff", publish, tariffs[:1], sender=supplier)
    meter.send(f"{name}: 3 tariffs", publish, tariffs[1:], sender=supplier)


def rosters(meter: Meter) -> None:
    community, publish = meter.community, meter.contracts.registry.publishRoster
    count = meter.contracts.registry.peerCount()
    name = f"registry.publishRoster: {count} peers"
    meter.send(name, publish, 0, community.now(), sender=community.outsider)
    meter.crowd(64 - count)
    name = "registry.publishRoster: 64 peers"
    meter.send(name, publish, 0, community.now() + HOUR, sender=community.outsider)


def token(meter: Meter) -> None:
    community, token = meter.community, meter.contracts.token
    payer, other = community.outsider, community.solver
    mint, burn = token.treasuryMint, token.treasuryBurn
    meter.send("token.treasuryMint", mint, other.address, NANO, sender=community.treasury)
    meter.send("token.transfer", token.transfer, other.address, NANO, sender=payer)
    meter.send("token.approve", token.approve, other.address, 2 * NANO, sender=payer)
    meter.send(
        "token.transferFrom", token.transferFrom, payer.address, other.address, NANO, sender=other
    )
    community.send(mint, community.treasury.address, 2 * NANO, sender=community.treasury)
    meter.send("token.treasuryBurn", burn, NANO, sender=community.treasury)


def ledger(meter: Meter) -> None:
    community, ledger = meter.community, meter.contracts.ledger
    member, payer = community.admit(Role.PROSUMER), community.outsider
    manager = community.fund_manager
    meter.send("ledger.deposit: first", ledger.deposit, member.peer, 10**9, sender=payer)
    meter.send("ledger.deposit: again", ledger.deposit, member.peer, 10**9, sender=payer)
    meter.send("ledger.depositToFund", ledger.depositToFund, 10**9, sender=payer)
    meter.send("ledger.setCredit", ledger.setCredit, member.peer, 10**6, sender=manager)
    allotments = [(member.peer, 10**6), (community.supplier.peer, 10**6)]
    meter.send("ledger.allot: 1 peer", ledger.allot, allotments[:1], sender=manager)
    meter.send("ledger.allot: 2 peers", ledger.allot, allotments, sender=manager)
    request = ledger.requestWithdrawal
    meter.send("ledger.requestWithdrawal", request, 10**8, sender=member.wallet)
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    meter.send("ledger.withdraw", ledger.withdraw, sender=member.wallet)
    successor = project().Ledger.deploy(
        community.admin.address,
        DAY,
        meter.contracts.registry,
        meter.contracts.token,
        WITHDRAWAL_DELAY,
        sender=community.admin.account,
    )
    mover = community.admit(Role.CONSUMER)
    community.send(ledger.deposit, mover.peer, 10**8, sender=community.outsider)
    move = Move(mover.peer, str(successor.address), mover.peer, 2**40 - 1)
    signed = move.signed_by(mover.key, community.chain.ledger_domain)
    message, outsider = move.to_message(), community.outsider
    meter.send("ledger.requestMove", ledger.requestMove, message, signed.signature, sender=outsider)
    community.travel_to(community.now() + WITHDRAWAL_DELAY)
    meter.send("ledger.completeMove", ledger.completeMove, mover.peer, sender=outsider)


def order_book(meter: Meter) -> None:
    community, book = meter.community, meter.contracts.order_book
    terms = TERMS.to_message()
    create = book.createMarket
    meter.send("order_book.createMarket", create, terms, sender=community.market_operator)
    member = community.admit(Role.PROSUMER)
    deposit = meter.contracts.ledger.deposit
    community.send(deposit, member.peer, 10**10, sender=community.outsider)
    steps = [bid(100_000 - at, 1_000) for at in range(4)]
    first = community.sign(member, steps[0])
    meter.take("order_book.place: 1 step", community.place(first))
    start, wallet = first.order.session_start, member.wallet
    meter.send("order_book.cancel: placed", book.cancel, HOURLY, start, 0, sender=wallet)
    meter.send("order_book.cancel: not placed", book.cancel, HOURLY, start, 7, sender=wallet)
    second = community.sign(member, steps[1], nonce=8)
    meter.take("order_book.place: again, 1 step", community.place(second))
    meter.send("order_book.cancelAll: placed", book.cancelAll, HOURLY, start, 9, sender=wallet)
    third = community.sign(member, *steps, session=start + HOUR)
    meter.take("order_book.place: 4 steps", community.place(third))
    community.travel_to(TERMS.clearing_deadline(start + HOUR) + 1)
    release, sender = book.release, community.outsider
    meter.send("order_book.release", release, HOURLY, start + HOUR, member.peer, sender=sender)
    day = _market_of_a_day(community)
    start = community.open_session(day)
    whole = [bid(100_000 - at, 1_000, at) for at in range(64)]
    fourth = community.sign(member, *whole, market=day, session=start)
    meter.take("order_book.place: 64 periods", community.place(fourth))
    for method in ("pause", "unpause"):
        meter.send(f"order_book.{method}", getattr(book, method), sender=community.guardian)


def _market_of_a_day(community: Community) -> int:
    terms = replace(TERMS, period_seconds=900, periods_per_session=96)
    return community.chain.create_market(terms, sender=community.market_operator)


def clear(meter: Meter) -> None:
    community, members = meter.community, meter.crowd(50)
    day = _market_of_a_day(community)
    for market, periods in ((HOURLY, 1), (QUARTERS, 4), (day, 96)):
        for count in (2, 10, 50):
            if periods == 4 and count != 10:
                continue
            proposal = community.propose(*_orders(community, members[:count], market, periods))
            community.close_gate(proposal)
            # Published before, so that it is there in all of them.
            community.chain.clearing_arguments(proposal, community.solver)
            plural = "s" if periods > 1 else ""
            name = f"clearing.clear: {count} orders, 3 nodes, {periods} period{plural}"
            before = ape.chain.snapshot()
            meter.take(name, community.clear(proposal))
            if periods != 4:
                ape.chain.restore(before)
                half = members[count // 2].peer
                parts = in_two_parts(community, proposal, half)
                for part, receipt in zip(("first", "last"), parts, strict=True):
                    meter.take(f"{name}, {part} of 2 parts", receipt)
            community.travel_to(proposal.session.terms.session_end(proposal.session.start))
    start = community.open_session()
    orders = _orders(community, members[:2], HOURLY, 1, session=start)
    community.place(orders[1])
    placed = replace(orders[1], signature=b"")
    proposal = community.propose(orders[0], placed=[placed])
    community.close_gate(proposal)
    community.chain.clearing_arguments(proposal, community.solver)
    receipt = community.clear(proposal)
    meter.take("clearing.clear: 2 orders, 1 of them placed, 3 nodes, 1 period", receipt)
    terms = {"charge_wh": 100, "capacity_wh": 1_000, "wanted_wh": 1_000}
    terms |= {"value_micro_per_kwh": 95_000}
    for devices in (1, 4):
        start = community.open_session(day)
        orders = _orders(community, members[:10], day, 96, session=start)
        # Of one peer, each for a quarter of the day; each gets all that it wants.
        orders[1:1] = [
            _vehicle(
                community, members[0], day, start, range(24 * at, 24 * at + 24), at + 1, **terms
            )
            for at in range(devices)
        ]
        proposal = community.propose(*orders)
        community.close_gate(proposal)
        community.chain.clearing_arguments(proposal, community.solver)
        plural = "s" if devices > 1 else ""
        name = f"clearing.clear: 10 orders, {devices} vehicle{plural}, 3 nodes, 96 periods"
        meter.take(name, community.clear(proposal))
        community.travel_to(proposal.session.terms.session_end(start))


def _vehicle(
    community: Community,
    member: Member,
    market: int,
    start: int,
    window: range = range(1),
    nonce: int = 0,
    **terms: int,
) -> SignedOrder:
    order = FlexibleOrder(
        market=market,
        peer=member.peer,
        session_start=start,
        nonce=nonce,
        first_period=window.start,
        periods=len(window),
        discharge_wh=0,
        start_wh=0,
        **({"charge_wh": 9, "capacity_wh": 9, "wanted_wh": 9, "value_micro_per_kwh": 9} | terms),
    )
    return order.signed_by(member.key, community.chain.order_domain)


def _orders(
    community: Community, members: list[Member], market: int, periods: int, **options: Any
) -> list[SignedOrder]:
    """At the first two nodes they sell, at the last they buy; of two one buys."""
    return [
        community.sign(
            member,
            *(
                bid(90_000, 1_900, period)
                if at % 3 == 2 or (len(members) == 2 and at == 1)
                else ask(50_000 + at, 1_000, period)
                for period in range(periods)
            ),
            market=market,
            **options,
        )
        for at, member in enumerate(members)
    ]


def reconcile(meter: Meter) -> None:
    community, members = meter.community, meter.crowd(10)
    orders = [
        community.sign(member, ask(50_000, 1_000) if at % 3 < 2 else bid(90_000, 1_900))
        for at, member in enumerate(members)
    ]
    proposal = community.propose(*orders)
    community.clear(proposal)
    start = proposal.session.start
    one = [community.read(members[0], start, 700)]
    meter.take("settlement.reconcile: 1 reading", community.reconcile(start, one))
    others = [community.read(member, start, 700) for member in members[1:]]
    meter.take("settlement.reconcile: 9 readings", community.reconcile(start, others))

    day = _market_of_a_day(community)
    proposal = community.propose(*_orders(community, members, day, 96))
    community.clear(proposal)
    start = proposal.session.start
    every = [community.read(member, start, *[700] * 96, market=day) for member in members]
    name = "settlement.reconcile: 10 readings of 96 periods"
    meter.take(name, community.reconcile(start, every, market=day))

    start = community.open_session() + HOUR  # nobody trades
    community.travel_to(TERMS.clearing_deadline(start) + 1)
    poor = [community.read(members[0], start, -900_000)]
    meter.take("settlement.reconcile: 1 reading, into arrears", community.reconcile(start, poor))
    ledger, debtor = meter.contracts.ledger, members[0].peer
    community.send(ledger.deposit, debtor, 10**12, sender=community.outsider)
    meter.send("ledger.collect", ledger.collect, debtor, 1, sender=community.outsider)


def trade(meter: Meter) -> None:
    community, trades = meter.community, meter.contracts.trades
    members = [member for member in meter.crowd(6) if member.node == C3]
    day = _market_of_a_day(community)
    start = community.open_session(day)
    community.travel_to(TERMS.gate_closure(start))

    def pair(energy_wh: int, periods: int) -> tuple[Any, ...]:
        signed = []
        for member, side, rests_from in zip(members, (Side.ASK, Side.BID), (0, start), strict=True):
            product = (day, member.peer, start, 96 - periods, periods)
            order = ContinuousOrder(*product, side, 50_000, 1_000, start, rests_from, 1)
            signed.append(order.signed_by(member.key, community.chain.trade_domain).to_message())
        return *signed, energy_wh

    sender = community.outsider
    for name, energy_wh, periods in (
        ("first, 1 period", 300, 1),
        ("again, 1 period", 200, 1),
        ("first, 96 periods", 100, 96),
    ):
        meter.send(f"trades.trade: {name}", trades.trade, *pair(energy_wh, periods), sender=sender)
    # A crowd has keys, but no ether: who cancels here has.
    wallet = community.admit(Role.PROSUMER).wallet
    meter.send("trades.cancel", trades.cancel, 1, sender=wallet)
    community.travel_to(TERMS.clearing_deadline(start) + 24 * HOUR)
    every = [community.read(member, start, *[700] * 96, market=day) for member in members]
    name = "settlement.reconcile: 2 readings of 96 periods, both traded"
    meter.take(name, community.reconcile(start, every, market=day))


def bonds(meter: Meter) -> None:
    community, contracts = meter.community, meter.contracts
    bonds, manager, payer = contracts.bonds, community.solver, community.outsider
    terms = replace(TERMS, manager=manager.address, exclusive_window_seconds=600)
    market = community.chain.create_market(terms, sender=community.market_operator)
    members = meter.crowd(11)
    start = community.open_session(market)
    *orders, lost = _orders(community, members, market, 1, session=start)
    community.send(contracts.token.approve, bonds, TOKENS, sender=payer)
    meter.send("bonds.deposit", bonds.deposit, manager.address, 20 * 10**18, sender=payer)
    meter.send("bonds.requestWithdrawal", bonds.requestWithdrawal, 10**18, sender=manager)
    poor = Member(1, community.supplier.wallet, members[0].meter, GRID)  # without funds
    wish = community.sign(poor, bid(9, 9), market=market, session=start)
    community.travel_to(terms.gate_closure(start))
    before = ape.chain.snapshot()
    name = "bonds.excuse: 1 order of 1 period"
    meter.send(name, bonds.excuse, [wish.to_struct()], sender=manager)
    ape.chain.restore(before)
    wish, vehicle = (_vehicle(community, member, market, start) for member in (poor, members[-1]))
    name = "bonds.excuse: 1 flexible order of 1 period"
    meter.send(name, bonds.excuse, [wish.to_struct()], sender=manager)
    before = ape.chain.snapshot()
    community.send(contracts.order_book.pause, sender=community.guardian)
    meter.send("bonds.witnessPause", bonds.witnessPause, market, start, sender=payer)
    ape.chain.restore(before)
    community.clear(community.propose(*orders))
    hashes = community.chain.snapshot().order_hashes(market, start)
    before = ape.chain.snapshot()
    name, scanned = "bonds.scan: 10 orders", (lost.order.struct_hash, bytes(32), hashes)
    meter.send(name, bonds.scan, *scanned, sender=payer)
    ape.chain.restore(before)
    assert manager.key is not None
    for which, signed in ((", a flexible one missing", vehicle), ("", lost)):
        issued = OrderReceipt.of(signed.order, terms.gate_closure(start) - 1)
        receipt = issued.signed_by(manager.key, community.chain.receipt_domain)
        arguments = (receipt.to_message(signed), bytes(32), hashes)
        before = ape.chain.snapshot()
        meter.send(f"bonds.challenge: 10 orders{which}", bonds.challenge, *arguments, sender=payer)
        ape.chain.restore(before)
    community.travel_to(bonds.bondOf(manager.address).availableFrom)
    meter.send("bonds.withdraw", bonds.withdraw, sender=manager)


SCENARIOS = (registry, rosters, token, ledger, order_book, clear, reconcile, trade, bonds)


def test_gas__is_what_git_says(meter: Meter) -> None:
    for scenario in SCENARIOS:
        before = ape.chain.snapshot()
        wallets = meter.community._wallets
        scenario(meter)
        meter.community._wallets = wallets
        ape.chain.restore(before)
    measured = dict(sorted(meter.gas.items()))
    _require_complete(meter)
    if os.environ.get("UPDATE_GAS"):
        FILE.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    recorded = json.loads(FILE.read_text(encoding="utf-8"))
    assert measured == recorded, _table(recorded, measured)


def _require_complete(meter: Meter) -> None:
    known = INTERNAL | BACKED | ACCESS_CONTROL | {"permit"}
    fields = ("registry", "token", "ledger", "order_book", "clearing", "trades", "settlement")
    for field in (*fields, "bonds"):
        contract = getattr(meter.contracts, field)
        named = {method.name for method in contract.contract_type.mutable_methods}
        taken = {name.split(":")[0].split(".")[1] for name in meter.gas if name.startswith(field)}
        assert named - taken - known == set(), f"{field}: gas was not measured"


def _table(recorded: dict[str, int], measured: dict[str, int]) -> str:
    rows = [f"{'':70} {'in git':>11} {'now':>11} {'change':>9}"]
    for name in sorted(recorded.keys() | measured.keys()):
        old, new = recorded.get(name), measured.get(name)
        if old != new:
            change = "" if old is None or new is None else f"{new - old:+}"
            rows.append(f"{name:70} {old or '-':>11} {new or '-':>11} {change:>9}")
    return "gas changed; UPDATE_GAS=1 pytest tests/gas takes it over\n" + "\n".join(rows)
