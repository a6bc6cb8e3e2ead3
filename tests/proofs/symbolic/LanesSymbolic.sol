// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lanes} from "../../../contracts/Lanes.sol";
import {PlainLanes} from "../../../contracts/mocks/PlainLanes.sol";

/// @title `Lanes` is `PlainLanes`, for all arguments within the bounds that `Lanes` states
/// @notice Each check is one that halmos tries to break with symbolic arguments.
contract LanesSymbolic {
    uint256 private constant ONE = Lanes.ONE;

    /// @notice Arguments of `fill`, lanes below 2^32.
    struct Given {
        uint256 limits;
        uint256 steps;
        uint256 low;
        uint256 high;
    }

    function check_halves(uint256 word) external pure {
        (uint256 evenHalf, uint256 oddHalf) = PlainLanes.halves(word);
        assert(Lanes.even(word) == evenHalf);
        assert(Lanes.odd(word) == oddHalf);
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

    function check_flags(uint256 word) external pure {
        word &= (0x7fffffff * ONE) | ((0x7fffffff * ONE) << 32);
        uint256 flags = Lanes.flags(ONE, word);
        for (uint256 lane; lane < 8; ++lane) {
            uint256 energy = (word >> (32 * lane)) & 0xffffffff;
            assert((flags >> (32 * lane)) & 0xffffffff == (energy == 0 ? 0 : 1));
        }
    }

    /// @notice Products of 32 and 30 bits are more than a solver multiplies out: energies are 0 or 1 here.
    function check_take(uint256 evens, uint256 odds, uint256 evenPrices, uint256 oddPrices) external pure {
        (evens, odds) = (evens & ONE, odds & ONE);
        (evenPrices, oddPrices) = (evenPrices & 0xffffffff * ONE, oddPrices & 0xffffffff * ONE);
        uint256[2] memory position = [evens, odds];
        uint256[2] memory sums = [3 * ONE, 5 * ONE];
        uint256[2] memory prices = [Lanes.reversed(evenPrices), Lanes.reversed(oddPrices)];
        uint256[2] memory totals = [uint256(7), 9 * ONE];
        uint256[4] memory at;
        assembly ("memory-safe") {
            mstore(at, position)
            mstore(add(at, 32), sums)
            mstore(add(at, 64), prices)
            mstore(add(at, 96), totals)
        }
        uint256 word = Lanes.take(at[0], at[1], at[2], at[3]);
        assert(word == (evens << 32) | odds);
        assert(position[0] == 0 && position[1] == 0);
        assert(sums[0] == 3 * ONE + evens && sums[1] == 5 * ONE + odds);
        (, uint256[3] memory expected) = PlainLanes.take([evens, odds, 0, 0], [evenPrices, oddPrices]);
        assert(totals[0] == 7 + expected[0] && totals[1] == 9 * ONE + evens + odds);
    }

    function check_at(uint256 half) external pure {
        uint256[4] memory lanes = PlainLanes.split(half);
        for (uint256 lane; lane < 4; ++lane) assert(Lanes.at(half, lane) == lanes[lane]);
    }

    /// @notice Lane by lane: the plain version is asked about one lane, the packed one about all four.
    function check_fill0(uint256 limits, uint256 steps, uint256 low, uint256 high) external pure {
        _fillOfLane(0xffffffff << 192, _bounded(limits, steps, low, high));
    }

    function check_fill1(uint256 limits, uint256 steps, uint256 low, uint256 high) external pure {
        _fillOfLane(0xffffffff << 128, _bounded(limits, steps, low, high));
    }

    function check_fill2(uint256 limits, uint256 steps, uint256 low, uint256 high) external pure {
        _fillOfLane(0xffffffff << 64, _bounded(limits, steps, low, high));
    }

    function check_fill3(uint256 limits, uint256 steps, uint256 low, uint256 high) external pure {
        _fillOfLane(0xffffffff, _bounded(limits, steps, low, high));
    }

    function _fillOfLane(uint256 lane, Given memory given) private pure {
        if (!PlainLanes.atMost(given.low, given.high)) return;
        (uint256 asks, uint256 bids, uint256 marginal, uint256 between) = Lanes.fill(
            given.limits,
            given.steps,
            given.low,
            given.high
        );
        (uint256 asks_, uint256 bids_, uint256 marginal_, uint256 between_) = PlainLanes.fill(
            given.limits & lane,
            given.steps & lane,
            given.low & lane,
            given.high & lane
        );
        assert(between & lane == between_);
        // Steps between the prices are refused, whatever else is said of them.
        if (between_ != 0) return;
        assert(asks & lane == asks_ && bids & lane == bids_ && marginal & lane == marginal_);
    }

    function check_addFillsEven(uint256[2] calldata block_, uint256 low, uint256 high) external pure {
        _addFills(block_, low, high, 0);
    }

    function check_addFillsOdd(uint256[2] calldata block_, uint256 low, uint256 high) external pure {
        _addFills(block_, low, high, 1);
    }

    function _addFills(
        uint256[2] calldata block_,
        uint256 low,
        uint256 high,
        uint256 odd
    ) private pure {
        Given memory given = Given(
            Lanes.biased(odd == 0 ? Lanes.even(block_[0]) : Lanes.odd(block_[0])),
            odd == 0 ? Lanes.even(block_[1]) : Lanes.odd(block_[1]),
            low & 0xffffffff * ONE,
            high & 0xffffffff * ONE
        );
        if (!PlainLanes.atMost(given.low, given.high)) return;
        uint256[3] memory prices = [given.low, 0, given.high];
        uint256[3] memory position = [ONE, 0, 2 * ONE];
        uint256[3] memory at;
        assembly ("memory-safe") {
            mstore(at, block_)
            mstore(add(at, 32), prices)
            mstore(add(at, 64), position)
        }
        uint256 undecided = Lanes.addFills(ONE, at[0], odd == 0 ? 32 : 0, at[1], at[2]);
        (uint256 asks, uint256 bids, uint256 marginal, uint256 between) = Lanes.fill(
            given.limits,
            given.steps,
            given.low,
            given.high
        );
        assert(undecided == marginal | between);
        assert(position[0] == ONE + asks && position[2] == 2 * ONE + bids);
    }

    function _bounded(
        uint256 limits,
        uint256 steps,
        uint256 low,
        uint256 high
    ) private pure returns (Given memory) {
        uint256 lanes = 0xffffffff * ONE;
        return Given(limits & lanes, steps & lanes, low & lanes, high & lanes);
    }
}
