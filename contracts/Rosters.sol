// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPeerRegistry} from "./interfaces/IPeerRegistry.sol";

/// @title A peer's record in one word
/// @notice What trading needs of it, as rosters have it (see `IPeerRegistry.publishRoster`):
/// wallet (160 bits) | node (16) | network (16) | connectionW (32) | role (8) | standing (8) | zero (16), the wallet in
/// the highest bits. The word of a peer that was not admitted is zero.
library Rosters {
    /// @notice Peers of a page: page p has the peers 64p + 1 to 64p + 64.
    uint256 internal constant PEERS_PER_PAGE = 64;

    /// @notice The word of a record.
    function pack(IPeerRegistry.Peer memory peer) internal pure returns (uint256 word) {
        return
            (uint256(uint160(peer.wallet)) << 96) |
            (uint256(peer.node) << 80) |
            (uint256(peer.network) << 64) |
            (uint256(peer.connectionW) << 32) |
            (uint256(peer.role) << 24) |
            (uint256(peer.standing) << 16);
    }

    function walletOf(uint256 word) internal pure returns (address) {
        return address(uint160(word >> 96));
    }

    function nodeOf(uint256 word) internal pure returns (uint256) {
        return uint16(word >> 80);
    }

    function networkOf(uint256 word) internal pure returns (uint256) {
        return uint16(word >> 64);
    }

    function connectionOf(uint256 word) internal pure returns (uint256 connectionW) {
        return uint32(word >> 32);
    }

    function roleOf(uint256 word) internal pure returns (IPeerRegistry.Role) {
        return IPeerRegistry.Role(uint8(word >> 24));
    }

    /// @notice Whether the peer is admitted, not suspended and has not left.
    function isActive(uint256 word) internal pure returns (bool) {
        return uint8(word >> 16) == uint8(IPeerRegistry.Standing.Active);
    }
}
