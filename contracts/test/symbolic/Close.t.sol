// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {vm} from "../support/Vm.sol";
import {AnyState} from "./AnyState.sol";

/// @notice For every channel, caller and time: who can close it, when, and that the payer gets back exactly what was
/// not claimed.
contract CloseSymbolic is AnyState {
    struct Given {
        uint96 deposit;
        uint96 claimed;
        uint64 closeAt;
        uint128 ofPayer;
        uint128 ofProvider;
        uint64 time;
    }

    address private constant PAYER = address(0xA11CE);
    address private constant PROVIDER = address(0xB0B);
    address private constant SIGNER = address(0x5E55);
    address private constant STRANGER = address(0xCA11);

    /// @notice The payer's announcement moves no money and leaves the provider the whole window.
    function check_startClose_leaves_the_whole_window(Given calldata given, address caller) external {
        bytes32 channel = arrange(given);
        Books memory before = books(PAYER, PROVIDER, STRANGER);
        vm.prank(caller);
        try ledger.startClose(PROVIDER, SIGNER, bytes32(0)) {
            assert(caller == PAYER && given.deposit != 0 && given.closeAt == 0);
            stands(channel, given, given.time + ledger.closeWindow());
        } catch {
            assert(caller != PAYER || given.deposit == 0 || given.closeAt != 0);
            stands(channel, given, given.closeAt);
        }
        moved(before, books(PAYER, PROVIDER, STRANGER), 0, 0, 0);
    }

    /// @notice Anyone finishes a close, but only one that was announced and whose window has passed.
    function check_finishClose_refunds_what_was_not_claimed(Given calldata given, address caller) external {
        bytes32 channel = arrange(given);
        Books memory before = books(PAYER, PROVIDER, STRANGER);
        bool due = given.closeAt != 0 && given.closeAt != CLOSED && given.time >= given.closeAt;
        vm.prank(caller);
        try ledger.finishClose(PAYER, PROVIDER, SIGNER, bytes32(0)) {
            assert(due);
            stands(channel, given, CLOSED);
            moved(before, books(PAYER, PROVIDER, STRANGER), given.deposit - given.claimed, 0, 0);
        } catch {
            assert(!due);
            stands(channel, given, given.closeAt);
            moved(before, books(PAYER, PROVIDER, STRANGER), 0, 0, 0);
        }
    }

    /// @notice The provider closes at once what is not closed yet; nobody else does so in its name.
    function check_closeByProvider_refunds_what_was_not_claimed(Given calldata given, address caller) external {
        bytes32 channel = arrange(given);
        Books memory before = books(PAYER, PROVIDER, STRANGER);
        bool may = caller == PROVIDER && given.deposit != 0 && given.closeAt != CLOSED;
        vm.prank(caller);
        try ledger.closeByProvider(PAYER, SIGNER, bytes32(0)) {
            assert(may);
            stands(channel, given, CLOSED);
            moved(before, books(PAYER, PROVIDER, STRANGER), given.deposit - given.claimed, 0, 0);
        } catch {
            assert(!may);
            stands(channel, given, given.closeAt);
            moved(before, books(PAYER, PROVIDER, STRANGER), 0, 0, 0);
        }
    }

    function arrange(Given calldata given) private returns (bytes32 channel) {
        vm.assume(given.claimed <= given.deposit && given.time < 1 << 40);
        vm.warp(given.time);
        writeAccount(PAYER, given.ofPayer, 0);
        writeAccount(PROVIDER, given.ofProvider, 0);
        channel = ledger.channelId(PAYER, PROVIDER, SIGNER, bytes32(0));
        writeChannel(channel, given.deposit, given.claimed, given.closeAt);
    }

    function stands(bytes32 channel, Given calldata given, uint64 closeAt) private view {
        (uint96 deposit, uint96 claimed, uint64 found) = ledger.channels(channel);
        assert(deposit == given.deposit && claimed == given.claimed && found == closeAt);
    }
}
