"""`PeerRegistry.publishTariffs` and `tariffsFor`: a supplier's prices, each for its time (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import FEED_IN, HOUR, NOTICE, RETAIL, Community, Member
from tests.contracts.registry import change_wallet, new_wallet, publish_tariffs
from tests.outcomes import NO_SUCH_INDEX, PANIC, event, events, reverts

from fairwatt.chain import Role

if TYPE_CHECKING:
    from typing import Any

QUARTER = SPACING = 900


@pytest.fixture
def registry(community: Community) -> Any:
    return community.chain.contracts.registry


@pytest.fixture
def supplier(community: Community) -> Member:
    """A supplier without tariffs."""
    return community.admit(Role.SUPPLIER)


# --------------------------------------------------------------------------------- publishTariffs


def test_publish_tariffs__first__may_be_in_force_at_once(
    community: Community, registry: Any, supplier: Member
) -> None:
    now = community.now()
    receipt = publish_tariffs(community, supplier, (now, 30, -20))
    assert events(receipt) == [
        event(
            registry.TariffsPublished,
            supplier=supplier.peer,
            firstIndex=0,
            tariffs=[(now, 30, -20)],
        )
    ]
    assert registry.tariffCount(supplier.peer) == 1
    assert tuple(registry.tariff(supplier.peer, 0)) == (now, 30, -20)


def test_publish_tariffs__several__follow_those_published(
    community: Community, registry: Any
) -> None:
    since = community.now() + NOTICE + 1
    tariffs = [(since + at * SPACING, 30 + at, 20) for at in range(3)]
    receipt = publish_tariffs(community, community.supplier, *tariffs)
    assert events(receipt) == [
        event(registry.TariffsPublished, supplier=1, firstIndex=1, tariffs=tariffs)
    ]
    assert [tuple(registry.tariff(1, at)) for at in range(1, 4)] == tariffs


def test_publish_tariffs__feed_in_at_retail__is_accepted(
    community: Community, registry: Any, supplier: Member
) -> None:
    publish_tariffs(community, supplier, (community.now(), 20, 20))
    assert registry.tariffCount(supplier.peer) == 1


def test_publish_tariffs__not_a_peer__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.NotThePeer, caller=community.admin.address):
        community.send(registry.publishTariffs, [(community.now(), 2, 1)], sender=community.admin)


def test_publish_tariffs__by_a_wallet_not_in_force_yet__is_refused(
    community: Community, registry: Any, supplier: Member
) -> None:
    change_wallet(community, supplier, new_wallet())
    with reverts(registry.NotThePeer, caller=new_wallet().address):
        community.send(registry.publishTariffs, [(community.now(), 2, 1)], sender=new_wallet())


def test_publish_tariffs__not_a_supplier__is_refused(community: Community, registry: Any) -> None:
    consumer = community.admit(Role.CONSUMER)
    with reverts(registry.NotASupplier, peer=consumer.peer):
        publish_tariffs(community, consumer, (community.now(), 2, 1))


def test_publish_tariffs__none__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.NothingPublished):
        publish_tariffs(community, community.supplier)


def test_publish_tariffs__feed_in_above_retail__is_refused(
    community: Community, registry: Any, supplier: Member
) -> None:
    with reverts(registry.TariffInverted, retailMicroPerKWh=20, feedInMicroPerKWh=21):
        publish_tariffs(community, supplier, (community.now(), 20, 21))


def test_publish_tariffs__first_in_the_past__is_refused(
    community: Community, registry: Any, supplier: Member
) -> None:
    now = community.now()
    with reverts(registry.EffectiveTooEarly, effectiveFrom=now - 1, earliest=now):
        publish_tariffs(community, supplier, (now - 1, 2, 1))


def test_publish_tariffs__next_within_the_notice__is_refused(
    community: Community, registry: Any
) -> None:
    now = community.now()
    with reverts(registry.EffectiveTooEarly, effectiveFrom=now + NOTICE, earliest=now + NOTICE + 1):
        publish_tariffs(community, community.supplier, (now + NOTICE, 2, 1))


def test_publish_tariffs__second_together_with_the_first__needs_the_notice(
    community: Community, registry: Any, supplier: Member
) -> None:
    now = community.now()
    with reverts(registry.EffectiveTooEarly, effectiveFrom=now + HOUR, earliest=now + NOTICE + 1):
        publish_tariffs(community, supplier, (now, 2, 1), (now + HOUR, 3, 1))


def test_publish_tariffs__within_the_spacing__is_refused(
    community: Community, registry: Any
) -> None:
    since = community.now() + NOTICE + HOUR
    with reverts(
        registry.EffectiveTooEarly,
        effectiveFrom=since + SPACING - 1,
        earliest=since + SPACING,
    ):
        publish_tariffs(community, community.supplier, (since, 2, 1), (since + SPACING - 1, 3, 1))


def test_publish_tariffs__before_the_one_ahead__is_refused(
    community: Community, registry: Any
) -> None:
    since = community.now() + NOTICE + HOUR
    publish_tariffs(community, community.supplier, (since, 2, 1))
    early = community.now() + NOTICE + 1
    with reverts(registry.EffectiveTooEarly, effectiveFrom=early, earliest=since + SPACING):
        publish_tariffs(community, community.supplier, (early, 3, 1))


def test_tariff__unknown__is_refused(registry: Any) -> None:
    with reverts(PANIC, code=NO_SUCH_INDEX):
        registry.tariff(1, 1)


# ------------------------------------------------------------------------------------- tariffsFor


@pytest.fixture
def start(community: Community) -> int:
    """Start of an hour in whose quarters the supplier's tariffs 0, 1, 1 and 3 are in force.

    Tariff 1 starts with the second quarter, 2 within the third, and 3 with the fourth.
    """
    start = community.now() + NOTICE + HOUR
    tariffs = ((QUARTER, 11, 1), (2 * QUARTER + 1, 12, 2), (3 * QUARTER + 1, 13, 3))
    publish_tariffs(
        community,
        community.supplier,
        *((start + since, retail, feed_in) for since, retail, feed_in in tariffs),
    )
    return start


def prices(tariffs: Any) -> list[tuple[int, int]]:
    return [(tariff.retailMicroPerKWh, tariff.feedInMicroPerKWh) for tariff in tariffs]


def test_tariffs_for__one_tariff__holds_for_every_period(
    community: Community, registry: Any
) -> None:
    tariffs = registry.tariffsFor(1, 0, community.now(), QUARTER, 4)
    assert prices(tariffs) == [(RETAIL, FEED_IN)] * 4


def test_tariffs_for__several_within_the_session__are_those_in_force_at_each_start(
    registry: Any, start: int
) -> None:
    tariffs = registry.tariffsFor(1, 0, start, QUARTER, 5)
    assert prices(tariffs) == [(RETAIL, FEED_IN), (11, 1), (11, 1), (12, 2), (13, 3)]


def test_tariffs_for__several_within_one_period__is_the_last(registry: Any, start: int) -> None:
    tariffs = registry.tariffsFor(1, 0, start, 2 * HOUR, 2)
    assert prices(tariffs) == [(RETAIL, FEED_IN), (13, 3)]


def test_tariffs_for__start_within_the_last_tariff__needs_its_index(
    registry: Any, start: int
) -> None:
    tariffs = registry.tariffsFor(1, 3, start + HOUR, QUARTER, 2)
    assert prices(tariffs) == [(13, 3)] * 2


def test_tariffs_for__index_too_early__is_refused(registry: Any, start: int) -> None:
    time = start + QUARTER
    assert prices(registry.tariffsFor(1, 0, time - 1, QUARTER, 1)) == [(RETAIL, FEED_IN)]
    with reverts(registry.TariffNotInForce, supplier=1, index=0, time=time):
        registry.tariffsFor(1, 0, time, QUARTER, 1)


def test_tariffs_for__index_too_late__is_refused(registry: Any, start: int) -> None:
    time = start + QUARTER
    assert prices(registry.tariffsFor(1, 1, time, QUARTER, 1)) == [(11, 1)]
    with reverts(registry.TariffNotInForce, supplier=1, index=1, time=time - 1):
        registry.tariffsFor(1, 1, time - 1, QUARTER, 1)


def test_tariffs_for__unknown_index__is_refused(community: Community, registry: Any) -> None:
    now = community.now()
    with reverts(registry.TariffNotInForce, supplier=1, index=1, time=now):
        registry.tariffsFor(1, 1, now, QUARTER, 1)


def test_tariffs_for__before_the_first_tariff__is_refused(registry: Any) -> None:
    first = registry.tariff(1, 0).effectiveFrom
    with reverts(registry.TariffNotInForce, supplier=1, index=0, time=first - 1):
        registry.tariffsFor(1, 0, first - 1, QUARTER, 1)


def test_tariffs_for__not_a_supplier__is_refused(community: Community, registry: Any) -> None:
    now = community.now()
    with reverts(registry.TariffNotInForce, supplier=2, index=0, time=now):
        registry.tariffsFor(2, 0, now, QUARTER, 1)
