// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";

import {Calldata} from "./Calldata.sol";
import {Imbalances} from "./Imbalances.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {IOrderBook} from "./interfaces/IOrderBook.sol";
import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {IClearedPositions, ISettlement, ITradedPositions} from "./interfaces/ISettlement.sol";
import {Market, NO_POSITIONS} from "./MarketTypes.sol";
import {Sessions} from "./Sessions.sol";

/// @title Reconciliation
/// @notice Specified in `ISettlement`. Nobody has a role here, and nothing can be stopped.
contract Settlement is ISettlement, EIP712 {
    using Sessions for Market;

    bytes32 private constant READING_TYPEHASH = keccak256(
        "Reading(uint32 market,uint32 peer,uint40 sessionStart,bytes energyWh)"
    );

    uint256 private constant LAYOUT = 1;
    uint256 private constant HEADER_BYTES = 13;
    // flags of a record
    uint256 private constant KIND = 3;
    uint256 private constant ESTIMATE = 0;
    uint256 private constant SECP256K1 = 1;
    uint256 private constant P_256 = 2;
    uint256 private constant HAS_POSITION = 4;
    // states of a peer's reading, two bits each
    uint256 private constant ESTIMATED = 1;
    uint256 private constant SETTLED = 2;
    uint256 private constant PEERS_PER_SLOT = 128;

    /// @notice Says which meter and which supplier are whose, and the tariffs.
    IPeerRegistry public immutable REGISTRY;
    /// @notice Books what a reconciliation comes to.
    ILedger public immutable LEDGER;
    /// @notice Knows the markets.
    IOrderBook public immutable ORDER_BOOK;
    /// @notice Knows what was cleared.
    IClearedPositions public immutable CLEARING;
    /// @notice Knows what was traded besides.
    ITradedPositions public immutable TRADES;

    mapping(uint32 market => mapping(uint40 sessionStart => mapping(uint256 slot => uint256)))
        private _states;

    /// @notice What the readings of a reconciliation have in common.
    /// @param words How many words the energies of a session take.
    /// @param domain EIP-712 domain of the readings' signatures.
    /// @param leafCount How many there are, the first at `leavesAt` in the calldata.
    /// @param suppliers Each supplier that was met, with the index of its tariff (supplier << 32 | tariff).
    /// @param rates Of each of them, for the whole session.
    /// @param supplierCount How many were met.
    /// @param position Words of the position of the peer whose reading is being settled, 0 if it has none.
    /// @param metered Words of its reading.
    /// @param traders Bit (peer mod 256) is set if the peer may have traded besides the clearing.
    struct Run {
        uint32 market;
        uint40 sessionStart;
        uint256 periods;
        uint256 words;
        uint256 periodSeconds;
        uint256 readingDeadline;
        bytes32 domain;
        uint256 leavesAt;
        uint256 leafCount;
        uint256[] suppliers;
        uint256[][] rates;
        uint256 supplierCount;
        bytes position;
        bytes metered;
        uint256 traders;
    }

    /// @notice A record, by where its parts are in the calldata.
    /// @param positionAt Beyond the calldata, where all is 0, if the peer has no position.
    struct Record {
        uint32 peer;
        uint256 kind;
        bool hasPosition;
        uint256 leaf;
        uint256 tariff;
        uint256 positionAt;
        uint256 meteredAt;
        uint256 signatureAt;
    }

    constructor(
        IPeerRegistry registry,
        ILedger ledger,
        IOrderBook orderBook,
        IClearedPositions clearing,
        ITradedPositions trades
    ) EIP712("Fairwatt", "1") {
        REGISTRY = registry;
        LEDGER = ledger;
        ORDER_BOOK = orderBook;
        CLEARING = clearing;
        TRADES = trades;
    }

    // ------------------------------------------------------------------------------------------------ reconciliation

    /// @inheritdoc ISettlement
    function reconcile(
        uint32 market,
        uint40 sessionStart,
        bytes32[] calldata leaves,
        bytes calldata readings
    ) external {
        Market memory terms = ORDER_BOOK.marketTerms(market);
        bytes32 expected = CLEARING.positionsHash(market, sessionStart);
        _requireReconcilable(terms, market, sessionStart, expected != 0); // S1
        _requirePositions(leaves, expected); // S2

        Run memory run;
        run.market = market;
        run.sessionStart = sessionStart;
        run.periods = terms.periodsPerSession;
        run.words = (run.periods + 7) / 8;
        run.periodSeconds = terms.periodSeconds;
        run.readingDeadline = terms.readingDeadline(sessionStart);
        run.domain = _domainSeparatorV4();
        run.leafCount = leaves.length;
        run.leavesAt = _place(leaves);
        run.position = new bytes(run.words * 32);
        run.metered = new bytes(run.words * 32);
        run.traders = TRADES.traders(market, sessionStart);

        uint256 count = _requireRecords(readings, run.words);
        run.suppliers = new uint256[](count);
        run.rates = new uint256[][](count);
        emit ReadingsBrought(market, sessionStart, msg.sender, count);
        LEDGER.bookImbalances(_settle(run, readings, count));
    }

    function _requireReconcilable(
        Market memory terms,
        uint32 market,
        uint40 sessionStart,
        bool isCleared
    ) private view {
        terms.requireSession(sessionStart);
        uint256 end = terms.end(sessionStart);
        uint256 deadline = terms.settlementDeadline(sessionStart);
        uint256 clearingDeadline = terms.clearingDeadline(sessionStart);
        require(block.timestamp >= end, SessionNotOver(market, sessionStart, end));
        require(block.timestamp <= deadline, SettlementTooLate(market, sessionStart, deadline));
        require(
            isCleared || block.timestamp > clearingDeadline,
            ClearingStillPossible(market, sessionStart, clearingDeadline)
        );
    }

    function _requirePositions(bytes32[] calldata leaves, bytes32 expected) private pure {
        bytes32 chain;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            // scratch space: the chain so far, the next leaf
            let end := add(leaves.offset, shl(5, leaves.length))
            for {
                let at := leaves.offset
            } lt(at, end) {
                at := add(at, 32)
            } {
                mstore(0, chain)
                mstore(32, calldataload(at))
                chain := keccak256(0, 64)
            }
        }
        if (leaves.length == 0 && expected == NO_POSITIONS) chain = NO_POSITIONS;
        require(chain == expected, PositionsMismatch(expected, chain));
    }

    // ------------------------------------------------------------------------------------------------------- records

    /// @dev Every record is known and complete, so that nothing is read beyond the last.
    function _requireRecords(
        bytes calldata readings,
        uint256 words
    ) private pure returns (uint256 count) {
        uint256 layout = readings.length == 0 ? 0 : uint8(readings[0]);
        require(layout == LAYOUT, UnknownLayout(layout));
        uint256 at;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            at := readings.offset
        }
        unchecked {
            uint256 end = at + readings.length;
            ++at;
            while (at < end) {
                uint256 flags = Calldata.word(at) >> 248;
                require(
                    flags < 2 * HAS_POSITION && flags & KIND != KIND,
                    UnknownRecord(count, flags)
                );
                uint256 length = _recordBytes(flags, words);
                require(length <= end - at, RecordTruncated(count, length, end - at));
                at += length;
                ++count;
            }
        }
    }

    function _recordBytes(uint256 flags, uint256 words) private pure returns (uint256) {
        uint256 kind = flags & KIND;
        unchecked {
            uint256 fields = flags & HAS_POSITION == 0 ? 0 : words;
            if (kind != ESTIMATE) fields += words + (kind == SECP256K1 ? 2 : 4);
            return HEADER_BYTES + fields * 32;
        }
    }

    /// @return next Where the next record starts.
    function _parse(
        Record memory record,
        uint256 at,
        uint256 words
    ) private pure returns (uint256 next) {
        uint256 header;
        uint256 end;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            header := calldataload(at)
            end := calldatasize()
        }
        unchecked {
            uint256 flags = header >> 248;
            record.kind = flags & KIND;
            record.hasPosition = flags & HAS_POSITION != 0;
            record.peer = uint32(header >> 216);
            record.leaf = uint32(header >> 184);
            record.tariff = uint32(header >> 152);
            record.positionAt = record.hasPosition ? at + HEADER_BYTES : end;
            record.meteredAt = at + HEADER_BYTES + (record.hasPosition ? words * 32 : 0);
            record.signatureAt = record.meteredAt + words * 32;
            return at + _recordBytes(flags, words);
        }
    }

    // ---------------------------------------------------------------------------------------------------- settlement

    /// @dev What the readings, or the lack of them, make peers and suppliers pay each other.
    function _settle(
        Run memory run,
        bytes calldata readings,
        uint256 count
    ) private returns (ILedger.Payment[] memory payments) {
        payments = new ILedger.Payment[](count);
        mapping(uint256 slot => uint256) storage states = _states[run.market][run.sessionStart];
        Record memory record;
        uint256 paid;
        uint256 at;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            at := add(readings.offset, 1)
        }
        for (uint256 r; r < count; ++r) {
            at = _parse(record, at, run.words);
            (uint32 supplier, int256 amountNano) = _settleRecord(run, record, states);
            if (amountNano == 0) continue;
            _setPayment(payments[paid], record.peer, supplier, amountNano);
            unchecked {
                ++paid;
            }
        }
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(payments, paid)
        }
    }

    /// @return supplier Pays the peer, or is paid by it.
    /// @return amountNano What the peer receives (positive) or pays (negative).
    function _settleRecord(
        Run memory run,
        Record memory record,
        mapping(uint256 slot => uint256) storage states
    ) private returns (uint32 supplier, int256 amountNano) {
        uint256 state = _state(states, record.peer);
        if (state & SETTLED != 0 || (state != 0 && record.kind == ESTIMATE)) return (0, 0); // S4
        address meter;
        uint32 connectionW;
        (meter, supplier, connectionW) = REGISTRY.meteringAt(record.peer, run.sessionStart);
        require(meter != address(0), PeerNotMetered(record.peer)); // S3
        _requirePosition(run, record); // S2
        _addTraded(run, record.peer); // S6
        uint256[] memory rates = _rates(run, supplier, record.tariff);
        if (record.kind == ESTIMATE) return (supplier, _settleEstimate(run, record, states, rates));

        _requireSigned(run, record, meter); // S3
        uint256 limitWh;
        unchecked {
            limitWh = (connectionW * run.periodSeconds) / 1 hours;
        }
        int256 imbalanceNano = _imbalanceNano(run, record, rates, limitWh); // S5
        int256 estimatedNano =
            state == ESTIMATED
                ? Imbalances.estimatedNano(run.position, run.metered, rates)
                : int256(0);
        _setState(states, record.peer, SETTLED);
        emit ReadingSettled(
            run.market,
            run.sessionStart,
            record.peer,
            imbalanceNano,
            estimatedNano
        );
        return (supplier, imbalanceNano - estimatedNano);
    }

    function _settleEstimate(
        Run memory run,
        Record memory record,
        mapping(uint256 slot => uint256) storage states,
        uint256[] memory rates
    ) private returns (int256 imbalanceNano) {
        require(
            block.timestamp > run.readingDeadline,
            ReadingStillAwaited(record.peer, run.sessionStart, run.readingDeadline)
        );
        imbalanceNano = Imbalances.estimatedNano(run.position, run.metered, rates);
        _setState(states, record.peer, ESTIMATED);
        emit ReadingEstimated(run.market, run.sessionStart, record.peer, imbalanceNano);
    }

    function _setPayment(
        ILedger.Payment memory payment,
        uint32 peer,
        uint32 supplier,
        int256 amountNano
    ) private pure {
        bool receives = amountNano > 0;
        uint256 sizeNano = uint256(receives ? amountNano : -amountNano);
        require(sizeNano <= type(uint64).max, PaymentTooLarge(peer, amountNano));
        (payment.debtor, payment.creditor) = receives ? (supplier, peer) : (peer, supplier);
        payment.amountNano = uint64(sizeNano);
    }

    /// @dev The whole imbalance of plausible values for the periods of the session, and no others.
    function _imbalanceNano(
        Run memory run,
        Record memory record,
        uint256[] memory rates,
        uint256 limitWh
    ) private pure returns (int256 nano) {
        bool plausible;
        (nano, plausible) = Imbalances.settledNano(run.metered, run.position, rates, limitWh);
        if (!plausible) _revertImplausible(run, record, limitWh);
        unchecked {
            uint256 unusedBits = (run.words * 8 - run.periods) * 32;
            uint256 last = Calldata.word(record.signatureAt - 32);
            require(last & ((1 << unusedBits) - 1) == 0, ReadingBeyondSession(record.peer));
        }
    }

    function _revertImplausible(
        Run memory run,
        Record memory record,
        uint256 limitWh
    ) private pure {
        for (uint256 t; t < run.words * 8; ++t) {
            int256 energyWh = Imbalances.energyWh(run.metered, t);
            require(
                -int256(limitWh) <= energyWh && energyWh <= int256(limitWh),
                ReadingImplausible(record.peer, t, energyWh, limitWh)
            );
        }
    }

    /// @dev That the words are the peer's position, or that it has none: leaves are sorted by peer, one look shows that.
    function _requirePosition(Run memory run, Record memory record) private pure {
        (uint256 leaf, uint256 peer) = (record.leaf, record.peer);
        bool found;
        _load(run.position, record.positionAt);
        if (record.hasPosition) {
            uint256 expected = (peer << 224) | (uint256(keccak256(run.position)) >> 32);
            found = leaf < run.leafCount && _leaf(run, leaf) == expected;
        } else {
            found =
                leaf <= run.leafCount &&
                (leaf == 0 || _leaf(run, leaf - 1) >> 224 < peer) &&
                (leaf == run.leafCount || _leaf(run, leaf) >> 224 > peer);
        }
        require(found, WrongPosition(record.peer, leaf));
    }

    /// @dev Most sessions have no trades, and then nothing is asked for.
    function _addTraded(Run memory run, uint32 peer) private view {
        if ((run.traders >> (peer & 255)) & 1 == 0) return;
        uint256 free;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            free := mload(64)
        }
        bytes memory position = run.position;
        bytes memory total = TRADES.withTraded(run.market, run.sessionStart, peer, position);
        // As many words as before; the answer is not needed any more.
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mcopy(add(position, 32), add(total, 32), mload(position))
            mstore(64, free)
        }
    }

    /// @dev Where the first of some words lies in the calldata.
    function _place(bytes32[] calldata words) private pure returns (uint256 at) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            at := words.offset
        }
    }

    function _leaf(Run memory run, uint256 index) private pure returns (uint256) {
        unchecked {
            return Calldata.word(run.leavesAt + index * 32);
        }
    }

    // ---------------------------------------------------------------------------------------------------- registries

    /// @dev A supplier's tariffs of the session. It has few, so each is asked for once; an index that is not the one
    /// in force is never among those found, and is refused by the registry.
    function _rates(
        Run memory run,
        uint32 supplier,
        uint256 tariff
    ) private view returns (uint256[] memory rates) {
        uint256 key = (uint256(supplier) << 32) | tariff;
        uint256 count = run.supplierCount;
        for (uint256 k; k < count; ++k) {
            if (run.suppliers[k] == key) return run.rates[k];
        }
        rates = Imbalances.ratesOf(
            REGISTRY.tariffsFor(supplier, tariff, run.sessionStart, run.periodSeconds, run.periods)
        );
        run.suppliers[count] = key;
        run.rates[count] = rates;
        run.supplierCount = count + 1;
    }

    /// @dev 0 if nothing was settled, or else `ESTIMATED`, `SETTLED` or both.
    function _state(
        mapping(uint256 slot => uint256) storage states,
        uint32 peer
    ) private view returns (uint256) {
        (uint256 slot, uint256 shift) = _stateAt(peer);
        return (states[slot] >> shift) & 3;
    }

    function _setState(
        mapping(uint256 slot => uint256) storage states,
        uint32 peer,
        uint256 state
    ) private {
        (uint256 slot, uint256 shift) = _stateAt(peer);
        states[slot] |= state << shift;
    }

    function _stateAt(uint256 peer) private pure returns (uint256 slot, uint256 shift) {
        unchecked {
            return (peer / PEERS_PER_SLOT, (peer % PEERS_PER_SLOT) * 2);
        }
    }

    // ---------------------------------------------------------------------------------------------------- signatures

    function _requireSigned(Run memory run, Record memory record, address meter) private view {
        _load(run.metered, record.meteredAt);
        bytes32 digest = MessageHashUtils.toTypedDataHash(
            run.domain,
            _readingHash(run.market, record.peer, run.sessionStart, keccak256(run.metered))
        );
        uint256 at = record.signatureAt;
        address signer =
            record.kind == P_256 ? _signerP256(digest, at, meter) : _signerSecp256k1(digest, at);
        require(signer == meter, ReadingSignerMismatch(record.peer, signer));
    }

    function _signerSecp256k1(bytes32 digest, uint256 at) private pure returns (address signer) {
        // slither-disable-next-line unused-return (a failed recovery is the zero address, which is nobody's meter)
        (signer, , ) = ECDSA.tryRecover(
            digest,
            bytes32(Calldata.word(at)),
            bytes32(Calldata.word(at + 32))
        );
    }

    /// @dev The address of the key, or 0 if it is the meter's and the signature is not.
    function _signerP256(
        bytes32 digest,
        uint256 at,
        address meter
    ) private view returns (address signer) {
        signer = address(
            uint160(
                uint256(keccak256(abi.encodePacked(Calldata.word(at + 64), Calldata.word(at + 96))))
            )
        );
        if (signer != meter) return signer;
        bool isValid = P256.verify(
            digest,
            bytes32(Calldata.word(at)),
            bytes32(Calldata.word(at + 32)),
            bytes32(Calldata.word(at + 64)),
            bytes32(Calldata.word(at + 96))
        );
        return isValid ? signer : address(0);
    }

    function _readingHash(
        uint32 market,
        uint32 peer,
        uint40 sessionStart,
        bytes32 wordsHash
    ) private pure returns (bytes32 hash) {
        bytes32 typeHash = READING_TYPEHASH;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let at := mload(64)
            mstore(at, typeHash)
            mstore(add(at, 32), market)
            mstore(add(at, 64), peer)
            mstore(add(at, 96), sessionStart)
            mstore(add(at, 128), wordsHash)
            hash := keccak256(at, 160)
        }
    }

    /// @dev Fills words from the calldata.
    function _load(bytes memory words, uint256 at) private pure {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            calldatacopy(add(words, 32), at, mload(words))
        }
    }

    // --------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ISettlement
    function isReadingSettled(
        uint32 market,
        uint40 sessionStart,
        uint32 peer
    ) external view returns (bool) {
        return _state(_states[market][sessionStart], peer) & SETTLED != 0;
    }

    /// @inheritdoc ISettlement
    function isReadingEstimated(
        uint32 market,
        uint40 sessionStart,
        uint32 peer
    ) external view returns (bool) {
        return _state(_states[market][sessionStart], peer) & ESTIMATED != 0;
    }

    /// @inheritdoc ISettlement
    function readingDigest(
        uint32 market,
        uint32 peer,
        uint40 sessionStart,
        bytes calldata energyWh
    ) external view returns (bytes32) {
        return _hashTypedDataV4(_readingHash(market, peer, sessionStart, keccak256(energyWh)));
    }
}
