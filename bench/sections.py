"""The sections of the bench: what they are called and what their part of the page says.

To add one: an entry here, and a module `bench/<name>.py` with a function `measure(console)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

    from bench.results import Result

    Measure = Callable[[Console], Iterable[Result]]

__all__ = ["SECTIONS", "Section"]


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of measurement.

    Parameters
    ----------
    name
        As in `python -m bench NAME`; also that of its module.
    title, text
        Heading and Markdown text of its part of docs/benchmarks.md: what is measured, what each
        rival does and what it does not.
    prefixes
        How the names of its results begin; running it replaces the results that bear them.
    """

    name: str
    title: str
    text: str
    prefixes: tuple[str, ...]

    def owns(self, name: str) -> bool:
        """Whether a result of this name is one of this section."""
        return name.startswith(self.prefixes)

    def measure(self) -> Measure:
        """Load what measures; only now, for some sections need packages that are large."""
        found: Measure = import_module(f"bench.{self.name}").measure
        return found


SECTIONS: Final = (
    Section(
        name="clearing",
        title="Clearing",
        text="""
`clear_N`: N bids and N asks on one node, prices and energies drawn evenly from 0.03 to 0.3
token/kWh and 1 Wh to 20 kWh. `network_N`: the same orders spread over a tree of 30 nodes with
tariffs and capacities; the rival clears the same number of orders on one node, for it knows no
network. Everybody starts from the orders in the form it keeps them in, and making that form is
not timed. `welfare_N` is the welfare reached, in percent of the optimum; ours is computed from
the fills and proved optimal by the exact check.

* Ours is `fairwatt.market.clear`: fills of all orders, flows, midpoint prices, ties shared pro
  rata, in whole numbers, **and** the proof that no clearing is better.
* `merge` is a merge of sorted bids and asks on the same arrays, as anyone would write it with
  NumPy: fills and one price on one node. It knows no network, gives ties to whoever the sort puts
  first, and proves nothing.
* `assume` is the pay-as-clear market of ASSUME (assume-framework 0.6.0), from its order
  dictionaries: fills and the price of the last accepted offer. It is given its orders and called
  directly, without the simulation around it. Ties by chance. Its time grows with the square of
  the orders.
* `pymarket` is the auction of Huang et al. in pymarket 0.7.6, from its table of bids: a mechanism
  made to be truthful, so buyers and sellers get different prices and the marginal orders do not
  trade: it gives up some welfare on purpose. The mechanism itself is timed, without the package's
  own joining of bids of equal price before it and splitting after it, which take several times as
  long. It grows with the square.

On a network the aim of three times the merge is met by large books only: starting the linear solver
alone takes longer than merging a thousand orders.

A rival without a value did not finish within five minutes, or by its last times could not; the
largest size that it managed has a row of its own.
""",
        prefixes=("clear_", "network_", "welfare_"),
    ),
    Section(
        name="growth",
        title="Growth",
        text="""
`growth_time_A_nodes_B_orders` and `growth_memory_A_nodes_B_orders`: time and memory of one
clearing per order, on trees of A nodes with B orders, each in a process of its own. Memory is by
how much the largest resident size of the process rises while it clears, so the book itself is not
in it; small books fit into what is there already. For each network both should fall with the
number of orders until what a clearing needs in any case no longer counts, and then stay; on one
node, where an order takes so little, they rise again where the book outgrows the caches.
""",
        prefixes=("growth_",),
    ),
    Section(
        name="plan",
        title="Day plan",
        text="""
`plan_NxT`: the day of N homes on one node in T periods; half have a roof, three in five of those a
battery. The time is that of `fairwatt.planner.plan`, from the community to schedules, trades,
prices and bills.

* `highs_solve` is the time that HiGHS says it takes for the very same arrays, passed as a model,
  by the same method with the same options: what is above 1 is ours. Plan and HiGHS take turns
  at least twice, and the best of each counts.
* `pyomo` is the same model as text, one variable per thing and period, stated with Pyomo and
  solved by HiGHS through APPSI. Its objective is required to be equal. Without a value it took more
  than five minutes.
""",
        prefixes=("plan_",),
    ),
    Section(
        name="pilot",
        title="Days of a pilot",
        text="""
`pilot_day_CHAIN`: one day of the 39 peers of `cases/iberia` in 96 quarter hours by `fairwatt
run`, from the forecast to settled readings, on the chain in the process and on anvil by the rules
of mainnet; `pilot_day_CHAIN_STAGE` is how long each stage takes: plan and orders, publishing
tariffs, signing, clearing with its proof (orders checked one by one, solved, verified, asked of
the contract, sent), signing the readings, reconciling. `pilot_year` is all of `fairwatt run iberia
--start 2019-01-01 --days 365 --chain anvil`, pictures and bills included, `pilot_year_day` the
median of its days, and `pilot_year_memory` the largest resident size of its process, beside that
of a run over the first thirty days. The limits are what we set ourselves.
""",
        prefixes=("pilot_",),
    ),
    Section(
        name="metering",
        title="Meter import",
        text="""
`meter_import_KIND_MxN`: N quarter hours of M meters from a file to whole Wh per period, checked
for every kind of fault (`fairwatt.metering.load`). `columns` is Parquet with a column for each
meter, `rows` is Parquet with a row for each reading, `csv` the same as text. `pandas` reads the
same file into a frame and does nothing with it. They take turns twice, and the best of each counts;
the sum of every meter is required to be what was written, to the last Wh. The aim is three times
the bare read.
""",
        prefixes=("meter_import_",),
    ),
    Section(
        name="gas",
        title="Gas",
        text="""
`order_gas_nN`: N orders on one node that all trade, each with a wallet and a signature of its own,
beside `cow`, the very same orders settled by CoW Protocol; what is not the same job stands in the
next section. Without a value they do not fit into one of its transactions. `day96_gas_P`: a day of
P peers on a ring of five nodes, 96 periods, one signature per peer; gas per peer and period.
`proof_over_floor`: the gas of the day of 400 beside the calldata floor, the least that Ethereum
charges for the same calldata whatever it does (EIP-7623). `reconcile_gas_400`: that day reconciled
with its meters, per peer, which is 96 periods. All of it on anvil by the rules of mainnet (Osaka),
everybody having traded before. Days of more than about a hundred peers come in several parts, and
so do their readings: nodes do not pass on transactions of more than 128 KiB. `ring_gas_NxT`: N
nodes on a ring in T periods, two peers at every node, beside the most that a transaction may use.

The aims were 7,000 gas per order, 300 per order and period of a day, 250 per peer and period of a
reconciliation, and 1.5 times the floor. They are not met. Where the gas goes, by a trace of every
instruction (`debug_traceCall`):

* One more order of one step on one node (30 instead of 10) costs 11,566: 1,441 for calldata, 3,299
  to recover its signer (3,000 of it the precompile), 1,676 in the ledger (most of it storage, four
  accounts to a slot), 530 to hash it. That makes 6,946, the aim, before anything is checked. The
  other 4,620 are instructions of `Clearing` in some 60 pieces of 20 to 370 each: reading the record
  and its head, the peer's roster word, a row, a position, a payment.
* A day costs 2.9 million for any number of peers: 306 per order and period with 100 peers, 77 with
  400. Its 960 flows take 1.2 million of that, its 480 cells 1.0 million, half of it those 211 that
  have marginal orders. One more peer (30 instead of 10) costs 378 per period: 100 for calldata, 90
  to compare its steps with the prices, 83 to sum up its position, 34 for its signature, 17 in the
  ledger, the rest for marginal orders and around the loops.
* The day of 400 has to go in four parts, for nodes pass on no larger transactions. What a part
  carries on from the one before, and the prices that each part reads anew, make the last 111 per
  order and period. Its calldata floor is 324 by itself: a step has 8 bytes, of which few are zero
  where every step has a limit price of its own. The aim of 300 needs a shorter curve.
* A reconciliation of 32 peers takes 480 per peer and period: 85 for calldata, 34 to recover the
  signer, 109 in the registry (51 of it storage; a supplier's tariffs are read once for all
  readings of a transaction), 39 in the ledger, 26 for its event.
""",
        prefixes=("order_gas_", "day96_gas_", "ring_gas_", "reconcile_gas_", "proof_over_floor"),
    ),
    Section(
        name="cow",
        title="Gas of CoW Protocol",
        text="""
`cow_gas_nN` and `cow_total_nN`: one transaction by which CoW Protocol settles N orders on one
market, N/2 that sell energy and N/2 that buy it, each with a wallet, a limit price and an EIP-712
signature of its own; all trade in full. `cow_most_orders` is the largest even number of them that
fits into a transaction (16,777,216 gas, EIP-7825). It runs on anvil by the rules of mainnet
(Osaka); gas is that of the receipt.

The contracts are `GPv2Settlement` and its parts from the npm package `@cowprotocol/contracts`
1.8.0, as compiled there; energy and money are two plain ERC-20s of OpenZeppelin. Everything is as
cheap for it as in daily use: allowances are given for ever, every wallet has traded before and
holds some of both tokens before and after, and so does the settlement contract. Orders are filled
at once or not at all, without fee, receiver or interactions. What each wallet holds afterwards is
required to be right to the last wei.

It does not do the same job as a clearing of ours:

* It moves real ERC-20s between wallets, two transfers per order, and an order can be for any two
  tokens. Ours nets within a ledger that was paid into beforehand, and a position in energy is no
  token but goes into a hash.
* It takes one vector of uniform clearing prices from a solver and checks that nobody's limit price
  is broken. Nothing on chain says that the fills or the prices are the best: for that it relies on
  the competition of approved solvers, off chain. Ours proves it to the contract.
* It knows no network, and a signature covers one amount of one token, not the curve of a day.
""",
        prefixes=("cow_",),
    ),
)
"""In the sequence of the page."""
