// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A free ERC-20 with any decimals, for tests and local chains; if wanted, it takes a fee or says no
contract TestERC20 is ERC20 {
    uint8 private immutable _decimals;
    uint256 public feePerMille;
    bool public refuses;

    constructor(uint8 decimals_) ERC20("Test money", "TEST") {
        _decimals = decimals_;
    }

    function decimals() public view override returns (uint8) {
        return _decimals;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setFee(uint256 feePerMille_) external {
        feePerMille = feePerMille_;
    }

    /// @notice Lets transfers return false and do nothing, as old tokens do.
    function setRefusing(bool refuses_) external {
        refuses = refuses_;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return !refuses && super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return !refuses && super.transferFrom(from, to, value);
    }

    function _update(address from, address to, uint256 value) internal virtual override {
        uint256 fee = from == address(0) || to == address(0) ? 0 : (value * feePerMille) / 1000;
        super._update(from, to, value - fee);
        if (fee > 0) super._update(from, address(0), fee);
    }
}
