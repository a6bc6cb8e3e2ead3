"""Fixtures for everything that needs a chain. Each test starts from the same founded community."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ape
import pytest
from hypothesis import settings

from fairwatt.chain import connect
from tests.community import Community

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _short_ways() -> Iterator[None]:
    from tests.embedded import short_ways  # noqa: PLC0415 (web3 warns when it is imported)

    with short_ways():
        yield


@pytest.fixture(scope="session")
def founded() -> Iterator[Community]:
    with connect("ethereum:local:test"):
        yield Community.found()


@pytest.fixture
def community(founded: Community) -> Iterator[Community]:
    """A fresh copy of the founded community; after the test its tokens must add up."""
    snapshot = ape.chain.snapshot()
    wallets = founded._wallets
    yield founded
    founded.require_conservation()
    founded._wallets = wallets
    ape.chain.restore(snapshot)
