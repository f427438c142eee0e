// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";
import {vm} from "../support/Vm.sol";
import {AnyState} from "./AnyState.sol";

/// @notice For all terms, states, times, callers and awards: who ends a job, when, and exactly what each side gets.
contract ResolveSymbolic is AnyState {
    struct Given {
        uint96 price;
        uint96 providerBond;
        uint96 disputeBond;
        uint64 deadline;
        uint64 window;
        uint64 arbiterWindow;
        uint8 state;
        uint64 since;
        uint64 time;
        uint128 ofPayer;
        uint128 ofProvider;
    }

    address private constant PAYER = address(0xA11CE);
    address private constant PROVIDER = address(0xB0B);
    address private constant ARBITER = address(0xA4B);
    address private constant STRANGER = address(0xCA11);

    /// @notice All of the price: both bonds too. Nothing: the payer gets everything. Between: each its own bond.
    function check_resolve_pays_exactly(Given calldata given, address caller, uint96 award) external {
        (IComputeLedger.Terms memory t, Books memory before) = arrange(given);
        bool may = caller == ARBITER && given.state == uint8(IComputeLedger.JobState.Disputed)
            && given.time <= given.since + given.arbiterWindow && award <= given.price;
        uint96 all = given.price + given.providerBond + given.disputeBond;
        vm.assume(award <= type(uint96).max - given.providerBond);
        uint96 share = award == given.price ? all : award == 0 ? 0 : award + given.providerBond;
        vm.prank(caller);
        try ledger.resolve(t, award) {
            assert(may);
            ended(t, before, IComputeLedger.JobState.Resolved, all - share, share);
        } catch {
            assert(!may);
            unchanged(t, given, before);
        }
    }

    /// @notice Half the price each, the odd unit to the payer, and each its own bond.
    function check_arbiterSilent_pays_exactly(Given calldata given, address caller) external {
        (IComputeLedger.Terms memory t, Books memory before) = arrange(given);
        bool may = given.state == uint8(IComputeLedger.JobState.Disputed)
            && given.time > given.since + given.arbiterWindow;
        uint96 half = given.price / 2;
        vm.prank(caller);
        try ledger.arbiterSilent(t) {
            assert(may);
            ended(
                t, before, IComputeLedger.JobState.Split, given.price - half + given.disputeBond,
                half + given.providerBond
            );
        } catch {
            assert(!may);
            unchanged(t, given, before);
        }
    }

    /// @notice Nobody disputed in time: price and bond to the provider.
    function check_finalize_pays_exactly(Given calldata given, address caller) external {
        (IComputeLedger.Terms memory t, Books memory before) = arrange(given);
        bool may =
            given.state == uint8(IComputeLedger.JobState.Submitted) && given.time > given.since + given.window;
        vm.prank(caller);
        try ledger.finalize(t) {
            assert(may);
            ended(t, before, IComputeLedger.JobState.Finalized, 0, uint256(given.price) + given.providerBond);
        } catch {
            assert(!may);
            unchanged(t, given, before);
        }
    }

    /// @notice The deadline was missed: price and bond to the payer.
    function check_reclaim_pays_exactly(Given calldata given, address caller) external {
        (IComputeLedger.Terms memory t, Books memory before) = arrange(given);
        bool may = given.state == uint8(IComputeLedger.JobState.Open) && given.time > given.deadline;
        vm.prank(caller);
        try ledger.reclaim(t) {
            assert(may);
            ended(t, before, IComputeLedger.JobState.Reclaimed, uint256(given.price) + given.providerBond, 0);
        } catch {
            assert(!may);
            unchanged(t, given, before);
        }
    }

    /// @dev What openJob has made sure of: amounts that fit together, windows of a year at most.
    function arrange(Given calldata given) private returns (IComputeLedger.Terms memory t, Books memory before) {
        vm.assume(given.price != 0 && given.window <= 365 days && given.arbiterWindow <= 365 days);
        vm.assume(uint256(given.price) + given.providerBond + given.disputeBond <= type(uint96).max);
        vm.assume(given.time < 1 << 40 && given.since <= given.time);
        vm.warp(given.time);
        writeAccount(PAYER, given.ofPayer, 0);
        writeAccount(PROVIDER, given.ofProvider, 0);
        t = IComputeLedger.Terms(
            PAYER, PROVIDER, ARBITER, given.price, given.providerBond, given.disputeBond, given.deadline, given.window,
            given.arbiterWindow, bytes32(0), bytes32(0)
        );
        writeJob(ledger.jobId(t), given.state, given.since);
        before = books(PAYER, PROVIDER, STRANGER);
    }

    function ended(
        IComputeLedger.Terms memory t,
        Books memory before,
        IComputeLedger.JobState expected,
        uint256 toPayer,
        uint256 toProvider
    ) private view {
        (IComputeLedger.JobState state,) = ledger.jobs(ledger.jobId(t));
        assert(state == expected);
        moved(before, books(PAYER, PROVIDER, STRANGER), toPayer, toProvider, toProvider == 0 ? 0 : 1);
    }

    function unchanged(IComputeLedger.Terms memory t, Given calldata given, Books memory before) private view {
        (IComputeLedger.JobState state, uint64 since) = ledger.jobs(ledger.jobId(t));
        assert(uint8(state) == given.state && since == given.since);
        moved(before, books(PAYER, PROVIDER, STRANGER), 0, 0, 0);
    }
}
