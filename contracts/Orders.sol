// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {FlexibleOrder, Market, Order, Side} from "./MarketTypes.sol";

/// @title What makes an order an order
/// @notice The rules an order obeys that is placed on chain or for which a receipt binds, its EIP-712 hash, and what it can
/// cost. An admissible order can be in a clearing whatever else is in it, as far as its peer can pay and its connection
/// carries what the peer orders together.
///
/// A curve has only one form (see `Order` for its layout): every lane of it is for a period of the session, the steps of a
/// period stand in the first rows, and neither the first nor the last block nor the last row is empty.
///
/// A flexible order is held to what a clearing asks of it: `ClearingProof.addFlexible` of its window and of what it holds,
/// `Clearing` of the connection and the role of its peer. Its value lies within floor and cap as limit prices do: then
/// there are optimal prices within them (see docs/proof.md).
library Orders {
    using Orders for IPeerRegistry.Peer;
    using Orders for Order;

    /// @notice The curve is not one row of its blocks or several.
    error CurveMalformed(uint32 peer, uint32 nonce, uint256 curveBytes);
    /// @notice The curve goes on after the last block of the session.
    error BlocksBeyondSession(uint32 peer, uint32 nonce, uint256 blocks, uint256 sessionBlocks);
    /// @notice The peer is unknown, suspended or has left, as of the session.
    error PeerNotActive(uint32 peer);
    /// @notice The peer is connected to another network than the market's.
    error WrongNetwork(uint32 peer, uint16 peerNetwork, uint16 marketNetwork);
    /// @notice A consumer does not sell, a producer does not buy, an operator does neither.
    error SideNotAllowed(uint32 peer, IPeerRegistry.Role role, Side side);
    /// @notice The step is for a period the session does not have.
    error UnknownPeriod(uint32 peer, uint32 nonce, uint256 period);
    /// @notice A lane without energy has a price or a side.
    error LaneNotEmpty(uint32 peer, uint32 nonce, uint256 period);
    /// @notice The period has a step in a row after one in which it has none.
    error StepOutOfPlace(uint32 peer, uint32 nonce, uint256 period);
    /// @notice The first block, the last block or the last row has no step.
    error CurveNotTight(uint32 peer, uint32 nonce);
    /// @notice The bids or the asks of the period are together for more than the peer's connection carries.
    error EnergyAboveConnection(
        uint32 peer,
        uint32 nonce,
        uint256 period,
        uint256 energyWh,
        uint256 limitWh
    );
    /// @notice The limit price, or the value at the end, lies outside the network's floor and cap.
    error LimitOutOfBounds(uint32 peer, uint32 nonce, int32 priceMicroPerKWh);
    /// @notice The window of a flexible order is empty, or goes on after the session.
    error WindowMalformed(uint32 peer, uint32 nonce, uint256 firstPeriod, uint256 periods);
    /// @notice A flexible order wants less than it has, or more than it holds.
    error LevelsMalformed(
        uint32 peer,
        uint32 nonce,
        uint256 startWh,
        uint256 wantedWh,
        uint256 capacityWh
    );

    bytes32 internal constant ORDER_TYPEHASH = keccak256(
        "Order(uint32 market,uint32 peer,uint40 sessionStart,uint32 nonce,uint16 firstBlock,uint16 blocks,bytes curve)"
    );
    bytes32 internal constant FLEXIBLE_ORDER_TYPEHASH = keccak256(
        "FlexibleOrder(uint32 market,uint32 peer,uint40 sessionStart,uint32 nonce,uint16 firstPeriod,uint16 periods,uint32 chargeWh,uint32 dischargeWh,uint32 capacityWh,uint32 wearMicroPerKWh,uint32 startWh,uint32 wantedWh,int32 valueMicroPerKWh)"
    );
    /// @notice Periods of a block.
    uint256 internal constant LANES = 8;
    /// @notice Prices and steps of a block in one row.
    uint256 internal constant PAIR_BYTES = 64;
    /// @notice The terms of a flexible order.
    uint256 internal constant TERMS_BYTES = 32;

    /// @notice What the steps of an order are held against.
    struct Limits {
        uint256 periods;
        uint256 energyWh;
        IPeerRegistry.Role role;
        IPeerRegistry.PriceBounds bounds;
    }

    /// @notice Requires that the order, of either kind, is well formed and that its peer may trade so.
    /// @param peer The peer's record in force when the session starts.
    /// @param bounds The network's price floor and cap.
    function requireAdmissible(
        Order calldata order,
        Market memory market,
        IPeerRegistry.Peer memory peer,
        IPeerRegistry.PriceBounds memory bounds
    ) internal pure {
        require(peer.standing == IPeerRegistry.Standing.Active, PeerNotActive(order.peer));
        require(
            peer.network == market.network,
            WrongNetwork(order.peer, peer.network, market.network)
        );
        Limits memory limits = Limits({
            periods: market.periodsPerSession,
            energyWh: peer.energyLimitWh(market.periodSeconds),
            role: peer.role,
            bounds: bounds
        });
        if (order.isFlexible()) return _requireTerms(order.flexible(), limits);

        uint256 rows = _requireShape(order, limits.periods);
        uint256 mostRows;
        for (uint256 block_; block_ < order.blocks; ++block_) {
            uint256 blockRows;
            for (uint256 lane; lane < LANES; ++lane) {
                uint256 steps = _requirePeriod(order, limits, rows, block_, lane);
                if (steps > blockRows) blockRows = steps;
            }
            require(
                blockRows > 0 || (block_ > 0 && block_ + 1 < order.blocks),
                CurveNotTight(order.peer, order.nonce)
            );
            if (blockRows > mostRows) mostRows = blockRows;
        }
        require(mostRows == rows, CurveNotTight(order.peer, order.nonce));
    }

    function _requireTerms(FlexibleOrder memory order, Limits memory limits) private pure {
        require(
            order.periods > 0 && uint256(order.firstPeriod) + order.periods <= limits.periods,
            WindowMalformed(order.peer, order.nonce, order.firstPeriod, order.periods)
        );
        require(
            order.startWh <= order.wantedWh && order.wantedWh <= order.capacityWh,
            LevelsMalformed(
                order.peer,
                order.nonce,
                order.startWh,
                order.wantedWh,
                order.capacityWh
            )
        );
        int32 value = order.valueMicroPerKWh;
        require(
            limits.bounds.floorMicroPerKWh <= value && value <= limits.bounds.capMicroPerKWh,
            LimitOutOfBounds(order.peer, order.nonce, value)
        );
        _requireSide(order, limits, Side.Bid, order.chargeWh);
        _requireSide(order, limits, Side.Ask, order.dischargeWh);
    }

    function _requireSide(
        FlexibleOrder memory order,
        Limits memory limits,
        Side side,
        uint256 energyWh
    ) private pure {
        require(
            energyWh == 0 || mayTrade(limits.role, side),
            SideNotAllowed(order.peer, limits.role, side)
        );
        require(
            energyWh <= limits.energyWh,
            EnergyAboveConnection(
                order.peer,
                order.nonce,
                order.firstPeriod,
                energyWh,
                limits.energyWh
            )
        );
    }

    /// @notice The most the order can cost its peer, in nano-token: bids filled at their limit, and asks filled at a
    /// negative limit. The order must be admissible.
    ///
    /// What a flexible order does in an accepted clearing is worth no less to its peer than anything else that it may do, at
    /// the prices paid: they are optimal, midpoints too, so its charging, holding and discharging are what these prices
    /// imply. To do nothing is worth value * startWh. If it holds L in the end and pays M, then
    ///
    ///     value * L - wear * discharged - M >= value * startWh,  so  M <= value * (L - startWh) - wear * discharged
    ///
    /// and it charges L - startWh, or discharges startWh - L, at least. L lies between 0 and `wantedWh`, and no further from
    /// `startWh` than it may charge, or discharge, in all its periods. It may have to pay that, where all prices are its
    /// value (its value and wear, if it is below zero).
    function worstCaseNano(Order calldata order) internal pure returns (uint256 costNano) {
        if (order.isFlexible()) return _worstCaseNano(order.flexible());
        uint256 pairs = order.curve.length / PAIR_BYTES;
        for (uint256 pair; pair < pairs; ++pair) {
            for (uint256 lane; lane < LANES; ++lane) {
                (Side side, int256 price, uint256 energyWh) = _stepAt(order, pair, lane);
                if (side == Side.Ask) price = -price;
                if (price > 0) costNano += uint256(price) * energyWh;
            }
        }
    }

    function _worstCaseNano(FlexibleOrder memory order) private pure returns (uint256) {
        int256 value = order.valueMicroPerKWh;
        int256 loss = -value - int256(uint256(order.wearMicroPerKWh));
        uint256 periods = order.periods;
        if (value > 0) {
            uint256 gainedWh = Math.min(order.wantedWh - order.startWh, periods * order.chargeWh);
            return uint256(value) * gainedWh;
        }
        return loss > 0 ? uint256(loss) * Math.min(order.startWh, periods * order.dischargeWh) : 0;
    }

    /// @notice Room for the energies of a session, to be added to; its last block may go on beyond it.
    function noEnergies(uint256 periods) internal pure returns (uint256[] memory) {
        return new uint256[]((periods + LANES - 1) * 2);
    }

    /// @notice Adds what the order bids and asks in each period, or charges and discharges, to the energies of a session: those
    /// bid in the period at 2 * period, those asked after it. The order must be admissible.
    /// @return mostWh The largest energy that it has added to.
    function addEnergies(
        Order calldata order,
        uint256[] memory energyWh
    ) internal pure returns (uint256 mostWh) {
        if (order.isFlexible()) return _addEnergies(order.flexible(), energyWh);
        uint256 pairs = order.curve.length / PAIR_BYTES;
        for (uint256 pair; pair < pairs; ++pair) {
            uint256 first = (order.firstBlock + (pair % order.blocks)) * LANES;
            for (uint256 lane; lane < LANES; ++lane) {
                (Side side, , uint256 stepWh) = _stepAt(order, pair, lane);
                if (stepWh == 0) continue;
                uint256 place = (first + lane) * 2 + uint256(side);
                energyWh[place] += stepWh;
                if (energyWh[place] > mostWh) mostWh = energyWh[place];
            }
        }
    }

    function _addEnergies(
        FlexibleOrder memory order,
        uint256[] memory energyWh
    ) private pure returns (uint256 mostWh) {
        uint256 first = uint256(order.firstPeriod) * 2;
        for (uint256 place = first; place < first + uint256(order.periods) * 2; place += 2) {
            energyWh[place] += order.chargeWh;
            energyWh[place + 1] += order.dischargeWh;
            mostWh = Math.max(mostWh, Math.max(energyWh[place], energyWh[place + 1]));
        }
    }

    /// @notice The most energy the peer's connection carries in one period.
    function energyLimitWh(
        IPeerRegistry.Peer memory peer,
        uint256 periodSeconds
    ) internal pure returns (uint256) {
        return (uint256(peer.connectionW) * periodSeconds) / 1 hours;
    }

    /// @notice Whether a role sells (`Side.Ask`) or buys (`Side.Bid`).
    function mayTrade(IPeerRegistry.Role role, Side side) internal pure returns (bool) {
        if (role == IPeerRegistry.Role.Consumer) return side == Side.Bid;
        if (role == IPeerRegistry.Role.Producer) return side == Side.Ask;
        return role != IPeerRegistry.Role.Operator;
    }

    /// @notice Whether it is a flexible order in the shape of an `Order` (see there).
    function isFlexible(Order calldata order) internal pure returns (bool) {
        return order.blocks == 0;
    }

    /// @notice The flexible order that it is; reverts if its curve is not a word of terms.
    function flexible(Order calldata order) internal pure returns (FlexibleOrder memory) {
        uint256 terms = _terms(order);
        return
            FlexibleOrder(
                order.market,
                order.peer,
                order.sessionStart,
                order.nonce,
                uint16(terms >> 240),
                uint16(terms >> 224),
                uint32(terms >> 192),
                uint32(terms >> 160),
                uint32(terms >> 128),
                uint32(terms >> 96),
                uint32(terms >> 64),
                uint32(terms >> 32),
                int32(uint32(terms))
            );
    }

    function _terms(Order calldata order) private pure returns (uint256) {
        require(
            order.curve.length == TERMS_BYTES,
            CurveMalformed(order.peer, order.nonce, order.curve.length)
        );
        return uint256(bytes32(order.curve));
    }

    /// @notice EIP-712 hash of the order, without the domain; of the flexible order if it is one.
    function hash(Order calldata order) internal pure returns (bytes32) {
        if (order.isFlexible()) {
            return
                flexibleHashWith(
                    order.market,
                    order.peer,
                    order.sessionStart,
                    order.nonce,
                    _terms(order)
                );
        }
        return
            hashWith(
                order.market,
                order.peer,
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
                    sessionStart,
                    nonce,
                    firstBlock,
                    blocks,
                    curveHash
                )
            );
    }

    /// @notice EIP-712 hash of a flexible order, without the domain.
    function hash(FlexibleOrder memory order) internal pure returns (bytes32) {
        return keccak256(abi.encode(FLEXIBLE_ORDER_TYPEHASH, order));
    }

    /// @notice As `hash`, of a flexible order whose terms are packed into a word (see `FlexibleOrder`). It is not made of
    /// `flexible`, for clearings: a struct that a function returns is written to memory twice.
    function flexibleHashWith(
        uint32 market,
        uint32 peer,
        uint40 sessionStart,
        uint32 nonce,
        uint256 terms
    ) internal pure returns (bytes32) {
        return
            hash(
                FlexibleOrder(
                    market,
                    peer,
                    sessionStart,
                    nonce,
                    uint16(terms >> 240),
                    uint16(terms >> 224),
                    uint32(terms >> 192),
                    uint32(terms >> 160),
                    uint32(terms >> 128),
                    uint32(terms >> 96),
                    uint32(terms >> 64),
                    uint32(terms >> 32),
                    int32(uint32(terms))
                )
            );
    }

    function _requireShape(
        Order calldata order,
        uint256 periods
    ) private pure returns (uint256 rows) {
        uint256 rowBytes = uint256(order.blocks) * PAIR_BYTES;
        uint256 curveBytes = order.curve.length;
        require(
            rowBytes > 0 && curveBytes > 0 && curveBytes % rowBytes == 0,
            CurveMalformed(order.peer, order.nonce, curveBytes)
        );
        uint256 blocks = uint256(order.firstBlock) + order.blocks;
        uint256 sessionBlocks = (periods + LANES - 1) / LANES;
        require(
            blocks <= sessionBlocks,
            BlocksBeyondSession(order.peer, order.nonce, blocks, sessionBlocks)
        );
        rows = curveBytes / rowBytes;
    }

    /// @return steps How many steps the period has.
    function _requirePeriod(
        Order calldata order,
        Limits memory limits,
        uint256 rows,
        uint256 block_,
        uint256 lane
    ) private pure returns (uint256 steps) {
        uint256 period = (order.firstBlock + block_) * LANES + lane;
        uint256[2] memory energyWh; // of each side
        for (uint256 row; row < rows; ++row) {
            (Side side, int32 price, uint256 stepWh) = _stepAt(
                order,
                row * order.blocks + block_,
                lane
            );
            if (stepWh == 0) {
                require(
                    price == 0 && side == Side.Bid,
                    LaneNotEmpty(order.peer, order.nonce, period)
                );
                continue;
            }
            require(period < limits.periods, UnknownPeriod(order.peer, order.nonce, period));
            require(steps == row, StepOutOfPlace(order.peer, order.nonce, period));
            require(mayTrade(limits.role, side), SideNotAllowed(order.peer, limits.role, side));
            require(
                limits.bounds.floorMicroPerKWh <= price && price <= limits.bounds.capMicroPerKWh,
                LimitOutOfBounds(order.peer, order.nonce, price)
            );
            uint256 sumWh = energyWh[uint256(side)] + stepWh;
            require(
                sumWh <= limits.energyWh,
                EnergyAboveConnection(order.peer, order.nonce, period, sumWh, limits.energyWh)
            );
            energyWh[uint256(side)] = sumWh;
            ++steps;
        }
    }

    /// @dev One lane of the `pair`-th pair of words.
    function _stepAt(
        Order calldata order,
        uint256 pair,
        uint256 lane
    ) private pure returns (Side side, int32 priceMicroPerKWh, uint256 energyWh) {
        uint256 offset = pair * PAIR_BYTES + lane * 4;
        // forge-lint: disable-next-line(unsafe-typecast) lanes have 32 bits
        priceMicroPerKWh = int32(uint32(bytes4(order.curve[offset:offset + 4])));
        uint256 step = uint32(bytes4(order.curve[offset + 32:offset + 36]));
        side = step & 1 == 1 ? Side.Ask : Side.Bid;
        energyWh = step >> 1;
    }
}
