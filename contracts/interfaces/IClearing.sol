// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Link} from "../MarketTypes.sol";
import {IPeerRegistry} from "./IPeerRegistry.sol";

/// @title Clearing
/// @notice After gate closure the community manager, or after its exclusive window anyone, proposes the clearing of a
/// session. It is accepted if it is proved that no clearing is better, that its prices are the midpoint of the optimal
/// ones and that nothing else was chosen either (see `ClearingProof`), and is then final: bids pay and asks receive their
/// node's price, links earn their tariff for their owner and the congestion rent for the community fund.
///
/// A clearing may come in several parts, each with the orders of some peers, the peers ascending. What has been added up
/// is handed from part to part by the solver, who is held to it by a hash; nothing is booked before the last part. Every
/// solver has a draft of its own, so solvers do not disturb each other; a draft is begun anew at any time.
///
/// Nothing is stored or logged of single orders: who wants to know decodes the calldata of the transactions
/// (`fairwatt.calldata` does). All numbers are big-endian.
///
/// Format 1 of `orders`, one record after another, ascending by peer and nonce:
///
///     1 byte   kind: 0 signed, 1 placed, 2 flexible
///     4        peer
///     4        nonce
///     2        first block of the curve, a block is eight periods
///     2        number of blocks
///     2        number of rows
///     1        number of supports
///     64 * rows * blocks   the curve, as it is signed (see `Order`)
///     2 * supports         lanes whose limit is the lowest price of its cell, or with the highest bit set the highest;
///                          lane = (row * blocks + block) * 8 + period in the block
///     64       signature r, vs (EIP-2098), only of a signed order
///
/// A record of a flexible order goes on after its nonce with
///
///     32       its terms (see `FlexibleOrder`)
///     4 * periods          for each period of its window energyWh << 1, + 1 if it is charged
///     64       signature
///
/// In the proof it is a node of its own. These are numbered after the nodes of the network, in the order of the records.
///
/// `cells` and `details` are described at `ClearingProof.open`. `flows` has 5 bytes for each period and link: all links of
/// the first period, then of the second, ...
///
/// Requirements
/// C1  The order book is not paused; the session exists, its gate is closed, its clearing deadline is not over, it is not
///     cleared yet; until the exclusive window is over the market's manager proposes it. Anyone else could clear an empty
///     book at gate closure, so that no order that is not placed is ever traded; after the window the market needs no
///     manager.
/// C2  Every period names the network version in force when it starts, with the very links that were published.
/// C3  Orders, flexible ones among them, come sorted by peer and nonce, none twice, all of a peer in one part, and are well
///     formed.
/// C4  Every peer may trade in the market, on the sides that its role allows; every order is signed by the key of the
///     peer's wallet for this session (see `Signatures`) or placed, and not cancelled.
/// C5  Every placed order is among them.
/// C6  The clearing is proved (P1 to P11 of `ClearingProof`).
/// C7  Every peer can pay.
/// C8  A later part goes on from the solver's own earlier one, with the same proposal.
interface IClearing {
    /// @notice A network version as published, and for how many periods of the session it is in force.
    struct NetworkRun {
        uint32 version;
        uint16 periods;
        Link[] links;
    }

    /// @notice Prices and flows of a session, the same in every part.
    /// @param feeTo Account that receives the solver's fee from the fund; 0 if it is not taken.
    struct Proposal {
        uint32 market;
        uint40 sessionStart;
        uint32 feeTo;
        NetworkRun[] networks;
        bytes cells;
        bytes details;
        bytes flows;
    }

    /// @notice Orders of a part.
    /// @param rosters For each roster page that they meet, in their order, which of its rosters is in force; or 2^32 - 1,
    /// and the records are read from the registry one by one: dearer, but it needs no roster.
    struct Part {
        bytes orders;
        uint32[] rosters;
    }

