"""Energies as words: what goes round, what does not fit, and how positions are hashed."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from fairwatt.errors import LaneError
from fairwatt.lanes import (
    MAX_ENERGY_WH,
    pack_energies,
    position_leaf,
    position_leaves,
    positions_hash,
    unpack_energies,
    words_of,
)

energies = st.lists(st.integers(-MAX_ENERGY_WH, MAX_ENERGY_WH), max_size=40).map(tuple)


@given(energies)
def test_any_energies_go_round(energy_wh: tuple[int, ...]) -> None:
    words = pack_energies(energy_wh)
    assert len(words) == 32 * words_of(len(energy_wh))
    assert unpack_energies(words, len(energy_wh)) == energy_wh


def test_first_period_is_the_most_significant_lane() -> None:
    words = pack_energies((1, -1, 0, 0, 0, 0, 0, MAX_ENERGY_WH, -MAX_ENERGY_WH))
    assert words.hex() == "0000000200000003" + "0" * 40 + "fffffffe" + "ffffffff" + "0" * 56


@pytest.mark.parametrize("energy", [MAX_ENERGY_WH + 1, -MAX_ENERGY_WH - 1])
def test_energy_that_does_not_fit_is_refused(energy: int) -> None:
    with pytest.raises(LaneError, match="in period 1 do not fit"):
        pack_energies((0, energy))


@pytest.mark.parametrize(
    ("words", "periods", "problem"),
    [
        (b"", 1, "1 periods take 32 bytes, not 0"),
        (bytes(64), 8, "8 periods take 32 bytes, not 64"),
        (bytes(31), 8, "not 31"),
        (bytes(4) + b"\1" + bytes(27), 1, "beyond the 1 periods"),
        (bytes(7) + b"\1" + bytes(24), 2, "zero of period 1 is negative"),
    ],
)
def test_words_that_are_no_energies_are_refused(words: bytes, periods: int, problem: str) -> None:
    with pytest.raises(LaneError, match=problem):
        unpack_energies(words, periods)


def test_leaf_is_the_peer_and_the_upper_bits_of_the_hash() -> None:
    leaf = position_leaf(7, (5, -5))
    assert leaf == b"\0\0\0\7" + keccak(pack_energies((5, -5)))[:28]


def test_positions_are_hashed_in_order_of_the_peers() -> None:
    positions = {9: (1,), 2: (-1,)}
    first, second = position_leaf(2, (-1,)), position_leaf(9, (1,))
    assert position_leaves(positions) == (first, second)
    chain = keccak(keccak(bytes(32) + first) + second)
    assert positions_hash(position_leaves(positions)) == chain


def test_no_positions_are_not_the_hash_of_a_session_that_is_not_cleared() -> None:
    assert positions_hash(()) == (1).to_bytes(32, "big")
