// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Signers that are contracts (ERC-1271), and do not play by the rules.
/// @dev Each answers `isValidSignature` in its own wrong way.
contract RevertingSigner {
    error Never();

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        revert Never();
    }
}

/// @notice Says no, with the value of a yes in the wrong place.
contract LyingSigner {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes32) {
        return bytes32(uint256(uint32(0x1626ba7e)));
    }
}

/// @notice Answers too little to be an answer.
contract ShortSigner {
    fallback() external {
        assembly ("memory-safe") {
            mstore(0, shl(224, 0x1626ba7e))
            return(0, 4)
        }
    }
}

/// @notice Answers a hundred kilobytes that begin with no yes, so that whoever copies them pays for it.
contract FloodingSigner {
    fallback() external {
        assembly ("memory-safe") {
            return(0, 100000)
        }
    }
}

/// @notice Burns all the gas it is given.
contract BurningSigner {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        while (true) {}
        return 0x1626ba7e;
    }
}

/// @notice Says yes to everything: a payer that names it lets anybody spend the channel's deposit.
contract YesSigner {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0x1626ba7e;
    }
}

/// @notice Says yes, and tries to get into the ledger while it is asked.
contract EnteringSigner {
    address public target;
    bytes public data;

    function arm(address target_, bytes calldata data_) external {
        target = target_;
        data = data_;
    }

    /// @dev Asked by a static call, it cannot note what happened: it answers no where its call got through.
    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        (bool done,) = target.call(data);
        return done ? bytes4(0xffffffff) : bytes4(0x1626ba7e);
    }
}

/// @notice Code an account may delegate to (EIP-7702): it answers for one digest, and forwards calls of its account.
contract DelegateCode {
    bytes32 private constant SLOT = keccak256("farlane.test.accepted");

    function accept(bytes32 digest) external {
        bytes32 slot = SLOT;
        assembly ("memory-safe") {
            sstore(slot, digest)
        }
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        bytes32 slot = SLOT;
        bytes32 accepted;
        assembly ("memory-safe") {
            accepted := sload(slot)
        }
        return digest == accepted ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}
