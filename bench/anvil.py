"""A local node by the rules of Ethereum mainnet, and what a transaction costs in any case."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from web3 import HTTPProvider, Web3
from web3.exceptions import TransactionNotFound

from fairwatt.errors import FairwattError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from web3.contract import Contract
    from web3.types import TxReceipt

__all__ = [
    "TRANSACTION_GAS",
    "Anvil",
    "OutOfGas",
    "Sent",
    "anvil",
    "calldata_floor",
    "intrinsic_gas",
]

TRANSACTION_GAS: Final = 1 << 24
"""The most that one transaction may use (EIP-7825)."""

_RULES: Final = "osaka"
_BLOCK_GAS: Final = 60_000_000
_BASE_GAS: Final = 21_000
_KEPT_OF_CALLS: Final = 64  # a call gets all but this part of what is left (EIP-150)
_START_S, _RECEIPT_S, _POLL_S = 20.0, 60.0, 0.002


class OutOfGas(FairwattError):  # noqa: N818 - says what happened
    """A transaction needs more than any may use."""


class Sent(NamedTuple):
    """A transaction that went through."""

    gas: int
    calldata: bytes


def calldata_floor(calldata: bytes) -> int:
    """The least that a transaction with this calldata costs, whatever it does (EIP-7623)."""
    zeros = calldata.count(0)
    return _BASE_GAS + 10 * zeros + 40 * (len(calldata) - zeros)


def intrinsic_gas(calldata: bytes) -> int:
    """What is charged for a transaction and its calldata before anything runs (EIP-2028)."""
    zeros = calldata.count(0)
    return _BASE_GAS + 4 * zeros + 16 * (len(calldata) - zeros)


@dataclass(frozen=True, slots=True)
class Anvil:
    """A running node. Gas is free, and it sends for any account without a signature.

    Attributes
    ----------
    sender
        Sends where nobody else is named.
    """

    url: str
    web3: Web3
    sender: str

    def deploy(self, abi: Any, bytecode: str, *arguments: Any) -> Contract:
        """Deploy a compiled contract."""
        factory = self.web3.eth.contract(abi=abi, bytecode=bytecode)
        data = factory.constructor(*arguments).data_in_transaction
        address = self._mined({"from": self.sender, "data": data})["contractAddress"]
        if address is None:
            raise FairwattError("anvil deployed nothing")
        return self.web3.eth.contract(address, abi=abi)

    def send(
        self, contract: Contract, function: str, *arguments: Any, sender: str | None = None
    ) -> Sent:
        """Call a function in a transaction.

        Raises
        ------
        OutOfGas
            If it needs more than a transaction may use.
        FairwattError
            If it is refused.
        """
        data = contract.encode_abi(function, args=arguments)
        receipt = self._mined({"from": sender or self.sender, "to": contract.address, "data": data})
        return Sent(receipt["gasUsed"], bytes.fromhex(data.removeprefix("0x")))

    def _mined(self, transaction: dict[str, Any], gas: int = TRANSACTION_GAS) -> TxReceipt:
        answer = self.web3.provider.make_request(
            "eth_sendTransaction",  # type: ignore[arg-type] # web3 wants its own type of str
            [{**transaction, "gas": hex(gas), "gasPrice": "0x0"}],
        )
        if "error" in answer:
            raise FairwattError(f"anvil refuses the transaction: {answer['error']}")
        receipt = self._receipt(answer["result"])
        if not receipt["status"]:
            if receipt["gasUsed"] >= TRANSACTION_GAS - TRANSACTION_GAS // _KEPT_OF_CALLS:
                raise OutOfGas("the transaction needs more gas than any may use")
            raise FairwattError(f"the transaction was reverted: {transaction['data'][:10]}")
        return receipt

    def _receipt(self, transaction: Any) -> TxReceipt:
        until = time.monotonic() + _RECEIPT_S
        while time.monotonic() < until:
            try:
                return self.web3.eth.get_transaction_receipt(transaction)
            except TransactionNotFound:
                time.sleep(_POLL_S)
        raise FairwattError(f"anvil did not mine {transaction} within {_RECEIPT_S:g} s")


@contextmanager
def anvil() -> Iterator[Anvil]:
    """Run a fresh node on a free port by the rules of mainnet: addresses are always the same.

    Raises
    ------
    FairwattError
        If there is no anvil here, or it does not start.
    """
    program = shutil.which("anvil")
    if program is None:
        raise FairwattError("anvil is not installed; make setup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [program, "--silent", "--port", str(port), "--hardfork", _RULES]
    command += ["--enable-tx-gas-limit", "--gas-limit", str(_BLOCK_GAS)]
    command += ["--base-fee", "0", "--gas-price", "0", "--auto-impersonate"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        with requests.Session() as session:
            provider = HTTPProvider(url, session=session, exception_retry_configuration=None)
            web3 = Web3(provider)
            until = time.monotonic() + _START_S
            while not web3.is_connected():
                if process.poll() is not None or time.monotonic() > until:
                    raise FairwattError(f"anvil does not start: {' '.join(command)}")
                time.sleep(_POLL_S)
            yield Anvil(url, web3, web3.eth.accounts[0])
    finally:
        process.terminate()
        process.wait()
