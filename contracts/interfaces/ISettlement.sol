// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Clearing and reconciliation
/// @notice After gate closure the community manager, or after its exclusive window anyone, proposes the clearing of
/// a session. It is accepted if it is proved optimal
/// (see `ClearingProof`), and then final: bids pay and asks receive their node's price, links earn their tariff for
/// their owner and the congestion rent for the community fund. After delivery, anyone brings the meters' signed
/// readings; what they differ from the positions is bought or sold at the tariffs of the peer's supplier.
///
/// A reading that is still missing after the reading window is estimated: the peer is taken to have bought what its
/// position says and to have delivered nothing, so that nobody is paid for energy no meter saw. What a peer took beyond
/// its position stays unbilled until its reading comes. A signed reading that comes before the settlement deadline
/// replaces the estimate, and the difference is settled.
///
/// Requirements of a clearing
/// C1  The session exists, its gate is closed, its clearing deadline is not over, it is not cleared yet; until the
///     exclusive window is over the market's manager proposes it. Anyone else could clear an empty book at gate
///     closure, so that no order that is not placed is ever traded; after the window the market needs no manager.
/// C2  Every period names the network version in force when it starts, with the very links that were published.
/// C3  Orders come sorted by peer and nonce, none twice, all for this session, each with one fill per step.
/// C4  Every order is admissible (see `Orders`), signed by the key of its peer's wallet (see `Signatures`) or placed,
///     and not cancelled.
/// C5  Every placed order is among them.
/// C6  Every period is proved optimal.
/// C7  Every peer can pay.
///
/// Requirements of a reconciliation
/// S1  The session is over, its settlement deadline is not, and it is cleared or can no longer be.
/// S2  The positions are those of the clearing.
/// S3  Every reading is signed by the meter of a metered peer and has one value per period; without a signature it
///     has none and stands for a missing one, which is estimated once its reading window is over.
/// S4  A peer's reading of a session is settled once, and estimated at most once before. What comes again is passed
///     over, or else anyone could spoil a reconciliation by settling one of its readings first.
/// S5  No reading exceeds the rating of the peer's connection.
interface ISettlement {
    /// @notice What a peer sold (positive) or bought (negative) in each period of a session.
    struct Position {
        uint32 peer;
        int48[] energyWh;
    }

    /// @notice A meter's reading of each period of a session, as brought to a reconciliation.
    /// @param position Index of the peer's position, or, if it has none, where it would have to be.
    /// @param tariff Index of its supplier's tariff in force at the start of the session.
    /// @param energyWh Injected (positive) or taken (negative) in each period; empty for an estimate.
    /// @param signature Empty for an estimate, or 65 bytes r, s, v of the meter over the EIP-712 message
    /// `Reading(uint32 market,uint32 peer,uint40 sessionStart,int48[] energyWh)`.
    struct MeterReading {
        uint32 peer;
        uint32 position;
        uint32 tariff;
        int48[] energyWh;
        bytes signature;
    }

    event PeriodCleared(
        uint32 indexed market,
        uint40 indexed periodStart,
        int32[] pricesMicroPerKWh,
        uint40[] flowsWh,
        int256 welfare
    );
    event LinkEarned(
        uint32 indexed market,
        uint40 indexed periodStart,
        uint32 indexed owner,
        uint256 link,
        uint256 tariffNano,
        uint256 rentNano
    );
    event PositionTaken(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        int48[] energyWh,
        int256 paymentNano
    );
    event SessionCleared(
        uint32 indexed market,
        uint40 indexed sessionStart,
        address indexed solver,
        uint256 orders,
        bytes32 positionsHash
    );
    /// @param imbalanceNano What the peer receives from its supplier (positive) or owes it (negative) for the session.
    /// @param estimatedNano What was settled of it before, by an estimate.
    event ReadingSettled(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        int48[] energyWh,
        int256 imbalanceNano,
        int256 estimatedNano
    );
    /// @param imbalanceNano What the peer owes its supplier until its reading comes (negative, or 0).
    event ReadingEstimated(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
        int256 imbalanceNano
    );

    /// @notice C1
    error GateStillOpen(uint32 market, uint40 sessionStart, uint256 gateClosure);
    /// @notice C1
    error ManagersTurn(uint32 market, uint40 sessionStart, address manager, uint256 deadline);
    /// @notice C1
    error ClearingTooLate(uint32 market, uint40 sessionStart, uint256 deadline);
    /// @notice C1
    error AlreadyCleared(uint32 market, uint40 sessionStart);
    /// @notice C2, C6: one proof per period of the session.
    error PeriodCountMismatch(uint256 expected, uint256 actual);
    /// @notice C2: the period names a network that the proposal does not bring.
    error NetworkMissing(uint256 period, uint256 network);
    /// @notice C2: the links are not those that were published as this version.
    error NetworkAltered(uint16 network, uint32 version);
    /// @notice C3
    error OrdersUnsorted(uint32 peer, uint32 nonce);
    /// @notice C3
    error OrderOfAnotherSession(uint32 peer, uint32 nonce);
    /// @notice C3
    error FillCountMismatch(uint32 peer, uint32 nonce, uint256 steps, uint256 fills);
    /// @notice C4
    error OrderSignerMismatch(uint32 peer, uint32 nonce, address signer);
    /// @notice S1
    error SessionNotOver(uint32 market, uint40 sessionStart, uint256 end);
    /// @notice S1
    error SettlementTooLate(uint32 market, uint40 sessionStart, uint256 deadline);
    /// @notice S1
    error ClearingStillPossible(uint32 market, uint40 sessionStart, uint256 deadline);
    /// @notice S2
    error PositionsMismatch(bytes32 expected, bytes32 actual);
    /// @notice S2: the position at this index is another peer's, or the peer's own is elsewhere.
    error WrongPosition(uint32 peer, uint256 position);
    /// @notice S3: the peer has no meter, or was not admitted yet.
    error PeerNotMetered(uint32 peer);
    /// @notice S3
    error ReadingCountMismatch(uint32 peer, uint256 periods, uint256 values);
    /// @notice S3
    error ReadingSignerMismatch(uint32 peer, address signer);
    /// @notice S3
    error ReadingStillAwaited(uint32 peer, uint40 sessionStart, uint256 deadline);
    /// @notice S5
    error ReadingImplausible(uint32 peer, uint256 period, int48 energyWh, uint256 limitWh);

    /// @notice Settles readings of a session against its positions; the events say which of them were not settled yet.
    /// @param positions All positions of the session, as in its clearing; empty if it was not cleared.
    function reconcile(
        uint32 market,
        uint40 sessionStart,
        Position[] calldata positions,
        MeterReading[] calldata readings
    ) external;

    /// @notice Hash over the positions of a cleared session; 0 if it is not cleared.
    function positionsHash(uint32 market, uint40 sessionStart) external view returns (bytes32);

    /// @notice Whether a peer's signed reading is settled.
    function isReadingSettled(
        uint32 market,
        uint40 sessionStart,
        uint32 peer
    ) external view returns (bool);

    /// @notice Whether a peer's reading was missing and is estimated; a signed one may have replaced it since.
    function isReadingEstimated(
        uint32 market,
        uint40 sessionStart,
        uint32 peer
    ) external view returns (bool);

    /// @notice The EIP-712 digest a meter signs.
    function readingDigest(
        uint32 market,
        uint32 peer,
        uint40 sessionStart,
        int48[] calldata energyWh
    ) external view returns (bytes32);
}
