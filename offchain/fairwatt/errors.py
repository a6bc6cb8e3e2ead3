"""Everything Fairwatt raises on purpose.

    FairwattError
    ├── BookError               network or orders that no market can take; carries a path
    ├── ClearingError           a clearing document that is malformed; carries a path
    ├── KernelError             the solver failed, or its result did not pass the exact checks
    ├── SolverError             HiGHS refused a program or failed on it
    ├── OrderError              an order that cannot be signed; carries a path
    ├── ReceiptError            a receipt that is malformed or for another order; carries a path
    ├── ReadingError            a meter reading that cannot be signed; carries a path
    ├── LaneError               energies that fit no words, or words that are no energies
    ├── SignatureError          bytes that are no signature, or somebody else's
    ├── FileError               a file that cannot be read or written; carries its path
    ├── MeterDataError          meter data that cannot be read; carries a path
    │   └── MeterDataRefused    meter data with faults that the policy refuses; carries them
    ├── CaseError               a named case or a settings file that is malformed; carries a path
    ├── CommunityError          a community that cannot be planned for; carries a path
    ├── PlanError               a day that could not be planned
    │   ├── PlanInfeasible      somebody cannot be served; carries who and when
    │   └── PlanTimeLimit       no optimum in time
    ├── ForecastError           a forecast that cannot be made as it was asked for
    ├── PilotError              a run of a case that cannot go on
    ├── ConsensusError          prices that peers cannot be asked for, or a peer that cannot answer
    ├── ModelError              a published model that cannot be solved
    │   ├── ModelInfeasible     nothing keeps all of its constraints
    │   ├── ModelUnbounded      its cost falls without bound
    │   ├── ModelTimeLimit      no optimum was found in time
    │   └── ModelNotConvex      its cost has no optimum that could be proved
    ├── SharingError            a gain or a game that the rule cannot share as it was asked to
    ├── MechanismError          input that a market design cannot take; carries a path
    ├── StudyError              market designs that cannot be compared as asked for
    ├── GridError               a grid without a power flow, or that nothing keeps in bounds
    ├── BillingError            records that make no bill
    │   └── BooksNotBalanced    entries that are not the balance; carries account and difference
    ├── ChainError              the chain cannot be reached, or refuses
    │   └── ContractError       a contract refused; carries the name and values of its error
    ├── OracleError             the market day cannot go on as it was asked to
    └── ProofError              a clearing that is not the optimum it claims to be
        ├── NegativeQuantity
        ├── PriceCountMismatch
        ├── FlowCountMismatch
        ├── FillCountMismatch
        ├── PriceOutOfBounds
        ├── FillAboveEnergy
        ├── FlowAboveCapacity
        ├── NodeUnbalanced
        ├── NotOptimal
        └── (of the certificate)
            ├── CertificateCountMismatch
            ├── PricesOutOfBounds
            ├── PriceNotMidpoint
            ├── LimitBetweenPrices
            ├── FillNotImplied
            ├── MarginalTotalMismatch
            ├── MarginalFillAboveTotal
            ├── FillNotShared
            ├── FlowNotImplied
            ├── FlowNotUnique
            ├── FillNotUnique
            ├── LowestNotProved
            └── HighestNotProved

A `ProofError` that bears the name of an error of `ClearingProof.sol` is of the same rule;
`docs/proof.md` sets all of them side by side. The contract names node and period of a session where
a `ProofError` names the node, line or link of a book, and what it does not have: the contract works
fills and prices out by itself, so it never finds them wrong.
"""

# ruff: noqa: N818 - proof errors are named as those of the contract; model errors say what the
# model is
from __future__ import annotations

from typing import Any, Self

