// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Calldata} from "./Calldata.sol";
import {ClearingProof} from "./ClearingProof.sol";
import {IClearing} from "./interfaces/IClearing.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {IOrderBook} from "./interfaces/IOrderBook.sol";
import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {Link, Market, NO_POSITIONS, Side} from "./MarketTypes.sol";
import {Orders} from "./Orders.sol";
import {Rosters} from "./Rosters.sol";
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
    uint256 private constant MASK_32 = 0xffffffff;
    uint32 private constant NO_ROSTER = type(uint32).max;

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
    /// @param periodSeconds As in the terms.
    /// @param message Where in memory the signed message of an order is put together (see `_writeMessage`).
    /// @param looks Whether orders are placed or cancelled in the session, so that each has to be looked up.
    /// @param payments Peer and amount, as in `Carried`; `payers` of them.
    /// @param taken Orders of this part that are looked up; `takers` of them.
    /// @param page Roster page that `roster` holds, plus one.
    /// @param nextRoster How many pages were loaded.
    /// @param hasNoRoster Whether the records of the page are read one by one.
    /// @param peer Whose orders are being added; 0 before the first.
    /// @param record Its roster word (see `Rosters`).
    /// @param nodes Of the network; those of flexible orders come after them.
    /// @param flexible How many flexible orders there were.
    struct Work {
        Market terms;
        uint32 market;
        uint40 sessionStart;
        uint256 periodSeconds;
        uint256 message;
        bool looks;
        ClearingProof.Tally tally;
        ClearingProof.Trade trade;
        bytes32 positionsHash;
        bytes32 ordersHash;
        uint256 orders;
        uint256 placed;
        uint256 lastOrder;
        uint256[] payments;
        uint256 payers;
        uint256[] unlocks;
        IOrderBook.TakenOrder[] taken;
        uint256 takers;
        uint256 page;
        uint256 roster;
        uint256 nextRoster;
        bool hasNoRoster;
        uint256 peer;
        uint256 record;
        uint256 nodes;
        uint256 flexible;
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
        work.periodSeconds = work.terms.periodSeconds;
        work.message = _writeMessage(work, ORDER_BOOK.domainSeparator());
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
        uint256 at;
        uint256 end;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            at := orders.offset
            end := add(at, orders.length)
        }
        // Two calls: a function that is called but once is inlined into one for which the stack is too small.
        if (at < end) at = _addOrder(work, at, orders, rosters);
        while (at < end) at = _addOrder(work, at, orders, rosters);
        _takePosition(work);
    }

    /// @param at Where the record lies in the calldata.
    /// @return next Where the next one does.
    function _addOrder(
        Work memory work,
        uint256 at,
        bytes calldata orders,
        uint32[] calldata rosters
    ) private view returns (uint256 next) {
        unchecked {
            uint256 head = Calldata.word(at);
            if (head >> 248 == FLEXIBLE) return _addFlexible(work, at, orders, rosters);
            uint256 peer = (head >> 216) & MASK_32;
            uint256 curveEnd = at + HEAD_BYTES + _rows(head) * _blocks(head) * PAIR_BYTES;
            uint256 signature = curveEnd + 2 * _held(head);
            next = _isPlaced(head) ? signature : signature + SIGNATURE_BYTES;
            uint256 start;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                start := orders.offset
            }
            if (
                _any(head >> 249 != 0, peer == 0) ||
                _any(curveEnd == at + HEAD_BYTES, next > start + orders.length)
            ) revert OrdersMalformed(at - start);
            _turnTo(work, peer, head, rosters);
            _authenticate(work, head, at + HEAD_BYTES, curveEnd, signature);
            _addCurve(work, head, at + HEAD_BYTES);
            if (_held(head) != 0) {
                require(
                    _addSupports(work, head, at + HEAD_BYTES, curveEnd),
                    OrdersMalformed(at - start)
                );
            }
        }
    }

    /// @param at As in `_addOrder`; of a flexible order.
    function _addFlexible(
        Work memory work,
        uint256 at,
        bytes calldata orders,
        uint32[] calldata rosters
    ) private view returns (uint256 next) {
        unchecked {
            uint256 head = Calldata.word(at);
            uint256 peer = (head >> 216) & MASK_32;
            uint256 terms = Calldata.word(at + FLEXIBLE_HEAD_BYTES);
            uint256 schedule = at + FLEXIBLE_HEAD_BYTES + TERMS_BYTES;
            uint256 signature = schedule + uint16(terms >> 224) * SCHEDULED_BYTES;
            next = signature + SIGNATURE_BYTES;
            uint256 start;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                start := orders.offset
            }
            require(peer != 0 && next <= start + orders.length, OrdersMalformed(at - start));
            _turnTo(work, peer, head, rosters);
            bytes32 orderHash = Orders.flexibleHashWith(
                work.market,
                uint32(peer),
                work.sessionStart,
                uint32(head >> 184),
                terms
            );
            _take(work, head, orderHash, false);
            _requireSigner(work, head, _digest(work.message, orderHash), signature);
            uint256 node = work.nodes + work.flexible++;
            work.tally.requireNodes(node + 1, false);
            bool isKept = work.tally.addFlexible(
                ClearingProof.Flexible(
                    Rosters.nodeOf(work.record),
                    node,
                    terms,
                    orderHash,
                    schedule
                )
            );
            require(isKept, OrdersMalformed(at - start));
        }
    }

    /// @dev Orders come in sequence; when those of a peer are over its position is taken.
    function _turnTo(
        Work memory work,
        uint256 peer,
        uint256 head,
        uint32[] calldata rosters
    ) private view {
        unchecked {
            uint256 key = (head >> 184) & type(uint64).max;
            require(key > work.lastOrder, OrdersUnsorted(uint32(peer), uint32(key)));
            work.lastOrder = key;
            ++work.orders;
            if (peer != work.peer) {
                _takePosition(work);
                _openPeer(work, uint32(peer), rosters);
            }
        }
    }

    /// @dev As `a || b`, of what costs less than to decide whether to look at it.
    function _any(bool a, bool b) private pure returns (bool either) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            either := or(a, b)
        }
    }

    // The head of an order record: kind, peer, nonce, first block, blocks, rows, supports.

    function _isPlaced(uint256 head) private pure returns (bool) {
        return head >> 248 != 0;
    }

    function _firstBlock(uint256 head) private pure returns (uint256) {
        return (head >> 168) & 0xffff;
    }

    function _blocks(uint256 head) private pure returns (uint256) {
        return (head >> 152) & 0xffff;
    }

    function _rows(uint256 head) private pure returns (uint256) {
        return (head >> 136) & 0xffff;
    }

    function _held(uint256 head) private pure returns (uint256) {
        return (head >> 128) & 0xff;
    }

    /// @dev Loads the peer's record from its roster page, or from the registry where none is named.
    function _openPeer(Work memory work, uint32 peer, uint32[] calldata rosters) private view {
        unchecked {
            uint256 index = uint256(peer) - 1; // peer 0 has no record
            uint256 page = index / Rosters.PEERS_PER_PAGE;
            if (page + 1 != work.page) _openPage(work, page, rosters);
            uint256 place = work.roster + (index % Rosters.PEERS_PER_PAGE) * 32;
            if (work.hasNoRoster) _readRecord(work, peer, place);
            uint256 record;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                record := mload(place)
            }
            require(
                Rosters.isActive(record) && Rosters.networkOf(record) == work.terms.network,
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
        uint256 size = Rosters.PEERS_PER_PAGE * 32;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            if iszero(roster) {
                roster := mload(0x40)
                mstore(0x40, add(roster, size))
            }
        }
        work.roster = roster;
        if (index == NO_ROSTER) return;
        address code = REGISTRY.rosterAt(uint32(page), index, work.sessionStart);
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            extcodecopy(code, roster, 1, size) // a zero byte comes first
        }
    }

    /// @dev Puts the record of one peer where a roster would have it.
    function _readRecord(Work memory work, uint32 peer, uint256 place) private view {
        uint256 record = Rosters.pack(REGISTRY.peerAt(peer, work.sessionStart));
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(place, record)
        }
    }

    /// @dev An order without signature must have been placed, where its signature was checked for good.
    function _authenticate(
        Work memory work,
        uint256 head,
        uint256 curve,
        uint256 curveEnd,
        uint256 signature
    ) private pure {
        (bytes32 orderHash, bytes32 digest) = _hash(work.message, head, curve, curveEnd);
        _take(work, head, orderHash, _isPlaced(head));
        if (_isPlaced(head)) return;
        _requireSigner(work, head, digest, signature);
    }

    /// @dev Chains the order, and notes it if it has to be looked up.
    function _take(Work memory work, uint256 head, bytes32 orderHash, bool isPlaced) private pure {
        work.ordersHash = _chain(work.ordersHash, orderHash);
        if (work.looks) {
            work.taken[work.takers++] = IOrderBook.TakenOrder(
                uint32(head >> 216),
                uint32(head >> 184),
                isPlaced,
                orderHash
            );
        } else {
            require(!isPlaced, IOrderBook.OrderNotPlaced(uint32(head >> 216), uint32(head >> 184)));
        }
    }

    /// @param signature Where it lies in the calldata: r, vs (EIP-2098).
    function _requireSigner(
        Work memory work,
        uint256 head,
        bytes32 digest,
        uint256 signature
    ) private pure {
        // slither-disable-next-line unused-return (a failed recovery is the zero address, which is nobody's wallet)
        (address signer, , ) = ECDSA.tryRecover(
            digest,
            bytes32(Calldata.word(signature)),
            bytes32(Calldata.word(signature + 32))
        );
        require(
            signer == Rosters.walletOf(work.record) && signer != address(0),
            OrderSignerMismatch(uint32(head >> 216), uint32(head >> 184), signer)
        );
    }

    /// @dev What is the same in every order of a clearing: of its struct hash eight words (see `Orders.hashWith`), and
    /// from the 30th byte of the next word on 0x1901, the domain, and the struct hash.
    function _writeMessage(
        Work memory work,
        bytes32 domain
    ) private pure returns (uint256 message) {
        (uint256 market, uint256 sessionStart) = (work.market, work.sessionStart);
        bytes32 typeHash = Orders.ORDER_TYPEHASH;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            message := mload(0x40)
            mstore(0x40, add(message, 352))
            mstore(message, typeHash)
            mstore(add(message, 32), market)
            mstore(add(message, 96), sessionStart)
            mstore(add(message, 256), 0x1901)
            mstore(add(message, 288), domain)
        }
    }

    /// @dev EIP-712 hash of the order as it lies in the calldata, without the domain and with it; `Orders.hash` is the plain
    /// version.
    function _hash(
        uint256 message,
        uint256 head,
        uint256 curve,
        uint256 curveEnd
    ) private pure returns (bytes32 orderHash, bytes32 digest) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let free := mload(0x40)
            let size := sub(curveEnd, curve)
            calldatacopy(free, curve, size)
            mstore(add(message, 64), and(shr(216, head), 0xffffffff)) // peer
            mstore(add(message, 128), and(shr(184, head), 0xffffffff)) // nonce
            mstore(add(message, 160), and(shr(168, head), 0xffff)) // first block
            mstore(add(message, 192), and(shr(152, head), 0xffff)) // blocks
            mstore(add(message, 224), keccak256(free, size))
            orderHash := keccak256(message, 256)
            mstore(add(message, 320), orderHash)
            digest := keccak256(add(message, 286), 66)
        }
    }

    /// @dev What is signed of a message with this hash.
    function _digest(uint256 message, bytes32 orderHash) private pure returns (bytes32 digest) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(add(message, 320), orderHash)
            digest := keccak256(add(message, 286), 66)
        }
    }

    function _addCurve(Work memory work, uint256 head, uint256 row) private pure {
        unchecked {
            uint256 node = Rosters.nodeOf(work.record);
            uint256 blocks = _blocks(head);
            for (uint256 rows = _rows(head); rows != 0; --rows) {
                work.tally.addRow(node, _firstBlock(head), blocks, row);
                row += blocks * PAIR_BYTES;
            }
        }
    }

    /// @return known False if a lane lies beyond the curve.
    function _addSupports(
        Work memory work,
        uint256 head,
        uint256 curve,
        uint256 place
    ) private pure returns (bool known) {
        unchecked {
            uint256 lanes = _blocks(head) * ClearingProof.LANES;
            for (uint256 end = place + 2 * _held(head); place < end; place += 2) {
                uint256 entry = Calldata.word(place) >> 240;
                uint256 lane = entry & 0x7fff;
                if (lane >= lanes * _rows(head)) return false;
                // slither-disable-next-line divide-before-multiply (rounded down to the row)
                work.tally.addSupport(
                    Rosters.nodeOf(work.record),
                    _firstBlock(head),
                    lane % lanes,
                    curve + (lane / lanes) * _blocks(head) * PAIR_BYTES,
                    entry >> 15 == 1
                );
            }
            return true;
        }
    }

    /// @dev What the orders of the last peer come to.
    function _takePosition(Work memory work) private pure {
        unchecked {
            uint256 peer = work.peer;
            if (peer == 0) return;
            uint256 record = work.record;
            ClearingProof.Trade memory trade = work.trade;
            work.tally.takePosition(
                Rosters.nodeOf(record),
                (Rosters.connectionOf(record) * work.periodSeconds) / 1 hours,
                trade
            );
            (bool sells, bool buys) = (trade.soldWh != 0, trade.boughtWh != 0);
            if (!sells && !buys) return;
            IPeerRegistry.Role role = Rosters.roleOf(record);
            if (
                (sells && !Orders.mayTrade(role, Side.Ask)) ||
                (buys && !Orders.mayTrade(role, Side.Bid))
            ) revert SideNotAllowed(uint32(peer), role, sells, buys);
            work.positionsHash = _chain(
                work.positionsHash,
                bytes32((peer << 224) | (uint256(trade.positionHash) >> 32))
            );
            if (trade.paymentNano != 0) {
                work.payments[work.payers++] = (peer << 224) | uint64(trade.paymentNano.toInt64());
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
            uint64(work.lastOrder)
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
        if (positions == 0) positions = NO_POSITIONS;
        positionsHash[market][sessionStart] = positions;
        ordersHash[market][sessionStart] = work.ordersHash;
        uint64 feeNano = LEDGER.bookClearing(
            // C7
            _packed(work.payments, work.payers),
            _packed(work.unlocks, work.unlocks.length),
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
        unchecked {
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
                    uint256 at = place + link * FLOW_BYTES;
                    (uint256 tariff, uint256 rent) = _addLink(work, run, seed, link, first, at);
                    incomes[next++] = ILedger.Income(run.links[link].owner, tariff.toUint64());
                    rentNano += rent;
                }
                first += run.periods;
                place += run.links.length * run.periods * FLOW_BYTES;
            }
            incomes[count] = ILedger.Income(0, rentNano.toUint64());
        }
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
        flow.period = first;
        flow.tail = ClearingProof.linkTail(seed, index);
        uint256 stride = run.links.length * FLOW_BYTES;
        work.tally.addLink(link, flow, first + run.periods, place, stride);
        (tariffNano, rentNano) = (flow.tariffNano, flow.rentNano);
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

    /// @dev The first words of a list as bytes. The list is not one any more.
    function _packed(
        uint256[] memory list,
        uint256 count
    ) private pure returns (bytes memory packed) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            packed := list
            mstore(packed, shl(5, count))
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
