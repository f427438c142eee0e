// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../src/ComputeLedger.sol";
import {CreditToken} from "../src/CreditToken.sol";
import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {Handler} from "./support/Handler.sol";
import {Checks, vm} from "./support/Vm.sol";

/// @notice What holds after any sequence of calls. Each run leaves its counts in out/actions.txt; the runner fails
/// unless every action succeeded often enough.
contract InvariantsTest is Checks {
    address private constant GUARDIAN = address(0x64A4D);
    ComputeLedger private ledger;
    CreditToken private token;
    Handler private handler;
    string[18] private actions = [
        "deposit", "withdraw", "open", "topUp", "settle", "settleMany", "startClose", "finishClose",
        "closeByProvider", "openJob", "submitResult", "acceptResult", "finalize", "reclaim", "dispute", "resolve",
        "arbiterSilent", "pauseForAMoment"
    ];

    function setUp() external {
        vm.warp(1_800_000_000);
        address minter = address(this);
        token = new CreditToken(minter);
        ledger = new ComputeLedger(address(token), bytes32(uint256(1)), GUARDIAN, 10 minutes);
        handler = new Handler(ledger, CreditToken(address(new Minter(token))), GUARDIAN);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function mint(address to, uint256 amount) external {
        token.mint(to, amount);
    }

    function invariant_books() external view {
        uint256 locked;
        for (uint256 i; i < handler.channelCount(); ++i) {
            locked += checkChannel(i);
        }
        for (uint256 i; i < handler.jobCount(); ++i) {
            (bytes32 id, IComputeLedger.JobState state, uint256 stake) = handler.job(i);
            (IComputeLedger.JobState found,) = ledger.jobs(id);
            same(uint256(found), uint256(state), "jobs end as they should and stay ended");
            locked += stake;
        }
        uint256 balances;
        for (uint256 who; who < 4; ++who) {
            uint256 balance = ledger.balanceOf(handler.account(who));
            same(balance, handler.expected(who), "exact payout of every outcome");
            balances += balance;
        }
        same(token.balanceOf(address(ledger)), balances + locked, "tokens = balances + locked");
        same(token.balanceOf(address(ledger)), handler.came() - handler.went(), "what came less what went");
    }

    function checkChannel(uint256 i) private view returns (uint256 locked) {
        (bytes32 id,,,, uint96 deposit, uint96 claimed, uint64 closing, bool closed) = handler.channels(i);
        (uint96 foundDeposit, uint96 foundClaimed, uint64 closeAt) = ledger.channels(id);
        same(foundDeposit, deposit, "deposit");
        same(foundClaimed, claimed, "claimed is the highest valid voucher");
        yes(claimed <= deposit, "never more than the deposit");
        same(closeAt, closed ? type(uint64).max : closing, "closed channels stay closed");
        return closed ? 0 : deposit - claimed;
    }

    function afterInvariant() external {
        for (uint256 i; i < actions.length; ++i) {
            string memory line = string.concat(actions[i], " ", vm.toString(handler.succeeded(actions[i])));
            vm.writeLine("out/actions.txt", line);
        }
        for (uint256 i; i < handler.kindCount(); ++i) {
            string memory kind = handler.kindName(i);
            vm.writeLine("out/actions.txt", string.concat(kind, " ", vm.toString(handler.succeeded(kind))));
        }
    }
}

/// @notice Lets the handler mint, and passes everything else on to the token.
contract Minter {
    CreditToken private immutable _token;
    InvariantsTest private immutable _owner;

    constructor(CreditToken token) {
        _token = token;
        _owner = InvariantsTest(msg.sender);
    }

    function mint(address to, uint256 amount) external {
        _owner.mint(to, amount);
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        // The caller is pranked; so is this one.
        vm.prank(msg.sender);
        return _token.approve(spender, amount);
    }
}
