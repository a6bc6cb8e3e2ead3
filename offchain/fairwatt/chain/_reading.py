"""Reading a chain without Ape's long ways: some hundred questions a market day are asked.

Ape looks its settings up anew for each call, and eth-tester reads the whole chain, backwards, for
one event. Here a node is asked directly, and the chain in this process even without web3. What a
contract refuses is asked again the long way, so that errors are Ape's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ape
from ape_test.provider import LocalProvider
from eth.vm.message import Message
from eth_bloom.bloom import BloomFilter
from eth_tester.backends.pyevm.main import _get_block_by_number
from eth_tester.backends.pyevm.serializers import serialize_log
from eth_typing import Address
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak
from web3.exceptions import Web3Exception

from fairwatt.chain._contracts import structs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ape.contracts import ContractInstance
    from ape.types import ContractLog

__all__ = ["call", "logs"]

_NOBODY = Address(bytes(20))


def call(method: Any, arguments: tuple[Any, ...], block: int) -> Any:
    """What a view returns at a block; raises as Ape does."""
    provider = ape.networks.provider
    ecosystem = provider.network.ecosystem
    abi = method.abis[0]
    if len(method.abis) > 1 or len(abi.inputs) != len(arguments):
        return method(*arguments, block_id=block)
    plain = tuple(getattr(value, "address", value) for value in arguments)
    data = ecosystem.get_method_selector(abi)
    data += ecosystem.encode_calldata(abi, *map(structs, plain))
    answer = _ask(provider, block, method.contract.address, bytes(data))
    if answer is None:
        return method(*arguments, block_id=block)
    values = ecosystem.decode_returndata(abi, answer)
    return values[0] if isinstance(values, tuple | list) and len(values) == 1 else values


def _ask(provider: Any, block: int, address: str, data: bytes) -> bytes | None:
    """What the contract answers; None if it refuses, or nothing is there."""
    if not isinstance(provider, LocalProvider):
        try:
            return bytes(provider.web3.eth.call({"to": address, "data": data}, block)) or None
        except (Web3Exception, ValueError):
            return None
    chain = provider.evm_backend.chain
    header = _get_block_by_number(chain, block).header
    state = chain.get_vm(at_header=header).state
    contract = to_canonical_address(address)
    context = state.transaction_context_class(gas_price=0, origin=_NOBODY)
    code = state.get_code(contract)
    message = Message(header.gas_limit, contract, _NOBODY, 0, data, code)
    computation = state.computation_class.apply_message(state, message, context)
    return None if computation.is_error else bytes(computation.output) or None


def logs(
    contract: ContractInstance, name: str, first: int, last: int, topics: dict[str, int]
) -> Iterator[ContractLog]:
    """Events of a contract in some blocks, the last included; perhaps more than the topics say."""
    event, provider = getattr(contract, name), ape.networks.provider
    if not isinstance(provider, LocalProvider):
        yield from event.range(first, last + 1, search_topics=topics)
        return
    address = to_canonical_address(contract.address)
    selector = bytes(keccak(text=event.abi.selector))
    sought = [address, selector, *(value.to_bytes(32, "big") for value in topics.values())]
    found = [
        log
        for number in range(first, last + 1)
        for log in _logs_of(provider, number, sought)
        if to_canonical_address(log["address"]) == address
    ]
    yield from provider.network.ecosystem.decode_logs(found, event.abi)


def _logs_of(provider: LocalProvider, number: int, sought: list[bytes]) -> Iterator[dict[str, Any]]:
    """The logs of a block, as eth-tester hands them out; none where its filter says so."""
    chain = provider.evm_backend.chain
    header = chain.get_canonical_block_header_by_number(number)
    seen = BloomFilter(header.bloom)
    if not all(what in seen for what in sought):
        return
    normalizer = provider.tester.ethereum_tester.normalizer
    block = chain.get_canonical_block_by_number(number)
    receipts = block.get_receipts(chain.chaindb)
    for at, (transaction, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
        for index, entry in enumerate(receipt.logs):
            raw = serialize_log(block, transaction, at, entry, index, is_pending=False)
            yield normalizer.normalize_outbound_log_entry(raw)
