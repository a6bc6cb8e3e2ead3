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

    /// @notice Fills half of the steps of a block as `fill` does and adds to memory what is certain: the hot spot of a
    /// clearing.
    /// @param one `ONE`, see `ClearingProof.Tally`.
    /// @param row Where the limit prices of the block lie in the calldata, and its steps one word on.
    /// @param shift 32 for the even lanes, 0 for the odd ones.
    /// @param prices Where the lowest prices stand in memory; the highest stand two words on.
    /// @param position Where sold energy stands in memory; bought energy stands two words on.
    /// @return undecided Energy of the steps that `fill` calls marginal or between.
    function addFills(
        uint256 one,
        uint256 row,
        uint256 shift,
        uint256 prices,
        uint256 position
    ) internal pure returns (uint256 undecided) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let mask := sub(shl(32, one), one)
            let energy := and(shr(shift, calldataload(add(row, 32))), mask)
            if energy {
                // the limit biased, and above it a bit that stays if what is taken off is not larger
                let limit := and(shr(shift, calldataload(row)), mask)
                limit := xor(limit, mul(3, shl(31, one)))
                let notBelow := and(shr(32, sub(limit, mload(add(prices, 64)))), one) // the highest price
                let isAbove := and(shr(32, sub(sub(limit, one), mload(prices))), one) // the lowest price
                let isAsk := and(energy, one)
                energy := shr(1, energy)
                let lanes := xor(notBelow, isAbove)
                if lanes {
                    undecided := and(energy, sub(shl(31, lanes), lanes))
                }
                lanes := and(isAsk, not(notBelow))
                if lanes {
                    lanes := and(energy, sub(shl(31, lanes), lanes))
                    mstore(position, add(mload(position), lanes))
                }
                lanes := and(isAbove, not(isAsk))
                if lanes {
                    lanes := and(energy, sub(shl(31, lanes), lanes))
                    position := add(position, 64)
                    mstore(position, add(mload(position), lanes))
                }
            }
        }
    }

    /// @notice Moves what a peer sells in a block, or buys, to the sums of its node.
    /// @dev Prices are less than 2^32 above the floor and energies below 2^30, which is what a connection carries at most.
    /// As polynomials in 2^64, the highest lane of the product of energies and reversed prices is the sum of the products,
    /// if nothing is carried into it: so it is, for all of them stay below 2^64.
    /// @param position Where the energies of the even lanes stand in memory, and of the odd ones; emptied.
    /// @param sums Likewise, where they are added.
    /// @param prices Where the prices above the floor stand, even and odd, their lanes reversed.
    /// @param totals Where two words are added to in memory: money, and energies as lanes to be summed.
    /// @return word The lanes of the block.
    function take(
        uint256 position,
        uint256 sums,
        uint256 prices,
        uint256 totals
    ) internal pure returns (uint256 word) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let evens := mload(position)
            let odds := mload(add(position, 32))
            mstore(position, 0)
            mstore(add(position, 32), 0)
            mstore(sums, add(mload(sums), evens))
            sums := add(sums, 32)
            mstore(sums, add(mload(sums), odds))
            let money := shr(192, mul(evens, mload(prices)))
            money := add(money, shr(192, mul(odds, mload(add(prices, 32)))))
            mstore(totals, add(mload(totals), money))
            totals := add(totals, 32)
            mstore(totals, add(mload(totals), add(evens, odds)))
            word := or(shl(32, evens), odds)
        }
    }

    /// @notice One in each of eight lanes of 32 bits that is not zero; lanes below 2^31.
    /// @param one `ONE`, likewise.
    function flags(uint256 one, uint256 word) internal pure returns (uint256) {
        unchecked {
            uint256 each = one | (one << 32);
            return ((word + (each << 31) - each) >> 31) & each;
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
