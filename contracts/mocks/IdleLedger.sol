// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A ledger that counts deposits and takes none
contract IdleLedger {
    /// @notice How often somebody tried.
    uint256 public deposits;

    /// @notice Leaves the tokens where they are.
    function deposit(uint32, uint64) external {
        ++deposits;
    }
}