    /// @notice What earlier parts came to; all zero in the first.
    /// @param sums Energy and marginal orders by cell, as `ClearingProof.carried` has them.
    /// @param payments Per peer that paid or received: peer in the highest 32 bits, nano-token in the lowest 64, signed.
    /// @param unlocks Likewise, nano-token locked for placed orders.
    struct Carried {
        bytes sums;
        uint256[] payments;
        uint256[] unlocks;
        bytes32 positionsHash;
        bytes32 ordersHash;
        uint32 orders;
        uint32 placed;
        uint32 flexible;
        uint64 lastOrder;
    }

    event SessionCleared(
        uint32 indexed market,
        uint40 indexed sessionStart,
        address indexed solver,
        uint256 orders,
        bytes32 positionsHash,
        bytes32 ordersHash,
        uint256 feeNano
    );
    /// @notice A part that is not the last was accepted; `carried` is what the next one goes on from.
    event PartAccepted(
        uint32 indexed market,
        uint40 indexed sessionStart,
        address indexed solver,
        Carried carried
    );
    event LinkEarned(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed owner,
        uint256 link,
        uint256 tariffNano,
        uint256 rentNano
    );

    /// @notice C1: the guardian has paused the order book.
    error ClearingPaused();
    /// @notice C1
    error GateStillOpen(uint32 market, uint40 sessionStart, uint256 gateClosure);
    /// @notice C1
    error ManagersTurn(uint32 market, uint40 sessionStart, address manager, uint256 deadline);
    /// @notice C1
    error ClearingTooLate(uint32 market, uint40 sessionStart, uint256 deadline);
    /// @notice C1
    error AlreadyCleared(uint32 market, uint40 sessionStart);
    /// @notice C2: the networks do not cover the periods of the session exactly.
    error PeriodCountMismatch(uint256 expected, uint256 actual);
    /// @notice C2: the links are not those that were published as this version.
    error NetworkAltered(uint16 network, uint32 version);
    /// @notice C2: one flow for each period and link.
    error FlowCountMismatch(uint256 expectedBytes, uint256 actualBytes);
    /// @notice C3: the record that begins here is cut off, of an unknown kind or of peer 0, has no curve, or names a lane
    /// beyond its curve; or its window does not lie in the session, or it wants less than it has or more than it holds.
    error OrdersMalformed(uint256 offset);
    /// @notice C3, C8: or an earlier part has orders of this peer.
    error OrdersUnsorted(uint32 peer, uint32 nonce);
    /// @notice C3: the peers need more rosters than the part names.
    error RosterMissing(uint256 page);
    /// @notice C4: the peer is unknown, suspended or has left, or is connected to another network.
    error PeerNotInMarket(uint32 peer);
    /// @notice C4: a consumer does not sell, a producer does not buy, an operator does neither.
    error SideNotAllowed(uint32 peer, IPeerRegistry.Role role, bool sells, bool buys);
    /// @notice C4
    error OrderSignerMismatch(uint32 peer, uint32 nonce, address signer);
    /// @notice C8
    error NotTheDraft(bytes32 expected, bytes32 actual);

    /// @notice Proposes a clearing, whole or in parts.
    /// @param before What earlier parts came to, as `PartAccepted` says; with empty sums a draft is begun.
    /// @param isLast Whether all orders are in: then the clearing is checked as a whole, booked, and final.
    function clear(
        Proposal calldata proposal,
        Part calldata part,
        Carried calldata before,
        bool isLast
    ) external;

    /// @notice Chained hash over the position leaves of a cleared session, in order of the peers: h = keccak256(h, leaf)
    /// from h = 0. A leaf is the peer in the highest 32 bits, and the highest 224 bits of the hash of its position, one
    /// word of eight periods for each block. 0 if the session is not cleared, 1 if it is and nobody traded.
    function positionsHash(uint32 market, uint40 sessionStart) external view returns (bytes32);

    /// @notice Chained hash over the EIP-712 hashes of the orders in a clearing, in their order.
    function ordersHash(uint32 market, uint40 sessionStart) external view returns (bytes32);

    /// @notice What a solver's draft of a session is held to; 0 if there is none.
    function draft(
        address solver,
        uint32 market,
        uint40 sessionStart
    ) external view returns (bytes32);
}
