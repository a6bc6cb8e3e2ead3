"""`fairwatt clear`, `verify` and `schema`: what they print, and what they refuse by name."""

from __future__ import annotations

import copy
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner, Result
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from rich.cells import cell_len
from tests.strategies import books

from fairwatt import __version__
from fairwatt.cli import main
from fairwatt.cli._text import MOST_ROWS, Column, echo_table, energy, money, price, printable
from fairwatt.market import Book
from fairwatt.market.documents import dump_book, schema

EXAMPLE: dict[str, Any] = {
    "network": {
        "nodes": ["grid", "c3"],
        "priceFloorMicroPerKWh": -500000,
        "priceCapMicroPerKWh": 4000000,
        "links": [{"from": "grid", "to": "c3", "tariffMicroPerKWh": 15840, "capacityWh": 5000000}],
    },
    "orders": [
        {
            "id": "P5",
            "peer": "P5",
            "node": "c3",
            "side": "ask",
            "priceMicroPerKWh": 50000,
            "energyWh": 200000,
        }
    ],
}
EXAMPLE_CLEARING: dict[str, Any] = {
    "fillsWh": {"P5": 0},
    "flowsWh": [0],
    "pricesMicroPerKWh": {"grid": 50000, "c3": 50000},
    "welfare": 0,
    "dualBound": 0,
}


def bid(id_: str, node: str, price: int, energy: int) -> dict[str, Any]:
    side = {"id": id_, "peer": id_, "node": node, "side": "bid"}
    return {**side, "priceMicroPerKWh": price, "energyWh": energy}


TRADING: dict[str, Any] = {
    "network": {
        "nodes": ["grid", "c3"],
        "priceFloorMicroPerKWh": -500000,
        "priceCapMicroPerKWh": 4000000,
        "links": [{"from": "c3", "to": "grid", "tariffMicroPerKWh": 15840, "capacityWh": 60000}],
    },
    "orders": [
        *EXAMPLE["orders"],
        bid("P4", "c3", 70000, 100000),
        bid("supplier", "grid", 90000, 100000),
    ],
}


def run(*arguments: str | Path, **extra: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(main, [str(item) for item in arguments], **extra)


def refused(result: Result, *reasons: str) -> None:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    for reason in reasons:
        assert reason in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "book.json", TRADING)
    assert run("clear", tmp_path / "book.json", "--out", tmp_path / "clearing.json").exit_code == 0
    return tmp_path


