// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRules} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Calldata} from "./Calldata.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {IPeerAccounts, IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {Signatures} from "./Signatures.sol";

/// @title The accounts of the market
/// @notice Specified in `ILedger`.
contract Ledger is ILedger, AccessControlDefaultAdminRules, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for *;

    /// @notice Grants credit limits and pays out of the fund.
    bytes32 public constant FUND_MANAGER_ROLE = keccak256("FUND_MANAGER_ROLE");

    bytes32 private constant MOVE_TYPEHASH = keccak256(
        "Move(uint32 peer,address successor,uint32 account,uint40 validUntil)"
    );
    uint256 private constant WEI_PER_NANO = 1e9;
    /// @dev No balance and no free funds exceed what all accounts hold, since what others owe is credit that the fund covers.
    /// So with this bound on deposits every lane stays within 64 bits.
    uint64 private constant MAX_HELD_NANO = uint64(type(int64).max);

    /// @notice Says whose account is whose.
    IPeerRegistry public immutable REGISTRY;
    /// @notice What balances are held in.
    IERC20 public immutable TOKEN;
    /// @inheritdoc ILedger
    uint40 public immutable WITHDRAWAL_DELAY_SECONDS;

    /// @notice What the accounts have in common.
    /// @param debtors How many peers have arrears.
    struct Totals {
        uint64 fundNano;
        uint64 creditGrantedNano;
        uint64 heldNano;
        uint32 debtors;
    }

    /// @notice What a clearing does not touch of an account. While a withdrawal is requested, free funds are without the
    /// credit limit and not below zero (R2).
    struct Cold {
        uint64 lockedNano;
        uint64 creditNano;
        uint64 arrearsNano;
        uint64 withdrawalNano;
        uint40 withdrawalRequestedAt;
    }

    /// @notice What a peer can fall back on in a clearing that takes more than what is free of its funds.
    /// @param gateClosure Withdrawals that are requested before are kept out of it.
    /// @param nextUnlock Where in the calldata the first unlock lies that may be of a later peer.
    /// @param endOfUnlocks Where they end.
    struct Reserve {
        uint256 gateClosure;
        uint256 nextUnlock;
        uint256 endOfUnlocks;
    }

    /// @notice Where a requested withdrawal goes if not to the wallet.
    struct Destination {
        address successor;
        uint32 toAccount;
    }

    /// @notice May lock and unlock.
    address public orderBook;
    /// @notice May book clearings.
    address public clearing;
    /// @notice May book imbalances.
    address public settlement;
    /// @notice May book continuous trades.
    address public trades;

    Totals private _totals;
    /// @dev Free funds (int64) of peers 4s to 4s + 3 in slot s, the first in the highest bits.
    mapping(uint256 slot => uint256) private _free;
    mapping(uint32 peer => Cold) private _cold;
    /// @inheritdoc ILedger
    mapping(uint32 peer => Destination) public moveOf;
    mapping(bytes32 digest => bool) private _isMoveUsed;
    /// @inheritdoc ILedger
    mapping(uint32 debtor => mapping(uint32 creditor => uint64)) public arrearsNano;

    /// @param admin Grants the roles; handing it on takes `adminDelaySeconds`.
    constructor(
        address admin,
        uint48 adminDelaySeconds,
        IPeerRegistry registry,
        IERC20 token,
        uint40 withdrawalDelaySeconds
    ) AccessControlDefaultAdminRules(adminDelaySeconds, admin) EIP712("Fairwatt", "1") {
        REGISTRY = registry;
        TOKEN = token;
        WITHDRAWAL_DELAY_SECONDS = withdrawalDelaySeconds;
    }

    modifier onlyOrderBook() {
        require(msg.sender == orderBook, NotTheOrderBook(msg.sender));
        _;
    }

    modifier onlyClearing() {
        require(msg.sender == clearing, NotTheClearing(msg.sender));
        _;
    }

    modifier onlySettlement() {
        require(msg.sender == settlement, NotTheSettlement(msg.sender));
        _;
    }

    modifier onlyTrades() {
        require(msg.sender == trades, NotTheTrades(msg.sender));
        _;
    }

    /// @notice Connects the contracts that may lock and book, once.
    function connectMarket(
        address orderBook_,
        address clearing_,
        address settlement_,
        address trades_
    ) external onlyRole(DEFAULT_ADMIN_ROLE) {
        require(orderBook == address(0), AlreadyConnected());
        require(orderBook_ != address(0) && clearing_ != address(0), AddressZero());
        require(settlement_ != address(0) && trades_ != address(0), AddressZero());
        orderBook = orderBook_;
        clearing = clearing_;
        settlement = settlement_;
        trades = trades_;
        emit MarketConnected(orderBook_, clearing_, settlement_, trades_);
    }

    // ----------------------------------------------------------------------------------------------- tokens in, out

    /// @inheritdoc ILedger
    function deposit(uint32 peer, uint64 amountNano) external nonReentrant {
        _requireAccount(peer);
        _receive(amountNano);
        _addFree(peer, amountNano);
        emit Deposited(peer, msg.sender, amountNano);
    }

    /// @inheritdoc ILedger
    function depositToFund(uint64 amountNano) external nonReentrant {
        _receive(amountNano);
        _totals.fundNano += amountNano;
        emit FundReceived(msg.sender, amountNano);
    }

    /// @inheritdoc ILedger
    function requestWithdrawal(uint64 amountNano) external {
        uint32 peer = _callingPeer();
        (int256 free, uint256 most) = _withdrawable(peer);
        require(amountNano <= most, InsufficientFunds(peer, amountNano, most));
        delete moveOf[peer];
        _request(peer, free, amountNano);
    }

    /// @inheritdoc ILedger
    function withdraw() external nonReentrant returns (uint64 amountNano) {
        uint32 peer = _callingPeer();
        amountNano = _release(peer);
        delete moveOf[peer];
        emit Withdrawn(peer, msg.sender, amountNano);
        TOKEN.safeTransfer(msg.sender, amountNano * WEI_PER_NANO);
    }

    /// @inheritdoc ILedger
    function requestMove(Move calldata move, bytes calldata signature) external {
        uint32 peer = move.peer;
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(MOVE_TYPEHASH, move)));
        address wallet = REGISTRY.peerAt(peer, uint40(block.timestamp)).wallet;
        require(block.timestamp <= move.validUntil, MoveExpired(peer, move.validUntil));
        require(
            move.successor != address(this) && move.successor.code.length > 0,
            NoSuccessor(move.successor)
        );
        require(!_isMoveUsed[digest], MoveUsed(peer, digest));
        require(Signatures.isAccepted(wallet, digest, signature), MoveNotSigned(peer, wallet));
        _isMoveUsed[digest] = true;
        (int256 free, uint256 most) = _withdrawable(peer);
        require(most > 0, AmountZero());
        moveOf[peer] = Destination(move.successor, move.account);
        _request(peer, free, most.toUint64());
        emit MoveRequested(peer, move.successor, move.account);
    }

    /// @inheritdoc ILedger
    function completeMove(uint32 peer) external nonReentrant returns (uint64 amountNano) {
        Destination memory to = moveOf[peer];
        require(to.successor != address(0), NoMoveRequested(peer));
        amountNano = _release(peer);
        delete moveOf[peer];
        emit Moved(peer, to.successor, to.toAccount, amountNano);
        TOKEN.forceApprove(to.successor, amountNano * WEI_PER_NANO);
        if (to.toAccount == 0) ILedger(to.successor).depositToFund(amountNano);
        else ILedger(to.successor).deposit(to.toAccount, amountNano);
        uint256 left = TOKEN.allowance(address(this), to.successor);
        require(left == 0, MoveNotTaken(to.successor, left));
    }

    /// @dev What is free, and of that what a peer may withdraw, were there no request.
    function _withdrawable(uint32 peer) private view returns (int256 free, uint256 most) {
        Cold storage cold = _cold[peer];
        free = _freeOf(peer) + _resting(cold);
        int256 own = free - int256(uint256(cold.creditNano));
        most = own > 0 ? uint256(own) : 0;
    }

    function _request(uint32 peer, int256 free, uint64 amountNano) private {
        Cold storage cold = _cold[peer];
        cold.withdrawalNano = amountNano;
        cold.withdrawalRequestedAt = uint40(block.timestamp);
        _setFree(peer, free - _resting(cold));
        emit WithdrawalRequested(peer, amountNano, block.timestamp + WITHDRAWAL_DELAY_SECONDS);
    }

    /// @dev Takes out of the account what was requested and waited for; the tokens follow.
    function _release(uint32 peer) private returns (uint64 amountNano) {
        Cold storage cold = _cold[peer];
        amountNano = cold.withdrawalNano;
        require(amountNano > 0, NoWithdrawalRequested(peer));
        uint256 from = uint256(cold.withdrawalRequestedAt) + WITHDRAWAL_DELAY_SECONDS;
        require(block.timestamp >= from, WithdrawalNotReady(peer, from));

        cold.withdrawalNano = 0;
        _addFree(peer, cold.creditNano);
        _totals.heldNano -= amountNano;
    }

    /// @dev R1: what is booked is what arrived.
    function _receive(uint64 amountNano) private {
        require(amountNano > 0, AmountZero());
        uint256 room = MAX_HELD_NANO - _totals.heldNano;
        require(amountNano <= room, DepositTooLarge(amountNano, room));
        _totals.heldNano += amountNano;
        uint256 amountWei = amountNano * WEI_PER_NANO;
        uint256 before = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom(msg.sender, address(this), amountWei);
        uint256 received = TOKEN.balanceOf(address(this)) - before;
        require(received == amountWei, DepositIncomplete(amountWei, received));
    }

    // -------------------------------------------------------------------------------------------------------- locks

    /// @inheritdoc ILedger
    function lock(uint32 peer, uint256 amountNano) external onlyOrderBook {
        uint256 available = availableNano(peer);
        require(amountNano <= available, InsufficientFunds(peer, amountNano, available));
        uint64 lockedNano = amountNano.toUint64();
        _cold[peer].lockedNano += lockedNano;
        _setFree(peer, _freeOf(peer) - int256(amountNano));
        emit Locked(peer, lockedNano);
    }

    /// @inheritdoc ILedger
    function unlock(uint32 peer, uint64 amountNano) external onlyOrderBook {
        _unlock(peer, amountNano);
    }

    function _unlock(uint32 peer, uint64 amountNano) private {
        _cold[peer].lockedNano -= amountNano;
        _addFree(peer, amountNano);
        emit Unlocked(peer, amountNano);
    }

    // --------------------------------------------------------------------------------------------- fund and arrears

    /// @inheritdoc ILedger
    function setCredit(uint32 peer, uint64 creditNano) external onlyRole(FUND_MANAGER_ROLE) {
        _requireAccount(peer);
        Cold storage cold = _cold[peer];
        uint64 before = cold.creditNano;
        uint256 granted = uint256(_totals.creditGrantedNano) - before + creditNano;
        require(granted <= _totals.fundNano, FundTooSmall(granted, _totals.fundNano));
        int256 free = _freeOf(peer);
        if (creditNano < before) {
            int256 needed = int256(uint256(cold.lockedNano)) - _balanceOf(free, cold);
            require(needed <= int256(uint256(creditNano)), CreditInUse(peer, uint256(needed)));
        }
        free += _resting(cold);
        cold.creditNano = creditNano;
        _totals.creditGrantedNano = granted.toUint64();
        free += int256(uint256(creditNano)) - int256(uint256(before));
        _setFree(peer, free - _resting(cold));
        emit CreditChanged(peer, creditNano);
    }

    /// @inheritdoc ILedger
    function allot(Allotment[] calldata allotments) external onlyRole(FUND_MANAGER_ROLE) {
        for (uint256 i; i < allotments.length; ++i) {
            (uint32 peer, uint64 amountNano) = (allotments[i].peer, allotments[i].amountNano);
            _requireAccount(peer);
            uint256 free = _freeFund();
            require(amountNano <= free, FundTooSmall(amountNano, free));
            _totals.fundNano -= amountNano;
            _addFree(peer, amountNano);
            emit FundAllotted(peer, amountNano);
        }
    }

    /// @inheritdoc ILedger
    function collect(uint32 debtor, uint32 creditor) external {
        uint64 owed = arrearsNano[debtor][creditor];
        Cold storage cold = _cold[debtor];
        uint64 paid = Math.min(owed, _means(_freeOf(debtor), cold)).toUint64();
        require(paid > 0, NothingToCollect(debtor, creditor));
        // The debtor has less and owes less: what is free of its funds stays the same.
        _reduceArrears(debtor, creditor, paid);
        _addFree(creditor, paid);
    }

    // ------------------------------------------------------------------------------------------------------ booking

    /// @inheritdoc ILedger
    // slither-disable-next-line events-maths (LinkEarned of the clearing says what the fund earns)
    function bookClearing(
        bytes calldata bookings,
        bytes calldata unlocks,
        Income[] calldata incomes,
        uint256 gateClosure,
        uint64 feeNano,
        uint32 feeTo
    ) external onlyClearing returns (uint64 paidNano) {
        (uint256 at, uint256 end) = _span(unlocks);
        _unlockAll(at, end);
        int256 sumNano = _bookPeers(bookings, Reserve(gateClosure, at, end));
        for (uint256 i; i < incomes.length; ++i) {
            uint64 amountNano = incomes[i].amountNano;
            sumNano += int256(uint256(amountNano));
            if (incomes[i].account == 0) _totals.fundNano += amountNano;
            else _addFree(incomes[i].account, amountNano);
        }
        require(sumNano == 0, NotBalanced(sumNano));
        return _paySolver(feeNano, feeTo);
    }

    /// @inheritdoc ILedger
    function bookImbalances(Payment[] calldata payments) external onlySettlement {
        for (uint256 i; i < payments.length; ++i) {
            (uint32 debtor, uint32 creditor) = (payments[i].debtor, payments[i].creditor);
            uint256 owed = payments[i].amountNano;
            if (_totals.debtors > 0) owed -= _setOff(debtor, creditor, owed);
            if (owed == 0) continue;
            int256 free = _freeOf(debtor);
            if (free >= int256(owed)) {
                _setFree(debtor, free - int256(owed));
                _addFree(creditor, owed);
            } else {
                _addFree(creditor, _payInPart(debtor, creditor, free, owed));
            }
        }
    }

    /// @inheritdoc ILedger
    // slither-disable-next-line events-maths (Traded says what is paid)
    function bookTrade(uint32 payer, uint32 payee, uint256 amountNano) external onlyTrades {
        uint256 available = availableNano(payer);
        require(amountNano <= available, InsufficientFunds(payer, amountNano, available));
        _setFree(payer, _freeOf(payer) - int256(amountNano));
        _addFree(payee, amountNano);
    }

    function _unlockAll(uint256 at, uint256 end) private {
        uint32 last;
        for (; at < end; at += 32) {
            uint256 entry = Calldata.word(at);
            uint32 peer = uint32(entry >> 224);
            require(peer > last, EntriesUnsorted(peer));
            last = peer;
            _unlock(peer, uint64(entry));
        }
    }

    /// @dev One word is read and written for up to four peers. Unchecked: there are fewer than 2^32 amounts of 64 bits;
    /// that a lane keeps within its 64 bits follows from the bound on deposits once all that is booked adds up to zero.
    function _bookPeers(
        bytes calldata bookings,
        Reserve memory reserve
    ) private returns (int256 sumNano) {
        unchecked {
            (uint256 at, uint256 end) = _span(bookings);
            uint256 last;
            uint256 place; // of the word that is worked on; 0 before the first
            uint256 word;
            for (; at < end; at += 32) {
                uint256 peer = Calldata.word(at) >> 224;
                if (peer <= last) revert EntriesUnsorted(uint32(peer));
                if ((peer ^ last) >> 2 != 0 || place == 0) {
                    if (place != 0) _write(place, word);
                    place = _freePlace(peer);
                    word = _read(place);
                }
                last = peer;
                int256 amount;
                int256 before;
                // solhint-disable-next-line no-inline-assembly
                assembly ("memory-safe") {
                    amount := signextend(7, calldataload(at))
                    before := signextend(7, shr(shl(6, and(not(peer), 3)), word))
                    sumNano := add(sumNano, amount)
                }
                int256 free = before + amount;
                if (free & amount < 0) free = _cover(uint32(peer), amount, free, reserve);
                // solhint-disable-next-line no-inline-assembly
                assembly ("memory-safe") {
                    let changed := and(xor(before, free), 0xffffffffffffffff)
                    word := xor(word, shl(shl(6, and(not(peer), 3)), changed))
                }
            }
            if (place != 0) _write(place, word);
        }
    }

    /// @dev R6, for a peer that has less than it pays besides locks, a requested withdrawal and arrears.
    /// @param free What would be left, negative.
    /// @return What is left.
    function _cover(
        uint32 peer,
        int256 amount,
        int256 free,
        Reserve memory reserve
    ) private returns (int256) {
        Cold storage cold = _cold[peer];
        if (cold.withdrawalRequestedAt >= reserve.gateClosure) free = _giveWay(cold, free);
        if (free < 0) {
            uint256 needed = uint256(-amount);
            uint256 unlocked = _unlockedOf(peer, reserve);
            int256 rest = free + int256(needed) - int256(unlocked); // free funds but for the unlocked ones
            uint256 means = unlocked + (rest > 0 ? uint256(rest) : 0);
            require(needed <= means, InsufficientFunds(peer, needed, means));
        }
        return free;
    }

    /// @dev Both lists are sorted and peers are asked for in their order, so the second is walked through but once.
    function _unlockedOf(
        uint32 peer,
        Reserve memory reserve
    ) private pure returns (uint256 amountNano) {
        uint256 at = reserve.nextUnlock;
        while (at < reserve.endOfUnlocks && Calldata.word(at) >> 224 < peer) at += 32;
        if (at < reserve.endOfUnlocks && Calldata.word(at) >> 224 == peer)
            amountNano = uint64(Calldata.word(at));
        reserve.nextUnlock = at;
    }

    function _paySolver(uint64 feeNano, uint32 feeTo) private returns (uint64 paidNano) {
        if (feeNano == 0 || feeTo == 0) return 0;
        _requireAccount(feeTo);
        paidNano = Math.min(feeNano, _freeFund()).toUint64();
        if (paidNano == 0) return 0;
        _totals.fundNano -= paidNano;
        _addFree(feeTo, paidNano);
        emit SolverPaid(feeTo, paidNano);
    }

    /// @dev R7, for a debtor that owes more than what is free. Paid or not, it lessens what is free; but what was to be
    /// withdrawn, and what the debtor owes already, is not kept from the creditor.
    function _payInPart(
        uint32 debtor,
        uint32 creditor,
        int256 free,
        uint256 owed
    ) private returns (uint256 paid) {
        Cold storage cold = _cold[debtor];
        int256 left = free - int256(owed);
        require(left >= type(int64).min, DebtTooLarge(debtor, owed));
        paid = Math.min(owed, _means(free, cold));
        if (paid < owed) {
            uint64 unpaid = (owed - paid).toUint64();
            if (cold.arrearsNano == 0) ++_totals.debtors;
            cold.arrearsNano += unpaid;
            arrearsNano[debtor][creditor] += unpaid;
            emit ArrearsIncurred(debtor, creditor, unpaid);
        }
        _setFree(debtor, _giveWay(cold, left));
    }

    /// @dev What the creditor owes the debtor from before goes off first, so that nobody pays out to its own debtor.
    function _setOff(
        uint32 debtor,
        uint32 creditor,
        uint256 amountNano
    ) private returns (uint64 setOffNano) {
        if (_cold[creditor].arrearsNano == 0) return 0;
        setOffNano = Math.min(amountNano, arrearsNano[creditor][debtor]).toUint64();
        if (setOffNano == 0) return 0;
        _reduceArrears(creditor, debtor, setOffNano);
        _addFree(creditor, setOffNano);
    }

    function _reduceArrears(uint32 debtor, uint32 creditor, uint64 amountNano) private {
        arrearsNano[debtor][creditor] -= amountNano;
        _cold[debtor].arrearsNano -= amountNano;
        if (_cold[debtor].arrearsNano == 0) --_totals.debtors;
        emit ArrearsPaid(debtor, creditor, amountNano);
    }

    /// @dev A request is for what is there: what is missing is taken from it. Without a request the credit counts again.
    function _giveWay(Cold storage cold, int256 free) private returns (int256) {
        int256 requested = int256(uint256(cold.withdrawalNano));
        if (free >= 0 || requested == 0) return free;
        if (-free < requested) {
            cold.withdrawalNano = uint64(uint256(requested + free));
            return 0;
        }
        cold.withdrawalNano = 0;
        return free + requested + int256(uint256(cold.creditNano));
    }

    // -------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ILedger
    function account(uint32 peer) external view returns (Account memory) {
        Cold storage cold = _cold[peer];
        int256 free = _freeOf(peer);
        return
            Account({
                balanceNano: _balanceOf(free, cold).toInt64(),
                freeNano: free.toInt64(),
                lockedNano: cold.lockedNano,
                creditNano: cold.creditNano,
                arrearsNano: cold.arrearsNano,
                withdrawalNano: cold.withdrawalNano,
                withdrawalRequestedAt: cold.withdrawalRequestedAt
            });
    }

    /// @inheritdoc ILedger
    function availableNano(uint32 peer) public view returns (uint256) {
        int256 free = _freeOf(peer);
        return free > 0 ? uint256(free) : 0;
    }

    /// @inheritdoc ILedger
    function fundNano() external view returns (uint64) {
        return _totals.fundNano;
    }

    /// @inheritdoc ILedger
    function creditGrantedNano() external view returns (uint64) {
        return _totals.creditGrantedNano;
    }

    /// @inheritdoc ILedger
    function heldNano() external view returns (uint64) {
        return _totals.heldNano;
    }

    /// @inheritdoc IPeerAccounts
    function isSettled(uint32 peer) external view returns (bool) {
        Cold storage cold = _cold[peer];
        return
            cold.arrearsNano == 0 && cold.lockedNano == 0 && _balanceOf(_freeOf(peer), cold) >= 0;
    }

    function _freeFund() private view returns (uint256) {
        return _totals.fundNano - _totals.creditGrantedNano;
    }

    /// @dev For debts: all but the locks.
    function _means(int256 free, Cold storage cold) private view returns (uint256) {
        int256 means = free + _resting(cold) + int256(uint256(cold.arrearsNano));
        return means > 0 ? uint256(means) : 0;
    }

    function _balanceOf(int256 free, Cold storage cold) private view returns (int256) {
        return
            free +
            _resting(cold) +
            int256(uint256(cold.lockedNano)) +
            int256(uint256(cold.arrearsNano)) -
            int256(uint256(cold.creditNano));
    }

    /// @dev What a requested withdrawal keeps out of the free funds: itself, and the credit limit.
    function _resting(Cold storage cold) private view returns (int256) {
        uint256 requested = cold.withdrawalNano;
        return requested == 0 ? int256(0) : int256(requested + cold.creditNano);
    }

    function _requireAccount(uint32 peer) private view {
        require(peer != 0 && peer <= REGISTRY.peerCount(), UnknownAccount(peer));
    }

    function _callingPeer() private view returns (uint32 peer) {
        peer = REGISTRY.peerInForce(msg.sender);
        require(peer != 0, NotAnAccount(msg.sender));
    }

    // -------------------------------------------------------------------------------------------------------- lanes

    function _freeOf(uint32 peer) private view returns (int256) {
        return _lane(_free[peer >> 2], _shift(peer));
    }

    function _setFree(uint32 peer, int256 freeNano) private {
        _free[peer >> 2] = _withLane(_free[peer >> 2], _shift(peer), freeNano);
    }

    function _addFree(uint32 peer, uint256 amountNano) private {
        _setFree(peer, _freeOf(peer) + int256(amountNano));
    }

    /// @dev How far above the lowest bits the lane of a peer is.
    function _shift(uint256 peer) private pure returns (uint256) {
        return (~peer & 3) << 6;
    }

    function _lane(uint256 word, uint256 shift) private pure returns (int256) {
        // forge-lint: disable-next-line(unsafe-typecast) a lane has 64 bits
        return int64(uint64(word >> shift));
    }

    function _withLane(uint256 word, uint256 shift, int256 value) private pure returns (uint256) {
        // forge-lint: disable-next-line(unsafe-typecast) within 64 bits, see MAX_HELD_NANO and DebtTooLarge
        uint64 changed = uint64(word >> shift) ^ uint64(uint256(value));
        return word ^ (uint256(changed) << shift);
    }

    // -------------------------------------------------------------------------------------------------------- words

    /// @dev Where the words of a list begin and end in the calldata.
    function _span(bytes calldata list) private pure returns (uint256 at, uint256 end) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            at := list.offset
            end := add(at, list.length)
        }
    }

    /// @dev The storage place of a peer's word in `_free`, so that a run of peers asks for it once.
    function _freePlace(uint256 peer) private pure returns (uint256 place) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(0, shr(2, peer))
            mstore(32, _free.slot)
            place := keccak256(0, 64)
        }
    }

    function _read(uint256 place) private view returns (uint256 word) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            word := sload(place)
        }
    }

    function _write(uint256 place, uint256 word) private {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            sstore(place, word)
        }
    }
}
