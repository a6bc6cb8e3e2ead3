"""Auctions on a book of one node: who trades with whom, at what price, and who keeps the spread.

In the whole numbers of `fairwatt.market`: Wh, micro-token/kWh, and nano-token for their product.
The kernel clears the same books at one price and with the most welfare; what an auction here
reaches of that is its `efficiency`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypedDict

import numpy as np

from fairwatt import market
from fairwatt.errors import MechanismError
from fairwatt.market import Book, Side
from fairwatt.market.proof import welfare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Auction",
    "ContinuousAuction",
    "PairPrice",
    "Step",
    "Trade",
    "continuous_double_auction",
    "efficiency",
    "pay_as_bid",
    "uniform_price",
]

PairPrice = Literal["own", "bid", "ask", "midpoint"]
"""What the two sides of a pair pay and get; see `pay_as_bid`."""

_Settle: TypeAlias = "Callable[[int, int], tuple[int, int]]"
"""From the limits of a bid and an ask: what the bid pays and what the ask gets."""

_PAIR_PRICES: Final[dict[str, _Settle]] = {
    "own": lambda bid, ask: (bid, ask),
    "bid": lambda bid, _ask: (bid, bid),
    "ask": lambda _bid, ask: (ask, ask),
    "midpoint": lambda bid, ask: ((bid + ask) // 2, (bid + ask) // 2),
}

_OTHER: Final = {Side.BID: Side.ASK, Side.ASK: Side.BID}


@dataclass(frozen=True, slots=True)
class Trade:
    """Energy from one ask to one bid.

    Parameters
    ----------
    bid, ask
        Ids of the two orders.
    energy_wh
        More than 0.
    paid_micro_per_kwh
        What the bid pays.
    received_micro_per_kwh
        What the ask gets, never more than what the bid pays.
    """

    bid: str
    ask: str
    energy_wh: int
    paid_micro_per_kwh: int
    received_micro_per_kwh: int

    @property
    def spread_nano(self) -> int:
        """What is left between the two sides and goes to the manager, nano-token."""
        return self.energy_wh * (self.paid_micro_per_kwh - self.received_micro_per_kwh)


@dataclass(frozen=True, eq=False)
class Auction:
    """What an auction made of a book.

    Attributes
    ----------
    book
        The book.
    trades
        In the sequence in which they were made.
    fills_wh
        Energy traded by each order, shape (orders,).
    payments_nano
        Per order, nano-token: + receives, - pays, as in `market.Payments`.
    manager_nano
        What the manager (the community fund) gets of it, nano-token. With the payments it sums
        to zero.
    """

    book: Book
    trades: tuple[Trade, ...]
    fills_wh: NDArray[np.int64]
    payments_nano: tuple[int, ...]
    manager_nano: int

    @property
    def welfare_nano(self) -> int:
        """Value to the bids less cost of the asks at their limit prices, nano-token."""
        return welfare(self.book, self.fills_wh, np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Step:
    """The arrival of one order in a continuous auction, and the book after it.

    Parameters
    ----------
    order
        Id of the order that arrived.
    improves
        Whether it was better than every order that rested on its own side.
    trades
        The trades it caused, best resting order first.
    rests_wh
        What is left of it and waits in the book.
    best_bid_micro_per_kwh, best_ask_micro_per_kwh
        Best resting limit prices after the step; None where nothing rests.
    """

    order: str
    improves: bool
    trades: tuple[Trade, ...]
    rests_wh: int
    best_bid_micro_per_kwh: int | None
    best_ask_micro_per_kwh: int | None

    @property
    def spread_micro_per_kwh(self) -> int | None:
        """Best ask less best bid, always more than 0; None while a side is empty."""
        if self.best_bid_micro_per_kwh is None or self.best_ask_micro_per_kwh is None:
            return None
        return self.best_ask_micro_per_kwh - self.best_bid_micro_per_kwh


@dataclass(frozen=True, eq=False)
class ContinuousAuction(Auction):
    """An `Auction` with its history.

    Attributes
    ----------
    steps
        One per order, in the sequence of their arrival.
    """

    steps: tuple[Step, ...]


def continuous_double_auction(
    book: Book, arrivals: Sequence[str] | None = None
) -> ContinuousAuction:
    """Let orders arrive one by one and trade at once with what rests, by price and then time.

    The sequence of a continuous double auction (FleXunity D3.1, section 3.1.1.2, Figure 11), with
    a public order book. For every order that arrives:

    1. Is it better than the best order of its own side (a higher bid, a lower ask)? Then it is the
       new best bid or ask; otherwise it queues behind those that are better or were there before.
    2. Does it cross, that is: is the best bid now at least the best ask? If not, it rests.
    3. It trades with the best order of the other side, as much as both can, at the price of the
       order that rested. Among resting orders of one price the one that came first trades first.
    4. What is traded leaves the book; a part that is left stays where it was. Back to 2, until the
       new order is filled or does not cross any more; the rest of it rests.
    5. The best bid, the best ask and the spread are published, and the next order may come.

    Parameters
    ----------
    book
        Orders at one node.
    arrivals
        The ids of all orders in the sequence of their arrival; None: as they stand in the book.

    Raises
    ------
    MechanismError
        If the book has more than one node, or `arrivals` does not name every order once.

    Notes
    -----
    Both sides of a trade have one price, so the manager gets nothing. Nobody trades beyond their
    limit. Which orders trade, and what the auction is worth, depends on who comes first.
    """
    _require_one_node(book)
    floor = _Floor(book)
    steps = tuple(floor.arrive(line) for line in _arrivals(book, arrivals))
    trades = [trade for step in steps for trade in step.trades]
    return ContinuousAuction(**_outcome(book, trades), steps=steps)


class _Floor:
    """Resting orders by price and time: the best of each side on top of its heap."""

    def __init__(self, book: Book) -> None:
        self._ids = book.ids
        self._side = [Side(side) for side in book.side.tolist()]
        self._price: list[int] = book.price_micro_per_kwh.tolist()
        self._left: list[int] = book.energy_wh.tolist()
        self._heaps: dict[Side, list[tuple[int, int, int]]] = {Side.BID: [], Side.ASK: []}
        self._clock = 0

    def arrive(self, line: int) -> Step:
        """Take one order in."""
        side = self._side[line]
        best = self._best(side)
        improves = self._left[line] > 0 and (best is None or self._rank(line) < self._rank(best))
        trades = tuple(self._trades(line))
        if self._left[line]:
            self._clock += 1
            heapq.heappush(self._heaps[side], (self._rank(line), self._clock, line))
        return Step(
            self._ids[line],
            improves,
            trades,
            self._left[line],
            self._best_price(Side.BID),
            self._best_price(Side.ASK),
        )

    def _trades(self, line: int) -> Iterator[Trade]:
        other = _OTHER[self._side[line]]
        while self._left[line]:
            resting = self._best(other)
            if resting is None or self._rank(line) + self._rank(resting) > 0:
                return
            energy = min(self._left[line], self._left[resting])
            self._left[line] -= energy
            self._left[resting] -= energy
            if not self._left[resting]:
                heapq.heappop(self._heaps[other])
            bid, ask = (line, resting) if other is Side.ASK else (resting, line)
            price = self._price[resting]
            yield Trade(self._ids[bid], self._ids[ask], energy, price, price)

    def _rank(self, line: int) -> int:
        """Lower is better. A bid and an ask cross where their ranks sum to at most 0."""
        return self._price[line] if self._side[line] is Side.ASK else -self._price[line]

    def _best(self, side: Side) -> int | None:
        heap = self._heaps[side]
        return heap[0][2] if heap else None

    def _best_price(self, side: Side) -> int | None:
        line = self._best(side)
        return None if line is None else self._price[line]


def pay_as_bid(
    book: Book, price: PairPrice = "own", arrivals: Sequence[str] | None = None
) -> Auction:
    """Collect all orders, match them in merit order, and give every pair a price of its own.

    Highest bid with lowest ask, as much as both can, until no bid reaches the next ask. The
    quantities are those of the optimum; only the money differs from a clearing at one price.

    Parameters
    ----------
    book
        Orders at one node.
    price
        What a pair (bid at b, ask at a <= b) settles at, and so who keeps the spread b - a:

        * "own": the bid pays b, the ask gets a, the manager (the community fund) the spread.
        * "bid": both at b; the spread is the seller's.
        * "ask": both at a; the spread is the buyer's.
        * "midpoint": both at floor((a + b) / 2); half each.
    arrivals
        The ids of all orders; of orders with the same limit the earlier one is matched first.
        None: as they stand in the book.

    Raises
    ------
    MechanismError
        As `continuous_double_auction`, and if there is no such price.
    """
    if price not in _PAIR_PRICES:
        raise MechanismError("price", f"must be one of {', '.join(_PAIR_PRICES)}, not {price!r}")
    _require_one_node(book)
    sequence = _arrivals(book, arrivals)
    return Auction(**_outcome(book, _matched(book, sequence, book.energy_wh, _PAIR_PRICES[price])))


def uniform_price(book: Book) -> Auction:
    """Clear the book with the kernel (one midpoint price), said as an `Auction` to compare with.

    Pairs are made in merit order; as all trade at one price, they move no money.

    Raises
    ------
    MechanismError
        If the book has more than one node.
    """
    _require_one_node(book)
    clearing = market.clear(book)
    price = int(clearing.prices_micro_per_kwh[0])
    fills = clearing.fills_wh
    trades = _matched(book, range(len(book)), fills, lambda _bid, _ask: (price, price))
    return Auction(**_outcome(book, trades))


def efficiency(auction: Auction) -> float:
    """Share of the optimal welfare (that of `market.clear`) that the auction reached, 0 to 1.

    1 where there is nothing to gain.
    """
    fills = market.clear(auction.book).fills_wh
    optimum = welfare(auction.book, fills, np.zeros(0, np.int64))
    return auction.welfare_nano / optimum if optimum else 1.0


def _matched(
    book: Book, sequence: Sequence[int], energy_wh: NDArray[np.int64], settle: _Settle
) -> list[Trade]:
    """Pair best with best; `sequence` decides among equal limits."""
    limit: list[int] = book.price_micro_per_kwh.tolist()
    left: list[int] = energy_wh.tolist()
    # Sorting is stable, also in reverse, so that equal limits stay in the sequence given.
    asks = sorted(_lines(book, Side.ASK, sequence), key=limit.__getitem__)
    bids = sorted(_lines(book, Side.BID, sequence), key=limit.__getitem__, reverse=True)
    trades = []
    next_ask = 0
    for bid in bids:
        while left[bid] and next_ask < len(asks) and limit[bid] >= limit[asks[next_ask]]:
            ask = asks[next_ask]
            energy = min(left[bid], left[ask])
            left[bid] -= energy
            left[ask] -= energy
            if energy:
                prices = settle(limit[bid], limit[ask])
                trades.append(Trade(book.ids[bid], book.ids[ask], energy, *prices))
            if not left[ask]:
                next_ask += 1
    return trades


def _lines(book: Book, side: Side, sequence: Iterable[int]) -> list[int]:
    sides = book.side.tolist()
    return [line for line in sequence if sides[line] == side]


class _Outcome(TypedDict):
    book: Book
    trades: tuple[Trade, ...]
    fills_wh: NDArray[np.int64]
    payments_nano: tuple[int, ...]
    manager_nano: int


def _outcome(book: Book, trades: Iterable[Trade]) -> _Outcome:
    """Add up what the trades mean for every order and for the manager."""
    trades = tuple(trades)
    line = {id_: at for at, id_ in enumerate(book.ids)}
    fills = np.zeros(len(book), np.int64)
    payments = [0] * len(book)
    for trade in trades:
        bid, ask = line[trade.bid], line[trade.ask]
        fills[bid] += trade.energy_wh
        fills[ask] += trade.energy_wh
        payments[bid] -= trade.energy_wh * trade.paid_micro_per_kwh
        payments[ask] += trade.energy_wh * trade.received_micro_per_kwh
    fills.flags.writeable = False
    return _Outcome(
        book=book,
        trades=trades,
        fills_wh=fills,
        payments_nano=tuple(payments),
        manager_nano=sum(trade.spread_nano for trade in trades),
    )


def _require_one_node(book: Book) -> None:
    if len(book.network.nodes) != 1:
        raise MechanismError(
            "book.network.nodes",
            f"there are {len(book.network.nodes)}, but an auction knows no network: "
            "give it the orders of one node, or clear the book with the kernel",
        )


def _arrivals(book: Book, arrivals: Sequence[str] | None) -> list[int]:
    """Positions of the orders in the sequence of their arrival."""
    if arrivals is None:
        return list(range(len(book)))
    line = {id_: at for at, id_ in enumerate(book.ids)}
    seen = set[str]()
    for at, id_ in enumerate(arrivals):
        if id_ not in line:
            raise MechanismError(f"arrivals[{at}]", f"there is no order {id_!r} in the book")
        if id_ in seen:
            raise MechanismError(f"arrivals[{at}]", f"{id_!r} arrives twice")
        seen.add(id_)
    missing = next((id_ for id_ in book.ids if id_ not in seen), None)
    if missing is not None:
        raise MechanismError(
            "arrivals", f"{missing!r} never arrives; name every order of the book once"
        )
    return [line[id_] for id_ in arrivals]
