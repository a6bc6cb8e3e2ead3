"""`Settlement.clear`: what it does, then one deviation per requirement C1 to C7."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.community import C2, C3, ask, bid

from fairwatt.chain import Role

if TYPE_CHECKING:
    from tests.community import Community


def test_clear__two_communities__pays_everybody_at_node_prices(community: Community) -> None:
    seller = community.admit(Role.PRODUCER, C2)
    buyer = community.admit(Role.CONSUMER, C3, tokens=1)
    orders = [
        community.sign(seller, ask(50_000, 2_000)),
        community.sign(buyer, bid(100_000, 1_000)),
    ]
    proposal = community.propose(*orders)
    community.clear(proposal)
    assert community.balance(seller) == 50_000 * 1_000
    assert community.balance(buyer) == 10**9 - 71_600 * 1_000
    assert community.balance(community.operator) == 21_600 * 1_000
