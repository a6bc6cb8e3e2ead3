// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRules} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IPeerAccounts, IPeerRegistry} from "./interfaces/IPeerRegistry.sol";

/// @title The accounts of the market
/// @notice Specified in `ILedger`.
contract Ledger is ILedger, AccessControlDefaultAdminRules, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for *;

    /// @notice Grants credit limits and pays out of the fund.
    bytes32 public constant FUND_MANAGER_ROLE = keccak256("FUND_MANAGER_ROLE");

    uint256 private constant WEI_PER_NANO = 1e9;

    /// @notice Says whose account is whose.
    IPeerRegistry public immutable REGISTRY;
    /// @notice What balances are held in.
    IERC20 public immutable TOKEN;
    /// @inheritdoc ILedger
    uint40 public immutable WITHDRAWAL_DELAY_SECONDS;

    /// @notice May lock and unlock.
    address public orderBook;
    /// @notice May book clearings.
    address public clearing;
    /// @notice May book imbalances.
    address public settlement;

    /// @inheritdoc ILedger
    uint96 public fundNano;
    /// @inheritdoc ILedger
    uint96 public creditGrantedNano;
    /// @inheritdoc ILedger
    mapping(uint32 debtor => mapping(uint32 creditor => uint96)) public arrearsNano;
    mapping(uint32 peer => Account) private _accounts;

    /// @param admin Grants the roles; handing it on takes `adminDelaySeconds`.
    constructor(
        address admin,
        uint48 adminDelaySeconds,
        IPeerRegistry registry,
        IERC20 token,
        uint40 withdrawalDelaySeconds
    ) AccessControlDefaultAdminRules(adminDelaySeconds, admin) {
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

    /// @notice Connects the contracts that may lock and book, once.
    function connectMarket(
        address orderBook_,
        address clearing_,
        address settlement_
    ) external onlyRole(DEFAULT_ADMIN_ROLE) {
        require(orderBook == address(0), AlreadyConnected());
        require(
            orderBook_ != address(0) && clearing_ != address(0) && settlement_ != address(0),
            AddressZero()
        );
        orderBook = orderBook_;
        clearing = clearing_;
        settlement = settlement_;
        emit MarketConnected(orderBook_, clearing_, settlement_);
    }

    // ----------------------------------------------------------------------------------------------- tokens in, out

    /// @inheritdoc ILedger
    function deposit(uint32 peer, uint96 amountNano) external nonReentrant {
        require(peer != 0 && peer <= REGISTRY.peerCount(), UnknownAccount(peer));
        _receive(amountNano);
        _accounts[peer].balanceNano += amountNano.toInt256().toInt96();
        emit Deposited(peer, msg.sender, amountNano);
    }

    /// @inheritdoc ILedger
    function depositToFund(uint96 amountNano) external nonReentrant {
        _receive(amountNano);
        fundNano += amountNano;
        emit FundReceived(msg.sender, amountNano);
    }

    /// @inheritdoc ILedger
    function requestWithdrawal(uint96 amountNano) external {
        uint32 peer = _callingPeer();
        Account storage a = _accounts[peer];
        a.withdrawalNano = 0;
        uint256 free = _withdrawable(a);
        require(amountNano <= free, InsufficientFunds(peer, amountNano, free));
        a.withdrawalNano = amountNano;
        a.withdrawalRequestedAt = uint40(block.timestamp);
        emit WithdrawalRequested(peer, amountNano, block.timestamp + WITHDRAWAL_DELAY_SECONDS);
    }

    /// @inheritdoc ILedger
    function withdraw() external nonReentrant returns (uint96 amountNano) {
        uint32 peer = _callingPeer();
        Account storage a = _accounts[peer];
        require(a.withdrawalNano > 0, NoWithdrawalRequested(peer));
        uint256 from = uint256(a.withdrawalRequestedAt) + WITHDRAWAL_DELAY_SECONDS;
        require(block.timestamp >= from, WithdrawalNotReady(peer, from));

        // forge-lint: disable-next-line(unsafe-typecast) at most `withdrawalNano`
        amountNano = uint96(Math.min(a.withdrawalNano, _withdrawable(a)));
        a.withdrawalNano = 0;
        a.balanceNano -= amountNano.toInt256().toInt96();
        emit Withdrawn(peer, msg.sender, amountNano);
        TOKEN.safeTransfer(msg.sender, amountNano * WEI_PER_NANO);
    }

    /// @dev R1: what is booked is what arrived.
    function _receive(uint96 amountNano) private {
        require(amountNano > 0, AmountZero());
        uint256 amountWei = amountNano * WEI_PER_NANO;
        uint256 before = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom(msg.sender, address(this), amountWei);
        uint256 received = TOKEN.balanceOf(address(this)) - before;
        require(received == amountWei, DepositIncomplete(amountWei, received));
    }

    // -------------------------------------------------------------------------------------------------------- locks

    /// @inheritdoc ILedger
    function lock(uint32 peer, uint96 amountNano) external onlyOrderBook {
        uint256 available = availableNano(peer);
        require(amountNano <= available, InsufficientFunds(peer, amountNano, available));
        _accounts[peer].lockedNano += amountNano;
        emit Locked(peer, amountNano);
    }

    /// @inheritdoc ILedger
    function unlock(uint32 peer, uint96 amountNano) external onlyOrderBook {
        _accounts[peer].lockedNano -= amountNano;
        emit Unlocked(peer, amountNano);
    }

    // --------------------------------------------------------------------------------------------- fund and arrears

    /// @inheritdoc ILedger
    function setCredit(uint32 peer, uint96 creditNano) external onlyRole(FUND_MANAGER_ROLE) {
        require(peer != 0 && peer <= REGISTRY.peerCount(), UnknownAccount(peer));
        Account storage a = _accounts[peer];
        uint256 granted = uint256(creditGrantedNano) - a.creditNano + creditNano;
        require(granted <= fundNano, FundTooSmall(granted, fundNano));
        if (creditNano < a.creditNano) {
            int256 needed = int256(uint256(a.lockedNano)) - a.balanceNano;
            require(needed <= int256(uint256(creditNano)), CreditInUse(peer, uint256(needed)));
        }
        a.creditNano = creditNano;
        creditGrantedNano = granted.toUint96();
        emit CreditChanged(peer, creditNano);
    }

    /// @inheritdoc ILedger
    function allot(Allotment[] calldata allotments) external onlyRole(FUND_MANAGER_ROLE) {
        for (uint256 i; i < allotments.length; ++i) {
            (uint32 peer, uint96 amountNano) = (allotments[i].peer, allotments[i].amountNano);
            require(peer != 0 && peer <= REGISTRY.peerCount(), UnknownAccount(peer));
            uint256 free = fundNano - creditGrantedNano;
            require(amountNano <= free, FundTooSmall(amountNano, free));
            fundNano -= amountNano;
            _accounts[peer].balanceNano += amountNano.toInt256().toInt96();
            emit FundAllotted(peer, amountNano);
        }
    }

    /// @inheritdoc ILedger
    function collect(uint32 debtor, uint32 creditor) external {
        uint96 owed = arrearsNano[debtor][creditor];
        Account storage a = _accounts[debtor];
        // forge-lint: disable-next-line(unsafe-typecast) at most `owed`
        uint96 paid = uint96(Math.min(owed, _payable(a)));
        require(paid > 0, NothingToCollect(debtor, creditor));
        arrearsNano[debtor][creditor] = owed - paid;
        a.arrearsNano -= paid;
        _move(debtor, creditor, paid);
        emit ArrearsPaid(debtor, creditor, paid);
    }

    // ------------------------------------------------------------------------------------------------------ booking

    /// @inheritdoc ILedger
    // slither-disable-next-line events-maths (LinkEarned of the settlement says what the fund earns)
    function bookClearing(
        Booking[] calldata bookings,
        Income[] calldata incomes,
        uint256 gateClosure,
        uint256 openUntil
    ) external onlyClearing {
        int256 sumNano;
        for (uint256 i; i < bookings.length; ++i) {
            Booking calldata booking = bookings[i];
            sumNano += booking.paymentNano;
            _bookPeer(booking, gateClosure, openUntil);
        }
        for (uint256 i; i < incomes.length; ++i) {
            (uint32 peer, uint256 amountNano) = (incomes[i].peer, incomes[i].amountNano);
            sumNano += amountNano.toInt256();
            if (peer == 0)
                fundNano += amountNano.toUint96(); // as LinkEarned of the settlement says
            else _accounts[peer].balanceNano += amountNano.toInt256().toInt96();
        }
        require(sumNano == 0, NotBalanced(sumNano));
    }

    /// @inheritdoc ILedger
    function bookImbalances(Payment[] calldata payments) external onlySettlement {
        for (uint256 i; i < payments.length; ++i) {
            (uint32 debtor, uint32 creditor) = (payments[i].debtor, payments[i].creditor);
            uint256 owed = payments[i].amountNano;
            owed -= _setOff(debtor, creditor, owed);
            Account storage a = _accounts[debtor];
            uint96 paid = Math.min(owed, _payable(a)).toUint96();
            if (paid > 0) _move(debtor, creditor, paid);
            if (paid < owed) {
                uint96 unpaid = (owed - paid).toUint96();
                a.arrearsNano += unpaid;
                arrearsNano[debtor][creditor] += unpaid;
                emit ArrearsIncurred(debtor, creditor, unpaid);
            }
            _trimWithdrawal(a);
        }
    }

    function _bookPeer(Booking calldata booking, uint256 gateClosure, uint256 openUntil) private {
        Account storage a = _accounts[booking.peer];
        if (booking.paymentNano < 0) {
            uint256 needed = uint256(-booking.paymentNano);
            uint256 requested = a.withdrawalRequestedAt < gateClosure ? a.withdrawalNano : 0;
            uint256 means = booking.unlockedNano + _spendable(a, requested + a.arrearsNano);
            require(needed <= means, InsufficientFunds(booking.peer, needed, means));
        }
        if (booking.unlockedNano > 0) {
            a.lockedNano -= booking.unlockedNano;
            emit Unlocked(booking.peer, booking.unlockedNano);
        }
        a.balanceNano = (a.balanceNano + booking.paymentNano).toInt96();
        _trimWithdrawal(a);
        if (openUntil > a.openUntil) a.openUntil = openUntil.toUint40();
    }

    /// @dev A request is for what is there: were it kept when that is spent, what comes in later would not have to wait.
    function _trimWithdrawal(Account storage a) private {
        uint256 withdrawable = _withdrawable(a);
        // forge-lint: disable-next-line(unsafe-typecast) less than `withdrawalNano`
        if (a.withdrawalNano > withdrawable) a.withdrawalNano = uint96(withdrawable);
    }

    /// @dev What the creditor owes the debtor from before goes off first, so that nobody pays out to its own debtor.
    function _setOff(
        uint32 debtor,
        uint32 creditor,
        uint256 amountNano
    ) private returns (uint96 setOffNano) {
        uint96 arrears = arrearsNano[creditor][debtor];
        if (arrears == 0) return 0;
        setOffNano = Math.min(amountNano, arrears).toUint96();
        arrearsNano[creditor][debtor] = arrears - setOffNano;
        _accounts[creditor].arrearsNano -= setOffNano;
        emit ArrearsPaid(creditor, debtor, setOffNano);
    }

    function _move(uint32 from, uint32 to, uint96 amountNano) private {
        int96 amount = amountNano.toInt256().toInt96();
        _accounts[from].balanceNano -= amount;
        _accounts[to].balanceNano += amount;
    }

    // -------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ILedger
    function account(uint32 peer) external view returns (Account memory) {
        return _accounts[peer];
    }

    /// @inheritdoc ILedger
    function availableNano(uint32 peer) public view returns (uint256) {
        Account storage a = _accounts[peer];
        return _spendable(a, uint256(a.withdrawalNano) + a.arrearsNano);
    }

    /// @inheritdoc IPeerAccounts
    function isSettled(uint32 peer) external view returns (bool) {
        Account storage a = _accounts[peer];
        return
            a.balanceNano >= 0 &&
            a.arrearsNano == 0 &&
            a.lockedNano == 0 &&
            a.openUntil < block.timestamp;
    }

    /// @dev For debts: all but the locks. A requested withdrawal is not safe from them.
    function _payable(Account storage a) private view returns (uint256) {
        return _spendable(a, 0);
    }

    /// @dev For withdrawals: no credit.
    function _withdrawable(Account storage a) private view returns (uint256) {
        return _spendable(a, uint256(a.creditNano) + a.arrearsNano);
    }

    /// @dev Balance and credit less locks and `reserved`, or 0.
    function _spendable(Account storage a, uint256 reserved) private view returns (uint256) {
        int256 free =
            int256(a.balanceNano) + int256(uint256(a.creditNano)) - int256(uint256(a.lockedNano));
        free -= int256(reserved);
        return free > 0 ? uint256(free) : 0;
    }

    function _callingPeer() private view returns (uint32 peer) {
        peer = REGISTRY.peerInForce(msg.sender);
        require(peer != 0, NotAnAccount(msg.sender));
    }
}
