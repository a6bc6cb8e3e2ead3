"""Anything that anybody may do, in any sequence: what must hold always holds.

What must hold is listed in docs/invariants.md. Who acts, how, and what comes of it is in
`tests/contracts/machine`: rules by subject, and a model in plain Python that is compared with the
chain after every step. What is against the rules is tried as well, and has to be refused with the
error that the model foresees.

Much of this needs several steps in the right sequence, which chance seldom finds: some rules
are such sequences, made of the other rules. What the runs reached is counted, and required, at the
end. The runs are the same every time; `EXAMPLES=20 STEPS=300 pytest ...` takes so many others, and
simplifies what fails, which takes minutes.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.community import (
    C2,
    C3,
    DAY,
    FEED_IN,
    HOURLY,
    QUARTERS,
    RETAIL,
    TERMS,
    WITHDRAWAL_DELAY,
)
from tests.contracts.machine.base import MANAGED, entry_points
from tests.contracts.machine.model import Model, Peer, Record
from tests.contracts.machine.sequences import Sequences

from fairwatt.audit import audit
from fairwatt.chain import Role, project
from fairwatt.imbalances import Tariff

if TYPE_CHECKING:
    from tests.community import Community

_EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
RUNS = 3  # of the short profile: the first is thorough, the last is audited
_STEPS = int(os.environ.get("STEPS", "25"))
PAGE = Path(__file__).parents[2] / "docs" / "invariants.md"
MACHINE = Path(__file__).parent / "machine"
FUNDS, COMMUNITY_FUND = 5 * 10**8, 10**8  # nano-token: of each member, and of all
ROLES = (Role.PRODUCER, Role.CONSUMER, Role.PROSUMER, Role.STORAGE)

# Entry points that no run gets done, and why.
FOR_CONTRACTS = {
    "Ledger.bookClearing": "of `Clearing`, with every clearing",
    "Ledger.bookImbalances": "of `Settlement`, with every reading",
    "Ledger.bookTrade": "of `Trades`, with every trade",
    "Ledger.lock": "of `OrderBook`, with every placed order",
    "Ledger.unlock": "of `OrderBook`, with every cancelled or released one",
    "OrderBook.take": "of `Clearing`, with every clearing",
}
ONCE = {
    "Ledger.connectMarket": "done when it was deployed",
    "OrderBook.connectClearing": "done when it was deployed",
    "PeerRegistry.connectAccounts": "done when it was deployed",
}
OF_BACKED_TOKENS = {
    "CommunityToken.depositBacking": "of tokens that are backed; its own tests have one",
    "CommunityToken.redeem": "of tokens that are backed; its own tests have one",
}
ONLY_REFUSED = FOR_CONTRACTS | ONCE | OF_BACKED_TOKENS
EVENTS_OF_A_RUN = (
    *("arrears", "clear in parts", "estimate", "fee", "flexible", "reading after estimate"),
    *("reading of trades", "receipt broken", "receipt of a flexible order broken"),
    *("withdrawal after a clearing", "withdrawal after a debt"),
)


class Market(Sequences):
    """I16, after a run: every account follows from the history of the chain."""

    tariff: ClassVar[tuple[int, int, int]]
    network_from: ClassVar[int]

    @classmethod
    def founded(cls) -> Model:
        model, community = Model(), cls.community
        contracts = community.chain.contracts
        parts = {member.peer: member for member in (*cls.members, community.operator)}
        roles = dict(
            zip((member.peer for member in cls.members), (*ROLES, Role.SUPPLIER), strict=True)
        )
        for number in sorted(parts):
            member, role = parts[number], roles.get(number, Role.OPERATOR)
            watts = {Role.SUPPLIER: 10**9, Role.OPERATOR: 0}.get(role, 10**6)
            meter = member.meter if role in ROLES else None
            records = [Record(0, member.wallet, member.node)]
            model.peers[number] = Peer(number, role, meter, watts, records)
        for member in cls.members[:-1]:
            model.accounts.of[member.peer].balance = FUNDS
        model.accounts.fund = COMMUNITY_FUND
        model.tariffs = [Tariff(*cls.tariff)]
        model.network_from = cls.network_from
        wallets = [member.wallet.address for member in parts.values()]
        others = (community.outsider, community.treasury, community.solver)
        holders = (contracts.ledger, cls.successor, contracts.bonds)
        for address in (
            *wallets,
            *(one.address for one in others),
            *(str(one.address) for one in holders),
        ):
            model.wei[address] = int(contracts.token.balanceOf(address))
        model.supply = int(contracts.token.totalSupply())
        return model

    runs: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        self.is_thorough = bool(_EXAMPLES) or self.runs == 1
        self.is_audited = bool(_EXAMPLES) or self.runs == RUNS

    def teardown(self) -> None:
        found = audit(self.community.chain).differences if self.is_audited else ()
        super().teardown()
        assert found == ()


@pytest.fixture
def founded_market(community: Community) -> Community:
    """Members, funds, a managed market and a ledger to move to, of every run."""
    members = [community.admit(role, C2 if role is Role.PRODUCER else C3) for role in ROLES]
    contracts, payer = community.chain.contracts, community.outsider
    send, mint = community.send, contracts.token.treasuryMint
    send(mint, payer.address, 10**27, sender=community.treasury)
    for spender in (contracts.ledger, contracts.bonds):
        send(contracts.token.approve, spender, 10**27, sender=payer)
    for member in members:
        send(contracts.ledger.deposit, member.peer, FUNDS, sender=payer)
    send(contracts.ledger.depositToFund, COMMUNITY_FUND, sender=payer)
    managed = replace(
        TERMS,
        period_seconds=1_800,
        periods_per_session=2,
        manager=community.solver.address,
        exclusive_window_seconds=1_200,
        solver_fee_nano=7,
    )
    assert community.chain.create_market(managed, sender=community.market_operator) == MANAGED
    Market.community, Market.members = community, (*members, community.supplier)
    Market.terms = {market: community.terms(market) for market in (HOURLY, QUARTERS, MANAGED)}
    arguments = (
        community.admin.address,
        DAY,
        contracts.registry,
        contracts.token,
        WITHDRAWAL_DELAY,
    )
    Market.successor = project().Ledger.deploy(*arguments, sender=community.admin.account)
    (tariff,) = community.chain.snapshot().tariffs(community.supplier.peer)
    Market.tariff = (tariff.effective_from, RETAIL, FEED_IN)
    Market.network_from = int(contracts.registry.networkVersion(1, 1)[0])
    Market.runs = 0
    for counter in (Market.sent, Market.refusals, Market.errors, Market.reached):
        counter.clear()
    return community


def test_markets__any_sequence_of_steps__keep_the_invariants(founded_market: Community) -> None:
    run_state_machine_as_test(
        Market,
        settings=settings(
            max_examples=_EXAMPLES or RUNS,
            stateful_step_count=_STEPS if _EXAMPLES else 5,
            derandomize=not _EXAMPLES,
            database=None,
            phases=tuple(Phase) if _EXAMPLES else (Phase.generate,),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(
        f"{Market.runs} runs, {Market.reached['step']} steps, {Market.sent.total()} transactions; "
        f"{Market.errors.total()} attempts refused with {len(Market.errors)} errors; reached:",
        *(f"{name} {count}" for name, count in sorted(Market.reached.items())),
    )
    everything = set(entry_points(founded_market.chain.contracts).values())
    assert everything - (+Market.sent).keys() == set(ONLY_REFUSED)
    assert everything <= (+Market.refusals).keys()
    assert all(Market.reached[what] for what in EVENTS_OF_A_RUN), Market.reached


def test_entry_points__of_all_contracts__are_those_of_a_deployment(community: Community) -> None:
    """Libraries have none, so what the machine is held to is everything there is."""
    deployed = {name.split(".")[0] for name in entry_points(community.chain.contracts).values()}
    changing = {
        contract.contract_type.name
        for contract in project().contracts.values()
        if Path(contract.contract_type.source_id).parent == Path("contracts")
        and contract.contract_type.mutable_methods
    }
    assert deployed == changing


def test_invariants__of_the_page__are_those_that_are_checked() -> None:
    pattern = r"\bI(\d+)\b(?:(?: to |, )I(\d+))?"
    page = {
        int(first) for first, _ in re.findall(r"^\| I(\d+)() \|", PAGE.read_text(), re.MULTILINE)
    }
    checked: set[int] = set()
    for source in (Path(__file__), *MACHINE.glob("*.py")):
        for first, last in re.findall(pattern, source.read_text()):
            checked |= set(range(int(first), int(last or first) + 1))
    assert checked == page == set(range(1, max(page) + 1))
