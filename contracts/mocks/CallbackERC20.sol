// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";

import {TestERC20} from "./TestERC20.sol";

/// @title An ERC-20 that calls anything while it is being transferred, for tests
contract CallbackERC20 is TestERC20 {
    using Address for address;

    address public target;
    bytes public data;

    constructor(uint8 decimals_) TestERC20(decimals_) {}

    /// @notice Calls this once, at the next transfer.
    function setCallback(address target_, bytes calldata data_) external {
        target = target_;
        data = data_;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        address called = target;
        if (called == address(0) || from == address(0) || to == address(0)) return;
        delete target;
        called.functionCall(data);
    }
}
