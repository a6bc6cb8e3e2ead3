// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Calldata} from "./Calldata.sol";
import {Lanes} from "./Lanes.sol";
import {Link} from "./MarketTypes.sol";

/// @title Proof that a proposed clearing is optimal, that its prices are the midpoint, and that nothing was chosen
/// @notice A *cell* is a node in one period. A proposal names the lowest and the highest optimal price of every cell; all
/// else follows. With asks (a, Q) and bids (b, Q) at cells, links i -> j with tariff f and capacity K:
///
///     fills     ask: all if a < high, nothing if a > low       bid: all if b > low, nothing if b < high
///               no limit lies between low and high; what is left are *marginal* orders, limit = low = high
///     flows     with d = low_j - low_i - f and e = high_j - high_i - f:   w = K if d > 0 or e > 0,  w = 0 if d < 0 or e < 0
///     balance   asks + inflow - outflow - bids = 0 at every cell
///
/// These are the complementary slackness conditions of the clearing with `low` and with `high`, so its welfare equals the
/// dual bound of either: no clearing is better, and both are optimal prices. That they are the lowest and the highest is
/// shown by support: each is the floor (the cap), or held by an order, or by a link from a cell that is supported before
/// it (in order of the ranks, so not in a circle). The price is floor((low + high) / 2).
///
/// Where several clearings are optimal, the one with the most energy traded is taken, and of those the one whose flows
/// cost least at the links' *tails*, small numbers drawn from the hash of the network. That is a linear program over the
/// links with d = e = 0 and the marginal orders; `tail` of a cell is its dual price:
///
///     links     w > 0 needs tail_j - tail_i >= t,  w < K needs tail_j - tail_i <= t
///     orders    of the marginal asks something is sold: tail >= 0, something is not: tail <= 0
///               of the marginal bids something is bought: tail <= B, something is not: tail >= B
///
/// A *flexible order* (a storage, a vehicle) is a node of its own, with a cell in each period. Three links lead through its
/// window, charging (peer -> it, tariff 0), discharging (it -> peer, tariff its wear) and holding (it -> it, a period
/// later). It begins full of what it holds: that much is offered in its last cell at its value, and can be brought back
/// through time to an earlier one; what it wants beyond that is bid for there at the same value. So with a level L
/// between two periods and s held at the start, the one bound for holding, L <= K, stands for two links: L - s runs
/// forward in time, up to K - s, or backward, up to s. The prices along it say of either
///
///     L > 0 needs d, e >= 0,  L < K needs d, e <= 0
///     and where d = e = 0:  rise of the tails >= t if L > s, >= -t if 0 < L;  <= t if L < K, <= -t if L < s
///
/// Marginal asks of a cell share what is sold of them pro rata, rounded down on running totals in order of their ids; so do
/// marginal bids.
///
/// Requirements: P1 prices within the bounds; P2 no limit between low and high; P3 the marginal totals are true; P4 flows
/// within capacity; P5 flows follow from the prices; P6 flows are those of the tails; P7 marginal fills are those of the
/// tails; P8 every cell balances; P9 lowest prices, P10 highest prices are supported; P11 the proposal is well formed.
/// @dev A proof is opened at prices, the rows of each peer are filled and its position taken, then links are added and the
/// proof is closed. Memory is laid out by hand:
///
///     grid      per node and block 6 words: low, high and price, each an even and an odd half, biased
///     given     per cell 2 words: askFill | askTotal | bidFill | bidTotal of 64 bits, and tail
///     sums      per node and block 4 words: energy sold and bought, each an even and an odd half
///     running   per cell: marginal asks so far (96 bits) | marginal bids so far (96) | support found (2)
///     inflow    per cell, Wh
///     position  per block 4 words of the peer: energy sold and bought, each an even and an odd half
///     words     per block 1 word: the peer's position as it is hashed
///
/// The cell of node z in period t is z * 8 * blocks + t. Sums and running totals stand side by side: they are all that is
/// carried from one part of a clearing to the next.
library ClearingProof {
    using Lanes for uint256;

    /// @notice P11: the cells are not three words for each node and block.
    error CellsMalformed(uint256 expectedBytes, uint256 actualBytes);
    /// @notice P11: a detail is cut off, names no cell, or does not come in order of the cells.
    error DetailsMalformed(uint256 offset);
    /// @notice P11: more of marginal orders is filled than there is of them.
    error MarginalFillTooLarge(uint256 node, uint256 period);
    /// @notice P11: energy for a period that the session does not have.
    error UnknownPeriod(uint256 period);
    /// @notice P11: the step does not hold the price it is to hold.
    error NoSupport(uint256 node, uint256 period);
    /// @notice P1
    error PriceOutOfBounds(uint256 node, uint256 period, int256 low, int256 high);
    /// @notice P2
    error LimitBetweenPrices(uint256 node, uint256 period, int256 limitMicroPerKWh);
    /// @notice P3
    error MarginalTotalMismatch(uint256 node, uint256 period, uint256 asksWh, uint256 bidsWh);
    /// @notice P4
    error FlowAboveCapacity(uint256 link, uint256 period, uint256 flowWh, uint256 capacityWh);
    /// @notice P5
    error FlowNotImplied(uint256 link, uint256 period, uint256 flowWh);
    /// @notice P6
    error FlowNotUnique(uint256 link, uint256 period, uint256 flowWh);
    /// @notice P7
    error FillNotUnique(uint256 node, uint256 period);
    /// @notice P8
    error NodeUnbalanced(uint256 node, uint256 period, int256 surplusWh);
    /// @notice P9
    error LowestNotProved(uint256 node, uint256 period);
    /// @notice P10
    error HighestNotProved(uint256 node, uint256 period);
    /// @notice The peer sells or buys more than its connection carries.
    error EnergyAboveConnection(uint256 block_, uint256 limitWh);

    /// @notice What one more Wh bought by a marginal bid is worth in the secondary program: more than any path of links.
    int256 internal constant BID_TAIL = 2 ** 41;
    uint256 internal constant LANES = 8;

    uint256 private constant MASK_64 = 0xffffffffffffffff;
    uint256 private constant MASK_96 = 0xffffffffffffffffffffffff;
    uint256 private constant LOW_HELD = 1;
    uint256 private constant HIGH_HELD = 2;
    uint256 private constant GRID_BYTES = 6 * 32;
    uint256 private constant PRICES_AT = 4 * 32;
    uint256 private constant SUM_BYTES = 4 * 32;

    /// @notice A proof while it is checked.
    /// @param ranks Where the ranks of the first block lie in the calldata.
    /// @param one `Lanes.ONE`. The compiler puts a constant wherever it is used, and one of this size is dearer than what it
    /// finds on the stack.
    struct Tally {
        uint256 nodes;
        uint256 periods;
        uint256 blocks;
        int256 floor;
        int256 cap;
        uint256 ranks;
        uint256 grid;
        uint256 given;
        uint256 sums;
        uint256 running;
        uint256 inflow;
        uint256 position;
        uint256 words;
        uint256 totals;
        uint256 one;
    }

    /// @notice What a peer trades in a session.
    /// @param paymentNano Received (positive) or paid (negative).
    /// @param soldWh Sold in all, net of what it buys in the same period.
    /// @param positionHash Hash of its position, one word for each block.
    struct Trade {
        int256 paymentNano;
        uint256 soldWh;
        uint256 boughtWh;
        bytes32 positionHash;
    }

    /// @notice What a link carries in one period.
    /// @param link Its number; of a flexible order its node times 2^16, + 0 for charging, 1 for discharging, 2 for holding.
    /// @param tail If it is 0, it is drawn from `seed` where it is needed.
    /// @param baseWh The flow that costs no tail.
    /// @param source Cell that it leaves; filled in here, as all that follows.
    /// @param tariffNano What its owner has earned so far.
    /// @param rentNano The congestion rent so far.
    struct Flow {
        uint256 link;
        uint256 period;
        uint256 flowWh;
        uint256 tail;
        bytes32 seed;
        uint256 baseWh;
        uint256 source;
        uint256 target;
        uint256 capacityWh;
        bool carries;
        bool spare;
        uint256 tariffNano;
        uint256 rentNano;
    }

    /// @notice A flexible order in a clearing.
    /// @param peerNode Where it charges and discharges.
    /// @param node Its own.
    /// @param terms Packed (see `FlexibleOrder`).
    /// @param seed Hash of the order, of which the tails of its links are made.
    /// @param schedule Where its energies lie in the calldata: 4 bytes for each period, energyWh << 1, + 1 if charged.
    struct Flexible {
        uint256 peerNode;
        uint256 node;
        uint256 terms;
        bytes32 seed;
        uint256 schedule;
    }

    // ------------------------------------------------------------------------------------------------------ opening

    /// @notice Starts a proof at the proposed prices.
    /// @param cells Per node and block three words of eight lanes: lowest prices, highest less lowest, ranks (16 bits for
    /// the lowest, 16 for the highest). Lanes of periods that do not exist hold floor, 0, 0.
    /// @param details Cells that have a tail or marginal orders, ascending: 2 bytes cell (highest bit: marginal orders
    /// follow), 8 bytes tail, and if so 32 bytes askFill | askTotal | bidFill | bidTotal.
    function open(
        uint256 nodes,
        uint256 periods,
        int256 floor,
        int256 cap,
        bytes calldata cells,
        bytes calldata details
    ) internal pure returns (Tally memory tally) {
        unchecked {
            // slither-disable-next-line divide-before-multiply (blocks are whole)
            uint256 blocks = (periods + LANES - 1) / LANES;
            require(
                cells.length == nodes * blocks * 96,
                CellsMalformed(nodes * blocks * 96, cells.length)
            );
            tally.nodes = nodes;
            tally.periods = periods;
            tally.blocks = blocks;
            tally.floor = floor;
            tally.cap = cap;
            tally.one = Lanes.ONE;
            uint256 cellCount = nodes * blocks * LANES;
            tally.grid = _allocate(nodes * blocks * GRID_BYTES);
            tally.given = _allocate(cellCount * 64);
            tally.sums = _allocate(nodes * blocks * SUM_BYTES + cellCount * 32);
            tally.running = tally.sums + nodes * blocks * SUM_BYTES;
            tally.inflow = _allocate(cellCount * 32);
            tally.position = _allocate(blocks * SUM_BYTES);
            tally.words = _allocate(blocks * 32);
            tally.totals = _allocate(SUM_BYTES);
        }
        _openPrices(tally, cells);
        _openDetails(tally, details);
    }

    /// @notice How many nodes the cells are for: those of the network, and one for each flexible order.
    function nodesOf(
        uint256 periods,
        uint256 cellBytes,
        uint256 networkNodes
    ) internal pure returns (uint256 nodes) {
        unchecked {
            // slither-disable-next-line divide-before-multiply (blocks are whole)
            nodes = cellBytes / (((periods + LANES - 1) / LANES) * 96);
            if (nodes < networkNodes) nodes = networkNodes;
        }
    }

    /// @notice Requires that the cells are for so many nodes, or for no fewer.
    function requireNodes(Tally memory tally, uint256 nodes, bool exactly) internal pure {
        unchecked {
            require(
                exactly ? nodes == tally.nodes : nodes <= tally.nodes,
                CellsMalformed(nodes * tally.blocks * 96, tally.nodes * tally.blocks * 96)
            );
        }
    }

    /// @notice What has been added up, to be carried to the next part of a clearing.
    function carried(Tally memory tally) internal pure returns (bytes memory sums) {
        uint256 size = _carriedBytes(tally);
        sums = new bytes(size);
        uint256 source = tally.sums;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mcopy(add(sums, 32), source, size)
        }
    }

    /// @notice Goes on from what an earlier part had added up.
    function resume(Tally memory tally, bytes calldata sums) internal pure {
        uint256 size = _carriedBytes(tally);
        require(sums.length == size, CellsMalformed(size, sums.length));
        uint256 target = tally.sums;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            calldatacopy(target, sums.offset, size)
        }
    }

    function _openPrices(Tally memory tally, bytes calldata cells) private pure {
        unchecked {
            uint256 source;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                source := cells.offset
            }
            tally.ranks = source + 64;
            uint256 target = tally.grid;
            uint256 floors = Lanes.all(_biased(tally.floor));
            uint256 caps = Lanes.all(_biased(tally.cap));
            uint256 count = tally.nodes * tally.blocks;
            for (uint256 b; b < count; ++b) {
                uint256 lows = Calldata.word(source);
                uint256 widths = Calldata.word(source + 32);
                uint256 low = Lanes.biased(lows.even());
                uint256 high = low + widths.even();
                bool inBounds = floors.atMost(low) && high.atMost(caps);
                _store(target, low);
                _store(target + 64, high);
                _store(target + 128, (Lanes.midpoint(low, high) - floors).reversed());
                low = Lanes.biased(lows.odd());
                high = low + widths.odd();
                if (!(inBounds && floors.atMost(low) && high.atMost(caps)))
                    _revertOutOfBounds(tally, b, lows, widths);
                _store(target + 32, low);
                _store(target + 96, high);
                _store(target + 160, (Lanes.midpoint(low, high) - floors).reversed());
                source += 96;
                target += GRID_BYTES;
            }
        }
    }

    function _openDetails(Tally memory tally, bytes calldata details) private pure {
        unchecked {
            uint256 cellCount = tally.nodes * tally.blocks * LANES;
            uint256 start;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                start := details.offset
            }
            uint256 next; // cells come in ascending order
            for (uint256 at; at < details.length;) {
                uint256 head = Calldata.word(start + at);
                uint256 cell = (head >> 240) & 0x7fff;
                uint256 size = head >> 255 == 0 ? 10 : 42;
                require(
                    at + size <= details.length && next <= cell && cell < cellCount,
                    DetailsMalformed(at)
                );
                next = cell + 1;
                uint256 target = tally.given + cell * 64;
                if (size == 42) {
                    uint256 marginal = Calldata.word(start + at + 10);
                    require(
                        marginal >> 192 <= (marginal >> 128) & MASK_64 &&
                            (marginal >> 64) & MASK_64 <= marginal & MASK_64,
                        MarginalFillTooLarge(_nodeOf(tally, cell), _periodOf(tally, cell))
                    );
                    _store(target, marginal);
                }
                _store(target + 32, uint256(int256(int64(uint64(head >> 176)))));
                at += size;
            }
        }
    }

    // --------------------------------------------------------------------------------------------------------- peers

    /// @notice Fills one row of a curve and adds it to the position of its peer.
    /// @param row Where it lies in the calldata: for each block a word of prices and one of steps (see `Lanes.fill`).
    function addRow(
        Tally memory tally,
        uint256 node,
        uint256 firstBlock,
        uint256 blocks,
        uint256 row
    ) internal pure {
        unchecked {
            uint256 grid = tally.grid + (node * tally.blocks + firstBlock) * GRID_BYTES;
            uint256 position = tally.position + firstBlock * SUM_BYTES;
            uint256 end = row + blocks * 64;
            (uint256 next, bool isOpen) = _addFills(tally.one, row, end, grid, position);
            while (isOpen) {
                // slither-disable-next-line divide-before-multiply (blocks are whole)
                uint256 blocksDone = (next - row) / 64;
                grid += blocksDone * GRID_BYTES;
                position += blocksDone * SUM_BYTES;
                row = next;
                _addShares(tally, node, row - 64, grid - GRID_BYTES, position - SUM_BYTES);
                (next, isOpen) = _addFills(tally.one, row, end, grid, position);
            }
            if (firstBlock + blocks >= tally.blocks)
                _requirePeriods(tally, firstBlock + blocks, end);
        }
    }

    /// @dev Fills blocks until not all steps of one are decided by their limits. A function of its own, with its own stack.
    /// @return next Where the next block lies.
    /// @return isOpen Whether the block before it has steps that are not decided.
    function _addFills(
        uint256 one,
        uint256 row,
        uint256 end,
        uint256 grid,
        uint256 position
    ) private pure returns (uint256 next, bool isOpen) {
        unchecked {
            for (next = row; next < end;) {
                uint256 undecided =
                    Lanes.addFills(one, next, 32, grid, position) |
                        Lanes.addFills(one, next, 0, grid + 32, position + 32);
                next += 64;
                if (undecided != 0) return (next, true);
                grid += GRID_BYTES;
                position += SUM_BYTES;
            }
        }
    }

    /// @dev Nothing is filled after the last period of the session.
    function _requirePeriods(Tally memory tally, uint256 blocks, uint256 end) private pure {
        unchecked {
            uint256 unused = tally.periods % LANES;
            require(
                blocks == tally.blocks &&
                    (unused == 0 || Calldata.word(end - 32) << (32 * unused) == 0),
                UnknownPeriod(tally.periods)
            );
        }
    }

    /// @notice Takes the peer's position from the rows added since the last one and adds it to its node.
    /// @param trade Is overwritten.
    function takePosition(
        Tally memory tally,
        uint256 node,
        uint256 limitWh,
        Trade memory trade
    ) internal pure {
        unchecked {
            uint256 one = tally.one;
            uint256 position = tally.position;
            uint256 sums = tally.sums + node * tally.blocks * SUM_BYTES;
            uint256 prices = tally.grid + node * tally.blocks * GRID_BYTES + PRICES_AT;
            uint256 totals = tally.totals;
            uint256 words = tally.words;
            uint256 end = words + tally.blocks * 32;
            for (uint256 word = words; word < end; word += 32) {
                (uint256 sold, uint256 bought) = _traded(position);
                uint256 lanes;
                if (sold | bought != 0) {
                    // What its lanes have together is seldom more than a connection carries, and seldom of both sides.
                    if ((sold != 0 && bought != 0) || !(sold | bought).atMost(one * limitWh)) {
                        require(
                            _isCarried(position, one * limitWh),
                            EnergyAboveConnection((word - words) / 32, limitWh)
                        );
                        if (sold != 0 && bought != 0) _net(position);
                    }
                    if (sold != 0) lanes = Lanes.take(position, sums, prices, totals) << 1;
                    if (bought != 0) {
                        uint256 taken = Lanes.take(position + 64, sums + 64, prices, totals + 64);
                        lanes |= (taken << 1) | Lanes.flags(one, taken);
                    }
                }
                _store(word, lanes);
                position += SUM_BYTES;
                sums += SUM_BYTES;
                prices += GRID_BYTES;
            }
            trade.soldWh = _taken(totals + 32).sum();
            trade.boughtWh = _taken(totals + 96).sum();
            trade.paymentNano =
                int256(_taken(totals) - _taken(totals + 64)) +
                tally.floor * int256(trade.soldWh - trade.boughtWh);
            trade.positionHash = _hash(words, end);
        }
    }

    /// @notice Notes that an order step holds the lowest or the highest price of its cell, where low < high: an ask at
    /// `low` sells and a bid at `low` buys nothing, so no lower price is optimal; at `high` it is the reverse.
    /// @param row As in `addRow`; `lane` counts from its first period.
    function addSupport(
        Tally memory tally,
        uint256 node,
        uint256 firstBlock,
        uint256 lane,
        uint256 row,
        bool highest
    ) internal pure {
        unchecked {
            uint256 period = firstBlock * LANES + lane;
            // slither-disable-next-line divide-before-multiply (rounded down to the block)
            uint256 pair = row + (lane / LANES) * 64;
            uint256 shift = 224 - 32 * (lane % LANES);
            uint256 limit = ((Calldata.word(pair) >> shift) & 0xffffffff) ^ Lanes.BIAS;
            uint256 step = (Calldata.word(pair + 32) >> shift) & 0xffffffff;
            (uint256 low, uint256 high) = _prices(tally, node, period);
            require(
                step > 1 && low < high && limit == (highest ? high : low),
                NoSupport(node, period)
            );
            _hold(tally, _cell(tally, node, period), highest ? HIGH_HELD : LOW_HELD);
        }
    }

    /// @dev What the marginal steps of a block get.
    function _addShares(
        Tally memory tally,
        uint256 node,
        uint256 row,
        uint256 grid,
        uint256 position
    ) private pure {
        unchecked {
            uint256 half = (position - tally.position) >> 6; // counted through, the even one of a block first
            uint256 limits = Calldata.word(row).even();
            uint256 steps = Calldata.word(row + 32).even();
            for (uint256 last = half | 1; half <= last; ++half) {
                // slither-disable-next-line unused-return (what is certain was added before)
                (, , uint256 marginal, uint256 between) = Lanes.biased(limits).fill(
                    steps,
                    _load(grid),
                    _load(grid + 64)
                );
                if (between != 0) _revertBetween(node, half, limits, between);
                if (marginal != 0) {
                    (uint256 askFills, uint256 bidFills) = _share(
                        tally,
                        node,
                        half,
                        marginal,
                        steps
                    );
                    _add(position, askFills);
                    _add(position + 64, bidFills);
                }
                limits = Calldata.word(row).odd();
                steps = Calldata.word(row + 32).odd();
                grid += 32;
                position += 32;
            }
        }
    }

    /// @dev The part of each marginal step: what is owed up to it, rounded down, less what was owed before it.
    function _share(
        Tally memory tally,
        uint256 node,
        uint256 half,
        uint256 marginal,
        uint256 steps
    ) private pure returns (uint256 askFills, uint256 bidFills) {
        unchecked {
            for (uint256 lane; lane < 4; ++lane) {
                uint256 energy = marginal.at(lane);
                if (energy == 0) continue;
                uint256 period = _periodOfLane(half, lane);
                uint256 cell = _cell(tally, node, period);
                uint256 given = _load(tally.given + cell * 64);
                uint256 running = _load(tally.running + cell * 32);
                bool isAsk = steps.at(lane) & 1 == 1;
                if (!isAsk) given <<= 128;
                uint256 total = (given >> 128) & MASK_64;
                require(total > 0, MarginalTotalMismatch(node, period, 0, 0));
                uint256 before = isAsk ? running >> 160 : (running >> 64) & MASK_96;
                uint256 owed = (before * (given >> 192)) / total;
                uint256 share = ((before + energy) * (given >> 192)) / total - owed;
                _store(tally.running + cell * 32, running + (energy << (isAsk ? 160 : 64)));
                if (isAsk) askFills |= share << (192 - 64 * lane);
                else bidFills |= share << (192 - 64 * lane);
            }
        }
    }

    /// @dev What the peer sells in the lanes of a block, and what it buys, each put together bit by bit.
    function _traded(uint256 position) private pure returns (uint256 sold, uint256 bought) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            sold := or(mload(position), mload(add(position, 32)))
            bought := or(mload(add(position, 64)), mload(add(position, 96)))
        }
    }

    /// @dev Leaves nothing behind.
    function _taken(uint256 place) private pure returns (uint256 total) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            total := mload(place)
            mstore(place, 0)
        }
    }

    /// @dev Whether the peer's connection carries what it sells, and what it buys.
    function _isCarried(uint256 position, uint256 limits) private pure returns (bool) {
        unchecked {
            for (uint256 at = position; at < position + 128; at += 32) {
                if (!_load(at).atMost(limits)) return false;
            }
            return true;
        }
    }

    /// @dev Takes off what the peer both sells and buys, for it trades that with itself.
    function _net(uint256 position) private pure {
        unchecked {
            for (uint256 at = position; at < position + 64; at += 32) {
                (uint256 sold, uint256 bought) = (_load(at), _load(at + 64));
                if (sold.nonZero() & bought.nonZero() == 0) continue;
                for (uint256 lane; lane < 4; ++lane) {
                    (uint256 s, uint256 b) = (sold.at(lane), bought.at(lane));
                    uint256 own = (s < b ? s : b) << (192 - 64 * lane);
                    sold -= own;
                    bought -= own;
                }
                _store(at, sold);
                _store(at + 64, bought);
            }
        }
    }

    function _hash(uint256 start, uint256 end) private pure returns (bytes32 hash) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            hash := keccak256(start, sub(end, start))
        }
    }

    // --------------------------------------------------------------------------------------------------------- links

    /// @notice Tail of a link, 1 to 2^24.
    /// @param seed Hash of the links of the network version.
    function linkTail(bytes32 seed, uint256 link) internal pure returns (uint256) {
        unchecked {
            uint256 hash;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                mstore(0, seed)
                mstore(32, link)
                hash := keccak256(0, 64)
            }
            return (hash >> 232) + 1;
        }
    }

    /// @notice Adds what a link carries in a run of periods.
    /// @param flow Its number, its tail and the first period; what else there is of it is written here.
    /// @param end The period after the last.
    /// @param place Where the first flow lies in the calldata, 5 bytes; the next lies `stride` bytes on.
    function addLink(
        Tally memory tally,
        Link memory link,
        Flow memory flow,
        uint256 end,
        uint256 place,
        uint256 stride
    ) internal pure {
        unchecked {
            flow.source = _cell(tally, link.source, flow.period);
            flow.target = _cell(tally, link.target, flow.period);
            flow.capacityWh = link.capacityWh;
            uint256 tariff = link.tariffMicroPerKWh;
            while (flow.period < end) {
                flow.flowWh = Calldata.word(place) >> 216;
                _addFlow(tally, flow, tariff);
                place += stride;
                ++flow.period;
                ++flow.source;
                ++flow.target;
            }
        }
    }

    function _addFlow(Tally memory tally, Flow memory flow, uint256 tariff) private pure {
        unchecked {
            (uint256 low, uint256 high) = _pricesAt(tally, flow.source);
            (uint256 lowThere, uint256 highThere) = _pricesAt(tally, flow.target);
            uint256 rent = ((lowThere + highThere) >> 1) - ((low + high) >> 1) - tariff;
            int256 d = int256(lowThere - low - tariff);
            int256 e = int256(highThere - high - tariff);
            uint256 flowWh = flow.flowWh;
            // At first sight: idle at a loss, or full at a gain.
            if (flowWh == 0) {
                if (d & e >= 0) _requireGains(tally, flow, d, e);
                return;
            }
            if (flowWh != flow.capacityWh || d <= 0 || e <= 0) _requireGains(tally, flow, d, e);
            _add(tally.inflow + flow.source * 32, 0 - flowWh);
            _add(tally.inflow + flow.target * 32, flowWh);
            flow.tariffNano += tariff * flowWh;
            flow.rentNano += rent * flowWh;
        }
    }

    /// @dev Checks what a link carries against what it gains on a kWh, its tariff taken off, and takes what it says of the
    /// support of prices.
    /// @param d At the lowest prices.
    /// @param e At the highest prices.
    function _requireGains(Tally memory tally, Flow memory flow, int256 d, int256 e) private pure {
        unchecked {
            uint256 flowWh = flow.flowWh;
            uint256 capacityWh = flow.capacityWh;
            if (flowWh == 0 && (capacityWh == 0 || (d < 0 && e < 0))) return; // idle, and no loss
            require(
                flowWh <= capacityWh,
                FlowAboveCapacity(flow.link, flow.period, flowWh, capacityWh)
            );
            (bool carries, bool spare) = (flowWh > 0, flowWh < capacityWh);
            require(
                !(carries && (d < 0 || e < 0)) && !(spare && (d > 0 || e > 0)),
                FlowNotImplied(flow.link, flow.period, flowWh)
            );
            (flow.carries, flow.spare) = (carries, spare);
            if (d == 0 && e == 0) _requireTails(tally, flow);
            if (d == 0 || e == 0) _support(tally, flow, d == 0, e == 0);
        }
    }

    function _requireTails(Tally memory tally, Flow memory flow) private pure {
        unchecked {
            int256 rise = _tail(tally, flow.target) - _tail(tally, flow.source);
            int256 tail = int256(
                flow.tail > 0 ? flow.tail : linkTail(flow.seed, 3 * flow.period + (flow.link & 3))
            );
            int256 least = flow.flowWh > flow.baseWh ? tail : -tail;
            int256 most = flow.flowWh < flow.baseWh ? -tail : tail;
            require(
                !(flow.carries && rise < least) && !(flow.spare && rise > most),
                FlowNotUnique(flow.link, flow.period, flow.flowWh)
            );
        }
    }

    /// @dev Where low_j = low_i + f and energy flows, low cannot fall at j alone, and where more could flow not at i alone;
    /// where high_j = high_i + f it cannot rise at i alone, and at j alone.
    function _support(Tally memory tally, Flow memory flow, bool low, bool high) private pure {
        unchecked {
            uint256 from = _ranks(tally, flow.source);
            uint256 to = _ranks(tally, flow.target);
            uint256 source;
            uint256 target;
            if (low) {
                if (flow.carries && from >> 16 < to >> 16) target = LOW_HELD;
                if (flow.spare && to >> 16 < from >> 16) source = LOW_HELD;
            }
            if (high) {
                if (flow.spare && from & 0xffff < to & 0xffff) target |= HIGH_HELD;
                if (flow.carries && to & 0xffff < from & 0xffff) source |= HIGH_HELD;
            }
            if (target != 0) _hold(tally, flow.target, target);
            if (source != 0) _hold(tally, flow.source, source);
        }
    }

    // ----------------------------------------------------------------------------------------------- flexible orders

    /// @notice Checks the schedule of a flexible order and adds it to the position of its peer.
    /// @return whether its terms are ones that can be kept, in periods of the session.
    function addFlexible(Tally memory tally, Flexible memory order) internal pure returns (bool) {
        unchecked {
            uint256 terms = order.terms;
            uint256 first = terms >> 240;
            uint256 last = first + uint16(terms >> 224);
            uint256 capacityWh = uint32(terms >> 128);
            uint256 startWh = uint32(terms >> 64);
            uint256 wantedWh = uint32(terms >> 32);
            if (
                !(first < last &&
                    last <= tally.periods &&
                    startWh <= wantedWh &&
                    wantedWh <= capacityWh)
            ) return false;

            Flow memory flow;
            flow.seed = order.seed;
            int256 levelWh = int256(startWh);
            uint256 cell = _cell(tally, order.node, first);
            (uint256 low, uint256 high) = _pricesAt(tally, cell);
            for (uint256 t = first; t < last; ++t) {
                flow.period = t;
                flow.baseWh = 0;
                levelWh += _exchange(tally, order, flow, low, high);
                require(levelWh >= 0, NodeUnbalanced(order.node, t, levelWh));
                if (t + 1 == last) break;
                flow.source = cell;
                flow.target = ++cell;
                flow.capacityWh = capacityWh;
                flow.link = (order.node << 16) | 2;
                flow.flowWh = uint256(levelWh);
                flow.baseWh = startWh;
                (uint256 lowLater, uint256 highLater) = _pricesAt(tally, cell);
                _requireGains(tally, flow, int256(lowLater - low), int256(highLater - high));
                (low, high) = (lowLater, highLater);
            }
            _requireHeld(tally, order, last - 1, levelWh);
            return true;
        }
    }

    /// @dev What it charges or discharges in a period.
    /// @param low Biased lowest price of its own cell; `high` the highest.
    /// @return chargedWh Negative if it is discharged.
    function _exchange(
        Tally memory tally,
        Flexible memory order,
        Flow memory flow,
        uint256 low,
        uint256 high
    ) private pure returns (int256 chargedWh) {
        unchecked {
            uint256 period = flow.period;
            uint256 lane = Calldata.word(order.schedule) >> 224;
            order.schedule += 4;
            (uint256 energyWh, bool charges) = (lane >> 1, lane & 1 == 1);
            flow.source = _cell(tally, order.peerNode, period);
            flow.target = _cell(tally, order.node, period);
            flow.capacityWh = uint32(order.terms >> 192);
            flow.link = order.node << 16;
            flow.flowWh = charges ? energyWh : 0;
            (uint256 lowThere, uint256 highThere) = _pricesAt(tally, flow.source);
            int256 d = int256(low - lowThere);
            int256 e = int256(high - highThere);
            _requireGains(tally, flow, d, e);
            (flow.source, flow.target) = (flow.target, flow.source);
            flow.capacityWh = uint32(order.terms >> 160);
            flow.link |= 1;
            flow.flowWh = charges ? 0 : energyWh;
            int256 wear = int256(uint256(uint32(order.terms >> 96)));
            _requireGains(tally, flow, -d - wear, -e - wear);
            if (energyWh == 0) return 0;
            // slither-disable-next-line divide-before-multiply (rounded down to the block)
            uint256 place = tally.position + (period / LANES) * SUM_BYTES + (period & 1) * 32;
            _add(charges ? place + 64 : place, energyWh << (192 - 64 * ((period % LANES) >> 1)));
            return charges ? int256(energyWh) : -int256(energyWh);
        }
    }

    /// @dev What it holds at the end follows from the price of its last cell; it is the fill of the bid for what is wanted
    /// beyond the start, plus what is not sold of that.
    function _requireHeld(
        Tally memory tally,
        Flexible memory order,
        uint256 period,
        int256 levelWh
    ) private pure {
        unchecked {
            uint256 startWh = uint32(order.terms >> 64);
            uint256 wantedWh = uint32(order.terms >> 32);
            uint256 cell = _cell(tally, order.node, period);
            if (wantedWh > 0) {
                uint256 value = uint32(order.terms) ^ Lanes.BIAS;
                (uint256 low, uint256 high) = _pricesAt(tally, cell);
                if (low == high && value == low) {
                    uint256 given = _load(tally.given + cell * 64);
                    levelWh -= int256(startWh) + int256((given >> 64) & MASK_64);
                    levelWh += int256(given >> 192);
                    _add(
                        tally.running + cell * 32,
                        (startWh << 160) | ((wantedWh - startWh) << 64)
                    );
                } else {
                    require(
                        value <= low || high <= value,
                        LimitBetweenPrices(order.node, period, int32(uint32(order.terms)))
                    );
                    if (value > low) levelWh -= int256(wantedWh);
                    if (value == low) _hold(tally, cell, LOW_HELD);
                    if (value == high) _hold(tally, cell, HIGH_HELD);
                }
            }
            require(levelWh == 0, NodeUnbalanced(order.node, period, levelWh));
        }
    }

    // ------------------------------------------------------------------------------------------------------- closing

    /// @notice Requires that every cell balances, that its prices are the lowest and the highest, and that its marginal
    /// orders are what was said of them.
    function close(Tally memory tally) internal pure {
        unchecked {
            for (uint256 b; b < tally.nodes * tally.blocks; ++b) {
                uint256 node = b / tally.blocks;
                uint256 first = (b % tally.blocks) * LANES;
                uint256 end = tally.periods - first;
                if (end > LANES) end = LANES;
                uint256 lane = _firstOpen(tally, b, 0, end);
                while (lane < end) {
                    _closeCell(tally, node, first + lane);
                    lane = _firstOpen(tally, b, lane + 1, end);
                }
            }
        }
    }

    /// @dev The first lane of a block from `lane` on whose cell is not closed at first sight: without marginal orders,
    /// balanced, and both prices held or at their bounds. `_closeCell` says what is wrong with it, if anything.
    function _firstOpen(
        Tally memory tally,
        uint256 block_,
        uint256 lane,
        uint256 end
    ) private pure returns (uint256) {
        unchecked {
            uint256 cell = block_ * LANES;
            uint256 given = tally.given + cell * 64;
            uint256 running = tally.running + cell * 32;
            uint256 inflow = tally.inflow + cell * 32;
            uint256 sums = tally.sums + block_ * SUM_BYTES;
            uint256 grid = tally.grid + block_ * GRID_BYTES;
            uint256 floor = _biased(tally.floor);
            uint256 cap = _biased(tally.cap);
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                for {} lt(lane, end) {
                    lane := add(lane, 1)
                } {
                    let held := mload(add(running, shl(5, lane)))
                    let open_ := or(mload(add(given, shl(6, lane))), shr(64, held))
                    let odd := shl(5, and(lane, 1))
                    let shift := sub(192, shl(6, shr(1, lane)))
                    let at := add(sums, odd)
                    let surplus := and(shr(shift, mload(at)), MASK_64)
                    surplus := sub(surplus, and(shr(shift, mload(add(at, 64))), MASK_64))
                    open_ := or(open_, add(surplus, mload(add(inflow, shl(5, lane)))))
                    at := add(grid, odd)
                    if iszero(and(held, LOW_HELD)) {
                        open_ := or(open_, xor(and(shr(shift, mload(at)), MASK_64), floor))
                    }
                    if iszero(and(held, HIGH_HELD)) {
                        open_ := or(open_, xor(and(shr(shift, mload(add(at, 64))), MASK_64), cap))
                    }
                    if open_ {
                        break
                    }
                }
            }
            return lane;
        }
    }

    function _closeCell(Tally memory tally, uint256 node, uint256 period) private pure {
        unchecked {
            uint256 cell = _cell(tally, node, period);
            // slither-disable-next-line divide-before-multiply (rounded down to the block)
            uint256 sums = tally.sums + (cell / LANES) * SUM_BYTES + (period & 1) * 32;
            uint256 lane = (period % LANES) >> 1;
            int256 surplus =
                int256(_load(tally.inflow + cell * 32)) +
                    int256(_load(sums).at(lane)) -
                    int256(_load(sums + 64).at(lane));
            require(surplus == 0, NodeUnbalanced(node, period, surplus));

            (uint256 low, uint256 high) = _prices(tally, node, period);
            uint256 held = _load(tally.running + cell * 32);
            uint256 given = _load(tally.given + cell * 64);
            require(
                held >> 160 == (given >> 128) & MASK_64 &&
                    (held >> 64) & MASK_96 == given & MASK_64,
                MarginalTotalMismatch(node, period, held >> 160, (held >> 64) & MASK_96)
            );
            if (given != 0) held |= _closeMarginal(tally, node, period, cell, given);
            require(
                held & LOW_HELD != 0 || low == _biased(tally.floor),
                LowestNotProved(node, period)
            );
            require(
                held & HIGH_HELD != 0 || high == _biased(tally.cap),
                HighestNotProved(node, period)
            );
        }
    }

    /// @dev What the marginal orders of a cell say of its tail, and which of its prices they hold.
    function _closeMarginal(
        Tally memory tally,
        uint256 node,
        uint256 period,
        uint256 cell,
        uint256 given
    ) private pure returns (uint256 held) {
        unchecked {
            int256 tail = _tail(tally, cell);
            bool sold = given >> 192 > 0;
            bool unsold = given >> 192 < (given >> 128) & MASK_64;
            bool bought = (given >> 64) & MASK_64 > 0;
            bool unbought = (given >> 64) & MASK_64 < given & MASK_64;
            require(
                !(sold && tail < 0) &&
                    !(unsold && tail > 0) &&
                    !(bought && tail > BID_TAIL) &&
                    !(unbought && tail < BID_TAIL),
                FillNotUnique(node, period)
            );
            if (sold || unbought) held |= LOW_HELD;
            if (unsold || bought) held |= HIGH_HELD;
        }
    }

    // -------------------------------------------------------------------------------------------------------- places

    function _cell(
        Tally memory tally,
        uint256 node,
        uint256 period
    ) private pure returns (uint256) {
        unchecked {
            return node * tally.blocks * LANES + period;
        }
    }

    function _nodeOf(Tally memory tally, uint256 cell) private pure returns (uint256) {
        unchecked {
            return cell / (tally.blocks * LANES);
        }
    }

    function _periodOf(Tally memory tally, uint256 cell) private pure returns (uint256) {
        unchecked {
            return cell % (tally.blocks * LANES);
        }
    }

    /// @dev The period of a lane; halves are counted through, the even one of a block first.
    function _periodOfLane(uint256 half, uint256 lane) private pure returns (uint256) {
        unchecked {
            return (half >> 1) * LANES + 2 * lane + (half & 1);
        }
    }

    /// @dev Biased lowest and highest price of a cell.
    function _prices(
        Tally memory tally,
        uint256 node,
        uint256 period
    ) private pure returns (uint256 low, uint256 high) {
        unchecked {
            return _pricesAt(tally, _cell(tally, node, period));
        }
    }

    function _pricesAt(
        Tally memory tally,
        uint256 cell
    ) private pure returns (uint256 low, uint256 high) {
        uint256 place = tally.grid;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            place := add(place, add(mul(shr(3, cell), GRID_BYTES), shl(5, and(cell, 1))))
            let shift := sub(192, shl(5, and(cell, 6)))
            low := and(shr(shift, mload(place)), MASK_64)
            high := and(shr(shift, mload(add(place, 64))), MASK_64)
        }
    }

    function _tail(Tally memory tally, uint256 cell) private pure returns (int256) {
        unchecked {
            return int256(_load(tally.given + cell * 64 + 32));
        }
    }

    /// @dev Ranks of a cell, 16 bits for the lowest price and 16 for the highest.
    function _ranks(Tally memory tally, uint256 cell) private pure returns (uint256) {
        unchecked {
            // slither-disable-next-line divide-before-multiply (rounded down to the block)
            uint256 word = Calldata.word(tally.ranks + (cell / LANES) * 96);
            return (word >> (224 - 32 * (cell % LANES))) & 0xffffffff;
        }
    }

    function _hold(Tally memory tally, uint256 cell, uint256 flag) private pure {
        unchecked {
            uint256 place = tally.running + cell * 32;
            _store(place, _load(place) | flag);
        }
    }

    function _carriedBytes(Tally memory tally) private pure returns (uint256) {
        return tally.nodes * tally.blocks * (SUM_BYTES + LANES * 32);
    }

    function _biased(int256 price) private pure returns (uint256) {
        unchecked {
            return uint256(price + int256(Lanes.BIAS));
        }
    }

    // -------------------------------------------------------------------------------------------------------- errors

    function _revertOutOfBounds(
        Tally memory tally,
        uint256 block_,
        uint256 lows,
        uint256 widths
    ) private pure {
        for (uint256 lane; lane < LANES; ++lane) {
            int256 low = int32(uint32(lows >> (224 - 32 * lane)));
            int256 high = low + int256((widths >> (224 - 32 * lane)) & 0xffffffff);
            require(
                tally.floor <= low && high <= tally.cap,
                PriceOutOfBounds(
                    block_ / tally.blocks,
                    (block_ % tally.blocks) * LANES + lane,
                    low,
                    high
                )
            );
        }
    }

    function _revertBetween(
        uint256 node,
        uint256 half,
        uint256 limits,
        uint256 between
    ) private pure {
        for (uint256 lane; lane < 4; ++lane) {
            if (between.at(lane) != 0) {
                int256 limit = int32(uint32(limits.at(lane)));
                revert LimitBetweenPrices(node, _periodOfLane(half, lane), limit);
            }
        }
    }

    // -------------------------------------------------------------------------------------------------------- memory

    function _allocate(uint256 size) private pure returns (uint256 place) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            place := mload(0x40)
            mstore(0x40, add(place, size))
            calldatacopy(place, calldatasize(), size) // zeros
        }
    }

    function _load(uint256 place) private pure returns (uint256 word) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            word := mload(place)
        }
    }

    function _store(uint256 place, uint256 word) private pure {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(place, word)
        }
    }

    function _add(uint256 place, uint256 lanes) private pure {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(place, add(mload(place), lanes))
        }
    }
}
