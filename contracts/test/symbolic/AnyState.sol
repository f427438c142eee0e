// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../../src/ComputeLedger.sol";
import {CreditToken} from "../../src/CreditToken.sol";
import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";
import {vm} from "../support/Vm.sol";

/// @notice A ledger in any state at all: its slots are written directly, with values that Halmos leaves open.
/// @dev What a check proves of one step from any state holds after every sequence of steps. Halmos takes a failed
/// `assert` for a counterexample and any other revert for a path that ends, so properties are asserted.
abstract contract AnyState {
    uint64 internal constant CLOSED = type(uint64).max;
    uint256 private constant ACCOUNTS = 0;
    uint256 private constant CHANNELS = 1;
    uint256 private constant JOBS = 2;

    CreditToken internal token;
    ComputeLedger internal ledger;

    /// @notice What one step could change, of the accounts that take part and of one that does not.
    struct Books {
        uint256 payer;
        uint256 provider;
        uint256 stranger;
        uint256 settlements;
        uint256 tokens;
        uint256 trades;
    }

    function setUp() public {
        token = new CreditToken(address(this));
        ledger = new ComputeLedger(address(token), bytes32(uint256(0xabcdef)), address(0x64A4D), 1 days);
        token.mint(address(ledger), 1 << 100);
    }

    /// @dev Balances of people, far from where the sum of all tokens could ever be.
    function writeAccount(address account, uint128 balance, uint128 settlements) internal {
        vm.assume(balance < 1 << 120 && settlements < 1 << 120);
        bytes32 slot = keccak256(abi.encode(account, ACCOUNTS));
        vm.store(address(ledger), slot, bytes32(uint256(balance) | uint256(settlements) << 128));
        assert(ledger.balanceOf(account) == balance && ledger.settlementsOf(account) == settlements);
    }

    function writeChannel(bytes32 channel, uint96 deposit, uint96 claimed, uint64 closeAt) internal {
        bytes32 slot = keccak256(abi.encode(channel, CHANNELS));
        vm.store(
            address(ledger), slot, bytes32(uint256(deposit) | uint256(claimed) << 96 | uint256(closeAt) << 192)
        );
        (uint96 d, uint96 c, uint64 closing) = ledger.channels(channel);
        assert(d == deposit && c == claimed && closing == closeAt);
    }

    function writeJob(bytes32 job, uint8 state, uint64 since) internal {
        vm.assume(state <= uint8(IComputeLedger.JobState.Split));
        vm.store(address(ledger), keccak256(abi.encode(job, JOBS)), bytes32(uint256(state) | uint256(since) << 8));
        (IComputeLedger.JobState found, uint64 step) = ledger.jobs(job);
        assert(uint8(found) == state && step == since);
    }

    function books(address payer, address provider, address stranger) internal view returns (Books memory) {
        return Books(
            ledger.balanceOf(payer), ledger.balanceOf(provider), ledger.balanceOf(stranger),
            ledger.settlementsOf(provider), token.balanceOf(address(ledger)), ledger.transactionCount()
        );
    }

    /// @dev Nothing but the two balances and the settlements may differ, and those by exactly this much.
    function moved(Books memory a, Books memory b, uint256 toPayer, uint256 toProvider, uint256 settled)
        internal
        pure
    {
        assert(b.payer == a.payer + toPayer);
        assert(b.provider == a.provider + toProvider);
        assert(b.settlements == a.settlements + settled);
        assert(b.stranger == a.stranger && b.tokens == a.tokens && b.trades == a.trades);
    }
}
