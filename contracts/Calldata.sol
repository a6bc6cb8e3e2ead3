// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Reading packed records
library Calldata {
    /// @notice The 32 bytes of the calldata from `place` on, zeros beyond its end.
    function word(uint256 place) internal pure returns (uint256 value) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            value := calldataload(place)
        }
    }
}
