// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// The words every contract shares. Energy in Wh, prices in micro-token per kWh (1e-6 token/kWh), values in
// nano-token (1e-9 token): Wh times micro-token/kWh is nano-token exactly, so nothing is ever rounded. Times are
// UTC Unix seconds.

/// @notice What a step wants: `Bid` buys, `Ask` sells.
enum Side {
    Bid,
    Ask
}

/// @notice A peer's curve of prices and energies for one session of a market. Signed as EIP-712 typed data by the peer's
/// wallet, in the domain of the order book.
/// @param peer Identifier in the peer registry.
/// @param node Where the peer trades: the index of its node in the market's network.
/// @param sessionStart Start of the first period of the session.
/// @param nonce Tells the orders of a peer for one session apart; any order, gaps allowed.
/// @param firstBlock First block of the curve. A block is eight periods of the session: block k has periods 8k to 8k + 7.
/// @param blocks Number of blocks.
/// @param curve Rows, each with two words of eight lanes (32 bits, the first in the highest bits) for each block: limit
/// prices in micro-token per kWh, signed; and steps, which are energies in Wh times two, plus one for an ask. A bid pays at
/// most its limit, an ask receives at least that; 0 is no step. Several rows are several steps for each period.
struct Order {
    uint32 market;
    uint32 peer;
    uint16 node;
    uint40 sessionStart;
    uint32 nonce;
    uint16 firstBlock;
    uint16 blocks;
    bytes curve;
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
/// @param periodsPerSession Number of consecutive periods with one gate closure and one clearing.
/// @param maxPlacedSteps Most steps a peer can have placed on chain for one session.
/// @param firstSessionStart Start of the first session; the others follow without gaps.
/// @param gateLeadSeconds Gate closure is this long before the session starts.
/// @param clearingWindowSeconds How long after gate closure a clearing may be proposed.
/// @param readingWindowSeconds How long after the session's end readings are awaited before missing ones are estimated.
/// @param settlementWindowSeconds How long after the session's end readings are settled.
/// @param exclusiveWindowSeconds How long after gate closure only the manager may propose a clearing.
/// @param manager The community manager; zero if anyone may propose from the start.
struct Market {
    uint16 network;
    uint16 periodSeconds;
    uint16 periodsPerSession;
    uint16 maxPlacedSteps;
    uint40 firstSessionStart;
    uint32 gateLeadSeconds;
    uint32 clearingWindowSeconds;
    uint32 readingWindowSeconds;
    uint32 settlementWindowSeconds;
    uint32 exclusiveWindowSeconds;
    address manager;
}
