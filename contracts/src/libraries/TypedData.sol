// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IComputeLedger} from "../interfaces/IComputeLedger.sol";

/// @title EIP-712 hashes of what farlane signs
library TypedData {
    bytes32 internal constant DOMAIN_TYPE = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
    );
    bytes32 internal constant VOUCHER_TYPE =
        keccak256("Voucher(bytes32 channel,uint96 cumulative,uint64 tasks,bytes32 root)");
    bytes32 internal constant TERMS_TYPE = keccak256(
        "JobTerms(address payer,address provider,address arbiter,uint96 price,uint96 providerBond,uint96 disputeBond,uint64 deadline,uint64 window,uint64 arbiterWindow,bytes32 spec,bytes32 salt)"
    );
    bytes32 internal constant ACCEPTANCE_TYPE = keccak256("Acceptance(bytes32 job,bytes32 result)");

    /// @notice The domain of the contract that asks, on this chain, for one network.
    function separator(bytes32 network) internal view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPE, keccak256("farlane"), keccak256("1"), block.chainid, address(this), network)
        );
    }

    function digest(bytes32 domain, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function hashVoucher(bytes32 channel, uint96 cumulative, uint64 tasks, bytes32 root)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(VOUCHER_TYPE, channel, cumulative, tasks, root));
    }

    /// @dev A struct of static fields is encoded in place, so this is hashStruct.
    function hashTerms(IComputeLedger.Terms calldata terms) internal pure returns (bytes32) {
        return keccak256(abi.encode(TERMS_TYPE, terms));
    }

    function hashAcceptance(bytes32 job, bytes32 result) internal pure returns (bytes32) {
        return keccak256(abi.encode(ACCEPTANCE_TYPE, job, result));
    }
}
