// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order} from "../MarketTypes.sol";

/// @title What a community manager's receipts are worth
/// @notice An order that is handed in costs nothing and binds nobody: the manager could lose it. So the manager answers
/// with a *receipt*, an EIP-712 message of its key in the domain of this contract,
///
///     Receipt(uint32 market,uint32 peer,uint40 sessionStart,uint32 nonce,bytes32 orderHash,uint40 issuedAt)
///
/// where `orderHash` is the EIP-712 hash of the order, a curve or a flexible one, without its domain. It promises: this
/// order is in the clearing of its session. A manager keeps a bond here; whoever shows a receipt, and that its order is
/// missing, makes the bond pay.
///
/// The promise is that of a manager who clears in its exclusive window, with everything it needs for it, so it is broken
/// no less if the manager is silent: whether somebody else then clears without the order, or nobody does and the session
/// is void. What the manager could not have done is no breach (R7, R8). All of this is decided by the contract alone.
///
/// Requirements
/// R1  A bond is received in full. Anyone may add to anybody's.
/// R2  A withdrawal waits `WITHDRAWAL_DELAY_SECONDS`: longer than from any binding receipt that is issued before the
///     request to the end of its challenges. Until it is paid the bond pays in full.
/// R3  A receipt binds the manager of a market with an exclusive window, or else anybody could clear before it could.
/// R4  It is issued while the book is open: from then on what a clearing depends on is final, but for placed and
///     cancelled orders and funds. It is signed by the manager's key. Code could deny later what it accepted (ERC-1271).
/// R5  It is challenged once its session is cleared, or can be no more, until `CHALLENGE_WINDOW_SECONDS` after the
///     session's clearing deadline.
/// R6  The order is none of those in the clearing; the challenger brings their hashes, of which the clearing keeps the
///     chained hash. A long list may come in several transactions (`scan`).
/// R7  The clearing could have contained it: it is admissible (see `Orders`) and signed by the key of its peer's wallet, it
///     is not cancelled, and no other order is placed under its nonce. For how many flexible orders a clearing has room the
///     manager has to know before it signs.
/// R8  The manager has no excuse: in its exclusive window it showed orders of the peer for the session that together cost
///     it at the worst more than it can spend then, or want more in a period than its connection carries. Nor was
///     clearing seen paused in that window.
/// R9  A breach is paid once for each peer and session, so nobody gains by splitting an order: `PENALTY_WEI`, or what is left
///     of the bond, of which the challenger receives `REWARD_WEI` or the same proportion, and the peer the rest.
interface IBonds {
    /// @notice A bond.
    /// @param requestedWei To be withdrawn from `availableFrom` on, as far as it is then still there.
    struct Bond {
        uint256 amountWei;
        uint256 requestedWei;
        uint256 availableFrom;
    }

    /// @notice An order of either kind, in the shape of an `Order` (see there), with its peer's signature.
    struct SignedOrder {
        Order order;
        bytes signature;
    }

    /// @notice A receipt with the order that it is for.
    /// @param signature 65 bytes r, s, v of the manager's key.
    struct Receipt {
        SignedOrder signed;
        uint40 issuedAt;
        bytes signature;
    }

    /// @notice What orders of a peer come to together.
    /// @param costNano Their worst case (see `Orders.worstCaseNano`), without what is locked for a placed one.
    /// @param meansNano What the peer can spend.
    /// @param mostWh The most that they bid and charge, or ask and discharge, in any period.
    /// @param limitWh The most that its connection carries in a period.
    struct Wants {
        uint256 costNano;
        uint256 meansNano;
        uint256 mostWh;
        uint256 limitWh;
    }

    /// @notice What became of the promises to a peer for a session.
    enum Claim {
        Open,
        Excused,
        Paid
    }

    event BondDeposited(address indexed manager, address indexed from, uint256 amountWei);
    event BondWithdrawalRequested(
        address indexed manager,
        uint256 amountWei,
        uint256 availableFrom
    );
    event BondWithdrawn(address indexed manager, uint256 amountWei);
    event PeerExcused(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        Wants wants
    );
    event PauseWitnessed(uint32 indexed market, uint40 indexed sessionStart);
    event OrdersScanned(bytes32 indexed orderHash, bytes32 reached);
    event ReceiptBroken(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        bytes32 orderHash,
        address challenger,
        uint256 compensationWei,
        uint256 rewardWei
    );

