// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../src/ComputeLedger.sol";
import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice Attacks by dust, silence, false dispute, haste and somebody else's place: each ends with who has what.
contract GriefingTest is World {
    address private mallory = address(0x3A77);

    // Vouchers.

    function test_a_replayed_voucher_pays_once() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(200);
        ledger.settle(claim);
        for (uint256 i; i < 3; ++i) {
            vm.warp(1_800_000_000 + i * 1 days);
            vm.expectRevert(abi.encodeWithSelector(IComputeLedger.NothingToClaim.selector, 200, 200));
            ledger.settle(claim);
        }
        same(ledger.balanceOf(provider), 1_000_200, "once");
    }

    function test_a_voucher_twice_in_a_batch_pays_nobody() external {
        openChannel(500);
        IComputeLedger.Claim[] memory claims = new IComputeLedger.Claim[](2);
        claims[0] = claimOf(200);
        claims[1] = claimOf(200);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.NothingToClaim.selector, 200, 200));
        ledger.settleMany(claims);
        same(ledger.balanceOf(provider), 1_000_000, "all or none");
    }

    function test_reordered_vouchers_pay_the_highest_only() external {
        openChannel(500);
        IComputeLedger.Claim memory older = claimOf(200);
        ledger.settle(claimOf(350));
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.NothingToClaim.selector, 350, 200));
        ledger.settle(older);
        same(ledger.balanceOf(provider), 1_000_350, "the highest");
    }

    function test_an_over_claimed_voucher_takes_nothing() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(501);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DepositExceeded.selector, 500, 501));
        ledger.settle(claim);
        claim = claimOf(type(uint96).max);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DepositExceeded.selector, 500, type(uint96).max));
        ledger.settle(claim);
    }

    function test_a_wrongly_scaled_voucher_is_bounded_by_the_deposit() external {
        // Somebody signs 18 decimals where the token has 9: a billion times too much.
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(2 * 10 ** 9);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DepositExceeded.selector, 500, 2 * 10 ** 9));
        ledger.settle(claim);
        claim.cumulative = 2; // scaled back by whoever claims it: that was never signed
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.settle(claim);
    }

    function test_a_voucher_of_another_network_counts_for_nothing() external {
        openChannel(500);
        ComputeLedger other = new ComputeLedger(address(token), bytes32(uint256(2)), guardian, WINDOW);
        crossed(other.domainSeparator());
        crossed(domainOf(block.chainid, address(ledger), bytes32(uint256(2))));
    }

    function test_a_voucher_of_another_chain_counts_for_nothing() external {
        openChannel(500);
        crossed(domainOf(1, address(ledger), NETWORK));
        IComputeLedger.Claim memory claim = claimOf(100);
        vm.chainId(77); // the chain forks, and this is the other side of the fork
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.settle(claim);
    }

    function test_one_bad_claim_among_a_hundred_undoes_the_batch() external {
        IComputeLedger.Claim[] memory claims = new IComputeLedger.Claim[](100);
        for (uint256 i; i < 100; ++i) {
            vm.prank(payer);
            ledger.open(provider, signer, bytes32(i), 10);
            claims[i] = IComputeLedger.Claim(payer, provider, signer, bytes32(i), 5, 1, ROOT, "");
            claims[i].signature = signClaim(claims[i], i == 63 ? PAYER_KEY : SIGNER_KEY, ledger.domainSeparator());
        }
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.settleMany(claims);
        same(ledger.balanceOf(provider), 1_000_000, "none");
        claims[63].signature = signClaim(claims[63], SIGNER_KEY, ledger.domainSeparator());
        ledger.settleMany(claims);
        same(ledger.balanceOf(provider), 1_000_500, "all");
        same(ledger.settlementsOf(provider), 100, "each counted");
    }

    // Dust.

    function test_dust_deposits_change_nobody_elses_books() external {
        token.mint(mallory, 3);
        vm.prank(mallory);
        token.approve(address(ledger), 3);
        for (uint256 i; i < 3; ++i) {
            vm.prank(mallory);
            ledger.deposit(payer, 1); // a gift, no more
        }
        same(ledger.balanceOf(payer), 1_000_003, "theirs to spend");
        vm.prank(payer);
        ledger.withdraw(payer, 1_000_003);
        same(ledger.balanceOf(payer), 0, "and to take out");
    }

    function test_tokens_thrown_at_the_contract_are_nobodys() external {
        token.mint(address(ledger), 77); // not by a deposit
        vm.prank(payer);
        ledger.withdraw(payer, 1_000_000);
        vm.prank(provider);
        ledger.withdraw(provider, 1_000_000);
        same(token.balanceOf(address(ledger)), 77, "they count for no balance");
    }

    function test_dust_channels_cost_their_maker_and_nobody_else() external {
        for (uint256 i; i < 50; ++i) {
            vm.prank(payer);
            ledger.open(provider, signer, bytes32(i + 100), 1);
        }
        openChannel(500);
        ledger.settle(claimOf(500));
        same(ledger.balanceOf(provider), 1_000_500, "the channel that matters works as ever");
        same(ledger.balanceOf(payer), 999_450, "the dust is locked, not the provider's loss");
    }

    function test_dust_vouchers_cannot_block_a_later_one() external {
        openChannel(500);
        for (uint96 i = 1; i <= 20; ++i) {
            ledger.settle(claimOf(i)); // anybody may settle every small voucher it has seen
        }
        ledger.settle(claimOf(400));
        same(ledger.balanceOf(provider), 1_000_400, "the same sum");
    }

    // Silence.

    function test_a_silent_payer_cannot_keep_what_it_has_promised() external {
        openChannel(500);
        vm.warp(block.timestamp + 3650 days);
        ledger.settle(claimOf(450)); // no step of the payer is needed, no voucher grows old
        vm.prank(provider);
        ledger.closeByProvider(payer, signer, SALT);
        same(ledger.balanceOf(provider), 1_000_450, "paid");
        same(ledger.balanceOf(payer), 999_550, "the rest is back");
    }

    function test_a_silent_provider_cannot_lock_the_deposit() external {
        openChannel(500);
        vm.prank(payer);
        ledger.startClose(provider, signer, SALT);
        vm.warp(block.timestamp + WINDOW);
        vm.prank(mallory); // anybody
        ledger.finishClose(payer, provider, signer, SALT);
        same(ledger.balanceOf(payer), 1_000_000, "back");
    }

    function test_a_provider_that_never_submits_loses_its_bond() external {
        IComputeLedger.Terms memory t = openJob();
        vm.warp(t.deadline + 1);
        vm.prank(mallory);
        ledger.reclaim(t);
        same(ledger.balanceOf(payer), 1_000_300, "price and bond");
    }

    function test_silence_of_everybody_after_a_result_pays_for_it() external {
        IComputeLedger.Terms memory t = submitted();
        vm.warp(block.timestamp + t.window + 1);
        vm.prank(mallory);
        ledger.finalize(t);
        same(ledger.balanceOf(provider), 1_001_001, "price and bond");
    }

    function test_a_silent_arbiter_costs_each_side_half() external {
        IComputeLedger.Terms memory t = disputed();
        vm.warp(block.timestamp + t.arbiterWindow + 1);
        vm.prank(mallory);
        ledger.arbiterSilent(t);
        same(ledger.balanceOf(provider), 1_000_500, "half of 1001, rounded down, and its bond");
        same(ledger.balanceOf(payer), 999_500, "the other half with the odd unit, and its bond");
        same(ledger.balanceOf(arbiter), 0, "an arbiter gains nothing by silence");
    }

    // Disputes.

    function test_a_false_dispute_costs_its_bond_and_stops_no_other_job() external {
        IComputeLedger.Terms memory t = disputed();
        IComputeLedger.Terms memory other = terms();
        other.salt = bytes32(uint256(2));
        bytes memory signature = signTerms(other);
        vm.prank(payer);
        ledger.openJob(other, signature);
        vm.prank(payer);
        ledger.acceptResult(other, ROOT, "");
        vm.prank(arbiter);
        ledger.resolve(t, t.price);
        same(ledger.balanceOf(provider), 1_000_000 + 2 * 1001 + 70, "both prices and the dispute bond");
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(IComputeLedger.WrongJobState.selector, IComputeLedger.JobState.Resolved)
        );
        ledger.dispute(t);
    }

    function test_a_dispute_cannot_be_repeated_or_drag_on() external {
        IComputeLedger.Terms memory t = disputed();
        vm.warp(block.timestamp + t.arbiterWindow);
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(IComputeLedger.WrongJobState.selector, IComputeLedger.JobState.Disputed)
        );
        ledger.dispute(t);
        vm.warp(block.timestamp + 1);
        ledger.arbiterSilent(t); // the first dispute's clock
    }

    // Haste, and somebody else's place.

    function test_a_payer_that_closes_early_pays_what_it_has_promised() external {
        openChannel(500);
        IComputeLedger.Claim memory claim = claimOf(450);
        vm.prank(payer);
        ledger.startClose(provider, signer, SALT);
        vm.warp(block.timestamp + WINDOW - 1);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.CloseWindowOpen.selector, block.timestamp + 1));
        ledger.finishClose(payer, provider, signer, SALT);
        ledger.settle(claim);
        same(ledger.balanceOf(provider), 1_000_450, "paid in the last second of the window");
    }

    function testFuzz_a_provider_that_claims_inside_the_window_is_paid(uint96 promised, uint64 early, uint64 late)
        external
    {
        promised = uint96(bound(promised, 1, 500));
        early = uint64(bound(early, 0, WINDOW - 1));
        openChannel(500);
        vm.prank(payer);
        ledger.startClose(provider, signer, SALT);
        uint256 closeAt = block.timestamp + WINDOW;
        vm.warp(block.timestamp + early);
        ledger.settle(claimOf(promised));
        vm.warp(closeAt + bound(late, 0, 3650 days));
        ledger.finishClose(payer, provider, signer, SALT);
        same(ledger.balanceOf(provider), 1_000_000 + uint256(promised), "paid in full");
        same(ledger.balanceOf(payer), 1_000_000 - uint256(promised), "and no more than that");
    }

    function test_a_stranger_cannot_take_the_id_of_a_channel() external {
        fund(mallory, 1000);
        vm.prank(mallory); // the id holds its payer
        bytes32 theirs = ledger.open(provider, signer, SALT, 1000);
        yes(openChannel(500) != theirs, "another channel");
        vm.prank(mallory);
        vm.expectRevert(
            abi.encodeWithSelector(
                IComputeLedger.ChannelNotOpen.selector, keccak256(abi.encode(payer, mallory, signer, SALT))
            )
        );
        ledger.closeByProvider(payer, signer, SALT);
    }

    function test_a_stranger_cannot_open_a_job_with_others_money() external {
        IComputeLedger.Terms memory t = terms();
        bytes memory signature = signTerms(t);
        vm.prank(mallory);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.NotParty.selector, mallory));
        ledger.openJob(t, signature);
        t.payer = mallory; // the provider has not signed that
        vm.prank(mallory);
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.openJob(t, signature);
    }

    function test_an_acceptance_counts_for_its_job_alone() external {
        IComputeLedger.Terms memory t = openJob();
        bytes32 body = TypedData.hashAcceptance(ledger.jobId(t), ROOT);
        bytes memory acceptance = signDigest(PAYER_KEY, TypedData.digest(ledger.domainSeparator(), body));
        IComputeLedger.Terms memory other = terms();
        other.salt = bytes32(uint256(2));
        bytes memory signature = signTerms(other);
        vm.prank(payer);
        ledger.openJob(other, signature);
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.acceptResult(other, ROOT, acceptance);
        ledger.acceptResult(t, ROOT, acceptance);
    }

    function crossed(bytes32 domain) private {
        IComputeLedger.Claim memory claim = claimOf(100);
        claim.signature = signClaim(claim, SIGNER_KEY, domain);
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.settle(claim);
    }

    function domainOf(uint256 chain, address contract_, bytes32 network) private pure returns (bytes32) {
        return keccak256(
            abi.encode(TypedData.DOMAIN_TYPE, keccak256("farlane"), keccak256("1"), chain, contract_, network)
        );
    }
}
