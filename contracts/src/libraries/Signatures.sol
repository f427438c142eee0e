// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Who has signed: an account's key first, then a contract that answers for itself (ERC-1271)
/// @dev The key first: it spares plain accounts the look at their code, and serves accounts with delegated code too.
library Signatures {
    function isValid(address signer, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        // The third value only says more about a problem that counts as a refusal anyway.
        // slither-disable-next-line unused-return
        (address recovered, ECDSA.RecoverError problem,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (problem == ECDSA.RecoverError.NoError && recovered == signer) return true;
        return signer.code.length != 0 && SignatureChecker.isValidERC1271SignatureNow(signer, digest, signature);
    }
}
