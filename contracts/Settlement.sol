// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRules} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IOrderBook} from "./interfaces/IOrderBook.sol";
import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {Market} from "./MarketTypes.sol";
import {Orders} from "./Orders.sol";
import {Sessions} from "./Sessions.sol";
import {Signatures} from "./Signatures.sol";

/// @title Clearing and reconciliation
/// @notice Specified in `ISettlement`.
contract Settlement is ISettlement, AccessControlDefaultAdminRules, EIP712, Pausable {
    using BitMaps for BitMaps.BitMap;
    using Orders for IPeerRegistry.Peer;
    using Sessions for Market;

    /// @notice Pauses and resumes clearings.
    bytes32 public constant GUARDIAN_ROLE = keccak256("GUARDIAN_ROLE");

    bytes32 private constant READING_TYPEHASH = keccak256(
        "Reading(uint32 market,uint32 peer,uint40 sessionStart,int48[] energyWh)"
    );

    /// @notice Says who trades where, over which links, at which tariffs.
    IPeerRegistry public immutable REGISTRY;
    /// @notice Books what a clearing and a reconciliation come to.
    ILedger public immutable LEDGER;
    /// @notice Knows the markets and the orders that must be cleared.
    IOrderBook public immutable ORDER_BOOK;

    /// @inheritdoc ISettlement
    mapping(uint32 market => mapping(uint40 sessionStart => bytes32)) public positionsHash;
    mapping(uint32 market => mapping(uint40 sessionStart => BitMaps.BitMap))
        private _settledReadings;
    mapping(uint32 market => mapping(uint40 sessionStart => BitMaps.BitMap))
        private _estimatedReadings;

    /// @notice One peer's session while its reading is settled.
    /// @param tariffs Its supplier's, per period.
    /// @param positionWh Per period: sold positive, bought negative.
    struct PeerSession {
        Market terms;
        uint32 market;
        uint40 sessionStart;
        IPeerRegistry.Peer peer;
        IPeerRegistry.Tariff[] tariffs;
        int256[] positionWh;
    }

    /// @param admin Grants the roles; handing it on takes `adminDelaySeconds`.
    constructor(
        address admin,
        uint48 adminDelaySeconds,
        IPeerRegistry registry,
        ILedger ledger,
        IOrderBook orderBook
    ) AccessControlDefaultAdminRules(adminDelaySeconds, admin) EIP712("Fairwatt", "1") {
        REGISTRY = registry;
        LEDGER = ledger;
        ORDER_BOOK = orderBook;
    }

    /// @notice Stops clearings.
    function pause() external onlyRole(GUARDIAN_ROLE) {
        _pause();
    }

    /// @notice Lets sessions be cleared again.
    function unpause() external onlyRole(GUARDIAN_ROLE) {
        _unpause();
    }

    // ------------------------------------------------------------------------------------------------ reconciliation

    /// @inheritdoc ISettlement
    function reconcile(
        uint32 market,
        uint40 sessionStart,
        Position[] calldata positions,
        MeterReading[] calldata readings
    ) external {
        Market memory terms = ORDER_BOOK.marketTerms(market);
        _requireReconcilable(terms, market, sessionStart); // S1
        _requirePositions(market, sessionStart, positions); // S2
        ILedger.Payment[] memory payments = new ILedger.Payment[](readings.length);
        for (uint256 r; r < readings.length; ++r) {
            payments[r] = _settleReading(terms, market, sessionStart, positions, readings[r]);
        }
        LEDGER.bookImbalances(payments);
    }

    function _requireReconcilable(
        Market memory terms,
        uint32 market,
        uint40 sessionStart
    ) private view {
        terms.requireSession(sessionStart);
        uint256 end = terms.end(sessionStart);
        uint256 deadline = terms.settlementDeadline(sessionStart);
        uint256 clearingDeadline = terms.clearingDeadline(sessionStart);
        require(block.timestamp >= end, SessionNotOver(market, sessionStart, end));
        require(block.timestamp <= deadline, SettlementTooLate(market, sessionStart, deadline));
        require(
            positionsHash[market][sessionStart] != 0 || block.timestamp > clearingDeadline,
            ClearingStillPossible(market, sessionStart, clearingDeadline)
        );
    }

    function _requirePositions(
        uint32 market,
        uint40 sessionStart,
        Position[] calldata positions
    ) private view {
        bytes32[] memory leaves = new bytes32[](positions.length);
        for (uint256 i; i < leaves.length; ++i) {
            leaves[i] = keccak256(abi.encodePacked(positions[i].peer, positions[i].energyWh));
        }
        bytes32 hash = keccak256(abi.encodePacked(leaves));
        bytes32 expected = positionsHash[market][sessionStart];
        if (expected == 0) expected = keccak256(""); // a session that was not cleared has no positions
        require(hash == expected, PositionsMismatch(expected, hash));
    }

    /// @dev What one reading, or the lack of it, makes the peer and its supplier pay each other.
    function _settleReading(
        Market memory terms,
        uint32 market,
        uint40 sessionStart,
        Position[] calldata positions,
        MeterReading calldata reading
    ) private returns (ILedger.Payment memory) {
        uint32 id = reading.peer;
        PeerSession memory session;
        session.terms = terms;
        session.market = market;
        session.sessionStart = sessionStart;
        session.peer = REGISTRY.peerAt(id, sessionStart);
        require(session.peer.meter != address(0), PeerNotMetered(id));
        bool isEstimate = reading.signature.length == 0;
        if (
            _settledReadings[market][sessionStart].get(id) ||
            (isEstimate && _estimatedReadings[market][sessionStart].get(id))
        ) return ILedger.Payment(id, session.peer.supplier, 0);
        session.positionWh = _positionWh(positions, reading, terms.periodsPerSession);
        session.tariffs = REGISTRY.tariffsFor(
            session.peer.supplier,
            reading.tariff,
            sessionStart,
            terms.periodSeconds,
            terms.periodsPerSession
        );
        int256 paymentNano =
            isEstimate ? _settleEstimate(session, reading) : _settleMetered(session, reading);
        return
            paymentNano > 0
                ? ILedger.Payment(session.peer.supplier, id, uint64(uint256(paymentNano)))
                : ILedger.Payment(id, session.peer.supplier, uint64(uint256(-paymentNano)));
    }

    function _settleEstimate(
        PeerSession memory session,
        MeterReading calldata reading
    ) private returns (int256 imbalanceNano) {
        (uint32 market, uint40 sessionStart) = (session.market, session.sessionStart);
        uint256 deadline = session.terms.readingDeadline(sessionStart);
        require(
            block.timestamp > deadline,
            ReadingStillAwaited(reading.peer, sessionStart, deadline)
        );
        uint256 values = reading.energyWh.length;
        require(values == 0, ReadingCountMismatch(reading.peer, 0, values));

        _estimatedReadings[market][sessionStart].set(reading.peer);
        imbalanceNano = _estimateNano(session);
        emit ReadingEstimated(market, sessionStart, reading.peer, imbalanceNano);
    }

    /// @dev The whole imbalance, less what an estimate has settled of it.
    function _settleMetered(
        PeerSession memory session,
        MeterReading calldata reading
    ) private returns (int256) {
        (uint32 market, uint40 sessionStart) = (session.market, session.sessionStart);
        _requireSigned(session.peer.meter, market, sessionStart, reading);
        int256 imbalanceNano = _imbalanceNano(session, _meteredWh(session, reading));
        int256 estimatedNano =
            _estimatedReadings[market][sessionStart].get(reading.peer)
                ? _estimateNano(session)
                : int256(0);

        _settledReadings[market][sessionStart].set(reading.peer);
        emit ReadingSettled(
            market,
            sessionStart,
            reading.peer,
            reading.energyWh,
            imbalanceNano,
            estimatedNano
        );
        return imbalanceNano - estimatedNano;
    }

    function _requireSigned(
        address meter,
        uint32 market,
        uint40 sessionStart,
        MeterReading calldata reading
    ) private view {
        bytes32 digest = readingDigest(market, reading.peer, sessionStart, reading.energyWh);
        address signer = Signatures.keySigner(digest, reading.signature);
        require(signer == meter, ReadingSignerMismatch(reading.peer, signer));
    }

    /// @dev The signed values, one plausible value per period.
    function _meteredWh(
        PeerSession memory session,
        MeterReading calldata reading
    ) private pure returns (int256[] memory meteredWh) {
        uint256 periods = session.terms.periodsPerSession;
        require(
            reading.energyWh.length == periods,
            ReadingCountMismatch(reading.peer, periods, reading.energyWh.length)
        );
        int256 limitWh = int256(session.peer.energyLimitWh(session.terms.periodSeconds));
        meteredWh = new int256[](periods);
        for (uint256 t; t < periods; ++t) {
            meteredWh[t] = reading.energyWh[t];
            require(
                -limitWh <= meteredWh[t] && meteredWh[t] <= limitWh,
                ReadingImplausible(reading.peer, t, reading.energyWh[t], uint256(limitWh))
            );
        }
    }

    /// @dev A missing reading: what was bought was taken, what was sold was not delivered. Never a gain, not even where
    /// a retail tariff is negative.
    function _estimateNano(PeerSession memory session) private pure returns (int256) {
        int256[] memory estimateWh = new int256[](session.positionWh.length);
        for (uint256 t; t < estimateWh.length; ++t) {
            if (session.positionWh[t] < 0) estimateWh[t] = session.positionWh[t];
        }
        int256 imbalanceNano = _imbalanceNano(session, estimateWh);
        return imbalanceNano < 0 ? imbalanceNano : int256(0);
    }

    /// @dev What a peer receives for energy beyond its position, less what it owes for energy short of it.
    function _imbalanceNano(
        PeerSession memory session,
        int256[] memory energyWh
    ) private pure returns (int256 imbalanceNano) {
        for (uint256 t; t < energyWh.length; ++t) {
            int256 imbalanceWh = energyWh[t] - session.positionWh[t];
            IPeerRegistry.Tariff memory tariff = session.tariffs[t];
            imbalanceNano +=
                imbalanceWh *
                (imbalanceWh > 0 ? tariff.feedInMicroPerKWh : tariff.retailMicroPerKWh);
        }
    }

    /// @dev The peer's position, zero if it has none. Positions are sorted by peer, so one look shows that.
    function _positionWh(
        Position[] calldata positions,
        MeterReading calldata reading,
        uint256 periods
    ) private pure returns (int256[] memory positionWh) {
        uint256 p = reading.position;
        require(p <= positions.length, WrongPosition(reading.peer, p));
        positionWh = new int256[](periods);
        if (p < positions.length && positions[p].peer == reading.peer) {
            for (uint256 t; t < periods; ++t) positionWh[t] = positions[p].energyWh[t];
            return positionWh;
        }
        require(
            (p == 0 || positions[p - 1].peer < reading.peer) &&
                (p == positions.length || positions[p].peer > reading.peer),
            WrongPosition(reading.peer, p)
        );
    }

    /// @inheritdoc ISettlement
    function isReadingSettled(
        uint32 market,
        uint40 sessionStart,
        uint32 peer
    ) external view returns (bool) {
        return _settledReadings[market][sessionStart].get(peer);
    }

    /// @inheritdoc ISettlement
    function isReadingEstimated(
        uint32 market,
        uint40 sessionStart,
        uint32 peer
    ) external view returns (bool) {
        return _estimatedReadings[market][sessionStart].get(peer);
    }

    /// @inheritdoc ISettlement
    function readingDigest(
        uint32 market,
        uint32 peer,
        uint40 sessionStart,
        int48[] calldata energyWh
    ) public view returns (bytes32) {
        return
            _hashTypedDataV4(
                keccak256(
                    abi.encode(
                        READING_TYPEHASH,
                        market,
                        peer,
                        sessionStart,
                        keccak256(abi.encodePacked(energyWh))
                    )
                )
            );
    }
}
