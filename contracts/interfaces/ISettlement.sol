// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Reconciliation
/// @notice After delivery, anyone brings the meters' signed readings of a session; what they differ from the positions
/// of its clearing is bought or sold at the tariffs of the peer's supplier.
///
/// A reading that is still missing after the reading window is estimated: the peer is taken to have bought what its
/// position says and to have delivered nothing, so that nobody is paid for energy no meter saw. What a peer took beyond
/// its position stays unbilled until its reading comes. A signed reading that comes before the settlement deadline
/// replaces the estimate, and the difference is settled.
///
/// Requirements
/// S1  The session is over, its settlement deadline is not, and it is cleared or can no longer be.
/// S2  The positions are those of the clearing.
/// S3  Every reading is signed by the meter of a metered peer and has one value per period. What has no value stands for
///     a missing reading, which is estimated once its reading window is over.
/// S4  A peer's reading of a session is settled once, and estimated at most once before. What comes again is passed
///     over, or else anyone could spoil a reconciliation by settling one of its readings first.
/// S5  No reading exceeds the rating of the peer's connection.
/// S6  What a peer traded continuously (`ITrades`) counts as if it had been cleared: readings are settled, and missing
///     ones estimated, against the sum of both.
///
/// # Energies
///
/// The energies of a session are ceil(periods / 8) words of eight lanes of 32 bits: lane i of word k, the first being
/// the most significant, is period 8k + i and holds |energyWh| << 1 | negative. What is injected or sold is positive.
/// Lanes beyond the last period are 0.
///
/// # Leaves
///
/// The leaf of a position is its peer in 32 bits, then the upper 224 bits of the hash of its words:
/// peer << 224 | keccak256(words) >> 32. The clearing keeps the chain of them, in order of the peers:
/// h = 0, then h = keccak256(h || leaf) for each; 1 if there is none.
///
/// # Readings
///
/// Layout 1: the byte 1, then one record after the other, most significant byte first and nothing in between:
///
///     1 byte    flags      kind (0 estimate, 1 secp256k1, 2 P-256), + 4 if the peer has a position
///     4 bytes   peer
///     4 bytes   leaf       index of the peer's leaf, or, if it has no position, of the first leaf of a later peer
///     4 bytes   tariff     index of its supplier's tariff in force at the start of the session
///     words     position   only if it has one
///     words     reading    not in an estimate
///     bytes     signature  secp256k1: 64 bytes r, vs (EIP-2098); P-256: 128 bytes r, s, and the key qx, qy
///
/// Every s is in the lower half of its range. The meter of a P-256 key is known in the registry by the last 20 bytes of
/// keccak256(qx || qy), as that of a secp256k1 key is by its address.
///
/// The events carry amounts only: leaves, positions, readings and signatures are in the calldata of the transaction that
/// `ReadingsBrought` belongs to.
interface ISettlement {
    /// @notice Readings were brought; all that was settled of them follows from the calldata.
    /// @param by Calling account; if it has code, the call is inside the transaction.
    /// @param records How many there were, those passed over among them.
    event ReadingsBrought(
        uint32 indexed market,
        uint40 indexed sessionStart,
        address indexed by,
        uint256 records
    );
    /// @param imbalanceNano What the peer receives from its supplier (positive) or owes it (negative) for the session.
    /// @param estimatedNano What was settled of it before, by an estimate.
    event ReadingSettled(
        uint32 indexed market,
        uint40 indexed sessionStart,
        uint32 indexed peer,
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

    /// @notice S1
    error SessionNotOver(uint32 market, uint40 sessionStart, uint256 end);
    /// @notice S1
    error SettlementTooLate(uint32 market, uint40 sessionStart, uint256 deadline);
    /// @notice S1
    error ClearingStillPossible(uint32 market, uint40 sessionStart, uint256 deadline);
    /// @notice S2: the leaves are not those of the clearing.
    error PositionsMismatch(bytes32 expected, bytes32 actual);
    /// @notice S2: the leaf at this index is another peer's or of other words, or the peer's own is elsewhere.
    error WrongPosition(uint32 peer, uint256 leaf);
    /// @notice The readings do not start with the number of a layout.
    error UnknownLayout(uint256 layout);
    /// @notice No record starts with these flags.
    error UnknownRecord(uint256 record, uint256 flags);
    /// @notice The last record is longer than what there is of it.
    error RecordTruncated(uint256 record, uint256 expectedBytes, uint256 actualBytes);
    /// @notice S3: the peer has no meter, or was not admitted yet.
    error PeerNotMetered(uint32 peer);
    /// @notice S3: the signature is of the key with this address, or of none.
    error ReadingSignerMismatch(uint32 peer, address signer);
    /// @notice S3: the reading has a value beyond the last period.
    error ReadingBeyondSession(uint32 peer);
    /// @notice S3
    error ReadingStillAwaited(uint32 peer, uint40 sessionStart, uint256 deadline);
    /// @notice S5
    error ReadingImplausible(uint32 peer, uint256 period, int256 energyWh, uint256 limitWh);
    /// @notice No account could hold what the peer receives or owes.
    error PaymentTooLarge(uint32 peer, int256 amountNano);

    /// @notice Settles readings of a session against its positions; the events say which of them were not settled yet.
    /// @param leaves Of all positions of the session, in order of the peers; empty if it was not cleared.
    /// @param readings Records as above.
    function reconcile(
        uint32 market,
        uint40 sessionStart,
        bytes32[] calldata leaves,
        bytes calldata readings
    ) external;

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

    /// @notice The EIP-712 digest a meter signs, of
    /// `Reading(uint32 market,uint32 peer,uint40 sessionStart,bytes energyWh)`.
    /// @param energyWh The words.
    function readingDigest(
        uint32 market,
        uint32 peer,
        uint40 sessionStart,
        bytes calldata energyWh
    ) external view returns (bytes32);
}

/// @title What the reconciliation asks of the clearing
interface IClearedPositions {
    /// @notice Hash over the positions of a cleared session; 0 if it is not cleared, 1 if it has none.
    function positionsHash(uint32 market, uint40 sessionStart) external view returns (bytes32);
}

/// @title What the reconciliation asks of continuous trading
interface ITradedPositions {
    /// @notice Who traded in a session: bit (peer mod 256) is set for every peer that did. 0 if nobody did.
    function traders(uint32 market, uint40 sessionStart) external view returns (uint256);

    /// @notice Adds what a peer traded to a position of the session.
    /// @param position Words of eight lanes, as `ISettlement` has them, for the session or the first part of it.
    /// @return total As many words.
    function withTraded(
        uint32 market,
        uint40 sessionStart,
        uint32 peer,
        bytes calldata position
    ) external view returns (bytes memory total);
}
