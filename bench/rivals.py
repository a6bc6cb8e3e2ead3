"""Other ways to clear a book of one node, each with what it needs made ready beforehand.

A rival is a function of a book. It brings the orders into the form the rival keeps them in, and
returns the action to be timed, which returns the fills of the orders in Wh, shape (orders,).
"""

from __future__ import annotations

import warnings
from contextlib import chdir
from datetime import datetime, timedelta
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairwatt.market import Book, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Fills = NDArray[Any]
    Action = Callable[[], Fills]
    Rival = Callable[[Book], Action]

__all__ = ["RIVALS", "merge", "missing"]


def merge(book: Book) -> Action:
    """Merge sorted bids and asks: NumPy on the columns of the book."""
    price, energy = book.price_micro_per_kwh, book.energy_wh

    def clear() -> Fills:
        bids, asks = np.flatnonzero(book.side == 0), np.flatnonzero(book.side == 1)
        bids = bids[np.argsort(-price[bids])]
        asks = asks[np.argsort(price[asks])]
        bid_price, ask_price = price[bids], price[asks]
        bid_energy, ask_energy = energy[bids], energy[asks]
        bid_end, ask_end = np.cumsum(bid_energy), np.cumsum(ask_energy)
        fills = np.zeros(len(book), np.int64)
        # The bid that the first Wh of each ask meets; asks trade as long as it pays enough.
        met = np.searchsorted(bid_end, ask_end - ask_energy, side="right")
        met = met[: np.searchsorted(met, bids.size)]
        trading = int(np.count_nonzero(bid_price[met] >= ask_price[: met.size]))
        if not trading:
            return fills
        last_ask = ask_price[trading - 1]
        willing = int(np.searchsorted(-bid_price, -last_ask, side="right"))
        traded = min(ask_end[trading - 1], bid_end[willing - 1])
        fills[bids] = np.clip(traded - (bid_end - bid_energy), 0, bid_energy)
        fills[asks] = np.clip(traded - (ask_end - ask_energy), 0, ask_energy)
        last_bid = bid_price[np.searchsorted(bid_end, traded)]
        _ = (last_ask + last_bid) >> 1  # the price
        return fills

    return clear


def assume(book: Book) -> Action:
    """Clear with the pay-as-clear market of ASSUME, called directly."""
    with TemporaryDirectory() as folder, chdir(folder):  # it writes a log where it is imported
        from assume.common.market_objects import MarketConfig, MarketProduct  # noqa: PLC0415
        from assume.markets.clearing_algorithms.simple import PayAsClearRole  # noqa: PLC0415
    from dateutil.relativedelta import relativedelta  # noqa: PLC0415
    from dateutil.rrule import HOURLY, rrule  # noqa: PLC0415

    start = datetime(2024, 1, 1)  # noqa: DTZ001 - ASSUME has no time zones
    end = start + timedelta(hours=1)
    hour = relativedelta(hours=1)
    market = PayAsClearRole(
        MarketConfig(
            "bench",
            opening_hours=rrule(HOURLY, dtstart=start, until=end),
            market_products=[MarketProduct(hour, 1, hour)],
        )
    )
    orders = [
        {
            "start_time": start, "end_time": end, "only_hours": None, "bid_id": at,
            "agent_addr": peer, "price": price, "volume": energy if side else -energy,
        }
        for at, (peer, side, price, energy) in enumerate(_rows(book))
    ]  # fmt: skip

    def clear() -> Fills:
        accepted, *_ = market.clear(orders, [(start, end, None)])
        fills = np.zeros(len(book), np.int64)
        for order in accepted:
            fills[order["bid_id"]] = abs(order["accepted_volume"])
        return fills

    return clear


def pymarket(book: Book) -> Action:
    """Clear with the auction of Huang et al. in pymarket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymarket.bids import BidManager  # noqa: PLC0415
        from pymarket.mechanisms.huang_auction import huang_auction  # noqa: PLC0415

    manager = BidManager()
    for at, (_, side, price, energy) in enumerate(_rows(book)):
        manager.add_bid(energy, price, at, not side)
    bids = manager.get_df()

    def clear() -> Fills:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transactions, _ = huang_auction(bids)
        fills = np.zeros(len(book))
        for bid, quantity, *_ in transactions.trans:
            fills[bid] += quantity
        return fills

    return clear


RIVALS: Final[dict[str, Rival]] = {"merge": merge, "assume": assume, "pymarket": pymarket}


def missing() -> list[str]:
    """Name the rivals whose packages are not installed."""
    return [name for name in ("assume", "pymarket") if find_spec(name) is None]


def _rows(book: Book) -> zip[tuple[str, bool, int, int]]:
    is_ask = (book.side == Side.ASK).tolist()
    return zip(
        book.peers,
        is_ask,
        book.price_micro_per_kwh.tolist(),
        book.energy_wh.tolist(),
        strict=True,
    )
