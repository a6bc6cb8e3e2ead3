// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Link} from "../MarketTypes.sol";

/// @title Who trades where, over which network, and with which supplier
/// @notice Peers, networks and supplier tariffs are published here. Whatever replaces something already in force takes
/// effect more than `NOTICE_SECONDS` after it is published, and stays readable for the time it was in force. An order
/// book opens no earlier than `NOTICE_SECONDS` before the end of its session, so nothing that an open session is
/// cleared or settled by can change any more.
///
/// Requirements
/// R1  Only the registrar admits, changes, suspends and reinstates peers; it cannot change a wallet.
/// R2  A wallet and a meter belong to at most one peer, for good.
/// R3  A metered peer has a supplier with a tariff in force and a meter; others have neither. Everybody has a node that
///     exists, but for an operator in no network.
/// R4  A peer has at most one change ahead of it, and a suspension after that.
/// R5  A wallet is changed by the old wallet's offer and the new wallet's acceptance.
/// R6  A peer leaves by itself, when it has no debt and no lock. It takes effect after the notice; until then it may
///     trade. What it traded before is settled by the record it had then, and its withdrawals wait for that as
///     everybody's do, so sessions that are still open are no reason to stay.
/// R7  Only the network's operator publishes its versions; they start in order and only add nodes.
/// R8  Links join known nodes of the network and are owned by known accounts.
/// R9  Only a supplier publishes its tariffs, also while it is suspended; they start in order and do not buy dearer
///     than they sell. Peers depend on their supplier, so it stays one and does
///     not leave.
/// R10 A connection is rated below 2^30 W, so that four energies times a price each stay below 2^64, whatever the prices.
/// R11 A roster that holds at a time has exactly the records in force then. Whatever changes one of its peers ends it in
///     time. No two rosters of a page hold at the same time, so nobody can make them many.
interface IPeerRegistry {
    /// @notice What a participant does. A supplier balances other peers; an operator owns links. Neither is metered.
    enum Role {
        None,
        Consumer,
        Producer,
        Prosumer,
        Storage,
        Supplier,
        Operator
    }

    enum Standing {
        None,
        Active,
        Suspended,
        Left
    }

    /// @notice A peer's record as in force from `since` on.
    /// @param wallet Signs its orders and owns its balance.
    /// @param network Network the peer is connected to.
    /// @param node Index of its node in that network.
    /// @param meter Key that signs its readings.
    /// @param supplier Peer identifier of its supplier.
    /// @param connectionW Rating of its grid connection in W; no plausible reading exceeds it.
    /// @param community Community it belongs to; a label of the registrar's.
    struct Peer {
        address wallet;
        uint40 since;
        uint16 network;
        uint16 node;
        Role role;
        Standing standing;
        address meter;
        uint32 supplier;
        uint32 connectionW;
        uint32 community;
    }

    /// @notice What the registrar decides about a peer.
    struct Connection {
        Role role;
        uint16 network;
        uint16 node;
        address meter;
        uint32 supplier;
        uint32 connectionW;
        uint32 community;
    }

    /// @notice Outer bounds of every limit and every price of a network. Fixed when the network is created.
    struct PriceBounds {
        int32 floorMicroPerKWh;
        int32 capMicroPerKWh;
    }

    /// @notice A supplier's prices for what its peers' readings leave over, from `effectiveFrom` on.
    /// @param retailMicroPerKWh The supplier sells at this.
    /// @param feedInMicroPerKWh The supplier buys at this.
    struct Tariff {
        uint40 effectiveFrom;
        int32 retailMicroPerKWh;
        int32 feedInMicroPerKWh;
    }

