// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPeerAccounts} from "./IPeerRegistry.sol";

/// @title The money of the market
/// @notice Holds all tokens of the market and says whose they are. Every peer, supplier and operator has an account; what
/// belongs to nobody in particular is the community fund. All amounts are nano-token, 1e9 wei of the token. Always
///
///     wei held = 1e9 * (sum of balances + fund)
///
/// unless somebody sends tokens here past `deposit`: those belong to nobody.
/// A balance is below zero only within a credit limit, and the fund covers all limits together. What a peer can spend is
///
///     free = balance + credit limit - locks - requested withdrawal - arrears
///
/// where the credit limit does not count while a withdrawal is requested. It is negative only by arrears. A clearing
/// moves free funds of all peers and nothing else, so they are kept by themselves, four peers to a word of storage.
///
/// Requirements
/// R1  Deposits are whole nano-tokens, received in full, and never more than all accounts have room for.
/// R2  A withdrawal waits `WITHDRAWAL_DELAY_SECONDS`, in which every session that may rely on it is settled; then
///     nobody can stop what is then left of it. Credit, locks and arrears are not withdrawn. A request shrinks when a
///     peer owes more than it has besides, and does not grow again. Until it is paid or taken back nothing is borrowed:
///     or else credit could be spent, and what comes in later withdrawn in its place without having waited.
/// R3  Only the order book locks and unlocks, only the clearing books clearings, only the settlement books imbalances,
///     only the continuous trading books trades.
/// R4  Credit limits never exceed the fund; a limit in use is not withdrawn.
/// R5  The fund is paid out by its manager, and to solvers by the clearing, and only what no credit limit needs.
/// R6  What a clearing books adds up to zero, and every peer can pay its part: from what was locked for the session,
///     whatever it has come to owe in the meantime, and from what is free otherwise. A withdrawal requested at or after
///     gate closure does not reduce that.
/// R7  What a debtor cannot pay is owed as arrears to that creditor, and paid as soon as anyone calls for it, or set off
///     against what the creditor comes to owe the debtor.
/// R8  A trade moves what is free of the payer's funds to the payee, and no more than that.
/// R9  An account moves to another ledger, that of a newer deployment, as its wallet agreed, once for each signature: all
///     that could be withdrawn, after the same wait, and nobody else has a say. It ends where it was agreed or nothing moves.
interface ILedger is IPeerAccounts {
    /// @notice A peer's account.
    /// @param freeNano See above; below zero if arrears exceed its means.
    /// @param lockedNano Worst case of its placed orders.
    /// @param creditNano How far the balance may go below zero.
    /// @param arrearsNano Sum of what it owes and could not pay.
    /// @param withdrawalNano Requested at `withdrawalRequestedAt`.
    struct Account {
        int64 balanceNano;
        int64 freeNano;
        uint64 lockedNano;
        uint64 creditNano;
        uint64 arrearsNano;
        uint64 withdrawalNano;
        uint40 withdrawalRequestedAt;
    }

    /// @notice A payment out of the fund.
    struct Allotment {
        uint32 peer;
        uint64 amountNano;
    }

    /// @notice Where an account goes, as its wallet signs it (EIP-712, in the domain of this ledger).
    /// @param successor A ledger that holds the same token.
    /// @param account Which account of the successor receives it; 0 is its community fund.
    /// @param validUntil Last second in which it may be asked for.
    struct Move {
        uint32 peer;
        address successor;
        uint32 account;
        uint40 validUntil;
    }

    /// @notice Income of a link's owner, or of the fund for account 0.
    struct Income {
        uint32 account;
        uint64 amountNano;
    }

    /// @notice What one peer owes another for an imbalance.
    struct Payment {
        uint32 debtor;
        uint32 creditor;
        uint64 amountNano;
    }

    event Deposited(uint32 indexed peer, address indexed from, uint64 amountNano);
    event WithdrawalRequested(uint32 indexed peer, uint64 amountNano, uint256 availableFrom);
    event Withdrawn(uint32 indexed peer, address indexed wallet, uint64 amountNano);
    event MoveRequested(uint32 indexed peer, address indexed successor, uint32 indexed account);
    event Moved(
        uint32 indexed peer,
        address indexed successor,
        uint32 indexed account,
        uint64 amountNano
    );
    event Locked(uint32 indexed peer, uint64 amountNano);
    event Unlocked(uint32 indexed peer, uint64 amountNano);
    event CreditChanged(uint32 indexed peer, uint64 creditNano);
    event FundReceived(address indexed from, uint64 amountNano);
    event FundAllotted(uint32 indexed peer, uint64 amountNano);
    event ArrearsIncurred(uint32 indexed debtor, uint32 indexed creditor, uint64 amountNano);
    event ArrearsPaid(uint32 indexed debtor, uint32 indexed creditor, uint64 amountNano);
    event SolverPaid(uint32 indexed account, uint64 amountNano);
    event MarketConnected(
        address indexed orderBook,
        address indexed clearing,
        address indexed settlement,
        address trades
    );

