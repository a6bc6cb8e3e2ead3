// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What `Lanes` does, said lane by lane, for the tests that hold the two equal
library PlainLanes {
    function split(uint256 half) internal pure returns (uint256[4] memory lanes) {
        for (uint256 i; i < 4; ++i) lanes[i] = uint64(half >> (192 - 64 * i));
    }

    function merge(uint256[4] memory lanes) internal pure returns (uint256 half) {
        for (uint256 i; i < 4; ++i) half |= lanes[i] << (192 - 64 * i);
    }

    function halves(uint256 word) internal pure returns (uint256 evenHalf, uint256 oddHalf) {
        uint256[4] memory evens;
        uint256[4] memory odds;
        for (uint256 i; i < 4; ++i) {
            evens[i] = uint32(word >> (224 - 64 * i));
            odds[i] = uint32(word >> (192 - 64 * i));
        }
        return (merge(evens), merge(odds));
    }

    function biased(uint256 half) internal pure returns (uint256) {
        uint256[4] memory lanes = split(half);
        for (uint256 i; i < 4; ++i) {
            lanes[i] = uint256(int256(int32(uint32(lanes[i]))) + 2 ** 31);
        }
        return merge(lanes);
    }

    function atMost(uint256 a, uint256 b) internal pure returns (bool) {
        (uint256[4] memory x, uint256[4] memory y) = (split(a), split(b));
        return x[0] <= y[0] && x[1] <= y[1] && x[2] <= y[2] && x[3] <= y[3];
    }

    function fill(
        uint256 limits,
        uint256 steps,
        uint256 low,
        uint256 high
    ) internal pure returns (uint256 asks, uint256 bids, uint256 marginal, uint256 between) {
        uint256[4] memory limit = split(limits);
        uint256[4] memory step = split(steps);
        uint256[4] memory lowest = split(low);
        uint256[4] memory highest = split(high);
        uint256[4][4] memory filled;
        for (uint256 i; i < 4; ++i) {
            uint256[4] memory one = fillOne(limit[i], step[i], lowest[i], highest[i]);
            for (uint256 j; j < 4; ++j) filled[j][i] = one[j];
        }
        return (merge(filled[0]), merge(filled[1]), merge(filled[2]), merge(filled[3]));
    }

    /// @return filled Of one lane: sold, bought, marginal, between the prices.
    function fillOne(
        uint256 limit,
        uint256 step,
        uint256 lowest,
        uint256 highest
    ) internal pure returns (uint256[4] memory filled) {
        uint256 energy = step / 2;
        if (step % 2 == 1) {
            if (limit < highest) filled[0] = energy;
        } else if (limit > lowest) filled[1] = energy;
        if (limit == lowest && limit == highest) filled[2] = energy;
        if (lowest < limit && limit < highest) filled[3] = energy;
    }

    function midpoint(uint256 low, uint256 high) internal pure returns (uint256) {
        (uint256[4] memory x, uint256[4] memory y) = (split(low), split(high));
        for (uint256 i; i < 4; ++i) x[i] = (x[i] + y[i]) / 2;
        return merge(x);
    }

    function nonZero(uint256 half) internal pure returns (uint256) {
        uint256[4] memory lanes = split(half);
        for (uint256 i; i < 4; ++i) lanes[i] = lanes[i] == 0 ? 0 : 1;
        return merge(lanes);
    }

    function flags(uint256 word) internal pure returns (uint256 each) {
        for (uint256 i; i < 8; ++i) {
            if (uint32(word >> (32 * i)) != 0) each |= 1 << (32 * i);
        }
    }

    function sum(uint256 half) internal pure returns (uint256) {
        uint256[4] memory lanes = split(half);
        return lanes[0] + lanes[1] + lanes[2] + lanes[3];
    }

    /// @return word As `Lanes.take` says.
    /// @return totals Money, energy sold, energy bought.
    function take(
        uint256[4] memory position,
        uint256[2] memory prices
    ) internal pure returns (uint256 word, uint256[3] memory totals) {
        for (uint256 period; period < 8; ++period) {
            uint256 lane = period / 2;
            uint256 price = split(prices[period % 2])[lane];
            uint256 sold = split(position[period % 2])[lane];
            uint256 bought = split(position[2 + (period % 2)])[lane];
            unchecked {
                totals[0] += (sold - bought) * price;
            }
            totals[1] += sold;
            totals[2] += bought;
            uint256 energy =
                sold > 0
                    ? 2 * sold
                    : bought > 0
                        ? 2 * bought + 1
                        : 0;
            word |= energy << (224 - 32 * period);
        }
    }

    function reversed(uint256 half) internal pure returns (uint256) {
        uint256[4] memory lanes = split(half);
        return merge([lanes[3], lanes[2], lanes[1], lanes[0]]);
    }
}