    event PeerAdmitted(uint32 indexed peer, address indexed wallet, Connection connection);
    event PeerChanged(uint32 indexed peer, uint40 effectiveFrom, Connection connection);
    event PeerStandingChanged(uint32 indexed peer, uint40 effectiveFrom, Standing standing);
    event WalletOffered(uint32 indexed peer, address indexed wallet);
    event WalletChanged(uint32 indexed peer, uint40 effectiveFrom, address indexed wallet);
    event NetworkCreated(uint16 indexed network, address indexed operator, PriceBounds bounds);
    event NetworkPublished(
        uint16 indexed network,
        uint32 indexed version,
        uint40 effectiveFrom,
        bytes32[] newNodes,
        Link[] links
    );
    event TariffsPublished(uint32 indexed supplier, uint256 firstIndex, Tariff[] tariffs);
    /// @param code Contract whose code is the roster.
    /// @param from The roster holds from then on ...
    /// @param until ... and before then, or before what is published later; `type(uint40).max` is never.
    event RosterPublished(
        uint32 indexed page,
        uint256 indexed index,
        address code,
        uint40 from,
        uint40 until
    );
    event AccountsConnected(address indexed accounts);

    /// @notice R2: the wallet is in use or was used by another peer, or is the zero address.
    error WalletTaken(address wallet);
    /// @notice R2: the meter is in use or was used by another peer, or is the zero address.
    error MeterTaken(address meter);
    error RoleMissing();
    /// @notice No peer has this identifier.
    error UnknownPeer(uint32 peer);
    /// @notice The caller's wallet belongs to no peer, or to none that may do this.
    error NotThePeer(address caller);
    /// @notice R3: a supplier or an operator has neither a meter nor a supplier.
    error NotMetered(Role role);
    /// @notice R3: the named supplier is no active supplier, or the peer itself.
    error NotASupplier(uint32 peer);
    /// @notice R9: peers may depend on this supplier; it can be suspended, but not become anything else.
    error SupplierStays(uint32 peer);
    /// @notice R3: the node takes effect later than the peer would be connected to it, or never.
    error NodeNotInForce(uint16 network, uint16 node, uint256 time);
    /// @notice R4: a change of this peer is already published and takes effect then.
    error ChangePending(uint32 peer, uint256 effectiveFrom);
    /// @notice The peer is not of a standing from which this is possible.
    error WrongStanding(uint32 peer, Standing standing);
    /// @notice R6: the peer has a debt or locked funds.
    error AccountOpen(uint32 peer);
    error UnknownNetwork(uint16 network);
    /// @notice The floor is above the cap.
    error BoundsInverted(int32 floorMicroPerKWh, int32 capMicroPerKWh);
    /// @notice R7: the caller does not operate this network.
    error NotTheOperator(uint16 network, address caller);
    /// @notice Publications take effect after this time at the earliest: more than the notice from now, and 15 minutes
    /// after the one before; the first of its kind from now on.
    error EffectiveTooEarly(uint256 effectiveFrom, uint256 earliest);
    /// @notice R8: the link names a node the network does not have.
    error LinkToUnknownNode(uint256 link, uint16 node);
    /// @notice R8: the link starts where it ends.
    error LinkToItself(uint256 link);
    /// @notice The version is not the one in force at that time.
    error NetworkNotInForce(uint16 network, uint32 version, uint256 time);
    /// @notice R9: feed-in above retail would pay for energy that only goes round.
    error TariffInverted(int32 retailMicroPerKWh, int32 feedInMicroPerKWh);
    /// @notice The tariff at this index is not the one in force at that time.
    error TariffNotInForce(uint32 supplier, uint256 index, uint256 time);
    error NothingPublished();
    /// @notice R10
    error ConnectionTooLarge(uint32 connectionW);
    /// @notice R11: this roster of the page holds at that time.
    error RosterInForce(uint32 page, uint256 index);
    /// @notice No peer of this page was ever admitted.
    error PageEmpty(uint32 page);
    /// @notice R11: there is no such roster, or it does not hold at that time.
    error RosterNotInForce(uint32 page, uint256 index, uint256 time);
    /// @notice The accounts of the market are connected once.
    error AlreadyConnected();
    error AddressZero();

    /// @notice Admits a new peer; it may trade at once, since nothing can depend on it yet.
    /// @return peer Its identifier: 1, 2, 3, ... Identifiers are never reused.
    function admit(address wallet, Connection calldata connection) external returns (uint32 peer);

    /// @notice Changes all that the registrar decides about a peer, after the notice.
    function change(uint32 peer, Connection calldata connection) external;

    /// @notice Stops a peer from trading, after the notice, whatever change is ahead of it. Its balance stays its own.
    function suspend(uint32 peer) external;

    /// @notice Lets a suspended peer trade again, after the notice.
    function reinstate(uint32 peer) external;

