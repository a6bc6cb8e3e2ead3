"""Pictures of clearings: they say what the clearing says, and are the same every time."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Text

from fairwatt.cases import Case
from fairwatt.errors import (
    FairwattError,
    FillCountMismatch,
    FlowCountMismatch,
    NegativeQuantity,
    PriceCountMismatch,
)
from fairwatt.market import Book, Clearing, LimitOrder, Link, Network, Side, clear
from fairwatt.pilot._results import PeerResult
from fairwatt.plot import MAX_NODES, Panel, _network, draw_clearings, draw_run
from tests.market.shorthand import ask, bid, book, network
from tests.named_books import NAMED_BOOKS

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


def panel(book: Book, title: str = "A market") -> Panel:
    return Panel(title, book, clear(book))


def five_peers() -> list[Panel]:
    cases = [Case.load(name) for name in ("five-peer-1", "five-peer-2")]
    return [panel(case.book(), case.title) for case in cases]


def drawn(path: Path, *panels: Panel) -> ET.Element:
    draw_clearings(panels, path)
    return ET.fromstring(path.read_bytes())


def texts(picture: ET.Element) -> list[str]:
    return ["".join(element.itertext()).strip() for element in picture.iter(f"{SVG}text")]


def dashed(path: Path) -> int:
    return len(re.findall("stroke-dasharray", path.read_text(encoding="utf-8")))


def test_draw_clearings__png__is_a_legible_picture(tmp_path):
    path = tmp_path / "five.png"
    draw_clearings(five_peers(), path)
    pixels = imread(path)
    assert 1400 <= pixels.shape[1] <= 2400
    assert len({tuple(pixel) for pixel in pixels[::3, ::3].reshape(-1, pixels.shape[2])}) > 20
    assert (pixels[:3] == 1).all()  # nothing runs over the edge
    assert (pixels[:, -3:] == 1).all()


def test_draw_clearings__svg_of_five_peers__says_what_the_clearings_say(tmp_path):
    said = texts(drawn(tmp_path / "five.svg", *five_peers()))
    for title in ("Five peers, case I: one sales price", "Five peers, case II: communities"):
        assert title in said
    for node in ("hub", "grid", "p3", "p5", "c1", "c2", "c3"):
        assert said.count(node) == 1
    prices = ("0.0754", "0.07778", "0.0538", "0.0500", "0.07488", "0.0480", "0.0696")
    for price in prices:
        assert said.count(f"{price} token/kWh") == 1
    # flows of case I (p3 and p5 to the hub) and of case II (c2 to c3), each with its tariff
    assert [text for text in said if re.fullmatch(r"[\d.]+ k?Wh", text)] == [
        "40 kWh",
        "200 kWh",
        "60 kWh",
    ]
    assert said.count("tariff 0.0216") == 2  # out of p3, and from c2 to c3
    assert said.count("tariff 0.0254") == 1


def test_draw_clearings__own_use__is_told_apart_from_trade(tmp_path):
    said = texts(drawn(tmp_path / "five.svg", *five_peers()))
    assert said.count("↺ 50 kWh") == 2  # P3 in both cases
    assert said.count("↺ 20 kWh") == 2  # P5
    assert said.count("▲ 200 kWh") == 1
    assert said.count("▲ 180 kWh") == 1
    assert said.count("▼ 140 kWh") == 2
    assert said.count("no trade") == 2  # the supplier


def test_draw_clearings__svg_twice__has_the_same_bytes(tmp_path):
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for picture in pictures:
        draw_clearings(five_peers(), picture)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_draw_clearings__caller_has_settings__neither_heeds_nor_changes_them(tmp_path):
    draw_clearings(five_peers(), tmp_path / "a.svg")
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "text.color": "red"}):
        before = dict(mpl.rcParams)
        draw_clearings(five_peers(), tmp_path / "b.svg")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_draw_clearings__in_a_fresh_process__leaves_pyplot_and_backend_alone(tmp_path):
    program = (
        "import sys, pathlib, matplotlib\n"
        "from fairwatt.market import Book, Clearing, Network\n"
        "from fairwatt.plot import Panel, draw_clearings\n"
        "before = dict.__getitem__(matplotlib.rcParams, 'backend')\n"
        "book = Book.of(Network(('a',), (), 0, 9), [])\n"
        "draw_clearings([Panel('t', book, Clearing([], [], [4]))], pathlib.Path(sys.argv[1]))\n"
        "assert dict.__getitem__(matplotlib.rcParams, 'backend') is before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.png")], check=True)


def test_draw_clearings__link_full__is_dashed_and_says_so(tmp_path):
    path = tmp_path / "full.svg"
    said = texts(drawn(path, panel(NAMED_BOOKS["full link"])))
    assert "4 Wh, full" in said
    assert "full" in said  # the legend
    assert dashed(path) == 2


def test_draw_clearings__link_with_room__is_not_dashed(tmp_path):
    path = tmp_path / "room.svg"
    said = texts(drawn(path, panel(NAMED_BOOKS["link with room"])))
    assert "6 Wh" in said
    assert "full" not in said
    assert dashed(path) == 0


def test_draw_clearings__link_closed__says_so(tmp_path):
    said = texts(drawn(tmp_path / "closed.svg", panel(NAMED_BOOKS["closed link"])))
    assert "closed, tariff 0.000003" in said


def test_draw_clearings__links_parallel_and_both_ways__labels_each(tmp_path):
    links = (
        *(Link("a", "b", 1_000 * at, 100 * at) for at in (1, 2, 3)),
        Link("b", "a", 7_000, 50),
    )
    on = network("a", "b", links=links, floor=0, cap=90_000)
    said = texts(
        drawn(
            tmp_path / "both.svg",
            panel(book(ask("s", 5, 450, "a"), bid("k", 90_000, 450, "b"), on=on)),
        )
    )
    assert {"100 Wh, full", "200 Wh, full", "150 Wh"} <= set(said)
    assert {"tariff 0.0010", "tariff 0.0020", "tariff 0.0030", "tariff 0.0070"} <= set(said)


def test_draw_clearings__many_peers__shows_the_largest_and_sums_the_others(tmp_path):
    orders = [ask(f"s{at}", 1, at) for at in range(1, 10)] + [bid("k", 9, 45)]
    said = texts(drawn(tmp_path / "many.svg", panel(book(*orders))))
    assert [said[said.index(name) + 1] for name in ("k", "s9", "s8", "s7")] == [
        "▼ 45 Wh",
        "▲ 9 Wh",
        "▲ 8 Wh",
        "▲ 7 Wh",
    ]
    assert said[said.index("+ 6 more") + 1] == "▲ 21 Wh"
    assert "s6" not in said


@pytest.mark.parametrize(
    ("energy_wh", "said"),
    [
        (1, "▲ 1 Wh"),
        (999, "▲ 999 Wh"),
        (1_250, "▲ 1.25 kWh"),
        (12_345, "▲ 12.35 kWh"),
        (100_000, "▲ 100 kWh"),
        (999_949, "▲ 999.9 kWh"),
        (999_999, "▲ 1 MWh"),
        (5_000_000, "▲ 5 MWh"),
        (2**40 - 1, "▲ 1.1 TWh"),
    ],
)
def test_draw_clearings__energy__has_the_unit_that_suits_it(tmp_path, energy_wh, said):
    market = book(ask("s", 1, energy_wh), bid("k", 9, energy_wh))
    assert said in texts(drawn(tmp_path / "energy.svg", panel(market)))


@pytest.mark.parametrize(
    ("price", "said"),
    [(-1_250, "−0.00125"), (0, "0.0000"), (1, "0.000001"), (2_147_483_647, "2147.483647")],
)
def test_draw_clearings__price__is_exact(tmp_path, price, said):
    market = Book.of(Network(("a",), (), -(2**31), 2**31 - 1), [])
    picture = drawn(tmp_path / "price.svg", Panel("t", market, Clearing([], [], [price])))
    assert f"{said} token/kWh" in texts(picture)


def test_draw_clearings__named_books__names_every_node_and_every_flow(tmp_path):
    panels = [panel(market, name) for name, market in NAMED_BOOKS.items()]
    said = Counter(texts(drawn(tmp_path / "named.svg", *panels)))
    for node, count in Counter(n for p in panels for n in p.book.network.nodes).items():
        assert said[node] >= count
    carried = sum(n for text, n in said.items() if re.fullmatch(r"[\d.]+ [kMGT]?Wh(, full)?", text))
    assert carried == sum(int((p.clearing.flows_wh > 0).sum()) for p in panels)


def chain(count: int) -> Book:
    nodes = [f"node {at}" for at in range(count)]
    steps = list(itertools.pairwise(nodes))
    links = [Link(*step, 2_000, 100) for step in steps]
    links += [Link(end, start, 2_000, 100) for start, end in steps]
    return Book.of(
        Network(tuple(nodes), tuple(links), -100_000, 100_000),
        [
            LimitOrder("s", "seller", nodes[0], Side.ASK, -50_000, 900),
            LimitOrder("k", "buyer", nodes[-1], Side.BID, 50_000, 60),
        ],
    )


def star(count: int) -> Book:
    houses = [f"house {at}" for at in range(count)]
    links = [Link("grid", house, 10_000, 4_000) for house in houses]
    links += [Link(house, "grid", 2_000, 3_000) for house in houses]
    orders = [LimitOrder("g", "supplier", "grid", Side.ASK, 90_000, 1_000_000)]
    for at, house in enumerate(houses):
        orders += [
            LimitOrder(f"s{at}", house, house, Side.ASK, 40_000, 1_000 * at),
            LimitOrder(f"k{at}", house, house, Side.BID, 95_000 + at * 1_000, 4_000),
        ]
    return Book.of(Network(("grid", *houses), tuple(links), -100_000, 200_000), orders)


def test_draw_clearings__chain_of_ten__labels_every_link(tmp_path):
    said = texts(drawn(tmp_path / "chain.svg", panel(chain(10))))
    assert said.count("60 Wh") == 9
    assert said.count("tariff 0.0020") == 18


@pytest.mark.parametrize(
    "panels",
    [
        pytest.param(five_peers(), id="five peers"),
        pytest.param([panel(chain(10))], id="chain"),
        pytest.param([panel(star(8))], id="star"),
        pytest.param([panel(market, name) for name, market in NAMED_BOOKS.items()], id="many"),
    ],
)
def test_draw_clearings__any_network__no_text_covers_another_or_leaves_the_page(panels):
    figure = _network._figure(panels)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible()
    ]
    assert len(boxes) > 20
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        apart = first.x1 < second.x0 or second.x1 < first.x0
        apart |= first.y1 < second.y0 or second.y1 < first.y0
        assert apart, f"{one!r} covers {other!r}"
    page = figure.bbox
    assert all(box.x0 > page.x0 and box.x1 < page.x1 for _, box in boxes)
    assert all(box.y0 > page.y0 and box.y1 < page.y1 for _, box in boxes)


def test_draw_clearings__names_that_markup_and_fonts_do_not_like__are_shown_safely(tmp_path):
    market = Book.of(
        Network(("<a> & $b$", "千", "tab\tbell\a", "x" * 60), (), 0, 9),
        [LimitOrder("o", "0x" + "ab" * 20, "千", Side.ASK, 1, 1)],
    )
    picture = drawn(tmp_path / "names.svg", panel(market, "100 % $safe$ <title>"))
    said = texts(picture)
    assert {"<a> & $b$", "千", "100 % $safe$ <title>", "xxxxxxxxx…xxxxxxxxx"} <= set(said)
    assert {"tab\ufffdbell\ufffd", "0xababa…bababab"} <= set(said)
    draw_clearings([panel(market)], tmp_path / "names.png")


def test_draw_clearings__network_without_nodes__says_so(tmp_path):
    nothing = Book.of(Network((), (), 0, 9), [])
    picture = drawn(tmp_path / "none.svg", Panel("t", nothing, Clearing([], [], [])))
    assert "no nodes" in texts(picture)


def test_draw_clearings__suffix_in_capitals__is_understood(tmp_path):
    draw_clearings([panel(book())], tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.txt"])
def test_draw_clearings__suffix_unknown__is_refused(tmp_path, name):
    with pytest.raises(FairwattError, match=r"a picture is written as \.png or \.svg, not as '"):
        draw_clearings([panel(book())], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_draw_clearings__folder_missing__is_refused(tmp_path):
    path = tmp_path / "nowhere" / "a.png"
    with pytest.raises(FairwattError, match=r"a\.png: the picture cannot be written: No such file"):
        draw_clearings([panel(book())], path)


def test_draw_clearings__path_is_a_folder__is_refused(tmp_path):
    path = tmp_path / "a.svg"
    path.mkdir()
    with pytest.raises(FairwattError, match="cannot be written: Is a directory"):
        draw_clearings([panel(book())], path)


def test_draw_clearings__no_panels__is_refused(tmp_path):
    with pytest.raises(FairwattError, match="there is no clearing to draw"):
        draw_clearings([], tmp_path / "a.svg")


def test_draw_clearings__too_many_nodes__is_refused(tmp_path):
    with pytest.raises(FairwattError, match=f"41 nodes are too many to draw, at most {MAX_NODES}"):
        draw_clearings([panel(chain(MAX_NODES + 1))], tmp_path / "a.svg")


@pytest.mark.parametrize(
    ("clearing", "error"),
    [
        (Clearing([6, 6], [6], [7]), PriceCountMismatch),
        (Clearing([6, 6], [], [7, 10]), FlowCountMismatch),
        (Clearing([6], [6], [7, 10]), FillCountMismatch),
        (Clearing([6, -6], [6], [7, 10]), NegativeQuantity),
        (Clearing([6, 6], [-6], [7, 10]), NegativeQuantity),
    ],
)
def test_draw_clearings__clearing_of_another_book__is_refused(tmp_path, clearing, error):
    with pytest.raises(error):
        draw_clearings([Panel("t", NAMED_BOOKS["link with room"], clearing)], tmp_path / "a.svg")


def drawn_run(path: Path, name: str, **results: Any) -> list[str]:
    case = SimpleNamespace(currency="EUR")
    truth = SimpleNamespace(peers=[SimpleNamespace(name=each) for each in ("Ana", "Bo")])
    prepared = SimpleNamespace(case=case, truth=truth)
    draw_run(SimpleNamespace(prepared=prepared, **results), name, path)  # type: ignore[arg-type]
    return texts(ET.fromstring(path.read_bytes()))


def test_draw_run__savings__percentages_are_those_of_the_table(tmp_path):
    peers = {
        "Ana": PeerResult("Ana", alone=2 * 10**9, cost=5 * 10**8),
        "Bo": PeerResult("Bo", alone=-(10**9), cost=-2 * 10**9),  # no bill to save from
        "Cy": PeerResult("Cy", alone=10**9, cost=-(10**9)),  # more than all of it
        "Di": PeerResult("Di", alone=10**9, cost=3 * 10**9),
    }
    said = drawn_run(tmp_path / "savings.svg", "savings", peers=peers)
    assert [each for each in said if re.fullmatch(r"[-−\d.]+ %", each)] == ["-200.0 %", "75.0 %"]


@pytest.mark.parametrize("most", [0.004, 3.2, 900.0])
def test_draw_run__flows__energies_are_plain_numbers(tmp_path, most):
    energy = np.array([[0.0, most], [most / 3, 0.0]])
    said = drawn_run(tmp_path / "flows.svg", "flows", between_kwh=energy)
    assert "kWh" in said
    assert not [each for each in said if "×" in each or "10−" in each or "mathdefault" in each]
    assert sum(bool(re.fullmatch(r"[\d.]+", each)) for each in said) >= 4
