"""`fairwatt order`: from template to checked signature, and no key ever in sight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keyfile.keyfile import create_keyfile_json

from fairwatt.cli import main
from fairwatt.deployment import CONTRACTS

KEY = "ab" * 32
WALLET = Account.from_key("0x" + KEY).address
CONTRACT = "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9"
DOMAIN = ("--chain-id", "31337", "--contract", CONTRACT)
PASSWORD = "correct horse ü"
KEYSTORE: dict[str, Any] = create_keyfile_json(bytes.fromhex(KEY), PASSWORD.encode(), iterations=1)


def run(*arguments: str | Path, **extra: Any) -> Result:
    env = {"FAIRWATT_KEY": None, **extra.pop("env", {})}
    arguments = ("order", *map(str, arguments))
    result = CliRunner(mix_stderr=False).invoke(main, arguments, env=env, **extra)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert KEY not in (result.stdout + result.stderr).lower()
    return result


def refused(result: Result, *reasons: str) -> None:
    assert result.exit_code == 1
    for reason in reasons:
        assert reason in result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "order.json").write_text(run("template").stdout, "utf-8")
    (tmp_path / "key.json").write_text(json.dumps(KEYSTORE), "utf-8")
    (tmp_path / "password").write_text(PASSWORD + "\nsecond line\n", "utf-8")
    deployment = {
        "network": "ethereum:local:foundry",
        "chainId": 31337,
        "block": 0,
        "contracts": dict.fromkeys(
            CONTRACTS.values(),
            CONTRACT,
        ),
    }
    (tmp_path / "deployment.json").write_text(json.dumps(deployment), "utf-8")
    signed = run(
        "sign", tmp_path / "order.json", *DOMAIN, "--out", tmp_path / "signed.json",
        env={"FAIRWATT_KEY": KEY},
    )  # fmt: skip
    assert signed.exit_code == 0
    assert signed.stdout == ""
    return tmp_path


def test_check__shows_signer_cost_and_steps(folder: Path) -> None:
    result = run("check", folder / "signed.json", *DOMAIN, "--wallet", WALLET)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"signer      {WALLET}, the wallet"
    assert "session     2030-01-01 00:00:00 UTC (1893456000)" in lines
    assert "worst case  pays 0.55 token" in lines
    assert lines[-1].split() == ["0", "bid", "0.15", "2"]


def test_check__json(folder: Path) -> None:
    verdict = json.loads(run("check", folder / "signed.json", *DOMAIN, "--json").stdout)
    assert (verdict["valid"], verdict["signer"], verdict["worstCaseNano"]) == (
        True,
        WALLET,
        550_000_000,
    )


def test_check__deployment_file_says_chain_and_contract(folder: Path) -> None:
    deployment = ("--deployment", folder / "deployment.json")
    assert run("check", folder / "signed.json", *deployment, "--wallet", WALLET).exit_code == 0


@pytest.mark.parametrize(
    "other",
    [
        ("--chain-id", "1", "--contract", CONTRACT, "--wallet", WALLET),
        ("--chain-id", "31337", "--contract", "0x" + "11" * 20, "--wallet", WALLET),
        (*DOMAIN, "--wallet", "0x" + "22" * 20),
    ],
    ids=["chain", "contract", "wallet"],
)
def test_check__wrong_signer(folder: Path, other: tuple[str, ...]) -> None:
    refused(run("check", folder / "signed.json", *other), "rejected: SignatureError: signed by 0x")
    result = run("check", folder / "signed.json", *other, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"] == "SignatureError"


def test_check__times_beyond_the_calendar(folder: Path) -> None:
    document = json.loads((folder / "signed.json").read_text("utf-8"))
    document["order"]["sessionStart"] = 2**40 - 1
    (folder / "signed.json").write_text(json.dumps(document), "utf-8")
    assert "session     1099511627775" in run("check", folder / "signed.json", *DOMAIN).stdout


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "OrderError: signed order: is not valid JSON"),
        ("[" * 200_000, "nested too deeply"),
        ("[]", "a signed order is"),
        ('{"order": {}, "signature": "0x"}', "OrderError: market: is missing"),
        ('{"order": {}, "order": {}, "signature": "0x"}', "order: stands there twice"),
    ],
)
def test_check__malformed(folder: Path, text: str, reason: str) -> None:
    refused(run("check", "-", *DOMAIN, input=text), "rejected: ", reason)


@pytest.mark.parametrize("signature", ["0x", "0x" + "00" * 65, "0x" + "ff" * 65, "0xzz"])
def test_check__malformed_signature(folder: Path, signature: str) -> None:
    document = json.loads((folder / "signed.json").read_text("utf-8"))
    document["signature"] = signature
    text = json.dumps(document)
    refused(run("check", "-", *DOMAIN, input=text), "rejected: SignatureError: ")


def test_typed_data__is_what_the_wallet_signs(folder: Path) -> None:
    data = json.loads(run("typed-data", folder / "order.json", *DOMAIN).stdout)
    signature = Account.sign_message(encode_typed_data(full_message=data), KEY).signature
    text = json.dumps({"order": data["message"], "signature": "0x" + signature.hex()})
    assert run("check", "-", *DOMAIN, "--wallet", WALLET, input=text).exit_code == 0


@pytest.mark.parametrize("command", ["typed-data", "sign"])
def test_malformed_order(folder: Path, command: str) -> None:
    for text, reason in (
        ("", "order: is not valid JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('"market"', "an order is an object"),
        ('{"market": 1}', "peer: is missing"),
    ):
        refused(run(command, "-", *DOMAIN, input=text, env={"FAIRWATT_KEY": KEY}), reason)
    refused(run(command, folder, *DOMAIN), "is a directory")


def test_sign__keystore_with_password_file(folder: Path) -> None:
    key = ("--keystore", folder / "key.json", "--password-file", folder / "password")
    result = run("sign", folder / "order.json", *DOMAIN, *key)
    assert json.loads(result.stdout) == json.loads((folder / "signed.json").read_text("utf-8"))
    assert result.stderr == f"signed by {WALLET}\n"


def test_sign__keystore_asks_for_its_password(folder: Path) -> None:
    arguments = ("sign", folder / "order.json", *DOMAIN, "--keystore", folder / "key.json")
    result = run(*arguments, input=PASSWORD + "\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.stdout + result.stderr
    assert run(*arguments, input="").exit_code == 1
    refused(run(*arguments, input="wrong\n"), "wrong password for the keystore")


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        5,
        {"version": 3},
        {"version": 9},
        {"version": 3, "crypto": "x"},
        {"version": 3, "crypto": {**KEYSTORE["crypto"], "kdf": "none"}},
        {"version": 3, "crypto": {**KEYSTORE["crypto"], "ciphertext": "zz"}},
        {"version": 3, "crypto": {**KEYSTORE["crypto"], "kdfparams": {
            "prf": 1, "salt": "", "dklen": 1}}},
        {"version": 3, "crypto": {**KEYSTORE["crypto"], "kdfparams": {
            "prf": "none", "salt": "", "dklen": -1, "c": 2**80}}},
        {"version": 3, "crypto": {**KEYSTORE["crypto"], "kdf": "scrypt", "kdfparams": {
            "salt": "", "dklen": 32, "n": 2**62, "r": 1, "p": 1}}},
        {"version": 4, "crypto": KEYSTORE["crypto"]},
    ],
    ids=[  # no repr: a keystore is made anew in each process
        "empty", "list", "number", "no crypto", "version 9", "crypto is text", "unknown kdf",
        "ciphertext", "kdfparams incomplete", "kdfparams absurd", "scrypt too large", "version 4",
    ],
)  # fmt: skip
def test_sign__what_is_no_keystore(folder: Path, content: object) -> None:
    (folder / "bad.json").write_text(json.dumps(content), "utf-8")
    key = ("--keystore", folder / "bad.json", "--password-file", folder / "password")
    refused(run("sign", folder / "order.json", *DOMAIN, *key), "bad.json: is not a keystore")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "there is no key in the environment variable MY_KEY"),
        (KEY[:-2], "MY_KEY does not hold a private key"),
        (KEY + "00", "MY_KEY does not hold a private key"),
        ("zz" * 32, "MY_KEY does not hold a private key"),
        ("00" * 32, "MY_KEY does not hold a private key"),
        ("ff" * 32, "MY_KEY does not hold a private key"),
    ],
)
def test_sign__bad_key(folder: Path, value: str | None, reason: str) -> None:
    arguments = ("sign", folder / "order.json", *DOMAIN, "--key-env", "MY_KEY")
    result = run(*arguments, env={"MY_KEY": value})
    refused(result, reason)
    assert value is None or value not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--chain-id", "1"),
        ("--contract", CONTRACT),
        ("--chain-id", "-1", "--contract", CONTRACT),
        ("--chain-id", "1", "--contract", CONTRACT.lower() + "00"),
        ("--chain-id", "1", "--contract", CONTRACT.replace("C", "c", 1)),
        (*DOMAIN, "--deployment", "d.json"),
        (*DOMAIN, "--keystore", "k", "--key-env", "K"),
        (*DOMAIN, "--password-file", "p"),
    ],
    ids=" ".join,
)
def test_sign__wrong_usage(folder: Path, arguments: tuple[str, ...]) -> None:
    assert run("sign", folder / "order.json", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"contracts": None}, "contracts: must be an object"),
        ({"contracts": {}}, "contracts.PeerRegistry: must be an address"),
        ({"chainId": "31337"}, "chainId: must be a whole number"),
        ({"block": -1}, "block: must be a whole number"),
        ({"network": 5}, "network: must be the name"),
    ],
)
def test_malformed_deployment(folder: Path, change: dict[str, Any], reason: str) -> None:
    path = folder / "deployment.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    result = run("check", folder / "signed.json", "--deployment", path)
    refused(result, "is not a deployment file", reason)


def test_deployment_that_cannot_be_read(folder: Path) -> None:
    signed = folder / "signed.json"
    refused(run("check", signed, "--deployment", folder / "none"), "there is no deployment file")
    refused(run("check", signed, "--deployment", folder), "is a directory")
    (folder / "deployment.json").write_bytes(b"\xff[[")
    refused(run("check", signed, "--deployment", folder / "deployment.json"), "not valid JSON")


def test_flexible__template_to_check__says_what_was_signed(folder: Path) -> None:
    path = folder / "vehicle.json"
    path.write_text(run("template", "--flexible").stdout, "utf-8")
    typed = json.loads(run("typed-data", path, *DOMAIN).stdout)
    assert (typed["primaryType"], typed["message"]["wantedWh"]) == ("FlexibleOrder", 20_000)
    signed = folder / "signed.json"
    run("sign", path, *DOMAIN, "--out", signed, env={"FAIRWATT_KEY": KEY})
    result = run("check", signed, *DOMAIN, "--wallet", WALLET)
    assert f"signer      {WALLET}, the wallet\n" in result.stdout
    assert "worst case  pays 5.00 token" in result.stdout  # 20 kWh at 0.25
    assert "wantedWh          20000\n" in result.stdout
    document = json.loads(run("check", signed, *DOMAIN, "--json").stdout)
    assert document["worstCaseNano"] == 20_000 * 250_000
    broken = json.loads(path.read_text("utf-8")) | {"wantedWh": 20_001}
    path.write_text(json.dumps(broken), "utf-8")
    refused(run("typed-data", path, *DOMAIN), "wantedWh", "must be 0 to 20000, not 20001")
