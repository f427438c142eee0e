// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../src/ComputeLedger.sol";
import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {Relay, ContractSigner} from "./support/Tokens.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice Channels: what vouchers pay, and everything that must not.
contract ChannelsTest is World {
    function test_settling_pays_what_is_new() external {
        bytes32 channel = openChannel(500);
        ledger.settle(claimOf(200));
        ledger.settle(claimOf(350));
        (uint96 deposit, uint96 claimed, uint64 closeAt) = ledger.channels(channel);
        same(deposit, 500, "deposit");
        same(claimed, 350, "claimed");
        same(closeAt, 0, "open");
        same(ledger.balanceOf(provider), 1_000_350, "provider");
        same(ledger.balanceOf(payer), 999_500, "payer");
        same(ledger.settlementsOf(provider), 2, "settlements");
        same(ledger.transactionCount(), 1, "trades");
    }

    function test_anyone_may_relay() external {
        openChannel(500);
        new Relay().settle(ledger, claimOf(200));
        same(ledger.balanceOf(provider), 1_000_200, "provider");
    }

    function test_many_at_once_for_several_providers() external {
        address other = address(0x07E4);
        IComputeLedger.Claim[] memory claims = new IComputeLedger.Claim[](4);
        for (uint256 i; i < 4; ++i) {
            address to = i == 1 || i == 2 ? other : provider;
            bytes32 salt = bytes32(i + 10);
            vm.prank(payer);
            ledger.open(to, signer, salt, 100);
            claims[i] = IComputeLedger.Claim(payer, to, signer, salt, uint96(10 * (i + 1)), 5, ROOT, "");
            claims[i].signature = signClaim(claims[i], SIGNER_KEY, ledger.domainSeparator());
        }
        ledger.settleMany(claims);
        same(ledger.balanceOf(provider), 1_000_050, "provider");
        same(ledger.balanceOf(other), 50, "other");
        same(ledger.settlementsOf(other), 2, "settlements of other");
        same(ledger.settlementsOf(provider), 2, "settlements of provider");
    }

    function test_one_bad_claim_undoes_all() external {
        openChannel(500);
        IComputeLedger.Claim[] memory claims = new IComputeLedger.Claim[](2);
        claims[0] = claimOf(100);
        claims[1] = claimOf(501);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DepositExceeded.selector, 500, 501));
        ledger.settleMany(claims);
        same(ledger.balanceOf(provider), 1_000_000, "nothing paid");
        vm.expectRevert(IComputeLedger.ZeroAmount.selector);
        ledger.settleMany(new IComputeLedger.Claim[](0));
    }

    function test_replayed_and_reordered_vouchers_pay_nothing() external {
        openChannel(500);
        IComputeLedger.Claim memory older = claimOf(200);
        IComputeLedger.Claim memory newer = claimOf(300);
        ledger.settle(newer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.NothingToClaim.selector, 300, 300));
        ledger.settle(newer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.NothingToClaim.selector, 300, 200));
        ledger.settle(older);
    }

    function test_any_changed_field_is_refused() external {
        openChannel(500);
        vm.prank(payer);
        ledger.open(provider, signer, bytes32(uint256(2)), 500);
        IComputeLedger.Claim memory good = claimOf(200);
        bytes memory bad = abi.encodePacked(IComputeLedger.InvalidSignature.selector);
        IComputeLedger.Claim memory claim = copy(good);
        claim.cumulative = 201;
        refused(claim, bad);
        claim = copy(good);
        claim.tasks = 1001;
        refused(claim, bad);
        claim = copy(good);
        claim.root = keccak256("another");
        refused(claim, bad);
        claim = copy(good);
        claim.salt = bytes32(uint256(2));
        refused(claim, bad);
        claim = copy(good);
        claim.payer = provider;
        refused(claim, "");
        claim = copy(good);
        claim.provider = payer;
        refused(claim, "");
        claim = copy(good);
        claim.signer = payer;
        refused(claim, "");
        ledger.settle(good);
    }

    function test_vouchers_of_other_networks_chains_and_contracts_are_refused() external {
        openChannel(500);
        bytes4 bad = IComputeLedger.InvalidSignature.selector;
        ComputeLedger twin = new ComputeLedger(address(token), NETWORK, guardian, WINDOW);
        IComputeLedger.Claim memory claim = claimOf(200);
        claim.signature = signClaim(claim, SIGNER_KEY, twin.domainSeparator());
        vm.expectRevert(bad);
        ledger.settle(claim);
        claim.signature = signClaim(claim, SIGNER_KEY, domain(block.chainid, address(ledger), bytes32(uint256(1))));
        vm.expectRevert(bad);
        ledger.settle(claim);
        claim.signature = signClaim(claim, SIGNER_KEY, domain(block.chainid + 1, address(ledger), NETWORK));
        vm.expectRevert(bad);
        ledger.settle(claim);
        claim = claimOf(200);
        vm.chainId(block.chainid + 1); // the chain forks: its vouchers are no longer ours
        vm.expectRevert(bad);
        ledger.settle(claim);
    }

    function test_malleable_and_broken_signatures_are_refused() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(200);
        (bytes32 r, bytes32 s, uint8 v) = split(claim.signature);
        claim.signature = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        bytes4 bad = IComputeLedger.InvalidSignature.selector;
        vm.expectRevert(bad);
        ledger.settle(claim);
        claim.signature = abi.encodePacked(r, s);
        vm.expectRevert(bad);
        ledger.settle(claim);
        claim.signature = "";
        vm.expectRevert(bad);
        ledger.settle(claim);
        claim.signature = signClaim(claim, PAYER_KEY, ledger.domainSeparator());
        vm.expectRevert(bad);
        ledger.settle(claim);
    }

    function test_a_contract_may_sign() external {
        ContractSigner wallet = new ContractSigner();
        vm.prank(payer);
        bytes32 channel = ledger.open(provider, address(wallet), SALT, 500);
        IComputeLedger.Claim memory claim =
            IComputeLedger.Claim(payer, provider, address(wallet), SALT, 100, 7, ROOT, "anything");
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.settle(claim);
        wallet.accept(TypedData.digest(ledger.domainSeparator(), TypedData.hashVoucher(channel, 100, 7, ROOT)));
        ledger.settle(claim);
        same(ledger.balanceOf(provider), 1_000_100, "provider");
    }

    function test_a_payer_that_closes_early_still_pays_inside_the_window() external {
        bytes32 channel = openChannel(500);
        vm.prank(payer);
        ledger.startClose(provider, signer, SALT);
        vm.warp(block.timestamp + WINDOW - 1);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.CloseWindowOpen.selector, block.timestamp + 1));
        ledger.finishClose(payer, provider, signer, SALT);
        ledger.settle(claimOf(400));
        vm.warp(block.timestamp + 1);
        ledger.settle(claimOf(450)); // nobody has finished it yet
        ledger.finishClose(payer, provider, signer, SALT);
        same(ledger.balanceOf(payer), 999_550, "the rest comes back");
        same(ledger.balanceOf(provider), 1_000_450, "all that was promised");
        (,, uint64 closeAt) = ledger.channels(channel);
        same(closeAt, type(uint64).max, "closed");
    }

    function test_closed_is_closed_for_ever() external {
        bytes32 channel = openChannel(500);
        vm.prank(provider);
        ledger.closeByProvider(payer, signer, SALT);
        same(ledger.balanceOf(payer), 1_000_000, "refunded");
        bytes memory closed = abi.encodeWithSelector(IComputeLedger.ChannelNotOpen.selector, channel);
        IComputeLedger.Claim memory claim = claimOf(100);
        vm.expectRevert(closed);
        ledger.settle(claim);
        vm.prank(payer);
        vm.expectRevert(closed);
        ledger.topUp(provider, signer, SALT, 1);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.ChannelExists.selector, channel));
        ledger.open(provider, signer, SALT, 1);
        vm.prank(payer);
        vm.expectRevert(closed);
        ledger.startClose(provider, signer, SALT);
        vm.prank(provider);
        vm.expectRevert(closed);
        ledger.closeByProvider(payer, signer, SALT);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.ChannelNotClosing.selector, channel));
        ledger.finishClose(payer, provider, signer, SALT);
    }

    function test_closing_once_and_by_the_payer_only() external {
        bytes32 channel = openChannel(500);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.ChannelNotClosing.selector, channel));
        ledger.finishClose(payer, provider, signer, SALT);
        vm.expectRevert(); // another caller means another channel
        ledger.startClose(provider, signer, SALT);
        vm.expectRevert();
        ledger.closeByProvider(payer, signer, SALT);
        vm.prank(payer);
        ledger.startClose(provider, signer, SALT);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.AlreadyClosing.selector, channel));
        ledger.startClose(provider, signer, SALT);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.ChannelNotOpen.selector, channel));
        ledger.topUp(provider, signer, SALT, 1);
    }

    function test_top_up_raises_the_limit() external {
        openChannel(100);
        IComputeLedger.Claim memory claim = claimOf(150);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DepositExceeded.selector, 100, 150));
        ledger.settle(claim);
        vm.prank(payer);
        ledger.topUp(provider, signer, SALT, 50);
        ledger.settle(claim);
        same(ledger.balanceOf(payer), 999_850, "payer");
        vm.prank(payer);
        vm.expectRevert(IComputeLedger.ZeroAmount.selector);
        ledger.topUp(provider, signer, SALT, 0);
    }

    function test_what_cannot_be_opened() external {
        vm.prank(payer);
        vm.expectRevert(IComputeLedger.ZeroAmount.selector);
        ledger.open(provider, signer, SALT, 0);
        vm.prank(payer);
        vm.expectRevert(IComputeLedger.ZeroAddress.selector);
        ledger.open(address(0), signer, SALT, 1);
        vm.prank(payer);
        vm.expectRevert(IComputeLedger.ZeroAddress.selector);
        ledger.open(provider, address(0), SALT, 1);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.InsufficientBalance.selector, 1_000_000, 1_000_001));
        ledger.open(provider, signer, SALT, 1_000_001);
        bytes32 channel = openChannel(1);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.ChannelExists.selector, channel));
        ledger.open(provider, signer, SALT, 1);
    }

    function test_dust_is_paid_like_anything_else() external {
        openChannel(1);
        ledger.settle(claimOf(1));
        same(ledger.balanceOf(provider), 1_000_001, "provider");
    }

    function testFuzz_vouchers_add_up(uint96 deposit, uint96[6] calldata amounts) external {
        deposit = uint96(bound(deposit, 1, 1_000_000));
        openChannel(deposit);
        uint96 highest;
        for (uint256 i; i < amounts.length; ++i) {
            uint96 cumulative = uint96(bound(amounts[i], 0, 1_200_000));
            IComputeLedger.Claim memory claim = claimOf(cumulative);
            try ledger.settle(claim) {
                yes(cumulative > highest && cumulative <= deposit, "only more, and only what is there");
                highest = cumulative;
            } catch {
                yes(cumulative <= highest || cumulative > deposit, "nothing valid is refused");
            }
        }
        same(ledger.balanceOf(provider), 1_000_000 + uint256(highest), "the highest valid voucher");
        same(ledger.balanceOf(payer), 1_000_000 - uint256(deposit), "payer");
    }

    function testFuzz_random_signatures_prove_nothing(bytes calldata signature, uint96 cumulative) external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(uint96(bound(cumulative, 1, 500)));
        vm.assume(keccak256(signature) != keccak256(claim.signature));
        claim.signature = signature;
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.settle(claim);
    }

    function testFuzz_other_keys_prove_nothing(uint256 key, uint96 cumulative) external {
        key = bound(key, 1, ORDER - 1);
        vm.assume(key != SIGNER_KEY);
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(uint96(bound(cumulative, 1, 500)));
        claim.signature = signClaim(claim, key, ledger.domainSeparator());
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.settle(claim);
    }

    function refused(IComputeLedger.Claim memory claim, bytes memory reason) private {
        if (reason.length == 0) vm.expectRevert();
        else vm.expectRevert(reason);
        ledger.settle(claim);
    }

    function copy(IComputeLedger.Claim memory c) private pure returns (IComputeLedger.Claim memory) {
        return IComputeLedger.Claim(c.payer, c.provider, c.signer, c.salt, c.cumulative, c.tasks, c.root, c.signature);
    }

    function split(bytes memory signature) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
            v := byte(0, mload(add(signature, 96)))
        }
    }

    function domain(uint256 chain, address contract_, bytes32 network) private pure returns (bytes32) {
        return keccak256(
            abi.encode(TypedData.DOMAIN_TYPE, keccak256("farlane"), keccak256("1"), chain, contract_, network)
        );
    }
}
