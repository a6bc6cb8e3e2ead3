// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClearingProof} from "../../../contracts/ClearingProof.sol";
import {Link} from "../../../contracts/MarketTypes.sol";

/// @title What `ClearingProof` accepts is optimal, for all small books and all proposals for them
/// @notice Prices, energies, the whole proposal and the clearing it is compared with are symbolic: of two bits at one
/// node, of one bit elsewhere. Each check is one that halmos tries to break. What the proof refuses reverts, and there is
/// nothing more to be said of it.
contract ProofSymbolic {
    using ClearingProof for ClearingProof.Tally;

    int256 private constant FLOOR = 0;
    uint256 private constant LIMIT_WH = 2 ** 30 - 1;
    /// @notice The largest price and energy, and the cap.
    uint256 private constant ONE_BIT = 1;
    uint256 private constant TWO_BITS = 3;

    /// @notice A book of an ask and a bid.
    struct Book {
        uint256 ask;
        uint256 bid;
        uint256 askWh;
        uint256 bidWh;
    }

    /// @notice What is proposed for a cell.
    /// @param holds Who is named to hold its lowest price, and its highest: 0 nobody, 1 the ask, 2 the bid.
    struct Cell {
        uint256 low;
        uint256 width;
        uint256 askFill;
        uint256 askTotal;
        uint256 bidFill;
        uint256 bidTotal;
        int64 tail;
        uint256[2] holds;
    }

    /// @notice A storage that begins empty and of which nothing is wanted at the end.
    struct Battery {
        uint256 chargeWh;
        uint256 dischargeWh;
        uint256 capacityWh;
        uint256 wear;
    }

    /// @notice What the orders trade, and what they receive in all.
    struct Traded {
        uint256 soldWh;
        uint256 boughtWh;
        int256 paidNano;
    }

    // ------------------------------------------------------------------------------------------------------- one node

    /// @notice The most welfare, and of that the most energy.
    /// @param other Energy of any other clearing.
    function check_oneNodeIsOptimal(
        Book memory book,
        Cell memory cell,
        uint256 other
    ) external view {
        Traded memory traded = _oneNode(book, cell);
        assert(traded.soldWh == traded.boughtWh);
        assert(traded.soldWh <= book.askWh);
        assert(traded.soldWh <= book.bidWh);
        assert(traded.paidNano == 0);
        other &= 3;
        if (other > book.askWh || other > book.bidWh) return;
        _requireBetter(book.bid, book.ask, traded.soldWh, other);
    }

    /// @notice The lowest and the highest price are optimal, and none below or above them is.
    function check_oneNodeHasAllPrices(
        Book memory book,
        Cell memory cell,
        uint256 price
    ) external view {
        Traded memory traded = _oneNode(book, cell);
        uint256 high = cell.low + cell.width;
        price &= 3;
        unchecked {
            uint256 welfare = (book.bid - book.ask) * traded.soldWh;
            assert(_bound(book, cell.low) == welfare);
            assert(_bound(book, high) == welfare);
            if (price < cell.low || high < price) assert(_bound(book, price) != welfare);
        }
    }

    function _oneNode(Book memory book, Cell memory cell) private view returns (Traded memory) {
        _shrink(book, TWO_BITS);
        _shrink(cell, TWO_BITS);
        return this.proveOneNode(_cell(cell, 0), _detail(0, cell), _rows(book), cell.holds);
    }

    /// @notice Lets the proof judge.
    function proveOneNode(
        bytes calldata cells,
        bytes calldata details,
        bytes calldata rows,
        uint256[2] calldata holds
    ) external pure returns (Traded memory traded) {
        ClearingProof.Tally memory tally = ClearingProof.open(
            1,
            1,
            FLOOR,
            int256(TWO_BITS),
            cells,
            details
        );
        uint256 row = _offset(rows);
        _add(tally, 0, row, traded);
        _add(tally, 0, row + 64, traded);
        _hold(tally, 0, row, holds);
        tally.close();
    }

    // ------------------------------------------------------------------------------------------------------ two nodes

    /// @notice The ask at one node, the bid at another, a link from the one to the other: the most welfare, and of that the
    /// most energy.
    /// @param other Energy of any other clearing.
    function check_twoNodesRanksRise(
        Book memory book,
        Cell[2] memory cell,
        Link memory link,
        uint256 flowWh,
        uint256 other
    ) external view {
        _twoNodes(book, cell, [uint256(0x0001_0001), 0x0002_0002], link, flowWh, other);
    }

    /// @notice Prices are supported from the buyer's node to the seller's.
    function check_twoNodesRanksFall(
        Book memory book,
        Cell[2] memory cell,
        Link memory link,
        uint256 flowWh,
        uint256 other
    ) external view {
        _twoNodes(book, cell, [uint256(0x0002_0002), 0x0001_0001], link, flowWh, other);
    }

    function _twoNodes(
        Book memory book,
        Cell[2] memory cell,
        uint256[2] memory ranks,
        Link memory link,
        uint256 flowWh,
        uint256 other
    ) private view {
        _shrink(book, ONE_BIT);
        for (uint256 i; i < 2; ++i) {
            _keepOneSide(cell[i], i == 0);
            _shrink(cell[i], ONE_BIT);
        }
        link = Link(0, 1, 0, link.tariffMicroPerKWh & 1, link.capacityWh & 1);
        flowWh &= ONE_BIT;
        other &= ONE_BIT;
        Traded memory traded = this.proveTwoNodes(
            bytes.concat(_cell(cell[0], ranks[0]), _cell(cell[1], ranks[1])),
            bytes.concat(_detail(0, cell[0]), _detail(8, cell[1])),
            _rows(book),
            link,
            abi.encodePacked(uint40(flowWh)),
            [cell[0].holds, cell[1].holds]
        );
        assert(traded.soldWh == flowWh);
        assert(traded.boughtWh == flowWh);
        assert(flowWh <= book.askWh);
        assert(flowWh <= book.bidWh);
        assert(flowWh <= link.capacityWh);
        if (other > book.askWh || other > book.bidWh || other > link.capacityWh) return;
        _requireBetter(book.bid, book.ask + link.tariffMicroPerKWh, flowWh, other);
    }

    /// @notice Lets the proof judge.
    function proveTwoNodes(
        bytes calldata cells,
        bytes calldata details,
        bytes calldata rows,
        Link memory link,
        bytes calldata flows,
        uint256[2][2] calldata holds
    ) external pure returns (Traded memory traded) {
        ClearingProof.Tally memory tally = ClearingProof.open(
            2,
            1,
            FLOOR,
            int256(TWO_BITS),
            cells,
            details
        );
        uint256 row = _offset(rows);
        _add(tally, 0, row, traded);
        _add(tally, 1, row + 64, traded);
        ClearingProof.Flow memory flow;
        flow.tail = 1;
        tally.addLink(link, flow, 1, _offset(flows), 5);
        _hold(tally, 0, row, holds[0]);
        _hold(tally, 1, row, holds[1]);
        tally.close();
    }

    // ----------------------------------------------------------------------------------------------- a flexible order

    /// @notice An ask in the first of two periods, a bid in the second, and a battery that begins empty and of which nothing
    /// is wanted at the end: it carries what is of most welfare, and of that the most energy. All energies are 1 Wh, and
    /// every cell has one optimal price.
    /// @param cell At the node in either period, then those of the battery.
    /// @param exchangedWh Charged in the first period and discharged in the second.
    /// @param other Energy of any other clearing.
    function check_flexibleRanksRise(
        Book memory book,
        Battery memory battery,
        Cell[4] memory cell,
        uint256[2] memory exchangedWh,
        uint256 other
    ) external view {
        _flexible(book, battery, cell, [uint256(1), 4, 2, 3], exchangedWh, other);
    }

    /// @notice Prices are supported backward in time.
    function check_flexibleRanksFall(
        Book memory book,
        Battery memory battery,
        Cell[4] memory cell,
        uint256[2] memory exchangedWh,
        uint256 other
    ) external view {
        _flexible(book, battery, cell, [uint256(4), 1, 3, 2], exchangedWh, other);
    }

    function _flexible(
        Book memory book,
        Battery memory battery,
        Cell[4] memory cell,
        uint256[4] memory ranks,
        uint256[2] memory exchangedWh,
        uint256 other
    ) private view {
        _shrink(book, ONE_BIT);
        (book.askWh, book.bidWh) = (1, 1);
        (battery.chargeWh, battery.dischargeWh, battery.capacityWh) = (1, 1, 1);
        battery.wear &= ONE_BIT;
        for (uint256 i; i < 2; ++i) {
            _keepOneSide(cell[i], i == 0);
            _shrink(cell[i], ONE_BIT);
            cell[2 + i].low &= ONE_BIT;
            // The lowest price is the highest, and no order is named to hold it.
            (cell[i].width, cell[2 + i].width) = (0, 0);
            cell[i].holds = [uint256(0), 0];
        }
        uint256 charged = exchangedWh[0] & ONE_BIT;
        uint256 discharged = exchangedWh[1] & ONE_BIT;
        other &= ONE_BIT;
        Traded memory traded = this.proveFlexible(
            _twoPeriods(cell, ranks),
            bytes.concat(
                _detail(0, cell[0]),
                _detail(1, cell[1]),
                _tail(8, cell[2]),
                _tail(9, cell[3])
            ),
            _rowsOfTwoPeriods(book),
            battery,
            abi.encodePacked(uint32((charged << 1) | 1), uint32(discharged << 1)),
            [cell[0].holds, cell[1].holds]
        );
        assert(traded.soldWh == charged);
        assert(traded.boughtWh == discharged);
        assert(charged == discharged);
        assert(charged <= book.askWh);
        assert(charged <= book.bidWh);
        assert(charged <= battery.chargeWh);
        assert(charged <= battery.dischargeWh);
        assert(charged <= battery.capacityWh);
        if (other > book.askWh || other > book.bidWh || other > battery.capacityWh) return;
        if (other > battery.chargeWh || other > battery.dischargeWh) return;
        _requireBetter(book.bid, book.ask + battery.wear, charged, other);
    }

    /// @notice Lets the proof judge.
    function proveFlexible(
        bytes calldata cells,
        bytes calldata details,
        bytes calldata rows,
        Battery memory battery,
        bytes calldata schedule,
        uint256[2][2] calldata holds
    ) external pure returns (Traded memory traded) {
        ClearingProof.Tally memory tally = ClearingProof.open(
            2,
            2,
            FLOOR,
            int256(ONE_BIT),
            cells,
            details
        );
        uint256 row = _offset(rows);
        _add(tally, 0, row, traded);
        _add(tally, 0, row + 64, traded);
        ClearingProof.Flexible memory order;
        order.node = 1;
        order.terms =
            (uint256(2) << 224) | // both periods
            (battery.chargeWh << 192) |
            (battery.dischargeWh << 160) |
            (battery.capacityWh << 128) |
            (battery.wear << 96);
        order.schedule = _offset(schedule);
        assert(tally.addFlexible(order));
        ClearingProof.Trade memory trade;
        tally.takePosition(0, LIMIT_WH, trade);
        _hold(tally, 0, row, holds[0]);
        _hold(tally, 1, row, holds[1]);
        tally.close();
    }

    // ----------------------------------------------------------------------------------------------------- the verdict

    /// @dev Breaks unless `energyWh` brings more than `other` at this value and cost, or as much and is no less.
    function _requireBetter(
        uint256 value,
        uint256 cost,
        uint256 energyWh,
        uint256 other
    ) private pure {
        unchecked {
            // What is negative stands on the other side.
            uint256 here = value * energyWh + cost * other;
            uint256 there = value * other + cost * energyWh;
            assert(here >= there);
            assert(here > there || energyWh >= other);
        }
    }

    /// @dev The dual bound at a price.
    function _bound(Book memory book, uint256 price) private pure returns (uint256 bound) {
        unchecked {
            if (price > book.ask) bound += book.askWh * (price - book.ask);
            if (price < book.bid) bound += book.bidWh * (book.bid - price);
        }
    }

    // ------------------------------------------------------------------------------------------------------ the proof

    /// @dev Adds a peer with the row of one block that lies at `row`.
    function _add(
        ClearingProof.Tally memory tally,
        uint256 node,
        uint256 row,
        Traded memory traded
    ) private pure {
        ClearingProof.Trade memory trade;
        tally.addRow(node, 0, 1, row);
        tally.takePosition(node, LIMIT_WH, trade);
        traded.soldWh += trade.soldWh;
        traded.boughtWh += trade.boughtWh;
        traded.paidNano += trade.paymentNano;
    }

    /// @dev Names who holds the prices of a node in the first period, or, if there are two and one node of orders, in both.
    function _hold(
        ClearingProof.Tally memory tally,
        uint256 at,
        uint256 row,
        uint256[2] calldata holds
    ) private pure {
        // Cells of orders are those of different nodes, or of one node in two periods.
        (uint256 node, uint256 lane) = tally.periods == 1 ? (at, uint256(0)) : (0, at);
        for (uint256 highest; highest < 2; ++highest) {
            uint256 who = holds[highest];
            if (who == 1) tally.addSupport(node, 0, lane, row, highest == 1);
            if (who == 2) tally.addSupport(node, 0, lane, row + 64, highest == 1);
        }
    }

    function _offset(bytes calldata data) private pure returns (uint256 offset) {
        assembly ("memory-safe") {
            offset := data.offset
        }
    }

    // -------------------------------------------------------------------------------------------------------- calldata

    function _cell(Cell memory cell, uint256 ranks) private pure returns (bytes memory) {
        return abi.encodePacked(cell.low << 224, cell.width << 224, ranks << 224);
    }

    function _twoPeriods(
        Cell[4] memory cell,
        uint256[4] memory ranks
    ) private pure returns (bytes memory cells) {
        for (uint256 i; i < 4; i += 2) {
            cells = abi.encodePacked(
                cells,
                (cell[i].low << 224) | (cell[i + 1].low << 192),
                (cell[i].width << 224) | (cell[i + 1].width << 192),
                ((ranks[i] * 0x10001) << 224) | ((ranks[i + 1] * 0x10001) << 192)
            );
        }
    }

    function _rows(Book memory book) private pure returns (bytes memory) {
        return
            abi.encodePacked(
                book.ask << 224,
                ((book.askWh << 1) | 1) << 224,
                book.bid << 224,
                (book.bidWh << 1) << 224
            );
    }

    function _rowsOfTwoPeriods(Book memory book) private pure returns (bytes memory) {
        return
            abi.encodePacked(
                book.ask << 224,
                ((book.askWh << 1) | 1) << 224,
                book.bid << 192,
                (book.bidWh << 1) << 192
            );
    }

    function _detail(uint16 number, Cell memory cell) private pure returns (bytes memory) {
        return
            abi.encodePacked(
                number | 0x8000,
                cell.tail,
                uint64(cell.askFill),
                uint64(cell.askTotal),
                uint64(cell.bidFill),
                uint64(cell.bidTotal)
            );
    }

    function _tail(uint16 number, Cell memory cell) private pure returns (bytes memory) {
        return abi.encodePacked(number, cell.tail);
    }

    function _shrink(Book memory book, uint256 bits) private pure {
        book.ask &= bits;
        book.bid &= bits;
        book.askWh &= bits;
        book.bidWh &= bits;
    }

    function _shrink(Cell memory cell, uint256 bits) private pure {
        cell.low &= bits;
        cell.width &= bits;
        cell.askFill &= bits;
        cell.bidFill &= bits;
        cell.askTotal = _oneOfFour(cell.askTotal & bits);
        cell.bidTotal = _oneOfFour(cell.bidTotal & bits);
    }

    /// @dev Nothing is said of orders that a cell does not have: what is marginal of them would not be true (P3).
    function _keepOneSide(Cell memory cell, bool isAsk) private pure {
        if (isAsk) (cell.bidFill, cell.bidTotal) = (0, 0);
        else (cell.askFill, cell.askTotal) = (0, 0);
        for (uint256 i; i < 2; ++i) {
            if (cell.holds[i] != 0) cell.holds[i] = isAsk ? 1 : 2;
        }
    }

    /// @dev Two bits, each number on a path of its own: the proof divides by it, and by a number that is known solvers can.
    function _oneOfFour(uint256 number) private pure returns (uint256) {
        if (number == 0) return 0;
        if (number == 1) return 1;
        return number == 2 ? 2 : 3;
    }
}