__all__ = [
    "BillingError",
    "BookError",
    "BooksNotBalanced",
    "CaseError",
    "CertificateCountMismatch",
    "ChainError",
    "ClearingError",
    "CommunityError",
    "ConsensusError",
    "ContractError",
    "FairwattError",
    "FileError",
    "FillAboveEnergy",
    "FillCountMismatch",
    "FillNotImplied",
    "FillNotShared",
    "FillNotUnique",
    "FlowAboveCapacity",
    "FlowCountMismatch",
    "FlowNotImplied",
    "FlowNotUnique",
    "ForecastError",
    "GridError",
    "HighestNotProved",
    "KernelError",
    "LaneError",
    "LimitBetweenPrices",
    "LowestNotProved",
    "MarginalFillAboveTotal",
    "MarginalTotalMismatch",
    "MechanismError",
    "MeterDataError",
    "MeterDataRefused",
    "ModelError",
    "ModelInfeasible",
    "ModelNotConvex",
    "ModelTimeLimit",
    "ModelUnbounded",
    "NegativeQuantity",
    "NodeUnbalanced",
    "NotOptimal",
    "OracleError",
    "OrderError",
    "PilotError",
    "PlanError",
    "PlanInfeasible",
    "PlanTimeLimit",
    "PriceCountMismatch",
    "PriceNotMidpoint",
    "PriceOutOfBounds",
    "PricesOutOfBounds",
    "ProofError",
    "ReadingError",
    "ReceiptError",
    "SharingError",
    "SignatureError",
    "SolverError",
    "StudyError",
]


class FairwattError(Exception):
    """Base of all errors of the package; its message says what is wrong and what to do."""


