"""Named cases: those of the project load; what is malformed is refused with its place."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from fairwatt.cases import Case, CasePeer, Generation, Load, names
from fairwatt.errors import CaseError
from fairwatt.market import Link, Side

if TYPE_CHECKING:
    from pathlib import Path

SMALL = """\
title = "Two peers"
source = "made up"
period_seconds = 900

[network]
nodes = ["a", "b"]
price_floor_micro_per_kwh = -5
price_cap_micro_per_kwh = 100
links = [{ from = "a", to = "b", tariff_micro_per_kwh = 3, capacity_wh = 50, owner = "DSO" }]

[tariff]
retail_micro_per_kwh = 90
feed_in_micro_per_kwh = -10

[[peers]]
name = "S"
role = "supplier"
node = "a"
community = 1
generation = { energy_wh = 40, cost_micro_per_kwh = 20, export_cost_micro_per_kwh = 3 }

[[peers]]
name = "K"
role = "consumer"
node = "b"
community = 2
load = { energy_wh = 30, limit_micro_per_kwh = 100 }

[published]
objective = "1.5"
generation_wh = { S = 30, K = 0 }
import_wh = { S = 0, K = 30 }
export_wh = { S = 30, K = 0 }
"""


def load(folder: Path, text: str) -> Case:
    (folder / "small").mkdir()
    (folder / "small" / "case.toml").write_text(text, encoding="utf-8")
    return Case.load("small", folder)


def test_names__of_the_project__are_the_folders_in_cases() -> None:
    assert {"five-peer-1", "five-peer-2"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_load__every_case_of_the_project__has_a_book(name: str) -> None:
    case = Case.load(name)
    assert case.name == name
    assert len(case.book()) > 0


def test_load__small_case__reads_every_field(tmp_path: Path) -> None:
    case = load(tmp_path, SMALL)
    assert (case.name, case.title, case.source) == ("small", "Two peers", "made up")
    assert case.period_seconds == 900
    assert case.network.nodes == ("a", "b")
    assert case.network.links == (Link("a", "b", 3, 50, "DSO"),)
    assert case.network.price_floor_micro_per_kwh == -5
    assert case.network.price_cap_micro_per_kwh == 100
    assert (case.retail_micro_per_kwh, case.feed_in_micro_per_kwh) == (90, -10)
    assert case.peers == (
        CasePeer("S", "supplier", "a", 1, generation=Generation(40, 20, 3)),
        CasePeer("K", "consumer", "b", 2, load=Load(30, 100)),
    )
    assert case.published is not None
    assert case.published.objective == Decimal("1.5")
    assert case.published.import_wh == {"S": 0, "K": 30}


def test_load__without_results_and_owner__leaves_them_out(tmp_path: Path) -> None:
    text = SMALL[: SMALL.index("[published]")].replace(', owner = "DSO"', "")
    case = load(tmp_path, text)
    assert case.published is None
    assert case.network.links[0].owner is None


def test_load__peer_that_generates_and_consumes__has_an_ask_and_a_bid(tmp_path: Path) -> None:
    text = SMALL.replace(
        "load = { energy_wh = 30",
        "generation = { energy_wh = 7, cost_micro_per_kwh = 9 }\nload = { energy_wh = 30",
    )
    book = load(tmp_path, text).book()
    assert [(order.id, order.side, order.price_micro_per_kwh) for order in book.orders] == [
        ("S/ask", Side.ASK, 20),
        ("K/ask", Side.ASK, 9),
        ("K/bid", Side.BID, 100),
    ]


# ------------------------------------------------------------------------------------- refused


def test_load__unknown_case__names_those_there_are(tmp_path: Path) -> None:
    load(tmp_path, SMALL)
    with pytest.raises(CaseError, match=r"no such case; cases are: small"):
        Case.load("large", tmp_path)


def test_load__folder_without_cases__says_none(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"cases are: none"):
        Case.load("small", tmp_path)


@pytest.mark.parametrize("content", [b"title = ", b"\xff\xfe", b"title = 'a'\ntitle = 'b'"])
def test_load__not_toml__is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "case.toml").write_bytes(content)
    with pytest.raises(CaseError, match=r"case\.toml: is not readable as TOML") as refusal:
        Case.load("small", tmp_path)
    assert refusal.value.path.endswith("case.toml")


S_GENERATION = "generation = { energy_wh = 40, cost_micro_per_kwh = 20,"
MALFORMED = {
    # what is changed -> into what, the place, the problem
    "no title": ('title = "Two peers"\n', "", "title", "is missing"),
    "empty title": ('"Two peers"', '" "', "title", "must not be empty"),
    "title is a number": ('"Two peers"', "2", "title", "must be a text, not 2"),
    "no source": ('source = "made up"\n', "", "source", "is missing"),
    "source is a number": ('"made up"', "7", "source", "must be a text, not 7"),
    "period is a text": ("= 900", '= "900"', "period_seconds", "must be a whole number, not '900'"),
    "period is a fraction": ("= 900", "= 900.0", "period_seconds", "must be a whole number"),
    "period is a truth": ("= 900", "= true", "period_seconds", "must be a whole number, not True"),
    "period is nothing": ("= 900", "= 0", "period_seconds", "must be 1 to 86400, not 0"),
    "unknown key": ("period_seconds", "color = 1\nperiod_seconds", "color", "is unknown"),
    "network is a list": (
        SMALL[SMALL.index("[network]") : SMALL.index("[tariff]")],
        "network = []\n",
        "network",
        "must be a table, not []",
    ),
    "nodes is a text": ('["a", "b"]', '"ab"', "network.nodes", "must be a list, not 'ab'"),
    "node is a number": ('["a", "b"]', '["a", 2]', "network.nodes[1]", "must be a text, not 2"),
    "node twice": ('["a", "b"]', '["a", "a"]', "network.nodes[1]", "'a' is there twice"),
    "node without name": ('["a", "b"]', '["a", ""]', "network.nodes[1]", "must not be empty"),
    "floor is a text": ("= -5", '= "-5"', "network.price_floor_micro_per_kwh", "whole number"),
    "floor above cap": ("= -5", "= 101", "network.priceFloorMicroPerKWh", "is above the cap"),
    "cap out of range": (
        "cap_micro_per_kwh = 100",
        "cap_micro_per_kwh = 2147483648",
        "network.price_cap_micro_per_kwh",
        "must be -2147483648 to 2147483647",
    ),
    "unknown key of the network": (
        "nodes =",
        "loss = 0\nnodes =",
        "network.loss",
        "is unknown",
    ),
    "link is a text": ("[{ from", '["a -> b", { from', "network.links[0]", "must be a table"),
    "link from nowhere": ('from = "a"', 'from = "z"', "network.links[0].from", "is not a node"),
    "link to itself": ('to = "b"', 'to = "a"', "network.links[0].to", "must not end where it"),
    "link without end": ('to = "b", ', "", "network.links[0].to", "is missing"),
    "negative tariff": (
        "tariff_micro_per_kwh = 3",
        "tariff_micro_per_kwh = -3",
        "network.links[0].tariff_micro_per_kwh",
        "must be 0 to 4294967295, not -3",
    ),
    "negative capacity": (
        "capacity_wh = 50",
        "capacity_wh = -1",
        "network.links[0].capacity_wh",
        "must be 0 to 1099511627775, not -1",
    ),
    "owner is a number": ('"DSO"', "3", "network.links[0].owner", "must be a text, not 3"),
    "unknown key of a link": (
        'owner = "DSO"',
        'owned = "DSO"',
        "network.links[0].owned",
        "is unknown",
    ),
    "no tariff": (
        SMALL[SMALL.index("[tariff]") : SMALL.index("[[peers]]")],
        "",
        "tariff",
        "is missing",
    ),
    "tariff is a text": ("= 90\n", '= "90"\n', "tariff.retail_micro_per_kwh", "whole number"),
    "unknown tariff": (
        "retail_micro",
        "night_micro = 1\nretail_micro",
        "tariff.night_micro",
        "is unknown",
    ),
    "peers is a table": (
        SMALL[SMALL.index("[[peers]]") : SMALL.index("[published]")],
        "[peers]\n",
        "peers",
        "must be a list",
    ),
    "peer without name": ('name = "S"\n', "", "peers[0].name", "is missing"),
    "peer twice": ('name = "K"', 'name = "S"', "peers[1].name", "'S' is there twice"),
    "unknown role": ('"consumer"', '"king"', "peers[1].role", "must be one of consumer, producer"),
    "peer on no node": ('node = "b"', 'node = "z"', "peers", "'z' is not a node of the network"),
    "community is a text": (
        "community = 2",
        'community = "2"',
        "peers[1].community",
        "whole number",
    ),
    "negative community": ("community = 2", "community = -2", "peers[1].community", "must be 0 to"),
    "unknown key of a peer": (
        "community = 2",
        "community = 2\nage = 9",
        "peers[1].age",
        "is unknown",
    ),
    "generation is a number": (
        "generation = { energy_wh = 40, cost_micro_per_kwh = 20, export_cost_micro_per_kwh = 3 }",
        "generation = 40",
        "peers[0].generation",
        "must be a table, not 40",
    ),
    "negative generation": (
        S_GENERATION,
        S_GENERATION.replace("40", "-40"),
        "peers[0].generation.energy_wh",
        "must be 0 to 1099511627775, not -40",
    ),
    "generation is a text": (
        S_GENERATION,
        S_GENERATION.replace("40", '"40"'),
        "peers[0].generation.energy_wh",
        "must be a whole number, not '40'",
    ),
    "generation without cost": (
        "cost_micro_per_kwh = 20, ",
        "",
        "peers[0].generation.cost_micro_per_kwh",
        "is missing",
    ),
    "unknown key of a generation": (
        "export_cost_micro_per_kwh",
        "export_micro_per_kwh",
        "peers[0].generation.export_micro_per_kwh",
        "is unknown",
    ),
    "cost above the cap": ("cost_micro_per_kwh = 20", "cost_micro_per_kwh = 200", "peers", "200"),
    "negative load": (
        "load = { energy_wh = 30",
        "load = { energy_wh = -30",
        "peers[1].load.energy_wh",
        "must be 0 to 1099511627775, not -30",
    ),
    "limit is a text": (
        "limit_micro_per_kwh = 100",
        'limit_micro_per_kwh = "100"',
        "peers[1].load.limit_micro_per_kwh",
        "must be a whole number, not '100'",
    ),
    "unknown key of a load": (
        "{ energy_wh = 30",
        "{ from = 1, energy_wh = 30",
        "peers[1].load.from",
        "is unknown",
    ),
    "objective is a number": ('"1.5"', "1.5", "published.objective", "must be a text, not 1.5"),
    "objective is no number": ('"1.5"', '"1,5"', "published.objective", "must be a number"),
    "result of a stranger": (
        "import_wh = { S = 0, K = 30 }",
        "import_wh = { S = 0, K = 30, Z = 1 }",
        "published.import_wh",
        "one entry for each peer",
    ),
    "result missing": (
        "import_wh = { S = 0, K = 30 }",
        "import_wh = { K = 30 }",
        "published.import_wh",
        "one entry for each peer",
    ),
    "negative result": (
        "import_wh = { S = 0, K = 30 }",
        "import_wh = { S = 0, K = -30 }",
        "published.import_wh.K",
        "must be 0 to",
    ),
    "unknown result": (
        'objective = "1.5"',
        'objective = "1.5"\nx = 1',
        "published.x",
        "is unknown",
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_load__malformed__is_refused_with_its_place(tmp_path: Path, what: str) -> None:
    old, new, place, problem = MALFORMED[what]
    assert old in SMALL
    with pytest.raises(CaseError) as refusal:
        load(tmp_path, SMALL.replace(old, new, 1))
    file = tmp_path / "small" / "case.toml"
    assert refusal.value.path == f"{file}: {place}"
    assert problem in refusal.value.problem