def put(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


# --- the group ----------------------------------------------------------------------------------


def test_version() -> None:
    assert run("--version").stdout == f"fairwatt {__version__}\n"


def test_help_lists_every_command_without_loading_it() -> None:
    text = run("--help").stdout
    for name, command in main.lazy.items():  # type: ignore[attr-defined]
        assert f"  {name}" in text
        assert command.summary in text
    assert "Examples:" in text


@pytest.mark.parametrize(
    "command",
    [["clear"], ["verify"], ["schema"], ["order"]]
    + [["order", name] for name in ("template", "typed-data", "sign", "check")],
    ids=" ".join,
)
def test_every_command_teaches_by_example(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"\n    fairwatt {' '.join(command)}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ("settle",),
        ("clear",),
        ("clear", "book.json", "--fast"),
        ("schema", "order"),
        ("verify", "book.json"),
        ("verify", "-", "-"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


# --- clear --------------------------------------------------------------------------------------


def test_clear__documented_example(tmp_path: Path) -> None:
    book = put(tmp_path / "book.json", EXAMPLE)
    result = run("clear", book, "--json")
    document = json.loads(result.stdout)
    assert document["fillsWh"] == {"P5": 0}
    assert document["welfare"] == document["dualBound"] == 0
    assert run("verify", book, "-", input=result.stdout).exit_code == 0


def test_clear__prints_who_trades_what(folder: Path) -> None:
    lines = run("clear", folder / "book.json").stdout.splitlines()
    assert lines[0] == "3 orders on 2 nodes and 1 link"
    rows = [line.split() for line in lines]
    assert ["P5", "c3", "ask", "0.05", "0.05", "160", "200", "8.00"] in rows
    assert ["P4", "c3", "bid", "0.07", "0.05", "100", "100", "-5.00"] in rows
    assert ["supplier", "grid", "bid", "0.09", "0.09", "60", "100", "-5.40"] in rows
    assert ["c3", "->", "grid", "0.01584", "60", "60", "0.9504", "1.4496"] in rows
    assert ["c3", "0.05"] in rows
    assert "traded    160 kWh: 2 of 2 bids, 1 of 1 ask" in lines
    assert "welfare   3.4496 token = dual bound: no other clearing is worth more" in lines
    assert "payments  orders -2.4000, tariffs 0.9504, rents 1.4496 token: sum 0" in lines
    assert max(map(len, lines)) <= 80


def test_clear__json_file_and_screen_say_the_same(folder: Path) -> None:
    printed = run("clear", folder / "book.json", "--json").stdout
    assert json.loads(printed) == json.loads((folder / "clearing.json").read_text("utf-8"))


def test_clear__reads_standard_input() -> None:
    assert run("clear", "-", input=json.dumps(TRADING)).exit_code == 0


def test_clear__no_orders(tmp_path: Path) -> None:
    book = put(tmp_path / "book.json", {**EXAMPLE, "orders": []})
    assert "0 orders on 2 nodes" in run("clear", book).stdout


def test_clear__long_books_are_cut_with_a_note(tmp_path: Path) -> None:
    orders = [bid(f"o{at}", "c3", 50000, 1) for at in range(MOST_ROWS + 300)]
    lines = run("clear", put(tmp_path / "book.json", {**EXAMPLE, "orders": orders})).stdout
    assert "... and 300 more; --json and --out have all of them" in lines
    assert len(lines.splitlines()) < MOST_ROWS + 30


def test_clear__names_cannot_drive_the_terminal(tmp_path: Path) -> None:
    name = "\x1b[2Jé\u202e[bold]"
    book = put(tmp_path / "b.json", {**EXAMPLE, "orders": [bid(name, "c3", 1, 1)]})
    result = run("clear", book)
    assert "\x1b" not in result.stdout
    assert "\\x1b[2Jé\\u202e[bold]" in result.stdout
    book = put(tmp_path / "b.json", {**EXAMPLE, "orders": [bid(name, "c3", 1, 2**60)]})
    assert "\x1b" not in run("clear", book).stderr


@settings(max_examples=40, deadline=None)
@given(books())
def test_clear__any_valid_book_is_verified(book: Book) -> None:
    text = json.dumps(dump_book(book))
    cleared = run("clear", "-", "--json", input=text)
    assert cleared.exit_code == 0
    document = json.loads(cleared.stdout)
    Draft202012Validator(schema("clearing")).validate(document)
    assert document["welfare"] == document["dualBound"]
    with CliRunner().isolated_filesystem():
        clearing = put(Path("clearing.json"), document)
        assert run("verify", "-", clearing, input=text).exit_code == 0
    assert run("clear", "-", input=text).exit_code == 0


MALFORMED = {
    "nothing": (b"", "not valid JSON"),
    "binary": (bytes(range(256)), "not valid JSON"),
    "zeros": (bytes(1000), "not valid JSON"),
    "cut off": (b'{"network": ', "not valid JSON"),
    "deep": (b"[" * 500_000, "nested too deeply"),
    "list": (b"[]", "must be an object"),
    "NaN": (b'{"orders": NaN}', "NaN"),
    "endless number": (b"1" * 100_000, "not valid JSON"),
    "key twice": (b'{"orders": [], "orders": []}', "stands there twice"),
    "surrogate": (b'{"\\ud800": 1}', "is missing"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_clear__malformed_book(tmp_path: Path, case: str) -> None:
    content, reason = MALFORMED[case]
    (tmp_path / "book.json").write_bytes(content)
    book = tmp_path / "book.json"
    refused(run("clear", book, "--out", tmp_path / "out.json"), f"error: {book}: ", reason)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"node": "c4"}, 'orders[0].node: "c4" is not a node'),
        ({"energyWh": 2**40}, "orders[0].energyWh: 1099511627776 is out of range"),
        ({"energyWh": 1.5}, "orders[0].energyWh: must be a whole number"),
        ({"priceMicroPerKWh": 4000001}, "orders[0].priceMicroPerKWh: 4000001 is out of range"),
        ({"side": "buy"}, 'orders[0].side: must be "bid" or "ask"'),
    ],
)
def test_clear__bad_order(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    book = {**EXAMPLE, "orders": [{**EXAMPLE["orders"][0], **change}]}
    path = put(tmp_path / "book.json", book)
    refused(run("clear", path), f"error: {path}: {reason}")
    refused(run("clear", "-", input=json.dumps(book)), f"error: -: {reason}")
    refused(run("verify", path, path), f"rejected: BookError: {path}: {reason}")


def test_clear__files_that_cannot_be_read(tmp_path: Path) -> None:
    refused(run("clear", tmp_path), "is a directory")
    refused(run("clear", tmp_path / "none.json"), "none.json: no such file or directory")
    refused(run("clear", tmp_path / ("x" * 300)), "file name too long")
    refused(run("clear", "/dev/zero"), "is larger than 256 MiB")


def test_clear__files_that_cannot_be_written(folder: Path) -> None:
    book = folder / "book.json"
    refused(run("clear", book, "--out", folder), "is a directory")
    refused(run("clear", book, "--out", folder / "none" / "c.json"), "no such file")
    before = book.read_bytes()
    refused(run("clear", book, "--out", book), "is the book itself")
    assert book.read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"book.json", "clearing.json"}


def test_clear__out_replaces_the_file_behind_a_link_and_keeps_its_mode(folder: Path) -> None:
    target = folder / "clearing.json"
    wanted = target.read_text("utf-8")
    target.write_text("old", "utf-8")
    target.chmod(0o640)
    (folder / "link.json").symlink_to(target)
    assert run("clear", folder / "book.json", "--out", folder / "link.json").exit_code == 0
    assert (folder / "link.json").is_symlink()
    assert target.read_text("utf-8") == wanted
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_clear__out_to_a_device_does_not_replace_it() -> None:
    assert run("clear", "-", "--out", "/dev/null", input=json.dumps(EXAMPLE)).exit_code == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


# --- verify -------------------------------------------------------------------------------------


def test_verify__says_what_was_proved(folder: Path) -> None:
    result = run("verify", folder / "book.json", folder / "clearing.json")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "accepted: this clearing is feasible and optimal",
        "  bounds   2 prices, 3 fills and 1 flow are within their limits",
        "  balance  asks + inflow = bids + outflow at every node",
        "  optimum  welfare 3.4496 token = dual bound: no other clearing is worth more",
    ]


