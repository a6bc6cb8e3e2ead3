// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";

/// @title What readings differ from positions, in money
/// @notice Energies come as words of eight lanes of 32 bits: lane i of word k, the first being the most significant, is
/// period 8k + i, |energyWh| << 1 | 1 if negative. All eight lanes of a word are reckoned at once; `ImbalancesHarness`
/// says the same lane by lane, and the tests hold the two together.
///
/// With m the metered and p the position of a period, f the feed-in and r the retail tariff, the peer receives
///
///     surplus * f - shortage * r,   surplus = max(0, m - p),   shortage = max(0, p - m)
///
/// Lanes of 32 bits are split into two words of four fields of 64 bits, so that differences find room. The sum over four
/// fields of energy times tariff is the top field of one product, if the tariffs stand in reverse: the coefficient of
/// X^3 in (e3 X^3 + e2 X^2 + e1 X + e0)(t3 + t2 X + t1 X^2 + t0 X^3). All coefficients, summed over the session, must
/// stay within the 63 bits and the sign of a field. Tariffs have 31 bits and a sign: with energies of less than 2^22 Wh
/// (4 MWh) and at most 512 periods they do. What is larger is reckoned period by period.
library Imbalances {
    // In every lane of 32 bits: one. In every field of 64 bits: 2^32, and the lower 32 bits.
    uint256 private constant ONES =
        0x0000000100000001000000010000000100000001000000010000000100000001;
    uint256 private constant CARRIES =
        0x0000000100000000000000010000000000000001000000000000000100000000;
    uint256 private constant HALVES =
        0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
    uint256 private constant HEADER = 3;
    uint256 private constant MOST_RATES = HEADER + 512 / 2;
    uint256 private constant TOO_LARGE = 1 << 22;

    /// @notice Tariffs as the sums need them: after `CARRIES`, `HALVES` and `ONES` four words for each word of energies,
    /// feed-in and retail of its even periods, feed-in and retail of its odd ones, each with the last of its four periods
    /// at the top.
    /// @dev Constants would be copied from the code each time they are used in a loop; from memory they stay on the stack.
    function ratesOf(
        IPeerRegistry.Tariff[] memory tariffs
    ) internal pure returns (uint256[] memory rates) {
        // slither-disable-next-line divide-before-multiply (words are whole)
        rates = new uint256[](HEADER + ((tariffs.length + 7) / 8) * 4);
        (rates[0], rates[1], rates[2]) = (CARRIES, HALVES, ONES);
        for (uint256 t; t < tariffs.length; ++t) {
            (uint256 at, uint256 field) = _place(t);
            unchecked {
                // A negative tariff borrows from the field above; so do its products, until the sums are rounded.
                rates[at] += uint256(int256(tariffs[t].feedInMicroPerKWh)) << field;
                rates[at + 1] += uint256(int256(tariffs[t].retailMicroPerKWh)) << field;
            }
        }
    }

    /// @notice What the peer receives for what it injected beyond its position, less what it owes for what it lacks.
    /// @param metered The words of the reading.
    /// @param position The words of the position, as many.
    /// @param limitWh What the connection carries in a period.
    /// @return nano The difference.
    /// @return plausible Whether no metered energy exceeds the limit.
    function settledNano(
        bytes memory metered,
        bytes memory position,
        uint256[] memory rates,
        uint256 limitWh
    ) internal pure returns (int256 nano, bool plausible) {
        bool exact;
        (nano, exact) = _sum(metered, position, rates, limitWh);
        return exact ? (nano, true) : _sumByPeriod(metered, position, rates, limitWh);
    }

    /// @notice What a missing reading comes to: what was bought was taken, what was sold was not delivered. Never a
    /// gain, not even where a retail tariff is negative.
    /// @param position As in `settledNano`.
    /// @param metered As many words, which the estimate replaces.
    function estimatedNano(
        bytes memory position,
        bytes memory metered,
        uint256[] memory rates
    ) internal pure returns (int256 nano) {
        uint256 ones = rates[2];
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let end := add(position, mload(position))
            for {
                let at := position
                let to := metered
            } lt(at, end) {} {
                at := add(at, 32)
                to := add(to, 32)
                let word := mload(at)
                let sign := and(word, ones)
                mstore(to, and(word, sub(shl(32, sign), sign)))
            }
        }
        bool exact;
        (nano, exact) = _sum(metered, position, rates, TOO_LARGE - 1);
        if (!exact) (nano, ) = _sumByPeriod(metered, position, rates, TOO_LARGE);
        return nano < 0 ? nano : int256(0);
    }

    /// @return nano Surplus times feed-in less shortage times retail, over all periods.
    /// @return exact False if an energy is above the limit, or all together may be too large.
    function _sum(
        bytes memory metered,
        bytes memory position,
        uint256[] memory rates,
        uint256 limitWh
    ) private pure returns (int256 nano, bool exact) {
        if (limitWh >= TOO_LARGE || rates.length > MOST_RATES) return (0, false);
        exact = _split(metered, position, rates[2], limitWh);
        nano = _sumSplit(rates);
    }

    /// @dev Writes two words for each of energies to free memory, whose difference is metered - position, lane by lane.
    /// Each is the sum of two energies of 31 bits. Two loops, of which one finishes what the other began, need less stack.
    /// @return withinLimit Whether no energy is above the limit.
    function _split(
        bytes memory metered,
        bytes memory position,
        uint256 ones,
        uint256 limitWh
    ) private pure returns (bool withinLimit) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let end := add(metered, mload(metered))
            let to := mload(64)
            // the limit below the top bit of each lane, which stays while no energy takes it away
            let limits := add(mul(ones, limitWh), shl(31, ones))
            let room := limits
            for {} lt(metered, end) {
                to := add(to, 64)
            } {
                metered := add(metered, 32)
                position := add(position, 32)
                let word := mload(metered)
                let sign := and(word, ones)
                let injected := shr(1, xor(word, sign)) // and taken
                room := and(room, sub(limits, injected))
                let taken := and(injected, sub(shl(31, sign), sign))
                injected := xor(injected, taken)

                word := mload(position)
                sign := and(word, ones)
                let sold := shr(1, xor(word, sign)) // and bought
                room := and(room, sub(limits, sold))
                let bought := and(sold, sub(shl(31, sign), sign))
                mstore(to, add(injected, bought))
                mstore(add(to, 32), add(taken, xor(sold, bought)))
            }
            let tops := shl(31, ones)
            withinLimit := eq(and(room, tops), tops)
        }
    }

    /// @dev What follows from the words of `_split`, which are still in free memory.
    function _sumSplit(uint256[] memory rates) private pure returns (int256 nano) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let from := mload(64)
            let end := add(add(rates, 32), shl(5, mload(rates)))
            let carries := mload(add(rates, 32))
            let halves := mload(add(rates, 64))
            let sum := 0
            for {
                rates := add(rates, 128)
            } lt(rates, end) {
                rates := add(rates, 128)
            } {
                let more := mload(from)
                let less := mload(add(from, 32))
                from := add(from, 64)

                // the even periods of the word; a carry stays where more >= less
                let difference := sub(
                    or(and(shr(32, more), halves), carries),
                    and(shr(32, less), halves)
                )
                let surplus := and(difference, carries)
                surplus := and(difference, sub(surplus, shr(32, surplus)))
                let shortage := add(sub(surplus, difference), carries)
                sum := add(sum, mul(surplus, mload(rates)))
                sum := sub(sum, mul(shortage, mload(add(rates, 32))))

                // the odd ones
                difference := sub(or(and(more, halves), carries), and(less, halves))
                surplus := and(difference, carries)
                surplus := and(difference, sub(surplus, shr(32, surplus)))
                shortage := add(sub(surplus, difference), carries)
                sum := add(sum, mul(surplus, mload(add(rates, 64))))
                sum := sub(sum, mul(shortage, mload(add(rates, 96))))
            }
            // the top field, rounded: what is below may be negative and have borrowed from it
            nano := sar(192, add(sum, shl(191, 1)))
        }
    }

    /// @dev The same, whatever the size.
    function _sumByPeriod(
        bytes memory metered,
        bytes memory position,
        uint256[] memory rates,
        uint256 limitWh
    ) private pure returns (int256 nano, bool plausible) {
        plausible = true;
        for (uint256 t; t < metered.length / 4; ++t) {
            int256 wh = energyWh(metered, t);
            if (wh > int256(limitWh) || -wh > int256(limitWh)) plausible = false;
            wh -= energyWh(position, t);
            (uint256 at, uint256 field) = _place(t);
            nano += wh * _rate(rates[wh > 0 ? at : at + 1], field);
        }
    }

    /// @dev Which word has the feed-in tariff of a period, and at which bit.
    function _place(uint256 period) private pure returns (uint256 at, uint256 field) {
        unchecked {
            // slither-disable-next-line divide-before-multiply (rounded down to the word)
            return (HEADER + (period / 8) * 4 + (period % 2) * 2, ((period % 8) / 2) * 64);
        }
    }

    /// @notice The energy of a period.
    function energyWh(bytes memory words, uint256 period) internal pure returns (int256) {
        uint256 lane;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            lane := shr(224, mload(add(add(words, 32), shl(2, period))))
        }
        return lane & 1 == 0 ? int256(lane >> 1) : -int256(lane >> 1);
    }

    /// @dev The rate in a field, rounded: what is below may have borrowed from it.
    function _rate(uint256 rates, uint256 field) private pure returns (int256) {
        unchecked {
            return int64(uint64((rates + ((1 << field) >> 1)) >> field));
        }
    }
}
