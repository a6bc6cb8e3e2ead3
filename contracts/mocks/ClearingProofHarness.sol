// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClearingProof} from "../ClearingProof.sol";
import {Lanes} from "../Lanes.sol";
import {Link} from "../MarketTypes.sol";
import {PlainLanes} from "./PlainLanes.sol";

/// @title The proof by itself, without registry, signatures and money, for tests and benchmarks
contract ClearingProofHarness {
    using ClearingProof for ClearingProof.Tally;

    /// @notice The terms of a flexible order cannot be kept.
    error FlexibleOrderRefused();
    /// @notice A support names a lane that the curve of its record does not have; `Clearing` refuses it, too.
    error SupportMalformed(uint256 offset);

    /// @notice There is not one flow for each link and period; `Clearing` refuses it, too.
    error FlowsMalformed();

    /// @notice The bounds and sizes of a book.
    struct Frame {
        uint256 nodes;
        uint256 periods;
        int32 floor;
        int32 cap;
        uint256 limitWh;
        Link[] links;
        uint256[] tails;
    }

    /// @notice What is traded, for what.
    struct Outcome {
        bytes32[] positionHashes;
        int256[] paymentsNano;
        uint256 tariffsNano;
        uint256 rentsNano;
    }

    /// @notice Reverts as `ClearingProof` does, or returns what it comes to.
    /// @param orders Per peer: 2 bytes node, 2 first block, 2 blocks, 2 rows, 1 number of supports; the rows; per support 2
    /// bytes lane, with the highest bit set for the highest price. A peer with a flexible order: 2 bytes node, highest bit
    /// set, 2 its own node, 32 seed, 32 terms, 4 for each period.
    /// @param flows Per period and link 5 bytes.
    function check(
        Frame calldata frame,
        bytes calldata cells,
        bytes calldata details,
        bytes calldata flows,
        bytes calldata orders,
        uint256 peers
    ) external pure returns (Outcome memory outcome) {
        ClearingProof.Tally memory tally = ClearingProof.open(
            frame.nodes,
            frame.periods,
            frame.floor,
            frame.cap,
            cells,
            details
        );
        outcome.positionHashes = new bytes32[](peers);
        outcome.paymentsNano = new int256[](peers);
        ClearingProof.Trade memory trade;
        uint256 at;
        for (uint256 p; p < peers; ++p) {
            uint256 start;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                start := add(orders.offset, at)
            }
            uint256 node;
            (node, at) = _addPeer(tally, start, at);
            tally.takePosition(node, frame.limitWh, trade);
            outcome.positionHashes[p] = trade.positionHash;
            outcome.paymentsNano[p] = trade.paymentNano;
        }
        _addFlows(tally, frame, flows, outcome);
        tally.close();
    }

    function _addPeer(
        ClearingProof.Tally memory tally,
        uint256 start,
        uint256 at
    ) private pure returns (uint256 node, uint256 next) {
        uint256 head;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            head := calldataload(start)
        }
        if (head >> 255 == 1) return _addFlexible(tally, start, at);
        node = head >> 240;
        uint256 firstBlock = (head >> 224) & 0xffff;
        uint256 blocks = (head >> 208) & 0xffff;
        uint256 rows = (head >> 192) & 0xffff;
        uint256 holds = (head >> 184) & 0xff;
        uint256 curve = start + 9;
        for (uint256 r; r < rows; ++r) {
            tally.addRow(node, firstBlock, blocks, curve + r * blocks * 64);
        }
        uint256 lanes = blocks * 8;
        for (uint256 s; s < holds; ++s) {
            uint256 entry;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                entry := shr(
                    240,
                    calldataload(add(add(curve, mul(mul(rows, blocks), 64)), mul(s, 2)))
                )
            }
            uint256 lane = entry & 0x7fff;
            require(lane < lanes * rows, SupportMalformed(at));
            tally.addSupport(
                node,
                firstBlock,
                lane % lanes,
                curve + (lane / lanes) * blocks * 64,
                entry >> 15 == 1
            );
        }
        next = at + 9 + rows * blocks * 64 + 2 * holds;
    }

    function _addFlexible(
        ClearingProof.Tally memory tally,
        uint256 start,
        uint256 at
    ) private pure returns (uint256 node, uint256 next) {
        ClearingProof.Flexible memory order;
        uint256 head;
        uint256 terms;
        bytes32 seed;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            head := calldataload(start)
            seed := calldataload(add(start, 4))
            terms := calldataload(add(start, 36))
        }
        node = (head >> 240) & 0x7fff;
        order.peerNode = node;
        order.node = (head >> 224) & 0xffff;
        order.terms = terms;
        order.seed = seed;
        order.schedule = start + 68;
        require(tally.addFlexible(order), FlexibleOrderRefused());
        next = at + 68 + 4 * uint16(terms >> 224);
    }

    function _addFlows(
        ClearingProof.Tally memory tally,
        Frame calldata frame,
        bytes calldata flows,
        Outcome memory outcome
    ) private pure {
        uint256 count = frame.links.length;
        require(flows.length == frame.periods * count * 5, FlowsMalformed());
        uint256 place;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            place := flows.offset
        }
        for (uint256 index; index < count; ++index) {
            Link memory link = frame.links[index];
            ClearingProof.Flow memory flow;
            flow.link = index;
            flow.tail = frame.tails[index];
            tally.addLink(link, flow, frame.periods, place + index * 5, count * 5);
            outcome.tariffsNano += flow.tariffNano;
            outcome.rentsNano += flow.rentNano;
        }
    }

    /// @notice Each function of `Lanes` beside its plain twin; true if they agree.
    function lanesAgree(
        uint256 word,
        uint256 limits,
        uint256 steps,
        uint256 low,
        uint256 high,
        uint256 a,
        uint256 b
    ) external pure returns (bool) {
        (uint256 evenHalf, uint256 oddHalf) = PlainLanes.halves(word);
        if (evenHalf != Lanes.even(word) || oddHalf != Lanes.odd(word)) return false;
        if (Lanes.biased(evenHalf) != PlainLanes.biased(evenHalf)) return false;
        if (Lanes.midpoint(low, high) != PlainLanes.midpoint(low, high)) return false;
        if (Lanes.atMost(a, b) != PlainLanes.atMost(a, b)) return false;
        uint256 energies = (steps >> 1) & Lanes.all(0x7fffffff);
        if (Lanes.nonZero(energies) != PlainLanes.nonZero(energies)) return false;
        if (Lanes.sum(a) != PlainLanes.sum(a)) return false;
        if (Lanes.reversed(a) != PlainLanes.reversed(a)) return false;
        return _fillAgrees(limits, steps, low, high);
    }

    function _fillAgrees(
        uint256 limits,
        uint256 steps,
        uint256 low,
        uint256 high
    ) private pure returns (bool) {
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
        // Steps between the prices are refused, whatever else is said of them.
        return
            between == between_ &&
            (between != 0 || (asks == asks_ && bids == bids_ && marginal == marginal_));
    }

    /// @notice `Lanes.addFills` beside `PlainLanes.fill`, half by half; true if they agree.
    /// @param block_ Limit prices and steps, as in a curve.
    /// @param prices Biased: lowest of the even and of the odd lanes, highest of the even and of the odd lanes.
    /// @param position Sold of the even and of the odd lanes, bought likewise.
    // solhint-disable-next-line gas-calldata-parameters
    function addFillsAgrees(
        uint256[2] calldata block_,
        uint256[4] memory prices,
        uint256[4] memory position
    ) external pure returns (bool) {
        uint256 row;
        uint256 at;
        uint256 to;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            row := block_
            at := prices
            to := position
        }
        for (uint256 odd; odd < 2; ++odd) {
            uint256[4] memory fills = _plainFills(block_, prices, odd);
            (uint256 sold, uint256 bought) = (position[odd], position[2 + odd]);
            uint256 undecided = Lanes.addFills(
                Lanes.ONE,
                row,
                32 - 32 * odd,
                at + 32 * odd,
                to + 32 * odd
            );
            if (
                position[odd] != sold + fills[0] ||
                position[2 + odd] != bought + fills[1] ||
                undecided != fills[2] | fills[3]
            ) return false;
        }
        return true;
    }

    function _plainFills(
        uint256[2] calldata block_,
        uint256[4] memory prices,
        uint256 odd
    ) private pure returns (uint256[4] memory fills) {
        (uint256 limits, uint256 odds) = PlainLanes.halves(block_[0]);
        if (odd == 1) limits = odds;
        uint256 steps;
        (steps, odds) = PlainLanes.halves(block_[1]);
        if (odd == 1) steps = odds;
        (fills[0], fills[1], fills[2], fills[3]) = PlainLanes.fill(
            PlainLanes.biased(limits),
            steps,
            prices[odd],
            prices[2 + odd]
        );
    }

    /// @notice `Lanes.take` beside its plain twin; true if they agree.
    /// @param position Sold of the even and of the odd lanes, bought likewise.
    /// @param sums What they are added to.
    /// @param prices Above the floor, of the even and of the odd lanes.
    // solhint-disable-next-line gas-calldata-parameters
    function takeAgrees(
        uint256[4] memory position,
        uint256[4] memory sums,
        uint256[2] memory prices
    ) external pure returns (bool) {
        uint256[4] memory added;
        uint256[4] memory nothing;
        for (uint256 i; i < 4; ++i) added[i] = sums[i] + position[i];
        (uint256 word, uint256[3] memory expected) = PlainLanes.take(position, prices);
        uint256[4] memory totals;
        (prices[0], prices[1]) = (Lanes.reversed(prices[0]), Lanes.reversed(prices[1]));
        uint256 from;
        uint256 to;
        uint256 at;
        uint256 total;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            from := position
            to := sums
            at := prices
            total := totals
        }
        uint256 sold = Lanes.take(from, to, at, total);
        uint256 bought = Lanes.take(from + 64, to + 64, at, total + 64);
        return
            ((sold | bought) << 1) | Lanes.flags(Lanes.ONE, bought) == word &&
            _less(totals[0], totals[2]) == expected[0] &&
            Lanes.sum(totals[1]) == expected[1] &&
            Lanes.sum(totals[3]) == expected[2] &&
            _same(sums, added) &&
            _same(position, nothing);
    }

    /// @dev Modulo 2^256, as the plain version.
    function _less(uint256 a, uint256 b) private pure returns (uint256) {
        unchecked {
            return a - b;
        }
    }

    function _same(uint256[4] memory a, uint256[4] memory b) private pure returns (bool) {
        return keccak256(abi.encode(a)) == keccak256(abi.encode(b));
    }
}