class _PlacedError(FairwattError):
    """Something is wrong at `path`, written as in the document: `orders[3].energyWh`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem

    def of_file(self, file: str) -> Self:
        """The same error of a document that is in a file: its place begins with that."""
        return type(self)(f"{file}: {self.path}" if self.path else file, self.problem)


class BookError(_PlacedError):
    """The network or the orders of a book cannot be cleared as they stand."""


class ClearingError(_PlacedError):
    """A clearing document is malformed, does not fit its book, or states a false total."""


class KernelError(FairwattError):
    """The solver failed, or what it returned is not an exact optimum."""


class SolverError(FairwattError):
    """HiGHS refused a program, or failed on it; that it is infeasible is no error but a status."""


class OrderError(_PlacedError):
    """An order is malformed or out of range."""


class ReadingError(_PlacedError):
    """A meter reading is malformed or out of range."""


class ReceiptError(_PlacedError):
    """A receipt is malformed, or for another order than the one it came with."""


class LaneError(FairwattError):
    """Energies that do not fit the words of a session, or words that are no energies."""


class SignatureError(FairwattError):
    """A signature is malformed or not the expected one."""


class FileError(_PlacedError):
    """A file cannot be read or written; `path` is that of the file."""


class MeterDataError(_PlacedError):
    """A file of meter data or its mapping is malformed; `path` has file, row and meter."""


class MeterDataRefused(MeterDataError):
    """Meter data have faults that the policy refuses; `findings` has all that was found."""

    def __init__(self, path: str, problem: str, findings: tuple[Any, ...]) -> None:
        super().__init__(path, problem)
        self.findings = findings


class CaseError(_PlacedError):
    """A named case or a settings file is malformed."""


class CommunityError(_PlacedError):
    """A peer, an asset or a supplier is out of range, or does not fit the horizon."""


class SharingError(FairwattError):
    """A gain or a game is malformed, or the rule does not say how to share it."""


class MechanismError(_PlacedError):
    """Positions, tariffs or orders that an auction or a price rule cannot take as they stand."""


class ModelError(FairwattError):
    """A published model has no optimum, or none was found."""


class ModelInfeasible(ModelError):
    """No values keep all constraints of a model."""


class ModelUnbounded(ModelError):
    """The cost of a model falls without bound."""


class ModelTimeLimit(ModelError):
    """The time limit passed before an optimum of a model was found."""


class ModelNotConvex(ModelError):
    """The cost of a model curves down, so that no optimum could be proved."""


class StudyError(FairwattError):
    """A market design is unknown, or cannot take the community it was asked to."""


class GridError(FairwattError):
    """A grid is missing or has no power flow, or nothing keeps it within its bounds."""


class PlanError(FairwattError):
    """A day could not be planned."""


class PlanInfeasible(PlanError):
    """Somebody cannot be served: `peers`, the first time in `period`."""

    def __init__(self, problem: str, peers: tuple[str, ...], period: int) -> None:
        super().__init__(f"no plan serves everybody: {problem}")
        self.peers = peers
        self.period = period


class PlanTimeLimit(PlanError):
    """There was no optimum within `time_limit_s`."""

    def __init__(self, community: str, time_limit_s: float) -> None:
        super().__init__(
            f"no plan for {community} within {time_limit_s:g} s; allow more time, fewer periods or "
            "fewer peers"
        )
        self.time_limit_s = time_limit_s


class ForecastError(FairwattError):
    """A forecast that cannot be made as it was asked for."""


class PilotError(FairwattError):
    """A run of a case that cannot go on."""


class ConsensusError(FairwattError):
    """Prices were asked for in a way that cannot work, or an agent cannot answer any."""


class BillingError(FairwattError):
    """Records that make no bill: something is missing, or does not fit together."""


class BooksNotBalanced(BillingError):
    """What was booked on an account is not its balance.

    Parameters
    ----------
    account
        Its number; 0 is the community fund.
    name
        Whose it is.
    expected_nano, actual_nano
        The balance, and what the entries come to.
    """

    def __init__(self, account: int, name: str, expected_nano: int, actual_nano: int) -> None:
        self.account = account
        self.difference_nano = actual_nano - expected_nano
        super().__init__(
            f"account {account} ({name}): its entries come to {actual_nano:,} nano-token, its "
            f"balance is {expected_nano:,}: a difference of {self.difference_nano:+,}"
        )


class ChainError(FairwattError):
    """The chain cannot be reached, the account cannot pay, or the deployment is not there."""


def _shown(value: object) -> object:
    """Bytes as explorers of chains show them."""
    return "0x" + value.hex() if isinstance(value, bytes) else value


class ContractError(ChainError):
    """A contract refused: `name` and `values` are those of its Solidity error."""

    def __init__(self, name: str, values: dict[str, object], action: str = "") -> None:
        shown = ", ".join(f"{key}={_shown(value)}" for key, value in values.items())
        super().__init__(
            f"{action + ': ' if action else ''}the contract refused with {name}({shown})"
        )
        self.name = name
        self.values = values


class OracleError(FairwattError):
    """The market day cannot go on as it was asked to; nothing was sent."""


class ProofError(FairwattError):
    """A clearing breaks a rule of the proof; the subclass says which."""


class NegativeQuantity(ProofError):
    """A fill or a flow is below zero."""

    def __init__(self, field: str, index: int, quantity_wh: int) -> None:
        super().__init__(f"{field}[{index}] is {quantity_wh} Wh; a quantity is never negative")
        self.field = field
        self.index = index
        self.quantity_wh = quantity_wh


class _CountMismatch(ProofError):
    noun = ""
    owner = ""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(
            f"the clearing has {actual} {self.noun}s, expected {expected}: "
            f"one for every {self.owner} of the book, in the same sequence"
        )
        self.expected = expected
        self.actual = actual


class PriceCountMismatch(_CountMismatch):
    """Not one price per node."""

    noun, owner = "price", "node"


class FlowCountMismatch(_CountMismatch):
    """Not one flow per link."""

    noun, owner = "flow", "link"


class FillCountMismatch(_CountMismatch):
    """Not one fill per order line."""

    noun, owner = "fill", "order"


class PriceOutOfBounds(ProofError):
    """A node price (micro-token/kWh) lies outside floor..cap of the market."""

    def __init__(
        self, node: int, price_micro_per_kwh: int, floor: int, cap: int, label: str = ""
    ) -> None:
        super().__init__(
            f"node {_named(node, label)} has price {price_micro_per_kwh} micro-token/kWh, "
            f"outside the market's {floor} to {cap}"
        )
        self.node = node
        self.price_micro_per_kwh = price_micro_per_kwh
        self.floor = floor
        self.cap = cap


class FillAboveEnergy(ProofError):
    """An order is filled beyond the energy it offers or asks for."""

    def __init__(self, line: int, fill_wh: int, energy_wh: int, label: str = "") -> None:
        super().__init__(
            f"order {_named(line, label)} is filled with {fill_wh} Wh "
            f"but is good for {energy_wh} Wh only"
        )
        self.line = line
        self.fill_wh = fill_wh
        self.energy_wh = energy_wh


class FlowAboveCapacity(ProofError):
    """A link carries more than its capacity."""

    def __init__(self, link: int, flow_wh: int, capacity_wh: int, label: str = "") -> None:
        super().__init__(
            f"link {_named(link, label)} carries {flow_wh} Wh but its capacity is {capacity_wh} Wh"
        )
        self.link = link
        self.flow_wh = flow_wh
        self.capacity_wh = capacity_wh


class NodeUnbalanced(ProofError):
    """Asks plus inflow differ from bids plus outflow at a node."""

    def __init__(self, node: int, surplus_wh: int, label: str = "") -> None:
        state = f"{surplus_wh} Wh too much" if surplus_wh > 0 else f"{-surplus_wh} Wh too little"
        super().__init__(
            f"node {_named(node, label)} has {state}: "
            "asks + inflow must equal bids + outflow at every node"
        )
        self.node = node
        self.surplus_wh = surplus_wh


class NotOptimal(ProofError):
    """Welfare and dual bound (nano-token) differ: fills, flows or prices are not optimal."""

    def __init__(self, welfare: int, dual_bound: int) -> None:
        super().__init__(
            f"welfare is {welfare} but these prices only bound it by {dual_bound} "
            f"(gap {dual_bound - welfare} nano-token): fills, flows or prices are not optimal"
        )
        self.welfare = welfare
        self.dual_bound = dual_bound


class CertificateCountMismatch(ProofError):
    """A column of the certificate has not one number per node."""

    def __init__(self, field: str, expected: int, actual: int) -> None:
        super().__init__(f"{field} of the certificate has {actual} numbers, expected {expected}")
        self.field = field
        self.expected = expected
        self.actual = actual


class PricesOutOfBounds(ProofError):
    """Lowest and highest price (micro-token/kWh) of a node are not floor <= low <= high <= cap."""

    def __init__(
        self, node: int, low: int, high: int, floor: int, cap: int, *, label: str = ""
    ) -> None:
        super().__init__(
            f"node {_named(node, label)} has optimal prices {low} to {high} micro-token/kWh: no "
            f"range within the market's {floor} to {cap}"
        )
        self.node = node
        self.low = low
        self.high = high
        self.floor = floor
        self.cap = cap


class PriceNotMidpoint(ProofError):
    """The price of a node is not the midpoint of its lowest and highest one, rounded down."""

    def __init__(
        self, node: int, price_micro_per_kwh: int, low: int, high: int, *, label: str = ""
    ) -> None:
        super().__init__(
            f"node {_named(node, label)} has price {price_micro_per_kwh} micro-token/kWh, but the "
            f"midpoint of {low} and {high} is {(low + high) >> 1}"
        )
        self.node = node
        self.price_micro_per_kwh = price_micro_per_kwh
        self.low = low
        self.high = high


class LimitBetweenPrices(ProofError):
    """An order's limit lies between the prices of its node, which are then not both optimal."""

    def __init__(
        self, line: int, limit_micro_per_kwh: int, low: int, high: int, *, label: str = ""
    ) -> None:
        super().__init__(
            f"order {_named(line, label)} has its limit {limit_micro_per_kwh} micro-token/kWh "
            f"between {low} and {high}, which cannot both be optimal prices of its node"
        )
        self.line = line
        self.limit_micro_per_kwh = limit_micro_per_kwh
        self.low = low
        self.high = high


