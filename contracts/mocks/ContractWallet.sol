// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title An ERC-1271 wallet of one owner, that can change its mind, for tests
/// @notice An account may delegate to it (EIP-7702): the owner stands in the code, and what is not set accepts.
contract ContractWallet is IERC1271 {
    error NotTheOwner(address caller);

    address public immutable OWNER;
    bool public refuses;

    constructor(address owner_) {
        OWNER = owner_;
    }

    function setAccepts(bool accepts_) external {
        require(msg.sender == OWNER, NotTheOwner(msg.sender));
        refuses = !accepts_;
    }

    /// @notice Calls anything, as the wallet.
    function execute(address target, bytes calldata data) external returns (bytes memory result) {
        require(msg.sender == OWNER, NotTheOwner(msg.sender));
        bool success;
        // solhint-disable-next-line avoid-low-level-calls
        (success, result) = target.call(data);
        if (!success) {
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                revert(add(result, 32), mload(result))
            }
        }
    }

    /// @inheritdoc IERC1271
    function isValidSignature(
        bytes32 hash,
        bytes calldata signature
    ) external view returns (bytes4) {
        (address signer, , ) = ECDSA.tryRecoverCalldata(hash, signature);
        return
            !refuses && signer == OWNER ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}
