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
/// stay within the 63 bits and the sign of a field. Tariffs have 31 bits and a sign: with differences of less than 2^23 Wh
/// (8 MWh) and at most 512 periods they do. What is larger is reckoned period by period.
library Imbalances {
    // In every lane of 32 bits: one, the bit above the largest energy, the bits of energies too large for the fields.
    uint256 private constant LANES =
        0x0000000100000001000000010000000100000001000000010000000100000001;
    uint256 private constant ABOVE =
        0x8000000080000000800000008000000080000000800000008000000080000000;
    uint256 private constant TOO_LARGE =
        0xff800000ff800000ff800000ff800000ff800000ff800000ff800000ff800000;
    // In every field of 64 bits: 2^32.
    uint256 private constant CARRIES =
        0x0000000100000000000000010000000000000001000000000000000100000000;
    uint256 private constant MAX_ENERGY = 0x7fffffff;
    uint256 private constant MOST_RATES = 1 + 512 / 2;

    /// @notice Tariffs as the sums need them: after `CARRIES` four words for each word of energies, feed-in and retail of
    /// its even periods, feed-in and retail of its odd ones, each with the last of its four periods at the top.
    /// @dev A constant would be copied from the code each time it is used in a loop; from memory it stays on the stack.
    function ratesOf(
        IPeerRegistry.Tariff[] memory tariffs
    ) internal pure returns (uint256[] memory rates) {
        // slither-disable-next-line divide-before-multiply (words are whole)
        rates = new uint256[](1 + ((tariffs.length + 7) / 8) * 4);
        rates[0] = CARRIES;
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
        uint256 limits = LANES * (limitWh < MAX_ENERGY ? limitWh : MAX_ENERGY) + ABOVE;
        (uint256 sum, uint256 energies, uint256 room) = _sum(metered, position, rates, limits);
        plausible = room & ABOVE == ABOVE;
        nano = _isSmall(energies, rates) ? _top(sum) : _sumByPeriod(metered, position, rates);
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
        uint256 lanes = LANES;
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
                let sign := and(word, lanes)
                mstore(to, and(word, sub(shl(32, sign), sign)))
            }
        }
        (uint256 sum, uint256 energies, ) = _sum(metered, position, rates, ABOVE);
        nano = _isSmall(energies, rates) ? _top(sum) : _sumByPeriod(metered, position, rates);
        return nano < 0 ? nano : int256(0);
    }

    /// @return sum In its top field, surplus times feed-in less shortage times retail, over all periods.
    /// @return energies All bits of the sums of energies whose differences these are.
    /// @return room In each lane, `ABOVE` if no metered energy exceeds its limit.
    function _sum(
        bytes memory metered,
        bytes memory position,
        uint256[] memory rates,
        uint256 limits
    ) private pure returns (uint256 sum, uint256 energies, uint256 room) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            // scratch space, for the stack is short: where the rates end, the limits
            mstore(0, add(add(rates, 32), shl(5, mload(rates))))
            mstore(32, limits)
            rates := add(rates, 32)
            let carries := mload(rates)
            let halves := sub(carries, shr(32, carries)) // the lower 32 bits of every field
            rates := add(rates, 32)
            room := limits
            for {} lt(rates, mload(0)) {
                rates := add(rates, 128)
            } {
                metered := add(metered, 32)
                position := add(position, 32)
                // more - less = metered - position, lane by lane: each is the sum of two energies of 31 bits
                let less := mload(metered)
                let more := and(less, or(carries, shr(32, carries))) // the signs
                {
                    let amount := shr(1, xor(less, more))
                    room := and(room, sub(mload(32), amount))
                    less := and(amount, sub(shl(31, more), more))
                    more := xor(amount, less)
                }
                {
                    let sold := mload(position)
                    let bought := and(sold, or(carries, shr(32, carries))) // the signs
                    sold := shr(1, xor(sold, bought))
                    bought := and(sold, sub(shl(31, bought), bought))
                    more := add(more, bought)
                    less := add(less, xor(sold, bought))
                }
                energies := or(energies, or(more, less))

                // the even periods of the word; a carry stays where more >= less
                {
                    let difference := sub(
                        or(and(shr(32, more), halves), carries),
                        and(shr(32, less), halves)
                    )
                    let surplus := and(difference, carries)
                    surplus := and(difference, sub(surplus, shr(32, surplus)))
                    sum := add(sum, mul(surplus, mload(rates)))
                    // shortage = surplus - difference
                    sum := sub(
                        sum,
                        mul(add(sub(surplus, difference), carries), mload(add(rates, 32)))
                    )
                }
                // the odd ones
                more := sub(or(and(more, halves), carries), and(less, halves))
                less := and(more, carries)
                less := and(more, sub(less, shr(32, less)))
                sum := add(sum, mul(less, mload(add(rates, 64))))
                sum := sub(sum, mul(add(sub(less, more), carries), mload(add(rates, 96))))
            }
        }
    }

    /// @dev Whether no sum of products can leave its field.
    function _isSmall(uint256 energies, uint256[] memory rates) private pure returns (bool) {
        return energies & TOO_LARGE == 0 && rates.length <= MOST_RATES;
    }

    /// @dev The top field, rounded: what is below may be negative and have borrowed from it.
    function _top(uint256 sum) private pure returns (int256) {
        unchecked {
            return int256(sum + (1 << 191)) >> 192;
        }
    }

    /// @dev The same without limits, whatever the size.
    function _sumByPeriod(
        bytes memory metered,
        bytes memory position,
        uint256[] memory rates
    ) private pure returns (int256 nano) {
        for (uint256 t; t < metered.length / 4; ++t) {
            int256 wh = energyWh(metered, t) - energyWh(position, t);
            (uint256 at, uint256 field) = _place(t);
            nano += wh * _rate(rates[wh > 0 ? at : at + 1], field);
        }
    }

    /// @dev Which word has the feed-in tariff of a period, and at which bit.
    function _place(uint256 period) private pure returns (uint256 at, uint256 field) {
        unchecked {
            // slither-disable-next-line divide-before-multiply (rounded down to the word)
            return (1 + (period / 8) * 4 + (period % 2) * 2, ((period % 8) / 2) * 64);
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
