"""The deployment file: on which chain, and where, the contracts are. Read without any chain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairwatt import jsontext
from fairwatt.eip712 import Domain, checksummed
from fairwatt.errors import ChainError
from fairwatt.files import read
from fairwatt.jsontext import short

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CONTRACTS", "Deployment"]

CONTRACTS: Final = {
    "registry": "PeerRegistry",
    "token": "CommunityToken",
    "ledger": "Ledger",
    "order_book": "OrderBook",
    "clearing": "Clearing",
    "trades": "Trades",
    "settlement": "Settlement",
    "bonds": "Bonds",
}
"""Names of the contracts, by the names they go by in the chain module."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts are; `addresses` by the keys of `CONTRACTS`."""

    network: str
    chain_id: int
    block: int
    addresses: dict[str, str]

    def domain(self, contract: str) -> Domain:
        """Domain in which is signed what a contract, by its key of `CONTRACTS`, takes."""
        return Domain(self.chain_id, self.addresses[contract])

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "network": self.network,
            "chainId": self.chain_id,
            "block": self.block,
            "contracts": {CONTRACTS[field]: address for field, address in self.addresses.items()},
        }

    def save(self, path: Path) -> None:
        """Write the deployment file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_document(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Deployment:
        """Read a deployment file.

        Raises
        ------
        ChainError, FileError
            If it is missing, malformed, with the place of what is wrong, or cannot be read.
        """

        def refusal(place: str, problem: str) -> ChainError:
            return ChainError(f"{path} is not a deployment file: {place}: {problem}")

        if not path.exists():
            raise ChainError(f"there is no deployment file {path}; deploy first")
        content = jsontext.parse(read(path), "deployment", refusal)
        contracts = content.get("contracts") if isinstance(content, dict) else None
        if not isinstance(contracts, dict):
            raise refusal("contracts", "must be an object of addresses")
        addresses = dict[str, str]()
        for field, name in CONTRACTS.items():
            if (address := checksummed(contracts.get(name))) is None:
                problem = f"must be an address, not {short(contracts.get(name))}"
                raise refusal(f"contracts.{name}", problem)
            addresses[field] = address
        for field in ("chainId", "block"):
            if not _is_count(content.get(field)):
                problem = f"must be a whole number, not {short(content.get(field))}"
                raise refusal(field, problem)
        if not isinstance(content.get("network"), str):
            raise refusal("network", "must be the name of a network")
        return cls(
            network=content["network"],
            chain_id=content["chainId"],
            block=content["block"],
            addresses=addresses,
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64
