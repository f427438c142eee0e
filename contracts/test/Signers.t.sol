// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {
    BurningSigner,
    DelegateCode,
    FloodingSigner,
    LyingSigner,
    RevertingSigner,
    ShortSigner,
    YesSigner
} from "./support/Wallets.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice Attacks by signatures: malleable ones, contracts that lie about theirs, and accounts with delegated code.
contract SignersTest is World {
    function test_a_high_s_is_refused() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(200);
        (bytes32 r, bytes32 s, uint8 v) = split(claim.signature);
        bytes32 high = bytes32(ORDER - uint256(s));
        yes(ecrecover(digestOf(claim), v ^ 7, r, high) == signer, "the mirror of a signature is one too");
        claim.signature = abi.encodePacked(r, high, v ^ 7);
        refused(claim);
    }

    function test_only_the_two_recovery_values_count() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(200);
        (bytes32 r, bytes32 s, uint8 v) = split(claim.signature);
        for (uint256 other; other < 256; ++other) {
            if (other == v) continue;
            claim.signature = abi.encodePacked(r, s, uint8(other));
            refused(claim);
        }
        claim.signature = abi.encodePacked(r, s, v);
        ledger.settle(claim);
    }

    function test_a_compact_signature_is_refused() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(200);
        (bytes32 r, bytes32 s, uint8 v) = split(claim.signature);
        claim.signature = abi.encodePacked(r, uint256(s) | (uint256(v - 27) << 255)); // ERC-2098
        same(claim.signature.length, 64, "length");
        refused(claim);
    }

    function test_bytes_too_many_are_refused() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(200);
        claim.signature = abi.encodePacked(claim.signature, uint8(0));
        refused(claim);
    }

    function test_nobody_is_nobodys_signer() external {
        // A broken signature recovers the zero address; a channel must not be able to name it.
        vm.prank(payer);
        vm.expectRevert(IComputeLedger.ZeroAddress.selector);
        ledger.open(provider, address(0), SALT, 500);
    }

    function test_contracts_that_do_not_say_yes_are_not_believed() external {
        address[5] memory liars = [
            address(new RevertingSigner()), address(new LyingSigner()), address(new ShortSigner()),
            address(new FloodingSigner()), address(token)
        ];
        for (uint256 i; i < liars.length; ++i) {
            refused(named(liars[i]));
        }
    }

    function test_a_contract_that_burns_gas_stops_only_its_own_voucher() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = named(address(new BurningSigner()));
        (bool done,) = address(ledger).call{gas: 2_000_000}(abi.encodeCall(ledger.settle, (claim)));
        yes(!done, "not believed");
        ledger.settle(claimOf(100));
        same(ledger.balanceOf(provider), 1_000_100, "others are paid");
    }

    function test_a_flood_costs_its_victim_little() external {
        IComputeLedger.Claim memory claim = named(address(new FloodingSigner()));
        uint256 before = gasleft();
        (bool done,) = address(ledger).call(abi.encodeCall(ledger.settle, (claim)));
        yes(!done && before - gasleft() < 120_000, "its answer is not copied");
    }

    function test_a_signer_that_always_says_yes_spends_no_more_than_the_deposit() external {
        address signer_ = address(new YesSigner());
        IComputeLedger.Claim memory claim = named(signer_);
        claim.cumulative = 501;
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DepositExceeded.selector, 500, 501));
        ledger.settle(claim);
        claim.cumulative = 500;
        ledger.settle(claim);
        same(ledger.balanceOf(payer), 999_500, "its namer's deposit, nothing else");
        same(ledger.balanceOf(provider), 1_000_500, "to the provider it named");
    }

    function test_an_account_with_delegated_code_signs_with_its_key() external {
        delegate(SIGNER_KEY);
        openChannel(500);
        ledger.settle(claimOf(200));
        same(ledger.balanceOf(provider), 1_000_200, "as before the delegation");
    }

    function test_an_account_with_delegated_code_may_let_the_code_answer() external {
        delegate(SIGNER_KEY);
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(200);
        claim.signature = "the code knows";
        refused(claim);
        DelegateCode(signer).accept(digestOf(claim));
        ledger.settle(claim);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.NothingToClaim.selector, 200, 200));
        ledger.settle(claim);
    }

    function test_an_account_with_delegated_code_agrees_to_terms() external {
        delegate(PROVIDER_KEY);
        delegate(PAYER_KEY);
        IComputeLedger.Terms memory t = openJob();
        bytes32 body = TypedData.hashAcceptance(ledger.jobId(t), ROOT);
        bytes memory signature = signDigest(PAYER_KEY, TypedData.digest(ledger.domainSeparator(), body));
        ledger.acceptResult(t, ROOT, signature);
        same(ledger.balanceOf(provider), 1_001_001, "paid");
    }

    function delegate(uint256 key) private {
        vm.attachDelegation(vm.signDelegation(address(new DelegateCode()), key));
        (bool done,) = vm.addr(key).call(abi.encodeCall(DelegateCode.accept, (bytes32(0))));
        yes(done && vm.addr(key).code.length == 23, "delegated");
    }

    function named(address signer_) private returns (IComputeLedger.Claim memory) {
        vm.prank(payer);
        ledger.open(provider, signer_, SALT, 500);
        return IComputeLedger.Claim(payer, provider, signer_, SALT, 100, 7, ROOT, "anything");
    }

    function digestOf(IComputeLedger.Claim memory c) private view returns (bytes32) {
        bytes32 channel = ledger.channelId(c.payer, c.provider, c.signer, c.salt);
        bytes32 body = TypedData.hashVoucher(channel, c.cumulative, c.tasks, c.root);
        return TypedData.digest(ledger.domainSeparator(), body);
    }

    function refused(IComputeLedger.Claim memory claim) private {
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.settle(claim);
    }

    function split(bytes memory signature) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
            v := byte(0, mload(add(signature, 96)))
        }
    }
}
