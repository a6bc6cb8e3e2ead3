// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IBonds} from "./interfaces/IBonds.sol";
import {IClearing} from "./interfaces/IClearing.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {IOrderBook} from "./interfaces/IOrderBook.sol";
import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {Market, Order} from "./MarketTypes.sol";
import {Orders} from "./Orders.sol";
import {Sessions} from "./Sessions.sol";
import {Signatures} from "./Signatures.sol";

/// @title Bonds of community managers
/// @notice Specified in `IBonds`.
contract Bonds is IBonds, EIP712, ReentrancyGuardTransient {
    using Orders for IPeerRegistry.Peer;
    using Orders for Order;
    using SafeERC20 for IERC20;
    using Sessions for Market;

    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(uint32 market,uint32 peer,uint40 sessionStart,uint32 nonce,bytes32 orderHash,uint40 issuedAt)"
    );

    /// @notice Knows the wallets of peers.
    IPeerRegistry public immutable REGISTRY;
    /// @notice Knows what peers can spend.
    ILedger public immutable LEDGER;
    /// @notice Knows the markets, and which orders are valid.
    IOrderBook public immutable ORDER_BOOK;
    /// @notice Keeps what was cleared.
    IClearing public immutable CLEARING;
    /// @notice What bonds are held in.
    IERC20 public immutable TOKEN;
    /// @inheritdoc IBonds
    uint256 public immutable PENALTY_WEI;
    /// @inheritdoc IBonds
    uint256 public immutable REWARD_WEI;
    /// @inheritdoc IBonds
    uint40 public immutable CHALLENGE_WINDOW_SECONDS;
    /// @inheritdoc IBonds
    uint256 public immutable WITHDRAWAL_DELAY_SECONDS;

    mapping(address manager => Bond) private _bonds;
    /// @inheritdoc IBonds
    mapping(uint32 market => mapping(uint40 sessionStart => mapping(uint32 peer => Claim)))
        public claimOf;
    /// @inheritdoc IBonds
    mapping(uint32 market => mapping(uint40 sessionStart => bool)) public wasPaused;
    /// @dev Chained hashes of lists without the order.
    mapping(bytes32 orderHash => mapping(bytes32 reached => bool)) private _scanned;

    /// @param penaltyWei Paid for a breach.
    /// @param rewardWei The challenger's part of it.
    constructor(
        IPeerRegistry registry,
        ILedger ledger,
        IOrderBook orderBook,
        IClearing clearing,
        IERC20 token,
        uint256 penaltyWei,
        uint256 rewardWei,
        uint40 challengeWindowSeconds
    ) EIP712("Fairwatt", "1") {
        require(penaltyWei > 0 && rewardWei <= penaltyWei, RewardTooLarge(rewardWei, penaltyWei));
        REGISTRY = registry;
        LEDGER = ledger;
        ORDER_BOOK = orderBook;
        CLEARING = clearing;
        TOKEN = token;
        PENALTY_WEI = penaltyWei;
        REWARD_WEI = rewardWei;
        CHALLENGE_WINDOW_SECONDS = challengeWindowSeconds;
        // A book opens the notice before its session ends. A clearing window ends before the reading window does, and that
        // before the ledger's withdrawals are due (R1 of `IOrderBook`).
        WITHDRAWAL_DELAY_SECONDS =
            uint256(registry.NOTICE_SECONDS()) +
            ledger.WITHDRAWAL_DELAY_SECONDS() +
            challengeWindowSeconds;
    }

    // -------------------------------------------------------------------------------------------------------- bonds

    /// @inheritdoc IBonds
    function deposit(address manager, uint256 amountWei) external nonReentrant {
        require(manager != address(0), AddressZero());
        require(amountWei > 0, AmountZero());
        _bonds[manager].amountWei += amountWei;
        emit BondDeposited(manager, msg.sender, amountWei);
        uint256 before = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom(msg.sender, address(this), amountWei);
        uint256 received = TOKEN.balanceOf(address(this)) - before;
        require(received == amountWei, DepositIncomplete(amountWei, received));
    }

    /// @inheritdoc IBonds
    function requestWithdrawal(uint256 amountWei) external {
        Bond storage bond = _bonds[msg.sender];
        require(amountWei <= bond.amountWei, BondTooSmall(msg.sender, amountWei, bond.amountWei));
        bond.requestedWei = amountWei;
        bond.availableFrom = block.timestamp + WITHDRAWAL_DELAY_SECONDS;
        emit BondWithdrawalRequested(msg.sender, amountWei, bond.availableFrom);
    }

    /// @inheritdoc IBonds
    function withdraw() external nonReentrant returns (uint256 amountWei) {
        Bond storage bond = _bonds[msg.sender];
        amountWei = Math.min(bond.requestedWei, bond.amountWei);
        require(amountWei > 0, NoWithdrawalRequested(msg.sender));
        require(
            block.timestamp >= bond.availableFrom,
            WithdrawalNotReady(msg.sender, bond.availableFrom)
        );
        bond.requestedWei = 0;
        bond.amountWei -= amountWei;
        emit BondWithdrawn(msg.sender, amountWei);
        TOKEN.safeTransfer(msg.sender, amountWei);
    }

    // ------------------------------------------------------------------------------------------------------ excuses

    /// @inheritdoc IBonds
    function excuse(SignedOrder[] calldata orders) external {
        require(orders.length > 0, OrdersMissing());
        (uint32 market, uint40 sessionStart, uint32 peer) = (
            orders[0].order.market,
            orders[0].order.sessionStart,
            orders[0].order.peer
        );
        Market memory terms = ORDER_BOOK.marketTerms(market);
        terms.requireSession(sessionStart);
        require(msg.sender == terms.manager, NotTheManager(msg.sender));
        _requireTurn(terms, market, sessionStart);
        _requireOpen(market, sessionStart, peer);

        Wants memory wants = _wantsOf(orders, terms);
        require(
            wants.costNano > wants.meansNano || wants.mostWh > wants.limitWh,
            NoExcuse(peer, wants)
        );
        claimOf[market][sessionStart][peer] = Claim.Excused;
        emit PeerExcused(market, sessionStart, peer, wants);
    }

    /// @inheritdoc IBonds
    function witnessPause(uint32 market, uint40 sessionStart) external {
        Market memory terms = ORDER_BOOK.marketTerms(market);
        terms.requireSession(sessionStart);
        _requireTurn(terms, market, sessionStart);
        require(ORDER_BOOK.paused(), NotPaused());
        wasPaused[market][sessionStart] = true;
        emit PauseWitnessed(market, sessionStart);
    }

    /// @dev Without an exclusive window no second is the manager's alone, and no receipt binds (R3).
    function _requireTurn(Market memory terms, uint32 market, uint40 sessionStart) private view {
        uint256 gate = terms.gateClosure(sessionStart);
        uint256 deadline = terms.exclusiveDeadline(sessionStart);
        require(
            gate <= block.timestamp &&
                block.timestamp <= deadline &&
                CLEARING.positionsHash(market, sessionStart) == 0,
            NotTheManagersTurn(market, sessionStart, gate, deadline)
        );
    }

    /// @dev What is locked for a placed order pays for it, and whose it is was checked when it was placed.
    function _wantsOf(
        SignedOrder[] calldata orders,
        Market memory terms
    ) private view returns (Wants memory wants) {
        Order calldata first = orders[0].order;
        // slither-disable-next-line unused-return (nonce and lock follow from the order)
        (bytes32 placedHash, , ) = ORDER_BOOK.placedOrder(
            first.market,
            first.sessionStart,
            first.peer
        );
        uint256[] memory energyWh = Orders.noEnergies(terms.periodsPerSession);
        for (uint256 o; o < orders.length; ++o) {
            Order calldata order = orders[o].order;
            require(
                order.market == first.market &&
                    order.sessionStart == first.sessionStart &&
                    order.peer == first.peer &&
                    (o == 0 || order.nonce > orders[o - 1].order.nonce),
                OrdersUnsorted(order.peer, order.nonce)
            );
            if (order.hash() != placedHash) {
                // slither-disable-next-line unused-return (the hash is known)
                ORDER_BOOK.requireValid(order, orders[o].signature);
                wants.costNano += order.worstCaseNano();
            }
            wants.mostWh = Math.max(wants.mostWh, order.addEnergies(energyWh));
        }
        wants.meansNano = _meansNano(first.peer, terms.gateClosure(first.sessionStart));
        wants.limitWh = REGISTRY.peerAt(first.peer, first.sessionStart).energyLimitWh(
            terms.periodSeconds
        );
    }

    /// @dev As a clearing reckons: who requests a withdrawal after gate closure does not escape by it (R6 of `ILedger`).
    function _meansNano(uint32 peer, uint256 gateClosure) private view returns (uint256) {
        ILedger.Account memory account = LEDGER.account(peer);
        int256 means = account.freeNano;
        if (account.withdrawalNano > 0 && account.withdrawalRequestedAt >= gateClosure)
            means += int256(uint256(account.withdrawalNano) + account.creditNano);
        return means > 0 ? uint256(means) : 0;
    }

    // --------------------------------------------------------------------------------------------------- challenges

    /// @inheritdoc IBonds
    function scan(
        bytes32 orderHash,
        bytes32 from,
        bytes32[] calldata orderHashes
    ) external returns (bytes32 reached) {
        reached = _scan(orderHash, from, orderHashes);
        _scanned[orderHash][reached] = true;
        emit OrdersScanned(orderHash, reached);
    }

    /// @inheritdoc IBonds
    function challenge(
        Receipt calldata receipt,
        bytes32 from,
        bytes32[] calldata orderHashes
    ) external nonReentrant {
        Order calldata order = receipt.signed.order;
        Market memory terms = ORDER_BOOK.marketTerms(order.market);
        terms.requireSession(order.sessionStart);
        require(terms.exclusiveWindowSeconds > 0, NotBinding(order.market)); // R3
        _requireDecided(terms, order.market, order.sessionStart); // R5
        bytes32 orderHash = order.hash();
        _requireIssued(receipt, terms.manager, orderHash); // R4
        bytes32 expected = CLEARING.ordersHash(order.market, order.sessionStart);
        bytes32 actual = _scan(orderHash, from, orderHashes); // R6
        require(actual == expected, NotTheOrders(expected, actual));
        _requirePossible(receipt.signed, orderHash); // R7
        _requireOpen(order.market, order.sessionStart, order.peer); // R8, R9
        _pay(terms.manager, order, orderHash);
    }

    function _requireDecided(Market memory terms, uint32 market, uint40 sessionStart) private view {
        uint256 deadline = terms.clearingDeadline(sessionStart);
        require(
            CLEARING.positionsHash(market, sessionStart) != 0 || block.timestamp > deadline,
            NotYetDecided(market, sessionStart, deadline)
        );
        deadline += CHALLENGE_WINDOW_SECONDS;
        require(block.timestamp <= deadline, ChallengeTooLate(market, sessionStart, deadline));
    }

    function _requireIssued(
        Receipt calldata receipt,
        address manager,
        bytes32 orderHash
    ) private view {
        Order calldata order = receipt.signed.order;
        (uint256 opens, uint256 gate) = ORDER_BOOK.bookTimes(order.market, order.sessionStart);
        require(
            opens <= receipt.issuedAt && receipt.issuedAt < gate,
            IssuedOutOfTime(receipt.issuedAt, opens, gate)
        );
        bytes32 digest = _digest(order, orderHash, receipt.issuedAt);
        address signer = Signatures.keySigner(digest, receipt.signature);
        require(signer == manager, ReceiptSignerMismatch(manager, signer));
    }

    function _requirePossible(SignedOrder calldata signed, bytes32 orderHash) private view {
        Order calldata order = signed.order;
        // slither-disable-next-line unused-return (the hash is known)
        ORDER_BOOK.requireValid(order, signed.signature);
        address signer = Signatures.keySigner(
            MessageHashUtils.toTypedDataHash(ORDER_BOOK.domainSeparator(), orderHash),
            signed.signature
        );
        require(
            signer == REGISTRY.peerAt(order.peer, order.sessionStart).wallet,
            OrderNotOfKey(order.peer, order.nonce, signer)
        );
        // slither-disable-next-line unused-return (what is locked does not matter)
        (bytes32 placedHash, uint32 nonce, ) = ORDER_BOOK.placedOrder(
            order.market,
            order.sessionStart,
            order.peer
        );
        require(
            placedHash == 0 || placedHash == orderHash || nonce != order.nonce,
            NoncePlaced(order.peer, nonce)
        );
    }

    function _requireOpen(uint32 market, uint40 sessionStart, uint32 peer) private view {
        require(!wasPaused[market][sessionStart], ClearingWasPaused(market, sessionStart));
        Claim claim = claimOf[market][sessionStart][peer];
        require(claim == Claim.Open, NothingOwed(market, sessionStart, peer, claim));
    }

    /// @dev A void session has no orders, so nothing is chained: 0, as the clearing keeps then.
    function _scan(
        bytes32 orderHash,
        bytes32 from,
        bytes32[] calldata orderHashes
    ) private view returns (bytes32 reached) {
        require(from == 0 || _scanned[orderHash][from], NotScanned(orderHash, from));
        reached = from;
        for (uint256 o; o < orderHashes.length; ++o) {
            require(orderHashes[o] != orderHash, OrderIsThere(orderHash, o));
            reached = keccak256(abi.encodePacked(reached, orderHashes[o]));
        }
    }

    /// @dev The peer's part goes to the wallet that is its own now.
    function _pay(address manager, Order calldata order, bytes32 orderHash) private {
        Bond storage bond = _bonds[manager];
        uint256 paidWei = Math.min(PENALTY_WEI, bond.amountWei);
        require(paidWei > 0, BondTooSmall(manager, PENALTY_WEI, 0));
        uint256 rewardWei = Math.mulDiv(paidWei, REWARD_WEI, PENALTY_WEI);
        bond.amountWei -= paidWei;
        claimOf[order.market][order.sessionStart][order.peer] = Claim.Paid;
        emit ReceiptBroken(
            order.market,
            order.sessionStart,
            order.peer,
            orderHash,
            msg.sender,
            paidWei - rewardWei,
            rewardWei
        );
        TOKEN.safeTransfer(
            REGISTRY.peerAt(order.peer, block.timestamp).wallet,
            paidWei - rewardWei
        );
        TOKEN.safeTransfer(msg.sender, rewardWei);
    }

    // -------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IBonds
    function bondOf(address manager) external view returns (Bond memory) {
        return _bonds[manager];
    }

    /// @inheritdoc IBonds
    function securedWei(address manager) external view returns (uint256) {
        Bond storage bond = _bonds[manager];
        return bond.amountWei - Math.min(bond.requestedWei, bond.amountWei);
    }

    /// @inheritdoc IBonds
    function receiptDigest(Order calldata order, uint40 issuedAt) external view returns (bytes32) {
        return _digest(order, order.hash(), issuedAt);
    }

    function _digest(
        Order calldata order,
        bytes32 orderHash,
        uint40 issuedAt
    ) private view returns (bytes32) {
        return
            _hashTypedDataV4(
                keccak256(
                    abi.encode(
                        RECEIPT_TYPEHASH,
                        order.market,
                        order.peer,
                        order.sessionStart,
                        order.nonce,
                        orderHash,
                        issuedAt
                    )
                )
            );
    }
}
