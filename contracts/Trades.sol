// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IOrderBook} from "./interfaces/IOrderBook.sol";
import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {ITradedPositions} from "./interfaces/ISettlement.sol";
import {ITrades} from "./interfaces/ITrades.sol";
import {Market, Side} from "./MarketTypes.sol";
import {Orders} from "./Orders.sol";
import {Sessions} from "./Sessions.sol";
import {Signatures} from "./Signatures.sol";

/// @title Continuous trading
/// @notice Specified in `ITrades`. Nobody has a role here.
contract Trades is ITrades, EIP712 {
    using Orders for IPeerRegistry.Peer;
    using Sessions for Market;

    bytes32 private constant ORDER_TYPEHASH = keccak256(
        "ContinuousOrder(uint32 market,uint32 peer,uint40 sessionStart,uint32 nonce,uint16 firstPeriod,uint16 periods,uint8 side,int32 priceMicroPerKWh,uint32 energyWh,uint40 restsFrom,uint40 validUntil,uint32 counterparty)"
    );

    // Lanes of a word, of 32 bits each.
    uint256 private constant LANES = 8;
    uint256 private constant LANE = 0xffffffff;
    uint32 private constant CANCELLED = type(uint32).max;

    /// @notice Says who trades where.
    IPeerRegistry public immutable REGISTRY;
    /// @notice Books what is paid.
    ILedger public immutable LEDGER;
    /// @notice Knows the markets.
    IOrderBook public immutable ORDER_BOOK;

    /// @dev What was traded under nonces 8s to 8s + 7 in slot s, the first in the highest bits.
    mapping(uint32 peer => mapping(uint256 slot => uint256)) private _traded;
    /// @dev Words of eight lanes, as in `ISettlement`.
    mapping(uint32 market => mapping(uint40 sessionStart => mapping(uint32 peer => mapping(uint256 block_ => uint256))))
        private _positions;
    /// @inheritdoc ITradedPositions
    mapping(uint32 market => mapping(uint40 sessionStart => uint256)) public traders;

    constructor(
        IPeerRegistry registry,
        ILedger ledger,
        IOrderBook orderBook
    ) EIP712("Fairwatt", "1") {
        REGISTRY = registry;
        LEDGER = ledger;
        ORDER_BOOK = orderBook;
    }

    // ------------------------------------------------------------------------------------------------------ trading

    /// @inheritdoc ITrades
    function trade(
        SignedContinuousOrder calldata resting,
        SignedContinuousOrder calldata incoming,
        uint32 energyWh
    ) external {
        require(energyWh > 0, EnergyZero());
        Market memory market = ORDER_BOOK.marketTerms(resting.order.market);
        _requireOpen(market, resting.order); // T1
        _requireCross(resting.order, incoming.order); // T2
        _requireTimes(resting.order, incoming.order); // T3
        _requireStrangers(resting.order, incoming.order); // T4
        uint256 restingLimitWh;
        uint256 incomingLimitWh;
        {
            IPeerRegistry.PriceBounds memory bounds = REGISTRY.boundsOf(market.network);
            (uint16 restingNode, uint256 limitWh) = _requireValid(market, bounds, resting); // T2, T4, T5
            restingLimitWh = limitWh;
            uint16 incomingNode;
            (incomingNode, incomingLimitWh) = _requireValid(market, bounds, incoming);
            require(
                restingNode == incomingNode,
                NodesDiffer(resting.order.peer, restingNode, incoming.order.peer, incomingNode)
            );
        }
        _fill(resting.order, energyWh, restingLimitWh); // T6, T7
        _fill(incoming.order, energyWh, incomingLimitWh);
        _book(resting.order, incoming.order, energyWh); // T8
    }

    /// @inheritdoc ITrades
    function cancel(uint32 nonce) external {
        uint32 peer = REGISTRY.peerInForce(msg.sender);
        require(peer != 0, NotThePeer(msg.sender));
        require(tradedWh(peer, nonce) != CANCELLED, OrderIsCancelled(peer, nonce));
        _setTraded(peer, nonce, CANCELLED);
        emit ContinuousOrderCancelled(peer, nonce);
    }

    // --------------------------------------------------------------------------------------------------- the orders

    function _requireOpen(Market memory market, ContinuousOrder calldata order) private view {
        market.requireSession(order.sessionStart);
        require(
            order.periods > 0 &&
                uint256(order.firstPeriod) + order.periods <= market.periodsPerSession,
            PeriodsNotOfSession(order.firstPeriod, order.periods, market.periodsPerSession)
        );
        uint256 opens = market.gateClosure(order.sessionStart);
        uint256 closes = order.sessionStart + uint256(order.firstPeriod) * market.periodSeconds;
        require(block.timestamp >= opens, TradingNotOpen(order.market, order.sessionStart, opens));
        require(block.timestamp < closes, TradingClosed(order.market, order.sessionStart, closes));
        require(!ORDER_BOOK.paused(), TradingStopped());
    }

    function _requireCross(
        ContinuousOrder calldata resting,
        ContinuousOrder calldata incoming
    ) private pure {
        require(
            resting.market == incoming.market &&
                resting.sessionStart == incoming.sessionStart &&
                resting.firstPeriod == incoming.firstPeriod &&
                resting.periods == incoming.periods,
            ProductsDiffer()
        );
        require(resting.side != incoming.side, SidesEqual(resting.side));
        (int32 bid, int32 ask) = resting.side == Side.Bid
            ? (resting.priceMicroPerKWh, incoming.priceMicroPerKWh)
            : (incoming.priceMicroPerKWh, resting.priceMicroPerKWh);
        require(bid >= ask, PricesDoNotCross(bid, ask));
    }

    function _requireTimes(
        ContinuousOrder calldata resting,
        ContinuousOrder calldata incoming
    ) private view {
        require(
            resting.restsFrom <= block.timestamp,
            OrderNotResting(resting.peer, resting.nonce, resting.restsFrom)
        );
        require(
            block.timestamp < incoming.restsFrom,
            OrderNotIncoming(incoming.peer, incoming.nonce, incoming.restsFrom)
        );
        require(
            block.timestamp <= resting.validUntil,
            OrderExpired(resting.peer, resting.nonce, resting.validUntil)
        );
        require(
            block.timestamp <= incoming.validUntil,
            OrderExpired(incoming.peer, incoming.nonce, incoming.validUntil)
        );
    }

    function _requireStrangers(
        ContinuousOrder calldata resting,
        ContinuousOrder calldata incoming
    ) private pure {
        require(resting.peer != incoming.peer, TradeWithItself(resting.peer));
        require(
            resting.counterparty == 0 || resting.counterparty == incoming.peer,
            NotTheCounterparty(resting.peer, resting.nonce, resting.counterparty)
        );
        require(
            incoming.counterparty == 0 || incoming.counterparty == resting.peer,
            NotTheCounterparty(incoming.peer, incoming.nonce, incoming.counterparty)
        );
    }

    /// @return node Where the peer trades.
    /// @return limitWh What its connection carries in a period.
    function _requireValid(
        Market memory market,
        IPeerRegistry.PriceBounds memory bounds,
        SignedContinuousOrder calldata signed
    ) private view returns (uint16 node, uint256 limitWh) {
        ContinuousOrder calldata order = signed.order;
        int32 price = order.priceMicroPerKWh;
        require(
            bounds.floorMicroPerKWh <= price && price <= bounds.capMicroPerKWh,
            Orders.LimitOutOfBounds(order.peer, order.nonce, price)
        );
        IPeerRegistry.Peer memory peer = REGISTRY.peerAt(order.peer, order.sessionStart);
        require(peer.standing == IPeerRegistry.Standing.Active, Orders.PeerNotActive(order.peer));
        require(
            peer.network == market.network,
            Orders.WrongNetwork(order.peer, peer.network, market.network)
        );
        require(
            Orders.mayTrade(peer.role, order.side),
            Orders.SideNotAllowed(order.peer, peer.role, order.side)
        );
        require(
            Signatures.isAccepted(peer.wallet, _hashTypedDataV4(_hash(order)), signed.signature),
            WrongSigner(order.peer, order.nonce)
        );
        return (peer.node, peer.energyLimitWh(market.periodSeconds));
    }

    function _hash(ContinuousOrder calldata order) private pure returns (bytes32) {
        return keccak256(abi.encode(ORDER_TYPEHASH, order));
    }

    // ------------------------------------------------------------------------------------------------------ effects

    function _fill(ContinuousOrder calldata order, uint32 energyWh, uint256 limitWh) private {
        uint32 before = tradedWh(order.peer, order.nonce);
        require(before != CANCELLED, OrderIsCancelled(order.peer, order.nonce));
        uint256 leftWh = before < order.energyWh ? order.energyWh - before : 0;
        require(energyWh <= leftWh, OrderExceeded(order.peer, order.nonce, energyWh, leftWh));
        _setTraded(order.peer, order.nonce, before + energyWh);
        traders[order.market][order.sessionStart] |= 1 << (order.peer & 255);

        int256 sold =
            order.side == Side.Ask ? int256(uint256(energyWh)) : -int256(uint256(energyWh));
        mapping(uint256 block_ => uint256) storage position = _positions[order.market][
            order.sessionStart
        ][order.peer];
        // Of 16 bits each, and lanes that stay within the limit.
        unchecked {
            uint256 end = uint256(order.firstPeriod) + order.periods;
            uint256 period = order.firstPeriod;
            while (period < end) {
                uint256 block_ = period / LANES;
                uint256 word = position[block_];
                uint256 blockEnd = Math.min(end, (block_ + 1) * LANES);
                for (; period < blockEnd; ++period) {
                    int256 total = _energyAt(word, period) + sold;
                    uint256 size = uint256(total < 0 ? -total : total);
                    if (size > limitWh) _revertAboveConnection(order, period, size, limitWh);
                    word = _withEnergy(word, period, total);
                }
                position[block_] = word;
            }
        }
    }

    function _revertAboveConnection(
        ContinuousOrder calldata order,
        uint256 period,
        uint256 energyWh,
        uint256 limitWh
    ) private pure {
        revert Orders.EnergyAboveConnection(order.peer, order.nonce, period, energyWh, limitWh);
    }

    function _book(
        ContinuousOrder calldata resting,
        ContinuousOrder calldata incoming,
        uint32 energyWh
    ) private {
        bool sellerRests = resting.side == Side.Ask;
        (ContinuousOrder calldata sold, ContinuousOrder calldata bought) = sellerRests
            ? (resting, incoming)
            : (incoming, resting);
        int256 price = resting.priceMicroPerKWh;
        emit Traded(
            resting.market,
            resting.sessionStart,
            Trade({
                seller: sold.peer,
                sellerNonce: sold.nonce,
                buyer: bought.peer,
                buyerNonce: bought.nonce,
                firstPeriod: resting.firstPeriod,
                periods: resting.periods,
                sellerRests: sellerRests,
                priceMicroPerKWh: resting.priceMicroPerKWh,
                energyWh: energyWh
            })
        );
        (uint32 payer, uint32 payee) = price < 0
            ? (sold.peer, bought.peer)
            : (bought.peer, sold.peer);
        uint256 sizeNano = uint256(price < 0 ? -price : price) * energyWh * resting.periods;
        if (sizeNano > 0) LEDGER.bookTrade(payer, payee, sizeNano);
    }

    function _setTraded(uint32 peer, uint32 nonce, uint32 energyWh) private {
        uint256 word = _traded[peer][nonce / LANES];
        uint256 shift = _shift(nonce);
        _traded[peer][nonce / LANES] = (word & ~(LANE << shift)) | (uint256(energyWh) << shift);
    }

    // -------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ITrades
    function tradedWh(uint32 peer, uint32 nonce) public view returns (uint32) {
        // forge-lint: disable-next-line(unsafe-typecast) a lane has 32 bits
        return uint32(_traded[peer][nonce / LANES] >> _shift(nonce));
    }

    /// @inheritdoc ITrades
    function orderDigest(ContinuousOrder calldata order) external view returns (bytes32) {
        return _hashTypedDataV4(_hash(order));
    }

    /// @inheritdoc ITrades
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @inheritdoc ITradedPositions
    function withTraded(
        uint32 market,
        uint40 sessionStart,
        uint32 peer,
        bytes calldata position
    ) external view returns (bytes memory total) {
        total = position;
        mapping(uint256 block_ => uint256) storage traded = _positions[market][sessionStart][peer];
        uint256 words = position.length / 32;
        for (uint256 block_; block_ < words; ++block_) {
            uint256 more = traded[block_];
            if (more == 0) continue;
            uint256 at;
            uint256 word;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                at := add(add(total, 32), shl(5, block_))
                word := mload(at)
            }
            word = _sum(word, more);
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                mstore(at, word)
            }
        }
    }

    // -------------------------------------------------------------------------------------------------------- lanes

    /// @dev Lane by lane. What a connection carries is below 2^30 Wh (`IPeerRegistry`): so is what was cleared and what was
    /// traded, and the sum of both fits a lane.
    function _sum(uint256 word, uint256 more) private pure returns (uint256 total) {
        unchecked {
            for (uint256 lane; lane < LANES; ++lane) {
                total = _withEnergy(total, lane, _energyAt(word, lane) + _energyAt(more, lane));
            }
        }
    }

    /// @dev |energyWh| << 1 | 1 if negative, in the lane of a period.
    function _energyAt(uint256 word, uint256 index) private pure returns (int256) {
        unchecked {
            uint256 lane = (word >> _shift(index)) & LANE;
            int256 energyWh = int256(lane >> 1);
            return lane & 1 == 0 ? energyWh : -energyWh;
        }
    }

    function _withEnergy(
        uint256 word,
        uint256 index,
        int256 energyWh
    ) private pure returns (uint256) {
        unchecked {
            uint256 lane = energyWh < 0 ? (uint256(-energyWh) << 1) | 1 : uint256(energyWh) << 1;
            uint256 shift = _shift(index);
            return (word & ~(LANE << shift)) | (lane << shift);
        }
    }

    /// @dev How far above the lowest bits a lane is.
    function _shift(uint256 index) private pure returns (uint256) {
        return (~index & 7) << 5;
    }
}
