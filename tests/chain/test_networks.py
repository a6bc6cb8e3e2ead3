"""What other designs are, said as networks: each cleared on chain, and its money checked by hand.

The books are those of `cases/networks`; docs/networks.md tells their stories.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.community import HOUR, NOTICE, TERMS

from fairwatt.chain import Role
from fairwatt.market.documents import load_book
from fairwatt.orders import SignedOrder, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.community import Community, Member

    from fairwatt.market import Book

NETWORKS = Path(__file__).parents[2] / "cases" / "networks"
FUND = "fund"
FUNDS_TOKEN = 10


@dataclass(frozen=True)
class Outcome:
    """Prices by period and node, micro-token/kWh, and money by account, nano-token."""

    prices: Sequence[dict[str, int]]
    money: dict[str, int]


@dataclass
class Market:
    """A market on a network of its own, with everybody its books name."""

    community: Community
    books: Sequence[Book]

    def __post_init__(self) -> None:
        network = self.books[0].network
        bare = replace(network, links=())
        self.network = self.community.chain.create_network(bare, sender=self.community.dso)
        owners = {link.owner for book in self.books for link in book.network.links} - {None}
        nodes = {line.peer: line.node for book in self.books for line in book.orders}
        self.members: dict[str, Member] = {
            name: self.community.admit(
                Role.PROSUMER if name in nodes else Role.OPERATOR,
                network.node_index[nodes[name]] if name in nodes else 0,
                network=self.network if name in nodes else 0,
                connection_w=10**8 if name in nodes else 0,
                tokens=FUNDS_TOKEN if name in nodes else 0,
            )
            for name in sorted(owners | set(nodes))
        }
        terms = replace(TERMS, network=self.network, periods_per_session=len(self.books))
        chain, operator = self.community.chain, self.community.market_operator
        self.market = chain.create_market(terms, sender=operator)
        # The last session whose first network is published in time.
        self.start = terms.next_open_session(self.community.now() + NOTICE + 2 * HOUR)
        for period, book in enumerate(self.books):
            links = tuple(
                replace(link, owner=link.owner and str(self.members[link.owner].peer))
                for link in book.network.links
            )
            chain.publish_network(
                self.network,
                replace(network, links=links),
                sender=self.community.dso,
                effective_from=self.start + period * HOUR,
            )

    def orders(self) -> list[SignedOrder]:
        """One signed order for everybody."""
        steps: dict[str, list[Step]] = {}
        for period, book in enumerate(self.books):
            for line in book.orders:
                step = Step(period, line.side, line.price_micro_per_kwh, line.energy_wh)
                steps.setdefault(line.peer, []).append(step)
        return [
            self.community.sign(self.members[name], *mine, market=self.market, session=self.start)
            for name, mine in steps.items()
        ]

    def money(self) -> dict[str, int]:
        snapshot = self.community.chain.snapshot()
        accounts = {
            name: snapshot.account(member.peer).balance_nano
            for name, member in self.members.items()
        }
        return accounts | {FUND: snapshot.fund_nano()}


def kwh(energy: float, micro_per_kwh: int) -> int:
    """Nano-token for so many kWh at a price."""
    return round(energy * 1000) * micro_per_kwh


# Two nodes for a village, green energy and any. Who wants green bids there; what it does not take
# flows on for nothing. 2.5 kWh of sun for bids of 2 and 1.5 kWh: the second bid is marginal and
# sets the price of green, 0.11. The other node buys 4 kWh of the power station's at its 0.09.
GREEN = Outcome(
    prices=[{"green village": 110_000, "village": 90_000}],
    money={
        "solar": kwh(2.5, 110_000),
        "keen": -kwh(2, 110_000),
        "willing": -kwh(0.5, 110_000),
        "chp": kwh(4, 90_000),
        "home": -kwh(4, 90_000),
        FUND: 0,
    },
)
# Streets in a town on a grid. 9 kWh are wanted, the roof has 6, so the supplier's 0.20 plus the
# operators' tariffs make the prices: town 0.23, Elm Street 0.24, and Oak Street, which exports
# 4 kWh, 0.22. DSO: (4 + 3) kWh at 0.01; TSO: 3 kWh at 0.03.
NESTED = Outcome(
    prices=[{"grid": 200_000, "town": 230_000, "elm street": 240_000, "oak street": 220_000}],
    money={
        "supplier": kwh(3, 200_000),
        "roof": kwh(6, 220_000),
        "oak home": -kwh(2, 220_000),
        "elm home": -kwh(3, 240_000),
        "school": -kwh(4, 230_000),
        "DSO": kwh(7, 10_000),
        "TSO": kwh(3, 30_000),
        FUND: 0,
    },
)
# Two communities agreed on 0.005 for what one sends the other, past the grid's 0.04 + 0.04. The
# roof is marginal in the north at 0.08, so the south pays 0.085; the 0.015 token are the fund's.
CONTRACT = Outcome(
    prices=[{"north": 80_000, "south": 85_000}],
    money={
        "supplier": 0,
        "roof": kwh(4, 80_000),
        "north home": -kwh(1, 80_000),
        "south home": -kwh(3, 85_000),
        "DSO": 0,
        FUND: kwh(3, 5_000),
    },
)
# A farm that pays 0.02 for what it exports: a node of its own. The mill is marginal in the village
# at 0.07; the wind earns 0.05, at home too.
EXPORT_COST = Outcome(
    prices=[{"farm": 50_000, "village": 70_000}],
    money={
        "wind": kwh(3, 50_000),
        "barn": -kwh(0.5, 50_000),
        "mill": kwh(2.5, 70_000),
        "home": -kwh(5, 70_000),
        "DSO": kwh(2.5, 20_000),
        FUND: 0,
    },
)
# Anna would pay 0.03 more to buy from the cooperative than from the village: a link she owns. All
# 2 kWh of the roof go to her, at 0.12; 1 kWh comes from the village, and its 0.03 come back to her.
PREFERENCE = Outcome(
    prices=[{"village": 90_000, "coop": 120_000, "anna": 120_000}],
    money={
        "roof": kwh(2, 120_000),
        "chp": kwh(3, 90_000),
        "home": -kwh(2, 90_000),
        "anna": -kwh(3, 120_000) + kwh(1, 30_000),
        FUND: 0,
    },
)
# The grid's tariff is 0.01 in the first period, 0.06 in the second. Then the supplier's 0.15 come
# to 0.21, so the car waits and the power station, at 0.205, runs.
GRID_FEES = Outcome(
    prices=[{"grid": 150_000, "village": 160_000}, {"grid": 150_000, "village": 210_000}],
    money={
        "supplier": kwh(5 + 1.5, 150_000),
        "car": -kwh(2, 160_000),
        "home": -kwh(3, 160_000) - kwh(3, 210_000),
        "chp": kwh(1.5, 210_000),
        "DSO": kwh(5, 10_000) + kwh(1.5, 60_000),
        FUND: 0,
    },
)
# The feeder carries 2 of the 5 kWh that the roof could sell: 0.05 before it, 0.13 behind it. Of the
# 0.08 between, 0.01 is the DSO's tariff and 0.07 the rent, which the fund gets.
CONGESTION = Outcome(
    prices=[{"feeder": 50_000, "village": 130_000}],
    money={
        "roof": kwh(2, 50_000),
        "home": -kwh(5, 130_000),
        "chp": kwh(3, 130_000),
        "DSO": kwh(2, 10_000),
        FUND: kwh(2, 70_000),
    },
)
CASES = {
    ("green",): GREEN,
    ("nested",): NESTED,
    ("contract",): CONTRACT,
    ("export-cost",): EXPORT_COST,
    ("preference",): PREFERENCE,
    ("grid-fee-night", "grid-fee-noon"): GRID_FEES,
    ("congestion",): CONGESTION,
}


@pytest.mark.parametrize(("names", "expected"), CASES.items(), ids=map(" ".join, CASES))
def test_design__said_as_a_network__is_cleared_and_paid(
    community: Community, names: tuple[str, ...], expected: Outcome
) -> None:
    books = [load_book((NETWORKS / f"{name}.json").read_text()) for name in names]
    market = Market(community, books)
    orders = market.orders()
    before = market.money()
    proposal = community.propose(*orders)
    community.clear(proposal)
    after = market.money()
    assert {name: after[name] - before[name] for name in after} == expected.money
    assert sum(expected.money.values()) == 0
    for book, clearing, prices in zip(books, proposal.clearings, expected.prices, strict=True):
        index = book.network.node_index
        cleared = {node: clearing.prices_micro_per_kwh[index[node]] for node in prices}
        assert cleared == prices


def test_cases__of_networks__are_all_cleared() -> None:
    assert {path.stem for path in NETWORKS.iterdir()} == {name for names in CASES for name in names}
