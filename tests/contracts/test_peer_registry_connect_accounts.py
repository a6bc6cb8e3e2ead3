"""`PeerRegistry.connectAccounts`: once, by the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.community import DAY, NOTICE
from tests.contracts.registry import NOBODY
from tests.outcomes import event, events, reverts

from fairwatt.chain import project

if TYPE_CHECKING:
    from typing import Any

    from tests.community import Community


@pytest.fixture
def registry(community: Community) -> Any:
    """A registry without accounts."""
    admin = community.admin
    return project().PeerRegistry.deploy(admin.address, DAY, NOTICE, sender=admin.account)


def test_connect_accounts__by_the_admin__connects_them(community: Community, registry: Any) -> None:
    ledger = community.chain.contracts.ledger
    receipt = community.send(registry.connectAccounts, ledger, sender=community.admin)
    assert events(receipt) == [event(registry.AccountsConnected, accounts=ledger.address)]
    assert registry.accounts() == ledger.address


def test_connect_accounts__not_the_admin__is_refused(community: Community, registry: Any) -> None:
    with reverts(
        registry.AccessControlUnauthorizedAccount,
        account=community.registrar.address,
        neededRole=registry.DEFAULT_ADMIN_ROLE(),
    ):
        community.send(
            registry.connectAccounts, community.chain.contracts.ledger, sender=community.registrar
        )


def test_connect_accounts__no_accounts__is_refused(community: Community, registry: Any) -> None:
    with reverts(registry.AddressZero):
        community.send(registry.connectAccounts, NOBODY, sender=community.admin)


def test_connect_accounts__twice__is_refused(community: Community) -> None:
    contracts = community.chain.contracts
    with reverts(contracts.registry.AlreadyConnected):
        community.send(
            contracts.registry.connectAccounts, community.outsider.address, sender=community.admin
        )
