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
/// X^3 in (e3 X^3 + e2 X^2 + e1 X + e0)(t3 + t2 X + t1 X^2 + t0 X^3). Energies go in as halves of 16 bits: then no
/// coefficient, summed over all periods a session can have (2^16), leaves the 63 bits and the sign of its field.
library Imbalances {
    // One in every lane of 32 bits; the largest energy, and the bit above it, in every lane.
    uint256 private constant LANES =
        0x0000000100000001000000010000000100000001000000010000000100000001;
    uint256 private constant ENERGY =
        0x7fffffff7fffffff7fffffff7fffffff7fffffff7fffffff7fffffff7fffffff;
    uint256 private constant ABOVE =
        0x8000000080000000800000008000000080000000800000008000000080000000;
    // In every field of 64 bits: one, 2^32, the lower 32 bits, the lower 16 bits.
    uint256 private constant FIELDS =
        0x0000000000000001000000000000000100000000000000010000000000000001;
    uint256 private constant CARRY =
        0x0000000100000000000000010000000000000001000000000000000100000000;
    uint256 private constant HALF =
        0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
    uint256 private constant QUARTER =
        0x000000000000ffff000000000000ffff000000000000ffff000000000000ffff;
    uint256 private constant ROUNDING = 1 << 191;
    uint256 private constant MAX_ENERGY = 0x7fffffff;

    /// @notice Tariffs as the sums need them: four words for each word of energies, feed-in and retail of its even
    /// periods, feed-in and retail of its odd ones, each with the last of its four periods at the top.
    function ratesOf(
        IPeerRegistry.Tariff[] memory tariffs
    ) internal pure returns (uint256[] memory rates) {
        rates = new uint256[](((tariffs.length + 7) / 8) * 4);
        for (uint256 t; t < tariffs.length; ++t) {
            uint256 at = (t / 8) * 4 + (t % 2) * 2;
            uint256 field = ((t % 8) / 2) * 64;
            unchecked {
                // A negative tariff borrows from the field above; so do its products, until the sums are rounded.
                rates[at] += uint256(int256(tariffs[t].feedInMicroPerKWh)) << field;
                rates[at + 1] += uint256(int256(tariffs[t].retailMicroPerKWh)) << field;
            }
        }
    }

    /// @notice What the peer receives for what it injected beyond its position, less what it owes for what it lacks.
    /// @param meteredAt Where in the calldata the words of the reading start.
    /// @param positionAt Where the words of the position start; beyond the calldata all words are 0.
    /// @param limitWh What the connection carries in a period.
    /// @return nano The difference.
    /// @return plausible Whether no metered energy exceeds the limit.
    function settledNano(
        uint256 meteredAt,
        uint256 positionAt,
        uint256[] memory rates,
        uint256 limitWh
    ) internal pure returns (int256 nano, bool plausible) {
        unchecked {
            uint256 room = ABOVE; // stays so in each lane that is not exceeded
            uint256 limits = LANES * (limitWh < MAX_ENERGY ? limitWh : MAX_ENERGY) + ABOVE;
            uint256 low;
            uint256 high;
            uint256 end = meteredAt + rates.length * 8;
            uint256 ratesAt = _start(rates);
            while (meteredAt < end) {
                uint256 metered = _word(meteredAt);
                room &= limits - ((metered >> 1) & ENERGY);
                (low, high) = _add(low, high, metered, _word(positionAt), ratesAt);
                meteredAt += 32;
                positionAt += 32;
                ratesAt += 128;
            }
            return (_sum(low, high), room == ABOVE);
        }
    }

    /// @notice What a missing reading comes to: what was bought was taken, what was sold was not delivered. Never a
    /// gain, not even where a retail tariff is negative.
    /// @param positionAt As in `settledNano`.
    function estimatedNano(
        uint256 positionAt,
        uint256[] memory rates
    ) internal pure returns (int256 nano) {
        unchecked {
            uint256 low;
            uint256 high;
            uint256 end = positionAt + rates.length * 8;
            uint256 ratesAt = _start(rates);
            while (positionAt < end) {
                uint256 position = _word(positionAt);
                uint256 bought = position & LANES;
                bought = position & ((bought << 32) - bought);
                (low, high) = _add(low, high, bought, position, ratesAt);
                positionAt += 32;
                ratesAt += 128;
            }
            nano = _sum(low, high);
            return nano < 0 ? nano : int256(0);
        }
    }

    /// @dev Adds eight periods to the sums over the lower and the higher halves of the energies.
    function _add(
        uint256 low,
        uint256 high,
        uint256 metered,
        uint256 position,
        uint256 ratesAt
    ) private pure returns (uint256, uint256) {
        unchecked {
            // more - less = metered - position, lane by lane, both sums of two energies of 31 bits
            (uint256 more, uint256 less) = _bySign(metered);
            {
                (uint256 sold, uint256 bought) = _bySign(position);
                more += bought;
                less += sold;
            }
            (low, high) = _addFields(low, high, (more >> 32) & HALF, (less >> 32) & HALF, ratesAt);
            return _addFields(low, high, more & HALF, less & HALF, ratesAt + 64);
        }
    }

    /// @dev The energies that are positive, and the amounts of those that are negative.
    function _bySign(uint256 word) private pure returns (uint256 positive, uint256 negative) {
        unchecked {
            uint256 sign = word & LANES;
            positive = (word >> 1) & ENERGY;
            negative = positive & ((sign << 31) - sign);
            positive ^= negative;
        }
    }

    function _addFields(
        uint256 low,
        uint256 high,
        uint256 more,
        uint256 less,
        uint256 ratesAt
    ) private pure returns (uint256, uint256) {
        unchecked {
            uint256 surplus = (more | CARRY) - less; // the carry stays where more >= less
            {
                uint256 kept = (surplus >> 32) & FIELDS;
                surplus &= (kept << 32) - kept;
            }
            uint256 shortage = surplus + less - more;
            uint256 feedIn = _at(ratesAt);
            uint256 retail = _at(ratesAt + 32);
            low += (surplus & QUARTER) * feedIn - (shortage & QUARTER) * retail;
            high += ((surplus >> 16) & QUARTER) * feedIn - ((shortage >> 16) & QUARTER) * retail;
            return (low, high);
        }
    }

    /// @dev The top fields, rounded: what is below may be negative and have borrowed from them.
    function _sum(uint256 low, uint256 high) private pure returns (int256) {
        unchecked {
            return (int256(low + ROUNDING) >> 192) + ((int256(high + ROUNDING) >> 192) << 16);
        }
    }

    function _word(uint256 offset) private pure returns (uint256 word) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            word := calldataload(offset)
        }
    }

    function _start(uint256[] memory words) private pure returns (uint256 offset) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            offset := add(words, 32)
        }
    }

    function _at(uint256 offset) private pure returns (uint256 word) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            word := mload(offset)
        }
    }
}
