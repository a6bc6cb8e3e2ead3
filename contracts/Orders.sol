// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {Market, Order, Side} from "./MarketTypes.sol";
import {Sessions} from "./Sessions.sol";

/// @title What makes an order an order
/// @notice The rules of an order that is placed, read lane by lane, and its EIP-712 hash. A clearing reads curves in a
/// packed way (see `ClearingProof`) and looks only at what could do harm there.
library Orders {
    using Orders for IPeerRegistry.Peer;
    using Sessions for Market;

    /// @notice The curve is empty, or not made of whole rows.
    error CurveMalformed(uint32 peer, uint32 nonce, uint256 curveBytes);
    /// @notice The peer is unknown, suspended or has left, as of the session.
    error PeerNotActive(uint32 peer);
    /// @notice The order is not for the node at which the peer is connected.
    error WrongNode(uint32 peer, uint16 orderNode, uint16 peerNode);
    /// @notice The peer is connected to another network than the market's.
    error WrongNetwork(uint32 peer, uint16 peerNetwork, uint16 marketNetwork);
    /// @notice A consumer does not sell, a producer does not buy, an operator does neither.
    error SideNotAllowed(uint32 peer, IPeerRegistry.Role role, Side side);
    /// @notice The step is for a period the session does not have.
    error UnknownPeriod(uint32 peer, uint32 nonce, uint256 period);
    /// @notice All bids, or all asks, of a period are for more energy than the peer's connection carries.
    error EnergyAboveConnection(uint32 peer, uint32 nonce, uint256 energyWh, uint256 limitWh);
    /// @notice The limit price lies outside the network's floor and cap.
    error LimitOutOfBounds(uint32 peer, uint32 nonce, int256 priceMicroPerKWh);

    bytes32 internal constant ORDER_TYPEHASH = keccak256(
        "Order(uint32 market,uint32 peer,uint16 node,uint40 sessionStart,uint32 nonce,uint16 firstBlock,uint16 blocks,bytes curve)"
    );
    uint256 private constant LANES = 8;
    uint256 private constant PAIR_BYTES = 64;

    /// @notice One limit price and energy for one period.
    struct Step {
        uint256 period;
        Side side;
        int256 priceMicroPerKWh;
        uint256 energyWh;
    }

    /// @notice Requires that the order is well formed and that its peer may trade so.
    /// @param peer The peer's record in force when the session starts.
    /// @param bounds The network's price floor and cap.
    function requireAdmissible(
        Order calldata order,
        Market memory market,
        IPeerRegistry.Peer memory peer,
        IPeerRegistry.PriceBounds memory bounds
    ) internal pure {
        uint256 rowBytes = uint256(order.blocks) * PAIR_BYTES;
        require(
            order.curve.length > 0 && rowBytes > 0 && order.curve.length % rowBytes == 0,
            CurveMalformed(order.peer, order.nonce, order.curve.length)
        );
        require(peer.standing == IPeerRegistry.Standing.Active, PeerNotActive(order.peer));
        require(
            peer.network == market.network,
            WrongNetwork(order.peer, peer.network, market.network)
        );
        require(peer.node == order.node, WrongNode(order.peer, order.node, peer.node));
        uint256 limitWh = peer.energyLimitWh(market.periodSeconds);
        uint256 lanes = uint256(order.blocks) * LANES;
        for (uint256 lane; lane < lanes; ++lane) {
            uint256[2] memory energyWh; // by side
            for (uint256 at = lane; at < stepCount(order); at += lanes) {
                Step memory step = stepAt(order, at);
                if (step.energyWh == 0) continue;
                _requireStep(order, step, market, peer, bounds);
                energyWh[uint256(step.side)] += step.energyWh;
            }
            uint256 most = energyWh[0] > energyWh[1] ? energyWh[0] : energyWh[1];
            require(
                most <= limitWh,
                EnergyAboveConnection(order.peer, order.nonce, most, limitWh)
            );
        }
    }

    /// @notice The most the order can cost its peer, in nano-token: bids filled at their limit, and asks filled at a
    /// negative limit.
    function worstCaseNano(Order calldata order) internal pure returns (uint96 costNano) {
        uint256 count = stepCount(order);
        for (uint256 at; at < count; ++at) {
            Step memory step = stepAt(order, at);
            int256 price = step.side == Side.Bid ? step.priceMicroPerKWh : -step.priceMicroPerKWh;
            // forge-lint: disable-next-line(unsafe-typecast) positive, and below 2^62
            if (price > 0) costNano += uint96(uint256(price) * step.energyWh);
        }
    }

    /// @notice Lanes of the curve, also empty ones.
    function stepCount(Order calldata order) internal pure returns (uint256) {
        return (order.curve.length / PAIR_BYTES) * LANES;
    }

    /// @notice One lane of the curve, row by row.
    function stepAt(Order calldata order, uint256 index) internal pure returns (Step memory step) {
        uint256 pair = (index / LANES) * PAIR_BYTES;
        uint256 lane = index % LANES;
        step.period = (uint256(order.firstBlock) * LANES) + index % (uint256(order.blocks) * LANES);
        uint256 price = _lane(order.curve, pair, lane);
        uint256 energy = _lane(order.curve, pair + 32, lane);
        step.side = energy & 1 == 1 ? Side.Ask : Side.Bid;
        // forge-lint: disable-next-line(unsafe-typecast) a lane has 32 bits
        step.priceMicroPerKWh = int32(uint32(price));
        step.energyWh = energy >> 1;
    }

    /// @notice The most energy the peer's connection carries in one period.
    function energyLimitWh(
        IPeerRegistry.Peer memory peer,
        uint256 periodSeconds
    ) internal pure returns (uint256) {
        return (uint256(peer.connectionW) * periodSeconds) / 1 hours;
    }

    /// @notice EIP-712 hash of the order, without the domain.
    function hash(Order calldata order) internal pure returns (bytes32) {
        return
            hashWith(
                order.market,
                order.peer,
                order.node,
                order.sessionStart,
                order.nonce,
                order.firstBlock,
                order.blocks,
                keccak256(order.curve)
            );
    }

    /// @notice As `hash`, of the fields and the hash of the curve.
    function hashWith(
        uint32 market,
        uint32 peer,
        uint16 node,
        uint40 sessionStart,
        uint32 nonce,
        uint16 firstBlock,
        uint16 blocks,
        bytes32 curveHash
    ) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    ORDER_TYPEHASH,
                    market,
                    peer,
                    node,
                    sessionStart,
                    nonce,
                    firstBlock,
                    blocks,
                    curveHash
                )
            );
    }

    /// @notice Whether a role may trade on a side.
    function mayTrade(IPeerRegistry.Role role, Side side) internal pure returns (bool) {
        if (role == IPeerRegistry.Role.Consumer) return side == Side.Bid;
        if (role == IPeerRegistry.Role.Producer) return side == Side.Ask;
        return role != IPeerRegistry.Role.Operator;
    }

    function _requireStep(
        Order calldata order,
        Step memory step,
        Market memory market,
        IPeerRegistry.Peer memory peer,
        IPeerRegistry.PriceBounds memory bounds
    ) private pure {
        require(
            mayTrade(peer.role, step.side),
            SideNotAllowed(order.peer, peer.role, step.side)
        );
        require(
            step.period < market.periodsPerSession,
            UnknownPeriod(order.peer, order.nonce, step.period)
        );
        require(
            bounds.floorMicroPerKWh <= step.priceMicroPerKWh &&
                step.priceMicroPerKWh <= bounds.capMicroPerKWh,
            LimitOutOfBounds(order.peer, order.nonce, step.priceMicroPerKWh)
        );
    }

    function _lane(
        bytes calldata curve,
        uint256 word,
        uint256 lane
    ) private pure returns (uint256) {
        return uint32(uint256(bytes32(curve[word:word + 32])) >> (224 - 32 * lane));
    }
}
