// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRules} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IOrderBook} from "./interfaces/IOrderBook.sol";
import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {FlexibleOrder, Market, Order} from "./MarketTypes.sol";
import {Orders} from "./Orders.sol";
import {Sessions} from "./Sessions.sol";
import {Signatures} from "./Signatures.sol";

/// @title Markets, their gates, and placed orders
/// @notice Specified in `IOrderBook`.
contract OrderBook is IOrderBook, AccessControlDefaultAdminRules, EIP712, Pausable {
    using Orders for Order;
    using Sessions for Market;

    /// @notice Creates markets.
    bytes32 public constant MARKET_OPERATOR_ROLE = keccak256("MARKET_OPERATOR_ROLE");
    /// @notice Pauses and resumes the placing of orders, and clearings.
    bytes32 public constant GUARDIAN_ROLE = keccak256("GUARDIAN_ROLE");

    // A placed order may be all that holds the lowest and the highest price of every period, and a clearing names them in
    // a count of 8 bits and by lanes of 15 bits (see `IClearing`). What could not be named could not be cleared.
    uint256 private constant MOST_PERIODS = 127;
    uint256 private constant MOST_PLACED_BLOCKS = 4096;

    /// @notice Says who trades where.
    IPeerRegistry public immutable REGISTRY;
    /// @notice Holds the funds that placed orders lock.
    ILedger public immutable LEDGER;

    /// @notice What is placed for a session.
    struct SessionBook {
        uint32 placedOrders;
        bool anyCancelled;
        bool taken;
    }

    /// @notice What one peer has placed for, and cancelled in, a session.
    /// @param orderHash Of the placed order; 0 if there is none.
    /// @param belowNonce All orders with a lower nonce are cancelled.
    struct PeerBook {
        bytes32 orderHash;
        uint32 nonce;
        uint64 lockedNano;
        uint32 belowNonce;
    }

    /// @notice Takes the orders of a session into its clearing.
    address public clearing;

    /// @inheritdoc IOrderBook
    uint32 public marketCount;
    mapping(uint32 market => Market) private _markets;
    mapping(uint32 market => mapping(uint40 sessionStart => SessionBook)) private _books;
    mapping(uint32 market => mapping(uint40 sessionStart => mapping(uint32 peer => PeerBook)))
        private _peerBooks;
    mapping(bytes32 orderKey => bool) private _cancelled;

    /// @param admin Grants the roles; handing it on takes `adminDelaySeconds`.
    constructor(
        address admin,
        uint48 adminDelaySeconds,
        IPeerRegistry registry,
        ILedger ledger
    ) AccessControlDefaultAdminRules(adminDelaySeconds, admin) EIP712("Fairwatt", "1") {
        REGISTRY = registry;
        LEDGER = ledger;
    }

    // ------------------------------------------------------------------------------------------------------ markets

    /// @inheritdoc IOrderBook
    function createMarket(
        Market calldata terms
    ) external onlyRole(MARKET_OPERATOR_ROLE) returns (uint32 market) {
        require(
            (terms.periodSeconds == 900 ||
                terms.periodSeconds == 1800 ||
                terms.periodSeconds == 3600) &&
                terms.periodsPerSession > 0 &&
                terms.periodsPerSession <= MOST_PERIODS,
            PeriodUnsupported(terms.periodSeconds, terms.periodsPerSession)
        );
        require(
            terms.maxPlacedBlocks <= MOST_PLACED_BLOCKS,
            PlacedOrdersTooLarge(terms.maxPlacedBlocks, MOST_PLACED_BLOCKS)
        );
        // slither-disable-next-line unused-return (only asked to revert for an unknown network)
        REGISTRY.boundsOf(terms.network);
        uint256 length = terms.lengthSeconds();
        uint256 notice = REGISTRY.NOTICE_SECONDS();
        require(
            terms.gateLeadSeconds + length < notice,
            BookNeverOpen(notice, terms.gateLeadSeconds + length + 1)
        );
        require(terms.firstSessionStart >= notice, Sessions.NotASession(terms.firstSessionStart));
        require(
            terms.manager == address(0)
                ? terms.exclusiveWindowSeconds == 0
                : terms.exclusiveWindowSeconds < terms.clearingWindowSeconds,
            NobodyStepsIn(terms.exclusiveWindowSeconds, terms.clearingWindowSeconds)
        );
        require(
            terms.readingWindowSeconds < terms.settlementWindowSeconds,
            ReadingsNeverEstimated(terms.readingWindowSeconds, terms.settlementWindowSeconds)
        );
        uint256 awaited = terms.gateLeadSeconds + length + terms.readingWindowSeconds;
        require(
            terms.clearingWindowSeconds <= awaited,
            ClearedAfterReadings(terms.clearingWindowSeconds, awaited)
        );
        uint256 unsettled = terms.gateLeadSeconds + length + terms.settlementWindowSeconds;
        uint256 delay = LEDGER.WITHDRAWAL_DELAY_SECONDS();
        require(unsettled < delay, MarketTooSlow(unsettled + 1, delay));

        market = ++marketCount;
        _markets[market] = terms;
        emit MarketCreated(market, terms);
    }

    /// @notice Connects the clearing, once.
    function connectClearing(address clearing_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        require(clearing == address(0), AlreadyConnected());
        require(clearing_ != address(0), AddressZero());
        clearing = clearing_;
        emit ClearingConnected(clearing_);
    }

    /// @notice Stops the placing of orders, and clearings.
    function pause() external onlyRole(GUARDIAN_ROLE) {
        _pause();
    }

    /// @notice Lets orders be placed and sessions be cleared again.
    function unpause() external onlyRole(GUARDIAN_ROLE) {
        _unpause();
    }

    // ------------------------------------------------------------------------------------------------------- orders

    /// @inheritdoc IOrderBook
    function place(Order calldata order, bytes calldata signature) external whenNotPaused {
        Market memory market = _requireOpen(order.market, order.sessionStart);
        bytes32 orderHash = requireValid(order, signature);
        require(!order.isFlexible(), FlexibleNotPlaced(order.peer, order.nonce));
        PeerBook storage placed = _peerBooks[order.market][order.sessionStart][order.peer];
        require(placed.orderHash == 0, AlreadyPlaced(order.peer, placed.nonce));
        uint256 blocks = order.curve.length / Orders.PAIR_BYTES;
        require(
            blocks <= market.maxPlacedBlocks,
            TooManyBlocks(order.peer, blocks, market.maxPlacedBlocks)
        );

        uint256 lockNano = order.worstCaseNano();
        placed.orderHash = orderHash;
        placed.nonce = order.nonce;
        // forge-lint: disable-next-line(unsafe-typecast) the ledger locks no more than it has
        placed.lockedNano = uint64(lockNano);
        ++_books[order.market][order.sessionStart].placedOrders;
        emit OrderPlaced(order.market, order.sessionStart, order.peer, order);
        LEDGER.lock(order.peer, lockNano);
    }

    /// @inheritdoc IOrderBook
    function cancel(uint32 market, uint40 sessionStart, uint32 nonce) external {
        _requireOpen(market, sessionStart);
        uint32 peer = _callingPeer();
        require(!isCancelled(market, sessionStart, peer, nonce), OrderIsCancelled(peer, nonce));

        _cancelled[_key(market, sessionStart, peer, nonce)] = true;
        _books[market][sessionStart].anyCancelled = true;
        emit OrderCancelled(market, sessionStart, peer, nonce);
        if (_peerBooks[market][sessionStart][peer].nonce == nonce)
            _removePlaced(market, sessionStart, peer);
    }

    /// @inheritdoc IOrderBook
    function cancelAll(uint32 market, uint40 sessionStart, uint32 belowNonce) external {
        _requireOpen(market, sessionStart);
        uint32 peer = _callingPeer();
        PeerBook storage placed = _peerBooks[market][sessionStart][peer];
        require(belowNonce > placed.belowNonce, NothingToCancel(belowNonce, placed.belowNonce));

        placed.belowNonce = belowNonce;
        _books[market][sessionStart].anyCancelled = true;
        emit OrdersCancelled(market, sessionStart, peer, belowNonce);
        if (placed.nonce < belowNonce) _removePlaced(market, sessionStart, peer);
    }

    /// @dev Does nothing if the peer has placed no order.
    function _removePlaced(uint32 market, uint40 sessionStart, uint32 peer) private {
        PeerBook storage placed = _peerBooks[market][sessionStart][peer];
        if (placed.orderHash == 0) return;
        uint64 lockedNano = placed.lockedNano;
        placed.orderHash = 0;
        placed.nonce = 0;
        placed.lockedNano = 0;
        --_books[market][sessionStart].placedOrders;
        if (lockedNano > 0) LEDGER.unlock(peer, lockedNano);
    }

    /// @inheritdoc IOrderBook
    function release(uint32 market, uint40 sessionStart, uint32 peer) external {
        Market memory terms = marketTerms(market);
        terms.requireSession(sessionStart);
        PeerBook storage placed = _peerBooks[market][sessionStart][peer];
        uint64 lockedNano = placed.lockedNano;
        require(
            lockedNano > 0 &&
                !_books[market][sessionStart].taken &&
                block.timestamp > terms.clearingDeadline(sessionStart),
            NothingToRelease(market, sessionStart, peer)
        );
        placed.lockedNano = 0;
        emit LockReleased(market, sessionStart, peer, lockedNano);
        LEDGER.unlock(peer, lockedNano);
    }

    /// @inheritdoc IOrderBook
    function take(uint32 market, uint40 sessionStart, uint256 placed) external {
        require(msg.sender == clearing, NotTheClearing(msg.sender));
        SessionBook storage book = _books[market][sessionStart];
        require(placed == book.placedOrders, PlacedOrdersMissing(book.placedOrders, placed));
        book.taken = true;
        emit OrdersTaken(market, sessionStart, placed);
    }

    // -------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IOrderBook
    function paused() public view override(IOrderBook, Pausable) returns (bool) {
        return Pausable.paused();
    }

    /// @inheritdoc IOrderBook
    function marketTerms(uint32 market) public view returns (Market memory terms) {
        terms = _markets[market];
        require(terms.periodSeconds != 0, UnknownMarket(market));
    }

    /// @inheritdoc IOrderBook
    function bookTimes(
        uint32 market,
        uint40 sessionStart
    ) external view returns (uint256, uint256) {
        Market memory terms = marketTerms(market);
        terms.requireSession(sessionStart);
        return (_opening(terms, sessionStart), terms.gateClosure(sessionStart));
    }

    /// @inheritdoc IOrderBook
    function orderDigest(Order calldata order) external view returns (bytes32) {
        return _hashTypedDataV4(order.hash());
    }

    /// @inheritdoc IOrderBook
    function flexibleOrderDigest(FlexibleOrder calldata order) external view returns (bytes32) {
        return _hashTypedDataV4(Orders.hash(order));
    }

    /// @inheritdoc IOrderBook
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @inheritdoc IOrderBook
    function requireValid(
        Order calldata order,
        bytes calldata signature
    ) public view returns (bytes32 orderHash) {
        Market memory market = marketTerms(order.market);
        market.requireSession(order.sessionStart);
        IPeerRegistry.Peer memory peer = REGISTRY.peerAt(order.peer, order.sessionStart);
        order.requireAdmissible(market, peer, REGISTRY.boundsOf(market.network));
        orderHash = order.hash();
        require(
            Signatures.isAccepted(peer.wallet, _hashTypedDataV4(orderHash), signature),
            WrongSigner(order.peer, order.nonce)
        );
        require(
            !isCancelled(order.market, order.sessionStart, order.peer, order.nonce),
            OrderIsCancelled(order.peer, order.nonce)
        );
    }

    /// @inheritdoc IOrderBook
    function isCancelled(
        uint32 market,
        uint40 sessionStart,
        uint32 peer,
        uint32 nonce
    ) public view returns (bool) {
        return
            nonce < _peerBooks[market][sessionStart][peer].belowNonce ||
            _cancelled[_key(market, sessionStart, peer, nonce)];
    }

    /// @inheritdoc IOrderBook
    function lookUp(
        uint32 market,
        uint40 sessionStart,
        TakenOrder[] calldata orders
    ) external view returns (uint64[] memory lockedNano, uint256 placed) {
        bool anyPlaced = _books[market][sessionStart].placedOrders > 0;
        bool anyCancelled = _books[market][sessionStart].anyCancelled;
        lockedNano = new uint64[](orders.length);
        for (uint256 o; o < orders.length; ++o) {
            TakenOrder calldata order = orders[o];
            require(
                !anyCancelled || !isCancelled(market, sessionStart, order.peer, order.nonce),
                OrderIsCancelled(order.peer, order.nonce)
            );
            if (!anyPlaced) {
                require(!order.placed, OrderNotPlaced(order.peer, order.nonce));
                continue;
            }
            PeerBook storage peerBook = _peerBooks[market][sessionStart][order.peer];
            if (peerBook.orderHash == order.orderHash) {
                ++placed;
                lockedNano[o] = peerBook.lockedNano;
            } else {
                require(!order.placed, OrderNotPlaced(order.peer, order.nonce));
                require(
                    peerBook.orderHash == 0 || peerBook.nonce != order.nonce,
                    NonceTaken(order.peer, order.nonce)
                );
            }
        }
    }

    /// @inheritdoc IOrderBook
    function sessionState(
        uint32 market,
        uint40 sessionStart
    ) external view returns (uint32, bool, bool) {
        SessionBook storage book = _books[market][sessionStart];
        return (book.placedOrders, book.anyCancelled, book.taken);
    }

    /// @inheritdoc IOrderBook
    function placedOrder(
        uint32 market,
        uint40 sessionStart,
        uint32 peer
    ) external view returns (bytes32 orderHash, uint32 nonce, uint64 lockedNano) {
        PeerBook storage placed = _peerBooks[market][sessionStart][peer];
        return (placed.orderHash, placed.nonce, placed.lockedNano);
    }

    /// @dev The book opens when nothing that the session depends on can change any more (see `IPeerRegistry`).
    function _requireOpen(
        uint32 market,
        uint40 sessionStart
    ) private view returns (Market memory terms) {
        terms = marketTerms(market);
        terms.requireSession(sessionStart);
        uint256 opens = _opening(terms, sessionStart);
        uint256 gate = terms.gateClosure(sessionStart);
        require(opens <= block.timestamp, BookNotOpen(market, sessionStart, opens));
        require(block.timestamp < gate, GateClosed(market, sessionStart, gate));
    }

    function _opening(Market memory terms, uint40 sessionStart) private view returns (uint256) {
        return terms.end(sessionStart) - REGISTRY.NOTICE_SECONDS();
    }

    function _callingPeer() private view returns (uint32 peer) {
        peer = REGISTRY.peerInForce(msg.sender);
        require(peer != 0, NotThePeer(msg.sender));
    }

    function _key(
        uint32 market,
        uint40 sessionStart,
        uint32 peer,
        uint32 nonce
    ) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(market, sessionStart, peer, nonce));
    }
}
