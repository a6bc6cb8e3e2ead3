"""The harness of the proof in revm, which runs some ten thousand checks in a second."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.abi import collapse_if_tuple, function_abi_to_4byte_selector
from pyrevm import EVM, AccountInfo

from tests.contracts.test_clearing_proof import Outcome

BUILD = Path(__file__).parents[2] / ".build" / "__local__.json"
_NOBODY, _HARNESS = "0x" + "00" * 19 + "01", "0x" + "11" * 20
_GAS = 10**9
_OUTPUT = re.compile(r"output: 0x([0-9a-f]*)")
_PANIC = "4e487b71"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the harness said: the outcome it returned, or the error it reverted with.

    `error` is empty if the clearing is accepted; it is `Panic` or `Halt` where the EVM itself
    stopped it.
    """

    error: str
    output: bytes

    @property
    def accepted(self) -> bool:
        return not self.error


class Harness:
    """`ClearingProofHarness` as it was compiled, or any other code with its interface."""

    def __init__(self, abi: list[dict[str, Any]], code: bytes) -> None:
        self._abi = abi
        self._evm = EVM(gas_limit=2**63)
        self._evm.insert_account_info(_HARNESS, AccountInfo(code=code))

    @classmethod
    def built(cls, build: Path = BUILD) -> Harness:
        """The one that `make compile` made."""
        contract = json.loads(build.read_text())["contractTypes"]["ClearingProofHarness"]
        code = contract["runtimeBytecode"]["bytecode"]
        return cls(contract["abi"], bytes.fromhex(code.removeprefix("0x")))

    @cached_property
    def types(self) -> list[str]:
        """Of the arguments of `check`."""
        return [collapse_if_tuple(field) for field in self._method["inputs"]]

    @cached_property
    def _method(self) -> Any:
        return next(entry for entry in self._abi if entry.get("name") == "check")

    @cached_property
    def _selector(self) -> bytes:
        return bytes(function_abi_to_4byte_selector(self._method))

    @cached_property
    def _errors(self) -> dict[str, str]:
        return {
            function_abi_to_4byte_selector(entry).hex(): entry["name"]
            for entry in self._abi
            if entry["type"] == "error"
        } | {_PANIC: "Panic", "": "Revert"}

    @property
    def error_names(self) -> set[str]:
        return {entry["name"] for entry in self._abi if entry["type"] == "error"}

    def check(self, *arguments: object) -> Verdict:
        """Ask the harness about a clearing, with the arguments as Python values."""
        return self.run(self._selector + encode(self.types, arguments))

    def check_packed(self, frame: bytes, *arguments: bytes | int) -> Verdict:
        """Ask the harness with its first argument encoded by `encode_frame`: much faster."""
        heads, tail = [], bytearray(frame)
        at = 32 * (1 + len(arguments))
        heads.append(at.to_bytes(32, "big"))
        for argument in arguments:
            if isinstance(argument, int):
                heads.append(argument.to_bytes(32, "big"))
                continue
            heads.append((at + len(tail)).to_bytes(32, "big"))
            tail += len(argument).to_bytes(32, "big") + argument + bytes(-len(argument) % 32)
        return self.run(self._selector + b"".join(heads) + tail)

    def encode_frame(self, frame: tuple[Any, ...]) -> bytes:
        return bytes(encode(self.types[:1], [frame]))[32:]

    def run(self, data: bytes) -> Verdict:
        """Call the harness with these bytes."""
        try:
            output = self._evm.message_call(
                _NOBODY, _HARNESS, calldata=data, gas=_GAS, is_static=True
            )
        except RuntimeError as refusal:
            found = _OUTPUT.search(str(refusal))
            if found is None:
                return Verdict("Halt", str(refusal).encode())
            output = bytes.fromhex(found[1])
            return Verdict(self._errors.get(output[:4].hex(), "Unknown"), output)
        return Verdict("", bytes(output))

    def outcome(self, verdict: Verdict) -> Outcome:
        types = [collapse_if_tuple(field) for field in self._method["outputs"]]
        return Outcome(*decode(types, verdict.output)[0])