class FillNotImplied(ProofError):
    """An order away from the price is neither full nor empty as the price of its node implies."""

    def __init__(self, line: int, fill_wh: int, implied_wh: int, *, label: str = "") -> None:
        super().__init__(
            f"order {_named(line, label)} is filled with {fill_wh} Wh, "
            f"but the price of its node implies {implied_wh} Wh"
        )
        self.line = line
        self.fill_wh = fill_wh
        self.implied_wh = implied_wh


class MarginalTotalMismatch(ProofError):
    """The stated energy of the orders at the price of a node (side: bid 0, ask 1) is not theirs."""

    def __init__(
        self, node: int, side: int, stated_wh: int, actual_wh: int, *, label: str = ""
    ) -> None:
        super().__init__(
            f"the marginal {_SIDES[side]} of node {_named(node, label)} are stated to have "
            f"{stated_wh} Wh but have {actual_wh} Wh"
        )
        self.node = node
        self.side = side
        self.stated_wh = stated_wh
        self.actual_wh = actual_wh


class MarginalFillAboveTotal(ProofError):
    """The orders at the price of a node (side: bid 0, ask 1) trade more than they have."""

    def __init__(
        self, node: int, side: int, fill_wh: int, total_wh: int, *, label: str = ""
    ) -> None:
        super().__init__(
            f"the marginal {_SIDES[side]} of node {_named(node, label)} trade {fill_wh} Wh "
            f"but have {total_wh} Wh only"
        )
        self.node = node
        self.side = side
        self.fill_wh = fill_wh
        self.total_wh = total_wh


