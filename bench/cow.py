"""The same orders through the settlement contract of CoW Protocol, and what that costs.

Its contracts are those of the npm package, compiled by its makers; the two tokens are plain ERC-20s
of OpenZeppelin.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from eth_account import Account
from eth_utils.crypto import keccak
from rich.progress import track

from bench.anvil import TRANSACTION_GAS, OutOfGas, anvil, calldata_floor
from bench.books import crossing
from bench.results import ROOT, Result
from fairwatt.chain import project
from fairwatt.errors import FairwattError
from fairwatt.market import Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eth_account.signers.local import LocalAccount
    from rich.console import Console
    from web3.contract import Contract

    from bench.anvil import Anvil, Sent
    from bench.books import Wish

__all__ = ["PACKAGE", "measure", "most_orders", "settle", "settled"]

ORDERS: Final = (10, 50, 100, 200)
PACKAGE: Final = ROOT / "node_modules" / "@cowprotocol" / "contracts" / "lib" / "contracts"
"""Where npm puts the compiled contracts."""

_ORDER: Final = {
    "sellToken": "address",
    "buyToken": "address",
    "receiver": "address",
    "sellAmount": "uint256",
    "buyAmount": "uint256",
    "validTo": "uint32",
    "appData": "bytes32",
    "feeAmount": "uint256",
    "kind": "string",
    "partiallyFillable": "bool",
    "sellTokenBalance": "string",
    "buyTokenBalance": "string",
}
_TYPES: Final = {"Order": [{"name": name, "type": kind} for name, kind in _ORDER.items()]}
_NOBODY: Final = "0x" + "00" * 20
_APP: Final = keccak(text="bench")
_VALID_TO: Final = 4_102_444_800
_BUY_FLAG: Final = 1  # the others are 0: all or nothing, ERC-20 balances, EIP-712 signature
_ENERGY, _MONEY = 0, 1  # the tokens
_WEI_PER_WH, _WEI_PER_NANO, _MICRO = 10**15, 10**9, 10**6
_SPARE_WEI: Final = 10**18  # held by everybody beyond what is traded
_PER_FIRST_TRADE: Final = 100  # a first trade costs more: a whole book need not fit


def measure(console: Console, orders: Sequence[int] = ORDERS) -> Iterator[Result]:
    """Gas of one settlement by its orders, and the most orders that one transaction holds."""
    for count in track(orders, "cow", console=console, transient=True):
        sent = settled(crossing(count))
        floor = calldata_floor(sent.calldata)
        yield Result(
            f"cow_gas_n{count}", sent.gas / count, "gas/order", "calldata floor", floor / count
        )
        yield Result(f"cow_total_n{count}", sent.gas, "gas", "transaction limit", TRANSACTION_GAS)
    yield Result("cow_most_orders", most_orders(), "orders")


def settled(wishes: Sequence[Wish]) -> Sent:
    """Settle crossing orders on a node of their own, as `settle` does."""
    with anvil() as node:
        return settle(node, wishes)


def settle(node: Anvil, wishes: Sequence[Wish]) -> Sent:
    """Settle orders of one step that all trade in full, after these wallets have traded once.

    Each order has a wallet of its own, which has approved the vault relayer for ever, and holds
    something of both tokens before and after, and so does the settlement contract: what it costs is
    what it costs in daily use, the cheapest there is.

    Raises
    ------
    OutOfGas
        If the orders do not fit into a transaction.
    FairwattError
        If the package is not installed, the orders do not all trade, or anybody ends up with
        something else than they should.
    """
    venue = _Venue.opened(node, wishes)
    for first in range(0, len(wishes), _PER_FIRST_TRADE):
        venue.trade(wishes[first : first + _PER_FIRST_TRADE], _VALID_TO - 1)
    sent = venue.trade(wishes, _VALID_TO)
    venue.require_balances(wishes)
    return sent


def most_orders() -> int:
    """The largest even number of orders that one settlement holds."""
    few, many = (settled(crossing(count)).gas for count in (10, 100))
    per_order = (many - few) / 90
    most = int((TRANSACTION_GAS - few) / per_order + 10) // 2 * 2
    while not _fits(most):
        most -= 2
    while _fits(most + 2):
        most += 2
    return most


def _fits(orders: int) -> bool:
    try:
        settled(crossing(orders))
    except OutOfGas:
        return False
    return True


@dataclass(frozen=True)
class _Venue:
    """The deployed protocol with its two tokens, and one clearing price for everybody."""

    node: Anvil
    settlement: Contract
    tokens: tuple[Contract, Contract]
    price_micro_per_kwh: int

    @classmethod
    def opened(cls, node: Anvil, wishes: Sequence[Wish]) -> _Venue:
        """Deploy, and give every wallet what its order needs twice over."""
        price = _clearing_price(wishes)
        authentication = node.deploy(*_compiled("GPv2AllowListAuthentication"))
        node.send(authentication, "initializeManager", node.sender)
        node.send(authentication, "addSolver", node.sender)
        no_vault = node.sender  # balances of ERC-20s are moved without it
        settlement = node.deploy(*_compiled("GPv2Settlement"), authentication.address, no_vault)
        venue = cls(node, settlement, (_token(node), _token(node)), price)
        for token in venue.tokens:
            node.send(token, "mint", settlement.address, _SPARE_WEI)
        relayer = settlement.functions.vaultRelayer().call()
        for wish in wishes:
            token = venue.tokens[_sold(wish)]
            wallet = _wallet(wish).address
            amount = 2 * venue.amounts_wei(wish)[_sold(wish)] + _SPARE_WEI
            node.send(token, "mint", wallet, amount)
            node.send(token, "approve", relayer, 2**256 - 1, sender=wallet)
        return venue

    def trade(self, wishes: Sequence[Wish], valid_to: int) -> Sent:
        """Settle all orders at the price; `valid_to` tells one trade of a wallet from another."""
        tokens = [token.address for token in self.tokens]
        trades = [self._trade(wish, valid_to) for wish in wishes]
        prices = [self.price_micro_per_kwh, _MICRO]
        return self.node.send(self.settlement, "settle", tokens, prices, trades, [[], [], []])

    def _trade(self, wish: Wish, valid_to: int) -> tuple[Any, ...]:
        (step,) = wish.steps
        limit = _amounts_wei(step.energy_wh, step.price_micro_per_kwh)
        sold, bought = _sold(wish), 1 - _sold(wish)
        order = {
            "sellToken": self.tokens[sold].address,
            "buyToken": self.tokens[bought].address,
            "receiver": _NOBODY,
            "sellAmount": limit[sold],
            "buyAmount": limit[bought],
            "validTo": valid_to,
            "appData": _APP,
            "feeAmount": 0,
            "kind": "sell" if step.side is Side.ASK else "buy",
            "partiallyFillable": False,
            "sellTokenBalance": "erc20",
            "buyTokenBalance": "erc20",
        }
        signature = _wallet(wish).sign_typed_data(self._domain, _TYPES, order).signature
        flags = _BUY_FLAG if step.side is Side.BID else 0
        amounts = (limit[sold], limit[bought], valid_to, _APP, 0, flags, 0)
        return sold, bought, _NOBODY, *amounts, bytes(signature)

    @cached_property
    def _domain(self) -> dict[str, Any]:
        return {
            "name": "Gnosis Protocol",
            "version": "v2",
            "chainId": self.node.web3.eth.chain_id,
            "verifyingContract": self.settlement.address,
        }

    def amounts_wei(self, wish: Wish) -> tuple[int, int]:
        """Energy and money that change hands for this order."""
        return _amounts_wei(wish.steps[0].energy_wh, self.price_micro_per_kwh)

    def require_balances(self, wishes: Sequence[Wish]) -> None:
        """Require that everybody has sold and bought twice, and the settlement kept its own."""
        expected = {self.settlement.address: (_SPARE_WEI, _SPARE_WEI)}
        for wish in wishes:
            amounts, sold = self.amounts_wei(wish), _sold(wish)
            kept = [_SPARE_WEI, _SPARE_WEI]
            kept[1 - sold] = 2 * amounts[1 - sold]
            expected[_wallet(wish).address] = (kept[_ENERGY], kept[_MONEY])
        for address, balances in expected.items():
            found = tuple(token.functions.balanceOf(address).call() for token in self.tokens)
            if found != balances:
                raise FairwattError(f"CoW left {found} with {address} instead of {balances}")


def _clearing_price(wishes: Sequence[Wish]) -> int:
    """The midpoint of the prices at which everybody trades, micro-token/kWh."""
    steps = [step for wish in wishes for step in wish.steps]
    asks = [step for step in steps if step.side is Side.ASK]
    bids = [step for step in steps if step.side is Side.BID]
    highest_ask = max(step.price_micro_per_kwh for step in asks)
    lowest_bid = min(step.price_micro_per_kwh for step in bids)
    sold, bought = (sum(step.energy_wh for step in some) for some in (asks, bids))
    if len(steps) != len(wishes) or highest_ask > lowest_bid or sold != bought:
        raise FairwattError("CoW is given orders of one step that all trade in full")
    return (highest_ask + lowest_bid) >> 1


def _amounts_wei(energy_wh: int, price_micro_per_kwh: int) -> tuple[int, int]:
    return energy_wh * _WEI_PER_WH, energy_wh * price_micro_per_kwh * _WEI_PER_NANO


def _sold(wish: Wish) -> int:
    """Index of the token that the peer gives."""
    return _ENERGY if wish.steps[0].side is Side.ASK else _MONEY


def _wallet(wish: Wish) -> LocalAccount:
    account: LocalAccount = Account.from_key(keccak(text=f"bench wallet {wish.peer}"))
    return account


def _token(node: Anvil) -> Contract:
    compiled = project().PlainERC20.contract_type
    abi = [part.model_dump(mode="json", by_alias=True) for part in compiled.abi]
    return node.deploy(abi, compiled.deployment_bytecode.bytecode)


def _compiled(name: str) -> tuple[Any, str]:
    """ABI and bytecode of a contract of the package."""
    try:
        artifact = json.loads((PACKAGE / f"{name}.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise FairwattError(
            "the contracts of CoW Protocol are not installed; make setup"
        ) from error
    return artifact["abi"], artifact["bytecode"]
