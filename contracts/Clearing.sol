// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {ClearingProof} from "./ClearingProof.sol";
import {IClearing} from "./interfaces/IClearing.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {IOrderBook} from "./interfaces/IOrderBook.sol";
import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {Link, Market, Side} from "./MarketTypes.sol";
import {Orders} from "./Orders.sol";
import {Sessions} from "./Sessions.sol";

/// @title Clearing
/// @notice Specified in `IClearing`.
contract Clearing is IClearing {
    using ClearingProof for ClearingProof.Tally;
    using SafeCast for *;
    using Sessions for Market;

    uint256 private constant HEAD_BYTES = 16;
    uint256 private constant LEAST_RECORD_BYTES = HEAD_BYTES + PAIR_BYTES;
    uint256 private constant PAIR_BYTES = 64; // prices and steps of one block
    uint256 private constant SIGNATURE_BYTES = 64;
    uint256 private constant FLOW_BYTES = 5;
    uint256 private constant FLEXIBLE = 2; // kind of record
    uint256 private constant FLEXIBLE_HEAD_BYTES = 9;
    uint256 private constant TERMS_BYTES = 32;
    uint256 private constant SCHEDULED_BYTES = 4;
    uint256 private constant PAGE_PEERS = 64;
    uint32 private constant NO_ROSTER = type(uint32).max;
    bytes32 private constant NOTHING_TRADED = bytes32(uint256(1));

    /// @notice Says who trades where, over which links.
    IPeerRegistry public immutable REGISTRY;
    /// @notice Books what a clearing comes to.
    ILedger public immutable LEDGER;
    /// @notice Knows the markets and the orders that must be cleared.
    IOrderBook public immutable ORDER_BOOK;

    /// @inheritdoc IClearing
    mapping(uint32 market => mapping(uint40 sessionStart => bytes32)) public positionsHash;
    /// @inheritdoc IClearing
    mapping(uint32 market => mapping(uint40 sessionStart => bytes32)) public ordersHash;
    /// @inheritdoc IClearing
    mapping(address solver => mapping(uint32 market => mapping(uint40 sessionStart => bytes32)))
        public draft;

    /// @notice A clearing while it is checked.
    /// @param domain EIP-712 domain of the order signatures.
    /// @param looks Whether orders are placed or cancelled in the session, so that each has to be looked up.
    /// @param payments Peer and amount, as in `Carried`; `payers` of them.
    /// @param taken Orders of this part that are looked up; `takers` of them.
    /// @param page Roster page that `roster` holds, plus one.
    /// @param nextRoster How many pages were loaded.
    /// @param hasNoRoster Whether the records of the page are read one by one.
    /// @param peer Whose orders are being added; 0 before the first.
    /// @param record Its roster word (see `IPeerRegistry.publishRoster`).
    /// @param nodes Of the network; those of flexible orders come after them.
    /// @param flexible How many flexible orders there were.
    struct Work {
        Market terms;
        uint32 market;
        uint40 sessionStart;
        bytes32 domain;
        bool looks;
        ClearingProof.Tally tally;
        bytes32 positionsHash;
        bytes32 ordersHash;
        uint256 orders;
        uint256 placed;
        uint64 lastOrder;
        uint256[] payments;
        uint256 payers;
        uint256[] unlocks;
        IOrderBook.TakenOrder[] taken;
        uint256 takers;
        uint256 page;
        uint256 roster;
        uint256 nextRoster;
        bool hasNoRoster;
        uint32 peer;
        uint256 record;
        uint256 nodes;
        uint256 flexible;
    }

    /// @notice The head of an order record, and where its curve lies in the calldata; of a flexible order its terms and its
    /// schedule.
    /// @param offset Where the record begins among the orders.
    /// @param held Number of prices that its steps hold.
    struct OrderRecord {
        uint256 offset;
        bool placed;
        bool isFlexible;
        uint32 peer;
        uint32 nonce;
        uint16 firstBlock;
        uint16 blocks;
        uint256 rows;
        uint256 held;
        uint256 curve;
        uint256 curveBytes;
    }

    constructor(IPeerRegistry registry, ILedger ledger, IOrderBook orderBook) {
        REGISTRY = registry;
        LEDGER = ledger;
        ORDER_BOOK = orderBook;
    }

    /// @inheritdoc IClearing
    function clear(
        Proposal calldata proposal,
        Part calldata part,
        Carried calldata before,
        bool isLast
    ) external {
        require(!ORDER_BOOK.paused(), ClearingPaused()); // C1
        Work memory work = _open(proposal, part.orders.length, before); // C1, C2, C8
        _addOrders(work, part.orders, part.rosters); // C3, C4
        _takeOrders(work);
        if (isLast) _finish(work, proposal);
        else _keep(work, proposal);
    }

    // ------------------------------------------------------------------------------------------------------ opening

    function _open(
        Proposal calldata proposal,
        uint256 orderBytes,
        Carried calldata before
    ) private view returns (Work memory work) {
        (work.market, work.sessionStart) = (proposal.market, proposal.sessionStart);
        work.terms = ORDER_BOOK.marketTerms(work.market);
        _requireClearable(work.terms, work.market, work.sessionStart); // C1
        uint256 nodes = _requireNetworks(work, proposal.networks); // C2
        IPeerRegistry.PriceBounds memory bounds = REGISTRY.boundsOf(work.terms.network);
        work.nodes = nodes;
        work.tally = ClearingProof.open(
            ClearingProof.nodesOf(work.terms.periodsPerSession, proposal.cells.length, nodes),
            work.terms.periodsPerSession,
            bounds.floorMicroPerKWh,
            bounds.capMicroPerKWh,
            proposal.cells,
            proposal.details
        );
        work.domain = ORDER_BOOK.domainSeparator();
        // slither-disable-next-line unused-return (that it is not cleared is known here)
        (uint32 placed, bool anyCancelled, ) = ORDER_BOOK.sessionState(
            work.market,
            work.sessionStart
        );
        work.looks = placed > 0 || anyCancelled;

        uint256 most = orderBytes / LEAST_RECORD_BYTES;
        work.payments = new uint256[](before.payments.length + most);
        if (work.looks) work.taken = new IOrderBook.TakenOrder[](most);
        if (before.sums.length > 0) _resume(work, proposal, before); // C8
    }

    function _resume(
        Work memory work,
        Proposal calldata proposal,
        Carried calldata before
    ) private view {
        bytes32 expected = draft[msg.sender][work.market][work.sessionStart];
        bytes32 actual = keccak256(abi.encode(keccak256(abi.encode(proposal)), before));
        require(actual == expected, NotTheDraft(expected, actual));
        work.tally.resume(before.sums);
        for (uint256 i; i < before.payments.length; ++i) work.payments[i] = before.payments[i];
        work.payers = before.payments.length;
        work.unlocks = before.unlocks;
        work.positionsHash = before.positionsHash;
        work.ordersHash = before.ordersHash;
        work.orders = before.orders;
        work.placed = before.placed;
        work.flexible = before.flexible;
        // A peer has one position and one payment, so all its orders come in one part.
        work.lastOrder = before.lastOrder | type(uint32).max;
    }

    function _requireClearable(
        Market memory terms,
        uint32 market,
        uint40 sessionStart
    ) private view {
        terms.requireSession(sessionStart);
        uint256 gate = terms.gateClosure(sessionStart);
        uint256 deadline = terms.clearingDeadline(sessionStart);
        require(block.timestamp >= gate, GateStillOpen(market, sessionStart, gate));
        require(block.timestamp <= deadline, ClearingTooLate(market, sessionStart, deadline));
        require(positionsHash[market][sessionStart] == 0, AlreadyCleared(market, sessionStart));
        uint256 exclusive = terms.exclusiveDeadline(sessionStart);
        require(
            terms.manager == address(0) ||
                msg.sender == terms.manager ||
                block.timestamp > exclusive,
            ManagersTurn(market, sessionStart, terms.manager, exclusive)
        );
    }

    /// @dev Nodes are only ever added, so the last version has all of them.
    function _requireNetworks(
        Work memory work,
        NetworkRun[] calldata networks
    ) private view returns (uint256 nodes) {
        uint16 network = work.terms.network;
        uint256 periodSeconds = work.terms.periodSeconds;
        uint256 periods;
        for (uint256 n; n < networks.length; ++n) {
            require(
                networks[n].periods > 0,
                PeriodCountMismatch(work.terms.periodsPerSession, periods)
            );
            uint256 start = work.sessionStart + periods * periodSeconds;
            periods += networks[n].periods;
            uint256 last = work.sessionStart + (periods - 1) * periodSeconds;
            uint32 version = networks[n].version;
            (uint16 nodeCount, bytes32 linksHash) = REGISTRY.networkInForce(
                network,
                version,
                start
            );
            if (last > start) {
                // slither-disable-next-line unused-return (only asked to revert for another version)
                REGISTRY.networkInForce(network, version, last);
            }
            require(
                linksHash == keccak256(abi.encode(networks[n].links)),
                NetworkAltered(network, version)
            );
            nodes = nodeCount;
        }
        require(
            periods == work.terms.periodsPerSession,
            PeriodCountMismatch(work.terms.periodsPerSession, periods)
        );
    }

    // ------------------------------------------------------------------------------------------------------- orders

    function _addOrders(
        Work memory work,
        bytes calldata orders,
        uint32[] calldata rosters
    ) private view {
        uint256 length = orders.length;
        uint256 at;
        while (at < length) {
            OrderRecord memory order;
            (order, at) = _readOrder(orders, at);
            uint64 key = (uint64(order.peer) << 32) | order.nonce;
            require(key > work.lastOrder, OrdersUnsorted(order.peer, order.nonce));
            work.lastOrder = key;
            if (order.peer != work.peer) {
                _takePosition(work);
                _openPeer(work, order.peer, rosters);
            }
            bytes32 orderHash = _authenticate(work, order);
            if (order.isFlexible) _addFlexible(work, order, orderHash);
            else _addCurve(work.tally, order, uint16(work.record >> 80));
            ++work.orders;
        }
        _takePosition(work);
    }

    function _readOrder(
        bytes calldata orders,
        uint256 at
    ) private pure returns (OrderRecord memory order, uint256 next) {
        unchecked {
            uint256 head;
            uint256 place;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                place := add(orders.offset, at)
                head := calldataload(place)
            }
            if (head >> 248 == FLEXIBLE) return _readFlexible(orders, at, head, place);
            order.offset = at;
            order.placed = head >> 248 == 1;
            order.peer = uint32(head >> 216);
            order.nonce = uint32(head >> 184);
            order.firstBlock = uint16(head >> 168);
            order.blocks = uint16(head >> 152);
            order.rows = uint16(head >> 136);
            order.held = uint8(head >> 128);
            order.curve = place + HEAD_BYTES;
            order.curveBytes = order.rows * order.blocks * PAIR_BYTES;
            next = at + HEAD_BYTES + order.curveBytes + 2 * order.held;
            if (!order.placed) next += SIGNATURE_BYTES;
            require(
                head >> 248 < 2 && order.peer != 0 && order.curveBytes > 0 && next <= orders.length,
                OrdersMalformed(at)
            );
        }
    }

    function _readFlexible(
        bytes calldata orders,
        uint256 at,
        uint256 head,
        uint256 place
    ) private pure returns (OrderRecord memory order, uint256 next) {
        unchecked {
            order.offset = at;
            order.isFlexible = true;
            order.peer = uint32(head >> 216);
            order.nonce = uint32(head >> 184);
            order.curve = place + FLEXIBLE_HEAD_BYTES;
            uint256 periods = uint16(_termsOf(order) >> 224);
            order.curveBytes = TERMS_BYTES + periods * SCHEDULED_BYTES;
            next = at + FLEXIBLE_HEAD_BYTES + order.curveBytes + SIGNATURE_BYTES;
            require(order.peer != 0 && next <= orders.length, OrdersMalformed(at));
        }
    }

    function _termsOf(OrderRecord memory order) private pure returns (uint256 terms) {
        uint256 place = order.curve;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            terms := calldataload(place)
        }
    }

    /// @dev Loads the peer's record from its roster page, or from the registry where none is named.
    function _openPeer(Work memory work, uint32 peer, uint32[] calldata rosters) private view {
        unchecked {
            uint256 index = uint256(peer) - 1; // peer 0 has no record
            uint256 page = index / PAGE_PEERS;
            if (page + 1 != work.page) _openPage(work, page, rosters);
            uint256 place = work.roster + (index % PAGE_PEERS) * 32;
            if (work.hasNoRoster) _readRecord(work, peer, place);
            uint256 record;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                record := mload(place)
            }
            require(
                uint8(record >> 16) == uint8(IPeerRegistry.Standing.Active) &&
                    uint16(record >> 64) == work.terms.network,
                PeerNotInMarket(peer)
            );
            work.peer = peer;
            work.record = record;
        }
    }

    function _openPage(Work memory work, uint256 page, uint32[] calldata rosters) private view {
        require(work.nextRoster < rosters.length, RosterMissing(page));
        uint32 index = rosters[work.nextRoster++];
        work.page = page + 1;
        work.hasNoRoster = index == NO_ROSTER;
        uint256 roster = work.roster;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            if iszero(roster) {
                roster := mload(0x40)
                mstore(0x40, add(roster, mul(PAGE_PEERS, 32)))
            }
        }
        work.roster = roster;
        if (index == NO_ROSTER) return;
        address code = REGISTRY.rosterAt(uint32(page), index, work.sessionStart);
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            extcodecopy(code, roster, 1, mul(PAGE_PEERS, 32)) // a zero byte comes first
        }
    }

    /// @dev Puts the record of one peer where a roster would have it.
    function _readRecord(Work memory work, uint32 peer, uint256 place) private view {
        IPeerRegistry.Peer memory peerRecord = REGISTRY.peerAt(peer, work.sessionStart);
        uint256 record =
            (uint256(uint160(peerRecord.wallet)) << 96) |
                (uint256(peerRecord.node) << 80) |
                (uint256(peerRecord.network) << 64) |
                (uint256(peerRecord.connectionW) << 32) |
                (uint256(peerRecord.role) << 24) |
                (uint256(peerRecord.standing) << 16);
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(place, record)
        }
    }

    /// @dev An order without signature must have been placed, where its signature was checked for good.
    function _authenticate(
        Work memory work,
        OrderRecord memory order
    ) private pure returns (bytes32 orderHash) {
        orderHash = _hash(work, order);
        work.ordersHash = _chain(work.ordersHash, orderHash);
        if (work.looks) {
            work.taken[work.takers++] = IOrderBook.TakenOrder(
                order.peer,
                order.nonce,
                order.placed,
                orderHash
            );
        } else {
            require(!order.placed, IOrderBook.OrderNotPlaced(order.peer, order.nonce));
        }
        if (!order.placed) {
            uint256 place = order.curve + order.curveBytes + 2 * order.held;
            bytes32 r;
            bytes32 vs;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                r := calldataload(place)
                vs := calldataload(add(place, 32))
            }
            // slither-disable-next-line unused-return (a failed recovery is the zero address, which is nobody's wallet)
            (address signer, , ) = ECDSA.tryRecover(
                MessageHashUtils.toTypedDataHash(work.domain, orderHash),
                r,
                vs
            );
            require(
                signer == address(uint160(work.record >> 96)) && signer != address(0),
                OrderSignerMismatch(order.peer, order.nonce, signer)
            );
        }
    }

    /// @dev EIP-712 hash of the order as it lies in the calldata; `Orders.hash` is the plain version.
    function _hash(
        Work memory work,
        OrderRecord memory order
    ) private pure returns (bytes32 orderHash) {
        if (order.isFlexible)
            return
                Orders.flexibleHashWith(
                    work.market,
                    order.peer,
                    work.sessionStart,
                    order.nonce,
                    _termsOf(order)
                );
        uint256 curve = order.curve;
        uint256 size = order.curveBytes;
        bytes32 curveHash;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, curve, size)
            curveHash := keccak256(free, size)
        }
        orderHash = Orders.hashWith(
            work.market,
            order.peer,
            work.sessionStart,
            order.nonce,
            order.firstBlock,
            order.blocks,
            curveHash
        );
    }

    function _addCurve(
        ClearingProof.Tally memory tally,
        OrderRecord memory order,
        uint256 node
    ) private pure {
        unchecked {
            uint256 rowBytes = order.blocks * PAIR_BYTES;
            uint256 row = order.curve;
            for (uint256 r; r < order.rows; ++r) {
                tally.addRow(node, order.firstBlock, order.blocks, row);
                row += rowBytes;
            }
            uint256 lanes = uint256(order.blocks) * ClearingProof.LANES;
            for (uint256 s; s < order.held; ++s) {
                uint256 place = order.curve + order.curveBytes + 2 * s;
                uint256 entry;
                // solhint-disable-next-line no-inline-assembly
                assembly ("memory-safe") {
                    entry := shr(240, calldataload(place))
                }
                uint256 lane = entry & 0x7fff;
                require(lane < lanes * order.rows, OrdersMalformed(order.offset));
                // slither-disable-next-line divide-before-multiply (rounded down to the row)
                tally.addSupport(
                    node,
                    order.firstBlock,
                    lane % lanes,
                    order.curve + (lane / lanes) * rowBytes,
                    entry >> 15 == 1
                );
            }
        }
    }

    function _addFlexible(
        Work memory work,
        OrderRecord memory order,
        bytes32 orderHash
    ) private pure {
        unchecked {
            uint256 node = work.nodes + work.flexible++;
            work.tally.requireNodes(node + 1, false);
            bool isKept = work.tally.addFlexible(
                ClearingProof.Flexible(
                    uint16(work.record >> 80),
                    node,
                    _termsOf(order),
                    orderHash,
                    order.curve + TERMS_BYTES
                )
            );
            require(isKept, OrdersMalformed(order.offset));
        }
    }

    /// @dev What the orders of the last peer come to.
    function _takePosition(Work memory work) private pure {
        uint32 peer = work.peer;
        if (peer == 0) return;
        uint256 record = work.record;
        ClearingProof.Trade memory trade = work.tally.takePosition(
            uint16(record >> 80),
            (uint256(uint32(record >> 32)) * work.terms.periodSeconds) / 1 hours
        );
        if (!trade.sells && !trade.buys) return;
        IPeerRegistry.Role role = IPeerRegistry.Role(uint8(record >> 24));
        require(
            (!trade.sells || Orders.mayTrade(role, Side.Ask)) &&
                (!trade.buys || Orders.mayTrade(role, Side.Bid)),
            SideNotAllowed(peer, role, trade.sells, trade.buys)
        );
        unchecked {
            work.positionsHash = _chain(
                work.positionsHash,
                bytes32((uint256(peer) << 224) | (uint256(trade.positionHash) >> 32))
            );
            if (trade.paymentNano != 0) {
                work.payments[work.payers++] =
                    (uint256(peer) << 224) | uint64(trade.paymentNano.toInt64());
            }
        }
    }

    /// @dev C4, C5: looks up the orders of this part, if any order of the session is placed or cancelled.
    function _takeOrders(Work memory work) private view {
        if (!work.looks) return;
        IOrderBook.TakenOrder[] memory taken = work.taken;
        uint256 takers = work.takers;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(taken, takers)
        }
        (uint64[] memory lockedNano, uint256 placed) = ORDER_BOOK.lookUp(
            work.market,
            work.sessionStart,
            taken
        );
        if (placed == 0) return;
        work.placed += placed;
        uint256 before = work.unlocks.length;
        uint256[] memory unlocks = new uint256[](before + placed);
        for (uint256 i; i < before; ++i) unlocks[i] = work.unlocks[i];
        for (uint256 o; o < takers; ++o) {
            if (lockedNano[o] == 0) continue;
            unlocks[before++] = (uint256(taken[o].peer) << 224) | lockedNano[o];
        }
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(unlocks, before)
        }
        work.unlocks = unlocks;
    }

    // ------------------------------------------------------------------------------------------------------ closing

    /// @dev Leaves the draft for the solver's next part.
    function _keep(Work memory work, Proposal calldata proposal) private {
        uint256[] memory payments = work.payments;
        uint256 payers = work.payers;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(payments, payers)
        }
        Carried memory carried = Carried(
            work.tally.carried(),
            payments,
            work.unlocks,
            work.positionsHash,
            work.ordersHash,
            uint32(work.orders),
            uint32(work.placed),
            uint32(work.flexible),
            work.lastOrder
        );
        draft[msg.sender][work.market][work.sessionStart] = keccak256(
            abi.encode(keccak256(abi.encode(proposal)), carried)
        );
        emit PartAccepted(work.market, work.sessionStart, msg.sender, carried);
    }

    // slither-disable-next-line reentrancy-benign,reentrancy-events (the order book and the ledger call nobody back)
    function _finish(Work memory work, Proposal calldata proposal) private {
        (uint32 market, uint40 sessionStart) = (work.market, work.sessionStart);
        work.tally.requireNodes(work.nodes + work.flexible, true);
        ILedger.Income[] memory incomes = _addFlows(work, proposal);
        work.tally.close(); // C6
        ORDER_BOOK.take(market, sessionStart, work.placed); // C5
        bytes32 positions = work.positionsHash;
        if (positions == 0) positions = NOTHING_TRADED;
        positionsHash[market][sessionStart] = positions;
        ordersHash[market][sessionStart] = work.ordersHash;
        uint64 feeNano = LEDGER.bookClearing(
            // C7
            _bookings(work),
            _unlocks(work),
            incomes,
            work.terms.gateClosure(sessionStart),
            work.terms.solverFeeNano,
            proposal.feeTo
        );
        emit SessionCleared(
            market,
            sessionStart,
            msg.sender,
            work.orders,
            positions,
            work.ordersHash,
            feeNano
        );
    }

    /// @dev One income for each link of each network version, and the last for the fund.
    function _addFlows(
        Work memory work,
        Proposal calldata proposal
    ) private returns (ILedger.Income[] memory incomes) {
        uint256 count;
        uint256 flows;
        for (uint256 n; n < proposal.networks.length; ++n) {
            count += proposal.networks[n].links.length;
            flows += proposal.networks[n].links.length * proposal.networks[n].periods;
        }
        require(
            proposal.flows.length == flows * FLOW_BYTES,
            FlowCountMismatch(flows * FLOW_BYTES, proposal.flows.length)
        );
        incomes = new ILedger.Income[](count + 1);
        uint256 first; // period
        uint256 place;
        bytes calldata packed = proposal.flows;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            place := packed.offset
        }
        uint256 rentNano;
        uint256 next; // income
        for (uint256 n; n < proposal.networks.length; ++n) {
            NetworkRun calldata run = proposal.networks[n];
            bytes32 seed = keccak256(abi.encode(run.links));
            for (uint256 link; link < run.links.length; ++link) {
                (uint256 tariff, uint256 rent) = _addLink(work, run, seed, link, first, place);
                incomes[next++] = ILedger.Income(run.links[link].owner, tariff.toUint64());
                rentNano += rent;
            }
            first += run.periods;
            place += run.links.length * run.periods * FLOW_BYTES;
        }
        incomes[count] = ILedger.Income(0, rentNano.toUint64());
    }

    /// @dev A link in the periods of one network version.
    function _addLink(
        Work memory work,
        NetworkRun calldata run,
        bytes32 seed,
        uint256 index,
        uint256 first,
        uint256 place
    ) private returns (uint256 tariffNano, uint256 rentNano) {
        Link memory link = run.links[index];
        ClearingProof.Flow memory flow;
        flow.link = index;
        flow.tail = ClearingProof.linkTail(seed, index);
        uint256 stride = run.links.length * FLOW_BYTES;
        place += index * FLOW_BYTES;
        for (uint256 t; t < run.periods; ++t) {
            uint256 flowWh;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                flowWh := shr(216, calldataload(place))
            }
            flow.period = first + t;
            flow.flowWh = flowWh;
            (uint256 tariff, uint256 rent) = work.tally.addFlow(link, flow);
            tariffNano += tariff;
            rentNano += rent;
            place += stride;
        }
        if (tariffNano + rentNano > 0) {
            emit LinkEarned(
                work.market,
                work.sessionStart,
                link.owner,
                index,
                tariffNano,
                rentNano
            );
        }
    }

    function _bookings(Work memory work) private pure returns (ILedger.Booking[] memory bookings) {
        bookings = new ILedger.Booking[](work.payers);
        for (uint256 i; i < bookings.length; ++i) {
            uint256 payment = work.payments[i];
            bookings[i] = ILedger.Booking(uint32(payment >> 224), int64(uint64(payment)));
        }
    }

    function _unlocks(Work memory work) private pure returns (ILedger.Unlock[] memory unlocks) {
        unlocks = new ILedger.Unlock[](work.unlocks.length);
        for (uint256 i; i < unlocks.length; ++i) {
            uint256 unlock = work.unlocks[i];
            unlocks[i] = ILedger.Unlock(uint32(unlock >> 224), uint64(unlock));
        }
    }

    function _chain(bytes32 hash, bytes32 leaf) private pure returns (bytes32 chained) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(0, hash)
            mstore(32, leaf)
            chained := keccak256(0, 64)
        }
    }
}
