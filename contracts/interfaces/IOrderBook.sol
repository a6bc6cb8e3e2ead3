// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {FlexibleOrder, Market, Order} from "../MarketTypes.sol";

/// @title Markets, their gates, and the orders that a clearing may not leave out
/// @notice An order is an EIP-712 message; it costs nothing until it is cleared. Whoever does not want to depend on
/// the community manager places it here: the clearing of its session must then contain it. The order is checked for
/// good when it is placed and locks the most it can cost, so it can neither be refused nor block the clearing.
/// Nonces count per session; a session is cleared once and its orders come sorted, so no nonce is used twice and
/// nothing is written for an order that is cleared.
///
/// A flexible order is not placed: its proof is made together with that of all others. It is handed to a solver, shares
/// the nonces of the peer's orders and is cancelled as they are. It is held to no less than a placed one (`requireValid`),
/// so a receipt for it can bind (`IBonds`).
///
/// Requirements
/// R1  Only the market operator creates markets. In a market the book of a session opens before it closes, and what
///     follows comes in time: clearing, then estimates of readings, then the last settlement, then withdrawals. Its
///     sessions and its placed orders are small enough that a clearing can name whatever such an order holds.
/// R2  Orders are placed while the book is open: from the registry's notice before the session's end to gate closure.
/// R3  A placed order is admissible (see `Orders`), signed by the key of its peer's wallet or accepted by the wallet's
///     code (see `Signatures`), and not cancelled.
/// R4  A peer has at most one order placed for a session, a curve of at most `maxPlacedBlocks` blocks in all its rows, with
///     its worst case locked. Being alone, it never takes the peer beyond its connection, so no clearing has to refuse it.
/// R5  Only the peer cancels its orders, while the book is open.
/// R6  A clearing takes every placed order of its session, and no cancelled one. Only the clearing takes. Where nothing
///     is placed and nothing cancelled it need not ask for any order.
/// R7  Locks of a session that was not cleared in time are released by anyone.
/// R8  The guardian stops new orders, continuous trades (`ITrades`) and clearings with one switch, nothing else.
interface IOrderBook {
    /// @notice An order as the clearing presents it.
    /// @param placed It comes without a signature and must have been placed.
    struct TakenOrder {
        uint32 peer;
        uint32 nonce;
        bool placed;
        bytes32 orderHash;
    }

    event MarketCreated(uint32 indexed market, Market terms);
    event OrderPlaced(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        Order order
    );
    event OrderCancelled(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        uint32 nonce
    );
    event OrdersCancelled(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        uint32 belowNonce
    );
    event OrdersTaken(uint32 indexed market, uint40 indexed sessionStart, uint256 placed);
    event LockReleased(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        uint64 lockedNano
    );
    event ClearingConnected(address indexed clearing);

    error UnknownMarket(uint32 market);
    /// @notice R1: the period is none of 15, 30 and 60 minutes, or the session has no periods, or more than 127.
    error PeriodUnsupported(uint256 periodSeconds, uint256 periodsPerSession);
    /// @notice R1: no clearing could name all steps of such an order.
    error PlacedOrdersTooLarge(uint256 maxPlacedBlocks, uint256 mostBlocks);
    /// @notice R1: with this notice the book would never be open.
    error BookNeverOpen(uint256 noticeSeconds, uint256 neededSeconds);
    /// @notice R1: after the exclusive window nobody else could step in, or there is a window but no manager.
    error NobodyStepsIn(uint256 exclusiveWindowSeconds, uint256 clearingWindowSeconds);
    /// @notice R1: missing readings could not be estimated before the settlement ends.
    error ReadingsNeverEstimated(uint256 readingWindowSeconds, uint256 settlementWindowSeconds);
    /// @notice R1: a session could still be cleared when its missing readings are estimated, or settled no more.
    error ClearedAfterReadings(uint256 clearingWindowSeconds, uint256 longestSeconds);
    /// @notice R1: the ledger guarantees withdrawals after a time that this market exceeds.
    error MarketTooSlow(uint256 neededSeconds, uint256 withdrawalDelaySeconds);
    /// @notice R2, R5
    error BookNotOpen(uint32 market, uint40 sessionStart, uint256 opens);
    /// @notice R2, R5
    error GateClosed(uint32 market, uint40 sessionStart, uint256 gateClosure);
    /// @notice R3: the signature is not the peer's.
    error WrongSigner(uint32 peer, uint32 nonce);
    /// @notice R3, R6
    error OrderIsCancelled(uint32 peer, uint32 nonce);
    /// @notice R6: another order is placed under the nonce.
    error NonceTaken(uint32 peer, uint32 nonce);
    /// @notice R4: this order of the peer is placed; another one can be once it is cancelled.
    error AlreadyPlaced(uint32 peer, uint32 nonce);
    /// @notice R4
    error TooManyBlocks(uint32 peer, uint256 blocks, uint256 maxPlacedBlocks);
    /// @notice R4: a flexible order is handed in.
    error FlexibleNotPlaced(uint32 peer, uint32 nonce);
    /// @notice R5
    error NotThePeer(address caller);
    /// @notice R5: all orders below a nonce were cancelled before. (The largest nonce is cancelled by itself only.)
    error NothingToCancel(uint32 belowNonce, uint32 cancelledBelow);
    /// @notice R6: a clearing presents an order as placed that is not.
    error OrderNotPlaced(uint32 peer, uint32 nonce);
    /// @notice R6: a clearing leaves placed orders out.
    error PlacedOrdersMissing(uint256 placed, uint256 taken);
    /// @notice R6
    error NotTheClearing(address caller);
    /// @notice R7
    error NothingToRelease(uint32 market, uint40 sessionStart, uint32 peer);
    error AlreadyConnected();
    error AddressZero();

