"""One market day of both five-peer variants, from signed order to settled balance, narrated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE
from rich.table import Table

from fairwatt import market
from fairwatt.cases import CASES, Case
from fairwatt.chain import Settings, connect, signer_for
from fairwatt.errors import ContractError, FairwattError
from fairwatt.market.trades import net_positions_wh
from fairwatt.models import moreno2021
from fairwatt.oracle import Oracle
from fairwatt.orders import Order
from fairwatt.plot import Panel, draw_clearings
from fairwatt.proposal import Proposal, propose
from fairwatt.simulation import Simulation
from fairwatt.units import MICRO, NANO, WEI_PER_NANO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction
    from pathlib import Path

    from rich.console import Console

    from fairwatt.chain import Signer
    from fairwatt.orders import SignedOrder

__all__ = ["DemoResult", "demo"]

_SETTINGS: Final = CASES.parent / "deployments" / "local.toml"
_FUNDS_NANO: Final = 50 * NANO
_VARIANTS: Final = ("five-peer-1", "five-peer-2")
_PLACES: Final = "P4"  # places its order on chain
_HELD_BACK, _HELD_BACK_WH = "P5", 50_000  # what the dishonest solver lets it sell
_DEVIATION_WH: Final = {"P3": 5_000, "P5": -8_000}  # metered minus position


@dataclass(frozen=True)
class DemoResult:
    """What one variant came to; all energies in Wh, money in nano-token."""

    case: str
    generation_wh: dict[str, int]
    import_wh: dict[str, int]
    export_wh: dict[str, int]
    objective: Fraction
    prices_micro_per_kwh: dict[str, int]
    clearing_gas: int = 0
    refusals: dict[str, str] = field(default_factory=dict)
    balances_before_nano: dict[str, int] = field(default_factory=dict)
    balances_after_nano: dict[str, int] = field(default_factory=dict)
    tokens_held_wei: int = 0

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "case": self.case,
            "generationWh": self.generation_wh,
            "importWh": self.import_wh,
            "exportWh": self.export_wh,
            "objective": f"{float(self.objective):.3f}",
            "pricesMicroPerKWh": self.prices_micro_per_kwh,
            "clearingGas": self.clearing_gas,
            "refusals": self.refusals,
            "balancesBeforeNano": self.balances_before_nano,
            "balancesAfterNano": self.balances_after_nano,
            "tokensHeldWei": str(self.tokens_held_wei),
        }


def demo(picture: Path, console: Console, network: str = "ethereum:local:test") -> list[DemoResult]:
    """Run the demo and draw its picture.

    Raises
    ------
    FairwattError
        If anything comes out other than it must: the demo checks what it tells.
    """
    settings = Settings.load(_SETTINGS)
    results, panels = [], []
    for name in _VARIANTS:
        with connect(network):
            day = _Day(Case.load(name), settings, console)
            result, panel = day.run()
        results.append(result)
        panels.append(panel)
    draw_clearings(panels, picture)
    console.print(f"\nFlows and prices of both variants are drawn in [bold]{picture}[/bold].")
    return results


class _Day:
    """One market day of one case."""

    def __init__(self, case: Case, settings: Settings, console: Console) -> None:
        self.case = case
        self.console = console
        self.manager = signer_for(settings.roles.community_manager)
        self.terms = replace(settings.markets[0], manager=self.manager.address)
        with console.status("starting") as status:
            self.simulation = Simulation.found(
                case.community, settings, self.terms, funds_nano=_FUNDS_NANO, progress=status.update
            )
        self.chain = self.simulation.chain
        self.members = self.simulation.members
        self.start = self.terms.next_open_session(self.chain.now())
        self.oracle = Oracle(self.chain, self.simulation.market, self.manager)

    def run(self) -> tuple[DemoResult, Panel]:
        console = self.console
        console.print()
        console.rule(f"[bold]{self.case.title}")
        self._say(
            "Registered and funded",
            f"{len(self.members)} peers with a wallet and {_FUNDS_NANO // NANO} tokens "
            f"each; {', '.join(self.simulation.operators)} owns the links.",
        )
        before = self.simulation.balances_nano()
        orders = self._sign()
        self.simulation.travel_to(self.terms.gate_closure(self.start))
        proposal = self._solve(orders)
        refusals = self._tamper(proposal)
        gas = self._send(orders)
        cleared = self.simulation.balances_nano()
        self._deliver(proposal)
        after = self.simulation.balances_nano()
        tokens = self._add_up(before, cleared, after)
        result = replace(
            self._dispatch(proposal),
            clearing_gas=gas,
            refusals=refusals,
            balances_before_nano=before,
            balances_after_nano=after,
            tokens_held_wei=tokens,
        )
        _show_dispatch(self.case, result, console)
        return result, Panel(self.case.title, self._book(proposal), proposal.clearings[0])

    def _say(self, what: str, text: str) -> None:
        self.console.print(f"[bold cyan]{what}.[/bold cyan] {text}")

    def _sign(self) -> list[SignedOrder]:
        """Everybody signs; P4 trusts nobody and places its order on chain."""
        table = Table("peer", "node", "sells", "from", "buys", "up to", box=SIMPLE, pad_edge=False)
        handed_in = []
        for name, member in self.members.items():
            signed = self.simulation.sign(member, self.simulation.order(member, self.start))
            by_side = {step.side: step for step in signed.steps}
            cells = []
            for side in (market.Side.ASK, market.Side.BID):
                step = by_side.get(side)
                cells.append(_kwh(step.energy_wh) if step else "")
                cells.append(_price(step.price_micro_per_kwh) if step else "")
            table.add_row(name, member.record.node, *cells)
            if name == _PLACES:
                receipt = self.chain.send(
                    self.chain.contracts.order_book.place,
                    signed.order.to_message(),
                    signed.signature,
                    sender=member.wallet,
                )
                placed = (
                    f"{name} placed its order on chain ({receipt.gas_used:,} gas), which locks "
                    f"{_tokens(signed.order.worst_case_nano)} tokens: no clearing may omit it."
                )
            else:
                handed_in.append(signed)
        self._say("Orders signed", f"EIP-712, one signature a peer. {placed}")
        self.console.print(table)
        return handed_in

    def _solve(self, orders: list[SignedOrder]) -> Proposal:
        run = self.oracle.clear(self.start, orders)
        if run.proposal is None or run.refused:
            raise FairwattError(f"the demo's orders were refused: {run.refused}")
        proof = run.proofs[0]
        self._say(
            "Cleared",
            f"welfare {proof.welfare:,} = dual bound {proof.dual_bound:,} nano-token: optimal.",
        )
        return run.proposal

    def _tamper(self, proposal: Proposal) -> dict[str, str]:
        """Try what a dishonest solver would; returns what the contract said to it."""
        refusals = {}
        self._say("Tampered with", "a dishonest manager, and an outsider, try first.")
        for story, tampered, sender in self._tampered(proposal):
            try:
                self.chain.clear(tampered, sender)
            except ContractError as error:
                shown = ", ".join(f"{key}={value}" for key, value in error.values.items())
                refusals[story] = f"{error.name}({shown})"
                self.console.print(f"   {story}\n   [red]refused[/red] {refusals[story]}")
            else:
                raise FairwattError(f"the contract accepted a tampered clearing: {story}")
        return refusals

    def _tampered(self, proposal: Proposal) -> Iterator[tuple[str, Proposal, Signer]]:
        session, orders, nodes = proposal.session, proposal.orders, proposal.nodes
        marginal = self.members[_HELD_BACK].peer
        held = [
            replace(signed, order=_holding_back(signed.order, _HELD_BACK_WH))
            if isinstance(signed.order, Order) and signed.order.peer == marginal
            else signed
            for signed in orders
        ]
        worse = propose(session, held, nodes=nodes)
        yield (
            f"lets {_HELD_BACK} sell {_HELD_BACK_WH // 1000} kWh at most, so that others sell more",
            replace(proposal, clearings=worse.clearings, certificates=worse.certificates),
            self.manager,
        )
        honest = proposal.certificates[0].columns()
        dearer = {name: honest[name] + 1 for name in ("low", "high")}
        yield (
            "raises every price by a millionth of a token",
            replace(proposal, certificates=(market.Certificate(**(honest | dearer)),)),
            self.manager,
        )
        others = [signed for signed in orders if signed.order.peer != self.members[_PLACES].peer]
        without = propose(session, others, nodes=nodes)
        yield f"leaves out the order that {_PLACES} placed", without, self.manager
        outsider = self.members["P2"].wallet
        yield "an outsider is first, with an empty book", propose(session, [], nodes={}), outsider

    def _send(self, orders: list[SignedOrder]) -> int:
        run = replace(self.oracle, send=True).clear(self.start, orders)
        if run.receipt is None:
            raise FairwattError("the clearing was not sent")
        self._say(
            "Proof accepted",
            f"[green]the clearing is final[/green]; {run.receipt.gas_used:,} gas for "
            f"{len(orders) + 1} orders, checked, proved, paid.",
        )
        return run.receipt.gas_used

    def _deliver(self, proposal: Proposal) -> None:
        """Meters sign what was delivered; one peer is short, one long, the rest as planned."""
        readings = []
        for name, member in self.members.items():
            if name != "G":
                planned = proposal.positions_wh[member.peer]
                metered = tuple(energy + _DEVIATION_WH.get(name, 0) for energy in planned)
                readings.append(self.simulation.read(member, self.start, metered))
        self.simulation.travel_to(self.terms.session_end(self.start))
        run = replace(self.oracle, send=True).reconcile(self.start, readings)
        if run.receipt is None or run.refused or run.missing:
            raise FairwattError(f"the demo's readings were not all settled: {run}")
        names = {member.peer: name for name, member in self.members.items()}
        shown = "; ".join(
            f"{names[entry.peer]} {'long' if entry.energy_wh[0] > 0 else 'short'} "
            f"{_kwh(abs(entry.energy_wh[0]))} kWh, "
            f"{'receives' if entry.payment_nano > 0 else 'pays'} "
            f"{_tokens(abs(entry.payment_nano))} tokens"
            for entry in run.settled
            if any(entry.energy_wh)
        )
        self._say(
            "Delivered and reconciled",
            f"{len(readings)} signed readings, {run.receipt.gas_used:,} gas. {shown}.",
        )

    def _add_up(
        self, before: dict[str, int], cleared: dict[str, int], after: dict[str, int]
    ) -> int:
        table = Table(
            "tokens", "before", "clearing", "imbalance", "after", box=SIMPLE, pad_edge=False
        )
        for column in table.columns[1:]:
            column.justify = "right"
        for name, balance in after.items():
            table.add_row(
                name,
                _tokens(before[name]),
                _signed(cleared[name] - before[name]),
                _signed(balance - cleared[name]),
                _tokens(balance),
            )
        held = self.chain.snapshot().tokens_held_wei()
        table.add_section()
        table.add_row("sum", _tokens(sum(before.values())), "", "", _tokens(sum(after.values())))
        table.add_row("held by the ledger", "", "", "", _tokens(held // WEI_PER_NANO))
        self.console.print(table)
        if sum(after.values()) * WEI_PER_NANO != held:
            raise FairwattError("the balances do not add up to the tokens held")
        self.console.print("   [green]The tokens add up, to the last wei.[/green]")
        return held

    def _book(self, proposal: Proposal) -> market.Book:
        """The cleared book with the names of the case instead of numbers."""
        names = {str(member.peer): name for name, member in self.members.items()}
        book = proposal.books[0]
        return replace(
            book, network=self.case.community.network, peers=tuple(names[p] for p in book.peers)
        )

    def _dispatch(self, proposal: Proposal) -> DemoResult:
        book, clearing = self._book(proposal), proposal.clearings[0]
        generation = dict.fromkeys(self.members, 0)
        for order, fill in zip(book.orders, clearing.fills_wh.tolist(), strict=True):
            if order.side is market.Side.ASK:
                generation[order.peer] += fill
        net = net_positions_wh(book, clearing)
        positions = dict.fromkeys(self.members, 0)
        for (peer, _), energy in net.items():
            positions[peer] += energy
        return DemoResult(
            case=self.case.name,
            generation_wh=generation,
            import_wh={name: max(0, -energy) for name, energy in positions.items()},
            export_wh={name: max(0, energy) for name, energy in positions.items()},
            objective=moreno2021.objective_of(self.case, book, clearing),
            prices_micro_per_kwh=dict(
                zip(book.network.nodes, clearing.prices_micro_per_kwh.tolist(), strict=True)
            ),
        )


def _holding_back(order: Order, held_wh: int) -> Order:
    """The order with less to sell than it offers."""
    steps = tuple(
        replace(step, energy_wh=min(step.energy_wh, held_wh))
        if step.side is market.Side.ASK
        else step
        for step in order.steps
    )
    return replace(order, steps=steps)


def _show_dispatch(case: Case, result: DemoResult, console: Console) -> None:
    table = Table(
        "kWh",
        "generated",
        "paper",
        "imported",
        "paper",
        "exported",
        "paper",
        box=SIMPLE,
        pad_edge=False,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    published = case.published
    if published is None:
        raise FairwattError(f"case {case.name} has no published results to compare with")
    pairs = (
        (result.generation_wh, published.generation_wh),
        (result.import_wh, published.import_wh),
        (result.export_wh, published.export_wh),
    )
    for peer in result.generation_wh:
        table.add_row(peer, *(_kwh(side[peer]) for pair in pairs for side in pair))
    console.print(table)
    objective = f"{float(result.objective):.3f}"
    console.print(
        f"   Objective of the paper (eq. 1) on this dispatch: [bold]{objective}[/bold]; "
        f"printed in the paper: [bold]{published.objective}[/bold]."
    )
    if any(ours != theirs for ours, theirs in pairs) or objective != str(published.objective):
        raise FairwattError("the dispatch is not the published one")


def _kwh(energy_wh: int) -> str:
    return f"{energy_wh / 1000:,.0f}" if energy_wh % 1000 == 0 else f"{energy_wh / 1000:,.3f}"


def _price(micro_per_kwh: int) -> str:
    return f"{micro_per_kwh / MICRO:.4f}"


def _tokens(nano: int) -> str:
    return f"{nano / NANO:,.4f}"


def _signed(nano: int) -> str:
    return f"{nano / NANO:+,.4f}" if nano else ""
