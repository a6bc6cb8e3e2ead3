// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IClearedPositions, ITradedPositions} from "../interfaces/ISettlement.sol";
import {Market} from "../MarketTypes.sol";

/// @title Markets and what was cleared in them, as one says, for tests; nobody trades besides
contract ClearingStub is IClearedPositions, ITradedPositions {
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

    /// @inheritdoc ITradedPositions
    function traders(uint32, uint40) external pure returns (uint256) {
        return 0;
    }

    /// @inheritdoc ITradedPositions
    function withTraded(
        uint32,
        uint40,
        uint32,
        bytes calldata position
    ) external pure returns (bytes memory) {
        return position;
    }

    /// @notice As in the order book.
    function marketTerms(uint32 market) external view returns (Market memory terms) {
        terms = _markets[market];
        require(terms.periodSeconds != 0, UnknownMarket(market));
    }
}
