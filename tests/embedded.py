"""The embedded chain by shorter ways, and no step of it computed twice.

A test of the contracts asks the chain some hundred times. Ape, web3 and eth-tester each wrap, check
and convert every question, list twenty accounts for it, run every transaction a second time to
print logs that nobody writes, and read the whole chain, backwards, for one event. And most tests
begin with the same steps: the same peers are admitted to the same community with the same funds.

So py-evm is asked directly here, and what a transaction made of a state is remembered: where the
same account sends the same message on the same block at the same time again, the chain is put
where that had led. Nothing is assumed about what contracts do. Whatever a contract refuses takes
the long way, so that errors are Ape's own.

`tests/chain/test_embedded.py` holds these ways to the long ones.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import eth_keys.backends.native.main as secp256k1
from ape.api import AccountAPI, ReceiptAPI
from ape.contracts.base import ContractCall
from ape_ethereum.transactions import DynamicFeeTransaction
from ape_test.provider import LocalProvider
from eth.constants import GENESIS_PARENT_HASH
from eth.vm.message import Message
from eth_tester.backends.pyevm.main import _get_block_by_number
from eth_tester.backends.pyevm.serializers import serialize_log
from eth_tester.utils.filters import check_if_log_matches
from eth_utils.address import to_canonical_address
from hexbytes import HexBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from ape.api import TransactionAPI
    from ape.types import ContractLog
    from ape.types.events import LogFilter
    from eth.abc import BlockAPI, BlockHeaderAPI

_NOBODY = "0x" + "0" * 40
_PLACES = {
    "ask": (ContractCall, "__call__"),
    "send": (AccountAPI, "call"),
    "mine": (LocalProvider, "mine"),
    "set_timestamp": (LocalProvider, "set_timestamp"),
    "restore": (LocalProvider, "restore"),
    "contract_logs": (LocalProvider, "get_contract_logs"),
    "get_code": (LocalProvider, "get_code"),
    "show_logs": (ReceiptAPI, "show_debug_logs"),
}
_LONG = {way: getattr(owner, name) for way, (owner, name) in _PLACES.items()}


@contextmanager
def short_ways() -> Iterator[None]:
    """Take the short ways for as long as this lasts."""
    seen = _Seen()
    with (
        _ways({way: getattr(seen, way) for way in _PLACES}),
        patch.multiple(
            secp256k1,  # plain Python, which takes as long for a signature as for a transaction
            ecdsa_raw_recover=lru_cache(None)(secp256k1.ecdsa_raw_recover),
            ecdsa_raw_sign=lru_cache(None)(secp256k1.ecdsa_raw_sign),
            private_key_to_public_key=lru_cache(None)(secp256k1.private_key_to_public_key),
        ),
    ):
        yield


@contextmanager
def long_ways() -> Iterator[None]:
    """Take the ways of Ape, web3 and eth-tester meanwhile."""
    with _ways(_LONG):
        yield


@contextmanager
def _ways(ways: dict[str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for way, (owner, name) in _PLACES.items():
            stack.enter_context(patch.object(owner, name, ways[way]))
        yield


@dataclass
class _Seen:
    """What was computed before: by the state it began with, and what was asked of it."""

    steps: dict[Hashable, tuple[Any, BlockHeaderAPI]] = field(default_factory=dict)
    answers: dict[Hashable, bytes] = field(default_factory=dict)
    codes: dict[Hashable, HexBytes] = field(default_factory=dict)
    logs: dict[bytes, tuple[tuple[Any, Any], ...]] = field(default_factory=dict)

    # As methods of Ape's classes these are called with the instance of that class, so each
    # is a closure over this memory.

    @property
    def ask(self) -> Callable[..., Any]:
        """Call a contract."""

        def ask(call: ContractCall, *arguments: Any, **options: Any) -> Any:
            provider = call.provider
            if isinstance(provider, LocalProvider) and options.keys() <= {"sender", "block_id"}:
                ecosystem = provider.network.ecosystem
                data = ecosystem.get_method_selector(call.abi)
                data += ecosystem.encode_calldata(call.abi, *arguments)
                sender = options.get("sender", _NOBODY)
                sender = getattr(sender, "address", sender)
                question = (sender, call.address, bytes(data))
                answer = self._answer(provider, options.get("block_id"), *question)
                if answer is not None:
                    return call._decode_returndata(HexBytes(answer))
            return _LONG["ask"](call, *arguments, **options)

        return ask

    def _answer(
        self, provider: LocalProvider, block: Any, sender: str, to: str, data: bytes
    ) -> bytes | None:
        """What a contract returns; None if it refuses."""
        chain = provider.evm_backend.chain
        header = _get_block_by_number(chain, "latest" if block is None else block).header
        key = (header.hash, sender, to, data)
        if key not in self.answers:
            vm = chain.get_vm(at_header=header)
            state, origin, contract = (
                vm.state,
                to_canonical_address(sender),
                to_canonical_address(to),
            )
            context = state.transaction_context_class(gas_price=0, origin=origin)
            code = state.get_code(contract)
            message = Message(header.gas_limit, contract, origin, 0, data, code)
            computation = state.computation_class.apply_message(state, message, context)
            if computation.is_error:
                return None
            self.answers[key] = bytes(computation.output)
        return self.answers[key]

    @property
    def send(self) -> Callable[..., Any]:
        """Send a transaction."""

        def send(account: AccountAPI, txn: TransactionAPI, **options: Any) -> ReceiptAPI:
            def run() -> ReceiptAPI:
                return _LONG["send"](account, txn, **options)

            provider = account.provider
            if type(txn) is DynamicFeeTransaction and options.keys() <= {"sender"}:
                message = ("send", account.address, txn.receiver, bytes(txn.data), txn.value)
                return self._step(provider, message, run)
            return run()

        return send

    @property
    def mine(self) -> Callable[..., None]:
        """Mine empty blocks."""

        def mine(provider: LocalProvider, num_blocks: int = 1) -> None:
            self._step(provider, ("mine", num_blocks), lambda: _LONG["mine"](provider, num_blocks))

        return mine

    @property
    def set_timestamp(self) -> Callable[..., None]:
        """Set the time of the next block."""

        def set_timestamp(provider: LocalProvider, new_timestamp: int) -> None:
            self._step(
                provider,
                ("time", new_timestamp),
                lambda: _LONG["set_timestamp"](provider, new_timestamp),
            )

        return set_timestamp

    def _step(self, provider: Any, what: tuple[Any, ...], run: Callable[[], Any]) -> Any:
        if not (isinstance(provider, LocalProvider) and provider.auto_mine):
            return run()
        chain = provider.evm_backend.chain
        key = (chain.header.parent_hash, chain.header.timestamp, *what)
        if key in self.steps:
            result, pending = self.steps[key]
            _put(chain, pending)
        else:
            result = run()
            self.steps[key] = result, provider.evm_backend.chain.header
        return result

    @property
    def restore(self) -> Callable[..., None]:
        """Go back to a snapshot, which is the hash of a block."""

        def restore(provider: LocalProvider, snapshot_id: Any) -> None:
            chain = provider.evm_backend.chain
            head = chain.chaindb.get_block_header_by_hash(snapshot_id)
            _put(chain, chain.create_header_from_parent(head))

        return restore

    @property
    def show_logs(self) -> Callable[..., None]:
        """Print what a contract wrote to the console of Hardhat: none of ours does."""
        return lambda _receipt: None

    @property
    def get_code(self) -> Callable[..., HexBytes]:
        """The code at an address: Ape looks for it before each call."""

        def get_code(provider: LocalProvider, address: str, block_id: Any = None) -> HexBytes:
            chain = provider.evm_backend.chain
            block = "latest" if block_id is None else block_id
            header = _get_block_by_number(chain, block).header
            key = (header.hash, address)
            if key not in self.codes:
                state = chain.get_vm(at_header=header).state
                self.codes[key] = HexBytes(state.get_code(to_canonical_address(address)))
            return self.codes[key]

        return get_code

    @property
    def contract_logs(self) -> Callable[..., Iterator[ContractLog]]:
        """Find events of contracts."""

        def contract_logs(provider: LocalProvider, log_filter: LogFilter) -> Iterator[ContractLog]:
            chain = provider.evm_backend.chain
            latest = chain.get_block().number - 1
            stop = latest if log_filter.stop_block is None else min(latest, log_filter.stop_block)
            start = max(0, log_filter.start_block)
            normalizer = provider.tester.ethereum_tester.normalizer
            *_, addresses, topics = normalizer.normalize_inbound_filter_params(
                start, stop, log_filter.addresses, log_filter.topic_filter
            )
            found = [
                log
                for number in range(start, stop + 1)
                for raw, log in self._logs(provider, chain, number)
                if check_if_log_matches(raw, start, stop, addresses, topics)
            ]
            yield from provider.network.ecosystem.decode_logs(found, *log_filter.events)

        return contract_logs

    def _logs(self, provider: LocalProvider, chain: Any, number: int) -> tuple[Any, ...]:
        hash_ = chain.chaindb.get_canonical_block_hash(number)
        if hash_ not in self.logs:
            block = chain.get_canonical_block_by_number(number)
            self.logs[hash_] = tuple(_logs_of(provider, block))
        return self.logs[hash_]


def _put(chain: Any, pending: BlockHeaderAPI) -> None:
    """Let the chain end where `pending` is the block to come."""
    database = chain.chaindb
    head = database.get_block_header_by_hash(pending.parent_hash)
    database._set_as_canonical_chain_head(database.db, head, GENESIS_PARENT_HASH)
    chain.header = pending


def _logs_of(
    provider: LocalProvider, block: BlockAPI
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The logs of a mined block, as eth-tester filters them and as it hands them out."""
    normalizer = provider.tester.ethereum_tester.normalizer
    receipts = block.get_receipts(provider.evm_backend.chain.chaindb)
    for at, (transaction, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
        for index, entry in enumerate(receipt.logs):
            raw = serialize_log(block, transaction, at, entry, index, is_pending=False)
            log = normalizer.normalize_outbound_log_entry(raw)
            yield normalizer.normalize_inbound_log_entry(log), log
