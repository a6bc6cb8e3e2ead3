// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// The words every contract shares. Energy in Wh, prices in micro-token per kWh (1e-6 token/kWh), values in
// nano-token (1e-9 token): Wh times micro-token/kWh is nano-token exactly, so nothing is ever rounded. Times are
// UTC Unix seconds.

/// @dev Positions hash of a session that is cleared and in which nobody has a position.
bytes32 constant NO_POSITIONS = bytes32(uint256(1));

/// @notice What a step wants: `Bid` buys, `Ask` sells.
enum Side {
    Bid,
    Ask
}

/// @notice A peer's curve of price and energy steps for one session of a market. Signed as EIP-712 typed data by
/// the peer's wallet, in the domain of the order book; a clearing reads the very bytes that were signed.
///
/// A block is eight consecutive periods of the session: block k has the periods 8k to 8k + 7. A word of 256 bits has a
/// lane of 32 bits for each of them, the first in the highest bits. The curve is a sequence of rows, each with two words
/// for every block, one after the other: limit prices in micro-token per kWh (int32; a bid pays at most this, an ask
/// receives at least this), and steps, energyWh << 1 | 1 for an ask, | 0 for a bid, with energyWh below 2^31. A lane
/// without a step is zero in both words. So a period has as many steps as there are rows, or less.
///
/// What takes an order of either kind takes it in this shape: a flexible one has no blocks, and its terms for a curve, packed
/// into a word (see `FlexibleOrder`). It is hashed and signed as a `FlexibleOrder` nevertheless.
/// @param peer Identifier in the peer registry; the peer trades at its node.
/// @param sessionStart Start of the first period of the session.
/// @param nonce Tells the orders of a peer for one session apart; any order, gaps allowed.
/// @param firstBlock The first block that the curve is for.
/// @param blocks How many it is for; 0 for a flexible order.
/// @param curve 64 bytes for each block and row.
struct Order {
    uint32 market;
    uint32 peer;
    uint40 sessionStart;
    uint32 nonce;
    uint16 firstBlock;
    uint16 blocks;
    bytes curve;
}

/// @notice What a storage or a vehicle of a peer may do in one session; the clearing finds when. Signed as EIP-712 typed
/// data like `Order`, with which it shares the nonces. In each of its periods it charges or discharges at the peer's
/// node; what it holds after the last one is bought by its owner, up to `wantedWh`, at `valueMicroPerKWh`. So a vehicle
/// starts with 0, wants what it needs and does not discharge; a battery starts with and wants what it holds.
///
/// Clearings and receipts have the terms in one word, from `firstPeriod` in the highest bits to `valueMicroPerKWh` in the
/// lowest.
/// @param firstPeriod Of its window; 0 is the first of the session.
/// @param periods Length of its window, at least 1.
/// @param chargeWh Most that it takes in one period.
/// @param dischargeWh Most that it gives in one period.
/// @param capacityWh Most that it holds from a period to the next.
/// @param wearMicroPerKWh Cost of discharging. A preference: it is paid to nobody.
/// @param startWh Holds at the start; at most `wantedWh`.
/// @param wantedWh Most that is of value at the end; at most `capacityWh`.
/// @param valueMicroPerKWh Value of what it holds at the end. A preference: it is paid by nobody.
struct FlexibleOrder {
    uint32 market;
    uint32 peer;
    uint40 sessionStart;
    uint32 nonce;
    uint16 firstPeriod;
    uint16 periods;
    uint32 chargeWh;
    uint32 dischargeWh;
    uint32 capacityWh;
    uint32 wearMicroPerKWh;
    uint32 startWh;
    uint32 wantedWh;
    int32 valueMicroPerKWh;
}

/// @notice A directed connection over which energy may flow from `source` to `target`.
/// @param owner Account that earns the tariff; 0 is the community fund.
/// @param tariffMicroPerKWh Charge for each kWh that flows.
/// @param capacityWh Most energy in one period.
struct Link {
    uint16 source;
    uint16 target;
    uint32 owner;
    uint32 tariffMicroPerKWh;
    uint40 capacityWh;
}

/// @notice The terms of a market, fixed when it is created.
/// @param network Network in the peer registry whose nodes and links the market trades over.
/// @param periodSeconds Length of a delivery period: 900, 1800 or 3600.
/// @param periodsPerSession Number of consecutive periods with one gate closure and one clearing, at most 127.
/// @param maxPlacedBlocks Most blocks, counted in every row of its curve, of an order that is placed on chain; at most 4096.
/// @param firstSessionStart Start of the first session; the others follow without gaps.
/// @param gateLeadSeconds Gate closure is this long before the session starts.
/// @param clearingWindowSeconds How long after gate closure a clearing may be proposed.
/// @param readingWindowSeconds How long after the session's end readings are awaited before missing ones are estimated.
/// @param settlementWindowSeconds How long after the session's end readings are settled.
/// @param exclusiveWindowSeconds How long after gate closure only the manager may propose a clearing.
/// @param manager The community manager; zero if anyone may propose from the start.
/// @param solverFeeNano Paid from the community fund, as far as it goes, to whoever brings the clearing of a session.
struct Market {
    uint16 network;
    uint16 periodSeconds;
    uint16 periodsPerSession;
    uint16 maxPlacedBlocks;
    uint40 firstSessionStart;
    uint32 gateLeadSeconds;
    uint32 clearingWindowSeconds;
    uint32 readingWindowSeconds;
    uint32 settlementWindowSeconds;
    uint32 exclusiveWindowSeconds;
    address manager;
    uint64 solverFeeNano;
}