    /// @notice The calling peer leaves, after the notice. Its balance stays its own.
    function leaveCommunity() external;

    /// @notice The calling peer offers its place to another wallet of its owner.
    function offerWallet(address wallet) external;

    /// @notice The calling wallet takes the place that was offered to it, after the notice.
    function acceptWallet(uint32 peer) external;

    /// @notice Creates a network operated by the caller.
    function createNetwork(PriceBounds calldata bounds) external returns (uint16 network);

    /// @notice Publishes the next version of a network: nodes to add and all its links.
    /// @param newNodes Names of nodes to append (UTF-8, zero padded); nodes are never removed or renumbered.
    /// @return version 0, 1, 2, ...
    function publishNetwork(
        uint16 network,
        uint40 effectiveFrom,
        bytes32[] calldata newNodes,
        Link[] calldata links
    ) external returns (uint32 version);

    /// @notice The calling supplier publishes tariffs, in the order in which they take effect.
    function publishTariffs(Tariff[] calldata tariffs) external;

    /// @notice Publishes the records in force at `time` of the peers of a page, for whoever needs many of them at once.
    /// Page p has the peers 64p + 1 to 64p + 64. Anyone may call.
    /// @dev The roster is the code of a contract: a zero byte, then a word for each of the 64 peers (see `Rosters`).
    /// @return index 0, 1, 2, ... among the rosters of the page.
    function publishRoster(uint32 page, uint40 time) external returns (uint256 index);

    function NOTICE_SECONDS() external view returns (uint40);

    function peerCount() external view returns (uint32);

    /// @notice The peer whose wallet this is, was or is going to be; 0 if none.
    function peerOf(address wallet) external view returns (uint32);

    /// @notice The peer whose wallet this is now; 0 if none.
    function peerInForce(address wallet) external view returns (uint32);

    /// @notice Of the record in force at `time` what a reading is settled by; all zero if the peer was not admitted by then.
    function meteringAt(
        uint32 peer,
        uint256 time
    ) external view returns (address meter, uint32 supplier, uint32 connectionW);

    /// @notice The record in force at `time`. An all-zero record if the peer was not admitted by then.
    /// @dev Walks back over the changes later than `time`: there is at most one per notice period.
    function peerAt(uint32 peer, uint256 time) external view returns (Peer memory);

    /// @notice The contract whose code is this roster of the page; reverts unless it holds at `time`.
    function rosterAt(
        uint32 page,
        uint256 index,
        uint256 time
    ) external view returns (address code);

    /// @notice The roster of the page that holds at `time`, if one is published.
    function findRoster(
        uint32 page,
        uint256 time
    ) external view returns (bool found, uint256 index);

    function boundsOf(uint16 network) external view returns (PriceBounds memory);

    function operatorOf(uint16 network) external view returns (address);

    /// @notice Names of all nodes, also of those that take effect later.
    function nodesOf(uint16 network) external view returns (bytes32[] memory);

    function networkVersionCount(uint16 network) external view returns (uint32);

    /// @notice When a version takes effect, how many nodes it has and what its links hash to.
    function networkVersion(
        uint16 network,
        uint32 version
    ) external view returns (uint40 effectiveFrom, uint16 nodeCount, bytes32 linksHash);

    /// @notice As `networkVersion`, and reverts unless the version is the one in force at `time`.
    function networkInForce(
        uint16 network,
        uint32 version,
        uint256 time
    ) external view returns (uint16 nodeCount, bytes32 linksHash);

    function tariffCount(uint32 supplier) external view returns (uint256);

    /// @notice Every tariff a supplier has published, by its index.
    function tariff(uint32 supplier, uint256 index) external view returns (Tariff memory);

    /// @notice The supplier's tariffs for `count` periods, given the index of the one in force at `start`.
    function tariffsFor(
        uint32 supplier,
        uint256 firstIndex,
        uint256 start,
        uint256 periodSeconds,
        uint256 count
    ) external view returns (Tariff[] memory);
}

/// @title What the registry asks of the accounts
interface IPeerAccounts {
    /// @notice True if the peer has no debt and nothing locked.
    function isSettled(uint32 peer) external view returns (bool);
}