    /// @notice Creates a market.
    /// @return market 1, 2, 3, ...
    function createMarket(Market calldata terms) external returns (uint32 market);

    /// @notice Places a signed order on chain; anyone may bring it.
    /// @param signature 65 bytes r, s, v of the wallet's key, or what the wallet's code accepts (ERC-1271).
    function place(Order calldata order, bytes calldata signature) external;

    /// @notice The calling peer cancels its order with this nonce, placed or not.
    function cancel(uint32 market, uint40 sessionStart, uint32 nonce) external;

    /// @notice The calling peer cancels its orders for the session with any nonce below `belowNonce`.
    function cancelAll(uint32 market, uint40 sessionStart, uint32 belowNonce) external;

    /// @notice Releases what a peer has locked for a session that can no longer be cleared.
    function release(uint32 market, uint40 sessionStart, uint32 peer) external;

    /// @notice Takes the orders of a session into its clearing, in which `lookUp` has found so many placed ones. Callable by
    /// the clearing alone, once a session, after gate closure.
    function take(uint32 market, uint40 sessionStart, uint256 placed) external;

    /// @notice Looks orders of a clearing up: reverts if one is cancelled, is not placed and comes as if it were, or comes
    /// in place of one that is.
    /// @return lockedNano Per order, what is locked for it.
    /// @return placed How many of them are placed.
    function lookUp(
        uint32 market,
        uint40 sessionStart,
        TakenOrder[] calldata orders
    ) external view returns (uint64[] memory lockedNano, uint256 placed);

    /// @notice How many orders are placed for a session, whether any order for it is cancelled, and whether it is cleared.
    function sessionState(
        uint32 market,
        uint40 sessionStart
    ) external view returns (uint32 placedOrders, bool anyCancelled, bool taken);

    /// @notice Whether the guardian has stopped new orders, trades and clearings.
    function paused() external view returns (bool);

    function marketCount() external view returns (uint32);

    /// @notice The terms of a market; reverts with `UnknownMarket`.
    function marketTerms(uint32 market) external view returns (Market memory);

    /// @notice When the book of a session opens and closes. Reverts with `NotASession`.
    function bookTimes(
        uint32 market,
        uint40 sessionStart
    ) external view returns (uint256 opens, uint256 gateClosure);

    /// @notice The EIP-712 digest a wallet signs; of an order of either kind.
    function orderDigest(Order calldata order) external view returns (bytes32);

    /// @notice As `orderDigest`, of the message itself.
    function flexibleOrderDigest(FlexibleOrder calldata order) external view returns (bytes32);

    function domainSeparator() external view returns (bytes32);

    /// @notice Reverts with the reason why a signed order, of either kind, may be in no clearing, if there is one. It says
    /// nothing about gate and funds, nor of an order placed under its nonce; what only the code of a wallet accepts has to be
    /// placed.
    /// @return orderHash EIP-712 hash of the order, without the domain.
    function requireValid(
        Order calldata order,
        bytes calldata signature
    ) external view returns (bytes32 orderHash);

    function isCancelled(
        uint32 market,
        uint40 sessionStart,
        uint32 peer,
        uint32 nonce
    ) external view returns (bool);

    /// @notice The hash and nonce of the order that a peer has placed, 0 if there is none, and what was locked for it.
    function placedOrder(
        uint32 market,
        uint40 sessionStart,
        uint32 peer
    ) external view returns (bytes32 orderHash, uint32 nonce, uint64 lockedNano);
}
