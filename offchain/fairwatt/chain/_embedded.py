"""The chain in this process, asked directly: for an event eth-tester reads all of it, backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eth.vm.message import Message
from eth_bloom.bloom import BloomFilter
from eth_tester.backends.pyevm.main import _get_block_by_number
from eth_tester.backends.pyevm.serializers import serialize_log
from eth_typing import Address
from eth_utils.address import to_canonical_address

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ask", "logs"]

_NOBODY = Address(bytes(20))


def ask(provider: Any, block: int, address: str, data: bytes) -> bytes | None:
    """What a contract answers at a block; None if it refuses, or nothing is there."""
    chain = provider.evm_backend.chain
    header = _get_block_by_number(chain, block).header
    state = chain.get_vm(at_header=header).state
    contract = to_canonical_address(address)
    context = state.transaction_context_class(gas_price=0, origin=_NOBODY)
    code = state.get_code(contract)
    message = Message(header.gas_limit, contract, _NOBODY, 0, data, code)
    computation = state.computation_class.apply_message(state, message, context)
    return None if computation.is_error else bytes(computation.output) or None


def logs(provider: Any, number: int, sought: list[bytes]) -> Iterator[dict[str, Any]]:
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
