// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITradedPositions} from "./ISettlement.sol";
import {Side} from "../MarketTypes.sol";

/// @title Continuous trading
/// @notice From gate closure to delivery peers of one node trade on: whoever has two signed orders that cross brings
/// them, and they settle at once at the limit price of the one that rested. An order may trade in many parts, with many
/// others. What a peer trades here adds to what it was cleared for; readings are settled against the sum.
///
/// # Which order rests
///
/// The price is that of the order that rested, so it must not be for whoever brings two orders to say which one did. An
/// order therefore says by itself from when on it rests, `restsFrom`. Before that time it is incoming: it trades with
/// orders that rest, at their prices, and cannot be traded with as one that rests. From then on it rests: it trades at
/// its own price with incoming orders, and cannot take. A trade needs one of each, so of two orders the one with the
/// earlier `restsFrom` rests, whenever and by whomever they are brought, and two that rest, or two that are incoming, do
/// not trade. All of this is signed, and nothing has to be announced on chain.
///
/// Nobody gains by a false time: to be incoming longer means to be found by nobody meanwhile, to rest at once means to
/// take nothing. 0 rests from the start (a maker); a time after `validUntil` never rests (immediate or cancel); a minute
/// from now is an order of a continuous double auction, which takes what there is and then rests.
///
/// Of several orders that cross, whoever brings them chooses the two. A peer that wants the best resting price sets it as
/// its limit: then it gets this price, a better one, or nothing. Who wants one peer and no other names it (OTC).
///
/// Requirements
/// T1  The session is one of a known market; from its gate closure on, when no order enters or leaves its auction, until
///     the first of the traded periods begins. So positions are final when the session ends. The guardian who stops the
///     placing of orders (`IOrderBook`) stops trading with it.
/// T2  Both orders are for the same periods of the same session, on opposite sides, and the bid's limit is at least the
///     ask's. Limits lie within floor and cap of the network.
/// T3  One order rests and the other is incoming, by their own words, and neither has expired.
/// T4  Peers are active and connected to the market's network at the same node, as of the session: energy between nodes
///     needs links, whose capacities only a clearing can share out. A peer does not trade with itself, nor on a side that
///     its role does not allow, nor with another than the order names.
/// T5  Each order is signed by the key of its peer's wallet, or accepted by the wallet's code (see `Signatures`): it is
///     asked once and what it answers is final.
/// T6  In all trades under a nonce of a peer no more is traded in each period than the energy of the order, and nothing
///     once the peer has cancelled it. Nonces count per peer, over all sessions and markets.
/// T7  What a peer bought less what it sold in these trades is, in every period, no more than its connection carries.
/// T8  The seller receives energy times the resting order's limit from the buyer, or pays it where that is negative, at
///     once and from what is free of its funds (see `ILedger`).
/// T9  Only the peer cancels its orders.
interface ITrades is ITradedPositions {
    /// @notice A limit order for some periods of a session. Signed as EIP-712 typed data by the peer's wallet, in the
    /// domain of this contract.
    /// @param nonce Tells the orders of a peer apart. What is traded counts per nonce: an order that replaces another under
    /// its nonce goes on where that one was.
    /// @param periods Number of consecutive periods, from `firstPeriod` on: the product.
    /// @param priceMicroPerKWh A bid pays at most this, an ask receives at least this.
    /// @param energyWh Energy in each of the periods, in all trades together.
    /// @param restsFrom First second in which the order rests; before, it is incoming.
    /// @param validUntil Last second in which the order trades.
    /// @param counterparty The only peer the order trades with; 0 if it trades with any.
    struct ContinuousOrder {
        uint32 market;
        uint32 peer;
        uint40 sessionStart;
        uint32 nonce;
        uint16 firstPeriod;
        uint16 periods;
        Side side;
        int32 priceMicroPerKWh;
        uint32 energyWh;
        uint40 restsFrom;
        uint40 validUntil;
        uint32 counterparty;
    }

    /// @param signature 65 bytes r, s, v of the wallet's key, or what the wallet's code accepts (ERC-1271).
    struct SignedContinuousOrder {
        ContinuousOrder order;
        bytes signature;
    }

    /// @notice What was traded.
    /// @param sellerRests Whose order rested and made the price.
    /// @param energyWh In each period.
    struct Trade {
        uint32 seller;
        uint32 sellerNonce;
        uint32 buyer;
        uint32 buyerNonce;
        uint16 firstPeriod;
        uint16 periods;
        bool sellerRests;
        int32 priceMicroPerKWh;
        uint32 energyWh;
    }

    event Traded(uint32 indexed market, uint40 indexed sessionStart, Trade trade);
    event ContinuousOrderCancelled(uint32 indexed peer, uint32 nonce);

    /// @notice T1
    error TradingStopped();
    /// @notice T1
    error TradingNotOpen(uint32 market, uint40 sessionStart, uint256 opens);
    /// @notice T1
    error TradingClosed(uint32 market, uint40 sessionStart, uint256 closes);
    /// @notice T1: the order is for no period, or for one that the session does not have.
    error PeriodsNotOfSession(uint256 firstPeriod, uint256 periods, uint256 sessionPeriods);
    /// @notice T2: market, session or periods of the two orders differ.
    error ProductsDiffer();
    /// @notice T2: both orders bid, or both ask.
    error SidesEqual(Side side);
    /// @notice T2
    error PricesDoNotCross(int32 bidMicroPerKWh, int32 askMicroPerKWh);
    /// @notice T3: the order that is brought as the resting one is still incoming.
    error OrderNotResting(uint32 peer, uint32 nonce, uint256 restsFrom);
    /// @notice T3: the order that is brought as the incoming one rests.
    error OrderNotIncoming(uint32 peer, uint32 nonce, uint256 restsFrom);
    /// @notice T3
    error OrderExpired(uint32 peer, uint32 nonce, uint256 validUntil);
    /// @notice T4
    error TradeWithItself(uint32 peer);
    /// @notice T4
    error NotTheCounterparty(uint32 peer, uint32 nonce, uint32 counterparty);
    /// @notice T4
    error NodesDiffer(
        uint32 restingPeer,
        uint16 restingNode,
        uint32 incomingPeer,
        uint16 incomingNode
    );
    /// @notice T5
    error WrongSigner(uint32 peer, uint32 nonce);
    /// @notice T6
    error OrderIsCancelled(uint32 peer, uint32 nonce);
    /// @notice T6: so much is left of the order.
    error OrderExceeded(uint32 peer, uint32 nonce, uint256 energyWh, uint256 leftWh);
    /// @notice T6: a trade of nothing.
    error EnergyZero();
    /// @notice T9
    error NotThePeer(address caller);

    /// @notice Trades two orders that cross; anyone may bring them.
    /// @param energyWh How much, in each period.
    function trade(
        SignedContinuousOrder calldata resting,
        SignedContinuousOrder calldata incoming,
        uint32 energyWh
    ) external;

    /// @notice The calling peer cancels its orders with this nonce, for good.
    function cancel(uint32 nonce) external;

    /// @notice What was traded under a nonce, in each period; 2^32 - 1 if it is cancelled.
    function tradedWh(uint32 peer, uint32 nonce) external view returns (uint32);

    /// @notice The EIP-712 digest a wallet signs.
    function orderDigest(ContinuousOrder calldata order) external view returns (bytes32);

    function domainSeparator() external view returns (bytes32);
}
