// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Market} from "./MarketTypes.sol";

/// @title The calendar of a market
/// @notice A session is a run of consecutive periods with one gate closure and one clearing:
///
///     book opens ---- gate closes ---- session starts ---- session ends
///                     |-- exclusive window --|
///                     |-- clearing window -------|         |-- reading window --|
///                                                          |-- settlement window --------|
library Sessions {
    /// @notice No session of the market starts then.
    error NotASession(uint256 sessionStart);

    function lengthSeconds(Market memory market) internal pure returns (uint256) {
        return uint256(market.periodSeconds) * market.periodsPerSession;
    }

    function requireSession(Market memory market, uint256 sessionStart) internal pure {
        require(
            sessionStart >= market.firstSessionStart &&
                (sessionStart - market.firstSessionStart) % lengthSeconds(market) == 0,
            NotASession(sessionStart)
        );
    }

    /// @notice First second in which no order enters or leaves the book.
    function gateClosure(
        Market memory market,
        uint256 sessionStart
    ) internal pure returns (uint256) {
        return sessionStart - market.gateLeadSeconds;
    }

    /// @notice Last second in which nobody but the manager may propose a clearing.
    function exclusiveDeadline(
        Market memory market,
        uint256 sessionStart
    ) internal pure returns (uint256) {
        return gateClosure(market, sessionStart) + market.exclusiveWindowSeconds;
    }

    /// @notice Last second in which a clearing may be proposed; without one the session is void.
    function clearingDeadline(
        Market memory market,
        uint256 sessionStart
    ) internal pure returns (uint256) {
        return gateClosure(market, sessionStart) + market.clearingWindowSeconds;
    }

    /// @notice First second after the last period.
    function end(Market memory market, uint256 sessionStart) internal pure returns (uint256) {
        return sessionStart + lengthSeconds(market);
    }

    /// @notice Last second in which a missing reading is awaited and not estimated.
    function readingDeadline(
        Market memory market,
        uint256 sessionStart
    ) internal pure returns (uint256) {
        return end(market, sessionStart) + market.readingWindowSeconds;
    }

    /// @notice Last second in which a reading of the session is settled.
    function settlementDeadline(
        Market memory market,
        uint256 sessionStart
    ) internal pure returns (uint256) {
        return end(market, sessionStart) + market.settlementWindowSeconds;
    }
}
