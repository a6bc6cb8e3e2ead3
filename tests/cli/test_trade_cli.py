"""`fairwatt trade`: what people type, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from eth_account import Account

from fairwatt.cli import main
from fairwatt.continuous import ContinuousOrder, SignedContinuousOrder
from fairwatt.eip712 import Domain

KEY = "0x" + "22" * 32
CONTRACT = "0x" + "11" * 20
DOMAIN = ("--chain-id", "1337", "--contract", CONTRACT)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["trade", *map(str, arguments)], env={"FAIRWATT_KEY": KEY})


def order(**changes: Any) -> dict[str, Any]:
    return json.loads(run("template").output) | changes


def test_sign__template__is_signed_for_the_contract(tmp_path: Path) -> None:
    path, out = tmp_path / "order.json", tmp_path / "signed.json"
    path.write_text(json.dumps(order()), "utf-8")
    assert run("sign", path, *DOMAIN, "--out", out).exit_code == 0
    signed = SignedContinuousOrder.from_document(json.loads(out.read_text("utf-8")))
    domain = Domain(1337, CONTRACT)
    assert signed == ContinuousOrder.from_document(order()).signed_by(Account.from_key(KEY), domain)
    typed = json.loads(run("typed-data", path, *DOMAIN).output)
    assert typed["message"] == signed.order.to_message()


def test_book__of_a_folder__shows_what_trades_and_what_is_left(tmp_path: Path) -> None:
    until = order()["validUntil"]
    for at, changes in enumerate(
        ({"peer": 2, "side": "ask", "restsFrom": 0, "energyWh": 700}, {"restsFrom": until + 1})
    ):
        signed = {"order": order(**changes), "signature": "0x"}
        (tmp_path / f"{at}.json").write_text(json.dumps(signed), "utf-8")
    shown = run("book", tmp_path, "--at", str(until))
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith(f"1 trade, 1 order left at {until}\n")
    document = json.loads(run("book", tmp_path, "--at", str(until), "--json").output)
    (traded,), (left,) = document["trades"], document["orders"]
    assert (traded["seller"], traded["buyer"], traded["resting"]) == (2, 1, 2)
    assert (traded["energyWh"], traded["valueNano"]) == (700, 700 * 150_000)
    assert (left["peer"], left["leftWh"], left["rests"]) == (1, 300, False)
    assert run("book", tmp_path, "--at", str(until + 1)).output.startswith("0 trades, 0 orders")


def test_book__malformed_order__says_where(tmp_path: Path) -> None:
    signed = {"order": order(periods=0), "signature": "0x"}
    (tmp_path / "0.json").write_text(json.dumps(signed), "utf-8")
    refused = run("book", tmp_path)
    assert (refused.exit_code, refused.output) == (
        1,
        "error: periods: must be 1 to 65535, not 0\n",
    )
