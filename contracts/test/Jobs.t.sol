// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice Jobs with bonds: exact payouts of every outcome, and every step at the wrong time or by the wrong hand.
contract JobsTest is World {
    function test_opening_locks_price_and_bond() external {
        openJob();
        paid(-1001, -300);
        same(ledger.transactionCount(), 1, "trades");
    }

    function test_the_payer_accepts() external {
        IComputeLedger.Terms memory t = submitted();
        vm.prank(payer);
        ledger.acceptResult(t, ROOT, "");
        paid(-1001, 1001);
        same(ledger.settlementsOf(provider), 1, "settlements");
        ended(t, IComputeLedger.JobState.Accepted);
    }

    function test_the_payers_signature_accepts_without_a_submission() external {
        IComputeLedger.Terms memory t = openJob();
        bytes32 body = TypedData.hashAcceptance(ledger.jobId(t), ROOT);
        bytes memory signature = signDigest(PAYER_KEY, TypedData.digest(ledger.domainSeparator(), body));
        vm.prank(provider);
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.acceptResult(t, keccak256("another result"), signature);
        vm.prank(provider);
        ledger.acceptResult(t, ROOT, signature);
        paid(-1001, 1001);
    }

    function test_nobody_else_accepts() external {
        IComputeLedger.Terms memory t = submitted();
        bytes32 body = TypedData.hashAcceptance(ledger.jobId(t), ROOT);
        bytes memory signature = signDigest(PROVIDER_KEY, TypedData.digest(ledger.domainSeparator(), body));
        vm.prank(provider);
        vm.expectRevert(IComputeLedger.InvalidSignature.selector);
        ledger.acceptResult(t, ROOT, signature);
    }

    function test_silence_of_the_payer_pays_the_provider() external {
        IComputeLedger.Terms memory t = submitted();
        uint64 until = uint64(block.timestamp) + 2 hours;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.WindowOpen.selector, until));
        ledger.finalize(t);
        vm.warp(until + 1);
        ledger.finalize(t);
        paid(-1001, 1001);
        ended(t, IComputeLedger.JobState.Finalized);
    }

    function test_a_missed_deadline_gives_the_payer_price_and_bond() external {
        IComputeLedger.Terms memory t = openJob();
        vm.warp(t.deadline);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DeadlineNotPassed.selector, t.deadline));
        ledger.reclaim(t);
        vm.warp(t.deadline + 1);
        vm.prank(provider);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DeadlinePassed.selector, t.deadline));
        ledger.submitResult(t, ROOT);
        ledger.reclaim(t);
        paid(300, -300);
        same(ledger.settlementsOf(provider), 0, "no settlement");
        ended(t, IComputeLedger.JobState.Reclaimed);
    }

    function test_a_false_dispute_costs_its_bond() external {
        IComputeLedger.Terms memory t = disputed();
        paid(-1071, -300);
        vm.prank(arbiter);
        ledger.resolve(t, 1001);
        paid(-1071, 1071);
        ended(t, IComputeLedger.JobState.Resolved);
    }

    function test_a_wrong_result_costs_price_and_bond() external {
        IComputeLedger.Terms memory t = disputed();
        vm.prank(arbiter);
        ledger.resolve(t, 0);
        paid(300, -300);
    }

    function test_an_arbiter_may_share_out() external {
        IComputeLedger.Terms memory t = disputed();
        vm.prank(arbiter);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.ShareTooLarge.selector, 1001, 1002));
        ledger.resolve(t, 1002);
        vm.prank(arbiter);
        ledger.resolve(t, 400);
        paid(-400, 400);
    }

    function test_a_silent_arbiter_halves_the_price() external {
        IComputeLedger.Terms memory t = disputed();
        uint64 until = uint64(block.timestamp) + 3 hours;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.WindowOpen.selector, until));
        ledger.arbiterSilent(t);
        vm.warp(until + 1);
        vm.prank(arbiter);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.WindowClosed.selector, until));
        ledger.resolve(t, 1001);
        ledger.arbiterSilent(t);
        paid(-500, 500);
        ended(t, IComputeLedger.JobState.Split);
    }

    function test_a_dispute_must_be_in_time_and_covered() external {
        IComputeLedger.Terms memory t = submitted();
        uint256 all = ledger.balanceOf(payer);
        vm.prank(payer);
        ledger.withdraw(payer, all);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.InsufficientBalance.selector, 0, 70));
        ledger.dispute(t);
        uint64 until = uint64(block.timestamp) + 2 hours;
        vm.warp(until + 1);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.WindowClosed.selector, until));
        ledger.dispute(t);
    }

    function test_every_step_has_its_hand() external {
        IComputeLedger.Terms memory t = terms();
        bytes memory signature = signTerms(t);
        bytes memory wrong = abi.encodeWithSelector(IComputeLedger.NotParty.selector, address(this));
        vm.expectRevert(wrong);
        ledger.openJob(t, signature);
        t = openJob();
        vm.expectRevert(wrong);
        ledger.submitResult(t, ROOT);
        vm.prank(provider);
        ledger.submitResult(t, ROOT);
        vm.expectRevert(wrong);
        ledger.dispute(t);
        vm.prank(payer);
        ledger.dispute(t);
        vm.expectRevert(wrong);
        ledger.resolve(t, 0);
    }

    function test_a_job_is_opened_once() external {
        IComputeLedger.Terms memory t = openJob();
        bytes memory signature = signTerms(t);
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(IComputeLedger.WrongJobState.selector, IComputeLedger.JobState.Open)
        );
        ledger.openJob(t, signature);
    }

    function test_any_changed_term_needs_another_signature() external {
        bytes memory signature = signTerms(terms());
        for (uint256 field; field < 9; ++field) {
            IComputeLedger.Terms memory t = terms();
            if (field == 0) t.arbiter = address(0xDEF);
            if (field == 1) t.price -= 1;
            if (field == 2) t.providerBond += 1;
            if (field == 3) t.disputeBond += 1;
            if (field == 4) t.deadline += 1;
            if (field == 5) t.window -= 1;
            if (field == 6) t.arbiterWindow += 1;
            if (field == 7) t.spec = keccak256("other");
            if (field == 8) t.salt = bytes32(uint256(9));
            vm.prank(payer);
            vm.expectRevert(IComputeLedger.InvalidSignature.selector);
            ledger.openJob(t, signature);
        }
    }

    function test_terms_that_cannot_be() external {
        for (uint256 kind; kind < 9; ++kind) {
            IComputeLedger.Terms memory t = terms();
            if (kind == 0) t.price = 0;
            if (kind == 1) t.arbiter = payer;
            if (kind == 2) t.arbiter = provider;
            if (kind == 3) t.arbiter = address(0);
            if (kind == 4) t.window = 366 days;
            if (kind == 5) t.arbiterWindow = 366 days;
            if (kind == 6) t.disputeBond = type(uint96).max;
            if (kind == 7) t.provider = payer;
            if (kind == 8) t.provider = address(0);
            bytes memory signature = signTerms(t);
            vm.prank(payer);
            vm.expectRevert(IComputeLedger.InvalidTerms.selector);
            ledger.openJob(t, signature);
        }
        IComputeLedger.Terms memory late = terms();
        bytes memory signed = signTerms(late);
        vm.warp(late.deadline + 1);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.DeadlinePassed.selector, late.deadline));
        ledger.openJob(late, signed);
    }

    function testFuzz_every_unit_comes_back_out(uint96 price, uint96 bond, uint96 stake, uint8 way, uint96 share)
        external
    {
        IComputeLedger.Terms memory t = terms();
        t.price = uint96(bound(price, 1, 300_000));
        t.providerBond = uint96(bound(bond, 0, 300_000));
        t.disputeBond = uint96(bound(stake, 0, 300_000));
        bytes memory signature = signTerms(t);
        vm.prank(payer);
        ledger.openJob(t, signature);
        finish(t, way % 5, uint96(bound(share, 0, t.price)));
        same(ledger.balanceOf(payer) + ledger.balanceOf(provider), 2_000_000, "nothing is kept, nothing is made");
        for (uint256 step; step < 7; ++step) {
            yes(!tryStep(t, step), "an ended job stays ended");
        }
    }

    function finish(IComputeLedger.Terms memory t, uint8 way, uint96 share) private {
        if (way == 0) {
            vm.warp(t.deadline + 1);
            ledger.reclaim(t);
            return;
        }
        vm.prank(provider);
        ledger.submitResult(t, ROOT);
        if (way == 1) {
            vm.prank(payer);
            ledger.acceptResult(t, ROOT, "");
        } else if (way == 2) {
            vm.warp(block.timestamp + t.window + 1);
            ledger.finalize(t);
        } else {
            vm.prank(payer);
            ledger.dispute(t);
            vm.warp(block.timestamp + (way == 3 ? 0 : t.arbiterWindow + 1));
            if (way == 3) vm.prank(arbiter);
            if (way == 3) ledger.resolve(t, share);
            else ledger.arbiterSilent(t);
        }
    }

    function tryStep(IComputeLedger.Terms memory t, uint256 step) private returns (bool done) {
        bytes[7] memory calls = [
            abi.encodeCall(ledger.openJob, (t, signTerms(t))),
            abi.encodeCall(ledger.submitResult, (t, ROOT)),
            abi.encodeCall(ledger.acceptResult, (t, ROOT, "")),
            abi.encodeCall(ledger.finalize, (t)),
            abi.encodeCall(ledger.reclaim, (t)),
            abi.encodeCall(ledger.dispute, (t)),
            abi.encodeCall(ledger.resolve, (t, 0))
        ];
        vm.prank(step == 1 ? provider : step == 6 ? arbiter : payer);
        (done,) = address(ledger).call(calls[step]);
    }

    function paid(int256 toPayer, int256 toProvider) private view {
        same(ledger.balanceOf(payer), uint256(1_000_000 + toPayer), "payer");
        same(ledger.balanceOf(provider), uint256(1_000_000 + toProvider), "provider");
    }

    function ended(IComputeLedger.Terms memory t, IComputeLedger.JobState expected) private view {
        (IComputeLedger.JobState state,) = ledger.jobs(ledger.jobId(t));
        same(uint256(state), uint256(expected), "state");
    }
}
