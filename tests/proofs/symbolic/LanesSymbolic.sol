// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lanes} from "../../../contracts/Lanes.sol";
import {PlainLanes} from "../../../contracts/mocks/PlainLanes.sol";

/// @title `Lanes` is `PlainLanes`, for all arguments within the bounds that `Lanes` states
/// @notice Each check is one that halmos tries to break with symbolic arguments. Where the plain version goes many ways,
/// it is asked about one lane and the packed one about all: there is a check for each lane.
contract LanesSymbolic {
    uint256 private constant ONE = Lanes.ONE;
    uint256 private constant LOW_32 = 0xffffffff * ONE;
    /// @notice Lanes below 2^62: sums of four of them stay in a lane.
    uint256 private constant LOW_62 = 0x3fffffffffffffff * ONE;

    /// @notice Lanes below 2^32, the lowest prices not above the highest where it matters.
    struct Given {
        uint256 limits;
        uint256 steps;
        uint256 low;
        uint256 high;
    }

    // ----------------------------------------------------------------------------------------------------- one way only

    function check_even(uint256 word) external pure {
        (uint256 half, ) = PlainLanes.halves(word);
        assert(Lanes.even(word) == half);
    }

    function check_odd(uint256 word) external pure {
        (, uint256 half) = PlainLanes.halves(word);
        assert(Lanes.odd(word) == half);
    }

    function check_biased(uint256 half) external pure {
        half &= LOW_32;
        assert(Lanes.biased(half) == PlainLanes.biased(half));
    }

    function check_all(uint64 number) external pure {
        uint256[4] memory same = [uint256(number), number, number, number];
        assert(Lanes.all(number) == PlainLanes.merge(same));
    }

    function check_midpoint(uint256 low, uint256 high) external pure {
        low &= LOW_32;
        high &= LOW_32;
        assert(Lanes.midpoint(low, high) == PlainLanes.midpoint(low, high));
    }

    function check_sum(uint256 half) external pure {
        half &= LOW_62;
        assert(Lanes.sum(half) == PlainLanes.sum(half));
    }

    function check_reversed(uint256 half) external pure {
        assert(Lanes.reversed(half) == PlainLanes.reversed(half));
    }

    function check_at(uint256 half) external pure {
        uint256[4] memory lanes = PlainLanes.split(half);
        for (uint256 lane; lane < 4; ++lane) assert(Lanes.at(half, lane) == lanes[lane]);
    }

    // ---------------------------------------------------------------------------------------------------- two ways a lane

    function check_atMost(uint256 a, uint256 b) external pure {
        a &= 0x7fffffffffffffff * ONE;
        b &= 0x7fffffffffffffff * ONE;
        assert(Lanes.atMost(a, b) == PlainLanes.atMost(a, b));
    }

    function check_nonZero(uint256 half) external pure {
        half &= 0x7fffffff * ONE;
        assert(Lanes.nonZero(half) == PlainLanes.nonZero(half));
    }

    function check_flags(uint256 word) external pure {
        word &= 0x7fffffff * (ONE | (ONE << 32));
        assert(Lanes.flags(ONE, word) == PlainLanes.flags(word));
    }

    // ---------------------------------------------------------------------------------------------------------- fill

    function check_fill0(Given memory given) external pure {
        _fillOfLane(0, given);
    }

    function check_fill1(Given memory given) external pure {
        _fillOfLane(1, given);
    }

    function check_fill2(Given memory given) external pure {
        _fillOfLane(2, given);
    }

    function check_fill3(Given memory given) external pure {
        _fillOfLane(3, given);
    }

    function _fillOfLane(uint256 lane, Given memory given) private pure {
        _bound(given);
        uint256[4] memory plain = _plainFill(lane, given);
        (uint256 asks, uint256 bids, uint256 marginal, uint256 between) = Lanes.fill(
            given.limits,
            given.steps,
            given.low,
            given.high
        );
        assert(_lane(between, lane) == plain[3]);
        // Steps between the prices are refused, whatever else is said of them.
        if (plain[3] != 0) return;
        assert(_lane(asks, lane) == plain[0]);
        assert(_lane(bids, lane) == plain[1]);
        assert(_lane(marginal, lane) == plain[2]);
    }

    // ------------------------------------------------------------------------------------------------------- addFills

    function check_addFills0(uint256[2] calldata row, uint256[4] memory given) external pure {
        _addFillsOfLane(0, row, given);
    }

    function check_addFills1(uint256[2] calldata row, uint256[4] memory given) external pure {
        _addFillsOfLane(1, row, given);
    }

    function check_addFills2(uint256[2] calldata row, uint256[4] memory given) external pure {
        _addFillsOfLane(2, row, given);
    }

    function check_addFills3(uint256[2] calldata row, uint256[4] memory given) external pure {
        _addFillsOfLane(3, row, given);
    }

    function check_addFills4(uint256[2] calldata row, uint256[4] memory given) external pure {
        _addFillsOfLane(4, row, given);
    }

    function check_addFills5(uint256[2] calldata row, uint256[4] memory given) external pure {
        _addFillsOfLane(5, row, given);
    }

    function check_addFills6(uint256[2] calldata row, uint256[4] memory given) external pure {
        _addFillsOfLane(6, row, given);
    }

    function check_addFills7(uint256[2] calldata row, uint256[4] memory given) external pure {
        _addFillsOfLane(7, row, given);
    }

    /// @param period Of the block.
    /// @param given Lowest prices, highest prices, sold, bought.
    function _addFillsOfLane(
        uint256 period,
        uint256[2] calldata row,
        uint256[4] memory given
    ) private pure {
        uint256 shift = period % 2 == 0 ? 32 : 0;
        uint256 lane = period / 2;
        Given memory half = Given((row[0] >> shift), row[1] >> shift, given[0], given[1]);
        _bound(half);
        half.limits ^= Lanes.BIAS * ONE;
        uint256[4] memory plain = _plainFill(lane, half);
        uint256[3] memory prices = [half.low, 0, half.high];
        uint256[3] memory position = [given[2] & LOW_62, 0, given[3] & LOW_62];
        (uint256 sold, uint256 bought) = (position[0], position[2]);
        uint256 undecided = _addFills(row, shift, prices, position);
        assert(_lane(undecided, lane) == plain[2] + plain[3]);
        assert(_lane(position[0], lane) == _lane(sold, lane) + plain[0]);
        assert(_lane(position[2], lane) == _lane(bought, lane) + plain[1]);
    }

    function _addFills(
        uint256[2] calldata row,
        uint256 shift,
        uint256[3] memory prices,
        uint256[3] memory position
    ) private pure returns (uint256) {
        uint256 from;
        uint256 at;
        uint256 to;
        assembly ("memory-safe") {
            from := row
            at := prices
            to := position
        }
        return Lanes.addFills(ONE, from, shift, at, to);
    }

    // ----------------------------------------------------------------------------------------------------------- take

    /// @notice All but the money.
    function check_take(
        uint256[2] memory position,
        uint256[2] memory sums,
        uint256[2] memory prices
    ) external pure {
        for (uint256 i; i < 2; ++i) {
            position[i] &= 0x3fffffff * ONE;
            sums[i] &= LOW_62;
            prices[i] &= LOW_32;
        }
        (uint256[4] memory evens, uint256[4] memory odds) = (
            PlainLanes.split(position[0]),
            PlainLanes.split(position[1])
        );
        (uint256 even, uint256 odd) = (sums[0], sums[1]);
        uint256[2] memory totals;
        uint256 word = _take(position, sums, prices, totals);
        assert(position[0] | position[1] == 0);
        for (uint256 lane; lane < 4; ++lane) {
            assert((word >> (224 - 64 * lane)) & 0xffffffff == evens[lane]);
            assert((word >> (192 - 64 * lane)) & 0xffffffff == odds[lane]);
            assert(_lane(sums[0], lane) == _lane(even, lane) + evens[lane]);
            assert(_lane(sums[1], lane) == _lane(odd, lane) + odds[lane]);
            assert(_lane(totals[1], lane) == evens[lane] + odds[lane]);
        }
    }

    /// @notice The money of what is traded in one period, at any prices: eight products of 30 and 32 bits at once are more
    /// than a solver multiplies out. Products are linear in each lane, so they sum to the money of all periods, if nothing
    /// is carried from one lane to another: see `check_takeCarries`.
    function check_takeMoney0(uint256 energyWh, uint256[2] memory prices) external pure {
        _takeMoney(0, energyWh, prices);
    }

    function check_takeMoney1(uint256 energyWh, uint256[2] memory prices) external pure {
        _takeMoney(1, energyWh, prices);
    }

    function check_takeMoney2(uint256 energyWh, uint256[2] memory prices) external pure {
        _takeMoney(2, energyWh, prices);
    }

    function check_takeMoney3(uint256 energyWh, uint256[2] memory prices) external pure {
        _takeMoney(3, energyWh, prices);
    }

    function check_takeMoney4(uint256 energyWh, uint256[2] memory prices) external pure {
        _takeMoney(4, energyWh, prices);
    }

    function check_takeMoney5(uint256 energyWh, uint256[2] memory prices) external pure {
        _takeMoney(5, energyWh, prices);
    }

    function check_takeMoney6(uint256 energyWh, uint256[2] memory prices) external pure {
        _takeMoney(6, energyWh, prices);
    }

    function check_takeMoney7(uint256 energyWh, uint256[2] memory prices) external pure {
        _takeMoney(7, energyWh, prices);
    }

    function _takeMoney(uint256 period, uint256 energyWh, uint256[2] memory prices) private pure {
        energyWh &= 0x3fffffff;
        uint256 half = period % 2;
        uint256 lane = period / 2;
        prices[0] &= LOW_32;
        prices[1] &= LOW_32;
        uint256 expected;
        unchecked {
            expected = energyWh * _lane(prices[half], lane);
        }
        uint256[2] memory position;
        position[half] = energyWh << (192 - 64 * lane);
        uint256[2] memory sums;
        uint256[2] memory totals;
        prices = [PlainLanes.reversed(prices[0]), PlainLanes.reversed(prices[1])];
        _take(position, sums, prices, totals);
        assert(totals[0] == expected);
    }

    /// @notice What `take` multiplies are polynomials in 2^64, and the products of an energy and a price are less than 2^62.
    /// Whatever these are, nothing is carried into the highest lane.
    /// @param products Of the lanes i and j, counted from the lowest, where i + j <= 3: those of i + j = 0, then of 1, ...
    function check_takeCarries(uint64[10] memory products) external pure {
        unchecked {
            uint256 product;
            uint256 highest;
            for (uint256 i; i < 10; ++i) {
                uint256 each = products[i] & 0x3fffffffffffffff;
                product += each << (64 * _power(i));
                if (i > 5) highest += each;
            }
            assert(product >> 192 == highest & 0xffffffffffffffff);
            assert(highest < 2 ** 64);
        }
    }

    function _power(uint256 i) private pure returns (uint256) {
        if (i > 5) return 3;
        if (i > 2) return 2;
        return i > 0 ? 1 : 0;
    }

    function _take(
        uint256[2] memory position,
        uint256[2] memory sums,
        uint256[2] memory prices,
        uint256[2] memory totals
    ) private pure returns (uint256) {
        uint256 from;
        uint256 to;
        uint256 at;
        uint256 total;
        assembly ("memory-safe") {
            from := position
            to := sums
            at := prices
            total := totals
        }
        return Lanes.take(from, to, at, total);
    }

    // ---------------------------------------------------------------------------------------------------------- plain

    function _plainFill(
        uint256 lane,
        Given memory half
    ) private pure returns (uint256[4] memory fills) {
        (uint256 low, uint256 high) = (_lane(half.low, lane), _lane(half.high, lane));
        if (low > high) revert(); // not within the bounds
        return PlainLanes.fillOne(_lane(half.limits, lane), _lane(half.steps, lane), low, high);
    }

    /// @dev As `PlainLanes.split` does, for one lane.
    function _lane(uint256 half, uint256 lane) private pure returns (uint256) {
        unchecked {
            return uint64(half >> (192 - 64 * lane));
        }
    }

    function _bound(Given memory given) private pure {
        given.limits &= LOW_32;
        given.steps &= LOW_32;
        given.low &= LOW_32;
        given.high &= LOW_32;
    }
}
