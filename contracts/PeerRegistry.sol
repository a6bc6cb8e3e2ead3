// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRules} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IPeerAccounts, IPeerRegistry} from "./interfaces/IPeerRegistry.sol";
import {Link} from "./MarketTypes.sol";
import {Rosters} from "./Rosters.sol";

/// @title Peers, networks and supplier tariffs
/// @notice Specified in `IPeerRegistry`.
contract PeerRegistry is IPeerRegistry, AccessControlDefaultAdminRules {
    using SafeCast for uint256;

    /// @notice Admits, changes, suspends and reinstates peers.
    bytes32 public constant REGISTRAR_ROLE = keccak256("REGISTRAR_ROLE");
    /// @notice Creates networks and publishes the versions of its own (DSO).
    bytes32 public constant NETWORK_OPERATOR_ROLE = keccak256("NETWORK_OPERATOR_ROLE");

    /// @inheritdoc IPeerRegistry
    uint40 public immutable NOTICE_SECONDS;

    /// @notice Least time between two versions of a network or two tariffs of a supplier.
    uint40 public constant SPACING_SECONDS = 15 minutes;

    struct NetworkVersion {
        bytes32 linksHash;
        uint40 effectiveFrom;
        uint16 nodeCount;
    }

    /// @notice A published roster, as `RosterPublished` says.
    struct Roster {
        address code;
        uint40 from;
        uint40 until;
    }

    struct NetworkRecord {
        address operator;
        PriceBounds bounds;
        bytes32[] nodes;
        NetworkVersion[] versions;
    }

    uint40 private constant NEVER = type(uint40).max;
    /// @dev Returns all that follows these ten bytes, which is 0x801 bytes, as the code of the new contract.
    bytes10 private constant ROSTER_INIT_CODE = 0x61080180600a3d393df3;

    /// @notice Knows the balances, so that nobody leaves with a debt.
    IPeerAccounts public accounts;

    /// @inheritdoc IPeerRegistry
    uint32 public peerCount;
    uint16 private _networkCount;
    mapping(address wallet => uint32 peer) public peerOf;
    mapping(address meter => uint32 peer) private _peerOfMeter;
    mapping(uint32 peer => address wallet) private _walletOffer;
    mapping(uint32 peer => Peer) private _latest;
    mapping(uint32 peer => Peer[]) private _earlier;
    mapping(uint32 page => Roster[]) private _rosters;
    /// @dev Rosters that held some time after the page last changed; only they can have to be ended.
    mapping(uint32 page => uint256[] indices) private _lastingRosters;
    mapping(uint16 network => NetworkRecord) private _networks;
    // slither-disable-next-line uninitialized-state (filled through a storage reference in publishTariffs)
    mapping(uint32 supplier => Tariff[]) private _tariffs;

    /// @param admin Grants the roles; handing it on takes `adminDelaySeconds`.
    /// @param noticeSeconds See `NOTICE_SECONDS`.
    constructor(
        address admin,
        uint48 adminDelaySeconds,
        uint40 noticeSeconds
    ) AccessControlDefaultAdminRules(adminDelaySeconds, admin) {
        NOTICE_SECONDS = noticeSeconds;
    }

    // ------------------------------------------------------------------------------------------------------- peers

    /// @inheritdoc IPeerRegistry
    function admit(
        address wallet,
        Connection calldata connection
    ) external onlyRole(REGISTRAR_ROLE) returns (uint32 peer) {
        require(wallet != address(0) && peerOf[wallet] == 0, WalletTaken(wallet));
        peer = ++peerCount;
        peerOf[wallet] = peer;
        Peer memory record;
        record.wallet = wallet;
        record.since = uint40(block.timestamp);
        record.standing = Standing.Active;
        _connect(peer, record, connection);
        _latest[peer] = record;
        _endRosters(peer, record.since);
        emit PeerAdmitted(peer, wallet, connection);
    }

    /// @inheritdoc IPeerRegistry
    function change(uint32 peer, Connection calldata connection) external onlyRole(REGISTRAR_ROLE) {
        Peer memory record = _nextRecord(peer);
        _connect(peer, record, connection);
        _succeed(peer, record);
        emit PeerChanged(peer, record.since, connection);
    }

    /// @inheritdoc IPeerRegistry
    function suspend(uint32 peer) external onlyRole(REGISTRAR_ROLE) {
        // Whatever is ahead of the peer: by one change of wallet after the other it would never be suspended.
        _changeStanding(peer, _laterRecord(peer), Standing.Active, Standing.Suspended);
    }

    /// @inheritdoc IPeerRegistry
    function reinstate(uint32 peer) external onlyRole(REGISTRAR_ROLE) {
        _changeStanding(peer, _nextRecord(peer), Standing.Suspended, Standing.Active);
    }

    /// @inheritdoc IPeerRegistry
    function leaveCommunity() external {
        uint32 peer = _callingPeer();
        require(_latest[peer].role != Role.Supplier, SupplierStays(peer));
        require(accounts.isSettled(peer), AccountOpen(peer));
        _changeStanding(peer, _nextRecord(peer), Standing.Active, Standing.Left);
    }

    /// @inheritdoc IPeerRegistry
    function offerWallet(address wallet) external {
        uint32 peer = _callingPeer();
        // A wallet that has handed on its place still acts for the notice, but must not hand it on once more.
        uint40 since = _latest[peer].since;
        require(since <= block.timestamp, ChangePending(peer, since));
        require(wallet != address(0) && peerOf[wallet] == 0, WalletTaken(wallet));
        _walletOffer[peer] = wallet;
        emit WalletOffered(peer, wallet);
    }

    /// @inheritdoc IPeerRegistry
    function acceptWallet(uint32 peer) external {
        require(_walletOffer[peer] == msg.sender, NotThePeer(msg.sender));
        require(peerOf[msg.sender] == 0, WalletTaken(msg.sender));
        delete _walletOffer[peer];
        peerOf[msg.sender] = peer;
        Peer memory record = _nextRecord(peer);
        record.wallet = msg.sender;
        _succeed(peer, record);
        emit WalletChanged(peer, record.since, msg.sender);
    }

    /// @notice Connects the accounts, once.
    function connectAccounts(IPeerAccounts accounts_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        require(address(accounts) == address(0), AlreadyConnected());
        require(address(accounts_) != address(0), AddressZero());
        accounts = accounts_;
        emit AccountsConnected(address(accounts_));
    }

    /// @inheritdoc IPeerRegistry
    function peerInForce(address wallet) public view returns (uint32 peer) {
        peer = peerOf[wallet];
        if (peer != 0 && peerAt(peer, block.timestamp).wallet != wallet) peer = 0;
    }

    /// @inheritdoc IPeerRegistry
    function peerAt(uint32 peer, uint256 time) public view returns (Peer memory record) {
        (record, ) = _recordAt(peer, time);
    }

    /// @inheritdoc IPeerRegistry
    function meteringAt(
        uint32 peer,
        uint256 time
    ) external view returns (address meter, uint32 supplier, uint32 connectionW) {
        Peer storage latest = _latest[peer];
        if (latest.since <= time) return (latest.meter, latest.supplier, latest.connectionW);
        Peer memory record = peerAt(peer, time);
        return (record.meter, record.supplier, record.connectionW);
    }

    /// @return record All zero if the peer was not admitted by then.
    /// @return until When the next one takes effect.
    function _recordAt(
        uint32 peer,
        uint256 time
    ) private view returns (Peer memory record, uint40 until) {
        until = NEVER;
        record = _latest[peer];
        if (record.since <= time) return (record, until);
        Peer[] storage earlier = _earlier[peer];
        for (uint256 i = earlier.length; i > 0; --i) {
            until = record.since;
            record = earlier[i - 1];
            if (record.since <= time) return (record, until);
        }
        until = record.since;
        delete record;
    }

    /// @dev The record that follows the latest one; its values are the latest one's until they are changed.
    function _nextRecord(uint32 peer) private view returns (Peer memory record) {
        uint40 since = _latest[peer].since;
        require(since <= block.timestamp, ChangePending(peer, since));
        return _laterRecord(peer);
    }

    /// @dev As `_nextRecord`, also of one that is still to take effect: it does so no later than what follows it.
    function _laterRecord(uint32 peer) private view returns (Peer memory record) {
        record = _latest[peer];
        require(record.standing != Standing.None, UnknownPeer(peer));
        require(record.standing != Standing.Left, WrongStanding(peer, Standing.Left));
        record.since = uint40(block.timestamp) + NOTICE_SECONDS + 1;
    }

    function _succeed(uint32 peer, Peer memory record) private {
        _earlier[peer].push(_latest[peer]);
        _latest[peer] = record;
        _endRosters(peer, record.since);
    }

    function _changeStanding(uint32 peer, Peer memory record, Standing from, Standing to) private {
        require(record.standing == from, WrongStanding(peer, record.standing));
        record.standing = to;
        _succeed(peer, record);
        emit PeerStandingChanged(peer, record.since, to);
    }

    function _connect(uint32 peer, Peer memory record, Connection calldata connection) private {
        require(connection.role != Role.None, RoleMissing());
        require(
            record.role != Role.Supplier || connection.role == Role.Supplier,
            SupplierStays(peer)
        );
        require(connection.connectionW < 2 ** 30, ConnectionTooLarge(connection.connectionW));
        // Clearings find memory by the node, so whoever is in a network has one of it; operators may be in none.
        if (connection.role != Role.Operator || connection.network != 0)
            _requireNode(connection.network, connection.node, record.since);
        if (connection.role == Role.Operator || connection.role == Role.Supplier) {
            require(
                connection.meter == address(0) && connection.supplier == 0,
                NotMetered(connection.role)
            );
        } else {
            require(connection.supplier != peer, NotASupplier(peer));
            _requireSupplier(connection.supplier);
            uint32 meterOf = _peerOfMeter[connection.meter];
            require(
                connection.meter != address(0) && (meterOf == 0 || meterOf == peer),
                MeterTaken(connection.meter)
            );
            _peerOfMeter[connection.meter] = peer;
        }
        record.role = connection.role;
        record.network = connection.network;
        record.node = connection.node;
        record.meter = connection.meter;
        record.supplier = connection.supplier;
        record.connectionW = connection.connectionW;
        record.community = connection.community;
    }

    function _requireNode(uint16 network, uint16 node, uint256 time) private view {
        NetworkVersion[] storage versions = _networks[network].versions;
        for (uint256 v = versions.length; v > 0; --v) {
            if (versions[v - 1].effectiveFrom <= time) {
                require(node < versions[v - 1].nodeCount, NodeNotInForce(network, node, time));
                return;
            }
        }
        revert NodeNotInForce(network, node, time);
    }

    function _requireSupplier(uint32 supplier) private view {
        Peer memory record = peerAt(supplier, block.timestamp);
        require(
            record.role == Role.Supplier && record.standing == Standing.Active,
            NotASupplier(supplier)
        );
        Tariff[] storage tariffs = _tariffs[supplier];
        require(tariffs.length > 0, TariffNotInForce(supplier, 0, block.timestamp));
        require(
            tariffs[0].effectiveFrom <= block.timestamp,
            TariffNotInForce(supplier, 0, block.timestamp)
        );
    }

    function _callingPeer() private view returns (uint32 peer) {
        peer = peerInForce(msg.sender);
        require(peer != 0, NotThePeer(msg.sender));
    }

    // ----------------------------------------------------------------------------------------------------- rosters

    /// @inheritdoc IPeerRegistry
    function publishRoster(uint32 page, uint40 time) external returns (uint256 index) {
        bool found;
        (found, index) = findRoster(page, time);
        require(!found, RosterInForce(page, index));
        Roster memory roster;
        uint256[] memory words;
        (words, roster.from, roster.until) = _recordsOf(page, time);
        index = _rosters[page].length;
        // The zero byte keeps the code from being run.
        bytes memory initCode = abi.encodePacked(ROSTER_INIT_CODE, bytes1(0), words);
        roster.code = Create2.deploy(0, bytes32((uint256(page) << 128) | index), initCode);

        _rosters[page].push(roster);
        if (roster.until > block.timestamp) _lastingRosters[page].push(index);
        emit RosterPublished(page, index, roster.code, roster.from, roster.until);
    }

    /// @inheritdoc IPeerRegistry
    function rosterAt(
        uint32 page,
        uint256 index,
        uint256 time
    ) external view returns (address code) {
        Roster[] storage rosters = _rosters[page];
        require(
            index < rosters.length && _holds(rosters[index], time),
            RosterNotInForce(page, index, time)
        );
        return rosters[index].code;
    }

    /// @inheritdoc IPeerRegistry
    function findRoster(uint32 page, uint256 time) public view returns (bool found, uint256 index) {
        Roster[] storage rosters = _rosters[page];
        for (index = rosters.length; index > 0;) {
            if (_holds(rosters[--index], time)) return (true, index);
        }
    }

    function _holds(Roster storage roster, uint256 time) private view returns (bool) {
        return roster.from <= time && (time < roster.until || roster.until == NEVER);
    }

    /// @return words One for each peer of the page, as `publishRoster` describes it.
    /// @return from All these records are in force from then on ...
    /// @return until ... and before then.
    function _recordsOf(
        uint32 page,
        uint40 time
    ) private view returns (uint256[] memory words, uint40 from, uint40 until) {
        words = new uint256[](Rosters.PEERS_PER_PAGE);
        until = NEVER;
        uint256 first = page * Rosters.PEERS_PER_PAGE + 1;
        require(first <= peerCount, PageEmpty(page));
        for (uint256 i; i < Rosters.PEERS_PER_PAGE && first + i <= peerCount; ++i) {
            (Peer memory record, uint40 next) = _recordAt(uint32(first + i), time);
            if (record.since > from) from = record.since;
            if (next < until) until = next;
            words[i] = Rosters.pack(record);
        }
    }

    /// @dev R11: no roster of the peer's page holds when a record of the peer takes effect that it does not have. Rosters
    /// end where some record takes effect, hold for some time and never for the same; of the records of 64 peers at most
    /// 64 are still ahead, so there are few to look at.
    function _endRosters(uint32 peer, uint40 since) private {
        uint32 page = (peer - 1) / uint32(Rosters.PEERS_PER_PAGE);
        uint256[] storage lasting = _lastingRosters[page];
        for (uint256 i = lasting.length; i > 0; --i) {
            Roster storage roster = _rosters[page][lasting[i - 1]];
            if (roster.until > since) roster.until = since;
            if (roster.until <= block.timestamp) {
                lasting[i - 1] = lasting[lasting.length - 1];
                lasting.pop();
            }
        }
    }

    // ---------------------------------------------------------------------------------------------------- networks

    /// @inheritdoc IPeerRegistry
    function createNetwork(
        PriceBounds calldata bounds
    ) external onlyRole(NETWORK_OPERATOR_ROLE) returns (uint16 network) {
        require(
            bounds.floorMicroPerKWh <= bounds.capMicroPerKWh,
            BoundsInverted(bounds.floorMicroPerKWh, bounds.capMicroPerKWh)
        );
        network = ++_networkCount;
        _networks[network].operator = msg.sender;
        _networks[network].bounds = bounds;
        emit NetworkCreated(network, msg.sender, bounds);
    }

    /// @inheritdoc IPeerRegistry
    function publishNetwork(
        uint16 network,
        uint40 effectiveFrom,
        bytes32[] calldata newNodes,
        Link[] calldata links
    ) external onlyRole(NETWORK_OPERATOR_ROLE) returns (uint32 version) {
        NetworkRecord storage record = _networks[network];
        require(record.operator != address(0), UnknownNetwork(network));
        require(record.operator == msg.sender, NotTheOperator(network, msg.sender));
        version = uint32(record.versions.length);
        _requireNotice(
            effectiveFrom,
            version == 0 ? 0 : record.versions[version - 1].effectiveFrom
        );
        for (uint256 n; n < newNodes.length; ++n) record.nodes.push(newNodes[n]);
        _requireLinks(links, record.nodes.length);
        record.versions.push(
            NetworkVersion({
                linksHash: keccak256(abi.encode(links)),
                effectiveFrom: effectiveFrom,
                nodeCount: record.nodes.length.toUint16()
            })
        );
        emit NetworkPublished(network, version, effectiveFrom, newNodes, links);
    }

    /// @inheritdoc IPeerRegistry
    function boundsOf(uint16 network) external view returns (PriceBounds memory) {
        require(_networks[network].operator != address(0), UnknownNetwork(network));
        return _networks[network].bounds;
    }

    /// @inheritdoc IPeerRegistry
    function operatorOf(uint16 network) external view returns (address) {
        return _networks[network].operator;
    }

    /// @inheritdoc IPeerRegistry
    function nodesOf(uint16 network) external view returns (bytes32[] memory) {
        return _networks[network].nodes;
    }

    /// @inheritdoc IPeerRegistry
    function networkVersionCount(uint16 network) external view returns (uint32) {
        return uint32(_networks[network].versions.length);
    }

    /// @inheritdoc IPeerRegistry
    function networkVersion(
        uint16 network,
        uint32 version
    ) external view returns (uint40 effectiveFrom, uint16 nodeCount, bytes32 linksHash) {
        NetworkVersion storage v = _networks[network].versions[version];
        return (v.effectiveFrom, v.nodeCount, v.linksHash);
    }

    /// @inheritdoc IPeerRegistry
    function networkInForce(
        uint16 network,
        uint32 version,
        uint256 time
    ) external view returns (uint16 nodeCount, bytes32 linksHash) {
        NetworkVersion[] storage versions = _networks[network].versions;
        require(
            version < versions.length &&
                versions[version].effectiveFrom <= time &&
                (version + 1 == versions.length || versions[version + 1].effectiveFrom > time),
            NetworkNotInForce(network, version, time)
        );
        return (versions[version].nodeCount, versions[version].linksHash);
    }

    function _requireLinks(Link[] calldata links, uint256 nodeCount) private view {
        for (uint256 i; i < links.length; ++i) {
            Link calldata link = links[i];
            require(link.source < nodeCount, LinkToUnknownNode(i, link.source));
            require(link.target < nodeCount, LinkToUnknownNode(i, link.target));
            require(link.source != link.target, LinkToItself(i));
            require(link.owner <= peerCount, UnknownPeer(link.owner));
        }
    }

    // ----------------------------------------------------------------------------------------------------- tariffs

    /// @inheritdoc IPeerRegistry
    function publishTariffs(Tariff[] calldata tariffs) external {
        uint32 supplier = _callingPeer();
        require(peerAt(supplier, block.timestamp).role == Role.Supplier, NotASupplier(supplier));
        require(tariffs.length > 0, NothingPublished());
        Tariff[] storage published = _tariffs[supplier];
        uint256 firstIndex = published.length;
        uint40 last = firstIndex == 0 ? 0 : published[firstIndex - 1].effectiveFrom;
        for (uint256 t; t < tariffs.length; ++t) {
            Tariff calldata next = tariffs[t];
            require(
                next.feedInMicroPerKWh <= next.retailMicroPerKWh,
                TariffInverted(next.retailMicroPerKWh, next.feedInMicroPerKWh)
            );
            _requireNotice(next.effectiveFrom, last);
            last = next.effectiveFrom;
            published.push(next);
        }
        emit TariffsPublished(supplier, firstIndex, tariffs);
    }

    /// @inheritdoc IPeerRegistry
    function tariffCount(uint32 supplier) external view returns (uint256) {
        return _tariffs[supplier].length;
    }

    /// @inheritdoc IPeerRegistry
    function tariff(uint32 supplier, uint256 index) external view returns (Tariff memory) {
        return _tariffs[supplier][index];
    }

    /// @inheritdoc IPeerRegistry
    function tariffsFor(
        uint32 supplier,
        uint256 firstIndex,
        uint256 start,
        uint256 periodSeconds,
        uint256 count
    ) external view returns (Tariff[] memory inForce) {
        Tariff[] storage published = _tariffs[supplier];
        uint256 index = firstIndex;
        require(
            index < published.length && published[index].effectiveFrom <= start,
            TariffNotInForce(supplier, firstIndex, start)
        );
        inForce = new Tariff[](count);
        for (uint256 t; t < count; ++t) {
            uint256 time = start + t * periodSeconds;
            uint256 before = index;
            while (index + 1 < published.length && published[index + 1].effectiveFrom <= time)
                ++index;
            require(t > 0 || index == before, TariffNotInForce(supplier, firstIndex, start));
            inForce[t] = published[index];
        }
    }

    /// @dev The first publication has no predecessor and nothing depends on it, so it needs no notice. The spacing
    /// keeps the number of publications that a session can meet as small as the number of its shortest periods.
    function _requireNotice(uint40 effectiveFrom, uint40 previous) private view {
        uint256 earliest = block.timestamp;
        if (previous != 0) {
            earliest += NOTICE_SECONDS + 1;
            if (previous + SPACING_SECONDS > earliest) earliest = previous + SPACING_SECONDS;
        }
        require(effectiveFrom >= earliest, EffectiveTooEarly(effectiveFrom, earliest));
    }
}
