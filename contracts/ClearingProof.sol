// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Link, Side} from "./MarketTypes.sol";

/// @title Proof that a proposed clearing of one period is optimal
/// @notice With bids (b_k, Q_k) and asks (a_s, Q_s) on nodes z, links l = i -> j with tariff f_l and capacity K_l, a
/// clearing x, y, w with node prices pi is checked for
///
///     bounds    0 <= x_k <= Q_k,  0 <= y_s <= Q_s,  0 <= w_l <= K_l,  floor <= pi_z <= cap
///     balance   sum_s y_s + inflow_z - outflow_z - sum_k x_k = 0                           at every node z
///     optimum   sum_k b_k x_k - sum_s a_s y_s - sum_l f_l w_l  =  D(pi), where
///
///     D(pi) = sum_k Q_k max(0, b_k - pi_z(k)) + sum_s Q_s max(0, pi_z(s) - a_s) + sum_l K_l max(0, pi_j - pi_i - f_l)
///
/// By weak duality no clearing has more welfare than D(pi), so equality proves the optimum (linear programming
/// duality; the constraint matrix is a network matrix, so whole-number optima exist and no tolerance is needed).
/// One pass over orders and links: nothing is sorted or searched.
/// @dev A period is opened, each order step added, then the links close it. The order of checks, and with it the
/// error of a clearing that breaks several rules, is the same as in the Python twin `fairwatt.market.proof`.
/// Requirements: R1 one price per node, R2 one flow per link, R3 price within bounds, R4 known node, R5 fill within
/// energy, R6 flow within capacity, R7 every node balanced, R8 welfare equal to the dual bound.
library ClearingProof {
    /// @notice R1: the proof must carry one price per node of the network.
    error PriceCountMismatch(uint256 expected, uint256 actual);
    /// @notice R2: the proof must carry one flow per link of the network.
    error FlowCountMismatch(uint256 expected, uint256 actual);
    /// @notice R3: a price lies outside the network's floor and cap.
    error PriceOutOfBounds(uint256 node, int256 priceMicroPerKWh, int256 floor, int256 cap);
    /// @notice R4: an order or a link names a node the network does not have.
    error UnknownNode(uint256 node, uint256 nodeCount);
    /// @notice R5: the `line`-th order step of the period is filled beyond its energy.
    error FillAboveEnergy(uint256 line, uint256 fillWh, uint256 energyWh);
    /// @notice R6: a link carries more than its capacity.
    error FlowAboveCapacity(uint256 link, uint256 flowWh, uint256 capacityWh);
    /// @notice R7: what is sold at and flows into a node is not what is bought at and flows out of it.
    error NodeUnbalanced(uint256 node, int256 surplusWh);
    /// @notice R8: a clearing with more welfare may exist, or the prices do not support this one.
    error NotOptimal(int256 welfare, int256 dualBound);

    /// @notice Running sums of one period.
    /// @param surplusWh Per node: energy sold and flowing in, minus bought and flowing out.
    /// @param welfare Primal objective so far, in nano-token.
    /// @param dualBound D(pi) so far, in nano-token.
    /// @param lines Number of order steps added.
    struct Tally {
        int256[] pricesMicroPerKWh;
        int256[] surplusWh;
        int256 welfare;
        int256 dualBound;
        uint256 lines;
    }

    /// @notice Starts a period at the proposed prices.
    function open(
        uint256 nodeCount,
        int256 floor,
        int256 cap,
        int32[] calldata pricesMicroPerKWh
    ) internal pure returns (Tally memory tally) {
        require(
            pricesMicroPerKWh.length == nodeCount,
            PriceCountMismatch(nodeCount, pricesMicroPerKWh.length)
        );
        tally.pricesMicroPerKWh = new int256[](nodeCount);
        tally.surplusWh = new int256[](nodeCount);
        for (uint256 z; z < nodeCount; ++z) {
            int256 price = pricesMicroPerKWh[z];
            require(floor <= price && price <= cap, PriceOutOfBounds(z, price, floor, cap));
            tally.pricesMicroPerKWh[z] = price;
        }
    }

    /// @notice Adds one order step with its fill.
    /// @return paymentNano What the step earns at its node's price: positive is received, negative paid.
    /// @return injectedWh What the step brings into the node: sold positive, bought negative.
    function addStep(
        Tally memory tally,
        uint256 node,
        Side side,
        int256 limitMicroPerKWh,
        uint256 energyWh,
        uint256 fillWh
    ) internal pure returns (int256 paymentNano, int256 injectedWh) {
        require(node < tally.surplusWh.length, UnknownNode(node, tally.surplusWh.length));
        require(fillWh <= energyWh, FillAboveEnergy(tally.lines, fillWh, energyWh));
        ++tally.lines;

        int256 price = tally.pricesMicroPerKWh[node];
        // An ask is a bid with every sign turned: what it gains per Wh is price - limit instead of limit - price.
        int256 sign = side == Side.Ask ? int256(1) : -1;
        injectedWh = sign * int256(fillWh);
        int256 gainMicroPerKWh = sign * (price - limitMicroPerKWh);

        tally.surplusWh[node] += injectedWh;
        tally.welfare -= limitMicroPerKWh * injectedWh;
        if (gainMicroPerKWh > 0) tally.dualBound += gainMicroPerKWh * int256(energyWh);
        paymentNano = price * injectedWh;
    }

    /// @notice Adds the links with their flows and requires balance and optimality.
    function close(
        Tally memory tally,
        Link[] memory links,
        uint40[] calldata flowsWh
    ) internal pure {
        uint256 nodeCount = tally.surplusWh.length;
        require(flowsWh.length == links.length, FlowCountMismatch(links.length, flowsWh.length));
        for (uint256 i; i < links.length; ++i) {
            Link memory link = links[i];
            uint256 flowWh = flowsWh[i];
            require(link.source < nodeCount, UnknownNode(link.source, nodeCount));
            require(link.target < nodeCount, UnknownNode(link.target, nodeCount));
            require(flowWh <= link.capacityWh, FlowAboveCapacity(i, flowWh, link.capacityWh));

            int256 tariff = int256(uint256(link.tariffMicroPerKWh));
            int256 rentMicroPerKWh = _spread(tally, link) - tariff;
            tally.surplusWh[link.source] -= int256(flowWh);
            tally.surplusWh[link.target] += int256(flowWh);
            tally.welfare -= tariff * int256(flowWh);
            if (rentMicroPerKWh > 0)
                tally.dualBound += rentMicroPerKWh * int256(uint256(link.capacityWh));
        }
        for (uint256 z; z < nodeCount; ++z) {
            require(tally.surplusWh[z] == 0, NodeUnbalanced(z, tally.surplusWh[z]));
        }
        require(tally.welfare == tally.dualBound, NotOptimal(tally.welfare, tally.dualBound));
    }

    /// @notice What a link earns in a closed period, in nano-token: its tariff, and the rent of a full link. The
    /// proof makes the price difference at least the tariff wherever energy flows.
    function linkIncome(
        Tally memory tally,
        Link memory link,
        uint256 flowWh
    ) internal pure returns (uint256 tariffNano, uint256 rentNano) {
        if (flowWh == 0) return (0, 0);
        tariffNano = link.tariffMicroPerKWh * flowWh;
        rentNano = uint256(_spread(tally, link)) * flowWh - tariffNano;
    }

    /// @dev Price at the link's target minus price at its source, in micro-token per kWh.
    function _spread(Tally memory tally, Link memory link) private pure returns (int256) {
        return tally.pricesMicroPerKWh[link.target] - tally.pricesMicroPerKWh[link.source];
    }
}
