// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClearingProof} from "../ClearingProof.sol";
import {Link, Side} from "../MarketTypes.sol";

/// @title The proof of one period by itself, for tests
contract ClearingProofHarness {
    using ClearingProof for ClearingProof.Tally;

    struct Line {
        uint16 node;
        Side side;
        int32 priceMicroPerKWh;
        uint40 energyWh;
        uint40 fillWh;
    }

    struct Book {
        uint16 nodeCount;
        int32 floorMicroPerKWh;
        int32 capMicroPerKWh;
        Link[] links;
        Line[] lines;
    }

    /// @notice Reverts as `ClearingProof` does, or returns both objectives.
    function check(
        Book calldata book,
        int32[] calldata pricesMicroPerKWh,
        uint40[] calldata flowsWh
    ) external pure returns (int256 welfare, int256 dualBound) {
        ClearingProof.Tally memory tally = ClearingProof.open(
            book.nodeCount,
            book.floorMicroPerKWh,
            book.capMicroPerKWh,
            pricesMicroPerKWh
        );
        for (uint256 i; i < book.lines.length; ++i) {
            Line calldata line = book.lines[i];
            tally.addStep(line.node, line.side, line.priceMicroPerKWh, line.energyWh, line.fillWh);
        }
        tally.close(book.links, flowsWh);
        return (tally.welfare, tally.dualBound);
    }
}