    /// @notice The challenger's part is more than the penalty, or there is no penalty.
    error RewardTooLarge(uint256 rewardWei, uint256 penaltyWei);
    error AmountZero();
    error AddressZero();
    /// @notice R1: the token delivered another amount than it was asked to.
    error DepositIncomplete(uint256 expectedWei, uint256 receivedWei);
    /// @notice R2, R9
    error BondTooSmall(address manager, uint256 neededWei, uint256 bondWei);
    /// @notice R2
    error NoWithdrawalRequested(address manager);
    /// @notice R2
    error WithdrawalNotReady(address manager, uint256 availableFrom);
    /// @notice R3
    error NotBinding(uint32 market);
    /// @notice R4
    error IssuedOutOfTime(uint256 issuedAt, uint256 opens, uint256 gateClosure);
    /// @notice R4: or for another order, time, chain or contract.
    error ReceiptSignerMismatch(address manager, address signer);
    /// @notice R5
    error NotYetDecided(uint32 market, uint40 sessionStart, uint256 deadline);
    /// @notice R5
    error ChallengeTooLate(uint32 market, uint40 sessionStart, uint256 deadline);
    /// @notice R6
    error OrderIsThere(bytes32 orderHash, uint256 index);
    /// @notice R6: the list is not that of the clearing.
    error NotTheOrders(bytes32 expected, bytes32 actual);
    /// @notice R6: no scan for this order has come that far.
    error NotScanned(bytes32 orderHash, bytes32 reached);
    /// @notice R7: what only the code of a wallet accepts is cleared only if it is placed.
    error OrderNotOfKey(uint32 peer, uint32 nonce, address signer);
    /// @notice R7: another order is placed under the nonce.
    error NoncePlaced(uint32 peer, uint32 nonce);
    /// @notice R8, R9
    error NothingOwed(uint32 market, uint40 sessionStart, uint32 peer, Claim claim);
    /// @notice R8
    error ClearingWasPaused(uint32 market, uint40 sessionStart);
    /// @notice R8
    error NotTheManager(address caller);
    /// @notice R8: the exclusive window is not open, or the session is cleared already.
    error NotTheManagersTurn(uint32 market, uint40 sessionStart, uint256 from, uint256 until);
    error OrdersMissing();
    /// @notice R8: the orders shown are of one peer and session, ascending by nonce.
    error OrdersUnsorted(uint32 peer, uint32 nonce);
    /// @notice R8
    error NoExcuse(uint32 peer, Wants wants);
    /// @notice R8
    error NotPaused();

    /// @notice Adds tokens to a manager's bond; the caller must have approved them.
    function deposit(address manager, uint256 amountWei) external;

    /// @notice Announces a withdrawal of the calling manager's bond, in place of any earlier one.
    function requestWithdrawal(uint256 amountWei) external;

    /// @notice Pays the calling manager what it requested, or what is left of it.
    function withdraw() external returns (uint256 amountWei);

    /// @notice Records that no clearing could hold all these orders of a peer, so that it may be without them. Callable by
    /// the market's manager in its exclusive window, before the session is cleared.
    /// @param orders Of one peer for one session, ascending by nonce, none of them cancelled; a placed one needs no
    /// signature.
    function excuse(SignedOrder[] calldata orders) external;

    /// @notice Records that clearing is paused in a manager's exclusive window. Anyone may call.
    function witnessPause(uint32 market, uint40 sessionStart) external;

    /// @notice Goes through part of a long list of order hashes in which `orderHash` is missing.
    /// @param from Where the scan goes on: 0 for the first order, or what an earlier scan for this order has reached.
    /// @return reached Chained hash over all so far.
    function scan(
        bytes32 orderHash,
        bytes32 from,
        bytes32[] calldata orderHashes
    ) external returns (bytes32 reached);

    /// @notice Shows a receipt whose order is missing. Anyone may bring it.
    /// @param from As in `scan`.
    /// @param orderHashes The rest of the orders in the clearing, in their order; none if the session is void.
    function challenge(
        Receipt calldata receipt,
        bytes32 from,
        bytes32[] calldata orderHashes
    ) external;

    function PENALTY_WEI() external view returns (uint256);

    function REWARD_WEI() external view returns (uint256);

    function CHALLENGE_WINDOW_SECONDS() external view returns (uint40);

    function WITHDRAWAL_DELAY_SECONDS() external view returns (uint256);

    function bondOf(address manager) external view returns (Bond memory);

    /// @notice What of a bond stands behind receipts that are issued from now on: all that is not to be withdrawn.
    function securedWei(address manager) external view returns (uint256);

    function claimOf(uint32 market, uint40 sessionStart, uint32 peer) external view returns (Claim);

    /// @notice Whether clearing was seen paused in the exclusive window of a session.
    function wasPaused(uint32 market, uint40 sessionStart) external view returns (bool);

    /// @notice The EIP-712 digest that a manager signs.
    function receiptDigest(Order calldata order, uint40 issuedAt) external view returns (bytes32);
}
