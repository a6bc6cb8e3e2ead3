"""Reading a chain without Ape's long ways: some hundred questions a market day are asked.

Ape looks its settings up anew for each call; here a node is asked directly, and the chain in this
process even without web3. What a contract refuses is asked again the long way, so that errors are
Ape's own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import ape
import requests
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak

from fairwatt.chain._contracts import explained, structs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ape.contracts import ContractInstance
    from ape.types import ContractLog

__all__ = ["REFUSED", "call", "call_all", "calls_made", "is_embedded", "logs"]

REFUSED: Final = object()
"""Stands for an answer that did not come."""
_TIMEOUT_S: Final = 60


def is_embedded(provider: Any) -> bool:
    """Whether the chain is in this process."""
    return str(provider.name) == "test"


def call(method: Any, arguments: tuple[Any, ...], block: int) -> Any:
    """What a view returns at a block; raises as Ape does."""
    provider = ape.networks.provider
    if len(method.abis) > 1:
        return method(*arguments, block_id=block)
    answer = _ask(provider, block, method.contract.address, _question(method, arguments))
    if answer is None:
        return method(*arguments, block_id=block)
    return _decoded(method, answer)


def call_all(questions: Sequence[tuple[Any, tuple[Any, ...]]], block: int) -> list[Any]:
    """What views return, asked of a node all at once; REFUSED where one did not answer.

    On the chain in this process there is nothing to gain: nothing is asked.
    """
    provider = ape.networks.provider
    if is_embedded(provider) or not questions:
        return [REFUSED] * len(questions)
    requests_ = [
        {
            "jsonrpc": "2.0",
            "id": number,
            "method": "eth_call",
            "params": [
                {"to": method.contract.address, "data": "0x" + _question(method, values).hex()},
                hex(block),
            ],
        }
        for number, (method, values) in enumerate(questions)
    ]
    try:
        response = requests.post(provider.http_uri, json=requests_, timeout=_TIMEOUT_S)
        answers = {entry["id"]: entry.get("result") for entry in response.json()}
    except (requests.RequestException, ValueError, TypeError, KeyError):
        return [REFUSED] * len(questions)  # not every node takes many at once
    found = []
    for number, (method, _) in enumerate(questions):
        raw = bytes.fromhex(str(answers.get(number) or "0x").removeprefix("0x"))
        found.append(_decoded(method, raw) if raw or not method.abis[0].outputs else REFUSED)
    return [REFUSED if answers.get(number) is None else value for number, value in enumerate(found)]


def _question(method: Any, arguments: tuple[Any, ...]) -> bytes:
    ecosystem, abi = ape.networks.provider.network.ecosystem, method.abis[0]
    plain = (structs(getattr(value, "address", value)) for value in arguments)
    data = ecosystem.get_method_selector(abi) + ecosystem.encode_calldata(abi, *plain)
    return bytes(data)


def _decoded(method: Any, answer: bytes) -> Any:
    abi = method.abis[0]
    if not abi.outputs:
        return None
    values = ape.networks.provider.network.ecosystem.decode_returndata(abi, answer)
    return values[0] if isinstance(values, tuple | list) and len(values) == 1 else values


def _ask(provider: Any, block: int, address: str, data: bytes) -> bytes | None:
    """What the contract answers; None if it refuses, or nothing is there."""
    # web3 takes a second to load, and warns while it does.
    if is_embedded(provider):
        from fairwatt.chain._embedded import ask  # noqa: PLC0415

        return ask(provider, block, address, data)
    from web3.exceptions import Web3Exception  # noqa: PLC0415

    try:
        return bytes(provider.web3.eth.call({"to": address, "data": data}, block)) or None
    except (Web3Exception, ValueError):
        return None


def logs(
    contract: ContractInstance, name: str, first: int, last: int, topics: dict[str, int]
) -> Iterator[ContractLog]:
    """Events of a contract in some blocks, the last included; perhaps more than the topics say."""
    event, provider = getattr(contract, name), ape.networks.provider
    if not is_embedded(provider):
        yield from event.range(first, last + 1, search_topics=topics)
        return
    from fairwatt.chain._embedded import logs as logs_of  # noqa: PLC0415

    address = to_canonical_address(contract.address)
    selector = bytes(keccak(text=event.abi.selector))
    sought = [address, selector, *(value.to_bytes(32, "big") for value in topics.values())]
    found = [
        log
        for number in range(first, last + 1)
        for log in logs_of(provider, number, sought)
        if to_canonical_address(log["address"]) == address
    ]
    yield from provider.network.ecosystem.decode_logs(found, event.abi)


def calls_made(method: Any, transaction: str) -> Iterator[tuple[Any, ...]]:
    """Arguments of each call of a method in the data of a transaction.

    The calls may be wrapped in that of a contract wallet.

    Raises
    ------
    ChainError
        If there is no such transaction.
    """
    with explained("transaction"):
        data = bytes(ape.networks.provider.get_receipt(transaction).data)
    abi = method.abis[0]
    selector = function_signature_to_4byte_selector(abi.selector)
    types = [str(field.canonical_type) for field in abi.inputs]
    at = data.find(selector)
    while at >= 0:
        with suppress(DecodingError, OverflowError):  # other bytes may look like a call
            yield tuple(decode(types, data[at + len(selector) :], strict=False))
        at = data.find(selector, at + 1)
