// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClearingProof} from "../ClearingProof.sol";
import {Lanes} from "../Lanes.sol";
import {Link} from "../MarketTypes.sol";
import {PlainLanes} from "./PlainLanes.sol";

/// @title The proof by itself, without registry, signatures and money, for tests and benchmarks
contract ClearingProofHarness {
    using ClearingProof for ClearingProof.Tally;

    /// @notice A support names a lane that the curve of its record does not have; `Clearing` refuses it, too.
    error SupportMalformed(uint256 offset);

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
    /// bytes lane, with the highest bit set for the highest price.
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
        uint256 at;
        for (uint256 p; p < peers; ++p) {
            uint256 start;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                start := add(orders.offset, at)
            }
            uint256 node;
            (node, at) = _addPeer(tally, start, at);
            ClearingProof.Trade memory trade = tally.takePosition(node, frame.limitWh);
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

    function _addFlows(
        ClearingProof.Tally memory tally,
        Frame calldata frame,
        bytes calldata flows,
        Outcome memory outcome
    ) private pure {
        uint256 count = frame.links.length;
        for (uint256 index; index < count; ++index) {
            Link memory link = frame.links[index];
            for (uint256 t; t < frame.periods; ++t) {
                uint256 at = (t * count + index) * 5;
                ClearingProof.Flow memory flow = ClearingProof.Flow(
                    index,
                    t,
                    uint40(bytes5(flows[at:at + 5])),
                    frame.tails[index]
                );
                (uint256 tariff, uint256 rent) = tally.addFlow(link, flow);
                outcome.tariffsNano += tariff;
                outcome.rentsNano += rent;
            }
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
        if (Lanes.join(evenHalf, oddHalf) != word) return false;
        if (Lanes.biased(evenHalf) != PlainLanes.biased(evenHalf)) return false;
        if (Lanes.midpoint(low, high) != PlainLanes.midpoint(low, high)) return false;
        if (Lanes.atMost(a, b) != PlainLanes.atMost(a, b)) return false;
        uint256 energies = (steps >> 1) & Lanes.all(0x7fffffff);
        if (Lanes.nonZero(energies) != PlainLanes.nonZero(energies)) return false;
        if (Lanes.sum(a) != PlainLanes.sum(a)) return false;
        if (Lanes.reversed(a) != PlainLanes.reversed(a)) return false;
        if (Lanes.dot(limits, a) != PlainLanes.dot(limits, a)) return false;
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
            (between != 0 || (asks == asks_ && bids == bids_ && marginal == marginal_)) &&
            _addFillsAgrees(limits, steps, low, high, [asks, bids, marginal | between]);
    }

    function _addFillsAgrees(
        uint256 limits,
        uint256 steps,
        uint256 low,
        uint256 high,
        uint256[3] memory expected
    ) private pure returns (bool) {
        uint256[3] memory prices = [low, 0, high];
        uint256[3] memory position = [Lanes.ONE, 0, 2 * Lanes.ONE];
        uint256 at;
        uint256 to;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            at := prices
            to := position
        }
        uint256 undecided = Lanes.addFills(Lanes.biased(limits), steps, at, to);
        return
            undecided == expected[2] &&
            position[0] == Lanes.ONE + expected[0] &&
            position[2] == 2 * Lanes.ONE + expected[1];
    }
}
