// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A free ERC-20 that does nothing besides, so that moving it costs as little as it can
contract PlainERC20 is ERC20 {
    constructor() ERC20("Plain money", "PLAIN") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
