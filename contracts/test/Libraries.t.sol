// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {Signatures} from "../src/libraries/Signatures.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {ContractSigner} from "./support/Tokens.sol";
import {Checks, vm} from "./support/Vm.sol";

/// @notice The libraries alone: the other tests sign with them, and so would not see what both sides get wrong.
/// @dev A Python test keeps the vectors equal to what Python signs.
contract LibrariesTest is Checks {
    uint256 private constant KEY = 0x5E55;
    bytes32 private constant DIGEST = keccak256("signed");

    string private json = vm.readFile("test/vectors/python.json");

    function test_the_domain_is_the_one_python_signs_for() external {
        yes(address(this) == vm.parseJsonAddress(json, ".signed.contract"), "forge deploys tests elsewhere");
        vm.chainId(vm.parseJsonUint(json, ".signed.chainId"));
        yes(TypedData.separator(bytes32At("network")) == bytes32At("separator"), "separator");
    }

    function test_what_is_signed_is_what_python_signs() external view {
        bytes32 channel = bytes32At("channel");
        bytes32 root = bytes32At("root");
        same(signed(TypedData.hashVoucher(channel, 500, 7, root)), bytes32At("voucher"), "voucher");
        same(signed(TypedData.hashAcceptance(channel, root)), bytes32At("acceptance"), "acceptance");
        IComputeLedger.Terms memory terms = IComputeLedger.Terms(
            address(1), address(2), address(3), 1001, 300, 70, 1_800_000_000, 3600, 7200, root, channel
        );
        same(signed(this.hashTerms(terms)), bytes32At("terms"), "terms");
    }

    function test_a_broken_signature_is_not_nobodys() external view {
        yes(!this.isValid(address(0), DIGEST, ""), "empty");
        yes(!this.isValid(address(0), DIGEST, new bytes(65)), "zeros");
    }

    function test_only_the_signer_has_signed() external {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, DIGEST);
        bytes memory signature = abi.encodePacked(r, s, v);
        yes(this.isValid(vm.addr(KEY), DIGEST, signature), "its own");
        yes(!this.isValid(vm.addr(KEY + 1), DIGEST, signature), "another's");
        yes(!this.isValid(vm.addr(KEY), keccak256("else"), signature), "for something else");
        ContractSigner wallet = new ContractSigner();
        yes(!this.isValid(address(wallet), DIGEST, signature), "a contract's that says no");
        wallet.accept(DIGEST);
        yes(this.isValid(address(wallet), DIGEST, signature), "a contract's that says yes");
    }

    function isValid(address signer, bytes32 digest, bytes calldata signature) external view returns (bool) {
        return Signatures.isValid(signer, digest, signature);
    }

    function hashTerms(IComputeLedger.Terms calldata terms) external pure returns (bytes32) {
        return TypedData.hashTerms(terms);
    }

    function signed(bytes32 body) private view returns (bytes32) {
        return TypedData.digest(bytes32At("separator"), body);
    }

    function bytes32At(string memory name) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(".signed.", name));
    }

    function same(bytes32 found, bytes32 expected, string memory what) private pure {
        yes(found == expected, what);
    }
}
