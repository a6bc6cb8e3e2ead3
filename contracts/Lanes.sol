// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Four numbers in a word
/// @notice The packed arithmetic of the proof, and all there is of it. A *word* as it is signed and sent has eight lanes
/// of 32 bits, one for each period of a block, the first in the highest bits. It is worked on in two *halves* of four
/// lanes of 64 bits, one with the even lanes and one with the odd ones, so that every lane has room for a carry.
/// @dev `PlainLanes` among the mocks says the same lane by lane; a fuzz test holds the two equal. Nothing here reverts:
/// every sum and difference stays in its lane as long as the stated bounds hold.
library Lanes {
    /// @notice One in each of four lanes.
    uint256 internal constant ONE =
        0x0000000000000001000000000000000100000000000000010000000000000001;
    uint256 private constant LOW_31 = 0x7fffffff * ONE;
    uint256 private constant LOW_32 = 0xffffffff * ONE;
    uint256 private constant BIT_32 = 0x100000000 * ONE;
    uint256 private constant BIT_63 = 0x8000000000000000 * ONE;
    /// @notice What an int32 is moved by to become an unsigned number of the same order.
    uint256 internal constant BIAS = 0x80000000;

    /// @notice Lanes 0, 2, 4 and 6 of a word.
    function even(uint256 word) internal pure returns (uint256) {
        return (word >> 32) & LOW_32;
    }

    /// @notice Lanes 1, 3, 5 and 7 of a word.
    function odd(uint256 word) internal pure returns (uint256) {
        return word & LOW_32;
    }

    /// @notice The word with these halves; lanes below 2^32.
    function join(uint256 evenHalf, uint256 oddHalf) internal pure returns (uint256) {
        return (evenHalf << 32) | oddHalf;
    }

    /// @notice Signed lanes of 32 bits, moved by the bias.
    function biased(uint256 half) internal pure returns (uint256) {
        return half ^ (BIAS * ONE);
    }

    /// @notice The same number, below 2^64, in every lane.
    function all(uint256 number) internal pure returns (uint256) {
        unchecked {
            return number * ONE;
        }
    }

    /// @notice Whether each lane of `a` is at most that of `b`; all below 2^63.
    function atMost(uint256 a, uint256 b) internal pure returns (bool) {
        unchecked {
            return ((b | BIT_63) - a) & BIT_63 == BIT_63;
        }
    }

    /// @notice Fills order steps by complementary slackness.
    /// @param limits Biased limit prices.
    /// @param steps Energy in Wh, times two, plus one for an ask.
    /// @param low Biased lowest prices, at most `high`.
    /// @param high Biased highest prices.
    /// @return asks Energy of asks below `high`: they sell all.
    /// @return bids Energy of bids above `low`: they buy all.
    /// @return marginal Energy of steps with limit = low = high: asks and bids.
    /// @return between Energy of steps with low < limit < high, which cannot be.
    function fill(
        uint256 limits,
        uint256 steps,
        uint256 low,
        uint256 high
    ) internal pure returns (uint256 asks, uint256 bids, uint256 marginal, uint256 between) {
        unchecked {
            uint256 energy = (steps >> 1) & LOW_31;
            uint256 isAsk = (steps & ONE) << 32;
            uint256 guarded = limits | BIT_32;
            uint256 atLeastHigh = (guarded - high) & BIT_32;
            uint256 aboveLow = (guarded - (low + ONE)) & BIT_32;
            asks = energy & _filled(isAsk & ~atLeastHigh);
            bids = energy & _filled(aboveLow & ~isAsk);
            uint256 differ = atLeastHigh ^ aboveLow;
            if (differ != 0) {
                marginal = energy & _filled(differ & atLeastHigh);
                between = energy & _filled(differ & aboveLow);
            }
        }
    }

    /// @notice Fills steps as `fill` does and adds to memory what is certain: the hot spot of a clearing.
    /// @param limits Limit prices, not biased.
    /// @param prices Where the lowest prices stand in memory; the highest stand two words on.
    /// @param position Where sold energy stands in memory; bought energy stands two words on.
    /// @return undecided Energy of the steps that `fill` calls marginal or between.
    function addFills(
        uint256 limits,
        uint256 steps,
        uint256 prices,
        uint256 position
    ) internal pure returns (uint256 undecided) {
        uint256 one = ONE;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let bit := shl(32, one)
            let isAsk := shl(32, and(steps, one))
            let energy := and(shr(1, steps), sub(shl(31, one), one))
            let guarded := or(xor(limits, shl(31, one)), bit)
            let atLeastHigh := and(sub(guarded, mload(add(prices, 64))), bit)
            let aboveLow := and(sub(guarded, add(mload(prices), one)), bit)
            let sells := and(isAsk, not(atLeastHigh))
            if sells {
                sells := and(energy, sub(sells, shr(32, sells)))
                mstore(position, add(mload(position), sells))
            }
            let buys := and(aboveLow, not(isAsk))
            if buys {
                buys := and(energy, sub(buys, shr(32, buys)))
                position := add(position, 64)
                mstore(position, add(mload(position), buys))
            }
            undecided := xor(atLeastHigh, aboveLow)
            if undecided {
                undecided := and(energy, sub(undecided, shr(32, undecided)))
            }
        }
    }

    /// @notice floor((low + high) / 2) lane by lane; lanes below 2^32.
    function midpoint(uint256 low, uint256 high) internal pure returns (uint256) {
        unchecked {
            return ((low + high) >> 1) & LOW_32;
        }
    }

    /// @notice One in each lane that is not zero; lanes below 2^31.
    function nonZero(uint256 half) internal pure returns (uint256) {
        unchecked {
            return ((half + LOW_31) >> 31) & ONE;
        }
    }

    /// @notice Sum of the lanes; below 2^64.
    function sum(uint256 half) internal pure returns (uint256) {
        unchecked {
            return (half * ONE) >> 192;
        }
    }

    /// @notice The lanes in reverse order.
    function reversed(uint256 half) internal pure returns (uint256) {
        unchecked {
            return
                (half << 192) |
                ((half & (0xffffffffffffffff << 64)) << 64) |
                ((half >> 64) & (0xffffffffffffffff << 64)) |
                (half >> 192);
        }
    }

    /// @notice Sum of products, lane by lane, of which one factor has its lanes reversed; below 2^64, as it is for prices
    /// less than 2^32 above the floor and energies below 2^30, which is what a connection carries at most.
    /// @dev As polynomials in 2^64: the highest lane of the product is that sum, if nothing is carried into it.
    function dot(uint256 half, uint256 reversedHalf) internal pure returns (uint256) {
        unchecked {
            return (half * reversedHalf) >> 192;
        }
    }

    /// @notice One lane of a half, 0 for the highest.
    function at(uint256 half, uint256 lane) internal pure returns (uint256) {
        unchecked {
            return (half >> (192 - 64 * lane)) & 0xffffffffffffffff;
        }
    }

    /// @dev Bit 32 of each lane, spread over its lower 32 bits.
    function _filled(uint256 bits) private pure returns (uint256) {
        unchecked {
            return (bits >> 32) * 0xffffffff;
        }
    }
}
