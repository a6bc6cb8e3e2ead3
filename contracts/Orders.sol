// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {Market, Order, Side, Step} from "./MarketTypes.sol";
import {Sessions} from "./Sessions.sol";

/// @title What makes an order an order
/// @notice The rules every order obeys, whether it is placed on chain or brought by a clearing, and its EIP-712 hash.
library Orders {
    using Orders for IPeerRegistry.Peer;
    using Sessions for Market;

    /// @notice The order has no steps.
    error OrderEmpty(uint32 peer, uint32 nonce);
    /// @notice The order expires before its session's gate closure.
    error OrderExpired(uint32 peer, uint32 nonce, uint256 expiry, uint256 gateClosure);
    /// @notice The peer is unknown, suspended or has left, as of the session.
    error PeerNotActive(uint32 peer);
    /// @notice The order is not for the network and node at which the peer is connected.
    error WrongNode(uint32 peer, uint16 orderNode, uint16 peerNode);
    /// @notice The peer is connected to another network than the market's.
    error WrongNetwork(uint32 peer, uint16 peerNetwork, uint16 marketNetwork);
    /// @notice A consumer does not sell, a producer does not buy, an operator does neither.
    error SideNotAllowed(uint32 peer, IPeerRegistry.Role role, Side side);
    /// @notice The step is for a period the session does not have.
    error UnknownPeriod(uint32 peer, uint32 nonce, uint16 period);
    /// @notice The step is for more energy than the peer's connection carries in a period.
    error EnergyAboveConnection(uint32 peer, uint32 nonce, uint40 energyWh, uint256 limitWh);
    /// @notice The limit price lies outside the network's floor and cap.
    error LimitOutOfBounds(uint32 peer, uint32 nonce, int32 priceMicroPerKWh);

    bytes32 internal constant STEP_TYPEHASH = keccak256(
        "Step(uint16 period,uint8 side,int32 priceMicroPerKWh,uint40 energyWh)"
    );
    bytes32 internal constant ORDER_TYPEHASH = keccak256(
        "Order(uint32 market,uint32 peer,uint16 node,uint40 sessionStart,Step[] steps,uint40 expiry,uint32 nonce)"
        "Step(uint16 period,uint8 side,int32 priceMicroPerKWh,uint40 energyWh)"
    );

    /// @notice Requires that the order is well formed and that its peer may trade so.
    /// @param peer The peer's record in force when the session starts.
    /// @param bounds The network's price floor and cap.
    function requireAdmissible(
        Order calldata order,
        Market memory market,
        IPeerRegistry.Peer memory peer,
        IPeerRegistry.PriceBounds memory bounds
    ) internal pure {
        uint256 gate = market.gateClosure(order.sessionStart);
        require(order.steps.length > 0, OrderEmpty(order.peer, order.nonce));
        require(order.expiry >= gate, OrderExpired(order.peer, order.nonce, order.expiry, gate));
        require(peer.standing == IPeerRegistry.Standing.Active, PeerNotActive(order.peer));
        require(
            peer.network == market.network,
            WrongNetwork(order.peer, peer.network, market.network)
        );
        require(peer.node == order.node, WrongNode(order.peer, order.node, peer.node));
        uint256 limitWh = peer.energyLimitWh(market.periodSeconds);
        for (uint256 s; s < order.steps.length; ++s) {
            Step calldata step = order.steps[s];
            require(
                _mayTrade(peer.role, step.side),
                SideNotAllowed(order.peer, peer.role, step.side)
            );
            require(
                step.period < market.periodsPerSession,
                UnknownPeriod(order.peer, order.nonce, step.period)
            );
            require(
                step.energyWh <= limitWh,
                EnergyAboveConnection(order.peer, order.nonce, step.energyWh, limitWh)
            );
            require(
                bounds.floorMicroPerKWh <= step.priceMicroPerKWh &&
                    step.priceMicroPerKWh <= bounds.capMicroPerKWh,
                LimitOutOfBounds(order.peer, order.nonce, step.priceMicroPerKWh)
            );
        }
    }

    /// @notice The most the order can cost its peer, in nano-token: bids filled at their limit, and asks filled at a
    /// negative limit.
    function worstCaseNano(Order calldata order) internal pure returns (uint96 costNano) {
        for (uint256 s; s < order.steps.length; ++s) {
            Step calldata step = order.steps[s];
            int256 price =
                step.side == Side.Bid
                    ? int256(step.priceMicroPerKWh)
                    : -int256(step.priceMicroPerKWh);
            // forge-lint: disable-next-line(unsafe-typecast) positive, and below 2^92 (see MarketTypes)
            if (price > 0) costNano += uint96(uint256(price) * step.energyWh);
        }
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
        bytes32[] memory steps = new bytes32[](order.steps.length);
        for (uint256 s; s < steps.length; ++s) {
            Step calldata step = order.steps[s];
            steps[s] = keccak256(
                abi.encode(
                    STEP_TYPEHASH,
                    step.period,
                    step.side,
                    step.priceMicroPerKWh,
                    step.energyWh
                )
            );
        }
        return
            keccak256(
                abi.encode(
                    ORDER_TYPEHASH,
                    order.market,
                    order.peer,
                    order.node,
                    order.sessionStart,
                    keccak256(abi.encodePacked(steps)),
                    order.expiry,
                    order.nonce
                )
            );
    }

    function _mayTrade(IPeerRegistry.Role role, Side side) private pure returns (bool) {
        if (role == IPeerRegistry.Role.Consumer) return side == Side.Bid;
        if (role == IPeerRegistry.Role.Producer) return side == Side.Ask;
        return role != IPeerRegistry.Role.Operator;
    }
}
