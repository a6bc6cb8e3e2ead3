"""`OrderBook.createMarket` and `connectClearing`: markets whose sessions can be settled (R1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.community import DAY, HOUR, NOTICE, TERMS, WITHDRAWAL_DELAY
from tests.outcomes import event, events, reverts

from fairwatt.chain import project

if TYPE_CHECKING:
    from typing import Any

    from tests.community import Community

    from fairwatt.chain import Receipt

NOBODY = "0x" + "0" * 40


@pytest.fixture
def book(community: Community) -> Any:
    return community.chain.contracts.order_book


def create(community: Community, **changes: Any) -> Receipt:
    message = replace(TERMS, **changes).to_message()
    method = community.chain.contracts.order_book.createMarket
    return community.send(method, message, sender=community.market_operator)


# ----------------------------------------------------------------------------------- createMarket


def test_create_market__by_the_market_operator__keeps_the_terms(
    community: Community, book: Any
) -> None:
    terms = replace(TERMS, periods_per_session=24, max_placed_blocks=3, solver_fee_nano=7)
    receipt = create(community, periods_per_session=24, max_placed_blocks=3, solver_fee_nano=7)
    assert events(receipt) == [event(book.MarketCreated, market=3, terms=terms.to_message())]
    assert book.marketCount() == 3
    assert community.terms(3) == terms


@pytest.mark.parametrize("period_seconds", [900, 1800, 3600])
def test_create_market__supported_period__is_accepted(
    community: Community, book: Any, period_seconds: int
) -> None:
    create(community, period_seconds=period_seconds)
    assert book.marketTerms(3).periodSeconds == period_seconds


def test_create_market__not_the_market_operator__is_refused(
    community: Community, book: Any
) -> None:
    with reverts(
        book.AccessControlUnauthorizedAccount,
        account=community.dso.address,
        neededRole=book.MARKET_OPERATOR_ROLE(),
    ):
        community.send(book.createMarket, TERMS.to_message(), sender=community.dso)


@pytest.mark.parametrize(
    ("period_seconds", "periods"), [(0, 1), (899, 1), (2700, 1), (7200, 1), (900, 0), (900, 128)]
)
def test_create_market__unsupported_period__is_refused(
    community: Community, book: Any, period_seconds: int, periods: int
) -> None:
    with reverts(book.PeriodUnsupported, periodSeconds=period_seconds, periodsPerSession=periods):
        create(community, period_seconds=period_seconds, periods_per_session=periods)


def test_create_market__orders_of_which_a_clearing_can_name_every_step__is_accepted(
    community: Community, book: Any
) -> None:
    create(community, period_seconds=900, periods_per_session=127, max_placed_blocks=4096)
    assert book.marketTerms(3).maxPlacedBlocks == 4096


def test_create_market__larger_orders__is_refused(community: Community, book: Any) -> None:
    with reverts(book.PlacedOrdersTooLarge, maxPlacedBlocks=4097, mostBlocks=4096):
        create(community, max_placed_blocks=4097)


def test_create_market__unknown_network__is_refused(community: Community) -> None:
    with reverts(community.chain.contracts.registry.UnknownNetwork, network=9):
        create(community, network=9)


def test_create_market__book_open_for_a_second__is_accepted(
    community: Community, book: Any
) -> None:
    create(community, gate_lead_seconds=NOTICE - HOUR - 1)
    start = community.open_session(3)
    opens, gate = book.bookTimes(3, start)
    assert gate - opens == 1


def test_create_market__book_never_open__is_refused(community: Community, book: Any) -> None:
    with reverts(book.BookNeverOpen, noticeSeconds=NOTICE, neededSeconds=NOTICE + 1):
        create(community, gate_lead_seconds=NOTICE - HOUR)


def test_create_market__session_as_long_as_the_notice__is_refused(
    community: Community, book: Any
) -> None:
    with reverts(book.BookNeverOpen, noticeSeconds=NOTICE, neededSeconds=NOTICE + 1):
        create(community, gate_lead_seconds=0, periods_per_session=NOTICE // HOUR)


def test_create_market__first_session_before_any_notice__is_refused(
    community: Community, book: Any
) -> None:
    with reverts(book.NotASession, sessionStart=NOTICE - 1):
        create(community, first_session_start=NOTICE - 1)


def test_create_market__first_session_at_the_notice__is_accepted(
    community: Community, book: Any
) -> None:
    create(community, first_session_start=NOTICE)
    assert book.marketTerms(3).firstSessionStart == NOTICE


def test_create_market__readings_awaited_until_the_settlement_deadline__is_refused(
    community: Community, book: Any
) -> None:
    with reverts(
        book.ReadingsNeverEstimated, readingWindowSeconds=DAY, settlementWindowSeconds=DAY
    ):
        create(community, reading_window_seconds=DAY, settlement_window_seconds=DAY)


def test_create_market__readings_awaited_until_a_second_before_it__is_accepted(
    community: Community, book: Any
) -> None:
    create(community, reading_window_seconds=DAY - 1, settlement_window_seconds=DAY)
    assert book.marketTerms(3).readingWindowSeconds == DAY - 1


def test_create_market__settled_a_second_before_withdrawals__is_accepted(
    community: Community, book: Any
) -> None:
    window = WITHDRAWAL_DELAY - 900 - HOUR - 1
    create(community, gate_lead_seconds=900, settlement_window_seconds=window)
    assert book.marketTerms(3).settlementWindowSeconds == window


def test_create_market__settled_after_withdrawals__is_refused(
    community: Community, book: Any
) -> None:
    with reverts(
        book.MarketTooSlow,
        neededSeconds=WITHDRAWAL_DELAY + 1,
        withdrawalDelaySeconds=WITHDRAWAL_DELAY,
    ):
        create(
            community,
            gate_lead_seconds=900,
            settlement_window_seconds=WITHDRAWAL_DELAY - 900 - HOUR,
        )


def test_create_market__cleared_until_readings_are_estimated__is_accepted(
    community: Community, book: Any
) -> None:
    create(community, clearing_window_seconds=900 + HOUR + DAY)
    terms, start = community.terms(3), community.open_session(3)
    assert terms.clearing_deadline(start) == terms.reading_deadline(start)
    assert terms.clearing_deadline(start) < terms.settlement_deadline(start)


@pytest.mark.parametrize("later", [1, 7 * DAY, 30 * DAY])
def test_create_market__cleared_when_readings_are_estimated__is_refused(
    community: Community, book: Any, later: int
) -> None:
    longest = 900 + HOUR + DAY
    window = longest + later
    with reverts(book.ClearedAfterReadings, clearingWindowSeconds=window, longestSeconds=longest):
        create(community, clearing_window_seconds=window)


# ------------------------------------------------------------------------------------------ views


@pytest.mark.parametrize("market", [0, 3])
def test_market_terms__unknown_market__is_refused(book: Any, market: int) -> None:
    with reverts(book.UnknownMarket, market=market):
        book.marketTerms(market)


def test_book_times__of_a_session__are_notice_before_its_end_and_the_gate_closure(
    community: Community, book: Any
) -> None:
    start = community.open_session()
    assert tuple(book.bookTimes(1, start)) == (start + HOUR - NOTICE, start - 900)


def test_book_times__no_session__is_refused(community: Community, book: Any) -> None:
    start = community.open_session()
    with reverts(book.NotASession, sessionStart=start + 1):
        book.bookTimes(1, start + 1)


def test_book_times__before_the_first_session__is_refused(book: Any) -> None:
    start = TERMS.first_session_start - HOUR
    with reverts(book.NotASession, sessionStart=start):
        book.bookTimes(1, start)


def test_book_times__unknown_market__is_refused(book: Any) -> None:
    with reverts(book.UnknownMarket, market=9):
        book.bookTimes(9, TERMS.first_session_start)


# -------------------------------------------------------------------------------- connectClearing


@pytest.fixture
def unconnected(community: Community) -> Any:
    """An order book without clearing."""
    contracts, admin = community.chain.contracts, community.admin
    return project().OrderBook.deploy(
        admin.address, DAY, contracts.registry, contracts.ledger, sender=admin.account
    )


def test_connect_clearing__by_the_admin__connects_it(
    community: Community, unconnected: Any
) -> None:
    address = community.outsider.address
    receipt = community.send(unconnected.connectClearing, address, sender=community.admin)
    assert events(receipt) == [event(unconnected.ClearingConnected, clearing=address)]
    assert unconnected.clearing() == address


def test_connect_clearing__not_the_admin__is_refused(
    community: Community, unconnected: Any
) -> None:
    outsider = community.outsider
    with reverts(
        unconnected.AccessControlUnauthorizedAccount,
        account=outsider.address,
        neededRole=unconnected.DEFAULT_ADMIN_ROLE(),
    ):
        community.send(unconnected.connectClearing, outsider.address, sender=outsider)


def test_connect_clearing__nobody__is_refused(community: Community, unconnected: Any) -> None:
    with reverts(unconnected.AddressZero):
        community.send(unconnected.connectClearing, NOBODY, sender=community.admin)


def test_connect_clearing__twice__is_refused(community: Community, book: Any) -> None:
    with reverts(book.AlreadyConnected):
        community.send(book.connectClearing, community.admin.address, sender=community.admin)


@pytest.mark.parametrize(
    ("manager", "exclusive"),
    [
        pytest.param(NOBODY, 1, id="window without a manager"),
        pytest.param("0x" + "11" * 20, TERMS.clearing_window_seconds, id="window without an end"),
    ],
)
def test_create_market__nobody_could_step_in__is_refused(
    community: Community, book: Any, manager: str, exclusive: int
) -> None:
    with reverts(
        book.NobodyStepsIn,
        exclusiveWindowSeconds=exclusive,
        clearingWindowSeconds=TERMS.clearing_window_seconds,
    ):
        create(community, manager=manager, exclusive_window_seconds=exclusive)


def test_create_market__longest_exclusive_window__is_accepted(
    community: Community, book: Any
) -> None:
    window = TERMS.clearing_window_seconds - 1
    create(community, manager=community.solver.address, exclusive_window_seconds=window)
    assert book.marketTerms(3).exclusiveWindowSeconds == window
