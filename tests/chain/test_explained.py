"""`explained`: Ape's errors in the words of the contracts."""

from __future__ import annotations

import pytest
from ape.exceptions import ContractLogicError
from eth_utils.crypto import keccak

from fairwatt.chain import connect
from fairwatt.chain._chain import explained
from fairwatt.errors import ContractError


@pytest.mark.parametrize("session_start", [1_704_067_200, ord("'")])
def test_explained__revert_data_as_ape_leaves_it__name_and_values(session_start: int) -> None:
    """The second one holds an apostrophe, which Ape does not expect."""
    words = [1, session_start, 3]
    data = keccak(text="GateStillOpen(uint32,uint40,uint256)")[:4]
    data += b"".join(word.to_bytes(32, "big") for word in words)
    raw = repr(data) if b"'" in data else "0x" + data.hex()
    with (
        connect("ethereum:local:test"),
        pytest.raises(ContractError) as caught,
        explained("clear"),
    ):
        raise ContractLogicError(revert_message=raw)
    assert caught.value.name == "GateStillOpen"
    assert list(caught.value.values.values()) == words