def test_verify__documented_example(tmp_path: Path) -> None:
    book = put(tmp_path / "book.json", EXAMPLE)
    clearing = put(tmp_path / "clearing.json", EXAMPLE_CLEARING)
    assert run("verify", book, clearing).exit_code == 0
    verdict = json.loads(run("verify", book, clearing, "--json").stdout)
    assert verdict == {"valid": True, "welfare": 0, "dualBound": 0}


PERTURBED: dict[str, tuple[tuple[str, str | int], int, str, str, dict[str, int]]] = {
    "fill too large": (
        ("fillsWh", "P4"),
        100001,
        "FillAboveEnergy",
        "order 1 (P4) is filled with 100001 Wh",
        {"line": 1, "fillWh": 100001, "energyWh": 100000},
    ),
    "fill too small": (
        ("fillsWh", "P5"),
        159999,
        "NodeUnbalanced",
        "node 1 (c3) has 1 Wh too little",
        {"node": 1, "surplusWh": -1},
    ),
    "flow too large": (
        ("flowsWh", 0),
        60001,
        "FlowAboveCapacity",
        "link 0 (c3 -> grid) carries 60001 Wh",
        {"link": 0, "flowWh": 60001, "capacityWh": 60000},
    ),
    "flow too small": (
        ("flowsWh", 0),
        59999,
        "NodeUnbalanced",
        "node 0 (grid) has 1 Wh too little",
        {"node": 0, "surplusWh": -1},
    ),
    "price above cap": (
        ("pricesMicroPerKWh", "grid"),
        4000001,
        "PriceOutOfBounds",
        "node 0 (grid) has price 4000001",
        {"node": 0, "priceMicroPerKWh": 4000001, "floor": -500000, "cap": 4000000},
    ),
    "price not optimal": (
        ("pricesMicroPerKWh", "c3"),
        50001,
        "NotOptimal",
        "gap 40000 nano-token",
        {"welfare": 3449600000, "dualBound": 3449640000},
    ),
}


@pytest.mark.parametrize("case", PERTURBED)
def test_verify__every_perturbation_is_named(folder: Path, case: str) -> None:
    (field, key), value, error, reason, values = PERTURBED[case]
    document = json.loads((folder / "clearing.json").read_text("utf-8"))
    assert document[field][key] != value
    document[field][key] = value
    changed = put(folder / "changed.json", document)
    begin = f"rejected: {error}: {changed}: "
    refused(run("verify", folder / "book.json", changed), begin, reason)
    result = run("verify", folder / "book.json", changed, "--json")
    assert result.exit_code == 1
    verdict = json.loads(result.stdout)
    assert (verdict["valid"], verdict["error"]) == (False, error)
    assert verdict["values"] == values
    assert reason in verdict["message"]


@pytest.mark.parametrize("field", ["welfare", "dualBound"])
def test_verify__false_total(folder: Path, field: str) -> None:
    document = json.loads((folder / "clearing.json").read_text("utf-8"))
    document[field] += 1
    changed = put(folder / "changed.json", document)
    reason = f"rejected: ClearingError: {changed}: {field}: states 3449600001 but it is 3449600000"
    refused(run("verify", folder / "book.json", changed), reason)