class FillNotShared(ProofError):
    """A marginal order has not its share of what the marginal orders trade."""

    def __init__(self, line: int, fill_wh: int, share_wh: int, *, label: str = "") -> None:
        super().__init__(
            f"order {_named(line, label)} is filled with {fill_wh} Wh, "
            f"but its share of what the orders of its limit trade is {share_wh} Wh"
        )
        self.line = line
        self.fill_wh = fill_wh
        self.share_wh = share_wh


class FlowNotImplied(ProofError):
    """A link is neither full nor empty as the prices of its ends imply.

    `low_gain` and `high_gain` are price difference less tariff, at the lowest and the highest
    prices.
    """

    def __init__(
        self,
        link: int,
        flow_wh: int,
        capacity_wh: int,
        low_gain: int,
        high_gain: int,
        *,
        label: str = "",
    ) -> None:
        super().__init__(
            f"link {_named(link, label)} carries {flow_wh} of {capacity_wh} Wh although a kWh "
            f"gains {low_gain} and {high_gain} micro-token at the lowest and the highest prices"
        )
        self.link = link
        self.flow_wh = flow_wh
        self.capacity_wh = capacity_wh
        self.low_gain = low_gain
        self.high_gain = high_gain


class FlowNotUnique(ProofError):
    """The tails of its ends do not prove the flow of a link to be the chosen one.

    `rise` is by how much the tails rise along the link, `tail` its own.
    """

    def __init__(
        self, link: int, flow_wh: int, capacity_wh: int, rise: int, tail: int, *, label: str = ""
    ) -> None:
        super().__init__(
            f"link {_named(link, label)} carries {flow_wh} of {capacity_wh} Wh although the tails "
            f"rise by {rise} along it and its own is {tail}: an equal optimum may be preferred"
        )
        self.link = link
        self.flow_wh = flow_wh
        self.capacity_wh = capacity_wh
        self.rise = rise
        self.tail = tail


class FillNotUnique(ProofError):
    """The tail of a node does not prove what its marginal orders trade to be the chosen fill.

    `side` is that of the orders: bid 0, ask 1.
    """

    def __init__(
        self, node: int, side: int, fill_wh: int, total_wh: int, tail: int, *, label: str = ""
    ) -> None:
        super().__init__(
            f"the marginal {_SIDES[side]} of node {_named(node, label)} trade {fill_wh} of "
            f"{total_wh} Wh although its tail is {tail}: an equal optimum may be preferred"
        )
        self.node = node
        self.side = side
        self.fill_wh = fill_wh
        self.total_wh = total_wh
        self.tail = tail


class LowestNotProved(ProofError):
    """Nothing holds the lowest price of a node: it may be lower."""

    def __init__(self, node: int, low: int, rank: int, *, label: str = "") -> None:
        super().__init__(
            f"nothing proves that {low} micro-token/kWh is the lowest optimal price of node "
            f"{_named(node, label)}, whose rank is {rank}"
        )
        self.node = node
        self.low = low
        self.rank = rank


class HighestNotProved(ProofError):
    """Nothing holds the highest price of a node: it may be higher."""

    def __init__(self, node: int, high: int, rank: int, *, label: str = "") -> None:
        super().__init__(
            f"nothing proves that {high} micro-token/kWh is the highest optimal price of node "
            f"{_named(node, label)}, whose rank is {rank}"
        )
        self.node = node
        self.high = high
        self.rank = rank


_SIDES = ("bids", "asks")


def _named(index: int, label: str) -> str:
    return f"{index} ({label})" if label else str(index)
