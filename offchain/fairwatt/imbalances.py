"""What readings come to beside positions, at a supplier's tariffs, as `Imbalances.sol` has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Imbalance", "Tariff", "estimate_imbalance", "settle_reading"]


@dataclass(frozen=True, slots=True)
class Tariff:
    """A supplier's prices from `effective_from` (UTC Unix seconds) on, micro-token/kWh."""

    effective_from: int
    retail_micro_per_kwh: int
    feed_in_micro_per_kwh: int


@dataclass(frozen=True, slots=True)
class Imbalance:
    """A reading, or an estimate, against its position.

    Attributes
    ----------
    energy_wh
        Per period: metered, or estimated, minus position.
    payment_nano
        What the peer receives from its supplier (positive) or owes it (negative), less what an
        earlier estimate settled; nano-token.
    estimated
        Whether the reading is missing.
    """

    peer: int
    energy_wh: tuple[int, ...]
    payment_nano: int
    estimated: bool = False


def settle_reading(
    peer: int,
    metered_wh: Sequence[int],
    position_wh: Sequence[int],
    tariffs: Sequence[Tariff],
    *,
    estimated_before: bool = False,
) -> Imbalance:
    """What a reading comes to, as `Settlement` of the contracts settles it (S1 to S5).

    What exceeds the position is bought by the supplier at its feed-in tariff, what is short is
    sold at its retail tariff; each period by itself.

    Parameters
    ----------
    metered_wh
        Per period: injected positive, taken negative.
    position_wh
        Per period: sold positive, bought negative.
    tariffs
        Per period: the supplier's in force when it starts.
    estimated_before
        Whether an estimate was settled while the reading was missing; it is taken off.
    """
    energy = tuple(wh - sold for wh, sold in zip(metered_wh, position_wh, strict=True))
    payment = _imbalance_nano(energy, tariffs)
    if estimated_before:
        payment -= estimate_imbalance(peer, position_wh, tariffs).payment_nano
    return Imbalance(peer, energy, payment)


def estimate_imbalance(
    peer: int, position_wh: Sequence[int], tariffs: Sequence[Tariff]
) -> Imbalance:
    """What a missing reading comes to: what was bought was taken, what was sold not delivered.

    It is never a gain, not even where a retail tariff is negative. Parameters as those of
    `settle_reading`.
    """
    energy = tuple(min(wh, 0) - wh for wh in position_wh)
    return Imbalance(peer, energy, min(_imbalance_nano(energy, tariffs), 0), estimated=True)


def _imbalance_nano(energy_wh: Sequence[int], tariffs: Sequence[Tariff]) -> int:
    return sum(
        wh * (tariff.feed_in_micro_per_kwh if wh > 0 else tariff.retail_micro_per_kwh)
        for wh, tariff in zip(energy_wh, tariffs, strict=True)
    )