    /// @notice R1: the token delivered another amount than it was asked to.
    error DepositIncomplete(uint256 expectedWei, uint256 receivedWei);
    /// @notice R1: the accounts together have room for this much more.
    error DepositTooLarge(uint64 amountNano, uint256 roomNano);
    error AmountZero();
    error AddressZero();
    error UnknownAccount(uint32 peer);
    /// @notice The peer cannot spend this much.
    error InsufficientFunds(uint32 peer, uint256 neededNano, uint256 availableNano);
    /// @notice The caller's wallet is not the one in force for any peer.
    error NotAnAccount(address caller);
    /// @notice R2
    error WithdrawalNotReady(uint32 peer, uint256 availableFrom);
    /// @notice R2
    error NoWithdrawalRequested(uint32 peer);
    /// @notice R9: the wallet that is in force for the peer did not sign it.
    error MoveNotSigned(uint32 peer, address wallet);
    /// @notice R9
    error MoveExpired(uint32 peer, uint256 validUntil);
    /// @notice R9
    error MoveUsed(uint32 peer, bytes32 digest);
    /// @notice R9: it is this ledger itself or no contract.
    error NoSuccessor(address successor);
    /// @notice R9: the last that the peer asked for is a withdrawal, or nothing.
    error NoMoveRequested(uint32 peer);
    /// @notice R9: the successor did not take the tokens.
    error MoveNotTaken(address successor, uint256 leftWei);
    /// @notice R3
    error NotTheOrderBook(address caller);
    /// @notice R3
    error NotTheClearing(address caller);
    /// @notice R3
    error NotTheSettlement(address caller);
    /// @notice R3
    error NotTheTrades(address caller);
    /// @notice R6: the entries of a list come in order of the peers, none twice.
    error EntriesUnsorted(uint32 peer);
    /// @notice R6
    error NotBalanced(int256 sumNano);
    error AlreadyConnected();
    /// @notice R4
    error CreditInUse(uint32 peer, uint256 neededNano);
    /// @notice R4, R5
    error FundTooSmall(uint256 neededNano, uint256 freeNano);
    /// @notice R7
    error NothingToCollect(uint32 debtor, uint32 creditor);
    /// @notice R7: nobody can owe this much.
    error DebtTooLarge(uint32 debtor, uint256 amountNano);

    /// @notice Adds tokens to a peer's balance; the caller must have approved them. Any account may pay for a peer.
    function deposit(uint32 peer, uint64 amountNano) external;

    /// @notice Adds tokens to the community fund.
    function depositToFund(uint64 amountNano) external;

    /// @notice Announces a withdrawal of the calling peer, in place of any earlier one. No later order can count
    /// on it; a clearing whose gate was closed by then, and imbalances, still can.
    function requestWithdrawal(uint64 amountNano) external;

    /// @notice Pays the calling peer what it requested, or what is left of it.
    /// @return amountNano What was paid.
    function withdraw() external returns (uint64 amountNano);

    /// @notice Announces that a peer's account moves, in place of any withdrawal or move it had asked for. Anyone may bring
    /// what the wallet signed.
    function requestMove(Move calldata move, bytes calldata signature) external;

    /// @notice Deposits what a peer announced to move, or what is left of it, with the successor.
    /// @return amountNano What was moved.
    function completeMove(uint32 peer) external returns (uint64 amountNano);

    /// @notice Reserves funds for a placed order. Callable by the order book alone.
    function lock(uint32 peer, uint256 amountNano) external;

    /// @notice Frees what was reserved. Callable by the order book alone.
    function unlock(uint32 peer, uint64 amountNano) external;

    /// @notice Books a clearing: first the unlocks, then the payments of peers, the incomes of link owners and the fund,
    /// and last the solver's fee. Callable by the clearing alone.
    /// @param bookings What peers receive (positive) or pay (negative), in order of the peers. One word each: peer in the
    /// highest 32 bits, nano-token in the lowest 64, signed.
    /// @param unlocks What was locked for peers' placed orders and is freed, in order of the peers, in words likewise.
    /// @param feeNano What the fund pays for the clearing, as far as no credit limit needs it.
    /// @param feeTo Account that gets it; 0 if nobody does.
    /// @return paidNano What the fund paid.
    function bookClearing(
        bytes calldata bookings,
        bytes calldata unlocks,
        Income[] calldata incomes,
        uint256 gateClosure,
        uint64 feeNano,
        uint32 feeTo
    ) external returns (uint64 paidNano);

    /// @notice Books payments for imbalances; what a debtor cannot pay becomes arrears. A requested withdrawal is not
    /// safe from them, locks are. Callable by the settlement alone.
    function bookImbalances(Payment[] calldata payments) external;

    /// @notice Books the payment for a continuous trade. Callable by the continuous trading alone.
    function bookTrade(uint32 payer, uint32 payee, uint256 amountNano) external;

    /// @notice Lets a peer's balance go below zero to a limit.
    function setCredit(uint32 peer, uint64 creditNano) external;

    /// @notice Pays out of the fund, by the rule that the community chose.
    function allot(Allotment[] calldata allotments) external;

    /// @notice Pays what the debtor owes the creditor from what the debtor can spend now.
    function collect(uint32 debtor, uint32 creditor) external;

    /// @notice Where the account of a peer is announced to go; zero if it is not.
    function moveOf(uint32 peer) external view returns (address successor, uint32 toAccount);

    function WITHDRAWAL_DELAY_SECONDS() external view returns (uint40);

    /// @notice The account of a peer, all zero if it never had any.
    function account(uint32 peer) external view returns (Account memory);

    /// @notice What the peer can spend now; 0 if its obligations exceed its means.
    function availableNano(uint32 peer) external view returns (uint256);

    function arrearsNano(uint32 debtor, uint32 creditor) external view returns (uint64);

    function fundNano() external view returns (uint64);

    /// @notice Sum of all credit limits.
    function creditGrantedNano() external view returns (uint64);

    /// @notice All that was deposited and not withdrawn, in nano-token.
    function heldNano() external view returns (uint64);
}
