// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IClearedPositions} from "../interfaces/ISettlement.sol";
import {Market} from "../MarketTypes.sol";

/// @title Markets and what was cleared in them, as one says, for tests
contract ClearingStub is IClearedPositions {
    error UnknownMarket(uint32 market);

    /// @inheritdoc IClearedPositions
    mapping(uint32 market => mapping(uint40 sessionStart => bytes32)) public positionsHash;
    mapping(uint32 market => Market) private _markets;

    function setMarket(uint32 market, Market calldata terms) external {
        _markets[market] = terms;
    }

    function setPositionsHash(uint32 market, uint40 sessionStart, bytes32 hash) external {
        positionsHash[market][sessionStart] = hash;
    }

    /// @notice As in the order book.
    function marketTerms(uint32 market) external view returns (Market memory terms) {
        terms = _markets[market];
        require(terms.periodSeconds != 0, UnknownMarket(market));
    }
}
