// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../../src/ComputeLedger.sol";
import {CreditToken} from "../../src/CreditToken.sol";
import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {Checks, vm} from "./Vm.sol";

/// @notice A ledger with a payer, a provider, a session signer and an arbiter.
abstract contract World is Checks {
    uint256 internal constant PAYER_KEY = 0xA11CE;
    uint256 internal constant PROVIDER_KEY = 0xB0B;
    uint256 internal constant SIGNER_KEY = 0x5E55;
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    bytes32 internal constant NETWORK = bytes32(uint256(0xabcdef));
    bytes32 internal constant SALT = bytes32(uint256(1));
    bytes32 internal constant ROOT = keccak256("root");
    uint64 internal constant WINDOW = 1 days;

    address internal payer = vm.addr(PAYER_KEY);
    address internal provider = vm.addr(PROVIDER_KEY);
    address internal signer = vm.addr(SIGNER_KEY);
    address internal arbiter = address(0xA4B);
    address internal guardian = address(0x64A4D);
    CreditToken internal token;
    ComputeLedger internal ledger;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        token = new CreditToken(address(this));
        ledger = new ComputeLedger(address(token), NETWORK, guardian, WINDOW);
        fund(payer, 1_000_000);
        fund(provider, 1_000_000);
    }

    function fund(address account, uint256 amount) internal {
        token.mint(account, amount);
        vm.prank(account);
        token.approve(address(ledger), type(uint256).max);
        vm.prank(account);
        ledger.deposit(account, amount);
    }

    function openChannel(uint96 amount) internal returns (bytes32) {
        vm.prank(payer);
        return ledger.open(provider, signer, SALT, amount);
    }

    function claimOf(uint96 cumulative) internal view returns (IComputeLedger.Claim memory claim) {
        claim = IComputeLedger.Claim(payer, provider, signer, SALT, cumulative, 1000, ROOT, "");
        claim.signature = signClaim(claim, SIGNER_KEY, ledger.domainSeparator());
    }

    function signClaim(IComputeLedger.Claim memory claim, uint256 key, bytes32 domain)
        internal
        pure
        returns (bytes memory)
    {
        bytes32 channel = keccak256(abi.encode(claim.payer, claim.provider, claim.signer, claim.salt));
        bytes32 body = TypedData.hashVoucher(channel, claim.cumulative, claim.tasks, claim.root);
        return signDigest(key, TypedData.digest(domain, body));
    }

    function signDigest(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function terms() internal view returns (IComputeLedger.Terms memory) {
        return IComputeLedger.Terms(
            payer, provider, arbiter, 1001, 300, 70, uint64(block.timestamp) + 1 hours, 2 hours, 3 hours, ROOT, SALT
        );
    }

    function signTerms(IComputeLedger.Terms memory t) internal view returns (bytes memory) {
        return signDigest(PROVIDER_KEY, TypedData.digest(ledger.domainSeparator(), ledger.jobId(t)));
    }

    function openJob() internal returns (IComputeLedger.Terms memory t) {
        t = terms();
        bytes memory signature = signTerms(t);
        vm.prank(payer);
        ledger.openJob(t, signature);
    }

    function submitted() internal returns (IComputeLedger.Terms memory t) {
        t = openJob();
        vm.prank(provider);
        ledger.submitResult(t, ROOT);
    }

    function disputed() internal returns (IComputeLedger.Terms memory t) {
        t = submitted();
        vm.prank(payer);
        ledger.dispute(t);
    }
}
