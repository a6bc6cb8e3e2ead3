"""Data of the model: who generates, consumes and stores what, and what trades of pairs cost."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import numpy as np

from fairwatt.community import Generator, Load, Photovoltaic, Storage
from fairwatt.errors import CommunityError
from fairwatt.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from fairwatt.community import Community, Peer

    Array = NDArray[np.float64]

__all__ = ["ImportPrice", "Instance", "Member", "contracts"]

_ROLE: Final = {
    "consumer": "consumer",
    "producer": "producer",
    "supplier": "producer",  # the main grid
    "prosumer": "prosumer",
    "storage": "prosumer",
}


class ImportPrice(Enum):
    """What C_alpha, the price of an imported kWh in eq. 1, is; the paper gives no values."""

    SELLERS_COST = "seller's cost"
    """Cg of the seller: reproduces both results of the five-peer system exactly."""
    NOTHING = "nothing"
    """0: what is left of eq. 1 is what energy costs, generation once and export costs.

    Prosumers may then hand energy through within a community at no cost, so that only generation
    and net exports are determined.
    """


@dataclass(frozen=True, eq=False)
class Member:
    """A peer as the model knows it; series have shape (periods,).

    Parameters
    ----------
    name
        Unique in the instance.
    role
        "consumer", "producer" or "prosumer".
    community
        Its number.
    load_kwh
        L_n.
    most_kwh, least_kwh
        Bounds of P_n, eq. 2.
    cost_per_kwh
        Cg_n, token/kWh.
    storage
        Eq. 7; None without.
    """

    name: str
    role: str
    community: int
    load_kwh: Array
    most_kwh: Array
    least_kwh: Array
    cost_per_kwh: Array
    storage: Storage | None = None


@dataclass(frozen=True, eq=False)
class Instance:
    """All that eqs. 1-8 need.

    Parameters
    ----------
    hours
        Length of a period.
    members
        The peers, in the order of all arrays of shape (peers, ...).
    import_price_per_kwh
        C_alpha per allowed pair, token/kWh, shape (periods,). A pair is (seller, buyer), by index;
        the paper writes the buyer first.
    export_price_per_kwh
        C_beta of the same pairs.
    """

    hours: float
    members: tuple[Member, ...]
    import_price_per_kwh: Mapping[tuple[int, int], Array]
    export_price_per_kwh: Mapping[tuple[int, int], float]

    @property
    def periods(self) -> int:
        """Number of periods."""
        return self.members[0].load_kwh.size if self.members else 0

    def index(self, name: str) -> int:
        """Position of a peer."""
        return next(at for at, member in enumerate(self.members) if member.name == name)

    @classmethod
    def of(
        cls,
        community: Community,
        *,
        allowed: Collection[tuple[str, str]] | None = None,
        import_price: ImportPrice = ImportPrice.SELLERS_COST,
    ) -> Instance:
        """Take the data from a community; suppliers, fees and preferences do not count.

        Export prices follow the community rule: nothing within a community; what two communities
        have agreed upon, if the network has a link from one to the other (see `contracts`); the
        seller's own export cost otherwise.

        Parameters
        ----------
        allowed
            Pairs (seller, buyer) by name that may trade; None: all that their roles permit.

        Raises
        ------
        CommunityError
            If a peer has an asset, or two generators, which the paper does not know; or if an
            allowed pair names a stranger.
        """
        members = tuple(_member(peer, community) for peer in community.peers)
        if allowed is None:
            sellers = [at for at, member in enumerate(members) if member.role != "consumer"]
            buyers = [at for at, member in enumerate(members) if member.role != "producer"]
            pairs = [(s, b) for s in sellers for b in buyers if s != b]
        else:
            pairs = [(_named(community, s), _named(community, b)) for s, b in allowed]
        agreed = contracts(community)

        def export_price(seller: int, buyer: int) -> float:
            ends = members[seller].community, members[buyer].community
            if ends[0] == ends[1]:
                return 0.0
            return agreed.get(ends, community.peers[seller].export_cost_per_kwh)

        free = np.zeros(community.horizon.periods)
        costly = import_price is ImportPrice.SELLERS_COST
        return cls(
            community.horizon.hours,
            members,
            {(s, b): members[s].cost_per_kwh if costly else free for s, b in pairs},
            {(s, b): export_price(s, b) for s, b in pairs},
        )


def contracts(community: Community) -> dict[tuple[int, int], float]:
    """Export prices that two communities have agreed upon, token/kWh.

    "Different export costs are handled between communities" (section 3): where the network links a
    node of one community's peers directly to one of another's, that link's tariff, the lowest if
    there are several, is the price from the first to the second, whoever sells. Nodes shared by
    communities have no part in it.
    """
    at: dict[str, set[int]] = defaultdict(set)
    for peer in community.peers:
        at[peer.node].add(peer.community)
    agreed: dict[tuple[int, int], float] = {}
    for link in community.network.links:
        source, target = at[link.source], at[link.target]
        if len(source) == len(target) == 1 and source != target:
            ends = min(source), min(target)
            tariff = link.tariff_micro_per_kwh / MICRO
            agreed[ends] = min(tariff, agreed.get(ends, tariff))
    return agreed


def _named(community: Community, name: str) -> int:
    try:
        return community.index(name)
    except KeyError:
        raise CommunityError("allowed", f"there is no peer {name!r}") from None


def _member(peer: Peer, community: Community) -> Member:
    periods, hours = community.horizon.periods, community.horizon.hours
    load, most, least, cost = np.zeros((4, periods))
    place, storage, generators = f"peers[{peer.name!r}]", None, 0
    for asset in peer.assets:
        match asset:
            case Load():
                load = load + asset.over("energy_kwh", periods)
            case Generator(quadratic_cost_per_kwh2=0.0):
                most = hours * asset.over("power_kw", periods)
                least = hours * asset.over("least_power_kw", periods)
                cost = asset.over("cost_per_kwh", periods)
                generators += 1
            case Photovoltaic():
                most = asset.over("energy_kwh", periods)
                generators += 1
            case Storage() if storage is None:
                storage = asset
            case _:
                raise CommunityError(
                    f"{place}.{asset.kind}", "is not in the model of Moreno et al. 2021"
                )
    role = _ROLE[peer.role]
    if generators > 1:
        raise CommunityError(
            place, "has two generators; the model of Moreno et al. 2021 knows one P_n per peer"
        )
    if role == "consumer" and (generators or storage):
        raise CommunityError(
            f"{place}.role", "a consumer neither generates nor stores; make it a prosumer"
        )
    return Member(peer.name, role, peer.community, load, most, least, cost, storage)
