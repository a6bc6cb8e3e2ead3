"""Simulated meters: each behaviour does what it says, and the same seed tells the same story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fairwatt.eip712 import Domain
from fairwatt.errors import SignatureError
from fairwatt.fleet import (
    Again,
    Fleet,
    Late,
    Noise,
    OtherKey,
    Outage,
    Replay,
    Scale,
    UnderReport,
    WrongUnit,
    meter_key,
)
from tests.community import DAY, HOUR, QUARTERS, TERMS

if TYPE_CHECKING:
    from fairwatt.fleet import Behaviour

DOMAIN = Domain(31337, "0x" + "5" * 40)
START = TERMS.first_session_start
TRUE = {1: (-1_000, 2_000, -3_000, 0), 2: (-400, -400, -400, -400)}


def fleet(*behaviours: Behaviour, seed: int = 7, p256: bool = False) -> Fleet:
    keys = {peer: meter_key(peer, p256=p256) for peer in TRUE}
    made = Fleet(DOMAIN, QUARTERS, TERMS, keys, seed=seed)
    made.give(*behaviours, peers=[1])
    return made


def energies(*behaviours: Behaviour) -> tuple[int, ...]:
    signed = fleet(*behaviours).session(START, TRUE)[0].signed
    assert signed is not None
    return signed.reading.energy_wh


@pytest.mark.parametrize("p256", [False, True])
def test_session__honest_meters__sign_what_flowed_a_minute_after_the_end(p256: bool) -> None:
    arrivals = fleet(p256=p256).session(START, TRUE)

    assert [arrival.peer for arrival in arrivals] == [1, 2]
    for arrival in arrivals:
        assert arrival.signed is not None
        assert arrival.signed.reading.energy_wh == TRUE[arrival.peer]
        assert arrival.signed.signer(DOMAIN) == meter_key(arrival.peer, p256=p256).address
        assert arrival.arrives_at == TERMS.session_end(START) + 60


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Scale(), (-10_000, 20_000, -30_000, 0)),
        (WrongUnit(), (-1, 2, -3, 0)),
        (UnderReport(0.5), (-500, 2_000, -1_500, 0)),
    ],
)
def test_session__faulty_or_dishonest_meter__signs_other_values(
    behaviour: Behaviour, expected: tuple[int, ...]
) -> None:
    assert energies(behaviour) == expected
    assert energies(behaviour, Scale(2)) == tuple(2 * wh for wh in expected)  # one by one


def test_session__noise__is_small_and_the_same_for_the_same_seed() -> None:
    noisy = energies(Noise(0.02))

    assert noisy == energies(Noise(0.02)) != TRUE[1]
    assert all(abs(wh - true) <= 0.1 * abs(true) for wh, true in zip(noisy, TRUE[1], strict=True))
    other = fleet(Noise(0.02), seed=8).session(START, TRUE)[0].signed
    assert other is not None
    assert other.reading.energy_wh != noisy
    # Chance belongs to peer and session: who else is asked, and when, changes nothing.
    alone = fleet(Noise(0.02)).session(START, {1: TRUE[1]})[0].signed
    assert alone is not None
    assert alone.reading.energy_wh == noisy


def test_session__outage__nothing_is_signed_and_the_missing_periods_are_told() -> None:
    first, second = fleet(Outage()), fleet(Outage(1, 3))

    assert first.session(START, TRUE)[0].signed is None
    arrival = second.session(START, TRUE)[0]
    assert (arrival.signed, arrival.missing) == (None, (1, 2))


def test_session__late__comes_last() -> None:
    made = fleet(Late(DAY, spread_seconds=HOUR))

    last = made.session(START, TRUE)[-1]

    assert last.peer == 1
    assert DAY <= last.arrives_at - TERMS.session_end(START) - 60 <= DAY + HOUR


def test_session__replay__sends_yesterdays_reading_under_its_date_or_todays() -> None:
    after = START + TERMS.session_seconds
    for relabelled, date in ((False, START), (True, after)):
        made = fleet()
        yesterday = made.session(START, TRUE)[0].signed
        made.give(Replay(relabelled), peers=[1])
        again = made.session(after, {1: (-9, -9, -9, -9)})[0].signed
        assert yesterday is not None
        assert again is not None
        assert again.reading.session_start == date
        assert again.reading.energy_wh == TRUE[1]
        assert again.signature == yesterday.signature
        assert (again.signer(DOMAIN) == meter_key(1).address) is not relabelled


def test_session__replay_of_what_another_fleet_sent__is_old() -> None:
    yesterday = fleet().session(START, TRUE)[0].signed
    assert yesterday is not None
    made = fleet(Replay(relabelled=True))
    assert not made.session(START, TRUE)[0].is_old  # there was none before
    made = fleet(Replay(relabelled=True))
    made.sent[1] = yesterday
    again = made.session(START + TERMS.session_seconds, TRUE)[0]
    assert again.signed is not None
    assert (again.is_old, again.signed.signature) == (True, yesterday.signature)


def test_session__again__comes_twice_as_it_is() -> None:
    first, other, second = fleet(Again(HOUR)).session(START, TRUE)

    assert (first.peer, other.peer, second.peer) == (1, 2, 1)
    assert second.signed == first.signed is not None
    assert second.arrives_at - first.arrives_at == HOUR
    assert [each.is_again for each in (first, other, second)] == [False, False, True]
    assert len(fleet(Again(), Outage()).session(START, TRUE)) == 2


def test_session__anothers_key__is_not_the_meters() -> None:
    signed = fleet(OtherKey(meter_key(2))).session(START, TRUE)[0].signed

    assert signed is not None
    assert signed.signer(DOMAIN) == meter_key(2).address


def test_some__a_third__is_the_same_third_again() -> None:
    made = Fleet(DOMAIN, QUARTERS, TERMS, {peer: meter_key(peer) for peer in range(1, 31)}, seed=3)

    third = made.some(1 / 3)

    assert len(third) == 10
    assert third == made.some(1 / 3) == sorted(set(third))
    assert third != Fleet(DOMAIN, QUARTERS, TERMS, made.keys, seed=4).some(1 / 3)


def test_meter_key__p256_signature_of_anothers_message__is_refused() -> None:
    made = fleet(p256=True)
    made.session(START, TRUE)
    made.give(Replay(relabelled=True), peers=[1])

    signed = made.session(START + TERMS.session_seconds, TRUE)[0].signed

    assert signed is not None
    with pytest.raises(SignatureError, match="not the signature of its key"):
        signed.signer(DOMAIN)
