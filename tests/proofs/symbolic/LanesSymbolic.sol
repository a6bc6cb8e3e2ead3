// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lanes} from "../../../contracts/Lanes.sol";
import {PlainLanes} from "../../../contracts/mocks/PlainLanes.sol";

/// @title `Lanes` is `PlainLanes`, for all arguments within the bounds that `Lanes` states
/// @notice Each check is one that halmos tries to break with symbolic arguments.
contract LanesSymbolic {
    uint256 private constant ONE = Lanes.ONE;

    function check_halves(uint256 word) external pure {
        (uint256 evenHalf, uint256 oddHalf) = PlainLanes.halves(word);
        assert(Lanes.even(word) == evenHalf);
        assert(Lanes.odd(word) == oddHalf);
        assert(Lanes.join(evenHalf, oddHalf) == word);
    }

    function check_biased(uint256 half) external pure {
        half &= 0xffffffff * ONE;
        assert(Lanes.biased(half) == PlainLanes.biased(half));
    }

    function check_all(uint64 number) external pure {
        uint256[4] memory same = [uint256(number), number, number, number];
        assert(Lanes.all(number) == PlainLanes.merge(same));
    }

    function check_atMost(uint256 a, uint256 b) external pure {
        a &= 0x7fffffffffffffff * ONE;
        b &= 0x7fffffffffffffff * ONE;
        assert(Lanes.atMost(a, b) == PlainLanes.atMost(a, b));
    }

    function check_midpoint(uint256 low, uint256 high) external pure {
        low &= 0xffffffff * ONE;
        high &= 0xffffffff * ONE;
        assert(Lanes.midpoint(low, high) == PlainLanes.midpoint(low, high));
    }

    function check_nonZero(uint256 half) external pure {
        half &= 0x7fffffff * ONE;
        assert(Lanes.nonZero(half) == PlainLanes.nonZero(half));
    }

    /// @notice Four lanes below 2^62 sum to less than 2^64.
    function check_sum(uint256 half) external pure {
        half &= 0x3fffffffffffffff * ONE;
        assert(Lanes.sum(half) == PlainLanes.sum(half));
    }

    function check_reversed(uint256 half) external pure {
        assert(Lanes.reversed(half) == PlainLanes.reversed(half));
    }

    /// @notice Products of 32 and 30 bits are more than a solver multiplies out: the lanes of one factor are 0 or 1 here.
    function check_dot(uint256 a, uint256 b) external pure {
        a &= 0x3fffffffffffffff * ONE;
        b &= ONE;
        assert(Lanes.dot(a, b) == PlainLanes.dot(a, b));
    }

    function check_at(uint256 half) external pure {
        uint256[4] memory lanes = PlainLanes.split(half);
        for (uint256 lane; lane < 4; ++lane) assert(Lanes.at(half, lane) == lanes[lane]);
    }

    function check_fill(uint256 limits, uint256 steps, uint256 low, uint256 high) external pure {
        (limits, steps, low, high) = _bounded(limits, steps, low, high);
        if (!PlainLanes.atMost(low, high)) return;
        (uint256 asks, uint256 bids, uint256 marginal, uint256 between) = Lanes.fill(
            limits,
            steps,
            low,
            high
        );
        (uint256 asks_, uint256 bids_, uint256 marginal_, uint256 between_) = PlainLanes.fill(
            limits,
            steps,
            low,
            high
        );
        assert(between == between_);
        // Steps between the prices are refused, whatever else is said of them.
        if (between != 0) return;
        assert(asks == asks_ && bids == bids_ && marginal == marginal_);
    }

    function check_addFills(
        uint256 limits,
        uint256 steps,
        uint256 low,
        uint256 high
    ) external pure {
        (limits, steps, low, high) = _bounded(limits, steps, low, high);
        if (!PlainLanes.atMost(low, high)) return;
        (uint256 asks, uint256 bids, uint256 marginal, uint256 between) = Lanes.fill(
            limits,
            steps,
            low,
            high
        );
        uint256[3] memory prices = [low, 0, high];
        uint256[3] memory position = [ONE, 0, 2 * ONE];
        uint256 at;
        uint256 to;
        assembly ("memory-safe") {
            at := prices
            to := position
        }
        uint256 undecided = Lanes.addFills(Lanes.biased(limits), steps, at, to);
        assert(undecided == marginal | between);
        assert(position[0] == ONE + asks && position[2] == 2 * ONE + bids);
    }

    function _bounded(
        uint256 limits,
        uint256 steps,
        uint256 low,
        uint256 high
    ) private pure returns (uint256, uint256, uint256, uint256) {
        uint256 lanes = 0xffffffff * ONE;
        return (limits & lanes, steps & lanes, low & lanes, high & lanes);
    }
}
