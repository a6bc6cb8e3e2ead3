"""The file that says what is wrong with the meters of a run."""

from __future__ import annotations

import pytest
from tests.community import QUARTERS, TERMS

from fairwatt.eip712 import Domain
from fairwatt.errors import CaseError
from fairwatt.fleet import Again, Fleet, Late, Outage, Replay, Scale, meter_key
from fairwatt.pilot._faults import Faults

NAMES = ["Ana", "Bo", "Cy"]
TEXT = """
seed = 3
[[faults]]
kind = "outage"
share = 0.34
days = [2]
[[faults]]
kind = "late"
hours = 30
spread_hours = 0.5
peers = ["Bo"]
[[faults]]
kind = "scale"
factor = 10
peers = ["Bo"]
"""


def test_give__days_and_peers__behave_as_the_file_says() -> None:
    faults = Faults.read(TEXT, NAMES)
    numbers = {name: at for at, name in enumerate(NAMES, 1)}
    given = []
    for day in range(3):
        keys = {peer: meter_key(peer) for peer in numbers.values()}
        fleet = Fleet(Domain(1, "0x" + "5" * 40), QUARTERS, TERMS, keys, seed=faults.seed)
        faults.give(fleet, day, numbers)
        given.append(fleet.behaviours)
    always = (Late(30 * 3600, 1800), Scale(10))
    assert given[0] == given[2] == {numbers["Bo"]: always}
    struck = [peer for peer, each in given[1].items() if Outage() in each]
    assert len(struck) == 1
    assert faults.exaggeration == 10


def test_give__replay__again_or_of_an_earlier_day() -> None:
    text = "[[faults]]\nkind = 'replay'\npeers = ['Bo']\ndays = [1]\n"
    text += "[[faults]]\nkind = 'replay'\nearlier = true\npeers = ['Cy']\ndays = [2]\n"
    faults = Faults.read(text, NAMES)
    numbers = {name: at for at, name in enumerate(NAMES, 1)}
    for day, given in ((0, {2: (Again(),)}), (1, {3: (Replay(relabelled=True),)})):
        fleet = Fleet(Domain(1, "0x" + "5" * 40), QUARTERS, TERMS, {})
        faults.give(fleet, day, numbers)
        assert fleet.behaviours == given
        assert faults.replays_old(day) is (day == 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 1", "names none"),
        ("[[faults]]\nkind = 'flood'\nshare = 1", "must be one of noise, outage, late"),
        ("[[faults]]\nkind = 'outage'", "say either peers or share"),
        ("[[faults]]\nkind = 'outage'\nshare = 1\npeers = ['Bo']", "say either peers or share"),
        ("[[faults]]\nkind = 'outage'\npeers = ['Di']", "must be one of Ana, Bo, Cy"),
        ("[[faults]]\nkind = 'outage'\nshare = 1\ndays = [0]", "the first is 1"),
        (
            "[[faults]]\nkind = 'outage'\nshare = 1\ndays = [2, 4]",
            "last day of the run is 3, not 4",
        ),
        ("[[faults]]\nkind = 'outage'\nshare = 1\nfirst_period = 5\nend_period = 3", "after first"),
        ("[[faults]]\nkind = 'late'\nshare = 1\nhour = 3", "hours"),
        ("[[faults]]\nkind = 'replay'\nshare = 1\nearlier = 1", "must be true or false, not 1"),
        ("[[faults]]\nkind = 'noise'\nshare = 1\ndeviation = 0.1\nday = 3", "did you mean 'days'"),
    ],
)
def test_read__what_cannot_be__says_so(text: str, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        Faults.read(text, NAMES, days=3)
