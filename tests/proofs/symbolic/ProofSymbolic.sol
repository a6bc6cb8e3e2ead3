// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClearingProof} from "../../../contracts/ClearingProof.sol";
import {Link} from "../../../contracts/MarketTypes.sol";

/// @title What `ClearingProof` accepts is optimal, for all small books and all proposals for them
/// @notice One period, one ask and one bid; prices, energies, the whole proposal and the clearing it is compared with are
/// symbolic. Each check is one that halmos tries to break.
contract ProofSymbolic {
    using ClearingProof for ClearingProof.Tally;

    int256 private constant FLOOR = 0;
    int256 private constant CAP = 3;

    /// @notice A book of an ask and a bid of at most three Wh at limits of 0 to 3.
    struct Book {
        uint8 ask;
        uint8 bid;
        uint8 askWh;
        uint8 bidWh;
    }

    /// @notice What is proposed for a node.
    /// @param holds Which orders are named to hold the lowest (bit 0: the ask, 1: the bid) and the highest price (2, 3).
    struct Node {
        uint8 low;
        uint8 width;
        uint8 askFill;
        uint8 askTotal;
        uint8 bidFill;
        uint8 bidTotal;
        int64 tail;
    }

    /// @notice Both orders at one node: what is accepted has the most welfare, then the most energy, and low and high are
    /// the ends of the range of all optimal prices.
    /// @param other Energy of any other clearing.
    /// @param price Any other price.
    function check_oneNode(
        Book memory book,
        Node memory node,
        uint8 holds,
        uint8 other,
        uint8 price
    ) external view {
        _bound(book);
        _bound(node);
        bytes memory cells = abi.encodePacked(
            uint256(node.low) << 224,
            uint256(node.width) << 224,
            uint256(0)
        );
        try this.proveOneNode(cells, _detail(node), _rows(book), holds) returns (
            uint256 soldWh,
            uint256 boughtWh
        ) {
            int256 gain = int256(uint256(book.bid)) - int256(uint256(book.ask));
            assert(soldWh == boughtWh);
            assert(soldWh <= book.askWh && soldWh <= book.bidWh);
            int256 welfare = gain * int256(soldWh);
            other &= 3;
            if (other <= book.askWh && other <= book.bidWh) {
                int256 rival = gain * int256(uint256(other));
                assert(rival <= welfare);
                assert(rival < welfare || other <= soldWh);
            }
            price &= 3;
            if (_bound(book, price) == welfare)
                assert(node.low <= price && price <= node.low + node.width);
            assert(_bound(book, node.low) == welfare);
            assert(_bound(book, node.low + node.width) == welfare);
        } catch {}
    }

    /// @notice The ask at one node, the bid at another, a link from the one to the other.
    function check_twoNodes(
        Book memory book,
        Node memory seller,
        Node memory buyer,
        Link memory link,
        uint8 flow,
        uint8 other
    ) external view {
        _bound(book);
        _bound(seller);
        _bound(buyer);
        link = Link(0, 1, 0, link.tariffMicroPerKWh & 3, link.capacityWh & 3);
        flow &= 3;
        bytes memory cells = abi.encodePacked(
            uint256(seller.low) << 224,
            uint256(seller.width) << 224,
            uint256(0x0001_0001) << 224,
            uint256(buyer.low) << 224,
            uint256(buyer.width) << 224,
            uint256(0x0002_0002) << 224
        );
        bytes memory details = abi.encodePacked(_detail(seller), _detailAt(8, buyer));
        bytes memory flows = abi.encodePacked(uint40(flow));
        try this.proveTwoNodes(cells, details, _rows(book), link, flows) returns (
            uint256 soldWh,
            uint256 boughtWh
        ) {
            assert(soldWh == boughtWh && soldWh == flow);
            int256 gain =
                int256(uint256(book.bid)) -
                    int256(uint256(book.ask)) -
                    int256(uint256(link.tariffMicroPerKWh));
            other &= 3;
            if (other <= book.askWh && other <= book.bidWh && other <= link.capacityWh) {
                int256 welfare = gain * int256(soldWh);
                int256 rival = gain * int256(uint256(other));
                assert(rival <= welfare);
                assert(rival < welfare || other <= soldWh);
            }
        } catch {}
    }

    /// @notice Lets the proof judge; returns what the two orders trade.
    function proveOneNode(
        bytes calldata cells,
        bytes calldata details,
        bytes calldata rows,
        uint8 holds
    ) external pure returns (uint256 soldWh, uint256 boughtWh) {
        ClearingProof.Tally memory tally = ClearingProof.open(1, 1, FLOOR, CAP, cells, details);
        soldWh = _add(tally, 0, rows, 0);
        boughtWh = _add(tally, 0, rows, 64);
        uint256 row = _offset(rows);
        if (holds & 1 != 0) tally.addSupport(0, 0, 0, row, false);
        if (holds & 2 != 0) tally.addSupport(0, 0, 0, row + 64, false);
        if (holds & 4 != 0) tally.addSupport(0, 0, 0, row, true);
        if (holds & 8 != 0) tally.addSupport(0, 0, 0, row + 64, true);
        tally.close();
    }

    /// @notice Lets the proof judge; returns what the two orders trade.
    function proveTwoNodes(
        bytes calldata cells,
        bytes calldata details,
        bytes calldata rows,
        Link memory link,
        bytes calldata flows
    ) external pure returns (uint256 soldWh, uint256 boughtWh) {
        ClearingProof.Tally memory tally = ClearingProof.open(2, 1, FLOOR, CAP, cells, details);
        soldWh = _add(tally, 0, rows, 0);
        boughtWh = _add(tally, 1, rows, 64);
        ClearingProof.Flow memory flow;
        flow.tail = 1;
        tally.addLink(link, flow, 1, _offset(flows), 5);
        tally.close();
    }

    /// @dev Adds the order whose row lies at `at`; returns its energy in the first period.
    function _add(
        ClearingProof.Tally memory tally,
        uint256 node,
        bytes calldata rows,
        uint256 at
    ) private pure returns (uint256 energyWh) {
        tally.addRow(node, 0, 1, _offset(rows) + at);
        ClearingProof.Trade memory trade;
        tally.takePosition(node, 2 ** 30 - 1, trade);
        uint256 words = tally.words;
        assembly ("memory-safe") {
            energyWh := shr(225, mload(words))
        }
    }

    function _offset(bytes calldata data) private pure returns (uint256 offset) {
        assembly ("memory-safe") {
            offset := data.offset
        }
    }

    /// @dev The dual bound at a price.
    function _bound(Book memory book, uint256 price) private pure returns (int256 bound) {
        if (price > book.ask) bound += int256(book.askWh * (price - book.ask));
        if (price < book.bid) bound += int256(book.bidWh * (book.bid - price));
    }

    function _rows(Book memory book) private pure returns (bytes memory) {
        return
            abi.encodePacked(
                uint256(book.ask) << 224,
                ((uint256(book.askWh) << 1) | 1) << 224,
                uint256(book.bid) << 224,
                (uint256(book.bidWh) << 1) << 224
            );
    }

    function _detail(Node memory node) private pure returns (bytes memory) {
        return _detailAt(0, node);
    }

    function _detailAt(uint16 cell, Node memory node) private pure returns (bytes memory) {
        return
            abi.encodePacked(
                cell | 0x8000,
                node.tail,
                uint64(node.askFill),
                uint64(node.askTotal),
                uint64(node.bidFill),
                uint64(node.bidTotal)
            );
    }

    function _bound(Book memory book) private pure {
        book.ask &= 3;
        book.bid &= 3;
        book.askWh &= 3;
        book.bidWh &= 3;
    }

    function _bound(Node memory node) private pure {
        node.low &= 3;
        node.width &= 3;
        node.askFill &= 3;
        node.askTotal &= 3;
        node.bidFill &= 3;
        node.bidTotal &= 3;
    }
}
