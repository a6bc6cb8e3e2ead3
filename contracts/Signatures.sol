// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Whose signature it is
/// @notice A key signs with 65 bytes r, s, v (ECDSA, low s). The key of a wallet comes first, whatever code its account
/// runs: an account that delegates to code (EIP-7702) remains its key's, which may end the delegation whenever it likes.
/// What the key did not sign the code of the wallet may still accept (ERC-1271). Code can change its mind, so it is
/// asked only where the answer is kept.
library Signatures {
    /// @notice Whose key signed; zero if the signature is none.
    function keySigner(
        bytes32 digest,
        bytes calldata signature
    ) internal pure returns (address signer) {
        // slither-disable-next-line unused-return (a failed recovery is the zero address, which is nobody's wallet)
        (signer, , ) = ECDSA.tryRecoverCalldata(digest, signature);
    }

    /// @notice Whether the key of the wallet signed, or else its code accepts the signature.
    function isAccepted(
        address wallet,
        bytes32 digest,
        bytes calldata signature
    ) internal view returns (bool) {
        if (wallet == address(0)) return false;
        return
            keySigner(digest, signature) == wallet ||
            SignatureChecker.isValidERC1271SignatureNowCalldata(wallet, digest, signature);
    }
}