@pytest.mark.parametrize("case", MALFORMED)
def test_verify__malformed_documents(folder: Path, case: str) -> None:
    content, reason = MALFORMED[case]
    (folder / "bad.json").write_bytes(content)
    book, bad, clearing = folder / "book.json", folder / "bad.json", folder / "clearing.json"
    refused(run("verify", book, bad), f"rejected: ClearingError: {bad}: ", reason)
    refused(run("verify", bad, clearing), f"rejected: BookError: {bad}: ", reason)
    verdict = json.loads(run("verify", book, bad, "--json").stdout)
    assert verdict["error"] == "ClearingError"
    assert verdict["message"].startswith(f"{bad}: ")


def test_verify__clearing_of_another_book(folder: Path) -> None:
    other = copy.deepcopy(TRADING)
    other["orders"][0]["id"] = "P6"
    clearing = folder / "clearing.json"
    reason = f"rejected: ClearingError: {clearing}: fillsWh.P5: is not an order of the book"
    refused(run("verify", put(folder / "other.json", other), clearing), reason)


def test_verify__lists_of_another_length__names_the_file(folder: Path) -> None:
    document = json.loads((folder / "clearing.json").read_text("utf-8"))
    document["flowsWh"] = []
    changed = put(folder / "changed.json", document)
    reason = f"rejected: FlowCountMismatch: {changed}: "
    refused(run("verify", folder / "book.json", changed), reason)


@pytest.mark.parametrize("kind", ["book", "clearing"])
def test_schema__is_the_published_one(kind: Any) -> None:
    assert json.loads(run("schema", kind).stdout) == schema(kind)
    assert json.loads(run("schema", kind, "--json").stdout) == schema(kind)


# --- numbers and tables -------------------------------------------------------------------------


def test_numbers_are_exact_with_as_many_decimals_as_one_needs() -> None:
    assert energy([200000, 1, 0]) == ["200.000", "0.001", "0"]
    assert energy([200000, -5000]) == ["200", "-5"]
    assert price([15840, -500000]) == ["0.01584", "-0.50000"]
    assert money([1234 * 10**9, -1]) == ["1,234.000000000", "-0.000000001"]
    assert money([]) == []


def test_printable_leaves_text_of_all_languages() -> None:
    assert printable("Mühle 水 → ok") == "Mühle 水 → ok"
    assert printable("a\nb\ud800") == "a\\nb\\ud800"


def test_table_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    names = [f"a very long name with the number {at:03}" for at in (1, 2)]
    wide = ["水" * 30, "short"]
    columns = [
        Column("name", "", names, is_text=True),
        Column("other", "", wide, is_text=True),
        Column("energy", "kWh", ["1,000.5", "2"]),
    ]
    echo_table(columns, 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split()[-1] == "2"
    assert "001" in lines[2]
    assert max(cell_len(unstyle(line)) for line in lines) <= 40


# --- as a process -------------------------------------------------------------------------------

FAIRWATT = [sys.executable, "-c", "import sys; from fairwatt.cli import main; sys.exit(main())"]


def process(*arguments: str | Path, **extra: Any) -> subprocess.CompletedProcess[str]:
    command = [*FAIRWATT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **extra)


def test_process__exit_codes(folder: Path) -> None:
    book, clearing = folder / "book.json", folder / "clearing.json"
    assert process("verify", book, clearing).returncode == 0
    assert process("verify", book, book).returncode == 1
    assert process("verify", book).returncode == 2


def test_process__clear_and_order_never_load_ape(folder: Path) -> None:
    code = (
        "import sys\n"
        "from fairwatt.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"main(['clear', {str(folder / 'book.json')!r}], standalone_mode=False)\n"
        "main(['order', 'template'], standalone_mode=False)\n"
        "assert 'ape' not in sys.modules and 'web3' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_process__reader_that_goes_away(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [*FAIRWATT, "clear", str(folder / "book.json")]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == b""


def test_process__disk_full(folder: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [*FAIRWATT, "schema", "book"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_process__closed_streams(folder: Path, closed: str) -> None:
    line = f'"$0" -c "$1" clear "$2" {closed}'
    command = ["sh", "-c", line, sys.executable, FAIRWATT[2], str(folder / "book.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_process__charset_without_the_letters(tmp_path: Path) -> None:
    book = put(tmp_path / "book.json", {**EXAMPLE, "orders": [bid("Mühle 水", "c3", 1, 1)]})
    done = process(
        "clear", book, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, encoding="latin-1"
    )
    assert done.returncode == 0
    assert "Mühle \\u6c34" in done.stdout


def test_process__interrupted() -> None:
    command = [*FAIRWATT, "clear", "-"]
    streams = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **streams) as running:  # type: ignore[call-overload]
        assert running.stdin is not None
        running.stdin.write(" " * 100_000)  # more than a pipe holds: once it is gone, it is read
        running.stdin.flush()
        running.send_signal(signal.SIGINT)
        _, problems = running.communicate(timeout=60)
    assert running.returncode == 130
    assert problems == "interrupted\n"
